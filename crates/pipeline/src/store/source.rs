//! Reads ranges of one object from a thread that may block.
//!
//! A file is read where it is. A remote object is read in windows that double while reads go on in sequence, as a
//! kernel's read-ahead does, with the next window on its way while the current one is used. Partitions are read as a
//! few interleaved sequences (images, magnitudes, redshifts), so a few windows are kept, one per sequence.
//! Every request carries `If-Match`: an object that changes under us fails instead of being mixed.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore};
use starmap_partitions::ByteSource;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::Object;
use super::watch::Patience;

/// First window of a sequence: about one round trip's worth.
const WINDOW_BYTES_MIN: u64 = 64 << 10;
/// Largest window; with the next one on its way, a sequence holds at most twice this.
const WINDOW_BYTES_MAX: u64 = 4 << 20;
/// Sequences followed at once.
const SEQUENCES_MAX: usize = 4;

/// See the [module](self). Cheap to clone; clones share windows and [`Reads`].
#[derive(Debug, Clone)]
pub struct Source(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    origin: Origin,
    bytes: u64,
    reads: ReadCounters,
    failure: Mutex<Option<String>>,
}

enum Origin {
    File(File),
    Memory(Bytes),
    Remote(Remote),
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => file.fmt(f),
            Self::Memory(bytes) => write!(f, "{} bytes", bytes.len()),
            Self::Remote(remote) => remote.path.fmt(f),
        }
    }
}

/// What reading cost so far. A request is a read of a file, or a GET.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reads {
    /// How many requests there were.
    pub requests: u64,
    /// How many bytes they brought.
    pub bytes: u64,
    /// Time in which the reader waited for them.
    pub waited: Duration,
    /// The shortest wait of a request.
    pub waited_min: Duration,
    /// The longest wait of a request.
    pub waited_max: Duration,
}

impl Reads {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        if self.requests == 0 {
            return other;
        }
        if other.requests == 0 {
            return self;
        }
        Self {
            requests: self.requests + other.requests,
            bytes: self.bytes + other.bytes,
            waited: self.waited + other.waited,
            waited_min: self.waited_min.min(other.waited_min),
            waited_max: self.waited_max.max(other.waited_max),
        }
    }
}

impl Source {
    pub(super) fn file(file: File, bytes: u64) -> Self {
        Self::new(Origin::File(file), bytes)
    }

    pub(super) fn remote(
        store: Arc<dyn ObjectStore>,
        path: Path,
        object: &Object,
        patience: Patience,
        runtime: Handle,
    ) -> Self {
        let remote = Remote { store, path, etag: object.etag.clone(), patience, runtime, sequences: Mutex::default() };
        Self::new(Origin::Remote(remote), object.bytes)
    }

    /// Bytes that are in memory already.
    pub fn memory(bytes: Bytes) -> Self {
        let length = bytes.len() as u64;
        Self::new(Origin::Memory(bytes), length)
    }

    fn new(origin: Origin, bytes: u64) -> Self {
        Self(Arc::new(Shared { origin, bytes, reads: ReadCounters::default(), failure: Mutex::default() }))
    }

    /// What reading cost so far.
    pub fn reads(&self) -> Reads {
        self.0.reads.get()
    }

    /// What the store said when a read failed, if one did. Tells a store that fails from a file that is bad.
    pub fn failure(&self) -> Option<String> {
        self.0.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the object is read over a network.
    pub fn is_remote(&self) -> bool {
        matches!(self.0.origin, Origin::Remote(_))
    }
}

impl ByteSource for Source {
    fn len(&self) -> u64 {
        self.0.bytes
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64);
        if end.is_none_or(|end| end > self.0.bytes) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let read = match &self.0.origin {
            Origin::Memory(bytes) => {
                // In bounds by the check above, so both fit into usize.
                let start = offset as usize;
                buffer.copy_from_slice(&bytes[start..start + buffer.len()]);
                return Ok(());
            }
            Origin::File(file) => {
                let begun = Instant::now();
                let read = file.read_exact_at(buffer, offset);
                self.0.reads.add(buffer.len() as u64, begun.elapsed());
                read
            }
            Origin::Remote(remote) => remote.read(offset, buffer, self.0.bytes, &self.0.reads),
        };
        read.inspect_err(|error| {
            let mut failure = self.0.failure.lock().unwrap_or_else(PoisonError::into_inner);
            failure.get_or_insert_with(|| error.to_string());
        })
    }
}

#[derive(Debug, Default)]
struct ReadCounters {
    requests: AtomicU64,
    bytes: AtomicU64,
    nanoseconds: AtomicU64,
    nanoseconds_max: AtomicU64,
    /// Stored as its complement, so that zero means none yet.
    nanoseconds_min: AtomicU64,
}

impl ReadCounters {
    fn add(&self, bytes: u64, waited: Duration) {
        let nanoseconds = u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX);
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
        self.nanoseconds_max.fetch_max(nanoseconds, Ordering::Relaxed);
        self.nanoseconds_min.fetch_max(!nanoseconds, Ordering::Relaxed);
    }

    fn get(&self) -> Reads {
        let requests = self.requests.load(Ordering::Relaxed);
        let nanoseconds_min = if requests == 0 { 0 } else { !self.nanoseconds_min.load(Ordering::Relaxed) };
        Reads {
            requests,
            bytes: self.bytes.load(Ordering::Relaxed),
            waited: Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed)),
            waited_min: Duration::from_nanos(nanoseconds_min),
            waited_max: Duration::from_nanos(self.nanoseconds_max.load(Ordering::Relaxed)),
        }
    }
}

struct Remote {
    store: Arc<dyn ObjectStore>,
    path: Path,
    etag: String,
    patience: Patience,
    runtime: Handle,
    sequences: Mutex<Vec<Sequence>>,
}

/// One window onto the object and the next one on its way; most recently used last in the list.
struct Sequence {
    start: u64,
    bytes: Bytes,
    window_bytes: u64,
    next: Option<JoinHandle<object_store::Result<Bytes>>>,
}

impl Sequence {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

impl Remote {
    fn read(&self, mut offset: u64, mut buffer: &mut [u8], object_bytes: u64, reads: &ReadCounters) -> io::Result<()> {
        let mut sequences = self.sequences.lock().unwrap_or_else(PoisonError::into_inner);
        while !buffer.is_empty() {
            let inside = |sequence: &Sequence| (sequence.start..sequence.end()).contains(&offset);
            let sequence = if let Some(found) = sequences.iter().position(inside) {
                sequences.remove(found)
            } else if let Some(found) = sequences.iter().position(|sequence| sequence.end() == offset) {
                self.advance(sequences.remove(found), object_bytes, reads)?
            } else {
                let wanted = (buffer.len() as u64).clamp(WINDOW_BYTES_MIN, WINDOW_BYTES_MAX);
                let end = (offset + wanted).min(object_bytes);
                let begun = Instant::now();
                let bytes = self.runtime.block_on(self.fetch(offset, end)).map_err(io::Error::other)?;
                reads.add(bytes.len() as u64, begun.elapsed());
                if sequences.len() == SEQUENCES_MAX {
                    sequences.remove(0);
                }
                Sequence { start: offset, bytes, window_bytes: wanted, next: None }
            };
            // In the window by the above, which is in memory, so it fits into usize.
            let skip = (offset - sequence.start) as usize;
            let count = buffer.len().min(sequence.bytes.len() - skip);
            buffer[..count].copy_from_slice(&sequence.bytes[skip..skip + count]);
            buffer = &mut std::mem::take(&mut buffer)[count..];
            offset += count as u64;
            sequences.push(sequence);
        }
        Ok(())
    }

    /// Moves a sequence to its next window and sends for the one after.
    fn advance(&self, sequence: Sequence, object_bytes: u64, reads: &ReadCounters) -> io::Result<Sequence> {
        let begun = Instant::now();
        let start = sequence.end();
        let window_bytes = (sequence.window_bytes * 2).min(WINDOW_BYTES_MAX);
        let bytes = match sequence.next {
            Some(next) => self.runtime.block_on(next).map_err(io::Error::other)?,
            None => self.runtime.block_on(self.fetch(start, (start + window_bytes).min(object_bytes))),
        };
        let bytes = bytes.map_err(io::Error::other)?;
        reads.add(bytes.len() as u64, begun.elapsed());
        let next_start = start + bytes.len() as u64;
        let next = (next_start < object_bytes)
            .then(|| self.runtime.spawn(self.fetch(next_start, (next_start + window_bytes).min(object_bytes))));
        Ok(Sequence { start, bytes, window_bytes, next })
    }

    fn fetch(&self, start: u64, end: u64) -> impl Future<Output = object_store::Result<Bytes>> + Send + 'static {
        let (store, path, etag) = (Arc::clone(&self.store), self.path.clone(), self.etag.clone());
        let patience = self.patience.clone();
        let ask = move || {
            let (store, path, etag) = (Arc::clone(&store), path.clone(), etag.clone());
            async move {
                let options = GetOptions {
                    range: Some(GetRange::Bounded(start..end)),
                    if_match: Some(etag.clone()),
                    ..GetOptions::default()
                };
                let changed = |error| changed(error, &path, &etag);
                let got = store.get_opts(&path, options).await.map_err(changed)?;
                // Whoever answers may not know the condition, or be a cache.
                if let Some(found) = got.meta.e_tag.as_ref().filter(|found| **found != etag) {
                    let source = format!("the answer is of ETag {found}, expected {etag}: the object changed").into();
                    return Err(object_store::Error::Precondition { path: path.to_string(), source });
                }
                Ok((got.bytes().await.map_err(changed)?, end - start))
            }
        };
        async move { patience.whole(ask).await }
    }
}

/// Says so where an error means that the object is not the one that was opened. In the middle of a body the client has no
/// kind of error for that, but its text quotes the answer.
fn changed(error: object_store::Error, path: &Path, etag: &str) -> object_store::Error {
    let is_precondition = matches!(error, object_store::Error::Precondition { .. });
    if !is_precondition && !error.to_string().contains("412 Precondition Failed") {
        return error;
    }
    let source = format!("the object changed while it was read, expected ETag {etag}").into();
    object_store::Error::Precondition { path: path.to_string(), source }
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;
    use proptest::prelude::*;

    use super::*;

    fn remote(runtime: &tokio::runtime::Runtime, content: &[u8]) -> (Arc<InMemory>, Source) {
        let store = Arc::new(InMemory::new());
        let path = Path::from("a");
        let put = runtime.block_on(store.put(&path, Bytes::copy_from_slice(content).into())).unwrap();
        let object =
            Object { key: "a".into(), bytes: content.len() as u64, etag: put.e_tag.unwrap(), modified_at_ms: 0 };
        let source =
            Source::remote(Arc::clone(&store) as _, path, &object, Patience::default(), runtime.handle().clone());
        (store, source)
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap()
    }

    #[test]
    fn interleaved_sequences_take_few_requests() {
        let runtime = runtime();
        let content: Vec<u8> = (0..9_000_000u32).map(|i| (i % 251) as u8).collect();
        let (_, source) = remote(&runtime, &content);
        let mut buffer = vec![0; 50_000];
        for i in 0..60 {
            for start in [0, 3_000_000, 6_000_000] {
                let offset = start + i * buffer.len();
                source.read_at(offset as u64, &mut buffer).unwrap();
                assert_eq!(buffer, content[offset..offset + buffer.len()]);
            }
        }
        assert!(source.reads().requests < 30, "{:?} for 180 reads", source.reads());
    }

    #[test]
    fn an_object_that_changes_under_us_fails() {
        let runtime = runtime();
        let (store, source) = remote(&runtime, &[1; 1_000_000]);
        let mut buffer = [0; 10];
        source.read_at(0, &mut buffer).unwrap();
        runtime.block_on(store.put(&Path::from("a"), vec![2; 1_000_000].into())).unwrap();
        source.read_at(900_000, &mut buffer).unwrap_err();
        assert!(source.failure().unwrap().contains("precondition"), "{:?}", source.failure());
    }

    #[test]
    fn reads_past_the_end_fail() {
        let source = Source::memory(Bytes::from_static(b"abc"));
        assert_eq!(source.read_at(2, &mut [0; 2]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(source.read_at(u64::MAX, &mut [0; 2]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(source.failure(), None, "a short file is the file's fault, not the store's");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn any_reads_bring_the_right_bytes(reads in proptest::collection::vec((0usize..300_000, 0usize..200_000), 1..30)) {
            let runtime = runtime();
            let content: Vec<u8> = (0..400_000u32).map(|i| (i % 241) as u8).collect();
            let (_, source) = remote(&runtime, &content);
            for (offset, length) in reads {
                let length = length.min(content.len() - offset);
                let mut buffer = vec![0; length];
                source.read_at(offset as u64, &mut buffer).unwrap();
                prop_assert_eq!(&buffer[..], &content[offset..offset + length]);
            }
        }
    }
}
