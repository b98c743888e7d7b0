//! Lipsyncs on a farm in one process: an old video with a new sound, at the length of the sound and in a part of it, with equal
//! frames in one chunk and in several, and the sounds that belong to each second.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hyperfarm_e2e::cluster::KEY;
use hyperfarm_e2e::footage::{Footage, number_in};
use hyperfarm_e2e::pictures::pictures;
use hyperfarm_e2e::scene::{text, wait_until};
use hyperfarm_e2e::{Scene, Up};
use hyperfarm_media::{SAMPLE_RATE, decode_audio};
use hyperfarm_testing::wav;
use serde_json::{Value, json};

/// How long rendering a few seconds may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(240);

/// Pitch of the video's own sound, and of the new one.
pub(crate) const OLD: f64 = 440.0;
const NEW: f64 = 1000.0;

/// A WAV file of a tone at 48 kHz.
fn tone(hertz: f64, seconds: f64) -> Vec<u8> {
    let rate = f64::from(SAMPLE_RATE);
    let sample = |at: u32| (8000.0 * (f64::from(at) * hertz * std::f64::consts::TAU / rate).sin()) as i16;
    wav(SAMPLE_RATE, (0..(seconds * rate) as u32).map(sample))
}

/// Amplitude of a pitch in a part of a sound, given in seconds.
pub(crate) fn amplitude(sound: &[[f32; 2]], (from, to): (f64, f64), hertz: f64) -> f64 {
    let rate = f64::from(SAMPLE_RATE);
    let (first, last) = ((from * rate) as usize, (to * rate) as usize);
    let turn = hertz * std::f64::consts::TAU / rate;
    let (mut sine, mut cosine) = (0.0, 0.0);
    for (index, [left, _]) in sound[first..last].iter().enumerate() {
        sine += f64::from(*left) * (index as f64 * turn).sin();
        cosine += f64::from(*left) * (index as f64 * turn).cos();
    }
    2.0 * f64::hypot(sine, cosine) / (last - first) as f64
}

/// An uploaded file, as other requests name it.
fn upload(farm: &Up, file: &Path) -> Value {
    let mut command = Command::new("curl");
    command.args(["-sS", "-H", &format!("x-api-key: {KEY}"), "-F", &format!("file=@{}", file.display())]);
    let answer = command.arg(format!("{}/v3/assets", farm.url())).output().unwrap();
    let answer: Value = serde_json::from_slice(&answer.stdout).unwrap();
    json!({ "type": "asset_id", "asset_id": answer["data"]["asset_id"] })
}

/// The completed lipsync of a request, and its file.
fn made(scene: &Scene, farm: &Up, name: &str, asked: &Value) -> (Value, PathBuf) {
    let created = farm.request("POST", "/v3/lipsyncs", Some(asked));
    let id = created["data"]["lipsync_id"].as_str().unwrap_or_else(|| panic!("{created}")).to_owned();
    let mut seen = Value::Null;
    wait_until(PATIENCE, || {
        seen = farm.request("GET", &format!("/v3/lipsyncs/{id}"), None)["data"].clone();
        seen["status"] == "completed" || seen["status"] == "failed"
    });
    assert_eq!(seen["status"], "completed", "{seen}");
    let file = scene.path(name);
    let url = seen["video_url"].as_str().unwrap();
    assert!(Command::new("curl").args(["-sSf", "-o"]).arg(&file).arg(url).status().unwrap().success(), "{url}");
    (seen, file)
}

/// The numbers of the frames that a video shows.
pub(crate) fn numbers(video: &Path) -> Vec<u64> {
    let read = |picture| number_in(picture, (0, 0), (128, 64)).expect("a number");
    pictures(video).iter().map(read).collect()
}

/// The project of the newest render: the newest bundle in the farm's storage.
pub(crate) fn project(scene: &Scene) -> PathBuf {
    let bundles = std::fs::read_dir(scene.path("data").join("bundles")).unwrap().map(|entry| entry.unwrap().path());
    bundles.max_by_key(|path| path.metadata().unwrap().modified().unwrap()).unwrap()
}

/// A video of two seconds at 25 frames a second, whose frames show their numbers, with a tone.
pub(crate) fn old_video(scene: &Scene) -> PathBuf {
    let page = "<div id=\"root\" data-composition-id=\"main\" data-width=\"128\" data-height=\"64\" data-start=\"0\" \
                data-duration=\"2\" data-fps=\"25\" data-no-timeline>\
                <video id=\"film\" style=\"position:absolute;left:0;top:0;width:128px;height:64px\" src=\"film.mp4\" muted \
                data-start=\"0\" data-duration=\"2\" data-track-index=\"0\"></video>\
                <audio id=\"tone\" src=\"tone.wav\" data-start=\"0\" data-duration=\"2\" data-track-index=\"1\"></audio></div>";
    let folder = scene.project("old", &format!("<!doctype html><style>*{{margin:0}}</style><body>{page}</body>"));
    Footage::h264(25, 1, 50).write(&folder.join("film.mp4"));
    std::fs::write(folder.join("tone.wav"), tone(OLD, 2.0)).unwrap();
    scene.render(&folder, "clip", &["--quality", "high"]).0
}

#[test]
fn an_old_video_gets_a_new_sound() {
    let scene = Scene::new();
    let clip = old_video(&scene);
    assert_eq!(numbers(&clip), (0..50).collect::<Vec<u64>>());
    let (long, short) = (scene.write("long.wav", tone(NEW, 3.2)), scene.write("short.wav", tone(NEW, 0.4)));
    let farm = Up::start(&scene, &[]);
    let client = |args: &[&str]| farm.client(&scene, args).json();

    // The video is played more slowly: its frames are those of the same share of its length.
    let whole = scene.path("whole.mp4");
    let create = ["lipsyncs", "create", "--video", text(&clip), "--audio", text(&long), "--mode", "speed"];
    let lipsync = client(&[&create[..], &["--title", "Dub", "-o", text(&whole)]].concat());
    assert_eq!((&lipsync["duration"], &lipsync["title"]), (&json!(3.2), &json!("Dub")));
    let id = lipsync["id"].as_str().unwrap();
    assert_eq!(client(&["lipsyncs", "rename", id, "Dubbed"])["title"], "Dubbed");
    let again = scene.path("again.mp4");
    assert!(farm.client(&scene, &["lipsyncs", "download", id, "-o", text(&again)]).code == Some(0));
    assert_eq!(std::fs::read(&again).unwrap(), std::fs::read(&whole).unwrap());
    let expected: Vec<u64> = (0..80).map(|frame| frame * 5 / 8).collect();
    assert_eq!(numbers(&whole), expected);
    let sound = decode_audio(&whole).unwrap();
    assert_eq!(sound.len(), (3.2 * f64::from(SAMPLE_RATE)) as usize);
    let full = 8000.0 / 32768.0;
    for from in [0.1, 1.5, 3.0] {
        let heard = amplitude(&sound, (from, from + 0.1), NEW);
        assert!((heard / full - 1.0).abs() < 0.05, "the new sound has {heard} at {from} s");
        let old = amplitude(&sound, (from, from + 0.1), OLD);
        assert!(old < 0.002, "the old sound has {old} at {from} s");
    }
    let bundle = project(&scene);

    // A part: what is around it keeps its frames and its sound.
    let asked = json!({
        "video": upload(&farm, &clip), "audio": upload(&farm, &short), "start_time": 0.4, "end_time": 1.2, "enable_dynamic_duration": false,
    });
    let (lipsync, part) = made(&scene, &farm, "part.mp4", &asked);
    assert_eq!(lipsync["duration"], json!(2.0));
    assert_eq!(numbers(&part), (0..50).collect::<Vec<u64>>());
    let sound = decode_audio(&part).unwrap();
    for (from, old, new) in [(0.1, true, false), (0.5, false, true), (0.9, false, false), (1.5, true, false)] {
        for (pitch, is_heard) in [(OLD, old), (NEW, new)] {
            let heard = amplitude(&sound, (from, from + 0.2), pitch);
            let is_right = if is_heard { (heard / full - 1.0).abs() < 0.05 } else { heard < 0.002 };
            assert!(is_right, "{pitch} Hz has {heard} at {from} s");
        }
    }
    let listed = client(&["lipsyncs", "list"]);
    assert_eq!((&listed[0]["id"], &listed[1]["title"]), (&lipsync["id"], &json!("Dubbed")), "{listed}");
    assert_eq!(client(&["lipsyncs", "delete", id])["id"], *id);
    assert_eq!(client(&["lipsyncs", "list"])[1], Value::Null);
    drop(farm);

    // The same project in one chunk and in several.
    let render = |name: &str, frames: &str| scene.render(&bundle, name, &["--fps", "25", "--chunk-frames", frames]).1;
    let (one, several) = (render("one", "100000"), render("several", "25"));
    assert!(one.segments.len() == 1 && several.segments.len() > 2);
    assert!(several.segments.iter().all(|segment| segment.timings.visited_frames == 0), "the page is stateless");
    assert!(one.frame_hashes().eq(several.frame_hashes()), "frames differ between one chunk and several");
}
