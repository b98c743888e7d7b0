//! Remote references to a server on this machine.

use std::io::{Read, Write};
use std::sync::Mutex;

use hyperfarm_backplane::fetch::FetchConfig;

use super::*;
use crate::cache::Cache;
use crate::compile::services::LocalServices;
use crate::remote::{Remote, RemoteConfig};

/// Serves these paths. Returns its address and the log of requested paths.
fn serve(files: &'static [(&'static str, &'static str)]) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = asked.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            let read = stream.read(&mut request).unwrap_or(0);
            let path = String::from_utf8_lossy(&request[..read]).split(' ').nth(1).unwrap_or_default().to_owned();
            log.lock().unwrap().push(path.clone());
            let answer = match files.iter().find(|(known, _)| *known == path) {
                Some((_, body)) => {
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
                }
                None => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned(),
            };
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    (address, asked)
}

struct Localised {
    html: String,
    files: BTreeMap<String, String>,
    report: Vec<RemoteAsset>,
    warnings: Vec<Warning>,
}

/// Replaces the references of a page on a blocking thread, as the plan stage does.
async fn localise(remote: Arc<Remote>, page: String) -> Localised {
    let working = tokio::task::spawn_blocking(move || {
        let folder = tempfile::tempdir().unwrap();
        let cache = Arc::new(Cache::open(folder.path()).unwrap());
        let mut assets = RemoteAssets::new(Arc::new(LocalServices::new(remote, cache.clone())));
        let document = Document::from(page.as_str());
        assets.document(&document);
        let (files, report, warnings) = assets.take();
        let text =
            |file: &CompiledFile| String::from_utf8_lossy(&std::fs::read(cache.path(&file.hash)).unwrap()).into_owned();
        let files = files.iter().map(|file| (file.path.clone(), text(file))).collect();
        Localised { html: document.html().to_string(), files, report, warnings }
    });
    working.await.unwrap()
}

fn remote() -> Arc<Remote> {
    let fetch = FetchConfig { allow: "127.0.0.1".parse().unwrap(), ..FetchConfig::default() };
    Arc::new(Remote::new(RemoteConfig { fetch, ..RemoteConfig::default() }).unwrap())
}

#[tokio::test]
async fn every_reference_of_a_page_becomes_a_file() {
    let (at, asked) = serve(&[
        ("/a.css", "@import 'b.css'; @font-face{font-family:F;src:url(f.woff2)} p{background:url(i.png)}"),
        ("/b.css", "q{color:red}"),
        ("/f.woff2", "font"),
        ("/i.png", "picture"),
        ("/m.mjs", "import './n.mjs'; export const a = 1"),
        ("/n.mjs", "import './m.mjs'; export const b = 2"),
        ("/c.js", "classic"),
        ("/v.mp4", "video"),
    ]);
    let page = format!(
        "<head><link rel=stylesheet href=\"{at}/a.css\"><link rel=preconnect href=\"{at}\">\
         <script type=importmap>{{\"imports\":{{\"m\":\"{at}/m.mjs\",\"x/\":\"{at}/\"}}}}</script></head>\
         <body style=\"background:url('{at}/i.png')\"><script src=\"{at}/c.js\" integrity=x crossorigin></script>\
         <template><img srcset=\"{at}/i.png 1x, local.png 2x\" src=\"{at}/i.png#part\"></template><video src=\"{at}/v.mp4\"></video>\
         <script type=module>import 'm'; import 'x/n.mjs'; import '{at}/m.mjs'</script><img src=local.png></body>"
    );
    let done = localise(remote(), page).await;
    assert!(!done.html.contains(&at.replace("http:", "")[..]) || done.html.contains("\"x/\""), "{}", done.html);
    assert!(done.warnings.is_empty(), "{:?}", done.warnings);
    assert!(!done.html.contains("integrity") && !done.html.contains("preconnect"));
    assert!(
        done.html.contains("#part")
            && done.html.contains("local.png 2x")
            && done.html.contains("\"x/n.mjs\":\"/__remote/")
    );
    assert_eq!(done.files.len(), 8, "{:?}", done.files.keys());
    let sheet = done.files.iter().find(|(path, text)| path.ends_with(".css") && text.contains("@font-face")).unwrap().1;
    assert!(
        sheet.contains("@import url(\"/__remote/") && !sheet.contains("url(f.woff2)") && !sheet.contains("127.0.0.1")
    );
    let module = done.files.values().find(|text| text.contains("export const b")).unwrap();
    assert!(module.contains("import '/__remote/"), "{module}");
    assert!(done.report.iter().all(|asset| asset.path.is_some()) && done.report.len() == 8);
    // Each was asked for once.
    let mut paths = asked.lock().unwrap().clone();
    paths.sort();
    let all = paths.len();
    paths.dedup();
    assert_eq!((all, paths.len()), (8, 8), "{paths:?}");
}

#[tokio::test]
async fn what_is_missing_is_named_and_left_and_not_asked_for_again() {
    let (at, asked) = serve(&[]);
    let page = format!(
        "<link rel=stylesheet href=\"{at}/a.css\"><img src=\"{at}/i.png\"><script src=\"//127.0.0.2/x.js\"></script>"
    );
    let remote = remote();
    for _ in 0..2 {
        let done = localise(remote.clone(), page.clone()).await;
        assert!(done.html.contains(&format!("src=\"{at}/i.png\"")) && !done.html.contains("a.css"), "{}", done.html);
        assert_eq!(done.warnings.len(), 3, "{:?}", done.warnings);
        let of =
            |name: &str| done.warnings.iter().find(|warning| warning.message.contains(name)).unwrap().message.clone();
        assert!(of("i.png").contains("404") && of("127.0.0.2").contains("this machine"), "{:?}", done.warnings);
        assert!(done.report.iter().all(|asset| asset.path.is_none() && asset.reason.is_some()));
    }
    assert_eq!(asked.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn gsap_and_known_web_fonts_need_no_network() {
    let page = "<link rel=stylesheet href=\"https://fonts.googleapis.com/css2?family=Space+Mono:wght@400&family=Inter\">\
                <style>@import url(https://fonts.googleapis.com/css?family=Lato);</style>\
                <script src=\"https://cdn.jsdelivr.net/npm/gsap@3.12.5/dist/gsap.min.js\"></script>\
                <script src=\"https://cdnjs.cloudflare.com/ajax/libs/gsap/3.15.0/SplitText.min.js\"></script>";
    let config = FetchConfig { enabled: false, ..FetchConfig::default() };
    let remote = Arc::new(Remote::new(RemoteConfig { fetch: config, ..RemoteConfig::default() }).unwrap());
    let done = localise(remote, page.to_owned()).await;
    assert!(!done.html.contains("https://"), "{}", done.html);
    assert!(done.html.contains("src=\"/__hyperfarm/gsap/gsap.min.js\"") && done.html.contains("gsap/SplitText.min.js"));
    let replaced: Vec<&str> = done.warnings.iter().map(|warning| warning.message.as_str()).collect();
    assert_eq!(replaced.len(), 3, "{replaced:?}");
    assert!(
        replaced.iter().any(|message| message.contains("3.12.5") && message.contains("GSAP 3.15.0")),
        "{replaced:?}"
    );
    assert_eq!(done.report.len(), 4);
}
