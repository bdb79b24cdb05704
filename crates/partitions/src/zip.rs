//! Reads the directory of a zip as `torch.save` writes it: stored entries, sizes in the central directory.
//!
//! Own code because a partition is read in ranges over any [`ByteSource`]: we need to know where an entry's bytes are,
//! and that they are stored as they are. Zip64 is understood; compression is not, torch never compresses.

use std::collections::HashMap;

use crate::error::Error;
use crate::located::Region;
use crate::source::ByteSource;

const END_OF_DIRECTORY: u32 = 0x0605_4b50;
const END_OF_DIRECTORY_64: u32 = 0x0606_4b50;
const LOCATOR_64: u32 = 0x0706_4b50;
const DIRECTORY_ENTRY: u32 = 0x0201_4b50;
const LOCAL_HEADER: u32 = 0x0403_4b50;
const END_SIZE: usize = 22;
/// What is read first: with torch's files, the end record and the whole directory of a partition.
const TAIL: u64 = 16 << 10;
/// The end record may be followed by a comment of at most 64 KiB, and preceded by a zip64 locator.
const TAIL_MAX: u64 = END_SIZE as u64 + 65_535 + 20;
/// A checkpoint has some thousand entries of a hundred bytes.
const DIRECTORY_BYTES_MAX: u64 = 16 << 20;

/// One stored file in a zip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub name: String,
    pub size: u64,
    /// 0 is how torch says that it computed none (`torch.serialization.set_crc32_options(False)`).
    pub crc32: u32,
    header_offset: u64,
}

/// The directory of a zip.
#[derive(Debug, Clone)]
pub(crate) struct Zip {
    entries: HashMap<String, Entry>,
    length: u64,
}

impl Zip {
    pub fn open(source: &dyn ByteSource, name: &str) -> Result<Self, Error> {
        let length = source.len();
        let (tail_start, tail, end) = match tail(source, name, length, TAIL)? {
            (start, tail, Some(end)) => (start, tail, end),
            _ => match tail(source, name, length, TAIL_MAX)? {
                (start, tail, Some(end)) => (start, tail, end),
                _ => {
                    let reason = format!("it begins as a zip, but its {length} bytes end without a directory");
                    return Err(Error::truncated(name, reason));
                }
            },
        };
        let mut count = u64::from(u16_at(&tail, end + 10));
        let mut size = u64::from(u32_at(&tail, end + 12));
        let mut offset = u64::from(u32_at(&tail, end + 16));
        if count == 0xffff || size == 0xffff_ffff || offset == 0xffff_ffff {
            let at = end.checked_sub(20).filter(|&at| u32_at(&tail, at) == LOCATOR_64);
            let at = at.ok_or_else(|| Error::format(name, "damaged zip: the zip64 locator is missing"))?;
            let mut record = [0; 56];
            read(source, name, length, u64_at(&tail, at + 8), &mut record)?;
            if u32_at(&record, 0) != END_OF_DIRECTORY_64 {
                return Err(Error::format(name, "damaged zip: the zip64 end record is not where it should be"));
            }
            (count, size, offset) = (u64_at(&record, 32), u64_at(&record, 40), u64_at(&record, 48));
        }
        if offset.checked_add(size).is_none_or(|end| end > length) {
            let reason = format!("its directory of {size} bytes at {offset} is beyond its {length} bytes");
            return Err(Error::truncated(name, reason));
        }
        if size > DIRECTORY_BYTES_MAX {
            let reason = format!("its directory has {size} bytes, expected at most {DIRECTORY_BYTES_MAX}");
            return Err(Error::format(name, reason));
        }
        // Both fit into memory: `size` by the limit above, and a directory inside the tail by being in it.
        let size = size as usize;
        let entries = match offset.checked_sub(tail_start) {
            Some(from) => entries(&tail[from as usize..from as usize + size], count, name)?,
            None => {
                let mut directory = vec![0; size];
                read(source, name, length, offset, &mut directory)?;
                entries(&directory, count, name)?
            }
        };
        Ok(Self { entries, length })
    }

    pub fn get(&self, path: &str) -> Option<&Entry> {
        self.entries.get(path)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Where an entry's bytes are.
    pub fn region(&self, source: &dyn ByteSource, name: &str, entry: &Entry) -> Result<Region, Error> {
        let mut header = [0; 30];
        read(source, name, self.length, entry.header_offset, &mut header)?;
        if u32_at(&header, 0) != LOCAL_HEADER {
            return Err(Error::format(name, format!("damaged zip: {} is not where the directory says", entry.name)));
        }
        let start = entry.header_offset + 30 + u64::from(u16_at(&header, 26)) + u64::from(u16_at(&header, 28));
        if start.checked_add(entry.size).is_none_or(|end| end > self.length) {
            let (entry_name, size, length) = (&entry.name, entry.size, self.length);
            return Err(Error::truncated(
                name,
                format!("{entry_name} has {size} bytes from {start}, the file has {length}"),
            ));
        }
        let crc32 = (entry.crc32 != 0).then_some(entry.crc32);
        Ok(Region { label: entry.name.clone(), start, bytes: entry.size, crc32 })
    }

    /// A small entry as a whole, its checksum verified.
    pub fn read(&self, source: &dyn ByteSource, name: &str, entry: &Entry, bytes_max: u64) -> Result<Vec<u8>, Error> {
        if entry.size > bytes_max {
            let reason = format!("{} has {} bytes, expected at most {bytes_max}", entry.name, entry.size);
            return Err(Error::format(name, reason));
        }
        let region = self.region(source, name, entry)?;
        let mut bytes = vec![0; entry.size as usize];
        read(source, name, self.length, region.start, &mut bytes)?;
        region.check(name, crc32fast::hash(&bytes))?;
        Ok(bytes)
    }
}

/// The last bytes of a file, where they begin, and where in them the end record is.
fn tail(
    source: &dyn ByteSource,
    name: &str,
    length: u64,
    tail_max: u64,
) -> Result<(u64, Vec<u8>, Option<usize>), Error> {
    let bytes = length.min(tail_max);
    // At most `TAIL_MAX`.
    let mut tail = vec![0; bytes as usize];
    source.read_at(length - bytes, &mut tail).map_err(|error| Error::io(name, "reading the end", error))?;
    let end = (0..(tail.len() + 1).saturating_sub(END_SIZE)).rev().find(|&at| {
        u32_at(&tail, at) == END_OF_DIRECTORY && at + END_SIZE + usize::from(u16_at(&tail, at + 20)) == tail.len()
    });
    Ok((length - bytes, tail, end))
}

fn entries(directory: &[u8], count: u64, name: &str) -> Result<HashMap<String, Entry>, Error> {
    let damaged = |what: &str| Error::format(name, format!("damaged zip: {what}"));
    let mut entries = HashMap::new();
    let mut rest = directory;
    for _ in 0..count {
        if rest.len() < 46 || u32_at(rest, 0) != DIRECTORY_ENTRY {
            return Err(damaged("the directory ends before its last entry"));
        }
        let lengths = [28, 30, 32].map(|at| usize::from(u16_at(rest, at)));
        let end = 46 + lengths.iter().sum::<usize>();
        let (Some(entry_name), Some(extra)) =
            (rest.get(46..46 + lengths[0]), rest.get(46 + lengths[0]..46 + lengths[0] + lengths[1]))
        else {
            return Err(damaged("an entry's name is beyond the directory"));
        };
        let entry_name = String::from_utf8_lossy(entry_name).into_owned();
        let (method, flags) = (u16_at(rest, 10), u16_at(rest, 8));
        if flags & 1 != 0 {
            return Err(Error::format(name, format!("{entry_name} is encrypted, expected plain entries")));
        }
        if method != 0 {
            return Err(Error::format(
                name,
                format!(
                    "{entry_name} is compressed (method {method}), expected stored entries\n\
                     hint: save it again with torch.save or numpy.savez (not savez_compressed), which do not compress"
                ),
            ));
        }
        let (compressed, mut size) = (u32_at(rest, 20), u64::from(u32_at(rest, 24)));
        let mut header_offset = u64::from(u32_at(rest, 42));
        let mut wide = zip64_fields(extra).into_iter();
        if size == 0xffff_ffff {
            size = wide.next().ok_or_else(|| damaged("a zip64 size is missing"))?;
        }
        if compressed == 0xffff_ffff {
            wide.next();
        }
        if header_offset == 0xffff_ffff {
            header_offset = wide.next().ok_or_else(|| damaged("a zip64 offset is missing"))?;
        }
        let entry = Entry { name: entry_name.clone(), size, crc32: u32_at(rest, 16), header_offset };
        if entries.insert(entry_name, entry).is_some() {
            return Err(damaged("two entries have the same name"));
        }
        rest = rest.get(end..).ok_or_else(|| damaged("the directory ends inside an entry"))?;
    }
    Ok(entries)
}

/// The 64-bit numbers of a zip64 extra field, in order.
fn zip64_fields(mut extra: &[u8]) -> Vec<u64> {
    while extra.len() >= 4 {
        let (id, size) = (u16_at(extra, 0), usize::from(u16_at(extra, 2)));
        let Some(data) = extra.get(4..4 + size) else { break };
        if id == 1 {
            return data.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
        }
        extra = &extra[4 + size..];
    }
    Vec::new()
}

fn read(source: &dyn ByteSource, name: &str, length: u64, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
    if offset.checked_add(buffer.len() as u64).is_none_or(|end| end > length) {
        let count = buffer.len();
        return Err(Error::truncated(name, format!("{count} bytes are expected at {offset}, the file has {length}")));
    }
    source.read_at(offset, buffer).map_err(|error| Error::io(name, "reading the zip's directory", error))
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |bytes| u16::from_le_bytes([bytes[0], bytes[1]]))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
