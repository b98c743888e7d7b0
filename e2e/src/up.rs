//! `hyperfarm up` with a folder of its own.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use hyperfarm_testing::Requirement;
use serde_json::Value;

use crate::cluster::KEY;
use crate::scene::Scene;

/// One process with every role, one slot and the key [`KEY`]. Dropped, it is killed: a signal would wait for its renders.
pub struct Up {
    child: Child,
    url: String,
}

impl Up {
    /// Starts it over the scene's folder `data`, with what `environment` adds.
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

    /// Where its API is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Ends it with a signal that nothing can catch, as a machine that loses its power does.
    pub fn kill(mut self) {
        self.end();
    }

    /// The body of a request with the key, by the `curl` command.
    pub fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
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

/// A file of what the tests of published examples need, which `scripts/setup.sh --test` installs; `None` where it is neither there nor
/// required.
pub fn documented(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("documented").join(name);
    if !path.exists() {
        Requirement::Servers.skip(format!("there is no {name}: run scripts/setup.sh --test"));
        return None;
    }
    Some(path)
}
