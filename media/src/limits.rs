//! Limits on what a source of a user may make a decoder do.

use std::path::Path;
use std::time::Duration;

use hyperfarm_proto::spec::Size;
use serde::{Deserialize, Serialize};

use crate::error::MediaError;
use crate::probe::MediaInfo;

/// Fewest samples a second of a sound, as in Chrome: each becomes many of the output.
const MIN_SAMPLE_RATE: u32 = 3000;

/// Most samples a second of a sound: twice the highest rate of studios.
const MAX_SAMPLE_RATE: u32 = 768_000;

/// Most channels of a sound: ambisonics of the seventh order.
const MAX_CHANNELS: u32 = 64;

/// Most pixels of a picture of a file that the farm has made: FFmpeg's own limit.
pub(crate) const OWN_PIXELS: u64 = i32::MAX as u64;

/// Limits on the decoding of one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaLimits {
    /// Most pixels of a picture.
    pub pixels: u64,
    /// Bytes of address space that a decoder's process may take beyond those of its start.
    pub memory: u64,
    /// How long a decoder's process may take for one answer: the headers of a file, a picture, a second of sound.
    pub answer: Duration,
}

impl Default for MediaLimits {
    /// Pictures of 8192×4320, 2 GiB, one minute.
    fn default() -> Self {
        Self { pixels: 8192 * 4320, memory: 2 << 30, answer: Duration::from_secs(60) }
    }
}

impl MediaLimits {
    /// Checks the streams of a file.
    pub(crate) fn check(&self, path: &Path, info: &MediaInfo) -> Result<(), MediaError> {
        if let Some(video) = &info.video {
            check_pixels(path, video.size, self.pixels)?;
            check_pixels(path, video.display, self.pixels)?;
        }
        info.audio.as_ref().map_or(Ok(()), |audio| check_sound(path, audio.sample_rate, audio.channels))
    }
}

/// Fails for a picture of more than `pixels` pixels.
pub(crate) fn check_pixels(path: &Path, size: Size, pixels: u64) -> Result<(), MediaError> {
    if u64::from(size.width) * u64::from(size.height) <= pixels {
        return Ok(());
    }
    Err(MediaError::BeyondLimits {
        path: path.to_owned(),
        what: format!("its pictures have {size} pixels, and at most {pixels} can be decoded; scale it down"),
    })
}

/// Fails for a sound with fewer or more samples a second, or more channels, than can be decoded.
pub(crate) fn check_sound(path: &Path, sample_rate: u32, channels: u32) -> Result<(), MediaError> {
    if (MIN_SAMPLE_RATE..=MAX_SAMPLE_RATE).contains(&sample_rate) && channels <= MAX_CHANNELS {
        return Ok(());
    }
    Err(MediaError::BeyondLimits {
        path: path.to_owned(),
        what: format!(
            "its sound has {sample_rate} samples a second in {channels} channels, and {MIN_SAMPLE_RATE} to \
             {MAX_SAMPLE_RATE} in at most {MAX_CHANNELS} can be decoded; convert it"
        ),
    })
}
