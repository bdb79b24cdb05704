//! Any bytes as a safetensors header, with data behind it.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|header: &[u8]| {
    starmap_fuzz::read_everything(header);
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header);
    file.extend([0; 96]);
    starmap_fuzz::read_everything(&file);
});
