//! A model from its packed arrays is the model that they came from.

use std::collections::HashMap;
use std::error::Error as StdError;

use starmap_astromae::kernels::Set;
use starmap_astromae::packed::{PackedSource, layout};
use starmap_astromae::recipe::{self, Recipe};
use starmap_astromae::{Config, Model, Precision, Predictor, Tensor, TensorSource};

use crate::small;

/// Arrays in memory.
struct Arrays {
    recipe: Recipe,
    arrays: HashMap<String, Vec<u8>>,
}

impl Arrays {
    fn of(recipe: Recipe, model: &Model) -> Self {
        let array = |array: starmap_astromae::packed::PackedArray<'_>| {
            let mut bytes = Vec::new();
            array.values.write(&mut bytes);
            assert_eq!(array.shape.iter().product::<usize>() * 4, bytes.len(), "{}", array.name);
            (array.name, bytes)
        };
        let arrays: Vec<_> = model.packed().into_iter().map(array).collect();
        let count = arrays.len();
        let arrays: HashMap<_, _> = arrays.into_iter().collect();
        assert_eq!(arrays.len(), count, "two arrays have one name");
        Self { recipe, arrays }
    }
}

impl TensorSource for Arrays {
    fn tensors(&self) -> Vec<Tensor> {
        self.recipe.tensors()
    }

    fn metadata(&self, key: &str) -> Option<String> {
        self.recipe.metadata(key)
    }

    fn read(&self, name: &str, _: &mut Vec<f32>) -> Result<(), Box<dyn StdError + Send + Sync>> {
        panic!("tensor {name} is read, expected arrays only")
    }
}

impl PackedSource for Arrays {
    fn fill(&self, name: &str, out: &mut [u8]) -> Result<(), Box<dyn StdError + Send + Sync>> {
        let bytes = self.arrays.get(name).ok_or("it is not there")?;
        if bytes.len() != out.len() {
            return Err(format!("{} bytes, expected {}", bytes.len(), out.len()).into());
        }
        out.copy_from_slice(bytes);
        Ok(())
    }
}

#[test]
fn predictions_from_packed_arrays_are_the_same_to_the_bit() {
    let (images, magnitudes) = recipe::inputs(5);
    for config in [small(), Config::default()] {
        for precision in Precision::ALL {
            for set in Set::available() {
                let recipe = Recipe::new(config.clone());
                let model = Model::load_in(&recipe, precision, set).unwrap();
                let again = Model::load_packed(&Arrays::of(recipe, &model), precision, set).unwrap();
                let bits = |model: &Model| {
                    let mut redshifts = vec![f32::NAN; 5];
                    Predictor::with_kernels(model, 5, set).predict(&images, &magnitudes, &mut redshifts).unwrap();
                    redshifts.iter().map(|z| z.to_bits()).collect::<Vec<_>>()
                };
                assert_eq!(bits(&again), bits(&model), "{}", layout(precision, set));
            }
        }
    }
}

#[test]
fn an_array_that_is_missing_or_of_another_size_is_named() {
    let recipe = Recipe::new(small());
    let model = Model::load(&recipe).unwrap();
    let mut arrays = Arrays::of(recipe, &model);
    let whole = arrays.arrays.remove("fusion.1.bias").unwrap();
    let load = |arrays: &Arrays| Model::load_packed(arrays, Precision::F32, Set::best()).unwrap_err().to_string();
    assert_eq!(load(&arrays), "tensor fusion.1.bias");
    arrays.arrays.insert("fusion.1.bias".to_owned(), whole[4..].to_vec());
    assert_eq!(load(&arrays), "tensor fusion.1.bias");
}

#[test]
fn layouts_tell_precisions_apart() {
    let layouts = Precision::ALL.map(|precision| layout(precision, Set::best()));
    assert!(layouts[0] != layouts[1] && layouts[1] != layouts[2] && layouts[0] != layouts[2], "{layouts:?}");
}
