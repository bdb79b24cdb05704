//! Starts a bootstrap as Lambda does: in a folder of its own, with Lambda's environment and nothing else, against a Runtime API.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::archive::BOOTSTRAP;

/// Lambda gives the init phase ten seconds.
const INIT_MAX: Duration = Duration::from_secs(10);
/// Starts that are timed; the median is said.
const STARTS: usize = 3;
/// How often a process that says nothing is asked whether it still lives.
const LOOKED_AFTER: Duration = Duration::from_millis(50);

/// The environment of a function's process, but for the address of the Runtime API:
/// <https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html>, read 2026-11.
pub fn environment(task_root: &Path) -> Vec<(&'static str, String)> {
    let fixed = [
        ("_HANDLER", "infer"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_EXECUTION_ENV", "AWS_Lambda_provided.al2023"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1769"),
        ("AWS_LAMBDA_FUNCTION_NAME", "starmap-infer"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
        ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/starmap-infer"),
        ("AWS_LAMBDA_LOG_STREAM_NAME", "2026/11/01/[$LATEST]00000000000000000000000000000000"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "cold-start"),
        ("AWS_SECRET_ACCESS_KEY", "cold-start"),
        ("AWS_SESSION_TOKEN", "cold-start"),
        ("LANG", "en_US.UTF-8"),
        ("PATH", "/usr/local/bin:/usr/bin/:/bin:/opt/bin"),
        ("TZ", ":UTC"),
    ];
    let root = task_root.display().to_string();
    let mut all: Vec<_> = fixed.map(|(name, value)| (name, value.to_owned())).into();
    all.extend([("LAMBDA_TASK_ROOT", root.clone()), ("LAMBDA_RUNTIME_DIR", root)]);
    all
}

/// The median time from a process's start to its first request for an invocation.
///
/// # Errors
/// If it ends before, with what it said, or has not come so far in Lambda's ten seconds.
pub fn measure(executable: &[u8]) -> anyhow::Result<Duration> {
    let folder = Folder::new()?;
    let program = folder.0.join(BOOTSTRAP);
    let doing = || format!("writing {}", program.display());
    let mut file = File::create(&program).with_context(doing)?;
    file.write_all(executable).with_context(doing)?;
    file.set_permissions(fs::Permissions::from_mode(0o755)).with_context(doing)?;
    drop(file);
    let mut times = (0..STARTS).map(|_| start(&program, &folder.0)).collect::<Result<Vec<_>, _>>()?;
    times.sort();
    Ok(times[times.len() / 2])
}

fn start(program: &Path, task_root: &Path) -> anyhow::Result<Duration> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("opening a Runtime API")?;
    let address = listener.local_addr().context("opening a Runtime API")?.to_string();
    let (asked, first) = channel();
    std::thread::spawn(move || {
        let Ok((stream, _)) = listener.accept() else { return };
        let mut line = String::new();
        let _ = BufReader::new(&stream).read_line(&mut line);
        // The stream stays open until the process has been ended.
        let _ = asked.send((line, stream));
    });
    let since = Instant::now();
    let mut command = Command::new(program);
    command.env_clear().envs(environment(task_root)).env("AWS_LAMBDA_RUNTIME_API", address).current_dir(task_root);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut process = Running(command.spawn().with_context(|| format!("starting {}", program.display()))?);
    loop {
        match first.recv_timeout(LOOKED_AFTER) {
            Ok((line, _stream)) if line.contains("/runtime/invocation/next") => return Ok(since.elapsed()),
            Ok((line, _)) => bail!("its first request was {:?}, expected the next invocation", line.trim()),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => bail!("the Runtime API could not be served"),
        }
        if let Some(status) = process.0.try_wait().context("looking after the bootstrap")? {
            let mut said = String::new();
            let stderr = process.0.stderr.take();
            let _ = stderr.map(|mut stderr| stderr.read_to_string(&mut said));
            bail!("it ended ({status}) before the first invocation: {}", said.trim());
        }
        if since.elapsed() > INIT_MAX {
            bail!("it asked for no invocation within {} s, where Lambda gives up", INIT_MAX.as_secs());
        }
    }
}

/// A process that ends with its owner.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A temporary folder.
struct Folder(PathBuf);

impl Folder {
    fn new() -> anyhow::Result<Self> {
        let name = format!("starmap-cold-start-{}", uuid::Uuid::new_v4().simple());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What stays behind is in the folder for temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bootstrap_that_ends_is_refused_with_what_it_said() {
        let error = measure(b"#!/bin/sh\necho no such symbol >&2\nexit 3\n").unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.ends_with("no such symbol"), "{error}");
    }

    #[test]
    fn it_gets_lambdas_environment_and_no_other() {
        let error = measure(b"#!/bin/sh\nenv >&2\nls -a >&2\nexit 1\n").unwrap_err().to_string();
        assert!(error.contains("AWS_LAMBDA_RUNTIME_API=127.0.0.1:") && error.contains("_HANDLER=infer"), "{error}");
        assert!(!error.contains("CARGO") && !error.contains("HOME="), "{error}");
    }
}
