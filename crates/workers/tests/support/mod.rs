//! A worker for tests, on nothing but std: a Lambda runtime whose events say what it should do.
//!
//! The test programs start themselves again to be it, so that there is nothing to build beside them.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio, exit};
use std::thread;

use serde_json::{Value, json};

/// Whether this process was started as a worker.
pub fn is_worker() -> bool {
    std::env::var_os("AWS_LAMBDA_RUNTIME_API").is_some()
}

/// Polls and does as it is told, for ever.
///
/// `INIT` in the environment says what happens before the first poll: `error`, `exit`, `hang`, or nothing.
pub fn run_worker() -> ! {
    thread::spawn(|| {
        // What our bootstrap does: the parent's end is ours.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        exit(0)
    });
    let mut api = Api::connect();
    match std::env::var("INIT").as_deref() {
        Ok("error") => {
            let error = json!({ "errorType": "Init.NoWeights", "errorMessage": "weights are missing" });
            let reply = api.request("POST", "init/error", error.to_string().as_bytes());
            assert_eq!(reply.status, 202);
            exit(1)
        }
        Ok("exit") => exit(3),
        Ok("hang") => hang(),
        _ => {}
    }
    loop {
        let next = api.request("GET", "invocation/next", b"");
        assert_eq!(next.status, 200, "{}", String::from_utf8_lossy(&next.body));
        let id = next.headers["lambda-runtime-aws-request-id"].clone();
        let event: Value = serde_json::from_slice(&next.body).unwrap();
        match act(&mut api, &id, &next, &event) {
            Some(Ok(answer)) => {
                let reply = api.request("POST", &format!("invocation/{id}/response"), &answer);
                assert!(matches!(reply.status, 202 | 413), "{}", reply.status);
            }
            Some(Err(error)) => {
                let reply = api.request("POST", &format!("invocation/{id}/error"), error.to_string().as_bytes());
                assert_eq!(reply.status, 202);
            }
            None => {}
        }
        match event["then"].as_str() {
            Some("exit") => exit(0),
            Some("hang") => hang(),
            _ => {}
        }
    }
}

/// Does what the event says; None when it has answered already.
fn act(api: &mut Api, id: &str, next: &Reply, event: &Value) -> Option<Result<Vec<u8>, Value>> {
    let is_told_otherwise = event["unless"].as_str().is_some_and(|name| std::env::var_os(name).is_some());
    let mode = if is_told_otherwise { "echo" } else { event["mode"].as_str().unwrap_or("echo") };
    match mode {
        "echo" => {}
        "error" => return Some(Err(json!({ "errorType": "Test.Failed", "errorMessage": "as told", "trace": [1] }))),
        "exit" => exit(event["code"].as_i64().unwrap() as i32),
        "kill" => {
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
            hang()
        }
        "hang" => hang(),
        // All at once, given back before the answer.
        "allocate" => drop(allocate(event["mib"].as_u64().unwrap())),
        // More and more, no answer.
        "grow" => {
            let mut kept = Vec::new();
            loop {
                kept.push(allocate(1));
            }
        }
        // A child holds memory, and we wait for it in vain.
        "child" => drop(child(event).wait().unwrap()),
        // A child is left behind, once the gate lets us through.
        "abandon" => {
            child(event);
            pass(id, event);
            exit(0)
        }
        "print" => {
            std::io::stdout().write_all(event["stdout"].as_str().unwrap().as_bytes()).unwrap();
            std::io::stdout().flush().unwrap();
            std::io::stderr().write_all(event["stderr"].as_str().unwrap().as_bytes()).unwrap();
        }
        // Says who it is and waits to be let through.
        "gate" => pass(id, event),
        // Opens a connection that lasts as long as the process.
        "hold" => std::mem::forget(TcpStream::connect(event["gate"].as_str().unwrap()).unwrap()),
        "large" => return Some(Ok(vec![b'x'; event["bytes"].as_u64().unwrap() as usize])),
        "environment" => {
            let environment: BTreeMap<String, String> = std::env::vars().collect();
            return Some(Ok(json!({ "environment": environment, "headers": next.headers }).to_string().into()));
        }
        "probe" => return Some(Ok(probe(api, id))),
        other => panic!("no mode {other}"),
    }
    Some(Ok(next.body.clone()))
}

/// What the Runtime API makes of requests that are wrong.
fn probe(api: &mut Api, id: &str) -> Vec<u8> {
    let mut replies = Vec::new();
    for (method, path, body) in [
        ("GET", "nothing", ""),
        ("DELETE", "invocation/next", ""),
        ("GET", "invocation/next", ""),
        ("POST", "invocation/someone-elses/response", "{}"),
        ("POST", "invocation/someone-elses/error", "{}"),
        ("POST", "init/error", "{}"),
    ] {
        let reply = api.request(method, path, body.as_bytes());
        let body: Value = serde_json::from_slice(&reply.body).unwrap();
        replies.push(format!("{method} {path}: {} {}", reply.status, body["errorType"].as_str().unwrap()));
    }
    let accepted = api.request("POST", &format!("invocation/{id}/response"), json!(replies).to_string().as_bytes());
    assert_eq!((accepted.status, accepted.body.as_slice()), (202, br#"{"status":"OK"}"#.as_slice()));
    // The second answer to the same invocation is refused, and what it says is not used.
    b"\"twice\"".to_vec()
}

fn pass(id: &str, event: &Value) {
    let mut gate = TcpStream::connect(event["gate"].as_str().unwrap()).unwrap();
    gate.write_all(format!("{id}\n").as_bytes()).unwrap();
    gate.read_exact(&mut [0]).unwrap();
}

fn child(event: &Value) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["child", "--exact", "--ignored", "--nocapture"]).stdin(Stdio::piped());
    command.env("CHILD", event.to_string()).spawn().unwrap()
}

/// What a child does, if this process is one.
pub fn run_child() {
    let Ok(event) = std::env::var("CHILD") else { return };
    let event: Value = serde_json::from_str(&event).unwrap();
    let _memory = allocate(event["mib"].as_u64().unwrap_or(0));
    if event["gate"].is_string() {
        pass("child", &event);
    }
    hang();
}

/// Memory that is really there.
pub fn allocate(mib: u64) -> Vec<u8> {
    let mut memory = vec![0; (mib << 20) as usize];
    for page in memory.chunks_mut(4096) {
        page[0] = 1;
    }
    std::hint::black_box(memory)
}

pub fn hang() -> ! {
    loop {
        thread::park();
    }
}

/// A client of the Runtime API on one connection.
pub struct Api {
    stream: BufReader<TcpStream>,
}

pub struct Reply {
    pub status: u16,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Api {
    pub fn connect() -> Self {
        let stream = TcpStream::connect(std::env::var("AWS_LAMBDA_RUNTIME_API").unwrap()).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream: BufReader::new(stream) }
    }

    pub fn request(&mut self, method: &str, path: &str, body: &[u8]) -> Reply {
        let head = format!(
            "{method} /2018-06-01/runtime/{path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let request = [head.as_bytes(), body].concat();
        self.stream.get_mut().write_all(&request).unwrap();
        let status = self.line().split(' ').nth(1).unwrap().parse().unwrap();
        let mut headers = BTreeMap::new();
        loop {
            let line = self.line();
            let Some((name, value)) = line.split_once(": ") else { break };
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        let mut body = vec![0; headers["content-length"].parse().unwrap()];
        self.stream.read_exact(&mut body).unwrap();
        Reply { status, headers, body }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}
