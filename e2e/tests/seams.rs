//! One chunk against eight: the captured frames are equal, and nobody sees the seams.

use hyperfarm_e2e::pictures::{brightness, pictures, psnr_by_frame};
use hyperfarm_e2e::{Scene, example};
use hyperfarm_media::compare;

/// Renders an example as one chunk and as eight, and compares.
fn compare_example(name: &str) {
    let scene = Scene::new();
    let fps = "12";
    let (whole_video, whole) = scene.render(&example(name), "whole", &["--fps", fps, "--chunk-frames", "100000"]);
    assert_eq!(whole.segments.len(), 1, "{name}");
    let frames = whole.output.frames;
    let chunk = frames.div_ceil(8).to_string();
    let (cut_video, cut) = scene.render(&example(name), "cut", &["--fps", fps, "--chunk-frames", &chunk]);
    assert_eq!(cut.segments.len(), 8, "{name}: {frames} frames in chunks of {chunk}");

    let different: Vec<usize> = whole
        .frame_hashes()
        .zip(cut.frame_hashes())
        .enumerate()
        .filter(|(_, (a, b))| a != b)
        .map(|(frame, _)| frame)
        .collect();
    assert_eq!(whole.frame_hashes().count() as u64, frames);
    assert!(different.is_empty(), "{name}: captured frames {different:?} differ");

    let psnr = psnr_by_frame(&whole_video, &cut_video);
    let worst = psnr.iter().copied().fold(f64::INFINITY, f64::min);
    println!("{name}: {frames} frames, worst PSNR between the videos {worst:.1} dB");
    assert!(worst >= 38.0, "{name}: {worst} dB");
    check_seams(
        name,
        &cut_video,
        &whole_video,
        &cut.segments.iter().map(|segment| segment.frames.start()).collect::<Vec<_>>(),
    );
}

/// At a seam the video changes as it does without one: nothing black, nothing shown twice, nothing left out.
fn check_seams(name: &str, cut: &std::path::Path, whole: &std::path::Path, starts: &[u64]) {
    let (cut, whole) = (pictures(cut), pictures(whole));
    for start in starts.iter().filter(|start| **start > 0) {
        let at = *start as usize;
        let dark = brightness(&whole[at]) - brightness(&cut[at]);
        assert!(dark.abs() < 2.0, "{name}: frame {at} is darker by {dark} than without a seam");
        // How much two neighbours differ, with and without a seam between them.
        let step = |video: &[hyperfarm_media::Picture]| compare::psnr(&video[at - 1], &video[at]).min(60.0);
        let (with, without) = (step(&cut), step(&whole));
        assert!(
            (with - without).abs() < 6.0,
            "{name}: frames {} and {at} differ by {with:.1} dB, and by {without:.1} dB without a seam",
            at - 1
        );
    }
}

#[test]
fn product_launch() {
    compare_example("product-launch");
}

#[test]
fn kinetic_type() {
    compare_example("kinetic-type");
}

#[test]
fn line_drawing() {
    compare_example("line-drawing");
}

#[test]
fn css_only() {
    compare_example("css-only");
}

#[test]
fn video_duck() {
    compare_example("video-duck");
}
