//! Task: asking for work, and what comes back.
//!
//! | where | what | then |
//! |---|---|---|
//! | entered | evaluated | scheduled: waiting for an answer |
//! | entered | not evaluated | failed |
//! | waiting | started, submitted, heartbeat | waiting |
//! | waiting | succeeded, result usable | left |
//! | waiting | succeeded, result too large or not evaluated | failed |
//! | waiting | failed, timed out, went silent | failed |

use std::sync::Arc;

use serde_json::Value;

use super::data::{View, integer_of, told};
use super::flow::{Step, current};
use crate::command::{Command, TaskInvocation};
use crate::definition::{Handling, Kind, QueryLanguage, Setting, State, Task};
use crate::error::{Failure, HEARTBEAT_TIMEOUT, TIMEOUT};
use crate::event::TaskId;
use crate::execution::{Activity, Branch, BranchId, Heartbeat, TimerPurpose};
use crate::expression::Type;
use crate::history::EventKind;
use crate::resource::{Pattern, Resource};
use crate::template::Computed;
use crate::token::TaskToken;

impl Step<'_> {
    pub(super) fn task(&mut self, id: BranchId, mut branch: Branch, state: &State, task: &Task) {
        let invocation = match self.invocation(&branch, state, task) {
            Ok(invocation) => invocation,
            Err(failure) => return self.fail_evaluating(id, branch, state, failure),
        };
        let TaskInvocation { task, timeout_s, heartbeat_s, .. } = invocation;
        let resource = invocation.resource.clone();
        // Whether an activity is there is not for us to know: see `task_scheduled`.
        let is_scheduled = !matches!(resource, Resource::Activity { .. });
        if is_scheduled {
            self.record_in(&mut branch, scheduled(&invocation));
        }
        self.invoke(id, invocation);
        let timeout =
            timeout_s.map(|seconds| self.start_timer(TimerPurpose::TaskTimeout(id), self.at.plus_seconds(seconds)));
        let heartbeat = heartbeat_s.map(|interval_s| Heartbeat {
            timer: self.start_timer(TimerPurpose::Heartbeat(id), self.at.plus_seconds(interval_s)),
            interval_s,
        });
        self.park(id, branch, Activity::Task { task, resource, is_scheduled, is_started: false, timeout, heartbeat });
    }

    fn invocation(&mut self, branch: &Branch, state: &State, task: &Task) -> Result<TaskInvocation, Failure> {
        let input = self.effective_input(branch, state)?;
        let timeout_s = self.seconds(&task.timeout, &input, branch, state)?;
        let heartbeat_s = self.seconds(&task.heartbeat, &input, branch, state)?;
        let role_arn = self.role_arn(task, &input, branch, state)?;
        // A `.sync` task may be ended by its token, too.
        let waits_for_token = match &task.resource {
            Resource::Function { .. } => false,
            Resource::Activity { .. } => true,
            Resource::Service { pattern, .. } => *pattern != Pattern::RequestResponse,
        };
        // Given out only if the parameters can be made: old journals count so.
        let task_id = TaskId(self.execution.issued.task + 1);
        let token = waits_for_token.then(|| {
            let (high, low) = (self.execution.random.next_u64(), self.execution.random.next_u64());
            let secret = u128::from(high) << 64 | u128::from(low);
            TaskToken { key: self.execution.context.token_key, task: task_id, secret }.to_string()
        });
        let arguments = self.arguments(task.arguments.as_ref(), branch, state, token.as_deref(), input)?;
        Ok(TaskInvocation {
            task: self.next_task(),
            state: state.name.clone(),
            resource: task.resource.clone(),
            arguments,
            token,
            role_arn,
            retry_count: branch.retries.iter().sum(),
            timeout_s,
            heartbeat_s,
        })
    }

    fn seconds(
        &mut self,
        setting: &Setting<u64>,
        input: &Value,
        branch: &Branch,
        state: &State,
    ) -> Result<Option<u64>, Failure> {
        let computed = match setting {
            Setting::Absent => return Ok(None),
            Setting::Value(seconds) => return Ok(Some(*seconds)),
            Setting::Computed(computed) => computed,
        };
        let value = self.computed(computed, Type::Number, branch, state, input)?;
        let Computed { expression, field } = computed;
        match integer_of(&value).and_then(|seconds| u64::try_from(seconds).ok()) {
            Some(seconds) if seconds > 0 && (value.is_u64() || state.language == QueryLanguage::Jsonata) => {
                Ok(Some(seconds))
            }
            _ => {
                let cause = format!(
                    "The {field} field refers to value \"{}\" which is not a positive integer: {expression}",
                    told(&value)
                );
                Err(match state.language {
                    QueryLanguage::JsonPath => Failure::runtime(cause),
                    QueryLanguage::Jsonata => Failure::evaluation(Some(field), cause),
                })
            }
        }
    }

    /// The role of the state's `Credentials`.
    fn role_arn(
        &mut self,
        task: &Task,
        input: &Value,
        branch: &Branch,
        state: &State,
    ) -> Result<Option<String>, Failure> {
        let Some(credentials) = &task.credentials else { return Ok(None) };
        let made = self.evaluate(branch, state, View::of(input), |environment| credentials.evaluate(environment))?;
        match &made["RoleArn"] {
            Value::String(role_arn) => Ok(Some(role_arn.clone())),
            other => {
                let cause = format!("The RoleArn field of Credentials must be a string but was: {other}");
                Err(match state.language {
                    QueryLanguage::JsonPath => Failure::runtime(cause),
                    QueryLanguage::Jsonata => Failure::evaluation(Some("Credentials/RoleArn"), cause),
                })
            }
        }
    }

    /// The activity is there.
    pub(super) fn task_scheduled(&mut self, task: TaskId) {
        let Some(effect) = self.execution.pending.tasks.get(&task).copied() else { return };
        let Some(Command::InvokeTask(invocation)) = self.execution.pending.commands.get(&effect.order) else { return };
        let kind = scheduled(invocation);
        let Some(mut branch) = self.execution.branches.remove(&effect.of) else { return };
        if let Activity::Task { is_scheduled, .. } = &mut branch.activity
            && !std::mem::replace(is_scheduled, true)
        {
            self.record_in(&mut branch, kind);
        }
        self.execution.branches.insert(effect.of, branch);
    }

    /// The activity is not there.
    pub(super) fn task_refused(&mut self, task: TaskId, cause: String) {
        let Some(id) = self.end_task(task) else { return };
        let Some((branch, _)) = self.end_attempt(id) else { return };
        let machine = self.execution.machine.clone();
        let state = current(&machine, &branch);
        let failure = Failure::runtime(cause).in_state(&state.name, branch.entered_id);
        self.fail(id, branch, state, failure);
    }

    /// A worker took the task of an activity.
    pub(super) fn activity_started(&mut self, task: TaskId, worker: Option<String>) {
        let Some(id) = self.execution.pending.tasks.get(&task).map(|effect| effect.of) else { return };
        let Some(mut branch) = self.execution.branches.remove(&id) else { return };
        if let Activity::Task { is_started, .. } = &mut branch.activity
            && !std::mem::replace(is_started, true)
        {
            self.record_in(&mut branch, EventKind::ActivityStarted { worker });
        }
        self.execution.branches.insert(id, branch);
    }

    /// The service did not take what the task would have waited for.
    pub(super) fn task_submit_failed(&mut self, task: TaskId, error: String, cause: String) {
        let Some(id) = self.end_task(task) else { return };
        let Some((mut branch, resource)) = self.end_attempt(id) else { return };
        let kind = EventKind::TaskSubmitFailed { resource, error: error.clone(), cause: cause.clone() };
        self.record_in(&mut branch, kind);
        let machine = self.execution.machine.clone();
        let state = current(&machine, &branch);
        self.fail(id, branch, state, Failure::new(&error, cause));
    }

    pub(super) fn task_started(&mut self, task: TaskId) {
        let Some(id) = self.execution.pending.tasks.get(&task).map(|effect| effect.of) else { return };
        let Some(mut branch) = self.execution.branches.remove(&id) else { return };
        if let Activity::Task { resource, is_started, .. } = &mut branch.activity
            && !std::mem::replace(is_started, true)
        {
            let kind = started(resource);
            self.record_in(&mut branch, kind);
        }
        self.execution.branches.insert(id, branch);
    }

    pub(super) fn task_submitted(&mut self, task: TaskId, output: Value) {
        let Some(id) = self.execution.pending.tasks.get(&task).map(|effect| effect.of) else { return };
        let Some(mut branch) = self.execution.branches.remove(&id) else { return };
        if let Activity::Task { resource, .. } = &branch.activity {
            let resource = resource.clone();
            self.record_in(&mut branch, EventKind::TaskSubmitted { resource, output: Arc::new(output) });
        }
        self.execution.branches.insert(id, branch);
    }

    /// The heartbeat's time begins anew.
    pub(super) fn task_heartbeat(&mut self, task: TaskId) {
        let Some(id) = self.execution.pending.tasks.get(&task).map(|effect| effect.of) else { return };
        let Some(mut branch) = self.execution.branches.remove(&id) else { return };
        if let Activity::Task { heartbeat: Some(heartbeat), .. } = &mut branch.activity {
            self.cancel_timer(heartbeat.timer);
            let due = self.at.plus_seconds(heartbeat.interval_s);
            heartbeat.timer = self.start_timer(TimerPurpose::Heartbeat(id), due);
        }
        self.execution.branches.insert(id, branch);
    }

    pub(super) fn task_succeeded(&mut self, task: TaskId, result: Arc<Value>) {
        let Some(id) = self.end_task(task) else { return };
        let Some((mut branch, resource)) = self.end_attempt(id) else { return };
        let machine = self.execution.machine.clone();
        let state = current(&machine, &branch);
        let producer = match &resource {
            Resource::Service { service, .. } => service,
            Resource::Function { arn } | Resource::Activity { arn } => arn,
        };
        if let Err(failure) = self.check_size(&result, producer) {
            let (error, cause) = (failure.error.clone().unwrap_or_default(), failure.cause.clone().unwrap_or_default());
            self.record_in(&mut branch, failed(&resource, error, cause));
            return self.fail(id, branch, state, failure);
        }
        self.record_in(&mut branch, succeeded(&resource, Arc::clone(&result)));
        let Kind::Task(Task { handling, .. }) = &state.kind else { return };
        self.leave_with_result(id, branch, state, handling, result);
    }

    /// From a raw result to the next state.
    pub(super) fn leave_with_result(
        &mut self,
        id: BranchId,
        branch: Branch,
        state: &State,
        handling: &Handling,
        result: Arc<Value>,
    ) {
        match self.exit_with_result(handling, &branch, state, result) {
            Ok(exit) => self.leave(id, branch, state, exit),
            Err(failure) => self.fail_evaluating(id, branch, state, failure),
        }
    }

    pub(super) fn task_failed(&mut self, task: TaskId, error: String, cause: String) {
        let Some(id) = self.end_task(task) else { return };
        let Some((mut branch, resource)) = self.end_attempt(id) else { return };
        self.record_in(&mut branch, failed(&resource, error.clone(), cause.clone()));
        let machine = self.execution.machine.clone();
        let state = current(&machine, &branch);
        self.fail(id, branch, state, Failure::new(&error, cause));
    }

    pub(super) fn task_timed_out(&mut self, id: BranchId) {
        self.give_up(id, TIMEOUT);
    }

    pub(super) fn task_went_silent(&mut self, id: BranchId) {
        self.give_up(id, HEARTBEAT_TIMEOUT);
    }

    fn give_up(&mut self, id: BranchId, error: &str) {
        if let Some(Activity::Task { task, .. }) = self.execution.branches.get(&id).map(|branch| &branch.activity) {
            self.cancel_task(*task);
        }
        let Some((mut branch, resource)) = self.end_attempt(id) else { return };
        self.record_in(&mut branch, timed_out(&resource, error.to_owned()));
        let machine = self.execution.machine.clone();
        let state = current(&machine, &branch);
        self.fail(id, branch, state, Failure { error: Some(error.to_owned()), ..Failure::default() });
    }

    /// Takes the branch of an attempt that is over, and its timers with it.
    fn end_attempt(&mut self, id: BranchId) -> Option<(Branch, Resource)> {
        let mut branch = self.execution.branches.remove(&id)?;
        match std::mem::replace(&mut branch.activity, Activity::Ready) {
            Activity::Task { resource, timeout, heartbeat, .. } => {
                for timer in timeout.into_iter().chain(heartbeat.map(|heartbeat| heartbeat.timer)) {
                    self.cancel_timer(timer);
                }
                Some((branch, resource))
            }
            other => {
                self.park(id, branch, other);
                None
            }
        }
    }
}

fn scheduled(invocation: &TaskInvocation) -> EventKind {
    let TaskInvocation { arguments, timeout_s, heartbeat_s, resource, role_arn, .. } = invocation;
    let role_arn = role_arn.clone();
    let (timeout_s, heartbeat_s) = (*timeout_s, *heartbeat_s);
    match resource {
        Resource::Function { arn } => {
            EventKind::LambdaFunctionScheduled { resource: arn.clone(), input: arguments.clone(), timeout_s, role_arn }
        }
        Resource::Activity { arn } => {
            EventKind::ActivityScheduled { resource: arn.clone(), input: arguments.clone(), timeout_s, heartbeat_s }
        }
        Resource::Service { .. } => EventKind::TaskScheduled {
            resource: resource.clone(),
            parameters: arguments.clone(),
            timeout_s,
            heartbeat_s,
            role_arn,
        },
    }
}

fn started(resource: &Resource) -> EventKind {
    match resource {
        Resource::Function { .. } => EventKind::LambdaFunctionStarted,
        Resource::Activity { .. } => EventKind::ActivityStarted { worker: None },
        Resource::Service { .. } => EventKind::TaskStarted { resource: resource.clone() },
    }
}

fn succeeded(resource: &Resource, output: Arc<Value>) -> EventKind {
    match resource {
        Resource::Function { .. } => EventKind::LambdaFunctionSucceeded { output },
        Resource::Activity { .. } => EventKind::ActivitySucceeded { output },
        Resource::Service { .. } => EventKind::TaskSucceeded { resource: resource.clone(), output },
    }
}

fn failed(resource: &Resource, error: String, cause: String) -> EventKind {
    match resource {
        Resource::Function { .. } => EventKind::LambdaFunctionFailed { error, cause },
        Resource::Activity { .. } => EventKind::ActivityFailed { error, cause },
        Resource::Service { .. } => EventKind::TaskFailed { resource: resource.clone(), error, cause },
    }
}

fn timed_out(resource: &Resource, error: String) -> EventKind {
    match resource {
        Resource::Function { .. } => EventKind::LambdaFunctionTimedOut { error, cause: None },
        Resource::Activity { .. } => EventKind::ActivityTimedOut { error, cause: None },
        Resource::Service { .. } => EventKind::TaskTimedOut { resource: resource.clone(), error, cause: None },
    }
}
