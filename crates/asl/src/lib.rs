//! Amazon States Language: definitions, diagnostics, paths, intrinsics and the pure [`step`] function.
//!
//! Nothing here performs an effect. A driver (see `starmap-engine`) feeds [`Event`]s to an [`Execution`]
//! and carries out the [`Command`]s it gets back.

mod choice;
mod command;
mod definition;
mod diagnostics;
mod error;
mod event;
mod execution;
mod expression;
mod history;
mod intrinsics;
pub mod json_text;
pub mod jsonpath;
mod random;
mod resource;
mod retry;
mod step;
mod template;
pub mod test_state;
mod time;
mod token;

pub use command::{Command, MapRunSpec, Outcome, ProcessorPath, TaskInvocation};
pub use definition::{ExecutionType, StateMachine};
pub use diagnostics::{Code, Diagnostic, Position, Severity, refusal};
pub use event::{Event, MapRunId, TaskId, TimerId};
pub use execution::{Execution, ExecutionContext, Options, Status};
pub use history::{EventKind, HistoryEvent, StateType};
pub use resource::{Pattern, Resource};
pub use step::{StepError, step};
pub use time::Timestamp;
pub use token::TaskToken;
