//! Traces for OpenTelemetry: a projection of an execution's history, made once it has ended and sent as OTLP in JSON.
//!
//! One span for the execution, one for each state, one for each item of a map run, and one for each phase of an item that
//! its rank's figures tell of. Ids follow from ARNs and names, so the same execution always gives the same spans.
//!
//! # Source
//! <https://opentelemetry.io/docs/specs/otlp/#otlphttp> and opentelemetry-proto's `trace.proto`, read 2026-11.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Context;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use starmap_asl::Timestamp;
use starmap_engine::journal::{ExecutionRecord, HistoryRow, Reader, Status};
use starmap_engine::{Engine, Notice};
use starmap_pipeline::payload::ResultPlace;
use starmap_pipeline::results::names;
use starmap_pipeline::store::Store;
use tokio::sync::broadcast::error::RecvError;

use crate::http;
use crate::session::Settings;

/// Spans that are sent with one request.
const SPANS_AT_ONCE: usize = 1_000;
/// Phases of an item, in the order in which they happen.
const PHASES: [&str; 4] = ["load_model", "wait", "infer", "write"];

/// All spans of an execution that has ended.
pub async fn spans(journal: &dyn Reader, record: &ExecutionRecord, settings: &Settings) -> anyhow::Result<Vec<Value>> {
    let phases = timeline(record, settings).await.unwrap_or_default();
    Ok(projected(journal, record, &phases)?)
}

/// Sends the traces of every execution that ends, until the engine does.
pub async fn follow(engine: Arc<Engine>, settings: Settings, endpoint: String) {
    let mut notices = engine.notices();
    loop {
        let ended = match notices.recv().await {
            Ok(Notice::Ended { execution, parent: None, .. }) => execution,
            Ok(_) => continue,
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "traces of some executions are not sent: too many ended at once");
                continue;
            }
            Err(RecvError::Closed) => return,
        };
        let sent = async {
            let journal = engine.reader();
            let Some(record) = journal.execution(ended)? else { return Ok(()) };
            let spans = spans(&*journal, &record, &settings).await?;
            let endpoint = endpoint.clone();
            tokio::task::spawn_blocking(move || send(&endpoint, &spans)).await?
        };
        let sent: anyhow::Result<()> = sent.await;
        if let Err(error) = sent {
            tracing::warn!(error = format!("{error:#}"), "traces of an execution were not sent");
        }
    }
}

/// Sends spans to a collector, such as `http://127.0.0.1:4318`.
pub fn send(endpoint: &str, spans: &[Value]) -> anyhow::Result<()> {
    let plain = endpoint.strip_prefix("http://");
    let plain =
        plain.with_context(|| format!("collector {endpoint}: expected http://HOST:PORT (TLS is not spoken here)"))?;
    let (authority, prefix) = plain.trim_end_matches('/').split_once('/').unwrap_or((plain.trim_end_matches('/'), ""));
    let path = if prefix.is_empty() { "/v1/traces".to_owned() } else { format!("/{prefix}/v1/traces") };
    for spans in spans.chunks(SPANS_AT_ONCE) {
        let body = request(spans).to_string();
        let posted = http::post(authority, &path, &[("Content-Type", "application/json")], body.as_bytes());
        let (status, answer) = posted.with_context(|| format!("sending {} spans to {endpoint}", spans.len()))?;
        if !(200..300).contains(&status) {
            let answer = String::from_utf8_lossy(&answer);
            anyhow::bail!("collector {endpoint} answered {status}: {}", answer.chars().take(200).collect::<String>());
        }
    }
    Ok(())
}

/// The body of a request with spans.
pub fn request(spans: &[Value]) -> Value {
    json!({ "resourceSpans": [{
        "resource": { "attributes": [text("service.name", "starmap"), text("service.version", env!("CARGO_PKG_VERSION"))] },
        "scopeSpans": [{ "scope": { "name": "starmap" }, "spans": spans }],
    }] })
}

/// When the phases of each rank were, where it says so.
async fn timeline(record: &ExecutionRecord, settings: &Settings) -> Option<HashMap<u64, Value>> {
    let place = ResultPlace::find(&record.input).ok()?;
    let store = Store::open(&settings.store()).ok()?;
    let location = place.object(names::PLOTS);
    let plots = store.get(&location.bucket, &location.key).await.ok()??;
    let plots: Value = serde_json::from_slice(&plots).ok()?;
    let bars = plots["timeline"].as_array()?.iter();
    Some(bars.filter_map(|bar| Some((bar["rank"].as_u64()?, bar.clone()))).collect())
}

fn projected(
    journal: &dyn Reader,
    record: &ExecutionRecord,
    phases: &HashMap<u64, Value>,
) -> Result<Vec<Value>, starmap_engine::journal::Error> {
    let trace = Trace { id: hexadecimal(&record.arn, 16), arn: &record.arn };
    let ended = record.stopped_at.unwrap_or(record.started_at);
    let root = trace.span(
        &record.name,
        "",
        "",
        (ms(record.started_at), ms(ended)),
        Outcome::of(record.status, record.error.as_deref()),
    );
    let root_id = root["spanId"].as_str().unwrap_or_default().to_owned();
    let mut spans = vec![root];
    let history = journal.history(record.id, 0, usize::MAX)?;
    let mut states: HashMap<String, String> = HashMap::new();
    for (name, kind, entered, left) in visits(&history) {
        let path = format!("state {} {}", entered.id, name);
        let to = left.map_or(ended, |left| left.at);
        let outcome = if left.is_some() { Outcome::Ok } else { Outcome::of(record.status, record.error.as_deref()) };
        let mut span = trace.span(&name, &path, &root_id, (ms(entered.at), ms(to)), outcome);
        push(&mut span, text("starmap.state.type", kind));
        states.insert(name, span["spanId"].as_str().unwrap_or_default().to_owned());
        spans.push(span);
    }
    for run in journal.map_runs(record.id)? {
        let parent = states.get(&run.state).unwrap_or(&root_id).clone();
        for child in journal.children(run.row)? {
            let to = child.stopped_at.unwrap_or(ended);
            let path = format!("item {} {}", run.arn, child.item_index);
            let outcome = Outcome::of(child.status, child.error.as_deref());
            let name = format!("item {}", child.item_index);
            let mut span = trace.span(&name, &path, &parent, (ms(child.started_at), ms(to)), outcome);
            push(&mut span, text("starmap.map_run", &run.arn));
            let item = span["spanId"].as_str().unwrap_or_default().to_owned();
            spans.push(span);
            let rank = child.output.as_ref().and_then(|output| output.get("rank")?.as_u64());
            if let Some(bar) = rank.and_then(|rank| phases.get(&rank)) {
                spans.extend(of_phases(&trace, bar, &path, &item));
            }
        }
    }
    Ok(spans)
}

/// Phases alternate; each is one span as long as it was in all, one after the other.
fn of_phases(trace: &Trace<'_>, bar: &Value, item_path: &str, item: &str) -> Vec<Value> {
    let Some(mut from) = bar["started_at"].as_f64() else { return Vec::new() };
    let mut spans = Vec::new();
    for phase in PHASES {
        let long = bar["phases"][phase].as_f64().unwrap_or(0.0) * 1e3;
        if long > 0.0 {
            spans.push(trace.span(phase, &format!("{item_path} {phase}"), item, (from, from + long), Outcome::Ok));
        }
        from += long;
    }
    spans
}

/// Every stay in a state: its name, its type, when it was entered and, if it was, left.
fn visits(history: &[HistoryRow]) -> Vec<(String, &str, &HistoryRow, Option<&HistoryRow>)> {
    let mut visits: Vec<(String, &str, &HistoryRow, Option<&HistoryRow>)> = Vec::new();
    for row in history {
        let Some(name) = row.details.get("name").and_then(Value::as_str) else { continue };
        if let Some(kind) = row.name.strip_suffix("StateEntered") {
            visits.push((name.to_owned(), kind, row, None));
        } else if row.name.ends_with("StateExited")
            && let Some(open) = visits.iter_mut().find(|(open, _, _, left)| open == name && left.is_none())
        {
            open.3 = Some(row);
        }
    }
    visits
}

struct Trace<'a> {
    id: String,
    arn: &'a str,
}

enum Outcome<'a> {
    Ok,
    Failed(&'a str),
}

impl<'a> Outcome<'a> {
    fn of(status: Status, error: Option<&'a str>) -> Self {
        if status == Status::Succeeded { Self::Ok } else { Self::Failed(error.unwrap_or(status.as_str())) }
    }
}

impl Trace<'_> {
    /// A span between two times in milliseconds since the Unix epoch.
    fn span(&self, name: &str, path: &str, parent: &str, (from, to): (f64, f64), outcome: Outcome<'_>) -> Value {
        // To the microsecond: nanoseconds since 1970 are more digits than a double has.
        let nanoseconds = |ms: f64| format!("{:.0}000", ms * 1e3);
        let status = match outcome {
            Outcome::Ok => json!({ "code": 1 }),
            Outcome::Failed(error) => json!({ "code": 2, "message": error }),
        };
        json!({
            "traceId": self.id,
            "spanId": hexadecimal(&format!("{}\n{path}", self.arn), 8),
            "parentSpanId": parent,
            "name": name,
            "kind": 1,
            "startTimeUnixNano": nanoseconds(from),
            "endTimeUnixNano": nanoseconds(to.max(from)),
            "attributes": [text("starmap.execution_arn", self.arn)],
            "status": status,
        })
    }
}

fn push(span: &mut Value, attribute: Value) {
    if let Some(attributes) = span["attributes"].as_array_mut() {
        attributes.push(attribute);
    }
}

fn text(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

fn ms(at: Timestamp) -> f64 {
    at.0 as f64
}

fn hexadecimal(text: &str, bytes: usize) -> String {
    Sha256::digest(text.as_bytes())[..bytes].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: u64, at: i64, name: &str, state: &str) -> HistoryRow {
        HistoryRow {
            id,
            previous_id: id - 1,
            at: Timestamp(at),
            name: name.to_owned(),
            details: json!({ "name": state }),
        }
    }

    #[test]
    fn a_state_that_is_visited_twice_has_two_spans_and_one_that_failed_is_open() {
        let history = [
            row(1, 10, "PassStateEntered", "A"),
            row(2, 20, "PassStateExited", "A"),
            row(3, 30, "TaskStateEntered", "A"),
            row(4, 40, "TaskStateExited", "A"),
            row(5, 50, "TaskStateEntered", "B"),
        ];
        let visits = visits(&history);
        let seen: Vec<_> =
            visits.iter().map(|(name, kind, from, to)| (name.as_str(), *kind, from.id, to.map(|to| to.id))).collect();
        assert_eq!(seen, [("A", "Pass", 1, Some(2)), ("A", "Task", 3, Some(4)), ("B", "Task", 5, None)]);
    }

    #[test]
    fn spans_have_ids_of_the_right_size_and_times_in_nanoseconds() {
        let trace = Trace { id: hexadecimal("arn", 16), arn: "arn" };
        let span =
            trace.span("infer", "item 1 infer", "00", (1_700_000_000_000.5, 1_700_000_000_001.0), Outcome::Failed("E"));
        assert_eq!((span["traceId"].as_str().unwrap().len(), span["spanId"].as_str().unwrap().len()), (32, 16));
        assert_eq!(span["startTimeUnixNano"], "1700000000000500000");
        assert_eq!((&span["status"]["code"], &span["status"]["message"]), (&json!(2), &json!("E")));
        let bar = json!({ "started_at": 5.0, "phases": { "infer": 0.002, "write": 0.001, "wait": 0.0 } });
        let phases = of_phases(&trace, &bar, "item 0", "ab");
        let names: Vec<_> = phases.iter().map(|span| span["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["infer", "write"]);
        assert_eq!(phases[1]["startTimeUnixNano"], phases[0]["endTimeUnixNano"]);
    }
}
