//! From profiles to pixels.

use crate::{BANDS, PIXEL_SCALE, SIDE, random::Random};

/// Pixels around the stamp whose light the point-spread function scatters into it.
const MARGIN: usize = 6;
const PADDED: usize = SIDE + 2 * MARGIN;
/// The kernels reach no farther than the margin.
const TAPS: usize = 2 * MARGIN + 1;
/// Wide Gaussian of the point-spread function: its share of the light and its width in units of the core's. A double
/// Gaussian is what the SDSS photometric pipeline fits (Lupton et al. 2001, astro-ph/0101420); the values are typical.
const WING_SHARE: f64 = 0.12;
const WING_WIDTH: f64 = 2.0;

/// A Sérsic profile (1963; formulae of Graham and Driver 2005, PASA 22, 118) with elliptical isophotes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Profile {
    /// Sérsic index: 4 de Vaucouleurs, 1 exponential.
    pub index: f64,
    /// Half-light radius along the major axis, arcsec.
    pub radius: f64,
    /// Minor over major axis.
    pub axis_ratio: f64,
    /// Angle of the major axis from the x axis, radians.
    pub angle: f64,
    /// Centre in pixels; pixel `i` covers `i − 0.5 .. i + 0.5`.
    pub centre: (f64, f64),
}

/// `ln Γ(x)` for x > 1 (Stirling's series after shifting up; better than 1e-9).
fn ln_gamma(x: f64) -> f64 {
    let shifted = x + 6.0;
    let product: f64 = (0..6).map(|i| x + f64::from(i)).product();
    (shifted - 0.5) * shifted.ln() - shifted + 0.918_938_533_204_672_7 + 1.0 / (12.0 * shifted)
        - 1.0 / (360.0 * shifted.powi(3))
        + 1.0 / (1260.0 * shifted.powi(5))
        - product.ln()
}

impl Profile {
    /// Surface brightness per pixel for a total flux of one, on the padded grid, row by row.
    fn draw(&self) -> Vec<f32> {
        let n = self.index;
        // Ciotti and Bertin 1999 (A&A 352, 447): half of the light within the radius.
        let b = 2.0 * n - 1.0 / 3.0 + 4.0 / (405.0 * n) + 46.0 / (25_515.0 * n * n);
        // Half a pixel is the floor: nothing smaller can be told apart behind this point-spread function.
        let radius = (self.radius / PIXEL_SCALE).max(0.5);
        let ln_total = std::f64::consts::TAU.ln() + n.ln() + 2.0 * radius.ln() + self.axis_ratio.ln()
            - 2.0 * n * b.ln()
            + ln_gamma(2.0 * n);
        let (sin, cos) = self.angle.sin_cos();
        let brightness = |x: f64, y: f64| {
            let (dx, dy) = (x - self.centre.0, y - self.centre.1);
            let (along, across) = (dx * cos + dy * sin, (dy * cos - dx * sin) / self.axis_ratio);
            let r2 = (along * along + across * across) / (radius * radius);
            (-b * r2.powf(0.5 / n) - ln_total).exp()
        };
        let mut pixels = vec![0.0; PADDED * PADDED];
        for (i, pixel) in pixels.iter_mut().enumerate() {
            let (x, y) = ((i % PADDED) as f64 - MARGIN as f64, (i / PADDED) as f64 - MARGIN as f64);
            let distance = (x - self.centre.0).abs().max((y - self.centre.1).abs());
            // The cusp needs fine sampling, the rest does not.
            let fine = match distance {
                d if d < 0.75 => 16,
                d if d < 2.5 => 5,
                d if d < 4.5 => 2,
                _ => 1,
            };
            let at = |k: u32| (f64::from(k) + 0.5) / f64::from(fine) - 0.5;
            let sum: f64 = (0..fine).map(|j| (0..fine).map(|k| brightness(x + at(k), y + at(j))).sum::<f64>()).sum();
            *pixel = (sum / f64::from(fine * fine)) as f32;
        }
        pixels
    }
}

/// A normalised Gaussian, integrated over pixels by their centres.
fn gaussian(sigma: f64) -> [f32; TAPS] {
    let raw: [f64; TAPS] = std::array::from_fn(|i| (-0.5 * ((i as f64 - MARGIN as f64) / sigma).powi(2)).exp());
    let sum: f64 = raw.iter().sum();
    raw.map(|tap| (tap / sum) as f32)
}

/// Adds `share` × (padded image ⊗ Gaussian) to the stamp, columns first and then rows.
fn blur_into(stamp: &mut [f32], padded: &[f32], sigma: f64, share: f32, rows: &mut [f32]) {
    let taps = gaussian(sigma);
    for y in 0..SIDE {
        let row = &mut rows[y * PADDED..(y + 1) * PADDED];
        row.fill(0.0);
        for (k, &tap) in taps.iter().enumerate() {
            let source = &padded[(y + k) * PADDED..(y + k + 1) * PADDED];
            row.iter_mut().zip(source).for_each(|(out, &x)| *out += tap * x);
        }
    }
    for (out, row) in stamp.chunks_exact_mut(SIDE).zip(rows.chunks_exact(PADDED)) {
        for (k, &tap) in taps.iter().enumerate() {
            out.iter_mut().zip(&row[k..]).for_each(|(out, &x)| *out += share * tap * x);
        }
    }
}

/// A noiseless image `[5, 32, 32]` of profiles with their fluxes per band, through point-spread functions of the given
/// full widths at half maximum (arcsec).
pub(crate) fn scene(parts: &[(Profile, [f64; BANDS])], seeing: &[f64; BANDS]) -> Vec<f32> {
    let drawn: Vec<Vec<f32>> = parts.iter().map(|(profile, _)| profile.draw()).collect();
    let mut image = vec![0.0; BANDS * SIDE * SIDE];
    let (mut padded, mut rows) = (vec![0.0; PADDED * PADDED], vec![0.0; SIDE * PADDED]);
    for (band, stamp) in image.chunks_exact_mut(SIDE * SIDE).enumerate() {
        padded.fill(0.0);
        for ((_, flux), pixels) in parts.iter().zip(&drawn) {
            let flux = flux[band] as f32;
            padded.iter_mut().zip(pixels).for_each(|(out, &x)| *out += flux * x);
        }
        let sigma = core_sigma(seeing[band]);
        blur_into(stamp, &padded, sigma, (1.0 - WING_SHARE) as f32, &mut rows);
        blur_into(stamp, &padded, WING_WIDTH * sigma, WING_SHARE as f32, &mut rows);
    }
    image
}

/// Width in pixels of the core of a double Gaussian whose full width at half maximum is `seeing` arcsec. The wing widens
/// the whole by 4 % over its core.
pub(crate) fn core_sigma(seeing: f64) -> f64 {
    seeing / (1.04 * 2.354_820 * PIXEL_SCALE)
}

/// Adds sky noise and the photon noise of the light itself, both as Gaussians: at SDSS sky levels a pixel holds hundreds of
/// electrons. `sky` is the standard deviation per pixel, `electrons` the electrons per nanomaggy.
pub(crate) fn add_noise(image: &mut [f32], sky: &[f64; BANDS], electrons: &[f64; BANDS], random: &mut Random) {
    for (band, stamp) in image.chunks_exact_mut(SIDE * SIDE).enumerate() {
        for pixel in stamp {
            let variance = sky[band].powi(2) + f64::from(*pixel).max(0.0) / electrons[band];
            *pixel += (variance.sqrt() * random.normal()) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BANDS, Profile, SIDE, ln_gamma, scene};

    #[test]
    fn small_profiles_keep_their_flux() {
        for (index, axis_ratio, tolerance) in [(1.0, 1.0, 0.004), (1.0, 0.4, 0.01), (2.0, 0.8, 0.02), (4.0, 0.7, 0.08)]
        {
            let profile = Profile { index, radius: 0.8, axis_ratio, angle: 0.6, centre: (15.8, 15.3) };
            let image = scene(&[(profile, [100.0; BANDS])], &[1.3; BANDS]);
            let total: f32 = image[..SIDE * SIDE].iter().sum();
            assert!((f64::from(total) / 100.0 - 1.0).abs() < tolerance, "n {index}, q {axis_ratio}: {total} of 100");
        }
    }

    #[test]
    fn half_of_the_light_is_within_the_half_light_radius() {
        // Large against the point-spread function, small against the stamp.
        let profile = Profile { index: 1.0, radius: 2.0, axis_ratio: 1.0, angle: 0.0, centre: (15.5, 15.5) };
        let image = scene(&[(profile, [1.0; BANDS])], &[0.4; BANDS]);
        let inside: f32 = (0..SIDE * SIDE)
            .filter(|i| ((i % SIDE) as f64 - 15.5).hypot((i / SIDE) as f64 - 15.5) < 2.0 / 0.396)
            .map(|i| image[i])
            .sum();
        assert!((inside - 0.5).abs() < 0.03, "{inside} within the radius");
    }

    #[test]
    fn the_point_spread_function_has_the_stated_width() {
        let star = Profile { index: 1.0, radius: 0.01, axis_ratio: 1.0, angle: 0.0, centre: (16.0, 16.0) };
        let image = scene(&[(star, [1.0; BANDS])], &[1.6; BANDS]);
        let row = &image[16 * SIDE..17 * SIDE];
        // Linear interpolation of the half-maximum crossing.
        let i = (16..31).find(|&i| row[i + 1] < row[16] / 2.0).expect("the profile falls");
        let crossing = i as f32 + (row[i] - row[16] / 2.0) / (row[i] - row[i + 1]) - 16.0;
        let width = 2.0 * crossing * 0.396;
        // The floor on radii (half a pixel) adds to the width.
        assert!((1.55..1.85).contains(&width), "full width {width} arcsec");
    }

    #[test]
    fn the_gamma_function_is_the_factorial() {
        for (x, factorial) in [(2.0, 1.0_f64), (5.0, 24.0), (8.0, 5040.0)] {
            assert!((ln_gamma(x) - factorial.ln()).abs() < 1e-8, "Γ({x})");
        }
    }
}
