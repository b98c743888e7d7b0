//! What a page may leave, see, print and hold up: nothing of one render is there in the next.

#![allow(clippy::unwrap_used)]

mod one_page;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use hyperfarm_backplane::config;
use hyperfarm_proto::failure::{FailureCode, Owner};
use hyperfarm_proto::spec::{Size, Viewport};
use hyperfarm_worker::Slot;
use hyperfarm_worker::chrome::{ChromeConfig, ChromeSettings, PageEvent};
use hyperfarm_worker::host::PageHost;

use one_page::{options, site};

/// The tests look at all processes below this one, so that one runs at a time.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

const VIEWPORT: Viewport = Viewport { page: Size { width: 320, height: 180 }, scale: 1 };

async fn slot() -> Slot {
    let settings = config::read(&|name| std::env::var(name).ok(), ChromeSettings::read).unwrap();
    Slot::new(ChromeConfig::find(&settings).unwrap()).await.unwrap()
}

fn page(script: &str) -> String {
    format!("<!doctype html><body><script>window.__hf = {{ duration: 2, seek() {{}} }};\n{script}</script>")
}

/// Ids of the processes below this one.
fn descendants() -> BTreeSet<u32> {
    let mut parents = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(id) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        if fields[0] != "Z" {
            parents.push((id, fields[1].parse::<u32>().unwrap()));
        }
    }
    let mut found = BTreeSet::from([std::process::id()]);
    loop {
        let before = found.len();
        found
            .extend(parents.iter().filter(|(_, parent)| found.contains(parent)).map(|(id, _)| *id).collect::<Vec<_>>());
        if found.len() == before {
            found.remove(&std::process::id());
            return found;
        }
    }
}

fn is_alive(id: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, fields)| !fields.trim_start().starts_with(['Z', 'X']))
}

/// Waits until the page has warned of something with `start`, and answers it.
async fn warned(host: &PageHost<'_>, start: &str) -> String {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let said = host.events().into_iter().find_map(|event| match event {
            PageEvent::Console(text) if text.starts_with(start) => Some(text),
            _ => None,
        });
        if let Some(said) = said {
            return said;
        }
        assert!(Instant::now() < deadline, "the page never said `{start}`: {:?}", host.events());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Every place in which a page can leave something, filled.
const LEAVES: &str = r#"
window.name = "A";
document.cookie = "c=A; path=/; max-age=9999";
localStorage.setItem("l", "A");
sessionStorage.setItem("s", "A");
history.pushState({ secret: "A" }, "", "/index.html#a");
window.spin = new Worker(URL.createObjectURL(new Blob(["for(;;){}"])));
window.channel = new BroadcastChannel("x");
channel.onmessage = () => channel.postMessage("A");
const shared = URL.createObjectURL(new Blob(["onconnect = (e) => e.ports[0].postMessage('A')"]));
window.shared = new SharedWorker(shared, "hold");
window.kept = new Uint8Array(64 << 20).fill(7);
(async () => {
  await new Promise((done) => {
    const asked = indexedDB.open("db", 1);
    asked.onupgradeneeded = () => asked.result.createObjectStore("o");
    asked.onsuccess = asked.onerror = done;
  });
  await caches.open("cc").then((cache) => cache.put("/x", new Response("A")));
  await navigator.storage.getDirectory().then((folder) => folder.getFileHandle("A", { create: true }));
  console.warn("LEFT " + document.cookie + " window " + window.open("/index.html", "apop"));
})().catch((error) => console.warn("LEFT " + error));
"#;

/// The same places, read.
const LOOKS: &str = r#"
const heard = [];
const channel = new BroadcastChannel("x");
channel.onmessage = (event) => heard.push(event.data);
channel.postMessage("B");
(async () => {
  const files = [];
  for await (const name of (await navigator.storage.getDirectory()).keys()) files.push(name);
  await new Promise((done) => window.__HF_VIRTUAL_TIME__.originalSetTimeout(done, 500));
  console.warn("FOUND " + JSON.stringify({
    name: window.name, cookie: document.cookie, local: localStorage.length, session: sessionStorage.length, state: history.state,
    databases: await indexedDB.databases(), caches: await caches.keys(), workers: await navigator.serviceWorker.getRegistrations(),
    files, heard, opener: window.opener, length: history.length < 4,
  }));
})().catch((error) => console.warn("FOUND " + error));
"#;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_one_render_is_there_in_the_next() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let _alone = ALONE.lock().await;
    let mut slot = slot().await;
    slot.assign(&"a".parse().unwrap()).await.unwrap();
    let host = slot.open(site(&one, &page(LEAVES)), VIEWPORT, &options()).await.unwrap();
    assert_eq!(warned(&host, "LEFT ").await, "LEFT c=A window null");
    assert!(warned(&host, "the page tried to open index.html").await.contains("window"));
    drop(host);
    let before = descendants();
    assert!(!before.is_empty());

    slot.assign(&"b".parse().unwrap()).await.unwrap();
    // Wherever they hang by now.
    let gone = |before: &BTreeSet<u32>| !before.iter().any(|id| is_alive(*id));
    let deadline = Instant::now() + Duration::from_secs(2);
    while !gone(&before) {
        assert!(Instant::now() < deadline, "processes of the last render are still there");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let host = slot.open(site(&other, &page(LOOKS)), VIEWPORT, &options()).await.unwrap();
    assert_eq!(
        warned(&host, "FOUND ").await,
        "FOUND {\"name\":\"\",\"cookie\":\"\",\"local\":0,\"session\":0,\"state\":null,\"databases\":[],\"caches\":[],\"workers\":[],\
         \"files\":[],\"heard\":[],\"opener\":null,\"length\":true}"
    );
    drop(host);
    slot.clear().await;
    assert!(descendants().is_empty(), "a slot without a task has no process of its last render");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_of_the_same_render_finds_its_browser() {
    let folder = tempfile::tempdir().unwrap();
    let _alone = ALONE.lock().await;
    let mut slot = slot().await;
    let render = "a".parse().unwrap();
    slot.assign(&render).await.unwrap();
    drop(slot.open(site(&folder, &page("")), VIEWPORT, &options()).await.unwrap());
    let before = descendants();
    slot.assign(&render).await.unwrap();
    drop(slot.open(site(&folder, &page("")), VIEWPORT, &options()).await.unwrap());
    assert!(!descendants().is_disjoint(&before));
    slot.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_process_of_chrome_has_the_workers_environment() {
    // Cargo and the shell put variables of their own into the environment of a test.
    let taken_over = ["FONTCONFIG_", "HOME", "LANG", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ", "XDG_"];
    let own: Vec<String> = std::env::vars()
        .filter(|(name, value)| !value.is_empty() && !taken_over.iter().any(|taken| name.starts_with(taken)))
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    assert!(!own.is_empty(), "the test has nothing that could be taken over");
    let folder = tempfile::tempdir().unwrap();
    let _alone = ALONE.lock().await;
    let mut slot = slot().await;
    drop(slot.open(site(&folder, &page("")), VIEWPORT, &options()).await.unwrap());
    let mut read = 0;
    for id in descendants() {
        let Ok(environment) = std::fs::read(format!("/proc/{id}/environ")) else { continue };
        // Renderers write their command line over a part of it.
        let variables: Vec<&[u8]> = environment.split(|byte| *byte == 0).collect();
        for variable in &own {
            assert!(!variables.contains(&variable.as_bytes()), "process {id} has {variable}");
        }
        read += usize::from(variables.iter().any(|variable| variable.starts_with(b"HOME=")));
    }
    assert!(read > 0, "the environment of no process can be read");
    slot.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_messages_and_exceptions_are_cut_and_counted() {
    let script = r#"
        const long = "A".repeat(256 << 10);
        for (let i = 0; i < 600; i++) console.warn(long);
        console.warn({ toString() { return long; } }, new Error(long));
        for (let i = 0; i < 600; i++) queueMicrotask(() => { throw i % 2 ? long : new Error(long); });
        Promise.reject(long);
    "#;
    let folder = tempfile::tempdir().unwrap();
    let _alone = ALONE.lock().await;
    let mut slot = slot().await;
    let host = slot.open(site(&folder, &page(script)), VIEWPORT, &options()).await.unwrap();
    assert!(warned(&host, "this page printed").await.contains("more than 500 messages"));
    let events = host.events();
    assert!(events.len() <= 100, "{}", events.len());
    for event in &events {
        let (PageEvent::Console(text) | PageEvent::Exception(text)) = event;
        assert!(text.chars().count() < 1100, "{}", text.len());
    }
    drop(host);
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 400 * 1024, "the process had {peak} kB");
    slot.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_loops_is_the_users_failure_and_names_its_frame() {
    let folder = tempfile::tempdir().unwrap();
    let _alone = ALONE.lock().await;
    let mut slot = slot().await;
    let page = "<!doctype html><body><script>window.__hf = { duration: 2, seek(t) { if (t >= 1) for (;;); } }</script>";
    let mut host = slot.open(site(&folder, page), VIEWPORT, &options()).await.unwrap();
    host.seek(9, &[]).await.unwrap();
    let error = host.seek(10, &[]).await.unwrap_err();
    let (code, message) = (error.code(), error.to_string());
    assert_eq!((code, code.owner()), (FailureCode::PageUnresponsive, Owner::User), "{message}");
    assert!(message.contains("frame 10 (1.000 s)"), "{message}");
    drop(host);
    assert!(slot.settle::<()>(Err(error)).await.is_err());
    assert!(descendants().is_empty(), "the browser of a page that loops is ended");
}
