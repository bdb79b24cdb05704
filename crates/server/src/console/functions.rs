//! Functions: what there are, how they are configured, and what their workers do now.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use starmap_engine::journal::ExecutionId;
use starmap_workers::{Now, Usage};

use super::html::{Html, html, put};
use super::logs::Wanted;
use super::page::{Facts, Page, Section, commands, empty};
use super::request::{Pairs, Request, path};
use super::words;
use super::{Console, Failure};

/// Workers that are shown one by one.
const WORKERS_MAX: usize = 200;

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

impl Console {
    fn functions(&self) -> Vec<Told> {
        let Some(catalog) = &self.catalog else {
            // Nobody can make one here: those that are there by themselves are all there are.
            let functions = self.workers.as_ref().map(|workers| workers.functions()).unwrap_or_default();
            let told = |function: starmap_workers::Function| Told {
                name: function.name,
                is_built_in: true,
                runtime: "built in".to_owned(),
                handler: function.handler,
                memory_mib: function.memory_mib,
                timeout_s: function.timeout.as_secs(),
                description: String::new(),
                environment: function.environment,
            };
            return functions.into_iter().map(told).collect();
        };
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
        page.part("workers", self.workers_part(None)?);
        page.body.add(&commands("From the command line", &[lambda(request, "list-functions", "")]));
        Ok(page)
    }

    /// The workers that run now, of one function or of all.
    fn workers_now(&self, function: Option<&str>) -> Vec<Now> {
        let mut now = self.workers.as_ref().map(|workers| workers.now()).unwrap_or_default();
        now.retain(|worker| function.is_none_or(|function| worker.function == function));
        now
    }

    fn workers_part(&self, function: Option<&str>) -> Result<Html, Failure> {
        let workers = self.workers_now(function);
        let mut html = html!("<section aria-labelledby=\"workers-now\"><h2 id=\"workers-now\">Workers now</h2>");
        if workers.is_empty() {
            put!(html, "{}</section>", empty("No worker runs. One is started with the next invocation."));
            return Ok(html);
        }
        put!(
            html,
            "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Workers now\"><table><thead><tr>\
             <th scope=\"col\">Works at</th><th scope=\"col\" class=\"number\">For</th><th scope=\"col\" class=\"number\">Memory</th>\
             <th scope=\"col\">Function</th><th scope=\"col\" class=\"wide\">Started</th><th scope=\"col\" class=\"number wide\">Process</th>\
             <th scope=\"col\">Log</th></tr></thead><tbody>"
        );
        let now = self.now();
        for worker in workers.iter().take(WORKERS_MAX) {
            let work = match &worker.doing {
                Some(doing) => match doing.execution {
                    Some(execution) => self.item_link(execution)?,
                    None => html!("an invocation of the API"),
                },
                None => html!("<span class=\"aside\">waits</span>"),
            };
            let since = worker.doing.as_ref().map(|doing| words::duration(now.0 - doing.since_ms));
            let mib = worker.resident_bytes.map(|bytes| bytes as f64 / f64::from(1 << 20));
            let memory = match mib {
                Some(mib) => html!(
                    "{} of {} MiB<svg class=\"timeline\" viewBox=\"0 0 100 4\" preserveAspectRatio=\"none\" aria-hidden=\"true\">\
                     <rect class=\"track\" width=\"100\" height=\"4\"/><rect class=\"bar-running\" width=\"{}\" height=\"4\"/></svg>",
                    words::count(mib.ceil() as u64),
                    words::count(worker.memory_mib.into()),
                    (mib * 100.0 / f64::from(worker.memory_mib.max(1))).clamp(0.5, 100.0)
                ),
                None => html!("–"),
            };
            let query = Pairs::default().with("function", &worker.function).with("stream", &worker.log_stream);
            put!(
                html,
                "<tr id=\"w{}\"><td class=\"main\">{}</td><td class=\"number\">{}</td><td class=\"number memory\">{}</td>\
                 <td><a href=\"{}\">{}</a></td><td class=\"wide\">{}</td><td class=\"number wide\">{}</td><td><a href=\"{}{}\">Log</a></td></tr>",
                worker.pid.unwrap_or_default(),
                work,
                since,
                memory,
                path(&["functions", &worker.function]),
                worker.function,
                words::time(starmap_asl::Timestamp(worker.started_at_ms)),
                worker.pid,
                path(&["logs"]),
                query.to_query()
            );
        }
        put!(html, "</tbody></table></div>");
        if workers.len() > WORKERS_MAX {
            put!(html, "<p class=\"note\">{} in all; the oldest are shown.</p>", words::count(workers.len() as u64));
        }
        put!(html, "</section>");
        Ok(html)
    }

    /// An execution as what somebody works at: its name, or the item that it is of which execution.
    pub(super) fn item_link(&self, execution: ExecutionId) -> Result<Html, Failure> {
        let Some(record) = self.reader.execution(execution)? else { return Ok(html!("an execution")) };
        let link = path(&["executions", &execution.0.to_string()]);
        let Some(parent) = record.parent else { return Ok(html!("<a href=\"{}\">{}</a>", link, record.name)) };
        let run = self.reader.map_run(parent.map_run)?;
        let of = run.as_ref().map(|run| self.reader.execution(run.execution)).transpose()?.flatten();
        Ok(html!(
            "<a href=\"{}\">Item {}</a> <small>{}</small>",
            link,
            words::count(parent.item_index),
            of.map(|of| format!("of {}", of.name))
        ))
    }

    fn worker_json(&self, worker: &Now) -> Result<Value, Failure> {
        let doing = worker.doing.as_ref();
        let record = doing.and_then(|doing| doing.execution).map(|execution| self.reader.execution(execution));
        let record = record.transpose()?.flatten();
        Ok(json!({
            "function": worker.function, "version": worker.version, "logStream": worker.log_stream, "pid": worker.pid,
            "startDate": starmap_asl::Timestamp(worker.started_at_ms).to_string(), "residentBytes": worker.resident_bytes,
            "memoryMib": worker.memory_mib, "requestId": doing.map(|doing| &doing.request_id),
            "since": doing.map(|doing| starmap_asl::Timestamp(doing.since_ms).to_string()),
            "executionArn": record.as_ref().map(|record| &record.arn),
            "itemIndex": record.as_ref().and_then(|record| record.parent).map(|parent| parent.item_index),
        }))
    }

    fn workers_json(&self, function: Option<&str>) -> Result<Value, Failure> {
        self.workers_now(function).iter().take(WORKERS_MAX).map(|worker| self.worker_json(worker)).collect()
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
        page.part("now", self.workers_part(Some(name))?);
        put!(page.body, "<h2 id=\"logs\">Logs</h2>");
        let query = request.query.with("function", name);
        page.body.add(&super::logs::form(&own, &query, None));
        let found = self.lines(&Wanted::of(&query)?)?;
        page.part("log", self.log(&found)?);
        if !function.is_built_in {
            page.body.add(&commands(
                "From the command line",
                &[
                    lambda(request, "get-function-configuration", name),
                    lambda(request, "invoke", &format!("{name} --payload file://payload.json out.json")),
                ],
            ));
        } else {
            let list = lambda(request, "list-functions", "");
            page.body.add(&commands("From the command line", &[list, self.logs_command(request)]));
        }
        Ok(page)
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
        let functions: Vec<Value> = functions.iter().map(one).collect();
        Ok(json!({ "functions": functions, "workers": self.workers_json(None)? }))
    }

    pub(super) fn function_json(&self, request: &Request, name: &str) -> Result<Value, Failure> {
        let function = self.function(name)?;
        let found = self.lines(&Wanted::of(&request.query.with("function", name))?)?;
        let mut value = super::logs::found_json(&found);
        value["name"] = function.name.into();
        value["runtime"] = function.runtime.into();
        value["handler"] = function.handler.into();
        value["memoryMib"] = function.memory_mib.into();
        value["timeoutS"] = function.timeout_s.into();
        value["workers"] = self.workers_json(Some(name))?;
        Ok(value)
    }
}

fn lambda(request: &Request, action: &str, rest: &str) -> String {
    let rest = if rest.is_empty() { String::new() } else { format!(" --function-name {rest}") };
    format!("aws lambda {action}{rest} --endpoint-url {}", words::quoted(&request.endpoint()))
}
