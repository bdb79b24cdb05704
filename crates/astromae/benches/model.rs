//! The published network, seeded weights, one thread: `cargo bench -p starmap-astromae`. Items are galaxies. Where the time of a
//! forward pass goes is told by `starmap bench --layers`.

use std::sync::OnceLock;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use starmap_astromae::kernels::Set;
use starmap_astromae::recipe::{self, Recipe};
use starmap_astromae::{Config, Model, Precision, Predictor};

fn main() {
    divan::main();
}

fn model(precision: Precision) -> &'static Model {
    static MODELS: [OnceLock<Model>; Precision::ALL.len()] = [const { OnceLock::new() }; Precision::ALL.len()];
    let place = Precision::ALL.iter().position(|other| *other == precision).unwrap_or(0);
    MODELS[place].get_or_init(|| {
        Model::load_in(&Recipe::new(Config::default()), precision, Set::best()).expect("seeded weights fit the model")
    })
}

fn predict(bencher: Bencher<'_, '_>, precision: Precision, batch: usize) {
    let ((images, magnitudes), mut redshifts) = (recipe::inputs(batch), vec![0.0; batch]);
    let mut predictor = Predictor::new(model(precision), batch);
    bencher.counter(ItemsCount::new(batch)).bench_local(|| {
        predictor.predict(black_box(&images), &magnitudes, &mut redshifts).expect("the lengths fit");
    });
}

#[divan::bench(args = [32, 256, 512], sample_count = 20, sample_size = 1)]
fn predict_f32(bencher: Bencher<'_, '_>, batch: usize) {
    predict(bencher, Precision::F32, batch);
}

#[divan::bench(args = [32, 256, 512], sample_count = 20, sample_size = 1)]
fn predict_int16(bencher: Bencher<'_, '_>, batch: usize) {
    predict(bencher, Precision::Int16, batch);
}

#[divan::bench(args = [32, 256, 512], sample_count = 20, sample_size = 1)]
fn predict_bf16(bencher: Bencher<'_, '_>, batch: usize) {
    predict(bencher, Precision::Bf16, batch);
}

#[divan::bench(args = [32, 256, 512], sample_count = 20, sample_size = 1)]
fn predict_int8(bencher: Bencher<'_, '_>, batch: usize) {
    predict(bencher, Precision::Int8, batch);
}

#[divan::bench(args = ["f32", "int16", "bf16", "int8"], sample_count = 5, sample_size = 1)]
fn fold_merge_and_pack(precision: &str) -> Model {
    let precision = precision.parse().unwrap_or(Precision::F32);
    Model::load_in(&Recipe::new(Config::default()), precision, Set::best()).expect("seeded weights fit the model")
}
