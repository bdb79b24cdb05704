//! The forward pass over any number of galaxies.

use starmap_kernels::matrix::{Rows, Then, Weights, multiply};

use crate::error::Error;
use crate::model::Model;
use crate::{inception, transformer};

/// Galaxies that go through the transformer together, whatever the caller's batch: large enough for the matrix
/// products, small enough that a block's activations stay near. Chosen by measurement, see BENCHMARKS.md.
pub const MICRO_BATCH: usize = 16;

/// Galaxies that go through the wide linear layers at the end together: the more, the less often their weights (28 MB)
/// come from main memory.
pub const HEAD_BATCH: usize = 64;

/// A point in the forward pass: what [`Predictor::predict_observed`] shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Embedded patches, `[MICRO_BATCH, patches, width]`.
    PatchEmbed,
    /// Tokens after this block: `[MICRO_BATCH, width]` class tokens, then `[MICRO_BATCH, patches, width]`.
    Block(usize),
    /// Mean of the tokens, normalised, `[MICRO_BATCH, width]`.
    Transformer,
    /// Last grid of the Inception branch, `[MICRO_BATCH, side, side, channels]`.
    Inception,
    /// Redshifts, `[HEAD_BATCH]`, after the magnitude branch and the fusion.
    Heads,
}

/// Predicts redshifts with memory that is allocated once, and does not grow with the batch.
///
/// A galaxy's redshift does not depend on the galaxies beside it, on the size of the batch or on its place in it, to
/// the bit: the parts of a batch that go through the network together have a fixed size, the last one is filled up,
/// and no kernel mixes rows.
#[derive(Debug)]
pub struct Predictor<'m> {
    model: &'m Model,
    batch_max: usize,
    transformer: transformer::Scratch,
    inception: inception::Scratch,
    /// A micro-batch of images that is filled up.
    images: Vec<f32>,
    /// Inputs of the three heads, `[HEAD_BATCH, …]`.
    pooled: Vec<f32>,
    grids: Vec<f32>,
    magnitudes: Vec<f32>,
    /// Two vectors per galaxy, each as long as the longest hidden layer.
    hidden: [Vec<f32>; 2],
    fused: Vec<f32>,
    redshifts: Vec<f32>,
}

impl<'m> Predictor<'m> {
    /// A predictor for batches of up to `batch_max` galaxies.
    pub fn new(model: &'m Model, batch_max: usize) -> Self {
        let config = model.config();
        let hidden_layers = model.magnitudes.iter().chain([&model.vit, &model.vis]).map(Weights::outputs);
        let hidden = vec![0.0; HEAD_BATCH * hidden_layers.max().unwrap_or(0)];
        Self {
            batch_max,
            transformer: model.transformer.scratch(MICRO_BATCH),
            inception: model.inception.scratch(),
            images: vec![0.0; MICRO_BATCH * config.image()],
            pooled: vec![0.0; HEAD_BATCH * config.width],
            grids: vec![0.0; HEAD_BATCH * config.flat()],
            magnitudes: vec![0.0; HEAD_BATCH * config.bands],
            hidden: [hidden.clone(), hidden],
            fused: vec![0.0; HEAD_BATCH * config.fusion],
            redshifts: vec![0.0; HEAD_BATCH],
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
    /// The places of a part that is filled up are shown too; of [`Stage::Heads`] they hold whatever was there.
    ///
    /// # Errors
    /// As [`Predictor::predict`].
    pub fn predict_observed(
        &mut self,
        images: &[f32],
        magnitudes: &[f32],
        redshifts: &mut [f32],
        observe: &mut dyn FnMut(Stage, &[f32]),
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
            for (k, images) in images.chunks(MICRO_BATCH * image).enumerate() {
                self.micro_batch(k, images, observe);
            }
            self.magnitudes[..magnitudes.len()].copy_from_slice(magnitudes);
            self.heads();
            observe(Stage::Heads, &self.redshifts);
            redshifts.copy_from_slice(&self.redshifts[..redshifts.len()]);
        }
        Ok(())
    }

    /// Micro-batch k of a head batch, from images to the inputs of the heads.
    fn micro_batch(&mut self, k: usize, images: &[f32], observe: &mut dyn FnMut(Stage, &[f32])) {
        let (model, config) = (self.model, self.model.config());
        let images = if images.len() < self.images.len() {
            self.images.fill(0.0);
            self.images[..images.len()].copy_from_slice(images);
            &self.images
        } else {
            images
        };
        let pooled = &mut self.pooled[k * MICRO_BATCH * config.width..][..MICRO_BATCH * config.width];
        model.transformer.forward(images, MICRO_BATCH, &mut self.transformer, pooled, observe);
        observe(Stage::Transformer, pooled);
        let grids = &mut self.grids[k * MICRO_BATCH * config.flat()..][..MICRO_BATCH * config.flat()];
        for (image, grid) in images.chunks_exact(config.image()).zip(grids.chunks_exact_mut(config.flat())) {
            model.inception.forward(image, &mut self.inception, grid);
        }
        observe(Stage::Inception, grids);
    }

    /// From the inputs of the heads to redshifts.
    fn heads(&mut self) {
        let (model, config) = (self.model, self.model.config());
        let [hidden, spare] = &mut self.hidden;
        let [from_vit, from_vis, from_magnitudes] = &model.fusion;
        let layer = |x: &[f32], weights: &Weights, out: &mut [f32], then: Then| {
            multiply(Rows::new(x, HEAD_BATCH, weights.inputs()), weights, out, weights.outputs(), then);
        };
        layer(&self.pooled, &model.vit, hidden, Then::StoreRelu);
        layer(hidden, from_vit, &mut self.fused, Then::Store);
        layer(&self.grids, &model.vis, hidden, Then::StoreRelu);
        layer(hidden, from_vis, &mut self.fused, Then::Add);
        let (mut now, mut next) = (hidden, spare);
        let mut magnitudes = self.magnitudes.as_slice();
        for weights in &model.magnitudes {
            layer(magnitudes, weights, next, Then::StoreRelu);
            std::mem::swap(&mut now, &mut next);
            magnitudes = &now[..HEAD_BATCH * weights.outputs()];
        }
        layer(magnitudes, from_magnitudes, &mut self.fused, Then::AddRelu);
        debug_assert_eq!(self.fused.len(), HEAD_BATCH * config.fusion);
        layer(&self.fused, &model.last, &mut self.redshifts, Then::Store);
    }
}
