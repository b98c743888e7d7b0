//! The encoder's thread: decode, hash, encode, in order, with a bounded number of frames waiting.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyperfarm_media::{Bitmap, SegmentEncoder, SegmentSummary};
use hyperfarm_proto::failure::{Failure, FailureCode};
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::id::FrameHash;
use hyperfarm_proto::plan::EncoderSettings;
use hyperfarm_proto::spec::Size;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::grab::GrabbedFrame;
use super::png::{self, Pixels};

/// Frames that wait for the encoder. One is enough to overlap it with the page; more would only hold memory.
const WAITING_FRAMES: usize = 2;

/// A finished segment on this machine's disk.
#[derive(Debug)]
pub struct EncodedChunk {
    /// Frames and bytes.
    pub summary: SegmentSummary,
    /// Hash of each frame's pixels.
    pub hashes: Vec<FrameHash>,
    /// Time spent decoding screenshots.
    pub read: Duration,
    /// Time spent in the encoder.
    pub encode: Duration,
}

/// An encoder at work. Dropped before its end, it stops and removes its file.
pub struct Encoding {
    frames: mpsc::Sender<GrabbedFrame>,
    thread: JoinHandle<Result<EncodedChunk, Failure>>,
    waited: Duration,
}

impl Encoding {
    /// Starts an encoder that writes to `path`.
    pub fn start(path: PathBuf, settings: EncoderSettings, size: Size, rate: FrameRate) -> Self {
        let (frames, receiver) = mpsc::channel(WAITING_FRAMES);
        let thread = tokio::task::spawn_blocking(move || encode(&path, &settings, size, rate, receiver));
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
) -> Result<EncodedChunk, Failure> {
    let failed = |error: hyperfarm_media::MediaError| Failure::new(FailureCode::EncodeFailed, error.to_string());
    let mut encoder = SegmentEncoder::create(path, settings, size, rate).map_err(failed)?;
    let mut hashes = Vec::new();
    let mut pixels = Pixels::default();
    let mut last: Option<Arc<Vec<u8>>> = None;
    let (mut read, mut encode) = (Duration::ZERO, Duration::ZERO);
    while let Some(GrabbedFrame::Png(file)) = frames.blocking_recv() {
        let started = Instant::now();
        // Equal files are equal pictures, and a page that rests makes equal files.
        if last.as_ref().is_none_or(|last| last.as_slice() != file.as_slice()) {
            png::decode(&file, size, &mut pixels)?;
            hashes.push(pixels.hash());
            last = Some(file);
        } else if let Some(hash) = hashes.last().copied() {
            hashes.push(hash);
        }
        read += started.elapsed();
        let started = Instant::now();
        let layout = pixels.layout.ok_or_else(|| Failure::new(FailureCode::Internal, "a frame without a layout"))?;
        encoder.push(&Bitmap { data: &pixels.data, stride: pixels.stride, size, layout }).map_err(failed)?;
        encode += started.elapsed();
    }
    let started = Instant::now();
    let summary = encoder.finish().map_err(failed)?;
    encode += started.elapsed();
    Ok(EncodedChunk { summary, hashes, read, encode })
}
