//! Tables for people.

use starmap_pipeline::quality::Figures;
use starmap_pipeline::summary::Summary;

use crate::progress::duration;

/// Rows with their columns aligned to the left, two spaces between them.
pub fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The result of a run: the answer first, then how good, how fast, how much.
pub fn of(summary: &Summary) -> String {
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut row = |name: &str, value: String| rows.push(vec![name.to_owned(), value]);
    row("run", summary.run_id.clone());
    row("galaxies", format!("{}, every one with its stored row, proven complete", summary.galaxies));
    if summary.galaxies_flagged > 0 {
        row("flagged", format!("{} without a redshift: their values are not finite", summary.galaxies_flagged));
    }
    row(
        "partitions",
        format!("{} in {} ranks, batch size {}", summary.partitions, summary.world_size, summary.batch_size),
    );
    if let Some(quality) = &summary.quality {
        let Figures { mae, mse, r2, bias_mean, nmad, outliers_15, .. } = quality.all.figures;
        let r2 = r2.map_or_else(|| "–".to_owned(), |r2| format!("{r2:.4}"));
        row("quality", format!("R² {r2}, MAE {mae:.4}, MSE {mse:.6}, against {} z_spec", summary.galaxies_with_z_spec));
        row("", format!("bias {bias_mean:+.4}, NMAD {nmad:.4}, |dz| > 0.15: {:.2} %", outliers_15 * 100.0));
    }
    if let Some(wall_s) = summary.wall_s {
        let share = summary.time.initialize_and_summarize_share.unwrap_or(0.0);
        row("wall", format!("{}, {:.0} % of it Initialize and Summarize", duration(wall_s), share * 100.0));
    }
    if let (Some(galaxies), Some(bytes)) = (summary.throughput.galaxies_per_s, summary.throughput.bytes_per_s) {
        let infer = summary.throughput.infer_galaxies_per_s.p50;
        row(
            "throughput",
            format!("{galaxies:.0} galaxies/s, {:.1} MB/s; {infer:.0} galaxies/s per worker inferring", bytes / 1e6),
        );
    }
    let total = summary.time.items.total;
    row("item", format!("p50 {:.2} s, p95 {:.2} s, max {:.2} s", total.p50, total.p95, total.max));
    let allocated = summary.memory.allocated_mib.map(|mib| format!(" of {mib} MiB")).unwrap_or_default();
    row("memory", format!("peak {:.0} MiB{allocated} per worker", summary.memory.peak_rss_mib.max));
    let retries = summary.storage_retries;
    if retries.total() > 0 {
        row("storage", format!("{} requests repeated ({})", retries.total(), retries.told()));
    }
    if let Some(execution) = &summary.execution {
        let failed = execution.attempts_failed;
        row(
            "billed",
            format!("{:.2} GB-s in {} invocations, {failed} failed", execution.billed_gb_s, execution.attempts),
        );
    }
    if let Some(aws) = &summary.aws {
        row(
            "on AWS",
            format!(
                "${:.4}: Lambda ${:.4}, Step Functions ${:.4}, S3 ${:.4} (prices of {}, {}, {})",
                aws.total_usd,
                aws.lambda_usd,
                aws.step_functions_usd,
                aws.s3_usd,
                aws.prices_as_of,
                aws.region,
                aws.architecture
            ),
        );
    }
    let legacy = &summary.legacy;
    row(
        "as published",
        format!(
            "legacy_cost ${:.6}, legacy_throughput {:.4}: the old formulas, for comparison only",
            legacy.legacy_cost, legacy.legacy_throughput
        ),
    );
    aligned(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_not_padded() {
        let rows = vec![vec!["a".to_owned(), "b".to_owned()], vec!["long".to_owned()]];
        assert_eq!(aligned(&rows), "a     b\nlong");
    }
}
