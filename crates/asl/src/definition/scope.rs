//! `StartAt` + `States`: names, transitions and what can be reached.

use std::collections::BTreeMap;

use serde_json::Value;

use super::fields::{Fields, Findings, child};
use super::model::{Kind, Next, Scope, ScopeId, State};
use super::state::read_state;
use crate::diagnostics::Code;

/// Longest name of a state, in characters.
const NAME_LENGTH_MAX: usize = 80;

/// Notes a `QueryLanguage` that cannot be run; false means that the fields beside it mean something else.
pub(super) fn query_language(fields: &Fields<'_>) -> bool {
    match fields.string("QueryLanguage") {
        None | Some("JSONPath") => true,
        Some("JSONata") => {
            let message = "QueryLanguage JSONata is not supported yet, only JSONPath is";
            fields.findings.error(Code::Unsupported, fields.at("QueryLanguage"), message);
            false
        }
        Some(other) => {
            fields.schema("QueryLanguage", format!("expected \"JSONPath\" or \"JSONata\", found \"{other}\""));
            false
        }
    }
}

/// Reads scopes, inner ones before outer ones, into one list.
pub(super) struct ScopeReader<'a> {
    findings: &'a Findings,
    scopes: &'a mut Vec<Scope>,
}

impl<'a> ScopeReader<'a> {
    pub(super) fn new(findings: &'a Findings, scopes: &'a mut Vec<Scope>) -> Self {
        ScopeReader { findings, scopes }
    }

    /// Reads `StartAt` and `States` of an object whose other fields are its owner's.
    ///
    /// The scope is usable only if nothing was noted as an error.
    pub(super) fn read(&mut self, fields: &Fields<'_>) -> Option<ScopeId> {
        fields.require(&["States", "StartAt"]);
        let start_at = fields.string("StartAt");
        let states = fields.object("States")?;
        let targets = Targets::collect(fields, self.findings);
        if targets.indices.is_empty() {
            self.findings.schema(states.pointer, "Value cannot be empty");
            return None;
        }
        let start = targets.find(start_at?, fields.at("StartAt"), "StartAt");
        let mut read: Vec<Option<State>> = Vec::new();
        for (name, value) in targets.values.iter().copied() {
            self.check_name(name, &child(&states.pointer, name));
            read.push(read_state(name, value, child(&states.pointer, name), &targets, self));
        }
        let states: Vec<State> = read.into_iter().collect::<Option<_>>()?;
        let scope = Scope { start: start?, states };
        self.check_reachable(&scope, &fields.at("States"));
        Some(self.push(scope))
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

    fn check_reachable(&self, scope: &Scope, pointer: &str) {
        let mut reached = vec![false; scope.states.len()];
        let mut pending = vec![scope.start];
        while let Some(index) = pending.pop() {
            if !std::mem::replace(&mut reached[index], true) {
                pending.extend(successors(&scope.states[index]));
            }
        }
        for (state, reached) in scope.states.iter().zip(reached) {
            if !reached {
                let message = format!("State \"{}\" is not reachable.", state.name);
                self.findings.error(Code::MissingTransitionTarget, child(pointer, &state.name), message);
            }
        }
    }
}

fn successors(state: &State) -> Vec<usize> {
    let catch = match &state.kind {
        Kind::Task(task) => task.handling.catch.as_slice(),
        Kind::Map(map) => map.handling.catch.as_slice(),
        Kind::Parallel(parallel) => parallel.handling.catch.as_slice(),
        Kind::Choice(choice) => {
            return choice.rules.iter().map(|(_, next)| *next).chain(choice.default).collect();
        }
        Kind::Succeed | Kind::Fail(_) => return Vec::new(),
        Kind::Pass(_) | Kind::Wait(_) => &[],
    };
    let next = match state.next {
        Next::State(next) => Some(next),
        Next::End => None,
    };
    catch.iter().map(|catcher| catcher.next).chain(next).collect()
}

/// The states of a scope by name, for resolving transitions.
pub(super) struct Targets<'a> {
    indices: BTreeMap<&'a str, usize>,
    values: Vec<(&'a str, &'a Value)>,
    findings: &'a Findings,
}

impl<'a> Targets<'a> {
    fn collect(fields: &Fields<'a>, findings: &'a Findings) -> Targets<'a> {
        let states = fields.get("States").and_then(Value::as_object);
        let values: Vec<(&str, &Value)> =
            states.into_iter().flatten().map(|(name, value)| (name.as_str(), value)).collect();
        let indices = values.iter().enumerate().map(|(index, (name, _))| (*name, index)).collect();
        Targets { indices, values, findings }
    }

    /// The index of a state; notes it if there is none of that name. `field` is the field that names it.
    pub(super) fn find(&self, name: &str, pointer: String, field: &str) -> Option<usize> {
        let found = self.indices.get(name).copied();
        if found.is_none() {
            let message = format!("Missing '{field}' target: {name}");
            self.findings.error(Code::MissingTransitionTarget, pointer, message);
        }
        found
    }
}
