//! The distributed half of Map: what the engine is asked to run, and how the state goes on when that has ended.

use std::sync::Arc;

use serde_json::Value;

use super::data::View;
use super::flow::{Step, current};
use crate::definition::{ItemBatcher, ItemReader, Kind, Map, QueryLanguage, ResultWriter, Setting, State};
use crate::error::{DATA_LIMIT_EXCEEDED, Failure, RUNTIME};
use crate::event::MapRunId;
use crate::execution::{Activity, Branch};
use crate::expression::Type;
use crate::history::EventKind;
use crate::map_run::{Batching, Destination, ReaderRequest, Selection, Selector, Writer};
use crate::template::Computed;

impl Step<'_> {
    /// What becomes of an item when its child starts: see [`Selection`].
    pub(super) fn selection(&self, branch: &Branch, map: &Map, input: &Arc<Value>, are_pairs: bool) -> Selection {
        if map.item_selector.is_none() {
            return Selection::whole();
        }
        let execution = &self.execution;
        Selection::of(Selector {
            machine: execution.machine.clone(),
            who: execution.context.clone(),
            execution_input: Arc::clone(&execution.input),
            branch: branch.clone(),
            input: Arc::clone(input),
            are_pairs,
            seed: execution.options.seed ^ branch.entered_id,
            at: self.at,
        })
    }

    /// An `ItemReader`, but for its items.
    pub(super) fn reader_request(
        &mut self,
        branch: &Branch,
        state: &State,
        reader: &ItemReader,
        input: &Value,
    ) -> Result<ReaderRequest, Failure> {
        let arguments = match &reader.arguments {
            Some(template) => {
                let made = self.evaluate(branch, state, View::of(input), |environment| template.evaluate(environment));
                Arc::unwrap_or_clone(made?)
            }
            None => Value::Object(Default::default()),
        };
        Ok(ReaderRequest {
            action: reader.action,
            arguments,
            input_type: reader.input_type,
            csv: reader.csv.clone(),
            items_max: self.whole_number(&reader.items_max, branch, state, input, not_an_integer)?,
            items_pointer: match &reader.items_pointer {
                Setting::Absent => None,
                Setting::Value(pointer) => Some(pointer.clone()),
                Setting::Computed(computed) => {
                    let pointer = self.computed(computed, Type::String, branch, state, input)?;
                    pointer.as_str().map(str::to_owned)
                }
            },
            manifest_type: reader.manifest_type,
            manifest_input_type: reader.manifest_input_type,
            transformation: reader.transformation,
        })
    }

    pub(super) fn batching(
        &mut self,
        branch: &Branch,
        state: &State,
        batcher: &ItemBatcher,
        input: &Value,
    ) -> Result<Batching, Failure> {
        let items_max = self.whole_number(&batcher.items_max, branch, state, input, not_an_integer)?;
        let input_bytes_max = self.whole_number(&batcher.input_bytes_max, branch, state, input, not_an_integer)?;
        let made = match &batcher.input {
            Some(template) => {
                Some(self.evaluate(branch, state, View::of(input), |environment| template.evaluate(environment))?)
            }
            None => None,
        };
        let positive = |name: &str, value: Option<i64>| match value {
            None => Ok(None),
            Some(value) if value > 0 => Ok(Some(value.unsigned_abs())),
            Some(_) => Err(problem(state, name, format!("field {name} must be positive"))),
        };
        Ok(Batching {
            items_max: positive("MaxItemsPerBatch", items_max)?,
            input_bytes_max: positive("MaxInputBytesPerBatch", input_bytes_max)?,
            input: made,
        })
    }

    pub(super) fn writer(
        &mut self,
        branch: &Branch,
        state: &State,
        writer: Option<&ResultWriter>,
        input: &Value,
    ) -> Result<Writer, Failure> {
        let Some(writer) = writer else { return Ok(Writer::default()) };
        let destination = match &writer.arguments {
            None => None,
            Some(template) => {
                let made =
                    self.evaluate(branch, state, View::of(input), |environment| template.evaluate(environment))?;
                let bucket = made.get("Bucket").and_then(Value::as_str).ok_or_else(|| {
                    problem(state, "ResultWriter", "The field 'Bucket' is required but was missing".to_owned())
                })?;
                let prefix = made.get("Prefix").and_then(Value::as_str).unwrap_or_default();
                Some(Destination { bucket: bucket.to_owned(), prefix: prefix.trim_end_matches('/').to_owned() })
            }
        };
        Ok(Writer { destination, transformation: writer.transformation, output_type: writer.output_type })
    }

    /// A map run has been started or redriven, which `kind` tells.
    pub(super) fn map_run_begun(&mut self, map_run: MapRunId, kind: EventKind) {
        let Some(id) = self.execution.pending.map_runs.get(&map_run).map(|effect| effect.of) else { return };
        let Some(mut branch) = self.execution.branches.remove(&id) else { return };
        let is_new = matches!(branch.activity, Activity::MapRun { started_id: None, .. });
        if is_new {
            self.record_in(&mut branch, kind);
        }
        let last_id = branch.last_id;
        if let Activity::MapRun { started_id, .. } = &mut branch.activity {
            started_id.get_or_insert(last_id);
        }
        self.execution.branches.insert(id, branch);
    }

    pub(super) fn map_run_succeeded(&mut self, map_run: MapRunId, output: Arc<Value>) {
        let Some(id) = self.end_map_run(map_run) else { return };
        let Some(mut branch) = self.execution.branches.remove(&id) else { return };
        let machine = self.execution.machine.clone();
        let state = current(&machine, &branch);
        let Kind::Map(map) = &state.kind else { return };
        // From here on the state fails by its own doing, and a redrive starts a new map run.
        let started_id = match std::mem::replace(&mut branch.activity, Activity::Failed) {
            Activity::MapRun { started_id: Some(started_id), .. } => started_id,
            _ => branch.last_id,
        };
        self.record_in(&mut branch, EventKind::MapRunSucceeded);
        self.record(branch.last_id, EventKind::MapStateSucceeded);
        // The event that leaving points at changed on AWS's side in autumn 2024: from MapRunSucceeded to MapRunStarted.
        // Recordings of both are handed down; those of the older kind are all of JSONPath machines that begin with
        // their Map, so both are kept, each where it was recorded. Nothing else hangs on it.
        let is_first = branch.before_id == 0;
        if !(is_first && state.language == QueryLanguage::JsonPath) {
            branch.last_id = started_id;
        }
        self.leave_with_result(id, branch, state, &map.handling, output);
    }

    pub(super) fn map_run_failed(&mut self, map_run: MapRunId, error: String, cause: String) {
        let Some(id) = self.end_map_run(map_run) else { return };
        let Some(mut branch) = self.execution.branches.remove(&id) else { return };
        let machine = self.execution.machine.clone();
        let state = current(&machine, &branch);
        let failure = Failure::new(&error, cause.clone());
        if [DATA_LIMIT_EXCEEDED, RUNTIME].contains(&error.as_str()) {
            // What no repetition of its children can cure: a redrive starts a new map run.
            branch.activity = Activity::Failed;
        }
        self.record_in(&mut branch, EventKind::MapRunFailed { error, cause });
        self.fail_after(id, branch, state, failure, EventKind::MapStateFailed);
    }
}

fn problem(state: &State, field: &str, cause: String) -> Failure {
    match state.language {
        QueryLanguage::JsonPath => Failure::runtime(cause),
        QueryLanguage::Jsonata => Failure::evaluation(Some(field), cause),
    }
}

fn not_an_integer(field: &str, value: &Value, computed: &Computed) -> Failure {
    super::map::not_a(field, value, "integer", computed)
}
