//! The processes of a browser, as `/proc` shows them.

use std::collections::HashSet;
use std::fs;

use rustix::process::{Resource, Rlimit};

use super::namespace::PidNamespace;

/// What `/proc/PID/status` says of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Status {
    /// Bytes of anonymous memory, swapped out or not.
    pub(super) anonymous: u64,
    /// Bytes of shared memory that it maps.
    pub(super) shared: u64,
    /// Number of its threads.
    pub(super) threads: u64,
    /// Seccomp mode: 0 off, 1 strict, 2 a filter.
    pub(super) seccomp: u32,
    /// Whether it and its children can gain no privileges.
    pub(super) no_new_privileges: bool,
    /// Number of PID namespaces that it is in, counted from the one of the reader's `/proc`.
    pub(super) pid_namespaces: usize,
    /// Effective user id.
    pub(super) user: u32,
}

impl Status {
    /// Reads it; `None` for a process that has ended.
    pub(super) fn read(process: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{process}/status")).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let field =
            |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
        let number = |name: &str| field(name).and_then(|value| value.parse::<u64>().ok());
        let bytes = |name: &str| field(name).and_then(kibibytes);
        // A process that has ended and is not reaped yet has no memory.
        let anonymous = bytes("RssAnon")?;
        Some(Self {
            anonymous: anonymous + bytes("VmSwap").unwrap_or(0),
            shared: bytes("RssShmem").unwrap_or(0),
            threads: number("Threads").unwrap_or(1),
            seccomp: number("Seccomp").unwrap_or(0) as u32,
            no_new_privileges: number("NoNewPrivs") == Some(1),
            pid_namespaces: field("NSpid").map_or(1, |ids| ids.split_whitespace().count()),
            user: field("Uid").and_then(|ids| ids.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0),
        })
    }
}

/// The number of bytes in a text such as `12 kB`.
fn kibibytes(text: &str) -> Option<u64> {
    Some(text.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// Ids of `root` and of all its descendants, parents before their children.
pub(crate) fn tree(root: u32) -> Vec<u32> {
    let mut found = vec![root];
    let mut next = 0;
    while let Some(process) = found.get(next).copied() {
        next += 1;
        for child in children(process) {
            if !found.contains(&child) {
                found.push(child);
            }
        }
    }
    found
}

/// The children of every thread of `process`.
fn children(process: u32) -> Vec<u32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else { return Vec::new() };
    let lists = threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<_>>()).collect()
}

/// Limits the private memory that processes may map to `bytes` each: of `root` and its descendants those that have at
/// least `least` bytes of anonymous memory, except for those in `limited`, to which they are added.
pub(super) fn limit_data(root: u32, least: u64, bytes: u64, limited: &mut HashSet<u32>) {
    let limit = Rlimit { current: Some(bytes), maximum: Some(bytes) };
    let is_large = |process: &u32| Status::read(*process).is_some_and(|status| status.anonymous >= least);
    for process in tree(root).into_iter().filter(is_large).filter(|process| limited.insert(*process)) {
        // One that has just ended has no limits.
        if let Some(pid) = i32::try_from(process).ok().and_then(rustix::process::Pid::from_raw)
            && let Err(error) = rustix::process::prlimit(Some(pid), Resource::Data, limit)
        {
            tracing::debug!(process, %error, "the memory of a process of Chrome cannot be limited");
        }
    }
}

/// Whether `process` runs; one that has ended and is not reaped yet does not.
pub(super) fn is_alive(process: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, fields)| !fields.trim_start().starts_with(['Z', 'X']))
}

/// Kills `root` and all its descendants. The root that only waits for the first process of a PID namespace is left to
/// end by itself: when it has, every process of the namespace has.
pub(super) fn kill_tree(root: u32, namespace: PidNamespace) {
    for process in tree(root).into_iter().rev() {
        if process != root || namespace == PidNamespace::None {
            kill(process);
        }
    }
}

/// Sends SIGKILL to `process`.
fn kill(process: u32) {
    if let Some(id) = i32::try_from(process).ok().and_then(rustix::process::Pid::from_raw) {
        // It may have ended meanwhile.
        let _ = rustix::process::kill_process(id, rustix::process::Signal::KILL);
    }
}

/// What the processes of a browser use together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Usage {
    /// Number of processes.
    pub(super) processes: u64,
    /// Number of threads.
    pub(super) threads: u64,
    /// Bytes of anonymous and shared memory.
    pub(super) memory: u64,
}

impl Usage {
    /// Measures `root` and its descendants. Where the quick sum, in which a shared page counts in each process that
    /// maps it, is above `limit`, shared pages are divided among their processes, which the kernel needs longer to
    /// count: a page allocates gigabytes meanwhile. So they are not where one process alone is above it.
    pub(super) fn measure(root: u32, limit: u64) -> Self {
        let read = |id: u32| Some((id, Status::read(id)?));
        let all: Vec<(u32, Status)> = tree(root).into_iter().filter_map(read).collect();
        let mut usage = Self { processes: all.len() as u64, ..Self::default() };
        let (mut most_shared, mut largest, mut anonymous) = (0, 0, 0);
        for (_, status) in &all {
            usage.threads += status.threads;
            usage.memory += status.anonymous + status.shared;
            anonymous += status.anonymous;
            most_shared = most_shared.max(status.shared);
            largest = largest.max(status.anonymous);
        }
        if usage.memory > limit && largest <= limit {
            let exact = all.iter().map(|(id, _)| proportional(*id)).sum::<Option<u64>>();
            // Without the right to read it, the shared memory of the process that has most of it counts once.
            usage.memory = exact.unwrap_or(anonymous + most_shared);
        }
        usage
    }
}

/// Anonymous and shared bytes of a process, each page divided by the number of processes that map it; `None` without
/// the right to read it.
fn proportional(process: u32) -> Option<u64> {
    let text = match fs::read_to_string(format!("/proc/{process}/smaps_rollup")) {
        Ok(text) => text,
        // It has ended.
        Err(_) if !is_alive(process) => return Some(0),
        Err(_) => return None,
    };
    let counted = |line: &str| {
        let (name, value) = line.split_once(':')?;
        ["Pss_Anon", "Pss_Shmem", "SwapPss"].contains(&name).then(|| kibibytes(value))?
    };
    Some(text.lines().filter_map(counted).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_of_a_process_is_read() {
        let text = "Name:\tx\nUid:\t1\t2\t3\t4\nNSpid:\t70\t7\t1\nRssAnon:\t     100 kB\nRssFile:\t 9 kB\nRssShmem:\t      \
                    28 kB\nVmSwap:\t 4 kB\nThreads:\t3\nNoNewPrivs:\t1\nSeccomp:\t2\n";
        let expected = Status {
            anonymous: 104 * 1024,
            shared: 28 * 1024,
            threads: 3,
            seccomp: 2,
            no_new_privileges: true,
            pid_namespaces: 3,
            user: 2,
        };
        assert_eq!(Status::parse(text), Some(expected));
        assert_eq!(Status::parse("Name:\tzombie\n"), None);
    }

    #[test]
    fn processes_below_one_are_found_and_measured() {
        let mut child = std::process::Command::new("sh").args(["-c", "sleep 30 & wait"]).spawn().unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
        // Until both wait: a process that is starting has more memory at each look.
        let waits = |process: &u32| {
            let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
            stat.contains(if *process == child.id() { "(sh) S" } else { "(sleep) S" })
        };
        let is_settled = |found: Vec<u32>| found.len() == 2 && found.iter().all(waits);
        while !is_settled(tree(child.id())) && std::time::Instant::now() < deadline {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let found = tree(child.id());
        assert_eq!(found.len(), 2, "{found:?}");
        let usage = Usage::measure(child.id(), u64::MAX);
        assert_eq!((usage.processes, usage.threads), (2, 2));
        let exact = Usage::measure(child.id(), 0);
        assert!(exact.memory > 0 && exact.memory <= usage.memory, "{exact:?} {usage:?}");
        kill_tree(child.id(), PidNamespace::None);
        child.wait().unwrap();
        // A signal is sent at once, and a process that is not a child of this one ends a little later.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while found.iter().any(|process| is_alive(*process)) {
            assert!(std::time::Instant::now() < deadline, "{found:?}");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}
