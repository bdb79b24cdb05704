//! Which galaxies a flux-limited survey finds: type, redshift and luminosity.

use crate::{
    cosmology::Cosmology,
    random::Random,
    spectrum::{Bands, Spectrum},
};

/// Nodes of the tables in redshift.
const NODES: usize = 117;
/// Steps of an integral over luminosity.
const MAGNITUDES: usize = 64;
/// No galaxy is more luminous (absolute r magnitude).
const BRIGHTEST: f64 = -24.5;

/// One way of being observed: a class of galaxies, a luminosity function and a flux limit.
#[derive(Clone, Copy, Debug)]
struct Sample {
    early: bool,
    /// Characteristic absolute r magnitude at z = 0 and its brightening per unit redshift.
    m_star: f64,
    evolution: f64,
    /// Faint-end slope.
    alpha: f64,
    /// Number density, 1e-3 Mpc⁻³.
    density: f64,
    /// Least luminous galaxy of the sample.
    faintest: f64,
    /// Apparent r magnitudes of the sample.
    apparent: (f64, f64),
    redshifts: (f64, f64),
}

/// Red and blue galaxies of the SDSS main sample, r < 17.77 (Strauss et al. 2002, AJ 124, 1810), with Schechter functions
/// rounded from Baldry et al. 2004 (ApJ 600, 681) and luminosity evolution about half of Blanton et al. 2003 (ApJ 592, 819).
/// The third sample stands for the luminous red galaxies of SDSS and BOSS (Eisenstein et al. 2001, AJ 122, 2267;
/// Dawson et al. 2013, AJ 145, 10): the bright end of the red function only, three magnitudes fainter in flux.
const SAMPLES: [Sample; 3] = [
    Sample {
        early: true,
        m_star: -21.5,
        evolution: 0.8,
        alpha: -0.83,
        density: 2.25,
        faintest: -17.5,
        apparent: (14.5, 17.77),
        redshifts: (0.02, 0.35),
    },
    Sample {
        early: false,
        m_star: -20.9,
        evolution: 0.8,
        alpha: -1.25,
        density: 2.80,
        faintest: -17.0,
        apparent: (14.5, 17.77),
        redshifts: (0.02, 0.35),
    },
    Sample {
        early: true,
        m_star: -21.5,
        evolution: 0.8,
        alpha: -0.83,
        density: 2.25,
        faintest: -22.0,
        apparent: (17.0, 20.8),
        redshifts: (0.12, 0.60),
    },
];
/// Share of the luminous red galaxies; the other two follow their numbers in the sky.
const LUMINOUS_RED_SHARE: f64 = 0.45;

/// A galaxy before anybody looked at it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drawn {
    pub redshift: f64,
    /// Absolute r magnitude in the rest frame.
    pub absolute: f64,
    /// 0 = old and red, 1 = young and blue.
    pub lateness: f64,
}

#[derive(Clone, Debug)]
struct Table {
    sample: Sample,
    /// Share of the sample below each redshift node.
    cumulative: Vec<f64>,
    /// K-correction of the class' typical spectrum, per node.
    k_correction: Vec<f64>,
}

/// Tables to draw galaxies from.
#[derive(Clone, Debug)]
pub(crate) struct Population {
    tables: Vec<Table>,
    /// Cumulative shares of the samples.
    shares: [f64; SAMPLES.len()],
}

fn node(sample: &Sample, i: usize) -> f64 {
    sample.redshifts.0 + (sample.redshifts.1 - sample.redshifts.0) * i as f64 / (NODES - 1) as f64
}

impl Sample {
    /// Absolute magnitudes that the flux limits let through.
    fn visible(&self, distance_and_k: f64) -> (f64, f64) {
        let bright = (self.apparent.0 - distance_and_k).max(BRIGHTEST);
        (bright, (self.apparent.1 - distance_and_k).min(self.faintest))
    }

    /// Cumulative Schechter function (1976, ApJ 203, 297) over the visible magnitudes, in units of 1e-3 Mpc⁻³.
    fn counts(&self, z: f64, (bright, faint): (f64, f64)) -> [f64; MAGNITUDES + 1] {
        let mut sums = [0.0; MAGNITUDES + 1];
        let step = (faint - bright).max(0.0) / MAGNITUDES as f64;
        for i in 0..MAGNITUDES {
            let absolute = bright + (i as f64 + 0.5) * step;
            let x = 10_f64.powf(0.4 * (self.m_star - self.evolution * z - absolute));
            sums[i + 1] = sums[i] + step * 0.921 * self.density * x.powf(self.alpha + 1.0) * (-x).exp();
        }
        sums
    }
}

impl Population {
    pub(crate) fn new(cosmology: &Cosmology, bands: &Bands) -> Self {
        let mut numbers = [0.0; SAMPLES.len()];
        let tables: Vec<Table> = SAMPLES
            .iter()
            .zip(&mut numbers)
            .map(|(sample, number)| {
                let spectrum = if sample.early { stellar(0.05, -22.0) } else { stellar(0.6, -20.5) };
                let nodes = (0..NODES).map(|i| node(sample, i));
                let k_correction: Vec<f64> = nodes.clone().map(|z| bands.k_correction(&spectrum, z)).collect();
                let density = nodes.zip(&k_correction).map(|(z, k)| {
                    let visible = sample.visible(cosmology.distance_modulus(z) + k);
                    cosmology.volume_element(z) * sample.counts(z, visible)[MAGNITUDES]
                });
                let mut cumulative = vec![0.0];
                let density: Vec<f64> = density.collect();
                for pair in density.windows(2) {
                    let last = cumulative[cumulative.len() - 1];
                    cumulative.push(last + (pair[0] + pair[1]) / 2.0);
                }
                let total = cumulative[NODES - 1];
                *number = total * (sample.redshifts.1 - sample.redshifts.0);
                cumulative.iter_mut().for_each(|share| *share /= total);
                Table { sample: *sample, cumulative, k_correction }
            })
            .collect();
        let early = (1.0 - LUMINOUS_RED_SHARE) * numbers[0] / (numbers[0] + numbers[1]);
        Self { tables, shares: [early, 1.0 - LUMINOUS_RED_SHARE, 1.0] }
    }

    /// Draws a galaxy. The flux limit is applied with the class' typical spectrum, so that it is soft by the scatter of
    /// K-corrections around it (a few hundredths of a magnitude).
    pub(crate) fn draw(&self, cosmology: &Cosmology, random: &mut Random) -> Drawn {
        let which = random.uniform();
        let table = &self.tables[self.shares.iter().position(|&share| which < share).unwrap_or(0)];
        let sample = &table.sample;

        let share = random.uniform();
        let i = table.cumulative.partition_point(|&below| below <= share).clamp(1, NODES - 1);
        let (low, high) = (table.cumulative[i - 1], table.cumulative[i]);
        let fraction = ((share - low) / (high - low).max(f64::MIN_POSITIVE)).clamp(0.0, 1.0);
        let interpolate = |a: f64, b: f64| a + fraction * (b - a);
        let redshift = interpolate(node(sample, i - 1), node(sample, i));
        let k = interpolate(table.k_correction[i - 1], table.k_correction[i]);

        let visible = sample.visible(cosmology.distance_modulus(redshift) + k);
        let counts = sample.counts(redshift, visible);
        let target = random.uniform() * counts[MAGNITUDES];
        let j = counts.partition_point(|&count| count <= target).clamp(1, MAGNITUDES);
        let within = ((target - counts[j - 1]) / (counts[j] - counts[j - 1]).max(f64::MIN_POSITIVE)).clamp(0.0, 1.0);
        let absolute = visible.0 + (visible.1 - visible.0).max(0.0) * ((j - 1) as f64 + within) / MAGNITUDES as f64;

        let lateness = if sample.early {
            0.02 + 0.06 * random.normal().abs()
        } else {
            // Luminous spirals have older stars.
            0.58 + 0.05 * (absolute + 20.5) + 0.16 * random.normal()
        };
        Drawn { redshift, absolute, lateness: lateness.clamp(0.0, 1.0) }
    }
}

/// The typical stars, dust and gas of a galaxy. The old population follows the colour–magnitude relation: luminous galaxies
/// are redder (Bower, Lucey and Ellis 1992, MNRAS 254, 601).
pub(crate) fn stellar(lateness: f64, absolute: f64) -> Spectrum {
    Spectrum {
        old_temperature: 4720.0 + 30.0 * (absolute + 22.0).clamp(-2.0, 5.0),
        break_depth: 0.46 - 0.012 * (absolute + 22.0).clamp(-2.0, 5.0),
        young: (0.01 + 0.75 * lateness).min(0.8),
        dust: 0.8 * lateness * (1.1 - lateness),
        h_alpha: 60.0,
    }
}

/// The same with the galaxy-to-galaxy scatter that limits every photometric redshift.
pub(crate) fn scattered(lateness: f64, absolute: f64, random: &mut Random) -> Spectrum {
    let typical = stellar(lateness, absolute);
    Spectrum {
        old_temperature: typical.old_temperature + 60.0 * random.normal(),
        break_depth: (typical.break_depth + 0.015 * random.normal()).clamp(0.3, 0.6),
        young: (typical.young * (1.0 + 0.1 * random.normal())).clamp(0.0, 0.85),
        dust: (typical.dust * (1.0 + 0.3 * random.normal())).clamp(0.0, 0.6),
        h_alpha: typical.h_alpha * (0.3 * random.normal()).exp(),
    }
}
