//! Checkpoint files as the model's tensors.

use std::error::Error as StdError;

use starmap_astromae::{Tensor, TensorSource};
use starmap_partitions::ByteSource;
use starmap_partitions::tensors::TensorFile;

/// A checkpoint file that the model can be loaded from.
#[derive(Debug)]
pub struct CheckpointTensors<S>(TensorFile<S>);

impl<S> CheckpointTensors<S> {
    /// The tensors of a file.
    pub fn new(file: TensorFile<S>) -> Self {
        Self(file)
    }
}

impl<S: ByteSource> TensorSource for CheckpointTensors<S> {
    fn tensors(&self) -> Vec<Tensor> {
        let entries = self.0.entries().iter();
        entries.map(|entry| Tensor { name: entry.name.clone(), shape: entry.shape.clone() }).collect()
    }

    fn metadata(&self, key: &str) -> Option<String> {
        self.0.metadata().iter().find(|(name, _)| name == key).map(|(_, value)| value.clone())
    }

    fn read(&self, name: &str, out: &mut Vec<f32>) -> Result<(), Box<dyn StdError + Send + Sync>> {
        Ok(self.0.read_f32(name, out)?)
    }
}
