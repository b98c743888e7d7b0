//! Permits for encoders that need much memory.
//!
//! Most encoders of pictures with alpha need a hundred megabytes or more at 720p, several hundred at 1080p, and work
//! for a fraction of the time that the screenshots take. So the slots of a worker share a few permits: frames wait as
//! PNG files, and meanwhile the page goes on.

use std::collections::VecDeque;
use std::sync::Arc;

use hyperfarm_proto::plan::{EncoderSettings, VideoCodec};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::frame::GrabbedFrame;
use crate::error::WorkerError;

/// Bytes of frames that may wait for one encoder. With more, the encoder starts without a permit: it needs less memory
/// than they do.
const WAITING_BYTES: usize = 32 << 20;

/// Permits for encoders that need much memory. Clones share them.
#[derive(Debug, Clone)]
pub struct EncoderPermits(Arc<Semaphore>);

/// What an encoder starts with.
#[derive(Default)]
pub(super) struct EncoderStart {
    /// Frames that arrived while it waited.
    pub(super) waiting: VecDeque<GrabbedFrame>,
    /// The permit, held until the encoder's memory is free again; `None` for an encoder that needs none.
    pub(super) permit: Option<OwnedSemaphorePermit>,
}

impl EncoderPermits {
    /// The permits of a worker with `slots` slots: one per two slots.
    pub fn for_slots(slots: usize) -> Self {
        Self(Arc::new(Semaphore::new((slots / 2).max(1))))
    }

    /// Waits for a permit for an encoder of `settings`, and receives `frames` meanwhile. For threads that may block.
    pub(super) fn wait(
        self,
        settings: &EncoderSettings,
        frames: &mut mpsc::Receiver<GrabbedFrame>,
    ) -> Result<EncoderStart, WorkerError> {
        let mut waiting = VecDeque::new();
        if !needs_permit(settings) {
            return Ok(EncoderStart { waiting, permit: None });
        }
        let permit = tokio::runtime::Handle::current().block_on(async {
            let acquiring = self.0.acquire_owned();
            tokio::pin!(acquiring);
            let (mut bytes, mut is_complete) = (0, false);
            loop {
                tokio::select! {
                    biased;
                    permit = &mut acquiring => return permit.map(Some),
                    frame = frames.recv(), if !is_complete => match frame {
                        Some(frame) => {
                            bytes += frame.bytes();
                            waiting.push_back(frame);
                        }
                        None => is_complete = true,
                    },
                }
                if bytes > WAITING_BYTES {
                    return Ok(None);
                }
            }
        });
        let permit =
            permit.map_err(|closed| WorkerError::Inconsistent(format!("no permit for an encoder: {closed}")))?;
        Ok(EncoderStart { waiting, permit })
    }
}

/// Whether the encoder holds many pictures with alpha. Encoders of opaque pictures never wait: their frames are pixels,
/// which are large.
fn needs_permit(settings: &EncoderSettings) -> bool {
    settings.alpha && matches!(settings.codec, VideoCodec::Vp9 { .. } | VideoCodec::Vp8 { .. })
}

#[cfg(test)]
mod tests {
    use hyperfarm_proto::frame::FrameRate;
    use hyperfarm_proto::spec::{Format, Quality};

    use super::*;

    fn settings() -> EncoderSettings {
        let settings = EncoderSettings::of(Format::Webm, Quality::Standard, FrameRate::new(30, 1).unwrap());
        EncoderSettings { alpha: true, ..settings }
    }

    async fn wait(permits: &EncoderPermits, mut frames: mpsc::Receiver<GrabbedFrame>) -> EncoderStart {
        let permits = permits.clone();
        tokio::task::spawn_blocking(move || permits.wait(&settings(), &mut frames)).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn frames_wait_for_a_permit_and_are_bounded() {
        let permits = EncoderPermits::for_slots(2);
        let (first, frames) = mpsc::channel(2);
        let held = wait(&permits, frames).await;
        assert!(held.permit.is_some() && held.waiting.is_empty());
        // Another encoder's frames wait, more of them than the channel holds.
        let (sender, frames) = mpsc::channel(2);
        let second = tokio::spawn({
            let permits = permits.clone();
            async move { wait(&permits, frames).await }
        });
        for number in 0..9 {
            sender.send(GrabbedFrame::Png(vec![number])).await.unwrap();
        }
        assert!(!second.is_finished());
        drop((first, held));
        let second = second.await.unwrap();
        assert!(second.permit.is_some());
        assert!(second.waiting.iter().enumerate().all(|(at, frame)| frame.bytes() == 1 && at < 9));
        // With too many bytes waiting, the encoder starts without a permit.
        let (sender, frames) = mpsc::channel(2);
        for _ in 0..2 {
            sender.send(GrabbedFrame::Png(vec![0; WAITING_BYTES])).await.unwrap();
        }
        let third = wait(&permits, frames).await;
        assert!(third.permit.is_none());
        assert_eq!(third.waiting.len(), 2);
    }

    #[tokio::test]
    async fn opaque_frames_never_wait() {
        let opaque = EncoderSettings { alpha: false, ..settings() };
        let permits = EncoderPermits::for_slots(1);
        let (_sender, mut frames) = mpsc::channel(1);
        assert!(permits.clone().wait(&opaque, &mut frames).unwrap().permit.is_none());
        assert_eq!(permits.0.available_permits(), 1);
    }
}
