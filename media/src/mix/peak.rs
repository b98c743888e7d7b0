//! The true peak: how high the wave goes between samples too, as a player's converter would draw it.

use std::path::Path;

use super::clip::packed;
use super::graph::Chain;
use super::reader::AudioReader;
use crate::error::MediaError;
use crate::timescale::SAMPLE_RATE;

/// Four times the samples are looked at, as ITU-R BS.1770 asks.
const FILTERS: &str = "aresample=192000,aformat=sample_fmts=flt:channel_layouts=stereo";

/// Samples given to the filter at a time.
const PIECE: usize = 4096;

/// The true peak of what `path` plays, linear.
pub(crate) fn true_peak(path: &Path) -> Result<f64, MediaError> {
    let failed = MediaError::undecodable(path, "measuring its peak");
    let mut reader = AudioReader::open(path, 0.0)?;
    let mut chain = Chain::new(SAMPLE_RATE, "flt", "stereo", FILTERS).map_err(&failed)?;
    let (mut samples, mut fine) = (Vec::new(), Vec::new());
    let mut peak = 0.0_f32;
    loop {
        samples.clear();
        fine.clear();
        let more = reader.read(&mut samples)?;
        for piece in samples.chunks(PIECE) {
            let frame = packed(piece).map_err(&failed)?;
            chain.push(&frame).map_err(&failed)?;
        }
        if !more {
            chain.end().map_err(&failed)?;
        }
        chain.pull(&mut fine).map_err(&failed)?;
        peak = fine.iter().flatten().fold(peak, |peak, level| peak.max(level.abs()));
        if !more {
            return Ok(f64::from(peak));
        }
    }
}
