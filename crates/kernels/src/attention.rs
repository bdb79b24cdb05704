//! Multi-head self-attention of a few tokens.

use crate::activation::exp_of;
use crate::simd::{Lanes, Simd, dispatch};

/// Where a head's queries, keys and values are in a row of `qkv`: `[q of all heads | k | v]`, `width` each.
#[derive(Debug, Clone, Copy)]
pub struct Heads {
    /// Sum of the heads' dimensions.
    pub width: usize,
    /// How many heads share the width.
    pub count: usize,
}

dispatch! {
    /// Self-attention of `tokens` tokens, all heads.
    ///
    /// `qkv` is `[tokens, 3·width]`, `out` `[tokens, width]`; `scores` is scratch of at least `tokens²`. Scores are taken
    /// as they come (whoever makes the queries has scaled them by 1/√dimension) and shifted by their maximum. Absolute
    /// error below 1e-5 against `f64` for values of magnitude 1. A NaN in a galaxy's token makes NaN of all of that
    /// galaxy's tokens.
    ///
    /// # Panics
    /// If a slice is shorter than its size.
    pub fn attention(
        qkv: &[Lanes],
        tokens: usize,
        heads: Heads,
        scores: &mut [Lanes],
        out: &mut [Lanes],
    ) = attention_with;
}

#[inline(always)]
fn attention_with<S: Simd>(s: S, qkv: &[Lanes], tokens: usize, heads: Heads, scores: &mut [Lanes], out: &mut [Lanes]) {
    let Heads { width, count } = heads;
    let dimension = width / count;
    let (qkv, out, scores) = (&qkv[..tokens * 3 * width], &mut out[..tokens * width], &mut scores[..tokens * tokens]);
    for head in 0..count {
        let start = head * dimension;
        // Row i of the scores: queries of token i with all keys.
        let q = Factor { data: qkv, start, step: 3 * width, inner: 1 };
        let k = Factor { data: qkv, start: width + start, step: 3 * width, inner: 1 };
        product(s, q, k, [tokens, tokens, dimension], scores, tokens);
        for row in scores.chunks_exact_mut(tokens) {
            softmax(s, row);
        }
        let p = Factor { data: scores, start: 0, step: tokens, inner: 1 };
        let v = Factor { data: qkv, start: 2 * width + start, step: 1, inner: 3 * width };
        product(s, p, v, [tokens, dimension, tokens], &mut out[start..], width);
    }
}

/// One side of a product of activations: element (i, k) is at `start + i·step + k·inner`.
#[derive(Clone, Copy)]
struct Factor<'a> {
    data: &'a [Lanes],
    start: usize,
    step: usize,
    inner: usize,
}

/// `out[i][j] = Σ_k a(i, k)·b(j, k)`, in the order of k.
#[inline(always)]
fn product<S: Simd>(
    s: S,
    a: Factor<'_>,
    b: Factor<'_>,
    [rows, columns, depth]: [usize; 3],
    out: &mut [Lanes],
    stride: usize,
) {
    for part in 0..S::PARTS {
        let mut i = 0;
        while i < rows {
            let left = rows - i;
            if S::HAS_32 && left >= 4 {
                i += strip::<S, 4>(s, a, b, i, columns, depth, part, out, stride);
            } else if left >= 2 {
                i += strip::<S, 2>(s, a, b, i, columns, depth, part, out, stride);
            } else {
                i += strip::<S, 1>(s, a, b, i, columns, depth, part, out, stride);
            }
        }
    }
}

/// All columns of R rows; returns R.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "everything that one product is made of")]
fn strip<S: Simd, const R: usize>(
    s: S,
    a: Factor<'_>,
    b: Factor<'_>,
    i: usize,
    columns: usize,
    depth: usize,
    part: usize,
    out: &mut [Lanes],
    stride: usize,
) -> usize {
    let mut j = 0;
    while j < columns {
        if columns - j >= 5 && R < 4 || columns - j == 5 {
            j += tile::<S, R, 5>(s, a, b, [i, j, depth], part, out, stride);
        } else if columns - j >= 4 {
            j += tile::<S, R, 4>(s, a, b, [i, j, depth], part, out, stride);
        } else {
            j += tile::<S, R, 1>(s, a, b, [i, j, depth], part, out, stride);
        }
    }
    R
}

/// R rows by C columns, in registers; returns C.
#[inline(always)]
fn tile<S: Simd, const R: usize, const C: usize>(
    s: S,
    a: Factor<'_>,
    b: Factor<'_>,
    [i, j, depth]: [usize; 3],
    part: usize,
    out: &mut [Lanes],
    stride: usize,
) -> usize {
    let mut sums = [[s.splat(0.0); C]; R];
    if depth > 0 {
        let last_a = a.start + (i + R - 1) * a.step + (depth - 1) * a.inner;
        let last_b = b.start + (j + C - 1) * b.step + (depth - 1) * b.inner;
        assert!(last_a < a.data.len() && last_b < b.data.len(), "a factor is shorter than the product needs");
    }
    for k in 0..depth {
        let mut column = [s.splat(0.0); C];
        for c in 0..C {
            let at = b.start + (j + c) * b.step + k * b.inner;
            // SAFETY: c < C and k < depth, so this is at most `last_b`, which was checked.
            column[c] = s.load(unsafe { b.data.get_unchecked(at) }, part);
        }
        for r in 0..R {
            let at = a.start + (i + r) * a.step + k * a.inner;
            // SAFETY: r < R and k < depth, so this is at most `last_a`, which was checked.
            let row = s.load(unsafe { a.data.get_unchecked(at) }, part);
            for c in 0..C {
                sums[r][c] = s.fma(row, column[c], sums[r][c]);
            }
        }
    }
    for r in 0..R {
        for c in 0..C {
            s.store(&mut out[(i + r) * stride + j + c], part, sums[r][c]);
        }
    }
    C
}

/// Softmax of one row, in every lane.
#[inline(always)]
fn softmax<S: Simd>(s: S, row: &mut [Lanes]) {
    for part in 0..S::PARTS {
        let mut max = s.splat(f32::NEG_INFINITY);
        for score in row.iter() {
            max = s.max(s.load(score, part), max);
        }
        let mut sum = s.splat(0.0);
        for score in row.iter_mut() {
            let e = exp_of(s, s.sub(s.load(score, part), max));
            s.store(score, part, e);
            sum = s.add(sum, e);
        }
        let inverse = s.div(s.splat(1.0), sum);
        for score in row.iter_mut() {
            let p = s.mul(s.load(score, part), inverse);
            s.store(score, part, p);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LANES;
    use crate::testing::{lane, lanes, on_every_set};

    #[test]
    fn attention_agrees_with_f64_in_every_lane() {
        for (tokens, count, dimension) in [(1, 1, 1), (2, 1, 5), (17, 3, 64), (5, 2, 16), (9, 4, 33), (7, 1, 6)] {
            let width = count * dimension;
            let qkv = lanes(tokens * 3 * width, 1);
            on_every_set(|set| {
                let mut out = vec![Lanes([f32::NAN; LANES]); tokens * width + 1];
                let mut scores = vec![Lanes::ZERO; tokens * tokens];
                attention(set, &qkv, tokens, Heads { width, count }, &mut scores, &mut out);
                assert!(out[tokens * width].0.iter().all(|x| x.is_nan()), "what lies behind was written to");
                for one in [0, 5, 15] {
                    let (qkv, out) = (lane(&qkv, one), lane(&out, one));
                    for head in 0..count {
                        let at = |row: usize, which: usize, d: usize| {
                            qkv[row * 3 * width + which * width + head * dimension + d]
                        };
                        for i in 0..tokens {
                            let score = |j: usize| (0..dimension).map(|d| at(i, 0, d) * at(j, 1, d)).sum::<f64>();
                            let exp: Vec<f64> = (0..tokens).map(|j| score(j).exp()).collect();
                            let sum: f64 = exp.iter().sum();
                            for d in 0..dimension {
                                let expected: f64 = exp.iter().enumerate().map(|(j, e)| e / sum * at(j, 2, d)).sum();
                                let got = out[i * width + head * dimension + d];
                                assert!((got - expected).abs() < 1e-5, "{tokens} tokens: {got} {expected}");
                            }
                        }
                    }
                }
            });
        }
    }

    #[test]
    fn large_scores_do_not_overflow_and_nan_stays_in_its_lane() {
        on_every_set(|set| {
            // Width 1: rows of q, k, v.
            let mut qkv = [1e18, 1e18, 3.0, 1e18, -1e18, 5.0].map(|x| Lanes([x; LANES]));
            qkv[1].0[4] = f32::NAN;
            let mut out = [Lanes::ZERO; 2];
            attention(set, &qkv, 2, Heads { width: 1, count: 1 }, &mut [Lanes::ZERO; 4], &mut out);
            for token in out {
                for (lane, x) in token.0.into_iter().enumerate() {
                    assert!(if lane == 4 { x.is_nan() } else { x == 3.0 }, "lane {lane}: {x}");
                }
            }
        });
    }
}
