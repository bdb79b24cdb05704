//! What can happen to an execution: the inputs of [`step`](crate::step).

use std::sync::Arc;

use serde_json::Value;

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);
    };
}

counter! {
    /// One attempt of one Task; every retry is a new one. Counts from 1 within an execution.
    TaskId
}
counter! {
    /// One timer. Counts from 1 within an execution.
    TimerId
}
counter! {
    /// One attempt of one Distributed Map. Counts from 1 within an execution.
    MapRunId
}

/// Something that happened, in the order in which it is journaled.
///
/// Feeding the same events with the same times to a new [`Execution`](crate::Execution) rebuilds it exactly.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The execution begins. Always the first event; a second one is ignored.
    Started,
    /// The activity of the task is there, and the task waits for a worker.
    TaskScheduled {
        /// Which attempt.
        task: TaskId,
    },
    /// The task can't be carried out at all; the state fails with `States.Runtime`.
    TaskRefused {
        /// Which attempt.
        task: TaskId,
        /// For people.
        cause: String,
    },
    /// Somebody took the task: a worker, a service.
    TaskStarted {
        /// Which attempt.
        task: TaskId,
    },
    /// A worker took the task of an activity.
    ActivityStarted {
        /// Which attempt.
        task: TaskId,
        /// As the worker calls itself.
        worker: Option<String>,
    },
    /// The integrated service accepted a `.sync` or `.waitForTaskToken` task and will finish it later.
    TaskSubmitted {
        /// Which attempt.
        task: TaskId,
        /// The service's answer to the submission.
        output: Value,
    },
    /// The integrated service did not accept a `.sync` or `.waitForTaskToken` task.
    TaskSubmitFailed {
        /// Which attempt.
        task: TaskId,
        /// The name that `Retry` and `Catch` match on.
        error: String,
        /// For people.
        cause: String,
    },
    /// The task gave its result.
    TaskSucceeded {
        /// Which attempt.
        task: TaskId,
        /// The raw result, as the state machine sees it before `ResultSelector`.
        output: Arc<Value>,
    },
    /// The task gave an error.
    TaskFailed {
        /// Which attempt.
        task: TaskId,
        /// The name that `Retry` and `Catch` match on.
        error: String,
        /// For people; often a JSON text.
        cause: String,
    },
    /// The task lives: its heartbeat time-out starts anew.
    TaskHeartbeat {
        /// Which attempt.
        task: TaskId,
    },
    /// A timer asked for by [`Command::StartTimer`](crate::Command::StartTimer) is due.
    TimerFired {
        /// Which timer.
        timer: TimerId,
    },
    /// The engine has made the map run and knows its ARN.
    MapRunStarted {
        /// Which map run.
        map_run: MapRunId,
        /// The map run's ARN.
        arn: String,
    },
    /// The engine goes on with a map run that had ended.
    MapRunRedriven {
        /// Which map run.
        map_run: MapRunId,
        /// The map run's ARN.
        arn: String,
        /// How often it has been redriven.
        redrive_count: u32,
    },
    /// All items of a map run ended and the tolerated failures were kept.
    MapRunSucceeded {
        /// Which map run.
        map_run: MapRunId,
        /// The array of the items' outputs.
        output: Arc<Value>,
    },
    /// A map run failed.
    MapRunFailed {
        /// Which map run.
        map_run: MapRunId,
        /// For example `States.ExceedToleratedFailureThreshold`.
        error: String,
        /// For people.
        cause: String,
    },
    /// An execution that did not succeed goes on where it ended; an Express execution, which only a map run redrives,
    /// begins again.
    Redriven,
    /// Somebody asked for the execution to be aborted.
    StopRequested {
        /// As given to `StopExecution`.
        error: Option<String>,
        /// As given to `StopExecution`.
        cause: Option<String>,
    },
}

impl Event {
    /// The variant's name, for messages.
    pub fn name(&self) -> &'static str {
        match self {
            Event::Started => "Started",
            Event::TaskScheduled { .. } => "TaskScheduled",
            Event::TaskRefused { .. } => "TaskRefused",
            Event::TaskStarted { .. } => "TaskStarted",
            Event::ActivityStarted { .. } => "ActivityStarted",
            Event::TaskSubmitFailed { .. } => "TaskSubmitFailed",
            Event::TaskSubmitted { .. } => "TaskSubmitted",
            Event::TaskSucceeded { .. } => "TaskSucceeded",
            Event::TaskFailed { .. } => "TaskFailed",
            Event::TaskHeartbeat { .. } => "TaskHeartbeat",
            Event::TimerFired { .. } => "TimerFired",
            Event::MapRunStarted { .. } => "MapRunStarted",
            Event::MapRunRedriven { .. } => "MapRunRedriven",
            Event::MapRunSucceeded { .. } => "MapRunSucceeded",
            Event::MapRunFailed { .. } => "MapRunFailed",
            Event::Redriven => "Redriven",
            Event::StopRequested { .. } => "StopRequested",
        }
    }
}
