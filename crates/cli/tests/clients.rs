//! AWS's own clients, unmodified, against `starmap serve`: boto3, the AWS CLI, Terraform.
//!
//! `cargo xtask tests` installs the first two (versions in `xtask/src/main.rs`) and says where they are by
//! `STARMAP_PYTHON`; without it the `python3` and `aws` on the path are taken if they have what is needed. Terraform
//! has to be there with its provider for AWS, see the test.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::common::{program, text};

/// An executable `bootstrap` that ends at once: enough to be deployed.
const CODE_ZIP: &[u8] = include_bytes!("clients/code.zip");

/// A server over a folder of its own.
struct Served {
    server: Child,
    endpoint: String,
    data: tempfile::TempDir,
}

impl Served {
    fn start() -> Self {
        Self::start_with(&[], tempfile::tempdir().unwrap()).0
    }

    /// With more arguments and a data folder that may be used already; what it said, too.
    fn start_with(arguments: &[&str], data: tempfile::TempDir) -> (Self, Value) {
        let mut command = Command::new(program());
        command.args(["serve", "--listen", "127.0.0.1:0", "--json", "--data"]).arg(data.path()).args(arguments);
        // Keys of whoever runs the tests are nobody's here.
        for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"] {
            command.env_remove(name);
        }
        let mut server = command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
        let endpoint = said["listening"].as_str().unwrap().to_owned();
        (Self { server, endpoint, data }, said)
    }

    /// Kills the server, and gives its folder back.
    fn killed(mut self) -> tempfile::TempDir {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
        std::mem::replace(&mut self.data, tempfile::tempdir().unwrap())
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
fn who_asks_has_to_sign() {
    let Some(python) = python() else { return };
    let (served, said) = Served::start_with(&["--auth"], tempfile::tempdir().unwrap());
    let key = ["access_key_id", "secret_access_key"].map(|name| said[name].as_str().unwrap().to_owned());
    let folder = tempfile::tempdir().unwrap();
    let drive = |served: &Served, stories: &[&str]| {
        let mut command = Command::new(&python);
        command.env("STARMAP_TEST_FOLDER", folder.path());
        command.arg(script("auth.py")).arg(&served.endpoint).args(&key).args(stories);
        run(command);
    };
    drive(&served, &[]);

    // The console is opened by its token, which becomes a cookie.
    let console = said["console"].as_str().unwrap().trim_start_matches(served.endpoint.as_str()).to_owned();
    assert_eq!(served.request("GET /console/ HTTP/1.1", "").0, 401);
    assert_eq!(served.request("GET /console/?token=guessed HTTP/1.1", "").0, 401);
    assert_eq!(served.request(&format!("GET {console} HTTP/1.1"), "").0, 303);
    let token = console.split_once('=').unwrap().1;
    let with_cookie = format!("GET /console/executions HTTP/1.1\r\nCookie: a=b; starmap-console={token}");
    assert_eq!(served.request(&with_cookie, "").0, 200);

    // What was made outlives a kill, and no other key is made or shown.
    let (served, said) = Served::start_with(&["--auth"], served.killed());
    assert_eq!((&said["access_key_id"], &said["secret_access_key"]), (&Value::Null, &Value::Null));
    drive(&served, &["who", "again"]);
    assert!(!folder.path().join("session.json").exists(), "a session outlives a kill, too, and was tried");
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
    apply_change_destroy("main.tf", &[], "4 added, 0 changed, 0 destroyed", Some("version"));
}

/// The same with a function, its role and policies, its log group, a state machine that logs and a bucket; where who asks has
/// to sign.
#[test]
fn terraform_applies_roles_functions_and_logs() {
    apply_change_destroy("roles.tf", &["--auth"], "12 added, 0 changed, 0 destroyed", None);
}

fn apply_change_destroy(module: &str, arguments: &[&str], added: &str, version: Option<&str>) {
    let folder = tempfile::tempdir().unwrap();
    let configuration = folder.path().join("terraform.rc");
    let Ok(plugins) = std::env::var("STARMAP_TERRAFORM_PLUGINS") else {
        return skip("no mirror with Terraform's provider for AWS", "STARMAP_REQUIRE_TERRAFORM");
    };
    let mirror = format!("provider_installation {{\n  filesystem_mirror {{\n    path = \"{plugins}\"\n  }}\n}}\n");
    std::fs::write(&configuration, mirror).unwrap();
    std::fs::copy(script(module), folder.path().join("main.tf")).unwrap();
    std::fs::write(folder.path().join("code.zip"), CODE_ZIP).unwrap();
    let (served, said) = Served::start_with(arguments, tempfile::tempdir().unwrap());
    let key = ["access_key_id", "secret_access_key"].map(|name| said[name].as_str().unwrap_or("test").to_owned());
    let terraform = |arguments: &[&str], result: &str| {
        let mut command = Command::new("terraform");
        command.args(arguments).current_dir(folder.path()).env("TF_CLI_CONFIG_FILE", &configuration);
        command.env("TF_VAR_endpoint", &served.endpoint).env("TF_VAR_result", result).env("CHECKPOINT_DISABLE", "1");
        command.env("TF_VAR_access_key", &key[0]).env("TF_VAR_secret_key", &key[1]);
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
    assert!(step(&apply, "one").contains(added));
    assert!(step(&apply, "one").contains("0 added, 0 changed, 0 destroyed"), "nothing is different a second time");
    let changed = step(&apply, "two");
    assert!(changed.contains("0 destroyed") && !changed.contains("0 changed"), "{changed}");
    if let Some(version) = version {
        let output = step(&["output", "-raw", version], "two");
        assert!(output.ends_with(":2"), "a change is published: {output}");
    }
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
