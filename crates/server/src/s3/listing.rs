//! Pages of a bucket as S3 lists it: prefix, delimiter, and how to go on.

use starmap_engine::objects::{ListRequest, ObjectInfo, Objects};

use super::error::Error;

/// S3's largest page.
pub(crate) const KEYS_MAX: usize = 1000;
/// Sorts after every key that begins with what stands before it.
const LAST: char = char::MAX;

/// What to list.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Only keys that begin so.
    pub prefix: String,
    /// What ends a common prefix; empty for none.
    pub delimiter: String,
    /// Only what comes after.
    pub start_after: String,
    /// Keys and common prefixes in the answer, at most.
    pub keys_max: usize,
}

/// One page.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    /// Objects.
    pub objects: Vec<ObjectInfo>,
    /// Beginnings that many keys share, up to and with the delimiter.
    pub common_prefixes: Vec<String>,
    /// Where the next page begins, if there is one: its `start_after`.
    pub next: Option<String>,
}

/// Lists one page.
///
/// # Errors
/// As the store has them.
pub(crate) async fn list(objects: &dyn Objects, bucket: &str, query: &Query) -> Result<Page, Error> {
    let mut page = Page::default();
    let mut start_after = query.start_after.clone();
    // A page that ended with a common prefix goes on behind everything that begins with it.
    if !query.delimiter.is_empty() && start_after.ends_with(&query.delimiter) && start_after.starts_with(&query.prefix)
    {
        start_after.push(LAST);
    }
    loop {
        let request = ListRequest {
            prefix: query.prefix.clone(),
            start_after: (!start_after.is_empty()).then(|| start_after.clone()),
            keys_max: KEYS_MAX,
        };
        let listed = objects.list(bucket, request).await?;
        let has_more = listed.has_more && !listed.objects.is_empty();
        for object in listed.objects {
            start_after.clone_from(&object.key);
            let common = common_prefix(&object.key, query);
            if common.is_some() && common == page.common_prefixes.last().map(String::as_str) {
                continue;
            }
            if page.objects.len() + page.common_prefixes.len() >= query.keys_max {
                page.next = last(&page);
                return Ok(page);
            }
            match common {
                Some(common) => page.common_prefixes.push(common.to_owned()),
                None => page.objects.push(object),
            }
        }
        if !has_more {
            return Ok(page);
        }
        // The rest of what the last common prefix stands for need not be read.
        if let Some(common) = page.common_prefixes.last().filter(|common| start_after.starts_with(*common)) {
            start_after = format!("{common}{LAST}");
        }
    }
}

fn common_prefix<'a>(key: &'a str, query: &Query) -> Option<&'a str> {
    if query.delimiter.is_empty() {
        return None;
    }
    let rest = key.get(query.prefix.len()..)?;
    let end = rest.find(&query.delimiter)?;
    Some(&key[..query.prefix.len() + end + query.delimiter.len()])
}

/// The last thing on a page.
fn last(page: &Page) -> Option<String> {
    let object = page.objects.last().map(|object| object.key.as_str());
    object.max(page.common_prefixes.last().map(String::as_str)).map(str::to_owned)
}
