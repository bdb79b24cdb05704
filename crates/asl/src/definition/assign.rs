//! `Assign`: the names of variables, and that an inner scope takes none of an outer one's.

use std::collections::BTreeSet;

use super::fields::{Fields, Findings};
use crate::template::Template;
use crate::variables::is_name;

/// Who assigns what. A variable belongs to the scope of the states that assign it.
#[derive(Default)]
pub(super) struct Assignments {
    scopes: Vec<AssignedIn>,
    /// The scope that is being read, innermost last.
    path: Vec<usize>,
}

struct AssignedIn {
    /// The scope around it, unless its variables are not seen.
    outer: Option<usize>,
    /// With the pointers of the `Assign` fields.
    names: BTreeSet<(String, String)>,
}

impl Assignments {
    pub(super) fn enter(&mut self, sees_outer: bool) {
        let outer = if sees_outer { self.path.last().copied() } else { None };
        self.path.push(self.scopes.len());
        self.scopes.push(AssignedIn { outer, names: BTreeSet::new() });
    }

    pub(super) fn leave(&mut self) {
        self.path.pop();
    }

    /// Reads an `Assign` and notes the names that it takes.
    pub(super) fn read(&mut self, fields: &Fields<'_>) -> Option<Template> {
        let template = fields.template("Assign")?;
        if !fields.get("Assign").is_some_and(|value| value.is_object()) {
            fields.schema("Assign", "expected an object of variables");
            return None;
        }
        for name in template.names() {
            if name == "states" {
                fields.schema("Assign", "Variable name 'states' is reserved");
            } else if !is_name(name) {
                fields.schema("Assign", format!("Variable name '{name}' is not valid"));
            }
            if let Some(scope) = self.path.last().and_then(|index| self.scopes.get_mut(*index)) {
                scope.names.insert((name.to_owned(), fields.at("Assign")));
            }
        }
        Some(template)
    }

    /// Notes every variable that is assigned in a scope and in one around it.
    pub(super) fn check(&self, findings: &Findings) {
        for scope in &self.scopes {
            for (name, pointer) in &scope.names {
                let mut outer = scope.outer;
                while let Some(around) = outer.and_then(|index| self.scopes.get(index)) {
                    if around.names.iter().any(|(other, _)| other == name) {
                        let message = format!("Variable '{name}' is already assigned in an outer scope");
                        findings.schema(pointer.clone(), message);
                        break;
                    }
                    outer = around.outer;
                }
            }
        }
    }
}
