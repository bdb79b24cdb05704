//! Rows of a CSV file as objects of strings.

use ::csv::{ReaderBuilder, StringRecord};
use serde_json::{Map, Value};
use starmap_asl::{CsvConfig, CsvHeaders};

use super::{Content, Emit, Failed, Stop, unreadable};
use crate::limits::CSV_HEADER_BYTES_MAX;

/// Missing fields become empty, surplus ones are left out, empty lines are no rows.
pub(super) fn read(content: Content<'_>, config: &CsvConfig, emit: &mut Emit<'_>) -> Result<(), Stop> {
    let mut reader =
        ReaderBuilder::new().has_headers(false).flexible(true).delimiter(config.delimiter).from_reader(content);
    let mut record = ::csv::ByteRecord::new();
    let mut headers = match &config.headers {
        CsvHeaders::Given(headers) => Some(checked(headers.clone())?),
        CsvHeaders::FirstRow => None,
    };
    loop {
        match reader.read_byte_record(&mut record) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(error) => {
                let text = error.to_string();
                return match error.into_kind() {
                    ::csv::ErrorKind::Io(error) => {
                        Err(unreadable(&error, || format!("The CSV file could not be read: {error}")))
                    }
                    _ => Err(Failed::new(format!("The CSV file could not be parsed: {text}")).into()),
                };
            }
        }
        let row = StringRecord::from_byte_record_lossy(std::mem::take(&mut record));
        let Some(headers) = &headers else {
            let names = row.iter().enumerate().map(|(index, name)| {
                let name = if index == 0 { name.trim_start_matches('\u{feff}') } else { name };
                name.to_owned()
            });
            headers = Some(checked(names.collect())?);
            continue;
        };
        let mut item = Map::with_capacity(headers.len());
        for (index, header) in headers.iter().enumerate() {
            item.insert(header.clone(), Value::String(row.get(index).unwrap_or_default().to_owned()));
        }
        emit(Value::Object(item))?;
    }
}

fn checked(headers: Vec<String>) -> Result<Vec<String>, Failed> {
    let mut sorted: Vec<&str> = headers.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(Failed::new("CSV headers cannot contain duplicates."));
    }
    let bytes: usize = headers.iter().map(|header| header.len() + 1).sum();
    if bytes > CSV_HEADER_BYTES_MAX {
        return Err(Failed::new(format!("CSV headers have {bytes} bytes, expected at most {CSV_HEADER_BYTES_MAX}")));
    }
    Ok(headers)
}
