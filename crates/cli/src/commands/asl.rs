//! `starmap asl`: what is wrong with a definition, and what one of its states does.

use std::fmt::Write as _;
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};
use starmap_asl::test_state::{
    Begun, Configuration, Error, Identity, Inspection, Level, Mock, Outcome, Request, Status, ValidationMode, begin,
};
use starmap_asl::{Code, Diagnostic, ExecutionType, Position, Severity, validate};

use crate::printer::Printer;
use crate::{exit, session, variables};

#[derive(Debug, Subcommand)]
pub enum AslCommand {
    /// Check definitions: everything that is wrong with them, each with its line
    Check(CheckArgs),
    /// Test one state with a mocked result or error, as AWS's TestState does
    TestState(Box<TestStateArgs>),
}

#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Definitions to check; `-` is stdin
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The type of state machine to check for
    #[arg(long = "type", value_enum, default_value = "standard", ignore_case = true)]
    machine_type: MachineType,
    /// Leave out warnings
    #[arg(long)]
    no_warnings: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum MachineType {
    Standard,
    Express,
}

#[derive(Debug, Args)]
pub struct TestStateArgs {
    /// The definition of one state, or of a machine if --state-name is given; `-` is stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Which state of the machine
    #[arg(long, value_name = "NAME")]
    state_name: Option<String>,
    /// The state's input: JSON, or file://PATH
    #[arg(long, value_name = "JSON")]
    input: Option<String>,
    /// The variables the state can see: JSON, or file://PATH
    #[arg(long, value_name = "JSON")]
    variables: Option<String>,
    /// The context object: JSON, or file://PATH; only with a mock
    #[arg(long, value_name = "JSON")]
    context: Option<String>,
    /// The result of what the state calls: JSON, or file://PATH
    #[arg(long, value_name = "JSON", conflicts_with = "mock_error")]
    mock_result: Option<String>,
    /// The error of what the state calls, for example States.Timeout
    #[arg(long, value_name = "NAME")]
    mock_error: Option<String>,
    /// The cause that comes with --mock-error
    #[arg(long, value_name = "TEXT", requires = "mock_error")]
    mock_cause: Option<String>,
    /// How the mocked result is compared with the service's response
    #[arg(long, value_enum, default_value = "strict", ignore_case = true)]
    field_validation_mode: FieldValidationMode,
    /// Retries made already by the retrier that the error is for
    #[arg(long, value_name = "N")]
    retrier_retry_count: Option<u32>,
    /// Iterations of the Map that failed
    #[arg(long, value_name = "N")]
    map_iteration_failure_count: Option<u64>,
    /// What the Map's ItemReader reads, as it is in the source: a text, or file://PATH
    #[arg(long, value_name = "TEXT")]
    map_item_reader_data: Option<String>,
    /// Print the outcome only, and not the data between the state's fields
    #[arg(long)]
    outcome_only: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FieldValidationMode {
    Strict,
    Present,
    None,
}

pub fn run(command: &AslCommand, printer: &Printer) -> anyhow::Result<ExitCode> {
    match command {
        AslCommand::Check(args) => check(args, printer),
        AslCommand::TestState(args) => test_state(args, printer),
    }
}

/// More findings than anybody reads; a file that has them is something else.
const FINDINGS_MAX: usize = 100;

fn check(args: &CheckArgs, printer: &Printer) -> anyhow::Result<ExitCode> {
    let machine_type = match args.machine_type {
        MachineType::Standard => ExecutionType::Standard,
        MachineType::Express => ExecutionType::Express,
    };
    let least = if args.no_warnings { Severity::Error } else { Severity::Warning };
    let style =
        Style { is_coloured: std::io::stdout().is_terminal() && std::env::var_os(variables::NO_COLOR).is_none() };
    let (mut files, mut errors, mut warnings) = (Vec::new(), 0, 0);
    for file in &args.files {
        let text = read(file)?;
        let found = validate(&text, machine_type, least, FINDINGS_MAX);
        let lines: Vec<&str> = if printer.json() { Vec::new() } else { text.lines().collect() };
        for diagnostic in &found.diagnostics {
            match diagnostic.severity {
                Severity::Error => errors += 1,
                Severity::Warning => warnings += 1,
            }
            if !printer.json() {
                printer.result(&shown(&name_of(file), &lines, diagnostic, &style));
            }
        }
        if found.is_truncated {
            printer.note(&format!("{}: there are more findings than these {FINDINGS_MAX}", name_of(file)));
        }
        files.push(json!({
            "file": name_of(file),
            "result": if found.is_valid { "OK" } else { "FAIL" },
            "truncated": found.is_truncated,
            "diagnostics": found.diagnostics.iter().map(told).collect::<Vec<_>>(),
        }));
    }
    let is_valid = errors == 0;
    let count = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    printer.result(&format!(
        "{}: {}, {}, {}",
        if is_valid { "OK" } else { "FAIL" },
        count(args.files.len(), "definition"),
        count(errors, "error"),
        count(warnings, "warning"),
    ));
    printer.object(&json!({ "result": if is_valid { "OK" } else { "FAIL" }, "files": files }));
    Ok(ExitCode::from(if is_valid { 0 } else { exit::FAILED }))
}

/// A finding for programs.
fn told(diagnostic: &Diagnostic) -> Value {
    json!({
        "severity": severity(diagnostic.severity).to_uppercase(),
        "code": diagnostic.code.as_str(),
        "message": diagnostic.message,
        "location": diagnostic.location(),
        "line": diagnostic.position.map(|position| position.line),
        "column": diagnostic.position.map(|position| position.column),
    })
}

fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

struct Style {
    is_coloured: bool,
}

impl Style {
    fn paint(&self, code: &str, text: &str) -> String {
        if self.is_coloured { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// A line that is longer is cut on both sides of the place.
const LINE_LENGTH_MAX: usize = 110;

/// A finding for people: what, where, and the line with a caret under the place.
fn shown(file: &str, lines: &[&str], diagnostic: &Diagnostic, style: &Style) -> String {
    let colour = match diagnostic.severity {
        Severity::Error => "1;31",
        Severity::Warning => "1;33",
    };
    let what = format!("{}[{}]", severity(diagnostic.severity), diagnostic.code.as_str());
    let message = diagnostic.message.split("\n at ").next().unwrap_or_default();
    let mut out = format!("{}: {message}\n", style.paint(colour, &what));
    let Position { line, column } = diagnostic.position.unwrap_or(Position { line: 1, column: 1 });
    let margin = " ".repeat(line.to_string().len());
    let bar = style.paint("1;34", "|");
    let _ = writeln!(out, "{margin}{} {file}:{line}:{column}", style.paint("1;34", "-->"));
    let (source, before) = excerpt(lines.get(line - 1).copied().unwrap_or_default(), column.max(1));
    let _ = writeln!(out, "{margin} {bar}");
    let _ = writeln!(out, "{} {bar} {source}", style.paint("1;34", &line.to_string()));
    let _ = write!(out, "{margin} {bar} {}{}", " ".repeat(before), style.paint(colour, "^"));
    if diagnostic.code != Code::InvalidJson && !diagnostic.pointer.is_empty() {
        let _ = write!(out, " {}", style.paint("2", &diagnostic.pointer));
    }
    out.push('\n');
    out
}

/// The part of a line around a column, and how many characters of it come before the column.
fn excerpt(line: &str, column: usize) -> (String, usize) {
    let is_long = line.chars().nth(LINE_LENGTH_MAX).is_some();
    let start = if is_long { (column - 1).saturating_sub(LINE_LENGTH_MAX / 2) } else { 0 };
    let mut rest = line.chars().skip(start).map(|c| if c.is_control() { ' ' } else { c });
    let part: String = rest.by_ref().take(LINE_LENGTH_MAX).collect();
    let caret = (column - 1 - start).min(part.chars().count());
    let (left, caret) = if start > 0 { ("… ", caret + 2) } else { ("", caret) };
    let right = if rest.next().is_some() { " …" } else { "" };
    (format!("{left}{part}{right}"), caret)
}

fn name_of(file: &Path) -> String {
    if file == Path::new("-") { "<stdin>".to_owned() } else { file.display().to_string() }
}

/// A definition's text; `-` is stdin.
fn read(file: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).map_err(|error| exit::usage(format!("reading stdin: {error}")))?;
        return Ok(text);
    }
    std::fs::read_to_string(file).map_err(|error| exit::usage(format!("reading {}: {error}", file.display())))
}

/// JSON given as it is, or the content of `file://PATH`.
fn given(text: Option<&String>) -> anyhow::Result<Option<String>> {
    match text.map(|text| (text, text.strip_prefix("file://"))) {
        None => Ok(None),
        Some((_, Some(path))) => read(Path::new(path)).map(Some),
        Some((text, None)) => Ok(Some(text.clone())),
    }
}

fn test_state(args: &TestStateArgs, printer: &Printer) -> anyhow::Result<ExitCode> {
    let mock_result = given(args.mock_result.as_ref())?;
    let is_mocked = mock_result.is_some() || args.mock_error.is_some();
    let request = Request {
        definition: read(&args.file)?,
        state_name: args.state_name.clone(),
        role_arn: None,
        input: given(args.input.as_ref())?,
        variables: given(args.variables.as_ref())?,
        context: given(args.context.as_ref())?,
        level: if args.outcome_only { Level::Info } else { Level::Trace },
        reveal_secrets: false,
        mock: is_mocked.then(|| Mock {
            result: mock_result,
            error: args.mock_error.clone().map(|error| (Some(error), args.mock_cause.clone())),
            validation: match args.field_validation_mode {
                FieldValidationMode::Strict => ValidationMode::Strict,
                FieldValidationMode::Present => ValidationMode::Present,
                FieldValidationMode::None => ValidationMode::None,
            },
        }),
        configuration: Some(Configuration {
            retrier_retry_count: args.retrier_retry_count,
            map_iteration_failure_count: args.map_iteration_failure_count,
            map_item_reader_data: given(args.map_item_reader_data.as_ref())?,
            ..Configuration::default()
        }),
    };
    let outcome = match begin(&request, &identity(), session::now()) {
        Ok(Begun::Done(outcome)) => *outcome,
        Ok(Begun::NeedsItems(pending)) => {
            let items = starmap_engine::items::read_text(pending.request(), pending.data());
            let items = items.map_err(|failed| (failed.error, failed.cause));
            pending.finish(items).map_err(|error| exit::usage(error.to_string()))?
        }
        Ok(Begun::NeedsCall(_)) => return Err(exit::usage(NO_CALLS)),
        Err(Error::Validation(message)) if message.starts_with("RoleArn") => return Err(exit::usage(NO_CALLS)),
        Err(error) => return Err(exit::usage(error.to_string())),
    };
    for note in &outcome.notes {
        printer.note(&format!("note: {note}"));
    }
    let told = answer(&outcome);
    printer.result(&format!("{told:#}"));
    printer.object(&told);
    let is_good = matches!(outcome.status, Status::Succeeded | Status::CaughtError);
    Ok(ExitCode::from(if is_good { 0 } else { exit::FAILED }))
}

const NO_CALLS: &str = "this state calls something, and nothing is called here\n\
                        hint: give --mock-result or --mock-error";

fn identity() -> Identity {
    let (machine, name) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
    let arn = |rest: &str| format!("arn:aws:states:us-east-1:000000000000:{rest}");
    Identity {
        state_machine_arn: arn(&format!("stateMachine:{machine}")),
        state_machine_name: machine.to_string(),
        execution_arn: arn(&format!("express:{machine}:{name}")),
        execution_name: name.to_string(),
        seed: u64::from_le_bytes(*name.as_bytes().first_chunk().expect("a UUID has 16 bytes")),
    }
}

/// The answer as the API gives it, with JSON in place of JSON texts.
fn answer(outcome: &Outcome) -> Value {
    let mut told = Map::new();
    told.insert("status".to_owned(), outcome.status.as_str().into());
    put(&mut told, "output", outcome.output.as_ref());
    for (name, text) in [("error", &outcome.error), ("cause", &outcome.cause), ("nextState", &outcome.next_state)] {
        told.extend(text.iter().map(|text| (name.to_owned(), Value::from(text.as_str()))));
    }
    if let Some(inspection) = &outcome.inspection {
        told.insert("inspectionData".to_owned(), inspected(inspection));
    }
    Value::Object(told)
}

fn put(told: &mut Map<String, Value>, name: &str, text: Option<&String>) {
    let value = text.map(|text| serde_json::from_str(text).unwrap_or_else(|_| Value::from(text.as_str())));
    told.extend(value.map(|value| (name.to_owned(), value)));
}

fn inspected(inspection: &Inspection) -> Value {
    let mut told = Map::new();
    for (name, text) in inspection.texts() {
        put(&mut told, name, text);
    }
    for (name, number) in inspection.numbers() {
        told.insert(name.to_owned(), number);
    }
    if let Some(details) = inspection.error_details {
        told.insert(
            "errorDetails".to_owned(),
            details.numbers().map(|(name, number)| (name.to_owned(), number)).collect(),
        );
    }
    Value::Object(told)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn a_finding_points_at_its_place() {
        let text = "{\n  \"StartAt\": \"A\",\n  \"States\": {\n    \"A\": {\"Type\": \"Wait\", \"Seconds\": -1, \"End\": true}\n  }\n}\n";
        let found = validate(text, ExecutionType::Standard, Severity::Warning, 10);
        let plain = Style { is_coloured: false };
        let shown = shown("wait.asl.json", &text.lines().collect::<Vec<_>>(), &found.diagnostics[0], &plain);
        let (_, rest) = shown.split_once('\n').unwrap();
        expect![[r#"
             --> wait.asl.json:4:38
              |
            4 |     "A": {"Type": "Wait", "Seconds": -1, "End": true}
              |                                      ^ /States/A/Seconds
        "#]]
        .assert_eq(rest);
    }

    #[test]
    fn long_lines_are_cut_around_the_place() {
        let line = "x".repeat(500);
        let (shown, caret) = excerpt(&line, 251);
        assert!(shown.starts_with("… x") && shown.ends_with("x …"), "{shown}");
        assert_eq!(caret, 57);
        assert_eq!(excerpt("short\t", 6), ("short ".to_owned(), 5));
        assert_eq!(excerpt("", 1), (String::new(), 0));
    }
}
