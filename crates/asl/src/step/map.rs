//! Map: one iteration (inline) or one child execution (distributed) per item.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::flow::{Step, current};
use super::inspect::Stage;
use crate::command::MapRunSpec;
use crate::definition::{Kind, Map, MapMode, Setting, State};
use crate::error::Failure;
use crate::event::MapRunId;
use crate::execution::{Activity, Branch, BranchId, Fan, Item, Iteration, Parent};
use crate::expression::Expression;
use crate::history::EventKind;

impl Step<'_> {
    pub(super) fn map(&mut self, id: BranchId, mut branch: Branch, state: &State, map: &Map) {
        if let Err(failure) = self.start_map(id, &mut branch, state, map) {
            let failure = failure.in_state(&state.name, branch.entered_id);
            return self.fail(id, branch, state, failure);
        }
        let is_empty = matches!(&branch.activity, Activity::Fan(fan) if fan.results.is_empty());
        if is_empty {
            return self.leave_map(id, branch, state, map, Vec::new());
        }
        self.execution.branches.insert(id, branch);
    }

    /// Starts what can be started and says so in the branch's activity.
    fn start_map(&mut self, id: BranchId, branch: &mut Branch, state: &State, map: &Map) -> Result<(), Failure> {
        let input = self.effective_input(branch, state)?;
        let items = self.items(branch, state, map, &input)?;
        self.record_in(branch, EventKind::MapStateStarted { length: items.len() as u64 });
        self.inspect_all(Stage::AfterItemsPath, &items);
        let max_concurrency = self.max_concurrency(branch, state, map, &input)?;
        let iterations = self.iterations(branch, state, map, &input, items)?;
        branch.activity = match &map.mode {
            MapMode::Distributed { path, child_type, label, tolerated_count, tolerated_percentage } => {
                let spec = MapRunSpec {
                    state: state.name.clone(),
                    items: iterations.into_iter().map(|iteration| Arc::unwrap_or_clone(iteration.input)).collect(),
                    processor: path.clone(),
                    child_type: *child_type,
                    max_concurrency: max_concurrency.and_then(|max| u32::try_from(max).ok()),
                    tolerated_failure_count: self.tolerated_count(branch, state, tolerated_count, &input)?,
                    tolerated_failure_percentage: self.tolerated_percentage(
                        branch,
                        state,
                        tolerated_percentage,
                        &input,
                    )?,
                    label: label.clone(),
                };
                Activity::MapRun { map_run: self.start_map_run(id, spec), is_started: false }
            }
            MapMode::Inline => {
                let mut fan =
                    Fan { results: vec![None; iterations.len()], running: BTreeMap::new(), waiting: iterations.into() };
                let slots = max_concurrency.and_then(|max| usize::try_from(max).ok()).unwrap_or(usize::MAX);
                while fan.running.len() < slots
                    && self.start_iteration(id, branch, &mut fan, state, map, branch.last_id)
                {}
                Activity::Fan(fan)
            }
        };
        Ok(())
    }

    /// The array to map over.
    fn items(&mut self, branch: &Branch, state: &State, map: &Map, input: &Value) -> Result<Vec<Arc<Value>>, Failure> {
        let Some(path) = &map.items else {
            return match input {
                Value::Array(items) => Ok(items.iter().cloned().map(Arc::new).collect()),
                _ => Err(not_an_array("$")),
            };
        };
        let context = self.context_if(path.uses_context(), branch, state, None);
        let found = self.evaluate(input, &context, |environment| path.look_up(environment));
        match found {
            Ok(Value::Array(items)) => Ok(items.into_iter().map(Arc::new).collect()),
            Ok(_) => Err(not_an_array(&reference(path))),
            Err(_) => {
                let root = if path.uses_context() { &context } else { input };
                Err(Failure::runtime(format!("Unable to apply ReferencePath {} to input {root}", reference(path))))
            }
        }
    }

    /// Every item with what `ItemSelector` makes of it.
    fn iterations(
        &mut self,
        branch: &Branch,
        state: &State,
        map: &Map,
        input: &Value,
        items: Vec<Arc<Value>>,
    ) -> Result<Vec<Iteration>, Failure> {
        let Some(selector) = &map.item_selector else {
            let iteration = |(index, input)| Iteration { index, input, item: None };
            return Ok(items.into_iter().enumerate().map(iteration).collect());
        };
        let mut context = self.context_if(selector.uses_context(), branch, state, None);
        let mut iterations = Vec::with_capacity(items.len());
        for (index, value) in items.into_iter().enumerate() {
            if !context.is_null() {
                context["Map"]["Item"]["Index"] = index.into();
                context["Map"]["Item"]["Value"] = Value::clone(&value);
            }
            let selected = self.evaluate(input, &context, |environment| selector.evaluate(environment))?;
            iterations.push(Iteration { index, input: Arc::new(selected), item: Some(value) });
        }
        let inputs: Vec<Arc<Value>> = iterations.iter().map(|iteration| Arc::clone(&iteration.input)).collect();
        self.inspect_all(Stage::AfterItemSelector, &inputs);
        Ok(iterations)
    }

    /// Starts the next iteration that waits; false if none does. `previous_id` is the event that made room for it.
    fn start_iteration(
        &mut self,
        id: BranchId,
        branch: &Branch,
        fan: &mut Fan,
        state: &State,
        map: &Map,
        previous_id: u64,
    ) -> bool {
        let Some(Iteration { index, input, item }) = fan.waiting.pop_front() else { return false };
        let name = state.name.clone();
        let last_id = self.record(previous_id, EventKind::MapIterationStarted { name, index: index as u64 });
        let value = item.unwrap_or_else(|| Arc::clone(&input));
        let parent = Parent { branch: id, index };
        debug_assert!(branch.last_id <= last_id);
        let child = self.begin(Some(parent), map.processor, input, Some(Item { index, value }), last_id);
        fan.running.insert(index, child);
        true
    }

    /// One iteration of an inline Map has ended; `last_id` is its last event.
    pub(super) fn iteration_succeeded(
        &mut self,
        parent: Parent,
        mut branch: Branch,
        state: &State,
        map: &Map,
        last_id: u64,
        output: Arc<Value>,
    ) {
        let Activity::Fan(mut fan) = std::mem::replace(&mut branch.activity, Activity::Ready) else { return };
        let name = state.name.clone();
        let ended_id = self.record(last_id, EventKind::MapIterationSucceeded { name, index: parent.index as u64 });
        fan.running.remove(&parent.index);
        fan.results[parent.index] = Some(output);
        self.start_iteration(parent.branch, &branch, &mut fan, state, map, last_id);
        if !fan.running.is_empty() {
            return self.park(parent.branch, branch, Activity::Fan(fan));
        }
        branch.last_id = ended_id;
        let results = fan.results.into_iter().flatten().map(Arc::unwrap_or_clone).collect();
        self.leave_map(parent.branch, branch, state, map, results);
    }

    fn leave_map(&mut self, id: BranchId, branch: Branch, state: &State, map: &Map, results: Vec<Value>) {
        // Leaving points at what this event points at, and not at this event: recorded in test_map_state.
        self.record(branch.last_id, EventKind::MapStateSucceeded);
        self.leave_with_result(id, branch, state, &map.handling, Arc::new(Value::Array(results)));
    }

    pub(super) fn map_run_started(&mut self, map_run: MapRunId, arn: String) {
        let Some(id) = self.execution.pending.map_runs.get(&map_run).map(|effect| effect.of) else { return };
        let Some(mut branch) = self.execution.branches.remove(&id) else { return };
        if let Activity::MapRun { is_started, .. } = &mut branch.activity
            && !std::mem::replace(is_started, true)
        {
            self.record_in(&mut branch, EventKind::MapRunStarted { arn });
        }
        self.execution.branches.insert(id, branch);
    }

    pub(super) fn map_run_succeeded(&mut self, map_run: MapRunId, output: Value) {
        let Some(id) = self.end_map_run(map_run) else { return };
        let Some(mut branch) = self.execution.branches.remove(&id) else { return };
        let machine = self.execution.machine.clone();
        let state = current(&machine, &branch);
        let Kind::Map(map) = &state.kind else { return };
        self.record_in(&mut branch, EventKind::MapRunSucceeded);
        self.record(branch.last_id, EventKind::MapStateSucceeded);
        self.leave_with_result(id, branch, state, &map.handling, Arc::new(output));
    }

    pub(super) fn map_run_failed(&mut self, map_run: MapRunId, error: String, cause: String) {
        let Some(id) = self.end_map_run(map_run) else { return };
        let Some(mut branch) = self.execution.branches.remove(&id) else { return };
        let machine = self.execution.machine.clone();
        let state = current(&machine, &branch);
        let failure = Failure::new(&error, cause.clone());
        self.record_in(&mut branch, EventKind::MapRunFailed { error, cause });
        self.fail_after(id, branch, state, failure, EventKind::MapStateFailed);
    }

    fn max_concurrency(
        &mut self,
        branch: &Branch,
        state: &State,
        map: &Map,
        input: &Value,
    ) -> Result<Option<u64>, Failure> {
        let max = match &map.max_concurrency {
            Setting::Absent => 0,
            Setting::Value(max) => *max,
            Setting::Path(path) => {
                let value = self.setting(branch, state, path, input)?;
                value.as_u64().ok_or_else(|| not_a("MaxConcurrencyPath", &value, "integer", path))?
            }
        };
        Ok((max > 0).then_some(max))
    }

    fn tolerated_count(
        &mut self,
        branch: &Branch,
        state: &State,
        setting: &Setting<u64>,
        input: &Value,
    ) -> Result<Option<u64>, Failure> {
        match setting {
            Setting::Absent => Ok(None),
            Setting::Value(count) => Ok(Some(*count)),
            Setting::Path(path) => {
                let value = self.setting(branch, state, path, input)?;
                let count =
                    value.as_u64().ok_or_else(|| not_a("ToleratedFailureCountPath", &value, "integer", path))?;
                Ok(Some(count))
            }
        }
    }

    fn tolerated_percentage(
        &mut self,
        branch: &Branch,
        state: &State,
        setting: &Setting<f64>,
        input: &Value,
    ) -> Result<Option<f64>, Failure> {
        let percentage = match setting {
            Setting::Absent => return Ok(None),
            Setting::Value(percentage) => *percentage,
            Setting::Path(path) => {
                let value = self.setting(branch, state, path, input)?;
                value.as_f64().ok_or_else(|| not_a("ToleratedFailurePercentagePath", &value, "float", path))?
            }
        };
        if !(0.0..=100.0).contains(&percentage) {
            return Err(Failure::runtime("ToleratedFailurePercentage must be between 0 and 100."));
        }
        Ok(Some(percentage))
    }

    fn inspect_all(&mut self, stage: Stage, values: &[Arc<Value>]) {
        if self.is_inspected() {
            self.inspect(stage, &values.iter().map(|value| Value::clone(value)).collect());
        }
    }

    fn setting(&mut self, branch: &Branch, state: &State, path: &Expression, input: &Value) -> Result<Value, Failure> {
        let context = self.context_if(path.uses_context(), branch, state, None);
        self.evaluate(input, &context, |environment| path.look_up(environment))
    }
}

fn not_an_array(path: &str) -> Failure {
    Failure::runtime(format!("Reference path \"{path}\" must point to array."))
}

/// A path as AWS's messages about items write it: one `$`, also for the context object.
fn reference(path: &Expression) -> String {
    let text = path.to_string();
    text.strip_prefix("$$").map_or(text.clone(), |rest| format!("${rest}"))
}

fn not_a(field: &str, value: &Value, expected: &str, path: &Expression) -> Failure {
    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    Failure::runtime(format!("The {field} field refers to value \"{value}\" which is not a valid {expected}: {path}"))
}
