//! Redrive: going on where an execution ended.
//!
//! | a branch that was | does now |
//! |---|---|
//! | in a state that failed, or in a Task, Wait or retry when the execution ended | that state again, with all its retries |
//! | about to enter a state | enter it |
//! | waiting for its own branches or iterations | wait for those that had not ended |
//!
//! # Source
//! <https://docs.aws.amazon.com/step-functions/latest/dg/redrive-executions.html>, read 2026-11

use super::flow::{Step, current};
use crate::execution::{Activity, Branch, BranchId, Phase, TimerPurpose};
use crate::history::EventKind;

impl Step<'_> {
    /// A failure that nobody in this branch wanted. The first one remembers where all branches are; unless somebody
    /// further up wants it, a redrive goes on from there.
    pub(super) fn note_failure(&mut self, id: BranchId, branch: &Branch) {
        if self.failing.is_some() {
            return;
        }
        let mut branches = self.execution.branches.clone();
        let mut failed = branch.clone();
        if !matches!(failed.activity, Activity::MapRun { .. }) {
            failed.activity = Activity::Failed;
        }
        branches.insert(id, failed);
        self.failing = Some(branches);
    }

    pub(super) fn redrive(&mut self) {
        let Some(halted) = self.execution.halted.take() else { return };
        self.execution.phase = Phase::Running;
        self.execution.context.redrive_count += 1;
        let redrive_count = self.execution.context.redrive_count;
        let redriven_id = self.record(self.execution.last_event_id, EventKind::ExecutionRedriven { redrive_count });
        if let Some(timeout_s) = self.execution.timeout_s() {
            self.start_timer(TimerPurpose::Machine, self.at.plus_seconds(timeout_s));
        }
        let ids: Vec<BranchId> = halted.keys().copied().collect();
        self.execution.branches = halted;
        for id in ids {
            // If one of those before ended the execution again, there is nothing left to go on with.
            let Some(mut branch) = self.execution.branches.remove(&id) else { continue };
            branch.retries.fill(0);
            match branch.activity {
                Activity::Ready => self.queue(id, branch),
                Activity::Fan(_) => drop(self.execution.branches.insert(id, branch)),
                Activity::Failed
                | Activity::Task { .. }
                | Activity::Wait { .. }
                | Activity::Retry { .. }
                | Activity::MapRun { .. } => {
                    branch.last_id = redriven_id;
                    branch.activity = Activity::Ready;
                    let machine = self.execution.machine.clone();
                    let state = current(&machine, &branch);
                    self.act(id, branch, state);
                }
            }
        }
    }
}
