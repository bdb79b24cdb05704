//! Which commands of Terraform are run, and what its errors mean.

use std::fmt;
use std::io::{BufRead, BufReader, IsTerminal};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context;

use crate::printer::Printer;
use crate::{exit, variables};

/// The program.
const TERRAFORM: &str = "terraform";

/// One command in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    folder: String,
    arguments: Vec<String>,
}

impl Step {
    /// A command with these arguments.
    pub fn new(folder: &Path, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Self { folder: folder.display().to_string(), arguments }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(TERRAFORM);
        command.arg(format!("-chdir={}", self.folder)).args(&self.arguments).env("CHECKPOINT_DISABLE", "1");
        // Terraform asks neither of these.
        if !std::io::stderr().is_terminal() || std::env::var_os(variables::NO_COLOR).is_some() {
            let more = std::env::var("TF_CLI_ARGS").unwrap_or_default();
            command.env("TF_CLI_ARGS", format!("{more} -no-color").trim());
        }
        command
    }

    /// Runs it, showing what it says as it says it.
    ///
    /// # Errors
    /// If it fails, with what its error means if that is known.
    pub fn run(&self, printer: &Printer) -> anyhow::Result<()> {
        printer.note(&format!("$ {self}"));
        let mut command = self.command();
        // Its results are not ours: with `--json` nothing but our object is on stdout.
        command.stdout(if printer.json() { Stdio::null() } else { Stdio::inherit() }).stderr(Stdio::piped());
        let mut process = command.spawn().with_context(|| format!("starting {TERRAFORM}"))?;
        let mut said = String::new();
        for line in BufReader::new(process.stderr.take().context("reading what terraform says")?).lines() {
            let line = line.context("reading what terraform says")?;
            printer.relay(&line);
            said.push_str(&line);
            said.push('\n');
        }
        let status = process.wait().with_context(|| format!("waiting for {TERRAFORM}"))?;
        if status.success() {
            return Ok(());
        }
        let hint = meaning(&said).map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
        Err(anyhow::anyhow!("`{self}` failed ({status}){hint}"))
    }

    /// Runs it and returns what it printed; `None` if it failed.
    pub fn output(&self) -> Option<String> {
        let output = self.command().output().ok().filter(|output| output.status.success())?;
        String::from_utf8(output.stdout).ok()
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{TERRAFORM} {}", quoted(&format!("-chdir={}", self.folder)))?;
        self.arguments.iter().try_for_each(|argument| write!(f, " {}", quoted(argument)))
    }
}

/// As a shell takes it.
fn quoted(argument: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,@+".contains(c);
    if argument.chars().all(is_plain) { argument.to_owned() } else { format!("'{}'", argument.replace('\'', "'\\''")) }
}

/// Makes sure that there is a terraform.
///
/// # Errors
/// Says how to go on without: the files are there, and so are the commands.
pub fn present(folder: &Path, steps: &[Step]) -> anyhow::Result<()> {
    let probe = Command::new(TERRAFORM).arg("version").env("CHECKPOINT_DISABLE", "1").output();
    if probe.is_ok_and(|output| output.status.success()) {
        return Ok(());
    }
    let commands: Vec<String> = steps.iter().map(|step| format!("  {step}")).collect();
    Err(exit::usage(format!(
        "terraform is not on the path; the module is in {}, ready for it\n\
         hint: install Terraform 1.9 or later (https://developer.hashicorp.com/terraform/install), or run these where it is:\n{}",
        folder.display(),
        commands.join("\n")
    )))
}

/// What an error of AWS or Terraform comes from, and what to do about it, for those that a first deployment meets.
pub fn meaning(said: &str) -> Option<&'static str> {
    // Terraform breaks, frames and colours its lines.
    let plain = said.split('\u{1b}').enumerate().map(|(at, part)| match part.split_once('m') {
        Some((_, rest)) if at > 0 => rest,
        _ => part,
    });
    let text = plain.collect::<String>().replace(['\u{2502}', '\n'], " ");
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let known: [(&[&str], &str); 9] = [
        (
            &["MemorySize", "less than or equal to 3008"],
            "new accounts are capped at 3,008 MB per function until they have been used for a while; choose less with --var infer_memory_mb=3008 \
             (1,769 MB is one vCPU, and inference needs less than 400 MB), or ask AWS Support for more: this cap has no quota of its own",
        ),
        (
            &["UnreservedConcurrentExecution"],
            "new accounts may run as few as 10 invocations at once, and Lambda keeps at least 10 of an account's unreserved; leave infer_concurrency \
             out, set --var max_concurrency to what there is, and ask for more at Service Quotas: Lambda, Concurrent executions",
        ),
        (
            &["No valid credential sources found"],
            "no credentials of AWS were found: `aws configure` or `aws sso login`, then AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ),
        (&["ExpiredToken"], "the credentials have expired: sign in again (`aws sso login`)"),
        (&["Missing region configuration"], "no region was chosen: set AWS_REGION, as in AWS_REGION=us-east-1"),
        (
            &["not among allowed_account_ids"],
            "these are credentials of another account than the module allows: choose the other AWS_PROFILE",
        ),
        (
            &["BucketNotEmpty"],
            "a bucket that was made here still has objects in it: copy what you need and run `starmap deploy destroy --force`",
        ),
        (
            &["AccessDenied"],
            "the one who deploys needs more than the functions do: to make roles, functions, buckets, log groups and state machines, and iam:PassRole; \
             docs/deploy.md has the list",
        ),
        (
            &["Failed to query available provider packages"],
            "Terraform could not find its provider for AWS: it needs access to registry.terraform.io, or a mirror that TF_CLI_CONFIG_FILE names",
        ),
    ];
    known.into_iter().find(|(words, _)| words.iter().all(|word| text.contains(word))).map(|(_, meaning)| meaning)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caps_of_new_accounts_are_explained() {
        // As Terraform frames what Lambda answers.
        let said = "\u{2577}\n\u{2502} Error: creating Lambda Function (starmap-infer): operation error Lambda: CreateFunction, https response error\n\
                    \u{2502} StatusCode: 400, RequestID: 0, api error ValidationException: 'MemorySize' value failed to satisfy constraint: Member must\n\
                    \u{1b}[31m\u{2502}\u{1b}[0m \u{1b}[0mhave value less than or\n\u{1b}[31m\u{2502}\u{1b}[0m \u{1b}[0mequal to 3008\n";
        let hint = meaning(said).unwrap();
        assert!(hint.contains("new accounts") && hint.contains("infer_memory_mb=3008"), "{hint}");
        let said = "InvalidParameterValueException: Specified ReservedConcurrentExecutions for function decreases account's\n\
                    UnreservedConcurrentExecution below its minimum value of [10].";
        assert!(meaning(said).unwrap().contains("max_concurrency"), "{said}");
        assert_eq!(meaning("Error: something else"), None);
    }

    #[test]
    fn commands_can_be_pasted_into_a_shell() {
        let step = Step::new(Path::new("my deploy"), &["apply", "-var", "tags={\"a\"=\"it's\"}"]);
        assert_eq!(step.to_string(), r#"terraform '-chdir=my deploy' apply -var 'tags={"a"="it'\''s"}'"#);
        assert_eq!(
            Step::new(Path::new("d"), &["init", "-input=false"]).to_string(),
            "terraform -chdir=d init -input=false"
        );
    }
}
