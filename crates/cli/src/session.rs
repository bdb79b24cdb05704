//! One process's engine and workers over one data root: the wiring of the two halves.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use starmap_asl::Timestamp;
use starmap_engine::access::{Access, everything};
use starmap_engine::invoker::Invoker;
use starmap_engine::journal::sqlite::{self, SqliteJournal, SqliteReader};
use starmap_engine::limits::{AWS_MAP_RUN_CONCURRENCY_MAX, Limits};
use starmap_engine::names::Naming;
use starmap_engine::services::{NoServices, Services};
use starmap_engine::{Engine, Parts};
use starmap_pipeline::store::{Store, StoreConfig};
use starmap_server::StepFunctions;
use starmap_server::console::{self, Console};
use starmap_workers::{Options, Workers};

use crate::apis::Apis;
use crate::data_root::DataRoot;
use crate::functions;
use crate::objects::StoreObjects;
use crate::science::Redshifts;

/// The folder that commands use unless told otherwise.
const DEFAULT_DATA: &str = "starmap-data";

/// How an execution is carried out here. Kept with the execution, so that `--resume` does the same again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Where buckets are; `None` is S3 itself.
    pub buckets: Option<PathBuf>,
    /// Workers that run at once.
    pub concurrency: usize,
    /// Memory of a function, MiB.
    pub memory_mib: u32,
    /// Time limit of one invocation, seconds.
    pub timeout_s: u64,
    /// Other names of our functions in the definition: name → handler.
    pub aliases: BTreeMap<String, String>,
}

impl Settings {
    /// Settings for a session that carries nothing out.
    pub fn of_nothing(data_root: &Path) -> Self {
        let buckets = Some(data_root.to_owned());
        Self { buckets, concurrency: 1, memory_mib: 128, timeout_s: 1, aliases: BTreeMap::new() }
    }

    /// Where the pipeline finds its buckets.
    pub fn store(&self) -> StoreConfig {
        match &self.buckets {
            Some(folder) => StoreConfig::Folder(folder.clone()),
            None => StoreConfig::S3,
        }
    }
}

/// See the [module](self).
#[derive(Debug)]
pub struct Session {
    /// The engine.
    pub engine: Arc<Engine>,
    workers: Arc<Workers>,
    store: Store,
    data_root: DataRoot,
}

/// What stands before an engine does.
#[derive(Debug)]
pub struct Ground {
    /// The functions' processes.
    pub workers: Arc<Workers>,
    /// The buckets.
    pub objects: Arc<StoreObjects>,
    /// The folder of everything.
    pub data_root: DataRoot,
}

/// What an engine acts through.
pub struct Hands {
    /// Who runs functions.
    pub invoker: Arc<dyn Invoker>,
    /// What Tasks call.
    pub services: Arc<dyn Services>,
    /// What map runs may do.
    pub access: Arc<dyn Access>,
}

impl Session {
    /// Starts engine and workers for one run.
    pub async fn open(data_root: DataRoot, settings: &Settings) -> anyhow::Result<Self> {
        // Twice as many children as workers: whenever one finishes the next is waiting already.
        let children_max = u32::try_from(settings.concurrency * 2).unwrap_or(AWS_MAP_RUN_CONCURRENCY_MAX);
        let limits = Limits {
            // AWS's limit on payloads does not bind one machine; `run` says when a run would exceed it there.
            payload_bytes_max: None,
            map_run_concurrency_max: children_max.min(AWS_MAP_RUN_CONCURRENCY_MAX),
        };
        let options = functions::options(settings, &data_root.logs());
        Self::open_with(data_root, settings, options, limits, |ground| {
            let (invoker, services) = (Arc::clone(&ground.workers) as _, Arc::new(NoServices) as _);
            Ok(Hands { invoker, services, access: everything() })
        })
        .await
    }

    /// Starts workers by the given options, and an engine under the given limits that invokes functions and calls
    /// services as `connect` has it.
    pub async fn open_with(
        data_root: DataRoot,
        settings: &Settings,
        options: Options,
        limits: Limits,
        connect: impl FnOnce(&Ground) -> anyhow::Result<Hands>,
    ) -> anyhow::Result<Self> {
        let journal = SqliteJournal::open(&sqlite::path_in(data_root.path()))?;
        let workers = Workers::start(functions::all(settings, &data_root)?, options)?;
        let store = Store::open(&settings.store())?;
        let ground = Ground { workers, objects: Arc::new(StoreObjects::new(store.clone())), data_root };
        let Hands { invoker, services, access } = connect(&ground)?;
        let Ground { workers, objects, data_root } = ground;
        let engine = Engine::start(Parts {
            journal: Box::new(journal),
            invoker,
            objects,
            services,
            access,
            clock: Arc::new(now),
            runtime: tokio::runtime::Handle::current(),
            naming: Naming::default(),
            limits,
        })?;
        Ok(Self { engine: Arc::new(engine), workers, store, data_root })
    }

    /// The console over all of this, and over the other APIs if there are any.
    pub fn console(&self, step_functions: &Arc<StepFunctions>, apis: Option<&Apis>) -> anyhow::Result<Arc<Console>> {
        // As people would write it, where that is shorter.
        let data = self.data_root.path();
        let current = std::env::current_dir().context("asking for the working directory")?;
        let data = data.strip_prefix(&current).unwrap_or(data).display().to_string();
        Ok(Console::new(console::Parts {
            engine: Arc::clone(&self.engine),
            step_functions: Arc::clone(step_functions),
            clock: Arc::new(now),
            workers: Some(Arc::clone(&self.workers)),
            catalog: apis.map(|apis| Arc::clone(&apis.catalog)),
            logs: Some(self.data_root.logs()),
            science: Some(Arc::new(Redshifts::new(self.store.clone()))),
            directory: apis.map(Apis::roles),
            log_groups: apis.map(Apis::log_groups),
            data: (data != DEFAULT_DATA).then_some(data),
        }))
    }

    /// The functions' processes.
    pub fn workers(&self) -> Arc<Workers> {
        Arc::clone(&self.workers)
    }

    /// A reader of the journal beside the engine.
    pub fn reader(&self) -> anyhow::Result<SqliteReader> {
        reader(self.data_root.path())
    }

    /// Stops engine and workers; executions under way stay resumable.
    pub async fn close(self) {
        self.engine.shutdown().await;
        self.workers.shutdown().await;
    }
}

/// Makes the journal of an older version one of this version, if there is a journal.
pub fn bring_up_to_date(data_root: &DataRoot) -> anyhow::Result<()> {
    let path = sqlite::path_in(data_root.path());
    if path.exists() {
        SqliteJournal::open(&path)?;
    }
    Ok(())
}

/// A reader of the journal of a data root.
pub fn reader(data_root: &Path) -> anyhow::Result<SqliteReader> {
    let path = sqlite::path_in(data_root);
    if !path.exists() {
        return Err(crate::exit::usage(format!(
            "data root {}: there is no journal in it\nhint: name the folder of the run with --data DIR",
            data_root.display()
        )));
    }
    Ok(SqliteJournal::open_reader(&path)?)
}

/// The one place where the program asks for the time.
pub fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Timestamp(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

/// As many workers as this process may use cores.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
