//! Parquet files of every kind that people have.

use ::parquet::basic::{Compression, GzipLevel};
use ::parquet::data_type::{ByteArray, ByteArrayType, DoubleType, FloatType, Int32Type, Int64Type};
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use ::parquet::schema::parser::parse_message_type;
use serde_json::json;

use super::*;

const SCHEMA: &str = "message galaxies {
  required int64 id;
  optional binary name (STRING);
  required double z;
  required float mag;
  required int64 micros (TIMESTAMP(MICROS,true));
  required int64 nanos (TIMESTAMP(NANOS,true));
  required int32 day (DATE);
  required int32 price (DECIMAL(5,2));
  required binary raw;
  required group place { required double ra; }
  optional group bands (LIST) { repeated group list { required binary element (STRING); } }
}";

/// Two row groups of two rows each.
fn galaxies(compression: Compression) -> Vec<u8> {
    let properties = WriterProperties::builder().set_compression(compression).build();
    let schema = parse_message_type(SCHEMA).unwrap();
    let mut file = SerializedFileWriter::new(Vec::new(), schema.into(), properties.into()).unwrap();
    for first in [0_i64, 2] {
        let mut group = file.next_row_group().unwrap();
        let text = |text: &str| ByteArray::from(text);
        column::<Int64Type>(&mut group, &[first, first + 1], None, None);
        column::<ByteArrayType>(&mut group, &[text("é")], Some(&[1, 0]), None);
        column::<DoubleType>(&mut group, &[0.5, f64::NAN], None, None);
        column::<FloatType>(&mut group, &[0.1, -2.0], None, None);
        column::<Int64Type>(&mut group, &[1_700_000_000_123_456, -1], None, None);
        column::<Int64Type>(&mut group, &[1_700_000_000_123_456_789, -1], None, None);
        column::<Int32Type>(&mut group, &[20_784, 0], None, None);
        column::<Int32Type>(&mut group, &[12_345, -5], None, None);
        column::<ByteArrayType>(&mut group, &[ByteArray::from(vec![0, 255]), text("")], None, None);
        column::<DoubleType>(&mut group, &[10.0, 20.5], None, None);
        column::<ByteArrayType>(&mut group, &[text("u"), text("g")], Some(&[2, 2, 0]), Some(&[0, 1, 0]));
        group.close().unwrap();
    }
    file.into_inner().unwrap()
}

fn column<T: ::parquet::data_type::DataType>(
    group: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
    values: &[T::T],
    definitions: Option<&[i16]>,
    repetitions: Option<&[i16]>,
) {
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<T>().write_batch(values, definitions, repetitions).unwrap();
    column.close().unwrap();
}

#[test]
fn rows_are_objects_that_keep_their_types() {
    let rows = |id: i64| {
        [
            json!({
                "id": id, "name": "é", "z": 0.5, "mag": 0.1, "micros": 1_700_000_000_123_i64,
                "nanos": 1_700_000_000_123_i64, "day": "2026-11-27", "price": "123.45", "raw": "AP8=",
                "place": { "ra": 10.0 }, "bands": ["u", "g"],
            }),
            json!({
                "id": id + 1, "name": null, "z": null, "mag": -2.0, "micros": -1, "nanos": -1, "day": "1970-01-01",
                "price": "-0.05", "raw": "", "place": { "ra": 20.5 }, "bands": null,
            }),
        ]
    };
    let expected = Value::from([rows(0), rows(2)].concat());
    for compression in [Compression::UNCOMPRESSED, Compression::SNAPPY, Compression::GZIP(GzipLevel::default())] {
        let memory = Memory::with(galaxies(compression));
        assert_eq!(all(&memory, &request(InputType::Parquet)), Ok(expected.clone()), "{compression}");
    }
    // As files of an Athena manifest, too.
    let mut memory = Memory::with("s3://b/1.parquet\ns3://b/2.parquet\n");
    memory.put("1.parquet", galaxies(Compression::SNAPPY));
    memory.put("2.parquet", galaxies(Compression::SNAPPY));
    let mut athena = request(InputType::Manifest);
    athena.manifest_type = ManifestType::AthenaData;
    athena.manifest_input_type = Some(InputType::Parquet);
    assert_eq!(all(&memory, &athena).unwrap().as_array().unwrap().len(), 8);
}

#[test]
fn a_file_of_many_blocks_is_read_as_far_as_items_are_wanted() {
    let schema = parse_message_type("message m { required int64 a; required int64 b; }").unwrap();
    let properties = WriterProperties::builder().set_dictionary_enabled(false).build();
    let mut file = SerializedFileWriter::new(Vec::new(), schema.into(), properties.into()).unwrap();
    let values: Vec<i64> = (0..100_000).collect();
    let mut group = file.next_row_group().unwrap();
    column::<Int64Type>(&mut group, &values, None, None);
    column::<Int64Type>(&mut group, &values, None, None);
    group.close().unwrap();
    let memory = Memory::with(file.into_inner().unwrap());
    let mut request = request(InputType::Parquet);
    let rows = all(&memory, &request).unwrap();
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 100_000);
    assert!(rows.iter().zip(&values).all(|(row, value)| *row == json!({ "a": value, "b": value })));
    request.items_max = Some(3);
    assert_eq!(all(&memory, &request).unwrap().as_array().unwrap().len(), 3);
}

#[test]
fn what_is_no_parquet_file_or_a_damaged_one_is_said() {
    let refused = |content: &[u8]| all(&Memory::with(content), &request(InputType::Parquet));
    let not = Err("The object is not a Parquet file: it does not end with PAR1".to_owned());
    for content in [&b""[..], b"PAR1", b"a,b\n1,2\n"] {
        assert_eq!(refused(content), not);
    }
    let too_large = refused(b"PAR1\xff\xff\xff\x00PAR1");
    assert_eq!(too_large, Err("The Parquet file's footer has 16777215 bytes, expected at most 5242880".to_owned()));
    assert!(refused(b"PAR1\x10\x00\x00\x00PAR1").unwrap_err().starts_with("The Parquet file could not be read"));
    let whole = galaxies(Compression::SNAPPY);
    for at in (0..whole.len()).step_by(7) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x15;
        // Some damage can't be seen; none of it ends the reader's thread.
        let _ = refused(&damaged);
    }
    assert_eq!(
        read_text(&request(InputType::Parquet), "PAR1").unwrap_err().cause,
        "A Parquet file can't be given as text"
    );
}
