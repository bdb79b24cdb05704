//! NumPy arrays in a zip, as `numpy.savez` writes them (`savez_compressed` compresses, which cannot be read in ranges).
//!
//! # Source
//! The format: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.

use crate::error::Error;
use crate::located::{Dtype, Located, Region};
use crate::source::ByteSource;
use crate::zip::Zip;

const MAGIC: &[u8] = b"\x93NUMPY";
/// A header has about a hundred bytes, and 64 KiB at most in the usual version of the format.
const HEADER_BYTES_MAX: u64 = 64 << 10;
/// More arrays than this are not a partition.
const ARRAYS_MAX: usize = 4_096;

pub(crate) fn is_npz(zip: &Zip) -> bool {
    let mut any = false;
    zip.names().all(|path| {
        any = true;
        path.ends_with(".npy")
    }) && any
}

/// All arrays, by name.
pub(crate) fn tensors(zip: &Zip, source: &dyn ByteSource, name: &str) -> Result<Vec<Located>, Error> {
    let mut paths: Vec<&str> = zip.names().collect();
    paths.sort_unstable();
    if paths.len() > ARRAYS_MAX {
        return Err(Error::format(name, format!("it has {} arrays, expected at most {ARRAYS_MAX}", paths.len())));
    }
    let mut tensors = Vec::with_capacity(paths.len());
    for path in paths {
        let Some(entry) = zip.get(path) else { continue };
        let region = zip.region(source, name, entry)?;
        tensors.push(tensor(source, name, path.strip_suffix(".npy").unwrap_or(path), region)?);
    }
    Ok(tensors)
}

fn tensor(source: &dyn ByteSource, name: &str, label: &str, region: Region) -> Result<Located, Error> {
    let label = label.escape_debug().to_string();
    let wrong = |what: &str| Error::format(name, format!("{label} is not a NumPy array that can be read: {what}"));
    let mut head = vec![0; region.bytes.min(HEADER_BYTES_MAX) as usize];
    source.read_at(region.start, &mut head).map_err(|error| Error::io(name, "reading an array's header", error))?;
    let preamble = head.strip_prefix(MAGIC).ok_or_else(|| wrong("it does not begin as one"))?;
    let (length, from): (usize, usize) = match preamble {
        [1, _, low, high, ..] => (usize::from(u16::from_le_bytes([*low, *high])), 10),
        [2 | 3, _, a, b, c, d, ..] => (u32::from_le_bytes([*a, *b, *c, *d]) as usize, 12),
        _ => return Err(wrong("its version is unknown")),
    };
    let text = from_utf8(head.get(from..from.saturating_add(length))).ok_or_else(|| wrong("its header is too long"))?;
    let descr = field(text, "descr").ok_or_else(|| wrong("its element type is missing"))?;
    let dtype = dtype(descr).ok_or_else(|| {
        let quoted = descr.split('\'').nth(1).unwrap_or("a list of fields");
        let kind: String = quoted.chars().take(24).flat_map(char::escape_debug).collect();
        wrong(&format!("its element type is {kind}, expected a little-endian number\nhint: array.astype('<f4')"))
    })?;
    if !field(text, "fortran_order").is_some_and(|value| value.starts_with("False")) {
        return Err(wrong("its order is column-major, expected row-major\nhint: numpy.ascontiguousarray(array)"));
    }
    let shape = field(text, "shape").and_then(shape).ok_or_else(|| wrong("its shape is missing"))?;
    Located::new(name, label, dtype, shape, None, (from + length) as u64, region)
}

fn from_utf8(bytes: Option<&[u8]>) -> Option<&str> {
    std::str::from_utf8(bytes?).ok()
}

/// What follows a key of the header, which is a Python dictionary in text.
fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("'{key}'"))?;
    Some(rest.trim_start().strip_prefix(':')?.trim_start())
}

fn dtype(descr: &str) -> Option<Dtype> {
    let (code, _) = descr.strip_prefix('\'')?.split_once('\'')?;
    Some(match code {
        "<f8" => Dtype::F64,
        "<f4" => Dtype::F32,
        "<f2" => Dtype::F16,
        "<i8" => Dtype::I64,
        "<i4" => Dtype::I32,
        "<i2" => Dtype::I16,
        "|i1" => Dtype::I8,
        "|u1" => Dtype::U8,
        "|b1" => Dtype::Bool,
        _ => return None,
    })
}

fn shape(text: &str) -> Option<Vec<u64>> {
    let (inside, _) = text.strip_prefix('(')?.split_once(')')?;
    let extents = inside.split(',').map(str::trim).filter(|extent| !extent.is_empty());
    extents.take(64).map(|extent| extent.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_python_dictionaries() {
        let text = "{'descr': '<f4', 'fortran_order': False, 'shape': (100, 5), }      \n";
        assert_eq!(field(text, "descr").and_then(dtype), Some(Dtype::F32));
        assert_eq!(field(text, "shape").and_then(shape), Some(vec![100, 5]));
        assert_eq!(shape("(7,), }"), Some(vec![7]));
        assert_eq!(shape("(), }"), Some(vec![]));
        assert_eq!(shape("(-1,), }"), None);
        assert_eq!(dtype("[('a', '<f4')]"), None);
    }
}
