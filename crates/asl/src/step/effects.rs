//! Asking for effects, and taking that back. Keeps what is outstanding and what was asked for in step.

use super::flow::Step;
use std::sync::Arc;

use crate::command::{Command, TaskInvocation};
use crate::event::{MapRunId, TaskId, TimerId};
use crate::execution::{BranchId, Effect, TimerPurpose};
use crate::map_run::MapRunSpec;
use crate::time::Timestamp;

impl Step<'_> {
    /// The number of the next task.
    pub(super) fn next_task(&mut self) -> TaskId {
        self.execution.issued.task += 1;
        TaskId(self.execution.issued.task)
    }

    pub(super) fn invoke(&mut self, branch: BranchId, invocation: TaskInvocation) {
        let task = invocation.task;
        let order = self.ask(Command::InvokeTask(Box::new(invocation)));
        self.execution.pending.tasks.insert(task, Effect { of: branch, order });
    }

    pub(super) fn start_timer(&mut self, purpose: TimerPurpose, due: Timestamp) -> TimerId {
        self.execution.issued.timer += 1;
        let timer = TimerId(self.execution.issued.timer);
        let order = self.ask(Command::StartTimer { timer, due });
        self.execution.pending.timers.insert(timer, Effect { of: purpose, order });
        timer
    }

    pub(super) fn start_map_run(&mut self, branch: BranchId, spec: Arc<MapRunSpec>) -> MapRunId {
        self.execution.issued.map_run += 1;
        let map_run = MapRunId(self.execution.issued.map_run);
        let order = self.ask(Command::StartMapRun { map_run, spec });
        self.execution.pending.map_runs.insert(map_run, Effect { of: branch, order });
        map_run
    }

    pub(super) fn redrive_map_run(&mut self, branch: BranchId, map_run: MapRunId, spec: Arc<MapRunSpec>) {
        let order = self.ask(Command::RedriveMapRun { map_run, spec });
        self.execution.pending.map_runs.insert(map_run, Effect { of: branch, order });
    }

    /// The task is answered; says whose it was, unless nobody waits any more.
    pub(super) fn end_task(&mut self, task: TaskId) -> Option<BranchId> {
        let effect = self.execution.pending.tasks.remove(&task)?;
        self.execution.pending.commands.remove(&effect.order);
        Some(effect.of)
    }

    /// The timer has fired; says what for, unless it was cancelled.
    pub(super) fn end_timer(&mut self, timer: TimerId) -> Option<TimerPurpose> {
        let effect = self.execution.pending.timers.remove(&timer)?;
        self.execution.pending.commands.remove(&effect.order);
        Some(effect.of)
    }

    /// The map run is over; says whose it was, unless nobody waits any more.
    pub(super) fn end_map_run(&mut self, map_run: MapRunId) -> Option<BranchId> {
        let effect = self.execution.pending.map_runs.remove(&map_run)?;
        self.execution.pending.commands.remove(&effect.order);
        Some(effect.of)
    }

    pub(super) fn cancel_task(&mut self, task: TaskId) {
        if self.end_task(task).is_some() {
            self.commands.push(Command::CancelTask { task });
        }
    }

    pub(super) fn cancel_timer(&mut self, timer: TimerId) {
        if self.end_timer(timer).is_some() {
            self.commands.push(Command::CancelTimer { timer });
        }
    }

    pub(super) fn cancel_map_run(&mut self, map_run: MapRunId) {
        if self.end_map_run(map_run).is_some() {
            self.commands.push(Command::CancelMapRun { map_run });
        }
    }

    /// Takes back everything, in the order in which it was asked for.
    pub(super) fn cancel_everything(&mut self) {
        for command in std::mem::take(&mut self.execution.pending.commands).into_values() {
            self.commands.push(match command {
                Command::InvokeTask(invocation) => Command::CancelTask { task: invocation.task },
                Command::StartTimer { timer, .. } => Command::CancelTimer { timer },
                Command::StartMapRun { map_run, .. } | Command::RedriveMapRun { map_run, .. } => {
                    Command::CancelMapRun { map_run }
                }
                _ => continue,
            });
        }
        self.execution.pending = Default::default();
    }

    fn ask(&mut self, command: Command) -> u64 {
        self.execution.issued.effect += 1;
        let order = self.execution.issued.effect;
        self.execution.pending.commands.insert(order, command.clone());
        self.commands.push(command);
        order
    }
}
