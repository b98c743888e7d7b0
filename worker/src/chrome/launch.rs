//! A browser process: how it is started and ended.

use std::collections::VecDeque;
use std::process::Stdio;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use chromiumoxide::Browser;
use chromiumoxide::handler::HandlerConfig;
use futures::StreamExt;
use hyperfarm_backplane::local_disk::FolderKind;
use hyperfarm_isolation::NetworkSockets;
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::config::{ChromeConfig, LaunchKey};
use super::confinement::Confinement;
use super::gpu::{DrawingDevice, GetInfo, Gpu};
use super::namespace::PidNamespace;
use super::network::Started;
use super::page::Page;
use super::page_log::PageLog;
use super::user::device_groups;
use super::watchdog::BrowserEnd;
use super::{devtools, environment, flags, processes, watchdog};
use crate::error::{ChromeError, WorkerError};

/// Longest time from the start of the process to the line that names its DevTools address.
const LAUNCH_TIMEOUT: Duration = Duration::from_secs(45);
/// Longest call of the DevTools protocol. Calls of a page have deadlines of their own.
const CALL_TIMEOUT: Duration = Duration::from_secs(120);
/// Last lines of Chrome's output that are kept for error messages.
const OUTPUT_LINES: usize = 20;
/// Most characters of such a line.
const LINE_CHARACTERS: usize = 300;

/// Chrome's last lines on its standard error.
type Output = Arc<Mutex<VecDeque<String>>>;

/// A running browser. When it is dropped, all its processes are killed and its folder is removed.
pub struct Chrome {
    key: LaunchKey,
    gpu: Option<Gpu>,
    browser: Browser,
    /// Id of its first process.
    root: u32,
    pid_namespace: PidNamespace,
    group: Option<rustix::process::Pid>,
    /// Why it ended, once it has ended untold.
    end: watch::Receiver<Option<BrowserEnd>>,
    watching: JoinHandle<()>,
    tasks: Vec<JoinHandle<()>>,
    /// Listens in its own network, until somebody takes it.
    listener: Option<std::net::TcpListener>,
    /// The thread that has started its first process.
    _thread: mpsc::Sender<()>,
    output: Output,
    // Last, so that the processes that write into it are gone before it is removed.
    _profile: TempDir,
}

impl Chrome {
    /// Starts a browser for `key`.
    ///
    /// # Errors
    ///
    /// Those of [`ChromeError`] about a launch: no folder, no process, or no answer within 45 seconds.
    pub async fn launch(config: &ChromeConfig, key: LaunchKey) -> Result<Self, WorkerError> {
        let profile = profile(config)?;
        let Started { mut child, sockets, thread } = config
            .network
            .start(command(config, &key, profile.path()))
            .await
            .map_err(|source| ChromeError::Spawn { executable: config.executable.clone(), source })?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        let guard = KillOnDrop(group);
        let root = child.id().ok_or_else(|| launch_error("Chrome ended at its start", &Output::default()))?;
        let output = Output::default();
        let stderr = child.stderr.take().ok_or_else(|| launch_error("Chrome has no standard error", &output))?;
        let (end_sender, end) = watch::channel(None);
        // The drivers of a GPU map as much as they like.
        let data_limit = config.gpu.is_none().then(|| config.limits.memory.saturating_add(watchdog::UNUSED_DATA));
        let watching = watchdog::watch(child, config.pid_namespace, config.limits, data_limit, end_sender.clone());
        let watching = tokio::spawn(watching);
        let mut reader = BufReader::new(stderr).lines();
        let url = tokio::time::timeout(LAUNCH_TIMEOUT, async {
            while let Ok(Some(line)) = reader.next_line().await {
                if let Some(url) = line.strip_prefix("DevTools listening on ") {
                    return Some(url.trim().to_owned());
                }
                keep(&output, line);
            }
            None
        })
        .await
        .map_err(|_| launch_error("Chrome did not start within 45 s", &output))?
        .ok_or_else(|| launch_error("Chrome ended at its start", &output))?;

        let kept = output.clone();
        let drain = tokio::spawn(async move {
            while let Ok(Some(line)) = reader.next_line().await {
                tracing::debug!(target: "chrome", "{line}");
                keep(&kept, line);
            }
        });
        let no_answer = |error: &dyn std::fmt::Display| {
            launch_error(&format!("Chrome's protocol does not answer: {error}"), &output)
        };
        let mut tasks = vec![drain];
        let (url, listener) = match sockets {
            Some(NetworkSockets { listener, client }) => {
                let (url, forwarding) = devtools::forward(&url, client).await.map_err(|error| no_answer(&error))?;
                tasks.push(forwarding);
                (url.into(), Some(listener))
            }
            None => (url, None),
        };
        let handler_config =
            HandlerConfig { viewport: None, request_timeout: CALL_TIMEOUT, ..HandlerConfig::default() };
        let (browser, mut handler) =
            Browser::connect_with_config(url, handler_config).await.map_err(|error| no_answer(&error))?;
        tasks.push(tokio::spawn(async move {
            while let Some(event) = handler.next().await {
                if let Err(error) = event {
                    tracing::debug!(target: "chrome", %error, "protocol");
                }
            }
            watchdog::report(&end_sender, BrowserEnd::Gone);
        }));
        std::mem::forget(guard);
        Ok(Self {
            key,
            gpu: config.gpu.clone(),
            browser,
            root,
            pid_namespace: config.pid_namespace,
            group,
            end,
            watching,
            tasks,
            listener,
            _thread: thread,
            output,
            _profile: profile,
        })
    }

    /// The key that it was launched for.
    pub fn key(&self) -> LaunchKey {
        self.key
    }

    /// Id of the browser's process, while it runs.
    pub fn process_id(&self) -> Option<u32> {
        self.end.borrow().is_none().then_some(self.root)
    }

    /// The listener in its own network, to which it sends every request; `None` where it has the worker's network, or
    /// somebody has taken it.
    pub(crate) fn take_listener(&mut self) -> Option<std::net::TcpListener> {
        self.listener.take()
    }

    /// Measures how its processes are confined. A browser without a page has no renderer.
    pub fn confinement(&self) -> Confinement {
        Confinement::measure(self.root)
    }

    /// Opens the browser's one page. A second page under begin-frame control would crash the GPU process.
    ///
    /// The page's messages and exceptions are written to `log`.
    ///
    /// # Errors
    ///
    /// [`ChromeError::NoPage`] or [`ChromeError::OpenPage`], with Chrome's last output.
    pub async fn open_page(&self, log: PageLog) -> Result<Page, WorkerError> {
        Page::open(&self.browser, self.key.viewport, log, self.end.clone())
            .await
            .map_err(|error| self.with_output(error))
    }

    /// The device that it draws with.
    pub(super) async fn drawing_device(&mut self) -> Result<DrawingDevice, ChromeError> {
        let answer = self.browser.execute(GetInfo {}).await;
        let answer = answer.map_err(|error| ChromeError::Protocol(format!("no answer about the GPU: {error}")))?;
        Ok(DrawingDevice::from_info(&answer.result))
    }

    /// Checks that the GPU that should draw still does. Without a GPU there is nothing to check.
    ///
    /// # Errors
    ///
    /// [`ChromeError::GpuLost`] where it does not draw, or has failed since the start.
    pub async fn check_gpu(&mut self) -> Result<(), WorkerError> {
        let Some(gpu) = self.gpu.clone() else { return Ok(()) };
        Ok(self.drawing_device().await?.check_unchanged(&gpu)?)
    }

    /// Whether the browser's process runs and its protocol is served.
    pub fn is_alive(&self) -> bool {
        self.end.borrow().is_none() && !self.tasks.iter().any(JoinHandle::is_finished)
    }

    /// The error of a browser that ended untold; `None` while it runs.
    pub(crate) fn end_error(&self) -> Option<WorkerError> {
        (*self.end.borrow()).map(WorkerError::from)
    }

    /// Whether it has ended, or does within `time`.
    pub(crate) async fn ends_within(&self, time: Duration) -> bool {
        let mut end = self.end.clone();
        tokio::time::timeout(time, end.wait_for(Option::is_some)).await.is_ok()
    }

    /// `error` with the last lines that Chrome has printed, if it has.
    pub(crate) fn with_output(&self, error: WorkerError) -> WorkerError {
        let output = tail(&self.output);
        if output.is_empty() { error } else { WorkerError::WithOutput { source: Box::new(error), output } }
    }

    /// Ends every process of the browser and waits until they are gone.
    pub async fn kill(mut self) {
        processes::kill_tree(self.root, self.pid_namespace);
        if tokio::time::timeout(Duration::from_secs(10), &mut self.watching).await.is_err() {
            tracing::warn!("Chrome's process does not end after SIGKILL");
        }
    }
}

impl Chrome {
    fn abort_tasks(&self) {
        self.watching.abort();
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Drop for Chrome {
    fn drop(&mut self) {
        if self.watching.is_finished() {
            self.abort_tasks();
            return;
        }
        processes::kill_tree(self.root, self.pid_namespace);
        // A killed process ends some time later; the folder must not be removed while one still writes into it.
        for _ in 0..200 {
            if !processes::is_alive(self.root) {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        kill_group(self.group.take());
        self.abort_tasks();
    }
}

/// Kills a process group when it is dropped: the launch has failed half way.
struct KillOnDrop(Option<rustix::process::Pid>);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        kill_group(self.0.take());
    }
}

fn kill_group(group: Option<rustix::process::Pid>) {
    if let Some(group) = group {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
}

/// A folder for everything that the browser writes, owned by its user.
fn profile(config: &ChromeConfig) -> Result<TempDir, ChromeError> {
    let created = FolderKind::Chrome.create_in(&std::env::temp_dir(), "").and_then(|folder| {
        if let Some(user) = config.user
            && let Some(shut) = user.shut_folder(&std::env::temp_dir())
        {
            let reason = format!(
                "Chrome runs as the user with the id {}, who may not enter {} (chmod o+x lets it)",
                user.uid,
                shut.display()
            );
            return Err(std::io::Error::new(std::io::ErrorKind::PermissionDenied, reason));
        }
        if let Some(user) = config.user {
            user.take_ownership(folder.path())?;
        }
        Ok(folder)
    });
    created.map_err(|source| ChromeError::Profile { folder: std::env::temp_dir(), source })
}

/// The command that starts Chrome. `setpriv` (util-linux, essential on Debian) sets the parent-death signal and gives
/// up root before Chrome starts. `unshare` (util-linux) makes its PID namespace.
fn command(config: &ChromeConfig, key: &LaunchKey, profile: &std::path::Path) -> Command {
    let mut command = config.network.command("setpriv");
    command.arg("--pdeathsig=KILL");
    if config.pid_namespace != PidNamespace::None {
        command.args(["--", "unshare"]).args(config.pid_namespace.arguments(config.user));
        // A change of the user takes the parent-death signal away.
        command.args(["setpriv", "--pdeathsig=KILL"]);
    }
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

/// Keeps a line of Chrome itself. What its pages print is in the log of their render.
fn keep(output: &Output, mut line: String) {
    if !line.starts_with('[') || line.contains(":CONSOLE") {
        return;
    }
    if let Some((end, _)) = line.char_indices().nth(LINE_CHARACTERS) {
        line.truncate(end);
    }
    let mut kept = output.lock();
    if kept.len() == OUTPUT_LINES {
        kept.pop_front();
    }
    kept.push_back(line);
}

/// The last three lines that are not blank.
fn tail(output: &Output) -> String {
    let kept = output.lock();
    let useful: Vec<&str> = kept.iter().map(String::as_str).filter(|line| !line.trim().is_empty()).collect();
    useful[useful.len().saturating_sub(3)..].join(" | ")
}

fn launch_error(reason: &str, output: &Output) -> ChromeError {
    let output = tail(output);
    let advice = if output.contains("sandbox") || output.contains("namespace") {
        "; where the kernel gives no user namespaces, set HYPERFARM_CHROME_SANDBOX=off"
    } else {
        ""
    };
    ChromeError::Launch { reason: reason.to_owned(), output, advice }
}
