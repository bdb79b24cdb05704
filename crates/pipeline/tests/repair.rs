//! A partition that was mended is read anew, and one that changes without being asked for is still refused.

use std::fs;

use starmap_pipeline::initialize::initialize;
use starmap_pipeline::payload::ResultPlace;
use starmap_pipeline::repair::repair;
use starmap_pipeline::summarize::summarize;
use starmap_pipeline::verify::verify;

use crate::common::{Galaxies, Sky, block_on};

fn place() -> ResultPlace {
    ResultPlace { bucket: "sky".into(), path: "results/a b/1".into(), run_id: Some("run-1".into()) }
}

/// Ranks 0 and 2 are done; rank 1 is not, and its partition is another one now.
fn half_done() -> (Sky, serde_json::Value) {
    let sky = Sky::new();
    let answer = block_on(async {
        let answer = initialize(&sky.store, &sky.input(|_| {})).await.unwrap();
        let worker = sky.worker();
        for rank in [0, 2] {
            worker.infer(&answer["body"][rank]).await.unwrap();
        }
        answer
    });
    Galaxies::new(40, 5).write(&sky.path("data/small/2.pt"));
    (sky, answer)
}

#[test]
fn what_was_mended_is_read_anew_and_only_that() {
    let (sky, answer) = half_done();
    block_on(async {
        let repaired = repair(&sky.store, &place()).await.unwrap();
        assert_eq!(repaired.len(), 1);
        assert_eq!((repaired[0].key.as_str(), repaired[0].rows_before, repaired[0].rows), ("data/small/2.pt", 3, 5));
        assert_eq!(repair(&sky.store, &place()).await.unwrap(), [], "a second time there is nothing to do");
        sky.worker().infer(&answer["body"][1]).await.unwrap();
        let done = summarize(&sky.store, &answer).await.unwrap();
        assert_eq!(done["galaxies"], 40 + 5 + 17);
        assert_eq!(verify(&sky.store, &place()).await.unwrap().defects, []);
    });
    let manifest = sky.json("results/a b/1/payload.json");
    assert_eq!(manifest["starmap"]["repaired"][0]["key"], "data/small/2.pt");
}

#[test]
fn without_being_asked_a_changed_partition_is_refused() {
    let (sky, answer) = half_done();
    block_on(async {
        sky.worker().infer(&answer["body"][1]).await.unwrap();
        let error = summarize(&sky.store, &answer).await.unwrap_err();
        assert_eq!(error.error_name(), "Starmap.StaleResult");
        assert!(error.to_string().contains("data/small/2.pt changed during the run"), "{error}");
    });
}

#[test]
fn a_partition_of_a_finished_rank_is_not_touched() {
    let (sky, _) = half_done();
    Galaxies::new(0, 40).write(&sky.path("data/small/1.pt"));
    let file = fs::File::options().write(true).open(sky.path("data/small/1.pt")).unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    let repaired = block_on(repair(&sky.store, &place())).unwrap();
    assert_eq!(repaired.iter().map(|it| it.key.as_str()).collect::<Vec<_>>(), ["data/small/2.pt"]);
}

#[test]
fn what_is_still_broken_is_named_and_nothing_changes() {
    let (sky, _) = half_done();
    fs::write(sky.path("data/small/2.pt"), "not a partition").unwrap();
    let before = sky.json("results/a b/1/payload.json");
    let error = block_on(repair(&sky.store, &place())).unwrap_err();
    assert_eq!(error.error_name(), "Starmap.PartitionInvalid");
    assert!(error.to_string().contains("data/small/2.pt"), "{error}");
    assert_eq!(sky.json("results/a b/1/payload.json"), before);
}
