//! A path or an intrinsic function in a payload template.
#![no_main]

use libfuzzer_sys::fuzz_target;
use starmap_fuzz::asl::evaluate;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let (expression, input) = text.split_once('\n').unwrap_or((&text, "{\"a\": [1, {\"b\": \"x\"}], \"n\": 3}"));
    evaluate(expression, input);
});
