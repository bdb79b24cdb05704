//! A server over a journal in a folder, and the smallest HTTP client.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use serde_json::{Value, json};
use starmap_asl::Timestamp;
use starmap_engine::invoker::{Invocation, InvokeError, Invoker, Invoking, Outcome};
use starmap_engine::journal::sqlite::SqliteJournal;
use starmap_engine::limits::Limits;
use starmap_engine::names::Naming;
use starmap_engine::objects::NoObjects;
use starmap_engine::services::NoServices;
use starmap_engine::{Engine, Parts};
use starmap_server::{ApiError, StepFunctions};

pub const ROLE: &str = "arn:aws:iam::000000000000:role/sky";
pub const PASS: &str = r#"{"StartAt": "P", "States": {"P": {"Type": "Pass", "End": true}}}"#;
pub const FOREVER: &str = r#"{"StartAt": "W", "States": {"W": {"Type": "Wait", "Seconds": 31536000, "End": true}}}"#;

/// ARN of something of ours.
pub fn arn(rest: &str) -> String {
    format!("arn:aws:states:us-east-1:000000000000:{rest}")
}

/// Knows no function.
pub struct NoFunctions;

impl Invoker for NoFunctions {
    fn invoke(self: Arc<Self>, invocation: Invocation) -> Invoking {
        let error = InvokeError::NotFound { function: invocation.function, known: "none".to_owned() };
        Box::pin(async move { Outcome { result: Err(error), report: None } })
    }
}

/// The API over an engine whose clock moves on by a millisecond with every look.
pub struct Api {
    pub engine: Arc<Engine>,
    pub step_functions: Arc<StepFunctions>,
}

impl Api {
    /// Opens the journal in a folder.
    pub fn open(folder: &Path) -> Self {
        Self::open_with(folder, Arc::new(NoFunctions))
    }

    /// The same, with functions.
    pub fn open_with(folder: &Path, invoker: Arc<dyn Invoker>) -> Self {
        let now = AtomicI64::new(1_700_000_000_000);
        let clock = Arc::new(move || Timestamp(now.fetch_add(1, Ordering::Relaxed)));
        let engine = Engine::start(Parts {
            journal: Box::new(SqliteJournal::open(&folder.join("journal.sqlite")).unwrap()),
            invoker,
            objects: Arc::new(NoObjects),
            services: Arc::new(NoServices),
            access: starmap_engine::access::everything(),
            clock: Arc::clone(&clock) as _,
            runtime: tokio::runtime::Handle::current(),
            naming: Naming::default(),
            limits: Limits::default(),
        });
        let engine = Arc::new(engine.unwrap());
        let step_functions = Arc::new(StepFunctions::new(Arc::clone(&engine), clock));
        Self { engine, step_functions }
    }

    /// Calls an action that must be carried out.
    pub async fn call(&self, action: &str, members: Value) -> Value {
        match self.try_call(action, members).await {
            Ok(answer) => answer,
            Err(error) => panic!("{action}: {error}"),
        }
    }

    /// Calls an action that must be refused; `name: message`.
    pub async fn refused(&self, action: &str, members: Value) -> String {
        match self.try_call(action, members).await {
            Ok(answer) => panic!("{action} answered {answer}"),
            Err(error) => error.to_string(),
        }
    }

    pub async fn try_call(&self, action: &str, members: Value) -> Result<Value, ApiError> {
        let answer = self.step_functions.call(action, members.to_string().as_bytes()).await?;
        Ok(serde_json::from_slice(&answer).unwrap())
    }

    /// Creates a state machine and says its ARN.
    pub async fn machine(&self, name: &str, definition: &str) -> String {
        let members = json!({ "name": name, "definition": definition, "roleArn": ROLE });
        text(&self.call("CreateStateMachine", members).await["stateMachineArn"])
    }

    /// Starts an execution and waits for its end; its ARN.
    pub async fn run(&self, machine: &str, name: &str) -> String {
        let members = json!({ "stateMachineArn": machine, "name": name });
        let arn = text(&self.call("StartExecution", members).await["executionArn"]);
        let record = self.engine.reader().execution_by_arn(&arn).unwrap().unwrap();
        self.engine.wait(record.id).await.unwrap();
        arn
    }

    /// Stops as a process does.
    pub async fn close(self) {
        self.engine.shutdown().await;
    }
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no string")).to_owned()
}

/// An answer over HTTP.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(there, _)| there == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// One connection that is kept.
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        // As every SDK does: otherwise a body waits until the head before it is acknowledged.
        stream.set_nodelay(true).unwrap();
        Self { stream: BufReader::new(stream) }
    }

    pub fn action(&mut self, action: &str, body: &[u8]) -> Response {
        let head = format!(
            "POST / HTTP/1.1\r\nhost: localhost\r\nx-amz-target: AWSStepFunctions.{action}\r\n\
             content-type: application/x-amz-json-1.0\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        self.send(head.as_bytes(), body)
    }

    pub fn send(&mut self, head: &[u8], body: &[u8]) -> Response {
        let stream = self.stream.get_mut();
        stream.write_all(head).unwrap();
        // A server that has seen enough may have answered and closed.
        let _ = stream.write_all(body);
        self.receive()
    }

    fn receive(&mut self) -> Response {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        let status = line.split(' ').nth(1).unwrap_or_else(|| panic!("no status in {line:?}")).parse().unwrap();
        let mut headers = Vec::new();
        loop {
            line.clear();
            self.stream.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            headers.push((name.to_lowercase(), value.to_owned()));
        }
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let length = length.map_or(0, |(_, value)| value.parse().unwrap());
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).unwrap();
        Response { status, headers, body }
    }
}
