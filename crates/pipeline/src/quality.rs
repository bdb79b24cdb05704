//! How good the redshifts are: the figures of METRICS.md with bootstrap standard errors, over all galaxies and in bins.
//!
//! Everything is of dz = (z_phot − z_spec)/(1 + z_spec), except `mae`, `mse` and `r2`, which are of z. Percentiles
//! interpolate linearly between order statistics, as NumPy's do.
//!
//! Standard errors are of a Poisson bootstrap: in each of 200 resamples every galaxy counts Poisson(1) times, which for
//! a few hundred galaxies and more is the multinomial bootstrap, and needs one pass over sorted values instead of a
//! sort. Above 50,000 galaxies (5,000 in a bin) it runs on an evenly spaced part of them, and the errors are scaled by
//! √(part/all). The seed is fixed: the same predictions give the same errors.

use serde::{Deserialize, Serialize};

/// Bootstrap resamples.
const RESAMPLES: usize = 200;
/// Galaxies that the bootstrap of all galaxies runs on, at most.
const BOOTSTRAP_GALAXIES_MAX: usize = 50_000;
/// Galaxies that the bootstrap of one bin runs on, at most.
const BIN_BOOTSTRAP_GALAXIES_MAX: usize = 5_000;
/// Below this a standard error would say more about the bootstrap than about the galaxies.
const BOOTSTRAP_GALAXIES_MIN: usize = 20;
/// Seed of the bootstrap.
const SEED: u64 = 0x5354_4152_4d41_5021;
/// About how many bins there are for each quantity.
const BINS: usize = 12;

/// One galaxy with both redshifts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Galaxy {
    /// Predicted redshift.
    pub z_phot: f32,
    /// Spectroscopic redshift.
    pub z_spec: f64,
    /// Magnitude in the r band, mag.
    pub magnitude_r: f32,
}

impl Galaxy {
    /// (z_phot − z_spec)/(1 + z_spec).
    pub fn dz(&self) -> f64 {
        (f64::from(self.z_phot) - self.z_spec) / (1.0 + self.z_spec)
    }
}

/// The figures of METRICS.md; also their standard errors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Mean |z_phot − z_spec|.
    pub mae: f64,
    /// Mean (z_phot − z_spec)².
    pub mse: f64,
    /// 1 − mse / variance of z_spec; absent where z_spec does not vary.
    pub r2: Option<f64>,
    /// Mean of dz: the published table's bias.
    pub bias_mean: f64,
    /// Median of dz: RAIL's bias.
    pub bias_median: f64,
    /// 1.4826 · median |dz − median(dz)|.
    pub nmad: f64,
    /// The same with 1.48: the published table's precision.
    pub nmad_148: f64,
    /// (p75 − p25)/1.349 of dz.
    pub sigma_iqr: f64,
    /// Share of |dz| > 0.15.
    pub outliers_15: f64,
    /// Share of |dz| > 0.05.
    pub outliers_05: f64,
    /// Share of |dz| > max(0.06, 3·`sigma_iqr`).
    pub outliers_rail: f64,
}

/// [`Figures`] of some galaxies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// How many galaxies they are of.
    pub galaxies: u64,
    /// The figures.
    #[serde(flatten)]
    pub figures: Figures,
    /// Their standard errors; absent below 20 galaxies.
    pub standard_error: Option<Figures>,
}

/// [`Metrics`] of the galaxies in one bin, and what a plot of dz needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    /// Lower edge, inclusive. The first bin also has what lies below.
    pub from: f64,
    /// Upper edge, exclusive. The last bin also has what lies above.
    pub to: f64,
    /// 16th percentile of dz.
    pub dz_p16: f64,
    /// 84th percentile of dz.
    pub dz_p84: f64,
    /// The figures in this bin.
    #[serde(flatten)]
    pub metrics: Metrics,
}

/// Quality of all galaxies that have both redshifts. Empty bins are left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// Over all galaxies.
    #[serde(flatten)]
    pub all: Metrics,
    /// In bins of each quantity.
    pub bins: Bins,
}

/// See [`Quality`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bins {
    /// By spectroscopic redshift.
    pub z_spec: Vec<Bin>,
    /// By predicted redshift.
    pub z_phot: Vec<Bin>,
    /// By magnitude in the r band.
    pub magnitude_r: Vec<Bin>,
}

/// Computes everything; `None` without galaxies.
pub fn quality(galaxies: &[Galaxy]) -> Option<Quality> {
    let all = metrics(galaxies, BOOTSTRAP_GALAXIES_MAX)?;
    Some(Quality {
        all,
        bins: Bins {
            z_spec: bins(galaxies, |galaxy| galaxy.z_spec),
            z_phot: bins(galaxies, |galaxy| f64::from(galaxy.z_phot)),
            magnitude_r: bins(galaxies, |galaxy| f64::from(galaxy.magnitude_r)),
        },
    })
}

/// Round edges of about `count` equal bins over the bulk of the values (0.1 % to 99.9 %).
pub fn edges(values: impl Iterator<Item = f64>, count: usize) -> Vec<f64> {
    let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    if values.is_empty() {
        return Vec::new();
    }
    values.sort_by(f64::total_cmp);
    let (low, high) = (percentile(&values, 0.001), percentile(&values, 0.999));
    let step = round_step((high - low) / count as f64);
    let first = (low / step).floor();
    let last = ((high / step).ceil()).max(first + 1.0);
    // Each edge from its own number, so that 0.3 is 0.3 and not 0.1 + 0.1 + 0.1.
    (0..=(last - first) as usize).map(|i| round_to_step((first + i as f64) * step, step)).collect()
}

/// Which of the bins between `edges` a value is in; values beyond count for the bins at the ends.
pub fn bin_of(edges: &[f64], value: f64) -> usize {
    let above = edges.partition_point(|&edge| edge <= value);
    above.saturating_sub(1).min(edges.len().saturating_sub(2))
}

/// 1, 2 or 5 times a power of ten, the next one above `step`.
pub(crate) fn round_step(step: f64) -> f64 {
    if step.is_nan() || step <= 0.0 || !step.is_finite() {
        return 0.01;
    }
    let power = 10f64.powf(step.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= step * 0.999);
    factor.unwrap_or(10.0) * power
}

fn round_to_step(value: f64, step: f64) -> f64 {
    let digits = (-step.log10().floor()).max(0.0) as i32 + 1;
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}

fn bins(galaxies: &[Galaxy], of: impl Fn(&Galaxy) -> f64) -> Vec<Bin> {
    let edges = edges(galaxies.iter().map(&of), BINS);
    if edges.len() < 2 {
        return Vec::new();
    }
    let mut members: Vec<Vec<Galaxy>> = vec![Vec::new(); edges.len() - 1];
    for galaxy in galaxies {
        members[bin_of(&edges, of(galaxy))].push(*galaxy);
    }
    let binned = edges.windows(2).zip(members).filter_map(|(edge, members)| {
        let metrics = metrics(&members, BIN_BOOTSTRAP_GALAXIES_MAX)?;
        let mut dz: Vec<f64> = members.iter().map(Galaxy::dz).collect();
        dz.sort_by(f64::total_cmp);
        let (dz_p16, dz_p84) = (percentile(&dz, 0.16), percentile(&dz, 0.84));
        Some(Bin { from: edge[0], to: edge[1], dz_p16, dz_p84, metrics })
    });
    binned.collect()
}

fn metrics(galaxies: &[Galaxy], bootstrap_max: usize) -> Option<Metrics> {
    let sorted = Sorted::of(galaxies.iter());
    let figures = sorted.figures(None)?;
    let every = galaxies.len().div_ceil(bootstrap_max);
    let standard_error = if galaxies.len() < BOOTSTRAP_GALAXIES_MIN {
        None
    } else if every == 1 {
        standard_error(&sorted, galaxies.len())
    } else {
        standard_error(&Sorted::of(galaxies.iter().step_by(every)), galaxies.len())
    };
    Some(Metrics { galaxies: galaxies.len() as u64, figures, standard_error })
}

fn standard_error(part: &Sorted, galaxies: usize) -> Option<Figures> {
    let mut random = Random::default();
    let mut weights = vec![0u8; part.dz.len()];
    let mut resampled = Vec::with_capacity(RESAMPLES);
    for _ in 0..RESAMPLES {
        weights.iter_mut().for_each(|weight| *weight = random.poisson_1());
        resampled.extend(part.figures(Some(&weights)));
    }
    let scale = (part.dz.len() as f64 / galaxies as f64).sqrt();
    let deviation = |of: &dyn Fn(&Figures) -> f64| {
        let mean = resampled.iter().map(of).sum::<f64>() / resampled.len() as f64;
        let squares: f64 = resampled.iter().map(|figures| (of(figures) - mean).powi(2)).sum();
        (squares / (resampled.len() as f64 - 1.0)).sqrt() * scale
    };
    if resampled.len() < RESAMPLES / 2 {
        return None;
    }
    let has_r2 = resampled.iter().all(|figures| figures.r2.is_some());
    Some(Figures {
        mae: deviation(&|f| f.mae),
        mse: deviation(&|f| f.mse),
        r2: has_r2.then(|| deviation(&|f| f.r2.unwrap_or(0.0))),
        bias_mean: deviation(&|f| f.bias_mean),
        bias_median: deviation(&|f| f.bias_median),
        nmad: deviation(&|f| f.nmad),
        nmad_148: deviation(&|f| f.nmad_148),
        sigma_iqr: deviation(&|f| f.sigma_iqr),
        outliers_15: deviation(&|f| f.outliers_15),
        outliers_05: deviation(&|f| f.outliers_05),
        outliers_rail: deviation(&|f| f.outliers_rail),
    })
}

/// Galaxies in the order of their dz.
struct Sorted {
    dz: Vec<f64>,
    error: Vec<f64>,
    z_spec: Vec<f64>,
}

impl Sorted {
    fn of<'a>(galaxies: impl Iterator<Item = &'a Galaxy>) -> Self {
        let mut galaxies: Vec<&Galaxy> = galaxies.collect();
        galaxies.sort_by(|a, b| a.dz().total_cmp(&b.dz()));
        Self {
            dz: galaxies.iter().map(|galaxy| galaxy.dz()).collect(),
            error: galaxies.iter().map(|galaxy| f64::from(galaxy.z_phot) - galaxy.z_spec).collect(),
            z_spec: galaxies.iter().map(|galaxy| galaxy.z_spec).collect(),
        }
    }

    /// The figures with each galaxy counted `weights` times, once without. `None` if that leaves no galaxy.
    fn figures(&self, weights: Option<&[u8]>) -> Option<Figures> {
        let weight = |i: usize| weights.map_or(1, |weights| usize::from(weights[i]));
        let (mut count, mut error, mut square, mut z, mut dz) = (0usize, 0.0, 0.0, 0.0, 0.0);
        for i in 0..self.dz.len() {
            let w = weight(i);
            count += w;
            let w = w as f64;
            error += w * self.error[i].abs();
            square += w * self.error[i] * self.error[i];
            z += w * self.z_spec[i];
            dz += w * self.dz[i];
        }
        if count == 0 {
            return None;
        }
        let n = count as f64;
        let z_mean = z / n;
        let spread: f64 = (0..self.dz.len()).map(|i| weight(i) as f64 * (self.z_spec[i] - z_mean).powi(2)).sum();

        let ascending = || (0..self.dz.len()).map(|i| (self.dz[i], weight(i)));
        let [p25, median, p75] = percentiles(ascending(), count, [0.25, 0.5, 0.75]);
        let [deviation] = percentiles(self.deviations(median).map(|(value, i)| (value, weight(i))), count, [0.5]);
        let sigma_iqr = (p75 - p25) / 1.349;
        let beyond = |limit: f64| {
            // Sorted by dz, so outliers are at both ends.
            let below = self.dz.partition_point(|&dz| dz < -limit);
            let above = self.dz.partition_point(|&dz| dz <= limit);
            let outliers: usize = (0..below).chain(above..self.dz.len()).map(weight).sum();
            outliers as f64 / n
        };
        Some(Figures {
            mae: error / n,
            mse: square / n,
            r2: (spread > 0.0).then(|| 1.0 - square / spread),
            bias_mean: dz / n,
            bias_median: median,
            nmad: 1.4826 * deviation,
            nmad_148: 1.48 * deviation,
            sigma_iqr,
            outliers_15: beyond(0.15),
            outliers_05: beyond(0.05),
            outliers_rail: beyond((3.0 * sigma_iqr).max(0.06)),
        })
    }

    /// |dz − center| in ascending order, with the index: walks outwards from the center.
    fn deviations(&self, center: f64) -> impl Iterator<Item = (f64, usize)> {
        let mut above = self.dz.partition_point(|&dz| dz < center);
        let mut below = above;
        std::iter::from_fn(move || {
            let down = below.checked_sub(1).map(|i| (center - self.dz[i], i));
            let up = self.dz.get(above).map(|dz| (dz - center, above));
            let take_down = match (down, up) {
                (Some(down), Some(up)) => down.0 <= up.0,
                (Some(_), None) => true,
                (None, _) => false,
            };
            if take_down {
                below -= 1;
                down
            } else {
                above += 1;
                up
            }
        })
    }
}

/// Percentiles of ascending values that count `weight` times each, `count` in all; `shares` ascending.
fn percentiles<const N: usize>(
    ascending: impl Iterator<Item = (f64, usize)>,
    count: usize,
    shares: [f64; N],
) -> [f64; N] {
    let mut found = [f64::NAN; N];
    let positions = shares.map(|share| share * (count - 1) as f64);
    let (mut next, mut seen, mut lower) = (0, 0usize, f64::NAN);
    for (value, weight) in ascending.filter(|&(_, weight)| weight > 0) {
        // This value has the ranks `seen..seen + weight`; `lower` is that of rank `seen - 1`.
        while next < N && positions[next].ceil() < (seen + weight) as f64 {
            let whole = positions[next].floor();
            let part = positions[next] - whole;
            let at_floor = if whole < seen as f64 { lower } else { value };
            found[next] = at_floor + part * (value - at_floor);
            next += 1;
        }
        if next == N {
            break;
        }
        (seen, lower) = (seen + weight, value);
    }
    found
}

/// The percentile `share` of sorted values, interpolated linearly.
pub fn percentile(sorted: &[f64], share: f64) -> f64 {
    if sorted.is_empty() {
        return f64::NAN;
    }
    percentiles(sorted.iter().map(|&value| (value, 1)), sorted.len(), [share])[0]
}

/// SplitMix64 (Steele, Lea, Flood 2014, doi:10.1145/2660193.2660195).
pub(crate) struct Random(u64);

impl Default for Random {
    fn default() -> Self {
        Self(SEED)
    }
}

impl Random {
    /// A whole number below `limit`, above zero. Uniform to within limit/2⁶⁴.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(limit)) >> 64) as u64
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A Poisson number of mean 1, by inversion.
    fn poisson_1(&mut self) -> u8 {
        let uniform = (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        let (mut count, mut probability) = (0u8, (-1f64).exp());
        let mut sum = probability;
        // P(count > 20) is below 1e-19: less than a uniform of 53 bits can say.
        while uniform >= sum && count < 20 {
            count += 1;
            probability /= f64::from(count);
            sum += probability;
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn galaxy(z_phot: f32, z_spec: f64) -> Galaxy {
        Galaxy { z_phot, z_spec, magnitude_r: 18.0 }
    }

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-12 * (1.0 + a.abs())
    }

    /// Six galaxies and the figures that NumPy gives for them.
    #[test]
    fn the_figures_are_those_of_numpy() {
        let galaxies = [(0.5, 0.5), (0.25, 0.2), (0.75, 0.7), (0.125, 0.4), (1.0, 1.1), (0.375, 0.33)];
        let galaxies = galaxies.map(|(z_phot, z_spec)| galaxy(z_phot, z_spec));
        let all = quality(&galaxies).unwrap().all;
        let f = all.figures;
        assert_eq!((all.galaxies, all.standard_error), (6, None));
        for (name, found, numpy) in [
            ("mae", f.mae, 0.08666666666666668),
            ("mse", f.mse, 0.015441666666666673),
            ("r2", f.r2.unwrap(), 0.8218554718795064),
            ("bias_mean", f.bias_mean, -0.023189100201484115),
            ("bias_median", f.bias_median, 0.01470588235294119),
            ("nmad", f.nmad, 0.03416613777089779),
            ("sigma_iqr", f.sigma_iqr, 0.05073622441836945),
            ("outliers_15", f.outliers_15, 1.0 / 6.0),
            ("outliers_05", f.outliers_05, 1.0 / 6.0),
            ("outliers_rail", f.outliers_rail, 1.0 / 6.0),
        ] {
            assert!((found - numpy).abs() < 1e-9, "{name}: {found}, NumPy has {numpy}");
        }
        assert!(close(f.nmad_148, f.nmad / 1.4826 * 1.48));
    }

    #[test]
    fn the_standard_error_of_a_mean_is_sigma_over_root_n() {
        let mut random = Random(1);
        let mut uniform = || (random.next() >> 11) as f64 / (1u64 << 53) as f64 - 0.5;
        let galaxies: Vec<Galaxy> = (0..4_000).map(|_| galaxy((0.5 + 0.1 * uniform()) as f32, 0.5)).collect();
        let all = quality(&galaxies).unwrap().all;
        let expected = 0.1 / 12f64.sqrt() / 1.5 / 4_000f64.sqrt();
        let found = all.standard_error.unwrap().bias_mean;
        // 200 resamples know a standard error to 1/√400 = 5 %; four times that.
        assert!((found / expected - 1.0).abs() < 0.2, "{found}, expected {expected}");
        assert_eq!(all.figures.r2, None, "z_spec does not vary");
        assert_eq!(quality(&galaxies).unwrap().all, all, "the seed is fixed");
    }

    #[test]
    fn a_part_gives_the_error_of_the_whole() {
        let mut random = Random(2);
        let mut uniform = || (random.next() >> 11) as f64 / (1u64 << 53) as f64;
        let galaxies: Vec<Galaxy> =
            (0..40_000).map(|_| galaxy((0.5 + 0.1 * uniform()) as f32, 0.4 + 0.2 * uniform())).collect();
        let whole = metrics(&galaxies, 50_000).unwrap().standard_error.unwrap();
        let part = metrics(&galaxies, 5_000).unwrap().standard_error.unwrap();
        for (whole, part) in [(whole.nmad, part.nmad), (whole.mae, part.mae), (whole.sigma_iqr, part.sigma_iqr)] {
            assert!((part / whole - 1.0).abs() < 0.35, "{part} of a part, {whole} of the whole");
        }
    }

    #[test]
    fn edges_are_round_and_hold_the_bulk() {
        let values = (0..1_000).map(|i| 0.013 + 0.0009 * f64::from(i));
        let edges = edges(values, 12);
        assert_eq!(edges, [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]);
        assert_eq!([-1.0, 0.0, 0.05, 0.1, 0.95, 7.0].map(|value| bin_of(&edges, value)), [0, 0, 0, 1, 9, 9]);
        assert!(super::edges([0.5; 3].into_iter(), 12).len() >= 2, "one value still has a bin");
        assert_eq!(super::edges([].into_iter(), 12), [] as [f64; 0]);
    }

    proptest! {
        #[test]
        fn weights_are_repetitions(galaxies in proptest::collection::vec((0f32..1.0, 0f64..1.0, 0u8..4), 1..40)) {
            let plain: Vec<Galaxy> = galaxies.iter().map(|&(z_phot, z_spec, _)| galaxy(z_phot, z_spec)).collect();
            let sorted = Sorted::of(plain.iter());
            let weight_of = |dz: f64| galaxies.iter().find(|g| galaxy(g.0, g.1).dz() == dz).unwrap().2;
            let weights: Vec<u8> = sorted.dz.iter().map(|&dz| weight_of(dz)).collect();
            let repeated: Vec<Galaxy> = galaxies.iter()
                .flat_map(|g| std::iter::repeat_n(galaxy(g.0, g.1), usize::from(weight_of(galaxy(g.0, g.1).dz())))).collect();
            let weighted = sorted.figures(Some(&weights));
            let expected = Sorted::of(repeated.iter()).figures(None);
            prop_assert_eq!(weighted.is_some(), expected.is_some());
            if let (Some(a), Some(b)) = (weighted, expected) {
                for (a, b) in [(a.mae, b.mae), (a.bias_median, b.bias_median), (a.nmad, b.nmad), (a.sigma_iqr, b.sigma_iqr), (a.outliers_05, b.outliers_05)] {
                    prop_assert!(close(a, b), "{a} {b}");
                }
            }
        }

        #[test]
        fn the_median_deviation_is_that_of_a_sort(dz in proptest::collection::vec(-1f64..1.0, 1..50)) {
            let galaxies: Vec<Galaxy> = dz.iter().map(|&dz| galaxy(dz as f32, 0.0)).collect();
            let sorted = Sorted::of(galaxies.iter());
            let figures = sorted.figures(None).unwrap();
            let mut deviations: Vec<f64> = sorted.dz.iter().map(|dz| (dz - figures.bias_median).abs()).collect();
            deviations.sort_by(f64::total_cmp);
            prop_assert!(close(figures.nmad, 1.4826 * percentile(&deviations, 0.5)));
        }
    }
}
