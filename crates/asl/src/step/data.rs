//! The way of a state's data: from its raw input to what its work gets, and from a result to its output.
//!
//! The JSONPath dialect goes through `InputPath`, `Parameters`, `ResultSelector`, `ResultPath` and `OutputPath`; the
//! JSONata dialect has `Arguments` and `Output`. Both may `Assign` on the way out.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::flow::Step;
use super::inspect::Stage;
use crate::context::Context;
use crate::definition::{DataPath, Handling, QueryLanguage, Setting, State};
use crate::error::{DATA_LIMIT_EXCEEDED, Failure, RESULT_PATH_MATCH_FAILURE};
use crate::execution::Branch;
use crate::expression::{Environment, States, Type};
use crate::retry::ResultPath;
use crate::size::{DEPTH_MAX, exceeds, is_deeper_than};
use crate::template::{Computed, Template};

/// Most that one `Assign` may store, and most that an execution may hold, as JSON text.
///
/// # Source
/// <https://docs.aws.amazon.com/step-functions/latest/dg/workflow-variables.html>, read 2026-11-27.
const ASSIGN_BYTES_MAX: usize = 262_144;
const VARIABLES_BYTES_MAX: usize = 10 * 1024 * 1024;

/// What an expression looks at.
#[derive(Clone, Copy)]
pub(super) struct View<'v> {
    /// `$` of a path.
    pub(super) input: &'v Value,
    /// `$states.result`.
    pub(super) result: Option<&'v Arc<Value>>,
    /// `$states.errorOutput`.
    pub(super) error_output: Option<&'v Arc<Value>>,
    /// `$$.Task.Token`.
    pub(super) token: Option<&'v str>,
}

impl<'v> View<'v> {
    pub(super) fn of(input: &'v Value) -> View<'v> {
        View { input, result: None, error_output: None, token: None }
    }

    pub(super) fn of_result(result: &'v Arc<Value>) -> View<'v> {
        View { result: Some(result), ..View::of(result) }
    }

    pub(super) fn of_error(error: &'v Arc<Value>) -> View<'v> {
        View { error_output: Some(error), ..View::of(error) }
    }
}

/// How a state is left.
pub(super) struct Exit {
    pub(super) output: Arc<Value>,
    pub(super) assigned: BTreeMap<String, Arc<Value>>,
}

impl Step<'_> {
    /// Evaluates something in a state.
    pub(super) fn evaluate<T>(
        &mut self,
        branch: &Branch,
        state: &State,
        view: View<'_>,
        evaluate: impl FnOnce(&mut Environment<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let execution = &mut *self.execution;
        let context = Context::new(&execution.context, &execution.input, state, branch, view.token);
        let context = context.given(execution.given.as_ref());
        evaluate(&mut Environment {
            input: view.input,
            states: States { input: &branch.input, result: view.result, error_output: view.error_output },
            context: &context,
            variables: &branch.variables,
            random: &mut execution.random,
            at: self.at,
        })
    }

    /// The state's input after `InputPath`; in the JSONata dialect the input.
    pub(super) fn effective_input(&mut self, branch: &Branch, state: &State) -> Result<Arc<Value>, Failure> {
        let input = self.apply_path(&state.input_path, "InputPath", branch, state, Arc::clone(&branch.input))?;
        if state.language == QueryLanguage::JsonPath {
            self.inspect(Stage::AfterInputPath, &input);
        }
        Ok(input)
    }

    /// `Parameters` or `Arguments`; the input as it is where there are none.
    pub(super) fn arguments(
        &mut self,
        template: Option<&Template>,
        branch: &Branch,
        state: &State,
        token: Option<&str>,
        input: Arc<Value>,
    ) -> Result<Arc<Value>, Failure> {
        let arguments = match template {
            Some(template) => {
                let view = View { token, ..View::of(&input) };
                self.evaluate(branch, state, view, |environment| template.evaluate(environment))?
            }
            None => input,
        };
        check_depth(&arguments, &state.name)?;
        let stage = match state.language {
            QueryLanguage::JsonPath => Stage::AfterParameters,
            QueryLanguage::Jsonata => Stage::AfterArguments,
        };
        if state.language == QueryLanguage::JsonPath || template.is_some() {
            self.inspect(stage, &arguments);
        }
        Ok(arguments)
    }

    /// From the raw result of a Task, Map or Parallel to what the state is left with.
    pub(super) fn exit_with_result(
        &mut self,
        handling: &Handling,
        branch: &Branch,
        state: &State,
        result: Arc<Value>,
    ) -> Result<Exit, Failure> {
        if state.language == QueryLanguage::Jsonata {
            self.inspect(Stage::Result, &result);
            return self.exit(
                branch,
                state,
                View { input: &branch.input, ..View::of_result(&result) },
                Arc::clone(&result),
            );
        }
        self.inspect(Stage::Result, &result);
        let selected = match &handling.result_selector {
            Some(template) => {
                self.evaluate(branch, state, View::of(&result), |environment| template.evaluate(environment))?
            }
            None => Arc::clone(&result),
        };
        let assigned = self.assigned(state.assign.as_ref(), branch, state, View::of(&result))?;
        let output = self.output_of(&handling.result_path, branch, state, selected)?;
        Ok(Exit { output, assigned })
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
        let combined = put(result_path, &branch.input, result)
            .map_err(|problem| Failure::new(RESULT_PATH_MATCH_FAILURE, problem))?;
        self.inspect(Stage::AfterResultPath, &combined);
        self.apply_path(&state.output_path, "OutputPath", branch, state, combined)
    }

    /// A state without a result of its own: `Output` and `Assign` in the JSONata dialect, `OutputPath` and `Assign` in
    /// the other. `otherwise` goes on where nothing is computed.
    pub(super) fn exit(
        &mut self,
        branch: &Branch,
        state: &State,
        view: View<'_>,
        otherwise: Arc<Value>,
    ) -> Result<Exit, Failure> {
        self.exit_through(state.output.as_ref(), state.assign.as_ref(), branch, state, view, otherwise)
    }

    /// The same through an `Output` and an `Assign` that are not the state's but a rule's.
    pub(super) fn exit_through(
        &mut self,
        output: Option<&Template>,
        assign: Option<&Template>,
        branch: &Branch,
        state: &State,
        view: View<'_>,
        otherwise: Arc<Value>,
    ) -> Result<Exit, Failure> {
        let output = match output {
            Some(template) => self.evaluate(branch, state, view, |environment| template.evaluate(environment))?,
            None => self.apply_path(&state.output_path, "OutputPath", branch, state, otherwise)?,
        };
        let assigned = self.assigned(assign, branch, state, view)?;
        Ok(Exit { output, assigned })
    }

    /// What `Assign` stores. Every expression sees the variables as they were when the state was entered.
    pub(super) fn assigned(
        &mut self,
        assign: Option<&Template>,
        branch: &Branch,
        state: &State,
        view: View<'_>,
    ) -> Result<BTreeMap<String, Arc<Value>>, Failure> {
        let Some(template) = assign else { return Ok(BTreeMap::new()) };
        let assigned = self.evaluate(branch, state, view, |environment| template.evaluate(environment))?;
        check_depth(&assigned, &state.name)?;
        if exceeds(&assigned, ASSIGN_BYTES_MAX) {
            let cause = format!(
                "The state/task '{}' assigned variables with a size exceeding the maximum number of bytes service limit.",
                state.name
            );
            return Err(Failure::new(DATA_LIMIT_EXCEEDED, cause));
        }
        match Arc::unwrap_or_clone(assigned) {
            Value::Object(object) => Ok(object.into_iter().map(|(name, value)| (name, Arc::new(value))).collect()),
            _ => Ok(BTreeMap::new()),
        }
    }

    /// Puts what was assigned in its place.
    pub(super) fn assign(
        &mut self,
        branch: &mut Branch,
        state: &State,
        assigned: &BTreeMap<String, Arc<Value>>,
    ) -> Result<(), Failure> {
        if assigned.is_empty() {
            return Ok(());
        }
        let mut variables = Arc::clone(&branch.variables);
        Arc::make_mut(&mut variables).assign(assigned);
        if variables.bytes() > VARIABLES_BYTES_MAX {
            let cause = format!(
                "The variables of the execution exceed the maximum number of bytes service limit in the state '{}'.",
                state.name
            );
            return Err(Failure::new(DATA_LIMIT_EXCEEDED, cause));
        }
        branch.variables = variables;
        if self.is_inspected() {
            let seen = branch.variables.iter().map(|(name, value)| (name.to_owned(), value.clone())).collect();
            self.inspect(Stage::Variables, &Value::Object(seen));
        }
        Ok(())
    }

    /// `InputPath` or `OutputPath`.
    pub(super) fn apply_path(
        &mut self,
        path: &DataPath,
        field: &str,
        branch: &Branch,
        state: &State,
        value: Arc<Value>,
    ) -> Result<Arc<Value>, Failure> {
        match path {
            DataPath::Whole => Ok(value),
            DataPath::Nothing => Ok(Arc::new(Value::Object(Map::new()))),
            DataPath::Path(path) => self
                .evaluate(branch, state, View::of(&value), |environment| path.look_up(field, environment))
                .map(Arc::new),
        }
    }

    /// A field that must have a type where it is computed by a JSONata expression.
    pub(super) fn computed(
        &mut self,
        Computed { expression, field }: &Computed,
        expected: Type,
        branch: &Branch,
        state: &State,
        input: &Value,
    ) -> Result<Value, Failure> {
        self.evaluate(branch, state, View::of(input), |environment| expression.typed(field, expected, environment))
    }

    /// A whole number of at least `least`. A path may point at a text that says one, as AWS was recorded to accept.
    pub(super) fn whole_number(
        &mut self,
        setting: &Setting<u64>,
        branch: &Branch,
        state: &State,
        input: &Value,
        problem: impl FnOnce(&str, &Value, &Computed) -> Failure,
    ) -> Result<Option<i64>, Failure> {
        match setting {
            Setting::Absent => Ok(None),
            Setting::Value(number) => Ok(Some(i64::try_from(*number).unwrap_or(i64::MAX))),
            Setting::Computed(computed) => {
                let value = self.computed(computed, Type::Number, branch, state, input)?;
                match integer_of(&value) {
                    Some(number) => Ok(Some(number)),
                    None => Err(problem(&computed.field, &value, computed)),
                }
            }
        }
    }

    /// Refuses what is larger than the payload limit. `producer` is the state or task as AWS's message names it.
    pub(super) fn check_size(&self, value: &Value, producer: &str) -> Result<(), Failure> {
        check_depth(value, producer)?;
        let Some(bytes_max) = self.execution.options.payload_bytes_max else { return Ok(()) };
        if !exceeds(value, bytes_max) {
            return Ok(());
        }
        let cause = format!(
            "The state/task '{producer}' returned a result with a size exceeding the maximum number of bytes service limit."
        );
        Err(Failure::new(DATA_LIMIT_EXCEEDED, cause))
    }
}

/// Refuses what others could not read. `producer` is the state or task.
fn check_depth(value: &Value, producer: &str) -> Result<(), Failure> {
    if !is_deeper_than(value, DEPTH_MAX) {
        return Ok(());
    }
    let cause = format!("The state/task '{producer}' returned a result nested deeper than {DEPTH_MAX} levels.");
    Err(Failure::runtime(cause))
}

/// `ResultPath`, applied.
pub(super) fn put(path: &ResultPath, input: &Arc<Value>, result: Arc<Value>) -> Result<Arc<Value>, String> {
    match path {
        ResultPath::Discard => Ok(Arc::clone(input)),
        ResultPath::Put(path) if path.is_root() => Ok(result),
        ResultPath::Put(path) => {
            let combined = path.put(Value::clone(input), Arc::unwrap_or_clone(result));
            combined.map(Arc::new).map_err(|error| error.to_string())
        }
    }
}

/// An integer, a float without a fraction, or a text that says an integer.
pub(super) fn integer_of(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64().or_else(|| {
            let float = number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < 9e15)?;
            Some(float as i64)
        }),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

/// A text as it is, anything else as JSON: how AWS quotes what a path points at.
pub(super) fn told(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
