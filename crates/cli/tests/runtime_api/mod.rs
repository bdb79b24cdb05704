//! A Runtime API of the test's own, and one function's process in front of it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

const ANSWERS_WITHIN: Duration = Duration::from_secs(300);

/// A function's process with Lambda's environment and no other, ended with the test.
pub struct Function {
    process: Child,
    invocations: Sender<Value>,
    answers: Receiver<(String, Value)>,
}

impl Function {
    /// Starts `bootstrap` of a folder, as Lambda does.
    pub fn start(task_root: &Path, handler: &str, more: &[(&str, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (invocations, next) = channel();
        let (answer, answers) = channel();
        let next = Arc::new(Mutex::new(next));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (next, answer) = (Arc::clone(&next), answer.clone());
                std::thread::spawn(move || serve(stream, &next, &answer));
            }
        });
        let process = Command::new(task_root.join("bootstrap"))
            .env_clear()
            .env("_HANDLER", handler)
            .env("AWS_DEFAULT_REGION", "us-east-1")
            .env("AWS_EXECUTION_ENV", "AWS_Lambda_provided.al2023")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1769")
            .env("AWS_LAMBDA_FUNCTION_NAME", format!("starmap-{handler}"))
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")
            .env("AWS_LAMBDA_LOG_GROUP_NAME", format!("/aws/lambda/starmap-{handler}"))
            .env("AWS_LAMBDA_LOG_STREAM_NAME", "2026/11/27/[$LATEST]0")
            .env("AWS_LAMBDA_RUNTIME_API", address)
            .env("AWS_REGION", "us-east-1")
            .env("LAMBDA_RUNTIME_DIR", "/var/runtime")
            .env("LAMBDA_TASK_ROOT", task_root)
            .env("LANG", "en_US.UTF-8")
            .env("PATH", "/usr/local/bin:/usr/bin/:/bin:/opt/bin")
            .env("TZ", ":UTC")
            .envs(more.iter().copied())
            .current_dir(task_root)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, invocations, answers }
    }

    /// One invocation: `response` or `error`, and its body.
    pub fn invoke(&self, payload: &Value) -> (String, Value) {
        self.invocations.send(payload.clone()).unwrap();
        self.answers.recv_timeout(ANSWERS_WITHIN).expect("an answer")
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Serves one connection until it is closed.
fn serve(stream: TcpStream, next: &Mutex<Receiver<Value>>, answer: &Sender<(String, Value)>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut writer = stream;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|&bytes| bytes > 0)?;
        let path = line.split(' ').nth(1)?.to_owned();
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim().split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().ok()?;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let reply = if path == "/2018-06-01/runtime/invocation/next" {
            let payload = next.lock().ok()?.recv().ok()?.to_string();
            format!(
                "HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: 8476a536-e9f4-11e8-9739-2dfe598c3fcd\r\n\
                 Lambda-Runtime-Deadline-Ms: 4000000000000\r\nLambda-Runtime-Trace-Id: Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700\r\n\
                 Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:us-east-1:123456789012:function:f\r\n\
                 Content-Length: {}\r\n\r\n{payload}",
                payload.len()
            )
        } else {
            let kind = path.rsplit('/').next()?.to_owned();
            answer.send((kind, serde_json::from_slice(&body).ok()?)).ok()?;
            "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n".to_owned()
        };
        writer.write_all(reply.as_bytes()).ok()?;
    }
}
