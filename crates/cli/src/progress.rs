//! The progress of an execution, on stderr: a line that rewrites itself on a terminal, and a plain line for
//! every tenth of the items elsewhere.

use std::time::{Duration, Instant};

use starmap_engine::core::MapRunProgress;
use starmap_engine::journal::{ExecutionId, Status};
use starmap_engine::{Engine, Notice};
use tokio::sync::broadcast::error::RecvError;

use crate::printer::Printer;

const REFRESH: Duration = Duration::from_millis(250);

/// What is shown of a map run, and what was said of it.
#[derive(Debug, Default)]
pub struct Display {
    rate: Rate,
    tenths_said: u64,
    /// Items that had succeeded when we began to look, where only counts are known.
    succeeded_before: Option<u64>,
}

impl Display {
    /// Shows how far a map run has come.
    pub fn show(&mut self, run: &MapRunProgress, printer: &Printer) {
        if printer.live() {
            printer.status_line(&line(run, &self.rate));
            return;
        }
        let tenths = done(run) * 10 / run.total.max(1);
        if tenths > self.tenths_said {
            self.tenths_said = tenths;
            printer.note(&line(run, &self.rate));
        }
    }

    /// The same, where nobody says what ended but the counts.
    pub fn show_counts(&mut self, run: &MapRunProgress, printer: &Printer) {
        let before = *self.succeeded_before.get_or_insert(run.succeeded);
        self.rate.start();
        self.rate.items = run.succeeded.saturating_sub(before);
        self.show(run, printer);
    }
}

/// Shows progress until it is dropped; never returns.
pub async fn show(engine: &Engine, execution: ExecutionId, printer: &Printer) -> std::convert::Infallible {
    let mut notices = engine.notices();
    let mut tick = tokio::time::interval(REFRESH);
    let mut display = Display::default();
    loop {
        tokio::select! {
            _ = tick.tick() => {
                // An engine that has stopped is told of by whoever waits for the execution.
                let runs = engine.progress(execution).await.unwrap_or_default();
                if let Some(run) = runs.last() {
                    display.show(run, printer);
                }
            }
            notice = notices.recv() => match notice {
                Ok(Notice::TaskStarted { .. }) => display.rate.start(),
                Ok(Notice::Ended { parent: Some((parent, _)), ending, .. }) if parent == execution => {
                    let galaxies = ending.output.as_ref().and_then(|output| output.get("galaxies")?.as_u64());
                    display.rate.ended(ending.status, galaxies.unwrap_or(0));
                }
                // What was missed only makes the rate too low.
                Ok(Notice::Ended { .. }) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}

/// What has ended since this process began to look.
#[derive(Debug, Default)]
struct Rate {
    since: Option<Instant>,
    items: u64,
    galaxies: u64,
}

impl Rate {
    fn start(&mut self) {
        self.since.get_or_insert_with(Instant::now);
    }

    fn ended(&mut self, status: Status, galaxies: u64) {
        if status == Status::Succeeded {
            self.items += 1;
            self.galaxies += galaxies;
        }
    }

    fn per_second(&self, count: u64) -> Option<f64> {
        let elapsed_s = self.since?.elapsed().as_secs_f64();
        (count > 0 && elapsed_s > 0.0).then(|| count as f64 / elapsed_s)
    }
}

fn done(run: &MapRunProgress) -> u64 {
    run.succeeded + run.failed + run.aborted
}

fn line(run: &MapRunProgress, rate: &Rate) -> String {
    let mut text =
        format!("{}: {}/{} done, {} running, {} failed", run.state, done(run), run.total, run.in_flight, run.failed);
    if let Some(galaxies_per_s) = rate.per_second(rate.galaxies) {
        text.push_str(&format!(", {galaxies_per_s:.0} galaxies/s"));
    }
    if let Some(items_per_s) = rate.per_second(rate.items) {
        let left_s = (run.total - done(run)) as f64 / items_per_s;
        text.push_str(&format!(", ETA {}", duration(left_s)));
    }
    text
}

/// A duration as people read it: `0.8 s`, `42 s`, `3 min 20 s`, `2 h 05 min`.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..10 => format!("{seconds:.1} s"),
        10..60 => format!("{whole} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        let shown = [0.04, 9.44, 42.2, 200.0, 7500.0].map(duration);
        assert_eq!(shown, ["0.0 s", "9.4 s", "42 s", "3 min 20 s", "2 h 05 min"]);
    }

    #[test]
    fn a_line_counts_items_and_leaves_out_what_is_not_known() {
        let run = MapRunProgress {
            state: "Distributed Test".to_owned(),
            total: 516,
            pending: 500,
            running: 4,
            in_flight: 2,
            succeeded: 11,
            failed: 1,
            aborted: 0,
        };
        assert_eq!(line(&run, &Rate::default()), "Distributed Test: 12/516 done, 2 running, 1 failed");
    }
}
