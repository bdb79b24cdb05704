//! Paths, templates and the context object, applied to a branch.

use std::io::{self, Write};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::flow::Step;
use super::inspect::Stage;
use crate::definition::{DataPath, Handling, State};
use crate::error::{DATA_LIMIT_EXCEEDED, Failure, RESULT_PATH_MATCH_FAILURE};
use crate::execution::{Branch, Item};
use crate::expression::Environment;
use crate::retry::ResultPath;
use crate::template::Template;

impl Step<'_> {
    /// Evaluates something against `input`. `context` is built only if `uses_context` says that it is read.
    pub(super) fn evaluate<T>(
        &mut self,
        input: &Value,
        context: &Value,
        evaluate: impl FnOnce(&mut Environment<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        evaluate(&mut Environment { input, context, random: &mut self.execution.random })
    }

    /// The state's input after `InputPath`.
    pub(super) fn effective_input(&mut self, branch: &Branch, state: &State) -> Result<Arc<Value>, Failure> {
        let input = self.apply_path(&state.input_path, branch, state, branch.input.clone())?;
        self.inspect(Stage::AfterInputPath, &input);
        Ok(input)
    }

    /// `Parameters`, or the input as it is.
    pub(super) fn parameters(
        &mut self,
        template: Option<&Template>,
        branch: &Branch,
        state: &State,
        token: Option<&str>,
        input: Arc<Value>,
    ) -> Result<Arc<Value>, Failure> {
        let parameters = self.template(template, branch, state, token, input)?;
        self.inspect(Stage::AfterParameters, &parameters);
        Ok(parameters)
    }

    fn template(
        &mut self,
        template: Option<&Template>,
        branch: &Branch,
        state: &State,
        token: Option<&str>,
        input: Arc<Value>,
    ) -> Result<Arc<Value>, Failure> {
        let Some(template) = template else { return Ok(input) };
        let context = self.context_if(template.uses_context(), branch, state, token);
        self.evaluate(&input, &context, |environment| template.evaluate(environment)).map(Arc::new)
    }

    /// From a raw result to the state's output: `ResultSelector`, `ResultPath`, `OutputPath`.
    pub(super) fn output(
        &mut self,
        handling: &Handling,
        branch: &Branch,
        state: &State,
        result: Arc<Value>,
    ) -> Result<Arc<Value>, Failure> {
        self.inspect(Stage::Result, &result);
        let result = self.template(handling.result_selector.as_ref(), branch, state, None, result)?;
        self.output_of(&handling.result_path, branch, state, result)
    }

    /// `ResultPath` and `OutputPath`.
    pub(super) fn output_of(
        &mut self,
        result_path: &ResultPath,
        branch: &Branch,
        state: &State,
        result: Arc<Value>,
    ) -> Result<Arc<Value>, Failure> {
        self.inspect(Stage::AfterResultSelector, &result);
        let combined = match result_path {
            ResultPath::Discard => Arc::clone(&branch.input),
            ResultPath::Put(path) if path.is_root() => result,
            ResultPath::Put(path) => path
                .put(Value::clone(&branch.input), Arc::unwrap_or_clone(result))
                .map(Arc::new)
                .map_err(|error| Failure::new(RESULT_PATH_MATCH_FAILURE, error.to_string()))?,
        };
        self.inspect(Stage::AfterResultPath, &combined);
        self.apply_path(&state.output_path, branch, state, combined)
    }

    /// `InputPath` or `OutputPath`.
    pub(super) fn apply_path(
        &mut self,
        path: &DataPath,
        branch: &Branch,
        state: &State,
        value: Arc<Value>,
    ) -> Result<Arc<Value>, Failure> {
        match path {
            DataPath::Whole => Ok(value),
            DataPath::Nothing => Ok(Arc::new(Value::Object(Map::new()))),
            DataPath::Path(path) => {
                let context = self.context_if(path.uses_context(), branch, state, None);
                self.evaluate(&value, &context, |environment| path.look_up(environment)).map(Arc::new)
            }
        }
    }

    pub(super) fn context_if(&self, is_used: bool, branch: &Branch, state: &State, token: Option<&str>) -> Value {
        if is_used { self.context(branch, state, branch.item.as_ref(), token) } else { Value::Null }
    }

    /// The context object, `$$`.
    pub(super) fn context(&self, branch: &Branch, state: &State, item: Option<&Item>, token: Option<&str>) -> Value {
        if let Some(given) = &self.execution.given {
            return given.context_of(item, token);
        }
        let who = &self.execution.context;
        let mut context = json!({
            "Execution": {
                "Id": who.execution_id,
                "Input": *self.execution.input,
                "StartTime": who.start_time.to_string(),
                "Name": who.execution_name,
                "RoleArn": who.role_arn,
                "RedriveCount": who.redrive_count,
            },
            "StateMachine": { "Id": who.state_machine_id, "Name": who.state_machine_name },
            "State": { "Name": state.name, "EnteredTime": branch.entered_at.to_string() },
        });
        if !branch.retries.is_empty() {
            context["State"]["RetryCount"] = branch.retries.iter().sum::<u32>().into();
        }
        if let Some(Item { index, value }) = item {
            context["Map"] = json!({ "Item": { "Index": index, "Value": **value } });
        }
        if let Some(token) = token {
            context["Task"] = json!({ "Token": token });
        }
        context
    }

    /// Refuses what is larger than the payload limit. `producer` is the state or task as AWS's message names it.
    pub(super) fn check_size(&self, value: &Value, producer: &str) -> Result<(), Failure> {
        let Some(bytes_max) = self.execution.options.payload_bytes_max else { return Ok(()) };
        let mut budget = Budget(bytes_max);
        serde_json::to_writer(&mut budget, value).map_err(|_| {
            let cause = format!(
                "The state/task '{producer}' returned a result with a size exceeding the maximum number of bytes service limit."
            );
            Failure::new(DATA_LIMIT_EXCEEDED, cause)
        })
    }
}

/// Takes so many bytes, keeps none, fails at the first beyond.
struct Budget(usize);

impl Write for Budget {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::FileTooLarge)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
