//! `starmap data synth`: partitions of a synthetic sky.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};
use starmap_partitions::split::{Manifest, ManifestEntry};
use starmap_partitions::{Dtype, PtWriter, size};
use starmap_sky::{BANDS, PIXELS, Sky};

use crate::commands::model::sha256;
use crate::exit;
use crate::files::Aside;
use crate::printer::Printer;

/// Galaxies in memory at once: 5.2 MB.
const BATCH: u64 = 256;
const MANIFEST: &str = "manifest.json";
/// Says what a folder without a manifest is going to be, so that an interrupted command can go on.
const UNFINISHED: &str = ".synth.json";

/// What `starmap data synth` takes.
#[derive(Debug, Args)]
#[command(
    after_help = "Galaxy i of a seed is the same however many are made. Interrupted, the same command goes on where it was."
)]
pub struct SynthArgs {
    /// Folder for 1.pt, 2.pt, … and manifest.json; made if it is not there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Galaxies in all partitions together
    #[arg(long, value_name = "N", required_unless_present = "size", value_parser = clap::value_parser!(u64).range(1..))]
    galaxies: Option<u64>,
    /// Size of each partition, as 25MB
    #[arg(long, value_name = "SIZE", value_parser = size::galaxies)]
    size: Option<u64>,
    /// Number of partitions [default: 1, or as many as --galaxies and --size need]
    #[arg(long, value_name = "P", value_parser = clap::value_parser!(u64).range(1..))]
    partitions: Option<u64>,
    /// Which sky
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    seed: u64,
}

impl SynthArgs {
    /// The galaxies of each partition.
    fn ranges(&self) -> anyhow::Result<Vec<Range<u64>>> {
        match (self.galaxies, self.size, self.partitions) {
            (Some(galaxies), Some(size), None) => Ok(by_size(galaxies, size)),
            (Some(galaxies), None, partitions) => by_count(galaxies, partitions.unwrap_or(1)),
            (None, Some(size), partitions) => {
                let galaxies = size.checked_mul(partitions.unwrap_or(1));
                Ok(by_size(galaxies.ok_or_else(|| exit::usage("--size times --partitions is too much"))?, size))
            }
            (Some(_), Some(_), Some(_)) => Err(exit::usage(
                "--galaxies, --size and --partitions were given; expected two of them, the third follows",
            )),
            (None, None, _) => Err(exit::usage("neither --galaxies nor --size was given; expected one of them")),
        }
    }
}

/// Partitions of a size; the last may be smaller.
fn by_size(galaxies: u64, size: u64) -> Vec<Range<u64>> {
    (0..galaxies.div_ceil(size)).map(|k| k * size..galaxies.min((k + 1) * size)).collect()
}

/// A number of partitions, each of ⌈galaxies left / partitions left⌉ galaxies.
fn by_count(galaxies: u64, partitions: u64) -> anyhow::Result<Vec<Range<u64>>> {
    if partitions > galaxies {
        return Err(exit::usage(format!(
            "making {partitions} partitions of {galaxies} galaxies: a partition has at least one galaxy"
        )));
    }
    let mut first = 0;
    let range = |k| {
        let end = first + (galaxies - first).div_ceil(partitions - k);
        std::mem::replace(&mut first, end)..end
    };
    Ok((0..partitions).map(range).collect())
}

/// Carries out `starmap data synth`.
///
/// # Errors
/// Wrong usage; a folder that holds something else already; what the file system says.
pub fn run(args: &SynthArgs, json: bool) -> anyhow::Result<ExitCode> {
    let printer = Printer::new(json, false);
    let ranges = args.ranges()?;
    let manifest = make(&args.out, &ranges, args.seed, |partition| {
        printer.status_line(&format!("partition {partition} of {}", ranges.len()));
    });
    printer.status_line("");
    let manifest = manifest?;
    let bytes: u64 = manifest.partitions.iter().map(|entry| entry.bytes).sum();
    let (galaxies, partitions) = (manifest.galaxies, manifest.partitions.len());
    printer.result(&format!(
        "{galaxies} galaxies of sky {} in {partitions} partitions, {:.1} MB: {}",
        args.seed,
        bytes as f64 / 1e6,
        args.out.display()
    ));
    printer.object(&json!({
        "status": "SUCCEEDED",
        "out": args.out.display().to_string(),
        "seed": args.seed,
        "galaxies": galaxies,
        "partitions": partitions,
        "bytes": bytes,
        "manifest": args.out.join(MANIFEST).display().to_string(),
    }));
    Ok(ExitCode::SUCCESS)
}

/// Makes the first galaxies of the sky `seed` into partitions `1.pt`, `2.pt`, … and, at the very end, `manifest.json`.
///
/// A folder that this was interrupted in is completed: partitions appear whole or not at all, and are the same each time.
///
/// # Errors
/// A folder that holds partitions of something else, or is complete already; what the file system says.
pub fn synth(folder: &Path, galaxies: u64, galaxies_per_partition: u64, seed: u64) -> anyhow::Result<()> {
    if galaxies == 0 || galaxies_per_partition == 0 {
        return Err(exit::usage(format!(
            "making {galaxies} galaxies, {galaxies_per_partition} per partition: expected at least one of each"
        )));
    }
    make(folder, &by_size(galaxies, galaxies_per_partition), seed, |_| ()).map(drop)
}

fn make(folder: &Path, ranges: &[Range<u64>], seed: u64, begins: impl Fn(usize)) -> anyhow::Result<Manifest> {
    fs::create_dir_all(folder).with_context(|| format!("making the folder {}", folder.display()))?;
    claim(folder, ranges, seed)?;
    let sky = Sky::new(seed);
    let mut partitions = Vec::new();
    for (range, number) in ranges.iter().zip(1..) {
        begins(number);
        let path = folder.join(format!("{number}.pt"));
        if !path.exists() {
            write_partition(&sky, range.clone(), &path)?;
        }
        partitions.push(entry(&path, range.end - range.start)?);
    }
    let manifest = Manifest {
        source: format!("synthetic sky, seed {seed}"),
        galaxies: ranges.last().map_or(0, |range| range.end),
        galaxies_per_partition: ranges.first().map_or(0, |range| range.end),
        partitions,
    };
    write_json(&folder.join(MANIFEST), &manifest.to_json())?;
    let unfinished = folder.join(UNFINISHED);
    fs::remove_file(&unfinished).with_context(|| format!("removing {}", unfinished.display()))?;
    Ok(manifest)
}

/// Takes an empty folder, or one in which the same was begun, and refuses every other.
fn claim(folder: &Path, ranges: &[Range<u64>], seed: u64) -> anyhow::Result<()> {
    let refuse = |what: String| {
        let hint = "hint: name another folder, or remove this one's files";
        Err(exit::usage(format!("making a sky in {}: {what}, nothing was overwritten\n{hint}", folder.display())))
    };
    if folder.join(MANIFEST).exists() {
        return refuse(format!("it has a {MANIFEST} already"));
    }
    let ends: Vec<u64> = ranges.iter().map(|range| range.end).collect();
    let wanted = json!({ "seed": seed, "partition_ends": ends });
    let unfinished = folder.join(UNFINISHED);
    if unfinished.exists() {
        let text = fs::read(&unfinished).with_context(|| format!("reading {}", unfinished.display()))?;
        return match serde_json::from_slice::<Value>(&text) {
            Ok(begun) if begun == wanted => Ok(()),
            _ => refuse("another sky (other seed or sizes) was begun in it".to_owned()),
        };
    }
    for file in fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))? {
        let path = file.with_context(|| format!("listing {}", folder.display()))?.path();
        if path.extension().is_some_and(|extension| extension == "pt") {
            return refuse(format!("it has {} already", path.display()));
        }
    }
    write_json(&unfinished, &wanted)
}

fn write_json(path: &Path, value: &Value) -> anyhow::Result<()> {
    let aside = Aside::create(path)?;
    serde_json::to_writer_pretty(aside.file(), value).with_context(|| format!("writing {}", path.display()))?;
    aside.keep()
}

fn write_partition(sky: &Sky, galaxies: Range<u64>, path: &Path) -> anyhow::Result<()> {
    let doing = || format!("writing galaxies {} to {} to {}", galaxies.start, galaxies.end, path.display());
    let aside = Aside::create(path)?;
    let name = path.display().to_string();
    let count = galaxies.end - galaxies.start;
    let mut writer = PtWriter::new(aside.file(), &name, count, Some(Dtype::F32)).with_context(doing)?;
    let batch = BATCH.min(count) as usize;
    let mut images: Vec<f32> = Vec::with_capacity(batch * PIXELS);
    let (mut magnitudes, mut redshifts) = (Vec::with_capacity(batch * BANDS), Vec::with_capacity(batch));
    for first in galaxies.clone().step_by(batch) {
        images.clear();
        magnitudes.clear();
        redshifts.clear();
        for index in first..galaxies.end.min(first + BATCH) {
            let galaxy = sky.galaxy(index);
            images.extend_from_slice(&galaxy.image);
            magnitudes.extend_from_slice(&galaxy.magnitudes);
            redshifts.push(galaxy.redshift);
        }
        writer.push(&images, &magnitudes, Some(&redshifts)).with_context(doing)?;
    }
    writer.finish().with_context(doing)?;
    aside.keep()
}

fn entry(path: &Path, rows: u64) -> anyhow::Result<ManifestEntry> {
    let bytes = fs::metadata(path).with_context(|| format!("reading {}", path.display()))?.len();
    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(ManifestEntry { file, rows, bytes, sha256: sha256(path)? })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use starmap_partitions::{Batch, Partition};
    use starmap_sky::Sky;

    use super::{MANIFEST, UNFINISHED, by_count, by_size, synth};

    #[test]
    fn partitions_take_what_is_left_over_those_left() {
        let sizes = |ranges: Vec<std::ops::Range<u64>>| ranges.iter().map(|r| r.end - r.start).collect::<Vec<_>>();
        assert_eq!(sizes(by_count(10, 4).unwrap()), [3, 3, 2, 2]);
        assert_eq!(sizes(by_size(10, 4)), [4, 4, 2]);
        assert!(by_count(3, 4).unwrap_err().to_string().contains("at least one galaxy"));
    }

    #[test]
    fn a_folder_holds_the_sky_and_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        synth(folder.path(), 7, 3, 5).unwrap();
        let path = folder.path().join("3.pt");
        let mut partition = Partition::open(File::open(&path).unwrap(), "3.pt").unwrap();
        let mut batch = Batch::default();
        partition.read(0..1, &mut batch).unwrap();
        let galaxy = Sky::new(5).galaxy(6);
        assert_eq!((&batch.images, &batch.magnitudes_f64[..]), (&galaxy.image, &galaxy.magnitudes[..]));
        assert!(!folder.path().join(UNFINISHED).exists());

        let error = synth(folder.path(), 7, 3, 5).unwrap_err().to_string();
        assert!(error.contains("manifest.json already"), "{error}");
    }

    #[test]
    fn an_interrupted_folder_is_completed_to_the_same_bytes() {
        let (whole, broken) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        synth(whole.path(), 5, 2, 9).unwrap();
        // As after a crash before the last partition: a marker, two partitions, no manifest.
        fs::write(broken.path().join(UNFINISHED), r#"{"seed": 9, "partition_ends": [2, 4, 5]}"#).unwrap();
        for file in ["1.pt", "2.pt"] {
            fs::copy(whole.path().join(file), broken.path().join(file)).unwrap();
        }
        let error = synth(broken.path(), 5, 2, 10).unwrap_err().to_string();
        assert!(error.contains("another sky"), "{error}");
        synth(broken.path(), 5, 2, 9).unwrap();
        for file in ["1.pt", "2.pt", "3.pt", MANIFEST] {
            let read = |folder: &tempfile::TempDir| fs::read(folder.path().join(file)).unwrap();
            assert_eq!(read(&whole), read(&broken), "{file}");
        }
    }

    #[test]
    fn partitions_of_someone_else_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("17.pt"), "precious").unwrap();
        let error = synth(folder.path(), 2, 2, 1).unwrap_err().to_string();
        assert!(error.contains("17.pt") && error.contains("nothing was overwritten"), "{error}");
        assert_eq!(fs::read(folder.path().join("17.pt")).unwrap(), b"precious");
        assert!(!folder.path().join("1.pt").exists());
    }
}
