//! Variables that an expression sees.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;

use crate::value::{Object, Text, Value};

/// Names (without the `$`) and their values, which are shared and never copied.
///
/// A binding hides a built-in function of the same name.
#[derive(Clone, Debug, Default)]
pub struct Bindings(BTreeMap<String, Bound>);

#[derive(Clone, Debug)]
enum Bound {
    Value(Arc<Json>),
    Object(Vec<(String, Arc<Json>)>),
}

impl Bindings {
    /// No variables.
    pub fn new() -> Bindings {
        Bindings::default()
    }

    /// Binds a name, without its `$`.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<Arc<Json>>) {
        self.0.insert(name.into(), Bound::Value(value.into()));
    }

    /// Binds a name, without its `$`, to an object of these fields, which are shared, too.
    pub fn insert_object<N: Into<String>>(
        &mut self,
        name: impl Into<String>,
        fields: impl IntoIterator<Item = (N, Arc<Json>)>,
    ) {
        let fields = fields.into_iter().map(|(name, value)| (name.into(), value)).collect();
        self.0.insert(name.into(), Bound::Object(fields));
    }

    /// The value of a name, without its `$`.
    pub(crate) fn get(&self, name: &str) -> Option<Value<'_>> {
        match self.0.get(name)? {
            Bound::Value(json) => Some(Value::borrowed(json)),
            Bound::Object(fields) => {
                let mut object = Object::default();
                for (name, json) in fields {
                    // Borrowed values have no depth of their own, so this cannot be too deep.
                    object.insert(Text::Borrowed(name), Value::borrowed(json)).ok()?;
                }
                Some(Value::from(object))
            }
        }
    }
}

impl<N: Into<String>, V: Into<Arc<Json>>> FromIterator<(N, V)> for Bindings {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(entries: I) -> Bindings {
        Bindings(entries.into_iter().map(|(name, value)| (name.into(), Bound::Value(value.into()))).collect())
    }
}
