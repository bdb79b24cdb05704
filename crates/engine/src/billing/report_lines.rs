//! REPORT lines of Lambda: as a table, or as CloudWatch has them in its logs.

use std::collections::BTreeMap;

use super::meter::Usage;
use super::prices::Prices;

/// One REPORT line.
#[derive(Debug, Clone, PartialEq)]
pub struct ReportLine {
    /// What else the table says of it, `name=value` with commas: lines of the same group are billed together.
    pub group: String,
    /// `Duration`, milliseconds.
    pub duration_ms: f64,
    /// `Billed Duration`, milliseconds.
    pub billed_ms: u64,
    /// `Memory Size`, MB as Lambda says it (MiB).
    pub memory_mib: u32,
    /// `Max Memory Used`, the same unit.
    pub max_memory_used_mib: Option<u32>,
    /// `Init Duration`, milliseconds; cold starts only.
    pub init_ms: Option<f64>,
}

/// Reads lines: a CSV table with the columns `duration_ms`, `memory_size_mb` and, where known, `billed_ms`,
/// `max_memory_used_mb` and `init_ms` (others are part of the group, but for `timestamp…`); or any text with REPORT lines
/// in it. Without `billed_ms` it is ⌈init + duration⌉, init as the prices have it.
///
/// # Errors
/// Says which line can't be read, and why; or that there is none.
pub fn read(text: &str, prices: &Prices) -> Result<Vec<ReportLine>, String> {
    let lines = match text.lines().next().is_some_and(|header| header.split(',').any(|name| name == "duration_ms")) {
        true => read_table(text, prices)?,
        false => read_log(text, prices)?,
    };
    if lines.is_empty() { Err("there are no REPORT lines in it".to_owned()) } else { Ok(lines) }
}

/// What the lines used, by group, in the order of their first lines.
pub fn usage(lines: &[ReportLine]) -> Vec<(&str, Usage)> {
    let mut groups: Vec<(&str, Usage)> = Vec::new();
    let mut places = BTreeMap::new();
    for line in lines {
        let place = *places.entry(line.group.as_str()).or_insert_with(|| {
            groups.push((&line.group, Usage::default()));
            groups.len() - 1
        });
        groups[place].1.add_attempt(line.billed_ms, line.memory_mib, line.init_ms.is_some(), false);
    }
    groups
}

fn billed(duration_ms: f64, init_ms: Option<f64>, prices: &Prices) -> u64 {
    let init_ms = init_ms.filter(|_| prices.number("lambda.init.billed") > 0.0).unwrap_or(0.0);
    (init_ms + duration_ms).ceil().max(0.0) as u64
}

fn read_table(text: &str, prices: &Prices) -> Result<Vec<ReportLine>, String> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers().map_err(|error| error.to_string())?.clone();
    let column = |name: &str| header.iter().position(|found| found == name);
    let columns = ["duration_ms", "memory_size_mb", "billed_ms", "max_memory_used_mb", "init_ms"].map(column);
    let [Some(_), Some(_), ..] = columns else {
        return Err("expected columns duration_ms and memory_size_mb".to_owned());
    };
    let mut lines = Vec::new();
    for (index, row) in reader.records().enumerate() {
        let number = index + 2;
        let row = row.map_err(|error| format!("line {number}: {error}"))?;
        let figure = |place: usize| -> Result<Option<f64>, String> {
            let text = columns[place].and_then(|column| row.get(column)).unwrap_or_default().trim();
            if text.is_empty() {
                return Ok(None);
            }
            let value = text.parse().ok().filter(|value: &f64| value.is_finite() && *value >= 0.0);
            value.map(Some).ok_or_else(|| format!("line {number}: {text:?} is not a number of 0 or more"))
        };
        let needed =
            |place: usize| figure(place)?.ok_or_else(|| format!("line {number}: duration or memory is missing"));
        let (duration_ms, init_ms) = (needed(0)?, figure(4)?);
        let others = header.iter().zip(&row).enumerate();
        let others = others.filter(|(place, (name, _))| {
            !columns.contains(&Some(*place)) && !name.starts_with("timestamp") && *name != "request_id"
        });
        lines.push(ReportLine {
            group: others.map(|(_, (name, value))| format!("{name}={value}")).collect::<Vec<_>>().join(", "),
            duration_ms,
            billed_ms: figure(2)?.map_or_else(|| billed(duration_ms, init_ms, prices), |billed_ms| billed_ms as u64),
            memory_mib: needed(1)? as u32,
            max_memory_used_mib: figure(3)?.map(|mib| mib as u32),
            init_ms,
        });
    }
    Ok(lines)
}

fn read_log(text: &str, prices: &Prices) -> Result<Vec<ReportLine>, String> {
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| line.contains("REPORT RequestId:")) {
        // "Duration" is also the end of "Billed Duration" and "Init Duration".
        let figure = |name: &str| -> Option<f64> {
            let from = line.match_indices(name).find(|(at, _)| {
                let before = line[..*at].trim_end();
                !["Billed", "Init", "Restore"].iter().any(|word| before.ends_with(word)) || name.contains(' ')
            })?;
            let rest = line[from.0 + name.len()..].trim_start_matches(':').trim_start();
            rest.split_whitespace().next()?.parse().ok()
        };
        let incomplete = || format!("line {}: a REPORT line without Duration or Memory Size", index + 1);
        let duration_ms = figure("Duration").ok_or_else(incomplete)?;
        let memory_mib = figure("Memory Size").ok_or_else(incomplete)? as u32;
        let init_ms = figure("Init Duration");
        lines.push(ReportLine {
            group: String::new(),
            duration_ms,
            billed_ms: figure("Billed Duration").map_or_else(|| billed(duration_ms, init_ms, prices), |ms| ms as u64),
            memory_mib,
            max_memory_used_mib: figure("Max Memory Used").map(|mib| mib as u32),
            init_ms,
        });
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::super::{Architecture, Line};
    use super::*;

    /// The REPORT lines of four runs of 2024-11-26. See `tests/fixtures/README.md`.
    const RECORDED: &str = include_str!("../../tests/fixtures/lambda_report_lines.csv");

    #[test]
    fn the_recorded_runs_cost_what_their_lines_say_to_the_printed_digit() {
        let prices = Prices::default();
        let lines = read(RECORDED, &prices).unwrap();
        assert_eq!(lines.len(), 250);
        let cost = |usage: &Usage| Line::of(usage, &prices, Architecture::X86, 512).usd.total;
        let costs =
            usage(&lines).iter().map(|(group, used)| format!("{group}: ${:.4}", cost(used))).collect::<Vec<_>>();
        assert_eq!(
            costs,
            [
                "partition_mb=25, workers=10: $0.0206",
                "partition_mb=25, workers=40: $0.0808",
                "partition_mb=25, workers=80: $0.1686",
                "partition_mb=25, workers=120: $0.2654"
            ]
        );
        // So 516 such workers cost about $1.14; the published table has $0.0959.
        let (_, largest) = usage(&lines)[3];
        assert_eq!(format!("{:.2}", cost(&largest) / 120.0 * 516.0), "1.14");
    }

    #[test]
    fn billed_milliseconds_are_init_and_duration_rounded_up() {
        let prices = Prices::default();
        for line in read(RECORDED, &prices).unwrap() {
            let found = billed(line.duration_ms, line.init_ms, &prices);
            // A sum that is whole in the two decimals of the line was a little more before it was printed.
            let sum_ms = line.duration_ms + line.init_ms.unwrap_or(0.0);
            let is_printed_whole = (sum_ms - sum_ms.round()).abs() < 1e-6;
            assert!(found == line.billed_ms || is_printed_whole && found + 1 == line.billed_ms, "{line:?}");
        }
    }

    #[test]
    fn lines_of_a_log_are_read_as_cloudwatch_writes_them() {
        let log = "START RequestId: 1\nREPORT RequestId: 1\tDuration: 12606.91 ms\tBilled Duration: 13836 ms\tMemory Size: 10240 MB\t\
                   Max Memory Used: 2865 MB\tInit Duration: 1228.99 ms\nREPORT RequestId: 2 Duration: 2.5 ms Memory Size: 128 MB";
        let lines = read(log, &Prices::default()).unwrap();
        let figures =
            lines.iter().map(|l| (l.duration_ms, l.billed_ms, l.memory_mib, l.max_memory_used_mib, l.init_ms));
        let expected = [(12_606.91, 13_836, 10_240, Some(2_865), Some(1_228.99)), (2.5, 3, 128, None, None)];
        assert_eq!(figures.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let prices = Prices::default();
        let error = read("duration_ms,memory_size_mb\n1.0,128\n-2,128\n", &prices).unwrap_err();
        assert_eq!(error, "line 3: \"-2\" is not a number of 0 or more");
        assert_eq!(read("nothing", &prices).unwrap_err(), "there are no REPORT lines in it");
        assert!(read("REPORT RequestId: 1 Duration: x ms", &prices).unwrap_err().contains("line 1"));
    }
}
