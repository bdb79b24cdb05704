//! JSON as TestState writes it.

use serde_json::Value;

/// A space after every comma and colon: so far every array in a recorded answer is written like this, the taken-apart
/// ones, too, where a history writes none.
pub(super) fn write(value: &Value) -> String {
    let mut out = String::new();
    append(value, &mut out);
    out
}

fn append(value: &Value, out: &mut String) {
    match value {
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                append(item, out);
            }
            out.push(']');
        }
        Value::Object(fields) => {
            out.push('{');
            for (index, (name, value)) in fields.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                // A JSON string by way of a value, which escapes it.
                out.push_str(&Value::from(name.as_str()).to_string());
                out.push_str(": ");
                append(value, out);
            }
            out.push('}');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn commas_and_colons_are_followed_by_a_space() {
        let value = json!([1, "a,b", {"c": [], "d\"": {}}, null]);
        let text = super::write(&value);
        assert_eq!(text, r#"[1, "a,b", {"c": [], "d\"": {}}, null]"#);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }
}
