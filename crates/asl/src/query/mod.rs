//! JSONata, as the rest of the crate sees it: the one place that knows the engine.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;
use starmap_jsonata::{Bindings, Evaluated, Expression, Host};

use crate::expression::Environment;
use crate::random::Random;
use crate::time::Timestamp;
use crate::variables::{is_name, is_name_part};

/// The one name that is no workflow variable.
const STATES: &str = "states";

/// An expression between `{%` and `%}`.
#[derive(Clone, PartialEq)]
pub(crate) struct Query {
    expression: Expression,
    /// The workflow variables it reads: those that it does not bind itself and that are no functions.
    variables: BTreeSet<String>,
    /// Every `$name` in the text: a workflow variable hides a function of the same name.
    mentioned: BTreeSet<String>,
    reads_states: bool,
    reads_context: bool,
}

/// What of `$states` is there beside the input and the context object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Offered {
    #[default]
    Nothing,
    /// `$states.result`: in `Output` and `Assign` of a Task, Parallel or Map.
    Result,
    /// `$states.errorOutput`: in `Output` and `Assign` of a Catch.
    ErrorOutput,
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
    ///
    /// # Source
    /// That AWS reads expressions when a definition is created, and what it says: floci-io/floci issues 2670 and 2745,
    /// measured, read 2026-11-27.
    pub(crate) fn parse(text: &str, offered: Offered) -> Result<Query, Problem> {
        let expression = Expression::parse(text).map_err(|error| Problem::Invalid(error.message()))?;
        if let Some(name) = expression.input_reference() {
            return Err(Problem::Unsupported(format!("Reference to '{name}' at the top level is not supported.")));
        }
        let (mut variables, mut reads_states, mut reads_context) = (BTreeSet::new(), false, false);
        for reference in expression.variables() {
            if reference.name != STATES {
                variables.insert(reference.name);
                continue;
            }
            reads_states = true;
            let field = reference.fields.first().map(String::as_str);
            reads_context |= matches!(field, None | Some("context"));
            let is_missing = match field {
                Some("result") => offered != Offered::Result,
                Some("errorOutput") => offered != Offered::ErrorOutput,
                _ => false,
            };
            if let (true, Some(field)) = (is_missing, field) {
                return Err(Problem::Unsupported(format!("Reference to '$states.{field}' is not supported here.")));
            }
        }
        Ok(Query { expression, variables, mentioned: mentioned(text), reads_states, reads_context })
    }

    pub(crate) fn as_str(&self) -> &str {
        self.expression.source()
    }

    pub(crate) fn variables(&self) -> impl Iterator<Item = &str> {
        self.variables.iter().map(String::as_str)
    }

    /// # Errors
    /// What it threw, with the separator that AWS puts before it.
    pub(crate) fn evaluate(&self, environment: &mut Environment<'_>) -> Result<Answer, String> {
        let mut bindings = Bindings::new();
        for name in &self.mentioned {
            if let Some(value) = environment.variables.shared(name) {
                bindings.insert(name.as_str(), Arc::clone(value));
            }
        }
        if self.reads_states {
            let states = environment.states;
            let fields = [
                ("input", Some(states.input)),
                ("context", self.reads_context.then(|| environment.context.shared())),
                ("result", states.result),
                ("errorOutput", states.error_output),
            ];
            let fields = fields.into_iter().filter_map(|(name, value)| Some((name, Arc::clone(value?))));
            bindings.insert_object(STATES, fields);
        }
        let mut host = EventHost { at: environment.at, random: environment.random };
        match self.expression.evaluate(None, &bindings, &mut host) {
            Ok(Evaluated::Value(value)) => Ok(Answer::Value(value)),
            Ok(Evaluated::Nothing) => Ok(Answer::Undefined),
            Ok(Evaluated::Function) => Ok(Answer::Unsupported),
            Err(error) if error.is_limit() => Err(format!(": {error}")),
            Err(error) => Err(format!(". {error}")),
        }
    }
}

/// The names behind a `$`. Those in quotes and comments are found, too, and do no harm.
fn mentioned(text: &str) -> BTreeSet<String> {
    let parts = text.split('$').skip(1);
    parts
        .filter_map(|part| part.split(|c| !is_name_part(c)).next().filter(|name| is_name(name)).map(str::to_owned))
        .collect()
}

impl fmt::Debug for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Query({})", self.as_str())
    }
}

/// Time and chance of an event, so that a replay says the same.
struct EventHost<'a> {
    at: Timestamp,
    random: &'a mut Random,
}

impl Host for EventHost<'_> {
    fn now_ms(&self) -> i64 {
        self.at.0
    }

    fn random(&mut self) -> f64 {
        self.random.fraction()
    }

    fn uuid(&mut self) -> String {
        self.random.uuid()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::in_environment;

    fn evaluate(text: &str) -> Result<Answer, String> {
        let query = Query::parse(text, Offered::Nothing).unwrap();
        in_environment(&json!({"x": [1, 2]}), |environment| query.evaluate(environment))
    }

    #[test]
    fn delimiters_must_be_first_and_last() {
        assert_eq!(expression_in("{% $x %}"), Some("$x"));
        assert_eq!(expression_in("{%1%}"), Some("1"));
        assert_eq!(expression_in(" {% $x %}"), None);
        assert_eq!(expression_in("{% $x %} "), None);
        assert_eq!(expression_in("{%}"), None);
    }

    #[test]
    fn sees_the_state_the_context_and_the_variables() {
        assert_eq!(evaluate("$sum($states.input.x) + $v.list[1]"), Ok(Answer::Value(json!(5))));
        assert_eq!(evaluate("$states.context.Execution.Name"), Ok(Answer::Value(json!("run-1"))));
        assert_eq!(evaluate("$keys($states)"), Ok(Answer::Value(json!(["input", "context"]))));
        assert_eq!(evaluate("$nothing"), Ok(Answer::Undefined));
        assert_eq!(evaluate("function($x){$x}"), Ok(Answer::Unsupported));
        assert_eq!(evaluate("$nothing()"), Err(". T1006: Attempted to invoke a non-function".to_owned()));
        assert_eq!(evaluate("$millis()"), Ok(Answer::Value(json!(0))));
    }

    #[test]
    fn knows_what_it_reads() {
        let query = Query::parse("$f := function($a){$a + $b}; $sum($c.d)", Offered::Nothing);
        let Err(Problem::Invalid(_)) = query else { panic!("{query:?}") };
        let query = Query::parse("($f := function($a){$a + $b}; $f($sum($c.d)))", Offered::Nothing).unwrap();
        assert_eq!(query.variables().collect::<Vec<_>>(), ["b", "c"]);
        assert!(!query.reads_states);
        for (text, reads_context) in
            [("$states.context.State.Name", true), ("$states", true), ("$states.input.x", false)]
        {
            assert_eq!(Query::parse(text, Offered::Nothing).unwrap().reads_context, reads_context, "{text}");
        }
    }

    #[test]
    fn a_variable_hides_a_function() {
        assert_eq!(mentioned("$sum($v.list) + $x1.$y"), ["sum", "v", "x1", "y"].map(str::to_owned).into());
        let query = Query::parse("$v", Offered::Nothing).unwrap();
        assert!(query.mentioned.contains("v"));
    }

    #[test]
    fn refuses_what_aws_refuses() {
        let problem = |text: &str, offered| Query::parse(text, offered).unwrap_err();
        assert_eq!(problem("1 +", Offered::Nothing), Problem::Invalid("Unexpected end of expression".to_owned()));
        assert_eq!(
            problem("phone.number", Offered::Nothing),
            Problem::Unsupported("Reference to 'phone' at the top level is not supported.".to_owned())
        );
        assert!(matches!(problem("$states.result", Offered::ErrorOutput), Problem::Unsupported(_)));
        assert!(matches!(problem("$states.errorOutput.Cause", Offered::Result), Problem::Unsupported(_)));
        assert!(Query::parse("$states.result", Offered::Result).is_ok());
        assert!(Query::parse("$states.errorOutput", Offered::ErrorOutput).is_ok());
    }
}
