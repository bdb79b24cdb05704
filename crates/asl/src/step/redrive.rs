//! Redrive: going on where an execution ended.
//!
//! | a branch that was | does now |
//! |---|---|
//! | in a Distributed Map whose map run failed or was stopped | that map run again: what did not succeed of it |
//! | in a Distributed Map that failed by too much data, or by itself | a new map run |
//! | in another state that failed, or in a Task, Wait or retry when the execution ended | that state again, with all its retries |
//! | about to enter a state | enter it |
//! | waiting for its own branches or iterations | wait for those that had not ended |
//!
//! An Express execution, which only a map run can redrive, begins again at its first state. Its events and its history
//! grow on, so that an answer to its earlier life is known as late; what it has done counts anew.
//!
//! # Source
//! <https://docs.aws.amazon.com/step-functions/latest/dg/redrive-executions.html> and
//! <https://docs.aws.amazon.com/step-functions/latest/dg/redrive-map-run.html>, read 2026-11

use std::sync::Arc;

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
            match branch.activity.clone() {
                Activity::Ready => self.queue(id, branch),
                Activity::Fan(_) => drop(self.execution.branches.insert(id, branch)),
                Activity::MapRun { map_run, spec, started_id: Some(_) } => {
                    branch.last_id = redriven_id;
                    self.redrive_map_run(id, map_run, Arc::clone(&spec));
                    self.park(id, branch, Activity::MapRun { map_run, spec, started_id: None });
                }
                Activity::Failed
                | Activity::Task { .. }
                | Activity::Wait { .. }
                | Activity::Retry { .. }
                | Activity::MapRun { started_id: None, .. } => {
                    branch.last_id = redriven_id;
                    branch.activity = Activity::Ready;
                    let machine = self.execution.machine.clone();
                    let state = current(&machine, &branch);
                    self.act(id, branch, state);
                }
            }
        }
    }

    /// As if the execution were started, which is what AWS does with Express children of a map run.
    pub(super) fn restart(&mut self) {
        if self.execution.halted.take().is_none() {
            return;
        }
        self.execution.begun_after_id = self.execution.last_event_id;
        self.execution.context.start_time = self.at;
        self.start();
    }
}
