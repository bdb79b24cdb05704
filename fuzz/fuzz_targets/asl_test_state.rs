//! A call of TestState.
#![no_main]

use libfuzzer_sys::fuzz_target;
use starmap_fuzz::asl::test_state;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    test_state(&text.split('\n').collect::<Vec<_>>());
});
