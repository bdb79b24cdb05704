//! The data root: journal, logs and, by default, buckets, owned by one process at a time.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::exit;

/// A data root that this process owns until it drops this.
#[derive(Debug)]
pub struct DataRoot {
    path: PathBuf,
    _lock: File,
}

impl DataRoot {
    /// Makes the folder if needed and takes it for this process.
    ///
    /// # Errors
    /// When another process has it.
    pub fn take(path: &Path) -> anyhow::Result<Self> {
        let doing = || format!("data root {}", path.display());
        std::fs::create_dir_all(path).with_context(doing)?;
        // Absolute, because workers are told of folders inside.
        let path = path.canonicalize().with_context(doing)?;
        let lock_path = path.join("lock");
        let lock = File::options().create(true).truncate(false).write(true).open(&lock_path).with_context(doing)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(exit::usage(format!(
                "data root {}: another starmap process is using it\n\
                 hint: wait for it to end, or give this one its own with --data DIR",
                path.display()
            ))),
            Err(TryLockError::Error(error)) => Err(error).with_context(doing),
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where workers' logs go.
    pub fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }
}
