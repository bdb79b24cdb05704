//! Wait: for a while or until a time.
//!
//! | where | what | then |
//! |---|---|---|
//! | entered | due in the future | waiting for a timer |
//! | entered | due already | left |
//! | entered | not evaluated, or due too late | failed |
//! | waiting | timer fired | left |

use std::sync::Arc;

use serde_json::Value;

use super::data::{View, told};
use super::flow::{Step, current};
use crate::definition::{QueryLanguage, State, Wait};
use crate::error::Failure;
use crate::execution::{Activity, Branch, BranchId, TimerPurpose};
use crate::expression::Type;
use crate::template::Computed;
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
            Err(failure) => self.fail_evaluating(id, branch, state, failure),
        }
    }

    pub(super) fn wait_is_over(&mut self, id: BranchId) {
        let Some(branch) = self.execution.branches.remove(&id) else { return };
        let machine = self.execution.machine.clone();
        let state = current(&machine, &branch);
        self.leave_wait(id, branch, state);
    }

    fn leave_wait(&mut self, id: BranchId, branch: Branch, state: &State) {
        let exit = self
            .effective_input(&branch, state)
            .and_then(|input| self.exit(&branch, state, View::of(&input), Arc::clone(&input)));
        match exit {
            Ok(exit) => self.leave(id, branch, state, exit),
            Err(failure) => self.fail_evaluating(id, branch, state, failure),
        }
    }

    fn due(&mut self, branch: &Branch, state: &State, wait: &Wait) -> Result<Timestamp, Failure> {
        let due = match wait {
            Wait::Seconds(seconds) => self.at.plus_seconds(*seconds),
            Wait::Timestamp(due) => *due,
            Wait::SecondsOf(computed) => {
                let seconds = self.wait_seconds(branch, state, computed)?;
                self.at.plus_seconds(seconds)
            }
            Wait::TimestampOf(computed) => self.wait_timestamp(branch, state, computed)?,
        };
        if due.0.saturating_sub(self.at.0) / 1000 > DELAY_S_MAX {
            return Err(wait_problem(state, None, "Wait state delay is too long."));
        }
        Ok(due)
    }

    fn wait_seconds(&mut self, branch: &Branch, state: &State, computed: &Computed) -> Result<u64, Failure> {
        let value = self.read_wait(branch, state, computed, Type::Number)?;
        let is_query = state.language == QueryLanguage::Jsonata;
        let integer = value.as_i64().or_else(|| {
            let float = value.as_f64().filter(|float| is_query && float.fract() == 0.0 && float.abs() < 9e15)?;
            Some(float as i64)
        });
        match (u64::try_from(integer.unwrap_or(-1)), is_query) {
            (Ok(seconds), _) => Ok(seconds),
            (Err(_), true) => {
                let problem = if integer.is_some() { "must not be negative" } else { "must be an integer" };
                let cause = format!("The Seconds field {problem}: {value}");
                Err(Failure::evaluation(Some(&computed.field), cause))
            }
            (Err(_), false) => {
                let problem = match integer {
                    Some(_) => "references a negative value",
                    None => "does not reference an integer value",
                };
                Err(Failure::runtime(format!("The SecondsPath parameter {problem}: {}", pair(computed, &value))))
            }
        }
    }

    fn wait_timestamp(&mut self, branch: &Branch, state: &State, computed: &Computed) -> Result<Timestamp, Failure> {
        let value = self.read_wait(branch, state, computed, Type::String)?;
        value.as_str().and_then(Timestamp::parse).ok_or_else(|| match state.language {
            QueryLanguage::Jsonata => {
                let cause = format!(
                    "The Timestamp field cannot be parsed as an ISO-8601 extended offset date-time format string: {}",
                    told(&value)
                );
                Failure::evaluation(Some(&computed.field), cause)
            }
            QueryLanguage::JsonPath => Failure::runtime(format!(
                "The TimestampPath parameter does not reference a valid ISO-8601 extended offset date-time format string: {}",
                pair(computed, &value)
            )),
        })
    }

    fn read_wait(
        &mut self,
        branch: &Branch,
        state: &State,
        computed: &Computed,
        expected: Type,
    ) -> Result<Value, Failure> {
        let input = self.effective_input(branch, state)?;
        self.computed(computed, expected, branch, state, &input)
    }
}

fn wait_problem(state: &State, field: Option<&str>, cause: &str) -> Failure {
    match state.language {
        QueryLanguage::JsonPath => Failure::runtime(cause),
        QueryLanguage::Jsonata => Failure::evaluation(field, cause),
    }
}

/// A path and what it points at, as AWS writes it: strings without quotes.
fn pair(computed: &Computed, value: &Value) -> String {
    format!("{} == {}", computed.expression, told(value))
}
