//! The demo model that ships with the project: the Rust forward pass agrees with PyTorch on weights that were really
//! trained, and the model is as good as its card says on galaxies that it has never seen.

use std::error::Error;
use std::fs::File;
use std::path::{Path, PathBuf};

use serde_json::Value;
use starmap_astromae::{Model, Predictor, Tensor, TensorSource};
use starmap_partitions::tensors::TensorFile;
use starmap_sky::{BANDS, Galaxy, PIXELS, Sky};

/// PyTorch and we add up single-precision products in different orders; redshifts are of order 0.1.
const TOLERANCE: f64 = 2e-6;
/// The sky of `starmap demo`.
const DEMO_SEED: u64 = 2026;

struct Weights(TensorFile<File>);

impl TensorSource for Weights {
    fn tensors(&self) -> Vec<Tensor> {
        let shape = |shape: &[u64]| shape.iter().map(|&n| n as usize).collect();
        self.0.entries().iter().map(|entry| Tensor { name: entry.name.clone(), shape: shape(&entry.shape) }).collect()
    }

    fn metadata(&self, key: &str) -> Option<String> {
        self.0.metadata().get(key).cloned()
    }

    fn read(&self, name: &str, out: &mut Vec<f32>) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(self.0.read_f32(name, out)?)
    }
}

fn demo(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo").join(file)
}

fn predict(galaxies: &[Galaxy]) -> Vec<f64> {
    let path = demo("starmap-demo.safetensors");
    let weights = File::open(&path).unwrap_or_else(|error| panic!("opening {}: {error}", path.display()));
    let model = Model::load(&Weights(TensorFile::open(weights, "the demo model").unwrap())).unwrap();
    let batch = 64;
    let mut predictor = Predictor::new(&model, batch);
    let mut found = Vec::new();
    for chunk in galaxies.chunks(batch) {
        let images: Vec<f32> = chunk.iter().flat_map(|galaxy| galaxy.image.iter().copied()).collect();
        let magnitudes: Vec<f32> = chunk.iter().flat_map(|galaxy| galaxy.magnitudes.map(|m| m as f32)).collect();
        assert_eq!((images.len(), magnitudes.len()), (chunk.len() * PIXELS, chunk.len() * BANDS));
        let mut redshifts = vec![0.0; chunk.len()];
        predictor.predict(&images, &magnitudes, &mut redshifts).unwrap();
        found.extend(redshifts.into_iter().map(f64::from));
    }
    found
}

fn galaxies(seed: u64, count: u64) -> Vec<Galaxy> {
    let sky = Sky::new(seed);
    (0..count).map(|index| sky.galaxy(index)).collect()
}

#[test]
fn the_forward_pass_agrees_with_pytorch_on_trained_weights() {
    let reference: Value = serde_json::from_reader(File::open(demo("reference.json")).unwrap()).unwrap();
    let column = |key: &str| -> Vec<f64> {
        reference[key].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
    };
    let sky = galaxies(reference["sky_seed"].as_u64().unwrap(), reference["galaxies"].as_u64().unwrap());
    // First that these are the galaxies that PyTorch saw.
    for (galaxy, z) in sky.iter().zip(column("z_spec")) {
        assert!((galaxy.redshift - z).abs() < 1e-6, "another galaxy: z {}, expected {z}", galaxy.redshift);
    }
    let (found, expected) = (predict(&sky), column("z_phot_torch_f32"));
    assert_eq!(found.len(), expected.len());
    let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    println!("largest difference from PyTorch: {worst:.2e}");
    assert!(worst < TOLERANCE, "largest difference {worst:.2e}");
}

#[test]
fn the_demo_model_knows_galaxies_that_it_has_not_seen() {
    let sky = galaxies(DEMO_SEED, 1000);
    let found = predict(&sky);
    let mean = sky.iter().map(|galaxy| galaxy.redshift).sum::<f64>() / sky.len() as f64;
    let sum = |term: &dyn Fn(&Galaxy, f64) -> f64| sky.iter().zip(&found).map(|(g, &z)| term(g, z)).sum::<f64>();
    let r2 = 1.0 - sum(&|g, z| (z - g.redshift).powi(2)) / sum(&|g, _| (g.redshift - mean).powi(2));
    let bias = sum(&|g, z| (z - g.redshift) / (1.0 + g.redshift)) / sky.len() as f64;
    println!("R² {r2:.4}, bias {bias:.4}");
    assert!(r2 > 0.97, "R² {r2}");
    assert!(bias.abs() < 0.005, "bias {bias}");
}
