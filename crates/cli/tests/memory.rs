//! A worker's memory on the largest published partition: stated, and below what is promised.

use std::fs;

use serde_json::{Value, json};

use crate::common::{Place, object, starmap, text};

/// What is promised of a partition of 5,113 galaxies (104.9 MB), with the full-size model.
const PEAK_MIB_MAX: f64 = 400.0;

#[test]
fn a_worker_stays_below_the_promised_memory_on_a_100_mb_partition() {
    let place = Place::empty();
    let parts = place.parts();
    let made = starmap(&["data", "synth", "--size", "100MB", "--seed", "4", "--out", parts.to_str().unwrap()]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let model = place.bucket().join("models/full.safetensors");
    let made = starmap(&["model", "init", model.to_str().unwrap()]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let mut input = place.input(1);
    input["S3_object_name"] = json!("models/full.safetensors");
    // However large the batch that is asked for, memory stays bounded.
    input["batch_size"] = json!(100_000);
    let output = place.run(&input, &["--json", "--concurrency", "1", "--memory", "400"]);
    let result = object(&output);
    assert_eq!(
        (&result["status"], &result["galaxies"]),
        (&json!("SUCCEEDED"), &json!(5_113)),
        "{}",
        text(&output.stderr)
    );
    let rank: Value = serde_json::from_slice(&fs::read(place.results().join("0.json")).unwrap()).unwrap();
    let peak_mib = rank["peak_rss_mib"].as_f64().unwrap();
    println!("5,113 galaxies, full-size model: peak {peak_mib:.0} MiB (promised {PEAK_MIB_MAX} MiB)");
    assert!(peak_mib < PEAK_MIB_MAX);
}
