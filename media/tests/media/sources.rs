//! Which picture of a source shows at which output frame.

use std::path::{Path, PathBuf};

use hyperfarm_media::{MediaError, SegmentEncoder, VideoSource, compare, decode_video, join, probe};
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::plan::{EncoderSettings, MediaTiming};
use hyperfarm_proto::spec::{Format, Size};

use crate::common::*;

/// A source of `frames` numbered pictures, with B-pictures in mp4 and several key frames.
fn source(folder: &Path, settings: &EncoderSettings, rate: FrameRate, frames: u64) -> PathBuf {
    let part = segment(folder, "part", settings, rate, 0..frames);
    let output = folder.join(format!("source-{}-{}.{}", rate.num(), rate.den(), settings.format));
    join(&[part], None, &output, settings, SMALL, rate, &|| true).unwrap();
    output
}

/// What should show at output frame `frame`, from first principles: picture `i` of the source begins at `i / fps` seconds, or half
/// a tick of `time_base` before that.
fn expected(frame: u64, timing: &MediaTiming, output: FrameRate, path: &Path, fps: FrameRate, frames: u64) -> u64 {
    let (num, den) = probe(path).unwrap().video.unwrap().time_base;
    let playable = fps.seconds_of(frames) - timing.media_start;
    let mut seconds = (output.seconds_of(frame) - timing.start) * timing.rate;
    if timing.looped {
        seconds = (seconds + 1e-10) % playable;
    }
    let last = (playable * output.as_f64()).round() - 1.0;
    let index = (seconds * output.as_f64() + 1e-9).floor().clamp(0.0, last);
    let begins = |picture: u64| {
        let seconds = fps.seconds_of(picture) - timing.media_start - f64::from(num) / f64::from(den) / 2.0;
        (seconds * output.as_f64()).ceil()
    };
    (0..frames).rev().find(|picture| begins(*picture) <= index).unwrap_or(0)
}

#[test]
fn pictures_follow_the_formula_walking_and_jumping() {
    let folder = folder();
    let sources = [rate(24_000, 1001), rate(25, 1), rate(30_000, 1001), rate(60, 1)];
    for fps in sources {
        let frames = 75;
        let path = source(folder.path(), &thorough(), fps, frames);
        for (speed, media_start, looped) in [
            (1.0, 0.0, false),
            (1.0, 0.51, false),
            (0.5, 0.3, false),
            (1.37, 0.0, false),
            (2.0, 0.25, false),
            (1.0, 0.4, true),
            (1.37, 0.1, true),
        ] {
            let timing = MediaTiming { start: 0.1, end: 9.0, media_start, rate: speed, looped };
            for output in [rate(30, 1), rate(30_000, 1001)] {
                let mut walk = VideoSource::open(&path, &timing, output).unwrap();
                let numbers: Vec<u64> = (0..150).map(|frame| number_of(&walk.picture(frame).unwrap())).collect();
                let want: Vec<u64> =
                    (0..150).map(|frame| expected(frame, &timing, output, &path, fps, frames)).collect();
                assert_eq!(numbers, want, "{fps} at {output}: {timing:?}");
                let mut jumps = VideoSource::open(&path, &timing, output).unwrap();
                for frame in [149, 3, 70, 71, 20, 0, 140, 64, 65, 10] {
                    let number = number_of(&jumps.picture(frame).unwrap());
                    assert_eq!(number, want[frame as usize], "{fps} at {output}, jump to {frame}: {timing:?}");
                }
            }
        }
    }
}

#[test]
fn other_formats_jump_as_well() {
    let folder = folder();
    for (format, frames) in [(Format::Webm, 100), (Format::Mov, 40)] {
        let fps = rate(25, 1);
        let path = source(folder.path(), &quick(format), fps, frames);
        let timing = MediaTiming { media_start: 0.2, ..timing(0.0, 9.0) };
        let mut jumps = VideoSource::open(&path, &timing, rate(25, 1)).unwrap();
        assert!(jumps.has_alpha());
        for frame in [30, 2, 34, 0, 90, 31] {
            let want = expected(frame, &timing, rate(25, 1), &path, fps, frames);
            assert_eq!(number_of(&jumps.picture(frame).unwrap()), want, "{format} {frame}");
        }
    }
}

#[test]
fn a_jump_gives_the_same_pixels_as_a_walk() {
    let folder = folder();
    let path = source(folder.path(), &thorough(), rate(30, 1), 60);
    let mut walked = Vec::new();
    decode_video(&path, &mut |_, picture| {
        walked.push(picture.clone());
        true
    })
    .unwrap();
    for frame in [59, 13, 37, 11, 12] {
        let mut source = VideoSource::open(&path, &timing(0.0, 2.0), rate(30, 1)).unwrap();
        assert!(*source.picture(frame).unwrap() == walked[frame as usize], "{frame}");
    }
}

#[test]
fn the_same_frame_is_the_same_picture() {
    let folder = folder();
    let path = source(folder.path(), &quick(Format::Mp4), rate(30, 1), 10);
    let mut source = VideoSource::open(&path, &timing(0.0, 1.0), rate(60, 1)).unwrap();
    let first = source.picture(2).unwrap();
    assert!(std::sync::Arc::ptr_eq(&first, &source.picture(2).unwrap()));
    // Behind the end the last one holds.
    assert_eq!(number_of(&source.picture(1_000_000).unwrap()), 9);
    assert!(!source.has_alpha());
}

#[test]
fn alpha_is_kept_straight() {
    let folder = folder();
    let mut picture = numbered(9, SMALL);
    for (at, pixel) in picture.bgra.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        pixel[3] = if at / 128 < 32 { 255 } else { 64 };
    }
    for format in [Format::Webm, Format::Mov] {
        let settings = settings(format, hyperfarm_proto::spec::Quality::High);
        let path = folder.path().join(format!("alpha.{format}"));
        let mut encoder = SegmentEncoder::create(&path, &settings, SMALL, rate(30, 1)).unwrap();
        encoder.push(&picture.as_bitmap()).unwrap();
        encoder.finish().unwrap();
        let mut source = VideoSource::open(&path, &timing(0.0, 1.0), rate(30, 1)).unwrap();
        assert!(source.has_alpha());
        let shown = source.picture(0).unwrap();
        assert!(compare::alpha_psnr(&shown, &picture) > 40.0, "{format}");
        // Straight: colours under a low alpha are as bright as under a high one.
        assert!(compare::psnr(&shown, &picture) > 27.0, "{format} {}", compare::psnr(&shown, &picture));
    }
}

#[test]
fn impossible_timings_are_the_persons() {
    let folder = folder();
    let path = source(folder.path(), &quick(Format::Mp4), rate(30, 1), 30);
    let open = |timing: MediaTiming| VideoSource::open(&path, &timing, rate(30, 1)).unwrap_err();
    let late = open(MediaTiming { media_start: 1.0, ..timing(0.0, 1.0) });
    assert!(matches!(late, MediaError::PastEnd { .. }) && late.is_input(), "{late}");
    assert!(late.to_string().contains("1.000"), "{late}");
    for wrong in [
        MediaTiming { rate: 0.0, ..timing(0.0, 1.0) },
        MediaTiming { rate: f64::NAN, ..timing(0.0, 1.0) },
        MediaTiming { media_start: -1.0, ..timing(0.0, 1.0) },
        MediaTiming { start: f64::INFINITY, ..timing(0.0, 1.0) },
    ] {
        let error = open(wrong);
        assert!(matches!(error, MediaError::Timing { .. }) && error.is_input(), "{error}");
    }
}

#[test]
fn large_pictures_without_tags_are_bt709_and_small_ones_bt601() {
    // The crate tags what it writes; a raw file made by hand has no tags at all.
    for (height, green) in [(720_u32, [0_u8, 255, 0]), (480, [0, 255, 0])] {
        let folder = folder();
        let size = Size { width: 64, height };
        // Green by the matrix assumed at that height, in Y'CbCr.
        let yuv: [u8; 3] = if height >= 720 { [173, 42, 26] } else { [145, 54, 34] };
        let path = folder.path().join("raw.avi");
        std::fs::write(&path, raw_avi(size, yuv)).unwrap();
        let mut source = VideoSource::open(&path, &timing(0.0, 1.0), rate(25, 1)).unwrap();
        let [blue, greens, red, alpha] = source.picture(0).unwrap().pixel(10, 10).unwrap();
        for (got, want) in [blue, greens, red].iter().zip(green) {
            assert!(got.abs_diff(want) <= 2, "{height}: {got} instead of {want}");
        }
        assert_eq!(alpha, 255);
    }
}

/// An AVI of one I420 picture of one colour.
fn raw_avi(size: Size, [y, u, v]: [u8; 3]) -> Vec<u8> {
    let pixels = (size.width * size.height) as usize;
    let mut picture = vec![y; pixels];
    picture.extend(vec![u; pixels / 4]);
    picture.extend(vec![v; pixels / 4]);
    let chunk = |name: &[u8; 4], data: &[u8]| {
        let mut bytes = name.to_vec();
        bytes.extend((data.len() as u32).to_le_bytes());
        bytes.extend(data);
        bytes
    };
    let words = |values: &[u32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let length = picture.len() as u32;
    let main = words(&[40_000, 0, 0, 0x10, 1, 0, 1, length, size.width, size.height, 0, 0, 0, 0]);
    let mut stream = b"vidsI420".to_vec();
    stream.extend(words(&[0, 0, 0, 1, 25, 0, 1, length, 0, 0]));
    stream.extend([0; 8]);
    let mut format = words(&[40, size.width, size.height]);
    format.extend([1, 0, 12, 0]);
    format.extend(b"I420");
    format.extend(words(&[length, 0, 0, 0, 0]));
    let list = |name: &[u8; 4], parts: &[Vec<u8>]| {
        let mut data = name.to_vec();
        data.extend(parts.concat());
        chunk(b"LIST", &data)
    };
    let streams = list(b"strl", &[chunk(b"strh", &stream), chunk(b"strf", &format)]);
    let header = list(b"hdrl", &[chunk(b"avih", &main), streams]);
    let movie = list(b"movi", &[chunk(b"00dc", &picture)]);
    let index = chunk(b"idx1", &[b"00dc".to_vec(), words(&[0x10, 4, length])].concat());
    let mut riff = b"AVI ".to_vec();
    riff.extend([header, movie, index].concat());
    chunk(b"RIFF", &riff)
}
