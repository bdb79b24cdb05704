//! What an execution would have cost on AWS, as the engine bills it.

use starmap_engine::billing::{self, Architecture, Bill, Prices};
use starmap_engine::journal::{ExecutionId, ExecutionRecord, Status};

use super::html::{Html, html};
use super::{Console, Failure, locked};

/// Children whose histories are read to bill them; above that it is a matter of seconds, and of `starmap bill`.
const CHILDREN_MAX: u64 = 1_000;
/// The same while it runs, when it is billed again and again.
const RUNNING_CHILDREN_MAX: u64 = 50;
/// Bills that are kept.
const BILLS_MAX: usize = 64;
/// MiB of ephemeral storage that are free.
const EPHEMERAL_MIB: u32 = 512;

/// The total of a bill that is kept, and of what.
pub(super) type Kept = ((ExecutionId, Status, u32), f64);

impl Console {
    /// Dollars, if it is a matter of milliseconds to tell: Lambda and Step Functions on x86, without requests to S3.
    pub(super) fn cost_usd(&self, record: &ExecutionRecord) -> Result<Option<f64>, Failure> {
        let of = (record.id, record.status, record.redrive_count);
        if let Some((_, usd)) = locked(&self.bills).iter().find(|(there, _)| *there == of) {
            return Ok(Some(*usd));
        }
        let runs = self.reader.map_runs_page(record.id, None, 20)?;
        let children: u64 = runs.iter().map(|run| run.details.counts.children.ended()).sum();
        let is_running = record.status == Status::Running;
        if children > if is_running { RUNNING_CHILDREN_MAX } else { CHILDREN_MAX } {
            return Ok(None);
        }
        let meter = billing::of(&*self.reader, record)?;
        let prices = self.prices.get_or_init(Prices::default);
        let usd = Bill::of(&meter, prices, Architecture::X86, EPHEMERAL_MIB).total.usd.total;
        if !is_running {
            let mut bills = locked(&self.bills);
            bills.push_back((of, usd));
            if bills.len() > BILLS_MAX {
                bills.pop_front();
            }
        }
        Ok(Some(usd))
    }
}

/// A number of dollars, of which there are usually few.
pub(super) fn dollars(usd: f64) -> Html {
    let text = match usd {
        0.0 => "$0".to_owned(),
        usd if usd < 0.01 => format!("${usd:.6}"),
        usd if usd < 1.0 => format!("${usd:.4}"),
        usd => format!("${usd:.2}"),
    };
    html!(
        "<span title=\"Lambda on x86 and Step Functions at list prices, without requests to S3 and free tiers\">{}</span>",
        text
    )
}
