//! Fail: an error of the definition's own.

use serde_json::Value;

use super::flow::Step;
use crate::definition::{Fail, Setting, State};
use crate::error::Failure;
use crate::execution::{Branch, BranchId};

impl Step<'_> {
    pub(super) fn fail_state(&mut self, id: BranchId, branch: Branch, state: &State, fail: &Fail) {
        let texts = self.fail_text(&fail.error, "ErrorPath", &branch, state).and_then(|error| {
            let cause = self.fail_text(&fail.cause, "CausePath", &branch, state)?;
            Ok(Failure { error, cause })
        });
        let failure = texts.unwrap_or_else(|failure| failure.in_state(&state.name, branch.entered_id));
        self.fail(id, branch, state, failure);
    }

    fn fail_text(
        &mut self,
        text: &Setting<String>,
        field: &str,
        branch: &Branch,
        state: &State,
    ) -> Result<Option<String>, Failure> {
        let path = match text {
            Setting::Absent => return Ok(None),
            Setting::Value(text) => return Ok(Some(text.clone())),
            Setting::Path(path) => path,
        };
        let context = self.context_if(path.uses_context(), branch, state, None);
        match self.evaluate(&branch.input, &context, |environment| path.evaluate(field, environment))? {
            Value::String(text) => Ok(Some(text)),
            other => Err(Failure::runtime(format!(
                "The {field} field refers to value \"{other}\" which is not a string: {path}"
            ))),
        }
    }
}
