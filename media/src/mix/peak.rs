//! The true peak of a sound: its highest level between samples too, as a digital-to-analogue converter reproduces it.

use std::path::Path;

use ffmpeg_next as ffmpeg;

use crate::error::MediaError;
use crate::sound_source::{AudioReader, FilterChain, packed};
use crate::timescale::SAMPLE_RATE;

/// Oversampling by four, as in ITU-R BS.1770.
const FILTERS: &str = "aresample=192000,aformat=sample_fmts=flt:channel_layouts=stereo";

/// Samples sent to the filter at a time.
const FILTER_BLOCK: usize = 4096;

/// Measures the true peak of samples that are pushed.
pub(super) struct PeakMeter {
    chain: FilterChain,
    oversampled: Vec<[f32; 2]>,
    peak: f32,
}

impl PeakMeter {
    pub(super) fn new() -> Result<Self, ffmpeg::Error> {
        let chain = FilterChain::new(SAMPLE_RATE, "flt", "stereo", FILTERS)?;
        Ok(Self { chain, oversampled: Vec::new(), peak: 0.0 })
    }

    pub(super) fn push(&mut self, samples: &[[f32; 2]]) -> Result<(), ffmpeg::Error> {
        for block in samples.chunks(FILTER_BLOCK) {
            self.chain.push(&packed(block)?)?;
        }
        self.pull()
    }

    /// The true peak, linear: 1.0 is full scale.
    pub(super) fn finish(mut self) -> Result<f64, ffmpeg::Error> {
        self.chain.end()?;
        self.pull()?;
        Ok(f64::from(self.peak))
    }

    fn pull(&mut self) -> Result<(), ffmpeg::Error> {
        self.oversampled.clear();
        self.chain.pull(&mut self.oversampled)?;
        self.peak = self.oversampled.iter().flatten().fold(self.peak, |peak, level| peak.max(level.abs()));
        Ok(())
    }
}

/// The true peak of the sound in `path`, linear: 1.0 is full scale.
pub(crate) fn true_peak(path: &Path) -> Result<f64, MediaError> {
    let failed = MediaError::undecodable(path, "measuring its peak");
    let mut meter = PeakMeter::new().map_err(&failed)?;
    AudioReader::each_block(path, &mut |samples| meter.push(samples).map_err(&failed))?;
    meter.finish().map_err(&failed)
}
