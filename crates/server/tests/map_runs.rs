//! Map runs through the API: what is said of one that is redriven, and of its children.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use starmap_engine::invoker::{Invocation, InvokeError, Invoker, Invoking, Outcome};

use crate::common::{Api, ROLE, text};

/// Fails for odd numbers until it is repaired; then it answers as many as it is allowed to.
#[derive(Default)]
struct Function {
    asked: Mutex<Vec<Value>>,
    answers: Mutex<Option<usize>>,
}

impl Invoker for Function {
    fn invoke(self: Arc<Self>, invocation: Invocation) -> Invoking {
        Box::pin(async move {
            let item: Value = serde_json::from_slice(&invocation.payload).unwrap();
            self.asked.lock().unwrap().push(item.clone());
            let left = *self.answers.lock().unwrap();
            let result = match left {
                None if item.as_u64().unwrap() % 2 == 1 => Err(InvokeError::Function {
                    function: invocation.function,
                    error_type: "Poison".to_owned(),
                    message: String::new(),
                    payload: json!({ "errorType": "Poison" }).to_string(),
                }),
                Some(0) => std::future::pending().await,
                left => {
                    *self.answers.lock().unwrap() = left.map(|left| left - 1);
                    Ok(item.to_string().into_bytes())
                }
            };
            Outcome { result, report: None }
        })
    }
}

async fn until(api: &Api, action: &str, members: &Value, pointer: &str, expected: &Value) -> Value {
    loop {
        let answer = api.call(action, members.clone()).await;
        if answer.pointer(pointer) == Some(expected) {
            return answer;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_map_run_is_redriven_with_what_did_not_succeed() {
    let folder = tempfile::tempdir().unwrap();
    let function = Arc::new(Function::default());
    let api = Api::open_with(folder.path(), Arc::clone(&function) as _);
    let definition = json!({"StartAt": "Each", "States": {"Each": {
        "Type": "Map", "End": true, "MaxConcurrency": 1, "ToleratedFailureCount": 2, "ItemProcessor": {
            "ProcessorConfig": { "Mode": "DISTRIBUTED", "ExecutionType": "STANDARD" }, "StartAt": "Do",
            "States": {
                "Do": { "Type": "Task", "Resource": "arn:aws:lambda:us-east-1:000000000000:function:f", "End": true },
            },
        },
    }}});
    let members = json!({ "name": "sky", "definition": definition.to_string(), "roleArn": ROLE });
    let machine = text(&api.call("CreateStateMachine", members).await["stateMachineArn"]);
    let members = json!({ "stateMachineArn": machine, "name": "one", "input": "[0,1,2,3,4,5,6]" });
    let execution = json!({ "executionArn": api.call("StartExecution", members).await["executionArn"] });
    until(&api, "DescribeExecution", &execution, "/status", &json!("FAILED")).await;
    let runs = api.call("ListMapRuns", execution.clone()).await;
    let run = json!({ "mapRunArn": runs["mapRuns"][0]["mapRunArn"] });
    let described = api.call("DescribeMapRun", run.clone()).await;
    let (status, counts) = (&described["status"], &described["itemCounts"]);
    assert_eq!((status, &counts["failed"], &counts["pending"]), (&json!("FAILED"), &json!(3), &json!(1)));
    assert!(described.get("redriveCount").is_none() && counts.get("pendingRedrive").is_none(), "{described}");
    let of_run = |status: Option<&str>| {
        let mut members = run.clone();
        if let Some(status) = status {
            members["statusFilter"] = status.into();
        }
        members
    };
    let children = api.call("ListExecutions", of_run(Some("FAILED"))).await;
    let one = json!({ "executionArn": children["executions"][0]["executionArn"] });
    let child = api.call("DescribeExecution", one.clone()).await;
    assert_eq!((&child["redriveStatus"], &child["redriveCount"]), (&json!("REDRIVABLE_BY_MAP_RUN"), &json!(0)));

    // One is answered, and the next one is not.
    function.asked.lock().unwrap().clear();
    *function.answers.lock().unwrap() = Some(1);
    api.call("RedriveExecution", execution.clone()).await;
    let described = until(&api, "DescribeMapRun", &run, "/itemCounts/pendingRedrive", &json!(1)).await;
    let expected = json!({
        "pending": 1, "running": 1, "succeeded": 4, "failed": 0, "timedOut": 0, "aborted": 0, "total": 7,
        "resultsWritten": 0, "failuresNotRedrivable": 0, "pendingRedrive": 1,
    });
    assert_eq!(
        (&described["itemCounts"], &described["executionCounts"]),
        (&expected, &{
            let mut children = expected.clone();
            children["total"] = 7.into();
            children
        })
    );
    assert_eq!((&described["status"], &described["redriveCount"]), (&json!("RUNNING"), &json!(1)));
    assert!(described["redriveDate"].is_number() && described.get("stopDate").is_none(), "{described}");
    let names = |listed: &Value| listed["executions"].as_array().unwrap().len();
    let pending = api.call("ListExecutions", of_run(Some("PENDING_REDRIVE"))).await;
    assert_eq!((names(&pending), &pending["executions"][0]["status"]), (1, &json!("PENDING_REDRIVE")));
    assert_eq!(names(&api.call("ListExecutions", of_run(Some("FAILED"))).await), 0);
    let everyone = api.call("ListExecutions", of_run(None)).await;
    assert_eq!(names(&everyone), 6, "{everyone}");
    let waiting = json!({ "executionArn": pending["executions"][0]["executionArn"] });
    assert_eq!(api.call("DescribeExecution", waiting).await["status"], "PENDING_REDRIVE");
    let of_machine = json!({ "stateMachineArn": machine, "statusFilter": "PENDING_REDRIVE" });
    assert!(api.refused("ListExecutions", of_machine).await.starts_with("ValidationException"));

    // Stopped, those that wait are what they were.
    api.call("StopExecution", execution.clone()).await;
    let described = api.call("DescribeMapRun", run.clone()).await;
    let counts = &described["itemCounts"];
    assert_eq!((&described["status"], &counts["pendingRedrive"]), (&json!("ABORTED"), &json!(0)));
    assert_eq!((&counts["failed"], &counts["aborted"], &counts["pending"]), (&json!(1), &json!(1), &json!(1)));

    *function.answers.lock().unwrap() = Some(100);
    api.call("RedriveExecution", execution.clone()).await;
    let done = until(&api, "DescribeExecution", &execution, "/status", &json!("SUCCEEDED")).await;
    assert_eq!(done["output"], "[0,1,2,3,4,5,6]");
    assert_eq!(
        *function.asked.lock().unwrap(),
        [1, 3, 3, 5, 6],
        "each that had not succeeded, and the one stopped twice"
    );
    let described = api.call("DescribeMapRun", run.clone()).await;
    assert_eq!((&described["redriveCount"], &described["itemCounts"]["succeeded"]), (&json!(2), &json!(7)));
    let history = api.call("GetExecutionHistory", execution).await;
    let events = history["events"].as_array().unwrap();
    let redriven: Vec<&Value> = events.iter().filter(|event| event["type"] == "MapRunRedriven").collect();
    let details = json!({ "mapRunArn": run["mapRunArn"], "redriveCount": 2 });
    assert_eq!((redriven.len(), &redriven[1]["mapRunRedrivenEventDetails"]), (2, &details));
    assert_eq!(events.iter().filter(|event| event["type"] == "MapRunStarted").count(), 1);
    api.close().await;
}

/// A client's token is remembered by the journal and not by the process.
#[tokio::test]
async fn a_client_token_outlives_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let api = Api::open(folder.path());
    let fail = r#"{"StartAt": "F", "States": {"F": {"Type": "Fail", "Error": "E"}}}"#;
    let machine = api.machine("sky", fail).await;
    let execution = api.run(&machine, "one").await;
    let token = json!({ "executionArn": execution, "clientToken": "again" });
    let redriven = api.call("RedriveExecution", token.clone()).await;
    api.close().await;
    let api = Api::open(folder.path());
    assert_eq!(api.call("RedriveExecution", token).await, redriven);
    let described = api.call("DescribeExecution", json!({ "executionArn": execution })).await;
    assert_eq!(described["redriveCount"], 1);
    api.close().await;
}
