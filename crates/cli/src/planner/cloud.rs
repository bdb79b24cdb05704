//! Runs on AWS, predicted from how published runs were orchestrated there.

use std::collections::BTreeMap;

use starmap_engine::simulate::{Capacity, Latency};
use starmap_pipeline::plan::{Calibrated, GALAXIES_PER_MB, Observation, Profile, Work};

use super::scene::{Predicted, Scene, predict};

/// Share of the time of Initialize and Summarize together that is Initialize's.
const INITIALIZE_SHARE: f64 = 0.5;
/// Memory of the published functions, MiB.
pub const RECORDED_MEMORY_MIB: u32 = 10_240;

/// How AWS orchestrates, as a simulation takes it.
pub fn latency(calibrated: &Calibrated) -> Latency {
    Latency {
        task_ms: 0.0,
        map_ms: calibrated.map_s * 1e3,
        child_ms: calibrated.child_s * 1e3,
        later: Some((calibrated.first, calibrated.child_later_s * 1e3)),
    }
}

/// Seconds of Initialize and of Summarize.
pub fn ends_s(calibrated: &Calibrated) -> (f64, f64) {
    (calibrated.ends_s * INITIALIZE_SHARE, calibrated.ends_s * (1.0 - INITIALIZE_SHARE))
}

/// The published pipeline over one partition per worker, simulated.
pub fn published_run(
    calibrated: &Calibrated,
    profile: &Profile,
    partition_mb: f64,
    workers: u64,
    seed: u64,
) -> anyhow::Result<Predicted> {
    let per_partition = (partition_mb * GALAXIES_PER_MB).round() as u64;
    let work = Work::even(per_partition * workers, per_partition, None);
    let scene = Scene {
        profile,
        work: &work,
        batch: 512,
        precision: "f32",
        memory_mib: RECORDED_MEMORY_MIB,
        // The accounts of the published runs had raised quotas: thousands ran at once.
        capacity: Capacity::local(10_000),
        latency: latency(calibrated),
        children_max: 10_000,
        slowness: 1.0,
        ends_s: ends_s(calibrated),
    };
    predict(&scene, seed)
}

/// Fits on rows, predicts them, and keeps how far off that was.
pub fn calibrate(rows: &[Observation]) -> anyhow::Result<Calibrated> {
    let calibrated =
        Calibrated::fit(rows).ok_or_else(|| anyhow::anyhow!("{} published rows are too few to fit", rows.len()))?;
    let profile = Profile::recorded(calibrated.item_mb_s);
    let mut walls = Walls::new(&calibrated, &profile);
    let ratio = |row: &Observation| Ok(row.wall_s / walls.simulated_s(row)?);
    let ratios = rows.iter().map(ratio).collect::<anyhow::Result<Vec<f64>>>()?;
    drop(walls);
    Ok(calibrated.with_ratios(&ratios))
}

/// What simulations say of published walls; runs of the same size are simulated once.
struct Walls<'a> {
    calibrated: &'a Calibrated,
    profile: &'a Profile,
    known: BTreeMap<(u64, u64), (f64, f64)>,
}

impl<'a> Walls<'a> {
    fn new(calibrated: &'a Calibrated, profile: &'a Profile) -> Self {
        Self { calibrated, profile, known: BTreeMap::new() }
    }

    fn simulated_s(&mut self, row: &Observation) -> anyhow::Result<f64> {
        let size = (row.partition_mb.round() as u64, row.workers);
        let (wall_s, map_s) = match self.known.get(&size) {
            Some(known) => *known,
            None => {
                let run = published_run(self.calibrated, self.profile, row.partition_mb, row.workers, 1)?;
                self.known.insert(size, (run.wall_s, run.map_s));
                (run.wall_s, run.map_s)
            }
        };
        Ok(if row.is_map { map_s } else { wall_s })
    }
}

#[cfg(test)]
#[allow(clippy::print_stderr, reason = "the error distribution is to be seen: run with --nocapture")]
mod tests {
    use std::time::Instant;

    use starmap_pipeline::plan::observations;

    use super::*;

    #[test]
    fn half_of_the_published_walls_predicts_the_other_half() {
        let rows = observations();
        let fitted_on: Vec<_> = rows.iter().filter(|row| row.row_id % 2 == 0).cloned().collect();
        let held_out: Vec<_> = rows.iter().filter(|row| row.row_id % 2 == 1).cloned().collect();
        let calibrated = calibrate(&fitted_on).unwrap();
        let profile = Profile::recorded(calibrated.item_mb_s);
        let shown = Calibrated { ratios: Vec::new(), leverages: Vec::new(), ..calibrated.clone() };
        eprintln!("fitted on {} rows: {shown:?}", fitted_on.len());
        let mut walls = Walls::new(&calibrated, &profile);
        let (mut errors, mut inside) = (Vec::new(), 0);
        for row in &held_out {
            let (middle, low, high) = calibrated.interval(walls.simulated_s(row).unwrap(), 0.9);
            errors.push(middle / row.wall_s - 1.0);
            inside += usize::from((low..=high).contains(&row.wall_s));
        }
        let mut sizes: Vec<f64> = errors.iter().map(|error| error.abs()).collect();
        sizes.sort_by(f64::total_cmp);
        errors.sort_by(f64::total_cmp);
        let at = |values: &[f64], p: f64| values[((values.len() - 1) as f64 * p).round() as usize] * 100.0;
        let quantiles = [0.05, 0.25, 0.5, 0.75, 0.95].map(|p| format!("{:+.0} %", at(&errors, p)));
        eprintln!(
            "{} held-out walls: error p5 {}, p25 {}, p50 {}, p75 {}, p95 {}; |error| p50 {:.0} %, p90 {:.0} %; {inside} inside the 90 % interval",
            held_out.len(),
            quantiles[0],
            quantiles[1],
            quantiles[2],
            quantiles[3],
            quantiles[4],
            at(&sizes, 0.5),
            at(&sizes, 0.9)
        );
        assert!(at(&sizes, 0.5) < 20.0, "median error {:.0} %", at(&sizes, 0.5));
        let share = inside as f64 / held_out.len() as f64;
        assert!(share >= 0.9, "{inside} of {} inside", held_out.len());
        // The map walls of 2025: about 47.5 s and 0.0125 s per worker, of 100 MB partitions.
        for workers in [983, 1_024, 2_622, 5_243, 7_865, 10_240] {
            let wall_s = 47.5 + 0.0125 * workers as f64;
            let simulated = published_run(&calibrated, &profile, 100.0, workers, 1).unwrap();
            let (middle, low, high) = calibrated.interval(simulated.map_s, 0.9);
            eprintln!("{workers} workers: {wall_s:.1} s, predicted {middle:.1} s, {low:.1} to {high:.1} s");
            assert!((low..=high).contains(&wall_s), "{workers} workers: {wall_s} not in {low} to {high}");
        }
    }

    #[test]
    fn the_published_run_of_517_workers_is_simulated_in_less_than_two_seconds() {
        let calibrated = Calibrated::fit(&observations()).unwrap();
        let profile = Profile::recorded(calibrated.item_mb_s);
        let begun = Instant::now();
        let run = published_run(&calibrated, &profile, 25.0, 517, 1).unwrap();
        let took_s = begun.elapsed().as_secs_f64();
        eprintln!("517 workers: {:.1} s simulated in {took_s:.3} s", run.wall_s);
        assert!(run.succeeds() && took_s < 2.0, "{took_s} s");
    }
}
