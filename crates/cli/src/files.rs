//! Files that are whole or not there: written aside, synced, renamed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::Context;

/// A file that is being written beside its place. Dropped before [`Aside::keep`], it is removed.
#[derive(Debug)]
pub struct Aside {
    file: File,
    path: PathBuf,
    target: PathBuf,
    is_kept: bool,
}

impl Aside {
    /// Begins a file for `target`, whose folder must be there.
    pub fn create(target: &Path) -> anyhow::Result<Self> {
        let name = target.file_name().with_context(|| format!("{} is no file name", target.display()))?;
        let path = target.with_file_name(format!(".{}.{}.part", name.to_string_lossy(), std::process::id()));
        let file = File::create(&path).with_context(|| format!("writing {}", path.display()))?;
        Ok(Self { file, path, target: target.to_owned(), is_kept: false })
    }

    /// To write to.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Syncs the file and puts it in its place.
    pub fn keep(mut self) -> anyhow::Result<()> {
        let doing = || format!("writing {}", self.target.display());
        self.file.sync_all().with_context(doing)?;
        fs::rename(&self.path, &self.target).with_context(doing)?;
        self.is_kept = true;
        // The folder's entry must survive a power cut too.
        if let Some(folder) = self.target.parent() {
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            File::open(folder).and_then(|folder| folder.sync_all()).with_context(doing)?;
        }
        Ok(())
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if !self.is_kept {
            // Nothing can be done about a file that can't be removed; its name says that it is no result.
            let _ = fs::remove_file(&self.path);
        }
    }
}
