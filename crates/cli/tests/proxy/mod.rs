//! A proxy in front of an S3 server that does to requests what networks and stores do.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `503 Slow Down`, and the server never sees it.
    Unavailable,
    /// No answer, ever.
    Silence,
    /// Half of the answer's body, then the end of the connection.
    Truncated,
    /// This share of the answer's body, in 1/65,536, then the end of the connection.
    Cut(u16),
    /// This share of the answer's body, in 1/65,536, then nothing, ever.
    Stalled(u16),
    /// The answer under another ETag.
    WrongEtag,
    /// The connection ends before an answer.
    Reset,
}

/// The method, the path with its query, and how many requests of that method there were before.
pub type Rule = Box<dyn Fn(&str, &str, usize) -> Option<Fault> + Send + Sync>;

/// See the [module](self). Ends with the test's process.
pub struct Proxy {
    pub endpoint: String,
    shared: Arc<Shared>,
}

struct Shared {
    server: String,
    rule: Mutex<Rule>,
    requests: AtomicUsize,
    faults: AtomicUsize,
}

impl Proxy {
    /// A proxy in front of `endpoint`.
    pub fn start(endpoint: &str, rule: impl Fn(&str, &str, usize) -> Option<Fault> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let own = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            server: endpoint.trim_start_matches("http://").to_owned(),
            rule: Mutex::new(Box::new(rule)),
            requests: AtomicUsize::new(0),
            faults: AtomicUsize::new(0),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&accepting);
                // A client that goes away is no failure of the proxy.
                thread::spawn(move || shared.serve(stream).ok());
            }
        });
        Self { endpoint: own, shared }
    }

    /// How many requests there were.
    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// How many requests were harmed.
    pub fn faults(&self) -> usize {
        self.shared.faults.load(Ordering::SeqCst)
    }
}

impl Shared {
    /// One request per connection: the client is told so.
    fn serve(&self, mut client: TcpStream) -> io::Result<()> {
        let (head, body) = message(&mut BufReader::new(client.try_clone()?))?;
        let mut words = head.split(' ');
        let (method, path) = (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned());
        let number = self.requests.fetch_add(1, Ordering::SeqCst);
        let fault = (self.rule.lock().unwrap())(&method, &path, number);
        self.faults.fetch_add(usize::from(fault.is_some()), Ordering::SeqCst);
        match fault {
            Some(Fault::Unavailable) => {
                let xml = "<Error><Code>SlowDown</Code><Message>Reduce your request rate</Message></Error>";
                let length = xml.len();
                return write!(
                    client,
                    "HTTP/1.1 503 Slow Down\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{xml}"
                );
            }
            Some(Fault::Silence) => {
                // Until the client gives up.
                return client.read(&mut [0]).map(drop);
            }
            Some(Fault::Reset) => return client.shutdown(Shutdown::Both),
            _ => {}
        }
        let mut server = TcpStream::connect(&self.server)?;
        server.write_all(closing(&head).as_bytes())?;
        server.write_all(&body)?;
        let mut answer = Vec::new();
        server.read_to_end(&mut answer)?;
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n").map_or(answer.len(), |at| at + 4);
        let (head, body) = answer.split_at(end);
        let mut head = closing(&String::from_utf8_lossy(head));
        if fault == Some(Fault::WrongEtag) {
            head = changed(&head, "etag", "\"00000000000000000000000000000000\"");
        }
        client.write_all(head.as_bytes())?;
        let share = |share: u16| body.len() * usize::from(share) / 65_536;
        let sent = match fault {
            Some(Fault::Truncated) => body.len() / 2,
            Some(Fault::Cut(part) | Fault::Stalled(part)) => share(part),
            _ => body.len(),
        };
        client.write_all(&body[..sent])?;
        if matches!(fault, Some(Fault::Stalled(_))) {
            // Until the client gives up.
            client.read(&mut [0]).map(drop)?;
        }
        Ok(())
    }
}

/// A message's head, to the empty line, and its body by its Content-Length.
fn message(reader: &mut impl BufRead) -> io::Result<(String, Vec<u8>)> {
    let mut head = String::new();
    loop {
        let before = head.len();
        if reader.read_line(&mut head)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if head[before..].trim_end().is_empty() {
            break;
        }
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body)?;
    Ok((head, body))
}

fn closing(head: &str) -> String {
    let without: Vec<&str> = head.trim_end().lines().filter(|line| !is(line, "connection")).collect();
    format!("{}\r\nConnection: close\r\n\r\n", without.join("\r\n"))
}

fn changed(head: &str, name: &str, value: &str) -> String {
    let lines = head.trim_end().lines();
    let lines = lines.map(|line| if is(line, name) { format!("{name}: {value}") } else { line.to_owned() });
    lines.collect::<Vec<_>>().join("\r\n") + "\r\n\r\n"
}

fn is(line: &str, name: &str) -> bool {
    line.split_once(':').is_some_and(|(found, _)| found.eq_ignore_ascii_case(name))
}
