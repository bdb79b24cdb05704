//! Plain Rust: always there, and what the others are compared with.

use std::array::from_fn;

use super::{Dot, LANES, Lanes, Simd, Table};

/// Works everywhere.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Portable;

/// Lanes of what stands for a register.
const WIDTH: usize = 4;

impl Simd for Portable {
    type V = [f32; WIDTH];
    const PARTS: usize = LANES / WIDTH;
    const HAS_32: bool = false;

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        [x; WIDTH]
    }

    #[inline(always)]
    fn load(self, from: &Lanes, part: usize) -> Self::V {
        from.0.as_chunks().0[part % Self::PARTS]
    }

    #[inline(always)]
    fn store(self, to: &mut Lanes, part: usize, x: Self::V) {
        to.0.as_chunks_mut().0[part % Self::PARTS] = x;
    }

    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| a[i] + b[i])
    }

    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| a[i] - b[i])
    }

    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| a[i] * b[i])
    }

    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| a[i] / b[i])
    }

    #[inline(always)]
    fn sqrt(self, a: Self::V) -> Self::V {
        a.map(f32::sqrt)
    }

    #[inline(always)]
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        from_fn(|i| a[i] * b[i] + c[i])
    }

    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| if a[i] < b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    fn and_bits(self, a: Self::V, mask: u32) -> Self::V {
        a.map(|a| f32::from_bits(a.to_bits() & mask))
    }

    #[inline(always)]
    fn add_bits(self, a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| f32::from_bits(a[i].to_bits().wrapping_add(b[i].to_bits())))
    }

    #[inline(always)]
    fn bits_up(self, a: Self::V, count: u32) -> Self::V {
        a.map(|a| f32::from_bits(a.to_bits() << (count % 32)))
    }

    #[inline(always)]
    fn bits_down(self, a: Self::V, count: u32) -> Self::V {
        a.map(|a| f32::from_bits(a.to_bits() >> (count % 32)))
    }

    #[inline(always)]
    fn mix_bits(self, a: Self::V, b: Self::V, mask: u32) -> Self::V {
        from_fn(|i| f32::from_bits((a[i].to_bits() & mask) | (b[i].to_bits() & !mask)))
    }

    #[inline(always)]
    fn to_number(self, bits: Self::V) -> Self::V {
        bits.map(|bits| bits.to_bits().cast_signed() as f32)
    }

    #[inline(always)]
    fn lookup(self, table: &Table, index: Self::V) -> Self::V {
        index.map(|index| table[(index.to_bits() % 16) as usize])
    }
}

/// Products of bytes, one by one, beside anything that has four lanes in a register.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bytes<S>(pub S);

impl<S: Simd> Dot for Bytes<S> {
    type S = S;
    type X = [u32; WIDTH];
    type Sum = [i32; WIDTH];
    const INTEGER: bool = true;

    #[inline(always)]
    fn simd(self) -> S {
        const { assert!(S::PARTS * WIDTH == LANES, "registers have four lanes") };
        self.0
    }

    #[inline(always)]
    fn begin(self, _float: S::V) -> Self::Sum {
        [0; WIDTH]
    }

    #[inline(always)]
    fn load(self, from: &Lanes, part: usize) -> Self::X {
        from.0.as_chunks().0[part % S::PARTS].map(f32::to_bits)
    }

    #[inline(always)]
    fn dot(self, x: Self::X, weights: u32, sum: Self::Sum) -> Self::Sum {
        let weights = weights.to_le_bytes().map(|weight| i32::from(weight.cast_signed()));
        from_fn(|i| {
            let x = x[i].to_le_bytes().map(i32::from);
            sum[i] + x[0] * weights[0] + x[1] * weights[1] + x[2] * weights[2] + x[3] * weights[3]
        })
    }

    #[inline(always)]
    fn end(self, sum: Self::Sum) -> S::V {
        let mut lanes = Lanes::ZERO;
        lanes.0[..WIDTH].copy_from_slice(&sum.map(|sum| sum as f32));
        self.0.load(&lanes, 0)
    }
}

/// Products of whole numbers of 16 bits, as [`Bytes`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pairs<S>(pub S);

impl<S: Simd> Dot for Pairs<S> {
    type S = S;
    type X = [u32; WIDTH];
    type Sum = [i32; WIDTH];
    const INTEGER: bool = true;

    #[inline(always)]
    fn simd(self) -> S {
        self.0
    }

    #[inline(always)]
    fn begin(self, float: S::V) -> Self::Sum {
        Bytes(self.0).begin(float)
    }

    #[inline(always)]
    fn load(self, from: &Lanes, part: usize) -> Self::X {
        Bytes(self.0).load(from, part)
    }

    #[inline(always)]
    fn dot(self, x: Self::X, weights: u32, sum: Self::Sum) -> Self::Sum {
        let both = |word: u32| [word as i16, (word >> 16) as i16].map(i32::from);
        let weights = both(weights);
        from_fn(|i| {
            let x = both(x[i]);
            // Only the whole sum is known to fit.
            sum[i].wrapping_add(x[0] * weights[0]).wrapping_add(x[1] * weights[1])
        })
    }

    #[inline(always)]
    fn end(self, sum: Self::Sum) -> S::V {
        Bytes(self.0).end(sum)
    }
}

/// Products of bf16 in `f32`, where they are exact: so the bits are those of the instruction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Halves<S>(pub S);

impl<S: Simd> Dot for Halves<S> {
    type S = S;
    type X = [S::V; 2];
    type Sum = S::V;
    const INTEGER: bool = false;

    #[inline(always)]
    fn simd(self) -> S {
        self.0
    }

    #[inline(always)]
    fn begin(self, float: S::V) -> S::V {
        float
    }

    #[inline(always)]
    fn load(self, from: &Lanes, part: usize) -> [S::V; 2] {
        let word = self.0.load(from, part);
        [self.0.bits_up(word, 16), self.0.and_bits(word, 0xffff_0000)]
    }

    #[inline(always)]
    fn dot(self, [low, high]: [S::V; 2], weights: u32, sum: S::V) -> S::V {
        let weight = |bits: u32| self.0.splat(f32::from_bits(bits));
        let sum = self.0.fma(high, weight(weights & 0xffff_0000), sum);
        self.0.fma(low, weight(weights << 16), sum)
    }

    #[inline(always)]
    fn end(self, sum: S::V) -> S::V {
        sum
    }
}
