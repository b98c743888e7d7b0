//! A temporary folder for one test, and commands and renders in it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use hyperfarm_proto::record::Manifest;
use tempfile::TempDir;

/// Path of hyperfarm's binary in the build folder of the running test.
///
/// # Panics
/// Panics if the binary was not built.
pub fn binary() -> PathBuf {
    // Tests lie in `deps` below the folder of the binaries.
    let test = std::env::current_exe().expect("a test knows its own file");
    let folder = test.parent().and_then(Path::parent).expect("tests lie in target/PROFILE/deps");
    let binary = folder.join("hyperfarm");
    assert!(binary.is_file(), "{} is missing: run `cargo build --release` before these tests", binary.display());
    binary
}

/// Folder of an example.
pub fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name)
}

/// A small page that changes with every frame: a box that moves and turns, and a number that counts.
pub fn page(seconds: f64) -> String {
    format!(
        r##"<!doctype html><html><head><style>
body {{ margin: 0; background: #10243d; overflow: hidden }}
#box {{ position: absolute; width: 90px; height: 90px; background: linear-gradient(45deg, #ffb347, #e0407b); border-radius: 18px }}
#count {{ position: absolute; right: 24px; bottom: 16px; font: 700 64px monospace; color: #cfe8ff }}
</style></head><body>
<div data-composition-id="main" data-width="640" data-height="360" data-start="0" data-duration="{seconds}">
<div id="box"></div><div id="count">0</div></div>
<script>
const timeline = gsap.timeline({{ paused: true }});
timeline.fromTo("#box", {{ x: 20, y: 40, rotation: 0 }}, {{ x: 500, y: 220, rotation: 300, duration: {seconds}, ease: "sine.inOut" }}, 0);
const counter = {{ value: 0 }};
timeline.to(counter, {{ value: {seconds} * 30, duration: {seconds}, ease: "none", onUpdate() {{
  document.getElementById("count").textContent = Math.round(counter.value);
}} }}, 0);
window.__timelines = {{ main: timeline }};
</script></body></html>"##
    )
}

/// Result of a command.
pub struct Finished {
    /// Exit code; `None` after a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl From<Output> for Finished {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Finished {
    /// The result that `--json` printed.
    ///
    /// # Panics
    /// Panics with standard error if the command failed or printed no JSON.
    pub fn json(&self) -> serde_json::Value {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        serde_json::from_str(&self.stdout).expect("--json prints JSON")
    }
}

/// A folder with a temporary folder in it. Dropping it removes both.
pub struct Scene {
    folder: TempDir,
}

impl Default for Scene {
    fn default() -> Self {
        Self::new()
    }
}

impl Scene {
    /// An empty scene.
    ///
    /// # Panics
    /// Panics if the folder cannot be created.
    pub fn new() -> Self {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::Builder::new().prefix("hyperfarm-e2e-").tempdir().expect("a folder can be made");
        let temp = folder.path().join("tmp");
        std::fs::create_dir(&temp).expect("a folder can be made");
        // Chrome runs as another user where the test is root, and its folder lies in here.
        for path in [folder.path(), temp.as_path()] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("rights can be set");
        }
        Self { folder }
    }

    /// The path of `name` in the scene.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file and returns its path.
    ///
    /// # Panics
    /// Panics if the file cannot be written.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a name has a folder")).expect("a folder can be made");
        std::fs::write(&path, text).expect("a file can be written");
        path
    }

    /// Writes a project with this page and returns its folder.
    pub fn project(&self, name: &str, html: &str) -> PathBuf {
        self.write(&format!("{name}/index.html"), html);
        self.path(name)
    }

    /// A command of the binary, with the scene's temporary folder and data folder, and no cluster in its environment.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(args).env("TMPDIR", self.path("tmp")).env("HYPERFARM_DATA_DIR", self.path("data"));
        command.stdin(Stdio::null());
        for name in ["HYPERFARM_AMQP_URL", "HYPERFARM_REDIS_URL", "HYPERFARM_STORAGE_URL", "HYPERFARM_LOG"] {
            command.env_remove(name);
        }
        command
    }

    /// Runs the binary to its end.
    ///
    /// # Panics
    /// Panics if the binary cannot be started.
    pub fn run(&self, args: &[&str]) -> Finished {
        self.command(args).output().expect("the binary runs").into()
    }

    /// Starts the binary.
    ///
    /// # Panics
    /// Panics if the binary cannot be started.
    pub fn spawn(&self, args: &[&str]) -> Child {
        self.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs")
    }

    /// Renders `project` to `NAME.mp4`. Returns the path and the manifest.
    pub fn render(&self, project: &Path, name: &str, args: &[&str]) -> (PathBuf, Manifest) {
        self.render_as("mp4", project, name, args)
    }

    /// Renders `project` to `NAME.EXTENSION`. Returns the path and the manifest.
    ///
    /// # Panics
    /// Panics if the render fails.
    pub fn render_as(&self, extension: &str, project: &Path, name: &str, args: &[&str]) -> (PathBuf, Manifest) {
        let output = self.path(&format!("{name}.{extension}"));
        let manifest = self.path(&format!("{name}.json"));
        let mut all = vec!["render", text(project), "-o", text(&output), "--manifest", text(&manifest), "--json"];
        all.extend_from_slice(args);
        self.run(&all).json();
        let manifest = std::fs::read(manifest).expect("the manifest was written");
        (output, serde_json::from_slice(&manifest).expect("the manifest is one"))
    }

    /// Names of the files in the scene's temporary folder.
    ///
    /// # Panics
    /// Panics if the folder cannot be read.
    pub fn left_behind(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path("tmp")).expect("the folder is there");
        entries.map(|entry| entry.expect("an entry can be read").file_name().to_string_lossy().into_owned()).collect()
    }

    /// Process ids of browsers whose command line has the scene's temporary folder.
    pub fn browsers(&self) -> Vec<u32> {
        let temp = self.path("tmp").display().to_string();
        let has_folder = |pid: &u32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&temp)
        };
        pids().into_iter().filter(has_folder).collect()
    }

    /// Checks that a render has left no file and no process.
    ///
    /// # Panics
    /// Panics if something is left.
    pub fn assert_clean(&self, after: &str) {
        assert_eq!(self.left_behind(), Vec::<String>::new(), "files left after {after}");
        assert!(
            wait_until(Duration::from_secs(10), || self.browsers().is_empty()),
            "browsers left after {after}: {:?}",
            self.browsers()
        );
        let partial: Vec<_> = std::fs::read_dir(self.folder.path())
            .expect("the scene is there")
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| name.contains("partial"))
            .collect();
        assert!(partial.is_empty(), "half-written files left after {after}: {partial:?}");
    }
}

fn pids() -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").expect("/proc is there");
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Parent of a process; `None` if the process has ended.
fn parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold spaces and brackets; state and parent follow its last bracket.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    if fields.next()? == "Z" {
        return None;
    }
    fields.next()?.parse().ok()
}

/// All descendants of `pid`. Chrome's helpers are found by their ancestors, as their command lines have no name of
/// ours.
pub fn descendants(pid: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = pids().into_iter().filter_map(|child| Some((child, parent(child)?))).collect();
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(ancestor) = found.get(next).copied() {
        found.extend(parents.iter().filter(|(_, parent)| *parent == ancestor).map(|(child, _)| *child));
        next += 1;
    }
    found.split_off(1)
}

/// The processes among `processes` that are running.
pub fn running(processes: &[u32]) -> Vec<u32> {
    processes.iter().copied().filter(|pid| parent(*pid).is_some()).collect()
}

/// A path as text.
///
/// # Panics
/// Panics if it is not UTF-8.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are text")
}

/// Waits until `done` returns true. Returns false if it does not within `limit`.
pub fn wait_until(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        if done() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    done()
}
