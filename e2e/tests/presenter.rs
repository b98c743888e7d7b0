//! Presenter videos on a farm in one process: a look of a photo, a video of it by a real voice, equal frames in one chunk
//! and in several, and a mouth that follows the sound.

// The figures that it measures are worth reading in the log of a test run.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hyperfarm_e2e::cluster::KEY;
use hyperfarm_e2e::pictures::pictures;
use hyperfarm_e2e::scene::{text, wait_until};
use hyperfarm_e2e::{Scene, Up};
use hyperfarm_media::{Bitmap, Picture, PixelLayout, SegmentEncoder};
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::plan::EncoderSettings;
use hyperfarm_proto::spec::{Format, Quality, Size};
use hyperfarm_testing::Requirement;
use serde_json::{Value, json};

/// How long finding a face or rendering a few seconds may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(240);

const SCRIPT: &str = "Hello, and welcome. My name is Eileen, and today we talk about passwords.";

/// Frames a second of presenter videos.
const RATE: f64 = 25.0;

/// A file of the repository, by its path from this crate.
fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// An uploaded file of the repository, as other requests name it.
fn upload(farm: &Up, path: &str) -> Value {
    let file = file(path);
    let mut command = Command::new("curl");
    command.args(["-sS", "-H", &format!("x-api-key: {KEY}"), "-F", &format!("file=@{}", file.display())]);
    let answer = command.arg(format!("{}/v3/assets", farm.url())).output().unwrap();
    let answer: Value = serde_json::from_slice(&answer.stdout).unwrap();
    json!({ "type": "asset_id", "asset_id": answer["data"]["asset_id"] })
}

pub(crate) fn has_espeak() -> bool {
    let found = Command::new("espeak-ng").arg("--version").output().is_ok();
    if !found {
        Requirement::Servers.skip("espeak-ng is not installed");
    }
    found
}

/// Waits until the thing at `path` has ended, and returns it.
fn ended(farm: &Up, path: &str) -> Value {
    let mut seen = Value::Null;
    wait_until(PATIENCE, || {
        seen = farm.request("GET", path, None)["data"].clone();
        seen["status"] == "completed" || seen["status"] == "failed"
    });
    seen
}

/// The project of a video: the newest bundle in the farm's storage.
fn project(scene: &Scene) -> PathBuf {
    let bundles = std::fs::read_dir(scene.path("data").join("bundles")).unwrap().map(|entry| entry.unwrap().path());
    bundles.max_by_key(|path| path.metadata().unwrap().modified().unwrap()).unwrap()
}

/// A part of a picture, in shares of its size.
#[derive(Clone, Copy)]
struct Part {
    x: (f64, f64),
    y: (f64, f64),
}

/// How many pixels below its place in the first picture a part of each picture is.
fn shifts(film: &[Picture], part: Part, most: i64) -> Vec<f64> {
    let (width, height) = (film[0].size.width as usize, film[0].size.height as usize);
    let across = (part.x.0 * width as f64) as usize..(part.x.1 * width as f64) as usize;
    let down = (part.y.0 * height as f64) as i64..(part.y.1 * height as f64) as i64;
    let row = |picture: &Picture, y: i64| -> Vec<i64> {
        across
            .clone()
            .map(|x| picture.pixel(x as u32, y as u32).map_or(0, |[_, green, _, _]| i64::from(green)))
            .collect()
    };
    let template: Vec<Vec<i64>> = down.clone().map(|y| row(&film[0], y)).collect();
    film.iter()
        .map(|picture| {
            let difference = |shift: &i64| -> i64 {
                let rows = down.clone().zip(&template);
                rows.map(|(y, first)| {
                    row(picture, y + shift).iter().zip(first).map(|(a, b)| (a - b).abs()).sum::<i64>()
                })
                .sum()
            };
            (-most..=most).min_by_key(difference).unwrap() as f64
        })
        .collect()
}

/// The loudness of a sound of 48 kHz in each frame of a film.
fn envelope(samples: &[[f32; 2]], frames: usize) -> Vec<f64> {
    let of_frame = |frame: usize| {
        let at = |frame: usize| ((frame as f64 * 48_000.0 / RATE) as usize).min(samples.len());
        let part = &samples[at(frame)..at(frame + 1)];
        (part.iter().map(|[left, _]| f64::from(left * left)).sum::<f64>() / part.len().max(1) as f64).sqrt()
    };
    (0..frames).map(of_frame).collect()
}

fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let sum = |f: &dyn Fn(f64, f64) -> f64| a.iter().zip(b).map(|(a, b)| f(a - mean_a, b - mean_b)).sum::<f64>();
    sum(&|a, b| a * b) / (sum(&|a, _| a * a) * sum(&|_, b| b * b)).sqrt()
}

#[test]
fn a_photo_speaks() {
    if !has_espeak() {
        return;
    }
    let scene = Scene::new();
    let farm = Up::start(&scene, &[]);
    let client = |args: &[&str]| farm.client(&scene, args);
    let photo = file("presenter/astronaut.jpg");
    let found = client(&["avatars", "create", text(&photo), "--name", "Eileen", "--wait"]).json();
    assert_eq!(found["status"], "completed", "{found}");
    let look = found["id"].as_str().unwrap();
    let group = found["group_id"].as_str().unwrap();
    let renamed = client(&["avatars", "rename", group, "Colonel Collins"]).json();
    assert_eq!((&renamed["name"], &renamed["looks_count"]), (&json!("Colonel Collins"), &json!(1)), "{renamed}");
    let looks = client(&["avatars", "looks", "list", "--group", group]).json();
    assert_eq!((&looks[0]["id"], &looks[1]), (&json!(look), &Value::Null), "{looks}");

    let video_file = scene.path("video.mp4");
    let create = ["videos", "create", "--avatar", look, "--title", "Passwords", "-o", text(&video_file)];
    let script = ["--script", SCRIPT, "--voice", "espeak_en-us_f2", "--speed", "0.9"];
    let shape = ["--resolution", "720p", "--aspect-ratio", "1:1"];
    let video = client(&[&create[..], &script, &shape].concat()).json();
    let bundle = project(&scene);
    assert_eq!(video["status"], "completed", "{video}");
    let listed = client(&["videos", "list", "--title", "password"]).json();
    assert_eq!(listed[0]["id"], video["id"], "{listed}");
    let none = client(&[&create[..], &script, &["--audio", text(&video_file)]].concat());
    assert!(none.code == Some(2) && none.stderr.contains("--audio"), "{}", none.stderr);
    let subtitles = scene.path("captions.srt");
    let url = video["subtitle_url"].as_str().unwrap();
    assert!(Command::new("curl").args(["-sSf", "-o"]).arg(&subtitles).arg(url).status().unwrap().success(), "{url}");
    let subtitles = std::fs::read_to_string(&subtitles).unwrap();
    assert!(subtitles.contains("Hello, and welcome.") && subtitles.contains("passwords."), "{subtitles}");
    drop(farm);

    // The same project in one chunk and in several.
    let render = |name: &str, frames: &str| {
        scene.render(&bundle, name, &["--chunk-frames", frames, "--now", "2026-11-28T20:00:00Z"]).1
    };
    let (whole, cut) = (render("whole", "100000"), render("cut", "40"));
    assert!(whole.segments.len() == 1 && cut.segments.len() > 2);
    assert!(cut.segments.iter().all(|segment| segment.timings.visited_frames == 0), "the page is stateless");
    assert!(whole.frame_hashes().eq(cut.frame_hashes()), "frames differ between one chunk and several");

    let film = pictures(&video_file);
    // The photo fills the picture: its edge stays as it is while the head moves.
    let width = film[0].size.width;
    let edge = |picture: &Picture| -> Vec<i64> {
        (0..width).map(|x| picture.pixel(x, 0).map_or(0, |[_, green, _, _]| i64::from(green))).collect()
    };
    let first = edge(&film[0]);
    let change = |picture: &Picture| -> i64 { edge(picture).iter().zip(&first).map(|(a, b)| (a - b).abs()).sum() };
    let most = film.iter().map(change).max().unwrap() as f64 / f64::from(width);
    assert!(most < 4.0, "the upper edge changes by {most}");
    let sound = hyperfarm_media::decode_audio(&video_file).unwrap();
    // The lower lip with the chin, and the nose, which moves with the head only.
    let lip = shifts(&film, Part { x: (0.406, 0.477), y: (0.3, 0.336) }, 24);
    let nose = shifts(&film, Part { x: (0.406, 0.469), y: (0.219, 0.25) }, 24);
    let mouth: Vec<f64> = lip.iter().zip(&nose).map(|(lip, nose)| lip - nose).collect();
    let loud = envelope(&sound, film.len());
    let at_lag = |lag: i64| {
        let pairs = (0..film.len() as i64).filter_map(|frame| {
            let at = usize::try_from(frame + lag).ok().filter(|at| *at < film.len())?;
            Some((mouth[at], loud[frame as usize]))
        });
        let (mouth, loud): (Vec<f64>, Vec<f64>) = pairs.unzip();
        correlation(&mouth, &loud)
    };
    let lags: Vec<(i64, f64)> = (-4..=4).map(|lag| (lag, at_lag(lag))).collect();
    println!("mouth against loudness, by frames that the mouth is late: {lags:.3?}");
    let (lag, best) = lags.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    assert!(lag.abs() <= 1, "the mouth is {lag} frames late");
    assert!(best >= 0.75, "the mouth follows the sound by {best}");
}

/// A film of 64 by 64 pixels: green for a second, then blue for a second.
fn two_colours(path: &Path) {
    let (size, rate) = (Size { width: 64, height: 64 }, FrameRate::new(25, 1).unwrap());
    let settings = EncoderSettings::of(Format::Mp4, Quality::High, rate);
    let mut encoder = SegmentEncoder::create(path, &settings, size, rate).unwrap();
    for frame in 0..50 {
        let data = (if frame < 25 { [0, 200, 0, 255] } else { [200, 0, 0, 255] }).repeat(64 * 64);
        encoder.push(&Bitmap { data: &data, stride: 64 * 4, size, layout: PixelLayout::Bgra }).unwrap();
    }
    encoder.finish().unwrap();
}

#[test]
fn a_person_is_cut_out_before_a_film() {
    if !has_espeak() {
        return;
    }
    let scene = Scene::new();
    let farm = Up::start(&scene, &[]);
    let client = |args: &[&str]| farm.client(&scene, args).json();
    let (film, sound, output) = (scene.path("film.mp4"), scene.path("speech.wav"), scene.path("video.mp4"));
    let text_of_speech = "Guten Tag, und willkommen zur Schulung.";
    let speech = client(&["voices", "speak", text_of_speech, "--voice", "espeak_de_f1", "-o", text(&sound)]);
    two_colours(&film);
    let photo = file("presenter/astronaut.jpg");
    let create = ["videos", "create", "--image", text(&photo), "--remove-background", "--background", text(&film)];
    let rest = ["--audio", text(&sound), "--resolution", "720p", "--aspect-ratio", "9:16", "-o", text(&output)];
    let video = client(&[&create[..], &rest].concat());
    assert_eq!(video["status"], "completed", "{video}");
    // It ends a little after the sound, whose length only its page knows.
    let after = video["duration"].as_f64().unwrap() - speech["duration"].as_f64().unwrap();
    assert!((0.36..0.48).contains(&after), "{video} {speech}");
    let bundle = project(&scene);
    drop(farm);
    let render = |name: &str, frames: &str| scene.render(&bundle, name, &["--chunk-frames", frames]).1;
    let (whole, cut) = (render("whole", "100000"), render("cut", "20"));
    assert!(whole.segments.len() == 1 && cut.segments.len() > 2);
    assert!(whole.frame_hashes().eq(cut.frame_hashes()), "frames differ between one chunk and several");

    // The photo is 720 pixels wide and lies at the bottom. The film is seen above it, and in it beside the head.
    let pictures = pictures(&output);
    assert!(pictures.len() > 50, "{} frames", pictures.len());
    for (frame, picture) in pictures.iter().enumerate() {
        let is_green = frame % 50 < 25;
        for (x, y) in [(360, 100), (20, 600), (120, 660), (600, 660), (690, 820)] {
            let [blue, green, red, _] = picture.pixel(x, y).unwrap();
            let (seen, other) = if is_green { (green, blue) } else { (blue, green) };
            assert!(seen > 150 && other < 60 && red < 60, "frame {frame} at {x},{y}: {:?}", [red, green, blue]);
        }
        // The forehead, and the orange suit.
        for (x, y) in [(314, 720), (120, 1136)] {
            let [blue, green, red, _] = picture.pixel(x, y).unwrap();
            assert!(red > 150 && red > green && green > blue, "frame {frame} at {x},{y}: {:?}", [red, green, blue]);
        }
    }
}

#[test]
fn a_photo_without_a_face_is_the_clients_error() {
    let scene = Scene::new();
    let farm = Up::start(&scene, &[]);
    let photo = upload(&farm, "../docs/images/dashboard-render.png");
    let made = farm.request("POST", "/v3/avatars", Some(&json!({ "type": "photo", "name": "Nobody", "file": photo })));
    let look = made["data"]["avatar_item"]["id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
    let found = ended(&farm, &format!("/v3/avatars/looks/{look}"));
    assert_eq!(found["status"], "failed", "{found}");
    assert!(found["failure_message"].as_str().unwrap().contains("shows no face"), "{found}");
}
