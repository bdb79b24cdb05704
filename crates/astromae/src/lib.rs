//! AstroMAE: photometric redshifts from five-band cutouts and magnitudes.
//!
//! A vision transformer with a parallel convolution branch in every block, an Inception network, and a
//! magnitude network, fused by two linear layers. [`Config`] is read off the shapes of the weights,
//! [`Model`] holds them as the forward pass wants them, [`Predictor`] predicts.
//!
//! # Source
//! `UVA-MLSys/AI-for-Astronomy`, code/Anomaly Detection/blocks/model_vit_inception.py; agreement with it is
//! asserted in `tests/reference`.

mod config;
mod error;
mod inception;
mod model;
pub mod packed;
mod precision;
mod predictor;
pub mod recipe;
mod source;
mod transformer;

pub use config::{BlockConfig, Config};
pub use error::Error;
pub use model::Model;
pub use precision::Precision;
pub use predictor::{HEAD_BATCH, Predictor, Stage};
pub use source::{Tensor, TensorSource};
/// What the forward pass is made of: which kernel sets there are, which one is best, how fast the CPU could be.
pub use starmap_kernels as kernels;
