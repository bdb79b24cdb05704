//! Writing through a path: what `ResultPath` does.

use serde_json::{Map, Value};

use super::parse::{JsonPath, ParseError, Segment, Selector};

/// A path of names and indices only: one place, existing or not.
#[derive(Clone, Debug, PartialEq)]
pub struct ReferencePath(JsonPath);

/// The input has something in the way of a [`ReferencePath`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Unable to apply step \"{step}\" to input {input}")]
pub struct ApplyError {
    /// The step: a name, or an index in brackets.
    pub step: String,
    /// What it was to be applied to, as JSON text.
    pub input: String,
}

impl ReferencePath {
    /// Reads a path and refuses wildcards, slices, filters, descents and functions.
    ///
    /// # Errors
    /// [`ParseError`] if it is no path or not a reference path.
    pub fn parse(text: &str) -> Result<ReferencePath, ParseError> {
        let path = JsonPath::parse(text)?;
        let has_function = matches!(path.segments.last(), Some(Segment::Function(_)));
        if !path.is_definite() || has_function {
            let problem = "a reference path has names and indices only".to_owned();
            return Err(ParseError { at: 0, problem });
        }
        Ok(ReferencePath(path))
    }

    /// True for `$`: the whole value.
    pub fn is_root(&self) -> bool {
        self.0.segments.is_empty()
    }

    /// The path for reading.
    pub fn as_path(&self) -> &JsonPath {
        &self.0
    }

    /// Puts `value` at the path in `target`; missing objects on the way are made, others keep their other fields.
    ///
    /// # Errors
    /// [`ApplyError`] if the way leads through something that is no object (for a name) or no array with
    /// that index (for an index).
    pub fn put(&self, mut target: Value, value: Value) -> Result<Value, ApplyError> {
        let mut place = &mut target;
        for (depth, segment) in self.0.segments.iter().enumerate() {
            let Segment::Child(selectors) = segment else { continue };
            match selectors.first() {
                Some(Selector::Name(name)) => {
                    // Only a made-up object may replace a null; the input itself must already be an object.
                    if place.is_null() && depth > 0 {
                        *place = Value::Object(Map::new());
                    }
                    let Value::Object(object) = place else {
                        return Err(ApplyError { step: name.clone(), input: place.to_string() });
                    };
                    place = object.entry(name.clone()).or_insert(Value::Null);
                }
                Some(Selector::Index(index)) => {
                    let slot = usize::try_from(*index).ok().filter(|slot| place.get(slot).is_some());
                    let Some(slot) = slot else {
                        return Err(ApplyError { step: format!("[{index}]"), input: place.to_string() });
                    };
                    place = &mut place[slot];
                }
                _ => {}
            }
        }
        *place = value;
        Ok(target)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn put(path: &str, target: Value) -> Result<Value, String> {
        ReferencePath::parse(path).unwrap().put(target, json!(1)).map_err(|error| error.to_string())
    }

    #[test]
    fn makes_what_is_missing_and_keeps_what_is_there() {
        assert_eq!(put("$", json!({"a": 0})), Ok(json!(1)));
        assert_eq!(put("$.b", json!({"a": 0})), Ok(json!({"a": 0, "b": 1})));
        assert_eq!(put("$.a.b.c", json!({"a": {"x": 0}})), Ok(json!({"a": {"x": 0, "b": {"c": 1}}})));
        assert_eq!(put("$.a[1]", json!({"a": [5, 6]})), Ok(json!({"a": [5, 1]})));
        assert_eq!(put("$['a b']", json!({})), Ok(json!({"a b": 1})));
    }

    #[test]
    fn does_not_write_through_scalars() {
        assert_eq!(put("$.a", json!(5)), Err("Unable to apply step \"a\" to input 5".to_owned()));
        assert_eq!(put("$.a.b", json!({"a": [1]})), Err("Unable to apply step \"b\" to input [1]".to_owned()));
        assert_eq!(put("$.a[3]", json!({"a": [1]})), Err("Unable to apply step \"[3]\" to input [1]".to_owned()));
    }

    #[test]
    fn wildcards_are_no_places() {
        for path in ["$[*]", "$..a", "$.a[0:1]", "$.a[?(@.b)]", "$.a.length()"] {
            assert!(ReferencePath::parse(path).is_err(), "{path}");
        }
    }
}
