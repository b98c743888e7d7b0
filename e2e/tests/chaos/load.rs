//! Renders that run all the time, and what is checked of each.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hyperfarm_e2e::scene::text;
use serde_json::Value;

use crate::RECOVERY;
use crate::compositions::{Composition, End};

/// Pause between two looks at the list of renders.
const POLL: Duration = Duration::from_millis(300);
/// How many times longer than the time without progress a wait may take in all.
const LONGEST_WAIT: u32 = 6;

/// A command of the binary with these arguments.
type MakeCommand = Box<dyn Fn(&[&str]) -> Command + Send + Sync>;

/// A client of the API. It asks the coordinators in turn until one answers, beginning with the one that did so last.
#[derive(Debug)]
pub(crate) struct Api {
    urls: Vec<String>,
    answered_last: AtomicUsize,
}

impl Api {
    /// A client of the coordinators at these URLs.
    pub(crate) fn new(urls: Vec<String>) -> Self {
        Self { urls, answered_last: AtomicUsize::new(0) }
    }

    /// The first result of `ask`, and makes its URL the first of the next call.
    fn first<T>(&self, ask: impl Fn(&str) -> Option<T>) -> Option<T> {
        let begin = self.answered_last.load(Ordering::Relaxed);
        (begin..begin + self.urls.len()).find_map(|at| {
            let at = at % self.urls.len();
            let answer = ask(&self.urls[at])?;
            self.answered_last.store(at, Ordering::Relaxed);
            Some(answer)
        })
    }

    /// The response to a request at one URL; `None` without one, or with an error.
    fn ask(url: &str, key: &str, method: &str, path: &str) -> Option<Value> {
        let answer = Command::new("curl")
            .args(["-sS", "--max-time", "3", "-X", method, "-H", &format!("x-api-key: {key}")])
            .args(["-H", "content-type: application/json"])
            .args(if method == "POST" { &["-d", "{}"][..] } else { &[] })
            .arg(format!("{url}{path}"))
            .output()
            .expect("curl runs");
        let answer: Value = serde_json::from_slice(&answer.stdout).ok()?;
        answer["error"].is_null().then_some(answer)
    }

    /// The response to a GET of the first coordinator that answers.
    pub(crate) fn get(&self, key: &str, path: &str) -> Option<Value> {
        self.first(|url| Self::ask(url, key, "GET", path))
    }

    /// Posts to the last coordinator that takes it.
    pub(crate) fn post(&self, key: &str, path: &str) -> Option<Value> {
        self.urls.iter().rev().find_map(|url| Self::ask(url, key, "POST", path))
    }

    /// Index of the coordinator that leads.
    pub(crate) fn leader(&self, key: &str) -> Option<usize> {
        let leads = |url: &String| {
            Self::ask(url, key, "GET", "/readyz").is_some_and(|answer| answer["data"]["scheduler"] == "active")
        };
        self.urls.iter().position(leads)
    }
}

/// A render that was submitted.
#[derive(Debug, Clone)]
pub(crate) struct Render {
    pub(crate) id: String,
    pub(crate) key: String,
    pub(crate) composition: Arc<Composition>,
    pub(crate) end: End,
    pub(crate) submitted: Instant,
    pub(crate) ended: Option<Instant>,
    /// The last state that the API has shown.
    pub(crate) detail: Value,
}

impl Render {
    /// Seconds from submission to the end, or until now.
    pub(crate) fn seconds(&self) -> f64 {
        self.ended.unwrap_or_else(Instant::now).duration_since(self.submitted).as_secs_f64()
    }

    /// A line that names it.
    pub(crate) fn line(&self) -> String {
        let status = self.detail["status"].as_str().unwrap_or("not seen");
        format!("{} ({}): {status}", self.id, self.composition.name)
    }
}

/// What the threads of a load share.
struct Shared {
    api: Api,
    keys: Vec<String>,
    steady: Vec<Arc<Composition>>,
    callback: String,
    command: MakeCommand,
    /// Folder of the renders in the folder of the S3 server.
    renders: PathBuf,
    renders_at_once: AtomicUsize,
    /// Held while a render is submitted to keep their number.
    filling: Mutex<()>,
    stop: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    renders: Vec<Render>,
    /// Bytes of the undisturbed outputs by the composition's name.
    expected: BTreeMap<&'static str, Vec<u8>>,
    /// Moments at which a chunk or a render was seen done.
    progress: Vec<Instant>,
    /// When the progress of any render was seen to change last.
    moved: Option<Instant>,
    violations: Vec<String>,
    next: usize,
}

/// The load of a farm. Dropping it stops its threads.
pub(crate) struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// A load that submits nothing yet. `command` gives a command of the binary, `keys` are of one space each.
    pub(crate) fn new(
        api: Api,
        keys: Vec<String>,
        steady: Vec<Composition>,
        callback: String,
        renders: PathBuf,
        command: impl Fn(&[&str]) -> Command + Send + Sync + 'static,
    ) -> Self {
        let shared = Arc::new(Shared {
            api,
            keys,
            steady: steady.into_iter().map(Arc::new).collect(),
            callback,
            command: Box::new(command),
            renders,
            renders_at_once: AtomicUsize::new(0),
            filling: Mutex::default(),
            stop: AtomicBool::new(false),
            state: Mutex::default(),
        });
        let repeat = |act: fn(&Shared)| {
            let shared = shared.clone();
            std::thread::spawn(move || {
                while !shared.stop.load(Ordering::Relaxed) {
                    act(&shared);
                    std::thread::sleep(POLL);
                }
            })
        };
        let threads = vec![repeat(Shared::look), repeat(Shared::fill)];
        Self { shared, threads }
    }

    /// Keeps this many renders under way from now on. A submission that has begun is over when this returns.
    pub(crate) fn renders_at_once(&self, number: usize) {
        self.shared.renders_at_once.store(number, Ordering::Relaxed);
        drop(self.shared.filling.lock());
    }

    /// Renders each composition once, undisturbed: its bytes are those that later ones must have.
    pub(crate) fn render_undisturbed(&self) {
        let shared = &self.shared;
        for (number, composition) in shared.steady.iter().enumerate() {
            let key = &shared.keys[number % shared.keys.len()];
            let id = self.submit(key, composition).expect("an undisturbed farm takes a render");
            assert!(self.wait_for(std::slice::from_ref(&id), RECOVERY).is_empty(), "{id} did not end");
            let bytes = shared.output(&id, composition).expect("an undisturbed render has an output");
            shared.state().expected.insert(composition.name, bytes);
        }
    }

    /// Submits a render; `None` if the farm does not take it.
    pub(crate) fn submit(&self, key: &str, composition: &Arc<Composition>) -> Option<String> {
        self.shared.submit(key, composition)
    }

    /// The key of the first space.
    pub(crate) fn key(&self) -> &str {
        &self.shared.keys[0]
    }

    /// The API.
    pub(crate) fn api(&self) -> &Api {
        &self.shared.api
    }

    /// The renders that have not ended.
    pub(crate) fn under_way(&self) -> Vec<Render> {
        self.shared.state().renders.iter().filter(|render| render.ended.is_none()).cloned().collect()
    }

    /// A copy of every render.
    pub(crate) fn renders(&self) -> Vec<Render> {
        self.shared.state().renders.clone()
    }

    /// Expects another end of a render.
    pub(crate) fn expect(&self, id: &str, end: End) {
        if let Some(render) = self.shared.state().renders.iter_mut().find(|render| render.id == id) {
            render.end = end;
        }
    }

    /// Waits until these renders have ended. Returns those that have not when no render has moved for `limit`: a busy
    /// machine is slow, but its renders move.
    pub(crate) fn wait_for(&self, ids: &[String], limit: Duration) -> Vec<Render> {
        let began = Instant::now();
        loop {
            let open: Vec<_> = self.under_way().into_iter().filter(|render| ids.contains(&render.id)).collect();
            let moved = self.shared.state().moved.filter(|moved| *moved > began).unwrap_or(began);
            if open.is_empty() || moved.elapsed() > limit || began.elapsed() > limit * LONGEST_WAIT {
                return open;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Longest time without progress since `from`, in seconds.
    pub(crate) fn longest_silence(&self, from: Instant) -> f64 {
        let state = self.shared.state();
        let moments = state.progress.iter().copied().filter(|moment| *moment > from);
        let mut last = from;
        let mut longest = Duration::ZERO;
        for moment in moments.chain([Instant::now()]) {
            longest = longest.max(moment.duration_since(last));
            last = moment;
        }
        longest.as_secs_f64()
    }

    /// Notes a violated promise.
    pub(crate) fn violated(&self, what: String) {
        eprintln!("VIOLATED: {what}");
        self.shared.state().violations.push(what);
    }

    /// The violated promises so far.
    pub(crate) fn violations(&self) -> Vec<String> {
        self.shared.state().violations.clone()
    }

    /// Checks of every ended render that no task counts twice.
    pub(crate) fn check_timelines(&self) {
        for render in self.renders() {
            let path = format!("/v3/hyperframes/renders/{}/timeline", render.id);
            let Some(timeline) = self.shared.api.get(&render.key, &path) else {
                self.violated(format!("{}: no timeline", render.line()));
                continue;
            };
            let mut committed: BTreeMap<String, usize> = BTreeMap::new();
            for span in timeline["data"]["spans"].as_array().into_iter().flatten() {
                if span["outcome"] == "committed" {
                    *committed.entry(format!("{} {}", span["kind"], span["chunk"])).or_default() += 1;
                }
            }
            for (task, count) in committed.iter().filter(|(_, count)| **count != 1) {
                self.violated(format!("{}: {task} counts {count} times", render.line()));
            }
            if render.detail["status"] == "completed" && committed.is_empty() {
                self.violated(format!("{}: an empty timeline", render.line()));
            }
            if timeline.to_string().contains("NON_DETERMINISTIC") {
                self.violated(format!("{}: two attempts have different bytes", render.line()));
            }
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn submit(&self, key: &str, composition: &Arc<Composition>) -> Option<String> {
        self.api.first(|url| {
            Api::ask(url, key, "GET", "/v3/hyperframes/renders?limit=1")?;
            let project = text(&composition.project);
            let arguments = ["render", project, "--farm", url, "--no-wait", "--json", "--format", composition.format];
            let mut command = (self.command)(&arguments);
            command.args(["--chunk-frames", composition.chunk_frames, "--quality", "draft"]);
            command.args(["--now", "2026-01-01T00:00:00Z", "--callback-url", &self.callback]);
            let submitted = Instant::now();
            let answer = command.env("HYPERFARM_API_KEY", key).output().expect("the binary runs");
            let answer: Value = serde_json::from_slice(&answer.stdout).ok()?;
            let id = answer["render_id"].as_str()?.to_owned();
            let render = Render {
                id: id.clone(),
                key: key.to_owned(),
                composition: composition.clone(),
                end: composition.end,
                submitted,
                ended: None,
                detail: Value::Null,
            };
            self.state().renders.push(render);
            Some(id)
        })
    }

    /// Submits a render if fewer are under way than should be.
    fn fill(&self) {
        let _filling = self.filling.lock();
        let (under_way, next) = {
            let mut state = self.state();
            state.next += 1;
            (state.renders.iter().filter(|render| render.ended.is_none()).count(), state.next)
        };
        if under_way < self.renders_at_once.load(Ordering::Relaxed) {
            self.submit(&self.keys[next % self.keys.len()], &self.steady[next % self.steady.len()]);
        }
    }

    /// Reads what became of the renders that are under way.
    fn look(&self) {
        for key in &self.keys {
            let Some(list) = self.api.get(key, "/v3/hyperframes/renders?limit=50") else { continue };
            for detail in list["data"].as_array().into_iter().flatten() {
                self.note(detail);
            }
        }
    }

    fn note(&self, detail: &Value) {
        let mut state = self.state();
        let now = Instant::now();
        let Some(at) = state.renders.iter().position(|render| detail["render_id"] == render.id.as_str()) else {
            return;
        };
        let render = &mut state.renders[at];
        if render.ended.is_some() {
            return;
        }
        let has_ended = matches!(detail["status"].as_str(), Some("completed" | "failed"));
        let chunks = |detail: &Value| detail["progress"]["chunks_done"].as_u64().unwrap_or(0);
        let has_moved = has_ended || chunks(detail) > chunks(&render.detail);
        let has_changed = render.detail["progress"] != detail["progress"];
        render.detail = detail.clone();
        if has_ended {
            render.ended = Some(now);
        }
        let render = render.clone();
        if has_moved {
            state.progress.push(now);
        }
        if has_moved || has_changed {
            state.moved = Some(now);
        }
        if has_ended {
            let wrong = self.wrong_end(&render, state.expected.get(render.composition.name));
            if let Some(wrong) = wrong {
                let what = format!("{}: {wrong}", render.line());
                eprintln!("VIOLATED: {what}");
                state.violations.push(what);
            }
        }
    }

    fn output(&self, id: &str, composition: &Composition) -> Option<Vec<u8>> {
        std::fs::read(self.renders.join(id).join(format!("output.{}", composition.format))).ok()
    }

    /// What is wrong about the end of a render.
    fn wrong_end(&self, render: &Render, expected: Option<&Vec<u8>>) -> Option<String> {
        let (status, code) = (&render.detail["status"], render.detail["error_code"].as_str().unwrap_or(""));
        match render.end {
            End::Cancelled if code.eq_ignore_ascii_case("cancelled") => None,
            End::Failed(codes) if codes.contains(&code) => None,
            End::Failed(codes) => Some(format!("must fail as {codes:?}, {code}: {}", render.detail["failure_message"])),
            End::Completed | End::Cancelled if status != "completed" => {
                Some(format!("{code}: {}", render.detail["failure_message"]))
            }
            End::Completed | End::Cancelled => {
                let bytes = self.output(&render.id, &render.composition);
                let differs = expected.is_some_and(|expected| bytes.as_ref() != Some(expected));
                let chunks = chunks_of_manifest(&self.renders.join(&render.id));
                let in_order: Vec<u64> = (0..chunks.len() as u64).collect();
                match () {
                    () if differs => Some("its bytes differ from the undisturbed ones".to_owned()),
                    () if chunks.is_empty() || chunks != in_order => {
                        Some(format!("chunks of its manifest: {chunks:?}"))
                    }
                    () => None,
                }
            }
        }
    }
}

/// The chunks of a render's manifest.
fn chunks_of_manifest(render: &Path) -> Vec<u64> {
    let manifest = std::fs::read(render.join("manifest.json")).unwrap_or_default();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap_or_default();
    let segments = manifest["segments"].as_array().cloned().unwrap_or_default();
    segments.iter().filter_map(|segment| segment["chunk"].as_u64()).collect()
}
