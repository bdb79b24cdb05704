//! Recorded AWS executions without tasks, run again.
//!
//! Reads `asl/cases/*.json` of the shared reference folder (`STARMAP_SHARED`, else `../shared` beside the
//! workspace) and compares every history event: id, previous id, type, details. A case counts if its definitions
//! use only what this crate runs and need no service; child executions of a Distributed Map are run in place.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};
use starmap_asl::{
    Code, Command, Event, EventKind, Execution, ExecutionContext, HistoryEvent, ItemSource, Options, Outcome, Severity,
    StateMachine, Status, Timestamp, step,
};

/// Cases whose recording differs from ours, and why.
const KNOWN: &[(&str, &str)] = &[];

#[test]
fn recorded_histories_are_reproduced() {
    let Some(folder) = cases() else { return };
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let known: BTreeMap<&str, &str> = KNOWN.iter().copied().collect();
    let (mut same, mut skipped) = (0, BTreeMap::<String, usize>::new());
    let mut different = BTreeMap::new();
    for file in files {
        let case: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        let id = case["id"].as_str().unwrap().to_owned();
        match run_case(&case) {
            Ok(()) => same += 1,
            Err(Problem::Skipped(reason)) => *skipped.entry(reason).or_default() += 1,
            Err(Problem::Different(difference)) => drop(different.insert(id, difference)),
        }
    }
    let unexpected: BTreeSet<&str> = different.keys().map(String::as_str).collect();
    let expected: BTreeSet<&str> = known.keys().copied().collect();
    let report: Vec<String> = different
        .iter()
        .filter(|(id, _)| !known.contains_key(id.as_str()))
        .map(|(id, difference)| format!("{id}\n    {difference}"))
        .collect();
    assert!(
        report.is_empty(),
        "{same} same, {} different, skipped {skipped:#?}\n{}",
        different.len(),
        report.join("\n")
    );
    let repaired: Vec<&&str> = expected.difference(&unexpected).collect();
    assert!(repaired.is_empty(), "no longer different, take them off the list: {repaired:?}");
    assert!(
        same >= SAME_LEAST,
        "{same} cases are the same, expected at least {SAME_LEAST}: were cases skipped? {skipped:#?}"
    );
}

/// How many cases agreed when this test was written; fewer means that cases are skipped that were not.
const SAME_LEAST: usize = 165;

fn cases() -> Option<PathBuf> {
    let shared = std::env::var_os("STARMAP_SHARED").map(PathBuf::from);
    let shared = shared.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared"));
    let folder = shared.join("asl/cases");
    if folder.is_dir() {
        return Some(folder);
    }
    let message = format!("SKIPPED: {} is not there", folder.display());
    assert!(std::env::var_os("STARMAP_REQUIRE_REFERENCE").is_none(), "{message}");
    std::io::Write::write_all(&mut std::io::stderr(), format!("{message}\n").as_bytes()).unwrap();
    None
}

enum Problem {
    Skipped(String),
    Different(String),
}

fn skip<T>(reason: &str) -> Result<T, Problem> {
    Err(Problem::Skipped(reason.to_owned()))
}

fn run_case(case: &Value) -> Result<(), Problem> {
    let calls: BTreeMap<&str, &Value> = case["steps"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|step| step["op"] == "call")
        .filter_map(|step| Some((step["id"].as_str()?, step)))
        .collect();
    let calls_method = |method: &str| calls.values().any(|call| call["method"] == method);
    if calls_method("stop_execution") || calls_method("test_state") {
        return skip("stopped from outside, or the TestState API");
    }
    let mut compared = 0;
    for matched in case["steps"].as_array().into_iter().flatten().filter(|step| step["op"] == "match") {
        let recorded = &case["recorded"][matched["key"].as_str().unwrap_or_default()];
        if let Some(message) = refusal(recorded) {
            let Some(definition) = calls.values().find_map(|call| call["params"]["definition"].as_str()) else {
                continue;
            };
            compare_refusal(definition, message)?;
            compared += 1;
            continue;
        }
        if !recorded["events"].is_array() {
            continue;
        }
        let Some(history) = matched["value"]["$ref"].as_str().and_then(|id| calls.get(id)) else { continue };
        let Some(start) = referred(&history["params"]["executionArn"], &calls) else { continue };
        let Some(create) = referred(&start["params"]["stateMachineArn"], &calls) else { continue };
        if start["method"] != "start_execution" || create["method"] != "create_state_machine" {
            return skip("started in another way");
        }
        if history["params"]["reverseOrder"] == true || case["type"] != "STANDARD" {
            return skip("another kind of history");
        }
        let definition = create["params"]["definition"].as_str().unwrap_or_default();
        let input = start["params"]["input"].as_str().unwrap_or("{}");
        if definition.contains("@{") || input.contains("@{") {
            return skip("needs a service");
        }
        compare_history(definition, input, recorded["events"].as_array().unwrap())?;
        compared += 1;
    }
    if compared == 0 { skip("no history and no refused definition") } else { Ok(()) }
}

/// The call whose answer a parameter like `@{r2.executionArn}` uses.
fn referred<'a>(parameter: &Value, calls: &BTreeMap<&str, &'a Value>) -> Option<&'a Value> {
    let reference = parameter.as_str()?.strip_prefix("@{")?;
    calls.get(reference.split('.').next()?).copied()
}

/// What AWS said when it refused a definition.
fn refusal(recorded: &Value) -> Option<&str> {
    let message = recorded["exception_value"].as_str().or(recorded["Error"]["Message"].as_str())?;
    let (_, told) = message.split_once("Invalid State Machine Definition: '")?;
    told.strip_suffix('\'')
}

fn compare_refusal(definition: &str, told: &str) -> Result<(), Problem> {
    if told.contains("Express state machine") || told.contains("is not recognized") {
        return skip("refused for what only the engine knows");
    }
    let (_, diagnostics) = StateMachine::parse(definition);
    let ours: Vec<String> = diagnostics
        .iter()
        .map(|found| {
            let pointer = if found.pointer.is_empty() { "/" } else { &found.pointer };
            format!("{}: {} at {pointer}", found.code.as_str(), found.message)
        })
        .collect();
    if diagnostics.iter().any(|found| found.code == Code::Unsupported) {
        return skip("uses what is not supported yet");
    }
    if ours.iter().any(|ours| ours == told) {
        return Ok(());
    }
    Err(Problem::Different(format!("AWS refuses: {told}, we say: {ours:?}")))
}

fn compare_history(definition: &str, input: &str, recorded: &[Value]) -> Result<(), Problem> {
    let (machine, diagnostics) = StateMachine::parse(definition);
    let Some(machine) = machine else {
        let errors: Vec<String> =
            diagnostics.iter().filter(|found| found.severity == Severity::Error).map(ToString::to_string).collect();
        if diagnostics.iter().any(|found| found.code == Code::Unsupported) {
            return skip("uses what is not supported yet");
        }
        return Err(Problem::Different(format!("AWS runs it, we say: {errors:?}")));
    };
    let is_running =
        !recorded.last().and_then(|event| event["type"].as_str()).is_some_and(|name| name.starts_with("Execution"));
    if is_running {
        return skip("recorded while running");
    }
    let (history, _) = run(machine, serde_json::from_str(input).unwrap())?;
    let ours: Vec<Value> = history.iter().map(as_recorded).collect();
    let names = |events: &[Value]| -> Vec<String> {
        events.iter().map(|event| event["type"].as_str().unwrap_or_default().to_owned()).collect()
    };
    // Where branches run side by side, their events were sorted when recorded, and ParallelStateSucceeded got lost.
    let is_sorted = recorded.iter().any(|event| event["previousEventId"] == 0 && event["id"].is_array());
    if is_sorted {
        let (mut ours, mut theirs) = (names(&ours), names(recorded));
        ours.retain(|name| name != "ParallelStateSucceeded");
        ours.sort();
        theirs.sort();
        theirs.dedup();
        ours.dedup();
        return if ours == theirs { Ok(()) } else { Err(Problem::Different(format!("AWS: {theirs:?}, we: {ours:?}"))) };
    }
    if names(&ours) != names(recorded) {
        return Err(Problem::Different(format!("AWS: {:?}, we: {:?}", names(recorded), names(&ours))));
    }
    for (theirs, ours) in recorded.iter().zip(&ours) {
        for (key, theirs) in theirs.as_object().unwrap() {
            if key == "timestamp" {
                continue;
            }
            let ours = &ours[key];
            if !same(theirs, ours) {
                return Err(Problem::Different(format!("{key}: AWS: {theirs}, we: {ours}")));
            }
        }
    }
    Ok(())
}

/// Runs to the end; every timer fires when it is due and every child execution succeeds or fails at once.
fn run(machine: StateMachine, input: Value) -> Result<(Vec<HistoryEvent>, Outcome), Problem> {
    let context = ExecutionContext {
        execution_id: "arn:aws:states:us-east-1:111111111111:execution:machine-name:run".to_owned(),
        execution_name: "run".to_owned(),
        role_arn: "snf_role_arn".to_owned(),
        state_machine_id: "arn:aws:states:us-east-1:111111111111:stateMachine:machine-name".to_owned(),
        state_machine_name: "machine-name".to_owned(),
        ..ExecutionContext::default()
    };
    let options = Options { payload_bytes_max: Some(262_144), seed: 1 };
    let mut execution = Execution::new(machine.clone(), context, input, options);
    let mut now = Timestamp::parse("2026-01-01T00:00:00Z").unwrap();
    let mut history = Vec::new();
    let mut events = vec![Event::Started];
    while let Status::Running = execution.status() {
        let event = match events.pop() {
            Some(event) => event,
            None => next_timer(&execution, &mut now)?,
        };
        for command in step(&mut execution, now, event).unwrap() {
            match command {
                Command::Record(event) => history.push(*event),
                Command::InvokeTask(_) => return skip("needs a service"),
                Command::StartMapRun { map_run, spec } => {
                    let processor = machine.processor(&spec.processor).expect("the machine names its own processors");
                    let mut outputs = Vec::new();
                    if matches!(spec.items, ItemSource::Reader(_)) || spec.writer.destination.is_some() {
                        return skip("needs a bucket");
                    }
                    for (index, item) in (0..).zip(spec.given_items()) {
                        let selected = spec.selection.select(index, Arc::clone(item), "STATE_DATA");
                        let selected = selected.map_err(|not| Problem::Different(format!("{not:?}")))?;
                        match run(processor.clone(), Value::clone(&selected))?.1 {
                            Outcome::Succeeded { output } => outputs.push(Value::clone(&output)),
                            _ => return skip("a child execution fails"),
                        }
                    }
                    events.push(Event::MapRunSucceeded { map_run, output: Value::from(outputs).into() });
                    events.push(Event::MapRunStarted { map_run, arn: "map-run".to_owned() });
                }
                _ => {}
            }
        }
    }
    match execution.status() {
        Status::Ended(outcome) => Ok((history, outcome)),
        Status::Running => unreachable!("the loop ends when the execution does"),
    }
}

fn next_timer(execution: &Execution, now: &mut Timestamp) -> Result<Event, Problem> {
    let timers = execution.outstanding().into_iter().filter_map(|command| match command {
        Command::StartTimer { timer, due } => Some((due, timer)),
        _ => None,
    });
    let Some((due, timer)) = timers.min() else {
        return Err(Problem::Different("stuck: nothing is outstanding".to_owned()));
    };
    *now = due.max(*now);
    Ok(Event::TimerFired { timer })
}

/// An event in the shape of the recordings. Details nobody compares are left out.
fn as_recorded(event: &HistoryEvent) -> Value {
    let mut recorded = json!({ "id": event.id, "previousEventId": event.previous_id, "type": event.kind.name() });
    let (key, details) = match &event.kind {
        EventKind::ExecutionStarted { input, role_arn } => {
            ("executionStartedEventDetails", json!({"input": **input, "roleArn": role_arn}))
        }
        EventKind::ExecutionSucceeded { output } => ("executionSucceededEventDetails", json!({"output": **output})),
        EventKind::ExecutionFailed { error, cause } => {
            ("executionFailedEventDetails", json!({"error": error, "cause": cause}))
        }
        EventKind::StateEntered { name, input, .. } => {
            ("stateEnteredEventDetails", json!({"name": name, "input": **input}))
        }
        EventKind::StateExited { name, output, assigned, .. } => {
            let mut details = json!({"name": name, "output": **output});
            for (variable, value) in assigned {
                // Recorded objects are values, everything else is text.
                let text = Value::from(value.to_string());
                details["assignedVariables"][variable] = if value.is_object() { Value::clone(value) } else { text };
            }
            ("stateExitedEventDetails", details)
        }
        EventKind::EvaluationFailed { error, cause, location, state } => (
            "evaluationFailedEventDetails",
            json!({"error": error, "cause": cause, "location": location, "state": state}),
        ),
        EventKind::MapStateStarted { length } => ("mapStateStartedEventDetails", json!({"length": length})),
        EventKind::MapIterationStarted { name, index } => {
            ("mapIterationStartedEventDetails", json!({"name": name, "index": index}))
        }
        EventKind::MapIterationSucceeded { name, index } => {
            ("mapIterationSucceededEventDetails", json!({"name": name, "index": index}))
        }
        EventKind::MapIterationFailed { name, index } => {
            ("mapIterationFailedEventDetails", json!({"name": name, "index": index}))
        }
        EventKind::MapRunFailed { error, cause } => {
            ("mapRunFailedEventDetails", json!({"error": error, "cause": cause}))
        }
        _ => return recorded,
    };
    recorded[key] = details;
    recorded
}

/// Words that stand for something that differs from run to run.
const PLACEHOLDERS: &[&str] = &[
    "date",
    "timestamp",
    "start-time",
    "entered-time",
    "generated-uuid",
    "RandomNumberGenerated",
    "snf_role_arn",
    "<ArnPart_0idx>",
    "map-run",
];

/// Recorded texts have placeholders; recorded payloads are values or, unless objects, JSON texts.
fn same(theirs: &Value, ours: &Value) -> bool {
    match (theirs, ours) {
        (Value::String(theirs), ours) if PLACEHOLDERS.contains(&theirs.as_str()) => !ours.is_null(),
        (Value::String(theirs), Value::String(ours)) => {
            let is_json =
                serde_json::from_str::<Value>(theirs).is_ok_and(|value| same(&value, &Value::from(ours.as_str())));
            is_json || fits(theirs, ours)
        }
        (Value::String(theirs), ours) => serde_json::from_str::<Value>(theirs).is_ok_and(|value| same(&value, ours)),
        (Value::Object(theirs), Value::Object(ours)) => {
            theirs.iter().all(|(key, value)| match ours.get(key) {
                Some(ours) => same(value, ours),
                // Details about details: whether a payload was truncated.
                None => key.ends_with("Details") || value.is_null(),
            }) && ours.iter().all(|(key, value)| value.is_null() || theirs.contains_key(key))
        }
        (Value::Object(theirs), Value::Null) => theirs.keys().all(|key| key == "mapRunArn"),
        (Value::Array(theirs), Value::Array(ours)) => {
            theirs.len() == ours.len() && theirs.iter().zip(ours).all(|(theirs, ours)| same(theirs, ours))
        }
        (theirs, ours) => theirs == ours || theirs.as_f64().is_some_and(|theirs| ours.as_f64() == Some(theirs)),
    }
}

/// True if `ours` is `theirs` with something in place of every `<…>`.
fn fits(theirs: &str, ours: &str) -> bool {
    let mut parts = theirs.split('<').map(|part| part.split_once('>').map_or(part, |(_, rest)| rest));
    let Some(mut rest) = ours.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    theirs.ends_with('>') || rest.is_empty()
}
