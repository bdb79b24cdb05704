//! The planner against reality: each configuration of a finished campaign, predicted from all the others.

use std::path::Path;
use std::process::ExitCode;

use serde_json::json;
use starmap_pipeline::campaign::{Figures, Spread};
use starmap_pipeline::plan::MeasuredRun;

use super::local::{Local, work_of};
use super::measured;
use crate::campaign::manifest;
use crate::printer::Printer;
use crate::progress::duration;
use crate::{exit, table};

/// Runs the check.
pub fn run(folder: &Path, data: &Path, printer: &Printer) -> anyhow::Result<ExitCode> {
    let manifest = manifest::read(folder)?
        .ok_or_else(|| exit::usage(format!("{}: there is no campaign.json in it", folder.display())))?;
    let mut measured: Vec<(usize, &Figures)> = Vec::new();
    for run in manifest.runs.iter().filter(|run| !run.warm_up) {
        measured.extend(run.figures.as_ref().map(|figures| (run.configuration, figures)));
    }
    let names: Vec<&str> = measured.iter().map(|(_, figures)| figures.run_id.as_str()).collect();
    let runs = measured::runs(data, |name| names.contains(&name));
    let of = |run: &MeasuredRun| measured.iter().find(|(_, f)| f.run_id == run.summary.run_id).map(|(index, _)| *index);
    let mut configurations: Vec<usize> = runs.iter().filter_map(of).collect();
    configurations.sort_unstable();
    configurations.dedup();
    if configurations.len() < 2 {
        return Err(exit::usage(format!(
            "{}: {} configurations with results in data root {}, expected 2 or more: one is predicted from the others",
            folder.display(),
            configurations.len(),
            data.display()
        )));
    }
    let mut rows =
        vec![["CONFIGURATION", "RUNS", "MEASURED", "PREDICTED", "NINE IN TEN", "ERROR"].map(str::to_owned).to_vec()];
    let (mut errors, mut objects) = (Vec::new(), Vec::new());
    for &held_out in &configurations {
        let (own, others): (Vec<&MeasuredRun>, Vec<&MeasuredRun>) =
            runs.iter().partition(|run| of(run) == Some(held_out));
        let others: Vec<MeasuredRun> = others.into_iter().cloned().collect();
        let walls = Spread::of(own.iter().filter_map(|run| run.summary.wall_s));
        let (Some(local), Some(walls), Some(run)) = (Local::of(&others), walls, own.first()) else { continue };
        let (batch, precision) = (run.summary.batch_size, run.summary.precision.as_str());
        let memory_mib = run.summary.memory.allocated_mib.unwrap_or(1_769);
        let predicted = local.simulate(&work_of(run), batch, precision, run.concurrency, memory_mib)?;
        let (middle, low, high) = local.wall_s(predicted.wall_s);
        let error = middle / walls.median - 1.0;
        errors.push(error.abs());
        let label = format!("c{:03}", held_out + 1);
        rows.push(vec![
            label.clone(),
            walls.count.to_string(),
            duration(walls.median),
            duration(middle),
            format!("{} to {}", duration(low), duration(high)),
            format!("{:+.1} %", error * 100.0),
        ]);
        objects.push(json!({
            "configuration": held_out + 1, "runs": walls.count, "measured_wall_s": walls.median,
            "measured_min_s": walls.min, "measured_max_s": walls.max, "predicted_wall_s": middle,
            "predicted_p5_s": low, "predicted_p95_s": high, "error": error,
        }));
    }
    errors.sort_by(f64::total_cmp);
    let within = errors.iter().filter(|error| **error <= 0.1).count();
    let median = errors.get(errors.len() / 2).copied().unwrap_or(0.0);
    printer.result(&table::aligned(&rows));
    printer.result(&format!(
        "\neach predicted from the runs of all others: median error {:.1} %, {within} of {} within 10 %",
        median * 100.0,
        errors.len()
    ));
    printer.object(&json!({
        "campaign": manifest.name, "configurations": objects, "median_error": median, "within_10_percent": within,
    }));
    Ok(ExitCode::SUCCESS)
}
