//! Buckets as folders: `{root}/{bucket}/{key}`, keys as they are.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::UNIX_EPOCH;

use bytes::Bytes;

use super::source::Source;
use super::upload::Upload;
use super::{If, KeyPage, Listing, Object, url};
use crate::error::Error;

/// Beginning of the name of a file that is still being written; never listed.
const PART_PREFIX: &str = ".starmap-part-";

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
}

impl Folder {
    pub(super) fn open(root: &Path) -> Result<Self, Error> {
        let root = root.canonicalize().map_err(|error| Error::Storage {
            doing: "opening the folder of buckets",
            location: root.display().to_string(),
            reason: error.to_string(),
        })?;
        Ok(Self { root })
    }

    /// Where a key is, were it there.
    pub(super) fn path(&self, bucket: &str, key: &str) -> PathBuf {
        self.root.join(bucket).join(key)
    }

    pub(super) fn check_bucket(&self, bucket: &str) -> Result<(), Error> {
        self.bucket(bucket).map(drop)
    }

    pub(super) fn list(&self, bucket: &str, prefix: &str) -> Result<Listing, Error> {
        let location = format!("{}/", url(bucket, prefix));
        let Some(folder) = self.existing(bucket, prefix)? else { return Ok(Listing::default()) };
        let failed = |error: &io::Error| storage("listing", &location, error);
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            // A file where a folder is asked for: as on S3, there is nothing under it.
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Ok(Listing::default()),
            Err(error) => return Err(failed(&error)),
        };
        let mut listing = Listing::default();
        for entry in entries {
            let entry = entry.map_err(|error| failed(&error))?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                tracing::warn!(location, ?name, "a file whose name is not UTF-8 is passed over");
                continue;
            };
            if name.starts_with(PART_PREFIX) {
                continue;
            }
            let key = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
            match fs::metadata(entry.path()) {
                Ok(metadata) if metadata.is_dir() => listing.folders.push(key),
                Ok(metadata) => listing.objects.push(object(key, &metadata)),
                // Deleted since the folder was read, or a link to nowhere.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(&error)),
            }
        }
        Ok(listing)
    }

    pub(super) fn list_keys(
        &self,
        bucket: &str,
        prefix: &str,
        start_after: &str,
        keys_max: usize,
    ) -> Result<KeyPage, Error> {
        let root = self.bucket(bucket)?;
        let mut walk = Walk { location: url(bucket, prefix), prefix, start_after, keys_max, page: KeyPage::default() };
        walk.folder(&root, "")?;
        Ok(walk.page)
    }

    pub(super) fn get_range(&self, bucket: &str, key: &str, range: Range<u64>) -> Result<Option<Bytes>, Error> {
        let Some(path) = self.existing(bucket, key)? else { return Ok(None) };
        if path.is_dir() {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|mut file| {
            file.seek(SeekFrom::Start(range.start))?;
            file.take(range.end.saturating_sub(range.start)).read_to_end(&mut bytes)
        });
        read.map_err(|error| storage("reading", &url(bucket, key), &error))?;
        Ok(Some(bytes.into()))
    }

    pub(super) fn get_range_if(&self, bucket: &str, key: &str, etag: &str, range: Range<u64>) -> Result<If, Error> {
        let Some(path) = self.existing(bucket, key)? else { return Ok(If::Absent) };
        if path.is_dir() {
            return Ok(If::Absent);
        }
        let read = File::open(path).and_then(|mut file| {
            // Of the file that is open: a write puts another one in its place.
            if object(key.to_owned(), &file.metadata()?).etag != etag {
                return Ok(If::Another);
            }
            let mut bytes = Vec::new();
            file.seek(SeekFrom::Start(range.start))?;
            file.take(range.end.saturating_sub(range.start)).read_to_end(&mut bytes)?;
            Ok(If::Same(bytes.into()))
        });
        read.map_err(|error| storage("reading", &url(bucket, key), &error))
    }

    pub(super) fn buckets_with_times(&self) -> Result<Vec<(String, i64)>, Error> {
        let made = |name: String| {
            let metadata = fs::metadata(self.root.join(&name)).ok()?;
            Some((name, modified_at_ms(&metadata)))
        };
        Ok(self.buckets().into_iter().filter_map(made).collect())
    }

    pub(super) fn create_bucket(&self, bucket: &str) -> Result<bool, Error> {
        let is_name = matches!(Path::new(bucket).components().collect::<Vec<_>>()[..], [Component::Normal(_)]);
        if !is_name {
            let reason = format!("{bucket:?} can't be the name of a bucket, expected one plain name");
            return Err(Error::Storage { doing: "creating a bucket", location: url(bucket, ""), reason });
        }
        match fs::create_dir(self.root.join(bucket)) {
            Ok(()) => {
                sync_folder(&self.root).map_err(|error| storage("creating a bucket", &url(bucket, ""), &error))?;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(storage("creating a bucket", &url(bucket, ""), &error)),
        }
    }

    pub(super) fn delete_bucket(&self, bucket: &str) -> Result<bool, Error> {
        let path = self.bucket(bucket)?;
        if !self.list_keys(bucket, "", "", 1)?.objects.is_empty() {
            return Ok(false);
        }
        // What is left are folders of keys that are gone.
        fs::remove_dir_all(path).map_err(|error| storage("deleting a bucket", &url(bucket, ""), &error))?;
        Ok(true)
    }

    pub(super) fn head(&self, bucket: &str, key: &str) -> Result<Option<Object>, Error> {
        let Some(path) = self.existing(bucket, key)? else { return Ok(None) };
        let metadata = fs::metadata(path).map_err(|error| storage("reading", &url(bucket, key), &error))?;
        Ok(metadata.is_file().then(|| object(key.to_owned(), &metadata)))
    }

    pub(super) fn get(&self, bucket: &str, key: &str) -> Result<Option<Bytes>, Error> {
        let Some(path) = self.existing(bucket, key)? else { return Ok(None) };
        if path.is_dir() {
            return Ok(None);
        }
        let bytes = fs::read(path).map_err(|error| storage("reading", &url(bucket, key), &error))?;
        Ok(Some(bytes.into()))
    }

    pub(super) fn put(&self, bucket: &str, key: &str, bytes: &[u8]) -> Result<(), Error> {
        let mut part = self.part(bucket, key)?;
        let written = part.file.write_all(bytes).and_then(|()| part.finish());
        written.map_err(|error| write_failed(&error, &url(bucket, key), bytes.len() as u64))
    }

    pub(super) fn delete(&self, bucket: &str, key: &str) -> Result<(), Error> {
        let Some(path) = self.existing(bucket, key)? else { return Ok(()) };
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(storage("deleting", &url(bucket, key), &error))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn leftovers(&self, bucket: &str, prefix: &str) -> Result<Vec<String>, Error> {
        let Some(folder) = self.existing(bucket, prefix)? else { return Ok(Vec::new()) };
        let location = format!("{}/", url(bucket, prefix));
        let entries = fs::read_dir(folder).map_err(|error| storage("listing", &location, &error))?;
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(|name| name.starts_with(PART_PREFIX)).collect();
        names.sort();
        Ok(names)
    }

    pub(super) fn sweep(&self, bucket: &str, prefix: &str) -> Result<(), Error> {
        let location = format!("{}/", url(bucket, prefix));
        for name in self.leftovers(bucket, prefix)? {
            let Some(path) = self.existing(bucket, &format!("{prefix}/{name}"))? else { continue };
            fs::remove_file(path).map_err(|error| storage("deleting", &location, &error))?;
        }
        Ok(())
    }

    pub(super) fn source(&self, bucket: &str, key: &str) -> Result<Option<(Object, Source)>, Error> {
        let Some(path) = self.existing(bucket, key)? else { return Ok(None) };
        let failed = |error: io::Error| storage("opening", &url(bucket, key), &error);
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Ok(None);
        }
        let source = Source::file(file, metadata.len());
        Ok(Some((object(key.to_owned(), &metadata), source)))
    }

    pub(super) fn upload(&self, bucket: &str, key: &str) -> Result<Upload, Error> {
        Ok(Upload::to_file(self.part(bucket, key)?, url(bucket, key)))
    }

    /// The folder of a bucket. It may be a link (a big disk elsewhere); what is in it may not lead out of it.
    fn bucket(&self, bucket: &str) -> Result<PathBuf, Error> {
        let path = self.root.join(bucket);
        let is_name = matches!(Path::new(bucket).components().collect::<Vec<_>>()[..], [Component::Normal(_)]);
        match path.canonicalize() {
            Ok(path) if is_name && path.is_dir() => Ok(path),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(storage("opening", &url(bucket, ""), &error)),
            _ => Err(Error::BucketNotFound {
                bucket: bucket.to_owned(),
                place: self.root.display().to_string(),
                present: self.buckets(),
            }),
        }
    }

    fn buckets(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.root).into_iter().flatten().flatten();
        let folders = entries.filter(|entry| entry.path().is_dir());
        let mut names: Vec<String> = folders.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.retain(|name| !name.starts_with('.'));
        names.sort();
        names
    }

    /// Where a key is, if anything is there, with every link followed and still inside the bucket.
    fn existing(&self, bucket: &str, key: &str) -> Result<Option<PathBuf>, Error> {
        let folder = self.bucket(bucket)?;
        let path = join(&folder, bucket, key)?;
        match path.canonicalize() {
            Ok(real) if real.starts_with(&folder) => Ok(Some(real)),
            Ok(real) => Err(leads_out(bucket, key, &real)),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(storage("opening", &url(bucket, key), &error)),
        }
    }

    /// A file beside the key's own place, to be renamed to it when it is complete.
    fn part(&self, bucket: &str, key: &str) -> Result<Part, Error> {
        let folder = self.bucket(bucket)?;
        let path = join(&folder, bucket, key)?;
        let parent = path.parent().unwrap_or(&folder);
        // The deepest folder that is there already decides whether the key leads out of the bucket.
        let mut missing = Vec::new();
        let mut deepest = parent;
        while !deepest.exists() {
            missing.push(deepest);
            deepest = deepest.parent().unwrap_or(&folder);
        }
        let real = deepest.canonicalize().map_err(|error| storage("writing", &url(bucket, key), &error))?;
        if !real.starts_with(&folder) {
            return Err(leads_out(bucket, key, &real));
        }
        let failed = |error: &io::Error| write_failed(error, &url(bucket, key), 0);
        for folder in missing.iter().rev() {
            match fs::create_dir(folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(&error)),
                _ => {}
            }
            if let Some(parent) = folder.parent() {
                sync_folder(parent).map_err(|error| failed(&error))?;
            }
        }
        Part::create(parent, &path).map_err(|error| failed(&error))
    }
}

/// Collects one page of keys in the order of their bytes.
struct Walk<'a> {
    location: String,
    prefix: &'a str,
    start_after: &'a str,
    keys_max: usize,
    page: KeyPage,
}

impl Walk<'_> {
    /// Takes in what is under `folder`, whose keys begin with `begin` (empty or with a slash at its end).
    fn folder(&mut self, folder: &Path, begin: &str) -> Result<(), Error> {
        let mut keys = Vec::new();
        let entries = fs::read_dir(folder).map_err(|error| storage("listing", &self.location, &error))?;
        for entry in entries {
            let entry = entry.map_err(|error| storage("listing", &self.location, &error))?;
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|name| !name.starts_with(PART_PREFIX)) else { continue };
            // A link may be a folder, too.
            let is_folder = match entry.file_type() {
                Ok(kind) if kind.is_symlink() => entry.path().is_dir(),
                Ok(kind) => kind.is_dir(),
                Err(_) => continue,
            };
            // With its slash a folder sorts where its keys do.
            let key = if is_folder { format!("{begin}{name}/") } else { format!("{begin}{name}") };
            let can_match = if is_folder {
                let is_before = key.as_str() < self.start_after && !self.start_after.starts_with(&key);
                !is_before && (key.starts_with(self.prefix) || self.prefix.starts_with(&key))
            } else {
                key.as_str() > self.start_after && key.starts_with(self.prefix)
            };
            if can_match {
                keys.push((key, is_folder));
            }
        }
        keys.sort_unstable();
        for (key, is_folder) in keys {
            if self.page.has_more {
                return Ok(());
            }
            let path = folder.join(key[begin.len()..].trim_end_matches('/'));
            if is_folder {
                self.folder(&path, &key)?;
            } else if self.page.objects.len() == self.keys_max {
                self.page.has_more = true;
            } else {
                match fs::metadata(&path) {
                    Ok(metadata) => self.page.objects.push(object(key, &metadata)),
                    // Deleted since the folder was read, or a link to nowhere.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(storage("listing", &self.location, &error)),
                }
            }
        }
        Ok(())
    }
}

/// A file that is being written beside its place. Dropped before [`finish`](Self::finish), it is removed.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) file: File,
    path: PathBuf,
    target: PathBuf,
    finished: bool,
}

impl Part {
    fn create(folder: &Path, target: &Path) -> io::Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path =
            folder.join(format!("{PART_PREFIX}{}-{count}-{}", std::process::id(), uuid::Uuid::new_v4().simple()));
        let file = File::options().write(true).create_new(true).open(&path)?;
        Ok(Self { file, path, target: target.to_owned(), finished: false })
    }

    /// Puts the file in its place; after this returns, a power cut does not undo it.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.path, &self.target)?;
        self.finished = true;
        self.target.parent().map_or(Ok(()), sync_folder)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.finished {
            // Nothing is lost if this fails: such files are never listed.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Says what went wrong with a write; a full disk by its own name.
pub(super) fn write_failed(error: &io::Error, location: &str, bytes: u64) -> Error {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            Error::StorageFull { location: location.to_owned(), bytes }
        }
        _ => storage("writing", location, error),
    }
}

fn storage(doing: &'static str, location: &str, error: &io::Error) -> Error {
    Error::Storage { doing, location: location.to_owned(), reason: error.to_string() }
}

fn leads_out(bucket: &str, key: &str, real: &Path) -> Error {
    Error::Storage {
        doing: "opening",
        location: url(bucket, key),
        reason: format!("a link leads out of the bucket, to {}; links must stay inside it", real.display()),
    }
}

fn join(folder: &Path, bucket: &str, key: &str) -> Result<PathBuf, Error> {
    let mut path = folder.to_owned();
    for part in key.split('/').filter(|_| !key.is_empty()) {
        if matches!(part, "" | "." | "..") || part.contains('\0') {
            return Err(Error::Storage {
                doing: "opening",
                location: url(bucket, key),
                reason: "the key has an empty part, . or .. in it, expected a plain key".to_owned(),
            });
        }
        path.push(part);
    }
    Ok(path)
}

fn object(key: String, metadata: &fs::Metadata) -> Object {
    let modified = metadata.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    Object {
        key,
        bytes: metadata.len(),
        etag: format!("{:x}-{:x}", modified.as_nanos(), metadata.len()),
        modified_at_ms: modified_at_ms(metadata),
    }
}

fn modified_at_ms(metadata: &fs::Metadata) -> i64 {
    let modified = metadata.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    i64::try_from(modified.as_millis()).unwrap_or(i64::MAX)
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::super::suite;
    use super::super::{Store, StoreConfig};
    use super::*;

    fn folder() -> (tempfile::TempDir, Folder) {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("sky")).unwrap();
        let folder = Folder::open(root.path()).unwrap();
        (root, folder)
    }

    #[test]
    fn it_is_a_store() {
        let (root, _) = folder();
        let store = Store::open(&StoreConfig::Folder(root.path().to_owned())).unwrap();
        suite::check(&store, "sky");
    }

    #[test]
    fn keys_are_plain_paths_on_disk() {
        let (root, folder) = folder();
        folder.put("sky", "a b/ü#%20+.pt", b"x").unwrap();
        assert_eq!(fs::read(root.path().join("sky/a b/ü#%20+.pt")).unwrap(), b"x");
    }

    #[test]
    fn keys_are_listed_in_the_order_of_their_bytes_and_in_pages() {
        let (_root, folder) = folder();
        let mut keys = ["a", "a-b", "a.txt", "a/b/c", "a/b-c", "a0", "b/1", "b/2", "ü"];
        for key in keys.iter().filter(|key| **key != "a") {
            folder.put("sky", key, b"x").unwrap();
        }
        keys.sort_unstable();
        let listed = |prefix: &str, after: &str, max| {
            let page = folder.list_keys("sky", prefix, after, max).unwrap();
            (page.objects.into_iter().map(|object| object.key).collect::<Vec<_>>(), page.has_more)
        };
        assert_eq!(listed("", "", 100), (keys[1..].iter().map(|key| (*key).to_owned()).collect(), false));
        assert_eq!(listed("a/", "", 100).0, ["a/b-c", "a/b/c"]);
        assert_eq!(listed("a/b", "a/b-c", 100).0, ["a/b/c"]);
        assert_eq!(listed("b", "", 1), (vec!["b/1".to_owned()], true));
        assert_eq!(listed("b", "b/1", 1), (vec!["b/2".to_owned()], false));
        assert_eq!(folder.get_range("sky", "b/1", 0..10).unwrap().unwrap(), "x");
        assert_eq!(folder.get_range("sky", "b/1", 1..1).unwrap().unwrap(), "");
    }

    #[test]
    fn buckets_are_made_and_removed_only_when_empty() {
        let (_root, folder) = folder();
        assert!(folder.create_bucket("new").unwrap() && !folder.create_bucket("new").unwrap());
        assert!(folder.create_bucket("../x").is_err());
        folder.put("new", "a/b", b"x").unwrap();
        assert!(!folder.delete_bucket("new").unwrap());
        folder.delete("new", "a/b").unwrap();
        assert!(folder.delete_bucket("new").unwrap());
        assert_eq!(folder.delete_bucket("new").unwrap_err().error_name(), "Starmap.BucketNotFound");
    }

    #[test]
    fn an_unknown_bucket_is_told_with_those_that_are_there() {
        let (root, folder) = folder();
        for bad in ["skyy", "..", ".", ""] {
            let error = folder.list(bad, "x").unwrap_err();
            assert_eq!(error.error_name(), "Starmap.BucketNotFound");
            assert_eq!(
                error.to_string(),
                format!(
                    "bucket {bad}: not found in {}\nhint: buckets that are there: sky",
                    root.path().canonicalize().unwrap().display()
                )
            );
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_and_dots_do_not_lead_out_of_a_bucket() {
        let (root, folder) = folder();
        fs::write(root.path().join("secret"), "s").unwrap();
        std::os::unix::fs::symlink(root.path(), root.path().join("sky/out")).unwrap();
        for result in [
            folder.get("sky", "out/secret").map(drop),
            folder.put("sky", "out/new", b"x"),
            folder.delete("sky", "out/secret"),
            folder.source("sky", "out/secret").map(drop),
            folder.list("sky", "out").map(drop),
        ] {
            let text = result.unwrap_err().to_string();
            assert!(text.contains("a link leads out of the bucket"), "{text}");
        }
        let text = folder.get("sky", "../secret").unwrap_err().to_string();
        assert_eq!(text, "opening s3://sky/../secret: the key has an empty part, . or .. in it, expected a plain key");
        assert!(root.path().join("secret").exists() && !root.path().join("new").exists());
    }

    #[test]
    fn a_write_that_is_not_finished_leaves_nothing() {
        let (root, folder) = folder();
        folder.put("sky", "r/1.json", b"old").unwrap();
        let mut part = folder.part("sky", "r/1.json").unwrap();
        part.file.write_all(b"half of the n").unwrap();
        assert_eq!(folder.list("sky", "r").unwrap().objects.len(), 1, "a part is not listed");
        assert_eq!(folder.get("sky", "r/1.json").unwrap().unwrap(), "old");
        // A process that is killed can't remove its own.
        std::mem::forget(folder.part("sky", "r/2.json").unwrap());
        folder.sweep("sky", "r").unwrap();
        folder.sweep("sky", "no/such").unwrap();
        drop(part);
        assert_eq!(fs::read_dir(root.path().join("sky/r")).unwrap().count(), 1, "a part is removed");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_has_its_own_name() {
        let error = File::options().write(true).open("/dev/full").unwrap().write_all(b"x").unwrap_err();
        let error = write_failed(&error, "s3://sky/r/1.json", 1);
        assert_eq!(error.error_name(), "Starmap.StorageFull");
        assert!(error.to_string().starts_with("s3://sky/r/1.json: no space left while writing 1 bytes\nhint:"));
    }
}
