//! The console: what a server's executions do, for people, in a browser.
//!
//! The path of a request: [`request`] says whether it is the console's, [`routes`] finds its page or its action, a file
//! per page reads the journal and writes HTML by [`html`], [`page`] puts the frame around it. [`live`] sends the parts
//! of a page again when they change. Every page has a JSON twin under the same path with `.json` at its end.
//!
//! Actions go through the Step Functions API, so that the console can do nothing that a client can't, and is refused
//! what a client is refused. They need a token that only pages of this server know.

mod assets;
mod compare;
mod cost;
mod execution;
mod executions;
mod functions;
mod graph;
mod groups;
mod html;
mod json;
mod live;
mod logs;
mod machines;
mod map_run;
mod page;
mod progress;
mod request;
mod roles;
mod routes;
mod science;
mod words;

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use serde_json::Value;
use starmap_asl::Timestamp;
use starmap_engine::Engine;
use starmap_engine::billing::Prices;
use starmap_engine::clock::Clock;
use starmap_engine::journal::{self, ExecutionId, ExecutionRecord, Reader};
use starmap_engine::registry::{Revision, RevisionRow};
use starmap_iam::Directory;
use starmap_workers::Workers;
use tokio::sync::watch;

use crate::error::ApiError;
use crate::lambda::Catalog;
use crate::sfn::StepFunctions;
use assets::Assets;
use graph::Graph;
use progress::Progress;

pub use groups::LogGroups;
pub(crate) use live::Body;
pub(crate) use request::is_for_console;
pub use science::{
    Bar, Density, Findings, Histogram, Metric, Outlier, Place, Published, PublishedRow, Reading, Science,
};

/// Executions whose histories are followed at once. Another one is read anew.
const FOLLOWED_MAX: usize = 32;
/// Pictures that are kept.
const GRAPHS_MAX: usize = 64;
/// Events that are followed without looking up.
const EVENTS_AT_ONCE: usize = 1_000;

/// What a console shows. What is not there has no page, or a page that says so.
pub struct Parts {
    /// Executions and state machines.
    pub engine: Arc<Engine>,
    /// By which actions are carried out.
    pub step_functions: Arc<StepFunctions>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Who runs functions.
    pub workers: Option<Arc<Workers>>,
    /// The functions that were created, and those that are there by themselves.
    pub catalog: Option<Arc<Catalog>>,
    /// Where workers write their logs.
    pub logs: Option<PathBuf>,
    /// Who knows what results mean.
    pub science: Option<Arc<dyn Science>>,
    /// The roles as they are now.
    pub directory: Option<Roles>,
    /// Log groups, as a client is told of them.
    pub log_groups: Option<LogGroups>,
    /// How the folder of everything is given to `starmap`, for the commands that are shown.
    pub data: Option<String>,
}

/// Answers with an account's roles as they are now.
pub type Roles = Arc<dyn Fn() -> Directory + Send + Sync>;

/// See the [module](self).
pub struct Console {
    engine: Arc<Engine>,
    step_functions: Arc<StepFunctions>,
    reader: Arc<dyn Reader>,
    clock: Arc<dyn Clock>,
    workers: Option<Arc<Workers>>,
    catalog: Option<Arc<Catalog>>,
    logs: Option<PathBuf>,
    science: Option<Arc<dyn Science>>,
    directory: Option<Roles>,
    log_groups: Option<LogGroups>,
    data: Option<String>,
    assets: Assets,
    /// Proof that a form came from a page of this server.
    token: String,
    followed: Mutex<VecDeque<(ExecutionId, Arc<Mutex<Progress>>)>>,
    graphs: Mutex<HashMap<RevisionRow, Arc<Result<Graph, String>>>>,
    shapes: Mutex<VecDeque<Arc<map_run::Shape>>>,
    bills: Arc<Mutex<VecDeque<cost::Kept>>>,
    prices: OnceLock<Prices>,
    stopping: watch::Sender<bool>,
}

impl std::fmt::Debug for Console {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Console").finish_non_exhaustive()
    }
}

impl Console {
    /// A console over what there is.
    pub fn new(parts: Parts) -> Arc<Self> {
        let Parts { engine, step_functions, clock, workers, catalog, logs, science, directory, log_groups, data } =
            parts;
        let reader = engine.reader();
        Arc::new(Self {
            engine,
            step_functions,
            reader,
            clock,
            workers,
            catalog,
            logs,
            science,
            directory,
            log_groups,
            data,
            assets: Assets::new(),
            token: format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple()),
            followed: Mutex::default(),
            graphs: Mutex::default(),
            shapes: Mutex::default(),
            bills: Arc::default(),
            prices: OnceLock::new(),
            stopping: watch::Sender::new(false),
        })
    }

    /// Ends what is sent for as long as someone listens.
    pub(crate) fn stop(&self) {
        self.stopping.send_replace(true);
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Calls an action of the Step Functions API.
    async fn call(&self, action: &str, members: Value) -> Result<Value, ApiError> {
        let answer = self.step_functions.call(action, members.to_string().as_bytes()).await?;
        serde_json::from_slice(&answer).map_err(|error| ApiError::internal("reading an answer", &error))
    }

    /// An execution by its row, ARN or, if that is unique, name.
    fn execution(&self, named: &str) -> Result<ExecutionRecord, Failure> {
        let found = match named.parse() {
            Ok(row) if !named.starts_with('+') => self.reader.execution(ExecutionId(row))?,
            _ => self.reader.find_execution(named)?,
        };
        found.ok_or_else(|| Failure::missing(format!("There is no execution {named} in this journal.")))
    }

    /// What an execution's state machine was when it was started.
    fn revision(&self, row: RevisionRow) -> Result<Option<Arc<Revision>>, Failure> {
        if let Some(revision) = self.engine.resources(|resources| resources.revision(row).cloned()) {
            return Ok(Some(revision));
        }
        Ok(self.reader.revision(row)?.map(Arc::new))
    }

    /// The picture of a revision.
    fn graph(&self, revision: &Revision) -> Arc<Result<Graph, String>> {
        if let Some(graph) = locked(&self.graphs).get(&revision.row) {
            return Arc::clone(graph);
        }
        let graph = Arc::new(Graph::of(&revision.definition));
        let mut graphs = locked(&self.graphs);
        if graphs.len() >= GRAPHS_MAX {
            graphs.clear();
        }
        graphs.insert(revision.row, Arc::clone(&graph));
        graph
    }

    /// Looks at what an execution has done in its states, up to now.
    fn progress<T>(&self, execution: ExecutionId, look: impl FnOnce(&Progress) -> T) -> Result<T, Failure> {
        let followed = {
            let mut followed = locked(&self.followed);
            match followed.iter().position(|(id, _)| *id == execution) {
                Some(index) => {
                    let entry = followed.remove(index);
                    let progress = entry.map(|(_, progress)| progress).unwrap_or_default();
                    followed.push_back((execution, Arc::clone(&progress)));
                    progress
                }
                None => {
                    let progress = Arc::<Mutex<Progress>>::default();
                    followed.push_back((execution, Arc::clone(&progress)));
                    if followed.len() > FOLLOWED_MAX {
                        followed.pop_front();
                    }
                    progress
                }
            }
        };
        let mut progress = locked(&followed);
        loop {
            let rows = self.reader.history(execution, progress.last, EVENTS_AT_ONCE)?;
            progress.follow(&rows);
            if rows.len() < EVENTS_AT_ONCE {
                break;
            }
        }
        Ok(look(&progress))
    }
}

/// Nothing here is left half done by a panic.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why there is no page.
#[derive(Debug, Clone)]
struct Failure {
    status: u16,
    /// For people.
    message: String,
}

impl Failure {
    fn missing(message: String) -> Self {
        Self { status: 404, message }
    }

    fn wrong(message: impl Into<String>) -> Self {
        Self { status: 400, message: message.into() }
    }
}

impl From<journal::Error> for Failure {
    fn from(error: journal::Error) -> Self {
        tracing::error!(error = error.to_string(), "page failed");
        Self { status: 500, message: "The journal could not be read; the server's log says why.".to_owned() }
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self { status: error.status, message: format!("{}: {}", error.name, error.message) }
    }
}
