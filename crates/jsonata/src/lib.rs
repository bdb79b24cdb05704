//! JSONata as AWS Step Functions speaks it: the language of jsonata.js 2.0.6, without `$eval` and with AWS's
//! `$partition`, `$range`, `$hash`, `$random(seed)`, `$uuid` and `$parse`.
//!
//! Pure: text and values in, a value out. Time and chance come from a [`Host`], so an evaluation can be replayed.
//! Bounded: expressions come from outside, and none of them may panic, overflow the stack or run on (see [`Limits`]).
//! The input is borrowed all the way: a path into a large value costs a few look-ups and no copy.
//!
//! ```
//! use serde_json::json;
//! use starmap_jsonata::{Bindings, Evaluated, Expression, Host};
//!
//! struct Fixed;
//!
//! impl Host for Fixed {
//!     fn now_ms(&self) -> i64 { 1_700_000_000_000 }
//!     fn random(&mut self) -> f64 { 0.5 }
//!     fn uuid(&mut self) -> String { "00000000-0000-4000-8000-000000000000".to_owned() }
//! }
//!
//! let expression = Expression::parse("$sum($states.input.galaxies[redshift > 0.2].count)")?;
//! let states = json!({ "input": { "galaxies": [
//!     { "redshift": 0.1, "count": 3 }, { "redshift": 0.3, "count": 4 }, { "redshift": 0.5, "count": 5 },
//! ]}});
//! let bindings = Bindings::from_iter([("states", states)]);
//! assert_eq!(expression.evaluate(None, &bindings, &mut Fixed)?, Evaluated::Value(json!(9)));
//! # Ok::<(), starmap_jsonata::Error>(())
//! ```

mod ancestry;
mod ast;
mod bindings;
mod error;
mod evaluate;
mod expression;
mod format;
mod functions;
mod host;
mod lexer;
mod limits;
mod parser;
mod regex;
mod signature;
mod value;

pub use bindings::Bindings;
pub use error::Error;
pub use expression::{Evaluated, Expression, Reference};
pub use host::Host;
pub use limits::Limits;
