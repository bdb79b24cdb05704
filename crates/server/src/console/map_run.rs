//! A map run: how far its items have come and how fast, what failed and why, who worked when, and its limits, which
//! can be changed while it runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use starmap_asl::Timestamp;
use starmap_engine::journal::browse::{Course, FAILURES, FailureGroup, Listing, Order};
use starmap_engine::journal::{
    Counts, ExecutionRecord, ExecutionSummary, ExecutionsOf, InvocationRow, MapRunRecord, MapRunRow, Status,
};

use super::execution::told;
use super::executions::{summary_json, took};
use super::html::{Html, html, put};
use super::page::{Facts, Page, Section, aws, commands, empty, pager, tabs};
use super::request::{Pairs, Request, path};
use super::routes::Done;
use super::science::Bar;
use super::words::{self, badge};
use super::{Console, Failure, locked};

/// Children of a page, and at most.
const CHILDREN: u64 = 100;
const CHILDREN_MAX: u64 = 500;
/// Which children can be looked at.
const SHOWS: [(&str, &str); 6] = [
    ("attention", "Failed and slowest first"),
    ("failed", "Failed"),
    ("running", "Running"),
    ("slowest", "Slowest"),
    ("all", "By item"),
    ("newest", "Last items first"),
];
/// Groups of failures.
const GROUPS_MAX: usize = 20;
/// Points of the figures over time.
const POINTS: usize = 120;
/// Attempts in the picture of the workers.
const ATTEMPTS_MAX: usize = 600;
/// Workers in it.
const LANES_MAX: usize = 48;
/// Map runs whose times are kept, and for how long while they run.
const SHAPES_MAX: usize = 32;
const FRESH_MS: i64 = 1_000;
/// The rate is of the last so many milliseconds.
const RATE_MS: i64 = 30_000;

impl Console {
    /// A map run with the execution that it is of.
    pub(super) fn map_run(&self, named: &str) -> Result<(MapRunRecord, ExecutionRecord), Failure> {
        let missing = || Failure::missing(format!("There is no map run {named} in this journal."));
        let run = match named.parse() {
            Ok(row) => self.reader.map_run(MapRunRow(row))?,
            Err(_) => self.reader.map_run_by_arn(named)?,
        };
        let run = run.ok_or_else(missing)?;
        let execution = self.reader.execution(run.execution)?.ok_or_else(missing)?;
        Ok((run, execution))
    }

    /// `timeline` is what the results say of who worked when, if they say anything.
    pub(super) fn map_run_page(&self, request: &Request, named: &str, timeline: &[Bar]) -> Result<Page, Failure> {
        let (run, execution) = self.map_run(named)?;
        let own = path(&["map-runs", &run.row.0.to_string()]);
        let mut page = Page::new(Section::Executions, &run.state);
        page.is_live = run.status == Status::Running;
        let parent = path(&["executions", &execution.id.0.to_string()]);
        page.crumbs(&[("Executions", path(&["executions"])), (&execution.name, parent)]);
        page.part(
            "title",
            html!(
                "<div class=\"head\"><h1>{}</h1>{}<span class=\"aside\">Map run</span></div>\
                 <code class=\"arn title-arn\">{}</code>",
                run.state,
                badge(run.status),
                run.arn
            ),
        );
        page.body.add(&self.map_run_actions(request, &run, &own));
        let shape = self.shape(&run)?;
        page.part("counts", self.counts_part(&run, &shape));
        page.part("figures", figures(&shape));
        page.part("failures", failures_part(&shape, &own));
        let own_attempts: Vec<Bar>;
        let bars = match timeline {
            [] => {
                own_attempts = shape.attempts.iter().map(attempt).collect();
                &own_attempts
            }
            timeline => timeline,
        };
        page.part("workers", workers(bars));
        let show = shown(request);
        put!(page.body, "<section aria-labelledby=\"children\"><h2 id=\"children\">Children</h2>");
        page.body.add(&which(show, &|show| format!("{own}?show={show}#children")));
        page.part("children-rows", self.children_part(request, &run, show, &own)?);
        put!(page.body, "</section>");
        Ok(page)
    }

    /// The children alone: what a page of them is read from while its table is scrolled.
    pub(super) fn children_page(&self, request: &Request, named: &str) -> Result<Page, Failure> {
        let (run, execution) = self.map_run(named)?;
        let own = path(&["map-runs", &run.row.0.to_string()]);
        let mut page = Page::new(Section::Executions, &format!("Children of {}", run.state));
        let parent = path(&["executions", &execution.id.0.to_string()]);
        page.crumbs(&[("Executions", path(&["executions"])), (&execution.name, parent), (&run.state, own.clone())]);
        put!(page.body, "<div class=\"head\"><h1>Children</h1></div>");
        let show = shown(request);
        page.body.add(&which(show, &|show| format!("{own}/children?show={show}")));
        page.part("children-rows", self.children_part(request, &run, show, &own)?);
        page.body.add(&commands("From the command line", &[children_command(&request.endpoint(), &run, show)]));
        Ok(page)
    }

    pub(super) fn children_json(&self, request: &Request, named: &str) -> Result<Value, Failure> {
        let (run, _) = self.map_run(named)?;
        let (show, from, count) = (shown(request), from(request), count(request));
        let (rows, total) = self.children_rows(&run, show, from, count)?;
        Ok(json!({
            "mapRunArn": run.arn, "show": show, "from": from, "total": total,
            "executions": rows.iter().map(summary_json).collect::<Vec<_>>(),
        }))
    }

    fn map_run_actions(&self, request: &Request, run: &MapRunRecord, own: &str) -> Html {
        let limits = &run.details.limits;
        let mut html = html!("<div class=\"actions\" role=\"group\" aria-label=\"Actions\">");
        if run.status == Status::Running {
            put!(
                html,
                "<details class=\"pop\"><summary class=\"button\">Change limits…</summary><form method=\"post\" action=\"{}/update\">{}\
                 <label>Children at once (0 is no limit)<input name=\"maxConcurrency\" inputmode=\"numeric\" pattern=\"[0-9]*\" value=\"{}\"></label>\
                 <label>Tolerated failures<input name=\"toleratedFailureCount\" inputmode=\"numeric\" pattern=\"[0-9]*\" value=\"{}\"></label>\
                 <label>Tolerated failures, percent<input name=\"toleratedFailurePercentage\" inputmode=\"decimal\" value=\"{}\"></label>\
                 <button class=\"button primary\">Change</button></form></details>",
                own,
                self.token_field(),
                limits.max_concurrency,
                limits.tolerated_failure_count,
                limits.tolerated_failure_percentage
            );
        }
        put!(html, "<a class=\"button\" href=\"{}.json\" download=\"map-run.json\">Export JSON</a>", own);
        let endpoint = request.endpoint();
        let arn = run.arn.as_str();
        html.add(&commands(
            "Command line",
            &[
                aws(&endpoint, "describe-map-run", &[("map-run-arn", arn)]),
                aws(&endpoint, "list-executions", &[("map-run-arn", arn), ("status-filter", "FAILED")]),
                aws(
                    &endpoint,
                    "update-map-run",
                    &[("map-run-arn", arn), ("max-concurrency", &limits.max_concurrency.to_string())],
                ),
            ],
        ));
        put!(html, "</div>");
        html
    }

    /// The run over time, from its start until now. Kept: of one that has ended it does not change, and of one that
    /// runs it is read once a second, however many look.
    fn shape(&self, run: &MapRunRecord) -> Result<Arc<Shape>, Failure> {
        let now = self.now();
        let is_same = |shape: &&Arc<Shape>| {
            let is_fresh = shape.has_ended && run.stopped_at.is_some() || now.0 - shape.read_at.0 < FRESH_MS;
            shape.of == (run.row, run.details.redrive_count) && is_fresh
        };
        if let Some(shape) = locked(&self.shapes).iter().find(is_same) {
            return Ok(Arc::clone(shape));
        }
        let until = run.stopped_at.unwrap_or(now);
        let whole = (until.0 - run.started_at.0).max(1);
        let width_ms = (whole / POINTS as i64 + 1).max(1);
        let shape = Arc::new(Shape {
            of: (run.row, run.details.redrive_count),
            has_ended: run.stopped_at.is_some(),
            read_at: now,
            from: run.started_at,
            whole,
            width_ms,
            course: self.reader.course(run.row, run.started_at, width_ms, POINTS)?,
            failures: self.reader.failures(run.row, GROUPS_MAX)?,
            attempts: self.reader.map_run_invocations(run.row, ATTEMPTS_MAX)?,
        });
        let mut shapes = locked(&self.shapes);
        shapes.retain(|there| there.of.0 != run.row);
        shapes.push_back(Arc::clone(&shape));
        if shapes.len() > SHAPES_MAX {
            shapes.pop_front();
        }
        Ok(shape)
    }

    fn counts_part(&self, run: &MapRunRecord, shape: &Shape) -> Html {
        let counts = &run.details.counts.items;
        let total = counts.total();
        let mut html = html!("<section class=\"counts\" aria-label=\"Items by status\"><ul class=\"tiles\">");
        for (key, word, number) in [
            ("pending", "Pending", counts.pending),
            ("running", "Running", counts.running),
            ("ok", "Succeeded", counts.succeeded),
            ("failed", "Failed", counts.failed + counts.timed_out),
            ("cancelled", "Aborted", counts.aborted),
            ("total", "Items", total),
        ] {
            put!(html, "<li class=\"tile-{}\"><b>{}</b><span>{}</span></li>", key, words::count(number), word);
        }
        put!(html, "</ul>{}", bar(counts));
        let mut facts = Facts::new();
        let end = run.stopped_at.unwrap_or_else(|| self.now());
        let took = end.0 - run.started_at.0;
        facts.add("Duration", words::duration(took));
        let per_s = match run.stopped_at {
            Some(_) => counts.ended() as f64 / (took.max(1) as f64 / 1e3),
            None => shape.recent_rate(),
        };
        let children = &run.details.counts.children;
        if per_s > 0.0 {
            facts.add(
                if run.stopped_at.is_some() { "Items per second" } else { "Items per second, lately" },
                format!("{per_s:.1}"),
            );
            let left = children.pending + children.running;
            let batch = if children.total() > 0 { total as f64 / children.total() as f64 } else { 1.0 };
            if run.status == Status::Running && left > 0 {
                facts.add("Time left", format!("about {}", words::seconds(left as f64 * batch / per_s)));
            }
        }
        if children.total() != total {
            facts.add("Children", format!("{} for {} items", words::count(children.total()), words::count(total)));
        }
        let limits = &run.details.limits;
        facts.add(
            "Children at once",
            if limits.max_concurrency == 0 {
                "no limit".to_owned()
            } else {
                words::count(limits.max_concurrency.into())
            },
        );
        let tolerated = match (limits.tolerated_failure_count, limits.tolerated_failure_percentage) {
            (Some(count), Some(percentage)) => format!("{} or {percentage} %", words::count(count)),
            (Some(count), None) => words::count(count),
            (None, Some(percentage)) => format!("{percentage} %"),
            (None, None) => "none".to_owned(),
        };
        facts.add("Tolerated failures", tolerated);
        if run.details.redrive_count > 0 {
            facts.add("Redriven", words::counted(run.details.redrive_count.into(), "time", "times"));
        }
        put!(html, "{}</section>", facts.done());
        html
    }

    fn children_part(&self, request: &Request, run: &MapRunRecord, show: &str, own: &str) -> Result<Html, Failure> {
        let (from, count) = (from(request), count(request));
        let (rows, total) = self.children_rows(run, show, from, count)?;
        if rows.is_empty() {
            return Ok(empty("There are none."));
        }
        // Only what is looked at is in the page, however many there are: the script reads the others as they are
        // scrolled to, and without it there are pages.
        let mut html = html!(
            "<div data-virtual=\"{}/children?show={}\" data-total=\"{}\" data-from=\"{}\">\
             <div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Children\"><div class=\"sizer\">\
             <table aria-rowcount=\"{}\"><thead><tr aria-rowindex=\"1\">\
             <th scope=\"col\" class=\"number\">Item</th><th scope=\"col\">Status</th><th scope=\"col\" class=\"number\">Duration</th>\
             <th scope=\"col\">Started</th><th scope=\"col\">Error</th><th scope=\"col\" class=\"wide\">Name</th></tr></thead><tbody>",
            own,
            show,
            total,
            from,
            total + 1
        );
        let now = self.now();
        for (at, row) in (from..).zip(&rows) {
            let link = path(&["executions", &row.id.0.to_string()]);
            let index = row.parent.map_or(0, |parent| parent.item_index);
            put!(
                html,
                "<tr aria-rowindex=\"{}\"><td class=\"number\"><a href=\"{}\">{}</a></td><td>{}</td><td class=\"number\">{}</td><td>{}</td>\
                 <td class=\"clip\">{}</td><td class=\"wide clip\"><code>{}</code></td></tr>",
                at + 2,
                link,
                words::count(index),
                badge(row.status),
                took(row, now),
                words::time(row.started_at),
                row.error.as_deref().unwrap_or_default(),
                row.name
            );
        }
        put!(html, "</tbody></table></div></div>");
        html.add(&pager(from, rows.len() as u64, total, CHILDREN, &|page| {
            format!("{own}?show={show}&page={page}#children")
        }));
        put!(html, "</div>");
        Ok(html)
    }

    /// Some of the children, and how many there are in that selection.
    fn children_rows(
        &self,
        run: &MapRunRecord,
        show: &str,
        from: u64,
        count: u64,
    ) -> Result<(Vec<ExecutionSummary>, u64), Failure> {
        // Counted at most once a second, and not for every page.
        let counts = self.shape(run)?.course.counts;
        let failed = counts.failed + counts.timed_out;
        let ended = counts.succeeded + failed + counts.aborted;
        let part = |statuses: &[Status], order: Order, from: u64, count: u64| {
            let limit = usize::try_from(count).unwrap_or(usize::MAX);
            let listing = Listing {
                statuses: statuses.to_vec(),
                order,
                is_descending: order == Order::Duration,
                offset: from,
                is_counted: false,
                ..Listing::new(ExecutionsOf::MapRun(run.row), limit)
            };
            Ok::<_, Failure>(self.reader.listing(&listing)?.rows)
        };
        const ENDED: [Status; 4] = [Status::Succeeded, Status::Failed, Status::TimedOut, Status::Aborted];
        Ok(match show {
            "failed" => (part(&FAILURES, Order::Started, from, count)?, failed + counts.aborted),
            "running" => (part(&[Status::Running], Order::Started, from, count)?, counts.running),
            "slowest" => (part(&ENDED, Order::Duration, from, count)?, ended),
            "all" => (part(&[], Order::Started, from, count)?, ended + counts.running),
            "newest" => {
                let limit = usize::try_from(count).unwrap_or(usize::MAX);
                let of = ExecutionsOf::MapRun(run.row);
                let listing =
                    Listing { is_descending: true, offset: from, is_counted: false, ..Listing::new(of, limit) };
                (self.reader.listing(&listing)?.rows, ended + counts.running)
            }
            // What failed, what runs, and then what took longest.
            _ => {
                let (mut rows, mut before) = (Vec::new(), 0);
                for (statuses, order, of_these) in [
                    (&[Status::Failed, Status::TimedOut][..], Order::Started, failed),
                    (&[Status::Running][..], Order::Started, counts.running),
                    (&[Status::Aborted][..], Order::Started, counts.aborted),
                    (&[Status::Succeeded][..], Order::Duration, counts.succeeded),
                ] {
                    let wanted = count - rows.len() as u64;
                    let skipped = from.saturating_sub(before);
                    before += of_these;
                    if wanted > 0 && skipped < of_these {
                        rows.extend(part(statuses, order, skipped, wanted)?);
                    }
                }
                rows.truncate(usize::try_from(count).unwrap_or(usize::MAX));
                (rows, before)
            }
        })
    }

    pub(super) fn map_run_json(&self, request: &Request, named: &str) -> Result<Value, Failure> {
        let (run, execution) = self.map_run(named)?;
        let (show, from, count) = (shown(request), from(request), count(request));
        let (rows, total) = self.children_rows(&run, show, from, count)?;
        let shape = self.shape(&run)?;
        let mut value = run_json(&run);
        value["executionArn"] = execution.arn.as_str().into();
        value["failures"] = shape
            .failures
            .iter()
            .map(|group| json!({ "status": group.status.as_str(), "error": group.error, "cause": group.cause, "count": group.count, "first": group.first.0, "firstItem": group.first_item }))
            .collect();
        value["overTime"] = json!({
            "from": shape.from.to_string(),
            "stretchMs": shape.width_ms,
            "started": shape.course.stretches.iter().map(|stretch| stretch.started).collect::<Vec<_>>(),
            "ended": shape.course.stretches.iter().map(|stretch| stretch.ended).collect::<Vec<_>>(),
        });
        value["children"] = json!({
            "show": show, "from": from, "total": total,
            "executions": rows.iter().map(summary_json).collect::<Vec<_>>(),
        });
        Ok(value)
    }

    pub(super) async fn update_map_run(self: &Arc<Self>, named: &str, form: &Pairs) -> Done {
        let (run, _) = self.map_run(named)?;
        let mut members = json!({ "mapRunArn": run.arn });
        for name in ["maxConcurrency", "toleratedFailureCount", "toleratedFailurePercentage"] {
            if let Some(text) = form.get(name) {
                let number = text
                    .trim()
                    .parse::<u64>()
                    .map(Value::from)
                    .or_else(|_| text.trim().parse::<f64>().map(Value::from));
                members[name] = number.map_err(|_| Failure::wrong(format!("{name}: {text:?} is not a number")))?;
            }
        }
        self.call("UpdateMapRun", members).await.map_err(Failure::from)?;
        Ok(format!("{}?done=updated", path(&["map-runs", &run.row.0.to_string()])))
    }
}

/// Which children a query asks for.
fn shown(request: &Request) -> &'static str {
    let asked = request.query.get("show").unwrap_or_default();
    SHOWS.iter().find(|(key, _)| *key == asked).map_or(SHOWS[0].0, |(key, _)| key)
}

/// From where on; a page is one of those that are linked without a script.
fn from(request: &Request) -> u64 {
    let number = |name: &str| request.query.get(name).and_then(|number| number.parse::<u64>().ok());
    number("from").unwrap_or_else(|| number("page").map_or(0, |page| page.saturating_sub(1).saturating_mul(CHILDREN)))
}

fn count(request: &Request) -> u64 {
    let asked = request.query.get("count").and_then(|number| number.parse().ok());
    asked.unwrap_or(CHILDREN).clamp(1, CHILDREN_MAX)
}

/// The ways to the selections of children.
fn which(show: &str, link: &dyn Fn(&str) -> String) -> Html {
    let shows = SHOWS.map(|(key, name)| (key, name, link(key)));
    tabs("Which children", &shows, show)
}

fn children_command(endpoint: &str, run: &MapRunRecord, show: &str) -> String {
    let mut arguments = vec![("map-run-arn", run.arn.as_str())];
    match show {
        "failed" => arguments.push(("status-filter", "FAILED")),
        "running" => arguments.push(("status-filter", "RUNNING")),
        _ => {}
    }
    aws(endpoint, "list-executions", &arguments)
}

/// The first of a map run's items that failed.
pub(super) fn first_failure(run: MapRunRow) -> Listing {
    // What was aborted only went down with the others.
    let statuses = vec![Status::Failed, Status::TimedOut];
    Listing { statuses, is_counted: false, ..Listing::new(ExecutionsOf::MapRun(run), 1) }
}

/// Children that run, by item.
pub(super) fn running(run: MapRunRow, limit: usize) -> Listing {
    Listing { statuses: vec![Status::Running], limit, ..first_failure(run) }
}

/// A map run over time.
#[derive(Debug)]
pub(super) struct Shape {
    /// Which map run, and how often it was redriven.
    of: (MapRunRow, u32),
    has_ended: bool,
    read_at: Timestamp,
    from: Timestamp,
    whole: i64,
    width_ms: i64,
    course: Course,
    failures: Vec<FailureGroup>,
    /// The last ones that have ended.
    attempts: Vec<InvocationRow>,
}

impl Shape {
    /// Children that ended per second, over the last while.
    fn recent_rate(&self) -> f64 {
        let last = usize::try_from(self.whole / self.width_ms).unwrap_or(0).min(POINTS - 1);
        let many = usize::try_from((RATE_MS / self.width_ms).max(1)).unwrap_or(1).min(last + 1);
        let ended: u64 = self.course.stretches[last + 1 - many..=last].iter().map(|stretch| stretch.ended).sum();
        let s = (self.whole - (last + 1 - many) as i64 * self.width_ms).max(1) as f64 / 1e3;
        ended as f64 / s
    }
}

fn failures_part(shape: &Shape, own: &str) -> Html {
    if shape.failures.is_empty() {
        return Html::new();
    }
    let mut html = html!(
        "<section class=\"failures\"><h2>Failures, by what they say</h2><div class=\"scroll\" tabindex=\"0\" role=\"region\" \
         aria-label=\"Failures\"><table><thead><tr><th scope=\"col\" class=\"number\">Items</th><th scope=\"col\">Error</th>\
         <th scope=\"col\">First</th></tr></thead><tbody>"
    );
    for group in &shape.failures {
        put!(
            html,
            "<tr><td class=\"number\">{}</td><td class=\"main\"><code>{}</code>{}</td><td><a href=\"{}\">Item {}</a></td></tr>",
            words::count(group.count),
            group.error.as_deref().unwrap_or(words::status_word(group.status)),
            told(group.cause.as_deref().unwrap_or_default()),
            path(&["executions", &group.first.0.to_string()]),
            words::count(group.first_item)
        );
    }
    put!(html, "</tbody></table></div><p><a href=\"{}?show=failed#children\">All that failed</a></p></section>", own);
    html
}

/// Children at once and items per second, over time.
fn figures(shape: &Shape) -> Html {
    let until = usize::try_from(shape.whole / shape.width_ms).unwrap_or(0).min(POINTS - 1);
    let s = shape.width_ms as f64 / 1e3;
    // At the end of each stretch: more may have begun within one than ever ran at once.
    let mut running: i64 = 0;
    let at_ends: Vec<f64> = shape.course.stretches[..=until]
        .iter()
        .map(|stretch| {
            running += i64::try_from(stretch.started).unwrap_or(0) - i64::try_from(stretch.ended).unwrap_or(0);
            // One that began and ended within it ran all the same.
            running.max(i64::from(stretch.started > 0)) as f64
        })
        .collect();
    let rates: Vec<f64> = shape.course.stretches[..=until].iter().map(|stretch| stretch.ended as f64 / s).collect();
    html!(
        "<section class=\"figures\" aria-label=\"Over time\">{}{}</section>",
        area("Children at once", &at_ends, shape.whole, "running"),
        area("Children that ended, per second", &rates, shape.whole, "ok")
    )
}

/// A figure of a quantity over time.
fn area(title: &str, values: &[f64], whole_ms: i64, key: &str) -> Html {
    const WIDTH: f64 = 480.0;
    const HEIGHT: f64 = 110.0;
    let most = values.iter().copied().fold(0.0, f64::max);
    let step = WIDTH / values.len().max(1) as f64;
    let y = |value: f64| if most > 0.0 { HEIGHT - value / most * (HEIGHT - 6.0) } else { HEIGHT };
    let mut line = String::from("M0 ");
    line.push_str(&format!("{HEIGHT:.1}"));
    for (index, value) in values.iter().enumerate() {
        line.push_str(&format!("L{:.1} {:.1}", index as f64 * step, y(*value)));
        line.push_str(&format!("H{:.1}", (index + 1) as f64 * step));
    }
    line.push_str(&format!("V{HEIGHT:.1}Z"));
    let shown = if most >= 10.0 || most.fract() == 0.0 { format!("{most:.0}") } else { format!("{most:.1}") };
    html!(
        "<figure><figcaption>{} <small>at most {}</small></figcaption>\
         <svg class=\"area area-{}\" viewBox=\"0 0 480 112\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{}, at most {}\">\
         <path class=\"grid\" d=\"M0 28H480M0 56H480M0 84H480M0 111H480\"/><path class=\"fill\" d=\"{}\"/></svg>\
         <div class=\"axis\" aria-hidden=\"true\"><span>0</span><span>{}</span><span>{}</span></div></figure>",
        title,
        shown,
        key,
        title,
        shown,
        line,
        words::duration(whole_ms / 2),
        words::duration(whole_ms)
    )
}

fn bar(counts: &Counts) -> Html {
    let total = counts.total().max(1) as f64;
    let mut html = html!(
        "<svg class=\"progress\" viewBox=\"0 0 100 4\" preserveAspectRatio=\"none\" aria-hidden=\"true\"><rect class=\"track\" width=\"100\" height=\"4\"/>"
    );
    let mut at = 0.0;
    for (key, number) in [
        ("ok", counts.succeeded),
        ("failed", counts.failed + counts.timed_out),
        ("cancelled", counts.aborted),
        ("running", counts.running),
    ] {
        let width = number as f64 * 100.0 / total;
        put!(html, "<rect class=\"bar-{}\" x=\"{}\" width=\"{}\" height=\"4\"/>", key, at, width);
        at += width;
    }
    put!(html, "</svg>");
    html
}

/// An attempt as far as the engine knows it: the start of its process, and the rest.
fn attempt(row: &InvocationRow) -> Bar {
    let began = row.at.0 as f64 - row.duration_ms;
    let init_s = row.init_ms.unwrap_or(0.0) / 1e3;
    let what = if row.error.is_some() { "failed" } else { "run" };
    Bar {
        worker: row.log_stream.clone(),
        label: format!("{} {}", row.function, row.request_id),
        started_at_ms: began - init_s * 1e3,
        phases: vec![("init".to_owned(), init_s), (what.to_owned(), row.duration_ms / 1e3)],
    }
}

/// A lane per worker, a bar per attempt, a colour per phase.
fn workers(bars: &[Bar]) -> Html {
    const WIDTH: f64 = 1_000.0;
    const LANE: f64 = 16.0;
    if bars.is_empty() {
        return Html::new();
    }
    let length = |bar: &Bar| bar.phases.iter().map(|(_, s)| s * 1e3).sum::<f64>();
    let from = bars.iter().map(|bar| bar.started_at_ms).fold(f64::INFINITY, f64::min);
    let until = bars.iter().map(|bar| bar.started_at_ms + length(bar)).fold(f64::NEG_INFINITY, f64::max);
    let whole = (until - from).max(1.0);
    let mut lanes: BTreeMap<&str, Vec<&Bar>> = BTreeMap::new();
    for bar in bars {
        lanes.entry(bar.worker.as_str()).or_default().push(bar);
    }
    let mut ordered: Vec<(&str, Vec<&Bar>)> = lanes.into_iter().collect();
    let first = |bars: &[&Bar]| bars.iter().map(|bar| bar.started_at_ms).fold(f64::INFINITY, f64::min);
    ordered.sort_by(|a, b| first(&a.1).total_cmp(&first(&b.1)));
    let hidden = ordered.len().saturating_sub(LANES_MAX);
    ordered.truncate(LANES_MAX);
    let height = ordered.len() as f64 * LANE;
    let mut phases: Vec<(&str, f64)> = Vec::new();
    let mut html = html!(
        "<section class=\"workers\"><h2>Workers</h2><figure><svg class=\"gantt\" viewBox=\"0 0 1000 {}\" preserveAspectRatio=\"none\" role=\"img\" \
         aria-label=\"{} on {} over {}\">",
        height,
        words::counted(bars.len() as u64, "attempt", "attempts"),
        words::counted(ordered.len() as u64, "worker", "workers"),
        words::duration(whole as i64)
    );
    for (index, (_, bars)) in ordered.iter().enumerate() {
        let y = index as f64 * LANE;
        put!(html, "<rect class=\"lane\" x=\"0\" y=\"{}\" width=\"1000\" height=\"{}\"/>", y + 1.5, LANE - 3.0);
        for bar in bars {
            let mut at = bar.started_at_ms - from;
            put!(html, "<g><title>{}</title>", bar.label);
            for (phase, s) in bar.phases.iter().filter(|(_, s)| *s > 0.0) {
                let width = (s * 1e3 / whole * WIDTH).max(0.4);
                put!(
                    html,
                    "<rect class=\"phase-{}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/>",
                    known_phase(phase),
                    (at / whole * WIDTH * 100.0).round() / 100.0,
                    y + 1.5,
                    (width * 100.0).round() / 100.0,
                    LANE - 3.0
                );
                at += s * 1e3;
                match phases.iter_mut().find(|(there, _)| *there == phase.as_str()) {
                    Some((_, sum)) => *sum += s,
                    None => phases.push((phase, *s)),
                }
            }
            put!(html, "</g>");
        }
    }
    put!(
        html,
        "</svg><div class=\"axis\" aria-hidden=\"true\"><span>0</span><span>{}</span><span>{}</span></div>",
        words::duration(whole as i64 / 2),
        words::duration(whole as i64)
    );
    put!(html, "<figcaption><ul class=\"legend\">");
    let all: f64 = phases.iter().map(|(_, s)| s).sum();
    for (phase, s) in phases {
        put!(
            html,
            "<li><svg class=\"swatch\" viewBox=\"0 0 10 10\" aria-hidden=\"true\"><rect class=\"phase-{}\" width=\"10\" height=\"10\" rx=\"2\"/></svg>{} <small>{}, {} %</small></li>",
            known_phase(phase),
            phase,
            words::seconds(s),
            (s * 100.0 / all.max(1e-9)).round()
        );
    }
    put!(html, "</ul>");
    if hidden > 0 {
        put!(html, "<p class=\"note\">{} more are not drawn.</p>", words::counted(hidden as u64, "worker", "workers"));
    }
    put!(html, "</figcaption></figure></section>");
    html
}

/// Phases have colours by name.
fn known_phase(name: &str) -> &'static str {
    ["init", "read", "decode", "load", "infer", "write", "run", "failed"]
        .into_iter()
        .find(|known| *known == name)
        .unwrap_or("run")
}

/// A map run as data.
pub(super) fn run_json(run: &MapRunRecord) -> Value {
    let counts = |counts: &Counts| {
        json!({
            "pending": counts.pending, "running": counts.running, "succeeded": counts.succeeded, "failed": counts.failed,
            "timedOut": counts.timed_out, "aborted": counts.aborted, "total": counts.total(),
        })
    };
    let limits = &run.details.limits;
    json!({
        "id": run.row.0,
        "mapRunArn": run.arn,
        "state": run.state,
        "status": run.status.as_str(),
        "startDate": run.started_at.to_string(),
        "stopDate": run.stopped_at.map(|at| at.to_string()),
        "itemCounts": counts(&run.details.counts.items),
        "executionCounts": counts(&run.details.counts.children),
        "maxConcurrency": limits.max_concurrency,
        "toleratedFailureCount": limits.tolerated_failure_count,
        "toleratedFailurePercentage": limits.tolerated_failure_percentage,
        "redriveCount": run.details.redrive_count,
    })
}
