//! A campaign as CSV and Markdown: the published table's columns first, then ours.

use std::fmt::Write as _;

use super::figures::{Campaign, Configuration, Figures, Spread, Value};
use crate::published::{self, Row};

/// Every run on a line: what was asked for, the published columns as they were computed, and ours.
///
/// Keys of the grid come first, with `grid.` before their names. `kind` is `measured` or `warm-up`.
pub fn csv(campaign: &Campaign) -> String {
    let mut keys: Vec<&str> = Vec::new();
    for (key, _) in campaign.configurations.iter().flat_map(|configuration| &configuration.keys) {
        if !keys.contains(&key.as_str()) {
            keys.push(key);
        }
    }
    let mut text = String::from("configuration,kind,run_id");
    keys.iter().for_each(|key| text.push_str(&format!(",{}", quoted(&format!("grid.{key}")))));
    text.push_str(
        ",Partition (MB),Lambda/File Limit,Avg Runtime (s),Memory (MB),Data Size (GB),Cost ($),Throughput,Batch Size,\
         galaxies,partitions,data_bytes,world_size,precision,concurrency,memory_mib,wall_s,map_s,initialize_s,summarize_s,\
         galaxies_per_s,bytes_per_s,infer_galaxies_per_s,cold_items,cold_p50_s,cold_max_s,warm_items,warm_p50_s,warm_p95_s,\
         warm_max_s,straggler_ratio,peak_rss_mib,gb_s,aws_usd,attempts_failed,r2\n",
    );
    for (index, configuration) in campaign.configurations.iter().enumerate() {
        let runs = configuration.runs.iter().map(|run| ("measured", run));
        for (kind, run) in configuration.warm_ups.iter().map(|run| ("warm-up", run)).chain(runs) {
            let _ = write!(text, "{},{kind},{}", index + 1, quoted(&run.run_id));
            for key in &keys {
                let value = configuration.keys.iter().find(|(found, _)| found == key).map(|(_, value)| value.as_str());
                text.push(',');
                text.push_str(&quoted(value.unwrap_or_default()));
            }
            line(&mut text, run);
        }
    }
    text
}

fn line(text: &mut String, run: &Figures) {
    let legacy = &run.legacy;
    let _ = write!(
        text,
        ",{},{},{},{},{},{},{},{}",
        legacy.partition_mb,
        legacy.files,
        legacy.runtime_s_mean,
        legacy.memory_mb_mean,
        legacy.data_size_gb,
        legacy.legacy_cost,
        legacy.legacy_throughput,
        legacy.batch_size
    );
    let items = |items: Option<super::figures::ItemSeconds>, p95: bool| match items {
        None => ",".repeat(if p95 { 4 } else { 3 }),
        Some(items) if p95 => format!(",{},{},{},{}", items.count, items.p50, items.p95, items.max),
        Some(items) => format!(",{},{},{}", items.count, items.p50, items.max),
    };
    let _ = writeln!(
        text,
        ",{},{},{},{},{},{},{},{},{},{},{},{},{},{}{}{},{},{},{},{},{},{}",
        run.galaxies,
        run.partitions,
        run.data_bytes,
        run.world_size,
        quoted(&run.precision),
        run.concurrency,
        run.memory_mib,
        run.wall_s,
        run.map_s,
        run.initialize_s,
        run.summarize_s,
        run.galaxies_per_s,
        run.bytes_per_s,
        run.infer_galaxies_per_s,
        items(run.cold, false),
        items(run.warm, true),
        run.straggler_ratio,
        run.peak_rss_mib,
        run.gb_s,
        run.aws_usd,
        run.attempts_failed,
        run.r2.map_or_else(String::new, |r2| r2.to_string())
    );
}

fn quoted(text: &str) -> String {
    match text.contains([',', '"', '\n']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

/// A column: name, decimals, value.
type Column = (&'static str, usize, fn(&Figures) -> f64);

/// The columns of the published table.
pub(super) const LEGACY: [Column; 8] = [
    ("Partition (MB)", 1, |run| run.legacy.partition_mb),
    ("Lambda/File Limit", 0, |run| run.legacy.files as f64),
    ("Avg Runtime (s)", 4, |run| run.legacy.runtime_s_mean),
    ("Memory (MB)", 2, |run| run.legacy.memory_mb_mean),
    ("Data Size (GB)", 2, |run| run.legacy.data_size_gb),
    ("Cost ($)", 4, |run| run.legacy.legacy_cost),
    ("Throughput", 4, |run| run.legacy.legacy_throughput),
    ("Batch Size", 0, |run| run.legacy.batch_size as f64),
];

/// Our columns: decimals, value.
pub(super) const OURS: [(usize, Value); 10] = [
    (2, Value { name: "Wall", unit: "s", of: |run| Some(run.wall_s) }),
    (0, Value { name: "Throughput", unit: "galaxies/s", of: |run| Some(run.galaxies_per_s) }),
    (1, Value { name: "Data rate", unit: "MB/s", of: |run| Some(run.bytes_per_s / 1e6) }),
    (0, Value { name: "Infer rate", unit: "galaxies/s per worker", of: |run| Some(run.infer_galaxies_per_s) }),
    (3, Value { name: "Cold item, p50", unit: "s", of: |run| Some(run.cold?.p50) }),
    (3, Value { name: "Warm item, p50", unit: "s", of: |run| Some(run.warm?.p50) }),
    (2, Value { name: "Straggler ratio", unit: "max/p50", of: |run| Some(run.straggler_ratio) }),
    (0, Value { name: "Peak memory", unit: "MiB", of: |run| Some(run.peak_rss_mib) }),
    (2, Value { name: "Billed", unit: "GB-s", of: |run| Some(run.gb_s) }),
    (5, Value { name: "On AWS", unit: "$", of: |run| Some(run.aws_usd) }),
];

/// `12.3` or, of more than one run, `12.3 ± 0.4`: mean and standard deviation.
pub(super) fn spread(spread: Option<Spread>, decimals: usize) -> String {
    match spread {
        None => "–".to_owned(),
        Some(Spread { count: 1, mean, .. }) => format!("{mean:.decimals$}"),
        Some(Spread { mean, sd, .. }) => format!("{mean:.decimals$} ± {sd:.decimals$}"),
    }
}

/// The published rows nearest to the campaign's configurations, each once, in the order of their ids.
pub(super) fn published_rows(campaign: &Campaign) -> Vec<&'static Row> {
    let mut rows: Vec<&Row> = Vec::new();
    for run in campaign.configurations.iter().filter_map(|configuration| configuration.runs.first()) {
        let with_figures = published::rows().iter().filter(|row| row.runtime_s.is_some() || row.wall_s.is_some());
        for row in published::nearest(&run.legacy, with_figures, 2) {
            if !rows.iter().any(|known| known.row_id == row.row_id) {
                rows.push(row);
            }
        }
    }
    rows.sort_by_key(|row| row.row_id);
    rows.truncate(24);
    rows
}

/// What a published row says in the columns of [`LEGACY`], each with its decimals.
pub(super) fn published_figures(row: &Row) -> [(Option<f64>, usize); LEGACY.len()] {
    [
        (row.partition_mb, 1),
        (row.files.or(row.world_size), 0),
        (row.runtime_s, 4),
        (row.memory_mb, 2),
        (row.data_gb, 2),
        (row.cost_usd, 4),
        (row.throughput, 4),
        (row.batch, 0),
    ]
}

/// A figure that not every row has.
pub(super) fn told(figure: Option<f64>, decimals: usize) -> String {
    figure.map_or_else(|| "–".to_owned(), |figure| format!("{figure:.decimals$}"))
}

/// The campaign for people who read Markdown.
pub fn markdown(campaign: &Campaign) -> String {
    let measured = |configuration: &&Configuration| !configuration.runs.is_empty();
    let mut text = format!(
        "# Campaign {}\n\n{} configurations, {} measured runs ({} asked for of each), {} warm-ups kept apart. Written by {}.\n\
         Mean ± standard deviation over the measured runs.\n",
        campaign.name,
        campaign.configurations.len(),
        campaign.configurations.iter().map(|configuration| configuration.runs.len()).sum::<usize>(),
        campaign.repeats,
        campaign.configurations.iter().map(|configuration| configuration.warm_ups.len()).sum::<usize>(),
        campaign.created_by
    );
    text.push_str("\n## As measured\n\n| # | configuration | runs |");
    OURS.iter().for_each(|(_, value)| text.push_str(&format!(" {} ({}) |", value.name, value.unit)));
    text.push_str(&format!("\n|---|---|--:|{}\n", "--:|".repeat(OURS.len())));
    for (index, configuration) in campaign.configurations.iter().enumerate() {
        let _ = write!(text, "| {} | {} | {} |", index + 1, configuration.label(), configuration.runs.len());
        for (decimals, value) in OURS {
            let _ = write!(text, " {} |", spread(configuration.spread(value), decimals));
        }
        text.push('\n');
    }
    text.push_str(
        "\n## As in the published tables\n\nThe old formulas, for comparison line by line: the runtime is CPU time, the memory \
         what was used, the throughput GiB/s of one average worker, the cost without start-up, requests and transitions.\n\n|",
    );
    LEGACY.iter().for_each(|(name, ..)| text.push_str(&format!(" {name} |")));
    text.push_str(&format!(" source |\n|{}---|\n", "--:|".repeat(LEGACY.len())));
    for configuration in campaign.configurations.iter().filter(measured) {
        text.push('|');
        for (_, decimals, of) in LEGACY {
            let mean = Spread::of(configuration.runs.iter().map(of)).map_or(0.0, |spread| spread.mean);
            let _ = write!(text, " {mean:.decimals$} |");
        }
        let _ = writeln!(text, " here: {} |", configuration.label());
    }
    for row in published_rows(campaign) {
        text.push('|');
        for (figure, decimals) in published_figures(row) {
            let _ = write!(text, " {} |", told(figure, decimals));
        }
        let remark = row.remark().replace('|', "/");
        let _ = writeln!(text, " row {}, {}: {}; {remark} |", row.row_id, row.team, row.table);
    }
    let failures = campaign.configurations.iter().filter(|configuration| !configuration.failures.is_empty());
    for (index, configuration) in failures.enumerate() {
        if index == 0 {
            text.push_str("\n## Runs that failed\n\n");
        }
        for failure in &configuration.failures {
            let _ = writeln!(text, "- {}: {failure}", configuration.label());
        }
    }
    text
}
