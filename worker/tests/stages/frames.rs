//! What is drawn: the same in every chunk, and of nested compositions what one page would show.

use std::io::Write;

use hyperfarm_proto::frame::FrameRange;
use hyperfarm_proto::spec::RenderSpec;
use hyperfarm_proto::task::Step;
use zip::write::SimpleFileOptions;

use crate::farm::{Farm, example, ranges, zip_folder, zip_page};

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

/// Tweens of many kinds, some of which fight over an element: what they look like depends on where each took its start
/// values.
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
    for (name, more, most) in [("tweens", "", 170), ("callbacks", count, 247), ("frames", frame, 247)] {
        let page = TWEENS.replace("/* more */", more);
        let spec = RenderSpec { fps: Some("15".parse().unwrap()), ..RenderSpec::default() };
        let render = farm.submit(&format!("far-{name}"), zip_page(&page), spec).await;
        let draft = farm.draft(&render).await;
        assert_eq!(draft.content.frames, 300);
        assert!(draft.earlier_cost_ms > 0.0, "{name}: what earlier frames cost a chunk's start is measured");
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

/// Kills the processes below this one whose command line satisfies `is_meant`. Returns their number.
fn kill_below(is_meant: impl Fn(&str) -> bool) -> usize {
    let mut below = vec![std::process::id()];
    let mut killed = 0;
    while let Some(parent) = below.pop() {
        for entry in std::fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten() {
            let children = std::fs::read_to_string(entry.path().join("children")).unwrap_or_default();
            for child in children.split_whitespace().map(|child| child.parse::<u32>().unwrap()) {
                let command = std::fs::read_to_string(format!("/proc/{child}/cmdline")).unwrap_or_default();
                if is_meant(&command) {
                    let pid = rustix::process::Pid::from_raw(child.try_into().unwrap()).unwrap();
                    killed += usize::from(rustix::process::kill_process(pid, rustix::process::Signal::KILL).is_ok());
                }
                below.push(child);
            }
        }
    }
    killed
}

/// The page and then the browser crash in the middle of a chunk: it goes on in another browser, with the same bytes.
#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_whose_page_or_browser_crashes_goes_on() {
    const PAGE: &str = "<!doctype html><style>body{margin:0;font:64px Inter}#card{position:absolute;padding:40px;background:#08c}</style>\
        <div id=main data-composition-id=main data-width=640 data-height=360 data-duration=8><p id=card>0</p></div>\
        <script>const card=document.getElementById('card');const tl=gsap.timeline({paused:true});\
        const work=()=>{let sum=0;for(let i=0;i<4e6;i++)sum+=Math.sqrt(i);card.textContent=Math.round(tl.time()*30)+sum%1};\
        tl.to(card,{x:300,y:120,rotation:40,duration:8,ease:'none',onUpdate:work});window.__timelines={main:tl}</script>";
    let farm = std::sync::Arc::new(Farm::start(1).await);
    let undisturbed = farm.submit("undisturbed", zip_page(PAGE), RenderSpec::default()).await;
    let draft = farm.draft(&undisturbed).await;
    farm.shard(draft, ranges(&[0, 30, 210, 240])).await;
    let expected = farm.chunk(&undisturbed, 1).await;
    for (crashed, is_meant) in [
        ("page", (|command: &str| command.contains("--type=renderer")) as fn(&str) -> bool),
        ("browser", |command: &str| command.contains("--remote-debugging") && !command.contains("--type=")),
    ] {
        let render = farm.submit(crashed, zip_page(PAGE), RenderSpec::default()).await;
        let draft = farm.draft(&render).await;
        farm.shard(draft, ranges(&[0, 30, 210, 240])).await;
        let chunk = tokio::spawn({
            let (farm, render) = (farm.clone(), render.clone());
            async move { farm.chunk(&render, 1).await }
        });
        let killed = async {
            loop {
                let view = farm.backplane.ledger.view(&render).await.unwrap().unwrap();
                let done = view.tasks.get(&Step::Chunk(1)).map_or(0, |task| task.progress.done);
                if (1..170).contains(&done) {
                    break kill_below(is_meant);
                }
                assert_eq!(done, 0, "the chunk was done before its {crashed} was killed");
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        assert!(killed.await > 0, "no {crashed} was there");
        let record = chunk.await.unwrap();
        assert_eq!(record.attempt, 1);
        assert_eq!(record.frame_hashes, expected.frame_hashes, "{crashed}");
        assert_eq!((record.hash, record.after), (expected.hash, expected.after), "{crashed}");
    }
    let metrics = farm.backplane.metrics.encode();
    assert!(metrics.contains("hyperfarm_chunks_resumed_total 2"), "{metrics}");
    std::sync::Arc::into_inner(farm).unwrap().stop().await;
}
