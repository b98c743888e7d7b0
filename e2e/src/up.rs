//! `hyperfarm up`: every role in one process.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use hyperfarm_testing::Requirement;
use serde_json::Value;

use crate::cluster::KEY;
use crate::scene::{Finished, Scene};

/// One process with every role, one slot and the key [`KEY`]. Dropping it kills it: SIGTERM would wait for its renders.
pub struct Up {
    child: Child,
    url: String,
}

impl Up {
    /// Starts the process over the scene's folder `data`, with `environment` added.
    ///
    /// # Panics
    /// Panics if the process does not start.
    pub fn start(scene: &Scene, environment: &[(&str, &str)]) -> Self {
        let mut command = scene.command(&["up", "--listen", "127.0.0.1:0", "--slots", "1"]);
        let log = std::fs::File::options().create(true).append(true).open(scene.path("up.log"));
        command
            .env("HYPERFARM_API_KEYS", KEY)
            .env("HYPERFARM_CONCURRENT_RENDERS", "1000")
            .env("HYPERFARM_DATA_DIR", scene.path("data"))
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(log.expect("a log can be written"));
        let mut child = command.spawn().expect("the binary runs");
        let out = child.stdout.take().expect("standard output is piped");
        let line = BufReader::new(out).lines().next().expect("it says where it listens").expect("text");
        let url = line.rsplit(' ').next().expect("a URL").to_owned();
        Self { child, url }
    }

    /// Base URL of the API.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Runs a command of the scene against this farm, with the key and `--json`.
    ///
    /// # Panics
    /// Panics if the binary cannot be started.
    pub fn client(&self, scene: &Scene, args: &[&str]) -> Finished {
        let mut command = scene.command(&[args, &["--farm", self.url(), "--json"]].concat());
        command.env("HYPERFARM_API_KEY", KEY).output().expect("the binary runs").into()
    }

    /// Kills the process by SIGKILL, as a power failure would.
    pub fn kill(mut self) {
        self.end();
    }

    /// Sends a request with the key by the `curl` command. Returns the JSON body of the answer; null if it has none.
    ///
    /// # Panics
    /// Panics if `curl` cannot be started.
    pub fn request(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let mut command = Command::new("curl");
        command.args(["-sS", "--max-time", "20", "-X", method, "-H", &format!("x-api-key: {KEY}")]);
        if let Some(body) = body {
            command.args(["-H", "content-type: application/json", "-d", &body.to_string()]);
        }
        let answer = command.arg(format!("{}{path}", self.url)).output().expect("curl runs");
        serde_json::from_slice(&answer.stdout).unwrap_or_default()
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        self.end();
    }
}

/// A file that the tests of published examples need and `scripts/setup.sh --test` installs; `None` where it is missing
/// and the test is skipped.
pub fn documented(name: &str) -> Option<PathBuf> {
    installed("documented", name)
}

/// The same for the tests of published clients.
pub fn client(name: &str) -> Option<PathBuf> {
    installed("clients", name)
}

/// The archive of a published version of HyperFrames.
pub fn published_runtime(version: &str) -> Option<PathBuf> {
    installed("runtimes", &format!("hyperframes-{version}.tgz"))
}

fn installed(folder: &str, name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join(name);
    if !path.exists() {
        Requirement::Servers.skip(format!("there is no {name}: run scripts/setup.sh --test"));
        return None;
    }
    Some(path)
}
