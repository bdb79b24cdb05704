//! The resources' tables in the journal's SQLite file.

use std::sync::Arc;

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, named_params, params};
use serde_json::Value;
use starmap_asl::Timestamp;

use super::{
    ActivityRecord, AliasRecord, Change, MachineKind, Resources, Revision, RevisionRow, Route, StateMachineRecord, Tag,
    VersionRecord,
};

/// The tables; times are milliseconds since the Unix epoch.
pub(crate) const SCHEMA: &str = "
CREATE TABLE state_machines (
  arn          TEXT PRIMARY KEY,
  name         TEXT NOT NULL UNIQUE,
  kind         TEXT NOT NULL,           -- STANDARD or EXPRESS
  revision     INTEGER NOT NULL,        -- what executions that start now run
  last_version INTEGER NOT NULL,
  created_at   INTEGER NOT NULL,
  updated_at   INTEGER NOT NULL
) STRICT;
CREATE TABLE revisions (                -- never changed, never removed: executions refer to them
  row               INTEGER PRIMARY KEY,
  state_machine_arn TEXT NOT NULL,
  name              TEXT NOT NULL,
  kind              TEXT NOT NULL,
  id                TEXT,               -- NULL: the first one
  definition        TEXT NOT NULL,
  role_arn          TEXT NOT NULL,
  settings          TEXT NOT NULL,      -- JSON
  created_at        INTEGER NOT NULL
) STRICT;
CREATE TABLE versions (
  arn               TEXT PRIMARY KEY,
  state_machine_arn TEXT NOT NULL,
  number            INTEGER NOT NULL,
  revision          INTEGER NOT NULL,
  description       TEXT,
  created_at        INTEGER NOT NULL
) STRICT;
CREATE TABLE aliases (
  arn               TEXT PRIMARY KEY,
  name              TEXT NOT NULL,
  state_machine_arn TEXT NOT NULL,
  description       TEXT,
  routes            TEXT NOT NULL,      -- JSON: [[version ARN, weight], …]
  created_at        INTEGER NOT NULL,
  updated_at        INTEGER NOT NULL
) STRICT;
CREATE TABLE activities (
  arn        TEXT PRIMARY KEY,
  name       TEXT NOT NULL UNIQUE,
  settings   TEXT NOT NULL,             -- JSON
  created_at INTEGER NOT NULL
) STRICT;
CREATE TABLE tags (
  arn      TEXT NOT NULL,
  position INTEGER NOT NULL,
  key      TEXT NOT NULL,
  value    TEXT NOT NULL,
  PRIMARY KEY (arn, key)
) STRICT, WITHOUT ROWID;
";

/// State machines that are to go once nothing of them runs. Beside the schema proper, because earlier journals lack it.
pub(crate) const DELETING: &str =
    "CREATE TABLE IF NOT EXISTS deleting_state_machines (arn TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;";

/// Carries out a change inside the caller's transaction.
pub(crate) fn apply(connection: &Connection, change: &Change) -> rusqlite::Result<()> {
    let run = |sql: &str, values: &[(&str, &dyn rusqlite::ToSql)]| -> rusqlite::Result<()> {
        connection.prepare_cached(sql)?.execute(values).map(drop)
    };
    match change {
        Change::StateMachine(record) => run(
            "INSERT OR REPLACE INTO state_machines (arn, name, kind, revision, last_version, created_at, updated_at) \
             VALUES (:arn, :name, :kind, :revision, :last_version, :created_at, :updated_at)",
            named_params! {
                ":arn": record.arn, ":name": record.name, ":kind": record.kind.as_str(),
                ":revision": record.revision.0, ":last_version": record.last_version,
                ":created_at": record.created_at.0, ":updated_at": record.updated_at.0,
            },
        ),
        Change::StateMachineDeleting { arn } => {
            run("INSERT OR IGNORE INTO deleting_state_machines (arn) VALUES (:arn)", named_params! { ":arn": arn })
        }
        Change::StateMachineDeleted { arn } => {
            run("DELETE FROM deleting_state_machines WHERE arn = :arn", named_params! { ":arn": arn })?;
            run("DELETE FROM tags WHERE arn = :arn", named_params! { ":arn": arn })?;
            run("DELETE FROM versions WHERE state_machine_arn = :arn", named_params! { ":arn": arn })?;
            run("DELETE FROM aliases WHERE state_machine_arn = :arn", named_params! { ":arn": arn })?;
            run("DELETE FROM state_machines WHERE arn = :arn", named_params! { ":arn": arn })
        }
        Change::Revision(revision) => run(
            "INSERT OR REPLACE INTO revisions (row, state_machine_arn, name, kind, id, definition, role_arn, settings, \
                                               created_at) \
             VALUES (:row, :arn, :name, :kind, :id, :definition, :role_arn, :settings, :created_at)",
            named_params! {
                ":row": revision.row.0, ":arn": revision.state_machine_arn, ":name": revision.state_machine_name,
                ":kind": revision.kind.as_str(), ":id": revision.id, ":definition": revision.definition,
                ":role_arn": revision.role_arn, ":settings": revision.settings.to_string(),
                ":created_at": revision.created_at.0,
            },
        ),
        Change::Version(record) => run(
            "INSERT OR REPLACE INTO versions (arn, state_machine_arn, number, revision, description, created_at) \
             VALUES (:arn, :machine, :number, :revision, :description, :created_at)",
            named_params! {
                ":arn": record.arn, ":machine": record.state_machine_arn, ":number": record.number,
                ":revision": record.revision.0, ":description": record.description,
                ":created_at": record.created_at.0,
            },
        ),
        Change::VersionDeleted { arn } => run("DELETE FROM versions WHERE arn = :arn", named_params! { ":arn": arn }),
        Change::Alias(record) => {
            let routes: Vec<Value> = record
                .routes
                .iter()
                .map(|route| Value::Array(vec![Value::from(route.version_arn.as_str()), Value::from(route.weight)]))
                .collect();
            run(
                "INSERT OR REPLACE INTO aliases (arn, name, state_machine_arn, description, routes, created_at, \
                                                 updated_at) \
                 VALUES (:arn, :name, :machine, :description, :routes, :created_at, :updated_at)",
                named_params! {
                    ":arn": record.arn, ":name": record.name, ":machine": record.state_machine_arn,
                    ":description": record.description, ":routes": Value::Array(routes).to_string(),
                    ":created_at": record.created_at.0, ":updated_at": record.updated_at.0,
                },
            )
        }
        Change::AliasDeleted { arn } => run("DELETE FROM aliases WHERE arn = :arn", named_params! { ":arn": arn }),
        Change::Activity(record) => run(
            "INSERT OR REPLACE INTO activities (arn, name, settings, created_at) \
             VALUES (:arn, :name, :settings, :created_at)",
            named_params! {
                ":arn": record.arn, ":name": record.name, ":settings": record.settings.to_string(),
                ":created_at": record.created_at.0,
            },
        ),
        Change::ActivityDeleted { arn } => {
            run("DELETE FROM tags WHERE arn = :arn", named_params! { ":arn": arn })?;
            run("DELETE FROM activities WHERE arn = :arn", named_params! { ":arn": arn })
        }
        Change::Tags { arn, tags } => {
            run("DELETE FROM tags WHERE arn = :arn", named_params! { ":arn": arn })?;
            for (position, tag) in (0_u64..).zip(tags) {
                run(
                    "INSERT INTO tags (arn, position, key, value) VALUES (:arn, :position, :key, :value)",
                    named_params! { ":arn": arn, ":position": position, ":key": tag.key, ":value": tag.value },
                )?;
            }
            Ok(())
        }
    }
}

/// Reads all resources, with the revisions that they stand for.
pub(crate) fn load(connection: &Connection) -> rusqlite::Result<Resources> {
    let mut resources = Resources::default();
    let last: u64 = connection.query_row("SELECT coalesce(max(row), 0) FROM revisions", [], |row| row.get(0))?;
    resources.set_last_revision(last);
    let standing = "WHERE row IN (SELECT revision FROM state_machines UNION SELECT revision FROM versions)";
    let sql = format!("SELECT {REVISION} FROM revisions {standing}");
    for change in rows(connection, &sql, |row| Ok(Change::Revision(Arc::new(revision_of(row)?))))? {
        resources.apply(change);
    }
    let sql = "SELECT arn, name, kind, revision, last_version, created_at, updated_at FROM state_machines";
    for change in rows(connection, sql, |row| {
        Ok(Change::StateMachine(StateMachineRecord {
            arn: row.get(0)?,
            name: row.get(1)?,
            kind: kind(row, 2)?,
            revision: RevisionRow(row.get(3)?),
            last_version: row.get(4)?,
            created_at: Timestamp(row.get(5)?),
            updated_at: Timestamp(row.get(6)?),
        }))
    })? {
        resources.apply(change);
    }
    // One who only reads may have a journal before it that no writer has opened since that table came.
    let sql = "SELECT count(*) FROM sqlite_schema WHERE name = 'deleting_state_machines'";
    if connection.query_row(sql, [], |row| row.get::<_, u64>(0))? > 0 {
        let sql = "SELECT arn FROM deleting_state_machines";
        for change in rows(connection, sql, |row| Ok(Change::StateMachineDeleting { arn: row.get(0)? }))? {
            resources.apply(change);
        }
    }
    let sql = "SELECT arn, state_machine_arn, number, revision, description, created_at FROM versions";
    for change in rows(connection, sql, |row| {
        Ok(Change::Version(VersionRecord {
            arn: row.get(0)?,
            state_machine_arn: row.get(1)?,
            number: row.get(2)?,
            revision: RevisionRow(row.get(3)?),
            description: row.get(4)?,
            created_at: Timestamp(row.get(5)?),
        }))
    })? {
        resources.apply(change);
    }
    let sql = "SELECT arn, name, state_machine_arn, description, routes, created_at, updated_at FROM aliases";
    for change in rows(connection, sql, |row| {
        Ok(Change::Alias(AliasRecord {
            arn: row.get(0)?,
            name: row.get(1)?,
            state_machine_arn: row.get(2)?,
            description: row.get(3)?,
            routes: routes(row, 4)?,
            created_at: Timestamp(row.get(5)?),
            updated_at: Timestamp(row.get(6)?),
        }))
    })? {
        resources.apply(change);
    }
    let sql = "SELECT arn, name, settings, created_at FROM activities";
    for change in rows(connection, sql, |row| {
        Ok(Change::Activity(ActivityRecord {
            arn: row.get(0)?,
            name: row.get(1)?,
            settings: json(row, 2)?,
            created_at: Timestamp(row.get(3)?),
        }))
    })? {
        resources.apply(change);
    }
    let sql = "SELECT arn, key, value FROM tags ORDER BY arn, position";
    let mut tags: Vec<(String, Vec<Tag>)> = Vec::new();
    for (arn, tag) in
        rows(connection, sql, |row| Ok((row.get::<_, String>(0)?, Tag { key: row.get(1)?, value: row.get(2)? })))?
    {
        match tags.last_mut().filter(|(last, _)| *last == arn) {
            Some((_, own)) => own.push(tag),
            None => tags.push((arn, vec![tag])),
        }
    }
    for (arn, tags) in tags {
        resources.apply(Change::Tags { arn, tags });
    }
    Ok(resources)
}

/// Reads one revision, whether anything stands for it or not.
pub(crate) fn revision(connection: &Connection, row: RevisionRow) -> rusqlite::Result<Option<Revision>> {
    let sql = format!("SELECT {REVISION} FROM revisions WHERE row = ?1");
    connection.prepare_cached(&sql)?.query_row(params![row.0], revision_of).optional()
}

const REVISION: &str = "row, state_machine_arn, name, kind, id, definition, role_arn, settings, created_at";

fn revision_of(row: &Row<'_>) -> rusqlite::Result<Revision> {
    Ok(Revision::new(
        RevisionRow(row.get(0)?),
        row.get(1)?,
        row.get(2)?,
        kind(row, 3)?,
        row.get(4)?,
        row.get(5)?,
        row.get(6)?,
        json(row, 7)?,
        Timestamp(row.get(8)?),
    ))
}

fn rows<T>(
    connection: &Connection,
    sql: &str,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    connection.prepare(sql)?.query_map([], read)?.collect()
}

fn kind(row: &Row<'_>, column: usize) -> rusqlite::Result<MachineKind> {
    let text: String = row.get(column)?;
    MachineKind::parse(&text).ok_or_else(|| conversion(column, format!("unknown kind {text:?}")))
}

fn json(row: &Row<'_>, column: usize) -> rusqlite::Result<Value> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|error| conversion(column, error.to_string()))
}

fn routes(row: &Row<'_>, column: usize) -> rusqlite::Result<Vec<Route>> {
    let text: String = row.get(column)?;
    let pairs: Vec<(String, u32)> =
        serde_json::from_str(&text).map_err(|error| conversion(column, error.to_string()))?;
    Ok(pairs.into_iter().map(|(version_arn, weight)| Route { version_arn, weight }).collect())
}

fn conversion(column: usize, reason: String) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, reason.into())
}
