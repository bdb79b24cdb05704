//! Fifty executions at once on a real journal, twenty of them stopped at any time, ten redriven: see ISO-1, STOP-1 and
//! REDRIVE-1 of the simulation, here with threads, timers and a disk.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use starmap_asl::Timestamp;
use starmap_engine::journal::Status;
use starmap_engine::journal::sqlite::{self, SqliteJournal};
use starmap_engine::limits::Limits;
use starmap_engine::names::Naming;
use starmap_engine::services::NoServices;
use starmap_engine::{Engine, Parts, Start};

use crate::buckets::{Bucket, Function, machine};

const EXECUTIONS: u64 = 50;
const ITEMS: u64 = 6;

/// How often each item was answered well.
type Done = Arc<Mutex<BTreeMap<String, u32>>>;

fn engine(journal: SqliteJournal, done: &Done, is_repaired: &Arc<AtomicBool>) -> Engine {
    let (done, is_repaired) = (Arc::clone(done), Arc::clone(is_repaired));
    let answer = move |item: &Value| {
        // Until they are repaired, the last item of every fifth execution fails, and others are never answered.
        let is_repaired = is_repaired.load(Ordering::Relaxed);
        let (of, n) = (item["of"].as_u64().unwrap(), item["n"].as_u64().unwrap());
        match (of % 5, n + 1 == ITEMS) {
            (0, true) if !is_repaired => Some(Err("Poison")),
            (1, true) if !is_repaired => None,
            _ => {
                *done.lock().unwrap().entry(item.to_string()).or_default() += 1;
                Some(Ok(item.clone()))
            }
        }
    };
    let clock = AtomicI64::new(0);
    let engine = Engine::start(Parts {
        objects: Bucket::with(&[]),
        journal: Box::new(journal),
        invoker: Arc::new(Function(Box::new(answer))),
        services: Arc::new(NoServices),
        access: starmap_engine::access::everything(),
        clock: Arc::new(move || Timestamp(clock.fetch_add(1_000, Ordering::Relaxed))),
        runtime: tokio::runtime::Handle::current(),
        naming: Naming::default(),
        limits: Limits::default(),
    });
    engine.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_at_once_twenty_stopped_ten_redriven() {
    let folder = tempfile::tempdir().unwrap();
    let (done, is_repaired) = (Done::default(), Arc::new(AtomicBool::new(false)));
    let journal = SqliteJournal::open(&sqlite::path_in(folder.path())).unwrap();
    let engine = Arc::new(engine(journal, &done, &is_repaired));
    engine.create_state_machine("m", &machine(json!({ "MaxConcurrency": 1 }))).await.unwrap();
    let items = |of: u64| (0..ITEMS).map(|n| json!({ "of": of, "n": n })).collect::<Vec<_>>();
    let mut started = Vec::new();
    for of in 0..EXECUTIONS {
        let start = Start {
            state_machine: "m".to_owned(),
            name: format!("e{of}"),
            input: json!(items(of)),
            annotations: Value::Null,
        };
        started.push(engine.start_execution(start).await.unwrap());
    }
    // Those that hang (10) and ten others, wherever they are by now.
    let stopped: Vec<u64> = (0..EXECUTIONS).filter(|of| matches!(of % 5, 1 | 2)).collect();
    let stops = stopped.iter().map(|of| {
        let (engine, id) = (Arc::clone(&engine), started[*of as usize].id);
        tokio::spawn(async move { engine.stop_execution(id, None, None).await.unwrap() })
    });
    for stop in stops.collect::<Vec<_>>() {
        stop.await.unwrap();
    }
    let reader = engine.reader();
    for (of, one) in (0..).zip(&started) {
        let ending = engine.wait(one.id).await.unwrap();
        let expected: &[Status] = match of % 5 {
            0 => &[Status::Failed],
            1 => &[Status::Aborted],
            // It may have been over before.
            2 => &[Status::Aborted, Status::Succeeded],
            _ => &[Status::Succeeded],
        };
        assert!(expected.contains(&ending.status), "ISO-1: e{of} ended as {:?}", ending.status);
        for run in reader.map_runs(one.id).unwrap() {
            let children = reader.children(run.row).unwrap();
            assert!(children.iter().all(|child| child.status != Status::Running), "STOP-1: e{of}");
        }
    }

    is_repaired.store(true, Ordering::Relaxed);
    let redriven: Vec<_> = (0..EXECUTIONS).filter(|of| of % 5 == 0).collect();
    assert_eq!((stopped.len(), redriven.len()), (20, 10));
    for of in &redriven {
        engine.redrive_execution(&started[*of as usize].arn).await.unwrap();
    }
    for of in redriven {
        let ending = engine.wait(started[of as usize].id).await.unwrap();
        assert_eq!(ending.output, Some(json!(items(of))), "ISO-1: e{of}");
        for item in items(of) {
            assert_eq!(done.lock().unwrap()[&item.to_string()], 1, "REDRIVE-1: {item}");
        }
    }
    let is_once = done.lock().unwrap().values().all(|count| *count == 1);
    assert!(is_once, "MAP-1: every item is done at most once");
    engine.shutdown().await;
}
