//! A small HTTP server that answers as a test tells it to, one request per connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::{Value, json};

/// What is asked.
pub struct Request {
    /// How many requests there were before.
    pub number: usize,
    /// First line and headers.
    pub head: String,
    /// The body.
    pub body: String,
}

/// What is answered.
pub struct Answer {
    pub status: u16,
    pub headers: String,
    pub body: String,
}

impl Answer {
    pub fn json(value: &Value) -> Self {
        Self { status: 200, headers: String::new(), body: value.to_string() }
    }

    /// As the AWS JSON protocols have errors.
    pub fn error(status: u16, code: &str, message: &str) -> Self {
        let body = json!({ "__type": format!("com.amazonaws.example#{code}"), "message": message }).to_string();
        Self { status, headers: "x-amzn-RequestId: 4a-0\r\n".to_owned(), body }
    }

    /// The connection ends without one.
    pub fn silence() -> Self {
        Self { status: 0, headers: String::new(), body: String::new() }
    }
}

/// See the [module](self). Ends with the test's process.
pub struct Fake {
    pub endpoint: String,
    requests: Arc<AtomicUsize>,
}

impl Fake {
    pub fn start(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(AtomicUsize::new(0));
        let (answer, counter) = (Arc::new(answer), Arc::clone(&requests));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, counter) = (Arc::clone(&answer), Arc::clone(&counter));
                thread::spawn(move || {
                    let number = counter.fetch_add(1, Ordering::SeqCst);
                    serve(stream, number, &*answer);
                });
            }
        });
        Self { endpoint, requests }
    }

    /// How often it was asked.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

fn serve(mut stream: TcpStream, number: usize, answer: &impl Fn(&Request) -> Answer) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).unwrap_or(0) == 0 {
            return;
        }
    }
    let lower = head.to_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    if reader.read_exact(&mut body).is_err() {
        return;
    }
    let request = Request { number, head, body: String::from_utf8_lossy(&body).into_owned() };
    let Answer { status, headers, body } = answer(&request);
    if status > 0 {
        let head =
            format!("HTTP/1.1 {status} x\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
        // A client that goes away is no failure of the server.
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
    }
}
