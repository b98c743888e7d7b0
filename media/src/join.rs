//! Joins segments and sound into the output by copying packets.
//!
//! **Invariant: frame `i` of segment `k` starts at frame `sum(frames before k) + i` of the output, exactly.** Times are
//! computed from frame numbers and never from the segments' own ticks, so nothing drifts and nothing is averaged.

use std::path::{Path, PathBuf};

use ffmpeg_next::{Packet, Rational};
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::hdr::LightLevels;
use hyperfarm_proto::plan::{Caption, EncoderSettings};
use hyperfarm_proto::spec::Size;

use crate::captions::CaptionTrack;
use crate::count::SampleCounter;
use crate::demux::Demuxer;
use crate::error::MediaError;
use crate::hdr::metadata;
use crate::mux::{Container, Muxer};
use crate::{codec, ffi, timescale};

/// One segment on local disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentFile {
    /// The file.
    pub path: PathBuf,
    /// Frames it must hold.
    pub frames: u64,
}

/// What an output has beside its pictures.
#[derive(Debug, Clone, Copy, Default)]
pub struct SideTracks<'a> {
    /// A file of [`crate::mix()`].
    pub audio: Option<&'a Path>,
    /// Captions of the text track of an mp4 or a mov. Without any there is no such track.
    pub captions: &'a [Caption],
    /// The light of an output of high dynamic range, which is written into it.
    pub light: Option<LightLevels>,
}

impl<'a> From<Option<&'a Path>> for SideTracks<'a> {
    fn from(audio: Option<&'a Path>) -> Self {
        Self { audio, captions: &[], light: None }
    }
}

/// Contents of the written output.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct JoinSummary {
    /// Video packets, equal to the frames.
    pub video_packets: u64,
    /// Samples of sound that play; 0 without sound.
    pub audio_samples: u64,
    /// Length of the video in seconds: frames over rate.
    pub duration_seconds: f64,
}

/// Joins `segments` in order, with the tracks `beside` them, into `output`: an mp4, a webm or a mov. For the other
/// formats see [`crate::gif()`] and [`crate::png_frames()`]. Nothing is decoded. The timecode of `settings` is that of
/// the first frame of `segments`.
///
/// # Errors
/// A segment has not exactly its frames, does not start with a key frame, or has other headers or another size than the
/// first, the output cannot be written, or `going_on`, which is called for every packet, answered false. The output is
/// removed then. The user is never at fault: all files are the farm's own.
pub fn join<'a>(
    segments: &[SegmentFile],
    beside: impl Into<SideTracks<'a>>,
    output: &Path,
    settings: &EncoderSettings,
    size: Size,
    rate: FrameRate,
    going_on: &dyn Fn() -> bool,
) -> Result<JoinSummary, MediaError> {
    let SideTracks { audio, captions, light } = beside.into();
    let frames: u64 = segments.iter().map(|segment| segment.frames).sum();
    let first = segments.iter().find(|segment| segment.frames > 0);
    let Some(first) = first else { return Err(MediaError::Nothing { action: "join", rate }) };
    let first = Demuxer::open(&first.path).map_err(MediaError::part)?;
    let stream = first.video().map_err(MediaError::part)?;
    let headers = first.parameters(stream);
    let reference = ffi::video_parameters(&headers);

    let mut muxer = Muxer::create(output, Container::of_segment(settings.format))?;
    let size = settings.codec.coded_size(size);
    let ticks = timescale::of_track(rate, frames);
    let video = muxer.add_video(headers, rate, ticks, codec::declares_alpha(settings))?;
    if let Some(light) = light {
        muxer.add_light(video, light)?;
    }
    if let Some(timecode) = settings.timecode {
        muxer.add_timecode(video, timecode)?;
    }
    let mut sound = audio.map(|path| AudioTrack::open(path, &mut muxer)).transpose()?;
    let mut texts = if captions.is_empty() {
        None
    } else {
        let stream = muxer.add_captions(size)?;
        Some(CaptionTrack::new(stream, captions, rate.seconds_of(frames)))
    };
    muxer.start(ticks, ticks, true)?;
    let mut track = VideoTrack::new(video, rate, muxer.time_base(video), reference.delay);
    track.before_keys = light.map(metadata::units).unwrap_or_default();
    drop(first);

    for segment in segments.iter().filter(|segment| segment.frames > 0) {
        let mut source = Demuxer::open(&segment.path).map_err(MediaError::part)?;
        let stream = source.video().map_err(MediaError::part)?;
        check_headers(segment, &ffi::video_parameters(&source.parameters(stream)), &reference, size)?;
        track.append(&mut source, stream, segment, |packet, before| {
            if !going_on() {
                return Err(MediaError::Stopped);
            }
            if let Some(sound) = &mut sound {
                sound.write_until(before, &mut muxer)?;
            }
            if let Some(texts) = &mut texts {
                texts.write_until(before, &mut muxer)?;
            }
            muxer.write(packet)
        })?;
    }
    if let Some(mut texts) = texts {
        texts.write_until(f64::INFINITY, &mut muxer)?;
    }
    let audio_samples = match sound {
        Some(mut sound) => {
            sound.write_until(f64::INFINITY, &mut muxer)?;
            sound.samples.total()
        }
        None => 0,
    };
    if track.written != frames {
        return Err(frames_error(output, frames, track.written, "packets of pictures in the output"));
    }
    muxer.finish()?;
    Ok(JoinSummary { video_packets: track.written, audio_samples, duration_seconds: rate.seconds_of(frames) })
}

fn frames_error(path: &Path, expected: u64, found: u64, what: &'static str) -> MediaError {
    MediaError::Frames { path: path.to_owned(), expected, found, what }
}

/// Fails unless a segment has the headers of the first one, with which players decode all packets.
fn check_headers(
    segment: &SegmentFile,
    found: &ffi::VideoParameters,
    reference: &ffi::VideoParameters,
    size: Size,
) -> Result<(), MediaError> {
    let refused = |what: String| MediaError::Headers { path: segment.path.clone(), what };
    if (found.width, found.height) != (size.width, size.height) {
        return Err(refused(format!("it is {}x{} and the output {size}", found.width, found.height)));
    }
    if found.extradata != reference.extradata {
        let lengths = (found.extradata.len(), reference.extradata.len());
        return Err(refused(format!("its codec headers differ, {} bytes and {}", lengths.0, lengths.1)));
    }
    if found != reference {
        return Err(refused("its pixel format, colours or reordering differ".to_owned()));
    }
    Ok(())
}

/// The output's video track.
struct VideoTrack {
    stream: usize,
    rate: FrameRate,
    time_base: Rational,
    ticks: u32,
    /// Ticks by which decode times are ahead of frame numbers, so that no frame is decoded after its presentation.
    lead: i64,
    /// What each key frame has before its own data.
    before_keys: Vec<u8>,
    written: u64,
}

impl VideoTrack {
    fn new(stream: usize, rate: FrameRate, time_base: Rational, delay: u32) -> Self {
        // All containers that the farm writes have time bases of the form 1/n.
        let ticks = u32::try_from(time_base.denominator()).unwrap_or(1);
        let lead = timescale::ticks_up(delay, rate, ticks);
        Self { stream, rate, time_base, ticks, lead, before_keys: Vec::new(), written: 0 }
    }

    /// Writes the packets of a segment. `write` gets each packet and its decode time in seconds.
    fn append(
        &mut self,
        source: &mut Demuxer,
        stream: usize,
        segment: &SegmentFile,
        mut write: impl FnMut(&mut Packet, f64) -> Result<(), MediaError>,
    ) -> Result<(), MediaError> {
        let wrong = |found, what| frames_error(&segment.path, segment.frames, found, what);
        let time_base = source.time_base(stream);
        let base = self.written;
        let mut has_packets = vec![false; usize::try_from(segment.frames).unwrap_or(0)];
        let mut found = 0;
        while let Some(mut packet) = source.packet_of(stream).map_err(MediaError::part)? {
            let pts = packet.pts().ok_or_else(|| wrong(found, "a packet without a time"))?;
            let frame = timescale::frame_at(pts, (time_base.numerator(), time_base.denominator()), self.rate);
            let has_packet = usize::try_from(frame).ok().and_then(|frame| has_packets.get_mut(frame));
            let has_packet = has_packet.ok_or_else(|| wrong(found, "a frame behind the end"))?;
            if std::mem::replace(has_packet, true) {
                return Err(wrong(found, "two packets for one frame"));
            }
            if found == 0 && !(frame == 0 && packet.is_key()) {
                return Err(wrong(found, "it does not start with a key frame"));
            }
            let decode = (base + found) as i64;
            let present = base as i64 + frame;
            let at = |frame| timescale::ticks(frame, self.rate, self.ticks);
            let (pts, dts) = (at(present), at(decode) - self.lead);
            if dts > pts {
                return Err(MediaError::Headers {
                    path: segment.path.clone(),
                    what: "its pictures are reordered further than its headers say".to_owned(),
                });
            }
            if packet.is_key() && !self.before_keys.is_empty() {
                packet = ffi::prefixed(&packet, &self.before_keys);
            }
            packet.set_stream(self.stream);
            packet.set_position(-1);
            packet.set_pts(Some(pts));
            packet.set_dts(Some(dts));
            packet.set_duration(at(decode + 1) - at(decode));
            write(&mut packet, dts as f64 * f64::from(self.time_base))?;
            found += 1;
        }
        if found != segment.frames {
            return Err(wrong(found, "packets in the segment"));
        }
        self.written += found;
        Ok(())
    }
}

/// The mixed sound, read beside the segments so that both streams are interleaved in the output.
struct AudioTrack {
    source: Demuxer,
    from: usize,
    to: usize,
    time_base: Rational,
    pending: Option<Packet>,
    samples: SampleCounter,
}

impl AudioTrack {
    fn open(path: &Path, muxer: &mut Muxer) -> Result<Self, MediaError> {
        let mut source = Demuxer::open(path).map_err(MediaError::part)?;
        let from = source.audio().map_err(MediaError::part)?;
        let time_base = source.time_base(from);
        let parameters = source.parameters(from);
        let samples = SampleCounter::new(&ffi::audio_parameters(&parameters), time_base);
        let to = muxer.add_audio(parameters, time_base)?;
        let pending = source.packet_of(from).map_err(MediaError::part)?;
        Ok(Self { source, from, to, time_base, pending, samples })
    }

    /// Writes the packets that start before `seconds`.
    fn write_until(&mut self, seconds: f64, muxer: &mut Muxer) -> Result<(), MediaError> {
        while let Some(mut packet) = self.pending.take() {
            let start = packet.dts().or(packet.pts()).unwrap_or(0) as f64 * f64::from(self.time_base);
            if start >= seconds {
                self.pending = Some(packet);
                break;
            }
            self.samples.add(&packet);
            // WebM readers count the last packet with its full length, so its duration is cut to what plays.
            let padding = ffi::skipped_samples(&packet).1 as f64 / f64::from(crate::timescale::SAMPLE_RATE);
            if padding > 0.0 {
                let played = packet.duration() as f64 - padding / f64::from(self.time_base);
                packet.set_duration(played.round().max(1.0) as i64);
            }
            packet.set_stream(self.to);
            packet.set_position(-1);
            packet.rescale_ts(self.time_base, muxer.time_base(self.to));
            muxer.write(&mut packet)?;
            self.pending = self.source.packet_of(self.from).map_err(MediaError::part)?;
        }
        Ok(())
    }
}
