//! The bill of a run: the engine's projection of its history, and the requests to object storage that only the pipeline
//! knows of.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use starmap_engine::billing::{self, Architecture, Bill, Prices, StorageRequests};
use starmap_engine::journal::{ExecutionRecord, Reader};
use starmap_pipeline::payload::{Input, ResultPlace};
use starmap_pipeline::requests::{ByFunction, Requests};
use starmap_pipeline::store::Store;
use starmap_pipeline::summary::{AwsCost, Summary};

use crate::exit;
use crate::session::Settings;

/// What the price depends on beside the run.
#[derive(Debug, Clone, Args)]
pub struct BillArgs {
    /// Prices and limits in place of those that ship, by name (TOML; see --show-prices)
    #[arg(long, value_name = "FILE.toml")]
    pub prices: Option<PathBuf>,
    /// The functions' processor: x86_64 or arm64
    #[arg(long, value_name = "ARCH", default_value = "x86_64")]
    pub architecture: Architecture,
    /// Ephemeral storage of a function in MB; 512 are free
    #[arg(long, value_name = "MB", default_value_t = 512, value_parser = clap::value_parser!(u32).range(512..=10_240))]
    pub ephemeral: u32,
}

impl Default for BillArgs {
    fn default() -> Self {
        Self { prices: None, architecture: Architecture::X86, ephemeral: 512 }
    }
}

impl BillArgs {
    /// The prices that are asked for.
    pub fn prices(&self) -> anyhow::Result<Prices> {
        let Some(path) = &self.prices else { return Ok(Prices::default()) };
        let text =
            std::fs::read_to_string(path).map_err(|error| exit::usage(format!("{}: {error}", path.display())))?;
        Prices::overridden_by(&text).map_err(|error| exit::usage(format!("{}: {error}", path.display())))
    }
}

/// The states whose functions make the requests, by their published names.
const STATES: [&str; 3] = ["Initialize", "Model Inference", "Summarize"];

/// What an execution would have cost.
pub fn of(
    journal: &dyn Reader,
    record: &ExecutionRecord,
    requests: Option<ByFunction>,
    args: &BillArgs,
) -> anyhow::Result<Bill> {
    let mut meter = billing::of(journal, record).context("reading the history to bill it")?;
    add_requests(&mut meter, requests);
    Ok(Bill::of(&meter, &args.prices()?, args.architecture, args.ephemeral))
}

/// Adds requests to object storage to what was metered.
pub fn add_requests(meter: &mut billing::Meter, requests: Option<ByFunction>) {
    let Some(ByFunction { initialize, infer, summarize }) = requests else { return };
    for (state, Requests { get, put, list }) in STATES.into_iter().zip([initialize, infer, summarize]) {
        meter.add_storage(state, None, StorageRequests { get, put, list });
    }
}

/// A bill as a run's summary has it.
pub fn aws_cost(bill: &Bill) -> AwsCost {
    let usd = bill.total.usd;
    AwsCost {
        prices_as_of: bill.prices_as_of.clone(),
        region: bill.region.clone(),
        architecture: bill.architecture.as_str().to_owned(),
        gb_s: bill.total.gb_s,
        transitions: bill.total.usage.transitions,
        lambda_usd: usd.lambda_compute + usd.lambda_requests + usd.lambda_ephemeral,
        step_functions_usd: usd.transitions + usd.express,
        s3_usd: usd.s3,
        total_usd: usd.total,
    }
}

/// The requests that a run's summary tells of; `None` where there is no such summary (yet).
pub async fn requests_of(store: &Store, place: &ResultPlace) -> Option<ByFunction> {
    summary(store, place).await.ok()?.requests
}

/// The summary under a result path.
pub async fn summary(store: &Store, place: &ResultPlace) -> anyhow::Result<Summary> {
    let location = place.summary();
    let json = store.get(&location.bucket, &location.key).await.with_context(|| location.to_string())?;
    let json = json.with_context(|| format!("{location}: there is no summary; it is written when a run succeeds"))?;
    serde_json::from_slice(&json).with_context(|| format!("{location}: this is not a summary"))
}

/// The summary of an execution, if it still is under its result path.
pub async fn summary_of(record: &ExecutionRecord) -> anyhow::Result<Summary> {
    let settings: Settings = serde_json::from_value(record.annotations.clone())
        .with_context(|| format!("reading the settings of execution {}", record.name))?;
    let input =
        Input::parse(&record.input).with_context(|| format!("reading the input of execution {}", record.name))?;
    let store = Store::open(&settings.store()).context("opening the buckets")?;
    let found = summary(&store, &input.results()).await?;
    let is_of_run = found.run_id == record.name || input.run_id.as_ref() == Some(&found.run_id);
    anyhow::ensure!(is_of_run, "the summary there is of run {}, not of {}", found.run_id, record.name);
    Ok(found)
}
