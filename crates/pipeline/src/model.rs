//! Checkpoint files as the model wants them: named tensors, read one at a time.

use std::error::Error;

use starmap_astromae::{Tensor, TensorSource};
use starmap_partitions::ByteSource;
use starmap_partitions::tensors::TensorFile;

/// A checkpoint file that the model can be loaded from.
#[derive(Debug)]
pub struct CheckpointTensors<S>(TensorFile<S>);

impl<S: ByteSource> CheckpointTensors<S> {
    /// The tensors of a file that is open.
    pub fn new(file: TensorFile<S>) -> Self {
        Self(file)
    }
}

impl<S: ByteSource> TensorSource for CheckpointTensors<S> {
    fn tensors(&self) -> Vec<Tensor> {
        let entries = self.0.entries().iter();
        // A dimension that does not fit into memory's addresses is as wrong as one that is merely too large.
        let shape = |shape: &[u64]| shape.iter().map(|&n| usize::try_from(n).unwrap_or(usize::MAX)).collect();
        entries.map(|entry| Tensor { name: entry.name.clone(), shape: shape(&entry.shape) }).collect()
    }

    fn metadata(&self, key: &str) -> Option<String> {
        self.0.metadata().get(key).cloned()
    }

    fn read(&self, name: &str, out: &mut Vec<f32>) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(self.0.read_f32(name, out)?)
    }
}
