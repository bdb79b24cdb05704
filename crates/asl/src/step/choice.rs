//! Choice: the first rule that holds.
//!
//! | where | what | then |
//! |---|---|---|
//! | entered | a rule holds | left to where it leads, with its own `Output` and `Assign` |
//! | entered | none holds | left to `Default`, with the state's `Output` and `Assign` |
//! | entered | none holds, no `Default` | failed: `States.NoChoiceMatched` |
//! | entered | not evaluated | failed |

use std::sync::Arc;

use serde_json::Value;

use super::data::{Exit, View};
use super::flow::Step;
use crate::definition::{Choice, ChoiceRule, Condition, Next, State};
use crate::error::{Failure, NO_CHOICE_MATCHED};
use crate::execution::{Branch, BranchId};
use crate::expression::Type;

impl Step<'_> {
    pub(super) fn choice(&mut self, id: BranchId, branch: Branch, state: &State, choice: &Choice) {
        match self.decide(&branch, state, choice) {
            Ok((exit, next)) => self.leave_to(id, branch, state, exit, Next::State(next)),
            Err(failure) => self.fail_evaluating(id, branch, state, failure),
        }
    }

    fn decide(&mut self, branch: &Branch, state: &State, choice: &Choice) -> Result<(Exit, usize), Failure> {
        let input = self.effective_input(branch, state)?;
        for rule in &choice.rules {
            if self.holds(rule, branch, state, &input)? {
                let (output, assign) = (rule.output.as_ref(), rule.assign.as_ref());
                let exit = self.exit_through(output, assign, branch, state, View::of(&input), Arc::clone(&input))?;
                return Ok((exit, rule.next));
            }
        }
        let cause = "Failed to transition out of the state. The state does not point to a next state.";
        let next = choice.default.ok_or_else(|| Failure::new(NO_CHOICE_MATCHED, cause))?;
        Ok((self.exit(branch, state, View::of(&input), Arc::clone(&input))?, next))
    }

    fn holds(&mut self, rule: &ChoiceRule, branch: &Branch, state: &State, input: &Value) -> Result<bool, Failure> {
        match &rule.condition {
            Condition::Rule(rule) => {
                self.evaluate(branch, state, View::of(input), |environment| rule.holds(environment))
            }
            Condition::Constant(holds) => Ok(*holds),
            Condition::Computed(computed) => {
                Ok(self.computed(computed, Type::Boolean, branch, state, input)? == Value::Bool(true))
            }
        }
    }
}
