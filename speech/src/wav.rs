//! Sounds as WAV files of 16-bit PCM.

use std::time::Duration;

use crate::error::{MAX_DURATION, SpeechError};

/// Length of the header that [`Sound::wav`] writes.
const HEADER_BYTES: u32 = 44;

/// A sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sound {
    /// Samples of a channel per second.
    pub rate: u32,
    /// Channels, 1 or 2.
    pub channels: u16,
    /// Samples, of all channels in turn.
    pub samples: Vec<i16>,
}

impl Sound {
    /// Reads a WAV file. Sizes in its header may be wrong, as those of files that are written to a pipe are.
    ///
    /// # Errors
    ///
    /// It is no WAV file of 16-bit PCM, is longer than [`MAX_DURATION`], or has no samples. `engine` is named as the
    /// one that made it.
    pub fn parse(engine: &'static str, file: &[u8]) -> Result<Self, SpeechError> {
        let broken = || SpeechError::engine(engine, "the answer is no WAV file of 16-bit PCM");
        if file.get(..4) != Some(b"RIFF") || file.get(8..12) != Some(b"WAVE") {
            return Err(broken());
        }
        let mut rest = file.get(12..).unwrap_or_default();
        let mut format = None;
        while let Some((head, body)) = rest.split_at_checked(8) {
            let size = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
            let content = body.get(..size).unwrap_or(body);
            match (&head[..4], format) {
                (b"fmt ", _) => format = Some(Format::parse(content).ok_or_else(broken)?),
                (b"data", Some(Format { rate, channels })) => {
                    let samples: Vec<i16> =
                        content.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect();
                    let sound = Self { rate, channels, samples };
                    return match sound.duration() {
                        Duration::ZERO => Err(SpeechError::Silent),
                        duration if duration > MAX_DURATION => Err(SpeechError::TooLong),
                        _ => Ok(sound),
                    };
                }
                _ => {}
            }
            // Chunks of odd sizes have a byte of padding.
            rest = body.get(size + size % 2..).unwrap_or_default();
        }
        Err(broken())
    }

    /// The sound as a WAV file.
    pub fn wav(&self) -> Vec<u8> {
        let bytes = (self.samples.len() * 2) as u32;
        let frame = self.channels * 2;
        let mut file = Vec::with_capacity(HEADER_BYTES as usize + bytes as usize);
        file.extend_from_slice(b"RIFF");
        file.extend_from_slice(&(HEADER_BYTES - 8 + bytes).to_le_bytes());
        file.extend_from_slice(b"WAVEfmt ");
        file.extend_from_slice(&16u32.to_le_bytes());
        file.extend_from_slice(&1u16.to_le_bytes());
        file.extend_from_slice(&self.channels.to_le_bytes());
        file.extend_from_slice(&self.rate.to_le_bytes());
        file.extend_from_slice(&(self.rate * u32::from(frame)).to_le_bytes());
        file.extend_from_slice(&frame.to_le_bytes());
        file.extend_from_slice(&16u16.to_le_bytes());
        file.extend_from_slice(b"data");
        file.extend_from_slice(&bytes.to_le_bytes());
        file.extend(self.samples.iter().flat_map(|sample| sample.to_le_bytes()));
        file
    }

    /// Its length.
    pub fn duration(&self) -> Duration {
        let frames = self.samples.len() / usize::from(self.channels.max(1));
        Duration::from_secs_f64(frames as f64 / f64::from(self.rate))
    }
}

/// What a `fmt ` chunk says.
#[derive(Clone, Copy)]
struct Format {
    rate: u32,
    channels: u16,
}

impl Format {
    /// Of 16-bit PCM, plain or in the extensible form.
    fn parse(chunk: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u16::from_le_bytes(chunk.get(at..at + 2)?.try_into().ok()?));
        let rate = u32::from_le_bytes(chunk.get(4..8)?.try_into().ok()?);
        let (tag, channels, bits) = (word(0)?, word(2)?, word(14)?);
        let is_pcm = tag == 1 || (tag == 0xfffe && word(24) == Some(1));
        let is_usual = is_pcm && bits == 16 && (1..=2).contains(&channels) && (4000..=192_000).contains(&rate);
        is_usual.then_some(Self { rate, channels })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound() -> Sound {
        Sound { rate: 8000, channels: 1, samples: (0..800).map(|sample| sample * 3).collect() }
    }

    #[test]
    fn a_sound_is_read_as_it_was_written() {
        let read = Sound::parse("test", &sound().wav()).unwrap();
        assert_eq!(read, sound());
        assert_eq!(read.duration(), Duration::from_millis(100));
    }

    #[test]
    fn sizes_of_a_file_that_went_through_a_pipe_may_be_wrong() {
        let mut file = sound().wav();
        for at in [4, 40] {
            file[at..at + 4].copy_from_slice(&0x7fff_f000u32.to_le_bytes());
        }
        assert_eq!(Sound::parse("test", &file).unwrap(), sound());
    }

    #[test]
    fn what_is_no_sound_is_an_error() {
        let wav = sound().wav();
        let with = |at: usize, bytes: &[u8]| {
            let mut file = wav.clone();
            file[at..at + bytes.len()].copy_from_slice(bytes);
            file
        };
        let files =
            [vec![], b"ID3".to_vec(), wav[..40].to_vec(), with(34, &[8, 0]), with(22, &[9, 0]), with(24, &[0; 4])];
        for file in files {
            assert!(matches!(Sound::parse("test", &file), Err(SpeechError::Engine { engine: "test", .. })), "{file:?}");
        }
        let empty = Sound { samples: Vec::new(), ..sound() };
        assert!(matches!(Sound::parse("test", &empty.wav()), Err(SpeechError::Silent)));
        let long = Sound { rate: 4000, channels: 1, samples: vec![0; 4000 * 901] };
        assert!(matches!(Sound::parse("test", &long.wav()), Err(SpeechError::TooLong)));
    }
}
