//! `history`.

use clap::Args;
use serde_json::{Value, json};
use starmap_engine::journal::HistoryRow;

use super::{OneArgs, at};
use crate::printer::Printer;
use crate::target::Executions;

/// Arguments of `history`.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    #[command(flatten)]
    one: OneArgs,
    /// Go on printing events until the execution has ended
    #[arg(long, short)]
    follow: bool,
    /// Only events of types that contain this, such as Failed or MapRun
    #[arg(long = "type", value_name = "TEXT")]
    kind: Option<String>,
}

/// Prints a history; one object per line with `--json`.
pub fn history(args: &HistoryArgs, printer: &Printer) -> anyhow::Result<()> {
    let executions = Executions::open(&args.one.target, &args.one.data)?;
    let record = executions.find(&args.one.execution)?;
    let is_wanted = |name: &str| args.kind.as_ref().is_none_or(|text| name.contains(text));
    let mut after = 0;
    loop {
        // Asked before reading: what was written until then is read below.
        let is_running = args.follow && executions.is_running(&record)?;
        loop {
            let rows = executions.history(&record, after)?;
            let Some(last) = rows.last() else { break };
            after = last.id;
            rows.iter().filter(|row| is_wanted(&row.name)).for_each(|row| print(row, printer));
        }
        if !is_running {
            return Ok(());
        }
        std::thread::sleep(executions.follow_interval());
    }
}

fn print(row: &HistoryRow, printer: &Printer) {
    let name = row.details.get("name").and_then(Value::as_str).unwrap_or_default();
    let error = row.details.get("error").and_then(Value::as_str).unwrap_or_default();
    printer.result(format!("{:>6}  {}  {:<24} {name}{error}", row.id, at(row.at), row.name).trim_end());
    printer.object(&json!({
        "id": row.id, "previous_id": row.previous_id, "at": row.at.to_string(), "type": row.name,
        "details": row.details,
    }));
}
