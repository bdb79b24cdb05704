//! The integration tests of this crate, as one program: each program more is linked anew.

mod checkpoints;
mod hostile;
mod partitions;
mod reference;
mod support;
