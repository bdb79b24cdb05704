//! One worker: a process, the invocation it has, and everything that can happen to both.
//!
//! A worker is a task that owns the process. It takes one [`Job`] at a time and ends when its [`Worker`]
//! is dropped, when the process does, or when an invocation fails in a way that costs the process.
//! Which worker takes which invocation is the pool's business (see `pool`).

use std::ops::ControlFlow;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;
use std::{future, io};

use bytes::Bytes;
use starmap_engine::invoker::{InvokeError, Outcome, Report, Started};
use starmap_engine::journal::ExecutionId;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use uuid::Uuid;

use crate::logs::{self, LogStream, Status};
use crate::pool::{Doing, Now, Slot};
use crate::process::{self, Happened, Process};
use crate::runtime_api::{self, ANSWER_BYTES_MAX, Answer, Call, Event, FunctionError, Verdict};
use crate::{Clock, Function, Logs, memory};

/// How often the memory of a busy worker is looked at. Peaks in between are seen when it answers.
const MEMORY_INTERVAL: Duration = Duration::from_millis(25);

/// What all workers of a function share.
pub(crate) struct Setup {
    pub(crate) function: Function,
    pub(crate) logs: Logs,
    pub(crate) clock: Clock,
    pub(crate) region: String,
    pub(crate) init_timeout: Duration,
    pub(crate) is_memory_limited: bool,
}

/// An invocation, as a worker needs it.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) request_id: String,
    pub(crate) function_arn: String,
    pub(crate) payload: Bytes,
    /// None once told.
    pub(crate) started: Option<oneshot::Sender<Started>>,
    /// The same for the pool; none where it need not know.
    pub(crate) taken: Option<oneshot::Sender<()>>,
    pub(crate) execution: Option<ExecutionId>,
}

/// How a worker is done with a task.
#[derive(Debug)]
pub(crate) enum Ended {
    /// It ran. A worker that is not alive any more is gone for good.
    Ran { outcome: Outcome, is_alive: bool },
    /// The worker ended before it took the task, which is as good as new.
    Untouched(Task),
}

/// A running worker that nobody else uses. Dropping it kills the process, whatever it is doing.
#[derive(Debug)]
pub(crate) struct Worker {
    slot_id: u64,
    function: String,
    jobs: mpsc::Sender<Job>,
}

#[derive(Debug)]
struct Job {
    task: Task,
    reply: oneshot::Sender<Ended>,
}

impl Worker {
    /// Starts a worker in `slot`, which is given back when the process is gone. The process itself starts
    /// with the first task; that it cannot is the outcome of that task.
    pub(crate) fn start(setup: Arc<Setup>, slot: Slot, stop: watch::Receiver<bool>) -> Self {
        let (slot_id, function) = (slot.id(), setup.function.name.clone());
        let (sender, jobs) = mpsc::channel(1);
        tokio::spawn(live(setup, slot, stop, jobs));
        Self { slot_id, function, jobs: sender }
    }

    pub(crate) fn slot_id(&self) -> u64 {
        self.slot_id
    }

    /// Runs one task. Cancelling leaves the worker busy: drop it then.
    pub(crate) async fn run(&mut self, task: Task) -> Ended {
        let (request_id, (reply, ended)) = (task.request_id.clone(), oneshot::channel());
        if let Err(mpsc::error::SendError(job)) = self.jobs.send(Job { task, reply }).await {
            return Ended::Untouched(job.task);
        }
        ended.await.unwrap_or_else(|_| {
            // Its task panicked, which is our bug and must not become everybody's.
            tracing::error!(request_id, "worker ended without an outcome");
            let reason = "the worker ended without an outcome, please report this".to_owned();
            let result = Err(InvokeError::Service { function: self.function.clone(), reason });
            Ended::Ran { outcome: Outcome { result, report: None }, is_alive: false }
        })
    }
}

/// The life of a worker.
async fn live(setup: Arc<Setup>, slot: Slot, stop: watch::Receiver<bool>, mut jobs: mpsc::Receiver<Job>) {
    let Some(first) = jobs.recv().await else { return };
    let last = match Machine::start(setup.clone(), stop, &slot) {
        Ok(machine) => machine.run(first, &mut jobs).await,
        Err(reason) => {
            let result = Err(InvokeError::Service { function: setup.function.name.clone(), reason });
            Some((first.reply, Ended::Ran { outcome: Outcome { result, report: None }, is_alive: false }))
        }
    };
    jobs.close();
    let late = jobs.try_recv().ok().map(|job| (job.reply, Ended::Untouched(job.task)));
    // Whoever sees the outcome finds the room that this worker took.
    drop(slot);
    for (reply, ended) in last.into_iter().chain(late) {
        // Nobody waits for a cancelled invocation.
        let _ = reply.send(ended);
    }
}

/// Where a worker is. Each state holds exactly what it needs.
#[derive(Debug)]
enum Phase {
    /// The process has not polled yet.
    Starting { job: Job, since: Instant },
    /// The process has polled and waits.
    Waiting { poll: oneshot::Sender<Event> },
    /// There is a job, and the process is not there to take it: it has not polled since its last answer,
    /// or its first poll broke off (`init` is still to be told then).
    Assigned { job: Job, since: Instant, init: Option<Duration> },
    /// The process has the job.
    Busy { job: Job, since: Instant, init: Option<Duration> },
    /// The process has answered and not polled again.
    Answered,
}

/// What can happen to a worker.
#[derive(Debug)]
enum Input {
    Call(Call),
    Exited(io::Result<ExitStatus>),
    /// The next job, or none: the worker was dropped.
    Job(Option<Job>),
    Stop,
    Deadline,
    MemoryTick,
}

/// Why a worker ends.
#[derive(Debug)]
enum Ending {
    /// It had nothing to do.
    Idle,
    /// It never took its job.
    Unserved(Job),
    /// It failed before it could take its first job.
    InitFailed { job: Job, init: Duration, failure: Failure },
    /// It failed its job.
    Failed { job: Job, since: Instant, init: Option<Duration>, failure: Failure },
}

#[derive(Debug)]
enum Failure {
    Exited(io::Result<ExitStatus>),
    OutOfMemory,
    TimedOut(Duration),
    /// The process said why itself.
    Init(FunctionError),
    /// We stopped it.
    Stopped,
}

/// A worker with its process running.
struct Machine<'a> {
    setup: Arc<Setup>,
    /// Told what the worker does.
    slot: &'a Slot,
    process: Process,
    calls: mpsc::Receiver<Call>,
    /// Ends with us.
    _server: JoinSet<()>,
    stop: watch::Receiver<bool>,
    memory_tick: Interval,
    log: LogStream,
    started: Instant,
    /// Of the current invocation, as far as it was looked at.
    memory_peak_bytes: u64,
}

impl<'a> Machine<'a> {
    fn start(setup: Arc<Setup>, stop: watch::Receiver<bool>, slot: &'a Slot) -> Result<Self, String> {
        let function = &setup.function;
        let bind = || {
            let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
            listener.set_nonblocking(true)?;
            Ok((listener.local_addr()?, TcpListener::from_std(listener)?))
        };
        let (address, listener) =
            bind().map_err(|error: io::Error| format!("could not listen on loopback for the Runtime API: {error}"))?;
        let log_stream = logs::stream_name((setup.clock)(), &function.version, &Uuid::new_v4());
        let log = LogStream::create(&setup.logs, &function.name, log_stream);
        let environment = process::environment(function, std::env::vars_os(), address, log.name(), &setup.region);
        let started = Instant::now();
        let process = Process::start(function, environment, log.is_kept()).map_err(|error| {
            let program = function.command.first().map(|program| program.display().to_string()).unwrap_or_default();
            format!("could not start {program}: {error}")
        })?;
        tracing::info!(function = function.name, log_stream = log.name(), pid = process.id(), "worker started");
        slot.is_taken_by(Now {
            function: function.name.clone(),
            version: function.version.clone(),
            log_stream: log.name().to_owned(),
            pid: process.id(),
            started_at_ms: (setup.clock)(),
            resident_bytes: None,
            memory_mib: function.memory_mib,
            doing: None,
        });

        let (sender, calls) = mpsc::channel(4);
        let mut server = JoinSet::new();
        server.spawn(runtime_api::serve(listener, sender));
        let mut memory_tick = tokio::time::interval(MEMORY_INTERVAL);
        memory_tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self { setup, slot, process, calls, _server: server, stop, memory_tick, log, started, memory_peak_bytes: 0 })
    }

    /// Runs jobs until the process is gone; returns what is still to be said to whom.
    async fn run(mut self, first: Job, jobs: &mut mpsc::Receiver<Job>) -> Option<(oneshot::Sender<Ended>, Ended)> {
        let mut phase = Phase::Starting { job: first, since: self.started };
        let ending = loop {
            let input = self.input(&phase, jobs).await;
            match self.step(phase, input) {
                ControlFlow::Continue(next) => phase = next,
                ControlFlow::Break(ending) => break ending,
            }
        };
        self.end(ending).await
    }

    /// Waits for what happens next. Output is written to the log on the way.
    async fn input(&mut self, phase: &Phase, jobs: &mut mpsc::Receiver<Job>) -> Input {
        let deadline = match phase {
            Phase::Starting { since, .. } | Phase::Assigned { since, .. } => Some(*since + self.setup.init_timeout),
            Phase::Busy { since, .. } => Some(*since + self.setup.function.timeout),
            Phase::Waiting { .. } | Phase::Answered => None,
        };
        let is_working = matches!(phase, Phase::Starting { .. } | Phase::Busy { .. });
        loop {
            tokio::select! {
                // In this order, so that no flood of output or requests keeps a limit from being seen.
                biased;
                _ = self.stop.wait_for(|is_stopping| *is_stopping) => return Input::Stop,
                job = jobs.recv() => return Input::Job(job),
                () = reached(deadline) => return Input::Deadline,
                _ = self.memory_tick.tick(), if is_working && self.setup.is_memory_limited => return Input::MemoryTick,
                Some(call) = self.calls.recv() => return Input::Call(call),
                happened = self.process.next() => match happened {
                    Happened::Exited(status) => return Input::Exited(status),
                    Happened::Printed(lines) => self.log.write(&lines, (self.setup.clock)()),
                },
            }
        }
    }

    fn step(&mut self, phase: Phase, input: Input) -> ControlFlow<Ending, Phase> {
        use ControlFlow::{Break, Continue};
        match (phase, input) {
            (Phase::Starting { job, since }, Input::Call(Call::Next { poll })) => {
                Continue(self.hand_over(job, poll, Some(since.elapsed())))
            }
            (Phase::Assigned { job, init, .. }, Input::Call(Call::Next { poll })) => {
                Continue(self.hand_over(job, poll, init))
            }
            // A poll after a poll is the same process on a new connection.
            (Phase::Waiting { .. } | Phase::Answered, Input::Call(Call::Next { poll })) => {
                Continue(Phase::Waiting { poll })
            }
            // Dropping the poll refuses it.
            (phase @ Phase::Busy { .. }, Input::Call(Call::Next { .. })) => Continue(phase),

            (Phase::Busy { job, since, init }, Input::Call(Call::Answer { request_id, answer, verdict }))
                if request_id == job.task.request_id =>
            {
                self.answered(job, since, init, answer, verdict)
            }
            (phase, Input::Call(Call::Answer { verdict, .. })) => {
                let _ = verdict.send(Verdict::InvalidRequestId);
                Continue(phase)
            }

            (Phase::Starting { job, since }, Input::Call(Call::InitError { error, verdict })) => {
                let _ = verdict.send(Verdict::Accepted);
                Break(Ending::InitFailed { job, init: since.elapsed(), failure: Failure::Init(error) })
            }
            (phase, Input::Call(Call::InitError { verdict, .. })) => {
                let _ = verdict.send(Verdict::InvalidState);
                Continue(phase)
            }

            (Phase::Waiting { poll }, Input::Job(Some(job))) => Continue(self.hand_over(job, poll, None)),
            (Phase::Answered, Input::Job(Some(job))) => {
                Continue(Phase::Assigned { job, since: Instant::now(), init: None })
            }
            // A worker has one user, who waits for the end of one job before sending the next.
            (phase, Input::Job(Some(job))) => {
                let _ = job.reply.send(Ended::Untouched(job.task));
                Continue(phase)
            }

            (phase @ (Phase::Starting { .. } | Phase::Busy { .. }), Input::MemoryTick) if self.is_over_memory() => {
                Break(phase.failed(Failure::OutOfMemory))
            }
            (phase, Input::MemoryTick) => Continue(phase),

            (phase @ Phase::Busy { .. }, Input::Deadline) => {
                Break(phase.failed(Failure::TimedOut(self.setup.function.timeout)))
            }
            (phase, Input::Deadline) => Break(phase.failed(Failure::TimedOut(self.setup.init_timeout))),
            (phase, Input::Exited(status)) => Break(phase.failed(Failure::Exited(status))),
            (phase, Input::Stop | Input::Job(None)) => Break(phase.failed(Failure::Stopped)),
        }
    }

    /// Gives a job to the process, which is waiting on `poll`.
    fn hand_over(&mut self, mut job: Job, poll: oneshot::Sender<Event>, init: Option<Duration>) -> Phase {
        if let Some(pid) = self.process.id() {
            memory::reset_peak(pid);
        }
        self.memory_peak_bytes = 0;
        self.memory_tick.reset();
        let since = Instant::now();
        let now_ms = (self.setup.clock)();
        let timeout_ms = i64::try_from(self.setup.function.timeout.as_millis()).unwrap_or(i64::MAX);
        let event = Event {
            request_id: job.task.request_id.clone(),
            deadline_ms: now_ms.saturating_add(timeout_ms),
            function_arn: job.task.function_arn.clone(),
            trace_id: trace_id(now_ms),
            payload: job.task.payload.clone(),
        };
        // Before the process can print anything; once, should the connection of the first poll have broken.
        if poll.is_closed() {
            return Phase::Assigned { job, since, init };
        }
        self.log.write(self.start_line(&job.task.request_id).as_bytes(), (self.setup.clock)());
        let (request_id, execution) = (job.task.request_id.clone(), job.task.execution);
        self.slot.does(Some(Doing { request_id, execution, since_ms: now_ms }));
        if poll.send(event).is_err() {
            self.slot.does(None);
            return Phase::Assigned { job, since, init };
        }
        if let Some(started) = job.task.started.take() {
            let init_s = init.map(|init| init.as_secs_f64());
            // Whoever invoked may not care.
            let _ = started.send(Started { log_stream: self.log.name().to_owned(), init_s });
        }
        if let Some(taken) = job.task.taken.take() {
            let _ = taken.send(());
        }
        Phase::Busy { job, since, init }
    }

    /// Takes the answer of a busy process.
    fn answered(
        &mut self,
        job: Job,
        since: Instant,
        init: Option<Duration>,
        answer: Answer,
        verdict: oneshot::Sender<Verdict>,
    ) -> ControlFlow<Ending, Phase> {
        let duration = since.elapsed();
        self.slot.does(None);
        let _ = verdict.send(if matches!(answer, Answer::TooLarge) { Verdict::TooLarge } else { Verdict::Accepted });
        if self.setup.is_memory_limited && self.is_over_memory() {
            // Lambda would not have let it come this far.
            return ControlFlow::Break(Ending::Failed { job, since, init, failure: Failure::OutOfMemory });
        }
        let result = match answer {
            Answer::Response(response) => Ok(response.into()),
            Answer::TooLarge => {
                let message =
                    format!("Response payload size exceeded maximum allowed payload size ({ANSWER_BYTES_MAX} bytes).");
                Err(self.function_error(FunctionError::new("Function.ResponseSizeTooLarge", message)))
            }
            Answer::Error(error) => Err(self.function_error(error)),
        };
        let report = self.report(&job.task.request_id, duration, init);
        let mut lines = self.process.printed().to_vec();
        lines.extend_from_slice(end_line(&job.task.request_id).as_bytes());
        lines.extend_from_slice(logs::report_line(&report, None).as_bytes());
        self.log.write(&lines, (self.setup.clock)());
        let outcome = Outcome { result, report: Some(report) };
        let _ = job.reply.send(Ended::Ran { outcome, is_alive: true });
        ControlFlow::Continue(Phase::Answered)
    }

    /// Ends the process, then writes and says what there is to say about it.
    async fn end(mut self, ending: Ending) -> Option<(oneshot::Sender<Ended>, Ended)> {
        let (job, duration, init, is_init, failure) = match ending {
            Ending::Idle => {
                self.stop_process().await;
                return None;
            }
            Ending::Unserved(job) => {
                self.stop_process().await;
                return Some((job.reply, Ended::Untouched(job.task)));
            }
            Ending::InitFailed { job, init, failure } => (job, Duration::ZERO, Some(init), true, failure),
            Ending::Failed { job, since, init, failure } => (job, since.elapsed(), init, false, failure),
        };
        // The last chance to look.
        self.is_over_memory();
        self.stop_process().await;
        let request_id = &job.task.request_id;
        let is_timeout = matches!(failure, Failure::TimedOut(_));
        let (error, message_line) = self.failure(request_id, failure);
        let status = if is_timeout { Status::Timeout } else { Status::Error { error_type: error.error_name() } };
        let report = self.report(request_id, duration, init);
        let mut lines = String::new();
        if is_init {
            lines.push_str(&logs::init_report_line(init.unwrap_or_default(), status));
            lines.push_str(&self.start_line(request_id));
        }
        lines.push_str(&message_line);
        lines.push_str(&end_line(request_id));
        lines.push_str(&logs::report_line(&report, Some(status)));
        self.log.write(lines.as_bytes(), (self.setup.clock)());
        let outcome = Outcome { result: Err(error), report: Some(report) };
        Some((job.reply, Ended::Ran { outcome, is_alive: false }))
    }

    async fn stop_process(&mut self) {
        let pid = self.process.id();
        self.process.stop().await;
        let printed = self.process.printed();
        self.log.write(&printed, (self.setup.clock)());
        tracing::info!(function = self.setup.function.name, log_stream = self.log.name(), pid, "worker ended");
    }

    /// A failure as an error with AWS's name and text, and as lines of the log.
    ///
    /// # Source
    /// docs.aws.amazon.com/lambda/latest/dg/troubleshooting-invocation.html and public logs; read 2026-11-24.
    fn failure(&self, request_id: &str, failure: Failure) -> (InvokeError, String) {
        let with_request = |error_type: &str, text: &str| {
            let message = format!("RequestId: {request_id} Error: {text}");
            let line = format!("{message}\n{error_type}\n");
            (self.function_error(FunctionError::new(error_type, message)), line)
        };
        match failure {
            Failure::Exited(Ok(status)) => with_request("Runtime.ExitError", &process::exit_reason(status)),
            Failure::Exited(Err(error)) => {
                with_request("Runtime.ExitError", &format!("Runtime exited with error: {error}"))
            }
            Failure::OutOfMemory => with_request("Runtime.OutOfMemory", "Runtime exited with error: signal: killed"),
            Failure::TimedOut(after) => {
                let text = format!("Task timed out after {:.2} seconds", after.as_secs_f64());
                let line = format!("{} {request_id} {text}\n\n", logs::timestamp((self.setup.clock)()));
                (with_request("Sandbox.Timedout", &text).0, line)
            }
            Failure::Init(error) => (self.function_error(error), String::new()),
            Failure::Stopped => {
                let reason = "the worker was stopped before it answered".to_owned();
                let line = format!("RequestId: {request_id} Error: {reason}\n");
                (InvokeError::Service { function: self.setup.function.name.clone(), reason }, line)
            }
        }
    }

    fn start_line(&self, request_id: &str) -> String {
        format!("START RequestId: {request_id} Version: {}\n", self.setup.function.version)
    }

    fn function_error(&self, error: FunctionError) -> InvokeError {
        let FunctionError { error_type, message, payload } = error;
        InvokeError::Function { function: self.setup.function.name.clone(), error_type, message, payload }
    }

    fn report(&self, request_id: &str, duration: Duration, init: Option<Duration>) -> Report {
        Report {
            request_id: request_id.to_owned(),
            function: self.setup.function.name.clone(),
            log_stream: self.log.name().to_owned(),
            duration_ms: logs::printed_ms(duration),
            billed_ms: logs::billed_ms(init.unwrap_or_default(), duration),
            memory_mib: self.setup.function.memory_mib,
            max_memory_used_mib: u32::try_from(self.memory_peak_bytes.div_ceil(1 << 20)).unwrap_or(u32::MAX),
            init_ms: init.map(logs::printed_ms),
        }
    }

    /// Looks at the memory of the process, keeps its peak, and says whether that is over the limit.
    fn is_over_memory(&mut self) -> bool {
        if let Some(pid) = self.process.id() {
            let now = memory::resident_with_children(pid).unwrap_or(0);
            let peak = memory::peak(pid).unwrap_or(0);
            self.memory_peak_bytes = self.memory_peak_bytes.max(now).max(peak);
        }
        self.memory_peak_bytes > u64::from(self.setup.function.memory_mib) << 20
    }
}

impl Phase {
    /// What a failure in this phase means for the job.
    fn failed(self, failure: Failure) -> Ending {
        match self {
            Phase::Starting { job, since } => Ending::InitFailed { job, init: since.elapsed(), failure },
            // A fresh process that cannot take its first job is broken; another one would be, too.
            Phase::Assigned { job, init: Some(init), .. } => Ending::InitFailed { job, init, failure },
            Phase::Assigned { job, init: None, .. } => Ending::Unserved(job),
            Phase::Busy { job, since, init } => Ending::Failed { job, since, init, failure },
            Phase::Waiting { .. } | Phase::Answered => Ending::Idle,
        }
    }
}

async fn reached(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => future::pending().await,
    }
}

fn end_line(request_id: &str) -> String {
    format!("END RequestId: {request_id}\n")
}

/// A new X-Ray trace, not sampled.
///
/// # Source
/// docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html, "Tracing header".
fn trace_id(now_ms: i64) -> String {
    let id = Uuid::new_v4().simple().to_string();
    let parent = Uuid::new_v4().simple().to_string();
    format!("Root=1-{:08x}-{};Parent={};Sampled=0", now_ms.div_euclid(1000), &id[..24], &parent[..16])
}
