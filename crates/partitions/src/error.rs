//! What can be wrong with a file.

use std::io;

/// What can be wrong with a file. Every message begins with the file's name and says, where there is an honest one, a
/// hint on a line of its own.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bytes could not be read or written.
    #[error("{name}: {doing}")]
    Io {
        /// The file.
        name: String,
        /// What we were doing.
        doing: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It is something else than it should be, or damaged.
    #[error("{name}: {reason}")]
    Format {
        /// The file.
        name: String,
        /// What was found against what was expected, and what to try.
        reason: String,
    },
    /// A sound file, but its tensors are not those of a partition: shape, element type, row counts, band order.
    #[error("{name}: {reason}")]
    Layout {
        /// The file.
        name: String,
        /// What was found against what was expected, and how to write it instead.
        reason: String,
    },
    /// The file ends too early.
    #[error("{name}: truncated: {reason}\nhint: copy or download the file again")]
    Truncated {
        /// The file.
        name: String,
        /// How one can tell.
        reason: String,
    },
    /// A pickle asks for something that is not a tensor. It was not executed.
    #[error(
        "{name}: the pickle refers to {global} at byte {offset}, which is not on the list of what tensors need; refused, nothing was executed\nhint: a file that does so can run programs when other tools load it; save plain tensors instead"
    )]
    Refused {
        /// The file.
        name: String,
        /// Module and name.
        global: String,
        /// Position in the pickle.
        offset: usize,
    },
    /// The bytes are not those that were written.
    #[error(
        "{name}: {entry} has CRC-32 {found:08x}, expected {expected:08x}; the file is damaged\nhint: copy or download the file again"
    )]
    Checksum {
        /// The file.
        name: String,
        /// Which part.
        entry: String,
        /// Of what was read.
        found: u32,
        /// As the file has it.
        expected: u32,
    },
}

impl Error {
    pub(crate) fn format(name: &str, reason: impl Into<String>) -> Self {
        Self::Format { name: name.to_owned(), reason: reason.into() }
    }

    pub(crate) fn layout(name: &str, reason: impl Into<String>) -> Self {
        Self::Layout { name: name.to_owned(), reason: reason.into() }
    }

    pub(crate) fn truncated(name: &str, reason: impl Into<String>) -> Self {
        Self::Truncated { name: name.to_owned(), reason: reason.into() }
    }

    pub(crate) fn io(name: &str, doing: &'static str, source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::UnexpectedEof {
            return Self::truncated(name, format!("{doing} goes beyond the end"));
        }
        Self::Io { name: name.to_owned(), doing, source }
    }
}
