//! Interruptions that are not power cuts: a worker that dies, Ctrl-C, two processes on one data root, NaN pixels.

use std::fs;
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::common::{Place, assert_refused, object, program, text};

fn spawn(place: &Place, partitions: u32, more: &[&str]) -> Child {
    let mut command = place.run_command(&place.input(partitions), more);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// A worker process of `infer` below a process, once there is one.
fn inferring(parent: &mut Child) -> u32 {
    loop {
        assert!(parent.try_wait().unwrap().is_none(), "the run ended before a worker was seen");
        let threads = fs::read_dir(format!("/proc/{}/task", parent.id())).unwrap().flatten();
        let children = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
        let pids: Vec<u32> = children
            .flat_map(|text| text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
            .collect();
        let infers = |pid: &&u32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|&byte| byte == 0).any(|variable| variable == b"_HANDLER=infer")
        };
        if let Some(pid) = pids.iter().find(infers) {
            return *pid;
        }
        std::thread::yield_now();
    }
}

fn kill(signal: &str, pid: u32) {
    let killed = Command::new("kill").args([signal, &pid.to_string()]).status().unwrap();
    assert!(killed.success());
}

#[test]
fn a_worker_that_dies_loses_one_attempt_and_never_the_run() {
    let place = Place::with_sky(6, 6 * 200);
    let mut run = spawn(&place, 6, &["--json", "--concurrency", "1"]);
    let worker = inferring(&mut run);
    kill("-9", worker);
    let output = run.wait_with_output().unwrap();
    let result = object(&output);
    assert_eq!(
        (&result["status"], &result["galaxies"]),
        (&json!("SUCCEEDED"), &json!(1_200)),
        "{}",
        text(&output.stderr)
    );
    let summary: serde_json::Value =
        serde_json::from_slice(&fs::read(place.results().join("summary.json")).unwrap()).unwrap();
    assert_eq!(summary["execution"]["attempts_failed"], 1, "{}", summary["execution"]);
}

#[test]
fn ctrl_c_stops_politely_and_says_how_to_go_on() {
    let place = Place::with_sky(8, 8 * 200);
    let mut run = spawn(&place, 8, &["--json", "--name", "stopped", "--concurrency", "1"]);
    inferring(&mut run);
    kill("-INT", run.id());
    let output = run.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
    assert_eq!(object(&output)["status"], "INTERRUPTED");
    assert!(text(&output.stderr).contains("starmap run --resume stopped"), "{}", text(&output.stderr));
    let mut resume = Command::new(program());
    resume.args(["executions", "resume", "stopped", "--json", "--data"]).arg(place.data());
    let output = resume.output().unwrap();
    assert_eq!(object(&output)["galaxies"], 1_600, "{}", text(&output.stderr));
    // What has ended can't be resumed.
    assert_refused(&resume.output().unwrap(), 2, &["has ended (SUCCEEDED)"]);
}

#[test]
fn two_processes_do_not_share_a_data_root() {
    let place = Place::with_sky(8, 8 * 200);
    let mut run = spawn(&place, 8, &["--concurrency", "1"]);
    inferring(&mut run);
    let other = place.run(&place.input(1), &[]);
    assert_refused(&other, 2, &["another starmap process is using it", "--data"]);
    let mut list = Command::new(program());
    let listed = list.args(["executions", "list", "--json", "--data"]).arg(place.data()).output().unwrap();
    assert_eq!(object(&listed)["executions"][0]["status"], "RUNNING", "reading beside it is fine");
    assert!(run.wait().unwrap().success());
}

#[test]
fn galaxies_that_are_not_finite_are_refused_or_flagged() {
    let place = Place::with_sky(2, 40);
    // The first pixel of the first image: images are the first storage, right after their header.
    let file = place.parts().join("2.pt");
    let mut bytes = fs::read(&file).unwrap();
    let name = b"/data/0";
    let header = bytes.windows(name.len()).position(|window| window == name).unwrap();
    let extra_at = header - b"2".len() - 2;
    let extra = u16::from_le_bytes([bytes[extra_at], bytes[extra_at + 1]]);
    let data = header + name.len() + usize::from(extra);
    bytes[data..data + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    // Leave the checksum out, as torch can be told to: zero in the central directory, which has the name again.
    let directory = bytes.windows(4).rposition(|window| window == b"PK\x05\x06").unwrap();
    let entry = (0..directory).rev().filter(|&at| &bytes[at..at + 4] == b"PK\x01\x02");
    let images = entry.into_iter().find(|&at| bytes[at + 46..].starts_with(b"2/data/0")).unwrap();
    bytes[images + 16..images + 20].fill(0);
    fs::write(&file, bytes).unwrap();

    let refused = place.run(&place.input(2), &["--name", "refused"]);
    assert_refused(&refused, 1, &["Starmap.NonFinitePixels", "2.pt", "1 of 20 galaxies", "first rows [0]"]);
    assert!(!place.results().join("summary.json").exists());
    let flagged = place.run(&place.input(2), &["--name", "flagged", "--overwrite", "--bad-pixels", "flag", "--json"]);
    let result = object(&flagged);
    assert_eq!(
        (&result["status"], &result["galaxies"]),
        (&json!("SUCCEEDED"), &json!(40)),
        "{}",
        text(&flagged.stderr)
    );
    let summary: serde_json::Value =
        serde_json::from_slice(&fs::read(place.results().join("summary.json")).unwrap()).unwrap();
    assert_eq!(summary["galaxies_flagged"], 1);
}
