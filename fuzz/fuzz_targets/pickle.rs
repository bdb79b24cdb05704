//! Any bytes as a pickle, alone and inside of a sound zip.
#![no_main]

use libfuzzer_sys::fuzz_target;
use starmap_fuzz::{read_everything, stored_zip};
use starmap_partitions::pickle::{Kind, Pickle};

fuzz_target!(|bytes: &[u8]| {
    let _ = Pickle::read(bytes, Kind::Partition, "p");
    let _ = Pickle::read(bytes, Kind::Checkpoint, "p");
    let (images, magnitudes, redshifts) = (vec![0; 20_480], vec![0; 40], vec![0; 4]);
    let file = stored_zip(&[
        ("a/data.pkl", bytes),
        ("a/data/0", &images),
        ("a/data/1", &magnitudes),
        ("a/data/2", &redshifts),
    ]);
    read_everything(&file);
});
