//! The fields that only a Distributed Map has: where its items come from, how many a child gets, where results go.
//!
//! # Source
//! <https://docs.aws.amazon.com/step-functions/latest/dg/input-output-fields-dist-map.html>, read 2026-11.

use super::fields::Fields;
use super::model::{ExecutionType, QueryLanguage, Setting};
use crate::command::ProcessorPath;
use crate::map_run::{
    CsvConfig, CsvHeaders, InputType, ManifestType, OutputType, ReaderAction, ReaderTransformation,
    WriterTransformation,
};
use crate::template::Template;

const LABEL_LENGTH_MAX: usize = 40;

/// Most items that AWS takes from one source.
const ITEMS_MAX: u64 = 100_000_000;

/// Largest input of a child, and so of a batch.
const INPUT_BYTES_MAX: u64 = 262_144;

/// What makes a Map distributed.
#[derive(Debug)]
pub(crate) struct Distributed {
    pub(crate) path: ProcessorPath,
    pub(crate) child_type: ExecutionType,
    pub(crate) label: Option<String>,
    pub(crate) reader: Option<ItemReader>,
    pub(crate) batcher: Option<ItemBatcher>,
    pub(crate) writer: Option<ResultWriter>,
}

#[derive(Debug)]
pub(crate) struct ItemReader {
    pub(crate) action: ReaderAction,
    /// `Parameters` or `Arguments`.
    pub(crate) arguments: Option<Template>,
    pub(crate) input_type: Option<InputType>,
    pub(crate) csv: CsvConfig,
    pub(crate) items_max: Setting<u64>,
    pub(crate) items_pointer: Setting<String>,
    pub(crate) manifest_type: ManifestType,
    pub(crate) manifest_input_type: Option<InputType>,
    pub(crate) transformation: ReaderTransformation,
}

#[derive(Debug)]
pub(crate) struct ItemBatcher {
    pub(crate) items_max: Setting<u64>,
    pub(crate) input_bytes_max: Setting<u64>,
    pub(crate) input: Option<Template>,
}

#[derive(Debug)]
pub(crate) struct ResultWriter {
    /// `Parameters` or `Arguments`; there exactly if results are written to S3.
    pub(crate) arguments: Option<Template>,
    pub(crate) transformation: WriterTransformation,
    pub(crate) output_type: OutputType,
}

impl Distributed {
    /// Names the workflow variables that are read.
    pub(crate) fn variables(&self, note: &mut dyn FnMut(&str)) {
        if let Some(reader) = &self.reader {
            reader.arguments.iter().for_each(|template| template.variables(note));
            reader.items_max.variables(note);
            reader.items_pointer.variables(note);
        }
        if let Some(batcher) = &self.batcher {
            batcher.items_max.variables(note);
            batcher.input_bytes_max.variables(note);
            batcher.input.iter().for_each(|template| template.variables(note));
        }
        if let Some(writer) = &self.writer {
            writer.arguments.iter().for_each(|template| template.variables(note));
        }
    }
}

pub(super) fn read_distributed(fields: &Fields<'_>, path: ProcessorPath, child_type: ExecutionType) -> Distributed {
    let label = fields.string("Label");
    if let Some(problem) = label.and_then(label_problem) {
        fields.schema("Label", problem);
    }
    Distributed {
        path,
        child_type,
        label: label.map(str::to_owned),
        reader: fields.object("ItemReader").and_then(read_reader),
        batcher: fields.object("ItemBatcher").map(read_batcher),
        writer: fields.object("ResultWriter").and_then(read_writer),
    }
}

/// A field with one of a few values.
fn choice<T: Copy>(fields: &Fields<'_>, name: &'static str, values: &[(&str, T)]) -> Option<T> {
    let text = fields.string(name)?;
    let found = values.iter().find(|(value, _)| *value == text).map(|(_, meaning)| *meaning);
    if found.is_none() {
        let names: Vec<&str> = values.iter().map(|(name, _)| *name).collect();
        fields.schema(name, format!("Value is not valid. Expected one of [{}], found {text}", names.join(", ")));
    }
    found
}

fn arguments(fields: &Fields<'_>) -> Option<Template> {
    match fields.language {
        QueryLanguage::JsonPath => fields.template("Parameters"),
        QueryLanguage::Jsonata => fields.template("Arguments"),
    }
}

fn read_reader(fields: Fields<'_>) -> Option<ItemReader> {
    fields.require(&["Resource"]);
    let resources = [
        ("arn:aws:states:::s3:getObject", ReaderAction::GetObject),
        ("arn:aws:states:::s3:listObjectsV2", ReaderAction::ListObjects),
    ];
    let action = choice(&fields, "Resource", &resources);
    let arguments = arguments(&fields);
    let mut reader = ItemReader {
        action: ReaderAction::GetObject,
        arguments,
        input_type: None,
        csv: CsvConfig { headers: CsvHeaders::FirstRow, delimiter: b',' },
        items_max: Setting::Absent,
        items_pointer: Setting::Absent,
        manifest_type: ManifestType::S3Inventory,
        manifest_input_type: None,
        transformation: ReaderTransformation::None,
    };
    if let Some(config) = fields.object("ReaderConfig") {
        read_reader_config(config, &mut reader);
    } else if action == Some(ReaderAction::GetObject) {
        fields.require(&["ReaderConfig"]);
    }
    fields.finish();
    reader.action = action?;
    Some(reader)
}

fn read_reader_config(config: Fields<'_>, reader: &mut ItemReader) {
    let input_types = [
        ("CSV", InputType::Csv),
        ("JSON", InputType::Json),
        ("JSONL", InputType::JsonLines),
        ("MANIFEST", InputType::Manifest),
        ("PARQUET", InputType::Parquet),
    ];
    reader.input_type = choice(&config, "InputType", &input_types);
    let manifest_types = [("ATHENA_DATA", ManifestType::AthenaData), ("S3_INVENTORY", ManifestType::S3Inventory)];
    match choice(&config, "ManifestType", &manifest_types) {
        // Beside a ManifestType, the InputType says how the data files are read.
        Some(manifest_type) => {
            reader.manifest_type = manifest_type;
            reader.manifest_input_type = reader.input_type.filter(|found| *found != InputType::Manifest);
            reader.input_type = Some(InputType::Manifest);
        }
        None => reader.manifest_input_type = Some(InputType::Csv),
    }
    let transformations =
        [("NONE", ReaderTransformation::None), ("LOAD_AND_FLATTEN", ReaderTransformation::LoadAndFlatten)];
    reader.transformation = choice(&config, "Transformation", &transformations).unwrap_or(ReaderTransformation::None);
    let delimiters = [("COMMA", b','), ("PIPE", b'|'), ("SEMICOLON", b';'), ("SPACE", b' '), ("TAB", b'\t')];
    reader.csv.delimiter = choice(&config, "CSVDelimiter", &delimiters).unwrap_or(b',');
    let is_given = choice(&config, "CSVHeaderLocation", &[("FIRST_ROW", false), ("GIVEN", true)]);
    let headers = config.array("CSVHeaders");
    if reader.input_type == Some(InputType::Csv) && config.get("CSVHeaderLocation").is_none() {
        config.require(&["CSVHeaderLocation"]);
    }
    match (is_given, headers) {
        (Some(true), Some(headers)) => {
            let names: Option<Vec<String>> = headers.iter().map(|name| name.as_str().map(str::to_owned)).collect();
            match names {
                Some(names) => reader.csv.headers = CsvHeaders::Given(names),
                None => config.schema("CSVHeaders", "expected an array of strings"),
            }
        }
        (Some(true), None) => config.require(&["CSVHeaders"]),
        (Some(false) | None, _) => {}
    }
    reader.items_max =
        config.setting(["MaxItems", "MaxItemsPath"], false, |config, name| config.integer(name, 0, ITEMS_MAX));
    reader.items_pointer = match config.query("ItemsPointer") {
        Some(computed) => Setting::Computed(computed),
        None => config.string("ItemsPointer").map_or(Setting::Absent, |pointer| Setting::Value(pointer.to_owned())),
    };
    config.finish();
}

fn read_batcher(fields: Fields<'_>) -> ItemBatcher {
    let batcher = ItemBatcher {
        items_max: fields.setting(["MaxItemsPerBatch", "MaxItemsPerBatchPath"], false, |fields, name| {
            fields.integer(name, 1, ITEMS_MAX)
        }),
        input_bytes_max: fields.setting(
            ["MaxInputBytesPerBatch", "MaxInputBytesPerBatchPath"],
            false,
            |fields, name| fields.integer(name, 1, INPUT_BYTES_MAX),
        ),
        input: fields.template("BatchInput"),
    };
    let limits = ["MaxItemsPerBatch", "MaxItemsPerBatchPath", "MaxInputBytesPerBatch", "MaxInputBytesPerBatchPath"];
    if limits.iter().all(|name| fields.get(name).is_none()) {
        let names = match fields.language {
            QueryLanguage::JsonPath => {
                "MaxItemsPerBatch, MaxItemsPerBatchPath, MaxInputBytesPerBatch, MaxInputBytesPerBatchPath"
            }
            QueryLanguage::Jsonata => "MaxItemsPerBatch, MaxInputBytesPerBatch",
        };
        let message = format!("One of these fields is required: [{names}]");
        fields.findings.schema(fields.pointer.clone(), message);
    }
    fields.finish();
    batcher
}

fn read_writer(fields: Fields<'_>) -> Option<ResultWriter> {
    let resource = choice(&fields, "Resource", &[("arn:aws:states:::s3:putObject", ())]);
    let has_resource = fields.get("Resource").is_some();
    let arguments = arguments(&fields);
    let config = fields.object("WriterConfig");
    let name = match fields.language {
        QueryLanguage::JsonPath => "Parameters",
        QueryLanguage::Jsonata => "Arguments",
    };
    match (has_resource, arguments.is_some(), config.is_some()) {
        (true, false, _) => fields.require(&[name]),
        (false, true, _) => fields.require(&["Resource"]),
        (false, false, false) => {
            let message = "One of these fields is required: [Resource, WriterConfig]";
            fields.findings.schema(fields.pointer.clone(), message);
        }
        _ => {}
    }
    let mut writer = ResultWriter {
        // AWS's defaults: all that is known of a child where it is exported, its output where it is passed on.
        transformation: if has_resource { WriterTransformation::None } else { WriterTransformation::Compact },
        output_type: OutputType::Json,
        arguments,
    };
    if let Some(config) = config {
        let transformations = [
            ("NONE", WriterTransformation::None),
            ("COMPACT", WriterTransformation::Compact),
            ("FLATTEN", WriterTransformation::Flatten),
        ];
        writer.transformation = choice(&config, "Transformation", &transformations).unwrap_or(writer.transformation);
        let output_types = [("JSON", OutputType::Json), ("JSONL", OutputType::JsonLines)];
        writer.output_type = choice(&config, "OutputType", &output_types).unwrap_or(writer.output_type);
        config.finish();
    }
    fields.finish();
    if has_resource {
        resource?;
    }
    Some(writer)
}

fn label_problem(label: &str) -> Option<String> {
    const FORBIDDEN: &str = "?*<>{}[]:;,\\|^~$#%&`\"/";
    if label.is_empty() {
        return Some("Label cannot be empty".to_owned());
    }
    if label.chars().count() > LABEL_LENGTH_MAX {
        return Some(format!("Label cannot exceed {LABEL_LENGTH_MAX} characters"));
    }
    let invalid = label.chars().find(|c| c.is_whitespace() || c.is_control() || FORBIDDEN.contains(*c))?;
    Some(format!("Label contains invalid character: '{invalid}'"))
}
