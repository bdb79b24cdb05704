//! `starmap deploy plan`, `apply` and `destroy`: Terraform over the module that is in this program.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::{Map, Value, json};
use starmap_pipeline::store::{Store, StoreConfig};

use super::package::{ProgramArgs, pack};
use crate::aws::{Aws, AwsArgs};
use crate::commands::run::runtime;
use crate::deploy::bootstrap::Architecture;
use crate::deploy::terraform::{Step, present};
use crate::deploy::{account, module};
use crate::exit;
use crate::printer::Printer;
use crate::table::aligned;

/// Buckets that the module makes unless they are given: variable and output have the same name.
const BUCKETS: [&str; 2] = ["data_bucket", "result_bucket"];

/// Arguments of all three.
#[derive(Debug, Args)]
pub struct FolderArgs {
    /// Folder for the module, the choices and Terraform's state; what was made is known only there, so keep it
    #[arg(long, value_name = "DIR", default_value = "starmap-deploy")]
    dir: PathBuf,
    /// A variable of the module, kept for the next command; null takes a choice back
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = module::parse_variable)]
    variables: Vec<(String, Value)>,
    /// Only print the commands, and write nothing
    #[arg(long)]
    dry_run: bool,
}

/// What is deployed.
#[derive(Debug, Args)]
pub struct CodeArgs {
    #[command(flatten)]
    program: ProgramArgs,
    /// A zip that `starmap deploy package` has written [default: one is packed into the folder]
    #[arg(long, value_name = "FILE", conflicts_with = "bootstrap")]
    zip: Option<PathBuf>,
}

/// Arguments of `starmap deploy plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    folder: FolderArgs,
    #[command(flatten)]
    code: CodeArgs,
}

/// Arguments of `starmap deploy apply`.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    #[command(flatten)]
    folder: FolderArgs,
    #[command(flatten)]
    code: CodeArgs,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// Arguments of `starmap deploy destroy`.
#[derive(Debug, Args)]
pub struct DestroyArgs {
    #[command(flatten)]
    folder: FolderArgs,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Take buckets that were made here with everything in them
    #[arg(long)]
    force: bool,
}

/// Says what would be made.
pub fn plan(args: &PlanArgs, printer: &Printer) -> anyhow::Result<ExitCode> {
    let folder = args.folder.dir.as_path();
    let steps = [init(folder), Step::new(folder, &["plan", "-input=false"])];
    if args.folder.dry_run {
        return Ok(shown(&steps, printer));
    }
    prepare(&args.folder, &args.code, printer)?;
    present(folder, &steps)?;
    steps.iter().try_for_each(|step| step.run(printer))?;
    let warnings = look_at_account(folder, printer)?;
    printer.object(&json!({ "dir": folder, "commands": commands(&steps), "warnings": warnings }));
    Ok(ExitCode::SUCCESS)
}

/// Makes it.
pub fn apply(args: &ApplyArgs, printer: &Printer) -> anyhow::Result<ExitCode> {
    let folder = args.folder.dir.as_path();
    let mut arguments = vec!["apply"];
    arguments.extend(if args.yes { ["-input=false", "-auto-approve"].iter() } else { [].iter() });
    let steps = [init(folder), Step::new(folder, &arguments)];
    if args.folder.dry_run {
        return Ok(shown(&steps, printer));
    }
    must_be_able_to_ask("apply", args.yes, printer)?;
    prepare(&args.folder, &args.code, printer)?;
    present(folder, &steps)?;
    steps.iter().try_for_each(|step| step.run(printer))?;
    let outputs = outputs(folder);
    let text = |name: &str| outputs.get(name).and_then(Value::as_str).unwrap_or("–").to_owned();
    let rows = [
        ("state machine", text("state_machine_arn")),
        ("partitions", format!("s3://{}", text("data_bucket"))),
        ("model, results", format!("s3://{}", text("result_bucket"))),
        ("account", format!("{} in {}", text("account_id"), text("region"))),
    ];
    printer.result(&aligned(&rows.map(|(name, value)| vec![name.to_owned(), value])));
    printer.object(&json!({ "dir": folder, "commands": commands(&steps), "outputs": outputs }));
    printer.note(&format!(
        "next: put partitions and model there (`aws s3 sync`), then run an input that names these buckets:\n\
         starmap run input.json --target aws --state-machine {}",
        text("state_machine_arn")
    ));
    Ok(ExitCode::SUCCESS)
}

/// Takes it away.
pub fn destroy(args: &DestroyArgs, printer: &Printer) -> anyhow::Result<ExitCode> {
    let folder = args.folder.dir.as_path();
    let mut steps = vec![init(folder)];
    let mut arguments = vec!["destroy"];
    if args.force {
        // Terraform destroys by what its state says, so the state has to say it first.
        let allow = ["apply", "-input=false", "-auto-approve", "-target=aws_s3_bucket.made", "-var=force_destroy=true"];
        steps.push(Step::new(folder, &allow));
        arguments.push("-var=force_destroy=true");
    }
    arguments.extend(if args.yes { ["-input=false", "-auto-approve"].iter() } else { [].iter() });
    steps.push(Step::new(folder, &arguments));
    if args.folder.dry_run {
        return Ok(shown(&steps, printer));
    }
    must_be_able_to_ask("destroy", args.yes, printer)?;
    if !folder.join("state_machine.tf").is_file() {
        return Err(exit::usage(format!(
            "folder {}: there is no deployment of this program\nhint: name the folder that it was applied from with --dir",
            folder.display()
        )));
    }
    let choices = chosen(&args.folder)?;
    module::keep(folder, &choices)?;
    present(folder, &steps)?;
    steps[0].run(printer)?;
    if !args.force {
        refuse_buckets_in_use(folder, &choices, printer)?;
    }
    steps[1..].iter().try_for_each(|step| step.run(printer))?;
    printer.result("nothing of it is left, but for buckets that were there before");
    printer.object(&json!({ "dir": folder, "commands": commands(&steps) }));
    Ok(ExitCode::SUCCESS)
}

/// Says what of the choices the account is too small for, as far as it tells.
fn look_at_account(folder: &Path, printer: &Printer) -> anyhow::Result<Vec<String>> {
    let settings = runtime()?.block_on(async {
        let aws = Aws::connect(&AwsArgs::default()).await?;
        aws.lambda_account_settings().await.map_err(anyhow::Error::new)
    });
    match settings {
        Ok(settings) => {
            let warnings = account::warnings(&settings, &module::choices(folder)?);
            warnings.iter().for_each(|warning| printer.warning(warning));
            Ok(warnings)
        }
        // Terraform has planned it: this is only about what would be met later.
        Err(error) => {
            printer.note(&format!("what this account may run at once could not be found out: {error:#}"));
            Ok(Vec::new())
        }
    }
}

fn init(folder: &Path) -> Step {
    Step::new(folder, &["init", "-input=false"])
}

/// Writes the module, the zip and the choices into the folder.
fn prepare(args: &FolderArgs, code: &CodeArgs, printer: &Printer) -> anyhow::Result<()> {
    let folder = args.dir.as_path();
    let mut choices = chosen(args)?;
    let own = module::archive(folder);
    let own_name = own.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let kept = choices.get("bootstrap_zip").and_then(Value::as_str).filter(|zip| *zip != own_name).map(str::to_owned);
    module::write(folder)?;
    if let Some(zip) = &code.zip {
        let zip = zip.canonicalize().map_err(|error| exit::usage(format!("zip {}: {error}", zip.display())))?;
        choices.insert("bootstrap_zip".to_owned(), json!(zip));
        if let Some(architecture) = code.program.arch {
            choices.insert("architecture".to_owned(), json!(architecture.name()));
        }
    } else if let Some(zip) = kept.filter(|_| code.program.bootstrap.is_none()) {
        printer.note(&format!("functions from {zip}, as chosen before"));
    } else {
        let kept = choices.get("architecture").and_then(Value::as_str);
        let kept = [Architecture::X86_64, Architecture::Arm64].into_iter().find(|known| Some(known.name()) == kept);
        let program = ProgramArgs { arch: code.program.arch.or(kept), bootstrap: code.program.bootstrap.clone() };
        let packed = pack(&program)?;
        packed.write(&own)?;
        choices.insert("bootstrap_zip".to_owned(), json!(own_name));
        choices.insert("architecture".to_owned(), json!(packed.architecture().name()));
    }
    module::keep(folder, &choices)
}

/// The choices that were kept, and those that are made now.
fn chosen(args: &FolderArgs) -> anyhow::Result<Map<String, Value>> {
    let mut choices = module::choices(&args.dir)?;
    for (name, value) in &args.variables {
        match value {
            Value::Null => choices.remove(name),
            value => choices.insert(name.clone(), value.clone()),
        };
    }
    Ok(choices)
}

fn must_be_able_to_ask(command: &str, yes: bool, printer: &Printer) -> anyhow::Result<()> {
    if yes || std::io::stdin().is_terminal() && !printer.json() {
        return Ok(());
    }
    Err(exit::usage(format!(
        "deploy {command}: there is nobody to ask (no terminal, or --json)\n\
         hint: look at `starmap deploy plan`, then say --yes"
    )))
}

/// A bucket that was made here and holds something is not destroyed unless it is said twice.
fn refuse_buckets_in_use(folder: &Path, choices: &Map<String, Value>, printer: &Printer) -> anyhow::Result<()> {
    let outputs = outputs(folder);
    let made = BUCKETS.into_iter().filter(|name| choices.get(*name).is_none_or(Value::is_null));
    let mut in_use = Vec::new();
    for bucket in made.filter_map(|name| outputs.get(name).and_then(Value::as_str)) {
        let store = Store::open(&StoreConfig::S3)?;
        match runtime()?.block_on(store.list_keys(bucket, "", None, 1)) {
            Ok(page) => in_use.extend(page.objects.first().map(|object| format!("s3://{bucket}/{}", object.key))),
            // Terraform itself refuses to delete a bucket with objects in it, only later.
            Err(error) => {
                printer.warning(&format!("bucket {bucket}: whether it is empty could not be found out: {error}"))
            }
        }
    }
    if in_use.is_empty() {
        return Ok(());
    }
    Err(exit::usage(format!(
        "buckets that were made by this deployment are not empty: {} is there, for one\n\
         hint: copy what you need (`aws s3 sync s3://BUCKET DIR`), then `starmap deploy destroy --force` takes buckets and objects",
        in_use.join(", ")
    )))
}

/// What Terraform says was made, by name.
fn outputs(folder: &Path) -> Map<String, Value> {
    let said = Step::new(folder, &["output", "-json"]).output().and_then(|text| serde_json::from_str(&text).ok());
    let Some(Value::Object(outputs)) = said else { return Map::new() };
    outputs.into_iter().map(|(name, mut output)| (name, output["value"].take())).collect()
}

fn commands(steps: &[Step]) -> Vec<String> {
    steps.iter().map(ToString::to_string).collect()
}

fn shown(steps: &[Step], printer: &Printer) -> ExitCode {
    printer.result(&commands(steps).join("\n"));
    printer.object(&json!({ "commands": commands(steps) }));
    ExitCode::SUCCESS
}
