//! A history event as AWS JSON: which member its details are in, and what they are called there.
//!
//! The journal keeps details with keys in snake case (see the engine's codec); inputs and outputs are JSON values there
//! and JSON texts here.

use serde_json::{Map, Value, json};
use starmap_engine::journal::HistoryRow;

use crate::wire::values::time;

/// One event.
pub(super) fn event(row: HistoryRow, has_data: bool, region: &str) -> Value {
    let mut event = Map::new();
    event.insert("timestamp".to_owned(), time(row.at));
    event.insert("type".to_owned(), Value::String(row.name.clone()));
    event.insert("id".to_owned(), Value::from(row.id));
    event.insert("previousEventId".to_owned(), Value::from(row.previous_id));
    if let Some(member) = details_member(&row.name) {
        let details = match row.details {
            Value::Object(details) => details,
            _ => Map::new(),
        };
        event.insert(member.to_owned(), Value::Object(written(&row.name, details, has_data, region)));
    }
    Value::Object(event)
}

/// The member that holds the details of an event of this type; `None` for types without.
fn details_member(name: &str) -> Option<&'static str> {
    Some(match name {
        "ActivityFailed" => "activityFailedEventDetails",
        "ActivityScheduleFailed" => "activityScheduleFailedEventDetails",
        "ActivityScheduled" => "activityScheduledEventDetails",
        "ActivityStarted" => "activityStartedEventDetails",
        "ActivitySucceeded" => "activitySucceededEventDetails",
        "ActivityTimedOut" => "activityTimedOutEventDetails",
        "TaskFailed" => "taskFailedEventDetails",
        "TaskScheduled" => "taskScheduledEventDetails",
        "TaskStartFailed" => "taskStartFailedEventDetails",
        "TaskStarted" => "taskStartedEventDetails",
        "TaskSubmitFailed" => "taskSubmitFailedEventDetails",
        "TaskSubmitted" => "taskSubmittedEventDetails",
        "TaskSucceeded" => "taskSucceededEventDetails",
        "TaskTimedOut" => "taskTimedOutEventDetails",
        "ExecutionFailed" => "executionFailedEventDetails",
        "ExecutionStarted" => "executionStartedEventDetails",
        "ExecutionSucceeded" => "executionSucceededEventDetails",
        "ExecutionAborted" => "executionAbortedEventDetails",
        "ExecutionTimedOut" => "executionTimedOutEventDetails",
        "ExecutionRedriven" => "executionRedrivenEventDetails",
        "MapStateStarted" => "mapStateStartedEventDetails",
        "MapIterationStarted" => "mapIterationStartedEventDetails",
        "MapIterationSucceeded" => "mapIterationSucceededEventDetails",
        "MapIterationFailed" => "mapIterationFailedEventDetails",
        "MapIterationAborted" => "mapIterationAbortedEventDetails",
        "LambdaFunctionFailed" => "lambdaFunctionFailedEventDetails",
        "LambdaFunctionScheduleFailed" => "lambdaFunctionScheduleFailedEventDetails",
        "LambdaFunctionScheduled" => "lambdaFunctionScheduledEventDetails",
        "LambdaFunctionStartFailed" => "lambdaFunctionStartFailedEventDetails",
        "LambdaFunctionSucceeded" => "lambdaFunctionSucceededEventDetails",
        "LambdaFunctionTimedOut" => "lambdaFunctionTimedOutEventDetails",
        "MapRunStarted" => "mapRunStartedEventDetails",
        "MapRunFailed" => "mapRunFailedEventDetails",
        "MapRunRedriven" => "mapRunRedrivenEventDetails",
        "EvaluationFailed" => "evaluationFailedEventDetails",
        name if name.ends_with("StateEntered") => "stateEnteredEventDetails",
        name if name.ends_with("StateExited") => "stateExitedEventDetails",
        _ => return None,
    })
}

fn written(name: &str, details: Map<String, Value>, has_data: bool, region: &str) -> Map<String, Value> {
    let mut written = Map::new();
    // Task events name a resource as type and name, not as an ARN.
    let is_task = name.starts_with("Task") && !name.ends_with("StateEntered") && !name.ends_with("StateExited");
    for (key, value) in details {
        match key.as_str() {
            "input" | "output" => {
                if has_data {
                    written.insert(key.clone(), text(value));
                }
                written.insert(format!("{key}Details"), json!({ "truncated": false }));
            }
            "parameters" => {
                let value = if has_data { text(value) } else { Value::from("{}") };
                written.insert(key, value);
            }
            "resource" if is_task => {
                let arn = value.as_str().unwrap_or_default();
                let (resource_type, resource) = task_resource(arn);
                written.insert("resourceType".to_owned(), Value::from(resource_type));
                written.insert("resource".to_owned(), Value::from(resource));
                if name == "TaskScheduled" {
                    written.insert("region".to_owned(), Value::from(region));
                }
            }
            "timeout_s" => drop(written.insert("timeoutInSeconds".to_owned(), value)),
            "heartbeat_s" => drop(written.insert("heartbeatInSeconds".to_owned(), value)),
            "error" | "cause" if !has_data => {}
            _ => drop(written.insert(camel(&key), value)),
        }
    }
    written
}

/// `arn:aws:states:::aws-sdk:s3:getObject` is `getObject` of `aws-sdk:s3`.
fn task_resource(arn: &str) -> (&str, &str) {
    let rest = arn.splitn(6, ':').nth(5).unwrap_or(arn);
    rest.rsplit_once(':').unwrap_or(("", rest))
}

fn text(value: Value) -> Value {
    Value::String(value.to_string())
}

fn camel(key: &str) -> String {
    let mut camel = String::with_capacity(key.len());
    let mut is_upper = false;
    for letter in key.chars() {
        match letter {
            '_' => is_upper = true,
            letter if is_upper => {
                camel.push(letter.to_ascii_uppercase());
                is_upper = false;
            }
            letter => camel.push(letter),
        }
    }
    camel
}
