//! GFLOP/s of one thread on the model's matrix products: `cargo run --release -p starmap-kernels --example products`.
//!
//! Time is wall time, so the machine should be idle; median of several runs.

use std::error::Error;
use std::io::Write;
use std::time::Instant;

use starmap_kernels::matrix::{Rows, Then, Weights, multiply};

/// What it is, rows (16 galaxies, or 64 in the heads), inputs, outputs.
const SHAPES: [(&str, usize, usize, usize); 8] = [
    ("patch embedding", 256, 320, 192),
    ("queries, keys, values", 272, 192, 576),
    ("attention projection", 272, 192, 192),
    ("MLP, first", 272, 192, 768),
    ("MLP, second", 272, 768, 192),
    ("1×1 convolution", 256, 64, 16),
    ("magnitudes", 64, 1024, 1024),
    ("fusion", 64, 1096, 1024),
];
const ROUNDS: usize = 15;

fn main() -> Result<(), Box<dyn Error>> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "kernels {}", starmap_kernels::level())?;
    for (name, rows, inputs, outputs) in SHAPES {
        let numbers = |n: usize| (0..n).map(|i| (i * 7919 % 1000) as f32 / 500.0 - 1.0).collect::<Vec<_>>();
        let (x, mut y) = (numbers(rows * inputs), vec![0.0; rows * outputs]);
        let weights = Weights::new(&numbers(outputs * inputs), &numbers(outputs));
        let flop = (2 * rows * inputs * outputs) as f64;
        let repeats = (2e8 / flop).ceil() as usize;
        let mut rates: Vec<f64> = (0..ROUNDS)
            .map(|_| {
                let since = Instant::now();
                for _ in 0..repeats {
                    multiply(Rows::new(&x, rows, inputs), &weights, &mut y, outputs, Then::Store);
                }
                flop * repeats as f64 / since.elapsed().as_secs_f64() / 1e9
            })
            .collect();
        rates.sort_by(f64::total_cmp);
        writeln!(out, "{name:24} [{rows}, {inputs}] → {outputs:4}  {:6.1} GFLOP/s", rates[ROUNDS / 2])?;
    }
    Ok(())
}
