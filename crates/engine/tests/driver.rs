//! The engine with its thread, timers and invocations, on a journal in memory and an invoker that is a closure.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use starmap_asl::Timestamp;
use starmap_engine::invoker::{Invocation, InvokeError, Invoker, Invoking, Outcome, Started};
use starmap_engine::journal::memory::MemoryJournal;
use starmap_engine::journal::{Batch, Error as JournalError, Journal, Reader, Status};
use starmap_engine::limits::Limits;
use starmap_engine::names::Naming;
use starmap_engine::objects::NoObjects;
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
    // Time stands still but moves on by a second with every look, so that timers fire without anyone waiting.
    let clock = AtomicI64::new(0);
    Engine::start(Parts {
        objects: Arc::new(NoObjects),
        journal,
        invoker: Arc::new(Functions(Box::new(answer))),
        clock: Arc::new(move || Timestamp(clock.fetch_add(1_000, Ordering::Relaxed))),
        runtime: tokio::runtime::Handle::current(),
        naming: Naming::default(),
        limits: Limits::default(),
    })
    .unwrap()
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
    engine.start_execution(start("one", input.clone())).await.unwrap();
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
