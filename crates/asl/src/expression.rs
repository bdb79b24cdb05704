//! Expressions of the JSONPath dialect: a path, a path into the context object, or an intrinsic function.
//!
//! This is the seam for more of the language: variables and JSONata become further variants of [`Expression`],
//! and nothing outside this file asks which one it holds.

use std::borrow::Cow;

use serde_json::Value;

use crate::error::{Failure, INTRINSIC_FAILURE};
use crate::intrinsics::{self, Call};
use crate::jsonpath::JsonPath;
use crate::random::Random;

/// What an expression can see.
pub(crate) struct Environment<'a> {
    pub(crate) input: &'a Value,
    /// The context object (`$$`); null where [`Expression::uses_context`] is false for all that is evaluated.
    pub(crate) context: &'a Value,
    pub(crate) random: &'a mut Random,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Expression {
    Path(JsonPath),
    /// The path with one `$`, from the context object's root.
    Context(JsonPath),
    Call(Call),
}

impl Expression {
    /// Reads a path or an intrinsic function.
    pub(crate) fn parse(text: &str) -> Result<Expression, String> {
        if text.starts_with('$') { Expression::parse_path(text) } else { intrinsics::parse(text).map(Expression::Call) }
    }

    /// Reads a path into the input or the context object.
    pub(crate) fn parse_path(text: &str) -> Result<Expression, String> {
        let path = |text| JsonPath::parse(text).map_err(|error| error.to_string());
        match text.strip_prefix("$$") {
            Some(_) => path(&text[1..]).map(Expression::Context),
            None => path(text).map(Expression::Path),
        }
    }

    pub(crate) fn uses_context(&self) -> bool {
        match self {
            Expression::Path(_) => false,
            Expression::Context(_) => true,
            Expression::Call(call) => call.uses_context(),
        }
    }

    /// The value of a template's field: fails with AWS's words for a template.
    pub(crate) fn evaluate(&self, field: &str, environment: &mut Environment<'_>) -> Result<Value, Failure> {
        let (path, root) = match self {
            Expression::Path(path) => (path, environment.input),
            Expression::Context(path) => (path, environment.context),
            Expression::Call(call) => return evaluate_call(call, environment),
        };
        path.query(root).map(Cow::into_owned).map_err(|_| {
            Failure::runtime(format!(
                "The JSONPath '{self}' specified for the field '{field}' could not be found in the input '{root}'"
            ))
        })
    }

    /// The value of a field that is a path by itself (`InputPath`, `SecondsPath`, …): fails with AWS's words for those.
    pub(crate) fn look_up(&self, environment: &mut Environment<'_>) -> Result<Value, Failure> {
        let (path, root) = match self {
            Expression::Path(path) => (path, environment.input),
            Expression::Context(path) => (path, environment.context),
            Expression::Call(call) => return evaluate_call(call, environment),
        };
        path.query(root)
            .map(Cow::into_owned)
            .map_err(|not_found| Failure::runtime(format!("Invalid path '{self}' : {not_found}")))
    }
}

impl std::fmt::Display for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Expression::Path(path) => write!(f, "{path}"),
            Expression::Context(path) => write!(f, "${path}"),
            Expression::Call(call) => f.write_str(call.as_str()),
        }
    }
}

fn evaluate_call(call: &Call, environment: &mut Environment<'_>) -> Result<Value, Failure> {
    call.evaluate(environment.input, environment.context, environment.random).map_err(|failure| match failure {
        intrinsics::Failure::PathNotFound { function, path, input } => Failure::runtime(format!(
            "The function '{function}' had the following error: The JsonPath argument for the field '{path}' could not be found in the input '{input}'"
        )),
        intrinsics::Failure::Function { function, problem } => {
            Failure::new(INTRINSIC_FAILURE, format!("The function '{function}' had the following error: {problem}"))
        }
    })
}
