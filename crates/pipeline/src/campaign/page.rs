//! A campaign on one page. One file without any request, as a run's report.

use std::fmt::Write as _;

use super::chart::{SERIES_MAX, Series, chart, legend};
use super::figures::{Campaign, Configuration, Figures, Spread, Value};
use super::tables::{LEGACY, OURS, published_figures, published_rows, spread, told};
use crate::report::text::{count, escape, number, seconds};

/// A key that was swept: name, how an axis calls it, and a run's place on it.
type Axis = (&'static str, &'static str, fn(&Figures) -> f64);

/// A cell of a table: decimals, value.
type Cell = (usize, fn(&Figures) -> Option<f64>);

const AXES: [Axis; 6] = [
    ("Partition size", "partition (MB)", |run| run.legacy.partition_mb),
    ("Data size", "data (GiB)", |run| (run.data_gib() * 1e3).round() / 1e3),
    ("Batch sweep", "batch size (galaxies)", |run| run.batch_size as f64),
    ("Concurrency", "workers at once", |run| run.concurrency as f64),
    ("Memory of a function", "function memory (MiB)", |run| f64::from(run.memory_mib)),
    ("Ranks", "ranks", |run| run.world_size as f64),
];

/// What is drawn over each axis.
const DRAWN: [(Value, &str); 6] = [
    (
        Value { name: "wall time", unit: "s", of: |run| Some(run.wall_s) },
        "Time from the start of an execution to its end.",
    ),
    (
        Value { name: "throughput", unit: "galaxies/s", of: |run| Some(run.galaxies_per_s) },
        "Galaxies predicted per second of wall time.",
    ),
    (
        Value { name: "cost on AWS", unit: "$", of: |run| Some(run.aws_usd) },
        "What the run would have been billed on AWS: Lambda, Step Functions, S3.",
    ),
    (
        Value { name: "peak memory", unit: "MiB", of: |run| Some(run.peak_rss_mib) },
        "Peak resident set of the largest worker.",
    ),
    (
        Value { name: "cold item", unit: "s", of: |run| Some(run.cold?.p50) },
        "Median of the items that were their worker's first: with the loading of the model.",
    ),
    (
        Value { name: "warm item", unit: "s", of: |run| Some(run.warm?.p50) },
        "Median of the items of workers that had the model.",
    ),
];

/// Renders the page.
pub fn html(campaign: &Campaign) -> String {
    let mut page = String::with_capacity(128 << 10);
    let title = format!("Campaign {}", escape(&campaign.name));
    let _ = write!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\"><title>{title}</title><style>{}{}</style></head><body><main>",
        include_str!("../report/style.css"),
        include_str!("style.css")
    );
    header(&mut page, campaign);
    // Where every partition has a rank of its own, ranks are no key of their own.
    let first_runs = campaign.configurations.iter().filter_map(|configuration| configuration.runs.first());
    let are_ranks_swept = first_runs.into_iter().any(|run| run.world_size != run.partitions);
    let axes = if are_ranks_swept { &AXES[..] } else { &AXES[..AXES.len() - 1] };
    axes.iter().for_each(|axis| sweep(&mut page, campaign, axis, axes));
    cold_and_warm(&mut page, campaign);
    ours(&mut page, campaign);
    published(&mut page, campaign);
    failures(&mut page, campaign);
    let _ = writeln!(page, "<footer>{}</footer></main></body></html>", escape(&campaign.created_by));
    page
}

fn header(page: &mut String, campaign: &Campaign) {
    let runs = || campaign.configurations.iter().flat_map(|configuration| &configuration.runs);
    let (measured, warm_ups) = (
        runs().count(),
        campaign.configurations.iter().map(|configuration| configuration.warm_ups.len()).sum::<usize>(),
    );
    let asked = campaign.configurations.len() * campaign.repeats as usize;
    let missing = match asked.saturating_sub(measured) {
        0 => String::new(),
        missing => format!(" <strong>{missing} of {asked} runs are missing.</strong>"),
    };
    let _ = write!(
        page,
        "<header><p class=\"over\">Campaign · <code>{}</code></p><h1>{} configurations, {} measured runs</h1>\
         <p class=\"lead\">In random order, {} warm-ups kept apart.{missing} Points are medians, bars reach from the smallest \
         to the largest run.</p><dl class=\"tiles\">",
        escape(&campaign.name),
        count(campaign.configurations.len() as u64),
        count(measured as u64),
        count(warm_ups as u64),
    );
    let best = |of: fn(&Figures) -> f64, is_less: bool| {
        let medians = campaign.configurations.iter().filter_map(|configuration| {
            Some((Spread::of(configuration.runs.iter().map(of))?.median, configuration.label()))
        });
        let ordered = |a: &(f64, String), b: &(f64, String)| a.0.total_cmp(&b.0);
        if is_less { medians.min_by(ordered) } else { medians.max_by(ordered) }
    };
    let tiles = [
        ("Fastest", best(|run| run.wall_s, true), seconds as fn(f64) -> String),
        ("Most galaxies/s", best(|run| run.galaxies_per_s, false), number),
        ("Cheapest on AWS", best(|run| run.aws_usd, true), |usd| format!("${usd:.4}")),
        ("Least memory", best(|run| run.peak_rss_mib, true), |mib| format!("{} MiB", number(mib))),
    ];
    for (name, found, told) in tiles {
        let Some((value, label)) = found else { continue };
        let _ = write!(page, "<div><dt>{name}</dt><dd>{}<small>{}</small></dd></div>", told(value), escape(&label));
    }
    page.push_str("</dl></header>");
}

/// The charts over one key, if it was swept.
fn sweep(page: &mut String, campaign: &Campaign, (name, x_label, of): &Axis, axes: &[Axis]) {
    let place_of = |configuration: &Configuration| configuration.runs.first().map(of);
    let mut places: Vec<f64> = campaign.configurations.iter().filter_map(place_of).collect();
    places.sort_by(f64::total_cmp);
    places.dedup();
    if places.len() < 2 {
        return;
    }
    // A series is all that differs beside this axis; what follows from the axis is no difference.
    let others = |run: &Figures| -> String {
        let words = axes.iter().filter(|(other, ..)| other != name).filter_map(|(_, label, other)| {
            let follows = follows_from(campaign, of, *other) || follows_from(campaign, *other, of);
            let varies = campaign.configurations.iter().filter_map(|c| c.runs.first()).any(|b| other(b) != other(run));
            (varies && !follows).then(|| format!("{} {}", number(other(run)), unit_of(label)))
        });
        let mut words: Vec<String> = words.collect();
        let precisions = campaign.configurations.iter().filter_map(|c| c.runs.first());
        if precisions.clone().any(|other| other.precision != run.precision) {
            words.push(run.precision.clone());
        }
        words.join(", ")
    };
    let mut names: Vec<String> = Vec::new();
    let mut grouped: Vec<Vec<&Configuration>> = Vec::new();
    for configuration in &campaign.configurations {
        let Some(run) = configuration.runs.first() else { continue };
        let series = others(run);
        match names.iter().position(|known| *known == series) {
            Some(place) => grouped[place].push(configuration),
            None => {
                names.push(series);
                grouped.push(vec![configuration]);
            }
        }
    }
    let left_out = names.len().saturating_sub(SERIES_MAX);
    names.truncate(SERIES_MAX);
    let labels: Vec<String> = places.iter().map(|place| number(*place)).collect();
    let _ = write!(page, "<section><h2>{name}</h2>");
    if left_out > 0 {
        let _ = write!(page, "<p>{left_out} more series are in the table only.</p>");
    }
    page.push_str(&legend(&names));
    page.push_str("<div class=\"figures\">");
    for (value, told) in DRAWN {
        let series: Vec<Series> = names
            .iter()
            .zip(&grouped)
            .map(|(name, configurations)| {
                let mut points: Vec<(usize, Spread)> = configurations
                    .iter()
                    .filter_map(|configuration| {
                        let at = place_of(configuration)?;
                        let place = places.iter().position(|place| *place == at)?;
                        Some((place, configuration.spread(value)?))
                    })
                    .collect();
                points.sort_by_key(|(place, _)| *place);
                Series { name: name.clone(), points }
            })
            .collect();
        if series.iter().all(|series| series.points.is_empty()) {
            continue;
        }
        let title = format!("{} against {x_label}, {} series", value.name, series.len());
        let y_label = format!("{} ({})", value.name, value.unit);
        let _ = write!(
            page,
            "<figure>{}<figcaption>{told}</figcaption></figure>",
            chart(&title, x_label, &labels, &y_label, &series)
        );
    }
    page.push_str("</div></section>");
}

/// Whether one key has one value for each value of another.
fn follows_from(campaign: &Campaign, of: impl Fn(&Figures) -> f64, other: impl Fn(&Figures) -> f64) -> bool {
    let runs: Vec<&Figures> = campaign.configurations.iter().filter_map(|c| c.runs.first()).collect();
    runs.iter().all(|a| runs.iter().all(|b| of(a) != of(b) || other(a) == other(b)))
}

/// What stands in brackets in an axis's label, or the label.
fn unit_of(label: &str) -> &str {
    let inside = label.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    match (label, inside) {
        ("batch size (galaxies)", _) => "per batch",
        ("function memory (MiB)", _) => "MiB functions",
        ("partition (MB)", _) => "MB partitions",
        (_, Some(unit)) => unit,
        (label, None) => label,
    }
}

fn cold_and_warm(page: &mut String, campaign: &Campaign) {
    page.push_str(
        "<section><h2>Cold and warm items apart</h2><p>A worker's first item loads the model; the others find it there. \
         Seconds of the whole handler.</p><div class=\"scroll\"><table><thead><tr><th class=\"n\">#</th><th>configuration</th>\
         <th class=\"n\">cold items</th><th class=\"n\">cold p50</th><th class=\"n\">cold max</th><th class=\"n\">warm items</th>\
         <th class=\"n\">warm p50</th><th class=\"n\">warm p95</th><th class=\"n\">warm max</th></tr></thead><tbody>",
    );
    for (index, configuration) in campaign.configurations.iter().enumerate() {
        let _ = write!(
            page,
            "<tr><td class=\"n\">{}</td><th scope=\"row\">{}</th>",
            index + 1,
            escape(&configuration.label())
        );
        let cells: [Cell; 7] = [
            (0, |run| Some(run.cold?.count as f64)),
            (3, |run| Some(run.cold?.p50)),
            (3, |run| Some(run.cold?.max)),
            (0, |run| Some(run.warm?.count as f64)),
            (3, |run| Some(run.warm?.p50)),
            (3, |run| Some(run.warm?.p95)),
            (3, |run| Some(run.warm?.max)),
        ];
        for (decimals, of) in cells {
            let found = Spread::of(configuration.runs.iter().filter_map(of));
            let told = match decimals {
                0 => found.map_or_else(|| "–".to_owned(), |found| format!("{:.0}", found.mean)),
                _ => spread(found, decimals),
            };
            let _ = write!(page, "<td class=\"n\">{told}</td>");
        }
        page.push_str("</tr>");
    }
    page.push_str("</tbody></table></div></section>");
}

fn ours(page: &mut String, campaign: &Campaign) {
    page.push_str(
        "<section><h2>As measured</h2><p>Mean ± standard deviation over the measured runs.</p><div class=\"scroll\"><table>\
         <thead><tr><th class=\"n\">#</th><th>configuration</th><th class=\"n\">runs</th>",
    );
    for (_, value) in OURS {
        let _ = write!(page, "<th class=\"n\">{}<br><small>{}</small></th>", value.name, value.unit);
    }
    page.push_str("</tr></thead><tbody>");
    for (index, configuration) in campaign.configurations.iter().enumerate() {
        let _ = write!(
            page,
            "<tr><td class=\"n\">{}</td><th scope=\"row\">{}</th><td class=\"n\">{}</td>",
            index + 1,
            escape(&configuration.label()),
            configuration.runs.len()
        );
        for (decimals, value) in OURS {
            let _ = write!(page, "<td class=\"n\">{}</td>", spread(configuration.spread(value), decimals));
        }
        page.push_str("</tr>");
    }
    page.push_str("</tbody></table></div></section>");
}

fn published(page: &mut String, campaign: &Campaign) {
    page.push_str(
        "<section><h2>As in the published tables</h2><p>The old formulas, to compare line by line: the runtime is CPU time, \
         the memory what was used, the throughput, headed MB/s there, is GiB/s of one average worker, and the cost leaves out \
         start-up, requests and transitions. Below ours, the published rows that are nearest, each with what to mind.</p>\
         <div class=\"scroll\"><table><thead><tr>",
    );
    LEGACY.iter().for_each(|(name, ..)| {
        let _ = write!(page, "<th class=\"n\">{name}</th>");
    });
    page.push_str("<th class=\"n\">Wall (s)</th><th>source</th></tr></thead><tbody>");
    for configuration in campaign.configurations.iter().filter(|configuration| !configuration.runs.is_empty()) {
        page.push_str("<tr class=\"here\">");
        for (_, decimals, of) in LEGACY {
            let mean = Spread::of(configuration.runs.iter().map(of)).map_or(0.0, |spread| spread.mean);
            let _ = write!(page, "<td class=\"n\">{mean:.decimals$}</td>");
        }
        let wall = Spread::of(configuration.runs.iter().map(|run| run.wall_s));
        let _ = write!(
            page,
            "<td class=\"n\">{}</td><td>here: {}</td></tr>",
            spread(wall, 1),
            escape(&configuration.label())
        );
    }
    for row in published_rows(campaign) {
        page.push_str("<tr>");
        for (figure, decimals) in published_figures(row).into_iter().chain([(row.wall_s, 1)]) {
            let _ = write!(page, "<td class=\"n\">{}</td>", told(figure, decimals));
        }
        let _ = write!(
            page,
            "<td>row {}, {}: {}, {}<br><small>{}</small></td></tr>",
            row.row_id,
            escape(&row.team),
            escape(&row.table),
            escape(&row.platform),
            escape(&row.remark())
        );
    }
    page.push_str("</tbody></table></div></section>");
}

fn failures(page: &mut String, campaign: &Campaign) {
    let mut failed =
        campaign.configurations.iter().filter(|configuration| !configuration.failures.is_empty()).peekable();
    if failed.peek().is_none() {
        return;
    }
    page.push_str("<section><h2>Runs that failed</h2><dl class=\"facts\">");
    for configuration in failed {
        for failure in &configuration.failures {
            let _ = write!(page, "<div><dt>{}</dt><dd>{}</dd></div>", escape(&configuration.label()), escape(failure));
        }
    }
    page.push_str("</dl></section>");
}
