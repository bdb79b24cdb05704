//! `starmap bill`: what a run would have cost on AWS.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use starmap_engine::billing::{Bill, Line, Prices, Usage, report_lines};
use starmap_engine::journal::Reader;

use crate::billing::{self, BillArgs};
use crate::commands::run::runtime;
use crate::printer::Printer;
use crate::{exit, session, table, variables};

/// Arguments of `starmap bill`.
#[derive(Debug, Args)]
pub struct BillCommand {
    /// Name or ARN of an execution; one that failed has its bill, too
    #[arg(value_name = "RUN", required_unless_present_any = ["report_lines", "show_prices"])]
    execution: Option<String>,
    /// Bill REPORT lines of Lambda: a CSV with duration_ms and memory_size_mb, or a log of CloudWatch
    #[arg(long, value_name = "FILE", conflicts_with = "execution")]
    report_lines: Option<PathBuf>,
    /// Print the prices and limits with their sources
    #[arg(long, conflicts_with_all = ["execution", "report_lines"])]
    show_prices: bool,
    /// Folder with the journal
    #[arg(long, value_name = "DIR", env = variables::DATA, default_value = "starmap-data")]
    data: PathBuf,
    #[command(flatten)]
    bill: BillArgs,
}

/// Runs the command.
pub fn run(args: &BillCommand, printer: &Printer) -> anyhow::Result<ExitCode> {
    let prices = args.bill.prices()?;
    if args.show_prices {
        show_prices(&prices, printer);
    } else if let Some(path) = &args.report_lines {
        let text =
            std::fs::read_to_string(path).map_err(|error| exit::usage(format!("{}: {error}", path.display())))?;
        let lines = report_lines::read(&text, &prices);
        let lines = lines.map_err(|error| exit::usage(format!("{}: {error}", path.display())))?;
        of_lines(&lines, &prices, args, printer);
    } else if let Some(execution) = &args.execution {
        of_execution(execution, args, printer)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn of_execution(execution: &str, args: &BillCommand, printer: &Printer) -> anyhow::Result<()> {
    let journal = session::reader(&args.data)?;
    let record = journal.find_execution(execution)?.ok_or_else(|| {
        exit::usage(format!(
            "there is no execution {execution} in data root {}\nhint: `starmap executions list` shows those that are",
            args.data.display()
        ))
    })?;
    let summary = runtime()?.block_on(billing::summary_of(&record)).ok();
    let requests = summary.as_ref().and_then(|summary| summary.requests);
    let bill = billing::of(&journal, &record, requests, &args.bill)?;
    let legacy = summary.map(|summary| summary.legacy);
    printer.result(&shown(&record.name, &bill));
    if let Some(legacy) = &legacy {
        printer.result(&format!(
            "\nlegacy_cost ${:.6}: mean CPU time × memory used, without start-up, requests and transitions",
            legacy.legacy_cost
        ));
    }
    if requests.is_none() {
        printer.warning("requests to object storage are not in it: this run has no summary that tells of them");
    }
    printer.object(&json!({
        "run_id": record.name,
        "status": record.status.as_str(),
        "storage_requests_counted": requests.is_some(),
        "legacy_cost": legacy.map(|legacy| legacy.legacy_cost),
        "bill": bill,
    }));
    Ok(())
}

fn shown(name: &str, bill: &Bill) -> String {
    let title = format!(
        "{name}, as if on AWS: prices of {}, {}, {}, before free tiers\n\n",
        bill.prices_as_of,
        bill.region,
        bill.architecture.as_str()
    );
    let header = ["STATE", "ATTEMPTS", "FAILED", "COLD", "GB-S", "TRANSITIONS", "S3 GET", "S3 PUT+LIST", "USD"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    let line = |name: &str, line: &Line| {
        let Usage { lambda_requests, lambda_failed, cold_starts, transitions, storage, .. } = line.usage;
        vec![
            name.to_owned(),
            lambda_requests.to_string(),
            lambda_failed.to_string(),
            cold_starts.to_string(),
            format!("{:.3}", line.gb_s),
            transitions.to_string(),
            storage.get.to_string(),
            (storage.put + storage.list).to_string(),
            format!("{:.6}", line.usd.total),
        ]
    };
    rows.extend(bill.states.iter().map(|state| line(&state.state, &state.line)));
    rows.push(line("total", &bill.total));
    let usd = bill.total.usd;
    let mut parts = vec![
        ("Lambda, GB-seconds", usd.lambda_compute),
        ("Lambda, requests", usd.lambda_requests),
        ("Lambda, ephemeral storage", usd.lambda_ephemeral),
        ("Step Functions, transitions", usd.transitions),
        ("Step Functions, Express", usd.express),
        ("S3, requests", usd.s3),
    ];
    parts.retain(|(_, usd)| *usd > 0.0);
    parts.push(("total", usd.total));
    let parts: Vec<_> = parts.into_iter().map(|(name, usd)| vec![name.to_owned(), format!("${usd:.6}")]).collect();
    format!("{title}{}\n\n{}", table::aligned(&rows), table::aligned(&parts))
}

fn of_lines(lines: &[report_lines::ReportLine], prices: &Prices, args: &BillCommand, printer: &Printer) {
    let mut rows =
        vec![["GROUP", "LINES", "COLD", "BILLED S", "GB-S", "USD", "USD PER LINE"].map(str::to_owned).to_vec()];
    let mut total = Usage::default();
    let mut groups = Vec::new();
    let mut row = |name: &str, usage: &Usage| {
        let line = Line::of(usage, prices, args.bill.architecture, args.bill.ephemeral);
        rows.push(vec![
            name.to_owned(),
            usage.lambda_requests.to_string(),
            usage.cold_starts.to_string(),
            format!("{:.3}", usage.billed_ms as f64 / 1e3),
            format!("{:.2}", line.gb_s),
            format!("{:.4}", line.usd.total),
            format!("{:.6}", line.usd.total / usage.lambda_requests as f64),
        ]);
        line
    };
    for (group, usage) in report_lines::usage(lines) {
        total.add(&usage);
        groups.push(json!({ "group": group, "line": row(group, &usage) }));
    }
    let all = row("total", &total);
    printer.result(&table::aligned(&rows));
    printer.result(&format!(
        "\nLambda only: GB-seconds and requests; prices of {}, {}, {}, before free tiers",
        prices.as_of,
        prices.region,
        args.bill.architecture.as_str()
    ));
    printer.object(&json!({ "prices_as_of": prices.as_of, "region": prices.region, "groups": groups, "total": all }));
}

fn show_prices(prices: &Prices, printer: &Printer) {
    let mut rows = vec![["NAME", "VALUE", "UNIT", "SOURCE"].map(str::to_owned).to_vec()];
    for number in prices.numbers() {
        let doubt = if number.verified { "" } else { " (not verified)" };
        let source = format!("{}{doubt}", number.source);
        rows.push(vec![number.name.clone(), number.value.to_string(), number.unit.clone(), source]);
    }
    printer.result(&format!("prices and limits of {}, {}\n\n{}", prices.as_of, prices.region, table::aligned(&rows)));
    let numbers: Vec<_> = prices.numbers().collect();
    printer.object(&json!({ "as_of": prices.as_of, "region": prices.region, "numbers": numbers }));
}
