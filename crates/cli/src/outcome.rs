//! How an execution ended, for people and for programs.

use anyhow::Context;
use serde_json::{Value, json};
use starmap_engine::journal::{ChildRecord, ExecutionId, ExecutionRecord, Reader, Status};
use starmap_engine::limits::AWS_PAYLOAD_BYTES_MAX;
use starmap_pipeline::payload::Input;
use starmap_pipeline::store::Store;
use starmap_pipeline::summary::Summary;

use crate::billing::{self, BillArgs};
use crate::printer::Printer;
use crate::{exit, table, times};

/// Failed items that are shown; the rest are counted.
const FAILED_ITEMS_SHOWN: usize = 5;

/// What was shown, for a caller that goes on.
#[derive(Debug)]
pub struct Shown {
    /// The exit code.
    pub code: u8,
    /// The run's summary, if it succeeded.
    pub summary: Option<Summary>,
    /// What went wrong, if it failed.
    pub error: Option<String>,
}

/// An interrupted execution, and how to go on with it.
pub fn interrupted(name: &str, arn: &str, printer: &Printer) -> anyhow::Result<Shown> {
    printer.object(&json!({ "status": "INTERRUPTED", "execution_arn": arn, "run_id": name }));
    printer.warning(&format!(
        "execution {name} was interrupted; what is finished is kept\nhint: go on with `starmap run --resume {name}`"
    ));
    Ok(Shown { code: exit::INTERRUPTED, summary: None, error: None })
}

/// An execution on AWS that goes on without us, and how to come back to it.
pub fn left(name: &str, arn: &str, again: &str, printer: &Printer) -> Shown {
    printer.object(&json!({ "status": "RUNNING", "execution_arn": arn, "run_id": name }));
    printer.warning(&format!(
        "execution {name} goes on at AWS\n\
         hint: `{again} --name {name}` follows it again and fetches its results; `starmap executions stop {name} --target aws` ends it"
    ));
    Shown { code: exit::INTERRUPTED, summary: None, error: None }
}

/// An execution that has ended, wherever it was carried out. `bill` is what its price depends on beside it.
pub async fn show(
    journal: &dyn Reader,
    id: ExecutionId,
    store: &Store,
    bill: &BillArgs,
    printer: &Printer,
) -> anyhow::Result<Shown> {
    let record = journal.execution(id)?.context("the execution is not in the journal")?;
    match record.status {
        Status::Succeeded => succeeded(journal, &record, store, bill, printer).await,
        _ => failed(journal, &record, printer),
    }
}

async fn succeeded(
    journal: &dyn Reader,
    record: &ExecutionRecord,
    store: &Store,
    bill: &BillArgs,
    printer: &Printer,
) -> anyhow::Result<Shown> {
    let input = Input::parse(&record.input).context("reading the input of the execution again")?;
    let location = input.results();
    let mut times = times::of(journal, record)?;
    let requests = billing::requests_of(store, &location).await;
    times.aws = Some(billing::aws_cost(&billing::of(journal, record, requests, bill)?));
    let summary = starmap_pipeline::summarize::finalize(store, &location, times)
        .await
        .with_context(|| format!("completing the summary under {location}"))?;
    let (summary_at, report_at) = (store.display(&location.summary()), store.display(&location.report()));
    if summary.partitions_found < summary.partitions_requested {
        printer.warning(&format!(
            "file_limit asks for {} partitions, {} are there under {}; the run took those",
            summary.partitions_requested, summary.partitions_found, summary.data
        ));
    }
    if let Some(state) = too_large_for_aws(journal, record)? {
        printer.warning(&format!(
            "what state {state} passes on is larger than the {AWS_PAYLOAD_BYTES_MAX} bytes that AWS Step Functions allows; \
             this run is fine, but the same input would fail there\n\
             hint: fewer and larger partitions, or a smaller world_size"
        ));
    }
    printer.result(&table::of(&summary));
    printer.result(&format!("summary {summary_at}\nreport  {report_at}"));
    printer.object(&json!({
        "status": Status::Succeeded.as_str(),
        "execution_arn": record.arn,
        "run_id": summary.run_id,
        "galaxies": summary.galaxies,
        "partitions": summary.partitions,
        "partitions_requested": summary.partitions_requested,
        "wall_s": summary.wall_s,
        "aws_usd": summary.aws.as_ref().map(|aws| aws.total_usd),
        "summary": summary_at,
        "report": report_at,
    }));
    Ok(Shown { code: 0, summary: Some(summary), error: None })
}

/// The first state whose output would be too large on AWS.
fn too_large_for_aws(journal: &dyn Reader, record: &ExecutionRecord) -> anyhow::Result<Option<String>> {
    let history = journal.history(record.id, 0, usize::MAX)?;
    let large = history.iter().find(|row| {
        let output = row.details.get("output").map(|output| output.to_string().len());
        row.name.ends_with("StateExited") && output.is_some_and(|bytes| bytes > AWS_PAYLOAD_BYTES_MAX)
    });
    Ok(large.and_then(|row| row.details.get("name")?.as_str().map(str::to_owned)))
}

fn failed(journal: &dyn Reader, record: &ExecutionRecord, printer: &Printer) -> anyhow::Result<Shown> {
    let items = failed_items(journal, record)?;
    let error = record.error.clone().unwrap_or_else(|| record.status.as_str().to_owned());
    let mut text = format!("execution {} ended as {}: {error}", record.name, record.status.as_str());
    if let Some(cause) = &record.cause {
        text = format!("{text}: {}", message(cause));
    }
    for item in items.iter().take(FAILED_ITEMS_SHOWN) {
        let error = item.error.as_deref().unwrap_or(item.status.as_str());
        let cause = item.cause.as_deref().map(message).unwrap_or_default();
        text = format!("{text}\n  item {}: {error}: {cause}", item.item_index);
    }
    if items.len() > FAILED_ITEMS_SHOWN {
        text = format!("{text}\n  and {} more items", items.len() - FAILED_ITEMS_SHOWN);
    }
    if error == "Starmap.ResultPathInUse" {
        text = format!("{text}\nhint: `starmap run --overwrite` does the latter");
    }
    let wall_ms = record.stopped_at.map(|stopped| stopped.0 - record.started_at.0);
    printer.failure(&text);
    printer.object(&json!({
        "status": record.status.as_str(),
        "execution_arn": record.arn,
        "run_id": record.name,
        "error": error,
        "cause": record.cause.as_deref().map(message),
        "failed_items": items.iter().take(FAILED_ITEMS_SHOWN).map(item_object).collect::<Vec<_>>(),
        "failed_item_count": items.len(),
        "wall_s": wall_ms.map(|wall_ms| wall_ms as f64 / 1e3),
    }));
    Ok(Shown { code: exit::FAILED, summary: None, error: Some(text) })
}

fn item_object(item: &ChildRecord) -> Value {
    json!({
        "item_index": item.item_index,
        "error": item.error,
        "cause": item.cause.as_deref().map(message),
    })
}

/// Items that failed by themselves: those that were stopped because of another one say nothing.
fn failed_items(journal: &dyn Reader, record: &ExecutionRecord) -> anyhow::Result<Vec<ChildRecord>> {
    let mut failed = Vec::new();
    for run in journal.map_runs(record.id)? {
        let children = journal.children(run.row)?;
        failed.extend(children.into_iter().filter(|child| matches!(child.status, Status::Failed | Status::TimedOut)));
    }
    Ok(failed)
}

/// The sentence in a cause: of a function's error object its message, of anything else the whole.
pub fn message(cause: &str) -> String {
    let object = serde_json::from_str::<Value>(cause).ok();
    let sentence = object.as_ref().and_then(|object| object.get("errorMessage")?.as_str());
    sentence.unwrap_or(cause).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_of_functions_are_shown_as_their_sentence() {
        assert_eq!(message(r#"{"errorType":"E","errorMessage":"no partitions"}"#), "no partitions");
        assert_eq!(message("plain"), "plain");
        assert_eq!(message("[1]"), "[1]");
    }
}
