//! The one page of a browser: navigation, evaluation, begin-frames, and the messages of the page.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use chromiumoxide::Browser;
use chromiumoxide::cdp::browser_protocol::browser::{SetDownloadBehaviorBehavior, SetDownloadBehaviorParams};
use chromiumoxide::cdp::browser_protocol::dom::{GetBoxModelParams, Rgba};
use chromiumoxide::cdp::browser_protocol::emulation::{
    SetDefaultBackgroundColorOverrideParams, SetDeviceMetricsOverrideParams,
};
use chromiumoxide::cdp::browser_protocol::headless_experimental::{
    BeginFrameParams, ScreenshotParams, ScreenshotParamsFormat,
};
use chromiumoxide::cdp::browser_protocol::inspector::EventTargetCrashed;
use chromiumoxide::cdp::browser_protocol::memory::{PressureLevel, SimulatePressureNotificationParams};
use chromiumoxide::cdp::browser_protocol::page::{
    AddScriptToEvaluateOnNewDocumentParams, EventJavascriptDialogOpening, EventWindowOpen,
    HandleJavaScriptDialogParams, NavigateParams, RemoveScriptToEvaluateOnNewDocumentParams, ScriptIdentifier,
};
use chromiumoxide::cdp::browser_protocol::storage::{ClearDataForOriginParams, OverrideQuotaForOriginParams};
use chromiumoxide::cdp::browser_protocol::target::{
    CloseTargetParams, CreateTargetParams, EventTargetCreated, GetTargetInfoParams,
};
use chromiumoxide::cdp::browser_protocol::{log, network, performance};
use chromiumoxide::cdp::js_protocol::runtime::{
    EvaluateParams, EventConsoleApiCalled, EventExceptionThrown, ReleaseObjectGroupParams,
    SetMaxCallStackSizeToCaptureParams, TerminateExecutionParams,
};
use chromiumoxide::error::CdpError;
use futures::StreamExt;
use hyperfarm_proto::legible::legible;
use hyperfarm_proto::log::LogLevel;
use hyperfarm_proto::spec::Viewport;
use parking_lot::Mutex;
use serde::de::{DeserializeOwned, IgnoredAny};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::page_log::{PageLog, console_level};
use super::watchdog::BrowserEnd;
use crate::error::{ChromeError, PageError, WorkerError};
use crate::screenshot;

/// Longest begin-frame. After it the page is unresponsive, or Chrome is stalled if it does not answer either.
const FRAME_TIMEOUT: Duration = Duration::from_secs(90);
/// Longest evaluation of a script, a seek included.
const EVALUATE_TIMEOUT: Duration = Duration::from_secs(90);
/// Time after which a page is asked whether a navigation has ended without an answer.
const NAVIGATION_CHECK: Duration = Duration::from_secs(1);
/// Whether the document is a composition's that has not been rendered yet.
const IS_NEW: &str = "document.readyState === \"complete\" && window.__HF_VIRTUAL_TIME__?.isLoading() === true";
/// First frame time in milliseconds. Any value above zero will do, as long as it is the same in every browser.
const FIRST_TICK: f64 = 1000.0;
/// Group of the elements that are being measured.
const MEASURED: &str = "measured";
/// The moment in milliseconds of the composition at which the script has begun that runs or ran last.
const STUCK_AT: &str =
    "window.__HF_VIRTUAL_TIME__?.isLoading() === false ? window.__HF_VIRTUAL_TIME__.stuckAt() : null";
/// Longest answer of a page whose script was ended.
const END_SCRIPT_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest answer of a browser that is asked whether it still works.
const BROWSER_TIMEOUT: Duration = Duration::from_secs(10);
/// Most characters of a message of the page.
const MESSAGE_CHARACTERS: usize = 1000;
/// Most bytes that a page may store in databases, caches and files of its origin. Chrome would allow it most of the
/// disk.
const MAX_STORED: f64 = 64.0 * 1024.0 * 1024.0;
/// Last messages that are kept for the render's warnings and errors.
const MAX_EVENTS: usize = 100;
/// The function in a page that answers questions.
const ANSWER: &str = "(window.__hyperfarmLimits?.answer ?? ((question) => JSON.stringify(question() ?? null)))";
/// Milliseconds between two frames of a measurement.
const MEASURE_INTERVAL_MS: f64 = 1000.0 / 60.0;
/// Attempts at a begin-frame while Chrome reports that another one is pending.
const PENDING_TRIES: u32 = 6;

/// A message of the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PageEvent {
    /// An exception that no script caught.
    Exception(String),
    /// A message of `console.error` or `console.warn`.
    Console(String),
}

/// What a begin-frame does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// Draws the frame.
    Draw,
    /// Runs the page's part of the frame and draws nothing.
    NoDraw,
    /// Draws the frame and returns it as a PNG file. With alpha Chrome encodes it the fast way only where that was seen
    /// to keep alpha: `Page::measure_fast_alpha`.
    DrawToPng {
        /// Whether the page has a transparent background.
        alpha: bool,
    },
}

/// The answer to a begin-frame.
#[derive(Debug)]
pub struct DrawnFrame {
    /// Whether anything changed. It means nothing when a picture was requested.
    pub damage: bool,
    /// The PNG file, if one was requested and Chrome returned it.
    pub png: Option<Vec<u8>>,
}

/// The one page of a browser.
pub struct Page {
    page: chromiumoxide::Page,
    tick: f64,
    events: Arc<Mutex<VecDeque<PageEvent>>>,
    crashed: watch::Receiver<bool>,
    end: watch::Receiver<Option<BrowserEnd>>,
    listeners: Vec<JoinHandle<()>>,
    scripts: Vec<ScriptIdentifier>,
    log: PageLog,
    /// Whether a navigation has ended that the client library still waits for. It sends no other one within 30 s.
    is_navigation_pending: bool,
    /// Whether fast screenshots of this browser have the same alpha as slow ones; `None` until
    /// [`Page::measure_fast_alpha`] has compared them.
    keeps_alpha_fast: Option<bool>,
}

/// A script that shows a ramp of alpha from 0 to 1.
const ALPHA_RAMP: &str = "document.body.innerHTML = '<div style=\"position:fixed;left:0;top:0;width:256px;height:2px;\
     background:linear-gradient(90deg,rgba(200,60,9,0),rgba(9,60,200,1))\"></div>'";

impl Page {
    pub(super) async fn open(
        browser: &Browser,
        viewport: Viewport,
        log: PageLog,
        end: watch::Receiver<Option<BrowserEnd>>,
    ) -> Result<Self, WorkerError> {
        let output = viewport.output();
        let target = CreateTargetParams::builder()
            .url("about:blank")
            .width(i64::from(output.width))
            .height(i64::from(output.height))
            .enable_begin_frame_control(true)
            .build()
            .map_err(ChromeError::Call)?;
        let page = tokio::time::timeout(EVALUATE_TIMEOUT, browser.new_page(target))
            .await
            .map_err(|_| ChromeError::NoPage)?
            .map_err(|error| ChromeError::OpenPage(error.to_string()))?;
        let (crash, crashed) = watch::channel(false);
        let mut opened = Self {
            page,
            tick: FIRST_TICK,
            events: Arc::default(),
            crashed,
            end,
            listeners: Vec::new(),
            scripts: Vec::new(),
            log,
            is_navigation_pending: false,
            keeps_alpha_fast: None,
        };
        opened.disable_unread_events().await.map_err(protocol)?;
        opened.listen(crash).await.map_err(protocol)?;
        opened.refuse_windows(browser).await.map_err(protocol)?;
        opened.resize(viewport).await?;
        let deny_downloads = SetDownloadBehaviorParams::new(SetDownloadBehaviorBehavior::Deny);
        if let Err(error) = browser.execute(deny_downloads).await {
            tracing::debug!(%error, "this Chrome cannot deny downloads");
        }
        Ok(opened)
    }

    /// Turns off events that the client library turns on and nobody reads. For those of requests the renderer would keep
    /// what it has loaded.
    async fn disable_unread_events(&self) -> Result<(), CdpError> {
        self.page.execute(network::DisableParams::default()).await?;
        self.page.execute(performance::DisableParams::default()).await?;
        self.page.execute(log::DisableParams::default()).await?;
        // A page may give its functions and scripts names of any length, and each message has those of its callers.
        self.page.execute(SetMaxCallStackSizeToCaptureParams::new(0)).await?;
        Ok(())
    }

    /// Sets the size and the device scale of the page.
    ///
    /// # Errors
    ///
    /// [`ChromeError::Protocol`].
    pub async fn resize(&self, viewport: Viewport) -> Result<(), WorkerError> {
        let metrics = SetDeviceMetricsOverrideParams::new(
            i64::from(viewport.page.width),
            i64::from(viewport.page.height),
            f64::from(viewport.scale),
            false,
        );
        self.page.execute(metrics).await.map_err(protocol)?;
        Ok(())
    }

    /// Logs the windows that the page tries to open, and closes any that the browser's flag did not prevent.
    async fn refuse_windows(&mut self, browser: &Browser) -> Result<(), CdpError> {
        let mut attempts = self.page.event_listener::<EventWindowOpen>().await?;
        let (events, log) = (self.events.clone(), self.log.clone());
        self.listeners.push(tokio::spawn(async move {
            while let Some(event) = attempts.next().await {
                let text = format!(
                    "the page tried to open {} in a window; pages open none while they are rendered",
                    shortened(crate::urls::without_origin(&event.url))
                );
                log.write(LogLevel::Warning, &text);
                push(&events, PageEvent::Console(text));
            }
        }));
        let mut created = browser.event_listener::<EventTargetCreated>().await?;
        let page = self.page.clone();
        self.listeners.push(tokio::spawn(async move {
            while let Some(event) = created.next().await {
                let target = &event.target_info;
                if target.r#type == "page" && target.target_id != *page.target_id() {
                    tracing::warn!("a window that a page opened is closed");
                    let _ = page.execute(CloseTargetParams::new(target.target_id.clone())).await;
                }
            }
        }));
        Ok(())
    }

    async fn listen(&mut self, crash: watch::Sender<bool>) -> Result<(), CdpError> {
        let mut exceptions = self.page.event_listener::<EventExceptionThrown>().await?;
        let mut console = self.page.event_listener::<EventConsoleApiCalled>().await?;
        let mut crashes = self.page.event_listener::<EventTargetCrashed>().await?;
        let mut dialogs = self.page.event_listener::<EventJavascriptDialogOpening>().await?;
        let (events, log) = (self.events.clone(), self.log.clone());
        self.listeners.push(tokio::spawn(async move {
            while let Some(event) = exceptions.next().await {
                let text = exception_text(&event.exception_details);
                log.write(LogLevel::Error, &text);
                push(&events, PageEvent::Exception(text));
            }
        }));
        let (events, log) = (self.events.clone(), self.log.clone());
        self.listeners.push(tokio::spawn(async move {
            while let Some(event) = console.next().await {
                let level = format!("{:?}", event.r#type).to_lowercase();
                let parts: Vec<String> = event.args.iter().map(object_text).collect();
                let text = shortened(&parts.join(" "));
                if !text.is_empty() {
                    log.write(console_level(&level), &text);
                }
                if level == "error" || level == "warning" {
                    push(&events, PageEvent::Console(text));
                }
            }
        }));
        self.listeners.push(tokio::spawn(async move {
            if crashes.next().await.is_some() {
                let _ = crash.send(true);
            }
        }));
        let page = self.page.clone();
        self.listeners.push(tokio::spawn(async move {
            while dialogs.next().await.is_some() {
                // An open dialog would block the page for ever.
                let _ = page.execute(HandleJavaScriptDialogParams::new(true)).await;
            }
        }));
        Ok(())
    }

    /// Removes what earlier pages of this browser left: storage of `origin`, injected scripts, messages.
    ///
    /// # Errors
    ///
    /// [`ChromeError::Protocol`].
    pub async fn reset(&mut self, origin: &str) -> Result<(), WorkerError> {
        for script in self.scripts.drain(..) {
            let remove = RemoveScriptToEvaluateOnNewDocumentParams::new(script);
            self.page.execute(remove).await.map_err(protocol)?;
        }
        self.page.execute(ClearDataForOriginParams::new(origin, "all")).await.map_err(protocol)?;
        let quota = OverrideQuotaForOriginParams::builder().origin(origin).quota_size(MAX_STORED).build();
        self.page.execute(quota.map_err(ChromeError::Call)?).await.map_err(protocol)?;
        self.events.lock().clear();
        self.log.set_frame(None);
        Ok(())
    }

    /// Runs `source` before any script of every frame of every later document.
    ///
    /// # Errors
    ///
    /// [`ChromeError::Protocol`].
    pub async fn inject(&mut self, source: &str) -> Result<(), WorkerError> {
        let script = AddScriptToEvaluateOnNewDocumentParams::new(source);
        let identifier = self.page.execute(script).await.map_err(protocol)?.result.identifier;
        self.scripts.push(identifier);
        Ok(())
    }

    /// Sets whether the page has a transparent background or a white one.
    ///
    /// # Errors
    ///
    /// [`ChromeError::Protocol`].
    pub async fn set_transparent(&self, transparent: bool) -> Result<(), WorkerError> {
        let mut background = SetDefaultBackgroundColorOverrideParams::default();
        if transparent {
            background.color = Some(Rgba { r: 0, g: 0, b: 0, a: Some(0.0) });
        }
        self.page.execute(background).await.map_err(protocol)?;
        Ok(())
    }

    /// Measures, once, whether Chrome's fast encoder of PNG files keeps alpha: the fast way takes a third of the time, and
    /// some versions round alpha to 0 or 1 in it. The page is replaced by one that is drawn for it.
    ///
    /// # Errors
    ///
    /// Those of a call that fails.
    pub(crate) async fn measure_fast_alpha(&mut self) -> Result<(), WorkerError> {
        if self.keeps_alpha_fast.is_some() {
            return Ok(());
        }
        self.set_transparent(true).await?;
        self.navigate("about:blank").await?;
        self.evaluate::<IgnoredAny>(ALPHA_RAMP.to_owned()).await?;
        // The first frame of a new document may still show the old one.
        for _ in 0..2 {
            self.begin_frame(MEASURE_INTERVAL_MS, FrameKind::Draw).await?;
        }
        let slow = self.begin_frame(MEASURE_INTERVAL_MS, FrameKind::DrawToPng { alpha: true }).await?.png;
        self.keeps_alpha_fast = Some(true);
        let fast = self.begin_frame(MEASURE_INTERVAL_MS, FrameKind::DrawToPng { alpha: true }).await;
        self.keeps_alpha_fast = None;
        // Without a picture nothing was measured: the slow way is right for any Chrome.
        if let (Some(slow), Some(fast)) = (slow, fast?.png) {
            let (slow, fast) = (screenshot::decode(&slow)?, screenshot::decode(&fast)?);
            let has_ramp = slow.bgra.as_chunks::<4>().0.iter().any(|[.., alpha]| (1..255).contains(alpha));
            self.keeps_alpha_fast = has_ramp.then(|| slow.bgra == fast.bgra);
        }
        Ok(())
    }

    /// Whether the page can be navigated again at once.
    pub fn can_navigate(&self) -> bool {
        !self.is_navigation_pending
    }

    /// Starts a navigation to `url`. It returns before the document is loaded.
    ///
    /// # Errors
    ///
    /// [`PageError::NotReady`] where Chrome refuses the address, and those of a call that fails.
    pub async fn navigate(&mut self, url: &str) -> Result<(), WorkerError> {
        let is_seen = self.navigation(url).await?;
        self.is_navigation_pending = !is_seen;
        Ok(())
    }

    /// Navigates to `url`. Returns whether the client library has seen the end of it: it does not where the page changes
    /// its address while it loads.
    async fn navigation(&self, url: &str) -> Result<bool, WorkerError> {
        let call = self.guarded(EVALUATE_TIMEOUT, "navigation", self.page.execute(NavigateParams::new(url)));
        tokio::pin!(call);
        loop {
            tokio::select! {
                answer = &mut call => return match answer?.result.error_text {
                    None => Ok(true),
                    Some(error) => Err(PageError::NotReady(format!("{url} does not open: {error}")).into()),
                },
                () = tokio::time::sleep(NAVIGATION_CHECK) => {
                    if self.evaluate::<bool>(IS_NEW.to_owned()).await.unwrap_or_default() {
                        return Ok(false);
                    }
                }
            }
        }
    }

    /// The value of `expression`, with promises awaited.
    ///
    /// # Errors
    ///
    /// [`PageError::Script`] where it throws, [`ChromeError::Answer`] where the value has another type, and those of a
    /// call that fails.
    pub async fn evaluate<T: DeserializeOwned>(&self, expression: String) -> Result<T, WorkerError> {
        let call = EvaluateParams::builder()
            .expression(expression)
            .await_promise(true)
            .return_by_value(true)
            .build()
            .map_err(ChromeError::Call)?;
        let answer = self.guarded(EVALUATE_TIMEOUT, "script", self.page.execute(call)).await?.result;
        if let Some(details) = answer.exception_details {
            return Err(PageError::Script(exception_text(&details)).into());
        }
        let value = answer.result.value.unwrap_or(serde_json::Value::Null);
        Ok(serde_json::from_value(value).map_err(ChromeError::Answer)?)
    }

    /// The answer of the farm's own script in a page of a user to `question`, an expression. The page can change what the
    /// script finds, and so the answer, but not make it long.
    ///
    /// # Errors
    ///
    /// Those of [`Page::evaluate`]; [`PageError::Script`] for an answer that the question has not.
    pub async fn ask<T: DeserializeOwned>(&self, question: &str) -> Result<T, WorkerError> {
        // Between two documents there is no script.
        let answer = format!("{ANSWER}(() => (\n{question}\n))");
        let answer: String = self.evaluate(answer).await?;
        serde_json::from_str(&answer).map_err(|error| {
            let text = format!("a script of the page changes what the farm's own script answers: {error}");
            PageError::Script(text).into()
        })
    }

    /// The corners of the content box of the element that is the value of `expression`, in CSS pixels of the viewport: top left,
    /// top right, bottom right, bottom left. `None` where the element has no box.
    ///
    /// # Errors
    ///
    /// Those of a call that fails.
    pub async fn content_corners(&self, expression: &str) -> Result<Option<[[f64; 2]; 4]>, WorkerError> {
        let call = EvaluateParams::builder().expression(expression).object_group(MEASURED).build();
        let call = call.map_err(ChromeError::Call)?;
        let answer = self.guarded(EVALUATE_TIMEOUT, "script", self.page.execute(call)).await?.result;
        let Some(object) = answer.result.object_id.filter(|_| answer.exception_details.is_none()) else {
            return Ok(None);
        };
        let call = GetBoxModelParams::builder().object_id(object).build();
        let model = self.guarded(EVALUATE_TIMEOUT, "measurement", self.page.execute(call)).await;
        let release = ReleaseObjectGroupParams::new(MEASURED);
        self.guarded(EVALUATE_TIMEOUT, "release", self.page.execute(release)).await?;
        match model {
            Ok(model) => {
                let corners = model.result.model.content.inner().as_chunks::<2>().0;
                Ok(corners.try_into().ok())
            }
            Err(WorkerError::Chrome(ChromeError::Protocol(reason))) if reason.contains("box model") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Runs one frame of the compositor, `interval_ms` milliseconds after the one before. Frame times strictly
    /// increase, and one frame is in flight at a time, because the call is awaited.
    ///
    /// # Errors
    ///
    /// [`ChromeError::FramePending`] where Chrome refuses the frame several times, and those of a call that fails.
    pub async fn begin_frame(&mut self, interval_ms: f64, kind: FrameKind) -> Result<DrawnFrame, WorkerError> {
        let mut wait = Duration::from_millis(40);
        for _ in 0..PENDING_TRIES {
            self.tick += interval_ms;
            let mut call = BeginFrameParams::builder().frame_time_ticks(self.tick).interval(interval_ms);
            match kind {
                FrameKind::Draw => {}
                FrameKind::NoDraw => call = call.no_display_updates(true),
                FrameKind::DrawToPng { alpha } => {
                    call = call.screenshot(
                        ScreenshotParams::builder()
                            .format(ScreenshotParamsFormat::Png)
                            .optimize_for_speed(!alpha || self.keeps_alpha_fast == Some(true))
                            .build(),
                    );
                }
            }
            match self.guarded(FRAME_TIMEOUT, "frame", self.page.execute(call.build())).await {
                Ok(answer) => return Ok(drawn(answer.result.has_damage, answer.result.screenshot_data)?),
                Err(WorkerError::Chrome(ChromeError::Protocol(reason))) if reason.contains("frame is pending") => {
                    tokio::time::sleep(wait).await;
                    wait *= 2;
                }
                Err(error) => return Err(error),
            }
        }
        Err(ChromeError::FramePending.into())
    }

    /// Makes the browser free every decoded picture that nothing shows any more. It would otherwise keep hundreds of
    /// megabytes.
    ///
    /// # Errors
    ///
    /// Those of a call that fails.
    pub async fn free_pictures(&self) -> Result<(), WorkerError> {
        let pressure = SimulatePressureNotificationParams::new(PressureLevel::Critical);
        self.guarded(EVALUATE_TIMEOUT, "notice", self.page.execute(pressure)).await?;
        Ok(())
    }

    /// Sets the frame that later messages carry in the log.
    pub fn set_log_frame(&self, frame: Option<u64>) {
        self.log.set_frame(frame);
    }

    /// The last messages of the page since it was opened or reset, oldest first.
    pub fn events(&self) -> Vec<PageEvent> {
        self.events.lock().iter().cloned().collect()
    }

    /// A call of the protocol that ends at a deadline, when the page crashes, and when the browser ends.
    async fn guarded<T>(
        &self,
        limit: Duration,
        name: &'static str,
        call: impl Future<Output = Result<T, CdpError>>,
    ) -> Result<T, WorkerError> {
        let (mut crashed, mut end) = (self.crashed.clone(), self.end.clone());
        let called = Instant::now();
        tokio::select! {
            biased;
            end = async { end.wait_for(Option::is_some).await.ok().and_then(|end| *end) } => {
                Err(end.map_or_else(|| ChromeError::Ended.into(), WorkerError::from))
            }
            _ = async { let _ = crashed.wait_for(|crashed| *crashed).await; } => {
                Err(PageError::Crashed.into())
            }
            answer = tokio::time::timeout(limit, call) => match answer {
                // The client library has a limit of its own.
                Err(_) | Ok(Err(CdpError::Timeout)) => Err(self.no_answer(name, called.elapsed()).await),
                Ok(answer) => Ok(answer.map_err(protocol)?),
            }
        }
    }

    /// The error of a call without an answer: the page is at fault where its browser answers.
    async fn no_answer(&self, call: &'static str, waited: Duration) -> WorkerError {
        let target = GetTargetInfoParams::builder().target_id(self.page.target_id().clone()).build();
        let seconds = waited.as_secs();
        match tokio::time::timeout(BROWSER_TIMEOUT, self.page.execute(target)).await {
            Ok(Ok(_)) => PageError::Unresponsive { call, seconds, begun: self.end_script().await }.into(),
            _ => ChromeError::Stalled { call, seconds }.into(),
        }
    }
}

impl Page {
    /// Ends the script that keeps the page from answering, and says at which moment of the composition it began.
    async fn end_script(&self) -> String {
        let asking = async {
            self.page.execute(TerminateExecutionParams::default()).await.ok()?;
            let call = EvaluateParams::builder().expression(STUCK_AT).return_by_value(true).build().ok()?;
            self.page.execute(call).await.ok()?.result.result.value?.as_f64()
        };
        match tokio::time::timeout(END_SCRIPT_TIMEOUT, asking).await {
            Ok(Some(ms)) if ms.is_finite() && ms >= 0.0 => {
                format!(", begun at {:.3} s of the composition", ms / 1000.0)
            }
            _ => String::new(),
        }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        for listener in &self.listeners {
            listener.abort();
        }
    }
}

fn push(events: &Mutex<VecDeque<PageEvent>>, event: PageEvent) {
    let mut events = events.lock();
    if events.len() == MAX_EVENTS {
        events.pop_front();
    }
    events.push_back(event);
}

fn drawn(damage: bool, shot: Option<chromiumoxide::types::Binary>) -> Result<DrawnFrame, ChromeError> {
    let png =
        shot.map(|data| base64::engine::general_purpose::STANDARD.decode(AsRef::<[u8]>::as_ref(&data))).transpose();
    let png = png.map_err(|error| ChromeError::Screenshot(error.to_string()))?;
    Ok(DrawnFrame { damage, png })
}

fn protocol(error: CdpError) -> ChromeError {
    ChromeError::Protocol(error.to_string())
}

/// The first line of an exception, with the place in its file.
fn exception_text(details: &chromiumoxide::cdp::js_protocol::runtime::ExceptionDetails) -> String {
    let thrown = details.exception.as_ref().map(object_text);
    let text = thrown.filter(|text| !text.is_empty()).unwrap_or_else(|| details.text.clone());
    let first = shortened(text.split(['\n', '\r']).next().unwrap_or_default());
    let stack = details.exception.as_ref().and_then(|thrown| thrown.description.as_deref()).unwrap_or_default();
    if let Some((file, line)) = thrown_at(stack) {
        return format!("{first} ({}:{line})", shortened(crate::urls::without_origin(file)));
    }
    match &details.url {
        Some(url) if !url.is_empty() => {
            format!("{first} ({}:{})", shortened(crate::urls::without_origin(url)), details.line_number + 1)
        }
        _ => first,
    }
}

/// File and line of the first call in a stack that is of a script of the page: a file, or an inline script, which has a
/// name without an origin. The farm's own code throws again what timers and frames of the page have thrown.
fn thrown_at(stack: &str) -> Option<(&str, u32)> {
    stack.lines().skip(1).find_map(|line| {
        let call = line.trim().strip_prefix("at ")?;
        let place = call.rsplit_once('(').map_or(call, |(_, place)| place.trim_end_matches(')'));
        let (place, _) = place.rsplit_once(':')?;
        let (file, line) = place.rsplit_once(':')?;
        let file = file.split(['?', '#']).next().unwrap_or_default();
        let is_script = file.ends_with(".js") || file.ends_with(".mjs");
        let is_name = file.contains('.') && !file.contains(|c: char| c.is_whitespace() || matches!(c, '<' | '(' | ','));
        let is_of_page = if file.contains("://") { is_script } else { is_name };
        let line = line.parse().ok().filter(|_| is_of_page && !file.contains("/__hyperfarm/"))?;
        Some((file, line))
    })
}

/// The first [`MESSAGE_CHARACTERS`] of a text, [legible](legible()).
pub(crate) fn shortened(text: &str) -> String {
    legible(text, MESSAGE_CHARACTERS).into_owned()
}

/// A value of the page on one line.
fn object_text(object: &chromiumoxide::cdp::js_protocol::runtime::RemoteObject) -> String {
    match (&object.description, &object.value) {
        (Some(description), _) => description.lines().next().unwrap_or_default().to_owned(),
        (None, Some(serde_json::Value::String(text))) => text.clone(),
        (None, Some(value)) => value.to_string(),
        (None, None) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exception_is_placed_in_the_page_s_own_script() {
        let own = "Error: boo\n    at run (http://0f.localhost:9/index.html:38:9)\n    at f (http://0f.localhost:9/__hyperfarm/runtime.js:7:1)";
        for (stack, expected) in [
            ("Error: boo\n    at index.html:15:9".to_owned(), Some(("index.html", 15))),
            (format!("{own}\n    at g (http://0f.localhost:9/a/b.js:3:2)"), Some(("http://0f.localhost:9/a/b.js", 3))),
            ("x\n    at http://0f.localhost:9/a.js?v=2:3:2".to_owned(), Some(("http://0f.localhost:9/a.js", 3))),
            ("x\n    at eval (eval at f (index.html:3:4), <anonymous>:1:1)".to_owned(), None),
            (own.to_owned(), None),
            ("boo".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(thrown_at(&stack), expected, "{stack}");
        }
    }
}
