//! Outputs of high dynamic range: the light of patches, decoded at 10 bits by FFmpeg, is that of the page and of its
//! videos.
// The figures that it measures are worth reading in the log of a test run.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use hyperfarm_e2e::Scene;
use hyperfarm_e2e::scene::text;
use hyperfarm_proto::hdr::LightLevels;
use serde_json::Value;

/// Part by which light may differ.
const NEAR: f64 = 0.02;
const SDR_WHITE: f64 = 203.0;

/// SMPTE ST 2084: cd/m² of a signal.
fn pq_light(signal: f64) -> f64 {
    let power = signal.powf(1.0 / 78.843_75);
    ((power - 0.835_937_5).max(0.0) / (18.851_562_5 - 18.6875 * power)).powf(1.0 / 0.159_301_757_812_5) * 10_000.0
}

fn pq_signal(light: f64) -> f64 {
    let power = (light / 10_000.0).powf(0.159_301_757_812_5);
    ((0.835_937_5 + 18.851_562_5 * power) / (1.0 + 18.6875 * power)).powf(78.843_75)
}

/// ARIB STD-B67 and BT.2100 on a display of 1000 cd/m²: cd/m² of a grey signal.
fn hlg_light(signal: f64) -> f64 {
    let (a, b, c) = (0.178_832_77, 0.284_668_92, 0.559_910_73);
    let scene = if signal <= 0.5 { signal * signal / 3.0 } else { (((signal - c) / a).exp() + b) / 12.0 };
    scene.powf(1.2) * 1000.0
}

fn hlg_signal(light: f64) -> f64 {
    let scene = (light / 1000.0).powf(1.0 / 1.2);
    if scene <= 1.0 / 12.0 {
        (3.0 * scene).sqrt()
    } else {
        0.178_832_77 * (12.0 * scene - 0.284_668_92).ln() + 0.559_910_73
    }
}

fn srgb_light(value: f64) -> f64 {
    let level = value / 255.0;
    SDR_WHITE * if level <= 0.040_45 { level / 12.92 } else { ((level + 0.055) / 1.055).powf(2.4) }
}

/// The signal of extended sRGB of a light in cd/m².
fn srgb_signal(light: f64) -> f64 {
    255.0 * (1.055 * (light / SDR_WHITE).powf(1.0 / 2.4) - 0.055)
}

#[derive(Clone, Copy)]
struct Transfer {
    /// Value of `hdr`.
    name: &'static str,
    /// FFmpeg's name.
    tag: &'static str,
    light: fn(f64) -> f64,
    signal: fn(f64) -> f64,
}

const HDR10: Transfer = Transfer { name: "hdr10", tag: "smpte2084", light: pq_light, signal: pq_signal };
const HLG: Transfer = Transfer { name: "hlg", tag: "arib-std-b67", light: hlg_light, signal: hlg_signal };

/// Writes ten frames at 10 a second of patches of grey, side by side, of `lights` in cd/m².
fn source(path: &Path, transfer: Transfer, lights: &[f64], (width, height): (usize, usize)) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let level = |x: usize| ((transfer.signal)(lights[x * lights.len() / width]) * 876.0 + 64.0).round() as u16;
    let row: Vec<u8> = (0..width).flat_map(|x| level(x).to_le_bytes()).collect();
    let grey: Vec<u8> = std::iter::repeat_n(512_u16.to_le_bytes(), width / 2 * (height / 2) * 2).flatten().collect();
    let frame = [row.repeat(height), grey].concat();
    let size = format!("{width}x{height}");
    let params =
        format!("colorprim=bt2020:transfer={}:colormatrix=bt2020nc:range=limited:log-level=none", transfer.tag);
    let mut command = Command::new("ffmpeg");
    command.args([
        "-v",
        "error",
        "-y",
        "-f",
        "rawvideo",
        "-pix_fmt",
        "yuv420p10le",
        "-s",
        &size,
        "-r",
        "10",
        "-i",
        "-",
    ]);
    command.args(["-color_primaries", "bt2020", "-color_trc", transfer.tag, "-colorspace", "bt2020nc"]);
    command.args(["-c:v", "libx265", "-crf", "4", "-tag:v", "hvc1", "-x265-params", &params, text(path)]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&frame.repeat(10)).unwrap();
    assert!(child.wait().unwrap().success());
}

/// The planes of one decoded frame.
struct Decoded {
    width: usize,
    height: usize,
    samples: Vec<u16>,
}

impl Decoded {
    fn of(path: &Path, (width, height): (usize, usize), frame: usize) -> Self {
        let mut command = Command::new("ffmpeg");
        command.args(["-v", "error", "-i", text(path), "-f", "rawvideo", "-pix_fmt", "yuv420p10le", "-"]);
        let output = command.output().unwrap();
        assert!(output.status.success());
        let samples: Vec<u16> =
            output.stdout.as_chunks::<2>().0.iter().map(|bytes| u16::from_le_bytes(*bytes)).collect();
        let length = width * height * 3 / 2;
        Self { width, height, samples: samples[frame * length..][..length].to_vec() }
    }

    /// Mean luma and chroma of the square of 8 pixels around (`x`, `y`).
    fn patch(&self, x: usize, y: usize) -> [f64; 3] {
        let mean = |from: usize, stride: usize, x: usize, y: usize, side: usize| {
            let rows = (y - side / 2..y + side / 2).map(|y| &self.samples[from + y * stride + x - side / 2..][..side]);
            rows.flatten().map(|sample| f64::from(*sample)).sum::<f64>() / (side * side) as f64
        };
        let (pixels, half) = (self.width * self.height, self.width / 2);
        [
            mean(0, self.width, x, y, 8),
            mean(pixels, half, x / 2, y / 2, 4),
            mean(pixels + pixels / 4, half, x / 2, y / 2, 4),
        ]
    }

    /// Checks that the patch around (`x`, `y`) is grey of `expected` cd/m². Returns the light that was found.
    fn assert_grey(&self, transfer: Transfer, (x, y): (usize, usize), expected: f64, what: &str) {
        let [luma, blue, red] = self.patch(x, y);
        assert!((blue - 512.0).abs() < 2.0 && (red - 512.0).abs() < 2.0, "{what}: {blue} {red}");
        let found = (transfer.light)(((luma - 64.0) / 876.0).max(0.0));
        println!("{} {what}: {found:.1} cd/m², {expected:.1} expected", transfer.name);
        assert!(
            (found - expected).abs() <= expected * NEAR + 0.02,
            "{} {what}: {found} and not {expected}",
            transfer.name
        );
    }
}

fn streams(path: &Path) -> Value {
    let mut command = Command::new("ffprobe");
    command.args([
        "-v",
        "error",
        "-show_streams",
        "-show_frames",
        "-read_intervals",
        "%+#1",
        "-of",
        "json",
        text(path),
    ]);
    serde_json::from_slice(&command.output().unwrap().stdout).unwrap()
}

/// Checks tags and side data of the stream and of its first frame. Returns the light levels.
fn tags(path: &Path, transfer: Transfer) -> LightLevels {
    let found = streams(path);
    let stream = &found["streams"][0];
    for (name, expected) in [
        ("codec_name", "hevc"),
        ("codec_tag_string", "hvc1"),
        ("profile", "Main 10"),
        ("pix_fmt", "yuv420p10le"),
        ("color_range", "tv"),
        ("color_primaries", "bt2020"),
        ("color_space", "bt2020nc"),
        ("color_transfer", transfer.tag),
    ] {
        assert_eq!(stream[name], expected, "{name}: {stream}");
    }
    let of = |data: &Value, kind: &str| {
        let all = data["side_data_list"].as_array().unwrap_or_else(|| panic!("no side data: {data}")).clone();
        all.into_iter().find(|data| data["side_data_type"] == kind).unwrap_or_else(|| panic!("no {kind}: {data}"))
    };
    for data in [stream, &found["frames"][0]] {
        let display = of(data, "Mastering display metadata");
        assert_eq!((&display["red_x"], &display["max_luminance"]), (&"34000/50000".into(), &"10000000/10000".into()));
        assert_eq!((&display["white_point_y"], &display["min_luminance"]), (&"16450/50000".into(), &"1/10000".into()));
    }
    let light = of(stream, "Content light level metadata");
    assert_eq!(light["max_content"], of(&found["frames"][0], "Content light level metadata")["max_content"]);
    let number = |name: &str| light[name].as_u64().unwrap() as u16;
    LightLevels { pixel: number("max_content"), frame: number("max_average") }
}

/// Patches of the page, 40 pixels wide, in a row of 320 pixels.
const GREYS: [u8; 4] = [255, 188, 128, 64];

fn patches() -> String {
    let colours = GREYS.map(|grey| format!("rgb({grey},{grey},{grey})"));
    let colours = colours.iter().map(String::as_str).chain(["#f00", "#0f0", "#00f", "#000"]);
    let style = |(at, colour): (usize, &str)| {
        format!(
            "<i style=\"position:absolute;left:{}px;top:96px;width:40px;height:96px;background:{colour}\"></i>",
            at * 40
        )
    };
    colours.enumerate().map(style).collect()
}

fn page(content: &str) -> String {
    format!(
        "<!doctype html><html><body style=\"margin:0;background:#000\">
<div data-composition-id=\"main\" data-width=\"320\" data-height=\"192\" data-start=\"0\" data-duration=\"0.8\" data-no-timeline>
{content}{}</div></body></html>",
        patches()
    )
}

fn project(scene: &Scene, name: &str, content: &str) -> PathBuf {
    scene.project(name, &page(content))
}

const SIZE: (usize, usize) = (320, 192);

fn check_page(decoded: &Decoded, transfer: Transfer) {
    for (at, grey) in GREYS.into_iter().enumerate() {
        decoded.assert_grey(transfer, (at * 40 + 20, 144), srgb_light(grey.into()), &format!("grey {grey}"));
    }
    // Luma of BT.709's primaries in BT.2020, from their linear light.
    for (at, light) in [[0.6274, 0.0691, 0.0164], [0.3293, 0.9195, 0.088], [0.0433, 0.0114, 0.8956]].iter().enumerate()
    {
        let linear = light.map(|part| part * SDR_WHITE);
        let [red, green, blue] = if transfer.name == "hdr10" {
            linear.map(transfer.signal)
        } else {
            // The inverse of the display's gamma is by luminance.
            let luminance = 0.2627 * linear[0] + 0.678 * linear[1] + 0.0593 * linear[2];
            linear.map(|part| hlg_signal((part * (luminance / 1000.0).powf(-1.0 / 6.0) / 1000.0).powf(1.2) * 1000.0))
        };
        let luma = 0.2627 * red + 0.678 * green + 0.0593 * blue;
        let expected =
            [luma * 876.0 + 64.0, (blue - luma) / 1.8814 * 896.0 + 512.0, (red - luma) / 1.4746 * 896.0 + 512.0];
        let found = decoded.patch((at + 4) * 40 + 20, 144);
        let is_near = found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 3.0);
        assert!(is_near, "{} primary {at}: {found:?} and not {expected:?}", transfer.name);
    }
}

#[test]
fn a_page_has_sdr_white_at_203_cd() {
    let scene = Scene::new();
    let page = project(&scene, "page", "");
    for transfer in [HDR10, HLG] {
        let (output, _) = scene.render(&page, transfer.name, &["--fps", "10", &format!("--hdr={}", transfer.name)]);
        let light = tags(&output, transfer);
        assert_eq!(light.pixel, 203);
        check_page(&Decoded::of(&output, SIZE, 3), transfer);
    }
    // Without a source of high dynamic range it is HLG.
    let (output, _) = scene.render(&page, "auto", &["--fps", "10", "--hdr"]);
    assert_eq!(streams(&output)["streams"][0]["color_transfer"], "arib-std-b67");
}

const LIGHTS: [f64; 4] = [100.0, 203.0, 500.0, 900.0];

/// A video of four patches at the top; a white cover over the lower half of the third patch, and one of half opacity over that of
/// the fourth.
const COVERED: &str = "<video id=\"v\" src=\"v.mp4\" muted data-start=\"0\" data-duration=\"0.8\" \
     style=\"position:absolute;left:0;top:0;width:320px;height:96px\"></video>\
     <b style=\"position:absolute;left:160px;top:48px;width:80px;height:48px;background:#fff\"></b>\
     <b style=\"position:absolute;left:240px;top:48px;width:80px;height:48px;background:rgba(255,255,255,.5)\"></b>";

#[test]
fn videos_keep_their_light_below_and_above_the_page() {
    let scene = Scene::new();
    for (source_transfer, name) in [(HDR10, "pq"), (HLG, "hlg")] {
        source(&scene.path(&format!("{name}/v.mp4")), source_transfer, &LIGHTS, (320, 96));
        let page = project(&scene, name, COVERED);
        for transfer in [HDR10, HLG] {
            let option = format!("--hdr={}", transfer.name);
            let args = ["--fps", "10", &option];
            let (output, whole) = scene.render(&page, &format!("{name}-{}", transfer.name), &args);
            let light = tags(&output, transfer);
            assert!((882..=918).contains(&light.pixel) && light.frame < light.pixel, "{light:?}");
            let decoded = Decoded::of(&output, SIZE, 5);
            check_page(&decoded, transfer);
            for (at, light) in LIGHTS.into_iter().enumerate() {
                decoded.assert_grey(transfer, (at * 80 + 40, 24), light, &format!("{name} source of {light}"));
            }
            for (at, light) in LIGHTS.into_iter().enumerate().take(2) {
                decoded.assert_grey(transfer, (at * 80 + 40, 72), light, &format!("{name} source of {light}, below"));
            }
            decoded.assert_grey(transfer, (200, 72), SDR_WHITE, "a cover");
            // 128 of 255 is the page's own part, as Chrome rounds it.
            let mixed = srgb_light(128.0 + srgb_signal(900.0) * 127.0 / 255.0);
            decoded.assert_grey(transfer, (280, 72), mixed, "a cover of half opacity");
            if transfer.name == source_transfer.name {
                let parts = [&args[..], &["--chunk-frames", "3", "--slots", "2"]].concat();
                let (chunked, chunks) = scene.render(&page, &format!("{name}-chunks"), &parts);
                assert_eq!(chunks.segments.len(), 3);
                assert!(whole.frame_hashes().eq(chunks.frame_hashes()));
                assert_eq!(tags(&chunked, transfer), light_of(&whole));
                let (again, _) = scene.render(&page, &format!("{name}-again"), &[&parts[..4], &["3"]].concat());
                assert_eq!(std::fs::read(again).unwrap(), std::fs::read(chunked).unwrap(), "equal bytes");
            }
        }
        // The kind follows the source where it is not named, and without the option the output is SDR.
        let (output, _) = scene.render(&page, &format!("{name}-auto"), &["--fps", "10", "--hdr"]);
        assert_eq!(streams(&output)["streams"][0]["color_transfer"], source_transfer.tag);
    }
}

fn light_of(manifest: &hyperfarm_proto::record::Manifest) -> LightLevels {
    manifest.segments.iter().filter_map(|segment| segment.light).reduce(LightLevels::max).unwrap()
}

#[test]
fn videos_are_where_the_page_puts_them() {
    let scene = Scene::new();
    source(&scene.path("places/v.mp4"), HDR10, &LIGHTS, (320, 96));
    source(&scene.path("places/w.mp4"), HLG, &[300.0, 700.0], (64, 64));
    // The first video is turned by half and drawn at half its size; the second, enlarged, covers a box that cuts it, in a round
    // frame, and lies in part over the first.
    let content = "<video id=\"v\" src=\"v.mp4\" muted data-start=\"0\" data-duration=\"0.8\" \
         style=\"position:absolute;left:0;top:0;width:320px;height:96px;transform:rotate(180deg) scale(.5)\"></video>\
         <div style=\"position:absolute;left:240px;top:0;width:80px;height:80px;border-radius:50%;overflow:hidden\">\
         <video id=\"w\" src=\"w.mp4\" muted data-start=\"0\" data-duration=\"0.8\" \
         style=\"position:absolute;width:80px;height:80px;object-fit:cover;object-position:0 0;transform:scale(2);transform-origin:0 0\">\
         </video></div>";
    let page = project(&scene, "places", content);
    let args = ["--fps", "10", "--hdr=hdr10"];
    let (output, whole) = scene.render(&page, "places", &args);
    let decoded = Decoded::of(&output, SIZE, 4);
    // It lies at 80 to 240 across and 24 to 72 down, its last patch on the left.
    for (at, light) in LIGHTS.iter().rev().enumerate() {
        decoded.assert_grey(HDR10, (80 + at * 40 + 20, 40), *light, "a turned video");
    }
    decoded.assert_grey(HDR10, (40, 40), 0.0, "beside it");
    // Of the enlarged video only the first half is in its frame.
    decoded.assert_grey(HDR10, (280, 40), 300.0, "an enlarged video");
    decoded.assert_grey(HDR10, (312, 6), 0.0, "a corner of its frame");
    check_page(&decoded, HDR10);
    let (_, chunks) = scene.render(&page, "places-chunks", &[&args[..], &["--chunk-frames", "3"]].concat());
    assert!(whole.frame_hashes().eq(chunks.frame_hashes()));
    // Blur by a shutter and videos of high dynamic range are no combination.
    let ended = scene.run(&["render", text(&page), "-o", text(&scene.path("no.mp4")), "--hdr", "--motion-blur=4"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("motion_blur"), "{}", ended.stderr);
}
