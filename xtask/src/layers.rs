//! The arrows between crates, checked: what never crosses is a check and not a wish.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

/// Every crate, and the crates of ours that it may import.
const ARROWS: [(&str, &[&str]); 13] = [
    ("asl", &["jsonata"]),
    ("jsonata", &[]),
    ("engine", &["asl"]),
    ("workers", &["engine"]),
    ("iam", &[]),
    ("server", &["asl", "engine", "iam", "sigv4", "workers"]),
    ("sigv4", &[]),
    ("kernels", &[]),
    ("astromae", &["kernels"]),
    ("partitions", &[]),
    ("sky", &[]),
    ("pipeline", &["astromae", "partitions"]),
    ("cli", &["asl", "engine", "iam", "server", "sigv4", "workers", "astromae", "partitions", "sky", "pipeline"]),
];

/// Crates that compute and nothing else.
const PURE: [&str; 8] = ["asl", "iam", "jsonata", "kernels", "astromae", "partitions", "sigv4", "sky"];

/// What has no place below a pure crate.
const IMPURE: [&str; 6] = ["tokio", "hyper", "object_store", "reqwest", "rusqlite", "tracing"];

/// Checks all of it.
pub fn check() -> anyhow::Result<()> {
    for (name, allowed) in ARROWS {
        let (direct, all) = (dependencies(name, true)?, dependencies(name, false)?);
        for (other, _) in ARROWS {
            let package = package(other);
            ensure!(
                !direct.contains(&package) || allowed.contains(&other),
                "crates/{name} imports crates/{other}, which the design does not allow (see ARCHITECTURE.md)"
            );
        }
        if PURE.contains(&name) {
            let crossed: Vec<_> = IMPURE.iter().filter(|impure| all.contains(**impure)).collect();
            ensure!(crossed.is_empty(), "crates/{name} is pure but has {crossed:?} below it");
        }
        if !["engine", "cli", "workers", "server"].contains(&name) {
            ensure!(!all.contains("rusqlite"), "crates/{name} has the embedded database below it");
        }
        sources(name)?;
    }
    Ok(())
}

fn package(name: &str) -> String {
    if name == "cli" { "starmap".to_owned() } else { format!("starmap-{name}") }
}

/// Names of the packages below a crate, without build and test dependencies.
fn dependencies(name: &str, direct: bool) -> anyhow::Result<BTreeSet<String>> {
    let mut command = Command::new(env!("CARGO"));
    command.args(["tree", "--edges", "normal", "--prefix", "none", "--format", "{p}"]);
    command.args(["--package", &package(name)]).current_dir(crate::root());
    if direct {
        command.args(["--depth", "1"]);
    }
    let output = command.output().context("starting cargo tree")?;
    ensure!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text.lines().skip(1).filter_map(|line| line.split(' ').next()).map(str::to_owned).collect())
}

/// What a compiler does not check: clocks and the environment in pure crates, the clock elsewhere.
fn sources(name: &str) -> anyhow::Result<()> {
    let clock = ["SystemTime::now", "Timestamp::now"];
    let surroundings = ["std::env::", "Instant::now", "std::net::", "std::process::"];
    for file in rust_files(&crate::root().join("crates").join(name).join("src"))? {
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let refused = |words: &[&'static str]| words.iter().copied().find(|word| code.contains(word));
        let is_pure = PURE.contains(&name);
        if let Some(word) = refused(&surroundings).filter(|_| is_pure) {
            anyhow::bail!("{}: {word} in a pure crate", file.display());
        }
        // The science half runs on Lambda by itself, where there is no `cli` to ask: it has one place of its own.
        let may_ask =
            name == "cli" && file.ends_with("session.rs") || name == "pipeline" && file.ends_with("process.rs");
        if let Some(word) = refused(&clock).filter(|_| !may_ask) {
            anyhow::bail!("{}: {word}; time enters as a value", file.display());
        }
    }
    Ok(())
}

fn rust_files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(files)
}
