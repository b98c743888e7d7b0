//! What a file says about itself.

use std::path::Path;

use ffmpeg_next as ffmpeg;
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::spec::Size;

use crate::convert::{Rotation, in_square_pixels};
use crate::demux::Demuxer;
use crate::error::MediaError;
use crate::ffi::{self, CodecId};
use crate::timescale::SAMPLE_RATE;

/// A file's streams.
#[derive(Debug, Clone, PartialEq)]
pub struct MediaInfo {
    /// Seconds, where the container says.
    pub duration: Option<f64>,
    /// The stream of pictures a player would show.
    pub video: Option<VideoInfo>,
    /// The stream of sound a player would play.
    pub audio: Option<AudioInfo>,
    /// FFmpeg's name of the container, for example `mov,mp4,m4a,3gp,3g2,mj2`.
    pub container: String,
}

/// Colour tags by FFmpeg's names (`bt709`, `tv`); `unknown` where absent.
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// A stream of pictures.
#[derive(Debug, Clone, PartialEq)]
pub struct VideoInfo {
    /// FFmpeg's name of the codec, for example `h264`.
    pub codec: String,
    /// FFmpeg's name of the pixel format; for VP8 and VP9 with alpha that of the colour planes.
    pub pixel_format: String,
    /// Coded pixels, before turning.
    pub size: Size,
    /// Average rate, where known and between 1 and 240. What WebM can only tell to a nanosecond a frame is given as
    /// the exact rational it stands for.
    pub frame_rate: Option<FrameRate>,
    /// Frames, where the container counts them.
    pub frames: Option<u64>,
    /// Seconds a tick, as (numerator, denominator).
    pub time_base: (i32, i32),
    /// Colour tags.
    pub color: ColorTags,
    /// Whether pictures have transparency.
    pub has_alpha: bool,
    /// Degrees clockwise to turn pictures by for display: 0, 90, 180 or 270.
    pub rotation: u32,
    /// Seconds from the start of the file's timeline to the end of the pictures, where known.
    pub duration: Option<f64>,
    /// Size for display: in square pixels, turned.
    pub display: Size,
}

/// A stream of sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AudioInfo {
    /// FFmpeg's name of the codec, for example `aac`.
    pub codec: String,
    /// Samples a second.
    pub sample_rate: u32,
    /// Channels.
    pub channels: u32,
    /// Samples a channel by the container's duration, where it says; containers round ([`crate::count_packets`] is exact).
    pub samples: Option<u64>,
}

/// Reads the headers of `path` and, as far as they do not say, a few packets.
///
/// Fails if the file is missing, empty, cut off or no media; never panics whatever its bytes.
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

/// Whether the stream's pictures have transparency: by pixel format, or a WebM track that promises an alpha plane.
pub(crate) fn has_alpha(source: &Demuxer, stream: usize) -> bool {
    let promised = source.input.stream(stream).is_some_and(|stream| stream.metadata().get("alpha_mode") == Some("1"));
    promised || ffi::video_parameters(&source.parameters(stream)).pixel.has_alpha()
}

/// How far the stream's pictures are turned for display.
pub(crate) fn rotation(source: &Demuxer, stream: usize) -> Rotation {
    let Some(stream) = source.input.stream(stream) else { return Rotation::None };
    stream
        .side_data()
        .find(|data| ffi::is_side_data(data, ffmpeg::ffi::AVPacketSideDataType::AV_PKT_DATA_DISPLAYMATRIX))
        .map_or(Rotation::None, |data| Rotation::from_display_matrix(data.data()))
}

/// Seconds from the start of the file's timeline to the end of the stream's pictures; sound may last longer.
pub(crate) fn video_duration(source: &Demuxer, stream: usize) -> Option<f64> {
    // Animated pictures have no index that says how long they last, and are short enough to be read.
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

/// Seconds that all packets of an animated picture last together.
fn animation_duration(source: &Demuxer, stream: usize) -> Option<f64> {
    let mut again = Demuxer::open(&source.path).ok()?;
    let mut end = 0;
    while let Ok(Some(packet)) = again.packet_of(stream) {
        end = end.max(packet.pts().unwrap_or(end).saturating_add(packet.duration().max(0)));
    }
    (end > 0).then(|| end as f64 * f64::from(again.time_base(stream)))
}

/// Size of the stream's pictures in square pixels, turned.
pub(crate) fn display_size(source: &Demuxer, stream: usize) -> Size {
    let view = ffi::video_parameters(&source.parameters(stream));
    let size = in_square_pixels(Size { width: view.width, height: view.height }, view.aspect);
    rotation(source, stream).turned(size)
}

/// Whether the stream's pictures last differently long: its average rate is a tenth off the one that all its times fit.
pub(crate) fn is_uneven(source: &Demuxer, stream: usize) -> bool {
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
        (num > 0 && den > 0).then(|| snapped(num, den))?
    })
}

/// WebM tells a frame's nanoseconds, and FFmpeg turns 16683333 of them into 19001/317: the rational meant is one of few.
fn snapped(num: u32, den: u32) -> Option<FrameRate> {
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
    use super::snapped;

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
            assert_eq!(snapped(num, den).unwrap().to_string(), text);
        }
        assert!(snapped(90_000, 1).is_none());
    }
}
