//! Exit codes: few, and documented in `--help`.

/// The execution failed, timed out or was aborted; a check found something wrong.
pub const FAILED: u8 = 1;
/// Wrong usage: arguments, or an input that is refused before any work starts.
pub const USAGE: u8 = 2;
/// Interrupted by Ctrl-C; the execution can be resumed.
pub const INTERRUPTED: u8 = 130;
/// A bug of ours.
pub const BUG: u8 = 70;

/// For `--help`.
pub const TABLE: &str = "\
Exit codes: 0 done; 1 the execution failed, timed out or was aborted, or a check found something wrong;
            2 wrong usage, or an input refused before any work; 70 a bug of ours; 130 interrupted, resumable";

/// An error that knows its exit code.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Coded {
    code: u8,
    message: String,
}

/// Wrong usage.
pub fn usage(message: impl Into<String>) -> anyhow::Error {
    Coded { code: USAGE, message: message.into() }.into()
}

/// A bug of ours.
pub fn bug(message: impl Into<String>) -> anyhow::Error {
    Coded { code: BUG, message: message.into() }.into()
}

/// The exit code of an error; what says nothing else is a failure.
pub fn of(error: &anyhow::Error) -> u8 {
    error.chain().find_map(|cause| cause.downcast_ref::<Coded>()).map_or(FAILED, |coded| coded.code)
}
