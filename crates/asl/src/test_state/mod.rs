//! TestState: one state, run alone.
//!
//! There is no second interpreter here. The state becomes a machine of its own ([`machine`]), an ordinary
//! [`Execution`](crate::Execution) runs it, and this module gives the answers: the mock's, or those of whoever
//! really makes the call.
//!
//! ```
//! use starmap_asl::Timestamp;
//! use starmap_asl::test_state::{Begun, Identity, Request, begin};
//!
//! let request = Request {
//!     definition: r#"{"Type": "Pass", "Parameters": {"z.$": "$.redshift"}, "Next": "Store"}"#.to_owned(),
//!     input: Some(r#"{"redshift": 0.31}"#.to_owned()),
//!     ..Request::default()
//! };
//! let Ok(Begun::Done(outcome)) = begin(&request, &Identity::default(), Timestamp(0)) else { panic!() };
//! assert_eq!(outcome.output.as_deref(), Some(r#"{"z": 0.31}"#));
//! assert_eq!(outcome.next_state.as_deref(), Some("Store"));
//! ```
//!
//! | file | owns |
//! |---|---|
//! | `request` | what is asked, and the ways to refuse it |
//! | `machine` | the state to test as a machine of one state |
//! | `context` | the context object: the caller's, or the one of an Express execution |
//! | `mock`, `shapes` | a mocked result against the response shape of the service |
//! | `run` | the execution, its questions and their answers |
//! | `outcome` | what is said about it |
//!
//! # Source
//! <https://docs.aws.amazon.com/step-functions/latest/apireference/API_TestState.html> (read 2026-11-27) and recordings.

mod context;
mod machine;
mod mock;
mod outcome;
mod request;
mod run;
mod shapes;
mod text;

pub use outcome::{ErrorDetails, HttpRequest, HttpResponse, Inspection, Outcome, Status};
pub use request::{Configuration, Error, Identity, Level, Mock, Request, ValidationMode};
pub use run::{Answer, Begun, Pending, PendingItems, begin};
