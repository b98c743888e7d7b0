//! One sound on the mix's timeline: looped, changed in tempo, placed, with its gain.

use std::path::{Path, PathBuf};

use ffmpeg_next::format::Sample;
use ffmpeg_next::format::sample::Type;
use hyperfarm_proto::plan::{AudioItem, MediaTiming};

use super::filter_chain::FilterChain;
use super::gain::GainCurve;
use super::raw::RawReader;
use super::reader::AudioReader;
use crate::error::MediaError;
use crate::ffi;
use crate::isolation::{Decoders, SoundDecoder};
use crate::source::{check_start, check_timing};
use crate::timescale::SAMPLE_RATE;

/// A rate nearer to 1 than this counts as 1: the samples are not changed.
const RATE_TOLERANCE: f64 = 1e-6;

/// Steps in which the tempo is halved or doubled, at most.
const MAX_TEMPO_STEPS: usize = 16;

/// Samples of silence that are returned at once.
const SILENCE_BLOCK: u64 = SAMPLE_RATE as u64;

/// Samples sent to the tempo filter at a time.
const FILTER_BLOCK: usize = 4096;

/// An input of a mix: a sound with its source on local disk.
#[derive(Debug, Clone, Copy)]
pub struct MixInput<'a> {
    /// When and how loud the sound plays.
    pub item: &'a AudioItem,
    /// The source.
    pub path: &'a Path,
    /// Whether `path` holds samples as [`crate::mix_raw`] writes them, from the start of the item's timing on, instead
    /// of a source to decode. The item's gain still applies.
    pub rendered: bool,
}

/// A sound on the mix's timeline. Its file is open only while it sounds.
pub(crate) struct Clip {
    path: PathBuf,
    /// The source's name in the project.
    name: String,
    /// What decodes the source, where this process does not itself.
    decoders: Option<Decoders>,
    timing: MediaTiming,
    rendered: bool,
    gain: GainCurve,
    /// First and one past the last sample of the mix in which it sounds.
    start: u64,
    end: u64,
    reader: Option<ClipReader>,
}

impl Clip {
    /// The clips of a sound: one, or one for each stretch of constant rate.
    pub(crate) fn all(input: &MixInput<'_>, decoders: Option<&Decoders>) -> Result<Vec<Self>, MediaError> {
        let item = input.item;
        if input.rendered || item.stretches.is_empty() {
            return Ok(vec![Self::new(item, &item.timing, input, decoders)?]);
        }
        item.stretches.iter().map(|stretch| Self::new(item, stretch, input, decoders)).collect()
    }

    fn new(
        item: &AudioItem,
        timing: &MediaTiming,
        input: &MixInput<'_>,
        decoders: Option<&Decoders>,
    ) -> Result<Self, MediaError> {
        let path = input.path;
        check_timing(path, timing)?;
        // What lies before the start of the composition is skipped in the source as well.
        let mut timing = timing.clone();
        if timing.start < 0.0 && !input.rendered {
            timing.media_start -= timing.start * timing.rate;
            timing.start = 0.0;
        }
        let (start, end) = (sample_of(timing.start), sample_of(timing.end));
        let gain = GainCurve::new(&item.gain);
        Ok(Self {
            path: path.to_owned(),
            name: item.path.clone(),
            decoders: decoders.cloned(),
            timing,
            rendered: input.rendered,
            gain,
            start,
            end,
            reader: None,
        })
    }

    /// Whether nothing sounds from sample `position` on.
    pub(crate) fn is_over(&self, position: u64) -> bool {
        position >= self.end
    }

    /// Adds to `block`, whose first sample is sample `position` of the mix. Blocks follow each other.
    pub(crate) fn add(&mut self, position: u64, block: &mut [[f32; 2]]) -> Result<(), MediaError> {
        let from = self.start.max(position);
        let to = self.end.min(position + block.len() as u64);
        if from >= to {
            return Ok(());
        }
        let reader = match &mut self.reader {
            Some(reader) => reader,
            None if self.rendered => self.reader.insert(ClipReader::Rendered(RawReader::open(&self.path)?)),
            None => self.reader.insert(match &self.decoders {
                Some(decoders) => ClipReader::Decoder(decoders.sound(&self.path, &self.name, &self.timing)?),
                None => ClipReader::Source(Box::new(SourceReader::open(&self.path, &self.timing)?)),
            }),
        };
        let length = (to - from) as usize;
        let samples = reader.peek(length)?;
        let target = &mut block[(from - position) as usize..][..length];
        for ((mixed, sample), at) in target.iter_mut().zip(samples).zip(from..) {
            let gain = self.gain.at(at);
            mixed[0] += sample[0] * gain;
            mixed[1] += sample[1] * gain;
        }
        reader.skip(length);
        Ok(())
    }
}

/// Sample of the mix at composition second `seconds`.
pub(crate) fn sample_of(seconds: f64) -> u64 {
    (seconds.max(0.0) * f64::from(SAMPLE_RATE)).round() as u64
}

/// Reads the samples of a clip.
enum ClipReader {
    Source(Box<SourceReader>),
    Decoder(SoundDecoder),
    Rendered(RawReader),
}

impl ClipReader {
    /// The next `length` samples, or fewer at the end.
    fn peek(&mut self, length: usize) -> Result<&[[f32; 2]], MediaError> {
        match self {
            Self::Source(source) => source.peek(length),
            Self::Decoder(decoder) => decoder.peek(length),
            Self::Rendered(reader) => reader.read(length),
        }
    }

    /// Drops the first `length` samples.
    fn skip(&mut self, length: usize) {
        match self {
            Self::Source(source) => source.skip(length),
            Self::Decoder(decoder) => decoder.skip(length),
            Self::Rendered(_) => {}
        }
    }
}

/// An open source at the clip's tempo.
pub(crate) struct SourceReader {
    path: PathBuf,
    source: LoopedReader,
    tempo: Option<FilterChain>,
    /// Samples at the clip's tempo that were not read yet.
    ready: Vec<[f32; 2]>,
    raw: Vec<[f32; 2]>,
    /// Samples of the source that are still to be sent to the tempo filter.
    left: usize,
    ended: bool,
}

impl SourceReader {
    pub(crate) fn open(path: &Path, timing: &MediaTiming) -> Result<Self, MediaError> {
        let same = (timing.rate - 1.0).abs() < RATE_TOLERANCE;
        let source = LoopedReader::open(path, timing)?;
        let tempo = if same { None } else { Some(tempo_chain(path, timing.rate, source.reader.rate())?) };
        let left = sample_of((timing.end - timing.start) * timing.rate) as usize;
        Ok(Self { path: path.to_owned(), source, tempo, ready: Vec::new(), raw: Vec::new(), left, ended: false })
    }

    /// The next `length` samples, or fewer at the end.
    pub(crate) fn peek(&mut self, length: usize) -> Result<&[[f32; 2]], MediaError> {
        while self.ready.len() < length && !self.ended {
            match &mut self.tempo {
                None => self.ended = !self.source.read(&mut self.ready)?,
                Some(chain) => {
                    let failed = MediaError::undecodable(&self.path, "changing the tempo");
                    self.raw.clear();
                    // The filter looks ahead, so it must not get samples behind the clip's end.
                    if self.left > 0 && self.source.read(&mut self.raw)? {
                        self.raw.truncate(self.left);
                        self.left -= self.raw.len();
                        for piece in self.raw.chunks(FILTER_BLOCK) {
                            let frame = packed(piece).map_err(&failed)?;
                            chain.push(&frame).map_err(&failed)?;
                        }
                    } else {
                        self.ended = true;
                        chain.end().map_err(&failed)?;
                    }
                    chain.pull(&mut self.ready).map_err(&failed)?;
                }
            }
        }
        Ok(&self.ready[..length.min(self.ready.len())])
    }

    /// Drops the first `length` samples.
    pub(crate) fn skip(&mut self, length: usize) {
        self.ready.drain(..length.min(self.ready.len()));
    }
}

/// A frame of these samples.
pub(super) fn packed(samples: &[[f32; 2]]) -> Result<ffmpeg_next::frame::Audio, ffmpeg_next::Error> {
    let mut frame = ffi::stereo_frame(Sample::F32(Type::Packed), samples.len())?;
    ffi::floats_mut(&mut frame, 0).copy_from_slice(samples.as_flattened());
    Ok(frame)
}

/// A filter that changes the tempo by `rate` and keeps the pitch. Its windows are a number of samples, so it works at
/// the source's own rate of `samples` a second: it then repeats and skips where HyperFrames does.
fn tempo_chain(path: &Path, rate: f64, samples: u32) -> Result<FilterChain, MediaError> {
    let tempo: String = tempo_steps(rate).iter().map(|step| format!("atempo={step:.6},")).collect();
    let filters =
        format!("aresample={samples},{tempo}aformat=sample_fmts=flt:sample_rates={SAMPLE_RATE}:channel_layouts=stereo");
    FilterChain::new(SAMPLE_RATE, "flt", "stereo", &filters)
        .map_err(MediaError::undecodable(path, "changing the tempo"))
}

/// The steps of a change of tempo. Beyond a factor of two in one step the filter skips or repeats instead of blending,
/// so there are halvings or doublings, then the rest.
fn tempo_steps(rate: f64) -> Vec<f64> {
    let whole = if rate < 1.0 { 0.5 } else { 2.0 };
    let mut left = rate;
    let mut steps = Vec::new();
    while !(0.5 - 1e-9..=2.0 + 1e-9).contains(&left) && steps.len() < MAX_TEMPO_STEPS {
        steps.push(whole);
        left /= whole;
    }
    if (left - 1.0).abs() >= 1e-9 {
        steps.push(left.clamp(0.5, 2.0));
    }
    steps
}

/// Reads a source, from its media start again at its end if it is looped.
struct LoopedReader {
    path: PathBuf,
    from: f64,
    looped: bool,
    reader: AudioReader,
    /// Samples of one pass. A video's sound loops with its pictures, whatever its own length.
    pass: Option<u64>,
    /// Samples read in this pass.
    read_in_pass: u64,
    /// Samples of silence up to the end of this pass.
    silence: u64,
    /// Whether the sound of this pass was read to its end.
    at_end: bool,
}

impl LoopedReader {
    fn open(path: &Path, timing: &MediaTiming) -> Result<Self, MediaError> {
        let mut from = timing.media_start;
        let probed = AudioReader::open(path, 0.0)?;
        let duration = probed.duration();
        let has_video = probed.has_video();
        drop(probed);
        match duration {
            // A start before zero may skip whole passes.
            Some(duration) if timing.looped => from %= duration,
            _ => check_start(path, timing, duration)?,
        }
        let pass = duration
            .filter(|_| timing.looped && has_video)
            .map(|duration| ((duration - from) * f64::from(SAMPLE_RATE)).round().max(1.0) as u64);
        let reader = AudioReader::open(path, from)?;
        Ok(Self {
            path: path.to_owned(),
            from,
            looped: timing.looped,
            reader,
            pass,
            read_in_pass: 0,
            silence: 0,
            at_end: false,
        })
    }

    /// Appends some samples; false at the end.
    fn read(&mut self, out: &mut Vec<[f32; 2]>) -> Result<bool, MediaError> {
        if self.silence > 0 {
            let length = self.silence.min(SILENCE_BLOCK);
            out.extend(std::iter::repeat_n([0.0; 2], length as usize));
            self.silence -= length;
            return Ok(true);
        }
        if self.at_end {
            self.reader = AudioReader::open(&self.path, self.from)?;
            self.read_in_pass = 0;
            self.at_end = false;
        }
        let before = out.len();
        let more = self.reader.read(out)?;
        if let Some(left) = self.pass.map(|pass| (pass - self.read_in_pass) as usize) {
            out.truncate(before + left.min(out.len() - before));
        }
        self.read_in_pass += (out.len() - before) as u64;
        let full = self.pass.is_some_and(|pass| self.read_in_pass >= pass);
        if more && !full {
            return Ok(true);
        }
        if !self.looped || self.read_in_pass == 0 {
            return Ok(false);
        }
        self.silence = self.pass.map_or(0, |pass| pass.saturating_sub(self.read_in_pass));
        self.at_end = true;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tempo_is_made_in_steps_of_two_at_most() {
        assert_eq!(tempo_steps(0.75), [0.75]);
        assert_eq!(tempo_steps(2.0), [2.0]);
        assert_eq!(tempo_steps(5.0), [2.0, 2.0, 1.25]);
        assert_eq!(tempo_steps(0.2), [0.5, 0.5, 0.8]);
        assert_eq!(tempo_steps(4.0), [2.0, 2.0]);
    }
}
