//! The deterministic core: executions and map runs, advanced one input at a time.
//!
//! [`Core::take_in`] turns an input into writes for the journal and effects for the outside, and performs
//! neither. The driver appends the writes, then carries out the effects; a simulation does the same
//! without threads. After a crash [`Core::recover`] replays the journal to the very same place.

mod map_runs;
mod redrive;
mod tasks;

use std::collections::{BTreeSet, HashMap as NamedMap, HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use foldhash::HashMap;
use serde_json::Value;
use starmap_asl::{
    Command, Event, EventKind, Execution, ExecutionContext, HistoryEvent, MapRunId, Options, Outcome, ReaderRequest,
    StateMachine, TaskId, TimerId, Timestamp, step,
};

use crate::access::{self, Access};
use crate::invoker;
use crate::items::Failed;
use crate::items::blocking::{Chunk, Position};
use crate::journal::{
    self, Batch, Ending, ExecutionId, ExecutionRecord, MapRunRow, Parent, Reader, Sequence, Status, Write,
};
use crate::limits::Limits;
use crate::map_run::{MapRun, Verdict};
use crate::names::{Naming, derived_uuid, fingerprint};
use crate::registry::{MachineKind, Revision, RevisionRow};
use crate::results::ResultJob;
use crate::services::{ServiceCall, ServiceError};

pub use self::map_runs::MapRunUpdate;
pub(crate) use self::redrive::HISTORY_FULL;
pub use self::redrive::not_redrivable;
pub(crate) use self::tasks::execution_arn;
use self::tasks::{Activities, Attempt, Ended, Recorded, Watcher};
pub use self::tasks::{HandedOut, TokenAnswer, TokenRefusal};

/// What happens to the core.
#[derive(Debug)]
#[allow(missing_docs, reason = "the fields say it: which execution, which task, which timer")]
pub enum Input {
    /// An execution is to start.
    Start(Box<NewExecution>),
    /// An execution is to stop.
    Stop { execution: ExecutionId, error: Option<String>, cause: Option<String> },
    /// A worker took a task.
    TaskStarted { execution: ExecutionId, task: TaskId },
    /// A task's attempt ended.
    TaskEnded { execution: ExecutionId, task: TaskId, outcome: invoker::Outcome },
    /// A service answered. `ended` is the execution that a `.sync` call started, if that has ended already.
    ServiceAnswered {
        execution: ExecutionId,
        task: TaskId,
        result: Result<Value, ServiceError>,
        ended: Option<Box<ExecutionRecord>>,
    },
    /// A worker asks for a task of an activity; `poll` is its number.
    ActivityPolled { activity: String, poll: u64, worker: Option<String> },
    /// It does not ask any more.
    PollEnded { activity: String, poll: u64 },
    /// It was gone before it got the task.
    HandedBack { handed: Box<HandedOut> },
    /// Items of a map run, redriven so often, were read, or can't be.
    ItemsRead { map_run: MapRunRow, redrive_count: u32, read: Result<Chunk, Failed> },
    /// A map run goes on in a new turn.
    Advance { map_run: MapRunRow },
    /// Results of a map run, redriven so often, are written, or can't be.
    ResultsWritten { map_run: MapRunRow, redrive_count: u32, written: Result<Value, Failed> },
    /// A timer is due.
    TimerFired { execution: ExecutionId, timer: TimerId },
}

/// An execution to start.
#[derive(Debug, Clone)]
pub struct NewExecution {
    /// What is to run.
    pub revision: Arc<Revision>,
    /// The version that it is started by, if it is.
    pub version_arn: Option<String>,
    /// The alias that it is started by, if it is.
    pub alias_arn: Option<String>,
    /// As given to `StartExecution`; AWS X-Ray's.
    pub trace_header: Option<String>,
    /// The execution's name.
    pub name: String,
    /// Its input.
    pub input: Value,
    /// Kept for the caller. [`INPUT_TEXT`] is read by the engine, too.
    pub annotations: Value,
}

/// The annotation that says how the caller wrote the input, where that was not compactly: the history shows it so.
pub const INPUT_TEXT: &str = "inputText";

/// What must happen outside, once the turn's writes are durable.
#[derive(Debug)]
#[allow(missing_docs, reason = "the fields say it: which execution, which task, which timer")]
pub enum Effect {
    /// Invoke a function.
    Invoke { execution: ExecutionId, task: TaskId, function: String, payload: Vec<u8>, caller: Box<invoker::Caller> },
    /// Give up an invocation.
    CancelInvoke { execution: ExecutionId, task: TaskId },
    /// Call a service.
    Call { execution: ExecutionId, task: TaskId, call: Box<ServiceCall> },
    /// Give up a call.
    CancelCall { execution: ExecutionId, task: TaskId },
    /// Give a task to the worker that asked with this number.
    HandOut { poll: u64, handed: Box<HandedOut> },
    /// Wake the execution at `due`.
    ArmTimer { execution: ExecutionId, timer: TimerId, due: Timestamp },
    /// Don't.
    DisarmTimer { execution: ExecutionId, timer: TimerId },
    /// Begin to read the items of a map run.
    ReadItems { map_run: MapRunRow, redrive_count: u32, request: Arc<ReaderRequest>, from: Position },
    /// Read the next of them.
    MoreItems { map_run: MapRunRow },
    /// No more of them.
    StopReading { map_run: MapRunRow },
    /// Come back with [`Input::Advance`] when others have had their turn.
    Advance { map_run: MapRunRow },
    /// Write the results of a map run.
    WriteResults { map_run: MapRunRow, job: Box<ResultJob> },
    /// Tell whoever waits.
    Ended { execution: ExecutionId, parent: Option<(ExecutionId, u64)>, ending: Ending },
}

/// What one turn decided.
#[derive(Debug, Default)]
pub struct Turn {
    /// To be made durable first.
    pub batch: Batch,
    /// To be carried out after.
    pub effects: Vec<Effect>,
    /// So many children of map runs were started.
    pub(crate) children_started: usize,
}

impl Turn {
    /// Makes it an empty one; its room stays.
    pub fn clear(&mut self) {
        self.batch.writes.clear();
        self.effects.clear();
        self.children_started = 0;
    }
}

/// Item counts of a map run; they add up to `total`.
#[derive(Debug, Clone, PartialEq)]
pub struct MapRunProgress {
    /// The Map state's name.
    pub state: String,
    /// Items in all.
    pub total: u64,
    /// Not started.
    pub pending: u64,
    /// Child executions that run.
    pub running: u64,
    /// Of those, how many have a worker at this moment.
    pub in_flight: u64,
    /// Ended well.
    pub succeeded: u64,
    /// Ended with an error or timed out.
    pub failed: u64,
    /// Stopped.
    pub aborted: u64,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Core {
    naming: Naming,
    limits: Limits,
    /// What is durable. A redrive reads how far its children had come; nothing else is asked in the midst of a turn.
    journal: Arc<dyn Reader>,
    access: Arc<dyn Access>,
    /// Of executions that were recovered.
    revisions: HashMap<RevisionRow, Arc<Revision>>,
    executions: HashMap<ExecutionId, Live>,
    map_runs: HashMap<MapRunRow, MapRun>,
    /// Those in memory that are not children. Names come from outside: their hashes must not be foreseen, as those of our
    /// own numbers may be.
    by_arn: NamedMap<String, ExecutionId>,
    activities: Activities,
    /// ARNs of state machines whose executions end when they would enter their next state.
    deleting: HashSet<String>,
    watchers: HashMap<ExecutionId, Vec<Watcher>>,
    /// Found by a recovery: tasks that wait for an execution, by its ARN.
    unwatched: Vec<(Watcher, String)>,
    /// Those that came further in this turn.
    changed_map_runs: BTreeSet<MapRunRow>,
    last_execution: u64,
    last_map_run: u64,
}

/// An execution in memory.
#[derive(Debug)]
struct Live {
    revision: Arc<Revision>,
    machine: StateMachine,
    parent: Option<Parent>,
    nesting: u32,
    execution: Execution,
    next_sequence: Sequence,
    last_history: u64,
    input: Arc<Value>,
    started_at: Timestamp,
    attempts: HashMap<TaskId, Attempt>,
    map_runs: HashMap<MapRunId, MapRunRow>,
    payload_bytes_max: Option<usize>,
}

type Queue = VecDeque<(ExecutionId, Event)>;

impl Core {
    /// The same under someone who says what map runs may do.
    #[must_use]
    pub fn with_access(self, access: Arc<dyn Access>) -> Self {
        Self { access, ..self }
    }

    /// A core without executions; rows continue after those of the journal.
    ///
    /// # Errors
    /// [`journal::Error`] if the journal can't be read.
    pub fn new(naming: Naming, limits: Limits, journal: Arc<dyn Reader>) -> Result<Self, journal::Error> {
        let last_rows = journal.last_rows()?;
        Ok(Self {
            naming,
            limits,
            journal,
            access: access::everything(),
            revisions: HashMap::default(),
            executions: HashMap::default(),
            map_runs: HashMap::default(),
            by_arn: NamedMap::default(),
            activities: Activities::default(),
            deleting: HashSet::default(),
            watchers: HashMap::default(),
            unwatched: Vec::new(),
            changed_map_runs: BTreeSet::new(),
            last_execution: last_rows.0.0,
            last_map_run: last_rows.1.0,
        })
    }

    /// How ARNs are written.
    pub fn naming(&self) -> &Naming {
        &self.naming
    }

    /// Whether an execution is in memory and has not ended.
    pub fn is_live(&self, execution: ExecutionId) -> bool {
        self.executions.contains_key(&execution)
    }

    /// Whether an execution of that ARN, not a child, is in memory.
    pub fn has_arn(&self, arn: &str) -> bool {
        self.by_arn.contains_key(arn)
    }

    /// An execution of that ARN, not a child, if it is in memory, with its start and its input.
    pub(crate) fn running(&self, arn: &str) -> Option<(ExecutionId, Timestamp, &Value)> {
        let id = *self.by_arn.get(arn)?;
        let live = self.executions.get(&id)?;
        Some((id, live.started_at, &live.input))
    }

    /// Whether an execution of a state machine, by its ARN, is in memory and has not ended.
    pub(crate) fn is_running(&self, state_machine_arn: &str) -> bool {
        self.executions.values().any(|live| live.revision.state_machine_arn == state_machine_arn)
    }

    /// Whether a state machine is to go: executions of it are aborted instead of entering another state. Those of a map run's
    /// children count as their parent's, which ends them with it.
    ///
    /// # Source
    /// <https://docs.aws.amazon.com/step-functions/latest/apireference/API_DeleteStateMachine.html>, read 2026-11.
    pub(crate) fn set_deleting(&mut self, state_machine_arn: &str, is_deleting: bool) {
        if is_deleting {
            self.deleting.insert(state_machine_arn.to_owned());
        } else {
            self.deleting.remove(state_machine_arn);
        }
    }

    /// Item counts of the map runs that an execution has under way.
    pub fn progress(&self, execution: ExecutionId) -> Vec<MapRunProgress> {
        let Some(live) = self.executions.get(&execution) else {
            return Vec::new();
        };
        let mut rows: Vec<MapRunRow> = live.map_runs.values().copied().collect();
        rows.sort_unstable();
        let in_flight = |run: &MapRun| {
            let children = run.running().filter_map(|child| self.executions.get(&child));
            children.filter(|child| child.has_worker()).count() as u64
        };
        rows.iter().filter_map(|row| self.map_runs.get(row)).map(|run| run.progress(in_flight(run))).collect()
    }

    /// Takes in one input and adds what follows from it to `turn`.
    ///
    /// Returns the row of the execution that the input started, if it started one.
    pub fn take_in(&mut self, at: Timestamp, input: Input, turn: &mut Turn) -> Option<ExecutionId> {
        let mut queue = Queue::new();
        let mut started = None;
        match input {
            Input::Start(new) => {
                let id = self.create_execution(at, *new, turn);
                queue.push_back((id, Event::Started));
                started = Some(id);
            }
            Input::Stop { execution, error, cause } => {
                queue.push_back((execution, Event::StopRequested { error, cause }));
            }
            Input::TaskStarted { execution, task } => {
                queue.extend(self.function_started(execution, task).map(|event| (execution, event)));
            }
            Input::TaskEnded { execution, task, outcome } => {
                queue.extend(self.function_ended(at, execution, task, outcome, turn).map(|event| (execution, event)));
            }
            Input::ServiceAnswered { execution, task, result, ended } => {
                let events = self.service_answered(execution, task, result, ended.as_deref());
                queue.extend(events.into_iter().map(|event| (execution, event)));
            }
            Input::ActivityPolled { activity, poll, worker } => {
                self.poll(&activity, poll, worker, turn, &mut queue);
            }
            Input::PollEnded { activity, poll } => self.poll_ended(&activity, poll),
            Input::HandedBack { handed } => self.hand_back(&handed, turn, &mut queue),
            Input::ItemsRead { map_run, redrive_count, read } => {
                self.items_read(at, map_run, redrive_count, read, turn, &mut queue);
            }
            Input::Advance { map_run } => self.resume_map_run(at, map_run, turn, &mut queue),
            Input::ResultsWritten { map_run, redrive_count, written } => {
                self.results_written(at, map_run, redrive_count, written, turn, &mut queue);
            }
            Input::TimerFired { execution, timer } => queue.push_back((execution, Event::TimerFired { timer })),
        }
        self.drain(at, queue, turn);
        started
    }

    /// Changes the limits of a map run that has not ended; false if there is none.
    pub fn update(&mut self, at: Timestamp, map_run: MapRunRow, update: MapRunUpdate, turn: &mut Turn) -> bool {
        let mut queue = Queue::new();
        let is_there = self.update_map_run(at, map_run, update, turn, &mut queue);
        self.drain(at, queue, turn);
        is_there
    }

    fn drain(&mut self, at: Timestamp, mut queue: Queue, turn: &mut Turn) {
        while let Some((execution, event)) = queue.pop_front() {
            self.happen(at, execution, event, turn, &mut queue);
        }
    }

    /// One event happens to one execution: written down, decided upon, commands carried out or passed on.
    fn happen(&mut self, at: Timestamp, id: ExecutionId, event: Event, turn: &mut Turn, queue: &mut Queue) {
        // An event for an execution that has ended is late, not wrong.
        let Some(live) = self.executions.get_mut(&id) else {
            return;
        };
        let is_deleting = live.parent.is_none() && self.deleting.contains(&live.revision.state_machine_arn);
        let event = match is_deleting && would_enter_a_state(&live.execution, at, &event) {
            true => Event::StopRequested { error: None, cause: None },
            false => event,
        };
        let sequence = live.next_sequence;
        live.next_sequence += 1;
        turn.batch.writes.push(Write::Event { execution: id, sequence, at, event: event.clone() });
        let commands = match guarded_step(&mut live.execution, at, event) {
            Ok(commands) => commands,
            Err(bug) => {
                self.end_by_bug(at, id, bug, turn, queue);
                return;
            }
        };
        for command in commands {
            self.carry_out(at, id, command, turn, queue);
        }
    }

    fn carry_out(&mut self, at: Timestamp, id: ExecutionId, command: Command, turn: &mut Turn, queue: &mut Queue) {
        let Some(live) = self.executions.get_mut(&id) else {
            return;
        };
        match command {
            Command::Record(event) => {
                live.last_history = event.id;
                turn.batch.writes.push(Write::History { execution: id, event });
            }
            Command::InvokeTask(invocation) => self.begin_task(id, *invocation, None, turn, queue),
            Command::CancelTask { task } => self.cancel_task(id, task, turn, queue),
            Command::StartTimer { timer, due } => turn.effects.push(Effect::ArmTimer { execution: id, timer, due }),
            Command::CancelTimer { timer } => turn.effects.push(Effect::DisarmTimer { execution: id, timer }),
            Command::StartMapRun { map_run, spec } => self.start_map_run(at, id, map_run, spec, turn, queue),
            Command::RedriveMapRun { map_run, spec } => self.redrive_map_run(at, id, map_run, spec, turn, queue),
            Command::CancelMapRun { map_run } => {
                if let Some(row) = live.map_runs.remove(&map_run) {
                    self.conclude_map_run(at, row, Verdict::Aborted, turn, queue);
                }
            }
            Command::Finish(outcome) => self.finish(at, id, ending(outcome), turn, queue),
        }
    }

    fn create_execution(&mut self, at: Timestamp, new: NewExecution, turn: &mut Turn) -> ExecutionId {
        self.last_execution += 1;
        let id = ExecutionId(self.last_execution);
        let machine_name = &new.revision.state_machine_name;
        let arn = match new.revision.kind {
            MachineKind::Standard => self.naming.execution(machine_name, &new.name),
            // Names of Express executions may be used again.
            MachineKind::Express => {
                let unique = derived_uuid(&[machine_name, &new.name, &id.0.to_string(), &at.0.to_string()]);
                self.naming.express(machine_name, &new.name, &unique)
            }
        };
        let record = ExecutionRecord {
            id,
            arn,
            name: new.name,
            state_machine_arn: new.revision.state_machine_arn.clone(),
            revision: new.revision.row,
            version_arn: new.version_arn,
            alias_arn: new.alias_arn,
            kind: new.revision.kind,
            trace_header: new.trace_header,
            processor: None,
            parent: None,
            run_redrives: 0,
            input: new.input,
            annotations: new.annotations,
            payload_bytes_max: self.limits.payload_bytes_max,
            status: Status::Running,
            output: None,
            error: None,
            cause: None,
            started_at: at,
            stopped_at: None,
            redrive_count: 0,
            redriven_at: None,
        };
        // The caller made sure that the definition is valid; without it there is nothing to run.
        if let Ok(machine) = new.revision.machine().cloned() {
            self.by_arn.insert(record.arn.clone(), id);
            self.executions.insert(id, self.live(&record, machine, new.revision, 0));
        }
        turn.batch.writes.push(Write::Execution(Box::new(record)));
        id
    }

    fn live(&self, record: &ExecutionRecord, machine: StateMachine, revision: Arc<Revision>, nesting: u32) -> Live {
        let context = ExecutionContext {
            execution_id: record.arn.clone(),
            execution_name: record.name.clone(),
            role_arn: revision.role_arn.clone(),
            start_time: record.started_at,
            state_machine_id: record.state_machine_arn.clone(),
            state_machine_name: revision.state_machine_name.clone(),
            redrive_count: 0,
            token_key: record.id.0,
            is_express: record.kind == MachineKind::Express,
        };
        let input = Arc::new(record.input.clone());
        let options = Options { payload_bytes_max: record.payload_bytes_max, seed: fingerprint(&[&record.arn], 0) };
        Live {
            execution: match record.annotations.get(INPUT_TEXT).and_then(Value::as_str) {
                Some(text) => {
                    Execution::new(machine.clone(), context, Arc::clone(&input), options).with_input_text(text)
                }
                None => Execution::new(machine.clone(), context, Arc::clone(&input), options),
            },
            input,
            started_at: record.started_at,
            machine,
            revision,
            parent: record.parent,
            nesting,
            next_sequence: 0,
            last_history: 0,
            attempts: HashMap::default(),
            map_runs: HashMap::default(),
            payload_bytes_max: record.payload_bytes_max,
        }
    }

    fn finish(&mut self, at: Timestamp, id: ExecutionId, ending: Ending, turn: &mut Turn, queue: &mut Queue) {
        let Some(mut live) = self.executions.remove(&id) else {
            return;
        };
        self.give_up_all(id, &mut live, turn, queue);
        for row in std::mem::take(&mut live.map_runs).into_values() {
            self.conclude_map_run(at, row, Verdict::Aborted, turn, queue);
        }
        turn.batch.writes.push(Write::ExecutionEnded { execution: id, at, ending: ending.clone() });
        let mut notice_parent = None;
        match live.parent {
            Some(parent) => notice_parent = self.map_child_ended(at, parent, &ending, turn, queue),
            None => {
                self.by_arn.remove(live.arn());
                if self.watchers.contains_key(&id) {
                    let ended = Ended {
                        arn: live.arn(),
                        name: live.name(),
                        state_machine_arn: &live.revision.state_machine_arn,
                        input: &live.input,
                        started_at: live.started_at,
                        stopped_at: at,
                        ending: Arc::new(ending.clone()),
                    };
                    self.answer_watchers(id, &ended, queue);
                }
            }
        }
        turn.effects.push(Effect::Ended { execution: id, parent: notice_parent, ending });
    }

    /// A bug of ours, or a journal that this version can't follow, ends one execution and no other.
    fn end_by_bug(&mut self, at: Timestamp, id: ExecutionId, bug: String, turn: &mut Turn, queue: &mut Queue) {
        tracing::error!(execution = id.0, bug, "execution ended by an internal error");
        let Some(live) = self.executions.get_mut(&id) else {
            return;
        };
        let cause = format!("internal error, please report it: {bug}");
        let kind = EventKind::ExecutionFailed { error: Some("States.Runtime".to_owned()), cause: Some(cause.clone()) };
        let event = HistoryEvent { id: live.last_history + 1, previous_id: live.last_history, at, kind, text: None };
        turn.batch.writes.push(Write::History { execution: id, event: Box::new(event) });
        let ending = Ending {
            status: Status::Failed,
            output: None,
            error: Some("States.Runtime".to_owned()),
            cause: Some(cause),
        };
        self.finish(at, id, ending, turn, queue);
    }
}

// Recovery.
impl Core {
    /// Brings an execution that has not ended back from the journal, with its children, and adds what
    /// must be done again to `turn`: invocations without an answer, timers that have not fired, children
    /// that there is room for.
    ///
    /// # Errors
    /// [`journal::Error`] if the journal can't be read or does not fit together.
    pub fn recover(&mut self, at: Timestamp, id: ExecutionId, turn: &mut Turn) -> Result<(), journal::Error> {
        let journal = Arc::clone(&self.journal);
        let journal = journal.as_ref();
        let record = journal.execution(id)?.ok_or_else(|| missing(id, "no such row"))?;
        let (machine, revision) = self.machine_of(journal, &record)?;
        let mut runs = Vec::new();
        let mut queue = Queue::new();
        let effects_before = turn.effects.len();
        if let Err(error) = self.reload(journal, &record, machine, revision, 0, turn, &mut queue, &mut runs) {
            // Half of it would be worse than nothing.
            turn.effects.truncate(effects_before);
            self.forget(id, &runs);
            return Err(error);
        }
        // The outer runs come first; children that end by starting see their runs complete.
        for row in runs {
            self.advance_map_run(at, row, turn, &mut queue);
        }
        self.drain(at, queue, turn);
        self.watch_again(at, journal, turn)
    }

    /// Takes what a recovery has brought back out of memory again.
    fn forget(&mut self, id: ExecutionId, runs: &[MapRunRow]) {
        let is_of_run = |parent: Parent| runs.contains(&parent.map_run);
        self.executions.retain(|other, live| *other != id && !live.parent.is_some_and(is_of_run));
        self.map_runs.retain(|row, _| !runs.contains(row));
        self.by_arn.retain(|_, other| *other != id);
        self.unwatched.clear();
    }

    /// What an execution that is not a child runs.
    fn machine_of(
        &mut self,
        journal: &dyn Reader,
        record: &ExecutionRecord,
    ) -> Result<(StateMachine, Arc<Revision>), journal::Error> {
        let id = record.id;
        let revision = match self.revisions.get(&record.revision) {
            Some(revision) => Arc::clone(revision),
            None => {
                let revision = journal.revision(record.revision)?;
                let revision = Arc::new(revision.ok_or_else(|| missing(id, "its definition is not there"))?);
                self.revisions.insert(record.revision, Arc::clone(&revision));
                revision
            }
        };
        let machine = revision.machine().map_err(|_| missing(id, "this version does not accept its definition"))?;
        Ok((machine.clone(), revision))
    }

    #[allow(clippy::too_many_arguments, reason = "private, and each argument is one thing that replay needs")]
    fn reload(
        &mut self,
        journal: &dyn Reader,
        record: &ExecutionRecord,
        machine: StateMachine,
        revision: Arc<Revision>,
        nesting: u32,
        turn: &mut Turn,
        queue: &mut Queue,
        runs: &mut Vec<MapRunRow>,
    ) -> Result<(), journal::Error> {
        let id = record.id;
        let mut live = self.live(record, machine.clone(), Arc::clone(&revision), nesting);
        let mut recorded = Recorded::default();
        for (at, event) in journal.events(id)? {
            recorded.note(&event);
            let commands = guarded_step(&mut live.execution, at, event).map_err(|bug| missing(id, &bug))?;
            live.next_sequence += 1;
            for command in commands {
                if let Command::Record(event) = command {
                    live.last_history = event.id;
                }
            }
        }
        let (mut tasks, mut pending_runs) = (Vec::new(), Vec::new());
        for command in live.execution.outstanding() {
            match command {
                Command::InvokeTask(invocation) => tasks.push(*invocation),
                Command::StartTimer { timer, due } => {
                    turn.effects.push(Effect::ArmTimer { execution: id, timer, due });
                }
                Command::StartMapRun { map_run, spec } | Command::RedriveMapRun { map_run, spec } => {
                    pending_runs.push((map_run, spec));
                }
                _ => {}
            }
        }
        let known_runs = if pending_runs.is_empty() { Vec::new() } else { journal.map_runs(id)? };
        let mut children_to_reload = Vec::new();
        for (number, spec) in pending_runs {
            let known = known_runs.iter().find(|run| run.number == number.0);
            let known = known.ok_or_else(|| missing(id, "a map run that was started is not there"))?;
            let processor =
                machine.processor(&spec.processor).ok_or_else(|| missing(id, "a map run's processor is not there"))?;
            let running =
                self.recover_map_run(journal, known, spec, processor.clone(), live.payload_bytes_max, turn)?;
            children_to_reload.extend(running.into_iter().map(|child| (child, processor.clone())));
            live.map_runs.insert(number, known.row);
            runs.push(known.row);
        }
        if record.parent.is_none() {
            self.by_arn.insert(record.arn.clone(), id);
        }
        self.executions.insert(id, live);
        for invocation in tasks {
            self.begin_task(id, invocation, Some(&recorded), turn, queue);
        }
        for (child, processor) in children_to_reload {
            let record = journal.execution(child)?.ok_or_else(|| missing(child, "no such row"))?;
            self.reload(journal, &record, processor, Arc::clone(&revision), nesting + 1, turn, queue, runs)?;
        }
        Ok(())
    }
}

fn missing(id: ExecutionId, reason: &str) -> journal::Error {
    journal::Error::Damaged { what: format!("execution {id}"), reason: reason.to_owned() }
}

/// Whether an execution would go over into another state by an event.
fn would_enter_a_state(execution: &Execution, at: Timestamp, event: &Event) -> bool {
    let enters =
        |command: &Command| matches!(command, Command::Record(event) if event.kind.name().ends_with("StateEntered"));
    guarded_step(&mut execution.clone(), at, event.clone()).is_ok_and(|commands| commands.iter().any(enters))
}

fn guarded_step(execution: &mut Execution, at: Timestamp, event: Event) -> Result<Vec<Command>, String> {
    // A panic in `step` may leave this execution's state half-changed; the caller ends it, so no one looks again.
    match catch_unwind(AssertUnwindSafe(|| step(execution, at, event))) {
        Ok(stepped) => stepped.map_err(|error| error.to_string()),
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            Err(text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "panic".to_owned()))
        }
    }
}

fn ending(outcome: Outcome) -> Ending {
    match outcome {
        Outcome::Succeeded { output } => {
            Ending { status: Status::Succeeded, output: Some(Arc::unwrap_or_clone(output)), error: None, cause: None }
        }
        Outcome::Failed { error, cause } => Ending { status: Status::Failed, output: None, error, cause },
        Outcome::TimedOut => Ending { status: Status::TimedOut, output: None, error: None, cause: None },
        Outcome::Aborted { error, cause } => Ending { status: Status::Aborted, output: None, error, cause },
    }
}
