//! Real worker processes: limits, failures, warm reuse, logs.
//!
//! The workers are this program again, started on its ignored test `bootstrap` (see `support`). Tests wait
//! for what workers do at a *gate*, a connection that a worker opens and that ends when the worker does.

mod support;

use std::ffi::OsString;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use expect_test::expect;
use serde_json::{Value, json};
use starmap_engine::invoker::{Invocation, InvokeError, Invoker, Invoking, Outcome, Started};
use starmap_engine::journal::ExecutionId;
use starmap_workers::function::LATEST;
use starmap_workers::{Doing, Error, Function, Logs, Options, Resilience, Rung, Speculation, Workers, logs};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

#[test]
#[ignore = "the worker that the other tests start"]
fn bootstrap() {
    if support::is_worker() {
        support::run_worker();
    }
}

#[test]
#[ignore = "the child that a worker starts"]
fn child() {
    support::run_child();
}

#[tokio::test]
#[ignore = "the parent that is killed"]
async fn parent() {
    if let Ok(gate) = std::env::var("PARENT_GATE") {
        let workers = start(vec![function("f")], options(1));
        let event = json!({ "mode": "gate", "gate": gate });
        invoke(&workers, "f", "orphan", &event).0.await;
    }
}

// Answers and errors.

#[tokio::test]
async fn a_worker_is_kept_warm() {
    let workers = start(vec![function("f")], options(1));
    let (cold, cold_started) = run(&workers, "f", "first", &json!({ "n": 1 })).await;
    let (warm, warm_started) = run(&workers, "f", "second", &json!({ "n": 2 })).await;

    assert_eq!(cold.result, Ok(br#"{"n":1}"#.to_vec()));
    assert_eq!(warm.result, Ok(br#"{"n":2}"#.to_vec()));
    let (cold, warm) = (cold.report.unwrap(), warm.report.unwrap());
    let (cold_started, warm_started) = (cold_started.unwrap(), warm_started.unwrap());
    assert_eq!(cold_started.log_stream, warm_started.log_stream);
    assert!(cold_started.log_stream.starts_with("2024/11/26/[$LATEST]"), "{}", cold_started.log_stream);
    assert_eq!(cold_started.log_stream.len(), "2024/11/26/[$LATEST]".len() + 32);
    assert!(cold_started.init_s.unwrap() > 0.0);
    assert_eq!(warm_started.init_s, None);
    assert!((cold.init_ms.unwrap() / 1000.0 - cold_started.init_s.unwrap()).abs() < 1e-5);
    assert_eq!(warm.init_ms, None);

    assert_eq!((cold.request_id.as_str(), cold.function.as_str()), ("first", "f"));
    assert_eq!(cold.log_stream, cold_started.log_stream);
    let exact = cold.duration_ms + cold.init_ms.unwrap();
    assert!((cold.billed_ms as f64 - exact) > -0.011 && (cold.billed_ms as f64 - exact) < 1.011, "{cold:?}");
    assert_eq!(cold.memory_mib, 256);
    assert!(cold.max_memory_used_mib > 0 && cold.max_memory_used_mib < 256, "{cold:?}");
    let usage = &workers.usage()[0];
    assert_eq!((usage.workers, usage.idle, usage.queued), (1, 1, 0));
}

#[tokio::test]
async fn an_error_of_the_function_is_passed_on_and_costs_no_worker() {
    let workers = start(vec![function("f")], options(1));
    let (failed, _) = run(&workers, "f", "r1", &json!({ "mode": "error" })).await;
    let error = failed.result.unwrap_err();
    assert_eq!(error.error_name(), "Test.Failed");
    assert_eq!(error.cause(), r#"{"errorType":"Test.Failed","errorMessage":"as told","trace":[1]}"#);
    let (next, _) = run(&workers, "f", "r2", &json!({})).await;
    assert_eq!(next.report.unwrap().log_stream, failed.report.unwrap().log_stream);
}

#[tokio::test]
async fn a_process_that_ends_fails_its_invocation_and_is_replaced() {
    let workers = start(vec![function("f")], options(1));
    let mut log_streams = Vec::new();
    for (event, reason) in [
        (json!({ "mode": "exit", "code": 1 }), "Runtime exited with error: exit status 1"),
        (json!({ "mode": "exit", "code": 0 }), "Runtime exited without providing a reason"),
        (json!({ "mode": "kill" }), "Runtime exited with error: signal: killed"),
    ] {
        let (outcome, started) = run(&workers, "f", "r", &event).await;
        let error = outcome.result.unwrap_err();
        assert_eq!(error.error_name(), "Runtime.ExitError");
        let cause =
            json!({ "errorType": "Runtime.ExitError", "errorMessage": format!("RequestId: r Error: {reason}") });
        assert_eq!(error.cause(), cause.to_string());
        let report = outcome.report.unwrap();
        assert!(report.init_ms.is_some());
        assert_eq!(started.unwrap().log_stream, report.log_stream);
        log_streams.push(report.log_stream);
        assert_eq!(workers.usage()[0].workers, 0, "the room is free when the outcome is known");
    }
    log_streams.sort();
    log_streams.dedup();
    assert_eq!(log_streams.len(), 3);
    assert!(run(&workers, "f", "r", &json!({})).await.0.result.is_ok());
}

#[tokio::test]
async fn a_worker_that_ends_between_invocations_is_not_noticed() {
    let workers = start(vec![function("f")], options(1));
    for _ in 0..3 {
        let (outcome, _) = run(&workers, "f", "r", &json!({ "then": "exit" })).await;
        assert!(outcome.result.is_ok(), "{:?}", outcome.result);
    }
    assert_eq!(workers.usage()[0].workers, 1);
}

#[tokio::test]
async fn a_worker_that_does_not_poll_again_is_replaced() {
    let init_timeout = Duration::from_millis(300);
    let workers = start(vec![function("f")], Options { init_timeout, ..options(1) });
    let (first, _) = run(&workers, "f", "1", &json!({ "then": "hang" })).await;
    assert!(first.result.is_ok());
    let (second, started) = run(&workers, "f", "2", &json!({})).await;
    assert!(second.result.is_ok());
    assert!(started.unwrap().init_s.is_some());
}

#[tokio::test]
async fn what_a_worker_started_ends_with_it() {
    let gate = Gate::open().await;
    let workers = start(vec![function("f")], options(1));
    let abandoning =
        tokio::spawn(invoke(&workers, "f", "worker", &json!({ "mode": "abandon", "gate": gate.address() })).0);
    let mut arrivals = [gate.arrival().await, gate.arrival().await];
    arrivals.sort_by(|a, b| a.id.cmp(&b.id));
    let [child, mut worker] = arrivals;
    assert_eq!((child.id.as_str(), worker.id.as_str()), ("child", "worker"));
    worker.pass().await;
    assert_eq!(abandoning.await.unwrap().result.unwrap_err().error_name(), "Runtime.ExitError");
    child.end().await;
}

// Limits of one invocation.

#[tokio::test]
async fn a_function_has_its_time() {
    let workers = start(vec![Function { timeout: Duration::from_millis(150), ..function("f") }], options(1));
    let (outcome, _) = run(&workers, "f", "r", &json!({ "mode": "hang" })).await;
    let error = outcome.result.unwrap_err();
    assert_eq!(error.error_name(), "Sandbox.Timedout");
    assert_eq!(
        error.cause(),
        r#"{"errorType":"Sandbox.Timedout","errorMessage":"RequestId: r Error: Task timed out after 0.15 seconds"}"#
    );
    let duration_ms = outcome.report.unwrap().duration_ms;
    assert!((150.0..2000.0).contains(&duration_ms), "{duration_ms}");
    assert!(run(&workers, "f", "r2", &json!({})).await.0.result.is_ok());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_function_has_its_memory() {
    let workers = start(vec![Function { memory_mib: 96, ..function("f") }], options(1));
    for event in [
        // Seen while it runs.
        json!({ "mode": "grow" }),
        json!({ "mode": "child", "mib": 128 }),
        // Over before anyone looked: the peak tells.
        json!({ "mode": "allocate", "mib": 128 }),
    ] {
        let (outcome, _) = run(&workers, "f", "r", &event).await;
        let error = outcome.result.unwrap_err();
        assert_eq!(error.error_name(), "Runtime.OutOfMemory", "{event}");
        let message = "RequestId: r Error: Runtime exited with error: signal: killed";
        assert_eq!(error.cause(), json!({ "errorType": "Runtime.OutOfMemory", "errorMessage": message }).to_string());
        assert!(outcome.report.unwrap().max_memory_used_mib > 96);
    }
    assert!(run(&workers, "f", "r", &json!({ "mode": "allocate", "mib": 32 })).await.0.result.is_ok());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_memory_of_an_invocation_is_its_own() {
    let workers = start(vec![function("f")], options(1));
    let (large, _) = run(&workers, "f", "r1", &json!({ "mode": "allocate", "mib": 64 })).await;
    let (small, _) = run(&workers, "f", "r2", &json!({})).await;
    let (large, small) = (large.report.unwrap(), small.report.unwrap());
    assert_eq!(large.log_stream, small.log_stream);
    assert!(large.max_memory_used_mib >= 64, "{large:?}");
    assert!(small.max_memory_used_mib < 64, "{small:?}");
}

#[tokio::test]
async fn an_answer_has_its_size() {
    let workers = start(vec![function("f")], options(1));
    let largest = 6 * 1024 * 1024 + 100;
    let (outcome, _) = run(&workers, "f", "r1", &json!({ "mode": "large", "bytes": largest })).await;
    assert_eq!(outcome.result.unwrap().len(), largest);
    let (outcome, _) = run(&workers, "f", "r2", &json!({ "mode": "large", "bytes": largest + 1 })).await;
    let error = outcome.result.unwrap_err();
    assert_eq!(error.error_name(), "Function.ResponseSizeTooLarge");
    assert!(error.to_string().contains("exceeded maximum allowed payload size (6291556 bytes)"), "{error}");
    let (outcome, started) = run(&workers, "f", "r3", &json!({})).await;
    assert!(outcome.result.is_ok());
    assert_eq!(started.unwrap().init_s, None, "the worker is still the same");
}

// The init phase.

#[tokio::test]
async fn a_worker_that_does_not_get_ready_fails_the_invocation() {
    let init = |init: &str| Function { environment: vec![("INIT".to_owned(), init.to_owned())], ..function("f") };
    for (function, name, message) in [
        (init("error"), "Init.NoWeights", "weights are missing"),
        (init("exit"), "Runtime.ExitError", "RequestId: r Error: Runtime exited with error: exit status 3"),
        (init("hang"), "Sandbox.Timedout", "RequestId: r Error: Task timed out after 0.50 seconds"),
    ] {
        let init_timeout = Duration::from_millis(if name == "Sandbox.Timedout" { 500 } else { 60_000 });
        let workers = start(vec![function], Options { init_timeout, ..options(1) });
        let (outcome, started) = run(&workers, "f", "r", &json!({})).await;
        assert_eq!(started, None, "no worker took it");
        let error = outcome.result.unwrap_err();
        assert_eq!(error.error_name(), name);
        let cause: Value = serde_json::from_str(&error.cause()).unwrap();
        assert_eq!(cause["errorMessage"], message);
        let report = outcome.report.unwrap();
        assert_eq!(report.duration_ms, 0.0);
        assert!(report.billed_ms as f64 >= report.init_ms.unwrap());
    }
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    let workers = start(vec![Function { command: vec!["/nowhere/bootstrap".into()], ..function("f") }], options(1));
    let (outcome, _) = run(&workers, "f", "r", &json!({})).await;
    assert_eq!(outcome.report, None);
    let error = outcome.result.unwrap_err();
    assert_eq!(error.error_name(), "Lambda.ServiceException");
    assert!(error.cause().starts_with("function f: could not start /nowhere/bootstrap: No such file"), "{error}");
}

// What a worker sees.

#[tokio::test]
async fn a_worker_sees_what_it_would_on_lambda() {
    let function = Function { environment: vec![("MODEL".to_owned(), "demo".to_owned())], ..function("f") };
    let workers = start(vec![function], Options { region: Some("eu-west-1".to_owned()), ..options(1) });
    let (outcome, started) = run(&workers, "f:$LATEST", "r", &json!({ "mode": "environment" })).await;
    let seen: Value = serde_json::from_slice(&outcome.result.unwrap()).unwrap();
    let environment = &seen["environment"];
    assert_eq!(environment["MODEL"], "demo");
    assert_eq!(environment["AWS_LAMBDA_FUNCTION_NAME"], "f");
    assert_eq!(environment["AWS_LAMBDA_LOG_STREAM_NAME"], started.unwrap().log_stream);
    assert_eq!(environment["STARMAP_EXIT_WITH_STDIN"], "1");
    assert_eq!(environment["CARGO_MANIFEST_DIR"], Value::Null, "only what is allowed is inherited");
    let headers = &seen["headers"];
    assert_eq!(headers["lambda-runtime-aws-request-id"], "r");
    assert_eq!(headers["lambda-runtime-deadline-ms"], (NOW_MS + 60_000).to_string());
    assert_eq!(headers["lambda-runtime-invoked-function-arn"], "arn:aws:lambda:eu-west-1:123456789012:function:f");
    let trace = headers["lambda-runtime-trace-id"].as_str().unwrap();
    assert!(trace.starts_with("Root=1-6745f66a-") && trace.ends_with(";Sampled=0"), "{trace}");

    let arn = "arn:aws:lambda:us-east-2:1:function:f:PROD";
    let (outcome, _) = run(&workers, arn, "r2", &json!({ "mode": "environment" })).await;
    let seen: Value = serde_json::from_slice(&outcome.result.unwrap()).unwrap();
    assert_eq!(seen["headers"]["lambda-runtime-invoked-function-arn"], arn);
}

#[tokio::test]
async fn requests_that_make_no_sense_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let workers = start(vec![function("f")], Options { logs: Logs::Folder(folder.path().into()), ..options(1) });
    let (outcome, _) = run(&workers, "f", "r", &json!({ "mode": "probe" })).await;
    let replies: Vec<String> = serde_json::from_slice(&outcome.result.unwrap()).unwrap();
    expect![[r#"
        GET nothing: 404 NotFound
        DELETE invocation/next: 405 MethodNotAllowed
        GET invocation/next: 403 InvalidStateTransition
        POST invocation/someone-elses/response: 400 InvalidRequestID
        POST invocation/someone-elses/error: 400 InvalidRequestID
        POST init/error: 403 InvalidStateTransition"#]]
    .assert_eq(&replies.join("\n"));
    assert_eq!(logs::reports(folder.path()).unwrap().len(), 1);
}

// Names.

#[tokio::test]
async fn functions_are_found_by_every_name_they_have() {
    let aliases = [("cosmic-infer".to_owned(), "f".to_owned())].into();
    let throttled = Function { concurrency_max: 0, ..function("off") };
    let workers = start(vec![function("f"), throttled], Options { aliases, ..options(1) });
    let arn = "arn:aws:lambda:us-east-1:123456789012:function:cosmic-infer:$LATEST";
    assert_eq!(run(&workers, arn, "r", &json!({})).await.0.report.unwrap().function, "f");

    let (stranger, started) = run(&workers, "g", "r", &json!({})).await;
    assert_eq!((stranger.report, started), (None, None));
    let error = stranger.result.unwrap_err();
    assert_eq!(error, InvokeError::NotFound { function: "g".to_owned(), known: "f, off".to_owned() });

    let (throttled, _) = run(&workers, "off", "r", &json!({})).await;
    assert_eq!(throttled.result.unwrap_err().error_name(), "Lambda.TooManyRequestsException");
}

#[test]
fn what_cannot_work_is_refused_at_the_start() {
    let error = Workers::start(vec![function("f")], options(0)).unwrap_err();
    assert_eq!(error.to_string(), "cannot set up workers:\nthe limit of workers is 0, expected at least 1");
    let error = Workers::start(vec![function("f"), function("f")], options(1)).unwrap_err();
    assert_eq!(error.to_string(), "cannot set up workers:\nfunction f: defined twice");
    let file = tempfile::NamedTempFile::new().unwrap();
    let logs = Logs::Folder(file.path().join("logs"));
    let error = Workers::start(vec![function("f")], Options { logs, ..options(1) }).unwrap_err();
    assert!(matches!(error, Error::Logs { .. }) && error.to_string().contains("could not create the folder"));
}

// Many invocations at once.

#[tokio::test]
async fn invocations_queue_first_come_first_served() {
    let gate = Gate::open().await;
    let workers = start(vec![Function { concurrency_max: 2, ..function("f") }], options(8));
    let mut running = Vec::new();
    for id in ["1", "2", "3", "4", "5"] {
        running.push(tokio::spawn(invoke(&workers, "f", id, &gate.event()).0));
        // Polled once, so that they queue in this order.
        tokio::task::yield_now().await;
    }
    let (mut first, mut second) = (gate.arrival().await, gate.arrival().await);
    let mut both = [first.id.clone(), second.id.clone()];
    both.sort();
    assert_eq!(both, ["1", "2"]);
    let usage = &workers.usage()[0];
    assert_eq!((usage.workers, usage.idle, usage.queued), (2, 0, 3));
    for id in ["3", "4", "5"] {
        first.pass().await;
        (first, second) = (second, gate.arrival().await);
        assert_eq!(second.id, id);
    }
    first.pass().await;
    second.pass().await;
    for running in running {
        assert!(running.await.unwrap().result.is_ok());
    }
    let usage = &workers.usage()[0];
    assert_eq!((usage.workers, usage.idle, usage.queued), (2, 2, 0));
}

#[tokio::test]
async fn whoever_asks_is_told_what_each_worker_does_now() {
    let gate = Gate::open().await;
    let workers = start(vec![function("f")], options(1));
    assert_eq!(workers.now(), []);
    let (started, told) = oneshot::channel();
    let invocation = Invocation {
        request_id: "1".to_owned(),
        function: "f".to_owned(),
        payload: gate.event().to_string().into_bytes(),
        started,
        execution: Some(ExecutionId(7)),
        caller: None,
    };
    let running = tokio::spawn(workers.clone().invoke(invocation));
    let mut arrival = gate.arrival().await;
    let now = workers.now();
    let [worker] = now.as_slice() else { panic!("one worker: {now:?}") };
    assert_eq!((worker.function.as_str(), worker.version.as_str(), worker.memory_mib), ("f", LATEST, 256));
    assert_eq!((worker.started_at_ms, &worker.log_stream), (NOW_MS, &told.await.unwrap().log_stream));
    let doing = Doing { request_id: "1".to_owned(), execution: Some(ExecutionId(7)), since_ms: NOW_MS };
    assert_eq!(worker.doing.as_ref(), Some(&doing));
    // As the system tells it, which is this test's own process started again.
    let resident = std::fs::read_to_string(format!("/proc/{}/status", worker.pid.unwrap())).ok();
    assert_eq!(worker.resident_bytes.is_some(), resident.is_some());
    assert!(worker.resident_bytes.is_none_or(|bytes| (1 << 20..256 << 20).contains(&bytes)), "{worker:?}");
    arrival.pass().await;
    assert!(running.await.unwrap().result.is_ok());
    assert_eq!(workers.now()[0].doing, None, "it waits");
    workers.shutdown().await;
    assert_eq!(workers.now(), []);
}

#[tokio::test]
async fn a_function_at_its_limit_does_not_hold_up_others() {
    let gate = Gate::open().await;
    let workers = start(vec![function("one"), function("other")], options(2));
    let first = tokio::spawn(invoke(&workers, "one", "1", &gate.event()).0);
    let mut first_arrival = gate.arrival().await;
    let second = tokio::spawn(invoke(&workers, "one", "2", &gate.event()).0);
    let (other, _) = run(&workers, "other", "3", &json!({})).await;
    assert!(other.result.is_ok());
    assert_eq!(workers.usage()[0].queued, 1);
    first_arrival.pass().await;
    gate.arrival().await.pass().await;
    assert!(first.await.unwrap().result.is_ok() && second.await.unwrap().result.is_ok());
}

#[tokio::test]
async fn an_idle_worker_makes_room_for_another_function() {
    let workers = start(vec![function("one"), function("other")], options(1));
    for name in ["one", "other", "other", "one"] {
        let (outcome, _) = run(&workers, name, "r", &json!({})).await;
        assert!(outcome.result.is_ok());
        let counts: Vec<(String, usize)> =
            workers.usage().into_iter().map(|usage| (usage.function, usage.workers)).collect();
        assert_eq!(counts.iter().map(|(_, count)| count).sum::<usize>(), 1);
        assert!(counts.contains(&(name.to_owned(), 1)), "{counts:?}");
    }
}

// Other attempts, which nobody outside sees.

fn resilient(resilience: Resilience, workers_max: usize) -> Options {
    Options { resilience: [("f".to_owned(), resilience)].into(), ..options(workers_max) }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_worker_over_its_memory_does_with_less_then_gets_more_then_fails_by_name() {
    let rung = |memory_mib| Rung { environment: vec![("FRUGAL".to_owned(), "1".to_owned())], memory_mib };
    let resilience = Resilience { ladder: vec![rung(96), rung(256)], speculation: None };
    let workers = start(vec![Function { memory_mib: 96, ..function("f") }], resilient(resilience, 1));
    let rungs = || workers.totals().get("f").map_or(0, |totals| totals.rungs);

    let event = json!({ "mode": "allocate", "mib": 128, "unless": "FRUGAL" });
    let (outcome, started) = run(&workers, "f", "1", &event).await;
    assert_eq!(outcome.result, Ok(event.to_string().into_bytes()));
    assert!(started.is_some(), "whoever invoked is told once that it began");
    assert_eq!((rungs(), outcome.report.unwrap().memory_mib), (1, 96));

    let (outcome, _) = run(&workers, "f", "2", &json!({ "mode": "allocate", "mib": 128 })).await;
    assert!(outcome.result.is_ok());
    assert_eq!((rungs(), outcome.report.unwrap().memory_mib), (3, 256));

    let (outcome, _) = run(&workers, "f", "3", &json!({ "mode": "allocate", "mib": 400 })).await;
    let error = outcome.result.unwrap_err();
    assert_eq!(error.error_name(), "Runtime.OutOfMemory");
    assert!(error.to_string().contains("over its memory of 96 MiB"), "{error}");
    assert!(error.to_string().contains("in 96 MiB, then 256 MiB"), "{error}");
    assert_eq!(rungs(), 5);

    // Any other failure is not tried again, and the room is there for the next.
    let (outcome, _) = run(&workers, "f", "4", &json!({ "mode": "exit", "code": 3 })).await;
    assert_eq!(outcome.result.unwrap_err().error_name(), "Runtime.ExitError");
    assert!(run(&workers, "f", "5", &json!({})).await.0.result.is_ok());
    assert_eq!(rungs(), 5);
}

/// Two workers that have served one invocation each, and a function whose every invocation is a straggler at once.
async fn two_warm(gate: &Gate) -> Arc<Workers> {
    let speculation = Speculation { slowdown: 0.0, at_least: Duration::ZERO, successes_min: 2 };
    let resilience = Resilience { ladder: Vec::new(), speculation: Some(speculation) };
    let workers = start(vec![Function { concurrency_max: 2, ..function("f") }], resilient(resilience, 2));
    let running = ["a", "b"].map(|id| tokio::spawn(invoke(&workers, "f", id, &gate.event()).0));
    for mut arrival in [gate.arrival().await, gate.arrival().await] {
        arrival.pass().await;
    }
    for running in running {
        assert!(running.await.unwrap().result.is_ok());
    }
    workers
}

#[tokio::test]
async fn a_straggler_is_tried_beside_and_the_first_success_counts() {
    let gate = Gate::open().await;
    let workers = two_warm(&gate).await;
    let running = tokio::spawn(invoke(&workers, "f", "slow", &gate.event()).0);
    let (slow, mut fast) = (gate.arrival().await, gate.arrival().await);
    assert_eq!((slow.id.as_str(), fast.id.as_str()), ("slow", "slow"), "the same invocation, twice");
    fast.pass().await;
    assert!(running.await.unwrap().result.is_ok());
    slow.end().await;
    let totals = workers.totals()["f"];
    assert_eq!((totals.succeeded, totals.failed), (3, 0), "one invocation is counted once");
    assert_eq!((totals.speculations, totals.speculations_won), (1, 1));
}

#[tokio::test]
async fn a_straggler_that_answers_first_wins_and_the_other_worker_goes() {
    let gate = Gate::open().await;
    let workers = two_warm(&gate).await;
    let running = tokio::spawn(invoke(&workers, "f", "slow", &gate.event()).0);
    let (mut slow, second) = (gate.arrival().await, gate.arrival().await);
    slow.pass().await;
    assert!(running.await.unwrap().result.is_ok());
    second.end().await;
    assert_eq!(workers.totals()["f"].speculations_won, 0);
    assert!(run(&workers, "f", "next", &json!({})).await.0.result.is_ok());
}

#[tokio::test]
async fn nobody_is_tried_beside_while_others_wait_or_no_worker_is_idle() {
    let gate = Gate::open().await;
    let workers = two_warm(&gate).await;
    let first = tokio::spawn(invoke(&workers, "f", "1", &gate.event()).0);
    let mut first_arrival = gate.arrival().await;
    // It takes the other worker before the first one is looked at, or the first one's second attempt has it and this waits.
    let second = tokio::spawn(invoke(&workers, "f", "2", &gate.event()).0);
    let mut next = gate.arrival().await;
    first_arrival.pass().await;
    next.pass().await;
    if next.id == "1" {
        gate.arrival().await.pass().await;
    }
    assert!(first.await.unwrap().result.is_ok() && second.await.unwrap().result.is_ok());
}

// Functions that come, change and go.

#[tokio::test]
async fn a_replaced_function_ends_what_it_has_and_serves_nothing_new() {
    let gate = Gate::open().await;
    let workers = start(vec![function("f")], options(2));
    let (running, _) = invoke(&workers, "f", "old", &gate.event());
    let running = tokio::spawn(running);
    let mut old = gate.arrival().await;
    // At the function's limit: it waits, and was asked of the old one.
    let (waiting, _) = invoke(&workers, "f", "waiting", &json!({ "mode": "environment" }));
    let waiting = tokio::spawn(waiting);
    while workers.usage()[0].queued == 0 {
        tokio::task::yield_now().await;
    }

    let environment = vec![("NEW".to_owned(), "1".to_owned())];
    workers.put(Function { environment, concurrency_max: 2, ..function("f") }).unwrap();
    let (new, _) = run(&workers, "f", "new", &json!({ "mode": "environment" })).await;
    let new: Value = serde_json::from_slice(&new.result.unwrap()).unwrap();
    assert_eq!(new["environment"]["NEW"], "1");
    old.pass().await;
    assert!(running.await.unwrap().result.is_ok());
    let waited: Value = serde_json::from_slice(&waiting.await.unwrap().result.unwrap()).unwrap();
    assert_eq!(waited["environment"]["NEW"], Value::Null);
    old.end().await;
    assert_eq!(workers.usage().len(), 1);
}

#[tokio::test]
async fn a_removed_function_is_unknown_and_may_come_back() {
    let workers = start(Vec::new(), options(1));
    workers.put(function("f")).unwrap();
    assert!(run(&workers, "f", "r", &json!({})).await.0.result.is_ok());
    assert!(workers.remove("f", None));
    assert!(!workers.remove("f", None));
    let (gone, _) = run(&workers, "f", "r", &json!({})).await;
    assert_eq!(gone.result.unwrap_err().error_name(), "Lambda.ResourceNotFoundException");
    workers.put(function("f")).unwrap();
    assert!(run(&workers, "f", "r", &json!({})).await.0.result.is_ok());
    assert!(workers.put(Function { memory_mib: 0, ..function("f") }).is_err());
    assert!(run(&workers, "f", "r", &json!({})).await.0.result.is_ok(), "a refused change changes nothing");
}

#[tokio::test]
async fn versions_share_the_limit_of_their_function() {
    let workers = start(vec![function("f")], options(4));
    workers.put(Function { version: "1".to_owned(), ..function("f") }).unwrap();
    for (name, version) in [("f", "$LATEST"), ("f:1", "1"), ("f:1", "1"), ("f:$LATEST", "$LATEST")] {
        let (outcome, _) = run(&workers, name, "r", &json!({ "mode": "environment" })).await;
        let answer: Value = serde_json::from_slice(&outcome.result.unwrap()).unwrap();
        assert_eq!(answer["environment"]["AWS_LAMBDA_FUNCTION_VERSION"], version);
        let stream = outcome.report.unwrap().log_stream;
        assert_eq!(logs::version(&stream), Some(version));
        assert_eq!(workers.usage().iter().map(|usage| usage.workers).sum::<usize>(), 1, "the other one made room");
    }
    workers.set_concurrency("f", 0);
    let (throttled, _) = run(&workers, "f:1", "r", &json!({})).await;
    assert_eq!(throttled.result.unwrap_err().error_name(), "Lambda.TooManyRequestsException");
    workers.set_concurrency("f", 2);
    assert!(run(&workers, "f:1", "r", &json!({})).await.0.result.is_ok());
}

#[tokio::test]
async fn the_end_of_an_invocations_log_can_be_had() {
    let folder = tempfile::tempdir().unwrap();
    let logs = Logs::Folder(folder.path().to_owned());
    let workers = start(vec![function("f")], Options { logs, ..options(1) });
    for id in ["first", "second"] {
        let event = json!({ "mode": "print", "stdout": format!("hello {id}\n"), "stderr": "" });
        let report = run(&workers, "f", id, &event).await.0.report.unwrap();
        let tail = logs::tail(folder.path(), "f", &report.log_stream, id);
        let tail = String::from_utf8(tail).unwrap();
        assert!(tail.starts_with(&format!("START RequestId: {id} Version: $LATEST\n")), "{tail}");
        assert!(tail.contains(&format!("hello {id}\n")) && tail.contains(&format!("REPORT RequestId: {id}")), "{tail}");
        assert_eq!(tail.matches("START").count(), 1, "{tail}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_invocations_share_two_workers() {
    let workers = start(vec![Function { concurrency_max: 4, ..function("f") }], options(2));
    let running: Vec<_> =
        (0..100).map(|n| tokio::spawn(invoke(&workers, "f", &format!("r{n}"), &json!({ "n": n })).0)).collect();
    let mut log_streams = Vec::new();
    let mut cold_starts = 0;
    for (n, running) in running.into_iter().enumerate() {
        let outcome = running.await.unwrap();
        assert_eq!(outcome.result.unwrap(), json!({ "n": n }).to_string().into_bytes());
        let report = outcome.report.unwrap();
        assert_eq!(report.request_id, format!("r{n}"));
        cold_starts += usize::from(report.init_ms.is_some());
        log_streams.push(report.log_stream);
    }
    log_streams.sort();
    log_streams.dedup();
    assert!(log_streams.len() <= 2, "{log_streams:?}");
    assert_eq!(cold_starts, log_streams.len());
}

// Ends.

#[tokio::test]
async fn cancelling_kills_the_worker_and_frees_its_room() {
    let gate = Gate::open().await;
    let workers = start(vec![function("f")], options(1));
    let cancelled = tokio::spawn(invoke(&workers, "f", "1", &gate.event()).0);
    let arrival = gate.arrival().await;
    let never_runs = tokio::spawn(invoke(&workers, "f", "2", &gate.event()).0);
    let next = tokio::spawn(invoke(&workers, "f", "3", &gate.event()).0);
    tokio::task::yield_now().await;
    assert_eq!(workers.usage()[0].queued, 2);
    never_runs.abort();
    cancelled.abort();
    arrival.end().await;
    let mut arrival = gate.arrival().await;
    assert_eq!(arrival.id, "3");
    arrival.pass().await;
    assert!(next.await.unwrap().report.unwrap().init_ms.is_some(), "a new worker");
}

#[tokio::test]
async fn shutting_down_ends_everything() {
    let gate = Gate::open().await;
    let functions = vec![function("busy"), function("idle"), function("waiting")];
    let workers = start(functions, options(2));
    run(&workers, "idle", "0", &json!({ "mode": "hold", "gate": gate.address() })).await;
    let idle = gate.connection().await;
    let busy = tokio::spawn(invoke(&workers, "busy", "1", &gate.event()).0);
    let arrival = gate.arrival().await;
    let queued = tokio::spawn(invoke(&workers, "busy", "2", &gate.event()).0);
    tokio::task::yield_now().await;
    workers.shutdown().await;
    assert!(workers.usage().iter().all(|usage| usage.workers == 0 && usage.queued == 0));
    arrival.end().await;
    end(idle).await;
    for (running, reason) in [(busy, "the worker was stopped"), (queued, "the workers are being shut down")] {
        let error = running.await.unwrap().result.unwrap_err();
        assert_eq!(error.error_name(), "Lambda.ServiceException");
        assert!(error.to_string().contains(reason), "{error}");
    }
    let (refused, _) = run(&workers, "idle", "3", &json!({})).await;
    assert_eq!(refused.result.unwrap_err().error_name(), "Lambda.ServiceException");
}

#[tokio::test]
async fn dropping_the_pool_kills_its_workers() {
    let gate = Gate::open().await;
    let workers = start(vec![function("f")], options(1));
    run(&workers, "f", "1", &json!({ "mode": "hold", "gate": gate.address() })).await;
    let connection = gate.connection().await;
    drop(workers);
    end(connection).await;
}

#[tokio::test]
async fn no_worker_outlives_a_parent_that_is_killed() {
    let gate = Gate::open().await;
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .args(["parent", "--exact", "--ignored", "--nocapture"])
        .env("PARENT_GATE", gate.address())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let arrival = gate.arrival().await;
    assert_eq!(arrival.id, "orphan");
    parent.kill().unwrap();
    parent.wait().unwrap();
    arrival.end().await;
}

// Logs.

#[tokio::test]
async fn logs_are_lambdas() {
    let folder = tempfile::tempdir().unwrap();
    let function = Function { timeout: Duration::from_millis(500), ..function("f") };
    let workers = start(vec![function], Options { logs: Logs::Folder(folder.path().into()), ..options(1) });
    let mut reports = Vec::new();
    for (id, event) in [
        ("r1", json!({ "mode": "print", "stdout": "read 7.pt\nunfinished", "stderr": "" })),
        ("r2", json!({ "mode": "print", "stdout": "", "stderr": "warning: slow\n" })),
        ("r3", json!({ "mode": "exit", "code": 7 })),
        ("r4", json!({ "mode": "hang" })),
    ] {
        reports.push(run(&workers, "f", id, &event).await.0.report.unwrap());
    }
    workers.shutdown().await;
    expect![[r#"
        START RequestId: r1 Version: $LATEST
        read 7.pt
        unfinished
        END RequestId: r1
        REPORT RequestId: r1→Duration: # ms→Billed Duration: # ms→Memory Size: # MB→Max Memory Used: # MB→Init Duration: # ms→
        START RequestId: r2 Version: $LATEST
        warning: slow
        END RequestId: r2
        REPORT RequestId: r2→Duration: # ms→Billed Duration: # ms→Memory Size: # MB→Max Memory Used: # MB→
        START RequestId: r3 Version: $LATEST
        RequestId: r3 Error: Runtime exited with error: exit status 7
        Runtime.ExitError
        END RequestId: r3
        REPORT RequestId: r3→Duration: # ms→Billed Duration: # ms→Memory Size: # MB→Max Memory Used: # MB→Status: error→Error Type: Runtime.ExitError
    "#]]
    .assert_eq(&log(folder.path(), &reports[0].log_stream));
    expect![[r#"
        START RequestId: r4 Version: $LATEST
        2024-11-26T16:25:14.565Z r4 Task timed out after 0.50 seconds

        END RequestId: r4
        REPORT RequestId: r4→Duration: # ms→Billed Duration: # ms→Memory Size: # MB→Max Memory Used: # MB→Init Duration: # ms→Status: timeout
    "#]]
    .assert_eq(&log(folder.path(), &reports[3].log_stream));
    let mut read_back = logs::reports(folder.path()).unwrap();
    read_back.sort_by(|a, b| a.request_id.cmp(&b.request_id));
    assert_eq!(read_back, reports);
}

#[tokio::test]
async fn a_failed_init_is_logged() {
    let folder = tempfile::tempdir().unwrap();
    let function = Function { environment: vec![("INIT".to_owned(), "exit".to_owned())], ..function("f") };
    let workers = start(vec![function], Options { logs: Logs::Folder(folder.path().into()), ..options(1) });
    let report = run(&workers, "f", "r", &json!({})).await.0.report.unwrap();
    expect![[r#"
        INIT_REPORT Init Duration: # ms→Phase: init→Status: error→Error Type: Runtime.ExitError
        START RequestId: r Version: $LATEST
        RequestId: r Error: Runtime exited with error: exit status 3
        Runtime.ExitError
        END RequestId: r
        REPORT RequestId: r→Duration: # ms→Billed Duration: # ms→Memory Size: # MB→Max Memory Used: # MB→Init Duration: # ms→Status: error→Error Type: Runtime.ExitError
    "#]]
    .assert_eq(&log(folder.path(), &report.log_stream));
    assert_eq!(logs::reports(folder.path()).unwrap(), [report]);
}

#[tokio::test]
async fn output_that_nobody_keeps_does_not_block_a_worker() {
    let megabyte = "x".repeat(99).replace('x', "0123456789") + "\n";
    let event = json!({ "mode": "print", "stdout": megabyte.repeat(1000), "stderr": megabyte.repeat(1000) });
    let folder = tempfile::tempdir().unwrap();
    for logs in [Logs::None, Logs::Folder(folder.path().into())] {
        let workers = start(vec![function("f")], Options { logs, ..options(1) });
        assert!(run(&workers, "f", "r", &event).await.0.result.is_ok());
    }
    let kept = logs::reports(folder.path()).unwrap();
    assert_eq!(log(folder.path(), &kept[0].log_stream).matches("0123456789\n").count(), 2000);
}

// Helpers.

/// 2024-11-26 16:25:14.565 UTC.
const NOW_MS: i64 = 1_732_638_314_565;

fn function(name: &str) -> Function {
    let arguments = ["bootstrap", "--exact", "--ignored", "--nocapture", "--quiet"];
    let mut command = vec![std::env::current_exe().unwrap().into_os_string()];
    command.extend(arguments.map(OsString::from));
    Function {
        name: name.to_owned(),
        version: LATEST.to_owned(),
        command,
        task_root: None,
        environment: Vec::new(),
        handler: "test".to_owned(),
        memory_mib: 256,
        timeout: Duration::from_secs(60),
        concurrency_max: 1,
    }
}

fn options(concurrency_max: usize) -> Options {
    Options { init_timeout: Duration::from_secs(60), ..Options::new(concurrency_max, Arc::new(|| NOW_MS)) }
}

fn start(functions: Vec<Function>, options: Options) -> Arc<Workers> {
    Workers::start(functions, options).unwrap()
}

fn invoke(workers: &Arc<Workers>, function: &str, id: &str, event: &Value) -> (Invoking, oneshot::Receiver<Started>) {
    let (started, told) = oneshot::channel();
    let (request_id, function) = (id.to_owned(), function.to_owned());
    let payload = event.to_string().into_bytes();
    let invocation = Invocation { request_id, function, payload, started, execution: None, caller: None };
    (workers.clone().invoke(invocation), told)
}

async fn run(workers: &Arc<Workers>, function: &str, id: &str, event: &Value) -> (Outcome, Option<Started>) {
    let (invoking, told) = invoke(workers, function, id, event);
    (invoking.await, told.await.ok())
}

/// A log as it is, but for figures, tabs and what the test harness of the worker prints at its start.
fn log(folder: &Path, log_stream: &str) -> String {
    let mut text = String::new();
    let path = logs::path(folder, "f", log_stream);
    std::fs::File::open(path).unwrap().read_to_string(&mut text).unwrap();
    let mut shown = String::new();
    for line in text.lines().skip_while(|line| line.is_empty() || line.starts_with("running ")) {
        let fields = line.split('\t').map(|field| match field.split_once(": ") {
            Some((name, value)) if value.ends_with(" ms") || value.ends_with(" MB") => {
                format!("{name}: #{}", &value[value.len() - 3..])
            }
            _ => field.to_owned(),
        });
        shown.push_str(&fields.collect::<Vec<_>>().join("→"));
        shown.push('\n');
    }
    shown
}

/// Where workers say that they are there.
struct Gate {
    listener: TcpListener,
}

impl Gate {
    async fn open() -> Self {
        Self { listener: TcpListener::bind(("127.0.0.1", 0)).await.unwrap() }
    }

    fn address(&self) -> String {
        self.listener.local_addr().unwrap().to_string()
    }

    fn event(&self) -> Value {
        json!({ "mode": "gate", "gate": self.address() })
    }

    async fn connection(&self) -> TcpStream {
        self.listener.accept().await.unwrap().0
    }

    async fn arrival(&self) -> Arrival {
        let mut stream = BufReader::new(self.connection().await);
        let mut id = String::new();
        stream.read_line(&mut id).await.unwrap();
        Arrival { id: id.trim_end().to_owned(), stream: stream.into_inner() }
    }
}

/// A worker at the gate.
struct Arrival {
    id: String,
    stream: TcpStream,
}

impl Arrival {
    /// Lets the worker through.
    async fn pass(&mut self) {
        self.stream.write_all(b".").await.unwrap();
    }

    /// Waits for the worker's death.
    async fn end(self) {
        end(self.stream).await;
    }
}

async fn end(mut stream: TcpStream) {
    // A process that is killed may also reset its connections.
    assert!(matches!(stream.read(&mut [0]).await, Ok(0) | Err(_)));
}
