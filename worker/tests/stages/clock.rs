//! Time belongs to the farm: whatever clock a page follows, a frame shows its own moment, and chunks of seven frames
//! are those of one chunk.

use std::io::Write;

use hyperfarm_media::{Picture, decode_video};
use hyperfarm_proto::failure::{FailureCode, Owner};
use hyperfarm_proto::frame::FrameRange;
use hyperfarm_proto::id::RenderId;
use hyperfarm_proto::plan::{PlanDraft, Warning};
use hyperfarm_proto::spec::{Format, Quality, RenderSpec};
use hyperfarm_proto::task::Step;
use zip::write::SimpleFileOptions;

use crate::farm::{Farm, example};

pub(crate) const FPS: u64 = 30;

/// A page of a second at 30 frames a second on a black ground.
pub(crate) fn page(root: &str, body: &str, script: &str) -> String {
    format!(
        "<!doctype html><html><head><meta charset=utf-8><script src=gsap.min.js></script><style>html,body{{margin:0;\
         background:#000}}#root{{position:relative;width:640px;height:360px;overflow:hidden;background:#000}}\
         #root div{{position:absolute}}canvas{{position:absolute}}</style></head><body><div id=root data-composition-id=main \
         data-width=640 data-height=360 data-start=0 data-duration=1 data-fps=30 {root}>{body}</div>\
         <script>{script}</script></body></html>"
    )
}

/// A box that a timeline moves 300 px to the right.
pub(crate) const BOX: &str = "<div id=m style='left:0;top:0;width:60px;height:60px;background:#f00'></div>";
pub(crate) const MOVE: &str =
    "window.__timelines={main:gsap.timeline({paused:true}).to('#m',{x:300,duration:1,ease:'none'},0)};";

fn bundle(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::default());
    let gsap = std::fs::read(example("product-launch/lib/gsap.min.js")).unwrap();
    for (name, bytes) in files.iter().chain(&[("gsap.min.js", gsap)]) {
        writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// A film whose picture `n` is grey of `level(n)`, at 30 pictures a second.
pub(crate) fn film(pictures: u64) -> Vec<u8> {
    use hyperfarm_media::{Bitmap, PixelLayout, SegmentEncoder};
    use hyperfarm_proto::frame::FrameRate;
    use hyperfarm_proto::plan::EncoderSettings;
    use hyperfarm_proto::spec::Size;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("film.mp4");
    let (size, rate) = (Size { width: 128, height: 64 }, FrameRate::new(30, 1).unwrap());
    let settings = EncoderSettings::of(Format::Mp4, Quality::High, rate);
    let mut encoder = SegmentEncoder::create(&path, &settings, size, rate).unwrap();
    for number in 0..pictures {
        let pixel = [level(number), level(number), level(number), 255];
        let data = pixel.repeat(128 * 64);
        encoder.push(&Bitmap { data: &data, stride: 128 * 4, size, layout: PixelLayout::Bgra }).unwrap();
    }
    encoder.finish().unwrap();
    std::fs::read(&path).unwrap()
}

pub(crate) fn level(number: u64) -> u8 {
    (4 + number * 7).min(250) as u8
}

pub(crate) struct Rendered {
    pub(crate) pictures: Vec<Picture>,
    pub(crate) draft: PlanDraft,
    /// Warnings of the chunk that has all frames.
    pub(crate) chunk_warnings: Vec<Warning>,
}

impl Rendered {
    /// First and last column of row `y` in which `is_inside` holds, in frame `frame`.
    pub(crate) fn span(&self, frame: u64, y: u32, is_inside: fn([u8; 4]) -> bool) -> Option<(u32, u32)> {
        let picture = &self.pictures[frame as usize];
        let inside: Vec<u32> = (0..640).filter(|x| picture.pixel(*x, y).is_some_and(is_inside)).collect();
        Some((*inside.first()?, *inside.last()?))
    }

    /// Left edge of the box of a colour in row `y`.
    pub(crate) fn left(&self, frame: u64, y: u32, is_inside: fn([u8; 4]) -> bool) -> f64 {
        self.span(frame, y, is_inside).map_or(f64::NAN, |(first, _)| f64::from(first))
    }

    pub(crate) fn grey(&self, frame: u64, x: u32, y: u32) -> i32 {
        i32::from(self.pictures[frame as usize].pixel(x, y).unwrap()[1])
    }

    pub(crate) fn warning(&self, code: &str) -> Option<&Warning> {
        self.draft.warnings.iter().find(|warning| warning.code == code)
    }
}

pub(crate) fn red([b, g, r, _]: [u8; 4]) -> bool {
    r > 120 && g < 100 && b < 100
}

pub(crate) fn green([b, g, r, _]: [u8; 4]) -> bool {
    g > 120 && r < 100 && b < 100
}

pub(crate) fn blue([b, g, r, _]: [u8; 4]) -> bool {
    b > 120 && r < 100 && g < 100
}

/// Renders a project in one chunk, and in chunks of seven frames, the last one first. Their frames must be equal.
pub(crate) async fn render(farm: &Farm, name: &str, files: &[(&str, Vec<u8>)]) -> Rendered {
    let bundle = bundle(files);
    // Two plans at one moment are the same plan.
    let now = Some("2026-01-02T03:04:05Z".parse().unwrap());
    let spec = RenderSpec { quality: Quality::High, now, ..RenderSpec::default() };
    let begun = std::time::Instant::now();
    let whole = farm.submit(&format!("whole-{name}"), bundle.clone(), spec.clone()).await;
    let draft = farm.draft(&whole).await;
    assert!(begun.elapsed().as_secs() < 20, "{name}: the page was ready after {:?} only", begun.elapsed());
    let frames = draft.content.frames;
    farm.shard(draft.clone(), vec![FrameRange::new(0, frames).unwrap()]).await;
    let record = farm.chunk(&whole, 0).await;
    let cut = farm.submit(&format!("cut-{name}"), bundle, spec).await;
    let cut_draft = farm.draft(&cut).await;
    let ranges: Vec<FrameRange> =
        (0..frames.div_ceil(7)).map(|at| FrameRange::new(at * 7, frames.min(at * 7 + 7)).unwrap()).collect();
    farm.shard(cut_draft, ranges.clone()).await;
    let mut different = Vec::new();
    for (number, range) in ranges.iter().enumerate().rev() {
        let chunk = farm.chunk(&cut, number as u32).await;
        let hashes = range.frames().zip(&chunk.frame_hashes);
        different.extend(hashes.filter(|(at, hash)| record.frame_hashes[*at as usize] != **hash).map(|(at, _)| at));
    }
    assert!(different.is_empty(), "{name}: frames {different:?} differ in chunks of seven");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("segment.mp4");
    std::fs::write(&path, farm.backplane.objects.get(&record.key).await.unwrap()).unwrap();
    let mut pictures = Vec::new();
    decode_video(&path, &mut |_, picture| {
        pictures.push(picture.clone());
        true
    })
    .unwrap();
    if let Ok(kept) = std::env::var("HYPERFARM_KEEP_FRAMES") {
        std::fs::copy(&path, std::path::Path::new(&kept).join(format!("{name}.mp4"))).unwrap();
    }
    assert_eq!(pictures.len() as u64, frames, "{name}");
    Rendered { pictures, draft, chunk_warnings: record.warnings }
}

pub(crate) async fn render_page(farm: &Farm, name: &str, html: String) -> Rendered {
    render(farm, name, &[("index.html", html.into_bytes())]).await
}

/// Checks that an edge is at `speed * t` pixels at frames from the first to the last.
pub(crate) fn assert_moves(name: &str, speed: f64, left: impl Fn(u64) -> f64) {
    let wrong: Vec<(u64, f64)> = (0..FPS)
        .map(|frame| (frame, left(frame)))
        .filter(|(frame, left)| left.is_nan() || (left - speed * *frame as f64 / FPS as f64).abs() > 1.5)
        .collect();
    assert!(wrong.is_empty(), "{name}: frames and edges {wrong:?}");
}

/// Pages that wait for time to pass before they register their timeline.
#[tokio::test(flavor = "multi_thread")]
async fn time_passes_before_a_page_is_ready() {
    let farm = Farm::start(1).await;
    let waits = [
        ("frames", "requestAnimationFrame(()=>requestAnimationFrame(()=>{MOVE}));"),
        ("busy-wait", "const t=performance.now();while(performance.now()-t<30);MOVE"),
        ("busy-date", "const t=Date.now();while(new Date()-t<50);MOVE"),
        ("poll-date", "const t=Date.now();const h=setInterval(()=>{if(Date.now()-t>200){clearInterval(h);MOVE}},10);"),
        (
            "poll-frames",
            "let t;(function f(now){if(t===undefined&&now)t=now;if(now-t>100){MOVE}else requestAnimationFrame(f)})();",
        ),
        ("sleep", "setTimeout(()=>{MOVE},700);"),
        ("observer", "new ResizeObserver(()=>{MOVE}).observe(document.getElementById('m'));"),
        (
            "seen",
            "new IntersectionObserver(()=>{if(!window.__timelines?.main){MOVE}}).observe(document.getElementById('m'));",
        ),
        ("idle", "requestIdleCallback(()=>{MOVE});"),
        ("idle-loop", "requestIdleCallback(d=>{while(d.timeRemaining()>0);MOVE});"),
        (
            "busy-format",
            "const f=new Intl.DateTimeFormat('en',{second:'numeric',fractionalSecondDigits:3}),t=f.format();while(f.format()===t);MOVE",
        ),
        (
            "poll-file",
            "(async()=>{const t=performance.now();while(performance.now()-t<20)await fetch('gsap.min.js',{method:'HEAD'});MOVE})();",
        ),
        ("task", "scheduler.postTask(()=>{MOVE},{delay:300});"),
        (
            "finished",
            "document.getElementById('m').animate({outlineOffset:['0px','9px']},200).finished.then(()=>{MOVE});",
        ),
        ("onfinish", "document.getElementById('m').animate({outlineOffset:['0px','9px']},200).onfinish=()=>{MOVE};"),
        (
            "finish-event",
            "document.getElementById('m').animate({outlineOffset:['0px','9px']},{duration:100,delay:100,iterations:2,fill:'both'})\
             .addEventListener('finish',()=>{MOVE});",
        ),
        (
            "transition",
            "const m=document.getElementById('m');m.style.transition='outline-offset 200ms';requestAnimationFrame(()=>{\
             m.addEventListener('transitionend',()=>{MOVE});m.style.outlineOffset='9px'});",
        ),
        (
            "animation",
            "document.head.insertAdjacentHTML('beforeend','<style>@keyframes k{to{outline-offset:9px}}</style>');\
             const m=document.getElementById('m');m.addEventListener('animationend',()=>{MOVE});m.style.animation='k 200ms';",
        ),
    ];
    for (name, script) in waits {
        let script = script.replace("MOVE", MOVE);
        let shown = render_page(&farm, name, page("", BOX, &script)).await;
        assert!(shown.warning("TIMELINE_MISSING").is_none(), "{name}: {:?}", shown.draft.warnings);
        assert_moves(name, 300.0, |frame| shown.left(frame, 30, red));
    }
    farm.stop().await;
}

/// Scripts of the body run after the fonts, when the document is loaded; what they wait for of the load still comes.
#[tokio::test(flavor = "multi_thread")]
async fn scripts_of_the_body_see_the_load() {
    let farm = Farm::start(1).await;
    // Each event that comes once, and in its order, adds to the count; the timeline waits for all of them.
    let elements = "<img id=i src=g.svg onload='seen.push(\"inline\")' style='position:absolute;top:100px'>\
        <img id=b src=none.svg style='position:absolute;top:100px'>\
        <iframe id=f srcdoc=x style='position:absolute;top:200px'></iframe><link id=l rel=stylesheet href=a.css>\
        <video id=v src=film.mp4 muted style='position:absolute;top:300px;width:10px'></video><script>window.seen=[]</script>";
    let script = "seen.push(document.readyState);document.addEventListener('readystatechange',()=>seen.push(document.readyState));\
        document.addEventListener('DOMContentLoaded',()=>seen.push('parsed'));addEventListener('load',()=>seen.push('load'));\
        addEventListener('pageshow',()=>{seen.push('pageshow')});document.write('<div id=w1>');document.writeln('</div><div id=w2></div>');\
        document.write('<script>seen.push(\"written\")<\\/script>');if(!w1||!w2)throw new Error('not written');\
        const waits=[[i,'load'],[b,'error'],[f,'load'],[l,'load'],[v,'loadedmetadata'],[v,'canplaythrough']];let left=waits.length;\
        for(const [e,t] of waits)e.addEventListener(t,()=>{left--;done()});const all='loading,written,interactive,parsed,complete,load,pageshow';\
        const done=()=>{const order=seen.filter(x=>x!=='inline').join();if(left===0&&order===all&&seen.length===8){MOVE}};\
        addEventListener('pageshow',()=>setTimeout(done));"
        .replace("MOVE", MOVE);
    let html = page("", &format!("{BOX}{elements}"), &script);
    let picture = b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>".to_vec();
    let files = [
        ("index.html", html.into_bytes()),
        ("g.svg", picture),
        ("a.css", b"#l{top:0}".to_vec()),
        ("film.mp4", film(30)),
    ];
    let shown = render(&farm, "load-events", &files).await;
    assert!(shown.warning("TIMELINE_MISSING").is_none(), "{:?}", shown.draft.warnings);
    assert_moves("load events", 300.0, |frame| shown.left(frame, 30, red));
    farm.stop().await;
}

/// Messages and files that a frame's scripts ask for belong to that frame, and so does the clock of a child window.
#[tokio::test(flavor = "multi_thread")]
async fn a_frame_waits_for_what_it_begins() {
    let farm = Farm::start(1).await;
    let body = "<div id=c style='left:0;top:80px;width:60px;height:60px;background:#0f0'></div>\
        <div id=d style='left:0;top:160px;width:60px;height:60px;background:#00f'></div>\
        <div id=e style='left:0;top:240px;width:60px;height:60px;background:#f00'></div><iframe id=k style='display:none'></iframe>\
        <iframe id=s sandbox='allow-scripts' srcdoc='x' style='position:absolute;left:0;top:340px;height:1px;border:0'></iframe>";
    let script = "const to=(id,x)=>{document.getElementById(id).style.left=x+'px'};const p=new MessageChannel();let t=0;\
        p.port1.onmessage=e=>{if(e.data.n<3)p.port2.postMessage({n:e.data.n+1});else to('m',t*.3)};\
        const w=new Worker('w.js');w.onmessage=e=>{if(e.data.n<9)w.postMessage({n:e.data.n+1,x:e.data.x});else to('e',e.data.x)};\
        (function f(now){t=performance.now();p.port2.postMessage({n:0});w.postMessage({n:0,x:t*.3});to('d',k.contentWindow.performance.now()*.3);\
        const x=t*.3;fetch('d.json').then(r=>r.json()).then(j=>to('c',x*j.k));requestAnimationFrame(f)})();";
    let html = page("data-no-timeline", &format!("{BOX}{body}"), script);
    let files = [
        ("index.html", html.into_bytes()),
        ("d.json", b"{\"k\":1}".to_vec()),
        ("w.js", b"onmessage=e=>postMessage(e.data)".to_vec()),
    ];
    let shown = render(&farm, "begun", &files).await;
    for (name, y, colour) in [
        ("messages", 30, red as fn([u8; 4]) -> bool),
        ("files", 110, green),
        ("child window", 190, blue),
        ("round trips to a worker", 270, red),
    ] {
        assert_moves(name, 300.0, |frame| shown.left(frame, y, colour));
    }
    let warning = shown.warning("CLOCK_NOT_HELD").expect("a warning of the sandboxed frame");
    assert!(warning.message.contains("#s"), "{warning:?}");
    farm.stop().await;
}

/// What a page does with the clock once it is ready: nothing of the load time is left in it.
#[tokio::test(flavor = "multi_thread")]
async fn clocks_start_at_the_first_frame() {
    let farm = Farm::start(1).await;
    let follow = |clock: &str| {
        format!(
            "const m=document.getElementById('m');(function f(){{m.style.transform=`translateX(${{{clock}*0.3}}px)`;requestAnimationFrame(f)}})();"
        )
    };
    let clocks = [
        ("performance", follow("performance.now()")),
        ("timeline", follow("(document.timeline.currentTime||0)")),
        ("own-timeline", follow("(new DocumentTimeline({originTime:0}).currentTime)")),
        ("date", format!("const z=Date.now();{}", follow("(Date.now()-z)"))),
        ("origin", follow("(Date.now()-performance.timeOrigin)")),
        (
            "interval",
            "let n=0;const m=document.getElementById('m');setInterval(()=>{n++;m.style.left=n*10+'px'},1000/30);".to_owned(),
        ),
        (
            "idle-loop",
            "const m=document.getElementById('m');(function f(){m.style.left=performance.now()*0.3+'px';requestIdleCallback(f)})();".to_owned(),
        ),
        (
            "busy-frames",
            "const m=document.getElementById('m');(function f(now=0){const t=performance.now();while(performance.now()-t<2);\
             m.style.left=now*0.3+'px';requestAnimationFrame(f)})();"
                .to_owned(),
        ),
    ];
    for (name, script) in clocks {
        let shown = render_page(&farm, name, page("data-no-timeline", BOX, &script)).await;
        assert_moves(name, 300.0, |frame| shown.left(frame, 30, red));
    }
    farm.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shadow_roots_follow_the_composition() {
    let farm = Farm::start(1).await;
    let inner = "<style>.b{position:absolute;left:0;top:200px;width:60px;height:60px;background:#f00;animation:s 1s linear both}\
        @keyframes s{to{transform:translateX(500px)}}</style><video id=sv src=film.mp4 muted playsinline data-start=0 data-duration=1 \
        style='position:absolute;left:0;top:0;width:320px;height:180px'></video><div class=b></div>\
        <i style='position:absolute;left:0;top:300px;width:60px;height:60px;background:#0f0'></i>";
    let animate = "r.querySelector('i').animate([{transform:'translateX(0)'},{transform:'translateX(500px)'}],{duration:1000,fill:'both'});";
    let made = |mode: &str| {
        page(
            "",
            "<x-card></x-card>",
            &format!(
                "customElements.define('x-card',class extends HTMLElement{{connectedCallback(){{const r=this.attachShadow({{mode:'{mode}'}});\
                 r.innerHTML=`{inner}`;{animate}}}}});window.__timelines={{main:gsap.timeline({{paused:true}}).to({{}},{{duration:1}})}};"
            ),
        )
    };
    let parsed = |mode: &str| {
        page(
            "",
            &format!("<section><template shadowrootmode={mode}>{inner}</template></section>"),
            "window.__timelines={main:gsap.timeline({paused:true}).to({},{duration:1})};",
        )
    };
    let cases = [
        ("open", made("open"), true),
        ("closed", made("closed"), true),
        ("declared-open", parsed("open"), false),
        ("declared-closed", parsed("closed"), false),
    ];
    for (name, html, has_web_animation) in cases {
        let shown = render(&farm, name, &[("index.html", html.into_bytes()), ("film.mp4", film(30))]).await;
        assert_moves(name, 500.0, |frame| shown.left(frame, 230, red));
        if has_web_animation {
            assert_moves(name, 500.0, |frame| shown.left(frame, 330, green));
        }
        for frame in 0..FPS {
            let grey = shown.grey(frame, 160, 90);
            assert!((grey - i32::from(level(frame))).abs() <= 4, "{name}: frame {frame} shows {grey}");
        }
    }
    farm.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn videos_that_scripts_play_keep_composition_time() {
    let farm = Farm::start(1).await;
    let canvas = "<canvas id=c width=320 height=180></canvas>";
    let start = "const x=document.getElementById('c').getContext('2d');const v=document.createElement('video');v.src='film.mp4';v.muted=true;";
    let draw = "const draw=()=>x.drawImage(v,0,0,320,180);";
    let with = |script: &str| page("data-no-timeline", canvas, &format!("{start}{draw}{script}"));
    let exact = |frame: u64| Some(frame);
    type Shown = fn(u64) -> Option<u64>;
    let cases: Vec<(&str, String, Shown)> = vec![
        (
            "frames",
            with("v.oncanplay=()=>{v.oncanplay=null;v.play();(function f(){draw();requestAnimationFrame(f)})()};"),
            exact,
        ),
        ("callbacks", with("v.autoplay=true;(function f(){draw();v.requestVideoFrameCallback(f)})();"), exact),
        ("promise", with("v.play().then(()=>{(function f(){draw();requestAnimationFrame(f)})()});"), exact),
        (
            "later",
            with("let n=0;(function f(){if(n++===10)v.play();draw();requestAnimationFrame(f)})();")
                .replace("n++===10", "!n&&performance.now()>333&&(n=1)"),
            |frame| Some(frame.saturating_sub(10)),
        ),
        (
            "scrubbed",
            with("v.onseeked=draw;(function f(){v.currentTime=performance.now()/2000;requestAnimationFrame(f)})();"),
            |frame| Some(frame / 2),
        ),
        (
            "looped",
            with("v.loop=true;v.src='short.mp4';v.play();(function f(){draw();requestAnimationFrame(f)})();"),
            |frame| Some(frame % 10),
        ),
        (
            "video-frame",
            with(
                "v.play();(function f(){if(v.readyState>1){const p=new VideoFrame(v);x.drawImage(p,0,0,320,180);p.close()}requestAnimationFrame(f)})();",
            ),
            exact,
        ),
        (
            "listener",
            page(
                "data-no-timeline",
                &format!(
                    "{canvas}<video id=pv src=film.mp4 muted autoplay playsinline style='position:absolute;left:320px;top:180px;width:320px'></video>"
                ),
                "const x=document.getElementById('c').getContext('2d'),v=document.getElementById('pv');v.addEventListener('play',()=>{(function \
                 loop(){if(!v.paused&&!v.ended){x.drawImage(v,0,0,320,180);setTimeout(loop,1000/30)}})()});",
            ),
            exact,
        ),
    ];
    for (name, html, expected) in cases {
        let files = [("index.html", html.into_bytes()), ("film.mp4", film(30)), ("short.mp4", film(10))];
        let shown = render(&farm, &format!("video-{name}"), &files).await;
        let wrong: Vec<(u64, i32)> = (0..FPS)
            .filter_map(|frame| {
                let grey = shown.grey(frame, 160, 90);
                let right = expected(frame).is_none_or(|number| (grey - i32::from(level(number))).abs() <= 4);
                (!right).then_some((frame, grey))
            })
            .collect();
        assert!(wrong.is_empty(), "{name}: frames and their grey {wrong:?}");
    }
    farm.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_share_the_clock() {
    let farm = Farm::start(1).await;
    let frames = "let c;onmessage=e=>{c=e.data.canvas.getContext('2d');const z=performance.now();(function f(){c.clearRect(0,0,640,120);\
        c.fillStyle='#f00';c.fillRect((performance.now()-z)*.3,0,20,120);requestAnimationFrame(f)})()};";
    let timer = "let n=0,c;onmessage=e=>{c=e.data.canvas.getContext('2d');setInterval(()=>{n++;c.clearRect(0,0,640,120);c.fillStyle='#0f0';\
        c.fillRect(n*10,0,20,120)},1000/30)};";
    let asked = "onmessage=e=>{if(e.data.canvas)self.c=e.data.canvas.getContext('2d');else{c.clearRect(0,0,640,120);c.fillStyle='#00f';\
        c.fillRect(e.data.x,0,20,120)}};";
    let html = page(
        "data-no-timeline",
        "<canvas id=a width=640 height=120 style='top:0'></canvas><canvas id=b width=640 height=120 style='top:120px'></canvas>\
         <canvas id=d width=640 height=120 style='top:240px'></canvas>",
        &format!(
            "const give=(w,id)=>{{const c=document.getElementById(id).transferControlToOffscreen();w.postMessage({{canvas:c}},[c]);return w}};\
             give(new Worker('one.js'),'a');give(new Worker('two.js',{{type:'module'}}),'b');\
             const w=give(new Worker(URL.createObjectURL(new Blob([{}]))),'d');\
             (function f(){{w.postMessage({{x:performance.now()*.3}});requestAnimationFrame(f)}})();",
            serde_json::to_string(asked).unwrap()
        ),
    );
    let files = [("index.html", html.into_bytes()), ("one.js", frames.into()), ("two.js", timer.into())];
    let shown = render(&farm, "workers", &files).await;
    assert_moves("by frames", 300.0, |frame| shown.left(frame, 60, red));
    for frame in 1..FPS {
        let left = shown.left(frame, 180, green);
        assert!((left - 10.0 * frame as f64).abs() <= 1.5, "by a timer: frame {frame} at {left}");
    }
    assert_moves("by messages", 300.0, |frame| shown.left(frame, 300, blue));
    farm.stop().await;
}

/// The time of a worker that a page makes after its load is the page's from the first moment on.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_made_late_begins_at_its_moment() {
    let farm = Farm::start(1).await;
    let count = "let n=0;setInterval(()=>postMessage(++n),100)";
    let script = "let made=false;const late=()=>{if(made)return;made=true;const w=new Worker('count.js');\
                  w.onmessage=e=>{document.getElementById('m').style.left=e.data*10+'px'}};\
                  (function f(t){if(t>=300)late();requestAnimationFrame(f)})(0);";
    let html = page("data-no-timeline", BOX, script);
    let shown = render(&farm, "late", &[("index.html", html.into_bytes()), ("count.js", count.into())]).await;
    // It is made in frame 9, at 300 ms.
    for frame in 11..FPS {
        let (left, ticks) = (shown.left(frame, 30, red), ((frame * 100 / FPS).saturating_sub(30) / 10 * 10) as f64);
        assert!((left - ticks).abs() <= 10.5, "frame {frame} at {left}, not at {ticks}");
    }
    let end = shown.left(FPS - 1, 30, red);
    assert!(end >= 50.0, "{end}");
    farm.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_show_their_address_are_the_same_in_every_chunk() {
    let farm = Farm::start(2).await;
    let script = "document.getElementById('t').textContent=[location.href,location.port,origin].join(' ')";
    let body = "<div id=t style='top:80px;color:#fff;font:14px Inter'></div>";
    render_page(&farm, "address", page("data-no-timeline", body, script)).await;
    farm.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn transitions_of_views_and_scroll_timelines() {
    let farm = Farm::start(1).await;
    let at_load =
        format!("document.startViewTransition(()=>{{document.getElementById('m').style.left='100px'}});{MOVE}");
    let shown = render_page(&farm, "view-at-load", page("", BOX, &at_load)).await;
    assert!(shown.warning("VIEW_TRANSITION").is_some(), "{:?}", shown.draft.warnings);
    assert_moves("at load", 300.0, |frame| shown.left(frame, 30, red) - 100.0);

    let later = format!(
        "{MOVE}window.__timelines.main.call(()=>document.startViewTransition(()=>{{document.getElementById('m').style.top='100px'}}),null,.5);"
    );
    let shown = render_page(&farm, "view-later", page("", BOX, &later)).await;
    assert_moves("later", 300.0, |frame| shown.left(frame, if frame < 15 { 30 } else { 130 }, red));

    let scrolled = page(
        "",
        "<style>#root{timeline-scope:--s}@keyframes grow{from{transform:scaleX(0)}to{transform:scaleX(1)}}</style>\
         <div id=sc style='left:0;top:0;width:640px;height:200px;overflow:auto;scroll-timeline:--s block'><p style='height:1200px;margin:0'></p></div>\
         <div style='left:0;top:220px;height:40px;width:640px;background:#0f0;transform-origin:0 0;animation:grow linear both;animation-timeline:--s'>\
         </div>",
        "window.__timelines={main:gsap.timeline({paused:true}).to('#sc',{scrollTop:1000,duration:1,ease:'none'},0)};",
    );
    let shown = render_page(&farm, "scrolled", scrolled).await;
    for frame in 1..FPS {
        let right = shown.span(frame, 240, green).map_or(f64::NAN, |(_, last)| f64::from(last));
        assert!((right - 640.0 * frame as f64 / 30.0).abs() <= 3.0, "frame {frame}: {right}");
    }
    farm.stop().await;
}

/// The failure of a render whose chunk covers all frames.
async fn failure(farm: &Farm, name: &str, html: String) -> (FailureCode, String) {
    let bundle = bundle(&[("index.html", html.into_bytes())]);
    let render: RenderId = farm.submit(name, bundle, RenderSpec::default()).await;
    let task = farm.run(&render, Step::Plan).await;
    let failures = match task.failures.is_empty() {
        false => task.failures,
        true => {
            let draft = farm.draft(&render).await;
            farm.shard(draft, vec![FrameRange::new(0, 30).unwrap()]).await;
            farm.run(&render, Step::Chunk(0)).await.failures
        }
    };
    let failed = failures.last().unwrap_or_else(|| panic!("{name} was rendered")).clone();
    (failed.failure.code, failed.failure.message)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_leaves_itself_is_the_authors_error() {
    let farm = Farm::start(1).await;
    let at = |call: &str| page("", BOX, &format!("{MOVE}\nwindow.__timelines.main.call(()=>{{\n{call}\n}},null,.5);"));
    let load = |call: &str| page("", BOX, &format!("\n{call}\n{MOVE}"));
    let cases = [
        (
            "replace",
            load("location.replace('/index.html?a=1')"),
            "goes to /index.html?a=1 while it loads, by index.html:2",
        ),
        ("assign", load("location.assign('/other.html')"), "goes to /other.html while it loads"),
        (
            "refresh",
            load(
                "document.head.append(Object.assign(document.createElement('meta'),{httpEquiv:'refresh',content:'0;url=/b.html'}))",
            ),
            "/b.html",
        ),
        ("reload", at("location.reload()"), "reloads itself at frame 15 (0.500 s), by index.html:3"),
        ("href", at("location.href='/c.html'"), "goes to /c.html at frame 15 (0.500 s), by index.html:3"),
        (
            "form",
            at("const f=document.createElement('form');f.action='/d.html';document.body.append(f);f.submit()"),
            "at frame 15",
        ),
        ("back", at("history.go(-1)"), "goes back or forward in its history at frame 15 (0.500 s), by index.html:3"),
        ("close", at("window.close()"), "closes itself at frame 15 (0.500 s)"),
        ("write", at("document.write('x')"), "replaces itself by document.write at frame 15 (0.500 s)"),
        ("open", at("document.open()"), "replaces itself by document.open at frame 15 (0.500 s)"),
    ];
    for (name, html, words) in cases {
        let (code, message) = failure(&farm, &format!("leaves-{name}"), html).await;
        assert_eq!(code.owner(), Owner::User, "{name}: {code:?} {message}");
        assert!(message.contains(words), "{name}: {message}");
    }
    farm.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_in_a_page_keep_its_address() {
    let farm = Farm::start(1).await;
    let script =
        format!("{MOVE}history.pushState({{}},'','#scene-1');location.hash='b';history.replaceState({{}},'','?x=1');");
    let shown = render_page(&farm, "same-document", page("", BOX, &script)).await;
    assert_moves("same document", 300.0, |frame| shown.left(frame, 30, red));
    farm.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_know_the_moment_of_submission() {
    let farm = Farm::start(1).await;
    // The box is at x = ten times the hour, y = twice the minute, in a page and in a worker.
    let script = "const at=d=>[d.getUTCFullYear()===2026?d.getUTCHours()*10:0,d.getUTCMinutes()*2];const m=document.getElementById('m');\
        const [x,y]=at(new Date());m.style.left=x+'px';m.style.top=y+'px';\
        const parts=new Intl.DateTimeFormat('en',{hour:'numeric',hour12:false,timeZone:'UTC'}).format();m.style.width=Number(parts)*5+'px';\
        const w=new Worker(URL.createObjectURL(new Blob(['onmessage=()=>postMessage(new Date().getUTCHours())'])));\
        w.onmessage=e=>{m.style.height=e.data*5+'px'};w.postMessage(0);";
    let html = page("data-no-timeline", BOX, script);
    // 28 November 2026, 17:40 UTC.
    let moment = 1_795_887_600_123;
    let render =
        farm.submit_at("moment", bundle(&[("index.html", html.into_bytes())]), RenderSpec::default(), moment).await;
    let draft = farm.draft(&render).await;
    assert_eq!(draft.content.epoch_ms, 1_795_887_600_000);
    let size = draft.content.viewport.page;
    farm.shard(draft, vec![FrameRange::new(0, 30).unwrap()]).await;
    let record = farm.chunk(&render, 0).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("segment.mp4");
    std::fs::write(&path, farm.backplane.objects.get(&record.key).await.unwrap()).unwrap();
    decode_video(&path, &mut |number, picture| {
        let inside = |x: u32, y: u32| picture.pixel(x, y).is_some_and(red);
        if number > 1 {
            let columns: Vec<u32> = (0..size.width).filter(|x| inside(*x, 100)).collect();
            let rows: Vec<u32> = (0..size.height).filter(|y| inside(200, *y)).collect();
            let close = |a: u32, b: u32| a.abs_diff(b) <= 1;
            assert!(
                close(columns[0], 170) && close(*columns.last().unwrap(), 170 + 85 - 1),
                "frame {number}: {columns:?}"
            );
            assert!(close(rows[0], 80) && close(*rows.last().unwrap(), 80 + 85 - 1), "frame {number}: {rows:?}");
        }
        true
    })
    .unwrap();
    farm.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_named_font_is_the_same_however_it_is_named() {
    let farm = Farm::start(1).await;
    let text = |style: &str| page("data-no-timeline", &format!("<div style='color:#fff;{style}'>Hamburg</div>"), "");
    let script = "document.getElementById('t').style.font='900 64px Inter';";
    let sheet = b"#t{font:900 64px Inter}".to_vec();
    let in_sheet = page("data-no-timeline", "<div id=t style='color:#fff'>Hamburg</div>", "")
        .replace("<style>", "<link rel=stylesheet href=t.css><style>");
    type Files = Vec<(&'static str, Vec<u8>)>;
    let cases: [(&str, Files); 4] = [
        ("family", vec![("index.html", text("font-family:Inter;font-weight:900;font-size:64px").into_bytes())]),
        ("shorthand", vec![("index.html", text("font:900 64px Inter").into_bytes())]),
        (
            "script",
            vec![(
                "index.html",
                page("data-no-timeline", "<div id=t style='color:#fff'>Hamburg</div>", script).into_bytes(),
            )],
        ),
        ("sheet", vec![("index.html", in_sheet.into_bytes()), ("t.css", sheet)]),
    ];
    let mut hashes = Vec::new();
    for (name, files) in &cases {
        let render = farm.submit(&format!("font-{name}"), bundle(files), RenderSpec::default()).await;
        let draft = farm.draft(&render).await;
        assert!(draft.warnings.is_empty(), "{name}: {:?}", draft.warnings);
        farm.shard(draft, vec![FrameRange::new(0, 2).unwrap()]).await;
        hashes.push(farm.chunk(&render, 0).await.frame_hashes[1]);
    }
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");

    // A canvas has its font when it is drawn first, and a face of a script is that of the script.
    let canvas =
        "<canvas id=c width=640 height=90></canvas><canvas id=d width=640 height=90 style='top:100px'></canvas>";
    let draw = "const draw=(id,font)=>{const x=document.getElementById(id).getContext('2d');x.font=font;x.fillStyle='#f00';\
        x.fillRect(0,0,x.measureText('Hamburg').width,90)};draw('c','900 64px Inter');\
        document.fonts.add(new FontFace('Mine','url(mine.woff2)',{weight:'900'}));document.fonts.load('900 64px Mine').then(()=>draw('d','900 64px Mine'));";
    let font = std::fs::read(
        std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("browser/node_modules/@fontsource/inter/files/inter-latin-900-normal.woff2"),
    )
    .unwrap();
    let files = [("index.html", page("data-no-timeline", canvas, draw).into_bytes()), ("mine.woff2", font)];
    let shown = render(&farm, "font-canvas", &files).await;
    assert!(shown.draft.warnings.is_empty(), "{:?}", shown.draft.warnings);
    let width = |y: u32| shown.span(0, y, red).unwrap().1;
    assert_eq!(width(40), width(140), "Inter by its name, and the same file by a script's");

    let unknown = "document.getElementById('t').style.font='900 64px Nowhere Sans';\
        const x=document.createElement('canvas').getContext('2d');x.font='20px \"Elsewhere Mono\"';x.fillText('a',0,0);";
    let html = page("data-no-timeline", "<div id=t style='color:#fff'>Hamburg</div>", unknown);
    let render = farm.submit("font-unknown", bundle(&[("index.html", html.into_bytes())]), RenderSpec::default()).await;
    let warnings = farm.draft(&render).await.warnings;
    for family in ["Nowhere Sans", "Elsewhere Mono"] {
        let named = |warning: &&Warning| warning.code == "FONT_UNKNOWN" && warning.message.contains(family);
        assert_eq!(warnings.iter().filter(named).count(), 1, "{warnings:?}");
    }
    farm.stop().await;
}

/// A page that reads a clock which the farm does not hold shows something else each time it is opened.
#[tokio::test(flavor = "multi_thread")]
async fn the_frame_after_a_chunk_proves_its_seam() {
    let farm = Farm::start(1).await;
    let unheld = "const m=document.getElementById('m');m.style.left=(new File([],'x').lastModified/7)%300+'px';";
    for (name, html, equal) in
        [("steady", page("", BOX, MOVE), true), ("unsteady", page("data-no-timeline", BOX, unheld), false)]
    {
        let render = farm
            .submit(&format!("seam-{name}"), bundle(&[("index.html", html.into_bytes())]), RenderSpec::default())
            .await;
        let draft = farm.draft(&render).await;
        farm.shard(draft, vec![FrameRange::new(0, 15).unwrap(), FrameRange::new(15, 30).unwrap()]).await;
        let (first, second) = (farm.chunk(&render, 0).await, farm.chunk(&render, 1).await);
        assert_eq!(second.after, None);
        assert_eq!(first.after == second.frame_hashes.first().copied(), equal, "{name}");
    }
    farm.stop().await;
}
