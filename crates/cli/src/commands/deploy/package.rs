//! `starmap deploy package`: one zip, the code of all three functions.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::deploy::archive::{self, BOOTSTRAP};
use crate::deploy::bootstrap::{self, Architecture, Linkage, Refusal};
use crate::deploy::cold_start;
use crate::exit;
use crate::files::Aside;
use crate::printer::Printer;
use crate::table::aligned;

/// Arguments of `starmap deploy package`.
#[derive(Debug, Args)]
pub struct PackageArgs {
    #[command(flatten)]
    pub program: ProgramArgs,
    /// The zip to write
    #[arg(long, value_name = "FILE", default_value = "bootstrap.zip")]
    pub out: PathBuf,
}

/// Which program is packed.
#[derive(Debug, Args)]
pub struct ProgramArgs {
    /// Instruction set of the functions [default: this machine's]
    #[arg(long, value_name = "ARCH")]
    pub arch: Option<Architecture>,
    /// The executable to pack [default: `bootstrap` beside this program, else this program itself, which can be one]
    #[arg(long, value_name = "FILE")]
    pub bootstrap: Option<PathBuf>,
}

/// Beside the hints of a refusal of this program itself.
const SMALLER: &str = "\nhint: the functions alone need less than this whole program: `cargo build --release -p starmap-pipeline --bin \
                       bootstrap` builds them where a package from this program finds them, beside it";

/// What was packed.
#[derive(Debug)]
pub struct Packed {
    program: PathBuf,
    architecture: Architecture,
    linkage: Linkage,
    unzipped_bytes: usize,
    zip: Vec<u8>,
    /// `None` where this machine can't start it.
    cold_start: Option<Duration>,
}

/// Runs the command.
pub fn run(args: &PackageArgs, printer: &Printer) -> anyhow::Result<ExitCode> {
    let packed = pack(&args.program)?;
    packed.write(&args.out)?;
    packed.show(&args.out, printer);
    Ok(ExitCode::SUCCESS)
}

/// Packs a program that would start on Lambda.
///
/// # Errors
/// If it would not: wrong processor, symbols or libraries that are not there, too large, or it does not start.
pub fn pack(args: &ProgramArgs) -> anyhow::Result<Packed> {
    let architecture = args.arch.unwrap_or(Architecture::here());
    let program = program(args)?;
    let bytes = fs::read(&program).map_err(|error| exit::usage(format!("bootstrap {}: {error}", program.display())))?;
    let refused = |reason: String| exit::usage(format!("bootstrap {}: {reason}", program.display()));
    let linkage = bootstrap::check(&bytes, architecture).map_err(|error| {
        let is_own = std::env::current_exe().is_ok_and(|own| own == program);
        let smaller = if is_own && matches!(error, Refusal::Symbols { .. }) { SMALLER } else { "" };
        refused(format!("{error}{smaller}"))
    })?;
    let loaded = bootstrap::loaded(&bytes).map_err(|error| refused(error.to_string()))?;
    let zip = archive::pack(&loaded)?;
    for (what, bytes, bytes_max) in
        [("zipped", zip.len(), archive::ZIPPED_BYTES_MAX), ("unpacked", loaded.len(), archive::UNZIPPED_BYTES_MAX)]
    {
        if bytes > bytes_max {
            return Err(refused(format!(
                "{what} it has {bytes} bytes, and Lambda takes at most {bytes_max}\n\
                 hint: build `cargo build --release -p starmap-pipeline --bin bootstrap`, which is smaller than this program"
            )));
        }
    }
    let cold_start = if architecture == Architecture::here() {
        let taken = cold_start::measure(&loaded);
        Some(taken.map_err(|error| refused(format!("started with Lambda's environment alone, {error:#}")))?)
    } else {
        None
    };
    Ok(Packed { program, architecture, linkage, unzipped_bytes: loaded.len(), zip, cold_start })
}

/// The executable to pack.
fn program(args: &ProgramArgs) -> anyhow::Result<PathBuf> {
    if let Some(program) = &args.bootstrap {
        return Ok(program.clone());
    }
    let own = std::env::current_exe().context("finding this program's own file, to pack it")?;
    let beside = own.with_file_name(BOOTSTRAP);
    Ok(if beside.is_file() { beside } else { own })
}

impl Packed {
    /// The processor that it is for.
    pub fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// Writes the zip, if it is not the same already.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        if fs::read(path).is_ok_and(|there| there == self.zip) {
            return Ok(());
        }
        let aside = Aside::create(path)?;
        aside.file().write_all(&self.zip).with_context(|| format!("writing {}", path.display()))?;
        aside.keep()
    }

    fn show(&self, path: &Path, printer: &Printer) {
        let sha256: String = Sha256::digest(&self.zip).iter().map(|byte| format!("{byte:02x}")).collect();
        let mib = |bytes: usize| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
        let cold_start_ms = self.cold_start.map(|taken| taken.as_secs_f64() * 1e3);
        let rows = [
            ("zip", path.display().to_string()),
            ("from", self.program.display().to_string()),
            ("for", format!("provided.al2023, {}", self.architecture.name())),
            ("needs", self.linkage.to_string()),
            ("size", format!("{} zipped, {} unpacked", mib(self.zip.len()), mib(self.unzipped_bytes))),
            (
                "cold start",
                cold_start_ms.map_or_else(
                    || format!("not measured: this machine is {}", Architecture::here().name()),
                    |ms| format!("{ms:.0} ms from the start to asking for the first invocation, on this machine"),
                ),
            ),
            ("sha256", sha256.clone()),
        ];
        printer.result(&aligned(&rows.map(|(name, value)| vec![name.to_owned(), value])));
        printer.object(&json!({
            "zip": path,
            "bootstrap": self.program,
            "architecture": self.architecture.name(),
            "glibc": self.linkage.glibc.map(|version| version.to_string()),
            "libraries": self.linkage.libraries,
            "zipped_bytes": self.zip.len(),
            "unzipped_bytes": self.unzipped_bytes,
            "cold_start_ms": cold_start_ms,
            "sha256": sha256,
        }));
    }
}
