//! Map runs inside the core: they begin, start children while there is room, and end.

use std::sync::Arc;

use serde_json::Value;
use starmap_asl::{Event, MapRunId, MapRunSpec, Timestamp};

use super::{Core, Queue, Turn};
use crate::journal::{ExecutionId, ExecutionRecord, MapRunRecord, MapRunRow, Parent, Status, Write};
use crate::limits::NESTING_MAX;
use crate::map_run::{MapRun, Next};
use crate::names::derived_uuid;

impl Core {
    pub(super) fn start_map_run(
        &mut self,
        at: Timestamp,
        id: ExecutionId,
        number: MapRunId,
        spec: MapRunSpec,
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
        self.last_map_run += 1;
        let row = MapRunRow(self.last_map_run);
        let label = spec.label.clone().unwrap_or_else(|| derived_uuid(&[&live.arn, &spec.state]));
        let unique = derived_uuid(&[&live.arn, &number.0.to_string()]);
        let arn = self.naming.map_run(&live.revision.state_machine_name, &label, &unique);
        live.map_runs.insert(number, row);
        turn.batch.writes.push(Write::MapRun(MapRunRecord {
            row,
            arn: arn.clone(),
            execution: id,
            number: number.0,
            state: spec.state.clone(),
            item_count: spec.items.len() as u64,
            status: Status::Running,
            started_at: at,
            stopped_at: None,
        }));
        let run = MapRun::new(arn.clone(), label, id, number, processor, spec, self.limits.map_run_concurrency_max);
        self.map_runs.insert(row, run);
        queue.push_back((id, Event::MapRunStarted { map_run: number, arn }));
        self.advance_map_run(at, row, turn, queue);
    }

    /// Starts as many children as the map run has room for, or ends it.
    pub(super) fn advance_map_run(&mut self, at: Timestamp, row: MapRunRow, turn: &mut Turn, queue: &mut Queue) {
        loop {
            let Some(run) = self.map_runs.get_mut(&row) else {
                return;
            };
            match run.next() {
                Next::Wait => return,
                Next::Start { item_index, input } => self.start_child(at, row, item_index, input, turn, queue),
                Next::Succeeded { outputs } => {
                    let (parent, map_run) = (run.parent, run.number);
                    self.end_map_run(at, row, Status::Succeeded, turn, queue);
                    queue.push_back((parent, Event::MapRunSucceeded { map_run, output: Value::Array(outputs) }));
                    return;
                }
                Next::Failed { error, cause } => {
                    let (parent, map_run) = (run.parent, run.number);
                    self.end_map_run(at, row, Status::Failed, turn, queue);
                    queue.push_back((parent, Event::MapRunFailed { map_run, error, cause }));
                    return;
                }
            }
        }
    }

    fn start_child(
        &mut self,
        at: Timestamp,
        row: MapRunRow,
        item_index: u64,
        input: Value,
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
            processor: Some(run.spec.processor.0.clone()),
            parent: Some(Parent { map_run: row, item_index }),
            input,
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
            run.started(item_index, id);
        }
        turn.batch.writes.push(Write::Execution(Box::new(record)));
        queue.push_back((id, Event::Started));
    }

    /// Forgets a map run; children that still run are stopped.
    pub(super) fn end_map_run(
        &mut self,
        at: Timestamp,
        row: MapRunRow,
        status: Status,
        turn: &mut Turn,
        queue: &mut Queue,
    ) {
        let Some(run) = self.map_runs.remove(&row) else {
            return;
        };
        turn.batch.writes.push(Write::MapRunEnded { map_run: row, at, status });
        if let Some(parent) = self.executions.get_mut(&run.parent) {
            parent.map_runs.remove(&run.number);
        }
        queue.extend(run.running().map(|child| (child, Event::StopRequested { error: None, cause: None })));
    }
}
