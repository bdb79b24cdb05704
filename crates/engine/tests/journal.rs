//! Every journal passes the same suite.

use starmap_engine::journal::memory::MemoryJournal;
use starmap_engine::journal::sqlite::SqliteJournal;
use starmap_engine::journal::suite;
use starmap_engine::journal::{ExecutionFilter, Reader};

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
