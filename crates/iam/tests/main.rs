//! The integration tests of this crate, as one program: each program more is linked anew.

mod cases;
mod properties;
