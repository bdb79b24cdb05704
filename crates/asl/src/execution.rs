//! The state of one running execution.
use serde_json::Value;

use crate::command::{Command, Outcome};
use crate::definition::StateMachine;
use crate::time::Timestamp;

/// Who an execution is: what `$$.Execution` and `$$.StateMachine` say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExecutionContext {
    /// The execution's ARN: `$$.Execution.Id`.
    pub execution_id: String,
    /// `$$.Execution.Name`.
    pub execution_name: String,
    /// `$$.Execution.RoleArn`.
    pub role_arn: String,
    /// `$$.Execution.StartTime`.
    pub start_time: Timestamp,
    /// The state machine's ARN: `$$.StateMachine.Id`.
    pub state_machine_id: String,
    /// `$$.StateMachine.Name`.
    pub state_machine_name: String,
    /// `$$.Execution.RedriveCount`.
    pub redrive_count: u32,
}

/// Limits and seeds of an execution. They are part of what must be the same for a replay to be the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Largest size of a state's input or output as JSON text, in bytes (AWS: 262,144); `None` is no limit.
    pub payload_bytes_max: Option<usize>,
    /// Seeds jitter, `States.UUID` and `States.MathRandom`.
    pub seed: u64,
}

/// Where an execution stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Status {
    /// Not over (or not yet started).
    Running,
    /// Over.
    Ended(Outcome),
}

/// The interpreter's state of one execution: everything [`step`](crate::step) needs and changes.
///
/// It is not stored. After a crash it is rebuilt by feeding the journaled events to a new one.
#[derive(Clone, Debug)]
pub struct Execution {}

impl Execution {
    /// An execution that has not begun; its first event is [`Event::Started`](crate::Event::Started).
    pub fn new(_machine: StateMachine, _context: ExecutionContext, _input: Value, _options: Options) -> Execution {
        Execution {}
    }

    /// Effects asked for and not yet answered (`InvokeTask`, `StartTimer`, `StartMapRun`), oldest first:
    /// what a driver must issue again after a replay.
    pub fn outstanding(&self) -> Vec<Command> {
        Vec::new()
    }

    /// Where the execution stands.
    pub fn status(&self) -> Status {
        Status::Running
    }
}
