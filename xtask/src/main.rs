//! `cargo xtask check`: everything that must hold before a change lands, on a machine that has a Rust
//! toolchain and nothing else. `.ci/run` calls it.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, bail, ensure};

mod builds;
mod layers;
mod planted;

const USAGE: &str = "usage: cargo xtask check      layers, builds, format, lints, tests, console (all of it)
       cargo xtask builds     only that every test is built and nothing is built twice
       cargo xtask console    only the console in a browser
       cargo xtask layers     only the arrows between crates
       cargo xtask tests      only the tests
       cargo xtask planted-bugs [NAME…]   plant each known bug in a copy: the simulation must catch it";

/// What the tests need from PyPI, in versions that are known to work: the S3 server that the store is tested against,
/// and AWS's own clients, which are tested against `starmap serve` and its workers.
const PACKAGES: [&str; 4] = ["moto[server]==5.2.1", "boto3==1.43.11", "awscli==1.45.11", "awslambdaric==4.2.2"];

fn main() -> ExitCode {
    let done = match std::env::args().nth(1).as_deref() {
        Some("check") => check(),
        Some("builds") => builds::check(),
        Some("layers") => layers::check(),
        Some("tests") => tests(),
        Some("planted-bugs") => planted::check(&std::env::args().skip(2).collect::<Vec<_>>()),
        Some("console") => console(),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn check() -> anyhow::Result<()> {
    // What takes seconds and minutes first: whoever is to mend it need not wait for the tests.
    step("layers", layers::check)?;
    step("builds", builds::check)?;
    if installed("fmt") {
        step("format", || cargo(&["fmt", "--all", "--check"]))?;
    } else {
        skipped("format: rustfmt is not installed (rustup component add rustfmt)")?;
    }
    if installed("clippy") {
        step("lints", || {
            cargo(&["clippy", "--release", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"])
        })?;
    } else {
        skipped("lints: clippy is not installed (rustup component add clippy)")?;
    }
    step("tests", tests)?;
    step("console", console)?;
    eprintln!("xtask: all checks passed");
    Ok(())
}

fn tests() -> anyhow::Result<()> {
    let mut command = Command::new(env!("CARGO"));
    command.args(["test", "--release", "--workspace"]).current_dir(root());
    match python_environment() {
        Ok(environment) => {
            let moto =
                std::env::var_os("STARMAP_MOTO_SERVER").map_or(environment.join("bin/moto_server"), PathBuf::from);
            command.env("STARMAP_MOTO_SERVER", moto).env("STARMAP_REQUIRE_MOTO", "1");
            command.env("STARMAP_PYTHON", environment.join("bin/python")).env("STARMAP_REQUIRE_CLIENTS", "1");
        }
        Err(error) => skipped(&format!("tests against an S3 server and with AWS's clients: {error:#}"))?,
    }
    if root().join("../shared/asl").is_dir() {
        command.env("STARMAP_REQUIRE_ASL_CASES", "1");
    }
    if root().join("../shared/reference").is_dir() {
        command.env("STARMAP_REQUIRE_REFERENCE", "1");
    }
    run(command)
}

/// The console, driven through a browser.
fn console() -> anyhow::Result<()> {
    let has =
        |program: &str| Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    let chromium = std::env::var("CHROMIUM").unwrap_or_else(|_| "/usr/bin/chromium".to_owned());
    if !has(&chromium) {
        install_chromium();
    }
    let missing: Vec<&str> = ["node", "npm", &chromium].into_iter().filter(|program| !has(program)).collect();
    if !missing.is_empty() {
        return without_browser(&format!("there is no {}", missing.join(" and no ")));
    }
    if !starts(&chromium) {
        return without_browser(&format!("{chromium} does not start"));
    }
    let folder = root().join("console-tests");
    let mut install = Command::new("npm");
    install.args(["ci", "--no-audit", "--no-fund"]).current_dir(&folder);
    if run(install).is_err() {
        return without_browser("npm could not install what it is driven with");
    }
    // The program that the tests have just used: building it by itself, without what they need, builds everything anew.
    cargo(&["test", "--release", "--workspace", "--no-run", "--quiet"])?;
    let mut story = Command::new("node");
    story.arg("story.mjs").current_dir(&folder).env("CHROMIUM", chromium);
    story.env("STARMAP", root().join("target/release/starmap"));
    run(story)
}

/// Whether the browser shows an empty page.
fn starts(chromium: &str) -> bool {
    let flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--dump-dom"];
    let profile = std::env::temp_dir().join(format!("starmap-chromium-{}", std::process::id()));
    let page = Command::new(chromium)
        .args(flags)
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg("about:blank")
        .output();
    // It is a temporary folder: one that stays is no fault.
    drop(std::fs::remove_dir_all(&profile));
    page.is_ok_and(|page| page.status.success() && page.stdout.starts_with(b"<html>"))
}

/// Debian's browser, where this is a machine that is made anew for every check: nothing is installed on anybody's own.
fn install_chromium() {
    if std::env::var_os("CI").is_none() {
        return;
    }
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        run(command)
    };
    let installed = apt(&["-qq", "update"])
        .and_then(|()| apt(&["-qq", "-y", "install", "--no-install-recommends", "chromium", "fonts-liberation"]));
    if let Err(error) = installed {
        eprintln!("xtask: chromium was not installed: {error:#}");
    }
}

/// Not every machine can have a browser: without one this is said, loudly, and is a failure only where one is required.
fn without_browser(why: &str) -> anyhow::Result<()> {
    let what = format!("the console in a browser: {why}");
    if std::env::var_os("STARMAP_REQUIRE_BROWSER").is_some() {
        bail!("{what}");
    }
    eprintln!("xtask: SKIPPED: {what}");
    Ok(())
}

/// A Python environment with the packages, made beside the build if it is not there.
fn python_environment() -> anyhow::Result<PathBuf> {
    let environment = root().join("target/python");
    let installed = environment.join("installed.txt");
    let wanted = PACKAGES.join("\n");
    if std::fs::read_to_string(&installed).is_ok_and(|text| text == wanted) {
        return Ok(environment);
    }
    let mut create = Command::new("python3");
    create.args(["-m", "venv", "--clear"]).arg(&environment);
    run(create).context("making a Python environment")?;
    let mut install = Command::new(environment.join("bin/pip"));
    install.args(["install", "--quiet", "--disable-pip-version-check"]).args(PACKAGES);
    run(install).with_context(|| format!("installing {}", PACKAGES.join(", ")))?;
    std::fs::write(&installed, wanted).with_context(|| installed.display().to_string())?;
    Ok(environment)
}

fn step(name: &str, work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    eprintln!("xtask: {name}");
    let since = Instant::now();
    work().with_context(|| name.to_owned())?;
    eprintln!("xtask: {name} passed in {:.0} s", since.elapsed().as_secs_f64());
    Ok(())
}

/// Says loudly that something is not checked; on CI that is a failure.
fn skipped(what: &str) -> anyhow::Result<()> {
    if std::env::var_os("CI").is_some() {
        bail!("SKIPPED, which is not allowed on CI: {what}");
    }
    eprintln!("xtask: SKIPPED: {what}");
    Ok(())
}

fn installed(subcommand: &str) -> bool {
    let probe = Command::new(env!("CARGO")).args([subcommand, "--version"]).output();
    probe.is_ok_and(|output| output.status.success())
}

fn cargo(arguments: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new(env!("CARGO"));
    command.args(arguments).current_dir(root());
    run(command)
}

fn run(mut command: Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("starting {command:?}"))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is in a folder of the workspace")
}
