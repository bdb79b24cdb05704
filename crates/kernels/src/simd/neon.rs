//! NEON, which every 64-bit ARM has.

use std::arch::aarch64::*;

use super::{LANES, Lanes, Simd, Table};

/// NEON is part of the architecture.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Neon;

/// Runs intrinsics that need nothing but the instruction set.
macro_rules! has {
    ($call:expr) => {
        // SAFETY: every aarch64 CPU has NEON; the instruction reads and writes registers only.
        #[allow(unused_unsafe, reason = "newer compilers know that NEON is always there")]
        unsafe {
            $call
        }
    };
}

impl Simd for Neon {
    type V = float32x4_t;
    const PARTS: usize = LANES / 4;
    const HAS_32: bool = true;

    #[inline(always)]
    fn splat(self, x: f32) -> float32x4_t {
        has!(vdupq_n_f32(x))
    }

    #[inline(always)]
    fn load(self, from: &Lanes, part: usize) -> float32x4_t {
        let from = from.0.as_ptr().wrapping_add(part % Self::PARTS * 4);
        // SAFETY: `Lanes` are 16 numbers, of which four from a multiple of four below 16 are read.
        unsafe { vld1q_f32(from) }
    }

    #[inline(always)]
    fn store(self, to: &mut Lanes, part: usize, x: float32x4_t) {
        let to = to.0.as_mut_ptr().wrapping_add(part % Self::PARTS * 4);
        // SAFETY: as for `load`, and `to` is borrowed for writing.
        unsafe { vst1q_f32(to, x) }
    }

    #[inline(always)]
    fn add(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        has!(vaddq_f32(a, b))
    }

    #[inline(always)]
    fn sub(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        has!(vsubq_f32(a, b))
    }

    #[inline(always)]
    fn mul(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        has!(vmulq_f32(a, b))
    }

    #[inline(always)]
    fn div(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        has!(vdivq_f32(a, b))
    }

    #[inline(always)]
    fn sqrt(self, a: float32x4_t) -> float32x4_t {
        has!(vsqrtq_f32(a))
    }

    #[inline(always)]
    fn fma(self, a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        has!(vfmaq_f32(c, a, b))
    }

    #[inline(always)]
    fn min(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // Not `vminq`, which keeps NaN.
        has!(vbslq_f32(vcltq_f32(a, b), a, b))
    }

    #[inline(always)]
    fn max(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        has!(vbslq_f32(vcgtq_f32(a, b), a, b))
    }

    #[inline(always)]
    fn and_bits(self, a: float32x4_t, mask: u32) -> float32x4_t {
        has!(vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(a), vdupq_n_u32(mask))))
    }

    #[inline(always)]
    fn add_bits(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        has!(vreinterpretq_f32_u32(vaddq_u32(vreinterpretq_u32_f32(a), vreinterpretq_u32_f32(b))))
    }

    #[inline(always)]
    fn bits_up(self, a: float32x4_t, count: u32) -> float32x4_t {
        has!(vreinterpretq_f32_u32(vshlq_u32(vreinterpretq_u32_f32(a), vdupq_n_s32(count.cast_signed()))))
    }

    #[inline(always)]
    fn bits_down(self, a: float32x4_t, count: u32) -> float32x4_t {
        // A negative count moves down.
        has!(vreinterpretq_f32_u32(vshlq_u32(vreinterpretq_u32_f32(a), vdupq_n_s32(-count.cast_signed()))))
    }

    #[inline(always)]
    fn mix_bits(self, a: float32x4_t, b: float32x4_t, mask: u32) -> float32x4_t {
        has!(vbslq_f32(vdupq_n_u32(mask), a, b))
    }

    #[inline(always)]
    fn to_number(self, bits: float32x4_t) -> float32x4_t {
        has!(vcvtq_f32_s32(vreinterpretq_s32_f32(bits)))
    }

    #[inline(always)]
    fn lookup(self, table: &Table, index: float32x4_t) -> float32x4_t {
        let mut lanes = [0.0; 4];
        // SAFETY: every aarch64 CPU has NEON; `lanes` has room for four numbers.
        unsafe { vst1q_f32(lanes.as_mut_ptr(), index) };
        let found = lanes.map(|index: f32| table[(index.to_bits() % 16) as usize]);
        // SAFETY: as above.
        unsafe { vld1q_f32(found.as_ptr()) }
    }
}
