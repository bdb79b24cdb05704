//! `starmap run --console`: the page is there for as long as the run is, at the address that is printed first.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::common::{Place, object, text};

/// What a server at `http://ADDRESS/…` answers: its status and body.
fn get(url: &str) -> (u16, String) {
    let (address, path) = url.strip_prefix("http://").and_then(|rest| rest.split_once('/')).unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET /{path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

fn data(url: &str) -> Value {
    let (status, body) = get(url);
    assert_eq!(status, 200, "{url}: {body}");
    serde_json::from_str(&body).unwrap()
}

fn signal(name: &str, pid: &Value) {
    let killed = Command::new("kill").args([name, &pid.to_string()]).status().unwrap();
    assert!(killed.success(), "kill {name} {pid}");
}

#[test]
fn a_run_is_watched_at_the_address_that_is_printed_first() {
    let place = Place::with_sky(6, 6 * 200);
    let more = ["--json", "--name", "watched", "--concurrency", "1", "--console"];
    let mut command = place.run_command(&place.input(6), &more);
    let mut run = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut errors = BufReader::new(run.stderr.take().unwrap());
    let mut first = String::new();
    errors.read_line(&mut first).unwrap();
    let console = first.trim().strip_prefix("console ").unwrap_or_else(|| panic!("the first line is {first:?}"));
    assert!(console.starts_with("http://127.0.0.1:") && console.ends_with("/console/"), "{console}");

    // A worker is held while it has an item, so that there is time to look.
    let worker = loop {
        assert!(run.try_wait().unwrap().is_none(), "the run ended before a worker was seen at work");
        let works = |worker: &&Value| worker["function"] == "starmap-infer" && worker["itemIndex"].is_u64();
        let workers = || data(&format!("{console}functions.json"))["workers"].as_array().unwrap().clone();
        let Some(worker) = workers().iter().find(works).cloned() else { continue };
        signal("-STOP", &worker["pid"]);
        // It may have answered just before.
        match workers().iter().filter(works).find(|now| now["pid"] == worker["pid"]).cloned() {
            Some(held) => break held,
            None => signal("-CONT", &worker["pid"]),
        }
    };
    assert!(worker["residentBytes"].as_u64().unwrap() > 1 << 20, "{worker}");
    assert!(worker["since"].is_string() && worker["requestId"].is_string(), "{worker}");
    let listed = data(&format!("{console}executions.json"));
    assert_eq!((&listed["total"], &listed["executions"][0]["status"]), (&json!(1), &json!("RUNNING")));
    let (status, page) = get(&format!("{console}executions/watched"));
    assert!(status == 200 && page.contains("data-live=\"on\"") && page.contains("is-running"), "{status}");
    let (status, page) = get(&format!("{console}functions"));
    let item = worker["itemIndex"].to_string();
    assert!(status == 200 && page.contains(&format!(">Item {item}</a> <small>of watched</small>")), "{page}");
    // By input value, and the item's lines while it works.
    assert_eq!(data(&format!("{console}executions.json?input=%24.batch_size%20%3E%200"))["total"], 1);
    assert_eq!(data(&format!("{console}executions.json?input=%24.batch_size%20%3C%200"))["total"], 0);
    let lines = data(&format!("{console}logs.json?execution=watched&item={item}"));
    let id = worker["requestId"].as_str().unwrap();
    assert_eq!(lines["lines"][0]["text"], format!("START RequestId: {id} Version: $LATEST"), "{lines}");
    assert!(lines["lines"].as_array().unwrap().iter().all(|line| line["requestId"] == id), "{lines}");

    signal("-CONT", &worker["pid"]);
    // Nobody reads on; the pipe has room for what a run says.
    drop(errors);
    let output = run.wait_with_output().unwrap();
    assert_eq!(object(&output)["galaxies"], 1_200, "{}", text(&output.stdout));
    let address = console.strip_prefix("http://").unwrap().split('/').next().unwrap();
    assert!(TcpStream::connect(address).is_err(), "the console ends with the run");
}
