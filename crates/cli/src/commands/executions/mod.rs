//! `starmap executions`: what the journal knows, and what can be done with an execution.
//!
//! Reading needs no lock: it goes on beside whoever runs the executions (`list`, `history`, `logs`). Stopping and
//! redriving need the data root, or whoever has it (`control`).

mod control;
mod history;
mod list;
mod logs;
mod trace;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use starmap_asl::Timestamp;
use starmap_engine::journal::{ExecutionRecord, ExecutionSummary, Reader};

pub use self::control::mended;
use crate::commands::run::{self, PlaceArgs};
use crate::printer::Printer;
use crate::target::TargetArgs;
use crate::{exit, outcome, variables};

/// Subcommands of `starmap executions`.
#[derive(Debug, Subcommand)]
pub enum ExecutionsCommand {
    /// List executions, newest first
    List(list::ListArgs),
    /// Show one execution: status, times, map runs, what failed
    Show(OneArgs),
    /// Print the history of one execution, event by event
    History(history::HistoryArgs),
    /// Print what workers wrote for one execution, invocation by invocation
    Logs(logs::LogsArgs),
    /// Print an execution's traces as OTLP, or send them to an OpenTelemetry collector
    Trace(trace::TraceArgs),
    /// Take up an interrupted execution; the same as `run --resume`
    Resume(ResumeArgs),
    /// Stop an execution for good: it ends as ABORTED, with all its children and workers
    Stop(control::StopArgs),
    /// Run again what failed of an execution, and only that
    Redrive(control::RedriveArgs),
}

/// One execution, and where its journal is.
#[derive(Debug, Args)]
pub struct OneArgs {
    /// Name or ARN of the execution
    #[arg(value_name = "ID")]
    execution: String,
    /// Folder with the journal
    #[arg(long, value_name = "DIR", env = variables::DATA, default_value = "starmap-data")]
    data: PathBuf,
    #[command(flatten)]
    target: TargetArgs,
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

/// How often a command that follows looks again.
const FOLLOW_INTERVAL: std::time::Duration = std::time::Duration::from_millis(250);

/// Runs the subcommand.
pub fn run(command: &ExecutionsCommand, printer: &Printer) -> anyhow::Result<ExitCode> {
    match command {
        ExecutionsCommand::List(args) => list::list(args, printer)?,
        ExecutionsCommand::Show(args) => list::show(args, printer)?,
        ExecutionsCommand::History(args) => history::history(args, printer)?,
        ExecutionsCommand::Logs(args) => logs::logs(args, printer)?,
        ExecutionsCommand::Trace(args) => trace::trace(args, printer)?,
        ExecutionsCommand::Resume(args) => {
            return Ok(ExitCode::from(run::resume(&args.execution, &args.place, None, printer)?));
        }
        ExecutionsCommand::Stop(args) => control::stop(args, printer)?,
        ExecutionsCommand::Redrive(args) => return Ok(ExitCode::from(control::redrive(args, printer)?)),
    }
    Ok(ExitCode::SUCCESS)
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
