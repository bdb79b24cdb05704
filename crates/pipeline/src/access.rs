//! What each function asks of object storage for one input: for policies that allow just that.
//!
//! Beside the code that does it, because it changes with it: `initialize`, `infer` and `summarize` say in their own files
//! what they read and write, and a test of the command line runs them under these permissions and no others.

use crate::checkpoint;
use crate::payload::{Input, ObjectType};
use crate::results::names;

/// One kind of access to one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// For what, in words.
    pub purpose: &'static str,
    /// S3's actions, as in `s3:GetObject`.
    pub actions: Vec<&'static str>,
    /// The buckets, or buckets and keys, as in `bucket/prefix/*`.
    pub places: Vec<String>,
}

/// What the functions `initialize`, `infer` and `summarize` need, in this order.
pub fn of(input: &Input) -> [(&'static str, Vec<Access>); 3] {
    let Input { bucket, data_bucket, data_prefix, result_path, .. } = input;
    let object_name = &input.object_name;
    let model = match input.object_type {
        ObjectType::File => format!("{bucket}/{object_name}"),
        ObjectType::Folder => format!("{bucket}/{object_name}/{}/*", checkpoint::FOLDER),
    };
    let access = |purpose, actions: &[&'static str], places: Vec<String>| {
        let mut places = places;
        places.dedup();
        Access { purpose, actions: actions.to_vec(), places }
    };
    // Without it S3 says of an object that is not there that it may not be read.
    let listed = |places| access("ListBuckets", &["s3:ListBucket"], places);
    let read_model = || access("ReadModel", &["s3:GetObject"], vec![model.clone()]);
    let read_partitions =
        || access("ReadPartitions", &["s3:GetObject"], vec![format!("{data_bucket}/{data_prefix}/*")]);
    let results = format!("{bucket}/{result_path}/*");

    let mut initialize = vec![
        listed(vec![bucket.clone(), data_bucket.clone()]),
        read_model(),
        read_partitions(),
        access(
            "WritePayload",
            &["s3:GetObject", "s3:PutObject"],
            vec![format!("{bucket}/{result_path}/{}", names::PAYLOAD)],
        ),
    ];
    if input.overwrite {
        initialize.push(access("RemoveEarlierResults", &["s3:DeleteObject"], vec![results.clone()]));
    }
    let infer = vec![
        listed(vec![bucket.clone()]),
        read_model(),
        read_partitions(),
        access("WriteResults", &["s3:GetObject", "s3:PutObject"], vec![results.clone()]),
    ];
    let summarize = vec![
        listed(vec![bucket.clone()]),
        // Predictions are merged into an object of unknown size, in parts.
        access("WriteResults", &["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"], vec![results]),
    ];
    [("initialize", initialize), ("infer", infer), ("summarize", summarize)]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn buckets_and_prefixes_are_those_of_the_input() {
        let mut input = json!({
            "bucket": "models", "file_limit": 2, "batch_size": 8, "object_type": "folder",
            "S3_object_name": "Anomaly Detection", "script": "x", "result_path": "out/1", "data_bucket": "sky",
            "data_prefix": "25MB",
        });
        let places = |input: &serde_json::Value| -> Vec<String> {
            let input = Input::parse(input).unwrap();
            of(&input).into_iter().flat_map(|(_, all)| all).flat_map(|access| access.places).collect()
        };
        let found = places(&input);
        for expected in [
            "models",
            "sky",
            "models/Anomaly Detection/Fine_Tune_Model/*",
            "sky/25MB/*",
            "models/out/1/payload.json",
            "models/out/1/*",
        ] {
            assert!(found.iter().any(|place| place == expected), "{expected} is not among {found:?}");
        }
        let deletes = |input: &serde_json::Value| {
            let input = Input::parse(input).unwrap();
            let [(_, initialize), ..] = of(&input);
            initialize.iter().any(|access| access.actions.contains(&"s3:DeleteObject"))
        };
        assert!(!deletes(&input));
        input["overwrite"] = json!(true);
        assert!(deletes(&input));
    }
}
