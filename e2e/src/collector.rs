//! A collector of traces: receives spans by OTLP over HTTP and keeps them.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use prost::Message;

/// A received span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectedSpan {
    /// Name.
    pub name: String,
    /// Trace, as hexadecimal.
    pub trace: String,
    /// Id, as hexadecimal.
    pub id: String,
    /// Id of the parent; empty for a root.
    pub parent: String,
    /// Attributes that are text or whole numbers, as text.
    pub attributes: Vec<(String, String)>,
    /// Start in nanoseconds since 1970.
    pub start: u64,
    /// End in nanoseconds since 1970.
    pub end: u64,
}

impl CollectedSpan {
    /// The attribute of this name.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// The collector. It listens until the process ends.
pub struct Collector {
    /// Base URL.
    pub url: String,
    spans: Arc<Mutex<Vec<CollectedSpan>>>,
}

impl Collector {
    /// Listens on a port of loopback.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port can be had");
        let url = format!("http://{}", listener.local_addr().expect("it has an address"));
        let spans = Arc::new(Mutex::new(Vec::new()));
        let kept = spans.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = kept.clone();
                std::thread::spawn(move || while serve(&stream, &kept).is_some() {});
            }
        });
        Self { url, spans }
    }

    /// Spans received so far.
    pub fn spans(&self) -> Vec<CollectedSpan> {
        self.spans.lock().expect("no thread panics with it").clone()
    }
}

/// Serves one request of a connection; `None` at the end of the connection.
fn serve(mut stream: &TcpStream, kept: &Mutex<Vec<CollectedSpan>>) -> Option<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 || head.len() > 64 * 1024 {
            return None;
        }
        head.extend(byte);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let mut body = vec![0; field("content-length:")?.parse().ok()?];
    stream.read_exact(&mut body).ok()?;
    let is_ours = head.starts_with("post /v1/traces ") && field("content-type:") == Some("application/x-protobuf");
    let request = ExportTraceServiceRequest::decode(body.as_slice()).ok().filter(|_| is_ours);
    let status = if request.is_some() { "200 OK" } else { "400 Bad Request" };
    let answer = format!("HTTP/1.1 {status}\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n");
    kept.lock().ok()?.extend(request.map(collected).unwrap_or_default());
    stream.write_all(answer.as_bytes()).ok()
}

fn collected(request: ExportTraceServiceRequest) -> Vec<CollectedSpan> {
    let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
    let spans = scopes.flat_map(|scope| scope.spans);
    spans
        .map(|span| CollectedSpan {
            name: span.name,
            trace: hex::encode(span.trace_id),
            id: hex::encode(span.span_id),
            parent: hex::encode(span.parent_span_id),
            attributes: span
                .attributes
                .into_iter()
                .filter_map(|attribute| match attribute.value?.value? {
                    Value::StringValue(text) => Some((attribute.key, text)),
                    Value::IntValue(number) => Some((attribute.key, number.to_string())),
                    _ => None,
                })
                .collect(),
            start: span.start_time_unix_nano,
            end: span.end_time_unix_nano,
        })
        .collect()
}
