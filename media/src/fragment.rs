//! Segments and sound as fragmented mp4, for players that stream a render (HLS). Packets are copied, nothing is
//! decoded.
//!
//! **Invariant: a fragment has absolute times.** Frame `i` of the render is shown at the tick at which [`crate::join()`]
//! puts it in the output, so that fragments fit together in whatever order they are fetched.
//!
//! Headers are written by FFmpeg, which knows every codec's boxes; fragments, which are four numbers a packet, by
//! `boxes`. Reordered frames are shown later than their times by a constant that the header's edit list takes off
//! again: readers without negative composition offsets then agree with those that have them.

use std::path::Path;

use ffmpeg_next::codec::Parameters;
use ffmpeg_next::{Packet, Rational, Rescale};
use hyperfarm_proto::frame::FrameRate;

use crate::boxes::{self, Sample};
use crate::demux::Demuxer;
use crate::error::MediaError;
use crate::ffi::{self, AudioParameters, CodecId};
use crate::mux::{Container, Muxer};
use crate::timescale;
use crate::timescale::SAMPLE_RATE;

/// Position of a segment in its render.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentPosition {
    /// Number of the first frame.
    pub first_frame: u64,
    /// Frames of the segment.
    pub frames: u64,
    /// Frames of the whole render.
    pub total_frames: u64,
    /// Frames a second.
    pub rate: FrameRate,
}

/// A sound as fragments.
#[derive(Debug, Clone, PartialEq)]
pub struct AudioFragments {
    /// The initialization segment, which a player reads before any fragment.
    pub header: Vec<u8>,
    /// Seconds and bytes of each fragment, in order.
    pub fragments: Vec<(f64, Vec<u8>)>,
    /// The codec by its RFC 6381 name, for example `mp4a.40.2`.
    pub codec: &'static str,
}

/// A part of a segment that a player fetches and decodes by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VideoFragment {
    /// Its frames.
    pub frames: u64,
    /// Its boxes.
    pub bytes: Vec<u8>,
}

/// The initialization segment of video track `track`, equal for every segment of a render. `scratch` is a folder for a
/// temporary file.
///
/// # Errors
/// The segment cannot be read, or `scratch` cannot be written.
pub fn video_header(
    segment: &Path,
    track: usize,
    position: SegmentPosition,
    scratch: &Path,
) -> Result<Vec<u8>, MediaError> {
    let source = Demuxer::open(segment).map_err(MediaError::part)?;
    let stream = source.video_track(track).map_err(MediaError::part)?;
    let ticks = timescale::of_track(position.rate, position.total_frames);
    let parameters = source.parameters(stream);
    let lead = lead(&parameters, position.rate, ticks);
    header(scratch, ticks, |muxer| muxer.add_video(parameters, position.rate, ticks, false).map(drop))
        .map(|header| boxes::with_edit_list(&header, Some(lead as u64).filter(|lead| *lead > 0)))
}

/// Ticks by which frames are shown later than their times, so that no frame is shown before it is decoded.
fn lead(parameters: &Parameters, rate: FrameRate, ticks: u32) -> i64 {
    timescale::ticks_up(ffi::video_parameters(parameters).delay, rate, ticks)
}

/// Video track 0 of a segment as fragment `number` of the video.
///
/// # Errors
/// The segment cannot be read, has not exactly its frames, or does not start with a key frame.
pub fn video_fragment(segment: &Path, number: u32, position: SegmentPosition) -> Result<Vec<u8>, MediaError> {
    let mut whole = Vec::new();
    video_fragments(segment, 0, number, position, u64::MAX, &mut |fragment| {
        whole = fragment.bytes;
        Ok(())
    })?;
    Ok(whole)
}

/// Passes video track `track` of a segment to `write` in fragments that begin with a key frame. A fragment ends before the
/// first key frame after `least_frames` frames; `first_number` is the number of the first one.
///
/// # Errors
/// Those of `write`; or the segment cannot be read, has not exactly its frames, or does not start with a key frame.
pub fn video_fragments<E: From<MediaError>>(
    segment: &Path,
    track: usize,
    first_number: u32,
    position: SegmentPosition,
    least_frames: u64,
    write: &mut dyn FnMut(VideoFragment) -> Result<(), E>,
) -> Result<(), E> {
    let wrong = |found, what| MediaError::Frames { path: segment.to_owned(), expected: position.frames, found, what };
    let mut source = Demuxer::open(segment).map_err(MediaError::part)?;
    let stream = source.video_track(track).map_err(MediaError::part)?;
    let (time_base, ticks) = (source.time_base(stream), timescale::of_track(position.rate, position.total_frames));
    let lead = lead(&source.parameters(stream), position.rate, ticks);
    let at = |frame: i64| timescale::ticks(position.first_frame as i64 + frame, position.rate, ticks);
    let mut number = first_number;
    let mut found = 0;
    let (mut samples, mut data) = (Vec::new(), Vec::new());
    let mut end = |found: i64, samples: &mut Vec<Sample>, data: &mut Vec<u8>| {
        let frames = samples.len();
        let bytes = boxes::fragment(number, at(found - frames as i64) as u64, samples, data);
        number += 1;
        samples.clear();
        data.clear();
        write(VideoFragment { frames: frames as u64, bytes })
    };
    while let Some(packet) = source.packet_of(stream).map_err(MediaError::part)? {
        let pts = packet.pts().ok_or_else(|| wrong(found as u64, "a packet without a time"))?;
        let frame = timescale::frame_at(pts, (time_base.numerator(), time_base.denominator()), position.rate);
        if found == 0 && !(frame == 0 && packet.is_key()) {
            return Err(wrong(0, "it does not start with a key frame").into());
        }
        if packet.is_key() && samples.len() as u64 >= least_frames {
            end(found, &mut samples, &mut data)?;
        }
        let bytes = packet.data().unwrap_or_default();
        samples.push(Sample {
            duration: (at(found + 1) - at(found)) as u32,
            bytes: bytes.len() as u32,
            is_key: packet.is_key(),
            composition_offset: (lead + at(frame) - at(found)) as i32,
        });
        data.extend_from_slice(bytes);
        found += 1;
    }
    if found as u64 != position.frames {
        return Err(wrong(found as u64, "packets in the segment").into());
    }
    end(found, &mut samples, &mut data)
}

/// The codec of pictures as players name it (RFC 6381), from their [`video_header`]; `None` where that is not known.
pub fn codec_name(header: &[u8]) -> Option<String> {
    let of = |name: &[u8; 4]| {
        let at = header.windows(4).position(|four| four == name)? + 4;
        header.get(at..at + 8)
    };
    if let Some([_, profile, constraints, level, ..]) = of(b"avcC") {
        return Some(format!("avc1.{profile:02x}{constraints:02x}{level:02x}"));
    }
    let [_, _, _, _, profile, level, depth, ..] = of(b"vpcC")? else { return None };
    Some(format!("vp09.{profile:02}.{level:02}.{:02}", depth >> 4))
}

/// A sound file of [`crate::mix()`] as fragments of about `seconds` each. `scratch` is a folder for a temporary file.
///
/// # Errors
/// The file cannot be read, or `scratch` cannot be written.
pub fn audio_fragments(audio: &Path, seconds: f64, scratch: &Path) -> Result<AudioFragments, MediaError> {
    let mut source = Demuxer::open(audio).map_err(MediaError::part)?;
    let stream = source.audio().map_err(MediaError::part)?;
    let (parameters, time_base) = (source.parameters(stream), source.time_base(stream));
    let AudioParameters { codec, initial_padding, .. } = ffi::audio_parameters(&parameters);
    let is_opus = codec == CodecId::OPUS;
    let samples_base = Rational::new(1, SAMPLE_RATE as i32);
    let header = header(scratch, SAMPLE_RATE, |muxer| muxer.add_audio(parameters, samples_base).map(drop))?;
    let in_samples = |ticks: i64| ticks.rescale(time_base, samples_base);

    let length = (seconds.max(0.1) * f64::from(SAMPLE_RATE)) as u64;
    let mut fragments = Vec::new();
    let mut builder = FragmentBuilder::default();
    let mut skipped = is_opus.then_some(initial_padding);
    while let Some(packet) = source.packet_of(stream).map_err(MediaError::part)? {
        // Priming: samples that a decoder needs before the first one that is heard.
        skipped.get_or_insert_with(|| in_samples(packet.pts().unwrap_or(0)).min(0).unsigned_abs());
        builder.add(&packet, in_samples(packet.duration()).max(1) as u32);
        if builder.length >= length {
            fragments.push(builder.finish(fragments.len()));
        }
    }
    if !builder.samples.is_empty() {
        fragments.push(builder.finish(fragments.len()));
    }
    let header = boxes::with_edit_list(&header, skipped.filter(|skipped| *skipped > 0));
    Ok(AudioFragments { header, fragments, codec: if is_opus { "opus" } else { "mp4a.40.2" } })
}

/// A sound fragment under construction.
#[derive(Default)]
struct FragmentBuilder {
    start: u64,
    length: u64,
    samples: Vec<Sample>,
    data: Vec<u8>,
}

impl FragmentBuilder {
    fn add(&mut self, packet: &Packet, duration: u32) {
        let bytes = packet.data().unwrap_or_default();
        self.samples.push(Sample { duration, bytes: bytes.len() as u32, is_key: true, composition_offset: 0 });
        self.data.extend_from_slice(bytes);
        self.length += u64::from(duration);
    }

    /// Returns the fragment and starts the next one.
    fn finish(&mut self, number: usize) -> (f64, Vec<u8>) {
        let bytes = boxes::fragment(number as u32, self.start, &self.samples, &self.data);
        let seconds = self.length as f64 / f64::from(SAMPLE_RATE);
        *self = Self { start: self.start + self.length, ..Self::default() };
        (seconds, bytes)
    }
}

/// The boxes before the first fragment of a file with one stream.
fn header(
    scratch: &Path,
    ticks: u32,
    add: impl FnOnce(&mut Muxer) -> Result<(), MediaError>,
) -> Result<Vec<u8>, MediaError> {
    let path = scratch.join("header.mp4");
    let mut muxer = Muxer::create(&path, Container::Fragments)?;
    add(&mut muxer)?;
    muxer.start(ticks, ticks, false)?;
    muxer.finish()?;
    let read = std::fs::read(&path).map_err(|source| MediaError::Open { path: path.clone(), source })?;
    Ok(boxes::before_fragments(&read).to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codecs_are_named_by_their_headers() {
        assert_eq!(codec_name(b"....avcC\x01\x64\x00\x1f\xff..."), Some("avc1.64001f".to_owned()));
        assert_eq!(codec_name(b"vpcC\x01\0\0\0\0\x0a\x82\x02"), Some("vp09.00.10.08".to_owned()));
        assert_eq!(codec_name(b"hvcC.........."), None);
    }
}
