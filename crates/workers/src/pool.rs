//! The pool: who runs next, where, and within which limits.
//!
//! Workers are kept warm per function and version. There is a limit of workers per function, over its versions, and
//! one over all. When all are busy, invocations queue first come, first served; one whose function is at its own limit
//! is passed by those of other functions. A warm worker nobody needs is stopped when another function, or another
//! version of its own, needs its room.
//!
//! Functions may be put, replaced and removed at any time. What is replaced or removed still serves the invocations
//! that it has and that wait for it, then its workers end.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use starmap_engine::invoker::{Invocation, InvokeError, Invoker, Invoking, Outcome};
use starmap_engine::journal::ExecutionId;
use tokio::sync::{oneshot, watch};

use crate::function::Names;
use crate::resilience::{Experience, explained, is_out_of_memory};
use crate::worker::{Ended, Setup, Task, Worker};
use crate::{Function, Logs, Resilience, Rung, Speculation, Totals, memory};

/// How often it is looked whether an invocation has become a straggler.
const STRAGGLER_INTERVAL: Duration = Duration::from_millis(100);

/// Tells the time: milliseconds since the Unix epoch. Names log streams and makes deadlines, measures nothing.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// How to run workers.
#[derive(Clone)]
pub struct Options {
    /// Most workers at once, over all functions.
    pub concurrency_max: usize,
    /// Longest time from the start of a process to its first poll. Lambda's is 10 s.
    pub init_timeout: Duration,
    /// Extra names of functions: name or ARN, then the function's plain name.
    pub aliases: BTreeMap<String, String>,
    /// Where log lines go.
    pub logs: Logs,
    /// The time.
    pub clock: Clock,
    /// The AWS region that workers are told; by default `AWS_REGION` or `AWS_DEFAULT_REGION` of our own
    /// environment, then `us-east-1`.
    pub region: Option<String>,
    /// The account in the ARN that workers are told.
    pub account: String,
    /// What is done for invocations before they fail, by plain name of the function. Nothing by default, as on Lambda.
    pub resilience: BTreeMap<String, Resilience>,
}

impl Options {
    /// The options with their defaults: no aliases, no logs, an init time-out of 10 s.
    pub fn new(concurrency_max: usize, clock: Clock) -> Self {
        Self {
            concurrency_max,
            init_timeout: Duration::from_secs(10),
            aliases: BTreeMap::new(),
            logs: Logs::None,
            clock,
            region: None,
            account: "123456789012".to_owned(),
            resilience: BTreeMap::new(),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Options")
            .field("concurrency_max", &self.concurrency_max)
            .field("init_timeout", &self.init_timeout)
            .field("aliases", &self.aliases)
            .field("logs", &self.logs)
            .field("region", &self.region)
            .field("account", &self.account)
            .field("resilience", &self.resilience)
            .finish_non_exhaustive()
    }
}

/// Why workers could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Functions, aliases or limits that make no sense, all of them at once.
    #[error("cannot set up workers:\n{}", problems.join("\n"))]
    Invalid {
        /// One sentence each.
        problems: Vec<String>,
    },
    /// The logs folder could not be created.
    #[error("{path}: could not create the folder for worker logs: {source}", path = path.display())]
    Logs {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// How busy a version of a function is.
#[derive(Debug, Clone, PartialEq)]
pub struct Usage {
    /// Plain name.
    pub function: String,
    /// `$LATEST` or a number.
    pub version: String,
    /// Workers there are, busy or not.
    pub workers: usize,
    /// Workers that are warm and wait.
    pub idle: usize,
    /// Invocations that wait for a worker.
    pub queued: usize,
}

/// A worker process as it is now.
#[derive(Debug, Clone, PartialEq)]
pub struct Now {
    /// Plain name of its function.
    pub function: String,
    /// `$LATEST` or a number.
    pub version: String,
    /// Where it writes its log; unique per process.
    pub log_stream: String,
    /// Its process.
    pub pid: Option<u32>,
    /// When it was started, milliseconds since the Unix epoch.
    pub started_at_ms: i64,
    /// Resident set of the process and of what it started, bytes; `None` where the system does not say.
    pub resident_bytes: Option<u64>,
    /// What it may have, MiB.
    pub memory_mib: u32,
    /// What it works at; `None` if it waits or is not ready yet.
    pub doing: Option<Doing>,
}

/// The invocation that a worker has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doing {
    /// The invocation.
    pub request_id: String,
    /// The execution that asked for it, if it is one in the journal.
    pub execution: Option<ExecutionId>,
    /// When the worker took it, milliseconds since the Unix epoch.
    pub since_ms: i64,
}

/// Worker processes for a set of functions; the local Lambda.
///
/// Needs a tokio runtime with time and I/O when invoked. Dropping it kills all workers; call
/// [`Workers::shutdown`] to wait for their end.
///
/// A worker runs on when its invocation succeeded or returned an error, and is replaced after anything
/// else. Cancelling an invocation (dropping its future) kills its worker.
pub struct Workers {
    functions: RwLock<Names<Member>>,
    options: Options,
    region: String,
    is_memory_limited: bool,
    shared: Arc<Shared>,
    experience: Experience,
}

/// A version of a function and where its workers are.
#[derive(Clone)]
struct Member {
    pool: PoolId,
    setup: Arc<Setup>,
}

impl Workers {
    /// Checks the functions and gets ready to run them. Processes start with the invocations.
    ///
    /// # Errors
    /// [`Error::Invalid`] names everything that is wrong with the functions, the aliases and the limits;
    /// [`Error::Logs`] if there is no folder for logs.
    pub fn start(functions: Vec<Function>, options: Options) -> Result<Arc<Self>, Error> {
        let is_memory_limited = memory::is_readable();
        let region = options.region.clone();
        let region = region
            .or_else(|| std::env::var("AWS_REGION").ok())
            .or_else(|| std::env::var("AWS_DEFAULT_REGION").ok())
            .unwrap_or_else(|| "us-east-1".to_owned());
        let shared = Arc::new(Shared::new(options.concurrency_max));
        let member = |function: Function| Member {
            pool: shared.add(&function),
            setup: setup(function, &options, &region, is_memory_limited),
        };
        let members: Vec<Member> = functions.into_iter().map(member).collect();
        let with_functions = members.iter().map(|member| (&member.setup.function, member.clone()));
        let names = Names::new(with_functions, &options.aliases).and_then(|names| match options.concurrency_max {
            0 => Err(vec!["the limit of workers is 0, expected at least 1".to_owned()]),
            _ => Ok(names),
        });
        let names = names.map_err(|problems| Error::Invalid { problems })?;
        if let Logs::Folder(path) = &options.logs {
            fs::create_dir_all(path).map_err(|source| Error::Logs { path: path.clone(), source })?;
        }
        if !is_memory_limited {
            tracing::warn!("memory limits are not enforced and memory is not reported, this system has no /proc");
        }
        Ok(Arc::new(Self {
            functions: RwLock::new(names),
            options,
            region,
            is_memory_limited,
            shared,
            experience: Experience::default(),
        }))
    }

    /// Adds a version of a function, or replaces the one of that name and version. Invocations from now on go to
    /// it; those that run or wait end with what they were asked of. Its limit of workers becomes the function's.
    ///
    /// # Errors
    /// [`Error::Invalid`] names everything that is wrong; then nothing is changed.
    pub fn put(&self, function: Function) -> Result<(), Error> {
        let setup = setup(function, &self.options, &self.region, self.is_memory_limited);
        let pool = self.shared.add(&setup.function);
        let member = Member { pool, setup: setup.clone() };
        let put = self.functions.write().unwrap_or_else(PoisonError::into_inner).put(&setup.function, member);
        match put {
            Ok(replaced) => {
                replaced.into_iter().for_each(|member| self.shared.retire(member.pool));
                Ok(())
            }
            Err(problems) => {
                self.shared.retire(pool);
                Err(Error::Invalid { problems })
            }
        }
    }

    /// Takes a function out, or only one version of it. What runs or waits ends as it would have. Whether there was
    /// anything to take out.
    pub fn remove(&self, name: &str, version: Option<&str>) -> bool {
        let removed = self.functions.write().unwrap_or_else(PoisonError::into_inner).remove(name, version);
        removed.iter().for_each(|member| self.shared.retire(member.pool));
        !removed.is_empty()
    }

    /// Changes how many workers a function may have at once, over all its versions; zero throttles every invocation.
    /// Workers over a new limit end when they have nothing to do and their room is needed.
    pub fn set_concurrency(&self, name: &str, workers_max: usize) {
        self.shared.set_limit(name, workers_max);
    }

    /// Whether a plain name, or an alias that was given at the start, leads to a function.
    pub fn knows(&self, name: &str) -> bool {
        self.resolve(name).is_ok()
    }

    /// The functions there are, each as it is now, by name.
    pub fn functions(&self) -> Vec<Function> {
        let functions = self.functions.read().unwrap_or_else(PoisonError::into_inner);
        functions.latest().map(|member| member.setup.function.clone()).collect()
    }

    /// How busy each function is, in the order they were given.
    pub fn usage(&self) -> Vec<Usage> {
        let state = self.shared.lock();
        let usage = |(id, pool): (&PoolId, &Pool)| Usage {
            function: pool.function.to_string(),
            version: pool.version.clone(),
            workers: pool.workers,
            idle: pool.idle.len(),
            queued: state.queue.iter().filter(|waiting| waiting.pool == *id && waiting.is_wanted()).count(),
        };
        state.pools.iter().filter(|(_, pool)| !pool.is_retired).map(usage).collect()
    }

    /// The workers whose processes run, by when they were started. Reads `/proc` for each.
    pub fn now(&self) -> Vec<Now> {
        let mut workers: Vec<Now> = self.shared.now().values().cloned().collect();
        for worker in &mut workers {
            worker.resident_bytes = worker.pid.and_then(memory::resident_with_children);
        }
        workers
    }

    /// What became of the invocations so far, by plain name of the function.
    pub fn totals(&self) -> BTreeMap<String, Totals> {
        self.experience.totals()
    }

    /// Takes no more invocations, fails those that wait or run, kills all workers and waits until they are gone.
    pub async fn shutdown(&self) {
        self.shared.stop();
        let mut workers = self.shared.workers.subscribe();
        // The sender is in `self`, so this cannot fail.
        let _ = workers.wait_for(|&count| count == 0).await;
    }

    /// The function that a name means, and its own name; or the names there are.
    fn resolve(&self, name: &str) -> Result<Member, String> {
        let functions = self.functions.read().unwrap_or_else(PoisonError::into_inner);
        functions.resolve(name).cloned().ok_or_else(|| functions.known())
    }

    async fn run(self: Arc<Self>, invocation: Invocation) -> Outcome {
        let Invocation { request_id, function: name, payload, started, execution, .. } = invocation;
        let member = match self.resolve(&name) {
            Ok(member) => member,
            Err(known) => return unserved(InvokeError::NotFound { function: name, known }),
        };
        let plain = member.setup.function.name.clone();
        let function_arn = if name.starts_with("arn:") {
            name.clone()
        } else {
            format!("arn:aws:lambda:{}:{}:function:{plain}", self.region, self.options.account)
        };
        let task = Task {
            request_id,
            function_arn,
            payload: Bytes::from(payload),
            started: Some(started),
            taken: None,
            execution,
        };
        let outcome = match self.options.resilience.get(&plain) {
            None => self.attempt(&name, member, task).await,
            Some(resilience) => self.attempts(&name, member, task, resilience).await,
        };
        self.experience.ended(&plain, &outcome);
        outcome
    }

    /// One attempt by the next worker that is free.
    async fn attempt(&self, name: &str, member: Member, mut task: Task) -> Outcome {
        let Member { mut pool, mut setup } = member;
        let plain = setup.function.name.clone();
        let mut turn = Turn::Last;
        loop {
            let mut worker = match self.shared.acquire(pool, turn).await {
                Ok(Grant::Warm(worker)) => worker,
                Ok(Grant::Cold(slot)) => Worker::start(setup.clone(), slot, self.shared.stop.subscribe()),
                // Replaced or removed between the look-up and now.
                Err(Refusal::Gone) => match self.resolve(name) {
                    Ok(member) => {
                        (pool, setup) = (member.pool, member.setup);
                        continue;
                    }
                    Err(known) => return unserved(InvokeError::NotFound { function: name.to_owned(), known }),
                },
                Err(refusal) => return refused(plain, &refusal),
            };
            // Should this future be dropped in here, so is the worker, which kills it.
            match worker.run(task).await {
                Ended::Ran { outcome, is_alive } => {
                    if is_alive {
                        self.shared.give_back(pool, worker);
                    }
                    return outcome;
                }
                // A warm worker that had died in the meantime: the next one, without losing the turn.
                Ended::Untouched(same) => (task, turn) = (same, Turn::First),
            }
        }
    }

    /// As many attempts as the function's resilience has for this invocation.
    async fn attempts(&self, name: &str, member: Member, task: Task, resilience: &Resilience) -> Outcome {
        let plain = member.setup.function.name.clone();
        let memory_mib = member.setup.function.memory_mib;
        let (request_id, arn, payload) = (task.request_id.clone(), task.function_arn.clone(), task.payload.clone());
        let execution = task.execution;
        let again = || Task {
            request_id: request_id.clone(),
            function_arn: arn.clone(),
            payload: payload.clone(),
            started: None,
            taken: None,
            execution,
        };
        let mut outcome = match &resilience.speculation {
            None => self.attempt(name, member.clone(), task).await,
            Some(speculation) => self.raced(name, &member, task, &again, speculation).await,
        };
        for (index, rung) in resilience.ladder.iter().enumerate() {
            if !is_out_of_memory(&outcome) {
                return outcome;
            }
            tracing::warn!(
                function = plain,
                request_id,
                attempt = index + 2,
                memory_mib = rung.memory_mib,
                "a worker was over its memory; the invocation is tried again with smaller batches"
            );
            self.experience.count(&plain, |totals| totals.rungs += 1);
            outcome = self.on_rung(&member, again(), rung).await;
        }
        if is_out_of_memory(&outcome) && !resilience.ladder.is_empty() {
            return explained(outcome, memory_mib, &resilience.ladder);
        }
        outcome
    }

    /// One attempt by a worker of its own, which ends with it.
    async fn on_rung(&self, member: &Member, task: Task, rung: &Rung) -> Outcome {
        let mut function = member.setup.function.clone();
        function.environment.extend(rung.environment.iter().cloned());
        function.memory_mib = rung.memory_mib;
        let plain = function.name.clone();
        let setup = setup(function, &self.options, &self.region, self.is_memory_limited);
        loop {
            let slot = match self.shared.acquire(member.pool, Turn::First).await {
                Ok(Grant::Cold(slot)) => slot,
                // It makes room: its process has not what this attempt needs.
                Ok(Grant::Warm(worker)) => {
                    drop(worker);
                    continue;
                }
                Err(refusal) => return refused(plain, &refusal),
            };
            let mut worker = Worker::start(setup.clone(), slot, self.shared.stop.subscribe());
            if let Ended::Ran { outcome, .. } = worker.run(task).await {
                return outcome;
            }
            let reason = "the worker ended before it took the invocation".to_owned();
            return unserved(InvokeError::Service { function: plain, reason });
        }
    }

    /// One attempt, and a second one beside it if it straggles and a worker has nothing else to do.
    async fn raced(
        &self,
        name: &str,
        member: &Member,
        mut task: Task,
        again: &(impl Fn() -> Task + Sync),
        speculation: &Speculation,
    ) -> Outcome {
        let plain = &member.setup.function.name;
        // From when a worker has it: time in the queue makes nobody a straggler.
        let (taken, was_taken) = oneshot::channel();
        task.taken = Some(taken);
        let mut first = std::pin::pin!(self.attempt(name, member.clone(), task));
        let straggling = async {
            if was_taken.await.is_err() {
                return std::future::pending().await;
            }
            let since = tokio::time::Instant::now();
            loop {
                tokio::time::sleep(STRAGGLER_INTERVAL).await;
                let after = self.experience.straggles_after(plain, speculation);
                if after.is_some_and(|after| since.elapsed() >= after)
                    && let Some(worker) = self.shared.take_idle(member.pool)
                {
                    return worker;
                }
            }
        };
        let worker = tokio::select! {
            biased;
            outcome = &mut first => return outcome,
            worker = straggling => worker,
        };
        tracing::info!(function = plain, request_id = again().request_id, "a straggler is tried by a second worker");
        self.experience.count(plain, |totals| totals.speculations += 1);
        let mut second = std::pin::pin!(self.by(member.pool, worker, again()));
        tokio::select! {
            biased;
            outcome = &mut first => match outcome.result {
                Ok(_) => outcome,
                // The second one may still save it.
                Err(_) => match second.await {
                    Some(better) if better.result.is_ok() => self.won(plain, better),
                    _ => outcome,
                },
            },
            better = &mut second => match better {
                Some(better) if better.result.is_ok() => self.won(plain, better),
                // What it found is not better than what the first one will find.
                _ => first.await,
            },
        }
    }

    fn won(&self, function: &str, outcome: Outcome) -> Outcome {
        self.experience.count(function, |totals| totals.speculations_won += 1);
        outcome
    }

    /// One attempt by a certain worker; none if it had died in the meantime.
    async fn by(&self, pool: PoolId, mut worker: Worker, task: Task) -> Option<Outcome> {
        match worker.run(task).await {
            Ended::Ran { outcome, is_alive } => {
                if is_alive {
                    self.shared.give_back(pool, worker);
                }
                Some(outcome)
            }
            Ended::Untouched(_) => None,
        }
    }
}

fn unserved(error: InvokeError) -> Outcome {
    Outcome { result: Err(error), report: None }
}

fn refused(function: String, refusal: &Refusal) -> Outcome {
    unserved(match refusal {
        Refusal::NoRoomEver => {
            InvokeError::TooManyRequests { function, reason: "its limit of workers is 0".to_owned() }
        }
        Refusal::Stopping => InvokeError::Service { function, reason: "the workers are being shut down".to_owned() },
        Refusal::Gone => InvokeError::Service { function, reason: "the function was replaced".to_owned() },
    })
}

fn setup(function: Function, options: &Options, region: &str, is_memory_limited: bool) -> Arc<Setup> {
    Arc::new(Setup {
        function,
        logs: options.logs.clone(),
        clock: options.clock.clone(),
        region: region.to_owned(),
        init_timeout: options.init_timeout,
        is_memory_limited,
    })
}

impl Invoker for Workers {
    fn invoke(self: Arc<Self>, invocation: Invocation) -> Invoking {
        Box::pin(self.run(invocation))
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Workers").field(&self.usage()).finish()
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

/// What the pool and its workers share.
#[derive(Debug)]
pub(crate) struct Shared {
    workers_max: usize,
    state: Mutex<State>,
    /// Workers with a process, by slot. Apart from the state: they change with every invocation, and nothing depends on them.
    now: Mutex<BTreeMap<u64, Now>>,
    /// Workers there are.
    workers: watch::Sender<usize>,
    /// Turns true once.
    stop: watch::Sender<bool>,
}

/// Pools are told apart by when they were made; never used again.
type PoolId = u64;

#[derive(Debug)]
struct State {
    /// By age.
    pools: BTreeMap<PoolId, Pool>,
    /// By function, as long as it has a pool.
    limits: HashMap<Arc<str>, Limit>,
    /// Workers there are, over all functions.
    workers: usize,
    queue: VecDeque<Waiting>,
    /// Slots of idle workers that were told to stop and have not yet, with their function.
    leaving: HashMap<u64, Arc<str>>,
    /// Pools that are gone as soon as they have nothing to do any more.
    retired: Vec<PoolId>,
    is_stopping: bool,
    /// Counts up: pools, slots and uses of idle workers are told apart by it.
    serial: u64,
}

/// What the versions of one function share.
#[derive(Debug)]
struct Limit {
    workers_max: usize,
    workers: usize,
    pools: usize,
}

/// The workers of one version of a function.
#[derive(Debug)]
struct Pool {
    function: Arc<str>,
    version: String,
    workers: usize,
    /// The most recently used last, each with the serial of its last use.
    idle: Vec<(u64, Worker)>,
    is_retired: bool,
}

#[derive(Debug)]
struct Waiting {
    pool: PoolId,
    grant: oneshot::Sender<Grant>,
}

impl Waiting {
    fn is_wanted(&self) -> bool {
        !self.grant.is_closed()
    }
}

/// Where an invocation may run.
#[derive(Debug)]
enum Grant {
    Warm(Worker),
    Cold(Slot),
}

/// Why an invocation may not wait.
#[derive(Debug)]
enum Refusal {
    Stopping,
    NoRoomEver,
    Gone,
}

/// A place in the queue.
#[derive(Debug, Clone, Copy)]
enum Turn {
    First,
    Last,
}

/// Room for one worker, given back on drop.
#[derive(Debug)]
pub(crate) struct Slot {
    id: u64,
    pool: PoolId,
    shared: Arc<Shared>,
}

impl Slot {
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Says that the process of this slot's worker runs.
    pub(crate) fn is_taken_by(&self, now: Now) {
        self.shared.now().insert(self.id, now);
    }

    /// Says what this slot's worker does from now on.
    pub(crate) fn does(&self, doing: Option<Doing>) {
        if let Some(now) = self.shared.now().get_mut(&self.id) {
            now.doing = doing;
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.shared.now().remove(&self.id);
        let mut state = self.shared.lock();
        state.leave(self.pool);
        state.leaving.remove(&self.id);
        self.shared.workers.send_replace(state.workers);
        self.shared.dispatch(state);
    }
}

impl Shared {
    fn new(workers_max: usize) -> Self {
        let state = State {
            pools: BTreeMap::new(),
            limits: HashMap::new(),
            workers: 0,
            queue: VecDeque::new(),
            leaving: HashMap::new(),
            retired: Vec::new(),
            is_stopping: false,
            serial: 0,
        };
        Self {
            workers_max,
            state: Mutex::new(state),
            now: Mutex::default(),
            workers: watch::Sender::new(0),
            stop: watch::Sender::new(false),
        }
    }

    fn now(&self) -> MutexGuard<'_, BTreeMap<u64, Now>> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// No code panics while it holds the lock half-way through a change.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a pool for a version of a function.
    fn add(&self, function: &Function) -> PoolId {
        let mut state = self.lock();
        let id = state.next_serial();
        let name: Arc<str> = function.name.as_str().into();
        let workers_max = function.concurrency_max;
        let limit = state.limits.entry(name.clone()).or_insert(Limit { workers_max, workers: 0, pools: 0 });
        limit.workers_max = workers_max;
        limit.pools += 1;
        let version = function.version.clone();
        state.pools.insert(id, Pool { function: name, version, workers: 0, idle: Vec::new(), is_retired: false });
        id
    }

    /// Lets a pool end when it has done what is asked of it.
    fn retire(self: &Arc<Self>, pool: PoolId) {
        let mut state = self.lock();
        if let Some(entry) = state.pools.get_mut(&pool)
            && !entry.is_retired
        {
            entry.is_retired = true;
            state.retired.push(pool);
        }
        self.dispatch(state);
    }

    fn set_limit(self: &Arc<Self>, function: &str, workers_max: usize) {
        let mut state = self.lock();
        if let Some(limit) = state.limits.get_mut(function) {
            limit.workers_max = workers_max;
        }
        self.dispatch(state);
    }

    /// Waits for a worker of a pool, or for room to start one.
    async fn acquire(self: &Arc<Self>, pool: PoolId, turn: Turn) -> Result<Grant, Refusal> {
        let (grant, granted) = oneshot::channel();
        let waiting = Waiting { pool, grant };
        {
            let mut state = self.lock();
            if state.is_stopping {
                return Err(Refusal::Stopping);
            }
            let Some(entry) = state.pools.get(&pool) else { return Err(Refusal::Gone) };
            if state.limits.get(&entry.function).is_none_or(|limit| limit.workers_max == 0) {
                return Err(Refusal::NoRoomEver);
            }
            match turn {
                Turn::First => state.queue.push_front(waiting),
                Turn::Last => state.queue.push_back(waiting),
            }
            self.dispatch(state);
        }
        granted.await.map_err(|_| Refusal::Stopping)
    }

    /// A warm worker of a pool, if one has nothing to do and nobody waits.
    fn take_idle(&self, pool: PoolId) -> Option<Worker> {
        let mut state = self.lock();
        if state.is_stopping || state.queue.iter().any(Waiting::is_wanted) {
            return None;
        }
        state.pools.get_mut(&pool)?.idle.pop().map(|(_, worker)| worker)
    }

    /// Takes back a worker that is alive and has nothing to do.
    fn give_back(self: &Arc<Self>, pool: PoolId, worker: Worker) {
        let mut state = self.lock();
        if state.is_stopping {
            return;
        }
        let serial = state.next_serial();
        // A pool is there as long as it has a worker.
        if let Some(pool) = state.pools.get_mut(&pool) {
            pool.idle.push((serial, worker));
        }
        self.dispatch(state);
    }

    /// Hands out what there is, first come, first served.
    fn dispatch(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        // Dropped without the lock, because dropping a slot takes it.
        let mut refused = Vec::new();
        let mut stopped = Vec::new();
        // Who of the queue counts on room that stopping workers will leave, by function and in all.
        let mut claims: HashMap<Arc<str>, usize> = HashMap::new();
        let mut claims_all = 0;
        let mut position = 0;
        while position < state.queue.len() && state.has_something(self.workers_max) {
            let waiting = &state.queue[position];
            let id = waiting.pool;
            let is_wanted = waiting.is_wanted();
            let Some(pool) = state.pools.get_mut(&id).filter(|_| is_wanted) else {
                state.queue.remove(position);
                continue;
            };
            let function = pool.function.clone();
            let idle = pool.idle.pop();
            let (workers, workers_max) =
                state.limits.get(&function).map_or((0, 0), |limit| (limit.workers, limit.workers_max));
            let grant = if let Some((_, worker)) = idle {
                Grant::Warm(worker)
            } else if workers < workers_max && state.workers < self.workers_max {
                Grant::Cold(self.occupy(&mut state, id, &function))
            } else {
                let claims_here = claims.get(&function).copied().unwrap_or(0);
                let leaving_here = state.leaving.values().filter(|leaving| **leaving == function).count();
                let is_at_limit = workers + claims_here >= workers_max + leaving_here;
                let is_full = state.workers + claims_all >= self.workers_max + state.leaving.len();
                let is_promised = if is_at_limit || is_full {
                    // One that leaves makes room for the function itself only if it is one of its own.
                    let worker = state.take_least_recently_used(is_at_limit.then_some(&function));
                    worker.map(|(of, worker)| {
                        state.leaving.insert(worker.slot_id(), of);
                        stopped.push(worker);
                    })
                } else {
                    Some(())
                };
                if is_promised.is_some() {
                    *claims.entry(function).or_default() += 1;
                    claims_all += 1;
                }
                position += 1;
                continue;
            };
            let Some(waiting) = state.queue.remove(position) else { break };
            // Cancelled since we looked: the next one may have it.
            match waiting.grant.send(grant) {
                Ok(()) => {}
                Err(Grant::Warm(worker)) => {
                    let serial = state.next_serial();
                    if let Some(pool) = state.pools.get_mut(&id) {
                        pool.idle.push((serial, worker));
                    }
                }
                Err(Grant::Cold(slot)) => refused.push(slot),
            }
        }
        stopped.extend(state.end_retired());
        drop(state);
    }

    fn occupy(self: &Arc<Self>, state: &mut State, pool: PoolId, function: &Arc<str>) -> Slot {
        state.workers += 1;
        if let Some(pool) = state.pools.get_mut(&pool) {
            pool.workers += 1;
        }
        if let Some(limit) = state.limits.get_mut(function) {
            limit.workers += 1;
        }
        self.workers.send_replace(state.workers);
        Slot { id: state.next_serial(), pool, shared: self.clone() }
    }

    fn stop(&self) {
        let mut state = self.lock();
        state.is_stopping = true;
        let queue = std::mem::take(&mut state.queue);
        let idle: Vec<_> = state.pools.values_mut().flat_map(|pool| pool.idle.drain(..)).collect();
        drop(state);
        self.stop.send_replace(true);
        drop((queue, idle));
    }
}

impl State {
    /// Whether there is anything to hand out: room, or a worker that waits.
    fn has_something(&self, workers_max: usize) -> bool {
        self.workers < workers_max || self.pools.values().any(|pool| !pool.idle.is_empty())
    }

    /// The worker that has waited longest, of one function or of all, with its function.
    fn take_least_recently_used(&mut self, function: Option<&Arc<str>>) -> Option<(Arc<str>, Worker)> {
        let oldest = |pool: &&mut Pool| pool.idle.first().map(|(serial, _)| *serial);
        let pools = self.pools.values_mut().filter(|pool| function.is_none_or(|function| pool.function == *function));
        let pool = pools.filter(|pool| !pool.idle.is_empty()).min_by_key(oldest)?;
        Some((pool.function.clone(), pool.idle.remove(0).1))
    }

    /// Counts a worker out.
    fn leave(&mut self, pool: PoolId) {
        self.workers -= 1;
        if let Some(pool) = self.pools.get_mut(&pool) {
            pool.workers -= 1;
            if let Some(limit) = self.limits.get_mut(&pool.function) {
                limit.workers -= 1;
            }
        }
    }

    /// Takes away retired pools that nobody waits for; what is idle in them has to be dropped without the lock.
    fn end_retired(&mut self) -> Vec<Worker> {
        let mut stopped = Vec::new();
        let retired = std::mem::take(&mut self.retired);
        for id in retired {
            let is_awaited = self.queue.iter().any(|waiting| waiting.pool == id && waiting.is_wanted());
            let Some(pool) = self.pools.get_mut(&id) else { continue };
            if is_awaited {
                self.retired.push(id);
                continue;
            }
            for (_, worker) in pool.idle.drain(..) {
                self.leaving.insert(worker.slot_id(), pool.function.clone());
                stopped.push(worker);
            }
            if pool.workers > 0 {
                self.retired.push(id);
                continue;
            }
            let function = pool.function.clone();
            self.pools.remove(&id);
            if let Some(limit) = self.limits.get_mut(&function) {
                limit.pools -= 1;
                if limit.pools == 0 {
                    self.limits.remove(&function);
                }
            }
        }
        stopped
    }

    fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }
}
