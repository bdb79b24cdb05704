//! The three functions of the pipeline as local Lambda functions: this very program, started as a worker.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use starmap_engine::names::Naming;
use starmap_workers::function::LATEST;
use starmap_workers::{Function, Logs, Options};

use crate::commands::kernels;
use crate::session::{Settings, now};
use crate::variables;

/// Handlers of the pipeline; a function is named `starmap-` and its handler.
pub const HANDLERS: [&str; 3] = ["initialize", "infer", "summarize"];

/// Cause of a worker that can't be started.
const OWN_PATH: &str = "finding this program's own file, to start workers from it";

/// The functions that the example definition names.
pub fn all(settings: &Settings) -> anyhow::Result<Vec<Function>> {
    let program = std::env::current_exe().context(OWN_PATH)?;
    // A forced kernel set that is not there is refused here, and not by every worker.
    kernels::chosen()?;
    let mut environment = settings.store().environment();
    environment.extend(kernels::forced().map(|name| (variables::KERNEL.to_owned(), name)));
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

/// How the workers run.
pub fn options(settings: &Settings, logs: &Path) -> Options {
    let aliases = settings.aliases.iter().map(|(name, handler)| (name.clone(), format!("starmap-{handler}")));
    let clock = Arc::new(|| now().0);
    Options {
        aliases: aliases.collect(),
        logs: Logs::Folder(logs.to_owned()),
        account: Naming::default().account,
        ..Options::new(settings.concurrency, clock)
    }
}
