//! The compositions that are rendered, and how each must end.

use std::path::PathBuf;

use hyperfarm_e2e::footage::Footage;
use hyperfarm_e2e::{Scene, page};

/// How a render must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It completes, with the bytes of the undisturbed render.
    Completed,
    /// It fails with one of these codes.
    Failed(&'static [&'static str]),
    /// It was cancelled: it fails as such, unless it had completed before.
    Cancelled,
}

/// A composition.
#[derive(Debug)]
pub(crate) struct Composition {
    pub(crate) name: &'static str,
    pub(crate) project: PathBuf,
    pub(crate) format: &'static str,
    pub(crate) chunk_frames: &'static str,
    pub(crate) end: End,
}

/// A page whose script draws on a canvas in each animation frame, so that every frame is visited.
const SCRIPT: &str = r##"<!doctype html><html><body style="margin:0">
<div data-composition-id="main" data-width="320" data-height="180" data-start="0" data-duration="4" data-no-timeline>
<canvas id="c" width="320" height="180"></canvas></div>
<script>
const pen = document.getElementById("c").getContext("2d");
let count = 0;
(function draw(time) {
  pen.fillStyle = `hsl(${Math.round(performance.now() / 10) % 360} 70% 40%)`;
  pen.fillRect(0, 0, 320, 180);
  pen.fillStyle = "#fff";
  pen.fillRect((count++ * 7) % 300, Math.random() * 160, 20, 20);
  requestAnimationFrame(draw);
})();
</script></body></html>"##;

/// A page with a video and a sound.
const MEDIA: &str = r##"<!doctype html><html><body style="margin:0;background:#123">
<div data-composition-id="main" data-width="256" data-height="144" data-start="0" data-duration="3">
<video id="film" src="film.mp4" data-start="0" data-duration="3" style="width:128px;height:64px" muted></video>
<audio id="tone" src="tone.wav" data-start="0.5" data-duration="2"></audio></div>
<script>window.__timelines = { main: gsap.timeline({ paused: true }).to("#film", { x: 100, duration: 3 }, 0) };</script>
</body></html>"##;

/// A page that runs this in each frame, and is half a second long before that.
fn seeking(script: &str) -> String {
    format!(
        r#"<!doctype html><html><body style="margin:0;background:#123">
<div data-composition-id="main" data-width="320" data-height="180" data-start="0" data-duration="1" data-fps="10"
 data-no-timeline><b style="color:#fff">x</b></div>
<script>window.__hf={{duration:1,seek(t){{if(t>.5){{{script}}}}}}}</script></body></html>"#
    )
}

/// Two seconds of 220 Hz, mono, of 48 kHz and 16 bits, as a WAV file.
fn tone() -> Vec<u8> {
    let level = |at: i32| (f64::from(at) / 48_000.0 * 220.0 * std::f64::consts::TAU).sin() * 12_000.0;
    hyperfarm_testing::wav(48_000, (0..96_000).map(|at| level(at) as i16))
}

/// The compositions that are rendered all the time; two small ones in the short form.
pub(crate) fn steady(scene: &Scene, is_short: bool) -> Vec<Composition> {
    scene.write("media/tone.wav", tone());
    let media = scene.project("media", MEDIA);
    Footage::h264(30, 1, 90).write(&media.join("film.mp4"));
    let steady =
        |name, project, format, chunk_frames| Composition { name, project, format, chunk_frames, end: End::Completed };
    if is_short {
        let page = scene.project("tweens", &page(3.0));
        return vec![steady("tweens", page, "mp4", "15"), steady("media", media, "mp4", "30")];
    }
    vec![
        steady("tweens", scene.project("tweens", &page(6.0)), "mp4", "30"),
        steady("script", scene.project("script", SCRIPT), "mp4", "40"),
        steady("media", media, "mp4", "30"),
        steady("gif", scene.project("gif", &page(2.0)), "gif", "20"),
        steady("webm", scene.project("webm", &page(1.5)), "webm", "15"),
    ]
}

/// A page that loops without end in its sixth frame.
pub(crate) fn hanging(scene: &Scene) -> Composition {
    Composition {
        name: "hanging page",
        project: scene.project("hanging", &seeking("for(;;);")),
        format: "mp4",
        chunk_frames: "30",
        end: End::Failed(&["PAGE_UNRESPONSIVE"]),
    }
}

/// A page that takes memory until its process is ended.
pub(crate) fn crashing(scene: &Scene) -> Composition {
    Composition {
        name: "crashing page",
        project: scene.project("crashing", &seeking("k=[];for(;;)k.push(new Uint8Array(32<<20).fill(7))")),
        format: "mp4",
        chunk_frames: "30",
        end: End::Failed(&["PAGE_CRASHED", "PAGE_UNRESPONSIVE", "SCRIPT_ERROR"]),
    }
}
