//! Packed weights on this machine: a model is folded, merged and packed once, not by every worker.
//!
//! A folder with a safetensors file for each model, precision and layout, named by the model file's SHA-256; see
//! `starmap_astromae::packed` for what is in it. Beside them, `sources/` says which content a model file had when it was
//! hashed last, by its location, size and etag: Initialize hashes the file itself in every run and writes it anew, so
//! workers need not read what they don't use.
//!
//! The cache is never needed and never trusted: a file is written aside and renamed, carries a checksum for each array
//! and for its own description, and one that is damaged, cut off or of something else is removed and made again.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use starmap_astromae::kernels::Set;
use starmap_astromae::kernels::stored::Array;
use starmap_astromae::packed::{PackedSource, layout};
use starmap_astromae::{Model, Precision, Tensor, TensorSource};
use starmap_partitions::Dtype;
use starmap_partitions::tensors::{SafetensorsWriter, TensorEntry, TensorFile};

use crate::checkpoint::sha256;
use crate::error::with_causes;
use crate::store::Object;

/// Environment variable with the cache's folder; without it there is no cache, as on AWS Lambda.
pub const CACHE_VARIABLE: &str = "STARMAP_MODEL_CACHE";
/// Packed models that are kept, the most recently written: some 50 MB each.
const MODELS_MAX: usize = 12;
/// Metadata: SHA-256 of the model file.
const OF: &str = "model_sha256";
/// Metadata: what the arrays are good for.
const LAYOUT: &str = "layout";
/// Metadata: names and shapes of the model's own tensors, a line each.
const TENSORS: &str = "tensors";
/// Metadata: the model's own `heads`, where it says so.
const HEADS: &str = "heads";
/// Metadata: checksum of all other metadata.
const CHECKSUM: &str = "crc32";
/// Beginning of the metadata with an array's checksum.
const OF_ARRAY: &str = "crc32.";

/// See the [module](self).
#[derive(Debug, Clone)]
pub struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// A cache in a folder, which is made when something is written.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The cache that the environment names, if it names one.
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        variable(CACHE_VARIABLE).filter(|folder| !folder.is_empty()).map(|folder| Self::new(folder.into()))
    }

    /// SHA-256 of a model file that was hashed before and has not changed since.
    pub fn content(&self, location: &str, object: &Object) -> Option<String> {
        let content = fs::read_to_string(self.source_path(location, object)).ok()?;
        let is_hash = content.len() == 64 && content.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hash.then_some(content)
    }

    /// Keeps what a model file's content is.
    pub fn remember(&self, location: &str, object: &Object, sha256: &str) {
        if self.content(location, object).as_deref() == Some(sha256) {
            return;
        }
        let path = self.source_path(location, object);
        let written = aside(&path, |file| io::Write::write_all(file, sha256.as_bytes()));
        self.said(&path, written);
    }

    /// Whether there is a packed model, sound or not.
    pub fn has(&self, sha256: &str, precision: Precision, set: Set) -> bool {
        self.model_path(sha256, &layout(precision, set)).exists()
    }

    /// A packed model, if it is there and sound.
    pub fn load(&self, sha256: &str, precision: Precision, set: Set) -> Option<Model> {
        let layout = layout(precision, set);
        let path = self.model_path(sha256, &layout);
        let loaded = match Packed::open(&path, sha256, &layout) {
            Ok(None) => return None,
            Ok(Some(packed)) => Model::load_packed(&packed, precision, set).map_err(|error| with_causes(&error)),
            Err(reason) => Err(reason),
        };
        match loaded {
            Ok(model) => Some(model),
            Err(reason) => {
                tracing::warn!(path = %path.display(), reason, "packed weights are damaged or not ours; they are made again");
                let _ = fs::remove_file(&path);
                None
            }
        }
    }

    /// Keeps a packed model. `tensors` is the file that it was loaded from.
    pub fn store(&self, sha256: &str, model: &Model, set: Set, tensors: &dyn TensorSource) {
        let layout = layout(model.precision(), set);
        let path = self.model_path(sha256, &layout);
        let written = aside(&path, |file| write(file, &path, sha256, &layout, model, tensors));
        if written.is_ok() {
            tracing::info!(path = %path.display(), "packed weights are kept for the next time");
            self.prune(&path);
        }
        self.said(&path, written);
    }

    /// Nothing depends on the cache.
    fn said(&self, path: &Path, written: io::Result<()>) {
        if let Err(error) = written {
            tracing::warn!(path = %path.display(), %error, "the model cache can't be written; models load without it");
        }
    }

    /// Keeps the folder from growing with every model that is ever used.
    fn prune(&self, written: &Path) {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let is_model = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "safetensors");
        let models = entries.map(|entry| entry.path()).filter(is_model).filter(|path| path != written);
        let mut models: Vec<_> =
            models.filter_map(|path| Some((path.metadata().ok()?.modified().ok()?, path))).collect();
        models.sort();
        for (_, path) in models.iter().rev().skip(MODELS_MAX - 1) {
            let _ = fs::remove_file(path);
        }
    }

    fn model_path(&self, sha256: &str, layout: &str) -> PathBuf {
        self.folder.join(format!("{sha256}-{layout}.safetensors"))
    }

    fn source_path(&self, location: &str, object: &Object) -> PathBuf {
        let name = sha256(format!("{location}\n{}\n{}", object.bytes, object.etag).as_bytes());
        self.folder.join("sources").join(name)
    }
}

/// Writes a file beside its place and renames it. Not synced: what a power cut leaves is found out by its checksums.
fn aside(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let part = path.with_extension(format!("part-{}", uuid::Uuid::new_v4().simple()));
    let mut file = BufWriter::new(File::create_new(&part)?);
    let written = write(&mut file).and_then(|()| io::Write::flush(&mut file)).and_then(|()| fs::rename(&part, path));
    if written.is_err() {
        let _ = fs::remove_file(&part);
    }
    written
}

fn write(
    file: &mut BufWriter<File>,
    path: &Path,
    sha256: &str,
    layout: &str,
    model: &Model,
    tensors: &dyn TensorSource,
) -> io::Result<()> {
    let arrays = model.packed();
    let mut bytes = Vec::new();
    let shapes = tensors.tensors().into_iter().map(|Tensor { name, shape }| {
        let shape: Vec<String> = shape.iter().map(ToString::to_string).collect();
        format!("{} {name}\n", shape.join(","))
    });
    let mut metadata = BTreeMap::from([
        (OF.to_owned(), sha256.to_owned()),
        (LAYOUT.to_owned(), layout.to_owned()),
        (TENSORS.to_owned(), shapes.collect()),
    ]);
    metadata.extend(tensors.metadata(HEADS).map(|heads| (HEADS.to_owned(), heads)));
    for array in &arrays {
        array.values.write(&mut bytes);
        metadata.insert(format!("{OF_ARRAY}{}", array.name), format!("{:08x}", crc32fast::hash(&bytes)));
    }
    metadata.insert(CHECKSUM.to_owned(), checksum(&metadata));
    let entry = |array: &starmap_astromae::packed::PackedArray<'_>| TensorEntry {
        name: array.name.clone(),
        shape: array.shape.iter().map(|&extent| extent as u64).collect(),
        dtype: match array.values {
            Array::Numbers(_) => Dtype::F32,
            Array::Words(_) => Dtype::I32,
        },
    };
    let by_name: BTreeMap<&str, _> = arrays.iter().map(|array| (array.name.as_str(), array)).collect();
    let name = path.display().to_string();
    let writer = SafetensorsWriter::new(file, &name, arrays.iter().map(entry).collect(), &metadata);
    let mut writer = writer.map_err(io::Error::other)?;
    for entry in writer.entries().to_vec() {
        by_name[entry.name.as_str()].values.write(&mut bytes);
        writer.push_bytes(&bytes).map_err(io::Error::other)?;
    }
    writer.finish().map(drop).map_err(io::Error::other)
}

/// Of all metadata but the checksum itself.
fn checksum(metadata: &BTreeMap<String, String>) -> String {
    let mut hash = crc32fast::Hasher::new();
    for (key, value) in metadata.iter().filter(|(key, _)| *key != CHECKSUM) {
        for part in [key, value] {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
    }
    format!("{:08x}", hash.finalize())
}

/// A file of packed arrays whose description is sound.
struct Packed(TensorFile<File>);

impl Packed {
    /// Opens a file; `None` if there is none.
    fn open(path: &Path, sha256: &str, layout: &str) -> Result<Option<Self>, String> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        let file = TensorFile::open(file, &path.display().to_string()).map_err(|error| with_causes(&error))?;
        let metadata = file.metadata();
        let said = |key: &str| metadata.get(key).map(String::as_str);
        if said(CHECKSUM) != Some(&checksum(metadata)) {
            return Err("the checksum of its description is not that of its description".to_owned());
        }
        for (key, expected) in [(OF, sha256), (LAYOUT, layout)] {
            if said(key) != Some(expected) {
                return Err(format!("{key} is {:?}, expected {expected}", said(key)));
            }
        }
        Ok(Some(Self(file)))
    }
}

impl TensorSource for Packed {
    fn tensors(&self) -> Vec<Tensor> {
        let lines = self.0.metadata().get(TENSORS).map(String::as_str).unwrap_or_default().lines();
        let tensors = lines.filter_map(|line| {
            let (shape, name) = line.split_once(' ')?;
            let shape = shape.split(',').filter(|extent| !extent.is_empty()).map(str::parse).collect::<Result<_, _>>();
            Some(Tensor { name: name.to_owned(), shape: shape.ok()? })
        });
        tensors.collect()
    }

    fn metadata(&self, key: &str) -> Option<String> {
        self.0.metadata().get(key).cloned()
    }

    fn read(&self, _: &str, _: &mut Vec<f32>) -> Result<(), Box<dyn StdError + Send + Sync>> {
        Err("packed weights have arrays, not tensors".into())
    }
}

impl PackedSource for Packed {
    fn fill(&self, name: &str, out: &mut [u8]) -> Result<(), Box<dyn StdError + Send + Sync>> {
        self.0.read_into(name, out)?;
        let (found, said) = (format!("{:08x}", crc32fast::hash(out)), self.metadata(&format!("{OF_ARRAY}{name}")));
        if said.as_ref() == Some(&found) {
            return Ok(());
        }
        Err(format!("its checksum is {found}, expected {}", said.as_deref().unwrap_or("one")).into())
    }
}

#[cfg(test)]
mod tests {
    use starmap_astromae::Config;
    use starmap_astromae::recipe::Recipe;

    use super::*;

    const HASH: &str = "aa";

    fn small() -> Recipe {
        let config =
            Config { width: 64, depth: 1, heads: 4, mlp: 96, pcm_groups: 16, pcm_channels: 64, ..Config::default() };
        Recipe::new(Config { vit: [48, 56], vis: [72, 80], magnitudes: vec![32, 24], fusion: 88, ..config })
    }

    /// A cache with one model in it, and the model's file.
    fn filled(root: &Path) -> (Cache, PathBuf) {
        let cache = Cache::new(root.join("models"));
        let (recipe, set) = (small(), Set::best());
        let model = Model::load(&recipe).unwrap();
        assert!(cache.load(HASH, Precision::F32, set).is_none(), "there is nothing yet");
        cache.store(HASH, &model, set, &recipe);
        let again = cache.load(HASH, Precision::F32, set).unwrap();
        assert_eq!(format!("{again:?}"), format!("{model:?}"));
        let path = cache.model_path(HASH, &layout(Precision::F32, set));
        (cache, path)
    }

    #[test]
    fn every_damage_is_found_and_the_file_removed() {
        let root = tempfile::tempdir().unwrap();
        let (cache, path) = filled(root.path());
        let sound = fs::read(&path).unwrap();
        let header_bytes = u64::from_le_bytes(sound[..8].try_into().unwrap()) as usize;
        let of_text = |text: &str| sound.windows(text.len()).position(|window| window == text.as_bytes()).unwrap();
        // In the heads, a shape, a checksum, the first and the last array; and files that are cut off or too long.
        let mut damaged: Vec<Vec<u8>> = Vec::new();
        for at in [
            of_text("\"heads\":\"4") + 9,
            of_text("64 fc_norm.weight"),
            of_text("crc32.last.bias\":\"") + 18,
            8 + header_bytes,
            sound.len() - 1,
        ] {
            let mut bytes = sound.clone();
            bytes[at] = if bytes[at] == b'1' { b'2' } else { b'1' };
            damaged.push(bytes);
        }
        damaged.push(sound[..sound.len() - 4].to_vec());
        damaged.push(sound[..5].to_vec());
        damaged.push([&sound[..], b"x"].concat());
        damaged.push(Vec::new());
        for (case, bytes) in damaged.iter().enumerate() {
            fs::write(&path, bytes).unwrap();
            assert!(cache.load(HASH, Precision::F32, Set::best()).is_none(), "case {case}");
            assert!(!path.exists(), "case {case}");
        }
        fs::write(&path, &sound).unwrap();
        assert!(cache.load(HASH, Precision::F32, Set::best()).is_some());
    }

    #[test]
    fn a_file_of_another_model_or_precision_is_foreign() {
        let root = tempfile::tempdir().unwrap();
        let (cache, path) = filled(root.path());
        let set = Set::best();
        for (hash, precision) in [("bb", Precision::F32), (HASH, Precision::Int8)] {
            let foreign = cache.model_path(hash, &layout(precision, set));
            fs::copy(&path, &foreign).unwrap();
            assert!(cache.has(hash, precision, set));
            assert!(cache.load(hash, precision, set).is_none());
            assert!(!foreign.exists());
        }
        assert!(path.exists());
    }

    #[test]
    fn a_changed_file_is_another_source() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::new(root.path().join("models"));
        let object = |etag: &str, bytes| Object { key: "m.pt".into(), bytes, etag: etag.to_owned(), modified_at_ms: 0 };
        let hash = "0".repeat(64);
        cache.remember("s3://b/m.pt", &object("1", 5), &hash);
        assert_eq!(cache.content("s3://b/m.pt", &object("1", 5)), Some(hash.clone()));
        assert_eq!(cache.content("s3://b/m.pt", &object("2", 5)), None);
        assert_eq!(cache.content("s3://b/m.pt", &object("1", 6)), None);
        assert_eq!(cache.content("s3://c/m.pt", &object("1", 5)), None);
        let path = cache.source_path("s3://b/m.pt", &object("1", 5));
        fs::write(path, "cut").unwrap();
        assert_eq!(cache.content("s3://b/m.pt", &object("1", 5)), None, "half a hash is none");
        let other = "1".repeat(64);
        cache.remember("s3://b/m.pt", &object("1", 5), &other);
        assert_eq!(cache.content("s3://b/m.pt", &object("1", 5)), Some(other));
    }

    #[test]
    fn a_folder_that_can_not_be_written_costs_nothing_but_the_cache() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("file"), "").unwrap();
        let cache = Cache::new(root.path().join("file"));
        let recipe = small();
        cache.store(HASH, &Model::load(&recipe).unwrap(), Set::best(), &recipe);
        assert!(cache.load(HASH, Precision::F32, Set::best()).is_none());
    }

    #[test]
    fn old_models_go() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::new(root.path().to_owned());
        let (recipe, set) = (small(), Set::best());
        let model = Model::load(&recipe).unwrap();
        for k in 0..MODELS_MAX + 3 {
            cache.store(&format!("{k:02}"), &model, set, &recipe);
        }
        let kept = fs::read_dir(root.path()).unwrap().count();
        assert_eq!(kept, MODELS_MAX);
        assert!(cache.has(&format!("{:02}", MODELS_MAX + 2), Precision::F32, set));
    }
}
