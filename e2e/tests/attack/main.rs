//! Hostile inputs on a farm of two slots, beside a neighbour's render whose bytes are compared.
//!
//! `make attack` renders every page of [`pages::PAGES`] and the projects of the folder `HYPERFARM_HOSTILE_INPUTS`
//! (`../shared/cases/untrusted` if there is one), and prints a table. A few pages run with the other tests.

#![allow(clippy::unwrap_used)]

mod pages;

use std::io::Read;
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hyperfarm_e2e::scene::descendants;
use hyperfarm_e2e::{Scene, page, text};
use serde_json::Value;

/// Longest time of a hostile render: two attempts that end at the stall deadline, with their start and a pause between.
const LONGEST: Duration = Duration::from_secs(180);
/// Longest time from the end of a hostile render until nothing of it is left.
const SLOT_BACK: Duration = Duration::from_secs(5);
/// Most MiB of Chrome's processes: two browsers at their limit, and what one allocates between two measurements.
const MOST_CHROME_MB: u64 = 4600;
/// Most MiB of the farm's own process.
const MOST_FARM_MB: u64 = 500;
/// Least MiB of memory of Chrome's processes that count as left over: two idle browsers have less.
const LEFT_OVER_MB: u64 = 1000;
/// A secret in the farm's environment, which must be in no message.
const SECRET: &str = "canary-5f0c1f2a9b";

/// What must happen to a hostile render.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Must {
    /// It completes, with a warning that has this text.
    Complete(&'static str),
    /// It fails with one of these codes.
    Fail(&'static [&'static str]),
    /// It completes, or fails as the user's fault.
    Contain,
    /// It is refused when it is submitted.
    Refuse,
}

/// Codes of failures that are the user's.
fn is_users(code: &str) -> bool {
    hyperfarm_proto::failure::FailureCode::ALL
        .iter()
        .any(|known| known.as_str() == code && known.owner() == hyperfarm_proto::failure::Owner::User)
}

/// Listeners on the addresses that hostile pages try.
struct Listeners {
    reached: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Listeners {
    fn start() -> Self {
        let (reached, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        for address in
            ["127.0.0.1:9901", "127.0.0.2:9901", "127.0.0.3:9901", "[::1]:9901", "0.0.0.0:9902", "127.0.0.1:6399"]
        {
            // Without IPv6 there is nothing to reach.
            let Ok(listener) = TcpListener::bind(address) else { continue };
            listener.set_nonblocking(true).unwrap();
            let (reached, stop) = (reached.clone(), stop.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    if listener.accept().is_ok() {
                        reached.fetch_add(1, Ordering::Relaxed);
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
        }
        for port in [3478, 4433] {
            let Ok(socket) = UdpSocket::bind(("127.0.0.1", port)) else { continue };
            socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            let (reached, stop) = (reached.clone(), stop.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    if socket.recv(&mut [0; 64]).is_ok() {
                        reached.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        Self { reached, stop }
    }

    /// Number of connections and datagrams since the last call.
    fn reached(&self) -> u64 {
        self.reached.swap(0, Ordering::Relaxed)
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// A farm of one process with two slots, and a key for each of two spaces.
struct Farm {
    scene: Scene,
    process: Child,
    url: String,
    hostile: String,
    neighbour: String,
}

impl Farm {
    fn start(environment: &[(&str, &str)]) -> Self {
        let scene = Scene::new();
        let key = |space: &str| {
            let mut command =
                scene.command(&["keys", "create", space, "--space", space, "--max-concurrent", "50", "--json"]);
            let made = command.env("HYPERFARM_DATA_DIR", scene.path("data")).output().unwrap();
            let made: Value = serde_json::from_slice(&made.stdout).expect("a key is made");
            made["key"].as_str().expect("a key has a text").to_owned()
        };
        let (hostile, neighbour) = (key("hostile"), key("neighbour"));
        let mut process = scene
            .command(&["up", "--listen", "127.0.0.1:0", "--slots", "2"])
            .env("HYPERFARM_DATA_DIR", scene.path("data"))
            .env("HYPERFARM_CALLBACK_SECRET", SECRET)
            .env("HYPERFARM_LOG", "info")
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(scene.path("up.log")).unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(process.stdout.take().unwrap()), &mut line).unwrap();
        let url = line.trim().rsplit(' ').next().unwrap().to_owned();
        Self { scene, process, url, hostile, neighbour }
    }

    fn is_alive(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }

    /// The command that renders `project` on the farm.
    fn render(&self, key: &str, project: &Path, arguments: &[&str]) -> Command {
        let mut all = vec!["render", text(project), "--farm", &self.url, "--json"];
        all.extend_from_slice(arguments);
        let mut command = self.scene.command(&all);
        command.env("HYPERFARM_API_KEY", key);
        command
    }

    /// Renders the neighbour's page to a file of this name.
    fn neighbour(&self, name: &str) -> (Child, PathBuf) {
        let project = self.scene.project("neighbour", &page(2.0));
        let output = self.scene.path(&format!("{name}.mp4"));
        let arguments = ["-o", text(&output), "--chunk-frames", "30"];
        let child = self.render(&self.neighbour, &project, &arguments).stdout(Stdio::null()).spawn().unwrap();
        (child, output)
    }

    /// A render of the hostile space.
    fn detail(&self, id: &str) -> Value {
        let mut command = Command::new("curl");
        command.args(["-sS", "--max-time", "10", "-H", &format!("x-api-key: {}", self.hostile)]);
        let answer = command.arg(format!("{}/v3/hyperframes/renders/{id}", self.url)).output().unwrap();
        let answer: Value = serde_json::from_slice(&answer.stdout).unwrap_or_default();
        answer["data"].clone()
    }

    /// Cancels a render of the hostile space, unless it has ended.
    fn cancel(&self, id: &str) {
        let mut command = self.scene.command(&["renders", "cancel", id, "--farm", &self.url]);
        command.env("HYPERFARM_API_KEY", &self.hostile).output().unwrap();
    }

    /// MiB of anonymous and shared memory of Chrome's processes. Shared memory counts in each that maps it.
    fn chrome_mb(&self) -> u64 {
        descendants(self.process.id()).into_iter().map(|id| field_mb(id, "RssAnon:") + field_mb(id, "RssShmem:")).sum()
    }

    /// Processor seconds of Chrome's processes.
    fn chrome_seconds(&self) -> f64 {
        let ticks = |id: u32| {
            let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            let fields: Vec<u64> = stat
                .rsplit_once(')')
                .map(|(_, rest)| {
                    rest.split_whitespace().skip(11).take(2).filter_map(|text| text.parse().ok()).collect()
                })
                .unwrap_or_default();
            fields.iter().sum::<u64>()
        };
        descendants(self.process.id()).into_iter().map(ticks).sum::<u64>() as f64 / 100.0
    }

    /// Runs one hostile project beside the neighbour's render. Returns what happened, and whether that is as it must
    /// be.
    fn attack(&mut self, project: &Path, must: Must, alone: &[u8], listeners: &Listeners) -> (String, bool) {
        let started = Instant::now();
        let (mut neighbour, output) = self.neighbour("beside");
        let submitted = self.render(&self.hostile, project, &["--no-wait"]).output().unwrap();
        let submitted_text = String::from_utf8_lossy(&submitted.stderr).into_owned();
        let id = serde_json::from_slice::<Value>(&submitted.stdout)
            .ok()
            .and_then(|answer| answer["render_id"].as_str().map(str::to_owned));
        // A peak is forgotten by this write.
        let _ = std::fs::write(format!("/proc/{}/clear_refs", self.process.id()), "5");
        let (mut peak, mut detail) = (0, Value::Null);
        if let Some(id) = &id {
            let mut asked = Instant::now();
            while started.elapsed() < LONGEST {
                peak = peak.max(self.chrome_mb());
                if asked.elapsed() > Duration::from_millis(500) {
                    asked = Instant::now();
                    detail = self.detail(id);
                    if matches!(detail["status"].as_str(), Some("completed" | "failed")) {
                        break;
                    }
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            if started.elapsed() >= LONGEST {
                self.cancel(id);
            }
        }
        let took = started.elapsed();
        let (status, code) = (detail["status"].as_str().unwrap_or(""), detail["error_code"].as_str().unwrap_or(""));
        let message = detail["failure_message"].as_str().unwrap_or("").to_owned();
        let mut wrong = Vec::new();
        let as_it_must = match must {
            Must::Complete(warning) => status == "completed" && detail["warnings"].to_string().contains(warning),
            Must::Fail(codes) => status == "failed" && codes.contains(&code),
            Must::Contain => id.is_none() || status == "completed" || (status == "failed" && is_users(code)),
            Must::Refuse => id.is_none() && submitted.status.code() == Some(1),
        };
        if !as_it_must {
            wrong.push(format!("must {must:?}"));
        }
        let neighbour = neighbour.wait().unwrap();
        let left = Instant::now();
        while self.chrome_mb() > LEFT_OVER_MB && left.elapsed() < SLOT_BACK {
            std::thread::sleep(Duration::from_millis(50));
        }
        if self.chrome_mb() > LEFT_OVER_MB {
            wrong.push(format!("{} MiB of Chrome are left", self.chrome_mb()));
        }
        let before = self.chrome_seconds();
        std::thread::sleep(Duration::from_secs(2));
        let busy = self.chrome_seconds() - before;
        if busy > 1.0 {
            wrong.push(format!("Chrome used {busy:.1} s of 2 s after the end"));
        }
        if !neighbour.success() || std::fs::read(&output).ok().as_deref() != Some(alone) {
            wrong.push("the neighbour's video differs".to_owned());
        }
        if !self.is_alive() {
            wrong.push("the farm ended".to_owned());
        }
        let farm = field_mb(self.process.id(), "VmHWM:");
        if peak > MOST_CHROME_MB || farm > MOST_FARM_MB {
            wrong.push("memory".to_owned());
        }
        let reached = listeners.reached();
        if reached > 0 {
            wrong.push(format!("{reached} requests left the page"));
        }
        if message.len() > 2200 || [&message, &detail["warnings"].to_string()].iter().any(|text| text.contains(SECRET))
        {
            wrong.push("the message".to_owned());
        }
        let shown: String = if id.is_some() { message } else { submitted_text }.chars().take(150).collect();
        let happened = format!(
            "{} {code} in {:.0} s, Chrome {peak} MiB, farm {farm} MiB; {}{}",
            if id.is_some() { status } else { "refused" },
            took.as_secs_f64(),
            shown.replace('\n', " "),
            if wrong.is_empty() { String::new() } else { format!(" WRONG: {}", wrong.join("; ")) }
        );
        (happened, wrong.is_empty())
    }

    /// The video of the neighbour's render with nothing beside it.
    fn alone(&self) -> Vec<u8> {
        let (mut child, output) = self.neighbour("alone");
        assert!(child.wait().unwrap().success());
        let mut bytes = Vec::new();
        std::fs::File::open(output).unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    }

    /// Runs `attacks`, each a name, a project and what must happen, and fails if one is not as it must be.
    fn run(mut self, attacks: &[(String, PathBuf, Must)]) {
        let listeners = Listeners::start();
        let alone = self.alone();
        let mut failed = Vec::new();
        eprintln!("| input | what must happen | what happened |\n| --- | --- | --- |");
        for (name, project, must) in attacks {
            let (happened, is_right) = self.attack(project, *must, &alone, &listeners);
            eprintln!("| {name} | {must:?} | {happened} |");
            if !is_right {
                failed.push(name.clone());
            }
            assert!(self.is_alive(), "{name} ended the farm");
        }
        let log = std::fs::read_to_string(self.scene.path("up.log")).unwrap();
        assert!(!log.contains(SECRET), "a secret is in the log");
        assert!(!log.contains("quarantine"), "a hostile render put the worker into quarantine");
        assert!(
            failed.is_empty(),
            "{} of {} are not as they must be: {}",
            failed.len(),
            attacks.len(),
            failed.join(", ")
        );
    }
}

impl Drop for Farm {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// MiB of a field of `/proc/PID/status`.
fn field_mb(id: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let value = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0");
    value.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) / 1024
}

/// The pages of the project, each with a sound.
fn own(farm: &Farm, is_wanted: impl Fn(&str) -> bool) -> Vec<(String, PathBuf, Must)> {
    let wanted = pages::PAGES.iter().filter(|(name, _, _)| is_wanted(name));
    wanted
        .map(|(name, must, script)| {
            farm.scene.write(&format!("{name}/a.wav"), silence());
            ((*name).to_owned(), farm.scene.project(name, &pages::document(script)), *must)
        })
        .collect()
}

/// A second of silence as a WAV file: one channel of 16 bits at 8000 samples a second.
fn silence() -> Vec<u8> {
    const DATA: u32 = 16_000;
    let header = [b"RIFF".as_slice(), &(DATA + 36).to_le_bytes(), b"WAVEfmt ", &16_u32.to_le_bytes()].concat();
    let format = [&[1, 0, 1, 0], &8000_u32.to_le_bytes()[..], &DATA.to_le_bytes(), &[2, 0, 16, 0]].concat();
    [header, format, b"data".to_vec(), DATA.to_le_bytes().to_vec(), vec![0; DATA as usize]].concat()
}

/// The projects and archives of the folder of hostile inputs; none where there is no such folder.
fn given() -> Vec<(String, PathBuf, Must)> {
    let folder = std::env::var_os("HYPERFARM_HOSTILE_INPUTS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/cases/untrusted"), PathBuf::from);
    let names = |folder: &Path| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut names: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        names.sort();
        names
    };
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut attacks = Vec::new();
    for path in names(&folder) {
        if path.join("index.html").is_file() {
            attacks.push((name(&path), path, Must::Contain));
        }
    }
    let must = |name: &str| match name {
        // What it lies about is known only once it is unpacked.
        "lie-small.zip" => Must::Fail(&["PROJECT_INVALID"]),
        // Its writer ended the name before the NUL: nothing is wrong with it. `proto/src/archive.rs` tests such names.
        "nul.zip" => Must::Complete(""),
        _ => Must::Refuse,
    };
    attacks.extend(names(&folder.join("zips")).into_iter().map(|path| (name(&path), path.clone(), must(&name(&path)))));
    attacks
}

#[test]
fn a_few_hostile_pages_are_contained() {
    let farm = Farm::start(&[("HYPERFARM_PAGE_MEMORY_MB", "1200")]);
    let attacks = own(&farm, |name| pages::QUICK.contains(&name));
    assert_eq!(attacks.len(), pages::QUICK.len());
    farm.run(&attacks);
}

#[test]
#[ignore = "takes about an hour; `make attack` runs it"]
fn every_hostile_input_is_contained() {
    let farm = Farm::start(&[]);
    // HYPERFARM_ATTACK_ONLY names some, with commas between them.
    let only = std::env::var("HYPERFARM_ATTACK_ONLY").unwrap_or_default();
    let is_wanted = |name: &str| only.is_empty() || only.split(',').any(|wanted| wanted == name);
    let mut attacks = own(&farm, is_wanted);
    attacks.extend(given().into_iter().filter(|(name, _, _)| is_wanted(name)));
    farm.run(&attacks);
}
