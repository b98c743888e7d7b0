//! One sound: looped, brought to its tempo, placed and scaled.

use std::path::{Path, PathBuf};

use ffmpeg_next::format::Sample;
use ffmpeg_next::format::sample::Type;
use hyperfarm_proto::plan::{AudioItem, MediaTiming};

use super::gain::GainCurve;
use super::graph::Chain;
use super::raw::RawReader;
use super::reader::AudioReader;
use crate::error::MediaError;
use crate::ffi;
use crate::source::{check_start, check_timing};
use crate::timescale::SAMPLE_RATE;

/// Nearer to 1 than this, a rate is 1 and the sound stays bit by bit.
const SAME_RATE: f64 = 1e-6;

/// Halvings or doublings of the tempo at most.
const MOST_STEPS: usize = 16;

/// Samples given to the tempo filter at a time.
const PIECE: usize = 4096;

/// One sound with its source on local disk.
#[derive(Debug, Clone, Copy)]
pub struct MixInput<'a> {
    /// When and how loud it plays.
    pub item: &'a AudioItem,
    /// Its source.
    pub path: &'a Path,
    /// Whether `path` holds the very samples from the start of the item's timing on, as [`mix_raw`] writes them, instead of a
    /// source to decode. The item's gain still applies.
    pub rendered: bool,
}

/// A sound on the mix's timeline. Its file is open only while it sounds.
pub(crate) struct Clip {
    path: PathBuf,
    timing: MediaTiming,
    rendered: bool,
    gain: GainCurve,
    /// First and one past the last sample of the mix in which it sounds.
    start: u64,
    end: u64,
    playing: Option<Playing>,
}

impl Clip {
    /// The voices of a sound: one, or one for each stretch of a rate.
    pub(crate) fn all(input: &MixInput<'_>) -> Result<Vec<Self>, MediaError> {
        let item = input.item;
        if input.rendered || item.stretches.is_empty() {
            return Ok(vec![Self::new(item, &item.timing, input)?]);
        }
        item.stretches.iter().map(|stretch| Self::new(item, stretch, input)).collect()
    }

    fn new(item: &AudioItem, timing: &MediaTiming, input: &MixInput<'_>) -> Result<Self, MediaError> {
        let path = input.path;
        check_timing(path, timing)?;
        // What would have sounded before the composition begins is skipped in the source as well.
        let mut timing = timing.clone();
        if timing.start < 0.0 && !input.rendered {
            timing.media_start -= timing.start * timing.rate;
            timing.start = 0.0;
        }
        let (start, end) = (sample_of(timing.start), sample_of(timing.end));
        let gain = GainCurve::new(&item.gain);
        Ok(Self { path: path.to_owned(), timing, rendered: input.rendered, gain, start, end, playing: None })
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
        let playing = match &mut self.playing {
            Some(playing) => playing,
            None if self.rendered => self.playing.insert(Playing::Rendered(RawReader::open(&self.path)?)),
            None => self.playing.insert(Playing::Source(Box::new(Source::open(&self.path, &self.timing)?))),
        };
        let length = (to - from) as usize;
        let samples = playing.take(length)?;
        let target = &mut block[(from - position) as usize..][..length];
        for ((mixed, sample), at) in target.iter_mut().zip(samples).zip(from..) {
            let gain = self.gain.at(at);
            mixed[0] += sample[0] * gain;
            mixed[1] += sample[1] * gain;
        }
        playing.forget(length);
        Ok(())
    }
}

/// Sample of the mix at composition second `seconds`.
pub(crate) fn sample_of(seconds: f64) -> u64 {
    (seconds.max(0.0) * f64::from(SAMPLE_RATE)).round() as u64
}

/// What gives a voice its samples.
enum Playing {
    Source(Box<Source>),
    Rendered(RawReader),
}

impl Playing {
    /// The next `length` samples, or fewer at the end.
    fn take(&mut self, length: usize) -> Result<&[[f32; 2]], MediaError> {
        match self {
            Self::Source(source) => source.take(length),
            Self::Rendered(reader) => reader.take(length),
        }
    }

    /// Gives up the first `length` samples.
    fn forget(&mut self, length: usize) {
        if let Self::Source(source) = self {
            source.forget(length);
        }
    }
}

/// An open source, giving the samples of the voice one after another; silence behind the end.
struct Source {
    path: PathBuf,
    source: Looped,
    tempo: Option<Chain>,
    ready: Vec<[f32; 2]>,
    raw: Vec<[f32; 2]>,
    /// Samples of the source that the tempo filter still gets: as many as sound.
    left: usize,
    ended: bool,
}

impl Source {
    fn open(path: &Path, timing: &MediaTiming) -> Result<Self, MediaError> {
        let same = (timing.rate - 1.0).abs() < SAME_RATE;
        let source = Looped::open(path, timing)?;
        let tempo = if same { None } else { Some(tempo_chain(path, timing.rate, source.reader.rate())?) };
        let left = sample_of((timing.end - timing.start) * timing.rate) as usize;
        Ok(Self { path: path.to_owned(), source, tempo, ready: Vec::new(), raw: Vec::new(), left, ended: false })
    }

    /// The next `length` samples, or fewer at the end.
    fn take(&mut self, length: usize) -> Result<&[[f32; 2]], MediaError> {
        while self.ready.len() < length && !self.ended {
            match &mut self.tempo {
                None => self.ended = !self.source.read(&mut self.ready)?,
                Some(chain) => {
                    let failed = MediaError::undecodable(&self.path, "changing the tempo");
                    self.raw.clear();
                    // The filter looks ahead, so what it is not to sound it must not hear.
                    if self.left > 0 && self.source.read(&mut self.raw)? {
                        self.raw.truncate(self.left);
                        self.left -= self.raw.len();
                        for piece in self.raw.chunks(PIECE) {
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

    /// Gives up the first `length` samples.
    fn forget(&mut self, length: usize) {
        self.ready.drain(..length.min(self.ready.len()));
    }
}

/// A frame of these samples.
pub(super) fn packed(samples: &[[f32; 2]]) -> Result<ffmpeg_next::frame::Audio, ffmpeg_next::Error> {
    let mut frame = ffi::stereo_frame(Sample::F32(Type::Packed), samples.len())?;
    ffi::floats_mut(&mut frame, 0).copy_from_slice(samples.as_flattened());
    Ok(frame)
}

/// Keeps the pitch. The filter's windows are a number of samples, so it works at the source's own rate of `samples` a second:
/// where it repeats and leaves out is then where HyperFrames does.
fn tempo_chain(path: &Path, rate: f64, samples: u32) -> Result<Chain, MediaError> {
    let tempo: String = tempo_steps(rate).iter().map(|step| format!("atempo={step:.6},")).collect();
    let filters =
        format!("aresample={samples},{tempo}aformat=sample_fmts=flt:sample_rates={SAMPLE_RATE}:channel_layouts=stereo");
    Chain::new(SAMPLE_RATE, "flt", "stereo", &filters).map_err(MediaError::undecodable(path, "changing the tempo"))
}

/// Beyond a factor of two in one step the filter skips or repeats instead of blending, so there are more: whole halvings or
/// doublings, then what is left.
fn tempo_steps(rate: f64) -> Vec<f64> {
    let whole = if rate < 1.0 { 0.5 } else { 2.0 };
    let mut left = rate;
    let mut steps = Vec::new();
    while !(0.5 - 1e-9..=2.0 + 1e-9).contains(&left) && steps.len() < MOST_STEPS {
        steps.push(whole);
        left /= whole;
    }
    if (left - 1.0).abs() >= 1e-9 {
        steps.push(left.clamp(0.5, 2.0));
    }
    steps
}

/// A source that starts again at its media start when it runs out, if it is looped.
struct Looped {
    path: PathBuf,
    from: f64,
    looped: bool,
    reader: AudioReader,
    /// Samples of one pass. A video's sound loops with its pictures, whatever its own length.
    pass: Option<u64>,
    /// Samples given in this pass.
    given: u64,
}

impl Looped {
    fn open(path: &Path, timing: &MediaTiming) -> Result<Self, MediaError> {
        let mut from = timing.media_start;
        let probed = AudioReader::open(path, 0.0)?;
        let duration = probed.duration();
        let has_video = probed.has_video();
        drop(probed);
        match duration {
            // Skipped as a whole by a start before zero.
            Some(duration) if timing.looped => from %= duration,
            _ => check_start(path, timing, duration)?,
        }
        let pass = duration
            .filter(|_| timing.looped && has_video)
            .map(|duration| ((duration - from) * f64::from(SAMPLE_RATE)).round().max(1.0) as u64);
        let reader = AudioReader::open(path, from)?;
        Ok(Self { path: path.to_owned(), from, looped: timing.looped, reader, pass, given: 0 })
    }

    /// Appends some samples; false at the end.
    fn read(&mut self, out: &mut Vec<[f32; 2]>) -> Result<bool, MediaError> {
        let before = out.len();
        let more = self.reader.read(out)?;
        if let Some(left) = self.pass.map(|pass| (pass - self.given) as usize) {
            out.truncate(before + left.min(out.len() - before));
        }
        self.given += (out.len() - before) as u64;
        let full = self.pass.is_some_and(|pass| self.given >= pass);
        if more && !full {
            return Ok(true);
        }
        if !self.looped || self.given == 0 {
            return Ok(false);
        }
        if let Some(missing) = self.pass.map(|pass| (pass - self.given) as usize) {
            out.extend(std::iter::repeat_n([0.0; 2], missing));
        }
        self.reader = AudioReader::open(&self.path, self.from)?;
        self.given = 0;
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
