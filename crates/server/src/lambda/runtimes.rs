//! What has to be started for a function: a bootstrap, or Python with a runtime client.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use super::error::Error;

/// Our own client of the Runtime API in Python; uses `awslambdaric` when that can be imported.
const PYTHON_RUNTIME: &str = include_str!("runtime.py");

/// Runtimes that AWS has and we don't run, and those that we do; for messages.
///
/// # Source
/// <https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html>, read 2026-11.
const AWS_RUNTIMES: [&str; 34] = [
    "nodejs",
    "nodejs4.3",
    "nodejs6.10",
    "nodejs8.10",
    "nodejs10.x",
    "nodejs12.x",
    "nodejs14.x",
    "nodejs16.x",
    "nodejs18.x",
    "nodejs20.x",
    "nodejs22.x",
    "nodejs24.x",
    "java8",
    "java8.al2",
    "java11",
    "java17",
    "java21",
    "java25",
    "python2.7",
    "dotnetcore1.0",
    "dotnetcore2.0",
    "dotnetcore2.1",
    "dotnetcore3.1",
    "dotnet6",
    "dotnet8",
    "dotnet10",
    "go1.x",
    "ruby2.5",
    "ruby2.7",
    "ruby3.2",
    "ruby3.3",
    "ruby3.4",
    "provided",
    "nodejs4.3-edge",
];

/// How a runtime is run here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Runtime {
    /// An executable named `bootstrap`.
    Provided,
    /// An interpreter of that version, as in `3.12`.
    Python(String),
}

impl Runtime {
    /// Reads the name of a runtime.
    ///
    /// # Errors
    /// Which are run here, or that AWS has no such runtime either.
    pub(crate) fn parse(name: &str) -> Result<Self, Error> {
        if matches!(name, "provided.al2023" | "provided.al2") {
            return Ok(Self::Provided);
        }
        let python = name.strip_prefix("python").filter(|version| {
            version
                .strip_prefix("3.")
                .is_some_and(|minor| !minor.is_empty() && minor.bytes().all(|b| b.is_ascii_digit()))
        });
        if let Some(version) = python {
            return Ok(Self::Python(version.to_owned()));
        }
        if AWS_RUNTIMES.contains(&name) {
            let message = format!(
                "The runtime {name} can't be run here; this server runs provided.al2023, provided.al2 (an executable \
                 named bootstrap) and python3.x"
            );
            return Err(Error::invalid(message));
        }
        Err(Error::invalid(format!(
            "Value {name} at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: \
             [provided.al2023, provided.al2, python3.x] or be a valid ARN"
        )))
    }
}

/// The runtimes of this machine.
#[derive(Debug)]
pub(crate) struct Runtimes {
    /// Where our Python client lies.
    folder: PathBuf,
    /// Interpreters that were found, by wanted version.
    pythons: Mutex<BTreeMap<String, OsString>>,
}

impl Runtimes {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder, pythons: Mutex::default() }
    }

    /// Program and arguments for code in `root`. Blocks when an interpreter has to be looked for.
    ///
    /// # Errors
    /// When there is nothing to run it with.
    pub(crate) fn command(&self, runtime: &Runtime, root: &Path, handler: &str) -> Result<Vec<OsString>, Error> {
        match runtime {
            Runtime::Provided if root.is_dir() => Ok(vec![root.join("bootstrap").into_os_string()]),
            Runtime::Provided => Ok(vec![root.as_os_str().to_owned()]),
            Runtime::Python(version) => {
                let interpreter = self.python(version)?;
                let script = self.script().map_err(|error| Error::internal("writing the Python runtime", &error))?;
                // Unbuffered, so that what a function prints is in its log before its answer is here.
                Ok(vec![interpreter, "-u".into(), script.into_os_string(), handler.into()])
            }
        }
    }

    /// The interpreter of that version, else the machine's `python3`.
    fn python(&self, version: &str) -> Result<OsString, Error> {
        let mut known = self.pythons.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(interpreter) = known.get(version) {
            return Ok(interpreter.clone());
        }
        let exact = format!("python{version}");
        let found = [exact.as_str(), "python3"].into_iter().find_map(|program| {
            let ask = "import sys; print('%d.%d' % sys.version_info[:2])";
            // Found by running it: a name on the path may be a shim for a version that is not installed.
            let output = Command::new(program).args(["-c", ask]).stdin(Stdio::null()).output().ok()?;
            let found = String::from_utf8(output.stdout).ok()?.trim().to_owned();
            (output.status.success() && found.starts_with("3.")).then_some((program, found))
        });
        let Some((program, found)) = found else {
            let message = format!(
                "The runtime {exact} needs Python on this machine, and neither {exact} nor python3 could be started; \
                 install Python 3 (for example: apt-get install python3)"
            );
            return Err(Error::invalid(message));
        };
        if found != version {
            tracing::warn!(wanted = version, found, "functions run on another version of Python than they ask for");
        }
        known.insert(version.to_owned(), program.into());
        Ok(program.into())
    }

    fn script(&self) -> io::Result<PathBuf> {
        let path = self.folder.join("python_runtime.py");
        if std::fs::read_to_string(&path).is_ok_and(|text| text == PYTHON_RUNTIME) {
            return Ok(path);
        }
        std::fs::create_dir_all(&self.folder)?;
        let aside = self.folder.join(format!("{}.py", uuid::Uuid::new_v4().simple()));
        std::fs::write(&aside, PYTHON_RUNTIME)?;
        std::fs::rename(&aside, &path)?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtimes_are_known_by_name() {
        assert_eq!(Runtime::parse("provided.al2023").unwrap(), Runtime::Provided);
        assert_eq!(Runtime::parse("python3.12").unwrap(), Runtime::Python("3.12".to_owned()));
        assert!(Runtime::parse("nodejs22.x").unwrap_err().message.contains("nodejs22.x can't be run here"));
        for unknown in ["python3", "python3.x", "python4.0", "cobol"] {
            assert!(Runtime::parse(unknown).unwrap_err().message.contains("enum value set"), "{unknown}");
        }
    }
}
