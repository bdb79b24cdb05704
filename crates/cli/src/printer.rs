//! Results to stdout, everything else to stderr.

use std::io::{IsTerminal, Write};

use serde_json::{Value, json};

/// Knows what the user wants to see, and where it goes.
#[derive(Debug)]
pub struct Printer {
    json: bool,
    quiet: bool,
    silent: bool,
}

impl Printer {
    pub fn new(json: bool, quiet: bool) -> Self {
        Self { json, quiet, silent: false }
    }

    /// Prints nothing: for a run whose result goes elsewhere.
    pub fn silent() -> Self {
        Self { json: false, quiet: true, silent: true }
    }

    /// Whether results are one JSON object.
    pub fn json(&self) -> bool {
        self.json
    }

    /// Whether a line that is rewritten makes sense on stderr.
    pub fn live(&self) -> bool {
        !self.quiet && std::io::stderr().is_terminal()
    }

    /// A result for people; nothing with `--json`.
    pub fn result(&self, text: &str) {
        if !self.json && !self.silent {
            // A closed pipe (`| head`) is the reader's choice, not an error.
            let _ = writeln!(std::io::stdout().lock(), "{text}");
        }
    }

    /// The result for programs; nothing without `--json`.
    pub fn object(&self, value: &Value) {
        if self.json {
            let _ = writeln!(std::io::stdout().lock(), "{value}");
        }
    }

    /// What is going on; nothing with `--quiet`.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            let _ = writeln!(std::io::stderr().lock(), "{text}");
        }
    }

    /// What the user should know even with `--quiet`.
    pub fn warning(&self, text: &str) {
        if self.silent {
            return;
        }
        let _ = writeln!(std::io::stderr().lock(), "warning: {text}");
    }

    /// A line that another program said on its stderr.
    pub fn relay(&self, line: &str) {
        let _ = writeln!(std::io::stderr().lock(), "{line}");
    }

    /// Rewrites the last line of stderr; an empty text takes it away.
    pub fn status_line(&self, text: &str) {
        if self.live() {
            let mut stderr = std::io::stderr().lock();
            let _ = write!(stderr, "\r\x1b[2K{text}");
            let _ = stderr.flush();
        }
    }

    /// An error with its causes, each said once.
    pub fn error(&self, error: &anyhow::Error, code: u8) {
        let mut text = error.to_string();
        for cause in error.chain().skip(1).map(ToString::to_string) {
            if !text.contains(&cause) {
                text = format!("{text}: {cause}");
            }
        }
        let _ = writeln!(std::io::stderr().lock(), "error: {text}");
        self.object(&json!({ "status": "ERROR", "exit_code": code, "error": text }));
    }

    /// What went wrong, when the result says it too.
    pub fn failure(&self, text: &str) {
        if self.silent {
            return;
        }
        let _ = writeln!(std::io::stderr().lock(), "error: {text}");
    }

    /// After a panic, whose place the panic hook has printed.
    pub fn bug(&self) {
        let _ = writeln!(
            std::io::stderr().lock(),
            "error: this is a bug of starmap; please report it with the lines above\n\
             hint: what was recorded is not lost, `starmap executions list` shows it"
        );
    }
}
