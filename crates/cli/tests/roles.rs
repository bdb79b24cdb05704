//! Roles: simulated, written, and enforced. What `least-privilege` writes lets the pipeline run under `--enforce-iam`, and
//! each of its statements is needed: without it the execution fails and says which action is missing.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use starmap_sigv4::{Credentials, Payload, Request, Signing, Time};

use crate::common::{Place, assert_refused, object, program, starmap, text};

const REGION: &str = "us-east-1";
const ROLE: &str = "arn:aws:iam::000000000000:role/starmap";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn the_published_role_is_explained() {
    let role = repository().join("examples/roles/published.json");
    let role = role.to_str().unwrap();
    let simulate = |action: &str, resource: &str| {
        starmap(&["iam", "simulate", "--json", "--role", role, "--action", action, "--resource", resource])
    };
    let output = simulate("s3:DeleteBucket", "arn:aws:s3:::cosmicai-data");
    let decided = object(&output);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(decided["decision"], "allowed");
    assert_eq!(decided["decided_by"][0]["policy"], "arn:aws:iam::aws:policy/AmazonS3FullAccess");
    let output = simulate("iam:PassRole", ROLE);
    let decided = object(&output);
    assert_eq!((output.status.code(), &decided["decision"]), (Some(1), &json!("implicitDeny")));
    let near = decided["near"][0]["why_not"].as_str().unwrap();
    assert!(near.contains("iam:PassedToService does not hold: the key is not there"), "{near}");
    assert_refused(
        &starmap(&["iam", "simulate", "--role", role, "--action", "GetObject"]),
        2,
        &["expected service:Action"],
    );
}

#[test]
fn what_is_no_policy_is_refused_with_every_problem() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.json");
    fs::write(&file, r#"{"Statement": [{"Effect": "allow", "Action": "s3", "Resource": "sky"}]}"#).unwrap();
    let output = starmap(&["iam", "simulate", "--role", file.to_str().unwrap(), "--action", "s3:GetObject"]);
    let expected =
        ["/Statement/0/Effect", "/Statement/0/Action", "/Statement/0/Resource: Resource sky must be in ARN format"];
    assert_refused(&output, 2, &expected);
    let data = folder.path().join("none");
    let output = Command::new(program()).args(["iam", "show", "sky", "--data"]).arg(data).output().unwrap();
    assert_refused(&output, 2, &["there are no roles in it"]);
}

/// A server that enforces, and the key of its administrator.
struct Served {
    server: Child,
    address: String,
}

/// Given to the server, so that the test can sign.
const KEY: (&str, &str) = ("AKIAADMINISTRATOR001", "secretsecretsecretsecretsecretsecretsecr");

impl Served {
    fn start(place: &Place) -> Self {
        let mut command = Command::new(program());
        command.args(["serve", "--enforce-iam", "--json", "--listen", "127.0.0.1:0", "--data"]).arg(place.data());
        command.arg("--buckets").arg(place.buckets());
        command.env("AWS_ACCESS_KEY_ID", KEY.0).env("AWS_SECRET_ACCESS_KEY", KEY.1).env_remove("AWS_SESSION_TOKEN");
        let mut server = command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
        let address = said["listening"].as_str().unwrap().trim_start_matches("http://").to_owned();
        Self { server, address }
    }

    /// A signed request; status and body of the answer.
    fn request(&self, service: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
        let credentials =
            Credentials { access_key_id: KEY.0.to_owned(), secret_access_key: KEY.1.to_owned(), session_token: None };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let at = Time(i64::try_from(now).unwrap());
        let host = ("host", self.address.as_str());
        let all: Vec<(&str, &[u8])> =
            [host].iter().chain(headers).map(|(name, value)| (*name, value.as_bytes())).collect();
        let request = Request { method: "POST", path: "/", query: "", headers: &all };
        let signing = Signing { credentials: &credentials, region: REGION, service, at };
        let signed = starmap_sigv4::sign(&request, Payload::Bytes(body.as_bytes()), &signing);
        let mut head = format!("POST / HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in [host].iter().chain(headers) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        for (name, value) in &signed.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(stream, "{head}\r\n{body}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    fn act(&self, action: &str, request: &Value) -> (u16, Value) {
        let target = format!("AWSStepFunctions.{action}");
        let headers = [("content-type", "application/x-amz-json-1.0"), ("x-amz-target", target.as_str())];
        let (status, body) = self.request("states", &headers, &request.to_string());
        (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{action}: {error}: {body}")))
    }

    fn call(&self, action: &str, request: &Value) -> Value {
        let (status, answer) = self.act(action, request);
        assert_eq!(status, 200, "{action}: {answer}");
        answer
    }

    /// Gives a role one inline policy in place of the one of that name.
    fn put_policy(&self, role: &str, policy: &Value) {
        let encode = |text: &str| {
            let escaped = |byte: u8| {
                if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") }
            };
            text.bytes().map(escaped).collect::<String>()
        };
        let body = format!(
            "Action=PutRolePolicy&Version=2010-05-08&RoleName={role}&PolicyName=least-privilege&PolicyDocument={}",
            encode(&policy.to_string())
        );
        let headers = [("content-type", "application/x-www-form-urlencoded; charset=utf-8")];
        let (status, answer) = self.request("iam", &headers, &body);
        assert_eq!(status, 200, "{role}: {answer}");
    }

    /// What children of map runs failed of.
    fn causes_of_children(&self, execution: &Value) -> String {
        let mut causes = String::new();
        let runs = self.call("ListMapRuns", &json!({ "executionArn": execution }));
        for run in runs["mapRuns"].as_array().unwrap() {
            let failed = json!({ "mapRunArn": run["mapRunArn"], "statusFilter": "FAILED" });
            for child in self.call("ListExecutions", &failed)["executions"].as_array().unwrap() {
                let told = self.call("DescribeExecution", &json!({ "executionArn": child["executionArn"] }));
                causes.push_str(&format!("\nchild: {}: {}", told["error"], told["cause"]));
            }
        }
        causes
    }

    /// Runs an execution to its end: its status, and its error and cause.
    fn run(&self, machine: &str, name: &str, input: &Value) -> (String, String) {
        let start = json!({ "stateMachineArn": machine, "name": name, "input": input.to_string() });
        let arn = self.call("StartExecution", &start)["executionArn"].clone();
        loop {
            let told = self.call("DescribeExecution", &json!({ "executionArn": arn }));
            let status = told["status"].as_str().unwrap().to_owned();
            if status != "RUNNING" {
                return (status, format!("{}: {}{}", told["error"], told["cause"], self.causes_of_children(&arn)));
            }
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

/// The shipped definition without its retries: what is refused stays so.
fn definition() -> Value {
    let text = fs::read_to_string(repository().join("examples/redshift/state-machine.asl.json")).unwrap();
    let mut definition: Value = serde_json::from_str(&text).unwrap();
    fn without_retries(value: &mut Value) {
        if let Value::Object(members) = value {
            members.remove("Retry");
            members.values_mut().for_each(without_retries);
        }
    }
    without_retries(&mut definition);
    definition
}

#[test]
fn least_privilege_is_enough_and_each_of_its_statements_is_needed() {
    let place = Place::with_sky(2, 20);
    let mut input = place.input(2);
    input["overwrite"] = json!(true);
    let file = place.path().join("machine.asl.json");
    fs::write(&file, definition().to_string()).unwrap();
    let mut command = Command::new(program());
    command.args(["iam", "least-privilege", "--json", "--apply"]).arg(&file).arg(place.input_file(&input));
    let output = command.arg("--data").arg(place.data()).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let made = object(&output);
    assert_eq!(made["notes"], json!([]));
    let mut policies: Vec<(String, Value)> = vec![("starmap".to_owned(), made["state_machine"]["policy"].clone())];
    for (role, function) in made["functions"].as_object().unwrap() {
        policies.push((role.clone(), function["policy"].clone()));
    }
    assert_eq!(policies.len(), 4);

    let served = Served::start(&place);
    let create = |name: &str, role: &str| {
        let text = definition().to_string();
        served.act("CreateStateMachine", &json!({ "name": name, "definition": text, "roleArn": role }))
    };
    // Neither a role that is not there nor one that trusts another service will do.
    for role in ["nobody", "starmap-infer"] {
        let (status, refused) = create("refused", &format!("arn:aws:iam::000000000000:role/{role}"));
        assert_eq!(status, 400, "{refused}");
        let message = refused["message"].as_str().unwrap();
        assert!(message.starts_with("Neither the global service principal states.amazonaws.com"), "{message}");
    }
    let (status, machine) = create("redshift", ROLE);
    assert_eq!(status, 200, "{machine}");
    let machine = machine["stateMachineArn"].as_str().unwrap();

    let (status, why) = served.run(machine, "all", &input);
    assert_eq!(status, "SUCCEEDED", "{why}");

    let mut tried = 0;
    for (role, policy) in &policies {
        let statements = policy["Statement"].as_array().unwrap();
        for (index, statement) in statements.iter().enumerate() {
            let mut without = policy.clone();
            without["Statement"].as_array_mut().unwrap().remove(index);
            if statements.len() == 1 {
                // A policy can't be empty; this one is about nothing that is asked for.
                without["Statement"] = json!([{ "Effect": "Allow", "Action": "sqs:SendMessage", "Resource": "*" }]);
            }
            served.put_policy(role, &without);
            let sid = statement["Sid"].as_str().unwrap();
            let (status, why) = served.run(machine, &format!("without-{role}-{sid}"), &input);
            assert_eq!(status, "FAILED", "{role} without {sid}: {why}");
            let actions: Vec<&str> =
                statement["Action"].as_array().unwrap().iter().map(|a| a.as_str().unwrap()).collect();
            // S3 says it in the body of its answer, which a HEAD has none of: then the function says what it needs.
            let is_named = actions.iter().any(|action| {
                let refusal = format!("is not authorized to perform: {action} ");
                let by_server = why.contains(&refusal) && why.contains(&format!("assumed-role/{role}/"));
                by_server || why.contains(&format!("{action} on arn:aws:s3:::"))
            });
            assert!(is_named, "{role} without {sid} {actions:?}: {why}");
            eprintln!("{role} without {sid}: {}", why.chars().take(200).collect::<String>());
            tried += 1;
            served.put_policy(role, policy);
        }
    }
    assert!(tried >= 12, "{tried}");
    let (status, why) = served.run(machine, "again", &input);
    assert_eq!(status, "SUCCEEDED", "{why}");
    drop(served);

    let show = Command::new(program())
        .args(["iam", "show", "starmap", "--json", "--data"])
        .arg(place.data())
        .output()
        .unwrap();
    let shown = object(&show);
    assert_eq!(shown["trust"]["Statement"][0]["Principal"]["Service"], "states.amazonaws.com");
    assert_eq!(shown["inline"]["least-privilege"], policies[0].1);
}
