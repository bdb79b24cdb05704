//! The zip of a function: one file, `bootstrap`, the same bytes for the same program.

use std::io::{Cursor, Write};

use anyhow::Context;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

/// Largest zip that Lambda takes from a caller, and largest code it unpacks:
/// <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>, read 2026-11.
pub const ZIPPED_BYTES_MAX: usize = 50 << 20;
/// See [`ZIPPED_BYTES_MAX`].
pub const UNZIPPED_BYTES_MAX: usize = 250 << 20;

/// Name of the file that `provided.al2023` starts.
pub const BOOTSTRAP: &str = "bootstrap";

/// Packs an executable. No time and no user of this machine gets in, so the same program makes the same zip: Terraform changes
/// a function when its code has changed, and only then.
pub fn pack(executable: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .last_modified_time(DateTime::default())
        .unix_permissions(0o755);
    zip.start_file(BOOTSTRAP, options).context("packing the bootstrap")?;
    zip.write_all(executable).context("packing the bootstrap")?;
    Ok(zip.finish().context("packing the bootstrap")?.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_program_makes_the_same_zip() {
        let program = b"\x7fELF and so on".repeat(1_000);
        let zipped = pack(&program).unwrap();
        assert_eq!(zipped, pack(&program).unwrap());
        assert_ne!(zipped, pack(&program[1..]).unwrap());
        let mut archive = zip::ZipArchive::new(Cursor::new(&zipped)).unwrap();
        assert_eq!(archive.len(), 1);
        let mut file = archive.by_index(0).unwrap();
        assert_eq!((file.name().unwrap().as_ref(), file.unix_mode().unwrap() & 0o777), (BOOTSTRAP, 0o755));
        let mut unpacked = Vec::new();
        std::io::copy(&mut file, &mut unpacked).unwrap();
        assert_eq!(unpacked, program);
    }
}
