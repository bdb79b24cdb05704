//! Speed of the engine with a durable journal on disk: `cargo bench -p starmap-engine --bench speed`.
//!
//! Prints state transitions per second, the latency of one execution, the time of a Distributed Map of 10,000 children,
//! and the resident memory after each. `STARMAP_BENCH_FOLDER` says where the journal goes (default: a temporary folder).
//!
//! `-- --items 1000000` runs one Distributed Map of so many one-Pass children instead, whose items are read from an object
//! and whose results are written: time and CPU time per item, and the highest resident memory. `--resume` beside it stops the
//! engine when half of the items are done, and tells how long a new one takes to go on.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde_json::{Value, json};
use starmap_asl::Timestamp;
use starmap_engine::invoker::{Invocation, Invoker, Invoking};
use starmap_engine::journal::Status;
use starmap_engine::journal::sqlite::{self, SqliteJournal};
use starmap_engine::limits::Limits;
use starmap_engine::names::Naming;
use starmap_engine::objects::{ListPage, ListRequest, NoObjects, ObjectError, ObjectInfo, Objects, Storing};
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
    status_mib("VmRSS:")
}

/// One number of `/proc/self/status`, in MiB.
fn status_mib(name: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0");
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or(0.0) / 1024.0
}

/// Seconds of CPU time so far, by all threads.
fn cpu_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    // Clock ticks are hundredths of a second on every Linux that we know.
    fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// The number after `--items`, if it is there.
fn items_asked() -> Option<u64> {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--items").skip(1);
    arguments.next().map(|count| count.parse().expect("--items takes a number"))
}

fn main() {
    if let Some(items) = items_asked() {
        return large_map(items);
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = std::env::var_os("STARMAP_BENCH_FOLDER").map_or(folder.path().to_owned(), Into::into);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let engine = Engine::start(Parts {
            journal: Box::new(SqliteJournal::open(&sqlite::path_in(&folder)).unwrap()),
            invoker: Arc::new(NoFunctions),
            services: Arc::new(NoServices),
            objects: Arc::new(NoObjects),
            access: starmap_engine::access::everything(),
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

/// One object of so many lines of one length, made when they are read; what is written is counted and forgotten.
struct Lines {
    count: u64,
    written: AtomicU64,
}

const LINE_BYTES: u64 = 20;

impl Lines {
    fn info(&self, bytes: u64) -> ObjectInfo {
        ObjectInfo { key: "items.jsonl".to_owned(), bytes, etag: "e".to_owned(), modified_at: Timestamp(0) }
    }
}

impl Objects for Lines {
    fn head<'a>(&'a self, _: &'a str, _: &'a str) -> Storing<'a, ObjectInfo> {
        Box::pin(async { Ok(self.info(self.count * LINE_BYTES)) })
    }

    fn get<'a>(&'a self, _: &'a str, _: &'a str, range: Option<Range<u64>>) -> Storing<'a, Bytes> {
        Box::pin(async move {
            let range = range.unwrap_or(0..self.count * LINE_BYTES);
            let first = range.start / LINE_BYTES;
            let last = range.end.div_ceil(LINE_BYTES);
            let text: String = (first..last).map(|line| format!("{{\"n\":\"{line:011}\"}}\n")).collect();
            let begin = (range.start - first * LINE_BYTES) as usize;
            let length = (range.end - range.start) as usize;
            Ok(Bytes::copy_from_slice(&text.as_bytes()[begin..begin + length]))
        })
    }

    fn get_unchanged<'a>(&'a self, bucket: &'a str, object: &'a ObjectInfo, range: Range<u64>) -> Storing<'a, Bytes> {
        self.get(bucket, &object.key, Some(range))
    }

    fn put<'a>(&'a self, _: &'a str, _: &'a str, content: Bytes) -> Storing<'a, ObjectInfo> {
        self.written.fetch_add(content.len() as u64, Ordering::Relaxed);
        Box::pin(async move { Ok(self.info(content.len() as u64)) })
    }

    fn delete<'a>(&'a self, _: &'a str, _: &'a str) -> Storing<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn list<'a>(&'a self, bucket: &'a str, _: ListRequest) -> Storing<'a, ListPage> {
        Box::pin(async move { Err(ObjectError::NoSuchBucket { bucket: bucket.to_owned() }) })
    }

    fn buckets(&self) -> Storing<'_, Vec<(String, Timestamp)>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn create_bucket<'a>(&'a self, _: &'a str) -> Storing<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn delete_bucket<'a>(&'a self, _: &'a str) -> Storing<'a, ()> {
        Box::pin(async { Ok(()) })
    }
}

fn large_map(items: u64) {
    let folder = tempfile::tempdir().unwrap();
    let folder = std::env::var_os("STARMAP_BENCH_FOLDER").map_or(folder.path().to_owned(), Into::into);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let objects = Arc::new(Lines { count: items, written: AtomicU64::new(0) });
        let journal = sqlite::path_in(&folder);
        let open = || {
            let engine = Engine::start(Parts {
                journal: Box::new(SqliteJournal::open(&journal).unwrap()),
                invoker: Arc::new(NoFunctions),
                services: Arc::new(NoServices),
                objects: Arc::clone(&objects) as _,
                access: starmap_engine::access::everything(),
                clock: Arc::new(now),
                runtime: tokio::runtime::Handle::current(),
                naming: Naming::default(),
                limits: Limits::default(),
            });
            engine.unwrap()
        };
        let mut engine = open();
        let map = json!({"StartAt": "M", "States": {"M": {"Type": "Map", "End": true,
            "ItemReader": {"Resource": "arn:aws:states:::s3:getObject", "ReaderConfig": {"InputType": "JSONL"},
                "Parameters": {"Bucket": "b", "Key": "items.jsonl"}},
            "ResultWriter": {"Resource": "arn:aws:states:::s3:putObject", "Parameters": {"Bucket": "b", "Prefix": "out"}},
            "ItemProcessor": {"ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
                "StartAt": "P", "States": {"P": {"Type": "Pass", "End": true}}}}}});
        engine.create_state_machine("map", &map.to_string()).await.unwrap();
        let (begin, cpu) = (Instant::now(), cpu_s());
        let started = engine.start_execution(start("map", "large".to_owned(), json!({}))).await.unwrap();
        if std::env::args().any(|argument| argument == "--resume") {
            let reader = engine.reader();
            while reader.map_runs(started.id).unwrap().first().is_none_or(|run| run.details.counts.items.succeeded < items / 2) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            engine.shutdown().await;
            let before = Instant::now();
            engine = open();
            engine.resume(&started.arn).await.unwrap();
            println!("taken up again in {:.2?}, {:.0} MiB resident at most", before.elapsed(), status_mib("VmHWM:"));
        }
        let ending = engine.wait(started.id).await.unwrap();
        let (took, cpu) = (begin.elapsed().as_secs_f64(), cpu_s() - cpu);
        assert_eq!(ending.status, Status::Succeeded, "{ending:?}");
        let run = engine.reader().map_runs(started.id).unwrap().remove(0);
        assert_eq!(run.details.counts.items.succeeded, items);
        println!(
            "Distributed Map of {items} items: {took:.1} s, {:.0} µs and {:.0} µs of CPU time per item, {:.0} MiB resident \
             at most, journal {:.0} MiB, results {:.0} MiB",
            took * 1e6 / items as f64,
            cpu * 1e6 / items as f64,
            status_mib("VmHWM:"),
            std::fs::metadata(&journal).map_or(0, |file| file.len()) as f64 / f64::from(1 << 20),
            objects.written.load(Ordering::Relaxed) as f64 / f64::from(1 << 20),
        );
    });
}
