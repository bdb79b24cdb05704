//! Succeed: the end of a branch, with its input as the output.

use super::flow::Step;
use crate::definition::{Next, State};
use crate::execution::{Branch, BranchId};

impl Step<'_> {
    pub(super) fn succeed(&mut self, id: BranchId, branch: Branch, state: &State) {
        let output = self
            .effective_input(&branch, state)
            .and_then(|input| self.apply_path(&state.output_path, &branch, state, input));
        match output {
            Ok(output) => self.leave_to(id, branch, state, output, Next::End),
            Err(failure) => {
                let failure = failure.in_state(&state.name, branch.entered_id);
                self.fail(id, branch, state, failure);
            }
        }
    }
}
