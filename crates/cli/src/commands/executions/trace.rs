//! `trace`.

use clap::Args;
use serde_json::json;
use starmap_engine::journal::{Reader, Status};

use crate::commands::run::{PlaceArgs, resumed_settings, runtime};
use crate::printer::Printer;
use crate::{exit, session, traces};

/// Arguments of `trace`.
#[derive(Debug, Args)]
pub struct TraceArgs {
    /// Name or ARN of the execution
    #[arg(value_name = "ID")]
    execution: String,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Prints or sends the traces of an execution that has ended.
pub fn trace(args: &TraceArgs, printer: &Printer) -> anyhow::Result<()> {
    let journal = session::reader(&args.place.data)?;
    let record = journal.find_execution(&args.execution)?;
    let Some(record) = record.filter(|record| record.status != Status::Running) else {
        return Err(exit::usage(format!("there is no execution {} that has ended", args.execution)));
    };
    let settings = resumed_settings(&record, &args.place)?;
    let spans = runtime()?.block_on(traces::spans(&journal, &record, &settings))?;
    match &args.place.otlp {
        None => {
            let request = traces::request(&spans);
            printer.result(&request.to_string());
            printer.object(&request);
        }
        Some(endpoint) => {
            traces::send(endpoint, &spans)?;
            printer.result(&format!("{} spans sent to {endpoint}", spans.len()));
            printer.object(&json!({ "spans": spans.len(), "endpoint": endpoint }));
        }
    }
    Ok(())
}
