//! Whose encoder may be at work.
//!
//! Most encoders of pictures with alpha need a hundred megabytes and more at 720p, several hundred at 1080p, and are at work for a fraction of
//! the time that the screenshots take. So the slots of a worker share a few of them: frames wait as the PNG files that they are, and
//! while they wait the page goes on.

use std::collections::VecDeque;
use std::sync::Arc;

use hyperfarm_proto::failure::{Failure, FailureCode};
use hyperfarm_proto::plan::{EncoderSettings, VideoCodec};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::frame::GrabbedFrame;

/// Bytes of frames that wait for one encoder's turn. With more, it goes to work out of turn: its memory is then the lesser evil.
const WAITING_BYTES: usize = 32 << 20;

/// Turns of encoders that need much memory.
#[derive(Debug, Clone)]
pub struct EncoderPermits(Arc<Semaphore>);

/// What an encoder begins with.
#[derive(Default)]
pub(super) struct Turn {
    /// Frames that came while it waited.
    pub(super) waiting: VecDeque<GrabbedFrame>,
    /// Held until the encoder's memory is free again.
    pub(super) permit: Option<OwnedSemaphorePermit>,
}

impl EncoderPermits {
    /// For a worker of so many slots: one for two of them.
    pub fn for_slots(slots: usize) -> Self {
        Self(Arc::new(Semaphore::new((slots / 2).max(1))))
    }

    /// Waits for the turn of an encoder of `settings` and takes what comes out of `frames` meanwhile. For threads that may block.
    pub(super) fn wait(
        self,
        settings: &EncoderSettings,
        frames: &mut mpsc::Receiver<GrabbedFrame>,
    ) -> Result<Turn, Failure> {
        let mut waiting = VecDeque::new();
        if !needs_turn(settings) {
            return Ok(Turn { waiting, permit: None });
        }
        let permit = tokio::runtime::Handle::current().block_on(async {
            let turn = self.0.acquire_owned();
            tokio::pin!(turn);
            let (mut bytes, mut all) = (0, false);
            loop {
                tokio::select! {
                    biased;
                    permit = &mut turn => return permit.map(Some),
                    frame = frames.recv(), if !all => match frame {
                        Some(frame) => {
                            bytes += frame.bytes();
                            waiting.push_back(frame);
                        }
                        None => all = true,
                    },
                }
                if bytes > WAITING_BYTES {
                    return Ok(None);
                }
            }
        });
        let permit = permit.map_err(|closed| Failure::new(FailureCode::Internal, format!("no encoder: {closed}")))?;
        Ok(Turn { waiting, permit })
    }
}

/// Of the codecs with alpha those whose encoders hold many pictures. Opaque ones get pixels, which are too large to wait.
fn needs_turn(settings: &EncoderSettings) -> bool {
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

    async fn wait(turns: &EncoderPermits, mut frames: mpsc::Receiver<GrabbedFrame>) -> Turn {
        let turns = turns.clone();
        tokio::task::spawn_blocking(move || turns.wait(&settings(), &mut frames)).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn frames_wait_for_their_turn_and_are_bounded() {
        let turns = EncoderPermits::for_slots(2);
        let (first, frames) = mpsc::channel(2);
        let held = wait(&turns, frames).await;
        assert!(held.permit.is_some() && held.waiting.is_empty());
        // Another encoder's frames wait, more of them than the channel holds.
        let (sender, frames) = mpsc::channel(2);
        let second = tokio::spawn({
            let turns = turns.clone();
            async move { wait(&turns, frames).await }
        });
        for number in 0..9 {
            sender.send(GrabbedFrame::Png(vec![number])).await.unwrap();
        }
        assert!(!second.is_finished());
        drop((first, held));
        let second = second.await.unwrap();
        assert!(second.permit.is_some());
        assert!(second.waiting.iter().enumerate().all(|(at, frame)| frame.bytes() == 1 && at < 9));
        // Too much of them is worse than the memory of an encoder.
        let (sender, frames) = mpsc::channel(2);
        for _ in 0..2 {
            sender.send(GrabbedFrame::Png(vec![0; WAITING_BYTES])).await.unwrap();
        }
        let third = wait(&turns, frames).await;
        assert!(third.permit.is_none());
        assert_eq!(third.waiting.len(), 2);
    }

    #[tokio::test]
    async fn opaque_frames_never_wait() {
        let opaque = EncoderSettings { alpha: false, ..settings() };
        let turns = EncoderPermits::for_slots(1);
        let (_sender, mut frames) = mpsc::channel(1);
        assert!(turns.clone().wait(&opaque, &mut frames).unwrap().permit.is_none());
        assert_eq!(turns.0.available_permits(), 1);
    }
}
