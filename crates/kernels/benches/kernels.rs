//! Kernels on the published model's sizes, with every set that this machine can run: `cargo bench -p starmap-kernels`.
//! Items are multiply-adds of sixteen galaxies, or numbers that go through an activation or a norm.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use starmap_kernels::activation::{gelu, silu};
use starmap_kernels::attention::{Heads, attention as attend};
use starmap_kernels::matrix::{Grid, Rows, Then, Weights, convolve, multiply};
use starmap_kernels::norm::layer_norm;
use starmap_kernels::reduced::{Format, ReducedWeights, Scratch, multiply_reduced};
use starmap_kernels::{LANES, Lanes, Set};

fn main() {
    divan::main();
}

/// The names of all sets that this machine can run, best first.
fn sets() -> Vec<&'static str> {
    Set::available().map(Set::name).collect()
}

fn set(name: &str) -> Set {
    Set::available().find(|set| set.name() == name).unwrap_or(Set::best())
}

fn lanes(count: usize) -> Vec<Lanes> {
    (0..count).map(|i| Lanes([(i * 7_919 % 1_000) as f32 / 500.0 - 1.0; LANES])).collect()
}

fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|i| (i * 7_919 % 1_000) as f32 / 500.0 - 1.0).collect()
}

fn weights(inputs: usize, outputs: usize) -> Weights {
    Weights::new(&numbers(inputs * outputs), &vec![0.0; outputs])
}

fn product(bencher: Bencher<'_, '_>, name: &str, [rows, inputs, outputs]: [usize; 3], then: Then) {
    let (set, weights, x, mut out) = (set(name), weights(inputs, outputs), lanes(rows * inputs), lanes(rows * outputs));
    bencher.counter(ItemsCount::new(LANES * rows * inputs * outputs)).bench_local(|| {
        multiply(set, black_box(Rows::new(&x, rows, inputs)), &weights, &mut out, outputs, then);
    });
}

#[divan::bench(args = sets())]
fn queries_keys_values(bencher: Bencher<'_, '_>, set: &str) {
    product(bencher, set, [17, 192, 576], Then::Store);
}

#[divan::bench(args = sets())]
fn attention_projection(bencher: Bencher<'_, '_>, set: &str) {
    product(bencher, set, [17, 192, 192], Then::Add);
}

#[divan::bench(args = sets())]
fn mlp_first_with_gelu(bencher: Bencher<'_, '_>, set: &str) {
    product(bencher, set, [6, 192, 768], Then::StoreGelu);
}

#[divan::bench(args = sets())]
fn mlp_second(bencher: Bencher<'_, '_>, set: &str) {
    product(bencher, set, [6, 768, 192], Then::Add);
}

/// `mlp_second` in fewer bits, with the inputs' rounding.
fn reduced(bencher: Bencher<'_, '_>, name: &str, format: Format) {
    let (set, [rows, inputs, outputs]) = (set(name), [6, 768, 192]);
    let weights = ReducedWeights::new(set, format, &numbers(inputs * outputs), &vec![0.0; outputs]);
    let (x, mut out, mut scratch) = (lanes(rows * inputs), lanes(rows * outputs), Scratch::new(rows, inputs));
    bencher.counter(ItemsCount::new(LANES * rows * inputs * outputs)).bench_local(|| {
        let x = black_box(Rows::new(&x, rows, inputs));
        multiply_reduced(set, x, &weights, &mut scratch, &mut out, outputs, Then::Add);
    });
}

#[divan::bench(args = sets())]
fn mlp_second_int16(bencher: Bencher<'_, '_>, set: &str) {
    reduced(bencher, set, Format::Int16);
}

#[divan::bench(args = sets())]
fn mlp_second_bf16(bencher: Bencher<'_, '_>, set: &str) {
    reduced(bencher, set, Format::Bf16);
}

#[divan::bench(args = sets())]
fn mlp_second_int8(bencher: Bencher<'_, '_>, set: &str) {
    reduced(bencher, set, Format::Int8);
}

#[divan::bench(args = sets())]
fn magnitudes(bencher: Bencher<'_, '_>, set: &str) {
    product(bencher, set, [16, 1_024, 1_024], Then::StoreRelu);
}

#[divan::bench(args = sets())]
fn convolution_1x1(bencher: Bencher<'_, '_>, set: &str) {
    product(bencher, set, [256, 64, 16], Then::StoreRelu);
}

#[divan::bench(args = sets())]
fn convolution_5x5(bencher: Bencher<'_, '_>, name: &str) {
    let (side, channels, kernel) = (16_usize, 16_usize, 5_usize);
    let set = set(name);
    let (weights, x, mut out) =
        (weights(kernel * kernel * channels, channels), lanes(side * side * channels), lanes(side * side * channels));
    let inside = |x: usize| (x + kernel / 2 + 1).min(side) - x.saturating_sub(kernel / 2);
    let taps = (0..side).map(inside).sum::<usize>().pow(2);
    bencher.counter(ItemsCount::new(LANES * taps * channels * channels)).bench_local(|| {
        let grid = Grid { data: black_box(&x), side, channels };
        convolve(set, grid, &weights, &mut out, channels, Then::StoreRelu);
    });
}

#[divan::bench(args = sets())]
fn attention(bencher: Bencher<'_, '_>, name: &str) {
    let (set, tokens, heads) = (set(name), 17, Heads { width: 192, count: 3 });
    let (qkv, mut scores, mut out) =
        (lanes(tokens * 3 * heads.width), lanes(tokens * tokens), lanes(tokens * heads.width));
    bencher.counter(ItemsCount::new(2 * LANES * tokens * tokens * heads.width)).bench_local(|| {
        attend(set, black_box(&qkv), tokens, heads, &mut scores, &mut out);
    });
}

#[divan::bench(args = sets())]
fn norm(bencher: Bencher<'_, '_>, name: &str) {
    let (set, x, mut out) = (set(name), lanes(17 * 192), lanes(17 * 192));
    bencher
        .counter(ItemsCount::new(LANES * x.len()))
        .bench_local(|| layer_norm(set, black_box(&x), 192, 1e-6, &mut out));
}

#[divan::bench(args = sets())]
fn gelu_alone(bencher: Bencher<'_, '_>, name: &str) {
    let (set, mut x) = (set(name), lanes(768));
    bencher.counter(ItemsCount::new(LANES * x.len())).bench_local(|| gelu(set, black_box(&mut x)));
}

#[divan::bench(args = sets())]
fn silu_alone(bencher: Bencher<'_, '_>, name: &str) {
    let (set, mut x) = (set(name), lanes(768));
    bencher.counter(ItemsCount::new(LANES * x.len())).bench_local(|| silu(set, black_box(&mut x)));
}
