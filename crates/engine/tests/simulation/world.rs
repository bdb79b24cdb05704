//! The outside of the core: a clock, a disk that is the journal, functions, services, workers and an object store, all
//! of which fail as the seed has it.
//!
//! One step is one thing that happens: an answer comes, comes again, or long after anyone wanted it; a timer is due; a
//! worker asks for a task and goes away; a chunk of items is there, or a store is not. Every turn may crash before it is
//! recorded (the same as a disk that refuses it), after it is recorded and before anything of it is done, and again
//! while it recovers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};
use starmap_asl::{TaskId, TaskToken, TimerId, Timestamp};
use starmap_engine::core::{
    Core, Effect, HandedOut, Input, NewExecution, TokenAnswer, TokenRefusal, Turn, not_redrivable,
};
use starmap_engine::invoker::{InvokeError, Outcome};
use starmap_engine::items::Failed;
use starmap_engine::items::blocking::{Chunk, Position};
use starmap_engine::journal::memory::MemoryJournal;
use starmap_engine::journal::{
    ExecutionFilter, ExecutionId, ExecutionRecord, Journal, MapRunRow, Reader, Status, Write,
};
use starmap_engine::limits::Limits;
use starmap_engine::names::Naming;
use starmap_engine::registry::{Change, MachineKind, Revision, RevisionRow};
use starmap_engine::services::{ServiceCall, ServiceError};

use crate::invariants::{
    ACTIVITY_1, READ_1, REDRIVE_2, RUN_2, STOP_1, TOKEN_1, WRITE_1, check_asked, check_nothing_is_left, check_turn,
};
use crate::random::Random;
use crate::scenarios::Scenario;

/// What goes wrong, in percent.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Of the turns: before they are recorded, and after.
    pub crash: u64,
    /// Of the answers: errors.
    pub fail: u64,
    /// Of the answers: never given.
    pub lose: u64,
    /// Of the answers: given again.
    pub repeat: u64,
    /// Of the workers: silent for now.
    pub hang: u64,
    /// Of the turns: the disk takes a while.
    pub slow: u64,
    /// Of what is asked of the object store.
    pub store: u64,
    /// Of the steps: somebody stops an execution.
    pub stop: u64,
}

/// What a caller has to say.
#[derive(Debug, Clone)]
pub enum Said {
    /// A service was called and answers so.
    Service { execution: ExecutionId, task: TaskId, result: Result<Value, ServiceError> },
    /// Whoever has the token answers.
    Token { token: String },
}

/// A reader of a map run.
struct Reading {
    redrive_count: u32,
    position: Position,
    is_wanted: bool,
}

#[derive(Debug, Default, Clone, Copy)]
pub struct Tally {
    pub crashes: u64,
    pub stops: u64,
    pub redrives: u64,
    pub by_token: u64,
    pub succeeded: u64,
}

pub struct World {
    pub random: Random,
    pub faults: Faults,
    pub journal: MemoryJournal,
    pub core: Core,
    pub now: Timestamp,
    pub revisions: Vec<Arc<Revision>>,
    pub roots: Vec<ExecutionId>,
    pub invoked: BTreeMap<(ExecutionId, TaskId), (String, Value)>,
    pub calls: BTreeMap<(ExecutionId, TaskId), ServiceCall>,
    pub timers: BTreeSet<(Timestamp, ExecutionId, TimerId)>,
    /// The most children of one map run that may run at once.
    pub concurrency_max: Option<u64>,
    /// From a certain redrive on, nothing goes wrong with functions and stores any more, so that all can end.
    pub is_repaired: bool,
    /// The object that items are read from, and its version.
    pub object: Vec<Value>,
    pub object_etag: String,
    answered: Vec<(ExecutionId, TaskId, String, Value)>,
    reading: BTreeMap<MapRunRow, Reading>,
    /// What readers sent that are not there any more.
    stale: Vec<(MapRunRow, u32)>,
    writing: BTreeSet<(MapRunRow, u32)>,
    written: Vec<(MapRunRow, u32)>,
    advancing: Vec<MapRunRow>,
    tokens: Vec<String>,
    said: Vec<Said>,
    polls: u64,
    polling: BTreeSet<u64>,
    taken: BTreeMap<String, u32>,
    handed: BTreeMap<(ExecutionId, TaskId), u32>,
    pub tally: Tally,
}

pub const ACTIVITY: &str = "arn:aws:states:us-east-1:000000000000:activity:label";

impl World {
    pub fn new(mut random: Random, faults: Faults, machines: &[(&str, String)]) -> Self {
        let naming = Naming::default();
        let revisions: Vec<_> = (1..)
            .zip(machines)
            .map(|(row, (name, definition))| {
                let (arn, role, kind) = (naming.state_machine(name), naming.role(), MachineKind::Standard);
                let (name, text) = ((*name).to_owned(), definition.clone());
                let revision =
                    Revision::new(RevisionRow(row), arn, name, kind, None, text, role, json!({}), Timestamp(0));
                assert!(revision.machine().is_ok(), "{:?}", revision.machine());
                Arc::new(revision)
            })
            .collect();
        let mut journal = MemoryJournal::default();
        let mut turn = Turn::default();
        let resources = revisions.iter().map(|revision| Write::Resource(Change::Revision(Arc::clone(revision))));
        turn.batch.writes.extend(resources);
        journal.append(&turn.batch).unwrap();
        let core = core(&journal);
        random.next();
        Self {
            random,
            faults,
            journal,
            core,
            now: Timestamp(1_000_000),
            revisions,
            roots: Vec::new(),
            invoked: BTreeMap::new(),
            calls: BTreeMap::new(),
            timers: BTreeSet::new(),
            concurrency_max: None,
            is_repaired: false,
            object: Vec::new(),
            object_etag: "v1".to_owned(),
            answered: Vec::new(),
            reading: BTreeMap::new(),
            stale: Vec::new(),
            writing: BTreeSet::new(),
            written: Vec::new(),
            advancing: Vec::new(),
            tokens: Vec::new(),
            said: Vec::new(),
            polls: 0,
            polling: BTreeSet::new(),
            taken: BTreeMap::new(),
            handed: BTreeMap::new(),
            tally: Tally::default(),
        }
    }

    pub fn record(&self, id: ExecutionId) -> ExecutionRecord {
        self.journal.execution(id).unwrap().unwrap()
    }

    pub fn status(&self, id: ExecutionId) -> Status {
        self.record(id).status
    }

    /// Whether something fails now that may.
    fn fails(&mut self) -> bool {
        !self.is_repaired && self.random.chance(self.faults.fail)
    }

    fn store_fails(&mut self) -> bool {
        !self.is_repaired && self.random.chance(self.faults.store)
    }

    /// Starts an execution, as often as it takes for the start to be recorded.
    pub fn start(&mut self, machine: usize, name: String, input: Value) -> ExecutionId {
        loop {
            let new = self.new_execution(machine, name.clone(), input.clone());
            let mut turn = Turn::default();
            let id = self.core.take_in(self.now, Input::Start(Box::new(new)), &mut turn).unwrap();
            if self.commit(turn) {
                self.roots.push(id);
                return id;
            }
        }
    }

    fn new_execution(&self, machine: usize, name: String, input: Value) -> NewExecution {
        NewExecution {
            revision: Arc::clone(&self.revisions[machine]),
            version_arn: None,
            alias_arn: None,
            trace_header: None,
            name,
            input,
            annotations: Value::Null,
        }
    }

    /// Stops an execution: after it nothing of it may be left, if the stop was recorded.
    pub fn stop(&mut self, execution: ExecutionId) {
        self.tally.stops += 1;
        if self.turn(vec![Input::Stop { execution, error: None, cause: None }]) {
            assert_ne!(self.status(execution), Status::Running, "{STOP_1}: execution {execution}");
            check_nothing_is_left(self, execution, STOP_1);
        }
    }

    /// Redrives an execution that ended without success; says whether that was recorded.
    pub fn redrive(&mut self, execution: ExecutionId) -> bool {
        let record = self.record(execution);
        assert_eq!(not_redrivable(&record, self.now), None, "{REDRIVE_2}");
        let mut turn = Turn::default();
        let redriven = self.core.redrive(self.now, &record, None, &mut turn).unwrap();
        assert!(redriven, "{REDRIVE_2}: execution {execution}");
        let is_recorded = self.commit(turn);
        self.tally.redrives += u64::from(is_recorded);
        is_recorded
    }

    pub fn turn(&mut self, inputs: Vec<Input>) -> bool {
        let mut turn = Turn::default();
        for input in inputs {
            self.core.take_in(self.now, input, &mut turn);
        }
        self.commit(turn)
    }

    /// Makes a turn durable and acts on it, or crashes before or after it is recorded. Says whether it was recorded.
    fn commit(&mut self, mut turn: Turn) -> bool {
        self.core.finish_turn(&mut turn);
        if self.random.chance(self.faults.slow) {
            let ms = self.random.below(5_000) as i64;
            self.now = Timestamp(self.now.0 + ms);
        }
        if self.random.chance(self.faults.crash) {
            // The disk was full, or we were gone before: the driver stops for good, and nothing has happened.
            self.crash();
            return false;
        }
        self.journal.append(&turn.batch).unwrap();
        match self.random.chance(self.faults.crash) {
            true => self.crash(),
            false => self.carry_out(turn),
        }
        check_turn(self);
        true
    }

    fn crash(&mut self) {
        loop {
            self.tally.crashes += 1;
            self.invoked.clear();
            self.calls.clear();
            self.timers.clear();
            self.reading.clear();
            self.stale.clear();
            self.writing.clear();
            self.written.clear();
            self.advancing.clear();
            self.polling.clear();
            // Answers from before the crash may still arrive: whoever gives them did not die with us.
            self.core = core(&self.journal);
            let filter = ExecutionFilter { status: Some(Status::Running), ..ExecutionFilter::everyone() };
            let mut turn = Turn::default();
            for execution in self.journal.executions(&filter, None, usize::MAX).unwrap() {
                if !self.core.is_live(execution.id) {
                    self.core.recover(self.now, execution.id, &mut turn).unwrap();
                }
            }
            self.core.finish_turn(&mut turn);
            if self.random.chance(self.faults.crash) {
                continue;
            }
            self.journal.append(&turn.batch).unwrap();
            if !self.random.chance(self.faults.crash) {
                return self.carry_out(turn);
            }
        }
    }

    fn carry_out(&mut self, turn: Turn) {
        let mut asked = Vec::new();
        for effect in turn.effects {
            match effect {
                Effect::Invoke { execution, task, function, payload, .. } => {
                    asked.push((execution, task));
                    let payload = serde_json::from_slice(&payload).unwrap();
                    let again = self.invoked.insert((execution, task), (function, payload));
                    assert!(again.is_none(), "{RUN_2}: task {} of execution {execution}", task.0);
                }
                Effect::CancelInvoke { execution, task } => drop(self.invoked.remove(&(execution, task))),
                Effect::Call { execution, task, call } => {
                    asked.push((execution, task));
                    let again = self.calls.insert((execution, task), *call);
                    assert!(again.is_none(), "{RUN_2}: task {} of execution {execution}", task.0);
                }
                Effect::CancelCall { execution, task } => drop(self.calls.remove(&(execution, task))),
                Effect::HandOut { poll, handed } => self.hand_out(poll, *handed),
                Effect::ArmTimer { execution, timer, due } => drop(self.timers.insert((due, execution, timer))),
                Effect::DisarmTimer { execution, timer } => {
                    self.timers.retain(|(_, id, number)| (*id, *number) != (execution, timer));
                }
                Effect::ReadItems { map_run, redrive_count, from, .. } => {
                    let has_etag = from.etag.is_some();
                    assert!(from.skip == 0 || has_etag, "{READ_1}: {} items of nobody knows what", from.skip);
                    let reading = Reading { redrive_count, position: from, is_wanted: true };
                    let again = self.reading.insert(map_run, reading);
                    assert!(again.is_none(), "{READ_1}: two readers");
                }
                Effect::MoreItems { map_run } => {
                    // A reader whose object is gone may be gone, too.
                    if let Some(reading) = self.reading.get_mut(&map_run) {
                        assert!(!std::mem::replace(&mut reading.is_wanted, true), "{READ_1}: asked for twice");
                    }
                }
                Effect::StopReading { map_run } => {
                    let reading = self.reading.remove(&map_run);
                    self.stale.extend(reading.map(|reading| (map_run, reading.redrive_count)));
                }
                Effect::WriteResults { map_run, job } => {
                    for child in self.journal.children(map_run).unwrap() {
                        assert_ne!(child.status, Status::Running, "{WRITE_1}: child {}", child.item_index);
                    }
                    let pending = self.journal.map_run(map_run).unwrap().unwrap().details.counts.children.pending;
                    // After a crash, what a reader had sent is not at hand any more.
                    let is_known = self.tally.crashes == 0;
                    let told = job.pending.len() as u64;
                    assert!(!is_known || told == pending, "{WRITE_1}: {told} of {pending} children are pending");
                    assert!(self.writing.insert((map_run, job.redrive_count)), "{WRITE_1}: written twice");
                }
                Effect::Advance { map_run } => self.advancing.push(map_run),
                Effect::Ended { .. } => {}
            }
        }
        // What is asked for and taken back in one turn is nobody's.
        for (execution, task) in asked {
            if self.invoked.contains_key(&(execution, task)) || self.calls.contains_key(&(execution, task)) {
                check_asked(self, execution, task);
            }
        }
    }

    fn hand_out(&mut self, poll: u64, handed: HandedOut) {
        let is_there = self.polling.remove(&poll);
        if !is_there || self.random.chance(self.faults.lose) {
            // The worker has gone away before it got the task.
            let mut turn = Turn::default();
            self.core.take_in(self.now, Input::HandedBack { handed: Box::new(handed) }, &mut turn);
            self.journal.append(&turn.batch).unwrap();
            return self.carry_out(turn);
        }
        let count = self.handed.entry((handed.execution, handed.task)).or_default();
        *count += 1;
        assert_eq!(*count, 1, "{ACTIVITY_1}");
        self.tokens.push(handed.token);
    }
}

/// What can happen next.
#[derive(Clone, Copy)]
enum Kind {
    Functions,
    Service,
    Said,
    Store,
    Worker,
    Time,
}

// What happens.
impl World {
    /// One thing that can happen now does.
    pub fn step(&mut self, scenario: &mut dyn Scenario) {
        if !self.advancing.is_empty() {
            let advancing = std::mem::take(&mut self.advancing);
            self.turn(advancing.into_iter().map(|map_run| Input::Advance { map_run }).collect());
            return;
        }
        let has_store = !self.reading.is_empty() || !self.writing.is_empty() || !self.stale.is_empty();
        let kinds = [
            (Kind::Functions, if self.invoked.is_empty() { 0 } else { 4 }),
            (Kind::Service, if self.calls.is_empty() { 0 } else { 2 }),
            (Kind::Said, if self.said.is_empty() { 0 } else { 2 }),
            (Kind::Store, if has_store { 2 } else { 0 }),
            (Kind::Worker, u64::from(scenario.has_activities())),
            (Kind::Time, 1),
        ];
        let mut chosen = self.random.below(kinds.iter().map(|(_, weight)| weight).sum());
        for (kind, weight) in kinds {
            if chosen < weight {
                return match kind {
                    Kind::Functions => self.functions_answer(scenario),
                    Kind::Service => self.serve(scenario),
                    Kind::Said => self.hear(),
                    Kind::Store => self.store_answers(),
                    Kind::Worker => self.poll(),
                    Kind::Time => self.time_passes(),
                };
            }
            chosen -= weight;
        }
    }

    /// Several functions answer in one turn, or one answers again.
    fn functions_answer(&mut self, scenario: &mut dyn Scenario) {
        let mut inputs = Vec::new();
        for _ in 0..=self.random.below(3) {
            let calls: Vec<_> = self.invoked.keys().copied().collect();
            let chosen = self.random.index(calls.len() + 1);
            if let Some(&(execution, task)) = calls.get(chosen) {
                if self.random.chance(self.faults.hang) {
                    continue;
                }
                let (function, payload) = self.invoked.remove(&(execution, task)).unwrap();
                if self.random.chance(50) {
                    inputs.push(Input::TaskStarted { execution, task });
                }
                let outcome = self.outcome(scenario, &function, &payload);
                self.answered.push((execution, task, function, payload));
                inputs.push(Input::TaskEnded { execution, task, outcome });
            } else if self.random.chance(self.faults.repeat) && !self.answered.is_empty() {
                let index = self.random.index(self.answered.len());
                let (execution, task, function, payload) = self.answered[index].clone();
                // Whoever gives the answer is done, even if it had been asked again after a crash.
                self.invoked.remove(&(execution, task));
                let outcome = self.outcome(scenario, &function, &payload);
                inputs.push(Input::TaskEnded { execution, task, outcome });
            }
        }
        if !inputs.is_empty() {
            self.turn(inputs);
        }
    }

    fn outcome(&mut self, scenario: &mut dyn Scenario, function: &str, payload: &Value) -> Outcome {
        let answer = if self.fails() { Err("Flaky") } else { scenario.answer(function, payload, self.is_repaired) };
        let result = answer.map(|output| output.to_string().into_bytes()).map_err(|error| InvokeError::Function {
            function: function.to_owned(),
            error_type: error.to_owned(),
            message: "as the seed has it".to_owned(),
            payload: json!({ "errorType": error, "errorMessage": "as the seed has it" }).to_string(),
        });
        Outcome { result, report: None }
    }

    /// A service does what it was called for; its answer is on the way then, or lost.
    fn serve(&mut self, scenario: &mut dyn Scenario) {
        let calls: Vec<_> = self.calls.keys().copied().collect();
        if calls.is_empty() {
            return;
        }
        let (execution, task) = calls[self.random.index(calls.len())];
        let Some(call) = self.calls.remove(&(execution, task)) else { return };
        let result = match call.action.as_str() {
            _ if self.fails() => {
                Err(ServiceError { error: "Flaky".to_owned(), cause: "as the seed has it".to_owned() })
            }
            "startExecution" => {
                let arn = Naming::default().execution("child", &call.request_id);
                if self.journal.execution_by_arn(&arn).unwrap().is_none() {
                    let new = self.new_execution(1, call.request_id.clone(), call.arguments["Input"].clone());
                    if !self.turn(vec![Input::Start(Box::new(new))]) {
                        // It was not recorded, so it was not acknowledged; whoever called asks again.
                        return;
                    }
                }
                Ok(json!({ "ExecutionArn": arn }))
            }
            "sendMessage" => {
                self.tokens.push(call.arguments["token"].as_str().unwrap().to_owned());
                Ok(json!({ "MessageId": "m" }))
            }
            action => Ok(json!({ "did": action })),
        };
        if scenario.is_heard_surely(&call.action) || !self.random.chance(self.faults.lose) {
            self.said.push(Said::Service { execution, task, result });
        }
    }

    /// One of the answers on the way arrives, in any order, and sometimes again.
    fn hear(&mut self) {
        if self.said.is_empty() {
            return;
        }
        let index = self.random.index(self.said.len());
        let said = match self.random.chance(self.faults.repeat) {
            true => self.said[index].clone(),
            false => self.said.swap_remove(index),
        };
        match said {
            Said::Service { execution, task, result } => {
                self.calls.remove(&(execution, task));
                let arn = result.as_ref().ok().and_then(|answer| answer["ExecutionArn"].as_str());
                let child = arn.and_then(|arn| self.journal.execution_by_arn(arn).unwrap());
                let ended = child.filter(|record| record.status != Status::Running).map(Box::new);
                self.turn(vec![Input::ServiceAnswered { execution, task, result, ended }]);
            }
            Said::Token { token } => self.answer_token(token),
        }
    }

    fn answer_token(&mut self, token: String) {
        let answer = match (self.random.below(10), self.fails()) {
            (0, _) => TokenAnswer::Heartbeat,
            (_, true) => TokenAnswer::Failed { error: "Flaky".to_owned(), cause: String::new() },
            _ => TokenAnswer::Succeeded { output: json!("by token") },
        };
        let is_end = answer != TokenAnswer::Heartbeat;
        let parsed = TaskToken::parse(&token).unwrap();
        let mut turn = Turn::default();
        match self.core.answer_token(self.now, &parsed, answer, &mut turn) {
            Ok(()) => {
                if self.commit(turn) && is_end {
                    let count = self.taken.entry(token).or_default();
                    *count += 1;
                    assert_eq!(*count, 1, "{TOKEN_1}");
                    self.tally.by_token += 1;
                } else {
                    self.said.push(Said::Token { token });
                }
            }
            Err(refusal) => {
                assert_ne!(refusal, TokenRefusal::Invalid, "{TOKEN_1}: it is a token of ours");
                let is_nothing = turn.batch.writes.is_empty() && turn.effects.is_empty();
                assert!(is_nothing, "{TOKEN_1}: what is refused does nothing");
            }
        }
        // A stranger's token is told from ours.
        let forged = TaskToken { secret: parsed.secret ^ 1, ..parsed };
        let refused = self.core.answer_token(self.now, &forged, TokenAnswer::Heartbeat, &mut Turn::default());
        assert!(refused.is_err(), "{TOKEN_1}: a token can't be guessed");
    }

    /// A worker asks for a task, and whoever has a token makes up its mind.
    fn poll(&mut self) {
        if !self.tokens.is_empty() {
            let index = self.random.index(self.tokens.len());
            let token = self.tokens.swap_remove(index);
            self.said.push(Said::Token { token });
        }
        self.polls += 1;
        let poll = self.polls;
        self.polling.insert(poll);
        let (activity, worker) = (ACTIVITY.to_owned(), Some("w".to_owned()));
        self.turn(vec![Input::ActivityPolled { activity, poll, worker }]);
        if self.random.chance(self.faults.lose) && self.polling.remove(&poll) {
            self.turn(vec![Input::PollEnded { activity: ACTIVITY.to_owned(), poll }]);
        }
    }

    /// A chunk of items is there, or results are written; both fail where the store does. What came too late for an
    /// earlier reader or writer comes all the same.
    fn store_answers(&mut self) {
        let wanted: Vec<_> =
            self.reading.iter().filter(|(_, reading)| reading.is_wanted).map(|(row, _)| *row).collect();
        if !self.stale.is_empty() && self.random.chance(30) {
            let (map_run, redrive_count) = self.stale.swap_remove(0);
            let chunk = Chunk { items: vec![json!("late")], is_last: true, etag: Some("late".to_owned()) };
            self.turn(vec![Input::ItemsRead { map_run, redrive_count, read: Ok(chunk) }]);
        } else if !self.written.is_empty() && self.random.chance(10) {
            let (map_run, redrive_count) = self.written.swap_remove(0);
            self.turn(vec![Input::ResultsWritten { map_run, redrive_count, written: Ok(json!("late")) }]);
        } else if !wanted.is_empty() && (self.writing.is_empty() || self.random.chance(50)) {
            let map_run = wanted[self.random.index(wanted.len())];
            let input = self.read(map_run);
            self.turn(vec![input]);
        } else if let Some((map_run, redrive_count)) = self.writing.pop_first() {
            let written = match self.store_fails() {
                true => Err(failed_store("States.ResultWriterFailed")),
                false => Ok(json!({ "written": redrive_count })),
            };
            self.written.push((map_run, redrive_count));
            self.turn(vec![Input::ResultsWritten { map_run, redrive_count, written }]);
        }
    }

    fn read(&mut self, map_run: MapRunRow) -> Input {
        let fails = self.store_fails();
        let reading = self.reading.get_mut(&map_run).unwrap();
        reading.is_wanted = false;
        let redrive_count = reading.redrive_count;
        let is_changed = reading.position.etag.as_ref().is_some_and(|etag| *etag != self.object_etag);
        if fails || is_changed {
            self.reading.remove(&map_run);
            return Input::ItemsRead { map_run, redrive_count, read: Err(failed_store("States.ItemReaderFailed")) };
        }
        let length = self.object.len() as u64;
        let begin = reading.position.skip.min(length);
        let end = (begin + 1 + self.random.below(9)).min(length);
        let items = self.object[begin as usize..end as usize].to_vec();
        reading.position = Position { skip: end, etag: Some(self.object_etag.clone()) };
        let is_last = end == length;
        if is_last {
            self.reading.remove(&map_run);
        }
        let chunk = Chunk { items, is_last, etag: Some(self.object_etag.clone()) };
        Input::ItemsRead { map_run, redrive_count, read: Ok(chunk) }
    }

    fn time_passes(&mut self) {
        if let Some((due, execution, timer)) = self.timers.pop_first() {
            self.now = self.now.max(due);
            self.turn(vec![Input::TimerFired { execution, timer }]);
        }
    }
}

fn core(journal: &MemoryJournal) -> Core {
    let mut core = Core::new(Naming::default(), Limits::default(), journal.reader()).unwrap();
    core.set_activity(ACTIVITY, true);
    core
}

fn failed_store(error: &str) -> Failed {
    Failed { error: error.to_owned(), cause: "503".to_owned() }
}
