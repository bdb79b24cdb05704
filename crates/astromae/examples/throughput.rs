//! Galaxies per second of one thread: `cargo run --release -p starmap-astromae --example throughput`.
//!
//! Recipe weights of the published size, batches of 256, median of several rounds.

use std::error::Error;
use std::io::Write;
use std::time::Instant;

use starmap_astromae::recipe::{self, Recipe};
use starmap_astromae::{Config, Model, Predictor};

const BATCH: usize = 256;
const ROUNDS: usize = 9;

fn main() -> Result<(), Box<dyn Error>> {
    let loading = Instant::now();
    let model = Model::load(&Recipe::new(Config::default()))?;
    let load_s = loading.elapsed().as_secs_f64();
    let (images, magnitudes) = recipe::inputs(BATCH);
    let mut redshifts = vec![0.0; BATCH];
    let mut predictor = Predictor::new(&model, BATCH);
    predictor.predict(&images, &magnitudes, &mut redshifts)?;
    let mut rates = Vec::new();
    for _ in 0..ROUNDS {
        let since = Instant::now();
        predictor.predict(&images, &magnitudes, &mut redshifts)?;
        rates.push(BATCH as f64 / since.elapsed().as_secs_f64());
    }
    rates.sort_by(f64::total_cmp);
    let gflops = rates[ROUNDS / 2] * 2.0 * model.config().multiply_adds() as f64 / 1e9;
    writeln!(
        std::io::stdout(),
        "galaxies/s, one thread, batch {BATCH}: median {:.0}, min {:.0}, max {:.0} ({gflops:.0} GFLOP/s of the published network); recipe and load {load_s:.2} s",
        rates[ROUNDS / 2],
        rates[0],
        rates[ROUNDS - 1],
    )?;
    Ok(())
}
