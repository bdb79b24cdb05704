//! What can be wrong with weights and inputs.

use std::error::Error as StdError;

/// Problems that are written out in one message; the rest is counted.
const SHOWN_MAX: usize = 30;

/// See the [module](self).
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The tensors are not those of an AstroMAE model; every problem is listed.
    #[error("the checkpoint is not a complete AstroMAE model, {} tensors are missing or wrong:\n  {}", .problems.len(), shown(.problems))]
    Tensors {
        /// One line per tensor.
        problems: Vec<String>,
    },
    /// The metadata `heads` is not a number.
    #[error("metadata heads is {found:?}, expected the number of attention heads")]
    Heads {
        /// What is there.
        found: String,
    },
    /// A tensor can't be read.
    #[error("tensor {name}")]
    Read {
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// A weight is NaN or infinite.
    #[error(
        "tensor {name}: value {index} is {value}, expected finite weights\nhint: the training diverged, or the file is damaged"
    )]
    NotFinite {
        /// The tensor.
        name: String,
        /// Row-major position in it.
        index: usize,
        /// What is there.
        value: f32,
    },
    /// More galaxies than the predictor was made for.
    #[error("a batch of {galaxies} galaxies, expected at most {batch_max}")]
    Batch {
        /// Galaxies asked for.
        galaxies: usize,
        /// What was promised to [`Predictor::new`](crate::Predictor::new).
        batch_max: usize,
    },
    /// An input slice does not have the size that the number of galaxies asks for.
    #[error("{what} has {found} values, expected {expected} for {galaxies} galaxies")]
    Shape {
        /// Which one.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The length it must have.
        expected: usize,
        /// Galaxies asked for.
        galaxies: usize,
    },
}

fn shown(problems: &[String]) -> String {
    let mut text = problems.iter().take(SHOWN_MAX).map(String::as_str).collect::<Vec<_>>().join("\n  ");
    if problems.len() > SHOWN_MAX {
        text = format!("{text}\n  and {} more", problems.len() - SHOWN_MAX);
    }
    text
}
