//! An execution on AWS as a journal: what reads journals (how it ended, its times, its bill) reads this.
//!
//! What AWS does not tell is not there: events (what replays need), and the children of a Distributed Map that are Express
//! executions. Of those only how many there were is known, and what their functions' REPORT lines say; see
//! [`Mirror::add_reports`].

use starmap_asl::{Event, Timestamp};
use starmap_engine::journal::{
    ChildRecord, ChildState, Error, ExecutionFilter, ExecutionId, ExecutionRecord, ExecutionSummary, ExecutionsOf,
    HistoryRow, InvocationRow, ItemCounts, MapRunRecord, MapRunRow, Reader, Status,
};
use starmap_engine::registry::{MachineKind, Resources, Revision, RevisionRow};

use super::executions::{item_of, placed};
use super::reports::Report;

/// An execution with its history.
#[derive(Debug, Clone)]
pub struct Mirrored {
    /// How it was started and how it ended.
    pub record: ExecutionRecord,
    /// What happened.
    pub history: Vec<HistoryRow>,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Mirror {
    /// The first one is the execution itself.
    executions: Vec<Mirrored>,
    runs: Vec<MapRunRecord>,
    invocations: Vec<InvocationRow>,
}

impl Mirror {
    /// An execution without map runs.
    pub fn new(mut execution: Mirrored) -> Self {
        execution.record.id = ExecutionId(1);
        Self { executions: vec![execution], runs: Vec::new(), invocations: Vec::new() }
    }

    /// The execution itself.
    pub fn record(&self) -> &ExecutionRecord {
        &self.executions[0].record
    }

    /// The Map state that a map run is of, by the history.
    pub fn state_of(&self, map_run_arn: &str) -> Option<String> {
        state_of(&self.executions[0].history, map_run_arn)
    }

    /// Adds a map run with those of its children that are known.
    pub fn add(&mut self, run: MapRunRecord, mut children: Vec<Mirrored>) {
        children.sort_by_key(|child| item_of(&child.record, u64::MAX));
        for (place, child) in children.into_iter().enumerate() {
            let item = item_of(&child.record, place as u64);
            self.executions.push(placed(child, self.executions.len() as u64 + 1, run.row, item));
        }
        self.runs.push(run);
    }

    /// Adds what functions used. An attempt belongs to the task whose result names its request; those that are named by
    /// none failed, or were made for Express children.
    ///
    /// A map run whose children are Express executions gets a child for each such attempt, as long as the attempt took: what
    /// they took beyond that is known from logs only.
    pub fn add_reports(&mut self, reports: Vec<Report>) {
        let has_express = self.runs.iter().find(|run| {
            run.details.counts.children.total() > 0
                && !self.executions.iter().any(|it| it.record.parent.is_some_and(|parent| parent.map_run == run.row))
        });
        let express = has_express.map(|run| (run.row, run.started_at, run.stopped_at));
        // A definition that calls functions by their ARN gets their bare results, which name nothing.
        let is_naming = self.executions.iter().flat_map(|it| &it.history).any(|row| {
            row.name == "TaskSucceeded"
                && row.details.get("output").is_some_and(|it| it.get("SdkResponseMetadata").is_some())
        });
        let mut placed_children = 0;
        for report in reports {
            let found =
                self.executions.iter().find_map(|it| Some((it.record.id, task_of(&it.history, &report.request_id)?)));
            let within = express.filter(|(_, from, to)| {
                let began = report.at.0 - report.duration_ms as i64;
                found.is_none()
                    && began >= from.0
                    && to.is_none_or(|to| report.at.0 <= to.0 + 1_000)
                    && !self.is_of_own(&report)
            });
            let (execution, task, is_unnamed) = match (found, within) {
                (Some((execution, task)), _) => (execution, task, false),
                (None, Some((run, ..))) => {
                    let child = express_child(self.record(), &report);
                    let id = self.executions.len() as u64 + 1;
                    self.executions.push(placed(child, id, run, placed_children));
                    placed_children += 1;
                    (ExecutionId(id), 0, false)
                }
                (None, None) => (ExecutionId(1), 0, is_naming),
            };
            let error = report.error.clone().or_else(|| is_unnamed.then(|| "the task did not succeed".to_owned()));
            self.invocations.push(InvocationRow {
                execution,
                task,
                function: report.function,
                request_id: report.request_id,
                log_stream: report.log_stream,
                duration_ms: report.duration_ms,
                billed_ms: report.billed_ms,
                memory_mib: report.memory_mib,
                max_memory_used_mib: report.max_memory_used_mib,
                init_ms: report.init_ms,
                error,
                at: report.at,
            });
        }
    }

    /// Whether a function is one that the execution calls itself, outside of the Map.
    fn is_of_own(&self, report: &Report) -> bool {
        self.executions[0].history.iter().filter(|row| row.name.ends_with("Scheduled")).any(|row| {
            let function = row.details.get("parameters").and_then(|parameters| parameters.get("FunctionName"));
            let function = function.or_else(|| row.details.get("resource")).and_then(|function| function.as_str());
            function.is_some_and(|function| crate::definition::function_name(function) == report.function)
        })
    }

    /// Attempts of functions that there were at least, by the histories and the counts of map runs.
    pub fn attempts_expected(&self) -> usize {
        let scheduled = |it: &Mirrored| it.history.iter().filter(|row| is_scheduled(&row.name)).count();
        let of_histories: usize = self.executions.iter().map(scheduled).sum();
        let known = |run: &MapRunRecord| {
            self.executions.iter().filter(|it| it.record.parent.is_some_and(|parent| parent.map_run == run.row)).count()
        };
        let of_counts: usize = self
            .runs
            .iter()
            .map(|run| {
                let counts = run.details.counts.children;
                ((counts.succeeded + counts.failed) as usize).saturating_sub(known(run))
            })
            .sum();
        of_histories + of_counts
    }

    fn children_of(&self, run: MapRunRow) -> Vec<&ExecutionRecord> {
        let of_run = |record: &&ExecutionRecord| record.parent.is_some_and(|parent| parent.map_run == run);
        let mut found: Vec<&ExecutionRecord> = self.executions.iter().map(|it| &it.record).filter(of_run).collect();
        found.sort_by_key(|record| record.parent.map(|parent| parent.item_index));
        found
    }

    fn at(&self, id: ExecutionId) -> Option<&Mirrored> {
        self.executions.get(usize::try_from(id.0).ok()?.checked_sub(1)?)
    }
}

/// The Map state that a map run is of, by the history of its execution.
pub fn state_of(history: &[HistoryRow], map_run_arn: &str) -> Option<String> {
    let started =
        history.iter().position(|row| row.details.get("map_run_arn").is_some_and(|arn| arn == map_run_arn))?;
    let entered = history[..started].iter().rev().find(|row| row.name == "MapStateEntered")?;
    entered.details.get("name")?.as_str().map(str::to_owned)
}

fn is_scheduled(name: &str) -> bool {
    matches!(name, "TaskScheduled" | "LambdaFunctionScheduled")
}

/// The number of the task, from 1, whose result names a request of Lambda.
fn task_of(history: &[HistoryRow], request_id: &str) -> Option<u64> {
    let names = |row: &HistoryRow| {
        let metadata = row.details.get("output").and_then(|output| output.get("SdkResponseMetadata"));
        metadata.and_then(|metadata| metadata.get("RequestId")).is_some_and(|named| named == request_id)
    };
    let succeeded = history.iter().position(|row| row.name == "TaskSucceeded" && names(row))?;
    Some(history[..succeeded].iter().filter(|row| is_scheduled(&row.name)).count() as u64)
}

fn express_child(parent: &ExecutionRecord, report: &Report) -> Mirrored {
    let began = Timestamp(report.at.0 - report.duration_ms.round() as i64);
    let record = ExecutionRecord {
        kind: MachineKind::Express,
        arn: format!("{}:{}", parent.arn.replacen(":execution:", ":express:", 1), report.request_id),
        name: report.request_id.clone(),
        input: serde_json::Value::Null,
        output: None,
        error: None,
        cause: None,
        status: Status::Succeeded,
        started_at: began,
        stopped_at: Some(report.at),
        ..parent.clone()
    };
    Mirrored { record, history: Vec::new() }
}

impl Reader for Mirror {
    fn last_rows(&self) -> Result<(ExecutionId, MapRunRow), Error> {
        Ok((ExecutionId(self.executions.len() as u64), MapRunRow(self.runs.len() as u64)))
    }

    fn resources(&self) -> Result<Resources, Error> {
        Ok(Resources::default())
    }

    fn revision(&self, _: RevisionRow) -> Result<Option<Revision>, Error> {
        Ok(None)
    }

    fn execution(&self, id: ExecutionId) -> Result<Option<ExecutionRecord>, Error> {
        Ok(self.at(id).map(|it| it.record.clone()))
    }

    fn execution_by_arn(&self, arn: &str) -> Result<Option<ExecutionRecord>, Error> {
        Ok(self.executions.iter().find(|it| it.record.arn == arn).map(|it| it.record.clone()))
    }

    fn find_execution(&self, arn_or_name: &str) -> Result<Option<ExecutionRecord>, Error> {
        let is_it = |it: &&Mirrored| it.record.arn == arn_or_name || it.record.name == arn_or_name;
        Ok(self.executions.iter().find(is_it).map(|it| it.record.clone()))
    }

    fn executions(
        &self,
        filter: &ExecutionFilter,
        before: Option<ExecutionId>,
        limit: usize,
    ) -> Result<Vec<ExecutionSummary>, Error> {
        let of = |record: &ExecutionRecord| match &filter.of {
            ExecutionsOf::MapRun(run) => record.parent.is_some_and(|parent| parent.map_run == *run),
            _ => record.parent.is_none(),
        };
        let records = self.executions.iter().rev().map(|it| &it.record);
        let wanted = records.filter(|record| {
            of(record)
                && filter.status.is_none_or(|status| record.status == status)
                && before.is_none_or(|before| record.id < before)
        });
        Ok(wanted.take(limit).map(ExecutionSummary::from).collect())
    }

    fn redriven_by(&self, _: ExecutionId, _: &str) -> Result<Option<Timestamp>, Error> {
        Ok(None)
    }

    fn events(&self, _: ExecutionId) -> Result<Vec<(Timestamp, Event)>, Error> {
        Ok(Vec::new())
    }

    fn history(&self, execution: ExecutionId, after: u64, limit: usize) -> Result<Vec<HistoryRow>, Error> {
        let rows = self.at(execution).map(|it| it.history.as_slice()).unwrap_or_default();
        Ok(rows.iter().filter(|row| row.id > after).take(limit).cloned().collect())
    }

    fn history_backward(&self, execution: ExecutionId, before: u64, limit: usize) -> Result<Vec<HistoryRow>, Error> {
        let rows = self.at(execution).map(|it| it.history.as_slice()).unwrap_or_default();
        Ok(rows.iter().rev().filter(|row| row.id < before).take(limit).cloned().collect())
    }

    fn map_run(&self, row: MapRunRow) -> Result<Option<MapRunRecord>, Error> {
        Ok(self.runs.iter().find(|run| run.row == row).cloned())
    }

    fn map_run_by_arn(&self, arn: &str) -> Result<Option<MapRunRecord>, Error> {
        Ok(self.runs.iter().find(|run| run.arn == arn).cloned())
    }

    fn map_runs_page(
        &self,
        execution: ExecutionId,
        after: Option<MapRunRow>,
        limit: usize,
    ) -> Result<Vec<MapRunRecord>, Error> {
        let runs =
            self.runs.iter().filter(|run| run.execution == execution && after.is_none_or(|after| run.row > after));
        Ok(runs.take(limit).cloned().collect())
    }

    fn children(&self, map_run: MapRunRow) -> Result<Vec<ChildRecord>, Error> {
        let child = |record: &&ExecutionRecord| {
            let item_index = record.parent?.item_index;
            Some(ChildRecord {
                id: record.id,
                item_index,
                status: record.status,
                output: record.output.clone(),
                error: record.error.clone(),
                cause: record.cause.clone(),
                started_at: record.started_at,
                stopped_at: record.stopped_at,
            })
        };
        Ok(self.children_of(map_run).iter().filter_map(child).collect())
    }

    fn child_states(&self, map_run: MapRunRow, _: bool) -> Result<Vec<ChildState>, Error> {
        let state = |record: &&ExecutionRecord| {
            let item_index = record.parent?.item_index;
            Some(ChildState { id: record.id, item_index, items: 1, status: record.status, run_redrives: 0 })
        };
        Ok(self.children_of(map_run).iter().filter_map(state).collect())
    }

    fn children_page(
        &self,
        map_run: MapRunRow,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<ExecutionRecord>, Error> {
        let is_after = |record: &&&ExecutionRecord| {
            after.is_none_or(|after| record.parent.is_some_and(|it| it.item_index > after))
        };
        Ok(self.children_of(map_run).iter().filter(is_after).take(limit).map(|record| (*record).clone()).collect())
    }

    fn item_counts(&self, map_run: MapRunRow) -> Result<ItemCounts, Error> {
        let run = self.runs.iter().find(|run| run.row == map_run);
        let counts = run.map(|run| run.details.counts.items).unwrap_or_default();
        Ok(ItemCounts {
            running: counts.running,
            succeeded: counts.succeeded,
            failed: counts.failed,
            timed_out: counts.timed_out,
            aborted: counts.aborted,
        })
    }

    fn invocations(&self, execution: ExecutionId) -> Result<Vec<InvocationRow>, Error> {
        let is_wanted = |row: &&InvocationRow| execution == ExecutionId(1) || row.execution == execution;
        Ok(self.invocations.iter().filter(is_wanted).cloned().collect())
    }
}
