//! Manifests: a small file that names the files with the items.
//!
//! An S3 inventory's `manifest.json` names CSV files (usually packed) whose columns it lists in `fileSchema`.
//! An Athena manifest is a CSV file with the `s3://` URL of one data file per line.
//!
//! # Source
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/storage-inventory-location.html>, read 2026-11.

use std::io::Read;

use serde_json::Value;
use starmap_asl::{CsvConfig, CsvHeaders, ManifestType, ReaderRequest};

use super::{Content, Emit, Failed, Fetch, Open, Stop, csv, object_items, unreadable};
use crate::limits::MANIFEST_BYTES_MAX;
use crate::objects::ObjectInfo;

pub(super) fn read(
    fetch: &dyn Fetch,
    request: &ReaderRequest,
    bucket: &str,
    manifest: &ObjectInfo,
    emit: &mut Emit<'_>,
) -> Result<(), Stop> {
    if manifest.bytes > MANIFEST_BYTES_MAX {
        let cause = format!("The manifest has {} bytes, expected at most {MANIFEST_BYTES_MAX}", manifest.bytes);
        return Err(Failed::new(cause).into());
    }
    let mut bytes = Vec::new();
    Content::open(fetch, bucket, manifest)
        .take(MANIFEST_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(|error| unreadable(&error, || format!("The manifest could not be read: {error}")))?;
    match request.manifest_type {
        ManifestType::S3Inventory => inventory(fetch, bucket, &bytes, emit),
        ManifestType::AthenaData => {
            let text = String::from_utf8_lossy(&bytes);
            for url in text.lines().map(|line| line.trim().trim_matches('"')).filter(|line| !line.is_empty()) {
                let place = url.strip_prefix("s3://").and_then(|place| place.split_once('/'));
                let (bucket, key) =
                    place.ok_or_else(|| Failed::new(format!("The manifest names {url}, expected s3://bucket/key")))?;
                let object = fetch.head(bucket, key).map_err(Failed::from)?;
                let mut of_data = request.clone();
                of_data.input_type = request.manifest_input_type;
                object_items(fetch, &of_data, bucket, &object, emit)?;
            }
            Ok(())
        }
    }
}

fn inventory(fetch: &dyn Fetch, bucket: &str, manifest: &[u8], emit: &mut Emit<'_>) -> Result<(), Stop> {
    let manifest: Value =
        serde_json::from_slice(manifest).map_err(|error| Failed::new(format!("The manifest is not JSON: {error}")))?;
    let missing = |what: &str| Failed::new(format!("The manifest of the inventory has no {what}"));
    let format = manifest["fileFormat"].as_str().ok_or_else(|| missing("fileFormat"))?;
    if format != "CSV" {
        return Err(Failed::new(format!("The inventory's fileFormat is {format}, expected CSV")).into());
    }
    let schema = manifest["fileSchema"].as_str().ok_or_else(|| missing("fileSchema"))?;
    let headers = schema.split(',').map(|name| name.trim().to_owned()).collect();
    let config = CsvConfig { headers: CsvHeaders::Given(headers), delimiter: b',' };
    // An ARN in real manifests; the files are beside the manifest's own bucket otherwise.
    let destination = manifest["destinationBucket"].as_str().map(|arn| arn.rsplit(':').next().unwrap_or(arn));
    let bucket = destination.filter(|name| !name.is_empty()).unwrap_or(bucket);
    for file in manifest["files"].as_array().ok_or_else(|| missing("files"))? {
        let key = file["key"].as_str().ok_or_else(|| missing("key of a file"))?;
        let object = fetch.head(bucket, key).map_err(Failed::from)?;
        csv::read(Content::open(fetch, bucket, &object), &config, emit)?;
    }
    Ok(())
}
