//! The transformer branch.
//!
//! Tokens of a micro-batch of n galaxies are rows of one matrix: first the n class tokens, then the patches of the
//! first galaxy, of the second, and so on. The parallel convolution branch works on the patches alone, which this
//! way are one contiguous matrix, and so is what the mean is taken over.

use starmap_kernels::attention::{Heads, attention};
use starmap_kernels::elementwise::{add, gelu, silu};
use starmap_kernels::matrix::{Rows, Then, Weights, multiply};
use starmap_kernels::norm::layer_norm;

use crate::config::Config;
use crate::error::Error;
use crate::model::{Layer, Reader};
use crate::predictor::Stage;

const LAYER_NORM_EPSILON: f32 = 1e-6;

#[derive(Debug)]
pub(crate) struct Transformer {
    bands: usize,
    side: usize,
    patch: usize,
    width: usize,
    heads: usize,
    embed: Weights,
    /// Class token with its position, `[width]`.
    class: Vec<f32>,
    /// Positions of the patches, `[patches, width]`.
    positions: Vec<f32>,
    blocks: Vec<Block>,
    norm: Norm,
}

#[derive(Debug)]
struct Block {
    norm1: Norm,
    qkv: Weights,
    proj: Weights,
    pcm: [Grouped; 2],
    norm2: Norm,
    fc1: Weights,
    fc2: Weights,
}

#[derive(Debug)]
struct Norm {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

/// A grouped 1×1 convolution.
///
/// Groups are so narrow that a register would be mostly empty: where a group has fewer outputs than [`LANES`], several
/// are taken together as one group whose weights are zero from one to another.
#[derive(Debug)]
struct Grouped {
    groups: Vec<Weights>,
}

/// Outputs that a group is filled up to.
const LANES: usize = 16;

/// Memory that a forward pass works in, for one size of micro-batch.
#[derive(Debug)]
pub(crate) struct Scratch {
    patches: Vec<f32>,
    tokens: Vec<f32>,
    normed: Vec<f32>,
    qkv: Vec<f32>,
    hidden: Vec<f32>,
    pcm_hidden: Vec<f32>,
    rows: Vec<usize>,
    scores: Vec<f32>,
    mean: Vec<f32>,
}

impl Transformer {
    pub fn load(reader: &Reader<'_>, config: &Config) -> Result<Self, Error> {
        let width = config.width;
        let mut class = reader.take("cls_token")?;
        let mut positions = reader.take("pos_embed")?;
        add(&mut class, &positions[..width]);
        positions.drain(..width);
        let embed = reader.layer("patch_embed.proj")?.packed();
        let blocks = (0..config.depth).map(|index| Block::load(reader, config, index)).collect::<Result<_, _>>()?;
        let norm = Norm::load(reader, "fc_norm")?;
        let Config { bands, side, patch, heads, .. } = *config;
        Ok(Self { bands, side, patch, width, heads, embed, class, positions, blocks, norm })
    }

    /// Scratch for n galaxies at a time.
    pub fn scratch(&self, n: usize) -> Scratch {
        let (width, patches) = (self.width, self.positions.len() / self.width);
        let rows = n * (patches + 1);
        let mlp = self.blocks.iter().map(|block| block.fc1.outputs()).max().unwrap_or(0);
        let pcm = self.blocks.iter().map(|block| block.pcm[0].outputs()).max().unwrap_or(0);
        let zeros = |size: usize| vec![0.0; size];
        Scratch {
            patches: zeros(n * self.bands * self.side * self.side),
            tokens: zeros(rows * width),
            normed: zeros(rows * width),
            qkv: zeros(rows * 3 * width),
            hidden: zeros(rows * mlp),
            pcm_hidden: zeros(n * patches * pcm),
            rows: vec![0; patches + 1],
            scores: zeros(patches + 1),
            mean: zeros(n * width),
        }
    }

    /// Normalised mean of the patch tokens, `[n, width]` into `out`, of `images` `[n, bands, side, side]`.
    pub fn forward(
        &self,
        images: &[f32],
        n: usize,
        scratch: &mut Scratch,
        out: &mut [f32],
        observe: &mut dyn FnMut(Stage, &[f32]),
    ) {
        let (width, patches) = (self.width, self.positions.len() / self.width);
        let rows = n * (patches + 1);
        self.gather(images, &mut scratch.patches);
        let (class_rows, patch_rows) = scratch.tokens.split_at_mut(n * width);
        class_rows.chunks_exact_mut(width).for_each(|row| row.copy_from_slice(&self.class));
        let pixels = self.embed.inputs();
        multiply(Rows::new(&scratch.patches, n * patches, pixels), &self.embed, patch_rows, width, Then::Store);
        observe(Stage::PatchEmbed, patch_rows);
        patch_rows.chunks_exact_mut(patches * width).for_each(|galaxy| add(galaxy, &self.positions));

        for (index, block) in self.blocks.iter().enumerate() {
            // The parallel branch sees the block's input, and is added after the attention.
            block.pcm[0].apply(&scratch.tokens[n * width..], n * patches, &mut scratch.pcm_hidden, Then::Store);
            silu(&mut scratch.pcm_hidden);

            block.norm1.apply(&scratch.tokens, &mut scratch.normed);
            let normed = Rows::new(&scratch.normed, rows, width);
            multiply(normed, &block.qkv, &mut scratch.qkv, 3 * width, Then::Store);
            let heads = Heads { width, count: self.heads };
            for galaxy in 0..n {
                scratch.rows[0] = galaxy;
                let own = (0..patches).map(|patch| n + galaxy * patches + patch);
                scratch.rows[1..].iter_mut().zip(own).for_each(|(row, own)| *row = own);
                attention(&scratch.qkv, &scratch.rows, heads, &mut scratch.scores, &mut scratch.normed);
            }
            let attended = Rows::new(&scratch.normed, rows, width);
            multiply(attended, &block.proj, &mut scratch.tokens, width, Then::Add);
            block.pcm[1].apply(&scratch.pcm_hidden, n * patches, &mut scratch.tokens[n * width..], Then::Add);

            block.norm2.apply(&scratch.tokens, &mut scratch.normed);
            let (normed, mlp) = (Rows::new(&scratch.normed, rows, width), block.fc1.outputs());
            multiply(normed, &block.fc1, &mut scratch.hidden, mlp, Then::Store);
            gelu(&mut scratch.hidden);
            multiply(Rows::new(&scratch.hidden, rows, mlp), &block.fc2, &mut scratch.tokens, width, Then::Add);
            observe(Stage::Block(index), &scratch.tokens);
        }

        scratch.mean.fill(0.0);
        let galaxies = scratch.tokens[n * width..].chunks_exact(patches * width);
        for (galaxy, mean) in galaxies.zip(scratch.mean.chunks_exact_mut(width)) {
            galaxy.chunks_exact(width).for_each(|token| add(mean, token));
            mean.iter_mut().for_each(|mean| *mean /= patches as f32);
        }
        self.norm.apply(&scratch.mean, out);
    }

    /// Patches as rows `[n·patches, bands·patch·patch]`, in the order of the convolution's weights.
    fn gather(&self, images: &[f32], patches: &mut [f32]) {
        let (side, patch, grid) = (self.side, self.patch, self.side / self.patch);
        let mut rows = patches.chunks_exact_mut(patch);
        for image in images.chunks_exact(self.bands * side * side) {
            for (gy, gx) in (0..grid).flat_map(|gy| (0..grid).map(move |gx| (gy, gx))) {
                for band in image.chunks_exact(side * side) {
                    for y in 0..patch {
                        let start = (gy * patch + y) * side + gx * patch;
                        if let Some(row) = rows.next() {
                            row.copy_from_slice(&band[start..start + patch]);
                        }
                    }
                }
            }
        }
    }
}

impl Block {
    fn load(reader: &Reader<'_>, config: &Config, index: usize) -> Result<Self, Error> {
        let p = format!("blocks.{index}.");
        let width = config.width;
        let mut bias = reader.take(&format!("{p}attn.q_bias"))?;
        bias.extend(std::iter::repeat_n(0.0, width));
        bias.extend(reader.take(&format!("{p}attn.v_bias"))?);
        let weight = reader.take(&format!("{p}attn.qkv.weight"))?;
        let pcm_1 = reader.folded(&format!("{p}PCM.0"), &format!("{p}PCM.1"))?;
        let pcm_2 = reader.layer(&format!("{p}PCM.3"))?;
        Ok(Self {
            norm1: Norm::load(reader, &format!("{p}norm1"))?,
            qkv: Weights::new(&weight, &bias),
            proj: reader.layer(&format!("{p}attn.proj"))?.packed(),
            pcm: [pcm_1, pcm_2].map(|layer| Grouped::new(&layer, config.pcm_groups)),
            norm2: Norm::load(reader, &format!("{p}norm2"))?,
            fc1: reader.layer(&format!("{p}mlp.fc1"))?.packed(),
            fc2: reader.layer(&format!("{p}mlp.fc2"))?.packed(),
        })
    }
}

impl Norm {
    fn load(reader: &Reader<'_>, prefix: &str) -> Result<Self, Error> {
        Ok(Self { weight: reader.take(&format!("{prefix}.weight"))?, bias: reader.take(&format!("{prefix}.bias"))? })
    }

    fn apply(&self, x: &[f32], out: &mut [f32]) {
        layer_norm(x, &self.weight, &self.bias, LAYER_NORM_EPSILON, out);
    }
}

impl Grouped {
    /// From weights `[groups·outputs, inputs]`.
    fn new(layer: &Layer, groups: usize) -> Self {
        let (outputs, inputs) = (layer.bias.len() / groups, layer.weight.len() / layer.bias.len());
        let mut together = (LANES / outputs).clamp(1, groups);
        while !groups.is_multiple_of(together) {
            together -= 1;
        }
        let merge = |(weight, bias): (&[f32], &[f32])| {
            let mut merged = Vec::with_capacity(weight.len() * together);
            for (output, row) in weight.chunks_exact(inputs).enumerate() {
                let group = output / outputs;
                merged.extend(std::iter::repeat_n(0.0, group * inputs));
                merged.extend(row);
                merged.extend(std::iter::repeat_n(0.0, (together - 1 - group) * inputs));
            }
            Weights::new(&merged, bias)
        };
        let weights = layer.weight.chunks_exact(together * outputs * inputs);
        Self { groups: weights.zip(layer.bias.chunks_exact(together * outputs)).map(merge).collect() }
    }

    fn inputs(&self) -> usize {
        self.groups.iter().map(Weights::inputs).sum()
    }

    fn outputs(&self) -> usize {
        self.groups.iter().map(Weights::outputs).sum()
    }

    /// `x` is `[rows, inputs]`, `out` `[rows, outputs]`.
    fn apply(&self, x: &[f32], rows: usize, out: &mut [f32], then: Then) {
        let (stride, out_stride) = (self.inputs(), self.outputs());
        let (mut input, mut output) = (0, 0);
        for group in &self.groups {
            multiply(Rows::new(&x[input..], rows, stride), group, &mut out[output..], out_stride, then);
            input += group.inputs();
            output += group.outputs();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_that_are_taken_together_do_not_mix() {
        for (groups, inputs, outputs) in [(48, 4, 16), (48, 16, 4), (3, 5, 7), (6, 2, 4), (2, 3, 40), (1, 1, 1)] {
            let number = |i: usize, seed: usize| ((i * 37 + seed * 11) % 101) as f32 / 50.0 - 1.0;
            let numbers = |n: usize, seed: usize| (0..n).map(|i| number(i, seed)).collect::<Vec<_>>();
            let layer = Layer { weight: numbers(groups * outputs * inputs, 1), bias: numbers(groups * outputs, 2) };
            let rows = 5;
            let x = numbers(rows * groups * inputs, 3);
            let mut out = vec![f32::NAN; rows * groups * outputs];
            Grouped::new(&layer, groups).apply(&x, rows, &mut out, Then::Store);
            for (at, got) in out.iter().enumerate() {
                let (row, output) = (at / (groups * outputs), at % (groups * outputs));
                let x = &x[row * groups * inputs + output / outputs * inputs..][..inputs];
                let weight = &layer.weight[output * inputs..][..inputs];
                let sum: f64 = x.iter().zip(weight).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
                let exact = sum + f64::from(layer.bias[output]);
                assert!((f64::from(*got) - exact).abs() < 1e-5, "{groups} groups, row {row}, output {output}");
            }
        }
    }
}
