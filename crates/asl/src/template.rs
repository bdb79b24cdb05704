//! Payload templates: JSON in which some values are computed.
//!
//! In the JSONPath dialect every field named `x.$` is computed and becomes `x`; in the JSONata dialect every text
//! `{% … %}` is, wherever it stands.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::error::Failure;
use crate::expression::{Environment, Expression};
use crate::query::{Offered, Problem, Query, expression_in};

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Template {
    /// Nothing to compute inside.
    Literal(Arc<Value>),
    Object(Vec<(String, Template)>),
    Array(Vec<Template>),
    Computed(Computed),
}

/// An expression and the field whose value it is, as messages name it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Computed {
    pub(crate) expression: Expression,
    pub(crate) field: String,
}

/// A field of a template that is no expression.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BadField {
    /// From the template's root; of a JSONPath template to the object that holds the field, of a JSONata template to
    /// the text itself.
    pub(crate) path: Vec<Step>,
    pub(crate) problem: BadTemplate,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum BadTemplate {
    /// `field` with its `.$`.
    Path {
        field: String,
        problem: String,
    },
    Query(Problem),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    Name(String),
    Index(usize),
}

impl Template {
    /// Reads a template of the JSONPath dialect and reports every field that is no expression.
    pub(crate) fn with_paths(value: &Value, bad: &mut Vec<BadField>) -> Template {
        Reader { path: Vec::new(), offered: Offered::Nothing, bad }.paths(value)
    }

    /// Reads a template of the JSONata dialect, which is the value of `field`.
    pub(crate) fn with_queries(value: &Value, field: &str, offered: Offered, bad: &mut Vec<BadField>) -> Template {
        Reader { path: Vec::new(), offered, bad }.queries(value, field)
    }

    /// Names the workflow variables that are read.
    pub(crate) fn variables(&self, note: &mut dyn FnMut(&str)) {
        match self {
            Template::Literal(_) => {}
            Template::Array(items) => items.iter().for_each(|item| item.variables(note)),
            Template::Object(fields) => fields.iter().for_each(|(_, field)| field.variables(note)),
            Template::Computed(computed) => computed.expression.variables(note),
        }
    }

    /// The names of an object's fields; none for anything else.
    pub(crate) fn names(&self) -> Vec<&str> {
        match self {
            Template::Object(fields) => fields.iter().map(|(name, _)| name.as_str()).collect(),
            Template::Literal(value) => {
                value.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect()
            }
            Template::Array(_) | Template::Computed(_) => Vec::new(),
        }
    }

    pub(crate) fn evaluate(&self, environment: &mut Environment<'_>) -> Result<Arc<Value>, Failure> {
        match self {
            Template::Literal(value) => Ok(Arc::clone(value)),
            other => other.make(environment).map(Arc::new),
        }
    }

    fn make(&self, environment: &mut Environment<'_>) -> Result<Value, Failure> {
        match self {
            Template::Literal(value) => Ok(Value::clone(value)),
            Template::Array(items) => {
                let mut array = Vec::with_capacity(items.len());
                for item in items {
                    array.push(item.make(environment)?);
                }
                Ok(Value::Array(array))
            }
            Template::Object(fields) => {
                let mut object = Map::with_capacity(fields.len());
                for (name, field) in fields {
                    object.insert(name.clone(), field.make(environment)?);
                }
                Ok(Value::Object(object))
            }
            Template::Computed(Computed { expression, field }) => expression.evaluate(field, environment),
        }
    }
}

struct Reader<'b> {
    path: Vec<Step>,
    offered: Offered,
    bad: &'b mut Vec<BadField>,
}

impl Reader<'_> {
    fn paths(&mut self, value: &Value) -> Template {
        match value {
            Value::Object(object) => {
                let mut fields = Vec::with_capacity(object.len());
                for (name, value) in object {
                    let Some(stem) = name.strip_suffix(".$") else {
                        fields
                            .push((name.clone(), self.inside(Step::Name(name.clone()), |reader| reader.paths(value))));
                        continue;
                    };
                    match path_or_call(value) {
                        Ok(expression) => {
                            let computed = Computed { expression, field: name.clone() };
                            fields.push((stem.to_owned(), Template::Computed(computed)));
                        }
                        Err(problem) => {
                            let problem = BadTemplate::Path { field: name.clone(), problem };
                            self.bad.push(BadField { path: self.path.clone(), problem });
                        }
                    }
                }
                object_of(fields, value)
            }
            Value::Array(array) => {
                let items = array.iter().enumerate();
                let items = items.map(|(index, item)| self.inside(Step::Index(index), |reader| reader.paths(item)));
                array_of(items.collect(), value)
            }
            scalar => Template::Literal(Arc::new(scalar.clone())),
        }
    }

    fn queries(&mut self, value: &Value, field: &str) -> Template {
        match value {
            Value::String(text) => match expression_in(text).map(|text| Query::parse(text, self.offered)) {
                None => Template::Literal(Arc::new(value.clone())),
                Some(Ok(query)) => {
                    Template::Computed(Computed { expression: Expression::Query(query), field: field.to_owned() })
                }
                Some(Err(problem)) => {
                    self.bad.push(BadField { path: self.path.clone(), problem: BadTemplate::Query(problem) });
                    Template::Literal(Arc::new(value.clone()))
                }
            },
            Value::Object(object) => {
                let mut fields = Vec::with_capacity(object.len());
                for (name, value) in object {
                    let inner = format!("{field}/{name}");
                    fields.push((
                        name.clone(),
                        self.inside(Step::Name(name.clone()), |reader| reader.queries(value, &inner)),
                    ));
                }
                object_of(fields, value)
            }
            Value::Array(array) => {
                let mut items = Vec::with_capacity(array.len());
                for (index, item) in array.iter().enumerate() {
                    let inner = format!("{field}[{index}]");
                    items.push(self.inside(Step::Index(index), |reader| reader.queries(item, &inner)));
                }
                array_of(items, value)
            }
            scalar => Template::Literal(Arc::new(scalar.clone())),
        }
    }

    fn inside(&mut self, step: Step, read: impl FnOnce(&mut Self) -> Template) -> Template {
        self.path.push(step);
        let template = read(self);
        self.path.pop();
        template
    }
}

fn object_of(fields: Vec<(String, Template)>, value: &Value) -> Template {
    let is_literal = fields.iter().all(|(_, field)| matches!(field, Template::Literal(_)));
    if is_literal { Template::Literal(Arc::new(value.clone())) } else { Template::Object(fields) }
}

fn array_of(items: Vec<Template>, value: &Value) -> Template {
    let is_literal = items.iter().all(|item| matches!(item, Template::Literal(_)));
    if is_literal { Template::Literal(Arc::new(value.clone())) } else { Template::Array(items) }
}

fn path_or_call(value: &Value) -> Result<Expression, String> {
    match value {
        Value::String(text) => Expression::parse(text),
        other => Err(format!("expected a string, found {other}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::in_environment;

    fn evaluate(template: Value, input: Value) -> Result<Value, Failure> {
        let mut bad = Vec::new();
        let template = Template::with_paths(&template, &mut bad);
        assert_eq!(bad, []);
        in_environment(&input, |environment| template.evaluate(environment)).map(Arc::unwrap_or_clone)
    }

    #[test]
    fn computes_where_asked_and_copies_the_rest() {
        let template = json!({
            "a.$": "$.x", "b": "$.x", "c": {"d.$": "$$.Execution.Name", "e": [{"f.$": "States.MathAdd($.x, 1)"}, "$.x"]},
            "g.$": "$v.list[1]", "h.$": "States.ArrayLength($v.list)",
        });
        let expected = json!({"a": 1, "b": "$.x", "c": {"d": "run-1", "e": [{"f": 2}, "$.x"]}, "g": 2, "h": 2});
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
        Template::with_paths(&json!({"a.$": 1, "b": [{"c.$": "nonsense"}], "d.$": "$."}), &mut bad);
        let places: Vec<String> =
            bad.iter().map(|BadField { path, problem }| format!("{path:?} {problem:?}")).collect();
        assert_eq!(places.len(), 3);
        assert!(places[0].starts_with("[] Path { field: \"a.$\""), "{places:?}");
        assert!(places[1].starts_with("[Name(\"b\"), Index(0)] Path { field: \"c.$\""), "{places:?}");
        assert!(places[2].starts_with("[] Path { field: \"d.$\""), "{places:?}");
    }

    #[test]
    fn a_query_knows_its_field() {
        let template = json!({"a": ["x", {"b c": "{% $x %}"}], "$.x": " {% $x %}", "d.$": "{%1%}"});
        let template = Template::with_queries(&template, "Output", Offered::Nothing, &mut Vec::new());
        let mut fields = Vec::new();
        collect(&template, &mut fields);
        assert_eq!(fields, ["Output/a[1]/b c", "Output/d.$"]);
    }

    fn collect(template: &Template, fields: &mut Vec<String>) {
        match template {
            Template::Literal(_) => {}
            Template::Array(items) => items.iter().for_each(|item| collect(item, fields)),
            Template::Object(members) => members.iter().for_each(|(_, member)| collect(member, fields)),
            Template::Computed(computed) => fields.push(computed.field.clone()),
        }
    }
}
