//! A path and a value.
#![no_main]

use libfuzzer_sys::fuzz_target;
use starmap_asl::jsonpath::{JsonPath, ReferencePath};

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let (path, value) = text.split_once('\n').unwrap_or((&text, "{\"a\": [1, {\"b\": \"x\"}]}"));
    let value: serde_json::Value = serde_json::from_str(value).unwrap_or_default();
    if let Ok(path) = JsonPath::parse(path) {
        let _ = path.query(&value);
        let printed = path.to_string();
        assert_eq!(JsonPath::parse(&printed).expect("a printed path is a path").to_string(), printed);
    }
    if let Ok(path) = ReferencePath::parse(path) {
        let _ = path.put(value, serde_json::Value::Null);
    }
});
