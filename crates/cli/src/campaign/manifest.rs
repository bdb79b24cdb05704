//! `campaign.json`: which runs of a campaign there are and how far each has come. Written aside, synced and renamed, so that
//! whoever looks finds either what was or what is.

use std::fs::{File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use starmap_pipeline::campaign::Figures;
use starmap_pipeline::plan::Random;

use super::grid::Grid;
use crate::exit;

/// Version of the format.
const FORMAT: u32 = 1;
/// The manifest's file.
const FILE: &str = "campaign.json";

/// How far a campaign has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    format: u32,
    /// The campaign's name.
    pub name: String,
    /// The grid that it is of.
    pub grid_digest: String,
    /// What wrote this.
    pub created_by: String,
    /// The runs, in the order in which they are made.
    pub runs: Vec<Run>,
}

/// One run of a campaign.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Which configuration, from 0.
    pub configuration: usize,
    /// Whether it is a warm-up, whose figures are kept apart.
    pub warm_up: bool,
    /// Which of the configuration's warm-ups or repeats, from 1.
    pub round: u32,
    /// How often it was begun; a run that was interrupted is begun again, because its time would be wrong.
    pub attempts: u32,
    /// The execution that it was begun as last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution: Option<String>,
    /// How far it has come.
    pub state: State,
    /// What it measured, once it is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub figures: Option<Figures>,
    /// Why it failed, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How far a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Not begun.
    Pending,
    /// Begun; if no process is at it, it was interrupted.
    Running,
    /// Ended well.
    Done,
    /// Failed.
    Failed,
}

/// A campaign's folder, which this process has for itself.
#[derive(Debug)]
pub struct Kept {
    folder: PathBuf,
    /// What is kept there.
    pub manifest: Manifest,
    _lock: File,
}

impl Kept {
    /// Takes a campaign up where it was left, or begins it.
    ///
    /// # Errors
    /// When another process is at it, or when the folder holds a campaign of another grid.
    pub fn open(folder: &Path, grid: &Grid) -> anyhow::Result<Self> {
        let doing = || format!("campaign folder {}", folder.display());
        std::fs::create_dir_all(folder).with_context(doing)?;
        let path = folder.join("lock");
        let lock = File::options().create(true).truncate(false).write(true).open(path).with_context(doing)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(exit::usage(format!("{}: another process is at this campaign", doing())));
            }
            Err(TryLockError::Error(error)) => return Err(error).with_context(doing),
        }
        let mut kept = Self { folder: folder.to_owned(), manifest: Manifest::new(grid), _lock: lock };
        match read(folder)? {
            Some(found) if found.grid_digest == grid.digest => kept.manifest = found,
            Some(found) => {
                return Err(exit::usage(format!(
                    "{}: holds the campaign {} of another grid ({}, this one is {}); their runs must not be mixed\n\
                     hint: give the changed grid another name, or this campaign a folder of its own with --out DIR",
                    doing(),
                    found.name,
                    found.grid_digest,
                    grid.digest
                )));
            }
            None => kept.save()?,
        }
        Ok(kept)
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes what has changed durable.
    pub fn save(&self) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(&self.manifest)?;
        write_whole(&self.folder.join(FILE), text.as_bytes())
    }
}

/// The manifest in a folder, if there is one.
pub fn read(folder: &Path) -> anyhow::Result<Option<Manifest>> {
    let path = folder.join(FILE);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    let manifest: Manifest = serde_json::from_str(&text)
        .map_err(|error| exit::usage(format!("{}: this is not a campaign's manifest: {error}", path.display())))?;
    if manifest.format != FORMAT {
        return Err(exit::usage(format!("{}: has format {}, expected {FORMAT}", path.display(), manifest.format)));
    }
    Ok(Some(manifest))
}

/// Writes a file aside, syncs it and renames it to its place.
pub fn write_whole(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let doing = || format!("writing {}", path.display());
    let aside = path.with_extension("aside");
    let mut file = File::create(&aside).with_context(doing)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).with_context(doing)?;
    std::fs::rename(&aside, path).with_context(doing)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).with_context(doing)
}

impl Manifest {
    /// All runs of a grid: first the warm-ups, then round after round of every configuration once, each round shuffled.
    pub fn new(grid: &Grid) -> Self {
        let mut random = Random::new(grid.seed);
        let mut runs = Vec::new();
        let rounds =
            (1..=grid.warm_ups).map(|round| (true, round)).chain((1..=grid.repeats).map(|round| (false, round)));
        for (warm_up, round) in rounds {
            let mut order: Vec<usize> = (0..grid.configurations.len()).collect();
            random.shuffle(&mut order);
            runs.extend(order.into_iter().map(|configuration| Run {
                configuration,
                warm_up,
                round,
                attempts: 0,
                execution: None,
                state: State::Pending,
                figures: None,
                error: None,
            }));
        }
        Self {
            format: FORMAT,
            name: grid.name.clone(),
            grid_digest: grid.digest.clone(),
            created_by: starmap_pipeline::CREATED_BY.to_owned(),
            runs,
        }
    }

    /// Runs that have not ended.
    pub fn left(&self) -> usize {
        self.runs.iter().filter(|run| matches!(run.state, State::Pending | State::Running)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::super::grid::Configuration;
    use super::*;

    fn grid(seed: u64, digest: &str) -> Grid {
        let configuration = Configuration {
            keys: Vec::new(),
            input: serde_json::Value::Null,
            result_path: String::new(),
            concurrency: None,
            memory_mib: None,
            timeout_s: None,
        };
        let configurations = vec![configuration; 8];
        Grid { name: "g".to_owned(), seed, repeats: 2, warm_ups: 1, configurations, digest: digest.to_owned() }
    }

    #[test]
    fn every_round_has_every_configuration_once_in_an_order_that_the_seed_decides() {
        let manifest = Manifest::new(&grid(7, "d"));
        assert_eq!(manifest.runs.len(), 24);
        assert!(manifest.runs[..8].iter().all(|run| run.warm_up) && manifest.runs[8..].iter().all(|run| !run.warm_up));
        let order = |runs: &[Run]| runs.iter().map(|run| run.configuration).collect::<Vec<_>>();
        let rounds: Vec<_> = manifest.runs.chunks(8).map(order).collect();
        for round in &rounds {
            let mut sorted = round.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..8).collect::<Vec<_>>());
        }
        assert!(rounds[0] != rounds[1] && rounds[1] != rounds[2]);
        assert_eq!(manifest, Manifest::new(&grid(7, "d")));
        assert_ne!(order(&manifest.runs), order(&Manifest::new(&grid(8, "d")).runs));
    }

    #[test]
    fn a_campaign_is_taken_up_by_one_process_and_for_one_grid() {
        let folder = tempfile::tempdir().unwrap();
        let mut kept = Kept::open(folder.path(), &grid(7, "d")).unwrap();
        assert!(Kept::open(folder.path(), &grid(7, "d")).unwrap_err().to_string().contains("another process"));
        kept.manifest.runs[3].state = State::Done;
        kept.save().unwrap();
        drop(kept);
        assert_eq!(Kept::open(folder.path(), &grid(7, "d")).unwrap().manifest.left(), 23);
        let error = Kept::open(folder.path(), &grid(7, "e")).unwrap_err().to_string();
        assert!(error.contains("of another grid (d, this one is e)"), "{error}");
    }
}
