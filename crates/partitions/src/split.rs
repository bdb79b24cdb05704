//! One partition into many: which rows go where, copying them, and the manifest that says so.

use std::io::{Seek, Write};
use std::ops::Range;

use serde_json::{Map, Value, json};

use crate::error::Error;
use crate::partition::{Batch, Partition};
use crate::source::ByteSource;
use crate::writer::PtWriter;

/// Rows in memory at once while copying: 10.5 MB of pixels.
const ROWS_AT_ONCE: usize = 512;
/// Written into manifests, so that a later version can tell what it reads.
const VERSION: u64 = 1;

/// The rows of each partition, in order: all of the same size, the last one may be smaller.
///
/// # Panics
/// If `per_partition` is 0.
pub fn ranges(galaxies: usize, per_partition: usize) -> impl ExactSizeIterator<Item = Range<usize>> {
    assert!(per_partition > 0, "partitions of 0 galaxies");
    (0..galaxies.div_ceil(per_partition)).map(move |index| {
        let first = index * per_partition;
        first..galaxies.min(first + per_partition)
    })
}

/// Copies some rows of a partition into a new `.pt`, value by value the same; `name` is the new file's.
///
/// Magnitudes become float64, which single precision fits into; redshifts keep their type.
///
/// # Errors
/// Those of [`Partition::read`] and [`PtWriter`].
///
/// # Panics
/// If there are not so many rows.
pub fn copy<S: ByteSource, W: Write + Seek>(
    partition: &mut Partition<S>,
    rows: Range<usize>,
    out: W,
    name: &str,
) -> Result<W, Error> {
    let mut writer = PtWriter::new(out, name, rows.len() as u64, partition.dtypes().2)?;
    let mut batch = Batch::default();
    for first in rows.clone().step_by(ROWS_AT_ONCE) {
        partition.read(first..rows.end.min(first + ROWS_AT_ONCE), &mut batch)?;
        writer.push(&batch.images, &batch.magnitudes_f64, batch.redshifts.as_deref())?;
    }
    writer.finish()
}

/// What a folder of partitions has to contain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Name of the file that was split, without its path.
    pub source: String,
    /// Sum of all rows.
    pub galaxies: u64,
    /// Galaxies of every partition but the last.
    pub galaxies_per_partition: u64,
    /// In order of rows.
    pub partitions: Vec<ManifestEntry>,
}

/// One partition of a [`Manifest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestEntry {
    /// Name of the file, without its path.
    pub file: String,
    /// Galaxies in it.
    pub rows: u64,
    /// Size of the file.
    pub bytes: u64,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
}

impl Manifest {
    /// As JSON, for `manifest.json`.
    pub fn to_json(&self) -> Value {
        let entry = |entry: &ManifestEntry| json!({"file": entry.file, "rows": entry.rows, "bytes": entry.bytes, "sha256": entry.sha256});
        json!({
            "version": VERSION,
            "source": self.source,
            "galaxies": self.galaxies,
            "galaxies_per_partition": self.galaxies_per_partition,
            "partitions": self.partitions.iter().map(entry).collect::<Vec<_>>(),
        })
    }

    /// Reads a `manifest.json`; `name` is what errors call it.
    ///
    /// # Errors
    /// [`Error::Format`] names the first key that is missing or wrong. A file name with a path in it is refused.
    pub fn parse(bytes: &[u8], name: &str) -> Result<Self, Error> {
        let value: Value =
            serde_json::from_slice(bytes).map_err(|error| Error::format(name, format!("not a manifest: {error}")))?;
        let top = Object { value: value.as_object(), at: String::new(), name };
        let version = top.count("version")?;
        if version != VERSION {
            let reason =
                format!("it is a manifest of version {version}, expected {VERSION}\nhint: use a newer starmap");
            return Err(Error::format(name, reason));
        }
        let mut partitions = Vec::new();
        let entries = value["partitions"].as_array().ok_or_else(|| top.wrong("partitions", "a list"))?;
        for (index, entry) in entries.iter().enumerate() {
            let entry = Object { value: entry.as_object(), at: format!("partitions[{index}]."), name };
            let file = entry.text("file")?;
            if file.is_empty() || file.contains(['/', '\\']) || file.starts_with('.') {
                return Err(entry.wrong("file", "the name of a file beside the manifest"));
            }
            let (rows, bytes, sha256) = (entry.count("rows")?, entry.count("bytes")?, entry.text("sha256")?);
            partitions.push(ManifestEntry { file, rows, bytes, sha256 });
        }
        let manifest = Self {
            source: top.text("source")?,
            galaxies: top.count("galaxies")?,
            galaxies_per_partition: top.count("galaxies_per_partition")?,
            partitions,
        };
        let sum = manifest.partitions.iter().try_fold(0u64, |sum, entry| sum.checked_add(entry.rows));
        if sum != Some(manifest.galaxies) {
            let sum = sum.map_or_else(|| "too many".to_owned(), |sum| sum.to_string());
            let reason = format!("its partitions have {sum} galaxies together, expected {}", manifest.galaxies);
            return Err(Error::format(name, reason));
        }
        Ok(manifest)
    }
}

/// A JSON object, and where it is in the manifest.
struct Object<'a> {
    value: Option<&'a Map<String, Value>>,
    at: String,
    name: &'a str,
}

impl Object<'_> {
    fn get(&self, key: &str) -> Option<&Value> {
        self.value?.get(key)
    }

    fn count(&self, key: &str) -> Result<u64, Error> {
        self.get(key).and_then(Value::as_u64).ok_or_else(|| self.wrong(key, "a count"))
    }

    fn text(&self, key: &str) -> Result<String, Error> {
        let text = self.get(key).and_then(Value::as_str).ok_or_else(|| self.wrong(key, "text"))?;
        Ok(text.to_owned())
    }

    fn wrong(&self, key: &str, expected: &str) -> Error {
        let found = self.get(key).map_or_else(|| "missing".to_owned(), ToString::to_string);
        Error::format(self.name, format!("{}{key} is {found}, expected {expected}", self.at))
    }
}
