//! Pass: its `Result`, its `Output`, or its input.
//!
//! | where | what | then |
//! |---|---|---|
//! | entered | evaluated | left |
//! | entered | not evaluated | failed |

use std::sync::Arc;

use super::data::{Exit, View};
use super::flow::Step;
use super::inspect::Stage;
use crate::definition::{Pass, QueryLanguage, State};
use crate::error::Failure;
use crate::execution::{Branch, BranchId};

impl Step<'_> {
    pub(super) fn pass(&mut self, id: BranchId, branch: Branch, state: &State, pass: &Pass) {
        let exit = match state.language {
            QueryLanguage::JsonPath => self.pass_exit(&branch, state, pass),
            QueryLanguage::Jsonata => self.exit(&branch, state, View::of(&branch.input), Arc::clone(&branch.input)),
        };
        match exit {
            Ok(exit) => self.leave(id, branch, state, exit),
            Err(failure) => self.fail_evaluating(id, branch, state, failure),
        }
    }

    fn pass_exit(&mut self, branch: &Branch, state: &State, pass: &Pass) -> Result<Exit, Failure> {
        let input = self.effective_input(branch, state)?;
        let input = self.arguments(pass.parameters.as_ref(), branch, state, None, input)?;
        let result = match &pass.result {
            Some(result) => {
                self.inspect(Stage::Result, result);
                Arc::clone(result)
            }
            None => input,
        };
        let assigned = self.assigned(state.assign.as_ref(), branch, state, View::of(&result))?;
        let output = self.output_of(&pass.result_path, branch, state, result)?;
        Ok(Exit { output, assigned })
    }
}
