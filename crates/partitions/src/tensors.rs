//! Checkpoint files as named tensors.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::archive::{self, Format};
use crate::error::Error;
use crate::located::Located;
use crate::pickle::Kind;
use crate::source::ByteSource;

pub use crate::safetensors::{SafetensorsWriter, TensorEntry};

/// An open checkpoint: a `.pt` (a whole module, a state dict, or a training checkpoint with one inside), safetensors
/// or `.npz`. What it is is told from the content.
///
/// Names are those of PyTorch's state dict; the `module.` in front of them that `DataParallel` adds is taken away if
/// all have it. Tensors are read when asked for.
#[derive(Debug)]
pub struct TensorFile<S> {
    source: S,
    name: String,
    format: Format,
    tensors: Vec<Located>,
    entries: Vec<TensorEntry>,
    places: HashMap<String, usize>,
    metadata: BTreeMap<String, String>,
}

impl<S: ByteSource> TensorFile<S> {
    /// Opens a checkpoint and reads its list of tensors. `name` is what errors call the file.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn open(source: S, name: &str) -> Result<Self, Error> {
        let contents = archive::open(&source, name, Kind::Checkpoint)?;
        let entry = |tensor: &Located| TensorEntry {
            name: tensor.label.clone(),
            shape: tensor.shape.clone(),
            dtype: tensor.dtype,
        };
        let entries: Vec<TensorEntry> = contents.tensors.iter().map(entry).collect();
        let places = entries.iter().enumerate().map(|(index, entry)| (entry.name.clone(), index)).collect();
        let (format, tensors, metadata) = (contents.format, contents.tensors, contents.metadata);
        Ok(Self { source, name: name.to_owned(), format, tensors, entries, places, metadata })
    }

    /// Of what kind the file is.
    pub fn format(&self) -> Format {
        self.format
    }

    /// All tensors, in the file's order.
    pub fn entries(&self) -> &[TensorEntry] {
        &self.entries
    }

    /// Text that a safetensors file carries beside its tensors; empty for other formats.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Reads a tensor in row-major order, whatever its strides, converted to single precision (integers beyond 2²⁴ are
    /// rounded). Replaces what is in `values`.
    ///
    /// # Errors
    /// [`Error::Format`] if there is no such tensor, [`Error::Checksum`] if it fills its part of the file and that is
    /// damaged, [`Error::Truncated`], [`Error::Io`].
    pub fn read_f32(&self, tensor: &str, values: &mut Vec<f32>) -> Result<(), Error> {
        let mut bytes = Vec::new();
        let located = self.read(tensor, &mut bytes)?;
        let dtype = located.dtype;
        values.clear();
        values.extend(bytes.chunks_exact(dtype.bytes() as usize).map(|element| dtype.to_f64(element) as f32));
        Ok(())
    }

    /// Reads a tensor in row-major order, whatever its strides, as the little-endian bytes of its element type.
    /// Replaces what is in `bytes`.
    ///
    /// # Errors
    /// As [`read_f32`](Self::read_f32).
    pub fn read_bytes(&self, tensor: &str, bytes: &mut Vec<u8>) -> Result<(), Error> {
        self.read(tensor, bytes).map(drop)
    }

    /// Reads a tensor to where it belongs, without a copy on the way, as the little-endian bytes of its element type.
    ///
    /// # Errors
    /// [`Error::Format`] if there is no such tensor, it has another number of bytes, or it is not stored row-major; as
    /// [`read_f32`](Self::read_f32) for the rest.
    pub fn read_into(&self, tensor: &str, out: &mut [u8]) -> Result<(), Error> {
        let located = self.located(tensor)?;
        if located.strides.is_some() || located.bytes() != out.len() as u64 {
            let reason = format!("{tensor} has {} bytes, expected {} in a row", located.bytes(), out.len());
            return Err(Error::format(&self.name, reason));
        }
        self.source.read_at(located.offset, out).map_err(|error| Error::io(&self.name, "reading a tensor", error))?;
        if located.is_all_of_its_region() { located.region.check(&self.name, crc32fast::hash(out)) } else { Ok(()) }
    }

    /// Compares all checksums.
    ///
    /// # Errors
    /// [`Error::Checksum`] names the damaged entry; [`Error::Truncated`], [`Error::Io`].
    pub fn verify(&self) -> Result<(), Error> {
        let mut seen = HashSet::new();
        for region in self.tensors.iter().map(|tensor| &tensor.region) {
            if seen.insert(region.start) {
                region.verify_from(&self.source, &self.name, crc32fast::Hasher::new(), region.start)?;
            }
        }
        Ok(())
    }

    fn located(&self, tensor: &str) -> Result<&Located, Error> {
        let place = self.places.get(tensor).ok_or_else(|| {
            let reason = format!("it has no tensor called {tensor}; it has {}", self.entries.len());
            Error::format(&self.name, reason)
        })?;
        Ok(&self.tensors[*place])
    }

    fn read(&self, tensor: &str, bytes: &mut Vec<u8>) -> Result<&Located, Error> {
        let located = self.located(tensor)?;
        let too_large = |_| Error::format(&self.name, format!("{tensor} is too large for this machine"));
        let size = usize::try_from(located.dtype.bytes()).map_err(too_large)?;
        let span = located.span_bytes();
        bytes.clear();
        bytes.resize(usize::try_from(span).map_err(too_large)?, 0);
        self.source.read_at(located.offset, bytes).map_err(|error| Error::io(&self.name, "reading a tensor", error))?;
        if located.is_all_of_its_region() {
            located.region.check(&self.name, crc32fast::hash(bytes))?;
        }
        if let Some(strides) = &located.strides {
            let mut ordered = Vec::with_capacity(usize::try_from(located.bytes()).map_err(too_large)?);
            let mut index = vec![0; strides.len()];
            for _ in 0..located.elements() {
                let at: u64 = index.iter().zip(strides).map(|(index, stride)| index * stride).sum();
                // Inside of the span, which is in memory.
                let at = at as usize * size;
                ordered.extend(&bytes[at..at + size]);
                for axis in (0..index.len()).rev() {
                    index[axis] += 1;
                    if index[axis] < located.shape[axis] {
                        break;
                    }
                    index[axis] = 0;
                }
            }
            *bytes = ordered;
        }
        Ok(located)
    }
}
