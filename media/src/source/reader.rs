//! Decodes the frames of a file in order of presentation.

use std::path::Path;

use ffmpeg_next as ffmpeg;
use ffmpeg_next::codec::Flags;
use ffmpeg_next::{Dictionary, Rational, decoder, frame};
use hyperfarm_proto::spec::Size;

use crate::convert::{DefaultMatrix, ToBgra};
use crate::demux::Demuxer;
use crate::error::MediaError;
use crate::ffi::{self, CodecId, PixelFormat};
use crate::limits::check_pixels;
use crate::probe;

/// Reads forward, and seeks to key frames.
pub(crate) struct FrameReader {
    pub(crate) source: Demuxer,
    stream: usize,
    pub(crate) time_base: Rational,
    decoder: decoder::Video,
    /// Frames before this time are left out: after a seek they lack the frames that they refer to.
    first: Option<i64>,
    after_seek: bool,
    ended: bool,
    /// Frames decoded since the file was opened.
    decoded: u64,
    last_pts: Option<i64>,
}

impl FrameReader {
    /// Opens `path`, whose pictures may have `pixels` pixels.
    pub(crate) fn open(path: &Path, pixels: u64) -> Result<Self, MediaError> {
        let source = Demuxer::open(path)?;
        let stream = source.video()?;
        let view = ffi::video_parameters(&source.parameters(stream));
        check_pixels(path, Size { width: view.width, height: view.height }, pixels)?;
        let time_base = source.time_base(stream);
        let decoder = open_decoder(&source, stream, pixels)?;
        Ok(Self {
            source,
            stream,
            time_base,
            decoder,
            first: None,
            after_seek: false,
            ended: false,
            decoded: 0,
            last_pts: None,
        })
    }

    fn codec(&self) -> CodecId {
        CodecId::of(&self.source.parameters(self.stream))
    }

    pub(crate) fn has_alpha(&self) -> bool {
        probe::has_alpha(&self.source, self.stream)
    }

    /// The conversion of this file's frames to pictures for display.
    pub(crate) fn converter(&self) -> ToBgra {
        ToBgra::new(probe::rotation(&self.source, self.stream), DefaultMatrix::of(self.codec()))
    }

    /// Seconds from the start of the file's timeline to the end of the video, where the file says.
    pub(crate) fn duration(&self) -> Option<f64> {
        probe::video_duration(&self.source, self.stream)
    }

    /// Whether frames have different durations.
    pub(crate) fn has_variable_rate(&self) -> bool {
        probe::has_variable_rate(&self.source, self.stream)
    }

    /// Display size: in square pixels, rotated.
    pub(crate) fn display_size(&self) -> Size {
        probe::display_size(&self.source, self.stream)
    }

    /// The next frame and its time in ticks of `time_base`; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<(frame::Video, i64)>, MediaError> {
        while let Some(frame) = self.decode()? {
            self.decoded += 1;
            // A frame without a time follows the last one.
            let step = frame.packet().duration.max(1);
            let pts = frame.timestamp().or(self.last_pts.map(|last| last.saturating_add(step))).unwrap_or(0);
            self.last_pts = Some(pts);
            if self.first.is_some_and(|first| pts < first) {
                continue;
            }
            return Ok(Some((frame, pts)));
        }
        if self.decoded == 0 {
            let damaged = MediaError::undecodable(&self.source.path, "looking for its first picture");
            return Err(damaged(ffmpeg::Error::InvalidData));
        }
        Ok(None)
    }

    fn decode(&mut self) -> Result<Option<frame::Video>, MediaError> {
        let mut frame = frame::Video::empty();
        loop {
            match self.decoder.receive_frame(&mut frame) {
                Ok(()) => {
                    let format = PixelFormat::of(&frame);
                    if format.value().is_none() {
                        let (path, number) = (self.source.path.clone(), format.number());
                        return Err(MediaError::UnknownFormat { path, kind: "pixel", number });
                    }
                    return Ok(Some(frame));
                }
                Err(ffmpeg::Error::Eof) => return Ok(None),
                Err(ffmpeg::Error::Other { errno: ffmpeg::error::EAGAIN }) if !self.ended => {}
                Err(ffmpeg::Error::Other { errno: ffmpeg::error::EAGAIN }) => return Ok(None),
                // A damaged frame is left out, as players do.
                Err(ffmpeg::Error::InvalidData) => continue,
                Err(error) => return Err(MediaError::undecodable(&self.source.path, "decoding pictures")(error)),
            }
            match self.source.packet_of(self.stream)? {
                Some(packet) => {
                    if std::mem::take(&mut self.after_seek) {
                        self.first = packet.pts();
                    }
                    match self.decoder.send_packet(&packet) {
                        Ok(()) | Err(ffmpeg::Error::InvalidData) => {}
                        Err(error) => {
                            return Err(MediaError::undecodable(&self.source.path, "decoding pictures")(error));
                        }
                    }
                }
                None => {
                    self.ended = true;
                    // Fails only if the end was sent before.
                    let _ = self.decoder.send_eof();
                }
            }
        }
    }

    /// Seeks to a key frame that is decoded at or before `timestamp`. Fails for formats without key frames to start
    /// from.
    pub(crate) fn seek(&mut self, timestamp: i64) -> Result<(), MediaError> {
        if matches!(self.codec(), CodecId::GIF | CodecId::APNG) {
            return Err(MediaError::undecodable(&self.source.path, "seeking")(ffmpeg::Error::InvalidData));
        }
        ffi::seek(&mut self.source.input, self.stream, timestamp)
            .map_err(MediaError::undecodable(&self.source.path, "seeking"))?;
        self.decoder.flush();
        self.first = None;
        self.after_seek = true;
        self.ended = false;
        self.last_pts = None;
        Ok(())
    }

    /// Time of the last key frame at or before `timestamp` in the file's index, if it has one.
    pub(crate) fn key_frame_before(&mut self, timestamp: i64) -> Option<i64> {
        ffi::key_frame_before(&mut self.source.input, self.stream, timestamp)
    }
}

fn open_decoder(source: &Demuxer, stream: usize, pixels: u64) -> Result<decoder::Video, MediaError> {
    let parameters = source.parameters(stream);
    // FFmpeg's own VP8 and VP9 decoders drop the alpha plane, libvpx's keep it.
    let id = CodecId::of(&parameters);
    let name = match (id, probe::has_alpha(source, stream)) {
        (CodecId::VP8, true) => Some("libvpx"),
        (CodecId::VP9, true) => Some("libvpx-vp9"),
        _ => None,
    };
    let codec = match name {
        Some(name) => ffmpeg::decoder::find_by_name(name)
            .ok_or_else(|| MediaError::Missing { name: format!("decoder {name}, needed for transparency") })?,
        None => id.decoder().ok_or_else(|| MediaError::NoStream { path: source.path.clone(), kind: "picture" })?,
    };
    let failed = MediaError::undecodable(&source.path, "opening the decoder");
    let mut context = ffmpeg::codec::Context::from_parameters(parameters).map_err(&failed)?;
    // The same numbers on every processor, and one thread, because the slots use a machine's cores already.
    context.set_flags(Flags::BITEXACT);
    context.set_threading(ffmpeg::threading::Config { count: 1, ..ffmpeg::threading::Config::default() });
    let mut decoder = context.decoder();
    decoder.set_packet_time_base(source.time_base(stream));
    // Streams may change their size midway.
    let options = Dictionary::from_iter([("max_pixels", pixels.to_string().as_str())]);
    decoder.open_as_with(codec, options).and_then(|opened| opened.video()).map_err(&failed)
}
