//! Whether the science is right: what the results of an execution say, as figures.
//!
//! The server knows no astronomy. What there is to show comes through [`Science`], in figures that could be of anything;
//! whoever knows the results makes them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use starmap_engine::journal::{ExecutionRecord, Status};

use super::html::{Html, html, put};
use super::page::{Page, Section, commands, empty};
use super::request::{Request, path};
use super::words::{self, badge};
use super::{Console, Failure};

/// Where an execution's results are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The bucket.
    pub bucket: String,
    /// What the keys begin with.
    pub prefix: String,
}

/// A figure with its name and what it means.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// Its name.
    pub name: String,
    /// The figure.
    pub value: f64,
    /// Its standard error, if it is known.
    pub error: Option<f64>,
    /// Whether it is a share, to be read as a percentage.
    pub is_share: bool,
    /// How it is defined.
    pub definition: String,
}

/// Counts on a square grid: y against x, both from 0 to `max`.
#[derive(Debug, Clone, PartialEq)]
pub struct Density {
    /// What is along the axes.
    pub x: String,
    /// See `x`.
    pub y: String,
    /// Upper end of both axes.
    pub max: f64,
    /// Cells along each axis.
    pub bins: usize,
    /// `counts[y · bins + x]`.
    pub counts: Vec<u64>,
}

/// Counts per bin of one or more quantities over the same bins.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// What it is of.
    pub title: String,
    /// What is along the axis.
    pub x: String,
    /// Edges of the bins.
    pub edges: Vec<f64>,
    /// Each quantity's name and its counts.
    pub series: Vec<(String, Vec<u64>)>,
}

/// One item on its worker.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    /// The worker.
    pub worker: String,
    /// What it did, for whoever asks.
    pub label: String,
    /// When it began, milliseconds since the epoch.
    pub started_at_ms: f64,
    /// Names and seconds of what it did, one after the other.
    pub phases: Vec<(String, f64)>,
}

/// One item of which the result is far from what is known.
#[derive(Debug, Clone, PartialEq)]
pub struct Outlier {
    /// Which one it is.
    pub name: String,
    /// Names and values of what is known of it.
    pub facts: Vec<(String, String)>,
    /// A picture of it: a PNG.
    pub png: Option<Vec<u8>>,
}

/// What results say.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Findings {
    /// What it is of, in a sentence: how many items, of how many.
    pub lead: String,
    /// Whether all results are in it.
    pub is_whole: bool,
    /// Figures.
    pub metrics: Vec<Metric>,
    /// One quantity against another.
    pub density: Option<Density>,
    /// Distributions.
    pub histograms: Vec<Histogram>,
}

/// Executions beside figures that others have published: columns, a row per execution, and the rows that are nearest.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Published {
    /// What is in the table, and where it is from.
    pub note: String,
    /// Names and definitions of the columns.
    pub columns: Vec<(String, String)>,
    /// A row for each execution, in the order in which they were asked for; none where its results do not say.
    pub own: Vec<Option<Vec<String>>>,
    /// What was published.
    pub rows: Vec<PublishedRow>,
    /// The command that shows the same of an execution of this name.
    pub command: String,
}

/// A published row.
#[derive(Debug, Clone, PartialEq)]
pub struct PublishedRow {
    /// Which one it is.
    pub name: String,
    /// A figure per column; empty where nothing was published.
    pub cells: Vec<String>,
    /// What is to be known of it.
    pub remark: String,
    /// Whether nothing is known that speaks against it.
    pub is_sound: bool,
}

/// The future of an answer.
pub type Reading<'a, T> = Pin<Box<dyn Future<Output = Result<T, String>> + Send + 'a>>;

/// Knows what results mean.
///
/// For implementors: nothing here may take long, or much memory; what has to be computed is kept.
pub trait Science: Send + Sync + 'static {
    /// Where an execution with this input and output leaves results that this knows; `None` if it does not.
    fn place(&self, input: &Value, output: Option<&Value>) -> Option<Place>;
    /// What the results say that are there, or nothing yet.
    fn findings<'a>(&'a self, place: &'a Place) -> Reading<'a, Option<Findings>>;
    /// Who worked when, if the results say it.
    fn timeline<'a>(&'a self, place: &'a Place) -> Reading<'a, Vec<Bar>>;
    /// What was published that is nearest to the results at these places, at most so many rows.
    fn published<'a>(&'a self, places: &'a [Option<Place>], count: usize) -> Reading<'a, Option<Published>>;
    /// The largest outliers, at most so many, largest first.
    fn outliers<'a>(&'a self, place: &'a Place, count: usize) -> Reading<'a, Vec<Outlier>>;
}

/// Outliers of a page.
const OUTLIERS: usize = 24;

impl Console {
    /// Where an execution's results are, if there is something to say of them.
    pub(super) fn science_place(&self, record: &ExecutionRecord) -> Option<Place> {
        self.science.as_ref().filter(|_| record.parent.is_none())?.place(&record.input, record.output.as_ref())
    }

    /// Who worked when in an execution's map runs, if its results say it.
    pub(super) async fn timeline_of(&self, execution: &ExecutionRecord) -> Vec<Bar> {
        let (Some(science), Some(place)) = (&self.science, self.science_place(execution)) else { return Vec::new() };
        science.timeline(&place).await.unwrap_or_default()
    }

    async fn findings(&self, id: &str) -> Result<(ExecutionRecord, Place, Option<Findings>), Failure> {
        let record = self.execution(id)?;
        let none = || Failure::missing("There are no results of this execution to look at.".to_owned());
        let (place, science) = (self.science_place(&record).ok_or_else(none)?, self.science.as_ref().ok_or_else(none)?);
        let found = science.findings(&place).await.map_err(|message| Failure { status: 502, message })?;
        Ok((record, place, found))
    }

    pub(super) async fn science_page(self: &Arc<Self>, _request: &Request, id: &str) -> Result<Page, Failure> {
        let (record, place, found) = self.findings(id).await?;
        let mut page = Page::new(Section::Executions, &format!("Science of {}", record.name));
        page.is_live = record.status == Status::Running;
        let own = path(&["executions", &record.id.0.to_string()]);
        page.crumbs(&[("Executions", path(&["executions"])), (&record.name, own)]);
        page.part(
            "title",
            html!(
                "<div class=\"head\"><h1>Science</h1>{}<a class=\"button\" href=\"{}?id={}\">Beside the published tables</a></div>",
                badge(record.status),
                path(&["compare"]),
                record.id.0
            ),
        );
        let Some(found) = found else {
            page.part("findings", empty("There are no results yet."));
            return Ok(page);
        };
        page.part("findings", shown(&found));
        if found.is_whole {
            let outliers = match &self.science {
                Some(science) => science.outliers(&place, OUTLIERS).await,
                None => Ok(Vec::new()),
            };
            page.part("outliers", gallery(outliers));
        }
        page.body.add(&commands(
            "From the command line",
            &[
                format!(
                    "starmap data inspect {}",
                    words::quoted(&format!("buckets/{}/{}", place.bucket, place.prefix))
                ),
                format!("starmap compare {}{}", words::quoted(&record.name), self.data_argument()),
            ],
        ));
        Ok(page)
    }

    pub(super) async fn science_json(self: &Arc<Self>, id: &str) -> Result<Value, Failure> {
        let (record, place, found) = self.findings(id).await?;
        let metrics = |found: &Findings| -> Value {
            let metric = |metric: &Metric| json!({ "name": metric.name, "value": metric.value, "standardError": metric.error, "definition": metric.definition });
            found.metrics.iter().map(metric).collect()
        };
        let histograms = |found: &Findings| -> Value {
            let series = |histogram: &Histogram| -> Value {
                histogram.series.iter().map(|(name, counts)| json!({ "name": name, "counts": counts })).collect()
            };
            let one = |histogram: &Histogram| json!({ "title": histogram.title, "edges": histogram.edges, "series": series(histogram) });
            found.histograms.iter().map(one).collect()
        };
        Ok(json!({
            "executionArn": record.arn,
            "results": format!("s3://{}/{}", place.bucket, place.prefix),
            "isWhole": found.as_ref().map(|found| found.is_whole),
            "metrics": found.as_ref().map(metrics),
            "histograms": found.as_ref().map(histograms),
            "density": found.as_ref().and_then(|found| found.density.as_ref()).map(|density| {
                json!({ "x": density.x, "y": density.y, "max": density.max, "bins": density.bins, "counts": density.counts })
            }),
        }))
    }
}

fn shown(found: &Findings) -> Html {
    let mut html = html!("<p class=\"lead\">{}</p>", found.lead);
    put!(html, "<section aria-labelledby=\"metrics\"><h2 id=\"metrics\">Metrics</h2><dl class=\"metrics\">");
    for metric in &found.metrics {
        let written = |value: f64| if metric.is_share { format!("{:.2} %", value * 100.0) } else { figure(value) };
        let error = metric.error.map(|error| format!("± {}", written(error)));
        put!(
            html,
            "<div><dt>{}</dt><dd><b>{}</b> <small>{}</small><p>{}</p></dd></div>",
            metric.name,
            written(metric.value),
            error,
            metric.definition
        );
    }
    put!(html, "</dl></section><div class=\"plots\">");
    if let Some(density) = &found.density {
        html.add(&draw_density(density));
    }
    for histogram in &found.histograms {
        html.add(&draw_histogram(histogram));
    }
    put!(html, "</div>");
    html
}

/// Four figures that count.
pub(super) fn figure(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        v if v < 1e-3 => format!("{value:.2e}"),
        v if v < 10.0 => format!("{value:.4}"),
        v if v < 1e3 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// Where the ticks of an axis from 0 to `max` are.
fn ticks(max: f64) -> Vec<f64> {
    if !max.is_finite() || max <= 0.0 {
        return vec![0.0];
    }
    let rough = max / 5.0;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|part| part * power).find(|step| *step >= rough).unwrap_or(rough);
    (0..=10).map(|index| f64::from(index) * step).take_while(|tick| *tick <= max * 1.0001).collect()
}

fn short(value: f64) -> String {
    let text = format!("{value:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

fn draw_density(density: &Density) -> Html {
    const SIDE: f64 = 400.0;
    const LEFT: f64 = 52.0;
    const TOP: f64 = 10.0;
    let cell = SIDE / density.bins.max(1) as f64;
    let most = density.counts.iter().copied().max().unwrap_or(0).max(1) as f64;
    let title = format!("{} against {}", density.y, density.x);
    let mut html = html!(
        "<figure class=\"plot square\"><figcaption>{}</figcaption><svg viewBox=\"0 0 480 460\" role=\"img\" aria-label=\"{}\">",
        title,
        title
    );
    for tick in ticks(density.max) {
        let at = tick / density.max * SIDE;
        put!(
            html,
            "<path class=\"grid\" d=\"M{} {}V{}M{} {}H{}\"/>",
            one(LEFT + at),
            TOP,
            TOP + SIDE,
            LEFT,
            one(TOP + SIDE - at),
            LEFT + SIDE
        );
        put!(
            html,
            "<text class=\"tick mid\" x=\"{}\" y=\"{}\">{}</text>",
            one(LEFT + at),
            TOP + SIDE + 18.0,
            short(tick)
        );
        put!(
            html,
            "<text class=\"tick end\" x=\"{}\" y=\"{}\">{}</text>",
            LEFT - 8.0,
            one(TOP + SIDE - at + 4.0),
            short(tick)
        );
    }
    // Rows of cells, a step of ten of the logarithm each: so many paths, not so many cells.
    let mut levels = vec![String::new(); 10];
    for (index, count) in density.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let (y, x) = (index / density.bins.max(1), index % density.bins.max(1));
        let level = ((*count as f64).ln_1p() / most.ln_1p() * 9.999) as usize;
        let (x, y) = (LEFT + x as f64 * cell, TOP + SIDE - (y + 1) as f64 * cell);
        levels[level.min(9)].push_str(&format!("M{x:.1} {y:.1}h{cell:.2}v{cell:.2}h-{cell:.2}z"));
    }
    for (level, path) in levels.iter().enumerate().filter(|(_, path)| !path.is_empty()) {
        put!(html, "<path class=\"heat heat-{}\" d=\"{}\"/>", level, path);
    }
    put!(html, "<path class=\"diagonal\" d=\"M{} {}L{} {}\"/>", LEFT, TOP + SIDE, LEFT + SIDE, TOP);
    put!(
        html,
        "<text class=\"axis-name mid\" x=\"{}\" y=\"{}\">{}</text>",
        LEFT + SIDE / 2.0,
        TOP + SIDE + 42.0,
        density.x
    );
    put!(
        html,
        "<text class=\"axis-name mid\" transform=\"translate(14 {}) rotate(-90)\">{}</text></svg></figure>",
        TOP + SIDE / 2.0,
        density.y
    );
    html
}

fn draw_histogram(histogram: &Histogram) -> Html {
    const WIDTH: f64 = 400.0;
    const HEIGHT: f64 = 230.0;
    const LEFT: f64 = 52.0;
    const TOP: f64 = 10.0;
    let (Some(&from), Some(&to)) = (histogram.edges.first(), histogram.edges.last()) else { return Html::new() };
    let most = histogram.series.iter().flat_map(|(_, counts)| counts).copied().max().unwrap_or(0).max(1) as f64;
    let x = |value: f64| LEFT + (value - from) / (to - from).max(f64::MIN_POSITIVE) * WIDTH;
    let y = |count: f64| TOP + HEIGHT - count / most * HEIGHT;
    let mut html = html!(
        "<figure class=\"plot\"><figcaption>{}</figcaption><svg viewBox=\"0 0 480 290\" role=\"img\" aria-label=\"{}\">",
        histogram.title,
        histogram.title
    );
    for tick in ticks(most) {
        put!(html, "<path class=\"grid\" d=\"M{} {}H{}\"/>", LEFT, one(y(tick)), LEFT + WIDTH);
        put!(html, "<text class=\"tick end\" x=\"{}\" y=\"{}\">{}</text>", LEFT - 8.0, one(y(tick) + 4.0), short(tick));
    }
    for step in 0..=4 {
        let value = from + (to - from) * f64::from(step) / 4.0;
        put!(
            html,
            "<text class=\"tick mid\" x=\"{}\" y=\"{}\">{}</text>",
            one(x(value)),
            TOP + HEIGHT + 18.0,
            short(value)
        );
    }
    for (index, (_, counts)) in histogram.series.iter().enumerate() {
        let mut path = format!("M{:.1} {:.1}", x(from), TOP + HEIGHT);
        for (bin, count) in counts.iter().enumerate().take(histogram.edges.len().saturating_sub(1)) {
            path.push_str(&format!(
                "L{:.1} {:.1}H{:.1}",
                x(histogram.edges[bin]),
                y(*count as f64),
                x(histogram.edges[bin + 1])
            ));
        }
        path.push_str(&format!("V{:.1}", TOP + HEIGHT));
        put!(html, "<path class=\"series series-{}\" d=\"{}\"/>", index.min(3), path);
    }
    put!(
        html,
        "<text class=\"axis-name mid\" x=\"{}\" y=\"{}\">{}</text></svg>",
        LEFT + WIDTH / 2.0,
        TOP + HEIGHT + 42.0,
        histogram.x
    );
    if histogram.series.len() > 1 {
        put!(html, "<ul class=\"legend\">");
        for (index, (name, _)) in histogram.series.iter().enumerate() {
            put!(
                html,
                "<li><svg class=\"swatch\" viewBox=\"0 0 10 10\" aria-hidden=\"true\"><path class=\"series series-{}\" d=\"M0 5H10\"/></svg>{}</li>",
                index.min(3),
                name
            );
        }
        put!(html, "</ul>");
    }
    put!(html, "</figure>");
    html
}

fn gallery(outliers: Result<Vec<Outlier>, String>) -> Html {
    let mut html = html!("<section aria-labelledby=\"outliers\"><h2 id=\"outliers\">Largest outliers</h2>");
    match outliers {
        Err(reason) => put!(html, "{}", empty(&reason)),
        Ok(outliers) if outliers.is_empty() => put!(html, "{}", empty("There is nothing to compare with.")),
        Ok(outliers) => {
            put!(html, "<ul class=\"gallery\">");
            for outlier in outliers {
                put!(html, "<li>");
                if let Some(png) = outlier.png {
                    put!(
                        html,
                        "<img alt=\"{}\" width=\"96\" height=\"96\" src=\"data:image/png;base64,{}\">",
                        outlier.name,
                        BASE64.encode(png)
                    );
                }
                put!(html, "<div><h3>{}</h3><dl>", outlier.name);
                for (name, value) in outlier.facts {
                    put!(html, "<div><dt>{}</dt><dd>{}</dd></div>", name, value);
                }
                put!(html, "</dl></div></li>");
            }
            put!(html, "</ul>");
        }
    }
    put!(html, "</section>");
    html
}

fn one(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}
