//! Whether an executable would start on Lambda's `provided.al2023`, found out from the file alone.
//!
//! The runtime is Amazon Linux 2023's minimal image: glibc 2.34 and little else
//! (<https://docs.aws.amazon.com/linux/al2023/ug/lambda.html>, read 2026-11). A program that was linked on a newer system may ask
//! for versions of symbols that are not there; Lambda then says `Runtime.ExitError` and nothing more.

use std::fmt;

use object::elf;
use object::read::elf::{ElfFile64, FileHeader, ProgramHeader};

/// The newest versions of symbols on `provided.al2023`: glibc's, and those of the unwinder, which is GCC's.
const NEWEST: [(&str, Version); 2] = [("GLIBC_", Version(2, 34)), ("GCC_", Version(11, 0))];
/// The libraries that a program finds there: glibc's, and the unwinder that glibc itself needs.
const LIBRARIES: [&str; 9] = [
    "libc.so.6",
    "libm.so.6",
    "libpthread.so.0",
    "libdl.so.2",
    "librt.so.1",
    "libutil.so.1",
    "libgcc_s.so.1",
    "ld-linux-x86-64.so.2",
    "ld-linux-aarch64.so.1",
];
/// Symbols that are named in a message; there can be hundreds.
const NAMED_MAX: usize = 5;

/// Instruction sets of Lambda.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Architecture {
    /// Intel and AMD.
    #[value(name = "x86_64")]
    X86_64,
    /// Graviton.
    #[value(name = "arm64")]
    Arm64,
}

impl Architecture {
    /// Of this program.
    pub const fn here() -> Self {
        if cfg!(target_arch = "aarch64") { Self::Arm64 } else { Self::X86_64 }
    }

    /// As Lambda spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Arm64 => "arm64",
        }
    }

    const fn rust_target(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-unknown-linux-gnu",
            Self::Arm64 => "aarch64-unknown-linux-gnu",
        }
    }

    const fn machine(self) -> elf::Machine {
        match self {
            Self::X86_64 => elf::EM_X86_64,
            Self::Arm64 => elf::EM_AARCH64,
        }
    }
}

/// What is known about an executable that would start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linkage {
    /// The newest version of glibc that it asks for; `None` if it needs no library.
    pub glibc: Option<Version>,
    /// The libraries that it needs.
    pub libraries: Vec<String>,
}

/// A version of glibc.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(u32, u32);

impl Version {
    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split('.').map(|number| number.parse().ok());
        Some(Self(numbers.next()??, numbers.next()??))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

impl fmt::Display for Linkage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.glibc {
            _ if self.libraries.is_empty() => write!(f, "statically linked"),
            Some(version) => write!(f, "glibc {version} or newer, {}", self.libraries.join(", ")),
            None => write!(f, "{}", self.libraries.join(", ")),
        }
    }
}

/// What makes an executable useless on Lambda, with what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is no 64-bit ELF executable.
    #[error(
        "it is no executable of Linux: {0}\nhint: Lambda starts 64-bit ELF executables; build on Linux, or for a Linux target"
    )]
    NoElf(String),
    /// It is for another processor.
    #[error(
        "it is for {found}, expected {expected}\nhint: build for {expected}: `cargo zigbuild --release -p starmap-pipeline --bin \
         bootstrap --target {target}.2.34`, then `starmap deploy package --arch {expected} --bootstrap target/{target}/release/bootstrap`"
    )]
    Machine { found: String, expected: &'static str, target: &'static str },
    /// It asks for symbols that `provided.al2023` does not have.
    #[error(
        "it needs {symbols}, which provided.al2023 with its glibc 2.34 does not have: it would end with Runtime.ExitError before the first invocation\n\
         hint: link against an older glibc: `cargo zigbuild --release -p starmap-pipeline --bin bootstrap --target {target}.2.34`, \
         or build on a system with glibc 2.34 or older, or for the static target {musl}; then give the file with --bootstrap"
    )]
    Symbols { symbols: String, target: &'static str, musl: String },
    /// It needs libraries that `provided.al2023` does not have.
    #[error(
        "it needs {0}, which provided.al2023 does not have: it would end with Runtime.ExitError before the first invocation\n\
         hint: link that library statically; `ldd FILE` lists what a program needs"
    )]
    Libraries(String),
}

/// Looks at an executable as Lambda's loader would.
///
/// # Errors
/// Why it would not start.
pub fn check(bytes: &[u8], architecture: Architecture) -> Result<Linkage, Refusal> {
    let unreadable = |error: object::Error| Refusal::NoElf(error.to_string());
    let file = Elf::parse(bytes).map_err(unreadable)?;
    let machine = file.elf_header().e_machine(file.endian());
    if machine != architecture.machine() {
        let known = [Architecture::X86_64, Architecture::Arm64].into_iter().find(|known| known.machine() == machine);
        return Err(Refusal::Machine {
            found: known.map_or_else(|| format!("ELF machine {}", machine.0), |known| known.name().to_owned()),
            expected: architecture.name(),
            target: architecture.rust_target(),
        });
    }
    let is_dynamic = file.elf_program_headers().iter().any(|header| header.p_type(file.endian()) == elf::PT_DYNAMIC);
    if is_dynamic && file.elf_section_table().is_empty() {
        let reason = "it has no section headers, so what it needs can't be told; give the file as it was linked";
        return Err(Refusal::NoElf(reason.to_owned()));
    }
    let libraries = libraries(&file).map_err(unreadable)?;
    let strange: Vec<&str> =
        libraries.iter().map(String::as_str).filter(|library| !LIBRARIES.contains(library)).collect();
    if !strange.is_empty() {
        return Err(Refusal::Libraries(strange.join(", ")));
    }
    let (glibc, newer) = versions(&file).map_err(unreadable)?;
    if !newer.is_empty() {
        let mut symbols = newer.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
        if newer.len() > NAMED_MAX {
            symbols = format!("{symbols} and {} more", newer.len() - NAMED_MAX);
        }
        let target = architecture.rust_target();
        return Err(Refusal::Symbols { symbols, target, musl: target.replace("gnu", "musl") });
    }
    Ok(Linkage { glibc, libraries })
}

/// What of an executable is loaded when it starts: all but the sections for debuggers and linkers, which are behind it.
///
/// # Errors
/// If it is no ELF executable.
pub fn loaded(bytes: &[u8]) -> Result<Vec<u8>, Refusal> {
    let file = Elf::parse(bytes).map_err(|error| Refusal::NoElf(error.to_string()))?;
    let ends = file.elf_program_headers().iter().map(|header| {
        let (offset, size) = header.file_range(file.endian());
        offset.saturating_add(size)
    });
    let end = ends.max().unwrap_or(0);
    let end = usize::try_from(end).unwrap_or(usize::MAX).min(bytes.len());
    let mut loaded = bytes[..end].to_vec();
    // e_shoff, e_shnum and e_shstrndx of the header: there are no sections any more.
    for range in [0x28..0x30, 0x3c..0x40] {
        if let Some(field) = loaded.get_mut(range) {
            field.fill(0);
        }
    }
    Ok(loaded)
}

type Elf<'data> = ElfFile64<'data>;

fn libraries(file: &Elf<'_>) -> object::Result<Vec<String>> {
    let table = file.elf_dynamic_table()?;
    let needed = table.iter().filter(|entry| entry.tag == elf::DT_NEEDED);
    needed.map(|entry| Ok(String::from_utf8_lossy(table.string(entry)?).into_owned())).collect()
}

/// The newest version of glibc that is asked for, and every symbol of a version that is too new.
fn versions(file: &Elf<'_>) -> object::Result<(Option<Version>, Vec<String>)> {
    let (endian, bytes, sections) = (file.endian(), file.data(), file.elf_section_table());
    let (Some((mut needs, link)), Some(table)) =
        (sections.gnu_verneed(endian, bytes)?, sections.versions(endian, bytes)?)
    else {
        return Ok((None, Vec::new()));
    };
    let strings = sections.strings(endian, bytes, link)?;
    let (mut glibc, mut newer) = (None, Vec::new());
    while let Some((_, mut versions)) = needs.next()? {
        while let Some(version) = versions.next()? {
            let name = String::from_utf8_lossy(version.name(endian, strings)?).into_owned();
            let Some((prefix, newest)) = NEWEST.iter().find(|(prefix, _)| name.starts_with(prefix)) else { continue };
            // `GLIBC_ABI_DT_RELR` and its like are no numbers: what a newer linker asks of a newer loader.
            let found = Version::parse(&name[prefix.len()..]);
            if *prefix == "GLIBC_" {
                glibc = glibc.max(found);
            }
            // A program starts without what it refers to weakly, and looks before it calls.
            let is_weak = version.vna_flags.get(endian).contains(elf::VER_FLG_WEAK);
            if found.is_some_and(|found| found <= *newest) || is_weak {
                continue;
            }
            let index = version.vna_other(endian).index();
            let symbols = sections.symbols(endian, bytes, elf::SHT_DYNSYM)?;
            let before = newer.len();
            for (at, symbol) in symbols.enumerate() {
                if table.version_index(endian, at).index() == index {
                    newer.push(format!("{}@{name}", String::from_utf8_lossy(symbols.symbol_name(endian, symbol)?)));
                }
            }
            if newer.len() == before {
                newer.push(name);
            }
        }
    }
    Ok((glibc, newer))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Vec<u8> {
        std::fs::read(std::env::current_exe().unwrap()).unwrap()
    }

    /// Another version name of the same length in place of one that this very program asks for.
    fn with(from: &str, to: &str) -> Vec<u8> {
        assert_eq!(from.len(), to.len());
        let mut bytes = own();
        let from = format!("\0{from}\0").into_bytes();
        let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
        bytes[at + 1..at + 1 + to.len()].copy_from_slice(to.as_bytes());
        bytes
    }

    #[test]
    fn a_symbol_of_a_newer_glibc_is_named() {
        if check(&own(), Architecture::here()).is_err() {
            eprintln!("SKIPPED: this system's own glibc is too new to begin with");
            return;
        }
        let error = check(&with("GLIBC_2.34", "GLIBC_2.38"), Architecture::here()).unwrap_err().to_string();
        assert!(error.contains("__libc_start_main@GLIBC_2.38"), "{error}");
        assert!(error.contains("glibc 2.34") && error.contains(".2.34`") && error.contains("musl"), "{error}");
        let error = check(&with("GLIBC_2.34", "GLIBC_ABIX"), Architecture::here()).unwrap_err().to_string();
        assert!(error.contains("@GLIBC_ABIX"), "{error}");
    }

    #[test]
    fn a_library_that_is_not_there_is_named() {
        let error = check(&with("libgcc_s.so.1", "libssl.so.1.1"), Architecture::here()).unwrap_err().to_string();
        assert!(error.starts_with("it needs libssl.so.1.1, which provided.al2023 does not have"), "{error}");
    }

    #[test]
    fn another_processor_and_what_is_no_program_are_refused() {
        let other =
            if Architecture::here() == Architecture::Arm64 { Architecture::X86_64 } else { Architecture::Arm64 };
        let error = check(&own(), other).unwrap_err().to_string();
        assert!(
            error.contains(&format!("it is for {}, expected {}", Architecture::here().name(), other.name())),
            "{error}"
        );
        assert!(error.contains(&format!("--arch {} --bootstrap", other.name())), "{error}");
        for bytes in [&b"#!/bin/sh\nexec ./starmap\n"[..], &[], &own()[..100]] {
            let error = check(bytes, Architecture::here()).unwrap_err();
            assert!(matches!(error, Refusal::NoElf(_)), "{error}");
        }
    }

    #[test]
    fn what_is_not_loaded_is_left_out_and_the_rest_is_the_same() {
        let (all, loaded) = (own(), loaded(&own()).unwrap());
        assert!(loaded.len() < all.len(), "{} bytes of {}", loaded.len(), all.len());
        assert_eq!(loaded[0x40..], all[0x40..loaded.len()]);
        let error = check(&loaded, Architecture::here()).unwrap_err().to_string();
        assert!(error.contains("it has no section headers"), "{error}");
    }
}
