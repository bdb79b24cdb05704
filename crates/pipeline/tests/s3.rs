//! The store and the whole pipeline against an S3 server on loopback: moto (PyPI `moto[server]`).
//!
//! The server is `STARMAP_MOTO_SERVER`, else `moto_server` on the PATH or in `target/venv/bin`. Without one this is
//! skipped, unless `STARMAP_REQUIRE_MOTO=1`.

#![allow(clippy::print_stderr, reason = "a skipped test says so")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use starmap_pipeline::infer::{Identity, Worker};
use starmap_pipeline::initialize::initialize;
use starmap_pipeline::store::{S3Access, Store, StoreConfig, suite};
use starmap_pipeline::summarize::summarize;

use crate::common::{self, Sky, block_on};
use crate::proxy::{Fault, Proxy};

/// Set for the child process of this test: the test itself, with the server's address in its environment.
const ENDPOINT: &str = "AWS_ENDPOINT_URL_S3";
const STARTED_WITHIN: Duration = Duration::from_secs(60);

/// A moto server that ends with the test.
struct Moto {
    process: Child,
    endpoint: String,
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn server() -> Option<PathBuf> {
    let named = std::env::var_os("STARMAP_MOTO_SERVER").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/venv/bin/moto_server");
    let found = named.or_else(|| {
        let candidates = std::env::split_paths(&path).map(|folder| folder.join("moto_server"));
        candidates.chain([target]).find(|program| program.is_file())
    });
    let required = std::env::var("STARMAP_REQUIRE_MOTO").is_ok_and(|value| value == "1");
    assert!(found.is_some() || !required, "STARMAP_REQUIRE_MOTO is set, but there is no moto_server");
    found
}

impl Moto {
    fn start(program: &Path) -> Self {
        // Two tests may be given the same free port; the one that comes too late takes another.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let mut process = Command::new(program)
                .args(["-H", "127.0.0.1", "-p", &port.to_string()])
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
            let mut said = BufReader::new(process.stderr.take().unwrap()).lines();
            // It says where it listens once it does; without that line it has ended.
            let listens = said.by_ref().map_while(Result::ok).any(|line| line.contains("Running on"));
            // What it says from now on must go somewhere, or it would block.
            std::thread::spawn(move || said.for_each(drop));
            let moto = Self { process, endpoint: format!("http://127.0.0.1:{port}") };
            if listens && moto.answers() {
                return moto;
            }
        }
        panic!("{}: did not start", program.display());
    }

    fn answers(&self) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < STARTED_WITHIN {
            if self.request("GET", "/").is_some_and(|answer| answer.starts_with("HTTP/1.1 200")) {
                return true;
            }
            std::thread::yield_now();
        }
        false
    }

    fn request(&self, method: &str, path: &str) -> Option<String> {
        let address = self.endpoint.strip_prefix("http://")?;
        let mut stream = TcpStream::connect(address).ok()?;
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }
}

/// Environment variables of a process are for the whole of it, so each test runs itself in a process of its own that
/// has the server's address from its start.
fn with_moto(test: &str, run: impl FnOnce()) {
    if std::env::var_os(ENDPOINT).is_some() {
        run();
        return;
    }
    let Some(program) = server() else {
        eprintln!("SKIPPED: there is no moto_server; `pip install 'moto[server]'`, or set STARMAP_MOTO_SERVER");
        return;
    };
    let moto = Moto::start(&program);
    for bucket in ["sky", "suite"] {
        let answer = moto.request("PUT", &format!("/{bucket}")).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let ended = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("s3::{test}"), "--nocapture"])
        .env(ENDPOINT, &moto.endpoint)
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_REGION", "us-east-1")
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success(), "{said}");
    assert!(said.contains("1 passed"), "{said}");
}

#[test]
fn s3_is_a_store() {
    with_moto("s3_is_a_store", || suite::check(&Store::open(&StoreConfig::S3).unwrap(), "suite"));
}

#[test]
fn all_pages_of_a_listing_are_read() {
    with_moto("all_pages_of_a_listing_are_read", || {
        let store = Store::open(&StoreConfig::S3).unwrap();
        block_on(async {
            for first in (1..=1_100).step_by(50) {
                let puts = (first..first + 50).map(|i| {
                    let store = store.clone();
                    async move { store.put("sky", &format!("a b/{i}.pt"), "x").await }
                });
                futures::future::try_join_all(puts).await.unwrap();
            }
            let objects = store.list("sky", "a b").await.unwrap().objects;
            let expected: Vec<String> = (1..=1_100).map(|i| format!("a b/{i}.pt")).collect();
            assert_eq!(objects.iter().map(|object| object.key.clone()).collect::<Vec<_>>(), expected);
        });
    });
}

#[test]
fn an_unknown_bucket_is_named() {
    with_moto("an_unknown_bucket_is_named", || {
        let store = Store::open(&StoreConfig::S3).unwrap();
        let error = block_on(store.check_bucket("skyy")).unwrap_err();
        assert_eq!(error.error_name(), "Starmap.BucketNotFound", "{error}");
        let error = block_on(store.list("skyy", "x")).unwrap_err();
        assert_eq!(error.error_name(), "Starmap.BucketNotFound", "{error}");
    });
}

#[test]
fn a_large_upload_is_repeated_part_by_part() {
    with_moto("a_large_upload_is_repeated_part_by_part", || {
        // Of the requests that begin, carry and end the upload, some are refused, some lose their connection, and some
        // lose the end of their answer.
        let writes = AtomicUsize::new(0);
        let faults = [Fault::Unavailable, Fault::Reset, Fault::Truncated];
        let rule = move |method: &str, _: &str, _: usize| {
            let is_write = method == "POST" || method == "PUT";
            let number = if is_write { writes.fetch_add(1, Ordering::SeqCst) } else { 1 };
            number.is_multiple_of(2).then(|| faults[number / 2 % faults.len()])
        };
        let proxy = Proxy::start(&std::env::var(ENDPOINT).unwrap(), rule);
        let access = S3Access {
            access_key_id: "test".to_owned(),
            secret_access_key: "test".to_owned(),
            session_token: None,
            region: "us-east-1".to_owned(),
            endpoint: Some(proxy.endpoint.clone()),
        };
        let store = Store::s3(access).unwrap();
        let bytes: Vec<u8> = (0..20_000_000u32).map(|i| (i % 251) as u8).collect();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let mut upload = runtime.block_on(store.upload("sky", "large")).unwrap();
        bytes.chunks(1_000_000).for_each(|part| upload.write_all(part).unwrap());
        assert_eq!(upload.finish().unwrap(), bytes.len() as u64);
        let retries = store.retries();
        assert!(retries.refused > 0 && retries.cut_off > 0, "{retries:?}, {} faults", proxy.faults());
        let found = runtime.block_on(store.get("sky", "large")).unwrap().unwrap();
        assert!(found == bytes);
    });
}

#[test]
fn the_pipeline_gives_the_same_on_s3_as_in_a_folder() {
    with_moto("the_pipeline_gives_the_same_on_s3_as_in_a_folder", || {
        let sky = Sky::new();
        let input = sky.input(|input| input["batch_size"] = json!(256));
        sky.run(&input).unwrap();
        let store = Store::open(&StoreConfig::S3).unwrap();
        block_on(async {
            for key in [common::MODEL, "data/small/1.pt", "data/small/2.pt", "data/small/10.pt"] {
                store.put("sky", key, std::fs::read(sky.path(key)).unwrap()).await.unwrap();
            }
            let answer = initialize(&store, &input).await.unwrap();
            let worker = Worker::new(store.clone(), Identity::default());
            for item in answer["body"].as_array().unwrap() {
                worker.infer(item).await.unwrap();
            }
            summarize(&store, &answer).await.unwrap();
            let key = "results/a b/1/predictions.parquet";
            let merged = store.get("sky", key).await.unwrap().unwrap();
            assert_eq!(merged, std::fs::read(sky.path(key)).unwrap());
        });
    });
}
