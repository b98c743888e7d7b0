//! What a page may leave, see, print and hold up: nothing of one render is there in the next.

#![allow(clippy::unwrap_used)]

mod one_page;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use hyperfarm_backplane::config;
use hyperfarm_proto::failure::{FailureCode, Owner};
use hyperfarm_proto::spec::{Size, Viewport};
use hyperfarm_worker::Slot;
use hyperfarm_worker::chrome::{ChromeConfig, ChromeSettings, Layer, PageEvent, PidNamespace, ProcessKind};
use hyperfarm_worker::host::PageHost;

use one_page::{options, site};

/// The tests look at all processes below this one, so that one runs at a time.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

const VIEWPORT: Viewport = Viewport { page: Size { width: 320, height: 180 }, scale: 1 };

async fn slot() -> Slot {
    slot_with(&|name| std::env::var(name).ok()).await
}

async fn slot_with(variables: &dyn Fn(&str) -> Option<String>) -> Slot {
    let settings = config::read(variables, ChromeSettings::read).unwrap();
    Slot::new(ChromeConfig::find(&settings).unwrap()).await.unwrap()
}

fn page(script: &str) -> String {
    format!("<!doctype html><body><script>window.__hf = {{ duration: 2, seek() {{}} }};\n{script}</script>")
}

/// Ids of the processes below this one.
fn descendants() -> BTreeSet<u32> {
    descendants_of(std::process::id())
}

/// Ids of the processes below `root`.
fn descendants_of(root: u32) -> BTreeSet<u32> {
    let mut parents = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(id) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        if fields[0] != "Z" {
            parents.push((id, fields[1].parse::<u32>().unwrap()));
        }
    }
    let mut found = BTreeSet::from([root]);
    loop {
        let before = found.len();
        found
            .extend(parents.iter().filter(|(_, parent)| found.contains(parent)).map(|(id, _)| *id).collect::<Vec<_>>());
        if found.len() == before {
            found.remove(&root);
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
  await navigator.locks.request("lock", { ifAvailable: true }, () => 0);
  void navigator.locks.request("held", () => new Promise(() => {}));
  performance.mark("A");
  console.error("SECRET-A");
  console.warn("ORIGIN " + location.origin);
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
  const locks = await navigator.locks.query();
  const answer = await fetch("ORIGIN-A/index.html").then((answer) => answer.text(), String);
  const shared = new SharedWorker(URL.createObjectURL(new Blob(["onconnect = (e) => e.ports[0].postMessage('B')"])), "hold");
  const answered = await new Promise((done) => shared.port.onmessage = (event) => done(event.data));
  console.warn("OTHER " + JSON.stringify({
    locks: locks.held.length + locks.pending.length, answer: answer.includes("SECRET-A"), shared: answered,
    marks: performance.getEntriesByType("mark").filter((mark) => mark.name === "A").length, referrer: document.referrer,
    frames: window.length, parent: window.parent === window,
  }));
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
    let origin = warned(&host, "ORIGIN ").await["ORIGIN ".len()..].to_owned();
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
    let mut host =
        slot.open(site(&other, &page(&LOOKS.replace("ORIGIN-A", &origin))), VIEWPORT, &options()).await.unwrap();
    assert_eq!(
        warned(&host, "FOUND ").await,
        "FOUND {\"name\":\"\",\"cookie\":\"\",\"local\":0,\"session\":0,\"state\":null,\"databases\":[],\"caches\":[],\"workers\":[],\
         \"files\":[],\"heard\":[],\"opener\":null,\"length\":true}"
    );
    assert_eq!(
        warned(&host, "OTHER ").await,
        "OTHER {\"locks\":0,\"answer\":false,\"shared\":\"B\",\"marks\":0,\"referrer\":\"\",\"frames\":0,\"parent\":true}"
    );
    let said = format!("{:?} {:?}", host.events(), host.problems());
    assert!(!said.contains("SECRET-A"), "{said}");
    // What is told about the end of a browser comes from Chrome's own output.
    kill_process("--headless");
    let end = host.seek(1, &[]).await.unwrap_err();
    drop(host);
    let told = slot.settle::<()>(Err(end)).await.unwrap_err().to_string();
    assert!(!told.contains("SECRET-A") && !told.contains(&origin), "{told}");
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

/// Each message of the protocol has the names of the functions that called it and the addresses of their scripts.
#[tokio::test(flavor = "multi_thread")]
async fn names_and_addresses_that_a_page_gives_are_not_sent_at_length() {
    let script = r#"
        const long = "n".repeat(8 << 20);
        const named = { [long]: () => console.warn("NAMED") };
        for (let i = 0; i < 40; i++) named[long]();
        const run = (text) => {
            const script = document.createElement("script");
            script.textContent = `${text}//# sourceURL=http://x/${long}`;
            document.body.append(script);
        };
        for (let i = 0; i < 4; i++) run("throw 1");
        run("throw Object.assign(new Error('short'), { stack: 'short' })");
        for (let i = 0; i < 4; i++) console.time(long);
        console.countReset(long);
        for (let i = 0; i < 6; i++) location.hash = "a".repeat(1 << 20) + i;
        for (let i = 0; i < 4; i++) history.replaceState(null, "", "?" + "b".repeat(1 << 20) + i);
        console.warn("CONTEXT " + ("context" in console));
        console.warn("ADDRESS " + /[#?](.)[ab]*(\d*)$/.exec(location.href).slice(1).join(" "));
        console.warn("END");
    "#;
    let folder = tempfile::tempdir().unwrap();
    let _alone = ALONE.lock().await;
    let mut slot = slot().await;
    let host = slot.open(site(&folder, &page(script)), VIEWPORT, &options()).await.unwrap();
    warned(&host, "END").await;
    assert_eq!(warned(&host, "CONTEXT ").await, "CONTEXT false");
    // The first four are taken.
    assert_eq!(warned(&host, "ADDRESS ").await, "ADDRESS a 2");
    let events = host.events();
    let named = PageEvent::Console("NAMED".to_owned());
    assert_eq!(events.iter().filter(|event| **event == named).count(), 40);
    for event in &events {
        let (PageEvent::Console(text) | PageEvent::Exception(text)) = event;
        assert!(text.chars().count() < 2200, "{}", text.len());
    }
    drop(host);
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 300 * 1024, "the process had {peak} kB");
    slot.close().await;
}

/// Pages that change prototypes, the farm's own objects, and names that the farm uses later.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_cannot_make_the_farms_own_scripts_answer_at_length_or_without_end() {
    let sound = "{ describe: () => ({ elements: [{ id: 'a', hidden: false, effects: null, group: null, volume: 1 }], \
                 groups: [], scripted: [] }), begin: () => 1e15, sample: () => 0, end: () => [] }";
    let throws = |thrown: &str| format!("window.__hf = {{ duration: 1, seek() {{ throw {thrown}; }} }};");
    let scripts = [
        "Object.prototype.then = function (done) { done('x'.repeat(1 << 28)); };".to_owned(),
        "Object.prototype.toJSON = () => 'x'.repeat(1 << 27);".to_owned(),
        "for (const name of ['__hyperfarmLimits', '__HF_VIRTUAL_TIME__', '__hyperfarmVisits', '__hyperfarmTrees']) \
         for (const own of Object.keys(window[name])) try { window[name][own] = () => 'x'.repeat(1 << 28); } catch {}"
            .to_owned(),
        format!("window.String = () => ''; {}", throws("new Error('x'.repeat(1 << 27))")),
        format!(
            "const frame = document.createElement('iframe'); document.body.append(frame); {}",
            throws("new frame.contentWindow.Error('x'.repeat(1 << 27))")
        ),
        throws("Function('/*' + 'x'.repeat(1 << 26) + '*/')"),
        throws("Symbol('x'.repeat(1 << 27))"),
        format!("window.__hyperfarmSound = {sound};"),
        format!("Object.defineProperty(window, '__hyperfarmSound', {{ value: {sound} }});"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let _alone = ALONE.lock().await;
    let mut slot = slot().await;
    for script in scripts {
        let asked = async {
            let mut host = slot.open(site(&folder, &page(&script)), VIEWPORT, &options()).await?;
            host.seek(1, &[]).await?;
            host.sound(1.0).await.map(drop)
        };
        let outcome = tokio::time::timeout(Duration::from_secs(60), asked).await.expect(&script);
        if let Err(error) = &outcome {
            let message = error.to_string();
            assert_eq!(error.code().owner(), Owner::User, "{script}: {}", &message[..message.len().min(1000)]);
            assert!(message.len() < 4000, "{script}: {} bytes", message.len());
        }
        let _ = slot.settle(outcome).await;
    }
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
    let page = "<!doctype html><body><script>window.__hf = { duration: 2, seek() {} };setTimeout(() => { for (;;); }, 950)</script>";
    let mut host = slot.open(site(&folder, page), VIEWPORT, &options()).await.unwrap();
    host.seek(9, &[]).await.unwrap();
    let error = host.seek(10, &[]).await.unwrap_err();
    let (code, message) = (error.code(), error.to_string());
    assert_eq!((code, code.owner()), (FailureCode::PageUnresponsive, Owner::User), "{message}");
    assert!(message.contains("frame 10 (1.000 s)") && message.contains("begun at 0.950 s"), "{message}");
    drop(host);
    assert!(slot.settle::<()>(Err(error)).await.is_err());
    assert!(descendants().is_empty(), "the browser of a page that loops is ended");
}

/// Kills the process below this one whose command line has `argument`.
fn kill_process(argument: &str) {
    let command_line = |id: &u32| std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
    let found = descendants().into_iter().find(|id| {
        command_line(id).split(|byte| matches!(byte, 0 | b' ')).any(|part| part == argument.as_bytes())
            && !command_line(id).windows(7).any(|part| part == b"unshare")
    });
    let id = i32::try_from(found.unwrap_or_else(|| panic!("no process has {argument}"))).unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(id).unwrap(), rustix::process::Signal::KILL).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_browser_is_seen_within_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let _alone = ALONE.lock().await;
    let mut slot = slot().await;
    let endless = page("window.__hf.seek = (time) => { if (time > 0) for (;;); };");
    let mut host = slot.open(site(&folder, &endless), VIEWPORT, &options()).await.unwrap();
    let killing = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        kill_process("--headless");
        Instant::now()
    };
    let (sought, killed) = tokio::join!(
        async {
            let error = host.seek(1, &[]).await.unwrap_err();
            (error, Instant::now())
        },
        killing
    );
    let (error, seen) = sought;
    assert!(seen - killed < Duration::from_secs(1), "{:?}", seen - killed);
    assert_eq!(error.code(), FailureCode::ChromeCrashed, "{error}");
    drop(host);
    assert!(slot.settle::<()>(Err(error)).await.is_err());
    assert!(descendants().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_above_its_memory_is_ended_at_once_and_the_memory_is_back() {
    let bomb = r#"
        window.__hf.seek = (time) => {
            window.kept = [];
            if (time > 0) for (;;) kept.push(new Uint8Array(16 << 20).fill(7));
        };
    "#;
    let folder = tempfile::tempdir().unwrap();
    let _alone = ALONE.lock().await;
    let limited = |name: &str| match name {
        "HYPERFARM_PAGE_MEMORY_MB" => Some("700".to_owned()),
        name => std::env::var(name).ok(),
    };
    let mut slot = slot_with(&limited).await;
    let mut host = slot.open(site(&folder, &page(bomb)), VIEWPORT, &options()).await.unwrap();
    let before = descendants();
    let started = Instant::now();
    let error = host.seek(5, &[]).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert_eq!((error.code(), error.code().owner()), (FailureCode::PageCrashed, Owner::User), "{error}");
    let message = error.to_string();
    assert!(message.contains("700 MiB") && message.contains("frame 5"), "{message}");
    let used: u64 = message.split("had ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!((701..1500).contains(&used), "{message}");
    drop(host);
    assert!(slot.settle::<()>(Err(error)).await.is_err());
    assert!(!before.iter().any(|id| is_alive(*id)), "a process of the browser has its memory still");
}

/// The worker that the next test kills: it opens a page and waits.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "started by a_browser_behind_a_script_ends_with_a_killed_worker"]
async fn a_worker_that_waits() {
    let folder = tempfile::tempdir().unwrap();
    let mut slot = slot().await;
    let _host = slot.open(site(&folder, &page("")), VIEWPORT, &options()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_behind_a_script_ends_with_a_killed_worker() {
    use std::os::unix::fs::PermissionsExt;

    let _alone = ALONE.lock().await;
    let settings = config::read(&|name| std::env::var(name).ok(), ChromeSettings::read).unwrap();
    let chrome = ChromeConfig::find(&settings).unwrap();
    if chrome.pid_namespace == PidNamespace::None {
        eprintln!("skipped: the kernel gives no PID namespace");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let script = folder.path().join("chrome");
    // The worker recognises no absolute path in it, so that the script stays between the two.
    let (directory, name) = (chrome.executable.parent().unwrap(), chrome.executable.file_name().unwrap());
    let text = format!("#!/bin/sh\n(cd '{}'; './{}' \"$@\") &\nwait\n", directory.display(), name.to_string_lossy());
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let temp = folder.path().join("tmp");
    std::fs::create_dir(&temp).unwrap();
    std::fs::set_permissions(&temp, std::fs::Permissions::from_mode(0o777)).unwrap();
    let mut worker = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "a_worker_that_waits"])
        .env("HYPERFARM_CHROME", &script)
        .env("TMPDIR", &temp)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    // Two of setpriv and unshare, two of the script, two zygotes, the GPU process, a renderer.
    while descendants_of(worker.id()).len() < 8 {
        assert!(Instant::now() < deadline, "the worker started no browser");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let before = descendants_of(worker.id());
    worker.kill().unwrap();
    worker.wait().unwrap();
    let killed = Instant::now();
    while before.iter().any(|id| is_alive(*id)) {
        assert!(killed.elapsed() < Duration::from_secs(2), "Chrome goes on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn chromes_processes_are_confined_and_a_site_stores_little() {
    let script = r#"
        (async () => {
            const cache = await caches.open("c");
            for (let i = 1; i < 4; i++) {
                await cache.put("/" + i, new Response(new Uint8Array(24 << 20)));
                console.warn("STORED " + i);
            }
        })().catch((error) => console.warn("REFUSED " + error.name));
    "#;
    let folder = tempfile::tempdir().unwrap();
    let _alone = ALONE.lock().await;
    let mut slot = slot().await;
    let host = slot.open(site(&folder, &page(script)), VIEWPORT, &options()).await.unwrap();
    assert_eq!(warned(&host, "STORED 2").await, "STORED 2");
    assert_eq!(warned(&host, "REFUSED ").await, "REFUSED QuotaExceededError");
    drop(host);
    let measured = slot.confinement().get().cloned().unwrap();
    for layer in [Layer::PidNamespace, Layer::NetNamespace] {
        assert_ne!(measured.holds(ProcessKind::Renderer, layer), Some(false), "{layer}");
    }
    for kind in [ProcessKind::Renderer, ProcessKind::Gpu, ProcessKind::Browser] {
        for layer in [Layer::Seccomp, Layer::NoNewPrivileges, Layer::UnprivilegedUser] {
            assert_eq!(measured.holds(kind, layer), Some(true), "{kind:?}: {layer}");
        }
        assert_ne!(measured.holds(kind, Layer::CleanEnvironment), Some(false));
        let holds = measured.holds(kind, Layer::PidNamespace);
        assert_eq!(holds, Some(slot_pid_namespace() || kind == ProcessKind::Renderer), "{kind:?}");
    }
    slot.close().await;
}

/// Whether the kernel gives Chrome a PID namespace here.
fn slot_pid_namespace() -> bool {
    let settings = config::read(&|name| std::env::var(name).ok(), ChromeSettings::read).unwrap();
    ChromeConfig::find(&settings).unwrap().pid_namespace != PidNamespace::None
}
