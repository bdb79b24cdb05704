//! The bill of a real run, of recorded REPORT lines, and of the same run simulated.

use std::process::Command;

use crate::common::{Place, assert_refused, object, program, starmap, text};

const REPORT_LINES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../engine/tests/fixtures/lambda_report_lines.csv");

#[test]
fn recorded_report_lines_cost_what_they_did() {
    let output = starmap(&["bill", "--report-lines", REPORT_LINES]);
    let table = text(&output.stdout);
    for (workers, usd) in [(10, "0.0206"), (40, "0.0808"), (80, "0.1686"), (120, "0.2654")] {
        let line = table.lines().find(|line| line.contains(&format!("workers={workers} "))).unwrap_or_default();
        assert!(line.contains(usd), "{workers} workers: {table}");
    }
    assert_refused(&starmap(&["bill", "--report-lines", "Cargo.toml"]), 2, &["there are no REPORT lines in it"]);
}

#[test]
fn a_run_says_what_it_would_have_cost_and_so_does_its_bill() {
    let place = Place::with_sky(3, 60);
    let output = place.run(&place.input(3), &["--name", "one", "--json"]);
    let run = object(&output);
    let bill = |more: &[&str]| {
        let mut command = Command::new(program());
        command.args(["bill", "one", "--json"]).args(more).arg("--data").arg(place.data());
        object(&command.output().unwrap())
    };
    let whole = bill(&[]);
    let total = &whole["bill"]["total"]["usd"]["total"];
    assert!(total.as_f64().unwrap() > 0.0);
    assert_eq!(&run["aws_usd"], total, "the run and its bill agree: {whole}");
    let states: Vec<&str> =
        whole["bill"]["states"].as_array().unwrap().iter().map(|line| line["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["Distributed Test", "Initialize", "Model Inference", "Summarize"]);
    // Three states entered, three children and the state that each enters.
    assert_eq!(whole["bill"]["total"]["usage"]["transitions"], 3 + 3 + 3);
    assert_eq!(whole["bill"]["items"].as_array().unwrap().len(), 3);
    assert!(whole["legacy_cost"].as_f64().unwrap() > 0.0);
    let arm = bill(&["--architecture", "arm64"]);
    let compute = |bill: &serde_json::Value| bill["bill"]["total"]["usd"]["lambda_compute"].as_f64().unwrap();
    assert!((compute(&arm) / compute(&whole) - 0.0000133334 / 0.0000166667).abs() < 1e-9);
    let summary = std::fs::read_to_string(place.results().join("summary.json")).unwrap();
    let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
    assert_eq!(&summary["aws"]["total_usd"], total);

    let prices = place.path().join("prices.toml");
    let text = "as_of = \"2030-01\"\nregion = \"moon-1\"\n[[number]]\nname = \"sfn.standard.transition.usd\"\nvalue = 1.0\n\
                unit = \"USD\"\nsource = \"s\"\n";
    std::fs::write(&prices, text).unwrap();
    let dear = bill(&["--prices", prices.to_str().unwrap()]);
    assert_eq!(dear["bill"]["total"]["usd"]["transitions"], 9.0);
    assert_eq!(dear["bill"]["region"], "moon-1");
    let mut compare = Command::new(program());
    compare.args(["compare", "one", "--json"]).arg("--data").arg(place.data());
    let compared = object(&compare.output().unwrap());
    assert!(
        compared["published"]
            .as_array()
            .unwrap()
            .iter()
            .all(|row| row["validity"].as_str().is_some_and(|v| !v.is_empty()))
    );
}

#[test]
fn a_plan_says_what_to_choose_and_why() {
    let place = Place::with_sky(2, 400);
    let input = place.input_file(&place.input(2));
    let input = input.to_str().unwrap();
    let data = place.data();
    let plan = |more: &[&str]| {
        let mut command = Command::new(program());
        command.args(["plan", input]).args(more).arg("--data").arg(&data);
        command.output().unwrap()
    };
    // Without runs here: from the recorded items, on AWS only.
    assert_refused(&plan(&["--target", "local"]), 2, &["there is no run in it to learn from"]);
    let recorded = object(&plan(&["--json", "--galaxies", "659817"]));
    assert!(recorded["learnt_from"].as_str().unwrap().contains("250 recorded REPORT lines"));
    assert_eq!(recorded["recommended"]["memory_mib"], 10_240);
    assert!(place.run(&place.input(2), &["--concurrency", "2"]).status.success());
    let local = object(&plan(&["--json", "--target", "local", "--deadline", "10min"]));
    assert!(local["recommended"]["wall_s"].as_f64().unwrap() < 600.0, "{local}");
    assert!(local["why"].as_str().unwrap().contains("deadline"));
    let aws = object(&plan(&["--json", "--galaxies", "10000000000"]));
    assert!(aws["recommended"]["ranks"].as_u64().unwrap() >= 10_000, "{}", aws["recommended"]);
    let warnings = aws["recommended"]["warnings"].to_string();
    assert!(warnings.contains("bytes of Initialize's answer"), "{warnings}");
    let slurm = object(&plan(&["--json", "--target", "slurm", "--galaxies", "1000000"]));
    assert_eq!(slurm["cost_unit"], "core hours");
}
