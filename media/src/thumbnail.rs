//! A still of a video, as JPEG.

use std::fs;
use std::path::Path;

use ffmpeg_next as ffmpeg;
use ffmpeg_next::format::Pixel;
use ffmpeg_next::{Packet, Rational, color, frame};
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::plan::MediaTiming;
use hyperfarm_proto::spec::Size;

use crate::bitmap::Picture;
use crate::convert::bgra::Scaler;
use crate::error::MediaError;
use crate::source::VideoSource;

/// libavcodec's quantiser scale: 2 is best, 31 worst.
const QUALITY: i32 = 3;

/// Writes the picture of `video` at `at_seconds` (its last one, if that is behind the end) to `output` as JPEG, at most
/// `max_width` pixels wide and never enlarged. Transparency is laid on black.
pub fn thumbnail(video: &Path, at_seconds: f64, max_width: u32, output: &Path) -> Result<(), MediaError> {
    // Any fine rate finds the picture on screen at that time.
    let rate = FrameRate::DEFAULT;
    let timing = MediaTiming { start: 0.0, end: f64::MAX, media_start: 0.0, rate: 1.0, looped: false };
    let at = if at_seconds.is_finite() { at_seconds.max(0.0) } else { 0.0 };
    let picture = VideoSource::open(video, &timing, rate)?.picture((at * rate.as_f64() + 1e-9).floor() as u64)?;
    let jpeg = encode(&picture, max_width, output)?;
    fs::write(output, jpeg).map_err(|source| MediaError::Write { path: output.to_owned(), source })
}

fn encode(picture: &Picture, max_width: u32, output: &Path) -> Result<Vec<u8>, MediaError> {
    let failed = MediaError::make(output, "encoding a JPEG");
    let to = fitted(picture.size, max_width);
    let source = on_black(picture);
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

fn fitted(size: Size, max_width: u32) -> Size {
    let width = size.width.min(max_width.max(1));
    let height = (u64::from(size.height) * u64::from(width) + u64::from(size.width) / 2) / u64::from(size.width.max(1));
    Size { width, height: u32::try_from(height).unwrap_or(1).max(1) }
}

/// `picture` over black, as a frame.
fn on_black(picture: &Picture) -> frame::Video {
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
