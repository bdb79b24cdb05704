//! What the fuzz targets share. `cargo +nightly fuzz run pickle` runs one; `fuzz/seeds` holds where to start from.

pub mod asl;

use starmap_partitions::tensors::TensorFile;
use starmap_partitions::{Batch, Partition};

/// Opens bytes as a partition and as a checkpoint, and reads all there is to read.
pub fn read_everything(bytes: &[u8]) {
    if let Ok(mut partition) = Partition::open(bytes, "fuzz") {
        let mut batch = Batch::default();
        for first in (0..partition.galaxies()).step_by(2) {
            if partition.read(first..partition.galaxies().min(first + 2), &mut batch).is_err() {
                break;
            }
            batch.non_finite_rows();
        }
        let _ = partition.finish();
    }
    if let Ok(file) = TensorFile::open(bytes, "fuzz") {
        for entry in file.entries() {
            let mut values = Vec::new();
            if file.read_f32(&entry.name, &mut values).is_ok() {
                assert_eq!(values.len() as u64, entry.elements());
            }
        }
        let _ = file.verify();
    }
}

/// A zip of stored entries without checksums, so that changed content is still read.
pub fn stored_zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, data) in entries {
        let mut fields = vec![0; 14];
        fields[0] = 20;
        for _ in 0..2 {
            fields.extend((data.len() as u32).to_le_bytes());
        }
        fields.extend((name.len() as u16).to_le_bytes());
        fields.extend([0, 0]);
        directory.extend(b"PK\x01\x02\x14\x00");
        directory.extend(&fields);
        directory.extend([0; 10]);
        directory.extend((out.len() as u32).to_le_bytes());
        directory.extend(name.as_bytes());
        out.extend(b"PK\x03\x04");
        out.extend(&fields);
        out.extend(name.as_bytes());
        out.extend(*data);
    }
    let start = out.len() as u32;
    out.extend(&directory);
    out.extend(b"PK\x05\x06\0\0\0\0");
    for _ in 0..2 {
        out.extend((entries.len() as u16).to_le_bytes());
    }
    out.extend((directory.len() as u32).to_le_bytes());
    out.extend(start.to_le_bytes());
    out.extend([0, 0]);
    out
}
