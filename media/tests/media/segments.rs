//! One segment: determinism, headers, colour, alpha, refusals.

use std::fs;

use hyperfarm_media::{
    Bitmap, MediaError, PixelLayout, SegmentEncoder, compare, count_packets, decode_video, encoders, probe, versions,
};
use hyperfarm_proto::plan::{EncoderSettings, Rate, VideoCodec};
use hyperfarm_proto::spec::{Format, Quality, Size};

use crate::common::*;

fn is_send<T: Send>() {}

#[test]
fn encoders_and_sources_move_between_threads() {
    is_send::<SegmentEncoder>();
    is_send::<hyperfarm_media::VideoSource>();
    is_send::<MediaError>();
}

#[test]
fn equal_pictures_give_equal_bytes() {
    let folder = folder();
    let mut all = vec![thorough(), quick(Format::Webm), quick(Format::Mov)];
    all.push(EncoderSettings { threads: 3, ..thorough() });
    for settings in all {
        let one = segment(folder.path(), "one", &settings, rate(30, 1), 0..20);
        let two = segment(folder.path(), "two", &settings, rate(30, 1), 0..20);
        let (one, two) = (fs::read(one.path).unwrap(), fs::read(two.path).unwrap());
        assert!(one == two, "{settings:?}");
        let text = String::from_utf8_lossy(&one);
        // Matroska must name an application; a version would follow it.
        assert!(!text.contains("Lavf5") && !text.contains("Lavc"), "{settings:?} names its libraries");
    }
}

#[test]
fn a_repeated_picture_is_that_picture_pushed_again() {
    let folder = folder();
    for settings in [thorough(), quick(Format::Webm), quick(Format::Mov)] {
        let write = |name: &str, repeats: bool| {
            let path = folder.path().join(format!("{name}.{}", settings.format.extension()));
            let mut encoder = SegmentEncoder::create(&path, &settings, SMALL, rate(30, 1)).unwrap();
            assert!(matches!(encoder.repeat(), Err(MediaError::Bitmap { .. })));
            let mut last = None;
            for number in [0, 1, 1, 1, 2, 3, 3, 4, 4, 4, 4, 4, 4, 4, 5] {
                if repeats && last.replace(number) == Some(number) {
                    encoder.repeat().unwrap();
                } else {
                    encoder.push(&numbered(number, SMALL).as_bitmap()).unwrap();
                }
            }
            assert_eq!(encoder.finish().unwrap().frames, 15);
            fs::read(path).unwrap()
        };
        assert!(write("pushed", false) == write("repeated", true), "{settings:?}");
    }
}

#[test]
fn segments_are_tagged_and_timed() {
    let folder = folder();
    for (settings, codec, pixels) in [
        (thorough(), "h264", "yuv420p"),
        (quick(Format::Webm), "vp9", "yuv420p"),
        (quick(Format::Mov), "prores", "yuva444p"),
    ] {
        let file = segment(folder.path(), "tags", &settings, rate(30_000, 1001), 0..15);
        let video = probe(&file.path).unwrap().video.unwrap();
        assert_eq!((video.codec.as_str(), video.size), (codec, SMALL));
        assert!(video.pixel_format.starts_with(pixels), "{}", video.pixel_format);
        assert_eq!(video.frame_rate, Some(rate(30_000, 1001)));
        let color = video.color;
        assert_eq!(
            [color.primaries, color.transfer, color.matrix, color.range],
            ["bt709", "bt709", "bt709", "tv"],
            "{codec}"
        );
        assert_eq!(video.has_alpha, settings.format.has_alpha());
        let count = count_packets(&file.path).unwrap();
        assert_eq!((count.video, count.frames_contiguous, count.dts_increase), (15, true, true));
        assert_eq!(count.first_video_pts, Some(0.0));
        if codec != "prores" {
            assert_eq!(count.key_frames, [0, 12], "{codec}");
        }
    }
}

#[test]
fn colours_come_back() {
    let folder = folder();
    let size = Size { width: 64, height: 64 };
    let colours: [[u8; 3]; 6] = [[255, 255, 255], [0, 0, 0], [0, 0, 255], [0, 255, 0], [255, 0, 0], [128, 128, 128]];
    for (format, worst) in [(Format::Mp4, 3), (Format::Webm, 4), (Format::Mov, 2)] {
        for [blue, green, red] in colours {
            let settings = settings(format, Quality::High);
            let path = folder.path().join(format!("flat.{format}"));
            let mut encoder = SegmentEncoder::create(&path, &settings, size, rate(25, 1)).unwrap();
            let data = [blue, green, red, 255].repeat(64 * 64);
            encoder.push(&Bitmap { data: &data, stride: 256, size, layout: PixelLayout::Bgra }).unwrap();
            encoder.finish().unwrap();
            decode_video(&path, &mut |_, picture| {
                let got = picture.pixel(32, 32).unwrap();
                for (got, want) in got.iter().zip([blue, green, red, 255]) {
                    assert!(got.abs_diff(want) <= worst, "{format}: {got} instead of {want}");
                }
                true
            })
            .unwrap();
        }
    }
}

#[test]
fn quality_is_what_it_says() {
    let folder = folder();
    for (quality, least) in [(Quality::Standard, 32.0), (Quality::High, 32.0)] {
        let settings = settings(Format::Mp4, quality);
        let file = segment(folder.path(), "quality", &settings, rate(30, 1), 0..10);
        decode_video(&file.path, &mut |at, picture| {
            let psnr = compare::psnr(picture, &numbered(at, SMALL));
            assert!(psnr > least, "{quality:?} {at}: {psnr}");
            true
        })
        .unwrap();
    }
}

#[test]
fn alpha_survives_in_prores() {
    let folder = folder();
    let settings = settings(Format::Mov, Quality::High);
    let path = folder.path().join("alpha.mov");
    let mut picture = numbered(5, SMALL);
    for (at, pixel) in picture.bgra.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        pixel[3] = (at % 128 * 2) as u8;
    }
    let mut encoder = SegmentEncoder::create(&path, &settings, SMALL, rate(30, 1)).unwrap();
    encoder.push(&picture.as_bitmap()).unwrap();
    encoder.finish().unwrap();
    decode_video(&path, &mut |_, decoded| {
        assert_eq!(compare::alpha_psnr(decoded, &picture), f64::INFINITY);
        assert!(compare::psnr(decoded, &picture) > 40.0, "{}", compare::psnr(decoded, &picture));
        true
    })
    .unwrap();
    let bytes = fs::read(&path).unwrap();
    assert!(bytes.windows(4).any(|four| four == b"ap4h"));
    assert!(bytes.windows(4).any(|four| four == b"apl0"));
}

#[test]
fn odd_sizes_are_fine_for_prores() {
    let folder = folder();
    let size = Size { width: 65, height: 33 };
    let path = folder.path().join("odd.mov");
    let mut encoder = SegmentEncoder::create(&path, &quick(Format::Mov), size, rate(30, 1)).unwrap();
    encoder.push(&numbered(3, size).as_bitmap()).unwrap();
    encoder.finish().unwrap();
    assert_eq!(probe(&path).unwrap().video.unwrap().size, size);
}

#[test]
fn unfinished_segments_leave_nothing() {
    let folder = folder();
    let path = folder.path().join("dropped.mp4");
    let mut encoder = SegmentEncoder::create(&path, &thorough(), SMALL, rate(30, 1)).unwrap();
    encoder.push(&numbered(0, SMALL).as_bitmap()).unwrap();
    assert!(path.exists());
    drop(encoder);
    assert!(!path.exists());

    let empty = SegmentEncoder::create(&path, &thorough(), SMALL, rate(30, 1)).unwrap();
    assert!(matches!(empty.finish(), Err(MediaError::Nothing { .. })));
    assert!(!path.exists());
}

#[test]
fn wrong_pictures_and_settings_are_refused() {
    let folder = folder();
    let path = folder.path().join("refused.mp4");
    let mut encoder = SegmentEncoder::create(&path, &thorough(), SMALL, rate(30, 1)).unwrap();
    let picture = numbered(0, Size { width: 64, height: 64 });
    assert!(matches!(encoder.push(&picture.as_bitmap()), Err(MediaError::Bitmap { .. })));
    let short = Bitmap { data: &picture.bgra[..100], stride: 512, size: SMALL, layout: PixelLayout::Bgra };
    assert!(matches!(encoder.push(&short), Err(MediaError::Bitmap { .. })));
    drop(encoder);

    let codec = VideoCodec::H264 { preset: "hasty".to_owned(), rate: Rate::Crf(20), options: String::new() };
    let settings = EncoderSettings { codec, ..thorough() };
    let error = SegmentEncoder::create(&path, &settings, SMALL, rate(30, 1)).unwrap_err();
    assert!(!error.is_input() && !path.exists(), "{error}");
    let nowhere = folder.path().join("missing/out.mp4");
    let error = SegmentEncoder::create(&nowhere, &thorough(), SMALL, rate(30, 1)).unwrap_err();
    assert!(matches!(error, MediaError::Write { .. }), "{error}");
}

#[test]
fn this_machine_has_what_the_formats_need() {
    assert!(encoders().iter().all(|(_, there)| *there), "{:?}", encoders());
    let versions = versions();
    for library in ["libavcodec ", "libavformat ", "libavutil ", "libswscale ", "libswresample ", "libavfilter "] {
        assert!(versions.contains(library), "{versions}");
    }
    assert!(!versions.contains('\n'));
}
