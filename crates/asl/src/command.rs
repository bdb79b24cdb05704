//! What must happen next: the outputs of [`step`](crate::step), carried out by a driver.

use std::sync::Arc;

use serde_json::Value;

use crate::event::{MapRunId, TaskId, TimerId};
use crate::history::HistoryEvent;
use crate::map_run::MapRunSpec;
use crate::resource::Resource;
use crate::time::Timestamp;

/// One effect. Commands are carried out in the order they are returned.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Append this to the execution's history.
    Record(Box<HistoryEvent>),
    /// Run one attempt of a task; answer with `TaskStarted`, then `TaskSucceeded` or `TaskFailed`.
    InvokeTask(Box<TaskInvocation>),
    /// The answer is no longer wanted. An answer that comes all the same is ignored.
    CancelTask {
        /// Which attempt.
        task: TaskId,
    },
    /// Answer with `TimerFired` at or after `due`.
    StartTimer {
        /// Which timer.
        timer: TimerId,
        /// When; may lie in the past, then fire at once.
        due: Timestamp,
    },
    /// The timer is no longer wanted.
    CancelTimer {
        /// Which timer.
        timer: TimerId,
    },
    /// Run the items of a Distributed Map as child executions; answer with `MapRunStarted`, then
    /// `MapRunSucceeded` or `MapRunFailed`.
    StartMapRun {
        /// Which map run.
        map_run: MapRunId,
        /// What to run.
        spec: Arc<MapRunSpec>,
    },
    /// Run again what did not succeed of a map run that ended, and what it never started; answer with
    /// `MapRunRedriven`, then `MapRunSucceeded` or `MapRunFailed`.
    RedriveMapRun {
        /// Which map run.
        map_run: MapRunId,
        /// What to run: the same as at first.
        spec: Arc<MapRunSpec>,
    },
    /// Stop the map run and its children.
    CancelMapRun {
        /// Which map run.
        map_run: MapRunId,
    },
    /// The execution is over; always the last command of an execution.
    Finish(Outcome),
}

/// One attempt of a Task, ready to be carried out.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskInvocation {
    /// Which attempt; answers carry it.
    pub task: TaskId,
    /// The state's name.
    pub state: String,
    /// What to call.
    pub resource: Resource,
    /// The state's input after `InputPath` and `Parameters`: what a plain function ARN gets as its event,
    /// and the call's parameters (`FunctionName`, `Payload`, …) for a service integration.
    pub arguments: Arc<Value>,
    /// The token of a `.waitForTaskToken` task or an activity: what `$$.Task.Token` says.
    pub token: Option<String>,
    /// The role of the state's `Credentials`, if it has them.
    pub role_arn: Option<String>,
    /// How many attempts of this state were made before this one.
    pub retry_count: u32,
    /// The attempt's time limit in seconds, if the definition sets one. The execution keeps it itself; it is here for information.
    pub timeout_s: Option<u64>,
    /// Longest silence between heartbeats in seconds, if the definition sets one; kept by the execution, too.
    pub heartbeat_s: Option<u64>,
}

/// Where in a definition the processor of a Map is: a JSON pointer from the definition's root,
/// for example `/States/Distributed Test/ItemProcessor`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProcessorPath(pub String);

/// How an execution ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// With a result.
    Succeeded {
        /// The output of the last state.
        output: Arc<Value>,
    },
    /// With an error nobody caught, or in a Fail state.
    Failed {
        /// The error's name; a Fail state may have none.
        error: Option<String>,
        /// For people.
        cause: Option<String>,
    },
    /// The machine's own `TimeoutSeconds` ran out.
    TimedOut,
    /// On request.
    Aborted {
        /// As given to `StopExecution`.
        error: Option<String>,
        /// As given to `StopExecution`.
        cause: Option<String>,
    },
}
