//! Executions side by side, and beside what was published: what went in, where the time went, what came out.

use serde_json::{Map, Value, json};
use starmap_engine::journal::{ExecutionRecord, Status};

use super::cost::Cost;
use super::executions::summary_json;
use super::html::{Html, html, put};
use super::page::{Page, Section, commands, empty};
use super::request::{Request, path};
use super::science::{Bar, Findings, Metric, Published, figure};
use super::words::{self, badge};
use super::{Console, Failure};

/// Executions beside each other.
const SIDES_MAX: usize = 4;
/// Values of inputs that are shown.
const ROWS_MAX: usize = 60;
/// Values of inputs that are compared.
const VALUES_MAX: usize = 2_000;

/// Published rows that are shown.
const PUBLISHED_MAX: usize = 12;

/// What the results of those that are compared say, each in their order.
#[derive(Debug, Default)]
pub(super) struct Results {
    findings: Vec<Option<Findings>>,
    /// Who worked when.
    timelines: Vec<Vec<Bar>>,
    published: Option<Published>,
}

/// One of those that are compared.
struct Side {
    record: ExecutionRecord,
    /// By state, in the order of being entered first: milliseconds over all visits.
    times: Vec<(String, i64)>,
    transitions: u64,
    cost: Cost,
    items: Vec<(String, u64, u64, Option<f64>)>,
    input: Vec<(String, String)>,
}

impl Console {
    fn side(&self, named: &str) -> Result<Side, Failure> {
        let record = self.execution(named)?;
        let now = self.now();
        let (times, transitions) = self.progress(record.id, |progress| {
            let mut times: Vec<(String, i64)> = Vec::new();
            for visit in &progress.visits {
                let ms = visit.exited_at.unwrap_or(now).0 - visit.entered_at.0;
                match times.iter_mut().find(|(name, _)| *name == visit.state) {
                    Some((_, sum)) => *sum += ms,
                    None => times.push((visit.state.clone(), ms)),
                }
            }
            (times, progress.visits.len() as u64 + progress.left_out)
        })?;
        let runs = self.reader.map_runs_page(record.id, None, 10)?;
        let items = runs.iter().map(|run| {
            let counts = &run.details.counts.items;
            let s = (run.stopped_at.unwrap_or(now).0 - run.started_at.0) as f64 / 1e3;
            (run.state.clone(), counts.succeeded, counts.total(), (s > 0.0).then(|| counts.ended() as f64 / s))
        });
        let items = items.collect();
        let mut input = Vec::new();
        flatten("", &record.input, &mut input);
        let cost = self.cost(&record)?;
        Ok(Side { record, times, transitions, cost, items, input })
    }

    fn sides(&self, request: &Request) -> Result<Vec<Side>, Failure> {
        let named: Vec<&str> = request.query.all("id").filter(|id| !id.is_empty()).collect();
        if !(1..=SIDES_MAX).contains(&named.len()) {
            let message =
                format!("Choose 2 to {SIDES_MAX} executions to compare, or one to see beside what was published.");
            return Err(Failure::wrong(message));
        }
        named.into_iter().map(|named| self.side(named)).collect()
    }

    /// What the results of the executions say that are compared.
    pub(super) async fn compared_results(&self, request: &Request) -> Results {
        let mut results = Results::default();
        let Some(science) = &self.science else { return results };
        let mut places = Vec::new();
        for id in request.query.all("id").filter(|id| !id.is_empty()).take(SIDES_MAX) {
            let place = self.execution(id).ok().and_then(|record| self.science_place(&record));
            let (mut findings, mut timeline) = (None, Vec::new());
            if let Some(place) = &place {
                findings = science.findings(place).await.ok().flatten();
                timeline = science.timeline(place).await.unwrap_or_default();
            }
            results.findings.push(findings);
            results.timelines.push(timeline);
            places.push(place);
        }
        results.published = science.published(&places, PUBLISHED_MAX).await.ok().flatten();
        results
    }

    pub(super) fn compare_page(&self, request: &Request, results: &Results) -> Result<Page, Failure> {
        let sides = self.sides(request)?;
        let mut page = Page::new(Section::Executions, "Compare");
        page.is_live = sides.iter().any(|side| side.record.status == Status::Running || side.cost == Cost::Counting);
        page.crumbs(&[("Executions", path(&["executions"]))]);
        put!(page.body, "<div class=\"head\"><h1>Compare</h1></div>");
        page.part("summary", self.summary_part(&sides));
        page.part("times", times_part(&sides));
        page.part("phases", phases_part(&sides, &results.timelines).unwrap_or_default());
        page.part("metrics", metrics_part(&sides, &results.findings).unwrap_or_default());
        page.part("inputs", inputs_part(&sides));
        let published = results.published.as_ref();
        page.part("published", published.map(|published| published_part(&sides, published)).unwrap_or_default());
        let mut lines = Vec::new();
        for side in &sides {
            let name = words::quoted(&side.record.name);
            lines.push(format!("starmap executions show {name}{}", self.data_argument()));
            lines.push(format!("starmap bill {name}{}", self.data_argument()));
            lines.extend(published.map(|published| format!("{} {name}{}", published.command, self.data_argument())));
        }
        page.body.add(&commands("From the command line", &lines));
        Ok(page)
    }

    fn summary_part(&self, sides: &[Side]) -> Html {
        let mut html = table("Summary", "", sides);
        let row = |html: &mut Html, name: &str, cell: &dyn Fn(&Side) -> Html| {
            put!(html, "<tr><th scope=\"row\">{}</th>", name);
            for side in sides {
                put!(html, "<td>{}</td>", cell(side));
            }
            put!(html, "</tr>");
        };
        row(&mut html, "Status", &|side| badge(side.record.status));
        row(&mut html, "State machine", &|side| html!("{}", side.record.state_machine_arn.rsplit(':').next()));
        row(&mut html, "Started", &|side| words::time(side.record.started_at));
        let now = self.now();
        row(&mut html, "Duration", &|side| {
            let ms = |side: &Side| side.record.stopped_at.unwrap_or(now).0 - side.record.started_at.0;
            html!(
                "{} {}",
                words::duration(ms(side)),
                against(ms(side) as f64, ms(&sides[0]) as f64, std::ptr::eq(side, &sides[0]))
            )
        });
        row(&mut html, "Cost on AWS", &|side| side.cost.shown());
        row(&mut html, "State transitions", &|side| html!("{}", words::count(side.transitions)));
        if sides.iter().any(|side| !side.items.is_empty()) {
            row(&mut html, "Items", &|side| {
                let mut cell = Html::new();
                for (state, succeeded, total, per_s) in &side.items {
                    put!(cell, "<div>{}: {} of {}", state, words::count(*succeeded), words::count(*total));
                    if let Some(per_s) = per_s {
                        put!(cell, " <small>{} per second</small>", format!("{per_s:.1}"));
                    }
                    put!(cell, "</div>");
                }
                cell
            });
        }
        row(&mut html, "Redrives", &|side| html!("{}", side.record.redrive_count));
        put!(html, "</tbody></table></div></section>");
        html
    }

    pub(super) fn compare_json(&self, request: &Request, results: &Results) -> Result<Value, Failure> {
        let sides = self.sides(request)?;
        let one = |(index, side): (usize, &Side)| {
            let mut value = summary_json(&starmap_engine::journal::ExecutionSummary::from(&side.record));
            let times: Map<String, Value> =
                side.times.iter().map(|(state, ms)| (state.clone(), (*ms).into())).collect();
            value["stateMs"] = times.into();
            value["costUsd"] = side.cost.usd().into();
            let phases = results.timelines.get(index).map(|timeline| phases(timeline)).unwrap_or_default();
            value["phaseS"] = Map::from_iter(phases.into_iter().map(|(name, s)| (name, s.into()))).into();
            let findings = results.findings.get(index).and_then(Option::as_ref);
            let metric = |metric: &Metric| (metric.name.clone(), Value::from(metric.value));
            value["metrics"] = Map::from_iter(findings.iter().flat_map(|found| &found.metrics).map(metric)).into();
            value["input"] = side.record.input.clone();
            value
        };
        let differing: Vec<String> =
            differing(&sides).into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect();
        let published = results.published.as_ref().map(|published| {
            let row = |row: &super::PublishedRow| {
                json!({ "name": row.name, "cells": row.cells, "remark": row.remark, "isSound": row.is_sound })
            };
            json!({
                "columns": published.columns.iter().map(|(name, _)| name).collect::<Vec<_>>(),
                "executions": published.own, "rows": published.rows.iter().map(row).collect::<Vec<_>>(),
            })
        });
        Ok(json!({
            "executions": sides.iter().enumerate().map(one).collect::<Vec<_>>(), "differingInputs": differing,
            "published": published,
        }))
    }
}

fn table(title: &str, note: &str, sides: &[Side]) -> Html {
    let mut html = html!(
        "<section><h2>{}</h2><p class=\"note\">{}</p><div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{}\">\
         <table class=\"compare\"><thead><tr><td></td>",
        title,
        note,
        title
    );
    for side in sides {
        put!(
            html,
            "<th scope=\"col\"><a href=\"{}\">{}</a></th>",
            path(&["executions", &side.record.id.0.to_string()]),
            side.record.name
        );
    }
    put!(html, "</tr></thead><tbody>");
    html
}

/// How a figure stands against the first one's.
fn against(value: f64, first: f64, is_first: bool) -> Html {
    if is_first || first <= 0.0 {
        return Html::new();
    }
    let percent = (value / first - 1.0) * 100.0;
    html!(
        "<small class=\"delta\">{}</small>",
        format!("{}{percent:.0} %", if percent >= 0.0 { "+" } else { "−" }).replace("−-", "−")
    )
}

fn times_part(sides: &[Side]) -> Html {
    let mut states: Vec<&str> = Vec::new();
    for (name, _) in sides.iter().flat_map(|side| &side.times) {
        if !states.contains(&name.as_str()) {
            states.push(name);
        }
    }
    let mut html = table(
        "Time by state",
        "Over all times that a state was entered; what runs beside each other counts for itself.",
        sides,
    );
    let ms = |side: &Side, state: &str| side.times.iter().find(|(name, _)| name == state).map(|(_, ms)| *ms);
    let most = sides.iter().flat_map(|side| &side.times).map(|(_, ms)| *ms).max().unwrap_or(1).max(1) as f64;
    for state in states {
        put!(html, "<tr><th scope=\"row\">{}</th>", state);
        for (index, side) in sides.iter().enumerate() {
            match ms(side, state) {
                None => put!(html, "<td>–</td>"),
                Some(took) => put!(
                    html,
                    "<td>{} {}{}</td>",
                    words::duration(took),
                    against(took as f64, ms(&sides[0], state).unwrap_or(0) as f64, index == 0),
                    line(took as f64 * 100.0 / most)
                ),
            }
        }
        put!(html, "</tr>");
    }
    put!(html, "</tbody></table></div></section>");
    html
}

/// Seconds by phase, over all workers.
fn phases(timeline: &[Bar]) -> Vec<(String, f64)> {
    let mut phases: Vec<(String, f64)> = Vec::new();
    for (name, s) in timeline.iter().flat_map(|bar| &bar.phases) {
        match phases.iter_mut().find(|(there, _)| there == name) {
            Some((_, sum)) => *sum += s,
            None => phases.push((name.clone(), *s)),
        }
    }
    phases
}

fn phases_part(sides: &[Side], timelines: &[Vec<Bar>]) -> Option<Html> {
    let all: Vec<Vec<(String, f64)>> = timelines.iter().map(|timeline| phases(timeline)).collect();
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in all.iter().flatten() {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    if names.is_empty() {
        return None;
    }
    let mut html = table("Time by phase", "Seconds of all workers together, as their results say it.", sides);
    let s = |index: usize, name: &str| {
        let phases = all.get(index)?;
        phases.iter().find(|(there, _)| there == name).map(|(_, s)| *s)
    };
    let most = all.iter().flatten().map(|(_, s)| *s).fold(f64::MIN_POSITIVE, f64::max);
    for name in names {
        put!(html, "<tr><th scope=\"row\">{}</th>", name);
        for index in 0..sides.len() {
            match s(index, name) {
                None => put!(html, "<td>–</td>"),
                Some(took) => put!(
                    html,
                    "<td>{} {}{}</td>",
                    words::seconds(took),
                    against(took, s(0, name).unwrap_or(0.0), index == 0),
                    line(took * 100.0 / most)
                ),
            }
        }
        put!(html, "</tr>");
    }
    put!(html, "</tbody></table></div></section>");
    Some(html)
}

/// A thin bar for a part of the largest.
fn line(percent: f64) -> Html {
    html!(
        "<svg class=\"timeline\" viewBox=\"0 0 100 4\" preserveAspectRatio=\"none\" aria-hidden=\"true\">\
         <rect class=\"track\" width=\"100\" height=\"4\"/><rect class=\"bar-running\" width=\"{}\" height=\"4\"/></svg>",
        percent.max(0.5)
    )
}

fn published_part(sides: &[Side], published: &Published) -> Html {
    let mut html = html!(
        "<section aria-labelledby=\"beside\"><h2 id=\"beside\">Beside the published tables</h2><p class=\"note\">{}</p>\
         <div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Beside the published tables\">\
         <table class=\"published\"><thead><tr><td></td>",
        published.note
    );
    for (name, definition) in &published.columns {
        put!(html, "<th scope=\"col\" class=\"number\" title=\"{}\">{}</th>", definition, name);
    }
    put!(html, "<th scope=\"col\">To be known</th></tr></thead><tbody>");
    for (side, own) in sides.iter().zip(&published.own) {
        let Some(cells) = own else { continue };
        put!(html, "<tr class=\"own\"><th scope=\"row\">{}</th>", side.record.name);
        for cell in cells {
            put!(html, "<td class=\"number\">{}</td>", cell);
        }
        put!(html, "<td>This execution, by the same definitions</td></tr>");
    }
    for row in &published.rows {
        put!(html, "<tr class=\"{}\"><th scope=\"row\">{}</th>", if row.is_sound { "" } else { "doubted" }, row.name);
        for cell in &row.cells {
            put!(html, "<td class=\"number\">{}</td>", if cell.is_empty() { "–" } else { cell.as_str() });
        }
        put!(html, "<td class=\"remark\">{}</td></tr>", row.remark);
    }
    put!(html, "</tbody></table></div><details><summary>What the columns mean</summary><dl class=\"facts keys\">");
    for (name, definition) in &published.columns {
        put!(html, "<div><dt>{}</dt><dd>{}</dd></div>", name, definition);
    }
    put!(html, "</dl></details></section>");
    html
}

fn metrics_part(sides: &[Side], findings: &[Option<Findings>]) -> Option<Html> {
    let mut names: Vec<(&str, &str)> = Vec::new();
    for metric in findings.iter().flatten().flat_map(|found| &found.metrics) {
        if !names.iter().any(|(name, _)| *name == metric.name) {
            names.push((&metric.name, &metric.definition));
        }
    }
    if names.is_empty() {
        return None;
    }
    let mut html = table("Metrics", "", sides);
    for (name, definition) in names {
        put!(html, "<tr><th scope=\"row\" title=\"{}\">{}</th>", definition, name);
        for index in 0..sides.len() {
            let found = findings.get(index).and_then(Option::as_ref);
            let metric = found.and_then(|found| found.metrics.iter().find(|metric| metric.name == name));
            let written = |metric: &super::science::Metric, value: f64| {
                if metric.is_share { format!("{:.2} %", value * 100.0) } else { figure(value) }
            };
            match metric {
                Some(metric) => put!(
                    html,
                    "<td>{} <small>{}</small></td>",
                    written(metric, metric.value),
                    metric.error.map(|error| format!("± {}", written(metric, error)))
                ),
                None => put!(html, "<td>–</td>"),
            }
        }
        put!(html, "</tr>");
    }
    put!(html, "</tbody></table></div></section>");
    Some(html)
}

fn inputs_part(sides: &[Side]) -> Html {
    let all = differing(sides);
    if all.is_empty() {
        return html!("<section><h2>Inputs</h2>{}</section>", empty("Their inputs are empty."));
    }
    let many = all.iter().filter(|(_, differs)| *differs).count() as u64;
    let note = match many {
        0 => "They are the same.".to_owned(),
        many => format!("{}; these come first.", words::counted(many, "value differs", "values differ")),
    };
    let mut html = table("Inputs", &note, sides);
    for (name, differs) in all.iter().take(ROWS_MAX) {
        put!(
            html,
            "<tr class=\"{}\"><th scope=\"row\"><code>{}</code></th>",
            if *differs { "differs" } else { "" },
            name
        );
        for side in sides {
            let value = side.input.iter().find(|(there, _)| there == name).map(|(_, value)| value.as_str());
            match (value, *differs) {
                (Some(value), true) => put!(html, "<td><mark>{}</mark></td>", value),
                (Some(value), false) => put!(html, "<td><code>{}</code></td>", value),
                (None, _) => put!(html, "<td>–</td>"),
            }
        }
        put!(html, "</tr>");
    }
    put!(html, "</tbody></table></div>");
    if all.len() > ROWS_MAX {
        put!(
            html,
            "<p class=\"note\">{} more are in the JSON of this page.</p>",
            words::count((all.len() - ROWS_MAX) as u64)
        );
    }
    put!(html, "</section>");
    html
}

/// All values of the inputs by their paths, and whether they differ; those that do first.
fn differing(sides: &[Side]) -> Vec<(String, bool)> {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in sides.iter().flat_map(|side| &side.input) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let value =
        |side: &'_ Side, name: &str| side.input.iter().find(|(there, _)| there == name).map(|(_, value)| value.clone());
    let differs = |name: &str| sides.windows(2).any(|pair| value(&pair[0], name) != value(&pair[1], name));
    let mut all: Vec<(String, bool)> = names.into_iter().map(|name| (name.to_owned(), differs(name))).collect();
    all.sort_by_key(|(_, differs)| !differs);
    all
}

/// The values of a JSON value, each with its path.
fn flatten(path: &str, value: &Value, found: &mut Vec<(String, String)>) {
    if found.len() >= VALUES_MAX {
        return;
    }
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, field) in fields {
                flatten(&if path.is_empty() { name.clone() } else { format!("{path}.{name}") }, field, found);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                flatten(&format!("{path}[{index}]"), item, found);
            }
        }
        // An empty object at the top has nothing to compare.
        Value::Object(_) if path.is_empty() => {}
        value => found.push((if path.is_empty() { "(all)".to_owned() } else { path.to_owned() }, value.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_paths() {
        let mut found = Vec::new();
        flatten("", &json!({ "a": { "b": [1, "x"] }, "c": {} }), &mut found);
        let shown: Vec<String> = found.into_iter().map(|(path, value)| format!("{path}={value}")).collect();
        assert_eq!(shown, ["a.b[0]=1", "a.b[1]=\"x\"", "c={}"]);
    }
}
