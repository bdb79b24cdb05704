//! Groups, streams and events on disk.
//!
//! What functions print lies where workers write it. What is known of groups beside that is one JSON file, written aside,
//! synced and renamed; events that clients put are lines of JSON, synced before they are acknowledged.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use starmap_asl::Timestamp;
use starmap_engine::names::Naming;

/// Before a function's name.
const LAMBDA: &str = "/aws/lambda/";

/// Where logs are.
pub struct Place {
    /// Where workers write.
    pub workers: PathBuf,
    /// For groups and what clients put; made when it is needed.
    pub folder: PathBuf,
    /// Account and region of ARNs.
    pub naming: Naming,
    /// The time.
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

/// A group as it is kept.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Group {
    pub(super) created_at_ms: i64,
    #[serde(default)]
    pub(super) retention_days: Option<i64>,
    #[serde(default)]
    pub(super) tags: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) class: Option<String>,
    #[serde(default)]
    pub(super) kms_key_id: Option<String>,
    /// Streams that clients made, with when.
    #[serde(default)]
    pub(super) streams: BTreeMap<String, i64>,
}

/// A stream of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stream {
    pub(super) name: String,
    /// A worker's, and not a client's.
    is_worker: bool,
    path: PathBuf,
    created_at_ms: i64,
}

/// An event of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Event {
    #[serde(rename = "t")]
    pub(super) at_ms: i64,
    #[serde(rename = "i")]
    pub(super) ingested_at_ms: i64,
    #[serde(rename = "m")]
    pub(super) message: String,
}

/// What is said of a stream.
#[derive(Debug, Clone, Default)]
pub(super) struct Told {
    pub(super) created_at_ms: i64,
    pub(super) first_ms: Option<i64>,
    pub(super) last_ms: Option<i64>,
    pub(super) ingested_ms: Option<i64>,
}

pub(super) struct Store {
    pub(super) place: Place,
    groups: Mutex<BTreeMap<String, Group>>,
}

impl Store {
    pub(super) fn open(place: Place) -> io::Result<Self> {
        let file = place.folder.join("groups.json");
        let groups = match fs::read(&file) {
            Ok(text) => serde_json::from_slice(&text)
                .map_err(|error| io::Error::other(format!("{}: {error}", file.display())))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(io::Error::new(error.kind(), format!("{}: {error}", file.display()))),
        };
        Ok(Self { place, groups: Mutex::new(groups) })
    }

    /// A group, if there is one: one that was made, or a function's that has logs.
    pub(super) fn group(&self, name: &str) -> Option<Group> {
        self.kept().get(name).cloned().or_else(|| self.of_function(name))
    }

    /// All groups, by name.
    pub(super) fn groups(&self) -> BTreeMap<String, Group> {
        let mut groups = self.kept().clone();
        for entry in fs::read_dir(&self.place.workers).into_iter().flatten().flatten() {
            let Ok(function) = entry.file_name().into_string() else { continue };
            let name = format!("{LAMBDA}{function}");
            if !groups.contains_key(&name)
                && let Some(group) = self.of_function(&name)
            {
                groups.insert(name, group);
            }
        }
        groups
    }

    fn of_function(&self, name: &str) -> Option<Group> {
        let folder = self.function_folder(name)?;
        let created_at_ms = log_files(&folder).into_iter().map(|(_, created_at_ms)| created_at_ms).min()?;
        Some(Group { created_at_ms, ..Group::default() })
    }

    fn function_folder(&self, group: &str) -> Option<PathBuf> {
        let function = group.strip_prefix(LAMBDA)?;
        let is_plain = !function.is_empty() && !function.starts_with('.') && !function.contains(['/', '\\']);
        is_plain.then(|| self.place.workers.join(function))
    }

    /// Changes a group, durably; `None` takes it away.
    pub(super) fn set(&self, name: &str, group: Option<Group>) -> io::Result<()> {
        let mut groups = self.kept();
        let mut changed = groups.clone();
        match group {
            Some(group) => changed.insert(name.to_owned(), group),
            None => changed.remove(name),
        };
        if changed != *groups {
            self.write(&changed)?;
            *groups = changed;
        }
        Ok(())
    }

    /// Removes a group with all its events.
    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        if let Some(folder) = self.function_folder(name) {
            absent(fs::remove_dir_all(folder))?;
        }
        absent(fs::remove_dir_all(self.events_folder(name)))?;
        self.set(name, None)
    }

    pub(super) fn remove_stream(&self, group: &str, stream: &Stream) -> io::Result<()> {
        absent(fs::remove_file(&stream.path))?;
        absent(fs::remove_file(stream.path.with_extension("times")))?;
        let Some(mut kept) = self.kept().get(group).cloned() else { return Ok(()) };
        kept.streams.remove(&stream.name);
        self.set(group, Some(kept))
    }

    /// The streams of a group, by name.
    pub(super) fn streams(&self, name: &str, group: &Group) -> Vec<Stream> {
        let mut streams: Vec<Stream> = group
            .streams
            .iter()
            .map(|(stream, created_at_ms)| Stream {
                name: stream.clone(),
                is_worker: false,
                path: self.events_file(name, stream),
                created_at_ms: *created_at_ms,
            })
            .collect();
        for (path, created_at_ms) in self.function_folder(name).map(|folder| log_files(&folder)).unwrap_or_default() {
            // A stream's name begins with its date; the rest has no dashes.
            let stem = path.file_stem().map(|stem| stem.to_string_lossy().replacen('-', "/", 3)).unwrap_or_default();
            streams.push(Stream { name: stem, is_worker: true, path, created_at_ms });
        }
        streams.sort_by(|a, b| a.name.cmp(&b.name));
        streams.dedup_by(|a, b| a.name == b.name);
        streams
    }

    /// Appends events to a stream that a client made.
    pub(super) fn put(&self, group: &str, stream: &str, events: &[Event]) -> io::Result<()> {
        let path = self.events_file(group, stream);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut lines = Vec::new();
        for event in events {
            serde_json::to_writer(&mut lines, event)?;
            lines.push(b'\n');
        }
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        file.write_all(&lines)?;
        file.sync_data()
    }

    fn events_folder(&self, group: &str) -> PathBuf {
        self.place.folder.join("events").join(short_hash(group))
    }

    fn events_file(&self, group: &str, stream: &str) -> PathBuf {
        self.events_folder(group).join(format!("{}.jsonl", short_hash(stream)))
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<String, Group>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, groups: &BTreeMap<String, Group>) -> io::Result<()> {
        let folder = &self.place.folder;
        fs::create_dir_all(folder)?;
        let aside = folder.join("groups.json.part");
        let mut file = File::create(&aside)?;
        file.write_all(&serde_json::to_vec_pretty(groups)?)?;
        file.sync_all()?;
        fs::rename(&aside, folder.join("groups.json"))?;
        File::open(folder)?.sync_all()
    }
}

impl Stream {
    /// Gives every event to `visit`, in order, until it says that it is enough. A stream without a file has none.
    pub(super) fn events(&self, mut visit: impl FnMut(Event) -> bool) -> io::Result<()> {
        if self.is_worker {
            let lines = match starmap_workers::logs::lines(&self.path) {
                Ok(lines) => lines,
                Err(error) => return absent(Err(error)),
            };
            for line in lines {
                let line = line?;
                let event = Event { at_ms: line.at_ms, ingested_at_ms: line.at_ms, message: line.text + "\n" };
                if event.message.trim().is_empty() {
                    continue;
                }
                if !visit(event) {
                    break;
                }
            }
            return Ok(());
        }
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) => return absent(Err(error)),
        };
        let mut events = Vec::new();
        for line in BufReader::new(file).lines() {
            // The last line may be half of one, if the machine went down.
            if let Ok(event) = serde_json::from_str::<Event>(&line?) {
                events.push(event);
            }
        }
        events.sort_by_key(|event| event.at_ms);
        for event in events {
            if !visit(event) {
                break;
            }
        }
        Ok(())
    }

    /// When the last event can have been written at the latest, so that older streams need not be read.
    pub(super) fn changed_at_ms(&self) -> i64 {
        if !self.is_worker {
            return i64::MAX;
        }
        fs::metadata(&self.path).map_or(i64::MAX, |metadata| modified_ms(&metadata))
    }

    pub(super) fn told(&self) -> io::Result<Told> {
        let mut told = Told { created_at_ms: self.created_at_ms, ..Told::default() };
        if self.is_worker
            && let Some((first, last)) = absent_none(starmap_workers::logs::span(&self.path))?
        {
            (told.first_ms, told.last_ms, told.ingested_ms) = (Some(first), Some(last), Some(last));
            told.created_at_ms = first;
            return Ok(told);
        }
        self.events(|event| {
            told.first_ms.get_or_insert(event.at_ms);
            told.last_ms = Some(event.at_ms);
            told.ingested_ms = told.ingested_ms.max(Some(event.ingested_at_ms));
            true
        })?;
        Ok(told)
    }

    pub(super) fn bytes(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |metadata| metadata.len())
    }
}

fn absent(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn absent_none<T>(result: io::Result<Option<T>>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other,
    }
}

/// The log files in a function's folder, with when they were made.
fn log_files(folder: &Path) -> Vec<(PathBuf, i64)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries.filter_map(|entry| {
        let path = entry.path();
        let is_log = path.extension().is_some_and(|extension| extension == "log");
        let metadata = entry.metadata().ok().filter(|_| is_log)?;
        let made = metadata.created().ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
        let made_ms = made.and_then(|since| i64::try_from(since.as_millis()).ok());
        Some((path, made_ms.unwrap_or_else(|| modified_ms(&metadata))))
    });
    files.collect()
}

fn modified_ms(metadata: &fs::Metadata) -> i64 {
    let since = metadata.modified().ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    since.and_then(|since| i64::try_from(since.as_millis()).ok()).unwrap_or(i64::MAX)
}

/// A file name for a name that may be longer than one, and has slashes.
fn short_hash(name: &str) -> String {
    Sha256::digest(name.as_bytes()).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
