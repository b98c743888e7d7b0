//! Figures, not promises: `cargo test --release -p hyperfarm-media -- --ignored --nocapture speed`.

use std::time::{Duration, Instant};

use hyperfarm_media::{SegmentEncoder, VideoSource};
use hyperfarm_proto::spec::{Format, Quality, Size};

use crate::common::*;

const FULL_HD: Size = Size { width: 1920, height: 1080 };

/// A page's kind of picture: flat panels, a gradient, text-like stripes that move.
fn page(number: u64) -> hyperfarm_media::Picture {
    let mut picture = numbered(number, FULL_HD);
    for (at, pixel) in picture.bgra.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        let (x, y) = (at % 1920, at / 1920);
        let moved = (x + number as usize * 4) % 1920;
        let level = if y > 300 && y < 800 && moved > 400 && moved < 900 {
            if (moved / 3 + y / 14).is_multiple_of(5) { 30 } else { 235 }
        } else {
            (y / 8) as u8
        };
        if y >= 32 || x >= 128 {
            *pixel = [level, level / 2 + 20, (x / 16) as u8, 255];
        }
    }
    picture
}

#[test]
#[ignore = "measures"]
fn speed() {
    let folder = folder();
    let frames: Vec<_> = (0..60).map(page).collect();
    for (format, quality) in [
        (Format::Mp4, Quality::Draft),
        (Format::Mp4, Quality::Standard),
        (Format::Mp4, Quality::High),
        (Format::Webm, Quality::Draft),
        (Format::Webm, Quality::Standard),
        (Format::Mov, Quality::Standard),
    ] {
        let path = folder.path().join(format!("speed.{format}"));
        let count = if format == Format::Mp4 { 60 } else { 10 };
        let begun = Instant::now();
        let mut encoder = SegmentEncoder::create(&path, &settings(format, quality), FULL_HD, rate(30, 1)).unwrap();
        for frame in &frames[..count] {
            encoder.push(&frame.as_bitmap()).unwrap();
        }
        let summary = encoder.finish().unwrap();
        println!("encode {format} {quality:?}: {:.2} ms/frame, {} bytes", each(begun.elapsed(), count), summary.bytes);
        let mut source = VideoSource::open(&path, &timing(0.0, 9.0), rate(30, 1)).unwrap();
        let begun = Instant::now();
        let mut worst: f64 = f64::INFINITY;
        for (at, frame) in frames[..count].iter().enumerate() {
            worst = worst.min(hyperfarm_media::compare::psnr(&source.picture(at as u64).unwrap(), frame));
        }
        println!(
            "decode {format} {quality:?}: {:.2} ms/frame with psnr, worst {worst:.2} dB",
            each(begun.elapsed(), count)
        );
    }
}

fn each(elapsed: Duration, count: usize) -> f64 {
    elapsed.as_secs_f64() * 1e3 / count as f64
}
