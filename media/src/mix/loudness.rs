//! Brings a mix to a loudness by EBU R 128: FFmpeg's `ebur128` measures the whole mix, and one gain is applied to all
//! of it. Where that gain puts the true peak above its limit, FFmpeg's `alimiter` holds the peaks, at four times the
//! sample rate.

use std::ops::Range;
use std::path::{Path, PathBuf};

use ffmpeg_next as ffmpeg;
use hyperfarm_proto::plan::{AudioItem, Loudness, MediaTiming};
use hyperfarm_proto::spec::AudioCodec;

use super::clip::MixInput;
use super::peak::PeakMeter;
use super::raw::{RawReader, RawWriter};
use super::{BLOCK, Encoded, MAX_CORRECTIONS, MixOutput, MixPart, MixSummary, clips, encode, scale, write_sum};
use crate::error::MediaError;
use crate::isolation::Decoders;
use crate::sound_source::{AudioReader, FilterChain, packed};
use crate::timescale::SAMPLE_RATE;

/// Passes over the samples at most, for one limit of the true peak.
const MAX_PASSES: u32 = 8;

/// Loudness units off the target with which no further pass is made.
const TOLERANCE: f64 = 0.05;

/// Linear level that is taken off the limiter's ceiling beside what the encoded sound is above the limit.
const MARGIN: f64 = 0.99;

/// Gain at most: 60 dB.
const MAX_GAIN: f64 = 1000.0;

/// Loudness of a sound without any block above the absolute gate, as `ebur128` says it.
const GATE_LUFS: f64 = -70.0;

/// Measures of a sound.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SoundLevel {
    /// Integrated loudness in LUFS; none where the sound is silent or shorter than 0.4 s.
    pub lufs: Option<f64>,
    /// True peak, linear: 1.0 is full scale.
    pub true_peak: f64,
}

/// How a mix is brought to a loudness.
#[derive(Debug, Clone, Copy)]
pub struct Levelling<'a> {
    /// Its loudness and the limit of its true peak.
    pub target: &'a Loudness,
    /// Folder for samples between two passes, of 384 kB a second each; two files are left in it.
    pub scratch: &'a Path,
}

/// Mixes as [`crate::mix()`] does, with the sound of the whole composition at the loudness of `levelling`. Returns the
/// level of the whole composition's sound as well.
///
/// A sound that has no loudness keeps its level below the limit of the true peak. One whose peaks are far above the
/// rest may come out quieter than its target.
///
/// # Errors
/// As of [`crate::mix()`], or the folder for samples cannot be written.
pub fn mix_to_loudness<'a>(
    decoders: Option<&Decoders>,
    inputs: &[MixInput<'_>],
    part: &MixPart,
    codec: impl Into<AudioCodec>,
    levelling: Levelling<'_>,
    output: impl Into<MixOutput<'a>>,
    on_progress: &mut dyn FnMut(f64) -> bool,
) -> Result<(MixSummary, SoundLevel), MediaError> {
    let Levelling { target, scratch } = levelling;
    let (codec, output) = (codec.into(), output.into());
    let (range, whole) = part.ranges()?;
    let sum = scratch.join("sum.f32");
    write_sum(decoders, inputs, whole.clone(), &sum, on_progress)?;
    let limit = linear(target.true_peak_db.into());
    let mut leveller = Leveller { sum, output: scratch.join("level.f32"), gain: 1.0, ceiling: None, length: whole.end };
    let mut level = leveller.apply(on_progress)?;
    let mut peak_limit = limit;
    let mut pass = 0;
    loop {
        level = leveller.settle(level, target.lufs.into(), peak_limit, on_progress)?;
        let mut encoded = leveller.encode(whole.clone(), codec, output, on_progress)?;
        let peak = encoded.true_peak(output.path)?;
        if peak <= limit || pass == MAX_CORRECTIONS {
            if range != whole {
                encoded = leveller.encode(range, codec, output, on_progress)?;
            }
            return Ok((MixSummary { samples: encoded.samples, sample_rate: SAMPLE_RATE }, level));
        }
        peak_limit *= limit / peak * MARGIN;
        pass += 1;
    }
}

/// The level of the sound in `path`.
///
/// # Errors
/// The file cannot be read or decoded.
pub fn sound_level(path: &Path) -> Result<SoundLevel, MediaError> {
    let failed = MediaError::undecodable(path, "measuring its loudness");
    let mut meter = LevelMeter::new().map_err(&failed)?;
    AudioReader::each_block(path, &mut |samples| meter.push(samples).map_err(&failed))?;
    meter.finish().map_err(&failed)
}

fn linear(decibels: f64) -> f64 {
    10.0_f64.powf(decibels / 20.0)
}

/// Applies a gain, and where needed a limiter, to a file of samples.
struct Leveller {
    sum: PathBuf,
    output: PathBuf,
    gain: f64,
    /// Level that the limiter holds, linear; none without a limiter.
    ceiling: Option<f64>,
    /// Samples of the sum.
    length: u64,
}

impl Leveller {
    /// Changes gain and ceiling until the loudness is `lufs` and the true peak at most `limit`, both before encoding.
    /// `level` is the level of the output so far; returns that of the last pass.
    fn settle(
        &mut self,
        mut level: SoundLevel,
        lufs: f64,
        limit: f64,
        on_progress: &mut dyn FnMut(f64) -> bool,
    ) -> Result<SoundLevel, MediaError> {
        for _ in 0..MAX_PASSES {
            let missing = level.lufs.map_or(0.0, |is| lufs - is);
            if missing.abs() <= TOLERANCE && level.true_peak <= limit {
                break;
            }
            self.gain = (self.gain * linear(missing)).min(MAX_GAIN);
            self.ceiling = match self.ceiling {
                None if level.true_peak * linear(missing) <= limit => None,
                None => Some(limit),
                Some(ceiling) if level.true_peak > limit => Some(ceiling * limit / level.true_peak),
                held => held,
            };
            level = self.apply(on_progress)?;
        }
        Ok(level)
    }

    /// Writes the output anew and measures it.
    fn apply(&self, on_progress: &mut dyn FnMut(f64) -> bool) -> Result<SoundLevel, MediaError> {
        let failed = MediaError::make(&self.output, "levelling the sound");
        let mut reader = RawReader::open(&self.sum)?;
        let mut limiter = self.ceiling.map(limiter).transpose().map_err(&failed)?;
        let mut writer = RawWriter::create(&self.output)?;
        let mut meter = LevelMeter::new().map_err(&failed)?;
        let (mut scaled, mut limited) = (Vec::with_capacity(BLOCK), Vec::new());
        let (mut read, mut written) = (0, 0);
        while written < self.length {
            let block = reader.read(BLOCK)?;
            read += block.len() as u64;
            let ended = block.is_empty();
            scale(block, self.gain, &mut scaled);
            if let Some(chain) = &mut limiter {
                if ended {
                    chain.end().map_err(&failed)?;
                } else {
                    chain.push(&packed(&scaled).map_err(&failed)?).map_err(&failed)?;
                }
                limited.clear();
                chain.pull(&mut limited).map_err(&failed)?;
                std::mem::swap(&mut scaled, &mut limited);
            }
            let missing = (self.length - written) as usize;
            // Resampling there and back may end a few samples early or late.
            if ended || scaled.len() > missing {
                scaled.resize(missing, [0.0; 2]);
            }
            writer.push(&scaled)?;
            meter.push(&scaled).map_err(&failed)?;
            written += scaled.len() as u64;
            if !on_progress(read as f64 / self.length as f64) {
                return Err(MediaError::Stopped);
            }
        }
        writer.finish()?;
        meter.finish().map_err(&failed)
    }

    /// Encodes the samples `range` of the output.
    fn encode(
        &self,
        range: Range<u64>,
        codec: AudioCodec,
        output: MixOutput<'_>,
        on_progress: &mut dyn FnMut(f64) -> bool,
    ) -> Result<Encoded, MediaError> {
        let end = self.length as f64 / f64::from(SAMPLE_RATE);
        let timing = MediaTiming { start: 0.0, end, media_start: 0.0, rate: 1.0, looped: false };
        let item = AudioItem::plain("mix", "mix", timing, Vec::new());
        let inputs = [MixInput { item: &item, path: &self.output, rendered: true }];
        encode(clips(&inputs, None)?, 1.0, range, codec, output, on_progress)
    }
}

/// A limiter that holds the true peak at `ceiling` and delays nothing.
fn limiter(ceiling: f64) -> Result<FilterChain, ffmpeg::Error> {
    let filters = format!(
        "aresample=192000,alimiter=limit={ceiling:.6}:attack=5:release=50:level=0:latency=1,\
         aresample={SAMPLE_RATE},aformat=sample_fmts=flt:channel_layouts=stereo"
    );
    FilterChain::new(SAMPLE_RATE, "flt", "stereo", &filters)
}

/// Measures loudness and true peak of samples that are pushed.
struct LevelMeter {
    chain: FilterChain,
    peak: PeakMeter,
    lufs: Option<f64>,
}

impl LevelMeter {
    fn new() -> Result<Self, ffmpeg::Error> {
        let chain = FilterChain::new(SAMPLE_RATE, "flt", "stereo", "ebur128=metadata=1")?;
        Ok(Self { chain, peak: PeakMeter::new()?, lufs: None })
    }

    fn push(&mut self, samples: &[[f32; 2]]) -> Result<(), ffmpeg::Error> {
        self.peak.push(samples)?;
        for block in samples.chunks(BLOCK) {
            self.chain.push(&packed(block)?)?;
        }
        self.pull()
    }

    fn finish(mut self) -> Result<SoundLevel, ffmpeg::Error> {
        self.chain.end()?;
        self.pull()?;
        Ok(SoundLevel { lufs: self.lufs.filter(|lufs| *lufs > GATE_LUFS), true_peak: self.peak.finish()? })
    }

    fn pull(&mut self) -> Result<(), ffmpeg::Error> {
        let lufs = &mut self.lufs;
        self.chain.pull_frames(|frame| {
            let integrated = frame.metadata().get("lavfi.r128.I").and_then(|text| text.parse::<f64>().ok());
            *lufs = integrated.filter(|integrated| integrated.is_finite()).or(*lufs);
        })
    }
}
