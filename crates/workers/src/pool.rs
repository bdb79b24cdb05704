//! The pool: who runs next, where, and within which limits.
//!
//! Workers are kept warm per function. There is a limit of workers per function and one over all. When all
//! are busy, invocations queue first come, first served; one whose function is at its own limit is passed
//! by those of other functions. A warm worker nobody needs is stopped when another function needs its room.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use starmap_engine::invoker::{Invocation, InvokeError, Invoker, Invoking, Outcome};
use tokio::sync::{oneshot, watch};

use crate::function::Names;
use crate::worker::{Ended, Setup, Task, Worker};
use crate::{Function, Logs, memory};

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

/// How busy a function is.
#[derive(Debug, Clone, PartialEq)]
pub struct Usage {
    /// Plain name.
    pub function: String,
    /// Workers there are, busy or not.
    pub workers: usize,
    /// Workers that are warm and wait.
    pub idle: usize,
    /// Invocations that wait for a worker.
    pub queued: usize,
}

/// Worker processes for a set of functions; the local Lambda.
///
/// Needs a tokio runtime with time and I/O when invoked. Dropping it kills all workers; call
/// [`Workers::shutdown`] to wait for their end.
///
/// A worker runs on when its invocation succeeded or returned an error, and is replaced after anything
/// else. Cancelling an invocation (dropping its future) kills its worker.
pub struct Workers {
    names: Names,
    setups: Vec<Arc<Setup>>,
    account: String,
    shared: Arc<Shared>,
}

impl Workers {
    /// Checks the functions and gets ready to run them. Processes start with the invocations.
    ///
    /// # Errors
    /// [`Error::Invalid`] names everything that is wrong with the functions, the aliases and the limits;
    /// [`Error::Logs`] if there is no folder for logs.
    pub fn start(functions: Vec<Function>, options: Options) -> Result<Arc<Self>, Error> {
        let names = Names::new(&functions, &options.aliases).and_then(|names| match options.concurrency_max {
            0 => Err(vec!["the limit of workers is 0, expected at least 1".to_owned()]),
            _ => Ok(names),
        });
        let names = names.map_err(|problems| Error::Invalid { problems })?;
        if let Logs::Folder(path) = &options.logs {
            fs::create_dir_all(path).map_err(|source| Error::Logs { path: path.clone(), source })?;
        }
        let is_memory_limited = memory::is_readable();
        if !is_memory_limited {
            tracing::warn!("memory limits are not enforced and memory is not reported, this system has no /proc");
        }
        let limits = functions.iter().map(|function| function.concurrency_max).collect();
        let region = options
            .region
            .or_else(|| std::env::var("AWS_REGION").ok())
            .or_else(|| std::env::var("AWS_DEFAULT_REGION").ok())
            .unwrap_or_else(|| "us-east-1".to_owned());
        let setup = |function| {
            Arc::new(Setup {
                function,
                logs: options.logs.clone(),
                clock: options.clock.clone(),
                region: region.clone(),
                init_timeout: options.init_timeout,
                is_memory_limited,
            })
        };
        Ok(Arc::new(Self {
            names,
            setups: functions.into_iter().map(setup).collect(),
            account: options.account,
            shared: Arc::new(Shared::new(options.concurrency_max, limits)),
        }))
    }

    /// How busy each function is, in the order they were given.
    pub fn usage(&self) -> Vec<Usage> {
        let state = self.shared.lock();
        let usage = |(position, pool): (usize, &Pool)| Usage {
            function: self.setups[position].function.name.clone(),
            workers: pool.workers,
            idle: pool.idle.len(),
            queued: state.queue.iter().filter(|waiting| waiting.function == position && waiting.is_wanted()).count(),
        };
        state.pools.iter().enumerate().map(usage).collect()
    }

    /// Takes no more invocations, fails those that wait or run, kills all workers and waits until they are gone.
    pub async fn shutdown(&self) {
        self.shared.stop();
        let mut workers = self.shared.workers.subscribe();
        // The sender is in `self`, so this cannot fail.
        let _ = workers.wait_for(|&count| count == 0).await;
    }

    async fn run(self: Arc<Self>, invocation: Invocation) -> Outcome {
        let unserved = |error| Outcome { result: Err(error), report: None };
        let Invocation { request_id, function: name, payload, started } = invocation;
        let Some(position) = self.names.resolve(&name) else {
            let known = self.names.known().to_owned();
            return unserved(InvokeError::NotFound { function: name, known });
        };
        let setup = &self.setups[position];
        let plain = &setup.function.name;
        if setup.function.concurrency_max == 0 {
            let reason = "its limit of workers is 0".to_owned();
            return unserved(InvokeError::TooManyRequests { function: plain.clone(), reason });
        }
        let function_arn = if name.starts_with("arn:") {
            name
        } else {
            format!("arn:aws:lambda:{}:{}:function:{plain}", setup.region, self.account)
        };
        let mut task = Task { request_id, function_arn, payload: Bytes::from(payload), started: Some(started) };
        let mut turn = Turn::Last;
        loop {
            let mut worker = match self.shared.acquire(position, turn).await {
                Some(Grant::Warm(worker)) => worker,
                Some(Grant::Cold(slot)) => Worker::start(setup.clone(), slot, self.shared.stop.subscribe()),
                None => {
                    let reason = "the workers are being shut down".to_owned();
                    return unserved(InvokeError::Service { function: plain.clone(), reason });
                }
            };
            // Should this future be dropped in here, so is the worker, which kills it.
            match worker.run(task).await {
                Ended::Ran { outcome, is_alive } => {
                    if is_alive {
                        self.shared.give_back(position, worker);
                    }
                    return outcome;
                }
                // A warm worker that had died in the meantime: the next one, without losing the turn.
                Ended::Untouched(same) => (task, turn) = (same, Turn::First),
            }
        }
    }
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
    /// Workers there are.
    workers: watch::Sender<usize>,
    /// Turns true once.
    stop: watch::Sender<bool>,
}

#[derive(Debug)]
struct State {
    /// By function.
    pools: Vec<Pool>,
    /// Workers there are, over all functions.
    workers: usize,
    queue: VecDeque<Waiting>,
    /// Slots of idle workers that were told to stop and have not yet.
    leaving: HashSet<u64>,
    is_stopping: bool,
    /// Counts up: slots and uses of idle workers are told apart by it.
    serial: u64,
}

#[derive(Debug)]
struct Pool {
    workers_max: usize,
    workers: usize,
    /// The most recently used last, each with the serial of its last use.
    idle: Vec<(u64, Worker)>,
}

#[derive(Debug)]
struct Waiting {
    function: usize,
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
    function: usize,
    shared: Arc<Shared>,
}

impl Slot {
    pub(crate) fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.workers -= 1;
        state.pools[self.function].workers -= 1;
        state.leaving.remove(&self.id);
        self.shared.workers.send_replace(state.workers);
        self.shared.dispatch(state);
    }
}

impl Shared {
    fn new(workers_max: usize, limits: Vec<usize>) -> Self {
        let pool = |workers_max| Pool { workers_max, workers: 0, idle: Vec::new() };
        let state = State {
            pools: limits.into_iter().map(pool).collect(),
            workers: 0,
            queue: VecDeque::new(),
            leaving: HashSet::new(),
            is_stopping: false,
            serial: 0,
        };
        Self { workers_max, state: Mutex::new(state), workers: watch::Sender::new(0), stop: watch::Sender::new(false) }
    }

    /// No code panics while it holds the lock half-way through a change.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a worker of `function`, or for room to start one. None when shut down.
    async fn acquire(self: &Arc<Self>, function: usize, turn: Turn) -> Option<Grant> {
        let (grant, granted) = oneshot::channel();
        let waiting = Waiting { function, grant };
        {
            let mut state = self.lock();
            if state.is_stopping {
                return None;
            }
            match turn {
                Turn::First => state.queue.push_front(waiting),
                Turn::Last => state.queue.push_back(waiting),
            }
            self.dispatch(state);
        }
        granted.await.ok()
    }

    /// Takes back a worker that is alive and has nothing to do.
    fn give_back(self: &Arc<Self>, function: usize, worker: Worker) {
        let mut state = self.lock();
        if state.is_stopping {
            return;
        }
        let serial = state.next_serial();
        state.pools[function].idle.push((serial, worker));
        self.dispatch(state);
    }

    /// Hands out what there is, first come, first served.
    fn dispatch(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        // Dropped without the lock, because dropping a slot takes it.
        let mut refused = Vec::new();
        let mut stopped = Vec::new();
        // Room that stopping workers will leave, and who of the queue counts on it.
        let mut promised = state.leaving.len();
        let mut claims = vec![0; state.pools.len()];
        let mut position = 0;
        while position < state.queue.len() && state.has_something(self.workers_max) {
            let waiting = &state.queue[position];
            let function = waiting.function;
            if !waiting.is_wanted() {
                state.queue.remove(position);
                continue;
            }
            let pool = &mut state.pools[function];
            let is_at_limit = pool.workers + claims[function] >= pool.workers_max;
            let grant = if let Some((_, worker)) = pool.idle.pop() {
                Grant::Warm(worker)
            } else if !is_at_limit && state.workers < self.workers_max {
                Grant::Cold(self.occupy(&mut state, function))
            } else {
                if !is_at_limit && promised > 0 {
                    promised -= 1;
                    claims[function] += 1;
                } else if !is_at_limit && let Some(worker) = state.take_least_recently_used() {
                    state.leaving.insert(worker.slot_id());
                    stopped.push(worker);
                    claims[function] += 1;
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
                    state.pools[function].idle.push((serial, worker));
                }
                Err(Grant::Cold(slot)) => refused.push(slot),
            }
        }
        drop(state);
    }

    fn occupy(self: &Arc<Self>, state: &mut State, function: usize) -> Slot {
        state.workers += 1;
        state.pools[function].workers += 1;
        self.workers.send_replace(state.workers);
        Slot { id: state.next_serial(), function, shared: self.clone() }
    }

    fn stop(&self) {
        let mut state = self.lock();
        state.is_stopping = true;
        let queue = std::mem::take(&mut state.queue);
        let idle: Vec<_> = state.pools.iter_mut().flat_map(|pool| pool.idle.drain(..)).collect();
        drop(state);
        self.stop.send_replace(true);
        drop((queue, idle));
    }
}

impl State {
    /// Whether there is anything to hand out: room, or a worker that waits.
    fn has_something(&self, workers_max: usize) -> bool {
        self.workers < workers_max || self.pools.iter().any(|pool| !pool.idle.is_empty())
    }

    fn take_least_recently_used(&mut self) -> Option<Worker> {
        let oldest = |pool: &&mut Pool| pool.idle.first().map(|(serial, _)| *serial);
        let pool = self.pools.iter_mut().filter(|pool| !pool.idle.is_empty()).min_by_key(oldest)?;
        Some(pool.idle.remove(0).1)
    }

    fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }
}
