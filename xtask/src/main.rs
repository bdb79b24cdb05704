//! `cargo xtask check`: everything that must hold before a change lands, on a machine that has a Rust
//! toolchain and nothing else. `.ci/run` calls it.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, bail, ensure};

mod layers;

const USAGE: &str = "usage: cargo xtask check      format, lints, layers, tests (all of it)
       cargo xtask layers     only the arrows between crates
       cargo xtask tests      only the tests";

/// The S3 server that the store is tested against; a version that is known to work.
const MOTO: &str = "moto[server]==5.2.1";

fn main() -> ExitCode {
    let done = match std::env::args().nth(1).as_deref() {
        Some("check") => check(),
        Some("layers") => layers::check(),
        Some("tests") => tests(),
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
    step("layers", layers::check)?;
    if installed("fmt") {
        step("format", || cargo(&["fmt", "--all", "--check"]))?;
    } else {
        skipped("format: rustfmt is not installed (rustup component add rustfmt)")?;
    }
    step("tests", tests)?;
    if installed("clippy") {
        step("lints", || {
            cargo(&["clippy", "--release", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"])
        })?;
    } else {
        skipped("lints: clippy is not installed (rustup component add clippy)")?;
    }
    eprintln!("xtask: all checks passed");
    Ok(())
}

fn tests() -> anyhow::Result<()> {
    let mut command = Command::new(env!("CARGO"));
    command.args(["test", "--release", "--workspace"]).current_dir(root());
    match moto_server() {
        Ok(program) => {
            command.env("STARMAP_MOTO_SERVER", program).env("STARMAP_REQUIRE_MOTO", "1");
        }
        Err(error) => skipped(&format!("tests against an S3 server: {error:#}"))?,
    }
    if root().join("../shared/reference").is_dir() {
        command.env("STARMAP_REQUIRE_REFERENCE", "1");
    }
    run(command)
}

/// The S3 test server, installed beside the build if it is not there.
fn moto_server() -> anyhow::Result<PathBuf> {
    if let Some(given) = std::env::var_os("STARMAP_MOTO_SERVER") {
        return Ok(given.into());
    }
    let environment = root().join("target/moto-5.2.1");
    let program = environment.join("bin/moto_server");
    if program.exists() {
        return Ok(program);
    }
    let mut create = Command::new("python3");
    create.args(["-m", "venv", "--clear"]).arg(&environment);
    run(create).context("making a Python environment for moto")?;
    let mut install = Command::new(environment.join("bin/pip"));
    install.args(["install", "--quiet", "--disable-pip-version-check", MOTO]);
    run(install).context("installing moto")?;
    ensure!(program.exists(), "{} did not install {}", MOTO, program.display());
    Ok(program)
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
