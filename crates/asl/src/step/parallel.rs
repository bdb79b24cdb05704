//! Parallel: all branches at once, on the same input.
//!
//! | where | what | then |
//! |---|---|---|
//! | entered | evaluated | waiting for its branches |
//! | entered | not evaluated | failed |
//! | waiting | a branch ended, others run | waiting |
//! | waiting | the last branch ended | left |
//! | waiting | a branch failed | the others are aborted, failed |

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde_json::Value;

use super::flow::Step;
use crate::definition::{Kind, Parallel, State};
use crate::execution::{Activity, Branch, BranchId, Fan, Parent};
use crate::history::EventKind;
use crate::variables::Variables;

impl Step<'_> {
    pub(super) fn parallel(&mut self, id: BranchId, mut branch: Branch, state: &State, parallel: &Parallel) {
        let input = self
            .effective_input(&branch, state)
            .and_then(|input| self.arguments(parallel.arguments.as_ref(), &branch, state, None, input));
        let input = match input {
            Ok(input) => input,
            Err(failure) => return self.fail_evaluating(id, branch, state, failure),
        };
        self.record_in(&mut branch, EventKind::ParallelStateStarted);
        let mut running = BTreeMap::new();
        for (index, scope) in parallel.branches.iter().enumerate() {
            let parent = Parent { branch: id, index };
            let variables = Variables::inside(&branch.variables);
            let child =
                self.begin(Some(parent), *scope, Arc::clone(&input), variables, branch.item.clone(), branch.last_id);
            running.insert(index, child);
        }
        let fan = Fan { results: vec![None; parallel.branches.len()], running, waiting: VecDeque::new() };
        self.park(id, branch, Activity::Fan(fan));
    }

    /// The array of the branches' outputs, if one of them is written in a way of its own: AWS puts texts together.
    fn text_of_all(&self, outputs: &[Arc<Value>]) -> Option<String> {
        let texts: Vec<Option<Arc<str>>> = outputs.iter().map(|output| self.execution.text_of(output)).collect();
        if texts.iter().all(Option::is_none) {
            return None;
        }
        let written = outputs.iter().zip(texts).map(|(output, text)| match text {
            Some(text) => text.to_string(),
            None => output.to_string(),
        });
        Some(format!("[{}]", written.collect::<Vec<_>>().join(",")))
    }

    /// One branch of a Parallel has ended; `last_id` is its last event.
    pub(super) fn branch_succeeded(
        &mut self,
        parent: Parent,
        mut branch: Branch,
        state: &State,
        last_id: u64,
        output: Arc<Value>,
    ) {
        let Activity::Fan(fan) = &mut branch.activity else { return };
        fan.running.remove(&parent.index);
        fan.results[parent.index] = Some(output);
        if !fan.running.is_empty() {
            self.execution.branches.insert(parent.branch, branch);
            return;
        }
        let outputs: Vec<Arc<Value>> = fan.results.drain(..).flatten().collect();
        let text = self.text_of_all(&outputs);
        let results: Arc<Value> = Arc::new(outputs.into_iter().map(Arc::unwrap_or_clone).collect());
        self.execution.texts.extend(text.map(|text| (Arc::clone(&results), text.into())));
        branch.last_id = last_id;
        // Leaving points at the last branch, too, and not at this event: recorded in test_parallel_state_order.
        self.record(last_id, EventKind::ParallelStateSucceeded);
        let Kind::Parallel(Parallel { handling, .. }) = &state.kind else { return };
        self.leave_with_result(parent.branch, branch, state, handling, results);
    }
}
