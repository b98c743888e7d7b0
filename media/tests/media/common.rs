//! Pictures that carry a number, sounds that carry clicks, and files of them.

use std::f64::consts::TAU;
use std::fs;
use std::path::{Path, PathBuf};

use hyperfarm_media::{Picture, SegmentEncoder, SegmentFile};
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::plan::{AudioItem, EncoderSettings, GainPoint, MediaTiming, VideoCodec};
use hyperfarm_proto::spec::{Format, Quality, Size};
use tempfile::TempDir;

pub(crate) const SMALL: Size = Size { width: 128, height: 64 };

const CELL: usize = 16;
const BITS: usize = 16;

pub(crate) fn rate(num: u32, den: u32) -> FrameRate {
    FrameRate::new(num, den).unwrap()
}

pub(crate) fn settings(format: Format, quality: Quality) -> EncoderSettings {
    EncoderSettings::of(format, quality, rate(30, 1))
}

/// Quick settings for tests that look at numbers and not at quality.
pub(crate) fn quick(format: Format) -> EncoderSettings {
    let mut settings = settings(format, Quality::Draft);
    settings.keyframe_interval = 12;
    if let VideoCodec::Vp9 { cpu_used, .. } = &mut settings.codec {
        *cpu_used = 8;
    }
    settings
}

/// B-pictures and all, on small pictures.
pub(crate) fn thorough() -> EncoderSettings {
    EncoderSettings { keyframe_interval: 12, ..settings(Format::Mp4, Quality::Standard) }
}

/// A picture that shows `number` as 16 cells of black and white over a moving ground, opaque.
pub(crate) fn numbered(number: u64, size: Size) -> Picture {
    let (width, height) = (size.width as usize, size.height as usize);
    let mut bgra = vec![255_u8; width * height * 4];
    for y in 0..height {
        for x in 0..width {
            let cell = (y / CELL) * 8 + x / CELL;
            let pixel = &mut bgra[(y * width + x) * 4..][..4];
            if x < 8 * CELL && cell < BITS {
                pixel[..3].fill(if number >> cell & 1 == 1 { 255 } else { 0 });
            } else {
                pixel[0] = (x as u64 * 2 + number * 3) as u8;
                pixel[1] = (y as u64 * 3) as u8;
                pixel[2] = (x as u64 + y as u64 + number * 7) as u8;
            }
        }
    }
    Picture { size, bgra }
}

/// The number that a decoded picture of [`numbered`] shows.
pub(crate) fn number_of(picture: &Picture) -> u64 {
    let mut number = 0;
    for cell in 0..BITS {
        let (x, y) = ((cell % 8) * CELL + CELL / 2, (cell / 8) * CELL + CELL / 2);
        let [_, green, _, _] = picture.pixel(x as u32, y as u32).unwrap();
        number |= u64::from(green > 127) << cell;
    }
    number
}

/// A segment of the pictures `numbers`.
pub(crate) fn segment(
    folder: &Path,
    name: &str,
    settings: &EncoderSettings,
    rate: FrameRate,
    numbers: std::ops::Range<u64>,
) -> SegmentFile {
    let path = folder.join(format!("{name}.{}", settings.format.extension()));
    let mut encoder = SegmentEncoder::create(&path, settings, SMALL, rate).unwrap();
    let frames = numbers.end - numbers.start;
    for number in numbers {
        encoder.push(&numbered(number, SMALL).as_bitmap()).unwrap();
    }
    let summary = encoder.finish().unwrap();
    assert_eq!(summary.frames, frames);
    assert_eq!(summary.bytes, fs::metadata(&path).unwrap().len());
    SegmentFile { path, frames }
}

/// The numbers that all pictures of a file show.
pub(crate) fn numbers_in(path: &Path) -> Vec<u64> {
    let mut numbers = Vec::new();
    hyperfarm_media::decode_video(path, &mut |_, picture| {
        numbers.push(number_of(picture));
        true
    })
    .unwrap();
    numbers
}

/// A 16-bit WAV file, interleaved.
pub(crate) fn wav(folder: &Path, name: &str, sample_rate: u32, channels: u16, samples: &[f64]) -> PathBuf {
    let path = folder.join(name);
    let data: Vec<u8> = samples.iter().flat_map(|level| ((level * 32767.0).round() as i16).to_le_bytes()).collect();
    let block = channels * 2;
    let mut bytes = Vec::new();
    bytes.extend(b"RIFF");
    bytes.extend((36 + data.len() as u32).to_le_bytes());
    bytes.extend(b"WAVEfmt ");
    bytes.extend(16_u32.to_le_bytes());
    bytes.extend(1_u16.to_le_bytes());
    bytes.extend(channels.to_le_bytes());
    bytes.extend(sample_rate.to_le_bytes());
    bytes.extend((sample_rate * u32::from(block)).to_le_bytes());
    bytes.extend(block.to_le_bytes());
    bytes.extend(16_u16.to_le_bytes());
    bytes.extend(b"data");
    bytes.extend((data.len() as u32).to_le_bytes());
    bytes.extend(data);
    fs::write(&path, bytes).unwrap();
    path
}

/// `seconds` of a mono sine.
pub(crate) fn sine(sample_rate: u32, seconds: f64, hertz: f64, level: f64) -> Vec<f64> {
    let count = (seconds * f64::from(sample_rate)).round() as usize;
    (0..count).map(|at| (at as f64 / f64::from(sample_rate) * hertz * TAU).sin() * level).collect()
}

pub(crate) fn timing(start: f64, end: f64) -> MediaTiming {
    MediaTiming { start, end, media_start: 0.0, rate: 1.0, looped: false }
}

pub(crate) fn sound(timing: MediaTiming, gain: &[(f64, f64)]) -> AudioItem {
    let gain = gain.iter().map(|(time, gain)| GainPoint { time: *time, gain: *gain }).collect();
    AudioItem::plain("sound", "sound.wav", timing, gain)
}

/// The effective level of samples `[from, to)` on the left.
pub(crate) fn level(samples: &[[f32; 2]], from: usize, to: usize) -> f64 {
    let sum: f64 = samples[from..to].iter().map(|sample| f64::from(sample[0]).powi(2)).sum();
    (sum / (to - from) as f64).sqrt()
}

pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}
