//! The engine as callers see it: a handle to the driver's thread.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use starmap_asl::{Diagnostic, TaskInvocation, Timestamp};
use tokio::runtime::Handle;
use tokio::sync::{broadcast, oneshot};

use crate::access::Access;
use crate::clock::Clock;
use crate::core::{Core, MapRunProgress, MapRunUpdate, NewExecution, TokenAnswer};
use crate::driver::{Driver, Message, Reply, Start, Started};
use crate::invoker::Invoker;
use crate::journal::{self, Ending, ExecutionId, Journal, Reader, Status};
use crate::limits::{Limits, NOTICES_MAX};
use crate::names::{Naming, invalid_name};
use crate::objects::Objects;
use crate::once::Callee;
use crate::registry::{Change, MachineKind, Resources, Revision, StateMachineRecord};
use crate::services::Services;

/// Something that a progress display wants to know. May be lost by a slow listener; the journal is the truth.
#[derive(Debug, Clone)]
pub enum Notice {
    /// A worker took a task of this execution.
    TaskStarted {
        /// Which execution.
        execution: ExecutionId,
    },
    /// An execution ended.
    Ended {
        /// Which execution.
        execution: ExecutionId,
        /// For a child: the execution whose map run it belongs to, and which item it was.
        parent: Option<(ExecutionId, u64)>,
        /// How.
        ending: Box<Ending>,
    },
}

/// Why the engine did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The journal refused.
    #[error(transparent)]
    Journal(#[from] journal::Error),
    /// The engine has stopped.
    #[error("the engine has stopped: {reason}")]
    Stopped {
        /// Why.
        reason: String,
    },
    /// A name that AWS would not take.
    #[error("the name {name:?} {reason}")]
    InvalidName {
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The definition has errors.
    #[error("the definition of {name} is not valid:\n{}", listed(.diagnostics))]
    InvalidDefinition {
        /// Which state machine.
        name: String,
        /// All that was found.
        diagnostics: Vec<Diagnostic>,
    },
    /// Another definition has that name.
    #[error("a state machine named {name} with another definition is in the journal already")]
    StateMachineExists {
        /// Its name.
        name: String,
    },
    /// No such state machine.
    #[error("there is no state machine {name}")]
    NoStateMachine {
        /// As asked for.
        name: String,
    },
    /// An execution has that name.
    #[error("execution {arn} exists already\nhint: choose another name")]
    ExecutionExists {
        /// Its ARN.
        arn: String,
    },
    /// No such execution.
    #[error("there is no execution {execution} in this journal\nhint: `starmap executions list` shows those that are")]
    NoExecution {
        /// As asked for.
        execution: String,
    },
    /// No such map run.
    #[error("there is no map run {arn}")]
    NoMapRun {
        /// As asked for.
        arn: String,
    },
    /// Only a map run that runs can be changed.
    #[error("map run {arn} has ended")]
    MapRunHasEnded {
        /// Its ARN.
        arn: String,
    },
    /// A child can't be resumed by itself.
    #[error("{arn} is a child execution; resume the execution that it belongs to")]
    IsChild {
        /// Its ARN.
        arn: String,
    },
    /// Not one that can be redriven.
    #[error("execution {arn} can't be redriven: {reason}")]
    NotRedrivable {
        /// Its ARN.
        arn: String,
        /// In AWS's words.
        reason: String,
    },
    /// Not a task token at all, or not the one of its task.
    #[error("Invalid Token: 'Invalid token'")]
    InvalidToken,
    /// A token of no execution that is known here.
    #[error("Task Does Not Exist: 'Provided task does not exist'")]
    TaskDoesNotExist,
    /// The task has ended without this answer.
    #[error("Task Timed Out: 'Provided task does not exist anymore'")]
    TaskTimedOut,
    /// Only a running execution can be resumed.
    #[error("execution {arn} has ended ({})", .status.as_str())]
    HasEnded {
        /// Its ARN.
        arn: String,
        /// How.
        status: Status,
    },
}

fn listed(diagnostics: &[Diagnostic]) -> String {
    diagnostics.iter().map(|diagnostic| format!("  {diagnostic}")).collect::<Vec<_>>().join("\n")
}

/// What an engine is made of; everything that is not pure enters here.
pub struct Parts {
    /// Where decisions are kept.
    pub journal: Box<dyn Journal>,
    /// Who runs functions.
    pub invoker: Arc<dyn Invoker>,
    /// Where map runs read their items and write their results.
    pub objects: Arc<dyn Objects>,
    /// The other services that Tasks can call.
    pub services: Arc<dyn Services>,
    /// What map runs may do.
    pub access: Arc<dyn Access>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Where invocations wait for their answers.
    pub runtime: Handle,
    /// How ARNs are written.
    pub naming: Naming,
    /// How far things may go.
    pub limits: Limits,
}

/// A running engine. Dropping it stops it; what was recorded can be resumed.
pub struct Engine {
    sender: Sender<Message>,
    resources: Mutex<Resources>,
    naming: Naming,
    clock: Arc<dyn Clock>,
    reader: Arc<dyn Reader>,
    callee: Callee,
    last_poll: AtomicU64,
    notices: broadcast::Sender<Notice>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

impl Engine {
    /// Starts an engine on a journal. Nothing is resumed by itself: see [`Engine::resume`].
    ///
    /// # Errors
    /// [`Error::Journal`] if the journal can't be read.
    pub fn start(parts: Parts) -> Result<Self, Error> {
        let (sender, receiver) = channel();
        let (notices, _) = broadcast::channel(NOTICES_MAX);
        let reader = parts.journal.reader();
        let core = Core::new(parts.naming.clone(), parts.limits, Arc::clone(&reader))?;
        let mut core = core.with_access(parts.access);
        let resources = reader.resources()?;
        resources.activities().for_each(|activity| core.set_activity(&activity.arn, true));
        resources.deleting().for_each(|arn| core.set_deleting(arn, true));
        let resources = Mutex::new(resources);
        let clock = Arc::clone(&parts.clock);
        let (invoker, services) = (Arc::clone(&parts.invoker), Arc::clone(&parts.services));
        let callee = Callee { invoker, services, clock: Arc::clone(&clock) };
        let driver = Driver::new(
            core,
            parts.journal,
            parts.invoker,
            parts.objects,
            parts.services,
            parts.clock,
            parts.runtime,
            sender.clone(),
            notices.clone(),
        );
        let thread = std::thread::Builder::new().name("engine".to_owned()).spawn(move || driver.run(receiver));
        let thread = thread.map_err(|error| Error::Stopped { reason: format!("its thread did not start: {error}") })?;
        let (last_poll, thread) = (AtomicU64::new(0), Mutex::new(Some(thread)));
        Ok(Self { sender, resources, naming: parts.naming, clock, reader, callee, last_poll, notices, thread })
    }

    /// How ARNs are written.
    pub fn naming(&self) -> &Naming {
        &self.naming
    }

    /// Looks something up among the resources.
    pub fn resources<T>(&self, look: impl FnOnce(&Resources) -> T) -> T {
        look(&self.locked())
    }

    /// Decides on changes of the resources and makes them; once this returns they survive a crash.
    ///
    /// No other change is made while `decide` looks. What it answers comes back with the changes made, or as it is
    /// when it refuses.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub async fn change<T, E>(
        &self,
        decide: impl FnOnce(&Resources) -> Result<(T, Vec<Change>), E>,
    ) -> Result<Result<T, E>, Error> {
        let (answer, recorded) = {
            let mut resources = self.locked();
            let (answer, changes) = match decide(&resources) {
                Ok(decided) => decided,
                Err(refused) => return Ok(Err(refused)),
            };
            if changes.is_empty() {
                return Ok(Ok(answer));
            }
            let (reply, recorded) = oneshot::channel();
            // In the order in which they were decided: the lock is held until the driver has them in its queue.
            self.sender.send(Message::Change { changes: changes.clone(), reply }).map_err(|_| stopped())?;
            changes.into_iter().for_each(|change| resources.apply(change));
            (answer, recorded)
        };
        recorded.await.map_err(|_| stopped())??;
        Ok(Ok(answer))
    }

    fn locked(&self) -> MutexGuard<'_, Resources> {
        // A panic in `decide` changes nothing.
        self.resources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Creates a Standard state machine with a role of ours; the same name with the same definition is the same one.
    ///
    /// # Errors
    /// [`Error::InvalidDefinition`] with everything that is wrong, [`Error::StateMachineExists`].
    pub async fn create_state_machine(&self, name: &str, definition: &str) -> Result<String, Error> {
        if let Some(reason) = invalid_name(name) {
            return Err(Error::InvalidName { name: name.to_owned(), reason });
        }
        let arn = self.naming.state_machine(name);
        let (role, at) = (self.naming.role(), self.clock.now());
        let made = self.change(|resources| {
            let exists = || Error::StateMachineExists { name: name.to_owned() };
            if let Some(there) = resources.state_machine(&arn) {
                let same = resources.revision(there.revision).is_some_and(|there| there.definition == definition);
                return if same { Ok((arn.clone(), Vec::new())) } else { Err(exists()) };
            }
            let (row, kind) = (resources.next_revision(), MachineKind::Standard);
            let (of, named, definition) = (arn.clone(), name.to_owned(), definition.to_owned());
            let revision =
                Revision::new(row, of, named, kind, None, definition, role, Value::Object(Default::default()), at);
            if let Err(diagnostics) = revision.machine() {
                return Err(Error::InvalidDefinition { name: name.to_owned(), diagnostics: diagnostics.to_vec() });
            }
            let (created_at, updated_at, last_version) = (at, at, 0);
            let (of, named) = (arn.clone(), name.to_owned());
            let machine =
                StateMachineRecord { arn: of, name: named, kind, revision: row, last_version, created_at, updated_at };
            Ok((arn.clone(), vec![Change::Revision(Arc::new(revision)), Change::StateMachine(machine)]))
        });
        made.await?
    }

    /// Starts an execution of a state machine as it is now, by its ARN or name. Once this returns, the execution
    /// survives a crash.
    ///
    /// # Errors
    /// [`Error::NoStateMachine`], [`Error::ExecutionExists`], [`Error::InvalidName`].
    pub async fn start_execution(&self, start: Start) -> Result<Started, Error> {
        let revision = self.resources(|resources| {
            let by_name = || resources.state_machine_named(&start.state_machine);
            let machine = resources.state_machine(&start.state_machine).or_else(by_name)?;
            resources.revision(machine.revision).cloned()
        });
        let revision = revision.ok_or(Error::NoStateMachine { name: start.state_machine })?;
        let Start { name, input, annotations, .. } = start;
        self.start_revision(NewExecution {
            revision,
            version_arn: None,
            alias_arn: None,
            trace_header: None,
            name,
            input,
            annotations,
        })
        .await
    }

    /// Starts an execution of a revision. Once this returns, the execution survives a crash.
    ///
    /// # Errors
    /// [`Error::ExecutionExists`], [`Error::InvalidName`], [`Error::InvalidDefinition`].
    pub async fn start_revision(&self, new: NewExecution) -> Result<Started, Error> {
        self.ask(|reply| Message::Start { start: Box::new(new), reply }).await
    }

    /// Takes up an execution that was running when its engine stopped, by ARN or name.
    ///
    /// # Errors
    /// [`Error::NoExecution`], [`Error::HasEnded`].
    pub async fn resume(&self, execution: &str) -> Result<Started, Error> {
        self.ask(|reply| Message::Resume { execution: execution.to_owned(), reply }).await
    }

    /// Takes up everything that was running when the engine on this journal stopped; says how many executions that is.
    ///
    /// Other calls are answered in between. One that can't be followed is logged and left as it is.
    ///
    /// # Errors
    /// [`Error::Journal`], [`Error::Stopped`].
    pub async fn recover(&self) -> Result<u64, Error> {
        self.ask(|reply| Message::Recover { before: None, recovered: 0, reply }).await
    }

    /// Makes an execution that ended without success go on where it ended; says when.
    ///
    /// # Errors
    /// [`Error::NotRedrivable`], [`Error::NoExecution`], [`Error::IsChild`].
    pub async fn redrive_execution(&self, arn: &str) -> Result<Timestamp, Error> {
        self.redrive_by_token(arn, None).await
    }

    /// The same, with a token of the client's: asked again with it within
    /// [some minutes](crate::limits::CLIENT_TOKEN_MINUTES), the answer is the same and nothing happens.
    ///
    /// # Errors
    /// As [`Engine::redrive_execution`].
    pub async fn redrive_by_token(&self, arn: &str, client_token: Option<String>) -> Result<Timestamp, Error> {
        self.ask(|reply| Message::Redrive { arn: arn.to_owned(), client_token, reply }).await
    }

    /// Aborts an execution with its children; one that has ended stays as it is.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub async fn stop_execution(
        &self,
        execution: ExecutionId,
        error: Option<String>,
        cause: Option<String>,
    ) -> Result<(), Error> {
        self.ask(|reply| Message::Stop { execution, error, cause, reply }).await
    }

    /// Whether anything of a state machine, by its ARN, is running: of what was taken up, see [`Engine::recover`].
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub async fn is_running(&self, state_machine: &str) -> Result<bool, Error> {
        self.ask(|reply| Message::Running { state_machine: state_machine.to_owned(), reply }).await
    }

    /// Waits for an execution's end.
    ///
    /// # Errors
    /// [`Error::Stopped`] if the engine stops before.
    pub async fn wait(&self, execution: ExecutionId) -> Result<Ending, Error> {
        self.ask(|reply| Message::Wait { execution, reply }).await
    }

    /// Ends a task by its token with a result. Once this returns, the answer survives a crash.
    ///
    /// # Errors
    /// [`Error::InvalidToken`], [`Error::TaskDoesNotExist`], [`Error::TaskTimedOut`].
    pub async fn send_task_success(&self, token: &str, output: Value) -> Result<(), Error> {
        self.answer_token(token, TokenAnswer::Succeeded { output }).await
    }

    /// Ends a task by its token with an error; name and cause may be empty.
    ///
    /// # Errors
    /// As [`Engine::send_task_success`].
    pub async fn send_task_failure(&self, token: &str, error: String, cause: String) -> Result<(), Error> {
        self.answer_token(token, TokenAnswer::Failed { error, cause }).await
    }

    /// Says that a task lives: its heartbeat time-out starts anew.
    ///
    /// # Errors
    /// As [`Engine::send_task_success`].
    pub async fn send_task_heartbeat(&self, token: &str) -> Result<(), Error> {
        self.answer_token(token, TokenAnswer::Heartbeat).await
    }

    async fn answer_token(&self, token: &str, answer: TokenAnswer) -> Result<(), Error> {
        let token = token.to_owned();
        self.ask(|reply| Message::Token { token, answer, reply }).await
    }

    /// Says whether an activity is there. What is asked of the engine afterwards sees it so.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub fn set_activity(&self, arn: &str, exists: bool) -> Result<(), Error> {
        self.sender.send(Message::Activity { arn: arn.to_owned(), exists }).map_err(|_| stopped())
    }

    /// Waits up to `patience` for a task of an activity; the oldest task goes to the worker that has waited longest.
    ///
    /// The task is the worker's once this returns, and its start is recorded. A worker that drops the future gets none.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub async fn activity_task(
        &self,
        activity: &str,
        worker: Option<String>,
        patience: Duration,
    ) -> Result<Option<ActivityTask>, Error> {
        let (reply, handed) = oneshot::channel();
        let poll = Poll {
            sender: self.sender.clone(),
            activity: activity.to_owned(),
            number: self.last_poll.fetch_add(1, Ordering::Relaxed),
        };
        let (activity, number) = (poll.activity.clone(), poll.number);
        self.sender.send(Message::Poll { activity, poll: number, worker, reply }).map_err(|_| stopped())?;
        match tokio::time::timeout(patience, handed).await {
            Ok(Ok(handed)) => Ok(Some(ActivityTask { token: handed.token, input: handed.input })),
            Ok(Err(_)) => Err(stopped()),
            Err(_) => Ok(None),
        }
    }

    /// Carries out one task outside of any execution: its raw result, or the error's name and its cause.
    ///
    /// # Errors
    /// Those of the function or the service.
    pub async fn call_once(
        &self,
        invocation: TaskInvocation,
        execution_arn: &str,
        role_arn: &str,
    ) -> Result<Value, (String, String)> {
        self.callee.call(invocation, execution_arn, role_arn).await
    }

    /// Item counts of the map runs that an execution has under way now.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub async fn progress(&self, execution: ExecutionId) -> Result<Vec<MapRunProgress>, Error> {
        self.ask(|reply| Message::Progress { execution, reply }).await
    }

    /// Changes how many children of a map run may run at once and how many failures it tolerates, while it runs.
    ///
    /// # Errors
    /// [`Error::NoMapRun`], [`Error::MapRunHasEnded`].
    pub async fn update_map_run(&self, arn: &str, update: MapRunUpdate) -> Result<(), Error> {
        let arn = arn.to_owned();
        self.ask(|reply| Message::UpdateMapRun { arn, update, reply }).await
    }

    /// Reads what is recorded, without waiting for the engine: what was acknowledged is there.
    pub fn reader(&self) -> Arc<dyn Reader> {
        Arc::clone(&self.reader)
    }

    /// Listens from now on.
    pub fn notices(&self) -> broadcast::Receiver<Notice> {
        self.notices.subscribe()
    }

    /// Stops: invocations under way are given up, nothing recorded is lost, executions stay resumable.
    pub async fn shutdown(&self) {
        // If the driver is gone already there is nothing to stop.
        let _ = self.ask(|reply| Message::Shutdown { reply }).await;
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }

    async fn ask<T>(&self, message: impl FnOnce(Reply<T>) -> Message) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        self.sender.send(message(reply)).map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

fn stopped() -> Error {
    Error::Stopped { reason: "its driver has ended; the log says why".to_owned() }
}

/// A task of an activity that was given to a worker.
#[derive(Debug, Clone, PartialEq)]
pub struct ActivityTask {
    /// What the worker answers with.
    pub token: String,
    /// The task's input.
    pub input: Value,
}

/// A worker that waits; dropped when it does not any more.
struct Poll {
    sender: Sender<Message>,
    activity: String,
    number: u64,
}

impl Drop for Poll {
    fn drop(&mut self) {
        let _ = self.sender.send(Message::PollEnded { activity: self.activity.clone(), poll: self.number });
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if self.thread.get_mut().is_ok_and(|thread| thread.is_some()) {
            let (reply, _) = oneshot::channel();
            let _ = self.sender.send(Message::Shutdown { reply });
        }
    }
}
