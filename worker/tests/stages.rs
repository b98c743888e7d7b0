//! The worker's stages over a backplane in memory and a real Chrome: the test plays the coordinator.

#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hyperfarm_backplane::Backplane;
use hyperfarm_backplane::drain::Drain;
use hyperfarm_backplane::fetch::FetchConfig;
use hyperfarm_backplane::ledger::TaskView;
use hyperfarm_backplane::objects::Objects;
use hyperfarm_backplane::runner::RunnerConfig;
use hyperfarm_proto::failure::FailureCode;
use hyperfarm_proto::frame::FrameRange;
use hyperfarm_proto::id::{ContentHash, Pool, RenderId};
use hyperfarm_proto::keys;
use hyperfarm_proto::plan::{Plan, PlanDraft};
use hyperfarm_proto::record::SegmentRecord;
use hyperfarm_proto::spec::{RenderRequest, RenderSpec};
use hyperfarm_proto::task::{Queue, Step, TaskId, TaskMessage};
use hyperfarm_proto::wire;
use hyperfarm_worker::chrome::ChromeConfig;
use hyperfarm_worker::remote::RemoteConfig;
use hyperfarm_worker::{Worker, WorkerConfig};
use zip::write::SimpleFileOptions;

struct Farm {
    backplane: Backplane,
    worker: Worker,
    drain: Drain,
    _folder: tempfile::TempDir,
}

impl Farm {
    async fn start(slots: u32) -> Self {
        let backplane = Backplane::ephemeral(Objects::memory());
        let folder = tempfile::tempdir().unwrap();
        let drain = Drain::new();
        let config = WorkerConfig {
            id: "w1".parse().unwrap(),
            pool: Pool::default(),
            slots,
            chrome: ChromeConfig::from_env(&|name| std::env::var(name).ok()).unwrap(),
            encoder: hyperfarm_worker::encoders::EncoderWish::Software,
            remote: RemoteConfig {
                fetch: FetchConfig { allow: "127.0.0.1".parse().unwrap(), ..FetchConfig::default() },
                ..RemoteConfig::default()
            },
            label: String::new(),
            work_dir: folder.path().to_owned(),
            runner: RunnerConfig::default(),
        };
        let worker = Worker::start(backplane.clone(), config, drain.clone()).await.unwrap();
        Self { backplane, worker, drain, _folder: folder }
    }

    async fn submit(&self, id: &str, bundle: Vec<u8>, spec: RenderSpec) -> RenderId {
        let render: RenderId = id.parse().unwrap();
        let hash = ContentHash::of(&bundle);
        let objects = &self.backplane.objects;
        objects.put(&keys::bundle(&hash), bundle.into()).await.unwrap();
        let request = RenderRequest { id: render.clone(), created_at_ms: 0, bundle: hash, spec };
        objects.put_json(&keys::request(&render), &request).await.unwrap();
        self.backplane.ledger.open(&render).await.unwrap();
        render
    }

    async fn run(&self, render: &RenderId, step: Step) -> TaskView {
        let task = TaskId { render: render.clone(), step };
        let message = TaskMessage { task, pool: Pool::default() };
        let queue = Queue::of(step, &Pool::default());
        self.backplane.broker.publish(&queue, wire::encode(&message).unwrap().into()).await.unwrap();
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            let view = self.backplane.ledger.view(render).await.unwrap().unwrap();
            if let Some(task) = view.tasks.get(&step)
                && (task.committed.is_some() || !task.failures.is_empty())
            {
                return task.clone();
            }
            assert!(Instant::now() < deadline, "{step} did not end");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn draft(&self, render: &RenderId) -> PlanDraft {
        let task = self.run(render, Step::Plan).await;
        assert!(task.failures.is_empty(), "{:?}", task.failures);
        self.backplane.objects.get_wire(&keys::draft(render)).await.unwrap()
    }

    async fn shard(&self, draft: PlanDraft, chunks: Vec<FrameRange>) -> Plan {
        let plan = Plan {
            render: draft.render,
            pool: Pool::default(),
            content: draft.content,
            frame_cost_ms: draft.frame_cost_ms,
            chunks,
            warnings: draft.warnings,
        };
        self.backplane.objects.put_wire(&keys::plan(&plan.render), &plan).await.unwrap();
        plan
    }

    async fn chunk(&self, render: &RenderId, number: u32) -> SegmentRecord {
        let task = self.run(render, Step::Chunk(number)).await;
        assert!(task.failures.is_empty(), "{:?}", task.failures);
        serde_json::from_slice(&task.committed.unwrap()).unwrap()
    }

    async fn stop(self) {
        self.drain.start();
        self.worker.join().await;
    }
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name)
}

fn zip_folder(folder: &Path) -> Vec<u8> {
    fn add(writer: &mut zip::ZipWriter<std::io::Cursor<Vec<u8>>>, root: &Path, folder: &Path) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                add(writer, root, &path);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                writer.start_file(name, SimpleFileOptions::default()).unwrap();
                writer.write_all(&std::fs::read(&path).unwrap()).unwrap();
            }
        }
    }
    let mut writer = zip::ZipWriter::new(std::io::Cursor::default());
    add(&mut writer, folder, folder);
    writer.finish().unwrap().into_inner()
}

fn zip_page(html: &str) -> Vec<u8> {
    zip_files(&[("index.html", html)])
}

fn zip_files(files: &[(&str, &str)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::default());
    for (name, text) in files {
        writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        writer.write_all(text.as_bytes()).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn ranges(bounds: &[u64]) -> Vec<FrameRange> {
    bounds.windows(2).map(|pair| FrameRange::new(pair[0], pair[1]).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_has_the_frames_of_the_walk() {
    let farm = Farm::start(1).await;
    for name in ["kinetic-type", "line-drawing", "product-launch"] {
        let bundle = zip_folder(&example(name));
        let walk = farm.submit(&format!("walk-{name}"), bundle.clone(), RenderSpec::default()).await;
        let draft = farm.draft(&walk).await;
        let content = draft.content.hash().unwrap();
        farm.shard(draft, ranges(&[0, 60])).await;
        let whole = farm.chunk(&walk, 0).await;

        let cut = farm.submit(&format!("cut-{name}"), bundle, RenderSpec::default()).await;
        let draft = farm.draft(&cut).await;
        assert_eq!(draft.content.hash().unwrap(), content, "equal inputs have an equal plan");
        farm.shard(draft, ranges(&[0, 23, 60])).await;
        // The later chunk first: what the browser drew before must not matter.
        let second = farm.chunk(&cut, 1).await;
        let first = farm.chunk(&cut, 0).await;
        let pieces: Vec<_> = first.frame_hashes.iter().chain(&second.frame_hashes).collect();
        let different: Vec<usize> = (0..60).filter(|frame| &whole.frame_hashes[*frame] != pieces[*frame]).collect();
        assert!(different.is_empty(), "{name}: frames {different:?} differ");
        let distinct: std::collections::HashSet<String> =
            whole.frame_hashes.iter().map(|hash| hash.to_string()).collect();
        assert!(distinct.len() > 20, "{name} moves, and {} pictures of 60 are distinct", distinct.len());
    }
    farm.stop().await;
}

const CARD: &str = r##"<html data-composition-variables='[{"id":"label","type":"string","default":"none"},
    {"id":"ink","type":"color","default":"#0000ff"}]'><head><style>
    :root{background:#fff} #card{position:absolute;overflow:hidden} .box{background:var(--ink);width:40px;height:40px}
    @media (min-width:1px){.label{font:20px Inter;margin:0}}
    </style></head><body><div id="card" data-composition-id="card" data-width="90" data-height="120">
    <div class="box"></div><p class="label"></p><audio src="../voice.m4a" data-start="0.2"></audio>
    <div data-composition-id="dot" data-composition-src="scenes/dot.html" data-start="0.5" data-duration="5"></div></div>
    <script>
    document.querySelector("#card .label").textContent = window.__hyperframes.getVariables().label;
    const tl = gsap.timeline({ paused: true });
    tl.set(".box", { width: 60 }, 0.5);
    window.__timelines["card"] = tl;
    </script></body></html>"##;

const DOT: &str = r##"<template><div id="dot" data-composition-id="dot" data-width="20" data-height="20">
    <style>.box{background:#80f;width:20px;height:10px}</style><div class="box"></div>
    <script>{ const tl = gsap.timeline({ paused: true }); tl.set("#dot .box", { height: 20 }, 0.5); window.__timelines.dot = tl; }</script>
    </div></template>"##;

/// A file mounted three times with another one inside, and the page that somebody would have written without them.
#[tokio::test(flavor = "multi_thread")]
async fn nested_compositions_look_and_sound_like_one_page() {
    let page = |body: &str, script: &str| {
        format!(
            "<!doctype html><html><head><script src=lib/gsap.min.js></script><style>html,body{{margin:0}}\
             #m{{position:relative;width:320px;height:180px;background:#234}}.at{{position:absolute;top:20px}}</style></head>\
             <body><div id=m data-composition-id=main data-start=0 data-width=320 data-height=180 data-duration=2>{body}</div>\
             <script>window.__timelines = window.__timelines || {{}}; const main = gsap.timeline({{ paused: true }});\
             main.to({{}}, {{ duration: 2 }}); {script} window.__timelines.main = main;</script></body></html>"
        )
    };
    let mounts =
        [(5, 0.0, 2.0, "one", "#ff0000"), (110, 0.5, 1.0, "two", "#00c000"), (215, 1.0, 1.0, "none", "#0000ff")];
    let (mut hosts, mut flat, mut script) = (String::new(), String::new(), String::new());
    for (index, (left, start, length, label, ink)) in mounts.iter().enumerate() {
        let time = format!("data-start={start} data-duration={length} data-track-index={index}");
        let values = format!("data-variable-values='{{\"label\":\"{label}\",\"ink\":\"{ink}\"}}'");
        let values = if *label == "none" { String::new() } else { values };
        hosts.push_str(&format!(
            "<div class=at style=\"left:{left}px\" data-composition-id=card data-composition-src=scenes/card.html {time} {values}></div>"
        ));
        let dot = format!("data-start={} data-duration={}", start + 0.5, length - 0.5);
        flat.push_str(&format!(
            "<div class=\"at clip\" style=\"left:{left}px;width:90px;height:120px;background:#fff;overflow:hidden\" {time}>\
             <div id=a{index} style=\"width:40px;height:40px;background:{ink}\"></div>\
             <p style=\"font:20px Inter;margin:0\">{label}</p>\
             <div class=clip {dot}><div id=b{index} style=\"width:20px;height:10px;background:#80f\"></div></div></div>"
        ));
        // A composition's selectors also find what is nested in it.
        script.push_str(&format!(
            "main.set('#a{index}, #b{index}', {{ width: 60 }}, {}); main.set('#b{index}', {{ height: 20 }}, {});",
            start + 0.5,
            start + 1.0
        ));
    }
    let gsap = std::fs::read_to_string(example("product-launch/lib/gsap.min.js")).unwrap();
    let voice = std::fs::read(example("video-duck/media/voice-a.m4a")).unwrap();
    let bundle = |html: &str| {
        let mut writer = zip::ZipWriter::new(std::io::Cursor::default());
        let files: [(&str, &[u8]); 5] = [
            ("index.html", html.as_bytes()),
            ("lib/gsap.min.js", gsap.as_bytes()),
            ("scenes/card.html", CARD.as_bytes()),
            ("scenes/dot.html", DOT.as_bytes()),
            ("voice.m4a", &voice),
        ];
        for (name, bytes) in files {
            writer.start_file(name, SimpleFileOptions::default()).unwrap();
            writer.write_all(bytes).unwrap();
        }
        writer.finish().unwrap().into_inner()
    };
    let farm = Farm::start(1).await;
    let spec = || RenderSpec { fps: Some("10".parse().unwrap()), ..RenderSpec::default() };
    let mut hashes = Vec::new();
    for (id, html) in [("nested", page(&hosts, "")), ("flat", page(&flat, &script))] {
        let render = farm.submit(id, bundle(&html), spec()).await;
        let draft = farm.draft(&render).await;
        assert!(draft.warnings.is_empty(), "{id}: {:?}", draft.warnings);
        if id == "nested" {
            let mut sounds: Vec<(f64, f64)> =
                draft.content.audio.iter().map(|item| (item.timing.start, item.timing.end)).collect();
            sounds.sort_by(|a, b| a.0.total_cmp(&b.0));
            let starts: Vec<f64> = sounds.iter().map(|(start, _)| (start * 10.0).round() / 10.0).collect();
            assert_eq!(starts, [0.2, 0.7, 1.2], "{sounds:?}");
            assert!((sounds[1].1 - 1.5).abs() < 1e-6, "a sound ends with the composition around it: {sounds:?}");
            let ids: std::collections::BTreeSet<&str> =
                draft.content.audio.iter().map(|item| item.id.as_str()).collect();
            assert_eq!(ids.len(), 3);
        }
        farm.shard(draft, ranges(&[0, 20])).await;
        hashes.push(farm.chunk(&render, 0).await.frame_hashes);
    }
    let different: Vec<usize> = (0..20).filter(|frame| hashes[0][*frame] != hashes[1][*frame]).collect();
    assert!(different.is_empty(), "frames {different:?} differ");
    let distinct: std::collections::HashSet<String> = hashes[0].iter().map(|hash| hash.to_string()).collect();
    assert_eq!(distinct.len(), 4, "mounts begin, change and end at half seconds");
    farm.stop().await;
}

/// The message of the failure that a plan of `bundle` ends with.
async fn refused(farm: &Farm, id: &str, bundle: Vec<u8>, spec: RenderSpec) -> (FailureCode, String) {
    let render = farm.submit(id, bundle, spec).await;
    let task = farm.run(&render, Step::Plan).await;
    let failed = task.failures.last().unwrap_or_else(|| panic!("{id} was planned")).clone();
    (failed.failure.code, failed.failure.message)
}

fn page(root: &str, script: &str) -> String {
    format!(
        "<!doctype html><html><body><div data-composition-id=\"main\" data-width=\"640\" data-height=\"360\" {root}>x</div>\
         <script>{script}</script></body></html>"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_the_users_failure_and_names_its_cause() {
    let farm = Arc::new(Farm::start(2).await);
    let spec = RenderSpec::default;
    type Case = (&'static str, Vec<u8>, RenderSpec, FailureCode, &'static [&'static str]);
    let cases: Vec<Case> = vec![
        ("no-zip", b"not a zip".to_vec(), spec(), FailureCode::ProjectInvalid, &["zip"]),
        (
            "no-entry",
            zip_files(&[("page.html", "x")]),
            spec(),
            FailureCode::EntryNotFound,
            &["index.html", "page.html"],
        ),
        (
            "nested",
            zip_page(
                "<div data-composition-id=m data-duration=1><div data-composition-src=\"scenes/a.html\"></div></div>",
            ),
            spec(),
            FailureCode::CompositionNotFound,
            &["scenes/a.html", "index.html"],
        ),
        (
            "no-duration",
            zip_page(&page("data-no-timeline", "")),
            spec(),
            FailureCode::DurationMissing,
            &["data-duration"],
        ),
        (
            "zero",
            zip_page(&page("data-no-timeline data-duration=\"0\"", "")),
            spec(),
            FailureCode::DurationMissing,
            &["data-duration"],
        ),
        (
            "negative",
            zip_page(&page("data-no-timeline data-duration=\"-3\"", "")),
            spec(),
            FailureCode::DurationInvalid,
            &["-3"],
        ),
        (
            "ten-hours",
            zip_page(&page("data-no-timeline data-duration=\"36000\"", "")),
            spec(),
            FailureCode::DurationInvalid,
            &["36000"],
        ),
        (
            "throws",
            zip_page(&page("data-duration=\"1\"", "window.__timelines = {}; throw new Error('no such scene');")),
            spec(),
            FailureCode::TimelineMissing,
            &["no such scene", "main", "index.html"],
        ),
        (
            "lost-script",
            zip_page(
                "<div data-composition-id=m data-width=640 data-height=360 data-duration=1></div><script src=lib/lost.js></script><script>window.__timelines</script>",
            ),
            spec(),
            FailureCode::TimelineMissing,
            &["lib/lost.js"],
        ),
        (
            "size",
            zip_page(&page("data-duration=1", "").replace("640", "9000")),
            spec(),
            FailureCode::SizeInvalid,
            &["9000x360"],
        ),
        (
            "variables",
            zip_page(&page("data-no-timeline data-duration=1", "")),
            RenderSpec { variables: Some("{\"a\":".to_owned()), ..spec() },
            FailureCode::VariablesInvalid,
            &["JSON"],
        ),
    ];
    for (id, bundle, spec, code, named) in cases {
        let (found, message) = refused(&farm, id, bundle, spec).await;
        assert_eq!(found, code, "{id}: {message}");
        for name in named {
            assert!(message.contains(name), "{id}: `{message}` does not name {name}");
        }
    }
    Arc::into_inner(farm).unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_a_warning_that_names_it() {
    let farm = Farm::start(1).await;
    let html = page("data-no-timeline data-duration=\"1\"", "fetch('https://example.org/data.json').catch(() => {})")
        .replace(">x<", "><img src=\"pictures/lost.png\"><p style=\"font-family:Zapfino\">x</p><");
    let render = farm.submit("warn", zip_page(&html), RenderSpec::default()).await;
    let draft = farm.draft(&render).await;
    for name in ["pictures/lost.png", "example.org", "Zapfino"] {
        assert!(draft.warnings.iter().any(|warning| warning.message.contains(name)), "{name}: {:?}", draft.warnings);
    }
    assert_eq!(draft.content.frames, 30);
    farm.stop().await;
}

/// A mono WAV file of 16-bit samples at 48 kHz.
fn wav(samples: &[f64]) -> Vec<u8> {
    let data: Vec<u8> = samples.iter().flat_map(|level| ((level * 32767.0).round() as i16).to_le_bytes()).collect();
    let mut bytes = b"RIFF".to_vec();
    bytes.extend((36 + data.len() as u32).to_le_bytes());
    bytes.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    bytes.extend(48_000_u32.to_le_bytes());
    bytes.extend(96_000_u32.to_le_bytes());
    bytes.extend(b"\x02\0\x10\0data");
    bytes.extend((data.len() as u32).to_le_bytes());
    bytes.extend(data);
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn effects_groups_and_scripts_are_heard() {
    let folder = tempfile::tempdir().unwrap();
    let tone: Vec<f64> =
        (0..48_000).map(|at| (f64::from(at) / 48_000.0 * 4000.0 * std::f64::consts::TAU).sin() * 0.3).collect();
    let mut click = vec![0.0; 4800];
    click[..24].fill(0.6);
    std::fs::write(folder.path().join("tone.wav"), wav(&tone)).unwrap();
    std::fs::write(folder.path().join("click.wav"), wav(&click)).unwrap();
    let gsap = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser/node_modules/gsap/dist/gsap.min.js");
    std::fs::copy(gsap, folder.path().join("gsap.min.js")).unwrap();
    let chain = |nodes: &str| format!(r#"data-fx-chain='{{"version":1,"nodes":[{nodes}]}}'"#);
    let low = chain(r#"{"type":"lowpass","params":{"frequency":400}},{"type":"warp"}"#);
    let echo = chain(r#"{"type":"delay","params":{"time":250,"mix":0.5,"feedback":0.01}}"#);
    let louder = chain(r#"{"type":"peaking","params":{"frequency":4000,"gain":6,"q":1}}"#);
    let html = format!(
        "<!doctype html><body><div data-composition-id=\"main\" data-start=\"0\" data-duration=\"4\" data-width=\"320\" \
         data-height=\"180\">x\
         <hf-audio-group id=\"g\" data-volume=\"0.25\" {louder}></hf-audio-group>\
         <audio id=\"low\" src=\"tone.wav\" data-start=\"0\" data-duration=\"1\" {low}></audio>\
         <audio id=\"echo\" src=\"click.wav\" data-start=\"1\" data-duration=\"0.1\" {echo}></audio>\
         <audio id=\"moved\" src=\"tone.wav\" data-start=\"2\" data-duration=\"1\"></audio>\
         <audio id=\"member\" src=\"tone.wav\" data-start=\"3\" data-duration=\"1\" data-audio-group=\"g\"></audio>\
         </div><script src=\"gsap.min.js\"></script><script>const tl = gsap.timeline({{ paused: true }}); tl.set('#moved', {{ volume: 0.1 }}, 2.5); \
         tl.to({{}}, {{ duration: 4 }}, 0); window.__timelines = {{ main: tl }};</script></body>"
    );
    std::fs::write(folder.path().join("index.html"), html).unwrap();
    let farm = Farm::start(1).await;
    let render = farm.submit("sound", zip_folder(folder.path()), RenderSpec::default()).await;
    let draft = farm.draft(&render).await;
    let unknown: Vec<_> = draft.warnings.iter().filter(|warning| warning.code == "EFFECT_UNKNOWN").collect();
    assert!(unknown.len() == 1 && unknown[0].message.contains("warp"), "{:?}", draft.warnings);
    let plan = farm.shard(draft, ranges(&[0, 120])).await;
    let task = farm.run(&render, Step::Audio).await;
    assert!(task.failures.is_empty(), "{:?}", task.failures);
    let key = keys::audio(&render, plan.content.encoder.format);
    let file = folder.path().join("mix.m4a");
    std::fs::write(&file, farm.backplane.objects.get(&key).await.unwrap()).unwrap();
    let heard = hyperfarm_media::decode_audio(&file).unwrap();
    assert_eq!(heard.len(), 4 * 48_000);
    let level = |from: f64, to: f64| {
        let part = &heard[(from * 48_000.0) as usize..(to * 48_000.0) as usize];
        (part.iter().map(|sample| f64::from(sample[0]).powi(2)).sum::<f64>() / part.len() as f64).sqrt()
    };
    let decibels = |level: f64| 20.0 * (level / (0.3 / 2.0_f64.sqrt())).log10();
    // Two poles at a tenth of the frequency take 40 dB away.
    assert!((decibels(level(0.2, 0.8)) + 40.0).abs() < 2.0, "{}", decibels(level(0.2, 0.8)));
    // The echo comes after the element's end.
    for place in [48_000_usize, 60_000] {
        let from = place - 2400;
        let at = from + heard[from..].iter().position(|sample| sample[0] > 0.15).unwrap();
        assert!(at.abs_diff(place) <= 48, "{at}");
    }
    assert!(decibels(level(2.1, 2.4)).abs() < 0.5, "{}", decibels(level(2.1, 2.4)));
    assert!((decibels(level(2.6, 2.9)) + 20.0).abs() < 0.5, "{}", decibels(level(2.6, 2.9)));
    // A quarter, and 6 dB more by the group's equaliser.
    assert!((decibels(level(3.2, 3.8)) + 6.04).abs() < 0.5, "{}", decibels(level(3.2, 3.8)));
    farm.stop().await;
}

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

/// What `verify` says of a page: every element that is not the same each time, and none that is.
#[tokio::test(flavor = "multi_thread")]
async fn elements_that_are_not_the_same_each_time_are_named() {
    let farm = Farm::start(1).await;
    let page = |script: &str| {
        format!(
            "<!doctype html><style>body{{margin:0;font:16px Inter}}#main{{width:320px;height:180px;position:relative;background:#fff}}\
             #main>*{{position:absolute}}#lot,#still{{width:20px;height:20px;top:20px;background:#c00}}#stamp{{top:60px}}\
             #board{{top:90px;left:10px}}</style><div id=main data-composition-id=main data-width=320 data-height=180 data-duration=1>\
             <div id=still></div><div id=lot></div><p id=stamp>now</p><canvas id=board width=300 height=60></canvas></div>\
             <script>window.__timelines={{}};const tl=gsap.timeline({{paused:true}});\
             tl.to('#still',{{x:200,duration:1,ease:'none'}});window.__timelines.main=tl;{script}</script>"
        )
    };
    let spec = RenderSpec { verify: true, fps: Some("10".parse().unwrap()), ..RenderSpec::default() };
    let steady = page("document.getElementById('stamp').textContent = new Date().getTime();");
    let render = farm.submit("verify-steady", zip_page(&steady), spec.clone()).await;
    let said = farm.draft(&render).await.warnings;
    assert!(said.iter().all(|warning| warning.code != "NON_DETERMINISTIC"), "{said:?}");

    let unsteady = page(
        "document.getElementById('lot').style.left = Math.round(Math.random() * 290) + 'px';\
         document.getElementById('stamp').textContent = String(performance.timeOrigin);\
         const pen = document.getElementById('board').getContext('2d');\
         pen.font = '30px Inter'; pen.fillText(String(performance.timeOrigin * 1000), 0, 40);",
    );
    let render = farm.submit("verify-unsteady", zip_page(&unsteady), spec).await;
    let said = farm.draft(&render).await.warnings;
    let said: Vec<&str> = said
        .iter()
        .filter(|warning| warning.code == "NON_DETERMINISTIC")
        .map(|warning| warning.message.as_str())
        .collect();
    let of = |start: &str| said.iter().find(|message| message.starts_with(start)).copied().unwrap_or_default();
    assert!(of("#stamp (p) is not the same").contains("its text"), "{said:?}");
    assert!(of("#board (canvas) is not the same").contains("what is drawn on it"), "{said:?}");
    assert!(of("#lot (div) depends on random numbers").contains("its style left"), "{said:?}");
    assert!(of("#lot").contains("frames 0, 1, 2, 3, 5, 6, 7, 9 of 8 compared"), "{said:?}");
    assert_eq!(said.len(), 3, "{said:?}");
    farm.stop().await;
}

/// Tweens of many kinds, some of which fight over an element: what they look like depends on where each took its start values.
const TWEENS: &str = "<!doctype html><style>body{margin:0}#main{width:320px;height:180px;position:relative;background:#fff;overflow:hidden}\
    .d{position:absolute;width:16px;height:16px;background:#c00}@keyframes turn{to{rotate:360deg}}#k{animation:turn 3s linear infinite}\
    #inner{position:absolute;left:200px;top:100px;width:100px;height:60px;background:#eee}</style>\
    <div id=main data-composition-id=main data-width=320 data-height=180 data-duration=20>\
    <div class=d id=a style='top:0'></div><div class=d id=b style='top:20px'></div><div class=d id=c style='top:40px'></div>\
    <div class=d id=e style='top:60px'></div><div class=d id=f style='top:80px'></div><div class=d id=k style='top:100px'></div>\
    <div class='s d' style='top:120px'></div><div class='s d' style='top:140px'></div><div class='s d' style='top:160px'></div>\
    <div class='clip d' style='left:300px' data-start=6 data-duration=4></div>\
    <div id=inner data-composition-id=inner data-start=5 data-duration=12><div class=d id=i></div></div></div><script>\
    const tl = gsap.timeline({ paused: true });\
    tl.to('#a', { x: 200, duration: 9, ease: 'power1.in' }, 1).to('#a', { x: 40, y: 9, duration: 5, ease: 'none' }, 4.03);\
    tl.to('#a', { x: '+=60', duration: 2 }, 13.4).to('#b', { x: 250, duration: 2, repeat: 3, yoyo: true, repeatDelay: 0.3 }, 0.5);\
    tl.from('#c', { x: 100, autoAlpha: 0, duration: 3 }, 2.02).fromTo('#c', { x: 300 }, { x: 20, duration: 4, immediateRender: false }, 9);\
    tl.to('#e', { keyframes: { x: [0, 180, 30, 220], rotation: [0, 20, 90] }, ease: 'power2.inOut', duration: 7 }, 3.3);\
    tl.to('.s', { x: (index) => 60 * (index + 1), y: 'random(-9, 9)', stagger: { each: 0.7, repeat: 1 }, duration: 1.5 }, 6.1);\
    const part = gsap.timeline(); part.to('#f', { x: 90, duration: 2 }).to('#f', { x: 20, duration: 1 }).to('#f', { width: 60, duration: 2 }, 1);\
    tl.add(part.timeScale(0.6), 4.7).set('#f', { height: 8 }, 15).to('#f', { x: 200, overwrite: 'auto', duration: 6 }, 10.2);\
    const own = gsap.timeline({ paused: true }); own.to('#i', { x: 60, duration: 6 }, 1).to('#i', { x: 10, y: 40, duration: 4 }, 3);\
    window.__timelines = { main: tl, inner: own }; /* more */</script>";

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_far_in_visits_what_its_page_needs() {
    let farm = Farm::start(1).await;
    let count = "let n = 0; tl.eventCallback('onUpdate', () => { document.getElementById('k').textContent = String(n++ % 7); });";
    let frame = "let n = 0; const step = () => { document.getElementById('k').textContent = String(n++ % 7); requestAnimationFrame(step); };\
        requestAnimationFrame(step);";
    for (name, more, most) in [("tweens", "", 170), ("callbacks", count, 248), ("frames", frame, 248)] {
        let page = TWEENS.replace("/* more */", more);
        let spec = RenderSpec { fps: Some("15".parse().unwrap()), ..RenderSpec::default() };
        let render = farm.submit(&format!("far-{name}"), zip_page(&page), spec).await;
        let draft = farm.draft(&render).await;
        assert_eq!(draft.content.frames, 300);
        farm.shard(draft, vec![FrameRange::new(0, 300).unwrap(), FrameRange::new(250, 300).unwrap()]).await;
        let far = farm.chunk(&render, 1).await;
        let walk = farm.chunk(&render, 0).await;
        let visited = far.timings.visited_frames;
        assert!(if more.is_empty() { visited < most && visited > 50 } else { visited == most }, "{name}: {visited}");
        let different: Vec<usize> = (0..50).filter(|at| walk.frame_hashes[250 + at] != far.frame_hashes[*at]).collect();
        assert!(different.is_empty(), "{name}: frames {different:?} from the chunk's start on differ");
        let distinct: std::collections::HashSet<String> =
            walk.frame_hashes.iter().map(|hash| hash.to_string()).collect();
        assert!(distinct.len() > 250, "{name}: {} pictures are distinct", distinct.len());
    }
    farm.stop().await;
}
