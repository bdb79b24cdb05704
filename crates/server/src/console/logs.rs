//! What workers wrote: by function, by execution, by item, by text.
//!
//! A worker writes one stream, invocation after invocation, with Lambda's lines around each. Which invocation was whose
//! is in the journal once it has ended, and with the workers for as long as it runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use starmap_engine::journal::{ExecutionRecord, InvocationRow, MapRunRow};

use super::html::{Html, html, put};
use super::page::{Page, Section, commands, empty};
use super::request::{Pairs, Request, path};
use super::words;
use super::{Console, Failure};

/// Lines that are shown, the last ones.
const LINES_MAX: usize = 500;
/// Most that is read of one log stream, from its end, and of all of them.
const STREAM_BYTES_MAX: u64 = 1 << 20;
const BYTES_MAX: u64 = 16 << 20;
/// Letters of a line.
const LETTERS_MAX: usize = 2_000;
/// Attempts of an execution whose lines are looked for, the last ones.
const ATTEMPTS_MAX: usize = 500;

/// Which lines are asked for.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    function: Option<String>,
    stream: Option<String>,
    /// By row, ARN or name.
    execution: Option<String>,
    item: Option<u64>,
    text: Option<String>,
}

/// A line of a log.
#[derive(Debug, PartialEq)]
pub(super) struct Line {
    function: String,
    stream: String,
    request_id: Option<String>,
    text: String,
}

/// Lines, oldest first.
#[derive(Debug, Default)]
pub(super) struct Found {
    lines: Vec<Line>,
    /// There were more before.
    is_more: bool,
}

/// The invocations whose lines are asked for, by function and stream.
type Invocations = BTreeMap<(String, String), BTreeSet<String>>;

impl Wanted {
    pub(super) fn of(query: &Pairs) -> Result<Self, Failure> {
        let text = |name: &str| query.get(name).map(str::to_owned);
        let item = query.get("item").map(|item| {
            let wrong = |_| Failure::wrong(format!("item: {item:?} is no number as in 7; the first item is 0"));
            item.trim().parse().map_err(wrong)
        });
        let wanted = Self {
            function: text("function"),
            stream: text("stream"),
            execution: text("execution"),
            item: item.transpose()?,
            text: text("q"),
        };
        if wanted.item.is_some() && wanted.execution.is_none() {
            return Err(Failure::wrong("An item is one of an execution: say of which."));
        }
        Ok(wanted)
    }
}

/// The form that asks for lines. `functions`: among which to choose; none where there is only one.
pub(super) fn form(own: &str, query: &Pairs, functions: Option<&[String]>) -> Html {
    let value = |name: &str| query.get(name).unwrap_or_default().to_owned();
    let mut html = html!("<form class=\"filters\" method=\"get\" action=\"{}\" role=\"search\">", own);
    if let Some(functions) = functions {
        put!(html, "<label>Function<select name=\"function\"><option value=\"\">All</option>");
        for name in functions {
            let selected = if query.get("function") == Some(name) { " selected" } else { "" };
            put!(html, "<option value=\"{}\"{}>{}</option>", name, Html::trusted(selected), name);
        }
        put!(html, "</select></label>");
    }
    put!(
        html,
        "<label>Lines with<input type=\"search\" name=\"q\" value=\"{}\" data-search></label>\
         <label>Execution<input name=\"execution\" value=\"{}\" placeholder=\"name, number or ARN\" autocomplete=\"off\"></label>\
         <label>Item<input name=\"item\" value=\"{}\" inputmode=\"numeric\" class=\"short\" autocomplete=\"off\"></label>\
         <label>Log stream<input name=\"stream\" value=\"{}\" autocomplete=\"off\"></label>\
         <div class=\"buttons\"><button class=\"button\">Search</button>",
        value("q"),
        value("execution"),
        value("item"),
        value("stream")
    );
    if ["q", "execution", "item", "stream"].iter().any(|name| query.get(name).is_some()) {
        put!(html, "<a class=\"button quiet\" href=\"{}\">Clear</a>", own);
    }
    put!(html, "</div></form>");
    html
}

impl Console {
    pub(super) fn logs_page(&self, request: &Request) -> Result<Page, Failure> {
        let wanted = Wanted::of(&request.query)?;
        let mut page = Page::new(Section::Logs, "Logs");
        page.is_live = true;
        put!(page.body, "<div class=\"head\"><h1>Logs</h1>");
        if self.log_groups.is_some() {
            put!(page.body, "<a class=\"button\" href=\"{}\">Log groups</a>", path(&["logs", "groups"]));
        }
        put!(page.body, "</div>");
        let own = path(&["logs"]);
        page.body.add(&form(&own, &request.query, Some(&self.logged_functions()?)));
        let found = self.lines(&wanted)?;
        page.part("log", self.log(&found)?);
        page.body.add(&commands("From the command line", &[self.logs_command(request)]));
        Ok(page)
    }

    pub(super) fn logs_json(&self, request: &Request) -> Result<Value, Failure> {
        let mut value = found_json(&self.lines(&Wanted::of(&request.query)?)?);
        value["functions"] = self.logged_functions()?.into();
        Ok(value)
    }

    /// The command that prints the same.
    pub(super) fn logs_command(&self, request: &Request) -> String {
        let execution = words::quoted(request.query.get("execution").unwrap_or("EXECUTION"));
        let function = request.query.get("function");
        let function = function.map(|function| format!(" --function {}", words::quoted(function))).unwrap_or_default();
        format!("starmap executions logs {execution}{function}{}", self.data_argument())
    }

    /// Functions that have written something.
    fn logged_functions(&self) -> Result<Vec<String>, Failure> {
        let Some(logs) = &self.logs else { return Ok(Vec::new()) };
        let mut names = Vec::new();
        for entry in folder(logs).map_err(unreadable)? {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// The invocations of an execution and of its items, or of one item.
    fn invocations_of(&self, wanted: &Wanted, named: &str) -> Result<Invocations, Failure> {
        let record = self.execution(named)?;
        let runs = self.reader.map_runs_page(record.id, None, 20)?;
        let mut children: BTreeSet<MapRunRow> = runs.iter().map(|run| run.row).collect();
        let mut rows: Vec<InvocationRow> = Vec::new();
        let mut own = vec![record.clone()];
        if let Some(item) = wanted.item {
            own.clear();
            for run in &runs {
                let found = self.reader.children_page(run.row, item.checked_sub(1), 1)?;
                own.extend(
                    found.into_iter().filter(|child| child.parent.is_some_and(|parent| parent.item_index == item)),
                );
            }
            children.clear();
            if own.is_empty() {
                return Err(Failure::missing(format!("There is no item {item} in {}.", record.name)));
            }
        }
        for run in &children {
            rows.extend(self.reader.map_run_invocations(*run, ATTEMPTS_MAX)?);
        }
        if children.is_empty() {
            for record in &own {
                rows.extend(self.reader.invocations(record.id)?);
            }
        } else if runs.iter().map(|run| run.details.counts.children.total()).sum::<u64>() < 2 * ATTEMPTS_MAX as u64 {
            // With what it did itself.
            rows = self.reader.invocations(record.id)?;
        }
        let mut found = Invocations::new();
        for row in rows {
            found.entry((row.function, row.log_stream)).or_default().insert(row.request_id);
        }
        for worker in self.workers.as_ref().map(|workers| workers.now()).unwrap_or_default() {
            let Some(doing) = worker.doing else { continue };
            let Some(execution) = doing.execution else { continue };
            let is_own = |record: &ExecutionRecord| {
                own.iter().any(|own| own.id == record.id)
                    || record.parent.is_some_and(|parent| children.contains(&parent.map_run))
            };
            if self.reader.execution(execution)?.is_some_and(|record| is_own(&record)) {
                found.entry((worker.function, worker.log_stream)).or_default().insert(doing.request_id);
            }
        }
        Ok(found)
    }

    /// The last lines that are as asked.
    pub(super) fn lines(&self, wanted: &Wanted) -> Result<Found, Failure> {
        let Some(logs) = &self.logs else { return Ok(Found::default()) };
        let invocations = wanted.execution.as_ref().map(|named| self.invocations_of(wanted, named)).transpose()?;
        let functions = match &wanted.function {
            Some(function) => vec![function.clone()],
            None => self.logged_functions()?,
        };
        // Names come from outside; a folder of logs has no other folders in it.
        let is_name = |name: &&String| !name.contains('/') && !name.starts_with('.');
        let mut files = Vec::new();
        for function in functions.iter().filter(is_name) {
            for (at, file) in log_files(&logs.join(function)).map_err(unreadable)? {
                let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
                // A stream's name begins with its date; the rest has no dashes.
                let stream = stem.replacen('-', "/", 3);
                let is_it = wanted.stream.as_ref().is_none_or(|wanted| stream.contains(wanted.as_str()));
                let of = (function.clone(), stream);
                if is_it && invocations.as_ref().is_none_or(|invocations| invocations.contains_key(&of)) {
                    files.push((at, file, of));
                }
            }
        }
        // The one that was written last first.
        files.sort_by(|a, b| b.cmp(a));
        let (mut found, mut read) = (Found::default(), 0);
        // The newest stream first, and of each the last lines first; the other way round in the end.
        for (_, file, of) in files {
            if found.lines.len() >= LINES_MAX || read >= BYTES_MAX {
                found.is_more = true;
                break;
            }
            let text = end_of(&file).map_err(unreadable)?;
            read += text.len() as u64;
            let own = invocations.as_ref().and_then(|invocations| invocations.get(&of));
            let lines = told(&String::from_utf8_lossy(&text), &of, own, wanted.text.as_deref());
            let room = LINES_MAX - found.lines.len();
            found.is_more |= lines.len() > room;
            found.lines.extend(lines.into_iter().rev().take(room));
        }
        found.lines.reverse();
        Ok(found)
    }

    /// Lines as a page shows them.
    pub(super) fn log(&self, found: &Found) -> Result<Html, Failure> {
        if found.lines.is_empty() {
            return Ok(empty("There are no lines."));
        }
        let mut html = html!("<div class=\"log\" tabindex=\"0\" role=\"region\" aria-label=\"Log lines\">");
        if found.is_more {
            put!(html, "<p class=\"note\">Older lines are not shown.</p>");
        }
        let mut before: Option<(&str, &str)> = None;
        for line in &found.lines {
            let of = (line.function.as_str(), line.stream.as_str());
            if before != Some(of) {
                let query = Pairs::default().with("function", &line.function).with("stream", &line.stream);
                put!(
                    html,
                    "<h2 class=\"stream\"><a href=\"{}{}\">{}</a> <small>{}</small></h2>",
                    path(&["logs"]),
                    query.to_query(),
                    line.function,
                    line.stream
                );
                before = Some(of);
            }
            let first = line.text.split([' ', '\t']).next().unwrap_or_default();
            let class = match first {
                "START" | "END" | "INIT_START" => "line mark-line",
                "REPORT" | "INIT_REPORT" => "line report",
                _ if line.text.contains("ERROR") || line.text.contains("panicked") => "line bad",
                _ => "line",
            };
            put!(html, "<div class=\"{}\">{}</div>", class, line.text);
        }
        put!(html, "</div>");
        Ok(html)
    }
}

/// Of the text of a stream, the lines of certain invocations that have a text in them.
fn told(text: &str, of: &(String, String), own: Option<&BTreeSet<String>>, wanted: Option<&str>) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut current: Option<String> = None;
    for line in text.lines() {
        let id = |begin: &str| {
            line.strip_prefix(begin).map(|rest| rest.split([' ', '\t']).next().unwrap_or_default().to_owned())
        };
        if let Some(begun) = id("START RequestId: ") {
            current = Some(begun);
        }
        let request_id = current.clone();
        // The last line of an invocation.
        if id("REPORT RequestId: ").is_some_and(|ended| current.as_ref() == Some(&ended)) {
            current = None;
        }
        let is_own = own.is_none_or(|own| request_id.as_ref().is_some_and(|request_id| own.contains(request_id)));
        if is_own && !line.trim().is_empty() && wanted.is_none_or(|wanted| line.contains(wanted)) {
            let text = line.chars().take(LETTERS_MAX).collect();
            lines.push(Line { function: of.0.clone(), stream: of.1.clone(), request_id, text });
        }
    }
    lines
}

pub(super) fn found_json(found: &Found) -> Value {
    let line = |line: &Line| json!({ "function": line.function, "stream": line.stream, "requestId": line.request_id, "text": line.text });
    json!({ "isMore": found.is_more, "lines": found.lines.iter().map(line).collect::<Vec<_>>() })
}

fn unreadable(error: io::Error) -> Failure {
    tracing::error!(%error, "logs could not be read");
    Failure { status: 500, message: "The logs could not be read; the server's log says why.".to_owned() }
}

/// What is in a folder; nothing if it is not there.
fn folder(path: &Path) -> io::Result<Vec<fs::DirEntry>> {
    match fs::read_dir(path) {
        Ok(entries) => entries.collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The log files of a function, each with when it was written last.
fn log_files(path: &Path) -> io::Result<Vec<(std::time::SystemTime, PathBuf)>> {
    let mut files = Vec::new();
    for entry in folder(path)? {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            files.push((entry.metadata()?.modified()?, path));
        }
    }
    Ok(files)
}

fn end_of(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let bytes = file.metadata()?.len();
    file.seek(SeekFrom::Start(bytes.saturating_sub(STREAM_BYTES_MAX)))?;
    let mut end = Vec::new();
    file.take(STREAM_BYTES_MAX).read_to_end(&mut end)?;
    Ok(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "INIT\nSTART RequestId: a Version: 1\none\n\nEND RequestId: a\nREPORT RequestId: a\tDuration: 1 ms\n\
                          between\nSTART RequestId: b Version: 1\ntwo\nREPORT RequestId: c of its own\n";

    #[test]
    fn lines_belong_to_the_invocation_around_them() {
        let of = ("f".to_owned(), "s".to_owned());
        let texts = |own: Option<&[&str]>, wanted| -> Vec<String> {
            let own = own.map(|own| own.iter().map(|id| (*id).to_owned()).collect());
            told(STREAM, &of, own.as_ref(), wanted).into_iter().map(|line| line.text).collect()
        };
        assert_eq!(texts(None, None).len(), 9, "all but the empty one");
        let a = ["START RequestId: a Version: 1", "one", "END RequestId: a", "REPORT RequestId: a\tDuration: 1 ms"];
        assert_eq!(texts(Some(&["a"]), None), a);
        assert_eq!(
            texts(Some(&["b"]), Some("o")),
            ["START RequestId: b Version: 1", "two", "REPORT RequestId: c of its own"]
        );
        assert_eq!(texts(Some(&["c"]), None), [""; 0]);
        assert_eq!(texts(None, Some("between")), ["between"]);
    }
}
