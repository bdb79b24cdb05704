//! AVX2 with FMA, and AVX-512.
//!
//! The intrinsics are called from functions that are not compiled for the set themselves: they are `inline(always)`,
//! and what they are inlined into is (see [`dispatch`](super::dispatch)). The receiver is the proof that the CPU has
//! the instructions; a call that was not inlined would be slow, not wrong.

use std::arch::is_x86_feature_detected;
use std::arch::x86_64::*;

use super::{Dot, LANES, Lanes, Simd, Table};

/// Proof that this CPU has AVX2 and FMA. Only [`Avx2::detect`] makes one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Avx2(());

impl Avx2 {
    pub fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Self(()))
    }
}

/// Proof that this CPU has AVX2, FMA and the F, VL, BW and DQ parts of AVX-512. Only [`Avx512::detect`] makes one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Avx512(());

impl Avx512 {
    pub fn detect() -> Option<Self> {
        Avx2::detect()?;
        let has_parts = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq");
        has_parts.then_some(Self(()))
    }

    /// What has AVX-512 here has AVX2 and FMA: `detect` asked for them.
    pub fn avx2(self) -> Avx2 {
        Avx2(())
    }
}

/// Proof that this CPU has AVX-512 with VNNI. Only [`Vnni512::detect`] makes one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Vnni512(Avx512);

impl Vnni512 {
    pub fn detect() -> Option<Self> {
        Avx512::detect().filter(|_| is_x86_feature_detected!("avx512vnni")).map(Self)
    }
}

/// Proof that this CPU has AVX2 and AVX-VNNI. Only [`Vnni256::detect`] makes one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Vnni256(Avx2);

impl Vnni256 {
    pub fn detect() -> Option<Self> {
        Avx2::detect().filter(|_| is_x86_feature_detected!("avxvnni")).map(Self)
    }
}

/// Proof that this CPU has AVX-512 with BF16. Only [`Bf16::detect`] makes one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bf16(Avx512);

impl Bf16 {
    pub fn detect() -> Option<Self> {
        Avx512::detect().filter(|_| is_x86_feature_detected!("avx512bf16")).map(Self)
    }
}

/// Whether the CPU is one of AMD's.
pub(crate) fn is_amd() -> bool {
    let id = __cpuid(0);
    [id.ebx, id.edx, id.ecx].map(u32::to_le_bytes).as_flattened() == b"AuthenticAMD"
}

/// Runs intrinsics that need nothing but the instruction set.
macro_rules! has {
    ($call:expr) => {
        // SAFETY: `self` is the proof that this CPU has the instruction; it reads and writes registers only.
        unsafe { $call }
    };
}

impl Simd for Avx2 {
    type V = __m256;
    const PARTS: usize = LANES / 8;
    const HAS_32: bool = false;

    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        has!(_mm256_set1_ps(x))
    }

    #[inline(always)]
    fn load(self, from: &Lanes, part: usize) -> __m256 {
        let from = from.0.as_ptr().wrapping_add(part % Self::PARTS * 8);
        // SAFETY: `self` exists, so this CPU has AVX. `Lanes` are 16 numbers, of which the 8 from 0 or from 8 are read;
        // they begin at a multiple of 32 bytes because `Lanes` do at one of 64.
        unsafe { _mm256_load_ps(from) }
    }

    #[inline(always)]
    fn store(self, to: &mut Lanes, part: usize, x: __m256) {
        let to = to.0.as_mut_ptr().wrapping_add(part % Self::PARTS * 8);
        // SAFETY: as for `load`, and `to` is borrowed for writing.
        unsafe { _mm256_store_ps(to, x) }
    }

    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        has!(_mm256_add_ps(a, b))
    }

    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        has!(_mm256_sub_ps(a, b))
    }

    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        has!(_mm256_mul_ps(a, b))
    }

    #[inline(always)]
    fn div(self, a: __m256, b: __m256) -> __m256 {
        has!(_mm256_div_ps(a, b))
    }

    #[inline(always)]
    fn sqrt(self, a: __m256) -> __m256 {
        has!(_mm256_sqrt_ps(a))
    }

    #[inline(always)]
    fn fma(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        has!(_mm256_fmadd_ps(a, b, c))
    }

    #[inline(always)]
    fn min(self, a: __m256, b: __m256) -> __m256 {
        has!(_mm256_min_ps(a, b))
    }

    #[inline(always)]
    fn max(self, a: __m256, b: __m256) -> __m256 {
        has!(_mm256_max_ps(a, b))
    }

    #[inline(always)]
    fn and_bits(self, a: __m256, mask: u32) -> __m256 {
        has!(_mm256_and_ps(a, _mm256_castsi256_ps(_mm256_set1_epi32(mask.cast_signed()))))
    }

    #[inline(always)]
    fn add_bits(self, a: __m256, b: __m256) -> __m256 {
        has!(_mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a), _mm256_castps_si256(b))))
    }

    #[inline(always)]
    fn bits_up(self, a: __m256, count: u32) -> __m256 {
        has!({
            let count = _mm256_set1_epi32(count.cast_signed());
            _mm256_castsi256_ps(_mm256_sllv_epi32(_mm256_castps_si256(a), count))
        })
    }

    #[inline(always)]
    fn bits_down(self, a: __m256, count: u32) -> __m256 {
        has!({
            let count = _mm256_set1_epi32(count.cast_signed());
            _mm256_castsi256_ps(_mm256_srlv_epi32(_mm256_castps_si256(a), count))
        })
    }

    #[inline(always)]
    fn mix_bits(self, a: __m256, b: __m256, mask: u32) -> __m256 {
        has!({
            let mask = _mm256_castsi256_ps(_mm256_set1_epi32(mask.cast_signed()));
            _mm256_or_ps(_mm256_and_ps(a, mask), _mm256_andnot_ps(mask, b))
        })
    }

    #[inline(always)]
    fn to_number(self, bits: __m256) -> __m256 {
        has!(_mm256_cvtepi32_ps(_mm256_castps_si256(bits)))
    }

    #[inline(always)]
    fn prefetch<T>(self, at: *const T) {
        // SAFETY: every x86-64 CPU has the instruction, which never faults and changes nothing that a program can see.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
    }

    #[inline(always)]
    fn lookup(self, table: &Table, index: __m256) -> __m256 {
        // SAFETY: `self` exists, so this CPU has AVX2; the table has 16 numbers, and `loadu` needs no alignment.
        unsafe {
            let index = _mm256_castps_si256(index);
            let low = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table.as_ptr()), index);
            let high = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table.as_ptr().add(8)), index);
            // The permutation looks at three bits; the fourth becomes the sign, which is what the choice looks at.
            _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32::<28>(index)))
        }
    }
}

impl Simd for Avx512 {
    type V = __m512;
    const PARTS: usize = 1;
    const HAS_32: bool = true;

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        has!(_mm512_set1_ps(x))
    }

    #[inline(always)]
    fn load(self, from: &Lanes, _part: usize) -> __m512 {
        // SAFETY: `self` exists, so this CPU has AVX-512; `Lanes` are 16 numbers at a multiple of 64 bytes.
        unsafe { _mm512_load_ps(from.0.as_ptr()) }
    }

    #[inline(always)]
    fn store(self, to: &mut Lanes, _part: usize, x: __m512) {
        // SAFETY: as for `load`, and `to` is borrowed for writing.
        unsafe { _mm512_store_ps(to.0.as_mut_ptr(), x) }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        has!(_mm512_add_ps(a, b))
    }

    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        has!(_mm512_sub_ps(a, b))
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        has!(_mm512_mul_ps(a, b))
    }

    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        has!(_mm512_div_ps(a, b))
    }

    #[inline(always)]
    fn sqrt(self, a: __m512) -> __m512 {
        has!(_mm512_sqrt_ps(a))
    }

    #[inline(always)]
    fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        has!(_mm512_fmadd_ps(a, b, c))
    }

    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        has!(_mm512_min_ps(a, b))
    }

    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        has!(_mm512_max_ps(a, b))
    }

    #[inline(always)]
    fn and_bits(self, a: __m512, mask: u32) -> __m512 {
        has!(_mm512_and_ps(a, _mm512_castsi512_ps(_mm512_set1_epi32(mask.cast_signed()))))
    }

    #[inline(always)]
    fn add_bits(self, a: __m512, b: __m512) -> __m512 {
        has!(_mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(a), _mm512_castps_si512(b))))
    }

    #[inline(always)]
    fn bits_up(self, a: __m512, count: u32) -> __m512 {
        has!({
            let count = _mm512_set1_epi32(count.cast_signed());
            _mm512_castsi512_ps(_mm512_sllv_epi32(_mm512_castps_si512(a), count))
        })
    }

    #[inline(always)]
    fn bits_down(self, a: __m512, count: u32) -> __m512 {
        has!({
            let count = _mm512_set1_epi32(count.cast_signed());
            _mm512_castsi512_ps(_mm512_srlv_epi32(_mm512_castps_si512(a), count))
        })
    }

    #[inline(always)]
    fn mix_bits(self, a: __m512, b: __m512, mask: u32) -> __m512 {
        has!({
            let mask = _mm512_castsi512_ps(_mm512_set1_epi32(mask.cast_signed()));
            _mm512_or_ps(_mm512_and_ps(a, mask), _mm512_andnot_ps(mask, b))
        })
    }

    #[inline(always)]
    fn to_number(self, bits: __m512) -> __m512 {
        has!(_mm512_cvtepi32_ps(_mm512_castps_si512(bits)))
    }

    #[inline(always)]
    fn prefetch<T>(self, at: *const T) {
        // SAFETY: every x86-64 CPU has the instruction, which never faults and changes nothing that a program can see.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
    }

    #[inline(always)]
    fn lookup(self, table: &Table, index: __m512) -> __m512 {
        // SAFETY: `self` exists, so this CPU has AVX-512; the table has 16 numbers, and `loadu` needs no alignment.
        unsafe { _mm512_permutexvar_ps(_mm512_castps_si512(index), _mm512_loadu_ps(table.as_ptr())) }
    }
}

impl Dot for Vnni512 {
    type S = Avx512;
    type X = __m512i;
    type Sum = __m512i;
    const INTEGER: bool = true;

    #[inline(always)]
    fn simd(self) -> Avx512 {
        self.0
    }

    #[inline(always)]
    fn begin(self, _float: __m512) -> __m512i {
        has!(_mm512_setzero_si512())
    }

    #[inline(always)]
    fn load(self, from: &Lanes, _part: usize) -> __m512i {
        // SAFETY: `self` exists, so this CPU has AVX-512; `Lanes` are 64 bytes at a multiple of 64.
        unsafe { _mm512_load_si512(from.0.as_ptr().cast()) }
    }

    #[inline(always)]
    fn dot(self, x: __m512i, weights: u32, sum: __m512i) -> __m512i {
        has!(_mm512_dpbusd_epi32(sum, x, _mm512_set1_epi32(weights.cast_signed())))
    }

    #[inline(always)]
    fn end(self, sum: __m512i) -> __m512 {
        has!(_mm512_cvtepi32_ps(sum))
    }
}

/// Eight of the sixteen words.
#[inline(always)]
fn half(from: &Lanes, part: usize) -> *const __m256i {
    from.0.as_ptr().wrapping_add(part % 2 * 8).cast()
}

impl Dot for Vnni256 {
    type S = Avx2;
    type X = __m256i;
    type Sum = __m256i;
    const INTEGER: bool = true;

    #[inline(always)]
    fn simd(self) -> Avx2 {
        self.0
    }

    #[inline(always)]
    fn begin(self, _float: __m256) -> __m256i {
        has!(_mm256_setzero_si256())
    }

    #[inline(always)]
    fn load(self, from: &Lanes, part: usize) -> __m256i {
        // SAFETY: `self` exists, so this CPU has AVX; 32 of the 64 bytes of `Lanes` are read, from a multiple of 32 on.
        unsafe { _mm256_load_si256(half(from, part)) }
    }

    #[inline(always)]
    fn dot(self, x: __m256i, weights: u32, sum: __m256i) -> __m256i {
        has!(_mm256_dpbusd_avx_epi32(sum, x, _mm256_set1_epi32(weights.cast_signed())))
    }

    #[inline(always)]
    fn end(self, sum: __m256i) -> __m256 {
        has!(_mm256_cvtepi32_ps(sum))
    }
}

/// Bytes where there is no instruction for four products: in 16 bits, even and odd ones apart, without loss.
impl Dot for Avx2 {
    type S = Self;
    type X = [__m256i; 2];
    type Sum = __m256i;
    const INTEGER: bool = true;

    #[inline(always)]
    fn simd(self) -> Self {
        self
    }

    #[inline(always)]
    fn begin(self, _float: __m256) -> __m256i {
        has!(_mm256_setzero_si256())
    }

    #[inline(always)]
    fn load(self, from: &Lanes, part: usize) -> [__m256i; 2] {
        // SAFETY: `self` exists, so this CPU has AVX2; 32 of the 64 bytes of `Lanes` are read, from a multiple of 32 on.
        unsafe {
            let x = _mm256_load_si256(half(from, part));
            [_mm256_and_si256(x, _mm256_set1_epi16(0xff)), _mm256_srli_epi16::<8>(x)]
        }
    }

    #[inline(always)]
    fn dot(self, [even, odd]: [__m256i; 2], weights: u32, sum: __m256i) -> __m256i {
        has!({
            let weights = _mm256_set1_epi32(weights.cast_signed());
            let even = _mm256_madd_epi16(even, _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(weights)));
            let odd = _mm256_madd_epi16(odd, _mm256_srai_epi16::<8>(weights));
            _mm256_add_epi32(sum, _mm256_add_epi32(even, odd))
        })
    }

    #[inline(always)]
    fn end(self, sum: __m256i) -> __m256 {
        has!(_mm256_cvtepi32_ps(sum))
    }
}

/// Words of two whole numbers of 16 bits, beside what multiplies words of bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shorts<D>(pub D);

macro_rules! shorts {
    ($bytes:ty, $words:ty: |$lanes:ident, $part:ident| $load:expr, |$x:ident, $weights:ident, $sum:ident| $dot:expr) => {
        impl Dot for Shorts<$bytes> {
            type S = <$bytes as Dot>::S;
            type X = $words;
            type Sum = $words;
            const INTEGER: bool = true;

            #[inline(always)]
            fn simd(self) -> Self::S {
                self.0.simd()
            }

            #[inline(always)]
            fn begin(self, float: <Self::S as Simd>::V) -> $words {
                self.0.begin(float)
            }

            #[inline(always)]
            fn load(self, $lanes: &Lanes, $part: usize) -> $words {
                // SAFETY: `self` exists, so this CPU has the registers; what is read are bytes of `Lanes`, from a multiple of
                // the register's size on.
                unsafe { $load }
            }

            #[inline(always)]
            fn dot(self, $x: $words, weights: u32, $sum: $words) -> $words {
                let $weights = weights.cast_signed();
                has!($dot)
            }

            #[inline(always)]
            fn end(self, sum: $words) -> <Self::S as Simd>::V {
                self.0.end(sum)
            }
        }
    };
}

shorts!(Vnni512, __m512i:
    |from, _part| _mm512_load_si512(from.0.as_ptr().cast()),
    |x, weights, sum| _mm512_dpwssd_epi32(sum, x, _mm512_set1_epi32(weights)));
shorts!(Vnni256, __m256i:
    |from, part| _mm256_load_si256(half(from, part)),
    |x, weights, sum| _mm256_dpwssd_avx_epi32(sum, x, _mm256_set1_epi32(weights)));
shorts!(Avx2, __m256i:
    |from, part| _mm256_load_si256(half(from, part)),
    |x, weights, sum| _mm256_add_epi32(sum, _mm256_madd_epi16(x, _mm256_set1_epi32(weights))));

impl Dot for Bf16 {
    type S = Avx512;
    type X = __m512bh;
    type Sum = __m512;
    const INTEGER: bool = false;

    #[inline(always)]
    fn simd(self) -> Avx512 {
        self.0
    }

    #[inline(always)]
    fn begin(self, float: __m512) -> __m512 {
        float
    }

    #[inline(always)]
    fn load(self, from: &Lanes, _part: usize) -> __m512bh {
        // SAFETY: `self` exists, so this CPU has AVX-512; `Lanes` are 64 bytes at a multiple of 64, and any 64 bytes are 32
        // numbers of 16 bits.
        unsafe { std::mem::transmute(_mm512_load_si512(from.0.as_ptr().cast())) }
    }

    #[inline(always)]
    fn dot(self, x: __m512bh, weights: u32, sum: __m512) -> __m512 {
        // SAFETY: `self` exists, so this CPU has AVX-512 BF16; any 64 bytes are 32 numbers of 16 bits.
        unsafe {
            let weights: __m512bh = std::mem::transmute(_mm512_set1_epi32(weights.cast_signed()));
            _mm512_dpbf16_ps(sum, x, weights)
        }
    }

    #[inline(always)]
    fn end(self, sum: __m512) -> __m512 {
        sum
    }
}
