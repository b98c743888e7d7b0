//! A cluster of processes: coordinator, workers and stitcher over the test run's servers.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::scene::{Scene, text};
use crate::services::Services;

/// API key that the coordinators of tests accept.
pub const KEY: &str = "hf_e2e";

/// A cluster in a namespace of its own. Dropping it kills its processes.
pub struct Cluster {
    scene: Scene,
    services: Services,
    namespace: String,
    processes: Vec<(String, Child)>,
    url: String,
    environment: Vec<(&'static str, String)>,
    process_environment: Vec<(String, &'static str, String)>,
    metrics: Vec<(String, u16)>,
}

impl Cluster {
    /// Starts a coordinator, two workers of one slot and a stitcher.
    pub fn start(services: Services, name: &str) -> Self {
        Self::start_with(services, name, &[])
    }

    /// Starts the same processes with more environment variables.
    pub fn start_with(services: Services, name: &str, environment: &[(&'static str, &str)]) -> Self {
        let mut cluster = Self::new(services, name, environment);
        cluster.start_coordinator(&format!("127.0.0.1:{}", free_port()));
        for worker in ["worker-1", "worker-2"] {
            cluster.start_worker(worker);
        }
        cluster.start_stitcher();
        cluster
    }

    /// A cluster of no processes yet.
    pub fn new(services: Services, name: &str, environment: &[(&'static str, &str)]) -> Self {
        Self {
            scene: Scene::new(),
            services,
            namespace: format!("{name}-{}", std::process::id()),
            processes: Vec::new(),
            url: String::new(),
            environment: environment.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(),
            process_environment: Vec::new(),
            metrics: Vec::new(),
        }
    }

    /// Sets a variable for one process, by its name, each time it is started from now on.
    pub fn set_for(&mut self, process: &str, name: &'static str, value: &str) {
        self.process_environment.push((process.to_owned(), name, value.to_owned()));
    }

    /// Sets a variable for the processes that are started from now on.
    pub fn set(&mut self, name: &'static str, value: &str) {
        self.environment.retain(|(known, _)| *known != name);
        self.environment.push((name, value.to_owned()));
    }

    fn start_coordinator(&mut self, listen: &str) {
        self.start_coordinator_as("coordinator", listen);
    }

    /// Starts a coordinator that listens on `listen`. Clients use the one that was started last.
    pub fn start_coordinator_as(&mut self, name: &str, listen: &str) {
        let mut coordinator = self.spawn(name, &["coordinator", "--listen", listen]);
        let out = coordinator.stdout.take().expect("standard output is piped");
        let line = BufReader::new(out).lines().next().expect("the coordinator says where it listens").expect("text");
        self.url = line.rsplit(' ').next().expect("a URL").to_owned();
        self.processes.push((name.to_owned(), coordinator));
    }

    /// Starts one more coordinator. Returns the base URL of its API.
    pub fn start_second_coordinator(&mut self) -> String {
        let first = self.url.clone();
        self.start_coordinator_as("coordinator-2", &format!("127.0.0.1:{}", free_port()));
        std::mem::replace(&mut self.url, first)
    }

    /// Makes clients use the coordinator at this URL.
    pub fn use_coordinator(&mut self, url: &str) {
        url.clone_into(&mut self.url);
    }

    /// Replaces the coordinator by a new process at the same address.
    pub fn replace_coordinator(&mut self) {
        self.without_coordinator(|_| ());
    }

    /// Stops the coordinator, calls `action`, and starts a new coordinator at the same address.
    pub fn without_coordinator<T>(&mut self, action: impl FnOnce(&Self) -> T) -> T {
        self.stop_process("coordinator");
        let result = action(self);
        let listen = self.url.trim_start_matches("http://").to_owned();
        self.start_coordinator(&listen);
        result
    }

    /// Ends a process by SIGTERM, as an operator does: it drains.
    pub fn stop_process(&mut self, name: &str) {
        let ended = self.drain_process(name);
        assert!(ended.is_some_and(|status| status.success()), "{name}: {ended:?}\n{}", self.logs());
    }

    /// Ends a process by SIGTERM. Returns its exit status; `None` if it did not end in time and was killed.
    pub fn drain_process(&mut self, name: &str) -> Option<ExitStatus> {
        let at = self.processes.iter().position(|(found, _)| found == name).expect("there is such a process");
        let (_, mut child) = self.processes.remove(at);
        let ended = end(&mut child);
        if ended.is_none() {
            let _ = child.kill();
            let _ = child.wait();
        }
        ended
    }

    /// Whether a process of this name was started and neither killed nor drained.
    pub fn has(&self, name: &str) -> bool {
        self.processes.iter().any(|(found, _)| found == name)
    }

    /// Removes the processes that ended by themselves. Returns their names and exit statuses.
    pub fn take_ended(&mut self) -> Vec<(String, ExitStatus)> {
        let mut ended = Vec::new();
        self.processes.retain_mut(|(name, child)| match child.try_wait() {
            Ok(Some(status)) => {
                ended.push((name.clone(), status));
                false
            }
            _ => true,
        });
        ended
    }

    /// Starts a stitcher.
    pub fn start_stitcher(&mut self) {
        self.start_stitcher_as("stitcher");
    }

    /// Starts a stitcher of this name.
    pub fn start_stitcher_as(&mut self, name: &str) {
        let stitcher = self.spawn(name, &["stitcher"]);
        self.processes.push((name.to_owned(), stitcher));
    }

    /// Starts one more worker of one slot.
    pub fn start_worker(&mut self, name: &str) {
        let worker = self.spawn(name, &["worker", "--slots", "1"]);
        self.processes.push((name.to_owned(), worker));
    }

    fn spawn(&mut self, name: &str, args: &[&str]) -> Child {
        let port = free_port();
        self.metrics.retain(|(known, _)| known != name);
        self.metrics.push((name.to_owned(), port));
        // A process of the same name that ended before has written to the same file.
        let log = std::fs::File::options().create(true).append(true).open(self.scene.path(&format!("{name}.log")));
        let mut command = self.command(args);
        let own = self.process_environment.iter().filter(|(process, _, _)| process == name);
        command
            .env("HYPERFARM_METRICS_LISTEN", format!("127.0.0.1:{port}"))
            .envs(own.map(|(_, name, value)| (name, value)))
            .stdout(Stdio::piped())
            .stderr(log.expect("a log can be written"));
        command.spawn().expect("the binary runs")
    }

    /// A command of the binary with the cluster's environment.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.scene.command(args);
        command
            .env("HYPERFARM_AMQP_URL", &self.services.amqp_url)
            .env("HYPERFARM_REDIS_URL", &self.services.redis_url)
            .env("HYPERFARM_STORAGE_URL", format!("s3://{}/{}", self.services.bucket, self.namespace))
            .env("HYPERFARM_NAMESPACE", &self.namespace)
            .env("HYPERFARM_API_KEYS", KEY)
            .env("HYPERFARM_CONCURRENT_RENDERS", "1000")
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// First part of its Redis keys and queue names, and its folder in the bucket.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Base URL of the API.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Port of the metrics of each process, by its name.
    pub fn metrics(&self) -> &[(String, u16)] {
        &self.metrics
    }

    /// The scene of its processes.
    pub fn scene(&self) -> &Scene {
        &self.scene
    }

    /// Id of a process.
    pub fn pid(&self, name: &str) -> u32 {
        self.processes.iter().find(|(found, _)| found == name).expect("there is such a process").1.id()
    }

    /// Kills a process at once, as a machine that loses its power.
    pub fn kill(&mut self, name: &str) {
        let at = self.processes.iter().position(|(found, _)| found == name).expect("there is such a process");
        let (_, mut child) = self.processes.remove(at);
        child.kill().expect("it can be killed");
        child.wait().expect("it ends");
    }

    /// Renders through the CLI as a client of the farm. Returns the path of the video.
    pub fn render(&self, project: &Path, name: &str, args: &[&str]) -> PathBuf {
        let output = self.scene.path(&format!("{name}.mp4"));
        let mut all = vec!["render", text(project), "-o", text(&output), "--farm", &self.url, "--json"];
        all.extend_from_slice(args);
        let ended = self.scene.command(&all).env("HYPERFARM_API_KEY", KEY).output().expect("the binary runs");
        assert!(ended.status.success(), "{}\n{}", String::from_utf8_lossy(&ended.stderr), self.logs());
        output
    }

    /// Starts a render as [`render`](Self::render) does, without waiting for it.
    pub fn start_render(&self, project: &Path, name: &str, args: &[&str]) -> (Child, PathBuf) {
        let output = self.scene.path(&format!("{name}.mp4"));
        let mut all = vec!["render", text(project), "-o", text(&output), "--farm", &self.url, "--json"];
        all.extend_from_slice(args);
        let mut command = self.scene.command(&all);
        command.env("HYPERFARM_API_KEY", KEY).stdout(Stdio::piped()).stderr(Stdio::piped());
        (command.spawn().expect("the binary runs"), output)
    }

    /// Waits for a started render to succeed.
    pub fn finish(&self, render: Child) {
        let ended = render.wait_with_output().expect("it can be waited for");
        assert!(ended.status.success(), "{}\n{}", String::from_utf8_lossy(&ended.stderr), self.logs());
    }

    /// Waits until the newest render has committed or captured `frames` frames.
    pub fn wait_for_frames(&self, frames: u64) {
        let deadline = Instant::now() + Duration::from_secs(90);
        loop {
            let newest = self.get("/v3/hyperframes/renders?limit=1");
            let progress = &newest["data"][0]["progress"];
            if progress["frames_done"].as_u64().unwrap_or(0) >= frames {
                return;
            }
            assert_ne!(newest["data"][0]["status"], "completed", "the render was too quick for the test");
            assert!(Instant::now() < deadline, "no {frames} frames within 90 s: {newest}\n{}", self.logs());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The body of a GET.
    pub fn get(&self, path: &str) -> Value {
        let answer = Command::new("curl")
            .args(["-sS", "--max-time", "20", "-H", &format!("x-api-key: {KEY}"), &format!("{}{path}", self.url)])
            .output()
            .expect("curl runs");
        serde_json::from_slice(&answer.stdout).unwrap_or(json!(null))
    }

    /// The body that a POST answers.
    pub fn post(&self, path: &str, body: &Value) -> Value {
        let answer = Command::new("curl")
            .args(["-sS", "--max-time", "20", "-X", "POST", "-H", &format!("x-api-key: {KEY}")])
            .args(["-H", "content-type: application/json", "-d", &body.to_string(), &format!("{}{path}", self.url)])
            .output()
            .expect("curl runs");
        serde_json::from_slice(&answer.stdout).unwrap_or(json!(null))
    }

    /// The metrics of a process, as text.
    pub fn scrape(&self, name: &str) -> String {
        let (_, port) = self.metrics.iter().find(|(found, _)| found == name).expect("there is such a process");
        let url = format!("http://127.0.0.1:{port}/metrics");
        let answer = Command::new("curl").args(["-sS", "--max-time", "20", &url]).output().expect("curl runs");
        String::from_utf8_lossy(&answer.stdout).into_owned()
    }

    /// Waits until `test` is true; `what` says what it waits for.
    pub fn wait_until(&self, what: &str, test: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !test(self) {
            assert!(Instant::now() < deadline, "not so within 60 s: {what}\n{}", self.logs());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until the worker of a process, as the API lists it, satisfies `test`, and returns it.
    pub fn worker(&self, name: &str, test: impl Fn(&Value) -> bool) -> Value {
        let pid = format!("-{}-", self.pid(name));
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let listed = self.get("/v3/hyperframes/workers");
            let mut workers = listed["data"].as_array().cloned().unwrap_or_default().into_iter();
            let found = workers.find(|worker| worker["worker_id"].as_str().is_some_and(|id| id.contains(&pid)));
            if let Some(worker) = found.filter(&test) {
                return worker;
            }
            assert!(Instant::now() < deadline, "{name} is not so within 60 s: {listed}\n{}", self.logs());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until a process ends by itself. Returns whether its exit code was 0.
    pub fn wait_for_end(&mut self, name: &str) -> bool {
        let at = self.processes.iter().position(|(found, _)| found == name).expect("there is such a process");
        let (_, mut child) = self.processes.remove(at);
        let deadline = Instant::now() + Duration::from_secs(60);
        while Instant::now() < deadline {
            if let Ok(Some(status)) = child.try_wait() {
                return status.success();
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = child.kill();
        let _ = child.wait();
        false
    }

    /// The end of every process's log.
    pub fn logs(&self) -> String {
        let mut all = String::new();
        for name in ["coordinator", "coordinator-2", "worker-1", "worker-2", "worker-3", "stitcher"] {
            if let Ok(log) = std::fs::read_to_string(self.scene.path(&format!("{name}.log"))) {
                let lines: Vec<&str> = log.lines().collect();
                all.push_str(&format!("--- {name}\n{}\n", lines[lines.len().saturating_sub(25)..].join("\n")));
            }
        }
        all
    }

    /// Ends every process by SIGTERM. Returns those that did not end with exit code 0.
    pub fn stop(mut self) -> Vec<String> {
        let mut failed = Vec::new();
        for (name, child) in &mut self.processes {
            let ended = end(child);
            if !ended.is_some_and(|status| status.success()) {
                failed.push(format!("{name}: {ended:?}"));
            }
        }
        failed
    }
}

/// Ends a process by SIGTERM; `None` if it runs for 40 s more.
fn end(child: &mut Child) -> Option<ExitStatus> {
    let _ = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    let deadline = Instant::now() + Duration::from_secs(40);
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            _ if Instant::now() > deadline => return None,
            _ => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// A free port below the range of outgoing connections: one of those could take a port of that range before its server
/// does, or while the server restarts.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() * 61 % 10_000).expect("below 10,000");
    let port = || 20_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
    let is_free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    std::iter::repeat_with(port).take(12_000).find(is_free).expect("a port can be had")
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for (_, child) in &mut self.processes {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
