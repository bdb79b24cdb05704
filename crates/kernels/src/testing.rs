//! What the tests of the kernels share.

use crate::{LANES, Lanes, Set};

/// Runs a test once for every set that this CPU can run, and says which those are.
pub(crate) fn on_every_set(test: impl Fn(Set)) {
    for set in Set::available() {
        println!("kernels {}", set.name());
        test(set);
    }
    for other in crate::ALL.iter().filter(|known| Set::named(known.name).is_none()) {
        println!("kernels {}: not run, this machine has no {}", other.name, other.needs);
    }
}

/// Numbers in [-1, 1) that differ from seed to seed.
pub(crate) fn values(n: usize, seed: u64) -> Vec<f32> {
    let mut x = seed;
    let next = || {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((x >> 40) as f32) / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(n).collect()
}

/// The same, sixteen at a time.
pub(crate) fn lanes(n: usize, seed: u64) -> Vec<Lanes> {
    values(n * LANES, seed).as_chunks().0.iter().copied().map(Lanes).collect()
}

/// One lane of every element, as `f64`.
pub(crate) fn lane(x: &[Lanes], lane: usize) -> Vec<f64> {
    x.iter().map(|x| f64::from(x.0[lane])).collect()
}
