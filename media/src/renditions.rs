//! Frames in several sizes as one segment: a track for the output's size and one for each rendition.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ffmpeg_next::format::Pixel;
use ffmpeg_next::frame;
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::hdr::LightLevels;
use hyperfarm_proto::plan::EncoderSettings;
use hyperfarm_proto::spec::Size;

use crate::bitmap::{Bitmap, PixelLayout};
use crate::convert::to_bgra::Scaler;
use crate::demux::Demuxer;
use crate::encode::{SegmentEncoder, SegmentSummary};
use crate::error::MediaError;
use crate::hdr::HdrLayer;
use crate::mux::{Container, Muxer};
use crate::timescale;

/// Encodes frames into a segment file that has a video track for the output's size, and one for each of
/// [`EncoderSettings::renditions`], in this order. Without renditions it is a [`SegmentEncoder`].
///
/// The tracks have key frames at the same frames. Each is encoded into a file of its own beside the segment first.
pub struct RenditionsEncoder {
    first: SegmentEncoder,
    others: Vec<Rendition>,
    scaling: Duration,
    path: PathBuf,
    rate: FrameRate,
}

/// The encoder of a smaller size.
struct Rendition {
    encoder: SegmentEncoder,
    scaler: Scaler,
    size: Size,
}

/// Files of single tracks, which are removed in the end.
struct TrackFiles(Vec<PathBuf>);

impl RenditionsEncoder {
    /// Starts a segment at `path` for frames of `size` pixels.
    ///
    /// # Errors
    /// Those of [`SegmentEncoder::create`].
    pub fn create(path: &Path, settings: &EncoderSettings, size: Size, rate: FrameRate) -> Result<Self, MediaError> {
        let first_path = if settings.renditions.is_empty() { path.to_owned() } else { track_path(path, 0) };
        let first = SegmentEncoder::create(&first_path, settings, size, rate)?;
        let rendition = |(index, &size): (usize, &Size)| {
            let encoder = SegmentEncoder::create(&track_path(path, index + 1), settings, size, rate)?;
            Ok(Rendition { encoder, scaler: Scaler::new(), size })
        };
        let others = settings.renditions.iter().enumerate().map(rendition).collect::<Result<_, MediaError>>()?;
        Ok(Self { first, others, scaling: Duration::ZERO, path: path.to_owned(), rate })
    }

    /// Appends a frame of the size given to [`RenditionsEncoder::create`].
    ///
    /// # Errors
    /// Those of [`SegmentEncoder::push`], or the frame cannot be scaled.
    pub fn push(&mut self, bitmap: &Bitmap<'_>) -> Result<(), MediaError> {
        self.first.push(bitmap)?;
        if self.others.is_empty() {
            return Ok(());
        }
        let started = Instant::now();
        let frame = copied(bitmap);
        self.scaling += started.elapsed();
        for Rendition { encoder, scaler, size } in &mut self.others {
            let started = Instant::now();
            let scaled = scaler.bgra(&frame, *size).map_err(MediaError::make(&self.path, "scaling a frame"))?;
            self.scaling += started.elapsed();
            encoder.push(&scaled.as_bitmap())?;
        }
        Ok(())
    }

    /// Appends a frame with videos of high dynamic range in it, which renditions have not.
    ///
    /// # Errors
    /// Those of [`SegmentEncoder::push_layers`].
    pub fn push_layers(&mut self, bitmap: &Bitmap<'_>, layers: &[HdrLayer<'_>]) -> Result<(), MediaError> {
        if layers.is_empty() { self.push(bitmap) } else { self.first.push_layers(bitmap, layers) }
    }

    /// As [`SegmentEncoder::light`].
    pub fn light(&self) -> Option<LightLevels> {
        self.first.light()
    }

    /// Appends the last frame again, without converting or copying it.
    ///
    /// # Errors
    /// Those of [`SegmentEncoder::repeat`].
    pub fn repeat(&mut self) -> Result<(), MediaError> {
        self.first.repeat()?;
        self.others.iter_mut().try_for_each(|rendition| rendition.encoder.repeat())
    }

    /// Time spent so far on scaling bitmaps and converting them into the encoders' pixel format.
    pub fn converting(&self) -> Duration {
        self.scaling + self.first.converting() + self.others.iter().map(|other| other.encoder.converting()).sum()
    }

    /// Completes the file.
    ///
    /// # Errors
    /// Those of [`SegmentEncoder::finish`], or the tracks cannot be joined.
    pub fn finish(self) -> Result<SegmentSummary, MediaError> {
        let summary = self.first.finish()?;
        if self.others.is_empty() {
            return Ok(summary);
        }
        let files = TrackFiles((0..=self.others.len()).map(|track| track_path(&self.path, track)).collect());
        for rendition in self.others {
            rendition.encoder.finish()?;
        }
        let bytes = interleave(&files.0, &self.path, self.rate)?;
        Ok(SegmentSummary { bytes, ..summary })
    }
}

impl Drop for TrackFiles {
    fn drop(&mut self) {
        for path in &self.0 {
            if let Err(error) = std::fs::remove_file(path) {
                tracing::warn!(path = %path.display(), %error, "the file of a track could not be removed");
            }
        }
    }
}

/// Where track `track` of the segment `path` is encoded.
fn track_path(path: &Path, track: usize) -> PathBuf {
    path.with_extension(format!("{track}.mp4"))
}

/// A copy of `bitmap` as a frame.
fn copied(bitmap: &Bitmap<'_>) -> frame::Video {
    let pixel = match bitmap.layout {
        PixelLayout::Bgra => Pixel::BGRA,
        PixelLayout::Rgba => Pixel::RGBA,
        PixelLayout::Rgb => Pixel::RGB24,
    };
    let mut frame = frame::Video::new(pixel, bitmap.size.width, bitmap.size.height);
    let stride = frame.stride(0);
    for (y, to) in frame.data_mut(0).chunks_mut(stride).take(bitmap.size.height as usize).enumerate() {
        let from = bitmap.row(y);
        to[..from.len()].copy_from_slice(from);
    }
    frame
}

/// Copies the packets of `tracks` into `output`, a track each, and returns its length in bytes.
fn interleave(tracks: &[PathBuf], output: &Path, rate: FrameRate) -> Result<u64, MediaError> {
    let mut muxer = Muxer::create(output, Container::Mp4)?;
    let ticks = timescale::exact(rate);
    let mut sources = Vec::new();
    for path in tracks {
        let source = Demuxer::open(path).map_err(MediaError::part)?;
        let from = source.video().map_err(MediaError::part)?;
        let to = muxer.add_video(source.parameters(from), rate, ticks, false)?;
        sources.push((source, from, to));
    }
    muxer.start(ticks, ticks, false)?;
    let mut has_more = true;
    while has_more {
        has_more = false;
        for (source, from, to) in &mut sources {
            let Some(mut packet) = source.packet_of(*from).map_err(MediaError::part)? else { continue };
            has_more = true;
            packet.set_stream(*to);
            packet.set_position(-1);
            packet.rescale_ts(source.time_base(*from), muxer.time_base(*to));
            muxer.write(&mut packet)?;
        }
    }
    muxer.finish()
}
