//! What is built, checked: no test is left out, and nothing is built twice.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use anyhow::{Context, ensure};

use crate::root;

/// Checks both.
pub fn check() -> anyhow::Result<()> {
    every_test_is_built()?;
    nothing_is_built_twice()
}

/// A file of tests belongs to a program: its crate names them itself (`autotests = false`), and what it does not name is
/// never compiled.
fn every_test_is_built() -> anyhow::Result<()> {
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

/// `cargo run` and the tests build the same packages with the same features: one feature more below the tests, and all
/// that stands on that package is built anew for them.
fn nothing_is_built_twice() -> anyhow::Result<()> {
    let tests = features(&["--workspace", "--edges", "normal,build,dev"])?;
    for (package, features) in features(&["--package", "starmap", "--edges", "normal,build"])? {
        let tested = tests.get(&package).with_context(|| format!("{package} is not below the tests"))?;
        ensure!(
            *tested == features,
            "{package} has the features {features:?} in `cargo run` and {tested:?} in the tests, so it is built twice, \
             and all that stands on it\nhint: ask for the same in crates/cli/Cargo.toml"
        );
    }
    Ok(())
}

/// The features of every package, of each of its builds.
fn features(arguments: &[&str]) -> anyhow::Result<BTreeMap<String, Vec<String>>> {
    let mut command = Command::new(env!("CARGO"));
    command.args(["tree", "--prefix", "none", "--format", "{p}|{f}"]).args(arguments).current_dir(root());
    let output = command.output().context("starting cargo tree")?;
    ensure!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    let mut found = BTreeMap::<String, Vec<String>>::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Some((package, features)) = line.trim_end_matches(" (*)").split_once('|') else { continue };
        let of_package = found.entry(package.to_owned()).or_default();
        if !of_package.iter().any(|known| known == features) {
            of_package.push(features.to_owned());
            of_package.sort();
        }
    }
    Ok(found)
}
