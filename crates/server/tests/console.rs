//! The console over HTTP: what is hostile stays text, what has consequences needs a token, every page has its twin.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use common::{Api, Client, FOREVER, PASS, Response, text};
use serde_json::{Value, json};
use starmap_asl::Timestamp;
use starmap_server::console::{Console, Parts};
use starmap_server::{AwsJson, Router, Server};
use tokio::sync::oneshot;

const HOSTILE: &str = "</title></script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&";

/// Prepares what there is to see, then runs `talk` on a thread of its own against a server with a console.
async fn serve<T: Send + 'static>(
    prepare: impl AsyncFnOnce(&Api) -> T,
    talk: impl FnOnce(SocketAddr, T) + Send + 'static,
) {
    let folder = tempfile::tempdir().unwrap();
    let api = Api::open(folder.path());
    let prepared = prepare(&api).await;
    let console = Console::new(Parts {
        engine: Arc::clone(&api.engine),
        step_functions: Arc::clone(&api.step_functions),
        clock: Arc::new(|| Timestamp(1_700_000_900_000)),
        workers: None,
        catalog: None,
        logs: None,
        science: None,
        data: None,
    });
    let router = Router::new().with(Arc::new(AwsJson::new(Arc::clone(&api.step_functions)))).with_console(console);
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), router).await.unwrap();
    let address = server.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(server.run(async move { drop(stopped.await) }));
    tokio::task::spawn_blocking(move || talk(address, prepared)).await.unwrap();
    drop(stop);
    serving.await.unwrap();
    api.close().await;
}

fn get(address: SocketAddr, path: &str) -> Response {
    Client::connect(address).send(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes(), b"")
}

fn page(address: SocketAddr, path: &str) -> String {
    let answer = get(address, path);
    assert_eq!(answer.status, 200, "{path}: {}", String::from_utf8_lossy(&answer.body));
    assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"), "{path}");
    String::from_utf8(answer.body).unwrap()
}

fn post(address: SocketAddr, path: &str, form: &str, headers: &str) -> Response {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\n{headers}content-type: application/x-www-form-urlencoded\r\n\
         content-length: {}\r\n\r\n",
        form.len()
    );
    Client::connect(address).send(head.as_bytes(), form.as_bytes())
}

/// The token of the forms on a page.
fn token(page: &str) -> String {
    let (_, rest) = page.split_once("name=\"token\" value=\"").expect("a form with a token");
    rest.split('"').next().unwrap().to_owned()
}

/// As a part of a query.
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_hostile_stays_text() {
    let definition = json!({
        "Comment": HOSTILE, "StartAt": HOSTILE.get(..60),
        "States": {
            HOSTILE.get(..60).unwrap(): { "Type": "Choice", "Choices": [{ "Variable": "$.x", "StringEquals": HOSTILE, "Next": "Out" }], "Default": "Out" },
            "Out": { "Type": "Parallel", "Comment": HOSTILE, "Branches": [{ "StartAt": "Bad", "States": { "Bad": { "Type": "Fail", "Error": HOSTILE, "Cause": HOSTILE } } }], "End": true },
        },
    });
    let prepare = async |api: &Api| {
        let machine = api.machine("m", &definition.to_string()).await;
        let input = json!({ "x": HOSTILE, HOSTILE: [HOSTILE] }).to_string();
        let started =
            api.call("StartExecution", json!({ "stateMachineArn": machine, "name": "e", "input": input })).await;
        let record = api.engine.reader().execution_by_arn(&text(&started["executionArn"])).unwrap().unwrap();
        api.engine.wait(record.id).await.unwrap();
        api.call("PublishStateMachineVersion", json!({ "stateMachineArn": machine, "description": HOSTILE })).await;
    };
    serve(prepare, |address, ()| {
        let q = encoded(HOSTILE);
        for path in [
            "/console/executions".to_owned(),
            format!("/console/executions?q={q}&machine={q}&sort={q}&status={q}"),
            "/console/executions/1".to_owned(),
            format!("/console/executions/1?state={q}"),
            format!("/console/executions/1?state={}", encoded(&HOSTILE[..60])),
            format!("/console/executions/1?view={q}&done={q}"),
            "/console/executions/1?view=table".to_owned(),
            "/console/executions/1?view=events".to_owned(),
            "/console/executions/1?view=io".to_owned(),
            "/console/executions/1?view=definition".to_owned(),
            "/console/machines/m".to_owned(),
            "/console/machines/m?view=versions".to_owned(),
            "/console/machines/m/start".to_owned(),
            "/console/machines/m/start?from=1".to_owned(),
            "/console/compare?id=1&id=1".to_owned(),
        ] {
            let page = page(address, &path);
            let scripts = page.matches("<script").count();
            assert_eq!(
                (scripts, page.contains("<img"), page.contains("onerror=alert(2)>\"")),
                (1, false, false),
                "{path}"
            );
        }
        let shown = page(address, "/console/executions/1?view=io");
        assert!(shown.contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "it is shown, as text");
        for path in [
            format!("/console/{q}"),
            format!("/console/executions/{q}"),
            format!("/console/map-runs/{q}"),
            format!("/console/machines/{q}"),
        ] {
            let missing = get(address, &path);
            let body = String::from_utf8(missing.body.clone()).unwrap();
            assert_eq!(
                (missing.status, body.matches("<script").count(), body.contains("<img")),
                (404, 1, false),
                "{path}"
            );
        }
        // Data is data to every browser, and pages run nothing but what they name.
        let twin = get(address, "/console/executions/1.json");
        assert_eq!(twin.header("content-type"), Some("application/json"));
        assert_eq!(twin.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(twin.json()["input"]["x"], HOSTILE);
        let policy = get(address, "/console/executions/1").header("content-security-policy").unwrap().to_owned();
        assert!(policy.starts_with("default-src 'none'; script-src 'nonce-"), "{policy}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_consequences_needs_a_token_of_this_server() {
    let prepare = async |api: &Api| {
        let machine = api.machine("m", FOREVER).await;
        for name in ["a", "b", "c"] {
            api.call("StartExecution", json!({ "stateMachineArn": machine, "name": name })).await;
        }
    };
    serve(prepare, |address, ()| {
        let status = |id: u32| text(&get(address, &format!("/console/executions/{id}.json")).json()["status"]);
        let token = token(&page(address, "/console/executions/1"));
        for (path, form) in [
            ("/console/executions/1/stop", String::new()),
            ("/console/executions/1/stop", "token=".to_owned()),
            ("/console/executions/1/stop", format!("token={}", "0".repeat(token.len()))),
            ("/console/executions/1/stop", format!("token={}", &token[1..])),
            ("/console/executions", "action=stop&id=1".to_owned()),
            ("/console/machines/m/start", "input=%7B%7D".to_owned()),
        ] {
            assert_eq!(post(address, path, &form, "").status, 403, "{path} {form}");
        }
        // With the right token, but from elsewhere, or as someone else.
        let form = format!("token={token}");
        for headers in ["origin: http://evil.example\r\n", "sec-fetch-site: cross-site\r\n"] {
            assert_eq!(post(address, "/console/executions/1/stop", &form, headers).status, 403, "{headers}");
        }
        let foreign = b"GET /console/executions HTTP/1.1\r\nhost: evil.example\r\n\r\n";
        assert_eq!(Client::connect(address).send(foreign, b"").status, 403);
        // Reading changes nothing.
        get(address, &format!("/console/executions/1/stop?token={token}"));
        assert_eq!(status(1), "RUNNING");

        let stopped = post(
            address,
            "/console/executions/1/stop",
            &format!("{form}&error=E&cause=it+was+me"),
            "origin: http://localhost\r\n",
        );
        assert_eq!((stopped.status, stopped.header("location")), (303, Some("/console/executions/1?done=stopped")));
        assert_eq!(status(1), "ABORTED");
        assert!(page(address, "/console/executions/1?done=stopped").contains("it was me"));
        let several = post(address, "/console/executions", &format!("{form}&action=stop&id=2&id=3"), "");
        assert_eq!((several.status, status(2).as_str(), status(3).as_str()), (303, "ABORTED", "ABORTED"));
        let redriven = post(address, "/console/executions/1/redrive", &form, "");
        assert_eq!((redriven.status, status(1).as_str()), (303, "RUNNING"));
        let refused = post(address, "/console/executions/1/redrive", &form, "");
        assert_eq!(refused.status, 400);
        assert!(String::from_utf8(refused.body).unwrap().contains("cannot be redriven"));

        let started = post(address, "/console/machines/m/start", &format!("{form}&name=d&input=%7B%22z%22%3A1%7D"), "");
        assert_eq!(started.header("location"), Some("/console/executions/4?done=started"));
        assert_eq!(get(address, "/console/executions/4.json").json()["input"], json!({ "z": 1 }));
        // What was written is still there when it is refused.
        let wrong = post(address, "/console/machines/m/start", &format!("{form}&name=e&input=%7B%22kept"), "");
        let body = String::from_utf8(wrong.body).unwrap();
        assert!(
            wrong.status == 400
                && body.contains("{&quot;kept</textarea>")
                && body.contains("Invalid State Machine Execution Input"),
            "{body}"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_has_its_twin() {
    let prepare = async |api: &Api| {
        let machine = api.machine("m", PASS).await;
        api.run(&machine, "one").await;
        api.run(&machine, "two").await;
    };
    serve(prepare, |address, ()| {
        for path in [
            "executions",
            "executions/1",
            "executions/one",
            "machines",
            "machines/m",
            "machines/m/start",
            "functions",
            "compare",
            "keyboard",
        ] {
            let query = if path == "compare" { "?id=1&id=2" } else { "" };
            page(address, &format!("/console/{path}{query}"));
            let twin = get(address, &format!("/console/{path}.json{query}"));
            assert_eq!((twin.status, twin.header("content-type")), (200, Some("application/json")), "{path}");
            assert!(twin.json().is_object() || twin.json().is_array(), "{path}");
        }
        let execution = get(address, "/console/executions/1.json").json();
        assert_eq!(execution["states"][0]["status"], "Succeeded");
        assert_eq!(execution["events"].as_array().map(Vec::len), Some(4));
        let missing = get(address, "/console/executions/9.json");
        assert_eq!((missing.status, missing.json()["message"].clone()), (404, json!("There is no execution 9 in this journal.")));

        // At the root, browsers get here; AWS's clients do not.
        let browser = Client::connect(address).send(b"GET / HTTP/1.1\r\nhost: localhost\r\naccept: text/html\r\n\r\n", b"");
        assert_eq!((browser.status, browser.header("location")), (303, Some("/console/executions")));
        assert_eq!(get(address, "/").status, 404);
        let signed = b"GET /console/key HTTP/1.1\r\nhost: localhost\r\nauthorization: AWS4-HMAC-SHA256 x/s3/aws4_request\r\n\r\n";
        assert_eq!(Client::connect(address).send(signed, b"").header("content-type"), Some("application/json"));
        // What a browser opens of a bucket is of no origin.
        let object = b"GET /bucket/page.html HTTP/1.1\r\nhost: localhost\r\nsec-fetch-dest: document\r\n\r\n";
        let object = Client::connect(address).send(object, b"");
        assert_eq!(object.header("content-security-policy"), Some("sandbox allow-scripts"));

        for name in ["console.css", "console.js", "icon.svg"] {
            let asset = get(address, &format!("/console/assets/{name}"));
            assert!(asset.status == 200 && !asset.body.is_empty(), "{name}");
            // Nothing is fetched from elsewhere.
            let content = String::from_utf8(asset.body).unwrap().replace("http://www.w3.org/2000/svg", "");
            assert!(!content.contains("//") || name == "console.js" && !content.contains("http"), "{name}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_are_filtered_sorted_and_paged() {
    let prepare = async |api: &Api| {
        let (machine, waiting) = (api.machine("m", PASS).await, api.machine("w", FOREVER).await);
        for number in 0..120 {
            api.run(&machine, &format!("run-{number:03}")).await;
        }
        api.call("StartExecution", json!({ "stateMachineArn": waiting, "name": "waits" })).await;
        waiting
    };
    serve(prepare, |address, waiting: String| {
        let names = |query: &str| -> (u64, Vec<String>) {
            let found = get(address, &format!("/console/executions.json{query}")).json();
            let names = found["executions"].as_array().unwrap().iter().map(|row: &Value| text(&row["name"])).collect();
            (found["total"].as_u64().unwrap(), names)
        };
        let (total, first) = names("");
        assert_eq!((total, first.len(), first[0].as_str(), first[1].as_str()), (121, 50, "waits", "run-119"));
        let (_, last) = names("?page=3");
        assert_eq!((last.len(), last[20].as_str()), (21, "run-000"));
        assert_eq!(names("?page=9"), (121, vec![]));
        assert_eq!(names("?q=N-00&sort=name&size=3"), (10, vec!["run-000".into(), "run-001".into(), "run-002".into()]));
        assert_eq!(names("?status=running").1, ["waits"]);
        assert_eq!(names("?status=succeeded,running").0, 121);
        assert_eq!(names(&format!("?machine={}", encoded(&waiting))).1, ["waits"]);
        assert_eq!(names("?from=2023-11-14&to=2023-11-14").0, 121);
        assert_eq!(names("?from=2023-11-16").0, 0);
        assert_eq!(get(address, "/console/executions?from=soon").status, 400);
        let shown = page(address, "/console/executions?page=2&q=run");
        assert!(shown.contains("51–100 of 120") && shown.contains("run-069"), "{shown}");
        assert!(page(address, "/console/executions?q=nothing").contains("No execution matches."));
        // Beyond what there is, and beyond what can be counted.
        page(address, "/console/executions?page=18446744073709551615&size=500");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_is_sent_again_when_it_changes() {
    let prepare = async |api: &Api| {
        let machine = api.machine("m", FOREVER).await;
        api.call("StartExecution", json!({ "stateMachineArn": machine, "name": "e" })).await;
    };
    serve(prepare, |address, ()| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"GET /console/executions/1?live=1 HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
        let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
        assert!(
            lines.by_ref().take_while(|line| !line.is_empty()).any(|line| line == "content-type: text/event-stream")
        );
        let mut event = |wanted: &str| lines.by_ref().find(|line| line.contains(wanted)).expect(wanted);
        assert!(event("\"id\":\"view\"").contains("is-running"));
        let token = token(&page(address, "/console/executions/1"));
        assert_eq!(post(address, "/console/executions/1/stop", &format!("token={token}"), "").status, 303);
        assert!(event("\"id\":\"view\"").contains("is-cancelled"));
        event("event: end");
    })
    .await;
    // A stream that is open does not keep a server from stopping.
    serve(
        async |api: &Api| drop(api.machine("m", PASS).await),
        |address, ()| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(b"GET /console/executions?live=1 HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
            let first = BufReader::new(stream.try_clone().unwrap())
                .lines()
                .map(Result::unwrap)
                .find(|line| line.starts_with("data:"));
            assert!(first.is_some());
            std::mem::forget(stream);
        },
    )
    .await;
}
