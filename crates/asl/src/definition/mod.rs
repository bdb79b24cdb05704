//! Definitions: JSON text → a checked [`StateMachine`], or everything that is wrong with it.
//!
//! | file | owns |
//! |---|---|
//! | `model` | what a checked definition is |
//! | `fields` | reading an object's fields and noting what is missing, mistyped or unknown |
//! | `scope` | `StartAt` + `States`: names, transitions, reachability |
//! | `state` | the fields of every type of state |
//! | `rule` | the rules of a Choice |
//! | `locate` | JSON pointer → line and column |

mod fields;
mod locate;
mod machine;
mod model;
mod rule;
mod scope;
mod state;

pub use machine::StateMachine;
pub use model::ExecutionType;
pub(crate) use model::*;
