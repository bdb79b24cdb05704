//! Definitions: JSON text → a checked [`StateMachine`], or everything that is wrong with it.
//!
//! | file | owns |
//! |---|---|
//! | `model` | what a checked definition is |
//! | `fields` | reading an object's fields and noting what is missing, mistyped or unknown |
//! | `scope` | `StartAt` + `States` |
//! | `graph` | transitions: targets, reachability, an end |
//! | `state`, `task`, `map` | the fields of every type of state |
//! | `distributed` | what only a Distributed Map has |
//! | `handling` | `Retry`, `Catch` and the way of a result |
//! | `rule` | the rules of a Choice |
//! | `assign` | `Assign`: names and scopes of variables |
//! | `locate` | JSON pointer → line and column |

mod assign;
mod distributed;
mod fields;
mod graph;
mod handling;
mod locate;
mod machine;
mod map;
mod model;
mod rule;
mod scope;
mod state;
mod task;

pub(crate) use distributed::{Distributed, ItemBatcher, ItemReader, ResultWriter};
pub(crate) use locate::locate;
pub use machine::StateMachine;
pub use model::ExecutionType;
pub(crate) use model::*;
