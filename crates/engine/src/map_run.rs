//! Map runs: many child executions under one concurrency limit.
//!
//! Owns which items are pending, running and ended, what a child gets of them, and when the run is over or has failed
//! too often. Knows nothing about how a child is executed or recorded (see `core`), nor how items are read (see `items`).
//!
//! A run that ended without success may be redriven: its children that did not succeed are run again, then the items
//! that were never started.
//!
//! MAP-1: every item is started at most once, and ends exactly once; a redrive runs it again only if it had not succeeded.
//! MAP-2: a run succeeds only when every item has ended and the failures are tolerated.
//! MAP-3: of items that are read, no more are held than two chunks and one batch.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde_json::Value;
use starmap_asl::{
    Batching, ItemSource, MapRunId, MapRunSpec, NotSelected, ReaderAction, ReaderRequest, StateMachine, Timestamp,
    WriterTransformation,
};

use crate::core::MapRunProgress;
use crate::items::Failed;
use crate::items::blocking::Position;
use crate::journal::{ChildState, Counts, Ending, ExecutionId, MapRunCounts, MapRunLimits, Status};
use crate::limits::READER_CHUNK_ITEMS;

/// Error name of a run that failed too often, as AWS gives it.
const TOO_MANY_FAILURES: &str = "States.ExceedToleratedFailureThreshold";
/// Error name of outputs that are too large to be passed on.
const TOO_LARGE: &str = "States.DataLimitExceeded";

#[derive(Debug)]
pub(crate) struct MapRun {
    pub arn: String,
    pub label: String,
    pub parent: ExecutionId,
    pub number: MapRunId,
    pub processor: StateMachine,
    pub spec: Arc<MapRunSpec>,
    pub limits: MapRunLimits,
    concurrency_limit: u32,
    source: Source,
    /// Index of the next child.
    next_child: u64,
    /// Index of the next item.
    next_item: u64,
    running: BTreeMap<u64, Running>,
    /// Children that did not succeed before the redrive and have not begun again.
    halted: VecDeque<Halted>,
    /// How many items the reader has found, once it has found them all.
    items_read: Option<u64>,
    /// How often the run was redriven.
    pub redrive_count: u32,
    /// When it was redriven last.
    pub redriven_at: Option<Timestamp>,
    outputs: Outputs,
    children: Counts,
    items: Counts,
    failure: Option<Failed>,
    pub phase: Phase,
    /// Whether the turn was over before all children were started that there is room for.
    pub is_deferred: bool,
}

/// How far a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Children are started and run.
    Running,
    /// It will end so when the last child that runs has ended.
    Ending(Verdict),
    /// Its results are written.
    Writing(Verdict),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Succeeded,
    Failed,
    Aborted,
}

impl Verdict {
    pub fn status(self) -> Status {
        match self {
            Verdict::Succeeded => Status::Succeeded,
            Verdict::Failed => Status::Failed,
            Verdict::Aborted => Status::Aborted,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Running {
    id: ExecutionId,
    items: u64,
}

/// A child that ended without success and waits for its redrive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Halted {
    pub child_index: u64,
    pub id: ExecutionId,
    pub items: u64,
    /// How it ended.
    pub status: Status,
}

/// Items that no child has yet.
#[derive(Debug)]
enum Source {
    /// The rest of those in the spec.
    Given,
    Reading(Reading),
}

#[derive(Debug)]
struct Reading {
    buffer: VecDeque<Value>,
    /// The last item is in the buffer, or was.
    has_ended: bool,
    /// A chunk is under way.
    is_asked: bool,
    etag: Option<String>,
}

/// What a map run does next.
#[derive(Debug, PartialEq)]
pub(crate) enum Next {
    /// Nothing until a child ends or items come.
    Wait,
    /// Have the next chunk of items read.
    ReadMore,
    /// Redrive a child.
    Redrive(Halted),
    /// Start a child.
    Start { child_index: u64, items: u64, input: Arc<Value> },
    /// All items have ended.
    Succeed,
    /// More failures than are tolerated, or no items to be had.
    Fail(Failed),
}

impl MapRun {
    #[allow(clippy::too_many_arguments, reason = "wiring, called twice")]
    pub fn new(
        arn: String,
        label: String,
        parent: ExecutionId,
        number: MapRunId,
        processor: StateMachine,
        spec: Arc<MapRunSpec>,
        concurrency_limit: u32,
        output_bytes_max: Option<usize>,
    ) -> Self {
        let source = match &spec.items {
            ItemSource::Given(_) => Source::Given,
            ItemSource::Reader(_) => Source::Reading(Reading {
                buffer: VecDeque::new(),
                has_ended: false,
                // The first chunk comes unasked.
                is_asked: true,
                etag: None,
            }),
        };
        let limits = MapRunLimits {
            max_concurrency: spec.max_concurrency.unwrap_or(0),
            tolerated_failure_count: spec.tolerated_failure_count,
            tolerated_failure_percentage: spec.tolerated_failure_percentage,
        };
        // Results that go to S3 need not be kept.
        let outputs = match (&spec.writer.destination, spec.writer.transformation) {
            (None, WriterTransformation::Compact | WriterTransformation::Flatten) => {
                Outputs { kept: Some(BTreeMap::new()), bytes: 0, bytes_max: output_bytes_max }
            }
            _ => Outputs { kept: None, bytes: 0, bytes_max: output_bytes_max },
        };
        Self {
            arn,
            label,
            parent,
            number,
            processor,
            spec,
            limits,
            concurrency_limit,
            source,
            next_child: 0,
            next_item: 0,
            running: BTreeMap::new(),
            halted: VecDeque::new(),
            items_read: None,
            redrive_count: 0,
            redriven_at: None,
            outputs,
            children: Counts::default(),
            items: Counts::default(),
            failure: None,
            phase: Phase::Running,
            is_deferred: false,
        }
    }

    /// Children that have not ended.
    pub fn running(&self) -> impl Iterator<Item = ExecutionId> + '_ {
        self.running.values().map(|running| running.id)
    }

    pub fn has_running(&self) -> bool {
        !self.running.is_empty()
    }

    /// What is to be read, from where; `None` if the items were given or have all been read.
    pub fn reading(&self) -> Option<(Arc<ReaderRequest>, Position)> {
        match (&self.spec.items, &self.source) {
            (ItemSource::Reader(request), Source::Reading(reading)) if !reading.has_ended => {
                let position = Position { skip: self.next_item, etag: reading.etag.clone() };
                Some((Arc::clone(request), position))
            }
            _ => None,
        }
    }

    /// Takes in items that were read; says whether the etag is new and must be kept.
    pub fn take_items(&mut self, items: Vec<Value>, is_last: bool, etag: Option<String>) -> bool {
        let Source::Reading(reading) = &mut self.source else { return false };
        reading.buffer.extend(items);
        reading.has_ended |= is_last;
        reading.is_asked = false;
        if is_last {
            self.items_read = Some(self.next_item + reading.buffer.len() as u64);
        }
        let is_new = etag.is_some() && reading.etag != etag;
        if is_new {
            reading.etag = etag;
        }
        is_new
    }

    /// The items can't be read.
    pub fn fail(&mut self, failure: Failed) {
        self.failure.get_or_insert(failure);
    }

    /// Why the run failed.
    pub fn take_failure(&mut self) -> Failed {
        let unknown = || Failed { error: TOO_MANY_FAILURES.to_owned(), cause: String::new() };
        self.failure.take().unwrap_or_else(unknown)
    }

    /// Remembers how far reading had come, once all children are restored.
    pub fn resume_reading(&mut self, etag: Option<String>, items_read: Option<u64>) {
        if let Source::Reading(reading) = &mut self.source {
            reading.etag = etag;
            reading.has_ended = items_read == Some(self.next_item);
            reading.is_asked = !reading.has_ended;
            if reading.has_ended {
                self.items_read = items_read;
            }
        }
    }

    /// How many items the reader has found, once it has found them all.
    pub fn items_read(&self) -> Option<u64> {
        self.items_read
    }

    /// Whether a child was ever started.
    pub fn has_started(&self) -> bool {
        self.next_child > 0
    }

    /// Whether the children's outputs are still to be passed on.
    pub fn wants_outputs(&self) -> bool {
        self.outputs.kept.is_some()
    }

    pub fn etag(&self) -> Option<&str> {
        match &self.source {
            Source::Reading(reading) => reading.etag.as_deref(),
            Source::Given => None,
        }
    }

    pub fn next(&mut self) -> Next {
        if let Some(failure) = &self.failure {
            return Next::Fail(failure.clone());
        }
        if self.has_failed_too_often() {
            return Next::Fail(Failed {
                error: TOO_MANY_FAILURES.to_owned(),
                cause: "The specified tolerated failure threshold was exceeded".to_owned(),
            });
        }
        let has_room = self.running.len() < self.concurrency_max();
        if has_room {
            if let Some(halted) = self.halted.front() {
                return Next::Redrive(*halted);
            }
            match self.next_batch() {
                Ok(Some((items, input))) => return Next::Start { child_index: self.next_child, items, input },
                Ok(None) => {}
                Err(NotSelected { error, cause }) => return Next::Fail(Failed { error, cause }),
            }
        }
        if let Source::Reading(reading) = &mut self.source
            && !reading.has_ended
        {
            // With room for a child, what is in the buffer is no whole batch.
            let is_low = has_room || reading.buffer.len() < READER_CHUNK_ITEMS;
            if is_low && !reading.is_asked {
                reading.is_asked = true;
                return Next::ReadMore;
            }
            return Next::Wait;
        }
        if self.has_pending() || !self.running.is_empty() || !self.halted.is_empty() {
            return Next::Wait;
        }
        debug_assert_eq!(self.items.ended(), self.next_item, "MAP-1: every item ends exactly once");
        Next::Succeed
    }

    /// The input of the next child and how many items are in it; `None` if there is none yet or any more.
    fn next_batch(&mut self) -> Result<Option<(u64, Arc<Value>)>, NotSelected> {
        let Some(batching) = self.spec.batching.clone() else {
            let item = self.item(0);
            return item.map(|item| Ok((1, self.select(self.next_item, item)?))).transpose();
        };
        self.next_batch_of(&batching)
    }

    fn next_batch_of(&mut self, batching: &Batching) -> Result<Option<(u64, Arc<Value>)>, NotSelected> {
        let items_max = batching.items_max.unwrap_or(u64::MAX);
        if let Source::Reading(reading) = &self.source
            && batching.input_bytes_max.is_none()
            && !reading.has_ended
            && (reading.buffer.len() as u64) < items_max
        {
            return Ok(None);
        }
        let mut items = Vec::new();
        let mut bytes = batching.input_of(Vec::new()).to_string().len();
        let is_complete = loop {
            let count = items.len() as u64;
            if count == items_max {
                break true;
            }
            let Some(item) = self.item(count) else { break self.is_last() };
            let selected = self.select(self.next_item + count, item)?;
            if let Some(bytes_max) = batching.input_bytes_max {
                bytes += selected.to_string().len() + usize::from(count > 0);
                // An item that is too large by itself goes alone.
                if bytes as u64 > bytes_max && count > 0 {
                    break true;
                }
            }
            items.push(Arc::unwrap_or_clone(selected));
        };
        if !is_complete || items.is_empty() {
            return Ok(None);
        }
        Ok(Some((items.len() as u64, Arc::new(batching.input_of(items)))))
    }

    /// The item so many places after the next.
    fn item(&self, offset: u64) -> Option<Arc<Value>> {
        let offset = usize::try_from(offset).ok()?;
        match (&self.source, &self.spec.items) {
            (Source::Given, ItemSource::Given(items)) => {
                items.get(usize::try_from(self.next_item).ok()? + offset).map(Arc::clone)
            }
            (Source::Reading(reading), _) => reading.buffer.get(offset).map(|item| Arc::new(item.clone())),
            (Source::Given, ItemSource::Reader(_)) => None,
        }
    }

    /// Whether nothing will ever follow the items that are there.
    fn is_last(&self) -> bool {
        match &self.source {
            Source::Given => true,
            Source::Reading(reading) => reading.has_ended,
        }
    }

    fn has_pending(&self) -> bool {
        match (&self.source, &self.spec.items) {
            (Source::Given, ItemSource::Given(items)) => (self.next_item as usize) < items.len(),
            (Source::Reading(reading), _) => !reading.has_ended || !reading.buffer.is_empty(),
            (Source::Given, ItemSource::Reader(_)) => false,
        }
    }

    fn select(&self, index: u64, item: Arc<Value>) -> Result<Arc<Value>, NotSelected> {
        self.spec.selection.select(index, item, &self.origin())
    }

    /// What `$$.Map.Item.Source` says.
    fn origin(&self) -> String {
        match &self.spec.items {
            ItemSource::Given(_) => "STATE_DATA".to_owned(),
            ItemSource::Reader(request) => {
                let text = |field: &str| request.arguments.get(field).and_then(Value::as_str).unwrap_or_default();
                match request.action {
                    ReaderAction::GetObject => format!("S3://{}/{}", text("Bucket"), text("Key")),
                    ReaderAction::ListObjects => format!("S3://{}", text("Bucket")),
                }
            }
        }
    }

    /// A child was started; they are started in order.
    pub fn started(&mut self, child_index: u64, items: u64, child: ExecutionId) {
        debug_assert_eq!(child_index, self.next_child, "MAP-1: every item is started at most once");
        self.next_child = child_index + 1;
        self.next_item += items;
        if let Source::Reading(reading) = &mut self.source {
            let taken = usize::try_from(items).unwrap_or(usize::MAX).min(reading.buffer.len());
            reading.buffer.drain(..taken);
        }
        self.children.running += 1;
        self.items.running += items;
        self.running.insert(child_index, Running { id: child, items });
    }

    /// Takes in a child that ended without success before the run was redriven, in order.
    pub fn restore_halted(&mut self, child: &ChildState) {
        let ChildState { id, item_index, items, status, .. } = *child;
        self.next_child = item_index + 1;
        self.next_item += items;
        self.children.pending_redrive += 1;
        self.items.pending_redrive += items;
        self.halted.push_back(Halted { child_index: item_index, id, items, status });
    }

    /// The next child that waits for its redrive runs.
    pub fn redriven(&mut self) {
        let Some(Halted { child_index, id, items, .. }) = self.next_halted() else { return };
        self.children.running += 1;
        self.items.running += items;
        self.running.insert(child_index, Running { id, items });
    }

    /// The next child that waits for its redrive can't be redriven: it stays as it ended.
    pub fn not_redrivable(&mut self, ending: &Ending) {
        let Some(Halted { child_index, items, status, .. }) = self.next_halted() else { return };
        self.children.add(status, 1);
        self.items.add(status, items);
        self.children.not_redrivable += 1;
        self.items.not_redrivable += items;
        self.outputs.keep(child_index, output_of(ending));
    }

    /// No more children are redriven: those that wait stay as they ended.
    pub fn give_up_redrives(&mut self) {
        while let Some(Halted { items, status, .. }) = self.next_halted() {
            self.children.add(status, 1);
            self.items.add(status, items);
        }
    }

    fn next_halted(&mut self) -> Option<Halted> {
        let halted = self.halted.pop_front()?;
        self.children.pending_redrive -= 1;
        self.items.pending_redrive -= halted.items;
        Some(halted)
    }

    /// Takes in a child that was started before a crash, in order. Its input is taken already.
    pub fn restore(&mut self, child: &ChildState) {
        self.next_child = child.item_index + 1;
        self.next_item += child.items;
        self.children.running += 1;
        self.items.running += child.items;
        self.running.insert(child.item_index, Running { id: child.id, items: child.items });
    }

    /// The child of an item ended.
    pub fn ended(&mut self, child_index: u64, ending: &Ending) {
        let Some(Running { items, .. }) = self.running.remove(&child_index) else { return };
        self.children.end(ending.status, 1);
        self.items.end(ending.status, items);
        self.outputs.keep(child_index, output_of(ending));
    }

    fn concurrency_max(&self) -> usize {
        let wanted = if self.limits.max_concurrency == 0 { u32::MAX } else { self.limits.max_concurrency };
        wanted.min(self.concurrency_limit).max(1) as usize
    }

    fn has_failed_too_often(&self) -> bool {
        // AWS: a child that was stopped counts as failed.
        let failed = self.items.failed + self.items.timed_out + self.items.aborted;
        let by_count = |tolerated: u64| failed > tolerated;
        // A share is known when the total is.
        let by_share = |percentage: f64| {
            self.total().is_some_and(|total| failed as f64 * 100.0 / total.max(1) as f64 > percentage)
        };
        match (self.limits.tolerated_failure_count, self.limits.tolerated_failure_percentage) {
            (None, None) => by_count(0),
            (Some(count), None) => by_count(count),
            (None, Some(percentage)) => by_share(percentage),
            (Some(count), Some(percentage)) => by_count(count) || by_share(percentage),
        }
    }

    /// Items in all, once that is known.
    fn total(&self) -> Option<u64> {
        match (&self.source, &self.spec.items) {
            (_, ItemSource::Given(items)) => Some(items.len() as u64),
            (Source::Reading(_), _) => self.items_read,
            (Source::Given, ItemSource::Reader(_)) => None,
        }
    }

    /// Items known of so far.
    pub fn known_items(&self) -> u64 {
        let buffered = match &self.source {
            Source::Reading(reading) => reading.buffer.len() as u64,
            Source::Given => 0,
        };
        self.total().unwrap_or(self.next_item + buffered)
    }

    pub fn counts(&self) -> MapRunCounts {
        let pending = self.known_items().saturating_sub(self.next_item);
        let per_child = self.spec.batching.as_ref().and_then(|batching| batching.items_max).unwrap_or(1);
        MapRunCounts {
            items: Counts { pending, ..self.items },
            children: Counts { pending: pending.div_ceil(per_child), ..self.children },
        }
    }

    /// Ends the run's work; says what the parent gets.
    pub fn output(&mut self) -> Result<Value, Failed> {
        let flatten = self.spec.writer.transformation == WriterTransformation::Flatten;
        self.outputs.finish(flatten).ok_or_else(|| too_large(&self.spec.state))
    }

    /// The most bytes of outputs that can be passed on.
    pub fn output_bytes_max(&self) -> Option<usize> {
        self.outputs.bytes_max
    }

    /// Whether outputs are passed on, and with all that is known of each child.
    pub fn passes_everything_on(&self) -> bool {
        self.spec.writer.destination.is_none() && self.spec.writer.transformation == WriterTransformation::None
    }

    /// The inputs of children that were never started: those that are at hand.
    pub fn pending_inputs(&mut self) -> Vec<Arc<Value>> {
        let mut inputs = Vec::new();
        let first_pending = self.next_item;
        let mut at_hand = None;
        if let Source::Reading(reading) = &mut self.source {
            at_hand = Some((reading.buffer.clone(), std::mem::replace(&mut reading.has_ended, true)));
        }
        while let Ok(Some((items, input))) = self.next_batch() {
            self.next_item += items;
            if let Source::Reading(reading) = &mut self.source {
                let taken = usize::try_from(items).unwrap_or(usize::MAX).min(reading.buffer.len());
                reading.buffer.drain(..taken);
            }
            inputs.push(input);
        }
        // They are told of and stay pending.
        self.next_item = first_pending;
        if let (Source::Reading(reading), Some(at_hand)) = (&mut self.source, at_hand) {
            (reading.buffer, reading.has_ended) = at_hand;
        }
        inputs
    }

    pub fn progress(&self, in_flight: u64) -> MapRunProgress {
        let counts = self.counts();
        MapRunProgress {
            state: self.spec.state.clone(),
            total: self.known_items(),
            pending: counts.items.pending + counts.items.pending_redrive,
            running: self.items.running,
            in_flight,
            succeeded: self.items.succeeded,
            failed: self.items.failed + self.items.timed_out,
            aborted: self.items.aborted,
        }
    }
}

/// Why outputs that are too large fail their Map state.
pub(crate) fn too_large(state: &str) -> Failed {
    Failed {
        error: TOO_LARGE.to_owned(),
        cause: format!(
            "The state/task '{state}' returned a result with a size exceeding the maximum number of bytes service limit."
        ),
    }
}

/// What a child leaves in the run's output.
fn output_of(ending: &Ending) -> Value {
    match ending.status {
        Status::Succeeded => ending.output.clone().unwrap_or(Value::Null),
        // What AWS puts in the place of an item that failed within the tolerance.
        _ => serde_json::json!({
            "Error": ending.error.clone().unwrap_or_default(),
            "Cause": ending.cause.clone().unwrap_or_default(),
        }),
    }
}

/// The children's outputs, in order, as long as they are small enough to be passed on.
#[derive(Debug)]
struct Outputs {
    /// `None`: they are not wanted, or too large.
    kept: Option<BTreeMap<u64, Value>>,
    bytes: usize,
    bytes_max: Option<usize>,
}

impl Outputs {
    fn keep(&mut self, child_index: u64, output: Value) {
        let Some(kept) = &mut self.kept else { return };
        if let Some(bytes_max) = self.bytes_max {
            self.bytes += output.to_string().len() + 1;
            // What can't be passed on need not be kept.
            if self.bytes > bytes_max {
                self.kept = None;
                return;
            }
        }
        kept.insert(child_index, output);
    }

    fn finish(&mut self, flatten: bool) -> Option<Value> {
        let kept = self.kept.take()?;
        if !flatten {
            return Some(kept.into_values().collect());
        }
        let mut flat = Vec::new();
        for output in kept.into_values() {
            match output {
                Value::Array(items) => flat.extend(items),
                other => flat.push(other),
            }
        }
        Some(Value::Array(flat))
    }
}
