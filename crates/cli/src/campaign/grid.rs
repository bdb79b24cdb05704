//! `GRID.toml`: which inputs a campaign runs, how often, and where.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use starmap_pipeline::legacy;
use starmap_pipeline::payload::Input;

use crate::exit;

/// Keys of an input that a grid may set. `result_path` is where the campaign makes a folder for each run.
const INPUT_KEYS: [&str; 14] = [
    "bucket",
    "file_limit",
    "batch_size",
    "object_type",
    "S3_object_name",
    "script",
    "result_path",
    "data_bucket",
    "data_prefix",
    "world_size",
    "bad_pixels",
    "precision",
    "force_precision",
    "data_size",
];
/// Keys that say how a run is carried out.
const SETTINGS: [&str; 3] = ["concurrency", "memory", "timeout"];
/// Configurations of one campaign.
const CONFIGURATIONS_MAX: usize = 10_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    #[serde(default = "one_seed")]
    seed: u64,
    #[serde(default = "three")]
    repeats: u32,
    #[serde(default = "one")]
    warm_ups: u32,
    #[serde(default)]
    input: Option<String>,
    #[serde(default)]
    base: toml::Table,
    #[serde(default)]
    points: Vec<toml::Table>,
    #[serde(default)]
    grid: toml::Table,
}

fn one_seed() -> u64 {
    1
}

fn one() -> u32 {
    1
}

fn three() -> u32 {
    3
}

/// What a campaign is to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Grid {
    /// Its name: part of the result paths.
    pub name: String,
    /// Decides the order of the runs.
    pub seed: u64,
    /// Measured runs of each configuration.
    pub repeats: u32,
    /// Runs of each configuration before those that are measured.
    pub warm_ups: u32,
    /// The points of the grid.
    pub configurations: Vec<Configuration>,
    /// Changes when any of this does.
    pub digest: String,
}

/// One point of the grid.
#[derive(Debug, Clone, PartialEq)]
pub struct Configuration {
    /// What distinguishes it.
    pub keys: Vec<(String, String)>,
    /// The input of its runs, but for `result_path`.
    pub input: Value,
    /// Key prefix under which its runs' results go.
    pub result_path: String,
    /// Workers that run at once.
    pub concurrency: Option<u16>,
    /// Memory of a function, MiB.
    pub memory_mib: Option<u32>,
    /// Time limit of one invocation, seconds.
    pub timeout_s: Option<u64>,
}

impl Configuration {
    /// `batch_size 64, precision int8`.
    pub fn label(&self) -> String {
        let words: Vec<String> = self.keys.iter().map(|(key, value)| format!("{key} {value}")).collect();
        if words.is_empty() { "the only configuration".to_owned() } else { words.join(", ") }
    }
}

/// Reads a grid.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read(path: &Path) -> anyhow::Result<Grid> {
    let at = |problem: String| exit::usage(format!("grid {}: {problem}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| at(error.to_string()))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    parse(&text, |input| std::fs::read_to_string(folder.join(input)).map_err(|error| format!("input {input}: {error}")))
        .map_err(|problems| at(problems.join("\n- ")))
}

/// `read_input` reads the file of the key `input`, a path relative to the grid.
fn parse(text: &str, read_input: impl Fn(&str) -> Result<String, String>) -> Result<Grid, Vec<String>> {
    let file: File = toml::from_str(text).map_err(|error| vec![error.to_string()])?;
    let mut problems = Vec::new();
    let is_name = !file.name.is_empty()
        && file.name.len() <= 64
        && file.name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if !is_name {
        problems.push(format!("name: {:?} must be 1 to 64 letters, digits, - and _", file.name));
    }
    if file.repeats == 0 {
        problems.push("repeats: 0, expected 1 or more".to_owned());
    }
    let mut base: Map<String, Value> = Map::new();
    if let Some(input) = &file.input {
        let read = read_input(input).and_then(|text| {
            serde_json::from_str(&text).map_err(|error| format!("input {input}: this is not JSON: {error}"))
        });
        match read {
            Ok(Value::Object(keys)) => base = keys,
            Ok(other) => problems.push(format!("input {input}: is {other}, expected an object")),
            Err(problem) => problems.push(problem),
        }
    }
    for (key, value) in &file.base {
        base.insert(key.clone(), json_of(value));
    }
    let axes: Vec<(String, Vec<Value>)> = file
        .grid
        .iter()
        .map(|(key, value)| {
            let values = value.as_array().map(|values| values.iter().map(json_of).collect()).unwrap_or_default();
            (key.clone(), values)
        })
        .collect();
    let set_keys = file.base.keys().chain(file.grid.keys()).chain(file.points.iter().flat_map(|point| point.keys()));
    for key in set_keys {
        if !INPUT_KEYS.contains(&key.as_str()) && !SETTINGS.contains(&key.as_str()) {
            problems.push(format!("{key}: is not a key of an input, nor concurrency, memory or timeout"));
        }
    }
    for (key, values) in &axes {
        if values.is_empty() {
            problems.push(format!("grid.{key}: expected an array of one or more values"));
        }
        if key == "result_path" {
            problems.push("grid.result_path: every run gets its own under the base's".to_owned());
        }
    }
    let points: Vec<Map<String, Value>> = match file.points.is_empty() {
        true => vec![Map::new()],
        false => file
            .points
            .iter()
            .map(|point| point.iter().map(|(key, value)| (key.clone(), json_of(value))).collect())
            .collect(),
    };
    let count = axes.iter().map(|(_, values)| values.len()).try_fold(points.len(), usize::checked_mul);
    if count.is_none_or(|count| count > CONFIGURATIONS_MAX) {
        problems.push(format!("more than {CONFIGURATIONS_MAX} configurations"));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut configurations: Vec<Configuration> = Vec::new();
    for set in product(&points, &axes) {
        match configuration(&file.name, &base, &set, configurations.len()) {
            Ok(configuration) => configurations.push(configuration),
            Err(found) => problems.extend(found),
        }
    }
    problems.extend(overlaps(&configurations));
    problems.sort();
    problems.dedup();
    if !problems.is_empty() {
        return Err(problems);
    }
    let described: Vec<Value> = configurations.iter().map(described).collect();
    let whole = serde_json::json!([file.name, file.seed, file.repeats, file.warm_ups, described]);
    let digest = Sha256::digest(whole.to_string().as_bytes());
    let digest = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let File { name, seed, repeats, warm_ups, .. } = file;
    Ok(Grid { name, seed, repeats, warm_ups, configurations, digest })
}

/// Every point with every combination of the axes' values, the last axis fastest.
fn product(points: &[Map<String, Value>], axes: &[(String, Vec<Value>)]) -> Vec<Map<String, Value>> {
    let mut sets = points.to_vec();
    for (key, values) in axes {
        let with = |set: &Map<String, Value>, value: &Value| {
            let mut set = set.clone();
            set.insert(key.clone(), value.clone());
            set
        };
        sets = sets.iter().flat_map(|set| values.iter().map(|value| with(set, value)).collect::<Vec<_>>()).collect();
    }
    sets
}

fn configuration(
    campaign: &str,
    base: &Map<String, Value>,
    set: &Map<String, Value>,
    index: usize,
) -> Result<Configuration, Vec<String>> {
    let keys: Vec<(String, String)> = set.iter().map(|(key, value)| (key.clone(), plain(value))).collect();
    let label = keys.iter().map(|(key, value)| format!("{key} {value}")).collect::<Vec<_>>().join(", ");
    let at = |problem: String| format!("configuration {} ({label}): {problem}", index + 1);
    let mut all = base.clone();
    all.extend(set.clone());
    let mut problems = Vec::new();
    let mut setting = |all: &mut Map<String, Value>, key: &str, from: u64, to: u64| {
        let value = all.remove(key)?;
        let number = value.as_u64().or_else(|| value.as_str()?.parse().ok()).filter(|n| (from..=to).contains(n));
        if number.is_none() {
            problems.push(at(format!("{key}: is {value}, expected {from} to {to}")));
        }
        number
    };
    let concurrency = setting(&mut all, "concurrency", 1, 1_000).and_then(|n| u16::try_from(n).ok());
    let memory_mib = setting(&mut all, "memory", 128, 10_240).and_then(|n| u32::try_from(n).ok());
    let timeout_s = setting(&mut all, "timeout", 1, 900);
    if let Some(size) = all.remove("data_size") {
        let prefix = all.get("data_prefix").and_then(Value::as_str).unwrap_or_default().to_owned();
        match file_limit(&plain(&size), &prefix) {
            Ok(files) => drop(all.insert("file_limit".to_owned(), Value::from(files))),
            Err(problem) => problems.push(at(problem)),
        }
    }
    let root = all.get("result_path").and_then(Value::as_str).unwrap_or("campaigns").trim_matches('/').to_owned();
    let result_path = format!("{root}/{campaign}/c{:03}", index + 1);
    all.insert("result_path".to_owned(), Value::from(result_path.as_str()));
    let input = Value::Object(all);
    if let Err(error) = Input::parse(&input) {
        problems.extend(error.problems.into_iter().map(at));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(Configuration { keys, input, result_path, concurrency, memory_mib, timeout_s })
}

/// How many partitions make a data size, from the size that the prefix names.
fn file_limit(size: &str, prefix: &str) -> Result<u64, String> {
    let unit = |unit: &str| size.strip_suffix(unit).and_then(|number| number.trim().parse::<f64>().ok());
    // As in the published tables: GB there is 1024 MB.
    let mb = unit("GB").map(|gb| gb * 1024.0).or_else(|| unit("MB")).filter(|mb| *mb > 0.0);
    let mb = mb.ok_or_else(|| format!("data_size: is {size:?}, expected a number with MB or GB"))?;
    let partition_mb = legacy::partition_mb_of(prefix).ok_or_else(|| {
        format!("data_size: needs a data_prefix that names a partition size, such as 25MB; found {prefix:?}")
    })?;
    Ok(((mb / partition_mb).round() as u64).max(1))
}

/// Configurations that would do the same.
fn overlaps(configurations: &[Configuration]) -> Vec<String> {
    let mut known: BTreeMap<String, usize> = BTreeMap::new();
    let mut problems = Vec::new();
    for (index, configuration) in configurations.iter().enumerate() {
        let mut described = described(configuration);
        described[0]["result_path"] = Value::Null;
        if let Some(other) = known.insert(described.to_string(), index) {
            problems.push(format!(
                "configurations {} and {} are the same ({}): give each run its own, or use repeats",
                other + 1,
                index + 1,
                configuration.label()
            ));
        }
    }
    problems
}

fn described(configuration: &Configuration) -> Value {
    let Configuration { input, concurrency, memory_mib, timeout_s, .. } = configuration;
    // Keys that are numbers or their texts mean the same.
    let parsed = Input::parse(input).ok();
    let mut input = input.clone();
    if let Some(parsed) = parsed {
        input["file_limit"] = Value::from(parsed.file_limit);
        input["batch_size"] = Value::from(parsed.batch_size);
    }
    serde_json::json!([input, concurrency, memory_mib, timeout_s])
}

fn json_of(value: &toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::from(text.as_str()),
        toml::Value::Integer(number) => Value::from(*number),
        toml::Value::Float(number) => Value::from(*number),
        toml::Value::Boolean(yes) => Value::from(*yes),
        other => Value::from(format!("{other:?}")),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = r#"
name = "scaling"
[base]
bucket = "sky"
file_limit = 4
batch_size = 256
object_type = "file"
S3_object_name = "m.safetensors"
script = "s"
result_path = "/scaling/"
data_bucket = "sky"
data_prefix = "25MB"
"#;

    fn grid(more: &str) -> Result<Grid, Vec<String>> {
        parse(&format!("{BASE}{more}"), |_| Err("no such file".to_owned()))
    }

    #[test]
    fn points_are_combined_with_every_value_of_the_grid() {
        let grid = grid(
            "[grid]\nbatch_size = [64, 256]\nconcurrency = [1, 2]\n[[points]]\ndata_prefix = \"25MB\"\nfile_limit = \"516\"\n\
             [[points]]\ndata_prefix = \"100MB\"\ndata_size = \"12.6GB\"\n",
        )
        .unwrap();
        assert_eq!((grid.repeats, grid.warm_ups, grid.configurations.len()), (3, 1, 8));
        let last = &grid.configurations[7];
        assert_eq!(last.label(), "data_prefix 100MB, data_size 12.6GB, batch_size 256, concurrency 2");
        assert_eq!((&last.input["file_limit"], last.concurrency), (&Value::from(129), Some(2)));
        assert_eq!(last.result_path, "scaling/scaling/c008");
        assert!(last.input.get("concurrency").is_none());
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let problems =
            grid("[grid]\nbatch_sise = [1]\nprecision = []\nresult_path = [\"x\"]\n").unwrap_err().join("\n");
        for expected in ["batch_sise: is not a key", "grid.precision: expected an array", "grid.result_path"] {
            assert!(problems.contains(expected), "{problems}");
        }
        let problems = grid("[grid]\nbatch_size = [0]\nmemory = [64]\n").unwrap_err().join("\n");
        assert!(
            problems.contains("batch_size") && problems.contains("memory: is 64, expected 128 to 10240"),
            "{problems}"
        );
        let problems = grid("[grid]\ndata_size = [\"3 apples\"]\n").unwrap_err().join("\n");
        assert!(problems.contains("expected a number with MB or GB"), "{problems}");
    }

    #[test]
    fn configurations_that_overlap_are_refused() {
        let problems = grid("[grid]\nfile_limit = [4, \"4\"]\n").unwrap_err().join("\n");
        assert!(problems.contains("configurations 1 and 2 are the same"), "{problems}");
    }

    #[test]
    fn a_grid_that_changes_is_another_grid() {
        let one = grid("[grid]\nbatch_size = [64]\n").unwrap();
        let two = grid("[grid]\nbatch_size = [65]\n").unwrap();
        assert_ne!(one.digest, two.digest);
        assert_eq!(one, grid("[grid]\nbatch_size = [64]\n").unwrap());
    }

    #[test]
    fn the_eight_inputs_of_the_study_are_an_example() {
        let text = include_str!("../../../../examples/campaigns/scaling-study.toml");
        let input = include_str!("../../../../examples/redshift/input.json");
        let grid = parse(text, |_| Ok(input.to_owned())).unwrap();
        let found: Vec<(String, u64)> = grid
            .configurations
            .iter()
            .map(|one| {
                (one.input["data_prefix"].as_str().unwrap().to_owned(), one.input["file_limit"].as_u64().unwrap())
            })
            .collect();
        let expected = [
            ("25MB", 516),
            ("25MB", 327),
            ("50MB", 258),
            ("50MB", 163),
            ("75MB", 173),
            ("75MB", 110),
            ("100MB", 129),
            ("100MB", 82),
        ];
        assert_eq!(found, expected.map(|(prefix, files)| (prefix.to_owned(), files)));
        assert!(grid.configurations.iter().all(|one| one.input["batch_size"] == 256));
    }
}
