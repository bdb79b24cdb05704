//! `starmap demo`: the whole thing on a sky of its own making, in under a minute.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serde_json::json;

use crate::commands::{run, synth};
use crate::printer::Printer;
use crate::session::{self, Settings};
use crate::{exit, variables};

/// The model that ships: trained on the same kind of sky, on other galaxies.
const MODEL: &[u8] = include_bytes!("../../../../models/demo/starmap-demo.safetensors");
/// Seed of the demo's sky. The model was trained on another one, so every galaxy here is new to it.
const HELD_OUT_SEED: u64 = 2_026;
/// Galaxies of the demo's sky in all, and of one partition.
const GALAXIES: u64 = 4_000;
const GALAXIES_PER_PARTITION: u64 = 500;
/// What the model must reach, or the demo has shown nothing.
const R2_MIN: f64 = 0.9;

/// Arguments of `starmap demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Folder for the sky, the journal, the logs and the results
    #[arg(long, value_name = "DIR", env = variables::DATA, default_value = "starmap-data")]
    data: PathBuf,
    /// Workers that run at once [default: as many as cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    concurrency: Option<u16>,
    /// Serve the console while the run lasts, on a free port of 127.0.0.1 unless another address is given
    #[arg(long, value_name = "ADDR", num_args = 0..=1, default_missing_value = "127.0.0.1:0", require_equals = true)]
    console: Option<SocketAddr>,
}

/// Runs the command.
pub fn run(args: &DemoArgs, printer: &Printer) -> anyhow::Result<ExitCode> {
    let buckets = args.data.join("buckets");
    let bucket = buckets.join("demo");
    make_sky(&bucket.join("sky"), printer)?;
    let models = bucket.join("models");
    std::fs::create_dir_all(&models).with_context(|| models.display().to_string())?;
    let model = models.join("starmap-demo.safetensors");
    std::fs::write(&model, MODEL).with_context(|| model.display().to_string())?;

    let name = run::fresh_name();
    let input = json!({
        "bucket": "demo",
        "file_limit": GALAXIES / GALAXIES_PER_PARTITION,
        "batch_size": 256,
        "object_type": "file",
        "S3_object_name": "models/starmap-demo.safetensors",
        "script": "built in",
        "result_path": format!("results/{name}"),
        "data_bucket": "demo",
        "data_prefix": "sky",
    });
    // The same file again, for whoever wants to change it and run it by hand.
    let input_file = args.data.join("demo-input.json");
    std::fs::write(&input_file, format!("{input:#}\n")).with_context(|| input_file.display().to_string())?;
    let settings = Settings {
        buckets: Some(buckets.canonicalize().with_context(|| buckets.display().to_string())?),
        concurrency: args.concurrency.map_or_else(session::cores, usize::from),
        memory_mib: 1_769,
        timeout_s: 900,
        aliases: Default::default(),
    };
    let plan = run::Plan { name, input, definition: run::EXAMPLE_DEFINITION.to_owned(), settings };
    let shown = run::execute(plan, &args.data, args.console, printer)?;
    let Some(summary) = shown.summary else { return Ok(ExitCode::from(shown.code)) };
    let r2 = summary.quality.as_ref().and_then(|quality| quality.all.figures.r2);
    match r2 {
        Some(r2) if r2 > R2_MIN => {
            printer.note(&format!(
                "R\u{b2} {r2:.4} on {} galaxies that the model has never seen (expected above {R2_MIN})\n\
                 next: open the report, then change {} and `starmap run` it",
                summary.galaxies,
                input_file.display()
            ));
            Ok(ExitCode::SUCCESS)
        }
        _ => Err(exit::bug(format!("the demo model reached R\u{b2} {r2:?}, expected above {R2_MIN}"))),
    }
}

/// The sky is the same every time, so one that is whole already is kept.
fn make_sky(folder: &Path, printer: &Printer) -> anyhow::Result<()> {
    if folder.join("manifest.json").exists() {
        return Ok(());
    }
    printer.note(&format!("making a synthetic sky of {GALAXIES} galaxies in {}", folder.display()));
    synth::synth(folder, GALAXIES, GALAXIES_PER_PARTITION, HELD_OUT_SEED)
}
