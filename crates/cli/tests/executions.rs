//! `starmap executions` and `starmap verify`: what is said of runs, and what is done with them.

use std::fs;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::common::{Place, assert_refused, object, program, text};

fn starmap(place: &Place, arguments: &[&str]) -> Output {
    Command::new(program()).args(arguments).arg("--data").arg(place.data()).output().unwrap()
}

fn lines(output: &Output) -> Vec<Value> {
    text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// One run that succeeded and one that failed on partition 2.
fn two_runs() -> Place {
    let place = Place::with_sky(3, 30);
    assert_eq!(object(&place.run(&place.input(3), &["--json", "--name", "good"]))["status"], "SUCCEEDED");
    poison(&place, 2);
    let mut input = place.input(3);
    input["result_path"] = json!("results/two");
    assert_eq!(object(&place.run(&input, &["--json", "--name", "bad"]))["status"], "FAILED");
    place
}

/// Damages a partition where only reading all of it finds out.
fn poison(place: &Place, partition: u32) {
    let path = place.parts().join(format!("{partition}.pt"));
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 64;
    fs::write(path, bytes).unwrap();
}

#[test]
fn executions_are_listed_by_what_is_asked_for() {
    let place = two_runs();
    let names = |arguments: &[&str]| -> Vec<String> {
        let output = starmap(&place, &[&["executions", "list", "--json"], arguments].concat());
        let listed = object(&output)["executions"].as_array().unwrap().clone();
        listed.iter().map(|execution| execution["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&[]), ["bad", "good"], "newest first");
    assert_eq!(names(&["--status", "succeeded"]), ["good"]);
    assert_eq!(names(&["--status", "FAILED"]), ["bad"]);
    assert_eq!(names(&["--name", "oo"]), ["good"]);
    let error = object(&starmap(&place, &["executions", "show", "bad", "--json"]))["error"].clone();
    assert_eq!(names(&["--error", error.as_str().unwrap()]), ["bad"]);
    assert_eq!(names(&["--error", "no.such"]), Vec::<String>::new());
    assert_eq!(names(&["--redriven"]), Vec::<String>::new());
    assert_eq!(names(&["--limit", "1"]), ["bad"]);
    assert_refused(&starmap(&place, &["executions", "list", "--status", "gone"]), 2, &["expected RUNNING, SUCCEEDED"]);
}

#[test]
fn histories_and_logs_are_printed_and_followed_to_their_end() {
    let place = two_runs();
    let history = lines(&starmap(&place, &["executions", "history", "bad", "--json", "--follow"]));
    assert_eq!(history.first().unwrap()["type"], "ExecutionStarted");
    assert_eq!(history.last().unwrap()["type"], "ExecutionFailed");
    let some = lines(&starmap(&place, &["executions", "history", "bad", "--json", "--type", "MapRun"]));
    assert!(!some.is_empty() && some.iter().all(|event| event["type"].as_str().unwrap().contains("MapRun")));

    let logs = lines(&starmap(&place, &["executions", "logs", "good", "--json", "--follow", "--function", "infer"]));
    assert_eq!(logs.len(), 3);
    for invocation in &logs {
        let lines = invocation["lines"].as_array().unwrap();
        let id = invocation["request_id"].as_str().unwrap();
        assert!(lines.first().unwrap().as_str().unwrap().starts_with(&format!("START RequestId: {id}")), "{lines:?}");
        assert!(lines.last().unwrap().as_str().unwrap().starts_with(&format!("REPORT RequestId: {id}")), "{lines:?}");
    }
    let failed = lines(&starmap(&place, &["executions", "logs", "bad", "--json", "--failed"]));
    assert!(!failed.is_empty() && failed.iter().all(|invocation| invocation["error"].is_string()), "{failed:?}");
}

#[test]
fn a_run_is_verified_by_name_and_by_place() {
    let place = two_runs();
    let buckets = place.buckets().display().to_string();
    // Partition 2 was damaged after the good run, which is what verifying finds.
    let output = starmap(&place, &["verify", "good", "--json"]);
    assert_refused(&output, 1, &["s3://sky/parts/2.pt: has changed since rank 1 read it"]);
    let result = object(&output);
    assert_eq!((&result["status"], &result["defects"][0]["kind"]), (&json!("DEFECTIVE"), &json!("stale")));
    let output = starmap(&place, &["verify", "s3://sky/results/one", "--json", "--buckets", &buckets]);
    assert_eq!(object(&output)["defects"].as_array().unwrap().len(), 1);
    assert_refused(&starmap(&place, &["verify", "nobody"]), 2, &["there is no execution nobody"]);
    assert_refused(&starmap(&place, &["verify", "s3://sky", "--buckets", &buckets]), 2, &["expected s3://BUCKET/"]);

    let whole = Place::with_sky(2, 20);
    assert_eq!(object(&whole.run(&whole.input(2), &["--json", "--name", "one"]))["status"], "SUCCEEDED");
    let output = starmap(&whole, &["verify", "one", "--json"]);
    let result = object(&output);
    assert_eq!((&result["status"], &result["galaxies"]), (&json!("COMPLETE"), &json!(20)), "{}", text(&output.stderr));
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_run_is_redriven_after_its_partition_was_mended() {
    let place = Place::with_sky(3, 30);
    let good = fs::read(place.parts().join("2.pt")).unwrap();
    poison(&place, 2);
    assert_eq!(object(&place.run(&place.input(3), &["--json", "--name", "one"]))["status"], "FAILED");
    fs::write(place.parts().join("2.pt"), good).unwrap();
    let output = starmap(&place, &["executions", "redrive", "one", "--json"]);
    let result = object(&output);
    assert_eq!((&result["status"], &result["galaxies"]), (&json!("SUCCEEDED"), &json!(30)), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("2.pt has changed and will be read anew"), "{}", text(&output.stderr));
    let listed = object(&starmap(&place, &["executions", "list", "--json", "--redriven"]));
    assert_eq!(listed["executions"][0]["name"], "one");
    assert_eq!(object(&starmap(&place, &["verify", "one", "--json"]))["status"], "COMPLETE");
    let again = starmap(&place, &["executions", "redrive", "one"]);
    assert_refused(&again, 2, &["execution one is SUCCEEDED"]);
}

#[test]
fn a_running_execution_is_stopped_for_good() {
    let place = Place::with_sky(8, 8 * 400);
    let mut command = place.run_command(&place.input(8), &["--json", "--name", "one", "--concurrency", "1"]);
    let run = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // As soon as there is an execution.
    while !text(&starmap(&place, &["executions", "list", "--json"]).stdout).contains("RUNNING") {
        std::thread::yield_now();
    }
    let stopped = starmap(&place, &["executions", "stop", "one", "--json", "--error", "Mine", "--cause", "enough"]);
    assert_eq!(object(&stopped)["status"], "ABORTED", "{}", text(&stopped.stderr));
    assert_eq!(run.wait_with_output().unwrap().status.code(), Some(130), "the run was interrupted as by Ctrl-C");
    let shown = object(&starmap(&place, &["executions", "show", "one", "--json"]));
    assert_eq!(
        (&shown["status"], &shown["error"], &shown["cause"]),
        (&json!("ABORTED"), &json!("Mine"), &json!("enough"))
    );
    assert_refused(&starmap(&place, &["executions", "stop", "one"]), 2, &["has ended already (ABORTED)"]);
}

#[test]
fn a_result_path_is_refused_while_another_execution_writes_to_it() {
    let place = Place::with_sky(8, 8 * 400);
    let mut command = place.run_command(&place.input(8), &["--json", "--name", "one", "--concurrency", "1"]);
    let mut run = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while !text(&starmap(&place, &["executions", "list", "--json"]).stdout).contains("RUNNING") {
        std::thread::yield_now();
    }
    // Cut off: it could go on any time.
    run.kill().unwrap();
    run.wait().unwrap();
    let second = place.run(&place.input(8), &["--name", "two", "--overwrite"]);
    assert_refused(&second, 2, &["execution one writes to this result path", "starmap executions stop one"]);
    assert_eq!(object(&starmap(&place, &["executions", "stop", "one", "--json"]))["status"], "ABORTED");
    let second = place.run(&place.input(8), &["--json", "--name", "two", "--overwrite"]);
    assert_eq!(object(&second)["status"], "SUCCEEDED", "{}", text(&second.stderr));
}

#[test]
fn a_redrive_of_a_run_with_seven_poisoned_partitions_of_two_hundred_infers_seven() {
    let place = Place::with_sky(200, 400);
    let poisoned = 194..=200;
    let good: Vec<Vec<u8>> =
        poisoned.clone().map(|n| fs::read(place.parts().join(format!("{n}.pt"))).unwrap()).collect();
    poisoned.clone().for_each(|n| poison(&place, n));
    // Our definition, but that it takes a seventh failure to end it: every partition is tried.
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/redshift/state-machine.asl.json");
    let mut definition: Value = serde_json::from_slice(&fs::read(example).unwrap()).unwrap();
    definition["States"]["Distributed Test"]["ToleratedFailureCount"] = json!(6);
    let path = place.path().join("tolerant.asl.json");
    fs::write(&path, definition.to_string()).unwrap();
    let output =
        place.run(&place.input(200), &["--json", "--name", "one", "--definition", &path.display().to_string()]);
    let failed = object(&output);
    assert_eq!((&failed["status"], &failed["failed_item_count"]), (&json!("FAILED"), &json!(7)), "{failed}");
    assert_eq!(infers(&place), 200);

    for (n, bytes) in poisoned.zip(good) {
        fs::write(place.parts().join(format!("{n}.pt")), bytes).unwrap();
    }
    let output = starmap(&place, &["executions", "redrive", "one", "--json"]);
    let result = object(&output);
    assert_eq!(
        (&result["status"], &result["galaxies"]),
        (&json!("SUCCEEDED"), &json!(400)),
        "{}",
        text(&output.stderr)
    );
    assert_eq!(infers(&place), 207, "only what failed is inferred again");
    assert_eq!(object(&starmap(&place, &["verify", "one", "--json"]))["status"], "COMPLETE");
}

/// Invocations of `infer` so far.
fn infers(place: &Place) -> usize {
    lines(&starmap(place, &["executions", "logs", "one", "--json", "--function", "infer"])).len()
}
