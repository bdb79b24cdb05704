//! The published checkpoint and partitions, run through everything: predictions and metrics as recorded.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use starmap_pipeline::predictions::Reader;

use crate::common::{files, object, program, text};

fn reference() -> Option<PathBuf> {
    let shared = std::env::var_os("STARMAP_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"), PathBuf::from);
    let folder = shared.join("reference");
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(std::env::var_os("STARMAP_REQUIRE_REFERENCE").is_none(), "the reference files are required");
    eprintln!("SKIPPED: no reference files at {}", folder.display());
    None
}

/// Buckets with links to the reference's files, where results can be written.
fn buckets(reference: &Path, into: &Path) -> PathBuf {
    let (from, to) = (reference.join("buckets/cosmicai-data"), into.join("buckets/cosmicai-data"));
    for file in files(&from) {
        let target = to.join(&file);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(from.join(&file), target).unwrap();
    }
    into.join("buckets")
}

#[test]
fn the_published_files_give_the_recorded_redshifts_and_metrics() {
    let Some(reference) = reference() else { return };
    let place = tempfile::tempdir().unwrap();
    let buckets = buckets(&reference, place.path());
    let input = json!({
        "bucket": "cosmicai-data",
        "file_limit": "3",
        "batch_size": 256,
        "object_type": "folder",
        "S3_object_name": "Anomaly Detection",
        "script": "/tmp/Anomaly Detection/Inference/inference.py",
        "result_path": "scaling/small/1",
        "data_bucket": "cosmicai-data",
        "data_prefix": "small"
    });
    let file = place.path().join("input.json");
    fs::write(&file, input.to_string()).unwrap();
    let mut command = Command::new(program());
    command.arg("run").arg(file).arg("--json").arg("--buckets").arg(&buckets);
    let output = command.arg("--data").arg(place.path().join("data")).output().unwrap();
    let result = object(&output);
    assert_eq!(result["status"], "SUCCEEDED", "{}", text(&output.stderr));
    assert_eq!((&result["galaxies"], &result["partitions"]), (&json!(300), &json!(3)));

    let expected: Value = serde_json::from_slice(&fs::read(reference.join("expected_pt.json")).unwrap()).unwrap();
    let results = buckets.join("cosmicai-data/scaling/small/1");
    let predictions = Reader::new(fs::read(results.join("predictions.parquet")).unwrap().into()).unwrap();
    let groups: Vec<_> = (0..predictions.groups()).map(|group| predictions.group(group).unwrap()).collect();
    let partitions = groups.iter().flat_map(|rows| &rows.partition);
    let mut order: Vec<String> = partitions.map(|key| key.as_utf8().unwrap().to_owned()).collect();
    order.dedup();
    assert_eq!(order, ["small/1.pt", "small/2.pt", "small/10.pt"], "natural order");
    let redshifts: Vec<f64> =
        groups.iter().flat_map(|rows| &rows.predictions).map(|row| f64::from(row.z_phot.unwrap())).collect();
    let recorded: Vec<f64> =
        expected["redshift_f64"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect();
    assert_eq!((redshifts.len(), recorded.len()), (300, 300));
    let errors = redshifts.iter().zip(&recorded).map(|(one, other)| (one - other).abs());
    let max = errors.fold(0.0, f64::max);
    println!("300 predictions against float64: max {max:.2e} (promised 5e-6)");
    assert!(max < 5e-6, "max {max:.3e}");

    let summary: Value = serde_json::from_slice(&fs::read(results.join("summary.json")).unwrap()).unwrap();
    for metric in ["mae", "mse", "bias_mean", "nmad_148", "r2"] {
        let (found, recorded) = (summary["quality"][metric].as_f64().unwrap(), expected[metric].as_f64().unwrap());
        println!("{metric}: {found} (recorded {recorded})");
        assert!((found - recorded).abs() < 1e-4, "{metric}: {found}, recorded {recorded}");
    }
    for rank in 0..3 {
        let figures: Value = serde_json::from_slice(&fs::read(results.join(format!("{rank}.json"))).unwrap()).unwrap();
        for key in [
            "total_cpu_time (seconds)",
            "total_cpu_memory (MB)",
            "execution_time (seconds/batch)",
            "num_batches",
            "batch_size",
            "device",
            "throughput_bps",
            "sample_persec",
            "result_path",
            "data_path",
        ] {
            assert!(!figures[key].is_null(), "{rank}.json has no {key:?}");
        }
    }
    let combined: Value = serde_json::from_slice(&fs::read(results.join("combined_data.json")).unwrap()).unwrap();
    assert_eq!(combined.as_array().map(Vec::len), Some(3));
    assert!(fs::metadata(results.join("report.html")).unwrap().len() > 10_000);
}
