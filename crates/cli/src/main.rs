//! `starmap`: arguments, printing and wiring. Everything else is in the crates beside this one.

mod apis;
mod aws;
mod billing;
mod campaign;
mod commands;
mod data_root;
mod definition;
mod deploy;
mod exit;
mod files;
mod functions;
mod http;
mod logging;
mod metrics;
mod objects;
mod outcome;
mod planner;
mod printer;
mod progress;
mod science;
mod session;
mod table;
mod target;
mod times;
mod traces;
mod variables;
mod web;

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::printer::Printer;

/// An execution is many small values, made and dropped: the system's allocator takes a third of the engine's time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Photometric redshifts for every galaxy of a partitioned survey.
///
/// Runs a trained model over partitions in object storage with an AWS-compatible state machine
/// (Initialize, Distributed Map of Model Inference, Summarize), durable and proven complete, on one machine.
#[derive(Debug, Parser)]
#[command(name = "starmap", version, arg_required_else_help = true, max_term_width = 100, after_help = exit::TABLE)]
struct Arguments {
    /// Print one JSON object to stdout instead of a table
    #[arg(long, global = true)]
    json: bool,
    /// How log lines are written to stderr, by workers too: text, or one JSON object per line
    #[arg(long, global = true, value_name = "FORMAT", default_value = "text", value_parser = ["text", "json"])]
    log_format: String,
    /// Print results and errors only
    #[arg(long, short, global = true)]
    quiet: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the pipeline over an input JSON: one stored redshift per galaxy, proven complete
    Run(commands::run::RunArgs),
    /// Make a small synthetic sky, run the pipeline over it with the model that ships, write the report
    Demo(commands::demo::DemoArgs),
    /// Make, split, inspect and verify partitions
    #[command(subcommand)]
    Data(DataCommand),
    /// Inspect, convert and create checkpoints
    #[command(subcommand)]
    Model(ModelCommand),
    /// Serve the AWS APIs (Step Functions) on a local address
    Serve(commands::serve::ServeArgs),
    /// Read a run's results and inputs again and prove that they belong together
    Verify(commands::verify::VerifyArgs),
    /// List, show, follow, stop, resume and redrive executions
    #[command(subcommand)]
    Executions(commands::executions::ExecutionsCommand),
    /// Say what a run would have cost on AWS, by state; or bill Lambda's REPORT lines
    Bill(commands::bill::BillCommand),
    /// Run a grid of inputs, in random order, with repeats; go on after a crash; write tables and one report
    Campaign(commands::campaign::CampaignArgs),
    /// Say what a run would take and cost, what to choose, and which limits it comes near to
    Plan(commands::plan::PlanArgs),
    /// Set a run beside the published tables, each row with what is known to be wrong with it
    Compare(commands::compare::CompareArgs),
    /// Bring the pipeline to AWS: package the functions, then plan, apply and destroy with Terraform
    #[command(subcommand)]
    Deploy(commands::deploy::DeployCommand),
    /// Check state machine definitions and test their states
    #[command(subcommand)]
    Asl(commands::asl::AslCommand),
    /// Simulate, write and show the policies of roles
    #[command(subcommand)]
    Iam(commands::iam::IamCommand),
    /// Measure inference on this machine: galaxies/s, GFLOP/s, share of the peak
    Bench(commands::bench::BenchArgs),
    /// List the kernel sets and mark the one that is used here
    Kernels,
    /// A worker process: the Lambda bootstrap (started by `run`, not by people)
    #[command(hide = true)]
    Worker,
}

#[derive(Debug, Subcommand)]
enum DataCommand {
    /// Make partitions of a synthetic sky
    Synth(commands::synth::SynthArgs),
    /// Split one file into partitions with a manifest
    Split(commands::data::SplitArgs),
    /// Say what is in a file
    Inspect(commands::data::InspectArgs),
    /// Check every row of partitions
    Verify(commands::data::VerifyArgs),
}

#[derive(Debug, Subcommand)]
enum ModelCommand {
    /// Say what is in a checkpoint
    Inspect(commands::model::InspectArgs),
    /// Convert a checkpoint to safetensors
    Convert(commands::model::ConvertArgs),
    /// Create seeded weights, for benchmarks and tests
    Init(commands::model::InitArgs),
}

fn main() -> ExitCode {
    use_small_pages();
    // Under this name Lambda starts a function's program, with nothing but an environment.
    let own_name = std::env::args_os().next();
    if own_name.is_some_and(|name| Path::new(&name).file_name() == Some(OsStr::new(deploy::archive::BOOTSTRAP))) {
        return commands::worker::run();
    }
    let arguments = Arguments::parse();
    // A worker logs by itself, as it would on Lambda, and makes its own runtime.
    if matches!(arguments.command, Command::Worker) {
        return commands::worker::run();
    }
    logging::start(&arguments.log_format);
    let printer = Printer::new(arguments.json, arguments.quiet);
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| dispatch(arguments.command, &printer)));
    match ended {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => {
            let code = exit::of(&error);
            printer.error(&error, code);
            ExitCode::from(code)
        }
        // The panic hook has printed where.
        Err(_) => {
            printer.bug();
            ExitCode::from(exit::BUG)
        }
    }
}

/// Memory comes in the system's small pages, here and in what is started from here. The allocator asks for pages of 2 MiB,
/// each cleared as a whole for the first byte that is written to it: loading a model took twice as long, and a worker
/// that infers with a small one 15 MiB more, which its user pays for. Where it can't be said, it is as it was.
fn use_small_pages() {
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

fn dispatch(command: Command, printer: &Printer) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(args) => commands::run::run(&args, printer),
        Command::Demo(args) => commands::demo::run(&args, printer),
        Command::Data(DataCommand::Synth(args)) => commands::synth::run(&args, printer.json()),
        Command::Data(DataCommand::Split(args)) => commands::data::split(&args, printer.json()),
        Command::Data(DataCommand::Inspect(args)) => commands::data::inspect(&args, printer.json()),
        Command::Data(DataCommand::Verify(args)) => commands::data::verify(&args, printer.json()),
        Command::Model(ModelCommand::Inspect(args)) => commands::model::inspect(&args, printer),
        Command::Model(ModelCommand::Convert(args)) => commands::model::convert(&args, printer),
        Command::Model(ModelCommand::Init(args)) => commands::model::init(&args, printer),
        Command::Serve(args) => commands::serve::run(&args, printer),
        Command::Verify(args) => commands::verify::run(&args, printer),
        Command::Executions(command) => commands::executions::run(&command, printer),
        Command::Bill(args) => commands::bill::run(&args, printer),
        Command::Campaign(args) => commands::campaign::run(&args, printer),
        Command::Plan(args) => commands::plan::run(&args, printer),
        Command::Compare(args) => commands::compare::run(&args, printer),
        Command::Deploy(command) => commands::deploy::run(&command, printer),
        Command::Asl(command) => commands::asl::run(&command, printer),
        Command::Iam(command) => commands::iam::run(&command, printer),
        Command::Bench(args) => commands::bench::run(&args, printer),
        Command::Kernels => commands::kernels::run(printer),
        Command::Worker => Ok(ExitCode::SUCCESS),
    }
}
