//! The items of a Distributed Map that an `ItemReader` names: read from object storage, one after the other.
//!
//! Everything here blocks and belongs on a thread of its own (see [`blocking`]). Nothing is held but one block of an
//! object and one item. Reading the same unchanged object again gives the same items in the same order, which is what
//! recovery stands on: a map run does not keep the items that it has not started, it reads them again, after it has
//! made sure by the object's etag that they are the same. Keeping them in the journal as well would write every item
//! twice, and a crash is rare.
//!
//! | file | reads |
//! |---|---|
//! | `csv` | rows with a header |
//! | `json` | the elements of an array, also deep inside an object |
//! | `lines` | one JSON value per line |
//! | `parquet` | the rows of a Parquet file |
//! | `manifest` | the rows of all files of an S3 inventory or an Athena manifest |
//! | `listing` | what is known of every object under a prefix, or what all of them hold |
//!
//! # Source
//! <https://docs.aws.amazon.com/step-functions/latest/dg/input-output-itemreader.html>, read 2026-11.

pub mod blocking;
mod csv;
mod json;
mod lines;
mod listing;
mod manifest;
mod parquet;

use std::io::{self, BufReader, Read};
use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use flate2::read::MultiGzDecoder;
use serde_json::Value;
use starmap_asl::{InputType, ReaderAction, ReaderRequest, ReaderTransformation, Timestamp};

use crate::limits::MAP_RUN_ITEMS_MAX;
use crate::objects::{ListPage, ListRequest, ObjectError, ObjectInfo};

/// Bytes of an object that are asked for at once.
const BLOCK_BYTES: u64 = 1 << 20;

/// AWS's name for every failure in here.
const READER_FAILED: &str = "States.ItemReaderFailed";

/// Where objects come from; blocking.
pub trait Fetch {
    /// What is known of an object.
    fn head(&self, bucket: &str, key: &str) -> Result<ObjectInfo, ObjectError>;
    /// The bytes of a range, which ends at the object's end at the latest, of an object that is still the same.
    fn range(&self, bucket: &str, object: &ObjectInfo, range: Range<u64>) -> Result<Bytes, ObjectError>;
    /// One page of a listing.
    fn list(&self, bucket: &str, request: ListRequest) -> Result<ListPage, ObjectError>;
    /// The same for a reader that wants to own it; `None` for one text that stands for every object.
    fn shared(&self) -> Option<SharedFetch>;
}

/// [`Fetch`] for a reader that owns it.
pub type SharedFetch = Arc<dyn Fetch + Send + Sync>;

/// Why items can't be read, or results not be written: what `Retry` and `Catch` of the Map state match on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// The error's name.
    pub error: String,
    /// For people, in AWS's words where they are known.
    pub cause: String,
}

impl Failed {
    fn new(cause: impl Into<String>) -> Self {
        Self { error: READER_FAILED.to_owned(), cause: cause.into() }
    }
}

impl From<ObjectError> for Failed {
    fn from(error: ObjectError) -> Self {
        Self::new(match error {
            ObjectError::NoSuchBucket { .. } => "The specified bucket does not exist".to_owned(),
            ObjectError::NoSuchKey { .. } => "The specified key does not exist.".to_owned(),
            other => other.to_string(),
        })
    }
}

/// Why reading ended before the last item.
#[derive(Debug)]
enum Stop {
    /// Enough items, or nobody wants more.
    Enough,
    Failed(Failed),
}

impl<T: Into<Failed>> From<T> for Stop {
    fn from(failed: T) -> Self {
        Self::Failed(failed.into())
    }
}

/// Takes items as they are read; false means that no more are wanted.
pub type Take<'a> = dyn FnMut(Value) -> bool + 'a;

/// What is read, so that a later reading can make sure that it is the same.
///
/// # Errors
/// [`Failed`] if there is no such object.
pub fn etag(fetch: &dyn Fetch, request: &ReaderRequest) -> Result<Option<String>, Failed> {
    match request.action {
        ReaderAction::ListObjects => Ok(None),
        ReaderAction::GetObject => {
            let (bucket, key) = location(request)?;
            Ok(Some(fetch.head(bucket, key)?.etag))
        }
    }
}

/// Reads all items, in order, and hands each to `take`.
///
/// # Errors
/// [`Failed`], after the items before the fault.
pub fn read(fetch: &dyn Fetch, request: &ReaderRequest, take: &mut Take<'_>) -> Result<(), Failed> {
    let items_max = match request.items_max {
        Some(max) if max < 0 => return Err(Failed::new("field MaxItems must be positive")),
        Some(max) if max > 0 => (max as u64).min(MAP_RUN_ITEMS_MAX),
        _ => MAP_RUN_ITEMS_MAX,
    };
    let mut left = items_max;
    let mut counted = |item: Value| {
        left -= 1;
        if take(item) && left > 0 { Ok(()) } else { Err(Stop::Enough) }
    };
    match items(fetch, request, &mut counted) {
        Ok(()) | Err(Stop::Enough) => Ok(()),
        Err(Stop::Failed(failed)) => Err(failed),
    }
}

/// Reads all items out of a text that stands for whatever object the reader names: what TestState is given.
///
/// # Errors
/// [`Failed`] if the text is not what the reader expects.
pub fn read_text(request: &ReaderRequest, text: &str) -> Result<Vec<Value>, Failed> {
    // A listing's text is what S3 says of the objects.
    if request.action == ReaderAction::ListObjects {
        let listing = serde_json::from_str(text).map_err(|error| Failed::new(error.to_string()))?;
        return match listing {
            Value::Array(items) => Ok(items),
            Value::Object(mut fields) => match fields.remove("Contents") {
                Some(Value::Array(items)) => Ok(items),
                _ => Err(Failed::new("The field 'Contents' is required but was missing")),
            },
            _ => Err(Failed::new("a listing must be an array of objects")),
        };
    }
    let mut items = Vec::new();
    read(&Text(text), request, &mut |item| {
        items.push(item);
        true
    })?;
    Ok(items)
}

/// One text under every name.
struct Text<'a>(&'a str);

impl Fetch for Text<'_> {
    fn head(&self, _bucket: &str, key: &str) -> Result<ObjectInfo, ObjectError> {
        let bytes = self.0.len() as u64;
        Ok(ObjectInfo { key: key.to_owned(), bytes, etag: String::new(), modified_at: Timestamp(0) })
    }

    fn range(&self, _bucket: &str, _object: &ObjectInfo, range: Range<u64>) -> Result<Bytes, ObjectError> {
        let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(self.0.len());
        Ok(Bytes::copy_from_slice(&self.0.as_bytes()[place(range.start)..place(range.end)]))
    }

    fn list(&self, bucket: &str, _request: ListRequest) -> Result<ListPage, ObjectError> {
        Err(ObjectError::NoSuchBucket { bucket: bucket.to_owned() })
    }

    fn shared(&self) -> Option<SharedFetch> {
        None
    }
}

type Emit<'a> = dyn FnMut(Value) -> Result<(), Stop> + 'a;

fn items(fetch: &dyn Fetch, request: &ReaderRequest, emit: &mut Emit<'_>) -> Result<(), Stop> {
    match request.action {
        ReaderAction::ListObjects => {
            let contents = request.transformation == ReaderTransformation::LoadAndFlatten;
            listing::read(fetch, request, &mut |object: ObjectInfo, bucket: &str| {
                if contents {
                    object_items(fetch, request, bucket, &object, emit)
                } else {
                    emit(listing::item(&object))
                }
            })
        }
        ReaderAction::GetObject => {
            let (bucket, key) = location(request)?;
            let object = fetch.head(bucket, key)?;
            match request.input_type {
                Some(InputType::Manifest) => manifest::read(fetch, request, bucket, &object, emit),
                _ => object_items(fetch, request, bucket, &object, emit),
            }
        }
    }
}

/// The items inside one object.
fn object_items(
    fetch: &dyn Fetch,
    request: &ReaderRequest,
    bucket: &str,
    object: &ObjectInfo,
    emit: &mut Emit<'_>,
) -> Result<(), Stop> {
    if request.input_type == Some(InputType::Parquet) {
        return parquet::read(fetch, bucket, object, emit);
    }
    let content = Content::open(fetch, bucket, object);
    match request.input_type {
        Some(InputType::Csv) => csv::read(content, &request.csv, emit),
        Some(InputType::Json) => json::read(content, request.items_pointer.as_deref(), emit),
        Some(InputType::JsonLines) => lines::read(content, emit),
        Some(InputType::Parquet | InputType::Manifest) | None => {
            Err(Failed::new("the ItemReader needs an InputType that says how an object is read").into())
        }
    }
}

fn location(request: &ReaderRequest) -> Result<(&str, &str), Failed> {
    Ok((text(request, "Bucket")?, text(request, "Key")?))
}

fn text<'r>(request: &'r ReaderRequest, field: &str) -> Result<&'r str, Failed> {
    let value = request.arguments.get(field);
    value.and_then(Value::as_str).ok_or_else(|| match value {
        None => Failed::new(format!("The field '{field}' is required but was missing")),
        Some(other) => Failed::new(format!("The field '{field}' must be a string, found {other}")),
    })
}

/// An object's bytes, block by block.
struct Blocks<'f> {
    fetch: &'f dyn Fetch,
    bucket: String,
    object: ObjectInfo,
    position: u64,
    block: Bytes,
}

impl Read for Blocks<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let end = self.object.bytes;
        if self.block.is_empty() && self.position < end {
            let next = (self.position + BLOCK_BYTES).min(end);
            let block = self.fetch.range(&self.bucket, &self.object, self.position..next).map_err(io::Error::other)?;
            if block.is_empty() {
                let reason = format!("the object ended at byte {}, expected {end}", self.position);
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, reason));
            }
            self.position += block.len() as u64;
            self.block = block;
        }
        let length = into.len().min(self.block.len());
        self.block.copy_to_slice(&mut into[..length]);
        Ok(length)
    }
}

/// What a parser reads from: an object as it is, or unpacked.
type Content<'f> = BufReader<Box<dyn Read + 'f>>;

trait Open<'f> {
    fn open(fetch: &'f dyn Fetch, bucket: &str, object: &ObjectInfo) -> Content<'f>;
}

impl<'f> Open<'f> for Content<'f> {
    fn open(fetch: &'f dyn Fetch, bucket: &str, object: &ObjectInfo) -> Content<'f> {
        let (bucket, object_there) = (bucket.to_owned(), object.clone());
        let blocks = Blocks { fetch, bucket, object: object_there, position: 0, block: Bytes::new() };
        if object.key.ends_with(".gz") {
            return BufReader::new(Box::new(MultiGzDecoder::new(blocks)));
        }
        BufReader::new(Box::new(blocks))
    }
}

/// What a failed read means: storage's own fault, or what the parser says of the content.
fn unreadable(error: &io::Error, otherwise: impl FnOnce() -> String) -> Stop {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<ObjectError>()) {
        Some(object) => Failed::from(object.clone()).into(),
        None => Failed::new(otherwise()).into(),
    }
}

#[cfg(test)]
mod tests;
