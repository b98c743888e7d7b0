//! Which Chrome a worker runs, and with what settings.

use std::path::{Path, PathBuf};

use hyperfarm_proto::spec::Viewport;

use super::environment;
use super::gpu::{Gpu, GpuConfig, GpuPart};
use super::namespace::PidNamespace;
use super::network::Network;
use super::settings::ChromeSettings;
use super::user::ChromeUser;
use super::watchdog::BrowserLimits;
use crate::error::{ChromeError, WorkerError};

/// Names of the executable under which distributions install a Chrome with begin-frame control.
const EXECUTABLES: &[&str] = &["chromium-headless-shell", "chrome-headless-shell", "headless_shell"];

/// Which Chrome a worker runs, and with what settings.
#[derive(Debug, Clone)]
pub struct ChromeConfig {
    /// Path of the executable.
    pub executable: PathBuf,
    /// Whether Chrome's own sandbox is on. `HYPERFARM_CHROME_SANDBOX=off` turns it off, for kernels that give an
    /// unprivileged user no namespaces.
    pub sandbox: bool,
    /// User that Chrome runs as; `None` where the worker is not root, and Chrome runs as the worker's user.
    pub user: Option<ChromeUser>,
    /// Whether frames may be read from the compositor's memory. Where they cannot be, they are read as screenshots.
    pub framebuffer: bool,
    /// What the operator asks of a GPU.
    pub gpu_config: GpuConfig,
    /// What the processes of a browser may use together.
    pub limits: BrowserLimits,
    /// How a browser gets a PID namespace.
    pub pid_namespace: PidNamespace,
    /// How browsers get a network of their own. Set by [`ChromeConfig::with_own_network`].
    pub network: Network,
    /// The GPU that draws; `None` where the processor draws. Set by [`ChromeConfig::with_gpu`].
    pub gpu: Option<Gpu>,
}

/// What decides the launch flags. A browser is reused only for an equal key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaunchKey {
    /// Page size and device scale.
    pub viewport: Viewport,
    /// Port of the slot's server, to which the browser sends every request.
    pub server_port: u16,
}

impl ChromeConfig {
    /// The Chrome that the settings name, or the first one on the path. No GPU draws before [`ChromeConfig::with_gpu`].
    ///
    /// # Errors
    ///
    /// [`ChromeError::Missing`] where there is no such executable, and [`ChromeError::NoUser`] where the worker is root and
    /// there is no user to run Chrome as.
    pub fn find(settings: &ChromeSettings) -> Result<Self, WorkerError> {
        let executable = match &settings.executable {
            Some(path) if !path.is_file() => {
                return Err(missing(format!("HYPERFARM_CHROME names {}, which is no file", path.display())).into());
            }
            Some(path) => path.clone(),
            None => find_on_path(&settings.path)
                .ok_or_else(|| missing(format!("none of {} is on the PATH", EXECUTABLES.join(", "))))?,
        };
        let user = ChromeUser::for_this_process()?;
        Ok(Self {
            executable: behind_wrapper(executable),
            sandbox: settings.sandbox,
            user,
            framebuffer: settings.framebuffer,
            limits: settings.limits,
            pid_namespace: PidNamespace::detect(user),
            gpu_config: settings.gpu,
            network: Network::Shared,
            gpu: None,
        })
    }

    /// Gives browsers a network of their own, where the kernel has one for them: a loopback interface on which only this
    /// worker is reached. For an ordinary user `program` makes it, which calls [`serve_network`](crate::serve_network) for
    /// [`NETWORK_COMMAND`](crate::NETWORK_COMMAND).
    #[must_use]
    pub fn with_own_network(self, program: impl AsRef<Path>) -> Self {
        let (network, error) = Network::detect(program.as_ref());
        if let Some(error) = error {
            tracing::warn!(
                %error,
                "the kernel gives Chrome no network of its own: local processes reach its DevTools port and the slots' servers"
            );
        }
        Self { network, ..self }
    }

    /// Whether frames are read from the compositor's memory: the settings allow it, and the compositor is not on a GPU.
    pub fn reads_framebuffer(&self) -> bool {
        self.framebuffer && self.gpu.as_ref().is_none_or(|gpu| gpu.part == GpuPart::Webgl)
    }

    /// Chrome's full version, for example `156.0.8078.79`.
    ///
    /// # Errors
    ///
    /// [`ChromeError::Missing`] where the executable does not run, does not answer within 20 seconds, or prints no
    /// version.
    pub async fn version(&self) -> Result<String, WorkerError> {
        let mut command = tokio::process::Command::new(&self.executable);
        command
            .arg("--version")
            .env_clear()
            .envs(environment::of_browser(&std::env::temp_dir(), false, &|name| std::env::var_os(name)))
            .stdin(std::process::Stdio::null())
            .kill_on_drop(true);
        let output = tokio::time::timeout(std::time::Duration::from_secs(20), command.output())
            .await
            .map_err(|_| missing(format!("{} --version does not answer", self.executable.display())))?
            .map_err(|error| missing(format!("{} cannot be run: {error}", self.executable.display())))?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !text.to_ascii_lowercase().contains("chrom") {
            let first = text.lines().next().unwrap_or_default();
            return Err(
                missing(format!("{} is no Chrome: --version printed `{first}`", self.executable.display())).into()
            );
        }
        text.split_whitespace()
            .find(|word| word.chars().next().is_some_and(|first| first.is_ascii_digit()) && word.contains('.'))
            .map(str::to_owned)
            .ok_or_else(|| {
                missing(format!("{} --version printed no version: {text}", self.executable.display())).into()
            })
    }
}

fn missing(what: String) -> ChromeError {
    ChromeError::Missing(what)
}

/// The program that a shell wrapper starts. Distributions wrap Chrome in a script that stays its parent process.
/// Without a PID namespace a parent-death signal would end the script and leave Chrome.
fn behind_wrapper(executable: PathBuf) -> PathBuf {
    let is_script = |path: &Path| {
        use std::io::Read;
        let mut start = [0; 2];
        std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok() && &start == b"#!"
    };
    if !is_script(&executable) {
        return executable;
    }
    let script = std::fs::read_to_string(&executable).unwrap_or_default();
    script
        .lines()
        .skip(1)
        .flat_map(str::split_whitespace)
        .map(|word| PathBuf::from(word.trim_matches(['"', '\''])))
        .find(|word| word.is_absolute() && word.is_file() && !is_script(word))
        .unwrap_or(executable)
}

fn find_on_path(path: &str) -> Option<PathBuf> {
    std::env::split_paths(path)
        .flat_map(|folder| EXECUTABLES.iter().map(move |name| folder.join(name)))
        .find(|candidate| candidate.is_file())
}

#[cfg(test)]
mod tests {
    use hyperfarm_backplane::config;
    use hyperfarm_proto::failure::FailureCode;

    use super::*;

    #[test]
    fn a_missing_chrome_says_what_to_do() {
        let of = |name: &'static str, value: &'static str| {
            let variables = move |asked: &str| (asked == name).then(|| value.to_owned());
            ChromeConfig::find(&config::read(&variables, ChromeSettings::read).unwrap())
        };
        let error = of("HYPERFARM_CHROME", "/nonexistent/chrome").unwrap_err();
        assert_eq!(error.code(), FailureCode::ChromeMissing);
        assert!(error.to_string().contains("/nonexistent/chrome"), "{error}");
        assert!(error.to_string().contains("chromium-headless-shell"), "{error}");
        assert_eq!(of("PATH", "/nonexistent").unwrap_err().code(), FailureCode::ChromeMissing);
    }
}
