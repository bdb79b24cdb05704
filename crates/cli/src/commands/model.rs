//! `starmap model`: what is in a checkpoint, the same as safetensors, and seeded weights.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use starmap_astromae::recipe::Recipe;
use starmap_astromae::{BlockConfig, Config, Model, TensorSource};
use starmap_partitions::Dtype;
use starmap_partitions::tensors::{SafetensorsWriter, TensorEntry, TensorFile};
use starmap_pipeline::model::CheckpointTensors;

use crate::files::Aside;
use crate::printer::Printer;
use crate::{exit, table};

/// Arguments of `model inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// Checkpoint: .pt or .safetensors
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// List every tensor
    #[arg(long)]
    tensors: bool,
}

/// Arguments of `model convert`.
#[derive(Debug, Args)]
pub struct ConvertArgs {
    /// Checkpoint: .pt
    #[arg(value_name = "FILE.pt")]
    from: PathBuf,
    /// Where to write [default: beside it, with the extension safetensors]
    #[arg(value_name = "FILE.safetensors")]
    to: Option<PathBuf>,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
}

/// Arguments of `model init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Where to write
    #[arg(value_name = "FILE.safetensors")]
    to: PathBuf,
    /// Start from small dimensions (width 64, 3 blocks, layers of 128) instead of the published ones
    #[arg(long)]
    small: bool,
    /// Width of a token, a multiple of 64; heads are 64 wide
    #[arg(long, value_name = "N")]
    width: Option<usize>,
    /// Transformer blocks
    #[arg(long, value_name = "N")]
    depth: Option<usize>,
    /// Hidden width of a block's MLP [default: 4 times the width, with --small 2 times]
    #[arg(long, value_name = "N")]
    mlp: Option<usize>,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
}

/// `model inspect`.
pub fn inspect(args: &InspectArgs, printer: &Printer) -> anyhow::Result<ExitCode> {
    let file = open(&args.file)?;
    let (format, entries) = (file.format(), file.entries().to_vec());
    let source = CheckpointTensors::new(file);
    // Shapes may fit while values do not, so all are read.
    let model = Model::load(&source).with_context(|| args.file.display().to_string())?;
    let (config, read) = (model.config(), model.config().tensors());
    let ignored = entries.iter().filter(|entry| !read.iter().any(|tensor| tensor.name == entry.name)).count();
    let hash = sha256(&args.file)?;
    let list = |numbers: &[usize]| numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" → ");
    let Config { side, bands, patch, width, depth, heads, mlp, .. } = *config;
    let blocks = config.inception.iter().map(BlockConfig::outputs);
    let channels: Vec<usize> = [bands, config.stem].into_iter().chain(blocks).collect();
    let magnitudes: Vec<usize> = [bands].into_iter().chain(config.magnitudes.iter().copied()).collect();
    let rows = [
        ("file", format!("{} ({})", args.file.display(), format.name())),
        ("sha256", hash.clone()),
        ("tensors", format!("{} needed ({}), {ignored} not needed", read.len(), dtypes(&entries, config))),
        ("parameters", config.parameters().to_string()),
        ("multiply-adds", format!("{:.1} M per galaxy", config.multiply_adds() as f64 / 1e6)),
        ("input", format!("{bands} bands of {side}×{side} pixels, and {bands} magnitudes")),
        ("tokens", format!("{} patches of {patch}×{patch} pixels and a class token", config.tokens() - 1)),
        ("transformer", format!("{depth} blocks, width {width}, {heads} heads, MLP {mlp}")),
        ("", format!("beside each {} channels in {} groups", config.pcm_channels, config.pcm_groups)),
        ("", list(&[width, config.head, config.vit[0], config.vit[1]])),
        ("inception", format!("channels {}", list(&channels))),
        ("", list(&[config.vis[0], config.vis[1]])),
        ("magnitudes", list(&magnitudes)),
        ("fusion", list(&[config.fusion, 1])),
        ("kernels", format!("{} on this machine", crate::commands::kernels::chosen()?.name())),
    ];
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    printer.result(&table::aligned(&rows));
    if args.tensors {
        let rows = entries.iter().map(|entry| {
            let is_needed = read.iter().any(|tensor| tensor.name == entry.name);
            let note = if is_needed { "" } else { "not needed" };
            vec![entry.name.clone(), entry.dtype.to_string(), format!("{:?}", entry.shape), note.to_owned()]
        });
        printer.result("");
        printer.result(&table::aligned(&rows.collect::<Vec<_>>()));
    }
    printer.object(&json!({
        "file": args.file,
        "format": format.name(),
        "sha256": hash,
        "parameters": config.parameters(),
        "multiply_adds": config.multiply_adds(),
        "config": described(config),
        "kernels": crate::commands::kernels::chosen()?.name(),
        "tensors": entries.iter().map(|entry| {
            json!({ "name": entry.name, "dtype": entry.dtype.to_string(), "shape": entry.shape })
        }).collect::<Vec<_>>(),
    }));
    Ok(ExitCode::SUCCESS)
}

/// `model convert`.
pub fn convert(args: &ConvertArgs, printer: &Printer) -> anyhow::Result<ExitCode> {
    let to = args.to.clone().unwrap_or_else(|| args.from.with_extension("safetensors"));
    refuse_existing(&to, args.force)?;
    let source = CheckpointTensors::new(open(&args.from)?);
    // A file that is not a model, or has weights that are not finite, is refused before anything is written.
    let model = Model::load(&source).with_context(|| args.from.display().to_string())?;
    let mut metadata = BTreeMap::from([("source_sha256".to_owned(), sha256(&args.from)?)]);
    let config = model.config();
    if config.heads * HEAD_DIMENSION != config.width {
        metadata.insert("heads".to_owned(), config.heads.to_string());
    }
    write(&to, config, &source, &metadata)?;
    done(&to, config, printer)
}

/// `model init`.
pub fn init(args: &InitArgs, printer: &Printer) -> anyhow::Result<ExitCode> {
    let published = Config::default();
    let width = args.width.unwrap_or(if args.small { 64 } else { published.width });
    let depth = args.depth.unwrap_or(if args.small { 3 } else { published.depth });
    let mlp = args.mlp.unwrap_or(width.saturating_mul(if args.small { 2 } else { 4 }));
    if width == 0 || !width.is_multiple_of(HEAD_DIMENSION) || width > 4_096 {
        return Err(exit::usage(format!("--width {width}: expected a multiple of {HEAD_DIMENSION} up to 4096")));
    }
    if depth == 0 || depth > 256 {
        return Err(exit::usage(format!("--depth {depth}: expected 1 to 256 blocks")));
    }
    if mlp == 0 || mlp > 65_536 {
        return Err(exit::usage(format!("--mlp {mlp}: expected 1 to 65536")));
    }
    refuse_existing(&args.to, args.force)?;
    let mut config = Config {
        width,
        depth,
        heads: width / HEAD_DIMENSION,
        mlp,
        pcm_groups: width / 4,
        pcm_channels: 4 * width,
        head: width,
        ..published
    };
    if args.small {
        config.vit = [128; 2];
        config.vis = [128; 2];
        config.magnitudes = vec![128; 3];
        config.fusion = 128;
    }
    let metadata = BTreeMap::from([("made_by".to_owned(), "starmap model init".to_owned())]);
    write(&args.to, &config, &Recipe::new(config.clone()), &metadata)?;
    done(&args.to, &config, printer)
}

/// What a head has where a file does not say how many there are.
const HEAD_DIMENSION: usize = 64;

/// How many of the needed tensors have which element type.
fn dtypes(entries: &[TensorEntry], config: &Config) -> String {
    let needed = config.tensors();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for entry in entries.iter().filter(|entry| needed.iter().any(|tensor| tensor.name == entry.name)) {
        *counts.entry(entry.dtype.name()).or_default() += 1;
    }
    match counts.len() {
        1 => counts.into_keys().collect(),
        _ => counts.iter().map(|(dtype, count)| format!("{count} {dtype}")).collect::<Vec<_>>().join(", "),
    }
}

fn described(config: &Config) -> Value {
    let blocks = config.inception.iter();
    json!({
        "side": config.side,
        "bands": config.bands,
        "patch": config.patch,
        "width": config.width,
        "depth": config.depth,
        "heads": config.heads,
        "mlp": config.mlp,
        "pcm_groups": config.pcm_groups,
        "pcm_channels": config.pcm_channels,
        "head": config.head,
        "vit": config.vit,
        "stem": config.stem,
        "inception": blocks.map(|block| {
            json!({ "index": block.index, "inputs": block.inputs, "branch": block.branch, "has_five": block.has_five })
        }).collect::<Vec<_>>(),
        "vis": config.vis,
        "magnitudes": config.magnitudes,
        "fusion": config.fusion,
    })
}

fn refuse_existing(to: &Path, force: bool) -> anyhow::Result<()> {
    if to.exists() && !force {
        return Err(exit::usage(format!("{} is there already\nhint: --force replaces it", to.display())));
    }
    Ok(())
}

/// The tensors that a model needs, as float32.
fn write(
    to: &Path,
    config: &Config,
    source: &dyn TensorSource,
    metadata: &BTreeMap<String, String>,
) -> anyhow::Result<()> {
    let entry = |tensor: starmap_astromae::Tensor| TensorEntry {
        name: tensor.name,
        shape: tensor.shape.into_iter().map(|extent| extent as u64).collect(),
        dtype: Dtype::F32,
    };
    let entries = config.tensors().into_iter().map(entry).collect();
    let aside = Aside::create(to)?;
    let name = to.display().to_string();
    let mut writer = SafetensorsWriter::new(BufWriter::new(aside.file()), &name, entries, metadata)?;
    let mut values = Vec::new();
    for entry in writer.entries().to_vec() {
        source.read(&entry.name, &mut values).map_err(anyhow::Error::from_boxed)?;
        writer.push_f32(&values)?;
    }
    drop(writer.finish()?);
    aside.keep()
}

fn done(to: &Path, config: &Config, printer: &Printer) -> anyhow::Result<ExitCode> {
    let hash = sha256(to)?;
    printer.result(&format!("{}  {} parameters  sha256 {hash}", to.display(), config.parameters()));
    printer.object(&json!({ "file": to, "parameters": config.parameters(), "sha256": hash }));
    Ok(ExitCode::SUCCESS)
}

fn open(path: &Path) -> anyhow::Result<TensorFile<File>> {
    let file = File::open(path).map_err(|error| exit::usage(format!("checkpoint {}: {error}", path.display())))?;
    if file.metadata()?.is_dir() {
        let reason = "is a folder, expected a .pt or .safetensors file";
        return Err(exit::usage(format!("checkpoint {}: {reason}", path.display())));
    }
    Ok(TensorFile::open(file, &path.display().to_string())?)
}

/// SHA-256 of a file, hexadecimal.
pub fn sha256(path: &Path) -> anyhow::Result<String> {
    let mut file = File::open(path).with_context(|| path.display().to_string())?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer).with_context(|| path.display().to_string())?;
        if read == 0 {
            return Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect());
        }
        digest.update(&buffer[..read]);
    }
}
