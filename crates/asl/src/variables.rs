//! Workflow variables: what `Assign` stored, by scope.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::size::json_bytes;

/// The variables of one scope and, through it, those of the scopes around it.
///
/// Branches of a Parallel and iterations of an inline Map each get a scope of their own, so nothing is shared between
/// them; a child execution of a Distributed Map begins with none.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Variables {
    values: BTreeMap<String, Variable>,
    outer: Option<Arc<Variables>>,
}

#[derive(Clone, Debug, PartialEq)]
struct Variable {
    value: Arc<Value>,
    bytes: usize,
}

impl Variables {
    /// A new scope inside `outer`.
    pub(crate) fn inside(outer: &Arc<Variables>) -> Arc<Variables> {
        let outer = if outer.is_empty() { None } else { Some(Arc::clone(outer)) };
        Arc::new(Variables { values: BTreeMap::new(), outer })
    }

    fn is_empty(&self) -> bool {
        self.values.is_empty() && self.outer.is_none()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.shared(name).map(|value| &**value)
    }

    pub(crate) fn shared(&self, name: &str) -> Option<&Arc<Value>> {
        let mut scope = self;
        loop {
            if let Some(variable) = scope.values.get(name) {
                return Some(&variable.value);
            }
            scope = scope.outer.as_deref()?;
        }
    }

    /// Every variable that can be seen, once.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        let mut all: BTreeMap<&str, &Value> = BTreeMap::new();
        let mut scope = Some(self);
        while let Some(variables) = scope {
            for (name, variable) in &variables.values {
                all.entry(name).or_insert(&variable.value);
            }
            scope = variables.outer.as_deref();
        }
        all.into_iter()
    }

    pub(crate) fn assign(&mut self, values: &BTreeMap<String, Arc<Value>>) {
        for (name, value) in values {
            let bytes = json_bytes(value);
            self.values.insert(name.clone(), Variable { value: Arc::clone(value), bytes });
        }
    }

    /// What is stored in this scope and around it, as JSON text.
    pub(crate) fn bytes(&self) -> usize {
        let mut bytes = 0;
        let mut scope = Some(self);
        while let Some(variables) = scope {
            bytes += variables.values.values().map(|variable| variable.bytes).sum::<usize>();
            scope = variables.outer.as_deref();
        }
        bytes
    }
}

/// Whether AWS takes `name` for a variable: a Unicode identifier of at most 80 characters.
///
/// # Source
/// <https://docs.aws.amazon.com/step-functions/latest/dg/workflow-variables.html>, read 2026-11-27.
pub(crate) fn is_name(name: &str) -> bool {
    const LENGTH_MAX: usize = 80;
    let mut characters = name.chars();
    characters.next().is_some_and(is_name_start) && characters.all(is_name_part) && name.chars().count() <= LENGTH_MAX
}

/// `ID_Start`, which is `Alphabetic` and the letter numbers for all that people write.
pub(crate) fn is_name_start(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

pub(crate) fn is_name_part(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || matches!(c, '\u{300}'..='\u{36f}')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn values(value: Value) -> BTreeMap<String, Arc<Value>> {
        let object = value.as_object().unwrap().clone();
        object.into_iter().map(|(name, value)| (name, Arc::new(value))).collect()
    }

    #[test]
    fn inner_scopes_see_outer_ones_and_not_the_other_way() {
        let mut outer = Variables::default();
        outer.assign(&values(json!({"x": 1})));
        let outer = Arc::new(outer);
        let mut inner = Variables::inside(&outer);
        Arc::make_mut(&mut inner).assign(&values(json!({"y": "ab"})));
        assert_eq!(inner.get("x"), Some(&json!(1)));
        assert_eq!(inner.get("y"), Some(&json!("ab")));
        assert_eq!(outer.get("y"), None);
        assert_eq!(inner.bytes(), 1 + 4);
        assert_eq!(inner.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["x", "y"]);
    }

    #[test]
    fn names() {
        for name in ["x", "x1", "_x", "größe", "変数", &"a".repeat(80)] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "1x", "x.y", "x[2]", "a b", "$x", &"a".repeat(81)] {
            assert!(!is_name(name), "{name}");
        }
    }
}
