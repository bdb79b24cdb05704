//! The fields of every type of state but Map and Task.

use std::sync::Arc;

use serde_json::Value;

use super::fields::Fields;
use super::handling::{read_handling, read_result_path};
use super::map::read_map;
use super::model::{Choice, DataPath, Fail, Kind, Next, Parallel, Pass, QueryLanguage, Setting, State, Wait};
use super::rule::read_choice;
use super::scope::{ScopeReader, Targets};
use super::task::read_task;
use crate::query::Offered;
use crate::template::{Computed, Template};
use crate::time::Timestamp;

/// Longest time AWS lets a definition name, a little over three years.
pub(super) const SECONDS_MAX: u64 = 99_999_999;

/// Reads one state; `None` if it was too wrong to go on with (then something was noted).
pub(super) fn read_state(
    name: &str,
    value: &Value,
    pointer: String,
    targets: &Targets<'_>,
    scopes: &mut ScopeReader<'_>,
) -> Option<State> {
    let mut fields = Fields::new(value, pointer, scopes.findings())?;
    fields.comment();
    fields.language = read_query_language(&fields);
    fields.require(&["Type"]);
    let state_type = fields.string("Type")?;
    if matches!(state_type, "Task" | "Map" | "Parallel") {
        fields.offered = Offered::Result;
    }
    let is_terminal = matches!(state_type, "Succeed" | "Fail");
    let has_next = !is_terminal && state_type != "Choice";
    let next = if has_next { read_next(&fields, targets) } else { Some(Next::End) };
    let (mut input_path, mut output_path) = (DataPath::Whole, DataPath::Whole);
    let mut output = None;
    if state_type != "Fail" && !fields.is_jsonata() {
        input_path = read_data_path(&fields, "InputPath");
        output_path = read_data_path(&fields, "OutputPath");
    }
    if state_type != "Fail" && fields.is_jsonata() {
        output = fields.template("Output");
    }
    let assign = if is_terminal { None } else { scopes.assignments.read(&fields) };
    let kind = match state_type {
        "Task" => read_task(&fields, targets, scopes).map(Kind::Task),
        "Map" => read_map(&fields, targets, scopes).map(Kind::Map),
        "Parallel" => read_parallel(&fields, targets, scopes).map(Kind::Parallel),
        "Choice" => read_choices(&fields, targets, scopes).map(Kind::Choice),
        "Pass" => Some(Kind::Pass(read_pass(&fields))),
        "Wait" => read_wait(&fields).map(Kind::Wait),
        "Succeed" => Some(Kind::Succeed),
        "Fail" => Some(Kind::Fail(read_fail(&fields))),
        other => {
            let types = "Task, Map, Parallel, Choice, Pass, Wait, Succeed or Fail";
            fields.schema("Type", format!("expected {types}, found \"{other}\""));
            return None;
        }
    };
    let language = fields.language;
    fields.finish();
    Some(State { name: name.to_owned(), language, input_path, output_path, output, assign, next: next?, kind: kind? })
}

/// The state's language. One that is neither of the two counts as JSONata, as AWS was measured to do.
fn read_query_language(fields: &Fields<'_>) -> QueryLanguage {
    let machine = fields.findings.language.get();
    let Some(own) = query_language(fields) else { return machine };
    if machine == QueryLanguage::Jsonata && own == QueryLanguage::JsonPath {
        let message = "'QueryLanguage' can not be 'JSONPath' if set to 'JSONata' for whole state machine";
        fields.findings.schema(fields.pointer.clone(), message);
        return machine;
    }
    own
}

/// The value of `QueryLanguage`, if there is one.
pub(super) fn query_language(fields: &Fields<'_>) -> Option<QueryLanguage> {
    fields.get("QueryLanguage")?;
    match fields.string("QueryLanguage") {
        Some("JSONPath") => Some(QueryLanguage::JsonPath),
        Some("JSONata") | None => Some(QueryLanguage::Jsonata),
        Some(other) => {
            fields.schema("QueryLanguage", format!("expected \"JSONPath\" or \"JSONata\", found \"{other}\""));
            Some(QueryLanguage::Jsonata)
        }
    }
}

fn read_next(fields: &Fields<'_>, targets: &Targets<'_>) -> Option<Next> {
    let next = fields.string("Next");
    let end = fields.boolean("End");
    match (fields.get("Next").is_some(), end) {
        (true, Some(true)) => {
            fields.exclusive(&["Next", "End"]);
            None
        }
        (true, _) => targets.find(next?).map(Next::State),
        (false, Some(true)) => Some(Next::End),
        (false, _) => {
            fields.findings.schema(fields.pointer.clone(), "One of these fields is required: [Next, End]");
            None
        }
    }
}

fn read_data_path(fields: &Fields<'_>, name: &'static str) -> DataPath {
    match fields.get(name) {
        None => DataPath::Whole,
        Some(Value::Null) => DataPath::Nothing,
        Some(Value::String(text)) if text == "$" => DataPath::Whole,
        Some(_) => fields.path(name, false).map_or(DataPath::Whole, DataPath::Path),
    }
}

/// `Parameters` of the JSONPath dialect, `Arguments` of the JSONata dialect.
pub(super) fn read_arguments(fields: &Fields<'_>) -> Option<Template> {
    fields.template(if fields.is_jsonata() { "Arguments" } else { "Parameters" })
}

fn read_parallel(fields: &Fields<'_>, targets: &Targets<'_>, scopes: &mut ScopeReader<'_>) -> Option<Parallel> {
    fields.require(&["Branches"]);
    let entries = fields.array("Branches")?;
    if entries.is_empty() {
        fields.schema("Branches", "Value cannot be empty");
    }
    let mut branches = Vec::new();
    for branch in fields.objects("Branches") {
        branch.comment();
        branches.extend(scopes.read(&branch, true));
        branch.finish();
    }
    let arguments = read_arguments(fields);
    let handling = read_handling(fields, targets, scopes);
    (branches.len() == entries.len()).then_some(Parallel { branches, arguments, handling })
}

fn read_choices(fields: &Fields<'_>, targets: &Targets<'_>, scopes: &mut ScopeReader<'_>) -> Option<Choice> {
    fields.require(&["Choices"]);
    let default = fields.string("Default").map(|name| targets.find(name));
    let entries = fields.array("Choices")?;
    if entries.is_empty() {
        fields.schema("Choices", "Value cannot be empty");
    }
    let mut rules = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        rules.push(fields.inner_at("Choices", index, entry).and_then(|rule| read_choice(rule, targets, scopes)));
    }
    let default = match default {
        Some(found) => Some(found?),
        None => None,
    };
    Some(Choice { rules: rules.into_iter().collect::<Option<_>>()?, default })
}

fn read_pass(fields: &Fields<'_>) -> Pass {
    let (mut result, mut parameters) = (None, None);
    if !fields.is_jsonata() {
        result = fields.get("Result").cloned().map(Arc::new);
        parameters = fields.template("Parameters");
    }
    Pass { result, parameters, result_path: read_result_path(fields) }
}

fn read_wait(fields: &Fields<'_>) -> Option<Wait> {
    let names: &[&'static str] = match fields.language {
        QueryLanguage::JsonPath => &["Seconds", "SecondsPath", "Timestamp", "TimestampPath"],
        QueryLanguage::Jsonata => &["Seconds", "Timestamp"],
    };
    fields.exclusive(names);
    if names.iter().all(|name| fields.get(name).is_none()) {
        let message = format!("One of these fields is required: [{}]", names.join(", "));
        fields.findings.schema(fields.pointer.clone(), message);
    }
    if fields.is_jsonata() {
        if fields.is_query("Seconds") {
            return fields.query("Seconds").map(Wait::SecondsOf);
        }
        if fields.is_query("Timestamp") {
            return fields.query("Timestamp").map(Wait::TimestampOf);
        }
        return read_constant_wait(fields);
    }
    let constant = read_constant_wait(fields);
    let path = |name| Some(Computed { expression: fields.path(name, false)?, field: name.to_owned() });
    let seconds = path("SecondsPath").map(Wait::SecondsOf);
    let timestamp = path("TimestampPath").map(Wait::TimestampOf);
    constant.or(seconds).or(timestamp)
}

fn read_constant_wait(fields: &Fields<'_>) -> Option<Wait> {
    let timestamp = fields.string("Timestamp").and_then(|text| {
        let timestamp = Timestamp::parse(text);
        if timestamp.is_none() {
            fields.schema("Timestamp", "String does not match RFC3339 timestamp");
        }
        timestamp
    });
    fields.integer("Seconds", 0, SECONDS_MAX).map(Wait::Seconds).or(timestamp.map(Wait::Timestamp))
}

fn read_fail(fields: &Fields<'_>) -> Fail {
    let text = |fields: &Fields<'_>, name| fields.string(name).map(str::to_owned);
    let error: Setting<String> = fields.setting(["Error", "ErrorPath"], true, text);
    Fail { error, cause: fields.setting(["Cause", "CausePath"], true, text) }
}
