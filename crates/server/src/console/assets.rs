//! What pages load besides themselves: written by hand, in this program, nothing from elsewhere.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use super::request::PREFIX;

/// Signs and marks, once per page, used by name.
pub(super) const SPRITE: &str = include_str!("assets/sprite.svg");

const FILES: [(&str, &str, &[u8]); 3] = [
    ("console.css", "text/css; charset=utf-8", include_bytes!("assets/console.css")),
    ("console.js", "text/javascript; charset=utf-8", include_bytes!("assets/console.js")),
    ("icon.svg", "image/svg+xml", include_bytes!("assets/icon.svg")),
];

/// The files, under names that change with them, so that browsers may keep them for good.
#[derive(Debug)]
pub(super) struct Assets {
    names: Vec<(&'static str, String)>,
}

impl Assets {
    pub(super) fn new() -> Self {
        let name = |(name, _, content): &(&'static str, &str, &[u8])| {
            let mut digest = String::new();
            for byte in &Sha256::digest(content)[..6] {
                // Writing to a string does not fail.
                let _ = write!(digest, "{byte:02x}");
            }
            (*name, format!("{digest}-{name}"))
        };
        Self { names: FILES.iter().map(name).collect() }
    }

    /// Where a file is.
    pub(super) fn link(&self, name: &str) -> String {
        let named = self.names.iter().find(|(there, _)| *there == name);
        format!("{PREFIX}/assets/{}", named.map_or(name, |(_, full)| full))
    }

    /// A file and its type, by either name.
    pub(super) fn find(&self, asked: &str) -> Option<(&'static str, &'static [u8])> {
        let (name, _) = self.names.iter().find(|(name, full)| full == asked || *name == asked)?;
        FILES.iter().find(|(there, ..)| there == name).map(|(_, kind, content)| (*kind, *content))
    }
}
