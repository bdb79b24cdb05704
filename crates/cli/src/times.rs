//! What only the engine knows of a run's time: a projection of its history.

use starmap_asl::Timestamp;
use starmap_engine::journal::{ExecutionId, ExecutionRecord, HistoryRow, InvocationRow, Reader};
use starmap_pipeline::summarize::{Attempt, ExecutionTimes, QueuedItem};

/// Reads the times of an execution that has succeeded.
pub fn of(journal: &dyn Reader, record: &ExecutionRecord) -> anyhow::Result<ExecutionTimes> {
    let history = journal.history(record.id, 0, usize::MAX)?;
    let mut queued = Vec::new();
    for run in journal.map_runs(record.id)? {
        for child in journal.children(run.row)? {
            let rank = child.output.as_ref().and_then(|output| output.get("rank")?.as_u64());
            let waited_s = waited_s(journal, child.id)?;
            queued.extend(waited_s.map(|queued_s| QueuedItem { rank: rank.unwrap_or(child.item_index), queued_s }));
        }
    }
    let stopped = record.stopped_at.unwrap_or(record.started_at);
    Ok(ExecutionTimes {
        execution_arn: record.arn.clone(),
        wall_s: seconds(record.started_at, stopped),
        map_s: between(&history, "MapRunStarted", "MapRunSucceeded"),
        initialize_s: state(&history, "Initialize"),
        summarize_s: state(&history, "Summarize"),
        queued,
        attempts: journal.invocations(record.id)?.into_iter().map(attempt).collect(),
        aws: None,
    })
}

fn attempt(row: InvocationRow) -> Attempt {
    Attempt {
        function: row.function,
        request_id: row.request_id,
        log_stream: row.log_stream,
        duration_ms: row.duration_ms,
        billed_ms: row.billed_ms,
        memory_mib: row.memory_mib,
        max_memory_used_mib: row.max_memory_used_mib,
        init_ms: row.init_ms,
        error: row.error,
    }
}

/// Seconds that the last attempt of a child's task waited for a worker: scheduled → started.
fn waited_s(journal: &dyn Reader, child: ExecutionId) -> anyhow::Result<Option<f64>> {
    let history = journal.history(child, 0, usize::MAX)?;
    let at = |suffix: &str| history.iter().rev().find(|row| row.name.ends_with(suffix)).map(|row| row.at);
    let started = at("TaskStarted").or_else(|| at("LambdaFunctionStarted"));
    let scheduled = at("TaskScheduled").or_else(|| at("LambdaFunctionScheduled"));
    Ok(scheduled.zip(started).map(|(scheduled, started)| seconds(scheduled, started)))
}

/// Seconds from the first event of one type to the last of another.
fn between(history: &[HistoryRow], from: &str, to: &str) -> Option<f64> {
    let from = history.iter().find(|row| row.name == from)?.at;
    let to = history.iter().rev().find(|row| row.name == to)?.at;
    Some(seconds(from, to))
}

/// Seconds from entering a state of that name to leaving it.
fn state(history: &[HistoryRow], name: &str) -> Option<f64> {
    let mut own = history.iter().filter(|row| row.details.get("name").is_some_and(|value| value == name));
    let (entered, left) = (own.next()?, own.next_back()?);
    Some(seconds(entered.at, left.at))
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    (to.0 - from.0).max(0) as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(id: u64, at: i64, name: &str, state: &str) -> HistoryRow {
        let details = json!({ "name": state });
        HistoryRow { id, previous_id: id - 1, at: Timestamp(at), name: name.to_owned(), details }
    }

    #[test]
    fn times_are_those_between_events() {
        let history = [
            row(1, 1_000, "TaskStateEntered", "Initialize"),
            row(2, 1_500, "TaskStateExited", "Initialize"),
            row(3, 2_000, "MapRunStarted", ""),
            row(4, 4_250, "MapRunSucceeded", ""),
        ];
        assert_eq!(state(&history, "Initialize"), Some(0.5));
        assert_eq!(state(&history, "Summarize"), None);
        assert_eq!(between(&history, "MapRunStarted", "MapRunSucceeded"), Some(2.25));
    }
}
