//! Initialize, every rank and Summarize in one process, on a small sky in a folder; and everything that can go wrong.

#![allow(clippy::print_stdout, reason = "the largest difference is worth seeing")]

use std::fs;

use serde_json::{Value, json};
use starmap_pipeline::Error;
use starmap_pipeline::infer::{Identity, Worker};
use starmap_pipeline::initialize::initialize;
use starmap_pipeline::payload::{Input, ResultPlace};
use starmap_pipeline::predictions::{Prediction, Reader};
use starmap_pipeline::store::{Store, StoreConfig};
use starmap_pipeline::summarize::{Attempt, ExecutionTimes, QueuedItem, finalize, summarize};

use crate::common::{Galaxies, MODEL, Sky, block_on, reference, write_model};

const RESULT: &str = "results/a b/1";

fn predictions(sky: &Sky, key: &str) -> Vec<Prediction> {
    let reader = Reader::new(fs::read(sky.path(key)).unwrap().into()).unwrap();
    (0..reader.groups()).flat_map(|group| reader.group(group).unwrap().predictions).collect()
}

fn place(sky: &Sky) -> ResultPlace {
    Input::parse(&sky.input(|_| ())).unwrap().results()
}

/// The error's name and its text.
fn refused<T: std::fmt::Debug>(result: Result<T, Error>) -> (&'static str, String) {
    let error = result.expect_err("expected a refusal");
    (error.error_name(), error.to_string())
}

fn check_refused<T: std::fmt::Debug>(result: Result<T, Error>, name: &str, parts: &[&str]) {
    let (found, text) = refused(result);
    assert_eq!(found, name, "{text}");
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

/// Initialize refuses, and has written nothing.
fn check_initialize(sky: &Sky, change: impl FnOnce(&mut Value), name: &str, parts: &[&str]) {
    let before = sky.results();
    check_refused(block_on(initialize(&sky.store, &sky.input(change))), name, parts);
    assert_eq!(sky.results(), before, "something was written");
}

#[test]
fn an_input_becomes_one_redshift_per_galaxy() {
    let sky = Sky::new();
    let answer = sky.run(&sky.input(|_| ())).unwrap();
    assert_eq!((&answer["galaxies"], &answer["run_id"]), (&json!(60), &json!("run-1")));
    assert_eq!(
        sky.results(),
        [
            "0.json",
            "1.json",
            "2.json",
            "combined_data.json",
            "payload.json",
            "plots.json",
            "predictions.parquet",
            "predictions/0.parquet",
            "predictions/1.parquet",
            "predictions/2.parquet",
            "report.html",
            "summary.json"
        ]
        .map(|name| format!("{RESULT}/{name}"))
    );
    // Natural order: partition 2 before partition 10.
    let payload = sky.json(&format!("{RESULT}/payload.json"));
    assert_eq!(payload["data_map"], json!({"0": "data/small/1.pt", "1": "data/small/2.pt", "2": "data/small/10.pt"}));
    assert_eq!(payload["file_limit"], "3", "the input is kept as it was given");

    let merged = predictions(&sky, &format!("{RESULT}/predictions.parquet"));
    let rows: Vec<u64> = merged.iter().map(|prediction| prediction.row).collect();
    assert_eq!(rows, (0..40).chain(0..3).chain(0..17).collect::<Vec<_>>());
    assert!(merged.iter().all(|prediction| prediction.z_phot.is_some() && prediction.flags == 0));
    assert!((merged[41].z_spec.unwrap() - (0.05 + 0.003 * 41.0)).abs() < 1e-7);
    assert!((merged[41].magnitude_r - (19.0 - 1.6 + 0.41)).abs() < 1e-5);

    let summary = sky.json(&format!("{RESULT}/summary.json"));
    assert_eq!(
        (&summary["galaxies"], &summary["complete"], &summary["partitions"]),
        (&json!(60), &json!(true), &json!(3))
    );
    assert_eq!(summary["quality"]["galaxies"], 60);
    assert!(summary["wall_s"].is_null(), "only whoever ran it knows");
    assert_eq!(sky.json(&format!("{RESULT}/combined_data.json")).as_array().unwrap().len(), 3);
}

#[test]
fn published_keys_are_there_and_say_something_true() {
    let sky = Sky::new();
    sky.run_ranks(&sky.input(|_| ())).unwrap();
    let rank = sky.json(&format!("{RESULT}/0.json"));
    for key in [
        "total_cpu_time (seconds)",
        "total_cpu_memory (MB)",
        "total_process_memory (MB)",
        "execution_time (seconds/batch)",
        "throughput_bps",
        "sample_persec",
        "s3_num_requests",
        "s3_total_time",
        "s3_avg_time",
        "s3_min_time",
        "s3_max_time",
    ] {
        assert!(rank[key].as_f64().is_some_and(|value| value > 0.0), "{key} is {}", rank[key]);
    }
    assert_eq!((&rank["num_batches"], &rank["batch_size"], &rank["device"]), (&json!(3), &json!(16), &json!("cpu")));
    assert_eq!((&rank["result_path"], &rank["data_path"]), (&json!(RESULT), &json!("data/small/1.pt")));
    assert_eq!((&rank["cold"], &sky.json(&format!("{RESULT}/1.json"))["cold"]), (&json!(true), &json!(false)));
    assert_eq!(sky.json(&format!("{RESULT}/1.json"))["phases"]["init"], Value::Null);
}

#[test]
fn the_batch_size_and_the_split_do_not_change_a_prediction() {
    let sky = Sky::new();
    let run = |batch_size: u64, world_size: u64, result_path: &str| {
        let input = sky.input(|input| {
            input["batch_size"] = json!(batch_size);
            input["world_size"] = json!(world_size);
            input["result_path"] = json!(result_path);
        });
        sky.run(&input).unwrap();
        predictions(&sky, &format!("{result_path}/predictions.parquet"))
    };
    let reference = run(16, 3, "results/one");
    assert_eq!(run(7, 2, "results/two"), reference);
    assert_eq!(run(100_000, 1, "results/three"), reference);
    assert_eq!(sky.json("results/two/0.json")["data_path"], json!(["data/small/1.pt", "data/small/2.pt"]));
    assert_eq!(sky.json("results/two/0.json")["num_batches"], json!(6 + 1), "batches end with their partition");
}

#[test]
fn fewer_partitions_than_asked_for_are_run_and_told_with_both_numbers() {
    let sky = Sky::new();
    let answer = sky.run(&sky.input(|input| input["file_limit"] = json!(516))).unwrap();
    assert_eq!((&answer["partitions"], &answer["partitions_requested"]), (&json!(3), &json!(516)));
    let summary = sky.json(&format!("{RESULT}/summary.json"));
    assert_eq!((&summary["partitions_requested"], &summary["partitions_found"]), (&json!(516), &json!(3)));
    let report = fs::read_to_string(sky.path(&format!("{RESULT}/report.html"))).unwrap();
    assert!(report.contains("516 partitions were asked for, 3 are there."));
}

#[test]
fn the_wall_time_is_filled_in_afterwards() {
    let sky = Sky::new();
    sky.run(&sky.input(|_| ())).unwrap();
    let attempt = Attempt {
        function: "starmap-infer".into(),
        request_id: "r".into(),
        log_stream: "l".into(),
        duration_ms: 900.0,
        billed_ms: 1_000,
        memory_mib: 2_048,
        max_memory_used_mib: 200,
        init_ms: None,
        error: None,
    };
    let times = ExecutionTimes {
        execution_arn: "arn:x".into(),
        wall_s: 20.0,
        initialize_s: Some(1.0),
        summarize_s: Some(3.0),
        queued: vec![QueuedItem { rank: 0, queued_s: 0.5 }],
        attempts: vec![attempt.clone(), Attempt { error: Some("States.Timeout".into()), ..attempt }],
        ..ExecutionTimes::default()
    };
    for _ in 0..2 {
        let summary = block_on(finalize(&sky.store, &place(&sky), times.clone())).unwrap();
        assert_eq!((summary.wall_s, summary.throughput.galaxies_per_s), (Some(20.0), Some(3.0)));
        assert_eq!(summary.time.initialize_and_summarize_share, Some(0.2));
        let execution = summary.execution.unwrap();
        assert_eq!((execution.attempts, execution.attempts_failed, execution.billed_gb_s), (2, 1, 4.0));
        assert_eq!(sky.json(&format!("{RESULT}/summary.json"))["throughput"]["galaxies_per_s"], 3.0);
    }
    let other = ResultPlace { run_id: Some("run-2".into()), ..place(&sky) };
    check_refused(
        block_on(finalize(&sky.store, &other, times)),
        "Starmap.StaleResult",
        &["is of run run-1, expected run-2"],
    );
}

#[test]
fn a_rank_that_is_asked_for_again_is_not_computed_again() {
    let sky = Sky::new();
    let answer = sky.run_ranks(&sky.input(|_| ())).unwrap();
    let before = fs::read(sky.path(&format!("{RESULT}/0.json"))).unwrap();
    block_on(sky.worker().infer(&answer["body"][0])).unwrap();
    assert_eq!(fs::read(sky.path(&format!("{RESULT}/0.json"))).unwrap(), before, "the result was reused");

    // A result that does not hold is made again: damaged predictions, or a partition that has changed.
    let parquet = sky.path(&format!("{RESULT}/predictions/0.parquet"));
    let whole = fs::read(&parquet).unwrap();
    fs::write(&parquet, &whole[..100]).unwrap();
    block_on(sky.worker().infer(&answer["body"][0])).unwrap();
    assert_eq!(fs::read(&parquet).unwrap(), whole);
    Galaxies::new(100, 40).write(&sky.path("data/small/1.pt"));
    block_on(sky.worker().infer(&answer["body"][0])).unwrap();
    assert_ne!(fs::read(&parquet).unwrap(), whole);
    check_refused(
        block_on(summarize(&sky.store, &answer)),
        "Starmap.StaleResult",
        &["0.json: data/small/1.pt changed during the run"],
    );
}

#[test]
fn a_retried_initialize_keeps_what_its_run_has_done() {
    let sky = Sky::new();
    let input = sky.input(|input| input["overwrite"] = json!(true));
    let first = sky.run_ranks(&input).unwrap();
    let before = sky.results();
    assert_eq!(block_on(initialize(&sky.store, &input)).unwrap(), first);
    assert_eq!(sky.results(), before, "finished ranks stay");
    block_on(summarize(&sky.store, &first)).unwrap();
}

#[test]
fn results_of_another_run_are_refused_or_replaced() {
    let sky = Sky::new();
    sky.run(&sky.input(|_| ())).unwrap();
    fs::write(sky.path(&format!("{RESULT}/notes.txt")), "mine").unwrap();
    fs::create_dir_all(sky.path(&format!("{RESULT}0"))).unwrap();
    fs::write(sky.path(&format!("{RESULT}0/0.json")), "{}").unwrap();
    let another = |input: &mut Value| input["run_id"] = json!("run-2");
    check_initialize(
        &sky,
        another,
        "Starmap.ResultPathInUse",
        &[
            "s3://sky/results/a b/1/: holds results of run run-1, expected an empty result path",
            "hint:",
            "\"overwrite\": true",
        ],
    );
    let overwrite = sky.input(|input| {
        another(input);
        input["overwrite"] = json!(true);
        input["file_limit"] = json!(1);
    });
    sky.run(&overwrite).unwrap();
    let left = sky.results();
    assert!(!left.contains(&format!("{RESULT}/2.json")), "the old run's ranks are gone: {left:?}");
    assert!(left.contains(&format!("{RESULT}/notes.txt")), "what is not ours stays");
    assert!(left.contains(&format!("{RESULT}0/0.json")), "so does what is only named alike");
    assert_eq!(sky.json(&format!("{RESULT}/summary.json"))["galaxies"], 40);
}

#[test]
fn results_without_a_payload_are_somebodys_too() {
    let sky = Sky::new();
    fs::create_dir_all(sky.path(RESULT)).unwrap();
    fs::write(sky.path(&format!("{RESULT}/7.json")), "{}").unwrap();
    check_initialize(&sky, |_| (), "Starmap.ResultPathInUse", &["holds results of an earlier run"]);
}

#[test]
fn bad_inputs_are_refused_before_anything_is_written() {
    let sky = Sky::new();
    check_initialize(
        &sky,
        |input| {
            input["batch_size"] = json!(0);
            input.as_object_mut().unwrap().remove("data_prefix");
        },
        "Starmap.InvalidInput",
        &["2 keys can't be used", "batch_size: 0, expected", "data_prefix: missing"],
    );
    check_initialize(
        &sky,
        |input| input["data_bucket"] = json!("skyy"),
        "Starmap.BucketNotFound",
        &["bucket skyy: not found in", "hint: buckets that are there: sky"],
    );
    check_initialize(
        &sky,
        |input| input["data_prefix"] = json!("data/smal"),
        "Starmap.NoPartitions",
        &["s3://sky/data/smal/: no partitions", "hint: what is there: data/small/"],
    );
    check_initialize(
        &sky,
        |input| input["S3_object_name"] = json!("Anomaly"),
        "Starmap.CheckpointNotFound",
        &["s3://sky/Anomaly/Fine_Tune_Model/Mixed_Inception_z_VITAE_Base_Img_Full_New_Full.pt: no model there"],
    );
    check_initialize(
        &sky,
        |input| {
            input["object_type"] = json!("file");
            input["S3_object_name"] = json!("Anomaly Detection/Fine_Tune_Model/model.pt");
        },
        "Starmap.CheckpointNotFound",
        &[
            "s3://sky/Anomaly Detection/Fine_Tune_Model/model.pt: no model there",
            "hint: what is there: Anomaly Detection/Fine_Tune_Model/Mixed",
        ],
    );
}

#[test]
fn the_model_may_be_a_file_or_the_only_one_in_its_folder() {
    let sky = Sky::new();
    let file = sky.input(|input| {
        input["object_type"] = json!("file");
        input["S3_object_name"] = json!(MODEL);
    });
    block_on(initialize(&sky.store, &file)).unwrap();
    fs::rename(sky.path(MODEL), sky.path("Anomaly Detection/Fine_Tune_Model/mine.safetensors")).unwrap();
    block_on(initialize(&sky.store, &sky.input(|_| ()))).unwrap();
    fs::write(sky.path("Anomaly Detection/Fine_Tune_Model/other.pt"), "").unwrap();
    check_refused(
        block_on(initialize(&sky.store, &sky.input(|_| ()))),
        "Starmap.CheckpointNotFound",
        &["or the only .pt or .safetensors there", "mine.safetensors, Anomaly Detection/Fine_Tune_Model/other.pt"],
    );
}

#[test]
fn a_model_without_one_of_its_tensors_is_refused_by_name() {
    let sky = Sky::new();
    write_model(&sky.path(MODEL), Some("patch_embed.proj.weight"));
    check_initialize(
        &sky,
        |_| (),
        "Starmap.CheckpointInvalid",
        &["s3://sky/Anomaly Detection/", "patch_embed.proj.weight"],
    );
    fs::write(sky.path(MODEL), "not a model").unwrap();
    check_initialize(&sky, |_| (), "Starmap.CheckpointInvalid", &["s3://sky/Anomaly Detection/"]);
}

#[test]
fn every_bad_partition_is_named_at_once() {
    let sky = Sky::new();
    fs::write(sky.path("data/small/3.pt"), "this is no zip").unwrap();
    let whole = fs::read(sky.path("data/small/1.pt")).unwrap();
    fs::write(sky.path("data/small/4.pt"), &whole[..whole.len() / 2]).unwrap();
    fs::write(sky.path("data/small/readme.txt"), "passed over").unwrap();
    check_initialize(
        &sky,
        |input| input["file_limit"] = json!(10),
        "Starmap.PartitionInvalid",
        &["s3://sky/data/small/: 2 problems\n- s3://sky/data/small/3.pt: ", "\n- s3://sky/data/small/4.pt: "],
    );
    // Those that are not used are not looked at.
    block_on(initialize(&sky.store, &sky.input(|input| input["file_limit"] = json!(2)))).unwrap();
}

#[test]
fn bands_in_reverse_are_refused() {
    let sky = Sky::new();
    let mut galaxies = Galaxies::new(0, 40);
    galaxies.magnitudes.chunks_exact_mut(5).for_each(<[f64]>::reverse);
    galaxies.write(&sky.path("data/small/1.pt"));
    check_refused(
        sky.run(&sky.input(|_| ())),
        "Starmap.PartitionInvalid",
        &["s3://sky/data/small/1.pt: ", "in reverse", "hint:"],
    );
}

#[test]
fn damage_that_only_the_checksum_tells_is_found() {
    let sky = Sky::new();
    let path = sky.path("data/small/1.pt");
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    check_refused(sky.run(&sky.input(|_| ())), "Starmap.PartitionInvalid", &["s3://sky/data/small/1.pt: ", "CRC-32"]);
    assert!(
        !sky.path(&format!("{RESULT}/0.json")).exists()
            && !sky.path(&format!("{RESULT}/predictions/0.parquet")).exists()
    );
}

#[test]
fn a_reduced_precision_is_calibrated_refused_or_forced_and_recorded() {
    let sky = Sky::new();
    let int8 = sky.input(|input| input["precision"] = json!("int8"));
    let forced = sky.input(|input| {
        input["precision"] = json!("int8");
        input["force_precision"] = json!(true);
    });
    // The test's model is random and small; whether it passes is its own matter, what is said of it is not.
    match block_on(initialize(&sky.store, &int8)) {
        Ok(_) => {}
        Err(error) => {
            assert_eq!(error.error_name(), "Starmap.PrecisionRefused");
            let text = error.to_string();
            for part in
                ["int8 changes redshifts by up to", "expected at most 1e-2", "use \"precision\": \"int16\" or \"f32\""]
            {
                assert!(text.contains(part), "{part:?} in {text}");
            }
            assert!(sky.results().is_empty(), "something was written");
        }
    }
    let answer = block_on(initialize(&sky.store, &forced)).unwrap();
    let items = answer["body"].as_array().unwrap();
    assert!(items.iter().all(|item| item["PRECISION"] == "int8"));
}

#[test]
fn galaxies_with_bad_pixels_are_refused_or_flagged() {
    let sky = Sky::new();
    let mut galaxies = Galaxies::new(0, 40);
    galaxies.images[5 * 5120 + 7] = f32::NAN;
    galaxies.images[39 * 5120] = f32::INFINITY;
    galaxies.magnitudes[21 * 5 + 1] = f64::NAN;
    galaxies.write(&sky.path("data/small/1.pt"));
    check_refused(
        sky.run(&sky.input(|_| ())),
        "Starmap.NonFinitePixels",
        &[
            "s3://sky/data/small/1.pt: 3 of 40 galaxies have NaN or infinite pixels or magnitudes (first rows [5, 21, 39])",
            "\"bad_pixels\": \"flag\"",
        ],
    );
    let flag = |input: &mut Value| {
        input["bad_pixels"] = json!("flag");
        input["result_path"] = json!("results/flagged");
    };
    sky.run(&sky.input(flag)).unwrap();
    let flagged = predictions(&sky, "results/flagged/predictions.parquet");
    let bad: Vec<usize> = (0..60).filter(|&row| flagged[row].flags == 1).collect();
    assert_eq!(bad, [5, 21, 39]);
    assert!(flagged.iter().all(|prediction| prediction.z_phot.is_none() == (prediction.flags == 1)));
    let summary = sky.json("results/flagged/summary.json");
    assert_eq!(
        (&summary["galaxies"], &summary["galaxies_flagged"], &summary["quality"]["galaxies"]),
        (&json!(60), &json!(3), &json!(57))
    );

    // Their neighbours are predicted as if they were not there.
    Galaxies::new(0, 40).write(&sky.path("data/small/1.pt"));
    sky.run(&sky.input(|input| input["result_path"] = json!("results/good"))).unwrap();
    let good = predictions(&sky, "results/good/predictions.parquet");
    assert!((0..60).filter(|row| !bad.contains(row)).all(|row| good[row] == flagged[row]));
}

#[test]
fn whatever_is_missing_stale_or_short_is_named() {
    let sky = Sky::new();
    let answer = sky.run_ranks(&sky.input(|_| ())).unwrap();
    let result = |name: &str| sky.path(&format!("{RESULT}/{name}"));
    let check = |name: &str, parts: &[&str]| {
        check_refused(block_on(summarize(&sky.store, &answer)), name, parts);
        let written = sky.results();
        assert!(
            !written.iter().any(|file| file.contains("summary") || file.ends_with("1/predictions.parquet")),
            "{written:?}"
        );
    };
    let (json1, parquet1) = (fs::read(result("1.json")).unwrap(), fs::read(result("predictions/1.parquet")).unwrap());

    fs::remove_file(result("1.json")).unwrap();
    check(
        "Starmap.MissingResult",
        &["s3://sky/results/a b/1/: the run is not complete: 1 problem\n- 1.json: is not there"],
    );
    let old = String::from_utf8(json1.clone()).unwrap().replace("run-1", "run-0");
    fs::write(result("1.json"), old).unwrap();
    check("Starmap.StaleResult", &["- 1.json: is of run run-0, expected run-1"]);
    fs::write(result("1.json"), &json1[..50]).unwrap();
    check("Starmap.IncompleteResult", &["- 1.json: is not a rank's result: "]);
    let short = String::from_utf8(json1.clone()).unwrap().replace("\"rows\": 3,", "\"rows\": 2,");
    fs::write(result("1.json"), short).unwrap();
    check("Starmap.IncompleteResult", &["data/small/2.pt gave 2 rows, expected 3"]);
    fs::write(result("1.json"), &json1).unwrap();

    fs::write(result("predictions/1.parquet"), &parquet1[..parquet1.len() - 10]).unwrap();
    check("Starmap.IncompleteResult", &["- predictions/1.parquet: is ", " bytes with SHA-256 "]);
    fs::remove_file(result("predictions/1.parquet")).unwrap();
    fs::write(result("3.json"), &json1).unwrap();
    fs::remove_file(result("0.json")).unwrap();
    check(
        "Starmap.StaleResult",
        &[
            "3 problems",
            "- 3.json: there are 3 ranks, expected no such file",
            "- 0.json: is not there",
            "- predictions/1.parquet: is not there",
        ],
    );
    let item = &answer["body"][0];
    let elsewhere = json!({ "S3_BUCKET": "sky", "RESULT_PATH": "results/none" });
    check_refused(
        block_on(summarize(&sky.store, &elsewhere)),
        "Starmap.MissingResult",
        &["payload.json: is not there, expected it from Initialize"],
    );

    fs::remove_file(result("3.json")).unwrap();
    let worker = sky.worker();
    for item in [item, &answer["body"][1]] {
        block_on(worker.infer(item)).unwrap();
    }
    block_on(summarize(&sky.store, &answer)).unwrap();
}

#[test]
fn predictions_of_the_wrong_galaxies_do_not_pass() {
    let sky = Sky::new();
    let answer = sky.run_ranks(&sky.input(|_| ())).unwrap();
    // A file of another partition of the same run, with a result that vouches for it.
    let mut forged = sky.json(&format!("{RESULT}/1.json"));
    let rank2 = sky.json(&format!("{RESULT}/2.json"));
    forged["predictions"] = rank2["predictions"].clone();
    forged["predictions"]["rows"] = json!(3);
    fs::write(sky.path(&format!("{RESULT}/1.json")), forged.to_string()).unwrap();
    check_refused(block_on(summarize(&sky.store, &answer)), "Starmap.IncompleteResult", &["has 17 rows, expected 3"]);
}

#[test]
fn an_item_may_come_without_its_run() {
    let sky = Sky::new();
    let answer = block_on(initialize(&sky.store, &sky.input(|_| ()))).unwrap();
    let mut item = answer["body"][1].clone();
    item.as_object_mut().unwrap().remove("RUN_ID");
    let answer = block_on(sky.worker().infer(&item)).unwrap();
    assert_eq!((&answer["run_id"], &answer["rank"], &answer["galaxies"]), (&json!("run-1"), &json!(1), &json!(3)));
    item["RESULT_PATH"] = json!("results/none");
    check_refused(
        block_on(sky.worker().infer(&item)),
        "Starmap.InvalidInput",
        &["RUN_ID: missing, and s3://sky/results/none/payload.json does not say it either"],
    );
}

/// The real checkpoint and partitions, against PyTorch's predictions.
#[test]
fn the_reference_is_met() {
    let Some(reference) = reference() else { return };
    let root = tempfile::tempdir().unwrap();
    let link = |from: &str| {
        let to = root.path().join("cosmicai-data").join(from);
        fs::create_dir_all(&to).unwrap();
        for entry in fs::read_dir(reference.join("buckets/cosmicai-data").join(from)).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    };
    link("small");
    link("Anomaly Detection/Fine_Tune_Model");
    let store = Store::open(&StoreConfig::Folder(root.path().to_owned())).unwrap();
    let input = json!({
        "bucket": "cosmicai-data", "file_limit": 3, "batch_size": 256, "object_type": "folder",
        "S3_object_name": "Anomaly Detection", "script": "x", "result_path": "results/1",
        "data_bucket": "cosmicai-data", "data_prefix": "small",
    });
    let summary = block_on(async {
        let answer = initialize(&store, &input).await.unwrap();
        let worker = Worker::new(store.clone(), Identity::default());
        for item in answer["body"].as_array().unwrap() {
            worker.infer(item).await.unwrap();
        }
        summarize(&store, &answer).await.unwrap();
        finalize(&store, &Input::parse(&input).unwrap().results(), ExecutionTimes::default()).await.unwrap()
    });
    let expected: Value = serde_json::from_slice(&fs::read(reference.join("expected_pt.json")).unwrap()).unwrap();
    let results = root.path().join("cosmicai-data/results/1/predictions.parquet");
    let reader = Reader::new(fs::read(results).unwrap().into()).unwrap();
    let found = reader.group(0).unwrap().predictions;
    let expected_z = expected["redshift_f64"].as_array().unwrap();
    assert_eq!((found.len(), expected_z.len()), (300, 300));
    let differences = found
        .iter()
        .zip(expected_z)
        .map(|(found, expected)| (f64::from(found.z_phot.unwrap()) - expected.as_f64().unwrap()).abs());
    let most = differences.fold(0.0, f64::max);
    println!("largest difference from PyTorch in float64: {most:.2e}");
    assert!(most < 5e-6, "{most}");
    let figures = summary.quality.unwrap().all.figures;
    for (name, found) in [
        ("mae", figures.mae),
        ("mse", figures.mse),
        ("bias_mean", figures.bias_mean),
        ("nmad_148", figures.nmad_148),
        ("r2", figures.r2.unwrap()),
    ] {
        let expected = expected[name].as_f64().unwrap();
        assert!((found - expected).abs() < 1e-4, "{name}: {found}, PyTorch has {expected}");
    }
}
