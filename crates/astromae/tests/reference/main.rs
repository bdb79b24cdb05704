//! The forward pass against an independent one: NumPy in float64, itself checked against the published PyTorch code.
//! Weights and inputs are the recipe's, so that no large file is needed.

mod definition;
mod packed;

use serde_json::Value;
use starmap_astromae::kernels::{ALL, LANES, Set};
use starmap_astromae::recipe::{self, Recipe};
use starmap_astromae::{Config, HEAD_BATCH, Model, Precision, Predictor, Stage, Tensor, TensorSource};

/// What is promised of `f32`.
const ERROR_MAX: f64 = 2e-6;

fn predict(model: &Model, images: &[f32], magnitudes: &[f32]) -> Vec<f32> {
    let mut redshifts = vec![f32::NAN; magnitudes.len() / 5];
    Predictor::new(model, redshifts.len()).predict(images, magnitudes, &mut redshifts).unwrap();
    redshifts
}

fn expected() -> Value {
    serde_json::from_str(include_str!("expected.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

#[test]
fn all_recipe_predictions_are_within_the_promised_error() {
    let expected = numbers(&expected()["redshift_f64"]);
    assert_eq!(expected.len(), 64);
    let model = Model::load(&Recipe::new(Config::default())).unwrap();
    let (images, magnitudes) = recipe::inputs(expected.len());
    for set in Set::available() {
        let mut redshifts = vec![f32::NAN; expected.len()];
        let mut predictor = Predictor::with_kernels(&model, expected.len(), set);
        predictor.predict(&images, &magnitudes, &mut redshifts).unwrap();
        let errors = redshifts.iter().zip(&expected).map(|(z, exact)| (f64::from(*z) - exact).abs());
        let errors: Vec<f64> = errors.collect();
        let max = errors.iter().fold(0.0, |max: f64, error| max.max(*error));
        let rms = (errors.iter().map(|error| error * error).sum::<f64>() / errors.len() as f64).sqrt();
        let name = set.name();
        println!("64 predictions ({name}) against float64: max {max:.2e}, rms {rms:.2e} (promised {ERROR_MAX:.0e})");
        assert!(max < ERROR_MAX, "{name}: max {max:.3e}, rms {rms:.3e}");
    }
    for other in ALL.iter().filter(|known| Set::named(known.name).is_none()) {
        println!("kernels {}: not run, this machine has no {}", other.name, other.needs);
    }
}

/// Widths that are no multiples of what a tile or a panel holds, and a batch with a part of sixteen.
#[test]
fn reduced_precisions_of_a_small_model_stay_near_f32_on_every_set_alone_and_in_company() {
    let (images, magnitudes) = recipe::inputs(LANES + 5);
    let full = predict(&Model::load(&Recipe::new(small())).unwrap(), &images, &magnitudes);
    for (precision, bound) in [(Precision::Int16, 2e-4), (Precision::Bf16, 2e-3), (Precision::Int8, 6e-3)] {
        for set in Set::available() {
            let model = Model::load_in(&Recipe::new(small()), precision, set).unwrap();
            let predict = |images: &[f32], magnitudes: &[f32]| {
                let mut redshifts = vec![f32::NAN; magnitudes.len() / 5];
                let mut predictor = Predictor::with_kernels(&model, redshifts.len(), set);
                predictor.predict(images, magnitudes, &mut redshifts).unwrap();
                redshifts
            };
            let redshifts = predict(&images, &magnitudes);
            let changes = redshifts.iter().zip(&full).map(|(z, full)| (z - full).abs());
            let max = changes.fold(0.0, f32::max);
            println!("small model in {precision} ({}): max {max:.2e} (bound {bound:.0e})", set.name());
            assert!(max < bound, "{precision}, {}: max {max:.3e}", set.name());
            let last = LANES + 4;
            assert_eq!(predict(&images[last * 5120..], &magnitudes[last * 5..]), redshifts[last..], "{precision}");
        }
    }
}

/// Reduced precisions: what is promised of int16 and bf16, and where int8 is today.
#[test]
fn reduced_precisions_stay_within_their_bounds_on_every_set() {
    let expected = numbers(&expected()["redshift_f64"]);
    let (images, magnitudes) = recipe::inputs(expected.len());
    for (precision, bound) in [(Precision::Int16, 3e-4), (Precision::Bf16, 3e-3), (Precision::Int8, 1e-2)] {
        let mut first: Option<Vec<f32>> = None;
        for set in Set::available() {
            let model = Model::load_in(&Recipe::new(Config::default()), precision, set).unwrap();
            assert_eq!(model.precision(), precision);
            let mut redshifts = vec![f32::NAN; expected.len()];
            Predictor::with_kernels(&model, expected.len(), set).predict(&images, &magnitudes, &mut redshifts).unwrap();
            let errors = redshifts.iter().zip(&expected).map(|(z, exact)| (f64::from(*z) - exact).abs());
            let max = errors.fold(0.0, f64::max);
            println!(
                "64 predictions in {precision} ({}) against float64: max {max:.2e} (bound {bound:.0e})",
                set.name()
            );
            assert!(max < bound, "{precision}, {}: max {max:.3e}", set.name());
            // Which worker computed it must not matter, where both fuse; tiles add up bf16 in an order of their own.
            if set.name() == "portable" || precision == Precision::Bf16 && set.bf16() == "amx" {
                continue;
            }
            match &first {
                Some(first) => assert!(*first == redshifts, "{precision}, {}", set.name()),
                None => first = Some(redshifts),
            }
        }
    }
}

/// Two workers may run on processors of two architectures: recorded on x86-64, and the same on 64-bit ARM
/// (`emulated/arm64.sh`).
#[test]
fn the_bits_do_not_depend_on_the_processor() {
    const N: usize = LANES + 3;
    // Pixels without `exp`, whose last bit is the C library's choice.
    let noise =
        |count: usize| (0..count as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 24) as f32);
    let images: Vec<f32> = noise(N * 5120).map(|x| 2.0 * x - 0.5).collect();
    let magnitudes: Vec<f32> = noise(N * 5).map(|x| 15.0 + 6.0 * x).collect();
    let recorded = [
        (Precision::F32, 0x9f42_0045, 0x4b75_0a4b),
        (Precision::Int16, 0x6802_cabc, 0x6201_dd8b),
        (Precision::Bf16, 0xcd62_1ca4, 0x6c59_922b),
        (Precision::Int8, 0xbecd_7800, 0x953d_642f),
    ];
    let mut differ = Vec::new();
    for (precision, fused, portable) in recorded {
        for set in Set::available() {
            let model = Model::load_in(&Recipe::new(small()), precision, set).unwrap();
            let mut redshifts = vec![f32::NAN; N];
            Predictor::with_kernels(&model, N, set).predict(&images, &magnitudes, &mut redshifts).unwrap();
            let fold = |hash: u32, z: &f32| (hash.rotate_left(5) ^ z.to_bits()).wrapping_mul(0x9e37_79b9);
            let (name, found) = (set.name(), redshifts.iter().fold(0, fold));
            println!("{precision}, {name}: {found:#010x}, the first is {}", redshifts[0]);
            if precision == Precision::Bf16 && set.bf16() == "amx" {
                println!("not compared: tiles add up bf16 in an order of their own");
                continue;
            }
            let recorded = if name == "portable" { portable } else { fused };
            if found != recorded {
                differ.push(format!("{precision}, {name}: {found:#010x}, recorded {recorded:#010x}"));
            }
        }
    }
    let what_then = "where sums are meant to be added up otherwise, record the new numbers; CHANGELOG.md says so";
    assert!(differ.is_empty(), "other bits than recorded ({what_then}): {differ:#?}");
}

/// Where the redshifts are wrong, this says from which stage on.
#[test]
fn every_transformer_stage_agrees_with_the_reference() {
    const N: usize = 64;
    let expected = expected();
    let recipe = Recipe::new(Config::default());
    let model = Model::load(&recipe).unwrap();
    let (images, magnitudes) = recipe::inputs(N);
    // Values of each stage in the reference's order, galaxy by galaxy.
    let mut stages: Vec<(String, Vec<f32>)> = Vec::new();
    let mut redshifts = vec![0.0; N];
    let mut predictor = Predictor::new(&model, N);
    let observed = predictor.predict_observed(&images, &magnitudes, &mut redshifts, &mut |stage, values| {
        let (width, tokens) = (model.config().width, model.config().tokens());
        let galaxy = |lane: usize| values.iter().map(move |lanes| lanes.0[lane]);
        let mut ordered: Vec<f32> = (0..LANES).flat_map(galaxy).collect();
        let name = match stage {
            Stage::PatchEmbed => {
                // The reference looks before the positions are added, and at the patches alone.
                let mut position = Vec::new();
                recipe.read("pos_embed", &mut position).unwrap();
                ordered.iter_mut().zip(position.iter().cycle()).for_each(|(token, position)| *token -= position);
                ordered = ordered.chunks(tokens * width).flat_map(|galaxy| galaxy[width..].to_vec()).collect();
                "patch_embed".to_owned()
            }
            Stage::Block(index) => format!("block_{index:02}"),
            _ => return,
        };
        match stages.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => values.extend(ordered),
            None => stages.push((name, ordered)),
        }
    });
    observed.unwrap();
    // The last block's tokens are nowhere: only their mean is.
    assert_eq!(stages.len(), 12);
    for (name, values) in stages {
        let exact = &expected["stages"][&name];
        let shape = numbers(&exact["shape"]);
        assert_eq!(values.len() as f64, shape.iter().product::<f64>(), "{name}");
        let values: Vec<f64> = values.into_iter().map(f64::from).collect();
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let rms = (values.iter().map(|x| x * x).sum::<f64>() / count).sqrt();
        assert!(
            (mean - exact["mean"].as_f64().unwrap()).abs() < 1e-6,
            "{name}: mean {mean}, exactly {}",
            exact["mean"]
        );
        assert!((rms - exact["rms"].as_f64().unwrap()).abs() < 1e-6, "{name}: rms {rms}, exactly {}", exact["rms"]);
        for (part, found) in [("first", &values[..4]), ("last", &values[values.len() - 4..])] {
            for (found, exact) in found.iter().zip(numbers(&exact[part])) {
                assert!((found - exact).abs() < 1e-5, "{name}, {part}: {found}, exactly {exact}");
            }
        }
    }
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
        let n = HEAD_BATCH + LANES + 3;
        let (images, magnitudes) = recipe::inputs(n);
        let together = predict(&model, &images, &magnitudes);
        for start in [0, 5, LANES - 1, HEAD_BATCH, n - 1] {
            for count in [1, LANES + 1] {
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
    let error = Predictor::new(&model, 2).predict(&images, &magnitudes, &mut redshifts).unwrap_err().to_string();
    assert_eq!(error, "a batch of 3 galaxies, expected at most 2");
    assert_eq!(redshifts, [7.0; 3]);
}

/// The recipe with something wrong.
struct Altered {
    recipe: Recipe,
    heads: Option<&'static str>,
    poisoned: &'static str,
}

impl TensorSource for Altered {
    fn tensors(&self) -> Vec<Tensor> {
        self.recipe.tensors()
    }

    fn metadata(&self, key: &str) -> Option<String> {
        match self.heads {
            Some(heads) if key == "heads" => Some(heads.to_owned()),
            _ => self.recipe.metadata(key),
        }
    }

    fn read(&self, name: &str, out: &mut Vec<f32>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        self.recipe.read(name, out)?;
        if name == self.poisoned {
            out[3] = f32::NAN;
        }
        Ok(())
    }
}

#[test]
fn weights_that_are_not_finite_are_refused() {
    let source = Altered { recipe: Recipe::new(small()), heads: None, poisoned: "fc_norm.bias" };
    let error = Model::load(&source).unwrap_err().to_string();
    assert!(error.starts_with("tensor fc_norm.bias: value 3 is NaN, expected finite weights"), "{error}");
}

#[test]
fn heads_come_from_the_metadata_and_must_make_sense() {
    let with = |heads| Altered { recipe: Recipe::new(small()), heads: Some(heads), poisoned: "" };
    assert_eq!(Model::load(&with("4")).unwrap().config().heads, 4);
    let error = Model::load(&with("several")).unwrap_err().to_string();
    assert_eq!(error, "metadata heads is \"several\", expected the number of attention heads");
    let error = Model::load(&with("5")).unwrap_err().to_string();
    assert!(error.contains("heads: 5 do not divide the width 64"), "{error}");
}

/// `f64`, straight from the definition: what the merged and folded small model must still compute.
#[test]
fn a_small_model_agrees_with_the_definition_computed_in_f64() {
    let config = small();
    let source = Recipe::new(config.clone());
    let model = Model::load(&source).unwrap();
    let (images, magnitudes) = recipe::inputs(3);
    let redshifts = predict(&model, &images, &magnitudes);
    for (galaxy, z) in redshifts.iter().enumerate() {
        let image: Vec<f64> = images[galaxy * 5120..][..5120].iter().map(|&x| f64::from(x)).collect();
        let magnitude: Vec<f64> = magnitudes[galaxy * 5..][..5].iter().map(|&x| f64::from(x)).collect();
        let exact = definition::redshift(&source, &config, &image, &magnitude);
        assert!((f64::from(*z) - exact).abs() < ERROR_MAX, "galaxy {galaxy}: {z}, exactly {exact}");
    }
}
