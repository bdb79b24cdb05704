//! Multi-head self-attention of a few tokens, and grouped 1×1 convolutions: shapes too small for a GEMM.

use crate::dispatch::vectorised;
use crate::elementwise::exp;

/// Where a head's queries, keys and values are in a row of `qkv`: `[q of all heads | k | v]`, `width` each.
#[derive(Debug, Clone, Copy)]
pub struct Heads {
    /// Sum of the heads' dimensions.
    pub width: usize,
    /// How many heads share the width.
    pub count: usize,
}

vectorised! {
    /// Self-attention of the tokens in `rows`, all heads.
    ///
    /// `qkv` is row-major `[_, 3·width]`; `out` is row-major `[_, width]`, of which exactly `rows` are written;
    /// `scores` is scratch of at least `rows.len()`. Scores are scaled by 1/√(head dimension) and shifted by their
    /// maximum. Absolute error below 1e-5 against `f64` for values of magnitude 1.
    ///
    /// Panics if a row is outside `qkv` or `out`, or `scores` is too short.
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
                    *score = dot(q, part(j, 1)) * scale;
                    max = if *score > max { *score } else { max };
                }
                let mut sum = 0.0;
                for score in scores.iter_mut() {
                    *score = exp(*score - max);
                    sum += *score;
                }
                let inverse = 1.0 / sum;
                let start = i * width + head * dimension;
                let out = &mut out[start..start + dimension];
                out.fill(0.0);
                for (score, &j) in scores.iter().zip(rows) {
                    let weight = score * inverse;
                    for (out, v) in out.iter_mut().zip(part(j, 2)) {
                        *out += weight * v;
                    }
                }
            }
        }
    }
}

/// Sum of products, summed in sixteen lanes whose order does not depend on the CPU.
#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_tail), (b, b_tail)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
    let mut lanes = [0.0_f32; 16];
    for (a, b) in a.iter().zip(b) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a * b;
        }
    }
    let tail: f32 = a_tail.iter().zip(b_tail).map(|(a, b)| a * b).sum();
    lanes.iter().sum::<f32>() + tail
}

/// Channels of one group of a grouped 1×1 convolution.
#[derive(Debug, Clone, Copy)]
pub struct Group {
    /// Input channels.
    pub inputs: usize,
    /// Output channels.
    pub outputs: usize,
}

vectorised! {
    /// A grouped 1×1 convolution over rows of channels: `out = x·W + bias` group by group.
    ///
    /// `x` is row-major `[rows, groups·inputs]`, `out` `[rows, groups·outputs]`; `weight` is
    /// `[groups, inputs, outputs]` (outputs next to each other), `bias` `[groups·outputs]`.
    pub fn grouped(x: &[f32], weight: &[f32], bias: &[f32], group: Group, out: &mut [f32]) {
        let Group { inputs, outputs } = group;
        let groups = bias.len() / outputs.max(1);
        let rows = x.chunks_exact((groups * inputs).max(1)).zip(out.chunks_exact_mut(bias.len().max(1)));
        for (x, out) in rows {
            out.copy_from_slice(bias);
            let parts = x.chunks_exact(inputs).zip(out.chunks_exact_mut(outputs));
            for ((x, out), weight) in parts.zip(weight.chunks_exact(inputs * outputs)) {
                for (x, weight) in x.iter().zip(weight.chunks_exact(outputs)) {
                    for (out, weight) in out.iter_mut().zip(weight) {
                        *out += x * weight;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(n: usize, seed: u32) -> Vec<f32> {
        (0..n as u32).map(|i| (i.wrapping_mul(2_654_435_761).wrapping_add(seed * 977) >> 8) as f32 / 8_388_608.0 - 1.0).collect()
    }

    #[test]
    fn attention_agrees_with_f64_and_writes_only_its_rows() {
        for (tokens, count, dimension) in [(1, 1, 1), (2, 1, 5), (17, 3, 64), (5, 2, 16), (9, 4, 33)] {
            let width = count * dimension;
            // Every second row belongs to somebody else.
            let rows: Vec<usize> = (0..tokens).map(|i| 2 * i).collect();
            let qkv = values(2 * tokens * 3 * width, 1);
            let mut out = vec![7.0; 2 * tokens * width];
            attention(&qkv, &rows, Heads { width, count }, &mut vec![0.0; tokens], &mut out);
            for head in 0..count {
                let at = |row: usize, which: usize, d: usize| {
                    f64::from(qkv[row * 3 * width + which * width + head * dimension + d])
                };
                for &i in &rows {
                    let score = |j: usize| (0..dimension).map(|d| at(i, 0, d) * at(j, 1, d)).sum::<f64>();
                    let exp: Vec<f64> = rows.iter().map(|&j| (score(j) / (dimension as f64).sqrt()).exp()).collect();
                    let sum: f64 = exp.iter().sum();
                    for d in 0..dimension {
                        let expected: f64 = rows.iter().zip(&exp).map(|(&j, e)| e / sum * at(j, 2, d)).sum();
                        let got = f64::from(out[i * width + head * dimension + d]);
                        assert!((got - expected).abs() < 1e-5, "{tokens} tokens: {got} {expected}");
                    }
                    assert!(out[(i + 1) * width..(i + 2) * width].iter().all(|&x| x == 7.0));
                }
            }
        }
    }

    #[test]
    fn grouped_convolution_agrees_with_f64() {
        for (groups, inputs, outputs) in [(1, 1, 1), (48, 4, 16), (48, 16, 4), (3, 5, 7)] {
            let (rows, group) = (5, Group { inputs, outputs });
            let x = values(rows * groups * inputs, 2);
            let (weight, bias) = (values(groups * inputs * outputs, 3), values(groups * outputs, 4));
            let mut out = vec![f32::NAN; rows * groups * outputs];
            grouped(&x, &weight, &bias, group, &mut out);
            for row in 0..rows {
                for g in 0..groups {
                    for o in 0..outputs {
                        let term = |i: usize| {
                            f64::from(x[(row * groups + g) * inputs + i])
                                * f64::from(weight[(g * inputs + i) * outputs + o])
                        };
                        let expected = (0..inputs).map(term).sum::<f64>() + f64::from(bias[g * outputs + o]);
                        let got = f64::from(out[(row * groups + g) * outputs + o]);
                        assert!((got - expected).abs() < 1e-5, "{got} {expected}");
                    }
                }
            }
        }
    }
}
