//! The Lambda API over real workers, request by request, without a socket of its own.
//!
//! Functions are Python; without a `python3` these tests are skipped and say so.

use std::io::{Cursor, Write};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde_json::{Value, json};
use starmap_asl::Timestamp;
use starmap_engine::names::Naming;
use starmap_server::lambda::{Catalog, Lambda, LambdaRest, Place};
use starmap_server::s3::Buckets;
use starmap_workers::{Logs, Options, Workers};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::support::{MemoryObjects, head, read};

const HANDLER: &str = r#"
import os

def handler(event, context):
    print("got", event)
    if event.get("fail"):
        raise ValueError("as told")
    return {"event": event, "version": context.function_version, "greeting": os.environ.get("GREETING"),
            "arn": context.invoked_function_arn, "left": context.get_remaining_time_in_millis() > 0}

def other(event, context):
    return "other"
"#;

struct Local {
    api: LambdaRest,
    workers: Arc<Workers>,
}

impl Local {
    fn open(folder: &Path) -> Self {
        let logs = folder.join("logs");
        let options = Options { logs: Logs::Folder(logs.clone()), ..Options::new(4, Arc::new(|| 1_800_000_000_000)) };
        let workers = Workers::start(Vec::new(), options).unwrap();
        let clock = Arc::new(|| Timestamp(1_800_000_000_000));
        let place = Place {
            folder: folder.join("lambda"),
            logs: Some(logs),
            workers: Arc::clone(&workers),
            built_in: Vec::new(),
            concurrency_max: 4,
            credentials: None,
            environment: vec![("GREETING".to_owned(), "hello".to_owned())],
            naming: Naming::default(),
            clock: clock.clone(),
        };
        let buckets = Buckets::new(Arc::new(MemoryObjects::default()), &folder.join("s3"), clock, "us-east-1");
        let lambda = Lambda::new(Catalog::open(place).unwrap(), Arc::new(buckets));
        Self { api: LambdaRest::new(Arc::new(lambda)), workers }
    }

    async fn call(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let (status, _, body) = self.send(method, path, &[], &body).await;
        (status, body)
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> (u16, std::collections::BTreeMap<String, String>, Value) {
        let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        let (status, headers, body) = read(self.api.answer(&head(method, path, headers), body).await).await;
        (status, headers, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    async fn create(&self, name: &str) -> (u16, Value) {
        self.call("POST", "/2015-03-31/functions", creation(name, HANDLER)).await
    }

    async fn invoke(&self, name: &str, event: Value) -> Value {
        let path = format!("/2015-03-31/functions/{name}/invocations");
        let (status, _, answer) = self.send("POST", &path, &[], &event).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }
}

fn creation(name: &str, source: &str) -> Value {
    json!({
        "FunctionName": name, "Runtime": "python3.12", "Handler": "handler.handler",
        "Role": "arn:aws:iam::000000000000:role/r", "Code": { "ZipFile": zipped("handler.py", source) }, "Timeout": 60,
    })
}

fn zipped(name: &str, source: &str) -> String {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    writer.start_file(name, SimpleFileOptions::default().unix_permissions(0o755)).unwrap();
    writer.write_all(source.as_bytes()).unwrap();
    BASE64.encode(writer.finish().unwrap().into_inner())
}

#[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
fn python() -> bool {
    let found = Command::new("python3").arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        assert!(std::env::var_os("STARMAP_REQUIRE_PYTHON").is_none(), "python3 is required");
        eprintln!("SKIPPED: no python3");
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_lives_from_its_creation_to_its_deletion() {
    if !python() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let local = Local::open(folder.path());
    let (status, created) = local.create("f").await;
    assert_eq!((status, &created["State"], &created["Version"]), (201, &json!("Active"), &json!("$LATEST")));
    assert_eq!(local.create("f").await.1["Message"], "Function already exist: f");

    let answer = local.invoke("f", json!({ "a": 1 })).await;
    assert_eq!((&answer["event"], &answer["greeting"]), (&json!({ "a": 1 }), &json!("hello")));
    assert_eq!(answer["arn"], "arn:aws:lambda:us-east-1:000000000000:function:f");
    assert_eq!(answer["left"], true);

    let update = json!({ "Environment": { "Variables": { "GREETING": "goodbye" } }, "MemorySize": 256 });
    let (status, updated) = local.call("PUT", "/2015-03-31/functions/f/configuration", update).await;
    assert_eq!((status, &updated["MemorySize"]), (200, &json!(256)));
    assert_eq!(local.invoke("f", json!({})).await["greeting"], "goodbye");
    let code = json!({ "ZipFile": zipped("handler.py", "def handler(event, context):\n    return 'new'\n") });
    let (status, coded) = local.call("PUT", "/2015-03-31/functions/f/code", code).await;
    assert_eq!(status, 200, "{coded}");
    assert_ne!(coded["CodeSha256"], created["CodeSha256"]);
    assert_eq!(local.invoke("f", json!({})).await, "new");

    let (_, listed) = local.call("GET", "/2015-03-31/functions/", Value::Null).await;
    assert_eq!(listed["Functions"][0]["FunctionName"], "f");
    local.workers.shutdown().await;
    drop(local);

    // Another process over the same folder.
    let local = Local::open(folder.path());
    assert_eq!(local.invoke("f", json!({})).await, "new");
    assert_eq!(local.call("DELETE", "/2015-03-31/functions/f", Value::Null).await.0, 204);
    let (status, gone) = local.call("GET", "/2015-03-31/functions/f", Value::Null).await;
    let message = "Function not found: arn:aws:lambda:us-east-1:000000000000:function:f";
    assert_eq!((status, &gone["Message"]), (404, &json!(message)));
    assert_eq!(std::fs::read_dir(folder.path().join("lambda/code")).unwrap().count(), 0, "its code is gone, too");
    local.workers.shutdown().await;
}

/// The folder that `awslambdaric` can be imported from.
#[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
fn awslambdaric() -> Option<String> {
    let python = std::env::var_os("STARMAP_PYTHON").unwrap_or_else(|| "python3".into());
    let ask = "import awslambdaric, os; print(os.path.dirname(os.path.dirname(awslambdaric.__file__)))";
    let found = Command::new(python).args(["-c", ask]).output().ok().filter(|output| output.status.success());
    let Some(found) = found else {
        assert!(std::env::var_os("STARMAP_REQUIRE_CLIENTS").is_none(), "awslambdaric is required");
        eprintln!("SKIPPED: no Python with awslambdaric (cargo xtask tests installs it, or STARMAP_PYTHON)");
        return None;
    };
    Some(String::from_utf8(found.stdout).unwrap().trim().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn awss_own_client_runs_a_function_where_it_is_installed() {
    let Some(packages) = awslambdaric().filter(|_| python()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let local = Local::open(folder.path());
    let source = "def handler(event, context):\n    \
                  print('got', event)\n    \
                  if event.get('fail'):\n        raise ValueError('as told')\n    \
                  return {'event': event, 'by': type(context).__module__, 'left': context.get_remaining_time_in_millis() > 0}\n";
    let mut function = creation("theirs", source);
    function["Environment"] = json!({ "Variables": { "PYTHONPATH": packages } });
    assert_eq!(local.call("POST", "/2015-03-31/functions", function).await.0, 201);
    for number in 0..2 {
        let answer = local.invoke("theirs", json!({ "n": number })).await;
        assert_eq!(answer, json!({ "event": { "n": number }, "by": "awslambdaric.lambda_context", "left": true }));
    }
    let path = "/2015-03-31/functions/theirs/invocations";
    let (status, headers, answer) =
        local.send("POST", path, &[("x-amz-log-type", "Tail")], &json!({ "fail": 1 })).await;
    assert_eq!((status, headers["x-amz-function-error"].as_str()), (200, "Unhandled"));
    assert_eq!((&answer["errorType"], &answer["errorMessage"]), (&json!("ValueError"), &json!("as told")));
    let log = String::from_utf8(BASE64.decode(&headers["x-amz-log-result"]).unwrap()).unwrap();
    assert!(log.contains("got {'fail': 1}") && log.contains("REPORT RequestId: "), "{log}");
    local.workers.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invocations_are_answered_as_lambda_does() {
    if !python() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let local = Local::open(folder.path());
    local.create("f").await;
    let path = "/2015-03-31/functions/f/invocations";

    let (status, headers, answer) =
        local.send("POST", path, &[("x-amz-log-type", "Tail")], &json!({ "fail": 1 })).await;
    assert_eq!((status, headers["x-amz-function-error"].as_str()), (200, "Unhandled"));
    assert_eq!(headers["x-amz-executed-version"], "$LATEST");
    assert_eq!((&answer["errorType"], &answer["errorMessage"]), (&json!("ValueError"), &json!("as told")));
    let log = String::from_utf8(BASE64.decode(&headers["x-amz-log-result"]).unwrap()).unwrap();
    assert!(log.contains("got {'fail': 1}") && log.contains("REPORT RequestId: "), "{log}");

    let kind = |kind: &'static str| [("x-amz-invocation-type", kind)];
    assert_eq!(local.send("POST", path, &kind("DryRun"), &json!({})).await.0, 204);
    assert_eq!(local.send("POST", path, &kind("Event"), &json!({})).await.0, 202);
    assert_eq!(local.send("POST", path, &kind("Never"), &json!({})).await.0, 400);
    let (status, _, nobody) = local.send("POST", "/2015-03-31/functions/g/invocations", &[], &json!({})).await;
    assert_eq!((status, &nobody["Type"]), (404, &json!("User")));
    let (status, _, large) = local.send("POST", path, &[], &json!("x".repeat(6 << 20))).await;
    assert_eq!(
        (status, large["Message"].as_str().unwrap()),
        (413, "Request must be smaller than 6291456 bytes for the InvokeFunction operation")
    );
    let (status, _, body) = read(local.api.answer(&head("POST", path, &[]), Bytes::from_static(b"{")).await).await;
    assert!(status == 400 && String::from_utf8_lossy(&body).contains("Could not parse request body into json"));

    local.call("PUT", "/2017-10-31/functions/f/concurrency", json!({ "ReservedConcurrentExecutions": 0 })).await;
    let (status, _, throttled) = local.send("POST", path, &[], &json!({})).await;
    assert_eq!((status, &throttled["message"]), (429, &json!("Rate Exceeded.")));
    local.workers.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_and_aliases_lead_to_what_was_published() {
    if !python() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let local = Local::open(folder.path());
    local.create("f").await;
    let versions = "/2015-03-31/functions/f/versions";
    assert_eq!(local.call("POST", versions, json!({})).await.1["Version"], "1");
    assert_eq!(local.call("POST", versions, json!({})).await.1["Version"], "1", "nothing has changed");
    let update = json!({ "Environment": { "Variables": { "GREETING": "second" } } });
    local.call("PUT", "/2015-03-31/functions/f/configuration", update).await;
    assert_eq!(local.call("POST", versions, json!({ "Description": "d" })).await.1["Version"], "2");

    let aliases = "/2015-03-31/functions/f/aliases";
    let (status, alias) = local.call("POST", aliases, json!({ "Name": "live", "FunctionVersion": "1" })).await;
    assert_eq!(
        (status, alias["AliasArn"].as_str().unwrap()),
        (201, "arn:aws:lambda:us-east-1:000000000000:function:f:live")
    );
    assert_eq!(local.call("POST", aliases, json!({ "Name": "live", "FunctionVersion": "1" })).await.0, 409);
    assert_eq!(local.call("POST", aliases, json!({ "Name": "x", "FunctionVersion": "9" })).await.0, 404);
    assert_eq!(local.call("POST", aliases, json!({ "Name": "7", "FunctionVersion": "1" })).await.0, 400);
    let first = local.invoke("f:live", json!({})).await;
    assert_eq!((&first["version"], &first["greeting"]), (&json!("1"), &json!("hello")));
    let all = json!({ "FunctionVersion": "1", "RoutingConfig": { "AdditionalVersionWeights": { "2": 1.0 } } });
    local.call("PUT", "/2015-03-31/functions/f/aliases/live", all).await;
    let (_, headers, second) =
        local.send("POST", "/2015-03-31/functions/f/invocations?Qualifier=live", &[], &json!({})).await;
    assert_eq!((headers["x-amz-executed-version"].as_str(), &second["greeting"]), ("2", &json!("second")));

    let in_use = local.call("DELETE", "/2015-03-31/functions/f?Qualifier=1", Value::Null).await;
    assert_eq!((in_use.0, in_use.1["Type"].as_str().unwrap()), (409, "User"));
    assert_eq!(local.call("DELETE", "/2015-03-31/functions/f/aliases/live", Value::Null).await.0, 204);
    assert_eq!(local.call("DELETE", "/2015-03-31/functions/f?Qualifier=1", Value::Null).await.0, 204);
    let (_, listed) = local.call("GET", versions, Value::Null).await;
    let numbers: Vec<&str> =
        listed["Versions"].as_array().unwrap().iter().map(|version| version["Version"].as_str().unwrap()).collect();
    assert_eq!(numbers, ["$LATEST", "2"]);
    local.workers.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn functions_may_lie_in_a_folder_or_be_an_executable() {
    if !python() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let local = Local::open(folder.path());
    let code = folder.path().join("mine");
    std::fs::create_dir(&code).unwrap();
    std::fs::write(code.join("handler.py"), HANDLER).unwrap();
    let uri = format!("file://{}", code.display());
    let create = json!({
        "FunctionName": "local", "PackageType": "Image", "Code": { "ImageUri": uri }, "Runtime": "python3.12",
        "Handler": "handler.other", "Role": "arn:aws:iam::000000000000:role/r", "Timeout": 60,
    });
    assert_eq!(local.call("POST", "/2015-03-31/functions", create).await.0, 201);
    assert_eq!(local.invoke("local", json!({})).await, "other");

    let bootstrap = r#"#!/usr/bin/env python3
import http.client, os
while True:
    api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    api.request("GET", "/2018-06-01/runtime/invocation/next")
    next = api.getresponse()
    body = next.read()
    api.request("POST", "/2018-06-01/runtime/invocation/%s/response" % next.headers["Lambda-Runtime-Aws-Request-Id"], body)
    api.getresponse().read()
"#;
    let create = json!({
        "FunctionName": "provided", "Runtime": "provided.al2023", "Handler": "x", "Timeout": 60,
        "Role": "arn:aws:iam::000000000000:role/r", "Code": { "ZipFile": zipped("bootstrap", bootstrap) },
    });
    assert_eq!(local.call("POST", "/2015-03-31/functions", create).await.0, 201);
    assert_eq!(local.invoke("provided", json!({ "echo": [1] })).await, json!({ "echo": [1] }));
    local.workers.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_run_is_refused_by_name() {
    if !python() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let local = Local::open(folder.path());
    for (member, value, name, words) in [
        ("Runtime", json!("nodejs22.x"), "InvalidParameterValueException", "nodejs22.x can't be run here"),
        ("FunctionName", json!("../x"), "ValidationException", "functionName"),
        ("MemorySize", json!(1), "ValidationException", "greater than or equal to 128"),
        ("Code", json!({}), "InvalidParameterValueException", "provide a source"),
        ("Code", json!({ "ZipFile": "UEs=" }), "InvalidParameterValueException", "Could not unzip"),
        ("Code", json!({ "ImageUri": "123.dkr.ecr/x" }), "InvalidParameterValueException", "file:///absolute/path"),
        ("Layers", json!(["arn:x"]), "InvalidParameterValueException", "Layers are not served"),
        ("Handler", Value::Null, "InvalidParameterValueException", "mandatory parameters"),
        ("Role", Value::Null, "ValidationException", "'role'"),
    ] {
        let mut create = creation("f", HANDLER);
        create[member] = value;
        let (status, headers, answer) = local.send("POST", "/2015-03-31/functions", &[], &create).await;
        assert_eq!((status, headers["x-amzn-errortype"].as_str()), (400, name), "{member}");
        assert!(answer["message"].as_str().unwrap().contains(words), "{member}: {answer}");
    }
    // A handler that isn't there is the function's own error.
    let mut create = creation("broken", "import nothing_of_that_name\n");
    create["Handler"] = json!("handler.handler");
    assert_eq!(local.call("POST", "/2015-03-31/functions", create).await.0, 201);
    let answer = local.invoke("broken", json!({})).await;
    assert_eq!(answer["errorType"], "Runtime.ImportModuleError");
    local.workers.shutdown().await;
}
