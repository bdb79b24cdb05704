//! Packed weights as they are stored: the arrays behind a layer, and a layer from such arrays.
//!
//! Arrays are little-endian and in the order in which the kernels read them, so that a file of them is read straight to
//! its place. The order belongs to this version of the kernels: whoever stores arrays stores [`LAYOUT`] beside them.

use std::borrow::Cow;

/// Changes whenever packed arrays do: their order, their padding, or what they hold.
pub const LAYOUT: u32 = 1;

/// What is stored: numbers, or words of several numbers in fewer bits.
#[derive(Debug, Clone, PartialEq)]
pub enum Array<'a> {
    /// Numbers in single precision.
    Numbers(Cow<'a, [f32]>),
    /// Words; what is in their bits is the layer's business.
    Words(&'a [u32]),
}

impl Array<'_> {
    /// How many elements of four bytes there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Numbers(numbers) => numbers.len(),
            Self::Words(words) => words.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Replaces what is in `out` with the little-endian bytes.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.clear();
        match self {
            Self::Numbers(numbers) => out.extend(numbers.iter().flat_map(|number| number.to_le_bytes())),
            Self::Words(words) => out.extend(words.iter().flat_map(|word| word.to_le_bytes())),
        }
    }
}

/// Lets `fill` write the little-endian bytes of numbers where the numbers are, without a copy.
///
/// Any bytes are numbers; what `fill` leaves alone keeps its value on a little-endian machine.
pub fn fill_numbers<R>(numbers: &mut [f32], fill: impl FnOnce(&mut [u8]) -> R) -> R {
    let bytes = size_of_val(numbers);
    // SAFETY: the slice is `bytes` bytes of memory that we hold exclusively, bytes need no alignment, and every pattern
    // of bits is an `f32`.
    let filled = fill(unsafe { std::slice::from_raw_parts_mut(numbers.as_mut_ptr().cast::<u8>(), bytes) });
    if cfg!(target_endian = "big") {
        numbers.iter_mut().for_each(|number| *number = f32::from_bits(number.to_bits().swap_bytes()));
    }
    filled
}

/// As [`fill_numbers`], for words.
pub fn fill_words<R>(words: &mut [u32], fill: impl FnOnce(&mut [u8]) -> R) -> R {
    let bytes = size_of_val(words);
    // SAFETY: the slice is `bytes` bytes of memory that we hold exclusively, bytes need no alignment, and every pattern
    // of bits is a `u32`.
    let filled = fill(unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast::<u8>(), bytes) });
    if cfg!(target_endian = "big") {
        words.iter_mut().for_each(|word| *word = word.swap_bytes());
    }
    filled
}

#[cfg(test)]
mod tests {
    use crate::matrix::Weights;
    use crate::reduced::{Format, Kept, ReducedWeights};
    use crate::words::{Order, Words};

    use super::*;

    fn numbers(count: usize) -> Vec<f32> {
        (0..count).map(|i| (i as f32 * 0.37).sin()).collect()
    }

    #[test]
    fn bytes_become_the_numbers_they_were() {
        for count in [0, 1, 7, 64] {
            let original = numbers(count);
            let mut bytes = Vec::new();
            Array::Numbers(Cow::Borrowed(&original)).write(&mut bytes);
            let mut read = vec![0.0; count];
            fill_numbers(&mut read, |out| out.copy_from_slice(&bytes));
            assert_eq!(read, original);
            let words: Vec<u32> = original.iter().map(|number| number.to_bits()).collect();
            Array::Words(&words).write(&mut bytes);
            let mut read = vec![0; count];
            fill_words(&mut read, |out| out.copy_from_slice(&bytes));
            assert_eq!(read, words);
        }
    }

    #[test]
    fn layers_are_the_same_from_their_arrays() {
        for (inputs, outputs) in [(1, 1), (5, 3), (16, 8), (33, 17)] {
            let (weight, bias) = (numbers(inputs * outputs), numbers(outputs));
            let weights = Weights::new(&weight, &bias);
            let again = Weights::from_panels(weights.panels().to_vec(), weights.biases());
            assert_eq!(format!("{:?}", again.unwrap()), format!("{weights:?}"));
            let kept = [Kept::Words(Order::Panels), Kept::Words(Order::Tiles), Kept::Rounded];
            for (format, kept) in [Format::Int8, Format::Int16, Format::Bf16]
                .into_iter()
                .flat_map(|format| kept.map(|kept| (format, kept)))
            {
                let reduced = ReducedWeights::kept(kept, format, &weight, &bias);
                let again = match (reduced.rounded(), reduced.words()) {
                    (Some(rounded), _) => ReducedWeights::from_rounded(rounded.clone(), inputs),
                    (None, Some(words)) => {
                        let [scales, sums] = reduced.scales_and_sums().map(<[f32]>::to_vec);
                        let mut filled = Words::zeros(words.order(), format, inputs, outputs);
                        assert_eq!(words.shape(outputs).iter().product::<usize>(), words.as_slice().len());
                        filled.as_mut_slice().copy_from_slice(words.as_slice());
                        ReducedWeights::from_words(format, filled, scales, sums, &bias, inputs)
                    }
                    (None, None) => unreachable!(),
                };
                assert_eq!(format!("{:?}", again.unwrap()), format!("{reduced:?}"));
            }
        }
    }

    #[test]
    fn arrays_that_do_not_fit_together_are_no_layer() {
        assert!(Weights::from_panels(vec![[0.0; 8]; 3], &[0.0; 9]).is_none(), "two groups of one and a half inputs");
        assert!(Weights::from_panels(vec![[0.0; 8]; 3], &[]).is_none());
        let words = |scales: usize| {
            let (scales, sums) = (vec![0.0; scales], vec![0.0; scales]);
            let words = Words::zeros(Order::Panels, Format::Int8, 8, 8);
            ReducedWeights::from_words(Format::Int8, words, scales, sums, &[0.0; 8], 8)
        };
        assert!(words(8).is_some() && words(7).is_none());
        let rounded = Weights::new(&[1.0; 12], &[0.0; 2]);
        assert!(ReducedWeights::from_rounded(rounded.clone(), 6).is_some());
        assert!(ReducedWeights::from_rounded(rounded, 4).is_none());
    }
}
