//! Partition and checkpoint files: bytes to galaxies and tensors, and the other way.
//!
//! Files are data. A `.pt` is a zip with a pickle in it; the pickle is read by a restricted reader that builds
//! inert values and runs nothing ([`pickle`]). Tensors are read in ranges, so memory does not grow with the file.

mod archive;
mod error;
mod located;
mod npy;
mod partition;
pub mod pickle;
mod safetensors;
pub mod size;
mod source;
pub mod split;
pub mod tensors;
mod torch;
mod writer;
mod zip;

pub use archive::Format;
pub use error::Error;
pub use located::Dtype;
pub use partition::{BANDS, Batch, IMAGE, Partition, SIDE};
pub use source::ByteSource;
pub use writer::PtWriter;
