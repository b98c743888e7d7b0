//! Segments and sound as fragmented mp4, for players that fetch a film piece by piece: packets are copied, nothing is decoded.
//!
//! **Invariant: a piece knows its place.** Frame `i` of the render is shown at the tick at which [`crate::join`] puts it in the output, so
//! that pieces fit whatever came before them, and in whatever order they are fetched.
//!
//! Headers are written by FFmpeg, which knows every codec's boxes; the pieces, which are four numbers a packet, here. Reordered pictures
//! are shown later than they are decoded, by as much as the header's edit list then takes off: readers that know no negative
//! offsets agree with those that do.

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

/// Where a segment is in its render.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its first frame.
    pub first: u64,
    /// Its frames.
    pub frames: u64,
    /// Frames of the whole render.
    pub total: u64,
    /// Frames a second.
    pub rate: FrameRate,
}

/// The sound in pieces.
#[derive(Debug, Clone, PartialEq)]
pub struct SoundPieces {
    /// What a player needs before any piece.
    pub header: Vec<u8>,
    /// Seconds and bytes of each piece, in order.
    pub pieces: Vec<(f64, Vec<u8>)>,
    /// The codec as players name it.
    pub codec: &'static str,
}

/// What a player needs before any piece of pictures: the same for every segment of a render. `scratch` is a folder to write into.
pub fn picture_header(segment: &Path, place: Place, scratch: &Path) -> Result<Vec<u8>, MediaError> {
    let source = Demuxer::open(segment).map_err(MediaError::part)?;
    let stream = source.video().map_err(MediaError::part)?;
    let ticks = timescale::of_track(place.rate, place.total);
    let parameters = source.parameters(stream);
    let lead = lead(&parameters, place.rate, ticks);
    header(scratch, ticks, |muxer| muxer.add_video(parameters, place.rate, ticks, false).map(drop))
        .map(|header| boxes::with_edit(&header, Some(lead as u64).filter(|lead| *lead > 0)))
}

/// Ticks by which pictures are shown later than their place says, so that none is shown before it is decoded.
fn lead(parameters: &Parameters, rate: FrameRate, ticks: u32) -> i64 {
    timescale::ticks_up(ffi::video_parameters(parameters).delay, rate, ticks)
}

/// A segment as a piece. Fails if it has not exactly its frames, or does not start with a key frame.
pub fn picture_piece(segment: &Path, number: u32, place: Place) -> Result<Vec<u8>, MediaError> {
    let wrong = |found, what| MediaError::Frames { path: segment.to_owned(), expected: place.frames, found, what };
    let mut source = Demuxer::open(segment).map_err(MediaError::part)?;
    let stream = source.video().map_err(MediaError::part)?;
    let (time_base, ticks) = (source.time_base(stream), timescale::of_track(place.rate, place.total));
    let lead = lead(&source.parameters(stream), place.rate, ticks);
    let at = |frame: i64| timescale::ticks(place.first as i64 + frame, place.rate, ticks);
    let (mut samples, mut data) = (Vec::new(), Vec::new());
    while let Some(packet) = source.packet_of(stream).map_err(MediaError::part)? {
        let found = samples.len() as i64;
        let pts = packet.pts().ok_or_else(|| wrong(found as u64, "a packet without a time"))?;
        let frame = timescale::frame_at(pts, (time_base.numerator(), time_base.denominator()), place.rate);
        if found == 0 && !(frame == 0 && packet.is_key()) {
            return Err(wrong(0, "it does not start with a key frame"));
        }
        let bytes = packet.data().unwrap_or_default();
        samples.push(Sample {
            duration: (at(found + 1) - at(found)) as u32,
            bytes: bytes.len() as u32,
            is_key: packet.is_key(),
            shown_after: (lead + at(frame) - at(found)) as i32,
        });
        data.extend_from_slice(bytes);
    }
    if samples.len() as u64 != place.frames {
        return Err(wrong(samples.len() as u64, "packets in the segment"));
    }
    Ok(boxes::piece(number, at(0) as u64, &samples, &data))
}

/// A file of [`crate::mix()`] in pieces of about `seconds`.
pub fn sound_pieces(audio: &Path, seconds: f64, scratch: &Path) -> Result<SoundPieces, MediaError> {
    let mut source = Demuxer::open(audio).map_err(MediaError::part)?;
    let stream = source.audio().map_err(MediaError::part)?;
    let (parameters, time_base) = (source.parameters(stream), source.time_base(stream));
    let AudioParameters { codec, initial_padding, .. } = ffi::audio_parameters(&parameters);
    let is_opus = codec == CodecId::OPUS;
    let samples_base = Rational::new(1, SAMPLE_RATE as i32);
    let header = header(scratch, SAMPLE_RATE, |muxer| muxer.add_audio(parameters, samples_base).map(drop))?;
    let in_samples = |ticks: i64| ticks.rescale(time_base, samples_base);

    let length = (seconds.max(0.1) * f64::from(SAMPLE_RATE)) as u64;
    let mut pieces = Vec::new();
    let mut piece = SoundPiece::default();
    let mut skipped = is_opus.then_some(initial_padding);
    while let Some(packet) = source.packet_of(stream).map_err(MediaError::part)? {
        // What a decoder needs before the first sample that sounds.
        skipped.get_or_insert_with(|| in_samples(packet.pts().unwrap_or(0)).min(0).unsigned_abs());
        piece.add(&packet, in_samples(packet.duration()).max(1) as u32);
        if piece.length >= length {
            pieces.push(piece.close(pieces.len()));
        }
    }
    if !piece.samples.is_empty() {
        pieces.push(piece.close(pieces.len()));
    }
    let header = boxes::with_edit(&header, skipped.filter(|skipped| *skipped > 0));
    Ok(SoundPieces { header, pieces, codec: if is_opus { "opus" } else { "mp4a.40.2" } })
}

/// A piece of sound that grows.
#[derive(Default)]
struct SoundPiece {
    start: u64,
    length: u64,
    samples: Vec<Sample>,
    data: Vec<u8>,
}

impl SoundPiece {
    fn add(&mut self, packet: &Packet, duration: u32) {
        let bytes = packet.data().unwrap_or_default();
        self.samples.push(Sample { duration, bytes: bytes.len() as u32, is_key: true, shown_after: 0 });
        self.data.extend_from_slice(bytes);
        self.length += u64::from(duration);
    }

    /// The piece, and the next one begins.
    fn close(&mut self, number: usize) -> (f64, Vec<u8>) {
        let bytes = boxes::piece(number as u32, self.start, &self.samples, &self.data);
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
