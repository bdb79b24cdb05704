//! A synthetic sky: SDSS-like galaxies with five-band cutouts, magnitudes and redshifts.
//!
//! A galaxy is a pure function of a seed and an index, so that any part of a sky can be made anywhere, in any order.
//! What is physical: a flux-limited mix of red and blue galaxies in a flat ΛCDM volume, spectra redshifted through ugriz
//! bands (hence K-corrected colours), bulges and discs of observed sizes, seeing, sky and photon noise at SDSS depths.
//! What is approximate: spectra are analytic, bands are flat-topped, there is no dust of the Milky Way, no clustering and
//! no artefacts; a model trained here has learnt this sky, not the real one.
//!
//! Images are in nanomaggies per pixel (AB magnitude 22.5 is one nanomaggy), 0.396″ pixels, bands in the order u g r i z.

mod cosmology;
mod population;
mod random;
mod render;
mod spectrum;

use cosmology::Cosmology;
use population::Population;
use random::Random;
use render::Profile;
use spectrum::Bands;

/// Bands of an image: u, g, r, i, z.
pub const BANDS: usize = 5;
/// Pixels along a side of an image.
pub const SIDE: usize = 32;
/// Values in an image `[5, 32, 32]`.
pub const PIXELS: usize = BANDS * SIDE * SIDE;
/// Arcseconds per pixel, that of the SDSS camera (Gunn et al. 1998, AJ 116, 3040).
pub const PIXEL_SCALE: f64 = 0.396;

/// Where r is among the bands.
pub(crate) const R: usize = 2;
/// Magnitudes at which a point source has a signal-to-noise ratio of 5, about those of an SDSS field (York et al. 2000,
/// AJ 120, 1579; table of the DR7 imaging pages).
const DEPTH: [f64; BANDS] = [22.15, 23.13, 22.70, 22.20, 20.71];
/// Electrons per nanomaggy in an SDSS exposure of 54 s: typical calibration and gains (DR8 frame headers), rounded.
const ELECTRONS: [f64; BANDS] = [150.0, 1000.0, 930.0, 700.0, 150.0];
/// Median seeing in arcseconds, better in the red.
const SEEING: [f64; BANDS] = [1.45, 1.38, 1.30, 1.24, 1.26];
/// Calibration error per band, as a fraction of the flux (Padmanabhan et al. 2008, ApJ 674, 1217).
const CALIBRATION: [f64; BANDS] = [0.02, 0.01, 0.01, 0.01, 0.01];
/// Softening of asinh magnitudes (Lupton, Gunn and Szalay 1999, AJ 118, 1406), the SDSS values.
const SOFTENING: [f64; BANDS] = [1.4e-10, 0.9e-10, 1.2e-10, 1.8e-10, 7.4e-10];
/// Share of galaxies with a fainter one in the stamp.
const NEIGHBOUR_SHARE: f64 = 0.3;

/// One galaxy as a survey delivers it.
#[derive(Clone, Debug, PartialEq)]
pub struct Galaxy {
    /// `[5, 32, 32]` in nanomaggies per pixel, band by band, row by row.
    pub image: Vec<f32>,
    /// Measured asinh magnitudes (AB), finite also where the flux came out negative.
    pub magnitudes: [f64; BANDS],
    /// Spectroscopic redshift, without error.
    pub redshift: f64,
    /// True total fluxes in nanomaggies, before noise: not something a survey knows, but what tests ask for.
    pub fluxes: [f64; BANDS],
}

/// A sky of endlessly many galaxies, fixed by its seed.
///
/// ```
/// let sky = starmap_sky::Sky::new(7);
/// let galaxy = sky.galaxy(1_000_000);
/// assert_eq!(galaxy.image.len(), starmap_sky::PIXELS);
/// assert_eq!(galaxy, starmap_sky::Sky::new(7).galaxy(1_000_000));
/// ```
#[derive(Clone, Debug)]
pub struct Sky {
    seed: u64,
    cosmology: Cosmology,
    bands: Bands,
    population: Population,
}

impl Sky {
    /// Integrates the tables (milliseconds); galaxies then take about half a millisecond each.
    pub fn new(seed: u64) -> Self {
        let (cosmology, bands) = (Cosmology::new(), Bands::new());
        let population = Population::new(&cosmology, &bands);
        Self { seed, cosmology, bands, population }
    }

    /// Galaxy number `index`, the same whenever and wherever it is asked for.
    pub fn galaxy(&self, index: u64) -> Galaxy {
        let random = &mut Random::new(self.seed, index);
        let drawn = self.population.draw(&self.cosmology, random);
        let z = drawn.redshift;

        // The old stars are in the bulge and, with the young ones, in the disc: galaxies are redder in the middle.
        let bulge_share = (0.85 - 0.85 * drawn.lateness + 0.1 * random.normal()).clamp(0.05, 0.95);
        let disc = population::scattered(drawn.lateness, drawn.absolute, random);
        let bulge = spectrum::Spectrum { young: 0.2 * disc.young, dust: 0.5 * disc.dust, ..disc };

        // Both shares are of the light at z = 0 in r; each population dims by its own K-correction.
        let distance = self.cosmology.distance_modulus(z);
        let fluxes_of = |spectrum: &spectrum::Spectrum, share: f64| {
            let r = drawn.absolute + distance + self.bands.k_correction(spectrum, z);
            self.bands.colours(spectrum, z).map(|colour| share * colour * nanomaggies(r))
        };
        let (bulge_flux, disc_flux) = (fluxes_of(&bulge, bulge_share), fluxes_of(&disc, 1.0 - bulge_share));
        let fluxes: [f64; BANDS] = std::array::from_fn(|band| bulge_flux[band] + disc_flux[band]);

        let radius = half_light_radius(drawn.absolute, drawn.lateness, random) * self.cosmology.arcsec_per_kpc(z);
        let angle = random.between(0.0, std::f64::consts::PI);
        let centre = (15.5 + random.between(-0.5, 0.5), 15.5 + random.between(-0.5, 0.5));
        let early = drawn.lateness < 0.3;
        let profile = Profile {
            index: (4.0 + 0.5 * random.normal()).clamp(2.5, 5.5),
            radius: if early { 0.9 * radius } else { 0.4 * radius },
            axis_ratio: random.between(0.6, 1.0),
            angle,
            centre,
        };
        // A thin disc seen at a random inclination has a uniform cosine.
        let disc_profile = Profile {
            index: 1.0,
            radius: 1.2 * radius,
            axis_ratio: if early { random.between(0.5, 1.0) } else { random.between(0.2, 1.0) },
            ..profile
        };
        let mut parts = vec![(profile, bulge_flux), (disc_profile, disc_flux)];
        if random.uniform() < NEIGHBOUR_SHARE {
            parts.push(self.neighbour(random));
        }

        let seeing_factor = (0.08 * random.normal()).exp();
        let seeing = SEEING.map(|seeing| seeing * seeing_factor);
        let mut image = render::scene(&parts, &seeing);
        let sky: [f64; BANDS] = std::array::from_fn(sky_noise);
        render::add_noise(&mut image, &sky, &ELECTRONS, random);

        let magnitudes = std::array::from_fn(|band| {
            // A matched aperture: its area is that of a Gaussian as wide as the seen galaxy.
            let pixels = 4.0
                * std::f64::consts::PI
                * (render::core_sigma(seeing[band]).powi(2) + (0.6 * radius.min(4.0) / PIXEL_SCALE).powi(2));
            let flux = fluxes[band];
            let variance = sky[band].powi(2) * pixels + flux / ELECTRONS[band] + (CALIBRATION[band] * flux).powi(2);
            asinh_magnitude(flux + variance.sqrt() * random.normal(), band)
        });
        Galaxy { image, magnitudes, redshift: z, fluxes }
    }

    /// A small faint galaxy somewhere in the stamp but not on the target.
    fn neighbour(&self, random: &mut Random) -> (Profile, [f64; BANDS]) {
        // Counts of faint galaxies rise as 10^(0.4 m) (Yasuda et al. 2001, AJ 122, 1104): uniform in the share below m.
        let (bright, faint) = (10_f64.powf(0.4 * 19.5), 10_f64.powf(0.4 * 22.5));
        let r = 2.5 * random.between(bright, faint).log10();
        let spectrum = population::scattered(random.between(0.05, 0.8), -20.0, random);
        let fluxes = self.bands.colours(&spectrum, random.between(0.1, 0.6)).map(|colour| colour * nanomaggies(r));
        let (distance, direction) = (random.between(8.0, 20.0), random.between(0.0, std::f64::consts::TAU));
        let profile = Profile {
            index: 1.0,
            radius: random.between(0.4, 1.0),
            axis_ratio: random.between(0.4, 1.0),
            angle: random.between(0.0, std::f64::consts::PI),
            centre: (15.5 + distance * direction.cos(), 15.5 + distance * direction.sin()),
        };
        (profile, fluxes)
    }
}

/// Flux of an AB magnitude; magnitude 22.5 is one nanomaggy.
fn nanomaggies(magnitude: f64) -> f64 {
    10_f64.powf(0.4 * (22.5 - magnitude))
}

/// Standard deviation of the sky in one pixel, from the depth: a point source is measured over `4πσ²` pixels.
fn sky_noise(band: usize) -> f64 {
    let pixels = 4.0 * std::f64::consts::PI * render::core_sigma(SEEING[band]).powi(2);
    nanomaggies(DEPTH[band]) / 5.0 / pixels.sqrt()
}

/// Lupton, Gunn and Szalay 1999: a magnitude that stays finite at and below zero flux.
fn asinh_magnitude(flux: f64, band: usize) -> f64 {
    let b = SOFTENING[band];
    -2.5 / std::f64::consts::LN_10 * (asinh(flux * 1e-9 / (2.0 * b)) + b.ln())
}

/// The inverse hyperbolic sine. That of the standard library asks for a `hypot` that is newer than the C library of AWS
/// Lambda, where the same program is to start. For magnitudes below 1e154, whose squares are numbers.
pub fn asinh(x: f64) -> f64 {
    let magnitude = x.abs();
    let square = magnitude * magnitude;
    (magnitude + square / (1.0 + (square + 1.0).sqrt())).ln_1p().copysign(x)
}

/// Half-light radius in kpc of a galaxy of absolute r magnitude `m` (Shen et al. 2003, MNRAS 343, 978, equations 14 to 16).
fn half_light_radius(m: f64, lateness: f64, random: &mut Random) -> f64 {
    let m0 = -20.9;
    let early = -0.4 * 0.65 * m - 5.06;
    let late = -0.4 * 0.26 * m + 0.25 * (1.0 + 10_f64.powf(-0.4 * (m - m0))).log10() - 1.71;
    let log_radius = if lateness < 0.3 { early } else { late };
    let scatter = 0.25 + 0.20 / (1.0 + 10_f64.powf(-0.8 * (m - m0)));
    10_f64.powf(log_radius) * (scatter * random.normal()).exp()
}
#[cfg(test)]
mod tests {
    use super::{BANDS, DEPTH, Galaxy, R, SIDE, Sky, asinh, asinh_magnitude, nanomaggies, sky_noise};

    fn some(count: u64) -> Vec<Galaxy> {
        let sky = Sky::new(3);
        (0..count).map(|index| sky.galaxy(index)).collect()
    }

    fn median(mut values: Vec<f64>) -> f64 {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    }

    #[test]
    fn a_galaxy_depends_on_seed_and_index_alone() {
        let (one, other) = (Sky::new(1), Sky::new(2));
        let alone = one.galaxy(5);
        (0..5).for_each(|index| assert_ne!(one.galaxy(index), alone));
        assert_eq!(Sky::new(1).galaxy(5), alone);
        assert_ne!(other.galaxy(5), alone);
    }

    #[test]
    fn everything_is_finite() {
        for (index, galaxy) in some(1000).iter().enumerate() {
            assert!(galaxy.image.iter().all(|pixel| pixel.is_finite()), "a pixel of galaxy {index}");
            assert!(galaxy.magnitudes.iter().all(|m| (10.0..30.0).contains(m)), "{index}: {:?}", galaxy.magnitudes);
        }
    }

    #[test]
    fn images_hold_the_light_that_the_magnitudes_say() {
        // The median over galaxies in r: wings outside of the stamp take a few percent, neighbours add a little.
        let ratios = some(600).into_iter().map(|galaxy| {
            let total: f32 = galaxy.image[R * SIDE * SIDE..(R + 1) * SIDE * SIDE].iter().sum();
            f64::from(total) / nanomaggies(galaxy.magnitudes[R])
        });
        let ratio = median(ratios.collect());
        assert!((0.85..1.03).contains(&ratio), "image over magnitude {ratio}");
    }

    #[test]
    fn the_survey_finds_nearby_galaxies_and_far_luminous_red_ones() {
        let sky = some(3000);
        let z: Vec<f64> = sky.iter().map(|galaxy| galaxy.redshift).collect();
        assert!(z.iter().all(|z| (0.02..=0.6).contains(z)));
        assert!((0.12..0.24).contains(&median(z.clone())), "median {}", median(z.clone()));
        let share = |low: f64, high: f64| z.iter().filter(|&&z| low <= z && z < high).count() as f64 / 3000.0;
        assert!(share(0.02, 0.2) > 0.4 && share(0.35, 0.6) > 0.2, "N(z) {} {}", share(0.02, 0.2), share(0.35, 0.6));
        let faint = sky.iter().filter(|galaxy| galaxy.fluxes[R] < nanomaggies(18.0));
        assert!(faint.clone().count() > 900 && faint.clone().all(|galaxy| galaxy.redshift > 0.1), "the faint are far");
    }

    #[test]
    fn far_galaxies_are_redder() {
        let sky = some(2000);
        let colour = |low: f64, high: f64| {
            let within = sky.iter().filter(|galaxy| low <= galaxy.redshift && galaxy.redshift < high);
            median(within.map(|galaxy| galaxy.magnitudes[1] - galaxy.magnitudes[2]).collect())
        };
        assert!(colour(0.3, 0.4) > colour(0.05, 0.1) + 0.5, "{} {}", colour(0.05, 0.1), colour(0.3, 0.4));
    }

    #[test]
    fn u_is_the_faintest_and_noisiest_band() {
        let sky = some(1000);
        let mean = |band: usize| sky.iter().map(|galaxy| galaxy.magnitudes[band]).sum::<f64>() / 1000.0;
        assert!((0..BANDS - 1).all(|band| mean(band) > mean(band + 1)), "{:?}", [0, 1, 2, 3, 4].map(mean));
        let error = |band: usize| {
            let off = |galaxy: &Galaxy| (galaxy.magnitudes[band] - asinh_magnitude(galaxy.fluxes[band], band)).abs();
            median(sky.iter().map(off).collect())
        };
        assert!(error(0) > 2.0 * error(2) && error(2) < 0.05, "u {} r {}", error(0), error(2));
    }

    #[test]
    fn corners_of_stamps_show_the_stated_sky_noise() {
        // 4 x 4 pixels in each corner, far from most galaxies; the median absolute deviation ignores the others.
        let sky = some(400);
        for band in 0..BANDS {
            let corner = |i: usize| !(4..SIDE - 4).contains(&i);
            let pixels = (0..SIDE * SIDE).filter(|i| corner(i % SIDE) && corner(i / SIDE));
            let at = |i: usize| sky.iter().map(move |galaxy| f64::from(galaxy.image[band * SIDE * SIDE + i]));
            let values: Vec<f64> = pixels.flat_map(at).collect();
            let centre = median(values.clone());
            let sigma = 1.4826 * median(values.iter().map(|value| (value - centre).abs()).collect());
            assert!((0.9..1.35).contains(&(sigma / sky_noise(band))), "band {band}: {sigma}, sky {}", sky_noise(band));
        }
    }

    #[test]
    fn a_point_source_at_the_depth_has_a_signal_to_noise_of_five() {
        // N_eff of a Gaussian of 1.30" full width: 4π (1.30 / 2.355 / 0.396)² = 24.4 pixels.
        let noise = sky_noise(R) * 24.4_f64.sqrt();
        assert!((nanomaggies(DEPTH[R]) / noise - 5.0).abs() < 0.3, "{}", nanomaggies(DEPTH[R]) / noise);
    }

    #[test]
    fn the_inverse_hyperbolic_sine_is_that_of_the_standard_library() {
        for x in [0.0, -1e-300, 1e-9, 0.3, -1.0, 2.5, -700.0, 1e9, 1e150] {
            let (found, expected) = (asinh(x), f64::asinh(x));
            assert!(
                (found - expected).abs() <= 4.0 * f64::EPSILON * expected.abs(),
                "asinh {x}: {found}, not {expected}"
            );
        }
    }

    #[test]
    fn asinh_magnitudes_are_ordinary_ones_where_it_is_bright() {
        assert!((asinh_magnitude(nanomaggies(18.0), R) - 18.0).abs() < 1e-3);
        // Zero flux in r is magnitude 24.80 (SDSS, table of the asinh softening).
        assert!((asinh_magnitude(0.0, R) - 24.80).abs() < 0.01);
        assert!(asinh_magnitude(-0.5, R).is_finite());
    }
}
