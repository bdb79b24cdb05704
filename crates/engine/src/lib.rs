//! Durable executions: journal, driver, map runs, timers, retries and recovery.
//!
//! The path of a decision: [`engine`] takes a call, `driver` collects what happened into a turn,
//! [`core`] decides by `starmap_asl::step`, [`journal`] makes the turn durable, and only then `driver`
//! acts through [`invoker`]. After a crash [`core`] replays the journal.

pub mod access;
pub mod billing;
pub mod clock;
pub mod core;
mod driver;
pub mod engine;
mod integration;
pub mod invoker;
pub mod items;
pub mod journal;
pub mod limits;
mod map_run;
pub mod names;
pub mod objects;
mod once;
pub mod registry;
pub mod results;
pub mod services;
pub mod simulate;

pub use core::{INPUT_TEXT, NewExecution};
pub use driver::{Start, Started};
pub use engine::{ActivityTask, Engine, Error, Notice, Parts};
