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
    if args.one.target.is_aws() {
        return there::logs(args, printer);
    }
    args.one.target.check_local(false)?;
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

/// The same from CloudWatch Logs.
mod there {
    use std::collections::BTreeMap;

    use starmap_asl::Timestamp;

    use super::*;
    use crate::aws::executions::Remote;
    use crate::aws::reports::{self, Function, Line};
    use crate::commands::run::runtime;
    use crate::commands::run_aws::functions_of;
    use crate::session::now;

    /// What is followed comes late; it is looked for again so often, and so far back.
    const AGAIN: std::time::Duration = std::time::Duration::from_secs(5);
    const BACK_MS: i64 = 60_000;

    pub fn logs(args: &LogsArgs, printer: &Printer) -> anyhow::Result<()> {
        runtime()?.block_on(async {
            let remote = args.one.target.connect().await?;
            let unknown =
                || crate::exit::usage(format!("there is no execution {} of {}", args.one.execution, remote.machine));
            let record = remote.find(&args.one.execution).await?.ok_or_else(unknown)?;
            let machine = remote.describe().await?;
            let functions = reports::functions(&remote.aws, functions_of(&machine.definition)).await;
            let mut from = Timestamp(record.started_at.0 - 1_000);
            let mut printed = std::collections::HashSet::new();
            loop {
                let now_running = remote.find(&record.arn).await?.filter(|record| record.status == Status::Running);
                let to = match (&now_running, record.stopped_at) {
                    (None, Some(stopped)) => Timestamp(stopped.0 + reports::LATE.as_millis() as i64),
                    _ => now(),
                };
                for function in
                    functions.iter().filter(|it| args.function.as_ref().is_none_or(|text| it.name.contains(text)))
                {
                    for (request_id, lines) in invocations(&remote, function, from, to).await? {
                        let is_failed = lines.iter().any(|line| is_failure(&line.message));
                        if (!args.failed || is_failed) && printed.insert(request_id.clone()) {
                            show(function, &request_id, &lines, printer);
                        }
                    }
                }
                if !(args.follow && now_running.is_some()) {
                    return Ok(());
                }
                from = Timestamp(from.0.max(to.0 - BACK_MS));
                tokio::time::sleep(AGAIN).await;
            }
        })
    }

    /// Invocations that have ended, by their START and REPORT lines. A worker serves one at a time, so whatever a stream has
    /// between them is theirs.
    async fn invocations(
        remote: &Remote,
        function: &Function,
        from: Timestamp,
        to: Timestamp,
    ) -> anyhow::Result<Vec<(String, Vec<Line>)>> {
        Ok(cut(reports::lines(&remote.aws, function, from, to, None).await?))
    }

    pub(super) fn cut(lines: Vec<Line>) -> Vec<(String, Vec<Line>)> {
        let mut streams: BTreeMap<String, Vec<Line>> = BTreeMap::new();
        for line in lines {
            streams.entry(line.log_stream.clone()).or_default().push(line);
        }
        let id = |line: &Line, word: &str| Some(line.message.strip_prefix(word)?.split_whitespace().next()?.to_owned());
        let mut found = Vec::new();
        for lines in streams.into_values() {
            let mut open: Option<(String, Vec<Line>)> = None;
            for line in lines {
                if let Some(request_id) = id(&line, "START RequestId:") {
                    open = Some((request_id, Vec::new()));
                }
                let Some((request_id, own)) = &mut open else { continue };
                let is_last = id(&line, "REPORT RequestId:").as_ref() == Some(request_id);
                own.push(line);
                if is_last {
                    found.extend(open.take());
                }
            }
        }
        found.sort_by_key(|(_, lines)| lines.last().map(|line| line.at));
        found
    }

    fn is_failure(line: &str) -> bool {
        line.contains("Status: timeout")
            || line.contains("Status: error")
            || line.contains("\"level\":\"ERROR\"")
            || line.contains(" ERROR ")
    }

    fn show(function: &Function, request_id: &str, lines: &[Line], printer: &Printer) {
        let Some(last) = lines.last() else { return };
        printer.result(&format!("== {} {} {request_id} ({})", at(last.at), function.name, last.log_stream));
        lines.iter().for_each(|line| printer.result(&line.message));
        printer.object(&json!({
            "at": last.at.to_string(), "function": function.name, "request_id": request_id, "log_stream": last.log_stream,
            "lines": lines.iter().map(|line| &line.message).collect::<Vec<_>>(),
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invocations_on_aws_are_cut_by_stream() {
        let line = |stream: &str, at: i64, message: &str| crate::aws::reports::Line {
            log_stream: stream.to_owned(),
            at: starmap_asl::Timestamp(at),
            message: message.to_owned(),
        };
        let lines = vec![
            line("s", 1, "INIT_START"),
            line("s", 2, "START RequestId: a Version: $LATEST"),
            line("t", 3, "START RequestId: b Version: $LATEST"),
            line("s", 4, "x"),
            line("t", 5, "REPORT RequestId: b\tDuration: 1 ms"),
            line("s", 6, "REPORT RequestId: a\tDuration: 1 ms"),
            line("s", 7, "START RequestId: c Version: $LATEST"),
        ];
        let found = there::cut(lines);
        let found: Vec<(&str, usize)> = found.iter().map(|(id, lines)| (id.as_str(), lines.len())).collect();
        assert_eq!(found, [("b", 2), ("a", 3)]);
    }

    #[test]
    fn lines_are_those_of_one_invocation() {
        let text = "INIT\nSTART RequestId: a Version: 1\nx\nEND RequestId: a\nREPORT RequestId: a\tDuration\n\
                    START RequestId: b Version: 1\ny\n";
        assert_eq!(between(text, "a").len(), 4);
        assert_eq!(between(text, "b"), ["START RequestId: b Version: 1", "y"]);
        assert!(between(text, "c").is_empty());
    }
}
