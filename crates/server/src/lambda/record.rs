//! A function as it is kept: one JSON file each.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A function with its versions and aliases.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) name: String,
    pub(crate) latest: Version,
    /// Published, by number.
    #[serde(default)]
    pub(crate) versions: BTreeMap<u64, Version>,
    /// Numbers are never used again.
    #[serde(default)]
    pub(crate) version_last: u64,
    #[serde(default)]
    pub(crate) aliases: BTreeMap<String, Alias>,
    /// Most invocations at once; none is the server's limit.
    #[serde(default)]
    pub(crate) concurrency: Option<u32>,
    #[serde(default)]
    pub(crate) tags: BTreeMap<String, String>,
    /// Its resource policies' statements.
    #[serde(default)]
    pub(crate) permissions: Vec<Permission>,
}

/// A statement of a resource policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Permission {
    /// Of a version or an alias; none is the function itself.
    #[serde(default)]
    pub(crate) qualifier: Option<String>,
    pub(crate) statement: serde_json::Value,
}

/// Code and configuration, as they are or were.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Version {
    pub(crate) code: Code,
    pub(crate) runtime: Option<String>,
    pub(crate) role: String,
    pub(crate) handler: String,
    pub(crate) description: String,
    pub(crate) timeout_s: u32,
    pub(crate) memory_mib: u32,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) architecture: String,
    pub(crate) ephemeral_storage_mib: u32,
    /// Whether X-Ray is asked for, which is kept and told.
    #[serde(default)]
    pub(crate) is_traced: bool,
    pub(crate) modified_at_ms: i64,
    pub(crate) revision_id: String,
}

/// Where a version's code is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Code {
    /// Of an archive, kept by the hash of its content.
    Archive {
        /// Lower-case hexadecimal.
        sha256: String,
        /// The archive's size.
        bytes: u64,
    },
    /// Where somebody else keeps it: a folder, or a file that is the bootstrap.
    Path {
        /// Absolute.
        path: String,
    },
}

/// A name for a version, or for two with a share each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Alias {
    pub(crate) version: String,
    pub(crate) description: String,
    /// Another version's share of the invocations, 0 to 1.
    #[serde(default)]
    pub(crate) weights: BTreeMap<String, f64>,
    pub(crate) revision_id: String,
}

impl Record {
    /// The version of that number, or the latest one.
    pub(crate) fn version(&self, name: &str) -> Option<&Version> {
        if name == starmap_workers::function::LATEST {
            return Some(&self.latest);
        }
        self.versions.get(&name.parse().ok()?)
    }
}
