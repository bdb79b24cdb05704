//! What is built, checked: no test is left out.

use std::fs;

use anyhow::{Context, ensure};

use crate::root;

/// A file of tests belongs to a program: its crate names them itself (`autotests = false`), and what it does not name is
/// never compiled.
pub fn check() -> anyhow::Result<()> {
    for folder in fs::read_dir(root().join("crates")).context("reading crates")? {
        let folder = folder?.path();
        let tests = folder.join("tests");
        let manifest = folder.join("Cargo.toml");
        let manifest = fs::read_to_string(&manifest).with_context(|| manifest.display().to_string())?;
        if !tests.is_dir() || !manifest.contains("autotests = false") {
            continue;
        }
        let main = fs::read_to_string(tests.join("main.rs")).unwrap_or_default();
        for file in fs::read_dir(&tests)? {
            let path = file?.path();
            let Some(name) = path.file_stem().map(|name| name.to_string_lossy()) else { continue };
            let program = if path.join("main.rs").is_file() {
                format!("tests/{name}/main.rs")
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                format!("tests/{name}.rs")
            } else {
                continue;
            };
            let is_named = manifest.contains(&format!("path = \"{program}\""))
                || main.lines().any(|line| line == format!("mod {name};"));
            ensure!(
                is_named,
                "{}: it is in no test program, expected `mod {name};` in main.rs beside it or a [[test]] in Cargo.toml",
                path.display()
            );
        }
    }
    Ok(())
}
