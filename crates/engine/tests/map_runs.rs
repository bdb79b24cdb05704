//! Map runs that read their items and write their results, on buckets in memory.

use bytes::Bytes;
use serde_json::json;
use starmap_engine::core::MapRunUpdate;
use starmap_engine::journal::Status;
use starmap_engine::journal::memory::MemoryJournal;

use crate::buckets::{self, Bucket, engine, lines, machine, reader, run, start};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn items_are_read_selected_batched_and_their_results_written() {
    let bucket = Bucket::with(&[("rows.csv", "n,x\n0,a\n1,b\n2,c\n3,d\n4,e\n".to_owned())]);
    let engine = engine(&MemoryJournal::default(), &bucket, |batch| {
        let is_bad = batch["Items"].as_array().unwrap().iter().any(|item| item["n"] == "3");
        Some(if is_bad { Err("Bad") } else { Ok(batch.clone()) })
    });
    let definition = machine(json!({
        "ItemReader": reader("rows.csv", json!({ "InputType": "CSV", "CSVHeaderLocation": "FIRST_ROW" })),
        "ItemSelector": {
            "n.$": "$$.Map.Item.Value.n", "index.$": "$$.Map.Item.Index", "source.$": "$$.Map.Item.Source", "all.$": "$.all",
        },
        "ItemBatcher": { "MaxItemsPerBatch": 2, "BatchInput": { "who.$": "$.who" } },
        "ResultWriter": {
            "Resource": "arn:aws:states:::s3:putObject", "Parameters": { "Bucket": "b", "Prefix": "out/" },
        },
        "ToleratedFailureCount": 2, "MaxConcurrency": 1,
    }));
    let (ending, run) = run(&engine, &definition, json!({ "all": true, "who": "me" })).await;
    let id = run.arn.rsplit(':').next().unwrap();
    let manifest_key = format!("out/{id}/manifest.json");
    let output = json!({
        "MapRunArn": run.arn, "ResultWriterDetails": { "Bucket": "b", "Key": manifest_key },
    });
    assert_eq!((ending.status, ending.output), (Status::Succeeded, Some(output)), "{:?}", ending.cause);
    let manifest = bucket.json(&manifest_key);
    assert_eq!((&manifest["MapRunArn"], &manifest["DestinationBucket"]), (&json!(run.arn), &json!("b")));
    assert_eq!(manifest["ResultFiles"]["PENDING"], json!([]));
    let file = |kind: &str| {
        let listed = &manifest["ResultFiles"][kind][0];
        let key = listed["Key"].as_str().unwrap();
        assert_eq!(key, format!("out/{id}/{kind}_0.json"));
        assert_eq!(listed["Size"], bucket.0.lock().unwrap()[key].len());
        bucket.json(key)
    };
    let succeeded = file("SUCCEEDED");
    assert_eq!(succeeded.as_array().unwrap().len(), 2);
    let input = json!({
        "BatchInput": { "who": "me" },
        "Items": [
            { "n": "0", "index": 0, "source": "S3://b/rows.csv", "all": true },
            { "n": "1", "index": 1, "source": "S3://b/rows.csv", "all": true },
        ],
    });
    assert_eq!(succeeded[0]["Input"], input.to_string());
    assert_eq!(succeeded[0]["Output"], input.to_string());
    assert_eq!(succeeded[0]["StateMachineArn"], "arn:aws:states:us-east-1:000000000000:stateMachine:m/L");
    let failed = file("FAILED");
    assert_eq!((&failed[0]["Error"], &failed[0]["Status"]), (&json!("Bad"), &json!("FAILED")));
    let (items, children) = (run.details.counts.items, run.details.counts.children);
    assert_eq!((items.total(), items.succeeded, items.failed), (5, 3, 2));
    assert_eq!((children.total(), children.succeeded, children.failed), (3, 2, 1));
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_storage_refuses_fails_the_run_by_name() {
    // More than one block, in few items.
    let long = (0..40).map(|number| format!("{{\"n\":{number},\"x\":\"{}\"}}\n", "x".repeat(50_000))).collect();
    let bucket = Bucket::with(&[("broken.jsonl", long), ("list.json", "[1,2]".to_owned())]);
    let writer = |prefix: &str| json!({ "Resource": "arn:aws:states:::s3:putObject", "Parameters": { "Bucket": "b", "Prefix": prefix } });
    let cases = [
        (
            json!({ "ItemReader": reader("none", json!({ "InputType": "JSON" })) }),
            ("States.ItemReaderFailed", "The specified key does not exist."),
        ),
        (
            json!({ "ItemReader": reader("broken.jsonl", json!({ "InputType": "JSONL" })), "MaxConcurrency": 1 }),
            ("States.ItemReaderFailed", "s3://b/broken.jsonl: 503 Slow Down"),
        ),
        (
            json!({ "ItemReader": reader("list.json", json!({ "InputType": "JSON" })), "ResultWriter": writer("broken") }),
            ("States.ResultWriterFailed", "503 Slow Down"),
        ),
    ];
    for (fields, (error, cause)) in cases {
        let engine = engine(&MemoryJournal::default(), &bucket, |item| Some(Ok(item.clone())));
        let (ending, run) = run(&engine, &machine(fields), json!({})).await;
        assert_eq!((ending.status, run.status), (Status::Failed, Status::Failed));
        assert_eq!(ending.error.as_deref(), Some(error));
        assert!(ending.cause.as_deref().unwrap().contains(cause), "{:?}", ending.cause);
        engine.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_failures_end_the_run_and_what_was_not_started_is_written() {
    let bucket = Bucket::with(&[("items.json", "[0,1,2,3,4,5,6,7]".to_owned())]);
    let engine =
        engine(&MemoryJournal::default(), &bucket, |item| Some(if item == 2 { Err("Bad") } else { Ok(item.clone()) }));
    let definition = machine(json!({
        "ItemReader": reader("items.json", json!({ "InputType": "JSON" })), "MaxConcurrency": 1,
        "ResultWriter": { "Resource": "arn:aws:states:::s3:putObject", "Parameters": { "Bucket": "b" } },
    }));
    let (ending, run) = run(&engine, &definition, json!({})).await;
    assert_eq!(ending.error.as_deref(), Some("States.ExceedToleratedFailureThreshold"));
    let id = run.arn.rsplit(':').next().unwrap();
    let pending = bucket.json(&format!("{id}/PENDING_0.json"));
    let inputs: Vec<&str> = pending.as_array().unwrap().iter().map(|child| child["Input"].as_str().unwrap()).collect();
    assert_eq!(inputs, ["3", "4", "5", "6", "7"]);
    assert_eq!(bucket.keys().len(), 1 + 4, "{:?}", bucket.keys());
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_goes_on_after_a_crash_and_can_be_widened() {
    let bucket = Bucket::with(&[("items.jsonl", lines(2_500))]);
    let definition = machine(json!({
        "ItemReader": reader("items.jsonl", json!({ "InputType": "JSONL" })), "MaxConcurrency": 3,
        "ResultWriter": {
            "Resource": "arn:aws:states:::s3:putObject", "Parameters": { "Bucket": "b", "Prefix": "out" },
            "WriterConfig": { "Transformation": "COMPACT", "OutputType": "JSONL" },
        },
    }));
    let journal = MemoryJournal::default();
    // The first 1,200 are answered, then nobody answers any more.
    let first = engine(&journal, &bucket, |item| (item["n"].as_u64().unwrap() < 1_200).then(|| Ok(item.clone())));
    first.create_state_machine("m", &definition).await.unwrap();
    let started = first.start_execution(start(json!({}))).await.unwrap();
    let run = loop {
        let run = first.reader().map_runs(started.id).unwrap().remove(0);
        if run.details.counts.items.succeeded == 1_200 {
            break run;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!((run.details.counts.items.running, run.details.limits.max_concurrency), (3, 3));
    drop(first);

    let second = engine(&journal, &bucket, |item| Some(Ok(item.clone())));
    second.resume(&started.arn).await.unwrap();
    let update = MapRunUpdate { max_concurrency: Some(50), ..MapRunUpdate::default() };
    // It may be over already.
    let _ = second.update_map_run(&run.arn, update).await;
    let ending = second.wait(started.id).await.unwrap();
    assert_eq!(ending.status, Status::Succeeded, "{:?}", ending.cause);
    let id = run.arn.rsplit(':').next().unwrap();
    let written = bucket.0.lock().unwrap()[&format!("out/{id}/SUCCEEDED_0.jsonl")].clone();
    assert_eq!(written, lines(2_500), "MAP-1: every item once, in order");
    assert!(second.update_map_run("arn:none", update).await.is_err());
    second.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn items_of_an_object_that_changed_are_not_mixed() {
    let bucket = Bucket::with(&[("items.jsonl", lines(1_500))]);
    let definition = machine(json!({
        "ItemReader": reader("items.jsonl", json!({ "InputType": "JSONL" })), "MaxConcurrency": 2,
    }));
    let journal = MemoryJournal::default();
    let first = engine(&journal, &bucket, |_| None);
    first.create_state_machine("m", &definition).await.unwrap();
    let started = first.start_execution(start(json!({}))).await.unwrap();
    while first.reader().map_runs(started.id).unwrap().first().is_none_or(|run| run.details.counts.items.running < 2) {
        tokio::task::yield_now().await;
    }
    drop(first);
    bucket.0.lock().unwrap().insert("items.jsonl".to_owned(), Bytes::from(lines(1_501)));
    let second = engine(&journal, &bucket, |item| Some(Ok(item.clone())));
    second.resume(&started.arn).await.unwrap();
    let ending = second.wait(started.id).await.unwrap();
    assert_eq!(ending.error.as_deref(), Some("States.ItemReaderFailed"));
    assert!(ending.cause.as_deref().unwrap().contains("the object has changed since the map run began"));
    second.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_bucket_the_writer_only_shapes_the_output() {
    let bucket = Bucket::with(&[]);
    for (config, expected) in [
        (json!({ "Transformation": "FLATTEN" }), json!([1, 2, 3, { "a": 4 }])),
        (json!({ "Transformation": "COMPACT" }), json!([[1, 2], [3], { "a": 4 }])),
    ] {
        let engine = engine(&MemoryJournal::default(), &bucket, |item| Some(Ok(item.clone())));
        let definition = machine(json!({ "ResultWriter": { "WriterConfig": config } }));
        let (ending, _) = run(&engine, &definition, json!([[1, 2], [3], { "a": 4 }])).await;
        assert_eq!(ending.output, Some(expected));
        engine.shutdown().await;
    }
    let engine = engine(&MemoryJournal::default(), &bucket, |item| Some(Ok(item.clone())));
    let definition = machine(json!({ "ResultWriter": { "WriterConfig": { "Transformation": "NONE" } } }));
    let (ending, _) = run(&engine, &definition, json!([7])).await;
    let output = ending.output.unwrap();
    assert_eq!((&output[0]["Output"], &output[0]["Status"]), (&json!("7"), &json!("SUCCEEDED")));
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outputs_that_are_too_large_to_pass_on_fail_the_state() {
    let engine = engine(&MemoryJournal::default(), &Bucket::with(&[]), |_| Some(Ok(json!("x".repeat(100_000)))));
    let (ending, _) = run(&engine, &machine(json!({})), json!([1, 2, 3])).await;
    assert_eq!(ending.error.as_deref(), Some("States.DataLimitExceeded"));
    engine.shutdown().await;

    // Also where everything that is known of the children is gathered.
    let engine =
        buckets::engine(&MemoryJournal::default(), &Bucket::with(&[]), |_| Some(Ok(json!("x".repeat(100_000)))));
    let definition = machine(json!({ "ResultWriter": { "WriterConfig": { "Transformation": "NONE" } } }));
    let (ending, _) = run(&engine, &definition, json!([1, 2, 3])).await;
    assert_eq!(ending.error.as_deref(), Some("States.DataLimitExceeded"));
    engine.shutdown().await;
}
