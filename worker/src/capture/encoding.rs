//! The encoder's thread: decode, hash, encode, in order, with a bounded number of frames waiting.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use hyperfarm_media::{Bitmap, PixelLayout, SegmentEncoder, SegmentSummary};
use hyperfarm_proto::failure::{Failure, FailureCode};
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::id::FrameHash;
use hyperfarm_proto::plan::EncoderSettings;
use hyperfarm_proto::spec::Size;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::encoder_permits::{EncoderPermits, Turn};
use super::frame::{GrabbedFrame, RawFrame};
use super::png;

/// Frames that wait for the encoder: enough to overlap it with the page, and for a page that is slow now and then; more would
/// only hold memory.
const WAITING_FRAMES: usize = 2;

/// Pixels across the still of a chunk at most.
const STILL_WIDTH: u32 = 320;

/// A finished segment on this machine's disk.
#[derive(Debug)]
pub struct EncodedChunk {
    /// Frames and bytes.
    pub summary: SegmentSummary,
    /// Hash of each frame's pixels.
    pub hashes: Vec<FrameHash>,
    /// Time spent decoding screenshots and hashing pixels.
    pub read: Duration,
    /// Time spent turning pixels into the encoder's pictures.
    pub convert: Duration,
    /// Time spent in the encoder.
    pub encode: Duration,
    /// The first frame as a small JPEG, for people.
    pub still: Option<Vec<u8>>,
}

/// An encoder at work. Dropped before its end, it stops and removes its file.
pub struct Encoding {
    frames: mpsc::Sender<GrabbedFrame>,
    thread: JoinHandle<Result<EncodedChunk, Failure>>,
    waited: Duration,
}

impl Encoding {
    /// Starts an encoder that writes to `path`. One that needs much memory waits for its turn in `turns`, if it is given.
    pub fn start(
        path: PathBuf,
        settings: EncoderSettings,
        size: Size,
        rate: FrameRate,
        turns: Option<&EncoderPermits>,
    ) -> Self {
        let turns = turns.cloned();
        let (frames, receiver) = mpsc::channel(WAITING_FRAMES);
        let thread = tokio::task::spawn_blocking(move || encode(&path, &settings, size, rate, receiver, turns));
        Self { frames, thread, waited: Duration::ZERO }
    }

    /// Hands over the next frame; waits while the encoder is behind.
    pub async fn push(&mut self, frame: GrabbedFrame) -> Result<(), Failure> {
        let started = Instant::now();
        let sent = self.frames.send(frame).await;
        self.waited += started.elapsed();
        // The thread ends early only with a failure, which `finish` then brings.
        sent.map_err(|_| Failure::new(FailureCode::EncodeFailed, "the encoder ended before its frames"))
    }

    /// Time spent waiting for the encoder.
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// Waits for the last frame and closes the segment.
    pub async fn finish(self) -> Result<EncodedChunk, Failure> {
        drop(self.frames);
        match self.thread.await {
            Ok(result) => result,
            Err(panic) => Err(Failure::new(FailureCode::Internal, format!("the encoder's thread broke: {panic}"))),
        }
    }
}

fn encode(
    path: &std::path::Path,
    settings: &EncoderSettings,
    size: Size,
    rate: FrameRate,
    mut frames: mpsc::Receiver<GrabbedFrame>,
    turns: Option<EncoderPermits>,
) -> Result<EncodedChunk, Failure> {
    let failed = |error: hyperfarm_media::MediaError| Failure::new(FailureCode::EncodeFailed, error.to_string());
    let turn = turns.map(|turns| turns.wait(settings, &mut frames)).transpose()?;
    let Turn { mut waiting, permit } = turn.unwrap_or_default();
    let mut encoder = SegmentEncoder::create(path, settings, size, rate).map_err(failed)?;
    let mut frames_in = Frames { size, decoded: Vec::new(), raw: None, png: Vec::new() };
    let mut hashes: Vec<FrameHash> = Vec::new();
    let (mut read, mut encode) = (Duration::ZERO, Duration::ZERO);
    let mut still = None;
    while let Some(frame) = waiting.pop_front().or_else(|| frames.blocking_recv()) {
        let started = Instant::now();
        let last = hashes.last().copied();
        let hash = frames_in.take(frame)?.or(last);
        let hash = hash.ok_or_else(|| Failure::new(FailureCode::Internal, "the first frame repeats another"))?;
        read += started.elapsed();
        if hashes.is_empty() {
            let made = hyperfarm_media::still(&frames_in.bitmap(), STILL_WIDTH);
            still = made.inspect_err(|error| tracing::warn!(%error, "a chunk has no still")).ok();
        }
        let started = Instant::now();
        if last == Some(hash) {
            encoder.repeat().map_err(failed)?;
        } else {
            encoder.push(&frames_in.bitmap()).map_err(failed)?;
        }
        hashes.push(hash);
        encode += started.elapsed();
    }
    let convert = encoder.converting();
    let started = Instant::now();
    let summary = encoder.finish().map_err(failed)?;
    drop(permit);
    let encode = (encode + started.elapsed()).saturating_sub(convert);
    // What an encoder leaves behind is of no use until the next one, which may be on another thread.
    hyperfarm_media::return_free_memory();
    Ok(EncodedChunk { summary, hashes, read, convert, encode, still })
}

/// The frame that is encoded now.
struct Frames {
    size: Size,
    decoded: Vec<u8>,
    raw: Option<RawFrame>,
    png: Vec<u8>,
}

impl Frames {
    /// Makes `frame` the frame that is encoded now, and answers the hash of its pixels; none where it is the one before it.
    fn take(&mut self, frame: GrabbedFrame) -> Result<Option<FrameHash>, Failure> {
        match frame {
            GrabbedFrame::Same => return Ok(None),
            // Equal files are equal pictures, and a page that rests makes equal files.
            GrabbedFrame::Png(file) if file == self.png => return Ok(None),
            GrabbedFrame::Png(file) => {
                png::decode(&file, self.size, &mut self.decoded)?;
                self.png = file;
            }
            GrabbedFrame::Raw(frame) => self.raw = Some(frame),
        }
        Ok(Some(FrameHash::from_u128(xxhash_rust::xxh3::xxh3_128(self.pixels()))))
    }

    fn pixels(&self) -> &[u8] {
        self.raw.as_ref().map_or(&self.decoded, RawFrame::bytes)
    }

    fn bitmap(&self) -> Bitmap<'_> {
        let stride = self.size.width as usize * PixelLayout::Bgra.bytes();
        Bitmap { data: self.pixels(), stride, size: self.size, layout: PixelLayout::Bgra }
    }
}
