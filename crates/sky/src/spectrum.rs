//! Rest-frame spectra and what five bands see of them.
//!
//! A spectrum is an old and a young stellar population, each a black body with the absorption that shapes broad-band
//! colours, behind a Calzetti dust screen, with nebular lines in proportion to the young light. Real populations have
//! more structure; the features that carry redshift in ugriz (the 4000 Å break, the ultraviolet slope, Hα) are there
//! with about their observed strength. Approximations, all of them: no template library is involved.

use crate::BANDS;

/// Effective wavelengths of the SDSS bands in Å (Fukugita et al. 1996, AJ 111, 1748).
pub(crate) const WAVELENGTH: [f64; BANDS] = [3551.0, 4686.0, 6166.0, 7480.0, 8932.0];
/// Their full widths at half maximum in Å (same source).
const WIDTH: [f64; BANDS] = [599.0, 1379.0, 1382.0, 1535.0, 1370.0];
/// Samples per band; the continuum is smooth on the scale of their spacing.
const SAMPLES: usize = 28;
/// Edges of a band fall from 88 % to 12 % over this fraction of its width, twice.
const EDGE: f64 = 0.035;
/// Nebular lines: rest wavelength in Å and flux relative to Hα (typical star-forming disc; Kennicutt 1992, ApJ 388, 310).
const LINES: [(f64, f64); 8] = [
    (3727.0, 0.70),
    (4861.0, 0.30),
    (4959.0, 0.10),
    (5007.0, 0.30),
    (6548.0, 0.13),
    (6563.0, 1.00),
    (6583.0, 0.38),
    (6724.0, 0.35),
];

/// What a stellar population with its dust and gas looks like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spectrum {
    /// Black-body temperature of the old population in K: redder when cooler (older, more metals).
    pub old_temperature: f64,
    /// Depth of the 4000 Å break of the old population, as the fraction of light missing below it.
    pub break_depth: f64,
    /// The young population's share of the light at 5500 Å.
    pub young: f64,
    /// Colour excess E(B−V) of the dust screen.
    pub dust: f64,
    /// Equivalent width of Hα, in Å, of a population that is all young.
    pub h_alpha: f64,
}

/// `1` well below `edge`, `0` well above.
fn below(wavelength: f64, edge: f64, softness: f64) -> f64 {
    1.0 / (1.0 + ((wavelength - edge) / softness).exp())
}

fn dip(wavelength: f64, centre: f64, width: f64, depth: f64) -> f64 {
    1.0 - depth * (-((wavelength - centre) / width).powi(2)).exp()
}

/// Planck's law per unit wavelength, divided by its value at 5500 Å.
fn black_body(wavelength: f64, temperature: f64) -> f64 {
    const SECOND_RADIATION: f64 = 1.438_777e8; // hc/k in Å·K
    let at = |l: f64| l.powi(-5) / (SECOND_RADIATION / (l * temperature)).exp_m1();
    at(wavelength) / at(5500.0)
}

/// Calzetti et al. 2000 (ApJ 533, 682), equation 4: A(λ) / E(B−V).
fn attenuation(wavelength: f64) -> f64 {
    let x = 1e4 / wavelength;
    if wavelength < 6300.0 {
        2.659 * (-2.156 + 1.509 * x - 0.198 * x * x + 0.011 * x * x * x) + 4.05
    } else {
        2.659 * (-1.857 + 1.040 * x) + 4.05
    }
}

impl Spectrum {
    /// Stellar continuum `f_λ` at a rest wavelength in Å; about 1 at 5500 Å before dust.
    fn continuum(&self, wavelength: f64) -> f64 {
        let old = black_body(wavelength, self.old_temperature)
            * (1.0 - self.break_depth * below(wavelength, 3970.0, 50.0))
            * (1.0 - 0.45 * below(wavelength, 3000.0, 150.0))
            * dip(wavelength, 4300.0, 70.0, 0.10)
            * dip(wavelength, 5190.0, 110.0, 0.08);
        let young = black_body(wavelength, 11_000.0) * (1.0 - 0.30 * below(wavelength, 3700.0, 40.0));
        ((1.0 - self.young) * old + self.young * young) * 10_f64.powf(-0.4 * self.dust * attenuation(wavelength))
    }
}

/// The bands, sampled once.
#[derive(Clone, Debug)]
pub(crate) struct Bands {
    /// Observed wavelength and weight `T(λ) λ dλ` of each sample.
    samples: [[(f64, f64); SAMPLES]; BANDS],
    /// `∫ T(λ) dλ / λ`, what a source of constant `f_ν` gives (up to c).
    reference: [f64; BANDS],
}

fn transmission(band: usize, wavelength: f64) -> f64 {
    below((wavelength - WAVELENGTH[band]).abs(), WIDTH[band] / 2.0, EDGE * WIDTH[band])
}

impl Bands {
    pub(crate) fn new() -> Self {
        let mut samples = [[(0.0, 0.0); SAMPLES]; BANDS];
        let mut reference = [0.0; BANDS];
        for band in 0..BANDS {
            let step = 1.5 * WIDTH[band] / SAMPLES as f64;
            for (i, sample) in samples[band].iter_mut().enumerate() {
                let wavelength = WAVELENGTH[band] - 0.75 * WIDTH[band] + (i as f64 + 0.5) * step;
                let t = transmission(band, wavelength) * step;
                *sample = (wavelength, t * wavelength);
                reference[band] += t / wavelength;
            }
        }
        Self { samples, reference }
    }

    /// Mean `f_ν` through a band of a spectrum at redshift `z`, per photon counted (AB system, Fukugita et al. 1996).
    ///
    /// Only ratios mean something: the spectrum has no absolute scale. The value at `z` is of the same luminosity as at
    /// `z = 0`, so that `−2.5 log10(flux(z) / flux(0))` is the K-correction (Hogg et al. 2002, astro-ph/0210394).
    pub(crate) fn flux(&self, spectrum: &Spectrum, band: usize, z: f64) -> f64 {
        let stretch = 1.0 / (1.0 + z);
        let continuum: f64 = self.samples[band]
            .iter()
            .map(|&(wavelength, weight)| weight * spectrum.continuum(wavelength * stretch))
            .sum();
        let h_alpha = spectrum.young * spectrum.h_alpha * spectrum.continuum(6563.0);
        let lines: f64 = LINES
            .iter()
            .map(|&(rest, ratio)| {
                let observed = rest * (1.0 + z);
                // A line keeps its energy while the wavelength scale stretches by 1 + z.
                transmission(band, observed) * observed * ratio * h_alpha * (1.0 + z)
            })
            .sum();
        (continuum + lines) * stretch / self.reference[band]
    }

    /// Fluxes in all bands for an `r` flux of one.
    pub(crate) fn colours(&self, spectrum: &Spectrum, z: f64) -> [f64; BANDS] {
        let fluxes: [f64; BANDS] = std::array::from_fn(|band| self.flux(spectrum, band, z));
        fluxes.map(|flux| flux / fluxes[crate::R])
    }

    /// The K-correction in `r`, magnitudes.
    pub(crate) fn k_correction(&self, spectrum: &Spectrum, z: f64) -> f64 {
        -2.5 * (self.flux(spectrum, crate::R, z) / self.flux(spectrum, crate::R, 0.0)).log10()
    }
}

#[cfg(test)]
mod tests {
    use super::{Bands, Spectrum};

    const OLD: Spectrum = Spectrum { old_temperature: 4700.0, break_depth: 0.45, young: 0.01, dust: 0.0, h_alpha: 0.0 };
    const YOUNG: Spectrum =
        Spectrum { old_temperature: 4900.0, break_depth: 0.4, young: 0.7, dust: 0.12, h_alpha: 60.0 };

    fn colour(spectrum: &Spectrum, bluer: usize, redder: usize, z: f64) -> f64 {
        let flux = Bands::new().colours(spectrum, z);
        -2.5 * (flux[bluer] / flux[redder]).log10()
    }

    #[test]
    fn nearby_galaxies_have_the_observed_colours() {
        // Strateva et al. 2001 (AJ 122, 1861) split the galaxies at u − r = 2.22; Fukugita et al. 1995 give g − r of types.
        assert!((2.3..3.1).contains(&colour(&OLD, 0, 2, 0.02)), "u-r {}", colour(&OLD, 0, 2, 0.02));
        assert!((0.65..0.9).contains(&colour(&OLD, 1, 2, 0.02)), "g-r {}", colour(&OLD, 1, 2, 0.02));
        assert!((0.8..2.0).contains(&colour(&YOUNG, 0, 2, 0.02)), "u-r {}", colour(&YOUNG, 0, 2, 0.02));
        assert!((0.1..0.5).contains(&colour(&YOUNG, 1, 2, 0.02)), "g-r {}", colour(&YOUNG, 1, 2, 0.02));
    }

    #[test]
    fn the_break_crosses_g_and_then_r() {
        let g_r: Vec<f64> = (0..8).map(|i| colour(&OLD, 1, 2, 0.05 * f64::from(i))).collect();
        assert!(g_r.windows(2).all(|pair| pair[1] > pair[0] + 0.01), "g-r up to z 0.35: {g_r:?}");
        assert!(g_r[7] > g_r[0] + 0.6, "the rise of g-r: {g_r:?}");
        let r_i = |z| colour(&OLD, 2, 3, z);
        assert!(r_i(0.6) - r_i(0.4) > 2.0 * (r_i(0.4) - r_i(0.2)).abs(), "r-i rises only after the break enters r");
    }

    #[test]
    fn the_k_correction_of_an_old_galaxy_is_about_its_redshift() {
        // Red light dims: passive galaxies have a K-correction in r near z (Chilingarian et al. 2010: 0.1 at z 0.1).
        let k = Bands::new().k_correction(&OLD, 0.1);
        assert!((0.03..0.2).contains(&k), "K(0.1) = {k}");
    }
}
