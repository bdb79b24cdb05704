//! The Inception branch, channels last: a grid of n galaxies is a matrix of `[n·side·side, channels]`.

use starmap_kernels::elementwise::{add_bias, relu};
use starmap_kernels::gemm::{Into, Matrix, gemm};

use crate::config::{BlockConfig, Config, VIS};
use crate::error::Error;
use crate::model::{Linear, Reader};

#[derive(Debug)]
pub(crate) struct Inception {
    bands: usize,
    side: usize,
    stem: Linear,
    blocks: Vec<Block>,
    /// The first linear layer, its columns in the order of a grid with channels last.
    linear: Linear,
}

#[derive(Debug)]
struct Block {
    config: BlockConfig,
    pools_after: bool,
    /// The 1×1 convolutions that see the block's input, one below the other: branch 1, 2, and 3 if it is there.
    ones: Linear,
    /// 3×3 and, if it is there, 5×5.
    squares: Vec<Square>,
    /// After the max pooling.
    pooled: Linear,
}

/// A convolution with an odd kernel, padded so that the grid keeps its size.
#[derive(Debug)]
struct Square {
    kernel: usize,
    /// `[outputs, kernel, kernel, inputs]`.
    linear: Linear,
}

/// Memory that a forward pass works in, for one size of micro-batch.
#[derive(Debug)]
pub(crate) struct Scratch {
    /// The grid now and the next one.
    grids: [Vec<f32>; 2],
    ones: Vec<f32>,
    max: Vec<f32>,
    /// Neighbourhoods of one galaxy's pixels.
    windows: Vec<f32>,
}

impl Inception {
    pub fn load(reader: &Reader<'_>, config: &Config) -> Result<Self, Error> {
        let mut blocks = Vec::new();
        for (k, block) in config.inception.iter().enumerate() {
            blocks.push(Block::load(reader, block, config.pools_after(k))?);
        }
        let stem = reader.linear(&format!("{VIS}0"), config.bands, config.stem)?;
        let mut linear = reader.linear(&format!("{VIS}{}", config.first_linear()), config.flat(), config.vis[0])?;
        let pixels = config.last_side() * config.last_side();
        for row in linear.weight.chunks_exact_mut(config.flat()) {
            let channels = row.len() / pixels;
            let turned: Vec<f32> = (0..pixels)
                .flat_map(|pixel| (0..channels).map(move |c| (pixel, c)))
                .map(|(p, c)| row[c * pixels + p])
                .collect();
            row.copy_from_slice(&turned);
        }
        Ok(Self { bands: config.bands, side: config.side, stem, blocks, linear })
    }

    /// Scratch for n galaxies at a time.
    pub fn scratch(&self, n: usize) -> Scratch {
        let mut side = self.side / 2;
        let (mut grid, mut ones, mut max, mut windows) = (side * side * self.stem.outputs, 0, 0, 0);
        let input = side * side * self.bands;
        for block in &self.blocks {
            let pixels = side * side;
            grid = grid.max(pixels * block.config.outputs());
            ones = ones.max(pixels * block.ones.outputs);
            max = max.max(pixels * block.config.inputs);
            windows = block.squares.iter().map(|square| pixels * square.linear.inputs).fold(windows, usize::max);
            side = if block.pools_after { side / 2 } else { side };
        }
        let zeros = |size: usize| vec![0.0; size];
        Scratch {
            grids: [zeros(n * grid.max(input)), zeros(n * grid.max(input))],
            ones: zeros(n * ones),
            max: zeros(n * max),
            windows: zeros(windows),
        }
    }

    /// Outputs of the first linear layer.
    pub fn outputs(&self) -> usize {
        self.linear.outputs
    }

    /// The branch up to and with the ReLU after its first linear layer, `[n, outputs]`, of `images`
    /// `[n, bands, side, side]`.
    pub fn forward(&self, images: &[f32], n: usize, scratch: &mut Scratch, out: &mut [f32]) {
        let mut side = self.side / 2;
        let [mut now, mut next] = scratch.grids.each_mut().map(Vec::as_mut_slice);
        // The mean over 2×2 pixels comes before the 1×1 convolution here and after it in the definition: both are
        // linear, and this way the convolution works on a quarter of the pixels.
        pool_bands(images, self.bands, self.side, next);
        self.stem.apply(next, n * side * side, now);
        for block in &self.blocks {
            let rows = n * side * side;
            block.forward(now, side, rows, [&mut scratch.ones, &mut scratch.max, &mut scratch.windows], next);
            std::mem::swap(&mut now, &mut next);
            if block.pools_after {
                pool_grid(&now[..rows * block.config.outputs()], block.config.outputs(), side, next);
                std::mem::swap(&mut now, &mut next);
                side /= 2;
            }
        }
        self.linear.apply(now, n, out);
        relu(&mut out[..n * self.linear.outputs]);
    }
}

impl Block {
    fn load(reader: &Reader<'_>, config: &BlockConfig, pools_after: bool) -> Result<Self, Error> {
        let conv = |branch: &str| {
            let p = format!("{VIS}{}.{branch}", config.index);
            reader.folded(&format!("{p}.conv"), &format!("{p}.bn"))
        };
        let (inputs, branch) = (config.inputs, config.branch);
        let (mut weight, mut bias) = conv("branch1")?;
        let mut squares = Vec::new();
        for (name, kernel) in [("branch2", 3), ("branch3", 5)].into_iter().take(1 + usize::from(config.has_five)) {
            let (one, one_bias) = conv(&format!("{name}.0"))?;
            weight.extend(one);
            bias.extend(one_bias);
            let (square, square_bias) = conv(&format!("{name}.1"))?;
            squares.push(Square::new(&square, square_bias, kernel, branch));
        }
        let ones = Linear { outputs: bias.len(), weight, bias, inputs };
        let (weight, bias) = conv("branch4.1")?;
        let pooled = Linear { weight, bias, inputs, outputs: branch };
        Ok(Self { config: config.clone(), pools_after, ones, squares, pooled })
    }

    fn forward(&self, x: &[f32], side: usize, rows: usize, scratch: [&mut Vec<f32>; 3], out: &mut [f32]) {
        let [ones, max, windows] = scratch;
        let (inputs, branch, outputs) = (self.config.inputs, self.config.branch, self.config.outputs());
        let x = &x[..rows * inputs];
        let ones = &mut ones[..rows * self.ones.outputs];
        self.ones.apply(x, rows, ones);
        relu(ones);
        let ones = &*ones;
        for (one, out) in ones.chunks_exact(self.ones.outputs).zip(out.chunks_exact_mut(outputs)) {
            out[..branch].copy_from_slice(&one[..branch]);
        }
        let pixels = side * side;
        for (k, square) in self.squares.iter().enumerate() {
            // Their inputs stand beside each other in `ones`, their outputs in `out`.
            let column = (k + 1) * branch;
            let galaxies = ones.chunks_exact(pixels * self.ones.outputs).zip(out.chunks_exact_mut(pixels * outputs));
            for (one, out) in galaxies {
                let grid = Grid { data: one, side, stride: self.ones.outputs, first: column, channels: branch };
                grid.windows(square.kernel, windows);
                square.multiply(windows, pixels, &mut out[column..], outputs);
            }
        }
        let column = outputs - branch;
        let max = &mut max[..rows * inputs];
        for (x, max) in x.chunks_exact(pixels * inputs).zip(max.chunks_exact_mut(pixels * inputs)) {
            max_pool(x, inputs, side, max);
        }
        let weight = Matrix::new(&self.pooled.weight, branch, inputs).transposed();
        gemm(Matrix::new(max, rows, inputs), weight, &mut out[column..], outputs, Into::Replace);
        let out = &mut out[..rows * outputs];
        // Branch 1 has its bias already.
        let mut bias = vec_on_stack(branch);
        self.squares.iter().for_each(|square| bias.extend(&square.linear.bias));
        bias.extend(&self.pooled.bias);
        add_bias(out, bias.as_slice());
        relu(out);
    }
}

/// A bias row for the whole output: zeros for the branch that has had its bias.
fn vec_on_stack(zeros: usize) -> Bias {
    Bias { values: [0.0; Bias::MAX], len: zeros }
}

/// A short vector without allocation.
struct Bias {
    values: [f32; Self::MAX],
    len: usize,
}

impl Bias {
    const MAX: usize = 256;

    fn extend(&mut self, values: &[f32]) {
        self.values[self.len..self.len + values.len()].copy_from_slice(values);
        self.len += values.len();
    }

    fn as_slice(&self) -> &[f32] {
        &self.values[..self.len]
    }
}

impl Square {
    /// From weights `[outputs, inputs, kernel, kernel]` as PyTorch has them.
    fn new(weight: &[f32], bias: Vec<f32>, kernel: usize, inputs: usize) -> Self {
        let area = kernel * kernel;
        let turned = weight
            .chunks_exact(inputs * area)
            .flat_map(|weight| (0..area).flat_map(move |at| (0..inputs).map(move |c| weight[c * area + at])));
        let linear = Linear { weight: turned.collect(), outputs: bias.len(), bias, inputs: area * inputs };
        Self { kernel, linear }
    }

    fn multiply(&self, windows: &[f32], pixels: usize, out: &mut [f32], stride: usize) {
        let Linear { weight, inputs, outputs, .. } = &self.linear;
        let weight = Matrix::new(weight, *outputs, *inputs).transposed();
        gemm(Matrix::new(windows, pixels, *inputs), weight, out, stride, Into::Replace);
    }
}

/// One galaxy's grid, of which some channels are wanted.
struct Grid<'a> {
    data: &'a [f32],
    side: usize,
    stride: usize,
    first: usize,
    channels: usize,
}

impl Grid<'_> {
    /// The neighbourhood of every pixel as a row `[kernel, kernel, channels]`; zeros beyond the edge.
    fn windows(&self, kernel: usize, windows: &mut [f32]) {
        let (side, channels, reach) = (self.side, self.channels, kernel / 2);
        let mut cells = windows.chunks_exact_mut(channels);
        for (y, x) in (0..side).flat_map(|y| (0..side).map(move |x| (y, x))) {
            for (ky, kx) in (0..kernel).flat_map(|ky| (0..kernel).map(move |kx| (ky, kx))) {
                let Some(cell) = cells.next() else { return };
                let (py, px) = ((y + ky).wrapping_sub(reach), (x + kx).wrapping_sub(reach));
                if py < side && px < side {
                    let start = (py * side + px) * self.stride + self.first;
                    cell.copy_from_slice(&self.data[start..start + channels]);
                } else {
                    cell.fill(0.0);
                }
            }
        }
    }
}

/// Means of 2×2 pixels of `[n, bands, side, side]` as `[n, side/2, side/2, bands]`.
fn pool_bands(images: &[f32], bands: usize, side: usize, out: &mut [f32]) {
    let half = side / 2;
    for (image, out) in images.chunks_exact(bands * side * side).zip(out.chunks_exact_mut(half * half * bands)) {
        for (b, band) in image.chunks_exact(side * side).enumerate() {
            for (y, x) in (0..half).flat_map(|y| (0..half).map(move |x| (y, x))) {
                let at = 2 * y * side + 2 * x;
                let sum = (band[at] + band[at + 1]) + (band[at + side] + band[at + side + 1]);
                out[(y * half + x) * bands + b] = 0.25 * sum;
            }
        }
    }
}

/// Means of 2×2 pixels of `[n, side, side, channels]`.
fn pool_grid(x: &[f32], channels: usize, side: usize, out: &mut [f32]) {
    let half = side / 2;
    let galaxies = x.chunks_exact(side * side * channels).zip(out.chunks_exact_mut(half * half * channels));
    for (x, out) in galaxies {
        let pixel = |y: usize, px: usize| &x[(y * side + px) * channels..][..channels];
        for (at, out) in out.chunks_exact_mut(channels).enumerate() {
            let (y, px) = (2 * (at / half), 2 * (at % half));
            let four = [pixel(y, px), pixel(y, px + 1), pixel(y + 1, px), pixel(y + 1, px + 1)];
            for (c, out) in out.iter_mut().enumerate() {
                *out = 0.25 * ((four[0][c] + four[1][c]) + (four[2][c] + four[3][c]));
            }
        }
    }
}

/// Maxima over 3×3 pixels of one galaxy `[side, side, channels]`; beyond the edge nothing counts.
fn max_pool(x: &[f32], channels: usize, side: usize, out: &mut [f32]) {
    for (at, out) in out.chunks_exact_mut(channels).enumerate() {
        let (y, px) = (at / side, at % side);
        out.copy_from_slice(&x[at * channels..(at + 1) * channels]);
        for ny in y.saturating_sub(1)..(y + 2).min(side) {
            for nx in px.saturating_sub(1)..(px + 2).min(side) {
                let neighbour = &x[(ny * side + nx) * channels..][..channels];
                for (out, x) in out.iter_mut().zip(neighbour) {
                    // NaN is kept whichever side it is on.
                    *out = if *x > *out || x.is_nan() { *x } else { *out };
                }
            }
        }
    }
}
