//! The payload JSON: what an execution is given, what Initialize answers and what each rank gets.
//!
//! This is the only place that knows the spelling of these keys. They are those of the published pipeline
//! (Cloud-based Astronomy Inference, arXiv 2501.06249), read leniently where its inputs vary (whole numbers may be
//! strings) and strictly where a mistake would cost a run: everything that is wrong is named at once.
//!
//! Ours beside the published keys, all optional: `run_id`, `overwrite`, `bad_pixels`, `precision`, `force_precision`; in
//! items `RUN_ID`, `BAD_PIXELS`, `PRECISION`.

use std::fmt;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};
use starmap_astromae::Precision;

use crate::results::names;
use crate::store::Location;

/// The largest whole number taken for a count; far above any survey, far below any overflow.
const COUNT_MAX: u64 = 1_000_000_000;
/// Longest run id; execution names on AWS have at most 80 characters.
const RUN_ID_CHARACTERS_MAX: usize = 128;

/// The input of an execution, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    /// Bucket of the model and of the results.
    pub bucket: String,
    /// How many partitions to use, in natural order.
    pub file_limit: usize,
    /// Galaxies per forward pass.
    pub batch_size: usize,
    /// Whether [`object_name`](Self::object_name) is a folder or the model file itself.
    pub object_type: ObjectType,
    /// Key of the model's folder or file, without slashes at its ends.
    pub object_name: String,
    /// Program that each published worker runs; carried along, not used.
    pub script: String,
    /// Key prefix of the results, without slashes at its ends.
    pub result_path: String,
    /// Bucket of the partitions.
    pub data_bucket: String,
    /// Key prefix of the partitions, without slashes at its ends.
    pub data_prefix: String,
    /// Number of workers; by default one per partition.
    pub world_size: Option<usize>,
    /// Id of the run, where the execution's name is not given.
    pub run_id: Option<String>,
    /// Whether results of another run under the same path are replaced.
    pub overwrite: bool,
    /// What to do with galaxies that have NaN or infinite values.
    pub bad_pixels: BadPixels,
    /// In how many bits the model's large layers multiply.
    pub precision: Precision,
    /// Whether a reduced precision is used even where it changes redshifts more than its bound.
    pub force_precision: bool,
    /// The input as it was given, for the record.
    pub given: Value,
}

/// What `S3_object_name` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectType {
    /// A folder with the model at its published place.
    Folder,
    /// The model file itself.
    File,
}

impl ObjectType {
    fn as_str(self) -> &'static str {
        match self {
            Self::Folder => "folder",
            Self::File => "file",
        }
    }
}

/// What to do with galaxies that have NaN or infinite pixels or magnitudes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BadPixels {
    /// Fail the partition and name the rows.
    #[default]
    Refuse,
    /// Store no redshift for them and set their flag.
    Flag,
}

/// Everything that is wrong with a payload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct InputError {
    /// One line for each key.
    pub problems: Vec<String>,
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.as_slice() {
            [one] => write!(f, "{one}"),
            problems => {
                write!(f, "{} keys can't be used", problems.len())?;
                problems.iter().try_for_each(|problem| write!(f, "\n- {problem}"))
            }
        }
    }
}

impl Input {
    /// Reads and checks an input. Keys that are not ours are tolerated.
    ///
    /// # Errors
    /// Names every key that is missing, of the wrong type or out of range.
    pub fn parse(value: &Value) -> Result<Self, InputError> {
        let mut keys = Keys::of(value, "the input")?;
        let object_type = match keys.string("object_type").as_str() {
            "folder" | "" => ObjectType::Folder,
            "file" => ObjectType::File,
            other => {
                keys.wrong("object_type", &format!("{other:?}"), "\"folder\" or \"file\"");
                ObjectType::Folder
            }
        };
        let input = Self {
            bucket: keys.bucket("bucket"),
            file_limit: keys.count("file_limit").unwrap_or(0),
            batch_size: keys.count("batch_size").unwrap_or(0),
            object_type,
            object_name: keys.path("S3_object_name"),
            script: keys.text("script"),
            result_path: keys.path("result_path"),
            data_bucket: keys.bucket("data_bucket"),
            data_prefix: keys.path("data_prefix"),
            world_size: keys.present("world_size").then(|| keys.count("world_size")).flatten(),
            run_id: keys.present("run_id").then(|| keys.run_id("run_id")),
            overwrite: keys.flag("overwrite"),
            bad_pixels: keys.bad_pixels("bad_pixels"),
            precision: keys.precision("precision"),
            force_precision: keys.flag("force_precision"),
            given: value.clone(),
        };
        keys.finish().map(|()| input)
    }

    /// Where the results go.
    pub fn results(&self) -> ResultPlace {
        ResultPlace { bucket: self.bucket.clone(), path: self.result_path.clone(), run_id: self.run_id.clone() }
    }

    /// How many workers share `files` partitions: `world_size`, else `file_limit`, never more than there are files.
    pub fn workers(&self, files: usize) -> usize {
        self.world_size.unwrap_or(self.file_limit).min(files)
    }
}

/// What Initialize is given: an [`Input`] and, from definitions that pass it, the execution's name.
#[derive(Debug, Clone, PartialEq)]
pub struct InitializeRequest {
    /// The input of the execution.
    pub input: Input,
    /// The execution's name, else the input's `run_id`. Without either the caller makes one up.
    pub run_id: Option<String>,
}

impl InitializeRequest {
    /// Accepts the bare input, as published definitions pass it, and `{"execution": name, "input": {…}}`, as ours does.
    ///
    /// # Errors
    /// As [`Input::parse`].
    pub fn parse(value: &Value) -> Result<Self, InputError> {
        let (input, execution) = match (value.get("execution"), value.get("input")) {
            (Some(execution), Some(input)) => (input, Some(execution)),
            _ => (value, None),
        };
        let input = Input::parse(input)?;
        let run_id = match execution {
            None => input.run_id.clone(),
            Some(_) => {
                let mut keys = Keys::of(value, "the input")?;
                let name = keys.run_id("execution");
                keys.finish()?;
                Some(name)
            }
        };
        Ok(Self { input, run_id })
    }
}

/// What one rank is given. Keys and counts only, never pixels.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// Bucket of the model and of the results.
    pub bucket: String,
    /// Key of the model's folder or file.
    pub object_name: String,
    /// Carried along for published definitions.
    pub script: String,
    /// Whether `object_name` is a folder or the model file itself.
    pub object_type: ObjectType,
    /// Number of ranks.
    pub world_size: usize,
    /// This rank, from 0.
    pub rank: usize,
    /// Bucket of the partitions.
    pub data_bucket: String,
    /// Key prefix of the partitions.
    pub data_prefix: String,
    /// Keys of this rank's partitions, in order. A single key is written as a string, none as null.
    pub data_path: Vec<String>,
    /// Key prefix of the results.
    pub result_path: String,
    /// Galaxies per forward pass.
    pub batch_size: usize,
    /// Id of the run; absent where the item was not made by our Initialize.
    pub run_id: Option<String>,
    /// What to do with galaxies that have NaN or infinite values.
    pub bad_pixels: BadPixels,
    /// In how many bits the model's large layers multiply.
    pub precision: Precision,
}

impl Item {
    /// Reads and checks an item.
    ///
    /// # Errors
    /// Names every key that is missing, of the wrong type or out of range.
    pub fn parse(value: &Value) -> Result<Self, InputError> {
        let mut keys = Keys::of(value, "the item")?;
        let object_type = match keys.string("S3_OBJECT_TYPE").as_str() {
            "folder" | "" => ObjectType::Folder,
            "file" => ObjectType::File,
            other => {
                keys.wrong("S3_OBJECT_TYPE", &format!("{other:?}"), "\"folder\" or \"file\"");
                ObjectType::Folder
            }
        };
        let data_path = match value.get("DATA_PATH").map(KeyList::deserialize) {
            Some(Ok(KeyList(paths))) => paths,
            Some(Err(error)) => {
                keys.problems.push(format!("DATA_PATH: {error}"));
                Vec::new()
            }
            None => {
                keys.problems.push("DATA_PATH: missing, expected a key, a list of keys or null".to_owned());
                Vec::new()
            }
        };
        let item = Self {
            bucket: keys.bucket("S3_BUCKET"),
            object_name: keys.path("S3_OBJECT_NAME"),
            script: keys.text("SCRIPT"),
            object_type,
            world_size: keys.count("WORLD_SIZE").unwrap_or(0),
            rank: keys.whole_number("RANK").unwrap_or(0),
            data_bucket: keys.bucket("DATA_BUCKET"),
            data_prefix: keys.path("DATA_PREFIX"),
            data_path,
            result_path: keys.path("RESULT_PATH"),
            batch_size: keys.count("BATCH_SIZE").unwrap_or(0),
            run_id: keys.present("RUN_ID").then(|| keys.run_id("RUN_ID")),
            bad_pixels: keys.bad_pixels("BAD_PIXELS"),
            precision: keys.precision("PRECISION"),
        };
        keys.finish().map(|()| item)
    }

    /// Writes the item with the published keys, and ours only where they say something.
    pub fn to_json(&self) -> Value {
        let mut item = json!({
            "S3_BUCKET": self.bucket,
            "S3_OBJECT_NAME": self.object_name,
            "SCRIPT": self.script,
            "S3_OBJECT_TYPE": self.object_type.as_str(),
            "WORLD_SIZE": self.world_size.to_string(),
            "RANK": self.rank.to_string(),
            "DATA_BUCKET": self.data_bucket,
            "DATA_PREFIX": self.data_prefix,
            "DATA_PATH": keys_to_json(&self.data_path),
            "RESULT_PATH": self.result_path,
            "BATCH_SIZE": self.batch_size,
        });
        if let Some(run_id) = &self.run_id {
            item["RUN_ID"] = json!(run_id);
        }
        if self.bad_pixels == BadPixels::Flag {
            item["BAD_PIXELS"] = json!("flag");
        }
        if self.precision != Precision::F32 {
            item["PRECISION"] = json!(self.precision.name());
        }
        item
    }
}

/// Where the results of a run are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultPlace {
    /// Bucket of the results.
    pub bucket: String,
    /// Key prefix of the results.
    pub path: String,
    /// Id of the run, if it is said.
    pub run_id: Option<String>,
}

impl fmt::Display for ResultPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}/", self.bucket, self.path)
    }
}

impl ResultPlace {
    /// An object of the run, by its name under the result path.
    pub fn object(&self, name: &str) -> Location {
        Location { bucket: self.bucket.clone(), key: format!("{}/{name}", self.path) }
    }

    /// `summary.json`.
    pub fn summary(&self) -> Location {
        self.object(names::SUMMARY)
    }

    /// `report.html`.
    pub fn report(&self) -> Location {
        self.object(names::REPORT)
    }

    /// Finds the place in whatever the definition passes on. The first object, searched from the outside in, that has
    /// a bucket and a result path in the spelling of an item (`S3_BUCKET`, `RESULT_PATH`) or of an input (`bucket`,
    /// `result_path`):
    ///
    /// - Initialize's answer (our definition passes it by `"ResultPath": null`): `{"statusCode": 200, "body": [item, …]}`;
    /// - the results of the published Map: `[{"statusCode": 200, "body": …}, …]`, where our ranks answer with these two keys;
    /// - `{"execution": name, "input": {…}}`, an item, or the bare input.
    ///
    /// A `body` that is JSON in a string, as published functions answer it, is looked into as well.
    ///
    /// # Errors
    /// If there is none, or two that disagree: one Summarize belongs to one run.
    pub fn find(value: &Value) -> Result<Self, InputError> {
        let mut found: Vec<Self> = Vec::new();
        collect_places(value, 0, &mut found);
        let mut places = found.into_iter();
        let Some(first) = places.next() else {
            return Err(InputError {
                problems: vec![
                    "RESULT_PATH: missing, expected Initialize's answer, the Map's results, \
                     or an object with S3_BUCKET and RESULT_PATH"
                        .to_owned(),
                ],
            });
        };
        match places.find(|place| (&place.bucket, &place.path) != (&first.bucket, &first.path)) {
            None => Ok(first),
            Some(other) => {
                Err(InputError { problems: vec![format!("RESULT_PATH: found {first} and {other}, expected one")] })
            }
        }
    }
}

/// How deep [`ResultPlace::find`] looks; the published shapes need four.
const PLACE_DEPTH_MAX: usize = 8;

fn collect_places(value: &Value, depth: usize, found: &mut Vec<ResultPlace>) {
    if depth > PLACE_DEPTH_MAX {
        return;
    }
    match value {
        Value::Array(values) => values.iter().for_each(|value| collect_places(value, depth + 1, found)),
        Value::String(text) if text.trim_start().starts_with(['{', '[']) => {
            if let Ok(inner) = serde_json::from_str::<Value>(text) {
                collect_places(&inner, depth + 1, found);
            }
        }
        Value::Object(keys) => {
            let text = |names: [&str; 2]| names.iter().find_map(|name| keys.get(*name)).and_then(Value::as_str);
            match (text(["S3_BUCKET", "bucket"]), text(["RESULT_PATH", "result_path"])) {
                (Some(bucket), Some(path)) if clean_path(path).is_ok() => found.push(ResultPlace {
                    bucket: bucket.to_owned(),
                    path: clean_path(path).unwrap_or_default(),
                    run_id: text(["RUN_ID", "run_id"]).map(str::to_owned),
                }),
                _ => keys.values().for_each(|value| collect_places(value, depth + 1, found)),
            }
        }
        _ => {}
    }
}

/// What Initialize answers: one item per rank, under the key where the Map looks for them.
pub fn initialize_answer(items: &[Item]) -> Value {
    json!({ "statusCode": 200, "body": items.iter().map(Item::to_json).collect::<Vec<_>>() })
}

/// Shares `keys` among `workers` ranks: each takes ⌈left / workers left⌉ consecutive keys.
pub fn split(keys: &[String], workers: usize) -> Vec<Vec<String>> {
    let mut left = keys;
    (0..workers)
        .map(|rank| {
            let (taken, rest) = left.split_at(left.len().div_ceil(workers - rank));
            left = rest;
            taken.to_vec()
        })
        .collect()
}

/// One key as a string, several as a list, none as null: the published spelling of `DATA_PATH` and `data_map`.
pub fn keys_to_json(keys: &[String]) -> Value {
    match keys {
        [] => Value::Null,
        [one] => json!(one),
        several => json!(several),
    }
}

/// `DATA_PATH`: a key, a list of keys, or null.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyList(pub Vec<String>);

impl<'de> Deserialize<'de> for KeyList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyListVisitor;

        impl<'de> Visitor<'de> for KeyListVisitor {
            type Value = KeyList;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key, a list of keys or null")
            }

            fn visit_str<E: de::Error>(self, key: &str) -> Result<KeyList, E> {
                clean_path(key).map(|key| KeyList(vec![key])).map_err(E::custom)
            }

            fn visit_unit<E: de::Error>(self) -> Result<KeyList, E> {
                Ok(KeyList(Vec::new()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<KeyList, A::Error> {
                let mut keys = Vec::new();
                while let Some(key) = list.next_element::<String>()? {
                    keys.push(clean_path(&key).map_err(de::Error::custom)?);
                }
                Ok(KeyList(keys))
            }
        }

        deserializer.deserialize_any(KeyListVisitor)
    }
}

/// Strips slashes at the ends and refuses what is not a plain key.
fn clean_path(path: &str) -> Result<String, String> {
    let stripped = path.trim_matches('/');
    if stripped.is_empty() {
        return Err(format!("{path:?} is empty, expected a key such as \"scaling/1\""));
    }
    if stripped.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(format!("{path:?} has an empty part, . or .. in it, expected a plain key such as \"scaling/1\""));
    }
    if stripped.chars().any(|c| c.is_control()) {
        return Err(format!("{path:?} has a control character in it, expected a plain key"));
    }
    Ok(stripped.to_owned())
}

/// Takes keys out of an object and remembers what was wrong with them.
struct Keys<'a> {
    keys: &'a Map<String, Value>,
    problems: Vec<String>,
}

impl<'a> Keys<'a> {
    fn of(value: &'a Value, what: &str) -> Result<Self, InputError> {
        match value {
            Value::Object(keys) => Ok(Self { keys, problems: Vec::new() }),
            other => Err(InputError { problems: vec![format!("{what} is {}, expected an object", shown(other))] }),
        }
    }

    fn finish(self) -> Result<(), InputError> {
        if self.problems.is_empty() { Ok(()) } else { Err(InputError { problems: self.problems }) }
    }

    fn wrong(&mut self, key: &str, found: &str, expected: &str) {
        self.problems.push(format!("{key}: {found}, expected {expected}"));
    }

    fn present(&self, key: &str) -> bool {
        self.keys.get(key).is_some_and(|value| !value.is_null())
    }

    fn text(&mut self, key: &str) -> String {
        match self.keys.get(key) {
            Some(Value::String(text)) => return text.clone(),
            Some(other) => self.wrong(key, &shown(other), "a string"),
            None => self.wrong(key, "missing", "a string"),
        }
        String::new()
    }

    fn string(&mut self, key: &str) -> String {
        let before = self.problems.len();
        let text = self.text(key);
        if text.is_empty() && self.problems.len() == before {
            self.wrong(key, "empty", "a string");
        }
        text
    }

    fn bucket(&mut self, key: &str) -> String {
        let name = self.string(key);
        if name.contains('/') || name.starts_with('.') || name.chars().any(char::is_control) {
            self.wrong(key, &format!("{name:?}"), "the name of a bucket, without slashes or a leading dot");
        }
        name
    }

    fn path(&mut self, key: &str) -> String {
        let before = self.problems.len();
        let text = self.text(key);
        if self.problems.len() > before {
            return text;
        }
        clean_path(&text).unwrap_or_else(|problem| {
            self.problems.push(format!("{key}: {problem}"));
            String::new()
        })
    }

    fn run_id(&mut self, key: &str) -> String {
        let id = self.string(key);
        if id.chars().count() > RUN_ID_CHARACTERS_MAX || id.chars().any(char::is_control) {
            self.wrong(key, &format!("{id:?}"), "at most 128 printable characters");
        }
        id
    }

    fn count(&mut self, key: &str) -> Option<usize> {
        self.number(key, 1, "a whole number above 0, or its digits as a string")
    }

    fn whole_number(&mut self, key: &str) -> Option<usize> {
        self.number(key, 0, "a whole number, or its digits as a string")
    }

    fn number(&mut self, key: &str, least: u64, expected: &str) -> Option<usize> {
        let found = self.keys.get(key);
        let number = match found {
            Some(Value::Number(number)) => number.as_u64(),
            Some(Value::String(text)) => text.trim().parse().ok(),
            _ => None,
        };
        match number.filter(|number| (least..=COUNT_MAX).contains(number)) {
            Some(number) => usize::try_from(number).ok(),
            None => {
                self.wrong(key, &found.map_or_else(|| "missing".to_owned(), shown), expected);
                None
            }
        }
    }

    fn flag(&mut self, key: &str) -> bool {
        match self.keys.get(key) {
            None | Some(Value::Null) => false,
            Some(Value::Bool(flag)) => *flag,
            Some(other) => {
                self.wrong(key, &shown(other), "true or false");
                false
            }
        }
    }

    fn precision(&mut self, key: &str) -> Precision {
        match self.keys.get(key) {
            None | Some(Value::Null) => return Precision::F32,
            Some(Value::String(name)) => {
                if let Ok(precision) = name.parse() {
                    return precision;
                }
                self.wrong(key, &shown(&self.keys[key]), "\"f32\", \"int16\", \"bf16\" or \"int8\"");
            }
            Some(other) => self.wrong(key, &shown(other), "\"f32\", \"int16\", \"bf16\" or \"int8\""),
        }
        Precision::F32
    }

    fn bad_pixels(&mut self, key: &str) -> BadPixels {
        match self.keys.get(key).map(Value::as_str) {
            None | Some(Some("refuse")) => BadPixels::Refuse,
            Some(Some("flag")) => BadPixels::Flag,
            Some(_) => {
                let found = self.keys.get(key).map_or_else(String::new, shown);
                self.wrong(key, &found, "\"refuse\" or \"flag\"");
                BadPixels::Refuse
            }
        }
    }
}

/// A value as an error shows it: short, and with its type in view.
fn shown(value: &Value) -> String {
    match value {
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        Value::String(text) if text.chars().count() > 60 => {
            format!("{:?}…", text.chars().take(60).collect::<String>())
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    use super::*;

    fn published() -> Value {
        serde_json::from_str(include_str!("../../../examples/redshift/input.json")).unwrap()
    }

    #[test]
    fn precisions_are_read_carried_on_and_others_refused() {
        let mut input = published();
        assert_eq!(Input::parse(&input).unwrap().precision, Precision::F32);
        input["precision"] = json!("int8");
        assert_eq!(Input::parse(&input).unwrap().precision, Precision::Int8);
        check_refused(
            |input| input["precision"] = json!("fp8"),
            &expect![[r#"precision: "fp8", expected "f32", "int16", "bf16" or "int8""#]],
        );
        check_refused(
            |input| input["precision"] = json!(8),
            &expect![[r#"precision: 8, expected "f32", "int16", "bf16" or "int8""#]],
        );
    }

    fn check_refused(change: impl FnOnce(&mut Value), expected: &Expect) {
        let mut input = published();
        change(&mut input);
        expected.assert_eq(&Input::parse(&input).expect_err("expected a refusal").to_string());
    }

    #[test]
    fn the_published_inputs_are_taken_unchanged() {
        for (limit, prefix, size) in [
            (516, "25MB", "12.6GB"),
            (327, "25MB", "8GB"),
            (258, "50MB", "12.6GB"),
            (163, "50MB", "8GB"),
            (173, "75MB", "12.6GB"),
            (110, "75MB", "8GB"),
            (129, "100MB", "12.6GB"),
            (82, "100MB", "8GB"),
        ] {
            let mut value = published();
            value["file_limit"] = json!(limit.to_string());
            value["data_prefix"] = json!(prefix);
            value["result_path"] = json!(format!("scaling/result-partition-{prefix}/{size}/2"));
            let input = Input::parse(&value).unwrap();
            assert_eq!((input.file_limit, input.batch_size), (limit, 256));
            assert_eq!(input.object_name, "Anomaly Detection");
            assert_eq!(input.world_size, None);
        }
    }

    #[test]
    fn numbers_may_be_strings_and_paths_may_have_stray_slashes() {
        let mut value = published();
        value["batch_size"] = json!("512");
        value["world_size"] = json!("4");
        value["data_prefix"] = json!("/25MB/");
        value["unknown"] = json!({"kept": true});
        let input = Input::parse(&value).unwrap();
        assert_eq!((input.batch_size, input.world_size, input.data_prefix.as_str()), (512, Some(4), "25MB"));
    }

    #[test]
    fn every_problem_is_named_at_once() {
        check_refused(
            |input| {
                *input = json!({"bucket": 7, "file_limit": "many", "batch_size": 0, "object_type": "zip", "script": "x",
                    "result_path": "a/../b", "data_bucket": "a/b", "data_prefix": "//", "bad_pixels": "keep", "overwrite": "yes"});
            },
            &expect![[r#"
                10 keys can't be used
                - object_type: "zip", expected "folder" or "file"
                - bucket: 7, expected a string
                - file_limit: "many", expected a whole number above 0, or its digits as a string
                - batch_size: 0, expected a whole number above 0, or its digits as a string
                - S3_object_name: missing, expected a string
                - result_path: "a/../b" has an empty part, . or .. in it, expected a plain key such as "scaling/1"
                - data_bucket: "a/b", expected the name of a bucket, without slashes or a leading dot
                - data_prefix: "//" is empty, expected a key such as "scaling/1"
                - overwrite: "yes", expected true or false
                - bad_pixels: "keep", expected "refuse" or "flag""#]],
        );
    }

    #[test]
    fn counts_must_be_whole_and_above_zero() {
        let expected = "expected a whole number above 0, or its digits as a string";
        for (bad, found) in
            [(json!(0), "0"), (json!(-1), "-1"), (json!(1.5), "1.5"), (json!("0"), "\"0\""), (json!(null), "null")]
        {
            for key in ["file_limit", "batch_size"] {
                let mut input = published();
                input[key] = bad.clone();
                assert_eq!(Input::parse(&input).unwrap_err().to_string(), format!("{key}: {found}, {expected}"));
            }
        }
        check_refused(
            |input| input["world_size"] = json!(0),
            &expect!["world_size: 0, expected a whole number above 0, or its digits as a string"],
        );
        check_refused(|input| *input = json!([1]), &expect!["the input is a list, expected an object"]);
    }

    #[test]
    fn the_run_is_named_by_the_execution_then_by_the_input() {
        let mut input = published();
        assert_eq!(InitializeRequest::parse(&input).unwrap().run_id, None);
        input["run_id"] = json!("mine");
        assert_eq!(InitializeRequest::parse(&input).unwrap().run_id.as_deref(), Some("mine"));
        let wrapped = json!({"execution": "redshift-1", "input": input});
        let request = InitializeRequest::parse(&wrapped).unwrap();
        assert_eq!(request.run_id.as_deref(), Some("redshift-1"));
        assert_eq!(request.input.given["run_id"], "mine");
    }

    fn item(rank: usize, data_path: &[&str]) -> Item {
        Item {
            bucket: "cosmicai-data".into(),
            object_name: "Anomaly Detection".into(),
            script: "/tmp/Anomaly Detection/Inference/inference.py".into(),
            object_type: ObjectType::Folder,
            world_size: 516,
            rank,
            data_bucket: "cosmicai-data".into(),
            data_prefix: "25MB".into(),
            data_path: data_path.iter().map(|&key| key.to_owned()).collect(),
            result_path: "scaling/result-partition-25MB/12.6GB/2".into(),
            batch_size: 256,
            run_id: Some("a".repeat(80)),
            bad_pixels: BadPixels::Refuse,
            precision: Precision::F32,
        }
    }

    #[test]
    fn items_survive_the_round_trip_whatever_the_number_of_keys() {
        for keys in [vec![], vec!["25MB/1.pt"], vec!["25MB/1.pt", "25MB/a b#%.pt"]] {
            let item = item(3, &keys);
            assert_eq!(Item::parse(&item.to_json()).unwrap(), item);
        }
        let mut value = item(0, &[]).to_json();
        value["DATA_PATH"] = json!(7);
        value["RANK"] = json!("x");
        expect![[r#"
            2 keys can't be used
            - DATA_PATH: invalid type: integer `7`, expected a key, a list of keys or null
            - RANK: "x", expected a whole number, or its digits as a string"#]]
        .assert_eq(&Item::parse(&value).unwrap_err().to_string());
    }

    #[test]
    fn the_largest_published_answer_fits_into_an_aws_payload() {
        let items: Vec<_> = (0..516).map(|rank| item(rank, &[&format!("25MB/{}.pt", rank + 1)])).collect();
        let bytes = initialize_answer(&items).to_string().len();
        // https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html: 256 KiB of UTF-8.
        assert!(bytes < 262_144, "{bytes} bytes with an execution name of 80 characters");
    }

    #[test]
    fn the_result_place_is_found_in_every_published_shape() {
        let place = |value: &Value| ResultPlace::find(value).map(|place| (place.bucket, place.path));
        let expected = ("cosmicai-data".to_owned(), "scaling/result-partition-25MB/12.6GB/2".to_owned());
        let answer = initialize_answer(&[item(0, &[]), item(1, &[])]);
        let ranks = json!([{"statusCode": 200, "body": item(0, &[]).to_json().to_string()}, {"statusCode": 200, "body": [item(1, &[]).to_json()]}]);
        for value in [&answer, &ranks, &published(), &json!({"execution": "x", "input": published()})] {
            assert_eq!(place(value).unwrap(), expected);
        }
        assert_eq!(ResultPlace::find(&answer).unwrap().run_id, Some("a".repeat(80)));
        let two = json!([item(0, &[]).to_json(), {"S3_BUCKET": "other", "RESULT_PATH": "r"}]);
        expect!["RESULT_PATH: found s3://cosmicai-data/scaling/result-partition-25MB/12.6GB/2/ and s3://other/r/, expected one"]
            .assert_eq(&ResultPlace::find(&two).unwrap_err().to_string());
        assert!(ResultPlace::find(&json!({"statusCode": 200})).is_err());
    }

    proptest! {
        #[test]
        fn every_key_goes_to_exactly_one_rank_in_order(files in 0usize..200, workers in 1usize..60) {
            let keys: Vec<String> = (0..files).map(|i| format!("{i}.pt")).collect();
            let shares = split(&keys, workers);
            prop_assert_eq!(shares.len(), workers);
            prop_assert_eq!(shares.concat(), keys);
            let sizes: Vec<usize> = shares.iter().map(Vec::len).collect();
            prop_assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1);
        }
    }
}
