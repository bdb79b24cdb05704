//! The integration tests of this crate, as one program: each program more is linked anew.

mod common;
mod console;
mod executions;
mod http;
mod lambda;
mod map_runs;
mod resources;
mod s3;
mod support;
