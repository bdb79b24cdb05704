//! `starmap compare`: a run beside the published tables.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serde_json::json;
use starmap_engine::journal::Reader;
use starmap_pipeline::published::{self, Row};
use starmap_pipeline::summary::Summary;

use crate::commands::run::runtime;
use crate::printer::Printer;
use crate::{billing, exit, session, table, variables};

/// Arguments of `starmap compare`.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// Name or ARN of a run that succeeded, or the path of its summary.json
    #[arg(value_name = "RUN")]
    run: String,
    /// Folder with the journal
    #[arg(long, value_name = "DIR", env = variables::DATA, default_value = "starmap-data")]
    data: PathBuf,
    /// How many of the nearest rows to show
    #[arg(long, value_name = "N", default_value_t = 12)]
    rows: usize,
    /// Only rows whose table, team or platform has this in it
    #[arg(long, value_name = "TEXT")]
    table: Option<String>,
    /// Only rows against which nothing is known
    #[arg(long)]
    sound: bool,
}

/// Runs the command.
pub fn run(args: &CompareArgs, printer: &Printer) -> anyhow::Result<ExitCode> {
    let summary = summary(&args.run, &args.data)?;
    let wanted = |row: &&Row| {
        let text = args.table.as_ref().map(|text| text.to_lowercase());
        let is_of = |text: String| {
            [&row.table, &row.team, &row.platform].iter().any(|column| column.to_lowercase().contains(&text))
        };
        text.is_none_or(is_of) && (!args.sound || row.is_sound())
    };
    let near = published::nearest(&summary.legacy, published::rows().iter().filter(wanted), args.rows);
    if near.is_empty() {
        return Err(exit::usage(
            "no published row with a partition size and a number of files is left by these filters",
        ));
    }
    printer.result(&shown(&summary, &near));
    printer.object(&json!({
        "run_id": summary.run_id,
        "run": { "legacy": summary.legacy, "wall_s": summary.wall_s, "aws": summary.aws,
                 "peak_rss_mib": summary.memory.peak_rss_mib, "throughput": summary.throughput },
        "published": near,
    }));
    Ok(ExitCode::SUCCESS)
}

/// The summary of a run by its name, or by the path of the file.
pub fn summary(run: &str, data: &Path) -> anyhow::Result<Summary> {
    let path = Path::new(run);
    if path.extension().is_some_and(|extension| extension == "json") {
        let text = std::fs::read_to_string(path).map_err(|error| exit::usage(format!("{run}: {error}")))?;
        return serde_json::from_str(&text)
            .map_err(|error| exit::usage(format!("{run}: this is not a summary.json: {error}")));
    }
    let journal = session::reader(data)?;
    let record = journal.find_execution(run)?.ok_or_else(|| {
        exit::usage(format!(
            "there is no execution {run} in data root {}\nhint: `starmap executions list` shows those that are",
            data.display()
        ))
    })?;
    runtime()?.block_on(billing::summary_of(&record)).with_context(|| format!("the summary of {run}"))
}

fn shown(summary: &Summary, near: &[&Row]) -> String {
    let header = [
        "ROW",
        "TABLE",
        "PARTITION MB",
        "FILES",
        "BATCH",
        "RUNTIME S",
        "MEMORY MB",
        "DATA GB",
        "COST $",
        "THROUGHPUT",
        "WALL S",
        "TO MIND",
    ];
    let legacy = &summary.legacy;
    let figure = |value: Option<f64>, decimals: usize| match value {
        Some(value) => format!("{value:.decimals$}"),
        None => "–".to_owned(),
    };
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    rows.push(vec![
        "this run".to_owned(),
        summary.run_id.clone(),
        format!("{:.1}", legacy.partition_mb),
        legacy.files.to_string(),
        legacy.batch_size.to_string(),
        format!("{:.3}", legacy.runtime_s_mean),
        format!("{:.1}", legacy.memory_mb_mean),
        format!("{:.2}", legacy.data_size_gb),
        format!("{:.4}", legacy.legacy_cost),
        format!("{:.4}", legacy.legacy_throughput),
        figure(summary.wall_s, 1),
        "legacy columns: CPU time, memory used, GiB/s; see the last line for the bill".to_owned(),
    ]);
    for row in near {
        let throughput = match row.throughput_unit.as_str() {
            "" => figure(row.throughput, 4),
            unit => format!("{} {unit}", figure(row.throughput, 4)),
        };
        rows.push(vec![
            row.row_id.to_string(),
            format!("{}: {}", row.team, row.table),
            figure(row.partition_mb, 1),
            figure(row.files.or(row.world_size), 0),
            figure(row.batch, 0),
            figure(row.runtime_s, 3),
            figure(row.memory_mb, 1),
            figure(row.data_gb, 2),
            figure(row.cost_usd, 4),
            throughput,
            figure(row.wall_s, 1),
            row.remark(),
        ]);
    }
    let bill = summary.aws.as_ref().map_or_else(String::new, |aws| {
        format!("\n\nthis run on AWS, as it would be billed: ${:.4} (prices of {})", aws.total_usd, aws.prices_as_of)
    });
    format!("{}{bill}", table::aligned(&rows))
}
