//! Expressions: whatever a field computes its value with.
//!
//! In the JSONPath dialect a path into the input, the context object or a variable, or an intrinsic function; in the
//! JSONata dialect what stands between `{%` and `%}`. Nothing outside this file asks which one it holds.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::Value;

use crate::context::Context;
use crate::error::{Failure, INTRINSIC_FAILURE};
use crate::intrinsics::{self, Call};
use crate::jsonpath::{JsonPath, NotFound};
use crate::query::{Answer, Query};
use crate::random::Random;
use crate::time::Timestamp;
use crate::variables::{Variables, is_name_part, is_name_start};

/// What an expression can see.
pub(crate) struct Environment<'a> {
    /// `$` of a path.
    pub(crate) input: &'a Value,
    /// What a JSONata expression sees as `$states`, beside the context object.
    pub(crate) states: States<'a>,
    pub(crate) context: &'a Context<'a>,
    pub(crate) variables: &'a Variables,
    pub(crate) random: &'a mut Random,
    /// `$now()` and `$millis()`: the time of the event, so that a replay says the same.
    pub(crate) at: Timestamp,
}

#[derive(Clone, Copy)]
pub(crate) struct States<'a> {
    pub(crate) input: &'a Arc<Value>,
    pub(crate) result: Option<&'a Arc<Value>>,
    pub(crate) error_output: Option<&'a Arc<Value>>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Expression {
    Path(JsonPath),
    /// The path with one `$`, from the context object's root.
    Context(JsonPath),
    Variable(Variable),
    Call(Call),
    Query(Query),
}

/// `$name` or `$name.path`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Variable {
    pub(crate) name: String,
    /// From the variable's value.
    pub(crate) path: JsonPath,
}

/// A type that a field can ask of a JSONata expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Array,
    Boolean,
    Number,
    String,
}

impl Type {
    fn name(self) -> &'static str {
        match self {
            Type::Array => "array",
            Type::Boolean => "boolean",
            Type::Number => "number",
            Type::String => "string",
        }
    }

    fn accepts(self, value: &Value) -> bool {
        self.name() == type_name(value)
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

impl Expression {
    /// Reads a path or an intrinsic function.
    pub(crate) fn parse(text: &str) -> Result<Expression, String> {
        if text.starts_with('$') { Expression::parse_path(text) } else { intrinsics::parse(text).map(Expression::Call) }
    }

    /// Reads a path into the input, the context object or a variable.
    pub(crate) fn parse_path(text: &str) -> Result<Expression, String> {
        if let Some((variable, length)) = Variable::parse_prefix(text)? {
            if length < text.len() {
                let at = text[..length].chars().count();
                return Err(format!("at character {at}: expected the end of the path"));
            }
            return Ok(Expression::Variable(variable));
        }
        let path = |text| JsonPath::parse(text).map_err(|error| error.to_string());
        match text.strip_prefix("$$") {
            Some(_) => path(&text[1..]).map(Expression::Context),
            None => path(text).map(Expression::Path),
        }
    }

    /// Names the workflow variables that are read.
    pub(crate) fn variables(&self, note: &mut dyn FnMut(&str)) {
        match self {
            Expression::Path(_) | Expression::Context(_) => {}
            Expression::Variable(variable) => note(&variable.name),
            Expression::Call(call) => call.variables(note),
            Expression::Query(query) => query.variables().for_each(note),
        }
    }

    /// The value of a template's field: fails with AWS's words for a template. `field` is the field's name with its
    /// `.$` in the JSONPath dialect, and its way from the state in the JSONata dialect.
    pub(crate) fn evaluate(&self, field: &str, environment: &mut Environment<'_>) -> Result<Value, Failure> {
        match self {
            Expression::Call(call) => evaluate_call(call, environment),
            Expression::Query(query) => evaluate_query(query, field, environment),
            _ => self.query(environment).map(Cow::into_owned).map_err(|_| {
                let root = self.root(environment);
                Failure::runtime(format!(
                    "The JSONPath '{self}' specified for the field '{field}' could not be found in the input '{root}'"
                ))
            }),
        }
    }

    /// The value of a field that is a path by itself (`InputPath`, `SecondsPath`, …): fails with AWS's words for those.
    pub(crate) fn look_up(&self, field: &str, environment: &mut Environment<'_>) -> Result<Value, Failure> {
        match self {
            Expression::Call(call) => evaluate_call(call, environment),
            Expression::Query(query) => evaluate_query(query, field, environment),
            _ => self
                .query(environment)
                .map(Cow::into_owned)
                .map_err(|not_found| Failure::runtime(format!("Invalid path '{self}' : {not_found}"))),
        }
    }

    /// The value of a field that must have a type. A path's value is the caller's to check.
    pub(crate) fn typed(
        &self,
        field: &str,
        expected: Type,
        environment: &mut Environment<'_>,
    ) -> Result<Value, Failure> {
        let value = self.look_up(field, environment)?;
        match self {
            Expression::Query(query) if !expected.accepts(&value) => {
                let cause = format!(
                    "The JSONata expression '{}' specified for the field '{field}' returned an unexpected result type. Expected '{}', but was '{}' for value: {value}",
                    query.as_str(),
                    expected.name(),
                    type_name(&value)
                );
                Err(Failure::evaluation(Some(field), cause))
            }
            _ => Ok(value),
        }
    }

    /// What a path points at.
    pub(crate) fn query<'v>(&self, environment: &'v Environment<'_>) -> Result<Cow<'v, Value>, NotFound> {
        match self {
            Expression::Path(path) => path.query(environment.input),
            Expression::Context(path) => environment.context.query(path),
            Expression::Variable(variable) => variable.query(environment.variables),
            Expression::Call(_) | Expression::Query(_) => Err(NotFound::NoResults { path: self.to_string() }),
        }
    }

    /// True if a path points at something, be it null.
    pub(crate) fn exists(&self, environment: &Environment<'_>) -> bool {
        match self {
            Expression::Path(path) => path.exists(environment.input),
            Expression::Context(path) => path.exists(environment.context.value()),
            Expression::Variable(variable) => {
                environment.variables.get(&variable.name).is_some_and(|value| variable.path.exists(value))
            }
            Expression::Call(_) | Expression::Query(_) => false,
        }
    }

    /// What a path starts from, for messages.
    pub(crate) fn root(&self, environment: &Environment<'_>) -> Value {
        match self {
            Expression::Context(_) => environment.context.value().clone(),
            Expression::Variable(variable) => match environment.variables.get(&variable.name) {
                Some(value) => value.clone(),
                None => environment.input.clone(),
            },
            _ => environment.input.clone(),
        }
    }
}

impl Variable {
    /// Reads `$name…` at the beginning of `text` and says how many bytes it took; `None` if there is no name.
    pub(crate) fn parse_prefix(text: &str) -> Result<Option<(Variable, usize)>, String> {
        let Some(rest) = text.strip_prefix('$') else { return Ok(None) };
        if !rest.starts_with(is_name_start) {
            return Ok(None);
        }
        let length = rest.find(|c| !is_name_part(c)).unwrap_or(rest.len());
        let (name, rest) = rest.split_at(length);
        let (path, taken) = crate::jsonpath::parse_behind(rest).map_err(|mut error| {
            error.at += length + 1;
            error.to_string()
        })?;
        Ok(Some((Variable { name: name.to_owned(), path }, 1 + length + taken)))
    }

    pub(crate) fn query<'v>(&self, variables: &'v Variables) -> Result<Cow<'v, Value>, NotFound> {
        match variables.get(&self.name) {
            Some(value) => self.path.query(value),
            None => Err(NotFound::NoResults { path: self.to_string() }),
        }
    }
}

impl std::fmt::Display for Variable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "${}{}", self.name, self.path.behind_root())
    }
}

impl std::fmt::Display for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Expression::Path(path) => write!(f, "{path}"),
            Expression::Context(path) => write!(f, "${path}"),
            Expression::Variable(variable) => write!(f, "{variable}"),
            Expression::Call(call) => f.write_str(call.as_str()),
            Expression::Query(query) => f.write_str(query.as_str()),
        }
    }
}

fn evaluate_call(call: &Call, environment: &mut Environment<'_>) -> Result<Value, Failure> {
    call.evaluate(environment).map_err(|failure| match failure {
        intrinsics::Failure::PathNotFound { function, path, input } => Failure::runtime(format!(
            "The function '{function}' had the following error: The JsonPath argument for the field '{path}' could not be found in the input '{input}'"
        )),
        intrinsics::Failure::Function { function, problem } => {
            Failure::new(INTRINSIC_FAILURE, format!("The function '{function}' had the following error: {problem}"))
        }
    })
}

fn evaluate_query(query: &Query, field: &str, environment: &mut Environment<'_>) -> Result<Value, Failure> {
    let outcome = match query.evaluate(environment) {
        Ok(Answer::Value(value)) => return Ok(value),
        Ok(Answer::Undefined) => " returned nothing (undefined).".to_owned(),
        Ok(Answer::Unsupported) => " returned an unsupported result type.".to_owned(),
        Err(thrown) => format!(" threw an error during evaluation{thrown}"),
    };
    let cause = format!("The JSONata expression '{}' specified for the field '{field}'{outcome}", query.as_str());
    Err(Failure::evaluation(Some(field), cause))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn tells_the_kinds_apart() {
        let kind = |text: &str| match Expression::parse(text).unwrap() {
            Expression::Path(path) => format!("path {path}"),
            Expression::Context(path) => format!("context {path}"),
            Expression::Variable(variable) => format!("variable {} {}", variable.name, variable.path),
            Expression::Call(call) => format!("call {}", call.as_str()),
            Expression::Query(query) => format!("query {}", query.as_str()),
        };
        assert_eq!(kind("$.a"), "path $.a");
        assert_eq!(kind("$$.a"), "context $.a");
        assert_eq!(kind("$a"), "variable a $");
        assert_eq!(kind("$order.items[0]['x y']"), "variable order $.items[0]['x y']");
        assert_eq!(kind("$items[*]"), "variable items $[*]");
        assert_eq!(kind("States.UUID()"), "call States.UUID()");
        for text in ["$a b", "$1", "$a.", "$-", "x"] {
            assert!(Expression::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn prints_what_it_read(text in r"\$\$?[a-z]{0,3}([.\[\]'0-9a-z*]|\$){0,12}") {
            if let Ok(expression) = Expression::parse(&text) {
                prop_assert_eq!(expression.to_string(), text);
            }
        }
    }
}
