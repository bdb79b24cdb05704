//! Transitions: where each leads, what is reached, and whether there is an end.
//!
//! Works on the definition as it is written, so that one wrong state does not hide what is wrong between the others.

use serde_json::Value;

use super::fields::{Fields, Findings, child, element};
use super::scope::Targets;
use crate::diagnostics::Code;

/// Notes transitions to nowhere, states that nothing leads to, and a scope that cannot end.
pub(super) fn check(fields: &Fields<'_>, start_at: Option<&str>, targets: &Targets<'_>, findings: &Findings) {
    let start = start_at.and_then(|start_at| {
        let start = targets.find(start_at);
        if start.is_none() {
            let message = format!("Missing 'StartAt' target: {start_at}");
            findings.error(Code::MissingTransitionTarget, fields.at("StartAt"), message);
        }
        start
    });
    let states = fields.at("States");
    let mut successors = Vec::new();
    let mut has_end = false;
    for (name, state) in &targets.values {
        let pointer = child(&states, name);
        let mut reached = Vec::new();
        for (target, pointer) in transitions(state, &pointer) {
            match targets.find(target) {
                Some(index) => reached.push(index),
                // AWS says `Next` whatever the field is called.
                None => {
                    let message = format!("Missing 'Next' target: {target}");
                    findings.error(Code::MissingTransitionTarget, pointer, message);
                }
            }
        }
        has_end |= is_end(state);
        successors.push(reached);
    }
    // A state that is wrong in itself may lead anywhere.
    if findings.has_schema_error() {
        return;
    }
    if !has_end {
        findings.error(Code::MissingEndState, fields.pointer.clone(), "Workflow has no terminal state");
        return;
    }
    let Some(start) = start else { return };
    for (index, is_reached) in reached_from(start, &successors).into_iter().enumerate() {
        if !is_reached {
            let name = targets.values[index].0;
            let message = format!("State \"{name}\" is not reachable.");
            findings.error(Code::MissingTransitionTarget, child(&states, name), message);
        }
    }
}

fn reached_from(start: usize, successors: &[Vec<usize>]) -> Vec<bool> {
    let mut reached = vec![false; successors.len()];
    let mut pending = vec![start];
    while let Some(index) = pending.pop() {
        if !std::mem::replace(&mut reached[index], true) {
            pending.extend(&successors[index]);
        }
    }
    reached
}

/// Every state that a state names, with the place where it does.
fn transitions<'a>(state: &'a Value, pointer: &str) -> Vec<(&'a str, String)> {
    let mut found = Vec::new();
    let mut note = |value: Option<&'a Value>, pointer: String| {
        if let Some(target) = value.and_then(Value::as_str) {
            found.push((target, pointer));
        }
    };
    note(state.get("Next"), child(pointer, "Next"));
    for list in ["Choices", "Catch"] {
        for (index, entry) in state.get(list).and_then(Value::as_array).into_iter().flatten().enumerate() {
            note(entry.get("Next"), child(&element(&child(pointer, list), index), "Next"));
        }
    }
    note(state.get("Default"), child(pointer, "Default"));
    found
}

fn is_end(state: &Value) -> bool {
    let is_terminal_type = matches!(state.get("Type").and_then(Value::as_str), Some("Succeed" | "Fail"));
    is_terminal_type || state.get("End").and_then(Value::as_bool) == Some(true)
}
