//! Many segments, one output.

use std::fs;
use std::path::Path;

use hyperfarm_media::{
    JoinSummary, MediaError, MixInput, MixPart, SegmentFile, compare, count_packets, count_packets_while, decode_audio,
    decode_video, join, mix, probe,
};
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::plan::EncoderSettings;
use hyperfarm_proto::spec::{Format, Quality};

use crate::common::*;

/// Segments of `lengths` frames that count on.
fn segments(folder: &Path, settings: &EncoderSettings, rate: FrameRate, lengths: &[u64]) -> Vec<SegmentFile> {
    let mut from = 0;
    lengths
        .iter()
        .enumerate()
        .map(|(at, length)| {
            let file = segment(folder, &format!("part{at}"), settings, rate, from..from + length);
            from += length;
            file
        })
        .collect()
}

#[test]
fn any_number_of_segments_gives_every_frame_once_in_order() {
    let folder = folder();
    for (settings, lengths) in [
        (thorough(), &[24_u64] as &[u64]),
        (thorough(), &[13, 11]),
        (thorough(), &[5, 1, 2, 7, 3, 14, 30, 1]),
        (quick(Format::Webm), &[4, 1, 7]),
        (quick(Format::Mov), &[3, 1, 4]),
    ] {
        let rate = rate(30, 1);
        let files = segments(folder.path(), &settings, rate, lengths);
        let frames: u64 = lengths.iter().sum();
        let output = folder.path().join(format!("joined.{}", settings.format));
        let summary = join(&files, None, &output, &settings, SMALL, rate, &|| true).unwrap();
        let duration_seconds = frames as f64 / 30.0;
        assert_eq!(summary, JoinSummary { video_packets: frames, audio_samples: 0, duration_seconds });
        assert_eq!(numbers_in(&output), (0..frames).collect::<Vec<_>>(), "{lengths:?}");
        let count = count_packets(&output).unwrap();
        assert!(count.frames_contiguous && count.dts_increase, "{lengths:?}: {count:?}");
        assert_eq!(count.first_video_pts, Some(0.0));
        assert!((count.video_end.unwrap() - duration_seconds).abs() < 6e-4);
        let mut seam = 0;
        for length in lengths {
            assert!(count.key_frames.contains(&seam), "no key frame at {seam}");
            seam += length;
        }
    }
}

#[test]
fn outputs_say_the_exact_rate_and_duration() {
    let folder = folder();
    for (format, rate, lengths) in [
        (Format::Mp4, rate(24, 1), [17, 8]),
        (Format::Mp4, rate(24_000, 1001), [9, 11]),
        (Format::Mp4, rate(24_000, 1001), [9, 8]),
        (Format::Mp4, rate(30_000, 1001), [9, 8]),
        (Format::Mp4, rate(60_000, 1001), [9, 8]),
        (Format::Mp4, rate(60, 1), [9, 8]),
        (Format::Webm, rate(60_000, 1001), [9, 8]),
        (Format::Webm, rate(24_000, 1001), [9, 8]),
        (Format::Mov, rate(30_000, 1001), [3, 4]),
    ] {
        let settings = if format == Format::Mp4 { thorough() } else { quick(format) };
        let files = segments(folder.path(), &settings, rate, &lengths);
        let frames = lengths[0] + lengths[1];
        let output = folder.path().join(format!("rate.{format}"));
        join(&files, None, &output, &settings, SMALL, rate, &|| true).unwrap();
        let info = probe(&output).unwrap();
        let video = info.video.unwrap();
        assert_eq!(video.frame_rate, Some(rate), "{format}");
        assert!(
            (info.duration.unwrap() - rate.seconds_of(frames)).abs() < 6e-4,
            "{format} {rate}: {:?}",
            info.duration
        );
        assert_eq!(
            [video.color.primaries, video.color.transfer, video.color.matrix, video.color.range],
            ["bt709", "bt709", "bt709", "tv"]
        );
        if format == Format::Mp4 {
            let usual = 90_000 * u64::from(rate.den()) * frames % u64::from(rate.num()) == 0;
            assert_eq!(video.time_base.1 == 90_000, usual, "{rate}: {:?}", video.time_base);
        }
        let count = count_packets(&output).unwrap();
        assert!(count.frames_contiguous && count.dts_increase, "{format} {rate}: {count:?}");
    }
}

#[test]
fn mp4_starts_with_its_index_and_carries_colr() {
    let folder = folder();
    let files = segments(folder.path(), &thorough(), rate(30, 1), &[4, 4]);
    let output = folder.path().join("fast.mp4");
    join(&files, None, &output, &thorough(), SMALL, rate(30, 1), &|| true).unwrap();
    let bytes = fs::read(&output).unwrap();
    let find = |name: &[u8]| bytes.windows(name.len()).position(|window| window == name).unwrap();
    assert!(find(b"moov") < find(b"mdat"));
    // nclx with primaries, transfer and matrix 1 and no full-range flag.
    assert_eq!(bytes[find(b"colrnclx") + 8..][..7], [0, 1, 0, 1, 0, 1, 0]);
    assert!(!String::from_utf8_lossy(&bytes).contains("Lavf"));
    let again = folder.path().join("again.mp4");
    join(&files, None, &again, &thorough(), SMALL, rate(30, 1), &|| true).unwrap();
    assert!(fs::read(again).unwrap() == bytes);
}

#[test]
fn alpha_of_vp9_survives_the_join() {
    let folder = folder();
    let settings = settings(Format::Webm, Quality::High);
    let picture = |number: u64| {
        let mut picture = numbered(number, SMALL);
        for (at, pixel) in picture.bgra.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            pixel[3] = if at % 128 < 64 { 255 } else { (40 * number) as u8 };
        }
        picture
    };
    let mut files = Vec::new();
    for part in 0..2 {
        let path = folder.path().join(format!("alpha{part}.webm"));
        let mut encoder = hyperfarm_media::SegmentEncoder::create(&path, &settings, SMALL, rate(30, 1)).unwrap();
        for number in part * 3..part * 3 + 3 {
            encoder.push(&picture(number).as_bitmap()).unwrap();
        }
        encoder.finish().unwrap();
        files.push(SegmentFile { path, frames: 3 });
    }
    let output = folder.path().join("alpha.webm");
    join(&files, None, &output, &settings, SMALL, rate(30, 1), &|| true).unwrap();
    assert!(probe(&output).unwrap().video.unwrap().has_alpha);
    let frames = decode_video(&output, &mut |at, decoded| {
        assert_eq!(number_of(decoded), at);
        let psnr = compare::alpha_psnr(decoded, &picture(at));
        assert!(psnr > 35.0, "frame {at}: alpha {psnr}");
        true
    });
    assert_eq!(frames.unwrap(), 6);
}

#[test]
fn sound_and_pictures_lie_beside_each_other_to_the_sample() {
    let folder = folder();
    // A click every half second.
    let mut samples = vec![0.0; 48_000 * 3];
    for click in 0..6 {
        samples[click * 24_000..click * 24_000 + 24].fill(0.9);
    }
    let source = wav(folder.path(), "clicks.wav", 48_000, 1, &samples);
    let rate = rate(30_000, 1001);
    let item = sound(timing(0.0, 3.0), &[]);
    for format in [Format::Mp4, Format::Webm, Format::Mov] {
        let settings = if format == Format::Mp4 { thorough() } else { quick(format) };
        let files = segments(folder.path(), &settings, rate, &[31, 1, 28]);
        let mixed = folder.path().join(format!("mix-{format}"));
        let inputs = [MixInput { item: &item, path: &source, rendered: false }];
        mix(None, &inputs, &MixPart::whole(60, rate), format, &mixed, &mut |_| true).unwrap();
        let output = folder.path().join(format!("both.{format}"));
        let summary = join(&files, Some(mixed.as_path()), &output, &settings, SMALL, rate, &|| true).unwrap();
        let want = rate.samples_of(60, 48_000);
        assert_eq!((summary.video_packets, summary.audio_samples), (60, want), "{format}");
        let heard = decode_audio(&output).unwrap();
        assert_eq!(heard.len() as u64, want, "{format}");
        for click in 0..4 {
            // The first sample of a click is where half of its level is first reached.
            let from = (click * 24_000_usize).saturating_sub(480);
            let at = from + heard[from..].iter().position(|sample| sample[0] > 0.4).unwrap();
            assert!(at.abs_diff(click * 24_000) <= 48, "{format}: click {click} at {at}");
        }
        let info = probe(&output).unwrap();
        assert_eq!(info.video.unwrap().frame_rate, Some(rate));
        // In WebM the codec's delay counts as well.
        let most = if format == Format::Webm { 9e-3 } else { 1e-3 };
        assert!((info.duration.unwrap() - 2.002).abs() < most, "{format}: {:?}", info.duration);
        let count = count_packets(&output).unwrap();
        assert_eq!((count.video, count.audio_samples, count.first_video_pts), (60, want, Some(0.0)), "{format}");
        assert_eq!(numbers_in(&output), (0..60).collect::<Vec<_>>());
    }
}

#[test]
fn wrong_parts_are_refused_and_leave_nothing() {
    let folder = folder();
    let rate = rate(30, 1);
    let mut files = segments(folder.path(), &thorough(), rate, &[6, 6]);
    let output = folder.path().join("wrong.mp4");
    let refuse = |files: &[SegmentFile]| {
        let error = join(files, None, &output, &thorough(), SMALL, rate, &|| true).unwrap_err();
        assert!(!error.is_input() && !output.exists(), "{error}");
        error
    };
    files[1].frames = 7;
    assert!(matches!(refuse(&files), MediaError::Frames { expected: 7, found: 6, .. }));
    files[1].frames = 5;
    assert!(matches!(refuse(&files), MediaError::Frames { .. }));
    let other = segment(folder.path(), "other", &settings(Format::Mp4, Quality::Draft), rate, 6..12);
    assert!(matches!(refuse(&[files[0].clone(), other]), MediaError::Headers { .. }));
    files[1] = SegmentFile { path: folder.path().join("missing.mp4"), frames: 6 };
    assert!(matches!(refuse(&files), MediaError::Part(_)));
    assert!(matches!(refuse(&[]), MediaError::Nothing { .. }));
}

#[test]
fn a_join_and_a_count_stop_at_the_packet_at_which_they_are_told_to() {
    let folder = folder();
    let (settings, rate) = (thorough(), rate(30, 1));
    let files = segments(folder.path(), &settings, rate, &[20, 20]);
    let output = folder.path().join("joined.mp4");
    let asked = std::cell::Cell::new(0);
    let going_on = || {
        asked.set(asked.get() + 1);
        asked.get() < 25
    };
    let stopped = join(&files, None, &output, &settings, SMALL, rate, &going_on);
    assert!(matches!(stopped, Err(MediaError::Stopped)) && !output.exists());
    assert_eq!(asked.replace(0), 25);
    join(&files, None, &output, &settings, SMALL, rate, &|| true).unwrap();
    assert!(matches!(count_packets_while(&output, &going_on), Err(MediaError::Stopped)));
    assert_eq!(asked.get(), 25);
}
