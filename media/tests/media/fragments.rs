//! Pieces for players against the output that a join makes of the same segments.

use std::fs;
use std::path::{Path, PathBuf};

use ffmpeg_next as ffmpeg;
use hyperfarm_media::{
    MixInput, MixPart, SegmentFile, SegmentPosition, audio_fragments, count_packets, decode_audio, join, mix,
    video_fragment, video_header,
};
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::plan::EncoderSettings;
use hyperfarm_proto::spec::{Codec, Format, Quality, RenderSpec};

use crate::common::*;

/// Showing times in seconds, whether each begins a group, and the bytes of the pictures of a file.
fn packets(path: &Path) -> Vec<(f64, bool, Vec<u8>)> {
    let mut input = ffmpeg::format::input(path.to_str().unwrap()).unwrap();
    let stream = input.streams().best(ffmpeg::media::Type::Video).unwrap();
    let (index, base) = (stream.index(), f64::from(stream.time_base()));
    let mut packets = Vec::new();
    let mut packet = ffmpeg::Packet::empty();
    while packet.read(&mut input).is_ok() {
        if packet.stream() == index {
            let seconds = packet.pts().unwrap() as f64 * base;
            packets.push((seconds, packet.is_key(), packet.data().unwrap().to_vec()));
        }
    }
    packets
}

/// The pieces `wanted` of `segments` behind their header, as a player puts them together.
fn played(folder: &Path, segments: &[SegmentFile], rate: FrameRate, wanted: impl Iterator<Item = usize>) -> PathBuf {
    let total = segments.iter().map(|segment| segment.frames).sum();
    let place = |number: usize| {
        let first = segments[..number].iter().map(|segment| segment.frames).sum();
        SegmentPosition { first_frame: first, frames: segments[number].frames, total_frames: total, rate }
    };
    let mut bytes = video_header(&segments[0].path, 0, place(0), folder).unwrap();
    for number in wanted {
        bytes.extend(video_fragment(&segments[number].path, number as u32, place(number)).unwrap());
    }
    let path = folder.join("played.mp4");
    fs::write(&path, bytes).unwrap();
    path
}

fn check(settings: &EncoderSettings, rate: FrameRate, lengths: &[u64]) {
    let folder = folder();
    let mut from = 0;
    let segments: Vec<SegmentFile> = lengths
        .iter()
        .enumerate()
        .map(|(at, length)| {
            from += length;
            segment(folder.path(), &format!("part{at}"), settings, rate, from - length..from)
        })
        .collect();
    let output = folder.path().join(format!("joined.{}", settings.format));
    join(&segments, None, &output, settings, SMALL, rate, &|| true).unwrap();
    let film = played(folder.path(), &segments, rate, 0..segments.len());
    let (expected, found) = (packets(&output), packets(&film));
    assert_eq!(found.len(), expected.len());
    for (frame, (expected, found)) in expected.iter().zip(&found).enumerate() {
        // A webm counts milliseconds.
        let tolerance = if settings.format == Format::Webm { 6e-4 } else { 1e-9 };
        assert!((expected.0 - found.0).abs() < tolerance, "frame {frame}: {} and {}", expected.0, found.0);
        assert_eq!((expected.1, &expected.2), (found.1, &found.2), "frame {frame}");
    }
    assert_eq!(numbers_in(&film), (0..from).collect::<Vec<_>>());
    let count = count_packets(&film).unwrap();
    assert!(count.dts_increase && count.first_video_pts == Some(0.0), "{count:?}");

    // A player that begins in the middle.
    let last = segments.len() - 1;
    let late = packets(&played(folder.path(), &segments, rate, last..=last));
    let start = rate.seconds_of(from - lengths[last]);
    assert!((late[0].0 - start).abs() < 1e-4, "{} and {start}", late[0].0);
}

#[test]
fn pieces_hold_the_outputs_packets_at_the_outputs_times() {
    check(&thorough(), rate(30, 1), &[5, 1, 2, 7, 24]);
    check(&thorough(), rate(24_000, 1001), &[9, 8]);
    check(&quick(Format::Webm), rate(30, 1), &[4, 1, 7]);
    let spec = RenderSpec { codec: Some(Codec::H265), quality: Quality::Draft, ..RenderSpec::default() };
    let deep = RenderSpec { bit_depth: Some(10), ..spec.clone() };
    for spec in [spec, deep.clone(), RenderSpec { codec: Some(Codec::Av1), ..deep.clone() }] {
        check(&EncoderSettings::for_spec(&spec, rate(30, 1)), rate(30, 1), &[6, 9]);
    }
    let webm = RenderSpec { codec: Some(Codec::Av1), format: Format::Webm, ..deep };
    check(&EncoderSettings::for_spec(&webm, rate(30, 1)), rate(30, 1), &[6, 9]);
}

#[test]
fn a_piece_of_too_few_frames_is_refused() {
    let folder = folder();
    let part = segment(folder.path(), "part", &thorough(), rate(30, 1), 0..5);
    let place = SegmentPosition { first_frame: 0, frames: 6, total_frames: 6, rate: rate(30, 1) };
    assert!(video_fragment(&part.path, 0, place).unwrap_err().to_string().contains("packets in the segment"));
}

#[test]
fn pieces_of_sound_sound_as_the_whole() {
    let folder = folder();
    let rate = rate(30, 1);
    let source = wav(folder.path(), "sound.wav", 48_000, 1, &sine(48_000, 3.0, 330.0, 0.5));
    let item = sound(timing(0.0, 3.0), &[]);
    for format in [Format::Mp4, Format::Webm] {
        let mixed = folder.path().join(format!("mix-{format}"));
        mix(
            None,
            &[MixInput { item: &item, path: &source, rendered: false }],
            &MixPart::whole(90, rate),
            format,
            &mixed,
            &mut |_| true,
        )
        .unwrap();
        let made = audio_fragments(&mixed, 1.0, folder.path()).unwrap();
        assert!((3..=4).contains(&made.fragments.len()), "{}", made.fragments.len());
        let seconds: f64 = made.fragments.iter().map(|(seconds, _)| seconds).sum();
        assert!((3.0..3.1).contains(&seconds), "{seconds}");
        let bytes: Vec<u8> =
            made.header.iter().chain(made.fragments.iter().flat_map(|(_, piece)| piece)).copied().collect();
        let path = folder.path().join("played.m4a");
        fs::write(&path, bytes).unwrap();
        let (whole, played) = (decode_audio(&mixed).unwrap(), decode_audio(&path).unwrap());
        assert!(played.len() >= whole.len(), "{format}: {} of {}", played.len(), whole.len());
        let different = whole.iter().zip(&played).position(|(a, b)| (a[0] - b[0]).abs() > 1e-6);
        assert_eq!(different, None, "{format}");
    }
}
