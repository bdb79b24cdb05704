//! `starmap campaign`: many runs over a grid of inputs, and one report.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};
use starmap_pipeline::campaign::{Campaign, Figures};
use starmap_pipeline::payload::Input;
use starmap_pipeline::store::Store;

use crate::campaign::files;
use crate::campaign::grid::{self, Configuration, Grid};
use crate::campaign::manifest::{Kept, Manifest, Run, State};
use crate::commands::run::{self, EXAMPLE_DEFINITION, PlaceArgs, Plan};
use crate::planner::local::{self, Estimate};
use crate::printer::Printer;
use crate::progress::duration;
use crate::session::Settings;
use crate::{exit, table};

/// Arguments of `starmap campaign`.
#[derive(Debug, Args)]
pub struct CampaignArgs {
    /// The grid: base input, points, and the values of each key (see examples/campaigns)
    #[arg(value_name = "GRID.toml")]
    grid: PathBuf,
    /// List the runs in their order, with estimated time and cost, and run none
    #[arg(long)]
    dry_run: bool,
    /// Folder of the manifest, the tables and the report [default: campaigns/NAME in the data folder]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Begin runs again that failed when the campaign was run before
    #[arg(long)]
    retry_failed: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Runs the command.
pub fn run(args: &CampaignArgs, printer: &Printer) -> anyhow::Result<ExitCode> {
    let grid = grid::read(&args.grid)?;
    let settings = run::settings(&args.place)?;
    let sizes = sizes(&grid, &settings)?;
    if args.dry_run {
        dry_run(&grid, &sizes, &settings, args, printer);
        return Ok(ExitCode::SUCCESS);
    }
    let folder = args.out.clone().unwrap_or_else(|| args.place.data.join("campaigns").join(&grid.name));
    let mut kept = Kept::open(&folder, &grid)?;
    if args.retry_failed {
        for run in kept.manifest.runs.iter_mut().filter(|run| run.state == State::Failed) {
            (run.state, run.error) = (State::Pending, None);
        }
    }
    let total = kept.manifest.runs.len();
    let done = total - kept.manifest.left();
    printer.note(&format!("campaign {}: {total} runs, {done} done; kept in {}", grid.name, folder.display()));
    for index in 0..total {
        if matches!(kept.manifest.runs[index].state, State::Done | State::Failed) {
            continue;
        }
        if !one(&grid, &mut kept, index, &settings, args, printer)? {
            printer.warning(&format!(
                "campaign {} was interrupted; what is finished is kept\nhint: the same command goes on with it",
                grid.name
            ));
            return Ok(ExitCode::from(exit::INTERRUPTED));
        }
    }
    let campaign = files::campaign(&grid, &kept.manifest);
    let report = files::write(kept.folder(), &campaign)?;
    show(&campaign, &report.display().to_string(), printer);
    let has_failed = kept.manifest.runs.iter().any(|run| run.state == State::Failed);
    Ok(ExitCode::from(if has_failed { exit::FAILED } else { 0 }))
}

/// Makes one run; false if it was interrupted.
fn one(
    grid: &Grid,
    kept: &mut Kept,
    index: usize,
    settings: &Settings,
    args: &CampaignArgs,
    printer: &Printer,
) -> anyhow::Result<bool> {
    let run = &mut kept.manifest.runs[index];
    let left = run.execution.take().filter(|_| run.state == State::Running);
    run.attempts += 1;
    run.state = State::Running;
    let configuration = &grid.configurations[run.configuration];
    let settings = of(configuration, settings);
    let concurrency = settings.concurrency as u64;
    let plan = plan(grid, configuration, run, settings);
    run.execution = Some(plan.name.clone());
    let run = run.clone();
    if let Some(left) = left {
        run::stop(&left, &args.place.data)?;
    }
    kept.save()?;
    let shown = run::execute(plan, &args.place.data, None, &Printer::silent());
    let place = format!("[{}/{}] {}", index + 1, kept.manifest.runs.len(), title(configuration, &run));
    let (state, figures, error) = match shown {
        Ok(shown) if shown.code == exit::INTERRUPTED => return Ok(false),
        Ok(shown) => match shown.summary.as_ref().and_then(|summary| Figures::of(summary, concurrency)) {
            Some(figures) => (State::Done, Some(figures), None),
            None => (State::Failed, None, shown.error.or(Some("it failed".to_owned()))),
        },
        // A data root that is in use, or no disk, would fail every other run, too.
        Err(error) => return Err(error.context(place)),
    };
    match (&figures, &error) {
        (Some(figures), _) => printer.note(&format!(
            "{place}: {}, {:.0} galaxies/s, ${:.5} on AWS",
            duration(figures.wall_s),
            figures.galaxies_per_s,
            figures.aws_usd
        )),
        (None, error) => printer.warning(&format!("{place}: failed: {}", error.as_deref().unwrap_or_default())),
    }
    let kept_run = &mut kept.manifest.runs[index];
    (kept_run.state, kept_run.figures, kept_run.error) = (state, figures, error);
    kept.save()?;
    files::write(kept.folder(), &files::campaign(grid, &kept.manifest))?;
    Ok(true)
}

fn title(configuration: &Configuration, run: &Run) -> String {
    let kind = if run.warm_up { "warm-up" } else { "run" };
    format!("{kind} {} of {}", run.round, configuration.label())
}

fn of(configuration: &Configuration, settings: &Settings) -> Settings {
    let mut settings = settings.clone();
    settings.concurrency = configuration.concurrency.map_or(settings.concurrency, usize::from);
    settings.memory_mib = configuration.memory_mib.unwrap_or(settings.memory_mib);
    settings.timeout_s = configuration.timeout_s.unwrap_or(settings.timeout_s);
    settings
}

/// The same as `starmap run` makes of an input; each attempt has a name and a result path of its own.
fn plan(grid: &Grid, configuration: &Configuration, run: &Run, settings: Settings) -> Plan {
    let kind = if run.warm_up { 'w' } else { 'r' };
    let again = if run.attempts > 1 { format!("-{}", run.attempts) } else { String::new() };
    let random = uuid::Uuid::new_v4().simple().to_string();
    let name = format!("{}-c{:03}-{kind}{}{again}-{}", grid.name, run.configuration + 1, run.round, &random[..6]);
    let mut input = configuration.input.clone();
    input["result_path"] = json!(format!("{}/{name}", configuration.result_path));
    Plan { name, input, definition: EXAMPLE_DEFINITION.to_owned(), settings }
}

/// The sizes of the partitions that each configuration uses, bytes.
///
/// # Errors
/// Names the configurations that ask for more partitions than there are: they would be the same run under another name.
fn sizes(grid: &Grid, settings: &Settings) -> anyhow::Result<Vec<Vec<u64>>> {
    let store = Store::open(&settings.store()).context("opening the buckets")?;
    let mut known: Vec<((String, String), Vec<u64>)> = Vec::new();
    let (mut all, mut problems) = (Vec::new(), Vec::new());
    for (index, configuration) in grid.configurations.iter().enumerate() {
        let input = Input::parse(&configuration.input).context("reading the input of a configuration again")?;
        let place = (input.data_bucket.clone(), input.data_prefix.clone());
        let sizes = match known.iter().find(|(known, _)| *known == place) {
            Some((_, sizes)) => sizes.clone(),
            None => {
                let sizes = listed(&store, &place.0, &place.1)?;
                known.push((place.clone(), sizes.clone()));
                sizes
            }
        };
        if sizes.len() < input.file_limit {
            problems.push(format!(
                "configuration {} ({}) asks for {} partitions, {} are there under s3://{}/{}/",
                index + 1,
                configuration.label(),
                input.file_limit,
                sizes.len(),
                place.0,
                place.1
            ));
        }
        all.push(sizes.into_iter().take(input.file_limit).collect());
    }
    if problems.is_empty() {
        return Ok(all);
    }
    Err(exit::usage(format!(
        "{}\nhint: `starmap data synth` and `starmap data split` make partitions of a size; --buckets says where buckets are",
        problems.join("\n")
    )))
}

fn listed(store: &Store, bucket: &str, prefix: &str) -> anyhow::Result<Vec<u64>> {
    let listing = run::runtime()?.block_on(store.list(bucket, prefix));
    let listing = listing.map_err(|error| exit::usage(format!("s3://{bucket}/{prefix}/: {error}")))?;
    let is_partition = |key: &str| [".pt", ".safetensors", ".npz"].iter().any(|ending| key.ends_with(ending));
    Ok(listing.objects.into_iter().filter(|object| is_partition(&object.key)).map(|object| object.bytes).collect())
}

fn dry_run(grid: &Grid, sizes: &[Vec<u64>], settings: &Settings, args: &CampaignArgs, printer: &Printer) {
    let estimator = local::Estimator::of(&args.place.data);
    let estimates: Vec<Option<Estimate>> = grid
        .configurations
        .iter()
        .zip(sizes)
        .map(|(configuration, sizes)| {
            let settings = of(configuration, settings);
            let input = Input::parse(&configuration.input).ok()?;
            estimator.estimate(&input, sizes, settings.concurrency, settings.memory_mib)
        })
        .collect();
    let mut rows = vec![["#", "RUN", "GALAXIES", "ESTIMATED WALL", "ESTIMATED ON AWS"].map(str::to_owned).to_vec()];
    let (mut wall_s, mut usd) = (0.0, 0.0);
    let mut runs = Vec::new();
    for (index, run) in Manifest::new(grid).runs.iter().enumerate() {
        let configuration = &grid.configurations[run.configuration];
        let estimate = &estimates[run.configuration];
        wall_s += estimate.as_ref().map_or(0.0, |estimate| estimate.wall_s);
        usd += estimate.as_ref().map_or(0.0, |estimate| estimate.usd);
        let galaxies = local::galaxies(&sizes[run.configuration]);
        rows.push(vec![
            (index + 1).to_string(),
            title(configuration, run),
            galaxies.to_string(),
            estimate.as_ref().map_or_else(|| "–".to_owned(), |estimate| duration(estimate.wall_s)),
            estimate.as_ref().map_or_else(|| "–".to_owned(), |estimate| format!("${:.5}", estimate.usd)),
        ]);
        runs.push(json!({
            "configuration": run.configuration + 1, "label": configuration.label(), "warm_up": run.warm_up,
            "round": run.round, "galaxies": galaxies,
            "estimated_wall_s": estimate.as_ref().map(|estimate| estimate.wall_s),
            "estimated_aws_usd": estimate.as_ref().map(|estimate| estimate.usd),
        }));
    }
    printer.result(&table::aligned(&rows));
    printer.result(&format!(
        "\n{} configurations, {} runs: about {} here, ${usd:.4} if they ran on AWS\nestimated from {}",
        grid.configurations.len(),
        runs.len(),
        duration(wall_s),
        estimator.source()
    ));
    printer.object(&json!({
        "campaign": grid.name, "runs": runs, "estimated_wall_s": wall_s, "estimated_aws_usd": usd,
        "estimated_from": estimator.source(),
    }));
}

fn show(campaign: &Campaign, report: &str, printer: &Printer) {
    let mut rows =
        vec![["CONFIGURATION", "RUNS", "WALL", "GALAXIES/S", "PEAK MIB", "ON AWS"].map(str::to_owned).to_vec()];
    let mut shown: Vec<Value> = Vec::new();
    for configuration in &campaign.configurations {
        let median = |of: fn(&Figures) -> f64| {
            starmap_pipeline::campaign::Spread::of(configuration.runs.iter().map(of)).map(|spread| spread.median)
        };
        let told = |value: Option<f64>, how: fn(f64) -> String| value.map_or_else(|| "–".to_owned(), how);
        rows.push(vec![
            configuration.label(),
            configuration.runs.len().to_string(),
            told(median(|run| run.wall_s), duration),
            told(median(|run| run.galaxies_per_s), |rate| format!("{rate:.0}")),
            told(median(|run| run.peak_rss_mib), |mib| format!("{mib:.0}")),
            told(median(|run| run.aws_usd), |usd| format!("${usd:.5}")),
        ]);
        shown.push(json!({
            "label": configuration.label(), "runs": configuration.runs.len(), "failed": configuration.failures.len(),
            "wall_s": median(|run| run.wall_s), "aws_usd": median(|run| run.aws_usd),
        }));
    }
    printer.result(&table::aligned(&rows));
    printer.result(&format!("\nreport {report}"));
    printer.object(&json!({ "campaign": campaign.name, "configurations": shown, "report": report }));
}
