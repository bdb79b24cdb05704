//! In how many bits the large layers multiply.

use std::fmt;
use std::str::FromStr;

use starmap_kernels::matrix::{Rows, Then, Weights, multiply};
use starmap_kernels::reduced::{Format, ReducedWeights, Scratch, multiply_reduced};
use starmap_kernels::{Lanes, Set};

use crate::model::Layer;

/// In how many bits the large linear layers multiply: those of the transformer's blocks and between the first and the
/// last of the magnitude branch, nine tenths of the work. The rest, all sums and what is added up from block to block stay
/// in `f32`: the last layers are little work, and half of the error where they are reduced too (see BENCHMARKS.md).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Precision {
    /// 32 bits: the reference.
    #[default]
    F32,
    /// 16 bits, whole numbers with a scale for every output and for every galaxy's token: 13 or 14 bits of precision.
    Int16,
    /// 16 bits, 8 of them of precision.
    Bf16,
    /// 8 bits, with a scale for every output and for every galaxy's token.
    Int8,
}

impl Precision {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::F32, Self::Int16, Self::Bf16, Self::Int8];

    /// `f32`, `int16`, `bf16` or `int8`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Int16 => "int16",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
        }
    }

    /// How the large layers are kept; nothing for 32 bits.
    pub(crate) fn format(self) -> Option<Format> {
        match self {
            Self::F32 => None,
            Self::Int16 => Some(Format::Int16),
            Self::Bf16 => Some(Format::Bf16),
            Self::Int8 => Some(Format::Int8),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|precision| precision.name() == name);
        found.ok_or_else(|| format!("{name:?}, expected f32, int16, bf16 or int8"))
    }
}

/// A linear layer in the model's precision.
#[derive(Debug)]
pub(crate) enum Linear {
    Full(Weights),
    Reduced(ReducedWeights),
}

impl Linear {
    pub fn new(layer: &Layer, precision: Precision, set: Set) -> Self {
        let Some(format) = precision.format() else { return Self::Full(layer.packed()) };
        Self::Reduced(ReducedWeights::new(set, format, &layer.weight, &layer.bias))
    }

    pub fn inputs(&self) -> usize {
        match self {
            Self::Full(weights) => weights.inputs(),
            Self::Reduced(weights) => weights.inputs(),
        }
    }

    pub fn outputs(&self) -> usize {
        match self {
            Self::Full(weights) => weights.outputs(),
            Self::Reduced(weights) => weights.outputs(),
        }
    }

    /// `count` rows of inputs, one after the other, to as many rows of outputs.
    pub fn apply(&self, set: Set, x: &[Lanes], count: usize, scratch: &mut Scratch, out: &mut [Lanes], then: Then) {
        let rows = Rows::new(x, count, self.inputs());
        match self {
            Self::Full(weights) => multiply(set, rows, weights, out, self.outputs(), then),
            Self::Reduced(weights) => multiply_reduced(set, rows, weights, scratch, out, self.outputs(), then),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_others_refused() {
        for precision in Precision::ALL {
            assert_eq!(precision.name().parse(), Ok(precision));
        }
        assert_eq!("fp8".parse::<Precision>(), Err("\"fp8\", expected f32, int16, bf16 or int8".to_owned()));
    }
}
