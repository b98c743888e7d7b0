//! One chunk against eight: the captured frames are equal, and nobody sees the seams.

// The figures that it measures are worth reading in the log of a test run.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use hyperfarm_e2e::parity::{repository, stage};
use hyperfarm_e2e::pictures::{brightness, pictures, psnr_by_frame};
use hyperfarm_e2e::{Scene, example};
use hyperfarm_media::compare;

/// Frames a second of these renders: enough to move, few enough for a test.
const FPS: [&str; 2] = ["--fps", "12"];

/// Renders an example as one chunk and as eight, and compares. Captured frames must be equal. Where a cause is named,
/// some of them must differ, and so little that nobody can tell: an exception that is no longer needed fails.
fn compare_example(name: &str, cause: Option<&str>) {
    let scene = Scene::new();
    let (whole_video, whole) =
        scene.render(&example(name), "whole", &[&FPS[..], &["--chunk-frames", "100000"]].concat());
    assert_eq!(whole.segments.len(), 1, "{name}");
    let frames = whole.output.frames;
    let chunk = frames.div_ceil(8).to_string();
    let (cut_video, cut) = scene.render(&example(name), "cut", &[&FPS[..], &["--chunk-frames", &chunk]].concat());
    assert_eq!(cut.segments.len(), 8, "{name}: {frames} frames in chunks of {chunk}");

    assert_eq!(whole.frame_hashes().count() as u64, frames);
    let different: Vec<usize> = whole
        .frame_hashes()
        .zip(cut.frame_hashes())
        .enumerate()
        .filter(|(_, (a, b))| a != b)
        .map(|(frame, _)| frame)
        .collect();
    match cause {
        None => assert!(different.is_empty(), "{name}: captured frames {different:?} differ"),
        Some(cause) if !different.is_empty() => {
            // ProRes 4444 keeps what was captured to a fraction of a step, so its pictures stand for the captured ones.
            let lossless = |name: &str, frames: &str| {
                let args = [&FPS[..], &["--chunk-frames", frames, "--quality", "high"]].concat();
                scene.render_as("mov", &example(name), &format!("{name}-{frames}"), &args).0
            };
            let psnr = psnr_by_frame(&lossless(name, "100000"), &lossless(name, &chunk));
            let worst = different.iter().map(|frame| psnr[*frame]).fold(f64::INFINITY, f64::min);
            println!("{name}: {} of {frames} captured frames differ, worst {worst:.1} dB: {cause}", different.len());
            assert!(worst >= 50.0, "{name}: {worst} dB");
        }
        Some(cause) => panic!("{name}: no captured frame differs any more: remove its exception ({cause})"),
    }

    let psnr = psnr_by_frame(&whole_video, &cut_video);
    let worst = psnr.iter().copied().fold(f64::INFINITY, f64::min);
    println!("{name}: {frames} frames, worst PSNR between the videos {worst:.1} dB");
    assert!(worst >= 38.0, "{name}: {worst} dB");
    let starts: Vec<u64> = cut.segments.iter().map(|segment| segment.frames.start()).collect();
    check_seams(name, &cut_video, &whole_video, &starts);
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

/// Why a frame may differ in a chunk that starts later.
const RESTING_LAYER: &str =
    "a letter that GSAP moves in a layer of its own keeps that layer's sub-pixel raster offset when it comes to rest";

/// Renders a composition of the bench as one chunk and as four, at few frames a second. Captured frames must be equal;
/// where a cause is named, some must differ, by no more than can be seen.
fn compare_of_bench(name: &str, format: &str, fps: &str, cause: Option<&str>) {
    let scene = Scene::new();
    let project = scene.path(name);
    let folder = repository().join("bench/compositions").join(name);
    stage::stage(&folder, &project, &scene.path("cache")).unwrap();
    let hashes = |kind: &str, chunk: &str| {
        let args = ["--fps", fps, "--quality", "draft", "--chunk-frames", chunk];
        let manifest = scene.render_as(format, &project, &format!("{name}-{kind}"), &args).1;
        (manifest.frame_hashes().collect::<Vec<_>>(), manifest.segments.len())
    };
    let (whole, one) = hashes("whole", "100000");
    let (cut, chunks) = hashes("cut", &whole.len().div_ceil(4).to_string());
    assert_eq!((one, chunks), (1, 4), "{name}: {} frames", whole.len());
    let different: Vec<usize> = (0..whole.len()).filter(|frame| cut.get(*frame) != whole.get(*frame)).collect();
    assert_eq!(cut.len(), whole.len(), "{name}");
    let Some(cause) = cause else {
        return assert!(different.is_empty(), "{name}: captured frames {different:?} differ");
    };
    assert!(!different.is_empty(), "{name}: no captured frame differs any more: remove its exception ({cause})");
    let lossless = |chunk: &str| {
        let args = ["--fps", fps, "--quality", "high", "--chunk-frames", chunk];
        scene.render_as("mov", &project, &format!("{name}-lossless-{chunk}"), &args).0
    };
    let psnr = psnr_by_frame(&lossless("100000"), &lossless(&whole.len().div_ceil(4).to_string()));
    let worst = psnr.iter().copied().fold(f64::INFINITY, f64::min);
    println!("{name}: {} of {} captured frames differ, worst {worst:.1} dB: {cause}", different.len(), whole.len());
    assert!(worst >= 50.0, "{name}: {worst} dB");
}

#[test]
fn light_and_static_of_the_bench() {
    compare_of_bench("light", "mp4", "3", None);
    compare_of_bench("static", "mp4", "2", None);
}

#[test]
fn heavy_and_uhd_of_the_bench() {
    compare_of_bench("heavy", "mp4", "3", None);
    compare_of_bench("uhd", "mp4", "8", Some(RESTING_LAYER));
}

#[test]
fn webgl_and_video_of_the_bench() {
    compare_of_bench("webgl", "mp4", "4", None);
    compare_of_bench("video", "mp4", "4", None);
}

#[test]
fn nested_and_alpha_of_the_bench() {
    compare_of_bench("nested", "mp4", "3", None);
    compare_of_bench("alpha", "webm", "6", None);
}

#[test]
fn a_minute_of_the_bench() {
    compare_of_bench("minute", "mp4", "1", None);
}

#[test]
fn product_launch() {
    compare_example("product-launch", Some(RESTING_LAYER));
}

#[test]
fn kinetic_type() {
    compare_example("kinetic-type", None);
}

#[test]
fn line_drawing() {
    compare_example("line-drawing", None);
}

#[test]
fn css_only() {
    compare_example("css-only", None);
}

#[test]
fn video_duck() {
    compare_example("video-duck", None);
}

#[test]
fn data_race() {
    compare_example("data-race", None);
}
