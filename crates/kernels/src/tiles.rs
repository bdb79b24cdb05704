//! Products by tiles: matrices of sixteen times sixteen words, of which some CPUs hold eight and multiply two by one
//! instruction.
//!
//! A tile of weights is sixteen outputs by sixteen words; of inputs, sixteen words by sixteen galaxies, which is how
//! words of inputs lie anyway; of sums, sixteen outputs by sixteen galaxies, which is how outputs lie. Four tiles of sums
//! are computed at once, of two rows and twice sixteen outputs: each tile that is read is multiplied twice, and reading
//! takes less time than multiplying.

use std::array::from_fn;

use crate::Set;
use crate::activation::{gelu_of, relu_of, silu_of};
use crate::matrix::Then;
use crate::reduced::{Format, ReducedWeights, Scratch};
use crate::simd::{LANES, Lanes, Simd, dispatch};
use crate::words::Words;

/// Rows of a tile, and words of a row.
pub const SIDE: usize = LANES;

/// A tile of weights: sixteen outputs, sixteen words of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Tile(pub [[u32; SIDE]; SIDE]);

impl Tile {
    /// Without a weight.
    pub const ZERO: Self = Self([[0; SIDE]; SIDE]);

    /// The words of tiles, one after the other.
    pub fn words(tiles: &[Self]) -> &[u32] {
        // SAFETY: a tile is 256 words and nothing else: its size, 1024 bytes, is a multiple of its alignment.
        unsafe { std::slice::from_raw_parts(tiles.as_ptr().cast(), tiles.len() * SIDE * SIDE) }
    }

    /// The same, to be filled.
    pub fn words_mut(tiles: &mut [Self]) -> &mut [u32] {
        // SAFETY: as for `words`, and the tiles are borrowed for writing.
        unsafe { std::slice::from_raw_parts_mut(tiles.as_mut_ptr().cast(), tiles.len() * SIDE * SIDE) }
    }
}

/// Sums of two rows by twice sixteen outputs, row by row: numbers, or whole numbers in the bits of numbers.
#[derive(Debug)]
pub(crate) struct Sums(pub [[[Lanes; SIDE]; 2]; 2]);

impl Default for Sums {
    fn default() -> Self {
        Self([[[Lanes::ZERO; SIDE]; 2]; 2])
    }
}

/// How tiles are multiplied.
pub(crate) trait Tiles {
    /// Sums of the products of one or two rows of inputs with pairs of tiles of weights, into as many rows of `sums`.
    ///
    /// Callers: every row has as many times sixteen words as there are pairs.
    fn product(&self, format: Format, weights: &[[Tile; 2]], rows: &[&[[Lanes; SIDE]]], sums: &mut Sums);
}

/// One word after the other, with the bits of the instructions (but for denormal numbers, which they take for zero).
pub(crate) struct Plain;

impl Tiles for Plain {
    fn product(&self, format: Format, weights: &[[Tile; 2]], rows: &[&[[Lanes; SIDE]]], sums: &mut Sums) {
        for (row, sums) in rows.iter().zip(&mut sums.0) {
            for (half, sums) in sums.iter_mut().enumerate() {
                for (output, sums) in sums.iter_mut().enumerate() {
                    let tiles = weights.iter().zip(*row).map(|(pair, x)| (&pair[half].0[output], x));
                    *sums = match format {
                        Format::Int8 => of_bytes(tiles),
                        Format::Bf16 => of_halves(tiles),
                        Format::Int16 => unreachable!("16-bit whole numbers are never in tiles"),
                    };
                }
            }
        }
    }
}

fn of_bytes<'a>(tiles: impl Iterator<Item = (&'a [u32; SIDE], &'a [Lanes; SIDE])>) -> Lanes {
    let mut sums = [0_i32; LANES];
    for (weights, x) in tiles.flat_map(|(weights, x)| weights.iter().zip(x)) {
        let weights = weights.to_le_bytes().map(|weight| i32::from(weight.cast_signed()));
        for (sum, x) in sums.iter_mut().zip(x.0) {
            let x = x.to_bits().to_le_bytes().map(i32::from);
            *sum += x[0] * weights[0] + x[1] * weights[1] + x[2] * weights[2] + x[3] * weights[3];
        }
    }
    Lanes(sums.map(|sum| f32::from_bits(sum.cast_unsigned())))
}

/// Within a tile the lower halves of words are added to one another, and the upper ones; then both together to what there
/// was: Intel's manual, TDPBF16PS. The products are exact.
fn of_halves<'a>(tiles: impl Iterator<Item = (&'a [u32; SIDE], &'a [Lanes; SIDE])>) -> Lanes {
    let low = |word: u32| f32::from_bits(word << 16);
    let high = |word: u32| f32::from_bits(word & 0xffff_0000);
    let mut sums = [0.0; LANES];
    for (weights, x) in tiles {
        let (mut lows, mut highs) = ([0.0; LANES], [0.0; LANES]);
        for (weight, x) in weights.iter().zip(x) {
            for (lane, x) in x.0.iter().enumerate() {
                lows[lane] += low(*weight) * low(x.to_bits());
                highs[lane] += high(*weight) * high(x.to_bits());
            }
        }
        sums = from_fn(|lane| sums[lane] + (lows[lane] + highs[lane]));
    }
    Lanes(sums)
}

/// The product of words that lie in tiles: `x` has `count` rows of words, each filled up to whole tiles.
pub(crate) fn multiply_tiles(
    set: Set,
    count: usize,
    weights: &ReducedWeights,
    x: &mut Scratch,
    out: &mut [Lanes],
    stride: usize,
    then: Then,
) {
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    if let Some(amx) = set.amx() {
        return multiply_by(&amx.configured(), set, count, weights, x, out, stride, then);
    }
    multiply_by(&Plain, set, count, weights, x, out, stride, then);
}

#[expect(clippy::too_many_arguments, reason = "everything that one product is made of")]
fn multiply_by(
    by: &impl Tiles,
    set: Set,
    count: usize,
    weights: &ReducedWeights,
    x: &mut Scratch,
    out: &mut [Lanes],
    stride: usize,
    then: Then,
) {
    assert!(stride >= weights.outputs(), "rows of {} outputs overlap", weights.outputs());
    let Some(Words::Tiles(tiles)) = weights.words() else { return };
    let steps = weights.format().words(weights.inputs()).div_ceil(SIDE);
    let Scratch { words, scales, lows, sums, .. } = x;
    let (words, _) = words.as_chunks::<SIDE>();
    let row = |row: usize| &words[row * steps..][..steps];
    // The weights of twice sixteen outputs stay in the first level of cache for all rows.
    for output in (0..weights.outputs()).step_by(2 * SIDE) {
        let weights_of = &tiles[output / (2 * SIDE) * steps..][..steps];
        for first in (0..count).step_by(2) {
            let pair = [row(first), row((first + 1).min(count - 1))];
            let rows = &pair[..(count - first).min(2)];
            by.product(weights.format(), weights_of, rows, sums);
            for (row, sums) in (first..count).zip(&sums.0) {
                let valid = (weights.outputs() - output).min(2 * SIDE);
                let out = &mut out[row * stride + output..][..valid];
                finish(set, sums.as_flattened(), weights, output, [scales[row], lows[row]], out, then);
            }
        }
    }
}

dispatch! {
    /// What becomes of the sums of a row's outputs from `output` on; of bytes, with the row's scale and what its zeros
    /// stand for.
    fn finish(
        sums: &[Lanes],
        weights: &ReducedWeights,
        output: usize,
        scale_and_low: [Lanes; 2],
        out: &mut [Lanes],
        then: Then,
    ) = finish_with;
}

#[inline(always)]
fn finish_with<S: Simd>(
    s: S,
    sums: &[Lanes],
    weights: &ReducedWeights,
    output: usize,
    [scale, low]: [Lanes; 2],
    out: &mut [Lanes],
    then: Then,
) {
    let adds = matches!(then, Then::Add | Then::AddRelu);
    let biases = &weights.bias()[output..];
    let [scales, weight_sums] = weights.scales_and_sums().map(|each| each.get(output..).unwrap_or_default());
    for (at, ((out, sum), bias)) in out.iter_mut().zip(sums).zip(biases).enumerate() {
        for part in 0..S::PARTS {
            let bias = s.splat(*bias);
            let mut result = match weights.format() {
                Format::Bf16 => s.add(bias, s.load(sum, part)),
                Format::Int8 | Format::Int16 => {
                    let base = s.fma(s.load(&low, part), s.splat(weight_sums[at]), bias);
                    let sum = s.mul(s.to_number(s.load(sum, part)), s.load(&scale, part));
                    s.fma(sum, s.splat(scales[at]), base)
                }
            };
            if adds {
                result = s.add(result, s.load(out, part));
            }
            result = match then {
                Then::Store | Then::Add => result,
                Then::StoreGelu => gelu_of(s, result),
                Then::StoreSilu => silu_of(s, result),
                Then::StoreRelu | Then::AddRelu => relu_of(s, result),
            };
            s.store(out, part, result);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::values;

    fn words(count: usize, seed: u64) -> Vec<u32> {
        // Pairs of bf16 with magnitudes that are not too far from each other; as bytes, any.
        let halves = values(2 * count, seed).into_iter().map(|x| x.to_bits() >> 16).collect::<Vec<_>>();
        halves.as_chunks::<2>().0.iter().map(|[low, high]| low | high << 16).collect()
    }

    /// The instructions, where this machine has them, against what their manual says that they do.
    #[test]
    fn the_tiles_of_this_machine_multiply_as_their_manual_says() {
        for steps in [0, 1, 2, 7] {
            let mut weights = vec![[Tile::ZERO; 2]; steps];
            Tile::words_mut(weights.as_flattened_mut()).copy_from_slice(&words(steps * 512, 1));
            let rows = [2, 3].map(|seed| {
                let lanes = words(steps * 256, seed).into_iter().map(f32::from_bits).collect::<Vec<_>>();
                lanes.as_chunks().0.iter().copied().map(Lanes).collect::<Vec<_>>()
            });
            let rows = rows.each_ref().map(|row| row.as_chunks().0);
            for format in [Format::Int8, Format::Bf16] {
                for count in [1, 2] {
                    let bits = |by: &dyn Fn(&mut Sums)| {
                        let mut sums = Sums([[[Lanes([7.0; LANES]); SIDE]; 2]; 2]);
                        by(&mut sums);
                        sums.0.as_flattened().as_flattened().iter().map(|x| x.0.map(f32::to_bits)).collect::<Vec<_>>()
                    };
                    let plain = bits(&|sums| Plain.product(format, &weights, &rows[..count], sums));
                    assert!(count == 2 || plain[2 * SIDE..].iter().all(|x| *x == [7.0_f32.to_bits(); LANES]));
                    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
                    if let Some(amx) = crate::simd::amx::Amx::detect() {
                        let configured = amx.configured();
                        let found = bits(&|sums| configured.product(format, &weights, &rows[..count], sums));
                        assert!(found == plain, "{format:?}, {count} rows, {steps} steps");
                        println!("tiles amx: run, {format:?}, {count} rows, {steps} steps");
                        continue;
                    }
                    println!("tiles amx: not run, this machine has no AMX");
                }
            }
        }
    }
}
