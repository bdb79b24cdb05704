//! The fields of every type of state.

use serde_json::Value;

use super::fields::{Fields, child};
use super::model::{
    Choice, DataPath, ExecutionType, Fail, Handling, Kind, Map, MapMode, Next, Parallel, Pass, Setting, State, Task,
    Wait,
};
use super::rule::read_choice;
use super::scope::{ScopeReader, Targets, query_language};
use crate::command::ProcessorPath;
use crate::diagnostics::Code;
use crate::error::ALL;
use crate::jsonpath::ReferencePath;
use crate::resource::Resource;
use crate::retry::{Catcher, Jitter, ResultPath, Retrier};
use crate::time::Timestamp;

/// Longest time AWS lets a definition name, a little over three years.
pub(super) const SECONDS_MAX: u64 = 99_999_999;

const LABEL_LENGTH_MAX: usize = 40;

/// Reads one state; `None` if it was too wrong to go on with (then something was noted).
pub(super) fn read_state(
    name: &str,
    value: &Value,
    pointer: String,
    targets: &Targets<'_>,
    scopes: &mut ScopeReader<'_>,
) -> Option<State> {
    let fields = Fields::new(value, pointer, scopes.findings())?;
    fields.comment();
    if !query_language(&fields) {
        return None;
    }
    fields.unsupported("Assign", "variables");
    fields.require(&["Type"]);
    let state_type = fields.string("Type")?;
    let is_terminal = matches!(state_type, "Succeed" | "Fail");
    let has_next = !is_terminal && state_type != "Choice";
    let next = if has_next { read_next(&fields, targets) } else { Some(Next::End) };
    let (mut input_path, mut output_path) = (DataPath::Whole, DataPath::Whole);
    if state_type != "Fail" {
        input_path = read_data_path(&fields, "InputPath");
        output_path = read_data_path(&fields, "OutputPath");
    }
    let kind = match state_type {
        "Task" => read_task(&fields, targets).map(Kind::Task),
        "Map" => read_map(&fields, targets, scopes).map(Kind::Map),
        "Parallel" => read_parallel(&fields, targets, scopes).map(Kind::Parallel),
        "Choice" => read_choices(&fields, targets).map(Kind::Choice),
        "Pass" => read_pass(&fields).map(Kind::Pass),
        "Wait" => read_wait(&fields).map(Kind::Wait),
        "Succeed" => Some(Kind::Succeed),
        "Fail" => Some(Kind::Fail(read_fail(&fields))),
        other => {
            let types = "Task, Map, Parallel, Choice, Pass, Wait, Succeed or Fail";
            fields.schema("Type", format!("expected {types}, found \"{other}\""));
            return None;
        }
    };
    fields.finish();
    Some(State { name: name.to_owned(), input_path, output_path, next: next?, kind: kind? })
}

fn read_next(fields: &Fields<'_>, targets: &Targets<'_>) -> Option<Next> {
    let next = fields.string("Next");
    let end = fields.boolean("End");
    match (fields.get("Next").is_some(), end) {
        (true, Some(true)) => {
            fields.exclusive(&["Next", "End"]);
            None
        }
        (true, _) => targets.find(next?, fields.at("Next"), "Next").map(Next::State),
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

fn read_result_path(fields: &Fields<'_>) -> ResultPath {
    let whole = || ReferencePath::parse("$").expect("`$` is a reference path");
    match fields.get("ResultPath") {
        None => ResultPath::Put(whole()),
        Some(Value::Null) => ResultPath::Discard,
        Some(_) => {
            let path = fields.string("ResultPath").and_then(|text| match ReferencePath::parse(text) {
                Ok(path) => Some(path),
                Err(error) => {
                    fields.schema("ResultPath", format!("Value is not a Reference Path: {error}"));
                    None
                }
            });
            ResultPath::Put(path.unwrap_or_else(whole))
        }
    }
}

fn read_handling(fields: &Fields<'_>, targets: &Targets<'_>) -> Handling {
    Handling {
        result_selector: fields.template("ResultSelector"),
        result_path: read_result_path(fields),
        retry: read_list(fields, "Retry", read_retrier),
        catch: read_list(fields, "Catch", |entry| read_catcher(entry, targets)),
    }
}

/// Reads the objects of an array; what cannot be read is noted and left out.
fn read_list<'a, T>(fields: &Fields<'a>, name: &'static str, read: impl Fn(&Fields<'a>) -> Option<T>) -> Vec<T> {
    let Some(entries) = fields.array(name) else { return Vec::new() };
    let mut list = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let pointer = child(&fields.at(name), &index.to_string());
        let Some(entry) = Fields::new(entry, pointer, fields.findings) else { continue };
        let errors = entry.get("ErrorEquals").and_then(Value::as_array);
        let has_all = errors.is_some_and(|errors| errors.iter().any(|error| error == ALL));
        if has_all && index + 1 < entries.len() {
            entry.schema("ErrorEquals", format!("{ALL} must be in the last entry of {name}"));
        }
        list.extend(read(&entry));
        entry.finish();
    }
    list
}

fn read_error_equals(entry: &Fields<'_>) -> Option<Vec<String>> {
    entry.require(&["ErrorEquals"]);
    let names = entry.array("ErrorEquals")?;
    if names.is_empty() {
        entry.schema("ErrorEquals", "Value cannot be empty");
    }
    let errors: Option<Vec<String>> = names.iter().map(|name| name.as_str().map(str::to_owned)).collect();
    match &errors {
        None => entry.schema("ErrorEquals", "expected an array of strings"),
        Some(errors) if errors.len() > 1 && errors.iter().any(|error| error == ALL) => {
            entry.schema("ErrorEquals", format!("{ALL} must stand alone"));
        }
        Some(_) => {}
    }
    errors
}

fn read_retrier(entry: &Fields<'_>) -> Option<Retrier> {
    entry.comment();
    let errors = read_error_equals(entry);
    let interval_s = entry.integer("IntervalSeconds", 1, SECONDS_MAX).unwrap_or(1);
    let attempts_max = entry.integer("MaxAttempts", 0, SECONDS_MAX).unwrap_or(3);
    let backoff_rate = entry.number("BackoffRate", 1.0, f64::INFINITY).unwrap_or(2.0);
    let delay_s_max = entry.integer("MaxDelaySeconds", 1, 31_622_399);
    if delay_s_max.is_some_and(|max| max <= interval_s) {
        entry.schema("MaxDelaySeconds", format!("must be greater than IntervalSeconds, which is {interval_s}"));
    }
    let jitter = match entry.string("JitterStrategy") {
        None | Some("NONE") => Jitter::None,
        Some("FULL") => Jitter::Full,
        Some(other) => {
            entry.schema("JitterStrategy", format!("expected \"FULL\" or \"NONE\", found \"{other}\""));
            Jitter::None
        }
    };
    let attempts_max = u32::try_from(attempts_max).unwrap_or(u32::MAX);
    Some(Retrier { errors: errors?, interval_s, attempts_max, backoff_rate, delay_s_max, jitter })
}

fn read_catcher(entry: &Fields<'_>, targets: &Targets<'_>) -> Option<Catcher> {
    entry.comment();
    entry.unsupported("Assign", "variables");
    entry.require(&["Next"]);
    let errors = read_error_equals(entry);
    let result_path = read_result_path(entry);
    let next = entry.string("Next").and_then(|next| targets.find(next, entry.at("Next"), "Next"));
    Some(Catcher { errors: errors?, result_path, next: next? })
}

fn read_task(fields: &Fields<'_>, targets: &Targets<'_>) -> Option<Task> {
    fields.require(&["Resource"]);
    let resource = fields.string("Resource").and_then(|arn| {
        let resource = Resource::parse(arn);
        if resource.is_none() {
            fields.schema("Resource", format!("Value is not a valid resource ARN: {arn}"));
        }
        resource
    });
    if let Some(credentials) = fields.object("Credentials") {
        if credentials.get("RoleArn").is_none() && credentials.get("RoleArn.$").is_none() {
            let message = "The field 'RoleArn' is required but was missing";
            fields.findings.schema(credentials.pointer.clone(), message);
        }
        let message = "Credentials are read but not used: tasks run with the engine's own rights";
        fields.findings.warning(Code::Unsupported, credentials.pointer.clone(), message);
        credentials.finish();
    }
    let seconds = |fields: &Fields<'_>, name| fields.integer(name, 1, SECONDS_MAX);
    let timeout = fields.setting(["TimeoutSeconds", "TimeoutSecondsPath"], false, seconds);
    let heartbeat = fields.setting(["HeartbeatSeconds", "HeartbeatSecondsPath"], false, seconds);
    if let (Setting::Value(timeout), Setting::Value(heartbeat)) = (&timeout, &heartbeat)
        && heartbeat >= timeout
    {
        fields.schema("HeartbeatSeconds", format!("must be less than TimeoutSeconds, which is {timeout}"));
    }
    let parameters = fields.template("Parameters");
    let handling = read_handling(fields, targets);
    Some(Task { resource: resource?, parameters, timeout, heartbeat, handling })
}

fn read_map(fields: &Fields<'_>, targets: &Targets<'_>, scopes: &mut ScopeReader<'_>) -> Option<Map> {
    fields.exclusive(&["ItemProcessor", "Iterator"]);
    fields.exclusive(&["ItemSelector", "Parameters"]);
    let name = match (fields.get("ItemProcessor"), fields.get("Iterator")) {
        (Some(_), _) => "ItemProcessor",
        (None, Some(_)) => "Iterator",
        (None, None) => {
            fields.require(&["ItemProcessor"]);
            return None;
        }
    };
    let processor = fields.object(name)?;
    processor.comment();
    let config = read_processor_config(&processor);
    let is_readable = query_language(&processor);
    let scope = if is_readable { scopes.read(&processor) } else { None };
    let path = ProcessorPath(processor.pointer.clone());
    if is_readable {
        processor.finish();
    }
    let items = fields.path("ItemsPath", false);
    let item_selector = fields.template("ItemSelector").or(fields.template("Parameters"));
    let count = |fields: &Fields<'_>, name| fields.integer(name, 0, u64::from(u32::MAX));
    let max_concurrency = fields.setting(["MaxConcurrency", "MaxConcurrencyPath"], false, count);
    let mode = match config {
        Some(child_type) => read_distributed(fields, path, child_type),
        None => MapMode::Inline,
    };
    if let (Some(scope), MapMode::Distributed { path, .. }) = (scope, &mode) {
        fields.findings.processors.borrow_mut().insert(path.0.clone(), scope);
    }
    let handling = read_handling(fields, targets);
    Some(Map { processor: scope?, mode, items, item_selector, max_concurrency, handling })
}

/// `Some` for a distributed processor. The published older definitions have a `ProcessorConfig` in an `Iterator`, too.
fn read_processor_config(processor: &Fields<'_>) -> Option<ExecutionType> {
    let config = processor.object("ProcessorConfig")?;
    let mode = config.string("Mode").unwrap_or("INLINE");
    let child_type = config.string("ExecutionType");
    let child_type = match (mode, child_type) {
        ("INLINE", None) => None,
        ("INLINE", Some(_)) => {
            config.schema("ExecutionType", "only a processor in Mode DISTRIBUTED has an ExecutionType");
            None
        }
        ("DISTRIBUTED", None | Some("STANDARD")) => Some(ExecutionType::Standard),
        ("DISTRIBUTED", Some("EXPRESS")) => Some(ExecutionType::Express),
        ("DISTRIBUTED", Some(other)) => {
            config.schema("ExecutionType", format!("expected \"STANDARD\" or \"EXPRESS\", found \"{other}\""));
            None
        }
        (other, _) => {
            config.schema("Mode", format!("expected \"INLINE\" or \"DISTRIBUTED\", found \"{other}\""));
            None
        }
    };
    config.finish();
    child_type
}

fn read_distributed(fields: &Fields<'_>, path: ProcessorPath, child_type: ExecutionType) -> MapMode {
    fields.unsupported("ItemReader", "items from object storage");
    fields.unsupported("ItemBatcher", "several items per child execution");
    fields.unsupported("ResultWriter", "results to object storage");
    let label = fields.string("Label");
    if let Some(problem) = label.and_then(label_problem) {
        fields.schema("Label", problem);
    }
    MapMode::Distributed {
        path,
        child_type,
        label: label.map(str::to_owned),
        tolerated_count: fields.setting(
            ["ToleratedFailureCount", "ToleratedFailureCountPath"],
            false,
            |fields, name| fields.integer(name, 0, u64::MAX),
        ),
        tolerated_percentage: fields.setting(
            ["ToleratedFailurePercentage", "ToleratedFailurePercentagePath"],
            false,
            |fields, name| fields.number(name, 0.0, 100.0),
        ),
    }
}

fn label_problem(label: &str) -> Option<String> {
    const FORBIDDEN: &str = "?*<>{}[]:;,\\|^~$#%&`\"/";
    if label.is_empty() {
        return Some("Label cannot be empty".to_owned());
    }
    if label.chars().count() > LABEL_LENGTH_MAX {
        return Some(format!("Label cannot exceed {LABEL_LENGTH_MAX} characters"));
    }
    let invalid = label.chars().find(|c| c.is_whitespace() || c.is_control() || FORBIDDEN.contains(*c))?;
    Some(format!("Label contains invalid character: '{invalid}'"))
}

fn read_parallel(fields: &Fields<'_>, targets: &Targets<'_>, scopes: &mut ScopeReader<'_>) -> Option<Parallel> {
    fields.require(&["Branches"]);
    let entries = fields.array("Branches")?;
    if entries.is_empty() {
        fields.schema("Branches", "Value cannot be empty");
    }
    let mut branches = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let pointer = child(&fields.at("Branches"), &index.to_string());
        let Some(branch) = Fields::new(entry, pointer, fields.findings) else { continue };
        branch.comment();
        if query_language(&branch) {
            branches.extend(scopes.read(&branch));
            branch.finish();
        }
    }
    let parameters = fields.template("Parameters");
    let handling = read_handling(fields, targets);
    (branches.len() == entries.len()).then_some(Parallel { branches, parameters, handling })
}

fn read_choices(fields: &Fields<'_>, targets: &Targets<'_>) -> Option<Choice> {
    fields.require(&["Choices"]);
    let default = fields.string("Default").map(|name| targets.find(name, fields.at("Default"), "Default"));
    let entries = fields.array("Choices")?;
    if entries.is_empty() {
        fields.schema("Choices", "Value cannot be empty");
    }
    let mut rules = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let pointer = child(&fields.at("Choices"), &index.to_string());
        rules.push(read_choice(entry, pointer, targets, fields.findings));
    }
    let default = match default {
        Some(found) => Some(found?),
        None => None,
    };
    Some(Choice { rules: rules.into_iter().collect::<Option<_>>()?, default })
}

fn read_pass(fields: &Fields<'_>) -> Option<Pass> {
    Some(Pass {
        result: fields.get("Result").cloned(),
        parameters: fields.template("Parameters"),
        result_path: read_result_path(fields),
    })
}

fn read_wait(fields: &Fields<'_>) -> Option<Wait> {
    const NAMES: [&str; 4] = ["Seconds", "SecondsPath", "Timestamp", "TimestampPath"];
    fields.exclusive(&NAMES);
    let timestamp = fields.string("Timestamp").and_then(|text| {
        let timestamp = Timestamp::parse(text);
        if timestamp.is_none() {
            fields.schema("Timestamp", "String does not match RFC3339 timestamp");
        }
        timestamp
    });
    let wait = fields
        .integer("Seconds", 0, SECONDS_MAX)
        .map(Wait::Seconds)
        .or(fields.path("SecondsPath", false).map(Wait::SecondsPath))
        .or(timestamp.map(Wait::Timestamp))
        .or(fields.path("TimestampPath", false).map(Wait::TimestampPath));
    if NAMES.iter().all(|name| fields.get(name).is_none()) {
        let message = format!("One of these fields is required: [{}]", NAMES.join(", "));
        fields.findings.schema(fields.pointer.clone(), message);
    }
    wait
}

fn read_fail(fields: &Fields<'_>) -> Fail {
    let text = |fields: &Fields<'_>, name| fields.string(name).map(str::to_owned);
    Fail {
        error: fields.setting(["Error", "ErrorPath"], true, text),
        cause: fields.setting(["Cause", "CausePath"], true, text),
    }
}
