//! `--target aws` against `starmap serve` as AWS: the same results, bill and proof as a run here; taken up again after an
//! interruption; and what AWS says no to, in words. CloudWatch Logs are a small server over the workers' log files.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::common::{self, Place, assert_refused, object, program, text};
use crate::fake::{self, Answer, Fake};

const DEFINITION: &str = include_str!("../../../examples/redshift/state-machine.asl.json");

/// Whose key may do everything.
const ADMINISTRATOR: (&str, &str) = ("AKIAEXAMPLE", "secret");

/// AWS, as far as it goes: a server over a place's buckets with a state machine `starmap`.
struct There {
    server: Child,
    address: String,
    place: Place,
    logs: Fake,
}

impl There {
    fn start(partitions: u32, galaxies: u32, definition: &str) -> Self {
        Self::start_with(partitions, galaxies, definition, &[])
    }

    fn start_with(partitions: u32, galaxies: u32, definition: &str, more: &[&str]) -> Self {
        let place = Place::with_sky(partitions, galaxies);
        let mut command = Command::new(program());
        command.args(["serve", "--json", "--listen", "127.0.0.1:0", "--concurrency", "2"]).args(more);
        command.env("AWS_ACCESS_KEY_ID", ADMINISTRATOR.0).env("AWS_SECRET_ACCESS_KEY", ADMINISTRATOR.1);
        command.arg("--data").arg(place.path().join("cloud")).arg("--buckets").arg(place.buckets());
        let mut server = command.stdout(Stdio::piped()).stderr(Stdio::null()).stdin(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
        let address = said["listening"].as_str().unwrap().trim_start_matches("http://").to_owned();
        let folder = place.path().join("cloud/logs");
        let logs = Fake::start(move |request| filtered(&folder, request));
        let there = Self { server, address, place, logs };
        let role = "arn:aws:iam::000000000000:role/r";
        there.call("CreateStateMachine", &json!({ "name": "starmap", "definition": definition, "roleArn": role }));
        there
    }

    fn call(&self, action: &str, request: &Value) -> Value {
        let headers =
            [("content-type", "application/x-amz-json-1.0"), ("x-amz-target", &format!("AWSStepFunctions.{action}"))];
        serde_json::from_str(&self.signed("states", &headers, &request.to_string())).unwrap()
    }

    /// A call of IAM; the form is percent-encoded.
    fn iam(&self, form: &str) -> String {
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        self.signed("iam", &headers, &format!("{form}&Version=2010-05-08"))
    }

    /// A request by the administrator.
    fn signed(&self, service: &str, headers: &[(&str, &str)], body: &str) -> String {
        let mut all: Vec<(&str, &[u8])> = vec![("host", self.address.as_bytes())];
        all.extend(headers.iter().map(|(name, value)| (*name, value.as_bytes())));
        let request = starmap_sigv4::Request { method: "POST", path: "/", query: "", headers: &all };
        let credentials = starmap_sigv4::Credentials {
            access_key_id: ADMINISTRATOR.0.to_owned(),
            secret_access_key: ADMINISTRATOR.1.to_owned(),
            session_token: None,
        };
        let at = starmap_sigv4::Time(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64);
        let signing = starmap_sigv4::Signing { credentials: &credentials, region: "us-east-1", service, at };
        let signed = starmap_sigv4::sign(&request, starmap_sigv4::Payload::Bytes(body.as_bytes()), &signing);
        let mut head = format!("POST / HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", self.address);
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        for (name, value) in &signed.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{headers:?}: {answer}");
        body.to_owned()
    }

    /// The program as somebody who has credentials for this cloud runs it.
    fn starmap(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.args(arguments).args(["--json", "--target", "aws", "--data"]).arg(self.place.data());
        on_aws(&mut command, &format!("http://{}", self.address), self.place.path());
        command.env("AWS_ENDPOINT_URL_CLOUDWATCH_LOGS", &self.logs.endpoint);
        command
    }

    fn run(&self, input: &Value, more: &[&str]) -> Output {
        self.run_command(input, more).output().unwrap()
    }

    fn run_command(&self, input: &Value, more: &[&str]) -> Command {
        let file = self.place.input_file(input);
        let mut arguments = vec!["run", file.to_str().unwrap()];
        arguments.extend(more);
        self.starmap(&arguments)
    }

    fn bytes(&self, key: &str) -> Vec<u8> {
        let path = self.place.bucket().join(key);
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    fn executions(&self) -> usize {
        let machine = "arn:aws:states:us-east-1:000000000000:stateMachine:starmap";
        let listed = self.call("ListExecutions", &json!({ "stateMachineArn": machine }));
        listed["executions"].as_array().unwrap().len()
    }
}

impl Drop for There {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Credentials and an address; nothing of the machine that the tests run on.
fn on_aws(command: &mut Command, endpoint: &str, home: &Path) {
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
        command.env_remove(name);
    }
    command.env("HOME", home).env("AWS_REGION", "us-east-1").env("AWS_ENDPOINT_URL", endpoint);
    command.env("AWS_ACCESS_KEY_ID", ADMINISTRATOR.0).env("AWS_SECRET_ACCESS_KEY", ADMINISTRATOR.1);
}

/// FilterLogEvents over log files, a page per stream. The first request of all is one too many.
fn filtered(folder: &Path, request: &fake::Request) -> Answer {
    if request.number == 0 {
        return Answer::error(400, "ThrottlingException", "Rate exceeded");
    }
    assert!(request.head.contains("Logs_20140328.FilterLogEvents"), "{}", request.head);
    assert!(request.head.contains("/us-east-1/logs/aws4_request"), "{}", request.head);
    let asked: Value = serde_json::from_str(&request.body).unwrap();
    let function = asked["logGroupName"].as_str().unwrap().strip_prefix("/aws/lambda/").unwrap();
    let mut files = Vec::new();
    for file in common::files(folder).into_iter().filter(|file| file.contains(function)) {
        files.push(folder.join(file));
    }
    let page: usize = asked["nextToken"].as_str().map_or(0, |token| token.parse().unwrap());
    let Some(file) = files.get(page) else { return Answer::json(&json!({ "events": [] })) };
    let at = std::fs::metadata(file).unwrap().modified().unwrap().duration_since(UNIX_EPOCH).unwrap();
    let is_wanted = |line: &&str| asked.get("filterPattern").is_none() || line.contains("REPORT RequestId");
    let text = String::from_utf8_lossy(&std::fs::read(file).unwrap()).into_owned();
    let events = text.lines().filter(is_wanted).map(|line| {
        json!({ "logStreamName": file.file_name().unwrap().to_str(), "timestamp": at.as_millis() as u64, "message": format!("{line}\n") })
    });
    Answer::json(&json!({ "events": events.collect::<Vec<_>>(), "nextToken": (page + 1).to_string() }))
}

#[test]
fn a_run_there_gives_what_a_run_here_gives_and_is_taken_up_by_its_name() {
    let there = There::start(3, 60, DEFINITION);
    let input = there.place.input(3);
    let first = there.run(&input, &["--name", "same"]);
    let told = object(&first);
    assert_eq!((&told["status"], first.status.code()), (&json!("SUCCEEDED"), Some(0)), "{}", text(&first.stderr));
    let predictions = there.bytes("results/one/predictions.parquet");
    let fetched = there.place.data().join("aws/same");
    assert!(std::fs::read(fetched.join("predictions.parquet")).unwrap() == predictions);
    let summary: Value = serde_json::from_slice(&std::fs::read(fetched.join("summary.json")).unwrap()).unwrap();
    let execution = &summary["execution"];
    assert_eq!(
        (&execution["attempts"], &execution["attempts_failed"]),
        (&json!(5), &json!(0)),
        "{}",
        text(&first.stderr)
    );
    assert!(
        summary["aws"]["lambda_usd"].as_f64().unwrap() > 0.0 && summary["aws"]["transitions"].as_u64().unwrap() >= 9
    );
    assert_eq!(summary["time"]["items"]["queued"]["count"], 3);
    assert!(!text(&first.stderr).contains("warning"), "{}", text(&first.stderr));
    assert!(text(&first.stderr).contains("Distributed Test: 3/3 done, 0 running, 0 failed"), "{}", text(&first.stderr));

    // Here, under the same name: the same bytes, and the same answer but for its place and its times.
    let mut here = input.clone();
    here["result_path"] = json!("results/here");
    let local = there.place.run(&here, &["--json", "--name", "same"]);
    assert_eq!(object(&local)["status"], "SUCCEEDED", "{}", text(&local.stderr));
    assert!(there.bytes("results/here/predictions.parquet") == predictions);
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&told), keys(&object(&local)));
    let of_local: Value = serde_json::from_slice(&there.bytes("results/here/summary.json")).unwrap();
    assert_eq!((&summary["quality"], &summary["requests"]), (&of_local["quality"], &of_local["requests"]));
    assert_eq!(summary["aws"]["transitions"], of_local["aws"]["transitions"]);

    // Again under that name: what is there is told, and nothing is started.
    let again = there.run(&input, &["--name", "same"]);
    assert_eq!(object(&again)["execution_arn"], told["execution_arn"], "{}", text(&again.stderr));
    assert!(text(&again.stderr).contains("is there already (SUCCEEDED)"), "{}", text(&again.stderr));
    assert_eq!(there.executions(), 1);
    let mut other = input.clone();
    other["batch_size"] = json!(64);
    assert_refused(&there.run(&other, &["--name", "same"]), 2, &["is there already", "another input", "--name"]);
}

#[test]
fn an_interrupted_run_goes_on_there_and_is_taken_up() {
    let there = There::start(6, 600, DEFINITION);
    let input = there.place.input(6);
    let mut command = there.run_command(&input, &["--name", "long"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    while !said.contains("execution long of") {
        assert!(stderr.read_line(&mut said).unwrap() > 0, "{said}");
    }
    let pid = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    stderr.read_to_string(&mut said).unwrap();
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(130), "{said}");
    assert!(said.contains("goes on at AWS") && said.contains("--name long"), "{said}");
    assert_eq!(object(&ended)["status"], "RUNNING");

    let again = there.run(&input, &["--name", "long"]);
    assert_eq!(object(&again)["status"], "SUCCEEDED", "{}", text(&again.stderr));
    assert_eq!((&object(&again)["galaxies"], there.executions()), (&json!(600), 1));
}

#[test]
fn express_children_are_billed_by_their_reports() {
    let definition = DEFINITION.replace("\"ExecutionType\": \"STANDARD\"", "\"ExecutionType\": \"EXPRESS\"");
    assert_ne!(definition, DEFINITION);
    let there = There::start(3, 60, &definition);
    let output = there.run(&there.place.input(3), &["--name", "express"]);
    assert_eq!(
        (&object(&output)["status"], output.status.code()),
        (&json!("SUCCEEDED"), Some(0)),
        "{}",
        text(&output.stderr)
    );
    let summary: Value = serde_json::from_slice(&there.bytes("results/one/summary.json")).unwrap();
    assert_eq!(summary["execution"]["attempts"], 5, "{}", text(&output.stderr));
    assert!(summary["aws"]["step_functions_usd"].as_f64().unwrap() > 0.0);
}

#[test]
fn a_failure_there_is_told_as_here_and_executions_are_worked_with() {
    let there = There::start(3, 60, DEFINITION);
    let mended = std::fs::read(there.place.parts().join("2.pt")).unwrap();
    std::fs::write(there.place.parts().join("2.pt"), &mended[..mended.len() / 2]).unwrap();
    let failed = there.run(&there.place.input(3), &["--name", "bad"]);
    assert_eq!(
        (&object(&failed)["status"], failed.status.code()),
        (&json!("FAILED"), Some(1)),
        "{}",
        text(&failed.stderr)
    );
    let said = text(&failed.stderr);
    assert!(said.contains("Starmap.PartitionInvalid") && said.contains("parts/2.pt"), "{said}");
    assert!(said.contains("executions redrive bad --target aws"), "{said}");

    let told = |arguments: &[&str]| {
        let output = there.starmap(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    let listed: Value = serde_json::from_str(&told(&["executions", "list", "--status", "failed"])).unwrap();
    assert_eq!((&listed["executions"][0]["name"], listed["executions"].as_array().unwrap().len()), (&json!("bad"), 1));
    let listed: Value = serde_json::from_str(&told(&["executions", "list", "--error", "Other"])).unwrap();
    assert_eq!(listed["executions"], json!([]));
    let shown: Value = serde_json::from_str(&told(&["executions", "show", "bad"])).unwrap();
    assert_eq!((&shown["status"], &shown["error"]), (&json!("FAILED"), &json!("Starmap.PartitionInvalid")));
    let history = told(&["executions", "history", "bad"]);
    let ids: Vec<u64> =
        history.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].as_u64().unwrap()).collect();
    assert!(ids.len() > 3 && ids.iter().copied().eq(1..=ids.len() as u64), "{history}");
    assert!(history.lines().last().unwrap().contains("ExecutionFailed"), "{history}");
    let logs = told(&["executions", "logs", "bad", "--function", "initialize"]);
    assert!(logs.contains("START RequestId") && logs.contains("REPORT RequestId"), "{logs}");

    let unknown = there.starmap(&["executions", "show", "nobody"]).output().unwrap();
    assert_refused(
        &unknown,
        2,
        &["there is no execution nobody of state machine arn:aws:states:us-east-1:000000000000"],
    );
    let stopped = there.starmap(&["executions", "stop", "bad"]).output().unwrap();
    assert_refused(&stopped, 2, &["has ended already (FAILED)"]);

    std::fs::write(there.place.parts().join("2.pt"), mended).unwrap();
    let redriven = there.starmap(&["executions", "redrive", "bad"]).output().unwrap();
    assert_eq!(object(&redriven)["status"], "SUCCEEDED", "{}", text(&redriven.stderr));
    let again = there.starmap(&["executions", "redrive", "bad"]).output().unwrap();
    assert_refused(&again, 2, &["only one that ended without success"]);
}

#[test]
fn a_running_execution_is_stopped_there() {
    let wait = json!({ "StartAt": "W", "States": { "W": { "Type": "Wait", "Seconds": 600, "End": true } } });
    let there = There::start(1, 5, &wait.to_string());
    let machine = "arn:aws:states:us-east-1:000000000000:stateMachine:starmap";
    there.call(
        "StartExecution",
        &json!({ "stateMachineArn": machine, "name": "w", "input": there.place.input(1).to_string() }),
    );
    // Nobody else gets its result path while it runs.
    let other = there.run(&there.place.input(1), &[]);
    assert_refused(
        &other,
        2,
        &["execution w writes to this result path and has not ended", "executions stop w --target aws"],
    );
    let stopped = there.starmap(&["executions", "stop", "w", "--cause", "enough"]).output().unwrap();
    assert_eq!(object(&stopped)["status"], "ABORTED", "{}", text(&stopped.stderr));
    let shown = there.starmap(&["executions", "show", "w"]).output().unwrap();
    assert_eq!((&object(&shown)["status"], &object(&shown)["cause"]), (&json!("ABORTED"), &json!("enough")));
}

#[test]
fn what_can_not_be_is_refused_before_anything_starts() {
    let there = There::start(1, 5, DEFINITION);
    let input = there.place.input(1);
    let missing = there.run(&input, &["--state-machine", "sky"]);
    assert_refused(&missing, 2, &["StateMachineDoesNotExist", "stateMachine:sky", "hint"]);
    assert_refused(&there.run(&input, &["--memory", "512"]), 2, &["--memory does not go with --target aws"]);
    assert_refused(&there.run(&input, &["--name", "a b"]), 2, &["has the character ' '"]);
    let mut broken = input.clone();
    broken["batch_size"] = json!(0);
    assert_refused(&there.run(&broken, &[]), 2, &["batch_size"]);
    let mut elsewhere = input.clone();
    elsewhere["data_bucket"] = json!("nowhere");
    assert_refused(&there.run(&elsewhere, &[]), 2, &["nowhere"]);

    let nobody = |command: &mut Command| {
        command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY").output().unwrap()
    };
    assert_refused(&nobody(&mut there.run_command(&input, &[])), 2, &["no AWS credentials", "AWS_ACCESS_KEY_ID"]);
    let placeless = there.run_command(&input, &[]).env_remove("AWS_REGION").output().unwrap();
    assert_refused(&placeless, 2, &["no AWS region", "--region us-east-1"]);
    let local = there.place.run(&input, &["--region", "us-east-1"]);
    assert_refused(&local, 2, &["--region says where on AWS; add --target aws"]);
    assert_eq!(there.executions(), 0);
}

fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte.is_ascii_alphanumeric() {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        })
        .collect()
}

fn element(xml: &str, name: &str) -> String {
    let (_, rest) = xml.split_once(&format!("<{name}>")).unwrap_or_else(|| panic!("{name} in {xml}"));
    rest.split_once('<').unwrap().0.to_owned()
}

/// The policy of docs/target-aws.md is all that it takes, signed and with the logs that the server itself has.
#[test]
fn the_documented_policy_is_enough_where_every_request_is_checked() {
    let there = There::start_with(3, 60, DEFINITION, &["--auth"]);
    let docs = include_str!("../../../docs/target-aws.md");
    let policy = docs.split("```json").nth(1).unwrap().split("```").next().unwrap();
    let mut policy = policy.to_owned();
    for (name, value) in [
        ("REGION", "us-east-1"),
        ("ACCOUNT", "000000000000"),
        ("DATA_BUCKET", "sky"),
        ("RESULT_BUCKET", "sky"),
        ("RESULT_PATH", "results/one"),
    ] {
        policy = policy.replace(name, value);
    }
    there.iam("Action=CreateUser&UserName=astronomer");
    let put = |policy: &str| {
        let policy = encoded(policy);
        there.iam(&format!("Action=PutUserPolicy&UserName=astronomer&PolicyName=p&PolicyDocument={policy}"));
    };
    put(&policy);
    let key = there.iam("Action=CreateAccessKey&UserName=astronomer");
    let (id, secret) = (element(&key, "AccessKeyId"), element(&key, "SecretAccessKey"));
    let run = |name: &str, result_path: &str, secret: &str| {
        let mut input = there.place.input(3);
        input["result_path"] = json!(result_path);
        let mut command = there.run_command(&input, &["--name", name]);
        command.env("AWS_ACCESS_KEY_ID", &id).env("AWS_SECRET_ACCESS_KEY", secret);
        command.env_remove("AWS_ENDPOINT_URL_CLOUDWATCH_LOGS").output().unwrap()
    };
    let output = run("mine", "results/one", &secret);
    let said = text(&output.stderr);
    assert_eq!((&object(&output)["status"], output.status.code()), (&json!("SUCCEEDED"), Some(0)), "{said}");
    assert!(!said.contains("warning"), "{said}");
    let summary: Value = serde_json::from_slice(&there.bytes("results/one/summary.json")).unwrap();
    assert_eq!(
        (&summary["execution"]["attempts"], &summary["execution"]["attempts_failed"]),
        (&json!(5), &json!(0)),
        "{said}"
    );
    assert!(summary["aws"]["lambda_usd"].as_f64().unwrap() > 0.0);

    // Without one of its statements it says which action is missing.
    let unlogged = policy.replace("logs:FilterLogEvents", "logs:GetLogEvents");
    put(&unlogged);
    let output = run("mine", "results/one", &secret);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(
        text(&output.stderr).contains("not authorized to perform: logs:FilterLogEvents"),
        "{}",
        text(&output.stderr)
    );
    put(&policy.replace("states:StartExecution", "states:TagResource"));
    let output = run("another", "results/two", &secret);
    assert_refused(&output, 2, &["not authorized to perform: states:StartExecution", "docs/target-aws.md"]);

    let output = run("mine", "results/one", "another secret");
    assert_refused(&output, 2, &["SignatureDoesNotMatch", "the secret key does not belong to this access key id"]);
}

/// The program against an AWS that answers as it is told; how often it was asked, too.
fn listed(answer: impl Fn(&fake::Request) -> Answer + Send + Sync + 'static, attempts: &str) -> (Output, usize) {
    let fake = Fake::start(answer);
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(program());
    let machine = "arn:aws:states:us-east-1:123456789012:stateMachine:starmap";
    command.args(["executions", "list", "--target", "aws", "--state-machine", machine]);
    on_aws(&mut command, &fake.endpoint, home.path());
    let output = command.env("AWS_MAX_ATTEMPTS", attempts).output().unwrap();
    (output, fake.requests())
}

#[test]
fn what_aws_says_no_to_is_told_with_code_request_and_what_to_try() {
    let (output, asked) = listed(
        |_| Answer::error(400, "ExpiredTokenException", "The security token included in the request is expired"),
        "4",
    );
    assert_refused(
        &output,
        1,
        &[
            "Step Functions ListExecutions: ExpiredTokenException",
            "status 400, request 4a-0",
            "hint: the temporary credentials",
        ],
    );
    assert_eq!(asked, 1, "what will not change is not asked again");
    let denied =
        "User: arn:aws:iam::123456789012:user/u is not authorized to perform: states:ListExecutions on resource: x";
    let (output, _) = listed(move |_| Answer::error(400, "AccessDeniedException", denied), "4");
    assert_refused(&output, 1, &["AccessDeniedException: User: arn:aws:iam", "docs/target-aws.md"]);
    let (output, _) = listed(
        |_| Answer::error(403, "InvalidSignatureException", "Signature expired: 20260101T000000Z is now earlier than"),
        "4",
    );
    assert_refused(&output, 1, &["clock differs"]);
}

#[test]
fn throttling_and_failures_of_aws_are_asked_again_a_bounded_number_of_times() {
    let (output, asked) = listed(
        |request| match request.number {
            0 => Answer::error(400, "ThrottlingException", "Rate exceeded"),
            1 => Answer { status: 503, headers: String::new(), body: "<html>busy</html>".to_owned() },
            _ => Answer::json(&json!({ "executions": [] })),
        },
        "4",
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(asked, 3);
    let (output, asked) = listed(|_| Answer::error(500, "InternalServerError", "we failed"), "2");
    assert_refused(&output, 1, &["InternalServerError: we failed"]);
    assert_eq!(asked, 2);
    let (output, _) = listed(|_| Answer { status: 200, headers: String::new(), body: "<html>".to_owned() }, "2");
    assert_refused(&output, 1, &["is not JSON", "really the service"]);
    let (output, asked) = listed(|_| Answer::silence(), "2");
    assert_refused(&output, 1, &["no answer from http://127.0.0.1"]);
    assert_eq!(asked, 2);
}

#[test]
fn requests_are_signed_as_they_go_over_the_wire() {
    let (sender, asked) = std::sync::mpsc::channel();
    let sender = std::sync::Mutex::new(sender);
    let (output, _) = listed(
        move |request| {
            sender.lock().unwrap().send((request.head.clone(), request.body.clone())).unwrap();
            Answer::json(&json!({ "executions": [] }))
        },
        "1",
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
    let (head, body) = asked.recv().unwrap();
    let mut lines = head.lines();
    let mut first = lines.next().unwrap().split(' ');
    let (method, target) = (first.next().unwrap(), first.next().unwrap());
    let headers: Vec<(&str, &[u8])> =
        lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name, value.as_bytes())).collect();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let request = starmap_sigv4::Request { method, path, query, headers: &headers };
    let claim = starmap_sigv4::parse(&request).unwrap();
    assert_eq!(
        (claim.access_key_id.as_str(), claim.scope.region.as_str(), claim.scope.service.as_str()),
        ("AKIAEXAMPLE", "us-east-1", "states")
    );
    let family = starmap_sigv4::Family::Json;
    claim.check(&request, family, &["us-east-1"], "states", claim.at).unwrap();
    let payload = starmap_sigv4::sha256_hex(body.as_bytes());
    claim.verify(&request, &payload, "secret").unwrap();
    claim.verify(&request, &payload, "another").unwrap_err();
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["maxResults"], 1_000);
}

#[test]
fn pages_are_read_to_the_end() {
    let (output, asked) = listed(
        |request| {
            let row = |name: &str| {
                json!({ "executionArn": format!("arn:aws:states:us-east-1:123456789012:execution:starmap:{name}"), "name": name,
                        "stateMachineArn": "m", "status": "RUNNING", "startDate": 1_764_268_000.5 })
            };
            match request.body.contains("nextToken") {
                false => Answer::json(&json!({ "executions": [row("one")], "nextToken": "t" })),
                true => Answer::json(&json!({ "executions": [row("two")] })),
            }
        },
        "1",
    );
    let said = text(&output.stdout);
    assert!(said.contains("one") && said.contains("two") && said.contains("2025-11-27"), "{said}");
    assert_eq!(asked, 2);
}
