//! The execution of a test: its questions and their answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::machine::Tested;
use super::mock::{self, Checked};
use super::outcome::{ErrorDetails, HttpRequest, HttpResponse, Inspection, Outcome, Status};
use super::request::{Configuration, Error, Identity, Level, Mocked, Request};
use super::{context, text};
use crate::command::{Command, TaskInvocation};
use crate::error::{Failure, TIMEOUT};
use crate::event::{Event, MapRunId, TimerId};
use crate::execution::{Execution, ExecutionContext, Given, Options};
use crate::history::{EventKind, StateType};
use crate::map_run::{Batching, ItemSource, MapRunSpec, NotSelected, ReaderRequest};
use crate::resource::{Pattern, Resource};
use crate::step::{Inspector, Stage, step_inspected};
use crate::time::Timestamp;

/// AWS's limit for inputs and outputs.
const PAYLOAD_BYTES_MAX: usize = 262_144;

/// A test may last so long; what takes longer fails with `States.Timeout`.
const DURATION_S_MAX: u64 = 300;

/// A test that has begun.
#[derive(Debug)]
pub enum Begun {
    /// It is over already.
    Done(Box<Outcome>),
    /// Somebody must make a call first.
    NeedsCall(Box<Pending>),
    /// Somebody must read the items of a Map out of its reader's data first.
    NeedsItems(Box<PendingItems>),
}

/// A test of a Map that waits for what its ItemReader reads.
#[derive(Debug)]
pub struct PendingItems {
    test: Test,
    map_run: MapRunId,
    spec: Arc<MapRunSpec>,
    request: Arc<ReaderRequest>,
    data: String,
    at: Timestamp,
}

/// A test that waits for the answer to its call.
#[derive(Debug)]
pub struct Pending {
    test: Test,
    invocation: TaskInvocation,
}

/// The answer to a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// The raw result.
    Succeeded(Value),
    /// An error, `States.Timeout` for one that did not come in time.
    Failed {
        /// The name that `Retry` and `Catch` match on.
        error: String,
        /// For people.
        cause: String,
    },
}

/// Begins a test.
///
/// # Errors
/// [`Error`] for a request that is refused: nothing was run.
pub fn begin(request: &Request, identity: &Identity, at: Timestamp) -> Result<Begun, Error> {
    let tested = Tested::find(request)?;
    check_kind(&tested, request)?;
    let mocked = request.mocked()?;
    let mut notes = Vec::new();
    if let Some(Mocked::Result(result)) = &mocked {
        check_result(&tested, request, result, &mut notes)?;
    }
    check_configuration(&tested, request)?;
    if tested.state_type == StateType::Task && mocked.is_none() && request.role_arn.is_none() {
        return Err(Error::validation("RoleArn must be specified when testing a Task state"));
    }
    if request.context.is_some() && mocked.is_none() {
        return Err(Error::validation("Context can only be specified when a mock is specified"));
    }
    let input = request.input()?;
    let variables = request.variables()?;
    let has_retries = matches!(tested.state_type, StateType::Task | StateType::Map | StateType::Parallel);
    let given = context::given(request)?;
    let given = Given {
        is_context_final: given.is_some(),
        context: given.unwrap_or_else(|| context::made_up(request, identity, at, &input, has_retries)),
        variables: variables.iter().map(|(name, value)| (name.clone(), Arc::new(value.clone()))).collect(),
    };
    let machine = tested.machine(mocked.is_some())?;
    let options = Options { payload_bytes_max: Some(PAYLOAD_BYTES_MAX), seed: identity.seed };
    let mut execution = Execution::new(machine, ExecutionContext::default(), input, options);
    execution.give(given);
    let mut test = Test {
        seen: Seen::default(),
        level: request.level,
        configuration: request.configuration.clone().unwrap_or_default(),
        began: at,
        tested,
        execution,
        mocked,
        variables: variables.into_iter().collect(),
        map: None,
        pointed: false,
        batches: None,
        answered: 0,
        notes,
    };
    let commands = test.feed(at, Event::Started)?;
    test.go_on(at, commands)
}

impl PendingItems {
    /// How the data are to be read.
    pub fn request(&self) -> &ReaderRequest {
        &self.request
    }

    /// What the reader would find in its source.
    pub fn data(&self) -> &str {
        &self.data
    }

    /// Goes on with the items, or the error's name and its cause.
    ///
    /// # Errors
    /// [`Error`] for a request that is refused after all, because it does not fit the items.
    pub fn finish(self, items: Result<Vec<Value>, (String, String)>) -> Result<Outcome, Error> {
        let PendingItems { mut test, map_run, spec, request, at, .. } = self;
        let event = match items {
            Err((error, cause)) => Event::MapRunFailed { map_run, error, cause },
            Ok(items) => {
                let items: Vec<Arc<Value>> = items.into_iter().map(Arc::new).collect();
                let read: Value = items.iter().map(|item| Value::clone(item)).collect();
                test.pointed = request.items_pointer.is_some();
                test.seen.stages.insert(Stage::AfterItemsPath, read);
                test.answer_map(map_run, &spec, &items)?
            }
        };
        let commands = test.feed(at, event)?;
        match test.go_on(at, commands)? {
            Begun::Done(outcome) => Ok(*outcome),
            Begun::NeedsCall(_) | Begun::NeedsItems(_) => Ok(broken("the state asked for something more")),
        }
    }
}

impl Pending {
    /// The call to make.
    pub fn invocation(&self) -> &TaskInvocation {
        &self.invocation
    }

    /// Goes on with the call's answer, which came at `at`.
    ///
    /// `http` is what an HTTP task sent and got; it is told from [`Level::Trace`] on.
    pub fn finish(self, answer: Answer, at: Timestamp, http: Option<(HttpRequest, HttpResponse)>) -> Outcome {
        let Pending { mut test, invocation } = self;
        let (task, level) = (invocation.task, test.level);
        let event = match answer {
            Answer::Succeeded(output) => Event::TaskSucceeded { task, output: Arc::new(output) },
            Answer::Failed { error, cause } => Event::TaskFailed { task, error, cause },
        };
        let begun = test.feed(at, event).and_then(|commands| test.go_on(at, commands));
        let mut outcome = match begun {
            Ok(Begun::Done(outcome)) => *outcome,
            // One state makes one call; a second one would be a mistake of ours.
            Ok(Begun::NeedsCall(_) | Begun::NeedsItems(_)) => broken("the state asked for something more"),
            Err(error) => broken(&error.to_string()),
        };
        if let (Level::Trace, Some(inspection), Some((request, response))) = (level, &mut outcome.inspection, http) {
            inspection.request = Some(request);
            inspection.response = Some(response);
        }
        outcome
    }
}

/// What kinds of states can be tested, and how.
fn check_kind(tested: &Tested, request: &Request) -> Result<(), Error> {
    let refused = |message: &str| Err(Error::InvalidDefinition(message.to_owned()));
    let state_type = tested.state_type;
    match (state_type, request.mock.is_some()) {
        (StateType::Map | StateType::Parallel, false) => refused(
            "TestState API does not support Map or Parallel states. Supported state types include: [Task, Wait, Pass, Succeed, Fail, Choice]",
        ),
        (StateType::Task, false) => match &tested.resource {
            Some(Resource::Activity { .. }) => refused("TestState API does not support Activity tasks."),
            Some(Resource::Service { pattern, .. }) if *pattern != Pattern::RequestResponse => {
                refused("TestState API does not support '.sync' or '.waitForTaskToken' integration patterns.")
            }
            _ => Ok(()),
        },
        (StateType::Task | StateType::Map | StateType::Parallel, true) | (_, false) => Ok(()),
        (other, true) => {
            let name = other.as_str();
            Err(Error::validation(format!("State type '{name}' is not supported when a mock is specified")))
        }
    }
}

/// What kinds of results a state can have.
fn check_result(tested: &Tested, request: &Request, result: &Value, notes: &mut Vec<String>) -> Result<(), Error> {
    match tested.state_type {
        StateType::Map if tested.has("ResultWriter") => match result.is_object() {
            true => Ok(()),
            false => Err(Error::validation("Mocked result must be a JSON object.")),
        },
        StateType::Map | StateType::Parallel => {
            let Value::Array(results) = result else {
                return Err(Error::validation("Mocked result must be an array."));
            };
            if tested.state_type == StateType::Parallel && results.len() != tested.branch_count() {
                return Err(Error::validation(
                    "Mocked result must contain the same number of items as number of Parallel branches.",
                ));
            }
            Ok(())
        }
        _ => {
            let Some(resource) = &tested.resource else { return Ok(()) };
            match mock::check(resource, request.validation_mode(), result) {
                Checked::Right => Ok(()),
                Checked::Unknown(why) => {
                    notes.push(format!("the mocked result was not compared with a response shape: {why}"));
                    Ok(())
                }
                Checked::Wrong(problem) => Err(Error::validation(problem)),
            }
        }
    }
}

fn check_configuration(tested: &Tested, request: &Request) -> Result<(), Error> {
    let inner = request.configuration.as_ref().and_then(|configuration| configuration.error_caused_by_state.as_ref());
    match inner {
        Some(name) if !tested.contains(name) => Err(Error::validation("State not found in definition")),
        _ => Ok(()),
    }
}

/// An execution under test.
#[derive(Debug)]
struct Test {
    tested: Tested,
    execution: Execution,
    seen: Seen,
    mocked: Option<Mocked>,
    configuration: Configuration,
    level: Level,
    began: Timestamp,
    /// As they are before the state.
    variables: BTreeMap<String, Value>,
    /// What the Map asked for.
    map: Option<MapFacts>,
    /// Whether the Map's items were found by an ItemsPointer.
    pointed: bool,
    /// The Map's batches.
    batches: Option<Value>,
    /// Branches of a Parallel that were answered.
    answered: usize,
    notes: Vec<String>,
}

#[derive(Clone, Copy, Debug)]
struct MapFacts {
    max_concurrency: u64,
    tolerated_failure_count: Option<u64>,
    tolerated_failure_percentage: Option<f64>,
}

/// How an execution under test stands after some commands.
enum Stand {
    Left { output: Value, assigned: Vec<(String, Value)>, next_state: Option<String> },
    Failed { error: Option<String>, cause: Option<String> },
    WillRetry,
    Waits,
}

impl Test {
    fn feed(&mut self, at: Timestamp, event: Event) -> Result<Vec<Command>, Error> {
        step_inspected(&mut self.execution, at, event, &mut self.seen)
            .map_err(|error| Error::validation(error.to_string()))
    }

    /// Answers what can be answered here until the state is left or somebody must make a call.
    fn go_on(mut self, mut at: Timestamp, mut commands: Vec<Command>) -> Result<Begun, Error> {
        loop {
            match self.stand(&commands) {
                Stand::Waits => {}
                over => return Ok(Begun::Done(Box::new(self.outcome(over)))),
            }
            let event = match self.question() {
                Some(Question::Task(invocation)) => match self.answer(&invocation) {
                    Some(event) => event,
                    None => return Ok(Begun::NeedsCall(Box::new(Pending { test: self, invocation: *invocation }))),
                },
                Some(Question::MapRun(map_run, spec)) => match &spec.items {
                    ItemSource::Given(items) => self.answer_map(map_run, &spec, items)?,
                    ItemSource::Reader(request) => {
                        let Some(data) = self.configuration.map_item_reader_data.clone() else {
                            return Err(Error::validation(
                                "ItemReader data must be specified when testing a Map state with ItemReader specified.",
                            ));
                        };
                        let request = Arc::clone(request);
                        let pending = PendingItems { test: self, map_run, spec, request, data, at };
                        return Ok(Begun::NeedsItems(Box::new(pending)));
                    }
                },
                Some(Question::Wait(timer, due)) => {
                    if due > self.began.plus_seconds(DURATION_S_MAX) {
                        let over = Stand::Failed { error: Some(TIMEOUT.to_owned()), cause: None };
                        return Ok(Begun::Done(Box::new(self.outcome(over))));
                    }
                    // Nothing depends on the time that passes, so nobody has to wait.
                    at = at.max(due);
                    Event::TimerFired { timer }
                }
                None => return Ok(Begun::Done(Box::new(broken("the state waits for nothing")))),
            };
            commands = self.feed(at, event)?;
        }
    }

    fn stand(&self, commands: &[Command]) -> Stand {
        let mut left = None;
        for command in commands {
            let Command::Record(event) = command else { continue };
            match (&event.kind, &mut left) {
                (EventKind::StateExited { name, output, assigned, .. }, None) if *name == self.tested.name => {
                    let assigned = assigned.iter().map(|(name, value)| (name.clone(), Value::clone(value))).collect();
                    left = Some((Value::clone(output), assigned, None));
                }
                (EventKind::StateEntered { name, .. }, Some((_, _, next @ None))) => *next = Some(name.clone()),
                (EventKind::ExecutionFailed { error, cause }, None) => {
                    return Stand::Failed { error: error.clone(), cause: cause.clone() };
                }
                _ => {}
            }
        }
        match left {
            Some((output, assigned, next_state)) => Stand::Left { output, assigned, next_state },
            None if self.seen.retried.is_some() => Stand::WillRetry,
            None => Stand::Waits,
        }
    }

    /// The oldest thing the execution waits for.
    fn question(&self) -> Option<Question> {
        let mut wait = None;
        for command in self.execution.outstanding() {
            match command {
                Command::InvokeTask(invocation) => return Some(Question::Task(invocation)),
                Command::StartMapRun { map_run, spec } => return Some(Question::MapRun(map_run, spec)),
                Command::StartTimer { timer, due } if wait.is_none() => wait = Some(Question::Wait(timer, due)),
                _ => {}
            }
        }
        wait
    }

    /// The mock's answer to a call.
    fn answer(&mut self, invocation: &TaskInvocation) -> Option<Event> {
        let task = invocation.task;
        match self.mocked.as_ref()? {
            Mocked::Error { error, cause } => {
                let event = Event::TaskFailed { task, error: error.clone(), cause: cause.clone() };
                self.count_retries();
                Some(event)
            }
            Mocked::Result(result) if self.tested.state_type == StateType::Parallel => {
                let output = result.get(self.answered).cloned().unwrap_or_default();
                self.answered += 1;
                Some(Event::TaskSucceeded { task, output: Arc::new(output) })
            }
            Mocked::Result(result) => Some(Event::TaskSucceeded { task, output: Arc::new(result.clone()) }),
        }
    }

    /// The mock's answer to a Map.
    fn answer_map(&mut self, map_run: MapRunId, spec: &MapRunSpec, items: &[Arc<Value>]) -> Result<Event, Error> {
        let (count, percentage) = (spec.tolerated_failure_count, spec.tolerated_failure_percentage);
        self.map = Some(MapFacts {
            max_concurrency: spec.max_concurrency.unwrap_or(0).into(),
            tolerated_failure_count: count,
            tolerated_failure_percentage: percentage,
        });
        let mut inputs = Vec::with_capacity(items.len());
        for (index, item) in (0..).zip(items) {
            match spec.selection.select(index, Arc::clone(item), SOURCE) {
                Ok(input) => inputs.push(input),
                Err(NotSelected { error, cause }) => return Ok(Event::MapRunFailed { map_run, error, cause }),
            }
        }
        if self.tested.has("ItemSelector") || self.tested.has("Parameters") {
            let selected = inputs.iter().map(|input| Value::clone(input)).collect();
            self.seen.stages.insert(Stage::AfterItemSelector, selected);
        }
        let iterations = match &spec.batching {
            None => inputs.len() as u64,
            Some(batching) => {
                let batches = batches(batching, inputs);
                let count = batches.len() as u64;
                self.batches = Some(Value::Array(batches));
                count
            }
        };
        let failures = self.configuration.map_iteration_failure_count.unwrap_or(0);
        if failures > iterations {
            return Err(Error::validation(
                "Map iteration failure count must be less than or equal to the number of Map iterations",
            ));
        }
        // A Map that tolerates nothing in particular is not failed by the number alone; recorded:
        // test_map_state_failure_count-INFO-BASE_MAP_STATE.
        let share = if iterations == 0 { 0.0 } else { failures as f64 * 100.0 / iterations as f64 };
        let is_exceeded =
            count.is_some_and(|count| failures > count) || percentage.is_some_and(|percentage| share > percentage);
        self.count_retries();
        Ok(match &self.mocked {
            Some(Mocked::Error { error, cause }) => {
                Event::MapRunFailed { map_run, error: error.clone(), cause: cause.clone() }
            }
            _ if is_exceeded => Event::MapRunFailed {
                map_run,
                error: "States.ExceedToleratedFailureThreshold".to_owned(),
                cause: "The specified tolerated failure threshold was exceeded".to_owned(),
            },
            Some(Mocked::Result(result)) => Event::MapRunSucceeded { map_run, output: Arc::new(result.clone()) },
            None => return Err(Error::validation("a Map is only tested with a mock")),
        })
    }

    /// Makes the retriers believe that they have tried before.
    fn count_retries(&mut self) {
        if let Some(made) = self.configuration.retrier_retry_count {
            self.execution.assume_retries(made);
        }
    }

    fn outcome(self, stand: Stand) -> Outcome {
        let seen_failure = || self.seen.failure.clone().unwrap_or_default();
        let mut outcome = Outcome {
            status: Status::Failed,
            output: None,
            error: None,
            cause: None,
            next_state: None,
            inspection: None,
            notes: self.notes.clone(),
        };
        let mut variables = self.variables.clone();
        match stand {
            Stand::Left { output, assigned, next_state } => {
                outcome.status = Status::Succeeded;
                if self.seen.caught.is_some() {
                    outcome.status = Status::CaughtError;
                    let failure = seen_failure();
                    (outcome.error, outcome.cause) = (failure.error, failure.cause);
                }
                outcome.output = Some(text::write(&output));
                outcome.next_state = next_state.map(|name| self.tested.name_of_target(name));
                variables.extend(assigned);
            }
            Stand::WillRetry => {
                outcome.status = Status::Retriable;
                let failure = seen_failure();
                (outcome.error, outcome.cause) = (failure.error, failure.cause);
            }
            Stand::Failed { error, cause } => (outcome.error, outcome.cause) = (error, cause),
            Stand::Waits => {}
        }
        if matches!(&self.mocked, Some(Mocked::Error { cause, .. }) if cause.is_empty()) {
            outcome.cause = outcome.cause.filter(|cause| !cause.is_empty());
        }
        outcome.cause = outcome.cause.map(without_place);
        if self.level != Level::Info {
            outcome.inspection = Some(self.inspection(variables));
        }
        outcome
    }

    /// What AWS shows of each type of state; recorded: test_base_inspection_level_trace and the like.
    fn inspection(&self, variables: BTreeMap<String, Value>) -> Inspection {
        use Stage::*;
        let is_jsonpath = !self.tested.is_jsonata;
        let has_result = self.tested.has("Result");
        let shown: &[Stage] = match (self.tested.state_type, is_jsonpath) {
            (StateType::Task, true) => &[AfterInputPath, AfterParameters, Result, AfterResultSelector, AfterResultPath],
            (StateType::Task, false) => &[AfterArguments, Result],
            // What comes before a fixed result is not even computed.
            (StateType::Pass, true) if has_result => &[Result, AfterResultSelector, AfterResultPath],
            (StateType::Pass, true) => &[AfterInputPath, AfterParameters, AfterResultSelector, AfterResultPath],
            (StateType::Parallel, true) => &[AfterResultSelector, AfterResultPath],
            (StateType::Parallel, false) if self.tested.has("Arguments") => &[AfterArguments],
            (StateType::Map, true) => {
                &[AfterInputPath, AfterItemsPath, AfterItemSelector, AfterResultSelector, AfterResultPath]
            }
            (StateType::Map, false) => &[AfterItemSelector],
            (_, true) => &[AfterInputPath],
            (_, false) => &[],
        };
        let seen = |stage: Stage| match shown.contains(&stage) {
            true => self.seen.stages.get(&stage).map(text::write),
            false => None,
        };
        let details = ErrorDetails {
            catch_index: self.seen.caught,
            retry_index: self.seen.retried.map(|(index, _)| index),
            retry_backoff_interval_s: self.seen.retried.map(|(_, delay_ms)| (delay_ms.max(0) as u64).div_ceil(1000)),
        };
        let variables: Value = variables.into_iter().collect::<serde_json::Map<_, _>>().into();
        let input = self.seen.stages.get(&Input);
        Inspection {
            input: input.map(text::write),
            // A Fail state has no InputPath of its own, but it has this.
            after_input_path: match self.tested.state_type {
                StateType::Fail if is_jsonpath => input.map(text::write),
                _ => seen(AfterInputPath),
            },
            after_parameters: seen(AfterParameters),
            after_arguments: seen(AfterArguments),
            after_items_path: seen(AfterItemsPath).filter(|_| !self.pointed),
            after_items_pointer: self.seen.stages.get(&AfterItemsPath).filter(|_| self.pointed).map(text::write),
            after_item_selector: seen(AfterItemSelector),
            after_item_batcher: self.batches.as_ref().map(text::write),
            result: seen(Result),
            after_result_selector: seen(AfterResultSelector),
            after_result_path: seen(AfterResultPath),
            variables: (variables != Value::Object(Default::default())).then(|| text::write(&variables)),
            error_details: (details != ErrorDetails::default()).then_some(details),
            max_concurrency: self.map.map(|map| map.max_concurrency),
            tolerated_failure_count: self.map.and_then(|map| map.tolerated_failure_count),
            tolerated_failure_percentage: self.map.and_then(|map| map.tolerated_failure_percentage),
            request: None,
            response: None,
        }
    }
}

/// Where an item came from, as `$$.Map.Item.Source` says it of items that the state had.
const SOURCE: &str = "STATE_DATA";

/// The inputs of the children that get items in batches.
fn batches(batching: &Batching, items: Vec<Arc<Value>>) -> Vec<Value> {
    let items_max = batching.items_max.and_then(|max| usize::try_from(max).ok()).unwrap_or(usize::MAX);
    let bytes_max = batching.input_bytes_max.and_then(|max| usize::try_from(max).ok()).unwrap_or(PAYLOAD_BYTES_MAX);
    let bytes_around = batching.input_of(Vec::new()).to_string().len();
    let (mut batches, mut batch, mut bytes) = (Vec::new(), Vec::new(), bytes_around);
    for item in items {
        // With the comma before it.
        let more = item.to_string().len() + 1;
        if !batch.is_empty() && (batch.len() >= items_max || bytes + more > bytes_max) {
            batches.push(batching.input_of(std::mem::take(&mut batch)));
            bytes = bytes_around;
        }
        bytes += more;
        batch.push(Arc::unwrap_or_clone(item));
    }
    if !batch.is_empty() {
        batches.push(batching.input_of(batch));
    }
    batches
}

enum Question {
    Task(Box<TaskInvocation>),
    MapRun(MapRunId, Arc<MapRunSpec>),
    Wait(TimerId, Timestamp),
}

/// What a look over the state's shoulder has shown.
#[derive(Debug, Default)]
struct Seen {
    stages: BTreeMap<Stage, Value>,
    /// Which retrier, and the wait in milliseconds.
    retried: Option<(usize, i64)>,
    caught: Option<usize>,
    /// The last error on its way to Retry and Catch.
    failure: Option<Failure>,
}

impl Inspector for Seen {
    fn inspect(&mut self, stage: Stage, value: &Value) {
        match stage {
            // The last word on a result is the tested state's: what is inside it comes before, and nothing after it has one.
            Stage::Result | Stage::AfterResultSelector | Stage::AfterResultPath => {
                self.stages.insert(stage, value.clone());
            }
            // The first word on an input is the tested state's.
            _ => {
                self.stages.entry(stage).or_insert_with(|| value.clone());
            }
        }
    }

    fn failed(&mut self, failure: &Failure) {
        self.failure = Some(failure.clone());
    }

    fn retried(&mut self, retrier: usize, delay_ms: i64) {
        self.retried = Some((retrier, delay_ms));
    }

    fn caught(&mut self, catcher: usize) {
        self.caught = Some(catcher);
    }
}

/// A cause without the state and the event that a history's causes begin with: a test has one state and no history.
fn without_place(cause: String) -> String {
    let rest = cause.strip_prefix("An error occurred while executing the state '");
    match rest.and_then(|rest| rest.split_once("' (entered at the event id #")?.1.split_once("). ")) {
        Some((_, told)) => told.to_owned(),
        None => cause,
    }
}

/// The outcome of a test that went wrong by our own mistake.
fn broken(what: &str) -> Outcome {
    Outcome {
        status: Status::Failed,
        output: None,
        error: Some("States.Runtime".to_owned()),
        cause: Some(format!("Internal error: {what}")),
        next_state: None,
        inspection: None,
        notes: Vec::new(),
    }
}
