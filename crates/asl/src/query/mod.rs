//! JSONata, as the rest of the crate sees it: the one place that knows the engine.
#![allow(dead_code)] // Until the engine is there.

use std::fmt;

use serde_json::Value;

use crate::expression::Environment;

/// An expression between `{%` and `%}`.
#[derive(Clone)]
pub(crate) struct Query {
    text: String,
    uses_context: bool,
}

/// What came of an evaluation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    Value(Value),
    /// Nothing: a field or a variable that is not there.
    Undefined,
    /// A function.
    Unsupported,
}

/// What AWS says about an expression when it refuses a definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// It cannot be read.
    Invalid(String),
    /// It reads something that is not there for it.
    Unsupported(String),
}

/// The text between the delimiters if `text` is an expression: `{%` first, `%}` last, nothing around them.
pub(crate) fn expression_in(text: &str) -> Option<&str> {
    Some(text.strip_prefix("{%")?.strip_suffix("%}")?.trim())
}

impl Query {
    /// Reads what stands between the delimiters.
    pub(crate) fn parse(text: &str) -> Result<Query, Problem> {
        let query = Query { text: text.to_owned(), uses_context: reads_context(text) };
        Err(Problem::Unsupported(format!("JSONata expressions are not supported yet: {}", query.as_str())))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// False only if the context object is certainly not read.
    pub(crate) fn uses_context(&self) -> bool {
        self.uses_context
    }

    /// The workflow variables it reads: those that it does not bind itself and that are no functions.
    pub(crate) fn variables(&self) -> Vec<&str> {
        Vec::new()
    }

    /// # Errors
    /// What it threw, with the separator that AWS puts before it.
    pub(crate) fn evaluate(&self, _environment: &mut Environment<'_>) -> Result<Answer, String> {
        Ok(Answer::Undefined)
    }
}

impl fmt::Debug for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Query({})", self.text)
    }
}

impl PartialEq for Query {
    fn eq(&self, other: &Query) -> bool {
        self.text == other.text
    }
}

/// Looks for `context`, and for a `$states` from which anything could be taken.
fn reads_context(text: &str) -> bool {
    let takes_anything = |rest: &str| {
        let Some(field) = rest.trim_start().strip_prefix('.') else { return true };
        let field = field.trim_start();
        !["input", "result", "errorOutput"].iter().any(|known| field.starts_with(known))
    };
    text.contains("context")
        || text.match_indices("$states").any(|(at, found)| takes_anything(&text[at + found.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delimiters_must_be_first_and_last() {
        assert_eq!(expression_in("{% $x %}"), Some("$x"));
        assert_eq!(expression_in("{%1%}"), Some("1"));
        assert_eq!(expression_in(" {% $x %}"), None);
        assert_eq!(expression_in("{% $x %} "), None);
        assert_eq!(expression_in("{%}"), None);
    }

    #[test]
    fn the_context_is_built_only_for_those_who_read_it() {
        for text in
            ["$states.context.State.Name", "$states", "$states[\"context\"]", "$states . context", "$keys($states)"]
        {
            assert!(reads_context(text), "{text}");
        }
        for text in ["$states.input.x", "$x + 1", "$states . result", "$count($states.errorOutput)"] {
            assert!(!reads_context(text), "{text}");
        }
    }
}
