//! The engine with its thread, timers and invocations, on a journal in memory and an invoker that is a closure.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use starmap_asl::Timestamp;
use starmap_engine::invoker::{Invocation, InvokeError, Invoker, Invoking, Outcome, Started};
use starmap_engine::journal::memory::MemoryJournal;
use starmap_engine::journal::{Batch, Error as JournalError, Journal, Reader, Status};
use starmap_engine::limits::Limits;
use starmap_engine::names::Naming;
use starmap_engine::objects::NoObjects;
use starmap_engine::services::{Answering, NoServices, ServiceCall, ServiceError, Services};
use starmap_engine::{Engine, Error, Parts, Start};

type Answer = dyn Fn(&str, Value) -> Option<Result<Value, &'static str>> + Send + Sync;

/// Answers at once; `None` never answers.
struct Functions(Box<Answer>);

impl Invoker for Functions {
    fn invoke(self: Arc<Self>, invocation: Invocation) -> Invoking {
        Box::pin(async move {
            let _ = invocation.started.send(Started { log_stream: "s".to_owned(), init_s: None });
            let payload = serde_json::from_slice(&invocation.payload).unwrap();
            let result = match (self.0)(&invocation.function, payload) {
                None => std::future::pending().await,
                Some(Ok(value)) => Ok(value.to_string().into_bytes()),
                Some(Err(error)) => Err(InvokeError::Function {
                    function: invocation.function,
                    error_type: error.to_owned(),
                    message: String::new(),
                    payload: json!({ "errorType": error }).to_string(),
                }),
            };
            Outcome { result, report: None }
        })
    }
}

fn engine(
    journal: Box<dyn Journal>,
    answer: impl Fn(&str, Value) -> Option<Result<Value, &'static str>> + Send + Sync + 'static,
) -> Engine {
    Engine::start(parts(journal, answer)).unwrap()
}

fn parts(
    journal: Box<dyn Journal>,
    answer: impl Fn(&str, Value) -> Option<Result<Value, &'static str>> + Send + Sync + 'static,
) -> Parts {
    // Time stands still but moves on by a second with every look, so that timers fire without anyone waiting.
    let clock = AtomicI64::new(0);
    Parts {
        objects: Arc::new(NoObjects),
        journal,
        invoker: Arc::new(Functions(Box::new(answer))),
        services: Arc::new(NoServices),
        access: starmap_engine::access::everything(),
        clock: Arc::new(move || Timestamp(clock.fetch_add(1_000, Ordering::Relaxed))),
        runtime: tokio::runtime::Handle::current(),
        naming: Naming::default(),
        limits: Limits::default(),
    }
}

fn start(name: &str, input: Value) -> Start {
    Start { state_machine: "m".to_owned(), name: name.to_owned(), input, annotations: Value::Null }
}

const MAP: &str = r#"{"StartAt": "Rest", "States": {
  "Rest": {"Type": "Wait", "Seconds": 2, "Next": "Each"},
  "Each": {"Type": "Map", "ItemsPath": "$.items", "MaxConcurrency": 3,
    "ItemProcessor": {"ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}, "StartAt": "Do", "States": {
      "Do": {"Type": "Task", "Resource": "arn:aws:lambda:us-east-1:000000000000:function:double", "End": true,
        "Retry": [{"ErrorEquals": ["Flaky"], "IntervalSeconds": 1, "MaxAttempts": 2}]}}},
    "End": true}}}"#;

#[tokio::test]
async fn a_run_waits_maps_retries_and_ends() {
    let attempts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&attempts);
    let engine = engine(Box::new(MemoryJournal::default()), move |function, payload| {
        assert_eq!(function, "arn:aws:lambda:us-east-1:000000000000:function:double");
        if counted.fetch_add(1, Ordering::Relaxed) == 4 {
            return Some(Err("Flaky"));
        }
        Some(Ok(json!(payload.as_i64().unwrap() * 2)))
    });
    engine.create_state_machine("m", MAP).await.unwrap();
    let started = engine.start_execution(start("one", json!({ "items": [1, 2, 3, 4, 5, 6, 7, 8] }))).await.unwrap();
    assert_eq!(started.arn, "arn:aws:states:us-east-1:000000000000:execution:m:one");
    let ending = engine.wait(started.id).await.unwrap();
    assert_eq!((ending.status, ending.output), (Status::Succeeded, Some(json!([2, 4, 6, 8, 10, 12, 14, 16]))));
    assert_eq!(attempts.load(Ordering::Relaxed), 9);
    // Waiting for what has ended answers at once.
    assert_eq!(engine.wait(started.id).await.unwrap().status, Status::Succeeded);
    engine.shutdown().await;
}

#[tokio::test]
async fn names_and_definitions_are_checked() {
    let engine = engine(Box::new(MemoryJournal::default()), |_, _| Some(Ok(Value::Null)));
    let bad = engine.create_state_machine("m", r#"{"StartAt": "A", "States": {}}"#).await.unwrap_err();
    assert!(matches!(bad, Error::InvalidDefinition { .. }), "{bad}");
    engine.create_state_machine("m", MAP).await.unwrap();
    engine.create_state_machine("m", MAP).await.unwrap();
    let other = MAP.replace("\"Seconds\": 2", "\"Seconds\": 3");
    assert!(matches!(engine.create_state_machine("m", &other).await, Err(Error::StateMachineExists { .. })));
    let input = json!({ "items": [] });
    let one = engine.start_execution(start("one", input.clone())).await.unwrap();
    assert!(matches!(engine.start_execution(start("one", json!(7))).await, Err(Error::ExecutionExists { .. })));
    engine.wait(one.id).await.unwrap();
    assert!(matches!(engine.start_execution(start("one", input.clone())).await, Err(Error::ExecutionExists { .. })));
    assert!(matches!(engine.start_execution(start("a b", input)).await, Err(Error::InvalidName { .. })));
    assert!(matches!(engine.resume("none").await, Err(Error::NoExecution { .. })));
    engine.shutdown().await;
}

#[tokio::test]
async fn a_stopped_execution_ends_with_its_children_and_a_closed_engine_can_be_resumed() {
    let journal = MemoryJournal::default();
    let engine_that_hangs = engine(Box::new(journal.clone()), |_, _| None);
    engine_that_hangs.create_state_machine("m", MAP).await.unwrap();
    let input = json!({ "items": [1, 2] });
    let stopped = engine_that_hangs.start_execution(start("stopped", input.clone())).await.unwrap();
    let cause = Some("enough".to_owned());
    engine_that_hangs.stop_execution(stopped.id, Some("E".to_owned()), cause.clone()).await.unwrap();
    let ending = engine_that_hangs.wait(stopped.id).await.unwrap();
    assert_eq!((ending.status, ending.error.as_deref(), ending.cause), (Status::Aborted, Some("E"), cause));
    let left = engine_that_hangs.start_execution(start("left", input)).await.unwrap();
    engine_that_hangs.shutdown().await;

    let engine_that_works = engine(Box::new(journal.clone()), |_, payload| Some(Ok(payload)));
    assert!(matches!(engine_that_works.resume("stopped").await, Err(Error::HasEnded { .. })));
    let resumed = engine_that_works.resume("left").await.unwrap();
    assert_eq!(resumed.id, left.id);
    assert_eq!(engine_that_works.wait(left.id).await.unwrap().output, Some(json!([1, 2])));
    engine_that_works.shutdown().await;
}

/// A journal whose disk fills up after some batches.
struct Filling(MemoryJournal, Mutex<usize>);

impl Journal for Filling {
    fn append(&mut self, batch: &Batch) -> Result<(), JournalError> {
        let mut left = self.1.lock().unwrap();
        if *left == 0 {
            return Err(JournalError::Full);
        }
        *left -= 1;
        self.0.append(batch)
    }
    fn reader(&self) -> Arc<dyn Reader> {
        self.0.reader()
    }
}

#[tokio::test]
async fn a_full_disk_stops_the_engine_and_what_was_recorded_can_be_resumed() {
    for batches in 1..12 {
        let journal = MemoryJournal::default();
        let filling = Filling(journal.clone(), Mutex::new(batches));
        let first = engine(Box::new(filling), |_, payload| Some(Ok(payload)));
        if first.create_state_machine("m", MAP).await.is_err() {
            continue;
        }
        let Ok(started) = first.start_execution(start("one", json!({ "items": [1, 2, 3, 4, 5] }))).await else {
            continue;
        };
        let stopped = first.wait(started.id).await;
        if let Err(error) = stopped {
            assert!(error.to_string().contains("the engine has stopped"), "{error}");
        }
        first.shutdown().await;
        let record = journal.find_execution("one").unwrap().expect("an acknowledged start is recorded");
        if record.status == Status::Running {
            let second = engine(Box::new(journal.clone()), |_, payload| Some(Ok(payload)));
            second.resume("one").await.unwrap();
            assert_eq!(second.wait(started.id).await.unwrap().output, Some(json!([1, 2, 3, 4, 5])));
            second.shutdown().await;
        }
    }
}

/// Services that a test plays.
struct Played(Box<Playing>);

type Playing = dyn Fn(&ServiceCall) -> Result<Value, ServiceError> + Send + Sync;

impl Services for Played {
    fn call(self: Arc<Self>, call: ServiceCall) -> Answering {
        Box::pin(async move { (self.0)(&call) })
    }
}

fn engine_with(
    journal: Box<dyn Journal>,
    services: impl Fn(&ServiceCall) -> Result<Value, ServiceError> + Send + Sync + 'static,
) -> Engine {
    Engine::start(Parts { services: Arc::new(Played(Box::new(services))), ..parts(journal, |_, _| None) }).unwrap()
}

fn history(engine: &Engine, started: &starmap_engine::Started) -> Vec<String> {
    let rows = engine.reader().history(started.id, 0, 100).unwrap();
    rows.into_iter().map(|row| row.name).collect()
}

const ACTIVITY: &str = "arn:aws:states:us-east-1:000000000000:activity:label";

fn machine_of(resource: &str) -> String {
    json!({"StartAt": "T", "States": {"T": {"Type": "Task", "Resource": resource, "End": true}}}).to_string()
}

#[tokio::test]
async fn a_task_of_an_activity_is_given_to_one_worker_and_ended_by_its_token() {
    let journal = MemoryJournal::default();
    let first = engine_with(Box::new(journal.clone()), |_| Ok(Value::Null));
    first.create_state_machine("m", &machine_of(ACTIVITY)).await.unwrap();
    let early = first.start_execution(start("early", json!(0))).await.unwrap();
    let ending = first.wait(early.id).await.unwrap();
    assert_eq!(ending.error.as_deref(), Some("States.Runtime"), "the activity is not there");
    assert!(ending.cause.unwrap().ends_with(&format!("The activity {ACTIVITY} does not exist.")));

    first.set_activity(ACTIVITY, true).unwrap();
    let second = Duration::from_secs(60);
    let waiting = first.activity_task(ACTIVITY, Some("w".to_owned()), second);
    let one = first.start_execution(start("one", json!(1))).await.unwrap();
    let two = first.start_execution(start("two", json!(2))).await.unwrap();
    let task = waiting.await.unwrap().unwrap();
    assert_eq!(task.input, json!(1), "the oldest comes first");
    assert!(matches!(first.send_task_success("NoSuchTaskToken", json!(1)).await, Err(Error::InvalidToken)));
    let stranger = task.token.replacen("AQ00", "AQ0f", 1);
    assert!(matches!(first.send_task_success(&stranger, json!(1)).await, Err(Error::TaskDoesNotExist)));
    first.send_task_heartbeat(&task.token).await.unwrap();
    first.shutdown().await;

    // The token is still good after a restart, and a task that nobody took is handed out then.
    let again = engine_with(Box::new(journal.clone()), |_| Ok(Value::Null));
    again.resume("one").await.unwrap();
    again.resume("two").await.unwrap();
    let other = again.activity_task(ACTIVITY, None, second).await.unwrap().unwrap();
    assert_eq!(other.input, json!(2));
    again.send_task_success(&task.token, json!("done")).await.unwrap();
    again.send_task_failure(&other.token, "E".to_owned(), String::new()).await.unwrap();
    assert_eq!(again.wait(one.id).await.unwrap().output, Some(json!("done")));
    assert_eq!(again.wait(two.id).await.unwrap().error.as_deref(), Some("E"));
    assert!(matches!(again.send_task_success(&task.token, json!(1)).await, Err(Error::TaskTimedOut)));
    let expected =
        ["ExecutionStarted", "TaskStateEntered", "ActivityScheduled", "ActivityStarted", "ActivitySucceeded"];
    assert_eq!(history(&again, &one)[..5], expected);
    assert_eq!(again.activity_task(ACTIVITY, None, Duration::ZERO).await.unwrap(), None);
    again.shutdown().await;
}

#[tokio::test]
async fn services_answer_fail_and_are_waited_for() {
    let engine = engine_with(Box::new(MemoryJournal::default()), |call| match call.action.as_str() {
        "getObject" => Ok(json!({ "key": call.arguments, "sdk": call.is_sdk, "service": call.service })),
        _ => Err(ServiceError { error: "S3.NoSuchKeyException".to_owned(), cause: "c".to_owned() }),
    });
    let cases = [
        ("aws-sdk:s3:getObject", Ok(json!({ "key": 1, "sdk": true, "service": "s3" })), "TaskSucceeded"),
        ("aws-sdk:s3:headObject", Err("S3.NoSuchKeyException"), "TaskFailed"),
        ("sqs:sendMessage.waitForTaskToken", Err("S3.NoSuchKeyException"), "TaskSubmitFailed"),
    ];
    for (number, (resource, expected, event)) in cases.into_iter().enumerate() {
        let name = format!("m{number}");
        let definition = machine_of(&format!("arn:aws:states:::{resource}"));
        engine.create_state_machine(&name, &definition).await.unwrap();
        let started = Start { state_machine: name, ..start("run", json!(1)) };
        let started = engine.start_execution(started).await.unwrap();
        let ending = engine.wait(started.id).await.unwrap();
        assert_eq!(ending.output.ok_or(ending.error.as_deref().unwrap_or_default()), expected, "{resource}");
        assert_eq!(history(&engine, &started)[2..5], ["TaskScheduled", "TaskStarted", event], "{resource}");
    }
    engine.shutdown().await;
}

#[tokio::test]
async fn a_nested_execution_is_waited_for_and_stopped_with_its_parent() {
    let child_arn = "arn:aws:states:us-east-1:000000000000:execution:child:c";
    let engine = engine_with(Box::new(MemoryJournal::default()), move |_| Ok(json!({ "ExecutionArn": child_arn })));
    let child = r#"{"StartAt": "W", "States": {"W": {"Type": "Wait", "Seconds": 1000000, "End": true}}}"#;
    engine.create_state_machine("child", child).await.unwrap();
    let parent = machine_of("arn:aws:states:::states:startExecution.sync:2");
    engine.create_state_machine("m", &parent).await.unwrap();
    let child = Start { state_machine: "child".to_owned(), ..start("c", json!({ "i": 1 })) };
    let child = engine.start_execution(child).await.unwrap();
    let first = engine.start_execution(start("first", json!({}))).await.unwrap();
    while history(&engine, &first).len() < 5 {
        tokio::task::yield_now().await;
    }
    engine.stop_execution(child.id, Some("E".to_owned()), Some("c".to_owned())).await.unwrap();
    let ending = engine.wait(first.id).await.unwrap();
    assert_eq!(ending.error.as_deref(), Some("States.TaskFailed"));
    let cause: Value = serde_json::from_str(&ending.cause.unwrap()).unwrap();
    assert_eq!(
        (&cause["Status"], &cause["Error"], &cause["Input"]),
        (&json!("ABORTED"), &json!("E"), &json!("{\"i\":1}"))
    );
    let expected =
        ["TaskScheduled", "TaskStarted", "TaskSubmitted", "TaskFailed", "ExecutionFailed"].map(str::to_owned);
    assert_eq!(history(&engine, &first)[2..], expected);

    // One that has ended already answers at once.
    let second = engine.start_execution(start("second", json!({}))).await.unwrap();
    assert_eq!(engine.wait(second.id).await.unwrap().error.as_deref(), Some("States.TaskFailed"));
    engine.shutdown().await;
}

#[tokio::test]
async fn the_same_start_again_is_the_same_execution_as_long_as_it_runs() {
    let engine = engine(Box::new(MemoryJournal::default()), |_, _| None);
    engine.create_state_machine("m", MAP).await.unwrap();
    let first = engine.start_execution(start("one", json!({ "items": [1] }))).await.unwrap();
    assert_eq!(engine.start_execution(start("one", json!({ "items": [1] }))).await.unwrap(), first);
    engine.stop_execution(first.id, None, None).await.unwrap();
    let again = engine.start_execution(start("one", json!({ "items": [1] }))).await;
    assert!(matches!(again, Err(Error::ExecutionExists { .. })));
    engine.shutdown().await;
}

#[tokio::test]
async fn what_did_not_succeed_is_redriven_also_after_a_restart() {
    let journal = MemoryJournal::default();
    let definition = r#"{"StartAt": "A", "States": {
      "A": {"Type": "Task", "Resource": "arn:aws:lambda:us-east-1:000000000000:function:a", "Next": "B"},
      "B": {"Type": "Task", "Resource": "arn:aws:lambda:us-east-1:000000000000:function:b", "End": true}}}"#;
    let broken = engine(Box::new(journal.clone()), |function, payload| match function.ends_with(":b") {
        true => Some(Err("Broken")),
        false => Some(Ok(json!([payload]))),
    });
    broken.create_state_machine("m", definition).await.unwrap();
    let started = broken.start_execution(start("one", json!(1))).await.unwrap();
    assert_eq!(broken.wait(started.id).await.unwrap().error.as_deref(), Some("Broken"));
    broken.redrive_execution(&started.arn).await.unwrap();
    assert_eq!(broken.wait(started.id).await.unwrap().status, Status::Failed, "it is as broken as before");
    broken.shutdown().await;

    let repaired = engine(Box::new(journal.clone()), |function, payload| {
        assert!(function.ends_with(":b"), "what succeeded is not run again");
        Some(Ok(json!({ "b": payload })))
    });
    repaired.redrive_execution(&started.arn).await.unwrap();
    assert_eq!(repaired.wait(started.id).await.unwrap().output, Some(json!({ "b": [1] })));
    let record = repaired.reader().execution(started.id).unwrap().unwrap();
    assert_eq!((record.redrive_count, record.status), (2, Status::Succeeded));
    let redrives = history(&repaired, &started).iter().filter(|name| *name == "ExecutionRedriven").count();
    assert_eq!(redrives, 2);
    let refused = repaired.redrive_execution(&started.arn).await.unwrap_err();
    assert!(refused.to_string().ends_with("Execution is SUCCEEDED and cannot be redriven"), "{refused}");
    assert!(matches!(repaired.redrive_execution("arn:none").await, Err(Error::NoExecution { .. })));
    repaired.shutdown().await;
}

#[tokio::test]
async fn everything_that_was_running_goes_on() {
    let journal = MemoryJournal::default();
    let stuck = engine(Box::new(journal.clone()), |_, _| None);
    stuck.create_state_machine("m", MAP).await.unwrap();
    let mut left = Vec::new();
    for number in 0..150 {
        left.push(stuck.start_execution(start(&format!("e{number}"), json!({ "items": [number] }))).await.unwrap());
    }
    stuck.shutdown().await;
    let working = engine(Box::new(journal.clone()), |_, payload| Some(Ok(payload)));
    assert_eq!(working.recover().await.unwrap(), 150);
    for (number, started) in left.iter().enumerate() {
        assert_eq!(working.wait(started.id).await.unwrap().output, Some(json!([number])));
    }
    assert_eq!(working.recover().await.unwrap(), 0);
    working.shutdown().await;
}

#[tokio::test]
async fn the_same_name_twice_in_one_turn_is_refused_and_nothing_stops() {
    let engine = Arc::new(engine(Box::new(MemoryJournal::default()), |_, _| None));
    let pass = r#"{"StartAt": "P", "States": {"P": {"Type": "Pass", "End": true}}}"#;
    engine.create_state_machine("m", pass).await.unwrap();
    // Whatever the turns are: exactly one of each name is started.
    let callers: Vec<_> = (0..200)
        .map(|number| {
            let engine = Arc::clone(&engine);
            tokio::spawn(async move { engine.start_execution(start(&format!("e{}", number / 4), json!(number))).await })
        })
        .collect();
    let mut started = 0;
    for caller in callers {
        match caller.await.unwrap() {
            Ok(_) => started += 1,
            Err(error) => assert!(matches!(error, Error::ExecutionExists { .. }), "{error}"),
        }
    }
    assert_eq!(started, 50);
    engine.shutdown().await;
}
