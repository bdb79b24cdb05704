//! Runs beside the published tables, as the console shows them; `starmap compare` prints the same.

use starmap_pipeline::published::{self, Row};
use starmap_pipeline::summary::Summary;
use starmap_server::console::{Published, PublishedRow};

/// Names and definitions of the columns.
const COLUMNS: [(&str, &str); 9] = [
    ("Partition, MB", "mean size of a partition"),
    ("Files", "partitions that were used; of a published row that has none, its number of workers"),
    ("Batch", "galaxies per forward pass"),
    (
        "Runtime, s",
        "mean over the workers; in the published tables mostly CPU time of the model's loop, and so it is here",
    ),
    ("Memory, MB", "mean over the workers: resident, after inference"),
    ("Data, GB", "partition size × files / 1024"),
    (
        "Cost, $",
        "files × runtime × memory used / 1024 × 0.00001667: no start, no request, no allocated memory; a bill is other",
    ),
    ("Throughput", "GiB per second: data / mean runtime, as if all ran at once; headed MB/s in the published tables"),
    ("Wall, s", "from the start of the execution to its end"),
];

/// The rows that are nearest to any of the runs; none if there is no run.
pub(super) fn beside(summaries: &[Option<Summary>], count: usize) -> Option<Published> {
    let mut nearest: Vec<&Row> = Vec::new();
    let runs = summaries.iter().flatten().count().max(1);
    for summary in summaries.iter().flatten() {
        // Of each run a fair part, and each row once.
        for row in published::nearest(&summary.legacy, published::rows().iter(), count.div_ceil(runs)) {
            if !nearest.iter().any(|there| there.row_id == row.row_id) {
                nearest.push(row);
            }
        }
    }
    if nearest.is_empty() {
        return None;
    }
    Some(Published {
        note: "The published rows that are nearest in partition size, number of files and batch size. Runs on other machines, \
               by other definitions: mind what is said of each."
            .to_owned(),
        columns: COLUMNS.iter().map(|(name, definition)| ((*name).to_owned(), (*definition).to_owned())).collect(),
        own: summaries.iter().map(|summary| summary.as_ref().map(own)).collect(),
        rows: nearest.into_iter().map(row).collect(),
        command: "starmap compare".to_owned(),
    })
}

fn own(summary: &Summary) -> Vec<String> {
    let legacy = &summary.legacy;
    vec![
        format!("{:.1}", legacy.partition_mb),
        legacy.files.to_string(),
        legacy.batch_size.to_string(),
        format!("{:.3}", legacy.runtime_s_mean),
        format!("{:.1}", legacy.memory_mb_mean),
        format!("{:.2}", legacy.data_size_gb),
        // Small runs cost less than the tables have digits for.
        format!("{:.*}", if legacy.legacy_cost < 0.001 { 6 } else { 4 }, legacy.legacy_cost),
        format!("{:.4}", legacy.legacy_throughput),
        figure(summary.wall_s, 1),
    ]
}

fn row(row: &Row) -> PublishedRow {
    let throughput = match (row.throughput, row.throughput_unit.as_str()) {
        (None, _) => String::new(),
        (value, "") => figure(value, 4),
        (value, unit) => format!("{} {unit}", figure(value, 4)),
    };
    PublishedRow {
        name: format!("Row {}, {}: {}", row.row_id, row.team, row.table),
        cells: vec![
            figure(row.partition_mb, 1),
            figure(row.files.or(row.world_size), 0),
            figure(row.batch, 0),
            figure(row.runtime_s, 3),
            figure(row.memory_mb, 1),
            figure(row.data_gb, 2),
            figure(row.cost_usd, 4),
            throughput,
            figure(row.wall_s, 1),
        ],
        remark: row.remark(),
        is_sound: row.is_sound(),
    }
}

fn figure(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(String::new, |value| format!("{value:.decimals$}"))
}
