//! A click track keeps its place through mixer, encoder, joiner and container.

use hyperfarm_media::{MixInput, MixPart, SegmentFile, decode_audio, join, mix};
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::plan::MediaTiming;
use hyperfarm_proto::spec::Format;

use crate::common::*;

/// One millisecond.
const CLOSE: usize = 48;

/// Renders `seconds` with a click at every full second and looks where the clicks are.
fn check(format: Format, rate: FrameRate, seconds: u64) {
    let folder = folder();
    let mut second = vec![0.0; 48_000];
    second[..24].fill(0.9);
    let source = wav(folder.path(), "click.wav", 48_000, 1, &second);
    let item = sound(MediaTiming { looped: true, ..timing(0.0, seconds as f64) }, &[]);
    let frames = rate.frames_in(seconds as f64);
    let settings = if format == Format::Mp4 { thorough() } else { quick(format) };
    // The same pictures again and again: what counts is their number.
    let part = segment(folder.path(), "part", &settings, rate, 0..frames.min(120));
    let mut files = vec![part.clone(); (frames / part.frames) as usize];
    let rest = frames % part.frames;
    if rest > 0 {
        files.push(segment(folder.path(), "rest", &settings, rate, 0..rest));
    }
    assert_eq!(files.iter().map(|file: &SegmentFile| file.frames).sum::<u64>(), frames);
    let mixed = folder.path().join("mix");
    let inputs = [MixInput { item: &item, path: &source, rendered: false }];
    mix(None, &inputs, &MixPart::whole(frames, rate), format, &mixed, &mut |_| true).unwrap();
    let output = folder.path().join(format!("both.{format}"));
    join(&files, Some(mixed.as_path()), &output, &settings, SMALL, rate, &|| true).unwrap();
    let heard = decode_audio(&output).unwrap();
    assert_eq!(heard.len() as u64, rate.samples_of(frames, 48_000), "{format} at {rate}");
    for click in 0..seconds as usize {
        let place = click * 48_000;
        let from = place.saturating_sub(4800);
        // The first sample at half of a click's level.
        let at = from + heard[from..].iter().position(|sample| sample[0] > 0.4).unwrap();
        assert!(at.abs_diff(place) <= CLOSE, "{format} at {rate}: click {click} is at sample {at}");
    }
}

#[test]
fn clicks_keep_their_place_at_every_rate() {
    for rate in [rate(24, 1), rate(30_000, 1001), rate(30, 1), rate(60, 1)] {
        for format in [Format::Mp4, Format::Webm, Format::Mov] {
            check(format, rate, 6);
        }
    }
}

#[test]
fn clicks_keep_their_place_for_ten_minutes() {
    check(Format::Mp4, rate(30_000, 1001), 610);
    check(Format::Webm, rate(24, 1), 130);
    check(Format::Mov, rate(60, 1), 130);
}
