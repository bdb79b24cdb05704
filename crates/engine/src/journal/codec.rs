//! How events and history entries are written in the journal.
//!
//! These shapes are a promise to every journal that exists: fields may be added, never renamed or reused.
//! That is why the core types of `asl` are converted here and not serialised as they are.

use std::collections::BTreeMap;

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use starmap_asl::{Event, EventKind, HistoryEvent, MapRunId, TaskId, TimerId, Timestamp};

use super::{Counts, HistoryRow, MapRunCounts, MapRunDetails, MapRunLimits};

#[derive(Deserialize)]
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
    MapRunRedriven { map_run: u64, arn: String, redrive_count: u32 },
    MapRunSucceeded { map_run: u64, output: Value },
    MapRunFailed { map_run: u64, error: String, cause: String },
    Redriven,
    StopRequested { error: Option<String>, cause: Option<String> },
}

/// As [`StoredEvent`], without copying what an event carries.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum WrittenEvent<'a> {
    Started,
    TaskScheduled { task: u64 },
    TaskRefused { task: u64, cause: &'a str },
    TaskStarted { task: u64 },
    ActivityStarted { task: u64, worker: Option<&'a str> },
    TaskSubmitFailed { task: u64, error: &'a str, cause: &'a str },
    TaskSubmitted { task: u64, output: &'a Value },
    TaskSucceeded { task: u64, output: &'a Value },
    TaskFailed { task: u64, error: &'a str, cause: &'a str },
    TaskHeartbeat { task: u64 },
    TimerFired { timer: u64 },
    MapRunStarted { map_run: u64, arn: &'a str },
    MapRunRedriven { map_run: u64, arn: &'a str, redrive_count: u32 },
    MapRunSucceeded { map_run: u64, output: &'a Value },
    MapRunFailed { map_run: u64, error: &'a str, cause: &'a str },
    Redriven,
    StopRequested { error: Option<&'a str>, cause: Option<&'a str> },
}

fn written(event: &Event) -> WrittenEvent<'_> {
    use WrittenEvent as W;
    match event {
        Event::Started => W::Started,
        Event::TaskScheduled { task } => W::TaskScheduled { task: task.0 },
        Event::TaskRefused { task, cause } => W::TaskRefused { task: task.0, cause },
        Event::TaskStarted { task } => W::TaskStarted { task: task.0 },
        Event::ActivityStarted { task, worker } => W::ActivityStarted { task: task.0, worker: worker.as_deref() },
        Event::TaskSubmitFailed { task, error, cause } => W::TaskSubmitFailed { task: task.0, error, cause },
        Event::TaskSubmitted { task, output } => W::TaskSubmitted { task: task.0, output },
        Event::TaskSucceeded { task, output } => W::TaskSucceeded { task: task.0, output },
        Event::TaskFailed { task, error, cause } => W::TaskFailed { task: task.0, error, cause },
        Event::TaskHeartbeat { task } => W::TaskHeartbeat { task: task.0 },
        Event::TimerFired { timer } => W::TimerFired { timer: timer.0 },
        Event::MapRunStarted { map_run, arn } => W::MapRunStarted { map_run: map_run.0, arn },
        Event::MapRunRedriven { map_run, arn, redrive_count } => {
            W::MapRunRedriven { map_run: map_run.0, arn, redrive_count: *redrive_count }
        }
        Event::MapRunSucceeded { map_run, output } => W::MapRunSucceeded { map_run: map_run.0, output },
        Event::MapRunFailed { map_run, error, cause } => W::MapRunFailed { map_run: map_run.0, error, cause },
        Event::Redriven => W::Redriven,
        Event::StopRequested { error, cause } => W::StopRequested { error: error.as_deref(), cause: cause.as_deref() },
    }
}

/// The events and the history of one execution that one batch adds, as two JSON arrays that grow.
///
/// Events are `[at, {…}]`, history entries `[id, previous_id, at, name, {…}]`.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub sequence: u64,
    pub event_count: u64,
    pub first_id: u64,
    pub last_id: u64,
    events: Vec<u8>,
    history: Vec<u8>,
}

impl Chunk {
    pub fn new(sequence: u64) -> Self {
        let (events, history) = (vec![b'['], vec![b'[']);
        Self { sequence, event_count: 0, first_id: 0, last_id: 0, events, history }
    }

    pub fn add_event(&mut self, at: Timestamp, event: &Event) {
        add(&mut self.events, &(at.0, written(event)));
        self.event_count += 1;
    }

    pub fn add_history(&mut self, event: &HistoryEvent) {
        let HistoryEvent { id, previous_id, at, kind, text } = event;
        add(&mut self.history, &(id, previous_id, at.0, kind.name(), Details(kind, text.as_deref())));
        if self.first_id == 0 {
            self.first_id = *id;
        }
        self.last_id = *id;
    }

    pub fn bytes(&self) -> usize {
        self.events.len() + self.history.len()
    }

    /// The two arrays, as texts.
    pub fn finish(&mut self) -> (String, String) {
        let text = |array: &mut Vec<u8>| {
            array.push(b']');
            String::from_utf8(std::mem::take(array)).expect("a JSON serialiser writes UTF-8")
        };
        (text(&mut self.events), text(&mut self.history))
    }
}

fn add(array: &mut Vec<u8>, value: &impl Serialize) {
    if array.len() > 1 {
        array.push(b',');
    }
    serde_json::to_writer(array, value).expect("strings, numbers and JSON values always serialise");
}

/// Reads the events of a chunk.
pub(crate) fn events_of_chunk(text: &str) -> Result<Vec<(Timestamp, Event)>, String> {
    let stored: Vec<(i64, StoredEvent)> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    Ok(stored.into_iter().map(|(at, event)| (Timestamp(at), event_of(event))).collect())
}

/// Reads the history of a chunk.
pub(crate) fn history_of_chunk(text: &str) -> Result<Vec<HistoryRow>, String> {
    let stored: Vec<(u64, u64, i64, String, Value)> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let row = |(id, previous_id, at, name, details)| HistoryRow { id, previous_id, at: Timestamp(at), name, details };
    Ok(stored.into_iter().map(row).collect())
}

fn event_of(stored: StoredEvent) -> Event {
    match stored {
        StoredEvent::Started => Event::Started,
        StoredEvent::TaskScheduled { task } => Event::TaskScheduled { task: TaskId(task) },
        StoredEvent::TaskRefused { task, cause } => Event::TaskRefused { task: TaskId(task), cause },
        StoredEvent::TaskStarted { task } => Event::TaskStarted { task: TaskId(task) },
        StoredEvent::ActivityStarted { task, worker } => Event::ActivityStarted { task: TaskId(task), worker },
        StoredEvent::TaskSubmitFailed { task, error, cause } => {
            Event::TaskSubmitFailed { task: TaskId(task), error, cause }
        }
        StoredEvent::TaskSubmitted { task, output } => Event::TaskSubmitted { task: TaskId(task), output },
        StoredEvent::TaskSucceeded { task, output } => {
            Event::TaskSucceeded { task: TaskId(task), output: output.into() }
        }
        StoredEvent::TaskFailed { task, error, cause } => Event::TaskFailed { task: TaskId(task), error, cause },
        StoredEvent::TaskHeartbeat { task } => Event::TaskHeartbeat { task: TaskId(task) },
        StoredEvent::TimerFired { timer } => Event::TimerFired { timer: TimerId(timer) },
        StoredEvent::MapRunStarted { map_run, arn } => Event::MapRunStarted { map_run: MapRunId(map_run), arn },
        StoredEvent::MapRunRedriven { map_run, arn, redrive_count } => {
            Event::MapRunRedriven { map_run: MapRunId(map_run), arn, redrive_count }
        }
        StoredEvent::MapRunSucceeded { map_run, output } => {
            Event::MapRunSucceeded { map_run: MapRunId(map_run), output: output.into() }
        }
        StoredEvent::MapRunFailed { map_run, error, cause } => {
            Event::MapRunFailed { map_run: MapRunId(map_run), error, cause }
        }
        StoredEvent::Redriven => Event::Redriven,
        StoredEvent::StopRequested { error, cause } => Event::StopRequested { error, cause },
    }
}

pub(crate) fn history_row(event: &HistoryEvent) -> HistoryRow {
    HistoryRow {
        id: event.id,
        previous_id: event.previous_id,
        at: event.at,
        name: event.kind.name().to_owned(),
        details: serde_json::to_value(Details(&event.kind, event.text.as_deref())).expect("its keys are strings"),
    }
}

/// What an entry of the history carries, as an object; what is absent is left out.
struct Details<'a>(&'a EventKind, Option<&'a str>);

impl Serialize for Details<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = Fields(serializer.serialize_map(None)?);
        fields.put_if("text", self.1.as_ref())?;
        match self.0 {
            EventKind::ExecutionStarted { input, role_arn } => {
                fields.put("input", &**input)?;
                fields.put("role_arn", role_arn)?;
            }
            EventKind::ExecutionSucceeded { output } => fields.put("output", &**output)?,
            EventKind::LambdaFunctionSucceeded { output } | EventKind::ActivitySucceeded { output } => {
                fields.put("output", &**output)?;
            }
            EventKind::ExecutionFailed { error, cause } | EventKind::ExecutionAborted { error, cause } => {
                fields.put_if("error", error.as_ref())?;
                fields.put_if("cause", cause.as_ref())?;
            }
            EventKind::ExecutionRedriven { redrive_count } => fields.put("redrive_count", redrive_count)?,
            EventKind::StateEntered { name, input, .. } => {
                fields.put("name", name)?;
                fields.put("input", &**input)?;
            }
            EventKind::StateExited { name, output, assigned, .. } => {
                fields.put("name", name)?;
                fields.put("output", &**output)?;
                if !assigned.is_empty() {
                    let assigned: BTreeMap<&String, &Value> =
                        assigned.iter().map(|(name, value)| (name, &**value)).collect();
                    fields.put("assigned", &assigned)?;
                }
            }
            EventKind::EvaluationFailed { error, cause, location, state } => {
                fields.put("error", error)?;
                fields.put("cause", cause)?;
                fields.put_if("location", location.as_ref())?;
                fields.put("state", state)?;
            }
            EventKind::LambdaFunctionScheduled { resource, input, timeout_s, role_arn } => {
                fields.put_if("role_arn", role_arn.as_ref())?;
                fields.put("resource", &**resource)?;
                fields.put("input", &**input)?;
                fields.put_if("timeout_s", timeout_s.as_ref())?;
            }
            EventKind::ActivityScheduled { resource, input, timeout_s, heartbeat_s } => {
                fields.put("resource", &**resource)?;
                fields.put("input", &**input)?;
                fields.put_if("timeout_s", timeout_s.as_ref())?;
                fields.put_if("heartbeat_s", heartbeat_s.as_ref())?;
            }
            EventKind::ActivityStarted { worker } => fields.put_if("worker", worker.as_ref())?,
            EventKind::ActivityFailed { error, cause } => fields.put_failure(error, cause)?,
            EventKind::LambdaFunctionFailed { error, cause } | EventKind::MapRunFailed { error, cause } => {
                fields.put("error", error)?;
                fields.put("cause", cause)?;
            }
            EventKind::LambdaFunctionTimedOut { error, cause } | EventKind::ActivityTimedOut { error, cause } => {
                fields.put("error", error)?;
                fields.put_if("cause", cause.as_ref())?;
            }
            EventKind::TaskScheduled { resource, parameters, timeout_s, heartbeat_s, role_arn } => {
                fields.put_if("role_arn", role_arn.as_ref())?;
                fields.put("resource", resource.arn())?;
                fields.put("parameters", &**parameters)?;
                fields.put_if("timeout_s", timeout_s.as_ref())?;
                fields.put_if("heartbeat_s", heartbeat_s.as_ref())?;
            }
            EventKind::TaskStarted { resource } => fields.put("resource", resource.arn())?,
            EventKind::TaskSubmitted { resource, output } | EventKind::TaskSucceeded { resource, output } => {
                fields.put("resource", resource.arn())?;
                fields.put("output", &**output)?;
            }
            EventKind::TaskFailed { resource, error, cause }
            | EventKind::TaskSubmitFailed { resource, error, cause } => {
                fields.put("resource", resource.arn())?;
                fields.put_failure(error, cause)?;
            }
            EventKind::TaskTimedOut { resource, error, cause } => {
                fields.put("resource", resource.arn())?;
                fields.put("error", error)?;
                fields.put_if("cause", cause.as_ref())?;
            }
            EventKind::MapStateStarted { length } => fields.put("length", length)?,
            EventKind::MapIterationStarted { name, index }
            | EventKind::MapIterationSucceeded { name, index }
            | EventKind::MapIterationFailed { name, index }
            | EventKind::MapIterationAborted { name, index } => {
                fields.put("name", name)?;
                fields.put("index", index)?;
            }
            EventKind::MapRunStarted { arn } => fields.put("map_run_arn", arn)?,
            EventKind::MapRunRedriven { arn, redrive_count } => {
                fields.put("map_run_arn", arn)?;
                fields.put("redrive_count", redrive_count)?;
            }
            EventKind::StateAborted { .. }
            | EventKind::ExecutionTimedOut
            | EventKind::LambdaFunctionStarted
            | EventKind::MapStateSucceeded
            | EventKind::MapStateFailed
            | EventKind::MapRunSucceeded
            | EventKind::MapRunAborted
            | EventKind::ParallelStateStarted
            | EventKind::ParallelStateSucceeded
            | EventKind::ParallelStateFailed => {}
        }
        fields.0.end()
    }
}

/// An object that is being written.
struct Fields<M>(M);

impl<M: SerializeMap> Fields<M> {
    fn put(&mut self, name: &str, value: &(impl Serialize + ?Sized)) -> Result<(), M::Error> {
        self.0.serialize_entry(name, value)
    }

    fn put_if(&mut self, name: &str, value: Option<&impl Serialize>) -> Result<(), M::Error> {
        value.map_or(Ok(()), |value| self.put(name, value))
    }

    /// `SendTaskFailure` need not name an error.
    fn put_failure(&mut self, error: &str, cause: &str) -> Result<(), M::Error> {
        for (name, value) in [("error", error), ("cause", cause)] {
            if !value.is_empty() {
                self.put(name, value)?;
            }
        }
        Ok(())
    }
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
    redrive_count: u32,
    redriven_at: Option<i64>,
    #[serde(default)]
    items_read: Option<u64>,
    /// Pending redrive, not redrivable: of items and of children.
    #[serde(default)]
    redrive: [u64; 4],
}

pub(crate) fn map_run_details_to_text(details: &MapRunDetails) -> String {
    let counts = |Counts { pending, running, succeeded, failed, timed_out, aborted, .. }: Counts| {
        [pending, running, succeeded, failed, timed_out, aborted]
    };
    let MapRunDetails { label, limits, counts: of, etag, items_read, redrive_count, redriven_at } = details.clone();
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
        items_read,
        redrive: [
            of.items.pending_redrive,
            of.items.not_redrivable,
            of.children.pending_redrive,
            of.children.not_redrivable,
        ],
    };
    serde_json::to_string(&stored).expect("strings and numbers always serialise")
}

pub(crate) fn map_run_details_from_text(text: &str) -> Result<MapRunDetails, String> {
    let stored: StoredMapRun = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let counts = |[pending, running, succeeded, failed, timed_out, aborted]: [u64; 6],
                  [pending_redrive, not_redrivable]: [u64; 2]| {
        Counts { pending, running, succeeded, failed, timed_out, aborted, pending_redrive, not_redrivable }
    };
    let [items_pending, items_not, children_pending, children_not] = stored.redrive;
    Ok(MapRunDetails {
        label: stored.label,
        limits: MapRunLimits {
            max_concurrency: stored.max_concurrency,
            tolerated_failure_count: stored.tolerated_failure_count,
            tolerated_failure_percentage: stored.tolerated_failure_percentage,
        },
        counts: MapRunCounts {
            items: counts(stored.items, [items_pending, items_not]),
            children: counts(stored.children, [children_pending, children_not]),
        },
        etag: stored.etag,
        items_read: stored.items_read,
        redrive_count: stored.redrive_count,
        redriven_at: stored.redriven_at.map(Timestamp),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn there_and_back(events: &[Event]) -> Result<Vec<(Timestamp, Event)>, String> {
        let mut chunk = Chunk::new(0);
        events.iter().for_each(|event| chunk.add_event(Timestamp(9), event));
        events_of_chunk(&chunk.finish().0)
    }

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
            Event::TaskSucceeded { task, output: json!("ü\u{0}").into() },
            Event::TaskFailed { task, error: text("E"), cause: text("c") },
            Event::TaskHeartbeat { task },
            Event::TimerFired { timer: TimerId(u64::MAX) },
            Event::MapRunStarted { map_run, arn: text("arn") },
            Event::MapRunRedriven { map_run, arn: text("arn"), redrive_count: 2 },
            Event::MapRunSucceeded { map_run, output: json!([]).into() },
            Event::MapRunFailed { map_run, error: text("E"), cause: text("") },
            Event::Redriven,
            Event::StopRequested { error: None, cause: Some(text("c")) },
        ];
        assert_eq!(there_and_back(&events), Ok(events.into_iter().map(|event| (Timestamp(9), event)).collect()));
    }

    #[test]
    fn the_written_form_is_the_promised_one() {
        let event = Event::TaskFailed { task: TaskId(3), error: "E".to_owned(), cause: "c".to_owned() };
        let mut chunk = Chunk::new(0);
        chunk.add_event(Timestamp(1), &Event::Started);
        chunk.add_event(Timestamp(2), &event);
        let kind = EventKind::ActivityStarted { worker: Some("w".to_owned()) };
        chunk.add_history(&HistoryEvent { id: 4, previous_id: 3, at: Timestamp(2), kind, text: None });
        let (events, history) = chunk.finish();
        let failed = r#"{"type":"task_failed","task":3,"error":"E","cause":"c"}"#;
        assert_eq!(events, format!(r#"[[1,{{"type":"started"}}],[2,{failed}]]"#));
        assert_eq!(history, r#"[[4,3,2,"ActivityStarted",{"worker":"w"}]]"#);
        assert!(events_of_chunk(r#"[[1,{"type":"from_the_future"}]]"#).is_err());
    }
}
