//! Redrive inside the core: an execution that ended without success is brought back from the journal and goes on; so is
//! a map run of it that ended without success, with those of its children that had not succeeded.
//!
//! | a child that | is |
//! |---|---|
//! | succeeded | left as it is |
//! | failed, timed out or was aborted; Standard | redriven: the same execution goes on where it ended |
//! | failed, timed out or was aborted; Express | begun again, under the same ARN |
//! | can't be redriven: its history is full, it ended too long ago | left as it is, and counts as failed |
//! | was never started | started |
//!
//! Items that were given are the same; items that are read are read on behind those that were started, from the same
//! object or not at all. A run none of whose children had started reads its object anew.
//!
//! REDRIVE-1: what succeeded before is not run again.
//!
//! # Source
//! <https://docs.aws.amazon.com/step-functions/latest/dg/redrive-map-run.html>, read 2026-11

use std::sync::Arc;

use starmap_asl::{Event, MapRunId, MapRunSpec, Timestamp};

use super::map_runs::{details, ending_of};
use super::{Core, Effect, Queue, Turn, missing};
use crate::items::Failed;
use crate::journal::{self, Ending, ExecutionId, ExecutionRecord, MapRunRow, Status, Write};
use crate::limits::{MAP_RUN_REDRIVES_MAX, REDRIVE_DAYS_MAX};
use crate::map_run::Halted;
use crate::registry::MachineKind;

/// Why an execution can't be redriven, in AWS's words for `redriveStatusReason`; `None` if it can (a child: by its map run).
///
/// An execution whose history is full can't be redriven either; that is known only once it is tried.
///
/// # Source
/// <https://docs.aws.amazon.com/step-functions/latest/apireference/API_DescribeExecution.html>, read 2026-11
pub fn not_redrivable(record: &ExecutionRecord, now: Timestamp) -> Option<&'static str> {
    match record.status {
        Status::Running => return Some("Execution is RUNNING and cannot be redriven"),
        Status::Succeeded => return Some("Execution is SUCCEEDED and cannot be redriven"),
        Status::Failed | Status::TimedOut | Status::Aborted => {}
    }
    if record.kind == MachineKind::Express {
        // Express children are begun anew, so nothing of theirs can be too old.
        let is_child = record.parent.is_some();
        return (!is_child).then_some("Execution is an EXPRESS execution and cannot be redriven");
    }
    let stopped_at = record.stopped_at.unwrap_or(record.started_at);
    let is_late = now > stopped_at.plus_seconds(REDRIVE_DAYS_MAX * 24 * 60 * 60);
    is_late.then_some("Execution redrivable period exceeded")
}

/// What a redrive says of a history that is full.
pub(crate) const HISTORY_FULL: &str = "Execution history event limit exceeded";

impl Core {
    /// Redrives an execution that has ended and is [redrivable](not_redrivable); `false` if its history is full.
    ///
    /// # Errors
    /// [`journal::Error`] if the journal can't be read or does not fit together; nothing has happened then.
    pub fn redrive(
        &mut self,
        at: Timestamp,
        record: &ExecutionRecord,
        client_token: Option<String>,
        turn: &mut Turn,
    ) -> Result<bool, journal::Error> {
        let id = record.id;
        let journal = Arc::clone(&self.journal);
        let mut queue = Queue::new();
        let (machine, revision) = self.machine_of(journal.as_ref(), record)?;
        self.reload(journal.as_ref(), record, machine, revision, 0, turn, &mut queue, &mut Vec::new())?;
        let Some(live) = self.executions.get(&id) else { return Ok(false) };
        if !live.execution.is_redrivable() {
            self.executions.remove(&id);
            self.by_arn.remove(&record.arn);
            return Ok(false);
        }
        turn.batch.writes.push(Write::ExecutionRedriven {
            execution: id,
            at,
            redrive_count: record.redrive_count + 1,
            run_redrives: record.run_redrives,
            client_token,
        });
        queue.push_back((id, Event::Redriven));
        self.drain(at, queue, turn);
        Ok(true)
    }

    /// Goes on with a map run that ended without success.
    pub(super) fn redrive_map_run(
        &mut self,
        at: Timestamp,
        id: ExecutionId,
        number: MapRunId,
        spec: Arc<MapRunSpec>,
        turn: &mut Turn,
        queue: &mut Queue,
    ) {
        match self.bring_back_map_run(at, id, number, spec, turn) {
            Ok(Some((row, begun))) => {
                queue.push_back((id, begun));
                self.advance_map_run(at, row, turn, queue);
            }
            Ok(None) => {}
            Err(Failed { error, cause }) => {
                queue.push_back((id, Event::MapRunFailed { map_run: number, error, cause }));
            }
        }
    }

    fn bring_back_map_run(
        &mut self,
        at: Timestamp,
        id: ExecutionId,
        number: MapRunId,
        spec: Arc<MapRunSpec>,
        turn: &mut Turn,
    ) -> Result<Option<(MapRunRow, Event)>, Failed> {
        let Some(live) = self.executions.get(&id) else { return Ok(None) };
        // After this error the same map run can be redriven once more.
        let unreadable = |error: &dyn std::fmt::Display| Failed {
            error: "States.ItemReaderFailed".to_owned(),
            cause: format!("the map run to redrive can't be read from the journal: {error}"),
        };
        let runtime = |cause: String| Failed { error: "States.Runtime".to_owned(), cause };
        let runs = self.journal.map_runs(id).map_err(|error| unreadable(&error))?;
        let known = runs.iter().find(|run| run.number == number.0 && !self.map_runs.contains_key(&run.row));
        let known = known.ok_or_else(|| runtime("the map run to redrive is not in the journal".to_owned()))?;
        if known.details.redrive_count >= MAP_RUN_REDRIVES_MAX {
            return Err(runtime(format!("a Map Run can't be redriven more than {MAP_RUN_REDRIVES_MAX} times")));
        }
        let processor = live.machine.processor(&spec.processor);
        let processor = processor.ok_or_else(|| runtime("the map run's processor is not there".to_owned()))?;
        self.access.check(&live.wish(&spec, true))?;
        let mut again = known.clone();
        again.details.redrive_count += 1;
        again.details.redriven_at = Some(at);
        let restored = self.restored(self.journal.as_ref(), &again, spec, processor, live.payload_bytes_max);
        let (mut run, _) = restored.map_err(|error| unreadable(&error))?;
        if !run.has_started() {
            // Nothing binds it to what it found the first time.
            run.resume_reading(None, None);
        }
        let (row, redrive_count, arn) = (known.row, run.redrive_count, run.arn.clone());
        turn.batch.writes.push(Write::MapRunRedriven { map_run: row, details: Box::new(details(&run)) });
        if let Some((request, from)) = run.reading() {
            turn.effects.push(Effect::ReadItems { map_run: row, redrive_count, request, from });
        }
        self.map_runs.insert(row, run);
        if let Some(live) = self.executions.get_mut(&id) {
            live.map_runs.insert(number, row);
        }
        Ok(Some((row, Event::MapRunRedriven { map_run: number, arn, redrive_count })))
    }

    /// Redrives the next child of a map run that waits for it, or leaves it as it is for good.
    pub(super) fn redrive_child(
        &mut self,
        at: Timestamp,
        row: MapRunRow,
        child: Halted,
        turn: &mut Turn,
        queue: &mut Queue,
    ) {
        let left = self.bring_back_child(at, row, child, turn, queue).unwrap_or_else(|error| {
            tracing::error!(execution = child.id.0, %error, "a child of a map run can't be redriven");
            self.executions.remove(&child.id);
            Some(Ending { status: child.status, output: None, error: None, cause: None })
        });
        let Some(run) = self.map_runs.get_mut(&row) else { return };
        match left {
            None => run.redriven(),
            Some(ending) => run.not_redrivable(&ending),
        }
        self.changed_map_runs.insert(row);
    }

    /// How the child ended, if it can't be redriven.
    fn bring_back_child(
        &mut self,
        at: Timestamp,
        row: MapRunRow,
        child: Halted,
        turn: &mut Turn,
        queue: &mut Queue,
    ) -> Result<Option<Ending>, journal::Error> {
        let id = child.id;
        let journal = Arc::clone(&self.journal);
        let record = journal.execution(id)?.ok_or_else(|| missing(id, "no such row"))?;
        let run = self.map_runs.get(&row);
        let parent = run.and_then(|run| self.executions.get(&run.parent));
        let (Some(run), Some(parent)) = (run, parent) else { return Ok(Some(ending_of(&record))) };
        if not_redrivable(&record, at).is_some() {
            return Ok(Some(ending_of(&record)));
        }
        let (processor, run_redrives) = (run.processor.clone(), run.redrive_count);
        let (revision, nesting) = (Arc::clone(&parent.revision), parent.nesting + 1);
        self.reload(journal.as_ref(), &record, processor, revision, nesting, turn, queue, &mut Vec::new())?;
        if !self.executions.get(&id).is_some_and(|live| live.execution.is_redrivable()) {
            self.executions.remove(&id);
            return Ok(Some(ending_of(&record)));
        }
        turn.batch.writes.push(Write::ExecutionRedriven {
            execution: id,
            at,
            redrive_count: record.redrive_count + 1,
            run_redrives,
            client_token: None,
        });
        queue.push_back((id, Event::Redriven));
        Ok(None)
    }
}
