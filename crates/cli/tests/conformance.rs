//! What AWS answered, played against `starmap serve`: recorded cases as data.
//!
//! The cases are not part of the repository. They are looked for in `../shared/asl` beside it, or where
//! `STARMAP_ASL_CASES` says (a folder with `run_cases.py` and `cases/`); where there are none, this is skipped and says
//! so. What is known to be different is in `known_differences.txt`, each with its reason; anything else is a regression.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::common::{program, text};

/// Cases that are different, each with its reason.
const KNOWN: &str = include_str!("known_differences.txt");

fn folder() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/asl");
    let folder = std::env::var_os("STARMAP_ASL_CASES").map_or_else(beside, PathBuf::from);
    if folder.join("run_cases.py").is_file() {
        return Some(folder);
    }
    assert!(std::env::var_os("STARMAP_REQUIRE_ASL_CASES").is_none(), "the recorded cases are required");
    eprintln!("SKIPPED: no recorded cases of AWS's answers (STARMAP_ASL_CASES)");
    None
}

#[test]
fn the_known_differences_are_the_only_ones() {
    let known: BTreeMap<&str, &str> = KNOWN
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split_once('\t').unwrap_or_else(|| panic!("{line:?}: expected a case, a tab and a reason")))
        .collect();
    let Some(folder) = folder() else { return };
    let python = std::env::var_os("STARMAP_PYTHON").unwrap_or_else(|| "python3".into());
    if !Command::new(&python).args(["-c", "import boto3"]).output().is_ok_and(|output| output.status.success()) {
        assert!(std::env::var_os("STARMAP_REQUIRE_CLIENTS").is_none(), "a Python with boto3 is required");
        return eprintln!("SKIPPED: no Python with boto3");
    }
    let place = tempfile::tempdir().unwrap();
    let mut command = Command::new(program());
    command.args(["serve", "--listen", "127.0.0.1:0", "--json", "--data"]).arg(place.path().join("data"));
    let mut server = command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let said: Value = serde_json::from_str(&line).unwrap();

    let report = place.path().join("report.json");
    let mut play = Command::new(&python);
    play.arg(folder.join("run_cases.py")).args(["--endpoint", said["listening"].as_str().unwrap(), "--cases"]);
    play.arg(folder.join("cases")).args(["--jobs", "2", "--timeout", "60", "--report"]).arg(&report);
    let output = play.output().unwrap();
    let _ = server.kill();
    let _ = server.wait();
    let played = std::fs::read(&report);
    let played = played.unwrap_or_else(|error| panic!("{error}\n{}{}", text(&output.stdout), text(&output.stderr)));
    let played: Value = serde_json::from_slice(&played).unwrap();
    let cases = played["cases"].as_array().unwrap();
    assert!(!cases.is_empty());
    let mut different = Vec::new();
    let mut passed = 0;
    for case in cases {
        let id = case["id"].as_str().unwrap();
        match (case["status"] == "pass", known.get(id)) {
            (true, None) => passed += 1,
            (true, Some(reason)) => {
                passed += 1;
                eprintln!("passes now, and may leave the list: {id} ({reason})");
            }
            (false, Some(_)) => {}
            (false, None) => different.push(format!("{id}: {}", case["reason"].as_str().unwrap_or_default())),
        }
    }
    eprintln!("{passed} of {} recorded cases are as on AWS, {} are known to differ", cases.len(), known.len());
    assert!(different.is_empty(), "{} new differences:\n{}", different.len(), different.join("\n"));
}
