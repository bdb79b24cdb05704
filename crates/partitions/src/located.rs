//! Tensors as places in a file: what, of which shape, and at which byte.

use std::fmt;

use crate::error::Error;
use crate::source::ByteSource;

/// Bytes read and converted at a time; fits a second-level cache beside what it is converted to.
pub(crate) const CHUNK: usize = 128 << 10;

/// Element types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// IEEE double precision.
    F64,
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of a single.
    Bf16,
    /// Signed, 8 bytes.
    I64,
    /// Signed, 4 bytes.
    I32,
    /// Signed, 2 bytes.
    I16,
    /// Signed, 1 byte.
    I8,
    /// Unsigned, 1 byte.
    U8,
    /// One byte, 0 or 1.
    Bool,
}

impl Dtype {
    /// All there are.
    pub const ALL: [Self; 10] =
        [Self::F64, Self::F32, Self::F16, Self::Bf16, Self::I64, Self::I32, Self::I16, Self::I8, Self::U8, Self::Bool];

    /// Size of one element.
    pub fn bytes(self) -> u64 {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::Bf16 | Self::I16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }

    /// As PyTorch and NumPy call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F64 => "float64",
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
            Self::I64 => "int64",
            Self::I32 => "int32",
            Self::I16 => "int16",
            Self::I8 => "int8",
            Self::U8 => "uint8",
            Self::Bool => "bool",
        }
    }

    /// The element that `bytes` begins with, as a double; exact except for integers beyond 2⁵³.
    pub(crate) fn to_f64(self, bytes: &[u8]) -> f64 {
        match self {
            Self::F64 => f64::from_le_bytes(first(bytes)),
            Self::F32 => f64::from(f32::from_le_bytes(first(bytes))),
            Self::F16 => f64::from(half(u16::from_le_bytes(first(bytes)))),
            Self::Bf16 => f64::from(f32::from_bits(u32::from(u16::from_le_bytes(first(bytes))) << 16)),
            Self::I64 => i64::from_le_bytes(first(bytes)) as f64,
            Self::I32 => f64::from(i32::from_le_bytes(first(bytes))),
            Self::I16 => f64::from(i16::from_le_bytes(first(bytes))),
            Self::I8 => f64::from(i8::from_le_bytes(first(bytes))),
            Self::U8 | Self::Bool => f64::from(bytes[0]),
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
    *bytes.first_chunk().expect("callers cut elements by `Dtype::bytes`")
}

/// Half precision to single precision, exact.
fn half(bits: u16) -> f32 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f32::from(bits & 0x3ff));
    sign * match exponent {
        0 => fraction * 2f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1.0 + fraction / 1024.0) * 2f32.powi(exponent - 15),
    }
}

/// Bytes of a file that share a checksum: an entry of a zip, or all tensors of a safetensors file (which has none).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Region {
    pub label: String,
    pub start: u64,
    pub bytes: u64,
    pub crc32: Option<u32>,
}

impl Region {
    pub fn end(&self) -> u64 {
        self.start + self.bytes
    }

    /// Compares a checksum with the one in the file, if that has one.
    pub fn check(&self, name: &str, found: u32) -> Result<(), Error> {
        match self.crc32 {
            Some(expected) if expected != found => {
                Err(Error::Checksum { name: name.to_owned(), entry: self.label.clone(), found, expected })
            }
            _ => Ok(()),
        }
    }

    /// Reads on from `from` with a checksum of what comes before it, and compares at the end.
    pub fn verify_from(
        &self,
        source: &dyn ByteSource,
        name: &str,
        mut hasher: crc32fast::Hasher,
        mut from: u64,
    ) -> Result<(), Error> {
        if self.crc32.is_none() {
            return Ok(());
        }
        let mut chunk = vec![0; CHUNK.min(usize::try_from(self.end() - from).unwrap_or(CHUNK))];
        while from < self.end() {
            let count = chunk.len().min(usize::try_from(self.end() - from).unwrap_or(CHUNK));
            source.read_at(from, &mut chunk[..count]).map_err(|error| Error::io(name, "reading a tensor", error))?;
            hasher.update(&chunk[..count]);
            from += count as u64;
        }
        self.check(name, hasher.finalize())
    }
}

/// A tensor in a file.
///
/// Whoever makes one has checked that all its elements are inside its region and that there are no more of them than
/// the region has room for, so that sizes computed from `shape` are at most the file's.
#[derive(Debug, Clone)]
pub(crate) struct Located {
    /// How errors call it: its name, or "tensor 0".
    pub label: String,
    pub dtype: Dtype,
    pub shape: Vec<u64>,
    /// In elements; `None` if row-major without gaps.
    pub strides: Option<Vec<u64>>,
    /// Of the first element, from the beginning of the file.
    pub offset: u64,
    pub region: Region,
}

impl Located {
    /// Makes one after checking what [`Located`] promises.
    pub fn new(
        file: &str,
        label: String,
        dtype: Dtype,
        shape: Vec<u64>,
        strides: Option<Vec<u64>>,
        offset_in_region: u64,
        region: Region,
    ) -> Result<Self, Error> {
        let beyond = || {
            let (entry, bytes) = (&region.label, region.bytes);
            let reason = format!("{label} ({dtype} {shape:?}) does not fit into {entry}, which has {bytes} bytes");
            Error::format(file, reason)
        };
        let count = product(&shape).ok_or_else(beyond)?;
        let strides = strides.filter(|strides| !is_contiguous(&shape, strides));
        let last = match &strides {
            _ if count == 0 => 0,
            None => count - 1,
            Some(strides) => {
                let steps = shape.iter().zip(strides).map(|(extent, stride)| (extent - 1).checked_mul(*stride));
                steps.sum::<Option<u64>>().ok_or_else(beyond)?
            }
        };
        let within = |elements: u64| {
            let bytes = elements.checked_mul(dtype.bytes())?;
            offset_in_region.checked_add(bytes).filter(|end| *end <= region.bytes)
        };
        let last_fits = within(if count == 0 { 0 } else { last.saturating_add(1) }).is_some();
        // More elements than room means that some are stored once and repeated (`expand`).
        if !last_fits || within(count).is_none() {
            return Err(beyond());
        }
        Ok(Self { dtype, shape, strides, offset: region.start + offset_in_region, region, label })
    }

    pub fn elements(&self) -> u64 {
        self.shape.iter().product()
    }

    pub fn bytes(&self) -> u64 {
        self.elements() * self.dtype.bytes()
    }

    /// From the first element to the end of the last.
    pub fn span_bytes(&self) -> u64 {
        let steps =
            |strides: &Vec<u64>| self.shape.iter().zip(strides).map(|(extent, stride)| (extent - 1) * stride).sum();
        match &self.strides {
            Some(strides) if self.elements() > 0 => {
                let last: u64 = steps(strides);
                (last + 1) * self.dtype.bytes()
            }
            _ => self.bytes(),
        }
    }

    pub fn is_all_of_its_region(&self) -> bool {
        self.strides.is_none() && self.offset == self.region.start && self.bytes() == self.region.bytes
    }
}

fn product(shape: &[u64]) -> Option<u64> {
    shape.iter().try_fold(1u64, |product, extent| product.checked_mul(*extent))
}

/// Row-major without gaps; the stride of an extent of one does not matter.
fn is_contiguous(shape: &[u64], strides: &[u64]) -> bool {
    let mut expected = Some(1u64);
    for (extent, stride) in shape.iter().zip(strides).rev() {
        if *extent != 1 && expected != Some(*stride) {
            return shape.contains(&0);
        }
        expected = expected.and_then(|expected| expected.checked_mul(*extent));
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_exact() {
        let cases = [
            (0x0000, 0.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0400, 6.103_515_6e-5),
            (0x0001, 5.960_464_5e-8),
            (0x7c00, f32::INFINITY),
            (0x3555, 0.333_251_95),
        ];
        for (bits, expected) in cases {
            assert_eq!(half(bits), expected, "{bits:04x}");
        }
        assert!(half(0x7e00).is_nan());
        assert_eq!(Dtype::Bf16.to_f64(&[0xc0, 0x3f]), 1.5);
    }

    fn region(bytes: u64) -> Region {
        Region { label: "data/0".into(), start: 64, bytes, crc32: None }
    }

    fn tensor(shape: &[u64], strides: &[u64], offset: u64, bytes: u64) -> Result<Located, Error> {
        Located::new("f", "x".into(), Dtype::F32, shape.to_vec(), Some(strides.to_vec()), offset, region(bytes))
    }

    #[test]
    fn elements_are_inside_of_their_region() {
        assert!(tensor(&[2, 3], &[3, 1], 0, 24).unwrap().strides.is_none());
        assert!(tensor(&[3, 2], &[1, 3], 0, 24).unwrap().strides.is_some());
        assert!(tensor(&[1, 5], &[77, 1], 4, 24).unwrap().strides.is_none());
        assert_eq!(
            tensor(&[2, 3], &[3, 1], 0, 23).unwrap_err().to_string(),
            "f: x (float32 [2, 3]) does not fit into data/0, which has 23 bytes"
        );
        assert!(tensor(&[2, 3], &[3, 1], 1, 24).is_err());
        assert!(tensor(&[2, 3], &[4, 1], 0, 24).is_err());
        assert!(tensor(&[1 << 40], &[0], 0, 24).is_err(), "expanded");
        assert!(tensor(&[u64::MAX, u64::MAX], &[1, 1], 0, 24).is_err());
        assert!(tensor(&[2, 2], &[u64::MAX, u64::MAX], 0, 24).is_err());
        assert_eq!(tensor(&[0, 3], &[3, 1], 0, 0).unwrap().elements(), 0);
    }
}
