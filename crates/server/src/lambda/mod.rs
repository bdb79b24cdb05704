//! The Lambda API: functions that are created, changed and invoked while the server runs.
//!
//! - [`Lambda`] carries out actions by their names; the REST protocol and the `aws-sdk:lambda` tasks stand on it.
//! - `catalog`: which functions there are, durably, and which version a name means. It is also the engine's
//!   [`Invoker`](starmap_engine::invoker::Invoker), in front of the workers.
//! - `record`: a function as it is kept. `code`: archives, unpacked safely, by the hash of their content.
//! - `runtimes`: what has to be started for a function.
//! - [`protocol`]: REST and JSON.
//!
//! Code that is created here runs as the user who started the server, with that user's rights. Nothing is created
//! unasked, and the server listens on loopback only unless told otherwise.

mod actions;
mod catalog;
mod check;
mod code;
mod error;
mod invoke;
mod permissions;
pub mod protocol;
mod record;
mod runtimes;
mod versions;

pub use actions::Lambda;
pub use catalog::{Catalog, Credentials, Place};
pub use error::Error;
pub use protocol::LambdaRest;
