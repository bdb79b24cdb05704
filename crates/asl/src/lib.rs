//! Amazon States Language: definitions, diagnostics, paths, intrinsics and the pure [`step`] function.
//!
//! Nothing here performs an effect. A driver (see `starmap-engine`) feeds [`Event`]s to an [`Execution`]
//! and carries out the [`Command`]s it gets back.

mod choice;
mod command;
mod context;
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
mod map_run;
mod query;
mod random;
mod resource;
mod retry;
mod size;
mod step;
mod template;
pub mod test_state;
#[cfg(test)]
mod testing;
mod time;
mod token;
mod validation;
mod variables;

pub use command::{Command, Outcome, ProcessorPath, TaskInvocation};
pub use definition::{ExecutionType, StateMachine};
pub use diagnostics::{Code, Diagnostic, Position, Severity, refusal};
pub use event::{Event, MapRunId, TaskId, TimerId};
pub use execution::{Execution, ExecutionContext, Options, Status};
pub use history::{EventKind, HistoryEvent, StateType};
pub use map_run::{
    Batching, CsvConfig, CsvHeaders, Destination, InputType, ItemSource, ManifestType, MapRunSpec, NotSelected,
    OutputType, ReaderAction, ReaderRequest, ReaderTransformation, Selection, Writer, WriterTransformation,
};
pub use resource::{Pattern, Resource};
pub use step::{StepError, step};
pub use time::Timestamp;
pub use token::TaskToken;
pub use validation::{Validation, check, validate};
