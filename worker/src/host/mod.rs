//! The page host: what stands around a HyperFrames page so that it is ready, seekable and the same everywhere.
//!
//! A document gets these scripts before its own: `limits.js` (what it prints and throws), `early.js` (clock, timers, randomness, `__hf`, variables) in every frame,
//! and `driver.js` (readiness, seek, videos, probe) in the top one. [`PageHost`] is the Rust side of the driver.

mod pictures;
mod ready;
mod sound;

use std::time::{Duration, Instant};

use hyperfarm_proto::failure::{Failure, FailureCode};
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::spec::Size;
use serde::{Deserialize, Serialize};
use serde_json::json;

use self::pictures::ShownPictures;

use crate::assets::{DRIVER_SCRIPT, EARLY_SCRIPT, LIMITS_SCRIPT, REMOTE_SCRIPT, VISITS_SCRIPT};
use crate::capture::{self, CaptureError};
use crate::chrome::{DrawnFrame, Page, PageEvent, Shot};
use crate::framebuffer::Framebuffer;
use crate::server::{RequestProblem, Site, SlotServer};

pub use ready::{PageReport, Wanted};
pub use sound::{MovedVolume, ProbedSound, SoundElement, SoundGroup};

/// Earlier times sought in one call while a chunk starts, at most, and for how many milliseconds: a call costs little beside them, and
/// cancellation is prompt.
const VISITS_A_CALL: usize = 2000;
const VISITS_LIMIT_MS: u64 = 250;
/// Fewer earlier frames than that are all visited, whatever the page.
const FEW_FRAMES: u64 = 30;

/// Visits by which their cost is measured, at most.
const SAMPLED_VISITS: usize = 100;

/// From a begin-frame without a picture to giving up on one.
const PICTURE_WITHIN: Duration = Duration::from_secs(20);

/// How a page is opened.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// Path of the entry page.
    pub entry: String,
    /// Frames a second.
    pub frame_rate: FrameRate,
    /// Variables as the text of one JSON object.
    pub variables: String,
    /// Draw on nothing instead of white, and take the grounds of root and body away.
    pub transparent: bool,
    /// What the page waits for.
    pub wanted: Wanted,
    /// Videos whose pictures the farm decodes; the page gives their files up once it knows their sizes.
    pub videos: Vec<ServedVideo>,
    /// Seed of the page's random numbers; 0 in every render.
    pub seed: u32,
}

/// A video whose pictures the farm decodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServedVideo {
    /// Render id of the element.
    pub id: String,
    /// Width of its pictures, for the layout of a page that does not set one.
    pub width: u32,
    /// Height of its pictures.
    pub height: u32,
}

/// The picture of a video that a frame shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VideoPicture {
    /// Render id of the element.
    pub id: String,
    /// URL path of the picture.
    pub src: String,
}

/// One `<video>` or `<audio>` as the page has it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ProbedMedia {
    /// Render id.
    pub id: String,
    /// `video` or `audio`.
    pub kind: String,
    /// Absolute URL of the source, or empty.
    pub src: String,
    /// Composition second of the start, as the runtime resolves it.
    pub start: Option<f64>,
    /// Whether it has `data-start`.
    pub timed: bool,
    /// `data-duration`, seconds.
    pub duration: Option<f64>,
    /// `data-end`, composition second.
    pub end: Option<f64>,
    /// Source second at the start.
    pub media_start: f64,
    /// Source seconds a composition second.
    pub rate: f64,
    /// `data-volume`, linear.
    pub volume: Option<f64>,
    /// Seconds of fade at the start.
    pub fade_in: f64,
    /// Seconds of fade at the end.
    pub fade_out: f64,
    /// `data-automation` as text.
    pub automation: Option<String>,
    /// Whether it is muted.
    pub muted: bool,
    /// `data-has-audio` as text.
    pub has_audio: Option<String>,
    /// Whether it loops.
    pub looped: bool,
    /// Composition seconds from and to which a video without a start of its own is visible, where the timeline decides that.
    #[serde(default)]
    pub visible: Option<(f64, f64)>,
}

/// What the page says about itself.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Probe {
    /// Seconds, from the declaration, the timelines or the media.
    pub duration: f64,
    /// Every media element, in document order.
    pub media: Vec<ProbedMedia>,
}

/// Which earlier frames a page has to visit.
#[derive(Debug, Deserialize)]
struct Visits {
    /// Frame numbers in order; none means all.
    frames: Option<Vec<u64>>,
    /// Why it has to visit all.
    why: Option<String>,
}

/// A page that is ready to be sought.
pub struct PageHost<'a> {
    page: &'a mut Page,
    frame_rate: FrameRate,
    site: std::sync::Arc<Site>,
    report: PageReport,
    framebuffer: Option<Framebuffer>,
    shown: ShownPictures,
}

/// A seek whose page has done its part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "what is left of a seek is done by PageHost::finish_seek"]
pub struct HalfSeek {
    /// Whether sources are to be drawn for the page to mix.
    composite: bool,
}

impl<'a> PageHost<'a> {
    /// Navigates `page`, which was reset, to the entry of `site` and waits until it is ready.
    pub(crate) async fn open(
        page: &'a mut Page,
        server: &SlotServer,
        site: std::sync::Arc<Site>,
        options: &OpenOptions,
        framebuffer: Option<Framebuffer>,
    ) -> Result<Self, Failure> {
        let opening = Instant::now();
        server.serve(site.clone());
        page.set_transparent(options.transparent).await?;
        page.inject(LIMITS_SCRIPT).await?;
        page.inject(&early_script(options)?).await?;
        page.inject(REMOTE_SCRIPT).await?;
        page.inject(DRIVER_SCRIPT).await?;
        // Last, because it watches what scripts do from here on.
        page.inject(VISITS_SCRIPT).await?;
        let interval = 1000.0 / options.frame_rate.as_f64();
        // Ticks before the navigation wake the compositor of a fresh browser; drawing nothing, they leave no trace.
        for _ in 0..2 {
            page.begin_frame(interval, Shot::Tick).await?;
        }
        page.navigate(&format!("{}/{}", server.origin(), encode_path(&options.entry))).await?;
        let mut host = Self {
            page,
            frame_rate: options.frame_rate,
            site,
            report: PageReport::default(),
            framebuffer,
            shown: ShownPictures::of(&options.videos),
        };
        let ready = host.wait_until_ready(&options.wanted, &options.videos).await;
        host.report = ready.map_err(|failure| match failure.code {
            FailureCode::PageUnresponsive | FailureCode::PageCrashed => {
                Failure::new(failure.code, format!("while the page loaded, before its first frame: {failure}"))
            }
            _ => failure,
        })?;
        if options.transparent {
            host.page.evaluate::<()>(CLEAR_GROUND.to_owned()).await?;
        }
        tracing::debug!(took_ms = opening.elapsed().as_millis(), "page ready");
        Ok(host)
    }

    /// Waits until the page shows something, and holds the framebuffer against a screenshot of it.
    pub(crate) async fn check(&mut self, size: Size, transparent: bool) -> Result<(), Failure> {
        let checking = Instant::now();
        // The surface of a new document exists some time after the document; the first picture says that it does.
        let Some(picture) = self.picture(transparent).await? else {
            return Err(Failure::new(FailureCode::CaptureStalled, "Chrome shows the page, and gives no picture of it"));
        };
        self.check_framebuffer(picture, size).await?;
        tracing::debug!(took_ms = checking.elapsed().as_millis(), "page checked");
        Ok(())
    }

    /// Takes the framebuffer away where it does not show `screenshot`.
    async fn check_framebuffer(&mut self, screenshot: Vec<u8>, size: Size) -> Result<(), Failure> {
        let Some(framebuffer) = &self.framebuffer else { return Ok(()) };
        let reason = match capture::differs(screenshot, framebuffer.clone(), size).await {
            Ok(None) => return Ok(()),
            Ok(Some(difference)) => capture::told(difference),
            Err(CaptureError::FramebufferLost(reason)) => reason,
            Err(CaptureError::Failed(failure)) => return Err(failure),
        };
        tracing::warn!(%reason, "the framebuffer cannot be used for this page; capturing with screenshots");
        self.framebuffer = None;
        Ok(())
    }

    /// The compositor's bitmap, where it was found and shows what the page shows.
    pub fn framebuffer(&self) -> Option<&Framebuffer> {
        self.framebuffer.as_ref()
    }

    /// What failed to load without stopping the page.
    pub fn report(&self) -> &PageReport {
        &self.report
    }

    /// What the page says about itself.
    pub async fn probe(&self) -> Result<Probe, Failure> {
        self.page.evaluate("window.__hyperfarmHost.probe()".to_owned()).await
    }

    /// Seeks to `frame` and puts `pictures` in place. Awaited before the frame is drawn: both at once would lose damage.
    pub async fn seek(&mut self, frame: u64, pictures: &[VideoPicture]) -> Result<(), Failure> {
        let half = self.seek_page(frame, pictures).await?;
        self.finish_seek(half).await
    }

    /// The page's part of a seek. It draws nothing, so what was drawn before can be copied meanwhile.
    pub async fn seek_page(&mut self, frame: u64, pictures: &[VideoPicture]) -> Result<HalfSeek, Failure> {
        self.page.at(Some(frame));
        if self.shown.are_too_many(pictures) {
            self.page.relieve().await?;
        }
        let time = self.frame_rate.seconds_of(frame);
        let call = format!("window.__hyperfarmHost.seek({}, {})", json!(time), json!(pictures));
        let composite = self.page.evaluate(call).await.map_err(|failure| match failure.code {
            FailureCode::ScriptError => Failure::new(
                FailureCode::ScriptError,
                format!("a script of the page threw while frame {frame} ({time:.3} s) was sought: {failure}"),
            ),
            FailureCode::PageUnresponsive | FailureCode::PageCrashed => {
                Failure::new(failure.code, format!("while frame {frame} ({time:.3} s) was sought: {failure}"))
            }
            _ => failure,
        })?;
        Ok(HalfSeek { composite })
    }

    /// What is left of a seek. It may draw.
    pub async fn finish_seek(&mut self, half: HalfSeek) -> Result<(), Failure> {
        if half.composite {
            // The page-composite protocol of shader transitions: draw the sources, then let the page mix them.
            self.draw(Shot::None).await?;
            self.page.evaluate::<()>("window.__hyperfarmHost.composite()".to_owned()).await?;
        }
        Ok(())
    }

    /// Brings a page that shows the frame before `frames` into the state of a walk through them, and draws nothing. Answers how
    /// many frames were sought: all of them, or, where nothing but GSAP tweens of elements moves the page, those around which
    /// one begins or ends.
    pub async fn walk(
        &mut self,
        frames: std::ops::Range<u64>,
        going_on: &(dyn Fn() -> bool + Sync),
    ) -> Result<u64, Failure> {
        let needed = self.needed(frames).await?;
        self.visit(&needed, going_on).await
    }

    /// Those of `frames` that a walk has to visit.
    async fn needed(&self, frames: std::ops::Range<u64>) -> Result<Vec<u64>, Failure> {
        if frames.end.saturating_sub(frames.start) > FEW_FRAMES {
            let (last, num, den) = (frames.end, self.frame_rate.num(), self.frame_rate.den());
            let call = format!("window.__hyperfarmVisits.before({last}, {num}, {den})");
            let needed: Visits = self.page.evaluate(call).await?;
            match needed.frames {
                Some(needed) => return Ok(needed.into_iter().filter(|frame| *frame >= frames.start).collect()),
                None => tracing::debug!(why = needed.why, "every frame before {last} is visited"),
            }
        }
        Ok(frames.collect())
    }

    /// Milliseconds that a walk through the first `frames` frames takes for each of them, by a few visits in their middle. The page
    /// is left there.
    pub async fn walk_cost(&mut self, frames: u64) -> Result<f64, Failure> {
        let needed = self.needed(1..frames).await?;
        let middle: Vec<u64> = needed.iter().copied().skip(needed.len() / 2).take(SAMPLED_VISITS).collect();
        let Some((first, rest)) = middle.split_first().filter(|(_, rest)| !rest.is_empty()) else { return Ok(0.0) };
        // The way there is a jump, which a walk does not make.
        self.visit(&[*first], &|| true).await?;
        let started = Instant::now();
        self.visit(rest, &|| true).await?;
        let each = started.elapsed().as_secs_f64() * 1000.0 / rest.len() as f64;
        Ok(each * needed.len() as f64 / frames as f64)
    }

    /// Seeks to `frames` in order and draws none; answers how many it got to.
    async fn visit(&mut self, frames: &[u64], going_on: &(dyn Fn() -> bool + Sync)) -> Result<u64, Failure> {
        let mut done = 0;
        while done < frames.len() && going_on() {
            let next = frames.iter().skip(done).take(VISITS_A_CALL);
            let times: Vec<f64> = next.map(|frame| self.frame_rate.seconds_of(*frame)).collect();
            let call = format!("window.__hyperfarmHost.visit({}, {VISITS_LIMIT_MS})", json!(times));
            done += self.page.evaluate::<usize>(call).await?;
        }
        Ok(done as u64)
    }

    /// Draws what was sought.
    pub async fn draw(&mut self, shot: Shot) -> Result<DrawnFrame, Failure> {
        let interval = 1000.0 / self.frame_rate.as_f64();
        self.page.begin_frame(interval, shot).await
    }

    /// Draws what was sought and answers it as a PNG file. Chrome answers without one while a surface is not there yet, which
    /// on a busy machine takes a while; drawing the same state again changes nothing.
    pub async fn picture(&mut self, alpha: bool) -> Result<Option<Vec<u8>>, Failure> {
        let deadline = Instant::now() + PICTURE_WITHIN;
        loop {
            if let Some(png) = self.draw(Shot::Png { alpha }).await?.png {
                return Ok(Some(png));
            }
            if Instant::now() > deadline {
                return Ok(None);
            }
            self.rest().await;
        }
    }

    /// The value of `expression` in the page.
    pub(crate) async fn evaluate<T: serde::de::DeserializeOwned>(&self, expression: String) -> Result<T, Failure> {
        self.page.evaluate(expression).await
    }

    /// The same where there must be one.
    pub async fn screenshot(&mut self, alpha: bool) -> Result<Vec<u8>, Failure> {
        self.picture(alpha).await?.ok_or_else(|| {
            Failure::new(FailureCode::CaptureStalled, "Chrome draws, and gives no picture of what it drew")
        })
    }

    /// What scripts threw and printed since the page was opened.
    pub fn events(&self) -> Vec<PageEvent> {
        self.page.events()
    }

    /// Requests that were not served since the page was opened.
    pub fn problems(&self) -> Vec<RequestProblem> {
        self.site.problems()
    }

    async fn rest(&self) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Alpha outputs show what is on the page, not what the page lies on.
const CLEAR_GROUND: &str = "(() => { const style = document.createElement('style'); \
     style.textContent = 'html,body{background:transparent !important}'; \
     document.head.append(style); })()";

fn early_script(options: &OpenOptions) -> Result<String, Failure> {
    let variables: serde_json::Value = serde_json::from_str(&options.variables)
        .map_err(|error| Failure::new(FailureCode::VariablesInvalid, format!("the variables are no JSON: {error}")))?;
    let config = json!({ "fps": options.frame_rate.as_f64(), "variables": variables, "seed": options.seed });
    Ok(EARLY_SCRIPT.replacen(CONFIG_PLACE, &parsed_at_run_time(&config), 1))
}

/// Where the configuration goes in `early.js`; the name stands there once.
const CONFIG_PLACE: &str = "__HYPERFARM_CONFIG__";

/// An expression whose value is `value`. A literal would set prototypes (`__proto__`), and line separators (U+2028, U+2029) end
/// lines in scripts but not in JSON.
fn parsed_at_run_time(value: &serde_json::Value) -> String {
    let quoted = json!(value.to_string()).to_string();
    let escaped = quoted.replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029").replace('<', "\\u003c");
    format!("JSON.parse({escaped})")
}

/// Percent-encodes what has a meaning in a URL.
fn encode_path(path: &str) -> String {
    path.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_stay_text_in_the_early_script() {
        let options = OpenOptions {
            entry: "index.html".to_owned(),
            frame_rate: FrameRate::DEFAULT,
            variables: "{\"a\":\"x\u{2028}INJ=1;\u{2029}</script>\",\"__proto__\":{\"b\":1}}".to_owned(),
            transparent: false,
            wanted: Wanted { timelines: false, without_timeline: Vec::new() },
            videos: Vec::new(),
            seed: 0,
        };
        let script = early_script(&options).unwrap();
        assert!(!script.contains(['\u{2028}', '\u{2029}']) && !script.contains("</script"), "{}", &script[..600]);
        assert_eq!(script.matches("INJ=1").count(), 1);
        assert!(script.contains("const config = JSON.parse(\""));
        assert_eq!(EARLY_SCRIPT.matches(CONFIG_PLACE).count(), 1);
    }

    #[test]
    fn entry_paths_become_urls() {
        assert_eq!(encode_path("a b/é#?.html"), "a%20b/%C3%A9%23%3F.html");
    }
}
