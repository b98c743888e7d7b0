//! Wall clock, processor time and memory of a command with everything it starts.
//!
//! Chrome's helpers live in process-id namespaces of their own and are ended by the kernel with them, which leaves their time out of
//! what `wait4` tells of children. So each command gets a control group (version 2), whose `cpu.stat` misses nothing. Where no
//! group can be made, the processor times of all descendants are read twenty times a second, which misses a little.
//!
//! Memory is the peak of the sum of PSS (each shared page is counted once) over all processes, looked at four times a second.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// Between two looks at the memory.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Between two looks at the processor times, where there is no control group.
const SAMPLE_EVERY: Duration = Duration::from_millis(50);
/// Bytes of a page of memory, and ticks a second of `/proc`; both the same on every Linux that Chrome runs on.
const PAGE: u64 = 4096;
const TICKS: f64 = 100.0;

/// What a command took.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Usage {
    /// Wall-clock seconds.
    pub wall_s: f64,
    /// Processor seconds, user and system, of everything it started.
    pub cpu_s: f64,
    /// Most bytes of memory at any look.
    pub peak_bytes: u64,
}

/// Measures commands.
pub struct Meter {
    /// The folder in which control groups can be made.
    groups: Option<PathBuf>,
}

static NUMBER: AtomicU32 = AtomicU32::new(0);

impl Meter {
    /// Finds out what this machine allows.
    pub fn new() -> Self {
        let groups = groups().filter(|folder| {
            let Ok(group) = Group::create(folder) else { return false };
            let mut trial = group.around(&Command::new("true"));
            let ran = trial.stdin(Stdio::null()).status().is_ok_and(|status| status.success());
            ran && group.cpu_seconds().is_some_and(|seconds| seconds > 0.0)
        });
        Self { groups }
    }

    /// How processor time is found, in words.
    pub fn cpu_method(&self) -> &'static str {
        match self.groups {
            Some(_) => "control group (cpu.stat), everything the command started",
            None => "processor times of all descendants, read every 50 ms",
        }
    }

    /// How memory is found, in words.
    pub fn memory_method(&self) -> &'static str {
        "peak of the sum of PSS over all processes, read every 250 ms"
    }

    /// Runs `command` to its end with its output in `log`. An error quotes the last lines of it. The command has to bound its time
    /// itself, and to end with 124 where it did not end in time.
    pub fn run(&self, command: &Command, log: &Path) -> anyhow::Result<Usage> {
        let file = std::fs::File::create(log).with_context(|| format!("writing {}", log.display()))?;
        let group = self.groups.as_deref().map(Group::create).transpose()?;
        let mut started = match &group {
            Some(group) => group.around(command),
            None => around(command, "exec \"$@\"", Path::new("sh")),
        };
        started.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let begun = Instant::now();
        let mut child = started.spawn().context("starting a command")?;
        let (done, pid) = (AtomicBool::new(false), child.id());
        let (status, wall, seen) = std::thread::scope(|scope| {
            let watcher = scope.spawn(|| watch(pid, group.as_ref(), &done));
            let status = child.wait();
            let wall = begun.elapsed();
            done.store(true, Ordering::Relaxed);
            (status, wall, watcher.join())
        });
        let status = status.context("waiting for a command")?;
        let Ok(seen) = seen else { bail!("the look at the memory broke") };
        if status.code() == Some(124) || status.code() == Some(137) {
            bail!("it did not end in time (see {})", named(log));
        }
        if !status.success() {
            let text = String::from_utf8_lossy(&std::fs::read(log)?).into_owned();
            let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
            bail!("{} (see {})", lines[lines.len().saturating_sub(3)..].join(" | "), named(log));
        }
        let cpu = group.as_ref().and_then(Group::cpu_seconds).unwrap_or(seen.cpu_s);
        Ok(Usage { wall_s: wall.as_secs_f64(), cpu_s: cpu, peak_bytes: seen.peak })
    }
}

/// A file as reports name it: they are for other machines as well.
fn named(file: &Path) -> std::path::Display<'_> {
    file.strip_prefix(hyperfarm_e2e::parity::repository()).unwrap_or(file).display()
}

/// A control group that ends with everything in it.
struct Group(PathBuf);

impl Group {
    fn create(folder: &Path) -> anyhow::Result<Self> {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("hyperfarm-bench-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(Self(path))
    }

    /// The command, started inside the group.
    fn around(&self, command: &Command) -> Command {
        around(command, "echo $$ >\"$0\" && exec \"$@\"", &self.0.join("cgroup.procs"))
    }

    fn cpu_seconds(&self) -> Option<f64> {
        let text = std::fs::read_to_string(self.0.join("cpu.stat")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("usage_usec "))?;
        Some(line.trim().parse::<f64>().ok()? / 1e6)
    }

    fn processes(&self) -> Vec<u32> {
        let text = std::fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::write(self.0.join("cgroup.kill"), "1");
        // A group can be removed when the last process in it is gone.
        let deadline = Instant::now() + Duration::from_secs(5);
        while std::fs::remove_dir(&self.0).is_err() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// `command` by way of a shell that does `script` with `first` as its `$0` and the command as its arguments.
fn around(command: &Command, script: &str, first: &Path) -> Command {
    let mut outer = Command::new("sh");
    outer.arg("-c").arg(script).arg(first).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        outer.current_dir(folder);
    }
    outer
}

/// The folder of this process's own group in the hierarchy of version 2.
fn groups() -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    let mount = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let (_, folder, kind) = (fields.next()?, fields.next()?, fields.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(folder))
    })?;
    let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::"))?.trim_start_matches('/').to_owned();
    Some(mount.join(own))
}

/// What was seen of a command while it ran.
struct Seen {
    peak: u64,
    cpu_s: f64,
}

fn watch(root: u32, group: Option<&Group>, done: &AtomicBool) -> Seen {
    let mut known = BTreeSet::from([root]);
    let mut ticks: BTreeMap<u32, u64> = BTreeMap::new();
    let mut peak = 0;
    let mut looked: Option<Instant> = None;
    while !done.load(Ordering::Relaxed) {
        let processes: Vec<u32> = match group {
            Some(group) => group.processes(),
            None => {
                descend(&mut known);
                for pid in &known {
                    if let Some(spent) = stat(*pid).map(|stat| stat.ticks) {
                        // A number that is used again starts from nothing.
                        let last = ticks.entry(*pid).or_default();
                        *last = spent.max(*last);
                    }
                }
                known.iter().copied().collect()
            }
        };
        if looked.is_none_or(|at| at.elapsed() >= LOOK_EVERY) {
            looked = Some(Instant::now());
            peak = peak.max(processes.iter().filter_map(|pid| memory(*pid)).sum());
        }
        std::thread::sleep(SAMPLE_EVERY);
    }
    Seen { peak, cpu_s: ticks.values().sum::<u64>() as f64 / TICKS }
}

/// Adds every process whose parent is known, and its children, and so on. One that was seen once stays, whoever its parent is then.
fn descend(known: &mut BTreeSet<u32>) {
    let Ok(entries) = std::fs::read_dir("/proc") else { return };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parents: Vec<(u32, u32)> = pids.filter_map(|pid| Some((pid, stat(pid)?.parent))).collect();
    loop {
        let before = known.len();
        known.extend(
            parents.iter().filter(|(_, parent)| known.contains(parent)).map(|(pid, _)| *pid).collect::<Vec<_>>(),
        );
        if known.len() == before {
            return;
        }
    }
}

struct Stat {
    parent: u32,
    ticks: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold spaces and brackets; what follows its last bracket is counted from the state.
    let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Stat { parent: number(1)? as u32, ticks: number(11)? + number(12)? })
}

/// Bytes of a process, shared pages in parts; where that may not be read, those it shares with nobody.
fn memory(pid: u32) -> Option<u64> {
    if let Ok(text) = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))
        && let Some(line) = text.lines().find_map(|line| line.strip_prefix("Pss:"))
    {
        return Some(line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? * 1024);
    }
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let mut fields = text.split(' ').skip(1).filter_map(|field| field.parse::<u64>().ok());
    Some(fields.next()?.saturating_sub(fields.next()?) * PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    /// What a grandchild does counts, on either way to measure.
    #[test]
    fn everything_a_command_starts_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        // Work and not time, because a busy machine gives little of that; the outer shell itself does nothing.
        let busy = "(sh -c 'i=0; while [ $i -lt 1000000 ]; do i=$((i+1)); done' & wait; true)";
        for meter in [Meter::new(), Meter { groups: None }] {
            let usage = meter.run(&shell(busy), &log).unwrap();
            assert!(usage.cpu_s > 0.1 && usage.wall_s > 0.1 && usage.peak_bytes > 100_000, "{usage:?}");
            let error = meter.run(&shell("echo no such luck; exit 3"), &log).unwrap_err().to_string();
            assert!(error.contains("no such luck"), "{error}");
            assert!(meter.run(&shell("exit 124"), &log).unwrap_err().to_string().contains("in time"));
        }
    }
}
