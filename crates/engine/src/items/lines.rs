//! One JSON value per line.

use std::io::BufRead;

use super::{Content, Emit, Failed, Stop, unreadable};

/// Empty lines are no items.
pub(super) fn read(mut content: Content<'_>, emit: &mut Emit<'_>) -> Result<(), Stop> {
    let mut line = Vec::new();
    let mut number = 0_u64;
    loop {
        line.clear();
        number += 1;
        let length = content
            .read_until(b'\n', &mut line)
            .map_err(|error| unreadable(&error, || format!("The JSON Lines file could not be read: {error}")))?;
        if length == 0 {
            return Ok(());
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let item = serde_json::from_slice(&line);
        emit(
            item.map_err(|error| {
                Failed::new(format!("Unable to parse line {number} of the JSON Lines file: {error}"))
            })?,
        )?;
    }
}
