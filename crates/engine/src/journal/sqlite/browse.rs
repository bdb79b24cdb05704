//! Looking around in the journal, by its indexes: see [`browse`](crate::journal::browse).

use rusqlite::types::Value as Bound;
use rusqlite::{Connection, params, params_from_iter};
use serde_json::Value;
use starmap_asl::Timestamp;

use super::{EXECUTION_SUMMARY, SqliteReader, bounded, conversion, execution_summary, invocation, limit_of, status};
use crate::journal::browse::{Course, FAILURES, FailureGroup, Listing, ListingPage, Order, Stretch, stretch_at};
use crate::journal::{Error, ExecutionId, ExecutionsOf, InvocationRow, ItemCounts, MapRunRow, Status};

/// Beside the schema proper, because journals of its first versions lack them. Partial, so that a child costs as few
/// entries as can be: none of what failed if it does not, and one of what runs for as long as it does.
pub(super) const INDEXES: &str = "
DROP INDEX IF EXISTS executions_listed;
CREATE INDEX IF NOT EXISTS executions_in_lists \
  ON executions (id, started_at, stopped_at, status, name, version_arn, alias_arn, redrive_count) WHERE map_run IS NULL;
DROP INDEX IF EXISTS executions_failed;
CREATE INDEX IF NOT EXISTS executions_failed_by_item ON executions (map_run, item_index, status) \
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

/// SQL for the failures of map run `?1`, at most `?2` groups of them. Which children those are is asked for by itself,
/// so that the index has the whole answer: asked for their errors at once, SQLite would look at every child.
fn failures() -> String {
    format!(
        "SELECT status, error, cause, count(*), id, min(item_index) FROM ( \
           SELECT id AS failed FROM executions WHERE map_run = ?1 AND {IS_FAILED} ORDER BY item_index LIMIT {GROUPED_MAX}) \
         CROSS JOIN executions ON id = failed \
         GROUP BY status, error, cause ORDER BY status = 'ABORTED', count(*) DESC, min(item_index) LIMIT ?2"
    )
}

/// SQL for when the children of map run `?1` were started and ended, and how.
fn times() -> String {
    format!(
        "SELECT status, started_at, stopped_at FROM executions \
         WHERE map_run = ?1 AND map_run IS NOT NULL AND stopped_at IS NOT NULL \
         UNION ALL SELECT status, started_at, NULL FROM executions WHERE map_run = ?1 AND {IS_RUNNING}"
    )
}

/// SQL for what stands after the last colon of an ARN.
fn last_part(column: &str) -> String {
    format!("replace({column}, rtrim({column}, replace({column}, ':', '')), '')")
}

/// Of executions in their order, a page of those whose input is as asked, and how many there are.
fn with_input(
    connection: &Connection,
    listing: &Listing,
    ids: impl Iterator<Item = rusqlite::Result<i64>>,
) -> rusqlite::Result<(Vec<i64>, u64)> {
    let mut statement = connection.prepare_cached("SELECT input FROM executions WHERE id = ?1")?;
    let (mut found, mut total) = (Vec::new(), 0);
    for id in ids {
        let id = id?;
        let is_it = statement.query_row([id], |row| {
            let text = row.get_ref(0)?.as_str()?;
            if !listing.input.iter().all(|condition| condition.may_hold(text)) {
                return Ok(false);
            }
            let input: Value = serde_json::from_str(text).map_err(|error| conversion(0, error.to_string()))?;
            Ok(listing.input.iter().all(|condition| condition.holds(&input)))
        })?;
        if !is_it {
            continue;
        }
        if total >= listing.offset && found.len() < listing.limit {
            found.push(id);
        }
        total += 1;
    }
    Ok((found, total))
}

/// The last so many children are looked at for their attempts.
const CHILDREN_MAX: usize = 2_000;

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
        // Then the condition of the index says all there is to say.
        let is_by_index =
            is_of_map_run && are_failures && FAILURES.iter().all(|status| listing.statuses.contains(status));
        if listing.statuses == [Status::Running] && is_of_map_run {
            conditions.push(IS_RUNNING.to_owned());
        } else if !listing.statuses.is_empty() && !is_by_index {
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
        if let Some(version) = &listing.version {
            let wanted = bind(format!(":{version}").into());
            let is_it = |column: &str| format!("substr({column}, -length({wanted})) = {wanted}");
            conditions.push(format!("({} OR {})", is_it("alias_arn"), is_it("version_arn")));
        }
        let mut order = match listing.order {
            Order::Started if is_of_map_run => "item_index".to_owned(),
            Order::Started => "id".to_owned(),
            Order::Stopped => "stopped_at".to_owned(),
            Order::Duration => "stopped_at - started_at".to_owned(),
            Order::Name => "name".to_owned(),
            Order::Status => "status".to_owned(),
            Order::Version => format!("CAST({} AS INTEGER)", last_part("version_arn")),
            Order::Alias => last_part("alias_arn"),
            Order::Redrives => "redrive_count".to_owned(),
        };
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
        let all = format!("SELECT id FROM executions WHERE {conditions} ORDER BY {order}");
        let page = format!("{all} LIMIT {} OFFSET {}", limit_of(listing.limit), bounded(listing.offset));
        self.with_connection("listing executions", |connection| {
            // One transaction: page and count are of one state of the journal.
            let transaction = connection.unchecked_transaction()?;
            let (ids, total) = if listing.input.is_empty() {
                let total = match listing.is_counted {
                    true => transaction
                        .prepare_cached(&count)?
                        .query_row(params_from_iter(values.iter()), |row| row.get::<_, i64>(0))?,
                    false => 0,
                };
                let mut statement = transaction.prepare_cached(&page)?;
                let ids = statement.query_map(params_from_iter(values.iter()), |row| row.get::<_, i64>(0))?;
                (ids.collect::<rusqlite::Result<Vec<_>>>()?, u64::try_from(total).unwrap_or(0))
            } else {
                let mut statement = transaction.prepare_cached(&all)?;
                let ids = statement.query_map(params_from_iter(values.iter()), |row| row.get::<_, i64>(0))?;
                let (ids, total) = with_input(&transaction, listing, ids)?;
                (ids, if listing.is_counted { total } else { 0 })
            };
            // What is shown is read of those alone that are: sorting and skipping does with the index.
            let mut statement =
                transaction.prepare_cached(&format!("SELECT {EXECUTION_SUMMARY} FROM executions WHERE id = ?1"))?;
            let rows = ids.into_iter().map(|id| statement.query_row([id], execution_summary));
            Ok(ListingPage { rows: rows.collect::<rusqlite::Result<Vec<_>>>()?, total })
        })
    }

    pub(super) fn grouped_failures(&self, map_run: MapRunRow, limit: usize) -> Result<Vec<FailureGroup>, Error> {
        // With `min` alone, SQLite takes the other columns from the row that has the least.
        self.select(&failures(), params![map_run.0, limit_of(limit)], |row| {
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

    /// One pass over the index of those that ended, and the few that run: by rows, because SQLite would sort them to
    /// count them in groups, which takes twice as long.
    pub(super) fn course_of(
        &self,
        map_run: MapRunRow,
        from: Timestamp,
        width_ms: i64,
        count: usize,
    ) -> Result<Course, Error> {
        let index = |at| stretch_at(from, width_ms, Timestamp(at));
        self.with_connection("reading the course of a map run", |connection| {
            let mut course = Course { stretches: vec![Stretch::default(); count], ..Course::default() };
            let mut statement = connection.prepare_cached(&times())?;
            let mut rows = statement.query(params![map_run.0])?;
            while let Some(row) = rows.next()? {
                let (started_at, stopped_at): (i64, Option<i64>) = (row.get(1)?, row.get(2)?);
                course.add(status(row, 0)?, index(started_at), stopped_at.and_then(index));
            }
            Ok(course)
        })
    }

    pub(super) fn last_invocations(&self, map_run: MapRunRow, limit: usize) -> Result<Vec<InvocationRow>, Error> {
        // In the order of the index on children, so that it ends as soon as there are enough; and where children invoke
        // nothing, so that it ends all the same.
        let sql = format!(
            "SELECT {} FROM ( \
               SELECT id, item_index FROM executions WHERE map_run = ?1 ORDER BY item_index DESC LIMIT {CHILDREN_MAX}) child \
             CROSS JOIN invocations ON child.id = invocations.execution \
             ORDER BY child.item_index DESC, invocations.rowid DESC LIMIT ?2",
            super::INVOCATION
        );
        let mut found = self.select(&sql, params![map_run.0, limit_of(limit)], invocation)?;
        found.reverse();
        found.sort_by_key(|row| row.at);
        Ok(found)
    }

    /// How far the children of a map run have come, from the indexes alone.
    pub(super) fn counts(&self, map_run: MapRunRow) -> Result<ItemCounts, Error> {
        let sql = format!(
            "SELECT status, count(*) FROM executions \
             WHERE map_run = ?1 AND map_run IS NOT NULL AND stopped_at IS NOT NULL GROUP BY status \
             UNION ALL SELECT 'RUNNING', count(*) FROM executions WHERE map_run = ?1 AND {IS_RUNNING}"
        );
        let mut counts = ItemCounts::default();
        for (status, count) in self.select(&sql, params![map_run.0], |row| Ok((status(row, 0)?, row.get(1)?)))? {
            counts.add(status, count);
        }
        Ok(counts)
    }

    pub(super) fn last_chunk(&self, execution: ExecutionId) -> Result<u64, Error> {
        let sql = "SELECT chunk + 1 FROM log WHERE execution = ?1 ORDER BY chunk DESC LIMIT 1";
        Ok(self.select(sql, params![execution.0], |row| row.get(0))?.first().copied().unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::sqlite::SqliteJournal;

    /// What a page of a map run of 100,000 children reads must not look at every child's row.
    #[test]
    fn failures_and_times_are_read_from_indexes() {
        let folder = tempfile::tempdir().unwrap();
        let journal = SqliteJournal::open(&folder.path().join("journal.sqlite")).unwrap();
        let plan = |sql: &str| -> String {
            let mut statement = journal.connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let values = vec![1i64; statement.parameter_count()];
            let rows = statement.query_map(params_from_iter(values), |row| row.get::<_, String>(3)).unwrap();
            rows.collect::<rusqlite::Result<Vec<_>>>().unwrap().join("\n")
        };
        let failures = plan(&failures());
        assert!(failures.contains("executions USING COVERING INDEX executions_failed_by_item"), "{failures}");
        let times = plan(&times());
        assert!(times.contains("executions USING COVERING INDEX executions_by_time"), "{times}");
        assert!(times.contains("executions USING INDEX executions_running"), "{times}");
    }
}
