//! Activations and softmax, vectorised by the compiler.
//!
//! All work in place on any length; NaN stays NaN.

use crate::dispatch::vectorised;

/// `exp(x)` for finite x; relative error below 2e-7 against `f64` on [-87, 88], 0 below -87.4 and
/// clamped to `exp(88)` above.
///
/// # Source
/// Range reduction by ln 2 in two parts and the polynomial of Cephes `expf` (S. Moshier).
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let clamped = x.clamp(-88.0, 88.0);
    // Rounds to the nearest integer without a library call: the sum drops the fraction.
    const ROUND: f32 = 12_582_912.0;
    let n = (clamped * std::f32::consts::LOG2_E + ROUND) - ROUND;
    let r = clamped - n * LN2_HIGH - n * LN2_LOW;
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 0.5;
    let value = p * r * r + r + 1.0;
    // n is an integer in [-127, 127].
    let scale = f32::from_bits((((n as i32) + 127) << 23) as u32);
    if x < -87.4 { 0.0 } else { value * scale }
}

/// `erf(x)`; absolute error below 4e-7 against `f64`.
///
/// # Source
/// Rational approximation x·P(x²)/Q(x²) on [-4, 4] as in Eigen's `generic_fast_erf_float`; ±1 beyond.
#[inline(always)]
fn erf(x: f32) -> f32 {
    let x = x.clamp(-4.0, 4.0);
    let s = x * x;
    let mut p = -2.726_142_3e-10_f32;
    p = p * s + 2.770_681_5e-8;
    p = p * s - 2.101_024e-6;
    p = p * s - 5.692_506_4e-5;
    p = p * s - 7.349_906_3e-4;
    p = p * s - 2.954_599_9e-3;
    p = p * s - 1.609_603_3e-2;
    let mut q = -1.456_607_2e-5_f32;
    q = q * s - 2.133_740_6e-4;
    q = q * s - 1.682_827e-3;
    q = q * s - 7.373_329_3e-3;
    q = q * s - 1.426_473_9e-2;
    x * p / q
}

vectorised! {
    /// `x = max(x, 0)`.
    pub fn relu(x: &mut [f32]) {
        for x in x {
            // Unlike `f32::max` this keeps NaN.
            *x = if *x < 0.0 { 0.0 } else { *x };
        }
    }
}

vectorised! {
    /// `x = x/2·(1 + erf(x/√2))`, the exact GELU; absolute error below 1e-6·max(1, |x|) against `f64`.
    pub fn gelu(x: &mut [f32]) {
        for x in x {
            *x = 0.5 * *x * (1.0 + erf(*x * std::f32::consts::FRAC_1_SQRT_2));
        }
    }
}

vectorised! {
    /// `x = x/(1 + exp(-x))`; absolute error below 1e-6·max(1, |x|) against `f64`.
    pub fn silu(x: &mut [f32]) {
        for x in x {
            *x /= 1.0 + exp(-*x);
        }
    }
}

vectorised! {
    /// Adds `bias` to every row of `x`, row-major `[x.len() / bias.len(), bias.len()]`.
    pub fn add_bias(x: &mut [f32], bias: &[f32]) {
        for row in x.chunks_exact_mut(bias.len().max(1)) {
            for (x, b) in row.iter_mut().zip(bias) {
                *x += b;
            }
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

vectorised! {
    /// Softmax of `scale·x` over every row of `columns` elements, in place; rows are shifted by their maximum first,
    /// so that large values do not overflow. Relative error below 1e-6 against `f64`. A NaN makes its row NaN.
    pub fn softmax_rows(x: &mut [f32], columns: usize, scale: f32) {
        for row in x.chunks_exact_mut(columns.max(1)) {
            let mut max = f32::NEG_INFINITY;
            for &x in row.iter() {
                max = if x > max { x } else { max };
            }
            let mut sum = 0.0;
            for x in row.iter_mut() {
                *x = exp((*x - max) * scale);
                sum += *x;
            }
            let inverse = 1.0 / sum;
            for x in row {
                *x *= inverse;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn gelu_agrees_with_f64() {
        let mut x = grid();
        gelu(&mut x);
        for (got, x) in x.iter().zip(grid()) {
            let exact = 0.5 * f64::from(x) * (1.0 + erf_f64(f64::from(x) / std::f64::consts::SQRT_2));
            let error = (f64::from(*got) - exact).abs();
            assert!(error < 1e-6 * f64::from(x.abs()).max(1.0), "gelu({x}) = {got}, exactly {exact}");
        }
    }

    #[test]
    fn silu_agrees_with_f64_and_has_its_limits() {
        let mut x = grid();
        silu(&mut x);
        for (got, x) in x.iter().zip(grid()) {
            let exact = f64::from(x) / (1.0 + (-f64::from(x)).exp());
            assert!((f64::from(*got) - exact).abs() < 1e-6 * f64::from(x.abs()).max(1.0), "silu({x}) = {got}");
        }
        let mut limits = [-1e30, 1e30, f32::NAN];
        silu(&mut limits);
        assert!(limits[0].abs() < 1e-6 && limits[1] == 1e30 && limits[2].is_nan(), "{limits:?}");
    }

    #[test]
    fn softmax_agrees_with_f64_at_every_length() {
        for columns in 1..70 {
            let x: Vec<f32> = (0..columns * 3).map(|i| ((i * 37) % 101) as f32 / 4.0 - 12.0).collect();
            let mut got = x.clone();
            softmax_rows(&mut got, columns, 0.5);
            for (got, x) in got.chunks(columns).zip(x.chunks(columns)) {
                let max = x.iter().fold(f64::MIN, |max, &x| max.max(f64::from(x)));
                let exp: Vec<f64> = x.iter().map(|&x| ((f64::from(x) - max) * 0.5).exp()).collect();
                let sum: f64 = exp.iter().sum();
                for (got, exp) in got.iter().zip(exp) {
                    assert!((f64::from(*got) - exp / sum).abs() < 1e-6 * (exp / sum).max(1e-3), "{got} {}", exp / sum);
                }
            }
        }
        let mut large = [1e30, 0.0, -1e30];
        softmax_rows(&mut large, 3, 1.0);
        assert_eq!(large, [1.0, 0.0, 0.0]);
        let mut bad = [f32::NAN, 0.0];
        softmax_rows(&mut bad, 2, 1.0);
        assert!(bad.iter().all(|x| x.is_nan()));
    }

    #[test]
    fn relu_and_sums_work_at_every_length_and_keep_nan() {
        for n in 0..70 {
            let mut x: Vec<f32> = (0..n).map(|i| i as f32 - 20.0).collect();
            relu(&mut x);
            assert!(x.iter().enumerate().all(|(i, x)| *x == (i as f32 - 20.0).max(0.0)));
            let y: Vec<f32> = (0..n).map(|i| i as f32).collect();
            add(&mut x, &y);
            add_bias(&mut x, &y);
            assert!(x.iter().enumerate().all(|(i, x)| *x == (i as f32 - 20.0).max(0.0) + 2.0 * i as f32));
        }
        let mut x = [f32::NAN, -1.0];
        relu(&mut x);
        assert!(x[0].is_nan() && x[1] == 0.0);
    }
}
