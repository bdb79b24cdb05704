//! The integration tests of this crate, as one program: each program more is linked anew.

mod definitions;
mod recorded;
mod replay;
mod step;
mod test_state;
