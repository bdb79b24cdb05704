//! Every journal passes the same suite.

use starmap_engine::journal::Journal;
use starmap_engine::journal::memory::MemoryJournal;
use starmap_engine::journal::sqlite::SqliteJournal;
use starmap_engine::journal::suite;

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
    assert_eq!(reader.executions(10).unwrap().len(), 1);
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

#[test]
fn a_reader_cannot_write() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");
    drop(SqliteJournal::open(&path).unwrap());
    let mut reader = SqliteJournal::open_reader(&path).unwrap();
    let write = starmap_engine::journal::Write::MapRunEnded {
        map_run: starmap_engine::journal::MapRunRow(1),
        at: starmap_asl::Timestamp(0),
        status: starmap_engine::journal::Status::Failed,
    };
    assert!(reader.append(&starmap_engine::journal::Batch { writes: vec![write] }).is_err());
}
