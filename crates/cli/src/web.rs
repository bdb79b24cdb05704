//! HTTP from a state machine: how `starmap serve` sends the requests of HTTP Tasks.

use std::sync::Arc;

use anyhow::Context;
use bytes::{Bytes, BytesMut};
use starmap_server::services::http::{Fetching, Request, Response, TIMEOUT, Web, WebError};

/// See the [module](self). Keeps connections open.
#[derive(Debug)]
pub struct Client(reqwest::Client);

impl Client {
    /// A client that trusts whom the operating system trusts.
    pub fn new() -> anyhow::Result<Self> {
        // An error only says that another provider was chosen before us, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none()).build();
        Ok(Self(client.context("making the HTTP client of HTTP Tasks")?))
    }

    async fn answer(&self, request: Request<Bytes>, bytes_max: usize) -> Result<Response<Bytes>, WebError> {
        let request = reqwest::Request::try_from(request).map_err(|error| socket(&error))?;
        let mut answer = self.0.execute(request).await.map_err(|error| socket(&error))?;
        let mut body = BytesMut::new();
        while let Some(part) = answer.chunk().await.map_err(|error| socket(&error))? {
            if body.len() + part.len() > bytes_max {
                return Err(WebError::TooLarge);
            }
            body.extend_from_slice(&part);
        }
        let mut response = Response::new(body.freeze());
        *response.status_mut() = answer.status();
        *response.headers_mut() = std::mem::take(answer.headers_mut());
        Ok(response)
    }
}

impl Web for Client {
    fn send(self: Arc<Self>, request: Request<Bytes>, bytes_max: usize) -> Fetching {
        Box::pin(async move { self.answer(request, bytes_max).await })
    }
}

/// The error with what it came from: its own text names only the URL.
fn socket(error: &reqwest::Error) -> WebError {
    let chain = anyhow::Chain::new(error).map(ToString::to_string).collect::<Vec<_>>();
    WebError::Socket(chain.join(": "))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    /// Answers one request with these bytes; its own bytes.
    fn once(answer: &'static [u8]) -> (String, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/a?b=c", listener.local_addr().unwrap());
        let asked = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            let mut part = [0; 1_024];
            while !asked.ends_with(b"hello") {
                let length = stream.read(&mut part).unwrap();
                asked.extend_from_slice(&part[..length]);
            }
            stream.write_all(answer).unwrap();
            String::from_utf8(asked).unwrap()
        });
        (url, asked)
    }

    async fn post(url: &str, bytes_max: usize) -> Result<Response<Bytes>, WebError> {
        let mut request = Request::new(Bytes::from_static(b"hello"));
        *request.method_mut() = reqwest::Method::POST;
        *request.uri_mut() = url.parse().unwrap();
        Arc::new(Client::new().unwrap()).send(request, bytes_max).await
    }

    #[tokio::test]
    async fn a_request_goes_out_and_its_answer_comes_back() {
        let (url, asked) = once(b"HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 2\r\n\r\nok");
        let answer = post(&url, 2).await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.body().as_ref()), (302, &b"ok"[..]));
        assert_eq!(answer.headers()["location"], "/elsewhere");
        let asked = asked.join().unwrap();
        assert!(asked.starts_with("POST /a?b=c HTTP/1.1\r\n") && asked.contains("content-length: 5\r\n"), "{asked}");
    }

    #[tokio::test]
    async fn what_is_too_large_or_not_there_is_said() {
        let (url, asked) = once(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc");
        assert_eq!(post(&url, 2).await.map(drop), Err(WebError::TooLarge));
        asked.join().unwrap();
        // No one listens there any more.
        let Err(WebError::Socket(cause)) = post(&url, 2).await else { panic!("answered") };
        assert!(cause.contains("Connection refused"), "{cause}");
    }
}
