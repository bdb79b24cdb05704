//! Writes one large object from a thread that may block.

use std::io::{self, Write};

use object_store::buffered::BufWriter;
use tokio::io::AsyncWriteExt;
use tokio::runtime::Handle;

use super::folder::{Part, write_failed};
use crate::error::Error;

/// An object that is being written. Nothing is visible before [`finish`](Self::finish); dropped before, nothing stays.
#[derive(Debug)]
pub struct Upload {
    target: Target,
    location: String,
    bytes: u64,
}

#[derive(Debug)]
enum Target {
    File(Part),
    Remote { writer: Box<BufWriter>, runtime: Handle },
}

impl Upload {
    pub(super) fn to_file(part: Part, location: String) -> Self {
        Self { target: Target::File(part), location, bytes: 0 }
    }

    pub(super) fn to_remote(writer: BufWriter, runtime: Handle, location: String) -> Self {
        Self { target: Target::Remote { writer: Box::new(writer), runtime }, location, bytes: 0 }
    }

    /// Makes the object visible, whole; returns its size.
    ///
    /// # Errors
    /// [`Error::StorageFull`], [`Error::Storage`]; then whatever was there before is still there.
    pub fn finish(mut self) -> Result<u64, Error> {
        let finished = match &mut self.target {
            Target::File(part) => part.finish(),
            Target::Remote { writer, runtime } => runtime.block_on(writer.shutdown()),
        };
        finished.map_err(|error| self.failed(&error))?;
        Ok(self.bytes)
    }

    /// Says what went wrong with a write to this object.
    pub fn failed(&self, error: &io::Error) -> Error {
        write_failed(error, &self.location, self.bytes)
    }

    /// Gives up what was written so far.
    pub fn abort(mut self) {
        if let Target::Remote { writer, runtime } = &mut self.target
            && let Err(error) = runtime.block_on(writer.abort())
        {
            tracing::warn!(location = self.location, %error, "an unfinished upload could not be withdrawn");
        }
    }
}

impl Write for Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.target {
            Target::File(part) => part.file.write_all(bytes)?,
            Target::Remote { writer, runtime } => runtime.block_on(writer.write_all(bytes))?,
        }
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
