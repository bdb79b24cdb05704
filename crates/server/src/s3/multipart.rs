//! Uploads in parts: each part a file aside, one object at the end.

use std::fs;
use std::io;
use std::path::PathBuf;

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use starmap_asl::Timestamp;

use super::attributes::Attributes;
use super::buckets::{Buckets, Object, blocking};
use super::checksum::{Algorithm, Kind, etag_of_parts, md5_hex};
use super::error::Error;

/// S3's largest number of a part.
const PART_MAX: u32 = 10_000;
/// S3's smallest part, but for the last one.
const PART_BYTES_MIN: u64 = 5 << 20;

/// The folder of uploads.
#[derive(Debug, Clone)]
pub(crate) struct Uploads {
    path: PathBuf,
}

/// An upload that was begun.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Upload {
    pub(crate) bucket: String,
    pub(crate) key: String,
    pub(crate) begun_at_ms: i64,
    pub(crate) attributes: Attributes,
    pub(crate) algorithm: Option<Algorithm>,
    pub(crate) kind: Option<Kind>,
}

/// A part that is there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) number: u32,
    pub(crate) etag: String,
    pub(crate) bytes: u64,
    pub(crate) checksum: Option<String>,
    pub(crate) written_at_ms: i64,
}

impl Uploads {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    fn folder(&self, id: &str) -> Option<PathBuf> {
        let is_ours = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_ours.then(|| self.path.join(id))
    }

    fn begin(&self, upload: &Upload) -> io::Result<String> {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let folder = self.path.join(&id);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("upload.json"), serde_json::to_vec(upload)?)?;
        Ok(id)
    }

    fn read(&self, id: &str) -> Option<Upload> {
        serde_json::from_slice(&fs::read(self.folder(id)?.join("upload.json")).ok()?).ok()
    }

    fn write_part(&self, id: &str, part: &Part, content: &[u8]) -> io::Result<()> {
        let folder = self.folder(id).ok_or(io::ErrorKind::NotFound)?;
        let name = format!("{:05}", part.number);
        let aside = folder.join(format!("{name}.{}.aside", uuid::Uuid::new_v4().simple()));
        fs::write(&aside, content)?;
        fs::rename(aside, folder.join(format!("{name}.{}.bytes", part.etag)))?;
        let aside = folder.join(format!("{name}.{}.aside", uuid::Uuid::new_v4().simple()));
        fs::write(&aside, serde_json::to_vec(part)?)?;
        fs::rename(aside, folder.join(format!("{name}.json")))
    }

    /// Parts by number.
    fn parts(&self, id: &str) -> io::Result<Vec<Part>> {
        let folder = self.folder(id).ok_or(io::ErrorKind::NotFound)?;
        let mut parts = Vec::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let is_part =
                path.extension().is_some_and(|extension| extension == "json") && !path.ends_with("upload.json");
            if is_part {
                parts.push(serde_json::from_slice::<Part>(&fs::read(path)?)?);
            }
        }
        parts.sort_by_key(|part| part.number);
        Ok(parts)
    }

    fn content(&self, id: &str, parts: &[Part]) -> io::Result<Bytes> {
        let folder = self.folder(id).ok_or(io::ErrorKind::NotFound)?;
        let bytes = parts.iter().map(|part| part.bytes).sum::<u64>();
        let mut content = BytesMut::with_capacity(usize::try_from(bytes).unwrap_or(0));
        for part in parts {
            content.extend_from_slice(&fs::read(folder.join(format!("{:05}.{}.bytes", part.number, part.etag)))?);
        }
        Ok(content.freeze())
    }

    fn remove(&self, id: &str) {
        if let Some(folder) = self.folder(id) {
            let _ = fs::remove_dir_all(folder);
        }
    }

    /// Uploads under way into a bucket, by key.
    fn list(&self, bucket: &str) -> Vec<(String, Upload)> {
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        let ids = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut uploads: Vec<_> = ids.filter_map(|id| self.read(&id).map(|upload| (id, upload))).collect();
        uploads.retain(|(_, upload)| upload.bucket == bucket);
        uploads.sort_by(|(a_id, a), (b_id, b)| (&a.key, a_id).cmp(&(&b.key, b_id)));
        uploads
    }
}

/// A part as the client names it at the end.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Named {
    pub(crate) number: u32,
    pub(crate) etag: String,
}

impl Buckets {
    pub(crate) async fn begin_upload(
        &self,
        bucket: &str,
        key: &str,
        attributes: Attributes,
        algorithm: Option<Algorithm>,
        kind: Option<Kind>,
    ) -> Result<String, Error> {
        self.head_bucket(bucket).await?;
        let begun_at_ms = (self.clock)().0;
        let upload =
            Upload { bucket: bucket.to_owned(), key: key.to_owned(), begun_at_ms, attributes, algorithm, kind };
        let uploads = self.uploads.clone();
        let begun = blocking(move || uploads.begin(&upload)).await?;
        begun.map_err(|error| Error::internal("beginning an upload", &error))
    }

    pub(crate) async fn upload(&self, bucket: &str, key: &str, id: &str) -> Result<Upload, Error> {
        let (uploads, own_id) = (self.uploads.clone(), id.to_owned());
        let upload = blocking(move || uploads.read(&own_id)).await?;
        upload.filter(|upload| upload.bucket == bucket && upload.key == key).ok_or_else(|| Error::no_such_upload(id))
    }

    pub(crate) async fn put_part(
        &self,
        bucket: &str,
        key: &str,
        id: &str,
        number: u32,
        content: Bytes,
        expected: Option<(Algorithm, String)>,
    ) -> Result<(Part, Option<Algorithm>), Error> {
        let upload = self.upload(bucket, key, id).await?;
        if !(1..=PART_MAX).contains(&number) {
            let message = format!("Part number must be an integer between 1 and {PART_MAX}, inclusive");
            return Err(Error::invalid_argument("partNumber", &number.to_string(), message));
        }
        let algorithm = expected.as_ref().map(|(algorithm, _)| *algorithm).or(upload.algorithm);
        let (uploads, id, written_at_ms) = (self.uploads.clone(), id.to_owned(), (self.clock)().0);
        let part = blocking(move || {
            let checksum = algorithm.map(|algorithm| algorithm.of(&content));
            if let Some((algorithm, expected)) = expected
                && checksum.as_ref() != Some(&expected)
            {
                let name = algorithm.name();
                let message = format!("The {name} you specified did not match the calculated checksum.");
                return Err(Error::new("BadDigest", 400, message));
            }
            let (etag, bytes) = (md5_hex(&content), content.len() as u64);
            let part = Part { number, etag, bytes, checksum, written_at_ms };
            let written = uploads.write_part(&id, &part, &content);
            written.map_err(|error| Error::internal("writing a part", &error))?;
            Ok(part)
        });
        Ok((part.await??, algorithm))
    }

    pub(crate) async fn list_parts(&self, bucket: &str, key: &str, id: &str) -> Result<Vec<Part>, Error> {
        self.upload(bucket, key, id).await?;
        let (uploads, id) = (self.uploads.clone(), id.to_owned());
        blocking(move || uploads.parts(&id)).await?.map_err(|error| Error::internal("listing parts", &error))
    }

    pub(crate) async fn list_uploads(&self, bucket: &str) -> Result<Vec<(String, Upload)>, Error> {
        self.head_bucket(bucket).await?;
        let (uploads, bucket) = (self.uploads.clone(), bucket.to_owned());
        blocking(move || uploads.list(&bucket)).await
    }

    pub(crate) async fn complete_upload(
        &self,
        bucket: &str,
        key: &str,
        id: &str,
        named: Vec<Named>,
        is_new: bool,
    ) -> Result<Object, Error> {
        let upload = self.upload(bucket, key, id).await?;
        let there = self.list_parts(bucket, key, id).await?;
        let parts = chosen(&there, &named)?;
        let algorithm = upload.algorithm;
        let kind = upload.kind.or_else(|| algorithm.map(Algorithm::default_kind)).unwrap_or(Kind::FullObject);
        let (uploads, own_id) = (self.uploads.clone(), id.to_owned());
        let (content, checksum, etag, count) = blocking(move || {
            let content = uploads.content(&own_id, &parts).map_err(|error| Error::internal("joining parts", &error))?;
            let checksums: Vec<String> = parts.iter().filter_map(|part| part.checksum.clone()).collect();
            let algorithm = algorithm.unwrap_or(Algorithm::Crc64Nvme);
            let checksum = algorithm.of_parts(kind, &checksums, &content);
            let etags: Vec<String> = parts.iter().map(|part| part.etag.clone()).collect();
            Ok::<_, Error>((content, checksum, etag_of_parts(&etags), parts.len()))
        })
        .await??;
        let attributes = Attributes { etag, checksum: Some(checksum), parts: Some(count), ..upload.attributes };
        let object = self.write(bucket, key, content, attributes, is_new, None).await?;
        self.uploads.remove(id);
        Ok(object)
    }

    pub(crate) async fn abort_upload(&self, bucket: &str, key: &str, id: &str) -> Result<(), Error> {
        self.upload(bucket, key, id).await?;
        self.uploads.remove(id);
        Ok(())
    }
}

/// The parts that the client names, checked.
fn chosen(there: &[Part], named: &[Named]) -> Result<Vec<Part>, Error> {
    if named.is_empty() {
        return Err(Error::malformed_xml());
    }
    if !named.is_sorted_by(|a, b| a.number < b.number) {
        let message = "The list of parts was not in ascending order. Parts must be ordered by part number.";
        return Err(Error::new("InvalidPartOrder", 400, message));
    }
    let find = |named: &Named| {
        let part = there.iter().find(|part| part.number == named.number && part.etag == named.etag.trim_matches('"'));
        part.cloned().ok_or_else(|| {
            let message = "One or more of the specified parts could not be found.  The part may not have been \
                           uploaded, or the specified entity tag may not match the part's entity tag.";
            Error::new("InvalidPart", 400, message).with("PartNumber", named.number.to_string())
        })
    };
    let parts: Vec<Part> = named.iter().map(find).collect::<Result<_, _>>()?;
    let all_but_last = &parts[..parts.len() - 1];
    if let Some(small) = all_but_last.iter().find(|part| part.bytes < PART_BYTES_MIN) {
        let message = "Your proposed upload is smaller than the minimum allowed size";
        let error = Error::new("EntityTooSmall", 400, message);
        return Err(error
            .with("ProposedSize", small.bytes.to_string())
            .with("MinSizeAllowed", PART_BYTES_MIN.to_string())
            .with("PartNumber", small.number.to_string()));
    }
    Ok(parts)
}

impl Upload {
    pub(crate) fn begun_at(&self) -> Timestamp {
        Timestamp(self.begun_at_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(number: u32, bytes: u64) -> Part {
        Part { number, etag: format!("e{number}"), bytes, checksum: None, written_at_ms: 0 }
    }

    fn named(number: u32) -> Named {
        Named { number, etag: format!("\"e{number}\"") }
    }

    #[test]
    fn parts_are_chosen_as_s3_does() {
        let there = [part(1, PART_BYTES_MIN), part(2, 3), part(4, 1)];
        let code = |named: &[Named]| chosen(&there, named).unwrap_err().code;
        assert_eq!(chosen(&there, &[named(1), named(4)]).unwrap(), [there[0].clone(), there[2].clone()]);
        assert_eq!(code(&[]), "MalformedXML");
        assert_eq!(code(&[named(2), named(1)]), "InvalidPartOrder");
        assert_eq!(code(&[named(3)]), "InvalidPart");
        assert_eq!(code(&[Named { number: 1, etag: "other".to_owned() }]), "InvalidPart");
        assert_eq!(code(&[named(1), named(2), named(4)]), "EntityTooSmall");
    }
}
