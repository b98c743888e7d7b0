//! The fetcher against a server on this machine.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use super::*;

const SMALL: FetchLimits = FetchLimits { bytes: 1000, time: Duration::from_secs(5) };

/// A server that answers each path with the text that `answers` has for it, after `{port}` in it is replaced.
async fn serve(answers: &'static [(&'static str, &'static str)]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = vec![0; 4096];
                let read = stream.read(&mut request).await.unwrap_or(0);
                let text = String::from_utf8_lossy(&request[..read]).into_owned();
                let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
                if path == "/slow" {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx").await;
                    tokio::time::sleep(Duration::from_secs(30)).await;
                }
                let answer = answers.iter().find(|(known, _)| *known == path);
                let answer = answer
                    .map_or("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", |(_, text)| {
                        text
                    });
                let _ = stream.write_all(answer.replace("{port}", &port.to_string()).as_bytes()).await;
            });
        }
    });
    port
}

fn allowing(text: &str) -> FetchConfig {
    FetchConfig { allow: text.parse().unwrap(), ..FetchConfig::default() }
}

async fn get(fetcher: &Fetcher, url: &str, limits: FetchLimits) -> Result<(Fetched, Vec<u8>), FetchReason> {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("file");
    let fetched = fetcher.to_file(&Url::parse(url).unwrap(), &target, limits, Expected::File).await;
    fetched.map(|fetched| (fetched, std::fs::read(target).unwrap())).map_err(|error| error.reason)
}

const OK: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/css; charset=x\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";

#[tokio::test]
async fn a_file_comes_with_type_length_and_hash_over_redirects() {
    let port = serve(&[
        ("/a", "HTTP/1.1 302 Found\r\nLocation: /b\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
        ("/b", OK),
    ])
    .await;
    let fetcher = Fetcher::new(allowing("127.0.0.1")).unwrap();
    let (fetched, bytes) = get(&fetcher, &format!("http://127.0.0.1:{port}/a"), SMALL).await.unwrap();
    assert_eq!(bytes, b"hello");
    assert_eq!(fetched.hash, ContentHash::of(b"hello"));
    assert_eq!((fetched.bytes, fetched.media_type.as_deref(), fetched.url.path()), (5, Some("text/css"), "/b"));
}

#[tokio::test]
async fn bad_answers_are_named() {
    let port = serve(&[
        ("/large", "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"),
        ("/page", "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi"),
        ("/posing", "HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nContent-Length: 22\r\n\r\n <!DOCTYPE html><html>"),
        ("/loop", "HTTP/1.1 301 Moved\r\nLocation: /loop\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
        ("/inside", "HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.2:{port}/x\r\nContent-Length: 0\r\n\r\n"),
        ("/file", "HTTP/1.1 301 Moved\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n"),
    ])
    .await;
    let fetcher = Fetcher::new(FetchConfig { http: true, ..allowing("127.0.0.1") }).unwrap();
    let at = |path: &str| format!("http://127.0.0.1:{port}{path}");
    assert_eq!(get(&fetcher, &at("/gone"), SMALL).await.unwrap_err(), FetchReason::Status(404));
    assert_eq!(get(&fetcher, &at("/large"), SMALL).await.unwrap_err(), FetchReason::TooLarge(1000));
    assert_eq!(get(&fetcher, &at("/page"), SMALL).await.unwrap_err(), FetchReason::HtmlPage);
    assert_eq!(get(&fetcher, &at("/posing"), SMALL).await.unwrap_err(), FetchReason::HtmlPage);
    let short = FetchLimits { time: Duration::from_millis(200), ..SMALL };
    assert_eq!(get(&fetcher, &at("/slow"), short).await.unwrap_err(), FetchReason::TimedOut(short.time));
    for (path, named) in [("/loop", "more than 5"), ("/inside", "127.0.0.2"), ("/file", "file URLs")] {
        match get(&fetcher, &at(path), SMALL).await.unwrap_err() {
            FetchReason::Refused(reason) => assert!(reason.contains(named), "{reason}"),
            other => panic!("{path}: {other}"),
        }
    }
}

#[tokio::test]
async fn what_is_not_exempt_is_not_asked() {
    let port = serve(&[("/b", OK)]).await;
    let plain = Fetcher::new(FetchConfig { http: true, ..FetchConfig::default() }).unwrap();
    for host in ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1"] {
        let reason = get(&plain, &format!("http://{host}:{port}/b"), SMALL).await.unwrap_err();
        assert!(matches!(reason, FetchReason::Refused(_)), "{host}: {reason}");
    }
    let https = Fetcher::new(FetchConfig::default()).unwrap();
    let reason = get(&https, "http://example.com/", SMALL).await.unwrap_err();
    assert!(reason.to_string().contains("plain http"), "{reason}");
    let off = Fetcher::new(FetchConfig { enabled: false, ..FetchConfig::default() }).unwrap();
    assert!(get(&off, "https://example.com/", SMALL).await.unwrap_err().to_string().contains("HYPERFARM_FETCH=off"));
}

#[tokio::test]
async fn a_name_that_changes_its_answer_is_refused() {
    let port = serve(&[
        ("/a", "HTTP/1.1 302 Found\r\nLocation: http://rebind.test:{port}/b\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
        ("/b", OK),
    ])
    .await;
    // Exempt is this machine's first address only: the name leads there once, then to the second.
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let lookup: Lookup = Arc::new(move |_| {
        let answer = if count.fetch_add(1, Ordering::SeqCst) == 0 { "127.0.0.1" } else { "127.0.0.2" };
        Box::pin(async move { Ok(vec![answer.parse().unwrap()]) })
    });
    let config = FetchConfig { http: true, ..allowing("127.0.0.1") };
    let fetcher = Fetcher::with_lookup(config.clone(), lookup).unwrap();
    let reason = get(&fetcher, &format!("http://rebind.test:{port}/a"), SMALL).await.unwrap_err();
    // The kind of the address is told, the address is not.
    let names = |text: &str, host: &str, kind: &str, address: &str| {
        text.starts_with(&format!("{host} is {kind}")) && !text.contains(address)
    };
    let is_named = |text: &str| names(text, "rebind.test", "this machine", "127.0.0.2");
    assert!(matches!(&reason, FetchReason::Refused(text) if is_named(text)), "{reason}");
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    // One good and one bad address in the same answer are no better.
    let lookup: Lookup =
        Arc::new(|_| Box::pin(async { Ok(vec!["127.0.0.1".parse().unwrap(), "169.254.169.254".parse().unwrap()]) }));
    let fetcher = Fetcher::with_lookup(config, lookup).unwrap();
    let reason = get(&fetcher, &format!("http://both.test:{port}/b"), SMALL).await.unwrap_err();
    let is_named = |text: &str| names(text, "both.test", "a link-local address", "169.254.169.254");
    assert!(matches!(&reason, FetchReason::Refused(text) if is_named(text)), "{reason}");
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_asked_for_once() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let lookup: Lookup = Arc::new(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { Err(std::io::Error::other("no such name")) })
    });
    let fetcher = Fetcher::with_lookup(FetchConfig::default(), lookup).unwrap();
    for _ in 0..3 {
        let reason = get(&fetcher, "https://nowhere.test/a?key=secret", SMALL).await.unwrap_err();
        assert!(matches!(&reason, FetchReason::Network(text) if text.contains("nowhere.test")), "{reason}");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}
