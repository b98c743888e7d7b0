//! Small JPEG pictures of videos and bitmaps.

use std::fs;
use std::path::Path;

use ffmpeg_next as ffmpeg;
use ffmpeg_next::format::Pixel;
use ffmpeg_next::{Packet, Rational, color, frame};
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::plan::MediaTiming;
use hyperfarm_proto::spec::Size;

use crate::bitmap::{Bitmap, Picture, PixelLayout};
use crate::convert::to_bgra::Scaler;
use crate::error::MediaError;
use crate::source::VideoSource;

/// libavcodec's quantiser scale: 2 is best, 31 worst.
const QUALITY: i32 = 3;

/// Writes the frame of `video` at `at_seconds` (the last frame, if that is behind the end) to `output` as JPEG, at most
/// `max_width` pixels wide and never enlarged. Transparent frames are put over black.
///
/// # Errors
/// The video cannot be decoded, or the file cannot be written.
pub fn thumbnail(video: &Path, at_seconds: f64, max_width: u32, output: &Path) -> Result<(), MediaError> {
    // Any frame rate that is high enough finds the frame shown at that time.
    let rate = FrameRate::DEFAULT;
    let timing = MediaTiming { start: 0.0, end: f64::MAX, media_start: 0.0, rate: 1.0, looped: false };
    let at = if at_seconds.is_finite() { at_seconds.max(0.0) } else { 0.0 };
    let picture = VideoSource::open(video, &timing, rate)?.picture((at * rate.as_f64() + 1e-9).floor() as u64)?;
    let jpeg = encode(&picture, max_width, output)?;
    fs::write(output, jpeg).map_err(|source| MediaError::Write { path: output.to_owned(), source })
}

/// Writes frame `frame` of a segment of `rate` to `output` as JPEG, in its own size. Transparent frames are put over
/// black.
///
/// # Errors
/// The segment cannot be decoded, or the file cannot be written.
pub fn poster(segment: &Path, frame: u64, rate: FrameRate, output: &Path) -> Result<(), MediaError> {
    let timing = MediaTiming { start: 0.0, end: f64::MAX, media_start: 0.0, rate: 1.0, looped: false };
    let picture = VideoSource::open(segment, &timing, rate)?.picture(frame)?;
    let jpeg = encode(&picture, picture.size.width, output)?;
    fs::write(output, jpeg).map_err(|source| MediaError::Write { path: output.to_owned(), source })
}

/// Pixels averaged for one pixel of a reduced bitmap, across and down.
const SAMPLES: u32 = 3;

/// `bitmap` as JPEG, at most `max_width` pixels wide and never enlarged. Transparent pixels are put over black. It is
/// quick rather than exact: not every pixel of a large bitmap is read.
///
/// # Errors
/// The bitmap has too few bytes for its size, or the encoder fails.
pub fn still(bitmap: &Bitmap<'_>, max_width: u32) -> Result<Vec<u8>, MediaError> {
    bitmap.check(bitmap.size)?;
    encode(&reduced(bitmap, bitmap.size.width / max_width.max(1)), max_width, Path::new("a thumbnail"))
}

/// `bitmap` reduced by `factor` in both directions.
fn reduced(bitmap: &Bitmap<'_>, factor: u32) -> Picture {
    let factor = factor.clamp(1, bitmap.size.height.max(1));
    let size = Size { width: bitmap.size.width / factor, height: bitmap.size.height / factor };
    let samples = SAMPLES.min(factor);
    let offsets: Vec<usize> = (0..samples).map(|sample| (sample * factor / samples) as usize).collect();
    let (factor, bytes) = (factor as usize, bitmap.layout.bytes());
    let mut bgra = Vec::with_capacity(size.width as usize * size.height as usize * 4);
    for y in 0..size.height as usize {
        let rows: Vec<&[u8]> = offsets.iter().map(|offset| bitmap.row(y * factor + offset)).collect();
        for x in 0..size.width as usize {
            let mut sums = [0_u32; 4];
            for row in &rows {
                for offset in &offsets {
                    let pixel = &row[(x * factor + offset) * bytes..][..bytes];
                    let pixel = match (bitmap.layout, pixel) {
                        (PixelLayout::Bgra, [blue, green, red, alpha]) => [*blue, *green, *red, *alpha],
                        (_, [red, green, blue, rest @ ..]) => {
                            [*blue, *green, *red, rest.first().copied().unwrap_or(255)]
                        }
                        _ => [0; 4],
                    };
                    for (sum, level) in sums.iter_mut().zip(pixel) {
                        *sum += u32::from(level);
                    }
                }
            }
            let count = samples * samples;
            bgra.extend(sums.map(|sum| ((sum + count / 2) / count) as u8));
        }
    }
    Picture { size, bgra }
}

pub(crate) fn encode(picture: &Picture, max_width: u32, output: &Path) -> Result<Vec<u8>, MediaError> {
    let failed = MediaError::make(output, "encoding a JPEG");
    let to = fitted(picture.size, max_width);
    let source = over_black(picture);
    let mut planes = frame::Video::new(Pixel::YUVJ420P, to.width, to.height);
    planes.set_color_range(color::Range::JPEG);
    planes.set_pts(Some(0));
    Scaler::new().fill(&source, &mut planes).map_err(&failed)?;

    let codec =
        ffmpeg::encoder::find_by_name("mjpeg").ok_or(MediaError::Missing { name: "encoder mjpeg".to_owned() })?;
    let mut context = ffmpeg::codec::Context::new_with_codec(codec);
    context.set_flags(ffmpeg::codec::Flags::BITEXACT | ffmpeg::codec::Flags::QSCALE);
    let mut encoder = context.encoder().video().map_err(&failed)?;
    encoder.set_width(to.width);
    encoder.set_height(to.height);
    encoder.set_format(Pixel::YUVJ420P);
    encoder.set_color_range(color::Range::JPEG);
    encoder.set_time_base(Rational::new(1, 25));
    encoder.set_global_quality(QUALITY * ffmpeg::ffi::FF_QP2LAMBDA);
    let mut encoder = encoder.open().map_err(&failed)?;
    encoder.send_frame(&planes).map_err(&failed)?;
    encoder.send_eof().map_err(&failed)?;
    let mut packet = Packet::empty();
    encoder.receive_packet(&mut packet).map_err(&failed)?;
    Ok(packet.data().unwrap_or_default().to_vec())
}

/// `size` scaled to at most `max_width`.
pub(crate) fn fitted(size: Size, max_width: u32) -> Size {
    let width = size.width.min(max_width.max(1));
    let height = (u64::from(size.height) * u64::from(width) + u64::from(size.width) / 2) / u64::from(size.width.max(1));
    Size { width, height: u32::try_from(height).unwrap_or(1).max(1) }
}

/// `picture` over black, as a frame.
pub(crate) fn over_black(picture: &Picture) -> frame::Video {
    let mut frame = frame::Video::new(Pixel::BGRA, picture.size.width, picture.size.height);
    let (stride, row) = (frame.stride(0), picture.size.width as usize * 4);
    for (to, from) in frame.data_mut(0).chunks_mut(stride).zip(picture.bgra.chunks(row)) {
        for (to, [blue, green, red, alpha]) in to.as_chunks_mut::<4>().0.iter_mut().zip(from.as_chunks::<4>().0) {
            let over = |level: u8| ((u32::from(level) * u32::from(*alpha) + 127) / 255) as u8;
            *to = [over(*blue), over(*green), over(*red), 255];
        }
    }
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_still_is_a_small_jpeg_of_the_picture() {
        let size = Size { width: 1300, height: 700 };
        let bgra: Vec<u8> = (0..size.width * size.height).flat_map(|_| [200, 10, 10, 255]).collect();
        let bitmap = Bitmap { data: &bgra, stride: 1300 * 4, size, layout: PixelLayout::Bgra };
        let small = reduced(&bitmap, 4);
        assert_eq!(small.size, Size { width: 325, height: 175 });
        assert!(small.bgra.chunks(4).all(|pixel| pixel == [200, 10, 10, 255]));
        let jpeg = still(&bitmap, 320).unwrap();
        assert!(jpeg.starts_with(&[0xff, 0xd8]) && jpeg.len() < 10_000, "{}", jpeg.len());
        // The frame's own header says how large it is.
        let at = jpeg.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
        let number = |at: usize| u16::from_be_bytes([jpeg[at], jpeg[at + 1]]);
        assert_eq!((number(at + 7), number(at + 5)), (320, 172));
    }
}
