//! Amazon States Language: definitions, diagnostics, paths, intrinsics and the pure [`step`] function.
//!
//! Nothing here performs an effect. A driver (see `starmap-engine`) feeds [`Event`]s to an [`Execution`]
//! and carries out the [`Command`]s it gets back.

mod command;
mod definition;
mod diagnostics;
mod event;
mod execution;
mod history;
mod resource;
mod step;
mod time;

pub use command::{Command, MapRunSpec, Outcome, ProcessorPath, TaskInvocation};
pub use definition::{ExecutionType, StateMachine};
pub use diagnostics::{Code, Diagnostic, Position, Severity};
pub use event::{Event, MapRunId, TaskId, TimerId};
pub use execution::{Execution, ExecutionContext, Options, Status};
pub use history::{EventKind, HistoryEvent, StateType};
pub use resource::{Pattern, Resource};
pub use step::{StepError, step};
pub use time::Timestamp;
