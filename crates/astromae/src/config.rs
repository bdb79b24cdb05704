//! The dimensions of a model, read off the shapes of its weights.

use std::collections::HashMap;

use crate::error::Error;
use crate::source::{Tensor, TensorSource};

/// Dimension of an attention head unless the file says how many heads there are.
const HEAD_DIMENSION: usize = 64;

/// One Inception block: branches 1×1, 1×1→3×3, (1×1→5×5) and 3×3 max pooling→1×1, all with as many channels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockConfig {
    /// Its number in `vis_inception`; numbers that are left out are 2×2 average poolings.
    pub index: usize,
    /// Input channels.
    pub inputs: usize,
    /// Output channels of each branch.
    pub branch: usize,
    /// Whether it has the 5×5 branch.
    pub has_five: bool,
}

impl BlockConfig {
    /// Output channels of all branches together.
    pub fn outputs(&self) -> usize {
        self.branch * if self.has_five { 4 } else { 3 }
    }

    /// Sides of its square windows.
    pub(crate) fn kernels(&self) -> impl Iterator<Item = usize> {
        [3, 5].into_iter().take(1 + usize::from(self.has_five))
    }
}

/// All dimensions of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Pixels along a side of a cutout.
    pub side: usize,
    /// Bands.
    pub bands: usize,
    /// Pixels along a side of a patch.
    pub patch: usize,
    /// Width of a token.
    pub width: usize,
    /// Transformer blocks.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// Hidden width of a block's MLP.
    pub mlp: usize,
    /// Groups of the parallel convolution branch.
    pub pcm_groups: usize,
    /// Channels between its two convolutions.
    pub pcm_channels: usize,
    /// Outputs of `head`.
    pub head: usize,
    /// Outputs of `vit_block.0` and `vit_block.2`.
    pub vit: [usize; 2],
    /// Channels after the first convolution of the Inception branch.
    pub stem: usize,
    /// Its blocks, in order.
    pub inception: Vec<BlockConfig>,
    /// Outputs of its two linear layers.
    pub vis: [usize; 2],
    /// Outputs of the linear layers of the magnitude branch.
    pub magnitudes: Vec<usize>,
    /// Hidden width of the fusion head.
    pub fusion: usize,
}

impl Default for Config {
    /// The published model.
    fn default() -> Self {
        let block = |index, inputs, branch, has_five| BlockConfig { index, inputs, branch, has_five };
        Self {
            side: 32,
            bands: 5,
            patch: 8,
            width: 192,
            depth: 12,
            heads: 3,
            mlp: 768,
            pcm_groups: 48,
            pcm_channels: 768,
            head: 192,
            vit: [1096, 1096],
            stem: 32,
            inception: vec![
                block(2, 32, 16, true),
                block(3, 64, 16, true),
                block(5, 64, 8, true),
                block(6, 32, 8, true),
                block(8, 32, 4, false),
            ],
            vis: [1096, 1096],
            magnitudes: vec![1024; 5],
            fusion: 1024,
        }
    }
}

/// Prefix of the Inception network's tensors.
pub(crate) const VIS: &str = "inception_model.vis_inception.";
/// Prefix of the magnitude network's tensors.
pub(crate) const MAGNITUDES: &str = "inception_model.magnitude_block.";

impl Config {
    /// The dimensions of a file's model; how many attention heads it has is its metadata `heads`, or
    /// one for every 64 dimensions of the width.
    ///
    /// # Errors
    /// [`Error::Heads`] if the metadata is not a number; as [`Config::infer`].
    pub fn read(source: &dyn TensorSource) -> Result<Self, Error> {
        let heads = match source.metadata("heads") {
            Some(text) => Some(text.trim().parse().map_err(|_| Error::Heads { found: text })?),
            None => None,
        };
        Self::infer(&source.tensors(), heads)
    }

    /// Reads the dimensions off the shapes, and checks every tensor that the forward pass needs.
    ///
    /// `heads` is how many attention heads the file says there are; without it a head has 64 dimensions. Tensors that
    /// the forward pass does not need are ignored. Where a shape that a dimension is read off is missing itself, the
    /// published model's takes its place, so that the message lists what is really wrong.
    ///
    /// # Errors
    /// [`Error::Tensors`] names every tensor that is missing or has another shape.
    pub fn infer(tensors: &[Tensor], heads: Option<usize>) -> Result<Self, Error> {
        let shapes: HashMap<&str, &[usize]> =
            tensors.iter().map(|tensor| (tensor.name.as_str(), tensor.shape.as_slice())).collect();
        let dimension = |name: &str, axis: usize, rank: usize| {
            shapes.get(name).filter(|shape| shape.len() == rank).map(|shape| shape[axis]).filter(|&size| size > 0)
        };
        let published = Self::default();
        let vector = |name: &str| dimension(name, 0, 1);
        let width = vector("patch_embed.proj.bias").or(vector("fc_norm.weight")).unwrap_or(published.width);
        let patch = dimension("patch_embed.proj.weight", 2, 4).unwrap_or(published.patch);
        let tokens = dimension("pos_embed", 1, 3).unwrap_or(17).max(2) - 1;
        let block_count = |prefix: &str, suffix: &str| {
            let numbers =
                shapes.keys().filter_map(|name| name.strip_prefix(prefix)?.strip_suffix(suffix)?.parse().ok());
            numbers.collect::<Vec<usize>>()
        };
        let depth = block_count("blocks.", ".norm1.weight").into_iter().max().map_or(published.depth, |last| last + 1);
        let inputs_per_group = dimension("blocks.0.PCM.0.weight", 1, 4).unwrap_or(width / published.pcm_groups).max(1);
        let mut config = Self {
            side: tokens.isqrt() * patch,
            bands: dimension("patch_embed.proj.weight", 1, 4).unwrap_or(published.bands),
            patch,
            width,
            depth,
            heads: heads.unwrap_or(width / HEAD_DIMENSION).max(1),
            mlp: vector("blocks.0.mlp.fc1.bias").unwrap_or(published.mlp),
            pcm_groups: (width / inputs_per_group).max(1),
            pcm_channels: vector("blocks.0.PCM.0.bias").unwrap_or(published.pcm_channels),
            head: vector("head.bias").unwrap_or(published.head),
            vit: [0, 2].map(|k| vector(&format!("vit_block.{k}.bias")).unwrap_or(published.vit[k / 2])),
            stem: vector(&format!("{VIS}0.bias")).unwrap_or(published.stem),
            inception: Vec::new(),
            vis: published.vis,
            magnitudes: Vec::new(),
            fusion: vector("concat_block.0.bias").unwrap_or(published.fusion),
        };
        let mut indices = block_count(VIS, ".branch1.conv.weight");
        indices.sort_unstable();
        let mut inputs = config.stem;
        for &index in &indices {
            let branch = vector(&format!("{VIS}{index}.branch1.conv.bias")).unwrap_or(4);
            let has_five = shapes.contains_key(format!("{VIS}{index}.branch3.1.conv.weight").as_str());
            let block = BlockConfig { index, inputs, branch, has_five };
            inputs = block.outputs();
            config.inception.push(block);
        }
        if config.inception.is_empty() {
            config.inception.clone_from(&published.inception);
        }
        let first = config.first_linear();
        // The published last block has a 5×5 branch that its forward pass leaves out; the layer after it tells.
        let linear_inputs = shapes.get(format!("{VIS}{first}.weight").as_str()).and_then(|shape| shape.get(1)).copied();
        if let Some(last) = config.inception.len().checked_sub(1)
            && config.inception[last].has_five
            && linear_inputs.is_some_and(|inputs| inputs != config.flat())
        {
            config.inception[last].has_five = false;
            // With neither is it right, and the shape of the linear layer is what is wrong.
            config.inception[last].has_five = linear_inputs != Some(config.flat());
        }
        config.vis = [first, first + 2].map(|k| vector(&format!("{VIS}{k}.bias")).unwrap_or(published.vis[0]));
        let mut layers = block_count(MAGNITUDES, ".bias");
        layers.sort_unstable();
        let layer_count = layers.last().map_or(published.magnitudes.len(), |last| last / 2 + 1);
        config.magnitudes =
            (0..layer_count).map(|k| vector(&format!("{MAGNITUDES}{}.bias", 2 * k)).unwrap_or(1024)).collect();
        config.check(&shapes)?;
        Ok(config)
    }

    fn check(&self, shapes: &HashMap<&str, &[usize]>) -> Result<(), Error> {
        let mut problems = Vec::new();
        for Tensor { name, shape } in self.tensors() {
            match shapes.get(name.as_str()) {
                None => problems.push(format!("{name}: missing, expected shape {shape:?}")),
                Some(found) if **found != *shape => {
                    problems.push(format!("{name}: shape {found:?}, expected {shape:?}"));
                }
                Some(_) => {}
            }
        }
        if !self.width.is_multiple_of(self.heads) {
            problems.push(format!("heads: {} do not divide the width {}", self.heads, self.width));
        }
        let (groups, channels) = (self.pcm_groups, self.pcm_channels);
        if !self.width.is_multiple_of(groups) || !channels.is_multiple_of(groups) {
            problems.push(format!("PCM: {groups} groups do not divide {} and {channels} channels", self.width));
        }
        if self.grid() * self.grid() + 1 != self.tokens() || self.last_side() == 0 {
            problems.push(format!("pos_embed: {} tokens do not make a square of patches", self.tokens()));
        }
        if problems.is_empty() { Ok(()) } else { Err(Error::Tensors { problems }) }
    }

    /// Pixels of a galaxy's cutout in all bands.
    pub fn image(&self) -> usize {
        self.bands * self.side * self.side
    }

    /// Patches along a side.
    pub fn grid(&self) -> usize {
        self.side / self.patch
    }

    /// Tokens of a galaxy, the class token among them.
    pub fn tokens(&self) -> usize {
        self.grid() * self.grid() + 1
    }

    /// Whether a 2×2 average pooling follows block `k`.
    pub(crate) fn pools_after(&self, k: usize) -> bool {
        self.inception.get(k + 1).is_some_and(|next| next.index > self.inception[k].index + 1)
    }

    /// Pixels along a side after the last Inception block; the first pooling follows the first convolution.
    pub(crate) fn last_side(&self) -> usize {
        let poolings = (0..self.inception.len()).filter(|&k| self.pools_after(k)).count() + 1;
        self.side >> poolings
    }

    /// Number of the first linear layer in `vis_inception`: after the last block comes `Flatten`.
    pub(crate) fn first_linear(&self) -> usize {
        self.inception.last().map_or(0, |block| block.index) + 2
    }

    /// Values of the Inception branch after `Flatten`.
    pub(crate) fn flat(&self) -> usize {
        self.inception.last().map_or(0, BlockConfig::outputs) * self.last_side() * self.last_side()
    }

    /// Every tensor that the forward pass reads.
    pub fn tensors(&self) -> Vec<Tensor> {
        let mut list = TensorList(Vec::new());
        let (width, kernel) = (self.width, self.patch);
        list.add("cls_token", &[1, 1, width]);
        list.add("pos_embed", &[1, self.tokens(), width]);
        list.conv("patch_embed.proj", self.bands, width, kernel);
        for block in 0..self.depth {
            let p = format!("blocks.{block}.");
            list.vectors(&format!("{p}norm1"), &["weight", "bias"], width);
            list.vectors(&format!("{p}attn"), &["q_bias", "v_bias"], width);
            list.add(&format!("{p}attn.qkv.weight"), &[3 * width, width]);
            list.linear(&format!("{p}attn.proj"), width, width);
            list.conv(&format!("{p}PCM.0"), width / self.pcm_groups, self.pcm_channels, 1);
            list.batch_norm(&format!("{p}PCM.1"), self.pcm_channels);
            list.conv(&format!("{p}PCM.3"), self.pcm_channels / self.pcm_groups, width, 1);
            list.vectors(&format!("{p}norm2"), &["weight", "bias"], width);
            list.linear(&format!("{p}mlp.fc1"), width, self.mlp);
            list.linear(&format!("{p}mlp.fc2"), self.mlp, width);
        }
        list.vectors("fc_norm", &["weight", "bias"], width);
        list.linear("head", width, self.head);
        list.linear("vit_block.0", self.head, self.vit[0]);
        list.linear("vit_block.2", self.vit[0], self.vit[1]);
        list.conv(&format!("{VIS}0"), self.bands, self.stem, 1);
        for block in &self.inception {
            let p = format!("{VIS}{}.", block.index);
            let (inputs, branch) = (block.inputs, block.branch);
            list.conv_bn(&format!("{p}branch1"), inputs, branch, 1);
            list.conv_bn(&format!("{p}branch2.0"), inputs, branch, 1);
            list.conv_bn(&format!("{p}branch2.1"), branch, branch, 3);
            if block.has_five {
                list.conv_bn(&format!("{p}branch3.0"), inputs, branch, 1);
                list.conv_bn(&format!("{p}branch3.1"), branch, branch, 5);
            }
            list.conv_bn(&format!("{p}branch4.1"), inputs, branch, 1);
        }
        let first = self.first_linear();
        list.linear(&format!("{VIS}{first}"), self.flat(), self.vis[0]);
        list.linear(&format!("{VIS}{}", first + 2), self.vis[0], self.vis[1]);
        let mut inputs = self.bands;
        for (k, &outputs) in self.magnitudes.iter().enumerate() {
            list.linear(&format!("{MAGNITUDES}{}", 2 * k), inputs, outputs);
            inputs = outputs;
        }
        list.linear("concat_block.0", self.vit[1] + self.vis[1] + inputs, self.fusion);
        list.linear("concat_block.2", self.fusion, 1);
        list.0
    }

    /// Weights and biases in all.
    pub fn parameters(&self) -> usize {
        self.tensors().iter().map(|tensor| tensor.shape.iter().product::<usize>()).sum()
    }

    /// Multiply-adds per galaxy of the network as published, before anything is merged.
    pub fn multiply_adds(&self) -> usize {
        let (width, tokens, patches) = (self.width, self.tokens(), self.tokens() - 1);
        let embed = patches * self.bands * self.patch * self.patch * width;
        let dense = tokens * (4 * width * width + 2 * width * self.mlp);
        let attention = 2 * tokens * tokens * width;
        let pcm = 2 * patches * width * self.pcm_channels / self.pcm_groups;
        let vit = width * self.head + self.head * self.vit[0] + self.vit[0] * self.vit[1];
        let mut side = self.side;
        let mut vis = side * side * self.bands * self.stem;
        side /= 2;
        for (k, block) in self.inception.iter().enumerate() {
            let ones = block.inputs * block.outputs();
            let squares = block.branch * block.branch * if block.has_five { 9 + 25 } else { 9 };
            vis += side * side * (ones + squares);
            side = if self.pools_after(k) { side / 2 } else { side };
        }
        vis += self.flat() * self.vis[0] + self.vis[0] * self.vis[1];
        let inputs = std::iter::once(self.bands).chain(self.magnitudes.iter().copied());
        let magnitudes: usize = inputs.zip(&self.magnitudes).map(|(i, o)| i * o).sum();
        let fused = self.vit[1] + self.vis[1] + self.magnitudes.last().copied().unwrap_or(0);
        embed + self.depth * (dense + attention + pcm) + vit + vis + magnitudes + fused * self.fusion + self.fusion
    }
}

struct TensorList(Vec<Tensor>);

impl TensorList {
    fn add(&mut self, name: &str, shape: &[usize]) {
        self.0.push(Tensor { name: name.to_owned(), shape: shape.to_vec() });
    }

    fn vectors(&mut self, prefix: &str, names: &[&str], size: usize) {
        names.iter().for_each(|name| self.add(&format!("{prefix}.{name}"), &[size]));
    }

    fn linear(&mut self, prefix: &str, inputs: usize, outputs: usize) {
        self.add(&format!("{prefix}.weight"), &[outputs, inputs]);
        self.add(&format!("{prefix}.bias"), &[outputs]);
    }

    fn conv(&mut self, prefix: &str, inputs: usize, outputs: usize, kernel: usize) {
        self.add(&format!("{prefix}.weight"), &[outputs, inputs, kernel, kernel]);
        self.add(&format!("{prefix}.bias"), &[outputs]);
    }

    fn batch_norm(&mut self, prefix: &str, channels: usize) {
        self.vectors(prefix, &["weight", "bias", "running_mean", "running_var"], channels);
    }

    fn conv_bn(&mut self, prefix: &str, inputs: usize, outputs: usize, kernel: usize) {
        self.conv(&format!("{prefix}.conv"), inputs, outputs, kernel);
        self.batch_norm(&format!("{prefix}.bn"), outputs);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_shapes_give_the_published_dimensions() {
        let published = Config::default();
        assert_eq!(Config::infer(&published.tensors(), None).unwrap(), published);
        // 110.8 M, as measured by others.
        assert_eq!((published.multiply_adds() + 50_000) / 100_000, 1_108);
    }

    #[test]
    fn other_dimensions_are_read_off_the_shapes() {
        let mut small =
            Config { width: 64, depth: 3, heads: 1, mlp: 100, pcm_groups: 16, pcm_channels: 64, ..Config::default() };
        small.vit = [50, 60];
        small.vis = [70, 80];
        small.magnitudes = vec![30, 40];
        small.fusion = 90;
        small.inception[1].branch = 6;
        small.inception[2].inputs = 24;
        assert_eq!(Config::infer(&small.tensors(), None).unwrap(), small);
        let two_heads = Config { heads: 2, ..small.clone() };
        assert_eq!(Config::infer(&small.tensors(), Some(2)).unwrap(), two_heads);
    }

    #[test]
    fn a_branch_that_the_last_block_has_but_does_not_use_is_left_out() {
        let published = Config::default();
        let mut tensors = published.tensors();
        let mut unused = TensorList(Vec::new());
        unused.conv_bn(&format!("{VIS}8.branch3.0"), 32, 4, 1);
        unused.conv_bn(&format!("{VIS}8.branch3.1"), 4, 4, 5);
        tensors.extend(unused.0);
        assert_eq!(Config::infer(&tensors, None).unwrap(), published);
    }

    #[test]
    fn every_missing_or_wrong_tensor_is_named_and_others_are_ignored() {
        let mut tensors = Config::default().tensors();
        tensors.retain(|tensor| tensor.name != "cls_token" && tensor.name != "blocks.7.mlp.fc1.weight");
        for tensor in &mut tensors {
            if tensor.name == "concat_block.2.weight" {
                tensor.shape = vec![1024, 1];
            }
        }
        tensors.push(Tensor { name: "decoder.weight".to_owned(), shape: vec![3] });
        let error = Config::infer(&tensors, None).unwrap_err().to_string();
        assert!(error.contains("3 tensors"), "{error}");
        assert!(error.contains("cls_token: missing, expected shape [1, 1, 192]"), "{error}");
        assert!(error.contains("blocks.7.mlp.fc1.weight: missing, expected shape [768, 192]"), "{error}");
        assert!(error.contains("concat_block.2.weight: shape [1024, 1], expected [1, 1024]"), "{error}");
        assert!(!error.contains("decoder"), "{error}");
    }

    #[test]
    fn something_else_altogether_is_refused_without_a_panic() {
        assert!(Config::infer(&[], None).is_err());
        let odd = |name: &str, shape: &[usize]| Tensor { name: name.to_owned(), shape: shape.to_vec() };
        let tensors =
            [odd("pos_embed", &[1, 0, 0]), odd("patch_embed.proj.weight", &[0, 0, 0, 0]), odd("fc_norm.weight", &[1])];
        assert!(Config::infer(&tensors, Some(0)).is_err());
    }
}
