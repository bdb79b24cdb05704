//! The members of a request, read one by one and checked as AWS's front end checks them.
//!
//! Wrong types are refused at once (`SerializationException`); values outside their constraints are collected and
//! refused together by [`Members::finish`], in AWS's words. Unknown members are ignored, as AWS does.

use std::cell::RefCell;
use std::fmt::Write;

use serde_json::{Map, Value};

use crate::error::ApiError;

/// A constraint of AWS's service model.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Is {
    /// A string of so many characters.
    Length(usize, usize),
    /// The same, of a string that no message repeats.
    Secret(usize, usize),
    /// An integer of a range.
    Range(i64, i64),
    /// One of these, in the order in which AWS lists them.
    OneOf(&'static [&'static str]),
}

/// Name of a resource.
pub(crate) const NAME: Is = Is::Length(1, 80);
/// ARN of anything but a version or a map run.
pub(crate) const ARN: Is = Is::Length(1, 256);
/// ARN of a version or a map run.
pub(crate) const LONG_ARN: Is = Is::Length(1, 2_000);
/// `maxResults`.
pub(crate) const PAGE_SIZE: Is = Is::Range(0, 1_000);
/// `nextToken` of all but `ListExecutions`.
pub(crate) const PAGE_TOKEN: Is = Is::Length(1, 1_024);
/// Any string.
pub(crate) const ANY: Is = Is::Length(0, usize::MAX);

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Members<'a> {
    members: &'a Map<String, Value>,
    path: String,
    violations: &'a RefCell<Vec<String>>,
}

/// Reads the body of a request; an empty one is an empty object.
pub(crate) fn parse(body: &[u8]) -> Result<Map<String, Value>, ApiError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Map::new());
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(serialization("Start of structure or map found where not expected.")),
        Err(_) => Err(serialization("")),
    }
}

impl<'a> Members<'a> {
    /// Reads `members`, collecting what is wrong in `violations`.
    pub(crate) fn new(members: &'a Map<String, Value>, violations: &'a RefCell<Vec<String>>) -> Self {
        Self { members, path: String::new(), violations }
    }

    fn get(&self, name: &str) -> Option<&'a Value> {
        self.members.get(name).filter(|value| !value.is_null())
    }

    /// A string that may be absent.
    pub(crate) fn string(&self, name: &str, is: Is) -> Result<Option<&'a str>, ApiError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => {
                self.check_string(name, text, is);
                Ok(Some(text))
            }
            Some(other) => Err(wrong_type(other, "String")),
        }
    }

    /// A string that must be there. If it is not, [`Members::finish`] will say so; until then it is empty.
    pub(crate) fn required(&self, name: &str, is: Is) -> Result<&'a str, ApiError> {
        let text = self.string(name, is)?;
        if text.is_none() {
            self.missing(name);
        }
        Ok(text.unwrap_or_default())
    }

    /// An integer that may be absent.
    pub(crate) fn integer(&self, name: &str, is: Is) -> Result<Option<i64>, ApiError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let Some(number) = value.as_i64().or_else(|| value.as_f64().map(|number| number as i64)) else {
            return Err(wrong_type(value, "Integer"));
        };
        if let Is::Range(min, max) = is {
            if number < min {
                self.violation(
                    &number.to_string(),
                    name,
                    &format!("Member must have value greater than or equal to {min}"),
                );
            } else if number > max {
                self.violation(
                    &number.to_string(),
                    name,
                    &format!("Member must have value less than or equal to {max}"),
                );
            }
        }
        Ok(Some(number))
    }

    /// A number that may be absent.
    pub(crate) fn number(&self, name: &str) -> Result<Option<f64>, ApiError> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => value.as_f64().map(Some).ok_or_else(|| wrong_type(value, "Float")),
        }
    }

    /// A boolean that may be absent.
    pub(crate) fn boolean(&self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(other) => Err(wrong_type(other, "Boolean")),
        }
    }

    /// A structure that may be absent.
    pub(crate) fn structure(&self, name: &str) -> Result<Option<Members<'a>>, ApiError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Object(members)) => {
                Ok(Some(Members { members, path: self.path_of(name), violations: self.violations }))
            }
            Some(_) => Err(serialization("Unexpected value found where structure was expected.")),
        }
    }

    /// A list that may be absent.
    pub(crate) fn list(&self, name: &str) -> Result<Option<&'a [Value]>, ApiError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Array(values)) => Ok(Some(values)),
            Some(_) => Err(serialization("Unexpected value found where list was expected.")),
        }
    }

    /// A list of structures that may be absent.
    pub(crate) fn structures(&self, name: &str) -> Result<Option<Vec<Members<'a>>>, ApiError> {
        let Some(values) = self.list(name)? else { return Ok(None) };
        let structure = |(index, value): (usize, &'a Value)| match value {
            Value::Object(members) => {
                // AWS counts members of a list from 1.
                let path = format!("{}.{}.member", self.path_of(name), index + 1);
                Ok(Members { members, path, violations: self.violations })
            }
            _ => Err(serialization("Unexpected value found where structure was expected.")),
        };
        values.iter().enumerate().map(structure).collect::<Result<Vec<_>, _>>().map(Some)
    }

    /// Notes that a member that must be there is not.
    pub(crate) fn missing(&self, name: &str) {
        let place = self.path_of(name);
        let text = format!("Value null at '{place}' failed to satisfy constraint: Member must not be null");
        self.violations.borrow_mut().push(text);
    }

    /// Notes a violation.
    pub(crate) fn violation(&self, value: &str, name: &str, constraint: &str) {
        let place = self.path_of(name);
        let text = format!("Value '{value}' at '{place}' failed to satisfy constraint: {constraint}");
        self.violations.borrow_mut().push(text);
    }

    fn secret_violation(&self, name: &str, constraint: &str) {
        let place = self.path_of(name);
        self.violations.borrow_mut().push(format!("Value at '{place}' failed to satisfy constraint: {constraint}"));
    }

    /// Refuses the request if anything was wrong so far.
    pub(crate) fn finish(&self) -> Result<(), ApiError> {
        let violations = self.violations.borrow();
        if violations.is_empty() {
            return Ok(());
        }
        let errors = if violations.len() == 1 { "error" } else { "errors" };
        let mut message = format!("{} validation {errors} detected: ", violations.len());
        // Writing to a string does not fail.
        let _ = write!(message, "{}", violations.join("; "));
        Err(ApiError::new("ValidationException", message))
    }

    fn check_string(&self, name: &str, text: &str, is: Is) {
        match is {
            Is::Length(min, max) | Is::Secret(min, max) => {
                // Most strings need no counting: as many characters as bytes at most, and a quarter at least.
                if text.len() <= max && text.len() >= min.saturating_mul(4) {
                    return;
                }
                let count = text.chars().count();
                let constraint = if count < min {
                    format!("Member must have length greater than or equal to {min}")
                } else if count > max {
                    format!("Member must have length less than or equal to {max}")
                } else {
                    return;
                };
                match is {
                    Is::Secret(..) => self.secret_violation(name, &constraint),
                    _ => self.violation(text, name, &constraint),
                }
            }
            Is::OneOf(values) => {
                if !values.contains(&text) {
                    let constraint = format!("Member must satisfy enum value set: [{}]", values.join(", "));
                    self.violation(text, name, &constraint);
                }
            }
            Is::Range(..) => {}
        }
    }

    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }
}

fn wrong_type(value: &Value, expected: &str) -> ApiError {
    let found = match value {
        Value::Null => "NULL_VALUE",
        Value::Bool(true) => "TRUE_VALUE",
        Value::Bool(false) => "FALSE_VALUE",
        Value::Number(_) => "NUMBER_VALUE",
        Value::String(_) => "STRING_VALUE",
        Value::Array(_) => "START_ARRAY",
        Value::Object(_) => "START_OBJECT",
    };
    serialization(&format!("{found} cannot be converted to {expected}"))
}

fn serialization(message: &str) -> ApiError {
    ApiError::new("SerializationException", message)
}
