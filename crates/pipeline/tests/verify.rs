//! `verify` finds every single thing that is damaged, and nothing in a run that is whole.

use std::fs;

use serde_json::{Value, json};
use starmap_pipeline::payload::ResultPlace;
use starmap_pipeline::verify::{Verification, verify};

use crate::common::{MODEL, Sky, block_on};

const RESULT: &str = "results/a b/1";

fn verified(sky: &Sky) -> Verification {
    let place = ResultPlace { bucket: "sky".into(), path: RESULT.into(), run_id: Some("run-1".into()) };
    block_on(verify(&sky.store, &place)).unwrap()
}

/// Changes one thing in a whole run; what is wrong afterwards must begin so.
fn damaged(expected: &[&str], damage: impl FnOnce(&Sky)) {
    let sky = Sky::new();
    sky.run(&sky.input(|_| {})).unwrap();
    damage(&sky);
    let found: Vec<String> = verified(&sky).defects.into_iter().map(|defect| defect.problem).collect();
    assert_eq!(found.len(), expected.len(), "{found:#?}, expected {expected:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found:?}, expected {expected:?}");
    }
}

fn edit(sky: &Sky, name: &str, change: impl FnOnce(&mut Value)) {
    let key = format!("{RESULT}/{name}");
    let mut json = sky.json(&key);
    change(&mut json);
    fs::write(sky.path(&key), serde_json::to_vec_pretty(&json).unwrap()).unwrap();
}

fn flip(sky: &Sky, key: &str, at: usize) {
    let path = sky.path(key);
    let mut bytes = fs::read(&path).unwrap();
    bytes[at] ^= 1;
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, bytes).unwrap();
    // As a disk does it: nothing but the content says so.
    fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
}

#[test]
fn a_whole_run_has_no_defects_and_everything_was_read() {
    let sky = Sky::new();
    sky.run(&sky.input(|_| {})).unwrap();
    let found = verified(&sky);
    assert_eq!(found.defects, []);
    assert_eq!((found.ranks, found.partitions, found.galaxies), (3, 3, 60));
    assert_eq!(found.run_id.as_deref(), Some("run-1"));
    let inputs: u64 = ["1.pt", "2.pt", "10.pt"].iter().map(|name| size(&sky, &format!("data/small/{name}"))).sum();
    assert!(found.bytes > inputs + size(&sky, MODEL), "{} bytes", found.bytes);
}

fn size(sky: &Sky, key: &str) -> u64 {
    fs::metadata(sky.path(key)).unwrap().len()
}

#[test]
fn what_is_gone_is_missing() {
    let gone = |name: &'static str| move |sky: &Sky| fs::remove_file(sky.path(&format!("{RESULT}/{name}"))).unwrap();
    damaged(&["payload.json: is not there"], gone("payload.json"));
    damaged(&["1.json: is not there", "combined_data.json: is not"], gone("1.json"));
    damaged(&["predictions/2.parquet: is not there"], gone("predictions/2.parquet"));
    damaged(&["predictions.parquet: is not there"], gone("predictions.parquet"));
    damaged(&["combined_data.json: is not there"], gone("combined_data.json"));
    damaged(&["summary.json: is not there"], gone("summary.json"));
    damaged(&["plots.json: is not there"], gone("plots.json"));
    damaged(&["report.html: is not there"], gone("report.html"));
    damaged(&["s3://sky/data/small/2.pt: is not there any more"], |sky| {
        fs::remove_file(sky.path("data/small/2.pt")).unwrap();
    });
    damaged(&["s3://sky/Anomaly Detection/"], |sky| fs::remove_file(sky.path(MODEL)).unwrap());
}

#[test]
fn a_single_flipped_bit_is_found_wherever_it_is() {
    let sky = Sky::new();
    let partition_bytes = size(&sky, "data/small/1.pt") as usize;
    damaged(&["predictions/0.parquet: is "], |sky| flip(sky, &format!("{RESULT}/predictions/0.parquet"), 40));
    damaged(&["predictions.parquet: is "], |sky| flip(sky, &format!("{RESULT}/predictions.parquet"), 40));
    damaged(&["s3://sky/Anomaly Detection/"], |sky| flip(sky, MODEL, size(sky, MODEL) as usize - 9));
    damaged(&["s3://sky/data/small/1.pt"], |sky| flip(sky, "data/small/1.pt", partition_bytes / 2));
}

#[test]
fn counts_that_do_not_add_up_are_named() {
    damaged(&["1.json: says 2 rows", "combined_data.json: is not"], |sky| {
        edit(sky, "1.json", |json| json["rows"] = json!(2));
    });
    damaged(&["summary.json: counts 59 galaxies, expected 60"], |sky| {
        edit(sky, "summary.json", |json| json["galaxies"] = json!(59));
    });
    damaged(&["predictions.parquet: is "], |sky| {
        edit(sky, "summary.json", |json| json["predictions"]["bytes"] = json!(1));
    });
}

#[test]
fn doubled_and_forgotten_partitions_are_named() {
    damaged(
        &[
            "payload.json: data/small/1.pt is given to ranks 0 and 1",
            "payload.json: data/small/2.pt is in the plan, and is given to no rank",
            "1.json: read",
        ],
        |sky| edit(sky, "payload.json", |json| json["data_map"]["1"] = json!("data/small/1.pt")),
    );
}

#[test]
fn what_is_of_another_run_or_not_finished_is_stale() {
    damaged(&["0.json: is of run run-0", "combined_data.json: is not"], |sky| {
        edit(sky, "0.json", |json| json["run_id"] = json!("run-0"));
    });
    damaged(&["summary.json: is of run run-0"], |sky| {
        edit(sky, "summary.json", |json| json["run_id"] = json!("run-0"));
    });
    damaged(&["3.json: there are 3 ranks"], |sky| {
        fs::copy(sky.path(&format!("{RESULT}/2.json")), sky.path(&format!("{RESULT}/3.json"))).unwrap();
    });
    damaged(&["predictions/3.parquet: no rank of this run writes it"], |sky| {
        fs::write(sky.path(&format!("{RESULT}/predictions/3.parquet")), "x").unwrap();
    });
    damaged(&["predictions/.starmap-part-7: was not written to its end"], |sky| {
        fs::write(sky.path(&format!("{RESULT}/predictions/.starmap-part-7")), "x").unwrap();
    });
    damaged(&["s3://sky/data/small/2.pt: has changed since rank 1 read it"], |sky| {
        let path = sky.path("data/small/2.pt");
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, bytes).unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    });
}

#[test]
fn a_merged_file_with_other_rows_is_found_even_if_the_summary_agrees_with_it() {
    damaged(&["predictions.parquet: galaxy data/small/1.pt#0 is not what its rank predicted"], |sky| {
        let other = Sky::new();
        other.run(&other.input(|input| input["run_id"] = json!("run-2"))).unwrap();
        let key = format!("{RESULT}/predictions.parquet");
        fs::copy(other.path(&key), sky.path(&key)).unwrap();
        let theirs = other.json(&format!("{RESULT}/summary.json"))["predictions"].clone();
        edit(sky, "summary.json", |json| json["predictions"] = theirs);
    });
}
