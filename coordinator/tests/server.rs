//! The API on a socket: bounds of connections, and refusals that reach their clients.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use crate::common::{Farm, SOON, patient};
use hyperfarm_backplane::drain::Drain;
use hyperfarm_coordinator::api::server::{ConnectionLimits, serve};
use hyperfarm_coordinator::api::{Access, ApiConfig};
use hyperfarm_testing::Requirement;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::task::JoinHandle;

struct Served {
    farm: Farm,
    address: SocketAddr,
    drain: Drain,
    serving: JoinHandle<()>,
}

async fn served(limits: ConnectionLimits) -> Served {
    let farm = Farm::with(patient());
    let router = farm.coordinator.router(ApiConfig { access: Access::keys(["hf_right"]), ..ApiConfig::default() });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, drain) = (listener.local_addr().unwrap(), Drain::new());
    let serving = tokio::spawn(serve(listener, router, limits, drain.clone()));
    Served { farm, address, drain, serving }
}

/// The answer to `head`, up to the end of the connection.
async fn answer(address: SocketAddr, head: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut text = String::new();
    tokio::time::timeout(SOON, stream.read_to_string(&mut text)).await.expect("no answer").unwrap();
    text
}

#[tokio::test]
async fn half_sent_heads_and_idle_connections_are_closed_and_do_not_keep_others_out() {
    let limits = ConnectionLimits { connections: 8, head_within: Duration::from_millis(500) };
    let served = served(limits).await;
    let mut held = Vec::new();
    for number in 0..40 {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        let head = if number % 2 == 0 { "GET /healthz HTTP/1.1\r\nhost: loc" } else { "" };
        stream.write_all(head.as_bytes()).await.unwrap();
        held.push(stream);
    }
    // The connection waits for those before it, a few times `head_within`.
    let text = answer(served.address, "GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await;
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    assert!(text.contains("x-content-type-options: nosniff"), "{text}");
    for mut stream in held {
        let mut left = Vec::new();
        let ended = tokio::time::timeout(SOON, stream.read_to_end(&mut left)).await;
        assert!(ended.is_ok(), "a half-sent head is held");
    }
}

#[tokio::test]
async fn a_body_that_is_no_body_is_told_from_one_that_is_too_long() {
    let served = served(ConnectionLimits::default()).await;
    let head = "POST /v3/hyperframes/renders HTTP/1.1\r\nhost: localhost\r\nx-api-key: hf_right\r\ncontent-type: application/json\r\n\
                transfer-encoding: chunked\r\nconnection: close\r\n\r\n";
    let text = answer(served.address, &format!("{head}zz\r\n{{}}\r\n0\r\n\r\n")).await;
    assert!(text.starts_with("HTTP/1.1 400") && text.contains("could not be read to its end"), "{text}");
}

#[tokio::test]
async fn a_drain_ends_idle_connections_and_lets_answers_out() {
    let served = served(ConnectionLimits::default()).await;
    let mut idle = TcpStream::connect(served.address).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    served.drain.start();
    tokio::time::timeout(SOON, served.serving).await.expect("the server does not end").unwrap();
    assert!(TcpStream::connect(served.address).await.is_err());
    drop(served.farm);
}

/// Runs a client; what it prints, or `None` where this machine has no such program.
async fn client(program: &str, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(program);
    let command = command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = match command.output().await {
        Ok(output) => output,
        Err(error) => {
            Requirement::Servers.skip(format!("{program} does not start: {error}"));
            return None;
        }
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

#[tokio::test]
async fn a_refusal_reaches_nodes_fetch_whatever_it_sends() {
    let served = served(ConnectionLimits::default()).await;
    let script = r#"
        const base = process.argv[1], statuses = [];
        const form = size => { const form = new FormData(); form.append("file", new Blob(["x".repeat(size)]), "a.png"); return form; };
        const key = key => ({ "x-api-key": key });
        const json = { ...key("hf_right"), "content-type": "application/json" };
        const requests = [];
        for (let i = 0; i < 15; i++) requests.push(["/v3/assets", { method: "POST", headers: key("hf_wrong"), body: form(1000) }]);
        requests.push(["/v3/assets", { method: "POST", headers: key("hf_wrong"), body: form(20e6) }]);
        requests.push(["/v3/nothing", { method: "POST", headers: key("hf_right"), body: form(3e6) }]);
        requests.push(["/metrics", { method: "POST", headers: key("hf_right"), body: form(3e6) }]);
        requests.push(["/uploads/incoming/a/b", { method: "PUT", body: "x".repeat(3e6) }]);
        requests.push(["/v3/assets", { method: "POST", headers: key("hf_right"), body: form(40e6) }]);
        requests.push(["/v3/hyperframes/renders", { method: "POST", headers: json, body: "x".repeat(50e6) }]);
        for (const [path, request] of requests) {
            try { const answer = await fetch(base + path, request); await answer.json(); statuses.push(answer.status); }
            catch (error) { statuses.push(String(error.cause ?? error)); }
        }
        console.log(JSON.stringify(statuses));
    "#;
    let base = format!("http://{}", served.address);
    let Some(printed) = client("node", &["-e", script, &base]).await else { return };
    let mut expected = vec![401; 16];
    expected.extend([404, 405, 403, 413, 413]);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&printed).unwrap(), serde_json::json!(expected));
}

#[tokio::test]
async fn a_refusal_reaches_curl_and_python() {
    let served = served(ConnectionLimits::default()).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), vec![b'x'; 5_000_000]).unwrap();
    let (base, path) = (format!("http://{}/v3/assets", served.address), file.path().to_str().unwrap());
    let form = format!("file=@{path};filename=a.png");
    // curl waits for `100 Continue` with a body of this size, and is told no at once.
    let arguments = ["-sS", "-o", "/dev/null", "-w", "%{http_code} %{size_upload}", "-H", "x-api-key: hf_wrong", "-F"];
    let curl = client("curl", &[&arguments[..], &[&form, &base]].concat()).await;
    assert!(curl.is_none_or(|printed| printed.starts_with("401 ")));
    let script = r"
import sys, urllib.request, urllib.error
request = urllib.request.Request(sys.argv[1], data=open(sys.argv[2], 'rb').read(), headers={'x-api-key': 'hf_wrong'})
try:
    urllib.request.urlopen(request)
except urllib.error.HTTPError as error:
    print(error.code, error.headers['content-type'])
";
    let python = client("python3", &["-c", script, &base, path]).await;
    assert!(python.is_none_or(|printed| printed.trim() == "401 application/json"));
}
