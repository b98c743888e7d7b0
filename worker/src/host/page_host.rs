//! The page host: it opens a page, seeks it and draws it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyperfarm_media::Placement;
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::plan::Warning;
use hyperfarm_proto::shutter::{FrameMoment, Shutter};
use hyperfarm_proto::spec::Size;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;

use super::options::{OpenOptions, PlacedPicture, Probe, VideoLayer, VideoPicture};
use super::pictures::PictureMemory;
use super::ready::{Departure, POLL_INTERVAL, PageReport, Readiness, STAYS};
use crate::assets::{
    ANIMATIONS_SCRIPT, CONFIG_PLACEHOLDER, DRAWING_SCRIPT, DRIVER_SCRIPT, EARLY_SCRIPT, IMAGES_SCRIPT, LIMITS_SCRIPT,
    LOAD_EVENTS_SCRIPT, PLAYBACK_SCRIPT, REMOTE_SCRIPT, TREES_SCRIPT, VISITS_SCRIPT, WORKERS_SCRIPT,
};
use crate::chrome::{DrawnFrame, FrameKind, Page, PageEvent};
use crate::error::{CaptureError, ChromeError, PageError, ProjectError, WorkerError};
use crate::framebuffer::Framebuffer;
use crate::server::{RequestProblem, Site, SlotServer};
use crate::urls;

/// Most frames that are visited in one call of the page.
const VISITS_PER_CALL: usize = 500;
/// Longest call of visits in milliseconds: between calls the task can be cancelled.
const VISITS_LIMIT_MS: u64 = 250;
/// Up to so many earlier frames are all visited, on any page that needs visits.
const FEW_FRAMES: u64 = 30;

/// Most visits by which the cost of a visit is measured.
const SAMPLED_VISITS: usize = 100;
/// The same for pages that are drawn after the visits: what they drew into canvases may take as long as a frame each.
const SAMPLED_VISITS_WITH_DRAWING: usize = 6;
/// Longest measurement of visits in milliseconds, without the drawing after it: the first chunk waits for it.
const SAMPLED_VISITS_LIMIT_MS: u64 = 100;

/// What errors say where the driver of the document is not the one that was ready, or is not there.
const DRIVER_IS_GONE: &[&str] = &["__hyperfarm: ", "__hyperfarmHost", "__hyperfarmVisits"];

/// Longest wait for the picture of a frame.
const PICTURE_WITHIN: Duration = Duration::from_secs(20);

/// Earlier frames that a page has to visit.
#[derive(Debug, Deserialize)]
struct Visits {
    /// Frame numbers in order; `None` means all.
    frames: Option<Vec<u64>>,
    /// Frame numbers, in order, that are drawn because an element comes to rest.
    rests: Vec<u64>,
    /// Why all frames are visited.
    why: Option<String>,
}

/// A page that is loaded and ready to seek.
pub struct PageHost<'a> {
    page: &'a mut Page,
    frame_rate: FrameRate,
    shutter: Option<Shutter>,
    site: Arc<Site>,
    report: PageReport,
    framebuffer: Option<Framebuffer>,
    pictures: PictureMemory,
    had_background: bool,
    /// Whether a page that leaves itself while it is sought is an error.
    must_stay: bool,
    /// The frame that was sought last.
    frame: u64,
}

/// What a walk through earlier frames visits and draws.
#[derive(Debug)]
pub struct Walk {
    /// Number of frames that are visited.
    pub count: u64,
    /// The moments that are visited, in order.
    pub visits: Vec<FrameMoment>,
    /// Frames, in order, at which an element comes to rest: its layer keeps the sub-pixel offset with which its last
    /// move was drawn.
    pub rests: Vec<u64>,
}

/// A page's answer to a seek.
#[derive(Debug, Deserialize)]
struct Sought {
    composite: bool,
    departure: Option<Departure>,
}

/// The pictures of videos in frames that are only visited.
pub(crate) struct VisitedPictures<'a> {
    /// Those that a frame shows.
    pub of: &'a (dyn Fn(u64) -> Vec<VideoPicture> + Sync),
    /// Whether scripts that draw a video in the visit of this number find its picture. It takes as long as drawing the
    /// frame, so only what stays is read: see `host/drawing.js`.
    pub are_read: &'a (dyn Fn(usize) -> bool + Sync),
}

/// A page's answer to visits.
#[derive(Debug, Deserialize)]
struct Visited {
    done: usize,
    /// Numbers of visits in which scripts have drawn a video last, and have found an old picture.
    missed: Vec<usize>,
    /// Whether the browser has to draw each visited frame, because it calls the page's observers then.
    draws: bool,
    departure: Option<Departure>,
}

/// A seek of which the page has done its part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "PageHost::finish_seek completes the seek"]
pub struct HalfSeek {
    /// Whether the page composites sources, which have to be drawn first.
    composite: bool,
}

impl<'a> PageHost<'a> {
    /// Navigates `page`, which was reset, to the entry of `site` and waits until it is ready.
    pub(crate) async fn open(
        page: &'a mut Page,
        server: &SlotServer,
        site: Arc<Site>,
        options: &OpenOptions,
        framebuffer: Option<Framebuffer>,
    ) -> Result<Self, WorkerError> {
        let opening = Instant::now();
        server.serve(site.clone());
        page.set_transparent(options.transparent).await?;
        page.inject(&host_scripts(options)?).await?;
        let interval = 1000.0 / options.frame_rate.as_f64();
        // Ticks before the navigation start the compositor of a fresh browser. They draw nothing.
        for _ in 0..2 {
            page.begin_frame(interval, FrameKind::NoDraw).await?;
        }
        page.navigate(&format!("{}/{}", server.origin(), urls::encode_path(&options.entry))).await?;
        let report = Readiness::new(page, &site, options).wait_until_ready().await;
        let report = report.map_err(|error| match error {
            WorkerError::Page(
                PageError::Unresponsive { .. } | PageError::Crashed | PageError::LimitExceeded { .. },
            ) => error.about("while the page loaded, before its first frame"),
            other => other,
        })?;
        let had_background =
            if options.transparent { page.evaluate(REMOVE_BACKGROUND.to_owned()).await? } else { false };
        tracing::debug!(took_ms = opening.elapsed().as_millis(), "page ready");
        let (frame_rate, shutter) = (options.frame_rate, options.shutter);
        let pictures = PictureMemory::new(&options.videos);
        Ok(Self {
            page,
            frame_rate,
            shutter,
            site,
            report,
            framebuffer,
            pictures,
            must_stay: true,
            frame: 0,
            had_background,
        })
    }

    /// From now on a page that leaves itself (navigates, reloads, closes) is no error. A page of which only a few
    /// frames are sought leaves itself at a wrong one.
    pub(crate) fn let_leave(&mut self) {
        self.must_stay = false;
    }

    /// The error of a page that has left itself.
    fn check_stays(&self, departure: Option<Departure>) -> Result<(), PageError> {
        match departure.filter(|_| self.must_stay) {
            Some(departure) => Err(departure.error(self.frame_rate)),
            None => Ok(()),
        }
    }

    /// `error` of a call that was made for frames, `when` in words.
    fn about_frames(error: WorkerError, when: &str) -> WorkerError {
        match error {
            WorkerError::Page(PageError::Script(reason)) if DRIVER_IS_GONE.iter().any(|text| reason.contains(text)) => {
                PageError::Script(format!("the page left its document {when}; {STAYS}")).into()
            }
            WorkerError::Page(PageError::Script(reason)) => {
                PageError::Script(format!("a script of the page threw {when}: {reason}")).into()
            }
            // The call was lost with the document in which it ran.
            WorkerError::Chrome(ChromeError::Protocol(reason))
                if ["navigated or closed", "context was destroyed", "find context"]
                    .iter()
                    .any(|text| reason.contains(text)) =>
            {
                PageError::Script(format!("the page left its document {when}; {STAYS}")).into()
            }
            WorkerError::Page(
                PageError::Unresponsive { .. } | PageError::Crashed | PageError::LimitExceeded { .. },
            ) => error.about(when.to_owned()),
            other => other,
        }
    }

    /// What scripts of the page do that the farm does not follow, as codes and messages.
    pub(crate) async fn notes(&self) -> Result<Vec<Warning>, WorkerError> {
        self.page.ask("window.__hyperfarmHost.notes()").await
    }

    /// Families that the page's texts name first and that it has no face of.
    pub(crate) async fn families_without_face(&self) -> Result<Vec<String>, WorkerError> {
        self.page.ask("window.__hyperfarmHost.familiesWithoutFace()").await
    }

    /// Whether the root or the body of the page had a background, which a transparent output does not show.
    pub(crate) fn had_background(&self) -> bool {
        self.had_background
    }

    /// Waits until the page has a picture, and compares the framebuffer with it.
    pub(crate) async fn check(&mut self, size: Size, transparent: bool) -> Result<(), WorkerError> {
        let checking = Instant::now();
        // The surface of a new document exists only some time after the document; with the first picture it does.
        let Some(picture) = self.picture(transparent).await? else {
            return Err(CaptureError::NoFirstPicture.into());
        };
        self.check_framebuffer(picture, size).await?;
        tracing::debug!(took_ms = checking.elapsed().as_millis(), "page checked");
        Ok(())
    }

    /// Stops using the framebuffer where it differs from `screenshot`.
    async fn check_framebuffer(&mut self, screenshot: Vec<u8>, size: Size) -> Result<(), WorkerError> {
        let Some(framebuffer) = &self.framebuffer else { return Ok(()) };
        let reason = match framebuffer.difference(screenshot, size).await {
            Ok(None) => return Ok(()),
            Ok(Some(difference)) => difference.to_string(),
            Err(WorkerError::Capture(CaptureError::FramebufferLost(reason))) => reason,
            Err(error) => return Err(error),
        };
        tracing::warn!(%reason, "the framebuffer cannot be used for this page; capturing with screenshots");
        self.framebuffer = None;
        Ok(())
    }

    /// The compositor's bitmap, where it was found and equals a screenshot.
    pub fn framebuffer(&self) -> Option<&Framebuffer> {
        self.framebuffer.as_ref()
    }

    /// What failed to load without making the page fail.
    pub fn report(&self) -> &PageReport {
        &self.report
    }

    /// Frames per second.
    pub(super) fn frame_rate(&self) -> FrameRate {
        self.frame_rate
    }

    /// Whether frames are averages of several pictures.
    pub(crate) fn has_motion_blur(&self) -> bool {
        self.shutter.is_some()
    }

    /// The moments at which `frame` is drawn, in order; at least one.
    pub(crate) fn moments(&self, frame: u64) -> Vec<FrameMoment> {
        self.shutter.map_or_else(|| vec![FrameMoment::from(frame)], |shutter| shutter.moments(frame).collect())
    }

    /// Duration and media of the page.
    ///
    /// # Errors
    ///
    /// Those of [`Page::evaluate`].
    pub async fn probe(&self) -> Result<Probe, WorkerError> {
        self.page.ask("window.__hyperfarmHost.probe()").await
    }

    /// Seeks to `frame` and shows `pictures`. It is awaited before the frame is drawn: Chrome would otherwise miss
    /// changes.
    ///
    /// # Errors
    ///
    /// [`PageError::Script`] where a script throws, and those of a call of the page.
    pub async fn seek(&mut self, frame: u64, pictures: &[VideoPicture]) -> Result<(), WorkerError> {
        self.seek_to(frame.into(), pictures).await
    }

    /// Seeks to `moment`, as [`PageHost::seek`] does to a frame's own.
    pub(crate) async fn seek_to(&mut self, moment: FrameMoment, pictures: &[VideoPicture]) -> Result<(), WorkerError> {
        let half = self.seek_page(moment, pictures).await?;
        self.finish_seek(half).await
    }

    /// The page's part of a seek. It draws nothing, so the frame that was drawn before can be copied meanwhile.
    ///
    /// # Errors
    ///
    /// [`PageError::Script`] where a script throws, and those of a call of the page.
    pub async fn seek_page(&mut self, moment: FrameMoment, pictures: &[VideoPicture]) -> Result<HalfSeek, WorkerError> {
        let frame = moment.frame;
        self.page.set_log_frame(Some(frame));
        if self.pictures.is_full_before(pictures) {
            self.page.free_pictures().await?;
        }
        let time = moment.seconds(self.frame_rate);
        let call = format!("window.__hyperfarmHost.seek({}, {})", json!(time), json!(pictures));
        let sought: Sought = self
            .page
            .ask(&call)
            .await
            .map_err(|error| Self::about_frames(error, &format!("while frame {frame} ({time:.3} s) was sought")))?;
        self.check_stays(sought.departure)?;
        self.frame = frame;
        Ok(HalfSeek { composite: sought.composite })
    }

    /// Shows `pictures` in place of those of the same videos, without a seek.
    pub(crate) async fn show(&mut self, pictures: &[VideoPicture]) -> Result<(), WorkerError> {
        let frame = self.frame;
        let shown = self.page.ask::<IgnoredAny>(&format!("window.__hyperfarmHost.show({})", json!(pictures))).await;
        shown.map(drop).map_err(|error| Self::about_frames(error, &format!("while frame {frame} was composed")))
    }

    /// Where the picture of `layer` lies in the output, whose device scale is `scale`; `None` where the page does not
    /// show it.
    pub(crate) async fn placement(&mut self, layer: &VideoLayer, scale: f64) -> Result<Option<Placement>, WorkerError> {
        let id = json!(layer.id);
        let about = |error| Self::about_frames(error, &format!("while video {id} was composed"));
        let placed: Option<PlacedPicture> =
            self.page.ask(&format!("window.__hyperfarmHost.placed({id})")).await.map_err(about)?;
        let Some(PlacedPicture { extent, rect }) = placed else { return Ok(None) };
        let corners =
            self.page.content_corners(&format!("window.__hyperfarmHost.picture({id})")).await.map_err(about)?;
        let corners = corners.map(|corners| corners.map(|corner| corner.map(|part| part * scale)));
        let (extent, rect) = (extent.map(|side| side * scale), rect.map(|side| side * scale));
        Ok(corners.and_then(|corners| Placement::new(corners, extent, rect, layer.size)))
    }

    /// The rest of a seek. It may draw.
    ///
    /// # Errors
    ///
    /// Those of a call of the page.
    pub async fn finish_seek(&mut self, half: HalfSeek) -> Result<(), WorkerError> {
        if half.composite {
            // The page-composite protocol of shader transitions: the sources are drawn, then the page mixes them.
            self.draw(FrameKind::Draw).await?;
            self.page.ask::<()>("window.__hyperfarmHost.composite()").await?;
        }
        Ok(())
    }

    /// The walk that brings a page which shows the frame before `frames` into the state of one that has shown all of
    /// them. It visits all of them if `visits_all`, or, where only GSAP tweens of elements move the page, those around
    /// which a tween begins or ends.
    ///
    /// # Errors
    ///
    /// Those of a call of the page.
    pub async fn walk(&mut self, frames: std::ops::Range<u64>, visits_all: bool) -> Result<Walk, WorkerError> {
        let Visits { frames: needed, rests, .. } = self.frames_to_visit(frames.clone()).await?;
        let needed = needed.filter(|_| !visits_all);
        let count = needed.as_ref().map_or(frames.end.saturating_sub(frames.start), |needed| needed.len() as u64);
        Ok(Walk { count, visits: self.moments_of(needed, frames), rests })
    }

    /// The moments of a walk to `needed` of `frames`, or to all. Where the state of the page depends on each visit, they
    /// are all at which a walk draws.
    fn moments_of(&self, needed: Option<Vec<u64>>, frames: std::ops::Range<u64>) -> Vec<FrameMoment> {
        match needed {
            Some(needed) => needed.into_iter().map(FrameMoment::from).collect(),
            None => frames.flat_map(|frame| self.moments(frame)).collect(),
        }
    }

    /// Those of `frames` that a walk has to visit, and those that it draws.
    async fn frames_to_visit(&self, frames: std::ops::Range<u64>) -> Result<Visits, WorkerError> {
        let (last, num, den) = (frames.end, self.frame_rate.num(), self.frame_rate.den());
        let mut needed: Visits =
            self.page.ask(&format!("window.__hyperfarmVisits.before({last}, {num}, {den})")).await?;
        needed.rests.retain(|frame| frames.contains(frame));
        match &mut needed.frames {
            Some(none) if none.is_empty() => {}
            _ if frames.end.saturating_sub(frames.start) <= FEW_FRAMES => needed.frames = None,
            Some(visits) => visits.retain(|frame| frames.contains(frame)),
            None => tracing::debug!(why = needed.why, "every frame before {last} is visited"),
        }
        Ok(needed)
    }

    /// Mean time in milliseconds of a frame in a walk through the first `frames` frames, measured by a few visits in
    /// their middle, where the page is left.
    ///
    /// # Errors
    ///
    /// Those of a call of the page.
    pub async fn walk_cost(&mut self, frames: u64) -> Result<f64, WorkerError> {
        let needed = self.frames_to_visit(1..frames).await?.frames;
        // What a page that is visited in every frame draws into its canvases is finished after the call, by other
        // processes. The next drawing of the page waits for it.
        let draws = needed.is_none();
        let needed = self.moments_of(needed, 1..frames);
        let most = if draws { SAMPLED_VISITS_WITH_DRAWING } else { SAMPLED_VISITS };
        let middle: Vec<FrameMoment> = needed.iter().copied().skip(needed.len() / 2).take(most + 2).collect();
        let [jump, single, sample @ ..] = middle.as_slice() else { return Ok(0.0) };
        if sample.is_empty() {
            return Ok(0.0);
        }
        // The seek to the middle is a jump, which is no part of a walk.
        self.timed_visits(&[*jump], draws).await?;
        let (_, one) = self.timed_visits(&[*single], draws).await?;
        let (visited, many) = self.timed_visits(sample, draws).await?;
        let Some(more) = visited.checked_sub(1).filter(|more| *more > 0) else { return Ok(0.0) };
        // One visit and one drawing are in both. On a busy machine the one may have taken longer than the many, which
        // are then an upper bound by themselves.
        let each = match many.checked_sub(one).filter(|difference| !difference.is_zero()) {
            Some(difference) => difference.div_f64(more as f64),
            None => many.div_f64(visited as f64),
        };
        Ok(each.as_secs_f64() * 1000.0 * needed.len() as f64 / frames as f64)
    }

    /// Visits the first of `moments`, as many as the limit of a sample allows, draws the page if `draws`, and returns
    /// the number of visits and the time that both took.
    async fn timed_visits(&mut self, moments: &[FrameMoment], draws: bool) -> Result<(usize, Duration), WorkerError> {
        let started = Instant::now();
        // The plan has no pictures yet.
        let pictures = VisitedPictures { of: &|_| Vec::new(), are_read: &|_| false };
        let visited = self.visit_some(0, moments, &pictures, SAMPLED_VISITS_LIMIT_MS).await?.done;
        if draws {
            self.draw(FrameKind::Draw).await?;
        }
        Ok((visited, started.elapsed()))
    }

    /// Seeks to `moments` in order while `is_active`, and draws none. `number` is that of the first visit. Returns the
    /// numbers of those in which scripts have drawn a video last, and have found an old picture.
    pub(crate) async fn visit(
        &mut self,
        number: usize,
        moments: &[FrameMoment],
        pictures: &VisitedPictures<'_>,
        is_active: &(dyn Fn() -> bool + Sync),
    ) -> Result<Vec<usize>, WorkerError> {
        let mut done = 0;
        let mut missed = Vec::new();
        while done < moments.len() && is_active() {
            let next = moments.get(done..).unwrap_or_default();
            let visited = self.visit_some(number + done, next, pictures, VISITS_LIMIT_MS).await?;
            done += visited.done;
            missed.extend(visited.missed);
        }
        Ok(missed)
    }

    /// Seeks to the first of `moments` in order in one call of the page, at least one and as many as `limit_ms`
    /// milliseconds allow, and draws them only where the page needs it. The number of the first visit is `number`.
    async fn visit_some(
        &mut self,
        number: usize,
        moments: &[FrameMoment],
        pictures: &VisitedPictures<'_>,
        limit_ms: u64,
    ) -> Result<Visited, WorkerError> {
        let next = moments.iter().take(VISITS_PER_CALL).enumerate();
        let visits: Vec<_> = next
            .map(|(at, moment)| {
                let number = number + at;
                (number, moment.seconds(self.frame_rate), (pictures.of)(moment.frame), (pictures.are_read)(number))
            })
            .collect();
        let call = format!("window.__hyperfarmHost.visit({}, {limit_ms})", json!(visits));
        let visited: Visited = self.page.ask(&call).await.map_err(|error| {
            let first = moments.first().map_or(0, |moment| moment.frame);
            Self::about_frames(error, &format!("while frames from {first} on were sought"))
        })?;
        if visited.done == 0 && visited.departure.is_none() {
            return Err(changed_answer("visits no frame").into());
        }
        self.check_stays(visited.departure.clone())?;
        if visited.draws {
            self.draw(FrameKind::Draw).await?;
        }
        Ok(visited)
    }

    /// Draws the frame that was sought.
    ///
    /// # Errors
    ///
    /// Those of [`Page::begin_frame`].
    pub async fn draw(&mut self, kind: FrameKind) -> Result<DrawnFrame, WorkerError> {
        let interval = 1000.0 / self.frame_rate.as_f64();
        let drawn = self.page.begin_frame(interval, kind).await;
        let when = || format!("while frame {} ({:.3} s) was drawn", self.frame, self.frame_rate.seconds_of(self.frame));
        drawn.map_err(|error| match error {
            WorkerError::Page(_) => Self::about_frames(error, &when()),
            other => other,
        })
    }

    /// Draws the frame that was sought and returns it as a PNG file; `None` where Chrome gives none within 20 seconds.
    /// Chrome gives none until the surface of the document exists, which takes a while on a busy machine; drawing the
    /// same frame again changes nothing.
    ///
    /// # Errors
    ///
    /// Those of [`Page::begin_frame`].
    pub async fn picture(&mut self, alpha: bool) -> Result<Option<Vec<u8>>, WorkerError> {
        let deadline = Instant::now() + PICTURE_WITHIN;
        loop {
            if let Some(png) = self.draw(FrameKind::DrawToPng { alpha }).await?.png {
                return Ok(Some(png));
            }
            if Instant::now() > deadline {
                return Ok(None);
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Runs a script of the farm's in the page.
    pub(crate) async fn run(&self, script: &str) -> Result<(), WorkerError> {
        self.page.ask::<IgnoredAny>(script).await?;
        Ok(())
    }

    /// As [`Page::ask`].
    pub(crate) async fn ask<T: serde::de::DeserializeOwned>(&self, question: &str) -> Result<T, WorkerError> {
        self.page.ask(question).await
    }

    /// Draws the frame that was sought and returns it as a PNG file.
    ///
    /// # Errors
    ///
    /// [`CaptureError::NoPicture`], and those of [`Page::begin_frame`].
    pub async fn screenshot(&mut self, alpha: bool) -> Result<Vec<u8>, WorkerError> {
        Ok(self.picture(alpha).await?.ok_or(CaptureError::NoPicture)?)
    }

    /// Exceptions and messages of scripts since the page was opened.
    pub fn events(&self) -> Vec<PageEvent> {
        self.page.events()
    }

    /// Requests that were not served since the page was opened.
    pub fn problems(&self) -> Vec<RequestProblem> {
        self.site.problems()
    }
}

/// The error of a page that changes what the farm's own script does.
pub(super) fn changed_answer(what: &str) -> PageError {
    PageError::Script(format!("a script of the page changes what the farm's own script does: it {what}"))
}

/// Removes the backgrounds of root and body: transparent outputs have the page's elements only. Its value is whether
/// there were any.
const REMOVE_BACKGROUND: &str = "(() => { \
     const had = [document.documentElement, document.body].filter(Boolean).some((element) => { \
         const { backgroundColor, backgroundImage } = getComputedStyle(element); \
         return backgroundImage !== 'none' || !/^rgba\\(.*, 0\\)$/.test(backgroundColor); }); \
     const style = document.createElement('style'); \
     style.textContent = 'html,body{background:transparent !important}'; \
     document.head.append(style); \
     return had; })()";

/// The scripts of the host, as one: each call of the browser takes its time.
fn host_scripts(options: &OpenOptions) -> Result<String, WorkerError> {
    let early = early_script(options)?;
    let scripts = [
        LIMITS_SCRIPT,
        &early,
        ANIMATIONS_SCRIPT,
        REMOTE_SCRIPT,
        WORKERS_SCRIPT,
        TREES_SCRIPT,
        PLAYBACK_SCRIPT,
        IMAGES_SCRIPT,
        DRAWING_SCRIPT,
        DRIVER_SCRIPT,
        LOAD_EVENTS_SCRIPT,
        // This script is the last, because it watches what later scripts do.
        VISITS_SCRIPT,
    ];
    Ok(scripts.join(";\n"))
}

fn early_script(options: &OpenOptions) -> Result<String, WorkerError> {
    let variables: serde_json::Value = serde_json::from_str(&options.variables)
        .map_err(|error| ProjectError::Variables(format!("the variables are no JSON: {error}")))?;
    let config = json!({
        "fps": options.frame_rate.as_f64(),
        "exact": options.shutter.is_some(),
        "variables": variables,
        "seed": options.seed,
        "epoch": options.epoch_ms,
    });
    Ok(EARLY_SCRIPT.replacen(CONFIG_PLACEHOLDER, &json_expression(&config), 1))
}

/// A JavaScript expression with the value `value`. A literal would set prototypes (`__proto__`), and the separators
/// U+2028 and U+2029 end lines in scripts but not in JSON.
fn json_expression(value: &serde_json::Value) -> String {
    let quoted = json!(value.to_string()).to_string();
    let escaped = quoted.replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029").replace('<', "\\u003c");
    format!("JSON.parse({escaped})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::options::ExpectedTimelines;

    #[test]
    fn variables_stay_text_in_the_early_script() {
        let options = OpenOptions {
            entry: "index.html".to_owned(),
            frame_rate: FrameRate::DEFAULT,
            shutter: None,
            variables: "{\"a\":\"x\u{2028}INJ=1;\u{2029}</script>\",\"__proto__\":{\"b\":1}}".to_owned(),
            transparent: false,
            timelines: ExpectedTimelines { any: false, except: Vec::new() },
            videos: Vec::new(),
            seed: 0,
            epoch_ms: 0,
            load_steps: None,
        };
        let script = early_script(&options).unwrap();
        assert!(!script.contains(['\u{2028}', '\u{2029}']) && !script.contains("</script"), "{}", &script[..600]);
        assert_eq!(script.matches("INJ=1").count(), 1);
        assert!(script.contains("const config = JSON.parse(\""));
        assert_eq!(EARLY_SCRIPT.matches(CONFIG_PLACEHOLDER).count(), 1);
    }

    #[test]
    fn a_picture_that_fails_is_not_a_page_that_left() {
        let told = |reason: &str| {
            let error = WorkerError::from(PageError::Script(reason.to_owned()));
            PageHost::about_frames(error, "while frame 3 was sought").to_string()
        };
        let lost = told("a picture did not load: /__hyperfarm/video/0/3.bmp");
        assert!(lost.contains("video/0/3.bmp") && !lost.contains(STAYS), "{lost}");
        for gone in ["__hyperfarm: this is another document", "window.__hyperfarmHost is undefined"] {
            assert!(told(gone).contains(STAYS), "{gone}");
        }
    }
}
