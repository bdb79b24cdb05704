//! Wait: for a while or until a time.

use serde_json::Value;

use super::flow::{Step, current};
use crate::definition::{State, Wait};
use crate::error::Failure;
use crate::execution::{Activity, Branch, BranchId, TimerPurpose};
use crate::expression::Expression;
use crate::time::Timestamp;

/// AWS refuses delays that do not fit 32 bits; recorded: test_timestamp_too_far_in_future_boundary.
const DELAY_S_MAX: i64 = i32::MAX as i64;

impl Step<'_> {
    pub(super) fn wait(&mut self, id: BranchId, branch: Branch, state: &State, wait: &Wait) {
        match self.due(&branch, state, wait) {
            // What is due is not waited for, as AWS's recorded wait of 0 seconds shows.
            Ok(due) if due <= self.at => self.leave_wait(id, branch, state),
            Ok(due) => {
                let timer = self.start_timer(TimerPurpose::Wait(id), due);
                self.park(id, branch, Activity::Wait { timer });
            }
            Err(failure) => {
                let failure = failure.in_state(&state.name, branch.entered_id);
                self.fail(id, branch, state, failure);
            }
        }
    }

    pub(super) fn wait_is_over(&mut self, id: BranchId) {
        let Some(branch) = self.execution.branches.remove(&id) else { return };
        let machine = self.execution.machine.clone();
        let state = current(&machine, &branch);
        self.leave_wait(id, branch, state);
    }

    fn leave_wait(&mut self, id: BranchId, branch: Branch, state: &State) {
        let output = self
            .effective_input(&branch, state)
            .and_then(|input| self.apply_path(&state.output_path, &branch, state, input));
        match output {
            Ok(output) => self.leave(id, branch, state, output),
            Err(failure) => {
                let failure = failure.in_state(&state.name, branch.entered_id);
                self.fail(id, branch, state, failure);
            }
        }
    }

    fn due(&mut self, branch: &Branch, state: &State, wait: &Wait) -> Result<Timestamp, Failure> {
        let due = match wait {
            Wait::Seconds(seconds) => self.at.plus_seconds(*seconds),
            Wait::Timestamp(due) => *due,
            Wait::SecondsPath(path) => {
                let value = self.read_wait(branch, state, path)?;
                let told = told(path, &value);
                match value.as_i64() {
                    Some(seconds) if seconds < 0 => {
                        return Err(Failure::runtime(format!(
                            "The SecondsPath parameter references a negative value: {told}"
                        )));
                    }
                    Some(seconds) => self.at.plus_seconds(seconds.unsigned_abs()),
                    None => {
                        return Err(Failure::runtime(format!(
                            "The SecondsPath parameter does not reference an integer value: {told}"
                        )));
                    }
                }
            }
            Wait::TimestampPath(path) => {
                let value = self.read_wait(branch, state, path)?;
                value.as_str().and_then(Timestamp::parse).ok_or_else(|| {
                    let told = told(path, &value);
                    Failure::runtime(format!(
                        "The TimestampPath parameter does not reference a valid ISO-8601 extended offset date-time format string: {told}"
                    ))
                })?
            }
        };
        if due.0.saturating_sub(self.at.0) / 1000 > DELAY_S_MAX {
            return Err(Failure::runtime("Wait state delay is too long."));
        }
        Ok(due)
    }

    fn read_wait(&mut self, branch: &Branch, state: &State, path: &Expression) -> Result<Value, Failure> {
        let input = self.effective_input(branch, state)?;
        let context = self.context_if(path.uses_context(), branch, state, None);
        self.evaluate(&input, &context, |environment| path.look_up(environment))
    }
}

/// A path and what it points at, as AWS writes it: strings without quotes.
fn told(path: &Expression, value: &Value) -> String {
    match value {
        Value::String(text) => format!("{path} == {text}"),
        other => format!("{path} == {other}"),
    }
}
