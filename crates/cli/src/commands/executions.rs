//! `starmap executions`: what the journal knows.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use starmap_asl::Timestamp;
use starmap_engine::journal::{ExecutionFilter, ExecutionRecord, ExecutionSummary, Reader};

use crate::commands::run::{self, PlaceArgs};
use crate::printer::Printer;
use crate::progress::duration;
use crate::{exit, outcome, session, table, variables};

/// Subcommands of `starmap executions`.
#[derive(Debug, Subcommand)]
pub enum ExecutionsCommand {
    /// List executions, newest first
    List(ListArgs),
    /// Show one execution: status, times, map runs, what failed
    Show(OneArgs),
    /// Print the history of one execution, event by event
    History(OneArgs),
    /// Take up an interrupted execution; the same as `run --resume`
    Resume(ResumeArgs),
}

/// Arguments of `list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Folder with the journal
    #[arg(long, value_name = "DIR", env = variables::DATA, default_value = "starmap-data")]
    data: PathBuf,
    /// How many at most
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
}

/// Arguments of `show` and `history`.
#[derive(Debug, Args)]
pub struct OneArgs {
    /// Name or ARN of the execution
    #[arg(value_name = "ID")]
    execution: String,
    /// Folder with the journal
    #[arg(long, value_name = "DIR", env = variables::DATA, default_value = "starmap-data")]
    data: PathBuf,
}

/// Arguments of `resume`.
#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// Name or ARN of the execution
    #[arg(value_name = "ID")]
    execution: String,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Rows of a history that are read at once.
const HISTORY_PAGE: usize = 1_000;

/// Runs the subcommand.
pub fn run(command: &ExecutionsCommand, printer: &Printer) -> anyhow::Result<ExitCode> {
    match command {
        ExecutionsCommand::List(args) => list(args, printer)?,
        ExecutionsCommand::Show(args) => show(args, printer)?,
        ExecutionsCommand::History(args) => history(args, printer)?,
        ExecutionsCommand::Resume(args) => {
            return Ok(ExitCode::from(run::resume(&args.execution, &args.place, None, printer)?));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(args: &ListArgs, printer: &Printer) -> anyhow::Result<()> {
    let executions = session::reader(&args.data)?.executions(&ExecutionFilter::everyone(), None, args.limit)?;
    let mut rows = vec![["NAME", "STATUS", "STARTED (UTC)", "DURATION"].map(str::to_owned).to_vec()];
    for record in &executions {
        let took = wall_s(record.started_at, record.stopped_at).map(duration).unwrap_or_default();
        rows.push(vec![record.name.clone(), record.status.as_str().to_owned(), at(record.started_at), took]);
    }
    printer.result(&table::aligned(&rows));
    printer.object(&json!({ "executions": executions.iter().map(summary_object).collect::<Vec<_>>() }));
    Ok(())
}

fn show(args: &OneArgs, printer: &Printer) -> anyhow::Result<()> {
    let journal = session::reader(&args.data)?;
    let record = find(&journal, args)?;
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
        let count = |status: &str| children.iter().filter(|child| child.status.as_str() == status).count();
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
    if record.status == starmap_engine::journal::Status::Running {
        printer.note(&format!(
            "hint: if no process is running it any more, go on with `starmap run --resume {}`",
            record.name
        ));
    }
    Ok(())
}

fn history(args: &OneArgs, printer: &Printer) -> anyhow::Result<()> {
    let journal = session::reader(&args.data)?;
    let record = find(&journal, args)?;
    let mut after = 0;
    loop {
        let page = journal.history(record.id, after, HISTORY_PAGE)?;
        for row in &page {
            let name = row.details.get("name").and_then(Value::as_str).unwrap_or_default();
            let error = row.details.get("error").and_then(Value::as_str).unwrap_or_default();
            printer.result(format!("{:>6}  {}  {:<24} {name}{error}", row.id, at(row.at), row.name).trim_end());
            printer.object(&json!({
                "id": row.id, "previous_id": row.previous_id, "at": row.at.to_string(), "type": row.name,
                "details": row.details,
            }));
            after = row.id;
        }
        if page.len() < HISTORY_PAGE {
            return Ok(());
        }
    }
}

fn find(journal: &dyn Reader, args: &OneArgs) -> anyhow::Result<ExecutionRecord> {
    journal.find_execution(&args.execution)?.ok_or_else(|| {
        exit::usage(format!(
            "there is no execution {} in data root {}\nhint: `starmap executions list` shows those that are",
            args.execution,
            args.data.display()
        ))
    })
}

fn object(record: &ExecutionRecord) -> Value {
    summary_object(&ExecutionSummary::from(record))
}

fn summary_object(record: &ExecutionSummary) -> Value {
    json!({
        "name": record.name,
        "execution_arn": record.arn,
        "status": record.status.as_str(),
        "started_at": record.started_at.to_string(),
        "stopped_at": record.stopped_at.map(|at| at.to_string()),
        "wall_s": wall_s(record.started_at, record.stopped_at),
        "error": record.error,
        "cause": record.cause.as_deref().map(outcome::message),
    })
}

fn wall_s(started: Timestamp, stopped: Option<Timestamp>) -> Option<f64> {
    stopped.map(|stopped| (stopped.0 - started.0) as f64 / 1e3)
}

fn at(timestamp: Timestamp) -> String {
    timestamp.to_string()
}

fn pair(name: &str, value: &str) -> Vec<String> {
    vec![name.to_owned(), value.to_owned()]
}
