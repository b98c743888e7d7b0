//! The grabber: it draws frames and reads them from Chrome.

use std::collections::BTreeSet;
use std::ops::AddAssign;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyperfarm_proto::frame::FrameRange;
use hyperfarm_proto::plan::ChunkStart;
use hyperfarm_proto::record::CapturePath;
use hyperfarm_proto::seam::WARM_UP_FRAMES;
use hyperfarm_proto::shutter::FrameMoment;
use hyperfarm_proto::spec::Size;

use super::average::FrameAverage;
use super::frame::GrabbedFrame;
use super::layers::{FrameLayer, LayeredFrame};
use crate::blocking::blocking;
use crate::chrome::FrameKind;
use crate::error::{CaptureError, WorkerError};
use crate::framebuffer::Framebuffer;
use crate::host::{PageHost, VideoLayer, VideoPicture, VisitedPictures, Walk};
use crate::server::Site;

/// The last visits of a walk, in which scripts that draw videos find their pictures. At least the gap in a run of frames
/// that draw one (`RUN_GAP` in `host/drawing.js`).
const LAST_READ_VISITS: usize = 4;
/// Frames of a chunk for each that its start draws because an element comes to rest there.
const FRAMES_A_DRAWN_REST: u64 = 4;
/// As many of them are drawn in any chunk.
const FEWEST_DRAWN_RESTS: u64 = 12;

/// The frame to seek to while the frame that was drawn is copied.
#[derive(Debug, Clone, Default)]
pub struct Next {
    /// Its number.
    pub frame: u64,
    /// Pictures of videos that the frame shows.
    pub pictures: Vec<VideoPicture>,
    /// Those of the videos that the frame is composed of, whose picture in the page is black.
    pub layers: Vec<VideoLayer>,
}

/// Time spent on frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GrabTimes {
    /// Seeks.
    pub seek: Duration,
    /// Begin-frames, with the encoding of screenshots.
    pub draw: Duration,
    /// Copies of the framebuffer, which overlap the seeks.
    pub read: Duration,
}

impl AddAssign for GrabTimes {
    fn add_assign(&mut self, other: Self) {
        self.seek += other.seek;
        self.draw += other.draw;
        self.read += other.read;
    }
}

/// Draws frames of a page and reads them, in the same way from the first frame of a chunk to its last.
pub struct FrameGrabber {
    framebuffer: Option<Framebuffer>,
    alpha: bool,
    /// Whether a frame was read, which "nothing changed" then refers to.
    read_any: bool,
    times: GrabTimes,
    /// Where a frame is the mean of several pictures.
    average: Option<Box<FrameAverage>>,
    /// The site whose videos frames are composed of, and the device scale.
    composed: Option<(Arc<Site>, f64)>,
    /// The frame that was sought last, where there is an average or frames are composed.
    sought: Next,
}

impl std::fmt::Debug for FrameGrabber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrameGrabber").field("path", &self.path()).field("times", &self.times).finish_non_exhaustive()
    }
}

/// What the page shows next.
struct Target<'a> {
    moment: FrameMoment,
    pictures: &'a [VideoPicture],
}

impl FrameGrabber {
    /// A grabber for a chunk: of the framebuffer where `host` has one and no alpha is needed, of screenshots otherwise.
    pub fn new(host: &PageHost<'_>, alpha: bool) -> Self {
        // The framebuffer is opaque.
        let mut grabber = Self::of_screenshots(alpha);
        grabber.framebuffer = host.framebuffer().filter(|_| !alpha).cloned();
        grabber
    }

    /// A grabber of screenshots.
    pub fn of_screenshots(alpha: bool) -> Self {
        Self {
            framebuffer: None,
            alpha,
            read_any: false,
            times: GrabTimes::default(),
            average: None,
            composed: None,
            sought: Next::default(),
        }
    }

    /// Makes each frame, of `size` pixels, the mean of the pictures at all moments at which the shutter of the page is
    /// open.
    pub fn average(&mut self, size: Size) {
        self.average = Some(Box::new(FrameAverage::new(size, self.alpha)));
    }

    /// Composes frames of the page and of videos of high dynamic range, which are those of `site`, at a device scale.
    pub(crate) fn compose(&mut self, site: Arc<Site>, scale: u32) {
        self.composed = Some((site, f64::from(scale)));
    }

    /// By which way it reads frames.
    pub fn path(&self) -> CapturePath {
        match self.framebuffer {
            Some(_) => CapturePath::Framebuffer,
            None => CapturePath::Png,
        }
    }

    /// Time spent so far.
    pub fn times(&self) -> GrabTimes {
        self.times
    }

    /// Seeks `host` to a frame, to its first moment where it has several.
    ///
    /// # Errors
    ///
    /// Those of [`PageHost::seek`].
    pub async fn seek(&mut self, host: &mut PageHost<'_>, to: &Next) -> Result<(), WorkerError> {
        if self.average.is_some() || self.composed.is_some() {
            self.sought = to.clone();
        }
        self.seek_to(host, self.first(host, to)).await
    }

    async fn seek_to(&mut self, host: &mut PageHost<'_>, to: Target<'_>) -> Result<(), WorkerError> {
        let started = Instant::now();
        let sought = host.seek_to(to.moment, to.pictures).await;
        self.times.seek += started.elapsed();
        sought
    }

    /// What the page shows first of `next`.
    fn first<'a>(&self, host: &PageHost<'_>, next: &'a Next) -> Target<'a> {
        let own = FrameMoment::from(next.frame);
        let moment =
            if self.average.is_some() { host.moments(next.frame).first().copied().unwrap_or(own) } else { own };
        Target { moment, pictures: &next.pictures }
    }

    /// Draws the sought frame, reads it, and seeks to `next`. Pixels are copied while the page seeks.
    ///
    /// # Errors
    ///
    /// [`CaptureError::FramebufferLost`] where the framebuffer cannot be read, [`CaptureError::NoPicture`], and those
    /// of a call of the page.
    pub async fn grab(&mut self, host: &mut PageHost<'_>, next: Option<&Next>) -> Result<GrabbedFrame, WorkerError> {
        let following = next.map(|next| self.first(host, next));
        let mut sought = Next::default();
        if self.average.is_some() || self.composed.is_some() {
            sought = std::mem::replace(&mut self.sought, next.cloned().unwrap_or_default());
        }
        if let Some((site, scale)) = self.composed.clone().filter(|_| !sought.layers.is_empty()) {
            return self.grab_layers(host, &sought.layers, (site, scale), following).await;
        }
        let Some(mut average) = self.average.take() else { return self.grab_picture(host, following).await };
        let Next { frame, pictures, .. } = sought;
        let rest = host.moments(frame).into_iter().skip(1);
        let rest = rest.map(|moment| Some(Target { moment, pictures: &pictures }));
        for target in rest.chain([following]) {
            let picture = self.grab_picture(host, target).await?;
            let adding = blocking("averaging the pictures of a frame", move || {
                average.add(&picture)?;
                Ok::<_, WorkerError>(average)
            });
            average = adding.await??;
        }
        let finishing = blocking("averaging the pictures of a frame", move || (average.finish(), average));
        let (mean, average) = finishing.await?;
        self.average = Some(average);
        Ok(mean)
    }

    /// Draws the sought frame, in which `layers` are black, and draws it again with each of them white; seeks to `next`.
    async fn grab_layers(
        &mut self,
        host: &mut PageHost<'_>,
        layers: &[VideoLayer],
        (site, scale): (Arc<Site>, f64),
        next: Option<Target<'_>>,
    ) -> Result<GrabbedFrame, WorkerError> {
        let mut placed = Vec::new();
        for layer in layers {
            if let Some(placement) = host.placement(layer, scale).await? {
                placed.push((layer, placement));
            }
        }
        let wanted: Vec<(usize, u64)> = placed.iter().map(|(layer, _)| (layer.video, layer.number)).collect();
        // Decoding goes on while the page is drawn.
        let decoding = blocking("decoding the pictures of a frame", move || {
            let decoded = wanted.into_iter().map(|(video, number)| site.hdr_picture(video, number));
            decoded.collect::<Result<Vec<_>, _>>().map_err(WorkerError::Inconsistent)
        });
        let drawing = async {
            // The page is read even if Chrome reports no change, because what was read last is another picture.
            self.read_any = false;
            let page = self.grab_picture(host, None).await?;
            let mut whites = Vec::new();
            for (at, (layer, _)) in placed.iter().enumerate() {
                let before = at.checked_sub(1).and_then(|before| placed.get(before));
                let black = before.map(|(layer, _)| layer.solid("black"));
                host.show(&black.into_iter().chain([layer.solid("white")]).collect::<Vec<_>>()).await?;
                whites.push(self.grab_picture(host, None).await?);
            }
            if let Some(next) = next {
                self.seek_to(host, next).await?;
            }
            Ok::<_, WorkerError>((page, whites))
        };
        let (pictures, drawn) = tokio::join!(decoding, drawing);
        let ((page, whites), pictures) = (drawn?, pictures??);
        self.read_any = false;
        let layers = placed.into_iter().zip(whites).zip(pictures);
        let layers = layers.filter_map(|(((layer, placement), white), picture)| match white {
            // Nothing of the video is seen.
            GrabbedFrame::Same => None,
            white => Some(FrameLayer { shown: layer.clone(), white, picture, placement }),
        });
        let layers = layers.collect();
        Ok(GrabbedFrame::Layered(Box::new(LayeredFrame { page, layers })))
    }

    /// Draws what was sought, reads it, and seeks to `next`.
    async fn grab_picture(
        &mut self,
        host: &mut PageHost<'_>,
        next: Option<Target<'_>>,
    ) -> Result<GrabbedFrame, WorkerError> {
        let started = Instant::now();
        let Some(framebuffer) = &self.framebuffer else {
            let png = host.screenshot(self.alpha).await?;
            self.times.draw += started.elapsed();
            if let Some(next) = next {
                self.seek_to(host, next).await?;
            }
            return Ok(GrabbedFrame::Png(png));
        };
        let drawn = host.draw(FrameKind::Draw).await?;
        self.times.draw += started.elapsed();
        if self.read_any && !drawn.damage {
            if let Some(next) = next {
                self.seek_to(host, next).await?;
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
            let sought = host.seek_page(next.moment, next.pictures).await;
            (sought, started.elapsed())
        };
        let (copied, (sought, seek)) = tokio::join!(copying, seeking);
        let (frame, read) = copied?;
        self.times.read += read;
        self.read_any = true;
        let started = Instant::now();
        // The rest of a seek may draw, so it comes after the copy.
        host.finish_seek(sought?).await?;
        self.times.seek += seek + started.elapsed();
        Ok(frame)
    }

    /// Checks that the framebuffer still is what was read: draws the sought frame once more, as a screenshot, and
    /// compares the two. It draws, so it is called after the last frame.
    ///
    /// # Errors
    ///
    /// [`CaptureError::FramebufferLost`] where they differ, and those of a call of the page.
    pub async fn check(&mut self, host: &mut PageHost<'_>, size: Size) -> Result<(), WorkerError> {
        let Some(framebuffer) = self.framebuffer.clone() else { return Ok(()) };
        let screenshot = host.screenshot(false).await?;
        match framebuffer.difference(screenshot, size).await? {
            None => Ok(()),
            Some(difference) => Err(CaptureError::FramebufferLost(difference.to_string()).into()),
        }
    }

    /// The start-up sequence of a chunk whose frames are `frames`, after a fresh navigation. With it the pixels of a
    /// chunk equal those of a walk from frame 0, whatever the browser drew before. Returns the number of earlier frames
    /// that were visited.
    ///
    /// 1. Frame 0 is drawn twice in advance: layers settle into the state that a walk starts from.
    /// 2. Earlier frames are visited in order without drawing: lazily initialised tweens start where a walk starts
    ///    them. All frames are visited, or, where the page is known to need no more, those at which a tween begins
    ///    or ends. Of the latter the last ones at which an element comes to rest are drawn, because its layer keeps
    ///    what it was rastered for in its last move. Nothing is read, so no screenshot is needed.
    /// 3. The last [`WARM_UP_FRAMES`] frames before the first are drawn: a frame depends on the one drawn before it.
    ///
    /// `how` changes this: [`visits_all`](ChunkStart::visits_all) visits every earlier frame, and
    /// [`draws_from`](ChunkStart::draws_from), a frame of the composition, makes it the start-up sequence of a chunk
    /// that begins there, with the drawing of all its frames before the first.
    ///
    /// Scripts that draw videos in visited frames find old pictures, except in the last visits, in `read_visits`, and
    /// wherever every frame is visited because of `how`.
    ///
    /// # Errors
    ///
    /// [`CaptureError::PicturesMissed`] where such an old picture stays in a canvas, and those of [`PageHost::seek`],
    /// [`PageHost::draw`] and [`PageHost::walk`].
    pub async fn start_up(
        &mut self,
        host: &mut PageHost<'_>,
        frames: FrameRange,
        how: ChunkStart,
        read_visits: &BTreeSet<usize>,
        pictures: &(dyn Fn(u64) -> Vec<VideoPicture> + Sync),
        is_active: &(dyn Fn() -> bool + Sync),
    ) -> Result<u64, WorkerError> {
        let start = frames.start();
        let first_drawn = how.draws_from.map_or(start, |frame| frame.min(start));
        let advance = [0; 2].map(FrameMoment::from).into_iter();
        // A chunk that begins with frame 0 draws it as its own first frame.
        for moment in advance.chain(host.moments(0).into_iter().filter(|_| first_drawn > 0)) {
            host.seek_to(moment, &pictures(0)).await?;
            host.draw(FrameKind::Draw).await?;
        }
        let mut visited = 0;
        // Frame 0 is drawn already, except as the first frame of a chunk.
        let from = first_drawn.saturating_sub(WARM_UP_FRAMES).max(first_drawn.min(1));
        if from > 1 {
            let Walk { count, visits, rests } = host.walk(1..from, how.visits_all).await?;
            visited = count;
            let most = (frames.count() / FRAMES_A_DRAWN_REST).max(FEWEST_DRAWN_RESTS) as usize;
            let last = visits.len().saturating_sub(LAST_READ_VISITS);
            let are_read = |number| how.visits_all || number >= last || read_visits.contains(&number);
            let visited_pictures = VisitedPictures { of: pictures, are_read: &are_read };
            let mut missed = Vec::new();
            let mut done = 0;
            for rest in rests.iter().copied().skip(rests.len().saturating_sub(most)) {
                let next = visits.iter().take_while(|visit| visit.frame < rest).count().max(done);
                let moments = visits.get(done..next).unwrap_or_default();
                missed.extend(host.visit(done, moments, &visited_pictures, is_active).await?);
                done = next;
                if is_active() {
                    host.seek(rest, &pictures(rest)).await?;
                    host.draw(FrameKind::Draw).await?;
                }
            }
            let moments = visits.get(done..).unwrap_or_default();
            missed.extend(host.visit(done, moments, &visited_pictures, is_active).await?);
            if !missed.is_empty() {
                return Err(CaptureError::PicturesMissed { visits: missed }.into());
            }
        }
        for frame in from..start {
            if !is_active() {
                break;
            }
            for moment in host.moments(frame) {
                host.seek_to(moment, &pictures(frame)).await?;
                host.draw(FrameKind::Draw).await?;
            }
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

/// A copy of the framebuffer and the time that it took.
async fn copy(framebuffer: Framebuffer) -> Result<(GrabbedFrame, Duration), WorkerError> {
    let copied = blocking("reading a frame", move || {
        let started = Instant::now();
        let frame = framebuffer.copy().map_err(|error| CaptureError::FramebufferLost(error.to_string()))?;
        Ok::<_, CaptureError>((GrabbedFrame::Raw(frame), started.elapsed()))
    });
    Ok(copied.await??)
}
