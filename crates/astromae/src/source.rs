//! Where weights come from.

use std::error::Error as StdError;

/// Name and shape of a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// As in the state dict, without a `module.` prefix.
    pub name: String,
    /// Its dimensions, outermost first.
    pub shape: Vec<usize>,
}

/// Named tensors, read one at a time so that no more than one is in memory twice.
///
/// Implementors: `read` replaces the contents of `out` with exactly as many values as the shape says, row-major.
pub trait TensorSource {
    /// All tensors, in any order.
    fn tensors(&self) -> Vec<Tensor>;

    /// What the file says beside its tensors; `heads` is asked for.
    fn metadata(&self, key: &str) -> Option<String>;

    /// Reads one tensor as `f32`.
    ///
    /// # Errors
    /// Whatever went wrong, with the tensor's name.
    fn read(&self, name: &str, out: &mut Vec<f32>) -> Result<(), Box<dyn StdError + Send + Sync>>;
}
