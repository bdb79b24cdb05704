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
mod predictor;
pub mod recipe;
mod source;
mod transformer;

pub use config::{BlockConfig, Config};
pub use error::Error;
pub use model::Model;
pub use predictor::{HEAD_BATCH, MICRO_BATCH, Predictor, Stage};
pub use source::{Tensor, TensorSource};
/// Which copy of the kernels this CPU gets.
pub use starmap_kernels::level as kernel_level;
