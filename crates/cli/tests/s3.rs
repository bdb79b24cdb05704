//! The same run against an S3 server: reads, results and keys with spaces.

use std::process::Command;

use serde_json::json;

use crate::common::{Place, files, object, program, text};
use crate::moto::{self, upload};

#[test]
fn a_run_reads_from_and_writes_to_s3() {
    let Some(moto) = moto::program() else { return };
    let moto = moto::start(&moto);
    let place = Place::with_sky(3, 60);
    let variables = [
        ("AWS_ENDPOINT_URL", moto.endpoint.as_str()),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_REGION", "us-east-1"),
    ];
    let mut input = place.input(3);
    input["S3_object_name"] = json!("a folder/demo.safetensors");
    input["result_path"] = json!("results with spaces/one");
    upload(&moto, &place);

    let mut command = Command::new(program());
    command.arg("run").arg(place.input_file(&input)).args(["--json", "--s3", "--data"]).arg(place.data());
    let output = command.envs(variables).output().unwrap();
    let result = object(&output);
    assert_eq!((&result["status"], &result["galaxies"]), (&json!("SUCCEEDED"), &json!(60)), "{}", text(&output.stderr));
    assert_eq!(result["summary"], "s3://sky/results with spaces/one/summary.json");

    let local = place.run(&place.input(3), &["--json"]);
    assert_eq!(object(&local)["status"], "SUCCEEDED");
    for name in ["predictions.parquet", "summary.json", "report.html", "combined_data.json", "2.json"] {
        let (status, body) = moto.request("GET", &format!("/sky/results%20with%20spaces/one/{name}"), &[]);
        assert!(status == 200 && !body.is_empty(), "{name}: {status}");
    }
    let (_, listing) = moto.request("GET", "/sky?list-type=2&prefix=results%20with%20spaces/", &[]);
    let keys = text(&listing).matches("<Key>").count();
    assert_eq!(keys, files(&place.results()).len(), "as many results as on a disk");
}
