//! Any bytes as a `.pt`: directory, entries, pickle.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| starmap_fuzz::read_everything(bytes));
