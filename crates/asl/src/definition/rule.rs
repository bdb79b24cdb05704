//! The rules of a Choice, from JSON.

use serde_json::Value;

use super::fields::{Fields, describe};
use super::model::{ChoiceRule, Condition, QueryLanguage};
use super::scope::{ScopeReader, Targets};
use crate::choice::{Comparison, Kind, Operand, Pattern, Rule, Test};
use crate::expression::Expression;
use crate::query::expression_in;
use crate::time::Instant;

/// How deep And, Or and Not may nest: definitions come from people, stacks are finite.
const DEPTH_MAX: usize = 64;

/// Reads one element of `Choices`: a condition and where it leads.
pub(super) fn read_choice(
    fields: Fields<'_>,
    targets: &Targets<'_>,
    scopes: &mut ScopeReader<'_>,
) -> Option<ChoiceRule> {
    fields.require(&["Next"]);
    let next = fields.string("Next").and_then(|next| targets.find(next));
    let assign = scopes.assignments.read(&fields);
    let (condition, output) = match fields.language {
        QueryLanguage::JsonPath => (read_rule(&fields, 0).map(Condition::Rule), None),
        QueryLanguage::Jsonata => {
            fields.comment();
            fields.require(&["Condition"]);
            (read_condition(&fields), fields.template("Output"))
        }
    };
    fields.finish();
    Some(ChoiceRule { condition: condition?, output, assign, next: next? })
}

fn read_condition(fields: &Fields<'_>) -> Option<Condition> {
    match fields.get("Condition")? {
        Value::Bool(constant) => Some(Condition::Constant(*constant)),
        Value::String(text) if expression_in(text).is_some() => fields.query("Condition").map(Condition::Computed),
        other => {
            fields.schema(
                "Condition",
                format!("expected true, false or a JSONata expression, found {}", describe(other)),
            );
            None
        }
    }
}

fn read_rule(fields: &Fields<'_>, depth: usize) -> Option<Rule> {
    if depth > DEPTH_MAX {
        fields.findings.schema(fields.pointer.clone(), format!("rules nest deeper than {DEPTH_MAX}"));
        return None;
    }
    fields.comment();
    let variable = fields.path("Variable", false);
    let mut rules = Vec::new();
    let mut found = 0;
    for name in ["And", "Or"] {
        let Some(parts) = fields.array(name) else { continue };
        found += 1;
        if parts.is_empty() {
            fields.schema(name, "Value cannot be empty");
        }
        let inner = parts.iter().enumerate();
        let inner = inner.map(|(index, part)| read_inner(fields.inner_at(name, index, part), depth));
        let inner: Vec<Option<Rule>> = inner.collect();
        let inner: Option<Vec<Rule>> = inner.into_iter().collect();
        rules.push(inner.map(if name == "And" { Rule::And } else { Rule::Or }));
    }
    if let Some(part) = fields.get("Not") {
        found += 1;
        let inner = read_inner(fields.inner_of("Not", part), depth);
        rules.push(inner.map(|rule| Rule::Not(Box::new(rule))));
    }
    let is_boolean_expression = found > 0;
    for (name, test) in OPERATORS {
        let Some(value) = fields.get(name) else { continue };
        found += 1;
        if is_boolean_expression {
            continue;
        }
        if fields.get("Variable").is_none() {
            fields.require(&["Variable"]);
        }
        let test = test(value).map_err(|problem| fields.schema(name, problem)).ok();
        rules.push(variable.clone().zip(test).map(|(variable, test)| Rule::Test { variable, test }));
    }
    if found != 1 {
        let message = format!("a rule needs exactly one of And, Or, Not and a comparison, found {found}");
        fields.findings.schema(fields.pointer.clone(), message);
        return None;
    }
    rules.pop()?
}

fn read_inner(fields: Option<Fields<'_>>, depth: usize) -> Option<Rule> {
    let fields = fields?;
    let rule = read_rule(&fields, depth + 1);
    fields.finish();
    rule
}

type ReadTest = fn(&Value) -> Result<Test, String>;

macro_rules! comparisons {
    ($($kind:ident: $($name:literal $path:literal $comparison:ident),*;)*) => {
        &[
            $($(
                ($name, |value| literal(value, Kind::$kind, Comparison::$comparison)),
                ($path, |value| path(value, Kind::$kind, Comparison::$comparison)),
            )*)*
            ("IsBoolean", |value| flag(value).map(|flag| Test::Is(Kind::Boolean, flag))),
            ("IsNull", |value| flag(value).map(|flag| Test::Is(Kind::Null, flag))),
            ("IsNumeric", |value| flag(value).map(|flag| Test::Is(Kind::Numeric, flag))),
            ("IsPresent", |value| flag(value).map(Test::IsPresent)),
            ("IsString", |value| flag(value).map(|flag| Test::Is(Kind::String, flag))),
            ("IsTimestamp", |value| flag(value).map(|flag| Test::Is(Kind::Timestamp, flag))),
            ("StringMatches", |value| match value {
                Value::String(text) => Pattern::parse(text).map(Test::StringMatches),
                other => Err(format!("expected a string, found {}", describe(other))),
            }),
        ]
    };
}

const OPERATORS: &[(&str, ReadTest)] = comparisons! {
    Boolean:
        "BooleanEquals" "BooleanEqualsPath" Equals;
    Numeric:
        "NumericEquals" "NumericEqualsPath" Equals,
        "NumericGreaterThan" "NumericGreaterThanPath" GreaterThan,
        "NumericGreaterThanEquals" "NumericGreaterThanEqualsPath" GreaterThanEquals,
        "NumericLessThan" "NumericLessThanPath" LessThan,
        "NumericLessThanEquals" "NumericLessThanEqualsPath" LessThanEquals;
    String:
        "StringEquals" "StringEqualsPath" Equals,
        "StringGreaterThan" "StringGreaterThanPath" GreaterThan,
        "StringGreaterThanEquals" "StringGreaterThanEqualsPath" GreaterThanEquals,
        "StringLessThan" "StringLessThanPath" LessThan,
        "StringLessThanEquals" "StringLessThanEqualsPath" LessThanEquals;
    Timestamp:
        "TimestampEquals" "TimestampEqualsPath" Equals,
        "TimestampGreaterThan" "TimestampGreaterThanPath" GreaterThan,
        "TimestampGreaterThanEquals" "TimestampGreaterThanEqualsPath" GreaterThanEquals,
        "TimestampLessThan" "TimestampLessThanPath" LessThan,
        "TimestampLessThanEquals" "TimestampLessThanEqualsPath" LessThanEquals;
};

fn literal(value: &Value, kind: Kind, comparison: Comparison) -> Result<Test, String> {
    let problem = match kind {
        Kind::Boolean if !value.is_boolean() => Some("true or false"),
        Kind::Numeric if !value.is_number() => Some("a number"),
        Kind::String if !value.is_string() => Some("a string"),
        Kind::Timestamp if value.as_str().and_then(Instant::parse).is_none() => {
            return Err("String does not match RFC3339 timestamp".to_owned());
        }
        _ => None,
    };
    match problem {
        Some(expected) => Err(format!("expected {expected}, found {}", describe(value))),
        None => Ok(Test::Compare { kind, comparison, with: Operand::Literal(value.clone()) }),
    }
}

fn path(value: &Value, kind: Kind, comparison: Comparison) -> Result<Test, String> {
    let Value::String(text) = value else {
        return Err(format!("expected a string, found {}", describe(value)));
    };
    let path = Expression::parse_path(text).map_err(|problem| format!("Value is not a valid JSONPath: {problem}"))?;
    Ok(Test::Compare { kind, comparison, with: Operand::Path(path) })
}

fn flag(value: &Value) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| format!("expected true or false, found {}", describe(value)))
}
