//! How events and history entries are written in the journal.
//!
//! These shapes are a promise to every journal that exists: fields may be added, never renamed or reused.
//! That is why the core types of `asl` are converted here and not serialised as they are.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use starmap_asl::{Event, EventKind, HistoryEvent, MapRunId, Resource, TaskId, TimerId, Timestamp};

use super::{Counts, HistoryRow, MapRunCounts, MapRunDetails, MapRunLimits};

#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum StoredEvent {
    Started,
    TaskScheduled { task: u64 },
    TaskRefused { task: u64, cause: String },
    TaskStarted { task: u64 },
    ActivityStarted { task: u64, worker: Option<String> },
    TaskSubmitFailed { task: u64, error: String, cause: String },
    TaskSubmitted { task: u64, output: Value },
    TaskSucceeded { task: u64, output: Value },
    TaskFailed { task: u64, error: String, cause: String },
    TaskHeartbeat { task: u64 },
    TimerFired { timer: u64 },
    MapRunStarted { map_run: u64, arn: String },
    MapRunSucceeded { map_run: u64, output: Value },
    MapRunFailed { map_run: u64, error: String, cause: String },
    Redriven,
    StopRequested { error: Option<String>, cause: Option<String> },
}

pub(crate) fn event_to_text(event: &Event) -> String {
    let stored = match event.clone() {
        Event::Started => StoredEvent::Started,
        Event::TaskScheduled { task } => StoredEvent::TaskScheduled { task: task.0 },
        Event::TaskRefused { task, cause } => StoredEvent::TaskRefused { task: task.0, cause },
        Event::TaskStarted { task } => StoredEvent::TaskStarted { task: task.0 },
        Event::ActivityStarted { task, worker } => StoredEvent::ActivityStarted { task: task.0, worker },
        Event::TaskSubmitFailed { task, error, cause } => StoredEvent::TaskSubmitFailed { task: task.0, error, cause },
        Event::TaskSubmitted { task, output } => StoredEvent::TaskSubmitted { task: task.0, output },
        Event::TaskSucceeded { task, output } => StoredEvent::TaskSucceeded { task: task.0, output },
        Event::TaskFailed { task, error, cause } => StoredEvent::TaskFailed { task: task.0, error, cause },
        Event::TaskHeartbeat { task } => StoredEvent::TaskHeartbeat { task: task.0 },
        Event::TimerFired { timer } => StoredEvent::TimerFired { timer: timer.0 },
        Event::MapRunStarted { map_run, arn } => StoredEvent::MapRunStarted { map_run: map_run.0, arn },
        Event::MapRunSucceeded { map_run, output } => StoredEvent::MapRunSucceeded { map_run: map_run.0, output },
        Event::MapRunFailed { map_run, error, cause } => StoredEvent::MapRunFailed { map_run: map_run.0, error, cause },
        Event::Redriven => StoredEvent::Redriven,
        Event::StopRequested { error, cause } => StoredEvent::StopRequested { error, cause },
    };
    serde_json::to_string(&stored).expect("strings, numbers and JSON values always serialise")
}

pub(crate) fn event_from_text(text: &str) -> Result<Event, String> {
    let stored: StoredEvent = serde_json::from_str(text).map_err(|error| error.to_string())?;
    Ok(match stored {
        StoredEvent::Started => Event::Started,
        StoredEvent::TaskScheduled { task } => Event::TaskScheduled { task: TaskId(task) },
        StoredEvent::TaskRefused { task, cause } => Event::TaskRefused { task: TaskId(task), cause },
        StoredEvent::TaskStarted { task } => Event::TaskStarted { task: TaskId(task) },
        StoredEvent::ActivityStarted { task, worker } => Event::ActivityStarted { task: TaskId(task), worker },
        StoredEvent::TaskSubmitFailed { task, error, cause } => {
            Event::TaskSubmitFailed { task: TaskId(task), error, cause }
        }
        StoredEvent::TaskSubmitted { task, output } => Event::TaskSubmitted { task: TaskId(task), output },
        StoredEvent::TaskSucceeded { task, output } => Event::TaskSucceeded { task: TaskId(task), output },
        StoredEvent::TaskFailed { task, error, cause } => Event::TaskFailed { task: TaskId(task), error, cause },
        StoredEvent::TaskHeartbeat { task } => Event::TaskHeartbeat { task: TaskId(task) },
        StoredEvent::TimerFired { timer } => Event::TimerFired { timer: TimerId(timer) },
        StoredEvent::MapRunStarted { map_run, arn } => Event::MapRunStarted { map_run: MapRunId(map_run), arn },
        StoredEvent::MapRunSucceeded { map_run, output } => {
            Event::MapRunSucceeded { map_run: MapRunId(map_run), output }
        }
        StoredEvent::MapRunFailed { map_run, error, cause } => {
            Event::MapRunFailed { map_run: MapRunId(map_run), error, cause }
        }
        StoredEvent::Redriven => Event::Redriven,
        StoredEvent::StopRequested { error, cause } => Event::StopRequested { error, cause },
    })
}

pub(crate) fn history_row(event: &HistoryEvent) -> HistoryRow {
    HistoryRow {
        id: event.id,
        previous_id: event.previous_id,
        at: event.at,
        name: event.kind.name().to_owned(),
        details: details(&event.kind),
    }
}

fn details(kind: &EventKind) -> Value {
    match kind.clone() {
        EventKind::ExecutionStarted { input, role_arn } => {
            json!({ "input": *input, "role_arn": role_arn })
        }
        EventKind::ExecutionSucceeded { output } => json!({ "output": *output }),
        EventKind::LambdaFunctionSucceeded { output } | EventKind::ActivitySucceeded { output } => {
            json!({ "output": output })
        }
        EventKind::ExecutionFailed { error, cause } | EventKind::ExecutionAborted { error, cause } => {
            present([("error", error.map(Value::String)), ("cause", cause.map(Value::String))])
        }
        EventKind::ExecutionRedriven { redrive_count } => json!({ "redrive_count": redrive_count }),
        EventKind::StateEntered { name, input, .. } => json!({ "name": name, "input": *input }),
        EventKind::StateExited { name, output, assigned, .. } => {
            let mut details = json!({ "name": name, "output": *output });
            if !assigned.is_empty() {
                let assigned = assigned.iter().map(|(name, value)| (name.clone(), Value::clone(value)));
                details["assigned"] = Value::Object(assigned.collect());
            }
            details
        }
        EventKind::EvaluationFailed { error, cause, location, state } => present([
            ("error", Some(Value::String(error))),
            ("cause", Some(Value::String(cause))),
            ("location", location.map(Value::String)),
            ("state", Some(Value::String(state))),
        ]),
        EventKind::LambdaFunctionScheduled { resource, input, timeout_s, role_arn } => present([
            ("role_arn", role_arn.map(Value::String)),
            ("resource", Some(Value::String(resource))),
            ("input", Some(input)),
            ("timeout_s", timeout_s.map(Value::from)),
        ]),
        EventKind::ActivityScheduled { resource, input, timeout_s, heartbeat_s } => present([
            ("resource", Some(Value::String(resource))),
            ("input", Some(input)),
            ("timeout_s", timeout_s.map(Value::from)),
            ("heartbeat_s", heartbeat_s.map(Value::from)),
        ]),
        EventKind::ActivityStarted { worker } => present([("worker", worker.map(Value::String))]),
        EventKind::ActivityFailed { error, cause } => present([("error", given(error)), ("cause", given(cause))]),
        EventKind::LambdaFunctionFailed { error, cause } | EventKind::MapRunFailed { error, cause } => {
            json!({ "error": error, "cause": cause })
        }
        EventKind::LambdaFunctionTimedOut { error, cause } | EventKind::ActivityTimedOut { error, cause } => {
            present([("error", Some(Value::String(error))), ("cause", cause.map(Value::String))])
        }
        EventKind::TaskScheduled { resource, parameters, timeout_s, heartbeat_s, role_arn } => present([
            ("role_arn", role_arn.map(Value::String)),
            ("resource", Some(resource_text(&resource))),
            ("parameters", Some(parameters)),
            ("timeout_s", timeout_s.map(Value::from)),
            ("heartbeat_s", heartbeat_s.map(Value::from)),
        ]),
        EventKind::TaskStarted { resource } => json!({ "resource": resource.arn() }),
        EventKind::TaskSubmitted { resource, output } | EventKind::TaskSucceeded { resource, output } => {
            json!({ "resource": resource.arn(), "output": output })
        }
        EventKind::TaskFailed { resource, error, cause } | EventKind::TaskSubmitFailed { resource, error, cause } => {
            present([("resource", Some(resource_text(&resource))), ("error", given(error)), ("cause", given(cause))])
        }
        EventKind::TaskTimedOut { resource, error, cause } => present([
            ("resource", Some(resource_text(&resource))),
            ("error", Some(Value::String(error))),
            ("cause", cause.map(Value::String)),
        ]),
        EventKind::MapStateStarted { length } => json!({ "length": length }),
        EventKind::MapIterationStarted { name, index }
        | EventKind::MapIterationSucceeded { name, index }
        | EventKind::MapIterationFailed { name, index }
        | EventKind::MapIterationAborted { name, index } => json!({ "name": name, "index": index }),
        EventKind::MapRunStarted { arn } => json!({ "map_run_arn": arn }),
        EventKind::StateAborted { .. }
        | EventKind::ExecutionTimedOut
        | EventKind::LambdaFunctionStarted
        | EventKind::MapStateSucceeded
        | EventKind::MapStateFailed
        | EventKind::MapRunSucceeded
        | EventKind::MapRunAborted
        | EventKind::ParallelStateStarted
        | EventKind::ParallelStateSucceeded
        | EventKind::ParallelStateFailed => json!({}),
    }
}

/// `SendTaskFailure` need not name an error.
fn given(text: String) -> Option<Value> {
    (!text.is_empty()).then_some(Value::String(text))
}

fn resource_text(resource: &Resource) -> Value {
    Value::String(resource.arn().to_owned())
}

fn present<const N: usize>(fields: [(&str, Option<Value>); N]) -> Value {
    let given = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(given.collect::<Map<String, Value>>())
}

#[derive(Serialize, Deserialize)]
struct StoredMapRun {
    label: String,
    max_concurrency: u32,
    tolerated_failure_count: Option<u64>,
    tolerated_failure_percentage: Option<f64>,
    /// Pending, running, succeeded, failed, timed out, aborted.
    items: [u64; 6],
    children: [u64; 6],
    etag: Option<String>,
    redrive_count: u64,
    redriven_at: Option<i64>,
}

pub(crate) fn map_run_details_to_text(details: &MapRunDetails) -> String {
    let counts = |Counts { pending, running, succeeded, failed, timed_out, aborted }: Counts| {
        [pending, running, succeeded, failed, timed_out, aborted]
    };
    let MapRunDetails { label, limits, counts: of, etag, redrive_count, redriven_at } = details.clone();
    let stored = StoredMapRun {
        label,
        max_concurrency: limits.max_concurrency,
        tolerated_failure_count: limits.tolerated_failure_count,
        tolerated_failure_percentage: limits.tolerated_failure_percentage,
        items: counts(of.items),
        children: counts(of.children),
        etag,
        redrive_count,
        redriven_at: redriven_at.map(|at| at.0),
    };
    serde_json::to_string(&stored).expect("strings and numbers always serialise")
}

pub(crate) fn map_run_details_from_text(text: &str) -> Result<MapRunDetails, String> {
    let stored: StoredMapRun = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let counts = |[pending, running, succeeded, failed, timed_out, aborted]: [u64; 6]| Counts {
        pending,
        running,
        succeeded,
        failed,
        timed_out,
        aborted,
    };
    Ok(MapRunDetails {
        label: stored.label,
        limits: MapRunLimits {
            max_concurrency: stored.max_concurrency,
            tolerated_failure_count: stored.tolerated_failure_count,
            tolerated_failure_percentage: stored.tolerated_failure_percentage,
        },
        counts: MapRunCounts { items: counts(stored.items), children: counts(stored.children) },
        etag: stored.etag,
        redrive_count: stored.redrive_count,
        redriven_at: stored.redriven_at.map(Timestamp),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_reads_back_as_it_was_written() {
        let (task, map_run) = (TaskId(7), MapRunId(2));
        let text = |text: &str| text.to_owned();
        let events = [
            Event::Started,
            Event::TaskScheduled { task },
            Event::TaskRefused { task, cause: text("c") },
            Event::TaskStarted { task },
            Event::ActivityStarted { task, worker: Some(text("w")) },
            Event::ActivityStarted { task, worker: None },
            Event::TaskSubmitFailed { task, error: text("E"), cause: text("c") },
            Event::TaskSubmitted { task, output: json!({ "z": 1, "a": [null, 1.5] }) },
            Event::TaskSucceeded { task, output: json!("ü\u{0}") },
            Event::TaskFailed { task, error: text("E"), cause: text("c") },
            Event::TaskHeartbeat { task },
            Event::TimerFired { timer: TimerId(u64::MAX) },
            Event::MapRunStarted { map_run, arn: text("arn") },
            Event::MapRunSucceeded { map_run, output: json!([]) },
            Event::MapRunFailed { map_run, error: text("E"), cause: text("") },
            Event::Redriven,
            Event::StopRequested { error: None, cause: Some(text("c")) },
        ];
        for event in events {
            assert_eq!(event_from_text(&event_to_text(&event)), Ok(event));
        }
    }

    #[test]
    fn the_written_form_is_the_promised_one() {
        let event = Event::TaskFailed { task: TaskId(3), error: "E".to_owned(), cause: "c".to_owned() };
        assert_eq!(event_to_text(&event), r#"{"type":"task_failed","task":3,"error":"E","cause":"c"}"#);
        assert!(event_from_text(r#"{"type":"from_the_future"}"#).is_err());
    }
}
