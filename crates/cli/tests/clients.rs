//! AWS's own clients, unmodified, against `starmap serve`: boto3, the AWS CLI, Terraform.
//!
//! `cargo xtask tests` installs the first two (versions in `xtask/src/main.rs`) and says where they are by
//! `STARMAP_PYTHON`; without it the `python3` and `aws` on the path are taken if they have what is needed. Terraform
//! has to be there with its provider for AWS, see the test.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use common::{program, text};
use serde_json::Value;

/// A server over a folder of its own.
struct Served {
    server: Child,
    endpoint: String,
    _data: tempfile::TempDir,
}

impl Served {
    fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut command = Command::new(program());
        command.args(["serve", "--listen", "127.0.0.1:0", "--json", "--data"]).arg(data.path());
        let mut server = command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
        let endpoint = said["listening"].as_str().unwrap().to_owned();
        Self { server, endpoint, _data: data }
    }

    /// One request; status and body of the answer.
    fn request(&self, head: &str, body: &str) -> (u16, String) {
        let address = self.endpoint.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).unwrap();
        let length = body.len();
        let request =
            format!("{head}\r\nHost: {address}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Says that something can't be tested; where it must be, that is a failure.
fn skip(what: &str, requirement: &str) {
    assert!(std::env::var_os(requirement).is_none(), "{requirement}: {what}");
    eprintln!("SKIPPED: {what}");
}

/// A Python that has boto3.
fn python() -> Option<PathBuf> {
    let python = std::env::var_os("STARMAP_PYTHON").map_or_else(|| PathBuf::from("python3"), PathBuf::from);
    let probe = Command::new(&python).args(["-c", "import boto3"]).output();
    if probe.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    skip("no Python with boto3 (cargo xtask tests installs it, or STARMAP_PYTHON)", "STARMAP_REQUIRE_CLIENTS");
    None
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

/// Runs a client to its end and shows what it said.
fn run(mut command: Command) {
    let output = command.output().unwrap();
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{command:?}\n{said}");
    eprintln!("{said}");
}

#[test]
fn boto3_drives_the_server() {
    let Some(python) = python() else { return };
    let served = Served::start();
    let mut command = Command::new(python);
    command.arg(script("sdk.py")).arg(&served.endpoint);
    run(command);
}

#[test]
fn the_aws_cli_drives_the_server() {
    let Some(python) = python() else { return };
    // Beside the Python that it was installed with, else on the path.
    let aws = python.parent().map(|folder| folder.join("aws")).filter(|aws| aws.is_file());
    let aws = aws.unwrap_or_else(|| PathBuf::from("aws"));
    if !Command::new(&aws).arg("--version").output().is_ok_and(|output| output.status.success()) {
        return skip("no AWS CLI (cargo xtask tests installs it)", "STARMAP_REQUIRE_CLIENTS");
    }
    let served = Served::start();
    let mut command = Command::new(python);
    command.arg(script("command_line.py")).arg(&served.endpoint).arg(aws);
    run(command);
}

/// Applies, changes and destroys a module with state machines, with `terraform` from the path.
///
/// The provider for AWS is not fetched by a test: it has to be in the mirror folder (Terraform's `filesystem_mirror`) that
/// `STARMAP_TERRAFORM_PLUGINS` names. Where there is none, the calls that it makes are replayed all the same, below.
#[test]
fn terraform_applies_changes_and_destroys() {
    let folder = tempfile::tempdir().unwrap();
    let configuration = folder.path().join("terraform.rc");
    let Ok(plugins) = std::env::var("STARMAP_TERRAFORM_PLUGINS") else {
        return skip("no mirror with Terraform's provider for AWS", "STARMAP_REQUIRE_TERRAFORM");
    };
    let mirror = format!("provider_installation {{\n  filesystem_mirror {{\n    path = \"{plugins}\"\n  }}\n}}\n");
    std::fs::write(&configuration, mirror).unwrap();
    std::fs::copy(script("main.tf"), folder.path().join("main.tf")).unwrap();
    let served = Served::start();
    let terraform = |arguments: &[&str], result: &str| {
        let mut command = Command::new("terraform");
        command.args(arguments).current_dir(folder.path()).env("TF_CLI_CONFIG_FILE", &configuration);
        command.env("TF_VAR_endpoint", &served.endpoint).env("TF_VAR_result", result).env("CHECKPOINT_DISABLE", "1");
        command.env("TF_IN_AUTOMATION", "1").env_remove("AWS_PROFILE").output()
    };
    let ready = terraform(&["init", "-input=false", "-no-color"], "one");
    match &ready {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            let why = text(&output.stderr);
            let why = why.lines().find(|line| line.contains("Error")).unwrap_or("it could not be initialised");
            return skip(
                &format!("terraform is there, its provider for AWS is not: {why}"),
                "STARMAP_REQUIRE_TERRAFORM",
            );
        }
        Err(_) => return skip("no terraform", "STARMAP_REQUIRE_TERRAFORM"),
    }
    let step = |arguments: &[&str], result: &str| {
        let output = terraform(arguments, result).unwrap();
        assert!(output.status.success(), "{arguments:?}: {}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout).to_owned()
    };
    let apply = ["apply", "-auto-approve", "-input=false", "-no-color"];
    assert!(step(&apply, "one").contains("4 added, 0 changed, 0 destroyed"));
    assert!(step(&apply, "one").contains("0 added, 0 changed, 0 destroyed"), "nothing is different a second time");
    let changed = step(&apply, "two");
    assert!(changed.contains("0 destroyed") && !changed.contains("0 changed"), "{changed}");
    let output = step(&["output", "-raw", "version"], "two");
    assert!(output.ends_with(":2"), "a change is published: {output}");
    step(&["destroy", "-auto-approve", "-input=false", "-no-color"], "two");
}

/// The requests that Terraform makes for the same module, for where it is not there: recorded from Terraform 1.11.4 with
/// version 5.100.0 of its provider, in their order, with the members that their answers must have.
#[test]
fn what_terraform_asks_is_answered() {
    let served = Served::start();
    let recorded = std::fs::read_to_string(script("terraform_requests.jsonl")).unwrap();
    for (number, line) in recorded.lines().enumerate().filter(|(_, line)| !line.is_empty()) {
        let request: Value = serde_json::from_str(line).unwrap();
        let field = |name: &str| request[name].as_str().unwrap_or_default();
        let head = match field("target") {
            "" => format!("{} {} HTTP/1.1\r\nContent-Type: {}", field("method"), field("path"), field("type")),
            target => format!("POST / HTTP/1.1\r\nX-Amz-Target: {target}\r\nContent-Type: application/x-amz-json-1.0"),
        };
        let (status, answer) = served.request(&head, field("body"));
        let expected = request["status"].as_u64().unwrap() as u16;
        assert_eq!(status, expected, "line {}: {line}\n{answer}", number + 1);
        for member in request["has"].as_array().into_iter().flatten() {
            let member = member.as_str().unwrap();
            assert!(answer.contains(member), "line {}: {member} is missing in {answer}", number + 1);
        }
    }
}
