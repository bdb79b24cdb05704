//! Runs on this machine, predicted from runs that were made on it.

use std::path::Path;

use starmap_engine::billing::{Architecture, Prices};
use starmap_engine::simulate::{Capacity, Latency};
use starmap_pipeline::payload::Input;
use starmap_pipeline::plan::{GALAXY_BYTES, MeasuredRun, Profile, Work, interval};

use super::measured;
use super::scene::{Predicted, Scene, predict};
use crate::session;

/// Simulated runs per prediction.
const SEEDS: u64 = 5;

/// Galaxies of partitions of these sizes, but for their headers.
pub fn galaxies(sizes: &[u64]) -> u64 {
    sizes.iter().map(|bytes| bytes / GALAXY_BYTES).sum()
}

/// What is estimated of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// Start to end, seconds.
    pub wall_s: f64,
    /// What it would cost on AWS, USD.
    pub usd: f64,
}

/// Predicts runs here.
#[derive(Debug, Clone)]
pub struct Local {
    /// What the runs say.
    pub profile: Profile,
    /// Measured wall over predicted wall of the runs that it was made from, sorted.
    pub ratios: Vec<f64>,
}

impl Local {
    /// From runs; `None` without any.
    pub fn of(runs: &[MeasuredRun]) -> Option<Self> {
        let profile = Profile::measured(runs, session::cores())?;
        let mut local = Self { profile, ratios: Vec::new() };
        let ratio = |run: &MeasuredRun| {
            let work = work_of(run);
            let (batch, precision) = (run.summary.batch_size, run.summary.precision.as_str());
            let predicted = local.simulate(&work, batch, precision, run.concurrency, 1_769).ok()?;
            Some(run.summary.wall_s? / predicted.wall_s.max(1e-6))
        };
        let mut ratios: Vec<f64> = runs.iter().filter_map(ratio).collect();
        ratios.sort_by(f64::total_cmp);
        local.ratios = ratios;
        Some(local)
    }

    /// The wall time of a run: what the middle of the runs so far says, and the ends of the interval that holds nine in ten.
    pub fn wall_s(&self, simulated_s: f64) -> (f64, f64, f64) {
        interval(&self.ratios, simulated_s, 0.9)
    }

    /// Simulates a run; the middle of a few.
    pub fn simulate(
        &self,
        work: &Work,
        batch: u64,
        precision: &str,
        concurrency: usize,
        memory_mib: u32,
    ) -> anyhow::Result<Predicted> {
        // More workers than cores share them.
        let crowding = |workers: usize| (workers as f64 / self.profile.cores as f64).max(1.0);
        let scene = Scene {
            profile: &self.profile,
            work,
            batch,
            precision,
            memory_mib,
            capacity: Capacity::local(concurrency),
            latency: Latency::default(),
            children_max: u32::try_from(concurrency * 2).unwrap_or(u32::MAX),
            slowness: crowding(concurrency) / crowding(self.profile.concurrency),
            ends_s: (0.0, 0.0),
        };
        let mut runs = (1..=SEEDS).map(|seed| predict(&scene, seed)).collect::<anyhow::Result<Vec<_>>>()?;
        runs.sort_by(|a, b| a.wall_s.total_cmp(&b.wall_s));
        Ok(runs.swap_remove(SEEDS as usize / 2))
    }
}

/// The work that a run did.
pub fn work_of(run: &MeasuredRun) -> Work {
    let mut ranks: Vec<_> = run.ranks.iter().collect();
    ranks.sort_by_key(|rank| rank.rank);
    let partitions = ranks.iter().flat_map(|rank| rank.partitions.iter().map(|partition| partition.rows));
    Work::of(partitions.collect(), run.summary.world_size)
}

/// Estimates a campaign's runs before they are made.
#[derive(Debug)]
pub struct Estimator {
    local: Option<Local>,
    prices: Prices,
}

impl Estimator {
    /// From the runs of a data root.
    pub fn of(data: &Path) -> Self {
        Self { local: Local::of(&measured::runs(data, |_| true)), prices: Prices::default() }
    }

    /// What the estimates are made from.
    pub fn source(&self) -> String {
        match &self.local {
            Some(local) => format!("{}, by simulation", local.profile.source),
            None => "nothing: no run has been made in this data root; one warm-up is enough for an estimate".to_owned(),
        }
    }

    /// Of a run over partitions of these sizes.
    pub fn estimate(&self, input: &Input, sizes: &[u64], concurrency: usize, memory_mib: u32) -> Option<Estimate> {
        let local = self.local.as_ref()?;
        let ranks = input.workers(sizes.len()) as u64;
        let work = Work::of(sizes.iter().map(|bytes| bytes / GALAXY_BYTES).collect(), ranks);
        let (batch, precision) = (input.batch_size as u64, input.precision.name());
        let predicted = local.simulate(&work, batch, precision, concurrency, memory_mib).ok()?;
        let usd = predicted.bill(&self.prices, Architecture::X86).total.usd.total;
        Some(Estimate { wall_s: local.wall_s(predicted.wall_s).0, usd })
    }
}
