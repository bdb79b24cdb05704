//! Tells the file formats apart by their first bytes and lists the tensors in them.

use std::collections::BTreeMap;
use std::fmt;

use crate::error::Error;
use crate::located::Located;
use crate::pickle::Kind;
use crate::source::ByteSource;
use crate::torch::Torch;
use crate::zip::Zip;
use crate::{npy, safetensors};

/// What people have instead, and what the file begins with.
const OTHERS: [(&[u8], &str); 5] = [
    (b"\x93NUMPY", "a single NumPy array"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"SIMPLE  =", "a FITS file"),
    (b"PAR1", "a Parquet file"),
    (b"\x1f\x8b", "compressed with gzip"),
];

/// The tensors of one file, with names. A partition in a tuple has none; its names are then the positions.
#[derive(Debug)]
pub(crate) struct Contents {
    pub format: Format,
    pub tensors: Vec<Located>,
    pub metadata: BTreeMap<String, String>,
}

/// File formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A zip as `torch.save` writes it.
    Pt,
    /// A header in JSON, then tensors.
    Safetensors,
    /// A zip of NumPy arrays.
    Npz,
}

impl Format {
    /// As in the file's ending.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pt => "pt",
            Self::Safetensors => "safetensors",
            Self::Npz => "npz",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Reads the structure of a file, and no tensor.
pub(crate) fn open(source: &dyn ByteSource, name: &str, kind: Kind) -> Result<Contents, Error> {
    let length = source.len();
    let mut first = [0; 16];
    let first = &mut first[..usize::try_from(length).unwrap_or(16).min(16)];
    source.read_at(0, first).map_err(|error| Error::io(name, "reading the beginning", error))?;
    let without_metadata = |format, tensors| Contents { format, tensors, metadata: BTreeMap::new() };
    if first.starts_with(b"PK\x03\x04") || first.starts_with(b"PK\x05\x06") {
        let zip = Zip::open(source, name)?;
        if npy::is_npz(&zip) {
            return Ok(without_metadata(Format::Npz, npy::tensors(&zip, source, name)?));
        }
        let mut torch = Torch::open(zip, source, name, kind)?;
        let tensors = match kind {
            Kind::Partition => torch.partition(source, name)?,
            Kind::Checkpoint => torch.checkpoint(source, name)?,
        };
        return Ok(without_metadata(Format::Pt, tensors));
    }
    if first.get(8) == Some(&b'{') {
        let (tensors, metadata) = safetensors::read(source, name)?;
        return Ok(Contents { format: Format::Safetensors, tensors, metadata });
    }
    Err(unknown(name, first))
}

fn unknown(name: &str, first: &[u8]) -> Error {
    let what = OTHERS.iter().find(|(magic, _)| first.starts_with(magic)).map(|(_, what)| *what);
    let reason = if first.is_empty() {
        "the file is empty, expected a .pt (a zip as torch.save writes it), .safetensors or .npz file\n\
         hint: copy or download the file again"
            .to_owned()
    } else if first[0] == 0x80 {
        "not a zip but a bare pickle, the format of PyTorch before 1.6\n\
         hint: load it with PyTorch and save it again with torch.save, if you trust where it comes from"
            .to_owned()
    } else if let Some(what) = what {
        format!(
            "not a zip but {what}, expected a .pt (torch.save), .safetensors or .npz file\n\
             hint: read it with Python and save torch.utils.data.TensorDataset(images, magnitudes, redshifts) with torch.save"
        )
    } else {
        let first = &first[..first.len().min(8)];
        format!(
            "not a zip: it begins with \"{}\", expected a .pt (torch.save), .safetensors or .npz file",
            first.escape_ascii()
        )
    };
    Error::format(name, reason)
}
