//! Tasks inside the core: who carries one out, and whose answer ends it.
//!
//! | stage | the answer comes from |
//! |---|---|
//! | `Function` | the function ([`Input::TaskEnded`](super::Input::TaskEnded)) |
//! | `Service` | the service ([`Input::ServiceAnswered`](super::Input::ServiceAnswered)) |
//! | `Queued` | a worker that asks for the activity's tasks, later |
//! | `Awaited` | whoever has the token ([`Core::answer_token`]) |
//! | `Child` | the end of another execution |
//!
//! TOKEN-1: a task is ended by its token at most once, and by nothing else after that.
//! ACTIVITY-1: a task of an activity is given to one worker, unless that worker was gone before it got it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use serde_json::{Map, Value, json};
use starmap_asl::{Event, MapRunSpec, Pattern, Resource, TaskId, TaskInvocation, TaskToken, Timestamp};

use super::{Core, Effect, Live, Queue, Turn};
use crate::access::MapRunWish;
use crate::integration::{self, Call};
use crate::invoker::{self, Caller};
use crate::journal::{self, Ending, ExecutionId, ExecutionRecord, InvocationRow, Reader, Status, Write};
use crate::names::derived_uuid;
use crate::services::{ServiceCall, ServiceError};

/// What whoever holds a token says.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the fields say it")]
pub enum TokenAnswer {
    /// The task's result.
    Succeeded { output: Value },
    /// The task's error; both may be empty.
    Failed { error: String, cause: String },
    /// The task lives.
    Heartbeat,
}

/// Why an answer by token is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenRefusal {
    /// It is not the token of the task that it names.
    Invalid,
    /// The task has ended, by an answer, by its time limit, or with its execution.
    TaskEnded,
    /// The execution is not in memory: it has ended, or never was.
    NotLive,
}

/// One attempt of a task that has not been answered.
#[derive(Debug)]
pub(super) struct Attempt {
    token: Option<String>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Function { function: String, enveloped: bool, started: bool, then_waits: bool },
    Service { pattern: Pattern },
    Queued { activity: String },
    Awaited,
    Child { execution: ExecutionId },
}

/// Activities: which there are, whose tasks wait for a worker and which workers wait for a task.
#[derive(Debug, Default)]
pub(super) struct Activities {
    known: HashSet<String>,
    tasks: HashMap<String, VecDeque<Waiting>>,
    polls: HashMap<String, VecDeque<Poll>>,
}

#[derive(Debug)]
struct Waiting {
    execution: ExecutionId,
    task: TaskId,
    token: String,
    input: Value,
}

#[derive(Debug)]
struct Poll {
    number: u64,
    worker: Option<String>,
}

/// Who waits for the end of an execution: the task of another one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Watcher {
    execution: ExecutionId,
    task: TaskId,
    pattern: Pattern,
}

/// What the journal says of an execution's tasks: which were accepted by their service, with its answer, and which
/// were taken by a worker.
#[derive(Debug, Default)]
pub(super) struct Recorded {
    submitted: HashMap<TaskId, Value>,
    started: HashSet<TaskId>,
}

impl Recorded {
    pub(super) fn note(&mut self, event: &Event) {
        match event {
            Event::TaskSubmitted { task, output } => drop(self.submitted.insert(*task, output.clone())),
            Event::TaskStarted { task } | Event::ActivityStarted { task, .. } => drop(self.started.insert(*task)),
            _ => {}
        }
    }
}

impl Live {
    pub(super) fn arn(&self) -> &str {
        &self.execution.context().execution_id
    }

    pub(super) fn name(&self) -> &str {
        &self.execution.context().execution_name
    }

    pub(super) fn role_arn(&self) -> &str {
        &self.execution.context().role_arn
    }

    /// What a map run of its is about to do.
    pub(super) fn wish<'a>(&'a self, spec: &'a MapRunSpec, is_redrive: bool) -> MapRunWish<'a> {
        MapRunWish {
            execution_arn: self.arn(),
            role_arn: self.role_arn(),
            state_machine_arn: &self.revision.state_machine_arn,
            is_redrive,
            spec,
        }
    }

    /// How many attempts a worker has at this moment.
    pub(super) fn has_worker(&self) -> bool {
        self.attempts.values().any(|attempt| matches!(attempt.stage, Stage::Function { started: true, .. }))
    }
}

// Asking for a task.
impl Core {
    /// `recorded` is what is known of the task from before a crash.
    pub(super) fn begin_task(
        &mut self,
        id: ExecutionId,
        invocation: TaskInvocation,
        recorded: Option<&Recorded>,
        turn: &mut Turn,
        queue: &mut Queue,
    ) {
        let TaskInvocation { task, resource, arguments, token, role_arn, .. } = invocation;
        let submitted = recorded.and_then(|recorded| recorded.submitted.get(&task));
        let is_started = recorded.is_some_and(|recorded| recorded.started.contains(&task));
        let Some(live) = self.executions.get_mut(&id) else { return };
        match &resource {
            Resource::Activity { arn } if is_started => {
                tracing::debug!(execution = id.0, activity = &**arn, "a worker has the task already");
                live.attempts.insert(task, Attempt { token, stage: Stage::Awaited });
            }
            Resource::Activity { arn } => {
                if recorded.is_none() && !self.activities.known.contains(&**arn) {
                    let cause = format!("The activity {arn} does not exist.");
                    queue.push_back((id, Event::TaskRefused { task, cause }));
                    return;
                }
                if recorded.is_none() {
                    queue.push_back((id, Event::TaskScheduled { task }));
                }
                let stage = Stage::Queued { activity: arn.to_string() };
                let waiting = Waiting {
                    execution: id,
                    task,
                    token: token.clone().unwrap_or_default(),
                    input: Arc::unwrap_or_clone(arguments),
                };
                live.attempts.insert(task, Attempt { token, stage });
                self.activities.tasks.entry(arn.to_string()).or_default().push_back(waiting);
                self.hand_out(arn, turn, queue);
            }
            Resource::Service { pattern: Pattern::WaitForTaskToken, .. } if submitted.is_some() => {
                live.attempts.insert(task, Attempt { token, stage: Stage::Awaited });
            }
            Resource::Service { pattern: pattern @ (Pattern::Sync | Pattern::Sync2), .. } if submitted.is_some() => {
                let arn = submitted.and_then(execution_arn).unwrap_or_default().to_owned();
                live.attempts.insert(task, Attempt { token, stage: Stage::Awaited });
                self.unwatched.push((Watcher { execution: id, task, pattern: *pattern }, arn));
            }
            Resource::Service { service, action, pattern, .. } if !resource.is_lambda_invoke() => {
                let (service, is_sdk) = match service.strip_prefix("aws-sdk:") {
                    Some(service) => (service, true),
                    None => (&**service, false),
                };
                let call = ServiceCall {
                    service: service.to_owned(),
                    action: action.to_string(),
                    is_sdk,
                    pattern: *pattern,
                    arguments: Arc::unwrap_or_clone(arguments),
                    request_id: derived_uuid(&[live.arn(), "task", &task.0.to_string()]),
                    execution_arn: live.arn().to_owned(),
                    role_arn: role_arn.unwrap_or_else(|| live.role_arn().to_owned()),
                };
                live.attempts.insert(task, Attempt { token, stage: Stage::Service { pattern: *pattern } });
                if !is_started {
                    queue.push_back((id, Event::TaskStarted { task }));
                }
                turn.effects.push(Effect::Call { execution: id, task, call: Box::new(call) });
            }
            _ => match integration::call(&resource, &arguments) {
                Ok(Call { function, payload, enveloped }) => {
                    let caller = Box::new(Caller {
                        execution_arn: live.arn().to_owned(),
                        role_arn: role_arn.unwrap_or_else(|| live.role_arn().to_owned()),
                        is_direct: matches!(resource, Resource::Function { .. }),
                    });
                    let then_waits = matches!(resource, Resource::Service { pattern: Pattern::WaitForTaskToken, .. });
                    let named = function.clone();
                    let stage = Stage::Function { function, enveloped, started: false, then_waits };
                    live.attempts.insert(task, Attempt { token, stage });
                    let payload = payload.to_string().into_bytes();
                    turn.effects.push(Effect::Invoke { execution: id, task, function: named, payload, caller });
                }
                Err(refused) => {
                    let error = refused.error.to_owned();
                    queue.push_back((id, Event::TaskFailed { task, error, cause: refused.cause }));
                }
            },
        }
    }

    /// The answer of a task is no longer wanted.
    pub(super) fn cancel_task(&mut self, id: ExecutionId, task: TaskId, turn: &mut Turn, queue: &mut Queue) {
        let attempt = self.executions.get_mut(&id).and_then(|live| live.attempts.remove(&task));
        if let Some(attempt) = attempt {
            self.give_up(id, task, attempt, turn, queue);
        }
    }

    /// Gives up all tasks of an execution that is gone.
    pub(super) fn give_up_all(&mut self, id: ExecutionId, live: &mut Live, turn: &mut Turn, queue: &mut Queue) {
        let mut attempts: Vec<_> = live.attempts.drain().collect();
        attempts.sort_by_key(|(task, _)| *task);
        for (task, attempt) in attempts {
            self.give_up(id, task, attempt, turn, queue);
        }
    }

    fn give_up(&mut self, id: ExecutionId, task: TaskId, attempt: Attempt, turn: &mut Turn, queue: &mut Queue) {
        match attempt.stage {
            Stage::Function { .. } => turn.effects.push(Effect::CancelInvoke { execution: id, task }),
            Stage::Service { .. } => turn.effects.push(Effect::CancelCall { execution: id, task }),
            Stage::Queued { activity } => {
                if let Some(tasks) = self.activities.tasks.get_mut(&activity) {
                    tasks.retain(|waiting| (waiting.execution, waiting.task) != (id, task));
                }
            }
            Stage::Awaited => {}
            Stage::Child { execution } => {
                self.stop_watching(execution, id, task);
                // AWS stops what a `.sync` task started when the task is given up.
                queue.push_back((execution, Event::StopRequested { error: None, cause: None }));
            }
        }
    }
}

// Answers.
impl Core {
    fn stop_watching(&mut self, watched: ExecutionId, id: ExecutionId, task: TaskId) {
        if let Some(watchers) = self.watchers.get_mut(&watched) {
            watchers.retain(|watcher| (watcher.execution, watcher.task) != (id, task));
            if watchers.is_empty() {
                self.watchers.remove(&watched);
            }
        }
    }

    pub(super) fn function_started(&mut self, id: ExecutionId, task: TaskId) -> Option<Event> {
        let attempt = self.executions.get_mut(&id)?.attempts.get_mut(&task)?;
        let Stage::Function { started, .. } = &mut attempt.stage else { return None };
        *started = true;
        Some(Event::TaskStarted { task })
    }

    pub(super) fn function_ended(
        &mut self,
        at: Timestamp,
        id: ExecutionId,
        task: TaskId,
        outcome: invoker::Outcome,
        turn: &mut Turn,
    ) -> Option<Event> {
        let live = self.executions.get_mut(&id)?;
        let attempt = live.attempts.get_mut(&task)?;
        let Stage::Function { function, enveloped, then_waits, .. } = &attempt.stage else { return None };
        let answer = match &outcome.result {
            Ok(answer) => integration::answer(*enveloped, function, answer, at, outcome.report.as_ref())
                .map_err(|refused| (refused.error.to_owned(), refused.cause)),
            Err(error) => Err((error.error_name().to_owned(), error.cause())),
        };
        let then_waits = *then_waits;
        if let Some(report) = outcome.report {
            turn.batch.writes.push(Write::Invocation(Box::new(InvocationRow {
                execution: id,
                task: task.0,
                function: report.function,
                request_id: report.request_id,
                log_stream: report.log_stream,
                duration_ms: report.duration_ms,
                billed_ms: report.billed_ms,
                memory_mib: report.memory_mib,
                max_memory_used_mib: report.max_memory_used_mib,
                init_ms: report.init_ms,
                error: outcome.result.as_ref().err().map(|error| error.error_name().to_owned()),
                at,
            })));
        }
        Some(self.answered(id, task, answer, then_waits.then_some(Stage::Awaited), then_waits))
    }

    /// `ended` is the execution that a `.sync` call started, if it has ended already.
    pub(super) fn service_answered(
        &mut self,
        id: ExecutionId,
        task: TaskId,
        result: Result<Value, ServiceError>,
        ended: Option<&ExecutionRecord>,
    ) -> Vec<Event> {
        let attempt = self.executions.get(&id).and_then(|live| live.attempts.get(&task));
        let Some(Attempt { stage: Stage::Service { pattern }, .. }) = attempt else { return Vec::new() };
        let pattern = *pattern;
        let answer = result.map_err(|refused| (refused.error, refused.cause));
        match pattern {
            Pattern::RequestResponse => vec![self.answered(id, task, answer, None, false)],
            Pattern::WaitForTaskToken => vec![self.answered(id, task, answer, Some(Stage::Awaited), true)],
            Pattern::Sync | Pattern::Sync2 => {
                let watcher = Watcher { execution: id, task, pattern };
                let child = answer.as_ref().ok().and_then(execution_arn).and_then(|arn| self.by_arn.get(arn)).copied();
                match (child, ended) {
                    (Some(execution), _) => {
                        self.watchers.entry(execution).or_default().push(watcher);
                        vec![self.answered(id, task, answer, Some(Stage::Child { execution }), true)]
                    }
                    (None, Some(ended)) => {
                        let submitted = self.answered(id, task, answer, Some(Stage::Awaited), true);
                        vec![submitted, self.child_ended(watcher, &Ended::of_record(ended))]
                    }
                    // A job that nobody here can follow: whoever has the token ends it.
                    (None, None) => vec![self.answered(id, task, answer, Some(Stage::Awaited), true)],
                }
            }
        }
    }

    /// The answer to the call itself: the task's end, or that it was submitted and is `next` now.
    fn answered(
        &mut self,
        id: ExecutionId,
        task: TaskId,
        answer: Result<Value, (String, String)>,
        next: Option<Stage>,
        is_submission: bool,
    ) -> Event {
        let attempts = self.executions.get_mut(&id).map(|live| &mut live.attempts);
        match (answer, next, attempts) {
            (Ok(output), Some(next), Some(attempts)) => {
                if let Some(attempt) = attempts.get_mut(&task) {
                    attempt.stage = next;
                }
                Event::TaskSubmitted { task, output }
            }
            (answer, _, attempts) => {
                if let Some(attempts) = attempts {
                    attempts.remove(&task);
                }
                match answer {
                    Ok(output) => Event::TaskSucceeded { task, output: output.into() },
                    Err((error, cause)) if is_submission => Event::TaskSubmitFailed { task, error, cause },
                    Err((error, cause)) => Event::TaskFailed { task, error, cause },
                }
            }
        }
    }

    /// Takes an answer by token.
    ///
    /// # Errors
    /// [`TokenRefusal`]; nothing has happened then.
    pub fn answer_token(
        &mut self,
        at: Timestamp,
        token: &TaskToken,
        answer: TokenAnswer,
        turn: &mut Turn,
    ) -> Result<(), TokenRefusal> {
        let (id, task) = (ExecutionId(token.key), token.task);
        let live = self.executions.get_mut(&id).ok_or(TokenRefusal::NotLive)?;
        let attempt = live.attempts.get(&task).ok_or(TokenRefusal::TaskEnded)?;
        if attempt.token.as_deref() != Some(token.to_string().as_str()) {
            return Err(TokenRefusal::Invalid);
        }
        let mut queue = Queue::new();
        let event = match answer {
            TokenAnswer::Heartbeat => Event::TaskHeartbeat { task },
            TokenAnswer::Succeeded { output } => Event::TaskSucceeded { task, output: output.into() },
            TokenAnswer::Failed { error, cause } => Event::TaskFailed { task, error, cause },
        };
        if !matches!(event, Event::TaskHeartbeat { .. })
            && let Some(attempt) = live.attempts.remove(&task)
        {
            match attempt.stage {
                // A function that has said so by its token may finish what it does; nobody waits for its answer.
                Stage::Function { .. } => {}
                // So may an execution.
                Stage::Child { execution } => self.stop_watching(execution, id, task),
                _ => self.give_up(id, task, attempt, turn, &mut queue),
            }
        }
        queue.push_front((id, event));
        self.drain(at, queue, turn);
        Ok(())
    }
}

// Activities.
impl Core {
    /// Says whether an activity is there. Tasks of one that is gone wait until they time out, as on AWS.
    pub fn set_activity(&mut self, arn: &str, exists: bool) {
        match exists {
            true => drop(self.activities.known.insert(arn.to_owned())),
            false => drop(self.activities.known.remove(arn)),
        }
    }

    /// A worker asks for a task. It is answered by [`Effect::HandOut`] with this `poll`, now or later.
    pub(super) fn poll(
        &mut self,
        activity: &str,
        poll: u64,
        worker: Option<String>,
        turn: &mut Turn,
        queue: &mut Queue,
    ) {
        self.activities.polls.entry(activity.to_owned()).or_default().push_back(Poll { number: poll, worker });
        self.hand_out(activity, turn, queue);
    }

    /// The worker does not wait any more.
    pub(super) fn poll_ended(&mut self, activity: &str, poll: u64) {
        if let Some(polls) = self.activities.polls.get_mut(activity) {
            polls.retain(|waiting| waiting.number != poll);
            if polls.is_empty() {
                self.activities.polls.remove(activity);
            }
        }
    }

    /// The worker was gone before it got the task: it is the next one to be handed out.
    pub(super) fn hand_back(&mut self, handed: &HandedOut, turn: &mut Turn, queue: &mut Queue) {
        let (id, task) = (handed.execution, handed.task);
        let attempt = self.executions.get_mut(&id).and_then(|live| live.attempts.get_mut(&task));
        let Some(attempt) = attempt.filter(|attempt| matches!(attempt.stage, Stage::Awaited)) else { return };
        attempt.stage = Stage::Queued { activity: handed.activity.clone() };
        let waiting = Waiting { execution: id, task, token: handed.token.clone(), input: handed.input.clone() };
        self.activities.tasks.entry(handed.activity.clone()).or_default().push_front(waiting);
        self.hand_out(&handed.activity, turn, queue);
    }

    /// Brings tasks and workers together, the oldest of each first.
    fn hand_out(&mut self, activity: &str, turn: &mut Turn, queue: &mut Queue) {
        let Activities { tasks, polls, .. } = &mut self.activities;
        let (Some(tasks), Some(polls)) = (tasks.get_mut(activity), polls.get_mut(activity)) else { return };
        while !tasks.is_empty()
            && let Some(poll) = polls.pop_front()
            && let Some(waiting) = tasks.pop_front()
        {
            let Waiting { execution, task, token, input } = waiting;
            let attempt = self.executions.get_mut(&execution).and_then(|live| live.attempts.get_mut(&task));
            debug_assert!(attempt.is_some(), "ACTIVITY-1: a task that waits for a worker has not ended");
            if let Some(attempt) = attempt {
                attempt.stage = Stage::Awaited;
            }
            queue.push_back((execution, Event::ActivityStarted { task, worker: poll.worker }));
            let handed = HandedOut { execution, task, activity: activity.to_owned(), token, input };
            turn.effects.push(Effect::HandOut { poll: poll.number, handed: Box::new(handed) });
        }
    }
}

/// A task of an activity on its way to a worker.
#[derive(Debug, Clone, PartialEq)]
pub struct HandedOut {
    /// Whose task it is.
    pub execution: ExecutionId,
    /// Which attempt.
    pub task: TaskId,
    /// The activity's ARN.
    pub activity: String,
    /// What the worker answers with.
    pub token: String,
    /// The task's input.
    pub input: Value,
}

// Executions that wait for others.
impl Core {
    /// An execution has ended: tasks that waited for it are answered.
    pub(super) fn answer_watchers(&mut self, id: ExecutionId, ended: &Ended<'_>, queue: &mut Queue) {
        for watcher in self.watchers.remove(&id).unwrap_or_default() {
            let event = self.child_ended(watcher, ended);
            queue.push_back((watcher.execution, event));
        }
    }

    fn child_ended(&mut self, watcher: Watcher, ended: &Ended<'_>) -> Event {
        let Watcher { execution, task, pattern } = watcher;
        if let Some(live) = self.executions.get_mut(&execution) {
            live.attempts.remove(&task);
        }
        match ended.ending.status {
            Status::Succeeded => Event::TaskSucceeded { task, output: ended.description(pattern).into() },
            _ => {
                let cause = ended.description(Pattern::Sync).to_string();
                Event::TaskFailed { task, error: "States.TaskFailed".to_owned(), cause }
            }
        }
    }

    /// After a recovery: finds the executions that others wait for.
    pub(super) fn watch_again(
        &mut self,
        at: Timestamp,
        journal: &dyn Reader,
        turn: &mut Turn,
    ) -> Result<(), journal::Error> {
        while let Some((watcher, arn)) = self.unwatched.pop() {
            let Some(record) = journal.execution_by_arn(&arn)? else { continue };
            if record.status == Status::Running && !self.is_live(record.id) {
                self.recover(at, record.id, turn)?;
            }
            if self.is_live(record.id) {
                self.watchers.entry(record.id).or_default().push(watcher);
                let live = self.executions.get_mut(&watcher.execution);
                if let Some(attempt) = live.and_then(|live| live.attempts.get_mut(&watcher.task)) {
                    attempt.stage = Stage::Child { execution: record.id };
                }
                continue;
            }
            // It may have ended by being recovered.
            let ended = turn.effects.iter().find_map(|effect| match effect {
                Effect::Ended { execution, ending, .. } if *execution == record.id => Some(ending.clone()),
                _ => None,
            });
            let mut record = record;
            if let Some(ending) = ended {
                (record.status, record.output) = (ending.status, ending.output);
                (record.error, record.cause, record.stopped_at) = (ending.error, ending.cause, Some(at));
            }
            let event = self.child_ended(watcher, &Ended::of_record(&record));
            self.drain(at, Queue::from([(watcher.execution, event)]), turn);
        }
        Ok(())
    }
}

/// An execution that has ended, as a task that waited for it sees it.
pub(super) struct Ended<'a> {
    pub(super) arn: &'a str,
    pub(super) name: &'a str,
    pub(super) state_machine_arn: &'a str,
    pub(super) input: &'a Value,
    pub(super) started_at: Timestamp,
    pub(super) stopped_at: Timestamp,
    pub(super) ending: Arc<Ending>,
}

impl<'a> Ended<'a> {
    fn of_record(record: &'a ExecutionRecord) -> Self {
        Self {
            arn: &record.arn,
            name: &record.name,
            state_machine_arn: &record.state_machine_arn,
            input: &record.input,
            started_at: record.started_at,
            stopped_at: record.stopped_at.unwrap_or(record.started_at),
            ending: Arc::new(Ending {
                status: record.status,
                output: record.output.clone(),
                error: record.error.clone(),
                cause: record.cause.clone(),
            }),
        }
    }

    /// What AWS answers for a nested execution: `.sync` gives input and output as JSON texts, `.sync:2` as they are.
    fn description(&self, pattern: Pattern) -> Value {
        let payload = |value: &Value| match pattern {
            Pattern::Sync2 => value.clone(),
            _ => Value::String(value.to_string()),
        };
        let mut described = Map::new();
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                described.insert(name.to_owned(), value);
            }
        };
        let included = || json!({ "Included": true });
        put("Cause", self.ending.cause.clone().map(Value::String));
        put("Error", self.ending.error.clone().map(Value::String));
        put("ExecutionArn", Some(self.arn.into()));
        put("Input", Some(payload(self.input)));
        put("InputDetails", Some(included()));
        put("Name", Some(self.name.into()));
        put("Output", self.ending.output.as_ref().map(payload));
        put("OutputDetails", self.ending.output.is_some().then(included));
        put("StartDate", Some(self.started_at.0.into()));
        put("StateMachineArn", Some(self.state_machine_arn.into()));
        put("Status", Some(self.ending.status.as_str().into()));
        put("StopDate", Some(self.stopped_at.0.into()));
        Value::Object(described)
    }
}

/// The execution that a `startExecution` call has started, by its answer.
pub(crate) fn execution_arn(answer: &Value) -> Option<&str> {
    answer.get("ExecutionArn")?.as_str()
}
