//! Functions: what there are, how busy they are, and what their workers wrote.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use starmap_workers::Usage;

use super::html::{Html, html, put};
use super::page::{Facts, Page, Section, commands, empty};
use super::request::{Request, path};
use super::words;
use super::{Console, Failure};

/// Lines that are shown, the last ones.
const LINES_MAX: usize = 500;
/// Most that is read of one log stream, from its end, and of all of them.
const STREAM_BYTES_MAX: u64 = 1 << 20;
const BYTES_MAX: u64 = 16 << 20;
/// Letters of a line.
const LETTERS_MAX: usize = 2_000;

/// A function as the console tells of it.
struct Told {
    name: String,
    is_built_in: bool,
    runtime: String,
    handler: String,
    memory_mib: u32,
    timeout_s: u64,
    description: String,
    environment: Vec<(String, String)>,
}

/// A line of a log.
struct Line {
    stream: String,
    text: String,
}

impl Console {
    fn functions(&self) -> Vec<Told> {
        let Some(catalog) = &self.catalog else { return Vec::new() };
        let built_in = catalog.place.built_in.iter().map(|function| Told {
            name: function.name.clone(),
            is_built_in: true,
            runtime: "built in".to_owned(),
            handler: function.handler.clone(),
            memory_mib: function.memory_mib,
            timeout_s: function.timeout.as_secs(),
            description: String::new(),
            environment: function.environment.clone(),
        });
        let mut functions: Vec<Told> = built_in.collect();
        functions.extend(catalog.records().values().map(|record| Told {
            name: record.name.clone(),
            is_built_in: false,
            runtime: record.latest.runtime.clone().unwrap_or_default(),
            handler: record.latest.handler.clone(),
            memory_mib: record.latest.memory_mib,
            timeout_s: record.latest.timeout_s.into(),
            description: record.latest.description.clone(),
            environment: record.latest.environment.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        }));
        functions
    }

    /// How busy each function is, over its versions.
    fn usage(&self) -> BTreeMap<String, Usage> {
        let mut all: BTreeMap<String, Usage> = BTreeMap::new();
        for usage in self.workers.as_ref().map(|workers| workers.usage()).unwrap_or_default() {
            match all.get_mut(&usage.function) {
                Some(sum) => {
                    sum.workers += usage.workers;
                    sum.idle += usage.idle;
                    sum.queued += usage.queued;
                }
                None => drop(all.insert(usage.function.clone(), usage)),
            }
        }
        all
    }

    pub(super) fn functions_page(&self, request: &Request) -> Result<Page, Failure> {
        let mut page = Page::new(Section::Functions, "Functions");
        page.is_live = true;
        put!(page.body, "<div class=\"head\"><h1>Functions</h1></div>");
        let (functions, usage) = (self.functions(), self.usage());
        let mut part = Html::new();
        if functions.is_empty() {
            part = empty("There are no functions here.");
        } else {
            put!(
                part,
                "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Functions\"><table><thead><tr><th scope=\"col\">Name</th>\
                 <th scope=\"col\" class=\"wide\">Runtime</th><th scope=\"col\" class=\"number\">Memory</th><th scope=\"col\" class=\"number wide\">Time limit</th>\
                 <th scope=\"col\" class=\"number\">Busy</th><th scope=\"col\" class=\"number\">Warm</th><th scope=\"col\" class=\"number\">Waiting</th></tr></thead><tbody>"
            );
            for function in &functions {
                let busy = usage.get(&function.name);
                let count = |count: &dyn Fn(&Usage) -> usize| words::count(busy.map_or(0, count) as u64);
                put!(
                    part,
                    "<tr><td class=\"main\"><a href=\"{}\">{}</a><small>{}</small></td><td class=\"wide\">{}</td><td class=\"number\">{} MiB</td>\
                     <td class=\"number wide\">{} s</td><td class=\"number\">{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td></tr>",
                    path(&["functions", &function.name]),
                    function.name,
                    function.description,
                    function.runtime,
                    words::count(function.memory_mib.into()),
                    function.timeout_s,
                    count(&|usage| usage.workers.saturating_sub(usage.idle)),
                    count(&|usage| usage.idle),
                    count(&|usage| usage.queued)
                );
            }
            put!(part, "</tbody></table></div>");
        }
        page.part("rows", part);
        page.body.add(&commands("From the command line", &[lambda(request, "list-functions", "")]));
        Ok(page)
    }

    fn function(&self, name: &str) -> Result<Told, Failure> {
        let found = self.functions().into_iter().find(|function| function.name == name);
        found.ok_or_else(|| Failure::missing(format!("There is no function {name}.")))
    }

    pub(super) fn function_page(&self, request: &Request, name: &str) -> Result<Page, Failure> {
        let function = self.function(name)?;
        let own = path(&["functions", name]);
        let mut page = Page::new(Section::Functions, name);
        page.is_live = true;
        page.crumbs(&[("Functions", path(&["functions"]))]);
        put!(page.body, "<div class=\"head\"><h1>{}</h1></div>", name);
        let mut facts = Facts::new();
        facts.add("Runtime", function.runtime.as_str());
        facts.add("Handler", function.handler.as_str());
        facts.add("Memory", format!("{} MiB", words::count(function.memory_mib.into())));
        facts.add("Time limit", format!("{} s", function.timeout_s));
        if !function.environment.is_empty() {
            let names: Vec<&str> = function.environment.iter().map(|(name, _)| name.as_str()).collect();
            facts.add("Environment", names.join(", "));
        }
        page.body.add(&facts.done());
        let usage = self.usage().remove(name);
        page.part(
            "workers",
            usage.map_or_else(Html::new, |usage| {
                let mut facts = Facts::new();
                facts.add("Workers", words::count(usage.workers as u64));
                facts.add("Busy", words::count(usage.workers.saturating_sub(usage.idle) as u64));
                facts.add("Warm", words::count(usage.idle as u64));
                facts.add("Waiting invocations", words::count(usage.queued as u64));
                facts.done()
            }),
        );
        let (wanted, stream) =
            (request.query.get("q").unwrap_or_default(), request.query.get("stream").unwrap_or_default());
        put!(
            page.body,
            "<h2 id=\"logs\">Logs</h2><form class=\"filters\" method=\"get\" action=\"{}\" role=\"search\"><label>Lines with\
             <input type=\"search\" name=\"q\" value=\"{}\" data-search></label><label>Log stream<input name=\"stream\" value=\"{}\"></label>\
             <div class=\"buttons\"><button class=\"button\">Search</button></div></form>",
            own,
            wanted,
            stream
        );
        let (lines, is_more) = self.lines(name, wanted, stream)?;
        page.part("log", log(&lines, is_more));
        if !function.is_built_in {
            page.body.add(&commands(
                "From the command line",
                &[
                    lambda(request, "get-function-configuration", name),
                    lambda(request, "invoke", &format!("{name} --payload file://payload.json out.json")),
                ],
            ));
        }
        Ok(page)
    }

    /// The last lines of a function's log streams with a text in them, and whether there were more.
    fn lines(&self, function: &str, wanted: &str, stream: &str) -> Result<(Vec<Line>, bool), Failure> {
        let Some(logs) = &self.logs else { return Ok((Vec::new(), false)) };
        let unreadable = |error: io::Error| {
            tracing::error!(%error, "logs could not be read");
            Failure { status: 500, message: "The logs could not be read; the server's log says why.".to_owned() }
        };
        let mut files = files(&logs.join(function)).map_err(unreadable)?;
        let wanted_file = stream.replace('/', "-");
        files.retain(|(_, file)| {
            stream.is_empty() || file.file_stem().is_some_and(|stem| stem.to_string_lossy().contains(&wanted_file))
        });
        let (mut lines, mut read, mut is_more) = (Vec::new(), 0, false);
        // The newest stream first, and of each the last lines first; the other way round in the end.
        for (_, file) in files {
            if lines.len() >= LINES_MAX || read >= BYTES_MAX {
                is_more = true;
                break;
            }
            let text = end_of(&file).map_err(unreadable)?;
            read += text.len() as u64;
            let text = String::from_utf8_lossy(&text);
            // A stream's name begins with its date; the rest has no dashes.
            let name = file.file_stem().map(|stem| stem.to_string_lossy().replacen('-', "/", 3)).unwrap_or_default();
            for line in text.lines().rev().filter(|line| !line.trim().is_empty() && line.contains(wanted)) {
                if lines.len() >= LINES_MAX {
                    is_more = true;
                    break;
                }
                lines.push(Line { stream: name.clone(), text: line.chars().take(LETTERS_MAX).collect() });
            }
        }
        lines.reverse();
        Ok((lines, is_more))
    }

    pub(super) fn functions_json(&self) -> Result<Value, Failure> {
        let usage = self.usage();
        let functions = self.functions();
        let one = |function: &Told| {
            let busy = usage.get(&function.name);
            json!({
                "name": function.name, "runtime": function.runtime, "handler": function.handler, "memoryMib": function.memory_mib,
                "timeoutS": function.timeout_s, "workers": busy.map(|usage| usage.workers), "idle": busy.map(|usage| usage.idle),
                "queued": busy.map(|usage| usage.queued),
            })
        };
        Ok(json!({ "functions": functions.iter().map(one).collect::<Vec<_>>() }))
    }

    pub(super) fn function_json(&self, request: &Request, name: &str) -> Result<Value, Failure> {
        let function = self.function(name)?;
        let (wanted, stream) =
            (request.query.get("q").unwrap_or_default(), request.query.get("stream").unwrap_or_default());
        let (lines, is_more) = self.lines(name, wanted, stream)?;
        Ok(json!({
            "name": function.name, "runtime": function.runtime, "handler": function.handler, "memoryMib": function.memory_mib,
            "timeoutS": function.timeout_s, "isMore": is_more,
            "lines": lines.iter().map(|line| json!({ "stream": line.stream, "text": line.text })).collect::<Vec<_>>(),
        }))
    }
}

fn lambda(request: &Request, action: &str, rest: &str) -> String {
    let rest = if rest.is_empty() { String::new() } else { format!(" --function-name {rest}") };
    format!("aws lambda {action}{rest} --endpoint-url {}", words::quoted(&request.endpoint()))
}

/// Log files, the one that was written last first.
fn files(folder: &Path) -> io::Result<Vec<(std::time::SystemTime, PathBuf)>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            files.push((entry.metadata()?.modified()?, path));
        }
    }
    files.sort();
    files.reverse();
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

fn log(lines: &[Line], is_more: bool) -> Html {
    if lines.is_empty() {
        return empty("There are no lines.");
    }
    let mut html = html!("<div class=\"log\" tabindex=\"0\" role=\"region\" aria-label=\"Log lines\">");
    let mut stream = "";
    if is_more {
        put!(html, "<p class=\"note\">Older lines are not shown.</p>");
    }
    for line in lines {
        if line.stream != stream {
            put!(html, "<h3>{}</h3>", line.stream);
            stream = &line.stream;
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
    html
}
