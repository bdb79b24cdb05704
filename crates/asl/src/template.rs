//! Payload templates: `Parameters`, `ResultSelector`, `ItemSelector`.

use serde_json::{Map, Value};

use crate::error::Failure;
use crate::expression::{Environment, Expression};

/// A JSON value in which every field named `x.$` is computed and becomes `x`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Template {
    /// Nothing to compute inside.
    Literal(Value),
    Object(Vec<(String, Field)>),
    Array(Vec<Template>),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Field {
    Template(Template),
    Computed(Expression),
}

/// A field of a template that is no expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadField {
    /// Names and indices from the template's root to the object that holds the field.
    pub(crate) path: Vec<String>,
    /// With its `.$`.
    pub(crate) field: String,
    pub(crate) problem: String,
}

impl Template {
    /// Reads a template and reports every field that is no expression.
    pub(crate) fn parse(value: &Value, bad: &mut Vec<BadField>) -> Template {
        parse(value, &mut Vec::new(), bad)
    }

    pub(crate) fn uses_context(&self) -> bool {
        match self {
            Template::Literal(_) => false,
            Template::Array(items) => items.iter().any(Template::uses_context),
            Template::Object(fields) => fields.iter().any(|(_, field)| match field {
                Field::Template(template) => template.uses_context(),
                Field::Computed(expression) => expression.uses_context(),
            }),
        }
    }

    pub(crate) fn evaluate(&self, environment: &mut Environment<'_>) -> Result<Value, Failure> {
        match self {
            Template::Literal(value) => Ok(value.clone()),
            Template::Array(items) => {
                let mut array = Vec::with_capacity(items.len());
                for item in items {
                    array.push(item.evaluate(environment)?);
                }
                Ok(Value::Array(array))
            }
            Template::Object(fields) => {
                let mut object = Map::with_capacity(fields.len());
                for (name, field) in fields {
                    let value = match field {
                        Field::Template(template) => template.evaluate(environment)?,
                        Field::Computed(expression) => expression.evaluate(&format!("{name}.$"), environment)?,
                    };
                    object.insert(name.clone(), value);
                }
                Ok(Value::Object(object))
            }
        }
    }
}

fn parse(value: &Value, path: &mut Vec<String>, bad: &mut Vec<BadField>) -> Template {
    match value {
        Value::Object(object) => {
            let mut fields = Vec::with_capacity(object.len());
            for (name, value) in object {
                fields.push(match name.strip_suffix(".$") {
                    Some(stem) => match computed(value) {
                        Ok(expression) => (stem.to_owned(), Field::Computed(expression)),
                        Err(problem) => {
                            bad.push(BadField { path: path.clone(), field: name.clone(), problem });
                            continue;
                        }
                    },
                    None => {
                        path.push(name.clone());
                        let template = parse(value, path, bad);
                        path.pop();
                        (name.clone(), Field::Template(template))
                    }
                });
            }
            let is_literal = fields.iter().all(|(_, field)| matches!(field, Field::Template(Template::Literal(_))));
            if is_literal { Template::Literal(value.clone()) } else { Template::Object(fields) }
        }
        Value::Array(array) => {
            let mut items = Vec::with_capacity(array.len());
            for (index, item) in array.iter().enumerate() {
                path.push(index.to_string());
                items.push(parse(item, path, bad));
                path.pop();
            }
            let is_literal = items.iter().all(|item| matches!(item, Template::Literal(_)));
            if is_literal { Template::Literal(value.clone()) } else { Template::Array(items) }
        }
        scalar => Template::Literal(scalar.clone()),
    }
}

fn computed(value: &Value) -> Result<Expression, String> {
    match value {
        Value::String(text) => Expression::parse(text),
        other => Err(format!("expected a string, found {other}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::random::Random;

    fn evaluate(template: Value, input: Value) -> Result<Value, Failure> {
        let mut bad = Vec::new();
        let template = Template::parse(&template, &mut bad);
        assert_eq!(bad, []);
        let context = json!({"Execution": {"Name": "run-1"}});
        template.evaluate(&mut Environment { input: &input, context: &context, random: &mut Random::new(0) })
    }

    #[test]
    fn computes_where_asked_and_copies_the_rest() {
        let template = json!({
            "a.$": "$.x", "b": "$.x", "c": {"d.$": "$$.Execution.Name", "e": [{"f.$": "States.MathAdd($.x, 1)"}, "$.x"]},
        });
        let expected = json!({"a": 1, "b": "$.x", "c": {"d": "run-1", "e": [{"f": 2}, "$.x"]}});
        assert_eq!(evaluate(template, json!({"x": 1})), Ok(expected));
    }

    #[test]
    fn a_missing_path_is_told_in_awss_words() {
        let failure = evaluate(json!({"value.$": "$.no_such_jsonpath"}), json!({"int-literal": 0})).unwrap_err();
        assert_eq!(
            failure.cause.as_deref(),
            Some(
                "The JSONPath '$.no_such_jsonpath' specified for the field 'value.$' could not be found in the input '{\"int-literal\":0}'"
            )
        );
    }

    #[test]
    fn every_bad_field_is_reported_with_its_place() {
        let mut bad = Vec::new();
        Template::parse(&json!({"a.$": 1, "b": [{"c.$": "nonsense"}], "d.$": "$."}), &mut bad);
        let places: Vec<(String, &str)> = bad.iter().map(|bad| (bad.path.join("/"), bad.field.as_str())).collect();
        assert_eq!(places, [(String::new(), "a.$"), ("b/0".to_owned(), "c.$"), (String::new(), "d.$")]);
    }
}
