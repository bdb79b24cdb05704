//! Pass: its `Result`, or its input.

use std::sync::Arc;

use super::flow::Step;
use super::inspect::Stage;
use crate::definition::{Pass, State};
use crate::execution::{Branch, BranchId};

impl Step<'_> {
    pub(super) fn pass(&mut self, id: BranchId, branch: Branch, state: &State, pass: &Pass) {
        let output = self.effective_input(&branch, state).and_then(|input| {
            let input = self.parameters(pass.parameters.as_ref(), &branch, state, None, input)?;
            let result = match &pass.result {
                Some(result) => {
                    let result = Arc::new(result.clone());
                    self.inspect(Stage::Result, &result);
                    result
                }
                None => input,
            };
            self.output_of(&pass.result_path, &branch, state, result)
        });
        match output {
            Ok(output) => self.leave(id, branch, state, output),
            Err(failure) => {
                let failure = failure.in_state(&state.name, branch.entered_id);
                self.fail(id, branch, state, failure);
            }
        }
    }
}
