//! Redrives of map runs: only what did not succeed is run again, in the same run.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use serde_json::{Value, json};
use starmap_engine::Engine;
use starmap_engine::journal::memory::MemoryJournal;
use starmap_engine::journal::{ExecutionId, MapRunRecord, Status};

use crate::buckets::{Bucket, engine, lines, machine, reader, run, start};

/// What the function does, changed while the test runs, and what it was asked.
#[derive(Clone, Default)]
struct Calls {
    asked: Arc<Mutex<Vec<Value>>>,
    is_repaired: Arc<AtomicBool>,
}

impl Calls {
    /// An answer that fails for the poisoned until they are repaired.
    fn answer(
        &self,
        is_poisoned: impl Fn(&Value) -> bool + Send + Sync + 'static,
    ) -> impl Fn(&Value) -> Option<Result<Value, &'static str>> + Send + Sync + 'static {
        let calls = self.clone();
        move |item| {
            calls.asked.lock().unwrap().push(item.clone());
            let is_bad = is_poisoned(item) && !calls.is_repaired.load(Ordering::Relaxed);
            Some(if is_bad { Err("Poison") } else { Ok(json!({ "did": item })) })
        }
    }

    fn repair(&self) {
        self.is_repaired.store(true, Ordering::Relaxed);
        self.asked.lock().unwrap().clear();
    }

    fn asked(&self) -> Vec<Value> {
        self.asked.lock().unwrap().clone()
    }
}

fn names(engine: &Engine, execution: ExecutionId) -> Vec<String> {
    engine.reader().history(execution, 0, usize::MAX).unwrap().into_iter().map(|row| row.name).collect()
}

fn only_run(engine: &Engine, execution: ExecutionId) -> MapRunRecord {
    let mut runs = engine.reader().map_runs(execution).unwrap();
    assert_eq!(runs.len(), 1, "a redrive starts no new map run");
    runs.remove(0)
}

async fn redrive(engine: &Engine, run: &MapRunRecord) -> starmap_engine::journal::Ending {
    let parent = engine.reader().execution(run.execution).unwrap().unwrap();
    engine.redrive_execution(&parent.arn).await.unwrap();
    engine.wait(parent.id).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_200_items_7_of_them_poisoned_only_7_are_run_again() {
    for kind in ["STANDARD", "EXPRESS"] {
        let calls = Calls::default();
        let poisoned = |item: &Value| item.as_u64().unwrap() % 30 == 19;
        let engine = engine(&MemoryJournal::default(), &Bucket::with(&[]), calls.answer(poisoned));
        let definition = machine(json!({ "ToleratedFailureCount": 6, "MaxConcurrency": 1 }));
        let items: Vec<u64> = (0..200).collect();
        let (ending, failed) = run(&engine, &definition.replace("STANDARD", kind), json!(items)).await;
        assert_eq!(ending.error.as_deref(), Some("States.ExceedToleratedFailureThreshold"));
        assert_eq!((calls.asked().len(), failed.details.counts.items.failed), (200, 7));
        let before = engine.reader().children_page(failed.row, None, usize::MAX).unwrap();

        calls.repair();
        let ending = redrive(&engine, &failed).await;
        let expected: Vec<Value> = items.iter().map(|item| json!({ "did": item })).collect();
        assert_eq!((ending.status, ending.output), (Status::Succeeded, Some(json!(expected))), "{:?}", ending.cause);
        let again: Vec<u64> = calls.asked().iter().filter_map(Value::as_u64).collect();
        assert_eq!(again, [19, 49, 79, 109, 139, 169, 199], "REDRIVE-1: what succeeded before is not run again");

        let done = only_run(&engine, failed.execution);
        assert_eq!((done.arn, done.status, done.details.redrive_count), (failed.arn, Status::Succeeded, 1));
        let counts = done.details.counts;
        assert_eq!((counts.items.succeeded, counts.items.total(), counts.children.total()), (200, 200, 200));
        let after = engine.reader().children_page(failed.row, None, usize::MAX).unwrap();
        let arns = |children: &[starmap_engine::journal::ExecutionRecord]| {
            children.iter().map(|child| child.arn.clone()).collect::<Vec<_>>()
        };
        assert_eq!(arns(&after), arns(&before), "children keep their ARNs");
        for child in after {
            let is_again = poisoned(&child.input);
            assert_eq!((child.redrive_count, child.run_redrives), (u32::from(is_again), u32::from(is_again)));
            let history = names(&engine, child.id);
            let count = |name: &str| history.iter().filter(|there| *there == name).count();
            match (is_again, kind) {
                (true, "STANDARD") => assert_eq!((count("ExecutionRedriven"), count("TaskStateEntered")), (1, 1)),
                (true, _) => assert_eq!((count("ExecutionStarted"), count("TaskStateEntered")), (2, 2)),
                (false, _) => assert_eq!((count("ExecutionStarted"), count("TaskStateEntered")), (1, 1)),
            }
        }
        let parent = names(&engine, failed.execution);
        let expected = [
            "MapRunStarted",
            "MapRunFailed",
            "MapStateFailed",
            "ExecutionFailed",
            "ExecutionRedriven",
            "MapRunRedriven",
            "MapRunSucceeded",
            "MapStateSucceeded",
            "MapStateExited",
            "ExecutionSucceeded",
        ];
        assert_eq!(parent[3..], expected);
        engine.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redriven_run_reads_on_and_writes_everything_anew() {
    let bucket = Bucket::with(&[("items.jsonl", lines(12))]);
    let calls = Calls::default();
    let engine = engine(&MemoryJournal::default(), &bucket, calls.answer(|batch| batch["Items"][0]["n"] == 4));
    let definition = machine(json!({
        "ItemReader": reader("items.jsonl", json!({ "InputType": "JSONL" })), "MaxConcurrency": 1,
        "ItemBatcher": { "MaxItemsPerBatch": 2 },
        "ResultWriter": { "Resource": "arn:aws:states:::s3:putObject", "Parameters": { "Bucket": "b" } },
    }));
    let (_, failed) = run(&engine, &definition, json!({})).await;
    let counts = failed.details.counts;
    assert_eq!((counts.items.succeeded, counts.items.failed, counts.items.pending), (4, 2, 6));
    let file = |kind: &str| format!("{}/{kind}_0.json", failed.arn.rsplit(':').next().unwrap());
    assert_eq!(bucket.json(&file("PENDING")).as_array().unwrap().len(), 3);

    calls.repair();
    let ending = redrive(&engine, &failed).await;
    assert_eq!(ending.status, Status::Succeeded, "{:?}", ending.cause);
    let firsts: BTreeSet<u64> = calls.asked().iter().filter_map(|batch| batch["Items"][0]["n"].as_u64()).collect();
    assert_eq!(firsts, BTreeSet::from([4, 6, 8, 10]), "REDRIVE-1: what succeeded before is not run again");
    assert_eq!(calls.asked().len(), 4, "each once");
    let done = only_run(&engine, failed.execution);
    assert_eq!(done.details.redrive_count, 1);
    let manifest = bucket.json(&format!("{}/manifest.json", failed.arn.rsplit(':').next().unwrap()));
    assert_eq!((&manifest["ResultFiles"]["FAILED"], &manifest["ResultFiles"]["PENDING"]), (&json!([]), &json!([])));
    let written = bucket.json(&file("SUCCEEDED"));
    let redrives: Vec<u64> =
        written.as_array().unwrap().iter().filter_map(|one| one["RedriveCount"].as_u64()).collect();
    assert_eq!(redrives, [0, 0, 1, 0, 0, 0], "all six children, in order");
    engine.shutdown().await;
}

/// What was not read comes from the same object, or the run fails once more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redriven_run_does_not_mix_objects() {
    let bucket = Bucket::with(&[("items.jsonl", lines(12))]);
    let calls = Calls::default();
    let engine = engine(&MemoryJournal::default(), &bucket, calls.answer(|item| item["n"] == 4));
    let definition = machine(json!({
        "ItemReader": reader("items.jsonl", json!({ "InputType": "JSONL" })), "MaxConcurrency": 1,
    }));
    let (_, failed) = run(&engine, &definition, json!({})).await;
    calls.repair();
    bucket.0.lock().unwrap().insert("items.jsonl".to_owned(), Bytes::from(lines(13)));
    let ending = redrive(&engine, &failed).await;
    assert_eq!(ending.error.as_deref(), Some("States.ItemReaderFailed"), "{:?}", ending.cause);
    bucket.0.lock().unwrap().insert("items.jsonl".to_owned(), Bytes::from(lines(12)));
    let ending = redrive(&engine, &failed).await;
    assert_eq!(ending.output.map(|output| output.as_array().unwrap().len()), Some(12), "{:?}", ending.cause);
    assert_eq!(only_run(&engine, failed.execution).details.redrive_count, 2);
    engine.shutdown().await;
}

/// Once every item has been started, the object is not needed any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn items_that_were_started_are_not_read_again() {
    let bucket = Bucket::with(&[("items.jsonl", lines(3))]);
    let calls = Calls::default();
    let engine = engine(&MemoryJournal::default(), &bucket, calls.answer(|item| item["n"] == 2));
    let definition = machine(json!({
        "ItemReader": reader("items.jsonl", json!({ "InputType": "JSONL" })), "MaxConcurrency": 1,
    }));
    let (ending, failed) = run(&engine, &definition, json!({})).await;
    assert_eq!(ending.status, Status::Failed);
    calls.repair();
    bucket.0.lock().unwrap().clear();
    let ending = redrive(&engine, &failed).await;
    assert_eq!(ending.status, Status::Succeeded, "{:?}", ending.cause);
    assert_eq!(calls.asked(), [json!({ "n": 2 })]);
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_run_writes_what_there_is_and_goes_on() {
    let bucket = Bucket::with(&[]);
    let answers = Arc::new(AtomicBool::new(false));
    let engine = {
        let answers = Arc::clone(&answers);
        engine(&MemoryJournal::default(), &bucket, move |item| {
            (item.as_u64().unwrap() < 2 || answers.load(Ordering::Relaxed)).then(|| Ok(item.clone()))
        })
    };
    let definition = machine(json!({
        "MaxConcurrency": 1,
        "ResultWriter": { "Resource": "arn:aws:states:::s3:putObject", "Parameters": { "Bucket": "b" } },
    }));
    engine.create_state_machine("m", &definition).await.unwrap();
    let started = engine.start_execution(start(json!([0, 1, 2, 3]))).await.unwrap();
    let run = loop {
        let run = only_run(&engine, started.id);
        if run.details.counts.items.succeeded == 2 {
            break run;
        }
        tokio::task::yield_now().await;
    };
    engine.stop_execution(started.id, None, None).await.unwrap();
    let folder = run.arn.rsplit(':').next().unwrap();
    let manifest = loop {
        if bucket.keys().contains(&format!("{folder}/manifest.json")) {
            break bucket.json(&format!("{folder}/manifest.json"));
        }
        tokio::task::yield_now().await;
    };
    for kind in ["SUCCEEDED", "FAILED", "PENDING"] {
        assert_eq!(manifest["ResultFiles"][kind].as_array().map(Vec::len), Some(1), "{kind}");
    }
    let aborted = bucket.json(&format!("{folder}/FAILED_0.json"));
    assert_eq!(aborted[0]["Status"], "ABORTED");
    let stopped = only_run(&engine, started.id);
    assert_eq!((stopped.status, stopped.details.counts.items.aborted), (Status::Aborted, 1));
    assert_eq!(stopped.details.counts.items.pending, 1);

    answers.store(true, Ordering::Relaxed);
    let ending = redrive(&engine, &run).await;
    assert_eq!(ending.status, Status::Succeeded, "{:?}", ending.cause);
    assert_eq!(bucket.json(&format!("{folder}/SUCCEEDED_0.json")).as_array().unwrap().len(), 4);
    engine.shutdown().await;
}

/// What the run as a whole could not cope with is not cured by its children.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_much_data_makes_a_new_run() {
    let is_short = Arc::new(AtomicBool::new(false));
    let engine = {
        let is_short = Arc::clone(&is_short);
        let text = move || "x".repeat(if is_short.load(Ordering::Relaxed) { 1 } else { 100_000 });
        engine(&MemoryJournal::default(), &Bucket::with(&[]), move |_| Some(Ok(json!(text()))))
    };
    let (ending, failed) = run(&engine, &machine(json!({})), json!([1, 2, 3])).await;
    assert_eq!(ending.error.as_deref(), Some("States.DataLimitExceeded"));
    is_short.store(true, Ordering::Relaxed);
    let ending = redrive(&engine, &failed).await;
    assert_eq!(ending.output, Some(json!(["x", "x", "x"])));
    assert_eq!(engine.reader().map_runs(failed.execution).unwrap().len(), 2);
    engine.shutdown().await;
}

/// A child that is redriven redrives the map run that it had itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn map_runs_in_map_runs_are_redriven_too() {
    let calls = Calls::default();
    let engine = engine(&MemoryJournal::default(), &Bucket::with(&[]), calls.answer(|item| item == 11));
    let inner: Value = serde_json::from_str(&machine(json!({ "MaxConcurrency": 1, "Label": "Inner" }))).unwrap();
    let mut outer: Value = serde_json::from_str(&machine(json!({ "MaxConcurrency": 1 }))).unwrap();
    let processor = &mut outer["States"]["Each"]["ItemProcessor"];
    (processor["StartAt"], processor["States"]) = (json!("Inside"), json!({ "Inside": inner["States"]["Each"] }));
    let items = json!([[0, 1], [10, 11, 12], [20]]);
    let (ending, failed) = run(&engine, &outer.to_string(), items.clone()).await;
    assert_eq!(ending.status, Status::Failed);
    assert_eq!(calls.asked(), [0, 1, 10, 11]);
    calls.repair();
    let ending = redrive(&engine, &failed).await;
    assert_eq!(ending.status, Status::Succeeded, "{:?}", ending.cause);
    assert_eq!(calls.asked(), [11, 12, 20], "REDRIVE-1: what succeeded before is not run again");
    assert_eq!(ending.output.unwrap()[1][0], json!({ "did": 10 }));
    let children = engine.reader().children_page(failed.row, None, 10).unwrap();
    assert_eq!(only_run(&engine, children[1].id).details.redrive_count, 1);
    engine.shutdown().await;
}
