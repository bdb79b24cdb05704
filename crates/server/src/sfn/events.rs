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
    let is_task = name.starts_with("Task") && !name.starts_with("TaskState");
    let is_scheduled = name.ends_with("Scheduled");
    let own_text = details.get("text").cloned();
    for (key, value) in details {
        match key.as_str() {
            "text" => {}
            "input" | "output" => {
                if has_data {
                    written.insert(key.clone(), own_text.clone().unwrap_or_else(|| text(value)));
                }
                written.insert(format!("{key}Details"), json!({ "truncated": false }));
            }
            "assigned" => {
                let assigned = value.as_object().cloned().unwrap_or_default();
                if has_data {
                    let texts = assigned.into_iter().map(|(name, value)| (name, text(value)));
                    written.insert("assignedVariables".to_owned(), Value::Object(texts.collect()));
                }
                written.insert("assignedVariablesDetails".to_owned(), json!({ "truncated": false }));
            }
            "parameters" => {
                // AWS's model requires it.
                written.insert(key, if has_data { text(value) } else { Value::from("{}") });
            }
            "resource" if is_task => {
                let arn = value.as_str().unwrap_or_default();
                let (resource_type, resource) = task_resource(arn);
                written.insert("resourceType".to_owned(), Value::from(resource_type));
                written.insert("resource".to_owned(), Value::from(resource));
                if is_scheduled {
                    written.insert("region".to_owned(), Value::from(region));
                }
            }
            "role_arn" if is_scheduled => {
                written.insert("taskCredentials".to_owned(), json!({ "roleArn": value }));
            }
            "worker" => drop(written.insert("workerName".to_owned(), value)),
            "timeout_s" => drop(written.insert("timeoutInSeconds".to_owned(), value)),
            "heartbeat_s" => drop(written.insert("heartbeatInSeconds".to_owned(), value)),
            _ => drop(written.insert(camel(&key), value)),
        }
    }
    written
}

/// `arn:aws:states:::aws-sdk:s3:getObject` is `getObject` of `aws-sdk:s3`, and
/// `arn:aws:states:::states:startExecution.sync:2` is `startExecution.sync:2` of `states`.
fn task_resource(arn: &str) -> (&str, &str) {
    let rest = arn.splitn(6, ':').nth(5).unwrap_or(arn);
    let named = rest.strip_suffix(":2").unwrap_or(rest);
    match named.rfind(':') {
        Some(colon) => (&rest[..colon], &rest[colon + 1..]),
        None => ("", rest),
    }
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

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use starmap_asl::Timestamp;

    use super::*;

    fn check(name: &str, details: Value, expected: &Expect) {
        let row = HistoryRow { id: 3, previous_id: 2, at: Timestamp(1_500), name: name.to_owned(), details };
        expected.assert_eq(&event(row, true, "us-east-1").to_string());
    }

    #[test]
    fn events_are_written_as_aws_does() {
        check(
            "WaitStateAborted",
            json!({}),
            &expect![[r#"{"timestamp":1.5,"type":"WaitStateAborted","id":3,"previousEventId":2}"#]],
        );
        let details = json!({ "name": "Store", "output": [1], "assigned": { "z": { "a": 1 } } });
        check(
            "PassStateExited",
            details,
            &expect![[
                r#"{"timestamp":1.5,"type":"PassStateExited","id":3,"previousEventId":2,"stateExitedEventDetails":{"name":"Store","output":"[1]","outputDetails":{"truncated":false},"assignedVariables":{"z":"{\"a\":1}"},"assignedVariablesDetails":{"truncated":false}}}"#
            ]],
        );
        let details = json!({
            "resource": "arn:aws:states:::states:startExecution.sync:2", "parameters": {}, "timeout_s": 9,
            "role_arn": "arn:aws:iam::000000000000:role/r",
        });
        check(
            "TaskScheduled",
            details,
            &expect![[
                r#"{"timestamp":1.5,"type":"TaskScheduled","id":3,"previousEventId":2,"taskScheduledEventDetails":{"resourceType":"states","resource":"startExecution.sync:2","region":"us-east-1","parameters":"{}","timeoutInSeconds":9,"taskCredentials":{"roleArn":"arn:aws:iam::000000000000:role/r"}}}"#
            ]],
        );
    }

    #[test]
    fn data_can_be_left_out() {
        let details = json!({ "input": { "z": 1 }, "role_arn": "arn:role" });
        let row = HistoryRow { id: 1, previous_id: 0, at: Timestamp(0), name: "ExecutionStarted".to_owned(), details };
        let written = event(row, false, "us-east-1");
        let expected = json!({ "inputDetails": { "truncated": false }, "roleArn": "arn:role" });
        assert_eq!(written["executionStartedEventDetails"], expected);
    }

    #[test]
    fn resources_have_a_type_and_a_name() {
        let resource = |rest: &str| {
            let arn = format!("arn:aws:states:::{rest}");
            let (kind, name) = task_resource(&arn);
            format!("{kind} {name}")
        };
        assert_eq!(resource("lambda:invoke"), "lambda invoke");
        assert_eq!(resource("aws-sdk:s3:getObject"), "aws-sdk:s3 getObject");
        assert_eq!(resource("states:startExecution.sync:2"), "states startExecution.sync:2");
        assert_eq!(resource("sqs:sendMessage.waitForTaskToken"), "sqs sendMessage.waitForTaskToken");
    }
}
