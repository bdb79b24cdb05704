//! Counting what a history used.
//!
//! A transition of a Standard workflow is a state that is entered, a retry of a task, a redrive, and the start of a child
//! of a Distributed Map; iterations of an inline Map are not counted by themselves. An Express execution is a request and
//! its duration. An attempt of a function is what its REPORT line says, whether it succeeded or not.
//!
//! BILL-1: the same history gives the same usage, however it is cut into turns and in whatever order children come.
//!
//! # Source
//! <https://docs.aws.amazon.com/step-functions/latest/dg/concepts-transitions.html> and
//! <https://aws.amazon.com/step-functions/pricing/>, read 2026-11.

use std::collections::BTreeMap;
use std::sync::Arc;

use foldhash::HashMap;
use serde::Serialize;
use serde_json::Value;
use starmap_asl::EventKind;

use crate::journal::{self, ExecutionId, ExecutionRecord, InvocationRow, MapRunRow, Reader, Write};
use crate::registry::MachineKind;

/// Children that are read from the journal at once.
const PAGE_CHILDREN: usize = 1_000;
/// The duration of an Express execution is rounded up to this.
const EXPRESS_STEP_MS: u64 = 100;
/// Room for the history of most children: of one task that succeeds at once, and what is before its first event.
const EVENTS: usize = 9;
/// What no state used, under a name that no state of a valid definition is likely to have.
const NO_STATE: &str = "(execution)";

/// What was used. Whole numbers: sums are exact.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Σ billed milliseconds × memory of the function, MiB·ms.
    #[serde(skip)]
    pub lambda_mib_ms: u128,
    /// Σ billed milliseconds.
    pub billed_ms: u64,
    /// Attempts that a worker ran.
    pub lambda_requests: u64,
    /// Of those, how many failed.
    pub lambda_failed: u64,
    /// Of those, how many began with a cold start.
    pub cold_starts: u64,
    /// State transitions of Standard executions.
    pub transitions: u64,
    /// Express executions.
    pub express_requests: u64,
    /// Milliseconds of Express executions, each rounded up.
    pub express_ms: u64,
    /// Requests to object storage.
    pub storage: StorageRequests,
}

/// Requests to object storage, by price.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct StorageRequests {
    /// GET and HEAD.
    pub get: u64,
    /// PUT, COPY, POST and parts of uploads.
    pub put: u64,
    /// Pages of listings.
    pub list: u64,
}

impl StorageRequests {
    fn add(&mut self, more: StorageRequests) {
        self.get += more.get;
        self.put += more.put;
        self.list += more.list;
    }
}

impl Usage {
    /// GB-seconds that are billed; GB = 1024 MiB, as AWS has it.
    pub fn gb_s(&self) -> f64 {
        self.lambda_mib_ms as f64 / 1_024_000.0
    }

    /// Adds what an attempt used.
    pub fn add_attempt(&mut self, billed_ms: u64, memory_mib: u32, is_cold: bool, is_failed: bool) {
        self.lambda_mib_ms += u128::from(billed_ms) * u128::from(memory_mib);
        self.billed_ms += billed_ms;
        self.lambda_requests += 1;
        self.lambda_failed += u64::from(is_failed);
        self.cold_starts += u64::from(is_cold);
    }

    /// Adds all of it.
    pub fn add(&mut self, more: &Usage) {
        self.lambda_mib_ms += more.lambda_mib_ms;
        self.billed_ms += more.billed_ms;
        self.lambda_requests += more.lambda_requests;
        self.lambda_failed += more.lambda_failed;
        self.cold_starts += more.cold_starts;
        self.transitions += more.transitions;
        self.express_requests += more.express_requests;
        self.express_ms += more.express_ms;
        self.storage.add(more.storage);
    }
}

/// Counts as things happen. See the [module](self).
///
/// A child that has ended is forgotten, so that a million of them take no room; of a child that is redriven, [`of`]
/// counts everything from the journal.
#[derive(Debug, Default)]
pub struct Meter {
    executions: HashMap<ExecutionId, Counted>,
    map_runs: HashMap<MapRunRow, (ExecutionId, Arc<str>)>,
    states: BTreeMap<Arc<str>, Usage>,
    items: Option<BTreeMap<u64, Usage>>,
}

/// An execution that is being counted.
#[derive(Debug)]
struct Counted {
    kind: MachineKind,
    started_at: i64,
    /// The item of a map run of the outermost execution that it carries out.
    item: Option<u64>,
    /// The state that started it, for a child.
    parent_state: Option<Arc<str>>,
    /// By the event's id: the state that it belongs to, and whether a task of it has been tried by then.
    of_event: Vec<(Option<Arc<str>>, bool)>,
    /// The state of each task, by number.
    of_task: Vec<Arc<str>>,
}

impl Meter {
    /// A meter that also keeps apart what each item used; for histories whose items fit into memory.
    pub fn with_items() -> Self {
        Self { items: Some(BTreeMap::new()), ..Self::default() }
    }

    /// By state, by name.
    pub fn states(&self) -> impl Iterator<Item = (&str, &Usage)> {
        self.states.iter().map(|(name, usage)| (&**name, usage))
    }

    /// By item of the map runs of the outermost execution, by index; empty unless asked for.
    pub fn items(&self) -> impl Iterator<Item = (u64, &Usage)> {
        self.items.iter().flatten().map(|(index, usage)| (*index, usage))
    }

    /// All of it.
    pub fn total(&self) -> Usage {
        let mut total = Usage::default();
        self.states.values().for_each(|usage| total.add(usage));
        total
    }

    /// Adds requests to object storage that a state's functions made: only they know.
    pub fn add_storage(&mut self, state: &str, item: Option<u64>, requests: StorageRequests) {
        self.charge(&Arc::from(state), item, |usage| usage.storage.add(requests));
    }

    /// Takes in one change to the journal.
    pub fn take_in(&mut self, write: &Write) {
        match write {
            Write::Execution(record) => self.started(record),
            Write::MapRun(run) => {
                self.map_runs.insert(run.row, (run.execution, Arc::from(run.state.as_str())));
            }
            Write::History { execution, event } => {
                let state = match &event.kind {
                    EventKind::StateEntered { name, .. } => Some(name.as_str()),
                    _ => None,
                };
                let resource = match &event.kind {
                    EventKind::TaskScheduled { resource, .. } => Some(resource.arn()),
                    _ => None,
                };
                self.happened(*execution, event.previous_id, event.kind.name(), state, resource);
            }
            Write::Invocation(row) => self.invoked(row),
            Write::ExecutionEnded { execution, at, .. } => self.ended(*execution, at.0),
            Write::Resource(_)
            | Write::Event { .. }
            | Write::ExecutionRedriven { .. }
            | Write::MapRunRedriven { .. }
            | Write::MapRunChanged { .. } => {}
        }
    }

    fn started(&mut self, record: &ExecutionRecord) {
        let run = record.parent.and_then(|parent| self.map_runs.get(&parent.map_run));
        let parent_state = run.map(|(_, state)| Arc::clone(state));
        let outer = run.and_then(|(execution, _)| self.executions.get(execution)?.item);
        let item = record.parent.map(|parent| outer.unwrap_or(parent.item_index));
        if let Some(state) = &parent_state {
            self.charge(state, item, |usage| usage.transitions += 1);
        }
        let counted = Counted {
            kind: record.kind,
            started_at: record.started_at.0,
            item,
            parent_state,
            of_event: {
                let mut first = Vec::with_capacity(EVENTS);
                first.push((None, false));
                first
            },
            of_task: Vec::new(),
        };
        self.executions.insert(record.id, counted);
    }

    /// One entry of a history. Entries come in order, ids without gaps.
    fn happened(
        &mut self,
        id: ExecutionId,
        previous_id: u64,
        name: &str,
        entered: Option<&str>,
        resource: Option<&str>,
    ) {
        let Some(counted) = self.executions.get_mut(&id) else { return };
        let previous = usize::try_from(previous_id).ok().and_then(|previous| counted.of_event.get(previous));
        let (state, was_tried) = match entered {
            // A name is allocated once.
            Some(entered) => match self.states.get_key_value(entered) {
                Some((known, _)) => (Some(Arc::clone(known)), false),
                None => (Some(Arc::from(entered)), false),
            },
            None => previous.cloned().unwrap_or((None, false)),
        };
        let is_scheduled = matches!(name, "TaskScheduled" | "LambdaFunctionScheduled" | "ActivityScheduled");
        counted.of_event.push((state.clone(), was_tried || is_scheduled));
        let state = state.or_else(|| counted.parent_state.clone()).unwrap_or_else(|| Arc::from(NO_STATE));
        if is_scheduled {
            counted.of_task.push(Arc::clone(&state));
        }
        let is_transition = entered.is_some() || (is_scheduled && was_tried) || name == "ExecutionRedriven";
        let transitions = u64::from(is_transition && counted.kind == MachineKind::Standard);
        let storage = resource.filter(|_| is_scheduled).map(requests_of).unwrap_or_default();
        let item = counted.item;
        if transitions > 0 || storage != StorageRequests::default() {
            self.charge(&state, item, |usage| {
                usage.transitions += transitions;
                usage.storage.add(storage);
            });
        }
    }

    fn invoked(&mut self, row: &InvocationRow) {
        let counted = self.executions.get(&row.execution);
        let number = usize::try_from(row.task).ok().and_then(|task| task.checked_sub(1));
        let state = counted.and_then(|counted| counted.of_task.get(number?)).cloned();
        let state = state.unwrap_or_else(|| Arc::from(row.function.as_str()));
        let item = counted.and_then(|counted| counted.item);
        self.charge(&state, item, |usage| {
            usage.add_attempt(row.billed_ms, row.memory_mib, row.init_ms.is_some(), row.error.is_some());
        });
    }

    fn ended(&mut self, id: ExecutionId, at: i64) {
        let Some(counted) = self.executions.get(&id) else { return };
        let (item, is_child) = (counted.item, counted.parent_state.is_some());
        if counted.kind == MachineKind::Express {
            let state = counted.parent_state.clone().unwrap_or_else(|| Arc::from(NO_STATE));
            let ms = u64::try_from(at - counted.started_at).unwrap_or(0);
            self.charge(&state, item, |usage| {
                usage.express_requests += 1;
                usage.express_ms += ms.div_ceil(EXPRESS_STEP_MS) * EXPRESS_STEP_MS;
            });
        }
        if is_child {
            self.executions.remove(&id);
        }
    }

    fn charge(&mut self, state: &Arc<str>, item: Option<u64>, mut what: impl FnMut(&mut Usage)) {
        match self.states.get_mut(state) {
            Some(usage) => what(usage),
            None => what(self.states.entry(Arc::clone(state)).or_default()),
        }
        if let (Some(items), Some(item)) = (&mut self.items, item) {
            what(items.entry(item).or_default());
        }
    }
}

/// Counts what an execution used, with its children, from the journal.
///
/// # Errors
/// [`journal::Error`] if the journal can't be read.
pub fn of(journal: &dyn Reader, execution: &ExecutionRecord) -> Result<Meter, journal::Error> {
    let mut meter = Meter::with_items();
    meter.read(journal, execution, &mut journal.invocations(execution.id)?)?;
    Ok(meter)
}

impl Meter {
    /// `attempts` are those of the execution and of its children; what is counted is taken out.
    fn read(
        &mut self,
        journal: &dyn Reader,
        record: &ExecutionRecord,
        attempts: &mut Vec<InvocationRow>,
    ) -> Result<(), journal::Error> {
        self.started(record);
        for row in journal.history(record.id, 0, usize::MAX)? {
            let entered =
                row.details.get("name").and_then(Value::as_str).filter(|_| row.name.ends_with("StateEntered"));
            let resource = row.details.get("resource").and_then(Value::as_str);
            self.happened(record.id, row.previous_id, &row.name, entered, resource);
        }
        for attempt in attempts.extract_if(.., |attempt| attempt.execution == record.id) {
            self.invoked(&attempt);
        }
        for run in journal.map_runs(record.id)? {
            self.map_runs.insert(run.row, (record.id, Arc::from(run.state.as_str())));
            let mut of_child: HashMap<ExecutionId, Vec<InvocationRow>> = HashMap::default();
            attempts.drain(..).for_each(|row| of_child.entry(row.execution).or_default().push(row));
            let mut after = None;
            loop {
                let page = journal.children_page(run.row, after, PAGE_CHILDREN)?;
                for child in &page {
                    let mut own = of_child.remove(&child.id).unwrap_or_default();
                    // Only the attempts of children are known so far, and not those of children's children.
                    if !journal.map_runs(child.id)?.is_empty() {
                        own = journal.invocations(child.id)?;
                    }
                    self.read(journal, child, &mut own)?;
                }
                after = page.last().and_then(|child| child.parent).map(|parent| parent.item_index);
                if page.len() < PAGE_CHILDREN {
                    break;
                }
            }
            attempts.extend(of_child.into_values().flatten());
        }
        if let Some(stopped_at) = record.stopped_at {
            self.ended(record.id, stopped_at.0);
        }
        Ok(())
    }
}

/// What a call of S3's API is priced as; deletions cost nothing.
fn requests_of(resource: &str) -> StorageRequests {
    let Some((_, action)) = resource.split_once(":aws-sdk:s3:") else { return StorageRequests::default() };
    let action = action.split('.').next().unwrap_or(action);
    let (mut get, mut put, mut list) = (0, 0, 0);
    match action {
        action if action.starts_with("list") => list = 1,
        action if action.starts_with("get") || action.starts_with("head") => get = 1,
        action if action.starts_with("delete") || action.starts_with("abort") => {}
        _ => put = 1,
    }
    StorageRequests { get, put, list }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_s3_are_counted_by_price() {
        let counts = ["getObject", "listObjectsV2", "putObject", "deleteObject", "headObject", "copyObject"]
            .map(|action| requests_of(&format!("arn:aws:states:::aws-sdk:s3:{action}")));
        let counts = counts.map(|StorageRequests { get, put, list }| (get, put, list));
        assert_eq!(counts, [(1, 0, 0), (0, 0, 1), (0, 1, 0), (0, 0, 0), (1, 0, 0), (0, 1, 0)]);
        assert_eq!(requests_of("arn:aws:states:::lambda:invoke"), StorageRequests::default());
    }

    #[test]
    fn gigabytes_are_those_that_aws_bills() {
        let mut usage = Usage::default();
        usage.add_attempt(2_000, 10_240, true, false);
        usage.add_attempt(500, 1_024, false, true);
        assert_eq!((usage.gb_s(), usage.lambda_requests, usage.lambda_failed, usage.cold_starts), (20.5, 2, 1, 1));
    }
}
