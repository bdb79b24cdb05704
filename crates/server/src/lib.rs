//! All HTTP of the orchestration half: AWS's wire protocols over the engine.
//!
//! The path of a request: [`http`] accepts it, [`router`] finds its protocol, `aws_json` reads the action's name
//! and writes the answer, [`sfn`] does what the action says. AWS's names of members and errors live here and
//! nowhere else; the engine speaks in its own types.
//!
//! For people there is the [`console`], below `/console`.
//!
//! Beside Step Functions there are [`lambda`] over the workers, [`s3`] over the buckets, [`iam`] and [`sts`] over the roles,
//! and [`logs`] over what functions print. [`services`] is how a Task reaches them without HTTP. Where requests must be
//! signed, [`auth`] verifies them before their protocol sees them.

pub mod auth;
mod aws_json;
pub mod console;
mod error;
pub mod http;
pub mod iam;
pub mod lambda;
mod limits;
pub mod logs;
mod origin;
mod page;
mod query;
pub mod roles;
pub mod router;
pub mod s3;
pub mod services;
pub mod sfn;
pub mod sts;
mod times;
mod wire;
mod xml;

pub use auth::Auth;
pub use aws_json::AwsJson;
pub use console::Console;
pub use error::ApiError;
pub use http::Server;
pub use origin::Hosts;
pub use page::Page;
pub use query::AwsQuery;
pub use router::{Protocol, Router};
pub use sfn::StepFunctions;
