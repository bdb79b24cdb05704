//! Map runs inside the core: they begin, have items read, start children while there is room, and end.
//!
//! | phase | what happens | then |
//! |---|---|---|
//! | running | items come, a child ends | children are redriven, then started, while there is room |
//! | running | all items have ended | ending (succeeded) |
//! | running | too many failures, no items to be had | ending (failed), children are stopped |
//! | running | the parent gives it up | ending (aborted), children are stopped |
//! | ending | the last child has ended | writing if results are wanted, else over |
//! | writing | results are written, or can't be | over |
//! | over, without success | the parent is redriven | running: see `redrive` |
//!
//! A run that is given up is over at once; what there is of its results is written beside that, as on AWS, but not again
//! after a crash.

use std::sync::Arc;

use serde_json::Value;
use starmap_asl::{Event, ExecutionType, ItemSource, MapRunId, MapRunSpec, Timestamp};

use super::{Core, Effect, Queue, Turn};
use crate::items::Failed;
use crate::items::blocking::Chunk;
use crate::journal::{
    self, ChildState, Ending, ExecutionId, ExecutionRecord, MapRunDetails, MapRunLimits, MapRunRecord, MapRunRow,
    Parent, Reader, Status, Write,
};
use crate::limits::{CHILDREN_PER_TURN_MAX, NESTING_MAX};
use crate::map_run::{MapRun, Next, Phase, Verdict};
use crate::names::derived_uuid;
use crate::registry::MachineKind;
use crate::results::ResultJob;

/// What `UpdateMapRun` changes; what is absent stays.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct MapRunUpdate {
    /// Children that run at once; 0 is no limit.
    pub max_concurrency: Option<u32>,
    /// See [`MapRunLimits`].
    pub tolerated_failure_count: Option<u64>,
    /// See [`MapRunLimits`].
    pub tolerated_failure_percentage: Option<f64>,
}

impl Core {
    pub(super) fn start_map_run(
        &mut self,
        at: Timestamp,
        id: ExecutionId,
        number: MapRunId,
        spec: Arc<MapRunSpec>,
        turn: &mut Turn,
        queue: &mut Queue,
    ) {
        let Some(live) = self.executions.get_mut(&id) else {
            return;
        };
        let processor = live.machine.processor(&spec.processor);
        let Some(processor) = processor.filter(|_| live.nesting < NESTING_MAX) else {
            let cause = format!("map runs are nested deeper than {NESTING_MAX}, or the processor is not there");
            queue.push_back((id, Event::MapRunFailed { map_run: number, error: "States.Runtime".to_owned(), cause }));
            return;
        };
        if let Err(Failed { error, cause }) = self.access.check(&live.wish(&spec, false)) {
            queue.push_back((id, Event::MapRunFailed { map_run: number, error, cause }));
            return;
        }
        self.last_map_run += 1;
        let row = MapRunRow(self.last_map_run);
        let label = spec.label.clone().unwrap_or_else(|| derived_uuid(&[live.arn(), &spec.state]));
        let unique = derived_uuid(&[live.arn(), &number.0.to_string()]);
        let arn = self.naming.map_run(&live.revision.state_machine_name, &label, &unique);
        live.map_runs.insert(number, row);
        let state = spec.state.clone();
        let (limit, bytes_max) = (self.limits.map_run_concurrency_max, live.payload_bytes_max);
        let run = MapRun::new(arn.clone(), label, id, number, processor, spec, limit, bytes_max);
        turn.batch.writes.push(Write::MapRun(Box::new(MapRunRecord {
            row,
            arn: arn.clone(),
            execution: id,
            number: number.0,
            state,
            status: Status::Running,
            started_at: at,
            stopped_at: None,
            details: details(&run),
        })));
        if let Some((request, from)) = run.reading() {
            turn.effects.push(Effect::ReadItems { map_run: row, redrive_count: 0, request, from });
        }
        self.map_runs.insert(row, run);
        queue.push_back((id, Event::MapRunStarted { map_run: number, arn }));
        self.advance_map_run(at, row, turn, queue);
    }

    /// Items were read, or can't be.
    pub(super) fn items_read(
        &mut self,
        at: Timestamp,
        row: MapRunRow,
        redrive_count: u32,
        read: Result<Chunk, Failed>,
        turn: &mut Turn,
        queue: &mut Queue,
    ) {
        // What a reader sends that was there before a redrive is late.
        let Some(run) = self.map_runs.get_mut(&row).filter(|run| run.redrive_count == redrive_count) else {
            return;
        };
        match read {
            Ok(Chunk { items, is_last, etag }) => {
                run.take_items(items, is_last, etag);
            }
            Err(failed) => run.fail(failed),
        }
        self.changed_map_runs.insert(row);
        self.advance_map_run(at, row, turn, queue);
    }

    /// Goes on with a run for which the last turn had no room.
    pub(super) fn resume_map_run(&mut self, at: Timestamp, row: MapRunRow, turn: &mut Turn, queue: &mut Queue) {
        if let Some(run) = self.map_runs.get_mut(&row) {
            run.is_deferred = false;
            self.advance_map_run(at, row, turn, queue);
        }
    }

    /// Changes the limits of a run that has not ended; false if there is none.
    pub(super) fn update_map_run(
        &mut self,
        at: Timestamp,
        row: MapRunRow,
        update: MapRunUpdate,
        turn: &mut Turn,
        queue: &mut Queue,
    ) -> bool {
        let Some(run) = self.map_runs.get_mut(&row).filter(|run| run.phase == Phase::Running) else {
            return false;
        };
        let limits = &mut run.limits;
        *limits = MapRunLimits {
            max_concurrency: update.max_concurrency.unwrap_or(limits.max_concurrency),
            tolerated_failure_count: update.tolerated_failure_count.or(limits.tolerated_failure_count),
            tolerated_failure_percentage: update.tolerated_failure_percentage.or(limits.tolerated_failure_percentage),
        };
        self.changed_map_runs.insert(row);
        self.advance_map_run(at, row, turn, queue);
        true
    }

    /// Starts as many children as the map run has room for, or ends it.
    pub(super) fn advance_map_run(&mut self, at: Timestamp, row: MapRunRow, turn: &mut Turn, queue: &mut Queue) {
        loop {
            let Some(run) = self.map_runs.get_mut(&row).filter(|run| run.phase == Phase::Running) else {
                return;
            };
            if run.is_deferred {
                return;
            }
            if turn.children_started >= CHILDREN_PER_TURN_MAX {
                run.is_deferred = true;
                turn.effects.push(Effect::Advance { map_run: row });
                return;
            }
            match run.next() {
                Next::Wait => return,
                Next::ReadMore => turn.effects.push(Effect::MoreItems { map_run: row }),
                Next::Redrive(child) => {
                    turn.children_started += 1;
                    self.redrive_child(at, row, child, turn, queue);
                }
                Next::Start { child_index, items, input } => {
                    turn.children_started += 1;
                    self.start_child(at, row, child_index, items, input, turn, queue);
                }
                Next::Succeed => return self.conclude_map_run(at, row, Verdict::Succeeded, turn, queue),
                Next::Fail(failure) => {
                    run.fail(failure);
                    return self.conclude_map_run(at, row, Verdict::Failed, turn, queue);
                }
            }
        }
    }

    #[allow(clippy::too_many_arguments, reason = "private, and each argument is one thing that a child needs")]
    fn start_child(
        &mut self,
        at: Timestamp,
        row: MapRunRow,
        item_index: u64,
        items: u64,
        input: Arc<Value>,
        turn: &mut Turn,
        queue: &mut Queue,
    ) {
        let (Some(run), id) = (self.map_runs.get(&row), ExecutionId(self.last_execution + 1)) else {
            return;
        };
        let Some(parent) = self.executions.get(&run.parent) else {
            return;
        };
        self.last_execution = id.0;
        let name = derived_uuid(&[&run.arn, &item_index.to_string()]);
        let record = ExecutionRecord {
            id,
            arn: self.naming.child(&parent.revision.state_machine_name, &run.label, &name),
            name,
            state_machine_arn: parent.revision.state_machine_arn.clone(),
            revision: parent.revision.row,
            version_arn: None,
            alias_arn: None,
            kind: match run.spec.child_type {
                ExecutionType::Standard => MachineKind::Standard,
                ExecutionType::Express => MachineKind::Express,
            },
            trace_header: None,
            redrive_count: 0,
            redriven_at: None,
            processor: Some(run.spec.processor.0.clone()),
            parent: Some(Parent { map_run: row, item_index }),
            run_redrives: run.redrive_count,
            input: Arc::unwrap_or_clone(input),
            annotations: Value::Null,
            payload_bytes_max: parent.payload_bytes_max,
            status: Status::Running,
            output: None,
            error: None,
            cause: None,
            started_at: at,
            stopped_at: None,
        };
        let live = self.live(&record, run.processor.clone(), Arc::clone(&parent.revision), parent.nesting + 1);
        self.executions.insert(id, live);
        if let Some(run) = self.map_runs.get_mut(&row) {
            run.started(item_index, items, id);
        }
        self.changed_map_runs.insert(row);
        turn.batch.writes.push(Write::Execution(Box::new(record)));
        queue.push_back((id, Event::Started));
    }

    /// A child of a map run has ended; says whose.
    pub(super) fn map_child_ended(
        &mut self,
        at: Timestamp,
        child: Parent,
        ending: &Ending,
        turn: &mut Turn,
        queue: &mut Queue,
    ) -> Option<(ExecutionId, u64)> {
        let Parent { map_run, item_index } = child;
        let run = self.map_runs.get_mut(&map_run)?;
        let parent = run.parent;
        run.ended(item_index, ending);
        self.changed_map_runs.insert(map_run);
        match run.phase {
            Phase::Running => self.advance_map_run(at, map_run, turn, queue),
            Phase::Ending(verdict) => self.settle_map_run(at, map_run, verdict, turn, queue),
            Phase::Writing(_) => {}
        }
        Some((parent, item_index))
    }

    /// No more children are started; those that run are stopped.
    pub(super) fn conclude_map_run(
        &mut self,
        at: Timestamp,
        row: MapRunRow,
        verdict: Verdict,
        turn: &mut Turn,
        queue: &mut Queue,
    ) {
        let Some(run) = self.map_runs.get_mut(&row) else {
            return;
        };
        let was_writing = matches!(run.phase, Phase::Writing(_));
        run.phase = Phase::Ending(verdict);
        run.give_up_redrives();
        if was_writing {
            // What there is of its results is being written already.
            return self.end_map_run(at, row, verdict, Ok(Value::Null), turn, queue);
        }
        if matches!(run.spec.items, ItemSource::Reader(_)) {
            turn.effects.push(Effect::StopReading { map_run: row });
        }
        queue.extend(run.running().map(|child| (child, Event::StopRequested { error: None, cause: None })));
        self.settle_map_run(at, row, verdict, turn, queue);
    }

    /// Goes on once the last child has ended.
    fn settle_map_run(&mut self, at: Timestamp, row: MapRunRow, verdict: Verdict, turn: &mut Turn, queue: &mut Queue) {
        let Some(run) = self.map_runs.get_mut(&row).filter(|run| !run.has_running()) else {
            return;
        };
        let is_exported = run.spec.writer.destination.is_some();
        if is_exported || (run.passes_everything_on() && verdict == Verdict::Succeeded) {
            run.phase = Phase::Writing(verdict);
            let pending = run.pending_inputs();
            let parent = self.executions.get(&run.parent);
            let machine_arn = parent.map(|parent| parent.revision.state_machine_arn.clone()).unwrap_or_default();
            let job = ResultJob {
                map_run: row,
                redrive_count: run.redrive_count,
                map_run_arn: run.arn.clone(),
                state_machine_arn: format!("{machine_arn}/{}", run.label),
                writer: run.spec.writer.clone(),
                state: run.spec.state.clone(),
                output_bytes_max: run.output_bytes_max(),
                pending,
            };
            turn.effects.push(Effect::WriteResults { map_run: row, job: Box::new(job) });
            if verdict != Verdict::Aborted {
                return;
            }
        }
        let ended = match verdict {
            Verdict::Succeeded => run.output(),
            Verdict::Failed | Verdict::Aborted => Ok(Value::Null),
        };
        self.end_map_run(at, row, verdict, ended, turn, queue);
    }

    /// Results are written, or can't be.
    pub(super) fn results_written(
        &mut self,
        at: Timestamp,
        row: MapRunRow,
        redrive_count: u32,
        written: Result<Value, Failed>,
        turn: &mut Turn,
        queue: &mut Queue,
    ) {
        let run = self.map_runs.get(&row).filter(|run| run.redrive_count == redrive_count);
        if let Some(Phase::Writing(verdict)) = run.map(|run| run.phase) {
            self.end_map_run(at, row, verdict, written, turn, queue);
        }
    }

    /// Forgets a map run and tells its parent.
    fn end_map_run(
        &mut self,
        at: Timestamp,
        row: MapRunRow,
        verdict: Verdict,
        output: Result<Value, Failed>,
        turn: &mut Turn,
        queue: &mut Queue,
    ) {
        let Some(mut run) = self.map_runs.remove(&row) else {
            return;
        };
        self.changed_map_runs.remove(&row);
        if let Some(parent) = self.executions.get_mut(&run.parent) {
            parent.map_runs.remove(&run.number);
        }
        let map_run = run.number;
        let (verdict, event) = match (verdict, output) {
            (Verdict::Succeeded, Ok(output)) => {
                (Verdict::Succeeded, Some(Event::MapRunSucceeded { map_run, output: output.into() }))
            }
            (Verdict::Succeeded, Err(Failed { error, cause })) => {
                (Verdict::Failed, Some(Event::MapRunFailed { map_run, error, cause }))
            }
            (Verdict::Failed, _) => {
                let Failed { error, cause } = run.take_failure();
                (Verdict::Failed, Some(Event::MapRunFailed { map_run, error, cause }))
            }
            (Verdict::Aborted, _) => (Verdict::Aborted, None),
        };
        turn.batch.writes.push(Write::MapRunChanged {
            map_run: row,
            status: verdict.status(),
            stopped_at: Some(at),
            details: Box::new(details(&run)),
        });
        queue.extend(event.map(|event| (run.parent, event)));
    }

    /// Adds how far map runs have come to what is recorded of this turn. Call it once, when the turn is complete.
    pub fn finish_turn(&mut self, turn: &mut Turn) {
        for row in std::mem::take(&mut self.changed_map_runs) {
            if let Some(run) = self.map_runs.get(&row) {
                turn.batch.writes.push(Write::MapRunChanged {
                    map_run: row,
                    status: Status::Running,
                    stopped_at: None,
                    details: Box::new(details(run)),
                });
            }
        }
    }

    /// Builds a map run again from what is recorded; says which of its children run.
    pub(super) fn recover_map_run(
        &mut self,
        journal: &dyn Reader,
        known: &MapRunRecord,
        spec: Arc<MapRunSpec>,
        processor: starmap_asl::StateMachine,
        bytes_max: Option<usize>,
        turn: &mut Turn,
    ) -> Result<Vec<ExecutionId>, journal::Error> {
        let (run, running) = self.restored(journal, known, spec, processor, bytes_max)?;
        if let Some((request, from)) = run.reading() {
            let redrive_count = run.redrive_count;
            turn.effects.push(Effect::ReadItems { map_run: known.row, redrive_count, request, from });
        }
        self.map_runs.insert(known.row, run);
        Ok(running)
    }

    /// A map run as its record and its children say, and which of those run. A child that ended without success before
    /// the last redrive, and has not begun since, waits for it.
    pub(super) fn restored(
        &self,
        journal: &dyn Reader,
        known: &MapRunRecord,
        spec: Arc<MapRunSpec>,
        processor: starmap_asl::StateMachine,
        bytes_max: Option<usize>,
    ) -> Result<(MapRun, Vec<ExecutionId>), journal::Error> {
        let MapRunRecord { row, arn, execution, number, details, .. } = known.clone();
        let limit = self.limits.map_run_concurrency_max;
        let is_batched = spec.batching.is_some();
        let mut run = MapRun::new(arn, details.label, execution, MapRunId(number), processor, spec, limit, bytes_max);
        run.limits = details.limits;
        (run.redrive_count, run.redriven_at) = (details.redrive_count, details.redriven_at);
        let mut running = Vec::new();
        for child in journal.child_states(row, is_batched)? {
            let ChildState { id, item_index, status, run_redrives, .. } = child;
            if !matches!(status, Status::Running | Status::Succeeded) && run_redrives < run.redrive_count {
                run.restore_halted(&child);
                continue;
            }
            run.restore(&child);
            if status == Status::Running {
                running.push(id);
                continue;
            }
            let mut ending = Ending { status, output: None, error: None, cause: None };
            if run.wants_outputs()
                && let Some(record) = journal.execution(id)?
            {
                ending = ending_of(&record);
            }
            run.ended(item_index, &ending);
        }
        run.resume_reading(details.etag, details.items_read);
        Ok((run, running))
    }
}

/// How an execution that has ended did so.
pub(super) fn ending_of(record: &ExecutionRecord) -> Ending {
    let ExecutionRecord { status, output, error, cause, .. } = record;
    Ending { status: *status, output: output.clone(), error: error.clone(), cause: cause.clone() }
}

pub(super) fn details(run: &MapRun) -> MapRunDetails {
    MapRunDetails {
        label: run.label.clone(),
        limits: run.limits,
        counts: run.counts(),
        etag: run.etag().map(str::to_owned),
        items_read: run.items_read(),
        redrive_count: run.redrive_count,
        redriven_at: run.redriven_at,
    }
}
