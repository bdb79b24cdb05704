//! Partitions: galaxies in rows, read a batch at a time.

use std::ops::Range;

use crate::archive::{self, Format};
use crate::error::Error;
use crate::located::{CHUNK, Dtype, Located};
use crate::pickle::Kind;
use crate::source::ByteSource;

/// Bands: u, g, r, i, z.
pub const BANDS: usize = 5;
/// Pixels along one side of a cutout.
pub const SIDE: usize = 32;
/// Pixels of one galaxy, all bands.
pub const IMAGE: usize = BANDS * SIDE * SIDE;

/// Galaxies that are needed to tell an order of bands from chance.
const BAND_ORDER_ROWS_MIN: usize = 32;
/// Galaxies are fainter in u than in z, by two to four magnitudes; brighter by this much, the bands are reversed.
const BAND_ORDER_MARGIN_MAG: f64 = 1.0;

/// An open partition.
///
/// Only the structure is read when it is opened; [`read`](Self::read) reads the rows it is asked for. Memory beside the
/// batch is about 128 KiB.
///
/// ```
/// use starmap_partitions::{Batch, Partition, PtWriter};
///
/// let mut writer = PtWriter::new(std::io::Cursor::new(Vec::new()), "1.pt", 2, None)?;
/// writer.push(&vec![0.5; 2 * 5 * 32 * 32], &[20.0; 10], None)?;
/// let file = writer.finish()?.into_inner();
///
/// let mut partition = Partition::open(file, "1.pt")?;
/// let mut batch = Batch::default();
/// partition.read(0..partition.galaxies(), &mut batch)?;
/// partition.finish()?;
/// assert_eq!(batch.images[0], 0.5);
/// # Ok::<_, starmap_partitions::Error>(())
/// ```
#[derive(Debug)]
pub struct Partition<S> {
    source: S,
    name: String,
    format: Format,
    galaxies: usize,
    images: Column,
    magnitudes: Column,
    redshifts: Option<Column>,
    chunk: Vec<u8>,
}

/// Consecutive galaxies of a partition. The buffers are used again by the next [`Partition::read`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    /// `[rows, 5, 32, 32]`, row-major; bands u, g, r, i, z; scaled as in the partition.
    pub images: Vec<f32>,
    /// `[rows, 5]` in mag, rounded to single precision as the model does.
    pub magnitudes: Vec<f32>,
    /// `[rows, 5]` in mag, as in the partition.
    pub magnitudes_f64: Vec<f64>,
    /// `[rows]`, spectroscopic redshift z, if the partition has them.
    pub redshifts: Option<Vec<f64>>,
}

impl Batch {
    /// How many galaxies there are.
    pub fn rows(&self) -> usize {
        self.images.len() / IMAGE
    }

    /// Rows, counted from the batch's first, in which a pixel or a magnitude is NaN or infinite. In rising order.
    ///
    /// What to do with them is the caller's decision. Redshifts are not looked at: a galaxy without one is no error.
    pub fn non_finite_rows(&self) -> Vec<usize> {
        // Without their sign, the bits of floats are in the floats' order, and a maximum of integers is vectorized.
        let without_sign = |value: &f32| value.to_bits() & 0x7fff_ffff;
        let is_finite = |values: &[f32]| values.iter().map(without_sign).fold(0, u32::max) < f32::INFINITY.to_bits();
        let rows = self.images.chunks_exact(IMAGE).zip(self.magnitudes.chunks_exact(BANDS)).enumerate();
        let bad = rows.filter(|(_, (image, magnitudes))| !(is_finite(image) && is_finite(magnitudes)));
        bad.map(|(row, _)| row).collect()
    }
}

impl<S: ByteSource> Partition<S> {
    /// Opens a partition and checks its structure: two or three tensors of the right shapes and element types.
    ///
    /// Accepts a `.pt` (`TensorDataset`, tuple, list, or dictionary with names), `.safetensors` or `.npz` with tensors
    /// named `images`, `magnitudes` and, optionally, `redshifts`. What it is is told from the content. `name` is what
    /// errors call the file.
    ///
    /// # Errors
    /// [`Error::Layout`] if it is sound, but not a partition; see [`Error`] for the rest.
    pub fn open(source: S, name: &str) -> Result<Self, Error> {
        let contents = archive::open(&source, name, Kind::Partition)?;
        let tensors = match contents.format {
            Format::Pt => contents.tensors,
            Format::Safetensors | Format::Npz => by_name(name, contents.tensors)?,
        };
        let count = tensors.len();
        let mut tensors = tensors.into_iter();
        let (Some(images), Some(magnitudes), redshifts, None) =
            (tensors.next(), tensors.next(), tensors.next(), tensors.next())
        else {
            let reason = format!(
                "it has {count} tensors, expected images, magnitudes and, optionally, redshifts\n\
                 hint: save torch.utils.data.TensorDataset(images, magnitudes, redshifts) with torch.save"
            );
            return Err(Error::layout(name, reason));
        };
        check_images(name, &images)?;
        let galaxies = images.shape[0];
        check_values(name, &magnitudes, "magnitudes", &[galaxies, BANDS as u64], &images.label)?;
        if let Some(redshifts) = &redshifts {
            check_values(name, redshifts, "redshifts", &[galaxies], &images.label)?;
        }
        if galaxies == 0 {
            return Err(Error::layout(name, "it has 0 galaxies, expected at least one"));
        }
        for tensor in [Some(&images), Some(&magnitudes), redshifts.as_ref()].into_iter().flatten() {
            check_contiguous(name, tensor)?;
        }
        let galaxies = usize::try_from(galaxies)
            .map_err(|_| Error::layout(name, format!("it has {galaxies} galaxies, too many for this machine")))?;
        Ok(Self {
            source,
            name: name.to_owned(),
            format: contents.format,
            galaxies,
            images: Column::new(images),
            magnitudes: Column::new(magnitudes),
            redshifts: redshifts.map(Column::new),
            chunk: Vec::new(),
        })
    }

    /// Number of galaxies; at least one.
    pub fn galaxies(&self) -> usize {
        self.galaxies
    }

    /// Whether it has spectroscopic redshifts.
    pub fn has_redshifts(&self) -> bool {
        self.redshifts.is_some()
    }

    /// Of what kind the file is.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Element types of images, magnitudes and redshifts.
    pub fn dtypes(&self) -> (Dtype, Dtype, Option<Dtype>) {
        let redshifts = self.redshifts.as_ref().map(|column| column.tensor.dtype);
        (self.images.tensor.dtype, self.magnitudes.tensor.dtype, redshifts)
    }

    /// Reads some rows into a batch, whose content they replace.
    ///
    /// Rows that are read in order, from the first, are checksummed on the way; see [`finish`](Self::finish).
    ///
    /// # Errors
    /// [`Error::Truncated`], [`Error::Io`], and [`Error::Checksum`] when the last row has been read. The batch is then
    /// undefined.
    ///
    /// # Panics
    /// If there are not so many rows.
    pub fn read(&mut self, rows: Range<usize>, batch: &mut Batch) -> Result<(), Error> {
        assert!(
            rows.start <= rows.end && rows.end <= self.galaxies,
            "rows {rows:?} of a partition of {}",
            self.galaxies
        );
        let (source, name, chunk) = (&self.source, self.name.as_str(), &mut self.chunk);
        batch.images.clear();
        batch.images.reserve(rows.len() * IMAGE);
        self.images.read(source, name, rows.clone(), chunk, |_, bytes| {
            batch.images.extend(bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)));
        })?;
        batch.magnitudes_f64.clear();
        self.magnitudes.read(source, name, rows.clone(), chunk, |dtype, bytes| {
            batch.magnitudes_f64.extend(bytes.chunks_exact(dtype.bytes() as usize).map(|bytes| dtype.to_f64(bytes)));
        })?;
        batch.magnitudes.clear();
        batch.magnitudes.extend(batch.magnitudes_f64.iter().map(|magnitude| *magnitude as f32));
        match &mut self.redshifts {
            None => batch.redshifts = None,
            Some(column) => {
                let redshifts = batch.redshifts.get_or_insert_default();
                redshifts.clear();
                column.read(source, name, rows, chunk, |dtype, bytes| {
                    redshifts.extend(bytes.chunks_exact(dtype.bytes() as usize).map(|bytes| dtype.to_f64(bytes)));
                })?;
            }
        }
        Ok(())
    }

    /// Refuses a partition whose bands are in reverse (z, i, r, g, u), from the magnitudes of a batch.
    ///
    /// A batch of fewer than 32 galaxies says nothing.
    ///
    /// # Errors
    /// [`Error::Layout`] if its galaxies are on average more than a magnitude brighter in the first band than in the
    /// last; galaxies are fainter in u than in z.
    pub fn check_band_order(&self, batch: &Batch) -> Result<(), Error> {
        let mean = |band: usize| {
            let values = batch.magnitudes_f64.iter().skip(band).step_by(BANDS).copied().filter(|mag| mag.is_finite());
            let (sum, count) = values.fold((0.0, 0usize), |(sum, count), mag| (sum + mag, count + 1));
            (count >= BAND_ORDER_ROWS_MIN).then(|| sum / count as f64)
        };
        match (mean(0), mean(BANDS - 1)) {
            (Some(first), Some(last)) if first + BAND_ORDER_MARGIN_MAG < last => Err(Error::layout(
                &self.name,
                format!(
                    "the bands are in reverse: mean magnitude {first:.2} in the first band and {last:.2} in the last, \
                     expected u, g, r, i, z, and galaxies are fainter in u\n\
                     hint: images.flip(1) and magnitudes.flip(1) put z, i, r, g, u into order"
                ),
            )),
            _ => Ok(()),
        }
    }

    /// Compares the checksums of everything, reading what has not been read in order so far.
    ///
    /// After all rows have been read in order it reads nothing. Formats without checksums (safetensors) pass.
    ///
    /// # Errors
    /// [`Error::Checksum`] names the damaged entry; [`Error::Truncated`], [`Error::Io`].
    pub fn finish(&mut self) -> Result<(), Error> {
        for column in [Some(&self.images), Some(&self.magnitudes), self.redshifts.as_ref()].into_iter().flatten() {
            let (region, hasher) = (&column.tensor.region, column.hasher.clone());
            region.verify_from(&self.source, &self.name, hasher, column.hashed_to)?;
        }
        Ok(())
    }
}

/// One tensor whose outermost extent is the galaxies.
#[derive(Debug)]
struct Column {
    tensor: Located,
    row_bytes: u64,
    /// Checksum of the region's bytes before `hashed_to`.
    hasher: crc32fast::Hasher,
    hashed_to: u64,
}

impl Column {
    fn new(tensor: Located) -> Self {
        let row_bytes = tensor.shape[1..].iter().product::<u64>() * tensor.dtype.bytes();
        let hashed_to = tensor.region.start;
        Self { tensor, row_bytes, hasher: crc32fast::Hasher::new(), hashed_to }
    }

    /// Hands the bytes of some rows to `take`, whole elements at a time.
    fn read(
        &mut self,
        source: &dyn ByteSource,
        name: &str,
        rows: Range<usize>,
        chunk: &mut Vec<u8>,
        mut take: impl FnMut(Dtype, &[u8]),
    ) -> Result<(), Error> {
        let mut at = self.tensor.offset + rows.start as u64 * self.row_bytes;
        let end = self.tensor.offset + rows.end as u64 * self.row_bytes;
        let needed = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
        if chunk.len() < needed {
            chunk.resize(needed, 0);
        }
        while at < end {
            // `CHUNK` is a multiple of every element's size, and so is `end - at`.
            let bytes = &mut chunk[..usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK)];
            source.read_at(at, bytes).map_err(|error| Error::io(name, "reading galaxies", error))?;
            if at == self.hashed_to {
                self.hasher.update(bytes);
                self.hashed_to += bytes.len() as u64;
                if self.hashed_to == self.tensor.region.end() {
                    self.tensor.region.check(name, self.hasher.clone().finalize())?;
                }
            }
            take(self.tensor.dtype, bytes);
            at += bytes.len() as u64;
        }
        Ok(())
    }
}

/// Images, magnitudes and redshifts, by their names.
fn by_name(file: &str, mut tensors: Vec<Located>) -> Result<Vec<Located>, Error> {
    let names: Vec<&str> = tensors.iter().map(|tensor| tensor.label.as_str()).take(8).collect();
    let present = names.join(", ");
    let mut found = Vec::new();
    for (label, is_required) in [("images", true), ("magnitudes", true), ("redshifts", false)] {
        match tensors.iter().position(|tensor| tensor.label == label) {
            Some(at) => found.push(tensors.swap_remove(at)),
            None if is_required => {
                let reason = format!(
                    "it has no tensor called {label}, expected images, magnitudes and, optionally, redshifts; it has {present}"
                );
                return Err(Error::layout(file, reason));
            }
            None => {}
        }
    }
    Ok(found)
}

fn check_images(file: &str, images: &Located) -> Result<(), Error> {
    const BANDS_: u64 = BANDS as u64;
    const SIDE_: u64 = SIDE as u64;
    let (label, shape) = (&images.label, &images.shape);
    let hint = match shape[..] {
        [_, BANDS_, SIDE_, SIDE_] => "",
        [_, SIDE_, SIDE_, BANDS_] => {
            "; it is channels-last\nhint: images.permute(0, 3, 1, 2).contiguous() makes it [n, 5, 32, 32]"
        }
        [_, BANDS_, 64, 64] => {
            "\nhint: crop images to the central 32×32 pixels before writing partitions: images[:, :, 16:48, 16:48].contiguous()"
        }
        [_, 64, 64, BANDS_] => {
            "; it is channels-last\nhint: permute and crop to the central 32×32 pixels before writing partitions: \
             images.permute(0, 3, 1, 2)[:, :, 16:48, 16:48].contiguous()"
        }
        [_, height, width, BANDS_] if height > SIDE_ && width > SIDE_ => {
            "; it is channels-last\nhint: images.permute(0, 3, 1, 2), then crop to the central 32×32 pixels, then .contiguous()"
        }
        [_, BANDS_, height, width] if height > SIDE_ && width > SIDE_ => {
            "\nhint: crop images to the central 32×32 pixels before writing partitions"
        }
        _ => "\nhint: the model takes cutouts of 32×32 pixels in the bands u, g, r, i, z",
    };
    let is_right = matches!(shape[..], [_, BANDS_, SIDE_, SIDE_]);
    if !is_right {
        return Err(Error::layout(file, format!("{label} has shape {shape:?}, expected [n, 5, 32, 32]{hint}")));
    }
    if images.dtype != Dtype::F32 {
        let hint = match images.dtype {
            Dtype::F64 | Dtype::F16 | Dtype::Bf16 => "images.float()",
            _ => "images.float(), and scale them as in training: integers are rarely fluxes",
        };
        let reason = format!("{label} (images) has elements of {}, expected float32\nhint: {hint}", images.dtype);
        return Err(Error::layout(file, reason));
    }
    Ok(())
}

fn check_values(file: &str, tensor: &Located, what: &str, expected: &[u64], images: &str) -> Result<(), Error> {
    let (label, shape) = (&tensor.label, &tensor.shape);
    let shown = if label == what { String::new() } else { format!(" ({what})") };
    // One redshift per galaxy in a column of its own is the same bytes.
    let is_column = expected.len() == 1 && shape[..] == [expected[0], 1];
    if shape[..] != *expected && !is_column {
        let inner = if expected.len() == 2 { ", 5" } else { "" };
        let is_count = shape.len() == expected.len() && shape[1..] == expected[1..];
        let reason = if is_count {
            format!(
                "{label}{shown} has {} rows, {images} has {}, expected as many\nhint: write all tensors from the same galaxies",
                shape[0], expected[0]
            )
        } else {
            format!("{label}{shown} has shape {shape:?}, expected [n{inner}] with n = {}", expected[0])
        };
        return Err(Error::layout(file, reason));
    }
    if !matches!(tensor.dtype, Dtype::F64 | Dtype::F32) {
        let dtype = tensor.dtype;
        let reason =
            format!("{label}{shown} has elements of {dtype}, expected float64 or float32\nhint: {what}.double()");
        return Err(Error::layout(file, reason));
    }
    Ok(())
}

fn check_contiguous(file: &str, tensor: &Located) -> Result<(), Error> {
    let Some(strides) = &tensor.strides else { return Ok(()) };
    let (label, shape) = (&tensor.label, &tensor.shape);
    let reason = format!(
        "{label} of shape {shape:?} has strides {strides:?}, so its rows are not in order in the file\n\
         hint: call .contiguous() on it before torch.save"
    );
    Err(Error::layout(file, reason))
}
