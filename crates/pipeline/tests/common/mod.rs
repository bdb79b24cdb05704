//! A small sky in a temporary folder: buckets, partitions and a model, for tests of the whole pipeline.
#![allow(clippy::print_stderr, reason = "a skipped test says so")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use starmap_astromae::recipe::{self, Recipe};
use starmap_astromae::{Config, TensorSource};
use starmap_partitions::tensors::{SafetensorsWriter, TensorEntry};
use starmap_partitions::{BANDS, Dtype, IMAGE, PtWriter};
use starmap_pipeline::Error;
use starmap_pipeline::infer::{Identity, Worker};
use starmap_pipeline::initialize::initialize;
use starmap_pipeline::store::{Store, StoreConfig};
use starmap_pipeline::summarize::summarize;

/// Galaxies with plausible pixels and magnitudes, and redshifts that vary.
#[derive(Clone)]
pub struct Galaxies {
    pub images: Vec<f32>,
    pub magnitudes: Vec<f64>,
    pub redshifts: Vec<f64>,
}

impl Galaxies {
    pub fn new(first: usize, count: usize) -> Self {
        let (images, _) = recipe::inputs(first + count);
        let magnitude = |galaxy: usize, band: usize| 19.0 - 0.8 * band as f64 + 0.01 * (galaxy % 50) as f64;
        let galaxies = first..first + count;
        Self {
            images: images[first * IMAGE..].to_vec(),
            magnitudes: galaxies.clone().flat_map(|g| (0..BANDS).map(move |band| magnitude(g, band))).collect(),
            redshifts: galaxies.map(|galaxy| 0.05 + 0.003 * (galaxy % 90) as f64).collect(),
        }
    }

    pub fn write(&self, path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let file = File::create(path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        let mut writer = PtWriter::new(file, name, self.redshifts.len() as u64, Some(Dtype::F32)).unwrap();
        writer.push(&self.images, &self.magnitudes, Some(&self.redshifts)).unwrap();
        writer.finish().unwrap();
    }
}

/// A model of the architecture with small dimensions, and weights from the recipe.
pub fn write_model(path: &Path, skip: Option<&str>) {
    let small = Config {
        width: 64,
        depth: 1,
        heads: 1,
        mlp: 64,
        pcm_groups: 16,
        pcm_channels: 32,
        head: 32,
        vit: [32, 32],
        vis: [32, 32],
        magnitudes: vec![32, 16],
        fusion: 32,
        ..Config::default()
    };
    write_model_of(small, path, skip);
}

/// A model with weights from the recipe; one tensor may be left out.
pub fn write_model_of(config: Config, path: &Path, skip: Option<&str>) {
    let recipe = Recipe::new(config);
    let tensors = recipe.tensors().into_iter().filter(|tensor| Some(tensor.name.as_str()) != skip);
    let entries = tensors.map(|tensor| TensorEntry {
        name: tensor.name,
        shape: tensor.shape.iter().map(|&n| n as u64).collect(),
        dtype: Dtype::F32,
    });
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let file = File::create(path).unwrap();
    let mut writer = SafetensorsWriter::new(file, "model", entries.collect(), &BTreeMap::new()).unwrap();
    let mut values = Vec::new();
    for entry in writer.entries().to_vec() {
        recipe.read(&entry.name, &mut values).unwrap();
        writer.push_f32(&values).unwrap();
    }
    writer.finish().unwrap();
}

/// Key of the model that [`Sky`] has.
pub const MODEL: &str = "Anomaly Detection/Fine_Tune_Model/Mixed_Inception_z_VITAE_Base_Img_Full_New_Full.safetensors";

/// A bucket `sky` with a model, and partitions 1, 2 and 10 of 40, 3 and 17 galaxies under `data/small`.
pub struct Sky {
    root: tempfile::TempDir,
    pub store: Store,
}

impl Sky {
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        write_model(&root.path().join("sky").join(MODEL), None);
        for (name, first, count) in [("1.pt", 0, 40), ("2.pt", 40, 3), ("10.pt", 43, 17)] {
            Galaxies::new(first, count).write(&root.path().join("sky/data/small").join(name));
        }
        let store = Store::open(&StoreConfig::Folder(root.path().to_owned())).unwrap();
        Self { root, store }
    }

    /// The folder of buckets.
    pub fn root(&self) -> PathBuf {
        self.root.path().to_owned()
    }

    /// The file of a key in the bucket.
    pub fn path(&self, key: &str) -> PathBuf {
        self.root.path().join("sky").join(key)
    }

    /// A valid input; `change` makes it another.
    pub fn input(&self, change: impl FnOnce(&mut Value)) -> Value {
        let mut input = json!({
            "bucket": "sky", "file_limit": "3", "batch_size": 16, "object_type": "folder",
            "S3_object_name": "Anomaly Detection", "script": "inference.py", "result_path": "results/a b/1",
            "data_bucket": "sky", "data_prefix": "data/small", "run_id": "run-1",
        });
        change(&mut input);
        input
    }

    pub fn worker(&self) -> Worker {
        Worker::new(self.store.clone(), Identity { log_stream: "test".to_owned(), ..Identity::default() })
    }

    /// Initialize and every rank; answers what Initialize answered.
    pub fn run_ranks(&self, input: &Value) -> Result<Value, Error> {
        block_on(async {
            let answer = initialize(&self.store, input).await?;
            let worker = self.worker();
            for item in answer["body"].as_array().unwrap() {
                worker.infer(item).await?;
            }
            Ok(answer)
        })
    }

    /// The whole pipeline.
    pub fn run(&self, input: &Value) -> Result<Value, Error> {
        let answer = self.run_ranks(input)?;
        block_on(summarize(&self.store, &answer))
    }

    pub fn json(&self, key: &str) -> Value {
        let text = fs::read_to_string(self.path(key)).unwrap_or_else(|error| panic!("{key}: {error}"));
        serde_json::from_str(&text).unwrap()
    }

    /// Everything under the results.
    pub fn results(&self) -> Vec<String> {
        let mut files = Vec::new();
        collect(&self.path("results"), &mut files);
        let bucket = self.path("");
        let mut names: Vec<String> =
            files.iter().map(|file| file.strip_prefix(&bucket).unwrap().to_str().unwrap().to_owned()).collect();
        names.sort();
        names
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { collect(&path, files) } else { files.push(path) }
    }
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// The shared reference files, if they are there. Where they must be, their absence is a failure.
pub fn reference() -> Option<PathBuf> {
    let shared = match option_env!("STARMAP_SHARED") {
        Some(shared) => PathBuf::from(shared),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
    };
    let reference = shared.join("reference");
    if reference.join("expected_pt.json").exists() {
        return Some(reference);
    }
    let required = std::env::var("STARMAP_REQUIRE_REFERENCE").is_ok_and(|value| value == "1");
    assert!(!required, "STARMAP_REQUIRE_REFERENCE is set, but {} is not there", reference.display());
    eprintln!("SKIPPED: {} is not there", reference.display());
    None
}
