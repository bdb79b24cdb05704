//! Writes partitions as `torch.save` would.

use std::io::{self, Seek, SeekFrom, Write};

use crate::error::Error;
use crate::located::Dtype;
use crate::partition::{BANDS, IMAGE, SIDE};

/// torch begins every storage at a multiple of this.
const ALIGNMENT: u64 = 64;
/// Id of the extra field that fills the space before a storage.
const PADDING_ID: &[u8; 2] = b"FB";
const LOCAL_HEADER_BYTES: u64 = 30;
/// Sizes and offsets from here on take the 64-bit fields.
const WIDE: u64 = 0xffff_ffff;
/// 1 January 1980, the first date that a zip can have: the same galaxies give the same bytes, whenever.
const DATE: u16 = 1 << 5 | 1;
/// Set: names are UTF-8.
const FLAGS: u16 = 0x0800;

/// Writes a `TensorDataset(images, magnitudes, redshifts)` batch by batch.
///
/// The number of galaxies is known before, so every tensor has its place, and memory does not grow with the file.
/// `torch.load(file, weights_only=False)` gives a `TensorDataset` of images float32, magnitudes float64 and redshifts
/// as asked for. The same galaxies give the same bytes. Until [`finish`](Self::finish) has returned, the file is not
/// readable.
#[derive(Debug)]
pub struct PtWriter<W> {
    out: W,
    name: String,
    galaxies: u64,
    pushed: u64,
    redshifts: Option<Dtype>,
    entries: Vec<Entry>,
    /// Places of images, magnitudes and redshifts in `entries`.
    columns: Vec<usize>,
    end: u64,
    at: u64,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Entry {
    path: String,
    header: u64,
    data: u64,
    bytes: u64,
    hasher: crc32fast::Hasher,
}

impl<W: Write + Seek> PtWriter<W> {
    /// Begins a partition of a known number of galaxies. `redshifts` is their element type ([`Dtype::F32`] in the
    /// published partitions), or `None` for a partition without.
    ///
    /// `name` is what errors call the file; the folder in the zip is called like its last part without the ending.
    ///
    /// # Errors
    /// [`Error::Layout`] for no galaxies or redshifts of another type; [`Error::Io`].
    pub fn new(out: W, name: &str, galaxies: u64, redshifts: Option<Dtype>) -> Result<Self, Error> {
        if galaxies == 0 {
            return Err(Error::layout(name, "it would have 0 galaxies, expected at least one"));
        }
        if let Some(dtype) = redshifts.filter(|dtype| !matches!(dtype, Dtype::F32 | Dtype::F64)) {
            return Err(Error::layout(
                name,
                format!("redshifts cannot be written as {dtype}, expected float32 or float64"),
            ));
        }
        let mut writer = Self {
            out,
            name: name.to_owned(),
            galaxies,
            pushed: 0,
            redshifts,
            entries: Vec::new(),
            columns: Vec::new(),
            end: 0,
            at: 0,
            buffer: Vec::new(),
        };
        writer.begin().map_err(|error| Error::io(name, "writing the beginning", error))?;
        Ok(writer)
    }

    fn begin(&mut self) -> io::Result<()> {
        let folder = folder(&self.name);
        self.small_entry(format!("{folder}/data.pkl"), &pickle(self.galaxies, self.redshifts))?;
        self.small_entry(format!("{folder}/byteorder"), b"little")?;
        let redshift_bytes = self.redshifts.map(Dtype::bytes);
        let columns = [Some(4 * IMAGE as u64), Some(8 * BANDS as u64), redshift_bytes];
        for (index, row_bytes) in columns.into_iter().flatten().enumerate() {
            self.columns.push(self.entries.len());
            self.reserve(format!("{folder}/data/{index}"), self.galaxies * row_bytes)?;
        }
        self.small_entry(format!("{folder}/version"), b"3\n")
    }

    /// Adds galaxies.
    ///
    /// - `images`: `[rows, 5, 32, 32]`, row-major; bands u, g, r, i, z.
    /// - `magnitudes`: `[rows, 5]` in mag.
    /// - `redshifts`: `[rows]`; rounded if they are written as float32.
    ///
    /// # Errors
    /// [`Error::Layout`] if the lengths do not fit each other, there are more galaxies than announced, or redshifts are
    /// missing or not expected; [`Error::Io`].
    pub fn push(&mut self, images: &[f32], magnitudes: &[f64], redshifts: Option<&[f64]>) -> Result<(), Error> {
        let rows = images.len() / IMAGE;
        let redshift_rows = redshifts.map(<[f64]>::len);
        if images.len() != rows * IMAGE || magnitudes.len() != rows * BANDS {
            let (images, magnitudes) = (images.len(), magnitudes.len());
            let reason = format!(
                "{images} pixels and {magnitudes} magnitudes were given, expected {IMAGE} and {BANDS} per galaxy"
            );
            return Err(Error::layout(&self.name, reason));
        }
        if redshift_rows != self.redshifts.map(|_| rows) {
            let text = |count: Option<usize>| count.map_or_else(|| "none".to_owned(), |count| count.to_string());
            let (found, expected) = (text(redshift_rows), text(self.redshifts.map(|_| rows)));
            return Err(Error::layout(&self.name, format!("redshifts given: {found}, expected: {expected}")));
        }
        let pushed = self.pushed + rows as u64;
        if pushed > self.galaxies {
            let reason = format!("{pushed} galaxies were given, expected {}", self.galaxies);
            return Err(Error::layout(&self.name, reason));
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let first = self.pushed;
        let mut written =
            self.column(0, first, images, &mut buffer, |value, buffer| buffer.extend(value.to_le_bytes()));
        written = written.and_then(|()| {
            self.column(1, first, magnitudes, &mut buffer, |value, buffer| buffer.extend(value.to_le_bytes()))
        });
        if let Some((redshifts, dtype)) = redshifts.zip(self.redshifts) {
            written = written.and_then(|()| {
                self.column(2, first, redshifts, &mut buffer, |value, buffer| match dtype {
                    Dtype::F32 => buffer.extend((*value as f32).to_le_bytes()),
                    _ => buffer.extend(value.to_le_bytes()),
                })
            });
        }
        self.buffer = buffer;
        self.pushed = pushed;
        written.map_err(|error| Error::io(&self.name, "writing galaxies", error))
    }

    /// Ends the file: checksums and the directory. Flushes, but does not sync.
    ///
    /// # Errors
    /// [`Error::Layout`] if fewer galaxies came than announced; [`Error::Io`].
    pub fn finish(mut self) -> Result<W, Error> {
        if self.pushed != self.galaxies {
            let reason = format!("{} galaxies were given, expected {}", self.pushed, self.galaxies);
            return Err(Error::layout(&self.name, reason));
        }
        self.end().map_err(|error| Error::io(&self.name, "writing the end", error))?;
        Ok(self.out)
    }

    /// Writes one column's values of some galaxies to their place, a chunk at a time.
    fn column<T>(
        &mut self,
        column: usize,
        first_row: u64,
        values: &[T],
        buffer: &mut Vec<u8>,
        encode: impl Fn(&T, &mut Vec<u8>),
    ) -> io::Result<()> {
        let entry = self.columns[column];
        let mut at = self.entries[entry].data + first_row * (self.entries[entry].bytes / self.galaxies);
        for values in values.chunks(crate::located::CHUNK / 8) {
            buffer.clear();
            for value in values {
                encode(value, buffer);
            }
            self.seek(at)?;
            self.put(buffer)?;
            self.entries[entry].hasher.update(buffer);
            at += buffer.len() as u64;
        }
        Ok(())
    }

    fn small_entry(&mut self, path: String, bytes: &[u8]) -> io::Result<()> {
        self.reserve(path, bytes.len() as u64)?;
        let entry = self.entries.last_mut().expect("`reserve` has added one");
        entry.hasher.update(bytes);
        let data = entry.data;
        self.seek(data)?;
        self.put(bytes)
    }

    /// Writes an entry's header, without its checksum, and leaves room for its data.
    fn reserve(&mut self, path: String, bytes: u64) -> io::Result<()> {
        let header = self.end;
        // Header, name, 64-bit sizes if needed, four bytes of the padding's own, padding.
        let wide: &[u8] = if bytes >= WIDE { &wide_field(&[bytes, bytes]) } else { &[] };
        let before = header + LOCAL_HEADER_BYTES + (path.len() + wide.len()) as u64 + 4;
        let padding = before.next_multiple_of(ALIGNMENT) - before;
        let mut block = Vec::new();
        block.extend(0x0403_4b50u32.to_le_bytes());
        block.extend((if wide.is_empty() { 20u16 } else { 45 }).to_le_bytes());
        for half in [FLAGS, 0, 0, DATE] {
            block.extend(half.to_le_bytes());
        }
        block.extend(0u32.to_le_bytes());
        for size in [bytes, bytes] {
            block.extend(narrow(size).to_le_bytes());
        }
        block.extend((path.len() as u16).to_le_bytes());
        block.extend((wide.len() as u16 + 4 + padding as u16).to_le_bytes());
        block.extend(path.as_bytes());
        block.extend(wide);
        block.extend(PADDING_ID);
        block.extend((padding as u16).to_le_bytes());
        block.extend(std::iter::repeat_n(b'Z', padding as usize));
        self.seek(header)?;
        self.put(&block)?;
        self.end = before + padding + bytes;
        self.entries.push(Entry { path, header, data: before + padding, bytes, hasher: crc32fast::Hasher::new() });
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        let entries = std::mem::take(&mut self.entries);
        let directory_start = self.end;
        let mut directory = Vec::new();
        for entry in &entries {
            let crc32 = entry.hasher.clone().finalize().to_le_bytes();
            self.seek(entry.header + 14)?;
            self.put(&crc32)?;
            let mut wide = Vec::new();
            if entry.bytes >= WIDE {
                wide.extend([entry.bytes, entry.bytes]);
            }
            if entry.header >= WIDE {
                wide.push(entry.header);
            }
            let wide = if wide.is_empty() { Vec::new() } else { wide_field(&wide) };
            let version: u16 = if wide.is_empty() { 20 } else { 45 };
            directory.extend(0x0201_4b50u32.to_le_bytes());
            for half in [version, version, FLAGS, 0, 0, DATE] {
                directory.extend(half.to_le_bytes());
            }
            directory.extend(crc32);
            for size in [entry.bytes, entry.bytes] {
                directory.extend(narrow(size).to_le_bytes());
            }
            for half in [entry.path.len() as u16, wide.len() as u16, 0, 0, 0] {
                directory.extend(half.to_le_bytes());
            }
            directory.extend(0u32.to_le_bytes());
            directory.extend(narrow(entry.header).to_le_bytes());
            directory.extend(entry.path.as_bytes());
            directory.extend(wide);
        }
        let (count, size) = (entries.len() as u64, directory.len() as u64);
        if directory_start >= WIDE {
            let record = directory_start + size;
            directory.extend(0x0606_4b50u32.to_le_bytes());
            directory.extend(44u64.to_le_bytes());
            directory.extend([45, 0, 45, 0]);
            directory.extend(0u64.to_le_bytes());
            for wide in [count, count, size, directory_start] {
                directory.extend(wide.to_le_bytes());
            }
            directory.extend(0x0706_4b50u32.to_le_bytes());
            directory.extend(0u32.to_le_bytes());
            directory.extend(record.to_le_bytes());
            directory.extend(1u32.to_le_bytes());
        }
        directory.extend(0x0605_4b50u32.to_le_bytes());
        directory.extend(0u32.to_le_bytes());
        for half in [count as u16, count as u16] {
            directory.extend(half.to_le_bytes());
        }
        for word in [narrow(size), narrow(directory_start)] {
            directory.extend(word.to_le_bytes());
        }
        directory.extend(0u16.to_le_bytes());
        self.seek(directory_start)?;
        self.put(&directory)?;
        self.out.flush()
    }

    /// Moves only when it has to: a buffered writer empties its buffer on every seek.
    fn seek(&mut self, to: u64) -> io::Result<()> {
        if to != self.at {
            self.out.seek(SeekFrom::Start(to))?;
            self.at = to;
        }
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.at += bytes.len() as u64;
        Ok(())
    }
}

fn narrow(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// The extra field of 64-bit numbers.
fn wide_field(values: &[u64]) -> Vec<u8> {
    let mut field = vec![1, 0];
    field.extend((values.len() as u16 * 8).to_le_bytes());
    field.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    field
}

/// What torch calls the folder in the zip: the file, without its path and ending.
fn folder(name: &str) -> String {
    let file = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let stem = file.strip_suffix(".pt").unwrap_or(file);
    let is_plain = !stem.is_empty() && stem.len() <= 200 && !stem.starts_with('.');
    if is_plain { stem.to_owned() } else { "archive".to_owned() }
}

/// The pickle of a `TensorDataset`, in the opcodes of protocol 2 that torch writes, without the memo.
fn pickle(galaxies: u64, redshifts: Option<Dtype>) -> Vec<u8> {
    let side = SIDE as u64;
    let mut shapes =
        vec![(Dtype::F32, vec![galaxies, BANDS as u64, side, side]), (Dtype::F64, vec![galaxies, BANDS as u64])];
    shapes.extend(redshifts.map(|dtype| (dtype, vec![galaxies])));
    let mut out = b"\x80\x02ctorch.utils.data.dataset\nTensorDataset\n)\x81}".to_vec();
    text(&mut out, "tensors");
    out.push(b'(');
    for (index, (dtype, shape)) in shapes.iter().enumerate() {
        let mut strides = vec![1; shape.len()];
        for axis in (1..shape.len()).rev() {
            strides[axis - 1] = strides[axis] * shape[axis];
        }
        out.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        text(&mut out, "storage");
        out.extend(if *dtype == Dtype::F64 {
            b"ctorch\nDoubleStorage\n".as_slice()
        } else {
            b"ctorch\nFloatStorage\n"
        });
        text(&mut out, &index.to_string());
        text(&mut out, "cpu");
        int(&mut out, shape.iter().product());
        out.extend(b"tQ");
        int(&mut out, 0);
        for numbers in [shape, &strides] {
            out.push(b'(');
            numbers.iter().for_each(|number| int(&mut out, *number));
            out.push(b't');
        }
        // Does not require a gradient, and has no hooks.
        out.extend(b"\x89ccollections\nOrderedDict\n)RtR");
    }
    out.extend(b"tsb.");
    out
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.push(b'X');
    out.extend((text.len() as u32).to_le_bytes());
    out.extend(text.as_bytes());
}

fn int(out: &mut Vec<u8>, value: u64) {
    match i32::try_from(value) {
        Ok(value) => {
            out.push(b'J');
            out.extend(value.to_le_bytes());
        }
        Err(_) => {
            // Nine bytes, the last of them the sign.
            out.extend([0x8a, 9]);
            out.extend(value.to_le_bytes());
            out.push(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{Batch, ByteSource, Partition};

    const BLOCK: usize = 4_096;

    /// A file in memory whose blocks of zeros take no space.
    #[derive(Debug, Default)]
    struct Sparse {
        blocks: BTreeMap<u64, Vec<u8>>,
        at: u64,
        length: u64,
    }

    impl Write for Sparse {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (block, from) = (self.at / BLOCK as u64, (self.at % BLOCK as u64) as usize);
            let count = bytes.len().min(BLOCK - from);
            let is_zeros = bytes[..count].iter().all(|byte| *byte == 0);
            if !is_zeros || self.blocks.contains_key(&block) {
                let block = self.blocks.entry(block).or_insert_with(|| vec![0; BLOCK]);
                block[from..from + count].copy_from_slice(&bytes[..count]);
            }
            self.at += count as u64;
            self.length = self.length.max(self.at);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Seek for Sparse {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            let SeekFrom::Start(at) = to else { return Err(io::ErrorKind::Unsupported.into()) };
            self.at = at;
            Ok(at)
        }
    }

    impl ByteSource for Sparse {
        fn len(&self) -> u64 {
            self.length
        }

        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
            for (at, byte) in (offset..).zip(buffer) {
                let block = self.blocks.get(&(at / BLOCK as u64));
                *byte = block.map_or(0, |block| block[(at % BLOCK as u64) as usize]);
            }
            Ok(())
        }
    }

    #[test]
    fn partitions_beyond_four_gigabytes_use_the_wide_fields() {
        let galaxies = 220_000;
        let mut writer = PtWriter::new(Sparse::default(), "big.pt", galaxies, None).unwrap();
        // As if all but the last two had been pushed; the checksums are wrong then, and not looked at here.
        writer.pushed = galaxies - 2;
        let images: Vec<f32> = (0..2 * IMAGE as u16).map(f32::from).collect();
        writer.push(&images, &[20.0; 10], None).unwrap();
        let file = writer.finish().unwrap();
        assert!(file.len() > 1 << 32);
        let mut partition = Partition::open(file, "big.pt").unwrap();
        assert_eq!(partition.galaxies() as u64, galaxies);
        let mut batch = Batch::default();
        partition.read(219_997..220_000, &mut batch).unwrap();
        assert_eq!(batch.images[IMAGE..], images);
        assert_eq!(batch.magnitudes[BANDS..], [20.0; 10]);
        assert!(batch.images[..IMAGE].iter().all(|pixel| *pixel == 0.0));
    }

    #[test]
    fn folders_are_called_like_files() {
        assert_eq!(folder("s3://sky/100MB/7.pt"), "7");
        assert_eq!(folder("7"), "7");
        assert_eq!(folder("sky/.pt"), "archive");
        assert_eq!(folder(".7.pt.12.part"), "archive");
    }

    #[test]
    fn integers_beyond_32_bits_are_longs() {
        let read = |value| {
            let mut out = Vec::new();
            int(&mut out, value);
            out.push(b'.');
            let pickle = crate::pickle::Pickle::read(&out, crate::pickle::Kind::Partition, "p").unwrap();
            pickle.int(pickle.root())
        };
        for value in [0, 1, i32::MAX as u64, i32::MAX as u64 + 1, 1_126_400_000_000] {
            assert_eq!(read(value), Some(value as i64));
        }
    }
}
