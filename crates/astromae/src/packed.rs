//! A model's packed arrays: written once, and read back without folding, merging or packing anything again.
//!
//! The arrays have names of their own, which follow the model's parts; what they hold is the kernels' business. They
//! are good for the precision, for the version of the layout and for the CPU features that [`layout`] names, and for
//! nothing else.

use std::borrow::Cow;
use std::error::Error as StdError;

use starmap_kernels::Set;
use starmap_kernels::matrix::{GROUP, Weights};
use starmap_kernels::reduced::{Format, Kept, ReducedWeights};
use starmap_kernels::stored::{Array, LAYOUT, fill_numbers, fill_words};
use starmap_kernels::words::{Order, Words};

use crate::error::Error;
use crate::precision::{Linear, Precision};
use crate::source::TensorSource;

/// Changes whenever what is folded or merged does.
const VERSION: u32 = 1;

/// Names everything that the packed arrays of a model depend on beside its weights. Arrays of another layout are not
/// ours.
pub fn layout(precision: Precision, set: Set) -> String {
    let kept = precision.format().map(|format| set.kept(format));
    let words = match kept {
        None | Some(Kept::Words(Order::Panels)) => "",
        Some(Kept::Words(Order::Tiles)) => "-tiles",
        Some(Kept::Rounded) => "-rounded",
    };
    // Merging computes with the best set, and sets round differently.
    let merged_by = Set::best().name();
    format!("{precision}{words}-{merged_by}-v{VERSION}.{LAYOUT}")
}

/// One packed array.
#[derive(Debug, Clone, PartialEq)]
pub struct PackedArray<'a> {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its elements.
    pub values: Array<'a>,
}

/// Where packed arrays come from. As a [`TensorSource`] it tells names and shapes of the model's own tensors, and its
/// metadata; those tensors themselves are not read.
///
/// Implementors: `fill` replaces all of `out` with the array's little-endian bytes, and fails unless it has as many.
pub trait PackedSource: TensorSource {
    /// Reads an array to its place.
    ///
    /// # Errors
    /// Whatever went wrong: no such array, one of another size, or one that is damaged.
    fn fill(&self, name: &str, out: &mut [u8]) -> Result<(), Box<dyn StdError + Send + Sync>>;
}

/// Collects arrays.
#[derive(Debug, Default)]
pub(crate) struct Packer<'a>(pub Vec<PackedArray<'a>>);

impl<'a> Packer<'a> {
    pub fn numbers(&mut self, name: String, shape: Vec<usize>, numbers: impl Into<Cow<'a, [f32]>>) {
        self.0.push(PackedArray { name, shape, values: Array::Numbers(numbers.into()) });
    }

    pub fn weights(&mut self, name: &str, weights: &'a Weights) {
        let shape = vec![weights.outputs().div_ceil(GROUP), weights.inputs(), GROUP];
        self.numbers(format!("{name}.panels"), shape, weights.panels().as_flattened());
        self.numbers(format!("{name}.bias"), vec![weights.outputs()], weights.biases());
    }

    /// Small layers of one size as two arrays.
    pub fn groups(&mut self, name: &str, layers: &[&'a Weights]) {
        let Some(first) = layers.first() else { return };
        let panels: Vec<f32> = layers.iter().flat_map(|layer| layer.panels().as_flattened()).copied().collect();
        let bias: Vec<f32> = layers.iter().flat_map(|layer| layer.biases()).copied().collect();
        let shape = vec![layers.len(), first.outputs().div_ceil(GROUP), first.inputs(), GROUP];
        self.numbers(format!("{name}.panels"), shape, panels);
        self.numbers(format!("{name}.bias"), vec![layers.len(), first.outputs()], bias);
    }

    pub fn linear(&mut self, name: &str, linear: &'a Linear) {
        let reduced = match linear {
            Linear::Full(weights) => return self.weights(name, weights),
            Linear::Reduced(reduced) => reduced,
        };
        if let Some(rounded) = reduced.rounded() {
            return self.weights(name, rounded);
        }
        let Some(words) = reduced.words() else { return };
        let outputs = reduced.outputs();
        let values = Array::Words(words.as_slice());
        self.0.push(PackedArray { name: format!("{name}.words"), shape: words.shape(outputs), values });
        for (part, values) in ["scales", "sums"].into_iter().zip(reduced.scales_and_sums()) {
            if !values.is_empty() {
                self.numbers(format!("{name}.{part}"), vec![values.len()], values);
            }
        }
        self.numbers(format!("{name}.bias"), vec![outputs], reduced.bias());
    }
}

type Filled = Result<(), Box<dyn StdError + Send + Sync>>;

/// Reads arrays back.
pub(crate) struct Unpacker<'a> {
    pub source: &'a dyn PackedSource,
    pub precision: Precision,
    pub set: Set,
}

impl Unpacker<'_> {
    pub fn numbers(&self, name: &str, count: usize) -> Result<Vec<f32>, Error> {
        let mut numbers = vec![0.0; count];
        self.fill(name, |source| fill_numbers(&mut numbers, source))?;
        Ok(numbers)
    }

    fn panels(&self, name: &str, count: usize) -> Result<Vec<[f32; GROUP]>, Error> {
        let mut panels = vec![[0.0; GROUP]; count];
        self.fill(name, |source| fill_numbers(panels.as_flattened_mut(), source))?;
        Ok(panels)
    }

    fn fill(&self, name: &str, into: impl FnOnce(&mut dyn FnMut(&mut [u8]) -> Filled) -> Filled) -> Result<(), Error> {
        into(&mut |bytes| self.source.fill(name, bytes)).map_err(|source| Error::Read { name: name.to_owned(), source })
    }

    pub fn weights(&self, name: &str, inputs: usize, outputs: usize) -> Result<Weights, Error> {
        let panels = self.panels(&format!("{name}.panels"), outputs.div_ceil(GROUP) * inputs)?;
        let bias = self.numbers(&format!("{name}.bias"), outputs)?;
        Weights::from_panels(panels, &bias).ok_or_else(|| unfit(name))
    }

    /// Small layers of one size, `count` of them.
    pub fn groups(&self, name: &str, count: usize, inputs: usize, outputs: usize) -> Result<Vec<Weights>, Error> {
        let each = outputs.div_ceil(GROUP) * inputs;
        let panels = self.panels(&format!("{name}.panels"), count * each)?;
        let bias = self.numbers(&format!("{name}.bias"), count * outputs)?;
        let layers = panels.chunks_exact(each.max(1)).zip(bias.chunks_exact(outputs.max(1)));
        let layers = layers.map(|(panels, bias)| Weights::from_panels(panels.to_vec(), bias));
        layers.collect::<Option<_>>().ok_or_else(|| unfit(name))
    }

    pub fn linear(&self, name: &str, inputs: usize, outputs: usize) -> Result<Linear, Error> {
        let Some(format) = self.precision.format() else {
            return Ok(Linear::Full(self.weights(name, inputs, outputs)?));
        };
        let order = match self.set.kept(format) {
            Kept::Words(order) => order,
            Kept::Rounded => {
                let rounded = self.weights(name, inputs.next_multiple_of(2), outputs)?;
                let reduced = ReducedWeights::from_rounded(rounded, inputs);
                return reduced.map(Linear::Reduced).ok_or_else(|| unfit(name));
            }
        };
        let scaled = if format == Format::Bf16 { 0 } else { outputs };
        let mut words = Words::zeros(order, format, inputs, outputs);
        self.fill(&format!("{name}.words"), |source| fill_words(words.as_mut_slice(), source))?;
        let scaled = |part: &str| match scaled {
            0 => Ok(Vec::new()),
            count => self.numbers(&format!("{name}.{part}"), count),
        };
        let (scales, sums) = (scaled("scales")?, scaled("sums")?);
        let bias = self.numbers(&format!("{name}.bias"), outputs)?;
        let reduced = ReducedWeights::from_words(format, words, scales, sums, &bias, inputs);
        reduced.map(Linear::Reduced).ok_or_else(|| unfit(name))
    }
}

fn unfit(name: &str) -> Error {
    Error::Read { name: name.to_owned(), source: "its arrays do not fit each other".into() }
}
