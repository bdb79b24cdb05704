//! Durable resources: state machines with their revisions, versions and aliases, activities, tags.
//!
//! All of them are in memory ([`Resources`]) and in the journal. A change is decided on the memory, applied to it and
//! handed to the driver in the same order, so that both always agree; the caller is answered once the journal has it
//! (see [`Engine::change`](crate::Engine::change)). Changes go through the driver's turn and not through a second
//! connection: SQLite has one writer, and a turn's commit is shared with whatever else the turn decided.
//!
//! An execution remembers the [`Revision`] that it was started with. Revisions never change and are never removed,
//! so an updated or deleted state machine does not change what an execution did or does.

mod records;
mod resources;
pub(crate) mod tables;

pub use records::{
    ActivityRecord, AliasRecord, Change, MachineKind, Revision, RevisionRow, Route, StateMachineRecord, Tag,
    VersionRecord,
};
pub use resources::Resources;
