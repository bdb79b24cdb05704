//! What S3 keeps of an object beside its bytes: type, metadata, MD5, checksum.
//!
//! The buckets are plain folders that pipelines and people write to without us, so this lies beside them: one small
//! file per object, which counts only as long as the store's own etag is the one that was written down. An object that
//! someone else has changed since has no attributes, rather than wrong ones. They are not synced: after a power cut
//! an object may have lost its type and metadata, never its bytes.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::Digest;

use super::checksum::{Checksum, hex};

/// See the [module](self).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes {
    /// The object's MD5, or what a multipart upload makes of its parts'.
    pub etag: String,
    /// As given, else `binary/octet-stream`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Headers that are kept as given: `content-encoding`, `cache-control`, …
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// `x-amz-meta-` headers, without that.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// What the client sent or asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<Checksum>,
    /// How many parts it was uploaded in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts: Option<usize>,
}

/// The file's content.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    key: String,
    /// The object that these belong to.
    store_etag: String,
    attributes: Attributes,
}

/// The folder of attributes; its operations block briefly.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    path: PathBuf,
}

impl Folder {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// The attributes of an object whose etag in the store is `store_etag`, if they are its own.
    pub(crate) fn read(&self, bucket: &str, key: &str, store_etag: &str) -> Option<Attributes> {
        let kept: Kept = serde_json::from_slice(&fs::read(self.file(bucket, key)).ok()?).ok()?;
        (kept.store_etag == store_etag && kept.key == key).then_some(kept.attributes)
    }

    /// Keeps them, replacing others whole.
    pub(crate) fn write(&self, bucket: &str, key: &str, store_etag: &str, attributes: &Attributes) -> io::Result<()> {
        let file = self.file(bucket, key);
        let kept = Kept { key: key.to_owned(), store_etag: store_etag.to_owned(), attributes: attributes.clone() };
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        let aside = file.with_extension(format!("{}.part", uuid::Uuid::new_v4().simple()));
        fs::write(&aside, serde_json::to_vec(&kept)?)?;
        fs::rename(aside, file)
    }

    /// Forgets them; what is not there is forgotten already.
    pub(crate) fn remove(&self, bucket: &str, key: &str) {
        // Attributes without their object do no harm.
        let _ = fs::remove_file(self.file(bucket, key));
    }

    /// Forgets those of a whole bucket.
    pub(crate) fn remove_bucket(&self, bucket: &str) {
        if is_plain(bucket) {
            let _ = fs::remove_dir_all(self.path.join(bucket));
        }
    }

    /// What a client has set of a bucket, as it came; `name` is a sub-resource.
    pub(crate) fn setting(&self, bucket: &str, name: &str) -> Option<Vec<u8>> {
        fs::read(self.setting_file(bucket, name)?).ok()
    }

    /// Keeps it, replacing another whole, or forgets it.
    pub(crate) fn set(&self, bucket: &str, name: &str, body: Option<&[u8]>) -> io::Result<()> {
        let Some(file) = self.setting_file(bucket, name) else { return Ok(()) };
        let Some(body) = body else {
            return match fs::remove_file(file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        };
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        let aside = file.with_extension(format!("{}.part", uuid::Uuid::new_v4().simple()));
        let mut written = fs::File::create(&aside)?;
        io::Write::write_all(&mut written, body)?;
        written.sync_all()?;
        fs::rename(aside, file)
    }

    fn setting_file(&self, bucket: &str, name: &str) -> Option<PathBuf> {
        (is_plain(bucket) && is_plain(name)).then(|| self.path.join(bucket).join(format!("bucket-{name}.xml")))
    }

    /// Keys are longer than file names may be, and have slashes.
    fn file(&self, bucket: &str, key: &str) -> PathBuf {
        let bucket = if is_plain(bucket) { bucket } else { "_" };
        let name = hex(&sha2::Sha256::digest(key.as_bytes()));
        self.path.join(bucket).join(&name[..2]).join(format!("{name}.json"))
    }
}

/// Whether a name is one folder and nothing else.
fn is_plain(name: &str) -> bool {
    Path::new(name).components().count() == 1 && !name.contains(['/', '\\']) && !name.starts_with('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_belong_to_one_state_of_an_object() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::new(place.path().join("attributes"));
        let attributes = Attributes { etag: "abc".to_owned(), ..Attributes::default() };
        let long = "k/".repeat(500);
        folder.write("sky", &long, "1", &attributes).unwrap();
        assert_eq!(folder.read("sky", &long, "1"), Some(attributes));
        assert_eq!(folder.read("sky", &long, "2"), None, "changed by someone else");
        assert_eq!(folder.setting("sky", "tagging"), None);
        folder.set("sky", "tagging", Some(b"<Tagging/>")).unwrap();
        assert_eq!(folder.setting("sky", "tagging").unwrap(), b"<Tagging/>");
        folder.set("..", "tagging", Some(b"nowhere")).unwrap();
        assert!(!place.path().join("bucket-tagging.xml").exists());
        for _ in 0..2 {
            folder.set("sky", "tagging", None).unwrap();
        }
        assert_eq!(folder.setting("sky", "tagging"), None);
        folder.remove_bucket("..");
        folder.remove_bucket("sky");
        assert_eq!(folder.read("sky", &long, "1"), None);
    }
}
