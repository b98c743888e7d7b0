//! Every codec and format of the farm over sizes, rates and alpha, on pictures made here.

use std::cell::RefCell;
use std::path::Path;

use hyperfarm_media::{
    GifOptions, MediaError, Picture, SegmentEncoder, SegmentFile, count_gif, count_packets, decode_video, gif, join,
    png_frames, probe,
};
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::plan::EncoderSettings;
use hyperfarm_proto::spec::{Codec, Format, Quality, RenderSpec, Size};

use crate::common::*;

fn options(rate: FrameRate, alpha: bool, repeat: u16) -> GifOptions {
    GifOptions { size: SMALL, rate, alpha, repeat }
}

const RATES: [(u32, u32); 8] =
    [(1, 1), (7, 1), (24, 1), (24_000, 1001), (30_000, 1001), (60, 1), (60_000, 1001), (240, 1)];

fn asked(codec: Codec, rate: FrameRate) -> EncoderSettings {
    let spec =
        RenderSpec { format: codec.format(), codec: Some(codec), quality: Quality::Draft, ..RenderSpec::default() };
    EncoderSettings { keyframe_interval: 12, ..EncoderSettings::for_spec(&spec, rate) }
}

/// Segments of `lengths` frames, numbered through.
fn segments(folder: &Path, settings: &EncoderSettings, rate: FrameRate, lengths: &[u64]) -> Vec<SegmentFile> {
    let mut first = 0;
    let mut made = Vec::new();
    for (at, length) in lengths.iter().enumerate() {
        made.push(segment(folder, &format!("part-{at}"), settings, rate, first..first + length));
        first += length;
    }
    made
}

#[test]
fn every_codec_joins_at_every_rate() {
    let folder = folder();
    for (codec, name, pixels, alpha) in [
        (Codec::H264, "h264", "yuv420p", false),
        (Codec::H265, "hevc", "yuv420p", false),
        (Codec::Vp8, "vp8", "yuv420p", true),
        (Codec::Vp9, "vp9", "yuv420p", true),
        (Codec::ProRes, "prores", "yuva444p", true),
    ] {
        for (num, den) in RATES {
            let rate = rate(num, den);
            let settings = asked(codec, rate);
            let output = folder.path().join("joined");
            let files = segments(folder.path(), &settings, rate, &[4, 1, 3]);
            let summary = join(&files, None, &output, &settings, SMALL, rate, &|| true).unwrap();
            assert_eq!(summary.video_packets, 8, "{codec} {rate}");
            assert_eq!(numbers_in(&output), (0..8).collect::<Vec<_>>(), "{codec} {rate}");
            let video = probe(&output).unwrap().video.unwrap();
            assert_eq!((video.codec.as_str(), video.size, video.has_alpha), (name, SMALL, alpha), "{rate}");
            assert!(video.pixel_format.starts_with(pixels), "{codec}: {}", video.pixel_format);
            assert_eq!(video.frame_rate, Some(rate), "{codec}");
            let colour = &video.color;
            if codec != Codec::Vp8 {
                // VP8's own header has no place for them, and WebM's is not read for it everywhere.
                let tags = [&colour.primaries, &colour.transfer, &colour.matrix, &colour.range];
                assert_eq!(tags, ["bt709", "bt709", "bt709", "tv"], "{codec} {rate}");
            }
            if codec.format() == Format::Mp4 {
                let whole = 90_000 * 8 * u64::from(den) % u64::from(num) == 0;
                assert!(video.time_base == (1, 90_000) || !whole, "{codec} {rate}: {:?}", video.time_base);
            }
            let count = count_packets(&output).unwrap();
            assert_eq!((count.video, count.dts_increase, count.frames_contiguous), (8, true, true), "{codec} {rate}");
            assert_eq!(count.first_video_pts, Some(0.0), "{codec} {rate}");
            assert!([0, 4, 5].iter().all(|seam| count.key_frames.contains(seam)), "{codec}: {:?}", count.key_frames);
        }
    }
}

#[test]
fn h265_is_the_same_every_time_and_named_for_every_player() {
    let folder = folder();
    let spec = RenderSpec { codec: Some(Codec::H265), ..RenderSpec::default() };
    let settings = EncoderSettings::for_spec(&spec, rate(30, 1));
    let one = std::fs::read(segment(folder.path(), "one", &settings, rate(30, 1), 0..20).path).unwrap();
    let two = std::fs::read(segment(folder.path(), "two", &settings, rate(30, 1), 0..20).path).unwrap();
    assert!(one == two);
    let has = |tag: &[u8]| one.windows(tag.len()).any(|found| found == tag);
    assert!(has(b"hvc1") && !has(b"hev1"));
    assert!(!has(b"x265") && !has(b"cpuid"), "what x265 says about the machine is left out");
}

#[test]
fn bit_rates_are_followed() {
    let folder = folder();
    for codec in [Codec::H264, Codec::H265, Codec::Vp8, Codec::Vp9] {
        let of = |bits: u64| {
            let spec = RenderSpec {
                format: codec.format(),
                codec: Some(codec),
                video_bitrate: hyperfarm_proto::spec::Bitrate::new(bits),
                ..RenderSpec::default()
            };
            let settings = EncoderSettings::for_spec(&spec, rate(30, 1));
            std::fs::metadata(segment(folder.path(), "bits", &settings, rate(30, 1), 0..30).path).unwrap().len()
        };
        let (low, high) = (of(50_000), of(2_000_000));
        assert!(low * 5 < high * 4, "{codec}: {low} and {high} bytes");
    }
}

/// A box on nothing, further to the right with each number.
fn on_nothing(number: u64, size: Size) -> Picture {
    let width = size.width as usize;
    let mut bgra = vec![0; width * size.height as usize * 4];
    for (at, pixel) in bgra.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        let (x, y) = (at % width, at / width);
        if (8..24).contains(&y) && (number as usize * 8..number as usize * 8 + 16).contains(&x) {
            *pixel = [40, 80, 200, 255];
        }
    }
    Picture { size, bgra }
}

fn written(path: &Path, settings: &EncoderSettings, size: Size, pictures: &[Picture]) -> SegmentFile {
    let mut encoder = SegmentEncoder::create(path, settings, size, rate(10, 1)).unwrap();
    for picture in pictures {
        encoder.push(&picture.as_bitmap()).unwrap();
    }
    SegmentFile { path: path.to_owned(), frames: encoder.finish().unwrap().frames }
}

fn decoded(path: &Path) -> Vec<Picture> {
    let mut pictures = Vec::new();
    decode_video(path, &mut |_, picture| {
        pictures.push(picture.clone());
        true
    })
    .unwrap();
    pictures
}

fn alpha_at(picture: &Picture, x: u32, y: u32) -> u8 {
    picture.pixel(x, y).unwrap()[3]
}

#[test]
fn transparency_is_kept_or_left_out() {
    let folder = folder();
    let path = folder.path().join("alpha");
    let pictures: Vec<_> = (0..3).map(|number| on_nothing(number, SMALL)).collect();
    for codec in [Codec::Vp8, Codec::Vp9, Codec::ProRes, Codec::PngSequence] {
        written(&path, &asked(codec, rate(10, 1)), SMALL, &pictures);
        assert!(probe(&path).unwrap().video.unwrap().has_alpha, "{codec}");
        for (number, picture) in decoded(&path).iter().enumerate() {
            assert!(alpha_at(picture, number as u32 * 8 + 8, 16) > 240, "{codec}");
            assert!(alpha_at(picture, 100, 50) < 12, "{codec}");
        }
    }
    for codec in [Codec::Vp8, Codec::Vp9] {
        written(&path, &EncoderSettings { alpha: false, ..asked(codec, rate(10, 1)) }, SMALL, &pictures);
        assert!(!probe(&path).unwrap().video.unwrap().has_alpha, "{codec}");
    }
}

#[test]
fn odd_sides_are_kept_or_get_a_black_edge() {
    let folder = folder();
    let path = folder.path().join("odd");
    let size = Size { width: 67, height: 35 };
    let red = Picture { size, bgra: [30, 30, 220, 255].repeat(67 * 35) };
    for (codec, coded) in [
        (Codec::H264, Size { width: 68, height: 36 }),
        (Codec::H265, Size { width: 68, height: 36 }),
        (Codec::Vp8, size),
        (Codec::Vp9, size),
        (Codec::ProRes, size),
        (Codec::PngSequence, size),
    ] {
        let settings = asked(codec, rate(10, 1));
        let file = written(&path, &settings, size, &[red.clone(), red.clone()]);
        if codec != Codec::PngSequence {
            join(&[file], None, &folder.path().join("joined"), &settings, size, rate(10, 1), &|| true).unwrap();
        }
        let picture = &decoded(&path)[1];
        assert_eq!(picture.size, coded, "{codec}");
        let [_, _, level, _] = picture.pixel(30, 20).unwrap();
        assert!(level > 200, "{codec}");
        if coded != size {
            for (x, y) in [(67, 10), (66, 10), (20, 35), (20, 34)] {
                let [blue, green, level, _] = picture.pixel(x, y).unwrap();
                assert!([blue, green, level].iter().all(|level| *level < 60), "{codec}: {blue} {green} {level}");
            }
            assert!(picture.pixel(62, 30).unwrap()[2] > 180, "{codec}");
        }
    }
}

#[test]
fn png_frames_are_the_pictures_themselves() {
    let folder = folder();
    let rate = rate(30_000, 1001);
    let settings = asked(Codec::PngSequence, rate);
    let files = segments(folder.path(), &settings, rate, &[3, 1, 2]);
    let names = RefCell::new(Vec::new());
    let count = png_frames(&files, SMALL, rate, &mut |frame, png| {
        let path = folder.path().join(format!("{frame}.png"));
        std::fs::write(&path, png).unwrap();
        // Marked as sRGB, so that no viewer guesses.
        assert!(png.windows(4).any(|name| name == b"sRGB"));
        names.borrow_mut().push(frame);
        true
    });
    assert_eq!((count.unwrap(), names.into_inner()), (6, (0..6).collect::<Vec<_>>()));
    let exact: Vec<_> = files.iter().flat_map(|file| decoded(&file.path)).collect();
    assert_eq!(exact, (0..6).map(|number| numbered(number, SMALL)).collect::<Vec<_>>());

    let short = [SegmentFile { frames: 4, ..files[0].clone() }];
    assert!(matches!(png_frames(&short, SMALL, rate, &mut |_, _| true), Err(MediaError::Frames { .. })));
    let other = Size { width: 64, height: 64 };
    assert!(matches!(png_frames(&files, other, rate, &mut |_, _| true), Err(MediaError::Headers { .. })));
}

#[test]
fn a_gif_has_every_frame_and_lasts_as_long() {
    let folder = folder();
    let output = folder.path().join("clip.gif");
    for (num, den) in [(10, 1), (24, 1), (30_000, 1001), (50, 1), (60, 1), (100, 1)] {
        let rate = rate(num, den);
        let files = segments(folder.path(), &asked(Codec::Gif, rate), rate, &[7, 1, 8]);
        let summary = gif(&files, &output, &options(rate, true, 0), &|| true).unwrap();
        let seconds = rate.seconds_of(16);
        assert_eq!(summary.frames, 16);
        assert!((summary.centiseconds as f64 / 100.0 - seconds).abs() <= 0.005, "{rate}");
        assert_eq!(count_gif(&output).unwrap(), summary, "{rate}");
        assert_eq!(numbers_in(&output), (0..16).collect::<Vec<_>>(), "{rate}");
        let again = folder.path().join("again.gif");
        gif(&files, &again, &options(rate, true, 0), &|| true).unwrap();
        assert!(std::fs::read(&again).unwrap() == std::fs::read(&output).unwrap(), "{rate}");
    }
    let rate = rate(240, 1);
    let files = segments(folder.path(), &asked(Codec::Gif, rate), rate, &[2]);
    assert!(matches!(gif(&files, &output, &options(rate, true, 0), &|| true), Err(MediaError::Nothing { .. })));
    assert!(matches!(gif(&files, &output, &options(self::rate(10, 1), true, 0), &|| false), Err(MediaError::Stopped)));
    assert!(!output.exists());
}

#[test]
fn a_gif_with_holes_shows_no_earlier_frame_through_them() {
    let folder = folder();
    let (path, output) = (folder.path().join("part.mov"), folder.path().join("clip.gif"));
    let pictures: Vec<_> = (0..6).map(|number| on_nothing(number, SMALL)).collect();
    let file = written(&path, &asked(Codec::Gif, rate(10, 1)), SMALL, &pictures);
    for (alpha, ground) in [(true, 0), (false, 255)] {
        gif(std::slice::from_ref(&file), &output, &options(rate(10, 1), alpha, 3), &|| true).unwrap();
        let shown = decoded(&output);
        assert_eq!(shown.len(), 6);
        for (number, picture) in shown.iter().enumerate() {
            for x in (4..SMALL.width).step_by(8) {
                let inside = (number as u32 * 8..number as u32 * 8 + 16).contains(&x);
                let expected = if inside { 255 } else { ground };
                assert_eq!(alpha_at(picture, x, 16), expected, "frame {number}, column {x}, alpha {alpha}");
            }
        }
    }
}
