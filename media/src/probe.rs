//! Reads a file's headers: streams, sizes, rates, durations.

use std::path::Path;

use ffmpeg_next as ffmpeg;
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::hdr::HdrTransfer;
use hyperfarm_proto::plan::VideoHeaders;
use hyperfarm_proto::spec::Size;
use serde::{Deserialize, Serialize};

use crate::convert::{Rotation, in_square_pixels};
use crate::demux::Demuxer;
use crate::error::MediaError;
use crate::ffi::{self, CodecId};
use crate::timescale::SAMPLE_RATE;

/// Streams of a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MediaInfo {
    /// Duration in seconds, where the container has one.
    pub duration: Option<f64>,
    /// The video stream that a player shows.
    pub video: Option<VideoInfo>,
    /// The audio stream that a player plays.
    pub audio: Option<AudioInfo>,
    /// FFmpeg's name of the container, for example `mov,mp4,m4a,3gp,3g2,mj2`.
    pub container: String,
}

/// Colour tags by FFmpeg's names (`bt709`, `tv`); `unknown` where absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColorTags {
    /// Primaries.
    pub primaries: String,
    /// Transfer characteristic.
    pub transfer: String,
    /// Matrix.
    pub matrix: String,
    /// `tv` (limited) or `pc` (full).
    pub range: String,
}

/// A video stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VideoInfo {
    /// FFmpeg's name of the codec, for example `h264`.
    pub codec: String,
    /// FFmpeg's name of the pixel format; for VP8 and VP9 with alpha that of the colour planes.
    pub pixel_format: String,
    /// Coded pixels, before turning.
    pub size: Size,
    /// Average frame rate, where known and one that the farm renders. WebM stores the duration of a frame in nanoseconds; this
    /// is the exact rational that it stands for.
    pub frame_rate: Option<FrameRate>,
    /// Number of frames, where the container has it.
    pub frames: Option<u64>,
    /// Seconds a tick, as (numerator, denominator).
    pub time_base: (i32, i32),
    /// Timestamp at which the file's own timeline begins.
    pub origin: i64,
    /// Whether frames have different durations.
    pub has_variable_rate: bool,
    /// Colour tags.
    pub color: ColorTags,
    /// Whether pictures have transparency.
    pub has_alpha: bool,
    /// Clockwise rotation for display, in degrees: 0, 90, 180 or 270.
    pub rotation: u32,
    /// Seconds from the start of the file's timeline to the end of the video, where known.
    pub duration: Option<f64>,
    /// Size for display: in square pixels, rotated.
    pub display: Size,
    /// Transfer characteristic of pictures of high dynamic range.
    pub hdr: Option<HdrTransfer>,
}

impl VideoInfo {
    /// What a plan keeps of it.
    pub fn headers(&self) -> VideoHeaders {
        VideoHeaders {
            time_base: self.time_base,
            origin: self.origin,
            duration: self.duration,
            has_variable_rate: self.has_variable_rate,
            display: self.display,
            has_alpha: self.has_alpha,
            hdr: self.hdr,
        }
    }
}

/// An audio stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AudioInfo {
    /// FFmpeg's name of the codec, for example `aac`.
    pub codec: String,
    /// Samples a second.
    pub sample_rate: u32,
    /// Channels.
    pub channels: u32,
    /// Samples of a channel by the container's duration, where it has one. Containers round; [`crate::count_packets`]
    /// is exact.
    pub samples: Option<u64>,
}

/// Reads the headers of `path` and, where they are not enough, a few packets.
///
/// # Errors
/// The file is missing, empty, cut off or not media. No content makes it panic.
pub fn probe(path: &Path) -> Result<MediaInfo, MediaError> {
    let source = Demuxer::open(path)?;
    let video = source.video().ok().map(|stream| video_info(&source, stream));
    let audio = source.audio().ok().map(|stream| audio_info(&source, stream));
    if video.is_none() && audio.is_none() {
        return Err(MediaError::NoStream { path: path.to_owned(), kind: "picture or sound" });
    }
    let container = source.input.format().name().to_owned();
    Ok(MediaInfo { duration: source.duration(), video, audio, container })
}

fn video_info(source: &Demuxer, stream: usize) -> VideoInfo {
    let parameters = source.parameters(stream);
    let view = ffi::video_parameters(&parameters);
    let time_base = source.time_base(stream);
    let frames = source.input.stream(stream).map(|stream| stream.frames());
    VideoInfo {
        codec: CodecId::of(&parameters).name().to_owned(),
        pixel_format: view.pixel.name().unwrap_or("unknown").to_owned(),
        size: Size { width: view.width, height: view.height },
        frame_rate: frame_rate(source, stream),
        frames: frames.and_then(|frames| u64::try_from(frames).ok()).filter(|frames| *frames > 0),
        time_base: (time_base.numerator(), time_base.denominator()),
        origin: source.origin(time_base),
        has_variable_rate: has_variable_rate(source, stream),
        color: ColorTags {
            primaries: view.tags.primaries_name().to_owned(),
            transfer: view.tags.transfer_name().to_owned(),
            matrix: view.tags.matrix_name().to_owned(),
            range: view.tags.range_name().to_owned(),
        },
        has_alpha: has_alpha(source, stream),
        rotation: rotation(source, stream).degrees(),
        duration: video_duration(source, stream),
        display: display_size(source, stream),
        hdr: view.tags.hdr(),
    }
}

fn audio_info(source: &Demuxer, stream: usize) -> AudioInfo {
    let parameters = source.parameters(stream);
    let view = ffi::audio_parameters(&parameters);
    let seconds = source.input.stream(stream).and_then(|stream| {
        let duration = stream.duration();
        (duration > 0).then(|| duration as f64 * f64::from(stream.time_base()))
    });
    let samples = seconds.or(source.duration()).map(|seconds| (seconds * f64::from(view.sample_rate)).round() as u64);
    AudioInfo {
        codec: CodecId::of(&parameters).name().to_owned(),
        sample_rate: if view.sample_rate == 0 { SAMPLE_RATE } else { view.sample_rate },
        channels: view.channels,
        samples,
    }
}

/// Whether the stream has transparency: by pixel format, or by a WebM track that declares an alpha plane.
pub(crate) fn has_alpha(source: &Demuxer, stream: usize) -> bool {
    let is_declared =
        source.input.stream(stream).is_some_and(|stream| stream.metadata().get("alpha_mode") == Some("1"));
    is_declared || ffi::video_parameters(&source.parameters(stream)).pixel.has_alpha()
}

/// Rotation of the stream for display.
pub(crate) fn rotation(source: &Demuxer, stream: usize) -> Rotation {
    let Some(stream) = source.input.stream(stream) else { return Rotation::None };
    stream
        .side_data()
        .find(|data| ffi::is_side_data(data, ffmpeg::ffi::AVPacketSideDataType::AV_PKT_DATA_DISPLAYMATRIX))
        .map_or(Rotation::None, |data| Rotation::from_display_matrix(data.data()))
}

/// Seconds from the start of the file's timeline to the end of the video; the sound may last longer.
pub(crate) fn video_duration(source: &Demuxer, stream: usize) -> Option<f64> {
    // Animated images have no index with their duration, and are short enough to be read.
    if matches!(CodecId::of(&source.parameters(stream)), CodecId::GIF | CodecId::APNG) {
        return animation_duration(source, stream);
    }
    let whole = source.duration();
    let Some(found) = source.input.stream(stream).filter(|stream| stream.duration() > 0) else { return whole };
    let tick = f64::from(found.time_base());
    let start = found.start_time();
    let lead = if start == ffmpeg::ffi::AV_NOPTS_VALUE {
        0.0
    } else {
        (start.saturating_sub(source.origin(found.time_base())) as f64 * tick).max(0.0)
    };
    Some(lead + found.duration() as f64 * tick)
}

/// Duration of an animated image in seconds, summed over its packets.
fn animation_duration(source: &Demuxer, stream: usize) -> Option<f64> {
    let mut again = Demuxer::open(&source.path).ok()?;
    let mut end = 0;
    while let Ok(Some(packet)) = again.packet_of(stream) {
        end = end.max(packet.pts().unwrap_or(end).saturating_add(packet.duration().max(0)));
    }
    (end > 0).then(|| end as f64 * f64::from(again.time_base(stream)))
}

/// Display size of the stream: in square pixels, rotated.
pub(crate) fn display_size(source: &Demuxer, stream: usize) -> Size {
    let view = ffi::video_parameters(&source.parameters(stream));
    let size = in_square_pixels(Size { width: view.width, height: view.height }, view.aspect);
    rotation(source, stream).rotated(size)
}

/// Whether the stream has a variable frame rate: its average rate differs by a tenth from the rate that fits all its
/// times.
pub(crate) fn has_variable_rate(source: &Demuxer, stream: usize) -> bool {
    let Some(stream) = source.input.stream(stream) else { return false };
    let (average, fitting) = (f64::from(stream.avg_frame_rate()), f64::from(stream.rate()));
    average > 0.0 && fitting > 0.0 && (average - fitting).abs() / average.max(fitting) > 0.1
}

/// The stream's average rate.
pub(crate) fn frame_rate(source: &Demuxer, stream: usize) -> Option<FrameRate> {
    let stream = source.input.stream(stream)?;
    [stream.avg_frame_rate(), stream.rate()].into_iter().find_map(|rate| {
        let num = u32::try_from(rate.numerator()).ok()?;
        let den = u32::try_from(rate.denominator()).ok()?;
        (num > 0 && den > 0).then(|| usual_rate(num, den))?
    })
}

/// The usual frame rate nearest to `num / den`. WebM stores a frame's duration in nanoseconds, and FFmpeg turns
/// 16683333 ns into 19001/317; 60000/1001 is meant.
fn usual_rate(num: u32, den: u32) -> Option<FrameRate> {
    let found = f64::from(num) / f64::from(den);
    let whole = [(1000, 1000), (1000, 1001)].into_iter().find_map(|(num, den)| {
        let nearest = (found * f64::from(den) / f64::from(num)).round();
        let exact = nearest * f64::from(num) / f64::from(den);
        ((found / exact - 1.0).abs() < 2e-7).then(|| FrameRate::new(nearest as u32 * num, den).ok())?
    });
    whole.or_else(|| FrameRate::new(num, den).ok())
}

#[cfg(test)]
mod tests {
    use super::usual_rate;

    #[test]
    fn rates_from_nanoseconds_are_the_rationals_meant() {
        for (num, den, text) in [
            (19001, 317, "60000/1001"),
            (30000, 1001, "30000/1001"),
            (30, 1, "30"),
            (24000, 1001, "24000/1001"),
            (2997, 125, "2997/125"),
            (25, 2, "25/2"),
        ] {
            assert_eq!(usual_rate(num, den).unwrap().to_string(), text);
        }
        assert!(usual_rate(90_000, 1).is_none());
    }
}
