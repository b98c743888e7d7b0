//! Decodes the sound of a file from a source second on, as 48 kHz stereo.

use std::path::Path;

use ffmpeg_next as ffmpeg;
use ffmpeg_next::{Rational, decoder, frame};

use super::filter_chain::FilterChain;
use crate::demux::Demuxer;
use crate::error::MediaError;
use crate::ffi::{self, CodecId, SampleFormat};
use crate::limits::check_sound;
use crate::timescale::SAMPLE_RATE;

/// Converts any format to packed stereo floats at 48 kHz by swresample. Mono is split by `pan` first: swresample would
/// lower it by 3 dB, which browsers do not.
const TO_STEREO: &str = "aformat=sample_fmts=flt:sample_rates=48000:channel_layouts=stereo";

/// Seconds that decoders of lossy sound need to settle. A seek goes this much earlier.
const SETTLE_SECONDS: f64 = 1.0;

/// Samples of silence that are returned at once.
const SILENCE_BLOCK: u64 = SAMPLE_RATE as u64;

/// Seconds of a gap or an overlap in the source's times that count as rounding. Longer ones are filled or cut.
const JITTER_SECONDS: f64 = 0.05;

/// Takes samples, a block at a time.
pub(crate) type BlockSink<'a> = dyn FnMut(&[[f32; 2]]) -> Result<(), MediaError> + 'a;

/// Reads forward from one source second.
pub(crate) struct AudioReader {
    source: Demuxer,
    stream: usize,
    time_base: Rational,
    decoder: decoder::Audio,
    resampler: Option<(FrameFormat, FilterChain)>,
    /// Source second of the first sample that is read.
    from: f64,
    /// Start of the current stretch without gaps: source second, and samples of the source since.
    stretch: Option<(f64, u64)>,
    /// Samples at 48 kHz returned so far: the next one is at source second `from + returned / 48000`.
    returned: u64,
    /// Samples at 48 kHz to drop before the next one that is returned.
    to_drop: usize,
    /// Samples of silence to return before the next frame, and that frame.
    silence: u64,
    after_silence: Option<frame::Audio>,
    /// Whether the last frame was resampled, or waits for silence.
    at_end: bool,
    ended: bool,
    /// The last decoded frame, held back until it is known whether it is the file's last and has to be cut.
    held: Option<frame::Audio>,
    has_decoded: bool,
}

/// Format of the frames that a resampler was created for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct FrameFormat {
    rate: u32,
    sample: &'static str,
    layout: String,
}

impl AudioReader {
    /// Opens `path`. The first sample that is read is at source second `from`.
    pub(crate) fn open(path: &Path, from: f64) -> Result<Self, MediaError> {
        let mut source = Demuxer::open(path)?;
        let stream = source.audio()?;
        let time_base = source.time_base(stream);
        let parameters = source.parameters(stream);
        let sound = ffi::audio_parameters(&parameters);
        check_sound(path, sound.sample_rate, sound.channels)?;
        let failed = MediaError::undecodable(path, "opening the decoder");
        let codec = CodecId::of(&parameters)
            .decoder()
            .ok_or_else(|| MediaError::NoStream { path: path.to_owned(), kind: "sound" })?;
        let mut context = ffmpeg::codec::Context::from_parameters(parameters).map_err(&failed)?;
        context.set_flags(ffmpeg::codec::Flags::BITEXACT);
        context.set_threading(ffmpeg::threading::Config { count: 1, ..ffmpeg::threading::Config::default() });
        let mut decoder = context.decoder();
        decoder.set_packet_time_base(time_base);
        let decoder = decoder.open_as(codec).and_then(|opened| opened.audio()).map_err(&failed)?;
        if from > 2.0 * SETTLE_SECONDS {
            let ticks = (from - SETTLE_SECONDS) / f64::from(time_base).max(1e-12);
            let origin = source.origin(time_base);
            // Without seeking, everything before is decoded and dropped.
            if ffi::seek(&mut source.input, stream, origin.saturating_add(ticks as i64)).is_err() {
                tracing::debug!(path = %path.display(), "the file cannot seek, it is decoded from its start");
                source = Demuxer::open(path)?;
            }
        }
        Ok(Self {
            source,
            stream,
            time_base,
            decoder,
            resampler: None,
            from,
            stretch: None,
            returned: 0,
            to_drop: 0,
            silence: 0,
            after_silence: None,
            at_end: false,
            ended: false,
            held: None,
            has_decoded: false,
        })
    }

    /// Duration of the whole file in seconds, where it has one.
    pub(crate) fn duration(&self) -> Option<f64> {
        self.source.duration()
    }

    /// Sample rate of the file; that of the mix where it has none.
    pub(crate) fn rate(&self) -> u32 {
        match self.decoder.rate() {
            0 => SAMPLE_RATE,
            rate => rate,
        }
    }

    /// Whether the file has video as well.
    pub(crate) fn has_video(&self) -> bool {
        self.source.video().is_ok()
    }

    /// Calls `each` with all samples of `path`, a block at a time.
    pub(crate) fn each_block(path: &Path, each: &mut BlockSink<'_>) -> Result<(), MediaError> {
        let mut reader = Self::open(path, 0.0)?;
        let mut samples = Vec::new();
        while reader.read(&mut samples)? {
            each(&samples)?;
            samples.clear();
        }
        each(&samples)
    }

    /// Appends some samples to `out`; false at the end.
    pub(crate) fn read(&mut self, out: &mut Vec<[f32; 2]>) -> Result<bool, MediaError> {
        if self.ended {
            return Ok(false);
        }
        let before = out.len();
        while out.len() == before {
            if self.silence > 0 {
                let length = self.silence.min(SILENCE_BLOCK);
                out.extend(std::iter::repeat_n([0.0; 2], length as usize));
                self.silence -= length;
                self.returned += length;
                continue;
            }
            if let Some(frame) = self.after_silence.take() {
                self.push(frame, out)?;
                continue;
            }
            if self.at_end {
                self.ended = true;
                self.drain(out)?;
                return Ok(true);
            }
            match self.decode()? {
                Some(frame) => {
                    self.has_decoded = true;
                    if let Some(last) = self.held.replace(frame) {
                        self.resample(last, out)?;
                    }
                }
                None => {
                    if !self.has_decoded {
                        let damaged = MediaError::undecodable(&self.source.path, "looking for its first sound");
                        return Err(damaged(ffmpeg::Error::InvalidData));
                    }
                    self.at_end = true;
                    if let Some(mut last) = self.held.take() {
                        self.cut_last(&mut last);
                        self.resample(last, out)?;
                    }
                }
            }
        }
        Ok(true)
    }

    fn decode(&mut self) -> Result<Option<frame::Audio>, MediaError> {
        let mut frame = frame::Audio::empty();
        loop {
            match self.decoder.receive_frame(&mut frame) {
                Ok(()) if frame.samples() == 0 || frame.rate() == 0 || ffi::channels(&frame) == 0 => continue,
                Ok(()) => return Ok(Some(frame)),
                Err(ffmpeg::Error::Eof) => return Ok(None),
                Err(ffmpeg::Error::Other { errno: ffmpeg::error::EAGAIN }) => {}
                Err(ffmpeg::Error::InvalidData) => continue,
                Err(error) => return Err(MediaError::undecodable(&self.source.path, "decoding sound")(error)),
            }
            match self.source.packet_of(self.stream)? {
                // A damaged packet is left out, as players do.
                Some(packet) => match self.decoder.send_packet(&packet) {
                    Ok(()) | Err(ffmpeg::Error::InvalidData) => {}
                    Err(error) => return Err(MediaError::undecodable(&self.source.path, "decoding sound")(error)),
                },
                None => {
                    if self.decoder.send_eof().is_err() {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Cuts the file's last frame: in mp4 the last packet's duration is the end of the sound, which decoders ignore.
    fn cut_last(&self, frame: &mut frame::Audio) {
        let duration = frame.packet().duration;
        let samples = duration as f64 * f64::from(self.time_base) * f64::from(frame.rate());
        // Only where ticks are as fine as samples.
        let has_sample_ticks = f64::from(self.time_base) * f64::from(frame.rate()) <= 1.0 + 1e-9;
        if has_sample_ticks && duration > 0 && (samples.round() as usize) < frame.samples() {
            frame.set_samples(samples.round() as usize);
        }
    }

    fn format_of(&self, frame: &mut frame::Audio) -> Result<FrameFormat, MediaError> {
        let path = &self.source.path;
        let format = SampleFormat::of(frame);
        let sample = format.name().ok_or_else(|| MediaError::UnknownFormat {
            path: path.clone(),
            kind: "sample",
            number: format.number(),
        })?;
        let layout = ffi::layout_text(frame).map_err(MediaError::undecodable(path, "resampling sound"))?;
        Ok(FrameFormat { rate: frame.rate(), sample, layout })
    }

    /// Resamples a frame and appends its samples to `out`, or keeps it for after the silence before it.
    fn resample(&mut self, mut frame: frame::Audio, out: &mut Vec<[f32; 2]>) -> Result<(), MediaError> {
        let frame_format = self.format_of(&mut frame)?;
        let rate = frame_format.rate;
        check_sound(&self.source.path, rate, ffi::channels(&frame))?;
        if self.resampler.as_ref().is_some_and(|(expected, _)| *expected != frame_format) {
            self.drain(out)?;
        }
        let origin = self.source.origin(self.time_base);
        let at = frame.timestamp().map(|pts| pts.saturating_sub(origin) as f64 * f64::from(self.time_base));
        match (self.stretch, at) {
            (None, at) => self.start_stretch(at.unwrap_or(self.from)),
            (Some((start, passed)), Some(at)) => {
                let expected = start + passed as f64 / f64::from(rate);
                if at - expected > JITTER_SECONDS {
                    // A gap: samples in the resampler first, then silence, then the frame.
                    self.drain(out)?;
                    self.start_stretch(at);
                } else if expected - at > JITTER_SECONDS {
                    return Ok(());
                }
            }
            (Some(_), None) => {}
        }
        if self.silence > 0 {
            self.after_silence = Some(frame);
            return Ok(());
        }
        self.push(frame, out)
    }

    /// Resamples a frame that follows what was returned.
    fn push(&mut self, mut frame: frame::Audio, out: &mut Vec<[f32; 2]>) -> Result<(), MediaError> {
        let path = self.source.path.clone();
        let failed = MediaError::undecodable(&path, "resampling sound");
        let frame_format = self.format_of(&mut frame)?;
        if self.resampler.is_none() {
            let mono = ffi::channels(&frame) == 1;
            let filters = if mono { format!("pan=stereo|c0=c0|c1=c0,{TO_STEREO}") } else { TO_STEREO.to_owned() };
            let chain = FilterChain::new(frame_format.rate, frame_format.sample, &frame_format.layout, &filters)
                .map_err(&failed)?;
            self.resampler = Some((frame_format, chain));
        }
        if let Some((_, passed)) = &mut self.stretch {
            *passed += frame.samples() as u64;
        }
        // The resampler gets consecutive samples, whatever their times.
        frame.set_pts(None);
        let before = out.len();
        if let Some((_, chain)) = &mut self.resampler {
            chain.push(&frame).and_then(|()| chain.pull(out)).map_err(&failed)?;
        }
        self.count_returned(before, out);
        Ok(())
    }

    /// Starts a stretch at source second `at`: samples before the requested second are dropped, a gap is filled with
    /// silence.
    fn start_stretch(&mut self, at: f64) {
        let offset = ((at - self.from) * f64::from(SAMPLE_RATE)).round() as i64;
        let offset = offset.saturating_sub(self.returned as i64);
        self.stretch = Some((at, 0));
        self.to_drop = usize::try_from(offset.saturating_neg()).unwrap_or(0);
        // At most an hour of silence, whatever a file claims.
        self.silence = u64::try_from(offset).unwrap_or(0).min(3600 * u64::from(SAMPLE_RATE));
    }

    /// Appends the samples that are still in the resampler to `out`, and drops the resampler.
    fn drain(&mut self, out: &mut Vec<[f32; 2]>) -> Result<(), MediaError> {
        let Some((_, mut chain)) = self.resampler.take() else { return Ok(()) };
        let before = out.len();
        chain
            .end()
            .and_then(|()| chain.pull(out))
            .map_err(MediaError::undecodable(&self.source.path, "resampling sound"))?;
        self.count_returned(before, out);
        Ok(())
    }

    /// Counts the samples of `out` from `before` on as returned, after removing those to drop.
    fn count_returned(&mut self, before: usize, out: &mut Vec<[f32; 2]>) {
        let drop = self.to_drop.min(out.len() - before);
        out.drain(before..before + drop);
        self.to_drop -= drop;
        self.returned += (out.len() - before) as u64;
    }
}
