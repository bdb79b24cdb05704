//! All HTTP of the orchestration half: AWS's wire protocols over the engine.
//!
//! The path of a request: [`http`] accepts it, [`router`] finds its protocol, `aws_json` reads the action's name
//! and writes the answer, [`sfn`] does what the action says. AWS's names of members and errors live here and
//! nowhere else; the engine speaks in its own types.

mod aws_json;
mod error;
pub mod http;
mod limits;
pub mod router;
pub mod sfn;
#[allow(dead_code, reason = "members and constraints of actions that come next")]
mod wire;

pub use aws_json::AwsJson;
pub use error::ApiError;
pub use http::Server;
pub use router::{Protocol, Router};
pub use sfn::StepFunctions;
