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

/// How deep a state's data may nest. Every JSON reader on their way has a limit (ours 128, AWS's 1000), and whoever
/// walks over a value by calling itself needs one.
pub(crate) const DEPTH_MAX: usize = 100;

/// True if arrays and objects nest deeper than `depth_max`; walks with a stack of its own.
pub(crate) fn is_deeper_than(value: &Value, depth_max: usize) -> bool {
    let mut pending = vec![(value, 0)];
    while let Some((value, depth)) = pending.pop() {
        let inside = depth + 1;
        match value {
            Value::Array(items) => {
                if inside > depth_max {
                    return true;
                }
                pending.extend(items.iter().filter(|item| is_container(item)).map(|item| (item, inside)));
            }
            Value::Object(fields) => {
                if inside > depth_max {
                    return true;
                }
                pending.extend(fields.values().filter(|field| is_container(field)).map(|field| (field, inside)));
            }
            _ => {}
        }
    }
    false
}

fn is_container(value: &Value) -> bool {
    value.is_array() || value.is_object()
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
    fn depth_is_found_wherever_it_is() {
        let nested = |depth: usize| (0..depth).fold(json!(1), |inner, _| json!({ "a": [1, {}], "b": inner }));
        assert!(!is_deeper_than(&json!(1), 0));
        assert!(is_deeper_than(&json!([]), 0));
        assert!(!is_deeper_than(&nested(10), 12));
        assert!(is_deeper_than(&nested(10), 11));
    }

    #[test]
    fn counts_what_is_written() {
        let value = json!({"a": [1, 2.5, "x\n"], "b": null});
        assert_eq!(json_bytes(&value), value.to_string().len());
        assert!(!exceeds(&value, value.to_string().len()));
        assert!(exceeds(&value, value.to_string().len() - 1));
    }
}
