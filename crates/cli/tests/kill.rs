//! `kill -9` of everything, at ten moments of a run of forty partitions, resumed each time.
//!
//! The predictions must be bit-identical to those of a run that nobody disturbed, no partition may be inferred
//! again after its result was recorded, and none may be missing.
//!
//! A rank that is asked for again reuses its result when that is complete, so an engine that repeats itself would not be
//! noticed by its results. Therefore `{rank}.json`, which says that a result is complete, is taken away while a rank is
//! recorded: whoever asks again makes it anew, and is found out.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use starmap_engine::journal::sqlite::{self, SqliteJournal, SqliteReader};
use starmap_engine::journal::{ExecutionRecord, Reader, Status};

use crate::common::{Place, object, program, text};

const PARTITIONS: u32 = 40;
const GALAXIES: u32 = 40 * 128;
const KILLS: u64 = 10;
const NAME: &str = "killed";

#[test]
fn killed_ten_times_and_resumed_gives_the_same_predictions() {
    let undisturbed = Place::with_sky(PARTITIONS, GALAXIES);
    let input = undisturbed.input(PARTITIONS);
    let done = undisturbed.run(&input, &["--json", "--name", NAME]);
    assert_eq!(object(&done)["status"], "SUCCEEDED", "{}", text(&done.stderr));

    let place = Place::with_sky(PARTITIONS, GALAXIES);
    let mut random = seed();
    println!("seed {random}");
    let mut recorded = BTreeMap::new();
    let mut resumed = 0;
    for kill in 0..KILLS {
        let mut command = match execution(&place) {
            None => place.run_command(&input, &["--name", NAME]),
            Some(_) => {
                resumed += 1;
                resume_command(&place)
            }
        };
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Some kills come before the first partition is done, some when most are.
        // The last come while a quarter is left, so that no machine is fast enough to end before it is killed.
        let wanted = kill * u64::from(PARTITIONS) * 3 / 4 / KILLS;
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        wait_for(&place, wanted, Duration::from_micros((random >> 33) % 40_000), &mut child);
        kill_everything(&mut child);
        for (rank, modified) in finished(&place) {
            let (mark, aside) = marks(&place, &rank);
            match recorded.get(&rank) {
                Some(before) => {
                    assert!(!mark.exists(), "rank {rank} was asked for again after its result was recorded");
                    assert_eq!(*before, modified, "rank {rank} was inferred again after its result was recorded");
                }
                None => {
                    fs::rename(mark, aside).unwrap();
                    recorded.insert(rank, modified);
                }
            }
        }
    }
    assert!(recorded.len() >= 20, "only {} ranks were recorded before the last kill: little is proven", recorded.len());
    for rank in recorded.keys() {
        let (mark, aside) = marks(&place, rank);
        fs::rename(aside, mark).unwrap();
    }
    assert!(resumed >= KILLS - 1, "only {resumed} kills hit a run");
    let output = if execution(&place).is_none_or(|record| record.status == Status::Running) {
        resume_command(&place).arg("--json").output().unwrap()
    } else {
        panic!("the run was over before it had been killed {KILLS} times: make the sky larger");
    };
    let result = object(&output);
    assert_eq!(result["status"], "SUCCEEDED", "{}", text(&output.stderr));
    assert_eq!(result["galaxies"], GALAXIES);
    for (rank, modified) in finished(&place) {
        let before = recorded.entry(rank.clone()).or_insert(modified);
        assert_eq!(*before, modified, "rank {rank} was inferred again after its result was recorded");
    }
    assert_eq!(recorded.len(), PARTITIONS as usize, "every rank is there");
    for rank in 0..PARTITIONS {
        let file = format!("predictions/{rank}.parquet");
        let (one, other) = (undisturbed.results().join(&file), place.results().join(&file));
        assert_eq!(fs::read(one).unwrap(), fs::read(other).unwrap(), "{file} differs from the undisturbed run's");
    }
    let merged = "predictions.parquet";
    assert!(
        fs::read(undisturbed.results().join(merged)).unwrap() == fs::read(place.results().join(merged)).unwrap(),
        "the merged predictions differ"
    );
}

fn seed() -> u64 {
    if let Ok(given) = std::env::var("STARMAP_KILL_SEED") {
        return given.parse().unwrap();
    }
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64
}

fn resume_command(place: &Place) -> Command {
    let mut command = Command::new(program());
    command.args(["run", "--resume", NAME, "--data"]).arg(place.data());
    command
}

fn journal(place: &Place) -> Option<SqliteReader> {
    SqliteJournal::open_reader(&sqlite::path_in(&place.data())).ok()
}

fn execution(place: &Place) -> Option<ExecutionRecord> {
    journal(place)?.find_execution(NAME).ok()?
}

/// Ranks whose success is recorded in the journal, with the time at which their predictions were written.
fn finished(place: &Place) -> Vec<(String, SystemTime)> {
    let Some(record) = execution(place) else { return Vec::new() };
    let journal = journal(place).unwrap();
    let mut ranks = Vec::new();
    for run in journal.map_runs(record.id).unwrap() {
        for child in journal.children(run.row).unwrap() {
            if child.status == Status::Succeeded {
                let rank = child.item_index.to_string();
                let file = place.results().join(format!("predictions/{rank}.parquet"));
                ranks.push((rank, modified(&file)));
            }
        }
    }
    ranks
}

/// Where a rank's `{rank}.json` is, and where it is kept meanwhile.
fn marks(place: &Place, rank: &str) -> (PathBuf, PathBuf) {
    (place.results().join(format!("{rank}.json")), place.path().join(format!("{rank}.json")))
}

fn modified(file: &Path) -> SystemTime {
    fs::metadata(file).unwrap_or_else(|error| panic!("{}: {error}", file.display())).modified().unwrap()
}

/// Watches until so many items are recorded, and then a little longer.
fn wait_for(place: &Place, items: u64, longer: Duration, child: &mut Child) {
    let reached = || finished(place).len() as u64 >= items && (items > 0 || execution(place).is_some());
    while !reached() {
        assert!(child.try_wait().unwrap().is_none(), "the run ended by itself before {items} items were recorded");
        std::thread::yield_now();
    }
    let until = Instant::now() + longer;
    while Instant::now() < until && child.try_wait().unwrap().is_none() {
        std::thread::yield_now();
    }
}

/// `kill -9` of a process and of all below it.
fn kill_everything(child: &mut Child) {
    let mut doomed = vec![child.id()];
    let mut next = 0;
    while let Some(&parent) = doomed.get(next) {
        let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
        // Threads of the process may have started children too.
        let threads = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
        let of_threads = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
        let all: Vec<u32> = std::iter::once(children)
            .chain(of_threads)
            .flat_map(|text| text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>())
            .collect();
        doomed.extend(all.into_iter().filter(|pid| !doomed.contains(pid)).collect::<Vec<_>>());
        next += 1;
    }
    let mut kill = Command::new("kill");
    kill.arg("-9").args(doomed.iter().map(u32::to_string)).stderr(Stdio::null());
    kill.status().unwrap();
    child.wait().unwrap();
}
