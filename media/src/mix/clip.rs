//! One sound on the mix's timeline: placed, with its gain.

use std::path::{Path, PathBuf};

use hyperfarm_proto::plan::{AudioItem, MediaTiming};

use super::gain::GainCurve;
use super::raw::RawReader;
use crate::error::MediaError;
use crate::isolation::{Decoders, SoundDecoder};
use crate::sound_source::{SoundSource, sample_of};
use crate::source::check_timing;

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
        let gain = GainCurve::new(&item.gain);
        if input.rendered || item.stretches.is_empty() {
            return Ok(vec![Self::new(&item.timing, gain, input, decoders)?]);
        }
        item.stretches.iter().map(|stretch| Self::new(stretch, gain.clone(), input, decoders)).collect()
    }

    fn new(
        timing: &MediaTiming,
        gain: GainCurve,
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
        Ok(Self {
            path: path.to_owned(),
            name: input.item.path.clone(),
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
                None => ClipReader::Source(Box::new(SoundSource::open(&self.path, &self.timing)?)),
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

/// Reads the samples of a clip.
enum ClipReader {
    Source(Box<SoundSource>),
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
