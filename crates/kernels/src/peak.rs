//! How fast a set could be at best: multiply-adds with nothing else to do.

use crate::simd::{Lanes, Simd, dispatch};

/// Sums that are accumulated at once: enough to keep two units busy whose results take four cycles.
const SUMS: usize = 12;

dispatch! {
    /// Multiplies and adds in registers, `rounds` times, and returns how many floating-point operations that were. Whoever
    /// times it knows the peak of this core: what all products are measured against.
    pub fn multiply_adds(rounds: usize) -> f64 = multiply_adds_with;
}

#[inline(always)]
fn multiply_adds_with<S: Simd>(s: S, rounds: usize) -> f64 {
    let (a, b) = (std::hint::black_box(0.999_f32), std::hint::black_box(1e-3_f32));
    let (a, b) = (s.splat(a), s.splat(b));
    let mut sums = [s.splat(1.0); SUMS];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = s.fma(*sum, a, b);
        }
    }
    let mut out = Lanes::ZERO;
    for sum in sums {
        let total = s.add(s.load(&out, 0), sum);
        s.store(&mut out, 0, total);
    }
    std::hint::black_box(out);
    (rounds * SUMS * 2 * (crate::LANES / S::PARTS)) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::on_every_set;

    #[test]
    fn operations_are_counted() {
        on_every_set(|set| {
            let operations = multiply_adds(set, 10);
            assert_eq!(operations % (10.0 * 2.0 * SUMS as f64), 0.0);
        });
    }
}
