//! The integration tests of this crate, as one program: each program more is linked anew.

mod refusals;
mod s3;
