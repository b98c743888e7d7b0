//! Pictures into a segment.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ffmpeg_next as ffmpeg;
use ffmpeg_next::codec::encoder::video;
use ffmpeg_next::{Packet, Rational, color, frame};
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::plan::{EncoderSettings, VideoCodec};
use hyperfarm_proto::spec::Size;

use crate::alpha::AlphaPlanes;
use crate::bitmap::{Bitmap, PixelLayout};
use crate::codec::{self, Colour};
use crate::convert::YuvWriter;
use crate::error::MediaError;
use crate::mux::{Container, Muxer};
use crate::timescale;
use crate::upload::Upload;

/// Pictures by which x265 puts decoding before showing at most. It derives decode times from the pictures that follow, and gives
/// nonsense where too few do.
const X265_REORDERING: i64 = 2;

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
/// Two planes that are two streams of one codec (VP8's and VP9's alpha) are encoded one after the other: the alpha when the colours are
/// done, so that one encoder's memory is enough.
///
/// It works in the caller's thread. Dropped before [`SegmentEncoder::finish`], it removes its file.
pub struct SegmentEncoder {
    /// None only between the encoders of two planes.
    encoder: Option<video::Encoder>,
    settings: EncoderSettings,
    apart: Option<Apart>,
    muxer: Muxer,
    path: PathBuf,
    stream: usize,
    size: Size,
    /// A picture of the coded size, black where the pictures do not reach; none where they have that size already.
    padded: Option<Padded>,
    colour: Colour,
    /// Where the encoder's own decode times cannot be used: pictures by which decoding is before showing.
    reordering: Option<i64>,
    /// What puts pictures into the device's memory, for encoders that take them from there.
    upload: Option<Upload>,
    /// The last picture there.
    uploaded: Option<frame::Video>,
    rate: FrameRate,
    writer: YuvWriter,
    frame: frame::Video,
    pushed: u64,
    written: u64,
    converting: Duration,
}

/// What waits until the colours are done, where alpha is a stream of its own.
struct Apart {
    planes: AlphaPlanes,
    colours: VecDeque<Packet>,
}

impl SegmentEncoder {
    /// A segment at `path` (mp4, webm or mov by `settings.format`) of pictures of `size` pixels. The file's pictures have
    /// `settings.codec.coded_size(size)`.
    ///
    /// Fails if this FFmpeg lacks the encoder, refuses the settings, or the file cannot be written.
    pub fn create(path: &Path, settings: &EncoderSettings, size: Size, rate: FrameRate) -> Result<Self, MediaError> {
        let coded = settings.codec.coded_size(size);
        // Their encoders would be at work side by side, each with all its memory, for the same bytes.
        let two_streams = codec::promises_alpha(settings);
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
        let stream = muxer.add_video(parameters, rate, ticks, codec::promises_alpha(settings))?;
        muxer.start(ticks, ticks, false)?;
        let apart = two_streams.then(|| AlphaPlanes::create(path)).transpose()?;
        Ok(Self {
            encoder: Some(encoder),
            settings: first,
            apart: apart.map(|planes| Apart { planes, colours: VecDeque::new() }),
            muxer,
            path: path.to_owned(),
            stream,
            size,
            padded: (coded != size).then(|| Padded::new(coded)),
            colour: Colour::of(&settings.codec),
            reordering: match settings.codec {
                VideoCodec::H265 { .. } => Some(X265_REORDERING),
                // They are told to have no B-frames.
                VideoCodec::Device { .. } => Some(0),
                _ => None,
            },
            upload,
            uploaded: None,
            rate,
            writer: YuvWriter::new(format, coded),
            frame,
            pushed: 0,
            written: 0,
            converting: Duration::ZERO,
        })
    }

    /// Appends a picture of the encoder's size.
    pub fn push(&mut self, frame: &Bitmap<'_>) -> Result<(), MediaError> {
        frame.check(self.size)?;
        let started = Instant::now();
        crate::ffi::make_fresh(&mut self.frame).map_err(MediaError::make(&self.path, "allocating a frame"))?;
        let padded = self.padded.as_mut().map(|padded| padded.fill(frame));
        let picture = padded.as_ref().unwrap_or(frame);
        self.writer.write(picture, &mut self.frame);
        if let Some(apart) = &mut self.apart {
            apart.planes.push(picture)?;
        }
        if let Some(upload) = &mut self.upload {
            let copied =
                upload.copy(&self.frame).map_err(MediaError::make(&self.path, "copying a frame to the device"))?;
            self.uploaded = Some(copied);
        }
        self.converting += started.elapsed();
        self.encode()
    }

    /// Appends the last picture once more: nothing is converted or copied, and the encoder finds that nothing moved.
    ///
    /// Fails if there was none, with the error of a bitmap without pixels.
    pub fn repeat(&mut self) -> Result<(), MediaError> {
        if self.pushed == 0 {
            let found = Size { width: 0, height: 0 };
            return Err(MediaError::Bitmap { expected: self.size, found, bytes: 0, what: "no picture came before it" });
        }
        if let Some(apart) = &mut self.apart {
            apart.planes.repeat()?;
        }
        self.encode()
    }

    fn encode(&mut self) -> Result<(), MediaError> {
        self.send(self.pushed)?;
        self.pushed += 1;
        self.drain()
    }

    /// Gives the encoder the last picture as picture `number`.
    fn send(&mut self, number: u64) -> Result<(), MediaError> {
        let frame = self.uploaded.as_mut().unwrap_or(&mut self.frame);
        frame.set_pts(Some(number as i64));
        // One picture, one packet: the type of the last one must not stick.
        frame.set_kind(ffmpeg::picture::Type::None);
        // prores_ks writes the tags of the picture into its frame header, and not the encoder's.
        frame.set_color_space(self.colour.space);
        frame.set_color_primaries(color::Primaries::BT709);
        frame.set_color_transfer_characteristic(self.colour.transfer);
        frame.set_color_range(self.colour.range);
        let failed = MediaError::make(&self.path, "encoding a frame");
        open(&mut self.encoder)?.send_frame(frame).map_err(failed)
    }

    fn end(&mut self) -> Result<(), MediaError> {
        open(&mut self.encoder)?.send_eof().map_err(MediaError::make(&self.path, "ending the encoder"))
    }

    /// Time that went into turning bitmaps into the encoder's pictures so far.
    pub fn converting(&self) -> Duration {
        self.converting
    }

    /// Completes the file. Fails if the encoder gave another number of packets than it was given pictures, or none.
    pub fn finish(mut self) -> Result<SegmentSummary, MediaError> {
        if self.pushed == 0 {
            return Err(MediaError::Nothing { action: "encode", rate: self.rate });
        }
        self.end()?;
        self.drain()?;
        if let Some(apart) = self.apart.take() {
            self.add_alpha(apart)?;
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

    /// Encodes the alpha planes, and writes each beside its colours.
    fn add_alpha(&mut self, apart: Apart) -> Result<(), MediaError> {
        let Apart { planes, mut colours } = apart;
        let mut planes = planes.read()?;
        let coded = self.settings.codec.coded_size(self.size);
        // The first encoder gives its memory up before the second takes as much.
        self.encoder = None;
        self.encoder = Some(codec::open(&self.path, &self.settings, coded, self.rate, None)?);
        for number in 0..self.pushed {
            crate::ffi::make_fresh(&mut self.frame).map_err(MediaError::make(&self.path, "allocating a frame"))?;
            write_grey(&mut self.frame, planes.next()?, coded);
            self.send(number)?;
            self.join(&mut colours)?;
        }
        self.end()?;
        self.join(&mut colours)
    }

    /// Writes what there is of alpha with the colours of the same picture.
    fn join(&mut self, colours: &mut VecDeque<Packet>) -> Result<(), MediaError> {
        while let Some(alpha) = self.packet()? {
            let Some(mut packet) = colours.pop_front() else { break };
            let failed = MediaError::make(&self.path, "encoding alpha");
            crate::ffi::add_alpha(&mut packet, alpha.data().unwrap_or_default()).map_err(failed)?;
            self.write(packet)?;
        }
        Ok(())
    }

    fn drain(&mut self) -> Result<(), MediaError> {
        while let Some(packet) = self.packet()? {
            match &mut self.apart {
                Some(apart) => apart.colours.push_back(packet),
                None => self.write(packet)?,
            }
        }
        Ok(())
    }

    /// The encoder's next packet, if it has one now.
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

/// The encoder, which is there but while one takes another's place.
fn open(encoder: &mut Option<video::Encoder>) -> Result<&mut video::Encoder, MediaError> {
    encoder.as_mut().ok_or_else(|| MediaError::Missing { name: "open encoder".to_owned() })
}

/// Makes `plane`, of `size`, the luma of `frame`, which gets no colour.
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

/// A picture with a black edge at its right or bottom: of two pixels, because a pair of columns shares its colour and HyperFrames' own
/// renderer blackens the whole pair.
struct Padded {
    size: Size,
    bgra: Vec<u8>,
}

impl Padded {
    fn new(size: Size) -> Self {
        Self { size, bgra: [0, 0, 0, 255].repeat(size.width as usize * size.height as usize) }
    }

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
