//! Redrive inside the core: an execution that ended without success is brought back from the journal and goes on.
//!
//! REDRIVE-1: what succeeded before is not run again.

use starmap_asl::{Event, Timestamp};

use super::{Core, Queue, Turn};
use crate::journal::{self, ExecutionRecord, Reader, Status, Write};
use crate::limits::REDRIVE_DAYS_MAX;
use crate::registry::MachineKind;

/// Why an execution can't be redriven, in AWS's words for `redriveStatusReason`; `None` if it can.
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
        return Some("Execution is an EXPRESS execution and cannot be redriven");
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
        journal: &dyn Reader,
        record: &ExecutionRecord,
        turn: &mut Turn,
    ) -> Result<bool, journal::Error> {
        let id = record.id;
        let mut queue = Queue::new();
        let (machine, revision) = self.machine_of(journal, record)?;
        self.reload(journal, record, machine, revision, 0, turn, &mut queue, &mut Vec::new())?;
        let Some(live) = self.executions.get(&id) else { return Ok(false) };
        if !live.execution.is_redrivable() {
            self.executions.remove(&id);
            self.by_arn.remove(&record.arn);
            return Ok(false);
        }
        turn.batch.writes.push(Write::ExecutionRedriven { execution: id, at, redrive_count: record.redrive_count + 1 });
        queue.push_back((id, Event::Redriven));
        self.drain(at, queue, turn);
        Ok(true)
    }
}
