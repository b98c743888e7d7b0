//! Starting and ending a browser.

use std::collections::VecDeque;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chromiumoxide::Browser;
use chromiumoxide::handler::HandlerConfig;
use futures::StreamExt;
use hyperfarm_proto::failure::{Failure, FailureCode};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use super::gpu::{Drawing, GetInfo, Gpu, device_groups};
use super::page::Page;
use super::{ChromeConfig, LaunchKey, PageLog, environment, flags};
use crate::framebuffer::{Framebuffer, GpuProcess};

/// From the start of the process to its first line.
const LAUNCH_TIMEOUT: Duration = Duration::from_secs(45);
/// Longest single protocol call. Frames have deadlines of their own, above this one.
const CALL_TIMEOUT: Duration = Duration::from_secs(120);
/// Lines of Chrome's own output kept for error messages.
const KEPT_LINES: usize = 20;
/// Characters of such a line.
const KEPT_CHARACTERS: usize = 300;

/// What is known of where the compositor draws.
enum Search {
    /// Not looked for yet.
    Pending,
    Found(Framebuffer),
    /// Looked for in vain, or no longer trusted.
    Over,
}

type Lines = Arc<Mutex<VecDeque<String>>>;

/// A running browser. Dropped, it is killed with all its processes and its folder is removed.
pub struct Chrome {
    key: LaunchKey,
    gpu: Option<Gpu>,
    browser: Browser,
    child: Child,
    group: Option<rustix::process::Pid>,
    tasks: Vec<JoinHandle<()>>,
    lines: Lines,
    framebuffer: Search,
    /// Whether the framebuffer was found by the last thing that the page showed.
    just_found: bool,
    // Last, so that the processes that write into it are gone before it is removed.
    _profile: TempDir,
}

impl Chrome {
    /// Starts a browser for `key`.
    pub async fn launch(config: &ChromeConfig, key: LaunchKey) -> Result<Self, Failure> {
        let profile = profile(config)?;
        let mut child = command(config, &key, profile.path()).spawn().map_err(|error| {
            Failure::new(
                FailureCode::ChromeLaunch,
                format!("{} cannot be started: {error}", config.executable.display()),
            )
        })?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        let guard = Group(group);
        let lines = Lines::default();
        let stderr = child.stderr.take().ok_or_else(|| launch_failure("Chrome has no standard error", &lines))?;
        let mut reader = BufReader::new(stderr).lines();
        let url = tokio::time::timeout(LAUNCH_TIMEOUT, async {
            while let Ok(Some(line)) = reader.next_line().await {
                if let Some(url) = line.strip_prefix("DevTools listening on ") {
                    return Some(url.trim().to_owned());
                }
                keep(&lines, line);
            }
            None
        })
        .await
        .map_err(|_| launch_failure("Chrome did not start within 45 s", &lines))?
        .ok_or_else(|| launch_failure("Chrome ended at its start", &lines))?;

        let kept = lines.clone();
        let drain = tokio::spawn(async move {
            while let Ok(Some(line)) = reader.next_line().await {
                tracing::debug!(target: "chrome", "{line}");
                keep(&kept, line);
            }
        });
        let handler_config =
            HandlerConfig { viewport: None, request_timeout: CALL_TIMEOUT, ..HandlerConfig::default() };
        let (browser, mut handler) = Browser::connect_with_config(url, handler_config)
            .await
            .map_err(|error| launch_failure(&format!("Chrome's protocol does not answer: {error}"), &lines))?;
        let pump = tokio::spawn(async move {
            while let Some(event) = handler.next().await {
                if let Err(error) = event {
                    tracing::debug!(target: "chrome", %error, "protocol");
                }
            }
        });
        std::mem::forget(guard);
        Ok(Self {
            key,
            gpu: config.gpu.clone(),
            browser,
            child,
            group,
            tasks: vec![drain, pump],
            lines,
            framebuffer: Search::Pending,
            just_found: false,
            _profile: profile,
        })
    }

    /// What it was launched for.
    pub fn key(&self) -> LaunchKey {
        self.key
    }

    /// Number of the browser's process, while it runs.
    pub fn process_id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Opens the browser's one page. A second page under begin-frame control would crash the GPU process.
    ///
    /// What it prints and throws goes into `log`.
    pub async fn open_page(&self, log: PageLog) -> Result<Page, Failure> {
        Page::open(&self.browser, self.key.viewport, log).await.map_err(|failure| self.explain(failure))
    }

    /// What it says that it draws with.
    pub(super) async fn drawing(&mut self) -> Result<Drawing, Failure> {
        let answer = self.browser.execute(GetInfo {}).await.map_err(|error| {
            Failure::new(FailureCode::ChromeCrashed, format!("Chrome does not say what it draws with: {error}"))
        })?;
        Ok(Drawing::of(&answer.result))
    }

    /// Fails where the GPU that should draw does not, or has failed since the start.
    pub async fn check_gpu(&mut self) -> Result<(), Failure> {
        let Some(gpu) = self.gpu.clone() else { return Ok(()) };
        self.drawing().await?.still(&gpu)
    }

    /// Where the compositor draws what the page shows; none where that cannot be found. The page shows something else afterwards.
    pub async fn framebuffer(&mut self, page: &mut Page) -> Result<Option<Framebuffer>, Failure> {
        let just_found = std::mem::take(&mut self.just_found);
        match &self.framebuffer {
            Search::Over => return Ok(None),
            Search::Found(known) if just_found => return Ok(Some(known.clone())),
            // It moves when the page's size changes, and the old place can stay readable.
            Search::Found(known) if known.shows(page, self.key.viewport).await? => return Ok(Some(known.clone())),
            Search::Found(_) | Search::Pending => {}
        }
        let Some(process) = self.child.id().and_then(GpuProcess::of) else {
            self.distrust_framebuffer("Chrome has no GPU process");
            return Ok(None);
        };
        match Framebuffer::find(page, process, self.key.viewport).await? {
            Ok(found) => {
                self.framebuffer = Search::Found(found.clone());
                Ok(Some(found))
            }
            Err(reason) => {
                self.distrust_framebuffer(&reason);
                Ok(None)
            }
        }
    }

    /// Finds the framebuffer before it is asked for: [`Chrome::framebuffer`] then answers it once without looking again.
    pub async fn look_ahead(&mut self, page: &mut Page) -> Result<(), Failure> {
        let found = self.framebuffer(page).await?.is_some();
        self.just_found = found;
        Ok(())
    }

    /// The framebuffer is not used in this browser any more.
    pub fn distrust_framebuffer(&mut self, reason: &str) {
        tracing::warn!(%reason, "this browser's frames are captured with screenshots, which is slower");
        self.just_found = false;
        self.framebuffer = Search::Over;
    }

    /// Whether the browser process is still there.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None)) && !self.tasks.iter().any(JoinHandle::is_finished)
    }

    /// Adds what Chrome last printed to a failure.
    pub fn explain(&self, failure: Failure) -> Failure {
        let tail = tail(&self.lines);
        if tail.is_empty() { failure } else { Failure::new(failure.code, format!("{failure} (Chrome: {tail})")) }
    }

    /// Ends every process of the browser and waits until they are gone.
    pub async fn kill(mut self) {
        kill_group(self.group.take());
        if tokio::time::timeout(Duration::from_secs(10), self.child.wait()).await.is_err() {
            tracing::warn!("Chrome's process does not end after SIGKILL");
        }
    }
}

impl Drop for Chrome {
    fn drop(&mut self) {
        kill_group(self.group.take());
        // The kernel reaps in its own time; the folder must not be removed under a process that still writes.
        for _ in 0..200 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Kills the group if the launch fails half way.
struct Group(Option<rustix::process::Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        kill_group(self.0.take());
    }
}

fn kill_group(group: Option<rustix::process::Pid>) {
    if let Some(group) = group {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
}

fn profile(config: &ChromeConfig) -> Result<TempDir, Failure> {
    let made = tempfile::Builder::new().prefix(&crate::sweep::prefix("chrome")).tempdir().and_then(|folder| {
        if let Some(user) = config.user {
            user.own(folder.path())?;
        }
        Ok(folder)
    });
    made.map_err(|error| {
        Failure::new(
            FailureCode::ChromeLaunch,
            format!("no folder for Chrome can be made in {}: {error}; set TMPDIR", std::env::temp_dir().display()),
        )
    })
}

/// `setpriv` (util-linux, essential on Debian) sets the parent-death signal and drops the rights before Chrome starts.
fn command(config: &ChromeConfig, key: &LaunchKey, profile: &std::path::Path) -> Command {
    let mut command = Command::new("setpriv");
    command.arg("--pdeathsig=KILL");
    if let Some(user) = config.user {
        command.arg(format!("--reuid={}", user.uid)).arg(format!("--regid={}", user.gid));
        let groups = if config.gpu.is_some() { device_groups() } else { Vec::new() };
        match groups.iter().map(u32::to_string).collect::<Vec<_>>().join(",") {
            none if none.is_empty() => command.arg("--clear-groups"),
            some => command.arg(format!("--groups={some}")),
        };
    }
    command
        .arg("--")
        .arg(&config.executable)
        .args(flags::all(config, key, profile))
        .env_clear()
        .envs(environment::of_browser(profile, config.gpu.is_some(), &|name| std::env::var_os(name)))
        .current_dir(profile)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    command
}

/// Keeps what Chrome itself says; what its pages print is in the render's own log.
fn keep(lines: &Lines, mut line: String) {
    if !line.starts_with('[') || line.contains(":CONSOLE") {
        return;
    }
    if let Some((end, _)) = line.char_indices().nth(KEPT_CHARACTERS) {
        line.truncate(end);
    }
    if let Ok(mut kept) = lines.lock() {
        if kept.len() == KEPT_LINES {
            kept.pop_front();
        }
        kept.push_back(line);
    }
}

fn tail(lines: &Lines) -> String {
    let Ok(kept) = lines.lock() else { return String::new() };
    let useful: Vec<&str> = kept.iter().map(String::as_str).filter(|line| !line.trim().is_empty()).collect();
    useful[useful.len().saturating_sub(3)..].join(" | ")
}

fn launch_failure(what: &str, lines: &Lines) -> Failure {
    let tail = tail(lines);
    let advice = if tail.contains("sandbox") || tail.contains("namespace") {
        "; where the kernel gives no user namespaces, set HYPERFARM_CHROME_SANDBOX=off"
    } else {
        ""
    };
    Failure::new(FailureCode::ChromeLaunch, format!("{what}: {tail}{advice}"))
}
