//! `starmap bench`: how fast this machine infers, and what share of its multiply-add units that keeps busy.
//!
//! Every round measures the peak and then the network, on the same thread: clock rates and neighbours change from one
//! moment to the next, ratios less so. A round's time is taken twice, by the clock on the wall and by the thread's own
//! time on a CPU; the latter is what GFLOP/s and shares are computed from.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;
use clap::Args;
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use starmap_astromae::kernels::{Set, peak};
use starmap_astromae::recipe::{self, Recipe};
use starmap_astromae::{Config, Model, Precision, Predictor, Stage};
use starmap_partitions::tensors::TensorFile;
use starmap_pipeline::model::CheckpointTensors;

use crate::commands::kernels;
use crate::printer::Printer;
use crate::{exit, table};

/// Galaxies that a round predicts at least, so that it lasts long enough to be timed.
const GALAXIES_PER_ROUND: usize = 512;
/// Rounds of multiply-adds per measurement of the peak: a few milliseconds.
const PEAK_ROUNDS: usize = 1_000_000;

/// Arguments of `starmap bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Galaxies per call of the predictor
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    batch: u32,
    /// Threads that predict at the same time, each its own batches
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: u16,
    /// Rounds; the median is reported
    #[arg(long, value_name = "N", default_value_t = 15, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    rounds: u16,
    /// In how many bits the model's large layers multiply: f32, int16, bf16 or int8
    #[arg(long, value_name = "PRECISION", default_value_t = Precision::F32)]
    precision: Precision,
    /// Say where the time goes
    #[arg(long)]
    layers: bool,
    /// Checkpoint (.pt or .safetensors) [default: seeded weights of the published size]
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
}

/// What one thread measured, a number per round.
#[derive(Debug, Default)]
struct Measured {
    /// Galaxies per second on the wall.
    wall: Vec<f64>,
    /// Galaxies per second of the thread's time on a CPU.
    cpu: Vec<f64>,
    /// Peak of the machine, GFLOP/s.
    peak: Vec<f64>,
    /// Seconds on a CPU of each stage, and galaxies.
    stages: Vec<(String, f64)>,
    galaxies: f64,
}

/// Runs the command.
pub fn run(args: &BenchArgs, printer: &Printer) -> anyhow::Result<ExitCode> {
    let set = kernels::chosen()?;
    let (loading, since) = (Instant::now(), cpu_seconds());
    let model = load(args, args.precision, set)?;
    let (load_s, load_cpu_s) = (loading.elapsed().as_secs_f64(), cpu_seconds() - since);
    let config = model.config();
    if config.image() != Config::default().image() || config.bands != Config::default().bands {
        return Err(exit::usage("--model: expected a model for 5 bands of 32×32 pixels"));
    }
    let batch = args.batch as usize;
    let (images, magnitudes) = recipe::inputs(batch);
    let change = match args.precision {
        Precision::F32 => None,
        _ => Some(change(&load(args, Precision::F32, set)?, &model, set, &images, &magnitudes)?),
    };
    let measured = std::thread::scope(|scope| {
        let start = || scope.spawn(|| measure(&model, set, args, &images, &magnitudes));
        let threads: Vec<_> = (0..args.threads).map(|_| start()).collect();
        let ended = threads.into_iter().map(|thread| thread.join().map_err(|_| exit::bug("a thread panicked"))?);
        ended.collect::<anyhow::Result<Vec<Measured>>>()
    })?;
    let sum = |of: fn(&Measured) -> &Vec<f64>| measured.iter().map(|thread| median(of(thread))).sum::<f64>();
    let (wall, cpu, peak) = (sum(|thread| &thread.wall), sum(|thread| &thread.cpu), sum(|thread| &thread.peak));
    let gflops = cpu * 2.0 * config.multiply_adds() as f64 / 1e9;
    let shares = measured.iter().flat_map(|thread| thread.cpu.iter().zip(&thread.peak));
    let shares: Vec<f64> = shares.map(|(cpu, peak)| cpu * 2.0 * config.multiply_adds() as f64 / 1e9 / peak).collect();
    let share = median(&shares);
    let layers = layers(&measured);
    show(args, set, printer, [wall, cpu, gflops, peak, share], change, &layers);
    printer.object(&json!({
        "galaxies_per_s": wall,
        "galaxies_per_cpu_s": cpu,
        "gflops": gflops,
        "fma_peak_gflops": peak,
        "fma_peak_share": share,
        "kernels": set.name(),
        "precision": model.precision().name(),
        "dz_max": change.map(|[max, _]| max),
        "dz_rms": change.map(|[_, rms]| rms),
        "batch": batch,
        "threads": args.threads,
        "rounds": args.rounds,
        "multiply_adds": config.multiply_adds(),
        "load_s": load_s,
        "load_cpu_s": load_cpu_s,
        "layers": args.layers.then(|| layers.iter().map(|layer| json!({
            "name": layer.name, "us_per_galaxy": layer.us_per_galaxy, "share": layer.share,
        })).collect::<Vec<Value>>()),
    }));
    Ok(ExitCode::SUCCESS)
}

fn load(args: &BenchArgs, precision: Precision, set: Set) -> anyhow::Result<Model> {
    let Some(file) = &args.model else {
        return Ok(Model::load_in(&Recipe::new(Config::default()), precision, set)?);
    };
    let opened = std::fs::File::open(file);
    let opened = opened.map_err(|error| exit::usage(format!("checkpoint {}: {error}", file.display())))?;
    let tensors = CheckpointTensors::new(TensorFile::open(opened, &file.display().to_string())?);
    Model::load_in(&tensors, precision, set).with_context(|| file.display().to_string())
}

/// Greatest change of a redshift, and root of the mean square.
fn change(full: &Model, reduced: &Model, set: Set, images: &[f32], magnitudes: &[f32]) -> anyhow::Result<[f64; 2]> {
    let mut redshifts = [full, reduced].map(|_| vec![0.0; magnitudes.len() / full.config().bands]);
    for (model, redshifts) in [full, reduced].into_iter().zip(&mut redshifts) {
        Predictor::with_kernels(model, redshifts.len(), set).predict(images, magnitudes, redshifts)?;
    }
    let changes = redshifts[0].iter().zip(&redshifts[1]).map(|(full, reduced)| f64::from(full - reduced).abs());
    let changes: Vec<f64> = changes.collect();
    let square = changes.iter().map(|change| change * change).sum::<f64>() / changes.len() as f64;
    Ok([changes.iter().fold(0.0, |max, change| change.max(max)), square.sqrt()])
}

fn measure(model: &Model, set: Set, args: &BenchArgs, images: &[f32], magnitudes: &[f32]) -> anyhow::Result<Measured> {
    let batch = args.batch as usize;
    let mut redshifts = vec![0.0; batch];
    let mut predictor = Predictor::with_kernels(model, batch, set);
    predictor.predict(images, magnitudes, &mut redshifts)?;
    let calls = GALAXIES_PER_ROUND.div_ceil(batch);
    let mut measured = Measured { galaxies: f64::from(args.rounds) * (calls * batch) as f64, ..Measured::default() };
    for _ in 0..args.rounds {
        let since = cpu_seconds();
        let operations = peak::multiply_adds(Set::best(), PEAK_ROUNDS);
        measured.peak.push(operations / (cpu_seconds() - since) / 1e9);
        let (since, wall) = (cpu_seconds(), Instant::now());
        for _ in 0..calls {
            if args.layers {
                observed(&mut predictor, images, magnitudes, &mut redshifts, &mut measured.stages)?;
            } else {
                predictor.predict(images, magnitudes, &mut redshifts)?;
            }
        }
        let galaxies = (calls * batch) as f64;
        measured.cpu.push(galaxies / (cpu_seconds() - since));
        measured.wall.push(galaxies / wall.elapsed().as_secs_f64());
    }
    Ok(measured)
}

/// Predicts and adds up the time of every stage.
fn observed(
    predictor: &mut Predictor<'_>,
    images: &[f32],
    magnitudes: &[f32],
    redshifts: &mut [f32],
    stages: &mut Vec<(String, f64)>,
) -> anyhow::Result<()> {
    let mut since = cpu_seconds();
    predictor.predict_observed(images, magnitudes, redshifts, &mut |stage, _| {
        let name = match stage {
            Stage::Images => "side by side".to_owned(),
            Stage::PatchEmbed => "patch embedding".to_owned(),
            Stage::Queries(_) => "blocks: norm, queries, keys, values".to_owned(),
            Stage::Parallel(_) => "blocks: parallel branch".to_owned(),
            Stage::Attention(_) => "blocks: attention".to_owned(),
            Stage::Projection(_) => "blocks: projection".to_owned(),
            Stage::Block(_) => "blocks: norm, MLP".to_owned(),
            Stage::Mean => "last block's MLP, mean".to_owned(),
            Stage::Transformer => "last norm".to_owned(),
            Stage::Inception(k) => format!("Inception block {}", k + 1),
            Stage::Heads => "heads: magnitudes, fusion".to_owned(),
        };
        let now = cpu_seconds();
        match stages.iter_mut().find(|(known, _)| *known == name) {
            Some((_, seconds)) => *seconds += now - since,
            None => stages.push((name, now - since)),
        }
        since = cpu_seconds();
    })?;
    Ok(())
}

struct Layer {
    name: String,
    us_per_galaxy: f64,
    share: f64,
}

fn layers(measured: &[Measured]) -> Vec<Layer> {
    let Some(first) = measured.first() else { return Vec::new() };
    let total: f64 = first.stages.iter().map(|(_, seconds)| seconds).sum();
    let layer = |(name, seconds): &(String, f64)| Layer {
        name: name.clone(),
        us_per_galaxy: seconds / first.galaxies * 1e6,
        share: seconds / total,
    };
    first.stages.iter().map(layer).collect()
}

fn show(
    args: &BenchArgs,
    set: Set,
    printer: &Printer,
    [wall, cpu, gflops, peak, share]: [f64; 5],
    change: Option<[f64; 2]>,
    layers: &[Layer],
) {
    let threads = args.threads;
    let mut rows = vec![
        ["kernels".to_owned(), format!("{}, {}", set.name(), args.precision)],
        ["batch".to_owned(), format!("{} galaxies, {threads} threads, median of {} rounds", args.batch, args.rounds)],
        ["throughput".to_owned(), format!("{wall:.0} galaxies/s; {cpu:.0} per second on a CPU")],
        ["".to_owned(), format!("{gflops:.1} GFLOP/s of the network as published")],
        ["peak".to_owned(), format!("{peak:.1} GFLOP/s of multiply-adds; {:.1} % of it are used", share * 100.0)],
    ];
    if let Some([max, rms]) = change {
        rows.push(["change from f32".to_owned(), format!("of redshifts at most {max:.1e}, rms {rms:.1e}")]);
    }
    for layer in layers {
        rows.push([
            layer.name.clone(),
            format!("{:8.1} µs per galaxy {:5.1} %", layer.us_per_galaxy, layer.share * 100.0),
        ]);
    }
    printer.result(&table::aligned(&rows.into_iter().map(|row| row.to_vec()).collect::<Vec<_>>()));
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

/// Seconds that this thread has had on a CPU.
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}
