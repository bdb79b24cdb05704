//! The transition function: (execution, event) → commands.
//!
//! | file | owns |
//! |---|---|
//! | `flow` | entering, leaving and failing states; branches beginning, ending and being aborted |
//! | `effects` | asking for tasks, timers and map runs, and taking that back |
//! | `redrive` | going on where an execution ended |
//! | `inspect` | showing the values in between to TestState |
//! | `data` | paths, templates and the context object, applied to a branch |
//! | one per type of state | what the state does when it is entered and when it is answered |
//!
//! A branch is taken out of the execution while it is worked on and put back when it has something to wait for;
//! so every function below either parks a branch or passes it on, and none can forget it half-way.

mod choice;
mod data;
mod distributed;
mod effects;
mod fail;
mod flow;
mod inspect;
mod map;
mod parallel;
mod pass;
mod redrive;
mod succeed;
mod task;
mod wait;

use crate::command::Command;
use crate::event::{Event, MapRunId, TaskId, TimerId};
use crate::execution::{Execution, Phase, TimerPurpose};
use crate::history::EventKind;
use crate::time::Timestamp;

use self::flow::Step;
pub(crate) use self::inspect::{Inspector, Stage};

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
pub fn step(execution: &mut Execution, at: Timestamp, event: Event) -> Result<Vec<Command>, StepError> {
    advance(execution, at, event, None)
}

/// The same, with somebody looking on.
pub(crate) fn step_inspected(
    execution: &mut Execution,
    at: Timestamp,
    event: Event,
    inspector: &mut dyn Inspector,
) -> Result<Vec<Command>, StepError> {
    advance(execution, at, event, Some(inspector))
}

fn advance<'a>(
    execution: &'a mut Execution,
    at: Timestamp,
    event: Event,
    inspector: Option<&'a mut dyn Inspector>,
) -> Result<Vec<Command>, StepError> {
    check(execution, &event)?;
    let mut step = Step::new(execution, at, inspector);
    match (&step.execution.phase, event) {
        (Phase::NotStarted, Event::Started) => step.start(),
        (Phase::Ended(_), Event::Redriven) if step.execution.context.is_express => step.restart(),
        (Phase::Ended(_), Event::Redriven) => step.redrive(),
        (Phase::NotStarted | Phase::Ended(_), _) | (Phase::Running, Event::Started) => {}
        (Phase::Running, event) => step.answer(event),
    }
    Ok(step.run())
}

/// Refuses events that no execution in this state can get.
fn check(execution: &Execution, event: &Event) -> Result<(), StepError> {
    let id = || execution.context.execution_id.clone();
    if execution.phase == Phase::NotStarted && !matches!(event, Event::Started) {
        return Err(StepError::NotStarted { execution: id(), event: event.name() });
    }
    match *event {
        Event::Started | Event::StopRequested { .. } | Event::Redriven => Ok(()),
        Event::TaskScheduled { task }
        | Event::TaskRefused { task, .. }
        | Event::TaskStarted { task }
        | Event::ActivityStarted { task, .. }
        | Event::TaskSubmitted { task, .. }
        | Event::TaskSubmitFailed { task, .. }
        | Event::TaskSucceeded { task, .. }
        | Event::TaskFailed { task, .. }
        | Event::TaskHeartbeat { task } => match task.0 {
            1.. if task.0 <= execution.issued.task => Ok(()),
            _ => Err(StepError::UnknownTask { execution: id(), task }),
        },
        Event::TimerFired { timer } => match timer.0 {
            1.. if timer.0 <= execution.issued.timer => Ok(()),
            _ => Err(StepError::UnknownTimer { execution: id(), timer }),
        },
        Event::MapRunStarted { map_run, .. }
        | Event::MapRunRedriven { map_run, .. }
        | Event::MapRunSucceeded { map_run, .. }
        | Event::MapRunFailed { map_run, .. } => match map_run.0 {
            1.. if map_run.0 <= execution.issued.map_run => Ok(()),
            _ => Err(StepError::UnknownMapRun { execution: id(), map_run }),
        },
    }
}

impl Step<'_> {
    /// Hands an event to the branch that waits for it. Nobody waiting means a late answer.
    fn answer(&mut self, event: Event) {
        match event {
            Event::Started | Event::Redriven => {}
            Event::StopRequested { error, cause } => self.stop(error, cause),
            Event::TaskScheduled { task } => self.task_scheduled(task),
            Event::TaskRefused { task, cause } => self.task_refused(task, cause),
            Event::ActivityStarted { task, worker } => self.activity_started(task, worker),
            Event::TaskSubmitFailed { task, error, cause } => self.task_submit_failed(task, error, cause),
            Event::TaskStarted { task } => self.task_started(task),
            Event::TaskSubmitted { task, output } => self.task_submitted(task, output),
            Event::TaskSucceeded { task, output } => self.task_succeeded(task, output),
            Event::TaskFailed { task, error, cause } => self.task_failed(task, error, cause),
            Event::TaskHeartbeat { task } => self.task_heartbeat(task),
            Event::MapRunStarted { map_run, arn } => self.map_run_begun(map_run, EventKind::MapRunStarted { arn }),
            Event::MapRunRedriven { map_run, arn, redrive_count } => {
                self.map_run_begun(map_run, EventKind::MapRunRedriven { arn, redrive_count });
            }
            Event::MapRunSucceeded { map_run, output } => self.map_run_succeeded(map_run, output),
            Event::MapRunFailed { map_run, error, cause } => self.map_run_failed(map_run, error, cause),
            Event::TimerFired { timer } => match self.end_timer(timer) {
                None => {}
                Some(TimerPurpose::Machine) => self.machine_timed_out(),
                Some(TimerPurpose::TaskTimeout(branch)) => self.task_timed_out(branch),
                Some(TimerPurpose::Heartbeat(branch)) => self.task_went_silent(branch),
                Some(TimerPurpose::Wait(branch)) => self.wait_is_over(branch),
                Some(TimerPurpose::Retry(branch)) => self.retry(branch),
            },
        }
    }
}
