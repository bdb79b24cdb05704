//! A journal in memory, for tests and simulated time.
//!
//! Cloning gives another handle to the same journal, so that a test can drop an engine as a crash would
//! and open a new one on what was recorded.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use starmap_asl::{Event, Timestamp};

use super::{
    Batch, ChildRecord, ChildState, Error, ExecutionFilter, ExecutionId, ExecutionRecord, ExecutionSummary,
    ExecutionsOf, HistoryRow, InvocationRow, ItemCounts, Journal, MapRunDetails, MapRunRecord, MapRunRow, Reader,
    Status, Write, codec,
};
use crate::registry::{Change, Resources, Revision, RevisionRow};

/// See the [module](self).
#[derive(Debug, Clone, Default)]
pub struct MemoryJournal {
    rows: Arc<Mutex<Rows>>,
}

#[derive(Debug, Default)]
struct Rows {
    resources: Resources,
    revisions: Vec<Revision>,
    executions: Vec<ExecutionRecord>,
    events: HashMap<ExecutionId, Vec<(Timestamp, Event)>>,
    history: HashMap<ExecutionId, Vec<HistoryRow>>,
    /// By whose token, and when.
    redrives: Vec<(ExecutionId, String, Timestamp)>,
    map_runs: Vec<MapRunRecord>,
    invocations: Vec<InvocationRow>,
}

impl MemoryJournal {
    fn rows(&self) -> MutexGuard<'_, Rows> {
        // A panic elsewhere can't leave the vectors half-written.
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Journal for MemoryJournal {
    fn append(&mut self, batch: &Batch) -> Result<(), Error> {
        let mut rows = self.rows();
        let mut next_sequences = HashMap::new();
        for write in &batch.writes {
            let Write::Event { execution, sequence, .. } = write else {
                continue;
            };
            let there = || rows.events.get(execution).map_or(0, Vec::len) as u64;
            let next = next_sequences.entry(*execution).or_insert_with(there);
            if sequence != next {
                return Err(Error::Damaged {
                    what: format!("event {sequence} of execution {execution}"),
                    reason: format!("the next one is {next}"),
                });
            }
            *next += 1;
        }
        for write in &batch.writes {
            match write.clone() {
                Write::Resource(change) => {
                    if let Change::Revision(revision) = &change {
                        rows.revisions.push(Revision::clone(revision));
                    }
                    rows.resources.apply(change);
                }
                Write::Execution(record) => rows.executions.push(*record),
                Write::Event { execution, at, event, .. } => {
                    rows.events.entry(execution).or_default().push((at, event));
                }
                Write::History { execution, event } => {
                    rows.history.entry(execution).or_default().push(codec::history_row(&event));
                }
                Write::ExecutionEnded { execution, at, ending } => {
                    for record in rows.executions.iter_mut().filter(|record| record.id == execution) {
                        record.status = ending.status;
                        record.output.clone_from(&ending.output);
                        record.error.clone_from(&ending.error);
                        record.cause.clone_from(&ending.cause);
                        record.stopped_at = Some(at);
                    }
                }
                Write::ExecutionRedriven { execution, at, redrive_count, run_redrives, client_token } => {
                    rows.redrives.extend(client_token.map(|token| (execution, token, at)));
                    for record in rows.executions.iter_mut().filter(|record| record.id == execution) {
                        record.status = Status::Running;
                        (record.output, record.error, record.cause, record.stopped_at) = (None, None, None, None);
                        (record.redrive_count, record.redriven_at) = (redrive_count, Some(at));
                        record.run_redrives = run_redrives;
                    }
                }
                Write::MapRun(record) => rows.map_runs.push(*record),
                Write::MapRunRedriven { map_run, details } => {
                    for record in rows.map_runs.iter_mut().filter(|record| record.row == map_run) {
                        (record.status, record.stopped_at) = (Status::Running, None);
                        record.details = MapRunDetails::clone(&details);
                    }
                }
                Write::MapRunChanged { map_run, status, stopped_at, details } => {
                    for record in rows.map_runs.iter_mut().filter(|record| record.row == map_run) {
                        record.status = status;
                        record.stopped_at = stopped_at;
                        record.details = MapRunDetails::clone(&details);
                    }
                }
                Write::Invocation(row) => rows.invocations.push(*row),
            }
        }
        Ok(())
    }

    fn reader(&self) -> Arc<dyn Reader> {
        Arc::new(self.clone())
    }
}

impl Reader for MemoryJournal {
    fn last_rows(&self) -> Result<(ExecutionId, MapRunRow), Error> {
        let rows = self.rows();
        Ok((
            rows.executions.iter().map(|record| record.id).max().unwrap_or(ExecutionId(0)),
            rows.map_runs.iter().map(|record| record.row).max().unwrap_or(MapRunRow(0)),
        ))
    }

    fn resources(&self) -> Result<Resources, Error> {
        Ok(self.rows().resources.clone())
    }

    fn revision(&self, row: RevisionRow) -> Result<Option<Revision>, Error> {
        Ok(self.rows().revisions.iter().find(|revision| revision.row == row).cloned())
    }

    fn execution(&self, id: ExecutionId) -> Result<Option<ExecutionRecord>, Error> {
        Ok(self.rows().executions.iter().find(|record| record.id == id).cloned())
    }

    fn find_execution(&self, arn_or_name: &str) -> Result<Option<ExecutionRecord>, Error> {
        let rows = self.rows();
        if let Some(record) = rows.executions.iter().find(|record| record.arn == arn_or_name) {
            return Ok(Some(record.clone()));
        }
        let mut named = rows.executions.iter().filter(|record| record.name == arn_or_name);
        Ok(match (named.next(), named.next()) {
            (Some(record), None) => Some(record.clone()),
            _ => None,
        })
    }

    fn execution_by_arn(&self, arn: &str) -> Result<Option<ExecutionRecord>, Error> {
        Ok(self.rows().executions.iter().find(|record| record.arn == arn).cloned())
    }

    fn executions(
        &self,
        filter: &ExecutionFilter,
        before: Option<ExecutionId>,
        limit: usize,
    ) -> Result<Vec<ExecutionSummary>, Error> {
        let rows = self.rows();
        let wanted = rows.executions.iter().rev().filter(|record| {
            let is_of = match &filter.of {
                ExecutionsOf::Everyone => record.parent.is_none(),
                ExecutionsOf::StateMachine(arn) => record.parent.is_none() && record.state_machine_arn == *arn,
                ExecutionsOf::Version(arn) => record.parent.is_none() && record.version_arn.as_ref() == Some(arn),
                ExecutionsOf::Alias(arn) => record.parent.is_none() && record.alias_arn.as_ref() == Some(arn),
                ExecutionsOf::MapRun(row) => record.parent.is_some_and(|parent| parent.map_run == *row),
            };
            is_of
                && before.is_none_or(|before| record.id < before)
                && filter.status.is_none_or(|status| record.status == status)
                && filter.awaiting.is_none_or(|awaiting| awaiting.includes(record.status, record.run_redrives))
                && filter.is_redriven.is_none_or(|redriven| redriven == (record.redrive_count > 0))
        });
        Ok(wanted.take(limit).map(ExecutionSummary::from).collect())
    }

    fn redriven_by(&self, execution: ExecutionId, client_token: &str) -> Result<Option<Timestamp>, Error> {
        let rows = self.rows();
        let mut found = rows.redrives.iter().rev();
        let found = found.find(|(id, token, _)| *id == execution && token == client_token);
        Ok(found.map(|(_, _, at)| *at))
    }

    fn events(&self, execution: ExecutionId) -> Result<Vec<(Timestamp, Event)>, Error> {
        let rows = self.rows();
        Ok(rows.events.get(&execution).cloned().unwrap_or_default())
    }

    fn history(&self, execution: ExecutionId, after: u64, limit: usize) -> Result<Vec<HistoryRow>, Error> {
        let rows = self.rows();
        let own = rows.history.get(&execution).into_iter().flatten().filter(|row| row.id > after);
        Ok(own.take(limit).cloned().collect())
    }

    fn history_backward(&self, execution: ExecutionId, before: u64, limit: usize) -> Result<Vec<HistoryRow>, Error> {
        let rows = self.rows();
        let own = rows.history.get(&execution).into_iter().flatten().rev().filter(|row| row.id < before);
        Ok(own.take(limit).cloned().collect())
    }

    fn map_run(&self, row: MapRunRow) -> Result<Option<MapRunRecord>, Error> {
        Ok(self.rows().map_runs.iter().find(|record| record.row == row).cloned())
    }

    fn map_run_by_arn(&self, arn: &str) -> Result<Option<MapRunRecord>, Error> {
        Ok(self.rows().map_runs.iter().find(|record| record.arn == arn).cloned())
    }

    fn map_runs_page(
        &self,
        execution: ExecutionId,
        after: Option<MapRunRow>,
        limit: usize,
    ) -> Result<Vec<MapRunRecord>, Error> {
        let rows = self.rows();
        let own = rows.map_runs.iter().filter(|run| run.execution == execution && Some(run.row) > after);
        Ok(own.take(limit).cloned().collect())
    }

    fn item_counts(&self, map_run: MapRunRow) -> Result<ItemCounts, Error> {
        let rows = self.rows();
        let mut counts = ItemCounts::default();
        let of_run = |record: &&ExecutionRecord| record.parent.is_some_and(|parent| parent.map_run == map_run);
        for record in rows.executions.iter().filter(of_run) {
            counts.add(record.status, 1);
        }
        Ok(counts)
    }

    fn children(&self, map_run: MapRunRow) -> Result<Vec<ChildRecord>, Error> {
        let rows = self.rows();
        let mut children: Vec<ChildRecord> = rows
            .executions
            .iter()
            .filter_map(|record| {
                let parent = record.parent.filter(|parent| parent.map_run == map_run)?;
                Some(ChildRecord {
                    id: record.id,
                    item_index: parent.item_index,
                    status: record.status,
                    output: record.output.clone(),
                    error: record.error.clone(),
                    cause: record.cause.clone(),
                    started_at: record.started_at,
                    stopped_at: record.stopped_at,
                })
            })
            .collect();
        children.sort_by_key(|child| child.item_index);
        Ok(children)
    }

    fn child_states(&self, map_run: MapRunRow, is_batched: bool) -> Result<Vec<ChildState>, Error> {
        let rows = self.rows();
        let state = |record: &ExecutionRecord| {
            let parent = record.parent.filter(|parent| parent.map_run == map_run)?;
            let batch = record.input.get("Items").and_then(serde_json::Value::as_array).filter(|_| is_batched);
            let items = batch.map_or(1, |items| items.len() as u64);
            Some(ChildState {
                id: record.id,
                item_index: parent.item_index,
                items,
                status: record.status,
                run_redrives: record.run_redrives,
            })
        };
        let mut states: Vec<ChildState> = rows.executions.iter().filter_map(state).collect();
        states.sort_by_key(|state| state.item_index);
        Ok(states)
    }

    fn children_page(
        &self,
        map_run: MapRunRow,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<ExecutionRecord>, Error> {
        let rows = self.rows();
        let is_next = |record: &&ExecutionRecord| {
            record.parent.is_some_and(|parent| parent.map_run == map_run && Some(parent.item_index) > after)
        };
        let mut children: Vec<ExecutionRecord> = rows.executions.iter().filter(is_next).cloned().collect();
        children.sort_by_key(|record| record.parent.map(|parent| parent.item_index));
        children.truncate(limit);
        Ok(children)
    }

    fn invocations(&self, execution: ExecutionId) -> Result<Vec<InvocationRow>, Error> {
        let rows = self.rows();
        let belongs = |id: ExecutionId| {
            let parent = rows.executions.iter().find(|record| record.id == id).and_then(|record| record.parent);
            id == execution
                || parent.is_some_and(|parent| {
                    rows.map_runs.iter().any(|run| run.row == parent.map_run && run.execution == execution)
                })
        };
        Ok(rows.invocations.iter().filter(|row| belongs(row.execution)).cloned().collect())
    }
}
