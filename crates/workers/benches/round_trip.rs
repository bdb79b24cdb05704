//! How long an invocation takes that does nothing: `cargo bench -p starmap-workers`.
//!
//! The worker is this program again, an echo on std alone, so that what is measured is the pool, the
//! Runtime API and the process, not a runtime.

// The tests use more of it.
#[allow(dead_code)]
#[path = "../tests/support/mod.rs"]
mod support;

use std::sync::Arc;
use std::time::Duration;

use starmap_engine::invoker::{Invocation, Invoker};
use starmap_workers::{Function, Logs, Options, Workers};
use tokio::sync::oneshot;
use tokio::time::Instant;

const WARM_COUNT: usize = 5000;
const COLD_COUNT: usize = 100;

fn main() {
    if support::is_worker() {
        support::run_worker();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (title, logs) in [("no logs", Logs::None), ("logs kept", Logs::Folder(folder.path().to_owned()))] {
        runtime.block_on(measure(title, logs));
    }
}

#[allow(clippy::print_stdout)]
async fn measure(title: &str, logs: Logs) {
    let workers = start(&logs);
    invoke(&workers).await;
    let mut warm = Vec::new();
    for _ in 0..WARM_COUNT {
        warm.push(invoke(&workers).await.0);
    }
    let (mut cold, mut init) = (Vec::new(), Vec::new());
    for _ in 0..COLD_COUNT {
        let (round_trip, init_ms) = invoke(&start(&logs)).await;
        cold.push(round_trip);
        init.push(Duration::from_secs_f64(init_ms.expect("a new pool starts cold") / 1000.0));
    }
    for (name, mut times) in [("warm round trip", warm), ("cold round trip", cold), ("of it init", init)] {
        times.sort();
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e6;
        println!("{title}: {name}: p50 {:.0} µs, p95 {:.0} µs, n {}", at(0.5), at(0.95), times.len());
    }
}

fn start(logs: &Logs) -> Arc<Workers> {
    let function = Function {
        name: "echo".to_owned(),
        version: "$LATEST".to_owned(),
        task_root: None,
        command: vec![std::env::current_exe().unwrap().into_os_string()],
        environment: Vec::new(),
        handler: "echo".to_owned(),
        memory_mib: 128,
        timeout: Duration::from_secs(60),
        concurrency_max: 1,
    };
    Workers::start(vec![function], Options { logs: logs.clone(), ..Options::new(1, Arc::new(|| 0)) }).unwrap()
}

/// The round trip, and the init on Lambda's account.
async fn invoke(workers: &Arc<Workers>) -> (Duration, Option<f64>) {
    let (started, _told) = oneshot::channel();
    let (request_id, function, payload) = ("r".to_owned(), "echo".to_owned(), b"{\"n\":1}".to_vec());
    let began = Instant::now();
    let invocation = Invocation { request_id, function, payload, started, execution: None, caller: None };
    let outcome = workers.clone().invoke(invocation).await;
    let round_trip = began.elapsed();
    outcome.result.unwrap();
    (round_trip, outcome.report.unwrap().init_ms)
}
