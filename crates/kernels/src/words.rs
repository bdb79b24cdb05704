//! Weights in fewer bits, as words: four bytes in each, or two numbers of bf16, that belong to neighbouring inputs.

use crate::matrix::GROUP;
use crate::reduced::Format;
use crate::tiles::{SIDE, Tile};

/// In which order words lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// `[outputs / 8, rounded up][words][8]`: instructions take a word as often as there are lanes.
    Panels,
    /// `[outputs / 32, rounded up][words / 16, rounded up][2][16 outputs][16 words]`: instructions take all of a tile.
    Tiles,
}

impl Order {
    /// Words of the weights of a layer of so many inputs and outputs, with those that fill up panels or tiles.
    pub(crate) fn words(self, format: Format, inputs: usize, outputs: usize) -> usize {
        let words = format.words(inputs);
        match self {
            Self::Panels => outputs.next_multiple_of(GROUP) * words,
            Self::Tiles => outputs.next_multiple_of(2 * SIDE) * words.next_multiple_of(SIDE),
        }
    }
}

/// The words of a layer's weights, zeros where there is no weight.
#[derive(Debug, Clone)]
pub enum Words {
    /// In [`Order::Panels`].
    Panels(Vec<[u32; GROUP]>),
    /// In [`Order::Tiles`].
    Tiles(Vec<[Tile; 2]>),
}

impl Words {
    /// Zeros for a layer of so many inputs and outputs.
    pub fn zeros(order: Order, format: Format, inputs: usize, outputs: usize) -> Self {
        let words = order.words(format, inputs, outputs);
        match order {
            Order::Panels => Self::Panels(vec![[0; GROUP]; words / GROUP]),
            Order::Tiles => Self::Tiles(vec![[Tile::ZERO; 2]; words / (2 * SIDE * SIDE)]),
        }
    }

    /// In which order they lie.
    pub fn order(&self) -> Order {
        match self {
            Self::Panels(_) => Order::Panels,
            Self::Tiles(_) => Order::Tiles,
        }
    }

    /// All of them, as they lie.
    pub fn as_slice(&self) -> &[u32] {
        match self {
            Self::Panels(panels) => panels.as_flattened(),
            Self::Tiles(tiles) => Tile::words(tiles.as_flattened()),
        }
    }

    /// The same, to be filled.
    pub fn as_mut_slice(&mut self) -> &mut [u32] {
        match self {
            Self::Panels(panels) => panels.as_flattened_mut(),
            Self::Tiles(tiles) => Tile::words_mut(tiles.as_flattened_mut()),
        }
    }

    /// Their shape for so many outputs.
    pub fn shape(&self, outputs: usize) -> Vec<usize> {
        match self {
            Self::Panels(panels) => {
                let groups = outputs.div_ceil(GROUP);
                vec![groups, panels.len() / groups.max(1), GROUP]
            }
            Self::Tiles(tiles) => {
                let groups = outputs.div_ceil(2 * SIDE);
                vec![groups, tiles.len() / groups.max(1), 2, SIDE, SIDE]
            }
        }
    }

    /// Writes the words of an output's inputs to their places.
    pub(crate) fn put(&mut self, output: usize, words: impl ExactSizeIterator<Item = u32>) {
        let count = words.len();
        match self {
            Self::Panels(panels) => {
                let panels = &mut panels[output / GROUP * count..][..count];
                panels.iter_mut().zip(words).for_each(|(panel, word)| panel[output % GROUP] = word);
            }
            Self::Tiles(tiles) => {
                let steps = count.div_ceil(SIDE);
                let tiles = &mut tiles[output / (2 * SIDE) * steps..][..steps];
                for (at, word) in words.enumerate() {
                    tiles[at / SIDE][output / SIDE % 2].0[output % SIDE][at % SIDE] = word;
                }
            }
        }
    }
}
