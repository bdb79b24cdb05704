//! One source, compiled for the baseline and for wider vectors.
//!
//! The copies differ in how many lanes an instruction has and whether it fuses a multiplication with an addition,
//! never in the order of operations: two CPUs that both fuse give the same bits.

/// What the CPU can run. The variants of [`proof`] can only be made by asking it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Level {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2(proof::Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(proof::Avx512),
}

#[cfg(target_arch = "x86_64")]
pub(crate) mod proof {
    use std::arch::is_x86_feature_detected;

    /// Proof that this CPU has AVX2 and FMA. Only [`Avx2::detect`] makes one.
    #[derive(Debug, Clone, Copy)]
    pub(crate) struct Avx2(());

    impl Avx2 {
        pub(crate) fn detect() -> Option<Self> {
            (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Self(()))
        }
    }

    /// Proof that this CPU has AVX2, FMA and the F, VL, BW and DQ parts of AVX-512. Only [`Avx512::detect`] makes one.
    #[derive(Debug, Clone, Copy)]
    pub(crate) struct Avx512(());

    impl Avx512 {
        pub(crate) fn detect() -> Option<Self> {
            Avx2::detect()?;
            let has_parts = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq");
            has_parts.then_some(Self(()))
        }
    }
}

impl Level {
    /// Every level of this CPU, the best first. (The answers of the CPU are cached by the standard library.)
    fn all() -> impl Iterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        let wide = [proof::Avx512::detect().map(Self::Avx512), proof::Avx2::detect().map(Self::Avx2)];
        #[cfg(not(target_arch = "x86_64"))]
        let wide: [Option<Self>; 0] = [];
        wide.into_iter().flatten().chain([Self::Portable])
    }

    #[cfg(not(test))]
    pub(crate) fn chosen() -> Self {
        Self::all().next().unwrap_or(Self::Portable)
    }

    #[cfg(test)]
    pub(crate) fn chosen() -> Self {
        testing::FORCED.get().or_else(|| Self::all().next()).unwrap_or(Self::Portable)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => "avx512",
        }
    }
}

/// Which copy of the functions in this crate the CPU gets: `avx512`, `avx2` or `portable`.
pub fn level() -> &'static str {
    Level::chosen().name()
}

/// `a·b + c`, rounded once where the CPU can and twice where it would need a library call for it.
#[inline(always)]
pub(crate) fn fma<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED || cfg!(target_arch = "aarch64") { a.mul_add(b, c) } else { a * b + c }
}

/// Defines a function whose body is compiled again with AVX-512 and with AVX2 and FMA, and runs the best copy that
/// the CPU has. The body may ask `FUSED` (it has FMA) and `WIDE` (it has 32 registers of 16 lanes).
macro_rules! vectorised {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $body:block) => {
        $(#[$doc])*
        $vis fn $name($($arg: $ty),*) {
            #[inline(always)]
            fn body<const FUSED: bool, const WIDE: bool>($($arg: $ty),*) $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
            fn avx512($($arg: $ty),*) {
                body::<true, true>($($arg),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($arg: $ty),*) {
                body::<true, false>($($arg),*)
            }

            match $crate::dispatch::Level::chosen() {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: the level holds the proof that this CPU has every feature that `avx512` is compiled for.
                $crate::dispatch::Level::Avx512(_) => unsafe { avx512($($arg),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: the level holds the proof that this CPU has AVX2 and FMA.
                $crate::dispatch::Level::Avx2(_) => unsafe { avx2($($arg),*) },
                $crate::dispatch::Level::Portable => body::<false, false>($($arg),*),
            }
        }
    };
}

pub(crate) use vectorised;

#[cfg(test)]
pub(crate) mod testing {
    use std::cell::Cell;

    use super::Level;

    thread_local! {
        pub(super) static FORCED: Cell<Option<Level>> = const { Cell::new(None) };
    }

    /// Runs a test once for every copy that this CPU can run.
    pub(crate) fn on_every_level(test: impl Fn()) {
        for level in Level::all() {
            println!("level {}", level.name());
            FORCED.set(Some(level));
            test();
        }
        FORCED.set(None);
    }

    /// Numbers in [-1, 1) that differ from seed to seed.
    pub(crate) fn values(n: usize, seed: u64) -> Vec<f32> {
        let mut x = seed;
        let next = || {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((x >> 40) as f32) / (1 << 23) as f32 - 1.0
        };
        std::iter::repeat_with(next).take(n).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::testing::{on_every_level, values};
    use super::*;
    use crate::attention::{Heads, attention};
    use crate::elementwise::{gelu, silu};
    use crate::matrix::{Rows, Then, Weights, multiply};
    use crate::norm::layer_norm;

    /// A result must not depend on which of two workers computed it.
    #[test]
    fn cpus_that_fuse_give_the_same_bits() {
        let results: RefCell<Vec<(&str, Vec<u32>)>> = RefCell::default();
        let (x, weights) = (values(9 * 150, 1), Weights::new(&values(50 * 150, 2), &values(50, 3)));
        on_every_level(|| {
            let mut product = vec![0.0; 9 * 50];
            multiply(Rows::new(&x, 9, 150), &weights, &mut product, 50, Then::Store);
            let mut normed = x.clone();
            layer_norm(&x, &values(150, 4), &values(150, 5), 1e-6, &mut normed);
            let mut attended = vec![0.0; 9 * 50];
            let (rows, heads) = ([0, 1, 2, 3, 4, 5, 6, 7, 8], Heads { width: 50, count: 2 });
            attention(&x, &rows, heads, &mut [0.0; 9], &mut attended);
            let (mut gelu_of, mut silu_of) = (product.clone(), product.clone());
            gelu(&mut gelu_of);
            silu(&mut silu_of);
            let all = [product, normed, attended, gelu_of, silu_of].concat();
            results.borrow_mut().push((level(), all.into_iter().map(f32::to_bits).collect()));
        });
        let fused = results.into_inner().into_iter().filter(|(level, _)| *level != "portable").collect::<Vec<_>>();
        for pair in fused.windows(2) {
            assert!(pair[0].1 == pair[1].1, "{} and {} differ", pair[0].0, pair[1].0);
        }
    }
}
