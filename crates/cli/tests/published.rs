//! All eight inputs of the published scaling study, unchanged, over as many (tiny) partitions; and both published
//! shapes of the state machine.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::common::{MODEL, object, program, text};

const SCALING: [(&str, [(&str, u32); 2]); 4] = [
    ("25MB", [("12.6GB", 516), ("8GB", 327)]),
    ("50MB", [("12.6GB", 258), ("8GB", 163)]),
    ("75MB", [("12.6GB", 173), ("8GB", 110)]),
    ("100MB", [("12.6GB", 129), ("8GB", 82)]),
];

fn input(prefix: &str, size: &str, files: u32) -> Value {
    json!({
        "bucket": "cosmicai-data",
        "file_limit": files.to_string(),
        "batch_size": 256,
        "object_type": "folder",
        "S3_object_name": "Anomaly Detection",
        "script": "/tmp/Anomaly Detection/Inference/inference.py",
        "result_path": format!("scaling/result-partition-{prefix}/{size}/2"),
        "data_bucket": "cosmicai-data",
        "data_prefix": prefix
    })
}

/// The published bucket with tiny partitions, and the small model under the published name.
fn bucket(folder: &std::path::Path, prefixes: &[(&str, u32)]) {
    let bucket = folder.join("buckets/cosmicai-data");
    let model = bucket.join("Anomaly Detection/Fine_Tune_Model");
    fs::create_dir_all(&model).unwrap();
    fs::write(model.join("Mixed_Inception_z_VITAE_Base_Img_Full_New_Full.safetensors"), MODEL).unwrap();
    for (prefix, files) in prefixes {
        let files = files.to_string();
        let mut synth = Command::new(program());
        synth.args(["data", "synth", "--galaxies", &files, "--partitions", &files, "--seed", "8", "--out"]);
        let made = synth.arg(bucket.join(prefix)).output().unwrap();
        assert!(made.status.success(), "{}", text(&made.stderr));
    }
}

fn run(folder: &std::path::Path, input: &Value, more: &[&str]) -> Value {
    let file = folder.join("input.json");
    fs::write(&file, input.to_string()).unwrap();
    let mut command = Command::new(program());
    command.arg("run").arg(&file).args(["--json", "--data"]).arg(folder.join("data"));
    command.arg("--buckets").arg(folder.join("buckets")).args(more);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    object(&output)
}

#[test]
fn all_eight_inputs_of_the_scaling_study_run_unchanged() {
    let place = tempfile::tempdir().unwrap();
    bucket(place.path(), &SCALING.map(|(prefix, sizes)| (prefix, sizes[0].1)));
    for (prefix, sizes) in SCALING {
        for (size, files) in sizes {
            let result = run(place.path(), &input(prefix, size, files), &[]);
            assert_eq!(result["status"], "SUCCEEDED");
            assert_eq!((&result["galaxies"], &result["partitions"]), (&json!(files), &json!(files)), "{prefix} {size}");
            let results =
                place.path().join(format!("buckets/cosmicai-data/scaling/result-partition-{prefix}/{size}/2"));
            let combined: Value =
                serde_json::from_slice(&fs::read(results.join("combined_data.json")).unwrap()).unwrap();
            assert_eq!(combined.as_array().map(Vec::len), Some(files as usize));
        }
    }
}

/// The older published shape: `Iterator` with `ProcessorConfig`, `lambda:invoke` with `Payload.$`.
const OLDER: &str = r#"{
  "StartAt": "Initialize",
  "States": {
    "Initialize": {"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "OutputPath": "$.Payload",
      "Parameters": {"Payload.$": "$", "FunctionName": "arn:aws:lambda:us-east-1:000000000000:function:data-parallel-init:$LATEST"},
      "Next": "Distributed Test"},
    "Distributed Test": {"Type": "Map", "ItemsPath": "$.body", "MaxConcurrency": 1000, "Label": "DistributedTest",
      "Iterator": {"ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}, "StartAt": "Model Inference", "States": {
        "Model Inference": {"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "OutputPath": "$.Payload",
          "Parameters": {"Payload.$": "$", "FunctionName": "arn:aws:lambda:us-east-1:000000000000:function:inference:$LATEST"},
          "Retry": [{"ErrorEquals": ["Lambda.ServiceException"], "IntervalSeconds": 2, "MaxAttempts": 6, "BackoffRate": 2}],
          "End": true}}},
      "Next": "Summarize"},
    "Summarize": {"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "OutputPath": "$.Payload",
      "Parameters": {"Payload.$": "$", "FunctionName": "arn:aws:lambda:us-east-1:000000000000:function:summarizer:$LATEST"},
      "End": true}
  }
}"#;

#[test]
fn both_published_shapes_of_the_state_machine_run() {
    let place = tempfile::tempdir().unwrap();
    bucket(place.path(), &[("25MB", 5)]);
    // The newer shape: `ItemProcessor`, plain function ARNs.
    let mut newer: Value = serde_json::from_str(OLDER).unwrap();
    let function = |name: &str| json!(format!("arn:aws:lambda:us-east-1:000000000000:function:{name}"));
    let states = newer["States"].as_object_mut().unwrap();
    for (state, name) in [("Initialize", "init"), ("Summarize", "summarizer")] {
        let task = states[state].as_object_mut().unwrap();
        task.remove("Parameters");
        task.remove("OutputPath");
        task.insert("Resource".to_owned(), function(name));
    }
    let map = states["Distributed Test"].as_object_mut().unwrap();
    let mut processor = map.remove("Iterator").unwrap();
    let task = processor["States"]["Model Inference"].as_object_mut().unwrap();
    task.remove("Parameters");
    task.remove("OutputPath");
    task.insert("Resource".to_owned(), function("inference"));
    map.insert("ItemProcessor".to_owned(), processor);
    for (index, definition) in [OLDER.to_owned(), newer.to_string()].iter().enumerate() {
        let file = place.path().join("machine.asl.json");
        fs::write(&file, definition).unwrap();
        let mut input = input("25MB", &format!("shape-{index}"), 5);
        input["world_size"] = json!("2");
        let result = run(place.path(), &input, &["--definition", file.to_str().unwrap()]);
        assert_eq!((&result["status"], &result["galaxies"]), (&json!("SUCCEEDED"), &json!(5)), "{definition}");
    }
}
