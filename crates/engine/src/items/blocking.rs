//! A reader on a thread of its own, which waits until its items are wanted.

use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use bytes::Bytes;
use serde_json::Value;
use starmap_asl::ReaderRequest;
use tokio::runtime::Handle;

use super::{Failed, Fetch, SharedFetch};
use crate::limits::{READER_CHUNK_BYTES, READER_CHUNK_ITEMS};
use crate::objects::{ListPage, ListRequest, ObjectError, ObjectInfo, Objects};

/// What a reader sends.
#[derive(Debug)]
pub struct Chunk {
    /// The next items.
    pub items: Vec<Value>,
    /// Whether there are no more.
    pub is_last: bool,
    /// The etag of what is read, with the first chunk.
    pub etag: Option<String>,
}

/// Where a reader begins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Position {
    /// So many items have been taken already.
    pub skip: u64,
    /// What they were taken from.
    pub etag: Option<String>,
}

/// Lets a reader go on; dropped, the reader ends.
#[derive(Debug)]
pub struct Wanted(SyncSender<()>);

impl Wanted {
    /// Asks for one more chunk.
    pub fn more(&self) {
        // Full means that it has been asked for already; closed, that the reader has ended.
        let _ = self.0.try_send(());
    }
}

/// Starts a reader. It sends one chunk at once and each further one when it is [wanted](Wanted::more).
///
/// # Errors
/// If the thread can't be started.
pub fn start(
    objects: Arc<dyn Objects>,
    runtime: Handle,
    request: Arc<ReaderRequest>,
    from: Position,
    send: impl Fn(Result<Chunk, Failed>) -> bool + Send + 'static,
) -> std::io::Result<Wanted> {
    let (wanted, more) = sync_channel(1);
    let reader = std::thread::Builder::new().name("item-reader".to_owned());
    reader.spawn(move || {
        let fetch = Blocking { objects, runtime };
        if let Err(failed) = run(&fetch, &request, &from, &more, &send) {
            send(Err(failed));
        }
    })?;
    Ok(Wanted(wanted))
}

fn run(
    fetch: &dyn Fetch,
    request: &ReaderRequest,
    from: &Position,
    more: &Receiver<()>,
    send: &dyn Fn(Result<Chunk, Failed>) -> bool,
) -> Result<(), Failed> {
    let mut etag = checked_etag(fetch, request, from)?;
    let mut skip = from.skip;
    let mut items = Vec::new();
    let mut bytes = 0;
    let mut is_first = true;
    let mut is_wanted = true;
    super::read(fetch, request, &mut |item| {
        if skip > 0 {
            skip -= 1;
            return true;
        }
        if items.len() >= READER_CHUNK_ITEMS || bytes >= READER_CHUNK_BYTES {
            is_wanted = std::mem::take(&mut is_first) || more.recv().is_ok();
            let chunk = Chunk { items: std::mem::take(&mut items), is_last: false, etag: etag.take() };
            is_wanted = is_wanted && send(Ok(chunk));
            bytes = 0;
        }
        bytes += approximate_bytes(&item);
        items.push(item);
        is_wanted
    })?;
    if is_wanted && (is_first || more.recv().is_ok()) {
        send(Ok(Chunk { items, is_last: true, etag }));
    }
    Ok(())
}

fn checked_etag(fetch: &dyn Fetch, request: &ReaderRequest, from: &Position) -> Result<Option<String>, Failed> {
    let now = super::etag(fetch, request)?;
    if let (Some(then), Some(now)) = (&from.etag, &now)
        && then != now
    {
        return Err(Failed::new(format!(
            "the object has changed since the map run began: its etag was {then} and is {now}; \
             {} items were started from the earlier one",
            from.skip
        )));
    }
    Ok(now)
}

/// About as large as an item's text: enough to bound memory.
fn approximate_bytes(item: &Value) -> usize {
    match item {
        Value::Null | Value::Bool(_) | Value::Number(_) => 16,
        Value::String(text) => 16 + text.len(),
        Value::Array(items) => 16 + items.iter().map(approximate_bytes).sum::<usize>(),
        Value::Object(object) => {
            16 + object.iter().map(|(name, value)| 16 + name.len() + approximate_bytes(value)).sum::<usize>()
        }
    }
}

#[derive(Clone)]
struct Blocking {
    objects: Arc<dyn Objects>,
    runtime: Handle,
}

impl Fetch for Blocking {
    fn head(&self, bucket: &str, key: &str) -> Result<ObjectInfo, ObjectError> {
        self.runtime.block_on(self.objects.head(bucket, key))
    }

    fn range(&self, bucket: &str, object: &ObjectInfo, range: Range<u64>) -> Result<Bytes, ObjectError> {
        self.runtime.block_on(self.objects.get_unchanged(bucket, object, range))
    }

    fn list(&self, bucket: &str, request: ListRequest) -> Result<ListPage, ObjectError> {
        self.runtime.block_on(self.objects.list(bucket, request))
    }

    fn shared(&self) -> Option<SharedFetch> {
        Some(Arc::new(self.clone()))
    }
}
