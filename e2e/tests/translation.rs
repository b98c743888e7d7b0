//! A translation on a farm in one process: the words of a SubRip file spoken by espeak-ng over a video, with the pictures and the
//! sounds that belong to each second, and equal frames in one chunk and in several.

#![allow(clippy::unwrap_used)]

use hyperfarm_e2e::scene::text;
use hyperfarm_e2e::{Scene, Up};
use hyperfarm_media::{SAMPLE_RATE, decode_audio};
use serde_json::json;

use crate::lipsync::{OLD, amplitude, numbers, old_video, project};
use crate::presenter::has_espeak;

/// Said over half a second of two in which there is time for a second of it.
const SRT: &str = "1\n00:00:00,600 --> 00:00:01,100\nBuenos días a todos ustedes, y bienvenidos a esta película.\n\n\
                   2\n00:00:01,600 --> 00:00:02,000\nAdiós.\n";

#[test]
fn a_video_speaks_another_language() {
    if !has_espeak() {
        return;
    }
    let scene = Scene::new();
    let clip = old_video(&scene);
    let srt = scene.write("words.srt", SRT);
    let farm = Up::start(&scene, &[]);
    let client = |args: &[&str]| farm.client(&scene, args).json();
    let languages = client(&["translations", "languages"]);
    assert!(languages["languages"].as_array().unwrap().contains(&json!("Spanish")), "{languages}");

    let output = scene.path("spanish.mp4");
    let create = ["translations", "create", "--video", text(&clip), "--to", "Spanish", "--srt", text(&srt)];
    let more = ["--srt-role", "output", "--captions", "--title", "Película", "-o", text(&output)];
    let made = client(&[&create[..], &more].concat());
    assert_eq!((&made["status"], &made["title"]), (&json!("completed"), &json!("Película")));
    let lasts = made["duration"].as_f64().unwrap();
    assert!(lasts > 2.3, "the pictures of the first words are played more slowly: {lasts} s");
    // Before the words the video is as it was, and so is its sound; where the voice speaks there is none of it.
    let shown = numbers(&output);
    assert_eq!(shown[..15], (0..15).collect::<Vec<u64>>());
    assert!(shown.is_sorted() && shown.last() == Some(&49), "{shown:?}");
    assert!((shown.len() as f64 / 25.0 - lasts).abs() < 0.05);
    let sound = decode_audio(&output).unwrap();
    let full = 8000.0 / 32768.0;
    // A loud voice turns the whole mix down.
    let before = amplitude(&sound, (0.1, 0.5), OLD);
    assert!((0.5..1.05).contains(&(before / full)), "{before}");
    let loud = |from: f64, to: f64| {
        let part = &sound[(from * f64::from(SAMPLE_RATE)) as usize..(to * f64::from(SAMPLE_RATE)) as usize];
        (part.iter().map(|[left, _]| f64::from(left * left)).sum::<f64>() / part.len() as f64).sqrt()
    };
    let during = amplitude(&sound, (0.7, 1.7), OLD);
    assert!(during < full * 0.05 && loud(0.7, 1.7) > 0.01, "{during} {}", loud(0.7, 1.7));

    let id = made["id"].as_str().unwrap();
    let caption = farm.request("GET", &format!("/v3/video-translations/{id}/caption?format=vtt"), None);
    assert!(caption["data"]["caption_url"].as_str().unwrap().contains("captions.vtt"), "{caption}");
    assert!(made["audio_url"].as_str().unwrap().contains("sound.wav"), "{made}");
    assert_eq!(client(&["translations", "list"])[0]["id"], *id);
    let bundle = project(&scene);
    drop(farm);
    let render = |name: &str, frames: &str| scene.render(&bundle, name, &["--fps", "25", "--chunk-frames", frames]).1;
    let (one, several) = (render("one", "100000"), render("several", "20"));
    assert!(one.segments.len() == 1 && several.segments.len() > 2);
    assert!(one.frame_hashes().eq(several.frame_hashes()), "frames differ between one chunk and several");
}
