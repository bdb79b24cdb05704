//! The console over HTTP: what is hostile stays text, what has consequences needs a token, every page has its twin.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use serde_json::{Value, json};
use starmap_asl::Timestamp;
use starmap_iam::Directory;
use starmap_iam::directory::{LastUsed, NewRole, Owner, Session, Stamp};
use starmap_server::console::{Console, Parts};
use starmap_server::{ApiError, AwsJson, Router, Server};
use tokio::sync::oneshot;

use crate::common::{Api, Client, FOREVER, PASS, Response, text};

const HOSTILE: &str = "</title></script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&";

/// A role with a session that has secrets.
fn directory() -> Directory {
    const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"states.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;
    let mut directory = Directory::new("000000000000");
    let stamp = Stamp { at_ms: 1_700_000_000_000, random: 7 };
    let tags = [("team".to_owned(), "<sky>".to_owned())].into();
    let new = NewRole { name: "sky".to_owned(), trust: TRUST.to_owned(), tags, ..NewRole::default() };
    directory.create_role(new, stamp).unwrap();
    directory.attach(Owner::Role("sky"), "arn:aws:iam::aws:policy/AmazonS3FullAccess").unwrap();
    let inline =
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"lambda:InvokeFunction","Resource":"*"}]}"#;
    directory.put_inline(Owner::Role("sky"), "InvokeScoped", inline).unwrap();
    directory
        .used("sky", LastUsed { at_ms: 1_700_000_100_000, region: "us-east-1".to_owned(), service: "s3".to_owned() })
        .unwrap();
    let session = Session {
        name: "night".to_owned(),
        key_id: "ASIAEXAMPLE".to_owned(),
        secret: "very-secret".to_owned(),
        token: "very-secret-token".to_owned(),
        source: "user kim".to_owned(),
        started_at_ms: 1_700_000_000_000,
        expires_at_ms: 1_800_000_000_000,
        policy: None,
        policy_arns: Vec::new(),
    };
    directory.add_session("sky", session).unwrap();
    directory
}

/// One group with one stream, in the words of CloudWatch Logs.
fn log_groups(action: &str, members: &Value) -> Result<Value, ApiError> {
    let message = match members["filterPattern"].as_str() {
        Some(pattern) => format!("{pattern} was found"),
        None => HOSTILE.to_owned(),
    };
    let event = json!({ "timestamp": 1_700_000_000_123_i64, "message": message });
    Ok(match action {
        "DescribeLogGroups" => {
            json!({ "logGroups": [{ "logGroupName": "/aws/lambda/infer", "retentionInDays": 7 }], "nextToken": "t<" })
        }
        "DescribeLogStreams" => {
            json!({ "logStreams": [{ "logStreamName": "2023/11/14/[1]a", "lastEventTimestamp": 1 }] })
        }
        "GetLogEvents" => json!({ "events": [event], "nextForwardToken": "f" }),
        "FilterLogEvents" => json!({ "events": [event] }),
        other => panic!("{other} is asked"),
    })
}

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
        directory: Some(Arc::new(directory)),
        log_groups: Some(Arc::new(log_groups)),
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
        let several = post(address, "/console/executions", &format!("{form}&action=redrive&id=2&id=3"), "");
        assert_eq!((several.status, status(2).as_str(), status(3).as_str()), (303, "RUNNING", "RUNNING"));
        // Those that can't be are named; the others are done.
        let refused = post(address, "/console/executions", &format!("{form}&action=redrive&id=1&id=2"), "");
        let body = String::from_utf8(refused.body).unwrap();
        assert!(refused.status == 409 && body.contains("1 of 2 were refused. b: "), "{body}");
        assert_eq!(status(1), "RUNNING");
        assert_eq!(post(address, "/console/executions/1/stop", &form, "").status, 303);
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
            "logs",
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

/// Items fail where they say so.
const EACH: &str = r#"{"StartAt": "Each", "States": {"Each": {
    "Type": "Map", "End": true, "ItemsPath": "$.items", "MaxConcurrency": 40, "ToleratedFailurePercentage": 100, "ItemProcessor": {
        "ProcessorConfig": { "Mode": "DISTRIBUTED", "ExecutionType": "STANDARD" }, "StartAt": "Well?", "States": {
            "Well?": { "Type": "Choice", "Choices": [{ "Variable": "$.bad", "BooleanEquals": true, "Next": "Bad" }], "Default": "Good" },
            "Bad": { "Type": "Fail", "Error": "Sky.Cloudy", "Cause": "clouds" }, "Good": { "Type": "Pass", "End": true } } } } } }"#;

/// Starts a map of so many items, every hundredth of which fails, and waits for its end.
async fn each(api: &Api, count: usize) {
    let machine = api.machine("each", EACH).await;
    let items: Vec<Value> = (0..count).map(|index| json!({ "bad": index % 100 == 7 })).collect();
    let input = json!({ "items": items, "batch_size": 256 }).to_string();
    let started =
        api.call("StartExecution", json!({ "stateMachineArn": machine, "name": "map", "input": input })).await;
    let record = api.engine.reader().execution_by_arn(&text(&started["executionArn"])).unwrap().unwrap();
    api.engine.wait(record.id).await.unwrap();
}

/// Every page is found by its links; each has its twin, and those with something to do say the command.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_link_leads_to_a_page_with_its_twin_and_its_commands() {
    let prepare = async |api: &Api| {
        let machine = api.machine("m", PASS).await;
        api.run(&machine, "one").await;
        api.call("PublishStateMachineVersion", json!({ "stateMachineArn": machine })).await;
        each(api, 230).await;
        let waiting = api.machine("w", FOREVER).await;
        api.call("StartExecution", json!({ "stateMachineArn": waiting, "name": "waits" })).await;
    };
    serve(prepare, |address, ()| {
        // What is only reached by a form or the script, and the start.
        let mut wanted = ["compare?id=1&id=2", "map-runs/1/children?show=all", "executions"]
            .map(|path| format!("/console/{path}"))
            .to_vec();
        let mut kinds = std::collections::BTreeMap::<String, usize>::new();
        let mut seen = std::collections::BTreeSet::new();
        while let Some(link) = wanted.pop() {
            let link = link.split('#').next().unwrap().replace("&amp;", "&");
            if !seen.insert(link.clone()) {
                continue;
            }
            let (path, query) = link.split_once('?').map_or((link.as_str(), ""), |(path, query)| (path, query));
            let parts: Vec<&str> = path.split('/').skip(2).collect();
            // As a kind: what is of one thing is a star.
            let kind: Vec<&str> = parts.iter().enumerate().map(|(at, part)| if at == 1 { "*" } else { part }).collect();
            let kind = format!("{} {}", kind.join("/"), query.split(['=', '&']).next().unwrap_or_default());
            let many = kinds.entry(kind.clone()).or_default();
            *many += 1;
            if parts.first() == Some(&"assets") || path.ends_with(".json") || *many > 12 {
                continue;
            }
            let shown = page(address, &link);
            let twin = get(address, &format!("{path}.json?{query}"));
            assert_eq!((twin.status, twin.header("content-type")), (200, Some("application/json")), "{link}");
            twin.json();
            assert!(shown.contains("class=\"cli\"") || path.ends_with("/keyboard"), "{link}: no command");
            assert!(shown.contains("<a class=\"skip\" href=\"#main\">"), "{link}: no way past the navigation");
            for found in shown.split(" href=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
                if found.starts_with("/console/") {
                    wanted.push(found.to_owned());
                }
            }
        }
        let kinds: Vec<&str> = kinds.keys().map(String::as_str).collect();
        for kind in [
            "executions ",
            "executions sort",
            "executions/* ",
            "executions/* state",
            "executions/* view",
            "map-runs/* ",
            "map-runs/* show",
            "map-runs/*/children show",
            "machines ",
            "machines/* ",
            "machines/*/start ",
            "machines/*/start from",
            "functions ",
            "logs ",
            "roles ",
            "roles/* ",
            "roles/* view",
            "compare id",
            "keyboard ",
        ] {
            assert!(kinds.contains(&kind), "{kind} is not linked: {kinds:?}");
        }
        assert!(seen.len() > 60, "{}", seen.len());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_has_all_that_aws_shows_of_it_and_no_secret() {
    serve(
        async |api: &Api| drop(api.machine("m", PASS).await),
        |address, ()| {
            let own = "/console/roles/sky";
            for (view, expected) in [
                (
                    "",
                    vec![
                        "AmazonS3FullAccess",
                        "AWS managed",
                        "InvokeScoped",
                        "lambda:InvokeFunction",
                        "least-privilege",
                    ],
                ),
                ("?view=trust", vec!["states.amazonaws.com", "sts:AssumeRole"]),
                ("?view=tags", vec!["team", "&lt;sky&gt;"]),
                ("?view=accessed", vec!["us-east-1", "s3"]),
                ("?view=sessions", vec!["night", "user kim", "ASIAEXAMPLE"]),
            ] {
                let shown = page(address, &format!("{own}{view}"));
                for expected in expected {
                    assert!(shown.contains(expected), "{view}: {expected} in {shown}");
                }
                // Its ARN, and the state machines that run with it.
                assert!(
                    shown.contains("arn:aws:iam::000000000000:role/sky") && shown.contains("/console/machines/m"),
                    "{view}"
                );
                assert!(!shown.contains("very-secret"), "{view}");
            }
            let twin = get(address, &format!("{own}.json"));
            assert!(!String::from_utf8_lossy(&twin.body).contains("very-secret"));
            let twin = twin.json();
            assert_eq!(twin["inlinePolicies"][0]["document"]["Statement"][0]["Action"], "lambda:InvokeFunction");
            assert_eq!((&twin["sessions"][0]["isAlive"], &twin["lastUsed"]["service"]), (&json!(true), &json!("s3")));
            assert!(page(address, "/console/roles").contains("states.amazonaws.com"));
            // A state machine leads to its role.
            assert!(page(address, "/console/machines/m").contains("href=\"/console/roles/sky\""));
            assert_eq!(get(address, "/console/roles/none").status, 404);
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_groups_are_those_that_clients_are_told_of() {
    serve(
        async |_: &Api| (),
        |address, ()| {
            let groups = page(address, "/console/logs/groups");
            let link = "/console/logs/groups/%2Faws%2Flambda%2Finfer";
            assert!(groups.contains(link) && groups.contains("7 days") && groups.contains("?next=t%3C"), "{groups}");
            let group = page(address, link);
            assert!(group.contains("2023/11/14/[1]a") && group.contains("&lt;script&gt;alert(1)"), "{group}");
            assert!(page(address, &format!("{link}?q=ERROR")).contains("ERROR was found"));
            assert!(page(address, &format!("{link}?stream=a")).contains("aws logs filter-log-events"));
            let twin = get(address, &format!("{link}.json?q=ERROR")).json();
            assert_eq!(twin["events"][0]["message"], "ERROR was found");
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn children_of_a_map_run_are_read_a_piece_at_a_time() {
    serve(
        async |api: &Api| each(api, 1_030).await,
        |address, ()| {
            let children = |query: &str| {
                let found = get(address, &format!("/console/map-runs/1/children.json?{query}")).json();
                let items =
                    found["executions"].as_array().unwrap().iter().map(|row| row["itemIndex"].as_u64().unwrap());
                (found["total"].as_u64().unwrap(), items.collect::<Vec<_>>())
            };
            assert_eq!(children("show=all&from=1000&count=500"), (1_030, (1_000..1_030).collect()));
            assert_eq!(children("show=newest&count=2"), (1_030, vec![1_029, 1_028]));
            assert_eq!(children("show=failed"), (11, (0..11).map(|index| 100 * index + 7).collect()));
            assert_eq!(children("show=running"), (0, vec![]));
            // What failed is first, and each child is there once, whatever the pieces.
            let mut seen = Vec::new();
            for from in (0..1_030).step_by(70) {
                let (total, items) = children(&format!("show=attention&from={from}&count=70"));
                assert_eq!(total, 1_030);
                seen.extend(items);
            }
            assert_eq!(seen[..11], (0..11).map(|index| 100 * index + 7).collect::<Vec<_>>());
            seen.sort_unstable();
            assert_eq!(seen, (0..1_030).collect::<Vec<_>>());
            let rows = |page: &str| page.matches("<tr aria-rowindex=").count();
            let whole = page(address, "/console/map-runs/1");
            assert_eq!((rows(&whole), whole.contains("data-total=\"1030\"")), (101, true), "{whole}");
            assert!(whole.contains("<code>Sky.Cloudy</code>") && whole.contains("\">Item 7</a>"), "{whole}");
            let piece = page(address, "/console/map-runs/1/children?show=all&from=40&count=5");
            assert!(rows(&piece) == 6 && piece.contains("<tr aria-rowindex=\"42\">"), "{piece}");
            assert_eq!(children("show=all&from=18446744073709551615").1, [0; 0]);
            assert_eq!(get(address, "/console/executions.json?input=%24.batch_size%20%3D%20256").json()["total"], 1);
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_are_filtered_sorted_and_paged() {
    let prepare = async |api: &Api| {
        let (machine, waiting) = (api.machine("m", PASS).await, api.machine("w", FOREVER).await);
        for number in 0..120 {
            api.run(&machine, &format!("run-{number:03}")).await;
        }
        let input = json!({ "n": 2, "field": { "name": "Deep Sky" } }).to_string();
        api.call("StartExecution", json!({ "stateMachineArn": waiting, "name": "waits", "input": input })).await;
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
        // By what went in; what is no question is refused with what one looks like.
        assert_eq!(names("?input=%24.n%20%3E%201").1, ["waits"]);
        assert_eq!(names("?input=%24.n%20%3E%202").0, 0);
        assert_eq!(names("?input=deep%20SKY").1, ["waits"]);
        let refused = get(address, "/console/executions?input=%24.n%20is%201");
        assert!(refused.status == 400 && String::from_utf8(refused.body).unwrap().contains("expected for example"));
        // By every column, in both directions.
        for column in ["name", "status", "started", "stopped", "duration", "version", "alias", "redrives"] {
            let (up, down) = (
                names(&format!("?sort={column}&dir=asc&size=500")),
                names(&format!("?sort={column}&dir=desc&size=500")),
            );
            assert!(up.0 == 121 && up.1.iter().eq(down.1.iter().rev()), "{column}");
            let way = if column == "name" { "ascending" } else { "descending" };
            let shown = page(address, &format!("/console/executions?sort={column}"));
            assert!(shown.contains(&format!("aria-sort=\"{way}\"")), "{column}");
        }
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
