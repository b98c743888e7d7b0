//! A server of this machine that remembers what it is sent.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A request as it came: headers in lower case, and the raw body.
#[derive(Debug, Clone)]
pub struct Received {
    /// Header values by name.
    pub headers: BTreeMap<String, String>,
    /// The bytes of the body.
    pub body: Vec<u8>,
}

/// See the [module](self). It answers for as long as the test runs.
pub struct Receiver {
    url: String,
    got: Arc<Mutex<Vec<Received>>>,
    status: Arc<AtomicU16>,
}

impl Receiver {
    /// Answers every request with `status` and these bytes.
    pub fn start(status: u16, answer: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let url = format!("http://{}", listener.local_addr().expect("it has an address"));
        let receiver = Self { url, got: Arc::default(), status: Arc::new(AtomicU16::new(status)) };
        let (got, status) = (receiver.got.clone(), receiver.status.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if let Some(request) = take(&stream) {
                    got.lock().unwrap_or_else(PoisonError::into_inner).push(request);
                }
                let head = format!(
                    "HTTP/1.1 {} .\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    status.load(Ordering::SeqCst),
                    answer.len()
                );
                let mut stream = stream;
                // A client that has gone away has seen enough.
                let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&answer));
            }
        });
        receiver
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What came until now.
    pub fn got(&self) -> Vec<Received> {
        self.got.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Answers with another status from now on.
    pub fn answer_with(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }
}

fn take(stream: &TcpStream) -> Option<Received> {
    let mut reader = BufReader::new(stream);
    let mut headers = BTreeMap::new();
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Received { headers, body })
}
