//! Files that are not what they should be: a sentence each time, never a panic.

use std::fs;
use std::path::Path;

use hyperfarm_media::{
    MediaError, MixInput, MixPart, VideoSource, count_packets, decode_audio, decode_video, join, mix, probe, thumbnail,
};
use hyperfarm_proto::spec::Format;

use crate::common::*;

/// Every way in which a source is read.
fn all_ways(path: &Path, folder: &Path) -> Vec<MediaError> {
    let item = sound(timing(0.0, 1.0), &[]);
    let output = folder.join("output");
    let mixed = mix(
        None,
        &[MixInput { item: &item, path, rendered: false }],
        &MixPart::whole(30, rate(30, 1)),
        Format::Mp4,
        &output,
        &mut |_| true,
    );
    let errors = vec![
        probe(path).unwrap_err(),
        count_packets(path).unwrap_err(),
        decode_video(path, &mut |_, _| true).unwrap_err(),
        decode_audio(path).unwrap_err(),
        VideoSource::open(path, &timing(0.0, 1.0), rate(30, 1)).unwrap_err(),
        thumbnail(path, 0.0, 100, &output).unwrap_err(),
        mixed.unwrap_err(),
    ];
    assert!(!output.exists());
    errors
}

#[test]
fn bad_files_are_named_and_explained() {
    let folder = folder();
    let good = fs::read(segment(folder.path(), "good", &thorough(), rate(30, 1), 0..30).path).unwrap();
    let cases: [(&str, &[u8], &str); 7] = [
        ("empty.mp4", b"", "empty"),
        ("page.mp4", b"<!DOCTYPE html><html><body>404 Not Found</body></html>", "HTML page"),
        ("error.webm", b"{\"error\":\"denied\"}", "JSON"),
        ("list.mp4", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "playlist"),
        ("noise.mp4", &[0x5a; 5000], "no format that is known"),
        ("zeros.mp4", &[0; 5000], "zeros"),
        ("headless.mp4", &good[..good.len() / 2], "cut off"),
    ];
    for (name, bytes, says) in cases {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        for error in all_ways(&path, folder.path()) {
            assert!(error.is_input(), "{name}: {error:?}");
            let text = error.to_string();
            assert!(text.contains(name) && text.contains(says), "{name}: {text}");
        }
    }
}

#[test]
fn a_file_cut_after_its_index_says_by_how_much() {
    let folder = folder();
    let part = segment(folder.path(), "part", &thorough(), rate(30, 1), 0..30);
    let whole = folder.path().join("whole.mp4");
    join(&[part], None, &whole, &thorough(), SMALL, rate(30, 1), &|| true).unwrap();
    let bytes = fs::read(&whole).unwrap();
    let path = folder.path().join("cut.mp4");
    fs::write(&path, &bytes[..bytes.len() * 2 / 3]).unwrap();
    let error = VideoSource::open(&path, &timing(0.0, 1.0), rate(30, 1)).unwrap_err();
    assert!(matches!(error, MediaError::Truncated { .. }) && error.is_input(), "{error}");
    // WebM has no such index: what is there plays.
    let webm = segment(folder.path(), "webm", &quick(Format::Webm), rate(30, 1), 0..30).path;
    let bytes = fs::read(&webm).unwrap();
    fs::write(&webm, &bytes[..bytes.len() / 2]).unwrap();
    let frames = decode_video(&webm, &mut |_, _| true).unwrap();
    assert!((1..30).contains(&frames), "{frames}");
}

#[test]
fn a_missing_file_is_ours_and_a_missing_stream_the_persons() {
    let folder = folder();
    for error in all_ways(&folder.path().join("gone.mp4"), folder.path()) {
        assert!(matches!(error, MediaError::Open { .. }) && !error.is_input(), "{error:?}");
    }
    assert!(matches!(probe(folder.path()).unwrap_err(), MediaError::Open { .. }));
    let silent = segment(folder.path(), "silent", &thorough(), rate(30, 1), 0..3).path;
    let error = decode_audio(&silent).unwrap_err();
    assert!(matches!(error, MediaError::NoStream { kind: "sound", .. }) && error.is_input());
    let blind = wav(folder.path(), "blind.wav", 48_000, 1, &sine(48_000, 0.1, 440.0, 0.1));
    let error = VideoSource::open(&blind, &timing(0.0, 1.0), rate(30, 1)).unwrap_err();
    assert!(matches!(error, MediaError::NoStream { kind: "picture", .. }) && error.is_input());
    let item = sound(hyperfarm_proto::plan::MediaTiming { media_start: 3.0, ..timing(0.0, 1.0) }, &[]);
    let inputs = [MixInput { item: &item, path: &blind, rendered: false }];
    let error =
        mix(None, &inputs, &MixPart::whole(30, rate(30, 1)), Format::Mp4, &folder.path().join("o"), &mut |_| true)
            .unwrap_err();
    assert!(matches!(error, MediaError::PastEnd { .. }), "{error}");
}

#[test]
fn damage_anywhere_is_survived() {
    let folder = folder();
    let sources = [
        segment(folder.path(), "h264", &thorough(), rate(30, 1), 0..20).path,
        segment(folder.path(), "vp9", &quick(Format::Webm), rate(30, 1), 0..20).path,
        segment(folder.path(), "prores", &quick(Format::Mov), rate(30, 1), 0..4).path,
    ];
    let mut state = 1_u64;
    for source in sources {
        let bytes = fs::read(&source).unwrap();
        for round in 0..120 {
            let mut damaged = bytes.clone();
            // Every other time where the headers are: there damage becomes tags, sizes and counts.
            let (from, length) = match round % 4 {
                0 | 1 => (0, bytes.len()),
                2 => (0, bytes.len().min(700)),
                _ => (bytes.len().saturating_sub(1200), bytes.len().min(1200)),
            };
            for _ in 0..20 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let at = from + (state >> 33) as usize % length;
                damaged[at] = (state >> 20) as u8;
            }
            let path = folder.path().join("damaged");
            fs::write(&path, &damaged).unwrap();
            // An answer or an error; what matters is that there is one.
            let _ = probe(&path);
            let _ = count_packets(&path);
            let _ = decode_audio(&path);
            let _ = decode_video(&path, &mut |_, _| true);
            if let Ok(mut source) = VideoSource::open(&path, &timing(0.0, 1.0), rate(30, 1)) {
                for frame in [19, 0, 7] {
                    let _ = source.picture(frame);
                }
            }
        }
    }
}
