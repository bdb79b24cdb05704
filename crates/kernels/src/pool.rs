//! Pooling of a grid with channels last, `[side, side, channels]`.

use crate::simd::{Lanes, Simd, dispatch};

dispatch! {
    /// Maxima over 3×3 pixels around every pixel of row `y`; beyond the edge nothing counts. `out` is that row.
    ///
    /// A NaN is passed over (the branches beside a max pooling keep it); where there is nothing else, -∞ remains.
    ///
    /// # Panics
    /// If `x` is shorter than `side·side·channels`, or `out` than a row of it.
    pub fn max_3x3(x: &[Lanes], side: usize, channels: usize, y: usize, out: &mut [Lanes]) = max_3x3_with;
}

#[inline(always)]
fn max_3x3_with<S: Simd>(s: S, x: &[Lanes], side: usize, channels: usize, y: usize, out: &mut [Lanes]) {
    let rows = y.saturating_sub(1)..(y + 2).min(side);
    for px in 0..side {
        let columns = px.saturating_sub(1)..(px + 2).min(side);
        let out = &mut out[px * channels..][..channels];
        for (c, out) in out.iter_mut().enumerate() {
            for part in 0..S::PARTS {
                let mut greatest = s.splat(f32::NEG_INFINITY);
                for ny in rows.clone() {
                    for nx in columns.clone() {
                        greatest = s.max(s.load(&x[(ny * side + nx) * channels + c], part), greatest);
                    }
                }
                s.store(out, part, greatest);
            }
        }
    }
}

dispatch! {
    /// Means over 2×2 pixels, step 2; `out` is `[side/2, side/2, channels]`. An odd last row or column is left out.
    ///
    /// # Panics
    /// If `x` is shorter than `side·side·channels` or `out` than a quarter of it.
    pub fn mean_2x2(x: &[Lanes], side: usize, channels: usize, out: &mut [Lanes]) = mean_2x2_with;
}

#[inline(always)]
fn mean_2x2_with<S: Simd>(s: S, x: &[Lanes], side: usize, channels: usize, out: &mut [Lanes]) {
    let half = side / 2;
    for y in 0..half {
        for px in 0..half {
            let pixel = |y: usize, px: usize| &x[(y * side + px) * channels..][..channels];
            let above = (pixel(2 * y, 2 * px), pixel(2 * y, 2 * px + 1));
            let below = (pixel(2 * y + 1, 2 * px), pixel(2 * y + 1, 2 * px + 1));
            let out = &mut out[(y * half + px) * channels..][..channels];
            for (c, out) in out.iter_mut().enumerate() {
                for part in 0..S::PARTS {
                    let above = s.add(s.load(&above.0[c], part), s.load(&above.1[c], part));
                    let below = s.add(s.load(&below.0[c], part), s.load(&below.1[c], part));
                    s.store(out, part, s.mul(s.splat(0.25), s.add(above, below)));
                }
            }
        }
    }
}

dispatch! {
    /// Adds `share` of the sum of `rows` rows of `[rows, width]` to `out`, `[width]`: with one over their number as the
    /// share and zeros in `out`, their mean.
    ///
    /// # Panics
    /// If `x` is shorter than `rows·width`, or `out` than `width`.
    pub fn add_rows(x: &[Lanes], rows: usize, width: usize, share: f32, out: &mut [Lanes]) = add_rows_with;
}

#[inline(always)]
fn add_rows_with<S: Simd>(s: S, x: &[Lanes], rows: usize, width: usize, share: f32, out: &mut [Lanes]) {
    let share = s.splat(share);
    for (column, out) in out[..width].iter_mut().enumerate() {
        for part in 0..S::PARTS {
            let mut sum = s.splat(0.0);
            for row in 0..rows {
                sum = s.add(sum, s.load(&x[row * width + column], part));
            }
            let sum = s.fma(sum, share, s.load(out, part));
            s.store(out, part, sum);
        }
    }
}

dispatch! {
    /// `x = x + y`, element by element, to the shorter length.
    pub fn add(x: &mut [Lanes], y: &[Lanes]) = add_with;
}

#[inline(always)]
fn add_with<S: Simd>(s: S, x: &mut [Lanes], y: &[Lanes]) {
    for (x, y) in x.iter_mut().zip(y) {
        for part in 0..S::PARTS {
            let sum = s.add(s.load(x, part), s.load(y, part));
            s.store(x, part, sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LANES;
    use crate::testing::{lane, lanes, on_every_set};

    #[test]
    fn maxima_are_those_of_the_neighbourhood() {
        for (side, channels) in [(1, 1), (2, 3), (4, 16), (5, 7)] {
            let x = lanes(side * side * channels, 1);
            on_every_set(|set| {
                let mut out = vec![Lanes([f32::NAN; LANES]); x.len()];
                for (y, row) in out.chunks_mut(side * channels).enumerate() {
                    max_3x3(set, &x, side, channels, y, row);
                }
                let (x, out) = (lane(&x, 9), lane(&out, 9));
                for (at, got) in out.iter().enumerate() {
                    let (y, px, c) = (at / channels / side, at / channels % side, at % channels);
                    let near = |a: usize, b: usize| a.abs_diff(b) < 2;
                    let pixels = (0..side * side).filter(|p| near(p / side, y) && near(p % side, px));
                    let exact = pixels.map(|p| x[p * channels + c]).fold(f64::MIN, f64::max);
                    assert_eq!(*got, exact, "side {side}, element {at}");
                }
            });
        }
    }

    #[test]
    fn nan_is_passed_over_and_infinity_counts() {
        on_every_set(|set| {
            let mut x = lanes(16, 2);
            x[5].0[3] = f32::NAN;
            x[5].0[4] = f32::INFINITY;
            let mut out = [Lanes::ZERO; 16];
            (0..4).for_each(|y| max_3x3(set, &x, 4, 1, y, &mut out[4 * y..]));
            assert!(out.iter().all(|out| out.0[3].is_finite()));
            assert_eq!(out.iter().filter(|out| out.0[4] == f32::INFINITY).count(), 9);
            max_3x3(set, &[Lanes([f32::NAN; LANES])], 1, 1, 0, &mut out);
            assert_eq!(out[0].0[0], f32::NEG_INFINITY);
        });
    }

    #[test]
    fn means_agree_with_f64() {
        for (side, channels) in [(2, 1), (4, 33), (5, 4), (1, 3)] {
            let x = lanes(side * side * channels, 3);
            on_every_set(|set| {
                let half = side / 2;
                let mut out = vec![Lanes([f32::NAN; LANES]); half * half * channels];
                mean_2x2(set, &x, side, channels, &mut out);
                let (x, out) = (lane(&x, 15), lane(&out, 15));
                for (at, got) in out.iter().enumerate() {
                    let (y, px, c) = (at / channels / half, at / channels % half, at % channels);
                    let pixel = |dy: usize, dx: usize| x[((2 * y + dy) * side + 2 * px + dx) * channels + c];
                    let sum: f64 = [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(dy, dx)| pixel(dy, dx)).iter().sum();
                    assert!((got - sum / 4.0).abs() < 1e-7, "side {side}, element {at}");
                }
            });
        }
    }

    #[test]
    fn rows_are_averaged_and_added() {
        on_every_set(|set| {
            let (x, mut out) = (lanes(15, 4), lanes(5, 5));
            let before = out.clone();
            add_rows(set, &x, 3, 5, 1.0 / 3.0, &mut out);
            for (column, got) in out.iter().enumerate() {
                let mean: f64 = (0..3).map(|row| f64::from(x[row * 5 + column].0[6])).sum::<f64>() / 3.0;
                assert!((f64::from(got.0[6]) - f64::from(before[column].0[6]) - mean).abs() < 1e-6);
            }
            let mut sum = x.clone();
            add(set, &mut sum, &x[..7]);
            assert_eq!((sum[6].0[1], sum[7].0[1]), (2.0 * x[6].0[1], x[7].0[1]));
        });
    }
}
