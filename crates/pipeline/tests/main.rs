//! The integration tests of this crate, as one program: each program more is linked anew.

mod bootstrap;
mod common;
mod pipeline;
#[path = "../../cli/tests/proxy/mod.rs"]
#[allow(dead_code, reason = "the faults of other tests")]
mod proxy;
mod repair;
mod s3;
mod survey;
mod verify;
