//! Matrix products with weights that were packed once: linear layers, and convolutions without `im2col`.
//!
//! The product is computed in tiles of 4 rows and 32 outputs (AVX-512) or 16 (otherwise) that stay in registers while
//! the inputs go by. Weights lie in the order in which a tile asks for them, so nothing is packed, copied or allocated
//! per call, which on this model's shapes is what general matrix libraries lose their time with: see BENCHMARKS.md.
//!
//! Trap for the next reader: the speed hangs on the compiler keeping a tile in registers. It does for 4 rows; for 8 it
//! was measured to fall apart into scalars (40 times slower), although there are registers enough.

use std::array;

use crate::dispatch::{fma, vectorised};

/// Outputs that are computed side by side.
const LANES: usize = 16;

/// The weights and bias of a linear layer, packed.
#[derive(Debug, Clone)]
pub struct Weights {
    /// `[outputs / LANES, rounded up][inputs][LANES]`, zeros where there is no output.
    panels: Vec<[f32; LANES]>,
    /// `[outputs / LANES, rounded up][LANES]`.
    bias: Vec<[f32; LANES]>,
    inputs: usize,
    outputs: usize,
}

impl Weights {
    /// Packs weights `[outputs, inputs]`, row-major, as PyTorch has them; there are as many outputs as biases.
    ///
    /// # Panics
    /// If the weights are not a whole number of rows for every bias.
    pub fn new(weight: &[f32], bias: &[f32]) -> Self {
        let outputs = bias.len();
        let inputs = weight.len() / outputs.max(1);
        assert_eq!(inputs * outputs, weight.len(), "weights are not [outputs, inputs] with {outputs} outputs");
        let mut panels = Vec::with_capacity(outputs.div_ceil(LANES) * inputs);
        for rows in weight.chunks((LANES * inputs).max(1)) {
            let row_count = rows.len() / inputs;
            let column =
                |input| array::from_fn(|lane| if lane < row_count { rows[lane * inputs + input] } else { 0.0 });
            panels.extend((0..inputs).map(column));
        }
        let lanes = |bias: &[f32]| array::from_fn(|lane| bias.get(lane).copied().unwrap_or(0.0));
        Self { panels, bias: bias.chunks(LANES).map(lanes).collect(), inputs, outputs }
    }

    /// Inputs of the layer.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Outputs of the layer.
    pub fn outputs(&self) -> usize {
        self.outputs
    }
}

/// The left side of a product: rows of inputs inside a slice. Rows may overlap, and a row may be in several segments of
/// the same length, a fixed step apart: so a k×k window of an image with channels last is k segments of k pixels.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    /// The slice.
    pub data: &'a [f32],
    /// How many rows there are.
    pub count: usize,
    /// Elements from a row to the next.
    pub stride: usize,
    /// Segments of a row.
    pub segments: usize,
    /// Elements from a segment to the next.
    pub segment_stride: usize,
}

impl<'a> Rows<'a> {
    /// Rows in one piece each, `stride` elements apart.
    pub fn new(data: &'a [f32], count: usize, stride: usize) -> Self {
        Self { data, count, stride, segments: 1, segment_stride: 0 }
    }
}

/// What becomes of the results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// They replace what is in the output (NaN too).
    Store,
    /// So do their maxima with 0. NaN stays NaN.
    StoreRelu,
    /// They are added to what is in the output.
    Add,
    /// They are added, and the maxima of the sums with 0 stored. NaN stays NaN.
    AddRelu,
}

vectorised! {
    /// A linear layer: output o of row r is `bias[o] + Σ rows[r][i]·weight[o][i]`, at `out[r * out_stride + o]`.
    ///
    /// Products are accumulated in `f32` in the order of the inputs, beginning with the bias; so a row's results
    /// depend neither on the other rows nor on how many there are. NaN and infinity follow IEEE 754. What lies between
    /// the rows of `out` is left alone.
    ///
    /// # Panics
    /// If a row reaches beyond its slice, the segments of a row don't add up to the inputs, or rows of `out` overlap.
    pub fn multiply(rows: Rows<'_>, weights: &Weights, out: &mut [f32], out_stride: usize, then: Then) {
        let segments = rows.segments.max(1);
        assert_eq!(weights.inputs % segments, 0, "{} inputs are not {segments} segments", weights.inputs);
        assert!(out_stride >= weights.outputs, "rows of {} outputs overlap", weights.outputs);
        let (chunks, mut chunk) = (weights.bias.len(), 0);
        while WIDE && chunk + 2 <= chunks {
            columns::<4, 2, FUSED>(rows, weights, chunk, out, out_stride, then);
            chunk += 2;
        }
        while chunk < chunks {
            // SSE2 has 16 registers of 4 lanes, which is room for two rows.
            if FUSED || !cfg!(target_arch = "x86_64") {
                columns::<4, 1, FUSED>(rows, weights, chunk, out, out_stride, then);
            } else {
                columns::<2, 1, FUSED>(rows, weights, chunk, out, out_stride, then);
            }
            chunk += 1;
        }
    }
}

/// All rows of `C` panels.
#[inline(always)]
fn columns<const R: usize, const C: usize, const FUSED: bool>(
    rows: Rows<'_>,
    weights: &Weights,
    chunk: usize,
    out: &mut [f32],
    out_stride: usize,
    then: Then,
) {
    let mut row = 0;
    while row + R <= rows.count {
        tile::<R, C, FUSED>(rows, row, weights, chunk, &mut out[row * out_stride..], out_stride, then);
        row += R;
    }
    while row < rows.count {
        tile::<1, C, FUSED>(rows, row, weights, chunk, &mut out[row * out_stride..], out_stride, then);
        row += 1;
    }
}

/// `R` rows of `C` panels, in registers.
#[inline(always)]
fn tile<const R: usize, const C: usize, const FUSED: bool>(
    rows: Rows<'_>,
    first: usize,
    weights: &Weights,
    chunk: usize,
    out: &mut [f32],
    out_stride: usize,
    then: Then,
) {
    let segments = rows.segments.max(1);
    let length = weights.inputs / segments;
    // Plain loops here and not `array::from_fn`: what can panic in its closure keeps it from being inlined, and the
    // call would spill the tile.
    let mut bias = [[0.0; LANES]; C];
    for (c, bias) in bias.iter_mut().enumerate() {
        *bias = weights.bias[chunk + c];
    }
    let mut sums = [bias; R];
    for segment in 0..segments {
        let mut x: [&[f32]; R] = [&[]; R];
        for (r, x) in x.iter_mut().enumerate() {
            *x = &rows.data[(first + r) * rows.stride + segment * rows.segment_stride..][..length];
        }
        let mut weight: [&[[f32; LANES]]; C] = [&[]; C];
        for (c, weight) in weight.iter_mut().enumerate() {
            *weight = &weights.panels[(chunk + c) * weights.inputs + segment * length..][..length];
        }
        for i in 0..length {
            let weight: [[f32; LANES]; C] = array::from_fn(|c| weight[c][i]);
            let x: [f32; R] = array::from_fn(|r| x[r][i]);
            for r in 0..R {
                for c in 0..C {
                    sums[r][c] = array::from_fn(|lane| fma::<FUSED>(x[r], weight[c][lane], sums[r][c][lane]));
                }
            }
        }
    }
    for (r, sums) in sums.into_iter().enumerate() {
        for (c, sums) in sums.into_iter().enumerate() {
            let column = (chunk + c) * LANES;
            let width = LANES.min(weights.outputs - column);
            finish(sums, &mut out[r * out_stride + column..][..width], then);
        }
    }
}

#[inline(always)]
fn finish(sums: [f32; LANES], out: &mut [f32], then: Then) {
    // Unlike `f32::max` this keeps NaN.
    let relu = |x: f32| if x < 0.0 { 0.0 } else { x };
    let before: [f32; LANES] = match then {
        Then::Store | Then::StoreRelu => [0.0; LANES],
        Then::Add | Then::AddRelu => match <[f32; LANES]>::try_from(&*out) {
            Ok(before) => before,
            Err(_) => array::from_fn(|lane| out.get(lane).copied().unwrap_or(0.0)),
        },
    };
    let results: [f32; LANES] = match then {
        Then::Store => sums,
        Then::StoreRelu => sums.map(relu),
        Then::Add => array::from_fn(|lane| before[lane] + sums[lane]),
        Then::AddRelu => array::from_fn(|lane| relu(before[lane] + sums[lane])),
    };
    match <&mut [f32; LANES]>::try_from(&mut *out) {
        Ok(out) => *out = results,
        Err(_) => out.iter_mut().zip(results).for_each(|(out, result)| *out = result),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dispatch::testing::{on_every_level, values};

    /// Every result against `f64`; every gap against what was there.
    fn check(rows: Rows<'_>, outputs: usize, gap: usize, then: Then) {
        let length = 7.min(rows.stride.max(1));
        let inputs = length * rows.segments;
        let (weight, bias) = (values(outputs * inputs, 2), values(outputs, 3));
        let before = values(rows.count * (outputs + gap), 4);
        let mut out = before.clone();
        multiply(rows, &Weights::new(&weight, &bias), &mut out, outputs + gap, then);
        for (at, (&got, &before)) in out.iter().zip(&before).enumerate() {
            let (r, o) = (at / (outputs + gap), at % (outputs + gap));
            if o >= outputs {
                assert_eq!(got.to_bits(), before.to_bits(), "gap after row {r}");
                continue;
            }
            let x = |i: usize| rows.data[r * rows.stride + i / length * rows.segment_stride + i % length];
            let products = (0..inputs).map(|i| f64::from(x(i)) * f64::from(weight[o * inputs + i]));
            let sum = products.sum::<f64>() + f64::from(bias[o]);
            let exact = match then {
                Then::Store => sum,
                Then::StoreRelu => sum.max(0.0),
                Then::Add => sum + f64::from(before),
                Then::AddRelu => (sum + f64::from(before)).max(0.0),
            };
            assert!((f64::from(got) - exact).abs() < 1e-5, "row {r}, output {o}: {got}, exactly {exact}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_f64_whatever_the_shape(
            count in 0_usize..11, outputs in 1_usize..70, gap in 0_usize..20, stride in 7_usize..12,
            segments in 1_usize..6, segment_stride in 0_usize..20, then in 0_usize..4,
        ) {
            let then = [Then::Store, Then::StoreRelu, Then::Add, Then::AddRelu][then];
            let data = values(count * stride + segments * segment_stride + 7, 1);
            on_every_level(|| check(Rows { data: &data, count, stride, segments, segment_stride }, outputs, gap, then));
        }
    }

    #[test]
    fn a_row_gets_the_same_bits_alone_and_in_company() {
        let (weight, bias, x) = (values(50 * 33, 1), values(33, 2), values(50 * 13, 3));
        let weights = Weights::new(&weight, &bias);
        on_every_level(|| {
            let mut together = vec![0.0; 13 * 33];
            multiply(Rows::new(&x, 13, 50), &weights, &mut together, 33, Then::Store);
            for (x, together) in x.chunks(50).zip(together.chunks(33)) {
                let mut alone = vec![0.0; 33];
                multiply(Rows::new(x, 1, 50), &weights, &mut alone, 33, Then::Store);
                assert!(alone.iter().zip(together).all(|(a, b)| a.to_bits() == b.to_bits()));
            }
        });
    }

    #[test]
    fn nan_and_infinity_stay_in_their_row_and_nan_is_overwritten() {
        let weights = Weights::new(&[1.0, 2.0], &[0.5]);
        on_every_level(|| {
            for then in [Then::Store, Then::StoreRelu] {
                let mut out = [f32::NAN; 4];
                let x = [f32::NAN, 1.0, 1.0, 1.0, f32::INFINITY, 1.0, -2.0, 1.0];
                multiply(Rows::new(&x, 4, 2), &weights, &mut out, 1, then);
                assert!(out[0].is_nan(), "{out:?}");
                assert_eq!(out[1..], [3.5, f32::INFINITY, 0.5]);
            }
            let mut out = [f32::NAN, 1.0];
            multiply(Rows::new(&[1.0; 4], 2, 2), &weights, &mut out, 1, Then::AddRelu);
            assert!(out[0].is_nan() && out[1] == 4.5, "{out:?}");
        });
    }

    #[test]
    #[should_panic(expected = "out of range")]
    fn a_row_beyond_its_slice_is_refused() {
        let weights = Weights::new(&[1.0; 6], &[0.0; 2]);
        multiply(Rows::new(&[0.0; 5], 2, 3), &weights, &mut [0.0; 4], 2, Then::Store);
    }

    #[test]
    #[should_panic(expected = "weights are not [outputs, inputs] with 2 outputs")]
    fn weights_that_are_no_rectangle_are_refused() {
        Weights::new(&[1.0; 7], &[0.0; 2]);
    }
}
