//! The transformer branch.
//!
//! Tokens of a micro-batch of n galaxies are rows of one matrix: first the n class tokens, then the patches of the
//! first galaxy, of the second, and so on. The parallel convolution branch works on the patches alone, which this
//! way are one contiguous matrix, and so is what the mean is taken over.

use starmap_kernels::attention::{Group, Heads, attention, grouped};
use starmap_kernels::elementwise::{add, gelu, silu};
use starmap_kernels::norm::layer_norm;

use crate::config::Config;
use crate::error::Error;
use crate::model::{Linear, Reader};

const LAYER_NORM_EPSILON: f32 = 1e-6;

#[derive(Debug)]
pub(crate) struct Transformer {
    bands: usize,
    side: usize,
    patch: usize,
    width: usize,
    heads: usize,
    embed: Linear,
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
    qkv: Linear,
    proj: Linear,
    pcm: [Grouped; 2],
    norm2: Norm,
    fc1: Linear,
    fc2: Linear,
}

#[derive(Debug)]
struct Norm {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

#[derive(Debug)]
struct Grouped {
    /// `[groups, inputs, outputs]`.
    weight: Vec<f32>,
    bias: Vec<f32>,
    group: Group,
}

/// Memory that a forward pass works in, for one size of micro-batch.
#[derive(Debug)]
pub(crate) struct Scratch {
    patches: Vec<f32>,
    tokens: Vec<f32>,
    normed: Vec<f32>,
    qkv: Vec<f32>,
    hidden: Vec<f32>,
    pcm_hidden: Vec<f32>,
    pcm: Vec<f32>,
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
        let embed = reader.linear("patch_embed.proj", config.bands * config.patch * config.patch, width)?;
        let blocks = (0..config.depth).map(|index| Block::load(reader, config, index)).collect::<Result<_, _>>()?;
        let norm = Norm::load(reader, "fc_norm")?;
        let Config { bands, side, patch, heads, .. } = *config;
        Ok(Self { bands, side, patch, width, heads, embed, class, positions, blocks, norm })
    }

    /// Scratch for n galaxies at a time.
    pub fn scratch(&self, n: usize) -> Scratch {
        let (width, patches) = (self.width, self.positions.len() / self.width);
        let rows = n * (patches + 1);
        let mlp = self.blocks.iter().map(|block| block.fc1.outputs).max().unwrap_or(0);
        let pcm = self.blocks.iter().map(|block| block.pcm[0].bias.len()).max().unwrap_or(0);
        let zeros = |size: usize| vec![0.0; size];
        Scratch {
            patches: zeros(n * self.bands * self.side * self.side),
            tokens: zeros(rows * width),
            normed: zeros(rows * width),
            qkv: zeros(rows * 3 * width),
            hidden: zeros(rows * mlp),
            pcm_hidden: zeros(n * patches * pcm),
            pcm: zeros(n * patches * width),
            rows: vec![0; patches + 1],
            scores: zeros(patches + 1),
            mean: zeros(n * width),
        }
    }

    /// Normalised mean of the patch tokens, `[n, width]` into `out`, of `images` `[n, bands, side, side]`.
    pub fn forward(&self, images: &[f32], n: usize, scratch: &mut Scratch, out: &mut [f32]) {
        let (width, patches) = (self.width, self.positions.len() / self.width);
        let rows = n * (patches + 1);
        self.gather(images, &mut scratch.patches);
        let (class_rows, patch_rows) = scratch.tokens.split_at_mut(n * width);
        class_rows.chunks_exact_mut(width).for_each(|row| row.copy_from_slice(&self.class));
        self.embed.apply(&scratch.patches, n * patches, patch_rows);
        patch_rows.chunks_exact_mut(patches * width).for_each(|galaxy| add(galaxy, &self.positions));

        for block in &self.blocks {
            // The parallel branch sees the block's input, and is added after the attention.
            block.pcm[0].apply(&scratch.tokens[n * width..], &mut scratch.pcm_hidden);
            silu(&mut scratch.pcm_hidden);
            block.pcm[1].apply(&scratch.pcm_hidden, &mut scratch.pcm);

            block.norm1.apply(&scratch.tokens, &mut scratch.normed);
            block.qkv.apply(&scratch.normed, rows, &mut scratch.qkv);
            let heads = Heads { width, count: self.heads };
            for galaxy in 0..n {
                scratch.rows[0] = galaxy;
                let own = (0..patches).map(|patch| n + galaxy * patches + patch);
                scratch.rows[1..].iter_mut().zip(own).for_each(|(row, own)| *row = own);
                attention(&scratch.qkv, &scratch.rows, heads, &mut scratch.scores, &mut scratch.normed);
            }
            block.proj.apply_add(&scratch.normed, rows, &mut scratch.tokens);
            add(&mut scratch.tokens[n * width..], &scratch.pcm);

            block.norm2.apply(&scratch.tokens, &mut scratch.normed);
            block.fc1.apply(&scratch.normed, rows, &mut scratch.hidden);
            gelu(&mut scratch.hidden);
            block.fc2.apply_add(&scratch.hidden, rows, &mut scratch.tokens);
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
        let (inputs, channels) = (width / config.pcm_groups, config.pcm_channels / config.pcm_groups);
        let (first, first_bias) = reader.folded(&format!("{p}PCM.0"), &format!("{p}PCM.1"))?;
        let second = reader.take(&format!("{p}PCM.3.weight"))?;
        let second_bias = reader.take(&format!("{p}PCM.3.bias"))?;
        Ok(Self {
            norm1: Norm::load(reader, &format!("{p}norm1"))?,
            qkv: Linear { weight, bias, inputs: width, outputs: 3 * width },
            proj: reader.linear(&format!("{p}attn.proj"), width, width)?,
            pcm: [
                Grouped::new(&first, first_bias, Group { inputs, outputs: channels }),
                Grouped::new(&second, second_bias, Group { inputs: channels, outputs: inputs }),
            ],
            norm2: Norm::load(reader, &format!("{p}norm2"))?,
            fc1: reader.linear(&format!("{p}mlp.fc1"), width, config.mlp)?,
            fc2: reader.linear(&format!("{p}mlp.fc2"), config.mlp, width)?,
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
    /// From weights `[groups·outputs, inputs]` as PyTorch has them.
    fn new(weight: &[f32], bias: Vec<f32>, group: Group) -> Self {
        let Group { inputs, outputs } = group;
        let mut turned = Vec::with_capacity(weight.len());
        for weight in weight.chunks_exact(inputs * outputs) {
            turned.extend((0..inputs).flat_map(|i| (0..outputs).map(move |o| weight[o * inputs + i])));
        }
        Self { weight: turned, bias, group }
    }

    fn apply(&self, x: &[f32], out: &mut [f32]) {
        grouped(x, &self.weight, &self.bias, self.group, out);
    }
}
