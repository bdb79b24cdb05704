//! Archives of code: checked, unpacked, kept by the hash of their content.
//!
//! An archive comes from whoever may reach the server; what it unpacks to stays inside its own folder and within
//! Lambda's limits, whatever it says about itself.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Cursor, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sha2::Digest;
use zip::ZipArchive;

use super::error::Error;
use super::record::Code;

/// Lambda's limit on what an archive unpacks to: 250 MiB.
///
/// # Source
/// <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>, read 2026-11.
const UNPACKED_BYTES_MAX: u64 = 262_144_000;
/// Entries in an archive, at most. Ours; the largest layers of scientific Python have some 30,000.
const ENTRIES_MAX: usize = 100_000;
/// Lambda's limit on all code of an account in a region: 75 GB.
const STORED_BYTES_MAX: u64 = 75 << 30;

/// The folder of code.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    folder: PathBuf,
}

impl Store {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The folder that an archive was unpacked to.
    pub(crate) fn unpacked(&self, sha256: &str) -> PathBuf {
        self.folder.join(sha256).join("code")
    }

    /// The archive itself.
    pub(crate) fn archive(&self, sha256: &str) -> PathBuf {
        self.folder.join(sha256).join("code.zip")
    }

    /// Checks, unpacks and keeps an archive. Blocks.
    pub(crate) fn keep(&self, archive: &[u8], stored_bytes: u64) -> Result<Code, Error> {
        if archive.is_empty() {
            return Err(Error::invalid("Uploaded file must be a non-empty zip"));
        }
        if stored_bytes.saturating_add(archive.len() as u64) > STORED_BYTES_MAX {
            return Err(Error::code_storage_exceeded());
        }
        let sha256: String = sha2::Sha256::digest(archive).iter().map(|byte| format!("{byte:02x}")).collect();
        let code = Code::Archive { sha256: sha256.clone(), bytes: archive.len() as u64 };
        let target = self.folder.join(&sha256);
        if target.join("code").is_dir() {
            return Ok(code);
        }
        let kept = |error: io::Error| Error::internal("keeping a function's code", &error);
        let aside = self.folder.join(format!(".aside-{}", uuid::Uuid::new_v4().simple()));
        fs::create_dir_all(aside.join("code")).map_err(kept)?;
        let unpacked = unpack(archive, &aside.join("code")).and_then(|()| {
            fs::write(aside.join("code.zip"), archive).map_err(kept)?;
            // Whoever keeps the same archive at the same time keeps the same.
            match fs::rename(&aside, &target) {
                Err(error) if !target.join("code").is_dir() => Err(kept(error)),
                _ => Ok(()),
            }
        });
        let _ = fs::remove_dir_all(&aside);
        unpacked.map(|()| code)
    }

    /// Forgets everything that is not `used`: what a crash left behind.
    pub(crate) fn sweep(&self, used: &BTreeSet<String>) {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            if let Some(name) = entry.file_name().to_str().filter(|name| !used.contains(*name)) {
                self.remove(name);
            }
        }
    }

    /// Forgets code that nobody uses.
    pub(crate) fn remove(&self, sha256: &str) {
        if let Err(error) = fs::remove_dir_all(self.folder.join(sha256)) {
            tracing::warn!(%error, sha256, "code that is not used any more could not be removed");
        }
    }
}

fn unpack(archive: &[u8], folder: &Path) -> Result<(), Error> {
    let broken = || Error::invalid("Could not unzip uploaded file. Please check your file, then try to upload again.");
    let mut archive = ZipArchive::new(Cursor::new(archive)).map_err(|_| broken())?;
    if archive.is_empty() {
        return Err(Error::invalid("Uploaded file must be a non-empty zip"));
    }
    if archive.len() > ENTRIES_MAX {
        return Err(Error::invalid(format!(
            "the archive has {} entries, at most {ENTRIES_MAX} are taken",
            archive.len()
        )));
    }
    let failed = |error: io::Error| Error::internal("unpacking a function's code", &error);
    let mut left = UNPACKED_BYTES_MAX;
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(|_| broken())?;
        let name = entry.name().to_owned();
        let Some(path) = entry.enclosed_name().filter(|path| path.components().count() > 0) else {
            return Err(Error::invalid(format!("the archive's entry {name:?} leads out of the function's folder")));
        };
        let path = folder.join(path);
        if entry.is_symlink() {
            return Err(Error::invalid(format!(
                "the archive's entry {name:?} is a symbolic link, which is not taken here"
            )));
        }
        if entry.is_dir() {
            fs::create_dir_all(&path).map_err(failed)?;
            continue;
        }
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        // Readable for us whatever the archive says; of the rest only the right to run counts.
        let mode = if entry.unix_mode().is_some_and(|mode| mode & 0o111 != 0) { 0o755 } else { 0o644 };
        let mut file =
            File::options().write(true).create(true).truncate(true).mode(mode).open(&path).map_err(failed)?;
        // The size in the archive is a claim; what comes out is what counts.
        let written = io::copy(&mut entry.by_ref().take(left + 1), &mut file).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof => broken(),
            _ => failed(error),
        })?;
        if written > left {
            return Err(Error::invalid(format!("Unzipped size must be smaller than {UNPACKED_BYTES_MAX} bytes")));
        }
        left -= written;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    fn archive(entries: &[(&str, u32, &[u8])]) -> Vec<u8> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, mode, content) in entries {
            writer.start_file(*name, SimpleFileOptions::default().unix_permissions(*mode)).unwrap();
            writer.write_all(content).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    fn check(archive: &[u8]) -> Result<Vec<String>, String> {
        let place = tempfile::tempdir().unwrap();
        let store = Store::new(place.path().join("code"));
        let code = store.keep(archive, 0).map_err(|error| error.message)?;
        assert_eq!(store.keep(archive, 0).unwrap(), code, "kept once");
        let Code::Archive { sha256, .. } = code else { panic!() };
        let mut found = Vec::new();
        for entry in fs::read_dir(store.unpacked(&sha256)).unwrap() {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            found.push(format!("{} {mode:o}", entry.file_name().into_string().unwrap()));
        }
        found.sort();
        assert_eq!(fs::read_dir(place.path().join("code")).unwrap().count(), 1, "nothing is left aside");
        Ok(found)
    }

    #[test]
    fn archives_are_unpacked_with_the_right_to_run() {
        let good = archive(&[("bootstrap", 0o755, b"#!/bin/sh"), ("a/b.py", 0o600, b"x"), ("c.py", 0o644, b"")]);
        assert_eq!(check(&good).unwrap(), ["a 755", "bootstrap 755", "c.py 644"]);
    }

    #[test]
    fn what_leads_out_or_is_broken_is_refused() {
        assert_eq!(check(b"").unwrap_err(), "Uploaded file must be a non-empty zip");
        assert!(check(b"PK").unwrap_err().starts_with("Could not unzip"));
        for name in ["../evil", "a/../../evil", "/etc/evil"] {
            // Absolute names become relative, as unzip makes them; the others are refused.
            let made = check(&archive(&[(name, 0o644, b"x")]));
            assert!(made.is_err() || name.starts_with('/'), "{name}: {made:?}");
        }
        let mut links = ZipWriter::new(Cursor::new(Vec::new()));
        links.add_symlink("link", "/etc/passwd", SimpleFileOptions::default()).unwrap();
        let links = links.finish().unwrap().into_inner();
        assert!(check(&links).unwrap_err().contains("symbolic link"));
        // A good archive with any one byte of its content changed is refused or unpacks; it never panics.
        let good = archive(&[("f", 0o644, b"some text that compresses, compresses, compresses")]);
        for position in 0..good.len() {
            let mut broken = good.clone();
            broken[position] ^= 0xff;
            let _ = check(&broken);
        }
    }

    #[test]
    fn an_archive_may_not_unpack_to_more_than_lambda_takes() {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        let zeros = vec![0; 1 << 20];
        for name in ["a", "b"] {
            writer.start_file(name, SimpleFileOptions::default()).unwrap();
            for _ in 0..126 {
                writer.write_all(&zeros).unwrap();
            }
        }
        let bomb = writer.finish().unwrap().into_inner();
        assert_eq!(check(&bomb).unwrap_err(), "Unzipped size must be smaller than 262144000 bytes");
    }
}
