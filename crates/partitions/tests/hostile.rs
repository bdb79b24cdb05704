//! Files that mean harm: nothing is executed, nothing panics, and memory stays within reason.

use proptest::prelude::*;
use starmap_partitions::pickle::{BYTES_MAX, Kind, Node, Pickle};
use starmap_partitions::tensors::TensorFile;
use starmap_partitions::{Batch, Dtype, Error, Partition, PtWriter};

use crate::support::{Tensor, dictionary, pt, torch_file};

#[test]
fn a_pickle_that_would_run_a_program_is_refused_by_name() {
    let cases: [(&[u8], &str, usize); 8] = [
        (b"\x80\x02cos\nsystem\n(S'echo harm'\ntR.", "os.system", 2),
        (b"cposix\nsystem\n(S'id'\ntR.", "posix.system", 0),
        (b"\x80\x02cbuiltins\neval\n(S'1'\ntR.", "builtins.eval", 2),
        (b"\x80\x04\x8c\x08builtins\x8c\x07getattr\x93.", "builtins.getattr", 21),
        (b"(S'id'\nios\nsystem\n.", "os.system", 7),
        (b"\x80\x02ctorch\nload\n(S'x'\ntR.", "torch.load", 2),
        // Inside of what is allowed.
        (b"\x80\x02ccollections\nOrderedDict\n(csubprocess\nPopen\n)RtR.", "subprocess.Popen", 28),
        (b"\x80\x02ctorch.nn.modules.linear\nLinear\n)\x81.", "torch.nn.modules.linear.Linear", 2),
    ];
    for (pickle, global, offset) in cases {
        let error = Partition::open(pt(pickle, &[]), "1.pt").map(drop).unwrap_err();
        assert!(matches!(error, Error::Refused { .. }));
        assert_eq!(
            error.to_string(),
            format!(
                "1.pt: the pickle refers to {global} at byte {offset}, which is not on the list of what tensors need; \
                 refused, nothing was executed\n\
                 hint: a file that does so can run programs when other tools load it; save plain tensors instead"
            )
        );
    }
}

#[test]
fn a_checkpoint_may_name_the_classes_of_modules_and_nothing_else() {
    let read = |global: &str| Pickle::read(format!("c{global}\n.").as_bytes(), Kind::Checkpoint, "m.pt");
    for global in [
        "torch.nn.modules.linear\nLinear",
        "torch.nn.parallel.data_parallel\nDataParallel",
        "timm.models.layers.patch_embed\nPatchEmbed",
        "blocks.model_vit_inception\nViT_Astro",
        "__builtin__\nset",
    ] {
        assert!(read(global).is_ok(), "{global}");
    }
    for global in [
        "os\nsystem",
        "builtins\nexec",
        "blocks.x\nrun",
        "blocks.x\nA.b",
        "timm.utils\nModel",
        "torch.hub\nload",
        "torch.nn.modules.module\n_global_forward_hooks",
        "functools\npartial",
        "torch.storage\n_load_from_bytes",
    ] {
        assert!(matches!(read(global), Err(Error::Refused { .. })), "{global}");
    }
}

#[test]
fn names_in_messages_are_short_and_without_control_characters() {
    let pickle = format!("c{}\x1b[2J\nx\n.", "a".repeat(1_000));
    let error = Pickle::read(pickle.as_bytes(), Kind::Partition, "1.pt").unwrap_err().to_string();
    assert!(!error.contains('\x1b') && error.len() < 500, "{error}");
}

#[test]
fn a_pickle_that_nests_deep_or_holds_itself_ends() {
    let mut deep = vec![b']'; 200_000];
    deep.extend(std::iter::repeat_n(b'a', 199_999));
    deep.push(b'.');
    for pickle in [deep.as_slice(), b"\x80\x02]q\x00h\x00a.", b"\x80\x02}q\x00S'images'\nh\x00s."] {
        assert!(Pickle::read(pickle, Kind::Checkpoint, "1.pt").is_ok());
        assert!(Partition::open(pt(pickle, &[]), "1.pt").is_err());
        assert!(TensorFile::open(pt(pickle, &[]), "1.pt").is_err());
    }
    let large = vec![b'N'; BYTES_MAX + 1];
    let error = Pickle::read(&large, Kind::Partition, "1.pt").unwrap_err().to_string();
    assert_eq!(error, format!("1.pt: its pickle has {} bytes, expected at most {BYTES_MAX}", BYTES_MAX + 1));
}

/// A module with its children, by their places in the memo; puts itself there.
fn module(children: &[(&str, u32)], place: u32) -> Vec<u8> {
    let mut out = b"ctorch.nn.modules.container\nSequential\n)\x81r".to_vec();
    out.extend(place.to_le_bytes());
    out.extend(b"}S'_modules'\n}(");
    for (name, place) in children {
        out.extend(format!("S'{name}'\nj").bytes());
        out.extend(place.to_le_bytes());
    }
    out.extend(b"usb");
    out
}

#[test]
fn modules_that_share_or_hold_themselves_end() {
    // 2^60 ways through 60 modules, then a module that is its own child.
    let mut shared = b"\x80\x02".to_vec();
    for place in 0..60u32 {
        let children: &[(&str, u32)] = if place == 0 { &[] } else { &[("a", place - 1), ("b", place - 1)] };
        shared.extend(module(children, place));
    }
    shared.push(b'.');
    let mut own_child = [b"\x80\x02".to_vec(), module(&[("a", 7)], 7)].concat();
    own_child.push(b'.');
    for pickle in [shared, own_child] {
        let error = TensorFile::open(pt(&pickle, &[]), "m.pt").map(drop).unwrap_err().to_string();
        assert!(error.starts_with("m.pt: its modules are nested or shared too often: "), "{error}");
    }
}

#[test]
fn numbers_of_every_opcode_are_read() {
    let read = |pickle: &[u8]| {
        let pickle = Pickle::read(pickle, Kind::Partition, "p").unwrap();
        pickle.node(pickle.root()).clone()
    };
    let ints: [(&[u8], i64); 11] = [
        (b"K\xff.", 255),
        (b"M\xff\xff.", 65_535),
        (b"J\xfe\xff\xff\xff.", -2),
        (b"I-7\n.", -7),
        (b"L12L\n.", 12),
        (b"\x8a\x00.", 0),
        (b"\x8a\x02\x00\x80.", -32_768),
        (b"\x8a\x09\xff\xff\xff\xff\xff\xff\xff\x7f\x00.", i64::MAX),
        (b"\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\xff.", i64::MIN),
        (b"\x8a\x09\x00\x00\x00\x00\x01\x00\x00\x00\x00.", 1 << 32),
        (b"\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x80\x00.", i64::MAX),
    ];
    for (pickle, expected) in ints {
        assert_eq!(read(pickle), Node::Int(expected), "{pickle:?}");
    }
    assert_eq!(read(b"G\x3f\xf8\0\0\0\0\0\0."), Node::Float(1.5));
    assert_eq!(read(b"I01\n."), Node::Bool(true));
}

fn sound() -> Vec<u8> {
    let mut writer = PtWriter::new(std::io::Cursor::new(Vec::new()), "1.pt", 1, Some(Dtype::F32)).unwrap();
    writer.push(&[0.5; 5_120], &[20.0; 5], Some(&[0.1])).unwrap();
    writer.finish().unwrap().into_inner()
}

/// Reads whatever can be read; must not panic.
fn read_all(bytes: &[u8]) {
    if let Ok(mut partition) = Partition::open(bytes, "p") {
        let _ = partition.read(0..partition.galaxies().min(3), &mut Batch::default());
        let _ = partition.finish();
    }
    if let Ok(file) = TensorFile::open(bytes, "p") {
        for entry in file.entries() {
            let _ = file.read_f32(&entry.name, &mut Vec::new());
        }
        let _ = file.verify();
    }
}

/// Values that headers are sensitive to.
fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![any::<u8>(), Just(0), Just(0xff), Just(0x7f), Just(b'('), Just(b'.'), Just(b'Q'), Just(b'R')]
}

proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(byte(), 0..300)) {
        let _ = Pickle::read(&bytes, Kind::Partition, "p");
        let _ = Pickle::read(&bytes, Kind::Checkpoint, "p");
        read_all(&bytes);
        read_all(&pt(&bytes, &[64]));
    }

    #[test]
    fn a_partition_with_changed_structure_is_read_or_refused(
        changes in prop::collection::vec((any::<prop::sample::Index>(), byte()), 1..6),
    ) {
        // Structure is at both ends, pixels between them.
        let mut bytes = sound();
        let (head, tail) = (800, 700);
        for (at, value) in changes {
            let at = at.index(head + tail);
            let at = if at < head { at } else { bytes.len() - tail + at - head };
            bytes[at] = value;
        }
        read_all(&bytes);
    }

    #[test]
    fn a_changed_pickle_is_read_or_refused(
        changes in prop::collection::vec((any::<prop::sample::Index>(), byte()), 1..6),
    ) {
        // The zip around it is sound, so that its checksum does not end the reading early.
        let tensors = [("images", Tensor::new("FloatStorage", &[1, 5, 32, 32])), ("magnitudes", Tensor::new("DoubleStorage", &[1, 5]))];
        let mut pickle = dictionary(&tensors);
        for (at, value) in changes {
            let at = at.index(pickle.len());
            pickle[at] = value;
        }
        read_all(&pt(&pickle, &[20_480, 40]));
    }

    #[test]
    fn a_truncated_partition_is_refused(keep in any::<prop::sample::Index>()) {
        let bytes = torch_file(&[Tensor::new("FloatStorage", &[1, 5, 32, 32]), Tensor::new("DoubleStorage", &[1, 5])]);
        let error = Partition::open(&bytes[..keep.index(bytes.len())], "p").map(drop);
        prop_assert!(error.is_err());
    }

    #[test]
    fn what_is_written_reads_back(values in prop::collection::vec(any::<f32>(), 5), rows in 1usize..4) {
        let images: Vec<f32> = values.iter().copied().cycle().take(rows * 5_120).collect();
        let magnitudes: Vec<f64> = values.iter().map(|value| f64::from(*value)).cycle().take(rows * 5).collect();
        let mut writer = PtWriter::new(std::io::Cursor::new(Vec::new()), "1.pt", rows as u64, None).unwrap();
        writer.push(&images, &magnitudes, None).unwrap();
        let mut partition = Partition::open(writer.finish().unwrap().into_inner(), "1.pt").unwrap();
        let mut batch = Batch::default();
        partition.read(0..rows, &mut batch).unwrap();
        prop_assert!(batch.images.iter().map(|x| x.to_bits()).eq(images.iter().map(|x| x.to_bits())));
        prop_assert!(batch.magnitudes_f64.iter().zip(&magnitudes).all(|(a, b)| a == b || a.is_nan() && b.is_nan()));
    }
}
