//! `starmap kernels` and `starmap bench`.

use std::process::Command;

use crate::common::{assert_refused, object, program, starmap};

#[test]
fn kernels_are_listed_and_can_be_forced_to_what_is_there() {
    let listed = object(&starmap(&["kernels", "--json"]));
    let sets = listed["sets"].as_array().unwrap();
    assert!(sets.iter().any(|set| set["name"] == "portable" && set["available"] == true));
    assert_eq!(sets.iter().filter(|set| set["chosen"] == true).count(), 1);

    let forced =
        Command::new(program()).args(["kernels", "--json"]).env("STARMAP_KERNEL", "portable").output().unwrap();
    assert_eq!((&object(&forced)["chosen"], &object(&forced)["forced"]), (&"portable".into(), &true.into()));
    assert_eq!((&object(&forced)["bf16"], &object(&forced)["int8"]), (&"f32".into(), &"plain".into()));
    assert!(["amx", "avx512_bf16", "f32"].map(Into::into).contains(&listed["bf16"]), "{listed}");

    let unknown = Command::new(program()).arg("kernels").env("STARMAP_KERNEL", "fast").output().unwrap();
    assert_refused(&unknown, 2, &["STARMAP_KERNEL is \"fast\", expected one of", "portable"]);
}

#[test]
fn a_benchmark_reports_rates_peak_share_and_what_a_precision_changes() {
    let full = object(&starmap(&["bench", "--json", "--rounds", "1", "--batch", "16", "--layers"]));
    for key in ["galaxies_per_s", "galaxies_per_cpu_s", "gflops", "fma_peak_gflops", "fma_peak_share"] {
        assert!(full[key].as_f64().unwrap() > 0.0, "{key}: {full}");
    }
    assert_eq!(full["precision"], "f32");
    assert!(full["dz_max"].is_null());
    assert!(full["layers"].as_array().unwrap().len() > 10);

    let reduced = object(&starmap(&["bench", "--json", "--rounds", "1", "--batch", "16", "--precision", "int8"]));
    assert!(reduced["dz_max"].as_f64().unwrap() > 0.0, "{reduced}");
    assert_refused(&starmap(&["bench", "--precision", "fp8"]), 2, &["expected f32, int16, bf16 or int8"]);
}
