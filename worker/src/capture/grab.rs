//! Reading a frame out of Chrome.

use std::time::{Duration, Instant};

use hyperfarm_proto::failure::{Failure, FailureCode};
use hyperfarm_proto::record::CapturePath;
use hyperfarm_proto::spec::Size;

use super::frame::GrabbedFrame;
use super::png;
use crate::chrome::Shot;
use crate::framebuffer::{Difference, Framebuffer};
use crate::host::{PageHost, VideoPicture};

/// Why there is no frame.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// A failure of the chunk's.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// The framebuffer is not what it was. Nothing read from it since the last check may be used; screenshots still work.
    #[error("{0}")]
    FramebufferLost(String),
}

impl From<CaptureError> for Failure {
    fn from(error: CaptureError) -> Self {
        match error {
            CaptureError::Failed(failure) => failure,
            CaptureError::FramebufferLost(reason) => Failure::new(FailureCode::CaptureStalled, reason),
        }
    }
}

/// The frame to seek while the one that was drawn is being copied.
#[derive(Debug)]
pub struct Next {
    /// Its number.
    pub frame: u64,
    /// Pictures of the videos that it shows.
    pub pictures: Vec<VideoPicture>,
}

/// Time that went into frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GrabTimes {
    /// Seeks.
    pub seek: Duration,
    /// Begin-frames; with screenshots their making too.
    pub draw: Duration,
    /// Copies out of the framebuffer. They run beside the seeks.
    pub read: Duration,
}

/// Draws what a page shows and reads it back, the same way from the first frame of a chunk to its last.
#[derive(Debug)]
pub struct FrameGrabber {
    framebuffer: Option<Framebuffer>,
    alpha: bool,
    /// Whether a frame was read, so that "nothing changed" has something to refer to.
    read_any: bool,
    times: GrabTimes,
}

impl FrameGrabber {
    /// A grabber for a whole chunk: of the framebuffer where `host` has one and it has what is wanted, of screenshots elsewhere.
    pub fn new(host: &PageHost<'_>, alpha: bool) -> Self {
        // The framebuffer is opaque.
        Self { framebuffer: host.framebuffer().filter(|_| !alpha).cloned(), ..Self::of_screenshots(alpha) }
    }

    /// A grabber of screenshots.
    pub fn of_screenshots(alpha: bool) -> Self {
        Self { framebuffer: None, alpha, read_any: false, times: GrabTimes::default() }
    }

    /// Which way it reads.
    pub fn path(&self) -> CapturePath {
        match self.framebuffer {
            Some(_) => CapturePath::Framebuffer,
            None => CapturePath::Png,
        }
    }

    /// Where the time went so far.
    pub fn times(&self) -> GrabTimes {
        self.times
    }

    /// Seeks `host` to a frame.
    pub async fn seek(&mut self, host: &mut PageHost<'_>, to: &Next) -> Result<(), Failure> {
        let started = Instant::now();
        let sought = host.seek(to.frame, &to.pictures).await;
        self.times.seek += started.elapsed();
        sought
    }

    /// Draws the sought frame, reads it, and seeks `next`. Pixels are copied while the page seeks.
    pub async fn grab(&mut self, host: &mut PageHost<'_>, next: Option<&Next>) -> Result<GrabbedFrame, CaptureError> {
        let started = Instant::now();
        let Some(framebuffer) = &self.framebuffer else {
            let png = host.screenshot(self.alpha).await?;
            self.times.draw += started.elapsed();
            if let Some(next) = next {
                self.seek(host, next).await?;
            }
            return Ok(GrabbedFrame::Png(png));
        };
        let drawn = host.draw(Shot::None).await?;
        self.times.draw += started.elapsed();
        if self.read_any && !drawn.damage {
            if let Some(next) = next {
                self.seek(host, next).await?;
            }
            return Ok(GrabbedFrame::Same);
        }
        let copying = copy(framebuffer.clone());
        let Some(next) = next else {
            let (frame, read) = copying.await?;
            self.times.read += read;
            self.read_any = true;
            return Ok(frame);
        };
        let seeking = async {
            let started = Instant::now();
            let sought = host.seek_page(next.frame, &next.pictures).await;
            (sought, started.elapsed())
        };
        let (copied, (sought, seek)) = tokio::join!(copying, seeking);
        let (frame, read) = copied?;
        self.times.read += read;
        self.read_any = true;
        let started = Instant::now();
        // What is left of a seek may draw, and so only after the copy.
        host.finish_seek(sought?).await?;
        self.times.seek += seek + started.elapsed();
        Ok(frame)
    }

    /// Whether what was read can be trusted: draws the sought state once more, as a screenshot, and compares it with the
    /// framebuffer. To be called after the last frame, for it draws.
    pub async fn check(&mut self, host: &mut PageHost<'_>, size: Size) -> Result<(), CaptureError> {
        let Some(framebuffer) = self.framebuffer.clone() else { return Ok(()) };
        let screenshot = host.screenshot(false).await?;
        match differs(screenshot, framebuffer, size).await? {
            None => Ok(()),
            Some(difference) => Err(CaptureError::FramebufferLost(told(difference))),
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

impl Drop for FrameGrabber {
    fn drop(&mut self) {
        if let Some(framebuffer) = &self.framebuffer {
            framebuffer.trim();
        }
    }
}

/// What a difference between the framebuffer and a screenshot means to a person.
pub(crate) fn told(difference: Difference) -> String {
    let Difference { pixels, most, first } = difference;
    format!(
        "the framebuffer differs from a screenshot in {pixels} pixels, the first of them {first}, by {most} at most"
    )
}

/// How the framebuffer differs from `screenshot`.
pub(crate) async fn differs(
    screenshot: Vec<u8>,
    framebuffer: Framebuffer,
    size: Size,
) -> Result<Option<Difference>, CaptureError> {
    let comparing = tokio::task::spawn_blocking(move || {
        let frame = framebuffer.copy().map_err(|error| CaptureError::FramebufferLost(error.to_string()))?;
        Ok(png::difference(&screenshot, size, frame.bytes())?)
    });
    comparing.await.map_err(broke)?
}

/// A copy of the framebuffer and how long it took.
async fn copy(framebuffer: Framebuffer) -> Result<(GrabbedFrame, Duration), CaptureError> {
    let copying = tokio::task::spawn_blocking(move || {
        let started = Instant::now();
        let frame = framebuffer.copy().map_err(|error| CaptureError::FramebufferLost(error.to_string()))?;
        Ok((GrabbedFrame::Raw(frame), started.elapsed()))
    });
    copying.await.map_err(broke)?
}

fn broke(panic: tokio::task::JoinError) -> CaptureError {
    Failure::new(FailureCode::Internal, format!("reading a frame broke: {panic}")).into()
}
