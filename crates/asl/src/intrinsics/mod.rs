//! Intrinsic functions: `States.Format('{} rows', $.count)` and its seventeen siblings.
//!
//! `parse` reads a call and checks names and argument counts, so that a definition is refused before it runs;
//! the other files hold the functions by subject. Rules follow
//! <https://docs.aws.amazon.com/step-functions/latest/dg/intrinsic-functions.html>; where a recorded AWS execution
//! shows more than the page says, the recording wins and the test names it.

mod arrays;
mod call;
mod encoding;
mod json;
mod math;
mod parse;
mod strings;

pub(crate) use call::{Call, Failure};
pub(crate) use parse::parse;
