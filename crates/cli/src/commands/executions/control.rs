//! `stop` and `redrive`: what only the owner of the data root can do.
//!
//! When nobody has it, this process takes it. `serve` has it for long, and is asked through its API. `run` has it for one
//! run, and is interrupted as Ctrl-C would; what it was doing is then ended for good here.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use starmap_engine::Started;
use starmap_engine::access::everything;
use starmap_engine::invoker::{Invocation, Invoker, Invoking};
use starmap_engine::journal::{ExecutionRecord, Status};
use starmap_engine::limits::Limits;
use starmap_engine::names::Naming;
use starmap_engine::services::NoServices;
use starmap_pipeline::payload::ResultPlace;
use starmap_pipeline::repair::{Repaired, repair};
use starmap_pipeline::store::Store;
use starmap_server::iam::Store as Roles;
use starmap_sigv4::{Credentials, Payload, Request, Signing, Time, sign};

use super::{FOLLOW_INTERVAL, OneArgs, find};
use crate::apis::iam_in;
use crate::commands::run::{self, PlaceArgs, resumed_settings, runtime, see_through};
use crate::commands::run_aws;
use crate::commands::serve::ADMINISTRATOR;
use crate::data_root::{DataRoot, Holder, Taken};
use crate::printer::Printer;
use crate::session::{self, Hands, Session, Settings};
use crate::target::{Executions, TargetArgs};
use crate::{exit, functions, http, variables};

/// How long a run may take to end after it was interrupted.
const INTERRUPT_MAX: Duration = Duration::from_secs(30);

/// Arguments of `stop`.
#[derive(Debug, Args)]
pub struct StopArgs {
    #[command(flatten)]
    one: OneArgs,
    /// Error name to record
    #[arg(long, value_name = "NAME")]
    error: Option<String>,
    /// Cause to record
    #[arg(long, value_name = "TEXT")]
    cause: Option<String>,
}

/// Arguments of `redrive`.
#[derive(Debug, Args)]
pub struct RedriveArgs {
    /// Name or ARN of the execution
    #[arg(value_name = "ID")]
    execution: String,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    target: TargetArgs,
}

/// Stops an execution for good.
pub fn stop(args: &StopArgs, printer: &Printer) -> anyhow::Result<()> {
    let data = &args.one.data;
    let executions = Executions::open(&args.one.target, data)?;
    let record = executions.find(&args.one.execution)?;
    if record.status != Status::Running {
        return Err(exit::usage(format!(
            "execution {} has ended already ({}); there is nothing to stop",
            record.name,
            record.status.as_str()
        )));
    }
    if let Executions::Aws { remote, runtime } = &executions {
        runtime.block_on(remote.stop(&record.arn, args.error.as_deref(), args.cause.as_deref()))?;
        return stopped(&record, printer);
    }
    drop(executions);
    match DataRoot::try_take(data)? {
        Taken::Ours(data_root) => abort(data_root, &record, args)?,
        Taken::Theirs(Some(Holder { address: Some(address), .. })) => {
            let mut request = json!({ "executionArn": record.arn });
            for (key, value) in [("error", &args.error), ("cause", &args.cause)] {
                if let Some(value) = value {
                    request[key] = json!(value);
                }
            }
            ask(data, &address.to_string(), "StopExecution", &request)?;
        }
        Taken::Theirs(Some(holder)) => {
            printer.note(&format!("interrupting the run that has it (pid {})", holder.pid));
            abort(interrupt(data, &holder)?, &record, args)?;
        }
        Taken::Theirs(None) => return Err(unknown_holder(data)),
    }
    stopped(&record, printer)
}

fn stopped(record: &ExecutionRecord, printer: &Printer) -> anyhow::Result<()> {
    printer.result(&format!("execution {} is stopped", record.name));
    printer.object(&json!({ "status": Status::Aborted.as_str(), "name": record.name, "execution_arn": record.arn }));
    Ok(())
}

/// Ends an interrupted execution in the journal. Its tasks are taken up and cancelled at once: no worker begins.
fn abort(data_root: DataRoot, record: &ExecutionRecord, args: &StopArgs) -> anyhow::Result<()> {
    let settings = run::recorded_settings(record).unwrap_or_else(|| Settings::of_nothing(data_root.path()));
    runtime()?.block_on(async {
        let options = functions::options(&settings, &data_root.logs());
        let session = Session::open_with(data_root, &settings, options, Limits::default(), |_| {
            Ok(Hands { invoker: Arc::new(Nobody), services: Arc::new(NoServices), access: everything() })
        });
        let session = session.await?;
        let stopped = async {
            let started = session.engine.resume(&record.arn).await?;
            session.engine.stop_execution(started.id, args.error.clone(), args.cause.clone()).await?;
            session.engine.wait(started.id).await
        };
        let stopped = stopped.await;
        session.close().await;
        stopped.map(drop).with_context(|| format!("stopping execution {}", record.name))
    })
}

/// Carries nothing out.
struct Nobody;

impl Invoker for Nobody {
    fn invoke(self: Arc<Self>, _: Invocation) -> Invoking {
        Box::pin(std::future::pending())
    }
}

/// Ends the run that has a data root, politely, and takes it.
fn interrupt(data: &Path, holder: &Holder) -> anyhow::Result<DataRoot> {
    let pid = Pid::from_raw(holder.pid).context("the process that has the data root has no number")?;
    kill_process(pid, Signal::INT).with_context(|| format!("interrupting process {}", holder.pid))?;
    let since = Instant::now();
    loop {
        if let Taken::Ours(data_root) = DataRoot::try_take(data)? {
            return Ok(data_root);
        }
        if since.elapsed() > INTERRUPT_MAX {
            anyhow::bail!(
                "process {} did not end within {} s of being interrupted",
                holder.pid,
                INTERRUPT_MAX.as_secs()
            );
        }
        std::thread::sleep(FOLLOW_INTERVAL);
    }
}

/// Runs again what failed; returns the exit code.
pub fn redrive(args: &RedriveArgs, printer: &Printer) -> anyhow::Result<u8> {
    if args.target.is_aws() {
        let executions = Executions::open(&args.target, &args.place.data)?;
        let record = executions.find(&args.execution)?;
        check_redrivable(&record)?;
        return run_aws::redrive(&executions, &record, &args.place.data, &args.target, printer);
    }
    args.target.check_local(false)?;
    let data = &args.place.data;
    let one = OneArgs { execution: args.execution.clone(), data: data.clone(), target: TargetArgs::default() };
    let taken = DataRoot::try_take(data)?;
    if let Taken::Ours(data_root) = &taken {
        session::bring_up_to_date(data_root)?;
    }
    let journal = session::reader(data)?;
    let record = find(&journal, &one)?;
    check_redrivable(&record)?;
    let settings = resumed_settings(&record, &args.place)?;
    let store = Store::open(&settings.store()).context("opening the buckets")?;
    match taken {
        Taken::Ours(data_root) => runtime()?.block_on(async {
            mended(&record, &store, printer).await?;
            let session = Session::open(data_root, &settings).await?;
            match session.engine.redrive_execution(&record.arn).await {
                Ok(_) => {
                    let started = Started { id: record.id, arn: record.arn.clone(), started_at: record.started_at };
                    Ok(see_through(session, &started, &settings, printer).await?.code)
                }
                Err(error) => {
                    session.close().await;
                    Err(exit::usage(error.to_string()))
                }
            }
        }),
        Taken::Theirs(Some(Holder { address: Some(address), .. })) => {
            runtime()?.block_on(mended(&record, &store, printer))?;
            ask(data, &address.to_string(), "RedriveExecution", &json!({ "executionArn": record.arn }))?;
            printer.result(&format!("execution {} is redriven by the server at {address}", record.name));
            printer.object(&json!({ "status": "RUNNING", "name": record.name, "execution_arn": record.arn }));
            Ok(0)
        }
        Taken::Theirs(Some(holder)) => Err(exit::usage(format!(
            "data root {}: a run is using it (pid {})\nhint: redrive when it has ended",
            data.display(),
            holder.pid
        ))),
        Taken::Theirs(None) => Err(unknown_holder(data)),
    }
}

fn check_redrivable(record: &ExecutionRecord) -> anyhow::Result<()> {
    if !matches!(record.status, Status::Running | Status::Succeeded) {
        return Ok(());
    }
    Err(exit::usage(format!(
        "execution {} is {}; only one that ended without success can be redriven",
        record.name,
        record.status.as_str()
    )))
}

/// Takes note of partitions that were mended since. An execution of another kind has none.
pub async fn mended(record: &ExecutionRecord, store: &Store, printer: &Printer) -> anyhow::Result<()> {
    let Ok(place) = ResultPlace::find(&record.input) else { return Ok(()) };
    // Without a plan nothing was begun, and Initialize will look itself.
    let location = place.object(starmap_pipeline::results::names::PAYLOAD);
    if store.head(&location.bucket, &location.key).await.ok().flatten().is_none() {
        return Ok(());
    }
    let place = ResultPlace { run_id: Some(place.run_id.unwrap_or_else(|| record.name.clone())), ..place };
    for Repaired { key, rows_before, rows, .. } in repair(store, &place).await? {
        printer.note(&format!("{key} has changed and will be read anew ({rows_before} galaxies before, {rows} now)"));
    }
    Ok(())
}

/// Asks the server that has the data root, in the protocol of Step Functions; signed, if there is a key to sign with.
fn ask(data: &Path, authority: &str, action: &str, request: &Value) -> anyhow::Result<()> {
    let (target, body) = (format!("AWSStepFunctions.{action}"), request.to_string());
    let mut headers = vec![("Content-Type", "application/x-amz-json-1.0"), ("X-Amz-Target", target.as_str())];
    let signed = credentials(data)?.map(|credentials| {
        let signed: Vec<(&str, &[u8])> =
            [("host", authority)].iter().chain(&headers).map(|(name, value)| (*name, value.as_bytes())).collect();
        let request = Request { method: "POST", path: "/", query: "", headers: &signed };
        let region = Naming::default().region;
        let at = Time(session::now().0.div_euclid(1000));
        let signing = Signing { credentials: &credentials, region: &region, service: "states", at };
        sign(&request, Payload::Bytes(body.as_bytes()), &signing).headers
    });
    headers.extend(signed.iter().flatten().map(|(name, value)| (*name, value.as_str())));
    let answered = http::post(authority, "/", &headers, body.as_bytes());
    let (status, body) = answered.with_context(|| format!("asking the server at {authority} for {action}"))?;
    if status == 200 {
        return Ok(());
    }
    let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
    let text = |key: &str| answer.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    anyhow::bail!("the server at {authority} refused {action}: {} {}", text("__type"), text("message"))
}

/// The key to ask with: the environment's, else an administrator's of the data root, which belongs to whoever can read it.
fn credentials(data: &Path) -> anyhow::Result<Option<Credentials>> {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let given = variable(variables::AWS_ACCESS_KEY_ID).zip(variable(variables::AWS_SECRET_ACCESS_KEY));
    if let Some((access_key_id, secret_access_key)) = given {
        let session_token = variable("AWS_SESSION_TOKEN");
        return Ok(Some(Credentials { access_key_id, secret_access_key, session_token }));
    }
    let Some(directory) = Roles::load(&iam_in(data))? else { return Ok(None) };
    let administrator = directory.user(ADMINISTRATOR).ok();
    let key = administrator.and_then(|user| user.keys.iter().find(|key| key.is_active).cloned());
    Ok(key.map(|key| Credentials { access_key_id: key.id, secret_access_key: key.secret, session_token: None }))
}

fn unknown_holder(data: &Path) -> anyhow::Error {
    exit::usage(format!(
        "data root {}: another starmap process is using it and does not say which\nhint: wait for it to end",
        data.display()
    ))
}
