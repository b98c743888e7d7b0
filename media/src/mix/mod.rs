//! Sounds into one track, exact to the sample.
//!
//! The mix is made once a render and never per chunk: sound cut at chunk borders clicks. It streams: whatever the render's
//! length, only the voices that sound now are open, each a few frames deep.
//!
//! | step | where |
//! | --- | --- |
//! | decode, to 48 kHz stereo, from a source second on | `reader` |
//! | loop, tempo | `voice` |
//! | gain over time | `gain` |
//! | ceiling | `peak` |
//! | AAC or Opus into a file | `encode` |
//!
//! Effects run between two mixes: [`mix_raw`] writes what goes into them, and what comes out is an input of the next mix.

mod clip;
mod encode;
mod gain;
mod graph;
mod peak;
mod raw;
mod reader;

use std::ops::Range;
use std::path::Path;

use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::spec::Format;

pub use self::clip::MixInput;
use self::clip::{Clip, sample_of};
use self::encode::AudioEncoder;
use self::peak::true_peak;
use self::raw::RawWriter;
pub(crate) use self::reader::AudioReader;
use crate::error::MediaError;
use crate::timescale::SAMPLE_RATE;

/// Samples mixed at a time; at most this much is decoded ahead of what is written.
const BLOCK: usize = 4096;

/// Highest true peak of an output: -1 dB.
const HIGHEST: f64 = 0.891_250_938;

/// Where a correction aims: half a decibel lower, because at another level the encoder makes other errors.
const AIM: f64 = 0.841_395_142;

/// Corrections at most.
const CORRECTIONS: u32 = 3;

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MixSummary {
    /// Samples that play.
    pub samples: u64,
    /// Samples a second, always 48000.
    pub sample_rate: u32,
}

/// Mixes `inputs` into `output`: exactly as long as `frames` at `rate`, in stereo at 48 kHz, as AAC 192 kb/s in mp4 for
/// mp4 and mov, as Opus 128 kb/s in WebM for webm.
///
/// Sounds are summed as they are, without normalising. Mono goes to both sides at its own level; other layouts are mixed down as
/// FFmpeg's `aformat=channel_layouts=stereo` does. Where the encoded sound would have a true peak above -1 dB, all of it is turned
/// down to half a decibel below that, as HyperFrames' export does; a lower one is not touched. `on_progress` gets the done part, 0 to 1, about once a second of sound, and stops the mix
/// by answering false.
pub fn mix(
    inputs: &[MixInput<'_>],
    frames: u64,
    rate: FrameRate,
    format: Format,
    output: &Path,
    on_progress: &mut dyn FnMut(f64) -> bool,
) -> Result<MixSummary, MediaError> {
    let total = rate.samples_of(frames, SAMPLE_RATE);
    if total == 0 {
        return Err(MediaError::Nothing { action: "mix", rate });
    }
    let mut gain = 1.0;
    let mut pass = 0;
    loop {
        let samples = encode(inputs, gain, total, format, output, on_progress)?;
        let peak = true_peak(output)?;
        if peak <= HIGHEST || pass == CORRECTIONS {
            return Ok(MixSummary { samples, sample_rate: SAMPLE_RATE });
        }
        gain *= AIM / peak;
        pass += 1;
    }
}

/// Mixes at `gain` into `output` and answers the samples that play.
fn encode(
    inputs: &[MixInput<'_>],
    gain: f64,
    total: u64,
    format: Format,
    output: &Path,
    on_progress: &mut dyn FnMut(f64) -> bool,
) -> Result<u64, MediaError> {
    let mut encoder = AudioEncoder::create(output, format)?;
    let mut scaled = Vec::with_capacity(BLOCK);
    sum(voices(inputs)?, 0..total, on_progress, &mut |block| {
        scaled.clear();
        // A broken source's infinities would break the encoder.
        let level = |level: f32| if level.is_finite() { level * gain as f32 } else { 0.0 };
        scaled.extend(block.iter().map(|sample| sample.map(level)));
        encoder.push(&scaled)
    })?;
    encoder.finish()
}

/// Sums `inputs` from composition second `from` to `to` into a file of plain samples, without a ceiling: 48 kHz stereo, 32-bit floats,
/// little endian, left and right by turns. Answers their number. `on_progress` is as in [`mix`].
pub fn mix_raw(
    inputs: &[MixInput<'_>],
    from: f64,
    to: f64,
    output: &Path,
    on_progress: &mut dyn FnMut(f64) -> bool,
) -> Result<u64, MediaError> {
    let range = sample_of(from)..sample_of(to);
    let mut writer = RawWriter::create(output)?;
    let count = range.end.saturating_sub(range.start);
    sum(voices(inputs)?, range, on_progress, &mut |block| writer.push(block))?;
    writer.finish()?;
    Ok(count)
}

/// Takes a block of the sum.
type Take<'a> = dyn FnMut(&[[f32; 2]]) -> Result<(), MediaError> + 'a;

fn voices(inputs: &[MixInput<'_>]) -> Result<Vec<Clip>, MediaError> {
    let voices: Result<Vec<_>, _> = inputs.iter().map(Clip::all).collect();
    Ok(voices?.into_iter().flatten().collect())
}

/// Gives the sum of `voices` over `range` to `take`, block after block.
fn sum(
    mut voices: Vec<Clip>,
    range: Range<u64>,
    on_progress: &mut dyn FnMut(f64) -> bool,
    take: &mut Take<'_>,
) -> Result<(), MediaError> {
    let mut block = Vec::with_capacity(BLOCK);
    let mut position = range.start;
    let mut reported = position;
    while position < range.end {
        let length = (range.end - position).min(BLOCK as u64) as usize;
        block.clear();
        block.resize(length, [0.0; 2]);
        for voice in &mut voices {
            voice.add(position, &mut block)?;
        }
        voices.retain(|voice| !voice.is_over(position + length as u64));
        take(&block)?;
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
