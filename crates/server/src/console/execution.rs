//! One execution: what it is doing, state by state, event by event, and what went in and came out.

use std::sync::Arc;

use serde_json::{Value, json};
use starmap_engine::INPUT_TEXT;
use starmap_engine::core::not_redrivable;
use starmap_engine::journal::{Counts as RunCounts, ExecutionId, ExecutionRecord, MapRunRecord, Status};
use starmap_engine::registry::Revision;

use super::cost::Cost;
use super::executions::summary_json;
use super::graph::{Counts, Look, Picture, legend};
use super::html::{Html, html, put};
use super::page::{Facts, Page, Section, aws, commands, empty, pager, tabs};
use super::progress::{Progress, Visit};
use super::request::{Pairs, Request, path};
use super::routes::Done;
use super::words::{self, Mark, badge, labelled};
use super::{Console, Failure, json as values};

/// Events of a page.
const EVENTS: u64 = 100;
/// Children of a map run that stand for all of them in a picture, and how far they are followed.
const SAMPLES: usize = 8;
const SAMPLE_EVENTS: usize = 200;
/// Attempts whose logs are a link away.
const LOGS_MAX: usize = 3;
/// States of a page of the table.
const VISITS: u64 = 100;

impl Console {
    pub(super) fn execution_page(self: &Arc<Self>, request: &Request, id: &str) -> Result<Page, Failure> {
        let record = self.execution(id)?;
        let revision = self.revision(record.revision)?;
        let own = path(&["executions", &record.id.0.to_string()]);
        let mut page = Page::new(Section::Executions, &record.name);
        page.is_live = record.status == Status::Running;
        let run = match record.parent {
            Some(parent) => self.reader.map_run(parent.map_run)?,
            None => None,
        };
        self.trail(&mut page, &record, run.as_ref())?;
        page.part("title", self.title(&record));
        page.part("banner", self.banner(&record)?);
        page.body.add(&self.actions(request, &record, &own));
        page.part("facts", self.facts(&record, revision.as_deref(), run.as_ref())?);
        // Until its bill is there.
        page.is_live |= self.cost(&record)? == Cost::Counting;
        let view = request.query.get("view").unwrap_or("graph");
        let link = |view: &str| format!("{own}?view={view}");
        let views = [
            ("graph", "Graph", link("graph")),
            ("table", "Table", link("table")),
            ("events", "Events", link("events")),
            ("io", "Input and output", link("io")),
            ("definition", "Definition", link("definition")),
            ("science", "Science", format!("{own}/science")),
        ];
        let has_science = self.science_place(&record).is_some();
        let views: Vec<_> = views.into_iter().filter(|(key, ..)| *key != "science" || has_science).collect();
        page.body.add(&tabs("Views of the execution", &views, view));
        let shown = match view {
            "table" => self.table_view(request, &record, &own)?,
            "events" => self.events_view(request, &record, &own)?,
            "io" => self.payload_view(&record),
            "definition" => definition_view(revision.as_deref()),
            _ => self.graph_view(request, &record, revision.as_deref(), &own)?,
        };
        page.part("view", shown);
        Ok(page)
    }

    fn trail(&self, page: &mut Page, record: &ExecutionRecord, run: Option<&MapRunRecord>) -> Result<(), Failure> {
        let mut crumbs = vec![("Executions", path(&["executions"]))];
        let parent = run.map(|run| self.reader.execution(run.execution)).transpose()?.flatten();
        if let (Some(run), Some(parent)) = (run, &parent) {
            crumbs.push((&parent.name, path(&["executions", &parent.id.0.to_string()])));
            crumbs.push((&run.state, path(&["map-runs", &run.row.0.to_string()])));
        }
        page.crumbs(&crumbs);
        let _ = record;
        Ok(())
    }

    fn title(&self, record: &ExecutionRecord) -> Html {
        let item = record.parent.map(|parent| format!("Item {}", words::count(parent.item_index)));
        html!(
            "<div class=\"head\"><h1>{}</h1>{}<span class=\"aside\">{}</span></div><code class=\"arn title-arn\">{}</code>",
            record.name,
            badge(record.status),
            item,
            record.arn
        )
    }

    /// What failed, why, and which item first.
    fn banner(&self, record: &ExecutionRecord) -> Result<Html, Failure> {
        if matches!(record.status, Status::Running | Status::Succeeded) {
            return Ok(Html::new());
        }
        let failed = self.progress(record.id, |progress| {
            progress.visits.iter().rev().find(|visit| visit.mark == Mark::Failed).map(|visit| visit.state.clone())
        })?;
        let what = match (record.status, &failed) {
            (Status::Aborted, _) => "This execution was stopped".to_owned(),
            (Status::TimedOut, _) => "This execution ran out of time".to_owned(),
            (_, Some(state)) => format!("This execution failed in {state}"),
            (_, None) => "This execution failed".to_owned(),
        };
        let (error, cause) = (record.error.as_deref().unwrap_or_default(), record.cause.as_deref().unwrap_or_default());
        let class = if record.status == Status::Aborted { "cancelled" } else { "failed" };
        let mut html = html!(
            "<section class=\"banner banner-{}\" aria-label=\"What went wrong\"><h2>{}{}</h2>",
            class,
            Mark::of(record.status).icon(),
            what
        );
        if !error.is_empty() {
            put!(html, "<p><code>{}</code></p>", error);
        }
        html.add(&told(cause));
        for run in self.reader.map_runs(record.id)?.iter().rev().filter(|run| run.status != Status::Succeeded) {
            let first = self.reader.listing(&super::map_run::first_failure(run.row))?.rows.into_iter().next();
            if let Some(first) = first {
                let (id, index) = (first.id, first.parent.map_or(0, |parent| parent.item_index));
                put!(
                    html,
                    "<p>In {}, item <a href=\"{}\">{}</a> was the first of those that failed. <a href=\"{}\">See all of them</a></p>",
                    run.state,
                    path(&["executions", &id.0.to_string()]),
                    words::count(index),
                    format!("{}?show=failed", path(&["map-runs", &run.row.0.to_string()]))
                );
                break;
            }
        }
        put!(html, "</section>");
        Ok(html)
    }

    fn actions(&self, request: &Request, record: &ExecutionRecord, own: &str) -> Html {
        let endpoint = request.endpoint();
        let mut html = html!("<div class=\"actions\" role=\"group\" aria-label=\"Actions\">");
        let is_child = record.parent.is_some();
        if record.status == Status::Running && !is_child {
            put!(
                html,
                "<details class=\"pop\"><summary class=\"button danger\">Stop…</summary><form method=\"post\" action=\"{}/stop\">{}\
                 <label>Error<input name=\"error\" maxlength=\"256\"></label>\
                 <label>Cause<input name=\"cause\" maxlength=\"32768\"></label>\
                 <button class=\"button danger\">Stop this execution</button></form></details>",
                own,
                self.token_field()
            );
        }
        if not_redrivable(record, self.now()).is_none() && !is_child {
            put!(
                html,
                "<form method=\"post\" action=\"{}/redrive\">{}<button class=\"button primary\">Redrive</button></form>",
                own,
                self.token_field()
            );
        }
        let machine = record.state_machine_arn.rsplit(':').next().unwrap_or_default();
        if !is_child && self.engine.resources(|resources| resources.state_machine(&record.state_machine_arn).is_some())
        {
            put!(
                html,
                "<a class=\"button\" href=\"{}?from={}\">New execution</a>",
                path(&["machines", machine, "start"]),
                record.id.0
            );
        }
        put!(html, "<a class=\"button\" href=\"{}.json\" download=\"{}.json\">Export JSON</a>", own, record.name);
        let input = record
            .annotations
            .get(INPUT_TEXT)
            .and_then(Value::as_str)
            .map_or_else(|| record.input.to_string(), str::to_owned);
        let mut lines = vec![
            format!("starmap executions show {}{}", words::quoted(&record.name), self.data_argument()),
            format!("starmap bill {}{}", words::quoted(&record.name), self.data_argument()),
            aws(&endpoint, "describe-execution", &[("execution-arn", &record.arn)]),
            aws(&endpoint, "get-execution-history", &[("execution-arn", &record.arn)]),
        ];
        if !is_child {
            lines.push(aws(&endpoint, "stop-execution", &[("execution-arn", &record.arn)]));
            lines.push(aws(&endpoint, "redrive-execution", &[("execution-arn", &record.arn)]));
            if input.len() < 4_096 {
                lines.push(aws(
                    &endpoint,
                    "start-execution",
                    &[("state-machine-arn", &record.state_machine_arn), ("input", &input)],
                ));
            }
        }
        html.add(&commands("Command line", &lines));
        put!(html, "</div>");
        html
    }

    fn facts(
        &self,
        record: &ExecutionRecord,
        revision: Option<&Revision>,
        run: Option<&MapRunRecord>,
    ) -> Result<Html, Failure> {
        let mut facts = Facts::new();
        let machine = record.state_machine_arn.rsplit(':').next().unwrap_or_default();
        facts.add("State machine", html!("<a href=\"{}\">{}</a>", path(&["machines", machine]), machine));
        let version = record.alias_arn.as_ref().or(record.version_arn.as_ref()).and_then(|arn| arn.rsplit(':').next());
        if let Some(version) = version {
            facts.add("Version", version);
        }
        facts.add("Started", words::time(record.started_at));
        if let Some(stopped_at) = record.stopped_at {
            facts.add("Ended", words::time(stopped_at));
        }
        let took = record.stopped_at.unwrap_or_else(|| self.now()).0 - record.started_at.0;
        facts.add("Duration", words::duration(took));
        let (visits, last) =
            self.progress(record.id, |progress| (progress.visits.len() as u64 + progress.left_out, progress.last))?;
        facts.add("State transitions", words::count(visits));
        facts.add("Events", words::count(last));
        if record.redrive_count > 0 {
            facts.add("Redriven", words::counted(record.redrive_count.into(), "time", "times"));
        }
        if let Some(run) = run {
            facts
                .add("Map run", html!("<a href=\"{}\">{}</a>", path(&["map-runs", &run.row.0.to_string()]), run.state));
        }
        let runs = self.reader.map_runs_page(record.id, None, 20)?;
        if runs.is_empty() {
            // Of one with map runs the attempts are its children's.
            let attempts = self.reader.invocations(record.id)?;
            let mut links = Html::new();
            for attempt in attempts.iter().rev().take(LOGS_MAX) {
                let query = Pairs::default().with("stream", &attempt.log_stream).with("q", &attempt.request_id);
                let link = format!("{}{}#logs", path(&["functions", &attempt.function]), query.to_query());
                put!(
                    links,
                    "<a href=\"{}\">{}</a> <small>{}</small> ",
                    link,
                    attempt.function,
                    words::duration(attempt.duration_ms as i64)
                );
            }
            if !attempts.is_empty() {
                facts.add("Logs of attempts", links);
            }
        }
        for run in runs {
            let counts = run.details.counts.items;
            facts.add(
                "Map run",
                html!(
                    "<a href=\"{}\">{}</a> <small>{} of {}</small>",
                    path(&["map-runs", &run.row.0.to_string()]),
                    run.state,
                    words::count(counts.ended()),
                    words::count(counts.total())
                ),
            );
        }
        let name = if record.status == Status::Running { "Cost on AWS so far" } else { "Cost on AWS" };
        facts.add(name, self.cost(record)?.shown());
        let logs = Pairs::default().with("execution", &record.id.0.to_string());
        facts.add("Logs", html!("<a href=\"{}{}\">Lines of its workers</a>", path(&["logs"]), logs.to_query()));
        if let Some(revision) = revision {
            facts.add("Type", if revision.kind.as_str() == "EXPRESS" { "Express" } else { "Standard" });
        }
        Ok(facts.done())
    }

    fn graph_view(
        &self,
        request: &Request,
        record: &ExecutionRecord,
        revision: Option<&Revision>,
        own: &str,
    ) -> Result<Html, Failure> {
        let Some(revision) = revision else { return Ok(empty("The definition that it ran is not there any more.")) };
        let definition = processor_of(record, revision);
        let drawn = match &definition {
            Some(part) => Arc::new(super::graph::Graph::of(part)),
            None => self.graph(revision),
        };
        let graph = match &*drawn {
            Ok(graph) => graph,
            Err(reason) => return Ok(empty(&format!("There is no picture of this definition: {reason}."))),
        };
        let runs = self.reader.map_runs(record.id)?;
        let chosen = request.query.get("state");
        let samples = self.samples(&runs)?;
        self.progress(record.id, |progress| {
            let look = |name: &str| look(progress, &runs, &samples, record.status, name);
            let link = |name: &str| format!("{own}{}", Pairs::default().with("state", name).to_query());
            let picture = Picture {
                look: &look,
                is_taken: &|from, to| {
                    progress.is_taken(from, to) || samples.iter().any(|sample| sample.is_taken(from, to))
                },
                link: &link,
                selected: chosen,
                is_live: true,
                title: "State machine",
            };
            let mut html = html!("<div class=\"graph-page\"><div class=\"canvas\" tabindex=\"0\" role=\"region\" aria-label=\"Graph\">{}</div>", graph.draw(&picture));
            put!(html, "<aside class=\"panel\" aria-label=\"State\">");
            match chosen {
                Some(name) => html.add(&self.state_panel(record, revision, progress, &runs, name, own)),
                None => put!(html, "<h2>States</h2><p class=\"note\">Choose a state for its input, output and errors.</p>{}", state_list(graph, &look, &link)),
            };
            put!(html, "</aside><div class=\"below\">{}", legend());
            if !samples.is_empty() {
                put!(html, "<p class=\"note\">Inside of a Distributed Map: what some of its items have done, and the first that failed.</p>");
            }
            put!(html, "</div></div>");
            html
        })
    }

    /// What some children of the map runs have done: the first ones, some that run, and the first that failed.
    fn samples(&self, runs: &[MapRunRecord]) -> Result<Vec<Progress>, Failure> {
        let mut samples = Vec::new();
        for run in runs {
            let mut ids: Vec<ExecutionId> =
                self.reader.children_page(run.row, None, SAMPLES)?.into_iter().map(|record| record.id).collect();
            for listing in [super::map_run::first_failure(run.row), super::map_run::running(run.row, SAMPLES)] {
                ids.extend(self.reader.listing(&listing)?.rows.into_iter().map(|row| row.id));
            }
            for id in ids {
                let mut progress = Progress::default();
                progress.follow(&self.reader.history(id, 0, SAMPLE_EVENTS)?);
                samples.push(progress);
            }
        }
        Ok(samples)
    }

    fn state_panel(
        &self,
        record: &ExecutionRecord,
        revision: &Revision,
        progress: &Progress,
        runs: &[MapRunRecord],
        name: &str,
        own: &str,
    ) -> Html {
        let mut html = html!("<h2>{}</h2>", name);
        put!(html, "<p><a href=\"{}\" data-boost>All states</a></p>", own);
        let Some((count, visit)) = progress.state(name) else {
            put!(html, "{}", empty("This state was not entered."));
            html.add(&definition_of_state(revision, name));
            return html;
        };
        put!(html, "<p>{}</p>", labelled(visit.mark, visit.mark.word()));
        let mut facts = Facts::new();
        facts.add("Type", visit.kind.as_str());
        facts.add("Entered", words::precise_time(visit.entered_at));
        if count > 1 {
            facts.add("Entered so far", words::counted(count, "time", "times"));
        }
        let end = visit.exited_at.unwrap_or_else(|| self.now());
        facts.add("Duration", words::duration(end.0 - visit.entered_at.0));
        if visit.attempts > 1 {
            facts.add("Attempts", words::count(visit.attempts.into()));
        }
        if let Some(run) = visit.map_run.as_ref().and_then(|arn| runs.iter().find(|run| run.arn == *arn)) {
            facts.add(
                "Map run",
                html!(
                    "<a href=\"{}\">{} items</a>",
                    path(&["map-runs", &run.row.0.to_string()]),
                    words::count(run.details.counts.items.total())
                ),
            );
        }
        html.add(&facts.done());
        if let Some((error, cause)) = &visit.error {
            put!(html, "<h3>Error</h3><p><code>{}</code></p>{}", error, told(cause));
        }
        for (label, event, key) in [("Input", Some(visit.entered), "input"), ("Output", visit.exited, "output")] {
            let found = event.and_then(|event| self.reader.history(record.id, event - 1, 1).ok()?.into_iter().next());
            if let Some(value) = found.and_then(|row| row.details.get(key).cloned()) {
                put!(html, "<h3>{}</h3>{}", label, values::block(label, &value));
            }
        }
        put!(html, "<p><a href=\"{}?view=events&amp;from={}\">Events of this state</a></p>", own, visit.entered);
        html.add(&definition_of_state(revision, name));
        html
    }

    fn table_view(&self, request: &Request, record: &ExecutionRecord, own: &str) -> Result<Html, Failure> {
        let at = request.query.get("page").and_then(|page| page.parse::<u64>().ok()).unwrap_or(1).max(1);
        let offset = (at - 1).saturating_mul(VISITS);
        let end = record.stopped_at.unwrap_or_else(|| self.now()).0;
        let (from, whole) = (record.started_at.0, (end - record.started_at.0).max(1));
        self.progress(record.id, |progress| {
            let total = progress.visits.len() as u64;
            if total == 0 {
                return empty("No state was entered yet.");
            }
            let mut html = html!(
                "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"States\"><table class=\"states\"><thead><tr>\
                 <th scope=\"col\">State</th><th scope=\"col\" class=\"wide\">Type</th><th scope=\"col\">Status</th>\
                 <th scope=\"col\" class=\"wide\">Started after</th><th scope=\"col\" class=\"number\">Duration</th>\
                 <th scope=\"col\" class=\"line\">Timeline, {}</th></tr></thead><tbody>",
                words::duration(whole)
            );
            let skipped = usize::try_from(offset).unwrap_or(usize::MAX);
            let mut shown = 0;
            for visit in progress.visits.iter().skip(skipped).take(VISITS as usize) {
                shown += 1;
                let until = visit.exited_at.map_or(end, |at| at.0);
                let (begin, took) = (visit.entered_at.0 - from, until - visit.entered_at.0);
                let percent = |ms: i64| ms as f64 * 100.0 / whole as f64;
                put!(
                    html,
                    "<tr><td class=\"main\"><a href=\"{}\">{}</a></td><td class=\"wide\">{}</td><td>{}</td>\
                     <td class=\"wide\">{}</td><td class=\"number\">{}</td><td class=\"line\">\
                     <svg class=\"timeline\" viewBox=\"0 0 100 10\" preserveAspectRatio=\"none\" aria-hidden=\"true\">\
                     <rect class=\"track\" width=\"100\" height=\"10\"/><rect class=\"bar-{}\" x=\"{}\" width=\"{}\" height=\"10\"/></svg></td></tr>",
                    format!("{own}{}", Pairs::default().with("state", &visit.state).to_query()),
                    visit.state,
                    visit.kind,
                    visit_badge(visit),
                    words::duration(begin),
                    words::duration(took),
                    visit.mark.key(),
                    (percent(begin) * 100.0).round() / 100.0,
                    (percent(took).max(0.4) * 100.0).round() / 100.0
                );
            }
            put!(html, "</tbody></table></div>");
            if progress.left_out > 0 {
                put!(html, "<p class=\"note\">{} more are in the events.</p>", words::count(progress.left_out));
            }
            html.add(&pager(offset, shown, total, VISITS, &|page| format!("{own}?view=table&page={page}")));
            html
        })
    }

    fn events_view(&self, request: &Request, record: &ExecutionRecord, own: &str) -> Result<Html, Failure> {
        let total = self.progress(record.id, |progress| progress.last)?;
        let number = |name: &str| request.query.get(name).and_then(|value| value.parse::<u64>().ok());
        let at = number("from")
            .map_or_else(|| number("page").unwrap_or(1), |from| from.saturating_sub(1) / EVENTS + 1)
            .max(1);
        let offset = (at - 1).saturating_mul(EVENTS);
        let rows = self.reader.history(record.id, offset, EVENTS as usize)?;
        let mut html = html!(
            "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Events\"><table class=\"events\"><thead><tr>\
             <th scope=\"col\" class=\"number\">ID</th><th scope=\"col\">Type</th><th scope=\"col\">Step</th>\
             <th scope=\"col\" class=\"number wide\">After</th><th scope=\"col\" class=\"number\">Elapsed</th>\
             <th scope=\"col\">Time</th></tr></thead><tbody>"
        );
        self.progress(record.id, |progress| {
            for row in &rows {
                let step = progress.step_of(row.id).unwrap_or_default();
                let class = match row.name.as_str() {
                    name if name.ends_with("Failed") || name.ends_with("TimedOut") => "bad",
                    name if name.ends_with("Aborted") => "off",
                    _ => "",
                };
                put!(
                    html,
                    "<tr class=\"{}\" id=\"event-{}\"><td class=\"number\">{}</td><td class=\"main\"><details><summary>{}</summary>{}</details></td>\
                     <td>{}</td><td class=\"number wide\">{}</td><td class=\"number\">{}</td><td>{}</td></tr>",
                    class,
                    row.id,
                    row.id,
                    row.name,
                    values::block(&row.name, &row.details),
                    step,
                    row.previous_id,
                    words::duration(row.at.0 - record.started_at.0),
                    words::precise_time(row.at)
                );
            }
        })?;
        put!(html, "</tbody></table></div>");
        html.add(&pager(offset, rows.len() as u64, total, EVENTS, &|page| format!("{own}?view=events&page={page}")));
        Ok(html)
    }

    fn payload_view(&self, record: &ExecutionRecord) -> Html {
        let mut html =
            html!("<div class=\"columns\"><section><h2>Input</h2>{}</section>", values::block("Input", &record.input));
        put!(html, "<section><h2>Output</h2>");
        match (&record.output, record.status) {
            (Some(output), _) => html.add(&values::block("Output", output)),
            (None, Status::Running) => html.add(&empty("There is none yet.")),
            (None, _) => html.add(&empty("It ended without one.")),
        };
        put!(html, "</section></div>");
        html
    }

    pub(super) fn execution_json(&self, request: &Request, id: &str) -> Result<Value, Failure> {
        let record = self.execution(id)?;
        let after = request.query.get("after").and_then(|after| after.parse().ok()).unwrap_or(0);
        let events = self.reader.history(record.id, after, 10_000)?;
        let is_more = events.len() == 10_000;
        let mut value = summary_json(&starmap_engine::journal::ExecutionSummary::from(&record));
        value["input"] = record.input.clone();
        value["output"] = record.output.clone().unwrap_or(Value::Null);
        value["costUsd"] = self.cost(&record)?.usd().into();
        value["redrivable"] = not_redrivable(&record, self.now()).is_none().into();
        value["states"] =
            self.progress(record.id, |progress| progress.visits.iter().map(visit_json).collect::<Vec<_>>())?.into();
        value["mapRuns"] =
            self.reader.map_runs(record.id)?.iter().map(super::map_run::run_json).collect::<Vec<_>>().into();
        value["nextAfter"] = is_more.then(|| events.last().map(|event| event.id)).flatten().into();
        value["events"] = events
            .iter()
            .map(|row| json!({ "id": row.id, "previousEventId": row.previous_id, "type": row.name, "timestamp": row.at.to_string(), "details": row.details }))
            .collect::<Vec<_>>()
            .into();
        value["definition"] = self
            .revision(record.revision)?
            .map(|revision| Value::from(revision.definition.as_str()))
            .unwrap_or(Value::Null);
        Ok(value)
    }

    pub(super) async fn stop_execution(self: &Arc<Self>, id: &str, form: &Pairs) -> Done {
        let record = self.execution(id)?;
        let mut members = json!({ "executionArn": record.arn });
        for name in ["error", "cause"] {
            if let Some(value) = form.get(name) {
                members[name] = value.into();
            }
        }
        self.call("StopExecution", members).await.map_err(Failure::from)?;
        Ok(format!("{}?done=stopped", path(&["executions", &record.id.0.to_string()])))
    }

    pub(super) async fn redrive_execution(self: &Arc<Self>, id: &str) -> Done {
        let record = self.execution(id)?;
        self.call("RedriveExecution", json!({ "executionArn": record.arn })).await.map_err(Failure::from)?;
        Ok(format!("{}?done=redriven", path(&["executions", &record.id.0.to_string()])))
    }
}

/// What a state looks like now.
fn look(progress: &Progress, runs: &[MapRunRecord], samples: &[Progress], status: Status, name: &str) -> Look {
    if name == "Start" || name == "End" {
        return Look { mark: progress.terminal(name, status), note: String::new(), counts: None };
    }
    let Some((count, visit)) = progress.state(name) else {
        // What is in a Distributed Map happens in its children.
        let mark = samples.iter().map(|sample| sample.mark(name)).max().unwrap_or(Mark::NotStarted);
        return Look { mark, note: String::new(), counts: None };
    };
    let run = visit.map_run.as_ref().and_then(|arn| runs.iter().find(|run| run.arn == *arn));
    let counts = run.map(|run| counts_of(&run.details.counts.items)).or_else(|| {
        visit.items.map(|[total, succeeded, failed, cancelled]| {
            let running =
                if visit.mark == Mark::InProgress { total - (succeeded + failed + cancelled).min(total) } else { 0 };
            Counts { total, running, succeeded, failed, cancelled }
        })
    });
    let note = match (count, visit.attempts) {
        (1, attempts) if attempts > 1 => format!("{attempts} attempts"),
        (1, _) => String::new(),
        (count, _) => format!("entered {} times", words::count(count)),
    };
    Look { mark: progress.mark(name), note, counts }
}

pub(super) fn counts_of(counts: &RunCounts) -> Counts {
    Counts {
        total: counts.total(),
        running: counts.running,
        succeeded: counts.succeeded,
        failed: counts.failed + counts.timed_out,
        cancelled: counts.aborted,
    }
}

/// The part of the definition that a child execution runs.
fn processor_of(record: &ExecutionRecord, revision: &Revision) -> Option<String> {
    let pointer = record.processor.as_deref()?;
    let definition: Value = serde_json::from_str(&revision.definition).ok()?;
    definition.pointer(pointer).map(Value::to_string)
}

fn state_list(graph: &super::graph::Graph, look: &dyn Fn(&str) -> Look, link: &dyn Fn(&str) -> String) -> Html {
    let mut html = html!("<ul class=\"state-list\">");
    for (name, _) in graph.states() {
        let mark = look(name).mark;
        put!(
            html,
            "<li>{}<a href=\"{}\" data-boost>{}</a><small>{}</small></li>",
            mark.icon(),
            link(name),
            name,
            mark.word()
        );
    }
    put!(html, "</ul>");
    html
}

fn definition_of_state(revision: &Revision, name: &str) -> Html {
    let definition: Value = serde_json::from_str(&revision.definition).unwrap_or_default();
    match find_state(&definition, name, 0) {
        Some(state) => {
            html!("<details><summary>Definition</summary>{}</details>", values::block("Definition of the state", state))
        }
        None => Html::new(),
    }
}

fn find_state<'a>(scope: &'a Value, name: &str, depth: usize) -> Option<&'a Value> {
    let states = scope.get("States")?.as_object().filter(|_| depth < 16)?;
    if let Some(state) = states.get(name) {
        return Some(state);
    }
    states.values().find_map(|state| {
        let inner = ["ItemProcessor", "Iterator"].iter().filter_map(|field| state.get(field));
        let mut inner = inner.chain(state.get("Branches").and_then(Value::as_array).into_iter().flatten());
        inner.find_map(|scope| find_state(scope, name, depth + 1))
    })
}

fn definition_view(revision: Option<&Revision>) -> Html {
    match revision {
        Some(revision) => match serde_json::from_str::<Value>(&revision.definition) {
            Ok(value) => values::block("Definition", &value),
            Err(_) => html!("<pre class=\"json\" tabindex=\"0\">{}</pre>", revision.definition),
        },
        None => empty("The definition that it ran is not there any more."),
    }
}

/// A cause; functions answer theirs as JSON with a message in it.
pub(super) fn told(cause: &str) -> Html {
    if cause.is_empty() {
        return Html::new();
    }
    match serde_json::from_str::<Value>(cause) {
        Ok(Value::Object(fields)) => match fields.get("errorMessage").and_then(Value::as_str) {
            Some(message) => html!(
                "<p class=\"cause\">{}</p><details><summary>All of the cause</summary>{}</details>",
                message,
                values::block("Cause", &Value::Object(fields.clone()))
            ),
            None => values::block("Cause", &Value::Object(fields)),
        },
        _ => html!("<p class=\"cause\">{}</p>", cause),
    }
}

fn visit_badge(visit: &Visit) -> Html {
    labelled(visit.mark, visit.mark.word())
}

fn visit_json(visit: &Visit) -> Value {
    json!({
        "name": visit.state,
        "type": visit.kind,
        "status": visit.mark.word(),
        "enteredEventId": visit.entered,
        "exitedEventId": visit.exited,
        "startDate": visit.entered_at.to_string(),
        "stopDate": visit.exited_at.map(|at| at.to_string()),
        "attempts": visit.attempts,
        "error": visit.error.as_ref().map(|(error, _)| error),
        "cause": visit.error.as_ref().map(|(_, cause)| cause),
        "mapRunArn": visit.map_run,
    })
}
