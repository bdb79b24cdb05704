//! GFLOP/s of one thread on the model's matrix products, and their share of the measured peak, for every kernel set:
//! `cargo run --release -p starmap-kernels --example products`.
//!
//! Time is the thread's own time on a CPU. Peak and product are measured in turn, the best
//! of several rounds each: clock rates change from one moment to the next.

use std::error::Error;
use std::io::Write;

use rustix::time::{ClockId, clock_gettime};
use starmap_kernels::matrix::{Grid, Rows, Then, Weights, convolve, multiply};
use starmap_kernels::peak::multiply_adds;
use starmap_kernels::{Lanes, Set};

/// What it is, rows (of 16 galaxies each), inputs, outputs.
const SHAPES: [(&str, usize, usize, usize, Then); 9] = [
    ("patch embedding", 16, 320, 192, Then::Store),
    ("queries, keys, values", 17, 192, 576, Then::Store),
    ("attention projection", 17, 192, 192, Then::Add),
    ("MLP, first, with GELU", 17, 192, 768, Then::StoreGelu),
    ("MLP, second", 17, 768, 192, Then::Add),
    ("PCM, first, with SiLU", 16, 4, 16, Then::StoreSilu),
    ("PCM, second", 16, 16, 4, Then::Add),
    ("1×1 convolution", 256, 64, 16, Then::StoreRelu),
    ("magnitudes", 12, 1024, 1024, Then::StoreRelu),
];
const ROUNDS: usize = 60;

/// Seconds that this thread has had on a CPU.
fn seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut out = std::io::stdout().lock();
    let lanes = |n: usize| (0..n).map(|i| Lanes([(i * 7919 % 1000) as f32 / 500.0 - 1.0; 16])).collect::<Vec<_>>();
    let numbers = |n: usize| (0..n).map(|i| (i * 7919 % 1000) as f32 / 500.0 - 1.0).collect::<Vec<_>>();
    for set in Set::available() {
        writeln!(out, "kernels {}", set.name())?;
        let mut measure = |name: &str, flop: f64, run: &mut dyn FnMut()| {
            let repeats = (2e7 / flop).ceil() as usize;
            let (mut best, mut peak) = (0.0_f64, 0.0_f64);
            for _ in 0..ROUNDS {
                let since = seconds();
                let operations = multiply_adds(set, 50_000);
                peak = peak.max(operations / (seconds() - since));
                let since = seconds();
                (0..repeats).for_each(|_| run());
                best = best.max(flop * repeats as f64 / (seconds() - since));
            }
            writeln!(out, "  {name:24} {:6.1} GFLOP/s  {:5.1} % of {:.1}", best / 1e9, best / peak * 100.0, peak / 1e9)
        };
        for (name, rows, inputs, outputs, then) in SHAPES {
            let (x, mut y) = (lanes(rows * inputs), lanes(rows * outputs));
            let weights = Weights::new(&numbers(outputs * inputs), &vec![0.0; outputs]);
            let flop = (16 * 2 * rows * inputs * outputs) as f64;
            let rows = Rows::new(&x, rows, inputs);
            measure(name, flop, &mut || multiply(set, rows, &weights, &mut y, outputs, then))?;
        }
        for (kernel, side, channels) in [(3, 16, 16), (5, 16, 16), (5, 8, 8)] {
            let (x, mut y) = (lanes(side * side * channels), lanes(side * side * channels));
            let weights = Weights::new(&numbers(channels * channels * kernel * kernel), &vec![0.0; channels]);
            let inside = |x: usize| (x + kernel / 2 + 1).min(side) - x.saturating_sub(kernel / 2);
            let taps: usize = (0..side).map(inside).sum::<usize>().pow(2);
            let flop = (16 * 2 * taps * channels * channels) as f64;
            let grid = Grid { data: &x, side, channels };
            let name = format!("{kernel}×{kernel}, {channels} channels, {side}×{side}");
            measure(&name, flop, &mut || convolve(set, grid, &weights, &mut y, channels, Then::StoreRelu))?;
        }
    }
    Ok(())
}
