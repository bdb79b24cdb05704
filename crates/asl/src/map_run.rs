//! What a Distributed Map asks of the engine: where its items come from, what becomes of them, and how far it may fail.
//!
//! Everything is evaluated but what differs from item to item: that is [`Selection::select`], which an engine calls for
//! one item when its child execution is about to start. A million items are never in memory twice.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::command::ProcessorPath;
use crate::context::Context;
use crate::definition::{ExecutionType, Kind, StateMachine};
use crate::error::RUNTIME;
use crate::execution::{Branch, ExecutionContext, Item};
use crate::expression::{Environment, States};
use crate::random::Random;
use crate::time::Timestamp;

/// Everything the engine needs to run a Distributed Map.
#[derive(Clone, Debug, PartialEq)]
pub struct MapRunSpec {
    /// The Map state's name.
    pub state: String,
    /// Where the items come from.
    pub items: ItemSource,
    /// What a child execution gets of an item.
    pub selection: Selection,
    /// How many items a child execution gets.
    pub batching: Option<Batching>,
    /// What becomes of the children's results.
    pub writer: Writer,
    /// Which part of the definition the children run: see [`StateMachine::processor`](crate::StateMachine::processor).
    pub processor: ProcessorPath,
    /// Standard or Express children.
    pub child_type: ExecutionType,
    /// At most so many children at once; `None` is no limit of the definition's.
    pub max_concurrency: Option<u32>,
    /// The run fails when more items than this failed. 0 is AWS's default when no percentage is given either.
    pub tolerated_failure_count: Option<u64>,
    /// The run fails when more than this share of the items failed, in percent.
    pub tolerated_failure_percentage: Option<f64>,
    /// The `Label` field: part of the map run's ARN.
    pub label: Option<String>,
}

impl MapRunSpec {
    /// The items, if the state had them.
    pub fn given_items(&self) -> &[Arc<Value>] {
        match &self.items {
            ItemSource::Given(items) => items,
            ItemSource::Reader(_) => &[],
        }
    }
}

/// Where the items of a map run come from.
#[derive(Clone, Debug, PartialEq)]
pub enum ItemSource {
    /// The state had them.
    Given(Vec<Arc<Value>>),
    /// They are in object storage.
    Reader(Arc<ReaderRequest>),
}

/// An `ItemReader`, evaluated.
#[derive(Clone, Debug, PartialEq)]
pub struct ReaderRequest {
    /// What is asked of S3.
    pub action: ReaderAction,
    /// With what: `Parameters` or `Arguments`, for example `Bucket` and `Key`.
    pub arguments: Value,
    /// How an object is read.
    pub input_type: Option<InputType>,
    /// How CSV is read.
    pub csv: CsvConfig,
    /// At most so many items; 0 and `None` are no limit. Negative if the definition's path led to that.
    pub items_max: Option<i64>,
    /// Where in a JSON document the items are, a JSON pointer.
    pub items_pointer: Option<String>,
    /// What kind of manifest, if the input type is one.
    pub manifest_type: ManifestType,
    /// How the files of an Athena manifest are read.
    pub manifest_input_type: Option<InputType>,
    /// Whether listed objects are items, or hold them.
    pub transformation: ReaderTransformation,
}

/// What an `ItemReader` asks of S3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // S3's own names.
pub enum ReaderAction {
    GetObject,
    ListObjects,
}

/// `InputType` of a `ReaderConfig`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The definition's own names.
pub enum InputType {
    Csv,
    Json,
    JsonLines,
    Manifest,
    Parquet,
}

/// `ManifestType` of a `ReaderConfig`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The definition's own names.
pub enum ManifestType {
    AthenaData,
    S3Inventory,
}

/// `Transformation` of a `ReaderConfig`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReaderTransformation {
    /// A listed object is an item.
    None,
    /// A listed object holds items.
    LoadAndFlatten,
}

/// How CSV is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CsvConfig {
    /// What the fields of a row are called.
    pub headers: CsvHeaders,
    /// What stands between them, one byte.
    pub delimiter: u8,
}

/// Where the names of a CSV file's columns are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CsvHeaders {
    /// In its first row.
    FirstRow,
    /// In the definition.
    Given(Vec<String>),
}

/// An `ItemBatcher`, evaluated. At least one of the limits is there.
#[derive(Clone, Debug, PartialEq)]
pub struct Batching {
    /// At most so many items in a batch.
    pub items_max: Option<u64>,
    /// At most so many bytes in a child's input.
    pub input_bytes_max: Option<u64>,
    /// `BatchInput`: the same for every batch.
    pub input: Option<Arc<Value>>,
}

impl Batching {
    /// The input of a child that gets these items.
    pub fn input_of(&self, items: Vec<Value>) -> Value {
        match &self.input {
            Some(input) => json!({ "BatchInput": **input, "Items": items }),
            None => json!({ "Items": items }),
        }
    }
}

/// A `ResultWriter`, evaluated; the default if there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Writer {
    /// Where results are written; `None`: they are the state's output.
    pub destination: Option<Destination>,
    /// What a result looks like.
    pub transformation: WriterTransformation,
    /// How results follow one another.
    pub output_type: OutputType,
}

impl Default for Writer {
    fn default() -> Writer {
        Writer { destination: None, transformation: WriterTransformation::Compact, output_type: OutputType::Json }
    }
}

/// Where results are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The bucket.
    pub bucket: String,
    /// What keys begin with; may be empty.
    pub prefix: String,
}

/// `Transformation` of a `WriterConfig`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriterTransformation {
    /// Everything that is known of a child execution.
    None,
    /// A child's output.
    Compact,
    /// A child's output; if that is an array, its elements.
    Flatten,
}

/// `OutputType` of a `WriterConfig`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputType {
    /// One array.
    Json,
    /// One result per line.
    JsonLines,
}

/// What a child execution gets of an item: the item as it is, or what `ItemSelector` makes of it.
///
/// Holds all that the expression may look at, so that it can be asked at any time later.
#[derive(Clone, Debug)]
pub struct Selection(Option<Arc<Selector>>);

#[derive(Debug)]
pub(crate) struct Selector {
    pub(crate) machine: StateMachine,
    pub(crate) who: ExecutionContext,
    /// The execution's input.
    pub(crate) execution_input: Arc<Value>,
    /// In the Map state.
    pub(crate) branch: Branch,
    /// After `InputPath`.
    pub(crate) input: Arc<Value>,
    /// The items are the fields of an object, each with its key.
    pub(crate) are_pairs: bool,
    pub(crate) seed: u64,
    pub(crate) at: Timestamp,
}

/// Why `ItemSelector` could not be evaluated for an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotSelected {
    /// The name that `Retry` and `Catch` match on.
    pub error: String,
    /// For people.
    pub cause: String,
}

impl Selection {
    /// Items as they are.
    pub fn whole() -> Selection {
        Selection(None)
    }

    pub(crate) fn of(selector: Selector) -> Selection {
        Selection(Some(Arc::new(selector)))
    }

    /// What the child execution of an item gets. `source` is where the item came from, for `$$.Map.Item.Source`.
    ///
    /// The same item gives the same again.
    pub fn select(&self, index: u64, value: Arc<Value>, source: &str) -> Result<Arc<Value>, NotSelected> {
        let Some(selector) = &self.0 else { return Ok(value) };
        let Selector { machine, who, execution_input, branch, input, are_pairs, seed, at } = &**selector;
        let state = &machine.scope(branch.scope).states[branch.state];
        let Kind::Map(map) = &state.kind else { return Ok(value) };
        let Some(template) = &map.item_selector else { return Ok(value) };
        let mut context = Context::new(who, execution_input, state, branch, None);
        let index_of_item = usize::try_from(index).unwrap_or(usize::MAX);
        let field = |name: &str| value.get(name).filter(|_| *are_pairs).cloned();
        let key = field("Key").and_then(|key| key.as_str().map(str::to_owned));
        let value = field("Value").map_or(Arc::clone(&value), Arc::new);
        context.set_item(Item { index: index_of_item, key, source: Some(source.into()), value });
        // Random, and yet the same for the same item, whenever it is asked.
        let mut random = Random::new(seed ^ index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut environment = Environment {
            input,
            states: States { input: &branch.input, result: None, error_output: None },
            context: &context,
            variables: &branch.variables,
            random: &mut random,
            at: *at,
        };
        template.evaluate(&mut environment).map_err(|failure| {
            let failure = failure.in_state(&state.name, branch.entered_id);
            NotSelected {
                error: failure.error.unwrap_or_else(|| RUNTIME.to_owned()),
                cause: failure.cause.unwrap_or_default(),
            }
        })
    }
}

impl PartialEq for Selection {
    fn eq(&self, other: &Selection) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(one), Some(other)) => {
                Arc::ptr_eq(one, other)
                    || (one.branch == other.branch && one.input == other.input && one.seed == other.seed)
            }
            _ => false,
        }
    }
}
