//! Succeed: the end of a branch.
//!
//! | where | what | then |
//! |---|---|---|
//! | entered | evaluated | left, the branch is complete |
//! | entered | not evaluated | failed |

use super::data::View;
use super::flow::Step;
use crate::definition::{Next, State};
use crate::execution::{Branch, BranchId};

impl Step<'_> {
    pub(super) fn succeed(&mut self, id: BranchId, branch: Branch, state: &State) {
        let exit = self
            .effective_input(&branch, state)
            .and_then(|input| self.exit(&branch, state, View::of(&input), std::sync::Arc::clone(&input)));
        match exit {
            Ok(exit) => self.leave_to(id, branch, state, exit, Next::End),
            Err(failure) => self.fail_evaluating(id, branch, state, failure),
        }
    }
}
