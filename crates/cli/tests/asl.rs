//! `starmap asl`: definitions are checked, states are tested.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::common::{assert_refused, object, program, starmap, text};

const BROKEN: &str = "{\n  \"StartAt\": \"A\",\n  \"States\": {\n    \"A\": {\"Type\": \"Wait\", \"Seconds\": -1, \"End\": true}\n  }\n}\n";

#[test]
fn check_shows_every_finding_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let (good, bad) = (folder.path().join("good.json"), folder.path().join("bad.json"));
    fs::write(&good, r#"{"StartAt": "A", "States": {"A": {"Type": "Pass", "End": true}}}"#).unwrap();
    fs::write(&bad, BROKEN).unwrap();
    let (good, bad) = (good.to_str().unwrap(), bad.to_str().unwrap());

    let output = starmap(&["asl", "check", good]);
    assert_eq!(
        (output.status.code(), text(&output.stdout).as_str()),
        (Some(0), "OK: 1 definition, 0 errors, 0 warnings\n")
    );

    let output = starmap(&["asl", "check", good, bad]);
    let told = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1));
    for expected in
        ["bad.json:4:", "4 |     \"A\": {\"Type\": \"Wait\", \"Seconds\": -1, \"End\": true}", "^ /States/A", "FAIL: 2"]
    {
        assert!(told.contains(expected), "{expected:?} in {told}");
    }
    assert!(!told.contains('\u{1b}'), "no colour where nobody sees it");

    let output = starmap(&["--json", "asl", "check", bad]);
    let result = object(&output);
    assert_eq!(result["files"][0]["diagnostics"][0]["line"], 4, "{result}");

    assert_refused(&starmap(&["asl", "check", "/nonexistent.json"]), 2, &["/nonexistent.json", "No such file"]);
}

#[test]
fn a_state_is_tested_from_stdin() {
    let run = |arguments: &[&str], definition: &str| {
        let mut command = Command::new(program());
        command.args(["--json", "asl", "test-state", "-"]).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(definition.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let task = r#"{"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "Parameters": {"FunctionName": "f"},
        "ResultSelector": {"z.$": "$.Payload"}, "Retry": [{"ErrorEquals": ["States.ALL"]}], "Next": "Store"}"#;
    let output = run(&["--mock-result", r#"{"Payload": 0.31}"#, "--outcome-only"], task);
    let expected = json!({ "status": "SUCCEEDED", "output": { "z": 0.31 }, "nextState": "Store" });
    assert_eq!((output.status.code(), object(&output)), (Some(0), expected));

    let output = run(&["--mock-error", "Oops"], task);
    let result = object(&output);
    assert_eq!((output.status.code(), &result["status"]), (Some(1), &json!("RETRIABLE")));
    assert_eq!(result["inspectionData"]["errorDetails"], json!({ "retryIndex": 0, "retryBackoffIntervalSeconds": 1 }));

    assert_refused(&run(&[], task), 2, &["nothing is called here", "--mock-result"]);
    assert_refused(&run(&[], r#"{"Type": "Nap"}"#), 2, &["/States/StateName"]);
}
