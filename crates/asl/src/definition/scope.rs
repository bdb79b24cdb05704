//! `StartAt` + `States`: names, and what each state is.

use std::collections::BTreeMap;

use serde_json::Value;

use super::assign::Assignments;
use super::fields::{Fields, Findings, child};
use super::graph;
use super::model::{Scope, ScopeId, State};
use super::state::read_state;
use crate::diagnostics::Code;

/// Longest name of a state, in characters.
const NAME_LENGTH_MAX: usize = 80;

/// Reads scopes, inner ones before outer ones, into one list.
pub(super) struct ScopeReader<'a> {
    findings: &'a Findings,
    scopes: &'a mut Vec<Scope>,
    pub(super) assignments: Assignments,
}

impl<'a> ScopeReader<'a> {
    pub(super) fn new(findings: &'a Findings, scopes: &'a mut Vec<Scope>) -> Self {
        ScopeReader { findings, scopes, assignments: Assignments::default() }
    }

    /// Reads `StartAt` and `States` of an object whose other fields are its owner's.
    ///
    /// The scope is usable only if nothing was noted as an error. `sees_outer` says whether its states see the
    /// variables of the scope around it.
    pub(super) fn read(&mut self, fields: &Fields<'_>, sees_outer: bool) -> Option<ScopeId> {
        fields.require(&["States", "StartAt"]);
        let start_at = fields.string("StartAt");
        let states = fields.object("States")?;
        let targets = Targets::collect(fields);
        if targets.indices.is_empty() {
            self.findings.schema(states.pointer, "Value cannot be empty");
            return None;
        }
        self.assignments.enter(sees_outer);
        let mut read: Vec<Option<State>> = Vec::new();
        for (name, value) in targets.values.iter().copied() {
            let pointer = child(&states.pointer, name);
            self.check_name(name, &pointer);
            read.push(read_state(name, value, pointer, &targets, self));
        }
        self.assignments.leave();
        graph::check(fields, start_at, &targets, self.findings);
        let start = targets.find(start_at?);
        let states: Vec<State> = read.into_iter().collect::<Option<_>>()?;
        Some(self.push(Scope { start: start?, states }))
    }

    pub(super) fn findings(&self) -> &'a Findings {
        self.findings
    }

    fn push(&mut self, scope: Scope) -> ScopeId {
        self.scopes.push(scope);
        ScopeId(self.scopes.len() - 1)
    }

    fn check_name(&self, name: &str, pointer: &str) {
        let length = name.chars().count();
        if length == 0 || length > NAME_LENGTH_MAX {
            let message = format!("a state's name has 1 to {NAME_LENGTH_MAX} characters, found {length}");
            self.findings.schema(pointer, message);
        }
        let earlier = self.findings.names.borrow_mut().insert(name.to_owned(), pointer.to_owned());
        if let Some(earlier) = earlier {
            let message = format!("Duplicate State name: {name} (also {earlier})");
            self.findings.error(Code::DuplicateStateName, pointer, message);
        }
    }
}

/// The states of a scope by name, for resolving transitions.
pub(super) struct Targets<'a> {
    indices: BTreeMap<&'a str, usize>,
    pub(super) values: Vec<(&'a str, &'a Value)>,
}

impl<'a> Targets<'a> {
    fn collect(fields: &Fields<'a>) -> Targets<'a> {
        let states = fields.get("States").and_then(Value::as_object);
        let values: Vec<(&str, &Value)> =
            states.into_iter().flatten().map(|(name, value)| (name.as_str(), value)).collect();
        let indices = values.iter().enumerate().map(|(index, (name, _))| (*name, index)).collect();
        Targets { indices, values }
    }

    /// The index of a state. That there is none is noted when the whole graph is looked at.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.indices.get(name).copied()
    }
}
