//! Map runs: many child executions under one concurrency limit.
//!
//! Owns which items are pending, running and ended, and when the run is over or has failed too often.
//! Knows nothing about how an item is executed or recorded (see `core`).
//!
//! MAP-1: every item is started at most once, and ends exactly once.
//! MAP-2: a run succeeds only when every item has ended and the failures are tolerated.

use std::collections::BTreeMap;

use serde_json::Value;
use starmap_asl::{MapRunId, MapRunSpec, StateMachine};

use crate::core::MapRunProgress;
use crate::journal::{Ending, ExecutionId, Status};

/// Error name of a run that failed too often, as AWS gives it.
const TOO_MANY_FAILURES: &str = "States.ExceedToleratedFailureThreshold";

#[derive(Debug)]
pub(crate) struct MapRun {
    pub arn: String,
    pub label: String,
    pub parent: ExecutionId,
    pub number: MapRunId,
    pub processor: StateMachine,
    pub spec: MapRunSpec,
    concurrency_max: usize,
    next_index: usize,
    running: BTreeMap<u64, ExecutionId>,
    outputs: Vec<Value>,
    succeeded: u64,
    failed: u64,
    aborted: u64,
}

/// What a map run does next.
#[derive(Debug, PartialEq)]
pub(crate) enum Next {
    /// Nothing until a child ends.
    Wait,
    /// Start a child.
    Start { item_index: u64, input: Value },
    /// All items have ended; outputs in item order.
    Succeeded { outputs: Vec<Value> },
    /// More failures than are tolerated.
    Failed { error: String, cause: String },
}

impl MapRun {
    pub fn new(
        arn: String,
        label: String,
        parent: ExecutionId,
        number: MapRunId,
        processor: StateMachine,
        spec: MapRunSpec,
        concurrency_limit: u32,
    ) -> Self {
        let wanted = spec.max_concurrency.filter(|&wanted| wanted > 0).unwrap_or(concurrency_limit);
        Self {
            arn,
            label,
            parent,
            number,
            processor,
            concurrency_max: wanted.min(concurrency_limit).max(1) as usize,
            next_index: 0,
            running: BTreeMap::new(),
            outputs: vec![Value::Null; spec.items.len()],
            spec,
            succeeded: 0,
            failed: 0,
            aborted: 0,
        }
    }

    /// Children that have not ended.
    pub fn running(&self) -> impl Iterator<Item = ExecutionId> + '_ {
        self.running.values().copied()
    }

    pub fn next(&mut self) -> Next {
        if self.failed_too_often() {
            return Next::Failed {
                error: TOO_MANY_FAILURES.to_owned(),
                cause: "The specified tolerated failure threshold was exceeded".to_owned(),
            };
        }
        if self.next_index < self.spec.items.len() {
            if self.running.len() >= self.concurrency_max {
                return Next::Wait;
            }
            let input = self.spec.items[self.next_index].clone();
            return Next::Start { item_index: self.next_index as u64, input };
        }
        if !self.running.is_empty() {
            return Next::Wait;
        }
        debug_assert_eq!(
            self.succeeded + self.failed + self.aborted,
            self.spec.items.len() as u64,
            "MAP-1: every item ends exactly once"
        );
        Next::Succeeded { outputs: std::mem::take(&mut self.outputs) }
    }

    /// A child was started for an item; items are started in order.
    pub fn started(&mut self, item_index: u64, child: ExecutionId) {
        debug_assert_eq!(item_index, self.next_index as u64, "MAP-1: every item is started at most once");
        self.next_index = item_index as usize + 1;
        self.running.insert(item_index, child);
    }

    /// The child of an item ended.
    pub fn ended(&mut self, item_index: u64, ending: &Ending) {
        if self.running.remove(&item_index).is_none() {
            return;
        }
        match ending.status {
            Status::Succeeded => {
                self.succeeded += 1;
                self.outputs[item_index as usize] = ending.output.clone().unwrap_or(Value::Null);
            }
            Status::Aborted => self.aborted += 1,
            Status::Failed | Status::TimedOut | Status::Running => {
                self.failed += 1;
                // What AWS puts in the place of an item that failed within the tolerance.
                self.outputs[item_index as usize] = serde_json::json!({
                    "Error": ending.error.clone().unwrap_or_default(),
                    "Cause": ending.cause.clone().unwrap_or_default(),
                });
            }
        }
    }

    fn failed_too_often(&self) -> bool {
        // AWS: a child that was stopped counts as failed.
        let failed = self.failed + self.aborted;
        let share = failed as f64 * 100.0 / (self.spec.items.len().max(1)) as f64;
        let by_count = |tolerated: u64| failed > tolerated;
        match (self.spec.tolerated_failure_count, self.spec.tolerated_failure_percentage) {
            (None, None) => by_count(0),
            (Some(count), None) => by_count(count),
            (None, Some(percentage)) => share > percentage,
            (Some(count), Some(percentage)) => by_count(count) || share > percentage,
        }
    }

    pub fn progress(&self, in_flight: u64) -> MapRunProgress {
        MapRunProgress {
            state: self.spec.state.clone(),
            total: self.spec.items.len() as u64,
            pending: (self.spec.items.len() - self.next_index) as u64,
            running: self.running.len() as u64,
            in_flight,
            succeeded: self.succeeded,
            failed: self.failed,
            aborted: self.aborted,
        }
    }
}
