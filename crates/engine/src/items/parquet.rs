//! The rows of a Parquet file as objects.
//!
//! Values keep their types: numbers are numbers, lists are arrays, structs and maps are objects, and a timestamp is the
//! whole milliseconds since the Unix epoch. What JSON has no type for is text: dates (`2026-11-27`), times of day and
//! decimals as people write them, bytes in Base64. A number that is not finite is `null`.
//!
//! Nothing is held but the file's footer, the page of each column that is being read, and a bounded number of blocks.
//!
//! # Source
//! <https://docs.aws.amazon.com/step-functions/latest/dg/input-output-itemreader.html>, read 2026-11. Of the codecs
//! that AWS reads, ZSTD is not built in.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::ParquetMetaData;
use ::parquet::file::reader::{ChunkReader, FileReader, Length};
use ::parquet::file::serialized_reader::SerializedFileReader;
use ::parquet::record::reader::RowIter;
use ::parquet::record::{Field, Row};
use ::parquet::schema::types::Type;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{Buf, Bytes};
use serde_json::{Map, Value};

use super::{Emit, Failed, Fetch, SharedFetch, Stop};
use crate::limits::{PARQUET_FOOTER_BYTES_MAX, PARQUET_ROW_GROUP_BYTES_MAX};
use crate::objects::{ObjectError, ObjectInfo};

/// Bytes that are asked for at once.
const BLOCK_BYTES: u64 = 256 << 10;
/// Blocks that are kept: columns are read side by side, each from its own place.
const BLOCKS_MAX: usize = 64;
/// Rows that are decoded at once.
const ROWS_AT_ONCE: usize = 256;
/// Length of the footer's tail: its own length, and a magic number.
const TAIL_BYTES: u64 = 8;

pub(super) fn read(fetch: &dyn Fetch, bucket: &str, object: &ObjectInfo, emit: &mut Emit<'_>) -> Result<(), Stop> {
    let Some(fetch) = fetch.shared() else {
        return Err(Failed::new("A Parquet file can't be given as text").into());
    };
    let file = Remote { fetch, bucket: bucket.to_owned(), object: object.clone(), blocks: Arc::default() };
    // The decoder trusts that the parts of a file fit together, and panics where they don't.
    match catch_unwind(AssertUnwindSafe(|| rows(file, emit))) {
        Ok(ended) => ended,
        Err(_) => Err(Failed::new("The Parquet file could not be read: it is damaged").into()),
    }
}

fn rows(file: Remote, emit: &mut Emit<'_>) -> Result<(), Stop> {
    check_footer(&file)?;
    let file = SerializedFileReader::new(file).map_err(unreadable)?;
    check_row_groups(file.metadata())?;
    let columns = file.metadata().file_metadata().schema().get_fields().to_vec();
    for index in 0..file.num_row_groups() {
        let group = file.get_row_group(index).map_err(unreadable)?;
        for row in RowIter::from_row_group(None, group.as_ref()).map_err(unreadable)?.with_batch_size(ROWS_AT_ONCE) {
            emit(object_of(&row.map_err(unreadable)?, &columns))?;
        }
    }
    Ok(())
}

/// Before anything of the footer's announced length is asked for.
fn check_footer(file: &Remote) -> Result<(), Stop> {
    let end = file.len();
    let tail = file.get_bytes(end.saturating_sub(TAIL_BYTES), TAIL_BYTES.min(end) as usize).map_err(unreadable)?;
    let Some((length, b"PAR1")) = tail.split_first_chunk::<4>() else {
        return Err(Failed::new("The object is not a Parquet file: it does not end with PAR1").into());
    };
    let bytes = u64::from(u32::from_le_bytes(*length));
    if bytes > PARQUET_FOOTER_BYTES_MAX {
        let cause = format!("The Parquet file's footer has {bytes} bytes, expected at most {PARQUET_FOOTER_BYTES_MAX}");
        return Err(Failed::new(cause).into());
    }
    Ok(())
}

fn check_row_groups(metadata: &ParquetMetaData) -> Result<(), Stop> {
    for (index, group) in metadata.row_groups().iter().enumerate() {
        let bytes = u64::try_from(group.total_byte_size()).unwrap_or(u64::MAX);
        if bytes > PARQUET_ROW_GROUP_BYTES_MAX {
            let cause = format!(
                "Row group {index} of the Parquet file has {bytes} bytes, expected at most \
                 {PARQUET_ROW_GROUP_BYTES_MAX}"
            );
            return Err(Failed::new(cause).into());
        }
    }
    Ok(())
}

fn object_of(row: &Row, columns: &[Arc<Type>]) -> Value {
    let fields = row.get_column_iter().enumerate();
    Value::Object(fields.map(|(at, (name, field))| (name.clone(), value(field, columns.get(at)))).collect())
}

/// `column` is the column's type where it is known: the decoder gives nanoseconds as plain integers.
fn value(field: &Field, column: Option<&Arc<Type>>) -> Value {
    match field {
        Field::Null => Value::Null,
        Field::Bool(value) => (*value).into(),
        Field::Byte(value) => (*value).into(),
        Field::Short(value) => (*value).into(),
        Field::Int(value) => (*value).into(),
        Field::Long(value) if column.is_some_and(|column| is_nanoseconds(column)) => value.div_euclid(1_000_000).into(),
        Field::Long(value) => (*value).into(),
        Field::UByte(value) => (*value).into(),
        Field::UShort(value) => (*value).into(),
        Field::UInt(value) => (*value).into(),
        Field::ULong(value) => (*value).into(),
        // By its shortest text: 0.1 stays 0.1.
        Field::Float(value) => value.to_string().parse::<f64>().map_or(Value::Null, Value::from),
        Field::Float16(value) => value.to_string().parse::<f64>().map_or(Value::Null, Value::from),
        Field::Double(value) => (*value).into(),
        Field::Str(text) => text.as_str().into(),
        Field::Bytes(bytes) => BASE64.encode(bytes.data()).into(),
        Field::Date(_) | Field::TimeMillis(_) | Field::TimeMicros(_) | Field::Decimal(_) => field.to_string().into(),
        Field::TimestampMillis(millis) => (*millis).into(),
        Field::TimestampMicros(micros) => micros.div_euclid(1_000).into(),
        Field::Group(row) => {
            let columns = column.filter(|column| column.is_group()).map_or(&[][..], |column| column.get_fields());
            object_of(row, columns)
        }
        Field::ListInternal(list) => list.elements().iter().map(|field| value(field, None)).collect(),
        Field::MapInternal(map) => {
            let entry = |(key, field): &(Field, Field)| {
                let key = match value(key, None) {
                    Value::String(text) => text,
                    other => other.to_string(),
                };
                (key, value(field, None))
            };
            Value::Object(map.entries().iter().map(entry).collect::<Map<_, _>>())
        }
    }
}

fn is_nanoseconds(column: &Type) -> bool {
    use ::parquet::basic::{LogicalType, TimeUnit};
    match column.get_basic_info().logical_type_ref() {
        Some(LogicalType::Timestamp(timestamp)) => matches!(timestamp.unit, TimeUnit::NANOS),
        _ => false,
    }
}

/// Storage's own fault, or what the decoder says of the content.
fn unreadable(error: ParquetError) -> Stop {
    let object = match &error {
        ParquetError::External(inner) => inner.downcast_ref::<ObjectError>().cloned().or_else(|| {
            let inner = inner.downcast_ref::<io::Error>()?.get_ref()?;
            inner.downcast_ref::<ObjectError>().cloned()
        }),
        _ => None,
    };
    match object {
        Some(object) => Failed::from(object).into(),
        None => Failed::new(format!("The Parquet file could not be read: {error}")).into(),
    }
}

/// An object's bytes at any place, by blocks.
#[derive(Clone)]
struct Remote {
    fetch: SharedFetch,
    bucket: String,
    object: ObjectInfo,
    /// The blocks that were asked for last, by their numbers.
    blocks: Arc<Mutex<VecDeque<(u64, Bytes)>>>,
}

impl Remote {
    fn block(&self, number: u64) -> Result<Bytes, ObjectError> {
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = blocks.iter().position(|(there, _)| *there == number) {
            let found = blocks.remove(at).map(|(_, block)| block).unwrap_or_default();
            blocks.push_back((number, found.clone()));
            return Ok(found);
        }
        let start = number * BLOCK_BYTES;
        let range = start..(start + BLOCK_BYTES).min(self.object.bytes);
        let block = self.fetch.range(&self.bucket, &self.object, range)?;
        if blocks.len() == BLOCKS_MAX {
            blocks.pop_front();
        }
        blocks.push_back((number, block.clone()));
        Ok(block)
    }

    /// What the block around `position` has from there on; empty at the object's end.
    fn from(&self, position: u64) -> Result<Bytes, ObjectError> {
        if position >= self.object.bytes {
            return Ok(Bytes::new());
        }
        let mut block = self.block(position / BLOCK_BYTES)?;
        let offset = (position % BLOCK_BYTES) as usize;
        Ok(block.split_off(offset.min(block.len())))
    }
}

impl Length for Remote {
    fn len(&self) -> u64 {
        self.object.bytes
    }
}

impl ChunkReader for Remote {
    type T = From;

    fn get_read(&self, start: u64) -> Result<From, ParquetError> {
        Ok(From { file: self.clone(), position: start, block: Bytes::new() })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let end = start.saturating_add(length as u64);
        if end > self.object.bytes {
            let reason = format!("bytes {start} to {end} of an object of {}", self.object.bytes);
            return Err(ParquetError::EOF(reason));
        }
        let external = |error: ObjectError| ParquetError::External(Box::new(error));
        let mut bytes = self.from(start).map_err(external)?;
        if bytes.len() >= length {
            bytes.truncate(length);
            return Ok(bytes);
        }
        let mut whole = Vec::with_capacity(length);
        while whole.len() < length {
            let part = self.from(start + whole.len() as u64).map_err(external)?;
            if part.is_empty() {
                return Err(ParquetError::EOF(format!("the object ended at byte {}", start + whole.len() as u64)));
            }
            whole.extend_from_slice(&part[..part.len().min(length - whole.len())]);
        }
        Ok(whole.into())
    }
}

/// An object's bytes from some place on.
struct From {
    file: Remote,
    position: u64,
    block: Bytes,
}

impl Read for From {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.block.is_empty() {
            self.block = self.file.from(self.position).map_err(io::Error::other)?;
        }
        let length = into.len().min(self.block.len());
        self.block.copy_to_slice(&mut into[..length]);
        self.position += length as u64;
        Ok(length)
    }
}
