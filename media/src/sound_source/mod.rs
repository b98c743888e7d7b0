//! Reads the sound of a source as 48 kHz stereo from a source second on: looped, and at another tempo.

mod filter_chain;
mod reader;

use std::path::{Path, PathBuf};

use ffmpeg_next::format::Sample;
use ffmpeg_next::format::sample::Type;
use hyperfarm_proto::plan::MediaTiming;

pub(crate) use self::filter_chain::FilterChain;
pub(crate) use self::reader::{AudioReader, BlockSink};
use crate::error::MediaError;
use crate::ffi;
use crate::source::check_start;
use crate::timescale::SAMPLE_RATE;

/// A rate nearer to 1 than this counts as 1: the samples are not changed.
const RATE_TOLERANCE: f64 = 1e-6;

/// Steps in which the tempo is halved or doubled, at most.
const MAX_TEMPO_STEPS: usize = 16;

/// Samples of silence that are returned at once.
const SILENCE_BLOCK: u64 = SAMPLE_RATE as u64;

/// Samples sent to the tempo filter at a time.
const FILTER_BLOCK: usize = 4096;

/// The sample at second `seconds`, from 0.
pub(crate) fn sample_of(seconds: f64) -> u64 {
    (seconds.max(0.0) * f64::from(SAMPLE_RATE)).round() as u64
}

/// An open source at the tempo of its timing.
pub(crate) struct SoundSource {
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

impl SoundSource {
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
pub(crate) fn packed(samples: &[[f32; 2]]) -> Result<ffmpeg_next::frame::Audio, ffmpeg_next::Error> {
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
