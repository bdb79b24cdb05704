//! The history of an execution: AWS's event types, each with exactly what AWS records.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::resource::Resource;
use crate::time::Timestamp;

/// One entry of a history.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryEvent {
    /// Counts from 1 without gaps.
    pub id: u64,
    /// The event that led to this one; 0 for the first.
    pub previous_id: u64,
    /// When.
    pub at: Timestamp,
    /// What.
    pub kind: EventKind,
    /// How the caller of the execution wrote the payload, where it is still the same and not written compactly.
    pub text: Option<Arc<str>>,
}

/// What a history entry records. Names and fields follow the API's `HistoryEvent`.
///
/// Inputs and outputs are JSON values, shared with the execution where they are the same; the API shows them as JSON texts.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // Every field carries the API's own name and meaning.
pub enum EventKind {
    ExecutionStarted {
        input: Arc<Value>,
        role_arn: String,
    },
    ExecutionSucceeded {
        output: Arc<Value>,
    },
    ExecutionFailed {
        error: Option<String>,
        cause: Option<String>,
    },
    ExecutionTimedOut,
    ExecutionAborted {
        error: Option<String>,
        cause: Option<String>,
    },
    ExecutionRedriven {
        redrive_count: u32,
    },

    StateEntered {
        state_type: StateType,
        name: String,
        input: Arc<Value>,
    },
    StateExited {
        state_type: StateType,
        name: String,
        output: Arc<Value>,
        /// `assignedVariables`: what `Assign` stored on the way out; empty if nothing.
        assigned: BTreeMap<String, Arc<Value>>,
    },
    /// An expression of a JSONata state gave no value, or one of another type than its field needs.
    EvaluationFailed {
        error: String,
        cause: String,
        /// The field, for example `Arguments/FunctionName`; not every failure has one.
        location: Option<String>,
        state: String,
    },
    /// `TaskStateAborted`, `WaitStateAborted`, `MapStateAborted`, `ParallelStateAborted`.
    StateAborted {
        state_type: StateType,
    },

    LambdaFunctionScheduled {
        resource: Arc<str>,
        input: Arc<Value>,
        timeout_s: Option<u64>,
        /// `taskCredentials`: the role of the state's `Credentials`.
        role_arn: Option<String>,
    },
    LambdaFunctionStarted,
    LambdaFunctionSucceeded {
        output: Arc<Value>,
    },
    LambdaFunctionFailed {
        error: String,
        cause: String,
    },
    LambdaFunctionTimedOut {
        error: String,
        cause: Option<String>,
    },

    ActivityScheduled {
        resource: Arc<str>,
        input: Arc<Value>,
        timeout_s: Option<u64>,
        heartbeat_s: Option<u64>,
    },
    ActivityStarted {
        worker: Option<String>,
    },
    ActivitySucceeded {
        output: Arc<Value>,
    },
    ActivityFailed {
        error: String,
        cause: String,
    },
    ActivityTimedOut {
        error: String,
        cause: Option<String>,
    },

    /// The region is the engine's to fill in: a definition does not name one.
    TaskScheduled {
        resource: Resource,
        parameters: Arc<Value>,
        timeout_s: Option<u64>,
        heartbeat_s: Option<u64>,
        /// `taskCredentials`: the role of the state's `Credentials`.
        role_arn: Option<String>,
    },
    TaskStarted {
        resource: Resource,
    },
    TaskSubmitted {
        resource: Resource,
        output: Arc<Value>,
    },
    TaskSubmitFailed {
        resource: Resource,
        error: String,
        cause: String,
    },
    TaskSucceeded {
        resource: Resource,
        output: Arc<Value>,
    },
    TaskFailed {
        resource: Resource,
        error: String,
        cause: String,
    },
    TaskTimedOut {
        resource: Resource,
        error: String,
        cause: Option<String>,
    },

    MapStateStarted {
        length: u64,
    },
    MapStateSucceeded,
    MapStateFailed,
    MapIterationStarted {
        name: String,
        index: u64,
    },
    MapIterationSucceeded {
        name: String,
        index: u64,
    },
    MapIterationFailed {
        name: String,
        index: u64,
    },
    MapIterationAborted {
        name: String,
        index: u64,
    },

    MapRunStarted {
        arn: String,
    },
    MapRunRedriven {
        arn: String,
        redrive_count: u32,
    },
    MapRunSucceeded,
    MapRunFailed {
        error: String,
        cause: String,
    },
    MapRunAborted,

    ParallelStateStarted,
    ParallelStateSucceeded,
    ParallelStateFailed,
}

/// The type of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // The names say it.
pub enum StateType {
    Task,
    Map,
    Parallel,
    Choice,
    Pass,
    Wait,
    Succeed,
    Fail,
}

impl StateType {
    /// As in a definition's `Type`.
    pub fn as_str(self) -> &'static str {
        match self {
            StateType::Task => "Task",
            StateType::Map => "Map",
            StateType::Parallel => "Parallel",
            StateType::Choice => "Choice",
            StateType::Pass => "Pass",
            StateType::Wait => "Wait",
            StateType::Succeed => "Succeed",
            StateType::Fail => "Fail",
        }
    }
}

impl EventKind {
    /// The input or output that is shared with the execution.
    pub(crate) fn payload(&self) -> Option<&Arc<Value>> {
        match self {
            EventKind::ExecutionStarted { input, .. } | EventKind::StateEntered { input, .. } => Some(input),
            EventKind::ExecutionSucceeded { output } | EventKind::StateExited { output, .. } => Some(output),
            _ => None,
        }
    }

    /// True for what ends an execution.
    pub(crate) fn is_end(&self) -> bool {
        matches!(
            self,
            EventKind::ExecutionSucceeded { .. }
                | EventKind::ExecutionFailed { .. }
                | EventKind::ExecutionTimedOut
                | EventKind::ExecutionAborted { .. }
        )
    }

    /// AWS's event type, for example `TaskStateEntered`.
    pub fn name(&self) -> &'static str {
        use StateType as S;
        match self {
            EventKind::ExecutionStarted { .. } => "ExecutionStarted",
            EventKind::ExecutionSucceeded { .. } => "ExecutionSucceeded",
            EventKind::ExecutionFailed { .. } => "ExecutionFailed",
            EventKind::ExecutionTimedOut => "ExecutionTimedOut",
            EventKind::ExecutionAborted { .. } => "ExecutionAborted",
            EventKind::ExecutionRedriven { .. } => "ExecutionRedriven",
            EventKind::StateEntered { state_type, .. } => match state_type {
                S::Task => "TaskStateEntered",
                S::Map => "MapStateEntered",
                S::Parallel => "ParallelStateEntered",
                S::Choice => "ChoiceStateEntered",
                S::Pass => "PassStateEntered",
                S::Wait => "WaitStateEntered",
                S::Succeed => "SucceedStateEntered",
                S::Fail => "FailStateEntered",
            },
            EventKind::StateExited { state_type, .. } => match state_type {
                S::Task => "TaskStateExited",
                S::Map => "MapStateExited",
                S::Parallel => "ParallelStateExited",
                S::Choice => "ChoiceStateExited",
                S::Pass => "PassStateExited",
                S::Wait => "WaitStateExited",
                S::Succeed => "SucceedStateExited",
                S::Fail => "FailStateExited",
            },
            EventKind::EvaluationFailed { .. } => "EvaluationFailed",
            EventKind::StateAborted { state_type } => match state_type {
                S::Map => "MapStateAborted",
                S::Parallel => "ParallelStateAborted",
                S::Wait => "WaitStateAborted",
                _ => "TaskStateAborted",
            },
            EventKind::LambdaFunctionScheduled { .. } => "LambdaFunctionScheduled",
            EventKind::LambdaFunctionStarted => "LambdaFunctionStarted",
            EventKind::LambdaFunctionSucceeded { .. } => "LambdaFunctionSucceeded",
            EventKind::LambdaFunctionFailed { .. } => "LambdaFunctionFailed",
            EventKind::LambdaFunctionTimedOut { .. } => "LambdaFunctionTimedOut",
            EventKind::ActivityScheduled { .. } => "ActivityScheduled",
            EventKind::ActivityStarted { .. } => "ActivityStarted",
            EventKind::ActivitySucceeded { .. } => "ActivitySucceeded",
            EventKind::ActivityFailed { .. } => "ActivityFailed",
            EventKind::ActivityTimedOut { .. } => "ActivityTimedOut",
            EventKind::TaskScheduled { .. } => "TaskScheduled",
            EventKind::TaskStarted { .. } => "TaskStarted",
            EventKind::TaskSubmitted { .. } => "TaskSubmitted",
            EventKind::TaskSubmitFailed { .. } => "TaskSubmitFailed",
            EventKind::TaskSucceeded { .. } => "TaskSucceeded",
            EventKind::TaskFailed { .. } => "TaskFailed",
            EventKind::TaskTimedOut { .. } => "TaskTimedOut",
            EventKind::MapStateStarted { .. } => "MapStateStarted",
            EventKind::MapStateSucceeded => "MapStateSucceeded",
            EventKind::MapStateFailed => "MapStateFailed",
            EventKind::MapIterationStarted { .. } => "MapIterationStarted",
            EventKind::MapIterationSucceeded { .. } => "MapIterationSucceeded",
            EventKind::MapIterationFailed { .. } => "MapIterationFailed",
            EventKind::MapIterationAborted { .. } => "MapIterationAborted",
            EventKind::MapRunStarted { .. } => "MapRunStarted",
            EventKind::MapRunRedriven { .. } => "MapRunRedriven",
            EventKind::MapRunSucceeded => "MapRunSucceeded",
            EventKind::MapRunFailed { .. } => "MapRunFailed",
            EventKind::MapRunAborted => "MapRunAborted",
            EventKind::ParallelStateStarted => "ParallelStateStarted",
            EventKind::ParallelStateSucceeded => "ParallelStateSucceeded",
            EventKind::ParallelStateFailed => "ParallelStateFailed",
        }
    }
}
