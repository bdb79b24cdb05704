//! The `bootstrap` executable against a Runtime API of the test: the protocol, the names of errors, and its memory.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use starmap_astromae::Config;
use starmap_pipeline::initialize::initialize;

use crate::common::{Galaxies, MODEL, Sky, block_on, write_model_of};

const ANSWERS_WITHIN: Duration = Duration::from_secs(300);

/// A Runtime API that hands out invocations and collects answers: `(kind, body)`, kind being `response` or `error`.
struct RuntimeApi {
    address: String,
    invocations: Sender<Value>,
    answers: Receiver<(String, Value)>,
}

impl RuntimeApi {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (invocations, next) = channel();
        let (answer, answers) = channel();
        let next = Arc::new(Mutex::new(next));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (next, answer) = (Arc::clone(&next), answer.clone());
                std::thread::spawn(move || serve(stream, &next, &answer));
            }
        });
        Self { address, invocations, answers }
    }

    fn invoke(&self, payload: Value) -> (String, Value) {
        self.invocations.send(payload).unwrap();
        self.answers.recv_timeout(ANSWERS_WITHIN).expect("an answer")
    }
}

/// Serves one connection until it is closed.
fn serve(stream: TcpStream, next: &Mutex<Receiver<Value>>, answer: &Sender<(String, Value)>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut writer = stream;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|&bytes| bytes > 0)?;
        let path = line.split(' ').nth(1)?.to_owned();
        let mut headers = HashMap::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim().split_once(':') else { break };
            headers.insert(name.to_lowercase(), value.trim().to_owned());
        }
        let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let reply = if path.ends_with("/invocation/next") {
            let payload = next.lock().ok()?.recv().ok()?.to_string();
            format!(
                "HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: 1\r\nLambda-Runtime-Deadline-Ms: 4000000000000\r\n\
                 Lambda-Runtime-Invoked-Function-Arn: arn:f\r\nContent-Length: {}\r\n\r\n{payload}",
                payload.len()
            )
        } else {
            let kind = path.rsplit('/').next()?.to_owned();
            answer.send((kind, serde_json::from_slice(&body).ok()?)).ok()?;
            "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n".to_owned()
        };
        writer.write_all(reply.as_bytes()).ok()?;
    }
}

/// The executable, ended with the test.
struct Bootstrap(Child);

impl Bootstrap {
    fn start(api: &RuntimeApi, handler: &str, buckets: &Path) -> Self {
        let started = Command::new(env!("CARGO_BIN_EXE_bootstrap"))
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", &api.address)
            .env("AWS_LAMBDA_FUNCTION_NAME", "starmap-infer")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1769")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_LOG_STREAM_NAME", "2026/11/24/[$LATEST]0")
            .env("_HANDLER", handler)
            .env("STARMAP_BUCKETS", buckets)
            .env("STARMAP_EXIT_WITH_STDIN", "1")
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        Self(started.unwrap())
    }
}

impl Drop for Bootstrap {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_three_functions_run_as_processes() {
    let sky = Sky::new();
    let run = |handler: &str, payloads: &[Value]| -> Vec<Value> {
        // Each its own: the last request of a process that has been ended would take the next one's invocation.
        let api = RuntimeApi::start();
        let _bootstrap = Bootstrap::start(&api, handler, &sky.root());
        payloads
            .iter()
            .map(|payload| {
                let (kind, answer) = api.invoke(payload.clone());
                assert_eq!(kind, "response", "{answer}");
                answer
            })
            .collect()
    };
    let initialized = run("initialize", &[json!({"execution": "redshift-1", "input": sky.input(|_| ())})]).remove(0);
    let inferred = run("starmap-infer", initialized["body"].as_array().unwrap());
    assert_eq!(inferred.iter().map(|answer| answer["galaxies"].as_u64().unwrap()).sum::<u64>(), 60);
    assert!(inferred[0].to_string().len() < 200, "{}", inferred[0]);
    let summarized = run("bootstrap.summarize", &[initialized]).remove(0);
    assert_eq!((&summarized["run_id"], &summarized["galaxies"]), (&json!("redshift-1"), &json!(60)));

    let (first, second) = (sky.json("results/a b/1/0.json"), sky.json("results/a b/1/1.json"));
    assert!(first["phases"]["init"].as_f64().is_some_and(|init| init > 0.0));
    assert_eq!(
        (&first["cold"], &second["cold"], &second["phases"]["init"]),
        (&json!(true), &json!(false), &Value::Null)
    );
    assert_eq!((&first["memory_mib"], &first["log_stream"]), (&json!(1769), &json!("2026/11/24/[$LATEST]0")));
}

#[test]
fn an_error_has_our_name_and_the_process_goes_on() {
    let sky = Sky::new();
    let api = RuntimeApi::start();
    let _bootstrap = Bootstrap::start(&api, "initialize", &sky.root());
    for _ in 0..2 {
        let (kind, error) = api.invoke(sky.input(|input| input["bucket"] = json!("skyy")));
        assert_eq!((kind.as_str(), error["errorType"].as_str().unwrap()), ("error", "Starmap.BucketNotFound"));
        assert!(error["errorMessage"].as_str().unwrap().starts_with("bucket skyy: not found in "), "{error}");
    }
    assert_eq!(api.invoke(sky.input(|_| ())).0, "response");
}

#[test]
fn a_wrong_configuration_is_told_to_whoever_invokes() {
    let sky = Sky::new();
    let api = RuntimeApi::start();
    let _bootstrap = Bootstrap::start(&api, "inference", &sky.root());
    let (kind, error) = api.invoke(json!({}));
    assert_eq!((kind.as_str(), error["errorType"].as_str().unwrap()), ("error", "Starmap.Internal"));
    assert!(error["errorMessage"].as_str().unwrap().contains("expected initialize, infer or summarize"), "{error}");
}

#[test]
fn the_process_ends_with_its_standard_input() {
    let sky = Sky::new();
    let api = RuntimeApi::start();
    let mut bootstrap = Bootstrap::start(&api, "infer", &sky.root());
    drop(bootstrap.0.stdin.take());
    assert!(bootstrap.0.wait().unwrap().success());
}

/// The full-size model, and more galaxies than are ever in memory at once. `STARMAP_TEST_GALAXIES` takes another
/// number: memory does not depend on it.
#[test]
fn a_worker_takes_less_than_400_mib() {
    let galaxies = std::env::var("STARMAP_TEST_GALAXIES").ok().and_then(|text| text.parse().ok()).unwrap_or(1_100);
    let sky = Sky::new();
    write_model_of(Config::default(), &sky.path(MODEL), None);
    Galaxies::new(0, galaxies).write(&sky.path("data/small/1.pt"));
    let input = sky.input(|input| {
        input["file_limit"] = json!(1);
        input["batch_size"] = json!(100_000);
    });
    let answer = block_on(initialize(&sky.store, &input)).unwrap();
    let api = RuntimeApi::start();
    let _bootstrap = Bootstrap::start(&api, "infer", &sky.root());
    let (kind, inferred) = api.invoke(answer["body"][0].clone());
    assert_eq!((kind.as_str(), inferred["galaxies"].as_u64().unwrap()), ("response", galaxies as u64), "{inferred}");
    let rank = sky.json("results/a b/1/0.json");
    let peak_rss_mib = rank["peak_rss_mib"].as_f64().unwrap();
    assert!(peak_rss_mib < 400.0, "{peak_rss_mib} MiB resident at most, for {galaxies} galaxies: {rank:#}");
    if std::env::var_os("STARMAP_TEST_GALAXIES").is_some() {
        let _ = writeln!(std::io::stderr(), "{rank:#}");
    }
}
