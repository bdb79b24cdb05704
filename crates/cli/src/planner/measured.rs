//! The runs that were made here, with all that they measured.

use std::path::Path;

use starmap_engine::journal::{ExecutionFilter, Reader, Status};
use starmap_pipeline::payload::Input;
use starmap_pipeline::plan::MeasuredRun;
use starmap_pipeline::results::{RankResult, names};
use starmap_pipeline::store::Store;

use crate::commands::run::runtime;
use crate::session::Settings;
use crate::{billing, session};

/// Runs that are looked at, newest first.
const RUNS_MAX: usize = 400;

/// The runs of a data root that succeeded and whose results are still there, newest first; none without a data root.
pub fn runs(data: &Path, wanted: impl Fn(&str) -> bool) -> Vec<MeasuredRun> {
    let Ok(journal) = session::reader(data) else { return Vec::new() };
    let filter = ExecutionFilter { status: Some(Status::Succeeded), ..ExecutionFilter::everyone() };
    let found = journal.executions(&filter, None, RUNS_MAX).unwrap_or_default();
    let Ok(runtime) = runtime() else { return Vec::new() };
    let mut runs = Vec::new();
    for summary in found.into_iter().filter(|summary| wanted(&summary.name)) {
        let Ok(Some(record)) = journal.execution(summary.id) else { continue };
        let Ok(settings) = serde_json::from_value::<Settings>(record.annotations.clone()) else { continue };
        // What was run over S3 is not asked for again: that would cost.
        if settings.buckets.is_none() {
            continue;
        }
        let read = runtime.block_on(async {
            let summary = billing::summary_of(&record).await.ok()?;
            let place = Input::parse(&record.input).ok()?.results();
            let store = Store::open(&settings.store()).ok()?;
            let location = place.object(names::COMBINED);
            let json = store.get(&location.bucket, &location.key).await.ok()??;
            let ranks: Vec<RankResult> = serde_json::from_slice(&json).ok()?;
            Some(MeasuredRun { summary, ranks, concurrency: settings.concurrency })
        });
        runs.extend(read);
    }
    runs
}
