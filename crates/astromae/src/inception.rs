//! The Inception branch, one galaxy at a time, so that its grids stay in the first two levels of cache.
//!
//! Channels are last: a grid is a matrix of `[side·side, channels]`. Every branch of a block writes its channels where
//! they belong in the block's output; what a 3×3 or 5×5 convolution reads is written into the middle of a larger grid
//! whose edge is zero, so that a window is a few contiguous pieces and nothing is gathered.

use starmap_kernels::matrix::{Rows, Then, Weights, multiply};
use starmap_kernels::pool::{max_3x3, mean_2x2};

use crate::config::{BlockConfig, Config, VIS};
use crate::error::Error;
use crate::model::{Layer, Reader, transposed};

#[derive(Debug)]
pub(crate) struct Inception {
    bands: usize,
    side: usize,
    stem: Weights,
    blocks: Vec<Block>,
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

/// A 1×1 convolution and then one with an odd kernel that keeps the grid's size.
#[derive(Debug)]
struct Square {
    kernel: usize,
    one: Weights,
    /// Inputs in the order `[kernel, kernel, channels]`.
    square: Weights,
}

/// Memory that the branch works in.
#[derive(Debug)]
pub(crate) struct Scratch {
    /// The grid now and the next one.
    grids: [Vec<f32>; 2],
    max: Vec<f32>,
    /// For every square of every block its padded grid. The edge is zero, and never written.
    padded: Vec<Vec<f32>>,
}

impl Inception {
    pub fn load(reader: &Reader<'_>, config: &Config) -> Result<Self, Error> {
        let mut blocks = Vec::new();
        for (k, block) in config.inception.iter().enumerate() {
            blocks.push(Block::load(reader, block, config.pools_after(k))?);
        }
        let stem = reader.layer(&format!("{VIS}0"))?.packed();
        Ok(Self { bands: config.bands, side: config.side, stem, blocks })
    }

    pub fn scratch(&self) -> Scratch {
        let mut side = self.side / 2;
        let mut grid = side * side * self.bands.max(self.stem.outputs());
        let (mut max, mut padded) = (0, Vec::new());
        for block in &self.blocks {
            let pixels = side * side;
            grid = grid.max(pixels * block.config.outputs());
            max = max.max(pixels * block.config.inputs);
            for square in &block.squares {
                let padded_side = side + square.kernel - 1;
                padded.push(vec![0.0; padded_side * padded_side * square.one.outputs()]);
            }
            side = if block.pools_after { side / 2 } else { side };
        }
        Scratch { grids: [vec![0.0; grid], vec![0.0; grid]], max: vec![0.0; max], padded }
    }

    /// The last grid of one galaxy, `[side, side, channels]` into `out`, of its `image` `[bands, side, side]`.
    pub fn forward(&self, image: &[f32], scratch: &mut Scratch, out: &mut [f32]) {
        let mut side = self.side / 2;
        let [mut now, mut next] = scratch.grids.each_mut().map(Vec::as_mut_slice);
        // The mean over 2×2 pixels comes before the 1×1 convolution here and after it in the definition: both are
        // linear, and this way the convolution works on a quarter of the pixels.
        mean_of_bands(image, self.bands, self.side, next);
        let pooled = Rows::new(next, side * side, self.bands);
        multiply(pooled, &self.stem, now, self.stem.outputs(), Then::Store);
        let mut padded = scratch.padded.as_mut_slice();
        for block in &self.blocks {
            let (own, rest) = padded.split_at_mut(block.squares.len());
            block.forward(now, side, &mut scratch.max, own, next);
            padded = rest;
            std::mem::swap(&mut now, &mut next);
            if block.pools_after {
                mean_2x2(now, side, block.config.outputs(), next);
                std::mem::swap(&mut now, &mut next);
                side /= 2;
            }
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
        for (name, kernel) in [("branch2", 3), ("branch3", 5)].into_iter().take(1 + usize::from(config.has_five)) {
            let one = conv(&format!("{name}.0"))?.packed();
            let mut square = conv(&format!("{name}.1"))?;
            for weight in square.weight.chunks_exact_mut(config.branch * kernel * kernel) {
                let turned = transposed(weight, config.branch, kernel * kernel);
                weight.copy_from_slice(&turned);
            }
            squares.push(Square { kernel, one, square: square.packed() });
        }
        let (one, pooled) = (conv("branch1")?.packed(), conv("branch4.1")?.packed());
        Ok(Self { config: config.clone(), pools_after, one, squares, pooled })
    }

    fn forward(&self, x: &[f32], side: usize, max: &mut [f32], padded: &mut [Vec<f32>], out: &mut [f32]) {
        let (inputs, branch, outputs) = (self.config.inputs, self.config.branch, self.config.outputs());
        let pixels = side * side;
        multiply(Rows::new(x, pixels, inputs), &self.one, out, outputs, Then::StoreRelu);
        for (k, (square, padded)) in self.squares.iter().zip(padded).enumerate() {
            square.forward(x, side, padded, &mut out[(k + 1) * branch..], outputs);
        }
        max_3x3(x, side, inputs, max);
        let column = outputs - branch;
        multiply(Rows::new(max, pixels, inputs), &self.pooled, &mut out[column..], outputs, Then::StoreRelu);
    }
}

impl Square {
    fn forward(&self, x: &[f32], side: usize, padded: &mut [f32], out: &mut [f32], out_stride: usize) {
        let (inputs, channels, reach) = (self.one.inputs(), self.one.outputs(), self.kernel / 2);
        let padded_row = (side + 2 * reach) * channels;
        for y in 0..side {
            let row = Rows::new(&x[y * side * inputs..], side, inputs);
            let start = (y + reach) * padded_row + reach * channels;
            multiply(row, &self.one, &mut padded[start..], channels, Then::StoreRelu);
        }
        for y in 0..side {
            let windows = Rows {
                data: &padded[y * padded_row..],
                count: side,
                stride: channels,
                segments: self.kernel,
                segment_stride: padded_row,
            };
            multiply(windows, &self.square, &mut out[y * side * out_stride..], out_stride, Then::StoreRelu);
        }
    }
}

/// Means of 2×2 pixels of `[bands, side, side]` as `[side/2, side/2, bands]`.
fn mean_of_bands(image: &[f32], bands: usize, side: usize, out: &mut [f32]) {
    let half = side / 2;
    for (b, band) in image.chunks_exact(side * side).enumerate() {
        for y in 0..half {
            let (above, below) = band[2 * y * side..].split_at(side);
            let out = &mut out[y * half * bands..][..half * bands];
            let (above, _) = above.as_chunks::<2>();
            let (below, _) = below.as_chunks::<2>();
            for ((a, c), out) in above.iter().zip(below).zip(out.chunks_exact_mut(bands)) {
                out[b] = 0.25 * ((a[0] + a[1]) + (c[0] + c[1]));
            }
        }
    }
}
