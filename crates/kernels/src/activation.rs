//! Activations, exact to what `f32` can hold, without a division.
//!
//! GELU and SiLU are both `x/2 + |x|·q(|x|)` with a `q` that rises from 0 to ½ and stays there. It is taken from a
//! table: sixteen intervals with a polynomial of degree 4 each, fitted to the function in Chebyshev nodes.

use crate::simd::{Lanes, Simd, Table, dispatch};

dispatch! {
    /// `x = x/2·(1 + erf(x/√2))`, the exact GELU; absolute error below 2e-7·max(1, |x|) against `f64`.
    ///
    /// NaN stays NaN; so becomes -∞, as by the formula.
    pub fn gelu(x: &mut [Lanes]) = gelu_all;
}

dispatch! {
    /// `x = x/(1 + exp(-x))`, SiLU; absolute error below 5e-7·max(1, |x|) against `f64`.
    ///
    /// NaN stays NaN; so becomes -∞, as by the formula.
    pub fn silu(x: &mut [Lanes]) = silu_all;
}

#[inline(always)]
fn gelu_all<S: Simd>(s: S, x: &mut [Lanes]) {
    for x in x {
        for part in 0..S::PARTS {
            let y = gelu_of(s, s.load(x, part));
            s.store(x, part, y);
        }
    }
}

#[inline(always)]
fn silu_all<S: Simd>(s: S, x: &mut [Lanes]) {
    for x in x {
        for part in 0..S::PARTS {
            let y = silu_of(s, s.load(x, part));
            s.store(x, part, y);
        }
    }
}

/// Everything but the sign.
const MAGNITUDE: u32 = 0x7fff_ffff;
/// Added to a small number it drops the fraction, and leaves the nearest integer in the low bits.
const ROUND: f32 = 12_582_912.0;

#[inline(always)]
pub(crate) fn relu_of<S: Simd>(s: S, x: S::V) -> S::V {
    s.max(s.splat(0.0), x)
}

#[inline(always)]
pub(crate) fn gelu_of<S: Simd>(s: S, x: S::V) -> S::V {
    let magnitude = s.and_bits(x, MAGNITUDE);
    let scale = s.splat(GELU_SCALE);
    let near = s.min(magnitude, s.splat(GELU_END));
    let rounded = s.fma(near, scale, s.splat(ROUND));
    let interval = s.sub(s.splat(ROUND), rounded);
    let offset = s.fma(near, scale, interval);
    let q = polynomial(s, &GELU, rounded, offset);
    s.fma(magnitude, q, s.mul(s.splat(0.5), x))
}

#[inline(always)]
pub(crate) fn silu_of<S: Simd>(s: S, x: S::V) -> S::V {
    let magnitude = s.and_bits(x, MAGNITUDE);
    // From 1 on a number's exponent and two bits below it count intervals, four in every octave.
    let near = s.add(s.min(magnitude, s.splat(SILU_END)), s.splat(1.0));
    let offset = s.sub(near, s.and_bits(near, 0xffe0_0000));
    let q = polynomial(s, &SILU, s.bits_down(near, 21), offset);
    s.fma(magnitude, q, s.mul(s.splat(0.5), x))
}

/// The polynomial of the interval that the low bits of `index` name.
#[inline(always)]
fn polynomial<S: Simd>(s: S, table: &[Table; 5], index: S::V, offset: S::V) -> S::V {
    let mut sum = s.lookup(&table[4], index);
    for coefficients in table[..4].iter().rev() {
        sum = s.fma(sum, offset, s.lookup(coefficients, index));
    }
    sum
}

/// `exp(x)` for x ≤ 0; relative error below 2e-7 against `f64` down to -87, 0 below -87.4. NaN stays NaN.
///
/// # Source
/// Range reduction by ln 2 in two parts and the polynomial of Cephes `expf` (S. Moshier).
#[inline(always)]
pub(crate) fn exp_of<S: Simd>(s: S, x: S::V) -> S::V {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // In this order NaN is what remains.
    let clamped = s.max(s.splat(-88.0), x);
    let rounded = s.fma(clamped, s.splat(std::f32::consts::LOG2_E), s.splat(ROUND));
    let n = s.sub(rounded, s.splat(ROUND));
    let r = s.fma(n, s.splat(-LN2_LOW), s.fma(n, s.splat(-LN2_HIGH), clamped));
    let mut p = s.splat(1.987_569_1e-4);
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = s.fma(p, r, s.splat(coefficient));
    }
    let value = s.fma(s.mul(p, r), r, s.add(r, s.splat(1.0)));
    // 2ⁿ for n in [-127, 0]; 0 for -127. The integer is in the low bits of `rounded`, above them those of `ROUND`.
    let bias = f32::from_bits(127_u32.wrapping_sub(ROUND.to_bits()));
    s.mul(value, s.bits_up(s.add_bits(rounded, s.splat(bias)), 23))
}

/// Beyond, Φ is 0 or 1 to less than half a step of an `f32`. A little less than 5.5, whose interval would be a tie.
const GELU_END: f32 = 5.499;
/// Intervals per unit: the last one's centre is 15.
const GELU_SCALE: f32 = 15.5 / 5.5;

/// Φ(a) - ½ around n/GELU_SCALE for n from 0 to 15, coefficients of (a·GELU_SCALE - n)⁰ first.
#[rustfmt::skip]
const GELU: [Table; 5] = [
    [3.3622107e-09, 1.3864478e-01, 2.610479e-01, 3.5645252e-01, 4.221022e-01, 4.6198443e-01, 4.833742e-01, 4.9350184e-01, 4.9773517e-01, 4.9929732e-01, 4.998062e-01, 4.9995255e-01, 4.999897e-01, 4.99998e-01, 4.9999967e-01, 4.9999994e-01],
    [1.4155982e-01, 1.3292217e-01, 1.1004652e-01, 8.032926e-02, 5.1699787e-02, 2.9337274e-02, 1.4677932e-02, 6.474731e-03, 2.5181845e-03, 8.634935e-04, 2.610553e-04, 6.958308e-05, 1.6351882e-05, 3.3878134e-06, 6.1880394e-07, 9.9646506e-08],
    [5.3954186e-06, -8.36802e-03, -1.3855804e-02, -1.5171234e-02, -1.3018946e-02, -9.234629e-03, -5.5443486e-03, -2.8533959e-03, -1.2683287e-03, -4.892981e-04, -1.6437248e-04, -4.819771e-05, -1.2357292e-05, -2.7739225e-06, -5.457391e-07, -9.4177636e-08],
    [-3.0009444e-03, -2.4258213e-03, -1.1451904e-03, 2.1623335e-04, 1.0900203e-03, 1.3150077e-03, 1.0859232e-03, 7.034834e-04, 3.7503624e-04, 1.6833766e-04, 6.444139e-05, 2.1208649e-05, 6.033452e-06, 1.4892837e-06, 3.1986323e-07, 5.990317e-08],
    [6.95366e-05, 2.5046285e-04, 3.6060344e-04, 2.959305e-04, 1.3484119e-04, -1.3320338e-05, -8.827335e-05, -9.448762e-05, -6.7300476e-05, -3.7095968e-05, -1.6671836e-05, -6.263952e-06, -1.9956558e-06, -5.439813e-07, -1.2763817e-07, -2.5891646e-08],
];

/// Beyond, the logistic function is 0 or 1 to less than 4e-7.
const SILU_END: f32 = 14.999_999;

/// 1/(1 + exp(-a)) - ½ in powers of the distance to the interval's beginning, coefficients of the 0th power first. The
/// twelfth interval begins at a = 0, the fifteenth is followed by the 0th.
#[rustfmt::skip]
const SILU: [Table; 5] = [
    [2.3105852e-01, 3.175744e-01, 3.8079706e-01, 4.2414182e-01, 4.5257422e-01, 4.820139e-01, 4.933072e-01, 4.975274e-01, 4.9908915e-01, 4.9987662e-01, 4.999833e-01, 4.9999774e-01, 3.852596e-09, 6.2176503e-02, 1.2245933e-01, 1.791787e-01],
    [1.9661689e-01, 1.4915214e-01, 1.049968e-01, 7.010472e-02, 4.5172017e-02, 1.7656447e-02, 6.64498e-03, 2.4652637e-03, 9.051385e-04, 1.2268318e-04, 1.6606775e-05, 2.2475451e-06, 2.4999923e-01, 2.4613349e-01, 2.3500343e-01, 2.1789502e-01],
    [-4.550627e-02, -4.7456753e-02, -4.0033888e-02, -2.9750744e-02, -2.0411583e-02, -8.462933e-03, -3.2543333e-03, -1.2169217e-03, -4.3275027e-04, -5.872306e-05, -7.950176e-06, -1.075992e-06, 2.4779925e-05, -1.5284625e-02, -2.8768813e-02, -3.904249e-02],
    [-5.472818e-03, 3.1319796e-03, 6.7811734e-03, 6.8708146e-03, 5.4080165e-03, 2.4868003e-03, 9.904366e-04, 3.750423e-04, 1.1770251e-04, 1.5994327e-05, 2.16579e-06, 2.9312966e-07, -2.111208e-02, -1.977797e-02, -1.6172094e-02, -1.1163198e-02],
    [4.291626e-03, 1.9093595e-03, 1.1564266e-04, -6.592237e-04, -7.289992e-04, -3.8719806e-04, -1.609728e-04, -6.185937e-05, -1.4600081e-05, -1.9865686e-06, -2.690485e-07, -3.6415344e-08, 1.2835221e-03, 3.5254902e-03, 4.927913e-03, 5.3010876e-03],
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LANES;
    use crate::testing::on_every_set;

    /// Every step of 1/512 in [-30, 30].
    fn grid() -> Vec<Lanes> {
        let numbers: Vec<f32> = (-15_360..15_360).map(|i| i as f32 / 512.0).collect();
        numbers.as_chunks::<LANES>().0.iter().copied().map(Lanes).collect()
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
        on_every_set(|set| {
            let mut x = grid();
            gelu(set, &mut x);
            for (got, x) in x.iter().flat_map(|x| x.0).zip(grid().iter().flat_map(|x| x.0)) {
                let exact = 0.5 * f64::from(x) * (1.0 + erf_f64(f64::from(x) / std::f64::consts::SQRT_2));
                let error = (f64::from(got) - exact).abs();
                assert!(error < 2e-7 * f64::from(x.abs()).max(1.0), "gelu({x}) = {got}, exactly {exact}");
            }
        });
    }

    #[test]
    fn silu_agrees_with_f64() {
        on_every_set(|set| {
            let mut x = grid();
            silu(set, &mut x);
            for (got, x) in x.iter().flat_map(|x| x.0).zip(grid().iter().flat_map(|x| x.0)) {
                let exact = f64::from(x) / (1.0 + (-f64::from(x)).exp());
                let error = (f64::from(got) - exact).abs();
                assert!(error < 5e-7 * f64::from(x.abs()).max(1.0), "silu({x}) = {got}, exactly {exact}");
            }
        });
    }

    #[test]
    fn limits_and_nan_are_kept() {
        on_every_set(|set| {
            for activation in [gelu as fn(crate::Set, &mut [Lanes]), silu] {
                let mut x = [Lanes([-1e30; LANES]); 1];
                x[0].0[1] = 1e30;
                x[0].0[2] = f32::NAN;
                x[0].0[3] = f32::INFINITY;
                x[0].0[4] = 0.0;
                activation(set, &mut x);
                let [low, high, nan, infinity, zero, ..] = x[0].0;
                assert!(low.abs() < 1e24 && high > 0.999_999e30 && nan.is_nan() && infinity == f32::INFINITY, "{x:?}");
                assert_eq!(zero, 0.0);
            }
        });
    }

    #[test]
    fn every_length_gets_all_its_elements() {
        on_every_set(|set| {
            for n in 0..5 {
                let mut x = vec![Lanes([1.0; LANES]); n];
                gelu(set, &mut x);
                assert!(x.iter().flat_map(|x| x.0).all(|x| (x - 0.841_344_7).abs() < 1e-6), "{x:?}");
            }
        });
    }

    dispatch! {
        pub fn exp_all(x: &mut [Lanes]) = exp_with;
    }

    #[inline(always)]
    fn exp_with<S: Simd>(s: S, x: &mut [Lanes]) {
        for x in x {
            for part in 0..S::PARTS {
                let y = exp_of(s, s.load(x, part));
                s.store(x, part, y);
            }
        }
    }

    #[test]
    fn exp_agrees_with_f64() {
        on_every_set(|set| {
            for i in 0..8_700 {
                let x = -i as f32 / 100.0;
                let mut got = [Lanes([x; LANES])];
                exp_all(set, &mut got);
                let exact = f64::from(x).exp();
                let got = got[0].0[7];
                assert!((f64::from(got) / exact - 1.0).abs() < 2e-7, "exp({x}) = {got:e}, exactly {exact:e}");
            }
            let mut limits = [Lanes::ZERO];
            limits[0].0[..4].copy_from_slice(&[0.0, -1e30, f32::NEG_INFINITY, f32::NAN]);
            exp_all(set, &mut limits);
            assert_eq!(limits[0].0[..3], [1.0, 0.0, 0.0]);
            assert!(limits[0].0[3].is_nan());
        });
    }
}
