//! Sixteen numbers side by side, and what an instruction set can do with them.
//!
//! [`Simd`] is the little that the kernels need of a CPU. A kernel is written once, generic over it, and compiled for
//! every set that the architecture has; [`dispatch`] makes the copies and calls the one that the caller's
//! [`Set`](crate::Set) names. Operations are the same everywhere, in the same order: two sets that fuse a
//! multiplication with an addition give the same bits, however wide their registers are and whatever the architecture
//! (NaN apart, which each makes in its own way).

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(crate) mod amx;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
pub(crate) mod portable;
#[cfg(target_arch = "x86_64")]
pub(crate) mod x86;

/// Galaxies that are computed side by side.
pub const LANES: usize = 16;

/// One number of each of sixteen galaxies.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C, align(64))]
pub struct Lanes(pub [f32; LANES]);

impl Lanes {
    /// Zero for every galaxy.
    pub const ZERO: Self = Self([0.0; LANES]);
}

/// Sixteen values that belong to sixteen intervals of a function.
pub(crate) type Table = [f32; 16];

/// What the kernels need of an instruction set.
///
/// Implementors hold the proof that the CPU has it; making one is what asks the CPU. Every method is one or two
/// instructions and `inline(always)`: it becomes part of a function that is compiled for the set.
///
/// Callers: `part` counts the registers that one [`Lanes`] fills, and is taken modulo [`PARTS`](Self::PARTS).
pub(crate) trait Simd: Copy {
    /// A register.
    type V: Copy;
    /// Registers that one [`Lanes`] fills.
    const PARTS: usize;
    /// Whether there are 32 registers, and not 16.
    const HAS_32: bool;

    fn splat(self, x: f32) -> Self::V;
    fn load(self, from: &Lanes, part: usize) -> Self::V;
    fn store(self, to: &mut Lanes, part: usize, x: Self::V);
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    fn sqrt(self, a: Self::V) -> Self::V;
    /// `a·b + c`, rounded once where the CPU can, twice where it would need a library call for it.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `if a < b {a} else {b}`: b where one is NaN.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// `if a > b {a} else {b}`: b where one is NaN.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// The bits of `a` that are in `mask`.
    fn and_bits(self, a: Self::V, mask: u32) -> Self::V;
    /// The sum of both as 32-bit integers.
    fn add_bits(self, a: Self::V, b: Self::V) -> Self::V;
    /// Bits moved up, towards the sign. `count` is below 32 and the same in every call of a function.
    fn bits_up(self, a: Self::V, count: u32) -> Self::V;
    /// Bits moved down. `count` is below 32 and the same in every call of a function.
    fn bits_down(self, a: Self::V, count: u32) -> Self::V;
    /// The bits of `a` that are in `mask`, and those of `b` that are not.
    fn mix_bits(self, a: Self::V, b: Self::V, mask: u32) -> Self::V;
    /// The number that the bits are as a whole number with a sign, rounded to nearest.
    fn to_number(self, bits: Self::V) -> Self::V;
    /// Asks for what is at an address to be brought to the second level of cache. Any address will do.
    fn prefetch<T>(self, _at: *const T) {}
    /// The entries that the lowest four bits of `index` name.
    fn lookup(self, table: &Table, index: Self::V) -> Self::V;
}

/// Products of words, whose bits [`Lanes`] hold: four of bytes (without sign, by those with sign), two of 16 bits with
/// sign, or two of bf16, added to a sum.
///
/// Implementors as for [`Simd`]; sums of whole numbers are exact, sums of bf16 are rounded after every product, that of the upper
/// half first: that is what the AVX-512 instruction does.
pub(crate) trait Dot: Copy {
    /// What computes everything else.
    type S: Simd;
    /// A register of words, as the products want it.
    type X: Copy;
    /// A register of sums.
    type Sum: Copy;
    /// Whether words are whole numbers, and so are sums.
    const INTEGER: bool;

    fn simd(self) -> Self::S;
    /// A sum that begins with a number; a whole one begins with zero.
    fn begin(self, float: <Self::S as Simd>::V) -> Self::Sum;
    fn load(self, from: &Lanes, part: usize) -> Self::X;
    /// `sum` and the products of a word of every lane with the same weights.
    fn dot(self, x: Self::X, weights: u32, sum: Self::Sum) -> Self::Sum;
    fn end(self, sum: Self::Sum) -> <Self::S as Simd>::V;
}

/// Copies of a generic function for every instruction set, and the public function that calls the right one.
macro_rules! dispatch {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $out:ty)? = $body:path;) => {
        $(#[$doc])*
        $vis fn $name(set: $crate::Set, $($arg: $ty),*) $(-> $out)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
            fn avx512(set: $crate::simd::x86::Avx512, $($arg: $ty),*) $(-> $out)? {
                $body(set, $($arg),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2(set: $crate::simd::x86::Avx2, $($arg: $ty),*) $(-> $out)? {
                $body(set, $($arg),*)
            }

            match set.kind {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: the value is the proof that this CPU has every feature that `avx512` is compiled for.
                $crate::set::Kind::Avx512(set) => unsafe { avx512(set, $($arg),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: the value is the proof that this CPU has AVX2 and FMA.
                $crate::set::Kind::Avx2(set) => unsafe { avx2(set, $($arg),*) },
                #[cfg(target_arch = "aarch64")]
                $crate::set::Kind::Neon(set) => $body(set, $($arg),*),
                $crate::set::Kind::Portable(set) => $body(set, $($arg),*),
            }
        }
    };
}

pub(crate) use dispatch;
