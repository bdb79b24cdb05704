//! What the tests of the command line share: a place of their own, partitions, a model, and the program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

/// The model that ships.
pub const MODEL: &[u8] = include_bytes!("../../../../models/demo/starmap-demo.safetensors");

/// A data root with one bucket `sky` that holds partitions under `parts/` and a model under `models/`.
pub struct Place {
    folder: TempDir,
}

impl Place {
    /// A place with a model and no partitions.
    pub fn empty() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir_all(place.bucket().join("models")).unwrap();
        fs::write(place.bucket().join("models/demo.safetensors"), MODEL).unwrap();
        place
    }

    /// A place with a model and `partitions` partitions that hold `galaxies` galaxies together.
    pub fn with_sky(partitions: u32, galaxies: u32) -> Self {
        let place = Self::empty();
        let (out, galaxies, partitions) = (place.parts(), galaxies.to_string(), partitions.to_string());
        let made = Command::new(program())
            .args(["data", "synth", "--galaxies", &galaxies, "--partitions", &partitions, "--seed", "5", "--out"])
            .arg(out)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", text(&made.stderr));
        place
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    pub fn buckets(&self) -> PathBuf {
        self.path().join("buckets")
    }

    pub fn bucket(&self) -> PathBuf {
        self.buckets().join("sky")
    }

    pub fn parts(&self) -> PathBuf {
        self.bucket().join("parts")
    }

    pub fn results(&self) -> PathBuf {
        self.bucket().join("results/one")
    }

    /// The input of a run over `file_limit` partitions.
    pub fn input(&self, file_limit: u32) -> Value {
        json!({
            "bucket": "sky",
            "file_limit": file_limit.to_string(),
            "batch_size": 256,
            "object_type": "file",
            "S3_object_name": "models/demo.safetensors",
            "script": "/tmp/inference.py",
            "result_path": "results/one",
            "data_bucket": "sky",
            "data_prefix": "parts"
        })
    }

    /// Writes an input file.
    pub fn input_file(&self, input: &Value) -> PathBuf {
        let path = self.path().join("input.json");
        fs::write(&path, input.to_string()).unwrap();
        path
    }

    /// `starmap run` with this place's folders, not yet started.
    pub fn run_command(&self, input: &Value, more: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.arg("run").arg(self.input_file(input)).args(more);
        command.arg("--data").arg(self.data()).arg("--buckets").arg(self.buckets());
        command
    }

    /// `starmap run` to its end.
    pub fn run(&self, input: &Value, more: &[&str]) -> Output {
        self.run_command(input, more).output().unwrap()
    }
}

pub fn program() -> &'static str {
    env!("CARGO_BIN_EXE_starmap")
}

pub fn starmap(arguments: &[&str]) -> Output {
    Command::new(program()).args(arguments).output().unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The one JSON object that `--json` prints.
pub fn object(output: &Output) -> Value {
    let stdout = text(&output.stdout);
    serde_json::from_str(stdout.trim())
        .unwrap_or_else(|error| panic!("{error}: stdout {stdout:?}, stderr {}", text(&output.stderr)))
}

/// Asserts that a command failed with this exit code and that stderr has all of these.
pub fn assert_refused(output: &Output, code: i32, expected: &[&str]) {
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    for expected in expected {
        assert!(stderr.contains(expected), "expected {expected:?} in:\n{stderr}");
    }
}

/// All files below a folder, as paths relative to it, sorted.
pub fn files(folder: &Path) -> Vec<String> {
    fn walk(folder: &Path, base: &Path, found: &mut Vec<String>) {
        let Ok(entries) = fs::read_dir(folder) else { return };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, base, found);
            } else {
                found.push(path.strip_prefix(base).unwrap().to_string_lossy().into_owned());
            }
        }
    }
    let mut found = Vec::new();
    walk(folder, folder, &mut found);
    found.sort();
    found
}
