//! Matrix products with weights that were packed once: linear layers and convolutions.
//!
//! A tile of 8 outputs and 3 rows (4 outputs where there are 16 registers) stays in registers while the inputs go by:
//! for each input 3 registers of galaxies are read, and each of the 8 weights, as one number for all lanes, is
//! multiplied with them. So two multiply-adds can begin in every cycle, with fewer than one load each. The rows of a
//! tile stay in the first level of cache while all outputs are computed; more than [`BLOCK`] inputs are taken in
//! parts, with the sums kept in the output.
//!
//! A convolution is the same product, over the pixels of a window that lie inside of the image: nothing is padded.

use std::ops::Range;

use crate::activation::{gelu_of, relu_of, silu_of};
use crate::simd::{Lanes, Simd, dispatch};

/// Outputs whose weights lie side by side.
pub const GROUP: usize = 8;
/// Inputs that are taken at once: three rows of as many fill 36 of 48 KiB.
const BLOCK: usize = 192;
/// Weights that are used for all rows before the next are: they stay in the second level of cache.
const PANEL_BYTES: usize = 640 << 10;
/// Largest side of a convolution's window.
const KERNEL_MAX: usize = 7;

/// The weights and bias of a linear layer or a convolution, packed.
#[derive(Debug, Clone)]
pub struct Weights {
    /// `[outputs / GROUP, rounded up][inputs][GROUP]`, zeros where there is no output.
    panels: Vec<[f32; GROUP]>,
    /// `[outputs / GROUP, rounded up][GROUP]`.
    bias: Vec<[f32; GROUP]>,
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
        let groups = outputs.div_ceil(GROUP);
        let mut panels = vec![[0.0; GROUP]; groups * inputs];
        for (output, row) in weight.chunks_exact(inputs.max(1)).enumerate() {
            let panel = &mut panels[output / GROUP * inputs..][..inputs];
            panel.iter_mut().zip(row).for_each(|(panel, weight)| panel[output % GROUP] = *weight);
        }
        let mut packed_bias = vec![[0.0; GROUP]; groups];
        packed_bias.as_flattened_mut()[..outputs].copy_from_slice(bias);
        Self { panels, bias: packed_bias, inputs, outputs }
    }

    /// The packed weights, `[outputs / 8, rounded up][inputs][8]`: what [`from_panels`](Self::from_panels) takes.
    pub fn panels(&self) -> &[[f32; GROUP]] {
        &self.panels
    }

    /// The biases, `[outputs]`.
    pub fn biases(&self) -> &[f32] {
        &self.bias.as_flattened()[..self.outputs]
    }

    /// A layer from weights that were packed before; `None` if they are no whole number of inputs for the biases.
    pub fn from_panels(panels: Vec<[f32; GROUP]>, bias: &[f32]) -> Option<Self> {
        let (outputs, groups) = (bias.len(), bias.len().div_ceil(GROUP));
        if groups == 0 || !panels.len().is_multiple_of(groups) {
            return None;
        }
        let inputs = panels.len() / groups;
        let mut packed_bias = vec![[0.0; GROUP]; groups];
        packed_bias.as_flattened_mut()[..outputs].copy_from_slice(bias);
        Some(Self { panels, bias: packed_bias, inputs, outputs })
    }

    /// Inputs of the layer; of a convolution, those of a whole window.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Outputs of the layer.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// `[outputs / GROUP, rounded up][GROUP]`.
    pub(crate) fn bias(&self) -> &[[f32; GROUP]] {
        &self.bias
    }
}

/// The left side of a product: `count` rows of inputs, `stride` elements from one to the next.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    /// The slice that they are in.
    pub data: &'a [Lanes],
    /// How many rows there are.
    pub count: usize,
    /// Elements from a row to the next.
    pub stride: usize,
}

impl<'a> Rows<'a> {
    /// Rows that are `stride` elements apart.
    pub fn new(data: &'a [Lanes], count: usize, stride: usize) -> Self {
        Self { data, count, stride }
    }
}

/// What becomes of the results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// They replace what is in the output (NaN too).
    Store,
    /// So do their maxima with 0. NaN stays NaN.
    StoreRelu,
    /// So do their GELU, see [`gelu`](crate::activation::gelu).
    StoreGelu,
    /// So do their SiLU, see [`silu`](crate::activation::silu).
    StoreSilu,
    /// They are added to what is in the output.
    Add,
    /// They are added, and the maxima of the sums with 0 stored. NaN stays NaN.
    AddRelu,
}

impl Then {
    fn adds(self) -> bool {
        matches!(self, Self::Add | Self::AddRelu)
    }
}

dispatch! {
    /// A linear layer: output o of row r is `bias[o] + Σ rows[r][i]·weight[o][i]`, at `out[r * out_stride + o]`.
    ///
    /// Products are accumulated in `f32` in the order of the inputs, beginning with the bias, and with what was in the
    /// output where it is added to; a row's results depend neither on the other rows nor on how many there are. NaN and
    /// infinity follow IEEE 754 and stay in their lane. What lies between the rows of `out` is left alone.
    ///
    /// # Panics
    /// If a row reaches beyond its slice, or rows of `out` overlap.
    pub fn multiply(rows: Rows<'_>, weights: &Weights, out: &mut [Lanes], out_stride: usize, then: Then) = multiply_with;
}

#[inline(always)]
fn multiply_with<S: Simd>(s: S, rows: Rows<'_>, weights: &Weights, out: &mut [Lanes], out_stride: usize, then: Then) {
    assert!(out_stride >= weights.outputs, "rows of {} outputs overlap", weights.outputs);
    let columns = rows.count * S::PARTS;
    let groups = weights.bias.len();
    let together = (PANEL_BYTES / (weights.inputs.max(1) * size_of::<[f32; GROUP]>())).max(1);
    for start in (0..groups).step_by(together) {
        let groups = start..groups.min(start + together);
        let mut first = 0;
        while first < columns {
            // Three, and at the end two twice rather than three and one.
            let run = Run { rows: &rows, out_stride, first, groups: groups.clone() };
            match columns - first {
                1 => first += run.linear::<S, 1>(s, weights, out, then),
                2 | 4 => first += run.linear::<S, 2>(s, weights, out, then),
                _ => first += run.linear::<S, 3>(s, weights, out, then),
            }
        }
    }
}

/// Registers of one or more rows.
struct Run<'a> {
    rows: &'a Rows<'a>,
    out_stride: usize,
    /// The first register; a row has as many as the set needs for [`Lanes`].
    first: usize,
    /// Which outputs.
    groups: Range<usize>,
}

impl Run<'_> {
    /// The outputs of C registers; returns C.
    #[inline(always)]
    fn linear<S: Simd, const C: usize>(&self, s: S, weights: &Weights, out: &mut [Lanes], then: Then) -> usize {
        let mut columns = Columns { starts: [0; C], outs: [0; C], parts: [0; C] };
        for c in 0..C {
            let (row, part) = ((self.first + c) / S::PARTS, (self.first + c) % S::PARTS);
            columns.starts[c] = row * self.rows.stride;
            columns.outs[c] = row * self.out_stride;
            columns.parts[c] = part;
        }
        let blocks = weights.inputs.div_ceil(BLOCK).max(1);
        let length = weights.inputs.div_ceil(blocks);
        for block in 0..blocks {
            let start = block * length;
            let segment = Segment { start, weight: start, length: length.min(weights.inputs - start) };
            let from = match block {
                0 if then.adds() => Start::BiasAndOutput,
                0 => Start::Bias,
                _ => Start::Output,
            };
            let then = (block + 1 == blocks).then_some(then);
            columns.outputs(s, self.rows.data, weights, self.groups.clone(), &[segment], out, from, then);
        }
        C
    }
}

/// C registers of inputs, and where their results go.
struct Columns<const C: usize> {
    /// Where the inputs begin.
    starts: [usize; C],
    /// Where the outputs begin.
    outs: [usize; C],
    /// Which register of the [`Lanes`].
    parts: [usize; C],
}

/// Inputs that lie together.
#[derive(Clone, Copy, Default)]
struct Segment {
    /// From the column's start.
    start: usize,
    /// The first one's weight.
    weight: usize,
    length: usize,
}

/// What a sum begins with.
#[derive(Clone, Copy, PartialEq)]
enum Start {
    Bias,
    BiasAndOutput,
    Output,
}

impl<const C: usize> Columns<C> {
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "everything that one product is made of")]
    fn outputs<S: Simd>(
        &self,
        s: S,
        x: &[Lanes],
        weights: &Weights,
        groups: Range<usize>,
        segments: &[Segment],
        out: &mut [Lanes],
        from: Start,
        then: Option<Then>,
    ) {
        for group in groups {
            let outputs = (weights.outputs - group * GROUP).min(GROUP);
            if S::HAS_32 && outputs > 4 {
                self.tile::<S, 8>(s, x, weights, group, 0, segments, out, from, then);
            } else {
                self.tile::<S, 4>(s, x, weights, group, 0, segments, out, from, then);
                if outputs > 4 {
                    self.tile::<S, 4>(s, x, weights, group, 1, segments, out, from, then);
                }
            }
        }
    }

    /// R outputs, from the one or the other half of a group on.
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "everything that one product is made of")]
    fn tile<S: Simd, const R: usize>(
        &self,
        s: S,
        x: &[Lanes],
        weights: &Weights,
        group: usize,
        half: usize,
        segments: &[Segment],
        out: &mut [Lanes],
        from: Start,
        then: Option<Then>,
    ) {
        let first = group * GROUP + half * 4;
        let valid = (weights.outputs - first).min(R);
        // Plain loops and not `array::from_fn`: what can panic in its closure keeps it from being inlined, and the call
        // would spill the tile.
        let mut sums = [[s.splat(0.0); C]; R];
        for r in 0..valid {
            for c in 0..C {
                let bias =
                    s.splat(if from == Start::Output { 0.0 } else { weights.bias[group][(half * 4 + r) % GROUP] });
                sums[r][c] = match from {
                    Start::Bias => bias,
                    Start::BiasAndOutput => s.add(bias, s.load(&out[self.outs[c] + first + r], self.parts[c])),
                    Start::Output => s.load(&out[self.outs[c] + first + r], self.parts[c]),
                };
            }
        }
        let panel = &weights.panels[group * weights.inputs..][..weights.inputs];
        for segment in segments {
            let (weight, _) = panel[segment.weight..][..segment.length].as_flattened().as_chunks::<4>();
            let mut inputs: [&[Lanes]; C] = [&[]; C];
            for c in 0..C {
                inputs[c] = &x[self.starts[c] + segment.start..][..segment.length];
            }
            // The same inputs' weights for the next outputs: the first time they come from far away.
            let next = weights.panels.as_ptr().wrapping_add((group + 1) * weights.inputs + segment.weight);
            for k in 0..segment.length {
                s.prefetch(next.wrapping_add(k));
                let mut column = [s.splat(0.0); C];
                for c in 0..C {
                    // SAFETY: every slice in `inputs` has `segment.length` elements, and k is below it.
                    column[c] = s.load(unsafe { inputs[c].get_unchecked(k) }, self.parts[c]);
                }
                for r in 0..R {
                    // SAFETY: `weight` has two chunks for each of `segment.length` inputs; k is below it, and
                    // `half + r / 4` is 0 or 1 (R is 8 with half 0, or 4).
                    let weight = s.splat(unsafe { weight.get_unchecked(2 * k + (half + r / 4) % 2) }[r % 4]);
                    for c in 0..C {
                        sums[r][c] = s.fma(weight, column[c], sums[r][c]);
                    }
                }
            }
        }
        for r in 0..valid {
            for c in 0..C {
                s.store(&mut out[self.outs[c] + first + r], self.parts[c], sums[r][c]);
            }
        }
        let Some(then) = then else { return };
        if matches!(then, Then::Store | Then::Add) {
            return;
        }
        for c in 0..C {
            for lanes in &mut out[self.outs[c] + first..][..valid] {
                let sum = s.load(lanes, self.parts[c]);
                let result = match then {
                    Then::StoreGelu => gelu_of(s, sum),
                    Then::StoreSilu => silu_of(s, sum),
                    _ => relu_of(s, sum),
                };
                s.store(lanes, self.parts[c], result);
            }
        }
    }
}

/// A grid of pixels with channels last, `[side, side, channels]`.
#[derive(Debug, Clone, Copy)]
pub struct Grid<'a> {
    /// Its values.
    pub data: &'a [Lanes],
    /// Pixels along a side.
    pub side: usize,
    /// Numbers of a pixel.
    pub channels: usize,
}

dispatch! {
    /// A convolution with an odd square window that keeps the grid's size; beyond the edge everything is zero. The
    /// weights' inputs are in the order `[kernel, kernel, channels]`; the outputs of a pixel are `out_stride` elements
    /// from those of the one before it.
    ///
    /// Sums and NaN as for [`multiply`], over the pixels that are inside.
    ///
    /// # Panics
    /// If the weights don't fit an odd window up to 7×7, the grid is shorter than its size, or `out` is.
    pub fn convolve(grid: Grid<'_>, weights: &Weights, out: &mut [Lanes], out_stride: usize, then: Then) = convolve_with;
}

#[inline(always)]
fn convolve_with<S: Simd>(s: S, grid: Grid<'_>, weights: &Weights, out: &mut [Lanes], out_stride: usize, then: Then) {
    let Grid { data, side, channels } = grid;
    let kernel = (weights.inputs / channels.max(1)).isqrt();
    assert!(
        kernel * kernel * channels == weights.inputs && kernel % 2 == 1 && kernel <= KERNEL_MAX,
        "{} inputs are not an odd window up to {KERNEL_MAX}×{KERNEL_MAX} of {channels} channels",
        weights.inputs
    );
    assert!(out_stride >= weights.outputs, "rows of {} outputs overlap", weights.outputs);
    let reach = kernel / 2;
    // The columns of the window that lie inside, for a pixel in column x.
    let inside = |x: usize| (reach.saturating_sub(x), kernel.min(side + reach - x));
    for y in 0..side {
        let mut x = 0;
        while x < side {
            let (left, right) = inside(x);
            let mut end = x + 1;
            while end < side && inside(end) == (left, right) {
                end += 1;
            }
            let mut segments = [Segment::default(); KERNEL_MAX];
            let (top, bottom) = inside(y);
            for (segment, ky) in segments.iter_mut().zip(top..bottom) {
                *segment = Segment {
                    start: (y + ky - reach) * side * channels,
                    weight: (ky * kernel + left) * channels,
                    length: (right - left) * channels,
                };
            }
            let segments = &segments[..bottom - top];
            let pixels = Pixels { first: x, shift: left as isize - reach as isize, y, side, channels, out_stride };
            let (mut first, columns) = (0, (end - x) * S::PARTS);
            while first < columns {
                match columns - first {
                    1 => first += pixels.convolve::<S, 1>(s, first, data, weights, segments, out, then),
                    2 | 4 => first += pixels.convolve::<S, 2>(s, first, data, weights, segments, out, then),
                    _ => first += pixels.convolve::<S, 3>(s, first, data, weights, segments, out, then),
                }
            }
            x = end;
        }
    }
}

/// Pixels of a row whose windows are cut off alike.
struct Pixels {
    first: usize,
    /// From a pixel to the first one of its window, along the row.
    shift: isize,
    y: usize,
    side: usize,
    channels: usize,
    out_stride: usize,
}

impl Pixels {
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "everything that one product is made of")]
    fn convolve<S: Simd, const C: usize>(
        &self,
        s: S,
        first: usize,
        data: &[Lanes],
        weights: &Weights,
        segments: &[Segment],
        out: &mut [Lanes],
        then: Then,
    ) -> usize {
        let mut columns = Columns { starts: [0; C], outs: [0; C], parts: [0; C] };
        for c in 0..C {
            let (x, part) = (self.first + (first + c) / S::PARTS, (first + c) % S::PARTS);
            columns.starts[c] = x.saturating_add_signed(self.shift) * self.channels;
            columns.outs[c] = (self.y * self.side + x) * self.out_stride;
            columns.parts[c] = part;
        }
        let from = if then.adds() { Start::BiasAndOutput } else { Start::Bias };
        columns.outputs(s, data, weights, 0..weights.bias.len(), segments, out, from, Some(then));
        C
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use proptest::prelude::*;

    use super::*;
    use crate::activation::{gelu, silu};
    use crate::attention::{Heads, attention};
    use crate::norm::layer_norm;
    use crate::testing::{lane, lanes, on_every_set, values};
    use crate::{LANES, Set};

    const EVERY_THEN: [Then; 6] =
        [Then::Store, Then::StoreRelu, Then::StoreGelu, Then::StoreSilu, Then::Add, Then::AddRelu];

    fn exactly(then: Then, sum: f64, before: f64) -> f64 {
        match then {
            Then::Store => sum,
            Then::StoreRelu => sum.max(0.0),
            // Tested against f64 itself in `activation`.
            Then::StoreGelu | Then::StoreSilu => {
                let mut x = [Lanes([sum as f32; LANES])];
                if then == Then::StoreGelu {
                    gelu(Set::best(), &mut x)
                } else {
                    silu(Set::best(), &mut x)
                }
                f64::from(x[0].0[0])
            }
            Then::Add => sum + before,
            Then::AddRelu => (sum + before).max(0.0),
        }
    }

    /// Every result of some lanes against `f64`; every gap against what was there.
    fn check(set: Set, count: usize, inputs: usize, stride: usize, outputs: usize, gap: usize, then: Then) {
        let x = lanes(count * stride + inputs, 1);
        let (weight, bias) = (values(outputs * inputs, 2), values(outputs, 3));
        let before = lanes(count * (outputs + gap), 4);
        let mut out = before.clone();
        let weights = Weights::new(&weight, &bias);
        multiply(set, Rows::new(&x, count, stride), &weights, &mut out, outputs + gap, then);
        for one in [0, 6, 15] {
            let (x, out, before) = (lane(&x, one), lane(&out, one), lane(&before, one));
            for (at, (&got, &before)) in out.iter().zip(&before).enumerate() {
                let (r, o) = (at / (outputs + gap), at % (outputs + gap));
                if o >= outputs {
                    assert_eq!(got.to_bits(), before.to_bits(), "gap after row {r}");
                    continue;
                }
                let row = &x[r * stride..][..inputs];
                let products = row.iter().zip(&weight[o * inputs..][..inputs]).map(|(x, w)| x * f64::from(*w));
                let exact = exactly(then, products.sum::<f64>() + f64::from(bias[o]), before);
                let error = (got - exact).abs();
                assert!(
                    error < 2e-5,
                    "{count}×{inputs}→{outputs} {then:?}, row {r}, output {o}: {got}, exactly {exact}"
                );
            }
        }
    }

    #[test]
    fn agrees_with_f64_from_nothing_to_a_few_tiles() {
        on_every_set(|set| {
            for count in [0, 1, 2, 3, 4, 5, 7] {
                for (inputs, outputs) in [(0, 3), (1, 1), (3, 4), (5, 5), (16, 8), (9, 17), (200, 12), (385, 9)] {
                    for then in EVERY_THEN {
                        check(set, count, inputs, inputs.max(1), outputs, count % 3, then);
                    }
                }
            }
        });
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn agrees_with_f64_whatever_the_shape(
            count in 0_usize..9, inputs in 1_usize..230, shift in 0_usize..9, outputs in 1_usize..30, gap in 0_usize..5,
            then in 0_usize..6,
        ) {
            on_every_set(|set| check(set, count, inputs, inputs + shift, outputs, gap, EVERY_THEN[then]));
        }
    }

    #[test]
    fn convolutions_agree_with_f64_at_every_edge() {
        for (side, channels, kernel, outputs) in
            [(1, 2, 5, 3), (2, 3, 3, 4), (4, 4, 5, 8), (8, 3, 3, 12), (9, 2, 5, 9), (5, 1, 1, 1)]
        {
            let x = lanes(side * side * channels, 1);
            let inputs = kernel * kernel * channels;
            let (weight, bias) = (values(outputs * inputs, 2), values(outputs, 3));
            let weights = Weights::new(&weight, &bias);
            on_every_set(|set| {
                let stride = outputs + 2;
                let before = lanes(side * side * stride, 4);
                let mut out = before.clone();
                convolve(set, Grid { data: &x, side, channels }, &weights, &mut out, stride, Then::StoreRelu);
                let (x, out, before) = (lane(&x, 11), lane(&out, 11), lane(&before, 11));
                for (at, got) in out.iter().enumerate() {
                    let (pixel, o) = (at / stride, at % stride);
                    if o >= outputs {
                        assert_eq!(got.to_bits(), before[at].to_bits());
                        continue;
                    }
                    let (py, px) = (pixel / side, pixel % side);
                    let mut sum = f64::from(bias[o]);
                    for (ky, kx) in (0..kernel).flat_map(|ky| (0..kernel).map(move |kx| (ky, kx))) {
                        let (y, xx) = (py + ky, px + kx);
                        let inside = kernel / 2..side + kernel / 2;
                        if inside.contains(&y) && inside.contains(&xx) {
                            let (y, xx) = (y - kernel / 2, xx - kernel / 2);
                            for c in 0..channels {
                                let weight = weight[o * inputs + (ky * kernel + kx) * channels + c];
                                sum += x[(y * side + xx) * channels + c] * f64::from(weight);
                            }
                        }
                    }
                    assert!((got - sum.max(0.0)).abs() < 1e-5, "{side}×{side}, {kernel}×{kernel}: element {at}");
                }
            });
        }
    }

    #[test]
    fn nan_and_infinity_stay_in_their_row_and_lane_and_nan_is_overwritten() {
        let weights = Weights::new(&[1.0, 2.0], &[0.5]);
        on_every_set(|set| {
            for then in [Then::Store, Then::StoreRelu] {
                let mut out = [Lanes([f32::NAN; LANES]); 4];
                let mut x = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, -2.0, 1.0].map(|x| Lanes([x; LANES]));
                x[0].0[3] = f32::NAN;
                x[4].0[3] = f32::INFINITY;
                multiply(set, Rows::new(&x, 4, 2), &weights, &mut out, 1, then);
                assert!(out[0].0[3].is_nan() && out[2].0[3] == f32::INFINITY, "{out:?}");
                assert_eq!(out.map(|out| out.0[4]), [3.5, 3.5, 3.5, 0.5]);
            }
            let mut out = [f32::NAN, 1.0].map(|x| Lanes([x; LANES]));
            multiply(set, Rows::new(&[Lanes([1.0; LANES]); 4], 2, 2), &weights, &mut out, 1, Then::AddRelu);
            assert!(out[0].0[0].is_nan() && out[1].0[0] == 4.5, "{out:?}");
        });
    }

    #[test]
    fn a_row_gets_the_same_bits_alone_and_in_company() {
        let (x, weights) = (lanes(250 * 7, 3), Weights::new(&values(250 * 33, 1), &values(33, 2)));
        on_every_set(|set| {
            let mut together = vec![Lanes::ZERO; 7 * 33];
            multiply(set, Rows::new(&x, 7, 250), &weights, &mut together, 33, Then::Store);
            for (x, together) in x.chunks(250).zip(together.chunks(33)) {
                let mut alone = vec![Lanes::ZERO; 33];
                multiply(set, Rows::new(x, 1, 250), &weights, &mut alone, 33, Then::Store);
                assert!(alone == together);
            }
        });
    }

    /// A result must not depend on which of two workers computed it.
    #[test]
    fn sets_that_fuse_give_the_same_bits() {
        let results: RefCell<Vec<(&str, Vec<u32>)>> = RefCell::default();
        let x = lanes(9 * 150, 1);
        let weights = Weights::new(&values(50 * 150, 2), &values(50, 3));
        on_every_set(|set| {
            let mut product = vec![Lanes::ZERO; 9 * 50];
            multiply(set, Rows::new(&x, 9, 150), &weights, &mut product, 50, Then::StoreGelu);
            let mut normed = x.clone();
            layer_norm(set, &x, 150, 1e-6, &mut normed);
            let mut attended = vec![Lanes::ZERO; 9 * 50];
            let heads = Heads { width: 50, count: 2 };
            attention(set, &x, 9, heads, &mut [Lanes::ZERO; 81], &mut attended);
            let mut silu_of = normed.clone();
            silu(set, &mut silu_of);
            let all = [product, normed, attended, silu_of].concat();
            results.borrow_mut().push((set.name(), all.iter().flat_map(|x| x.0).map(f32::to_bits).collect()));
        });
        let fused = results.into_inner().into_iter().filter(|(name, _)| *name != "portable").collect::<Vec<_>>();
        for pair in fused.windows(2) {
            assert!(pair[0].1 == pair[1].1, "{} and {} differ", pair[0].0, pair[1].0);
        }
    }

    #[test]
    #[should_panic(expected = "out of range")]
    fn a_row_beyond_its_slice_is_refused() {
        let weights = Weights::new(&[1.0; 6], &[0.0; 2]);
        multiply(Set::best(), Rows::new(&[Lanes::ZERO; 5], 2, 3), &weights, &mut [Lanes::ZERO; 4], 2, Then::Store);
    }

    #[test]
    #[should_panic(expected = "weights are not [outputs, inputs] with 2 outputs")]
    fn weights_that_are_no_rectangle_are_refused() {
        Weights::new(&[1.0; 7], &[0.0; 2]);
    }
}
