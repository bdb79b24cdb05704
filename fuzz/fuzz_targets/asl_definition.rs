//! A definition, an input and answers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use starmap_fuzz::asl::check_and_run;

fuzz_target!(|bytes: &[u8]| {
    let (text, answers) = bytes.split_at(bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len()));
    let text = String::from_utf8_lossy(text);
    check_and_run(&text, r#"{"a": [1, {"b": "x"}], "n": 3, "t": "2026-01-01T00:00:00Z"}"#, answers);
});
