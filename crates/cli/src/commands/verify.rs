//! `starmap verify`: reads a run's results and inputs again and proves that they belong together.

use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serde_json::json;
use starmap_engine::journal::Reader;
use starmap_pipeline::payload::{Input, ResultPlace};
use starmap_pipeline::store::Store;
use starmap_pipeline::verify::verify;

use crate::commands::run::{PlaceArgs, resumed_settings, runtime, settings};
use crate::printer::Printer;
use crate::session::{self, Settings};
use crate::{exit, table};

/// Arguments of `starmap verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The run: name or ARN of its execution, or where its results are, as s3://BUCKET/RESULT_PATH
    #[arg(value_name = "RUN")]
    run: String,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Runs the command.
pub fn run(args: &VerifyArgs, printer: &Printer) -> anyhow::Result<ExitCode> {
    let (place, settings) = find(args)?;
    let store = Store::open(&settings.store()).context("opening the buckets")?;
    let found = runtime()?.block_on(verify(&store, &place))?;
    let is_whole = found.defects.is_empty();
    for defect in &found.defects {
        printer.failure(&defect.problem);
    }
    printer.result(&table::aligned(&[
        vec!["results".to_owned(), found.results.clone()],
        vec!["run".to_owned(), found.run_id.clone().unwrap_or_default()],
        vec!["ranks".to_owned(), found.ranks.to_string()],
        vec!["partitions read again".to_owned(), found.partitions.to_string()],
        vec!["galaxies compared".to_owned(), found.galaxies.to_string()],
        vec!["bytes read".to_owned(), found.bytes.to_string()],
        vec![
            "verdict".to_owned(),
            match found.defects.len() {
                0 => "complete: every galaxy once, nothing stale, every hash as recorded".to_owned(),
                1 => "1 defect".to_owned(),
                count => format!("{count} defects"),
            },
        ],
    ]));
    let mut object = serde_json::to_value(&found)?;
    object["status"] = json!(if is_whole { "COMPLETE" } else { "DEFECTIVE" });
    printer.object(&object);
    Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::from(exit::FAILED) })
}

/// Where the run's results are, and where the buckets.
fn find(args: &VerifyArgs) -> anyhow::Result<(ResultPlace, Settings)> {
    if let Some(location) = args.run.strip_prefix("s3://") {
        let Some((bucket, path)) = location.trim_end_matches('/').split_once('/') else {
            return Err(exit::usage(format!("{}: expected s3://BUCKET/RESULT_PATH", args.run)));
        };
        let place = ResultPlace { bucket: bucket.to_owned(), path: path.to_owned(), run_id: None };
        return Ok((place, settings(&args.place)?));
    }
    let data = &args.place.data;
    let record = session::reader(data)?.find_execution(&args.run)?.ok_or_else(|| {
        exit::usage(format!(
            "there is no execution {} in data root {}\n\
             hint: `starmap executions list` shows those that are; results elsewhere are named s3://BUCKET/RESULT_PATH",
            args.run,
            data.display()
        ))
    })?;
    let input =
        Input::parse(&record.input).with_context(|| format!("reading the input of execution {}", record.name))?;
    let mut place = input.results();
    place.run_id.get_or_insert_with(|| record.name.clone());
    Ok((place, resumed_settings(&record, &args.place)?))
}
