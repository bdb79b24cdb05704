//! Layer normalisation.

use crate::simd::{Lanes, Simd, dispatch};

dispatch! {
    /// Normalises every row of `x` (`[rows, width]`) to mean 0 and variance 1, into `out` of the same size.
    ///
    /// The variance is that of the whole row (not the sample's) plus `epsilon`, computed in two passes. Scale and shift
    /// belong to the layer that follows. Absolute error below 1e-5 against `f64` for rows of magnitude 1. A NaN makes its
    /// row NaN, in its lane.
    pub fn layer_norm(x: &[Lanes], width: usize, epsilon: f32, out: &mut [Lanes]) = layer_norm_with;
}

#[inline(always)]
fn layer_norm_with<S: Simd>(s: S, x: &[Lanes], width: usize, epsilon: f32, out: &mut [Lanes]) {
    let width = width.max(1);
    let share = s.splat(1.0 / width as f32);
    for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
        for part in 0..S::PARTS {
            let mean = s.mul(sum(s, x, part, |x| x), share);
            let square = |x| {
                let off = s.sub(x, mean);
                s.mul(off, off)
            };
            let variance = s.mul(sum(s, x, part, square), share);
            let scale = s.div(s.splat(1.0), s.sqrt(s.add(variance, s.splat(epsilon))));
            for (x, out) in x.iter().zip(out.iter_mut()) {
                let normed = s.mul(s.sub(s.load(x, part), mean), scale);
                s.store(out, part, normed);
            }
        }
    }
}

/// Sum over the row of what becomes of its elements, in four sums so that they need not wait for each other.
#[inline(always)]
fn sum<S: Simd>(s: S, x: &[Lanes], part: usize, term: impl Fn(S::V) -> S::V) -> S::V {
    let (fours, rest) = x.as_chunks::<4>();
    let mut sums = [s.splat(0.0); 4];
    for four in fours {
        for i in 0..4 {
            sums[i] = s.add(sums[i], term(s.load(&four[i], part)));
        }
    }
    for x in rest {
        sums[0] = s.add(sums[0], term(s.load(x, part)));
    }
    s.add(s.add(sums[0], sums[2]), s.add(sums[1], sums[3]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LANES;
    use crate::testing::{lane, lanes, on_every_set};

    #[test]
    fn agrees_with_f64_at_every_width() {
        for width in 1..40 {
            let x = lanes(width * 3, 7);
            on_every_set(|set| {
                let mut out = vec![Lanes::ZERO; x.len()];
                layer_norm(set, &x, width, 1e-6, &mut out);
                for one in [0, 3, 15] {
                    let (x, out) = (lane(&x, one), lane(&out, one));
                    for (x, out) in x.chunks(width).zip(out.chunks(width)) {
                        let mean = x.iter().sum::<f64>() / width as f64;
                        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64;
                        for (x, out) in x.iter().zip(out) {
                            let expected = (x - mean) / (variance + 1e-6).sqrt();
                            assert!((out - expected).abs() < 1e-5, "width {width}: {out} {expected}");
                        }
                    }
                }
            });
        }
    }

    #[test]
    fn nan_stays_in_its_row_and_lane() {
        on_every_set(|set| {
            let mut x = [-1.0, 1.0, 1.0, 3.0].map(|x| Lanes([x; LANES]));
            x[0].0[2] = f32::NAN;
            let mut out = [Lanes::ZERO; 4];
            layer_norm(set, &x, 2, 1e-6, &mut out);
            assert!(out[0].0[2].is_nan() && out[1].0[2].is_nan());
            assert!((out[2].0[2] + 1.0).abs() < 1e-4 && (out[0].0[1] + 1.0).abs() < 1e-4);
        });
    }
}
