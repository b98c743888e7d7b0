//! Reading a frame out of Chrome.

use std::sync::Arc;

use hyperfarm_proto::failure::{Failure, FailureCode};
use hyperfarm_proto::record::CapturePath;

use crate::chrome::Shot;
use crate::host::PageHost;

/// A frame as it came out of Chrome, not yet decoded.
#[derive(Debug, Clone)]
pub enum GrabbedFrame {
    /// A PNG file.
    Png(Arc<Vec<u8>>),
}

/// Draws what a page shows and reads it back.
#[derive(Debug)]
pub struct FrameGrabber {
    path: CapturePath,
    alpha: bool,
}

impl FrameGrabber {
    /// A grabber for a whole chunk.
    pub fn new(path: CapturePath, alpha: bool) -> Self {
        Self { path, alpha }
    }

    /// Which way it reads.
    pub fn path(&self) -> CapturePath {
        self.path
    }

    /// Draws the sought frame and reads it.
    pub async fn grab(&mut self, host: &mut PageHost<'_>) -> Result<GrabbedFrame, Failure> {
        match host.picture(self.alpha).await? {
            Some(png) => Ok(GrabbedFrame::Png(Arc::new(png))),
            None => {
                Err(Failure::new(FailureCode::CaptureStalled, "Chrome draws, and gives no picture of what it drew"))
            }
        }
    }

    /// The start-up sequence of a chunk whose first frame is `start`, from a fresh navigation: it makes the pixels of a chunk
    /// those of a walk from frame 0, whatever the browser drew before.
    ///
    /// 1. Frame 0 is drawn twice before its turn: layers settle into the state that a walk starts from.
    /// 2. Earlier frames are visited in order without drawing: lazily initialised tweens start where a walk starts them. Every
    ///    one, or where the page is known to need no more, those at which a tween begins or ends.
    /// 3. Frame `start − 1` is drawn: a frame depends on the one drawn before it.
    ///
    /// Answers how many frames were visited.
    pub async fn start_up(
        &mut self,
        host: &mut PageHost<'_>,
        start: u64,
        pictures: &(dyn Fn(u64) -> Vec<crate::host::VideoPicture> + Sync),
        going_on: &(dyn Fn() -> bool + Sync),
    ) -> Result<u64, Failure> {
        // A chunk that begins with frame 0 draws it once more, as its own first frame.
        for _ in 0..if start == 0 { 2 } else { 3 } {
            host.seek(0, &pictures(0)).await?;
            host.draw(Shot::None).await?;
        }
        let mut visited = 0;
        if start > 1 {
            visited = host.walk(1..start - 1, going_on).await?;
            host.seek(start - 1, &pictures(start - 1)).await?;
            host.draw(Shot::None).await?;
        }
        Ok(visited)
    }
}
