//! Usage and prices to dollars.

use serde::Serialize;

use super::meter::{Meter, Usage};
use super::prices::{Architecture, Prices};

/// Dollars by what they are paid for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Dollars {
    /// GB-seconds of Lambda.
    pub lambda_compute: f64,
    /// Requests of Lambda.
    pub lambda_requests: f64,
    /// Ephemeral storage of Lambda above what is free.
    pub lambda_ephemeral: f64,
    /// State transitions of Standard executions.
    pub transitions: f64,
    /// Requests and GB-seconds of Express executions.
    pub express: f64,
    /// Requests to S3.
    pub s3: f64,
    /// All of it.
    pub total: f64,
}

/// What was used, and what it costs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line {
    /// What was used.
    pub usage: Usage,
    /// GB-seconds of Lambda.
    pub gb_s: f64,
    /// What it costs.
    pub usd: Dollars,
}

/// One state's part of a bill.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StateLine {
    /// The state's name.
    pub state: String,
    /// Its part.
    #[serde(flatten)]
    pub line: Line,
}

/// One item's part of a bill.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ItemLine {
    /// The item's index in its map run.
    pub item: u64,
    /// Its part.
    #[serde(flatten)]
    pub line: Line,
}

/// A bill: before free tiers, taxes, discounts, storage and what others charge.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bill {
    /// When the prices were read.
    pub prices_as_of: String,
    /// The region that they are of.
    pub region: String,
    /// The functions' processor.
    pub architecture: Architecture,
    /// All of it.
    pub total: Line,
    /// By state, by name.
    pub states: Vec<StateLine>,
    /// By item, by index, where they were counted.
    pub items: Vec<ItemLine>,
}

impl Bill {
    /// What a history would have cost. `ephemeral_mib` is the functions' ephemeral storage, MiB.
    pub fn of(meter: &Meter, prices: &Prices, architecture: Architecture, ephemeral_mib: u32) -> Self {
        let total = meter.total();
        let rates = Rates::of(prices, architecture, ephemeral_mib, total.gb_s());
        let states =
            meter.states().map(|(state, usage)| StateLine { state: state.to_owned(), line: rates.line(usage) });
        let items = meter.items().map(|(item, usage)| ItemLine { item, line: rates.line(usage) });
        Self {
            prices_as_of: prices.as_of.clone(),
            region: prices.region.clone(),
            architecture,
            total: rates.line(&total),
            states: states.collect(),
            items: items.collect(),
        }
    }
}

impl Line {
    /// What this usage costs if it is all that a month has.
    pub fn of(usage: &Usage, prices: &Prices, architecture: Architecture, ephemeral_mib: u32) -> Self {
        Rates::of(prices, architecture, ephemeral_mib, usage.gb_s()).line(usage)
    }
}

/// Prices per unit of usage.
struct Rates {
    gb_s: f64,
    request: f64,
    /// Per millisecond of a function.
    ephemeral_ms: f64,
    transition: f64,
    express_request: f64,
    express_ms: f64,
    get: f64,
    put: f64,
}

impl Rates {
    /// The parts of a bill are at the mean price of its tiers, so that they add up.
    fn of(prices: &Prices, architecture: Architecture, ephemeral_mib: u32, gb_s: f64) -> Self {
        let mean = match gb_s > 0.0 {
            true => prices.lambda_compute_usd(architecture, gb_s) / gb_s,
            false => 0.0,
        };
        let ephemeral_gb = (f64::from(ephemeral_mib) - prices.number("lambda.ephemeral.free_mb")).max(0.0) / 1024.0;
        let express_gb = prices.number("sfn.express.memory_mb") / 1024.0;
        Self {
            gb_s: mean,
            request: prices.number("lambda.request.usd"),
            ephemeral_ms: ephemeral_gb * prices.number("lambda.ephemeral.usd_per_gb_s") / 1e3,
            transition: prices.number("sfn.standard.transition.usd"),
            express_request: prices.number("sfn.express.request.usd"),
            express_ms: express_gb * prices.number("sfn.express.usd_per_gb_s") / 1e3,
            get: prices.number("s3.get.usd"),
            put: prices.number("s3.put.usd"),
        }
    }

    fn line(&self, usage: &Usage) -> Line {
        let storage = usage.storage;
        let mut usd = Dollars {
            lambda_compute: usage.gb_s() * self.gb_s,
            lambda_requests: usage.lambda_requests as f64 * self.request,
            lambda_ephemeral: usage.billed_ms as f64 * self.ephemeral_ms,
            transitions: usage.transitions as f64 * self.transition,
            express: usage.express_requests as f64 * self.express_request + usage.express_ms as f64 * self.express_ms,
            s3: storage.get as f64 * self.get + (storage.put + storage.list) as f64 * self.put,
            total: 0.0,
        };
        usd.total =
            usd.lambda_compute + usd.lambda_requests + usd.lambda_ephemeral + usd.transitions + usd.express + usd.s3;
        Line { usage: *usage, gb_s: usage.gb_s(), usd }
    }
}

#[cfg(test)]
mod tests {
    use super::super::meter::StorageRequests;
    use super::*;

    #[test]
    fn every_kind_of_usage_has_its_price() {
        let mut usage =
            Usage { transitions: 1_000, express_requests: 1_000_000, express_ms: 16_000_000, ..Usage::default() };
        usage.storage = StorageRequests { get: 10_000, put: 1_000, list: 1_000 };
        usage.add_attempt(1_000_000, 1_024, false, false);
        let Dollars { lambda_compute, lambda_requests, lambda_ephemeral, transitions, express, s3, total } =
            Line::of(&usage, &Prices::default(), Architecture::X86, 1_536).usd;
        let close = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-9, "{found}, not {expected}");
        close(lambda_compute, 1_000.0 * 0.0000166667);
        close(lambda_requests, 0.0000002);
        close(lambda_ephemeral, 1_000.0 * 0.0000000309);
        close(transitions, 0.025);
        close(express, 1.0 + 1_000.0 * 0.00001667);
        close(s3, 0.004 + 0.01);
        close(total, lambda_compute + lambda_requests + lambda_ephemeral + transitions + express + s3);
    }
}
