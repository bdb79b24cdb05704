//! The data root: journal, logs and, by default, buckets, owned by one process at a time.
//!
//! Whoever owns it says in the lock file who it is, so that others can tell people, or ask it to do what only the owner can.

use std::fs::{self, File, TryLockError};
use std::io::{Seek, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::exit;

/// A data root that this process owns until it drops this.
#[derive(Debug)]
pub struct DataRoot {
    path: PathBuf,
    lock: File,
}

/// Who has a data root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its process.
    pub pid: i32,
    /// Where it serves the AWS APIs, if it does.
    pub address: Option<SocketAddr>,
}

/// Either the data root, or who has it.
#[derive(Debug)]
pub enum Taken {
    /// It is ours.
    Ours(DataRoot),
    /// Another process has it; who, if it says so.
    Theirs(Option<Holder>),
}

impl DataRoot {
    /// Makes the folder if needed and takes it for this process.
    ///
    /// # Errors
    /// When another process has it.
    pub fn take(path: &Path) -> anyhow::Result<Self> {
        match Self::try_take(path)? {
            Taken::Ours(data_root) => Ok(data_root),
            Taken::Theirs(holder) => {
                let who = holder.map(|holder| format!(" (pid {})", holder.pid)).unwrap_or_default();
                Err(exit::usage(format!(
                    "data root {}: another starmap process is using it{who}\n\
                     hint: wait for it to end, or give this one its own with --data DIR",
                    path.display()
                )))
            }
        }
    }

    /// Takes the folder, or says who has it.
    pub fn try_take(path: &Path) -> anyhow::Result<Taken> {
        let doing = || format!("data root {}", path.display());
        fs::create_dir_all(path).with_context(doing)?;
        // Absolute, because workers are told of folders inside.
        let path = path.canonicalize().with_context(doing)?;
        let lock_path = path.join("lock");
        let lock = File::options().create(true).truncate(false).write(true).open(&lock_path).with_context(doing)?;
        match lock.try_lock() {
            Ok(()) => {
                let mut data_root = Self { path, lock };
                data_root.say(None).with_context(doing)?;
                Ok(Taken::Ours(data_root))
            }
            Err(TryLockError::WouldBlock) => {
                let text = fs::read(&lock_path).unwrap_or_default();
                Ok(Taken::Theirs(serde_json::from_slice(&text).ok()))
            }
            Err(TryLockError::Error(error)) => Err(error).with_context(doing),
        }
    }

    /// Says where this process serves the AWS APIs.
    pub fn serves_at(&mut self, address: SocketAddr) -> anyhow::Result<()> {
        self.say(Some(address)).with_context(|| format!("data root {}", self.path.display()))
    }

    fn say(&mut self, address: Option<SocketAddr>) -> anyhow::Result<()> {
        let holder = Holder { pid: i32::try_from(std::process::id())?, address };
        let text = serde_json::to_vec(&holder)?;
        self.lock.set_len(0)?;
        self.lock.rewind()?;
        Ok(self.lock.write_all(&text)?)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where models are kept packed; may be deleted at any time.
    pub fn model_cache(&self) -> PathBuf {
        self.path.join("cache").join("models")
    }

    /// Where workers' logs go.
    pub fn logs(&self) -> PathBuf {
        logs_in(&self.path)
    }
}

/// Where workers' logs are in a data root.
pub fn logs_in(data_root: &Path) -> PathBuf {
    data_root.join("logs")
}
