//! Matrix products in fewer bits: bytes, and bf16. Sums, biases and what is added to stay in `f32`.
//!
//! **int8.** A row of inputs is written as bytes from 0 to 255 in every lane, between the least and the greatest of its
//! numbers (zero is always among them): each galaxy has its own scale for each of its tokens, at the moment when the
//! token is there, so nothing that a calibration has not seen can fall outside. Weights are bytes from -127 to 127, with
//! one scale for each output. Sums are whole numbers, exact on every CPU.
//!
//! **int16.** Inputs and weights are whole numbers with a sign, with a scale for every galaxy's token and one for every
//! output. Scales are chosen so that a row's length, the root of the sum of its squares, stays below [`LENGTH_MAX`]; so does
//! that of an output's weights, and no sum of products can be larger than the product of both lengths (Cauchy and
//! Schwarz), which 32 bits hold. That leaves 13 or 14 bits to numbers as they are here, five more than bf16 has, and sums are
//! exact on every CPU.
//!
//! **bf16.** Inputs and weights are rounded to 8 bits of precision, to nearest, ties to even. A product of two is exact
//! in `f32`, so a CPU without an instruction for it computes with `f32` and gets the same bits (the instruction takes
//! denormal numbers for zero; that alone can differ). Where that is the faster way it is taken everywhere, see
//! [`Set::bf16`]. Where there are [`tiles`](crate::tiles), sums are added up in another order: the last bits differ.

use crate::Set;
use crate::activation::{gelu_of, relu_of, silu_of};
use crate::matrix::{GROUP, Rows, Then, Weights, multiply};
use crate::set::Kind;
use crate::simd::portable::{Bytes, Halves, Pairs};
use crate::simd::{Dot, Lanes, Simd, dispatch};
use crate::tiles::{SIDE, Sums, multiply_tiles};
use crate::words::{Order, Words};

/// Words of 16 bits each that are taken at once.
const BLOCK: usize = 192;
/// The root of 2³¹, less what rounding may add to the length of a row of 2²⁰ numbers.
const LENGTH_MAX: f32 = 45_700.0;
/// Added to a number from -2²² to 2²² it leaves the nearest whole one, ties to even, in the low bits.
const ROUND: f32 = 12_582_912.0;

/// How many bits inputs and weights have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Eight, whole numbers with a scale.
    Int8,
    /// Sixteen, whole numbers with a scale.
    Int16,
    /// Sixteen, eight of them of precision.
    Bf16,
}

impl Format {
    /// Words of so many inputs.
    pub fn words(self, inputs: usize) -> usize {
        match self {
            Self::Int8 => inputs.div_ceil(4),
            Self::Int16 | Self::Bf16 => inputs.div_ceil(2),
        }
    }
}

/// How weights in fewer bits are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// As words.
    Words(Order),
    /// As `f32`, rounded to bf16.
    Rounded,
}

/// The weights and bias of a linear layer, packed in fewer bits.
#[derive(Debug, Clone)]
pub struct ReducedWeights {
    format: Format,
    packed: Packed,
    /// One for each output; none where the format has no scale.
    scales: Vec<f32>,
    /// Sum of each output's weights, where there are scales.
    sums: Vec<f32>,
    bias: Vec<f32>,
    inputs: usize,
}

#[derive(Debug, Clone)]
enum Packed {
    Words(Words),
    /// Rounded to bf16, neighbours in the order in which the instruction takes them.
    Rounded(Weights),
}

/// Inputs in fewer bits, and sums of tiles: memory that is allocated once.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(crate) words: Vec<Lanes>,
    rounded: Vec<Lanes>,
    pub(crate) scales: Vec<Lanes>,
    pub(crate) lows: Vec<Lanes>,
    pub(crate) sums: Box<Sums>,
}

impl Scratch {
    /// Scratch for `rows` rows of `inputs` inputs each.
    pub fn new(rows: usize, inputs: usize) -> Self {
        let zeros = |each: usize| vec![Lanes::ZERO; rows * each];
        let words = Format::Bf16.words(inputs).next_multiple_of(SIDE);
        Self {
            words: zeros(words),
            rounded: zeros(inputs.next_multiple_of(2)),
            scales: zeros(1),
            lows: zeros(1),
            sums: Box::default(),
        }
    }
}

impl ReducedWeights {
    /// Packs weights `[outputs, inputs]`, row-major, as is best for the set, though every set can use them.
    ///
    /// # Panics
    /// If the weights are not a whole number of rows for every bias.
    pub fn new(set: Set, format: Format, weight: &[f32], bias: &[f32]) -> Self {
        Self::kept(set.kept(format), format, weight, bias)
    }

    /// Packs weights as they are to be kept; whole numbers are kept as words, those of 16 bits in panels.
    pub(crate) fn kept(kept: Kept, format: Format, weight: &[f32], bias: &[f32]) -> Self {
        let outputs = bias.len();
        let inputs = weight.len() / outputs.max(1);
        assert_eq!(inputs * outputs, weight.len(), "weights are not [outputs, inputs] with {outputs} outputs");
        let (mut scales, mut sums) = (Vec::new(), Vec::new());
        let packed = match (format, kept) {
            (Format::Bf16, Kept::Rounded) => rounded_words(weight, inputs, bias),
            (Format::Bf16, Kept::Words(order)) => bf16_words(order, weight, inputs, outputs),
            (Format::Int8, Kept::Words(order)) => int8_words(order, weight, inputs, outputs, &mut scales, &mut sums),
            (Format::Int8, Kept::Rounded) => return Self::kept(Kept::Words(Order::Panels), format, weight, bias),
            (Format::Int16, _) => int16_words(weight, inputs, outputs, &mut scales, &mut sums),
        };
        Self { format, packed, scales, sums, bias: bias.to_vec(), inputs }
    }

    /// The weights where they are kept as `f32` rounded to bf16: what [`from_rounded`](Self::from_rounded) takes.
    pub fn rounded(&self) -> Option<&Weights> {
        match &self.packed {
            Packed::Rounded(weights) => Some(weights),
            Packed::Words(_) => None,
        }
    }

    /// The packed words where they are kept as such: what [`from_words`](Self::from_words) takes.
    pub fn words(&self) -> Option<&Words> {
        match &self.packed {
            Packed::Words(words) => Some(words),
            Packed::Rounded(_) => None,
        }
    }

    /// Each output's scale and the sum of its weights; empty where the format has none.
    pub fn scales_and_sums(&self) -> [&[f32]; 2] {
        [&self.scales, &self.sums]
    }

    /// The biases, `[outputs]`.
    pub fn bias(&self) -> &[f32] {
        &self.bias
    }

    /// A layer from weights that were rounded to bf16 before; `None` if they don't belong to so many inputs.
    pub fn from_rounded(weights: Weights, inputs: usize) -> Option<Self> {
        if weights.inputs() != inputs.next_multiple_of(2) {
            return None;
        }
        let bias = weights.biases().to_vec();
        let packed = Packed::Rounded(weights);
        Some(Self { format: Format::Bf16, packed, scales: Vec::new(), sums: Vec::new(), bias, inputs })
    }

    /// A layer from words that were packed before; `None` if the arrays don't fit each other.
    pub fn from_words(
        format: Format,
        words: Words,
        scales: Vec<f32>,
        sums: Vec<f32>,
        bias: &[f32],
        inputs: usize,
    ) -> Option<Self> {
        let scaled = match format {
            Format::Int8 | Format::Int16 => bias.len(),
            Format::Bf16 => 0,
        };
        let has_order = format != Format::Int16 || words.order() == Order::Panels;
        let is_whole = words.as_slice().len() == words.order().words(format, inputs, bias.len());
        let is_scaled = [&scales, &sums].iter().all(|each| each.len() == scaled);
        let packed = Packed::Words(words);
        (has_order && is_whole && is_scaled).then(|| Self { format, packed, scales, sums, bias: bias.to_vec(), inputs })
    }

    /// Inputs of the layer.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Outputs of the layer.
    pub fn outputs(&self) -> usize {
        self.bias.len()
    }

    /// How many bits they have.
    pub fn format(&self) -> Format {
        self.format
    }
}

fn int8_words(
    order: Order,
    weight: &[f32],
    inputs: usize,
    outputs: usize,
    scales: &mut Vec<f32>,
    sums: &mut Vec<f32>,
) -> Packed {
    let mut words = Words::zeros(order, Format::Int8, inputs, outputs);
    let mut bytes = vec![0_u8; Format::Int8.words(inputs) * 4];
    for output in 0..outputs {
        let row = &weight[output * inputs..][..inputs];
        let greatest = row.iter().fold(0.0_f32, |max, weight| max.max(weight.abs()));
        let scale = (greatest / 127.0).max(f32::MIN_POSITIVE);
        let inverse = 1.0 / scale;
        bytes.iter_mut().zip(row).for_each(|(byte, weight)| *byte = (weight * inverse + ROUND).to_bits() as u8);
        words.put(output, bytes.as_chunks().0.iter().map(|four| u32::from_le_bytes(*four)));
        scales.push(scale);
        sums.push(bytes.iter().map(|byte| i32::from(byte.cast_signed())).sum::<i32>() as f32 * scale);
    }
    Packed::Words(words)
}

fn int16_words(weight: &[f32], inputs: usize, outputs: usize, scales: &mut Vec<f32>, sums: &mut Vec<f32>) -> Packed {
    let mut words = Words::zeros(Order::Panels, Format::Int16, inputs, outputs);
    for output in 0..outputs {
        let row = &weight[output * inputs..][..inputs];
        let greatest = row.iter().fold(0.0_f32, |max, weight| max.max(weight.abs()));
        let length = row.iter().map(|weight| f64::from(*weight) * f64::from(*weight)).sum::<f64>().sqrt() as f32;
        let scale = (greatest / 32_767.0).max(length / LENGTH_MAX).max(f32::MIN_POSITIVE);
        let inverse = 1.0 / scale;
        let short = |weight: Option<&f32>| (weight.map_or(0.0, |weight| weight * inverse) + ROUND).to_bits() & 0xffff;
        words.put(output, row.chunks(2).map(|two| short(two.first()) | short(two.get(1)) << 16));
        scales.push(scale);
        // Zero is zero: nothing is to be taken off a sum.
        sums.push(0.0);
    }
    Packed::Words(words)
}

fn bf16_words(order: Order, weight: &[f32], inputs: usize, outputs: usize) -> Packed {
    let mut words = Words::zeros(order, Format::Bf16, inputs, outputs);
    for output in 0..outputs {
        let row = &weight[output * inputs..][..inputs];
        let half = |weight: Option<&f32>| u32::from(to_bf16(weight.copied().unwrap_or(0.0)));
        words.put(output, row.chunks(2).map(|two| half(two.first()) | half(two.get(1)) << 16));
    }
    Packed::Words(words)
}

fn rounded_words(weight: &[f32], inputs: usize, bias: &[f32]) -> Packed {
    let even = inputs.next_multiple_of(2);
    let mut rounded = vec![0.0; bias.len() * even];
    for (rounded, row) in rounded.chunks_exact_mut(even.max(1)).zip(weight.chunks_exact(inputs.max(1))) {
        row.iter().enumerate().for_each(|(i, weight)| rounded[i ^ 1] = from_bf16(to_bf16(*weight)));
    }
    Packed::Rounded(Weights::new(&rounded, bias))
}

/// The upper half of the nearest number that has zeros in the lower, ties to even. The number is finite.
fn to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    (bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

fn from_bf16(x: u16) -> f32 {
    f32::from_bits(u32::from(x) << 16)
}

/// A linear layer in fewer bits: as [`multiply`], with inputs rounded on the way.
///
/// A NaN or an infinity among a row's inputs makes its outputs NaN, in its lane.
///
/// # Panics
/// As [`multiply`], and if `scratch` is too small for the rows.
pub fn multiply_reduced(
    set: Set,
    rows: Rows<'_>,
    weights: &ReducedWeights,
    scratch: &mut Scratch,
    out: &mut [Lanes],
    out_stride: usize,
    then: Then,
) {
    let inputs = weights.inputs;
    match &weights.packed {
        Packed::Rounded(rounded) => {
            round_rows(set, rows, inputs, &mut scratch.rounded);
            let even = inputs.next_multiple_of(2);
            multiply(set, Rows::new(&scratch.rounded, rows.count, even), rounded, out, out_stride, then);
        }
        Packed::Words(words) => {
            let each = weights.format.words(inputs);
            let each = if words.order() == Order::Tiles { each.next_multiple_of(SIDE) } else { each };
            match weights.format {
                Format::Int8 => quantize_rows(set, rows, inputs, each, scratch),
                Format::Int16 => shorten_rows(set, rows, inputs, scratch),
                Format::Bf16 => pair_rows(set, rows, inputs, each, &mut scratch.words),
            }
            match words.order() {
                Order::Panels => multiply_words(set, rows.count, weights, scratch, out, out_stride, then),
                Order::Tiles => multiply_tiles(set, rows.count, weights, scratch, out, out_stride, then),
            }
        }
    }
}

dispatch! {
    /// Rows rounded to bf16, each number in its neighbour's place.
    pub fn round_rows(rows: Rows<'_>, inputs: usize, out: &mut [Lanes]) = round_rows_with;
}

#[inline(always)]
fn round_rows_with<S: Simd>(s: S, rows: Rows<'_>, inputs: usize, out: &mut [Lanes]) {
    let even = inputs.next_multiple_of(2);
    for (row, out) in (0..rows.count).zip(out.chunks_exact_mut(even.max(1))) {
        let x = &rows.data[row * rows.stride..][..inputs];
        for part in 0..S::PARTS {
            for (i, x) in x.iter().enumerate() {
                s.store(&mut out[i ^ 1], part, rounded(s, s.load(x, part)));
            }
            if inputs < even {
                s.store(&mut out[inputs ^ 1], part, s.splat(0.0));
            }
        }
    }
}

/// Rounded to bf16, as `f32`. What is not finite becomes NaN: rounding an infinity's or a NaN's bits could hide it.
#[inline(always)]
fn rounded<S: Simd>(s: S, x: S::V) -> S::V {
    let poison = s.mul(x, s.splat(0.0));
    let odd = s.and_bits(s.bits_down(x, 16), 1);
    let up = s.add_bits(x, s.add_bits(odd, s.splat(f32::from_bits(0x7fff))));
    s.add(s.and_bits(up, 0xffff_0000), poison)
}

dispatch! {
    /// Rows rounded to bf16, two neighbours in a word; zeros follow up to `words` words.
    pub(crate) fn pair_rows(rows: Rows<'_>, inputs: usize, words: usize, out: &mut [Lanes]) = pair_rows_with;
}

#[inline(always)]
fn pair_rows_with<S: Simd>(s: S, rows: Rows<'_>, inputs: usize, words: usize, out: &mut [Lanes]) {
    for (row, out) in (0..rows.count).zip(out.chunks_exact_mut(words.max(1))) {
        let x = &rows.data[row * rows.stride..][..inputs];
        out[inputs.div_ceil(2)..].fill(Lanes::ZERO);
        for (x, out) in x.chunks(2).zip(out) {
            for part in 0..S::PARTS {
                let low = s.bits_down(rounded(s, s.load(&x[0], part)), 16);
                let high = x.get(1).map_or(s.splat(0.0), |x| rounded(s, s.load(x, part)));
                s.store(out, part, s.mix_bits(high, low, 0xffff_0000));
            }
        }
    }
}

dispatch! {
    /// Rows as bytes, four neighbours in a word, with each row's scale and what zero bytes stand for; zeros follow up to
    /// `words` words.
    pub fn quantize_rows(rows: Rows<'_>, inputs: usize, words: usize, scratch: &mut Scratch) = quantize_rows_with;
}

#[inline(always)]
fn quantize_rows_with<S: Simd>(s: S, rows: Rows<'_>, inputs: usize, words: usize, scratch: &mut Scratch) {
    let Scratch { words: out, scales, lows, .. } = scratch;
    assert!(scales.len() >= rows.count && out.len() >= rows.count * words, "scratch is too small for the rows");
    for row in 0..rows.count {
        let x = &rows.data[row * rows.stride..][..inputs];
        let out = &mut out[row * words..][..words];
        out[inputs.div_ceil(4)..].fill(Lanes::ZERO);
        for part in 0..S::PARTS {
            let zero = s.splat(0.0);
            let (mut least, mut greatest, mut poison) = ([zero; 2], [zero; 2], [zero; 2]);
            for x in x.chunks(2) {
                for (i, x) in x.iter().enumerate() {
                    let x = s.load(x, part);
                    least[i] = s.min(x, least[i]);
                    greatest[i] = s.max(x, greatest[i]);
                    poison[i] = s.fma(x, zero, poison[i]);
                }
            }
            let (least, greatest) = (s.min(least[0], least[1]), s.max(greatest[0], greatest[1]));
            // One less than bytes have, for rounding at both ends.
            let range = s.max(s.sub(greatest, least), s.splat(1e-30));
            let inverse = s.div(s.splat(254.0), range);
            let scale = s.add(s.mul(range, s.splat(1.0 / 254.0)), s.add(poison[0], poison[1]));
            // What stands for zero is a whole number: zero itself is exact.
            let offset = s.fma(s.sub(zero, least), inverse, s.splat(ROUND));
            s.store(&mut scales[row], part, scale);
            s.store(&mut lows[row], part, s.mul(s.sub(s.splat(ROUND), offset), scale));
            for (x, out) in x.chunks(4).zip(out.iter_mut()) {
                let byte = |i: usize| x.get(i).map_or(zero, |x| s.fma(s.load(x, part), inverse, offset));
                let upper = s.mix_bits(s.bits_up(byte(3), 24), s.bits_up(byte(2), 16), 0xff00_0000);
                let lower = s.mix_bits(s.bits_up(byte(1), 8), byte(0), 0xffff_ff00);
                s.store(out, part, s.mix_bits(upper, lower, 0xffff_0000));
            }
        }
    }
}

dispatch! {
    /// Rows as whole numbers of 16 bits, two neighbours in a word, with each row's scale.
    pub fn shorten_rows(rows: Rows<'_>, inputs: usize, scratch: &mut Scratch) = shorten_rows_with;
}

#[inline(always)]
fn shorten_rows_with<S: Simd>(s: S, rows: Rows<'_>, inputs: usize, scratch: &mut Scratch) {
    /// Numbers whose squares are too small to be told from zero are zero: their length would not be known.
    const SCALE_MIN: f32 = 1e-21;
    let words = inputs.div_ceil(2);
    let Scratch { words: out, scales, lows, .. } = scratch;
    assert!(scales.len() >= rows.count && out.len() >= rows.count * words, "scratch is too small for the rows");
    for row in 0..rows.count {
        let x = &rows.data[row * rows.stride..][..inputs];
        let out = &mut out[row * words..][..words];
        lows[row] = Lanes::ZERO;
        for part in 0..S::PARTS {
            let zero = s.splat(0.0);
            let (mut greatest, mut squares, mut poison) = ([zero; 2], [zero; 2], [zero; 2]);
            for x in x.chunks(2) {
                for (i, x) in x.iter().enumerate() {
                    let x = s.load(x, part);
                    greatest[i] = s.max(s.and_bits(x, 0x7fff_ffff), greatest[i]);
                    squares[i] = s.fma(x, x, squares[i]);
                    poison[i] = s.fma(x, zero, poison[i]);
                }
            }
            let greatest = s.mul(s.max(greatest[0], greatest[1]), s.splat(1.0 / 32_767.0));
            let length = s.mul(s.sqrt(s.add(squares[0], squares[1])), s.splat(1.0 / LENGTH_MAX));
            let scale = s.max(s.max(greatest, length), s.splat(SCALE_MIN));
            let inverse = s.div(s.splat(1.0), scale);
            s.store(&mut scales[row], part, s.add(scale, s.add(poison[0], poison[1])));
            let short = |x: &Lanes| s.fma(s.load(x, part), inverse, s.splat(ROUND));
            for (x, out) in x.chunks(2).zip(out.iter_mut()) {
                let high = x.get(1).map_or(zero, short);
                s.store(out, part, s.mix_bits(s.bits_up(high, 16), short(&x[0]), 0xffff_0000));
            }
        }
    }
}

/// The product itself, with the best instruction that the set has for it.
fn multiply_words(
    set: Set,
    count: usize,
    weights: &ReducedWeights,
    x: &Scratch,
    out: &mut [Lanes],
    stride: usize,
    then: Then,
) {
    #[cfg(target_arch = "x86_64")]
    use crate::simd::x86::{Avx2, Bf16, Shorts, Vnni256, Vnni512};

    macro_rules! copies {
        ($($name:ident: $proof:ty = $features:literal;)*) => {$(
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = $features)]
            fn $name(d: $proof, n: usize, w: &ReducedWeights, x: &Scratch, out: &mut [Lanes], o: usize, then: Then) {
                words_with(d, n, w, x, out, o, then);
            }
        )*};
    }
    copies! {
        vnni512: Vnni512 = "avx512f,avx512vl,avx512bw,avx512dq,avx512vnni,avx2,fma";
        bf16: Bf16 = "avx512f,avx512vl,avx512bw,avx512dq,avx512bf16,avx2,fma";
        halves512: Halves<crate::simd::x86::Avx512> = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma";
        shorts512: Shorts<Vnni512> = "avx512f,avx512vl,avx512bw,avx512dq,avx512vnni,avx2,fma";
        vnni256: Vnni256 = "avxvnni,avx2,fma";
        shorts_vnni256: Shorts<Vnni256> = "avxvnni,avx2,fma";
        shorts256: Shorts<Avx2> = "avx2,fma";
        bytes256: Avx2 = "avx2,fma";
        halves256: Halves<Avx2> = "avx2,fma";
    }

    match (set.kind, weights.format) {
        #[cfg(target_arch = "x86_64")]
        (Kind::Avx512(simd), format) => match (format, Vnni512::detect(), Bf16::detect()) {
            // SAFETY: the value is the proof that this CPU has AVX-512 with VNNI.
            (Format::Int8, Some(proof), _) => unsafe { vnni512(proof, count, weights, x, out, stride, then) },
            // SAFETY: as above.
            (Format::Int16, Some(proof), _) => unsafe {
                shorts512(Shorts(proof), count, weights, x, out, stride, then)
            },
            // SAFETY: the value is the proof that this CPU has AVX-512 with BF16.
            (Format::Bf16, _, Some(proof)) => unsafe { bf16(proof, count, weights, x, out, stride, then) },
            // SAFETY: every CPU with AVX-512 has AVX2 and FMA, and the value is the proof that this one has AVX-512.
            (Format::Int8, None, _) => unsafe { bytes256(simd.avx2(), count, weights, x, out, stride, then) },
            // SAFETY: as above.
            (Format::Int16, None, _) => unsafe { shorts256(Shorts(simd.avx2()), count, weights, x, out, stride, then) },
            // SAFETY: the value is the proof that this CPU has AVX-512.
            (Format::Bf16, _, None) => unsafe { halves512(Halves(simd), count, weights, x, out, stride, then) },
        },
        #[cfg(target_arch = "x86_64")]
        (Kind::Avx2(simd), Format::Int8) => match Vnni256::detect() {
            // SAFETY: the value is the proof that this CPU has AVX-VNNI, AVX2 and FMA.
            Some(proof) => unsafe { vnni256(proof, count, weights, x, out, stride, then) },
            // SAFETY: the value is the proof that this CPU has AVX2 and FMA.
            None => unsafe { bytes256(simd, count, weights, x, out, stride, then) },
        },
        #[cfg(target_arch = "x86_64")]
        (Kind::Avx2(simd), Format::Int16) => match Vnni256::detect() {
            // SAFETY: the value is the proof that this CPU has AVX-VNNI, AVX2 and FMA.
            Some(proof) => unsafe { shorts_vnni256(Shorts(proof), count, weights, x, out, stride, then) },
            // SAFETY: the value is the proof that this CPU has AVX2 and FMA.
            None => unsafe { shorts256(Shorts(simd), count, weights, x, out, stride, then) },
        },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the value is the proof that this CPU has AVX2 and FMA.
        (Kind::Avx2(simd), Format::Bf16) => unsafe { halves256(Halves(simd), count, weights, x, out, stride, then) },
        #[cfg(target_arch = "aarch64")]
        (Kind::Neon(simd), Format::Int8) => words_with(Bytes(simd), count, weights, x, out, stride, then),
        #[cfg(target_arch = "aarch64")]
        (Kind::Neon(simd), Format::Int16) => words_with(Pairs(simd), count, weights, x, out, stride, then),
        #[cfg(target_arch = "aarch64")]
        (Kind::Neon(simd), Format::Bf16) => words_with(Halves(simd), count, weights, x, out, stride, then),
        (Kind::Portable(simd), Format::Int8) => words_with(Bytes(simd), count, weights, x, out, stride, then),
        (Kind::Portable(simd), Format::Int16) => words_with(Pairs(simd), count, weights, x, out, stride, then),
        (Kind::Portable(simd), Format::Bf16) => words_with(Halves(simd), count, weights, x, out, stride, then),
    }
}

#[inline(always)]
fn words_with<D: Dot>(
    d: D,
    count: usize,
    weights: &ReducedWeights,
    x: &Scratch,
    out: &mut [Lanes],
    stride: usize,
    then: Then,
) {
    assert!(stride >= weights.outputs(), "rows of {} outputs overlap", weights.outputs());
    let columns = count * D::S::PARTS;
    let mut first = 0;
    while first < columns {
        match columns - first {
            1 => first += strip::<D, 1>(d, first, weights, x, out, stride, then),
            2 | 4 => first += strip::<D, 2>(d, first, weights, x, out, stride, then),
            _ => first += strip::<D, 3>(d, first, weights, x, out, stride, then),
        }
    }
}

/// All outputs of C registers; returns C.
#[inline(always)]
fn strip<D: Dot, const C: usize>(
    d: D,
    first: usize,
    weights: &ReducedWeights,
    x: &Scratch,
    out: &mut [Lanes],
    stride: usize,
    then: Then,
) -> usize {
    let groups = weights.outputs().div_ceil(GROUP);
    let words = weights.format.words(weights.inputs);
    // Bytes need half of the room, and their sums are no numbers before they are complete.
    let block = if weights.format == Format::Int8 { words.max(1) } else { BLOCK };
    let mut start = 0;
    loop {
        let part = Part { start, length: block.min(words - start), words, is_last: start + block >= words };
        for group in 0..groups {
            if D::S::HAS_32 {
                tile::<D, 8, C>(d, first, group * 2, part, weights, x, out, stride, then);
            } else {
                tile::<D, 4, C>(d, first, group * 2, part, weights, x, out, stride, then);
                if weights.outputs() > group * GROUP + 4 {
                    tile::<D, 4, C>(d, first, group * 2 + 1, part, weights, x, out, stride, then);
                }
            }
        }
        if part.is_last {
            return C;
        }
        start += block;
    }
}

/// Which inputs are taken.
#[derive(Clone, Copy)]
struct Part {
    start: usize,
    length: usize,
    /// Of a whole row.
    words: usize,
    is_last: bool,
}

/// R outputs from four times `quarter` on, of C registers.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "everything that one product is made of")]
fn tile<D: Dot, const R: usize, const C: usize>(
    d: D,
    first: usize,
    quarter: usize,
    part: Part,
    weights: &ReducedWeights,
    x: &Scratch,
    out: &mut [Lanes],
    stride: usize,
    then: Then,
) {
    let s = d.simd();
    let Some(Words::Panels(panels)) = weights.words() else { return };
    let [scales, weight_sums] = weights.scales_and_sums();
    let (output, group, half) = (quarter * 4, quarter / 2, quarter % 2);
    let valid = (weights.outputs() - output).min(R);
    let adds = matches!(then, Then::Add | Then::AddRelu);
    let (mut rows, mut parts) = ([0; C], [0; C]);
    for c in 0..C {
        rows[c] = (first + c) / D::S::PARTS;
        parts[c] = (first + c) % D::S::PARTS;
    }
    let mut sums = [[d.begin(s.splat(0.0)); C]; R];
    if !D::INTEGER {
        for r in 0..valid {
            for c in 0..C {
                let mut begin = s.splat(if part.start == 0 { weights.bias[output + r] } else { 0.0 });
                if adds || part.start > 0 {
                    begin = s.add(begin, s.load(&out[rows[c] * stride + output + r], parts[c]));
                }
                sums[r][c] = d.begin(begin);
            }
        }
    }
    let panel = &panels[group * part.words + part.start..][..part.length];
    let (panel, _) = panel.as_flattened().as_chunks::<4>();
    let mut inputs: [&[Lanes]; C] = [&[]; C];
    for c in 0..C {
        inputs[c] = &x.words[rows[c] * part.words + part.start..][..part.length];
    }
    // The same inputs' weights for the next outputs: the first time they come from far away.
    let next = panels.as_ptr().wrapping_add((group + 1) * part.words + part.start);
    for k in 0..part.length {
        s.prefetch(next.wrapping_add(k));
        // SAFETY: every slice in `inputs` has `part.length` elements, and k is below it.
        let mut column = [d.load(unsafe { inputs[0].get_unchecked(k) }, parts[0]); C];
        for c in 1..C {
            // SAFETY: as above.
            column[c] = d.load(unsafe { inputs[c].get_unchecked(k) }, parts[c]);
        }
        for r in 0..R {
            // SAFETY: `panel` has two chunks for each of `part.length` words; k is below it, and `half + r / 4` is 0 or 1
            // (R is 8 with half 0, or 4).
            let weight = unsafe { panel.get_unchecked(2 * k + (half + r / 4) % 2) }[r % 4];
            for c in 0..C {
                sums[r][c] = d.dot(column[c], weight, sums[r][c]);
            }
        }
    }
    for r in 0..valid {
        for c in 0..C {
            let out = &mut out[rows[c] * stride + output + r];
            let mut result = d.end(sums[r][c]);
            if D::INTEGER {
                let (scale, low) = (s.load(&x.scales[rows[c]], parts[c]), s.load(&x.lows[rows[c]], parts[c]));
                let bias = s.splat(weights.bias[output + r]);
                let base = match part.start {
                    0 => s.fma(low, s.splat(weight_sums[output + r]), bias),
                    _ => s.load(out, parts[c]),
                };
                result = s.fma(s.mul(result, scale), s.splat(scales[output + r]), base);
                if adds && part.start == 0 {
                    result = s.add(result, s.load(out, parts[c]));
                }
            }
            s.store(out, parts[c], result);
        }
    }
    if !part.is_last || matches!(then, Then::Store | Then::Add) {
        return;
    }
    for c in 0..C {
        for lanes in &mut out[rows[c] * stride + output..][..valid] {
            let sum = s.load(lanes, parts[c]);
            let result = match then {
                Then::StoreGelu => gelu_of(s, sum),
                Then::StoreSilu => silu_of(s, sum),
                _ => relu_of(s, sum),
            };
            s.store(lanes, parts[c], result);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::LANES;
    use crate::testing::{lane, lanes, on_every_set, values};

    const SHAPES: [(usize, usize, usize); 9] =
        [(0, 4, 4), (1, 1, 1), (2, 3, 5), (3, 4, 8), (4, 7, 9), (5, 64, 12), (7, 193, 17), (2, 500, 3), (6, 20, 33)];

    fn run(set: Set, weights: &ReducedWeights, x: &[Lanes], rows: usize, before: &[Lanes], then: Then) -> Vec<Lanes> {
        let mut out = before.to_vec();
        let mut scratch = Scratch::new(rows, weights.inputs());
        let x = Rows::new(x, rows, weights.inputs());
        multiply_reduced(set, x, weights, &mut scratch, &mut out, weights.outputs(), then);
        out
    }

    #[test]
    fn bytes_agree_with_f64_to_their_step_and_every_set_gets_the_same_sums() {
        for (rows, inputs, outputs) in SHAPES {
            let (x, before) = (lanes(rows * inputs, 1), lanes(rows * outputs, 4));
            let (weight, bias) = (values(outputs * inputs, 2), values(outputs, 3));
            let [weights, in_tiles] = [Order::Panels, Order::Tiles]
                .map(|order| ReducedWeights::kept(Kept::Words(order), Format::Int8, &weight, &bias));
            let all: RefCell<Vec<Vec<Lanes>>> = RefCell::default();
            on_every_set(|set| {
                let out = run(set, &weights, &x, rows, &before, Then::Add);
                let (x, out, before) = (lane(&x, 5), lane(&out, 5), lane(&before, 5));
                for (at, got) in out.iter().enumerate() {
                    let (row, output) = (at / outputs, at % outputs);
                    let (x, w) = (&x[row * inputs..][..inputs], &weight[output * inputs..][..inputs]);
                    let exact = x.iter().zip(w).map(|(x, w)| x * f64::from(*w)).sum::<f64>()
                        + f64::from(bias[output])
                        + before[at];
                    // Half a step of each factor, by the other: at most 2/254 and 1/127 for these numbers.
                    let most = inputs as f64 * (0.5 * 2.0 / 254.0 + 0.5 / 127.0 + 2e-5) + 1e-4;
                    assert!((got - exact).abs() < most, "{rows}×{inputs}→{outputs}: {got}, exactly {exact}");
                }
                let (x, before) = (x_of(&x), before_of(&before));
                for then in [Then::StoreRelu, Then::Add, Then::StoreGelu] {
                    let by_panels = run(set, &weights, &x, rows, &before, then);
                    let by_tiles = run(set, &in_tiles, &x, rows, &before, then);
                    assert!(by_panels == by_tiles, "{rows}×{inputs}→{outputs} {then:?}: tiles differ");
                }
                all.borrow_mut().push(run(set, &weights, &x, rows, &before, Then::StoreRelu));
            });
            let all = all.into_inner();
            for pair in all.windows(2) {
                // Scales may differ in the last bit where the CPU does not fuse.
                let far = pair[0].iter().zip(&pair[1]).flat_map(|(a, b)| a.0.into_iter().zip(b.0));
                assert!(far.into_iter().all(|(a, b)| (a - b).abs() < 1e-2), "{rows}×{inputs}→{outputs}");
            }
        }
    }

    /// Added to what there is: exact results of a lane, but for half a step of each factor, by the other.
    fn shorts_agree(set: Set, rows: usize, inputs: usize, outputs: usize, x: &[Lanes], weight: &[f32], bias: &[f32]) {
        let weights = ReducedWeights::new(set, Format::Int16, weight, bias);
        let out = run(set, &weights, x, rows, &vec![Lanes([0.5; LANES]); rows * outputs], Then::Add);
        let step = |x: &[f64]| {
            let greatest = x.iter().fold(0.0, |max: f64, x| max.max(x.abs()));
            let length = x.iter().map(|x| x * x).sum::<f64>().sqrt();
            (greatest / 32_767.0).max(length / f64::from(LENGTH_MAX)).max(1e-21)
        };
        for one in [0, 7] {
            let (x, out) = (lane(x, one), lane(&out, one));
            for (at, got) in out.iter().enumerate() {
                let (x, output) = (&x[at / outputs * inputs..][..inputs], at % outputs);
                let w: Vec<f64> = weight[output * inputs..][..inputs].iter().copied().map(f64::from).collect();
                let exact = x.iter().zip(&w).map(|(x, w)| x * w).sum::<f64>() + f64::from(bias[output]) + 0.5;
                let sum = |x: &[f64]| x.iter().map(|x| x.abs()).sum::<f64>();
                let most = 0.51 * (step(x) * sum(&w) + step(&w) * sum(x))
                    + 0.26 * step(x) * step(&w) * inputs as f64
                    + 2e-6 * exact.abs();
                let name = set.name();
                assert!(
                    (got - exact).abs() <= most,
                    "{name} {rows}×{inputs}→{outputs}: {got}, exactly {exact} ± {most}"
                );
            }
        }
    }

    #[test]
    fn shorts_agree_with_f64_to_their_step_and_every_set_gets_the_same_bits() {
        for (rows, inputs, outputs) in SHAPES {
            let (x, before) = (lanes(rows * inputs, 1), lanes(rows * outputs, 4));
            let (weight, bias) = (values(outputs * inputs, 2), values(outputs, 3));
            let weights = ReducedWeights::new(Set::best(), Format::Int16, &weight, &bias);
            let all: RefCell<Vec<(&str, Vec<Lanes>)>> = RefCell::default();
            on_every_set(|set| {
                shorts_agree(set, rows, inputs, outputs, &x, &weight, &bias);
                all.borrow_mut().push((set.name(), run(set, &weights, &x, rows, &before, Then::Add)));
            });
            let fused = all.into_inner().into_iter().filter(|(name, _)| *name != "portable").collect::<Vec<_>>();
            assert!(fused.windows(2).all(|pair| pair[0].1 == pair[1].1), "{rows}×{inputs}→{outputs}");
        }
    }

    /// The largest sum that there is: inputs and weights of one direction, up to several parts of a row.
    #[test]
    fn sums_of_shorts_never_overflow() {
        for inputs in [1, 2, 192, 385, 3_000] {
            for scale in [1e-30_f32, 1e-25, 1e-20, 1e-3, 1.0, 1e15] {
                for row in [vec![1.0; inputs], values(inputs, 5), [vec![1.0; 1], vec![1e-6; inputs - 1]].concat()] {
                    let x: Vec<Lanes> = row.iter().map(|x| Lanes([x * scale; LANES])).collect();
                    on_every_set(|set| shorts_agree(set, 1, inputs, 1, &x, &row, &[0.0]));
                }
            }
        }
    }

    #[test]
    fn a_row_of_shorts_gets_the_same_bits_alone_and_in_company() {
        let (x, weights) =
            (lanes(5 * 500, 1), ReducedWeights::new(Set::best(), Format::Int16, &values(500 * 9, 2), &[0.5; 9]));
        on_every_set(|set| {
            let together = run(set, &weights, &x, 5, &[Lanes::ZERO; 45], Then::Store);
            for (x, together) in x.chunks(500).zip(together.chunks(9)) {
                assert!(run(set, &weights, x, 1, &[Lanes::ZERO; 9], Then::Store) == together);
            }
        });
    }

    fn x_of(lane: &[f64]) -> Vec<Lanes> {
        lane.iter().map(|x| Lanes([*x as f32; LANES])).collect()
    }

    use x_of as before_of;

    #[test]
    fn bf16_has_the_same_bits_by_every_way() {
        for (rows, inputs, outputs) in SHAPES {
            let (x, before) = (lanes(rows * inputs, 1), lanes(rows * outputs, 4));
            let (weight, bias) = (values(outputs * inputs, 2), values(outputs, 3));
            for then in [Then::Store, Then::Add, Then::StoreRelu] {
                let results: RefCell<Vec<(String, Vec<Lanes>)>> = RefCell::default();
                on_every_set(|set| {
                    for kept in [Kept::Rounded, Kept::Words(Order::Panels)] {
                        let weights = ReducedWeights::kept(kept, Format::Bf16, &weight, &bias);
                        let out = run(set, &weights, &x, rows, &before, then);
                        results.borrow_mut().push((format!("{} {kept:?}", set.name()), out));
                    }
                });
                let results = results.into_inner();
                for (name, result) in &results[1..] {
                    assert!(*result == results[0].1, "{rows}×{inputs}→{outputs}: {name} differs from {}", results[0].0);
                }
                let tiles = ReducedWeights::kept(Kept::Words(Order::Tiles), Format::Bf16, &weight, &bias);
                for out in [&results[0].1, &run(Set::best(), &tiles, &x, rows, &before, then)] {
                    let (x, got, before) = (lane(&x, 9), lane(out, 9), lane(&before, 9));
                    for (at, got) in got.iter().enumerate() {
                        let (row, output) = (at / outputs, at % outputs);
                        let (x, w) = (&x[row * inputs..][..inputs], &weight[output * inputs..][..inputs]);
                        let round = |x: f64| f64::from(from_bf16(to_bf16(x as f32)));
                        let products = x.iter().zip(w).map(|(x, w)| round(*x) * round(f64::from(*w)));
                        let sum = products.sum::<f64>() + f64::from(bias[output]);
                        let exact = match then {
                            Then::Add => sum + before[at],
                            Then::StoreRelu => sum.max(0.0),
                            _ => sum,
                        };
                        assert!(
                            (got - exact).abs() < 1e-4,
                            "{rows}×{inputs}→{outputs} {then:?}: {got}, exactly {exact}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_row_in_tiles_gets_the_same_bits_alone_and_in_company() {
        let x = lanes(5 * 70, 1);
        for format in [Format::Int8, Format::Bf16] {
            let weights = ReducedWeights::kept(Kept::Words(Order::Tiles), format, &values(70 * 40, 2), &values(40, 3));
            let together = run(Set::best(), &weights, &x, 5, &[Lanes::ZERO; 200], Then::Store);
            for (x, together) in x.chunks(70).zip(together.chunks(40)) {
                assert!(run(Set::best(), &weights, x, 1, &[Lanes::ZERO; 40], Then::Store) == together, "{format:?}");
            }
        }
    }

    #[test]
    fn rounding_is_to_nearest_and_ties_to_even() {
        for (x, expected) in
            [(1.0, 1.0), (1.003_906_3, 1.0), (1.011_718_8, 1.015_625), (-2.5, -2.5), (0.1, 0.100_097_656)]
        {
            assert_eq!(from_bf16(to_bf16(x)), expected, "{x}");
        }
    }

    #[test]
    fn what_is_not_finite_becomes_nan_in_its_row_and_lane_alone() {
        on_every_set(|set| {
            for format in [Format::Int8, Format::Int16, Format::Bf16] {
                for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                    let mut x = lanes(3 * 6, 1);
                    x[7].0[3] = bad;
                    let kept = [set.kept(format), Kept::Words(Order::Tiles)];
                    let weights = kept.map(|kept| ReducedWeights::kept(kept, format, &values(12, 2), &[0.0; 2]));
                    let out = weights.map(|weights| run(set, &weights, &x, 3, &[Lanes::ZERO; 6], Then::Store));
                    for (at, out) in out.iter().flat_map(|out| out.iter().enumerate()) {
                        for (lane, out) in out.0.iter().enumerate() {
                            assert_eq!(
                                out.is_nan(),
                                at / 2 == 1 && lane == 3,
                                "{format:?} {bad}: element {at}, lane {lane}"
                            );
                        }
                    }
                }
            }
        });
    }

    /// What a wider layer left behind, NaN among it, must not get into the sums.
    #[test]
    fn scratch_that_was_used_gives_the_bits_of_a_fresh_one() {
        let (wide, narrow) = (vec![Lanes([f32::NAN; LANES]); 3 * 90], lanes(3 * 21, 1));
        let kept = [Kept::Words(Order::Panels), Kept::Words(Order::Tiles), Kept::Rounded];
        for (format, kept) in [Format::Int8, Format::Int16, Format::Bf16].into_iter().flat_map(|f| kept.map(|k| (f, k)))
        {
            let before = ReducedWeights::kept(kept, format, &values(90 * 5, 2), &[0.0; 5]);
            let weights = ReducedWeights::kept(kept, format, &values(21 * 5, 3), &[0.5; 5]);
            on_every_set(|set| {
                let mut scratch = Scratch::new(3, 90);
                let mut out = vec![Lanes::ZERO; 15];
                multiply_reduced(set, Rows::new(&wide, 3, 90), &before, &mut scratch, &mut out, 5, Then::Store);
                multiply_reduced(set, Rows::new(&narrow, 3, 21), &weights, &mut scratch, &mut out, 5, Then::Store);
                let fresh = run(set, &weights, &narrow, 3, &[Lanes::ZERO; 15], Then::Store);
                assert!(out == fresh, "{format:?} {kept:?} {}", set.name());
            });
        }
    }

    #[test]
    fn zeros_are_exact() {
        on_every_set(|set| {
            for format in [Format::Int8, Format::Int16] {
                let weights = ReducedWeights::new(set, format, &values(40, 2), &[0.25; 4]);
                let out = run(set, &weights, &[Lanes::ZERO; 10], 1, &[Lanes::ZERO; 4], Then::Store);
                assert!(out.iter().all(|out| out.0 == [0.25; LANES]), "{out:?}");
            }
        });
    }
}
