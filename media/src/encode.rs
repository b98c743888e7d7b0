//! Encodes frames into a segment file.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ffmpeg_next as ffmpeg;
use ffmpeg_next::codec::encoder::video;
use ffmpeg_next::{Packet, Rational, frame};
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::hdr::LightLevels;
use hyperfarm_proto::plan::{EncoderSettings, VideoCodec};
use hyperfarm_proto::spec::Size;

use crate::alpha::AlphaWriter;
use crate::bitmap::{Bitmap, PixelLayout};
use crate::codec::{self, Colour};
use crate::convert::YuvWriter;
use crate::error::MediaError;
use crate::hdr::{HdrLayer, HdrWriter};
use crate::mux::{Container, Muxer};
use crate::packet_file::{PacketReader, PacketWriter};
use crate::timescale;
use crate::upload::Upload;

/// Frames by which x265 decodes ahead of presentation at most. Its own decode times are derived from the frames that
/// follow, and are wrong at the end of a segment.
const X265_REORDERING: i64 = 2;

/// Contents of a finished segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentSummary {
    /// Frames, counted as packets in the file.
    pub frames: u64,
    /// Length of the file in bytes.
    pub bytes: u64,
}

/// Encodes frames into a segment file, which [`crate::join()`] joins with others of the same settings.
///
/// VP8 and VP9 encode alpha as a second video. It is encoded after the colours, so that the memory of one encoder is
/// enough; alpha planes and packets of colours are on disk until then.
///
/// Encoding runs in the caller's thread. An encoder that is dropped before [`SegmentEncoder::finish`] removes its file.
pub struct SegmentEncoder {
    /// `None` only while the encoder of the colours is replaced by that of alpha.
    encoder: Option<video::Encoder>,
    settings: EncoderSettings,
    alpha_pass: Option<AlphaPass>,
    muxer: Muxer,
    path: PathBuf,
    stream: usize,
    size: Size,
    /// Enlarges frames to the coded size; `None` where they have it.
    padding: Option<PaddedBitmap>,
    colour: Colour,
    /// Frames by which decoding is ahead of presentation, for encoders whose own decode times cannot be used.
    reordering: Option<i64>,
    /// Copies frames into a device's memory, for encoders that read them there.
    upload: Option<Upload>,
    /// The last frame in the device's memory.
    uploaded: Option<frame::Video>,
    rate: FrameRate,
    writer: Writer,
    frame: frame::Video,
    pushed: u64,
    written: u64,
    converting: Duration,
}

/// Converts bitmaps into the encoder's pixel format.
enum Writer {
    Sdr(YuvWriter),
    Hdr(HdrWriter),
}

/// Scratch files of a segment whose alpha is encoded after its colours.
struct AlphaPass {
    planes: AlphaWriter,
    colours: PacketWriter,
}

impl SegmentEncoder {
    /// Starts a segment at `path` (mp4, webm or mov by `settings.format`) for frames of `size` pixels. Frames in the
    /// file have `settings.codec.coded_size(size)`.
    ///
    /// # Errors
    /// This FFmpeg lacks the encoder or refuses the settings, or the file cannot be written.
    pub fn create(path: &Path, settings: &EncoderSettings, size: Size, rate: FrameRate) -> Result<Self, MediaError> {
        let coded = settings.codec.coded_size(size);
        let two_streams = codec::declares_alpha(settings);
        let first = EncoderSettings { alpha: settings.alpha && !two_streams, ..settings.clone() };
        let upload = codec::upload(path, &settings.codec, coded)?;
        let encoder = codec::open(path, &first, coded, rate, upload.as_ref())?;
        let format = codec::yuv_format(&first);
        let mut frame = frame::Video::empty();
        frame.set_format(format.pixel());
        frame.set_width(coded.width);
        frame.set_height(coded.height);
        let mut muxer = Muxer::create(path, Container::of_segment(settings.format))?;
        let ticks = timescale::exact(rate);
        let parameters = ffmpeg::codec::Parameters::from(&encoder);
        let stream = muxer.add_video(parameters, rate, ticks, codec::declares_alpha(settings))?;
        muxer.start(ticks, ticks, false)?;
        let alpha_pass = if two_streams {
            Some(AlphaPass { planes: AlphaWriter::create(path)?, colours: PacketWriter::create(path)? })
        } else {
            None
        };
        Ok(Self {
            encoder: Some(encoder),
            settings: first,
            alpha_pass,
            muxer,
            path: path.to_owned(),
            stream,
            size,
            padding: (coded != size).then(|| PaddedBitmap::new(coded)),
            colour: Colour::of(settings),
            reordering: match settings.codec {
                VideoCodec::H265 { .. } => Some(X265_REORDERING),
                // Device encoders are opened without B-frames, and AV1 has its frames in order of presentation.
                VideoCodec::Device { .. } | VideoCodec::Av1 { .. } => Some(0),
                _ => None,
            },
            upload,
            uploaded: None,
            rate,
            writer: match settings.hdr {
                Some(transfer) => Writer::Hdr(HdrWriter::new(transfer, size, coded)),
                None => Writer::Sdr(YuvWriter::new(format, coded)),
            },
            frame,
            pushed: 0,
            written: 0,
            converting: Duration::ZERO,
        })
    }

    /// Appends a frame of the size given to [`SegmentEncoder::create`].
    ///
    /// # Errors
    /// The bitmap has another size or too few bytes, or the encoder fails.
    pub fn push(&mut self, frame: &Bitmap<'_>) -> Result<(), MediaError> {
        self.push_layers(frame, &[])
    }

    /// Appends a frame with videos of high dynamic range in it. Only an output of high dynamic range shows them.
    ///
    /// # Errors
    /// Those of [`SegmentEncoder::push`].
    pub fn push_layers(&mut self, frame: &Bitmap<'_>, layers: &[HdrLayer<'_>]) -> Result<(), MediaError> {
        frame.check(self.size)?;
        layers.iter().try_for_each(|layer| layer.white.check(self.size))?;
        let started = Instant::now();
        crate::ffi::make_fresh(&mut self.frame).map_err(MediaError::make(&self.path, "allocating a frame"))?;
        let writer = match &mut self.writer {
            Writer::Sdr(writer) => writer,
            Writer::Hdr(writer) => {
                writer.write(frame, layers, &mut self.frame);
                self.converting += started.elapsed();
                return self.encode();
            }
        };
        let padded = self.padding.as_mut().map(|padded| padded.fill(frame));
        let picture = padded.as_ref().unwrap_or(frame);
        writer.write(picture, &mut self.frame);
        if let Some(alpha_pass) = &mut self.alpha_pass {
            alpha_pass.planes.push(picture)?;
        }
        if let Some(upload) = &mut self.upload {
            let copied =
                upload.copy(&self.frame).map_err(MediaError::make(&self.path, "copying a frame to the device"))?;
            self.uploaded = Some(copied);
        }
        self.converting += started.elapsed();
        self.encode()
    }

    /// Appends the last frame again, without converting or copying it.
    ///
    /// # Errors
    /// There is no last frame, or the encoder fails.
    pub fn repeat(&mut self) -> Result<(), MediaError> {
        if self.pushed == 0 {
            let found = Size { width: 0, height: 0 };
            return Err(MediaError::Bitmap { expected: self.size, found, bytes: 0, what: "no picture came before it" });
        }
        if let Some(alpha_pass) = &mut self.alpha_pass {
            alpha_pass.planes.repeat()?;
        }
        self.encode()
    }

    fn encode(&mut self) -> Result<(), MediaError> {
        self.send(self.pushed)?;
        self.pushed += 1;
        self.drain()
    }

    /// Sends the last frame to the encoder as frame `number`.
    fn send(&mut self, number: u64) -> Result<(), MediaError> {
        let frame = self.uploaded.as_mut().unwrap_or(&mut self.frame);
        frame.set_pts(Some(number as i64));
        // The frame is used again: the type that the encoder chose last time must not stick.
        frame.set_kind(ffmpeg::picture::Type::None);
        // prores_ks writes the frame's colour tags into its frame header, not the encoder's.
        frame.set_color_space(self.colour.space);
        frame.set_color_primaries(self.colour.primaries);
        frame.set_color_transfer_characteristic(self.colour.transfer);
        frame.set_color_range(self.colour.range);
        let failed = MediaError::make(&self.path, "encoding a frame");
        open(&mut self.encoder)?.send_frame(frame).map_err(failed)
    }

    fn end(&mut self) -> Result<(), MediaError> {
        open(&mut self.encoder)?.send_eof().map_err(MediaError::make(&self.path, "ending the encoder"))
    }

    /// The light of the frames so far, of an output of high dynamic range.
    pub fn light(&self) -> Option<LightLevels> {
        match &self.writer {
            Writer::Sdr(_) => None,
            Writer::Hdr(writer) => Some(writer.levels()),
        }
    }

    /// Time spent so far on converting bitmaps into the encoder's pixel format.
    pub fn converting(&self) -> Duration {
        self.converting
    }

    /// Completes the file.
    ///
    /// # Errors
    /// There are no frames, the encoder returned another number of packets than it got frames, or the file cannot be
    /// written.
    pub fn finish(mut self) -> Result<SegmentSummary, MediaError> {
        if self.pushed == 0 {
            return Err(MediaError::Nothing { action: "encode", rate: self.rate });
        }
        self.end()?;
        self.drain()?;
        if let Some(alpha_pass) = self.alpha_pass.take() {
            self.encode_alpha(alpha_pass)?;
        }
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

    /// Encodes the alpha planes, and writes each into the packet of its colours.
    fn encode_alpha(&mut self, alpha_pass: AlphaPass) -> Result<(), MediaError> {
        let mut planes = alpha_pass.planes.into_reader()?;
        let mut colours = alpha_pass.colours.into_reader()?;
        let coded = self.settings.codec.coded_size(self.size);
        // The first encoder is freed before the second allocates as much.
        self.encoder = None;
        self.encoder = Some(codec::open(&self.path, &self.settings, coded, self.rate, None)?);
        for number in 0..self.pushed {
            crate::ffi::make_fresh(&mut self.frame).map_err(MediaError::make(&self.path, "allocating a frame"))?;
            write_grey(&mut self.frame, planes.next()?, coded);
            self.send(number)?;
            self.write_with_alpha(&mut colours)?;
        }
        self.end()?;
        self.write_with_alpha(&mut colours)
    }

    /// Writes every packet of alpha that is ready, with the colours of the same frame.
    fn write_with_alpha(&mut self, colours: &mut PacketReader) -> Result<(), MediaError> {
        while let Some(alpha) = self.packet()? {
            let Some(mut packet) = colours.next()? else { break };
            let failed = MediaError::make(&self.path, "encoding alpha");
            crate::ffi::add_alpha(&mut packet, alpha.data().unwrap_or_default()).map_err(failed)?;
            self.write(packet)?;
        }
        Ok(())
    }

    fn drain(&mut self) -> Result<(), MediaError> {
        while let Some(packet) = self.packet()? {
            match &mut self.alpha_pass {
                Some(alpha_pass) => alpha_pass.colours.push(&packet)?,
                None => self.write(packet)?,
            }
        }
        Ok(())
    }

    /// The encoder's next packet, if one is ready.
    fn packet(&mut self) -> Result<Option<Packet>, MediaError> {
        let mut packet = Packet::empty();
        match open(&mut self.encoder)?.receive_packet(&mut packet) {
            Ok(()) => Ok(Some(packet)),
            Err(ffmpeg::Error::Other { errno: ffmpeg::error::EAGAIN } | ffmpeg::Error::Eof) => Ok(None),
            Err(error) => Err(MediaError::make(&self.path, "encoding a frame")(error)),
        }
    }

    fn write(&mut self, mut packet: Packet) -> Result<(), MediaError> {
        let frames = Rational::new(self.rate.den() as i32, self.rate.num() as i32);
        packet.set_stream(self.stream);
        packet.set_duration(1);
        if let Some(reordering) = self.reordering {
            packet.set_dts(packet.pts().map(|pts| pts.min(self.written as i64 - reordering)));
        }
        packet.rescale_ts(frames, self.muxer.time_base(self.stream));
        self.muxer.write(&mut packet)?;
        self.written += 1;
        Ok(())
    }
}

/// The open encoder. It is missing only while it is replaced.
fn open(encoder: &mut Option<video::Encoder>) -> Result<&mut video::Encoder, MediaError> {
    encoder.as_mut().ok_or_else(|| MediaError::Missing { name: "open encoder".to_owned() })
}

/// Writes `plane`, of `size`, as the luma of `frame`, with neutral chroma.
fn write_grey(frame: &mut frame::Video, plane: &[u8], size: Size) {
    let (width, height) = (size.width as usize, size.height as usize);
    let [mut luma, mut blue, mut red, _] = crate::ffi::planes_mut(frame);
    for (y, row) in plane.chunks_exact(width).take(height).enumerate() {
        luma.row(y, width).copy_from_slice(row);
    }
    for y in 0..height.div_ceil(2) {
        blue.row(y, width.div_ceil(2)).fill(128);
        red.row(y, width.div_ceil(2)).fill(128);
    }
}

/// A bitmap of the coded size with a black edge at its right or bottom. The edge is two pixels wide: a pair of columns
/// shares its chroma, and HyperFrames' own renderer blackens the whole pair.
struct PaddedBitmap {
    size: Size,
    bgra: Vec<u8>,
}

impl PaddedBitmap {
    fn new(size: Size) -> Self {
        Self { size, bgra: [0, 0, 0, 255].repeat(size.width as usize * size.height as usize) }
    }

    /// Copies `frame` into the bitmap.
    fn fill(&mut self, frame: &Bitmap<'_>) -> Bitmap<'_> {
        let stride = self.size.width as usize * 4;
        let (columns, rows) = (frame.size.width as usize & !1, frame.size.height as usize & !1);
        for (y, row) in self.bgra.chunks_mut(stride).take(rows).enumerate() {
            let pixels = frame.row(y).chunks(frame.layout.bytes()).take(columns);
            for (to, from) in row.as_chunks_mut::<4>().0.iter_mut().zip(pixels) {
                *to = match (frame.layout, from) {
                    (PixelLayout::Bgra, [blue, green, red, alpha]) => [*blue, *green, *red, *alpha],
                    (_, [red, green, blue, rest @ ..]) => [*blue, *green, *red, rest.first().copied().unwrap_or(255)],
                    _ => *to,
                };
            }
        }
        Bitmap { data: &self.bgra, stride, size: self.size, layout: PixelLayout::Bgra }
    }
}

impl std::fmt::Debug for SegmentEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SegmentEncoder").field("path", &self.path).field("pushed", &self.pushed).finish_non_exhaustive()
    }
}
