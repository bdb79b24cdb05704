//! Executions over the API: idempotent starts, stopping, listings and histories in pages.

use serde_json::{Value, json};

use crate::common::{self, Api, FOREVER, PASS, text};

#[tokio::test]
async fn starting_the_same_again_is_answered_again_as_long_as_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    let api = Api::open(folder.path());
    let machine = api.machine("sky", FOREVER).await;
    let start = |input: &str| json!({ "stateMachineArn": machine, "name": "one", "input": input });
    let first = api.call("StartExecution", start(r#"{"z": 1}"#)).await;
    assert_eq!(api.call("StartExecution", start(r#"{"z": 1}"#)).await, first);
    let exists = format!("ExecutionAlreadyExists: Execution Already Exists: '{}'", text(&first["executionArn"]));
    assert_eq!(api.refused("StartExecution", start(r#"{"z": 2}"#)).await, exists);

    let stop = json!({ "executionArn": first["executionArn"], "error": "Enough", "cause": "clouds" });
    let stopped = api.call("StopExecution", stop.clone()).await;
    let described = api.call("DescribeExecution", json!({ "executionArn": first["executionArn"] })).await;
    assert_eq!((&described["status"], &described["error"]), (&json!("ABORTED"), &json!("Enough")));
    assert_eq!((&described["cause"], &described["stopDate"]), (&json!("clouds"), &stopped["stopDate"]));
    assert_eq!(api.call("StopExecution", stop).await, stopped, "stopping again changes nothing");
    assert_eq!(api.refused("StartExecution", start(r#"{"z": 1}"#)).await, exists, "it does not run any more");
    api.close().await;
}

#[tokio::test]
async fn listings_and_histories_come_in_pages() {
    let folder = tempfile::tempdir().unwrap();
    let api = Api::open(folder.path());
    let machine = api.machine("sky", PASS).await;
    for number in 0..5 {
        api.run(&machine, &format!("run-{number}")).await;
    }
    let pages = async |action: &str, mut members: Value, list: &str, key: &str| {
        let mut pages = Vec::new();
        loop {
            let page = api.call(action, members.clone()).await;
            let items = page[list].as_array().unwrap();
            pages.push(items.iter().map(|item| item[key].to_string()).collect::<Vec<_>>());
            match page.get("nextToken") {
                Some(next) => members["nextToken"] = next.clone(),
                None => return pages,
            }
        }
    };
    let list = json!({ "stateMachineArn": machine, "maxResults": 2, "statusFilter": "SUCCEEDED" });
    let listed = pages("ListExecutions", list.clone(), "executions", "name").await;
    assert_eq!(listed, [vec!["\"run-4\"", "\"run-3\""], vec!["\"run-2\"", "\"run-1\""], vec!["\"run-0\""]]);
    let execution = format!("{}:run-0", machine.replace(":stateMachine:", ":execution:"));
    let history = json!({ "executionArn": execution, "maxResults": 3 });
    assert_eq!(pages("GetExecutionHistory", history.clone(), "events", "id").await, [vec!["1", "2", "3"], vec!["4"]]);
    let backward = json!({ "executionArn": execution, "maxResults": 3, "reverseOrder": true });
    assert_eq!(pages("GetExecutionHistory", backward.clone(), "events", "id").await, [vec!["4", "3", "2"], vec!["1"]]);

    // A token is good for its own question only.
    let mut other = backward;
    other["nextToken"] = api.call("GetExecutionHistory", history).await["nextToken"].clone();
    let refused = api.refused("GetExecutionHistory", other).await;
    assert_eq!(refused, "InvalidToken: Invalid Token: 'Invalid token'");
    api.close().await;
}

#[tokio::test]
async fn a_worker_gets_a_task_and_answers_it() {
    let folder = tempfile::tempdir().unwrap();
    let api = Api::open(folder.path());
    let activity = text(&api.call("CreateActivity", json!({ "name": "classify" })).await["activityArn"]);
    let definition =
        json!({ "StartAt": "T", "States": { "T": { "Type": "Task", "Resource": activity, "End": true } } });
    let machine = api.machine("sky", &definition.to_string()).await;
    let start = json!({ "stateMachineArn": machine, "name": "one", "input": r#"{"galaxy":7}"# });
    let execution = text(&api.call("StartExecution", start).await["executionArn"]);
    let task = api.call("GetActivityTask", json!({ "activityArn": activity, "workerName": "w" })).await;
    assert_eq!(task["input"], r#"{"galaxy":7}"#);
    api.call("SendTaskHeartbeat", json!({ "taskToken": task["taskToken"] })).await;
    let answer = json!({ "taskToken": task["taskToken"], "output": r#"{"kind":"spiral"}"# });
    let bad = json!({ "taskToken": task["taskToken"], "output": "spiral" });
    assert!(api.refused("SendTaskSuccess", bad).await.starts_with("InvalidOutput: Invalid Output: '"));
    api.call("SendTaskSuccess", answer.clone()).await;
    let described = api.call("DescribeExecution", json!({ "executionArn": execution })).await;
    assert_eq!((&described["status"], &described["output"]), (&json!("SUCCEEDED"), &json!(r#"{"kind":"spiral"}"#)));
    let late = api.refused("SendTaskSuccess", answer).await;
    assert!(late.starts_with("TaskTimedOut: ") || late.starts_with("TaskDoesNotExist: "), "{late}");
    api.close().await;
}

#[tokio::test]
async fn what_failed_is_redriven_and_what_did_not_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let api = Api::open(folder.path());
    let fail =
        r#"{"StartAt": "P", "States": {"P": {"Type": "Pass", "Next": "F"}, "F": {"Type": "Fail", "Error": "E"}}}"#;
    let machine = api.machine("sky", fail).await;
    let execution = api.run(&machine, "one").await;
    let one = json!({ "executionArn": execution });
    let described = api.call("DescribeExecution", one.clone()).await;
    assert_eq!((&described["redriveStatus"], &described["redriveCount"]), (&json!("REDRIVABLE"), &json!(0)));
    let token = json!({ "executionArn": execution, "clientToken": "again" });
    let redriven = api.call("RedriveExecution", token.clone()).await;
    assert_eq!(api.call("RedriveExecution", token).await, redriven, "a client token makes it one redrive");
    let described = api.call("DescribeExecution", one.clone()).await;
    assert_eq!((&described["redriveCount"], &described["redriveDate"]), (&json!(1), &redriven["redriveDate"]));
    let history = api.call("GetExecutionHistory", one).await;
    let types: Vec<&str> = history["events"].as_array().unwrap().iter().filter_map(|e| e["type"].as_str()).collect();
    let passes = types.iter().filter(|name| **name == "PassStateEntered").count();
    assert_eq!((passes, types.contains(&"ExecutionRedriven")), (1, true), "what succeeded is not run again: {types:?}");
    let list = |filter: &str| json!({ "stateMachineArn": machine, "redriveFilter": filter });
    for (filter, count) in [("REDRIVEN", 1), ("NOT_REDRIVEN", 0)] {
        let listed = api.call("ListExecutions", list(filter)).await;
        assert_eq!(listed["executions"].as_array().map(Vec::len), Some(count), "{filter}");
    }

    let other = api.machine("other", PASS).await;
    let succeeded = api.run(&other, "one").await;
    let refused = api.refused("RedriveExecution", json!({ "executionArn": succeeded })).await;
    assert_eq!(refused, "ExecutionNotRedrivable: Execution is SUCCEEDED and cannot be redriven");
    api.close().await;
}

#[tokio::test]
async fn an_express_execution_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let api = Api::open(folder.path());
    let create = json!({ "name": "sky", "definition": PASS, "roleArn": common::ROLE, "type": "EXPRESS" });
    let machine = text(&api.call("CreateStateMachine", create).await["stateMachineArn"]);
    let start = json!({ "stateMachineArn": machine, "name": "one", "input": r#"{"z":1}"#, "traceHeader": "Root=1" });
    let ended = api.call("StartSyncExecution", start.clone()).await;
    assert_eq!((&ended["status"], &ended["output"]), (&json!("SUCCEEDED"), &json!(r#"{"z":1}"#)));
    assert_eq!(
        (&ended["traceHeader"], &ended["billingDetails"]["billedDurationInMilliseconds"]),
        (&json!("Root=1"), &json!(100))
    );
    assert!(text(&ended["executionArn"]).contains(":express:sky:one:"), "{ended}");
    let again = api.call("StartSyncExecution", start).await;
    assert_ne!(again["executionArn"], ended["executionArn"], "names of Express executions may be used again");

    let standard = api.machine("standard", PASS).await;
    let refused = api.refused("StartSyncExecution", json!({ "stateMachineArn": standard })).await;
    assert!(refused.starts_with("StateMachineTypeNotSupported: "), "{refused}");
    let refused = api.refused("ListExecutions", json!({ "stateMachineArn": machine })).await;
    assert!(refused.starts_with("StateMachineTypeNotSupported: "), "{refused}");
    api.close().await;
}
