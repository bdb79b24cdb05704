//! Which functions there are, durably, and which version a name means.
//!
//! A function is one JSON file, written aside and renamed, and its code a folder named by its hash. Files and not the
//! journal's database: code can't be in there anyway, changes are rare and concern one function each, and a rename is
//! all the transaction they need, without a second writer beside the engine's.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use starmap_asl::Timestamp;
use starmap_engine::invoker::{Invocation, InvokeError, Invoker, Invoking, Outcome};
use starmap_engine::names::Naming;
use starmap_workers::function::{LATEST, split};
use starmap_workers::{Function, Workers};

use super::code::Store;
use super::error::Error;
use super::record::{Alias, Code, Record, Version};
use super::runtimes::{Runtime, Runtimes};

/// Tells the time.
pub(crate) type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The environment variables with a function's credentials, by its role's ARN and its name. May block.
pub type Credentials = Arc<dyn Fn(&str, &str) -> Vec<(String, String)> + Send + Sync>;

/// Where functions are kept and who runs them.
pub struct Place {
    /// For functions and their code; made when it is needed.
    pub folder: PathBuf,
    /// Where workers write their logs.
    pub logs: Option<PathBuf>,
    /// Who runs them.
    pub workers: Arc<Workers>,
    /// Functions that are there by themselves: listed, invoked, never changed.
    pub built_in: Vec<Function>,
    /// Workers of one function at once unless a function has a limit of its own.
    pub concurrency_max: usize,
    /// Set in every created function's environment where it does not set them itself, as in `AWS_ENDPOINT_URL`.
    pub environment: Vec<(String, String)>,
    /// Who gives functions credentials; none where nobody checks them.
    pub credentials: Option<Credentials>,
    /// Account and region of ARNs.
    pub naming: Naming,
    /// The time.
    pub clock: Clock,
}

/// See the [module](self).
pub struct Catalog {
    pub(crate) place: Place,
    pub(crate) store: Store,
    runtimes: Runtimes,
    records: Mutex<BTreeMap<String, Record>>,
    turn: Mutex<()>,
}

impl std::fmt::Debug for Catalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Catalog").field("folder", &self.place.folder).finish_non_exhaustive()
    }
}

/// What a name means.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Meant {
    pub(crate) function: String,
    /// `$LATEST` or a number.
    pub(crate) version: String,
}

impl Catalog {
    /// Reads what is kept and has the workers ready for it. Blocks.
    ///
    /// # Errors
    /// When a function that is kept can't be read.
    pub fn open(place: Place) -> io::Result<Arc<Self>> {
        let store = Store::new(place.folder.join("code"));
        let runtimes = Runtimes::new(place.folder.clone());
        let catalog = Self { store, runtimes, records: Mutex::default(), turn: Mutex::default(), place };
        let mut records = BTreeMap::new();
        for entry in fs::read_dir(catalog.folder()).into_iter().flatten() {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                let record: Record = serde_json::from_slice(&fs::read(&path)?)
                    .map_err(|error| io::Error::other(format!("{}: {error}", path.display())))?;
                records.insert(record.name.clone(), record);
            }
        }
        for record in records.values() {
            // A runtime that has gone since must not keep the others from being served.
            if let Err(error) = catalog.employ(record) {
                tracing::warn!(function = record.name, %error, "function can't be run");
            }
        }
        catalog.store.sweep(&hashes(records.values()));
        *catalog.records() = records;
        Ok(Arc::new(catalog))
    }

    fn folder(&self) -> PathBuf {
        self.place.folder.join("functions")
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.place.clock)()
    }

    /// All functions, for reading.
    pub(crate) fn records(&self) -> MutexGuard<'_, BTreeMap<String, Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The right to change anything.
    pub(crate) fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn built_in(&self, name: &str) -> Option<&Function> {
        self.place.built_in.iter().find(|function| function.name == name)
    }

    /// Adds a function. Blocks.
    pub(crate) fn create(&self, record: Record) -> Result<(), Error> {
        let mut records = self.records();
        if records.contains_key(&record.name) || self.built_in(&record.name).is_some() {
            return Err(Error::conflict(format!("Function already exist: {}", record.name)));
        }
        self.employ(&record)?;
        if let Err(error) = self.write(&record) {
            self.place.workers.remove(&record.name, None);
            return Err(error);
        }
        records.insert(record.name.clone(), record);
        Ok(())
    }

    /// Changes a function: all of it or nothing. Blocks.
    pub(crate) fn change<T>(
        &self,
        name: &str,
        change: impl FnOnce(&mut Record) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut records = self.records();
        let Some(record) = records.get_mut(name) else { return Err(self.missing(name, None)) };
        let mut changed = record.clone();
        let result = change(&mut changed)?;
        if changed == *record {
            return Ok(result);
        }
        self.runnable(&changed)?;
        self.write(&changed)?;
        self.reemploy(record, &changed)?;
        let before = std::mem::replace(record, changed);
        self.forget_code(&records, [before].iter());
        Ok(result)
    }

    /// Removes a function with everything of it. Blocks.
    pub(crate) fn delete(&self, name: &str) -> Result<(), Error> {
        let mut records = self.records();
        if !records.contains_key(name) {
            return Err(self.missing(name, None));
        }
        let path = self.folder().join(format!("{name}.json"));
        fs::remove_file(path).map_err(|error| Error::internal("removing a function", &error))?;
        self.place.workers.remove(name, None);
        let before = records.remove(name);
        self.forget_code(&records, before.iter());
        Ok(())
    }

    /// Removes code that was used and is not any more.
    fn forget_code<'a>(&self, records: &BTreeMap<String, Record>, before: impl Iterator<Item = &'a Record>) {
        let used = hashes(records.values());
        hashes(before).difference(&used).for_each(|hash| self.store.remove(hash));
    }

    fn write(&self, record: &Record) -> Result<(), Error> {
        let write = || {
            let folder = self.folder();
            fs::create_dir_all(&folder)?;
            let aside = folder.join(format!("{}.part", uuid::Uuid::new_v4().simple()));
            let mut file = File::create(&aside)?;
            file.write_all(&serde_json::to_vec_pretty(record)?)?;
            file.sync_all()?;
            fs::rename(&aside, folder.join(format!("{}.json", record.name)))?;
            File::open(&folder)?.sync_all()
        };
        write().map_err(|error: io::Error| Error::internal("keeping a function", &error))
    }

    /// Makes sure that every version could be started.
    fn runnable(&self, record: &Record) -> Result<(), Error> {
        self.function(record, LATEST, &record.latest).map(drop)
    }

    /// Tells the workers of a function.
    fn employ(&self, record: &Record) -> Result<(), Error> {
        for (number, version) in versions(record) {
            let function = self.employed(record, &number, version)?;
            self.place.workers.put(function).map_err(|error| Error::invalid(error.to_string()))?;
        }
        Ok(())
    }

    /// Tells the workers what of a function is different.
    fn reemploy(&self, before: &Record, now: &Record) -> Result<(), Error> {
        for (number, version) in versions(now) {
            if before.version(&number) != Some(version) {
                let function = self.employed(now, &number, version)?;
                self.place.workers.put(function).map_err(|error| Error::invalid(error.to_string()))?;
            }
        }
        for (number, _) in versions(before).filter(|(number, _)| now.version(number).is_none()) {
            self.place.workers.remove(&now.name, Some(&number));
        }
        if before.concurrency != now.concurrency {
            self.place.workers.set_concurrency(&now.name, self.limit(now));
        }
        Ok(())
    }

    fn limit(&self, record: &Record) -> usize {
        let own = record.concurrency.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
        own.unwrap_or(self.place.concurrency_max)
    }

    /// A version as the workers run it, with credentials of its role's.
    fn employed(&self, record: &Record, number: &str, version: &Version) -> Result<Function, Error> {
        let mut function = self.function(record, number, version)?;
        if let Some(credentials) = &self.place.credentials {
            function
                .environment
                .extend(credentials(&version.role, &format!("{}-{number}", record.name).replace('$', "")));
        }
        Ok(function)
    }

    /// A version as the workers run it.
    fn function(&self, record: &Record, number: &str, version: &Version) -> Result<Function, Error> {
        let root = self.root(&version.code);
        let runtime = match &version.runtime {
            Some(name) => Runtime::parse(name)?,
            None => Runtime::Provided,
        };
        let command = self.runtimes.command(&runtime, &root, &version.handler)?;
        let mut environment = self.place.environment.clone();
        environment.retain(|(name, _)| !version.environment.contains_key(name));
        environment.extend(version.environment.clone());
        if let Some(runtime) = &version.runtime {
            environment.push(("AWS_EXECUTION_ENV".to_owned(), format!("AWS_Lambda_{runtime}")));
        }
        Ok(Function {
            name: record.name.clone(),
            version: number.to_owned(),
            command,
            task_root: root.is_dir().then(|| root.clone()).or_else(|| root.parent().map(Path::to_owned)),
            environment,
            handler: version.handler.clone(),
            memory_mib: version.memory_mib,
            timeout: Duration::from_secs(version.timeout_s.into()),
            concurrency_max: self.limit(record),
        })
    }

    fn root(&self, code: &Code) -> PathBuf {
        match code {
            Code::Archive { sha256, .. } => self.store.unpacked(sha256),
            Code::Path { path } => PathBuf::from(path),
        }
    }

    /// What a name and a qualifier mean; of an alias with shares, one of its versions by `chance` (0 to 1).
    ///
    /// # Errors
    /// `ResourceNotFoundException`.
    pub(crate) fn resolve(&self, name: &str, qualifier: Option<&str>, chance: f64) -> Result<Meant, Error> {
        let (plain, in_name) = split(name);
        let qualifier = qualifier.or(in_name);
        let meant = |version: &str| Meant { function: plain.to_owned(), version: version.to_owned() };
        if self.built_in(plain).is_some() {
            return match qualifier {
                None | Some(LATEST) => Ok(meant(LATEST)),
                Some(_) => Err(self.missing(plain, qualifier)),
            };
        }
        let records = self.records();
        let Some(record) = records.get(plain) else { return Err(self.missing(plain, qualifier)) };
        let qualifier = qualifier.unwrap_or(LATEST);
        if record.version(qualifier).is_some() {
            return Ok(meant(qualifier));
        }
        let alias = record.aliases.get(qualifier).ok_or_else(|| self.missing(plain, Some(qualifier)))?;
        Ok(meant(routed(alias, chance)))
    }

    /// There is no such function, or no such version or alias of it.
    pub(crate) fn missing(&self, name: &str, qualifier: Option<&str>) -> Error {
        Error::not_found(format!("Function not found: {}", self.arn(name, qualifier)))
    }

    /// The ARN of a function, a version or an alias.
    pub(crate) fn arn(&self, name: &str, qualifier: Option<&str>) -> String {
        let Naming { region, account, .. } = &self.place.naming;
        let qualifier = qualifier.map(|qualifier| format!(":{qualifier}")).unwrap_or_default();
        format!("arn:aws:lambda:{region}:{account}:function:{name}{qualifier}")
    }
}

/// The archives that functions use.
fn hashes<'a>(records: impl Iterator<Item = &'a Record>) -> BTreeSet<String> {
    let versions = records.flat_map(|record| record.versions.values().chain([&record.latest]));
    let hash = |version: &Version| match &version.code {
        Code::Archive { sha256, .. } => Some(sha256.clone()),
        Code::Path { .. } => None,
    };
    versions.filter_map(hash).collect()
}

/// The versions of a function, the latest first.
fn versions(record: &Record) -> impl Iterator<Item = (String, &Version)> {
    let published = record.versions.iter().map(|(number, version)| (number.to_string(), version));
    [(LATEST.to_owned(), &record.latest)].into_iter().chain(published)
}

/// The version that an alias means for an invocation with that chance.
fn routed(alias: &Alias, mut chance: f64) -> &str {
    for (version, weight) in &alias.weights {
        if chance < *weight {
            return version;
        }
        chance -= weight;
    }
    &alias.version
}

/// A number from 0 to 1, as good as any other.
pub(crate) fn chance() -> f64 {
    let bits = uuid::Uuid::new_v4().as_u128() >> 75;
    bits as f64 / (1_u64 << 53) as f64
}

impl Invoker for Catalog {
    fn invoke(self: Arc<Self>, mut invocation: Invocation) -> Invoking {
        let plain = split(&invocation.function).0;
        // Built in, or another name of what is: the workers know.
        if self.records().get(plain).is_none() && self.place.workers.knows(plain) {
            return Arc::clone(&self.place.workers).invoke(invocation);
        }
        match self.resolve(&invocation.function, None, chance()) {
            Ok(Meant { function, version }) => {
                invocation.function = self.arn(&function, (version != LATEST).then_some(version.as_str()));
                Arc::clone(&self.place.workers).invoke(invocation)
            }
            Err(error) => Box::pin(async move {
                let (name, cause) = (format!("Lambda.{}", error.name), super::protocol::sdk_cause(&error));
                Outcome { result: Err(InvokeError::Refused { error: name, cause }), report: None }
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_share_out_invocations() {
        let weights = [("2".to_owned(), 0.25)].into();
        let alias = Alias { version: "1".to_owned(), description: String::new(), weights, revision_id: String::new() };
        assert_eq!([0.0, 0.2, 0.25, 0.9].map(|chance| routed(&alias, chance)), ["2", "2", "1", "1"]);
        let drawn = chance();
        assert!((0.0..1.0).contains(&drawn));
    }
}
