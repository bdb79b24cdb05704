//! [`JsonPath`] × value → what it points at.

use std::borrow::Cow;

use serde_json::Value;

use super::parse::{Function, JsonPath, Segment, Selector, normalize};

/// A definite path pointed at nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotFound {
    /// The last step is missing.
    #[error("No results for path: {path}")]
    NoResults {
        /// The path in bracket notation.
        path: String,
    },
    /// A step before the last is missing.
    #[error("Missing property in path {path}")]
    MissingProperty {
        /// The part of the path up to the missing step, in bracket notation.
        path: String,
    },
    /// A name was looked for in something that is no object.
    #[error(
        "Expected to find an object with property {property} in path {path} but found '{class}'. This is not a json object according to the JsonProvider: 'com.jayway.jsonpath.spi.json.JacksonJsonNodeJsonProvider'."
    )]
    NoObject {
        /// The name in brackets.
        property: String,
        /// The part of the path up to what is no object.
        path: String,
        /// What it is, by the name of its class.
        class: &'static str,
    },
    /// An index was looked for in something that is no array.
    #[error("Filter: {filter} can only be applied to arrays. Current context is: {context}")]
    NoArray {
        /// The index in brackets.
        filter: String,
        /// What it is, as JSON.
        context: String,
    },
    /// An index was looked for in null.
    #[error("The path {path} is null")]
    Null {
        /// The part of the path up to the null.
        path: String,
    },
    /// A function got something it cannot work on.
    #[error("{path}: the function needs {needs}")]
    Function {
        /// The path in bracket notation.
        path: String,
        /// What the function works on.
        needs: &'static str,
    },
}

impl JsonPath {
    /// What the path points at in `root`: the value itself for a definite path, the array of all matches otherwise.
    ///
    /// # Errors
    /// [`NotFound`] if a definite path points at nothing. An indefinite path never fails.
    pub fn query<'a>(&self, root: &'a Value) -> Result<Cow<'a, Value>, NotFound> {
        let mut found = select(self, root, root)?;
        if self.is_definite() || ends_in_function(self) {
            return found.pop().ok_or_else(|| NotFound::NoResults { path: self.normalized() });
        }
        Ok(Cow::Owned(found.into_iter().map(Cow::into_owned).collect()))
    }

    /// True if the path points at something, be it null.
    pub fn exists(&self, root: &Value) -> bool {
        select(self, root, root).is_ok_and(|found| !found.is_empty())
    }
}

fn ends_in_function(path: &JsonPath) -> bool {
    matches!(path.segments.last(), Some(Segment::Function(_)))
}

/// Everything `path` matches from `start`, in document order.
pub(super) fn select<'a>(path: &JsonPath, root: &'a Value, start: &'a Value) -> Result<Vec<Cow<'a, Value>>, NotFound> {
    let mut current = vec![start];
    // Up to here the path was definite, so a missing step is an error and not an empty match.
    let mut definite = path.is_definite();
    for (index, segment) in path.segments.iter().enumerate() {
        let mut next = Vec::new();
        match segment {
            Segment::Child(selectors) => {
                for value in &current {
                    children(selectors, root, value, &mut next);
                }
            }
            Segment::Descendants(selectors) => {
                definite = false;
                for value in &current {
                    descend(selectors, root, value, &mut next);
                }
            }
            Segment::Function(function) => {
                let argument = match current.as_slice() {
                    [only] if definite => Cow::Borrowed(*only),
                    many => Cow::Owned(many.iter().map(|value| (*value).clone()).collect()),
                };
                let failed = |needs| NotFound::Function { path: path.normalized(), needs };
                return function.apply(&argument).map(|value| vec![Cow::Owned(value)]).map_err(failed);
            }
        }
        if next.is_empty() && definite {
            if let ([value], Segment::Child(selectors)) = (current.as_slice(), segment)
                && let [selector] = selectors.as_slice()
                && let Some(not_found) = wrong_type(selector, value, &path.segments[..index])
            {
                return Err(not_found);
            }
            let is_last = index + 1 == path.segments.len();
            return Err(match is_last {
                true => NotFound::NoResults { path: path.normalized() },
                false => NotFound::MissingProperty { path: normalize(&path.segments[..=index]) },
            });
        }
        current = next;
    }
    Ok(current.into_iter().map(Cow::Borrowed).collect())
}

/// What Jayway's JsonPath says of a step into something that has no such steps.
fn wrong_type(selector: &Selector, value: &Value, before: &[Segment]) -> Option<NotFound> {
    match (selector, value) {
        (Selector::Name(_), Value::Object(_)) | (Selector::Index(_), Value::Array(_)) => None,
        (Selector::Name(_), other) => {
            let class = match other {
                Value::Null => "null",
                Value::Bool(_) => "com.fasterxml.jackson.databind.node.BooleanNode",
                Value::Number(number) if number.is_f64() => "com.fasterxml.jackson.databind.node.DoubleNode",
                Value::Number(_) => "com.fasterxml.jackson.databind.node.IntNode",
                Value::String(_) => "com.fasterxml.jackson.databind.node.TextNode",
                Value::Array(_) => "com.fasterxml.jackson.databind.node.ArrayNode",
                Value::Object(_) => "com.fasterxml.jackson.databind.node.ObjectNode",
            };
            Some(NotFound::NoObject { property: format!("[{selector}]"), path: normalize(before), class })
        }
        (Selector::Index(_), Value::Null) => Some(NotFound::Null { path: normalize(before) }),
        (Selector::Index(_), other) => {
            Some(NotFound::NoArray { filter: format!("[{selector}]"), context: other.to_string() })
        }
        _ => None,
    }
}

fn children<'a>(selectors: &[Selector], root: &'a Value, value: &'a Value, found: &mut Vec<&'a Value>) {
    for selector in selectors {
        match (selector, value) {
            (Selector::Name(name), Value::Object(object)) => found.extend(object.get(name)),
            (Selector::Index(index), Value::Array(array)) => {
                found.extend(resolve(*index, array.len()).and_then(|index| array.get(index)));
            }
            (Selector::Slice { start, end, step }, Value::Array(array)) => {
                let (from, to) = slice_bounds(*start, *end, array.len());
                let step = usize::try_from(*step).unwrap_or(usize::MAX);
                found.extend(array[from..to].iter().step_by(step));
            }
            (Selector::Wildcard, Value::Array(array)) => found.extend(array),
            (Selector::Wildcard, Value::Object(object)) => found.extend(object.values()),
            (Selector::Filter(filter), Value::Array(array)) => {
                found.extend(array.iter().filter(|element| filter.accepts(root, element)));
            }
            // A filter on an object tests the object itself, as Jayway's JsonPath (which AWS runs) does.
            (Selector::Filter(filter), Value::Object(_)) if filter.accepts(root, value) => found.push(value),
            _ => {}
        }
    }
}

/// `value` first, then what is inside it, depth first in document order.
///
/// Walks with its own stack: values come from outside and may nest as deep as the JSON reader allows.
fn descend<'a>(selectors: &[Selector], root: &'a Value, value: &'a Value, found: &mut Vec<&'a Value>) {
    let mut stack = vec![value];
    while let Some(value) = stack.pop() {
        children(selectors, root, value, found);
        match value {
            Value::Array(array) => stack.extend(array.iter().rev()),
            Value::Object(object) => stack.extend(object.values().rev()),
            _ => {}
        }
    }
}

/// A negative index counts from the end.
fn resolve(index: i64, length: usize) -> Option<usize> {
    match usize::try_from(index) {
        Ok(index) => Some(index),
        Err(_) => length.checked_sub(usize::try_from(index.unsigned_abs()).ok()?),
    }
}

fn slice_bounds(start: Option<i64>, end: Option<i64>, length: usize) -> (usize, usize) {
    let clamp = |bound: i64| match usize::try_from(bound) {
        Ok(bound) => bound.min(length),
        Err(_) => resolve(bound, length).unwrap_or(0),
    };
    let from = start.map_or(0, clamp);
    let to = end.map_or(length, clamp);
    (from.min(to), to)
}

impl Function {
    fn apply(self, argument: &Value) -> Result<Value, &'static str> {
        match self {
            Function::Length => match argument {
                Value::Array(array) => Ok(array.len().into()),
                Value::Object(object) => Ok(object.len().into()),
                Value::String(text) => Ok(text.chars().count().into()),
                _ => Err("an array, an object or a string"),
            },
            Function::Keys => match argument {
                Value::Object(object) => Ok(object.keys().map(|key| Value::from(key.as_str())).collect()),
                _ => Err("an object"),
            },
            _ => {
                let numbers: Option<Vec<f64>> =
                    argument.as_array().map(|array| array.iter().filter_map(Value::as_f64).collect());
                let numbers = numbers.filter(|numbers| !numbers.is_empty()).ok_or("an array with numbers")?;
                Ok(Value::from(self.aggregate(&numbers)))
            }
        }
    }

    fn aggregate(self, numbers: &[f64]) -> f64 {
        let count = numbers.len() as f64;
        let mean = numbers.iter().sum::<f64>() / count;
        match self {
            Function::Min => numbers.iter().copied().fold(f64::INFINITY, f64::min),
            Function::Max => numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            Function::Average => mean,
            Function::StandardDeviation => {
                (numbers.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / count).sqrt()
            }
            _ => numbers.iter().sum(),
        }
    }
}

/// Equality of JSON values, where 1 equals 1.0.
pub(crate) fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => a == b,
            _ => a.as_f64() == b.as_f64(),
        },
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, value)| b.get(key).is_some_and(|other| equal(value, other)))
        }
        _ => left == right,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(path: &str, root: &Value, expected: Result<Value, &str>) {
        let found = JsonPath::parse(path).unwrap().query(root).map(Cow::into_owned);
        assert_eq!(found.map_err(|error| error.to_string()), expected.map_err(str::to_owned), "{path}");
    }

    #[test]
    fn reads_the_bookstore() {
        let root = json!({"book": [
            {"title": "a", "price": 8.95, "isbn": "x"},
            {"title": "b", "price": 12.99},
            {"title": "c", "price": 22},
        ], "bicycle": {"price": 19.95}});
        check("$", &root, Ok(root.clone()));
        check("$.book[1].title", &root, Ok(json!("b")));
        check("$.book[-1].title", &root, Ok(json!("c")));
        check("$['book'][0]['title']", &root, Ok(json!("a")));
        check("$.book[*].title", &root, Ok(json!(["a", "b", "c"])));
        check("$.book[0,2].title", &root, Ok(json!(["a", "c"])));
        check("$.book[:2].title", &root, Ok(json!(["a", "b"])));
        check("$.book[1:].title", &root, Ok(json!(["b", "c"])));
        check("$.book[-2:].title", &root, Ok(json!(["b", "c"])));
        check("$.book[::2].title", &root, Ok(json!(["a", "c"])));
        check("$..price", &root, Ok(json!([8.95, 12.99, 22, 19.95])));
        check("$.book[0]['title','price']", &root, Ok(json!(["a", 8.95])));
        check("$.bicycle.*", &root, Ok(json!([19.95])));
        check("$.book[?(@.isbn)].title", &root, Ok(json!(["a"])));
        check("$.book[?(!@.isbn)].title", &root, Ok(json!(["b", "c"])));
        check("$.book[?(@.price > 10 && @.price < $.bicycle.price)].title", &root, Ok(json!(["b"])));
        check("$.book[?(@.price == 22.0 || @.title == 'a')].title", &root, Ok(json!(["a", "c"])));
        check("$.book[?(@.title in ['a', 'c'])].price", &root, Ok(json!([8.95, 22])));
        check(
            "$.book[?(@.title anyof ['a'])].price",
            &json!({"book": [{"title": ["a", "b"], "price": 1}]}),
            Ok(json!([1])),
        );
        check(
            "$.book[?(@.title subsetof ['a'])].price",
            &json!({"book": [{"title": ["a", "b"], "price": 1}]}),
            Ok(json!([])),
        );
        check("$.book[?(@.title size 1)].price", &root, Ok(json!([8.95, 12.99, 22])));
        check("$.book[?(@.title empty false)].price", &root, Ok(json!([8.95, 12.99, 22])));
        check("$.book[?(@.title =~ /[AB]/i)].price", &root, Ok(json!([8.95, 12.99])));
        check("$.book[?(@.title =~ /b|x\\/y/ && @.price > 1)].price", &root, Ok(json!([12.99])));
        check("$.book[?(@.isbn =~ /y/)].price", &root, Ok(json!([])));
        check("$.book.length()", &root, Ok(json!(3)));
        check("$..price.max()", &root, Ok(json!(22.0)));
        check("$.bicycle.keys()", &root, Ok(json!(["price"])));
    }

    #[test]
    fn definite_paths_must_exist_and_indefinite_ones_need_not() {
        let root = json!({"a": {"b": null}, "list": [1]});
        check("$.a.b", &root, Ok(json!(null)));
        check("$.x", &root, Err("No results for path: $['x']"));
        check("$.x.y.z", &root, Err("Missing property in path $['x']"));
        check(
            "$.list.x",
            &root,
            Err(
                "Expected to find an object with property ['x'] in path $['list'] but found 'com.fasterxml.jackson.databind.node.ArrayNode'. This is not a json object according to the JsonProvider: 'com.jayway.jsonpath.spi.json.JacksonJsonNodeJsonProvider'.",
            ),
        );
        check("$.a[0]", &root, Err("Filter: [0] can only be applied to arrays. Current context is: {\"b\":null}"));
        check("$.a.b[0]", &root, Err("The path $['a']['b'] is null"));
        check("$.list[1]", &root, Err("No results for path: $['list'][1]"));
        check("$.list[-2]", &root, Err("No results for path: $['list'][-2]"));
        check("$.x[*]", &root, Ok(json!([])));
        check("$.x[1:].y", &root, Ok(json!([])));
        check("$..nothing", &root, Ok(json!([])));
        check(
            "$.a.length()",
            &json!({"a": 1}),
            Err("$['a'].length(): the function needs an array, an object or a string"),
        );
    }

    #[test]
    fn a_backslash_before_another_character_is_a_backslash() {
        check(r#"$['Test\""Name"']"#, &json!({r#"Test\""Name""#: 1}), Ok(json!(1)));
        check(r"$['it\'s']", &json!({"it's": 1}), Ok(json!(1)));
    }
}
