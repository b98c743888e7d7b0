//! Lossless segments to a GIF: one palette for the whole clip, error diffusion, exact length.
//!
//! The clip is decoded twice, and never in memory as a whole: once for FFmpeg's `palettegen`, once for `paletteuse`,
//! both with the settings of HyperFrames. The file is written by `writer`, because delays have to add up to the clip's
//! length and frames with transparency have to replace the one before.
//!
//! **Invariant: every frame of the render is a frame of the file, and the file lasts as long as the render,** to a
//! hundredth of a second.

mod palette;
mod writer;

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use ffmpeg_next::format::Pixel;
use ffmpeg_next::frame;
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::spec::Size;

use crate::bitmap::Picture;
use crate::error::MediaError;
use crate::join::SegmentFile;
use crate::limits::OWN_PIXELS;
use crate::source::reader::FrameReader;
use crate::timescale;
use palette::PaletteFilter;
use writer::GifWriter;

/// Ticks a second of a GIF.
const TICKS: u32 = 100;

/// Alpha from which a pixel is opaque.
const OPAQUE_FROM: u8 = 128;

/// Contents of a GIF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GifSummary {
    /// Number of frames.
    pub frames: u64,
    /// Duration in hundredths of a second.
    pub centiseconds: u64,
}

/// Properties of a GIF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GifOptions {
    /// Size of the frames.
    pub size: Size,
    /// Frame rate, at most 100: delays are whole hundredths of a second.
    pub rate: FrameRate,
    /// Keeps transparency, of one bit.
    pub alpha: bool,
    /// The file's loop count; 0 repeats for ever.
    pub repeat: u16,
}

/// Writes a GIF of the lossless `segments` to `output`. `going_on` is called for every frame and stops the work by
/// answering false.
///
/// # Errors
/// A segment cannot be read or has not exactly its frames, the rate is above 100, or the file cannot be written. The
/// file is removed then.
pub fn gif(
    segments: &[SegmentFile],
    output: &Path,
    options: &GifOptions,
    going_on: &dyn Fn() -> bool,
) -> Result<GifSummary, MediaError> {
    let frames: u64 = segments.iter().map(|segment| segment.frames).sum();
    // A delay is at least one hundredth of a second; requests for more are refused before there is a plan.
    if frames == 0 || options.rate.as_f64() > f64::from(TICKS) {
        return Err(MediaError::Nothing { action: "write as a gif", rate: options.rate });
    }
    let written = write(segments, output, options, going_on);
    if written.is_err()
        && let Err(error) = std::fs::remove_file(output)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(path = %output.display(), %error, "an unfinished file could not be removed");
    }
    written
}

/// Contents of the GIF at `path`, by its own delays: FFmpeg's reader takes delays below two hundredths for ten.
///
/// # Errors
/// The file cannot be read or is damaged.
pub fn count_gif(path: &Path) -> Result<GifSummary, MediaError> {
    let file = File::open(path).map_err(|source| MediaError::Open { path: path.to_owned(), source })?;
    let broken = |_| MediaError::undecodable(path, "counting its frames")(ffmpeg_next::Error::InvalidData);
    let mut options = ::gif::DecodeOptions::new();
    options.skip_frame_decoding(true);
    let mut reader = options.read_info(BufReader::new(file)).map_err(broken)?;
    let mut summary = GifSummary { frames: 0, centiseconds: 0 };
    while let Some(frame) = reader.next_frame_info().map_err(broken)? {
        summary.frames += 1;
        summary.centiseconds += u64::from(frame.delay);
    }
    Ok(summary)
}

fn write(
    segments: &[SegmentFile],
    output: &Path,
    options: &GifOptions,
    going_on: &dyn Fn() -> bool,
) -> Result<GifSummary, MediaError> {
    let GifOptions { size, rate, alpha, repeat } = *options;
    let failed = MediaError::make(output, "choosing the palette");
    let reserve = u8::from(alpha);
    let filter_options = format!("stats_mode=diff:reserve_transparent={reserve}");
    let mut generator = PaletteFilter::generating(size, &filter_options).map_err(&failed)?;
    let mut is_transparent = false;
    each_picture(segments, size, going_on, &mut |picture| {
        is_transparent |= alpha && picture.bgra.iter().skip(3).step_by(4).any(|alpha| *alpha < OPAQUE_FROM);
        generator.push(&bgra_frame(picture)).map_err(&failed)
    })?;
    let palette = generator.palette().map_err(&failed)?;

    let failed = MediaError::make(output, "drawing with the palette");
    let filter_options = format!("dither=sierra2_4a:alpha_threshold={OPAQUE_FROM}");
    let mut painter = PaletteFilter::applying(size, &palette, &filter_options).map_err(&failed)?;
    let mut writer = GifWriter::create(output, size, &palette::colours(&palette), is_transparent, repeat)?;
    let at = |frame: u64| timescale::ticks(frame as i64, rate, TICKS);
    let mut written = 0;
    let mut push = |indexed: &frame::Video| {
        let delay = at(written + 1) - at(written);
        written += 1;
        writer.push(indexed.data(0), indexed.stride(0), u16::try_from(delay).unwrap_or(u16::MAX))
    };
    each_picture(segments, size, going_on, &mut |picture| {
        painter.push(&bgra_frame(picture)).map_err(&failed)?;
        while let Some(indexed) = painter.pull().map_err(&failed)? {
            push(&indexed)?;
        }
        Ok(())
    })?;
    painter.end().map_err(&failed)?;
    while let Some(indexed) = painter.pull().map_err(&failed)? {
        push(&indexed)?;
    }
    let expected: u64 = segments.iter().map(|segment| segment.frames).sum();
    if written != expected {
        let what = "pictures drawn with the palette";
        return Err(MediaError::Frames { path: output.to_owned(), expected, found: written, what });
    }
    writer.finish()?;
    Ok(GifSummary { frames: written, centiseconds: at(written) as u64 })
}

/// Decodes every frame of `segments` and calls `each` with it.
fn each_picture(
    segments: &[SegmentFile],
    size: Size,
    going_on: &dyn Fn() -> bool,
    each: &mut dyn FnMut(&Picture) -> Result<(), MediaError>,
) -> Result<(), MediaError> {
    for segment in segments.iter().filter(|segment| segment.frames > 0) {
        let mut reader = FrameReader::open(&segment.path, OWN_PIXELS).map_err(MediaError::part)?;
        let mut converter = reader.converter();
        let mut found = 0;
        while let Some((frame, _)) = reader.next().map_err(MediaError::part)? {
            if !going_on() {
                return Err(MediaError::Stopped);
            }
            let failed = MediaError::undecodable(&segment.path, "converting a picture");
            let picture = converter.convert(&frame).map_err(failed)?;
            if picture.size != size {
                let what = format!("it is {} and the output {size}", picture.size);
                return Err(MediaError::Headers { path: segment.path.clone(), what });
            }
            each(&picture)?;
            found += 1;
        }
        if found != segment.frames {
            let (path, what) = (segment.path.clone(), "pictures in the segment");
            return Err(MediaError::Frames { path, expected: segment.frames, found, what });
        }
    }
    Ok(())
}

/// `picture` as a frame for filters.
fn bgra_frame(picture: &Picture) -> frame::Video {
    let mut frame = frame::Video::new(Pixel::BGRA, picture.size.width, picture.size.height);
    let (stride, row) = (frame.stride(0), picture.size.width as usize * 4);
    for (to, from) in frame.data_mut(0).chunks_mut(stride).zip(picture.bgra.chunks(row)) {
        to[..row].copy_from_slice(from);
    }
    frame
}
