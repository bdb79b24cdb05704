//! Campaigns: killed twice and resumed they are complete, and what would mix up runs is refused.

use std::fs;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::common::{Place, assert_refused, object, program, text};

fn grid(place: &Place, more: &str) -> std::path::PathBuf {
    let text = format!(
        "name = \"sweep\"\nrepeats = 2\nwarm_ups = 1\n[base]\nbucket = \"sky\"\nfile_limit = 2\nbatch_size = 256\n\
         object_type = \"file\"\nS3_object_name = \"models/demo.safetensors\"\nscript = \"s\"\nresult_path = \"campaigns\"\n\
         data_bucket = \"sky\"\ndata_prefix = \"parts\"\n{more}"
    );
    let path = place.path().join("grid.toml");
    fs::write(&path, text).unwrap();
    path
}

fn campaign(place: &Place, grid: &std::path::Path, more: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.arg("campaign").arg(grid).args(more).arg("--concurrency").arg("2");
    command.arg("--data").arg(place.data()).arg("--buckets").arg(place.buckets());
    command
}

fn manifest(place: &Place) -> Option<Value> {
    serde_json::from_str(&fs::read_to_string(place.data().join("campaigns/sweep/campaign.json")).ok()?).ok()
}

fn runs_in(place: &Place, state: &str) -> usize {
    let manifest = manifest(place).unwrap_or_default();
    manifest["runs"].as_array().into_iter().flatten().filter(|run| run["state"] == state).count()
}

/// `kill -9`, workers too: they notice when nobody answers them.
fn kill_when(place: &Place, mut child: Child, is_reached: impl Fn() -> bool) {
    while !is_reached() {
        assert!(child.try_wait().unwrap().is_none(), "the campaign ended before it was killed");
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(runs_in(place, "running"), 1, "it was killed in the middle of a run");
}

#[test]
fn a_campaign_that_is_killed_twice_and_resumed_is_complete() {
    let place = Place::with_sky(2, 600);
    let grid = grid(&place, "[grid]\nbatch_size = [64, 256]\nprecision = [\"f32\", \"bf16\"]\n");
    for done in [2, 6] {
        let child = campaign(&place, &grid, &["--quiet"]).stdout(Stdio::null()).spawn().unwrap();
        kill_when(&place, child, || runs_in(&place, "done") >= done && runs_in(&place, "running") == 1);
    }
    let before = manifest(&place).unwrap();
    let output = campaign(&place, &grid, &["--json"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let result = object(&output);
    assert_eq!(result["configurations"].as_array().unwrap().len(), 4);
    assert!(
        result["configurations"].as_array().unwrap().iter().all(|one| one["runs"] == 2 && one["failed"] == 0),
        "{result}"
    );
    let after = manifest(&place).unwrap();
    let runs = after["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 12);
    assert!(runs.iter().all(|run| run["state"] == "done"), "{after}");
    for (earlier, later) in before["runs"].as_array().unwrap().iter().zip(runs) {
        if earlier["state"] == "done" {
            assert_eq!(earlier, later, "what was done is not done again");
        }
    }
    let again: Vec<u64> =
        runs.iter().filter_map(|run| run["attempts"].as_u64()).filter(|attempts| *attempts > 1).collect();
    assert!(!again.is_empty(), "a run that was killed is begun again");
    let folder = place.data().join("campaigns/sweep");
    let csv = fs::read_to_string(folder.join("results.csv")).unwrap();
    assert_eq!(csv.lines().count(), 13);
    assert!(csv.starts_with("configuration,kind,run_id,grid.batch_size,grid.precision,Partition (MB),"), "{csv}");
    assert_eq!(csv.lines().filter(|line| line.contains(",warm-up,")).count(), 4);
    let columns = csv.lines().next().unwrap().split(',').count();
    assert!(csv.lines().all(|line| line.split(',').count() == columns), "{csv}");
    let page = fs::read_to_string(folder.join("report.html")).unwrap();
    assert!(page.contains("4 configurations, 8 measured runs") && page.contains("Batch sweep"), "{page}");
    for asks in ["src=", "href=", "url(", "<script", "https://", "NaN"] {
        assert!(!page.contains(asks), "the page has {asks}");
    }
    assert!(fs::read_to_string(folder.join("results.md")).unwrap().contains("| batch_size 64, precision bf16 |"));
    let mut list = Command::new(program());
    list.args(["executions", "list", "--json", "--data"]).arg(place.data());
    let listed = object(&list.output().unwrap());
    let of_status =
        |status: &str| listed["executions"].as_array().unwrap().iter().filter(|one| one["status"] == status).count();
    assert_eq!((of_status("SUCCEEDED"), of_status("RUNNING")), (12, 0), "what was interrupted is stopped: {listed}");
    // Done is done.
    let output = campaign(&place, &grid, &["--json"]).output().unwrap();
    assert!(output.status.success());
    assert_eq!(manifest(&place).unwrap(), after);
    // And the planner can be set beside it.
    let mut check = Command::new(program());
    check.args(["plan", "--json", "--check"]).arg(&folder).arg("--data").arg(place.data());
    let output = check.output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(object(&output)["configurations"].as_array().unwrap().len(), 4);
}

#[test]
fn what_would_mix_up_runs_is_refused_before_any_is_made() {
    let place = Place::with_sky(2, 20);
    let same = grid(&place, "[grid]\nfile_limit = [2, \"2\"]\n");
    assert_refused(&campaign(&place, &same, &[]).output().unwrap(), 2, &["configurations 1 and 2 are the same"]);
    let more = grid(&place, "[grid]\nfile_limit = [2, 3]\n");
    let expected = ["asks for 3 partitions, 2 are there under s3://sky/parts/"];
    assert_refused(&campaign(&place, &more, &[]).output().unwrap(), 2, &expected);
    let typo = grid(&place, "[grid]\nbatchsize = [2, 3]\n");
    assert_refused(&campaign(&place, &typo, &[]).output().unwrap(), 2, &["batchsize: is not a key of an input"]);
    assert!(manifest(&place).is_none(), "nothing was begun");
    let one = grid(&place, "[grid]\nbatch_size = [8]\n");
    assert!(campaign(&place, &one, &[]).output().unwrap().status.success());
    let other = grid(&place, "[grid]\nbatch_size = [9]\n");
    assert_refused(&campaign(&place, &other, &[]).output().unwrap(), 2, &["of another grid", "another name"]);
}

#[test]
fn a_dry_run_lists_runs_with_what_they_will_take_and_makes_none() {
    let place = Place::with_sky(2, 200);
    let input = place.input(2);
    let grid = grid(&place, "[grid]\nbatch_size = [64, 256]\n");
    let output = campaign(&place, &grid, &["--dry-run", "--json"]).output().unwrap();
    let listed = object(&output);
    assert_eq!(listed["runs"].as_array().unwrap().len(), 6);
    assert!(listed["runs"][0]["estimated_wall_s"].is_null(), "nothing is known yet: {listed}");
    assert!(place.run(&input, &["--concurrency", "2"]).status.success());
    let listed = object(&campaign(&place, &grid, &["--dry-run", "--json"]).output().unwrap());
    assert!(listed["estimated_wall_s"].as_f64().unwrap() > 0.0 && listed["estimated_aws_usd"].as_f64().unwrap() > 0.0);
    assert!(listed["runs"].as_array().unwrap().iter().all(|run| run["galaxies"] == 200), "{listed}");
    assert!(manifest(&place).is_none());
}
