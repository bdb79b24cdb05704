//! Structured logs to stderr: warnings and errors, or what `RUST_LOG` asks for; the workers' in the same format.

use std::io::IsTerminal;
use std::sync::OnceLock;

use starmap_pipeline::logging::{self, Format};

use crate::variables;

static FORMAT: OnceLock<String> = OnceLock::new();

/// Starts logging in a format, `text` or `json`.
pub fn start(format: &str) {
    let format = FORMAT.get_or_init(|| format.to_owned());
    let colour = std::io::stderr().is_terminal() && std::env::var_os(variables::NO_COLOR).is_none();
    logging::start(Format::named(format), "warn", colour);
}

/// The format that was started with.
pub fn format() -> &'static str {
    FORMAT.get().map_or("text", String::as_str)
}
