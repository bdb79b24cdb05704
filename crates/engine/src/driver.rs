//! The driver: one thread that owns the core and the journal.
//!
//! Turn by turn it takes in what happened, has the core decide, makes the decision durable in one
//! transaction, and only then acts: invokes functions, arms timers, answers callers. When the journal
//! refuses a turn the driver stops for good, because its memory is ahead of the disk.

mod map_runs;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use serde_json::Value;
use starmap_asl::{Event, TaskId, TaskToken, TimerId, Timestamp};
use tokio::runtime::Handle;
use tokio::sync::{broadcast, oneshot};
use tokio::task::AbortHandle;

use crate::clock::Clock;
use crate::core::{
    Core, Effect, HISTORY_FULL, HandedOut, Input, MapRunProgress, MapRunUpdate, NewExecution, TokenAnswer,
    TokenRefusal, Turn, execution_arn, not_redrivable,
};
use crate::engine::{Error, Notice};
use crate::invoker::{Caller, Invocation, Invoker, Outcome};
use crate::items::Failed;
use crate::items::blocking::{Chunk, Wanted};
use crate::journal::{
    Ending, ExecutionFilter, ExecutionId, ExecutionRecord, Journal, MapRunRow, Reader, Status, Write,
};
use crate::limits::{CLIENT_TOKEN_MINUTES, MESSAGES_PER_TURN_MAX, RECOVERED_PER_TURN_MAX};
use crate::names::{derived_uuid, invalid_name};
use crate::objects::Objects;
use crate::registry::{Change, MachineKind};
use crate::results::ResultJob;
use crate::services::{ServiceCall, ServiceError, Services};

pub(crate) enum Message {
    Change {
        changes: Vec<Change>,
        reply: Reply<()>,
    },
    Start {
        start: Box<NewExecution>,
        reply: Reply<Started>,
    },
    Resume {
        execution: String,
        reply: Reply<Started>,
    },
    Stop {
        execution: ExecutionId,
        error: Option<String>,
        cause: Option<String>,
        reply: Reply<()>,
    },
    Redrive {
        arn: String,
        client_token: Option<String>,
        reply: Reply<Timestamp>,
    },
    /// Take up what was running: the newest executions before this one, and then the next.
    Recover {
        before: Option<ExecutionId>,
        recovered: u64,
        reply: Reply<u64>,
    },
    Wait {
        execution: ExecutionId,
        reply: Reply<Ending>,
    },
    Running {
        state_machine: String,
        reply: Reply<bool>,
    },
    Progress {
        execution: ExecutionId,
        reply: Reply<Vec<MapRunProgress>>,
    },
    ItemsRead {
        map_run: MapRunRow,
        redrive_count: u32,
        read: Result<Chunk, Failed>,
    },
    ResultsWritten {
        map_run: MapRunRow,
        redrive_count: u32,
        written: Result<Value, Failed>,
    },
    Advance {
        map_run: MapRunRow,
    },
    UpdateMapRun {
        arn: String,
        update: MapRunUpdate,
        reply: Reply<()>,
    },
    TaskStarted {
        execution: ExecutionId,
        task: TaskId,
    },
    TaskEnded {
        execution: ExecutionId,
        task: TaskId,
        outcome: Outcome,
    },
    ServiceAnswered {
        execution: ExecutionId,
        task: TaskId,
        result: Result<Value, ServiceError>,
    },
    Token {
        token: String,
        answer: TokenAnswer,
        reply: Reply<()>,
    },
    Activity {
        arn: String,
        exists: bool,
    },
    Poll {
        activity: String,
        poll: u64,
        worker: Option<String>,
        reply: oneshot::Sender<Box<HandedOut>>,
    },
    PollEnded {
        activity: String,
        poll: u64,
    },
    HandedBack {
        handed: Box<HandedOut>,
    },
    Shutdown {
        reply: Reply<()>,
    },
}

pub(crate) type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// An execution to start.
#[derive(Debug, Clone)]
pub struct Start {
    /// ARN or name of the state machine.
    pub state_machine: String,
    /// The execution's name; unique among those of the state machine.
    pub name: String,
    /// Its input.
    pub input: Value,
    /// Kept with the execution for whoever started it.
    pub annotations: Value,
}

/// An execution that was started, or taken up again.
#[derive(Debug, Clone, PartialEq)]
pub struct Started {
    /// Its row in the journal.
    pub id: ExecutionId,
    /// Its ARN.
    pub arn: String,
    /// When it was started first.
    pub started_at: Timestamp,
}

pub(crate) struct Driver {
    pub core: Core,
    pub journal: Box<dyn Journal>,
    pub reader: Arc<dyn Reader>,
    pub invoker: Arc<dyn Invoker>,
    pub objects: Arc<dyn Objects>,
    pub services: Arc<dyn Services>,
    pub clock: Arc<dyn Clock>,
    pub runtime: Handle,
    pub sender: Sender<Message>,
    pub notices: broadcast::Sender<Notice>,
    invocations: HashMap<(ExecutionId, TaskId), AbortHandle>,
    timers: BinaryHeap<Reverse<(Timestamp, ExecutionId, TimerId)>>,
    armed: HashSet<(ExecutionId, TimerId)>,
    polls: HashMap<u64, oneshot::Sender<Box<HandedOut>>>,
    /// ARNs of executions that were started or redriven in this turn: what the journal says of them is not true yet.
    begun: HashSet<String>,
    /// Redrives of this turn that were asked for with a client's token.
    redriven: HashSet<(String, String)>,
    readers: HashMap<MapRunRow, Wanted>,
    /// Map runs whose results are being written, each with what is to be written after that.
    writers: HashMap<MapRunRow, Option<Box<ResultJob>>>,
    waiters: HashMap<ExecutionId, Vec<Reply<Ending>>>,
    attempts: u64,
}

/// From so many timers on, those that were disarmed are swept away.
const TIMERS_SWEPT_FROM: usize = 4_096;

/// What is told to callers once the turn is durable.
type Answer = Box<dyn FnOnce()>;

enum Flow {
    Continue,
    Stop,
}

impl Driver {
    #[allow(clippy::too_many_arguments, reason = "wiring, called once")]
    pub fn new(
        core: Core,
        journal: Box<dyn Journal>,
        invoker: Arc<dyn Invoker>,
        objects: Arc<dyn Objects>,
        services: Arc<dyn Services>,
        clock: Arc<dyn Clock>,
        runtime: Handle,
        sender: Sender<Message>,
        notices: broadcast::Sender<Notice>,
    ) -> Self {
        Self {
            core,
            reader: journal.reader(),
            journal,
            invoker,
            objects,
            services,
            clock,
            runtime,
            sender,
            notices,
            invocations: HashMap::new(),
            timers: BinaryHeap::new(),
            armed: HashSet::new(),
            polls: HashMap::new(),
            begun: HashSet::new(),
            redriven: HashSet::new(),
            readers: HashMap::new(),
            writers: HashMap::new(),
            waiters: HashMap::new(),
            attempts: 0,
        }
    }

    /// Runs until it is told to stop or the journal refuses.
    pub fn run(mut self, receiver: Receiver<Message>) {
        loop {
            let messages = self.wait_for_messages(&receiver);
            match self.turn(messages) {
                Ok(Flow::Continue) => {}
                Ok(Flow::Stop) => break,
                Err(error) => {
                    tracing::error!(error = %error, "the journal refused a step; the engine stops");
                    self.fail_everyone(&receiver, &error);
                    break;
                }
            }
        }
        for invocation in self.invocations.into_values() {
            invocation.abort();
        }
    }

    fn wait_for_messages(&self, receiver: &Receiver<Message>) -> Vec<Message> {
        let first = match self.timers.peek() {
            None => receiver.recv().ok(),
            Some(Reverse((due, ..))) => {
                let wait_ms = u64::try_from(due.0.saturating_sub(self.clock.now().0)).unwrap_or(0);
                receiver.recv_timeout(Duration::from_millis(wait_ms)).ok()
            }
        };
        let rest = receiver.try_iter().take(MESSAGES_PER_TURN_MAX - 1);
        first.into_iter().chain(rest).collect()
    }

    fn turn(&mut self, messages: Vec<Message>) -> Result<Flow, Error> {
        let at = self.clock.now();
        self.begun.clear();
        self.redriven.clear();
        let (mut turn, mut answers, mut flow) = (Turn::default(), Vec::<Answer>::new(), Flow::Continue);
        for message in messages {
            if let Message::Shutdown { reply } = message {
                answers.push(Box::new(move || drop(reply.send(Ok(())))));
                flow = Flow::Stop;
                break;
            }
            self.take_in(at, message, &mut turn, &mut answers);
        }
        while let Some(&Reverse((due, execution, timer))) = self.timers.peek()
            && due <= at
        {
            self.timers.pop();
            if self.armed.remove(&(execution, timer)) {
                self.core.take_in(at, Input::TimerFired { execution, timer }, &mut turn);
            }
        }
        self.core.finish_turn(&mut turn);
        if !turn.batch.writes.is_empty() {
            self.journal.append(&turn.batch)?;
        }
        self.notify(&turn.batch.writes);
        for effect in turn.effects {
            self.carry_out(effect);
        }
        for answer in answers {
            answer();
        }
        Ok(flow)
    }

    fn take_in(&mut self, at: Timestamp, message: Message, turn: &mut Turn, answers: &mut Vec<Answer>) {
        match message {
            Message::Change { changes, reply } => {
                for change in &changes {
                    match change {
                        Change::Activity(activity) => self.core.set_activity(&activity.arn, true),
                        Change::ActivityDeleted { arn } => self.core.set_activity(arn, false),
                        Change::StateMachineDeleting { arn } => self.core.set_deleting(arn, true),
                        Change::StateMachineDeleted { arn } => self.core.set_deleting(arn, false),
                        _ => {}
                    }
                }
                turn.batch.writes.extend(changes.into_iter().map(Write::Resource));
                answers.push(Box::new(move || drop(reply.send(Ok(())))));
            }
            Message::Start { start, reply } => {
                let started = self.start(at, *start, turn);
                answers.push(Box::new(move || drop(reply.send(started))));
            }
            Message::Resume { execution, reply } => {
                let resumed = self.resume(at, &execution, turn);
                answers.push(Box::new(move || drop(reply.send(resumed))));
            }
            Message::Stop { execution, error, cause, reply } => {
                self.core.take_in(at, Input::Stop { execution, error, cause }, turn);
                answers.push(Box::new(move || drop(reply.send(Ok(())))));
            }
            Message::Redrive { arn, client_token, reply } => {
                let redriven = self.redrive(at, &arn, client_token, turn);
                answers.push(Box::new(move || drop(reply.send(redriven))));
            }
            Message::Recover { before, recovered, reply } => self.recover(at, before, recovered, reply, turn),
            Message::Wait { execution, reply } => self.wait(execution, reply, turn),
            Message::Running { state_machine, reply } => {
                let is_running = self.core.is_running(&state_machine);
                answers.push(Box::new(move || drop(reply.send(Ok(is_running)))));
            }
            Message::Progress { execution, reply } => {
                let progress = self.core.progress(execution);
                answers.push(Box::new(move || drop(reply.send(Ok(progress)))));
            }
            Message::ItemsRead { map_run, redrive_count, read } => {
                self.core.take_in(at, Input::ItemsRead { map_run, redrive_count, read }, turn);
            }
            Message::ResultsWritten { map_run, redrive_count, written } => {
                self.writer_ended(map_run);
                self.core.take_in(at, Input::ResultsWritten { map_run, redrive_count, written }, turn);
            }
            Message::Advance { map_run } => {
                self.core.take_in(at, Input::Advance { map_run }, turn);
            }
            Message::UpdateMapRun { arn, update, reply } => {
                let updated = self.update_map_run(at, &arn, update, turn);
                answers.push(Box::new(move || drop(reply.send(updated))));
            }
            Message::TaskStarted { execution, task } => {
                self.core.take_in(at, Input::TaskStarted { execution, task }, turn);
            }
            Message::TaskEnded { execution, task, outcome } => {
                self.invocations.remove(&(execution, task));
                self.core.take_in(at, Input::TaskEnded { execution, task, outcome }, turn);
            }
            Message::ServiceAnswered { execution, task, result } => {
                self.invocations.remove(&(execution, task));
                let ended = self.ended(at, &result, turn);
                self.core.take_in(at, Input::ServiceAnswered { execution, task, result, ended }, turn);
            }
            Message::Token { token, answer, reply } => {
                let answered = self.answer_token(at, &token, answer, turn);
                answers.push(Box::new(move || drop(reply.send(answered))));
            }
            Message::Activity { arn, exists } => self.core.set_activity(&arn, exists),
            Message::Poll { activity, poll, worker, reply } => {
                self.polls.insert(poll, reply);
                self.core.take_in(at, Input::ActivityPolled { activity, poll, worker }, turn);
            }
            Message::PollEnded { activity, poll } => {
                self.polls.remove(&poll);
                self.core.take_in(at, Input::PollEnded { activity, poll }, turn);
            }
            Message::HandedBack { handed } => drop(self.core.take_in(at, Input::HandedBack { handed }, turn)),
            Message::Shutdown { .. } => {}
        }
    }

    fn start(&mut self, at: Timestamp, new: NewExecution, turn: &mut Turn) -> Result<Started, Error> {
        if let Some(reason) = invalid_name(&new.name) {
            return Err(Error::InvalidName { name: new.name, reason });
        }
        if let Err(diagnostics) = new.revision.machine() {
            let diagnostics = diagnostics.to_vec();
            return Err(Error::InvalidDefinition { name: new.revision.state_machine_name.clone(), diagnostics });
        }
        let arn = self.core.naming().execution(&new.revision.state_machine_name, &new.name);
        if new.revision.kind == MachineKind::Standard {
            if let Some((id, started_at, input)) = self.core.running(&arn)
                && *input == new.input
            {
                // As on AWS: the same start again is the same execution, as long as it runs.
                return Ok(Started { id, arn, started_at });
            }
            let is_there = self.core.has_arn(&arn) || self.begun.contains(&arn);
            if is_there || self.journal.has_execution(&arn)? {
                return Err(Error::ExecutionExists { arn });
            }
            self.begun.insert(arn.clone());
        }
        let id = self.core.take_in(at, Input::Start(Box::new(new)), turn);
        let id = id.expect("starting an execution gives its row");
        let started = turn.batch.writes.iter().rev().find_map(|write| match write {
            Write::Execution(record) if record.id == id => Some(record.arn.clone()),
            _ => None,
        });
        Ok(Started { id, arn: started.unwrap_or(arn), started_at: at })
    }

    fn resume(&mut self, at: Timestamp, execution: &str, turn: &mut Turn) -> Result<Started, Error> {
        let record = self.reader.find_execution(execution)?;
        let record = record.ok_or_else(|| Error::NoExecution { execution: execution.to_owned() })?;
        if record.parent.is_some() {
            return Err(Error::IsChild { arn: record.arn });
        }
        if record.status != Status::Running {
            return Err(Error::HasEnded { arn: record.arn, status: record.status });
        }
        if !self.core.is_live(record.id) {
            self.core.recover(at, record.id, turn)?;
        }
        Ok(Started { id: record.id, arn: record.arn, started_at: record.started_at })
    }

    fn redrive(
        &mut self,
        at: Timestamp,
        arn: &str,
        client_token: Option<String>,
        turn: &mut Turn,
    ) -> Result<Timestamp, Error> {
        let record = self.reader.execution_by_arn(arn)?;
        let record = record.ok_or_else(|| Error::NoExecution { execution: arn.to_owned() })?;
        if record.parent.is_some() {
            return Err(Error::IsChild { arn: record.arn });
        }
        if let Some(token) = &client_token {
            if self.redriven.contains(&(record.arn.clone(), token.clone())) {
                return Ok(at);
            }
            let lifetime_s = CLIENT_TOKEN_MINUTES * 60;
            match self.reader.redriven_by(record.id, token)? {
                Some(then) if at < then.plus_seconds(lifetime_s) => return Ok(then),
                _ => {}
            }
        }
        if self.core.has_arn(arn) || self.begun.contains(arn) {
            let reason = "Execution is RUNNING and cannot be redriven".to_owned();
            return Err(Error::NotRedrivable { arn: record.arn, reason });
        }
        if let Some(reason) = not_redrivable(&record, at) {
            return Err(Error::NotRedrivable { arn: record.arn, reason: reason.to_owned() });
        }
        match self.core.redrive(at, &record, client_token.clone(), turn)? {
            true => {
                self.redriven.extend(client_token.map(|token| (record.arn.clone(), token)));
                self.begun.insert(record.arn);
                Ok(at)
            }
            false => Err(Error::NotRedrivable { arn: record.arn, reason: HISTORY_FULL.to_owned() }),
        }
    }

    /// One page per turn, so that nobody waits for all of them and a turn stays small.
    fn recover(
        &mut self,
        at: Timestamp,
        before: Option<ExecutionId>,
        mut recovered: u64,
        reply: Reply<u64>,
        turn: &mut Turn,
    ) {
        let filter = ExecutionFilter { status: Some(Status::Running), ..ExecutionFilter::everyone() };
        let page = match self.reader.executions(&filter, before, RECOVERED_PER_TURN_MAX) {
            Ok(page) => page,
            Err(error) => return drop(reply.send(Err(error.into()))),
        };
        for execution in &page {
            if self.core.is_live(execution.id) {
                continue;
            }
            match self.core.recover(at, execution.id, turn) {
                Ok(()) => recovered += 1,
                // One that can't be followed does not keep the others from going on.
                Err(error) => tracing::error!(execution_arn = execution.arn, %error, "execution can't be taken up"),
            }
        }
        match page.last() {
            Some(last) if page.len() == RECOVERED_PER_TURN_MAX => {
                let _ = self.sender.send(Message::Recover { before: Some(last.id), recovered, reply });
            }
            _ => drop(reply.send(Ok(recovered))),
        }
    }

    /// The execution that a call has started, if it has ended already.
    fn ended(&self, at: Timestamp, result: &Result<Value, ServiceError>, turn: &Turn) -> Option<Box<ExecutionRecord>> {
        let arn = execution_arn(result.as_ref().ok()?)?;
        if self.core.has_arn(arn) {
            return None;
        }
        let mut record = self.reader.execution_by_arn(arn).ok().flatten()?;
        // What ended in this very turn is not in the journal yet.
        let ended_now = turn.effects.iter().find_map(|effect| match effect {
            Effect::Ended { execution, ending, .. } if *execution == record.id => Some(ending.clone()),
            _ => None,
        });
        if let Some(Ending { status, output, error, cause }) = ended_now {
            record = ExecutionRecord { status, output, error, cause, stopped_at: Some(at), ..record };
        }
        (record.status != Status::Running).then(|| Box::new(record))
    }

    fn answer_token(&mut self, at: Timestamp, token: &str, answer: TokenAnswer, turn: &mut Turn) -> Result<(), Error> {
        let token = TaskToken::parse(token).ok_or(Error::InvalidToken)?;
        match self.core.answer_token(at, &token, answer, turn) {
            Ok(()) => Ok(()),
            Err(TokenRefusal::Invalid) => Err(Error::InvalidToken),
            Err(TokenRefusal::TaskEnded) => Err(Error::TaskTimedOut),
            Err(TokenRefusal::NotLive) => match self.reader.execution(ExecutionId(token.key))? {
                Some(_) => Err(Error::TaskTimedOut),
                None => Err(Error::TaskDoesNotExist),
            },
        }
    }

    fn update_map_run(&mut self, at: Timestamp, arn: &str, update: MapRunUpdate, turn: &mut Turn) -> Result<(), Error> {
        let record = self.reader.map_run_by_arn(arn)?.ok_or_else(|| Error::NoMapRun { arn: arn.to_owned() })?;
        if self.core.update(at, record.row, update, turn) {
            return Ok(());
        }
        Err(Error::MapRunHasEnded { arn: arn.to_owned() })
    }

    fn wait(&mut self, execution: ExecutionId, reply: Reply<Ending>, turn: &Turn) {
        // What ended in this very turn is not in the journal yet; its effect will tell the waiter.
        let ends_now =
            |effect: &Effect| matches!(effect, Effect::Ended { execution: ended, .. } if *ended == execution);
        if self.core.is_live(execution) || turn.effects.iter().any(ends_now) {
            self.waiters.entry(execution).or_default().push(reply);
            return;
        }
        let ended = match self.reader.execution(execution) {
            Err(error) => Err(error.into()),
            Ok(Some(record)) if record.status != Status::Running => {
                Ok(Ending { status: record.status, output: record.output, error: record.error, cause: record.cause })
            }
            Ok(_) => Err(Error::NoExecution { execution: execution.to_string() }),
        };
        drop(reply.send(ended));
    }

    fn notify(&self, writes: &[Write]) {
        for write in writes {
            if let Write::Event { execution, event: Event::TaskStarted { .. }, .. } = write {
                // No one may be listening.
                let _ = self.notices.send(Notice::TaskStarted { execution: *execution });
            }
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Invoke { execution, task, function, payload, caller } => {
                self.invoke(execution, task, function, payload, *caller);
            }
            Effect::CancelInvoke { execution, task } => {
                if let Some(invocation) = self.invocations.remove(&(execution, task)) {
                    invocation.abort();
                }
            }
            Effect::Call { execution, task, call } => self.call(execution, task, *call),
            Effect::CancelCall { execution, task } => {
                if let Some(call) = self.invocations.remove(&(execution, task)) {
                    call.abort();
                }
            }
            Effect::HandOut { poll, handed } => {
                let refused = match self.polls.remove(&poll) {
                    Some(worker) => worker.send(handed).err(),
                    None => Some(handed),
                };
                if let Some(handed) = refused {
                    let _ = self.sender.send(Message::HandedBack { handed });
                }
            }
            Effect::ArmTimer { execution, timer, due } => {
                self.armed.insert((execution, timer));
                self.timers.push(Reverse((due, execution, timer)));
            }
            Effect::DisarmTimer { execution, timer } => {
                self.armed.remove(&(execution, timer));
                // Those that are not armed any more would stay until they are due: a million of them in a large map.
                if self.timers.len() > TIMERS_SWEPT_FROM.max(2 * self.armed.len()) {
                    let armed = &self.armed;
                    self.timers.retain(|Reverse((_, execution, timer))| armed.contains(&(*execution, *timer)));
                }
            }
            Effect::ReadItems { map_run, redrive_count, request, from } => {
                self.read_items(map_run, redrive_count, request, from);
            }
            Effect::MoreItems { map_run } => self.more_items(map_run),
            Effect::StopReading { map_run } => drop(self.readers.remove(&map_run)),
            Effect::Advance { map_run } => drop(self.sender.send(Message::Advance { map_run })),
            Effect::WriteResults { map_run, job } => self.write_results(map_run, job),
            Effect::Ended { execution, parent, ending } => {
                for waiter in self.waiters.remove(&execution).unwrap_or_default() {
                    drop(waiter.send(Ok(ending.clone())));
                }
                let _ = self.notices.send(Notice::Ended { execution, parent, ending: Box::new(ending) });
            }
        }
    }

    fn invoke(&mut self, execution: ExecutionId, task: TaskId, function: String, payload: Vec<u8>, caller: Caller) {
        self.attempts += 1;
        let unique = [execution.0, task.0, self.attempts, self.clock.now().0 as u64].map(|part| part.to_string());
        let request_id = derived_uuid(&unique.each_ref().map(String::as_str));
        let (started, taken) = oneshot::channel();
        let (execution_id, caller) = (Some(execution), Some(caller));
        let invocation = Invocation { request_id, function, payload, started, execution: execution_id, caller };
        let invoking = Arc::clone(&self.invoker).invoke(invocation);
        let sender = self.sender.clone();
        let joined = self.runtime.spawn(async move {
            let mut invoking = invoking;
            // The start is told before the end even when both are ready.
            let outcome = tokio::select! {
                biased;
                Ok(_) = taken => {
                    let _ = sender.send(Message::TaskStarted { execution, task });
                    invoking.await
                }
                outcome = &mut invoking => outcome,
            };
            let _ = sender.send(Message::TaskEnded { execution, task, outcome });
        });
        self.invocations.insert((execution, task), joined.abort_handle());
    }

    fn call(&mut self, execution: ExecutionId, task: TaskId, call: ServiceCall) {
        let calling = Arc::clone(&self.services).call(call);
        let sender = self.sender.clone();
        let joined = self.runtime.spawn(async move {
            let result = calling.await;
            let _ = sender.send(Message::ServiceAnswered { execution, task, result });
        });
        self.invocations.insert((execution, task), joined.abort_handle());
    }

    fn fail_everyone(&mut self, receiver: &Receiver<Message>, error: &Error) {
        let reason = error.to_string();
        for waiter in self.waiters.drain().flat_map(|(_, waiters)| waiters) {
            drop(waiter.send(Err(Error::Stopped { reason: reason.clone() })));
        }
        for message in receiver.try_iter() {
            if let Message::Wait { reply, .. } = message {
                drop(reply.send(Err(Error::Stopped { reason: reason.clone() })));
            }
        }
    }
}
