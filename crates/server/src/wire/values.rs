//! Values as AWS JSON writes them.

use serde_json::{Map, Value};
use starmap_asl::Timestamp;

/// A time: seconds since the Unix epoch with a fraction.
pub(crate) fn time(at: Timestamp) -> Value {
    // Whole milliseconds below 2^53 have an exact double before and a shortest text after the division.
    Value::from(at.0 as f64 / 1000.0)
}

/// An object of the members that are there.
pub(crate) fn object<const N: usize>(members: [(&str, Option<Value>); N]) -> Value {
    Value::Object(
        members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect::<Map<_, _>>(),
    )
}

/// What AWS says beside every input and output.
pub(crate) fn data_details(included: bool) -> Value {
    serde_json::json!({ "included": included })
}
