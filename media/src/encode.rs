//! Pictures into a segment.

use std::path::{Path, PathBuf};

use ffmpeg_next as ffmpeg;
use ffmpeg_next::codec::encoder::video;
use ffmpeg_next::{Packet, Rational, color, frame};
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::plan::{EncoderSettings, VideoCodec};
use hyperfarm_proto::spec::Size;

use crate::bitmap::Bitmap;
use crate::codec;
use crate::convert::YuvWriter;
use crate::error::MediaError;
use crate::mux::{Container, Muxer};
use crate::timescale;

/// What a finished segment holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentSummary {
    /// Frames, counted as packets in the file.
    pub frames: u64,
    /// Length of the file in bytes.
    pub bytes: u64,
}

/// Encodes pictures into a file of its own that [`crate::join`] can put beside others of the same settings.
///
/// It works in the caller's thread. Dropped before [`SegmentEncoder::finish`], it removes its file.
pub struct SegmentEncoder {
    encoder: video::Encoder,
    muxer: Muxer,
    path: PathBuf,
    stream: usize,
    size: Size,
    rate: FrameRate,
    writer: YuvWriter,
    frame: frame::Video,
    pushed: u64,
    written: u64,
}

impl SegmentEncoder {
    /// A segment at `path` (mp4, webm or mov by `settings.format`) of pictures of `size` pixels.
    ///
    /// Fails if this FFmpeg lacks the encoder, refuses the settings, or the file cannot be written.
    pub fn create(path: &Path, settings: &EncoderSettings, size: Size, rate: FrameRate) -> Result<Self, MediaError> {
        let encoder = codec::open(path, settings, size, rate)?;
        let format = codec::yuv_format(&settings.codec);
        let mut frame = frame::Video::empty();
        frame.set_format(format.pixel());
        frame.set_width(size.width);
        frame.set_height(size.height);
        let mut muxer = Muxer::create(path, Container::of(settings.format))?;
        let ticks = timescale::exact(rate);
        let alpha = matches!(settings.codec, VideoCodec::Vp9 { .. });
        let stream = muxer.add_video(ffmpeg::codec::Parameters::from(&encoder), rate, ticks, alpha)?;
        muxer.start(ticks, ticks, false)?;
        Ok(Self {
            encoder,
            muxer,
            path: path.to_owned(),
            stream,
            size,
            rate,
            writer: YuvWriter::new(format, size),
            frame,
            pushed: 0,
            written: 0,
        })
    }

    /// Appends a picture of the encoder's size.
    pub fn push(&mut self, frame: &Bitmap<'_>) -> Result<(), MediaError> {
        frame.check(self.size)?;
        crate::glue::make_fresh(&mut self.frame).map_err(MediaError::make(&self.path, "allocating a frame"))?;
        self.writer.write(frame, &mut self.frame);
        self.frame.set_pts(Some(self.pushed as i64));
        // One picture, one packet: the type of the last one must not stick.
        self.frame.set_kind(ffmpeg::picture::Type::None);
        // prores_ks writes the tags of the picture into its frame header, and not the encoder's.
        self.frame.set_color_space(color::Space::BT709);
        self.frame.set_color_primaries(color::Primaries::BT709);
        self.frame.set_color_transfer_characteristic(color::TransferCharacteristic::BT709);
        self.frame.set_color_range(color::Range::MPEG);
        self.encoder.send_frame(&self.frame).map_err(MediaError::make(&self.path, "encoding a frame"))?;
        self.pushed += 1;
        self.drain()
    }

    /// Completes the file. Fails if the encoder gave another number of packets than it was given pictures, or none.
    pub fn finish(mut self) -> Result<SegmentSummary, MediaError> {
        if self.pushed == 0 {
            return Err(MediaError::Nothing { action: "encode", rate: self.rate });
        }
        self.encoder.send_eof().map_err(MediaError::make(&self.path, "ending the encoder"))?;
        self.drain()?;
        if self.written != self.pushed {
            return Err(MediaError::Frames {
                path: self.path,
                expected: self.pushed,
                found: self.written,
                what: "packets from the encoder",
            });
        }
        Ok(SegmentSummary { frames: self.written, bytes: self.muxer.finish()? })
    }

    fn drain(&mut self) -> Result<(), MediaError> {
        let frames = Rational::new(self.rate.den() as i32, self.rate.num() as i32);
        loop {
            let mut packet = Packet::empty();
            match self.encoder.receive_packet(&mut packet) {
                Ok(()) => {}
                Err(ffmpeg::Error::Other { errno: ffmpeg::error::EAGAIN }) | Err(ffmpeg::Error::Eof) => return Ok(()),
                Err(error) => return Err(MediaError::make(&self.path, "encoding a frame")(error)),
            }
            packet.set_stream(self.stream);
            packet.set_duration(1);
            packet.rescale_ts(frames, self.muxer.time_base(self.stream));
            self.muxer.write(&mut packet)?;
            self.written += 1;
        }
    }
}

impl std::fmt::Debug for SegmentEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SegmentEncoder").field("path", &self.path).field("pushed", &self.pushed).finish_non_exhaustive()
    }
}
