//! The readiness of a page: each wait has a deadline and an error of its own.

use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::json;

use super::options::{ExpectedTimelines, ServedVideo};
use crate::chrome::{Page, PageEvent};
use crate::error::{PageError, WorkerError};
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
}

/// Waits until a page is ready.
pub(super) struct Readiness<'p> {
    pub(super) page: &'p Page,
    pub(super) site: &'p Site,
}

impl Readiness<'_> {
    /// Waits until the page can be sought, has its timelines, and has loaded images and fonts.
    pub(super) async fn wait_until_ready(
        &self,
        timelines: &ExpectedTimelines,
        videos: &[ServedVideo],
    ) -> Result<PageReport, WorkerError> {
        self.wait_until_seekable().await?;
        let without_timeline = self.wait_for_timelines(timelines).await?;
        if let Some(effect) = self.broken_effect() {
            let text = format!("a visual effect of the page failed, so its frames would lack it: {effect}");
            return Err(PageError::Script(text).into());
        }
        let settle = format!("window.__hyperfarmHost.settle({SETTLE_WITHIN_MS}, {})", json!(videos));
        let mut report: PageReport = self.page.evaluate(settle).await?;
        report.without_timeline = without_timeline;
        Ok(report)
    }

    async fn state(&self) -> Result<Option<PageState>, WorkerError> {
        // Between two documents there is no driver.
        self.page.evaluate("window.__hyperfarmHost ? window.__hyperfarmHost.state() : null".to_owned()).await
    }

    async fn wait_until_seekable(&self) -> Result<(), WorkerError> {
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
                let message = match state.filter(|state| state.document == "complete" && state.can_seek) {
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
            tokio::time::sleep(POLL_INTERVAL).await;
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
    async fn wait_for_timelines(&self, timelines: &ExpectedTimelines) -> Result<Vec<String>, WorkerError> {
        let started = Instant::now();
        loop {
            let Some(state) = self.state().await? else {
                let text = self.with_cause("the page navigated away while it loaded".to_owned());
                return Err(PageError::NotReady(text).into());
            };
            let missing: Vec<String> =
                state.missing_timelines.into_iter().filter(|id| !timelines.except.contains(id)).collect();
            if !state.building && (missing.is_empty() || !timelines.any) {
                return Ok(missing);
            }
            if started.elapsed() > TIMELINES_AFTER_FAILURE
                && let Some(cause) = self.script_failure()
            {
                let text = format!("no timeline was registered for {}: {cause}", quoted(&missing));
                return Err(PageError::TimelineMissing(text).into());
            }
            if started.elapsed() > TIMELINES_WITHIN {
                return Ok(missing);
            }
            tokio::time::sleep(POLL_INTERVAL).await;
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
        match (unserved, thrown) {
            (Some(unserved), Some(thrown)) => Some(format!("{unserved}; then: {thrown}")),
            (unserved, thrown) => unserved.or(thrown),
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
