//! Power cuts: what was acknowledged is there, what was not is there as a whole or not at all.
//!
//! After a cut a file has what was synced; of what was written since, any sectors may have reached the disk and others
//! not. So the journal's files are kept as they were at every acknowledgement, and opened with every kind of torn end
//! that the next batch could have left behind.

use std::path::Path;

use serde_json::json;
use starmap_asl::Timestamp;
use starmap_engine::journal::sqlite::SqliteJournal;
use starmap_engine::journal::{Batch, ExecutionFilter, ExecutionId, ExecutionRecord, Journal, Status, Write};
use starmap_engine::registry::{MachineKind, RevisionRow};

/// Executions that one batch begins.
const EACH: u64 = 3;
const BATCHES: u64 = 25;
const SECTOR: usize = 512;

/// The n-th batch, of one page or many.
fn batch(n: u64) -> Batch {
    let execution = |id: u64| ExecutionRecord {
        id: ExecutionId(id),
        arn: format!("arn:{id}"),
        name: id.to_string(),
        state_machine_arn: "arn:machine".to_owned(),
        revision: RevisionRow(1),
        version_arn: None,
        alias_arn: None,
        kind: MachineKind::Standard,
        trace_header: None,
        processor: None,
        parent: None,
        input: json!("x".repeat((n * 977 % 9000) as usize)),
        annotations: json!(null),
        payload_bytes_max: None,
        status: Status::Running,
        output: None,
        error: None,
        cause: None,
        started_at: Timestamp(id as i64),
        stopped_at: None,
        redrive_count: 0,
        redriven_at: None,
        run_redrives: 0,
    };
    let mut batch = Batch::default();
    let ids = (n * EACH + 1)..=(n + 1) * EACH;
    batch.writes.extend(ids.map(|id| Write::Execution(Box::new(execution(id)))));
    batch
}

/// The database and its log, as they are on the disk.
#[derive(Clone)]
struct Files {
    database: Vec<u8>,
    log: Vec<u8>,
}

fn wal(path: &Path) -> std::path::PathBuf {
    path.with_extension("sqlite-wal")
}

impl Files {
    fn read(path: &Path) -> Self {
        Self { database: std::fs::read(path).unwrap(), log: std::fs::read(wal(path)).unwrap() }
    }

    /// Opens a copy; says how many executions are in it after checking that each is there, and goes on with a batch.
    fn open(&self) -> u64 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.sqlite");
        std::fs::write(&path, &self.database).unwrap();
        std::fs::write(wal(&path), &self.log).unwrap();
        let mut journal = SqliteJournal::open(&path).unwrap();
        let found = executions(&journal);
        journal.append(&batch(1_000)).unwrap();
        drop(journal);
        assert_eq!(executions(&SqliteJournal::open(&path).unwrap()), found + EACH, "what comes after a cut is kept");
        found
    }
}

fn executions(journal: &SqliteJournal) -> u64 {
    journal.reader().executions(&ExecutionFilter::everyone(), None, 10_000).unwrap().len() as u64
}

#[test]
fn what_was_acknowledged_survives_whatever_of_the_next_batch_reached_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");
    let mut journal = SqliteJournal::open(&path).unwrap();
    let mut synced = Files::read(&path);
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let mut below = |limit: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % limit.max(1)
    };
    let mut cuts = 0;
    for n in 0..BATCHES {
        journal.append(&batch(n)).unwrap();
        let next = Files::read(&path);
        assert!(next.log.len() > synced.log.len(), "no checkpoint comes in between");
        assert_eq!(next.log[..synced.log.len()], synced.log, "what was synced is not written again");
        assert_eq!(next.open(), (n + 1) * EACH);

        let torn = next.log.len() - synced.log.len();
        for kind in 0..8 {
            let mut files = synced.clone();
            files.log = next.log.clone();
            match kind {
                // Nothing of it, all but a byte, or some.
                0 => files.log.truncate(synced.log.len()),
                1 => files.log.truncate(next.log.len() - 1),
                2..=4 => files.log.truncate(synced.log.len() + below(torn)),
                // As long as it should be, but sectors are missing, the last one among them or not.
                _ => {
                    let lost = synced.log.len() + below(torn);
                    let end = (lost + SECTOR).min(files.log.len());
                    if files.log[lost..end].iter().all(|byte| *byte == 0) {
                        continue;
                    }
                    files.log[lost..end].fill(0);
                }
            }
            let found = files.open();
            assert_eq!(found, n * EACH, "batch {n}, kind {kind}: acknowledged were {}", n * EACH);
            cuts += 1;
        }
        synced = next;
    }
    println!("{cuts} power cuts in {BATCHES} batches");
}
