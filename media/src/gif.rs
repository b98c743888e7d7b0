//! Lossless segments into a GIF: one palette for the whole clip, error diffusion, exact length.
//!
//! The clip is read twice and held never: once for the palette, once to draw with it. FFmpeg's `palettegen` and `paletteuse` do both,
//! with the settings that HyperFrames uses. The file is written here, because delays have to add up to the clip's length and
//! because frames with transparency have to replace the one before.
//!
//! **Invariant: every frame of the render is a frame of the file, and the file lasts as long as the render,** to a hundredth of
//! a second.

mod graph;
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
use crate::source::reader::FrameReader;
use crate::timescale;
use graph::Filter;
use writer::GifWriter;

/// Ticks a second of a GIF.
const TICKS: u32 = 100;

/// Alpha from which a pixel is opaque.
const OPAQUE_FROM: u8 = 128;

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GifSummary {
    /// Frames.
    pub frames: u64,
    /// Hundredths of a second that they last.
    pub centiseconds: u64,
}

/// Makes a GIF of the lossless `segments` (of pictures of `size`) at `output`. `repeat` is the file's loop count, 0 for ever.
///
/// `alpha` keeps transparency, of one bit. `going_on` is asked once a picture. Fails if a segment has not exactly its frames. At more than
/// 100 frames a second frames would have no time, and that is refused.
pub fn gif(
    segments: &[SegmentFile],
    output: &Path,
    size: Size,
    rate: FrameRate,
    alpha: bool,
    repeat: u16,
    going_on: &dyn Fn() -> bool,
) -> Result<GifSummary, MediaError> {
    let frames: u64 = segments.iter().map(|segment| segment.frames).sum();
    if frames == 0 || timescale::ticks(1, rate, TICKS) == 0 {
        return Err(MediaError::Nothing { action: "write as a gif", rate });
    }
    let made = make(segments, output, size, rate, alpha, repeat, going_on);
    if made.is_err()
        && let Err(error) = std::fs::remove_file(output)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(path = %output.display(), %error, "an unfinished file could not be removed");
    }
    made
}

/// What the GIF at `path` holds, by its own delays: FFmpeg's reader takes delays below two hundredths for ten.
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

fn make(
    segments: &[SegmentFile],
    output: &Path,
    size: Size,
    rate: FrameRate,
    alpha: bool,
    repeat: u16,
    going_on: &dyn Fn() -> bool,
) -> Result<GifSummary, MediaError> {
    let failed = MediaError::make(output, "choosing the palette");
    let reserve = u8::from(alpha);
    let options = format!("stats_mode=diff:reserve_transparent={reserve}");
    let mut choosing = Filter::palette_of(size, &options).map_err(&failed)?;
    let mut see_through = false;
    each_picture(segments, size, going_on, &mut |picture| {
        see_through |= alpha && picture.bgra.iter().skip(3).step_by(4).any(|alpha| *alpha < OPAQUE_FROM);
        choosing.push(&bgra_frame(picture)).map_err(&failed)
    })?;
    let palette = choosing.palette().map_err(&failed)?;

    let failed = MediaError::make(output, "drawing with the palette");
    let options = format!("dither=sierra2_4a:alpha_threshold={OPAQUE_FROM}");
    let mut drawing = Filter::with_palette(size, &palette, &options).map_err(&failed)?;
    let mut writer = GifWriter::create(output, size, &graph::colours(&palette), see_through, repeat)?;
    let at = |frame: u64| timescale::ticks(frame as i64, rate, TICKS);
    let mut written = 0;
    let mut write = |indexed: &frame::Video| {
        let delay = at(written + 1) - at(written);
        written += 1;
        writer.push(indexed.data(0), indexed.stride(0), u16::try_from(delay).unwrap_or(u16::MAX))
    };
    each_picture(segments, size, going_on, &mut |picture| {
        drawing.push(&bgra_frame(picture)).map_err(&failed)?;
        while let Some(indexed) = drawing.pull().map_err(&failed)? {
            write(&indexed)?;
        }
        Ok(())
    })?;
    drawing.end().map_err(&failed)?;
    while let Some(indexed) = drawing.pull().map_err(&failed)? {
        write(&indexed)?;
    }
    let expected: u64 = segments.iter().map(|segment| segment.frames).sum();
    if written != expected {
        let what = "pictures drawn with the palette";
        return Err(MediaError::Frames { path: output.to_owned(), expected, found: written, what });
    }
    writer.finish()?;
    Ok(GifSummary { frames: written, centiseconds: at(written) as u64 })
}

fn each_picture(
    segments: &[SegmentFile],
    size: Size,
    going_on: &dyn Fn() -> bool,
    each: &mut dyn FnMut(&Picture) -> Result<(), MediaError>,
) -> Result<(), MediaError> {
    for segment in segments.iter().filter(|segment| segment.frames > 0) {
        let mut reader = FrameReader::open(&segment.path).map_err(MediaError::part)?;
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

fn bgra_frame(picture: &Picture) -> frame::Video {
    let mut frame = frame::Video::new(Pixel::BGRA, picture.size.width, picture.size.height);
    let (stride, row) = (frame.stride(0), picture.size.width as usize * 4);
    for (to, from) in frame.data_mut(0).chunks_mut(stride).zip(picture.bgra.chunks(row)) {
        to[..row].copy_from_slice(from);
    }
    frame
}
