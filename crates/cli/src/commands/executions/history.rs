//! `history`.

use clap::Args;
use serde_json::{Value, json};
use starmap_engine::journal::{Reader, Status};

use super::{FOLLOW_INTERVAL, OneArgs, at, find};
use crate::printer::Printer;
use crate::session;

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

/// Rows of a history that are read at once.
const HISTORY_PAGE: usize = 1_000;

/// Prints a history; one object per line with `--json`.
pub fn history(args: &HistoryArgs, printer: &Printer) -> anyhow::Result<()> {
    let journal = session::reader(&args.one.data)?;
    let record = find(&journal, &args.one)?;
    let is_wanted = |name: &str| args.kind.as_ref().is_none_or(|text| name.contains(text));
    let mut after = 0;
    loop {
        // Asked before reading: what was written until then is read below.
        let is_running = journal.execution(record.id)?.is_some_and(|record| record.status == Status::Running);
        let page = journal.history(record.id, after, HISTORY_PAGE)?;
        for row in &page {
            after = row.id;
            if !is_wanted(&row.name) {
                continue;
            }
            let name = row.details.get("name").and_then(Value::as_str).unwrap_or_default();
            let error = row.details.get("error").and_then(Value::as_str).unwrap_or_default();
            printer.result(format!("{:>6}  {}  {:<24} {name}{error}", row.id, at(row.at), row.name).trim_end());
            printer.object(&json!({
                "id": row.id, "previous_id": row.previous_id, "at": row.at.to_string(), "type": row.name,
                "details": row.details,
            }));
        }
        if page.len() == HISTORY_PAGE {
            continue;
        }
        if !(args.follow && is_running) {
            return Ok(());
        }
        std::thread::sleep(FOLLOW_INTERVAL);
    }
}
