//! What a page loads from elsewhere.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use hyperfarm_proto::spec::RenderSpec;

use crate::farm::{Farm, ranges, zip_page};

/// A server that can be stopped: its address, how often it was asked, and the switch.
fn serve(files: &'static [(&'static str, &'static str)]) -> (String, Arc<AtomicUsize>, Arc<AtomicBool>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (asked, stopped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let (count, stop) = (asked.clone(), stopped.clone());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            count.fetch_add(1, Ordering::SeqCst);
            if stop.load(Ordering::SeqCst) {
                continue;
            }
            let mut request = [0; 4096];
            let read = std::io::Read::read(&mut stream, &mut request).unwrap_or(0);
            let path = String::from_utf8_lossy(&request[..read]).split(' ').nth(1).unwrap_or_default().to_owned();
            let answer = match files.iter().find(|(known, _)| *known == path) {
                Some((_, body)) => {
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
                }
                None => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned(),
            };
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    (address, asked, stopped)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_page_asks_of_the_network_is_in_the_plan() {
    let (at, asked, stopped) = serve(&[
        ("/a.css", "#box{background:url(i.svg)}"),
        (
            "/i.svg",
            "<svg xmlns='http://www.w3.org/2000/svg' width='320' height='90'><rect width='320' height='90' fill='#08f'/></svg>",
        ),
        ("/data.json", "{\"colour\":\"#0a0\"}"),
        (
            "/late.svg",
            "<svg xmlns='http://www.w3.org/2000/svg' width='320' height='90'><rect width='320' height='90' fill='#f80'/></svg>",
        ),
    ]);
    let html = format!(
        "<!doctype html><html><head><link rel=stylesheet href=\"{at}/a.css\"></head><body style=\"margin:0\">\
         <div data-composition-id=m data-width=320 data-height=180 data-duration=0.4 data-no-timeline>\
         <div id=box style=\"height:90px\"></div><div id=late style=\"height:90px\"></div></div>\
         <script>try {{ const request = new XMLHttpRequest(); request.open('GET', '{at}/data.json', false); request.send();\
           document.body.style.backgroundColor = JSON.parse(request.responseText).colour;\
           document.getElementById('late').innerHTML = '<img src=\"{at}/late.svg\"><img src=\"{at}/gone.svg\">';\
         }} catch {{}}</script></body></html>"
    );
    let farm = Farm::start(1).await;
    let mut hashes = Vec::new();
    for id in ["up", "down"] {
        let render = farm.submit(id, zip_page(&html), RenderSpec::default()).await;
        let draft = farm.draft(&render).await;
        let report: Vec<(String, bool)> = draft
            .content
            .remote
            .iter()
            .map(|asset| (asset.url.strip_prefix(&at).unwrap().to_owned(), asset.path.is_some()))
            .collect();
        let expected =
            [("/a.css", true), ("/data.json", true), ("/gone.svg", false), ("/i.svg", true), ("/late.svg", true)];
        assert_eq!(report, expected.map(|(path, found)| (path.to_owned(), found)), "{:?}", draft.warnings);
        assert!(draft.warnings.iter().any(|w| w.code == "REMOTE_NOT_LOADED" && w.message.contains("gone.svg")));
        let frames = draft.content.frames;
        farm.shard(draft, ranges(&[0, frames])).await;
        // The second one is rendered without the server.
        stopped.store(id == "down", Ordering::SeqCst);
        let before = asked.load(Ordering::SeqCst);
        let record = farm.chunk(&render, 0).await;
        assert_eq!(asked.load(Ordering::SeqCst), before, "a chunk asked the network");
        hashes.push((record.hash, record.frame_hashes));
    }
    assert_eq!(hashes[0], hashes[1]);
    farm.stop().await;
}
