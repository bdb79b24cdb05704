//! Variables that an expression sees.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

/// Names (without the `$`) and their values, which are shared and never copied.
///
/// A binding hides a built-in function of the same name.
#[derive(Clone, Debug, Default)]
pub struct Bindings(BTreeMap<String, Arc<Value>>);

impl Bindings {
    /// No variables.
    pub fn new() -> Bindings {
        Bindings::default()
    }

    /// Binds a name, without its `$`.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<Arc<Value>>) {
        self.0.insert(name.into(), value.into());
    }

    /// The value of a name, without its `$`.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).map(|value| &**value)
    }
}

impl<N: Into<String>, V: Into<Arc<Value>>> FromIterator<(N, V)> for Bindings {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(entries: I) -> Bindings {
        Bindings(entries.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}
