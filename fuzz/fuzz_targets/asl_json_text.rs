//! What is wrong with a text that is no JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;
use starmap_asl::json_text::problem;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    if let Some(problem) = problem(&text) {
        assert!(!problem.to_string().is_empty() && problem.line > 0 && problem.column > 0);
    }
});
