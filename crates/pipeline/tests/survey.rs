//! Summarize at the size of the published survey: 516 ranks of 1,278 galaxies, with made-up redshifts.

use serde_json::json;
use sha2::{Digest, Sha256};
use starmap_pipeline::predictions::{Prediction, Provenance, Reader, Writer};
use starmap_pipeline::results::{Manifest, ModelFile, PartitionFile, Phases, Plan, PredictionsFile, RankResult};
use starmap_pipeline::store::{Retries, Store, StoreConfig};
use starmap_pipeline::summarize::summarize;

use crate::common::block_on;

const RANKS: usize = 516;
const ROWS: u64 = 1_278;

fn partition(rank: usize) -> PartitionFile {
    PartitionFile { key: format!("25MB/{}.pt", rank + 1), rows: ROWS, bytes: 26_224_560, etag: "e".into() }
}

fn model() -> ModelFile {
    ModelFile { key: "m.pt".into(), bytes: 1, etag: "m".into(), sha256: "ab".repeat(32) }
}

fn predictions(rank: usize) -> Vec<u8> {
    let (model_hash, precision) = (model().sha256, "f32".into());
    let provenance = Provenance { run_id: "run-1".into(), model_hash, rank: Some(rank), precision };
    let mut writer = Writer::new(Vec::new(), provenance).unwrap();
    let one = |row: u64| {
        let t = ((rank as u64 * ROWS + row) % 9_973) as f64 / 9_973.0;
        let z_spec = 0.02 + 0.5 * t * t;
        let error = 0.02 * ((row as f64 * 12.9898).sin() * 43_758.545).fract();
        Prediction {
            row,
            z_phot: Some((z_spec + error) as f32),
            z_spec: Some(z_spec),
            magnitude_r: (14.5 + 3.2 * t) as f32,
            flags: 0,
        }
    };
    writer.push(&partition(rank).key, &(0..ROWS).map(one).collect::<Vec<_>>()).unwrap();
    writer.finish().unwrap().0
}

fn result(rank: usize, parquet: &[u8]) -> RankResult {
    let started_at = 1.79e12 + (rank / 64) as f64 * 5e3;
    let phases = Phases { infer: 4.0, total: 4.5, read: 0.3, ..Phases::default() };
    RankResult {
        total_cpu_time: 4.1,
        total_cpu_memory: 95.0,
        total_process_memory: 95.0,
        execution_time: 0.8,
        num_batches: 5,
        batch_size: 256,
        device: "cpu".into(),
        throughput_bps: 5e7,
        sample_persec: 319.5,
        result_path: "r/1".into(),
        data_path: json!(partition(rank).key),
        s3_num_requests: 10,
        s3_total_time: 0.3,
        s3_avg_time: 0.03,
        s3_min_time: 0.01,
        s3_max_time: 0.1,
        run_id: "run-1".into(),
        rank,
        rows: ROWS,
        rows_flagged: 0,
        partitions: vec![partition(rank)],
        model_sha256: model().sha256,
        predictions: PredictionsFile {
            key: format!("r/1/predictions/{rank}.parquet"),
            rows: ROWS,
            bytes: parquet.len() as u64,
            sha256: Sha256::digest(parquet).iter().map(|byte| format!("{byte:02x}")).collect(),
        },
        phases,
        cpu_seconds: 4.1,
        peak_rss_mib: 91.0,
        memory_mib: Some(1_769),
        cold: rank < 64,
        log_stream: format!("worker {}", rank % 64),
        started_at,
        inferring_from: started_at,
        inferring_to: started_at + 4.4e3,
        finished_at: started_at + 4.5e3,
        galaxies_per_s: 284.0,
        storage_retries: Retries::default(),
        precision: "f32".into(),
        kernels: "portable".into(),
        created_by: "test".into(),
    }
}

#[test]
fn the_published_survey_is_proven_and_merged() {
    let root = tempfile::tempdir().unwrap();
    let results = root.path().join("sky/r/1");
    std::fs::create_dir_all(results.join("predictions")).unwrap();
    let store = Store::open(&StoreConfig::Folder(root.path().to_owned())).unwrap();
    let manifest = Manifest {
        input: json!({}),
        data_map: (0..RANKS).map(|rank| vec![partition(rank).key]).collect(),
        plan: Plan {
            run_id: "run-1".into(),
            created_by: "test".into(),
            world_size: RANKS,
            batch_size: 256,
            precision: "f32".to_owned(),
            calibration: None,
            data_bucket: "sky".into(),
            data_prefix: "25MB".into(),
            partitions_requested: RANKS,
            repaired: Vec::new(),
            partitions_found: RANKS,
            partitions: (0..RANKS).map(partition).collect(),
            model: model(),
        },
    };
    let answer = block_on(async {
        store.put("sky", "r/1/payload.json", manifest.to_json().unwrap().to_string()).await.unwrap();
        for rank in 0..RANKS {
            let parquet = predictions(rank);
            let json = serde_json::to_vec(&result(rank, &parquet)).unwrap();
            std::fs::write(results.join(format!("predictions/{rank}.parquet")), parquet).unwrap();
            std::fs::write(results.join(format!("{rank}.json")), json).unwrap();
        }
        summarize(&store, &json!({ "S3_BUCKET": "sky", "RESULT_PATH": "r/1" })).await.unwrap()
    });
    assert_eq!(answer["galaxies"], 659_448);
    let read = |name: &str| std::fs::read(results.join(name)).unwrap();
    let report = read("report.html");
    assert!(report.len() < 1_000_000, "the report has {} bytes", report.len());
    let merged = Reader::new(read("predictions.parquet").into()).unwrap();
    assert_eq!(merged.rows(), 659_448);
    let last = merged.group(merged.groups() - 1).unwrap();
    assert_eq!(last.galaxy_id.last().unwrap().data(), b"25MB/516.pt#1277");
    let summary: serde_json::Value = serde_json::from_slice(&read("summary.json")).unwrap();
    assert_eq!(summary["quality"]["galaxies"], 659_448);
    assert_eq!(summary["legacy"]["data_size_gb"].as_f64().map(|gb| format!("{gb:.2}")).as_deref(), Some("12.60"));
}
