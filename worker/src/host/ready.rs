//! The readiness of a page: each wait has a deadline and an error of its own.

use std::time::{Duration, Instant};

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;

use hyperfarm_proto::frame::FrameRate;

use super::options::OpenOptions;
use crate::chrome::{FrameKind, Page, PageEvent};
use crate::error::{ChromeError, PageError, WorkerError};
use crate::server::{RequestProblem, Site};

/// Pause between two questions to the page.
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Longest time from the navigation to a page that can be sought and knows its duration.
const SEEKABLE_WITHIN: Duration = Duration::from_secs(45);
/// The same once a script has failed to load or has thrown: what it would have set up will not come.
const SEEKABLE_AFTER_FAILURE: Duration = Duration::from_secs(3);
/// The same for a loaded page that has neither a composition nor a seek of its own.
const SEEKABLE_WITHOUT_COMPOSITION: Duration = Duration::from_secs(3);
/// The same for a loaded page whose composition has no duration.
const DURATION_WITHIN: Duration = Duration::from_secs(6);
/// Longest time from there to a timeline of every composition that announced one.
const TIMELINES_WITHIN: Duration = Duration::from_secs(45);
/// The same once a script has failed.
const TIMELINES_AFTER_FAILURE: Duration = Duration::from_secs(2);
/// How long nothing of a loaded page that is not ready is under way before its load time is moved on.
const QUIET: Duration = Duration::from_millis(120);
/// The same for a page that needed no step when it was probed: it only is slow.
const QUIET_UNEXPECTED: Duration = Duration::from_secs(4);
/// The same between two steps, after a request.
const QUIET_BETWEEN: Duration = Duration::from_millis(25);
/// Steps in which only timers fall due, and the steps after that in which animation frames are run too. Behind them the
/// clock that scripts read moves as well.
const TIMER_STEPS: u32 = 30;
const FRAME_STEPS: u32 = 60;
/// Most steps: 45 seconds of load time.
const MAX_STEPS: u32 = 45 * 60;
/// Least time that a page gets for what needs time of its own, after its last step.
const STEPS_WITHIN: Duration = Duration::from_secs(10);
/// Milliseconds of load time of a step.
const STEP_MS: f64 = 1000.0 / 60.0;
/// What a page that leaves its document is told.
pub(super) const STAYS: &str = "a composition stays in its document from its load to its last frame";
/// Longest wait for each of images, style images and fonts, in milliseconds.
const SETTLE_WITHIN_MS: u32 = 30_000;

/// What failed to load without making the page fail.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct PageReport {
    /// Sources of images that did not load.
    pub images_failed: Vec<String>,
    /// Font faces that did not load.
    pub fonts_failed: Vec<String>,
    /// Kinds of resources that were not loaded within their time limit.
    pub late: Vec<String>,
    /// Ids of compositions without a timeline.
    #[serde(default)]
    pub without_timeline: Vec<String>,
    /// Steps of the load time after which the page was ready; 0 where it never was, or at once.
    #[serde(default)]
    pub load_steps: u32,
}

/// How a page leaves its document.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Departure {
    /// What it does, as the predicate of a sentence.
    what: String,
    /// File and line of the script, where one is known.
    place: Option<String>,
    /// Second of the composition; `None` while the page loads.
    time: Option<f64>,
}

impl Departure {
    /// The error that it is, at `rate` frames a second.
    pub(super) fn error(&self, rate: FrameRate) -> PageError {
        let Self { what, place, time } = self;
        let when = match time {
            None => "while it loads".to_owned(),
            Some(time) => format!("at frame {} ({time:.3} s)", (time * rate.as_f64()).round()),
        };
        let place = place.as_ref().map(|place| format!(", by {place}")).unwrap_or_default();
        PageError::Script(format!("the page {what} {when}{place}; {STAYS}"))
    }
}

/// A script that a Content-Security-Policy of the page's own has refused.
#[derive(Debug, Clone, PartialEq, Deserialize)]
struct RefusedScript {
    /// The beginning of the policy.
    policy: String,
    /// The beginning of the script's URL, or what kind of script it is.
    script: String,
}

impl RefusedScript {
    /// Why the page fails.
    fn cause(&self) -> String {
        let Self { policy, script } = self;
        let script = match script.as_str() {
            "inline" => "scripts in the page",
            "eval" | "wasm-eval" => "code that is made from text",
            url => url,
        };
        format!(
            "the page's own Content-Security-Policy (`{policy}`) refuses {script}; allow it there, or leave the policy out: pages \
             are isolated while they are rendered"
        )
    }
}

/// The state of a page while it loads, as the driver reports it.
#[derive(Debug, Deserialize)]
struct PageState {
    document: String,
    startup_error: Option<String>,
    can_seek: bool,
    duration: f64,
    building: bool,
    render_ready: bool,
    pending_builds: Vec<String>,
    has_composition: bool,
    missing_timelines: Vec<String>,
    requests: u32,
    departure: Option<Departure>,
    refused_script: Option<RefusedScript>,
}

/// Waits until a page is ready.
pub(super) struct Readiness<'p> {
    page: &'p mut Page,
    site: &'p Site,
    options: &'p OpenOptions,
    /// Steps of the load time so far.
    steps: u32,
    /// The requests that the server had, and since when it has had no more.
    quiet: (u64, Instant),
    /// The first script that the page's own policy has refused.
    refused: Option<RefusedScript>,
}

impl<'p> Readiness<'p> {
    /// The readiness of the page that `page` loads from `site`.
    pub(super) fn new(page: &'p mut Page, site: &'p Site, options: &'p OpenOptions) -> Self {
        Self { page, site, options, steps: 0, quiet: (0, Instant::now()), refused: None }
    }

    /// Waits until the page can be sought, has its timelines, and has loaded images and fonts.
    pub(super) async fn wait_until_ready(mut self) -> Result<PageReport, WorkerError> {
        self.wait_until_seekable().await?;
        let without_timeline = self.wait_for_timelines().await?;
        let load_steps = if without_timeline.is_empty() { self.steps } else { 0 };
        while self.steps < self.options.load_steps.unwrap_or_default() {
            self.step().await?;
        }
        if let Some(effect) = self.broken_effect() {
            let text = format!("a visual effect of the page failed, so its frames would lack it: {effect}");
            return Err(PageError::Script(text).into());
        }
        let settle = format!("window.__hyperfarmHost.settle({SETTLE_WITHIN_MS}, {})", json!(self.options.videos));
        let mut report: PageReport = self.page.ask(&settle).await?;
        report.without_timeline = without_timeline;
        report.load_steps = load_steps;
        Ok(report)
    }

    async fn state(&mut self) -> Result<Option<PageState>, WorkerError> {
        // Between two documents there is no driver.
        let state: Option<PageState> =
            self.page.ask("window.__hyperfarmHost ? window.__hyperfarmHost.state() : null").await?;
        self.refused = state.as_ref().and_then(|state| state.refused_script.clone());
        match state.as_ref().and_then(|state| state.departure.as_ref()) {
            Some(departure) => Err(departure.error(self.options.frame_rate).into()),
            None => Ok(state),
        }
    }

    /// Moves the load time of a page on where the page waits for it: it is loaded, nothing of it is under way, and
    /// still it is not ready. Otherwise it waits a moment.
    async fn step_or_wait(&mut self, state: Option<&PageState>) -> Result<(), WorkerError> {
        let requests = self.site.requests();
        let is_busy = state.is_none_or(|state| state.document != "complete" || state.requests > 0);
        if is_busy || requests != self.quiet.0 {
            self.quiet = (requests, Instant::now());
        }
        let needed = match self.options.load_steps {
            _ if self.steps > 0 => QUIET_BETWEEN,
            Some(0) => QUIET_UNEXPECTED,
            _ => QUIET,
        };
        if self.quiet.1.elapsed() < needed || self.steps >= MAX_STEPS {
            tokio::time::sleep(POLL_INTERVAL).await;
            return Ok(());
        }
        self.step().await
    }

    /// One step of the load time: timers and animation frames that fall due, and the observers of a frame.
    async fn step(&mut self) -> Result<(), WorkerError> {
        let (with_frames, with_clock) = (self.steps >= TIMER_STEPS, self.steps >= FRAME_STEPS);
        self.steps += 1;
        let step = format!("window.__hyperfarmHost?.step({with_frames}, {with_clock})");
        self.page.ask::<IgnoredAny>(&step).await?;
        match self.page.begin_frame(STEP_MS, FrameKind::NoDraw).await {
            Err(WorkerError::Chrome(ChromeError::FramePending)) | Ok(_) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether a page was given all the load time that there is, and it did not help.
    fn is_given_up(&self, since: Instant) -> bool {
        self.steps >= MAX_STEPS && since.elapsed() > STEPS_WITHIN
    }

    async fn wait_until_seekable(&mut self) -> Result<(), WorkerError> {
        let started = Instant::now();
        let mut loaded: Option<Instant> = None;
        loop {
            let state = self.state().await?;
            if let Some(error) = state.as_ref().and_then(|state| state.startup_error.clone()) {
                return Err(PageError::Script(format!("the page says that it cannot start: {error}")).into());
            }
            if let Some(state) = &state {
                if state.can_seek && state.duration > 0.0 && state.document == "complete" {
                    return Ok(());
                }
                if state.document == "complete" {
                    loaded.get_or_insert_with(Instant::now);
                }
            }
            let waited = loaded.map(|since| since.elapsed()).unwrap_or_default();
            if let Some(error) = state.as_ref().and_then(|state| self.reason_not_seekable(state, waited)) {
                return Err(error.into());
            }
            if started.elapsed() > SEEKABLE_WITHIN {
                let seconds = SEEKABLE_WITHIN.as_secs();
                let message = match state.as_ref().filter(|state| state.document == "complete" && state.can_seek) {
                    Some(state) if !state.pending_builds.is_empty() => format!(
                        "window.__hf.buildReady was not resolved within {seconds} s for {}",
                        quoted(&state.pending_builds)
                    ),
                    Some(state) if state.building => {
                        format!("the page's timelines were still being built after {seconds} s")
                    }
                    Some(state) if !state.render_ready => format!(
                        "the animations of the page were not loaded within {seconds} s (Lottie files, 3D models or frame sources \
                         that the HyperFrames runtime waits for)"
                    ),
                    _ => format!("the page did not finish loading within {seconds} s"),
                };
                return Err(PageError::NotReady(self.with_cause(message)).into());
            }
            self.step_or_wait(state.as_ref()).await?;
        }
    }

    /// Why a page that has been loaded for `waited` will not become seekable.
    fn reason_not_seekable(&self, state: &PageState, waited: Duration) -> Option<PageError> {
        if state.document != "complete" {
            return None;
        }
        if waited > SEEKABLE_AFTER_FAILURE
            && let Some(cause) = self.script_failure()
        {
            return Some(PageError::Script(format!("the page does not become ready: {cause}")));
        }
        if !state.has_composition && !state.can_seek && waited > SEEKABLE_WITHOUT_COMPOSITION {
            let text = "the page has no element with data-composition-id and brings no window.__hf = { duration, seek } of its own";
            return Some(PageError::NotReady(self.with_cause(text.to_owned())));
        }
        if state.can_seek && state.render_ready && state.duration <= 0.0 && !state.building && waited > DURATION_WITHIN
        {
            let text = "the composition does not say how long it lasts: set data-duration (seconds) on the element with \
                        data-composition-id, or register a timeline in window.__timelines";
            return Some(PageError::DurationMissing(self.with_cause(text.to_owned())));
        }
        None
    }

    /// Waits for the expected timelines, and returns the ids of the compositions without one.
    async fn wait_for_timelines(&mut self) -> Result<Vec<String>, WorkerError> {
        let timelines = &self.options.timelines;
        let started = Instant::now();
        loop {
            let Some(state) = self.state().await? else {
                let text = self.with_cause("the page navigated away while it loaded".to_owned());
                return Err(PageError::NotReady(text).into());
            };
            let missing: Vec<String> =
                state.missing_timelines.iter().filter(|id| !timelines.except.contains(id)).cloned().collect();
            if !state.building && (missing.is_empty() || !timelines.any) {
                return Ok(missing);
            }
            if started.elapsed() > TIMELINES_AFTER_FAILURE
                && let Some(cause) = self.script_failure()
            {
                let text = format!("no timeline was registered for {}: {cause}", quoted(&missing));
                return Err(PageError::TimelineMissing(text).into());
            }
            if started.elapsed() > TIMELINES_WITHIN || self.is_given_up(started) {
                return Ok(missing);
            }
            self.step_or_wait(Some(&state)).await?;
        }
    }

    /// The runtime's message about an effect that it could not set up.
    fn broken_effect(&self) -> Option<String> {
        self.page.events().into_iter().find_map(|event| match event {
            PageEvent::Console(text) => {
                let (_, detail) = text.split_once("[HyperFrames] composition script error:")?;
                detail.trim_start().starts_with("vfx:").then(|| detail.trim().to_owned())
            }
            PageEvent::Exception(_) => None,
        })
    }

    /// The first script that threw, is missing or was refused.
    fn script_failure(&self) -> Option<String> {
        let thrown = self.page.events().into_iter().find_map(|event| match event {
            PageEvent::Exception(text) => Some(text),
            PageEvent::Console(_) => None,
        });
        let is_script = |path: &str| path.split(['?', '#']).next().is_some_and(|path| path.ends_with("js"));
        let unserved = self.site.problems().into_iter().find_map(|problem| match problem {
            RequestProblem::NotFound(path) if is_script(&path) => {
                Some(format!("the project has no file {path}, which the page loads as a script"))
            }
            RequestProblem::Blocked(url) => Some(format!(
                "the page asks for {url}, and pages load nothing from outside while they are rendered; put a copy into the project"
            )),
            RequestProblem::NotFound(_) => None,
        });
        let lacking = self.refused.as_ref().map(RefusedScript::cause).or(unserved);
        match (lacking, thrown) {
            (Some(lacking), Some(thrown)) => Some(format!("{lacking}; then: {thrown}")),
            (lacking, thrown) => lacking.or(thrown),
        }
    }

    /// `message` with the script that caused it, where one is known.
    fn with_cause(&self, message: String) -> String {
        match self.script_failure() {
            Some(cause) => format!("{message} ({cause})"),
            None => message,
        }
    }
}

fn quoted(ids: &[String]) -> String {
    ids.iter().map(|id| format!("\"{id}\"")).collect::<Vec<_>>().join(", ")
}
