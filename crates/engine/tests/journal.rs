//! Every journal passes the same suite.

use serde_json::{Value, json};
use starmap_asl::Timestamp;
use starmap_engine::journal::browse::{FAILURES, Listing, Order};
use starmap_engine::journal::condition::Condition;
use starmap_engine::journal::memory::MemoryJournal;
use starmap_engine::journal::sqlite::SqliteJournal;
use starmap_engine::journal::suite;
use starmap_engine::journal::{
    Batch, Ending, ExecutionFilter, ExecutionId, ExecutionRecord, ExecutionsOf, InvocationRow, Journal, MapRunDetails,
    MapRunRecord, MapRunRow, Parent, Reader, Status, Write,
};
use starmap_engine::registry::{MachineKind, RevisionRow};

#[test]
fn memory() {
    let journal = MemoryJournal::default();
    suite::run(|| Box::new(journal.clone()));
}

#[test]
fn sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");
    suite::run(|| Box::new(SqliteJournal::open(&path).unwrap()));
    let reader = SqliteJournal::open_reader(&path).unwrap();
    assert_eq!(reader.executions(&ExecutionFilter::everyone(), None, 10).unwrap().len(), 1);
}

#[test]
fn a_file_that_is_no_journal_is_refused_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");
    std::fs::write(&path, "these are not the bytes of a database, not at all").unwrap();
    let refused = SqliteJournal::open(&path).unwrap_err().to_string();
    assert!(refused.contains("journal.sqlite: file is not a database"), "{refused}");

    let other = folder.path().join("other.sqlite");
    rusqlite::Connection::open(&other).unwrap().execute_batch("CREATE TABLE mine (a);").unwrap();
    let refused = SqliteJournal::open(&other).unwrap_err().to_string();
    assert!(refused.contains("this SQLite file is not a Starmap journal"), "{refused}");
    assert!(SqliteJournal::open_reader(&folder.path().join("none.sqlite")).is_err());
}

/// An execution with its end, and 40 children of a map run of its, some of which failed, ran out of time or run.
fn browsable() -> Batch {
    let execution = |id: u64, parent: Option<Parent>| ExecutionRecord {
        id: ExecutionId(id),
        arn: format!("arn:{id}"),
        name: format!("{}-{}", if id.is_multiple_of(2) { "Even" } else { "odd" }, id % 7),
        state_machine_arn: format!("arn:machine-{}", id % 2),
        revision: RevisionRow(1),
        version_arn: [None, Some(12), Some(9)][id as usize % 3]
            .map(|number| format!("arn:machine-{}:{number}", id % 2)),
        alias_arn: matches!(id % 5, 1 | 4).then(|| format!("arn:machine-{}:prod", id % 2)),
        kind: MachineKind::Standard,
        trace_header: None,
        processor: None,
        parent,
        input: json!({ "n": id % 5, "place": if id.is_multiple_of(2) { "East" } else { "west" } }),
        annotations: Value::Null,
        payload_bytes_max: None,
        status: Status::Running,
        output: None,
        error: None,
        cause: None,
        started_at: Timestamp(1_000 + 10 * id as i64),
        stopped_at: None,
        redrive_count: id as u32 % 3,
        redriven_at: None,
        run_redrives: 0,
    };
    let mut writes = Vec::new();
    for id in 1..=50 {
        let is_child = id > 10;
        let parent = is_child.then(|| Parent { map_run: MapRunRow(1), item_index: id - 11 });
        writes.push(Write::Execution(Box::new(execution(id, parent))));
        let (status, error) = match id % 5 {
            0 => (Status::Failed, Some(format!("Error{}", id % 3))),
            1 => (Status::TimedOut, None),
            2 => (Status::Running, None),
            _ => (Status::Succeeded, None),
        };
        if status != Status::Running {
            let at = Timestamp(1_000 + 10 * id as i64 + (id as i64 * 37) % 400);
            let ending = Ending { status, output: None, cause: error.as_ref().map(|_| "because".to_owned()), error };
            writes.push(Write::ExecutionEnded { execution: ExecutionId(id), at, ending });
        }
        writes.push(Write::Invocation(Box::new(InvocationRow {
            execution: ExecutionId(id),
            task: 1,
            function: "f".to_owned(),
            request_id: format!("r{id}"),
            log_stream: "s".to_owned(),
            duration_ms: 1.0,
            billed_ms: 1,
            memory_mib: 128,
            max_memory_used_mib: 64,
            init_ms: None,
            error: None,
            at: Timestamp(2_000),
        })));
    }
    writes.push(Write::MapRun(Box::new(MapRunRecord {
        row: MapRunRow(1),
        arn: "arn:run".to_owned(),
        execution: ExecutionId(3),
        number: 0,
        state: "Map".to_owned(),
        status: Status::Running,
        started_at: Timestamp(1_000),
        stopped_at: None,
        details: MapRunDetails::default(),
    })));
    Batch { writes }
}

/// The indexed answers are those of the plain ones.
#[test]
fn looking_around_by_index_finds_what_reading_everything_does() {
    let folder = tempfile::tempdir().unwrap();
    let mut sqlite = SqliteJournal::open(&folder.path().join("journal.sqlite")).unwrap();
    let mut memory = MemoryJournal::default();
    sqlite.append(&browsable()).unwrap();
    memory.append(&browsable()).unwrap();
    let (sqlite, memory) = (sqlite.reader(), memory.reader());

    let machine = ExecutionsOf::StateMachine("arn:machine-1".to_owned());
    let mut seen = 0;
    for of in [ExecutionsOf::Everyone, machine, ExecutionsOf::MapRun(MapRunRow(1))] {
        for order in [
            Order::Started,
            Order::Stopped,
            Order::Duration,
            Order::Name,
            Order::Status,
            Order::Version,
            Order::Alias,
            Order::Redrives,
        ] {
            for statuses in [
                vec![],
                FAILURES.to_vec(),
                vec![Status::TimedOut],
                vec![Status::Succeeded],
                vec![Status::Running, Status::Failed],
            ] {
                for (name_has, is_descending, offset) in [(None, true, 0), (Some("EVEN"), false, 1), (None, false, 9)] {
                    let listing = Listing {
                        name_has: name_has.map(str::to_owned),
                        statuses: statuses.clone(),
                        started_from: Some(Timestamp(1_020)),
                        started_before: Some(Timestamp(1_450)),
                        order,
                        is_descending,
                        offset,
                        ..Listing::new(of.clone(), 20)
                    };
                    let found = sqlite.listing(&listing).unwrap();
                    assert_eq!(found, memory.listing(&listing).unwrap(), "{listing:?}");
                    seen += found.rows.len();
                }
            }
        }
    }
    assert!(seen > 500, "the question finds something: {seen}");

    // By what went in, and by what they were started by.
    for (input, version, expected) in [
        ("$.n = 4", None, 2_u64),
        ("$.n >= 2 and $.place ~ EAST", None, 3),
        ("west", None, 5),
        ("$.n = 4", Some("prod"), 2),
        ("", Some("prod"), 4),
        ("", Some("12"), 4),
        ("", Some("2"), 0),
        ("$.nothing", None, 0),
    ] {
        let listing = Listing {
            input: Condition::parse_all(input).unwrap(),
            version: version.map(str::to_owned),
            order: Order::Version,
            offset: 1,
            ..Listing::new(ExecutionsOf::Everyone, 3)
        };
        let found = sqlite.listing(&listing).unwrap();
        assert_eq!(found, memory.listing(&listing).unwrap(), "{input} {version:?}");
        assert_eq!(
            (found.total, found.rows.len()),
            (expected, expected.clamp(1, 4) as usize - 1),
            "{input} {version:?}"
        );
    }

    let groups = sqlite.failures(MapRunRow(1), 10).unwrap();
    assert_eq!(groups, memory.failures(MapRunRow(1), 10).unwrap());
    assert_eq!((groups[0].status, groups[0].count, groups[0].first_item), (Status::TimedOut, 8, 0));
    assert_eq!(groups.len(), 4, "three errors and what ran out of time");
    let shape = |reader: &dyn Reader| reader.course(MapRunRow(1), Timestamp(1_000), 100, 12).unwrap();
    assert_eq!(shape(&*sqlite), shape(&*memory));
    assert_eq!(shape(&*sqlite).stretches.iter().map(|stretch| stretch.started).sum::<u64>(), 40);
    assert_eq!(shape(&*sqlite).counts, sqlite.item_counts(MapRunRow(1)).unwrap());
    let last = |reader: &dyn Reader| reader.map_run_invocations(MapRunRow(1), 3).unwrap();
    assert_eq!(last(&*sqlite), last(&*memory));
    assert_eq!(last(&*sqlite)[2].request_id, "r50");
    assert_eq!(sqlite.log_position(ExecutionId(1)).unwrap(), 0);
}
