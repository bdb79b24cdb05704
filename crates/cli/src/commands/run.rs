//! `starmap run`: an input JSON in, one proven redshift per galaxy out.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use starmap_astromae::Precision;
use starmap_engine::journal::{ExecutionFilter, ExecutionRecord, Reader, Status};
use starmap_engine::{Start, Started};
use starmap_pipeline::payload::{Input, ResultPlace};
use starmap_pipeline::store::Store;
use starmap_server::{Hosts, Router, Server, StepFunctions};
use tokio::sync::oneshot;

use crate::billing::BillArgs;
use crate::commands::run_aws;
use crate::data_root::DataRoot;
use crate::printer::Printer;
use crate::session::{Session, Settings, now};
use crate::target::TargetArgs;
use crate::{definition, exit, outcome, progress, session, traces, variables};

/// The state machine that runs unless another one is given; the same file runs on AWS.
pub const EXAMPLE_DEFINITION: &str = include_str!("../../../../examples/redshift/state-machine.asl.json");

/// Arguments of `starmap run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The input JSON of the execution, as the published pipeline takes it
    #[arg(value_name = "INPUT.json", required_unless_present = "resume")]
    input: Option<PathBuf>,
    /// Take up an execution that was interrupted, by name or ARN; finished partitions are not repeated
    #[arg(long, value_name = "ID", conflicts_with_all = ["input", "definition", "name", "overwrite", "bad_pixels", "precision", "force_precision"])]
    resume: Option<String>,
    /// State machine definition (Amazon States Language) in place of the built-in one
    #[arg(long, value_name = "FILE")]
    definition: Option<PathBuf>,
    /// Which of our functions a function name in the definition stands for: NAME=initialize|infer|summarize
    #[arg(long = "function", value_name = "NAME=HANDLER", value_parser = definition::parse_alias)]
    functions: Vec<(String, String)>,
    /// Name of the execution and id of the run [default: redshift-<UTC time>-<random>]
    #[arg(long)]
    name: Option<String>,
    /// Replace the results of another run under the same result path
    #[arg(long)]
    overwrite: bool,
    /// What to do with galaxies that have NaN or infinite pixels or magnitudes [default: refuse]
    #[arg(long, value_name = "POLICY")]
    bad_pixels: Option<BadPixels>,
    /// In how many bits the model's large layers multiply: f32, int16, bf16 or int8 [default: f32]
    #[arg(long, value_name = "PRECISION")]
    precision: Option<Precision>,
    /// Use a reduced precision even where it changes the first partition's redshifts more than its bound
    #[arg(long)]
    force_precision: bool,
    /// Serve the console while the run lasts, on a free port of 127.0.0.1 unless another address is given
    #[arg(long, value_name = "ADDR", num_args = 0..=1, default_missing_value = "127.0.0.1:0", require_equals = true)]
    console: Option<SocketAddr>,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    target: TargetArgs,
}

/// Where and with how much a run is carried out.
#[derive(Debug, Args)]
pub struct PlaceArgs {
    /// Folder for the journal, the logs and, by default, the buckets
    #[arg(long, value_name = "DIR", env = variables::DATA, default_value = "starmap-data")]
    pub data: PathBuf,
    /// Folder whose subfolders are buckets [default: `buckets` in the data folder]
    #[arg(long, value_name = "DIR", env = variables::BUCKETS, conflicts_with = "s3")]
    buckets: Option<PathBuf>,
    /// Read from and write to S3 itself, or a compatible store at AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL
    #[arg(long)]
    s3: bool,
    /// Workers that run at once; each has one compute thread [default: as many as cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    concurrency: Option<u16>,
    /// Memory of a function in MiB, enforced [default: 1769, one vCPU on AWS]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(128..=10_240))]
    memory: Option<u32>,
    /// OpenTelemetry collector to send traces to when an execution has ended, as http://127.0.0.1:4318 [default: none]
    #[arg(long, value_name = "URL", env = variables::OTLP)]
    pub otlp: Option<String>,
    /// Time limit of one invocation in seconds [default: 900]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=900))]
    timeout: Option<u64>,
}

/// What to do with galaxies that have NaN or infinite pixels or magnitudes.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum BadPixels {
    /// Fail the partition, naming its rows
    Refuse,
    /// Store no redshift for them and set their flag
    Flag,
}

/// A run that has been checked as far as it can be without reading any data.
#[derive(Debug)]
pub struct Plan {
    /// Name of the execution.
    pub name: String,
    /// Input of the execution.
    pub input: Value,
    /// Definition of the state machine, ASL text.
    pub definition: String,
    /// How it is carried out.
    pub settings: Settings,
}

/// Runs the command.
pub fn run(args: &RunArgs, printer: &Printer) -> anyhow::Result<ExitCode> {
    if args.target.is_aws() {
        refuse_what_is_local(args)?;
        let name = args.name.clone().unwrap_or_else(fresh_name);
        let plan = run_aws::Plan {
            name: (name, args.name.is_some()),
            input: checked_input(args)?,
            data: args.place.data.clone(),
        };
        return Ok(ExitCode::from(run_aws::run(&plan, &args.target, printer)?.code));
    }
    args.target.check_local(false)?;
    let code = match &args.resume {
        Some(execution) => resume(execution, &args.place, args.console, printer)?,
        None => {
            let plan = plan(args, printer)?;
            let (name, settings) = (plan.name.clone(), plan.settings.clone());
            let code = execute(plan, &args.place.data, args.console, printer)?.code;
            trace(&args.place, &name, &settings, printer);
            code
        }
    };
    Ok(ExitCode::from(code))
}

/// Carries out a plan to its end and prints how it went.
pub fn execute(
    plan: Plan,
    data: &Path,
    console: Option<SocketAddr>,
    printer: &Printer,
) -> anyhow::Result<outcome::Shown> {
    let data_root = DataRoot::take(data)?;
    runtime()?.block_on(async {
        let session = Session::open(data_root, &plan.settings).await?;
        if let Some(other) = user_of_results(&session.reader()?, &plan.input)? {
            session.close().await;
            return Err(exit::usage(format!(
                "execution {other} writes to this result path and has not ended\n\
                 hint: go on with it (`starmap run --resume {other}`) or end it (`starmap executions stop {other}`)"
            )));
        }
        let _console = shown_console(&session, console, printer).await?;
        let digest = Sha256::digest(plan.definition.as_bytes());
        // A changed definition is another state machine; the old one stays with the executions that used it.
        let machine = format!("redshift-{:02x}{:02x}{:02x}{:02x}", digest[0], digest[1], digest[2], digest[3]);
        let created = session.engine.create_state_machine(&machine, &plan.definition).await;
        let started = match created {
            Ok(_) => {
                let annotations = serde_json::to_value(&plan.settings)?;
                let start = Start { state_machine: machine, name: plan.name, input: plan.input, annotations };
                session.engine.start_execution(start).await
            }
            Err(error) => Err(error),
        };
        match started {
            Ok(started) => see_through(session, &started, &plan.settings, printer).await,
            Err(error) => {
                session.close().await;
                Err(exit::usage(error.to_string()))
            }
        }
    })
}

/// The execution that has not ended and writes where this input would, if there is one. Not even `--overwrite` takes a
/// running execution's results away.
fn user_of_results(journal: &dyn Reader, input: &Value) -> anyhow::Result<Option<String>> {
    let Ok(ours) = ResultPlace::find(input) else { return Ok(None) };
    let running = ExecutionFilter { status: Some(Status::Running), ..ExecutionFilter::everyone() };
    for summary in journal.executions(&running, None, usize::MAX)? {
        let Some(record) = journal.execution(summary.id)? else { continue };
        let theirs = ResultPlace::find(&record.input).ok();
        if theirs.is_some_and(|theirs| (theirs.bucket, theirs.path) == (ours.bucket.clone(), ours.path.clone())) {
            return Ok(Some(record.name));
        }
    }
    Ok(None)
}

/// Takes up an interrupted execution; returns the exit code.
pub fn resume(
    execution: &str,
    place: &PlaceArgs,
    console: Option<SocketAddr>,
    printer: &Printer,
) -> anyhow::Result<u8> {
    let data_root = DataRoot::take(&place.data)?;
    session::bring_up_to_date(&data_root)?;
    let record = session::reader(data_root.path())?.find_execution(execution)?;
    let record = record.ok_or_else(|| {
        exit::usage(format!(
            "there is no execution {execution} in data root {}\n\
             hint: `starmap executions list` shows those that are",
            data_root.path().display()
        ))
    })?;
    let settings = resumed_settings(&record, place)?;
    if record.status != Status::Running {
        return Err(exit::usage(format!(
            "execution {} has ended ({}); only an interrupted one can be resumed\n\
             hint: `starmap executions show {}` says how it went",
            record.name,
            record.status.as_str(),
            record.name
        )));
    }
    runtime()?
        .block_on(async {
            let session = Session::open(data_root, &settings).await?;
            let _console = shown_console(&session, console, printer).await?;
            let resumed = session.engine.resume(&record.arn).await;
            match resumed {
                Ok(started) => Ok(see_through(session, &started, &settings, printer).await?.code),
                Err(error) => {
                    session.close().await;
                    Err(error.into())
                }
            }
        })
        .inspect(|_| trace(place, &record.name, &settings, printer))
}

/// Sends the traces of an execution that has ended, if they are wanted. That they can't be sent does not change how it
/// ended.
pub fn trace(place: &PlaceArgs, execution: &str, settings: &Settings, printer: &Printer) {
    let Some(endpoint) = &place.otlp else { return };
    let sent = || -> anyhow::Result<()> {
        let journal = session::reader(&place.data)?;
        let Some(record) = journal.find_execution(execution)? else { return Ok(()) };
        if record.status == Status::Running {
            return Ok(());
        }
        let spans = runtime()?.block_on(traces::spans(&journal, &record, settings))?;
        traces::send(endpoint, &spans)
    };
    if let Err(error) = sent() {
        printer.warning(&format!("traces of execution {execution} were not sent: {error:#}"));
    }
}

/// Serves the console, and says where, until what is answered is dropped.
async fn shown_console(
    session: &Session,
    address: Option<SocketAddr>,
    printer: &Printer,
) -> anyhow::Result<Option<oneshot::Sender<()>>> {
    let Some(address) = address else { return Ok(None) };
    let step_functions = Arc::new(StepFunctions::new(Arc::clone(&session.engine), Arc::new(now)));
    let console = session.console(&step_functions, None)?;
    let hosts = if address.ip().is_loopback() { Hosts::Loopback } else { Hosts::Any };
    let bound = Server::bind(address, Router::new().with_console(console).known_as(hosts)).await;
    let server = bound.map_err(|error| exit::usage(format!("--console {address}: {error}")))?;
    let address = server.local_addr().context("asking for the address")?;
    printer.note(&format!("console http://{address}/console/"));
    let (stop, stopped) = oneshot::channel();
    tokio::spawn(server.run(async move { drop(stopped.await) }));
    Ok(Some(stop))
}

/// Stops an execution that was interrupted and that nobody will resume; one that has ended, or never began, stays so.
pub fn stop(execution: &str, data: &Path) -> anyhow::Result<()> {
    let data_root = DataRoot::take(data)?;
    session::bring_up_to_date(&data_root)?;
    let found = session::reader(data_root.path())?.find_execution(execution)?;
    let Some(record) = found.filter(|record| record.status == Status::Running) else { return Ok(()) };
    let settings: Settings = serde_json::from_value(record.annotations.clone())
        .with_context(|| format!("reading the settings of execution {execution}"))?;
    runtime()?.block_on(async {
        let session = Session::open(data_root, &settings).await?;
        let stopped = async {
            let resumed = session.engine.resume(&record.arn).await?;
            let cause = "it was interrupted, and is begun again as another execution".to_owned();
            session.engine.stop_execution(resumed.id, Some("Starmap.Interrupted".to_owned()), Some(cause)).await?;
            session.engine.wait(resumed.id).await
        };
        let stopped = stopped.await;
        session.close().await;
        stopped.map(drop).with_context(|| format!("stopping execution {execution}, which was interrupted"))
    })
}

/// The settings that an execution was started with, but for those that are given now.
pub fn resumed_settings(record: &ExecutionRecord, place: &PlaceArgs) -> anyhow::Result<Settings> {
    // An execution that was started by the API of `serve` has none.
    let Some(mut settings) = recorded_settings(record) else { return settings(place) };
    if let Some(concurrency) = place.concurrency {
        settings.concurrency = usize::from(concurrency);
    }
    settings.memory_mib = place.memory.unwrap_or(settings.memory_mib);
    settings.timeout_s = place.timeout.unwrap_or(settings.timeout_s);
    if place.s3 {
        settings.buckets = None;
        check_s3_is_configured()?;
    } else if let Some(folder) = &place.buckets {
        settings.buckets = Some(bucket_folder(folder)?);
    }
    Ok(settings)
}

/// The settings that are kept with an execution, if `run` started it.
pub fn recorded_settings(record: &ExecutionRecord) -> Option<Settings> {
    serde_json::from_value(record.annotations.clone()).ok()
}

/// Waits for the end, showing progress; the first Ctrl-C stops politely, the second at once.
pub async fn see_through(
    session: Session,
    started: &Started,
    settings: &Settings,
    printer: &Printer,
) -> anyhow::Result<outcome::Shown> {
    let name = started.arn.rsplit(':').next().unwrap_or(&started.arn).to_owned();
    printer.note(&format!("execution {name}, {} workers", settings.concurrency));
    let ended = tokio::select! {
        ended = session.engine.wait(started.id) => Some(ended),
        never = progress::show(&session.engine, started.id, printer) => match never {},
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.context("listening for Ctrl-C")?;
            None
        }
    };
    printer.status_line("");
    let Some(ended) = ended else {
        printer.note("stopping; press Ctrl-C again to stop at once");
        tokio::select! {
            () = session.close() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        return outcome::interrupted(&name, &started.arn, printer);
    };
    let reader = session.reader()?;
    session.close().await;
    if let Err(error) = ended {
        return Err(anyhow::Error::new(error)
            .context(format!("execution {name} was interrupted; resume it with `starmap run --resume {name}`")));
    }
    let store = Store::open(&settings.store()).context("opening the buckets")?;
    outcome::show(&reader, started.id, &store, &BillArgs::default(), printer).await
}

/// On AWS the state machine is what it is there, and so is what its functions have.
fn refuse_what_is_local(args: &RunArgs) -> anyhow::Result<()> {
    let PlaceArgs { buckets, concurrency, memory, otlp, timeout, .. } = &args.place;
    let given = [
        ("--resume", args.resume.is_some(), "the same --name takes up what runs there"),
        (
            "--definition",
            args.definition.is_some(),
            "--state-machine names the one to run; its definition is changed by deploying it",
        ),
        ("--function", !args.functions.is_empty(), "the definition there names its functions"),
        ("--console", args.console.is_some(), "AWS has its own; starmap serve shows what runs here"),
        ("--buckets", buckets.is_some(), "buckets are on S3"),
        ("--concurrency", concurrency.is_some(), "it is the MaxConcurrency of the definition there"),
        ("--memory", memory.is_some(), "it is a setting of the functions there"),
        ("--timeout", timeout.is_some(), "it is a setting of the functions there"),
        ("--otlp", otlp.is_some(), "tracing there is AWS X-Ray's"),
    ];
    match given.iter().find(|(_, given, _)| *given) {
        None => Ok(()),
        Some((option, _, why)) => Err(exit::usage(format!("{option} does not go with --target aws: {why}"))),
    }
}

/// The input with what the arguments add to it, checked.
fn checked_input(args: &RunArgs) -> anyhow::Result<Value> {
    let path = args.input.as_deref().unwrap_or(Path::new("-"));
    let mut input = read_input(path)?;
    if let Value::Object(keys) = &mut input {
        if args.overwrite {
            keys.insert("overwrite".to_owned(), json!(true));
        }
        if let Some(policy) = args.bad_pixels {
            let policy = match policy {
                BadPixels::Refuse => "refuse",
                BadPixels::Flag => "flag",
            };
            keys.insert("bad_pixels".to_owned(), json!(policy));
        }
        if let Some(precision) = args.precision {
            keys.insert("precision".to_owned(), json!(precision.name()));
        }
        if args.force_precision {
            keys.insert("force_precision".to_owned(), json!(true));
        }
    }
    if let Err(error) = Input::parse(&input) {
        return Err(exit::usage(format!("input {}: {error}", path.display())));
    }
    Ok(input)
}

/// Checks all that can be checked before any work starts.
fn plan(args: &RunArgs, printer: &Printer) -> anyhow::Result<Plan> {
    let mut input = checked_input(args)?;
    let name = match &args.name {
        Some(name) => name.clone(),
        None => fresh_name(),
    };
    let mut settings = settings(&args.place)?;
    let definition = match &args.definition {
        None => EXAMPLE_DEFINITION.to_owned(),
        Some(file) => {
            let text = std::fs::read_to_string(file)
                .map_err(|error| exit::usage(format!("definition {}: {error}", file.display())))?;
            settings.aliases = definition::aliases(file, &text, &args.functions)?;
            // A published definition does not pass the execution's name on; this is how the run's id gets there.
            if let Value::Object(keys) = &mut input {
                keys.entry("run_id").or_insert_with(|| json!(name));
            }
            text
        }
    };
    if settings.aliases.is_empty() && !args.functions.is_empty() {
        printer.warning("--function has no effect without --definition");
    }
    Ok(Plan { name, input, definition, settings })
}

fn read_input(path: &Path) -> anyhow::Result<Value> {
    let read =
        if path == Path::new("-") { std::io::read_to_string(std::io::stdin()) } else { std::fs::read_to_string(path) };
    let text = read.map_err(|error| exit::usage(format!("input {}: {error}", path.display())))?;
    serde_json::from_str(&text)
        .map_err(|error| exit::usage(format!("input {}: this is not JSON: {error}", path.display())))
}

/// The settings that the arguments ask for; folders are made absolute because workers are told of them.
pub fn settings(place: &PlaceArgs) -> anyhow::Result<Settings> {
    let buckets = if place.s3 {
        check_s3_is_configured()?;
        None
    } else {
        let default = || place.data.join("buckets");
        Some(bucket_folder(&place.buckets.clone().unwrap_or_else(default))?)
    };
    Ok(Settings {
        buckets,
        concurrency: place.concurrency.map_or_else(session::cores, usize::from),
        memory_mib: place.memory.unwrap_or(1_769),
        timeout_s: place.timeout.unwrap_or(900),
        aliases: BTreeMap::new(),
    })
}

fn bucket_folder(folder: &Path) -> anyhow::Result<PathBuf> {
    folder.canonicalize().map_err(|error| {
        exit::usage(format!(
            "buckets {}: {error}\n\
             hint: --buckets names a folder whose subfolders are buckets; `starmap data synth` makes partitions",
            folder.display()
        ))
    })
}

fn check_s3_is_configured() -> anyhow::Result<()> {
    let given = [variables::AWS_ENDPOINT_URL, variables::AWS_ENDPOINT_URL_S3, variables::AWS_ACCESS_KEY_ID];
    let mut any = given.iter().chain(&variables::AWS_OTHER_CREDENTIALS);
    if any.any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty())) {
        return Ok(());
    }
    Err(exit::usage(
        "--s3: neither credentials nor an endpoint are set in the environment\n\
         hint: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and AWS_ENDPOINT_URL_S3 for a store that is not AWS's",
    ))
}

/// `redshift-20261124T014757-1f3a9c`: sorts by time, unique without asking anyone.
pub fn fresh_name() -> String {
    let at = jiff::Timestamp::from_millisecond(now().0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let random = uuid::Uuid::new_v4().simple().to_string();
    format!("redshift-{}-{}", at.strftime("%Y%m%dT%H%M%S"), &random[..6])
}

/// The runtime that engine, workers and progress share; computing happens in the workers.
pub fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let built = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    built.context("starting the runtime")
}
