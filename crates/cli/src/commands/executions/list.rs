//! `list` and `show`.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};
use starmap_engine::journal::{ExecutionFilter, ExecutionId, ExecutionSummary, ExecutionsOf, Reader, Status};
use starmap_engine::names::Naming;

use super::{OneArgs, at, object, pair, summary_object, wall_s};
use crate::commands::run::runtime;
use crate::printer::Printer;
use crate::progress::duration;
use crate::target::{Executions, TargetArgs};
use crate::{outcome, session, table, variables};

/// Arguments of `list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Folder with the journal
    #[arg(long, value_name = "DIR", env = variables::DATA, default_value = "starmap-data")]
    data: PathBuf,
    /// How many at most
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
    /// Only those that have come so far: RUNNING, SUCCEEDED, FAILED, TIMED_OUT or ABORTED
    #[arg(long, value_name = "STATUS", value_parser = status)]
    status: Option<Status>,
    /// Only those whose name contains this
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// Only those that failed with this error
    #[arg(long, value_name = "NAME")]
    error: Option<String>,
    /// Only those that were redriven
    #[arg(long)]
    redriven: bool,
    #[command(flatten)]
    target: TargetArgs,
}

/// Executions that are read at once.
const PAGE: usize = 1_000;

fn status(text: &str) -> Result<Status, String> {
    let spelled = text.to_ascii_uppercase().replace('-', "_");
    Status::parse(&spelled).ok_or_else(|| "expected RUNNING, SUCCEEDED, FAILED, TIMED_OUT or ABORTED".to_owned())
}

/// Those that are asked for, newest first.
fn wanted(args: &ListArgs) -> anyhow::Result<Vec<ExecutionSummary>> {
    if args.target.is_aws() {
        return runtime()?.block_on(wanted_there(args));
    }
    args.target.check_local(true)?;
    let journal = session::reader(&args.data)?;
    let of = match &args.target.state_machine {
        None => ExecutionsOf::Everyone,
        Some(arn) if arn.starts_with("arn:") => ExecutionsOf::StateMachine(arn.clone()),
        Some(name) => ExecutionsOf::StateMachine(Naming::default().state_machine(name)),
    };
    let is_redriven = args.redriven.then_some(true);
    let filter = ExecutionFilter { of, status: args.status, is_redriven, ..ExecutionFilter::everyone() };
    let (mut found, mut before): (Vec<ExecutionSummary>, Option<ExecutionId>) = (Vec::new(), None);
    loop {
        let page = journal.executions(&filter, before, PAGE)?;
        let is_last = page.len() < PAGE;
        before = page.last().map(|summary| summary.id);
        found.extend(page.into_iter().filter(|summary| is_wanted(args, summary)));
        if is_last || found.len() >= args.limit {
            found.truncate(args.limit);
            return Ok(found);
        }
    }
}

fn is_wanted(args: &ListArgs, summary: &ExecutionSummary) -> bool {
    args.name.as_ref().is_none_or(|text| summary.name.contains(text))
        && args.error.as_ref().is_none_or(|error| summary.error.as_ref() == Some(error))
}

/// AWS's listings do not have errors: they are asked for one by one where that matters.
async fn wanted_there(args: &ListArgs) -> anyhow::Result<Vec<ExecutionSummary>> {
    let remote = args.target.connect().await?;
    let (mut found, mut token) = (Vec::new(), None);
    loop {
        let (page, next) = remote.page(args.status, args.redriven, token).await?;
        for mut summary in page {
            if args.error.is_some() && !matches!(summary.status, Status::Running | Status::Succeeded) {
                let told = remote.find(&summary.arn).await?;
                summary.error = told.and_then(|record| record.error);
            }
            if is_wanted(args, &summary) {
                found.push(summary);
            }
            if found.len() >= args.limit {
                return Ok(found);
            }
        }
        token = next;
        if token.is_none() {
            return Ok(found);
        }
    }
}

/// Lists executions.
pub fn list(args: &ListArgs, printer: &Printer) -> anyhow::Result<()> {
    let executions = wanted(args)?;
    let mut rows = vec![["NAME", "STATUS", "STARTED (UTC)", "DURATION"].map(str::to_owned).to_vec()];
    for record in &executions {
        let took = wall_s(record.started_at, record.stopped_at).map(duration).unwrap_or_default();
        rows.push(vec![record.name.clone(), record.status.as_str().to_owned(), at(record.started_at), took]);
    }
    printer.result(&table::aligned(&rows));
    printer.object(&json!({ "executions": executions.iter().map(summary_object).collect::<Vec<_>>() }));
    Ok(())
}

/// Shows one execution.
pub fn show(args: &OneArgs, printer: &Printer) -> anyhow::Result<()> {
    let executions = Executions::open(&args.target, &args.data)?;
    let record = executions.find(&args.execution)?;
    let journal = executions.journal(&record)?;
    let mut rows = vec![
        pair("execution", &record.name),
        pair("arn", &record.arn),
        pair("status", record.status.as_str()),
        pair("started", &at(record.started_at)),
    ];
    if let Some(stopped) = record.stopped_at {
        rows.push(pair("stopped", &at(stopped)));
    }
    if let Some(wall_s) = wall_s(record.started_at, record.stopped_at) {
        rows.push(pair("duration", &duration(wall_s)));
    }
    if let Some(error) = &record.error {
        rows.push(pair("error", error));
    }
    if let Some(cause) = &record.cause {
        rows.push(pair("cause", &outcome::message(cause)));
    }
    let mut runs = Vec::new();
    for run in journal.map_runs(record.id)? {
        let children = journal.children(run.row)?;
        // Express children on AWS are counted, and not told of one by one.
        let items = journal.item_counts(run.row)?;
        let count = |status: &str| match (status, children.is_empty()) {
            ("SUCCEEDED", true) => items.succeeded,
            ("RUNNING", true) => items.running,
            ("FAILED", true) => items.failed,
            ("TIMED_OUT", true) => items.timed_out,
            ("ABORTED", true) => items.aborted,
            (status, _) => children.iter().filter(|child| child.status.as_str() == status).count() as u64,
        };
        let counts = ["SUCCEEDED", "RUNNING", "FAILED", "TIMED_OUT", "ABORTED"].map(|status| (status, count(status)));
        let said = counts.iter().filter(|(_, count)| *count > 0);
        let said: Vec<String> = said.map(|(status, count)| format!("{count} {}", status.to_lowercase())).collect();
        rows.push(pair(
            "map run",
            &format!(
                "{}: {} of {} items ({})",
                run.state,
                run.status.as_str(),
                run.details.counts.items.total(),
                said.join(", ")
            ),
        ));
        for child in children.iter().filter(|child| child.error.is_some()).take(10) {
            let cause = child.cause.as_deref().map(outcome::message).unwrap_or_default();
            let error = child.error.as_deref().unwrap_or_default();
            rows.push(pair("", &format!("item {}: {error}: {cause}", child.item_index)));
        }
        runs.push(json!({
            "arn": run.arn, "state": run.state, "status": run.status.as_str(), "item_count": run.details.counts.items.total(),
            "counts": counts.into_iter().map(|(status, count)| (status.to_owned(), json!(count)))
                .collect::<serde_json::Map<_, _>>(),
        }));
    }
    printer.result(&table::aligned(&rows));
    let mut shown = object(&record);
    shown["input"] = record.input.clone();
    shown["output"] = record.output.clone().unwrap_or(Value::Null);
    shown["map_runs"] = json!(runs);
    printer.object(&shown);
    if matches!(record.status, Status::Failed | Status::TimedOut | Status::Aborted) {
        printer.note(&format!(
            "hint: `starmap executions redrive {}{}` runs again what failed, and only that",
            record.name,
            executions.option()
        ));
    }
    if record.status == Status::Running && !args.target.is_aws() {
        printer.note(&format!(
            "hint: if no process is running it any more, go on with `starmap run --resume {}`",
            record.name
        ));
    }
    Ok(())
}
