//! Planted bugs: what the simulation must catch. Each file in `crates/engine/tests/planted` says what is broken, which
//! invariant it breaks and what is replaced where; it is planted in a copy of the sources, and the simulation must fail.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};

use crate::root;

const FOLDER: &str = "crates/engine/tests/planted";
/// A bug that lives longer than this many seeds is not caught.
const SEEDS: &str = "1000";

struct Bug {
    name: String,
    what: String,
    breaks: String,
    file: String,
    old: String,
    new: String,
}

/// Plants the bugs of these names, or all of them, one after the other.
pub fn check(names: &[String]) -> anyhow::Result<()> {
    let copy = root().join("target/planted/sources");
    copy_sources(&copy)?;
    let bugs = bugs()?;
    let unknown = names.iter().find(|name| bugs.iter().all(|bug| bug.name != **name));
    ensure!(unknown.is_none(), "{FOLDER}: no bug is named {unknown:?}");
    let mut missed = Vec::new();
    for bug in bugs.iter().filter(|bug| names.is_empty() || names.contains(&bug.name)) {
        let path = copy.join(&bug.file);
        let sound = fs::read_to_string(&path).with_context(|| format!("reading {}", bug.file))?;
        let places = sound.matches(&bug.old).count();
        ensure!(places == 1, "{}: what it replaces is in {} {places} times, expected once", bug.name, bug.file);
        fs::write(&path, sound.replacen(&bug.old, &bug.new, 1))?;
        let caught = simulate(&copy);
        fs::write(&path, sound)?;
        // The others are tried all the same.
        let (seed, invariant) = caught.unwrap_or_else(|error| {
            eprintln!("with {} planted: {error:#}", bug.name);
            (0, "an error".to_owned())
        });
        let found = match invariant.as_str() {
            "" => "not caught".to_owned(),
            invariant => format!("{invariant} after {} seeds", seed + 1),
        };
        let is_expected = invariant == bug.breaks;
        let note = if is_expected { String::new() } else { format!(" (expected {})", bug.breaks) };
        eprintln!("| {} | {} | {found}{note} |", bug.name, bug.what);
        if !is_expected {
            missed.push(bug.name.clone());
        }
    }
    ensure!(missed.is_empty(), "not caught as they should be: {}", missed.join(", "));
    Ok(())
}

fn bugs() -> anyhow::Result<Vec<Bug>> {
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(root().join(FOLDER))? {
        paths.push(entry?.path());
    }
    paths.sort();
    paths.iter().map(|path| bug(path)).collect()
}

fn bug(path: &Path) -> anyhow::Result<Bug> {
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let text = fs::read_to_string(path)?;
    let parsed = || {
        let (head, rest) = text.split_once("\n<<<<\n")?;
        let (old, rest) = rest.split_once("\n====\n")?;
        let (new, _) = rest.split_once("\n>>>>")?;
        let mut lines = head.lines();
        let what = lines.next()?.trim_end_matches('.').to_owned();
        let breaks = lines.next()?.strip_prefix("breaks: ")?.to_owned();
        let file = lines.next()?.strip_prefix("file: ")?.to_owned();
        Some((what, breaks, file, old.to_owned(), new.to_owned()))
    };
    let Some((what, breaks, file, old, new)) = parsed() else {
        bail!("{}: expected a sentence, `breaks:`, `file:` and <<<< old ==== new >>>>", path.display());
    };
    Ok(Bug { name, what, breaks, file, old, new })
}

/// The first seed that fails, and what it breaks; an empty name if none fails.
fn simulate(copy: &Path) -> anyhow::Result<(u64, String)> {
    let mut command = Command::new(env!("CARGO"));
    command.args(["test", "--release", "--quiet", "-p", "starmap-engine", "--test", "simulation", "seeds"]);
    // Cargo does not tell the copy's crates from ours by where they are, so they are built elsewhere.
    command.env("CARGO_TARGET_DIR", root().join("target/planted/target")).env("STARMAP_SIMULATION_SEEDS", SEEDS);
    let output = command.current_dir(copy).output().context("running cargo")?;
    let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(!told.contains("could not compile"), "{told}");
    if output.status.success() {
        return Ok((0, String::new()));
    }
    let seed = told.lines().find_map(|line| line.strip_prefix("seed ")?.split(' ').next()?.parse().ok());
    let seed = seed.with_context(|| format!("the simulation failed without a seed: {told}"))?;
    let invariant = told.split_whitespace().find_map(|word| word.strip_suffix(':').filter(|name| is_invariant(name)));
    Ok((seed, invariant.unwrap_or("a panic").to_owned()))
}

/// `MAP-1` and its like.
fn is_invariant(name: &str) -> bool {
    name.split_once('-').is_some_and(|(group, number)| {
        !group.is_empty() && group.bytes().all(|byte| byte.is_ascii_uppercase()) && number.parse::<u8>().is_ok()
    })
}

/// The sources as they are, without touching what is the same already.
fn copy_sources(copy: &Path) -> anyhow::Result<()> {
    let listed = Command::new("git").args(["ls-files", "-co", "--exclude-standard"]).current_dir(root()).output()?;
    ensure!(listed.status.success(), "git ls-files: {}", String::from_utf8_lossy(&listed.stderr));
    for file in String::from_utf8_lossy(&listed.stdout).lines() {
        let is_source = file.starts_with("crates/") || file.starts_with("xtask/") || !file.contains('/');
        let (from, to) = (root().join(file), copy.join(file));
        if !is_source || !from.is_file() {
            continue;
        }
        let content = fs::read(&from)?;
        if fs::read(&to).is_ok_and(|there| there == content) {
            continue;
        }
        fs::create_dir_all(to.parent().unwrap_or(copy))?;
        fs::write(&to, content)?;
    }
    Ok(())
}
