//! Looking around in the journal, by its indexes: see [`browse`](crate::journal::browse).

use rusqlite::types::Value as Bound;
use rusqlite::{params, params_from_iter};
use starmap_asl::Timestamp;

use super::{EXECUTION_SUMMARY, SqliteReader, bounded, execution_summary, invocation, limit_of, status};
use crate::journal::browse::{FAILURES, FailureGroup, Listing, ListingPage, Order, Stretch, stretch_of};
use crate::journal::{Error, ExecutionId, ExecutionsOf, InvocationRow, MapRunRow, Status};

/// Beside the schema proper, because journals of its first versions lack them. Partial, so that a child costs as few
/// entries as can be: none of what failed if it does not, and one of what runs for as long as it does.
pub(super) const INDEXES: &str = "
CREATE INDEX IF NOT EXISTS executions_listed ON executions (id, started_at, stopped_at, status, name) \
  WHERE map_run IS NULL;
CREATE INDEX IF NOT EXISTS executions_failed ON executions (map_run, item_index) \
  WHERE map_run IS NOT NULL AND status IN ('FAILED', 'TIMED_OUT', 'ABORTED');
CREATE INDEX IF NOT EXISTS executions_running ON executions (map_run, item_index) \
  WHERE map_run IS NOT NULL AND stopped_at IS NULL;
CREATE INDEX IF NOT EXISTS executions_by_time \
  ON executions (map_run, stopped_at - started_at, id, status, started_at, stopped_at) \
  WHERE map_run IS NOT NULL AND stopped_at IS NOT NULL;
";

/// As the index of the same name has it: SQLite uses a partial index only where its condition is repeated.
const IS_FAILED: &str = "map_run IS NOT NULL AND status IN ('FAILED', 'TIMED_OUT', 'ABORTED')";
const IS_RUNNING: &str = "map_run IS NOT NULL AND stopped_at IS NULL";

/// Failures that are grouped at most. With more of them than that the groups' counts are those of the first ones.
const GROUPED_MAX: usize = 20_000;

impl SqliteReader {
    pub(super) fn browse(&self, listing: &Listing) -> Result<ListingPage, Error> {
        let mut values: Vec<Bound> = Vec::new();
        let mut bind = |value: Bound| {
            values.push(value);
            format!("?{}", values.len())
        };
        let mut conditions = vec![match &listing.of {
            ExecutionsOf::Everyone => "map_run IS NULL".to_owned(),
            ExecutionsOf::StateMachine(arn) => {
                format!("map_run IS NULL AND state_machine_arn = {}", bind(arn.clone().into()))
            }
            ExecutionsOf::Version(arn) => format!("map_run IS NULL AND version_arn = {}", bind(arn.clone().into())),
            ExecutionsOf::Alias(arn) => format!("map_run IS NULL AND alias_arn = {}", bind(arn.clone().into())),
            ExecutionsOf::MapRun(row) => format!("map_run = {}", bind(bounded(row.0).into())),
        }];
        if let Some(name) = &listing.name_has {
            conditions.push(format!("instr(lower(name), {}) > 0", bind(name.to_ascii_lowercase().into())));
        }
        let is_of_map_run = matches!(listing.of, ExecutionsOf::MapRun(_));
        let are_failures = listing.statuses.iter().all(|status| FAILURES.contains(status));
        if !listing.statuses.is_empty() && are_failures && is_of_map_run {
            // For the index; which of them, below.
            conditions.push(IS_FAILED.to_owned());
        }
        if listing.statuses == [Status::Running] && is_of_map_run {
            conditions.push(IS_RUNNING.to_owned());
        } else if !listing.statuses.is_empty() {
            let statuses: Vec<String> =
                listing.statuses.iter().map(|status| bind(status.as_str().to_owned().into())).collect();
            conditions.push(format!("status IN ({})", statuses.join(", ")));
        }
        if let Some(from) = listing.started_from {
            conditions.push(format!("started_at >= {}", bind(from.0.into())));
        }
        if let Some(before) = listing.started_before {
            conditions.push(format!("started_at < {}", bind(before.0.into())));
        }
        let mut order = match listing.order {
            Order::Started if is_of_map_run => "item_index",
            Order::Started => "id",
            Order::Stopped => "stopped_at",
            Order::Duration => "stopped_at - started_at",
            Order::Name => "name",
            Order::Status => "status",
        }
        .to_owned();
        let have_ended = !listing.statuses.is_empty() && !listing.statuses.contains(&Status::Running);
        if listing.order == Order::Duration && is_of_map_run && have_ended {
            // As the index has it, which is in that order already.
            conditions.push("map_run IS NOT NULL AND stopped_at IS NOT NULL".to_owned());
        }
        let direction = if listing.is_descending { "DESC" } else { "ASC" };
        order.push_str(&format!(" {direction}"));
        if listing.order != Order::Started {
            order.push_str(&format!(", id {direction}"));
        }
        let conditions = conditions.join(" AND ");
        let count = format!("SELECT count(*) FROM executions WHERE {conditions}");
        let page = format!(
            "SELECT {EXECUTION_SUMMARY} FROM executions WHERE {conditions} ORDER BY {order} LIMIT {} OFFSET {}",
            limit_of(listing.limit),
            bounded(listing.offset)
        );
        self.with_connection("listing executions", |connection| {
            // One transaction: page and count are of one state of the journal.
            let transaction = connection.unchecked_transaction()?;
            let total = transaction
                .prepare_cached(&count)?
                .query_row(params_from_iter(values.iter()), |row| row.get::<_, i64>(0))?;
            let mut statement = transaction.prepare_cached(&page)?;
            let rows = statement.query_map(params_from_iter(values.iter()), execution_summary)?;
            let rows = rows.collect::<rusqlite::Result<Vec<_>>>()?;
            Ok(ListingPage { rows, total: u64::try_from(total).unwrap_or(0) })
        })
    }

    pub(super) fn grouped_failures(&self, map_run: MapRunRow, limit: usize) -> Result<Vec<FailureGroup>, Error> {
        let sql = format!(
            "SELECT status, error, cause, count(*), id, min(item_index) FROM ( \
               SELECT status, error, cause, id, item_index FROM executions \
               WHERE map_run = ?1 AND {IS_FAILED} ORDER BY item_index LIMIT {GROUPED_MAX}) \
             GROUP BY status, error, cause ORDER BY status = 'ABORTED', count(*) DESC, min(item_index) LIMIT ?2"
        );
        // With `min` alone, SQLite takes the other columns from the row that has the least.
        self.select(&sql, params![map_run.0, limit_of(limit)], |row| {
            Ok(FailureGroup {
                status: status(row, 0)?,
                error: row.get(1)?,
                cause: row.get(2)?,
                count: row.get(3)?,
                first: ExecutionId(row.get(4)?),
                first_item: row.get(5)?,
            })
        })
    }

    pub(super) fn shape(
        &self,
        map_run: MapRunRow,
        from: Timestamp,
        width_ms: i64,
        count: usize,
    ) -> Result<Vec<Stretch>, Error> {
        let mut stretches = vec![Stretch::default(); count];
        let width_ms = width_ms.max(1);
        // Those that ended, from the index alone; and the few that run.
        let ended = "map_run = ?1 AND map_run IS NOT NULL AND stopped_at IS NOT NULL";
        let running = format!("map_run = ?1 AND {IS_RUNNING}");
        for condition in [ended, &running] {
            let sql = format!("SELECT started_at, stopped_at FROM executions WHERE {condition}");
            self.with_connection("reading the times of a map run", |connection| {
                let mut statement = connection.prepare_cached(&sql)?;
                let mut rows = statement.query(params![map_run.0])?;
                while let Some(row) = rows.next()? {
                    let (started_at, stopped_at): (i64, Option<i64>) = (row.get(0)?, row.get(1)?);
                    if let Some(stretch) = stretch_of(&mut stretches, from, width_ms, Timestamp(started_at)) {
                        stretch.started += 1;
                    }
                    let stopped = stopped_at.and_then(|at| stretch_of(&mut stretches, from, width_ms, Timestamp(at)));
                    if let Some(stretch) = stopped {
                        stretch.ended += 1;
                    }
                }
                Ok(())
            })?;
        }
        Ok(stretches)
    }

    pub(super) fn last_invocations(&self, map_run: MapRunRow, limit: usize) -> Result<Vec<InvocationRow>, Error> {
        // In the order of the index on children, so that it ends as soon as there are enough.
        let sql = format!(
            "SELECT {} FROM executions child JOIN invocations ON child.id = invocations.execution \
             WHERE child.map_run = ?1 ORDER BY child.item_index DESC, invocations.rowid DESC LIMIT ?2",
            super::INVOCATION
        );
        let mut found = self.select(&sql, params![map_run.0, limit_of(limit)], invocation)?;
        found.reverse();
        found.sort_by_key(|row| row.at);
        Ok(found)
    }

    pub(super) fn last_chunk(&self, execution: ExecutionId) -> Result<u64, Error> {
        let sql = "SELECT chunk + 1 FROM log WHERE execution = ?1 ORDER BY chunk DESC LIMIT 1";
        Ok(self.select(sql, params![execution.0], |row| row.get(0))?.first().copied().unwrap_or(0))
    }
}
