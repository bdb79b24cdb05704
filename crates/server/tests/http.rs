//! The edge: what is answered to requests that are no actions, and to many of them on one connection.

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::json;
use starmap_server::{AwsJson, Router, Server};
use tokio::sync::oneshot;

use crate::common::{Api, Client};

/// Runs `talk` on a thread of its own against a server, then stops the server.
async fn serve(talk: impl FnOnce(SocketAddr) + Send + 'static) {
    let folder = tempfile::tempdir().unwrap();
    let api = Api::open(folder.path());
    let router = Router::new().with(Arc::new(AwsJson::new(Arc::clone(&api.step_functions))));
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), router).await.unwrap();
    let address = server.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(server.run(async move { drop(stopped.await) }));
    tokio::task::spawn_blocking(move || talk(address)).await.unwrap();
    drop(stop);
    serving.await.unwrap();
    api.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_connection_serves_many_requests() {
    serve(|address| {
        let mut client = Client::connect(address);
        let health = client.send(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n", b"");
        assert_eq!((health.status, health.json()), (200, json!({ "status": "ok" })));
        for number in 0..3 {
            let body = json!({ "name": format!("activity-{number}"), "unknown": true }).to_string();
            let created = client.action("CreateActivity", body.as_bytes());
            assert_eq!(created.status, 200, "{created:?}");
            assert_eq!(created.header("content-type"), Some("application/x-amz-json-1.0"));
            assert_eq!(created.header("x-amzn-requestid").map(str::len), Some(36));
        }
        // Members may be missing altogether.
        let listed = client.action("ListActivities", b"").json();
        assert_eq!(listed["activities"].as_array().map(Vec::len), Some(3));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_action_is_refused_by_name() {
    serve(|address| {
        let check = |action: &str, body: &[u8], status: u16, name: &str| {
            let refused = Client::connect(address).action(action, body);
            assert_eq!((refused.status, refused.header("x-amzn-errortype")), (status, Some(name)), "{refused:?}");
            assert_eq!(refused.json()["__type"], name);
        };
        check("LaunchExecution", b"{}", 400, "UnknownOperationException");
        check("ListActivities", b"{", 400, "SerializationException");
        check("ListActivities", b"[]", 400, "SerializationException");
        check("ListActivities", b"\xff", 400, "SerializationException");
        check("ListActivities", br#"{"maxResults": "ten"}"#, 400, "SerializationException");
        check("ListActivities", br#"{"maxResults": 1001}"#, 400, "ValidationException");
        let deep = [b"{\"a\":".repeat(50_000), b"1".to_vec(), b"}".repeat(50_000)].concat();
        check("ListActivities", &deep, 400, "SerializationException");
        let large = vec![b' '; 1_048_577];
        check("ListActivities", &large, 413, "RequestEntityTooLargeException");

        let other = Client::connect(address)
            .send(b"POST / HTTP/1.1\r\nhost: localhost\r\nx-amz-target: Logs.Put\r\ncontent-length: 2\r\n\r\n", b"{}");
        assert_eq!((other.status, other.json()["__type"].clone()), (400, json!("UnknownOperationException")));
        for foreign in ["host: evil.example", "host: localhost\r\norigin: http://evil.example"] {
            let head = format!("POST / HTTP/1.1\r\n{foreign}\r\nx-amz-target: AWSStepFunctions.ListActivities\r\ncontent-length: 2\r\n\r\n");
            assert_eq!(Client::connect(address).send(head.as_bytes(), b"{}").status, 403, "{foreign}");
        }
        assert_eq!(Client::connect(address).send(b"GET /nowhere HTTP/1.1\r\nhost: localhost\r\n\r\n", b"").status, 404);
    })
    .await;
}
