//! An engine over one bucket in memory, with one function that is a closure.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use serde_json::{Value, json};
use starmap_asl::Timestamp;
use starmap_engine::invoker::{Invocation, InvokeError, Invoker, Invoking, Outcome, Started};
use starmap_engine::journal::memory::MemoryJournal;
use starmap_engine::journal::{Ending, MapRunRecord};
use starmap_engine::limits::Limits;
use starmap_engine::names::Naming;
use starmap_engine::objects::{ListPage, ListRequest, ObjectError, ObjectInfo, Objects, Storing};
use starmap_engine::services::NoServices;
use starmap_engine::{Engine, Parts, Start};

/// One bucket, `b`. Keys that begin with `broken` can't be read behind their first byte nor written.
#[derive(Default)]
pub struct Bucket(pub Mutex<BTreeMap<String, Bytes>>);

impl Bucket {
    pub fn with(objects: &[(&str, String)]) -> Arc<Self> {
        let objects = objects.iter().map(|(key, content)| ((*key).to_owned(), Bytes::from(content.clone())));
        Arc::new(Self(Mutex::new(objects.collect())))
    }

    pub fn json(&self, key: &str) -> Value {
        serde_json::from_slice(&self.0.lock().unwrap()[key]).unwrap()
    }

    pub fn keys(&self) -> Vec<String> {
        self.0.lock().unwrap().keys().cloned().collect()
    }

    fn find(&self, bucket: &str, key: &str) -> Result<Bytes, ObjectError> {
        if bucket != "b" {
            return Err(ObjectError::NoSuchBucket { bucket: bucket.to_owned() });
        }
        let missing = || ObjectError::NoSuchKey { bucket: bucket.to_owned(), key: key.to_owned() };
        self.0.lock().unwrap().get(key).cloned().ok_or_else(missing)
    }
}

pub fn refused(key: &str) -> ObjectError {
    ObjectError::Storage { bucket: "b".to_owned(), key: key.to_owned(), reason: "503 Slow Down".to_owned() }
}

pub fn info(key: &str, content: &Bytes) -> ObjectInfo {
    let sum: u64 = content.iter().map(|byte| u64::from(*byte)).sum();
    ObjectInfo {
        key: key.to_owned(),
        bytes: content.len() as u64,
        etag: format!("{sum}-{}", content.len()),
        modified_at: Timestamp(0),
    }
}

impl Objects for Bucket {
    fn head<'a>(&'a self, bucket: &'a str, key: &'a str) -> Storing<'a, ObjectInfo> {
        Box::pin(async move { Ok(info(key, &self.find(bucket, key)?)) })
    }

    fn get<'a>(&'a self, bucket: &'a str, key: &'a str, range: Option<Range<u64>>) -> Storing<'a, Bytes> {
        Box::pin(async move {
            let content = self.find(bucket, key)?;
            let range = range.unwrap_or(0..content.len() as u64);
            if key.starts_with("broken") && range.start > 0 {
                return Err(refused(key));
            }
            Ok(content.slice(range.start as usize..range.end as usize))
        })
    }

    fn get_unchanged<'a>(&'a self, bucket: &'a str, object: &'a ObjectInfo, range: Range<u64>) -> Storing<'a, Bytes> {
        Box::pin(async move {
            let key = &object.key;
            if info(key, &self.find(bucket, key)?) != *object {
                return Err(ObjectError::Changed { bucket: bucket.to_owned(), key: key.clone() });
            }
            self.get(bucket, key, Some(range)).await
        })
    }

    fn put<'a>(&'a self, bucket: &'a str, key: &'a str, content: Bytes) -> Storing<'a, ObjectInfo> {
        Box::pin(async move {
            if bucket != "b" {
                return Err(ObjectError::NoSuchBucket { bucket: bucket.to_owned() });
            }
            if key.starts_with("broken") {
                return Err(refused(key));
            }
            let written = info(key, &content);
            self.0.lock().unwrap().insert(key.to_owned(), content);
            Ok(written)
        })
    }

    fn delete<'a>(&'a self, _: &'a str, key: &'a str) -> Storing<'a, ()> {
        Box::pin(async move { Err(refused(key)) })
    }

    fn list<'a>(&'a self, bucket: &'a str, request: ListRequest) -> Storing<'a, ListPage> {
        Box::pin(async move {
            self.find(bucket, "")
                .err()
                .filter(|error| matches!(error, ObjectError::NoSuchBucket { .. }))
                .map_or(Ok(()), Err)?;
            let after = request.start_after.unwrap_or_default();
            let objects = self.0.lock().unwrap();
            let keys = objects.iter().filter(|(key, _)| key.starts_with(&request.prefix) && **key > after);
            let mut found: Vec<ObjectInfo> = keys.map(|(key, content)| info(key, content)).collect();
            let has_more = found.len() > request.keys_max;
            found.truncate(request.keys_max);
            Ok(ListPage { objects: found, has_more })
        })
    }

    fn buckets(&self) -> Storing<'_, Vec<(String, Timestamp)>> {
        Box::pin(async { Ok(vec![("b".to_owned(), Timestamp(0))]) })
    }

    fn create_bucket<'a>(&'a self, bucket: &'a str) -> Storing<'a, ()> {
        Box::pin(async move { Err(refused(bucket)) })
    }

    fn delete_bucket<'a>(&'a self, bucket: &'a str) -> Storing<'a, ()> {
        Box::pin(async move { Err(refused(bucket)) })
    }
}

pub type Answer = dyn Fn(&Value) -> Option<Result<Value, &'static str>> + Send + Sync;

/// Answers at once; `None` never answers.
pub struct Function(pub Box<Answer>);

impl Invoker for Function {
    fn invoke(self: Arc<Self>, invocation: Invocation) -> Invoking {
        Box::pin(async move {
            let _ = invocation.started.send(Started { log_stream: "s".to_owned(), init_s: None });
            let payload = serde_json::from_slice(&invocation.payload).unwrap();
            let result = match (self.0)(&payload) {
                None => std::future::pending().await,
                Some(Ok(value)) => Ok(value.to_string().into_bytes()),
                Some(Err(error)) => Err(InvokeError::Function {
                    function: invocation.function,
                    error_type: error.to_owned(),
                    message: String::new(),
                    payload: json!({ "errorType": error }).to_string(),
                }),
            };
            Outcome { result, report: None }
        })
    }
}

pub fn engine(
    journal: &MemoryJournal,
    bucket: &Arc<Bucket>,
    answer: impl Fn(&Value) -> Option<Result<Value, &'static str>> + Send + Sync + 'static,
) -> Engine {
    let clock = AtomicI64::new(0);
    Engine::start(Parts {
        objects: Arc::clone(bucket) as _,
        journal: Box::new(journal.clone()),
        invoker: Arc::new(Function(Box::new(answer))),
        services: Arc::new(NoServices),
        access: starmap_engine::access::everything(),
        clock: Arc::new(move || Timestamp(clock.fetch_add(1_000, Ordering::Relaxed))),
        runtime: tokio::runtime::Handle::current(),
        naming: Naming::default(),
        limits: Limits::default(),
    })
    .unwrap()
}

/// A machine with one Distributed Map whose children call a function.
pub fn machine(fields: Value) -> String {
    let mut map = json!({
        "Type": "Map", "End": true, "Label": "L",
        "ItemProcessor": {
            "ProcessorConfig": { "Mode": "DISTRIBUTED", "ExecutionType": "STANDARD" }, "StartAt": "Do",
            "States": {
                "Do": { "Type": "Task", "Resource": "arn:aws:lambda:us-east-1:000000000000:function:f", "End": true },
            },
        },
    });
    map.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    json!({ "StartAt": "Each", "States": { "Each": map } }).to_string()
}

pub fn reader(key: &str, config: Value) -> Value {
    json!({
        "Resource": "arn:aws:states:::s3:getObject", "Parameters": { "Bucket": "b", "Key": key }, "ReaderConfig": config,
    })
}

pub fn start(input: Value) -> Start {
    Start { state_machine: "m".to_owned(), name: "one".to_owned(), input, annotations: Value::Null }
}

pub async fn run(engine: &Engine, definition: &str, input: Value) -> (Ending, MapRunRecord) {
    engine.create_state_machine("m", definition).await.unwrap();
    let started = engine.start_execution(start(input)).await.unwrap();
    let ending = engine.wait(started.id).await.unwrap();
    let runs = engine.reader().map_runs(started.id).unwrap();
    (ending, runs[0].clone())
}

pub fn lines(count: usize) -> String {
    (0..count).map(|number| format!("{{\"n\":{number}}}\n")).collect()
}
