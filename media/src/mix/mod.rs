//! Mixes sounds into one track, exact to the sample.
//!
//! The mix is made once a render and never per chunk: sound cut at chunk borders clicks. It streams: only the clips
//! that sound now are open, each with a few frames in memory, however long the render is.
//!
//! | step | where |
//! | --- | --- |
//! | decode, to 48 kHz stereo, from a source second on; loop, tempo | `crate::sound_source` |
//! | place | `clip` |
//! | gain over time | `gain` |
//! | true peak | `peak` |
//! | loudness | `loudness` |
//! | AAC, Opus or PCM into a file | `encode` |
//! | samples in a file between two steps | `raw` |
//!
//! Effects run between two mixes: [`mix_raw`] writes their input, and their output is an input of the next mix.

mod clip;
mod encode;
mod gain;
mod loudness;
mod peak;
mod raw;

use std::ops::Range;
use std::path::{Path, PathBuf};

use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::plan::PlanContent;
use hyperfarm_proto::spec::AudioCodec;

use self::clip::Clip;
pub use self::clip::MixInput;
use self::encode::{AudioEncoder, SoundFormat};
pub use self::loudness::{Levelling, SoundLevel, mix_to_loudness, sound_level};
use self::peak::{PeakMeter, true_peak};
use self::raw::RawWriter;
use crate::error::MediaError;
use crate::isolation::Decoders;
use crate::sound_source::{BlockSink, sample_of};
use crate::timescale::SAMPLE_RATE;

/// Samples mixed at a time.
const BLOCK: usize = 4096;

/// Highest true peak of an output: -1 dB.
const MAX_TRUE_PEAK: f64 = 0.891_250_938;

/// True peak that a correction aims at: half a decibel lower, because at another level the encoder makes other errors.
const CORRECTED_PEAK: f64 = 0.841_395_142;

/// Corrections of the level at most.
const MAX_CORRECTIONS: u32 = 3;

/// Contents of a mixed sound file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MixSummary {
    /// Samples that play.
    pub samples: u64,
    /// Samples a second, always 48000.
    pub sample_rate: u32,
}

/// Files that a mix is written to.
#[derive(Debug, Clone, Copy)]
pub struct MixOutput<'a> {
    /// The encoded sound.
    pub path: &'a Path,
    /// The same samples before they are encoded, as a WAV file of 24 bits.
    pub wav: Option<&'a Path>,
}

impl<'a> From<&'a Path> for MixOutput<'a> {
    fn from(path: &'a Path) -> Self {
        Self { path, wav: None }
    }
}

impl<'a> From<&'a PathBuf> for MixOutput<'a> {
    fn from(path: &'a PathBuf) -> Self {
        Self::from(path.as_path())
    }
}

/// The part of a composition whose sound is mixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MixPart {
    /// Its first frame.
    pub first_frame: u64,
    /// Its frames.
    pub frames: u64,
    /// Frames of the composition.
    pub composition_frames: u64,
    /// Frames a second.
    pub rate: FrameRate,
}

impl MixPart {
    /// The part that the output of a plan shows.
    pub fn of(content: &PlanContent) -> Self {
        let &PlanContent { first_frame, frames, composition_frames, frame_rate, .. } = content;
        Self { first_frame, frames, composition_frames, rate: frame_rate }
    }

    /// All `frames` of a composition.
    pub fn whole(frames: u64, rate: FrameRate) -> Self {
        Self { first_frame: 0, frames, composition_frames: frames, rate }
    }

    /// Its samples among those of the composition.
    fn samples(&self) -> Range<u64> {
        let start = self.rate.samples_of(self.first_frame, SAMPLE_RATE);
        start..start + self.rate.samples_of(self.frames, SAMPLE_RATE)
    }

    /// Its samples, and all samples of the composition.
    fn ranges(&self) -> Result<(Range<u64>, Range<u64>), MediaError> {
        let range = self.samples();
        if range.is_empty() {
            return Err(MediaError::Nothing { action: "mix", rate: self.rate });
        }
        let end = self.rate.samples_of(self.composition_frames, SAMPLE_RATE).max(range.end);
        Ok((range, 0..end))
    }
}

/// Mixes `inputs` into `output`, exactly as long as the frames of `part`: stereo at 48 kHz, AAC at 192 kb/s in mp4,
/// Opus at 128 kb/s in WebM, or PCM of 24 bits in WAV. The samples are written as a WAV file as well, where `output` says.
///
/// Sources are decoded by `decoders`; without any by this process, which suits files that the farm has made.
///
/// Sounds are summed without normalisation. Mono goes to both sides at its own level; other layouts are mixed down as
/// FFmpeg's `aformat=channel_layouts=stereo` does. If the sound has a true peak above -1 dB, the whole mix is
/// turned down to half a decibel below that, as HyperFrames' export does. A part is as loud as in the whole, so its mix
/// takes the whole one's time first. `on_progress` gets the completed part, 0 to
/// 1, about once a second of sound, and stops the mix by answering false.
///
/// # Errors
/// A source cannot be read or decoded, `output` cannot be written, there are no frames, or `on_progress` answered
/// false.
pub fn mix<'a>(
    decoders: Option<&Decoders>,
    inputs: &[MixInput<'_>],
    part: &MixPart,
    codec: impl Into<AudioCodec>,
    output: impl Into<MixOutput<'a>>,
    on_progress: &mut dyn FnMut(f64) -> bool,
) -> Result<MixSummary, MediaError> {
    let (codec, output) = (codec.into(), output.into());
    let (range, whole) = part.ranges()?;
    let mut gain = 1.0;
    let mut pass = 0;
    loop {
        let mut encoded = encode(clips(inputs, decoders)?, gain, whole.clone(), codec, output, on_progress)?;
        let peak = encoded.true_peak(output.path)?;
        if peak <= MAX_TRUE_PEAK || pass == MAX_CORRECTIONS {
            if range != whole {
                encoded = encode(clips(inputs, decoders)?, gain, range, codec, output, on_progress)?;
            }
            return Ok(MixSummary { samples: encoded.samples, sample_rate: SAMPLE_RATE });
        }
        gain *= CORRECTED_PEAK / peak;
        pass += 1;
    }
}

/// A sound that was encoded.
struct Encoded {
    /// Samples that play.
    samples: u64,
    /// True peak of plain samples before what is beyond full scale was cut off; none for other codecs.
    peak: Option<f64>,
}

impl Encoded {
    /// The true peak of this sound, which is in `path`.
    fn true_peak(&self, path: &Path) -> Result<f64, MediaError> {
        self.peak.map_or_else(|| true_peak(path), Ok)
    }
}

/// Mixes the samples `range` of `clips` at `gain` into `output`.
fn encode(
    clips: Vec<Clip>,
    gain: f64,
    range: Range<u64>,
    codec: AudioCodec,
    output: MixOutput<'_>,
    on_progress: &mut dyn FnMut(f64) -> bool,
) -> Result<Encoded, MediaError> {
    let failed = MediaError::make(output.path, "measuring its peak");
    let mut meter = (codec == AudioCodec::Pcm).then(PeakMeter::new).transpose().map_err(&failed)?;
    let mut encoder = AudioEncoder::create(output.path, codec.into())?;
    let mut wav = output.wav.map(|path| AudioEncoder::create(path, SoundFormat::Wav)).transpose()?;
    let mut scaled = Vec::with_capacity(BLOCK);
    // Clips are read from their start on, so a part is the end of a sum from the composition's start.
    let mut left_out = range.start;
    sum(clips, 0..range.end, on_progress, &mut |block| {
        let skipped = left_out.min(block.len() as u64);
        left_out -= skipped;
        let block = block.get(skipped as usize..).unwrap_or_default();
        if block.is_empty() {
            return Ok(());
        }
        scale(block, gain, &mut scaled);
        if let Some(meter) = &mut meter {
            meter.push(&scaled).map_err(&failed)?;
        }
        if let Some(wav) = &mut wav {
            wav.push(&scaled)?;
        }
        encoder.push(&scaled)
    })?;
    if let Some(wav) = wav {
        wav.finish()?;
    }
    let peak = meter.map(PeakMeter::finish).transpose().map_err(&failed)?;
    Ok(Encoded { samples: encoder.finish()?, peak })
}

/// Writes `block` at `gain` to `scaled`. A damaged source may have infinities, with which encoders fail: they are
/// silence.
fn scale(block: &[[f32; 2]], gain: f64, scaled: &mut Vec<[f32; 2]>) {
    let level = |level: f32| if level.is_finite() { level * gain as f32 } else { 0.0 };
    scaled.clear();
    scaled.extend(block.iter().map(|sample| sample.map(level)));
}

/// Sums `inputs` from composition second `from` to `to` into a file of plain samples, without limiting the peak: 48 kHz
/// stereo, 32-bit floats, little endian, left and right by turns. Returns their number. `decoders` and `on_progress` are
/// as in [`mix()`].
///
/// # Errors
/// A source cannot be read or decoded, `output` cannot be written, or `on_progress` answered false.
pub fn mix_raw(
    decoders: Option<&Decoders>,
    inputs: &[MixInput<'_>],
    from: f64,
    to: f64,
    output: &Path,
    on_progress: &mut dyn FnMut(f64) -> bool,
) -> Result<u64, MediaError> {
    write_sum(decoders, inputs, sample_of(from)..sample_of(to), output, on_progress)
}

/// Writes the samples `range` of the sum of `inputs` as [`mix_raw`] does, and returns their number.
fn write_sum(
    decoders: Option<&Decoders>,
    inputs: &[MixInput<'_>],
    range: Range<u64>,
    output: &Path,
    on_progress: &mut dyn FnMut(f64) -> bool,
) -> Result<u64, MediaError> {
    let mut writer = RawWriter::create(output)?;
    let count = range.end.saturating_sub(range.start);
    sum(clips(inputs, decoders)?, range, on_progress, &mut |block| writer.push(block))?;
    writer.finish()?;
    Ok(count)
}

fn clips(inputs: &[MixInput<'_>], decoders: Option<&Decoders>) -> Result<Vec<Clip>, MediaError> {
    let clips: Result<Vec<_>, _> = inputs.iter().map(|input| Clip::all(input, decoders)).collect();
    Ok(clips?.into_iter().flatten().collect())
}

/// Sums `clips` over `range` and calls `sink` with every block.
fn sum(
    mut clips: Vec<Clip>,
    range: Range<u64>,
    on_progress: &mut dyn FnMut(f64) -> bool,
    sink: &mut BlockSink<'_>,
) -> Result<(), MediaError> {
    let mut block = Vec::with_capacity(BLOCK);
    let mut position = range.start;
    let mut reported = position;
    while position < range.end {
        let length = (range.end - position).min(BLOCK as u64) as usize;
        block.clear();
        block.resize(length, [0.0; 2]);
        for clip in &mut clips {
            clip.add(position, &mut block)?;
        }
        clips.retain(|clip| !clip.is_over(position + length as u64));
        sink(&block)?;
        position += length as u64;
        if position - reported >= u64::from(SAMPLE_RATE) || position == range.end {
            reported = position;
            if !on_progress((position - range.start) as f64 / (range.end - range.start) as f64) {
                return Err(MediaError::Stopped);
            }
        }
    }
    Ok(())
}
