//! The rules of a Choice state.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::Value;

use crate::error::Failure;
use crate::expression::{Environment, Expression};
use crate::time::Instant;

/// A condition, without the state it leads to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Rule {
    And(Vec<Rule>),
    Or(Vec<Rule>),
    Not(Box<Rule>),
    Test { variable: Expression, test: Test },
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Test {
    IsPresent(bool),
    Is(Kind, bool),
    StringMatches(Pattern),
    Compare { kind: Kind, comparison: Comparison, with: Operand },
}

/// What a variable can be, and what a comparison compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    Boolean,
    Numeric,
    String,
    Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equals,
    LessThan,
    LessThanEquals,
    GreaterThan,
    GreaterThanEquals,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Operand {
    Literal(Value),
    Path(Expression),
}

impl Rule {
    /// Names the workflow variables that are read.
    pub(crate) fn variables(&self, note: &mut dyn FnMut(&str)) {
        match self {
            Rule::And(rules) | Rule::Or(rules) => rules.iter().for_each(|rule| rule.variables(note)),
            Rule::Not(rule) => rule.variables(note),
            Rule::Test { variable, test } => {
                variable.variables(note);
                if let Test::Compare { with: Operand::Path(path), .. } = test {
                    path.variables(note);
                }
            }
        }
    }

    /// Whether the rule holds.
    ///
    /// A variable of another type than the test's makes it false; a variable that is not there is an error,
    /// except for `IsPresent`.
    pub(crate) fn holds(&self, environment: &Environment<'_>) -> Result<bool, Failure> {
        match self {
            Rule::And(rules) => {
                for rule in rules {
                    if !rule.holds(environment)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Rule::Or(rules) => {
                for rule in rules {
                    if rule.holds(environment)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Rule::Not(rule) => Ok(!rule.holds(environment)?),
            Rule::Test { variable, test } => match test {
                Test::IsPresent(expected) => Ok(variable.exists(environment) == *expected),
                Test::Is(kind, expected) => Ok(kind.is(read(variable, environment)?.as_ref()) == *expected),
                Test::StringMatches(pattern) => {
                    Ok(read(variable, environment)?.as_str().is_some_and(|text| pattern.matches(text)))
                }
                Test::Compare { kind, comparison, with } => {
                    let left = read(variable, environment)?;
                    let right = match with {
                        Operand::Literal(value) => Cow::Borrowed(value),
                        Operand::Path(path) => read(path, environment)?,
                    };
                    Ok(kind.compare(&left, &right).is_some_and(|ordering| comparison.accepts(ordering)))
                }
            },
        }
    }
}

fn read<'v>(path: &Expression, environment: &'v Environment<'_>) -> Result<Cow<'v, Value>, Failure> {
    path.query(environment).map_err(|_| {
        Failure::runtime(format!(
            "Invalid path '{path}': The choice state's condition path references an invalid value."
        ))
    })
}

impl Kind {
    fn is(self, value: &Value) -> bool {
        match self {
            Kind::Null => value.is_null(),
            Kind::Boolean => value.is_boolean(),
            Kind::Numeric => value.is_number(),
            Kind::String => value.is_string(),
            Kind::Timestamp => value.as_str().is_some_and(|text| Instant::parse(text).is_some()),
        }
    }

    /// How two values of this kind compare; `None` if one is of another kind.
    fn compare(self, left: &Value, right: &Value) -> Option<Ordering> {
        match self {
            Kind::Null => None,
            Kind::Boolean => Some(left.as_bool()?.cmp(&right.as_bool()?)),
            Kind::Numeric => match (left.as_i64(), right.as_i64()) {
                (Some(left), Some(right)) => Some(left.cmp(&right)),
                _ => left.as_f64()?.partial_cmp(&right.as_f64()?),
            },
            Kind::String => Some(left.as_str()?.cmp(right.as_str()?)),
            Kind::Timestamp => Some(Instant::parse(left.as_str()?)?.cmp(&Instant::parse(right.as_str()?)?)),
        }
    }
}

impl Comparison {
    fn accepts(self, ordering: Ordering) -> bool {
        match self {
            Comparison::Equals => ordering.is_eq(),
            Comparison::LessThan => ordering.is_lt(),
            Comparison::LessThanEquals => ordering.is_le(),
            Comparison::GreaterThan => ordering.is_gt(),
            Comparison::GreaterThanEquals => ordering.is_ge(),
        }
    }
}

/// The pattern of `StringMatches`: `*` stands for any text, `\*` and `\\` for themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    /// The texts between the wildcards; at least one.
    parts: Vec<String>,
}

impl Pattern {
    pub(crate) fn parse(text: &str) -> Result<Pattern, String> {
        let mut parts = vec![String::new()];
        let mut characters = text.chars();
        while let Some(c) = characters.next() {
            let literal = match c {
                '*' => {
                    parts.push(String::new());
                    continue;
                }
                '\\' => match characters.next() {
                    Some(escaped @ ('*' | '\\')) => escaped,
                    Some(other) => return Err(format!("`\\{other}` is not an escape sequence")),
                    None => return Err("the pattern ends in a single `\\`".to_owned()),
                },
                c => c,
            };
            if let Some(part) = parts.last_mut() {
                part.push(literal);
            }
        }
        Ok(Pattern { parts })
    }

    fn matches(&self, text: &str) -> bool {
        let [first, middle @ .., last] = self.parts.as_slice() else {
            return self.parts.first().is_some_and(|only| only == text);
        };
        let Some(mut rest) = text.strip_prefix(first.as_str()) else { return false };
        // The earliest place for each part leaves the most for the next one, so no backtracking is needed.
        for part in middle {
            match rest.find(part.as_str()) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
        rest.ends_with(last.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let matches = |pattern: &str, text: &str| Pattern::parse(pattern).unwrap().matches(text);
        assert!(matches("foo*.log", "foobar.log"));
        assert!(matches("*.log", ".log"));
        assert!(matches("*", ""));
        assert!(matches("a*b*c", "a-b-b-c"));
        assert!(matches(r"a\*\\", r"a*\"));
        assert!(!matches("foo*.log", "foo.txt"));
        assert!(!matches("a*a", "a"));
        assert!(!matches("foo", "foobar"));
        assert!(Pattern::parse(r"a\b").is_err());
        assert!(Pattern::parse(r"a\").is_err());
    }

    #[test]
    fn kinds_do_not_mix() {
        let (one, text) = (Value::from(1), Value::from("1"));
        assert_eq!(Kind::Numeric.compare(&one, &text), None);
        assert_eq!(Kind::String.compare(&one, &text), None);
        assert_eq!(Kind::Numeric.compare(&one, &Value::from(1.0)), Some(Ordering::Equal));
        let (noon, later) = (Value::from("2024-01-01T12:00:00Z"), Value::from("2024-01-01T13:30:00+01:00"));
        assert_eq!(Kind::Timestamp.compare(&noon, &later), Some(Ordering::Less));
        assert_eq!(Kind::Timestamp.compare(&noon, &text), None);
    }
}
