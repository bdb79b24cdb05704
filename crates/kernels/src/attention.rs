//! Multi-head self-attention of a few tokens, too few for matrix products to pay.

use crate::dispatch::{fma, vectorised};
use crate::elementwise::exp;

/// Where a head's queries, keys and values are in a row of `qkv`: `[q of all heads | k | v]`, `width` each.
#[derive(Debug, Clone, Copy)]
pub struct Heads {
    /// Sum of the heads' dimensions.
    pub width: usize,
    /// How many heads share the width.
    pub count: usize,
}

/// Numbers that are summed side by side.
const LANES: usize = 16;

vectorised! {
    /// Self-attention of the tokens in `rows`, all heads.
    ///
    /// `qkv` is row-major `[_, 3·width]`; `out` is row-major `[_, width]`, of which exactly `rows` are written;
    /// `scores` is scratch of at least `rows.len()`. Scores are scaled by 1/√(head dimension) and shifted by their
    /// maximum. Absolute error below 1e-5 against `f64` for values of magnitude 1. A NaN in a token makes the result
    /// of every token NaN.
    ///
    /// # Panics
    /// If a row is outside `qkv` or `out`, or `scores` is too short.
    pub fn attention(qkv: &[f32], rows: &[usize], heads: Heads, scores: &mut [f32], out: &mut [f32]) {
        let Heads { width, count } = heads;
        let dimension = width / count;
        let scale = 1.0 / (dimension as f32).sqrt();
        let scores = &mut scores[..rows.len()];
        for head in 0..count {
            let part = |row: usize, which: usize| {
                let start = row * 3 * width + which * width + head * dimension;
                &qkv[start..start + dimension]
            };
            for &i in rows {
                let q = part(i, 0);
                let mut max = f32::NEG_INFINITY;
                for (score, &j) in scores.iter_mut().zip(rows) {
                    *score = dot::<FUSED>(q, part(j, 1)) * scale;
                    max = if *score > max { *score } else { max };
                }
                let mut sum = 0.0;
                for score in scores.iter_mut() {
                    *score = exp::<FUSED>(*score - max);
                }
                for score in scores.iter() {
                    sum += *score;
                }
                let inverse = 1.0 / sum;
                let start = i * width + head * dimension;
                let (chunks, tail) = out[start..start + dimension].as_chunks_mut::<LANES>();
                let tail_start = chunks.len() * LANES;
                for (c, chunk) in chunks.iter_mut().enumerate() {
                    let mut sums = [0.0; LANES];
                    for (&score, &j) in scores.iter().zip(rows) {
                        let v = &part(j, 2)[c * LANES..][..LANES];
                        sums = std::array::from_fn(|lane| fma::<FUSED>(score, v[lane], sums[lane]));
                    }
                    *chunk = sums.map(|sum| sum * inverse);
                }
                for (d, out) in tail.iter_mut().enumerate() {
                    let terms = scores.iter().zip(rows).map(|(score, &j)| score * part(j, 2)[tail_start + d]);
                    *out = terms.sum::<f32>() * inverse;
                }
            }
        }
    }
}

/// Sum of products, summed in lanes whose order does not depend on the CPU.
#[inline(always)]
fn dot<const FUSED: bool>(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_tail), (b, b_tail)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut lanes = [0.0_f32; LANES];
    for (a, b) in a.iter().zip(b) {
        lanes = std::array::from_fn(|lane| fma::<FUSED>(a[lane], b[lane], lanes[lane]));
    }
    let tail: f32 = a_tail.iter().zip(b_tail).map(|(a, b)| a * b).sum();
    let eight: [f32; 8] = std::array::from_fn(|lane| lanes[lane] + lanes[lane + 8]);
    let four: [f32; 4] = std::array::from_fn(|lane| eight[lane] + eight[lane + 4]);
    (four[0] + four[2]) + (four[1] + four[3]) + tail
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::testing::{on_every_level, values};

    #[test]
    fn attention_agrees_with_f64_and_writes_only_its_rows() {
        for (tokens, count, dimension) in [(1, 1, 1), (2, 1, 5), (17, 3, 64), (5, 2, 16), (9, 4, 33)] {
            let width = count * dimension;
            // Every second row belongs to somebody else.
            let rows: Vec<usize> = (0..tokens).map(|i| 2 * i).collect();
            let qkv = values(2 * tokens * 3 * width, 1);
            on_every_level(|| {
                let mut out = vec![7.0; 2 * tokens * width];
                attention(&qkv, &rows, Heads { width, count }, &mut vec![0.0; tokens], &mut out);
                for head in 0..count {
                    let at = |row: usize, which: usize, d: usize| {
                        f64::from(qkv[row * 3 * width + which * width + head * dimension + d])
                    };
                    for &i in &rows {
                        let score = |j: usize| (0..dimension).map(|d| at(i, 0, d) * at(j, 1, d)).sum::<f64>();
                        let exp: Vec<f64> =
                            rows.iter().map(|&j| (score(j) / (dimension as f64).sqrt()).exp()).collect();
                        let sum: f64 = exp.iter().sum();
                        for d in 0..dimension {
                            let expected: f64 = rows.iter().zip(&exp).map(|(&j, e)| e / sum * at(j, 2, d)).sum();
                            let got = f64::from(out[i * width + head * dimension + d]);
                            assert!((got - expected).abs() < 1e-5, "{tokens} tokens: {got} {expected}");
                        }
                        assert!(out[(i + 1) * width..(i + 2) * width].iter().all(|&x| x == 7.0));
                    }
                }
            });
        }
    }

    #[test]
    fn large_scores_do_not_overflow_and_nan_spreads() {
        on_every_level(|| {
            let mut out = [0.0; 2];
            // Width 1: rows of q, k, v.
            let heads = Heads { width: 1, count: 1 };
            attention(&[1e18, 1e18, 3.0, 1e18, -1e18, 5.0], &[0, 1], heads, &mut [0.0; 2], &mut out);
            assert_eq!(out, [3.0, 3.0]);
            attention(&[1.0, f32::NAN, 3.0, 1.0, 1.0, 5.0], &[0, 1], heads, &mut [0.0; 2], &mut out);
            assert!(out.iter().all(|x| x.is_nan()), "{out:?}");
        });
    }
}
