//! Activations and sums, vectorised by the compiler.
//!
//! All work in place on any length; NaN stays NaN.

use crate::dispatch::{fma, vectorised};

/// `exp(x)`; relative error below 2e-7 against `f64` on [-87, 88], 0 below -87.4 and `exp(88)` above 88.
///
/// # Source
/// Range reduction by ln 2 in two parts and the polynomial of Cephes `expf` (S. Moshier).
#[inline(always)]
pub(crate) fn exp<const FUSED: bool>(x: f32) -> f32 {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let clamped = x.clamp(-88.0, 88.0);
    // The nearest integer without a library call or a cast: adding 1.5·2²³ drops the fraction, and leaves the integer
    // in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let rounded = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = fma::<FUSED>(n, -LN2_LOW, fma::<FUSED>(n, -LN2_HIGH, clamped));
    let mut p = 1.987_569_1e-4;
    p = fma::<FUSED>(p, r, 1.398_199_9e-3);
    p = fma::<FUSED>(p, r, 8.333_452e-3);
    p = fma::<FUSED>(p, r, 4.166_579_6e-2);
    p = fma::<FUSED>(p, r, 1.666_666_5e-1);
    p = fma::<FUSED>(p, r, 0.5);
    let value = fma::<FUSED>(p * r, r, r + 1.0);
    // 2ⁿ for n in [-127, 127]; 0 for -127.
    let n_bits = rounded.to_bits().wrapping_sub(ROUND.to_bits());
    let scale = f32::from_bits(n_bits.wrapping_add(127) << 23);
    if x < -87.4 { 0.0 } else { value * scale }
}

/// `erf(x)`; absolute error below 4e-7 against `f64`.
///
/// # Source
/// Rational approximation x·P(x²)/Q(x²) on [-4, 4] as in Eigen's `generic_fast_erf_float`; ±1 beyond.
#[inline(always)]
fn erf<const FUSED: bool>(x: f32) -> f32 {
    let x = x.clamp(-4.0, 4.0);
    let s = x * x;
    let mut p = -2.726_142_3e-10_f32;
    p = fma::<FUSED>(p, s, 2.770_681_5e-8);
    p = fma::<FUSED>(p, s, -2.101_024e-6);
    p = fma::<FUSED>(p, s, -5.692_506_4e-5);
    p = fma::<FUSED>(p, s, -7.349_906_3e-4);
    p = fma::<FUSED>(p, s, -2.954_6e-3);
    p = fma::<FUSED>(p, s, -1.609_603_3e-2);
    let mut q = -1.456_607_2e-5_f32;
    q = fma::<FUSED>(q, s, -2.133_740_6e-4);
    q = fma::<FUSED>(q, s, -1.682_827e-3);
    q = fma::<FUSED>(q, s, -7.373_329_3e-3);
    q = fma::<FUSED>(q, s, -1.426_473_9e-2);
    x * p / q
}

vectorised! {
    /// `x = x/2·(1 + erf(x/√2))`, the exact GELU; absolute error below 1e-6·max(1, |x|) against `f64`.
    pub fn gelu(x: &mut [f32]) {
        for x in x {
            *x = 0.5 * *x * (1.0 + erf::<FUSED>(*x * std::f32::consts::FRAC_1_SQRT_2));
        }
    }
}

vectorised! {
    /// `x = x/(1 + exp(-x))`; absolute error below 1e-6·max(1, |x|) against `f64`.
    pub fn silu(x: &mut [f32]) {
        for x in x {
            *x /= 1.0 + exp::<FUSED>(-*x);
        }
    }
}

vectorised! {
    /// `x = x + y`, element by element, to the shorter length.
    pub fn add(x: &mut [f32], y: &[f32]) {
        for (x, y) in x.iter_mut().zip(y) {
            *x += y;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::testing::on_every_level;

    /// Every `f32` step of 1/512 in [-30, 30], and lengths around vector widths.
    fn grid() -> Vec<f32> {
        (-15_360..=15_360).map(|i| i as f32 / 512.0).collect()
    }

    /// erf in f64 by its Taylor series (|x| < 3) and by the continued fraction of erfc beyond.
    fn erf_f64(x: f64) -> f64 {
        if x.abs() < 3.0 {
            let (mut term, mut sum) = (x, x);
            for n in 1..200 {
                term *= -x * x / f64::from(n);
                sum += term / f64::from(2 * n + 1);
            }
            return sum * std::f64::consts::FRAC_2_SQRT_PI;
        }
        let z = x.abs();
        let mut fraction = z;
        for n in (1..120).rev() {
            fraction = z + f64::from(n) / 2.0 / fraction;
        }
        let erfc = (-z * z).exp() / (fraction * std::f64::consts::PI.sqrt());
        (1.0 - erfc) * x.signum()
    }

    #[test]
    fn gelu_agrees_with_f64_and_keeps_nan() {
        on_every_level(|| {
            let mut x = grid();
            gelu(&mut x);
            for (got, x) in x.iter().zip(grid()) {
                let exact = 0.5 * f64::from(x) * (1.0 + erf_f64(f64::from(x) / std::f64::consts::SQRT_2));
                let error = (f64::from(*got) - exact).abs();
                assert!(error < 1e-6 * f64::from(x.abs()).max(1.0), "gelu({x}) = {got}, exactly {exact}");
            }
            let mut limits = [-1e30, 1e30, f32::NAN];
            gelu(&mut limits);
            assert!(limits[0].abs() < 1e24 && limits[1] > 0.999_999e30 && limits[2].is_nan(), "{limits:?}");
        });
    }

    #[test]
    fn silu_agrees_with_f64_and_has_its_limits() {
        on_every_level(|| {
            let mut x = grid();
            silu(&mut x);
            for (got, x) in x.iter().zip(grid()) {
                let exact = f64::from(x) / (1.0 + (-f64::from(x)).exp());
                assert!((f64::from(*got) - exact).abs() < 1e-6 * f64::from(x.abs()).max(1.0), "silu({x}) = {got}");
            }
            let mut limits = [-1e30, 1e30, f32::NAN];
            silu(&mut limits);
            assert!(limits[0].abs() < 1e-6 && limits[1] == 1e30 && limits[2].is_nan(), "{limits:?}");
        });
    }

    #[test]
    fn exp_agrees_with_f64() {
        for x in (-8_700..=8_800).map(|i| i as f32 / 100.0) {
            let exact = f64::from(x).exp();
            for got in [exp::<false>(x), exp::<true>(x)] {
                assert!((f64::from(got) / exact - 1.0).abs() < 2e-7, "exp({x}) = {got:e}, exactly {exact:e}");
            }
        }
        for (x, expected) in [(0.0, 1.0), (-88.0, 0.0), (-1e30, 0.0), (f32::NEG_INFINITY, 0.0)] {
            assert_eq!(exp::<true>(x), expected, "exp({x})");
        }
        assert!(exp::<true>(f32::NAN).is_nan() && exp::<true>(f32::INFINITY) == exp::<true>(88.0));
    }

    #[test]
    fn every_length_gets_all_its_elements() {
        for n in 0..70 {
            on_every_level(|| {
                let ones = vec![1.0; n];
                let (mut sum, mut silu_of, mut gelu_of) = (ones.clone(), ones.clone(), ones.clone());
                add(&mut sum, &ones);
                silu(&mut silu_of);
                gelu(&mut gelu_of);
                assert!(sum.iter().all(|&x| x == 2.0));
                assert!(silu_of.iter().all(|&x| (x - 0.731_058_6).abs() < 1e-6), "{silu_of:?}");
                assert!(gelu_of.iter().all(|&x| (x - 0.841_344_7).abs() < 1e-6), "{gelu_of:?}");
            });
        }
    }
}
