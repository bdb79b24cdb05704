//! Bad input: refused with a message that says what was found, what was expected and what to try, with exit
//! code 1 or 2, and with nothing written under the result path.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::common::{self, Place, assert_refused, files, program, starmap, text};

/// Runs an input and expects a refusal that leaves nothing behind.
fn refused(place: &Place, input: &Value, more: &[&str], code: i32, expected: &[&str]) {
    let output = place.run(input, more);
    assert_refused(&output, code, expected);
    assert_eq!(files(&place.results()), Vec::<String>::new(), "nothing is written under the result path");
}

fn with(mut input: Value, key: &str, value: Value) -> Value {
    input[key] = value;
    input
}

#[test]
fn missing_and_wrong_typed_keys_are_named_all_at_once() {
    let place = Place::empty();
    let input = json!({ "bucket": 7, "file_limit": "many", "batch_size": 256, "object_type": "folder" });
    refused(
        &place,
        &input,
        &[],
        2,
        &["bucket", "file_limit", "S3_object_name", "script", "result_path", "data_bucket", "data_prefix"],
    );
    assert!(!place.data().join("journal.sqlite").exists(), "refused before any work starts");
}

#[test]
fn an_input_that_is_not_json_or_not_there_is_named() {
    let place = Place::empty();
    let file = place.path().join("broken.json");
    fs::write(&file, "{\"bucket\": ").unwrap();
    let output = Command::new(program()).arg("run").arg(&file).output().unwrap();
    assert_refused(&output, 2, &["broken.json", "not JSON", "line 1"]);
    let output = starmap(&["run", "/nonexistent/input.json"]);
    assert_refused(&output, 2, &["/nonexistent/input.json", "No such file"]);
}

#[test]
fn batch_size_zero() {
    let place = Place::empty();
    refused(&place, &with(place.input(1), "batch_size", json!(0)), &[], 2, &["batch_size", "0"]);
}

#[test]
fn an_unknown_bucket_is_named_with_those_that_are_there() {
    let place = Place::with_sky(1, 8);
    refused(&place, &with(place.input(1), "data_bucket", json!("skyy")), &[], 1, &["skyy", "Starmap.BucketNotFound"]);
}

#[test]
fn no_partitions_under_the_prefix() {
    let place = Place::with_sky(1, 8);
    let input = with(place.input(1), "data_prefix", json!("par"));
    refused(&place, &input, &[], 1, &["Starmap.NoPartitions", "par"]);
}

#[test]
fn a_partition_that_is_no_zip_or_is_truncated() {
    let place = Place::with_sky(2, 16);
    fs::write(place.parts().join("1.pt"), "this is a text file and no partition at all").unwrap();
    let whole = fs::read(place.parts().join("2.pt")).unwrap();
    fs::write(place.parts().join("2.pt"), &whole[..whole.len() / 2]).unwrap();
    // Both are named at once, before any galaxy is predicted.
    refused(&place, &place.input(2), &[], 1, &["Starmap.PartitionInvalid", "1.pt", "not a zip", "2.pt", "truncated"]);
}

#[test]
fn a_malicious_pickle_is_refused_and_never_executed() {
    let place = Place::with_sky(1, 8);
    let trace = place.path().join("executed");
    let command = format!("touch {}", trace.display());
    let mut pickle = vec![0x80, 2];
    pickle.extend(b"cos\nsystem\n(X");
    pickle.extend((command.len() as u32).to_le_bytes());
    pickle.extend(command.as_bytes());
    pickle.extend(b"tR.");
    fs::write(place.parts().join("1.pt"), zip_of("archive/data.pkl", &pickle)).unwrap();
    refused(&place, &place.input(1), &[], 1, &["Starmap.PartitionInvalid", "os.system", "1.pt"]);
    assert!(!trace.exists(), "the pickle was executed");
}

/// A zip with one stored entry, as torch writes them.
fn zip_of(name: &str, data: &[u8]) -> Vec<u8> {
    let crc = crc32(data);
    let (size, name_length) = ((data.len() as u32).to_le_bytes(), (name.len() as u16).to_le_bytes());
    let mut header = vec![0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    header[0] = 10;
    header.extend(crc.to_le_bytes());
    header.extend(size);
    header.extend(size);
    header.extend(name_length);
    header.extend([0, 0]);
    let mut zip = b"PK\x03\x04".to_vec();
    zip.extend(&header);
    zip.extend(name.as_bytes());
    zip.extend(data);
    let directory_at = zip.len() as u32;
    zip.extend(b"PK\x01\x02\x0a\x00");
    zip.extend(&header);
    zip.extend([0; 2 + 2 + 2 + 4 + 4]);
    zip.extend(name.as_bytes());
    let directory_size = zip.len() as u32 - directory_at;
    zip.extend(b"PK\x05\x06\x00\x00\x00\x00\x01\x00\x01\x00");
    zip.extend(directory_size.to_le_bytes());
    zip.extend(directory_at.to_le_bytes());
    zip.extend([0, 0]);
    zip
}

fn crc32(data: &[u8]) -> u32 {
    !data.iter().fold(!0_u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & 0_u32.wrapping_sub(crc & 1)))
    })
}

#[test]
fn a_checkpoint_that_is_not_there_or_not_one() {
    let place = Place::with_sky(1, 8);
    let input = with(place.input(1), "S3_object_name", json!("models/none.pt"));
    refused(&place, &input, &[], 1, &["Starmap.CheckpointNotFound", "models/none.pt"]);
    fs::write(place.bucket().join("models/text.pt"), "no checkpoint").unwrap();
    let input = with(place.input(1), "S3_object_name", json!("models/text.pt"));
    refused(&place, &input, &[], 1, &["Starmap.CheckpointInvalid", "models/text.pt"]);
}

#[test]
fn a_checkpoint_with_missing_and_mis_shaped_tensors_names_all() {
    let place = Place::with_sky(1, 8);
    // The header of a safetensors file is JSON: take two tensors away and bend a third.
    let model = common::MODEL;
    let length = u64::from_le_bytes(model[..8].try_into().unwrap()) as usize;
    let mut header: Value = serde_json::from_slice(&model[8..8 + length]).unwrap();
    let tensors = header.as_object_mut().unwrap();
    let mut renamed = serde_json::Map::new();
    for (name, value) in std::mem::take(tensors) {
        let name = match name.as_str() {
            "cls_token" => "cls_tokem".to_owned(),
            "blocks.0.mlp.fc1.weight" => "blocks.0.mlp.fc9.weight".to_owned(),
            _ => name,
        };
        renamed.insert(name, value);
    }
    let shape = renamed["concat_block.2.weight"]["shape"].as_array_mut().unwrap();
    shape.reverse();
    let header = serde_json::to_vec(&renamed).unwrap();
    let mut bent = (header.len() as u64).to_le_bytes().to_vec();
    bent.extend(header);
    bent.extend(&model[8 + length..]);
    fs::write(place.bucket().join("models/demo.safetensors"), bent).unwrap();
    refused(
        &place,
        &place.input(1),
        &[],
        1,
        &["Starmap.CheckpointInvalid", "cls_token", "blocks.0.mlp.fc1.weight", "concat_block.2.weight"],
    );
}

#[test]
fn a_result_path_that_holds_another_run_is_refused_unless_overwritten() {
    let place = Place::with_sky(1, 8);
    let first = place.run(&place.input(1), &["--name", "first"]);
    assert!(first.status.success(), "{}", text(&first.stderr));
    let before = fs::read(place.results().join("summary.json")).unwrap();
    let again = place.run(&place.input(1), &["--name", "second"]);
    assert_refused(&again, 1, &["Starmap.ResultPathInUse", "first", "--overwrite"]);
    assert_eq!(
        fs::read(place.results().join("summary.json")).unwrap(),
        before,
        "the first run's results are untouched"
    );
    let over = place.run(&place.input(1), &["--name", "third", "--overwrite", "--json"]);
    assert_eq!(common::object(&over)["run_id"], "third", "{}", text(&over.stderr));
}

#[test]
fn file_limit_above_what_is_there_runs_and_says_both_numbers() {
    let place = Place::with_sky(3, 24);
    let output = place.run(&place.input(5), &["--json"]);
    let result = common::object(&output);
    assert_eq!(
        (&result["status"], &result["partitions"]),
        (&json!("SUCCEEDED"), &json!(3)),
        "{}",
        text(&output.stderr)
    );
    assert_eq!(result["partitions_requested"], 5);
    let stderr = text(&output.stderr);
    assert!(stderr.contains("asks for 5 partitions, 3 are there"), "{stderr}");
}

#[test]
fn s3_without_credentials_or_endpoint() {
    let place = Place::empty();
    let mut command = Command::new(program());
    command.arg("run").arg(place.input_file(&place.input(1))).arg("--s3").arg("--data").arg(place.data());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
        command.env_remove(name);
    }
    assert_refused(&command.output().unwrap(), 2, &["--s3", "AWS_ACCESS_KEY_ID"]);
}

#[test]
fn a_definition_that_is_not_valid_is_refused_with_everything_that_is_wrong() {
    let place = Place::with_sky(1, 8);
    let file = place.path().join("machine.json");
    fs::write(&file, r#"{"StartAt": "A", "States": {"B": {"Type": "Pass"}, "C": {"Type": "Nonsense", "End": true}}}"#)
        .unwrap();
    let output = place.run(&place.input(1), &["--definition", file.to_str().unwrap()]);
    assert_refused(&output, 2, &["StartAt", "Nonsense"]);
}
