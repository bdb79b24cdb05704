//! `starmap plan`: what a run would take and cost, before it is made.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use starmap_engine::billing::{Architecture, Prices};
use starmap_engine::simulate::{Capacity, Latency};
use starmap_pipeline::legacy;
use starmap_pipeline::payload::Input;
use starmap_pipeline::plan::{Calibrated, GALAXIES_PER_MB, Profile, observations};
use starmap_pipeline::requests::partition_reads;

use crate::billing::BillArgs;
use crate::planner::choices::{self, Choice, NearTo, Outlook, Space};
use crate::planner::local::Local;
use crate::planner::scene::{Predicted, Scene, predict};
use crate::planner::{cloud, measured};
use crate::printer::Printer;
use crate::progress::duration;
use crate::{exit, session, table, variables};

/// Arguments of `starmap plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// The input JSON of the execution that is planned
    #[arg(value_name = "INPUT.json", required_unless_present = "check")]
    input: Option<PathBuf>,
    /// Where it is to run
    #[arg(long, value_name = "TARGET", value_enum, default_value_t = Target::Aws)]
    target: Target,
    /// Galaxies in all [default: those of the input's partitions]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000_000_000))]
    galaxies: Option<u64>,
    /// Be done within: seconds, or with a unit as in 90s, 10min, 2h
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    deadline: Option<f64>,
    /// Cost at most, USD (core hours where nobody pays)
    #[arg(long, value_name = "USD")]
    budget: Option<f64>,
    /// Workers at once at most [default: 1000 on AWS, the cores here, 1024 under Slurm]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    concurrency: Option<u32>,
    /// Plan with the recorded items of the published pipeline, even where runs of yours are there
    #[arg(long)]
    recorded: bool,
    /// How fast a core of the target is against one of this machine
    #[arg(long, value_name = "RATIO", default_value_t = 1.0, value_parser = parse_ratio)]
    core_speed: f64,
    /// Predict the configurations of a finished campaign, each from the others, and say how far off that is
    #[arg(long, value_name = "DIR", conflicts_with_all = ["input", "deadline", "budget", "galaxies", "recorded"])]
    check: Option<PathBuf>,
    /// Folder with the journal of the runs to learn from
    #[arg(long, value_name = "DIR", env = variables::DATA, default_value = "starmap-data")]
    data: PathBuf,
    #[command(flatten)]
    bill: BillArgs,
}

/// Where a planned run is to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Target {
    /// This machine
    Local,
    /// Step Functions and Lambda
    Aws,
    /// Tasks of one core under Slurm
    Slurm,
}

/// Children that are simulated for one answer, in all: more choices are taken by their bounds first.
const CHILDREN_MAX: u64 = 120_000;
/// Simulated runs of a choice that is shown.
const SEEDS: u64 = 3;
/// A worker's memory is planned to be this much above what was seen.
const MEMORY_MARGIN: f64 = 1.3;

/// Runs the command.
pub fn run(args: &PlanArgs, printer: &Printer) -> anyhow::Result<ExitCode> {
    if let Some(folder) = &args.check {
        return crate::planner::check::run(folder, &args.data, printer);
    }
    let begun = Instant::now();
    let path = args.input.as_deref().unwrap_or(Path::new("-"));
    let at = |problem: String| exit::usage(format!("input {}: {problem}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| at(error.to_string()))?;
    let value: Value = serde_json::from_str(&text).map_err(|error| at(format!("this is not JSON: {error}")))?;
    let input = Input::parse(&value).map_err(|error| at(error.to_string()))?;
    let planner = Planner::new(args, &input)?;
    let (outlooks, left_out) = planner.outlooks()?;
    let front = choices::pareto(&outlooks);
    let recommended = choices::recommended(&front, args.deadline, args.budget, planner.cost_unit());
    let Some((best, why)) = recommended else {
        anyhow::bail!(
            "no choice ends well: every simulated run failed\nhint: a lower --concurrency, or larger partitions"
        );
    };
    show(&planner, &outlooks, &front, best, &why, left_out, begun.elapsed().as_secs_f64(), printer);
    Ok(ExitCode::SUCCESS)
}

/// All that predictions are made from.
struct Planner<'a> {
    args: &'a PlanArgs,
    prices: Prices,
    calibrated: Calibrated,
    profile: Profile,
    local: Option<Local>,
    is_recorded: bool,
    space: Space,
    assumptions: Vec<String>,
    /// Bytes of one item of Initialize's answer, without its keys.
    item_bytes: f64,
}

impl<'a> Planner<'a> {
    fn new(args: &'a PlanArgs, input: &Input) -> anyhow::Result<Self> {
        let prices = args.bill.prices()?;
        let calibrated = cloud::calibrate(&observations())?;
        let runs = if args.recorded { Vec::new() } else { measured::runs(&args.data, |_| true) };
        let local = Local::of(&runs);
        let is_recorded = local.is_none();
        if is_recorded && args.target != Target::Aws {
            return Err(exit::usage(format!(
                "data root {}: there is no run in it to learn from, and the recorded items are Lambda's\n\
                 hint: make a small run first (`starmap run`), or plan with --target aws",
                args.data.display()
            )));
        }
        let profile = match &local {
            Some(local) => local.profile.clone(),
            None => Profile::recorded(calibrated.item_mb_s),
        };
        let mut assumptions = profile.assumptions.clone();
        let own = own_partition(input, &runs, &mut assumptions);
        let galaxies = args.galaxies.unwrap_or(own.saturating_mul(input.file_limit as u64));
        let mut per_partition: Vec<u64> = vec![own];
        let sizes: &[f64] = if galaxies > 100_000_000 { &[100.0, 250.0, 500.0] } else { &[25.0, 50.0, 75.0, 100.0] };
        per_partition.extend(sizes.iter().map(|mb| (mb * GALAXIES_PER_MB) as u64));
        // What differs by a few galaxies is the same size, and one partition is no choice among several.
        per_partition.sort_unstable();
        per_partition.dedup_by(|a, b| (*a as f64 / *b as f64 - 1.0).abs() < 0.03);
        per_partition.retain(|size| *size <= galaxies || *size == own);
        let quota = prices.number("lambda.concurrency") as usize;
        let most = args.concurrency.map(|n| n as usize);
        let (concurrency, memory_mib, architectures) = match args.target {
            Target::Aws => {
                let most = most.unwrap_or(quota - 1);
                (steps(most, &[8, 4, 2, 1]), memories(&profile, is_recorded, &prices), processors(is_recorded))
            }
            Target::Local => {
                (steps(most.unwrap_or(session::cores()), &[4, 2, 1]), vec![1_769], vec![Architecture::X86])
            }
            Target::Slurm => (steps(most.unwrap_or(1_024), &[64, 16, 4, 1]), vec![1_769], vec![Architecture::X86]),
        };
        if args.target == Target::Aws && !is_recorded {
            assumptions.push(format!(
                "a vCPU of Lambda is taken to be {:.2} times as fast as a core here, of either architecture (--core-speed); \
                 nobody has measured that",
                args.core_speed
            ));
        }
        if args.target == Target::Slurm {
            assumptions
                .push("time in the queue is not in it; tasks start one after the other as fast as here".to_owned());
        }
        let rates = profile.rates.iter().map(|rate| (rate.batch, rate.precision.clone())).collect();
        let item_s_max = if args.target == Target::Aws { prices.number("lambda.timeout.s_max") } else { f64::INFINITY };
        let space = Space {
            galaxies,
            per_partition,
            ranks: input.world_size.map(|ranks| ranks as u64).filter(|_| args.galaxies.is_none()),
            rates,
            memory_mib,
            concurrency,
            architectures,
            item_s_max,
        };
        let names = [
            &input.bucket,
            &input.object_name,
            &input.script,
            &input.data_bucket,
            &input.data_prefix,
            &input.result_path,
        ];
        let item_bytes = 190.0 + names.iter().map(|name| name.len()).sum::<usize>() as f64;
        Ok(Self { args, prices, calibrated, profile, local, is_recorded, space, assumptions, item_bytes })
    }

    fn cost_unit(&self) -> &'static str {
        if self.args.target == Target::Aws { "cost" } else { "core hours" }
    }

    fn slowness(&self, memory_mib: u32) -> f64 {
        match self.args.target {
            Target::Aws if self.is_recorded => 1.0,
            // One thread per worker: more than one vCPU does not help, less slows it down.
            Target::Aws => 1.0 / self.prices.vcpus(memory_mib).min(1.0) / self.args.core_speed,
            Target::Local | Target::Slurm => 1.0 / self.args.core_speed,
        }
    }

    /// Predicts the choices; also says how many were left out because their bounds are worse.
    fn outlooks(&self) -> anyhow::Result<(Vec<Outlook>, usize)> {
        let all = self.space.choices(&self.profile, |memory_mib| self.slowness(memory_mib));
        // Processors differ in price only: one simulation answers for all of them.
        let each = self.space.architectures.len();
        let mut groups: Vec<&[Choice]> = all.chunks(each).collect();
        let count = groups.len();
        groups.sort_by(|a, b| self.bound(&a[0]).total_cmp(&self.bound(&b[0])));
        let mut outlooks = Vec::new();
        let (mut children, mut taken) = (0, 0);
        for group in &groups {
            if taken >= 2 && children + group[0].ranks > CHILDREN_MAX {
                continue;
            }
            taken += 1;
            children += group[0].ranks;
            outlooks.extend(self.outlook(group, 1)?);
        }
        // What nothing beats is simulated again with other seeds, for its interval; processors that follow one another with it.
        let is_beaten = |group: &[Choice], outlooks: &[Outlook]| {
            !choices::pareto(outlooks).iter().any(|outlook| group.contains(&outlook.choice))
        };
        for group in groups.iter().filter(|group| group[0].ranks <= CHILDREN_MAX / 20) {
            if is_beaten(group, &outlooks) {
                continue;
            }
            for again in self.outlook(group, SEEDS)? {
                if let Some(place) = outlooks.iter_mut().find(|outlook| outlook.choice == again.choice) {
                    *place = again;
                }
            }
        }
        Ok((outlooks, (count - taken) * each))
    }

    /// The product of time and cost that a choice can't do without: work over workers, and work.
    fn bound(&self, choice: &Choice) -> f64 {
        let slowness = self.slowness(choice.memory_mib);
        let item_s = self.profile.item_s_mean(choice.per_partition as f64, choice.batch, &choice.precision) * slowness;
        let work_s = item_s * choice.partitions as f64;
        let wall_s = work_s / choice.concurrency as f64 + item_s + self.calibrated.map_s;
        wall_s * work_s * f64::from(choice.memory_mib)
    }

    fn outlook(&self, group: &[Choice], seeds: u64) -> anyhow::Result<Vec<Outlook>> {
        let choice = &group[0];
        let work = choice.work(self.space.galaxies);
        let mut runs = Vec::new();
        for seed in 1..=seeds {
            runs.push(match (&self.local, self.args.target) {
                (Some(local), Target::Local) => {
                    local.simulate(&work, choice.batch, &choice.precision, choice.concurrency, choice.memory_mib)?
                }
                _ => predict(&self.scene(choice, &work), seed)?,
            });
        }
        runs.sort_by(|a, b| a.wall_s.total_cmp(&b.wall_s));
        let simulated_s = runs[runs.len() / 2].wall_s;
        let wall_s = match (&self.local, self.args.target) {
            (Some(local), Target::Local) => local.wall_s(simulated_s),
            (_, Target::Slurm) => (simulated_s, runs[0].wall_s, runs[runs.len() - 1].wall_s),
            (Some(_), _) => {
                // Of published runs their scatter, and not how far they were off on the whole.
                let (middle, low, high) = self.calibrated.interval(1.0, 0.9);
                (simulated_s, simulated_s * low / middle, simulated_s * high / middle)
            }
            _ => self.calibrated.interval(simulated_s, 0.9),
        };
        let succeeds = runs.iter().all(Predicted::succeeds);
        Ok(group
            .iter()
            .map(|choice| {
                let mut costs: Vec<f64> = runs.iter().map(|run| self.cost(run, choice)).collect();
                costs.sort_by(f64::total_cmp);
                Outlook {
                    choice: choice.clone(),
                    parts_s: self.parts_s(&runs[runs.len() / 2], choice),
                    wall_s,
                    cost: (costs[costs.len() / 2], costs[0], costs[costs.len() - 1]),
                    warnings: self.warnings(&runs[runs.len() / 2], choice),
                    succeeds,
                }
            })
            .collect())
    }

    fn scene<'b>(&'b self, choice: &'b Choice, work: &'b starmap_pipeline::plan::Work) -> Scene<'b> {
        let is_aws = self.args.target == Target::Aws;
        let quota = self.args.concurrency.map_or(self.prices.number("lambda.concurrency") as usize, |n| n as usize + 1);
        Scene {
            profile: &self.profile,
            work,
            batch: choice.batch,
            precision: &choice.precision,
            memory_mib: choice.memory_mib,
            capacity: match is_aws {
                true => Capacity::aws(&self.prices, quota.max(choice.concurrency + 1)),
                false => Capacity::local(choice.concurrency),
            },
            latency: if is_aws { cloud::latency(&self.calibrated) } else { Latency::default() },
            children_max: u32::try_from(choice.concurrency * if is_aws { 1 } else { 2 }).unwrap_or(u32::MAX),
            slowness: self.slowness(choice.memory_mib),
            ends_s: if is_aws { cloud::ends_s(&self.calibrated) } else { (0.0, 0.0) },
        }
    }

    fn cost(&self, run: &Predicted, choice: &Choice) -> f64 {
        match self.args.target {
            Target::Aws => run.bill(&self.prices, choice.architecture).total.usd.total,
            // A worker has its core for as long as the map runs.
            Target::Local | Target::Slurm => choice.concurrency as f64 * run.wall_s / 3_600.0,
        }
    }

    /// Seconds of Initialize, of the map, and of Summarize.
    fn parts_s(&self, run: &Predicted, choice: &Choice) -> (f64, f64, f64) {
        let more = if self.args.target == Target::Aws { cloud::ends_s(&self.calibrated) } else { (0.0, 0.0) };
        let initialize_s = self.profile.initialize_s.at(choice.partitions as f64) + more.0;
        (initialize_s, run.map_s, self.profile.summarize_s.at(self.space.galaxies as f64) + more.1)
    }

    fn warnings(&self, run: &Predicted, choice: &Choice) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.args.target == Target::Aws {
            let per_rank = choice.partitions.div_ceil(choice.ranks);
            let slowness = self.slowness(choice.memory_mib);
            let worst = self.profile.scatter.iter().copied().fold(1.0, f64::max);
            let galaxies = (choice.per_partition * per_rank) as f64;
            let item_s = self.profile.item_s_mean(galaxies, choice.batch, &choice.precision) * slowness * worst;
            let bytes = self.item_bytes + per_rank.saturating_sub(1) as f64 * 14.0;
            let reads = choice.partitions * partition_reads(choice.per_partition);
            let reads_per_s = reads as f64 / run.map_s.max(1.0);
            let (initialize_s, _, summarize_s) = self.parts_s(run, choice);
            let ends_s = (initialize_s, summarize_s);
            let near_to = NearTo { item_bytes: bytes, item_s, ends_s, events: run.run.events, reads_per_s };
            warnings = choices::warnings(choice, &near_to, &self.prices);
            if run.run.throttled > 0 {
                warnings.push(format!(
                    "{} attempts found no worker and were retried: new environments come at {:.0} per {:.0} s",
                    run.run.throttled,
                    self.prices.number("lambda.scaling.environments"),
                    self.prices.number("lambda.scaling.period_s")
                ));
            }
        }
        let peak = self.profile.rate(choice.batch, &choice.precision).peak_mib;
        if peak * MEMORY_MARGIN > f64::from(choice.memory_mib) {
            warnings.push(format!("memory of {} MiB, where {peak:.0} MiB were seen", choice.memory_mib));
        }
        warnings
    }
}

/// Galaxies of the input's own partitions: as they were in a run, or as their prefix names them.
fn own_partition(input: &Input, runs: &[starmap_pipeline::plan::MeasuredRun], assumptions: &mut Vec<String>) -> u64 {
    let place = format!("s3://{}/{}/", input.data_bucket, input.data_prefix);
    if let Some(run) = runs.iter().find(|run| run.summary.data == place) {
        return (run.summary.galaxies / run.summary.partitions.max(1)).max(1);
    }
    let mb = legacy::partition_mb_of(&input.data_prefix).unwrap_or_else(|| {
        assumptions.push(format!(
            "partitions are taken to have 25 MB: data_prefix {:?} does not say, and no run has read them",
            input.data_prefix
        ));
        25.0
    });
    (mb * GALAXIES_PER_MB) as u64
}

/// A most and parts of it.
fn steps(most: usize, parts: &[usize]) -> Vec<usize> {
    let mut steps: Vec<usize> = parts.iter().map(|part| (most / part).max(1)).collect();
    steps.dedup();
    steps
}

fn memories(profile: &Profile, is_recorded: bool, prices: &Prices) -> Vec<u32> {
    if is_recorded {
        return vec![cloud::RECORDED_MEMORY_MIB];
    }
    let peak = profile.rates.iter().map(|rate| rate.peak_mib).fold(0.0, f64::max) * MEMORY_MARGIN;
    let one = prices.number("lambda.vcpu.mb") as u32;
    let enough = |mib: &u32| f64::from(*mib) >= peak;
    let mut memories: Vec<u32> = [one / 4, one / 2, one].into_iter().filter(enough).collect();
    if memories.is_empty() {
        memories.push((peak.ceil() as u32).min(prices.number("lambda.memory.mb_max") as u32));
    }
    memories
}

fn processors(is_recorded: bool) -> Vec<Architecture> {
    if is_recorded { vec![Architecture::X86] } else { vec![Architecture::X86, Architecture::Arm] }
}

#[allow(clippy::too_many_arguments, reason = "called once")]
fn show(
    planner: &Planner<'_>,
    outlooks: &[Outlook],
    front: &[&Outlook],
    best: &Outlook,
    why: &str,
    left_out: usize,
    took_s: f64,
    printer: &Printer,
) {
    let is_aws = planner.args.target == Target::Aws;
    let cost = |value: f64| if is_aws { format!("${value:.4}") } else { format!("{value:.3} core h") };
    let header = [
        "",
        "PARTITION",
        "PARTITIONS",
        "RANKS",
        "BATCH",
        "PRECISION",
        "MEMORY",
        "WORKERS",
        "PROCESSOR",
        "WALL",
        "90 % OF RUNS",
        "COST",
    ];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for outlook in front {
        let choice = &outlook.choice;
        let (wall, low, high) = outlook.wall_s;
        rows.push(vec![
            if *outlook == best { "→".to_owned() } else { String::new() },
            format!("{:.0} MB", choice.partition_mb()),
            choice.partitions.to_string(),
            choice.ranks.to_string(),
            choice.batch.to_string(),
            choice.precision.clone(),
            format!("{} MiB", choice.memory_mib),
            choice.concurrency.to_string(),
            choice.architecture.as_str().to_owned(),
            duration(wall),
            format!("{} to {}", duration(low), duration(high)),
            cost(outlook.cost.0),
        ]);
    }
    let galaxies = planner.space.galaxies;
    printer.result(&format!(
        "{galaxies} galaxies, learnt from {}; {} choices simulated in {took_s:.1} s{}\n\
         choices that no other beats in time and {}, fastest first:\n\n{}",
        planner.profile.source,
        outlooks.len(),
        if left_out > 0 { format!(", {left_out} left out by their bounds") } else { String::new() },
        planner.cost_unit(),
        table::aligned(&rows)
    ));
    let (low, high) = (best.cost.1, best.cost.2);
    printer.result(&format!(
        "\nrecommended: {:.0} MB partitions, {} ranks, batch size {}, {}, {} MiB, {} workers, {}\nwhy: {why}\n\
         wall {}, nine in ten within {} to {}; cost {} ({} to {})\n\
         simulated: Initialize {}, map {}, Summarize {}",
        best.choice.partition_mb(),
        best.choice.ranks,
        best.choice.batch,
        best.choice.precision,
        best.choice.memory_mib,
        best.choice.concurrency,
        best.choice.architecture.as_str(),
        duration(best.wall_s.0),
        duration(best.wall_s.1),
        duration(best.wall_s.2),
        cost(best.cost.0),
        cost(low),
        cost(high),
        duration(best.parts_s.0),
        duration(best.parts_s.1),
        duration(best.parts_s.2)
    ));
    for assumption in &planner.assumptions {
        printer.result(&format!("assumed: {assumption}"));
    }
    best.warnings.iter().for_each(|warning| printer.warning(warning));
    printer.object(&json!({
        "target": planner.args.target.to_possible_value().map(|value| value.get_name().to_owned()),
        "galaxies": galaxies,
        "learnt_from": planner.profile.source,
        "assumptions": planner.assumptions,
        "prices_as_of": planner.prices.as_of,
        "cost_unit": if is_aws { "USD" } else { "core hours" },
        "simulated_choices": outlooks.len(),
        "left_out_choices": left_out,
        "took_s": took_s,
        "recommended": object(best),
        "why": why,
        "pareto": front.iter().map(|outlook| object(outlook)).collect::<Vec<_>>(),
        "choices": outlooks.iter().map(object).collect::<Vec<_>>(),
    }));
}

fn object(outlook: &Outlook) -> Value {
    let Outlook { choice, parts_s, wall_s, cost, warnings, succeeds } = outlook;
    json!({
        "partition_mb": choice.partition_mb(), "galaxies_per_partition": choice.per_partition,
        "partitions": choice.partitions, "ranks": choice.ranks, "batch_size": choice.batch,
        "precision": choice.precision, "memory_mib": choice.memory_mib, "concurrency": choice.concurrency,
        "architecture": choice.architecture.as_str(),
        "wall_s": wall_s.0, "wall_s_p5": wall_s.1, "wall_s_p95": wall_s.2,
        "initialize_s": parts_s.0, "map_s": parts_s.1, "summarize_s": parts_s.2,
        "cost": cost.0, "cost_min": cost.1, "cost_max": cost.2,
        "succeeds": succeeds, "warnings": warnings,
    })
}

fn parse_time(text: &str) -> Result<f64, String> {
    let units = [("min", 60.0), ("ms", 1e-3), ("h", 3_600.0), ("s", 1.0)];
    let (number, factor) =
        units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor))).unwrap_or((text, 1.0));
    let seconds = number.trim().parse::<f64>().ok().map(|number| number * factor).filter(|s| s.is_finite() && *s > 0.0);
    seconds.ok_or_else(|| "expected a time such as 90s, 10min or 2h".to_owned())
}

fn parse_ratio(text: &str) -> Result<f64, String> {
    let ratio = text.parse().ok().filter(|ratio: &f64| ratio.is_finite() && *ratio > 0.0);
    ratio.ok_or_else(|| "expected a number above 0".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        assert_eq!(["90", "90s", "10min", "2h", "500ms"].map(parse_time), [90.0, 90.0, 600.0, 7_200.0, 0.5].map(Ok));
        assert!(["", "-1s", "soon"].map(parse_time).iter().all(Result::is_err));
    }
}
