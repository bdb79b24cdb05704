//! A run under simulated time: the real core decides, a simulated cloud takes its time.
//!
//! Nothing here waits and nothing is random by itself: how long an attempt of a function takes and how it ends is said by
//! [`Functions`], when a worker is to be had by [`Capacity`]. What the core writes goes through a
//! [`Meter`](crate::billing::Meter) and, where a caller wants to look into it, a journal; so a simulated run is billed by
//! the same code as a real one. A run of a million children takes the room of those that run at once.
//!
//! SIMULATE-1: the same setup gives the same run.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use foldhash::{HashMap, HashSet};
use serde_json::Value;
use starmap_asl::{TaskId, TimerId, Timestamp};

use crate::billing::{Meter, Prices};
use crate::core::{Core, Effect, Input, NewExecution, Turn};
use crate::invoker::{InvokeError, Outcome, Report};
use crate::journal::memory::MemoryJournal;
use crate::journal::{self, Ending, ExecutionId, Journal, MapRunRow, Status, Write};
use crate::limits::{AWS_MAP_RUN_CONCURRENCY_MAX, Limits};
use crate::names::Naming;
use crate::registry::{Change, MachineKind, Revision, RevisionRow};

/// What functions do.
pub trait Functions {
    /// One attempt, at the moment at which a worker takes it.
    fn attempt(&mut self, attempt: &Attempt<'_>) -> Attempted;
}

impl<F: FnMut(&Attempt<'_>) -> Attempted> Functions for F {
    fn attempt(&mut self, attempt: &Attempt<'_>) -> Attempted {
        self(attempt)
    }
}

/// An attempt of a function.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    /// Function name or ARN as the definition has it.
    pub function: &'a str,
    /// The event, JSON text.
    pub payload: &'a [u8],
    /// Whether a new worker takes it.
    pub is_cold: bool,
}

/// How an attempt goes.
#[derive(Debug, Clone)]
pub struct Attempted {
    /// Process start to first poll, milliseconds; of no account for a worker that is warm.
    pub init_ms: f64,
    /// Hand-over to answer, milliseconds.
    pub duration_ms: f64,
    /// Memory of the function, MiB.
    pub memory_mib: u32,
    /// Peak resident set, MiB.
    pub max_memory_used_mib: u32,
    /// Its answer as JSON text, or the error.
    pub result: Result<Vec<u8>, InvokeError>,
}

/// When workers are to be had.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Capacity {
    /// Attempts that run at once, of all functions.
    pub concurrency: usize,
    /// Whether an attempt for which there is no worker fails as on AWS (`Lambda.TooManyRequestsException`, for the
    /// definition's `Retry` to deal with) or waits for one.
    pub throttles: bool,
    /// New workers of a function per second, and at once after a rest; `None` is no such limit.
    pub scaling: Option<(f64, f64)>,
}

/// How long the orchestration itself takes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Latency {
    /// From a task of the outermost execution to its function, milliseconds.
    pub task_ms: f64,
    /// From the start of a map run to its first child's function, milliseconds.
    pub map_ms: f64,
    /// Between the functions of one child and the next, milliseconds.
    pub child_ms: f64,
    /// After so many children of a map run another time between them, milliseconds.
    pub later: Option<(u64, f64)>,
}

impl Capacity {
    /// Lambda's default quotas, with so many attempts at once.
    pub fn aws(prices: &Prices, concurrency: usize) -> Self {
        let environments = prices.number("lambda.scaling.environments");
        let per_s = environments / prices.number("lambda.scaling.period_s");
        Self { concurrency, throttles: true, scaling: Some((per_s, environments)) }
    }

    /// Workers of one machine: what has none waits.
    pub fn local(concurrency: usize) -> Self {
        Self { concurrency, throttles: false, scaling: None }
    }
}

/// A run to simulate.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The definition, ASL text.
    pub definition: String,
    /// The input.
    pub input: Value,
    /// The execution's name; the jitter of retries follows from it.
    pub name: String,
    /// Children of a map run that run at once, whatever the definition allows.
    pub map_run_concurrency_max: u32,
    /// When workers are to be had.
    pub capacity: Capacity,
    /// How long the orchestration takes.
    pub latency: Latency,
    /// Whether the bill is to be kept by item, too.
    pub by_item: bool,
}

impl Setup {
    /// A setup with AWS's limit on children, no latency, and no bill by item.
    pub fn new(definition: String, input: Value, name: String, capacity: Capacity) -> Self {
        let map_run_concurrency_max = AWS_MAP_RUN_CONCURRENCY_MAX;
        let latency = Latency::default();
        Self { definition, input, name, map_run_concurrency_max, capacity, latency, by_item: false }
    }
}

/// How a simulated run went.
#[derive(Debug)]
pub struct Simulated {
    /// How it ended.
    pub ending: Ending,
    /// From its start to its end, seconds.
    pub wall_s: f64,
    /// From the start of its first map run to the end of its last, seconds.
    pub map_s: Option<f64>,
    /// What it used.
    pub meter: Meter,
    /// Attempts that found no worker and failed by that.
    pub throttled: u64,
    /// The most attempts that ran at once.
    pub concurrency_max: usize,
    /// Entries of the outermost execution's history.
    pub events: u64,
}

/// Why there is nothing to tell.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The definition is not one.
    #[error("the definition can't be run: {0}")]
    Definition(String),
    /// The run asks for something that a simulation does not have.
    #[error("a simulated run can't {0}")]
    Unsupported(String),
    /// Nothing will ever happen again, and the run has not ended.
    #[error("the run waits for something that never comes")]
    Stuck,
    /// The journal refused.
    #[error(transparent)]
    Journal(#[from] journal::Error),
}

/// Simulates a run; what the core writes also goes to `journal`, if there is one.
///
/// # Errors
/// [`Error`]; a run that fails is none.
pub fn run<'a>(
    setup: &'a Setup,
    functions: &'a mut dyn Functions,
    journal: Option<&'a mut dyn Journal>,
) -> Result<Simulated, Error> {
    Simulation::new(setup, functions, journal)?.run()
}

/// When the simulation begins; any other moment would do.
const EPOCH_MS: i64 = 1_790_000_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// A task reaches its function.
    Arrive(ExecutionId, TaskId),
    /// An attempt ends.
    End(ExecutionId, TaskId),
    Timer(ExecutionId, TimerId),
    Advance(MapRunRow),
}

struct Asked {
    function: Arc<str>,
    payload: Vec<u8>,
    /// The worker and how it will end, once there is one.
    running: Option<(u64, Attempted, bool)>,
}

/// The workers of one function.
#[derive(Default)]
struct Pool {
    idle: Vec<u64>,
    /// How many new ones may start now, as of a moment.
    tokens: Option<(f64, u64)>,
}

struct Simulation<'a> {
    setup: &'a Setup,
    functions: &'a mut dyn Functions,
    journal: Option<&'a mut dyn Journal>,
    core: Core,
    meter: Meter,
    /// Room for the next turn.
    spare: Turn,
    /// Microseconds since the start.
    now: u64,
    order: u64,
    due: BinaryHeap<Reverse<(u64, u64, Due)>>,
    timers: HashSet<(ExecutionId, TimerId)>,
    asked: HashMap<(ExecutionId, TaskId), Asked>,
    waiting: VecDeque<(ExecutionId, TaskId)>,
    pools: HashMap<Arc<str>, Pool>,
    running: usize,
    workers: u64,
    /// When the next child's function may be reached.
    next_child: u64,
    /// Of the map run, so far.
    children: u64,
    root: ExecutionId,
    ending: Option<Ending>,
    map_from: Option<u64>,
    map_to: Option<u64>,
    throttled: u64,
    concurrency_max: usize,
    events: u64,
}

impl<'a> Simulation<'a> {
    fn new(
        setup: &'a Setup,
        functions: &'a mut dyn Functions,
        journal: Option<&'a mut dyn Journal>,
    ) -> Result<Self, Error> {
        let limits = Limits { payload_bytes_max: None, map_run_concurrency_max: setup.map_run_concurrency_max };
        Ok(Self {
            setup,
            functions,
            journal,
            core: Core::new(Naming::default(), limits, Arc::new(MemoryJournal::default()))?,
            meter: if setup.by_item { Meter::with_items() } else { Meter::default() },
            spare: Turn::default(),
            now: 0,
            order: 0,
            due: BinaryHeap::new(),
            timers: HashSet::default(),
            asked: HashMap::default(),
            waiting: VecDeque::new(),
            pools: HashMap::default(),
            running: 0,
            workers: 0,
            next_child: 0,
            children: 0,
            root: ExecutionId(0),
            ending: None,
            map_from: None,
            map_to: None,
            throttled: 0,
            concurrency_max: 0,
            events: 0,
        })
    }

    fn run(mut self) -> Result<Simulated, Error> {
        self.start()?;
        let mut inputs = Vec::new();
        while self.ending.is_none() {
            let Some(Reverse((at, _, _))) = self.due.peek() else { return Err(Error::Stuck) };
            self.now = *at;
            // What is due in the same millisecond is one turn, as far as the core can tell.
            let until = self.now / 1_000 * 1_000 + 999;
            while let Some(Reverse((at, _, due))) = self.due.peek().copied()
                && at <= until
            {
                self.due.pop();
                self.now = at;
                self.happen(due, &mut inputs);
            }
            if !inputs.is_empty() {
                self.turn(&mut inputs)?;
            }
        }
        let ending = self.ending.take().ok_or(Error::Stuck)?;
        let seconds = |us: u64| us as f64 / 1e6;
        Ok(Simulated {
            ending,
            wall_s: seconds(self.now),
            map_s: self.map_from.zip(self.map_to).map(|(from, to)| seconds(to - from)),
            meter: self.meter,
            throttled: self.throttled,
            concurrency_max: self.concurrency_max,
            events: self.events,
        })
    }

    fn start(&mut self) -> Result<(), Error> {
        let naming = Naming::default();
        let (arn, role) = (naming.state_machine("simulated"), naming.role());
        let revision = Revision::new(
            RevisionRow(1),
            arn,
            "simulated".to_owned(),
            MachineKind::Standard,
            None,
            self.setup.definition.clone(),
            role,
            Value::Null,
            Timestamp(EPOCH_MS),
        );
        if let Err(diagnostics) = revision.machine() {
            let first = diagnostics.first().map(ToString::to_string).unwrap_or_default();
            return Err(Error::Definition(first));
        }
        let revision = Arc::new(revision);
        let mut turn = Turn::default();
        turn.batch.writes.push(Write::Resource(Change::Revision(Arc::clone(&revision))));
        let new = NewExecution {
            revision,
            version_arn: None,
            alias_arn: None,
            trace_header: None,
            name: self.setup.name.clone(),
            input: self.setup.input.clone(),
            annotations: Value::Null,
        };
        let started = self.core.take_in(self.at(), Input::Start(Box::new(new)), &mut turn);
        self.root = started.ok_or(Error::Stuck)?;
        self.finish(turn)
    }

    fn at(&self) -> Timestamp {
        Timestamp(EPOCH_MS + (self.now / 1_000) as i64)
    }

    fn plan(&mut self, at: u64, due: Due) {
        self.order += 1;
        self.due.push(Reverse((at, self.order, due)));
    }

    fn happen(&mut self, due: Due, inputs: &mut Vec<Input>) {
        match due {
            Due::Arrive(execution, task) => self.arrive(execution, task, inputs),
            Due::End(execution, task) => self.end(execution, task, inputs),
            Due::Timer(execution, timer) => {
                if self.timers.remove(&(execution, timer)) {
                    inputs.push(Input::TimerFired { execution, timer });
                }
            }
            Due::Advance(map_run) => inputs.push(Input::Advance { map_run }),
        }
    }

    fn turn(&mut self, inputs: &mut Vec<Input>) -> Result<(), Error> {
        let (at, mut turn) = (self.at(), std::mem::take(&mut self.spare));
        for input in inputs.drain(..) {
            self.core.take_in(at, input, &mut turn);
        }
        self.finish(turn)
    }

    /// What the driver does with a turn: record it, then act.
    fn finish(&mut self, mut turn: Turn) -> Result<(), Error> {
        self.core.finish_turn(&mut turn);
        for write in &turn.batch.writes {
            self.meter.take_in(write);
            match write {
                Write::MapRun(run) if run.execution == self.root => {
                    self.map_from.get_or_insert(self.now);
                    self.next_child = self.now + us(self.setup.latency.map_ms);
                    self.children = 0;
                }
                Write::MapRunChanged { status, .. } if *status != Status::Running => self.map_to = Some(self.now),
                Write::History { execution, .. } if *execution == self.root => self.events += 1,
                _ => {}
            }
        }
        if let Some(journal) = &mut self.journal {
            journal.append(&turn.batch)?;
        }
        for effect in turn.effects.drain(..) {
            self.carry_out(effect)?;
        }
        turn.clear();
        self.spare = turn;
        Ok(())
    }

    fn carry_out(&mut self, effect: Effect) -> Result<(), Error> {
        match effect {
            Effect::Invoke { execution, task, function, payload, .. } => {
                let function = match self.pools.get_key_value(function.as_str()) {
                    Some((known, _)) => Arc::clone(known),
                    None => Arc::from(function),
                };
                self.pools.entry(Arc::clone(&function)).or_default();
                self.asked.insert((execution, task), Asked { function, payload, running: None });
                let at = if execution == self.root {
                    self.now + us(self.setup.latency.task_ms)
                } else {
                    let at = self.next_child.max(self.now);
                    self.children += 1;
                    let Latency { child_ms, later, .. } = self.setup.latency;
                    let child_ms = later.filter(|(first, _)| self.children > *first).map_or(child_ms, |(_, ms)| ms);
                    self.next_child = at + us(child_ms);
                    at
                };
                self.plan(at, Due::Arrive(execution, task));
            }
            Effect::CancelInvoke { execution, task } => {
                if let Some(Asked { function, running: Some((worker, ..)), .. }) = self.asked.remove(&(execution, task))
                {
                    self.give_back(&function, worker);
                }
            }
            Effect::ArmTimer { execution, timer, due } => {
                let at = u64::try_from(due.0 - EPOCH_MS).unwrap_or(0) * 1_000;
                self.timers.insert((execution, timer));
                self.plan(at.max(self.now), Due::Timer(execution, timer));
            }
            Effect::DisarmTimer { execution, timer } => {
                self.timers.remove(&(execution, timer));
            }
            Effect::Advance { map_run } => self.plan(self.now, Due::Advance(map_run)),
            Effect::Ended { execution, ending, .. } => {
                if execution == self.root {
                    self.ending = Some(ending);
                }
            }
            Effect::ReadItems { .. } | Effect::MoreItems { .. } | Effect::StopReading { .. } => {
                return Err(Error::Unsupported("read items from object storage".to_owned()));
            }
            Effect::WriteResults { .. } => {
                return Err(Error::Unsupported("write results to object storage".to_owned()));
            }
            Effect::Call { call, .. } => {
                return Err(Error::Unsupported(format!("call {}:{}", call.service, call.action)));
            }
            Effect::CancelCall { .. } | Effect::HandOut { .. } => {}
        }
        Ok(())
    }

    /// A task has reached its function.
    fn arrive(&mut self, execution: ExecutionId, task: TaskId, inputs: &mut Vec<Input>) {
        let Some(asked) = self.asked.get(&(execution, task)) else { return };
        let function = Arc::clone(&asked.function);
        if let Some((worker, is_cold)) = self.worker(&function) {
            return self.begin(execution, task, worker, is_cold, inputs);
        }
        if !self.setup.capacity.throttles {
            self.waiting.push_back((execution, task));
            return;
        }
        self.asked.remove(&(execution, task));
        self.throttled += 1;
        let error =
            InvokeError::TooManyRequests { function: function.to_string(), reason: "Rate Exceeded.".to_owned() };
        inputs.push(Input::TaskEnded { execution, task, outcome: Outcome { result: Err(error), report: None } });
    }

    /// A worker of a function, and whether it is new.
    fn worker(&mut self, function: &Arc<str>) -> Option<(u64, bool)> {
        if self.running >= self.setup.capacity.concurrency {
            return None;
        }
        let pool = self.pools.get_mut(function)?;
        if let Some(worker) = pool.idle.pop() {
            return Some((worker, false));
        }
        if let Some((per_s, at_once)) = self.setup.capacity.scaling {
            let (tokens, since) = pool.tokens.unwrap_or((at_once, self.now));
            let tokens = (tokens + (self.now - since) as f64 / 1e6 * per_s).min(at_once);
            if tokens < 1.0 {
                pool.tokens = Some((tokens, self.now));
                return None;
            }
            pool.tokens = Some((tokens - 1.0, self.now));
        }
        self.workers += 1;
        Some((self.workers, true))
    }

    fn begin(&mut self, execution: ExecutionId, task: TaskId, worker: u64, is_cold: bool, inputs: &mut Vec<Input>) {
        let Some(asked) = self.asked.get_mut(&(execution, task)) else { return };
        let attempt = Attempt { function: &asked.function, payload: &asked.payload, is_cold };
        let attempted = self.functions.attempt(&attempt);
        let took_ms = attempted.duration_ms + if is_cold { attempted.init_ms } else { 0.0 };
        asked.payload = Vec::new();
        asked.running = Some((worker, attempted, is_cold));
        self.running += 1;
        self.concurrency_max = self.concurrency_max.max(self.running);
        inputs.push(Input::TaskStarted { execution, task });
        self.plan(self.now + us(took_ms), Due::End(execution, task));
    }

    fn end(&mut self, execution: ExecutionId, task: TaskId, inputs: &mut Vec<Input>) {
        let Some(Asked { function, running: Some((worker, attempted, is_cold)), .. }) =
            self.asked.remove(&(execution, task))
        else {
            return;
        };
        self.give_back(&function, worker);
        let Attempted { init_ms, duration_ms, memory_mib, max_memory_used_mib, result } = attempted;
        let init_ms = is_cold.then_some(init_ms);
        let report = Report {
            request_id: String::new(),
            function: function.to_string(),
            log_stream: String::new(),
            duration_ms,
            billed_ms: (duration_ms + init_ms.unwrap_or(0.0)).ceil() as u64,
            memory_mib,
            max_memory_used_mib,
            init_ms,
        };
        inputs.push(Input::TaskEnded { execution, task, outcome: Outcome { result, report: Some(report) } });
        while let Some((execution, task)) = self.waiting.pop_front() {
            let Some(function) = self.asked.get(&(execution, task)).map(|asked| Arc::clone(&asked.function)) else {
                continue;
            };
            match self.worker(&function) {
                Some((worker, is_cold)) => self.begin(execution, task, worker, is_cold, inputs),
                None => {
                    self.waiting.push_front((execution, task));
                    return;
                }
            }
        }
    }

    fn give_back(&mut self, function: &Arc<str>, worker: u64) {
        self.running -= 1;
        if let Some(pool) = self.pools.get_mut(function) {
            pool.idle.push(worker);
        }
    }
}

fn us(ms: f64) -> u64 {
    (ms.max(0.0) * 1e3).round() as u64
}
