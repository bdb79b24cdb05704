//! Reads and decodes a rank's partitions on a thread of its own, while the batches before are being predicted.
//!
//! [`BATCHES`] batches go round: one is filled here while the other one is predicted. The reading thread waits when it
//! has none, so memory is bounded however slow the model is, and it computes nothing but what decoding takes.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use starmap_partitions::{BANDS, Batch, IMAGE, Partition};
use tokio::runtime::Handle;

use super::invalid;
use crate::error::{Error, with_causes};
use crate::payload::{BadPixels, Item};
use crate::results::PartitionFile;
use crate::store::{Reads, Source, Store, url};

/// Batches in memory at once.
pub(super) const BATCHES: usize = 2;
/// Rows that an error lists.
const ROWS_SHOWN: usize = 10;

/// Galaxies that are ready for the model.
#[derive(Debug)]
pub(super) struct Chunk {
    /// Which of the item's partitions they are of.
    pub partition: usize,
    /// The first one's row in it.
    pub first: usize,
    /// The galaxies; zeros for those that are bad.
    pub batch: Batch,
    /// Positions in the batch of galaxies with values that are not finite, in rising order.
    pub bad: Vec<usize>,
}

/// What reading found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub partitions: Vec<PartitionFile>,
    pub reads: Reads,
    /// Time spent on neither waiting for storage nor for an empty batch.
    pub decode: Duration,
}

/// The computing thread's ends.
#[derive(Debug)]
pub(super) struct Chunks {
    /// Batches to predict, in order; ends when everything is read, or reading failed.
    pub filled: Receiver<Chunk>,
    /// Where batches go back to.
    pub emptied: Sender<Batch>,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Reader<'a> {
    pub runtime: &'a Handle,
    pub store: &'a Store,
    pub item: &'a Item,
    pub rows_at_once: usize,
    filled: Sender<Chunk>,
    emptied: Receiver<Batch>,
    found: Found,
}

impl<'a> Reader<'a> {
    pub fn new(runtime: &'a Handle, store: &'a Store, item: &'a Item, rows_at_once: usize) -> (Self, Chunks) {
        let (filled, to_predict) = channel();
        let (to_fill, emptied) = channel();
        for _ in 0..BATCHES {
            // The receiver is here, so this cannot fail.
            let _ = to_fill.send(Batch::default());
        }
        let reader = Self { runtime, store, item, rows_at_once, filled, emptied, found: Found::default() };
        (reader, Chunks { filled: to_predict, emptied: to_fill })
    }

    /// Reads everything; ends early, and well, when nobody takes batches any more.
    pub fn run(mut self) -> Result<Found, Error> {
        for (index, key) in self.item.data_path.iter().enumerate() {
            if !self.partition(index, key)? {
                break;
            }
        }
        Ok(self.found)
    }

    fn partition(&mut self, index: usize, key: &str) -> Result<bool, Error> {
        let location = url(&self.item.data_bucket, key);
        let opening = Instant::now();
        let opened = self.runtime.block_on(self.store.source(&self.item.data_bucket, key))?;
        let (object, source) =
            opened.ok_or_else(|| invalid(format!("{location}: is gone since Initialize listed it")))?;
        let failed = |error: starmap_partitions::Error| match source.failure() {
            Some(reason) => Error::Storage { doing: "reading", location: location.clone(), reason },
            None => invalid(with_causes(&error)),
        };
        let mut partition = Partition::open(source.clone(), &location).map_err(failed)?;
        self.found.decode += opening.elapsed().saturating_sub(source.reads().waited);

        let rows = partition.galaxies();
        for first in (0..rows).step_by(self.rows_at_once) {
            let Ok(mut batch) = self.emptied.recv() else { return Ok(false) };
            let (decoding, waited) = (Instant::now(), source.reads().waited);
            let range = first..rows.min(first + self.rows_at_once);
            partition.read(range, &mut batch).map_err(failed)?;
            if first == 0 {
                partition.check_band_order(&batch).map_err(failed)?;
            }
            let bad = batch.non_finite_rows();
            if !bad.is_empty() && self.item.bad_pixels == BadPixels::Refuse {
                return Err(self.refuse(&location, first, &bad, &mut partition, &mut batch).map_err(failed)?);
            }
            blank(&mut batch, &bad);
            self.found.decode += decoding.elapsed().saturating_sub(source.reads().waited - waited);
            if self.filled.send(Chunk { partition: index, first, batch, bad }).is_err() {
                return Ok(false);
            }
        }
        partition.finish().map_err(failed)?;
        self.found.reads = self.found.reads.and(source.reads());
        self.found.partitions.push(PartitionFile {
            key: key.to_owned(),
            rows: rows as u64,
            bytes: object.bytes,
            etag: object.etag,
        });
        Ok(true)
    }

    /// Counts all bad rows of the partition: whoever repairs it wants to know them all.
    fn refuse(
        &self,
        location: &str,
        first: usize,
        bad: &[usize],
        partition: &mut Partition<Source>,
        batch: &mut Batch,
    ) -> Result<Error, starmap_partitions::Error> {
        let mut count = bad.len() as u64;
        let mut rows: Vec<u64> = bad.iter().map(|row| (first + row) as u64).collect();
        let galaxies = partition.galaxies();
        for next in (first..galaxies).step_by(self.rows_at_once).skip(1) {
            partition.read(next..galaxies.min(next + self.rows_at_once), batch)?;
            let bad = batch.non_finite_rows();
            count += bad.len() as u64;
            rows.extend(bad.iter().map(|row| (next + row) as u64).take(ROWS_SHOWN));
        }
        rows.truncate(ROWS_SHOWN);
        Ok(Error::NonFinitePixels { partition: location.to_owned(), rows, count, galaxies: galaxies as u64 })
    }
}

/// Puts zeros into rows that are flagged; what the model says of them is not used.
fn blank(batch: &mut Batch, rows: &[usize]) {
    for &row in rows {
        batch.images[row * IMAGE..(row + 1) * IMAGE].fill(0.0);
        batch.magnitudes[row * BANDS..(row + 1) * BANDS].fill(0.0);
    }
}
