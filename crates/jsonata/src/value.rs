//! Values during an evaluation: what JSON has, sequences, functions, and "nothing".
//!
//! The input is never copied: an array or object of it stays a borrowed [`serde_json::Value`] until something new is
//! built from its parts. `'v` is the evaluation's lifetime.

use std::fmt;
use std::ops::Deref;
use std::rc::Rc;

use indexmap::IndexMap;
use serde_json::Value as Json;

use crate::error::{Error, quoted};
use crate::evaluate::function::Function;
use crate::evaluate::tuple::Tuple;
use crate::limits::VALUE_DEPTH_MAX;

#[derive(Clone, Debug)]
pub(crate) enum Value<'v> {
    /// Nothing: what a missing field yields.
    Undefined,
    Null,
    Bool(bool),
    Number(Number),
    String(Text<'v>),
    /// An array or an object of the input or of a binding.
    Borrowed(&'v Json),
    Array(Rc<Array<'v>>),
    Object(Rc<Object<'v>>),
    Function(Rc<Function<'v>>),
    /// What a path with bound variables hands to the path around it. Never leaves the evaluation.
    Tuples(Rc<Vec<Tuple<'v>>>),
}

/// A double, or an integer that is exact because it came as one and is only handed on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Number {
    Int(i64),
    Float(f64),
}

#[derive(Clone, Debug)]
pub(crate) enum Text<'v> {
    Borrowed(&'v str),
    Shared(Rc<str>),
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Array<'v> {
    pub(crate) items: Vec<Value<'v>>,
    /// Results of a selection: one is the same as its only element, none is nothing.
    pub(crate) is_sequence: bool,
    /// A sequence that stays an array when it has one element.
    pub(crate) keep_singleton: bool,
    /// Made by an array constructor, so a path does not flatten it.
    pub(crate) is_constructed: bool,
    /// Wraps an input that is an array.
    pub(crate) is_outer: bool,
    /// Of arrays and objects below; borrowed ones are not looked into.
    depth: u32,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Object<'v> {
    pub(crate) fields: IndexMap<Text<'v>, Value<'v>>,
    depth: u32,
}

/// Any array, wherever it lives.
#[derive(Clone, Copy)]
pub(crate) enum List<'a, 'v> {
    Owned(&'a [Value<'v>]),
    Borrowed(&'v [Json]),
}

impl<'a, 'v> List<'a, 'v> {
    pub(crate) fn len(self) -> usize {
        match self {
            List::Owned(items) => items.len(),
            List::Borrowed(items) => items.len(),
        }
    }

    pub(crate) fn get(self, index: usize) -> Option<Value<'v>> {
        match self {
            List::Owned(items) => items.get(index).cloned(),
            List::Borrowed(items) => items.get(index).map(Value::borrowed),
        }
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = Value<'v>> + use<'a, 'v> {
        (0..self.len()).filter_map(move |index| self.get(index))
    }
}

/// Any object, wherever it lives.
#[derive(Clone, Copy)]
pub(crate) enum Fields<'a, 'v> {
    Owned(&'a IndexMap<Text<'v>, Value<'v>>),
    Borrowed(&'v serde_json::Map<String, Json>),
}

impl<'a, 'v> Fields<'a, 'v> {
    pub(crate) fn len(self) -> usize {
        match self {
            Fields::Owned(fields) => fields.len(),
            Fields::Borrowed(fields) => fields.len(),
        }
    }

    pub(crate) fn get(self, key: &str) -> Value<'v> {
        match self {
            Fields::Owned(fields) => fields.get(key).cloned().unwrap_or(Value::Undefined),
            Fields::Borrowed(fields) => fields.get(key).map_or(Value::Undefined, Value::borrowed),
        }
    }

    pub(crate) fn entries(self) -> Vec<(Text<'v>, Value<'v>)> {
        match self {
            Fields::Owned(fields) => fields.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
            Fields::Borrowed(fields) => {
                fields.iter().map(|(key, value)| (Text::Borrowed(key), Value::borrowed(value))).collect()
            }
        }
    }
}

impl<'v> Value<'v> {
    /// The value of some JSON, without a copy of what is below.
    pub(crate) fn borrowed(json: &'v Json) -> Value<'v> {
        match json {
            Json::Null => Value::Null,
            Json::Bool(bool) => Value::Bool(*bool),
            Json::Number(number) => Value::Number(Number::from_json(number)),
            Json::String(text) => Value::String(Text::Borrowed(text)),
            Json::Array(_) | Json::Object(_) => Value::Borrowed(json),
        }
    }

    /// The value of some JSON that does not outlive the evaluation.
    pub(crate) fn owned(json: Json) -> Result<Value<'v>, Error> {
        Ok(match json {
            Json::Null => Value::Null,
            Json::Bool(bool) => Value::Bool(bool),
            Json::Number(number) => Value::Number(Number::from_json(&number)),
            Json::String(text) => Value::from(text),
            Json::Array(items) => Value::array(items.into_iter().map(Value::owned).collect::<Result<_, _>>()?)?,
            Json::Object(fields) => {
                let mut object = Object::default();
                for (key, value) in fields {
                    object.insert(Text::from(key), Value::owned(value)?)?;
                }
                Value::from(object)
            }
        })
    }

    /// An array that is a value like any other.
    pub(crate) fn array(items: Vec<Value<'v>>) -> Result<Value<'v>, Error> {
        Array::new(items).map(Value::from)
    }

    /// An array of results.
    pub(crate) fn sequence(items: Vec<Value<'v>>) -> Result<Value<'v>, Error> {
        let mut array = Array::new(items)?;
        array.is_sequence = true;
        Ok(Value::from(array))
    }

    /// An array around one value.
    pub(crate) fn array_of_one(value: Value<'v>) -> Result<Value<'v>, Error> {
        Value::array(vec![value])
    }

    pub(crate) fn is_undefined(&self) -> bool {
        matches!(self, Value::Undefined)
    }

    pub(crate) fn is_array(&self) -> bool {
        matches!(self, Value::Array(_) | Value::Borrowed(Json::Array(_)))
    }

    pub(crate) fn is_sequence(&self) -> bool {
        matches!(self, Value::Array(array) if array.is_sequence)
    }

    pub(crate) fn as_list(&self) -> Option<List<'_, 'v>> {
        match self {
            Value::Array(array) => Some(List::Owned(&array.items)),
            Value::Borrowed(Json::Array(items)) => Some(List::Borrowed(items)),
            _ => None,
        }
    }

    pub(crate) fn as_fields(&self) -> Option<Fields<'_, 'v>> {
        match self {
            Value::Object(object) => Some(Fields::Owned(&object.fields)),
            Value::Borrowed(Json::Object(fields)) => Some(Fields::Borrowed(fields)),
            _ => None,
        }
    }

    pub(crate) fn as_number(&self) -> Option<Number> {
        match self {
            Value::Number(number) => Some(*number),
            _ => None,
        }
    }

    pub(crate) fn as_text(&self) -> Option<&Text<'v>> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn as_function(&self) -> Option<&Rc<Function<'v>>> {
        match self {
            Value::Function(function) => Some(function),
            _ => None,
        }
    }

    /// The elements of an array, or the value itself as the only one; none for nothing.
    pub(crate) fn items(&self) -> Vec<Value<'v>> {
        match self {
            Value::Undefined => Vec::new(),
            Value::Tuples(tuples) => tuples.iter().map(|tuple| tuple.value.clone()).collect(),
            _ => match self.as_list() {
                Some(list) => list.iter().collect(),
                None => vec![self.clone()],
            },
        }
    }

    /// Casts to a boolean, as `$boolean` does; nothing is false.
    pub(crate) fn is_truthy(&self) -> bool {
        match self {
            Value::Undefined | Value::Null | Value::Function(_) | Value::Tuples(_) => false,
            Value::Bool(bool) => *bool,
            Value::Number(number) => number.as_f64() != 0.0,
            Value::String(text) => !text.is_empty(),
            Value::Borrowed(Json::Object(fields)) => !fields.is_empty(),
            Value::Object(object) => !object.fields.is_empty(),
            // Any element, however deep: for a single one that is the element itself.
            Value::Array(array) => array.items.iter().any(Value::is_truthy),
            Value::Borrowed(json) => {
                json.as_array().is_some_and(|items| items.iter().any(|item| Value::borrowed(item).is_truthy()))
            }
        }
    }

    /// What a message shows of a value.
    pub(crate) fn shown(&self) -> String {
        match self {
            Value::Undefined => String::new(),
            Value::String(text) => quoted(text),
            Value::Number(number) => number.to_string(),
            _ => self.to_json(&mut 10_000).ok().flatten().map(|json| json.to_string()).unwrap_or_default(),
        }
    }

    /// As JSON; nothing stays nothing, and functions are nothing too. `budget` is how many values it may have.
    pub(crate) fn to_json(&self, budget: &mut u64) -> Result<Option<Json>, Error> {
        *budget = budget.checked_sub(1).ok_or_else(Error::too_much_memory)?;
        Ok(Some(match self {
            Value::Undefined | Value::Function(_) => return Ok(None),
            Value::Null => Json::Null,
            Value::Bool(bool) => Json::Bool(*bool),
            Value::Number(number) => number.to_json(),
            Value::String(text) => {
                *budget = budget.checked_sub(text.len() as u64 / 64).ok_or_else(Error::too_much_memory)?;
                Json::String(text.to_string())
            }
            Value::Borrowed(json) => (*json).clone(),
            Value::Array(array) => {
                let mut items = Vec::with_capacity(array.items.len());
                for item in &array.items {
                    items.push(match item {
                        Value::Function(_) => Json::String(String::new()),
                        _ => item.to_json(budget)?.unwrap_or(Json::Null),
                    });
                }
                Json::Array(items)
            }
            Value::Object(object) => {
                let mut fields = serde_json::Map::new();
                for (key, value) in &object.fields {
                    let value = match value {
                        Value::Function(_) => Some(Json::String(String::new())),
                        _ => value.to_json(budget)?,
                    };
                    if let Some(value) = value {
                        fields.insert(key.to_string(), value);
                    }
                }
                Json::Object(fields)
            }
            Value::Tuples(tuples) => {
                let values = tuples.iter().map(|tuple| tuple.value.to_json(budget));
                Json::Array(values.filter_map(Result::transpose).collect::<Result<_, _>>()?)
            }
        }))
    }

    /// Whether two values are the same all the way down.
    pub(crate) fn equals(&self, other: &Value<'v>, budget: &mut u64) -> Result<bool, Error> {
        *budget = budget.checked_sub(1).ok_or_else(Error::too_many_steps)?;
        match (self, other) {
            (Value::Undefined, Value::Undefined) | (Value::Null, Value::Null) => return Ok(true),
            (Value::Bool(left), Value::Bool(right)) => return Ok(left == right),
            (Value::Number(left), Value::Number(right)) => return Ok(left == right),
            (Value::String(left), Value::String(right)) => return Ok(**left == **right),
            (Value::Function(left), Value::Function(right)) => return Ok(Rc::ptr_eq(left, right)),
            _ => {}
        }
        if let (Some(left), Some(right)) = (self.as_list(), other.as_list()) {
            if left.len() != right.len() {
                return Ok(false);
            }
            for (left, right) in left.iter().zip(right.iter()) {
                if !left.equals(&right, budget)? {
                    return Ok(false);
                }
            }
            return Ok(true);
        }
        let (Some(left), Some(right)) = (self.as_fields(), other.as_fields()) else { return Ok(false) };
        if left.len() != right.len() {
            return Ok(false);
        }
        for (key, value) in left.entries() {
            let other = right.get(&key);
            if other.is_undefined() || !value.equals(&other, budget)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// How many levels of arrays, objects and functions are below, counting this one.
    pub(crate) fn depth(&self) -> u32 {
        match self {
            Value::Array(array) => array.depth,
            Value::Object(object) => object.depth,
            Value::Function(function) => function.depth(),
            Value::Tuples(tuples) => tuples.iter().map(|tuple| tuple.value.depth()).max().unwrap_or(0) + 1,
            _ => 0,
        }
    }
}

/// The depth of something that holds `below`.
pub(crate) fn deeper(below: u32) -> Result<u32, Error> {
    if below >= VALUE_DEPTH_MAX { Err(Error::stack_overflow()) } else { Ok(below + 1) }
}

impl<'v> Array<'v> {
    pub(crate) fn new(items: Vec<Value<'v>>) -> Result<Array<'v>, Error> {
        let depth = deeper(items.iter().map(Value::depth).max().unwrap_or(0))?;
        Ok(Array { items, depth, ..Array::default() })
    }
}

impl<'v> Object<'v> {
    /// Sets a field; nothing is no field.
    pub(crate) fn insert(&mut self, key: Text<'v>, value: Value<'v>) -> Result<(), Error> {
        if !value.is_undefined() {
            self.depth = self.depth.max(deeper(value.depth())?);
            self.fields.insert(key, value);
        }
        Ok(())
    }
}

impl<'v> From<Array<'v>> for Value<'v> {
    fn from(array: Array<'v>) -> Value<'v> {
        Value::Array(Rc::new(array))
    }
}

impl<'v> From<Object<'v>> for Value<'v> {
    fn from(object: Object<'v>) -> Value<'v> {
        Value::Object(Rc::new(object))
    }
}

impl<'v> From<Function<'v>> for Value<'v> {
    fn from(function: Function<'v>) -> Value<'v> {
        Value::Function(Rc::new(function))
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Value::String(Text::from(text))
    }
}

impl From<&str> for Value<'_> {
    fn from(text: &str) -> Self {
        Value::String(Text::Shared(Rc::from(text)))
    }
}

impl From<f64> for Value<'_> {
    fn from(number: f64) -> Self {
        Value::Number(Number::from(number))
    }
}

impl From<usize> for Value<'_> {
    fn from(count: usize) -> Self {
        Value::Number(Number::Int(i64::try_from(count).unwrap_or(i64::MAX)))
    }
}

impl From<bool> for Value<'_> {
    fn from(bool: bool) -> Self {
        Value::Bool(bool)
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Text::Borrowed(text) => text,
            Text::Shared(text) => text,
        }
    }
}

impl From<String> for Text<'_> {
    fn from(text: String) -> Self {
        Text::Shared(Rc::from(text))
    }
}

impl std::borrow::Borrow<str> for Text<'_> {
    fn borrow(&self) -> &str {
        self
    }
}

impl PartialEq for Text<'_> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Text<'_> {}

impl std::hash::Hash for Text<'_> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl Number {
    /// Up to here every integer is a double.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

    pub(crate) fn as_f64(self) -> f64 {
        match self {
            Number::Int(number) => number as f64,
            Number::Float(number) => number,
        }
    }

    fn from_json(number: &serde_json::Number) -> Number {
        match number.as_i64() {
            Some(number) => Number::Int(number),
            None => Number::Float(number.as_f64().unwrap_or(f64::NAN)),
        }
    }

    /// AWS writes what JSON has no number for as a text: `[1/0]` is `["Infinity"]`.
    fn to_json(self) -> Json {
        match self {
            Number::Int(number) => Json::from(number),
            Number::Float(number) => match serde_json::Number::from_f64(number) {
                Some(number) => Json::Number(number),
                None => Json::String(self.to_string()),
            },
        }
    }
}

impl From<f64> for Number {
    /// A number that was computed: whole ones are integers, as JSON shows them.
    fn from(number: f64) -> Number {
        if number.fract() == 0.0 && number.abs() < Number::EXACT_MAX {
            Number::Int(number as i64)
        } else {
            Number::Float(number)
        }
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Number) -> bool {
        match (self, other) {
            (Number::Int(left), Number::Int(right)) => left == right,
            _ => self.as_f64() == other.as_f64(),
        }
    }
}

impl fmt::Display for Number {
    /// As JavaScript writes numbers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = match self {
            Number::Int(number) => return write!(f, "{number}"),
            Number::Float(number) => *number,
        };
        if number.is_nan() {
            return f.write_str("NaN");
        }
        if number.is_infinite() {
            return f.write_str(if number > 0.0 { "Infinity" } else { "-Infinity" });
        }
        if number == 0.0 {
            return f.write_str("0");
        }
        let magnitude = number.abs();
        if (1e-6..1e21).contains(&magnitude) {
            return write!(f, "{number}");
        }
        let text = format!("{number:e}");
        match text.split_once("e-") {
            Some(_) => f.write_str(&text),
            None => f.write_str(&text.replace('e', "e+")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_javascript_writes_them() {
        let written = |number: f64| Number::from(number).to_string();
        assert_eq!(written(1e21), "1e+21");
        assert_eq!(written(1e20), "100000000000000000000");
        assert_eq!(written(1.5e-7), "1.5e-7");
        assert_eq!(written(0.1 + 0.2), "0.30000000000000004");
        assert_eq!(written(-0.0), "0");
        assert_eq!(written(1.0 / 0.0), "Infinity");
    }

    #[test]
    fn a_value_is_24_bytes() {
        assert!(std::mem::size_of::<Value<'_>>() <= 24);
    }
}
