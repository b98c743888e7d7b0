//! One chunk against eight: the captured frames are equal, and nobody sees the seams.

// The figures that it measures are worth reading in the log of a test run.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::collections::HashSet;
use std::fs;

use hyperfarm_e2e::parity::{repository, stage};
use hyperfarm_e2e::pictures::{brightness, pictures, psnr_by_frame};
use hyperfarm_e2e::{Scene, example};
use hyperfarm_media::compare;
use hyperfarm_proto::plan::ChunkStart;
use hyperfarm_proto::record::Manifest;

/// Frames a second of these renders: enough to move, few enough for a test.
const FPS: [&str; 2] = ["--fps", "12"];

/// Renders an example as one chunk and as eight, and compares. Captured frames must be equal. Where `is_healed`, chunks
/// must have been drawn again for that: an exception that is no longer needed fails.
fn compare_example(name: &str, is_healed: bool) {
    let scene = Scene::new();
    let (whole_video, whole) =
        scene.render(&example(name), "whole", &[&FPS[..], &["--chunk-frames", "100000"]].concat());
    assert_eq!(whole.segments.len(), 1, "{name}");
    let frames = whole.output.frames;
    let chunk = frames.div_ceil(8).to_string();
    let (cut_video, cut) = scene.render(&example(name), "cut", &[&FPS[..], &["--chunk-frames", &chunk]].concat());
    assert_eq!(cut.segments.len(), 8, "{name}: {frames} frames in chunks of {chunk}");

    assert_eq!(whole.frame_hashes().count() as u64, frames);
    assert_equal_frames(name, &whole, &cut, is_healed);

    let psnr = psnr_by_frame(&whole_video, &cut_video);
    let worst = psnr.iter().copied().fold(f64::INFINITY, f64::min);
    println!("{name}: {frames} frames, worst PSNR between the videos {worst:.1} dB");
    assert!(worst >= 38.0, "{name}: {worst} dB");
    let starts: Vec<u64> = cut.segments.iter().map(|segment| segment.frames.start()).collect();
    check_seams(name, &cut_video, &whole_video, &starts);
}

/// Every frame of the render in one chunk is captured as in the one in several. In that one, chunks have been drawn
/// again where `is_healed`, and only there.
fn assert_equal_frames(name: &str, whole: &Manifest, cut: &Manifest, is_healed: bool) {
    let pairs = whole.frame_hashes().zip(cut.frame_hashes()).enumerate();
    let different: Vec<usize> = pairs.filter(|(_, (a, b))| a != b).map(|(frame, _)| frame).collect();
    let starts: Vec<(u32, ChunkStart)> = cut
        .segments
        .iter()
        .map(|segment| (segment.chunk, segment.start))
        .filter(|(_, start)| *start != ChunkStart::default())
        .collect();
    println!("{name}: chunks drawn again: {starts:?}");
    assert!(different.is_empty(), "{name}: captured frames {different:?} differ, with chunks drawn again: {starts:?}");
    assert_eq!(!starts.is_empty(), is_healed, "{name}: {starts:?}");
    assert!(cut.warnings.iter().all(|warning| warning.code != "SEAM_DIFFERS"), "{name}: {:?}", cut.warnings);
}

/// At a seam the video changes as it does without one: nothing black, nothing shown twice, nothing left out.
fn check_seams(name: &str, cut: &std::path::Path, whole: &std::path::Path, starts: &[u64]) {
    let (cut, whole) = (pictures(cut), pictures(whole));
    for start in starts.iter().filter(|start| **start > 0) {
        let at = *start as usize;
        let dark = brightness(&whole[at]) - brightness(&cut[at]);
        assert!(dark.abs() < 2.0, "{name}: frame {at} is darker by {dark} than without a seam");
        // How much two neighbours differ, with and without a seam between them; above 42 dB nobody sees a difference.
        let step = |video: &[hyperfarm_media::Picture]| compare::psnr(&video[at - 1], &video[at]).min(42.0);
        let (with, without) = (step(&cut), step(&whole));
        assert!(
            (with - without).abs() < 6.0,
            "{name}: frames {} and {at} differ by {with:.1} dB, and by {without:.1} dB without a seam",
            at - 1
        );
    }
}

/// Renders a composition of the bench as one chunk and as four, at few frames a second, and compares as
/// [`compare_example`] does.
fn compare_of_bench(name: &str, format: &str, fps: &str, is_healed: bool) {
    let scene = Scene::new();
    let project = scene.path(name);
    let folder = repository().join("bench/compositions").join(name);
    stage::stage(&folder, &project, &scene.path("cache")).unwrap();
    let render = |kind: &str, chunk: &str| {
        let args = ["--fps", fps, "--quality", "draft", "--chunk-frames", chunk];
        scene.render_as(format, &project, &format!("{name}-{kind}"), &args).1
    };
    let whole = render("whole", "100000");
    let frames = whole.output.frames;
    let cut = render("cut", &frames.div_ceil(4).to_string());
    assert_eq!((whole.segments.len(), cut.segments.len()), (1, 4), "{name}: {frames} frames");
    assert_equal_frames(name, &whole, &cut, is_healed);
}

#[test]
fn light_and_static_of_the_bench() {
    compare_of_bench("light", "mp4", "3", false);
    compare_of_bench("static", "mp4", "2", false);
}

#[test]
fn heavy_and_uhd_of_the_bench() {
    compare_of_bench("heavy", "mp4", "3", false);
    compare_of_bench("uhd", "mp4", "8", false);
}

/// The layer of the heading keeps what it was rastered with in its last move, which is over before the second chunk.
#[test]
fn a_move_that_is_over_leaves_what_it_leaves_in_a_walk() {
    let scene = Scene::new();
    let cards: String = (0..8)
        .map(|card| {
            format!(r#"<div class="card" style="left:{}px;top:{}px">Card</div>"#, card % 4 * 150, card / 4 * 160 + 40)
        })
        .collect();
    let page = format!(
        r##"<!doctype html><html><head><style>body{{margin:0;background:#0d1b2a;font-family:Inter}}
.card{{position:absolute;width:110px;height:70px;border-radius:12px;background:#eee;box-shadow:0 8px 24px #000}}
h1{{position:absolute;left:0;right:0;top:120px;text-align:center;font-size:64px;color:#fff;text-shadow:0 6px 20px #000}}
</style></head><body><div data-composition-id="main" data-width="640" data-height="360" data-start="0" data-duration="2">
{cards}<h1>Everything moves</h1></div><script>
const timeline = gsap.timeline({{ paused: true }});
document.querySelectorAll(".card").forEach((card, i) =>
  timeline.to(card, {{ x: 40 * Math.cos(i), y: 40 * Math.sin(i), rotation: 14, duration: 2, ease: "sine.inOut" }}, 0));
timeline.fromTo("h1", {{ scale: 0.8, opacity: 0 }}, {{ scale: 1, opacity: 1, duration: 0.8, ease: "power2.out" }}, 0.1);
window.__timelines = {{ main: timeline }};
</script></body></html>"##
    );
    let project = scene.project("rest", &page);
    let render = |name: &str, chunk: &str| {
        scene.render(&project, name, &["--fps", "30", "--quality", "draft", "--chunk-frames", chunk]).1
    };
    assert_equal_frames("rest", &render("whole", "60"), &render("cut", "30"), false);
}

/// A page that says that it is stateless is not visited. One that says so and counts what it has shown differs at its seams,
/// and is drawn again as if it had not said so.
#[test]
fn a_stateless_page_is_not_visited_and_one_that_is_not_is_found_out() {
    let scene = Scene::new();
    for (name, left, is_healed) in [("stateless", "30 * time", false), ("counts", "3 * seen.size", true)] {
        let page = format!(
            r#"<!doctype html><html><body><div data-composition-id="main" data-width="320" data-height="180"
data-start="0" data-duration="10" data-no-timeline data-stateless>
<canvas id="canvas" width="320" height="180"></canvas></div><script>
const context = document.getElementById("canvas").getContext("2d"), seen = new Set();
const show = (time) => {{
  seen.add(time);
  context.clearRect(0, 0, 320, 180);
  context.fillRect({left}, 40, 20, 60);
}};
window.addEventListener("hf-seek", (event) => show(event.detail.time));
</script></body></html>"#
        );
        let project = scene.project(name, &page);
        let render = |kind: &str, chunk: &str| {
            let args = ["--fps", "10", "--quality", "draft", "--chunk-frames", chunk];
            scene.render(&project, &format!("{name}-{kind}"), &args).1
        };
        let (whole, cut) = (render("whole", "100"), render("cut", "40"));
        assert_equal_frames(name, &whole, &cut, is_healed);
        let visited: u64 = cut.segments.iter().map(|segment| segment.timings.visited_frames).sum();
        assert_eq!(visited > 0, is_healed, "{name}: {visited} frames were visited");
        let distinct: HashSet<String> = cut.frame_hashes().map(|hash| hash.to_string()).collect();
        assert_eq!((cut.segments.len(), distinct.len()), (3, 100), "{name}");
    }
}

#[test]
fn webgl_and_video_of_the_bench() {
    compare_of_bench("webgl", "mp4", "4", false);
    compare_of_bench("video", "mp4", "4", false);
}

#[test]
fn nested_and_alpha_of_the_bench() {
    compare_of_bench("nested", "mp4", "3", false);
    compare_of_bench("alpha", "webm", "6", false);
}

#[test]
fn promo_and_cuts_of_the_bench() {
    compare_of_bench("promo", "mp4", "2", false);
    compare_of_bench("cuts", "mp4", "4", false);
}

#[test]
fn style_three_and_webm_alpha_of_the_bench() {
    compare_of_bench("style", "mp4", "3", false);
    compare_of_bench("three", "mp4", "4", false);
    compare_of_bench("webm-alpha", "webm", "4", false);
}

#[test]
fn a_minute_of_the_bench() {
    compare_of_bench("minute", "mp4", "1", false);
}

#[test]
fn a_page_that_differs_each_time_is_named() {
    let scene = Scene::new();
    let project = scene.path("keys");
    fs::create_dir_all(&project).unwrap();
    // A key is new in each browser, and nothing of it depends on the composition's time.
    let page = hyperfarm_e2e::page(1.0).replace(
        "<script>",
        r#"<script>
const color = async () => {
    const key = await crypto.subtle.generateKey({ name: "AES-GCM", length: 128 }, true, ["encrypt"]);
    const [r, g, b] = new Uint8Array(await crypto.subtle.exportKey("raw", key));
    document.body.style.background = `rgb(${r}, ${g}, ${b})`;
};
color();"#,
    );
    fs::write(project.join("index.html"), page).unwrap();
    let (_, manifest) = scene.render(&project, "keys", &["--fps", "12", "--chunk-frames", "4"]);
    assert_eq!((manifest.segments.len(), manifest.frame_hashes().count()), (3, 12));
    let warning = manifest.warnings.iter().find(|warning| warning.code == "SEAM_DIFFERS").unwrap();
    assert!(warning.message.contains("of 2 seams") && warning.message.contains("frame 4"), "{}", warning.message);
    // Both were tried again, with no more frames in all than the output has.
    let drawn: u64 =
        manifest.segments.iter().filter_map(|segment| Some(segment.frames.start() - segment.start.draws_from?)).sum();
    assert!((1..=12).contains(&drawn), "{drawn} frames were drawn again");
}

#[test]
fn product_launch() {
    // A letter that GSAP moves in a layer of its own keeps that layer's sub-pixel raster offset when it comes to rest. So
    // it is in uhd of the bench.
    compare_example("product-launch", true);
}

#[test]
fn kinetic_type() {
    compare_example("kinetic-type", false);
}

#[test]
fn line_drawing() {
    compare_example("line-drawing", false);
}

#[test]
fn css_only() {
    compare_example("css-only", false);
}

#[test]
fn video_duck() {
    compare_example("video-duck", false);
}

#[test]
fn data_race() {
    compare_example("data-race", false);
}
