//! The numbers behind the report's figures: binned, so that their size does not grow with the survey.

use serde::{Deserialize, Serialize};

use crate::quality::{Galaxy, bin_of, edges, percentile};
use crate::results::{Phases, RankResult};

/// Bins of the density plot along each axis.
const DENSITY_BINS: usize = 72;
/// Bins of the redshift distributions.
const N_Z_BINS: usize = 36;
/// Bins of the histogram of dz.
const DZ_BINS: usize = 61;

/// `plots.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Plots {
    /// z_phot against z_spec.
    pub density: Option<Density>,
    /// How many galaxies there are at each redshift.
    pub n_z: Option<RedshiftDistribution>,
    /// Histogram of dz.
    pub dz: Option<Histogram>,
    /// What each worker did when.
    pub timeline: Vec<Bar>,
}

/// Counts on a square grid from 0 to `z_max` in both directions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Density {
    /// Upper end of both axes.
    pub z_max: f64,
    /// Bins along each axis.
    pub bins: usize,
    /// `counts[z_phot bin · bins + z_spec bin]`.
    pub counts: Vec<u64>,
    /// Galaxies outside of the grid.
    pub outside: u64,
}

/// Counts per redshift bin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RedshiftDistribution {
    /// Edges of the bins; those at the ends also have what lies beyond.
    pub edges: Vec<f64>,
    /// Predicted.
    pub z_phot: Vec<u64>,
    /// Spectroscopic, of the galaxies that have one.
    pub z_spec: Option<Vec<u64>>,
}

/// Counts per bin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// Edges of the bins.
    pub edges: Vec<f64>,
    /// Counts.
    pub counts: Vec<u64>,
    /// Below the first edge.
    pub below: u64,
    /// At or above the last edge.
    pub above: u64,
}

/// One item on its worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bar {
    /// The rank.
    pub rank: usize,
    /// The worker.
    pub log_stream: String,
    /// When it began, ms since the epoch, by the worker's clock.
    pub started_at: f64,
    /// How long its phases were.
    pub phases: Phases,
}

impl Plots {
    /// Bins galaxies; those without a spectroscopic redshift have NaN there.
    pub fn of(galaxies: &[Galaxy], ranks: &[RankResult]) -> Self {
        let both: Vec<&Galaxy> = galaxies.iter().filter(|galaxy| galaxy.z_spec.is_finite()).collect();
        Self {
            density: density(&both),
            n_z: n_z(galaxies, &both),
            dz: dz(&both),
            timeline: ranks.iter().map(bar).collect(),
        }
    }
}

fn bar(rank: &RankResult) -> Bar {
    Bar { rank: rank.rank, log_stream: rank.log_stream.clone(), started_at: rank.started_at, phases: rank.phases }
}

fn density(both: &[&Galaxy]) -> Option<Density> {
    if both.is_empty() {
        return None;
    }
    let mut redshifts: Vec<f64> = both.iter().flat_map(|galaxy| [galaxy.z_spec, f64::from(galaxy.z_phot)]).collect();
    redshifts.sort_by(f64::total_cmp);
    let high = percentile(&redshifts, 0.999);
    let z_max = edges([0.0, high].into_iter(), 10).last().copied().filter(|z_max| *z_max > 0.0)?;
    let mut counts = vec![0; DENSITY_BINS * DENSITY_BINS];
    let mut outside = 0;
    let bin = |z: f64| (0.0..z_max).contains(&z).then(|| (z / z_max * DENSITY_BINS as f64) as usize);
    for galaxy in both {
        match (bin(f64::from(galaxy.z_phot)), bin(galaxy.z_spec)) {
            (Some(y), Some(x)) => counts[y.min(DENSITY_BINS - 1) * DENSITY_BINS + x.min(DENSITY_BINS - 1)] += 1,
            _ => outside += 1,
        }
    }
    Some(Density { z_max, bins: DENSITY_BINS, counts, outside })
}

fn n_z(galaxies: &[Galaxy], both: &[&Galaxy]) -> Option<RedshiftDistribution> {
    let z_phot = || galaxies.iter().map(|galaxy| f64::from(galaxy.z_phot));
    let z_spec = || both.iter().map(|galaxy| galaxy.z_spec);
    let edges = edges(z_phot().chain(z_spec()), N_Z_BINS);
    if edges.len() < 2 {
        return None;
    }
    let counted = |values: &mut dyn Iterator<Item = f64>| {
        let mut counts = vec![0; edges.len() - 1];
        values.for_each(|value| counts[bin_of(&edges, value)] += 1);
        counts
    };
    let z_phot = counted(&mut z_phot());
    let z_spec = (!both.is_empty()).then(|| counted(&mut z_spec()));
    Some(RedshiftDistribution { edges, z_phot, z_spec })
}

/// Symmetric about zero, wide enough for 99 % of the galaxies.
fn dz(both: &[&Galaxy]) -> Option<Histogram> {
    if both.is_empty() {
        return None;
    }
    let mut sizes: Vec<f64> = both.iter().map(|galaxy| galaxy.dz().abs()).collect();
    sizes.sort_by(f64::total_cmp);
    let half = edges([0.0, percentile(&sizes, 0.99)].into_iter(), 10).last().copied()?;
    let step = 2.0 * half / DZ_BINS as f64;
    let edges: Vec<f64> = (0..=DZ_BINS).map(|i| -half + step * i as f64).collect();
    let mut histogram = Histogram { edges, counts: vec![0; DZ_BINS], below: 0, above: 0 };
    for galaxy in both {
        let dz = galaxy.dz();
        if dz < -half {
            histogram.below += 1;
        } else if dz >= half {
            histogram.above += 1;
        } else {
            histogram.counts[(((dz + half) / step) as usize).min(DZ_BINS - 1)] += 1;
        }
    }
    Some(histogram)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn galaxies() -> Vec<Galaxy> {
        let one = |i: u32| Galaxy {
            z_phot: 0.001 * i as f32,
            z_spec: if i.is_multiple_of(4) { f64::NAN } else { 0.001 * f64::from(i) + 0.01 },
            magnitude_r: 18.0,
        };
        (0..400).map(one).collect()
    }

    #[test]
    fn every_galaxy_is_in_every_figure_once() {
        let plots = Plots::of(&galaxies(), &[]);
        let density = plots.density.unwrap();
        assert_eq!(density.counts.iter().sum::<u64>() + density.outside, 300);
        assert_eq!(density.z_max, 0.45);
        let n_z = plots.n_z.unwrap();
        assert_eq!((n_z.z_phot.iter().sum::<u64>(), n_z.z_spec.unwrap().iter().sum::<u64>()), (400, 300));
        let dz = plots.dz.unwrap();
        assert_eq!(dz.counts.iter().sum::<u64>() + dz.below + dz.above, 300);
        assert!((dz.edges[0] + dz.edges[DZ_BINS]).abs() < 1e-12);
    }

    #[test]
    fn without_galaxies_there_are_no_figures() {
        assert!(Plots::of(&[], &[]) == Plots::default());
        let alone = Galaxy { z_phot: 0.1, z_spec: f64::NAN, magnitude_r: 18.0 };
        let plots = Plots::of(&[alone; 5], &[]);
        assert!(plots.density.is_none() && plots.dz.is_none());
        assert_eq!(plots.n_z.unwrap().z_spec, None);
    }
}
