//! Galaxies per second of one thread, and where the time goes:
//! `cargo run --release -p starmap-astromae --example throughput`.
//!
//! Recipe weights of the published size, batches of 256, median of several rounds. On Linux time is the thread's own
//! time on a CPU, so that other programs on the machine disturb less; elsewhere it is wall time.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write;
use std::time::Instant;

use starmap_astromae::recipe::{self, Recipe};
use starmap_astromae::{Config, Model, Predictor, Stage};

const BATCH: usize = 256;
const ROUNDS: usize = 15;

struct Clock(Instant);

impl Clock {
    fn seconds(&self) -> f64 {
        let on_cpu = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
        let nanoseconds = on_cpu.and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok());
        nanoseconds.map_or_else(|| self.0.elapsed().as_secs_f64(), |nanoseconds| nanoseconds / 1e9)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut out = std::io::stdout().lock();
    let clock = Clock(Instant::now());
    let model = Model::load(&Recipe::new(Config::default()))?;
    writeln!(out, "kernels {}; recipe and load {:.2} s", starmap_astromae::kernel_level(), clock.seconds())?;
    let (images, magnitudes) = recipe::inputs(BATCH);
    let mut redshifts = vec![0.0; BATCH];
    let mut predictor = Predictor::new(&model, BATCH);
    predictor.predict(&images, &magnitudes, &mut redshifts)?;

    let (mut rates, mut wall_rates) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (since, wall) = (clock.seconds(), Instant::now());
        predictor.predict(&images, &magnitudes, &mut redshifts)?;
        rates.push(BATCH as f64 / (clock.seconds() - since));
        wall_rates.push(BATCH as f64 / wall.elapsed().as_secs_f64());
    }
    rates.sort_by(f64::total_cmp);
    wall_rates.sort_by(f64::total_cmp);
    let median = rates[ROUNDS / 2];
    let gflops = median * 2.0 * model.config().multiply_adds() as f64 / 1e9;
    let (min, max, wall) = (rates[0], rates[ROUNDS - 1], wall_rates[ROUNDS / 2]);
    writeln!(
        out,
        "galaxies/s, one thread, batch {BATCH}: median {median:.0} (min {min:.0}, max {max:.0}; wall {wall:.0})"
    )?;
    writeln!(out, "GFLOP/s of the published network: {gflops:.0}")?;

    let mut phases: BTreeMap<&str, f64> = BTreeMap::new();
    let mut since = clock.seconds();
    predictor.predict_observed(&images, &magnitudes, &mut redshifts, &mut |stage, _| {
        let now = clock.seconds();
        let phase = match stage {
            Stage::PatchEmbed => "1 patch embedding",
            Stage::Block(_) | Stage::Transformer => "2 transformer blocks",
            Stage::Inception => "3 inception",
            Stage::Heads => "4 magnitudes and fusion",
        };
        *phases.entry(phase).or_default() += now - since;
        since = now;
    })?;
    let total: f64 = phases.values().sum();
    for (phase, seconds) in &phases {
        writeln!(
            out,
            "{phase:24} {:6.3} ms per galaxy {:5.1} %",
            seconds * 1e3 / BATCH as f64,
            seconds / total * 100.0
        )?;
    }
    Ok(())
}
