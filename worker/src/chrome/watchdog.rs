//! The watchdog of a browser: it sees at once that a browser has ended, and ends one that uses too much memory, or too
//! many processes or threads. The deadlines of what a page does are in [`page`](super::page).

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::process::Child;
use tokio::sync::watch;

use super::namespace::PidNamespace;
use super::processes::{self, Usage};
use crate::error::{ChromeError, PageError, WorkerError};

/// Longest time between two measurements.
const INTERVAL: Duration = Duration::from_millis(100);
/// Shortest time between two measurements, near the limit of memory.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);
/// Most threads of a browser. One with a usual page has about 80.
const MAX_THREADS: u64 = 2000;

/// Private memory that a process may have mapped beyond the memory of its browser. What it has mapped and does not use,
/// stacks of threads above all, is 630 MiB in a renderer.
pub(super) const UNUSED_DATA: u64 = 3 << 29;

/// A process is large that has this part of the browser's memory: one third.
const LARGE_PROCESS: u64 = 3;

/// What the processes of a browser may use together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrowserLimits {
    /// Bytes of anonymous and shared memory.
    pub memory: u64,
    /// Number of processes.
    pub processes: u64,
}

impl Default for BrowserLimits {
    fn default() -> Self {
        Self { memory: 3 << 30, processes: 40 }
    }
}

/// Why a browser ended that was not told to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BrowserEnd {
    /// Its process ended, or its protocol.
    Gone,
    /// The watchdog ended it: its processes had too much memory. In bytes.
    Memory { used: u64, limit: u64 },
    /// The watchdog ended it: it had too many processes.
    Processes { used: u64, limit: u64 },
    /// The watchdog ended it: it had too many threads.
    Threads { used: u64, limit: u64 },
}

impl BrowserEnd {
    /// The limit that `usage` exceeds.
    fn exceeded(usage: Usage, limits: BrowserLimits) -> Option<Self> {
        if usage.memory > limits.memory {
            Some(Self::Memory { used: usage.memory, limit: limits.memory })
        } else if usage.processes > limits.processes {
            Some(Self::Processes { used: usage.processes, limit: limits.processes })
        } else if usage.threads > MAX_THREADS {
            Some(Self::Threads { used: usage.threads, limit: MAX_THREADS })
        } else {
            None
        }
    }
}

impl From<BrowserEnd> for WorkerError {
    fn from(end: BrowserEnd) -> Self {
        let exceeded = |used, limit, unit, setting| PageError::LimitExceeded { used, limit, unit, setting }.into();
        match end {
            BrowserEnd::Gone => ChromeError::Ended.into(),
            BrowserEnd::Memory { used, limit } => {
                exceeded(used >> 20, limit >> 20, "MiB of memory", " (HYPERFARM_PAGE_MEMORY_MB)")
            }
            BrowserEnd::Processes { used, limit } => exceeded(used, limit, "processes", " (HYPERFARM_PAGE_PROCESSES)"),
            BrowserEnd::Threads { used, limit } => exceeded(used, limit, "threads", ""),
        }
    }
}

/// Watches the browser until its process has ended, and reports why to `end`. `child` is its first process. With
/// `data_limit` the kernel refuses each of its large processes more private memory than so many bytes: eight workers of a
/// page allocate gigabytes in the time that a busy machine needs for a measurement. Small ones have no such limit, because
/// V8 reads it at its start and gives pages less memory then.
pub(super) async fn watch(
    mut child: Child,
    namespace: PidNamespace,
    limits: BrowserLimits,
    data_limit: Option<u64>,
    end: watch::Sender<Option<BrowserEnd>>,
) {
    let Some(root) = child.id() else { return };
    let (mut interval, mut last) = (INTERVAL, None::<(Instant, u64)>);
    let limited = Arc::new(Mutex::new(HashSet::new()));
    loop {
        tokio::select! {
            // The runtime waits for a descriptor of the process (pidfd).
            _ = child.wait() => break,
            () = tokio::time::sleep(interval) => {}
        }
        let limited = limited.clone();
        let measuring = move || {
            let usage = Usage::measure(root, limits.memory);
            let least = limits.memory / LARGE_PROCESS;
            if let Some(bytes) = data_limit.filter(|_| usage.memory >= least) {
                processes::limit_data(root, least, bytes, &mut limited.lock());
            }
            usage
        };
        let Ok(usage) = tokio::task::spawn_blocking(measuring).await else { continue };
        let now = Instant::now();
        interval = last.map_or(INTERVAL, |(at, memory)| {
            next_interval(usage.memory.saturating_sub(memory), now - at, limits.memory.saturating_sub(usage.memory))
        });
        last = Some((now, usage.memory));
        if let Some(exceeded) = BrowserEnd::exceeded(usage, limits) {
            tracing::warn!(?exceeded, "a browser exceeds its limits and is ended");
            report(&end, exceeded);
            processes::kill_tree(root, namespace);
            // Its exit status says nothing more.
            let _ = child.wait().await;
            break;
        }
    }
    report(&end, BrowserEnd::Gone);
}

/// How long until memory that grew by `growth` bytes in `time` is measured again, where `left` bytes are left: half of
/// the time that it needs for these.
fn next_interval(growth: u64, time: Duration, left: u64) -> Duration {
    let needed = time.as_secs_f64() * left as f64 / growth.max(1) as f64;
    Duration::from_secs_f64((needed / 2.0).clamp(SHORTEST_INTERVAL.as_secs_f64(), INTERVAL.as_secs_f64()))
}

/// Reports `found`, unless another reason was reported before.
pub(super) fn report(end: &watch::Sender<Option<BrowserEnd>>, found: BrowserEnd) {
    end.send_if_modified(|end| {
        let is_first = end.is_none();
        end.get_or_insert(found);
        is_first
    });
}

#[cfg(test)]
mod tests {
    use hyperfarm_proto::failure::{FailureCode, Owner};
    use tokio::process::Command;

    use super::*;

    #[test]
    fn what_exceeds_a_limit_is_the_pages_failure_with_its_figures() {
        let limits = BrowserLimits { memory: 100 << 20, processes: 10 };
        let usage = Usage { processes: 10, threads: MAX_THREADS, memory: 100 << 20 };
        assert_eq!(BrowserEnd::exceeded(usage, limits), None);
        for (usage, figures) in [
            (Usage { memory: 101 << 20, ..usage }, ["101", "100 MiB"]),
            (Usage { processes: 11, ..usage }, ["11", "10 processes"]),
            (Usage { threads: MAX_THREADS + 1, ..usage }, ["2001", "2000 threads"]),
        ] {
            let error = WorkerError::from(BrowserEnd::exceeded(usage, limits).unwrap());
            assert_eq!((error.code(), error.code().owner()), (FailureCode::PageCrashed, Owner::User));
            let message = error.to_string();
            assert!(figures.iter().all(|figure| message.contains(figure)), "{message}");
        }
        assert_eq!(WorkerError::from(BrowserEnd::Gone).code(), FailureCode::ChromeCrashed);
    }

    #[test]
    fn memory_that_grows_towards_its_limit_is_measured_more_often() {
        let (mib, tenth) = (1 << 20, Duration::from_millis(100));
        assert_eq!(next_interval(0, tenth, 3000 * mib), INTERVAL);
        assert_eq!(next_interval(300 * mib, tenth, 3000 * mib), INTERVAL);
        assert_eq!(next_interval(300 * mib, tenth, 300 * mib), tenth / 2);
        assert_eq!(next_interval(300 * mib, tenth, 0), SHORTEST_INTERVAL);
    }

    #[tokio::test]
    async fn the_end_of_a_process_is_seen_at_once() {
        let child = Command::new("sleep").arg("30").kill_on_drop(true).spawn().unwrap();
        let root = child.id().unwrap();
        let (sender, mut end) = watch::channel(None);
        let watching = tokio::spawn(super::watch(child, PidNamespace::None, BrowserLimits::default(), None, sender));
        tokio::time::sleep(Duration::from_millis(20)).await;
        let killed = std::time::Instant::now();
        processes::kill_tree(root, PidNamespace::None);
        end.wait_for(Option::is_some).await.unwrap();
        assert_eq!(*end.borrow(), Some(BrowserEnd::Gone));
        assert!(killed.elapsed() < Duration::from_secs(1), "{:?}", killed.elapsed());
        watching.await.unwrap();
    }

    #[tokio::test]
    async fn the_kernel_limits_the_memory_of_large_processes() {
        let child = Command::new("perl").args(["-e", "$n = 45 << 20; $x = 'a' x $n; sleep 30"]).spawn().unwrap();
        let root = child.id().unwrap();
        let (sender, _end) = watch::channel(None);
        // It has a third of the limit, and less than all of it.
        let limits = BrowserLimits { memory: 128 << 20, ..BrowserLimits::default() };
        let watching = tokio::spawn(super::watch(child, PidNamespace::None, limits, Some(5 << 30), sender));
        let is_limited = |process: u32| {
            let limits = std::fs::read_to_string(format!("/proc/{process}/limits")).unwrap_or_default();
            let data = limits.lines().find(|line| line.starts_with("Max data size")).unwrap_or_default();
            data.split_whitespace().filter(|word| *word == "5368709120").count() == 2
        };
        let deadline = Instant::now() + Duration::from_secs(10);
        while !is_limited(root) {
            assert!(Instant::now() < deadline);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        processes::kill_tree(root, PidNamespace::None);
        watching.await.unwrap();
    }

    #[tokio::test]
    async fn a_tree_above_its_limits_is_ended() {
        let child = Command::new("sh").args(["-c", "sleep 30 & sleep 30 & sleep 30 & wait"]).spawn().unwrap();
        let tree = child.id().unwrap();
        let (sender, end) = watch::channel(None);
        let limits = BrowserLimits { processes: 3, ..BrowserLimits::default() };
        super::watch(child, PidNamespace::None, limits, None, sender).await;
        assert_eq!(*end.borrow(), Some(BrowserEnd::Processes { used: 4, limit: 3 }));
        assert!(!processes::is_alive(tree));
    }
}
