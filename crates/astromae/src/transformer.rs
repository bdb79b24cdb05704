//! The transformer branch, for sixteen galaxies side by side, and a few times sixteen one after the other.
//!
//! Tokens are rows of one matrix: the class token, then the patches. The parallel convolution branch works on the
//! patches alone, which this way are contiguous, and so is what the mean is taken over.

use starmap_kernels::attention::{Heads, attention};
use starmap_kernels::bottleneck::bottleneck;
use starmap_kernels::matrix::{Rows, Then, Weights, multiply};
use starmap_kernels::norm::layer_norm;
use starmap_kernels::pool::add_rows;
use starmap_kernels::{LANES, Lanes, Set, reduced};

use crate::config::Config;
use crate::error::Error;
use crate::model::{Layer, Reader};
use crate::packed::{Packer, Unpacker};
use crate::precision::{Linear, Precision};
use crate::predictor::Stage;

pub(crate) const LAYER_NORM_EPSILON: f32 = 1e-6;
/// Tokens that go through a block's MLP together: what is between its layers stays in the second level of cache.
const MLP_ROWS: usize = 6;
/// Times sixteen galaxies that go through a block before any goes through the next: the weights of all blocks do not fit
/// into the second level of cache, and come from further away once for all of these.
pub(crate) const GROUPS: usize = 2;

#[derive(Debug)]
pub(crate) struct Transformer {
    width: usize,
    heads: usize,
    embed: Weights,
    /// Class token with its position, `[width]`.
    class: Vec<f32>,
    /// Positions of the patches, `[patches, width]`.
    positions: Vec<f32>,
    blocks: Vec<Block>,
}

/// A block. Scale and shift of its norms are folded into the layers that follow them, and so is the scale of the
/// attention's scores.
#[derive(Debug)]
struct Block {
    qkv: Linear,
    proj: Linear,
    /// The two grouped 1×1 convolutions of the parallel branch, a pair of small layers for every group.
    parallel: Vec<[Weights; 2]>,
    fc1: Linear,
    fc2: Linear,
}

/// Memory that a forward pass works in.
#[derive(Debug)]
pub(crate) struct Scratch {
    /// Of each of [`GROUPS`] groups, `[tokens, width]`; so is `normed`.
    tokens: Vec<Lanes>,
    normed: Vec<Lanes>,
    qkv: Vec<Lanes>,
    scores: Vec<Lanes>,
    parallel: Vec<Lanes>,
    hidden: Vec<Lanes>,
    /// Means over the patches, of what is between the last MLP's layers and of the tokens.
    hidden_mean: Vec<Lanes>,
    mean: Vec<Lanes>,
}

impl Transformer {
    pub fn load(reader: &Reader<'_>, config: &Config, precision: Precision, set: Set) -> Result<Self, Error> {
        let width = config.width;
        let mut class = reader.take("cls_token")?;
        let mut positions = reader.take("pos_embed")?;
        class.iter_mut().zip(&positions[..width]).for_each(|(class, position)| *class += position);
        positions.drain(..width);
        let embed = reader.layer("patch_embed.proj")?.packed();
        let block = |index| Block::load(reader, config, index, &|layer: &Layer| Linear::new(layer, precision, set));
        let blocks = (0..config.depth).map(block).collect::<Result<_, _>>()?;
        Ok(Self { width, heads: config.heads, embed, class, positions, blocks })
    }

    pub fn pack<'a>(&'a self, packer: &mut Packer<'a>) {
        packer.weights("embed", &self.embed);
        packer.numbers("class".to_owned(), vec![self.class.len()], &self.class[..]);
        packer.numbers("positions".to_owned(), vec![self.positions.len()], &self.positions[..]);
        for (index, block) in self.blocks.iter().enumerate() {
            for (name, layer) in [("qkv", &block.qkv), ("proj", &block.proj), ("fc1", &block.fc1), ("fc2", &block.fc2)]
            {
                packer.linear(&format!("blocks.{index}.{name}"), layer);
            }
            for half in 0..2 {
                let layers: Vec<&Weights> = block.parallel.iter().map(|pair| &pair[half]).collect();
                packer.groups(&format!("blocks.{index}.parallel.{half}"), &layers);
            }
        }
    }

    pub fn unpack(unpacker: &Unpacker<'_>, config: &Config) -> Result<Self, Error> {
        let (width, patches, mlp) = (config.width, config.tokens() - 1, config.mlp);
        let (groups, channels) = (config.pcm_groups, config.pcm_channels / config.pcm_groups);
        let block = |index| {
            let name = |part: &str| format!("blocks.{index}.{part}");
            let first = unpacker.groups(&name("parallel.0"), groups, width / groups, channels)?;
            let second = unpacker.groups(&name("parallel.1"), groups, channels, width / groups)?;
            Ok(Block {
                qkv: unpacker.linear(&name("qkv"), width, 3 * width)?,
                proj: unpacker.linear(&name("proj"), width, width)?,
                parallel: first.into_iter().zip(second).map(<[Weights; 2]>::from).collect(),
                fc1: unpacker.linear(&name("fc1"), width, mlp)?,
                fc2: unpacker.linear(&name("fc2"), mlp, width)?,
            })
        };
        Ok(Self {
            width,
            heads: config.heads,
            embed: unpacker.weights("embed", config.bands * config.patch * config.patch, width)?,
            class: unpacker.numbers("class", width)?,
            positions: unpacker.numbers("positions", patches * width)?,
            blocks: (0..config.depth).map(block).collect::<Result<_, Error>>()?,
        })
    }

    /// For up to so many groups at a time.
    pub fn scratch(&self, groups: usize) -> Scratch {
        let (width, patches) = (self.width, self.positions.len() / self.width);
        let tokens = patches + 1;
        let mlp = self.blocks.iter().map(|block| block.fc1.outputs()).max().unwrap_or(0);
        let small = self.blocks.iter().flat_map(|block| &block.parallel);
        let parallel = small.map(|[first, _]| first.outputs()).max().unwrap_or(0);
        let zeros = |size: usize| vec![Lanes::ZERO; size];
        Scratch {
            tokens: zeros(groups * tokens * width),
            normed: zeros(groups * tokens * width),
            qkv: zeros(tokens * 3 * width),
            scores: zeros(tokens * tokens),
            parallel: zeros(patches * parallel),
            hidden: zeros(MLP_ROWS * mlp),
            hidden_mean: zeros(mlp),
            mean: zeros(width),
        }
    }

    /// Embeds the `images`, `[patches, bands·patch·patch]`, of one group.
    pub fn embed(
        &self,
        set: Set,
        images: &[Lanes],
        group: usize,
        scratch: &mut Scratch,
        observe: &mut dyn FnMut(Stage, &[Lanes]),
    ) {
        let (width, patches, each) = (self.width, self.patches(), self.tokens() * self.width);
        let tokens = &mut scratch.tokens[group * each..][..each];
        let begin = self.class.iter().chain(&self.positions);
        tokens.iter_mut().zip(begin).for_each(|(token, begin)| *token = Lanes([*begin; LANES]));
        let pixels = Rows::new(images, patches, self.embed.inputs());
        multiply(set, pixels, &self.embed, &mut tokens[width..], width, Then::Add);
        observe(Stage::PatchEmbed, tokens);
    }

    /// Normalised means of the patch tokens of the groups that were embedded, `[groups, width]`, into `out`.
    pub fn forward(
        &self,
        set: Set,
        groups: usize,
        scratch: &mut Scratch,
        reduced: &mut reduced::Scratch,
        out: &mut [Lanes],
        observe: &mut dyn FnMut(Stage, &[Lanes]),
    ) {
        let (width, patches, each) = (self.width, self.patches(), self.tokens() * self.width);
        for (index, block) in self.blocks.iter().enumerate() {
            let is_last = index + 1 == self.blocks.len();
            // The class token has served when the patches of the last block have attended to it.
            let (served, rows) = if is_last { (width, patches) } else { (0, self.tokens()) };
            let of_groups = scratch.tokens.chunks_exact_mut(each).zip(scratch.normed.chunks_exact_mut(each));
            for (tokens, normed) in of_groups.take(groups) {
                layer_norm(set, tokens, width, LAYER_NORM_EPSILON, normed);
                block.qkv.apply(set, normed, self.tokens(), reduced, &mut scratch.qkv, Then::Store);
                observe(Stage::Queries(index), &scratch.qkv);

                // The parallel branch sees the block's input, which nothing else needs any more.
                block.parallel(set, &mut tokens[width..], patches, width, &mut scratch.parallel);
                observe(Stage::Parallel(index), tokens);

                let heads = Heads { width, count: self.heads };
                attention(set, &scratch.qkv, self.tokens(), heads, &mut scratch.scores, normed);
                observe(Stage::Attention(index), normed);
                let (tokens, normed) = (&mut tokens[served..], &mut normed[served..]);
                block.proj.apply(set, normed, rows, reduced, tokens, Then::Add);
                observe(Stage::Projection(index), tokens);
                layer_norm(set, tokens, width, LAYER_NORM_EPSILON, normed);
            }
            if is_last {
                break;
            }
            let (tokens, normed) = (&mut scratch.tokens[..groups * each], &scratch.normed[..groups * each]);
            let together = MLP_ROWS * width;
            for (normed, tokens) in normed.chunks(together).zip(tokens.chunks_mut(together)) {
                let rows = normed.len() / width;
                block.fc1.apply(set, normed, rows, reduced, &mut scratch.hidden, Then::StoreGelu);
                block.fc2.apply(set, &scratch.hidden, rows, reduced, tokens, Then::Add);
            }
            tokens.chunks_exact(each).for_each(|tokens| observe(Stage::Block(index), tokens));
        }
        for (group, out) in out.chunks_exact_mut(width).take(groups).enumerate() {
            self.mean(set, group, scratch, reduced);
            observe(Stage::Mean, &scratch.mean);
            layer_norm(set, &scratch.mean, width, LAYER_NORM_EPSILON, out);
            observe(Stage::Transformer, out);
        }
    }

    /// The mean over the patches of the last block's tokens: nobody asks for the tokens themselves. The MLP's second
    /// layer is linear, so it takes the mean of what the first one gives, a row where there would be sixteen.
    fn mean(&self, set: Set, group: usize, scratch: &mut Scratch, reduced: &mut reduced::Scratch) {
        let (width, patches, each) = (self.width, self.patches(), self.tokens() * self.width);
        let patches_of = group * each + width..(group + 1) * each;
        let share = 1.0 / patches.max(1) as f32;
        scratch.mean.fill(Lanes::ZERO);
        add_rows(set, &scratch.tokens[patches_of.clone()], patches, width, share, &mut scratch.mean);
        let Some(block) = self.blocks.last() else { return };
        let mlp = block.fc1.outputs();
        scratch.hidden_mean[..mlp].fill(Lanes::ZERO);
        for normed in scratch.normed[patches_of].chunks(MLP_ROWS * width) {
            let rows = normed.len() / width;
            block.fc1.apply(set, normed, rows, reduced, &mut scratch.hidden, Then::StoreGelu);
            add_rows(set, &scratch.hidden, rows, mlp, share, &mut scratch.hidden_mean);
        }
        block.fc2.apply(set, &scratch.hidden_mean, 1, reduced, &mut scratch.mean, Then::Add);
    }

    fn patches(&self) -> usize {
        self.positions.len() / self.width
    }

    /// The patches and the class token.
    fn tokens(&self) -> usize {
        self.patches() + 1
    }
}

impl Block {
    fn load(
        reader: &Reader<'_>,
        config: &Config,
        index: usize,
        packed: &dyn Fn(&Layer) -> Linear,
    ) -> Result<Self, Error> {
        let p = format!("blocks.{index}.");
        let width = config.width;
        let mut bias = reader.take(&format!("{p}attn.q_bias"))?;
        bias.extend(std::iter::repeat_n(0.0, width));
        bias.extend(reader.take(&format!("{p}attn.v_bias"))?);
        let qkv = Layer { weight: reader.take(&format!("{p}attn.qkv.weight"))?, bias };
        let mut qkv = reader.after_norm(&format!("{p}norm1"), qkv)?;
        // One over the square root of a head's dimension: a power of two where heads are published ones.
        let scale = 1.0 / ((width / config.heads) as f64).sqrt();
        for q in qkv.weight[..width * width].iter_mut().chain(&mut qkv.bias[..width]) {
            *q = (f64::from(*q) * scale) as f32;
        }
        let groups = config.pcm_groups;
        let first = reader.folded(&format!("{p}PCM.0"), &format!("{p}PCM.1"))?.groups(groups);
        let second = reader.layer(&format!("{p}PCM.3"))?.groups(groups);
        Ok(Self {
            qkv: packed(&qkv),
            proj: packed(&reader.layer(&format!("{p}attn.proj"))?),
            parallel: first.into_iter().zip(second).map(<[Weights; 2]>::from).collect(),
            fc1: packed(&reader.after_norm(&format!("{p}norm2"), reader.layer(&format!("{p}mlp.fc1"))?)?),
            fc2: packed(&reader.layer(&format!("{p}mlp.fc2"))?),
        })
    }

    /// Adds the parallel branch to its own input: a group reads the columns that it writes, and no others.
    fn parallel(&self, set: Set, patches: &mut [Lanes], count: usize, width: usize, hidden: &mut [Lanes]) {
        let mut column = 0;
        for [first, second] in &self.parallel {
            bottleneck(set, &mut patches[column..], count, width, [first, second], hidden);
            column += second.outputs();
        }
    }
}
