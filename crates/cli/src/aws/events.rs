//! A history event of AWS as the journal has them: the details' keys in snake case, inputs and outputs as JSON values.
//!
//! The other way round it is `server`'s `sfn/events.rs`.

use serde_json::{Map, Value};
use starmap_asl::Timestamp;
use starmap_engine::journal::HistoryRow;

/// Reads one event of `GetExecutionHistory`; `None` for what is none.
pub fn row(event: &Value) -> Option<HistoryRow> {
    let event = event.as_object()?;
    let name = event.get("type")?.as_str()?.to_owned();
    let details =
        event.iter().find(|(key, _)| key.ends_with("EventDetails")).and_then(|(_, details)| details.as_object());
    Some(HistoryRow {
        id: event.get("id")?.as_u64()?,
        previous_id: event.get("previousEventId").and_then(Value::as_u64).unwrap_or(0),
        at: time(event.get("timestamp")?)?,
        details: Value::Object(details.map(|details| read(&name, details)).unwrap_or_default()),
        name,
    })
}

/// Seconds since 1970, with milliseconds behind the point, as AWS JSON writes times.
pub fn time(value: &Value) -> Option<Timestamp> {
    value.as_f64().map(|seconds| Timestamp((seconds * 1e3).round() as i64))
}

/// JSON in a text; a text that is none stays what it is.
pub fn parsed(value: &Value) -> Value {
    value.as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_else(|| value.clone())
}

fn read(name: &str, details: &Map<String, Value>) -> Map<String, Value> {
    let is_task = name.starts_with("Task") && !name.starts_with("TaskState");
    let mut read = Map::new();
    for (key, value) in details {
        match key.as_str() {
            "inputDetails" | "outputDetails" | "assignedVariablesDetails" | "region" => {}
            "input" | "output" | "parameters" => drop(read.insert(key.clone(), parsed(value))),
            "assignedVariables" => {
                let assigned = value.as_object().into_iter().flatten();
                let assigned = assigned.map(|(name, value)| (name.clone(), parsed(value))).collect();
                read.insert("assigned".to_owned(), Value::Object(assigned));
            }
            "resourceType" if is_task => {
                let resource = details.get("resource").and_then(Value::as_str).unwrap_or_default();
                let arn = format!("arn:aws:states:::{}:{resource}", value.as_str().unwrap_or_default());
                read.insert("resource".to_owned(), Value::String(arn));
            }
            "resource" if is_task => {}
            "taskCredentials" => {
                let role = value.get("roleArn").cloned().unwrap_or(Value::Null);
                read.insert("role_arn".to_owned(), role);
            }
            "workerName" => drop(read.insert("worker".to_owned(), value.clone())),
            "timeoutInSeconds" => drop(read.insert("timeout_s".to_owned(), value.clone())),
            "heartbeatInSeconds" => drop(read.insert("heartbeat_s".to_owned(), value.clone())),
            _ => drop(read.insert(snake(key), value.clone())),
        }
    }
    read
}

fn snake(key: &str) -> String {
    let mut snake = String::with_capacity(key.len() + 4);
    for letter in key.chars() {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn events_are_read_as_the_journal_has_them() {
        // The shapes are AWS's: https://docs.aws.amazon.com/step-functions/latest/apireference/API_HistoryEvent.html
        let event = json!({
            "timestamp": 1_764_268_000.123, "type": "TaskScheduled", "id": 7, "previousEventId": 6,
            "taskScheduledEventDetails": {
                "resourceType": "lambda", "resource": "invoke", "region": "us-east-1",
                "parameters": "{\"FunctionName\":\"f\"}", "timeoutInSeconds": 9,
                "taskCredentials": { "roleArn": "arn:aws:iam::000000000000:role/r" },
            },
        });
        let row = row(&event).unwrap();
        assert_eq!(
            (row.id, row.previous_id, row.at, row.name.as_str()),
            (7, 6, Timestamp(1_764_268_000_123), "TaskScheduled")
        );
        assert_eq!(
            row.details,
            json!({
                "resource": "arn:aws:states:::lambda:invoke", "parameters": { "FunctionName": "f" }, "timeout_s": 9,
                "role_arn": "arn:aws:iam::000000000000:role/r",
            })
        );
    }

    #[test]
    fn inputs_outputs_and_names_are_told() {
        let of = |kind: &str, member: &str, details: Value| {
            row(&json!({ "timestamp": 1, "type": kind, "id": 1, member: details })).unwrap().details
        };
        let entered = json!({ "name": "A", "input": "[1]", "inputDetails": { "truncated": false } });
        assert_eq!(of("MapStateEntered", "stateEnteredEventDetails", entered), json!({ "name": "A", "input": [1] }));
        let run = json!({ "mapRunArn": "arn:x" });
        assert_eq!(of("MapRunStarted", "mapRunStartedEventDetails", run), json!({ "map_run_arn": "arn:x" }));
        let assigned = json!({ "name": "A", "assignedVariables": { "z": "{\"a\":1}" } });
        let expected = json!({ "name": "A", "assigned": { "z": { "a": 1 } } });
        assert_eq!(of("PassStateExited", "stateExitedEventDetails", assigned), expected);
        assert_eq!(row(&json!({ "type": "x" })), None);
    }
}
