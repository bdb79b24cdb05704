//! How large a value is as JSON text, without writing the text.

use std::io::{self, Write};

use serde_json::Value;

/// The length of the compact JSON text.
pub(crate) fn json_bytes(value: &Value) -> usize {
    let mut counter = Counter { bytes: 0, bytes_max: usize::MAX };
    // Nothing but the limit can fail, and there is none.
    let _ = serde_json::to_writer(&mut counter, value);
    counter.bytes
}

/// True if the compact JSON text has more than `bytes_max` bytes; stops counting there.
pub(crate) fn exceeds(value: &Value, bytes_max: usize) -> bool {
    serde_json::to_writer(&mut Counter { bytes: 0, bytes_max }, value).is_err()
}

/// Counts bytes, keeps none, fails at the first beyond.
struct Counter {
    bytes: usize,
    bytes_max: usize,
}

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes += bytes.len();
        if self.bytes > self.bytes_max { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes.len()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn counts_what_is_written() {
        let value = json!({"a": [1, 2.5, "x\n"], "b": null});
        assert_eq!(json_bytes(&value), value.to_string().len());
        assert!(!exceeds(&value, value.to_string().len()));
        assert!(exceeds(&value, value.to_string().len() - 1));
    }
}
