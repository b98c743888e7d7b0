//! The true peak of a sound: its highest level between samples too, as a digital-to-analogue converter reproduces it.

use std::path::Path;

use super::clip::packed;
use super::filter_chain::FilterChain;
use super::reader::AudioReader;
use crate::error::MediaError;
use crate::timescale::SAMPLE_RATE;

/// Oversampling by four, as in ITU-R BS.1770.
const FILTERS: &str = "aresample=192000,aformat=sample_fmts=flt:channel_layouts=stereo";

/// Samples sent to the filter at a time.
const FILTER_BLOCK: usize = 4096;

/// The true peak of the sound in `path`, linear: 1.0 is full scale.
pub(crate) fn true_peak(path: &Path) -> Result<f64, MediaError> {
    let failed = MediaError::undecodable(path, "measuring its peak");
    let mut reader = AudioReader::open(path, 0.0)?;
    let mut chain = FilterChain::new(SAMPLE_RATE, "flt", "stereo", FILTERS).map_err(&failed)?;
    let (mut samples, mut oversampled) = (Vec::new(), Vec::new());
    let mut peak = 0.0_f32;
    loop {
        samples.clear();
        oversampled.clear();
        let more = reader.read(&mut samples)?;
        for piece in samples.chunks(FILTER_BLOCK) {
            let frame = packed(piece).map_err(&failed)?;
            chain.push(&frame).map_err(&failed)?;
        }
        if !more {
            chain.end().map_err(&failed)?;
        }
        chain.pull(&mut oversampled).map_err(&failed)?;
        peak = oversampled.iter().flatten().fold(peak, |peak, level| peak.max(level.abs()));
        if !more {
            return Ok(f64::from(peak));
        }
    }
}
