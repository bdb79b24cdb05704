//! `starmap data split`, `inspect` and `verify`: partitions as files on this machine.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};
use starmap_partitions::split::{self, Manifest, ManifestEntry};
use starmap_partitions::tensors::TensorFile;
use starmap_partitions::{BANDS, Batch, Error, Format, IMAGE, Partition, size};
use starmap_pipeline::natural;

use crate::commands::model::sha256;
use crate::printer::Printer;
use crate::{exit, table};

const MANIFEST: &str = "manifest.json";
/// What a folder's files are looked at for; what they are is told from their content.
const ENDINGS: [&str; 3] = ["pt", "safetensors", "npz"];
const BAND_NAMES: [&str; BANDS] = ["u", "g", "r", "i", "z"];
/// Galaxies in memory at once: 10.5 MB of pixels.
const ROWS_AT_ONCE: usize = 512;
/// Rows that a message lists.
const ROWS_SHOWN: usize = 10;

/// Arguments of `data split`.
#[derive(Debug, Args)]
pub struct SplitArgs {
    /// File with galaxies: .pt, .safetensors or .npz
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Folder for 1.pt, 2.pt, … and manifest.json; it appears when everything is in it
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Size of each partition, as 25MB (1,278 galaxies)
    #[arg(long, value_name = "SIZE", value_parser = size::galaxies, required_unless_present = "galaxies")]
    size: Option<u64>,
    /// Galaxies of each partition; the last may have fewer
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "size")]
    galaxies: Option<u64>,
}

/// Arguments of `data inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// Partition or checkpoint: .pt, .safetensors or .npz
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Arguments of `data verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Partitions, or folders of them; a folder's manifest.json is used if it has one
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// What the partitions beside this file have to be
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
}

/// Carries out `data split`.
pub fn split(args: &SplitArgs, json: bool) -> anyhow::Result<ExitCode> {
    let printer = Printer::new(json, false);
    let per_partition = args.size.or(args.galaxies).and_then(|galaxies| usize::try_from(galaxies).ok());
    let per_partition =
        per_partition.ok_or_else(|| exit::usage("expected --size or --galaxies, within this machine's memory"))?;
    let name = args.file.display().to_string();
    let mut source = Partition::open(open(&args.file)?, &name)?;
    let staging = Staging::create(&args.out)?;

    let ranges = split::ranges(source.galaxies(), per_partition);
    let count = ranges.len();
    let mut partitions = Vec::with_capacity(count);
    for (rows, number) in ranges.zip(1..) {
        printer.status_line(&format!("partition {number} of {count}"));
        let file = format!("{number}.pt");
        let path = staging.folder.join(&file);
        let doing = || format!("writing {}", path.display());
        let out = File::create(&path).with_context(doing)?;
        let out = split::copy(&mut source, rows.clone(), out, &args.out.join(&file).display().to_string())?;
        out.sync_all().with_context(doing)?;
        let bytes = out.metadata().with_context(doing)?.len();
        partitions.push(ManifestEntry { file, rows: rows.len() as u64, bytes, sha256: sha256(&path)? });
    }
    printer.status_line("");
    // Nothing is kept of a source that turns out to be damaged.
    source.finish()?;
    let manifest = Manifest {
        source: args.file.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        galaxies: source.galaxies() as u64,
        galaxies_per_partition: per_partition as u64,
        partitions,
    };
    staging.keep(&manifest)?;

    let bytes: u64 = manifest.partitions.iter().map(|entry| entry.bytes).sum();
    printer.result(&format!(
        "{} galaxies in {count} partitions, {:.1} MB: {}",
        manifest.galaxies,
        bytes as f64 / 1e6,
        args.out.display()
    ));
    printer.object(&json!({
        "status": "SUCCEEDED",
        "out": args.out.display().to_string(),
        "galaxies": manifest.galaxies,
        "galaxies_per_partition": manifest.galaxies_per_partition,
        "partitions": count,
        "bytes": bytes,
        "manifest": args.out.join(MANIFEST).display().to_string(),
    }));
    Ok(ExitCode::SUCCESS)
}

/// Carries out `data inspect`.
pub fn inspect(args: &InspectArgs, json: bool) -> anyhow::Result<ExitCode> {
    let printer = Printer::new(json, false);
    let name = args.file.display().to_string();
    match Partition::open(open(&args.file)?, &name) {
        Ok(partition) => inspect_partition(&name, partition, &printer),
        Err(as_partition) => match TensorFile::open(open(&args.file)?, &name) {
            Ok(tensors) if !tensors.entries().is_empty() => inspect_tensors(&name, &tensors, &as_partition, &printer),
            Ok(_) => Err(as_partition.into()),
            // A checkpoint may refer to more names than a partition, so what it is refused for is what is really wrong.
            Err(as_checkpoint @ Error::Refused { .. }) => Err(as_checkpoint.into()),
            Err(_) => Err(as_partition.into()),
        },
    }
}

fn inspect_partition(name: &str, mut partition: Partition<File>, printer: &Printer) -> anyhow::Result<ExitCode> {
    let survey = Survey::of(&mut partition)?;
    let (galaxies, (images, magnitudes, redshifts)) = (partition.galaxies(), partition.dtypes());
    let dtype = redshifts.map_or("none", |dtype| dtype.name());
    let reversed = survey.reversed.as_ref().map(ToString::to_string);
    let mut rows = vec![
        ("file", format!("{name}: partition, {}", partition.format())),
        ("galaxies", galaxies.to_string()),
        ("images", format!("[{galaxies}, 5, 32, 32] {images}, {}", survey.pixels)),
        ("magnitudes", format!("[{galaxies}, 5] {magnitudes}")),
    ];
    rows.extend(BAND_NAMES.into_iter().zip(&survey.magnitudes).map(|(band, range)| (band, range.to_string())));
    rows.push(match redshifts {
        None => ("redshifts", "none".to_owned()),
        Some(dtype) => ("redshifts", format!("[{galaxies}] {dtype}, {}", survey.redshifts)),
    });
    rows.push(("not finite", survey.bad_rows_shown()));
    let has_checksums = partition.format() != Format::Safetensors;
    rows.push(("checksums", if has_checksums { "match" } else { "none in this format" }.to_owned()));
    if let Some(reversed) = &reversed {
        rows.push(("bands", reversed.clone()));
    }
    print_rows(rows, printer);
    printer.object(&json!({
        "kind": "partition",
        "file": name,
        "format": partition.format().name(),
        "galaxies": galaxies,
        "images": { "dtype": images.name(), "shape": [galaxies, 5, 32, 32], "range": survey.pixels.json() },
        "magnitudes": {
            "dtype": magnitudes.name(),
            "shape": [galaxies, 5],
            "bands": BAND_NAMES.iter().zip(&survey.magnitudes).map(|(band, range)| (*band, range.json())).collect::<BTreeMap<_, _>>(),
        },
        "redshifts": redshifts.map(|_| json!({ "dtype": dtype, "shape": [galaxies], "range": survey.redshifts.json() })),
        "non_finite_rows": { "count": survey.bad_count, "first": survey.bad_rows },
        "bands_reversed": reversed.is_some(),
    }));
    Ok(ExitCode::SUCCESS)
}

fn inspect_tensors(
    name: &str,
    tensors: &TensorFile<File>,
    as_partition: &Error,
    printer: &Printer,
) -> anyhow::Result<ExitCode> {
    let entries = tensors.entries();
    // A file that is named like a partition, but is not a good one.
    let not_a_partition = entries.iter().any(|entry| entry.name == "images").then(|| as_partition.to_string());
    let elements: u64 = entries.iter().map(|entry| entry.elements()).sum();
    let mut rows = vec![
        ("file", format!("{name}: tensors, {}", tensors.format())),
        ("tensors", entries.len().to_string()),
        ("elements", elements.to_string()),
    ];
    rows.extend(tensors.metadata().iter().map(|(key, value)| ("metadata", format!("{key} = {value}"))));
    if let Some(reason) = &not_a_partition {
        rows.push(("partition", format!("no: {reason}")));
    }
    print_rows(rows, printer);
    printer.result("");
    let row = |entry: &starmap_partitions::tensors::TensorEntry| {
        vec![entry.name.clone(), entry.dtype.to_string(), format!("{:?}", entry.shape)]
    };
    printer.result(&table::aligned(&entries.iter().map(row).collect::<Vec<_>>()));
    printer.object(&json!({
        "kind": "tensors",
        "file": name,
        "format": tensors.format().name(),
        "elements": elements,
        "metadata": tensors.metadata(),
        "not_a_partition": not_a_partition,
        "tensors": entries.iter().map(|entry| {
            json!({ "name": entry.name, "dtype": entry.dtype.name(), "shape": entry.shape })
        }).collect::<Vec<_>>(),
    }));
    Ok(ExitCode::SUCCESS)
}

/// Carries out `data verify`.
pub fn verify(args: &VerifyArgs, json: bool) -> anyhow::Result<ExitCode> {
    let printer = Printer::new(json, false);
    let checks = checks(args)?;
    let mut verified = Vec::with_capacity(checks.len());
    for (check, number) in checks.iter().zip(1..) {
        printer.status_line(&format!("file {number} of {}", checks.len()));
        verified.push(check.carry_out());
    }
    printer.status_line("");
    let bad = verified.iter().filter(|verified| !verified.problems.is_empty()).count();
    for verified in &verified {
        for problem in &verified.problems {
            printer.failure(problem);
        }
    }
    let galaxies: u64 = verified.iter().map(|verified| verified.galaxies).sum();
    let against = checks.iter().filter(|check| check.expected.is_some()).count();
    printer.result(&match bad {
        0 => format!("{galaxies} galaxies in {} files are good, {against} of them against a manifest", verified.len()),
        _ => format!("{bad} of {} files are bad", verified.len()),
    });
    printer.object(&json!({
        "status": if bad == 0 { "SUCCEEDED" } else { "FAILED" },
        "galaxies": galaxies,
        "files": verified.iter().zip(&checks).map(|(verified, check)| json!({
            "file": check.path,
            "galaxies": verified.galaxies,
            "in_manifest": check.expected.is_some(),
            "problems": verified.problems,
        })).collect::<Vec<_>>(),
    }));
    Ok(if bad == 0 { ExitCode::SUCCESS } else { ExitCode::from(exit::FAILED) })
}

/// One file to verify, and what a manifest says about it.
#[derive(Debug)]
struct Check {
    path: PathBuf,
    expected: Option<ManifestEntry>,
}

#[derive(Debug)]
struct Verified {
    galaxies: u64,
    /// Each begins with the file's name.
    problems: Vec<String>,
}

/// All files that are meant, each once, with their entries in the manifests that are meant.
fn checks(args: &VerifyArgs) -> anyhow::Result<Vec<Check>> {
    let mut manifests: Vec<PathBuf> = args.manifest.iter().cloned().collect();
    let mut paths = Vec::new();
    for path in &args.paths {
        if !path.is_dir() {
            paths.push(path.clone());
            continue;
        }
        let mut inside = partitions_in(path)?;
        let manifest = path.join(MANIFEST);
        let has_manifest = manifest.is_file();
        if inside.is_empty() && !has_manifest {
            return Err(exit::usage(format!("{}: no .pt, .safetensors or .npz file is in it", path.display())));
        }
        if has_manifest && args.manifest.is_none() {
            manifests.push(manifest);
        }
        paths.append(&mut inside);
    }
    let mut expected = BTreeMap::new();
    for path in manifests {
        let bytes = fs::read(&path).map_err(|error| exit::usage(format!("manifest {}: {error}", path.display())))?;
        let manifest = Manifest::parse(&bytes, &path.display().to_string())?;
        let folder = path.parent().unwrap_or(Path::new(""));
        for entry in manifest.partitions {
            let path = folder.join(&entry.file);
            if !paths.iter().any(|known| is_same(known, &path)) {
                paths.push(path.clone());
            }
            expected.insert(path, entry);
        }
    }
    let entry = |path: &Path| expected.iter().find(|(other, _)| is_same(other, path)).map(|(_, entry)| entry.clone());
    Ok(paths.into_iter().map(|path| Check { expected: entry(&path), path }).collect())
}

/// `./1.pt` and `1.pt` are one file.
fn is_same(a: &Path, b: &Path) -> bool {
    a.components().filter(|part| part.as_os_str() != ".").eq(b.components().filter(|part| part.as_os_str() != "."))
}

fn partitions_in(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let doing = || format!("listing {}", folder.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).with_context(doing)? {
        let name = entry.with_context(doing)?.file_name().to_string_lossy().into_owned();
        let is_partition = Path::new(&name).extension().is_some_and(|ending| ENDINGS.iter().any(|e| ending == *e));
        if is_partition && !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort_by(|a, b| natural::compare(a, b));
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

impl Check {
    fn carry_out(&self) -> Verified {
        let name = self.path.display().to_string();
        let mut verified = Verified { galaxies: 0, problems: Vec::new() };
        if let Some(problem) = self.differs() {
            verified.problems.push(format!("{name}: {problem}"));
        }
        let surveyed = File::open(&self.path)
            .map_err(|error| format!("{name}: {error}"))
            .and_then(|file| Partition::open(file, &name).map_err(|error| shown(&error)))
            .and_then(|mut partition| {
                let survey = Survey::of(&mut partition).map_err(|error| shown(&error))?;
                Ok((partition.galaxies() as u64, survey))
            });
        match surveyed {
            Err(problem) => verified.problems.push(problem),
            Ok((galaxies, survey)) => {
                verified.galaxies = galaxies;
                if survey.bad_count > 0 {
                    verified
                        .problems
                        .push(format!("{name}: NaN or infinite pixels or magnitudes in {}", survey.bad_rows_shown()));
                }
                verified.problems.extend(survey.reversed.as_ref().map(ToString::to_string));
                if let Some(expected) = self.expected.as_ref().filter(|expected| expected.rows != galaxies) {
                    let rows = expected.rows;
                    verified.problems.push(format!("{name}: has {galaxies} galaxies, the manifest says {rows}"));
                }
            }
        }
        verified
    }

    /// How the file's bytes differ from what the manifest says. A file that is missing is found when it is opened.
    fn differs(&self) -> Option<String> {
        let expected = self.expected.as_ref()?;
        let bytes = fs::metadata(&self.path).ok()?.len();
        if bytes != expected.bytes {
            return Some(format!("has {bytes} bytes, the manifest says {}", expected.bytes));
        }
        let found = sha256(&self.path).ok()?;
        let hint = "hint: copy or make it again";
        (found != expected.sha256)
            .then(|| format!("has SHA-256 {found}, the manifest says {}\n{hint}", expected.sha256))
    }
}

/// An error with its causes.
fn shown(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// What the values of a partition are like.
#[derive(Debug, Default)]
struct Survey {
    pixels: Values,
    magnitudes: [Values; BANDS],
    redshifts: Values,
    bad_count: u64,
    /// The first of them.
    bad_rows: Vec<usize>,
    reversed: Option<Error>,
}

impl Survey {
    /// Reads everything, and compares the checksums.
    fn of(partition: &mut Partition<File>) -> Result<Self, Error> {
        let mut survey = Self::default();
        let mut batch = Batch::default();
        for first in (0..partition.galaxies()).step_by(ROWS_AT_ONCE) {
            partition.read(first..partition.galaxies().min(first + ROWS_AT_ONCE), &mut batch)?;
            if first == 0 {
                survey.reversed = partition.check_band_order(&batch).err();
            }
            for image in batch.images.chunks_exact(IMAGE) {
                survey.pixels.add_all(image.iter().map(|pixel| f64::from(*pixel)));
            }
            for (band, values) in survey.magnitudes.iter_mut().enumerate() {
                values.add_all(batch.magnitudes_f64.iter().skip(band).step_by(BANDS).copied());
            }
            survey.redshifts.add_all(batch.redshifts.iter().flatten().copied());
            let bad = batch.non_finite_rows();
            survey.bad_count += bad.len() as u64;
            let room = ROWS_SHOWN - survey.bad_rows.len();
            survey.bad_rows.extend(bad.into_iter().map(|row| first + row).take(room));
        }
        partition.finish()?;
        Ok(survey)
    }

    fn bad_rows_shown(&self) -> String {
        let rows = self.bad_rows.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        match self.bad_count {
            0 => "no rows".to_owned(),
            count if count > self.bad_rows.len() as u64 => format!("{count} rows: {rows}, …"),
            count => format!("{count} rows: {rows}"),
        }
    }
}

/// Range and mean of the finite ones of some values.
#[derive(Debug)]
struct Values {
    min: f64,
    max: f64,
    sum: f64,
    finite: u64,
    not_finite: u64,
}

impl Default for Values {
    fn default() -> Self {
        Self { min: f64::INFINITY, max: f64::NEG_INFINITY, sum: 0.0, finite: 0, not_finite: 0 }
    }
}

impl Values {
    fn add_all(&mut self, values: impl Iterator<Item = f64>) {
        for value in values {
            if value.is_finite() {
                (self.min, self.max) = (self.min.min(value), self.max.max(value));
                self.sum += value;
                self.finite += 1;
            } else {
                self.not_finite += 1;
            }
        }
    }

    fn mean(&self) -> Option<f64> {
        (self.finite > 0).then(|| self.sum / self.finite as f64)
    }

    fn json(&self) -> Value {
        let is_some = self.finite > 0;
        json!({
            "min": is_some.then_some(self.min),
            "max": is_some.then_some(self.max),
            "mean": self.mean(),
            "non_finite": self.not_finite,
        })
    }
}

impl std::fmt::Display for Values {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.mean() {
            None => f.write_str("no finite value")?,
            Some(mean) => write!(f, "{:.4} to {:.4}, mean {mean:.4}", self.min, self.max)?,
        }
        if self.not_finite > 0 {
            write!(f, ", {} not finite", self.not_finite)?;
        }
        Ok(())
    }
}

/// A folder that appears when everything is in it. Dropped before [`Staging::keep`], it is removed.
#[derive(Debug)]
struct Staging {
    folder: PathBuf,
    target: PathBuf,
    is_kept: bool,
}

impl Staging {
    fn create(target: &Path) -> anyhow::Result<Self> {
        let refuse = |what: &str| {
            let hint = "hint: name a folder that is not there yet";
            exit::usage(format!("splitting into {}: {what}, nothing was overwritten\n{hint}", target.display()))
        };
        let name = target.file_name().ok_or_else(|| refuse("it is no name for a folder"))?;
        match fs::read_dir(target).map(Iterator::count) {
            Ok(1..) => return Err(refuse("there are files in it")),
            Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => return Err(refuse("it is a file")),
            _ => {}
        }
        let folder = target.with_file_name(format!(".{}.{}.part", name.to_string_lossy(), std::process::id()));
        fs::create_dir_all(&folder).with_context(|| format!("making the folder {}", folder.display()))?;
        Ok(Self { folder, target: target.to_owned(), is_kept: false })
    }

    fn keep(mut self, manifest: &Manifest) -> anyhow::Result<()> {
        let doing = || format!("writing {}", self.target.display());
        let file = File::create(self.folder.join(MANIFEST)).with_context(doing)?;
        serde_json::to_writer_pretty(&file, &manifest.to_json()).with_context(doing)?;
        file.sync_all().with_context(doing)?;
        sync(&self.folder).with_context(doing)?;
        // Replaces an empty folder, and fails where something has come into it in the meantime.
        fs::rename(&self.folder, &self.target).with_context(doing)?;
        self.is_kept = true;
        let parent = self.target.parent().filter(|parent| !parent.as_os_str().is_empty());
        sync(parent.unwrap_or(Path::new("."))).with_context(doing)
    }
}

/// A folder's entries must survive a power cut as its files do.
fn sync(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.is_kept {
            // Nothing can be done about a folder that can't be removed; its name says that it is no result.
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

fn open(path: &Path) -> anyhow::Result<File> {
    let file = File::open(path).map_err(|error| exit::usage(format!("{}: {error}", path.display())))?;
    if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
        return Err(exit::usage(format!("{}: is a folder, expected a file", path.display())));
    }
    Ok(file)
}

fn print_rows(rows: Vec<(&str, String)>, printer: &Printer) {
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    printer.result(&table::aligned(&rows));
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use starmap_partitions::{Dtype, PtWriter};

    use super::*;

    /// A partition whose magnitudes get fainter from z to u, as they should.
    fn partition(path: &Path, galaxies: usize) {
        let mut writer = PtWriter::new(File::create(path).unwrap(), "p", galaxies as u64, Some(Dtype::F32)).unwrap();
        let images: Vec<f32> = (0..galaxies * IMAGE).map(|i| (i % 977) as f32 / 977.0).collect();
        let magnitudes: Vec<f64> = (0..galaxies * BANDS).map(|i| 21.0 - (i % BANDS) as f64 * 0.7).collect();
        let redshifts: Vec<f64> = (0..galaxies).map(|i| i as f64 / 64.0).collect();
        writer.push(&images, &magnitudes, Some(&redshifts)).unwrap();
        writer.finish().unwrap();
    }

    fn split_args(file: &Path, out: &Path, galaxies: u64) -> SplitArgs {
        SplitArgs { file: file.to_owned(), out: out.to_owned(), size: None, galaxies: Some(galaxies) }
    }

    fn problems(paths: &[&Path], manifest: Option<PathBuf>) -> Vec<String> {
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        let checks = checks(&VerifyArgs { paths, manifest }).unwrap();
        checks.iter().flat_map(|check| check.carry_out().problems).collect()
    }

    #[test]
    fn a_split_folder_is_verified_and_never_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let (file, out) = (folder.path().join("all.pt"), folder.path().join("parts"));
        partition(&file, 25);
        split(&split_args(&file, &out, 10), true).unwrap();
        let names: Vec<_> = partitions_in(&out).unwrap().iter().map(|p| p.file_name().unwrap().to_owned()).collect();
        assert_eq!(names, ["1.pt", "2.pt", "3.pt"]);
        let manifest = Manifest::parse(&fs::read(out.join(MANIFEST)).unwrap(), "m").unwrap();
        assert_eq!(manifest.partitions.iter().map(|entry| entry.rows).collect::<Vec<_>>(), [10, 10, 5]);
        assert_eq!(problems(&[&out], None), [""; 0]);

        let error = split(&split_args(&file, &out, 10), true).unwrap_err();
        assert_eq!(exit::of(&error), exit::USAGE);
        assert!(error.to_string().contains("there are files in it, nothing was overwritten"), "{error}");
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 2, "{left:?}");
    }

    #[test]
    fn a_damaged_source_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let (file, out) = (folder.path().join("all.pt"), folder.path().join("parts"));
        partition(&file, 3);
        let mut bytes = fs::read(&file).unwrap();
        bytes[30_000] ^= 1;
        fs::write(&file, bytes).unwrap();
        let error = split(&split_args(&file, &out, 2), true).unwrap_err().to_string();
        assert!(error.contains("data/0 has CRC-32"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn verify_names_every_bad_file() {
        let folder = tempfile::tempdir().unwrap();
        let (file, out) = (folder.path().join("all.pt"), folder.path().join("parts"));
        partition(&file, 40);
        split(&split_args(&file, &out, 10), true).unwrap();
        // One byte of a pixel, a file that is gone, one that is too short.
        let mut bytes = fs::read(out.join("1.pt")).unwrap();
        bytes[50_000] ^= 64;
        fs::write(out.join("1.pt"), bytes).unwrap();
        fs::remove_file(out.join("2.pt")).unwrap();
        File::options().write(true).open(out.join("3.pt")).unwrap().set_len(100_000).unwrap();
        let problems = problems(&[&out], None);
        assert_eq!(problems.len(), 5, "{problems:#?}");
        assert!(problems[0].contains("1.pt: has SHA-256 "), "{problems:#?}");
        assert!(problems[1].contains("1.pt: 1/data/0 has CRC-32 "), "{problems:#?}");
        assert!(problems[2].contains("3.pt: has 100000 bytes, the manifest says "), "{problems:#?}");
        assert!(problems[3].contains("3.pt: truncated: "), "{problems:#?}");
        assert!(problems[4].contains("2.pt: No such file"), "{problems:#?}");
        let code = verify(&VerifyArgs { paths: vec![out], manifest: None }, true).unwrap();
        assert_eq!(code, ExitCode::from(exit::FAILED));
    }

    #[test]
    fn verify_finds_bad_values_and_reversed_bands() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("1.pt");
        let mut writer = PtWriter::new(File::create(&path).unwrap(), "1.pt", 40, None).unwrap();
        let mut images = vec![0.5; 40 * IMAGE];
        images[7 * IMAGE + 3] = f32::NAN;
        let magnitudes: Vec<f64> = (0..40 * BANDS).map(|i| 18.0 + (i % BANDS) as f64 * 0.7).collect();
        writer.push(&images, &magnitudes, None).unwrap();
        writer.finish().unwrap();
        let problems = problems(&[&path], None);
        assert!(problems[0].ends_with("1.pt: NaN or infinite pixels or magnitudes in 1 rows: 7"), "{problems:#?}");
        assert!(problems[1].contains("the bands are in reverse"), "{problems:#?}");
        assert_eq!(problems.len(), 2);
    }

    #[test]
    fn inspect_tells_partitions_tensors_and_others_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("1.pt");
        partition(&path, 3);
        assert_eq!(inspect(&InspectArgs { file: path.clone() }, true).unwrap(), ExitCode::SUCCESS);
        File::create(&path).unwrap().write_all(b"hello").unwrap();
        let error = inspect(&InspectArgs { file: path }, true).unwrap_err();
        assert!(error.to_string().contains("not a zip: it begins with \"hello\""), "{error}");
        assert_eq!(exit::of(&error), exit::FAILED);
        let missing = inspect(&InspectArgs { file: folder.path().join("none.pt") }, true).unwrap_err();
        assert_eq!(exit::of(&missing), exit::USAGE);
    }
}
