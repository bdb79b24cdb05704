//! `starmap run --target aws`: the same input, the same proof and the same report, carried out by AWS.
//!
//! Nothing is kept on this machine that AWS does not have: run again with the same name, this follows the execution that is
//! there, or fetches the results of one that has ended.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::Value;
use starmap_asl::Timestamp;
use starmap_engine::billing::Architecture;
use starmap_engine::journal::{ExecutionRecord, Status};
use starmap_engine::names::invalid_name;
use starmap_pipeline::payload::{Input, ResultPlace};
use starmap_pipeline::results::names;
use starmap_pipeline::store::{Store, StoreConfig};
use starmap_pipeline::verify::verify_results;

use crate::aws::error::CallError;
use crate::aws::executions::{Machine, Remote, refused};
use crate::aws::mirror::Mirror;
use crate::aws::reports::{self, Function};
use crate::billing::BillArgs;
use crate::commands::executions::mended;
use crate::commands::run::runtime;
use crate::printer::Printer;
use crate::progress::Display;
use crate::target::{self, Executions, TargetArgs};
use crate::{definition, exit, outcome};

/// Between two looks at the execution, at first and at last.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// How long no answer is an interruption, and not the end of following.
const SILENCE_MAX: Duration = Duration::from_secs(300);
/// Between two looks for REPORT lines that are still to come.
const REPORTS_AGAIN: Duration = Duration::from_secs(3);
/// How long REPORT lines are waited for.
const REPORTS_MAX: Duration = Duration::from_secs(60);
/// Running executions whose inputs are compared.
const RUNNING_MAX: usize = 25;

/// What is asked for.
#[derive(Debug)]
pub struct Plan {
    /// Name of the execution, and whether somebody chose it.
    pub name: (String, bool),
    /// Its input, which was checked.
    pub input: Value,
    /// Folder that results are fetched to.
    pub data: PathBuf,
}

/// Runs the command to the end of the execution; Ctrl-C leaves it to AWS.
pub fn run(plan: &Plan, args: &TargetArgs, printer: &Printer) -> anyhow::Result<outcome::Shown> {
    let (name, is_named) = (&plan.name.0, plan.name.1);
    if let Some(problem) = invalid_name(name) {
        return Err(exit::usage(format!("--name {name:?}: {problem}")));
    }
    let input = Input::parse(&plan.input).map_err(|error| exit::usage(error.to_string()))?;
    runtime()?.block_on(async {
        let remote = args.connect().await?;
        let machine = remote.describe().await?;
        let store = target::store(&remote.aws)?;
        let found = if is_named { remote.find(name).await.map_err(refused)? } else { None };
        let arn = match found {
            Some(record) => {
                taken_up(&record, plan, printer)?;
                record.arn
            }
            None => {
                check(&remote, &store, &input, &plan.input).await?;
                remote.start(name, &plan.input).await.map_err(refused)?
            }
        };
        printer.note(&format!("execution {name} of {}; Ctrl-C leaves it running there", remote.machine));
        see_through(&remote, &machine, &Begun { arn, name, redrives: 0 }, &store, &plan.data, args, printer).await
    })
}

/// Runs again what failed of an execution there, and follows it; returns the exit code.
pub fn redrive(
    executions: &Executions,
    record: &ExecutionRecord,
    data: &Path,
    args: &TargetArgs,
    printer: &Printer,
) -> anyhow::Result<u8> {
    let Executions::Aws { remote, runtime } = executions else {
        return Err(exit::bug("a redrive on AWS of an execution here"));
    };
    runtime.block_on(async {
        let machine = remote.describe().await?;
        let store = target::store(&remote.aws)?;
        mended(record, &store, printer).await?;
        remote.redrive(&record.arn).await.map_err(refused)?;
        printer.note(&format!("execution {} is redriven; Ctrl-C leaves it running there", record.name));
        let begun = Begun { arn: record.arn.clone(), name: &record.name, redrives: record.redrive_count + 1 };
        see_through(remote, &machine, &begun, &store, data, args, printer).await.map(|shown| shown.code)
    })
}

/// An execution that goes on there.
#[derive(Debug)]
struct Begun<'a> {
    arn: String,
    name: &'a str,
    /// How often it was redriven. AWS may tell for a moment how it ended before the last time.
    redrives: u32,
}

/// Follows an execution and shows how it ended; Ctrl-C leaves it.
async fn see_through(
    remote: &Remote,
    machine: &Machine,
    begun: &Begun<'_>,
    store: &Store,
    data: &Path,
    args: &TargetArgs,
    printer: &Printer,
) -> anyhow::Result<outcome::Shown> {
    let Begun { arn, name, .. } = begun;
    let ended = tokio::select! {
        ended = follow(remote, begun, printer) => Some(ended),
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.context("listening for Ctrl-C")?;
            None
        }
    };
    printer.status_line("");
    let again = again(args);
    let Some(ended) = ended else { return Ok(outcome::left(name, arn, &again, printer)) };
    let record = ended.with_context(|| {
        format!(
            "execution {name} goes on at AWS, and could not be followed\nhint: `{again} --name {name}` follows it again"
        )
    })?;
    ended_there(remote, machine, &record, store, data, printer).await
}

/// The command to come back with.
fn again(args: &TargetArgs) -> String {
    let mut command = "starmap run INPUT.json --target aws".to_owned();
    for (option, value) in
        [("--state-machine", &args.state_machine), ("--region", &args.aws.region), ("--profile", &args.aws.profile)]
    {
        if let Some(value) = value {
            command.push_str(&format!(" {option} {value}"));
        }
    }
    command
}

/// Whether an execution of that name is the one that is asked for.
fn taken_up(record: &ExecutionRecord, plan: &Plan, printer: &Printer) -> anyhow::Result<()> {
    if record.input != plan.input {
        return Err(exit::usage(format!(
            "execution {} is there already ({}), with another input\n\
             hint: choose another --name; `starmap executions show {} --target aws --json` has its input",
            record.name,
            record.status.as_str(),
            record.name
        )));
    }
    printer.note(&format!("execution {} is there already ({}); it is taken up", record.name, record.status.as_str()));
    Ok(())
}

/// What can be checked before any work starts: the buckets are there and may be looked into, and no execution that has not
/// ended writes where this one would.
async fn check(remote: &Remote, store: &Store, input: &Input, json: &Value) -> anyhow::Result<()> {
    let ours = input.results();
    for bucket in BTreeSet::from([&ours.bucket, &input.data_bucket]) {
        store.check_bucket(bucket).await.map_err(|error| exit::usage(error.to_string()))?;
    }
    let (running, _) = remote.page(Some(Status::Running), false, None).await.map_err(refused)?;
    for other in running.iter().take(RUNNING_MAX) {
        let Some(other) = remote.find(&other.arn).await.map_err(refused)? else { continue };
        let theirs = ResultPlace::find(&other.input).ok();
        if other.input != *json
            && theirs.is_none_or(|theirs| (&theirs.bucket, &theirs.path) != (&ours.bucket, &ours.path))
        {
            continue;
        }
        return Err(exit::usage(format!(
            "execution {} writes to this result path and has not ended\n\
             hint: follow it (--name {}) or end it (`starmap executions stop {} --target aws`)",
            other.name, other.name, other.name
        )));
    }
    Ok(())
}

/// What is kept between two looks.
#[derive(Debug, Default)]
struct Seen {
    display: Display,
    /// The last map run, and the name of its state.
    state: Option<(String, String)>,
}

/// Looks at an execution until it has ended. What takes long is looked at less and less often.
async fn follow(remote: &Remote, begun: &Begun<'_>, printer: &Printer) -> anyhow::Result<ExecutionRecord> {
    let (mut pause, mut seen, mut silent_since) = (LOOK_AGAIN.0, Seen::default(), None::<Instant>);
    loop {
        match look(remote, begun, &mut seen, printer).await {
            Ok(Some(ended)) => return Ok(ended),
            Ok(None) => silent_since = None,
            // The client has tried again already; the execution does not depend on us.
            Err(error) if error.code().is_none_or(|code| code.starts_with("HTTP 5")) => {
                let since = *silent_since.get_or_insert_with(Instant::now);
                if since.elapsed() > SILENCE_MAX {
                    return Err(error.into());
                }
                printer.note(&format!("{error}\nlooking again"));
            }
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(LOOK_AGAIN.1);
    }
}

async fn look(
    remote: &Remote,
    begun: &Begun<'_>,
    seen: &mut Seen,
    printer: &Printer,
) -> Result<Option<ExecutionRecord>, CallError> {
    // An execution that was just started may not be known yet.
    let Some(found) = remote.find(&begun.arn).await? else { return Ok(None) };
    if let Some(run) = remote.progress(&begun.arn, &mut seen.state).await? {
        seen.display.show_counts(&run, printer);
    }
    Ok(Some(found).filter(|record| record.status != Status::Running && record.redrive_count >= begun.redrives))
}

/// Results, proof, bill and report of an execution that has ended.
async fn ended_there(
    remote: &Remote,
    machine: &Machine,
    record: &ExecutionRecord,
    store: &Store,
    data: &Path,
    printer: &Printer,
) -> anyhow::Result<outcome::Shown> {
    let mut mirror = remote.mirror(record).await?;
    let mut bill = BillArgs::default();
    if record.status == Status::Succeeded {
        let called: BTreeSet<String> = functions_of(&machine.definition);
        let functions = reports::functions(&remote.aws, called).await;
        for function in &functions {
            if let Some(Ok(architecture)) = function.architecture.as_deref().map(str::parse::<Architecture>) {
                bill.architecture = architecture;
            }
            bill.ephemeral = function.ephemeral_mb.unwrap_or(bill.ephemeral).max(bill.ephemeral);
        }
        add_reports(remote, &functions, &mut mirror, printer).await;
    }
    let shown = outcome::show(&mirror, mirror.record().id, store, &bill, printer).await?;
    if shown.code != 0 {
        printer.note(&format!(
            "hint: `starmap executions logs {} --target aws` has what the functions wrote; `starmap executions redrive {} --target aws` \
             runs again what failed",
            record.name, record.name
        ));
        return Ok(shown);
    }
    let place = Input::parse(&record.input).map_err(|error| anyhow::anyhow!("{error}"))?.results();
    proven(store, place, record, data, printer, shown).await
}

/// The functions that a definition calls.
pub fn functions_of(text: &str) -> BTreeSet<String> {
    let definition = serde_json::from_str(text).unwrap_or(Value::Null);
    definition::called(&definition).into_iter().map(|(_, function)| function).collect()
}

/// Adds REPORT lines, once there are as many as there were attempts, or nobody can wait any longer.
async fn add_reports(remote: &Remote, functions: &[Function], mirror: &mut Mirror, printer: &Printer) {
    let record = mirror.record().clone();
    let (from, expected) = (Timestamp(record.started_at.0 - 1_000), mirror.attempts_expected());
    let ended = record.stopped_at.unwrap_or(record.started_at);
    let to = Timestamp(ended.0 + reports::LATE.as_millis() as i64);
    let begun = Instant::now();
    let found = loop {
        match reports::reports(&remote.aws, functions, from, to).await {
            Ok(found) if found.len() >= expected || begun.elapsed() > REPORTS_MAX => break found,
            Ok(found) => {
                printer
                    .note(&format!("waiting for REPORT lines: {} of {expected} are in CloudWatch Logs", found.len()));
                tokio::time::sleep(REPORTS_AGAIN).await;
            }
            Err(error) => {
                printer.warning(&format!("the bill has no Lambda in it, because REPORT lines can't be read: {error}"));
                return;
            }
        }
    };
    // What began after our execution ended is another's.
    let found: Vec<_> = found.into_iter().filter(|report| report.at.0 - report.duration_ms as i64 <= ended.0).collect();
    if found.len() < expected {
        printer.warning(&format!(
            "the bill is of {} REPORT lines, and there were {expected} attempts at least; \
             run again with --name {} when CloudWatch Logs has them all",
            found.len(),
            record.name
        ));
    }
    match remote.others_between(&record.arn, record.started_at, ended).await {
        Ok(others) if !others.is_empty() => printer.warning(&format!(
            "other executions ran at the same time ({}); attempts that failed, and those for Express children, can't be told \
             apart, so the bill may have some of theirs",
            others.join(", ")
        )),
        _ => {}
    }
    mirror.add_reports(found);
}

/// Proves again, from here, that the results are whole, and brings them here.
async fn proven(
    store: &Store,
    place: ResultPlace,
    record: &ExecutionRecord,
    data: &Path,
    printer: &Printer,
    shown: outcome::Shown,
) -> anyhow::Result<outcome::Shown> {
    let place = ResultPlace { run_id: Some(place.run_id.unwrap_or_else(|| record.name.clone())), ..place };
    let found = verify_results(store, &place).await.with_context(|| format!("verifying {place}"))?;
    if !found.defects.is_empty() {
        found.defects.iter().for_each(|defect| printer.failure(&defect.problem));
        return Ok(outcome::Shown { code: exit::FAILED, error: Some(found.defects[0].problem.clone()), ..shown });
    }
    let folder = data.join("aws").join(&record.name);
    std::fs::create_dir_all(&folder).with_context(|| format!("results folder {}", folder.display()))?;
    let here = Store::open(&StoreConfig::Folder(data.join("aws")))?;
    for name in [names::SUMMARY, names::REPORT, names::PLOTS, names::PREDICTIONS] {
        let location = place.object(name);
        let bytes = store.get(&location.bucket, &location.key).await?;
        let bytes = bytes.with_context(|| format!("{location}: is not there any more"))?;
        here.put(&record.name, name, bytes).await?;
    }
    printer.result(&format!(
        "verified {} ranks, every galaxy once; results are here, too: {}",
        found.ranks,
        folder.display()
    ));
    Ok(shown)
}
