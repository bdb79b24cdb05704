//! A simulated run and a real one of the same durations cost the same; limits bite in simulated time as they do on AWS.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use serde_json::{Value, json};
use starmap_asl::Timestamp;
use starmap_engine::billing::{self, Architecture, Bill, Prices, StorageRequests};
use starmap_engine::invoker::{Invocation, InvokeError, Invoker, Invoking, Outcome, Report};
use starmap_engine::journal::memory::MemoryJournal;
use starmap_engine::journal::sqlite::{self, SqliteJournal};
use starmap_engine::journal::{Reader, Status};
use starmap_engine::limits::Limits;
use starmap_engine::names::Naming;
use starmap_engine::objects::NoObjects;
use starmap_engine::services::NoServices;
use starmap_engine::simulate::{self, Attempt, Attempted, Capacity, Latency, Setup};
use starmap_engine::{Engine, Parts, Start};

/// As the binary has it: the figure of a large run is that of `starmap plan`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Initialize, a Distributed Map whose children call one function, Summarize; retries as `retry` has them.
fn definition(retry: &Value, child_type: &str) -> String {
    let task = |function: &str| {
        json!({ "Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "OutputPath": "$.Payload", "Retry": retry,
                "Parameters": { "FunctionName": function, "Payload.$": "$" } })
    };
    let with = |mut task: Value, name: &str, value: Value| {
        task[name] = value;
        task
    };
    let map = json!({
        "Type": "Map", "ItemsPath": "$.items", "MaxConcurrency": 10_000, "ResultPath": null, "Next": "Summarize",
        "ItemProcessor": {
            "ProcessorConfig": { "Mode": "DISTRIBUTED", "ExecutionType": child_type }, "StartAt": "Infer",
            "States": { "Infer": with(task("infer"), "End", json!(true)) },
        },
    });
    json!({
        "StartAt": "Initialize",
        "States": {
            "Initialize": with(task("initialize"), "Next", json!("Map")),
            "Map": map,
            "Summarize": with(task("summarize"), "End", json!(true)),
        },
    })
    .to_string()
}

fn retry() -> Value {
    json!([{ "ErrorEquals": ["Flaky", "Lambda.TooManyRequestsException"], "IntervalSeconds": 1, "MaxAttempts": 6, "BackoffRate": 2 }])
}

/// What a function answers, and how long it takes: the same for a rank whoever asks. Ranks ending in 7 fail once.
fn work(function: &str, payload: &Value, items: u64, fails: &mut impl FnMut(u64) -> bool) -> Attempted {
    let rank = payload.as_u64().unwrap_or(0);
    let (duration_ms, result) = match function {
        "initialize" => (812.25, Ok(json!({ "items": (0..items).collect::<Vec<_>>() }))),
        "infer" if rank % 10 == 7 && fails(rank) => (333.3, Err(())),
        "infer" => (9_000.0 + (rank * 37 % 101) as f64 * 10.01, Ok(json!(rank))),
        _ => (1_900.5, Ok(json!({ "done": true }))),
    };
    let failure = |()| InvokeError::Function {
        function: function.to_owned(),
        error_type: "Flaky".to_owned(),
        message: String::new(),
        payload: json!({ "errorType": "Flaky" }).to_string(),
    };
    let result = result.map(|answer| answer.to_string().into_bytes()).map_err(failure);
    Attempted { init_ms: 0.0, duration_ms, memory_mib: 10_240, max_memory_used_mib: 900, result }
}

/// A real invoker that answers at once and reports the durations of [`work`].
struct Reporting {
    items: u64,
    failed: std::sync::Mutex<std::collections::HashSet<u64>>,
}

impl Invoker for Reporting {
    fn invoke(self: Arc<Self>, invocation: Invocation) -> Invoking {
        Box::pin(async move {
            let payload = serde_json::from_slice(&invocation.payload).unwrap();
            let mut fails = |rank| self.failed.lock().unwrap().insert(rank);
            let done = work(&invocation.function, &payload, self.items, &mut fails);
            let report = Report {
                request_id: invocation.request_id,
                function: invocation.function,
                log_stream: "worker".to_owned(),
                duration_ms: done.duration_ms,
                billed_ms: done.duration_ms.ceil() as u64,
                memory_mib: done.memory_mib,
                max_memory_used_mib: done.max_memory_used_mib,
                init_ms: Some(0.0),
            };
            Outcome { result: done.result, report: Some(report) }
        })
    }
}

fn simulated(
    items: u64,
    definition: String,
    capacity: Capacity,
    journal: Option<&mut MemoryJournal>,
) -> simulate::Simulated {
    let mut setup = Setup::new(definition, json!({}), "run".to_owned(), capacity);
    setup.by_item = true;
    let mut failed = std::collections::HashSet::new();
    let mut functions = |attempt: &Attempt<'_>| {
        let payload = serde_json::from_slice(attempt.payload).unwrap();
        work(attempt.function, &payload, items, &mut |rank| failed.insert(rank))
    };
    simulate::run(&setup, &mut functions, journal.map(|journal| journal as _)).unwrap()
}

fn bill(meter: &billing::Meter) -> Bill {
    Bill::of(meter, &Prices::default(), Architecture::X86, 512)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_simulated_and_a_real_run_of_the_same_durations_cost_the_same() {
    let folder = tempfile::tempdir().unwrap();
    for (items, child_type) in [(0, "STANDARD"), (57, "STANDARD")] {
        // Retries wait a second each on the real clock, so this one is fast: a day per reading.
        let ticks = AtomicI64::new(1_790_000_000_000);
        let engine = Engine::start(Parts {
            journal: Box::new(SqliteJournal::open(&sqlite::path_in(folder.path())).unwrap()),
            invoker: Arc::new(Reporting { items, failed: Default::default() }),
            services: Arc::new(NoServices),
            objects: Arc::new(NoObjects),
            access: starmap_engine::access::everything(),
            clock: Arc::new(move || Timestamp(ticks.fetch_add(86_400_000, Ordering::Relaxed))),
            runtime: tokio::runtime::Handle::current(),
            naming: Naming::default(),
            limits: Limits::default(),
        })
        .unwrap();
        let machine = format!("m{items}{child_type}");
        engine.create_state_machine(&machine, &definition(&retry(), child_type)).await.unwrap();
        let start =
            Start { state_machine: machine, name: "run".to_owned(), input: json!({}), annotations: Value::Null };
        let started = engine.start_execution(start).await.unwrap();
        assert_eq!(engine.wait(started.id).await.unwrap().status, Status::Succeeded);
        let reader = engine.reader();
        let record = reader.execution(started.id).unwrap().unwrap();
        let real = bill(&billing::of(&*reader, &record).unwrap());

        let run = simulated(items, definition(&retry(), child_type), Capacity::local(40), None);
        assert_eq!(run.ending.status, Status::Succeeded);
        let planned = bill(&run.meter);
        let mut used = planned.total.usage;
        used.cold_starts = real.total.usage.cold_starts;
        assert_eq!(used, real.total.usage, "{child_type}, {items} items");
        assert_eq!(format!("{:.2}", planned.total.usd.total), format!("{:.2}", real.total.usd.total));
        assert!((planned.total.usd.total - real.total.usd.total).abs() < 1e-9);
        let by_state = |bill: &Bill| {
            let lines =
                bill.states.iter().map(|state| (state.state.clone(), state.line.usage.transitions, state.line.gb_s));
            lines.collect::<Vec<_>>()
        };
        assert_eq!(by_state(&planned), by_state(&real));
        if items == 57 {
            // Five ranks fail once: 57 + 5 attempts, and as many transitions; a transition per child is the map's.
            let transitions: Vec<_> =
                real.states.iter().map(|line| (line.state.as_str(), line.line.usage.transitions)).collect();
            assert_eq!(transitions, [("Infer", 62), ("Initialize", 1), ("Map", 58), ("Summarize", 1)]);
            assert_eq!((real.total.usage.lambda_requests, real.total.usage.lambda_failed), (64, 5));
            assert_eq!((real.items.len(), real.items[7].line.usage.lambda_requests), (57, 2));
        }
        engine.shutdown().await;
    }
}

#[test]
fn counting_as_it_goes_is_counting_the_journal() {
    for child_type in ["STANDARD", "EXPRESS"] {
        let mut journal = MemoryJournal::default();
        let run = simulated(57, definition(&retry(), child_type), Capacity::local(9), Some(&mut journal));
        let record = journal.find_execution("run").unwrap().unwrap();
        let mut read = billing::of(&journal, &record).unwrap();
        let (live, from_journal) = (bill(&run.meter), bill(&read));
        assert_eq!(live, from_journal, "BILL-1: the same history gives the same usage");
        let usage = live.total.usage;
        match child_type {
            "EXPRESS" => assert_eq!((usage.transitions, usage.express_requests), (3 + 57, 57)),
            _ => assert_eq!((usage.transitions, usage.express_requests), (3 + 57 + 62, 0)),
        }
        read.add_storage("Infer", Some(3), StorageRequests { get: 10, put: 2, list: 0 });
        let with_storage = bill(&read);
        assert!((with_storage.total.usd.s3 - (10.0 * 4e-7 + 2.0 * 5e-6)).abs() < 1e-12);
        assert_eq!(with_storage.items[3].line.usage.storage.get, 10);
    }
}

#[test]
fn workers_that_are_not_to_be_had_are_waited_for_here_and_throttled_there() {
    // Two rounds of nine seconds and a little on half as many workers as there are items.
    let local = simulated(20, definition(&retry(), "STANDARD"), Capacity::local(10), None);
    assert!((21.0..24.0).contains(&local.wall_s), "{}", local.wall_s);
    assert_eq!((local.throttled, local.concurrency_max), (0, 10));

    let aws = Capacity::aws(&Prices::default(), 10);
    let retried = simulated(20, definition(&retry(), "STANDARD"), aws, None);
    assert_eq!(retried.ending.status, Status::Succeeded);
    assert!(retried.throttled >= 10 && retried.concurrency_max == 10, "{retried:?}");
    let given_up = simulated(20, definition(&json!([]), "STANDARD"), aws, None);
    assert_eq!(given_up.ending.error.as_deref(), Some("States.ExceedToleratedFailureThreshold"));
}

#[test]
fn new_workers_come_at_the_rate_at_which_aws_makes_them() {
    let capacity = Capacity { concurrency: 10_000, throttles: false, scaling: Some((10.0, 20.0)) };
    let run = simulated(20, definition(&retry(), "STANDARD"), capacity, None);
    assert_eq!((run.throttled, run.concurrency_max), (0, 20));
    let capacity = Capacity { throttles: true, ..capacity };
    let run = simulated(40, definition(&retry(), "STANDARD"), capacity, None);
    assert!(run.throttled >= 20, "twenty at once, ten more per second: {}", run.throttled);
}

#[test]
fn the_same_setup_gives_the_same_run() {
    let run = || simulated(200, definition(&retry(), "STANDARD"), Capacity::aws(&Prices::default(), 50), None);
    let (one, two) = (run(), run());
    assert_eq!((one.wall_s, one.map_s, one.throttled), (two.wall_s, two.map_s, two.throttled), "SIMULATE-1");
    assert_eq!(bill(&one.meter), bill(&two.meter));
}

fn large(items: u64, concurrency: usize) -> (f64, simulate::Simulated) {
    let mut setup =
        Setup::new(definition(&retry(), "STANDARD"), json!({}), "large".to_owned(), Capacity::local(concurrency));
    setup.latency = Latency { task_ms: 50.0, map_ms: 1_000.0, child_ms: 12.5, later: None };
    let mut functions = |attempt: &Attempt<'_>| {
        let payload = serde_json::from_slice(attempt.payload).unwrap();
        work(attempt.function, &payload, items, &mut |_| false)
    };
    let begun = Instant::now();
    let run = simulate::run(&setup, &mut functions, None).unwrap();
    (begun.elapsed().as_secs_f64(), run)
}

#[test]
fn a_run_of_517_workers_is_simulated_in_less_than_two_seconds() {
    let (took_s, run) = large(517, 1_000);
    assert_eq!((run.ending.status, run.concurrency_max), (Status::Succeeded, 517));
    // The last child is reached 1 s + 516 × 12.5 ms after the map began.
    assert!((run.wall_s - (0.8 + 7.45 + 9.0 + 2.0)).abs() < 1.5, "{}", run.wall_s);
    assert!(took_s < 2.0, "{took_s} s");
}

/// `STARMAP_SIMULATE_ITEMS=1000000 cargo test --release -p starmap-engine --test billing -- --nocapture a_large_run`
#[test]
#[allow(clippy::print_stderr, reason = "whoever asks for a size wants the figure")]
fn a_large_run_takes_the_room_of_what_runs_at_once() {
    let asked = std::env::var("STARMAP_SIMULATE_ITEMS").ok().map(|text| text.parse().expect("a number"));
    let items = asked.unwrap_or(20_000);
    let (took_s, run) = large(items, 10_000);
    assert_eq!(run.ending.status, Status::Succeeded);
    assert_eq!(run.meter.total().lambda_requests, items + 2);
    if asked.is_some() {
        eprintln!("{items} items: simulated {:.0} s in {took_s:.1} s", run.wall_s);
    }
}
