//! Sources of time, events and answers beside the clocks of `clock.rs`: animated images, sounds, observers, work whose
//! result comes by itself, the browser's records of time, and what cannot be held.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::clock::{BOX, FPS, Rendered, assert_moves, blue, film, green, page, red, render, render_page};
use crate::farm::Farm;

/// Three pictures of 4 by 4 pixels, red, green and blue, of 330 ms each, endless.
const WEBP: &str = "UklGRrQAAABXRUJQVlA4WAoAAAACAAAAAwAAAwAAQU5JTQYAAAAAAAAAAABBTk1GKAAAAAAAAAAAAAMAAAMAAEoBAAJWUDhMDwAAAC8DwAAABxD9j/4\
     HIqL/AQBBTk1GKAAAAAAAAAAAAAMAAAMAAEoBAABWUDhMDwAAAC8DwAAAB9D/iP4HIqL/AQBBTk1GKAAAAAAAAAAAAAMAAAMAAEoBAABWUDhMDwAAAC8DwAAABxDR\
     //4HIqL/AQA=";
const APNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAQAAAAECAIAAAAmkwkpAAAACGFjVEwAAAADAAAAAM7tusAAAAAaZmNUTAAAAAAAAAAEAAAABAAAAAAAAAAAACEAZAAA1PrKzw\
     AAABBJREFUeJxj/M+AAEwMRHEAM9EBBzqEPrgAAAAaZmNUTAAAAAEAAAAEAAAABAAAAAAAAAAAACEAZAAAT4kgGwAAABZmZEFUAAAAAnicY2T4zwAHTAwMxHAAMtIB\
     B97JYRcAAAAaZmNUTAAAAAMAAAAEAAAABAAAAAAAAAAAACEAZAAAoh/z8gAAABhmZEFUAAAABHicY2Rg+M8AA0wMSAA3BwAx0wEHcIznCgAAAABJRU5ErkJggg==";

const GIF: &str = "R0lGODlhBAAEAIEAAP8AAAAAAAAAAAAAACH/C05FVFNDQVBFMi4wAwEAAAAh+QQAIQAAACwAAAAABAAEAAAICQABCBxIsCCAgAAh\
     +QQAIQAAACwAAAAABAAEAIEA/wAAAAAAAAAAAAAICQABCBxIsCCAgAAh+QQAIQAAACwAAAAABAAEAIEAAP8AAAAAAAAAAAAICQAB\
     CBxIsCCAgAA7";

/// Checks that the picture at (`x`, `y`) is the one of three that is shown then.
fn assert_plays(name: &str, shown: &Rendered, x: u32, y: u32) {
    let colours: [fn([u8; 4]) -> bool; 3] = [red, green, blue];
    let wrong: Vec<u64> = (0..FPS)
        .filter(|frame| {
            let index = (*frame * 1000 / FPS / 330) as usize % 3;
            !shown.pictures[*frame as usize].pixel(x, y).is_some_and(colours[index])
        })
        .collect();
    assert!(wrong.is_empty(), "{name}: frames {wrong:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn animated_images_follow_the_composition() {
    let farm = Farm::start(1).await;
    let data = format!("data:image/gif;base64,{GIF}");
    let body = format!(
        "<style>.i{{position:absolute;top:0;width:40px;height:40px}}#a{{background:url(a.gif)}}#b::before{{content:'';position:absolute;\
         inset:0;background:url(a.apng)}}#s img{{position:absolute;width:40px;height:40px}}</style><div id=a class=i style='left:0'></div>\
         <div id=b class=i style='left:40px'></div><div class=i style='left:80px;background-image:url(\"a.webp\")'></div>\
         <picture><source srcset=a.gif><img src=still.png class=i style='left:120px'></picture>\
         <img srcset='a.gif 2x' class=i style='left:160px'><img src='{data}' class=i style='left:200px'>\
         <img src=a.webp class=i style='left:240px'><div id=s class=i style='left:280px'></div>\
         <svg width=40 height=40 class=i style='left:320px'><image href=a.gif width=40 height=40 preserveAspectRatio=none /></svg>\
         <img id=l class=i style='left:360px'>\
         <img src=smil.svg style='position:absolute;left:0;top:60px'><div style='left:0;top:120px;width:640px;height:40px;\
         background:url(keys.svg)'></div><canvas id=c width=640 height=40 style='left:0;top:180px'></canvas>\
         <img src=path.svg style='position:absolute;left:0;top:240px'>"
    );
    let script = "document.getElementById('s').attachShadow({mode:'open'}).innerHTML='<img src=a.gif width=40 height=40>';\
        fetch('a.gif').then(r=>r.blob()).then(b=>{document.getElementById('l').src=URL.createObjectURL(b)});\
        const i=new Image();i.src='smil.svg';const x=c.getContext('2d');(function f(){x.clearRect(0,0,640,40);\
        if(i.complete)x.drawImage(i,0,0);requestAnimationFrame(f)})();";
    let drawing = |inner: &str| {
        format!("<svg xmlns='http://www.w3.org/2000/svg' width='640' height='40'>{inner}</svg>").into_bytes()
    };
    let box_with = |inner: &str| format!("<rect width='40' height='40' fill='#f00'>{inner}</rect>");
    let files = [
        ("index.html", page("data-no-timeline", &body, script).into_bytes()),
        ("a.gif", STANDARD.decode(GIF).unwrap()),
        ("a.apng", STANDARD.decode(APNG).unwrap()),
        ("a.webp", STANDARD.decode(WEBP).unwrap()),
        ("still.png", STANDARD.decode(APNG).unwrap()),
        ("smil.svg", drawing(&box_with("<animate attributeName='x' from='0' to='300' dur='1s'/>"))),
        (
            "keys.svg",
            drawing(&format!(
                "<style>rect{{animation:m 1s linear}}@keyframes m{{to{{transform:translateX(300px)}}}}</style>{}",
                box_with("")
            )),
        ),
        (
            "path.svg",
            drawing(&format!(
                "<g>{}</g>",
                box_with(
                    "<animateTransform attributeName='transform' type='translate' from='0' to='100' dur='1s'/>\
                     <animateMotion path='M0,0 L200,0' dur='1s'/>"
                )
            )),
        ),
    ];
    let shown = render(&farm, "images", &files).await;
    let names =
        ["rule", "pseudo-element", "style", "picture", "srcset", "data", "webp", "shadow root", "drawing", "blob"];
    for (number, name) in names.iter().enumerate() {
        assert_plays(name, &shown, 40 * number as u32 + 20, 20);
    }
    for (name, y) in [("SMIL", 80), ("keyframes", 140), ("canvas", 200), ("motion", 260)] {
        assert_moves(name, 300.0, |frame| shown.left(frame, y, red));
    }
    assert!(shown.warning("ANIMATED_IMAGE").is_none(), "{:?}", shown.draft.warnings);
    farm.stop().await;
}

/// A second of silence.
fn wav() -> Vec<u8> {
    let mut bytes =
        b"RIFF\x64\x1f\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x40\x1f\0\0\x01\0\x08\0data\x40\x1f\0\0".to_vec();
    bytes.extend([128; 8000]);
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn sounds_follow_the_composition() {
    let farm = Farm::start(1).await;
    let boxes = "<audio id=p src=a.wav data-start=0 data-duration=1></audio>\
        <div id=a style='left:0;top:0;width:40px;height:40px;background:#f00'></div>\
        <div id=b style='left:0;top:60px;width:40px;height:40px;background:#0f0'></div>\
        <div id=d style='left:0;top:120px;width:40px;height:40px;background:#00f'></div>\
        <div id=e style='left:0;top:180px;width:40px;height:40px;background:#f00'></div>\
        <div id=g style='left:0;top:240px;width:40px;height:40px;background:#0f0'></div>";
    let script = "const to=(id,s)=>{document.getElementById(id).style.left=s*300+'px'};const own=new Audio('a.wav');own.play();\
        p.addEventListener('timeupdate',()=>to('b',p.currentTime));const x=new AudioContext(),n=x.createAnalyser(),o=x.createOscillator();\
        o.connect(n);n.connect(x.destination);o.start();const u=new Uint8Array(n.frequencyBinCount);(function f(){to('a',own.currentTime);\
        to('d',x.currentTime);n.getByteFrequencyData(u);to('e',u.reduce((a,b)=>a+b)?NaN:x.getOutputTimestamp().contextTime);\
        to('g',x.state==='running'&&!own.paused?performance.now()/1000:0);requestAnimationFrame(f)})();";
    let files = [("index.html", page("data-no-timeline", boxes, script).into_bytes()), ("a.wav", wav())];
    let shown = render(&farm, "sounds", &files).await;
    let rows = [
        ("detached", 20, red as fn([u8; 4]) -> bool),
        ("in the page", 80, green),
        ("context", 140, blue),
        ("analyser", 200, red),
        ("states", 260, green),
    ];
    for (name, y, colour) in rows {
        assert_moves(name, 300.0, |frame| shown.left(frame, y, colour));
    }
    assert!(shown.warning("CLOCK_NOT_HELD").is_some_and(|warning| warning.message.contains("analyser")));
    farm.stop().await;
}

/// The browser calls observers and listeners of animations when it draws, so frames before a chunk are drawn too.
#[tokio::test(flavor = "multi_thread")]
async fn frames_before_a_chunk_are_drawn_for_observers() {
    let farm = Farm::start(1).await;
    let body = format!(
        "{BOX}<div id=w style='left:0;top:100px;width:10px;height:40px;background:#0f0'></div><div id=s style='left:0;top:160px;width:200px;\
         height:60px;overflow:scroll'><p style='height:2000px'></p></div><div id=n style='left:0;top:240px;width:1px;height:40px;background:#00f'></div>"
    );
    let script = "let k=0,c=0;new ResizeObserver(()=>{k++;w.style.width=10+k*3+'px'}).observe(w);\
        s.addEventListener('scroll',()=>{c++;n.style.width=1+c*5+'px'});new IntersectionObserver(()=>{k++},{threshold:[0,.25,.5,.75,1]}).observe(m);\
        (function f(){s.scrollTop=Math.floor(performance.now()/2);m.style.left=600+performance.now()/20+'px';requestAnimationFrame(f)})();";
    let shown = render_page(&farm, "observers", page("data-no-timeline", &body, script)).await;
    let last = |y: u32, colour: fn([u8; 4]) -> bool| shown.span(FPS - 1, y, colour).map_or(0, |(_, last)| last);
    assert!(last(120, green) > 60 && last(260, blue) > 60, "{} {}", last(120, green), last(260, blue));
    farm.stop().await;
}

/// What a script of a frame begins, and what comes of it without the clock, belongs to that frame.
#[tokio::test(flavor = "multi_thread")]
async fn work_of_a_frame_ends_in_it() {
    let farm = Farm::start(1).await;
    let names = ["digest", "image", "reader", "canvas", "database", "channel"];
    let body: String = names
        .iter()
        .enumerate()
        .map(|(row, name)| {
            let colour = ["#f00", "#0f0", "#00f"][row % 3];
            format!(
                "<div id={name} style='left:0;top:{}px;width:40px;height:40px;background:{colour}'></div>",
                row * 50
            )
        })
        .collect();
    let script = "const to=(id,x)=>{document.getElementById(id).style.left=x+'px'};const d=document.createElement('canvas');d.width=d.height=4;\
        const w=new Worker('w.js'),ch=new BroadcastChannel('c');ch.onmessage=e=>to('channel',e.data);let db;const q=indexedDB.open('k');\
        q.onupgradeneeded=()=>q.result.createObjectStore('s');q.onsuccess=()=>{db=q.result};(function f(){const x=performance.now()*.3;\
        crypto.subtle.digest('SHA-256',new Uint8Array(9)).then(()=>to('digest',x));\
        const i=new Image();i.onload=()=>to('image',x);i.src='i.svg?'+Math.round(x);const r=new FileReader();r.onload=()=>to('reader',x);\
        r.readAsText(new Blob(['x']));d.toBlob(async b=>{await createImageBitmap(b);to('canvas',x)});\
        if(db){const g=db.transaction('s','readwrite').objectStore('s');g.put(x,1).onsuccess=()=>{g.get(1).onsuccess=e=>to('database',e.target.result)}}\
        requestAnimationFrame(f)})();";
    let files = [
        ("index.html", page("data-no-timeline", &body, script).into_bytes()),
        ("i.svg", b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>".to_vec()),
        (
            "w.js",
            b"const c=new BroadcastChannel('c');(function f(){c.postMessage(performance.now()*.3);requestAnimationFrame(f)})()".to_vec(),
        ),
    ];
    let shown = render(&farm, "work", &files).await;
    let colours: [fn([u8; 4]) -> bool; 3] = [red, green, blue];
    for (row, name) in names.iter().enumerate() {
        assert_moves(name, 300.0, |frame| shown.left(frame, row as u32 * 50 + 20, colours[row % 3]));
    }
    farm.stop().await;
}

/// A face that a frame is the first to use, and a page that an iframe goes to, are in that frame. Loops of timers without a
/// delay follow the clock, four milliseconds a turn.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_frame_asks_for_is_in_it_and_loops_of_timers_follow_the_clock() {
    let farm = Farm::start(1).await;
    let body = "<style>@font-face{font-family:Late;src:url(late.woff2);font-weight:900}iframe{position:absolute;left:0;top:100px;\
        width:100px;height:40px;border:0}</style><div id=t style='left:0;top:0;color:#f00;font:900 60px serif'>MMM</div>\
        <iframe id=i src=f.html></iframe>\
        <div id=a style='left:0;top:200px;width:20px;height:20px;background:#0f0'></div>\
        <div id=b style='left:0;top:240px;width:20px;height:20px;background:#00f'></div>\
        <div id=d style='left:0;top:280px;width:20px;height:20px;background:#f00'></div>";
    let script = "setTimeout(()=>{t.style.fontFamily='Late'},467);setTimeout(()=>{i.src='g.html'},467);\
        const to=(id,x)=>{document.getElementById(id).style.left=x+'px'};\
        let a=0;(function f(){to('a',++a);setTimeout(f,0)})();\
        let b=0;(async()=>{for(;;){to('b',++b);await new Promise(r=>setTimeout(r))}})();let d=0;setInterval(()=>to('d',++d),0);";
    let font = std::fs::read(
        std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("browser/node_modules/@fontsource/inter/files/inter-latin-900-normal.woff2"),
    )
    .unwrap();
    let frame = |colour: &str| format!("<body style='margin:0;background:{colour}'>").into_bytes();
    let files = [
        ("index.html", page("data-no-timeline", body, script).into_bytes()),
        ("late.woff2", font),
        ("f.html", frame("#0f0")),
        ("g.html", frame("#00f")),
    ];
    let shown = render(&farm, "asked", &files).await;
    let width = |frame: u64| (0..70).filter_map(|y| shown.span(frame, y, red)).map(|(_, last)| last).max();
    assert_ne!(width(14), width(15), "the face is another one");
    for frame in 0..FPS {
        let is_late = frame >= 15;
        assert_eq!(width(frame), width(if is_late { 15 } else { 0 }), "the text of frame {frame}");
        let colour = if is_late { blue } else { green };
        assert!(shown.pictures[frame as usize].pixel(50, 120).is_some_and(colour), "the iframe of frame {frame}");
    }
    for (name, y, colour) in [("timeouts", 210, green as fn([u8; 4]) -> bool), ("promises", 250, blue)] {
        assert_moves(name, 250.0, |frame| shown.left(frame, y, colour) - shown.left(0, y, colour));
    }
    // Its first turns take a millisecond each.
    let interval = shown.left(FPS - 1, 290, red) - shown.left(1, 290, red);
    assert!((interval - 250.0 * (FPS - 2) as f64 / FPS as f64).abs() < 1.5, "{interval}");
    farm.stop().await;
}

/// Animations of frames and of shadow roots in each other, ends that a script waits for, and videos, as scripts see them.
#[tokio::test(flavor = "multi_thread")]
async fn animations_of_frames_end_and_begin_in_time_and_videos_tell_theirs() {
    let farm = Farm::start(1).await;
    let body = "<video id=v src=film.mp4 muted data-start=0 data-duration=1 style='position:absolute;left:600px;top:300px;width:40px;\
        height:30px'></video><div id=a style='left:0;top:0;width:40px;height:40px;background:#f00'></div>\
        <div id=b style='left:0;top:50px;width:40px;height:40px;background:#0f0'></div>\
        <style>iframe{position:absolute;left:0;width:640px;height:40px;border:0}</style>\
        <iframe style='top:100px' src=late.html></iframe><iframe style='top:150px' src=shadow.html></iframe>\
        <div id=h style='left:0;top:200px;width:640px;height:40px'></div>";
    let script = "(function f(){a.style.left=v.currentTime*300+'px';requestAnimationFrame(f)})();\
        (async()=>{for(let x=0;x<300;x+=100)await b.animate([{left:x+'px'},{left:x+100+'px'}],{duration:300,fill:'forwards'}).finished;\
        })();h.attachShadow({mode:'open'}).innerHTML='<iframe src=own.html style=\"position:absolute;width:640px;height:40px;border:0\"></iframe>';";
    let page_of = |script: &str| {
        format!(
            "<style>body{{margin:0}}div{{position:absolute;width:40px;height:40px;background:#00f}}\
             @keyframes m{{to{{transform:translateX(300px)}}}}</style><div id=m></div><script>{script}</script>"
        )
        .into_bytes()
    };
    let late = "setTimeout(()=>m.animate([{left:'0px'},{left:'300px'}],{duration:500,fill:'forwards'}),500)";
    let shadow = "const r=document.body.attachShadow({mode:'open'});r.innerHTML='<style>div{position:absolute;width:40px;height:40px;\
        background:#00f;animation:m 1s linear}@keyframes m{to{transform:translateX(300px)}}</style><div></div>'";
    let files = [
        ("index.html", page("data-no-timeline", body, script).into_bytes()),
        ("film.mp4", film(30)),
        ("late.html", page_of(late)),
        ("shadow.html", page_of(shadow)),
        ("own.html", page_of("m.style.animation='m 1s linear'")),
    ];
    let shown = render(&farm, "frames", &files).await;
    let at = |frame: u64| frame as f64 / FPS as f64;
    type Row = (&'static str, u32, fn([u8; 4]) -> bool, fn(f64) -> f64);
    let rows: [Row; 5] = [
        ("a video", 20, red, |t| 300.0 * t),
        ("ends", 70, green, |t| (t / 0.9).min(1.0) * 300.0),
        ("late in a frame", 120, blue, |t| ((t - 0.5) * 600.0).max(0.0)),
        ("a shadow root in a frame", 170, blue, |t| 300.0 * t),
        ("a frame in a shadow root", 220, blue, |t| 300.0 * t),
    ];
    for (name, y, colour, expected) in rows {
        let wrong: Vec<(u64, f64)> = (0..FPS)
            .map(|frame| (frame, shown.left(frame, y, colour)))
            .filter(|(frame, left)| left.is_nan() || (left - expected(at(*frame))).abs() > 1.5)
            .collect();
        assert!(wrong.is_empty(), "{name}: frames and edges {wrong:?}");
    }
    farm.stop().await;
}

/// What the browser records of time and answers about the machine is the same in every chunk.
#[tokio::test(flavor = "multi_thread")]
async fn records_of_the_browser_are_the_frames() {
    let farm = Farm::start(1).await;
    // Each row is as long as the composition's time if its value is right.
    let checks = [
        "performance.measure('a').duration",
        "performance.measure('b',{start:0}).duration",
        "performance.getEntriesByType('navigation')[0].loadEventEnd===0&&performance.getEntriesByType('resource').every(e=>e.startTime===0&&e.duration===0)?now:0",
        "performance.timing.loadEventEnd-performance.timing.navigationStart===0&&performance.toJSON().timeOrigin===performance.timeOrigin?now:0",
        "navigator.hardwareConcurrency===4&&navigator.connection.rtt===50?now:0",
        "signal.aborted===now>=500-1e-6?now:0",
        "a.startTime===0&&a.playState==='running'&&!a.pending?now:0",
        "s.scrollTop===Math.round(now)?now:0",
    ];
    let body: String = (0..checks.len())
        .map(|row| {
            format!("<div id=r{row} style='left:0;top:{}px;width:40px;height:30px;background:#f00'></div>", row * 40)
        })
        .collect();
    let body = format!(
        "{body}<div id=s style='left:0;top:330px;width:100px;height:20px;overflow:scroll;scroll-behavior:smooth'><p style='height:3000px'></p></div>\
         <div id=k></div>"
    );
    let script = format!(
        "const signal=AbortSignal.timeout(500),a=k.animate([{{opacity:0}},{{opacity:1}}],{{duration:1000,fill:'both'}});\
         (function f(){{const now=performance.now();s.scrollTo({{top:Math.round(now),behavior:'smooth'}});[{}].forEach((v,i)=>{{\
         document.getElementById('r'+i).style.left=v*.3+'px'}});requestAnimationFrame(f)}})();",
        checks.join(",")
    );
    let shown = render_page(&farm, "records", page("data-no-timeline", &body, &script)).await;
    for (row, check) in checks.iter().enumerate() {
        assert_moves(check, 300.0, |frame| shown.left(frame, row as u32 * 40 + 15, red));
    }
    farm.stop().await;
}

/// What the farm cannot hold stands still or is the browser's, and a warning names it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_held_is_named() {
    let farm = Farm::start(1).await;
    let body = format!(
        "{BOX}<marquee style='position:absolute;top:100px;width:300px;color:#fff'>text</marquee>\
         <iframe id=f srcdoc='<video id=inner autoplay muted></video>' style='position:absolute;left:600px;border:0;width:1px;height:1px'></iframe>\
         <canvas id=g width=64 height=64 style='left:0;top:200px'></canvas><input id=i style='position:absolute;top:300px' value=x autofocus>"
    );
    let script = format!(
        "{MOVE}new Worker('w.js');const b=document.createElement('video');b.muted=true;fetch('film.mp4').then(r=>r.blob()).then(d=>{{\
         b.src=URL.createObjectURL(d);b.play()}});i.focus();window.__timelines.main.call(()=>new Audio('none.wav').play(),null,.1);\
         const x=g.getContext('webgl',{{desynchronized:true}});setInterval(()=>{{x.clearColor(performance.now()/1000,0,0,1);x.clear(16384)}},1000/30);",
        MOVE = crate::clock::MOVE
    );
    let files = [
        ("index.html", page("", &body, &script).into_bytes()),
        ("w.js", b"new Worker('x.js')".to_vec()),
        ("x.js", b"0".to_vec()),
        ("film.mp4", film(3)),
    ];
    let shown = render(&farm, "not-held", &files).await;
    let named: Vec<&str> = shown
        .draft
        .warnings
        .iter()
        .filter(|warning| warning.code == "CLOCK_NOT_HELD")
        .map(|warning| warning.message.as_str())
        .collect();
    for words in ["<marquee>", "<video> #inner", "a worker of the page starts a worker", "a blob: address"] {
        assert!(named.iter().any(|message| message.contains(words)), "{words}: {named:?}");
    }
    farm.stop().await;
}
