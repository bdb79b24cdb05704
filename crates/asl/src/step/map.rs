//! Map: one iteration (inline) or one child execution (distributed) per item.
//!
//! | where | what | then |
//! |---|---|---|
//! | entered | inline, items | waiting for its iterations |
//! | entered | inline, no items | left |
//! | entered | distributed | waiting for its map run |
//! | entered | not evaluated | failed |
//! | waiting | an iteration ended, others run or wait | waiting |
//! | waiting | the last iteration ended | left |
//! | waiting | an iteration failed | the others are aborted, failed |
//! | waiting | the map run succeeded, failed | left, failed |

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::data::told;
use super::flow::Step;
use super::inspect::Stage;
use crate::context::Context;
use crate::definition::{Distributed, Items, Map, MapMode, QueryLanguage, Setting, State};
use crate::error::Failure;
use crate::execution::{Activity, Branch, BranchId, Fan, Item, Iteration, Parent};
use crate::expression::{Environment, Expression, States, Type};
use crate::history::EventKind;
use crate::map_run::{ItemSource, MapRunSpec};
use crate::template::{Computed, Template};
use crate::variables::Variables;

impl Step<'_> {
    pub(super) fn map(&mut self, id: BranchId, mut branch: Branch, state: &State, map: &Map) {
        if let Err(failure) = self.start_map(id, &mut branch, state, map) {
            return self.fail_evaluating(id, branch, state, failure);
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
        let max_concurrency = self.max_concurrency(branch, state, map, &input)?;
        if let MapMode::Distributed(distributed) = &map.mode
            && let Some(reader) = &distributed.reader
        {
            // How many there are is known when they have been read. ItemsPath has no meaning beside a reader; recorded:
            // test_map_item_reader_base_json_with_items_path.
            self.record_in(branch, EventKind::MapStateStarted { length: 0 });
            let request = self.reader_request(branch, state, reader, &input)?;
            let items = ItemSource::Reader(Arc::new(request));
            return self.ask_for_map_run(id, branch, state, map, distributed, &input, max_concurrency, items, false);
        }
        let items = self.items(branch, state, map, &input)?;
        self.record_in(branch, EventKind::MapStateStarted { length: items.len() as u64 });
        if self.is_inspected() {
            let items = items.iter().map(|item| Value::clone(&passed(item))).collect();
            self.inspect(Stage::AfterItemsPath, &items);
        }
        if let MapMode::Distributed(distributed) = &map.mode {
            if self.is_inspected() {
                self.iterations(branch, state, map, &input, items.clone())?;
            }
            let are_pairs = items.first().is_some_and(|item| item.key.is_some());
            let items = ItemSource::Given(items.iter().map(passed).collect());
            return self.ask_for_map_run(
                id,
                branch,
                state,
                map,
                distributed,
                &input,
                max_concurrency,
                items,
                are_pairs,
            );
        }
        let iterations = self.iterations(branch, state, map, &input, items)?;
        let mut fan =
            Fan { results: vec![None; iterations.len()], running: BTreeMap::new(), waiting: iterations.into() };
        let slots = max_concurrency.and_then(|max| usize::try_from(max).ok()).unwrap_or(usize::MAX);
        while fan.running.len() < slots && self.start_iteration(id, branch, &mut fan, state, map, branch.last_id) {}
        branch.activity = Activity::Fan(fan);
        Ok(())
    }

    #[allow(clippy::too_many_arguments, reason = "private, and each argument is one thing that it stands on")]
    fn ask_for_map_run(
        &mut self,
        id: BranchId,
        branch: &mut Branch,
        state: &State,
        map: &Map,
        distributed: &Distributed,
        input: &Arc<Value>,
        max_concurrency: Option<u64>,
        items: ItemSource,
        are_pairs: bool,
    ) -> Result<(), Failure> {
        let batching = match &distributed.batcher {
            Some(batcher) => Some(self.batching(branch, state, batcher, input)?),
            None => None,
        };
        let spec = MapRunSpec {
            state: state.name.clone(),
            selection: self.selection(branch, map, input, are_pairs),
            items,
            batching,
            writer: self.writer(branch, state, distributed.writer.as_ref(), input)?,
            processor: distributed.path.clone(),
            child_type: distributed.child_type,
            max_concurrency: max_concurrency.and_then(|max| u32::try_from(max).ok()),
            tolerated_failure_count: self.tolerated_count(branch, state, map, input)?,
            tolerated_failure_percentage: self.tolerated_percentage(branch, state, map, input)?,
            label: distributed.label.clone(),
        };
        let spec = Arc::new(spec);
        let map_run = self.start_map_run(id, Arc::clone(&spec));
        branch.activity = Activity::MapRun { map_run, spec, started_id: None };
        Ok(())
    }

    /// What to map over.
    fn items(&mut self, branch: &Branch, state: &State, map: &Map, input: &Value) -> Result<Vec<Item>, Failure> {
        let takes_objects = self.takes_objects(map);
        match &map.items {
            Items::Input => match (input, state.language) {
                (Value::Array(items), _) => Ok(items_of(items.clone())),
                (Value::Object(fields), _) if takes_objects => Ok(pairs_of(fields.clone())),
                (_, QueryLanguage::JsonPath) => Err(not_an_array("$")),
                (_, QueryLanguage::Jsonata) => {
                    Err(Failure::evaluation(None, format!("Map state input must be an array but was: {input}")))
                }
            },
            Items::Path(path) => self.items_at(path, branch, state, map, input),
            Items::Template(template) => {
                let made = match template {
                    Template::Computed(computed) => self.computed(computed, Type::Array, branch, state, input)?,
                    template => {
                        let view = super::data::View::of(input);
                        let made = self.evaluate(branch, state, view, |environment| template.evaluate(environment))?;
                        Arc::unwrap_or_clone(made)
                    }
                };
                match made {
                    Value::Array(items) => Ok(items_of(items)),
                    Value::Object(fields) if takes_objects => Ok(pairs_of(fields)),
                    other => Err(Failure::evaluation(
                        Some("Items"),
                        format!("Map state input must be an array but was: {other}"),
                    )),
                }
            }
        }
    }

    fn items_at(
        &mut self,
        path: &Expression,
        branch: &Branch,
        state: &State,
        map: &Map,
        input: &Value,
    ) -> Result<Vec<Item>, Failure> {
        let view = super::data::View::of(input);
        let takes_objects = self.takes_objects(map);
        self.evaluate(branch, state, view, |environment| match path.query(environment) {
            Ok(found) => match found.into_owned() {
                Value::Array(items) => Ok(items_of(items)),
                Value::Object(fields) if takes_objects => Ok(pairs_of(fields)),
                _ => Err(not_an_array(&reference(path))),
            },
            Err(_) => {
                let root = path.root(environment);
                Err(Failure::runtime(format!("Unable to apply ReferencePath {} to input {root}", reference(path))))
            }
        })
    }

    /// Whether the items may be the fields of an object. The developer guide says so of every Map; an inline one that was
    /// given an object was recorded to refuse it (test_map_state_items_input_types), also by TestState, where every Map
    /// asks for its iterations as a distributed one does.
    ///
    /// # Source
    /// <https://docs.aws.amazon.com/step-functions/latest/dg/input-output-itemspath.html>, read 2026-11
    fn takes_objects(&self, map: &Map) -> bool {
        matches!(map.mode, MapMode::Distributed(_)) && !self.is_inspected()
    }

    /// Every item with what `ItemSelector` makes of it.
    fn iterations(
        &mut self,
        branch: &Branch,
        state: &State,
        map: &Map,
        input: &Value,
        items: Vec<Item>,
    ) -> Result<Vec<Iteration>, Failure> {
        let Some(selector) = &map.item_selector else {
            let iteration = |item: Item| Iteration { index: item.index, input: passed(&item), item };
            return Ok(items.into_iter().map(iteration).collect());
        };
        let execution = &mut *self.execution;
        let context = Context::new(&execution.context, &execution.input, state, branch, None);
        let mut context = context.given(execution.given.as_ref());
        let mut iterations = Vec::with_capacity(items.len());
        for item in items {
            context.set_item(item.clone());
            let mut environment = Environment {
                input,
                states: States { input: &branch.input, result: None, error_output: None },
                context: &context,
                variables: &branch.variables,
                random: &mut execution.random,
                at: self.at,
            };
            let selected = selector.evaluate(&mut environment)?;
            iterations.push(Iteration { index: item.index, input: selected, item });
        }
        if self.is_inspected() {
            let inputs = iterations.iter().map(|iteration| Value::clone(&iteration.input)).collect();
            self.inspect(Stage::AfterItemSelector, &inputs);
        }
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
        let parent = Parent { branch: id, index };
        debug_assert!(branch.last_id <= last_id);
        let variables = Variables::inside(&branch.variables);
        let child = self.begin(Some(parent), map.processor, input, variables, Some(item), last_id);
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

    fn max_concurrency(
        &mut self,
        branch: &Branch,
        state: &State,
        map: &Map,
        input: &Value,
    ) -> Result<Option<u64>, Failure> {
        let max = self.whole_number(&map.max_concurrency, branch, state, input, not_an_integer)?.unwrap_or(0);
        let Ok(max) = u64::try_from(max) else {
            let cause = format!("Expected non-negative integer, but got '{max}' instead.");
            return Err(map_problem(state, "MaxConcurrency", &cause));
        };
        self.inspect(Stage::MaxConcurrency, &max.into());
        Ok((max > 0).then_some(max))
    }

    fn tolerated_count(
        &mut self,
        branch: &Branch,
        state: &State,
        map: &Map,
        input: &Value,
    ) -> Result<Option<u64>, Failure> {
        let Some(count) = self.whole_number(&map.tolerated_count, branch, state, input, not_an_integer)? else {
            return Ok(None);
        };
        let Ok(count) = u64::try_from(count) else {
            return Err(map_problem(state, "ToleratedFailureCount", "ToleratedFailureCount cannot be negative."));
        };
        self.inspect(Stage::ToleratedFailureCount, &count.into());
        Ok(Some(count))
    }

    fn tolerated_percentage(
        &mut self,
        branch: &Branch,
        state: &State,
        map: &Map,
        input: &Value,
    ) -> Result<Option<f64>, Failure> {
        let percentage = match &map.tolerated_percentage {
            Setting::Absent => return Ok(None),
            Setting::Value(percentage) => *percentage,
            Setting::Computed(computed) => {
                let value = self.computed(computed, Type::Number, branch, state, input)?;
                let number = value.as_f64().or_else(|| value.as_str()?.parse().ok());
                number.ok_or_else(|| not_a(&computed.field, &value, "float", computed))?
            }
        };
        if !(0.0..=100.0).contains(&percentage) {
            let cause = "ToleratedFailurePercentage must be between 0 and 100.";
            return Err(map_problem(state, "ToleratedFailurePercentage", cause));
        }
        self.inspect(Stage::ToleratedFailurePercentage, &percentage.into());
        Ok(Some(percentage))
    }
}

fn items_of(values: Vec<Value>) -> Vec<Item> {
    let item = |(index, value)| Item { index, key: None, source: None, value: Arc::new(value) };
    values.into_iter().enumerate().map(item).collect()
}

/// An object's fields, in their order.
fn pairs_of(fields: serde_json::Map<String, Value>) -> Vec<Item> {
    let item = |(index, (key, value))| Item { index, key: Some(key), source: None, value: Arc::new(value) };
    fields.into_iter().enumerate().map(item).collect()
}

/// What a child gets of an item as it is: a field of an object with its key.
fn passed(item: &Item) -> Arc<Value> {
    match &item.key {
        Some(key) => Arc::new(serde_json::json!({ "Key": key, "Value": *item.value })),
        None => Arc::clone(&item.value),
    }
}

fn map_problem(state: &State, field: &str, cause: &str) -> Failure {
    match state.language {
        QueryLanguage::JsonPath => Failure::runtime(cause),
        QueryLanguage::Jsonata => Failure::evaluation(Some(field), cause),
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

fn not_an_integer(field: &str, value: &Value, computed: &Computed) -> Failure {
    not_a(field, value, "integer", computed)
}

pub(super) fn not_a(field: &str, value: &Value, expected: &str, computed: &Computed) -> Failure {
    let cause = format!(
        "The {field} field refers to value \"{}\" which is not a valid {expected}: {}",
        told(value),
        computed.expression
    );
    match &computed.expression {
        Expression::Query(_) => Failure::evaluation(Some(field), cause),
        _ => Failure::runtime(cause),
    }
}
