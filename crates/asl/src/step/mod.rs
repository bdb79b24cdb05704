//! The transition function.
use crate::command::Command;
use crate::event::{Event, MapRunId, TaskId, TimerId};
use crate::execution::Execution;
use crate::time::Timestamp;

/// An event that cannot belong to the execution it was fed to: a mistake of the driver's, not of the definition's.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum StepError {
    /// The first event was not `Started`.
    #[error("execution {execution}: got {event} before Started")]
    NotStarted {
        /// The execution's ARN.
        execution: String,
        /// The event's name.
        event: &'static str,
    },
    /// The event answers a task that was never asked for.
    #[error("execution {execution}: task {} was never asked for", task.0)]
    UnknownTask {
        /// The execution's ARN.
        execution: String,
        /// The task.
        task: TaskId,
    },
    /// The event answers a timer that was never asked for.
    #[error("execution {execution}: timer {} was never asked for", timer.0)]
    UnknownTimer {
        /// The execution's ARN.
        execution: String,
        /// The timer.
        timer: TimerId,
    },
    /// The event answers a map run that was never asked for.
    #[error("execution {execution}: map run {} was never asked for", map_run.0)]
    UnknownMapRun {
        /// The execution's ARN.
        execution: String,
        /// The map run.
        map_run: MapRunId,
    },
}

/// Advances one execution by one event and says what must happen next.
///
/// Pure: no clock, no disk, no `await`. The caller appends `event` to the journal before calling and carries out
/// the commands after, in order. Late and repeated answers, and anything after the end, are ignored: `Ok(vec![])`.
///
/// # Errors
/// [`StepError`] for an answer to something the execution never asked for; the execution is unchanged then.
pub fn step(_execution: &mut Execution, _at: Timestamp, _event: Event) -> Result<Vec<Command>, StepError> {
    Ok(Vec::new())
}
