//! Checkpoints: modules, state dicts and safetensors give named tensors.

use std::collections::BTreeMap;

use starmap_partitions::tensors::{SafetensorsWriter, TensorEntry, TensorFile};
use starmap_partitions::{Dtype, Error};

use crate::support::{Tensor, dictionary, pt, zip};

const WEIGHT: Tensor = Tensor::new("FloatStorage", &[2, 3]);
const BIAS: Tensor = Tensor::new("FloatStorage", &[2]);
const COUNT: Tensor = Tensor::new("LongStorage", &[]);

fn names<S: starmap_partitions::ByteSource>(file: &TensorFile<S>) -> Vec<&str> {
    file.entries().iter().map(|entry| entry.name.as_str()).collect()
}

/// A dictionary as text between `}` and `u`, from keys and the pickles of values.
fn dict(items: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut out = b"}(".to_vec();
    for (key, value) in items {
        out.extend(format!("S'{key}'\n").bytes());
        out.extend(value);
    }
    out.extend(b"u");
    out
}

fn module(class: &str, items: &[(&str, Vec<u8>)]) -> Vec<u8> {
    [format!("c{class}\n)").into_bytes(), vec![0x81], dict(items), b"b".to_vec()].concat()
}

fn parameter(tensor: Tensor, key: usize) -> Vec<u8> {
    let head = b"ctorch._utils\n_rebuild_parameter\n(".to_vec();
    [head, tensor.pickle(key), b"I01\nccollections\nOrderedDict\n)RtR".to_vec()].concat()
}

#[test]
fn a_whole_module_gives_the_names_of_its_state_dict() {
    let norm = module(
        "torch.nn.modules.batchnorm\nBatchNorm2d",
        &[
            ("_parameters", dict(&[("bias", b"N".to_vec()), ("weight", parameter(BIAS, 0))])),
            ("_buffers", dict(&[("count", COUNT.pickle(1)), ("scratch", BIAS.pickle(0))])),
            ("_non_persistent_buffers_set", b"c__builtin__\nset\n((lS'scratch'\natR".to_vec()),
            ("_modules", dict(&[])),
        ],
    );
    let model = module(
        "blocks.model\nViT",
        &[
            ("_modules", dict(&[("norm", norm)])),
            ("_buffers", dict(&[])),
            ("_parameters", dict(&[("weight", parameter(WEIGHT, 2))])),
        ],
    );
    let parallel = module("torch.nn.parallel.data_parallel\nDataParallel", &[("_modules", dict(&[("module", model)]))]);
    let pickle = [b"\x80\x02".to_vec(), parallel, b".".to_vec()].concat();
    let file = TensorFile::open(pt(&pickle, &[8, 8, 24]), "m.pt").unwrap();
    assert_eq!(names(&file), ["weight", "norm.weight", "norm.count"]);
    assert_eq!(file.entries()[2], TensorEntry { name: "norm.count".into(), shape: vec![], dtype: Dtype::I64 });
    file.verify().unwrap();
}

#[test]
fn a_state_dict_is_found_where_training_scripts_keep_it() {
    let state = [("module.a", WEIGHT), ("module.b", BIAS)];
    let plain = dictionary(&state);
    let inner = &plain[2..plain.len() - 1];
    let nested =
        [b"\x80\x02".to_vec(), dict(&[("epoch", b"K\x03".to_vec()), ("state_dict", inner.to_vec())]), b".".to_vec()]
            .concat();
    for pickle in [plain, nested] {
        let file = TensorFile::open(pt(&pickle, &[24, 8]), "m.pt").unwrap();
        assert_eq!(names(&file), ["a", "b"]);
    }
    let mixed = TensorFile::open(pt(&dictionary(&[("module.a", WEIGHT), ("b", BIAS)]), &[24, 8]), "m.pt").unwrap();
    assert_eq!(names(&mixed), ["module.a", "b"]);
    let nothing = TensorFile::open(pt(b"\x80\x02K\x01.", &[]), "m.pt").map(drop).unwrap_err().to_string();
    assert!(
        nothing.starts_with("m.pt: its pickle holds neither a module nor a dictionary of tensors\nhint: "),
        "{nothing}"
    );
}

/// Bytes 0, 1, 2, … as float32 values 0, 1, 2, …
fn counting(count: u8) -> Vec<u8> {
    (0..count).flat_map(|value| f32::from(value).to_le_bytes()).collect()
}

#[test]
fn transposed_tensors_are_read_in_order() {
    let transposed = Tensor { strides: Some(&[1, 2]), ..WEIGHT };
    let entries = [("a/data.pkl".to_owned(), dictionary(&[("w", transposed)])), ("a/data/0".to_owned(), counting(6))];
    let file = TensorFile::open(zip(&entries, 0), "m.pt").unwrap();
    let mut values = vec![9.0; 100];
    file.read_f32("w", &mut values).unwrap();
    assert_eq!(values, [0.0, 2.0, 4.0, 1.0, 3.0, 5.0]);
    let missing = file.read_f32("x", &mut values).unwrap_err().to_string();
    assert_eq!(missing, "m.pt: it has no tensor called x; it has 1");
}

#[test]
fn a_damaged_tensor_is_named() {
    let entries = [("a/data.pkl".to_owned(), dictionary(&[("w", WEIGHT)])), ("a/data/0".to_owned(), counting(6))];
    let mut bytes = zip(&entries, 0);
    let at = bytes.windows(4).position(|window| window == 5f32.to_le_bytes()).unwrap();
    bytes[at] ^= 1;
    let file = TensorFile::open(bytes, "m.pt").unwrap();
    for result in [file.read_f32("w", &mut Vec::new()), file.verify()] {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::Checksum { .. }), "{error}");
        assert!(error.to_string().starts_with("m.pt: a/data/0 has CRC-32 "), "{error}");
    }
}

#[test]
fn safetensors_are_written_as_the_reference_implementation_writes_them() {
    let entry = |name: &str, shape: &[u64], dtype| TensorEntry { name: name.into(), shape: shape.to_vec(), dtype };
    let entries = vec![entry("b", &[2], Dtype::F32), entry("n", &[], Dtype::I64), entry("a", &[1, 1], Dtype::F32)];
    let metadata = BTreeMap::from([("heads".to_owned(), "3".to_owned())]);
    let mut writer = SafetensorsWriter::new(Vec::new(), "m", entries, &metadata).unwrap();
    writer.push_bytes(&7i64.to_le_bytes()).unwrap();
    assert_eq!(writer.push_f32(&[1.0, 2.0]).unwrap_err().to_string(), "m: a takes 4 bytes, 8 were given");
    writer.push_f32(&[1.5]).unwrap();
    writer.push_f32(&[-2.0, 3.0]).unwrap();
    assert!(writer.push_f32(&[0.0]).is_err());
    let bytes = writer.finish().unwrap();
    let header = r#"{"__metadata__":{"heads":"3"},"n":{"dtype":"I64","shape":[],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[1,1],"data_offsets":[8,12]},"b":{"dtype":"F32","shape":[2],"data_offsets":[12,20]}}"#;
    assert_eq!(std::str::from_utf8(&bytes[8..8 + header.len()]).unwrap(), header);
    assert_eq!(u64::from_le_bytes(*bytes.first_chunk().unwrap()) % 8, 0);

    let file = TensorFile::open(bytes.as_slice(), "m").unwrap();
    assert_eq!(file.metadata(), &metadata);
    assert_eq!(names(&file), ["n", "a", "b"]);
    let mut values = Vec::new();
    file.read_f32("n", &mut values).unwrap();
    assert_eq!(values, [7.0]);
    file.read_f32("b", &mut values).unwrap();
    assert_eq!(values, [-2.0, 3.0]);
    for keep in 0..bytes.len() {
        assert!(TensorFile::open(&bytes[..keep], "m").is_err(), "{keep} bytes");
    }
    let cut = TensorFile::open(&bytes[..bytes.len() - 1], "m").map(drop).unwrap_err().to_string();
    assert!(cut.starts_with("m: truncated: b has 8 bytes from "), "{cut}");

    let twice = vec![entry("b", &[2], Dtype::F32), entry("b", &[2], Dtype::F32)];
    assert!(SafetensorsWriter::new(Vec::new(), "m", twice, &metadata).is_err());
    let unfinished = SafetensorsWriter::new(Vec::new(), "m", vec![entry("b", &[2], Dtype::F32)], &metadata).unwrap();
    assert_eq!(unfinished.finish().unwrap_err().to_string(), "m: b has not been written");
}

#[test]
fn a_safetensors_header_that_lies_is_refused() {
    let lie = |header: &str| {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.bytes());
        bytes.extend([0; 16]);
        TensorFile::open(bytes, "m").map(drop).unwrap_err().to_string()
    };
    let cases = [
        (r#"{"a":{"dtype":"F32","shape":[100],"data_offsets":[0,400]}}"#, "m: truncated: a has 400 bytes from "),
        (
            r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,16]}}"#,
            "m: a: float32 [3] takes 12 bytes, its data_offsets have 16",
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[4294967295,4294967295,4294967295],"data_offsets":[0,16]}}"#,
            "m: a (float32 [4294967295, ",
        ),
        (
            r#"{"a":{"dtype":"F4","shape":[4],"data_offsets":[0,16]}}"#,
            "m: a: its element type is \"F4\", expected one of F64, F32,",
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,16]}}"#,
            "m: a: its shape is [-1], expected a list of integers",
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[16,8]}}"#,
            "m: a: its data_offsets are [16,8], expected [begin, end]",
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#,
            "m: 8 bytes follow its last tensor, expected none",
        ),
        (r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}"#, "m: a begins at "),
        (r#"{"a":"#, "m: its header is not a JSON object: "),
    ];
    for (header, expected) in cases {
        let error = lie(header);
        assert!(error.starts_with(expected), "{error}");
    }
    let huge = [&u64::MAX.to_le_bytes()[..], b"{}"].concat();
    let error = TensorFile::open(huge, "m").map(drop).unwrap_err().to_string();
    assert!(error.starts_with("m: its header is said to have 18446744073709551615 bytes"), "{error}");
}
