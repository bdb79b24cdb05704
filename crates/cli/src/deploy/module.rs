//! The Terraform module, which is in this program, and the folder that it is written to.
//!
//! A file of ours that somebody has changed is not written over: `written.json` in the folder says what we wrote there. Files
//! beside ours (`override.tf`, a backend, a provider) are nobody's business but their owner's.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::commands::run::EXAMPLE_DEFINITION;
use crate::exit;
use crate::files::Aside;

/// What was written, by name and SHA-256.
const WRITTEN: &str = "written.json";
/// Where choices are kept: Terraform reads such a file by itself.
pub const CHOICES: &str = "starmap.auto.tfvars.json";

macro_rules! module_files {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("../../../../deploy/terraform/", $name)))),*]
    };
}

/// The module's files.
const FILES: [(&str, &str); 10] = module_files![
    "README.md",
    "buckets.tf",
    "budget.tf",
    "functions.tf",
    "main.tf",
    "outputs.tf",
    "roles.tf",
    "state_machine.tf",
    "variables.tf",
    "versions.tf",
];

fn files() -> impl Iterator<Item = (&'static str, &'static str)> {
    FILES.into_iter().chain([("state-machine.asl.json", EXAMPLE_DEFINITION)])
}

/// Writes the module into a folder, which is made if it is not there.
///
/// # Errors
/// If a file of ours is there that we did not write, or that was changed since; then nothing is written.
pub fn write(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let before: BTreeMap<String, String> = fs::read_to_string(folder.join(WRITTEN))
        .ok()
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default();
    let (mut now, mut changed) = (BTreeMap::new(), Vec::new());
    for (name, text) in files() {
        now.insert(name.to_owned(), sha256(text.as_bytes()));
        let Ok(there) = fs::read(folder.join(name)) else { continue };
        let is_ours = before.get(name).is_some_and(|hash| *hash == sha256(&there)) || there == text.as_bytes();
        if !is_ours {
            changed.push(folder.join(name));
        }
    }
    if !changed.is_empty() {
        let list = changed.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
        return Err(exit::usage(format!(
            "folder {}: these files are not as this program wrote them: {list}\n\
             hint: keep your changes in a file of another name (Terraform merges `…_override.tf`), or take these away",
            folder.display()
        )));
    }
    for (name, text) in files() {
        put(&folder.join(name), text.as_bytes())?;
    }
    put(&folder.join(WRITTEN), format!("{:#}\n", serde_json::to_value(&now)?).as_bytes())
}

/// The choices that are kept in a folder.
///
/// # Errors
/// If they can't be read.
pub fn choices(folder: &Path) -> anyhow::Result<Map<String, Value>> {
    let path = folder.join(CHOICES);
    match fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text)
            .map_err(|error| exit::usage(format!("choices {}: this is not JSON: {error}", path.display()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Map::new()),
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
    }
}

/// Keeps choices for the next command: what was planned is what is applied and, one day, destroyed.
///
/// # Errors
/// If they can't be written.
pub fn keep(folder: &Path, choices: &Map<String, Value>) -> anyhow::Result<()> {
    put(&folder.join(CHOICES), format!("{:#}\n", Value::Object(choices.clone())).as_bytes())
}

/// Reads one `NAME=VALUE`; what is JSON is taken as such, anything else is text.
///
/// # Errors
/// If the module has no such variable.
pub fn parse_variable(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    let known = variables();
    if !known.contains(&name) {
        return Err(format!("the module has no variable {name:?}; it has {}", known.join(", ")));
    }
    // An account id is text with digits only, and so is nothing else of the module.
    Ok((name.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()))))
}

/// Names of the module's variables, in the order of their file.
fn variables() -> Vec<&'static str> {
    let (_, text) = FILES.iter().find(|(name, _)| *name == "variables.tf").expect("it is in the list above");
    text.lines().filter_map(|line| line.strip_prefix("variable \"")?.split('"').next()).collect()
}

fn put(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    if fs::read(path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    let aside = Aside::create(path)?;
    aside.file().write_all(bytes).with_context(|| format!("writing {}", path.display()))?;
    aside.keep()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Where the zip of the functions is kept in a folder.
pub fn archive(folder: &Path) -> PathBuf {
    folder.join("bootstrap.zip")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_written_brought_up_to_date_and_never_taken_from_who_changed_them() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("deploy");
        write(&folder).unwrap();
        write(&folder).unwrap();
        assert_eq!(fs::read_to_string(folder.join("state-machine.asl.json")).unwrap(), EXAMPLE_DEFINITION);
        fs::write(folder.join("mine_override.tf"), "# mine").unwrap();

        // As an older version of this program would have left it.
        let old = "# older\n";
        fs::write(folder.join("budget.tf"), old).unwrap();
        let mut written: BTreeMap<String, String> =
            serde_json::from_slice(&fs::read(folder.join(WRITTEN)).unwrap()).unwrap();
        written.insert("budget.tf".to_owned(), sha256(old.as_bytes()));
        fs::write(folder.join(WRITTEN), serde_json::to_vec(&written).unwrap()).unwrap();
        write(&folder).unwrap();
        assert_ne!(fs::read_to_string(folder.join("budget.tf")).unwrap(), old);

        fs::write(folder.join("roles.tf"), "# by hand\n").unwrap();
        let error = write(&folder).unwrap_err().to_string();
        assert!(
            error.contains("roles.tf") && !error.contains("budget.tf") && error.contains("_override.tf"),
            "{error}"
        );
        assert_eq!(fs::read_to_string(folder.join("roles.tf")).unwrap(), "# by hand\n");
        assert_eq!(fs::read_to_string(folder.join("mine_override.tf")).unwrap(), "# mine");
    }

    #[test]
    fn variables_are_json_or_text_and_must_exist() {
        let value = |text: &str| parse_variable(text).unwrap().1;
        assert_eq!(value("infer_memory_mb=3008"), 3008);
        assert_eq!(value("name=survey"), "survey");
        assert_eq!(value("data_bucket=null"), Value::Null);
        assert_eq!(value("budget_emails=[\"a@b.org\"]"), serde_json::json!(["a@b.org"]));
        let error = parse_variable("memory=1").unwrap_err();
        assert!(error.contains("no variable \"memory\"") && error.contains("infer_memory_mb"), "{error}");
        assert!(parse_variable("name").is_err());
    }
}
