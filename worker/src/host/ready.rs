//! When a page is ready: each wait has its own deadline and its own named failure.

use std::time::{Duration, Instant};

use hyperfarm_proto::failure::{Failure, FailureCode};
use serde::Deserialize;
use serde_json::json;

use super::{PageHost, ServedVideo};
use crate::chrome::PageEvent;
use crate::server::RequestProblem;

/// From the navigation to a page that can be sought and knows its duration.
const SEEKABLE_WITHIN: Duration = Duration::from_secs(45);
/// The same once a script has failed to load or has thrown: what it carried will not come.
const SEEKABLE_AFTER_FAILURE: Duration = Duration::from_secs(3);
/// The same for a loaded page that has neither a composition nor a seek of its own.
const SEEKABLE_WITHOUT_COMPOSITION: Duration = Duration::from_secs(3);
/// The same for a loaded page whose composition says no duration.
const DURATION_WITHIN: Duration = Duration::from_secs(6);
/// From there to a timeline of every composition that promised one.
const TIMELINES_WITHIN: Duration = Duration::from_secs(45);
/// The same once a script has failed.
const TIMELINES_AFTER_FAILURE: Duration = Duration::from_secs(2);
/// For each of images, style images and fonts.
const SETTLE_WITHIN_MS: u32 = 30_000;

/// What the page waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Whether any file of the project speaks of timelines; one that never does registers none.
    pub timelines: bool,
    /// Compositions that are known to register none.
    pub without_timeline: Vec<String>,
}

/// What failed without stopping the page.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct PageReport {
    /// Sources of images that did not load.
    pub images_failed: Vec<String>,
    /// Faces that did not load.
    pub fonts_failed: Vec<String>,
    /// Kinds of resources that were not loaded when their time was over.
    pub late: Vec<String>,
    /// Compositions without a timeline.
    #[serde(default)]
    pub without_timeline: Vec<String>,
}

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

impl PageHost<'_> {
    pub(super) async fn wait_until_ready(
        &mut self,
        wanted: &Wanted,
        videos: &[ServedVideo],
    ) -> Result<PageReport, Failure> {
        self.wait_for_seek().await?;
        let without_timeline = self.wait_for_timelines(wanted).await?;
        if let Some(effect) = self.broken_effect() {
            return Err(Failure::new(
                FailureCode::ScriptError,
                format!("a visual effect of the page failed, so its frames would lack it: {effect}"),
            ));
        }
        let settle = format!("window.__hyperfarmHost.settle({SETTLE_WITHIN_MS}, {})", json!(videos));
        let mut report: PageReport = self.page.evaluate(settle).await?;
        report.without_timeline = without_timeline;
        Ok(report)
    }

    async fn state(&self) -> Result<Option<PageState>, Failure> {
        // Between two documents there is no driver yet.
        self.page.evaluate("window.__hyperfarmHost ? window.__hyperfarmHost.state() : null".to_owned()).await
    }

    async fn wait_for_seek(&mut self) -> Result<(), Failure> {
        let started = Instant::now();
        let mut loaded: Option<Instant> = None;
        loop {
            let state = self.state().await?;
            if let Some(error) = state.as_ref().and_then(|state| state.startup_error.clone()) {
                return Err(Failure::new(
                    FailureCode::ScriptError,
                    format!("the page says that it cannot start: {error}"),
                ));
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
            if let Some(failure) = state.as_ref().and_then(|state| self.not_seekable(state, waited)) {
                return Err(failure);
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
                return Err(self.named(FailureCode::PageNotReady, message));
            }
            self.rest().await;
        }
    }

    /// Why a page that has been loaded for `waited` will not become seekable any more.
    fn not_seekable(&self, state: &PageState, waited: Duration) -> Option<Failure> {
        if state.document != "complete" {
            return None;
        }
        if waited > SEEKABLE_AFTER_FAILURE
            && let Some(cause) = self.script_failure()
        {
            return Some(Failure::new(FailureCode::ScriptError, format!("the page does not become ready: {cause}")));
        }
        if !state.has_composition && !state.can_seek && waited > SEEKABLE_WITHOUT_COMPOSITION {
            return Some(self.named(
                FailureCode::PageNotReady,
                "the page has no element with data-composition-id and brings no window.__hf = { duration, seek } of its own"
                    .to_owned(),
            ));
        }
        if state.can_seek && state.render_ready && state.duration <= 0.0 && !state.building && waited > DURATION_WITHIN
        {
            return Some(
                self.named(
                    FailureCode::DurationMissing,
                    "the composition does not say how long it lasts: set data-duration (seconds) on the element with \
                 data-composition-id, or register a timeline in window.__timelines"
                        .to_owned(),
                ),
            );
        }
        None
    }

    async fn wait_for_timelines(&mut self, wanted: &Wanted) -> Result<Vec<String>, Failure> {
        let started = Instant::now();
        loop {
            let Some(state) = self.state().await? else {
                return Err(self.named(FailureCode::PageNotReady, "the page navigated away while it loaded".to_owned()));
            };
            let missing: Vec<String> =
                state.missing_timelines.into_iter().filter(|id| !wanted.without_timeline.contains(id)).collect();
            if !state.building && (missing.is_empty() || !wanted.timelines) {
                return Ok(missing);
            }
            if started.elapsed() > TIMELINES_AFTER_FAILURE
                && let Some(cause) = self.script_failure()
            {
                return Err(Failure::new(
                    FailureCode::TimelineMissing,
                    format!("no timeline was registered for {}: {cause}", quoted(&missing)),
                ));
            }
            if started.elapsed() > TIMELINES_WITHIN {
                return Ok(missing);
            }
            self.rest().await;
        }
    }

    /// What the runtime says of an effect that it could not set up.
    fn broken_effect(&self) -> Option<String> {
        self.events().into_iter().find_map(|event| match event {
            PageEvent::Console(text) => {
                let (_, detail) = text.split_once("[HyperFrames] composition script error:")?;
                detail.trim_start().starts_with("vfx:").then(|| detail.trim().to_owned())
            }
            PageEvent::Exception(_) => None,
        })
    }

    /// The first script that threw, did not exist or was refused.
    fn script_failure(&self) -> Option<String> {
        let thrown = self.events().into_iter().find_map(|event| match event {
            PageEvent::Exception(text) => Some(text),
            PageEvent::Console(_) => None,
        });
        let is_script = |path: &str| path.split(['?', '#']).next().is_some_and(|path| path.ends_with("js"));
        let unserved = self.problems().into_iter().find_map(|problem| match problem {
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

    /// A failure that also names the script at fault, where one is known.
    fn named(&self, code: FailureCode, message: String) -> Failure {
        match self.script_failure() {
            Some(cause) => Failure::new(code, format!("{message} ({cause})")),
            None => Failure::new(code, message),
        }
    }
}

fn quoted(ids: &[String]) -> String {
    ids.iter().map(|id| format!("\"{id}\"")).collect::<Vec<_>>().join(", ")
}
