//! An S3 server that others wrote, for tests.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::common::{MODEL, Place, files, text};

pub struct Moto {
    server: Child,
    pub endpoint: String,
}

impl Moto {
    /// One HTTP request; status and body of the answer.
    pub fn request(&self, method: &str, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
        request(self.endpoint.trim_start_matches("http://"), method, path, body)
    }
}

/// One HTTP request to a moto server at `host:port`; status and body of the answer.
pub fn request(address: &str, method: &str, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: {}\r\n\
         Authorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let status = text(&answer[..end]).split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_off(end + 4))
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

pub fn program() -> Option<PathBuf> {
    let found = std::env::var_os("STARMAP_MOTO_SERVER").map(PathBuf::from).or_else(|| {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|folder| folder.join("moto_server")).find(|program| program.is_file())
    });
    if found.is_none() {
        assert!(std::env::var_os("STARMAP_REQUIRE_MOTO").is_none(), "moto_server is required");
        eprintln!("SKIPPED: no moto_server (pip install 'moto[server]', or STARMAP_MOTO_SERVER)");
    }
    found
}

pub fn start(program: &Path) -> Moto {
    // A port that is free now; nothing else on this machine is likely to take it in between.
    let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let mut command = Command::new(program);
    command.args(["-H", "127.0.0.1", "-p", &port.to_string()]).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut server = command.spawn().unwrap();
    let mut lines = BufReader::new(server.stderr.take().unwrap()).lines();
    let ready = lines.by_ref().map_while(Result::ok).find(|line| line.contains("Running on"));
    assert!(ready.is_some(), "moto did not start");
    // Its request log must not fill the pipe.
    std::thread::spawn(move || lines.for_each(drop));
    Moto { server, endpoint: format!("http://127.0.0.1:{port}") }
}

/// Puts a place's partitions and model into a bucket of its own.
pub fn upload(moto: &Moto, place: &Place) {
    assert_eq!(moto.request("PUT", "/sky", &[]).0, 200);
    for file in files(&place.parts()) {
        let bytes = std::fs::read(place.parts().join(&file)).unwrap();
        assert_eq!(moto.request("PUT", &format!("/sky/parts/{file}"), &bytes).0, 200);
    }
    assert_eq!(moto.request("PUT", "/sky/a%20folder/demo.safetensors", MODEL).0, 200);
}
