//! Log streams: one file per worker, with Lambda's START, END and REPORT lines around its output.
//!
//! [`reports`] reads the figures back.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use starmap_engine::invoker::Report;

/// Where workers' output and Lambda's log lines go.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Logs {
    /// Nowhere.
    #[default]
    None,
    /// `{folder}/{function}/{log stream}.log`, see [`path`].
    Folder(PathBuf),
}

/// The file of a log stream. The slashes of the stream's date become dashes, so that it is one file.
///
/// ```
/// # use std::path::Path;
/// let path = starmap_workers::logs::path(Path::new("logs"), "infer", "2026/11/24/[$LATEST]0f3c");
/// assert_eq!(path, Path::new("logs/infer/2026-11-24-[$LATEST]0f3c.log"));
/// ```
pub fn path(folder: &Path, function: &str, log_stream: &str) -> PathBuf {
    folder.join(function).join(format!("{}.log", log_stream.replace('/', "-")))
}

/// A line of a log stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Where it begins in the file.
    pub offset: u64,
    /// When it was written, Unix epoch.
    pub at_ms: i64,
    /// What it says, without its end.
    pub text: String,
}

/// The lines of a log file, with the times that were noted when they were written; of a file without such notes, all
/// with the time of its last change. What is not UTF-8 is replaced.
///
/// # Errors
/// When the file can't be read.
pub fn lines(path: &Path) -> io::Result<Lines> {
    let file = File::open(path)?;
    let changed = file.metadata()?.modified()?.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let times = times(path)?;
    let fallback_ms = i64::try_from(changed.as_millis()).unwrap_or(i64::MAX);
    Ok(Lines { reader: BufReader::new(file), times, fallback_ms, offset: 0, next: 0 })
}

/// When a log file's first and last lines were written, Unix epoch; none of a file without notes.
///
/// # Errors
/// When the notes can't be read.
pub fn span(path: &Path) -> io::Result<Option<(i64, i64)>> {
    let times = times(path)?;
    Ok(times.first().zip(times.last()).map(|(first, last)| (first.1, last.1)))
}

/// See [`lines`].
#[derive(Debug)]
pub struct Lines {
    reader: BufReader<File>,
    times: Vec<(u64, i64)>,
    fallback_ms: i64,
    offset: u64,
    next: usize,
}

impl Iterator for Lines {
    type Item = io::Result<Line>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut bytes = Vec::new();
        match self.reader.read_until(b'\n', &mut bytes) {
            Ok(0) => return None,
            Ok(_) => {}
            Err(error) => return Some(Err(error)),
        }
        let offset = self.offset;
        self.offset += bytes.len() as u64;
        while self.times.get(self.next).is_some_and(|(start, _)| *start <= offset) {
            self.next += 1;
        }
        let at_ms = self.next.checked_sub(1).map_or(self.fallback_ms, |index| self.times[index].1);
        let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        Some(Ok(Line { offset, at_ms, text: String::from_utf8_lossy(text).into_owned() }))
    }
}

/// Beside a log file: when what begins at an offset was written. Pairs of a `u64` and an `i64`, little-endian.
fn times_path(log: &Path) -> PathBuf {
    log.with_extension("times")
}

fn times(log: &Path) -> io::Result<Vec<(u64, i64)>> {
    let bytes = match fs::read(times_path(log)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let (pairs, _) = bytes.as_chunks::<16>();
    let pair = |pair: &[u8; 16]| {
        let (offset, at) = pair.split_first_chunk::<8>()?;
        Some((u64::from_le_bytes(*offset), i64::from_le_bytes(at.try_into().ok()?)))
    };
    Ok(pairs.iter().filter_map(pair).collect())
}

/// Why log files could not be read back.
#[derive(Debug, thiserror::Error)]
#[error("{path}: could not read worker logs: {source}", path = path.display())]
pub struct Error {
    /// The folder or file.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// Reads every REPORT line under a logs folder, by function, then log stream, then in the order written.
///
/// A line that only starts like a REPORT line is a worker's own output and is passed over. A worker that
/// prints a perfect one is believed.
///
/// # Errors
/// [`Error`] if the folder or a file in it cannot be read.
pub fn reports(folder: &Path) -> Result<Vec<Report>, Error> {
    let mut reports = Vec::new();
    for function in entries(folder)? {
        if !function.is_dir() {
            continue;
        }
        for file in entries(&function)? {
            let names = (function.file_name().and_then(|name| name.to_str()), file.file_stem());
            let (Some(function), Some(stem)) = (names.0, names.1.and_then(|stem| stem.to_str())) else { continue };
            if file.extension().is_none_or(|extension| extension != "log") {
                continue;
            }
            let bytes = fs::read(&file).map_err(|source| Error { path: file.clone(), source })?;
            // Nothing in a log stream's name but its date has dashes.
            let log_stream = stem.replacen('-', "/", 3);
            let text = String::from_utf8_lossy(&bytes);
            reports.extend(text.lines().filter_map(|line| parse_report(line, function, &log_stream)));
        }
    }
    Ok(reports)
}

/// The version of the function that a log stream belongs to, as its name says.
///
/// ```
/// # use starmap_workers::logs::version;
/// assert_eq!(version("2026/11/24/[$LATEST]0f3c"), Some("$LATEST"));
/// ```
pub fn version(log_stream: &str) -> Option<&str> {
    log_stream.split_once('[')?.1.split_once(']').map(|(version, _)| version)
}

/// The last 4 KiB that one invocation wrote: what Lambda answers to `LogType=Tail`. Empty if it is not there.
///
/// Only the end of the file is read; of an invocation that wrote more, what is left of it.
pub fn tail(folder: &Path, function: &str, log_stream: &str, request_id: &str) -> Vec<u8> {
    read_end(&path(folder, function, log_stream)).map_or_else(|_| Vec::new(), |text| invocation_tail(&text, request_id))
}

/// Most that is read of a log file to find an invocation in it.
const END_BYTES_MAX: u64 = 1 << 20;
/// What Lambda answers at most.
const TAIL_BYTES_MAX: usize = 4096;

fn read_end(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let bytes = file.metadata()?.len();
    file.seek(SeekFrom::Start(bytes.saturating_sub(END_BYTES_MAX)))?;
    let mut end = Vec::new();
    file.take(END_BYTES_MAX).read_to_end(&mut end)?;
    Ok(end)
}

fn invocation_tail(text: &[u8], request_id: &str) -> Vec<u8> {
    let find = |needle: &str| text.windows(needle.len()).rposition(|window| window == needle.as_bytes());
    let start = find(&format!("START RequestId: {request_id}")).unwrap_or(0);
    let end = find(&format!("REPORT RequestId: {request_id}")).map_or(text.len(), |report| {
        text[report..].iter().position(|&byte| byte == b'\n').map_or(text.len(), |length| report + length + 1)
    });
    let own = text.get(start..end).unwrap_or_default();
    own[own.len().saturating_sub(TAIL_BYTES_MAX)..].to_vec()
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let error = |source| Error { path: folder.to_owned(), source };
    let entries = fs::read_dir(folder).map_err(error)?;
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>().map_err(error)?;
    paths.sort();
    Ok(paths)
}

/// How an attempt ended, where it is not an ordinary answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Status<'a> {
    Timeout,
    Error { error_type: &'a str },
}

/// A REPORT line with its newline.
///
/// # Source
/// Lines of `lambda_report_lines.csv` and of public logs; the status is there only for attempts that the
/// sandbox ended, not for errors that the function returned. Read 2026-11-24.
pub(crate) fn report_line(report: &Report, status: Option<Status<'_>>) -> String {
    let Report { request_id, duration_ms, billed_ms, memory_mib, max_memory_used_mib, .. } = report;
    let mut line = format!(
        "REPORT RequestId: {request_id}\tDuration: {duration_ms:.2} ms\tBilled Duration: {billed_ms} ms\t\
         Memory Size: {memory_mib} MB\tMax Memory Used: {max_memory_used_mib} MB\t"
    );
    if let Some(init_ms) = report.init_ms {
        line.push_str(&format!("Init Duration: {init_ms:.2} ms\t"));
    }
    match status {
        None => {}
        Some(Status::Timeout) => line.push_str("Status: timeout"),
        Some(Status::Error { error_type }) => line.push_str(&format!("Status: error\tError Type: {error_type}")),
    }
    line.push('\n');
    line
}

/// The line that Lambda writes when a worker did not get as far as its first poll.
pub(crate) fn init_report_line(init: Duration, status: Status<'_>) -> String {
    let init_ms = printed_ms(init);
    let status = match status {
        Status::Timeout => "timeout".to_owned(),
        Status::Error { error_type } => format!("error\tError Type: {error_type}"),
    };
    format!("INIT_REPORT Init Duration: {init_ms:.2} ms\tPhase: init\tStatus: {status}\n")
}

fn parse_report(line: &str, function: &str, log_stream: &str) -> Option<Report> {
    let fields: Vec<(&str, &str)> =
        line.strip_prefix("REPORT ")?.split('\t').filter_map(|field| field.split_once(": ")).collect();
    let value = |name: &str| fields.iter().find(|(found, _)| *found == name).map(|(_, value)| *value);
    let milliseconds = |value: &str| value.strip_suffix(" ms").map(str::to_owned);
    let request_id = value("RequestId")?.to_owned();
    let duration_ms = milliseconds(value("Duration")?)?.parse().ok()?;
    let billed_ms = milliseconds(value("Billed Duration")?)?.parse().ok()?;
    let memory_mib = value("Memory Size")?.strip_suffix(" MB")?.parse().ok()?;
    let max_memory_used_mib = value("Max Memory Used")?.strip_suffix(" MB")?.parse().ok()?;
    let init_ms = match value("Init Duration") {
        Some(init) => Some(milliseconds(init)?.parse().ok()?),
        None => None,
    };
    Some(Report {
        request_id,
        function: function.to_owned(),
        log_stream: log_stream.to_owned(),
        duration_ms,
        billed_ms,
        memory_mib,
        max_memory_used_mib,
        init_ms,
    })
}

/// A duration as Lambda prints it: milliseconds, rounded to hundredths.
pub(crate) fn printed_ms(duration: Duration) -> f64 {
    ((duration.as_micros() + 5) / 10) as f64 / 100.0
}

/// What is billed, milliseconds: `ceil(init + duration)`, rounded once and not from the figures as printed,
/// so that it may be one more than those add up to.
pub(crate) fn billed_ms(init: Duration, duration: Duration) -> u64 {
    u64::try_from((init + duration).as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// The log of one worker.
pub(crate) struct LogStream {
    name: String,
    target: Option<Target>,
}

struct Target {
    file: File,
    path: PathBuf,
    /// Notes when what was written; see [`times`].
    times: File,
    bytes: u64,
    noted_ms: Option<i64>,
}

impl LogStream {
    /// Creates the file, if logs are kept. Failing to is reported once and does not stop the worker.
    pub(crate) fn create(logs: &Logs, function: &str, name: String) -> Self {
        let target = match logs {
            Logs::None => None,
            Logs::Folder(folder) => {
                let path = path(folder, function, &name);
                let opened = open(&path).and_then(|file| {
                    let bytes = file.metadata()?.len();
                    let times = open(&times_path(&path))?;
                    Ok(Target { file, path: path.clone(), times, bytes, noted_ms: None })
                });
                match opened {
                    Ok(target) => Some(target),
                    Err(error) => {
                        tracing::warn!(path = %path.display(), %error, "log file could not be created, output is lost");
                        None
                    }
                }
            }
        };
        Self { name, target }
    }

    /// `YYYY/MM/DD/[version]` and 32 hexadecimal digits.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether anything written here is kept.
    pub(crate) fn is_kept(&self) -> bool {
        self.target.is_some()
    }

    /// Appends whole lines with one write. A log that cannot be written is given up, the worker is not.
    pub(crate) fn write(&mut self, lines: &[u8], now_ms: i64) {
        let Some(target) = &mut self.target else { return };
        if lines.is_empty() {
            return;
        }
        if let Err(error) = target.write(lines, now_ms) {
            let path = &target.path;
            tracing::warn!(path = %path.display(), %error, "log file could not be written, further output is lost");
            self.target = None;
        }
    }
}

impl Target {
    fn write(&mut self, lines: &[u8], now_ms: i64) -> io::Result<()> {
        if self.noted_ms != Some(now_ms) {
            let note = [self.bytes.to_le_bytes(), now_ms.to_le_bytes()].concat();
            self.times.write_all(&note)?;
            self.noted_ms = Some(now_ms);
        }
        self.file.write_all(lines)?;
        self.bytes += lines.len() as u64;
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    OpenOptions::new().create(true).append(true).open(path)
}

/// The name of a new log stream: the day of `now_ms` (Unix epoch, UTC), the function's version and a unique `id`.
pub(crate) fn stream_name(now_ms: i64, version: &str, id: &uuid::Uuid) -> String {
    let (year, month, day) = civil(now_ms.div_euclid(86_400_000));
    format!("{year:04}/{month:02}/{day:02}/[{version}]{}", id.simple())
}

/// RFC 3339 with milliseconds, as Lambda writes times into logs.
pub(crate) fn timestamp(now_ms: i64) -> String {
    let (year, month, day) = civil(now_ms.div_euclid(86_400_000));
    let ms = now_ms.rem_euclid(86_400_000);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1000)
}

/// Year, month and day of a day counted from 1970-01-01.
///
/// # Source
/// Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`: years begin in March,
/// so that the leap day is the last; an era is 400 years, 146,097 days.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn report() -> Report {
        Report {
            request_id: "5b3aa800-5ff2-4756-89f4-8b01418f8b79".to_owned(),
            function: "infer".to_owned(),
            log_stream: "2024/11/26/[$LATEST]7d793c5fe4a2423a8f3a5a8a3a7e6b0c".to_owned(),
            duration_ms: 12606.91,
            billed_ms: 13836,
            memory_mib: 10240,
            max_memory_used_mib: 2865,
            init_ms: Some(1228.99),
        }
    }

    #[test]
    fn report_lines_are_lambdas() {
        let cold = report();
        let warm = Report { init_ms: None, billed_ms: 12607, ..report() };
        let lines = [
            report_line(&cold, None),
            report_line(&warm, None),
            report_line(&warm, Some(Status::Timeout)),
            report_line(&cold, Some(Status::Error { error_type: "Runtime.ExitError" })),
            init_report_line(Duration::from_micros(488_216), Status::Error { error_type: "Runtime.ExitError" }),
            init_report_line(Duration::from_micros(9_999_470), Status::Timeout),
        ];
        expect![[r#"
            REPORT RequestId: 5b3aa800-5ff2-4756-89f4-8b01418f8b79→Duration: 12606.91 ms→Billed Duration: 13836 ms→Memory Size: 10240 MB→Max Memory Used: 2865 MB→Init Duration: 1228.99 ms→
            REPORT RequestId: 5b3aa800-5ff2-4756-89f4-8b01418f8b79→Duration: 12606.91 ms→Billed Duration: 12607 ms→Memory Size: 10240 MB→Max Memory Used: 2865 MB→
            REPORT RequestId: 5b3aa800-5ff2-4756-89f4-8b01418f8b79→Duration: 12606.91 ms→Billed Duration: 12607 ms→Memory Size: 10240 MB→Max Memory Used: 2865 MB→Status: timeout
            REPORT RequestId: 5b3aa800-5ff2-4756-89f4-8b01418f8b79→Duration: 12606.91 ms→Billed Duration: 13836 ms→Memory Size: 10240 MB→Max Memory Used: 2865 MB→Init Duration: 1228.99 ms→Status: error→Error Type: Runtime.ExitError
            INIT_REPORT Init Duration: 488.22 ms→Phase: init→Status: error→Error Type: Runtime.ExitError
            INIT_REPORT Init Duration: 9999.47 ms→Phase: init→Status: timeout
        "#]]
        .assert_eq(&lines.concat().replace('\t', "→"));
        assert_eq!(parse_report(lines[0].trim_end_matches('\n'), "infer", &cold.log_stream), Some(cold.clone()));
        assert_eq!(parse_report(lines[3].trim_end_matches('\n'), "infer", &cold.log_stream), Some(cold));
        assert_eq!(parse_report(lines[2].trim_end_matches('\n'), "infer", &warm.log_stream), Some(warm));
        for not_a_report in ["REPORT", "REPORT RequestId: 1\tDuration: soon ms", "START RequestId: 1 Version: $LATEST"]
        {
            assert_eq!(parse_report(not_a_report, "infer", "s"), None, "{not_a_report}");
        }
    }

    #[test]
    fn reports_are_read_back_from_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let logs = Logs::Folder(folder.path().to_owned());
        let mut stream = LogStream::create(&logs, "infer", report().log_stream);
        assert!(stream.is_kept());
        stream.write(b"START RequestId: 1 Version: $LATEST\n\xff not utf-8\nREPORT of my own\n", 1_000);
        stream.write(report_line(&report(), None).as_bytes(), 2_000);
        let file = path(folder.path(), "infer", &report().log_stream);
        let told: Vec<Line> = lines(&file).unwrap().map(Result::unwrap).collect();
        let at: Vec<(u64, i64)> = told.iter().map(|line| (line.offset, line.at_ms)).collect();
        assert_eq!(at, [(0, 1_000), (36, 1_000), (48, 1_000), (65, 2_000)]);
        assert_eq!(told[1].text, "\u{fffd} not utf-8");
        assert_eq!(span(&file).unwrap(), Some((1_000, 2_000)));
        fs::remove_file(times_path(&file)).unwrap();
        assert!(lines(&file).unwrap().all(|line| line.unwrap().at_ms > 1_000_000));
        fs::write(folder.path().join("infer").join("notes.txt"), report_line(&report(), None)).unwrap();
        assert_eq!(reports(folder.path()).unwrap(), [report()]);
        let missing = folder.path().join("nowhere");
        let message = reports(&missing).unwrap_err().to_string();
        assert!(message.starts_with(&missing.display().to_string()), "{message}");
    }

    #[test]
    fn streams_and_times_carry_the_day() {
        let id = uuid::Uuid::from_u128(0xab);
        assert_eq!(stream_name(0, "$LATEST", &id), "1970/01/01/[$LATEST]000000000000000000000000000000ab");
        assert_eq!(timestamp(1_732_638_314_565), "2024-11-26T16:25:14.565Z");
        assert_eq!(timestamp(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(timestamp(4_107_542_399_999), "2100-02-28T23:59:59.999Z");
        assert_eq!(timestamp(4_107_542_400_000), "2100-03-01T00:00:00.000Z");
        assert_eq!(timestamp(-1), "1969-12-31T23:59:59.999Z");
    }

    #[test]
    fn bills_are_rounded_up_once() {
        assert_eq!(printed_ms(Duration::from_nanos(1_004_999)), 1.0);
        assert_eq!(printed_ms(Duration::from_micros(1005)), 1.01);
        assert_eq!(billed_ms(Duration::ZERO, Duration::ZERO), 0);
        assert_eq!(billed_ms(Duration::ZERO, Duration::from_nanos(1)), 1);
        // 12606.01 + 0.99 is 12607.000000000002 in floating point.
        assert_eq!(billed_ms(Duration::from_micros(990), Duration::from_micros(12_606_010)), 12_607);
    }

    /// Every published line of the reference is billed as we bill.
    #[test]
    #[allow(clippy::print_stdout)]
    fn bills_of_published_lines() {
        let shared = std::env::var_os("STARMAP_SHARED")
            .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"), PathBuf::from);
        let path = shared.join("lambda_report_lines.csv");
        let Ok(table) = fs::read_to_string(&path) else {
            assert!(std::env::var_os("STARMAP_REQUIRE_REFERENCE").is_none(), "{} is missing", path.display());
            println!("SKIPPED: {} is not here", path.display());
            return;
        };
        let printed = |text: &str| Duration::from_micros((text.parse::<f64>().unwrap() * 1000.0).round() as u64);
        let mut count = 0;
        for line in table.lines().skip(1) {
            let fields: Vec<&str> = line.split(',').collect();
            let [_, _, _, duration, billed, _, _, init] = fields[..] else { panic!("{line}: expected 8 fields") };
            let (init, duration) = (printed(if init.is_empty() { "0" } else { init }), printed(duration));
            let ours = billed_ms(init, duration);
            let billed: u64 = billed.parse().unwrap();
            // Printed figures that add up to whole milliseconds may stand for a little more.
            let is_whole = (init + duration).subsec_micros() % 1000 == 0;
            assert!(billed == ours || is_whole && billed == ours + 1, "{line}: we bill {ours} ms");
            count += 1;
        }
        assert!(count > 0);
    }
}
