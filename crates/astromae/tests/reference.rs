//! The forward pass against an independent one: NumPy in float64, itself checked against the published PyTorch code.
//! Weights and inputs are the recipe's, so that no large file is needed.

use serde_json::Value;
use starmap_astromae::recipe::{self, Recipe};
use starmap_astromae::{Config, MICRO_BATCH, Model, Predictor, Tensor, TensorSource};

/// What is promised of `f32`.
const ERROR_MAX: f64 = 2e-6;

fn predict(model: &Model, images: &[f32], magnitudes: &[f32]) -> Vec<f32> {
    let mut redshifts = vec![f32::NAN; magnitudes.len() / 5];
    Predictor::new(model, redshifts.len()).predict(images, magnitudes, &mut redshifts).unwrap();
    redshifts
}

#[test]
fn all_recipe_predictions_are_within_the_promised_error() {
    let expected: Value = serde_json::from_str(include_str!("expected.json")).unwrap();
    let expected: Vec<f64> = expected["redshift_f64"].as_array().unwrap().iter().map(|z| z.as_f64().unwrap()).collect();
    assert_eq!(expected.len(), 64);
    let model = Model::load(&Recipe::new(Config::default())).unwrap();
    let (images, magnitudes) = recipe::inputs(expected.len());
    let redshifts = predict(&model, &images, &magnitudes);
    let errors: Vec<f64> = redshifts.iter().zip(&expected).map(|(z, exact)| (f64::from(*z) - exact).abs()).collect();
    let max = errors.iter().fold(0.0, |max: f64, error| max.max(*error));
    let rms = (errors.iter().map(|error| error * error).sum::<f64>() / errors.len() as f64).sqrt();
    println!("64 predictions against float64: max {max:.2e}, rms {rms:.2e} (promised {ERROR_MAX:.0e})");
    assert!(max < ERROR_MAX, "max {max:.3e}, rms {rms:.3e}");
}

/// Small, so that the tests below take no time.
fn small() -> Config {
    let mut config =
        Config { width: 64, depth: 2, heads: 1, mlp: 96, pcm_groups: 16, pcm_channels: 64, ..Config::default() };
    config.head = 40;
    config.vit = [48, 56];
    config.vis = [72, 80];
    config.magnitudes = vec![32, 24, 40];
    config.fusion = 88;
    config
}

#[test]
fn a_galaxy_does_not_depend_on_its_neighbours_its_place_or_the_batch() {
    for config in [small(), Config::default()] {
        let model = Model::load(&Recipe::new(config)).unwrap();
        let n = 2 * MICRO_BATCH + 3;
        let (images, magnitudes) = recipe::inputs(n);
        let together = predict(&model, &images, &magnitudes);
        for start in [0, 1, 5, MICRO_BATCH - 1, MICRO_BATCH, n - 1] {
            for count in [1, 2, MICRO_BATCH] {
                let end = (start + count).min(n);
                let alone = predict(&model, &images[start * 5120..end * 5120], &magnitudes[start * 5..end * 5]);
                let bits = |z: &[f32]| z.iter().map(|z| z.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&alone), bits(&together[start..end]), "galaxies {start}..{end}");
            }
        }
    }
}

#[test]
fn nan_stays_with_its_galaxy() {
    let model = Model::load(&Recipe::new(small())).unwrap();
    let (mut images, mut magnitudes) = recipe::inputs(5);
    let clean = predict(&model, &images, &magnitudes);
    images[5120 + 700] = f32::NAN;
    magnitudes[3 * 5] = f32::NAN;
    let dirty = predict(&model, &images, &magnitudes);
    assert!(dirty[1].is_nan() && dirty[3].is_nan(), "{dirty:?}");
    for i in [0, 2, 4] {
        assert_eq!(dirty[i].to_bits(), clean[i].to_bits());
    }
}

#[test]
fn lengths_that_do_not_fit_are_refused_and_nothing_is_written() {
    let model = Model::load(&Recipe::new(small())).unwrap();
    let (images, magnitudes) = recipe::inputs(3);
    let mut redshifts = vec![7.0; 3];
    let error = Predictor::new(&model, 3).predict(&images[1..], &magnitudes, &mut redshifts).unwrap_err().to_string();
    assert_eq!(error, "images has 15359 values, expected 15360 for 3 galaxies");
    assert_eq!(redshifts, [7.0; 3]);
}

#[test]
fn weights_that_are_not_finite_are_refused() {
    struct Poisoned(Recipe);
    impl TensorSource for Poisoned {
        fn tensors(&self) -> Vec<Tensor> {
            self.0.tensors()
        }
        fn metadata(&self, key: &str) -> Option<String> {
            self.0.metadata(key)
        }
        fn read(&self, name: &str, out: &mut Vec<f32>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
            self.0.read(name, out)?;
            if name == "fc_norm.bias" {
                out[3] = f32::NAN;
            }
            Ok(())
        }
    }
    let error = Model::load(&Poisoned(Recipe::new(small()))).unwrap_err().to_string();
    assert!(error.starts_with("tensor fc_norm.bias: value 3 is NaN, expected finite weights"), "{error}");
}
