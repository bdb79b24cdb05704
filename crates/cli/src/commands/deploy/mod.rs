//! `starmap deploy`: the zip of the functions, and Terraform around them.

mod package;
mod stack;

use std::process::ExitCode;

use clap::Subcommand;

use crate::printer::Printer;

/// From here to AWS.
#[derive(Debug, Subcommand)]
pub enum DeployCommand {
    /// Build the zip of the three functions, and prove that it will start on Lambda
    Package(package::PackageArgs),
    /// Write the Terraform module into a folder and say what it would make
    Plan(stack::PlanArgs),
    /// Make it, or bring it up to date
    Apply(stack::ApplyArgs),
    /// Take all of it away; buckets with objects in them are refused
    Destroy(stack::DestroyArgs),
}

/// Runs the command.
pub fn run(command: &DeployCommand, printer: &Printer) -> anyhow::Result<ExitCode> {
    match command {
        DeployCommand::Package(args) => package::run(args, printer),
        DeployCommand::Plan(args) => stack::plan(args, printer),
        DeployCommand::Apply(args) => stack::apply(args, printer),
        DeployCommand::Destroy(args) => stack::destroy(args, printer),
    }
}
