//! Measures wall clock, processor time and memory of a command with all its descendants.
//!
//! Chrome's helpers run in process-id namespaces of their own and are ended by the kernel with them, so that `wait4`
//! does not count their time. Each command therefore gets a control group (version 2), whose `cpu.stat` counts
//! everything. Where no group can be created, the processor times of all descendants are read twenty times a second,
//! which misses a little.
//!
//! Memory is the peak of the sum of PSS (each shared page counts once) over all processes, read four times a second.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// Interval between two readings of the memory.
const MEMORY_INTERVAL: Duration = Duration::from_millis(250);
/// Interval between two readings of the processor times, where there is no control group.
const CPU_INTERVAL: Duration = Duration::from_millis(50);
/// Bytes of a page of memory, and ticks a second of `/proc`; both the same on every Linux that Chrome runs on.
const PAGE: u64 = 4096;
const TICKS: f64 = 100.0;

/// Resources that a command used.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Usage {
    /// Wall-clock seconds.
    pub(crate) wall_s: f64,
    /// Processor seconds, user and system, of everything it started.
    pub(crate) cpu_s: f64,
    /// Peak of the memory in bytes.
    pub(crate) peak_bytes: u64,
}

/// Measures commands.
pub(crate) struct Meter {
    /// The folder in which control groups can be created; `None` where they cannot.
    groups: Option<PathBuf>,
}

static NUMBER: AtomicU32 = AtomicU32::new(0);

impl Meter {
    /// A meter by what this machine allows.
    pub(crate) fn new() -> Self {
        let groups = groups().filter(|folder| {
            let Ok(group) = Group::create(folder) else { return false };
            let mut trial = group.wrapped(&Command::new("true"));
            let ran = trial.stdin(Stdio::null()).status().is_ok_and(|status| status.success());
            ran && group.cpu_seconds().is_some_and(|seconds| seconds > 0.0)
        });
        Self { groups }
    }

    /// How processor time is measured, in words.
    pub(crate) fn cpu_method(&self) -> &'static str {
        match self.groups {
            Some(_) => "control group (cpu.stat), everything the command started",
            None => "processor times of all descendants, read every 50 ms",
        }
    }

    /// How memory is measured, in words.
    pub(crate) fn memory_method(&self) -> &'static str {
        "peak of the sum of PSS over all processes, read every 250 ms"
    }

    /// Runs `command` to its end with its output in `log`. The command has to limit its time itself, with exit code 124
    /// at the limit.
    ///
    /// # Errors
    /// The command cannot be started or fails. The message quotes the last lines of its output.
    pub(crate) fn run(&self, command: &Command, log: &Path) -> anyhow::Result<Usage> {
        let file = std::fs::File::create(log).with_context(|| format!("writing {}", log.display()))?;
        let group = self.groups.as_deref().map(Group::create).transpose()?;
        let mut started = match &group {
            Some(group) => group.wrapped(command),
            None => wrapped(command, "exec \"$@\"", Path::new("sh")),
        };
        started.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let begun = Instant::now();
        let mut child = started.spawn().context("starting a command")?;
        let (done, pid) = (AtomicBool::new(false), child.id());
        let (status, wall, observed) = std::thread::scope(|scope| {
            let watcher = scope.spawn(|| watch(pid, group.as_ref(), &done));
            let status = child.wait();
            let wall = begun.elapsed();
            done.store(true, Ordering::Relaxed);
            (status, wall, watcher.join())
        });
        let status = status.context("waiting for a command")?;
        let Ok(observed) = observed else { bail!("the thread that reads the memory panicked") };
        if status.code() == Some(124) || status.code() == Some(137) {
            bail!("it did not end in time (see {})", named(log));
        }
        if !status.success() {
            let text = String::from_utf8_lossy(&std::fs::read(log)?).into_owned();
            let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
            bail!("{} (see {})", lines[lines.len().saturating_sub(3)..].join(" | "), named(log));
        }
        let cpu = group.as_ref().and_then(Group::cpu_seconds).unwrap_or(observed.cpu_s);
        Ok(Usage { wall_s: wall.as_secs_f64(), cpu_s: cpu, peak_bytes: observed.peak })
    }
}

/// Path of a file relative to the repository, for reports that are read on other machines.
fn named(file: &Path) -> std::path::Display<'_> {
    file.strip_prefix(hyperfarm_e2e::parity::repository()).unwrap_or(file).display()
}

/// A control group. Dropping it ends every process in it.
struct Group(PathBuf);

impl Group {
    fn create(folder: &Path) -> anyhow::Result<Self> {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("hyperfarm-bench-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(Self(path))
    }

    /// The command, started inside the group.
    fn wrapped(&self, command: &Command) -> Command {
        wrapped(command, "echo $$ >\"$0\" && exec \"$@\"", &self.0.join("cgroup.procs"))
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
        // A group can be removed only when its last process has ended.
        let deadline = Instant::now() + Duration::from_secs(5);
        while std::fs::remove_dir(&self.0).is_err() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// `command` wrapped in a shell that runs `script` with `first` as `$0` and the command as arguments.
fn wrapped(command: &Command, script: &str, first: &Path) -> Command {
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

/// Usage of a command's processes as observed while it ran.
struct ObservedUsage {
    peak: u64,
    cpu_s: f64,
}

fn watch(root: u32, group: Option<&Group>, done: &AtomicBool) -> ObservedUsage {
    let mut pids = BTreeSet::from([root]);
    let mut ticks: BTreeMap<u32, u64> = BTreeMap::new();
    let mut peak = 0;
    let mut read_at: Option<Instant> = None;
    while !done.load(Ordering::Relaxed) {
        let processes: Vec<u32> = match group {
            Some(group) => group.processes(),
            None => {
                add_descendants(&mut pids);
                for pid in &pids {
                    if let Some(spent) = stat(*pid).map(|stat| stat.ticks) {
                        // A process id that is used again starts at zero.
                        let last = ticks.entry(*pid).or_default();
                        *last = spent.max(*last);
                    }
                }
                pids.iter().copied().collect()
            }
        };
        if read_at.is_none_or(|at| at.elapsed() >= MEMORY_INTERVAL) {
            read_at = Some(Instant::now());
            peak = peak.max(processes.iter().filter_map(|pid| memory(*pid)).sum());
        }
        std::thread::sleep(CPU_INTERVAL);
    }
    ObservedUsage { peak, cpu_s: ticks.values().sum::<u64>() as f64 / TICKS }
}

/// Adds all descendants of `pids`. A process stays when its parent ends.
fn add_descendants(pids: &mut BTreeSet<u32>) {
    let Ok(entries) = std::fs::read_dir("/proc") else { return };
    let running = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parents: Vec<(u32, u32)> = running.filter_map(|pid| Some((pid, stat(pid)?.parent))).collect();
    loop {
        let before = pids.len();
        pids.extend(
            parents.iter().filter(|(_, parent)| pids.contains(parent)).map(|(pid, _)| *pid).collect::<Vec<_>>(),
        );
        if pids.len() == before {
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

/// Memory of a process in bytes: PSS, or its private memory where PSS cannot be read.
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
