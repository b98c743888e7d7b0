//! Counts the packets, frames and samples of a file without decoding it.

use std::path::Path;

use ffmpeg_next::{Packet, Rational};
use hyperfarm_proto::frame::FrameRate;

use crate::demux::Demuxer;
use crate::error::MediaError;
use crate::ffi::{self, AudioParameters, CodecId};
use crate::{probe, timescale};

/// Packets of a file, and what their times say.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PacketCount {
    /// Packets of pictures.
    pub video: u64,
    /// Packets of sound.
    pub audio: u64,
    /// Samples of sound that play, without what decoders drop at both ends.
    pub audio_samples: u64,
    /// Seconds at which the first picture shows.
    pub first_video_pts: Option<f64>,
    /// Seconds at which the last picture ends.
    pub video_end: Option<f64>,
    /// Whether decode times are strictly increasing.
    pub dts_increase: bool,
    /// Whether frames, in order of presentation, start one frame after another without gap or overlap. False where the
    /// file has no frame rate.
    pub frames_contiguous: bool,
    /// Frame numbers of the key frames, ascending.
    pub key_frames: Vec<u64>,
}

/// Reads every packet of `path`.
///
/// # Errors
/// Those of [`crate::probe()`], or a packet cannot be read.
pub fn count_packets(path: &Path) -> Result<PacketCount, MediaError> {
    count_packets_while(path, &|| true)
}

/// Reads every packet of `path`. `going_on` is called for every packet and stops the work by answering false.
///
/// # Errors
/// Those of [`count_packets`], or `going_on` answered false.
pub fn count_packets_while(path: &Path, going_on: &dyn Fn() -> bool) -> Result<PacketCount, MediaError> {
    let mut source = Demuxer::open(path)?;
    let video = source.video().ok();
    let audio = source.audio().ok();
    if video.is_none() && audio.is_none() {
        return Err(MediaError::NoStream { path: path.to_owned(), kind: "picture or sound" });
    }
    let rate = video.and_then(|stream| probe::frame_rate(&source, stream));
    let time_base = video.map_or(Rational::new(1, 1), |stream| source.time_base(stream));
    let mut samples = audio
        .map(|stream| SampleCounter::new(&ffi::audio_parameters(&source.parameters(stream)), source.time_base(stream)));
    let mut count = PacketCount { dts_increase: true, ..PacketCount::default() };
    let mut times = Vec::new();
    let mut last_dts = None;
    let mut end = None;
    while let Some(packet) = source.packet()? {
        if !going_on() {
            return Err(MediaError::Stopped);
        }
        if Some(packet.stream()) == audio {
            count.audio += 1;
            if let Some(samples) = &mut samples {
                samples.add(&packet);
            }
        } else if Some(packet.stream()) == video {
            count.video += 1;
            if let Some(dts) = packet.dts() {
                count.dts_increase &= last_dts.is_none_or(|last| last < dts);
                last_dts = Some(dts);
            }
            if let Some(pts) = packet.pts() {
                times.push((pts, packet.is_key()));
                end = end.max(Some(pts + packet.duration()));
            }
        }
    }
    times.sort_unstable();
    let seconds = |ticks: i64| ticks as f64 * f64::from(time_base);
    count.first_video_pts = times.first().map(|(pts, _)| seconds(*pts));
    count.video_end = end.map(seconds);
    count.audio_samples = samples.map_or(0, |samples| samples.total());
    if let Some(rate) = rate {
        check_frame_times(&mut count, &times, time_base, rate);
    }
    Ok(count)
}

fn check_frame_times(count: &mut PacketCount, times: &[(i64, bool)], time_base: Rational, rate: FrameRate) {
    let Some((first, _)) = times.first() else { return };
    let ticks = (time_base.numerator(), time_base.denominator());
    count.frames_contiguous = times.len() as u64 == count.video;
    for (at, (pts, key)) in times.iter().enumerate() {
        count.frames_contiguous &= timescale::frame_at(pts - first, ticks, rate) == at as i64;
        if *key {
            count.key_frames.push(at as u64);
        }
    }
}

/// Counts the samples that the packets of a stream play.
///
/// In mp4 the times say it: priming lies before zero, and the last packet's duration is cut to what plays. WebM's times
/// are whole milliseconds, but its codec delay and discard padding are in samples, and an Opus packet's first byte says
/// its length.
pub(crate) struct SampleCounter {
    parameters: AudioParameters,
    time_base: Rational,
    /// Samples in Opus packets.
    opus_samples: u64,
    end: i64,
    skipped_at_end: u64,
}

impl SampleCounter {
    pub(crate) fn new(parameters: &AudioParameters, time_base: Rational) -> Self {
        Self { parameters: parameters.clone(), time_base, opus_samples: 0, end: 0, skipped_at_end: 0 }
    }

    pub(crate) fn add(&mut self, packet: &Packet) {
        self.opus_samples += opus_samples(packet.data().unwrap_or_default());
        self.end = self.end.max(packet.pts().unwrap_or(0) + packet.duration());
        self.skipped_at_end = ffi::skipped_samples(packet).1;
    }

    pub(crate) fn total(&self) -> u64 {
        let rate = i64::from(self.parameters.sample_rate);
        let has_sample_ticks = i64::from(self.time_base.denominator()) >= rate * i64::from(self.time_base.numerator());
        if has_sample_ticks || self.parameters.codec != CodecId::OPUS {
            let samples = i128::from(self.end) * i128::from(self.time_base.numerator()) * i128::from(rate)
                / i128::from(self.time_base.denominator().max(1));
            return u64::try_from(samples).unwrap_or(0);
        }
        self.opus_samples.saturating_sub(self.parameters.initial_padding).saturating_sub(self.skipped_at_end)
    }
}

/// Samples at 48 kHz in an Opus packet (RFC 6716, section 3.1).
fn opus_samples(packet: &[u8]) -> u64 {
    let Some(first) = packet.first() else { return 0 };
    let frame = match first >> 3 {
        config @ 0..=11 => [480, 960, 1920, 2880][usize::from(config % 4)],
        config @ 12..=15 => [480, 960][usize::from(config % 2)],
        config => [120, 240, 480, 960][usize::from(config % 4)],
    };
    let frames = match first & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u64::from(packet.get(1).map_or(0, |count| count & 63)),
    };
    frame * frames
}
