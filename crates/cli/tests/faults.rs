//! Stores that fail: every fault is either recovered from, or ends the run by name with nothing half-written.

mod common;
mod moto;
mod proxy;

use std::path::Path;
use std::process::{Command, Output};

use common::{Place, files, object, program, text};
use proxy::{Fault, Proxy};
use serde_json::{Value, json};

/// A store on S3 with three partitions, and a proxy in front of it.
struct Remote {
    moto: moto::Moto,
    place: Place,
    proxy: Proxy,
}

impl Remote {
    fn new(rule: impl Fn(&str, &str, usize) -> Option<Fault> + Send + Sync + 'static) -> Option<Self> {
        let moto = moto::start(&moto::program()?);
        let place = Place::with_sky(3, 60);
        moto::upload(&moto, &place);
        let proxy = Proxy::start(&moto.endpoint, rule);
        Some(Self { moto, place, proxy })
    }

    fn starmap(&self, arguments: &[&str]) -> Output {
        let variables = [
            ("AWS_ENDPOINT_URL", self.proxy.endpoint.as_str()),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_REGION", "us-east-1"),
            // Quick to give up on one request, and on a store altogether.
            ("AWS_TIMEOUT", "2s"),
            ("STARMAP_S3_RETRY_SECONDS", "3"),
        ];
        let mut command = Command::new(program());
        command.args(arguments).args(["--json", "--s3", "--data"]).arg(self.place.data());
        command.envs(variables).output().unwrap()
    }

    fn run(&self) -> Output {
        let mut input = self.place.input(3);
        input["S3_object_name"] = json!("a folder/demo.safetensors");
        let input = self.place.input_file(&input);
        self.starmap(&["run", &input.display().to_string(), "--name", "one"])
    }

    /// The run is whole, and its proof holds when everything is read again.
    fn assert_whole(&self, output: &Output) {
        let result = object(output);
        assert_eq!(
            (&result["status"], &result["galaxies"]),
            (&json!("SUCCEEDED"), &json!(60)),
            "{}",
            text(&output.stderr)
        );
        assert!(self.proxy.faults() > 0, "nothing was harmed");
        let verified = self.starmap(&["verify", "one"]);
        assert_eq!(object(&verified)["status"], "COMPLETE", "{}", text(&verified.stderr));
    }

    fn keys(&self) -> Vec<String> {
        let (_, listing) = self.moto.request("GET", "/sky?list-type=2&prefix=results/", &[]);
        let listing = text(&listing);
        listing.split("<Key>").skip(1).map(|rest| rest.split("</Key>").next().unwrap().to_owned()).collect()
    }

    /// It failed by this name, said where, and left no result that could be taken for one.
    fn assert_failed(&self, output: &Output, name: &str, place: &str) {
        let result = object(output);
        assert_eq!(result["status"], "FAILED", "{result}");
        let said = text(&output.stderr);
        assert!(said.contains(name) && said.contains(place), "{said}");
        assert_nothing_merged(&self.keys());
        // A rank's result is there only together with its predictions.
        for rank in self
            .keys()
            .iter()
            .filter_map(|key| key.strip_prefix("results/one/")?.strip_suffix(".json")?.parse::<u32>().ok())
        {
            assert!(self.keys().contains(&format!("results/one/predictions/{rank}.parquet")), "{:?}", self.keys());
        }
    }
}

fn assert_nothing_merged(keys: &[String]) {
    for merged in ["predictions.parquet", "summary.json", "report.html", "combined_data.json"] {
        assert!(!keys.iter().any(|key| key.ends_with(&format!("one/{merged}"))), "{merged} in {keys:?}");
    }
}

#[test]
fn a_store_that_is_sometimes_unavailable_silent_or_cut_off_is_recovered_from() {
    let faults = [Fault::Unavailable, Fault::Truncated, Fault::Reset];
    let rule = move |_: &str, _: &str, number: usize| {
        if number == 11 {
            return Some(Fault::Silence);
        }
        (number % 4 == 2).then(|| faults[number / 4 % faults.len()])
    };
    let Some(remote) = Remote::new(rule) else { return };
    let output = remote.run();
    remote.assert_whole(&output);
}

#[test]
fn a_partition_that_can_not_be_had_fails_the_run_by_name() {
    for fault in [Fault::Unavailable, Fault::Truncated] {
        let is_image_of_two = |method: &str, path: &str| method == "GET" && path.contains("/parts/2.pt");
        let rule = move |method: &str, path: &str, _: usize| is_image_of_two(method, path).then_some(fault);
        let Some(remote) = Remote::new(rule) else { return };
        let output = remote.run();
        remote.assert_failed(&output, "Starmap.Storage", "s3://sky/parts/2.pt");
    }
}

#[test]
fn a_partition_under_another_etag_is_refused() {
    let rule = |method: &str, path: &str, _: usize| {
        (method == "GET" && path.contains("/parts/2.pt")).then_some(Fault::WrongEtag)
    };
    let Some(remote) = Remote::new(rule) else { return };
    let output = remote.run();
    remote.assert_failed(&output, "Starmap.Storage", "s3://sky/parts/2.pt");
    assert!(text(&output.stderr).contains("ETag"), "{}", text(&output.stderr));
}

#[test]
fn results_that_can_not_be_written_fail_the_run_by_name() {
    let rule = |method: &str, path: &str, _: usize| {
        (method == "PUT" && path.contains("predictions/1.parquet")).then_some(Fault::Unavailable)
    };
    let Some(remote) = Remote::new(rule) else { return };
    let output = remote.run();
    remote.assert_failed(&output, "Starmap.Storage", "predictions/1.parquet");
    assert!(!remote.keys().iter().any(|key| key.ends_with("one/1.json")), "{:?}", remote.keys());
}

/// Runs a shell script where it may mount what only it sees; none where the system does not let us.
fn with_mounts(script: &str, place: &Place, mount_at: &Path) -> Option<Output> {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, program()]);
    let input = place.input_file(&place.input(3));
    command.env("AT", mount_at).env("INPUT", input).env("DATA", place.data()).env("BUCKETS", place.buckets());
    let output = command.output().ok();
    let Some(output) = output.filter(|output| output.status.code() != Some(99)) else {
        assert!(std::env::var_os("STARMAP_REQUIRE_MOUNTS").is_none(), "mounting is required");
        eprintln!("SKIPPED: this system lets nobody mount");
        return None;
    };
    Some(output)
}

const RUN: &str = r#"exec "$0" run "$INPUT" --json --name one --data "$DATA" --buckets "$BUCKETS""#;

fn failure(output: &Output) -> Value {
    let result = object(output);
    assert_eq!(result["status"], "FAILED", "{result}");
    result
}

#[test]
fn a_full_disk_fails_the_run_by_name_and_another_run_succeeds_once_there_is_room() {
    let place = Place::with_sky(3, 60);
    std::fs::create_dir_all(place.results()).unwrap();
    // Room for the plan and the first results, not for all.
    let script = format!(
        "mount -t tmpfs -o size=16k tmpfs \"$AT\" || exit 99; ({}) ; code=$?; ls -A \"$AT\" \"$AT/predictions\" >&2; exit $code",
        RUN.replace("exec ", "")
    );
    let Some(output) = with_mounts(&script, &place, &place.results()) else { return };
    failure(&output);
    let said = text(&output.stderr);
    assert!(said.contains("Starmap.StorageFull"), "{said}");
    assert!(!said.contains("starmap-part"), "a part of a file is left: {said}");
    assert_nothing_merged(&said.lines().map(|line| format!("one/{line}")).collect::<Vec<_>>());
    // On the disk itself there is room.
    let output = place.run(&place.input(3), &["--json", "--name", "two"]);
    assert_eq!(object(&output)["status"], "SUCCEEDED", "{}", text(&output.stderr));
}

#[test]
fn a_read_only_result_folder_fails_the_run_by_name_and_nothing_is_written() {
    let place = Place::with_sky(3, 60);
    std::fs::create_dir_all(place.results()).unwrap();
    let script = format!("mount --bind \"$AT\" \"$AT\" && mount -o remount,bind,ro \"$AT\" || exit 99; {RUN}");
    let Some(output) = with_mounts(&script, &place, &place.results()) else { return };
    failure(&output);
    let said = text(&output.stderr);
    assert!(said.contains("Starmap.Storage") && said.contains("s3://sky/results/one/"), "{said}");
    assert!(said.to_lowercase().contains("read-only"), "{said}");
    assert_eq!(files(&place.results()), Vec::<String>::new());
}
