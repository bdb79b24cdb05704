//! Any bytes as arrays in a zip.
#![no_main]

use libfuzzer_sys::fuzz_target;
use starmap_fuzz::{read_everything, stored_zip};

fuzz_target!(|bytes: &[u8]| {
    let (first, second) = bytes.split_at(bytes.len() / 2);
    read_everything(&stored_zip(&[("images.npy", first), ("magnitudes.npy", second)]));
});
