//! Metrics for Prometheus: what `serve` does, in the text format that its scraper reads.
//!
//! Counters begin with the process. They are counted from what the engine announces and what the workers know; nothing
//! here slows either of them down. Names, types and meanings are listed in docs/operations.md.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

use starmap_engine::journal::{ExecutionFilter, Status};
use starmap_engine::{Engine, Notice};
use starmap_workers::Workers;
use tokio::sync::broadcast::error::RecvError;

/// Content type of the text format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Running executions are counted up to this many.
const RUNNING_MAX: usize = 10_000;

/// See the [module](self).
pub struct Metrics {
    engine: Arc<Engine>,
    workers: Arc<Workers>,
    counts: Arc<Mutex<Counts>>,
}

#[derive(Debug, Default)]
struct Counts {
    tasks_started: u64,
    /// By whether it was a child, and status.
    ended: BTreeMap<(bool, &'static str), u64>,
    notices_missed: u64,
}

impl Metrics {
    /// Begins to count. Needs a tokio runtime.
    pub fn start(engine: Arc<Engine>, workers: Arc<Workers>) -> Self {
        let counts = Arc::<Mutex<Counts>>::default();
        let (mut notices, counting) = (engine.notices(), Arc::clone(&counts));
        tokio::spawn(async move {
            loop {
                let notice = notices.recv().await;
                let mut counts = counting.lock().unwrap_or_else(PoisonError::into_inner);
                match notice {
                    Ok(Notice::TaskStarted { .. }) => counts.tasks_started += 1,
                    Ok(Notice::Ended { parent, ending, .. }) => {
                        *counts.ended.entry((parent.is_some(), ending.status.as_str())).or_default() += 1;
                    }
                    Err(RecvError::Lagged(missed)) => counts.notices_missed += missed,
                    Err(RecvError::Closed) => return,
                }
            }
        });
        Self { engine, workers, counts }
    }

    /// Everything, as it is now.
    pub fn text(&self) -> String {
        let mut page = Text::default();
        page.family("starmap_build_info", "gauge", "The version that runs; always 1.");
        page.sample("starmap_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
        self.executions(&mut page);
        self.workers(&mut page);
        process(&mut page);
        page.0
    }

    fn executions(&self, page: &mut Text) {
        let filter = ExecutionFilter { status: Some(Status::Running), ..ExecutionFilter::everyone() };
        let running = self.engine.reader().executions(&filter, None, RUNNING_MAX);
        page.family("starmap_executions_running", "gauge", "Executions that have not ended, children not counted.");
        if let Ok(running) = running {
            page.sample("starmap_executions_running", &[], running.len() as f64);
        }
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        page.family("starmap_executions_ended_total", "counter", "Executions that ended, by kind and status.");
        for ((is_child, status), count) in &counts.ended {
            let kind = if *is_child { "child" } else { "execution" };
            page.sample("starmap_executions_ended_total", &[("kind", kind), ("status", status)], *count as f64);
        }
        page.family("starmap_tasks_started_total", "counter", "Tasks that a worker took.");
        page.sample("starmap_tasks_started_total", &[], counts.tasks_started as f64);
        page.family(
            "starmap_notices_missed_total",
            "counter",
            "Announcements of the engine that were not counted above.",
        );
        page.sample("starmap_notices_missed_total", &[], counts.notices_missed as f64);
    }

    fn workers(&self, page: &mut Text) {
        let usage = self.workers.usage();
        for (name, help, of) in [
            (
                "starmap_workers",
                "Worker processes, busy or not.",
                (|usage| usage.workers) as fn(&starmap_workers::Usage) -> usize,
            ),
            ("starmap_workers_idle", "Worker processes that are warm and wait.", |usage| usage.idle),
            ("starmap_invocations_queued", "Invocations that wait for a worker.", |usage| usage.queued),
        ] {
            page.family(name, "gauge", help);
            for each in &usage {
                let labels = [("function", each.function.as_str()), ("version", each.version.as_str())];
                page.sample(name, &labels, of(each) as f64);
            }
        }
        let totals = self.workers.totals();
        page.family("starmap_invocations_total", "counter", "Invocations that ended, by function and result.");
        for (function, totals) in &totals {
            for (result, count) in [("succeeded", totals.succeeded), ("failed", totals.failed)] {
                let labels = [("function", function.as_str()), ("result", result)];
                page.sample("starmap_invocations_total", &labels, count as f64);
            }
        }
        for (name, help, of) in [
            (
                "starmap_invocation_duration_seconds_total",
                "Time from hand-over to answer.",
                (|totals| totals.duration_ms / 1e3) as fn(&starmap_workers::Totals) -> f64,
            ),
            ("starmap_invocation_billed_seconds_total", "Time that Lambda would bill.", |it| it.billed_ms as f64 / 1e3),
            ("starmap_cold_starts_total", "Invocations that began with the start of a process.", |it| {
                it.cold_starts as f64
            }),
            ("starmap_memory_retries_total", "Attempts after one that was over its memory.", |it| it.rungs as f64),
            ("starmap_speculations_total", "Second attempts beside stragglers.", |it| it.speculations as f64),
            ("starmap_speculations_won_total", "Second attempts that answered first.", |it| it.speculations_won as f64),
        ] {
            page.family(name, "counter", help);
            for (function, totals) in &totals {
                page.sample(name, &[("function", function)], of(totals));
            }
        }
    }
}

/// What every exporter says of its process, where the system tells.
fn process(page: &mut Text) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok());
    if let Some(kib) = kib {
        page.family("process_resident_memory_bytes", "gauge", "Resident memory.");
        page.sample("process_resident_memory_bytes", &[], kib * 1024.0);
    }
    let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    page.family("process_cpu_seconds_total", "counter", "CPU time, user and system.");
    page.sample("process_cpu_seconds_total", &[], cpu.tv_sec as f64 + cpu.tv_nsec as f64 * 1e-9);
}

/// The text format.
///
/// # Source
/// <https://prometheus.io/docs/instrumenting/exposition_formats/>, read 2026-11.
#[derive(Debug, Default)]
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string can't fail.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.0.push_str(name);
        for (i, (label, value)) in labels.iter().enumerate() {
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.0, "{}{label}=\"{escaped}\"", if i == 0 { '{' } else { ',' });
        }
        let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_in_the_text_format() {
        let mut page = Text::default();
        page.family("x_total", "counter", "How many.");
        page.sample("x_total", &[], 3.0);
        page.sample("x_total", &[("a", "b\"\\\n"), ("c", "d")], 0.5);
        assert_eq!(
            page.0,
            "# HELP x_total How many.\n# TYPE x_total counter\nx_total 3\nx_total{a=\"b\\\"\\\\\\n\",c=\"d\"} 0.5\n"
        );
    }
}
