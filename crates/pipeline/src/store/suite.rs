//! What every store must do: run against a folder by the unit tests, and against an S3 server by `tests/s3.rs`.

use std::io::Write;

use starmap_partitions::ByteSource;

use super::{If, Store};

/// Checks a store whose bucket `bucket` is empty.
///
/// # Panics
/// If the store does anything else than it must.
pub fn check(store: &Store, bucket: &str) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        store.check_bucket(bucket).await.unwrap();
        assert_eq!(store.get(bucket, "no/such").await.unwrap(), None);
        assert_eq!(store.head(bucket, "no/such").await.unwrap(), None);
        assert!(store.source(bucket, "no/such").await.unwrap().is_none());
        store.delete(bucket, "no/such").await.unwrap();

        for key in ["1GB/1/10.pt", "1GB/1/2.pt", "1GB/1/1.pt", "1GB/10/1.pt", "1GB/1/deeper/1.pt", "1GB/1 a#%/ü.pt"] {
            store.put(bucket, key, key.as_bytes().to_vec()).await.unwrap();
            assert_eq!(store.get(bucket, key).await.unwrap().unwrap(), key.as_bytes());
        }
        let listing = store.list(bucket, "1GB/1").await.unwrap();
        let keys: Vec<_> = listing.objects.iter().map(|object| object.key.as_str()).collect();
        assert_eq!(keys, ["1GB/1/1.pt", "1GB/1/2.pt", "1GB/1/10.pt"]);
        assert_eq!(listing.folders, ["1GB/1/deeper"]);
        assert_eq!(store.list(bucket, "1GB").await.unwrap().folders, ["1GB/1", "1GB/1 a#%", "1GB/10"]);
        assert_eq!(store.list(bucket, "1G").await.unwrap(), super::Listing::default());

        let before = store.head(bucket, "1GB/1/1.pt").await.unwrap().unwrap();
        assert_eq!(before.bytes, 10);
        assert_eq!(listing.objects[0], before);
        let part = store.get_range_if(bucket, "1GB/1/1.pt", &before.etag, 1..3).await.unwrap();
        assert_eq!(part, If::Same("GB".into()));
        store.put(bucket, "1GB/1/1.pt", "changed").await.unwrap();
        let part = store.get_range_if(bucket, "1GB/1/1.pt", &before.etag, 1..3).await.unwrap();
        assert_eq!(part, If::Another);
        assert_eq!(store.get_range_if(bucket, "no/such", &before.etag, 1..3).await.unwrap(), If::Absent);
        assert_ne!(store.head(bucket, "1GB/1/1.pt").await.unwrap().unwrap().etag, before.etag);
        store.delete(bucket, "1GB/1/1.pt").await.unwrap();
        assert_eq!(store.get(bucket, "1GB/1/1.pt").await.unwrap(), None);
    });

    // Larger than one part of an upload and one window of a source.
    let content: Vec<u8> = (0..12_000_000u32).map(|i| (i % 253) as u8).collect();
    let mut upload = runtime.block_on(store.upload(bucket, "big/a b.bin")).unwrap();
    content.chunks(1_000_003).for_each(|chunk| upload.write_all(chunk).unwrap());
    assert_eq!(runtime.block_on(store.head(bucket, "big/a b.bin")).unwrap(), None, "nothing is visible before the end");
    assert_eq!(upload.finish().unwrap(), 12_000_000);
    let (object, source) = runtime.block_on(store.source(bucket, "big/a b.bin")).unwrap().unwrap();
    assert_eq!((object.bytes, source.len()), (12_000_000, 12_000_000));
    let mut buffer = vec![0; 700_001];
    for start in (0..content.len() - buffer.len()).step_by(buffer.len()) {
        source.read_at(start as u64, &mut buffer).unwrap();
        assert!(buffer == content[start..start + buffer.len()], "bytes at {start} differ");
    }
    let reads = source.reads();
    assert!(reads.bytes >= 11_000_000 && reads.waited_min <= reads.waited_max, "{reads:?}");
}
