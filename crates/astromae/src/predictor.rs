//! The forward pass over any number of galaxies.

use std::sync::Arc;

use starmap_kernels::elementwise::relu;

use crate::error::Error;
use crate::model::Model;
use crate::{inception, transformer};

/// Galaxies that go through the network together, whatever the caller's batch: large enough for the matrix products,
/// small enough that a block's activations stay in the second-level cache. Chosen by measurement, see BENCHMARKS.md.
pub const MICRO_BATCH: usize = 16;

/// Predicts redshifts with memory that is allocated once.
///
/// A galaxy's redshift does not depend on the galaxies beside it, on the size of the batch or on its place in it: every
/// micro-batch has the same size, the last one is filled up.
#[derive(Debug)]
pub struct Predictor {
    model: Arc<Model>,
    transformer: transformer::Scratch,
    inception: inception::Scratch,
    images: Vec<f32>,
    magnitudes: Vec<f32>,
    pooled: Vec<f32>,
    /// Two vectors per galaxy, each as long as the longest hidden layer.
    hidden: [Vec<f32>; 2],
    fused: Vec<f32>,
    redshifts: Vec<f32>,
}

impl Predictor {
    /// A predictor for a model.
    pub fn new(model: Arc<Model>) -> Self {
        let config = model.config();
        let n = MICRO_BATCH;
        let longest = config.magnitudes.iter().copied().chain([config.vit[0], config.vis[0], config.bands]).max();
        let hidden = vec![0.0; n * longest.unwrap_or(0)];
        Self {
            transformer: model.transformer.scratch(n),
            inception: model.inception.scratch(n),
            images: vec![0.0; n * config.bands * config.side * config.side],
            magnitudes: vec![0.0; n * config.bands],
            pooled: vec![0.0; n * config.width],
            hidden: [hidden.clone(), hidden],
            fused: vec![0.0; n * config.fusion],
            redshifts: vec![0.0; n],
            model,
        }
    }

    /// Predicts the redshift of every galaxy in a batch.
    ///
    /// - `images`: `[n, 5, 32, 32]`, row-major; bands u, g, r, i, z; scaled as in training.
    /// - `magnitudes`: `[n, 5]` in mag, same band order.
    /// - `redshifts`: `[n]`, redshift z (dimensionless), in input order; NaN for a galaxy whose input has a NaN.
    ///
    /// (For a model of other dimensions: its own bands and side.)
    ///
    /// # Errors
    /// [`Error::Shape`] if a length differs; nothing is written then.
    pub fn predict(&mut self, images: &[f32], magnitudes: &[f32], redshifts: &mut [f32]) -> Result<(), Error> {
        let config = self.model.config();
        let (image, bands, galaxies) = (config.bands * config.side * config.side, config.bands, redshifts.len());
        for (what, found, each) in [("images", images.len(), image), ("magnitudes", magnitudes.len(), bands)] {
            if found != galaxies * each {
                return Err(Error::Shape { what, found, expected: galaxies * each, galaxies });
            }
        }
        let batches = images.chunks(MICRO_BATCH * image).zip(magnitudes.chunks(MICRO_BATCH * bands));
        for ((images, magnitudes), redshifts) in batches.zip(redshifts.chunks_mut(MICRO_BATCH)) {
            if redshifts.len() < MICRO_BATCH {
                self.images.fill(0.0);
                self.images[..images.len()].copy_from_slice(images);
                self.magnitudes.fill(0.0);
                self.magnitudes[..magnitudes.len()].copy_from_slice(magnitudes);
                let (images, magnitudes) = (std::mem::take(&mut self.images), std::mem::take(&mut self.magnitudes));
                self.forward(&images, &magnitudes);
                (self.images, self.magnitudes) = (images, magnitudes);
            } else {
                self.forward(images, magnitudes);
            }
            redshifts.copy_from_slice(&self.redshifts[..redshifts.len()]);
        }
        Ok(())
    }

    /// One full micro-batch into `self.redshifts`.
    fn forward(&mut self, images: &[f32], magnitudes: &[f32]) {
        let (model, n) = (&self.model, MICRO_BATCH);
        let [hidden, spare] = &mut self.hidden;
        let [from_vit, from_vis, from_magnitudes] = &model.fusion;

        model.transformer.forward(images, n, &mut self.transformer, &mut self.pooled);
        model.vit.apply(&self.pooled, n, hidden);
        relu(&mut hidden[..n * model.vit.outputs]);
        from_vit.apply(hidden, n, &mut self.fused);

        model.inception.forward(images, n, &mut self.inception, hidden);
        debug_assert_eq!(model.inception.outputs(), from_vis.inputs, "checked when the model was loaded");
        from_vis.apply_add(hidden, n, &mut self.fused);

        hidden[..magnitudes.len()].copy_from_slice(magnitudes);
        let (mut now, mut next) = (hidden, spare);
        for layer in &model.magnitudes {
            layer.apply(now, n, next);
            relu(&mut next[..n * layer.outputs]);
            std::mem::swap(&mut now, &mut next);
        }
        from_magnitudes.apply_add(now, n, &mut self.fused);

        relu(&mut self.fused);
        model.last.apply(&self.fused, n, &mut self.redshifts);
    }
}
