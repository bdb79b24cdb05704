//! `States.StringToJson` and `States.JsonMerge`.

use serde_json::Value;

use super::strings::text;

pub(super) fn from_text(value: &Value) -> Result<Value, String> {
    let value = text(value, "the argument")?;
    serde_json::from_str(value).map_err(|error| format!("the argument is not JSON: {error}"))
}

/// Shallow merge: where both have a key, the second wins whole.
pub(super) fn merge(first: &Value, second: &Value, deep: &Value) -> Result<Value, String> {
    let (Value::Object(first), Value::Object(second)) = (first, second) else {
        return Err("the first two arguments must be objects".to_owned());
    };
    match deep {
        Value::Bool(false) => {}
        Value::Bool(true) => return Err("deep merging is not supported: the third argument must be false".to_owned()),
        other => return Err(format!("the third argument must be false, found {other}")),
    }
    let mut merged = first.clone();
    for (key, value) in second {
        merged.insert(key.clone(), value.clone());
    }
    Ok(Value::Object(merged))
}
