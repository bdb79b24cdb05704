//! The state of one execution between two events.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::command::{Command, Outcome};
use crate::definition::{ScopeId, StateMachine};
use crate::event::{MapRunId, TaskId, TimerId};
use crate::map_run::MapRunSpec;
use crate::random::Random;
use crate::resource::Resource;
use crate::time::Timestamp;
use crate::variables::Variables;

/// AWS's limit for an Express workflow.
///
/// # Source
/// <https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html>, read 2026-11
const EXPRESS_SECONDS_MAX: u64 = 5 * 60;

/// Who an execution is: what `$$.Execution` and `$$.StateMachine` say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExecutionContext {
    /// The execution's ARN: `$$.Execution.Id`.
    pub execution_id: String,
    /// `$$.Execution.Name`.
    pub execution_name: String,
    /// `$$.Execution.RoleArn`.
    pub role_arn: String,
    /// `$$.Execution.StartTime`.
    pub start_time: Timestamp,
    /// The state machine's ARN: `$$.StateMachine.Id`.
    pub state_machine_id: String,
    /// `$$.StateMachine.Name`.
    pub state_machine_name: String,
    /// `$$.Execution.RedriveCount`.
    pub redrive_count: u32,
    /// An Express execution knows no redrives and ends after five minutes.
    pub is_express: bool,
    /// Whatever lets the engine find the execution by a task's token: the token's [`key`](crate::TaskToken::key).
    pub token_key: u64,
}

/// Limits and seeds of an execution. They are part of what must be the same for a replay to be the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Largest size of a state's output as JSON text, in bytes (AWS: 262,144); `None` is no limit.
    pub payload_bytes_max: Option<usize>,
    /// Seeds jitter, task tokens, `States.UUID` and `States.MathRandom`.
    pub seed: u64,
}

/// Where an execution stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Status {
    /// Not over (or not yet started).
    Running,
    /// Over.
    Ended(Outcome),
}

/// The interpreter's state of one execution: everything [`step`](crate::step()) needs and changes.
///
/// It is not stored. After a crash it is rebuilt by feeding the journaled events to a new one.
#[derive(Clone, Debug)]
pub struct Execution {
    pub(crate) machine: StateMachine,
    pub(crate) context: ExecutionContext,
    pub(crate) input: Arc<Value>,
    pub(crate) options: Options,
    pub(crate) phase: Phase,
    pub(crate) random: Random,
    /// Highest id of a history event so far.
    pub(crate) last_event_id: u64,
    /// The same when the execution began; only one that [begins again](crate::Event::Redriven) had any by then.
    pub(crate) begun_after_id: u64,
    pub(crate) issued: Issued,
    /// Every branch that waits for something. A branch that is being worked on is not in here.
    pub(crate) branches: BTreeMap<BranchId, Branch>,
    /// Of an execution that ended without success: where its branches were. What a redrive goes on from.
    pub(crate) halted: Option<BTreeMap<BranchId, Branch>>,
    pub(crate) pending: Pending,
    /// Payloads that somebody wrote in another way than compactly: AWS shows them so for as long as they are handed on.
    pub(crate) texts: Vec<(Arc<Value>, Arc<str>)>,
    /// What TestState gives the state to see.
    pub(crate) given: Option<Given>,
}

/// Data that a test has from its caller and not from an execution.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Given {
    /// The context object, in place of the execution's own.
    pub(crate) context: Value,
    /// True if the caller wrote the context object: then nothing but an item is put into it.
    pub(crate) is_context_final: bool,
    /// Variables from before the state.
    pub(crate) variables: BTreeMap<String, Arc<Value>>,
}

impl Given {
    pub(crate) fn context_of(&self, item: Option<&Item>, token: Option<&str>) -> Value {
        let mut context = self.context.clone();
        if let Some(Item { index, value, .. }) = item {
            context["Map"] = json!({ "Item": { "Index": index, "Value": **value } });
        }
        if let (Some(token), false) = (token, self.is_context_final) {
            context["Task"] = json!({ "Token": token });
        }
        context
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Phase {
    NotStarted,
    Running,
    Ended(Outcome),
}

/// Highest number of each kind that was ever given out.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Issued {
    pub(crate) task: u64,
    pub(crate) timer: u64,
    pub(crate) map_run: u64,
    pub(crate) branch: u64,
    pub(crate) effect: u64,
}

/// Effects asked for and not yet answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Pending {
    pub(crate) tasks: BTreeMap<TaskId, Effect<BranchId>>,
    pub(crate) timers: BTreeMap<TimerId, Effect<TimerPurpose>>,
    pub(crate) map_runs: BTreeMap<MapRunId, Effect<BranchId>>,
    /// By the order in which they were asked for.
    pub(crate) commands: BTreeMap<u64, Command>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Effect<T> {
    pub(crate) of: T,
    /// Key in [`Pending::commands`].
    pub(crate) order: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum TimerPurpose {
    Machine,
    TaskTimeout(BranchId),
    Heartbeat(BranchId),
    Wait(BranchId),
    Retry(BranchId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BranchId(pub(crate) u64);

/// One line of control: the machine itself, a branch of a Parallel, an iteration of an inline Map.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Branch {
    pub(crate) parent: Option<Parent>,
    pub(crate) scope: ScopeId,
    /// Index of the current state in the scope.
    pub(crate) state: usize,
    /// The current state's raw input.
    pub(crate) input: Arc<Value>,
    pub(crate) variables: Arc<Variables>,
    /// The innermost inline Map's item: `$$.Map.Item`.
    pub(crate) item: Option<Item>,
    /// The last history event of this branch: the next one's `previous_id`.
    pub(crate) last_id: u64,
    /// The last history event before the current state was entered.
    pub(crate) before_id: u64,
    pub(crate) entered_id: u64,
    pub(crate) entered_at: Timestamp,
    /// Retries made of the current state, by retrier.
    pub(crate) retries: Vec<u32>,
    pub(crate) activity: Activity,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Parent {
    pub(crate) branch: BranchId,
    /// Which branch or iteration of the parent's this is, from 0.
    pub(crate) index: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Item {
    pub(crate) index: usize,
    /// Of a field, where the items are those of an object.
    pub(crate) key: Option<String>,
    /// Where it came from; known in a Distributed Map.
    pub(crate) source: Option<String>,
    pub(crate) value: Arc<Value>,
}

/// What a branch waits for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Activity {
    /// For its turn to enter its state.
    Ready,
    /// For a redrive: its state has failed. Only in [`Execution::halted`].
    Failed,
    Task {
        task: TaskId,
        resource: Resource,
        /// Whether the history says that the task was asked for: an activity's only once it is known to be there.
        is_scheduled: bool,
        is_started: bool,
        timeout: Option<TimerId>,
        heartbeat: Option<Heartbeat>,
    },
    Wait {
        timer: TimerId,
    },
    Retry {
        timer: TimerId,
    },
    Fan(Fan),
    MapRun {
        map_run: MapRunId,
        /// What a redrive asks for again.
        spec: Arc<MapRunSpec>,
        /// The history event that tells of its start, once it has started.
        started_id: Option<u64>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Heartbeat {
    pub(crate) timer: TimerId,
    pub(crate) interval_s: u64,
}

/// The branches of a Parallel or the iterations of an inline Map.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fan {
    /// By index; `None` until finished.
    pub(crate) results: Vec<Option<Arc<Value>>>,
    pub(crate) running: BTreeMap<usize, BranchId>,
    /// Iterations that wait for a free slot, in order.
    pub(crate) waiting: VecDeque<Iteration>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Iteration {
    pub(crate) index: usize,
    pub(crate) input: Arc<Value>,
    /// What `ItemSelector` made the input of.
    pub(crate) item: Item,
}

impl Execution {
    /// An execution that has not begun; its first event is [`Event::Started`](crate::Event::Started).
    pub fn new(
        machine: StateMachine,
        context: ExecutionContext,
        input: impl Into<Arc<Value>>,
        options: Options,
    ) -> Execution {
        let input = input.into();
        Execution {
            machine,
            context,
            input,
            options,
            phase: Phase::NotStarted,
            random: Random::new(options.seed),
            last_event_id: 0,
            begun_after_id: 0,
            issued: Issued::default(),
            branches: BTreeMap::new(),
            halted: None,
            pending: Pending::default(),
            given: None,
            texts: Vec::new(),
        }
    }

    /// Who it is.
    pub fn context(&self) -> &ExecutionContext {
        &self.context
    }

    /// Says how the input was written: the history shows it so wherever it is handed on as it is.
    pub fn with_input_text(mut self, text: &str) -> Execution {
        self.texts.push((Arc::clone(&self.input), text.into()));
        self
    }

    /// How a payload was written, if it was written in a way of its own.
    pub(crate) fn text_of(&self, payload: &Arc<Value>) -> Option<Arc<str>> {
        let (_, text) = self.texts.iter().find(|(other, _)| Arc::ptr_eq(other, payload))?;
        Some(Arc::clone(text))
    }

    /// The variables that the first state sees.
    pub(crate) fn given_variables(&self) -> Arc<Variables> {
        let mut variables = Variables::default();
        if let Some(given) = &self.given {
            variables.assign(&given.variables);
        }
        Arc::new(variables)
    }

    /// For TestState, before the first event.
    pub(crate) fn give(&mut self, given: Given) {
        self.given = Some(given);
    }

    /// For TestState: as if every retrier of the state had made so many retries.
    pub(crate) fn assume_retries(&mut self, made: u32) {
        for branch in self.branches.values_mut().filter(|branch| branch.parent.is_none()) {
            branch.retries.fill(made);
        }
    }

    /// Effects asked for and not yet answered (`InvokeTask`, `StartTimer`, `StartMapRun`, `RedriveMapRun`), oldest first:
    /// what a driver must issue again after a replay.
    pub fn outstanding(&self) -> Vec<Command> {
        self.pending.commands.values().cloned().collect()
    }

    /// Whether [`Event::Redriven`](crate::Event::Redriven) would make it go on: it ended without success, and not
    /// because its history was full.
    pub fn is_redrivable(&self) -> bool {
        self.halted.is_some()
    }

    /// The time that the whole execution has, if it is limited.
    pub(crate) fn timeout_s(&self) -> Option<u64> {
        let limit = self.context.is_express.then_some(EXPRESS_SECONDS_MAX);
        self.machine.timeout_s().into_iter().chain(limit).min()
    }

    /// Where the execution stands.
    pub fn status(&self) -> Status {
        match &self.phase {
            Phase::NotStarted | Phase::Running => Status::Running,
            Phase::Ended(outcome) => Status::Ended(outcome.clone()),
        }
    }
}
