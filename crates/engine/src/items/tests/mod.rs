//! Every format on small objects; blocks of any size; what AWS recorded.

use std::collections::BTreeMap;
use std::io::Write;

use serde_json::json;
use starmap_asl::{CsvConfig, CsvHeaders, ManifestType, Timestamp};

use super::*;

mod parquet;

#[derive(Clone, Default)]
struct Memory {
    objects: BTreeMap<(String, String), Vec<u8>>,
}

impl Memory {
    fn with(content: impl Into<Vec<u8>>) -> Self {
        let mut memory = Self::default();
        memory.put("k", content);
        memory
    }

    fn put(&mut self, key: &str, content: impl Into<Vec<u8>>) {
        self.objects.insert(("b".to_owned(), key.to_owned()), content.into());
    }

    fn find(&self, bucket: &str, key: &str) -> Result<&Vec<u8>, ObjectError> {
        let (bucket, key) = (bucket.to_owned(), key.to_owned());
        self.objects.get(&(bucket.clone(), key.clone())).ok_or(ObjectError::NoSuchKey { bucket, key })
    }

    fn info(key: &str, content: &[u8]) -> ObjectInfo {
        ObjectInfo {
            key: key.to_owned(),
            bytes: content.len() as u64,
            etag: format!("e{}", content.len()),
            modified_at: Timestamp(1_700_000_000_999),
        }
    }
}

impl Fetch for Memory {
    fn head(&self, bucket: &str, key: &str) -> Result<ObjectInfo, ObjectError> {
        Ok(Self::info(key, self.find(bucket, key)?))
    }

    fn range(&self, bucket: &str, object: &ObjectInfo, range: Range<u64>) -> Result<Bytes, ObjectError> {
        let content = self.find(bucket, &object.key)?;
        Ok(Bytes::copy_from_slice(&content[range.start as usize..range.end as usize]))
    }

    fn list(&self, bucket: &str, request: ListRequest) -> Result<ListPage, ObjectError> {
        let after = request.start_after.unwrap_or_default();
        let keys = self
            .objects
            .iter()
            .filter(|((in_bucket, key), _)| in_bucket == bucket && key.starts_with(&request.prefix) && *key > after);
        let mut objects: Vec<ObjectInfo> = keys.map(|((_, key), content)| Self::info(key, content)).collect();
        let has_more = objects.len() > request.keys_max;
        objects.truncate(request.keys_max);
        Ok(ListPage { objects, has_more })
    }

    fn shared(&self) -> Option<SharedFetch> {
        Some(Arc::new(self.clone()))
    }
}

fn request(input_type: InputType) -> ReaderRequest {
    ReaderRequest {
        action: ReaderAction::GetObject,
        arguments: json!({ "Bucket": "b", "Key": "k" }),
        input_type: Some(input_type),
        csv: CsvConfig { headers: CsvHeaders::FirstRow, delimiter: b',' },
        items_max: None,
        items_pointer: None,
        manifest_type: ManifestType::S3Inventory,
        manifest_input_type: None,
        transformation: ReaderTransformation::None,
    }
}

fn all(fetch: &dyn Fetch, request: &ReaderRequest) -> Result<Value, String> {
    let mut items = Vec::new();
    let read = read(fetch, request, &mut |item| {
        items.push(item);
        true
    });
    read.map(|()| Value::Array(items)).map_err(|failed| {
        assert_eq!(failed.error, "States.ItemReaderFailed");
        failed.cause
    })
}

#[test]
fn csv_rows_are_as_aws_recorded_them() {
    let content =
        "Col1,Col2,Col3\nValue1,Value2,Value3\n,,,\n\ntrue,1,'HelloWorld'\nNull,None,\n   \n\"a\nb\",\"c\"\"d\"\n";
    let expected = json!([
        { "Col1": "Value1", "Col2": "Value2", "Col3": "Value3" },
        { "Col1": "", "Col2": "", "Col3": "" },
        { "Col1": "true", "Col2": "1", "Col3": "'HelloWorld'" },
        { "Col1": "Null", "Col2": "None", "Col3": "" },
        { "Col1": "   ", "Col2": "", "Col3": "" },
        { "Col1": "a\nb", "Col2": "c\"d", "Col3": "" },
    ]);
    assert_eq!(all(&Memory::with(content), &request(InputType::Csv)), Ok(expected));
    let mut given = request(InputType::Csv);
    given.csv.headers = CsvHeaders::Given(vec!["H1".to_owned(), "H1".to_owned()]);
    let duplicates = Err("CSV headers cannot contain duplicates.".to_owned());
    assert_eq!(all(&Memory::with("1,2"), &given), duplicates);
    assert_eq!(all(&Memory::with("a,a\n1,2"), &request(InputType::Csv)), duplicates);
    given.csv = CsvConfig { headers: CsvHeaders::Given(vec!["x".to_owned()]), delimiter: b'|' };
    assert_eq!(all(&Memory::with("1|2"), &given), Ok(json!([{ "x": "1" }])));
    assert_eq!(all(&Memory::with(""), &request(InputType::Csv)), Ok(json!([])));
}

#[test]
fn items_max_limits_none_is_zero_and_negative_is_refused() {
    let memory = Memory::with("[1,2,3]");
    let mut request = request(InputType::Json);
    for (max, expected) in [(2, json!([1, 2])), (0, json!([1, 2, 3])), (100_000_001, json!([1, 2, 3]))] {
        request.items_max = Some(max);
        assert_eq!(all(&memory, &request), Ok(expected));
    }
    request.items_max = Some(-1);
    assert_eq!(all(&memory, &request), Err("field MaxItems must be positive".to_owned()));
}

#[test]
fn json_is_an_array_or_has_one_where_the_pointer_leads() {
    let mut request = request(InputType::Json);
    for other in [r#"{"Hello":"world"}"#, "1", "\"x\"", "null"] {
        assert_eq!(
            all(&Memory::with(other), &request),
            Err("Attempting to map over non-iterable node.".to_owned()),
            "{other}"
        );
    }
    assert!(all(&Memory::with("[1,2"), &request).unwrap_err().starts_with("Unable to parse the JSON file: EOF"));
    assert!(all(&Memory::with("[1] 2"), &request).unwrap_err().contains("trailing characters"));
    let nested = r#"{"a":[{"x":[9]},{"b/c":[1,{"d":2}],"z":0}],"a2":3}"#;
    request.items_pointer = Some("/a/1/b~1c".to_owned());
    assert_eq!(all(&Memory::with(nested), &request), Ok(json!([1, { "d": 2 }])));
    request.items_pointer = Some("/a/7".to_owned());
    assert!(all(&Memory::with(nested), &request).unwrap_err().contains("does not lead to anything"));
    request.items_pointer = Some("/a2".to_owned());
    assert_eq!(all(&Memory::with(nested), &request), Err("Attempting to map over non-iterable node.".to_owned()));
}

#[test]
fn lines_are_values_and_say_which_is_not() {
    let request = request(InputType::JsonLines);
    assert_eq!(all(&Memory::with("{\"a\":1}\n\r\n[2]\r\n3"), &request), Ok(json!([{ "a": 1 }, [2], 3])));
    let bad = all(&Memory::with("1\n{\n"), &request).unwrap_err();
    assert!(bad.starts_with("Unable to parse line 2 of the JSON Lines file"), "{bad}");
}

#[test]
fn a_listing_has_all_pages_and_may_be_opened() {
    let mut memory = Memory::default();
    for index in 0..2_500 {
        memory.put(&format!("p/{index:05}"), format!("[{index}]"));
    }
    memory.put("q", "x");
    let mut request = request(InputType::Json);
    request.action = ReaderAction::ListObjects;
    request.arguments = json!({ "Bucket": "b", "Prefix": "p/" });
    let listed = all(&memory, &request).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 2_500);
    let first = json!({
        "Etag": "\"e3\"", "Key": "p/00000", "LastModified": 1_700_000_000, "Size": 3, "StorageClass": "STANDARD",
    });
    assert_eq!(listed[0], first);
    request.transformation = ReaderTransformation::LoadAndFlatten;
    let loaded = all(&memory, &request).unwrap();
    assert_eq!((loaded.as_array().unwrap().len(), &loaded[2_499]), (2_500, &json!(2_499)));
}

#[test]
fn an_inventory_names_packed_files() {
    let mut memory = Memory::default();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(b"\"sky\",\"a%20b\",\"12\"\n\"sky\",\"c\",\"1\"\n").unwrap();
    memory.put("data/1.csv.gz", packed.finish().unwrap());
    memory.put("data/2.csv", "sky,d,2\n");
    memory.put(
        "k",
        json!({
            "destinationBucket": "arn:aws:s3:::b", "fileFormat": "CSV", "fileSchema": "Bucket, Key, Size",
            "files": [{ "key": "data/1.csv.gz", "size": 1 }, { "key": "data/2.csv", "size": 2 }],
        })
        .to_string(),
    );
    let expected = json!([
        { "Bucket": "sky", "Key": "a%20b", "Size": "12" },
        { "Bucket": "sky", "Key": "c", "Size": "1" },
        { "Bucket": "sky", "Key": "d", "Size": "2" },
    ]);
    assert_eq!(all(&memory, &request(InputType::Manifest)), Ok(expected));
    let mut athena = request(InputType::Manifest);
    athena.manifest_type = ManifestType::AthenaData;
    athena.manifest_input_type = Some(InputType::JsonLines);
    memory.put("k", "\"s3://b/1.jsonl\"\n\ns3://b/2.jsonl\n");
    memory.put("1.jsonl", "1\n2\n");
    memory.put("2.jsonl", "3");
    assert_eq!(all(&memory, &athena), Ok(json!([1, 2, 3])));
}

#[test]
fn what_is_not_there_is_told_in_s3s_words() {
    let gone = all(&Memory::default(), &request(InputType::Json));
    assert_eq!(gone, Err("The specified key does not exist.".to_owned()));
    let mut no_key = request(InputType::Json);
    no_key.arguments = json!({ "Bucket": "b" });
    assert_eq!(all(&Memory::default(), &no_key), Err("The field 'Key' is required but was missing".to_owned()));
}

#[test]
fn a_text_stands_for_whatever_object_the_reader_names() {
    let request = |input_type, pointer: Option<&str>| ReaderRequest {
        action: ReaderAction::GetObject,
        arguments: json!({ "Bucket": "b", "Key": "k" }),
        input_type: Some(input_type),
        csv: CsvConfig { headers: CsvHeaders::FirstRow, delimiter: b',' },
        items_max: None,
        items_pointer: pointer.map(str::to_owned),
        manifest_type: ManifestType::S3Inventory,
        manifest_input_type: None,
        transformation: ReaderTransformation::None,
    };
    let read = |request: ReaderRequest, text: &str| super::read_text(&request, text);
    assert_eq!(read(request(InputType::Csv, None), "a,b\n1,2\n"), Ok(vec![json!({ "a": "1", "b": "2" })]));
    assert_eq!(read(request(InputType::Json, None), "[1, {}]"), Ok(vec![json!(1), json!({})]));
    assert_eq!(read(request(InputType::Json, Some("/x")), r#"{"x": [3]}"#), Ok(vec![json!(3)]));
    assert_eq!(read(request(InputType::JsonLines, None), "1\n2\n"), Ok(vec![json!(1), json!(2)]));
    let listing = ReaderRequest { action: ReaderAction::ListObjects, ..request(InputType::Json, None) };
    assert_eq!(read(listing.clone(), r#"{"Contents": [{"Key": "k"}]}"#), Ok(vec![json!({ "Key": "k" })]));
    assert!(read(listing, "7").is_err());
}
