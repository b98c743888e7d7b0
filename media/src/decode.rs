//! Decodes whole files, for verification and tests.

use std::path::Path;

use crate::bitmap::Picture;
use crate::error::MediaError;
use crate::limits::OWN_PIXELS;
use crate::sound_source::AudioReader;
use crate::source::reader::FrameReader;

/// Decodes `path` and calls `each` with every picture, numbered from 0 in order of presentation, until it answers
/// false. Returns the number of calls.
///
/// # Errors
/// The file cannot be opened or decoded.
pub fn decode_video(path: &Path, each: &mut dyn FnMut(u64, &Picture) -> bool) -> Result<u64, MediaError> {
    let mut reader = FrameReader::open(path, OWN_PIXELS)?;
    let mut converter = reader.converter();
    let mut count = 0;
    while let Some((frame, _)) = reader.next()? {
        let picture = converter.convert(&frame).map_err(MediaError::undecodable(path, "converting a picture"))?;
        count += 1;
        if !each(count - 1, &picture) {
            break;
        }
    }
    Ok(count)
}

/// All samples of `path` as a player plays them, at 48 kHz in stereo: priming, edit lists and padding honoured.
/// The whole sound is in memory, 8 bytes a sample.
///
/// # Errors
/// The file cannot be opened or decoded, or has no sound.
pub fn decode_audio(path: &Path) -> Result<Vec<[f32; 2]>, MediaError> {
    let mut reader = AudioReader::open(path, 0.0)?;
    let mut samples = Vec::new();
    while reader.read(&mut samples)? {}
    Ok(samples)
}
