//! Bringing journals of older versions up to date, in place and in one transaction.

use std::ops::Range;

use rusqlite::{Connection, params};

use super::sqlite;
use crate::names::Naming;
use crate::registry::tables;

/// The older schemas that can be brought up to date.
pub(crate) const KNOWN: Range<i32> = 1..3;

/// Brings a journal up to date, whichever known schema it has.
pub(crate) fn bring_up_to_date(connection: &Connection) -> rusqlite::Result<()> {
    if !KNOWN.contains(&version_of(connection)?) {
        return Ok(());
    }
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let migrated = migrate(connection);
    // An error leaves the file as it was.
    connection.execute_batch(if migrated.is_ok() { "COMMIT" } else { "ROLLBACK" })?;
    migrated
}

fn migrate(connection: &Connection) -> rusqlite::Result<()> {
    // Another process may have done it in the meantime.
    let mut version = version_of(connection)?;
    while KNOWN.contains(&version) {
        match version {
            1 => from_1(connection)?,
            _ => from_2(connection)?,
        }
        version += 1;
        connection.pragma_update(None, "user_version", version)?;
    }
    Ok(())
}

fn version_of(connection: &Connection) -> rusqlite::Result<i32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Schema 2 did not know which children a redriven map run has begun again, nor clients' tokens.
fn from_2(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch("ALTER TABLE executions ADD COLUMN run_redrives INTEGER NOT NULL DEFAULT 0;")?;
    connection.execute_batch(sqlite::REDRIVES_SCHEMA)
}

/// Schema 1 kept one definition per state machine, and executions referred to it by ARN.
fn from_1(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch("ALTER TABLE state_machines RENAME TO state_machines_1")?;
    connection.execute_batch(tables::SCHEMA)?;
    connection.execute(
        "INSERT INTO revisions (row, state_machine_arn, name, kind, id, definition, role_arn, settings, created_at) \
         SELECT rowid, arn, name, 'STANDARD', NULL, definition, ?1, '{}', created_at FROM state_machines_1",
        params![Naming::default().role()],
    )?;
    connection.execute_batch(
        "INSERT INTO state_machines (arn, name, kind, revision, last_version, created_at, updated_at) \
         SELECT arn, name, 'STANDARD', rowid, 0, created_at, created_at FROM state_machines_1; \
         ALTER TABLE executions ADD COLUMN revision INTEGER NOT NULL DEFAULT 0; \
         ALTER TABLE executions ADD COLUMN version_arn TEXT; \
         ALTER TABLE executions ADD COLUMN alias_arn TEXT; \
         ALTER TABLE executions ADD COLUMN kind TEXT NOT NULL DEFAULT 'STANDARD'; \
         ALTER TABLE executions ADD COLUMN trace_header TEXT; \
         ALTER TABLE executions ADD COLUMN redrive_count INTEGER NOT NULL DEFAULT 0; \
         ALTER TABLE executions ADD COLUMN redriven_at INTEGER; \
         DROP INDEX executions_by_name; \
         CREATE INDEX executions_by_machine ON executions (state_machine_arn, id) WHERE map_run IS NULL; \
         UPDATE executions SET revision = coalesce( \
           (SELECT rowid FROM state_machines_1 WHERE state_machines_1.arn = executions.state_machine_arn), 0); \
         DROP TABLE state_machines_1;",
    )?;
    connection.execute_batch("ALTER TABLE events RENAME TO events_1; ALTER TABLE history RENAME TO history_1")?;
    connection.execute_batch(sqlite::LOG_SCHEMA)?;
    connection.execute_batch(
        "INSERT INTO log (execution, chunk, sequence, event_count, events, first_id, last_id, history) \
         SELECT execution, 0, 0, event_count, events, coalesce(first_id, 0), coalesce(last_id, 0), coalesce(rows, '[]') \
         FROM (SELECT execution, count(*) AS event_count, \
                      json_group_array(json_array(at, json(event)) ORDER BY sequence) AS events \
               FROM events_1 GROUP BY execution) \
         LEFT JOIN (SELECT execution, min(id) AS first_id, max(id) AS last_id, \
                           json_group_array(json_array(id, previous_id, at, name, json(details)) ORDER BY id) AS rows \
                    FROM history_1 GROUP BY execution) USING (execution); \
         DROP TABLE events_1; DROP TABLE history_1;",
    )
}
