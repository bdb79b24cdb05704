//! A server under watch: its metrics and logs, what is asked of it by `starmap executions`, and traces.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::common::{Place, object, program, text};

struct Served {
    server: Child,
    address: String,
    place: Place,
}

impl Served {
    fn start(more: &[&str]) -> Self {
        let place = Place::empty();
        let mut command = Command::new(program());
        command.args(["serve", "--json", "--listen", "127.0.0.1:0", "--data"]).arg(place.data()).args(more);
        let mut server = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        let address = said["listening"].as_str().unwrap().trim_start_matches("http://").to_owned();
        Self { server, address, place }
    }

    fn request(&self, head: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let (host, length) = (&self.address, body.len());
        write!(stream, "{head}\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    fn call(&self, action: &str, request: &Value) -> Value {
        let head = format!(
            "POST / HTTP/1.1\r\nContent-Type: application/x-amz-json-1.0\r\nX-Amz-Target: AWSStepFunctions.{action}"
        );
        let (status, body) = self.request(&head, &request.to_string());
        assert_eq!(status, 200, "{action}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    /// Starts an execution of a state machine with one state.
    fn start_execution(&self, name: &str, state: &Value) -> String {
        let definition = json!({ "StartAt": "Only", "States": { "Only": state } }).to_string();
        let role = "arn:aws:iam::123456789012:role/r";
        let machine =
            self.call("CreateStateMachine", &json!({ "name": name, "definition": definition, "roleArn": role }));
        let started =
            self.call("StartExecution", &json!({ "stateMachineArn": machine["stateMachineArn"], "name": name }));
        started["executionArn"].as_str().unwrap().to_owned()
    }

    fn metrics(&self) -> String {
        let (status, page) = self.request("GET /metrics HTTP/1.1", "");
        assert_eq!(status, 200);
        page
    }

    fn wait_for_metric(&self, line: &str) {
        while !self.metrics().lines().any(|found| found == line) {
            std::thread::yield_now();
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

#[test]
fn a_server_counts_what_it_does_and_is_asked_to_stop_executions() {
    let served = Served::start(&[]);
    let page = served.metrics();
    assert!(page.contains("\nstarmap_workers{function=\"starmap-infer\",version=\"$LATEST\"} 0\n"), "{page}");
    assert!(page.contains("starmap_executions_running 0\n"), "{page}");

    served.start_execution("quick", &json!({ "Type": "Pass", "End": true }));
    served.wait_for_metric("starmap_executions_ended_total{kind=\"execution\",status=\"SUCCEEDED\"} 1");
    let slow = served.start_execution("slow", &json!({ "Type": "Wait", "Seconds": 3600, "End": true }));
    served.wait_for_metric("starmap_executions_running 1");

    // The server has the data root; whoever asks in the folder reaches it.
    let mut command = Command::new(program());
    command.args(["executions", "stop", "slow", "--json", "--error", "Mine", "--data"]).arg(served.place.data());
    let output = command.output().unwrap();
    assert_eq!(object(&output)["status"], "ABORTED", "{}", text(&output.stderr));
    served.wait_for_metric("starmap_executions_ended_total{kind=\"execution\",status=\"ABORTED\"} 1");
    let told = served.call("DescribeExecution", &json!({ "executionArn": slow }));
    assert_eq!((&told["status"], &told["error"]), (&json!("ABORTED"), &json!("Mine")));
}

/// A collector that takes what it is sent.
fn collector() -> (String, std::thread::JoinHandle<Value>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let collecting = std::thread::spawn(move || {
        let mut reader = BufReader::new(listener.accept().unwrap().0);
        let (mut length, mut line) = (0, String::new());
        while reader.read_line(&mut line).unwrap() > 2 {
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            line.clear();
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").unwrap();
        serde_json::from_slice(&body).unwrap()
    });
    (endpoint, collecting)
}

#[test]
fn a_run_is_one_trace_down_to_the_phases_of_its_items() {
    let (endpoint, collecting) = collector();
    let place = Place::with_sky(2, 20);
    let output = place.run(&place.input(2), &["--json", "--name", "one", "--otlp", &endpoint]);
    assert_eq!(object(&output)["status"], "SUCCEEDED", "{}", text(&output.stderr));
    let sent = collecting.join().unwrap();
    let spans = sent["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap();
    let named = |name: &str| spans.iter().filter(|span| span["name"] == name).collect::<Vec<_>>();
    let (root, map) = (named("one")[0], named("Distributed Test")[0]);
    assert_eq!((&root["parentSpanId"], &map["parentSpanId"]), (&json!(""), &root["spanId"]));
    assert_eq!((named("Initialize").len(), named("Summarize").len(), named("infer").len()), (1, 1, 2));
    let item = named("item 1")[0];
    assert_eq!(item["parentSpanId"], map["spanId"]);
    assert!(named("infer").iter().any(|phase| phase["parentSpanId"] == item["spanId"]));
    assert!(spans.iter().all(|span| span["traceId"] == root["traceId"]));

    // Later it is the same.
    let mut command = Command::new(program());
    let printed = command.args(["executions", "trace", "one", "--json", "--data"]).arg(place.data()).output().unwrap();
    assert_eq!(object(&printed), sent);
}

#[test]
fn logs_are_json_where_that_is_asked_for() {
    let place = Place::with_sky(1, 10);
    let mut command = place.run_command(&place.input(1), &["--json", "--name", "one", "--log-format", "json"]);
    let output = command.env("RUST_LOG", "info").output().unwrap();
    assert_eq!(object(&output)["status"], "SUCCEEDED");
    let stderr = text(&output.stderr);
    let lines: Vec<Value> = stderr.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert!(lines.iter().any(|line| line["message"] == "worker ended" && line["pid"].is_u64()), "{stderr}");
    let mut command = Command::new(program());
    let logs = command.args(["executions", "logs", "one", "--function", "infer", "--data"]).arg(place.data()).output();
    let logs = text(&logs.unwrap().stdout);
    let done = logs.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    assert!(done.into_iter().any(|line| line["message"] == "rank done" && line["galaxies"] == 10), "{logs}");
}
