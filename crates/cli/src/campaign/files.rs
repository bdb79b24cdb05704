//! What a campaign writes: `results.csv`, `results.json`, `results.md` and `report.html`, whole at any moment.

use std::path::{Path, PathBuf};

use starmap_pipeline::campaign::{self, Campaign, Configuration};

use super::grid::Grid;
use super::manifest::{Manifest, State, write_whole};

/// What is known so far, for tables and pages.
pub fn campaign(grid: &Grid, manifest: &Manifest) -> Campaign {
    let of = |index: usize| {
        let runs = || manifest.runs.iter().filter(move |run| run.configuration == index);
        let figures =
            |warm_up: bool| runs().filter(move |run| run.warm_up == warm_up).filter_map(|run| run.figures.clone());
        let failed = runs().filter(|run| run.state == State::Failed);
        Configuration {
            keys: grid.configurations[index].keys.clone(),
            runs: figures(false).collect(),
            warm_ups: figures(true).collect(),
            failures: failed.map(|run| run.error.clone().unwrap_or_else(|| "it failed".to_owned())).collect(),
        }
    };
    Campaign {
        name: grid.name.clone(),
        created_by: manifest.created_by.clone(),
        repeats: grid.repeats,
        warm_ups: grid.warm_ups,
        configurations: (0..grid.configurations.len()).map(of).collect(),
    }
}

/// Writes all of it; says where the page is.
pub fn write(folder: &Path, campaign: &Campaign) -> anyhow::Result<PathBuf> {
    let json = serde_json::to_string_pretty(campaign)?;
    let report = folder.join("report.html");
    let files = [
        (folder.join("results.csv"), campaign::csv(campaign)),
        (folder.join("results.json"), json),
        (folder.join("results.md"), campaign::markdown(campaign)),
        (report.clone(), campaign::html(campaign)),
    ];
    for (path, text) in files {
        write_whole(&path, text.as_bytes())?;
    }
    Ok(report)
}
