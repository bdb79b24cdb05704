//! Predictions as Parquet: one row per galaxy, in the order of the partitions and of their rows.
//!
//! | column | type | |
//! |---|---|---|
//! | `galaxy_id` | string | `{partition}#{row}`, unique in a run |
//! | `partition` | string | key of the partition in its bucket |
//! | `row` | int64 | row in the partition, from 0 |
//! | `z_phot` | float, nullable | predicted redshift; null if the galaxy was flagged |
//! | `z_spec` | double, nullable | spectroscopic redshift, if the partition has it |
//! | `magnitude_r` | float | magnitude in the r band, mag |
//! | `flags` | int32 | bits, see [`FLAG_NOT_FINITE`] and [`FLAG_NO_REDSHIFT`] |
//! | `run_id` | string | id of the run |
//! | `model_hash` | string | SHA-256 of the model file |
//!
//! Run id, rank, row count and precision are also in the file's key-value metadata (`starmap.run_id`, …).

use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{Compression, Encoding, LogicalType, Repetition, Type as PhysicalType};
use parquet::column::reader::get_typed_column_reader;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, FloatType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{ChunkReader, FileReader, RowGroupReader, SerializedFileReader};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{ColumnPath, Type};

/// Bit of `flags`: the galaxy has NaN or infinite pixels or magnitudes, so it has no `z_phot`.
pub const FLAG_NOT_FINITE: i32 = 1;
/// Bit of `flags`: the values are finite, but the model's redshift is not.
pub const FLAG_NO_REDSHIFT: i32 = 2;

/// Rows of a row group: enough to compress well, few enough to hold in memory (some 8 MB).
const GROUP_ROWS: usize = 1 << 16;

/// What one galaxy's row says, beside what is the same for the whole file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prediction {
    /// Row in its partition.
    pub row: u64,
    /// Predicted redshift.
    pub z_phot: Option<f32>,
    /// Spectroscopic redshift.
    pub z_spec: Option<f64>,
    /// Magnitude in the r band, mag.
    pub magnitude_r: f32,
    /// See [`FLAG_NOT_FINITE`].
    pub flags: i32,
}

/// What is the same for all rows of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provenance {
    /// Id of the run.
    pub run_id: String,
    /// SHA-256 of the model file, hexadecimal.
    pub model_hash: String,
    /// The rank that wrote it; `None` for the merged file.
    pub rank: Option<usize>,
    /// In how many bits the model's large layers multiplied.
    pub precision: String,
}

/// Writes predictions with bounded memory: one row group at a time.
pub struct Writer<W: Write + Send> {
    file: SerializedFileWriter<W>,
    provenance: Provenance,
    group: Group,
    rows: u64,
}

#[derive(Default)]
struct Group {
    galaxy_id: Vec<ByteArray>,
    partition: Vec<ByteArray>,
    row: Vec<i64>,
    z_phot: Vec<f32>,
    z_phot_present: Vec<i16>,
    z_spec: Vec<f64>,
    z_spec_present: Vec<i16>,
    magnitude_r: Vec<f32>,
    flags: Vec<i32>,
}

impl<W: Write + Send> Writer<W> {
    /// Begins a file.
    ///
    /// # Errors
    /// If its head can't be written.
    pub fn new(to: W, provenance: Provenance) -> Result<Self, ParquetError> {
        let column = |name: &str| ColumnPath::from(name);
        let properties = WriterProperties::builder()
            .set_created_by(crate::CREATED_BY.to_owned())
            .set_compression(Compression::SNAPPY)
            // No two ids are the same, but each begins as the one before.
            .set_column_dictionary_enabled(column("galaxy_id"), false)
            .set_column_encoding(column("galaxy_id"), Encoding::DELTA_BYTE_ARRAY)
            .set_column_dictionary_enabled(column("row"), false)
            .set_column_encoding(column("row"), Encoding::DELTA_BINARY_PACKED)
            .set_column_dictionary_enabled(column("z_phot"), false)
            .set_column_dictionary_enabled(column("z_spec"), false)
            .set_column_dictionary_enabled(column("magnitude_r"), false)
            .build();
        let file = SerializedFileWriter::new(to, schema()?, Arc::new(properties))?;
        Ok(Self { file, provenance, group: Group::default(), rows: 0 })
    }

    /// Adds galaxies of one partition.
    ///
    /// # Errors
    /// If a row group can't be written.
    pub fn push(&mut self, partition: &str, predictions: &[Prediction]) -> Result<(), ParquetError> {
        let partition_key = ByteArray::from(partition);
        for prediction in predictions {
            let group = &mut self.group;
            group.galaxy_id.push(ByteArray::from(galaxy_id(partition, prediction.row).into_bytes()));
            group.partition.push(partition_key.clone());
            group.row.push(i64::try_from(prediction.row).map_err(|error| ParquetError::General(error.to_string()))?);
            group.z_phot.extend(prediction.z_phot);
            group.z_phot_present.push(prediction.z_phot.is_some().into());
            group.z_spec.extend(prediction.z_spec);
            group.z_spec_present.push(prediction.z_spec.is_some().into());
            group.magnitude_r.push(prediction.magnitude_r);
            group.flags.push(prediction.flags);
            if group.row.len() == GROUP_ROWS {
                self.write_group()?;
            }
        }
        Ok(())
    }

    /// Ends the file; returns what it was written to, and the number of rows.
    ///
    /// # Errors
    /// If the last row group or the footer can't be written.
    pub fn finish(mut self) -> Result<(W, u64), ParquetError> {
        if !self.group.row.is_empty() {
            self.write_group()?;
        }
        let mut note = |key: &str, value: String| {
            self.file.append_key_value_metadata(KeyValue::new(key.to_owned(), value));
        };
        note("starmap.run_id", self.provenance.run_id.clone());
        note("starmap.model_hash", self.provenance.model_hash.clone());
        note("starmap.precision", self.provenance.precision.clone());
        note("starmap.rows", self.rows.to_string());
        if let Some(rank) = self.provenance.rank {
            note("starmap.rank", rank.to_string());
        }
        Ok((self.file.into_inner()?, self.rows))
    }

    fn write_group(&mut self) -> Result<(), ParquetError> {
        let group = &self.group;
        let rows = group.row.len();
        let mut writer = self.file.next_row_group()?;
        write_column::<ByteArrayType, _>(&mut writer, &group.galaxy_id, None)?;
        write_column::<ByteArrayType, _>(&mut writer, &group.partition, None)?;
        write_column::<Int64Type, _>(&mut writer, &group.row, None)?;
        write_column::<FloatType, _>(&mut writer, &group.z_phot, Some(&group.z_phot_present))?;
        write_column::<DoubleType, _>(&mut writer, &group.z_spec, Some(&group.z_spec_present))?;
        write_column::<FloatType, _>(&mut writer, &group.magnitude_r, None)?;
        write_column::<Int32Type, _>(&mut writer, &group.flags, None)?;
        for constant in [&self.provenance.run_id, &self.provenance.model_hash] {
            write_column::<ByteArrayType, _>(&mut writer, &vec![ByteArray::from(constant.as_str()); rows], None)?;
        }
        writer.close()?;
        self.rows += rows as u64;
        self.group = Group::default();
        Ok(())
    }
}

/// `{partition}#{row}`: unique in a run, and says where to look.
pub fn galaxy_id(partition: &str, row: u64) -> String {
    format!("{partition}#{row}")
}

/// Rows of one row group, as they are in the file.
#[derive(Debug, Default)]
pub struct Rows {
    /// Ids.
    pub galaxy_id: Vec<ByteArray>,
    /// Keys of partitions.
    pub partition: Vec<ByteArray>,
    /// The rest.
    pub predictions: Vec<Prediction>,
    /// Ids of runs.
    pub run_id: Vec<ByteArray>,
    /// Model hashes.
    pub model_hash: Vec<ByteArray>,
}

/// Reads a file of predictions, one row group at a time.
pub struct Reader<S: ChunkReader + 'static = Bytes> {
    file: SerializedFileReader<S>,
}

impl Reader {
    /// Opens a file that is in memory and checks its columns.
    ///
    /// # Errors
    /// If it is not Parquet or has other columns.
    pub fn new(bytes: Bytes) -> Result<Self, ParquetError> {
        Self::open(bytes)
    }
}

impl<S: ChunkReader + 'static> Reader<S> {
    /// Opens a file wherever it is and checks its columns.
    ///
    /// # Errors
    /// If it is not Parquet or has other columns.
    pub fn open(bytes: S) -> Result<Self, ParquetError> {
        let file = SerializedFileReader::new(bytes)?;
        let columns = |schema: &Type| -> Vec<_> {
            let fields = schema.get_fields().iter();
            fields.map(|field| (field.name().to_owned(), field.get_physical_type())).collect()
        };
        let found = file.metadata().file_metadata().schema();
        let is_flat = found.get_fields().iter().all(|field| field.is_primitive());
        if !is_flat || columns(found) != columns(&*schema()?) {
            let names: Vec<_> = found.get_fields().iter().map(|field| field.name()).collect();
            return Err(ParquetError::General(format!("its columns are {names:?}, expected those of predictions")));
        }
        Ok(Self { file })
    }

    /// How many rows the footer says there are.
    pub fn rows(&self) -> u64 {
        u64::try_from(self.file.metadata().file_metadata().num_rows()).unwrap_or(0)
    }

    /// How many row groups there are.
    pub fn groups(&self) -> usize {
        self.file.num_row_groups()
    }

    /// Reads one row group.
    ///
    /// # Errors
    /// If it can't be decoded or its columns differ in length.
    pub fn group(&self, index: usize) -> Result<Rows, ParquetError> {
        let group = self.file.get_row_group(index)?;
        let row = read_column::<Int64Type>(&*group, 2)?;
        let z_phot = read_nullable::<FloatType>(&*group, 3)?;
        let z_spec = read_nullable::<DoubleType>(&*group, 4)?;
        let magnitude_r = read_column::<FloatType>(&*group, 5)?;
        let flags = read_column::<Int32Type>(&*group, 6)?;
        let predictions = (0..row.len()).map(|i| {
            Ok(Prediction {
                row: u64::try_from(row[i]).map_err(|_| ParquetError::General(format!("row {} is negative", row[i])))?,
                z_phot: z_phot[i],
                z_spec: z_spec[i],
                magnitude_r: magnitude_r[i],
                flags: flags[i],
            })
        });
        Ok(Rows {
            galaxy_id: read_column::<ByteArrayType>(&*group, 0)?,
            partition: read_column::<ByteArrayType>(&*group, 1)?,
            predictions: predictions.collect::<Result<_, ParquetError>>()?,
            run_id: read_column::<ByteArrayType>(&*group, 7)?,
            model_hash: read_column::<ByteArrayType>(&*group, 8)?,
        })
    }
}

fn schema() -> Result<Arc<Type>, ParquetError> {
    let column = |name: &str, physical: PhysicalType, repetition: Repetition| {
        let text = (physical == PhysicalType::BYTE_ARRAY).then_some(LogicalType::String);
        let column = Type::primitive_type_builder(name, physical).with_repetition(repetition);
        column.with_logical_type(text).build().map(Arc::new)
    };
    use PhysicalType::{BYTE_ARRAY, DOUBLE, FLOAT, INT32, INT64};
    let (required, optional) = (Repetition::REQUIRED, Repetition::OPTIONAL);
    let columns = vec![
        column("galaxy_id", BYTE_ARRAY, required)?,
        column("partition", BYTE_ARRAY, required)?,
        column("row", INT64, required)?,
        column("z_phot", FLOAT, optional)?,
        column("z_spec", DOUBLE, optional)?,
        column("magnitude_r", FLOAT, required)?,
        column("flags", INT32, required)?,
        column("run_id", BYTE_ARRAY, required)?,
        column("model_hash", BYTE_ARRAY, required)?,
    ];
    Ok(Arc::new(Type::group_type_builder("predictions").with_fields(columns).build()?))
}

fn write_column<T: DataType, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    values: &[T::T],
    present: Option<&[i16]>,
) -> Result<(), ParquetError> {
    let column = group.next_column()?;
    let mut column = column.ok_or_else(|| ParquetError::General("a column too many".to_owned()))?;
    column.typed::<T>().write_batch(values, present, None)?;
    column.close()
}

fn read_column<T: DataType>(group: &dyn RowGroupReader, index: usize) -> Result<Vec<T::T>, ParquetError> {
    let rows = group_rows(group);
    let mut values = Vec::with_capacity(rows);
    let mut reader = get_typed_column_reader::<T>(group.get_column_reader(index)?);
    reader.read_records(rows, None, None, &mut values)?;
    if values.len() != rows {
        let name = group.metadata().column(index).column_path().string();
        return Err(ParquetError::General(format!("column {name} has {} values for {rows} rows", values.len())));
    }
    Ok(values)
}

fn read_nullable<T: DataType>(group: &dyn RowGroupReader, index: usize) -> Result<Vec<Option<T::T>>, ParquetError> {
    let rows = group_rows(group);
    let (mut values, mut present) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
    let mut reader = get_typed_column_reader::<T>(group.get_column_reader(index)?);
    reader.read_records(rows, Some(&mut present), None, &mut values)?;
    let is_whole = present.len() == rows && values.len() == present.iter().filter(|&&level| level == 1).count();
    if !is_whole {
        let name = group.metadata().column(index).column_path().string();
        return Err(ParquetError::General(format!("column {name} has {} values for {rows} rows", present.len())));
    }
    let mut values = values.into_iter();
    Ok(present.into_iter().map(|level| if level == 1 { values.next() } else { None }).collect())
}

fn group_rows(group: &dyn RowGroupReader) -> usize {
    usize::try_from(group.metadata().num_rows()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn predictions(count: u64) -> Vec<Prediction> {
        let one = |row| Prediction {
            row,
            z_phot: (row % 7 != 3).then_some(row as f32 / 1e3),
            z_spec: (row % 5 != 1).then_some(row as f64 / 1e3),
            magnitude_r: 15.0 + row as f32 / 1e5,
            flags: i32::from(row % 7 == 3),
        };
        (0..count).map(one).collect()
    }

    fn written(parts: &[(&str, u64)]) -> Bytes {
        let provenance =
            Provenance { run_id: "run-1".into(), model_hash: "ab".repeat(32), rank: Some(3), precision: "f32".into() };
        let mut writer = Writer::new(Vec::new(), provenance).unwrap();
        parts.iter().for_each(|(partition, rows)| writer.push(partition, &predictions(*rows)).unwrap());
        let (bytes, rows) = writer.finish().unwrap();
        assert_eq!(rows, parts.iter().map(|(_, rows)| rows).sum::<u64>());
        bytes.into()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let reader = Reader::new(written(&[("a b/1.pt", 100_000), ("a b/2.pt", 7)])).unwrap();
        assert_eq!((reader.rows(), reader.groups()), (100_007, 2));
        let (first, second) = (reader.group(0).unwrap(), reader.group(1).unwrap());
        let read: Vec<_> = first.predictions.iter().chain(&second.predictions).copied().collect();
        assert_eq!(read, [predictions(100_000), predictions(7)].concat());
        assert_eq!(second.galaxy_id.last().unwrap().data(), b"a b/2.pt#6");
        assert_eq!(second.partition.last().unwrap().data(), b"a b/2.pt");
        assert_eq!(second.run_id[0].data(), b"run-1");
        assert_eq!(second.model_hash[0].len(), 64);
    }

    #[test]
    fn the_same_predictions_are_the_same_bytes() {
        assert_eq!(written(&[("1.pt", 500)]), written(&[("1.pt", 500)]));
    }

    #[test]
    fn bytes_per_row_are_few() {
        let bytes = written(&[("25MB/1.pt", 1_278)]).len();
        assert!(bytes < 1_278 * 30, "{bytes} bytes for 1,278 galaxies");
    }

    #[test]
    fn damage_is_an_error_and_never_a_panic() {
        let whole = written(&[("1.pt", 300)]);
        for cut in [0, 4, 100, whole.len() - 9, whole.len() - 1] {
            let read = Reader::new(whole.slice(..cut)).and_then(|reader| reader.group(0));
            assert!(read.is_err(), "cut at {cut}");
        }
    }
}
