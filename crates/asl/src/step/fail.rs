//! Fail: an error of the definition's own.
//!
//! | where | what | then |
//! |---|---|---|
//! | entered | error and cause known | failed with them |
//! | entered | not evaluated | failed |

use serde_json::Value;

use super::data::View;
use super::flow::Step;
use crate::definition::{Fail, QueryLanguage, Setting, State};
use crate::error::Failure;
use crate::execution::{Branch, BranchId};
use crate::expression::Type;
use crate::template::Computed;

impl Step<'_> {
    pub(super) fn fail_state(&mut self, id: BranchId, branch: Branch, state: &State, fail: &Fail) {
        let texts = self.fail_text(&fail.error, &branch, state).and_then(|error| {
            let cause = self.fail_text(&fail.cause, &branch, state)?;
            Ok(Failure { error, cause, ..Failure::default() })
        });
        match texts {
            Ok(failure) => self.fail(id, branch, state, failure),
            Err(failure) => self.fail_evaluating(id, branch, state, failure),
        }
    }

    fn fail_text(&mut self, text: &Setting<String>, branch: &Branch, state: &State) -> Result<Option<String>, Failure> {
        let computed = match text {
            Setting::Absent => return Ok(None),
            Setting::Value(text) => return Ok(Some(text.clone())),
            Setting::Computed(computed) => computed,
        };
        let Computed { expression, field } = computed;
        let value = match state.language {
            QueryLanguage::Jsonata => self.computed(computed, Type::String, branch, state, &branch.input)?,
            QueryLanguage::JsonPath => self.evaluate(branch, state, View::of(&branch.input), |environment| {
                expression.evaluate(field, environment)
            })?,
        };
        match value {
            Value::String(text) => Ok(Some(text)),
            other => Err(Failure::runtime(format!(
                "The {field} field refers to value \"{other}\" which is not a string: {expression}"
            ))),
        }
    }
}
