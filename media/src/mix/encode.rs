//! Encodes a mix into a file.

use std::path::{Path, PathBuf};

use ffmpeg_next as ffmpeg;
use ffmpeg_next::codec::Flags;
use ffmpeg_next::codec::encoder::audio;
use ffmpeg_next::format::Sample;
use ffmpeg_next::format::sample::Type;
use ffmpeg_next::{Dictionary, Packet, Rational};
use hyperfarm_proto::spec::AudioCodec;

use crate::error::MediaError;
use crate::mux::{Container, Muxer};
use crate::timescale::SAMPLE_RATE;
use crate::{ffi, ffmpeg_log};

/// How the samples of a sound are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SoundFormat {
    /// AAC at 192 kb/s in mp4.
    Aac,
    /// Opus at 128 kb/s in WebM.
    Opus,
    /// Samples of 24 bits in WAV.
    Wav,
}

impl From<AudioCodec> for SoundFormat {
    fn from(codec: AudioCodec) -> Self {
        match codec {
            AudioCodec::Aac => Self::Aac,
            AudioCodec::Opus => Self::Opus,
            AudioCodec::Pcm => Self::Wav,
        }
    }
}

/// Encodes 48 kHz stereo. The file plays exactly the samples that were pushed: samples that the encoder puts before are
/// declared as priming, those that fill the last packet as padding.
pub(crate) struct AudioEncoder {
    encoder: audio::Encoder,
    muxer: Muxer,
    path: PathBuf,
    stream: usize,
    format: Sample,
    /// Samples a packet.
    frame_size: usize,
    pending: Vec<[f32; 2]>,
    sent: u64,
}

impl AudioEncoder {
    pub(crate) fn create(path: &Path, format: SoundFormat) -> Result<Self, MediaError> {
        ffmpeg_log::init();
        let (name, sample, bits, container) = match format {
            SoundFormat::Opus => ("libopus", Sample::F32(Type::Packed), 128_000, Container::Webm),
            SoundFormat::Aac => ("aac", Sample::F32(Type::Planar), 192_000, Container::M4a),
            SoundFormat::Wav => ("pcm_s24le", Sample::I32(Type::Packed), 0, Container::Wav),
        };
        let codec = ffmpeg::encoder::find_by_name(name)
            .ok_or_else(|| MediaError::Missing { name: format!("encoder {name}") })?;
        let failed = MediaError::make(path, "opening the audio encoder");
        let mut context = ffmpeg::codec::Context::new_with_codec(codec);
        context.set_flags(Flags::GLOBAL_HEADER | Flags::BITEXACT);
        let mut encoder = context.encoder().audio().map_err(&failed)?;
        encoder.set_rate(SAMPLE_RATE as i32);
        encoder.set_format(sample);
        encoder.set_bit_rate(bits);
        encoder.set_time_base(Rational::new(1, SAMPLE_RATE as i32));
        ffi::set_stereo(&mut encoder);
        ffmpeg_log::clear();
        let encoder = encoder.open_with(Dictionary::new()).map_err(&failed)?;
        // Plain samples have packets of any length.
        let frame_size = if format == SoundFormat::Wav { WAV_PACKET } else { (encoder.frame_size() as usize).max(1) };
        let mut muxer = Muxer::create(path, container)?;
        let ticks = Rational::new(1, SAMPLE_RATE as i32);
        let stream = muxer.add_audio(ffmpeg::codec::Parameters::from(&encoder), ticks)?;
        // The edit list counts in the movie's ticks: samples.
        muxer.start(SAMPLE_RATE, SAMPLE_RATE, false)?;
        Ok(Self {
            encoder,
            muxer,
            path: path.to_owned(),
            stream,
            format: sample,
            frame_size,
            pending: Vec::with_capacity(2 * frame_size),
            sent: 0,
        })
    }

    pub(crate) fn push(&mut self, samples: &[[f32; 2]]) -> Result<(), MediaError> {
        self.pending.extend_from_slice(samples);
        let whole = self.pending.len() / self.frame_size * self.frame_size;
        self.send(whole)
    }

    /// Completes the file and returns the number of samples that play.
    pub(crate) fn finish(mut self) -> Result<u64, MediaError> {
        self.send(self.pending.len())?;
        self.encoder.send_eof().map_err(MediaError::make(&self.path, "ending the audio encoder"))?;
        self.drain()?;
        self.muxer.finish()?;
        Ok(self.sent)
    }

    /// Encodes the first `count` pending samples.
    fn send(&mut self, count: usize) -> Result<(), MediaError> {
        let pending = std::mem::take(&mut self.pending);
        for samples in pending[..count].chunks(self.frame_size) {
            let mut frame = ffi::stereo_frame(self.format, samples.len())
                .map_err(MediaError::make(&self.path, "allocating sound"))?;
            if self.format == Sample::I32(Type::Packed) {
                let levels = frame.data_mut(0).as_chunks_mut::<4>().0;
                for (to, sample) in levels.iter_mut().zip(samples.as_flattened()) {
                    *to = of_24_bits(*sample).to_ne_bytes();
                }
            } else if self.format.is_planar() {
                for side in 0..2 {
                    for (to, sample) in ffi::floats_mut(&mut frame, side).iter_mut().zip(samples) {
                        *to = sample[side];
                    }
                }
            } else {
                ffi::floats_mut(&mut frame, 0).copy_from_slice(samples.as_flattened());
            }
            frame.set_pts(Some(self.sent as i64));
            self.encoder.send_frame(&frame).map_err(MediaError::make(&self.path, "encoding sound"))?;
            self.sent += samples.len() as u64;
            self.drain()?;
        }
        self.pending = pending;
        self.pending.drain(..count);
        Ok(())
    }

    fn drain(&mut self) -> Result<(), MediaError> {
        let samples = Rational::new(1, SAMPLE_RATE as i32);
        loop {
            let mut packet = Packet::empty();
            match self.encoder.receive_packet(&mut packet) {
                Ok(()) => {}
                Err(ffmpeg::Error::Other { errno: ffmpeg::error::EAGAIN }) | Err(ffmpeg::Error::Eof) => return Ok(()),
                Err(error) => return Err(MediaError::make(&self.path, "encoding sound")(error)),
            }
            packet.set_stream(self.stream);
            packet.rescale_ts(samples, self.muxer.time_base(self.stream));
            self.muxer.write(&mut packet)?;
        }
    }
}

/// Samples in a packet of a WAV file.
const WAV_PACKET: usize = 1024;

/// `sample` rounded to 24 bits, in the upper bits of the result. What is beyond full scale is cut off.
fn of_24_bits(sample: f32) -> i32 {
    let level = (f64::from(sample) * f64::from(1 << 23)).round();
    (level.clamp(-f64::from(1 << 23), f64::from((1 << 23) - 1)) as i32) << 8
}
