//! Speed of the engine with a durable journal on disk: `cargo bench -p starmap-engine --bench speed`.
//!
//! Prints state transitions per second, the latency of one execution, the time of a Distributed Map of 10,000 children,
//! and the resident memory after each. `STARMAP_BENCH_FOLDER` says where the journal goes (default: a temporary folder).

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use starmap_asl::Timestamp;
use starmap_engine::invoker::{Invocation, Invoker, Invoking};
use starmap_engine::journal::Status;
use starmap_engine::journal::sqlite::{self, SqliteJournal};
use starmap_engine::limits::Limits;
use starmap_engine::names::Naming;
use starmap_engine::objects::NoObjects;
use starmap_engine::services::NoServices;
use starmap_engine::{Engine, Parts, Start};

const EXECUTIONS: usize = 2_000;
const STATES: usize = 10;
const ITEMS: usize = 10_000;

struct NoFunctions;

impl Invoker for NoFunctions {
    fn invoke(self: Arc<Self>, _: Invocation) -> Invoking {
        Box::pin(std::future::pending())
    }
}

fn now() -> Timestamp {
    Timestamp(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis() as i64)
}

fn start(machine: &str, name: String, input: Value) -> Start {
    Start { state_machine: machine.to_owned(), name, input, annotations: Value::Null }
}

fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or(0.0) / 1024.0
}

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let folder = std::env::var_os("STARMAP_BENCH_FOLDER").map_or(folder.path().to_owned(), Into::into);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let engine = Engine::start(Parts {
            journal: Box::new(SqliteJournal::open(&sqlite::path_in(&folder)).unwrap()),
            invoker: Arc::new(NoFunctions),
            services: Arc::new(NoServices),
            objects: Arc::new(NoObjects),
            clock: Arc::new(now),
            runtime: tokio::runtime::Handle::current(),
            naming: Naming::default(),
            limits: Limits::default(),
        });
        let engine = Arc::new(engine.unwrap());
        latency(&engine).await;
        transitions(&engine).await;
        distributed_map(&engine).await;
    });
}

async fn latency(engine: &Engine) {
    let one = json!({"StartAt": "P", "States": {"P": {"Type": "Pass", "End": true}}});
    engine.create_state_machine("one", &one.to_string()).await.unwrap();
    let mut times = Vec::new();
    for i in 0..200 {
        let begin = Instant::now();
        let started = engine.start_execution(start("one", format!("e{i}"), json!({}))).await.unwrap();
        assert_eq!(engine.wait(started.id).await.unwrap().status, Status::Succeeded);
        times.push(begin.elapsed());
    }
    times.sort_unstable();
    println!("one Pass, start to SUCCEEDED: p50 {:.2?}, p99 {:.2?}", times[100], times[198]);
}

async fn transitions(engine: &Arc<Engine>) {
    let states: serde_json::Map<String, Value> = (0..STATES)
        .map(|i| {
            let next = if i + 1 < STATES {
                json!({"Type": "Pass", "Next": format!("S{}", i + 1)})
            } else {
                json!({"Type": "Pass", "End": true})
            };
            (format!("S{i}"), next)
        })
        .collect();
    engine.create_state_machine("ten", &json!({"StartAt": "S0", "States": states}).to_string()).await.unwrap();
    let begin = Instant::now();
    let callers: Vec<_> = (0..64)
        .map(|caller| {
            let engine = Arc::clone(engine);
            tokio::spawn(async move {
                for i in (caller..EXECUTIONS).step_by(64) {
                    let started = engine.start_execution(start("ten", format!("e{i}"), json!({"i": i}))).await.unwrap();
                    assert_eq!(engine.wait(started.id).await.unwrap().status, Status::Succeeded);
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    let took = begin.elapsed();
    println!(
        "{EXECUTIONS} executions of {STATES} Pass states: {took:.2?}, {:.0} state transitions/s, {:.0} MiB resident",
        (EXECUTIONS * STATES) as f64 / took.as_secs_f64(),
        resident_mib()
    );
}

async fn distributed_map(engine: &Engine) {
    let map = json!({"StartAt": "M", "States": {"M": {"Type": "Map", "ItemsPath": "$.items", "End": true, "ItemProcessor": {
        "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
        "StartAt": "P", "States": {"P": {"Type": "Pass", "End": true}}}}}});
    engine.create_state_machine("map", &map.to_string()).await.unwrap();
    for round in 0..3 {
        let items: Vec<usize> = (0..ITEMS).collect();
        let begin = Instant::now();
        let started = engine.start_execution(start("map", format!("e{round}"), json!({"items": items}))).await.unwrap();
        let ending = engine.wait(started.id).await.unwrap();
        assert_eq!(ending.output, Some(json!(items)), "{ending:?}");
        println!(
            "Distributed Map of {ITEMS} one-Pass children: {:.2?}, {:.0} MiB resident",
            begin.elapsed(),
            resident_mib()
        );
    }
}
