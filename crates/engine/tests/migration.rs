//! Journals of released versions are brought up to date, and what was interrupted goes on.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use serde_json::json;
use starmap_asl::Timestamp;
use starmap_engine::invoker::{Invocation, Invoker, Invoking, Outcome};
use starmap_engine::journal::sqlite::SqliteJournal;
use starmap_engine::journal::{ExecutionFilter, Journal, Status};
use starmap_engine::limits::Limits;
use starmap_engine::names::Naming;
use starmap_engine::objects::NoObjects;
use starmap_engine::services::NoServices;
use starmap_engine::{Engine, Parts};

const SCHEMA_1: &str = include_str!("histories/schema-1.sql");
const SCHEMA_2: &str = include_str!("histories/schema-2.sql");
const SKY: &str = "arn:aws:states:us-east-1:000000000000:stateMachine:sky";

/// Answers with what it is asked.
struct Echo;

impl Invoker for Echo {
    fn invoke(self: Arc<Self>, invocation: Invocation) -> Invoking {
        Box::pin(async move { Outcome { result: Ok(invocation.payload), report: None } })
    }
}

fn engine(path: &Path, now_ms: i64) -> Engine {
    // Every look moves time on by a second, so that timers fire without anyone waiting.
    let clock = AtomicI64::new(now_ms);
    let engine = Engine::start(Parts {
        journal: Box::new(SqliteJournal::open(path).unwrap()),
        invoker: Arc::new(Echo),
        objects: Arc::new(NoObjects),
        services: Arc::new(NoServices),
        access: starmap_engine::access::everything(),
        clock: Arc::new(move || Timestamp(clock.fetch_add(1_000, Ordering::Relaxed))),
        runtime: tokio::runtime::Handle::current(),
        naming: Naming::default(),
        limits: Limits::default(),
    });
    engine.unwrap()
}

#[tokio::test]
async fn schema_1() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");
    rusqlite::Connection::open(&path).unwrap().execute_batch(SCHEMA_1).unwrap();
    // Reading changes nothing, and says what would.
    let refused = SqliteJournal::open_reader(&path).unwrap_err().to_string();
    assert!(refused.contains("schema version 1") && refused.contains("brought up to date"), "{refused}");

    // Once brought up to date, it is as if it had always been so.
    for _ in 0..2 {
        let reader = SqliteJournal::open(&path).unwrap().reader();
        let resources = reader.resources().unwrap();
        let sky = resources.state_machine(SKY).unwrap();
        assert_eq!((sky.name.as_str(), sky.created_at), ("sky", Timestamp(1_700_000_000_000)));
        assert!(resources.revision(sky.revision).unwrap().machine().is_ok());
        assert_eq!(resources.state_machines().count(), 2);
        assert_eq!(reader.executions(&ExecutionFilter::everyone(), None, 10).unwrap().len(), 2);
        let done = reader.find_execution("done").unwrap().unwrap();
        assert_eq!((done.status, done.output), (Status::Succeeded, Some(json!({ "z": 1 }))));
    }

    let engine = engine(&path, 1_700_000_100_000);
    let resumed = engine.resume("interrupted").await.unwrap();
    let ending = engine.wait(resumed.id).await.unwrap();
    assert_eq!((ending.status, ending.output), (Status::Succeeded, Some(json!({ "z": 2 }))));
    let history = engine.reader().history(resumed.id, 0, 100).unwrap();
    let names: Vec<&str> = history.iter().map(|row| row.name.as_str()).collect();
    let expected = [
        "ExecutionStarted",
        "WaitStateEntered",
        "WaitStateExited",
        "PassStateEntered",
        "PassStateExited",
        "ExecutionSucceeded",
    ];
    assert_eq!(names, expected);
    // A state machine of the old journal is a state machine.
    let definition = engine.resources(|resources| {
        let revision = resources.state_machine(SKY).map(|sky| sky.revision)?;
        Some(resources.revision(revision)?.definition.clone())
    });
    assert_eq!(engine.create_state_machine("sky", &definition.unwrap()).await.unwrap(), SKY);
    engine.shutdown().await;
}

#[tokio::test]
async fn schema_2() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");
    rusqlite::Connection::open(&path).unwrap().execute_batch(SCHEMA_2).unwrap();
    let refused = SqliteJournal::open_reader(&path).unwrap_err().to_string();
    assert!(refused.contains("schema version 2") && refused.contains("brought up to date"), "{refused}");
    let engine = engine(&path, 1_795_791_000_000);
    let reader = engine.reader();
    let resumed = engine.resume("interrupted").await.unwrap();
    assert_eq!(engine.wait(resumed.id).await.unwrap().output, Some(json!({ "z": 2 })));

    // One of three items had failed; its function is there now.
    let failed = reader.find_execution("failed").unwrap().unwrap();
    engine.redrive_execution(&failed.arn).await.unwrap();
    let ending = engine.wait(failed.id).await.unwrap();
    assert_eq!(ending.output, Some(json!([{ "n": 0 }, { "n": 1 }, { "n": 2 }])), "{:?}", ending.cause);
    let runs = reader.map_runs(failed.id).unwrap();
    assert_eq!((runs.len(), runs[0].details.redrive_count), (1, 1));
    let again = reader.children_page(runs[0].row, None, 10).unwrap();
    assert_eq!(again.iter().map(|child| child.redrive_count).collect::<Vec<_>>(), [0, 1, 0]);
    engine.shutdown().await;
}
