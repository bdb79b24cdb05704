//! Pooling of one image with channels last, `[side, side, channels]`.

use crate::dispatch::vectorised;

vectorised! {
    /// Maxima over 3×3 pixels, step 1; beyond the edge nothing counts. `out` is as large as `x`.
    ///
    /// A NaN makes every maximum NaN that it takes part in.
    ///
    /// # Panics
    /// If `x` or `out` is shorter than `side·side·channels`.
    pub fn max_3x3(x: &[f32], side: usize, channels: usize, out: &mut [f32]) {
        for y in 0..side {
            for px in 0..side {
                let at = (y * side + px) * channels;
                let out = &mut out[at..at + channels];
                out.copy_from_slice(&x[at..at + channels]);
                for ny in y.saturating_sub(1)..(y + 2).min(side) {
                    for nx in px.saturating_sub(1)..(px + 2).min(side) {
                        let neighbour = &x[(ny * side + nx) * channels..][..channels];
                        for (out, &x) in out.iter_mut().zip(neighbour) {
                            // Written so that a NaN is kept whichever side it is on.
                            let keeps = *out >= x || out.is_nan();
                            *out = if keeps { *out } else { x };
                        }
                    }
                }
            }
        }
    }
}

vectorised! {
    /// Means over 2×2 pixels, step 2; `out` is `[side/2, side/2, channels]`. An odd last row or column is left out.
    ///
    /// # Panics
    /// If `x` is shorter than `side·side·channels` or `out` than a quarter of it.
    pub fn mean_2x2(x: &[f32], side: usize, channels: usize, out: &mut [f32]) {
        let half = side / 2;
        for y in 0..half {
            for px in 0..half {
                let pixel = |y: usize, px: usize| &x[(y * side + px) * channels..][..channels];
                let above = pixel(2 * y, 2 * px).iter().zip(pixel(2 * y, 2 * px + 1));
                let below = pixel(2 * y + 1, 2 * px).iter().zip(pixel(2 * y + 1, 2 * px + 1));
                let out = &mut out[(y * half + px) * channels..][..channels];
                for (out, ((a, b), (c, d))) in out.iter_mut().zip(above.zip(below)) {
                    *out = 0.25 * ((a + b) + (c + d));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::testing::{on_every_level, values};

    #[test]
    fn maxima_are_those_of_the_neighbourhood() {
        for (side, channels) in [(1, 1), (2, 3), (4, 16), (5, 33)] {
            let x = values(side * side * channels, 1);
            on_every_level(|| {
                let mut out = vec![f32::NAN; x.len()];
                max_3x3(&x, side, channels, &mut out);
                for (at, got) in out.iter().enumerate() {
                    let (y, px, c) = (at / channels / side, at / channels % side, at % channels);
                    let near = |a: usize, b: usize| a.abs_diff(b) < 2;
                    let pixels = (0..side * side).filter(|p| near(p / side, y) && near(p % side, px));
                    let exact = pixels.map(|p| x[p * channels + c]).fold(f32::MIN, f32::max);
                    assert_eq!(*got, exact, "side {side}, element {at}");
                }
            });
        }
    }

    #[test]
    fn nan_spreads_to_its_neighbours_only() {
        for bad in 0..16 {
            let mut x = values(16, 2);
            x[bad] = f32::NAN;
            on_every_level(|| {
                let mut out = [0.0; 16];
                max_3x3(&x, 4, 1, &mut out);
                for (at, got) in out.iter().enumerate() {
                    let is_near = (at / 4).abs_diff(bad / 4) < 2 && (at % 4).abs_diff(bad % 4) < 2;
                    assert_eq!(got.is_nan(), is_near, "NaN at {bad}, element {at}");
                }
            });
        }
    }

    #[test]
    fn means_agree_with_f64() {
        for (side, channels) in [(2, 1), (4, 33), (5, 4), (1, 3)] {
            let x = values(side * side * channels, 3);
            on_every_level(|| {
                let half = side / 2;
                let mut out = vec![f32::NAN; half * half * channels];
                mean_2x2(&x, side, channels, &mut out);
                for (at, got) in out.iter().enumerate() {
                    let (y, px, c) = (at / channels / half, at / channels % half, at % channels);
                    let pixel = |dy: usize, dx: usize| x[((2 * y + dy) * side + 2 * px + dx) * channels + c];
                    let sum: f64 =
                        [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(dy, dx)| f64::from(pixel(dy, dx))).iter().sum();
                    assert!((f64::from(*got) - sum / 4.0).abs() < 1e-7, "side {side}, element {at}");
                }
            });
        }
    }
}
