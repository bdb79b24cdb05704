//! The forward pass over any number of galaxies.

use starmap_kernels::lanes::side_by_side;
use starmap_kernels::matrix::{Rows, Then, Weights, multiply};
use starmap_kernels::{LANES, Lanes, Set, reduced};

use crate::error::Error;
use crate::model::Model;
use crate::precision::Linear;
use crate::{inception, transformer};

/// Galaxies that go through the wide linear layers at the end together: the more, the less often their weights (28 MB)
/// come from main memory. Everything before works on a few times sixteen, whatever the caller's batch.
pub const HEAD_BATCH: usize = 256;
/// The same, in groups that are computed side by side.
const HEAD_GROUPS: usize = HEAD_BATCH / LANES;

/// A point in the forward pass: what [`Predictor::predict_observed`] shows. Each shows what was computed since the one
/// before, for sixteen galaxies; [`Stage::Heads`] for as many times sixteen as there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The images, `[patches, bands, patch, patch]`.
    Images,
    /// The class token and the embedded patches with their positions, `[tokens, width]`.
    PatchEmbed,
    /// Queries, keys and values of this block, `[tokens, 3·width]`.
    Queries(usize),
    /// Tokens after the parallel branch, `[tokens, width]`.
    Parallel(usize),
    /// What the tokens attended to, `[tokens, width]`.
    Attention(usize),
    /// Tokens after the attention's projection, `[tokens, width]`; of the last block the patches alone.
    Projection(usize),
    /// Tokens after the block, `[tokens, width]`; not of the last one.
    Block(usize),
    /// Mean over the patches after the last block, `[width]`.
    Mean,
    /// The same, normalised.
    Transformer,
    /// A grid of the Inception branch after its k-th block, `[side, side, channels]`.
    Inception(usize),
    /// Redshifts, after the magnitude branch and the fusion.
    Heads,
}

/// Predicts redshifts with memory that is allocated once, and does not grow with the batch.
///
/// A galaxy's redshift does not depend on the galaxies beside it, on the size of the batch or on its place in it, to
/// the bit: no kernel mixes lanes or rows.
#[derive(Debug)]
pub struct Predictor<'m> {
    model: &'m Model,
    set: Set,
    batch_max: usize,
    transformer: transformer::Scratch,
    inception: inception::Scratch,
    /// Sixteen galaxies side by side, `[patches, bands, patch, patch]`.
    images: Vec<Lanes>,
    /// Inputs of the three heads, `[HEAD_GROUPS, …]`.
    pooled: Vec<Lanes>,
    grids: Vec<Lanes>,
    magnitudes: Vec<Lanes>,
    /// Two vectors per group, each as long as the longest hidden layer.
    hidden: [Vec<Lanes>; 2],
    fused: Vec<Lanes>,
    redshifts: Vec<Lanes>,
    /// Inputs of layers that multiply in fewer bits.
    reduced: reduced::Scratch,
}

impl<'m> Predictor<'m> {
    /// A predictor for batches of up to `batch_max` galaxies, with the kernels that are best for this CPU.
    pub fn new(model: &'m Model, batch_max: usize) -> Self {
        Self::with_kernels(model, batch_max, Set::best())
    }

    /// A predictor that computes with the given kernels.
    pub fn with_kernels(model: &'m Model, batch_max: usize, set: Set) -> Self {
        let config = model.config();
        let groups = batch_max.div_ceil(LANES).clamp(1, HEAD_GROUPS);
        let zeros = |size: usize| vec![Lanes::ZERO; size];
        let of_magnitudes = model.magnitudes.iter().map(Linear::outputs);
        let hidden_layers = of_magnitudes.chain([&model.vit, &model.vis].map(Weights::outputs));
        let hidden = groups * hidden_layers.max().unwrap_or(0);
        Self {
            set,
            batch_max,
            transformer: model.transformer.scratch(groups.min(transformer::GROUPS)),
            inception: model.inception.scratch(),
            images: zeros(config.image()),
            pooled: zeros(groups * config.width),
            grids: zeros(groups * config.flat()),
            magnitudes: zeros(groups * config.bands),
            hidden: [zeros(hidden), zeros(hidden)],
            fused: zeros(groups * config.fusion),
            redshifts: zeros(groups),
            reduced: reduced::Scratch::new(groups.max(config.tokens()), model.reduced_inputs()),
            model,
        }
    }

    /// Predicts the redshift of every galaxy in a batch.
    ///
    /// - `images`: `[n, 5, 32, 32]`, row-major; bands u, g, r, i, z; scaled as in training.
    /// - `magnitudes`: `[n, 5]` in mag, same band order.
    /// - `redshifts`: `[n]`, redshift z (dimensionless), in input order; NaN for a galaxy whose input has a NaN.
    ///
    /// A model of other dimensions asks for its own bands and sides. Nothing is allocated.
    ///
    /// # Errors
    /// [`Error::Batch`] if n is more than the predictor was made for, [`Error::Shape`] if a length differs. Nothing is
    /// written then.
    pub fn predict(&mut self, images: &[f32], magnitudes: &[f32], redshifts: &mut [f32]) -> Result<(), Error> {
        self.predict_observed(images, magnitudes, redshifts, &mut |_, _| {})
    }

    /// Predicts, and shows what is computed on the way: for tests against the reference and for timing.
    ///
    /// Lanes without a galaxy hold what the last one has.
    ///
    /// # Errors
    /// As [`Predictor::predict`].
    pub fn predict_observed(
        &mut self,
        images: &[f32],
        magnitudes: &[f32],
        redshifts: &mut [f32],
        observe: &mut dyn FnMut(Stage, &[Lanes]),
    ) -> Result<(), Error> {
        let config = self.model.config();
        let (image, bands, galaxies) = (config.image(), config.bands, redshifts.len());
        if galaxies > self.batch_max {
            return Err(Error::Batch { galaxies, batch_max: self.batch_max });
        }
        for (what, found, each) in [("images", images.len(), image), ("magnitudes", magnitudes.len(), bands)] {
            if found != galaxies * each {
                return Err(Error::Shape { what, found, expected: galaxies * each, galaxies });
            }
        }
        let parts = images.chunks(HEAD_BATCH * image).zip(magnitudes.chunks(HEAD_BATCH * bands));
        for ((images, magnitudes), redshifts) in parts.zip(redshifts.chunks_mut(HEAD_BATCH)) {
            for (group, magnitudes) in magnitudes.chunks(LANES * bands).enumerate() {
                side_by_side(magnitudes, bands, &mut self.magnitudes[group * bands..], |band| band);
            }
            let together = transformer::GROUPS;
            for (at, images) in images.chunks(together * LANES * image).enumerate() {
                self.branches(at * together, images, observe);
            }
            let groups = redshifts.len().div_ceil(LANES);
            self.heads(groups);
            observe(Stage::Heads, &self.redshifts[..groups]);
            for (redshifts, lanes) in redshifts.chunks_mut(LANES).zip(&self.redshifts) {
                redshifts.copy_from_slice(&lanes.0[..redshifts.len()]);
            }
        }
        Ok(())
    }

    /// Up to [`transformer::GROUPS`] times sixteen galaxies, from images to the inputs of the heads; `first` is the first
    /// group's place.
    fn branches(&mut self, first: usize, images: &[f32], observe: &mut dyn FnMut(Stage, &[Lanes])) {
        let (model, config, set) = (self.model, self.model.config(), self.set);
        let (side, patch, bands, grid) = (config.side, config.patch, config.bands, config.grid());
        // A patch's pixels lie together, in the order of the embedding's weights.
        let pixel = |band: usize, y: usize, x: usize| {
            let (token, row, column) = (y / patch * grid + x / patch, y % patch, x % patch);
            ((token * bands + band) * patch + row) * patch + column
        };
        let place = |i: usize| pixel(i / side / side, i / side % side, i % side);
        let mut groups = 0;
        for images in images.chunks(LANES * config.image()) {
            side_by_side(images, config.image(), &mut self.images, place);
            observe(Stage::Images, &self.images);
            model.transformer.embed(set, &self.images, groups, &mut self.transformer, observe);
            let flat = &mut self.grids[(first + groups) * config.flat()..][..config.flat()];
            model.inception.forward(set, &self.images, pixel, &mut self.inception, flat, observe);
            groups += 1;
        }
        let pooled = &mut self.pooled[first * config.width..];
        model.transformer.forward(set, groups, &mut self.transformer, &mut self.reduced, pooled, observe);
    }

    /// From the inputs of the heads to redshifts.
    fn heads(&mut self, groups: usize) {
        let (model, set) = (self.model, self.set);
        let [hidden, spare] = &mut self.hidden;
        let [from_vit, from_vis, from_magnitudes] = &model.fusion;
        let layer = |x: &[Lanes], weights: &Weights, out: &mut [Lanes], then: Then| {
            multiply(set, Rows::new(x, groups, weights.inputs()), weights, out, weights.outputs(), then);
        };
        layer(&self.pooled, &model.vit, hidden, Then::StoreRelu);
        layer(hidden, from_vit, &mut self.fused, Then::Store);
        layer(&self.grids, &model.vis, hidden, Then::StoreRelu);
        layer(hidden, from_vis, &mut self.fused, Then::Add);
        let (mut now, mut next) = (hidden, spare);
        let mut magnitudes = self.magnitudes.as_slice();
        for weights in &model.magnitudes {
            weights.apply(set, magnitudes, groups, &mut self.reduced, next, Then::StoreRelu);
            std::mem::swap(&mut now, &mut next);
            magnitudes = &now[..groups * weights.outputs()];
        }
        layer(magnitudes, from_magnitudes, &mut self.fused, Then::AddRelu);
        layer(&self.fused, &model.last, &mut self.redshifts, Then::Store);
    }
}
