//! Speed over HTTP with a durable journal on disk: `cargo bench -p starmap-server --bench http`.
//!
//! Prints the latency of one execution, from `StartExecution` until `DescribeExecution` says SUCCEEDED; then, for
//! machines of 1 and of 10 Pass states and many connections that are kept, executions and state transitions per second
//! and the processor time that the server took per request. The clients are threads of this process, so that they take
//! little; their own time is taken off. `STARMAP_BENCH_FOLDER` says where the journal goes (default: a temporary folder).

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

#[path = "../tests/common/mod.rs"]
#[allow(dead_code, reason = "what the tests use")]
mod common;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use common::{Client, NoFunctions, ROLE};
use serde_json::{Map, Value, json};
use starmap_asl::Timestamp;
use starmap_engine::journal::sqlite::{SqliteJournal, path_in};
use starmap_engine::limits::Limits;
use starmap_engine::names::Naming;
use starmap_engine::objects::NoObjects;
use starmap_engine::services::NoServices;
use starmap_engine::{Engine, Parts};
use starmap_server::{AwsJson, Router, Server, StepFunctions};

const ROUNDS: usize = 300;
const CONNECTIONS: usize = 64;
const EXECUTIONS: usize = 6_400;

fn main() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = std::env::var_os("STARMAP_BENCH_FOLDER").map_or(temporary.path().to_owned(), Into::into);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let address = runtime.block_on(serve(&folder));
    let mut client = Client::connect(address);
    for count in [1, 10] {
        create(&mut client, count);
        latency(&mut client, count);
        throughput(address, count);
    }
    // The server ends with the process.
    std::process::exit(0);
}

fn now() -> Timestamp {
    Timestamp(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis() as i64)
}

async fn serve(folder: &Path) -> SocketAddr {
    let engine = Engine::start(Parts {
        journal: Box::new(SqliteJournal::open(&path_in(folder)).unwrap()),
        invoker: Arc::new(NoFunctions),
        services: Arc::new(NoServices),
        objects: Arc::new(NoObjects),
        access: starmap_engine::access::everything(),
        clock: Arc::new(now),
        runtime: tokio::runtime::Handle::current(),
        naming: Naming::default(),
        limits: Limits::default(),
    });
    let step_functions = Arc::new(StepFunctions::new(Arc::new(engine.unwrap()), Arc::new(now)));
    let router = Router::new().with(Arc::new(AwsJson::new(step_functions)));
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), router).await.unwrap();
    let address = server.local_addr().unwrap();
    tokio::spawn(server.run(std::future::pending()));
    address
}

fn create(client: &mut Client, count: usize) {
    let states: Map<String, Value> = (0..count)
        .map(|i| {
            let state = match i + 1 < count {
                true => json!({ "Type": "Pass", "Next": format!("S{}", i + 1) }),
                false => json!({ "Type": "Pass", "End": true }),
            };
            (format!("S{i}"), state)
        })
        .collect();
    let definition = json!({ "StartAt": "S0", "States": states }).to_string();
    let members = json!({ "name": format!("pass-{count}"), "definition": definition, "roleArn": ROLE });
    let created = client.action("CreateStateMachine", members.to_string().as_bytes());
    assert_eq!(created.status, 200, "{created:?}");
}

/// Starts an execution and asks until it has succeeded; how many requests that took.
fn run(client: &mut Client, count: usize, name: &str, input: &str) -> usize {
    let machine = common::arn(&format!("stateMachine:pass-{count}"));
    let members = json!({ "stateMachineArn": machine, "name": name, "input": input });
    let started = client.action("StartExecution", members.to_string().as_bytes());
    assert_eq!(started.status, 200, "{started:?}");
    let question = json!({ "executionArn": started.json()["executionArn"] }).to_string();
    let mut requests = 1;
    loop {
        let described = client.action("DescribeExecution", question.as_bytes()).json();
        requests += 1;
        match described["status"].as_str() {
            Some("SUCCEEDED") => return requests,
            Some("RUNNING") => {}
            _ => panic!("{described}"),
        }
    }
}

fn latency(client: &mut Client, count: usize) {
    let times = (0..ROUNDS).map(|i| {
        let begin = Instant::now();
        run(client, count, &format!("l{i}"), "{}");
        begin.elapsed()
    });
    let mut times: Vec<_> = times.collect();
    times.sort_unstable();
    let (p50, p99) = (times[ROUNDS / 2], times[ROUNDS * 99 / 100]);
    println!("{count} Pass, one client, start to SUCCEEDED: p50 {p50:.2?}, p99 {p99:.2?}");
}

fn throughput(address: SocketAddr, count: usize) {
    let (begin, cpu) = (Instant::now(), process_cpu());
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|number| {
            std::thread::spawn(move || {
                let mut client = Client::connect(address);
                let numbers = (number..EXECUTIONS).step_by(CONNECTIONS);
                let requests =
                    numbers.map(|i| run(&mut client, count, &format!("t{i}"), &format!(r#"{{"i":{i}}}"#))).sum();
                (requests, own_cpu())
            })
        })
        .collect();
    let ended: Vec<(usize, Duration)> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    let took = begin.elapsed().as_secs_f64();
    let requests: usize = ended.iter().map(|(requests, _)| requests).sum();
    let clients: Duration = ended.iter().map(|(_, cpu)| *cpu).sum();
    let server = (process_cpu() - cpu).saturating_sub(clients);
    println!(
        "{count} Pass, {CONNECTIONS} clients: {:.0} executions/s, {:.0} state transitions/s; per request {:.0} µs of the \
         server's processor time; {:.0} MiB resident",
        EXECUTIONS as f64 / took,
        (EXECUTIONS * count) as f64 / took,
        server.as_secs_f64() * 1e6 / requests as f64,
        resident_mib(),
    );
}

/// Processor time of all threads that live, and of those that have ended.
fn process_cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks = stat.rsplit(')').next().into_iter().flat_map(|rest| rest.split_whitespace().skip(11).take(2));
    let ticks: u64 = ticks.filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    // Linux shows 100 a second, whatever it counts.
    Duration::from_millis(ticks * 10)
}

/// Processor time of this thread.
fn own_cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(stat.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0))
}

fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or(0.0) / 1024.0
}
