//! `logs`.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use starmap_engine::journal::{InvocationRow, Reader, Status};
use starmap_workers::logs::path;

use super::{FOLLOW_INTERVAL, OneArgs, at, find};
use crate::data_root;
use crate::printer::Printer;
use crate::session;

/// Arguments of `logs`.
#[derive(Debug, Args)]
pub struct LogsArgs {
    #[command(flatten)]
    one: OneArgs,
    /// Go on printing until the execution has ended
    #[arg(long, short)]
    follow: bool,
    /// Only invocations that failed
    #[arg(long)]
    failed: bool,
    /// Only invocations of functions whose name contains this, such as infer
    #[arg(long, value_name = "TEXT")]
    function: Option<String>,
}

/// Prints what workers wrote, in the order in which invocations ended; one object per invocation with `--json`.
pub fn logs(args: &LogsArgs, printer: &Printer) -> anyhow::Result<()> {
    let journal = session::reader(&args.one.data)?;
    let record = find(&journal, &args.one)?;
    let folder = data_root::logs_in(&args.one.data);
    let is_wanted = |row: &InvocationRow| {
        (!args.failed || row.error.is_some()) && args.function.as_ref().is_none_or(|text| row.function.contains(text))
    };
    let mut printed = 0;
    loop {
        let is_running = journal.execution(record.id)?.is_some_and(|record| record.status == Status::Running);
        let invocations = journal.invocations(record.id)?;
        let mut streams = Streams::default();
        for row in invocations.iter().skip(printed).filter(|row| is_wanted(row)) {
            print(row, &streams.lines_of(&folder, row), printer);
        }
        printed = invocations.len();
        if !(args.follow && is_running) {
            return Ok(());
        }
        std::thread::sleep(FOLLOW_INTERVAL);
    }
}

fn print(row: &InvocationRow, lines: &[String], printer: &Printer) {
    let error = row.error.as_deref().map(|error| format!(", {error}")).unwrap_or_default();
    printer.result(&format!("== {} {} {} ({}{error})", at(row.at), row.function, row.request_id, row.log_stream));
    lines.iter().for_each(|line| printer.result(line));
    if lines.is_empty() {
        printer.result("(its log is not there any more)");
    }
    printer.object(&json!({
        "at": row.at.to_string(), "function": row.function, "request_id": row.request_id,
        "log_stream": row.log_stream, "error": row.error, "duration_ms": row.duration_ms, "lines": lines,
    }));
}

/// Log files, each read once.
#[derive(Debug, Default)]
struct Streams(HashMap<PathBuf, String>);

impl Streams {
    fn lines_of(&mut self, folder: &Path, row: &InvocationRow) -> Vec<String> {
        let path = path(folder, &row.function, &row.log_stream);
        let text = self.0.entry(path).or_insert_with_key(|path| {
            fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
        });
        between(text, &row.request_id)
    }
}

/// What is from an invocation's START line to its REPORT line.
fn between(text: &str, request_id: &str) -> Vec<String> {
    let (start, report) = (format!("START RequestId: {request_id}"), format!("REPORT RequestId: {request_id}"));
    let mut lines = Vec::new();
    for line in text.lines().skip_while(|line| !line.starts_with(&start)) {
        lines.push(line.to_owned());
        if line.starts_with(&report) {
            break;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_one_invocation() {
        let text = "INIT\nSTART RequestId: a Version: 1\nx\nEND RequestId: a\nREPORT RequestId: a\tDuration\n\
                    START RequestId: b Version: 1\ny\n";
        assert_eq!(between(text, "a").len(), 4);
        assert_eq!(between(text, "b"), ["START RequestId: b Version: 1", "y"]);
        assert!(between(text, "c").is_empty());
    }
}
