//! Choice: the first rule that holds.

use super::flow::Step;
use crate::definition::{Choice, Next, State};
use crate::error::{Failure, NO_CHOICE_MATCHED};
use crate::execution::{Branch, BranchId};

impl Step<'_> {
    pub(super) fn choice(&mut self, id: BranchId, branch: Branch, state: &State, choice: &Choice) {
        let decided = self.effective_input(&branch, state).and_then(|input| {
            let uses_context = choice.rules.iter().any(|(rule, _)| rule.uses_context());
            let context = self.context_if(uses_context, &branch, state, None);
            let mut next = choice.default;
            for (rule, target) in &choice.rules {
                if self.evaluate(&input, &context, |environment| rule.holds(environment))? {
                    next = Some(*target);
                    break;
                }
            }
            let cause = "Failed to transition out of the state. The state does not point to a next state.";
            let next = next.ok_or_else(|| Failure::new(NO_CHOICE_MATCHED, cause))?;
            Ok((self.apply_path(&state.output_path, &branch, state, input)?, next))
        });
        match decided {
            Ok((output, next)) => self.leave_to(id, branch, state, output, Next::State(next)),
            Err(failure) => {
                let failure = failure.in_state(&state.name, branch.entered_id);
                self.fail(id, branch, state, failure);
            }
        }
    }
}
