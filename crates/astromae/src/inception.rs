//! The Inception branch, for sixteen galaxies side by side.
//!
//! Channels are last: a grid is a matrix of `[side·side, channels]`. Every branch of a block writes its channels where
//! they belong in the block's output. What reads a grid takes it row by row, all of it at once, so that a large grid
//! comes from main memory or the third level of cache one time only.

use starmap_kernels::matrix::{Grid, Rows, Then, Weights, convolve, multiply};
use starmap_kernels::pool::{max_3x3, mean_2x2};
use starmap_kernels::{Lanes, Set};

use crate::config::{BlockConfig, Config, VIS};
use crate::error::Error;
use crate::model::{Layer, Reader, transposed};
use crate::packed::{Packer, Unpacker};
use crate::predictor::Stage;

#[derive(Debug)]
pub(crate) struct Inception {
    stem: Weights,
    blocks: Vec<Block>,
    /// Pixels along a side after the first pooling.
    side: usize,
}

#[derive(Debug)]
struct Block {
    config: BlockConfig,
    pools_after: bool,
    /// Branch 1: a 1×1 convolution.
    one: Weights,
    /// Branches 2 and, if it is there, 3.
    squares: Vec<Square>,
    /// Branch 4: a 1×1 convolution after the max pooling.
    pooled: Weights,
}

/// A 1×1 convolution and then one with an odd window that keeps the grid's size.
#[derive(Debug)]
struct Square {
    one: Weights,
    /// Inputs in the order `[kernel, kernel, channels]`.
    square: Weights,
}

/// Memory that the branch works in.
#[derive(Debug)]
pub(crate) struct Scratch {
    /// The grid now and the next one.
    grids: [Vec<Lanes>; 2],
    /// What the square windows read.
    narrow: [Vec<Lanes>; 2],
    /// A row of maxima.
    max: Vec<Lanes>,
}

impl Inception {
    pub fn load(reader: &Reader<'_>, config: &Config) -> Result<Self, Error> {
        let mut blocks = Vec::new();
        for (k, block) in config.inception.iter().enumerate() {
            blocks.push(Block::load(reader, block, config.pools_after(k))?);
        }
        let stem = reader.layer(&format!("{VIS}0"))?.packed();
        Ok(Self { stem, blocks, side: config.side / 2 })
    }

    pub fn pack<'a>(&'a self, packer: &mut Packer<'a>) {
        packer.weights("stem", &self.stem);
        for (index, block) in self.blocks.iter().enumerate() {
            packer.weights(&format!("inception.{index}.one"), &block.one);
            for (k, square) in block.squares.iter().enumerate() {
                packer.weights(&format!("inception.{index}.squares.{k}.one"), &square.one);
                packer.weights(&format!("inception.{index}.squares.{k}.square"), &square.square);
            }
            packer.weights(&format!("inception.{index}.pooled"), &block.pooled);
        }
    }

    pub fn unpack(unpacker: &Unpacker<'_>, config: &Config) -> Result<Self, Error> {
        let mut blocks = Vec::new();
        for (index, block) in config.inception.iter().enumerate() {
            let (inputs, branch) = (block.inputs, block.branch);
            let weights = |part: &str, inputs| unpacker.weights(&format!("inception.{index}.{part}"), inputs, branch);
            let mut squares = Vec::new();
            for (k, kernel) in block.kernels().enumerate() {
                let one = weights(&format!("squares.{k}.one"), inputs)?;
                let square = weights(&format!("squares.{k}.square"), kernel * kernel * branch)?;
                squares.push(Square { one, square });
            }
            blocks.push(Block {
                config: block.clone(),
                pools_after: config.pools_after(index),
                one: weights("one", inputs)?,
                squares,
                pooled: weights("pooled", inputs)?,
            });
        }
        Ok(Self { stem: unpacker.weights("stem", config.bands, config.stem)?, blocks, side: config.side / 2 })
    }

    pub fn scratch(&self) -> Scratch {
        let mut side = self.side;
        let mut grid = side * side * self.stem.inputs().max(self.stem.outputs());
        let (mut max, mut narrow) = (0, 0);
        for block in &self.blocks {
            grid = grid.max(side * side * block.config.outputs());
            max = max.max(side * block.config.inputs);
            narrow = narrow.max(side * side * block.config.branch);
            side = if block.pools_after { side / 2 } else { side };
        }
        let zeros = |size: usize| vec![Lanes::ZERO; size];
        Scratch { grids: [zeros(grid), zeros(grid)], narrow: [zeros(narrow), zeros(narrow)], max: zeros(max) }
    }

    /// The last grid, `[side, side, channels]` into `out`. `pixel` finds a pixel of the images: band, row, column.
    pub fn forward(
        &self,
        set: Set,
        images: &[Lanes],
        pixel: impl Fn(usize, usize, usize) -> usize,
        scratch: &mut Scratch,
        out: &mut [Lanes],
        observe: &mut dyn FnMut(Stage, &[Lanes]),
    ) {
        let (mut side, bands) = (self.side, self.stem.inputs());
        let [mut now, mut next] = scratch.grids.each_mut().map(Vec::as_mut_slice);
        // The mean over 2×2 pixels comes before the 1×1 convolution here and after it in the definition: both are
        // linear, and this way the convolution works on a quarter of the pixels.
        for (at, mean) in next[..side * side * bands].iter_mut().enumerate() {
            let (y, x, band) = (2 * (at / bands / side), 2 * (at / bands % side), at % bands);
            let [a, b, c, d] =
                [(y, x), (y, x + 1), (y + 1, x), (y + 1, x + 1)].map(|(y, x)| &images[pixel(band, y, x)].0);
            *mean = Lanes(std::array::from_fn(|lane| 0.25 * ((a[lane] + b[lane]) + (c[lane] + d[lane]))));
        }
        multiply(set, Rows::new(next, side * side, bands), &self.stem, now, self.stem.outputs(), Then::Store);
        for (k, block) in self.blocks.iter().enumerate() {
            block.forward(set, now, side, &mut scratch.max, &mut scratch.narrow, next);
            std::mem::swap(&mut now, &mut next);
            if block.pools_after {
                mean_2x2(set, now, side, block.config.outputs(), next);
                std::mem::swap(&mut now, &mut next);
                side /= 2;
            }
            observe(Stage::Inception(k), &now[..side * side * block.config.outputs()]);
        }
        out.copy_from_slice(&now[..out.len()]);
    }
}

/// The linear layer after `Flatten`, its inputs in the order of a grid with channels last.
pub(crate) fn flattened(reader: &Reader<'_>, config: &Config) -> Result<Layer, Error> {
    let mut layer = reader.layer(&format!("{VIS}{}", config.first_linear()))?;
    let pixels = config.last_side() * config.last_side();
    for row in layer.weight.chunks_exact_mut(config.flat()) {
        let turned = transposed(row, row.len() / pixels, pixels);
        row.copy_from_slice(&turned);
    }
    Ok(layer)
}

impl Block {
    fn load(reader: &Reader<'_>, config: &BlockConfig, pools_after: bool) -> Result<Self, Error> {
        let conv = |branch: &str| {
            let p = format!("{VIS}{}.{branch}", config.index);
            reader.folded(&format!("{p}.conv"), &format!("{p}.bn"))
        };
        let mut squares = Vec::new();
        for (name, kernel) in ["branch2", "branch3"].into_iter().zip(config.kernels()) {
            let one = conv(&format!("{name}.0"))?.packed();
            let mut square = conv(&format!("{name}.1"))?;
            for weight in square.weight.chunks_exact_mut(config.branch * kernel * kernel) {
                let turned = transposed(weight, config.branch, kernel * kernel);
                weight.copy_from_slice(&turned);
            }
            squares.push(Square { one, square: square.packed() });
        }
        let (one, pooled) = (conv("branch1")?.packed(), conv("branch4.1")?.packed());
        Ok(Self { config: config.clone(), pools_after, one, squares, pooled })
    }

    fn forward(
        &self,
        set: Set,
        x: &[Lanes],
        side: usize,
        max: &mut [Lanes],
        narrow: &mut [Vec<Lanes>; 2],
        out: &mut [Lanes],
    ) {
        let (inputs, branch, outputs) = (self.config.inputs, self.config.branch, self.config.outputs());
        for y in 0..side {
            let row = Rows::new(&x[y * side * inputs..], side, inputs);
            let out = &mut out[y * side * outputs..];
            multiply(set, row, &self.one, out, outputs, Then::StoreRelu);
            for (square, narrow) in self.squares.iter().zip(narrow.iter_mut()) {
                multiply(set, row, &square.one, &mut narrow[y * side * branch..], branch, Then::StoreRelu);
            }
            max_3x3(set, x, side, inputs, y, max);
            let max = Rows::new(max, side, inputs);
            multiply(set, max, &self.pooled, &mut out[outputs - branch..], outputs, Then::StoreRelu);
        }
        for (k, (square, narrow)) in self.squares.iter().zip(narrow).enumerate() {
            let grid = Grid { data: narrow, side, channels: branch };
            convolve(set, grid, &square.square, &mut out[(k + 1) * branch..], outputs, Then::StoreRelu);
        }
    }
}
