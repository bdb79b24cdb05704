//! The three functions of the pipeline as local Lambda functions: this very program, started as a worker.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use starmap_engine::names::Naming;
use starmap_pipeline::cache::CACHE_VARIABLE;
use starmap_pipeline::infer::ROWS_AT_ONCE_VARIABLE;
use starmap_pipeline::logging::FORMAT_VARIABLE;
use starmap_pipeline::store::StoreConfig;
use starmap_workers::function::LATEST;
use starmap_workers::{Function, Logs, Options, Resilience, Rung, Speculation};

use crate::commands::kernels;
use crate::data_root::DataRoot;
use crate::logging;
use crate::session::{Settings, now};
use crate::variables;

/// Handlers of the pipeline; a function is named `starmap-` and its handler.
pub const HANDLERS: [&str; 3] = ["initialize", "infer", "summarize"];

/// Most memory that a function can have, MiB, here and on Lambda.
const MEMORY_MIB_MAX: u32 = 10_240;
/// Cause of a worker that can't be started.
const OWN_PATH: &str = "finding this program's own file, to start workers from it";

/// The functions that the example definition names.
pub fn all(settings: &Settings, data_root: &DataRoot) -> anyhow::Result<Vec<Function>> {
    let program = std::env::current_exe().context(OWN_PATH)?;
    // A forced kernel set that is not there is refused here, and not by every worker.
    kernels::chosen()?;
    let mut environment = settings.store().environment();
    environment.push((CACHE_VARIABLE.to_owned(), data_root.model_cache().display().to_string()));
    environment.extend(kernels::forced().map(|name| (variables::KERNEL.to_owned(), name)));
    environment.push((FORMAT_VARIABLE.to_owned(), logging::format().to_owned()));
    let function = |handler: &str| Function {
        name: format!("starmap-{handler}"),
        version: LATEST.to_owned(),
        command: vec![program.clone().into_os_string(), "worker".into()],
        task_root: None,
        environment: environment.clone(),
        handler: handler.to_owned(),
        memory_mib: settings.memory_mib,
        timeout: Duration::from_secs(settings.timeout_s),
        concurrency_max: settings.concurrency,
    };
    Ok(HANDLERS.iter().map(|handler| function(handler)).collect())
}

/// A function that finds its buckets at a server and nowhere else.
pub fn through_server(function: &mut Function, server: &[(String, String)]) {
    let folder = StoreConfig::Folder(PathBuf::new()).environment();
    let emptied = folder.into_iter().map(|(variable, _)| (variable, String::new()));
    function.environment.extend(emptied.chain(StoreConfig::S3.environment()));
    for (variable, value) in server {
        // The more particular variable wins wherever both are read, and may be set for the server itself.
        if variable == variables::AWS_ENDPOINT_URL {
            function.environment.push((variables::AWS_ENDPOINT_URL_S3.to_owned(), value.clone()));
        }
        function.environment.push((variable.clone(), value.clone()));
    }
}

/// How the workers run.
pub fn options(settings: &Settings, logs: &Path) -> Options {
    let aliases = settings.aliases.iter().map(|(name, handler)| (name.clone(), format!("starmap-{handler}")));
    let clock = Arc::new(|| now().0);
    // Its results are the same however often it is asked, so it can be asked again, or twice at once.
    let resilience = Resilience { ladder: ladder(settings.memory_mib), speculation: Some(Speculation::default()) };
    Options {
        resilience: [("starmap-infer".to_owned(), resilience)].into(),
        aliases: aliases.collect(),
        logs: Logs::Folder(logs.to_owned()),
        account: Naming::default().account,
        ..Options::new(settings.concurrency, clock)
    }
}

/// What is tried when inference was over its memory: an eighth of the galaxies at once, then twice the memory.
fn ladder(memory_mib: u32) -> Vec<Rung> {
    let frugal = vec![(ROWS_AT_ONCE_VARIABLE.to_owned(), "32".to_owned())];
    let more_mib = (memory_mib * 2).min(MEMORY_MIB_MAX).max(memory_mib);
    let rung = |memory_mib| Rung { environment: frugal.clone(), memory_mib };
    vec![rung(memory_mib), rung(more_mib)]
}
