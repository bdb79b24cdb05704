//! Entering, leaving and failing states; branches beginning, ending and being aborted.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde_json::{Value, json};

use super::data::{Exit, View, put};
use super::inspect::{Inspector, Stage};
use crate::command::{Command, Outcome};
use crate::definition::{Kind, Next, QueryLanguage, ScopeId, State, StateMachine};
use crate::error::Failure;
use crate::execution::{Activity, Branch, BranchId, Execution, Item, Parent, Phase, TimerPurpose};
use crate::history::{EventKind, HistoryEvent};
use crate::retry::{Catcher, matches};
use crate::time::Timestamp;
use crate::variables::Variables;

/// AWS's limit for a Standard workflow. It also ends a definition that runs in circles without waiting for anything.
///
/// # Source
/// <https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html>
const HISTORY_EVENTS_MAX: u64 = 25_000;

/// Room for the commands of most turns: leaving a state, entering the next, ending.
const COMMANDS: usize = 8;

/// One call of [`step`](super::step): the execution, and what has come of the event so far.
pub(super) struct Step<'a> {
    pub(super) execution: &'a mut Execution,
    pub(super) at: Timestamp,
    pub(super) commands: Vec<Command>,
    /// Branches that may enter their state, first come first served. One state each per turn, so that
    /// branches advance side by side.
    ready: VecDeque<BranchId>,
    inspector: Option<&'a mut dyn Inspector>,
    /// There is no place left in the history.
    is_full: bool,
    /// While a failure goes up: where the branches were.
    pub(super) failing: Option<BTreeMap<BranchId, Branch>>,
}

impl<'a> Step<'a> {
    pub(super) fn new(
        execution: &'a mut Execution,
        at: Timestamp,
        inspector: Option<&'a mut dyn Inspector>,
    ) -> Step<'a> {
        Step {
            execution,
            at,
            commands: Vec::with_capacity(COMMANDS),
            ready: VecDeque::new(),
            inspector,
            is_full: false,
            failing: None,
        }
    }

    pub(super) fn is_inspected(&self) -> bool {
        self.inspector.is_some()
    }

    pub(super) fn inspect(&mut self, stage: Stage, value: &Value) {
        if let Some(inspector) = &mut self.inspector {
            inspector.inspect(stage, value);
        }
    }

    /// Goes on until every branch waits for something.
    pub(super) fn run(mut self) -> Vec<Command> {
        while let Some(id) = self.ready.pop_front() {
            if self.is_full {
                break;
            }
            // A branch that was aborted while it was queued is gone.
            if let Some(branch) = self.execution.branches.remove(&id) {
                self.enter(id, branch);
            }
        }
        if self.is_full && self.execution.phase == Phase::Running {
            self.history_is_full();
        }
        debug_assert!(
            self.execution.phase == Phase::Running || self.execution.pending.commands.is_empty(),
            "an execution that is over waits for nothing"
        );
        self.commands
    }

    pub(super) fn start(&mut self) {
        self.execution.phase = Phase::Running;
        let input = self.execution.input.clone();
        let role_arn = self.execution.context.role_arn.clone();
        self.record(0, EventKind::ExecutionStarted { input: input.clone(), role_arn });
        if let Some(timeout_s) = self.execution.timeout_s() {
            self.start_timer(TimerPurpose::Machine, self.at.plus_seconds(timeout_s));
        }
        let scope = self.execution.machine.root();
        let variables = self.execution.given_variables();
        self.begin(None, scope, input, variables, None, 0);
    }

    /// Appends to the history. `previous_id` is the event that led to this one.
    ///
    /// The last place is for the event that ends the execution; what finds only that one left is not recorded, and the
    /// execution ends for it.
    pub(super) fn record(&mut self, previous_id: u64, kind: EventKind) -> u64 {
        let recorded = self.execution.last_event_id - self.execution.begun_after_id;
        if recorded + 1 >= HISTORY_EVENTS_MAX && !kind.is_end() {
            self.is_full = true;
            return self.execution.last_event_id;
        }
        self.execution.last_event_id += 1;
        let id = self.execution.last_event_id;
        let text = kind.payload().and_then(|payload| self.execution.text_of(payload));
        self.commands.push(Command::Record(Box::new(HistoryEvent { id, previous_id, at: self.at, kind, text })));
        id
    }

    /// Appends to the history and makes it the branch's last event.
    pub(super) fn record_in(&mut self, branch: &mut Branch, kind: EventKind) {
        branch.last_id = self.record(branch.last_id, kind);
    }

    /// A new branch at the start of a scope; it enters its first state when its turn comes.
    pub(super) fn begin(
        &mut self,
        parent: Option<Parent>,
        scope: ScopeId,
        input: Arc<Value>,
        variables: Arc<Variables>,
        item: Option<Item>,
        last_id: u64,
    ) -> BranchId {
        self.execution.issued.branch += 1;
        let id = BranchId(self.execution.issued.branch);
        let branch = Branch {
            parent,
            scope,
            state: self.execution.machine.scope(scope).start,
            input,
            variables,
            item,
            last_id,
            before_id: last_id,
            entered_id: 0,
            entered_at: self.at,
            retries: Vec::new(),
            activity: Activity::Ready,
        };
        self.queue(id, branch);
        id
    }

    pub(super) fn queue(&mut self, id: BranchId, mut branch: Branch) {
        branch.activity = Activity::Ready;
        self.execution.branches.insert(id, branch);
        self.ready.push_back(id);
    }

    /// Puts a branch back that has something to wait for.
    pub(super) fn park(&mut self, id: BranchId, mut branch: Branch, activity: Activity) {
        branch.activity = activity;
        self.execution.branches.insert(id, branch);
    }

    fn enter(&mut self, id: BranchId, mut branch: Branch) {
        let machine = self.execution.machine.clone();
        let state = current(&machine, &branch);
        branch.before_id = branch.last_id;
        branch.retries = vec![0; state.kind.handling().map_or(0, |handling| handling.retry.len())];
        let (name, input) = (state.name.clone(), Arc::clone(&branch.input));
        self.inspect(Stage::Input, &input);
        self.record_in(&mut branch, EventKind::StateEntered { state_type: state.kind.state_type(), name, input });
        branch.entered_id = branch.last_id;
        branch.entered_at = self.at;
        self.act(id, branch, state);
    }

    /// What the state does, for the first time or again.
    pub(super) fn act(&mut self, id: BranchId, branch: Branch, state: &State) {
        match &state.kind {
            Kind::Task(task) => self.task(id, branch, state, task),
            Kind::Map(map) => self.map(id, branch, state, map),
            Kind::Parallel(parallel) => self.parallel(id, branch, state, parallel),
            Kind::Choice(choice) => self.choice(id, branch, state, choice),
            Kind::Pass(pass) => self.pass(id, branch, state, pass),
            Kind::Wait(wait) => self.wait(id, branch, state, wait),
            Kind::Succeed => self.succeed(id, branch, state),
            Kind::Fail(fail) => self.fail_state(id, branch, state, fail),
        }
    }

    /// Leaves the state with what came of it and goes where the state leads.
    pub(super) fn leave(&mut self, id: BranchId, branch: Branch, state: &State, exit: Exit) {
        self.leave_to(id, branch, state, exit, state.next);
    }

    pub(super) fn leave_to(&mut self, id: BranchId, mut branch: Branch, state: &State, exit: Exit, next: Next) {
        let Exit { output, assigned } = exit;
        let kept = self.check_size(&output, &state.name).and_then(|()| self.assign(&mut branch, state, &assigned));
        if let Err(failure) = kept {
            return self.fail(id, branch, state, failure);
        }
        let state_type = state.kind.state_type();
        let (name, exit_output) = (state.name.clone(), Arc::clone(&output));
        self.record_in(&mut branch, EventKind::StateExited { state_type, name, output: exit_output, assigned });
        match next {
            Next::State(index) => {
                branch.state = index;
                branch.input = output;
                self.queue(id, branch);
            }
            Next::End => self.complete(id, branch, output),
        }
    }

    /// A branch has reached its end.
    fn complete(&mut self, id: BranchId, branch: Branch, output: Arc<Value>) {
        let Some(parent) = branch.parent else {
            self.record(branch.last_id, EventKind::ExecutionSucceeded { output: output.clone() });
            return self.finish(Outcome::Succeeded { output });
        };
        let Some(fan) = self.execution.branches.remove(&parent.branch) else { return };
        let machine = self.execution.machine.clone();
        let state = current(&machine, &fan);
        debug_assert!(matches!(&fan.activity, Activity::Fan(fan) if fan.running.get(&parent.index) == Some(&id)));
        match &state.kind {
            Kind::Map(map) => self.iteration_succeeded(parent, fan, state, map, branch.last_id, output),
            _ => self.branch_succeeded(parent, fan, state, branch.last_id, output),
        }
    }

    /// A field of the state could not be evaluated.
    pub(super) fn fail_evaluating(&mut self, id: BranchId, mut branch: Branch, state: &State, failure: Failure) {
        let failure = failure.in_state(&state.name, branch.entered_id);
        if let Failure { error: Some(error), cause: Some(cause), evaluation: Some(evaluation), .. } = &failure {
            let kind = EventKind::EvaluationFailed {
                error: error.clone(),
                cause: cause.clone(),
                location: evaluation.location.clone(),
                state: state.name.clone(),
            };
            // Before anything but entering has happened, AWS links to what was before that; not so for a Wait.
            let is_first = branch.last_id == branch.entered_id && !matches!(state.kind, Kind::Wait(_));
            let previous_id = if is_first { branch.before_id } else { branch.last_id };
            branch.last_id = self.record(previous_id, kind);
        }
        match state.kind {
            Kind::Map(_) if !failure.is_fatal => self.fail_after(id, branch, state, failure, EventKind::MapStateFailed),
            Kind::Parallel(_) if !failure.is_fatal => {
                self.fail_after(id, branch, state, failure, EventKind::ParallelStateFailed);
            }
            _ => self.fail(id, branch, state, failure),
        }
    }

    /// The state has failed, and there is nothing more of its own to record.
    pub(super) fn fail(&mut self, id: BranchId, mut branch: Branch, state: &State, failure: Failure) {
        if failure.is_fatal {
            self.note_failure(id, &branch);
            return self.fail_execution(branch.last_id, failure);
        }
        match self.retry_later(id, &mut branch, state, &failure) {
            Some(waiting) => self.park(id, branch, waiting),
            None => self.catch(id, branch, state, failure),
        }
    }

    /// Ends the execution, wherever in it the failure happened.
    fn fail_execution(&mut self, last_id: u64, failure: Failure) {
        if let Some(inspector) = &mut self.inspector {
            inspector.failed(&failure);
        }
        let Failure { error, cause, .. } = failure;
        self.record(last_id, EventKind::ExecutionFailed { error: error.clone(), cause: cause.clone() });
        self.finish(Outcome::Failed { error, cause });
    }

    /// What a Map or Parallel started has failed: unless it is tried again, that is recorded.
    pub(super) fn fail_after(
        &mut self,
        id: BranchId,
        mut branch: Branch,
        state: &State,
        failure: Failure,
        kind: EventKind,
    ) {
        match self.retry_later(id, &mut branch, state, &failure) {
            Some(waiting) => self.park(id, branch, waiting),
            None => {
                self.record_in(&mut branch, kind);
                self.catch(id, branch, state, failure);
            }
        }
    }

    /// If a retrier wants another try, the wait for it.
    fn retry_later(&mut self, id: BranchId, branch: &mut Branch, state: &State, failure: &Failure) -> Option<Activity> {
        if let Some(inspector) = &mut self.inspector {
            inspector.failed(failure);
        }
        // Only the first retrier that matches counts: once it is exhausted, the error goes on to Catch.
        let retriers = &state.kind.handling()?.retry;
        let index = retriers.iter().position(|retrier| matches(&retrier.errors, failure))?;
        let (retrier, made) = (&retriers[index], branch.retries[index]);
        if made >= retrier.attempts_max {
            return None;
        }
        branch.retries[index] += 1;
        self.failing = None;
        let delay_ms = retrier.delay_ms(made, &mut self.execution.random);
        if let Some(inspector) = &mut self.inspector {
            inspector.retried(index, delay_ms);
        }
        let timer = self.start_timer(TimerPurpose::Retry(id), self.at.plus_ms(delay_ms));
        Some(Activity::Retry { timer })
    }

    /// The time before a retry is over.
    pub(super) fn retry(&mut self, id: BranchId) {
        let Some(branch) = self.execution.branches.remove(&id) else { return };
        let machine = self.execution.machine.clone();
        let state = current(&machine, &branch);
        self.act(id, branch, state);
    }

    fn catch(&mut self, id: BranchId, branch: Branch, state: &State, failure: Failure) {
        let catchers = state.kind.handling().map_or(&[][..], |handling| &handling.catch);
        let Some(index) = catchers.iter().position(|catcher| matches(&catcher.errors, &failure)) else {
            return self.fail_branch(id, branch, failure);
        };
        self.failing = None;
        let catcher = &catchers[index];
        if let Some(inspector) = &mut self.inspector {
            inspector.caught(index);
        }
        let error = Arc::new(json!({
            "Error": failure.error.unwrap_or_default(),
            "Cause": failure.cause.unwrap_or_default(),
        }));
        match self.exit_caught(catcher, &branch, state, &error) {
            Ok(exit) => self.leave_to(id, branch, state, exit, Next::State(catcher.next)),
            Err(failure) => {
                let failure = failure.in_state(&state.name, branch.entered_id);
                if failure.is_fatal {
                    self.note_failure(id, &branch);
                    return self.fail_execution(branch.last_id, failure);
                }
                self.fail_branch(id, branch, failure);
            }
        }
    }

    fn exit_caught(
        &mut self,
        catcher: &Catcher,
        branch: &Branch,
        state: &State,
        error: &Arc<Value>,
    ) -> Result<Exit, Failure> {
        if state.language == QueryLanguage::Jsonata {
            let (output, assign) = (catcher.output.as_ref(), catcher.assign.as_ref());
            return self.exit_through(output, assign, branch, state, View::of_error(error), Arc::clone(error));
        }
        let assigned = self.assigned(catcher.assign.as_ref(), branch, state, View::of_error(error))?;
        let output = put(&catcher.result_path, &branch.input, Arc::clone(error)).map_err(Failure::runtime)?;
        Ok(Exit { output, assigned })
    }

    /// Nobody in the branch wanted the failure.
    fn fail_branch(&mut self, id: BranchId, branch: Branch, failure: Failure) {
        self.note_failure(id, &branch);
        let Some(parent) = branch.parent else {
            let Failure { error, cause, .. } = failure;
            self.record(branch.last_id, EventKind::ExecutionFailed { error: error.clone(), cause: cause.clone() });
            return self.finish(Outcome::Failed { error, cause });
        };
        let Some(mut fan) = self.execution.branches.remove(&parent.branch) else { return };
        let machine = self.execution.machine.clone();
        let state = current(&machine, &fan);
        let name = state.name.clone();
        let is_map = matches!(state.kind, Kind::Map(_));
        if is_map {
            self.record(branch.last_id, EventKind::MapIterationFailed { name, index: parent.index as u64 });
        }
        if let Activity::Fan(running) = &mut fan.activity {
            debug_assert_eq!(running.running.get(&parent.index), Some(&id));
            running.running.remove(&parent.index);
        }
        self.abort_children(&mut fan, state);
        fan.last_id = branch.last_id;
        let kind = if is_map { EventKind::MapStateFailed } else { EventKind::ParallelStateFailed };
        self.fail_after(parent.branch, fan, state, failure, kind);
    }

    /// Ends all branches under a Parallel or Map, in order, with what AWS records for each.
    fn abort_children(&mut self, fan: &mut Branch, state: &State) {
        let Activity::Fan(running) = std::mem::replace(&mut fan.activity, Activity::Ready) else { return };
        for (index, id) in running.running {
            let Some(branch) = self.execution.branches.remove(&id) else { continue };
            let last_id = self.abort(branch);
            if matches!(state.kind, Kind::Map(_)) {
                let name = state.name.clone();
                self.record(last_id, EventKind::MapIterationAborted { name, index: index as u64 });
            }
        }
    }

    /// Ends one branch wherever it is; says its last event.
    fn abort(&mut self, mut branch: Branch) -> u64 {
        let machine = self.execution.machine.clone();
        let state = current(&machine, &branch);
        match std::mem::replace(&mut branch.activity, Activity::Ready) {
            // It has not entered its state yet, so there is no state to abort.
            Activity::Ready | Activity::Failed => return branch.last_id,
            Activity::Task { task, timeout, heartbeat, .. } => {
                self.cancel_task(task);
                for timer in timeout.into_iter().chain(heartbeat.map(|heartbeat| heartbeat.timer)) {
                    self.cancel_timer(timer);
                }
            }
            Activity::Wait { timer } | Activity::Retry { timer } => self.cancel_timer(timer),
            Activity::MapRun { map_run, started_id, .. } => {
                self.cancel_map_run(map_run);
                if started_id.is_some() {
                    self.record_in(&mut branch, EventKind::MapRunAborted);
                }
            }
            fan @ Activity::Fan(_) => {
                branch.activity = fan;
                self.abort_children(&mut branch, state);
            }
        }
        self.record_in(&mut branch, EventKind::StateAborted { state_type: state.kind.state_type() });
        branch.last_id
    }

    pub(super) fn stop(&mut self, error: Option<String>, cause: Option<String>) {
        // The API does not link an abort to any event; recorded: test_stop_execution.
        self.record(0, EventKind::ExecutionAborted { error: error.clone(), cause: cause.clone() });
        self.finish(Outcome::Aborted { error, cause });
    }

    pub(super) fn machine_timed_out(&mut self) {
        self.record(0, EventKind::ExecutionTimedOut);
        self.finish(Outcome::TimedOut);
    }

    fn history_is_full(&mut self) {
        let Failure { error, cause, .. } = Failure::runtime(format!(
            "The execution reached the maximum number of history events ({HISTORY_EVENTS_MAX})."
        ));
        self.record(
            self.execution.last_event_id,
            EventKind::ExecutionFailed { error: error.clone(), cause: cause.clone() },
        );
        self.finish(Outcome::Failed { error, cause });
        // There is no room to go on. An Express execution begins again, with all the room.
        if !self.execution.context.is_express {
            self.execution.halted = None;
        }
    }

    fn finish(&mut self, outcome: Outcome) {
        self.cancel_everything();
        let branches = std::mem::take(&mut self.execution.branches);
        let halted = self.failing.take().unwrap_or(branches);
        self.execution.halted = (!matches!(outcome, Outcome::Succeeded { .. })).then_some(halted);
        self.ready.clear();
        self.execution.phase = Phase::Ended(outcome.clone());
        self.commands.push(Command::Finish(outcome));
    }
}

/// The state a branch is in.
pub(super) fn current<'m>(machine: &'m StateMachine, branch: &Branch) -> &'m State {
    &machine.scope(branch.scope).states[branch.state]
}
