//! Reads and writes safetensors: the length of a header, the header in JSON, the tensors.
//!
//! Own code because the `safetensors` crate checks a header against the whole file in memory, and here only the header
//! is read; the rules are the same: little-endian, row-major, no holes, nothing after the last tensor.
//!
//! # Source
//! The format: <https://huggingface.co/docs/safetensors/index>.

use std::collections::BTreeMap;
use std::io::Write;

use serde_json::{Map, Value, json};

use crate::error::Error;
use crate::located::{Dtype, Located, Region};
use crate::source::ByteSource;

/// A model of some thousand tensors has a header of some hundred KB; the reference implementation allows 100 MB.
const HEADER_BYTES_MAX: u64 = 16 << 20;
/// Key of the header under which there is text instead of a tensor.
const METADATA: &str = "__metadata__";

/// Tensors in the order in which they are in the file, and the metadata.
pub(crate) fn read(source: &dyn ByteSource, name: &str) -> Result<(Vec<Located>, BTreeMap<String, String>), Error> {
    let length = source.len();
    let mut prefix = [0; 8];
    source.read_at(0, &mut prefix).map_err(|error| Error::io(name, "reading the header's length", error))?;
    let header_bytes = u64::from_le_bytes(prefix);
    if header_bytes > HEADER_BYTES_MAX {
        let reason = format!("its header is said to have {header_bytes} bytes, expected at most {HEADER_BYTES_MAX}");
        return Err(Error::format(name, reason));
    }
    let data_start = 8 + header_bytes;
    if data_start > length {
        let reason = format!("its header ends at {data_start}, the file has {length} bytes");
        return Err(Error::truncated(name, reason));
    }
    let mut header = vec![0; header_bytes as usize];
    source.read_at(8, &mut header).map_err(|error| Error::io(name, "reading the header", error))?;
    let header: Map<String, Value> = serde_json::from_slice(&header)
        .map_err(|error| Error::format(name, format!("its header is not a JSON object: {error}")))?;

    let data = Region { label: "the data".to_owned(), start: data_start, bytes: length - data_start, crc32: None };
    let mut metadata = BTreeMap::new();
    let mut tensors = Vec::with_capacity(header.len());
    for (key, value) in &header {
        if key == METADATA {
            let texts = value.as_object().into_iter().flatten();
            metadata.extend(texts.filter_map(|(key, text)| Some((key.clone(), text.as_str()?.to_owned()))));
        } else {
            tensors.push(tensor(name, key, value, &data)?);
        }
    }
    tensors.sort_by_key(|tensor| (tensor.offset, tensor.bytes()));
    let mut next = data_start;
    for tensor in &tensors {
        if tensor.offset != next {
            let (label, offset) = (&tensor.label, tensor.offset);
            let reason = format!("{label} begins at {offset}, expected {next}: tensors overlap or leave a hole");
            return Err(Error::format(name, reason));
        }
        next += tensor.bytes();
    }
    if next != length {
        return Err(Error::format(name, format!("{} bytes follow its last tensor, expected none", length - next)));
    }
    Ok((tensors, metadata))
}

fn tensor(name: &str, key: &str, value: &Value, data: &Region) -> Result<Located, Error> {
    let label = key.escape_debug().to_string();
    let wrong = |what: String| Error::format(name, format!("{label}: {what}"));
    let code = value["dtype"].as_str().unwrap_or_default();
    let dtype = Dtype::ALL.into_iter().find(|dtype| code_of(*dtype) == code);
    let dtype = dtype.ok_or_else(|| {
        let known = Dtype::ALL.map(code_of).join(", ");
        wrong(format!("its element type is {}, expected one of {known}", value["dtype"]))
    })?;
    let numbers = |key: &str| -> Option<Vec<u64>> { value[key].as_array()?.iter().map(Value::as_u64).collect() };
    let shape = numbers("shape").filter(|shape| shape.len() <= 64);
    let shape = shape.ok_or_else(|| wrong(format!("its shape is {}, expected a list of integers", value["shape"])))?;
    let offsets = numbers("data_offsets");
    let Some(&[begin, end]) = offsets.as_deref().filter(|offsets| offsets.len() == 2 && offsets[0] <= offsets[1])
    else {
        return Err(wrong(format!("its data_offsets are {}, expected [begin, end]", value["data_offsets"])));
    };
    if end > data.bytes {
        let (start, have) = (data.start + begin, data.end());
        return Err(Error::truncated(
            name,
            format!("{label} has {} bytes from {start}, the file has {have}", end - begin),
        ));
    }
    let tensor = Located::new(name, label.clone(), dtype, shape, None, begin, data.clone())?;
    if tensor.bytes() != end - begin {
        let (shape, bytes) = (&tensor.shape, tensor.bytes());
        return Err(wrong(format!("{dtype} {shape:?} takes {bytes} bytes, its data_offsets have {}", end - begin)));
    }
    Ok(tensor)
}

fn code_of(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::F64 => "F64",
        Dtype::F32 => "F32",
        Dtype::F16 => "F16",
        Dtype::Bf16 => "BF16",
        Dtype::I64 => "I64",
        Dtype::I32 => "I32",
        Dtype::I16 => "I16",
        Dtype::I8 => "I8",
        Dtype::U8 => "U8",
        Dtype::Bool => "BOOL",
    }
}

/// Writes a safetensors file tensor by tensor; nothing is kept but the names.
///
/// Tensors are ordered as the reference implementation orders them: wider elements first, then by name. Equal tensors
/// and metadata give equal bytes.
///
/// ```
/// use std::collections::BTreeMap;
/// use starmap_partitions::Dtype;
/// use starmap_partitions::tensors::{SafetensorsWriter, TensorEntry};
///
/// let entries = vec![TensorEntry { name: "bias".into(), shape: vec![2], dtype: Dtype::F32 }];
/// let mut writer = SafetensorsWriter::new(Vec::new(), "demo.safetensors", entries, &BTreeMap::new())?;
/// for entry in writer.entries().to_vec() {
///     assert_eq!(entry.name, "bias");
///     writer.push_f32(&[1.0, 2.0])?;
/// }
/// let file = writer.finish()?;
/// # Ok::<_, starmap_partitions::Error>(())
/// ```
#[derive(Debug)]
pub struct SafetensorsWriter<W> {
    out: W,
    name: String,
    entries: Vec<TensorEntry>,
    pushed: usize,
    buffer: Vec<u8>,
}

/// Name, shape and element type of a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorEntry {
    /// As in PyTorch's state dict, without the `module.` of `DataParallel`.
    pub name: String,
    /// Extents, outermost first; empty for a scalar.
    pub shape: Vec<u64>,
    /// Of the elements in the file.
    pub dtype: Dtype,
}

impl TensorEntry {
    /// Elements in it.
    pub fn elements(&self) -> u64 {
        self.shape.iter().product()
    }

    /// Bytes that it takes in a file.
    pub fn bytes(&self) -> u64 {
        self.elements() * self.dtype.bytes()
    }
}

impl<W: Write> SafetensorsWriter<W> {
    /// Writes the header. `name` is what errors call the file.
    ///
    /// # Errors
    /// [`Error::Format`] if a name is there twice or is `__metadata__`; [`Error::Io`].
    pub fn new(
        mut out: W,
        name: &str,
        mut entries: Vec<TensorEntry>,
        metadata: &BTreeMap<String, String>,
    ) -> Result<Self, Error> {
        entries.sort_by(|a, b| b.dtype.bytes().cmp(&a.dtype.bytes()).then_with(|| a.name.cmp(&b.name)));
        let mut header = Map::new();
        if !metadata.is_empty() {
            header.insert(METADATA.to_owned(), json!(metadata));
        }
        let mut begin = 0;
        for entry in &entries {
            let end = begin + entry.bytes();
            let value = json!({"dtype": code_of(entry.dtype), "shape": entry.shape, "data_offsets": [begin, end]});
            if entry.name == METADATA || header.insert(entry.name.clone(), value).is_some() {
                return Err(Error::format(name, format!("{} cannot be the name of another tensor", entry.name)));
            }
            begin = end;
        }
        let mut text = Value::Object(header).to_string();
        text.extend(std::iter::repeat_n(' ', text.len().next_multiple_of(8) - text.len()));
        let prefix = (text.len() as u64).to_le_bytes();
        let written = out.write_all(&prefix).and_then(|()| out.write_all(text.as_bytes()));
        written.map_err(|error| Error::io(name, "writing the header", error))?;
        Ok(Self { out, name: name.to_owned(), entries, pushed: 0, buffer: Vec::new() })
    }

    /// All tensors in the order in which they have to be pushed.
    pub fn entries(&self) -> &[TensorEntry] {
        &self.entries
    }

    /// Writes the next tensor from its little-endian bytes.
    ///
    /// # Errors
    /// [`Error::Format`] if these are not its bytes by their count, or there is no next tensor; [`Error::Io`].
    pub fn push_bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let Some(entry) = self.entries.get(self.pushed) else {
            return Err(Error::format(&self.name, format!("all {} tensors have been written", self.pushed)));
        };
        if entry.bytes() != bytes.len() as u64 {
            let reason = format!("{} takes {} bytes, {} were given", entry.name, entry.bytes(), bytes.len());
            return Err(Error::format(&self.name, reason));
        }
        self.out.write_all(bytes).map_err(|error| Error::io(&self.name, "writing a tensor", error))?;
        self.pushed += 1;
        Ok(())
    }

    /// Writes the next tensor, which is one of float32.
    ///
    /// # Errors
    /// As [`push_bytes`](Self::push_bytes).
    pub fn push_f32(&mut self, values: &[f32]) -> Result<(), Error> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        buffer.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        let pushed = match self.entries.get(self.pushed) {
            Some(entry) if entry.dtype != Dtype::F32 => {
                let reason = format!("{} has elements of {}, float32 was given", entry.name, entry.dtype);
                Err(Error::format(&self.name, reason))
            }
            _ => self.push_bytes(&buffer),
        };
        self.buffer = buffer;
        pushed
    }

    /// Ends the file.
    ///
    /// # Errors
    /// [`Error::Format`] if a tensor has not been pushed; [`Error::Io`].
    pub fn finish(mut self) -> Result<W, Error> {
        if let Some(missing) = self.entries.get(self.pushed) {
            return Err(Error::format(&self.name, format!("{} has not been written", missing.name)));
        }
        self.out.flush().map_err(|error| Error::io(&self.name, "writing the last tensor", error))?;
        Ok(self.out)
    }
}
