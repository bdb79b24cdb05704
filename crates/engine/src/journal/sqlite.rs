//! The journal as an SQLite file that people can open with the tools they know.
//!
//! WAL with `synchronous = FULL`: a committed batch survives a power cut. One transaction per batch is
//! the group commit: everything the driver took in during one turn shares one sync.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Row, named_params, params};
use serde_json::Value;
use starmap_asl::{Event, Timestamp};

use super::browse::{Course, FailureGroup, Listing, ListingPage};
use super::{
    Awaiting, Batch, ChildRecord, ChildState, Ending, Error, ExecutionFilter, ExecutionId, ExecutionRecord,
    ExecutionSummary, ExecutionsOf, HistoryRow, InvocationRow, ItemCounts, Journal, MapRunDetails, MapRunRecord,
    MapRunRow, Parent, Reader, Status, Write, codec, migrate,
};
use crate::registry::{MachineKind, Resources, Revision, RevisionRow, tables};

mod browse;

/// `PRAGMA application_id` of a journal: "star" in ASCII.
const APPLICATION_ID: i32 = 0x7374_6172;
/// `PRAGMA user_version`: raised whenever the schema changes, never reused.
const SCHEMA_VERSION: i32 = 3;
/// From this size on, what one batch adds to an execution goes on in the next row of the log.
const CHUNK_BYTES: usize = 128 * 1024;
/// Pages of the WAL from which on a commit also brings them into the file proper: 16 MiB. Pages that many executions
/// share are then written back once for many of them.
const WAL_PAGES: i32 = 4_096;
/// Statements that a connection keeps ready.
const STATEMENTS_MAX: usize = 64;
/// Connections that a reader keeps open for the next question.
const READERS_IDLE_MAX: usize = 16;

/// What changes while a map run runs. Beside the schema proper, because journals of its first version lack it.
const MAP_RUN_DETAILS: &str = "CREATE TABLE IF NOT EXISTS map_run_details (
  row     INTEGER PRIMARY KEY,
  details TEXT NOT NULL                 -- JSON
) STRICT;";

/// Events and history.
pub(super) const LOG_SCHEMA: &str = "
CREATE TABLE log (                      -- one row per execution and batch; see the views below
  execution   INTEGER NOT NULL,
  chunk       INTEGER NOT NULL,         -- from 0
  sequence    INTEGER NOT NULL,         -- of its first event
  event_count INTEGER NOT NULL,
  events      TEXT NOT NULL,            -- what happened, replayed after a crash: [[at, {...}], ...]
  first_id    INTEGER NOT NULL,         -- of the history; 0 if nothing was added to it
  last_id     INTEGER NOT NULL,
  history     TEXT NOT NULL,            -- what people see, follows from the events: [[id, previous_id, at, name, {...}], ...]
  PRIMARY KEY (execution, chunk)
) STRICT, WITHOUT ROWID;
CREATE VIEW events AS
  SELECT execution, sequence + key AS sequence, value ->> 0 AS at, value -> 1 AS event
  FROM log, json_each(events);
CREATE VIEW history AS
  SELECT execution, value ->> 0 AS id, value ->> 1 AS previous_id, value ->> 2 AS at, value ->> 3 AS name,
         value -> 4 AS details
  FROM log, json_each(history);
";
/// Redrives that were asked for with a client's token.
pub(super) const REDRIVES_SCHEMA: &str = "
CREATE TABLE redrives (
  execution    INTEGER NOT NULL,
  client_token TEXT NOT NULL,
  at           INTEGER NOT NULL,
  PRIMARY KEY (execution, client_token)
) STRICT, WITHOUT ROWID;
";
const SCHEMA: &str = "
CREATE TABLE executions (
  id                INTEGER PRIMARY KEY,
  arn               TEXT NOT NULL UNIQUE,
  name              TEXT NOT NULL,
  state_machine_arn TEXT NOT NULL,
  revision          INTEGER NOT NULL,   -- what the state machine was then
  version_arn       TEXT,               -- if it was started by one
  alias_arn         TEXT,               -- if it was started by one
  kind              TEXT NOT NULL,      -- STANDARD or EXPRESS
  trace_header      TEXT,
  processor         TEXT,               -- of a child: where its processor is in the definition
  map_run           INTEGER,            -- of a child
  item_index        INTEGER,            -- of a child, from 0
  input             TEXT NOT NULL,      -- JSON, as output and annotations
  annotations       TEXT NOT NULL,
  payload_bytes_max INTEGER,            -- NULL: no limit
  status            TEXT NOT NULL,
  output            TEXT,
  error             TEXT,
  cause             TEXT,
  started_at        INTEGER NOT NULL,
  stopped_at        INTEGER,
  redrive_count     INTEGER NOT NULL,
  redriven_at       INTEGER,
  run_redrives      INTEGER NOT NULL DEFAULT 0 -- of a child: how often its map run had been redriven when it began last
) STRICT;
CREATE INDEX executions_by_map_run ON executions (map_run, item_index) WHERE map_run IS NOT NULL;
CREATE INDEX executions_by_machine ON executions (state_machine_arn, id) WHERE map_run IS NULL;
CREATE TABLE map_runs (
  row        INTEGER PRIMARY KEY,
  arn        TEXT NOT NULL UNIQUE,
  execution  INTEGER NOT NULL,
  number     INTEGER NOT NULL,          -- which map run of that execution
  state      TEXT NOT NULL,
  item_count INTEGER NOT NULL,          -- known so far
  status     TEXT NOT NULL,
  started_at INTEGER NOT NULL,
  stopped_at INTEGER
) STRICT;
CREATE INDEX map_runs_by_execution ON map_runs (execution);
CREATE TABLE invocations (              -- finished attempts, with the figures of their REPORT lines
  execution           INTEGER NOT NULL,
  task                INTEGER NOT NULL,
  function            TEXT NOT NULL,
  request_id          TEXT NOT NULL,
  log_stream          TEXT NOT NULL,
  duration_ms         REAL NOT NULL,
  billed_ms           INTEGER NOT NULL,
  memory_mib          INTEGER NOT NULL,
  max_memory_used_mib INTEGER NOT NULL,
  init_ms             REAL,
  error               TEXT,
  at                  INTEGER NOT NULL
) STRICT;
CREATE INDEX invocations_by_execution ON invocations (execution);
";

/// See the [module](self). The one writer.
#[derive(Debug)]
pub struct SqliteJournal {
    connection: Connection,
    reader: Arc<SqliteReader>,
}

/// Reads a journal beside its writer: in WAL mode neither waits for the other.
///
/// Any number of threads may ask at once; each takes a connection of its own, and gives it back.
#[derive(Debug)]
pub struct SqliteReader {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl SqliteJournal {
    /// Opens the journal at `path` for writing; makes it if it is not there.
    ///
    /// # Errors
    /// [`Error::Open`] if the file is not a journal, or one of a newer version.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let connection = Connection::open(path).map_err(|source| open_error(path, &source.to_string()))?;
        prepare(&connection, path)?;
        let reader = SqliteReader { path: path.to_owned(), idle: Mutex::default() };
        Ok(Self { connection, reader: Arc::new(reader) })
    }

    /// Opens the journal at `path` for reading beside its writer.
    ///
    /// # Errors
    /// [`Error::Open`] if there is none.
    pub fn open_reader(path: &Path) -> Result<SqliteReader, Error> {
        let reader = SqliteReader { path: path.to_owned(), idle: Mutex::default() };
        let connection = reader.connect()?;
        check_version(&connection, path)?;
        reader.give_back(connection);
        Ok(reader)
    }
}

fn prepare(connection: &Connection, path: &Path) -> Result<(), Error> {
    let setup = |source: rusqlite::Error| open_error(path, &source.to_string());
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(setup)?;
    // A stranger's file is left as it is.
    if tables > 0 && !migrate::KNOWN.contains(&found_version(connection, path)?) {
        check_version(connection, path)?;
    }
    connection.pragma_update(None, "journal_mode", "WAL").map_err(setup)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(setup)?;
    connection.pragma_update(None, "busy_timeout", 5_000).map_err(setup)?;
    connection.pragma_update(None, "wal_autocheckpoint", WAL_PAGES).map_err(setup)?;
    keep_statements(connection).map_err(setup)?;
    if tables == 0 {
        let create = format!(
            "BEGIN IMMEDIATE; {SCHEMA} {LOG_SCHEMA} {REDRIVES_SCHEMA} {} PRAGMA application_id = {APPLICATION_ID}; \
             PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;",
            tables::SCHEMA
        );
        connection.execute_batch(&create).map_err(setup)?;
        // The file's own entry in its folder must survive a power cut too.
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            let synced = std::fs::File::open(folder).and_then(|folder| folder.sync_all());
            synced.map_err(|source| open_error(path, &source.to_string()))?;
        }
    } else {
        migrate::bring_up_to_date(connection).map_err(setup)?;
    }
    check_version(connection, path)?;
    // No question was ever answered by this index of older journals, and each execution had to be entered.
    connection.execute_batch("DROP INDEX IF EXISTS executions_by_name").map_err(setup)?;
    connection.execute_batch(MAP_RUN_DETAILS).map_err(setup)?;
    connection.execute_batch(tables::DELETING).map_err(setup)?;
    connection.execute_batch(browse::INDEXES).map_err(setup)
}

/// Statements are prepared once. Without the planner's stability guarantee SQLite prepares one anew whenever another
/// value is bound to its LIMIT, because the plan might be another: most of the time of reading a run of many children.
fn keep_statements(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

/// The schema version of a file that is a journal.
fn found_version(connection: &Connection, path: &Path) -> Result<i32, Error> {
    let pragma = |name: &str| -> Result<i32, Error> {
        connection
            .pragma_query_value(None, name, |row| row.get(0))
            .map_err(|source| open_error(path, &source.to_string()))
    };
    if pragma("application_id")? != APPLICATION_ID {
        return Err(open_error(path, "this SQLite file is not a Starmap journal"));
    }
    pragma("user_version")
}

fn check_version(connection: &Connection, path: &Path) -> Result<(), Error> {
    let version = found_version(connection, path)?;
    if version == SCHEMA_VERSION {
        return Ok(());
    }
    let hint = match version {
        version if migrate::KNOWN.contains(&version) => {
            "an older one, which is brought up to date when a run or a server opens it"
        }
        _ => "use the program that wrote it",
    };
    Err(open_error(path, &format!("schema version {version}, this program knows {SCHEMA_VERSION}; {hint}")))
}

impl Journal for SqliteJournal {
    fn append(&mut self, batch: &Batch) -> Result<(), Error> {
        let doing = sqlite("recording a step");
        let transaction = self.connection.transaction().map_err(&doing)?;
        record(&transaction, batch).map_err(&doing)?;
        transaction.commit().map_err(doing)
    }

    fn has_execution(&self, arn: &str) -> Result<bool, Error> {
        // By the writer's own connection: what it wrote is still in its cache, which a reader has to fill anew.
        let sql = "SELECT EXISTS (SELECT 1 FROM executions WHERE arn = ?1)";
        let found =
            self.connection.prepare_cached(sql).and_then(|mut statement| statement.query_row([arn], |row| row.get(0)));
        found.map_err(sqlite("looking for an execution"))
    }

    fn reader(&self) -> Arc<dyn Reader> {
        Arc::clone(&self.reader) as _
    }
}

impl Reader for SqliteReader {
    fn last_rows(&self) -> Result<(ExecutionId, MapRunRow), Error> {
        let max = |sql: &str| -> Result<u64, Error> {
            let found = self.select(sql, [], |row| row.get(0))?;
            Ok(found.first().copied().unwrap_or(0))
        };
        Ok((
            ExecutionId(max("SELECT coalesce(max(id), 0) FROM executions")?),
            MapRunRow(max("SELECT coalesce(max(row), 0) FROM map_runs")?),
        ))
    }

    fn resources(&self) -> Result<Resources, Error> {
        self.with_connection("reading the resources", tables::load)
    }

    fn revision(&self, row: RevisionRow) -> Result<Option<Revision>, Error> {
        self.with_connection("reading a revision", |connection| tables::revision(connection, row))
    }

    fn execution(&self, id: ExecutionId) -> Result<Option<ExecutionRecord>, Error> {
        let found = self.select_executions("WHERE id = ?1", params![id.0])?;
        Ok(found.into_iter().next())
    }

    fn find_execution(&self, arn_or_name: &str) -> Result<Option<ExecutionRecord>, Error> {
        let by_arn = self.select_executions("WHERE arn = ?1", params![arn_or_name])?;
        if let Some(record) = by_arn.into_iter().next() {
            return Ok(Some(record));
        }
        let mut named = self.select_executions("WHERE name = ?1 LIMIT 2", params![arn_or_name])?;
        Ok(if named.len() == 1 { named.pop() } else { None })
    }

    fn execution_by_arn(&self, arn: &str) -> Result<Option<ExecutionRecord>, Error> {
        Ok(self.select_executions("WHERE arn = ?1", params![arn])?.into_iter().next())
    }

    fn executions(
        &self,
        filter: &ExecutionFilter,
        before: Option<ExecutionId>,
        limit: usize,
    ) -> Result<Vec<ExecutionSummary>, Error> {
        let (of, value): (&str, &dyn rusqlite::ToSql) = match &filter.of {
            ExecutionsOf::Everyone => ("map_run IS NULL AND ?1 IS NULL", &rusqlite::types::Null),
            ExecutionsOf::StateMachine(arn) => ("map_run IS NULL AND state_machine_arn = ?1", arn),
            ExecutionsOf::Version(arn) => ("map_run IS NULL AND version_arn = ?1", arn),
            ExecutionsOf::Alias(arn) => ("map_run IS NULL AND alias_arn = ?1", arn),
            ExecutionsOf::MapRun(row) => ("map_run = ?1", &row.0),
        };
        let redriven = match filter.is_redriven {
            Some(true) => "AND redrive_count > 0",
            Some(false) => "AND redrive_count = 0",
            None => "",
        };
        // A number, so it may be written into the statement.
        let awaiting = filter.awaiting.map_or(String::new(), |Awaiting { redrive, is_awaiting }| {
            let not = if is_awaiting { "" } else { "NOT" };
            format!("AND {not} (status NOT IN ('RUNNING', 'SUCCEEDED') AND run_redrives < {redrive})")
        });
        let sql = format!(
            "SELECT {EXECUTION_SUMMARY} FROM executions \
             WHERE {of} AND id < ?2 AND (?3 IS NULL OR status = ?3) {redriven} {awaiting} ORDER BY id DESC LIMIT ?4"
        );
        let before = before.map_or(i64::MAX, |id| i64::try_from(id.0).unwrap_or(i64::MAX));
        let status = filter.status.map(Status::as_str);
        self.select(&sql, params![value, before, status, limit_of(limit)], execution_summary)
    }

    fn redriven_by(&self, execution: ExecutionId, client_token: &str) -> Result<Option<Timestamp>, Error> {
        let sql = "SELECT at FROM redrives WHERE execution = ?1 AND client_token = ?2";
        let found = self.select(sql, params![execution.0, client_token], |row| Ok(Timestamp(row.get(0)?)))?;
        Ok(found.into_iter().next())
    }

    fn events(&self, execution: ExecutionId) -> Result<Vec<(Timestamp, Event)>, Error> {
        let sql = "SELECT sequence, event_count, events FROM log WHERE execution = ?1 ORDER BY chunk";
        let chunks = self.select(sql, params![execution.0], |row| {
            Ok((row.get::<_, u64>(0)?, row.get::<_, u64>(1)?, row.get::<_, String>(2)?))
        })?;
        let mut events = Vec::new();
        for (sequence, count, text) in chunks {
            let damaged =
                |reason: String| Error::Damaged { what: format!("event {sequence} of execution {execution}"), reason };
            if sequence != events.len() as u64 {
                return Err(damaged(format!("event {} is missing before it", events.len())));
            }
            events.extend(codec::events_of_chunk(&text).map_err(damaged)?);
            if events.len() as u64 != sequence + count {
                return Err(damaged(format!("{count} events are expected from there on")));
            }
        }
        Ok(events)
    }

    fn history(&self, execution: ExecutionId, after: u64, limit: usize) -> Result<Vec<HistoryRow>, Error> {
        let sql = "SELECT chunk, history FROM log \
                   WHERE execution = ?1 AND last_id > ?2 AND chunk > ?3 ORDER BY chunk LIMIT 16";
        let mut found = Vec::new();
        let mut chunk = -1;
        while found.len() < limit {
            let page = self.select(sql, params![execution.0, bounded(after), chunk], history_chunk)?;
            let Some((last, _)) = page.last() else { break };
            chunk = *last;
            found.extend(page.into_iter().flat_map(|(_, rows)| rows).filter(|row| row.id > after));
        }
        found.truncate(limit);
        Ok(found)
    }

    fn history_backward(&self, execution: ExecutionId, before: u64, limit: usize) -> Result<Vec<HistoryRow>, Error> {
        let sql = "SELECT chunk, history FROM log \
                   WHERE execution = ?1 AND first_id > 0 AND first_id < ?2 AND chunk < ?3 ORDER BY chunk DESC LIMIT 16";
        let mut found = Vec::new();
        let mut chunk = i64::MAX;
        while found.len() < limit {
            let page = self.select(sql, params![execution.0, bounded(before), chunk], history_chunk)?;
            let Some((first, _)) = page.last() else { break };
            chunk = *first;
            found.extend(page.into_iter().flat_map(|(_, rows)| rows.into_iter().rev()).filter(|row| row.id < before));
        }
        found.truncate(limit);
        Ok(found)
    }

    fn map_run(&self, row: MapRunRow) -> Result<Option<MapRunRecord>, Error> {
        Ok(self.select_map_runs("WHERE row = ?1", params![row.0])?.into_iter().next())
    }

    fn map_run_by_arn(&self, arn: &str) -> Result<Option<MapRunRecord>, Error> {
        Ok(self.select_map_runs("WHERE arn = ?1", params![arn])?.into_iter().next())
    }

    fn map_runs_page(
        &self,
        execution: ExecutionId,
        after: Option<MapRunRow>,
        limit: usize,
    ) -> Result<Vec<MapRunRecord>, Error> {
        let after = bounded(after.map_or(0, |row| row.0));
        let filter = "WHERE execution = ?1 AND row > ?2 ORDER BY row LIMIT ?3";
        self.select_map_runs(filter, params![execution.0, after, limit_of(limit)])
    }

    fn item_counts(&self, map_run: MapRunRow) -> Result<ItemCounts, Error> {
        self.counts(map_run)
    }

    fn children(&self, map_run: MapRunRow) -> Result<Vec<ChildRecord>, Error> {
        let sql = "SELECT id, item_index, status, output, error, cause, started_at, stopped_at \
                   FROM executions WHERE map_run = ?1 ORDER BY item_index";
        self.select(sql, params![map_run.0], |row| {
            Ok(ChildRecord {
                id: ExecutionId(row.get(0)?),
                item_index: row.get(1)?,
                status: status(row, 2)?,
                output: optional_json(row, 3)?,
                error: row.get(4)?,
                cause: row.get(5)?,
                started_at: Timestamp(row.get(6)?),
                stopped_at: row.get::<_, Option<i64>>(7)?.map(Timestamp),
            })
        })
    }

    fn child_states(&self, map_run: MapRunRow, is_batched: bool) -> Result<Vec<ChildState>, Error> {
        let items = if is_batched { "coalesce(json_array_length(input, '$.Items'), 1)" } else { "1" };
        let sql = format!(
            "SELECT id, item_index, {items}, status, run_redrives FROM executions WHERE map_run = ?1 ORDER BY item_index"
        );
        self.select(&sql, params![map_run.0], |row| {
            Ok(ChildState {
                id: ExecutionId(row.get(0)?),
                item_index: row.get(1)?,
                items: row.get(2)?,
                status: status(row, 3)?,
                run_redrives: row.get(4)?,
            })
        })
    }

    fn children_page(
        &self,
        map_run: MapRunRow,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<ExecutionRecord>, Error> {
        let after = after.map_or(-1, |index| i64::try_from(index).unwrap_or(i64::MAX));
        let filter = "WHERE map_run = ?1 AND item_index > ?2 ORDER BY item_index LIMIT ?3";
        self.select_executions(filter, params![map_run.0, after, limit_of(limit)])
    }

    fn invocations(&self, execution: ExecutionId) -> Result<Vec<InvocationRow>, Error> {
        let sql = format!(
            "SELECT {INVOCATION} FROM invocations \
             WHERE execution = ?1 OR execution IN ( \
               SELECT child.id FROM executions child JOIN map_runs run ON child.map_run = run.row \
               WHERE run.execution = ?1) \
             ORDER BY rowid"
        );
        self.select(&sql, params![execution.0], invocation)
    }

    fn listing(&self, listing: &Listing) -> Result<ListingPage, Error> {
        self.browse(listing)
    }

    fn failures(&self, map_run: MapRunRow, limit: usize) -> Result<Vec<FailureGroup>, Error> {
        self.grouped_failures(map_run, limit)
    }

    fn course(&self, map_run: MapRunRow, from: Timestamp, width_ms: i64, count: usize) -> Result<Course, Error> {
        self.course_of(map_run, from, width_ms.max(1), count)
    }

    fn map_run_invocations(&self, map_run: MapRunRow, limit: usize) -> Result<Vec<InvocationRow>, Error> {
        self.last_invocations(map_run, limit)
    }

    fn log_position(&self, execution: ExecutionId) -> Result<u64, Error> {
        self.last_chunk(execution)
    }
}

impl SqliteReader {
    fn connect(&self) -> Result<Connection, Error> {
        // Not read-only: the first reader after a crash may have to make the WAL's index anew.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let failed = |source: rusqlite::Error| open_error(&self.path, &source.to_string());
        let connection = Connection::open_with_flags(&self.path, flags).map_err(failed)?;
        connection.pragma_update(None, "busy_timeout", 5_000).map_err(failed)?;
        connection.pragma_update(None, "query_only", true).map_err(failed)?;
        keep_statements(&connection).map_err(failed)?;
        Ok(connection)
    }

    fn give_back(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < READERS_IDLE_MAX {
            idle.push(connection);
        }
    }

    fn select<T>(
        &self,
        sql: &str,
        values: impl rusqlite::Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, Error> {
        self.with_connection("reading", |connection| {
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map(values, read)?;
            rows.collect()
        })
    }

    fn with_connection<T>(
        &self,
        doing: &'static str,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = idle.map_or_else(|| self.connect(), Ok)?;
        let found = read(&connection).map_err(sqlite(doing));
        self.give_back(connection);
        found
    }

    fn select_map_runs(&self, filter: &str, values: impl rusqlite::Params) -> Result<Vec<MapRunRecord>, Error> {
        let sql = format!(
            "SELECT row, arn, execution, number, state, status, started_at, stopped_at, details \
             FROM map_runs LEFT JOIN map_run_details USING (row) {filter}"
        );
        self.select(&sql, values, |row| {
            Ok(MapRunRecord {
                row: MapRunRow(row.get(0)?),
                arn: row.get(1)?,
                execution: ExecutionId(row.get(2)?),
                number: row.get(3)?,
                state: row.get(4)?,
                status: status(row, 5)?,
                started_at: Timestamp(row.get(6)?),
                stopped_at: row.get::<_, Option<i64>>(7)?.map(Timestamp),
                details: row.get::<_, Option<String>>(8)?.map_or_else(
                    || Ok(MapRunDetails::default()),
                    |text| codec::map_run_details_from_text(&text).map_err(|reason| conversion(8, reason)),
                )?,
            })
        })
    }

    fn select_executions(&self, filter: &str, values: impl rusqlite::Params) -> Result<Vec<ExecutionRecord>, Error> {
        let sql = format!(
            "SELECT id, arn, name, state_machine_arn, processor, map_run, item_index, input, annotations, status, \
                    output, error, cause, started_at, stopped_at, payload_bytes_max, revision, version_arn, alias_arn, \
                    kind, trace_header, redrive_count, redriven_at, run_redrives \
             FROM executions {filter}"
        );
        self.select(&sql, values, |row| {
            Ok(ExecutionRecord {
                id: ExecutionId(row.get(0)?),
                arn: row.get(1)?,
                name: row.get(2)?,
                state_machine_arn: row.get(3)?,
                revision: RevisionRow(row.get(16)?),
                version_arn: row.get(17)?,
                alias_arn: row.get(18)?,
                kind: kind(row, 19)?,
                trace_header: row.get(20)?,
                redrive_count: row.get(21)?,
                redriven_at: row.get::<_, Option<i64>>(22)?.map(Timestamp),
                processor: row.get(4)?,
                parent: parent(row, 5)?,
                run_redrives: row.get(23)?,
                input: json(row, 7)?,
                annotations: json(row, 8)?,
                payload_bytes_max: row.get(15)?,
                status: status(row, 9)?,
                output: optional_json(row, 10)?,
                error: row.get(11)?,
                cause: row.get(12)?,
                started_at: Timestamp(row.get(13)?),
                stopped_at: row.get::<_, Option<i64>>(14)?.map(Timestamp),
            })
        })
    }
}

/// The columns that [`execution_summary`] reads.
const EXECUTION_SUMMARY: &str = "id, arn, name, state_machine_arn, map_run, item_index, status, error, cause, started_at, stopped_at, \
                                 version_arn, alias_arn, redrive_count, redriven_at, run_redrives";

fn execution_summary(row: &Row<'_>) -> rusqlite::Result<ExecutionSummary> {
    Ok(ExecutionSummary {
        id: ExecutionId(row.get(0)?),
        arn: row.get(1)?,
        name: row.get(2)?,
        state_machine_arn: row.get(3)?,
        parent: parent(row, 4)?,
        status: status(row, 6)?,
        error: row.get(7)?,
        cause: row.get(8)?,
        started_at: Timestamp(row.get(9)?),
        stopped_at: row.get::<_, Option<i64>>(10)?.map(Timestamp),
        version_arn: row.get(11)?,
        alias_arn: row.get(12)?,
        redrive_count: row.get(13)?,
        redriven_at: row.get::<_, Option<i64>>(14)?.map(Timestamp),
        run_redrives: row.get(15)?,
    })
}

/// The columns that [`invocation`] reads.
const INVOCATION: &str = "execution, task, function, request_id, log_stream, duration_ms, billed_ms, memory_mib, \
                          max_memory_used_mib, init_ms, invocations.error, at";

fn invocation(row: &Row<'_>) -> rusqlite::Result<InvocationRow> {
    Ok(InvocationRow {
        execution: ExecutionId(row.get(0)?),
        task: row.get(1)?,
        function: row.get(2)?,
        request_id: row.get(3)?,
        log_stream: row.get(4)?,
        duration_ms: row.get(5)?,
        billed_ms: row.get(6)?,
        memory_mib: row.get(7)?,
        max_memory_used_mib: row.get(8)?,
        init_ms: row.get(9)?,
        error: row.get(10)?,
        at: Timestamp(row.get(11)?),
    })
}

/// Writes a batch: of each execution one row of events and history, and one with its end if it also began here.
fn record(connection: &Connection, batch: &Batch) -> rusqlite::Result<()> {
    let mut begun: HashMap<ExecutionId, Option<(Timestamp, &Ending)>> = HashMap::new();
    for write in &batch.writes {
        match write {
            Write::Execution(record) => drop(begun.insert(record.id, None)),
            Write::ExecutionEnded { execution, at, ending } => {
                if let Some(end) = begun.get_mut(execution) {
                    *end = Some((*at, ending));
                }
            }
            _ => {}
        }
    }
    let mut logs: HashMap<ExecutionId, Log> = HashMap::new();
    for write in &batch.writes {
        match write {
            Write::Execution(record) => insert_execution(connection, record, begun.get(&record.id).copied().flatten())?,
            Write::ExecutionEnded { execution, .. } if begun.contains_key(execution) => {}
            Write::Event { execution, sequence, at, event } => {
                let log = log_of(connection, &mut logs, &begun, *execution)?;
                let expected = log.chunk.sequence + log.chunk.event_count;
                if *sequence != expected {
                    let reason = format!("event {sequence} of execution {execution}, where {expected} is the next");
                    return Err(conversion(0, reason));
                }
                log.chunk.add_event(*at, event);
                log.flush_if_large(connection, *execution)?;
            }
            Write::History { execution, event } => {
                log_of(connection, &mut logs, &begun, *execution)?.chunk.add_history(event);
            }
            other => apply(connection, other)?,
        }
    }
    for (execution, mut log) in logs {
        log.flush(connection, execution)?;
    }
    Ok(())
}

/// The row of the log that an execution gets next.
struct Log {
    number: u64,
    chunk: codec::Chunk,
}

impl Log {
    fn flush_if_large(&mut self, connection: &Connection, execution: ExecutionId) -> rusqlite::Result<()> {
        if self.chunk.bytes() < CHUNK_BYTES { Ok(()) } else { self.flush(connection, execution) }
    }

    fn flush(&mut self, connection: &Connection, execution: ExecutionId) -> rusqlite::Result<()> {
        let next = self.chunk.sequence + self.chunk.event_count;
        if self.chunk.event_count == 0 && self.chunk.first_id == 0 {
            return Ok(());
        }
        let (events, history) = self.chunk.finish();
        let codec::Chunk { sequence, event_count, first_id, last_id, .. } = self.chunk;
        connection
            .prepare_cached(
                "INSERT INTO log (execution, chunk, sequence, event_count, events, first_id, last_id, history) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?
            .execute(params![execution.0, self.number, sequence, event_count, events, first_id, last_id, history])?;
        self.number += 1;
        self.chunk = codec::Chunk::new(next);
        Ok(())
    }
}

fn log_of<'a>(
    connection: &Connection,
    logs: &'a mut HashMap<ExecutionId, Log>,
    begun: &HashMap<ExecutionId, Option<(Timestamp, &Ending)>>,
    execution: ExecutionId,
) -> rusqlite::Result<&'a mut Log> {
    let vacant = match logs.entry(execution) {
        Entry::Occupied(there) => return Ok(there.into_mut()),
        Entry::Vacant(vacant) => vacant,
    };
    let sql = "SELECT chunk + 1, sequence + event_count FROM log WHERE execution = ?1 ORDER BY chunk DESC LIMIT 1";
    let last = match begun.contains_key(&execution) {
        true => None,
        false => {
            connection.prepare_cached(sql)?.query_row([execution.0], |row| Ok((row.get(0)?, row.get(1)?))).optional()?
        }
    };
    let (number, sequence) = last.unwrap_or((0, 0));
    Ok(vacant.insert(Log { number, chunk: codec::Chunk::new(sequence) }))
}

fn insert_execution(
    connection: &Connection,
    record: &ExecutionRecord,
    end: Option<(Timestamp, &Ending)>,
) -> rusqlite::Result<()> {
    let ending = end.map(|(_, ending)| ending);
    let status = ending.map_or(record.status, |ending| ending.status);
    let mut statement = connection.prepare_cached(
        "INSERT INTO executions (id, arn, name, state_machine_arn, revision, version_arn, alias_arn, kind, \
                                 trace_header, processor, map_run, item_index, input, annotations, \
                                 payload_bytes_max, started_at, redrive_count, status, output, error, cause, stopped_at, \
                                 run_redrives) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, \
                 ?23)",
    )?;
    let inserted = statement.execute(params![
        record.id.0,
        record.arn,
        record.name,
        record.state_machine_arn,
        record.revision.0,
        record.version_arn,
        record.alias_arn,
        record.kind.as_str(),
        record.trace_header,
        record.processor,
        record.parent.map(|parent| parent.map_run.0),
        record.parent.map(|parent| parent.item_index),
        record.input.to_string(),
        record.annotations.to_string(),
        record.payload_bytes_max,
        record.started_at.0,
        record.redrive_count,
        status.as_str(),
        ending.and_then(|ending| ending.output.as_ref()).map(Value::to_string),
        ending.and_then(|ending| ending.error.as_deref()),
        ending.and_then(|ending| ending.cause.as_deref()),
        end.map(|(at, _)| at.0),
        record.run_redrives,
    ]);
    inserted.map(drop)
}

fn apply(connection: &Connection, write: &Write) -> rusqlite::Result<()> {
    let run = |sql: &str, values: &[(&str, &dyn rusqlite::ToSql)]| -> rusqlite::Result<()> {
        connection.prepare_cached(sql)?.execute(values).map(drop)
    };
    match write {
        Write::Resource(change) => tables::apply(connection, change),
        Write::Execution(record) => insert_execution(connection, record, None),
        // These are collected: see `record`.
        Write::Event { .. } | Write::History { .. } => Ok(()),
        Write::ExecutionEnded { execution, at, ending } => run(
            "UPDATE executions SET status = :status, output = :output, error = :error, cause = :cause, \
                    stopped_at = :at WHERE id = :id",
            named_params! {
                ":id": execution.0, ":status": ending.status.as_str(), ":at": at.0, ":error": ending.error,
                ":output": ending.output.as_ref().map(Value::to_string), ":cause": ending.cause,
            },
        ),
        Write::ExecutionRedriven { execution, at, redrive_count, run_redrives, client_token } => {
            run(
                "UPDATE executions SET status = :status, output = NULL, error = NULL, cause = NULL, stopped_at = NULL, \
                        redrive_count = :redrive_count, redriven_at = :at, run_redrives = :run_redrives WHERE id = :id",
                named_params! {
                    ":id": execution.0, ":status": Status::Running.as_str(), ":at": at.0,
                    ":redrive_count": redrive_count, ":run_redrives": run_redrives,
                },
            )?;
            let Some(client_token) = client_token else { return Ok(()) };
            run(
                "INSERT OR REPLACE INTO redrives (execution, client_token, at) VALUES (:id, :token, :at)",
                named_params! { ":id": execution.0, ":token": client_token, ":at": at.0 },
            )
        }
        Write::MapRun(record) => {
            run(
                "INSERT INTO map_runs (row, arn, execution, number, state, item_count, status, started_at) \
                 VALUES (:row, :arn, :execution, :number, :state, :items, :status, :at)",
                named_params! {
                    ":row": record.row.0, ":arn": record.arn, ":execution": record.execution.0,
                    ":number": record.number, ":state": record.state,
                    ":items": record.details.counts.items.total(), ":status": record.status.as_str(),
                    ":at": record.started_at.0,
                },
            )?;
            run(
                "INSERT INTO map_run_details (row, details) VALUES (:row, :details)",
                named_params! { ":row": record.row.0, ":details": codec::map_run_details_to_text(&record.details) },
            )
        }
        Write::MapRunRedriven { map_run, details } => {
            run(
                "UPDATE map_runs SET status = :status, stopped_at = NULL WHERE row = :row",
                named_params! { ":row": map_run.0, ":status": Status::Running.as_str() },
            )?;
            run(
                "UPDATE map_run_details SET details = :details WHERE row = :row",
                named_params! { ":row": map_run.0, ":details": codec::map_run_details_to_text(details) },
            )
        }
        Write::MapRunChanged { map_run, status, stopped_at, details } => {
            if let Some(stopped_at) = stopped_at {
                run(
                    "UPDATE map_runs SET status = :status, stopped_at = :at, item_count = :items WHERE row = :row",
                    named_params! {
                        ":row": map_run.0, ":status": status.as_str(), ":at": stopped_at.0,
                        ":items": details.counts.items.total(),
                    },
                )?;
            }
            run(
                "INSERT INTO map_run_details (row, details) VALUES (:row, :details) \
                 ON CONFLICT (row) DO UPDATE SET details = :details",
                named_params! { ":row": map_run.0, ":details": codec::map_run_details_to_text(details) },
            )
        }
        Write::Invocation(row) => run(
            "INSERT INTO invocations (execution, task, function, request_id, log_stream, duration_ms, billed_ms, \
                                      memory_mib, max_memory_used_mib, init_ms, error, at) \
             VALUES (:execution, :task, :function, :request_id, :log_stream, :duration_ms, :billed_ms, :memory_mib, \
                     :max_memory_used_mib, :init_ms, :error, :at)",
            named_params! {
                ":execution": row.execution.0, ":task": row.task, ":function": row.function,
                ":request_id": row.request_id, ":log_stream": row.log_stream, ":duration_ms": row.duration_ms,
                ":billed_ms": row.billed_ms, ":memory_mib": row.memory_mib,
                ":max_memory_used_mib": row.max_memory_used_mib, ":init_ms": row.init_ms, ":error": row.error,
                ":at": row.at.0,
            },
        ),
    }
}

/// Where the journal of a data root is.
pub fn path_in(data_root: &Path) -> PathBuf {
    data_root.join("journal.sqlite")
}

fn open_error(path: &Path, reason: &str) -> Error {
    Error::Open { path: path.display().to_string(), reason: reason.to_owned() }
}

fn sqlite(doing: &'static str) -> impl Fn(rusqlite::Error) -> Error {
    move |source| match source.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Error::Full,
        _ => Error::Sqlite { doing, source },
    }
}

fn status(row: &Row<'_>, column: usize) -> rusqlite::Result<Status> {
    let text = row.get_ref(column)?.as_str()?;
    Status::parse(text).ok_or_else(|| conversion(column, format!("unknown status {text:?}")))
}

fn kind(row: &Row<'_>, column: usize) -> rusqlite::Result<MachineKind> {
    let text: String = row.get(column)?;
    MachineKind::parse(&text).ok_or_else(|| conversion(column, format!("unknown kind {text:?}")))
}

fn parent(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Parent>> {
    Ok(match (row.get::<_, Option<u64>>(column)?, row.get::<_, Option<u64>>(column + 1)?) {
        (Some(map_run), Some(item_index)) => Some(Parent { map_run: MapRunRow(map_run), item_index }),
        _ => None,
    })
}

fn history_chunk(row: &Row<'_>) -> rusqlite::Result<(i64, Vec<HistoryRow>)> {
    let text: String = row.get(1)?;
    Ok((row.get(0)?, codec::history_of_chunk(&text).map_err(|reason| conversion(1, reason))?))
}

/// SQLite's integers are signed.
fn bounded(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn limit_of(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn json(row: &Row<'_>, column: usize) -> rusqlite::Result<Value> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|error| conversion(column, error.to_string()))
}

fn optional_json(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Value>> {
    let text: Option<String> = row.get(column)?;
    text.map(|text| serde_json::from_str(&text).map_err(|error| conversion(column, error.to_string()))).transpose()
}

fn conversion(column: usize, reason: String) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, reason.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `tests/power_cut.rs` takes for granted: an acknowledged batch has been synced.
    #[test]
    fn a_commit_is_synced_before_it_is_acknowledged() {
        const FULL: i64 = 2;
        let folder = tempfile::tempdir().unwrap();
        // Both ways to prepare a file: a new one and one that is there.
        for _ in 0..2 {
            let journal = SqliteJournal::open(&folder.path().join("journal.sqlite")).unwrap();
            let pragma =
                |name| journal.connection.pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0));
            assert_eq!(pragma("synchronous").unwrap(), FULL.into());
            assert_eq!(pragma("journal_mode").unwrap(), "wal".to_owned().into());
        }
    }

    /// Else a page of each of 100,000 children costs the preparation of its statement.
    #[test]
    fn a_statement_is_prepared_once_whatever_its_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.sqlite");
        let journal = SqliteJournal::open(&path).unwrap();
        let sql = "SELECT row FROM map_runs WHERE execution = ?1 AND row > ?2 ORDER BY row LIMIT ?3";
        let mut statement = journal.connection.prepare(sql).unwrap();
        for limit in [1, 50, i64::MAX, 7] {
            assert!(statement.query(params![1, 0, limit]).unwrap().next().unwrap().is_none());
        }
        assert_eq!(statement.get_status(rusqlite::StatementStatus::RePrepare), 0);
    }
}
