//! The one page of a browser: navigation, evaluation, begin-frames, and what the page says about itself.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine;
use chromiumoxide::Browser;
use chromiumoxide::cdp::browser_protocol::browser::{SetDownloadBehaviorBehavior, SetDownloadBehaviorParams};
use chromiumoxide::cdp::browser_protocol::dom::Rgba;
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
use chromiumoxide::cdp::browser_protocol::storage::ClearDataForOriginParams;
use chromiumoxide::cdp::browser_protocol::target::{
    CloseTargetParams, CreateTargetParams, EventTargetCreated, GetTargetInfoParams,
};
use chromiumoxide::cdp::js_protocol::runtime::{EvaluateParams, EventConsoleApiCalled, EventExceptionThrown};
use chromiumoxide::error::CdpError;
use futures::StreamExt;
use hyperfarm_proto::failure::{Failure, FailureCode};
use hyperfarm_proto::log::LogLevel;
use hyperfarm_proto::spec::Viewport;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::page_log::{PageLog, console_level};

/// Longest wait for one begin-frame before the capture counts as stalled.
const FRAME_TIMEOUT: Duration = Duration::from_secs(90);
/// Longest wait for one evaluation, a frame's seek included.
const EVALUATE_TIMEOUT: Duration = Duration::from_secs(90);
/// First frame time in milliseconds; anything above zero, the same in every browser.
const FIRST_TICK: f64 = 1000.0;
/// A browser that does not answer in this time is no better than its page.
const BROWSER_TIMEOUT: Duration = Duration::from_secs(10);
/// Characters of what a page says that are kept.
const KEPT_CHARACTERS: usize = 1000;
/// Messages kept for the render's warnings and errors.
const KEPT_EVENTS: usize = 100;
/// Tries at a begin-frame while another one is said to be pending.
const PENDING_TRIES: u32 = 6;

/// Something the page said or did by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PageEvent {
    /// A script threw and nobody caught it.
    Exception(String),
    /// `console.error` or `console.warn`.
    Console(String),
}

/// What a begin-frame should bring back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shot {
    /// Nothing: draw only.
    None,
    /// Run the page's side of the frame and draw nothing.
    Tick,
    /// A lossless PNG. With alpha the encoder must not take the fast path, which thresholds it.
    Png {
        /// Whether the page is drawn on a transparent ground.
        alpha: bool,
    },
}

/// Answer to a begin-frame.
#[derive(Debug)]
pub struct DrawnFrame {
    /// Whether anything changed; not to be trusted when a shot was asked for.
    pub damage: bool,
    /// The PNG file, if one was asked for and Chrome made it.
    pub png: Option<Vec<u8>>,
}

/// The page.
pub struct Page {
    page: chromiumoxide::Page,
    tick: f64,
    events: Arc<Mutex<VecDeque<PageEvent>>>,
    crashed: watch::Receiver<bool>,
    listeners: Vec<JoinHandle<()>>,
    scripts: Vec<ScriptIdentifier>,
    log: PageLog,
}

impl Page {
    pub(super) async fn open(browser: &Browser, viewport: Viewport, log: PageLog) -> Result<Self, Failure> {
        let output = viewport.output();
        let target = CreateTargetParams::builder()
            .url("about:blank")
            .width(i64::from(output.width))
            .height(i64::from(output.height))
            .enable_begin_frame_control(true)
            .build()
            .map_err(|error| Failure::new(FailureCode::Internal, error))?;
        let page = tokio::time::timeout(EVALUATE_TIMEOUT, browser.new_page(target))
            .await
            .map_err(|_| Failure::new(FailureCode::ChromeLaunch, "Chrome does not open a page"))?
            .map_err(|error| {
                Failure::new(FailureCode::ChromeLaunch, format!("Chrome does not open a page: {error}"))
            })?;
        let (crash, crashed) = watch::channel(false);
        let mut opened = Self {
            page,
            tick: FIRST_TICK,
            events: Arc::default(),
            crashed,
            listeners: Vec::new(),
            scripts: Vec::new(),
            log,
        };
        opened.listen(crash).await.map_err(protocol)?;
        opened.refuse_windows(browser).await.map_err(protocol)?;
        opened.resize(viewport).await?;
        let no_downloads = SetDownloadBehaviorParams::new(SetDownloadBehaviorBehavior::Deny);
        if let Err(error) = browser.execute(no_downloads).await {
            tracing::debug!(%error, "this Chrome has no downloads to refuse");
        }
        Ok(opened)
    }

    /// Lays the page out for `viewport`.
    pub async fn resize(&self, viewport: Viewport) -> Result<(), Failure> {
        let metrics = SetDeviceMetricsOverrideParams::new(
            i64::from(viewport.page.width),
            i64::from(viewport.page.height),
            f64::from(viewport.scale),
            false,
        );
        self.page.execute(metrics).await.map_err(protocol).map(|_| ())
    }

    /// Names the windows that the page wanted, and closes what would be there in spite of the browser's flag.
    async fn refuse_windows(&mut self, browser: &Browser) -> Result<(), chromiumoxide::error::CdpError> {
        let mut wanted = self.page.event_listener::<EventWindowOpen>().await?;
        let (events, log) = (self.events.clone(), self.log.clone());
        self.listeners.push(tokio::spawn(async move {
            while let Some(event) = wanted.next().await {
                let text = format!(
                    "the page wanted to open {} in a window; pages open none while they are rendered",
                    cut(crate::server::path_of(&event.url).to_owned())
                );
                log.say(LogLevel::Warning, &text);
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

    async fn listen(&mut self, crash: watch::Sender<bool>) -> Result<(), chromiumoxide::error::CdpError> {
        let mut exceptions = self.page.event_listener::<EventExceptionThrown>().await?;
        let mut console = self.page.event_listener::<EventConsoleApiCalled>().await?;
        let mut crashes = self.page.event_listener::<EventTargetCrashed>().await?;
        let mut dialogs = self.page.event_listener::<EventJavascriptDialogOpening>().await?;
        let (events, log) = (self.events.clone(), self.log.clone());
        self.listeners.push(tokio::spawn(async move {
            while let Some(event) = exceptions.next().await {
                let text = exception_text(&event.exception_details);
                log.say(LogLevel::Error, &text);
                push(&events, PageEvent::Exception(text));
            }
        }));
        let (events, log) = (self.events.clone(), self.log.clone());
        self.listeners.push(tokio::spawn(async move {
            while let Some(event) = console.next().await {
                let level = format!("{:?}", event.r#type).to_lowercase();
                let parts: Vec<String> = event.args.iter().map(object_text).collect();
                let text = cut(parts.join(" "));
                if !text.is_empty() {
                    log.say(console_level(&level), &text);
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
                // An open dialog would stop the page for ever.
                let _ = page.execute(HandleJavaScriptDialogParams::new(true)).await;
            }
        }));
        Ok(())
    }

    /// Forgets what earlier pages of this browser left: storage, injected scripts, messages.
    pub async fn reset(&mut self, origin: &str) -> Result<(), Failure> {
        for script in self.scripts.drain(..) {
            let remove = RemoveScriptToEvaluateOnNewDocumentParams::new(script);
            self.page.execute(remove).await.map_err(protocol)?;
        }
        self.page.execute(ClearDataForOriginParams::new(origin, "all")).await.map_err(protocol)?;
        if let Ok(mut events) = self.events.lock() {
            events.clear();
        }
        self.log.at(None);
        Ok(())
    }

    /// Runs `source` before any script of every frame of every later document.
    pub async fn inject(&mut self, source: &str) -> Result<(), Failure> {
        let script = AddScriptToEvaluateOnNewDocumentParams::new(source);
        let identifier = self.page.execute(script).await.map_err(protocol)?.result.identifier;
        self.scripts.push(identifier);
        Ok(())
    }

    /// Draws on nothing instead of white.
    pub async fn set_transparent(&self, transparent: bool) -> Result<(), Failure> {
        let mut ground = SetDefaultBackgroundColorOverrideParams::default();
        if transparent {
            ground.color = Some(Rgba { r: 0, g: 0, b: 0, a: Some(0.0) });
        }
        self.page.execute(ground).await.map_err(protocol).map(|_| ())
    }

    /// Starts a navigation; what becomes of it is the page host's to find out.
    pub async fn navigate(&mut self, url: &str) -> Result<(), Failure> {
        let answer = self.guarded(EVALUATE_TIMEOUT, "navigation", self.page.execute(NavigateParams::new(url))).await?;
        match answer.result.error_text {
            None => Ok(()),
            Some(error) => Err(Failure::new(FailureCode::PageNotReady, format!("{url} does not open: {error}"))),
        }
    }

    /// The value of `expression`, promises awaited. An exception of the page's is the user's failure.
    pub async fn evaluate<T: DeserializeOwned>(&self, expression: String) -> Result<T, Failure> {
        let call = EvaluateParams::builder()
            .expression(expression)
            .await_promise(true)
            .return_by_value(true)
            .build()
            .map_err(|error| Failure::new(FailureCode::Internal, error))?;
        let answer = self.guarded(EVALUATE_TIMEOUT, "script", self.page.execute(call)).await?.result;
        if let Some(details) = answer.exception_details {
            return Err(Failure::new(FailureCode::ScriptError, exception_text(&details)));
        }
        let value = answer.result.value.unwrap_or(serde_json::Value::Null);
        serde_json::from_value(value)
            .map_err(|error| Failure::new(FailureCode::Internal, format!("the page answered something else: {error}")))
    }

    /// One frame of the compositor. Frame times strictly increase and one frame is in flight, because the call is awaited.
    pub async fn begin_frame(&mut self, interval_ms: f64, shot: Shot) -> Result<DrawnFrame, Failure> {
        let mut wait = Duration::from_millis(40);
        for _ in 0..PENDING_TRIES {
            self.tick += interval_ms;
            let mut call = BeginFrameParams::builder().frame_time_ticks(self.tick).interval(interval_ms);
            match shot {
                Shot::None => {}
                Shot::Tick => call = call.no_display_updates(true),
                Shot::Png { alpha } => {
                    call = call.screenshot(
                        ScreenshotParams::builder()
                            .format(ScreenshotParamsFormat::Png)
                            .optimize_for_speed(!alpha)
                            .build(),
                    );
                }
            }
            match self.guarded(FRAME_TIMEOUT, "frame", self.page.execute(call.build())).await {
                Ok(answer) => return drawn(answer.result.has_damage, answer.result.screenshot_data),
                Err(failure) if failure.message.contains("frame is pending") => {
                    tokio::time::sleep(wait).await;
                    wait *= 2;
                }
                Err(failure) => return Err(failure),
            }
        }
        Err(Failure::new(
            FailureCode::CaptureStalled,
            "Chrome says that another frame is pending, again and again: the machine is overloaded; use fewer slots",
        ))
    }

    /// Has the browser give up every decoded picture that nothing shows any more. It would else keep them, by the hundred megabytes.
    pub async fn relieve(&self) -> Result<(), Failure> {
        let full = SimulatePressureNotificationParams::new(PressureLevel::Critical);
        self.guarded(EVALUATE_TIMEOUT, "notice", self.page.execute(full)).await.map(|_| ())
    }

    /// Notes which frame is sought, for the log.
    pub fn at(&self, frame: Option<u64>) {
        self.log.at(frame);
    }

    /// What the page said since it was opened or reset, oldest first.
    pub fn events(&self) -> Vec<PageEvent> {
        self.events.lock().map(|events| events.iter().cloned().collect()).unwrap_or_default()
    }

    /// A protocol call with a deadline that also ends when the page crashes.
    async fn guarded<T>(
        &self,
        limit: Duration,
        what: &str,
        call: impl Future<Output = Result<T, chromiumoxide::error::CdpError>>,
    ) -> Result<T, Failure> {
        let mut crashed = self.crashed.clone();
        let asked = Instant::now();
        tokio::select! {
            biased;
            _ = async { let _ = crashed.wait_for(|crashed| *crashed).await; } => {
                Err(Failure::new(FailureCode::PageCrashed, "the page crashed; it may need more memory than a slot has"))
            }
            answer = tokio::time::timeout(limit, call) => match answer {
                // The client library has a limit of its own.
                Err(_) | Ok(Err(CdpError::Timeout)) => Err(self.unanswered(what, asked.elapsed()).await),
                Ok(answer) => answer.map_err(protocol),
            }
        }
    }

    /// Whose fault it is that a call had no answer: the page's, where the browser around it answers.
    async fn unanswered(&self, what: &str, waited: Duration) -> Failure {
        let target = GetTargetInfoParams::builder().target_id(self.page.target_id().clone()).build();
        let seconds = waited.as_secs();
        match tokio::time::timeout(BROWSER_TIMEOUT, self.page.execute(target)).await {
            Ok(Ok(_)) => Failure::new(
                FailureCode::PageUnresponsive,
                format!(
                    "the page does not answer: a {what} took longer than {seconds} s. A script loops, or waits for what never comes"
                ),
            ),
            _ => Failure::new(
                FailureCode::CaptureStalled,
                format!("no answer to a {what} within {seconds} s, and none of the browser either"),
            ),
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
    if let Ok(mut events) = events.lock() {
        if events.len() == KEPT_EVENTS {
            events.pop_front();
        }
        events.push_back(event);
    }
}

fn drawn(damage: bool, shot: Option<chromiumoxide::types::Binary>) -> Result<DrawnFrame, Failure> {
    let png =
        shot.map(|data| base64::engine::general_purpose::STANDARD.decode(AsRef::<[u8]>::as_ref(&data))).transpose();
    let png =
        png.map_err(|error| Failure::new(FailureCode::ChromeCrashed, format!("a screenshot cannot be read: {error}")))?;
    Ok(DrawnFrame { damage, png })
}

fn protocol(error: chromiumoxide::error::CdpError) -> Failure {
    Failure::new(FailureCode::ChromeCrashed, format!("Chrome's protocol: {error}"))
}

fn exception_text(details: &chromiumoxide::cdp::js_protocol::runtime::ExceptionDetails) -> String {
    let thrown = details.exception.as_ref().map(object_text);
    let text = thrown.filter(|text| !text.is_empty()).unwrap_or_else(|| details.text.clone());
    let first = cut(text.split(['\n', '\r']).next().unwrap_or_default().to_owned());
    match &details.url {
        Some(url) if !url.is_empty() => {
            format!("{first} ({}:{})", crate::server::path_of(url), details.line_number + 1)
        }
        _ => first,
    }
}

/// At most [`KEPT_CHARACTERS`] of a text, and how many more there were. Control characters are escaped, line ends aside: the text is
/// shown on terminals.
fn cut(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(KEPT_CHARACTERS) {
        let more = text.len() - end;
        text.truncate(end);
        text.shrink_to_fit();
        text.push_str(&format!("… ({more} more bytes)"));
    }
    let obeyed = |c: char| {
        c.is_control() && !matches!(c, '\n' | '\t')
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(obeyed) {
        return text;
    }
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        if obeyed(c) {
            out.extend(c.escape_unicode())
        } else {
            out.push(c)
        }
        out
    })
}

fn object_text(object: &chromiumoxide::cdp::js_protocol::runtime::RemoteObject) -> String {
    match (&object.description, &object.value) {
        (Some(description), _) => description.lines().next().unwrap_or_default().to_owned(),
        (None, Some(serde_json::Value::String(text))) => text.clone(),
        (None, Some(value)) => value.to_string(),
        (None, None) => String::new(),
    }
}
