//! The objects under a prefix, all pages of them.

use serde_json::{Value, json};
use starmap_asl::ReaderRequest;

use super::{Failed, Fetch, Stop, text};
use crate::objects::{ListRequest, ObjectInfo};

/// Objects asked for at once.
const PAGE_KEYS: usize = 1_000;

/// What a bucket holds under `Prefix`, after `StartAfter`, as ListObjectsV2 gives it.
pub(super) fn read(
    fetch: &dyn Fetch,
    request: &ReaderRequest,
    each: &mut dyn FnMut(ObjectInfo, &str) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let bucket = text(request, "Bucket")?;
    let optional = |field: &str| match request.arguments.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(_) => text(request, field).map(|text| Some(text.to_owned())),
    };
    let prefix = optional("Prefix")?.unwrap_or_default();
    let mut start_after: Option<String> = optional("StartAfter")?;
    loop {
        let list = ListRequest { prefix: prefix.clone(), start_after: start_after.take(), keys_max: PAGE_KEYS };
        let page = fetch.list(bucket, list).map_err(Failed::from)?;
        start_after = page.objects.last().map(|object| object.key.clone());
        for object in page.objects {
            each(object, bucket)?;
        }
        if !page.has_more {
            return Ok(());
        }
    }
}

/// An object as an item. AWS writes `Etag`, with the quotes that S3 puts around it, and the time in seconds.
pub(super) fn item(object: &ObjectInfo) -> Value {
    json!({
        "Etag": format!("\"{}\"", object.etag),
        "Key": object.key,
        "LastModified": object.modified_at.0.div_euclid(1000),
        "Size": object.bytes,
        "StorageClass": "STANDARD",
    })
}
