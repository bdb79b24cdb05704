//! The published files, where they are available.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use starmap_partitions::tensors::{SafetensorsWriter, TensorFile};
use starmap_partitions::{Batch, Dtype, Error, Format, Partition, split};

/// The folder of reference files; `None`, loudly, where it is missing and may be.
fn buckets() -> Option<PathBuf> {
    let shared = std::env::var_os("STARMAP_SHARED").map(PathBuf::from);
    let shared = shared.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"));
    let buckets = shared.join("reference/buckets/cosmicai-data");
    if buckets.is_dir() {
        return Some(buckets);
    }
    assert!(std::env::var_os("STARMAP_REQUIRE_REFERENCE").is_none(), "{} is missing", buckets.display());
    // Not `eprintln!`, which is kept from sight when a test passes.
    let line = format!("SKIPPED: {} is missing\n", buckets.display());
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    None
}

#[test]
fn published_partitions_are_read() {
    let Some(buckets) = buckets() else { return };
    for (name, galaxies) in [("1.pt", 100), ("2.pt", 128), ("10.pt", 72)] {
        let mut partition = Partition::open(File::open(buckets.join("small").join(name)).unwrap(), name).unwrap();
        assert_eq!(partition.galaxies(), galaxies);
        assert_eq!(partition.dtypes(), (Dtype::F32, Dtype::F64, Some(Dtype::F32)));
        let mut batch = Batch::default();
        for first in (0..galaxies).step_by(33) {
            partition.read(first..galaxies.min(first + 33), &mut batch).unwrap();
            assert!(batch.non_finite_rows().is_empty());
            assert!(batch.magnitudes.iter().all(|magnitude| (14.0..22.0).contains(magnitude)));
            assert!(batch.redshifts.as_ref().unwrap().iter().all(|redshift| (0.0..2.0).contains(redshift)));
            partition.check_band_order(&batch).unwrap();
        }
        partition.finish().unwrap();
    }
    // Its first bytes, as PyTorch prints them.
    let mut partition = Partition::open(File::open(buckets.join("small/1.pt")).unwrap(), "1.pt").unwrap();
    let mut batch = Batch::default();
    partition.read(0..1, &mut batch).unwrap();
    assert_eq!(batch.images[..4], [-0.316_406_25, -0.468_75, -0.390_625, -0.25]);
}

#[test]
fn a_published_partition_is_split_and_nothing_is_lost() {
    let Some(buckets) = buckets() else { return };
    let mut whole = Partition::open(File::open(buckets.join("small/2.pt")).unwrap(), "2.pt").unwrap();
    let mut expected = Batch::default();
    whole.read(0..whole.galaxies(), &mut expected).unwrap();
    let mut pixels = Vec::new();
    let mut magnitudes = Vec::new();
    let mut redshifts = Vec::new();
    for (index, rows) in split::ranges(whole.galaxies(), 50).enumerate() {
        let file = split::copy(&mut whole, rows.clone(), std::io::Cursor::new(Vec::new()), &format!("{index}.pt"));
        let mut part = Partition::open(file.unwrap().into_inner(), "part").unwrap();
        assert_eq!(part.galaxies(), rows.len());
        let mut batch = Batch::default();
        part.read(0..rows.len(), &mut batch).unwrap();
        part.finish().unwrap();
        pixels.extend(batch.images);
        magnitudes.extend(batch.magnitudes_f64);
        redshifts.extend(batch.redshifts.unwrap());
    }
    assert_eq!(pixels, expected.images);
    assert_eq!(magnitudes, expected.magnitudes_f64);
    assert_eq!(redshifts, expected.redshifts.unwrap());
}

#[test]
fn the_published_checkpoint_is_read_and_converted() {
    let Some(buckets) = buckets() else { return };
    let folder = buckets.join("Anomaly Detection/Fine_Tune_Model");
    let path = folder.join("Mixed_Inception_z_VITAE_Base_Img_Full_New_Full.pt");
    let checkpoint = TensorFile::open(File::open(&path).unwrap(), "published").unwrap();
    assert_eq!(checkpoint.format(), Format::Pt);
    let entry =
        |name: &str| checkpoint.entries().iter().find(|entry| entry.name == name).unwrap_or_else(|| panic!("{name}"));
    assert_eq!(entry("patch_embed.proj.weight").shape, [192, 5, 8, 8]);
    assert_eq!(entry("cls_token").shape, [1, 1, 192]);
    assert_eq!(entry("blocks.11.attn.qkv.weight").shape, [576, 192]);
    assert_eq!(entry("blocks.0.PCM.1.running_var").shape, [768]);
    assert_eq!(entry("blocks.0.PCM.1.num_batches_tracked").dtype, Dtype::I64);
    assert!(checkpoint.entries().iter().all(|entry| !entry.name.starts_with("module.")));
    checkpoint.verify().unwrap();

    let metadata = [("heads".to_owned(), "3".to_owned())].into();
    let mut writer = SafetensorsWriter::new(Vec::new(), "converted", checkpoint.entries().to_vec(), &metadata).unwrap();
    let mut bytes = Vec::new();
    for entry in writer.entries().to_vec() {
        checkpoint.read_bytes(&entry.name, &mut bytes).unwrap();
        writer.push_bytes(&bytes).unwrap();
    }
    let converted = TensorFile::open(writer.finish().unwrap(), "converted").unwrap();
    assert_eq!(converted.metadata(), &metadata);
    assert_eq!(converted.entries().len(), checkpoint.entries().len());
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for entry in checkpoint.entries() {
        checkpoint.read_f32(&entry.name, &mut before).unwrap();
        converted.read_f32(&entry.name, &mut after).unwrap();
        assert!(before.iter().map(|x| x.to_bits()).eq(after.iter().map(|x| x.to_bits())), "{}", entry.name);
    }
    // A checkpoint is no partition, and its classes have no business in one.
    let refused = Partition::open(File::open(&path).unwrap(), "published").unwrap_err();
    assert!(matches!(refused, Error::Refused { .. }), "{refused}");
}
