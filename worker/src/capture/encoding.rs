//! The encoder's thread: it decodes, hashes and encodes frames in order; a bounded number of frames waits for it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use hyperfarm_media::{Bitmap, HdrLayer, Picture, PixelLayout, RenditionsEncoder, SegmentSummary};
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::hdr::LightLevels;
use hyperfarm_proto::id::FrameHash;
use hyperfarm_proto::plan::EncoderSettings;
use hyperfarm_proto::spec::Size;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::encoder_permits::{EncoderPermits, EncoderStart};
use super::frame::GrabbedFrame;
use super::layers::{DecodedLayer, LayeredFrame, layered_hash};
use crate::error::{CaptureError, WorkerError};
use crate::framebuffer::RawFrame;
use crate::screenshot;

/// Frames that wait for the encoder: enough to overlap it with the page, and to even out a page that is slow now and
/// then.
const WAITING_FRAMES: usize = 2;

/// Width of the thumbnail of a chunk in pixels, at most.
const THUMBNAIL_WIDTH: u32 = 320;

/// A finished segment on the local disk.
#[derive(Debug)]
pub struct EncodedChunk {
    /// Number of frames and bytes.
    pub summary: SegmentSummary,
    /// Hash of each frame's pixels.
    pub hashes: Vec<FrameHash>,
    /// Time spent decoding screenshots and hashing pixels.
    pub read: Duration,
    /// Time spent turning pixels into the encoder's pictures.
    pub convert: Duration,
    /// Time spent in the encoder.
    pub encode: Duration,
    /// The first frame as a small JPEG; `None` where it cannot be encoded.
    pub thumbnail: Option<Vec<u8>>,
    /// The light of the frames, of an output of high dynamic range.
    pub light: Option<LightLevels>,
}

/// An encoder that runs. One that is dropped still writes the end of its file; [`Encoding::finish`] waits for that.
pub struct Encoding {
    /// `None` after the last frame.
    frames: Option<mpsc::Sender<GrabbedFrame>>,
    /// Number of frames that were passed.
    passed: usize,
    /// The hashes so far: their number, and the last.
    hashed: watch::Receiver<(usize, Option<FrameHash>)>,
    thread: JoinHandle<Result<EncodedChunk, WorkerError>>,
    waited: Duration,
}

impl Encoding {
    /// Starts an encoder that writes to `path`. An encoder that needs much memory waits for one of `permits`, if they
    /// are given.
    pub fn start(
        path: PathBuf,
        settings: EncoderSettings,
        size: Size,
        rate: FrameRate,
        permits: Option<&EncoderPermits>,
    ) -> Self {
        let permits = permits.cloned();
        let (frames, receiver) = mpsc::channel(WAITING_FRAMES);
        let (hashes, hashed) = watch::channel((0, None));
        let encode = move || encode(&path, &settings, size, rate, receiver, hashes, permits);
        let thread = tokio::task::spawn_blocking(encode);
        Self { frames: Some(frames), passed: 0, hashed, thread, waited: Duration::ZERO }
    }

    /// Passes the next frame to the encoder; waits while the encoder is behind.
    ///
    /// # Errors
    ///
    /// [`CaptureError::EncoderEnded`]; [`Encoding::finish`] then returns the reason.
    pub async fn push(&mut self, frame: GrabbedFrame) -> Result<(), WorkerError> {
        let Some(frames) = &self.frames else { return Err(CaptureError::EncoderEnded.into()) };
        let started = Instant::now();
        let sent = frames.send(frame).await;
        self.waited += started.elapsed();
        self.passed += 1;
        sent.map_err(|_| CaptureError::EncoderEnded.into())
    }

    /// Hash of the frame that was passed last; `None` where the encoder has ended before it, or none was passed.
    pub async fn last_hash(&mut self) -> Option<FrameHash> {
        let passed = self.passed;
        self.hashed.wait_for(|(number, _)| *number == passed).await.ok()?.1
    }

    /// Says that the last frame was passed, so that the encoder comes to its end.
    pub fn close(&mut self) {
        self.frames = None;
    }

    /// Time for which [`Encoding::push`] has waited.
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// Waits until the last frame is encoded and closes the segment.
    ///
    /// # Errors
    ///
    /// Those of a screenshot that cannot be decoded, of the encoder, and of a panic.
    pub async fn finish(self) -> Result<EncodedChunk, WorkerError> {
        drop(self.frames);
        self.thread.await.map_err(|source| WorkerError::Panicked { part: "the encoder's thread", source })?
    }
}

fn encode(
    path: &std::path::Path,
    settings: &EncoderSettings,
    size: Size,
    rate: FrameRate,
    mut frames: mpsc::Receiver<GrabbedFrame>,
    hashed: watch::Sender<(usize, Option<FrameHash>)>,
    permits: Option<EncoderPermits>,
) -> Result<EncodedChunk, WorkerError> {
    let start = permits.map(|permits| permits.wait(settings, &mut frames)).transpose()?;
    let EncoderStart { mut waiting, permit } = start.unwrap_or_default();
    let mut encoder = RenditionsEncoder::create(path, settings, size, rate)?;
    let mut current = CurrentFrame { size, decoded: Vec::new(), raw: None, png: Vec::new(), layers: Vec::new() };
    let mut hashes: Vec<FrameHash> = Vec::new();
    let (mut read, mut encode) = (Duration::ZERO, Duration::ZERO);
    let mut thumbnail = None;
    while let Some(frame) = waiting.pop_front().or_else(|| frames.blocking_recv()) {
        let started = Instant::now();
        let last = hashes.last().copied();
        let hash = current.replace(frame)?.or(last);
        let hash =
            hash.ok_or_else(|| WorkerError::Inconsistent("the first frame of a chunk repeats another".to_owned()))?;
        read += started.elapsed();
        if hashes.is_empty() {
            let layers = current.layers();
            let preview = (!layers.is_empty()).then(|| hyperfarm_media::sdr_preview(&current.bitmap(), &layers));
            let first = preview.as_ref().map_or_else(|| current.bitmap(), Picture::as_bitmap);
            let encoded = hyperfarm_media::still(&first, THUMBNAIL_WIDTH);
            thumbnail =
                encoded.inspect_err(|error| tracing::warn!(%error, "the thumbnail of a chunk cannot be encoded")).ok();
        }
        let started = Instant::now();
        if last == Some(hash) {
            encoder.repeat()?;
        } else {
            encoder.push_layers(&current.bitmap(), &current.layers())?;
        }
        hashes.push(hash);
        hashed.send_replace((hashes.len(), Some(hash)));
        encode += started.elapsed();
    }
    let (convert, light) = (encoder.converting(), encoder.light());
    let started = Instant::now();
    let summary = encoder.finish()?;
    drop(permit);
    let encode = (encode + started.elapsed()).saturating_sub(convert);
    // The memory of an encoder is of no use until the next one starts, which may be on another thread.
    hyperfarm_media::return_free_memory();
    Ok(EncodedChunk { summary, hashes, read, convert, encode, thumbnail, light })
}

/// The frame that is encoded now.
struct CurrentFrame {
    size: Size,
    decoded: Vec<u8>,
    raw: Option<RawFrame>,
    png: Vec<u8>,
    layers: Vec<DecodedLayer>,
}

impl CurrentFrame {
    /// Makes `frame` the current one and returns the hash of its pixels; `None` where it equals the one before it.
    fn replace(&mut self, frame: GrabbedFrame) -> Result<Option<FrameHash>, WorkerError> {
        let (frame, layers) = match frame {
            GrabbedFrame::Layered(frame) => {
                let LayeredFrame { page, layers } = *frame;
                let layers = layers.into_iter().map(|layer| layer.decoded(self.size));
                (page, layers.collect::<Result<_, _>>()?)
            }
            GrabbedFrame::Same => return Ok(None),
            // Equal files are equal pictures, and a page that does not move gives equal files.
            GrabbedFrame::Png(file) if file == self.png && self.layers.is_empty() => return Ok(None),
            other => (other, Vec::new()),
        };
        self.layers = layers;
        match frame {
            GrabbedFrame::Same | GrabbedFrame::Layered(_) => return Err(CaptureError::NoPicture.into()),
            GrabbedFrame::Png(file) => {
                screenshot::decode_into(&file, self.size, &mut self.decoded)?;
                self.png = file;
            }
            GrabbedFrame::Raw(frame) => self.raw = Some(frame),
        }
        Ok(Some(layered_hash(self.pixels(), &self.layers)))
    }

    fn pixels(&self) -> &[u8] {
        self.raw.as_ref().map_or(&self.decoded, RawFrame::bytes)
    }

    fn layers(&self) -> Vec<HdrLayer<'_>> {
        self.layers.iter().map(|layer| layer.as_layer(self.size)).collect()
    }

    fn bitmap(&self) -> Bitmap<'_> {
        let stride = self.size.width as usize * PixelLayout::Bgra.bytes();
        Bitmap { data: self.pixels(), stride, size: self.size, layout: PixelLayout::Bgra }
    }
}
