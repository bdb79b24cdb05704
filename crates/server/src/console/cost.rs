//! What an execution would have cost on AWS, as the engine bills it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use starmap_engine::billing::{self, Architecture, Bill, Prices};
use starmap_engine::journal::{ExecutionId, ExecutionRecord, Reader, Status};

use super::html::{Html, html};
use super::{Console, Failure, locked};

/// Children whose histories are read to bill them while a page waits; with more of them it is done beside.
const CHILDREN_MAX: u64 = 500;
/// The same while it runs, when it is billed again and again.
const RUNNING_CHILDREN_MAX: u64 = 50;
/// Billing beside takes at most this part of the time: what took a second is done again after two minutes.
const SHARE: i64 = 120;
/// Bills that are kept.
const BILLS_MAX: usize = 64;
/// MiB of ephemeral storage that are free.
const EPHEMERAL_MIB: u32 = 512;

/// Which execution is billed, at which point of its life.
type Of = (ExecutionId, Status, u32);

/// The total of a bill that is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kept {
    of: Of,
    /// Dollars; `None` as long as it is counted for the first time.
    usd: Option<f64>,
    is_counted_now: bool,
    /// When it may be counted again.
    stale_at: i64,
}

/// What an execution would have cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Cost {
    /// Dollars, up to now or a little before.
    Usd(f64),
    /// It is being counted: there are many children.
    Counting,
}

impl Cost {
    pub(super) fn usd(self) -> Option<f64> {
        match self {
            Self::Usd(usd) => Some(usd),
            Self::Counting => None,
        }
    }

    pub(super) fn shown(self) -> Html {
        self.usd().map_or_else(|| html!("being counted"), dollars)
    }
}

impl Console {
    /// Lambda and Step Functions on x86, without requests to S3. Nobody waits for the bill of a large execution: it is
    /// counted beside, and a page that is followed shows it once it is there.
    pub(super) fn cost(&self, record: &ExecutionRecord) -> Result<Cost, Failure> {
        let of = (record.id, record.status, record.redrive_count);
        let (is_running, now) = (record.status == Status::Running, self.now().0);
        let kept = locked(&self.bills).iter().find(|kept| kept.of == of).copied();
        if let Some(kept) = kept
            && (kept.is_counted_now || now < kept.stale_at || !is_running && kept.usd.is_some())
        {
            return Ok(kept.usd.map_or(Cost::Counting, Cost::Usd));
        }
        let runs = self.reader.map_runs_page(record.id, None, 20)?;
        let children: u64 = runs.iter().map(|run| run.details.counts.children.ended()).sum();
        if children <= if is_running { RUNNING_CHILDREN_MAX } else { CHILDREN_MAX } {
            let usd = counted(&*self.reader, record, self.prices.get_or_init(Prices::default))?;
            if !is_running {
                keep(&self.bills, Kept { of, usd: Some(usd), is_counted_now: false, stale_at: i64::MAX });
            }
            return Ok(Cost::Usd(usd));
        }
        let before = kept.and_then(|kept| kept.usd);
        keep(&self.bills, Kept { of, usd: before, is_counted_now: true, stale_at: 0 });
        let (reader, bills, clock) = (Arc::clone(&self.reader), Arc::clone(&self.bills), Arc::clone(&self.clock));
        let (prices, record) = (self.prices.get_or_init(Prices::default).clone(), record.clone());
        drop(tokio::task::spawn_blocking(move || {
            let began = clock.now().0;
            let usd = counted(&*reader, &record, &prices);
            let took = (clock.now().0 - began).max(1);
            let stale_at = clock.now().0 + took.saturating_mul(SHARE);
            // What could not be read has been logged; it is tried again then.
            keep(&bills, Kept { of, usd: usd.ok().or(before), is_counted_now: false, stale_at });
        }));
        Ok(before.map_or(Cost::Counting, Cost::Usd))
    }
}

fn counted(reader: &dyn Reader, record: &ExecutionRecord, prices: &Prices) -> Result<f64, Failure> {
    let meter = billing::of(reader, record)?;
    Ok(Bill::of(&meter, prices, Architecture::X86, EPHEMERAL_MIB).total.usd.total)
}

/// Of each execution the last bill.
fn keep(bills: &Mutex<VecDeque<Kept>>, kept: Kept) {
    let mut bills = locked(bills);
    bills.retain(|there| there.of.0 != kept.of.0);
    bills.push_back(kept);
    if bills.len() > BILLS_MAX {
        bills.pop_front();
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
