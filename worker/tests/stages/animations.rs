//! Animations that begin, end and are steered in the middle of a page, and videos that scripts move: as if the browser
//! played.

use crate::clock::{FPS, Rendered, blue, film, green, level, page, red, render, render_page};
use crate::farm::Farm;

/// A box in each row, its colour, and where its left edge is at `t` seconds; NaN where it is not shown.
type Row = (&'static str, fn(f64) -> f64);

const COLOURS: [fn([u8; 4]) -> bool; 3] = [red, green, blue];

/// Boxes `b0`, `b1`, … in rows of 30 pixels, red, green and blue in turn.
fn boxes(rows: &[Row]) -> String {
    (0..rows.len())
        .map(|row| {
            let (top, colour) = (row * 30, ["#f00", "#0f0", "#00f"][row % 3]);
            format!("<div id=b{row} style='left:0;top:{top}px;width:20px;height:20px;background:{colour}'></div>")
        })
        .collect()
}

fn assert_rows(shown: &Rendered, rows: &[Row]) {
    for (row, (name, expected)) in rows.iter().enumerate() {
        let wrong: Vec<(u64, f64, f64)> = (0..FPS)
            .map(|frame| {
                let at = frame as f64 / FPS as f64;
                (frame, shown.left(frame, row as u32 * 30 + 10, COLOURS[row % 3]), expected(at))
            })
            .filter(|(_, left, right)| left.is_nan() != right.is_nan() || (left - right).abs() > 1.5)
            .collect();
        assert!(wrong.is_empty(), "{name}: frames, edges and right edges {wrong:?}");
    }
}

const STYLE: &str = "<style>@keyframes mv{to{transform:translateX(500px)}}@keyframes half{to{transform:translateX(250px)}}\
    .go{animation:mv .5s linear both}.on{animation:mv 1s linear both}.slide{transition:left .4s linear}</style>";
const HELPERS: &str = "const $=i=>document.getElementById('b'+i),at=(ms,f)=>setTimeout(f,ms);\
    const k=[{transform:'translateX(0)'},{transform:'translateX(500px)'}],o={duration:1000,fill:'both'};";

#[tokio::test(flavor = "multi_thread")]
async fn animations_begin_when_styles_and_scripts_say() {
    let farm = Farm::start(1).await;
    let rows: [Row; 11] = [
        ("class by a timer", |t| ((t - 0.5) * 1000.0).clamp(0.0, 500.0)),
        ("class by an animation frame", |t| ((t - 0.5) * 1000.0).clamp(0.0, 500.0)),
        ("restarted", |t| if t < 0.5 { 500.0 * t } else { 500.0 * (t - 0.5) }),
        ("hidden and shown", |t| match t {
            t if t < 0.3 => 500.0 * t,
            t if t < 0.5 => f64::NAN,
            t => 500.0 * (t - 0.5),
        }),
        ("shown for the first time", |t| if t < 0.4 { f64::NAN } else { 500.0 * (t - 0.4) }),
        ("moved in the document", |t| if t < 0.4 { 500.0 * t } else { 500.0 * (t - 0.4) }),
        ("transition", |t| ((t - 0.3) * 1000.0).clamp(0.0, 400.0)),
        ("animate()", |t| ((t - 0.5) * 500.0).max(0.0)),
        ("play() of a new one", |t| ((t - 0.5) * 500.0).max(0.0)),
        ("another name", |t| if t < 0.4 { 500.0 * t } else { 250.0 * (t - 0.4) }),
        ("transition and its value", |t| ((t - 0.3) * 1000.0).clamp(0.0, 167.0)),
    ];
    let script = format!(
        "{HELPERS}at(500,()=>$(0).classList.add('go'));(function f(t){{if(t>=500-1e-6)$(1).classList.add('go');requestAnimationFrame(f)}})(0);\
         for(const i of [2,3,4,5,9])$(i).classList.add('on');at(500,()=>{{$(2).style.animation='none';$(2).offsetWidth;$(2).style.animation=''}});\
         at(300,()=>{{$(3).style.display='none'}});at(500,()=>{{$(3).style.display='block'}});$(4).style.display='none';\
         at(400,()=>{{$(4).style.display=''}});at(400,()=>root.append($(5)));$(6).classList.add('slide');at(300,()=>{{$(6).style.left='400px'}});\
         at(500,()=>$(7).animate(k,o));const a=new Animation(new KeyframeEffect($(8),k,o));at(500,()=>a.play());\
         at(400,()=>{{$(9).style.animationName='half'}});$(10).classList.add('slide');at(300,()=>{{$(10).style.left='400px'}});\
         at(467,()=>{{$(10).style.left=getComputedStyle($(10)).left;$(10).style.transition='none'}});"
    );
    let shown =
        render_page(&farm, "begin", page("data-no-timeline", &format!("{STYLE}{}", boxes(&rows)), &script)).await;
    assert_rows(&shown, &rows);
    farm.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn animations_obey_scripts_and_styles_that_steer_them() {
    let farm = Farm::start(1).await;
    let rows: [Row; 11] = [
        ("reversed while the page loads", |t| 500.0 - 500.0 * t),
        ("twice as fast", |t| (1000.0 * t).min(500.0)),
        ("reversed later", |t| if t < 0.5 { 500.0 * t } else { 500.0 - 500.0 * t }),
        ("paused and played", |t| match t {
            t if t < 0.3 => 500.0 * t,
            t if t < 0.6 => 150.0,
            t => 150.0 + 500.0 * (t - 0.6),
        }),
        ("half as fast later", |t| if t < 0.5 { 500.0 * t } else { 250.0 + 250.0 * (t - 0.5) }),
        ("at another position", |t| if t < 0.4 { 500.0 * t } else { (400.0 + 500.0 * (t - 0.4)).min(500.0) }),
        ("paused by its style", |t| match t {
            t if t < 0.3 => 500.0 * t,
            t if t < 0.6 => 150.0,
            t => 150.0 + 500.0 * (t - 0.6),
        }),
        ("finished", |t| if t < 0.5 { 500.0 * t } else { 500.0 }),
        ("cancelled", |t| if t < 0.5 { 500.0 * t } else { 0.0 }),
        ("reversed when it has begun", |t| if t < 0.2 { 0.0 } else { 500.0 - 500.0 * (t - 0.2) }),
        ("its position and state", |t| if t < 0.3 { 500.0 * t } else { 150.0 }),
    ];
    let script = format!(
        "{HELPERS}const b=[0,1,2,3,4,5,,7,8].map(i=>$(i).animate(k,o));b[0].reverse();b[1].playbackRate=2;at(500,()=>b[2].reverse());\
         at(300,()=>b[3].pause());at(600,()=>b[3].play());at(500,()=>b[4].updatePlaybackRate(.5));at(400,()=>{{b[5].currentTime=800}});\
         $(6).classList.add('on');at(300,()=>{{$(6).style.animationPlayState='paused'}});at(600,()=>{{$(6).style.animationPlayState='running'}});\
         at(500,()=>b[7].finish());at(500,()=>b[8].cancel());at(200,()=>$(9).animate(k,o).reverse());\
         (function f(){{const state=b[3].playState==='paused'?150:b[3].currentTime/2;$(10).style.left=(performance.now()<300-1e-6?state:150)+'px';\
         if(performance.now()>620&&b[3].playState!=='running')$(10).style.left='600px';requestAnimationFrame(f)}})();"
    );
    let shown =
        render_page(&farm, "steer", page("data-no-timeline", &format!("{STYLE}{}", boxes(&rows)), &script)).await;
    assert_rows(&shown, &rows);
    farm.stop().await;
}

/// What a timeline begins, in the page and in clips; and what it finds of animations is of its own frame.
#[tokio::test(flavor = "multi_thread")]
async fn timelines_begin_animations_in_their_frame() {
    let farm = Farm::start(1).await;
    let rows: [Row; 6] = [
        ("class by a callback", |t| ((t - 0.5) * 1000.0).clamp(0.0, 500.0)),
        ("class by a tween", |t| ((t - 0.5) * 1000.0).clamp(0.0, 500.0)),
        ("paused by a callback", |t| (500.0 * t).min(250.0)),
        ("a transition", |t| ((t - 0.4) * 1000.0).clamp(0.0, 400.0)),
        ("in a clip", |t| if t < 0.31 { f64::NAN } else { 500.0 * (t - 0.31) }),
        ("in a clip that is in the flow", |t| if t < 0.31 { f64::NAN } else { 500.0 * (t - 0.31) }),
    ];
    let body = format!("{STYLE}{}", boxes(&rows))
        .replace("<div id=b4 ", "<div id=b4 class='clip on' data-start=.31 data-duration=.69 data-track-index=1 ")
        .replace(
            "<div id=b5 ",
            "<section style='position:absolute;left:0;top:150px'><p class='clip on' data-start=.31 data-duration=.69 data-track-index=2 \
             style='margin:0;width:20px;height:20px;background:#00f'></p></section><div id=b5 hidden ",
        );
    let script = format!(
        "{HELPERS}const tl=gsap.timeline({{paused:true}});tl.call(()=>$(0).classList.add('go'),null,.5);tl.set('#b1',{{className:'go'}},.5);\
         const a=$(2).animate(k,o);tl.call(()=>a.pause(),null,.5);$(3).classList.add('slide');tl.call(()=>{{$(3).style.left='400px'}},null,.4);\
         tl.to({{}},{{duration:1}},0);window.__timelines={{main:tl}};"
    );
    let shown = render_page(&farm, "timelines", page("", &body, &script)).await;
    assert_rows(&shown, &rows);
    farm.stop().await;
}

/// Animations of drawings that scripts begin, and files that no page gets.
#[tokio::test(flavor = "multi_thread")]
async fn drawings_begin_in_their_frame_and_refused_files_fail() {
    let farm = Farm::start(1).await;
    let body = "<svg width=640 height=60 style='position:absolute'><rect y=10 width=20 height=20 fill='#f00'><animate id=n attributeName=x \
        from=0 to=500 begin=indefinite dur=1s fill=freeze /></rect><rect y=30 width=20 height=20 fill='#00f'>\
        <animate attributeName=x from=0 to=500 begin='0s;0.7s' dur=1s fill=freeze /></rect></svg><div id=b style='left:300px;top:100px;width:20px;height:20px;background:#0f0'></div>\
        <iframe id=d src='data:text/html,x' style='position:absolute;top:300px;border:0;height:1px'></iframe>";
    let script = "setTimeout(()=>n.beginElement(),300);fetch('https://example.com/a.json').then(()=>{},()=>{b.style.left='0px'});";
    let shown = render_page(&farm, "drawings", page("data-no-timeline", body, script)).await;
    for frame in 0..FPS {
        let right = ((frame as f64 / FPS as f64 - 0.3) * 500.0).max(0.0);
        assert!((shown.left(frame, 20, red) - right).abs() < 1.5, "frame {frame}: {}", shown.left(frame, 20, red));
        let right = 500.0 * if frame < 21 { frame as f64 / 30.0 } else { (frame - 21) as f64 / 30.0 };
        assert!((shown.left(frame, 40, blue) - right).abs() < 1.5, "frame {frame}: {}", shown.left(frame, 40, blue));
        assert!(shown.left(frame, 110, green) < 1.0, "frame {frame}: the request did not fail");
    }
    assert!(shown.warning("CLOCK_NOT_HELD").is_some_and(|warning| warning.message.contains("#d has a data: address")));
    farm.stop().await;
}

/// Videos in the page show their pictures where scripts put them.
#[tokio::test(flavor = "multi_thread")]
async fn videos_go_where_scripts_put_them() {
    let farm = Farm::start(1).await;
    let at = |left: u32| format!("position:absolute;left:{left}px;top:0;width:60px;height:40px");
    let body = format!(
        "<section id=p style='{}'><video id=v src=film.mp4 muted autoplay style='width:60px;height:40px;display:block'></video></section>\
         <section id=q style='{}'></section><video id=w src=film.mp4 muted autoplay style='{}'></video>",
        at(0),
        at(100),
        at(200)
    );
    let script = format!(
        "setTimeout(()=>q.append(v),500);setTimeout(()=>v.remove(),800);setTimeout(()=>{{w.src='other.mp4'}},500);\
         const o=document.createElement('video');o.muted=true;o.src='film.mp4';o.play();\
         setTimeout(()=>{{o.style.cssText='{}';root.append(o)}},400);",
        at(300)
    );
    let html = page("data-no-timeline", &body, &script);
    let files = [("index.html", html.into_bytes()), ("film.mp4", film(30)), ("other.mp4", film(30))];
    let shown = render(&farm, "videos", &files).await;
    for frame in 0..FPS {
        let picture = i32::from(level(frame));
        let at = frame as f64 / FPS as f64 + 1e-6;
        let rows = [
            ("where it was", 30, if at < 0.5 { picture } else { 0 }),
            ("where it is put", 130, if (0.5..0.8).contains(&at) { picture } else { 0 }),
            ("with another source", 230, picture),
            ("put into the page", 330, if at < 0.4 { 0 } else { picture }),
        ];
        for (name, x, right) in rows {
            let grey = shown.grey(frame, x, 20);
            assert!((grey - right).abs() <= 4, "{name}: frame {frame} shows {grey}, not {right}");
        }
    }
    // The plan does not see it, the chunk does.
    let warned =
        shown.chunk_warnings.iter().any(|warning| warning.message.contains("gives the video #w another source"));
    assert!(warned, "{:?}", shown.chunk_warnings);
    farm.stop().await;
}

/// What callbacks of a timeline and scripts of a worker throw in a late frame.
#[tokio::test(flavor = "multi_thread")]
async fn exceptions_of_late_frames_are_warnings() {
    let farm = Farm::start(1).await;
    let script = "new Worker('w.js');const tl=gsap.timeline({paused:true}).to('#m',{x:300,duration:1,ease:'none'},0);\n\
        tl.call(()=>{throw new Error('late callback')},null,.8);window.__timelines={main:tl};";
    let html = page("", crate::clock::BOX, script);
    let worker = "setTimeout(()=>{throw new Error('late worker')},800)";
    let shown = render(&farm, "exceptions", &[("index.html", html.into_bytes()), ("w.js", worker.into())]).await;
    for words in ["Error: late callback (index.html:2)", "a worker threw: Error: late worker"] {
        let is_told = shown.chunk_warnings.iter().any(|warning| warning.message.contains(words));
        assert!(is_told, "{words}: {:?}", shown.chunk_warnings);
    }
    farm.stop().await;
}

/// What scripts have drawn of a video stays in a canvas, in chunks that only visit the frame that drew it too.
#[tokio::test(flavor = "multi_thread")]
async fn canvases_keep_what_they_copied_of_videos() {
    let farm = Farm::start(1).await;
    let placed = "<video id=v src=film.mp4 muted autoplay playsinline style='position:absolute;left:320px;top:180px;width:100px'></video>";
    let loose = "const v=document.createElement('video');v.muted=true;v.src='film.mp4';v.play();";
    let texture = "const g=document.createElement('canvas').getContext('webgl'),p=new Uint8ClampedArray(4);setTimeout(()=>{\
        g.bindTexture(3553,g.createTexture());g.texImage2D(3553,0,6408,6408,5121,v);g.bindFramebuffer(36160,g.createFramebuffer());\
        g.framebufferTexture2D(36160,36064,3553,g.getParameter(32873),0);g.readPixels(9,9,1,1,6408,5121,p);\
        x.fillStyle=`rgb(${p[0]},${p[1]},${p[2]})`;x.fillRect(0,0,320,180)},467);";
    let until = "(function f(){if(performance.now()<499){draw();requestAnimationFrame(f)}})();";
    let callbacks = "(function f(){if(performance.now()<499){draw();v.requestVideoFrameCallback(f)}})();";
    type Shown = fn(u64) -> u64;
    let snapshot: Shown = |frame| if frame < 15 { 0 } else { 15 };
    let stops: Shown = |frame| frame.min(14);
    let cases: Vec<(&str, String, Shown)> = vec![
        ("snapshot", "setTimeout(draw,467);".to_owned(), snapshot),
        (
            "pattern",
            "setTimeout(()=>{x.fillStyle=x.createPattern(v,'repeat');x.fillRect(0,0,320,180)},467);".to_owned(),
            snapshot,
        ),
        (
            "bitmap",
            "setTimeout(()=>createImageBitmap(v).then(m=>x.drawImage(m,0,0,320,180)),467);".to_owned(),
            snapshot,
        ),
        (
            "video-frame",
            "setTimeout(()=>{const m=new VideoFrame(v,{timestamp:0});x.drawImage(m,0,0,320,180);m.close()},467);"
                .to_owned(),
            snapshot,
        ),
        ("texture", texture.to_owned(), snapshot),
        ("frames", until.to_owned(), stops),
        ("callbacks", callbacks.to_owned(), stops),
        ("loose-frames", format!("{loose}{until}"), stops),
        ("loose-callbacks", format!("{loose}{callbacks}"), stops),
    ];
    for (name, script, expected) in cases {
        let body = format!("<canvas id=c width=320 height=180></canvas>{placed}");
        let begin = "{const x=c.getContext('2d'),draw=()=>x.drawImage(v,0,0,320,180);";
        let html = page("data-no-timeline", &body, &format!("{begin}{script}}}"));
        let files = [("index.html", html.into_bytes()), ("film.mp4", film(30))];
        let shown = render(&farm, &format!("copies-{name}"), &files).await;
        let wrong: Vec<(u64, i32)> = (0..FPS)
            .filter_map(|frame| {
                let right = match expected(frame) {
                    0 if frame > 0 => 0,
                    number => i32::from(level(number)),
                };
                let grey = shown.grey(frame, 160, 90);
                ((grey - right).abs() > 4).then_some((frame, grey))
            })
            .collect();
        assert!(wrong.is_empty(), "{name}: frames and their grey {wrong:?}");
    }
    farm.stop().await;
}

/// Scripts do not steer videos that the plan shows, and those that they put into the page later are not shown.
#[tokio::test(flavor = "multi_thread")]
async fn scripts_that_steer_videos_are_told() {
    let farm = Farm::start(1).await;
    let video = |id: &str| {
        format!("<video id={id} src=film.mp4 muted autoplay style='position:absolute;width:60px;height:40px'></video>")
    };
    let body = ["stopped", "moved", "fast", "plain"].map(video).concat();
    let script = "for(const v of [stopped,moved,fast,plain])v.play();setTimeout(()=>{stopped.pause();moved.currentTime=0;\
        fast.playbackRate=2;plain.play();plain.currentTime=plain.currentTime;const c=plain.cloneNode();c.id='copy';root.append(c)},300);";
    let html = page("data-no-timeline", &body, script);
    let shown = render(&farm, "steered", &[("index.html", html.into_bytes()), ("film.mp4", film(30))]).await;
    let told: Vec<&str> =
        shown.draft.warnings.iter().chain(&shown.chunk_warnings).map(|w| w.message.as_str()).collect();
    for words in [
        "pauses the video #stopped",
        "sets the position of the video #moved",
        "sets the rate of the video #fast",
        "puts the video #copy into the page",
    ] {
        assert!(told.iter().any(|message| message.contains(words)), "{words}: {told:?}");
    }
    assert!(!told.iter().any(|message| message.contains("#plain") || message.contains("AbortError")), "{told:?}");
    farm.stop().await;
}
