//! Partitions: what is written reads back, and what is not a partition is refused with what is wrong and what to do.

use std::io::Cursor;

use starmap_partitions::tensors::{SafetensorsWriter, TensorEntry};
use starmap_partitions::{BANDS, Batch, ByteSource, Dtype, Error, Format, IMAGE, Partition, PtWriter, split};

use crate::support::{self, Tensor, npy, pt, torch_file, zip};

const NAME: &str = "s3://sky/100MB/7.pt";

/// Galaxies whose every value is different.
fn galaxies(first: usize, rows: usize) -> Batch {
    let value = |i: usize| ((i as u32).wrapping_mul(2_654_435_761) >> 8) as f32 / 16_777_216.0;
    let magnitudes_f64: Vec<f64> = (first * BANDS..(first + rows) * BANDS)
        .map(|i| 22.0 - (i % BANDS) as f64 * 0.7 + f64::from(value(i)) / 3.0)
        .collect();
    Batch {
        images: (first * IMAGE..(first + rows) * IMAGE).map(value).collect(),
        magnitudes: magnitudes_f64.iter().map(|magnitude| *magnitude as f32).collect(),
        magnitudes_f64,
        redshifts: Some((first..first + rows).map(|i| f64::from(value(i))).collect()),
    }
}

fn written(count: usize) -> Vec<u8> {
    let mut writer = PtWriter::new(Cursor::new(Vec::new()), "7.pt", count as u64, Some(Dtype::F32)).unwrap();
    for first in (0..count).step_by(3) {
        let batch = galaxies(first, 3.min(count - first));
        writer.push(&batch.images, &batch.magnitudes_f64, batch.redshifts.as_deref()).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn refused(bytes: impl ByteSource) -> String {
    let error = Partition::open(bytes, NAME).map(drop).unwrap_err().to_string();
    assert!(error.starts_with("s3://sky/100MB/7.pt: "), "{error}");
    error.replacen("s3://sky/100MB/7.pt: ", "", 1)
}

#[test]
fn what_is_written_reads_back_in_any_rows() {
    let bytes = written(10);
    assert_eq!(bytes, written(10), "the same galaxies give the same bytes");
    let mut partition = Partition::open(bytes, NAME).unwrap();
    assert_eq!((partition.galaxies(), partition.has_redshifts(), partition.format()), (10, true, Format::Pt));
    assert_eq!(partition.dtypes(), (Dtype::F32, Dtype::F64, Some(Dtype::F32)));
    let mut batch = Batch::default();
    for rows in [0..10, 4..5, 9..10, 0..1, 3..3] {
        partition.read(rows.clone(), &mut batch).unwrap();
        assert_eq!(batch, galaxies(rows.start, rows.len()));
    }
    partition.finish().unwrap();
}

#[test]
fn redshifts_are_optional_and_may_be_double() {
    let expected = galaxies(0, 2);
    for redshifts in [None, Some(Dtype::F64)] {
        let mut writer = PtWriter::new(Cursor::new(Vec::new()), "1.pt", 2, redshifts).unwrap();
        let values = [0.1, 0.2];
        let values = redshifts.map(|_| values.as_slice());
        writer.push(&expected.images, &expected.magnitudes_f64, values).unwrap();
        let mut partition = Partition::open(writer.finish().unwrap().into_inner(), NAME).unwrap();
        let mut batch = galaxies(5, 5);
        partition.read(0..2, &mut batch).unwrap();
        assert_eq!(batch.redshifts.as_deref(), values);
        assert_eq!(batch.images, expected.images);
    }
}

#[test]
fn a_writer_takes_exactly_what_was_announced() {
    let three = galaxies(0, 3);
    let writer = || PtWriter::new(Cursor::new(Vec::new()), "7.pt", 4, Some(Dtype::F32)).unwrap();
    let push = |writer: &mut PtWriter<_>| writer.push(&three.images, &three.magnitudes_f64, three.redshifts.as_deref());
    let mut too_few = writer();
    push(&mut too_few).unwrap();
    assert_eq!(too_few.finish().unwrap_err().to_string(), "7.pt: 3 galaxies were given, expected 4");
    let mut too_many = writer();
    push(&mut too_many).unwrap();
    assert_eq!(push(&mut too_many).unwrap_err().to_string(), "7.pt: 6 galaxies were given, expected 4");
    let without = writer().push(&three.images, &three.magnitudes_f64, None).unwrap_err();
    assert_eq!(without.to_string(), "7.pt: redshifts given: none, expected: 3");
    let short = writer().push(&three.images, &three.magnitudes_f64[1..], three.redshifts.as_deref()).unwrap_err();
    assert_eq!(short.to_string(), "7.pt: 15360 pixels and 14 magnitudes were given, expected 5120 and 5 per galaxy");
    let none = PtWriter::new(Cursor::new(Vec::new()), "7.pt", 0, None).unwrap_err();
    assert_eq!(none.to_string(), "7.pt: it would have 0 galaxies, expected at least one");
}

#[test]
fn a_flipped_bit_is_found_whatever_is_read() {
    let sound = written(40);
    let find = |what: &[u8]| sound.windows(what.len()).position(|window| window == what).unwrap();
    let image = find(&galaxies(0, 1).images[7].to_le_bytes());
    let magnitude = find(&galaxies(0, 1).magnitudes_f64[2].to_le_bytes());
    for (at, entry) in [(image, "data/0"), (magnitude, "data/1")] {
        let mut bytes = sound.clone();
        bytes[at] ^= 4;
        let expect = |result: Result<(), Error>| {
            let error = result.unwrap_err();
            assert!(matches!(error, Error::Checksum { .. }), "{error}");
            assert!(error.to_string().starts_with(&format!("{NAME}: 7/{entry} has CRC-32 ")), "{error}");
        };
        let mut batch = Batch::default();
        let open = || Partition::open(bytes.as_slice(), NAME).unwrap();
        // All in order, all in order but for a repetition, some, none.
        let mut partition = open();
        partition.read(0..20, &mut batch).unwrap();
        expect(partition.read(20..40, &mut batch));
        let mut partition = open();
        partition.read(0..20, &mut batch).unwrap();
        partition.read(0..20, &mut batch).unwrap();
        expect(partition.read(20..40, &mut batch));
        let mut partition = open();
        partition.read(30..40, &mut batch).unwrap();
        expect(partition.finish());
        expect(open().finish());
    }
}

#[test]
fn a_checksum_of_zero_means_that_torch_computed_none() {
    let mut bytes = written(2);
    let entry = bytes.windows(8).rposition(|window| window == b"7/data/0").unwrap() - 46;
    bytes[entry + 16..entry + 20].fill(0);
    Partition::open(bytes, NAME).unwrap().finish().unwrap();
}

#[test]
fn what_is_not_a_zip_says_what_it_is() {
    let cases: [(&[u8], &str); 6] = [
        (b"", "the file is empty, expected a .pt"),
        (
            b"hello, these are bytes",
            "not a zip: it begins with \"hello, t\", expected a .pt (torch.save), .safetensors or .npz file",
        ),
        (
            b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.",
            "not a zip but a bare pickle, the format of PyTorch before 1.6\nhint: ",
        ),
        (b"\x89HDF\r\n\x1a\n........", "not a zip but an HDF5 file"),
        (b"\x93NUMPY\x01\x00v\x00........", "not a zip but a single NumPy array"),
        (b"SIMPLE  =                    T", "not a zip but a FITS file"),
    ];
    for (bytes, expected) in cases {
        let error = refused(bytes);
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn a_file_that_ends_early_is_called_truncated() {
    let whole = written(2);
    for keep in (4..whole.len()).step_by(97).chain(whole.len() - 30..whole.len()) {
        let error = refused(&whole[..keep]);
        assert!(error.starts_with("truncated: it begins as a zip, but its "), "{keep} bytes: {error}");
        assert!(error.ends_with("hint: copy or download the file again"), "{error}");
    }
    // The middle is missing: the directory points beyond the end.
    let hole = [&whole[..1_000], &whole[30_000..]].concat();
    let error = refused(hole);
    assert!(error.starts_with("truncated: ") || error.starts_with("damaged zip: "), "{error}");
}

const IMAGES: Tensor = Tensor::new("FloatStorage", &[2, 5, 32, 32]);
const MAGNITUDES: Tensor = Tensor::new("DoubleStorage", &[2, 5]);
const REDSHIFTS: Tensor = Tensor::new("FloatStorage", &[2]);

#[test]
fn tuples_and_dictionaries_of_tensors_are_partitions_too() {
    let in_a_tuple = torch_file(&[IMAGES, MAGNITUDES, REDSHIFTS]);
    let in_a_dictionary = pt(&support::dictionary(&[("magnitudes", MAGNITUDES), ("images", IMAGES)]), &[80, 40_960]);
    for (bytes, has_redshifts) in [(in_a_tuple, true), (in_a_dictionary, false)] {
        let mut partition = Partition::open(bytes, NAME).unwrap();
        assert_eq!((partition.galaxies(), partition.has_redshifts()), (2, has_redshifts));
        partition.read(0..2, &mut Batch::default()).unwrap();
        partition.finish().unwrap();
    }
}

#[test]
fn wrong_shapes_and_layouts_say_what_to_do() {
    let cases: [(&[u64], &str); 8] = [
        (
            &[2, 5, 64, 64],
            "tensor 0 has shape [2, 5, 64, 64], expected [n, 5, 32, 32]\nhint: crop images to the central 32×32 pixels before writing partitions: images[:, :, 16:48, 16:48].contiguous()",
        ),
        (
            &[2, 64, 64, 5],
            "tensor 0 has shape [2, 64, 64, 5], expected [n, 5, 32, 32]; it is channels-last\nhint: permute and crop to the central 32×32 pixels before writing partitions: images.permute(0, 3, 1, 2)[:, :, 16:48, 16:48].contiguous()",
        ),
        (
            &[2, 32, 32, 5],
            "tensor 0 has shape [2, 32, 32, 5], expected [n, 5, 32, 32]; it is channels-last\nhint: images.permute(0, 3, 1, 2).contiguous() makes it [n, 5, 32, 32]",
        ),
        (&[2, 48, 48, 5], "expected [n, 5, 32, 32]; it is channels-last\nhint: images.permute(0, 3, 1, 2), then crop"),
        (&[2, 5, 40, 40], "hint: crop images to the central 32×32 pixels before writing partitions"),
        (
            &[2, 3, 32, 32],
            "tensor 0 has shape [2, 3, 32, 32], expected [n, 5, 32, 32]\nhint: the model takes cutouts of 32×32 pixels in the bands u, g, r, i, z",
        ),
        (&[10_240], "tensor 0 has shape [10240], expected [n, 5, 32, 32]"),
        (&[], "tensor 0 has shape [], expected [n, 5, 32, 32]"),
    ];
    for (shape, expected) in cases {
        let error = refused(torch_file(&[Tensor::new("FloatStorage", shape), MAGNITUDES, REDSHIFTS]));
        assert!(error.contains(expected), "{error}");
    }
    let cases: [(&[Tensor], &str); 6] = [
        (
            &[IMAGES, Tensor::new("DoubleStorage", &[2, 4])],
            "tensor 1 (magnitudes) has shape [2, 4], expected [n, 5] with n = 2",
        ),
        (
            &[IMAGES, MAGNITUDES, Tensor::new("FloatStorage", &[2, 2])],
            "tensor 2 (redshifts) has shape [2, 2], expected [n] with n = 2",
        ),
        (
            &[IMAGES, Tensor::new("DoubleStorage", &[3, 5])],
            "tensor 1 (magnitudes) has 3 rows, tensor 0 has 2, expected as many\nhint: write all tensors from the same galaxies",
        ),
        (&[IMAGES], "it has 1 tensors, expected images, magnitudes and, optionally, redshifts\nhint: "),
        (&[IMAGES, MAGNITUDES, REDSHIFTS, REDSHIFTS], "it has 4 tensors, expected images"),
        (
            &[Tensor::new("FloatStorage", &[0, 5, 32, 32]), Tensor::new("DoubleStorage", &[0, 5])],
            "it has 0 galaxies, expected at least one",
        ),
    ];
    for (tensors, expected) in cases {
        let error = Partition::open(torch_file(tensors), NAME).unwrap_err();
        assert!(matches!(error, Error::Layout { .. }));
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn wrong_element_types_say_how_to_convert() {
    let images = |class| torch_file(&[Tensor::new(class, &[2, 5, 32, 32]), MAGNITUDES]);
    let magnitudes = |class| torch_file(&[IMAGES, Tensor::new(class, &[2, 5])]);
    let redshifts = |class| torch_file(&[IMAGES, MAGNITUDES, Tensor::new(class, &[2])]);
    let cases = [
        (images("DoubleStorage"), "tensor 0 (images) has elements of float64, expected float32\nhint: images.float()"),
        (images("HalfStorage"), "tensor 0 (images) has elements of float16, expected float32\nhint: images.float()"),
        (
            images("ByteStorage"),
            "tensor 0 (images) has elements of uint8, expected float32\nhint: images.float(), and scale them",
        ),
        (
            magnitudes("LongStorage"),
            "tensor 1 (magnitudes) has elements of int64, expected float64 or float32\nhint: magnitudes.double()",
        ),
        (
            redshifts("BFloat16Storage"),
            "tensor 2 (redshifts) has elements of bfloat16, expected float64 or float32\nhint: redshifts.double()",
        ),
    ];
    for (bytes, expected) in cases {
        let error = refused(bytes);
        assert!(error.starts_with(expected), "{error}");
    }
    assert!(Partition::open(magnitudes("FloatStorage"), NAME).is_ok());
}

#[test]
fn tensors_that_are_not_in_order_in_the_file_are_refused() {
    let permuted = Tensor { strides: Some(&[5_120, 1, 160, 5]), ..IMAGES };
    let error = refused(torch_file(&[permuted, MAGNITUDES]));
    assert!(error.starts_with("tensor 0 of shape [2, 5, 32, 32] has strides [5120, 1, 160, 5]"), "{error}");
    assert!(error.ends_with("hint: call .contiguous() on it before torch.save"), "{error}");
}

#[test]
fn tensors_beyond_their_storage_are_refused() {
    let pickle = support::tuple(&[IMAGES, MAGNITUDES]);
    let error = refused(pt(&pickle, &[40_959, 80]));
    assert_eq!(error, "tensor 0 (float32 [2, 5, 32, 32]) does not fit into a/data/0, which has 40959 bytes");
    let error = refused(pt(&pickle, &[40_960]));
    assert_eq!(error, "tensor 1 is in a/data/1, which is missing from the zip");
    // One galaxy that is said to be 10¹² of them.
    let repeated = Tensor { shape: &[1_000_000_000_000, 5, 32, 32], strides: Some(&[0, 1_024, 32, 1]), ..IMAGES };
    let error = refused(pt(&support::tuple(&[repeated, MAGNITUDES]), &[20_480, 80]));
    assert!(error.contains("does not fit into a/data/0, which has 20480 bytes"), "{error}");
}

#[test]
fn zips_that_torch_does_not_write_are_refused() {
    let pickle = support::tuple(&[IMAGES, MAGNITUDES]);
    let compressed = refused(zip(&[("a/data.pkl".to_owned(), pickle.clone())], 8));
    assert!(
        compressed.starts_with("a/data.pkl is compressed (method 8), expected stored entries\nhint: "),
        "{compressed}"
    );
    let other = refused(zip(&[("a/readme.txt".to_owned(), b"hello".to_vec())], 0));
    assert_eq!(other, "a zip without data.pkl, which torch.save always writes; it has 1 entries: a/readme.txt");
    let big_endian = [("a/data.pkl".to_owned(), pickle), ("a/byteorder".to_owned(), b"big".to_vec())];
    assert!(refused(zip(&big_endian, 0)).starts_with("its byte order is \"big\", expected \"little\"\nhint: "));
    let twice = [("a/data.pkl".to_owned(), vec![]), ("a/data.pkl".to_owned(), vec![])];
    assert_eq!(refused(zip(&twice, 0)), "damaged zip: two entries have the same name");
}

#[test]
fn reversed_bands_are_noticed_and_other_magnitudes_are_not() {
    let partition = Partition::open(written(1), NAME).unwrap();
    let mut batch = galaxies(0, 40);
    partition.check_band_order(&batch).unwrap();
    batch.magnitudes_f64.chunks_exact_mut(BANDS).for_each(<[f64]>::reverse);
    let error = partition.check_band_order(&batch).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{NAME}: the bands are in reverse: mean magnitude 19.")), "{error}");
    assert!(error.ends_with("hint: images.flip(1) and magnitudes.flip(1) put z, i, r, g, u into order"), "{error}");
    batch.magnitudes_f64.truncate(31 * BANDS);
    partition.check_band_order(&batch).unwrap();
    let mut equal = galaxies(0, 40);
    equal.magnitudes_f64.fill(18.0);
    partition.check_band_order(&equal).unwrap();
}

#[test]
fn rows_that_are_not_finite_are_found() {
    let mut batch = galaxies(0, 6);
    assert!(batch.non_finite_rows().is_empty());
    batch.images[IMAGE + 17] = f32::NAN;
    batch.images[2 * IMAGE] = f32::NEG_INFINITY;
    batch.magnitudes[4 * BANDS + 4] = f32::INFINITY;
    // The largest finite values are fine, and a galaxy may lack a redshift.
    batch.images[5 * IMAGE] = f32::MAX;
    batch.images[5 * IMAGE + 1] = f32::MIN;
    batch.redshifts.as_mut().unwrap()[0] = f64::NAN;
    assert_eq!(batch.non_finite_rows(), [1, 2, 4]);
}

#[test]
fn safetensors_and_npz_are_partitions_too() {
    let expected = galaxies(0, 4);
    let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>();
    let entry =
        |name: &str, shape: &[u64]| TensorEntry { name: name.to_owned(), shape: shape.to_vec(), dtype: Dtype::F32 };
    let entries = vec![entry("magnitudes", &[4, 5]), entry("images", &[4, 5, 32, 32])];
    let mut writer = SafetensorsWriter::new(Vec::new(), "1.safetensors", entries, &Default::default()).unwrap();
    writer.push_f32(&expected.images).unwrap();
    writer.push_f32(&expected.magnitudes).unwrap();
    let safetensors = writer.finish().unwrap();

    let npz = zip(
        &[
            ("images.npy".to_owned(), npy("<f4", "4, 5, 32, 32", &bytes(&expected.images))),
            ("magnitudes.npy".to_owned(), npy("<f4", "4, 5", &bytes(&expected.magnitudes))),
        ],
        0,
    );
    for (file, format) in [(safetensors, Format::Safetensors), (npz.clone(), Format::Npz)] {
        let mut partition = Partition::open(file, NAME).unwrap();
        assert_eq!((partition.format(), partition.galaxies()), (format, 4));
        let mut batch = Batch::default();
        partition.read(0..4, &mut batch).unwrap();
        partition.finish().unwrap();
        assert_eq!((&batch.images, &batch.magnitudes), (&expected.images, &expected.magnitudes));
    }
    // A checksum covers the array's header too.
    let mut damaged = npz;
    let at = damaged.windows(4).position(|window| window == expected.images[9].to_le_bytes()).unwrap();
    damaged[at] ^= 1;
    let mut partition = Partition::open(damaged, NAME).unwrap();
    assert!(matches!(partition.finish(), Err(Error::Checksum { .. })));
}

#[test]
fn npz_that_cannot_be_read_says_why() {
    let file = |images: Vec<u8>| zip(&[("images.npy".to_owned(), images)], 0);
    let cases = [
        (
            file(npy(">f4", "4, 5, 32, 32", &[])),
            "images is not a NumPy array that can be read: its element type is >f4, expected a little-endian number\nhint: array.astype('<f4')",
        ),
        (file(b"hello".to_vec()), "images is not a NumPy array that can be read: it does not begin as one"),
        (file(npy("<f4", "4, 5, 32, 32", &[0; 8])), "images (float32 [4, 5, 32, 32]) does not fit into images.npy"),
        (
            file(npy("<f4", "1, 2", &[0; 8])),
            "it has no tensor called magnitudes, expected images, magnitudes and, optionally, redshifts; it has images",
        ),
    ];
    for (bytes, expected) in cases {
        let error = refused(bytes);
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn splitting_covers_every_row_once() {
    let sizes = |galaxies, per| split::ranges(galaxies, per).map(|rows| rows.len()).collect::<Vec<_>>();
    assert_eq!(sizes(10, 4), [4, 4, 2]);
    assert_eq!(sizes(8, 4), [4, 4]);
    assert_eq!(sizes(3, 1_278), [3]);
    let mut partition = Partition::open(written(10), NAME).unwrap();
    let part = split::copy(&mut partition, 4..8, Cursor::new(Vec::new()), "2.pt").unwrap().into_inner();
    let mut batch = Batch::default();
    Partition::open(part, "2.pt").unwrap().read(0..4, &mut batch).unwrap();
    assert_eq!(batch, galaxies(4, 4));
}

#[test]
fn manifests_read_back_and_wrong_ones_are_refused() {
    let entry =
        |file: &str, rows| split::ManifestEntry { file: file.to_owned(), rows, bytes: 9, sha256: "ab".to_owned() };
    let manifest = split::Manifest {
        source: "all.pt".to_owned(),
        galaxies: 7,
        galaxies_per_partition: 4,
        partitions: vec![entry("1.pt", 4), entry("2.pt", 3)],
    };
    let text = manifest.to_json().to_string();
    assert_eq!(split::Manifest::parse(text.as_bytes(), "m").unwrap(), manifest);
    let refused = |from: &str, to: &str| {
        let text = text.replacen(from, to, 1);
        split::Manifest::parse(text.as_bytes(), "manifest.json").unwrap_err().to_string()
    };
    assert_eq!(
        refused("\"rows\":3", "\"rows\":4"),
        "manifest.json: its partitions have 8 galaxies together, expected 7"
    );
    assert_eq!(
        refused("2.pt", "../2.pt"),
        "manifest.json: partitions[1].file is \"../2.pt\", expected the name of a file beside the manifest"
    );
    assert_eq!(refused("\"bytes\":9", "\"bytes\":-1"), "manifest.json: partitions[0].bytes is -1, expected a count");
    assert_eq!(refused("\"galaxies\":7,", ""), "manifest.json: galaxies is missing, expected a count");
    assert!(
        refused("\"version\":1", "\"version\":2")
            .starts_with("manifest.json: it is a manifest of version 2, expected 1")
    );
    assert!(refused("{", "").starts_with("manifest.json: not a manifest: "));
}
