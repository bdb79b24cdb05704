//! A worker's process: how it is started, what it sees, and how it is stopped.

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use bytes::BytesMut;
use rustix::process::{Pid, Signal};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

use crate::Function;

/// A running process. Dropping it kills it.
pub(crate) struct Process {
    child: Child,
    /// The process and everything it started; None once that was killed.
    group: Option<Pid>,
    /// Held open for as long as the worker may live: it ends itself when this pipe closes, so that a
    /// `kill -9` of us leaves no orphan.
    _stdin: Option<ChildStdin>,
    stdout: Output<ChildStdout>,
    stderr: Output<ChildStderr>,
}

impl Process {
    /// Starts `function` with exactly `environment`. Output is thrown away unless `keep_output`.
    pub(crate) fn start(
        function: &Function,
        environment: Vec<(OsString, OsString)>,
        keep_output: bool,
    ) -> io::Result<Self> {
        let (program, arguments) = function.command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let output = || if keep_output { Stdio::piped() } else { Stdio::null() };
        let mut command = Command::new(program);
        if let Some(folder) = &function.task_root {
            command.current_dir(folder);
        }
        let mut child = command
            .args(arguments)
            .env_clear()
            .envs(environment)
            .stdin(Stdio::piped())
            .stdout(output())
            .stderr(output())
            // A group of its own: Ctrl-C at the terminal is for us, and killing reaches its children too.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        // Taken out, because `Child::wait` closes what it finds there.
        let stdin = child.stdin.take();
        let stdout = Output::new(child.stdout.take());
        let stderr = Output::new(child.stderr.take());
        let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        Ok(Self { child, group, _stdin: stdin, stdout, stderr })
    }

    /// The process id, until the process was waited for.
    pub(crate) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits for the end or for complete lines of output, whichever is first.
    ///
    /// Cancelling loses nothing.
    pub(crate) async fn next(&mut self) -> Happened {
        tokio::select! {
            status = self.child.wait() => Happened::Exited(status),
            lines = self.stdout.lines() => Happened::Printed(lines),
            lines = self.stderr.lines() => Happened::Printed(lines),
        }
    }

    /// What was printed up to now and is not read yet, complete lines or not. Does not wait.
    pub(crate) fn printed(&mut self) -> BytesMut {
        let mut printed = self.stdout.rest();
        printed.extend_from_slice(&self.stderr.rest());
        printed
    }

    /// Kills the process with everything it started and waits until it is gone.
    pub(crate) async fn stop(&mut self) {
        self.kill();
        if let Err(error) = self.child.wait().await {
            tracing::warn!(%error, "worker could not be waited for");
        }
    }

    /// Kills the group, once. The process itself may have ended, and been waited for, just before: its id
    /// stays taken while anyone is left in the group, and does not come round again within moments if not.
    fn kill(&mut self) {
        if let Some(group) = self.group.take() {
            // Nobody left is what we want.
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What a process did.
pub(crate) enum Happened {
    Exited(io::Result<ExitStatus>),
    Printed(BytesMut),
}

/// How a process ended, in Lambda's words.
///
/// # Source
/// Lambda's supervisor is written in Go and prints `os.ProcessState`; names of signals are Go's.
pub(crate) fn exit_reason(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(0), _) => "Runtime exited without providing a reason".to_owned(),
        (Some(code), _) => format!("Runtime exited with error: exit status {code}"),
        (None, Some(signal)) => format!("Runtime exited with error: signal: {}", signal_name(signal)),
        (None, None) => "Runtime exited with error: unknown".to_owned(),
    }
}

fn signal_name(signal: i32) -> String {
    let names = [
        (Signal::HUP, "hangup"),
        (Signal::INT, "interrupt"),
        (Signal::QUIT, "quit"),
        (Signal::ILL, "illegal instruction"),
        (Signal::TRAP, "trace/breakpoint trap"),
        (Signal::ABORT, "aborted"),
        (Signal::BUS, "bus error"),
        (Signal::FPE, "floating point exception"),
        (Signal::KILL, "killed"),
        (Signal::SEGV, "segmentation fault"),
        (Signal::PIPE, "broken pipe"),
        (Signal::ALARM, "alarm clock"),
        (Signal::TERM, "terminated"),
    ];
    match names.iter().find(|(known, _)| known.as_raw() == signal) {
        Some((_, name)) => (*name).to_owned(),
        None => format!("signal {signal}"),
    }
}

/// Longest line kept together; a longer one is cut. CloudWatch Logs takes 256 KiB per event.
const LINE_BYTES_MAX: usize = 256 * 1024;

/// One output pipe, read without ever waiting for the end of a line.
struct Output<R> {
    /// None once it ended.
    pipe: Option<R>,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> Output<R> {
    fn new(pipe: Option<R>) -> Self {
        Self { pipe, buffer: BytesMut::new() }
    }

    /// Waits for at least one complete line; forever if the pipe has ended.
    async fn lines(&mut self) -> BytesMut {
        loop {
            if let Some(end) = self.buffer.iter().rposition(|&byte| byte == b'\n') {
                return self.buffer.split_to(end + 1);
            }
            if self.buffer.len() >= LINE_BYTES_MAX {
                return self.take();
            }
            let Some(pipe) = &mut self.pipe else { std::future::pending().await };
            match pipe.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => self.pipe = None,
                Ok(_) => {}
            }
        }
    }

    /// Everything there is now, with a newline at its end.
    fn rest(&mut self) -> BytesMut {
        while let Some(pipe) = &mut self.pipe {
            match now_or_never(pipe.read_buf(&mut self.buffer)) {
                None => break,
                Some(Ok(0) | Err(_)) => self.pipe = None,
                Some(Ok(_)) => {}
            }
        }
        self.take()
    }

    fn take(&mut self) -> BytesMut {
        let mut taken = self.buffer.split();
        if taken.last().is_some_and(|&byte| byte != b'\n') {
            taken.extend_from_slice(b"\n");
        }
        taken
    }
}

/// Polls a future once.
fn now_or_never<F: Future>(future: F) -> Option<F::Output> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}

/// What is passed on from our own environment, by name or by prefix (`*`).
const INHERITED: [&str; 18] = [
    "PATH",
    "HOME",
    "LANG",
    "TMPDIR",
    "AWS_*",
    "RUST_LOG",
    "RUST_BACKTRACE",
    "STARMAP_*",
    // How to get to object storage: whom to trust, and through what.
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
];

/// The environment of a worker: the allowed part of `ours`, then the function's, then Lambda's.
///
/// # Source
/// docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html, "Defined runtime environment variables".
pub(crate) fn environment(
    function: &Function,
    ours: impl IntoIterator<Item = (OsString, OsString)>,
    runtime_api: SocketAddr,
    log_stream: &str,
    region: &str,
) -> Vec<(OsString, OsString)> {
    let mut environment: Vec<(OsString, OsString)> =
        ours.into_iter().filter(|(name, _)| name.to_str().is_some_and(is_inherited)).collect();
    environment.extend(function.environment.iter().map(|(name, value)| (name.into(), value.into())));
    let program_folder = || function.command.first().and_then(|program| Path::new(program).parent());
    let task_root = function.task_root.as_deref().or_else(program_folder).unwrap_or(Path::new(""));
    let lambda: [(&str, OsString); 13] = [
        ("AWS_LAMBDA_RUNTIME_API", runtime_api.to_string().into()),
        ("AWS_LAMBDA_FUNCTION_NAME", function.name.clone().into()),
        ("AWS_LAMBDA_FUNCTION_VERSION", function.version.clone().into()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", function.memory_mib.to_string().into()),
        ("AWS_LAMBDA_LOG_GROUP_NAME", format!("/aws/lambda/{}", function.name).into()),
        ("AWS_LAMBDA_LOG_STREAM_NAME", log_stream.into()),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand".into()),
        ("AWS_REGION", region.into()),
        ("AWS_DEFAULT_REGION", region.into()),
        ("_HANDLER", function.handler.clone().into()),
        ("LAMBDA_TASK_ROOT", task_root.into()),
        ("TZ", ":UTC".into()),
        // Not Lambda's: tells our bootstrap to end when its standard input does.
        ("STARMAP_EXIT_WITH_STDIN", "1".into()),
    ];
    environment.extend(lambda.into_iter().map(|(name, value)| (name.into(), value)));
    environment
}

fn is_inherited(name: &str) -> bool {
    INHERITED.iter().any(|allowed| match allowed.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == *allowed,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;

    #[test]
    fn environment_is_allowed_then_given_then_lambdas() {
        let function = Function {
            name: "infer".to_owned(),
            version: "7".to_owned(),
            command: vec!["/opt/starmap/bootstrap".into()],
            task_root: None,
            environment: vec![("PATH".to_owned(), "/mine".to_owned()), ("TZ".to_owned(), "Mars/Olympus".to_owned())],
            handler: "infer".to_owned(),
            memory_mib: 512,
            timeout: Duration::from_secs(3),
            concurrency_max: 1,
        };
        let ours = [
            ("PATH", "/bin"),
            ("HOME", "/root"),
            ("SECRET_TOKEN", "x"),
            ("AWS_ENDPOINT_URL", "http://localhost:9000"),
            ("AWS_LAMBDA_FUNCTION_NAME", "outer"),
            ("STARMAP_DATA", "/data"),
            ("LD_PRELOAD", "evil.so"),
        ];
        let ours = ours.map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let address = "127.0.0.1:4711".parse().unwrap();
        let environment: BTreeMap<OsString, OsString> =
            environment(&function, ours, address, "2026/11/24/[$LATEST]ab", "eu-west-1").into_iter().collect();
        let get = |name: &str| environment.get(&OsString::from(name)).and_then(|value| value.to_str());
        assert_eq!(get("PATH"), Some("/mine"));
        assert_eq!(get("HOME"), Some("/root"));
        assert_eq!(get("SECRET_TOKEN"), None);
        assert_eq!(get("LD_PRELOAD"), None);
        assert_eq!(get("AWS_ENDPOINT_URL"), Some("http://localhost:9000"));
        assert_eq!(get("STARMAP_DATA"), Some("/data"));
        assert_eq!(get("AWS_LAMBDA_FUNCTION_NAME"), Some("infer"));
        assert_eq!(get("AWS_LAMBDA_RUNTIME_API"), Some("127.0.0.1:4711"));
        assert_eq!(get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE"), Some("512"));
        assert_eq!(get("AWS_LAMBDA_FUNCTION_VERSION"), Some("7"));
        assert_eq!(get("AWS_LAMBDA_LOG_GROUP_NAME"), Some("/aws/lambda/infer"));
        assert_eq!(get("AWS_REGION"), Some("eu-west-1"));
        assert_eq!(get("LAMBDA_TASK_ROOT"), Some("/opt/starmap"));
        assert_eq!(get("TZ"), Some(":UTC"));
    }

    #[test]
    fn exit_reasons_are_lambdas() {
        assert_eq!(exit_reason(ExitStatus::from_raw(0)), "Runtime exited without providing a reason");
        assert_eq!(exit_reason(ExitStatus::from_raw(101 << 8)), "Runtime exited with error: exit status 101");
        assert_eq!(exit_reason(ExitStatus::from_raw(9)), "Runtime exited with error: signal: killed");
        assert_eq!(exit_reason(ExitStatus::from_raw(11)), "Runtime exited with error: signal: segmentation fault");
    }

    #[tokio::test]
    async fn output_comes_in_whole_lines() {
        let text = [b"one\ntwo\nthr".to_vec(), vec![b'x'; LINE_BYTES_MAX + 1], b"\nlast".to_vec()].concat();
        let mut output = Output::new(Some(text.as_slice()));
        let mut lines = Vec::new();
        lines.extend_from_slice(&output.lines().await);
        assert_eq!(lines, b"one\ntwo\n");
        assert!(output.lines().await.ends_with(b"xxx\n"));
        let rest = [output.rest(), output.rest()].concat();
        assert!(rest.ends_with(b"last\n"), "an unfinished line gets its newline");
    }
}
