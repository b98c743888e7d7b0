//! Host name and memory of the machine that a process runs on.

use std::collections::BTreeMap;
use std::fs;

/// The machine's host name; empty where the system does not say.
pub fn host() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}

/// Anonymous and shared memory of this process and its descendants. Mapped files are not counted; a shared page is
/// counted in each process that maps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Memory {
    /// Bytes of this process itself.
    pub own: u64,
    /// Number of child processes.
    pub children: usize,
    /// Bytes of all descendants: children, their children and so on.
    pub descendants: u64,
}

impl Memory {
    /// Bytes of the process and its descendants.
    pub fn total(self) -> u64 {
        self.own + self.descendants
    }
}

/// Measures the memory of this process and of all its descendants; zeros where the system does not say.
pub fn memory() -> Memory {
    let Ok(processes) = fs::read_dir("/proc") else { return Memory::default() };
    let ids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let read = |id: u32| Some((id, status(&fs::read_to_string(format!("/proc/{id}/status")).ok()?)?));
    let all: BTreeMap<u32, Status> = ids.filter_map(read).collect();
    let this = std::process::id();
    let descends = |mut id: u32| {
        // A chain of parents is short; the bound is for a process table that changes while it is read.
        for _ in 0..64 {
            match all.get(&id) {
                Some(status) if status.parent == this => return true,
                Some(status) => id = status.parent,
                None => return false,
            }
        }
        false
    };
    Memory {
        own: all.get(&this).map_or(0, |status| status.bytes),
        children: all.values().filter(|status| status.parent == this).count(),
        descendants: all.iter().filter(|(id, _)| descends(**id)).map(|(_, status)| status.bytes).sum(),
    }
}

struct Status {
    parent: u32,
    bytes: u64,
}

/// Parent and memory in the text of a process's status file; `None` for a process that has ended.
fn status(text: &str) -> Option<Status> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
    let kib = |name: &str| field(name).and_then(|value| value.trim_end_matches("kB").trim().parse::<u64>().ok());
    let parent = field("PPid")?.parse().ok()?;
    Some(Status { parent, bytes: (kib("RssAnon")? + kib("RssShmem").unwrap_or(0)) * 1024 })
}

/// Memory limit of this process's control group, in bytes; `None` without one.
pub fn memory_limit() -> Option<u64> {
    fs::read_to_string("/sys/fs/cgroup/memory.max").ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_a_machine() {
        assert!(memory().own > 1 << 18);
        assert!(!host().is_empty());
    }

    #[test]
    fn a_child_is_measured_until_it_has_ended() {
        let text = "Name:\tx\nPPid:\t7\nRssAnon:\t     100 kB\nRssFile:\t 9 kB\nRssShmem:\t      28 kB\n";
        let read = status(text).unwrap();
        assert_eq!((read.parent, read.bytes), (7, 128 * 1024));
        assert!(status("Name:\tzombie\nPPid:\t7\n").is_none());
        let mut child = std::process::Command::new("sleep").arg("30").spawn().unwrap();
        let memory = memory();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(memory.children >= 1 && memory.descendants > 0, "{memory:?}");
        assert_eq!(memory.total(), memory.own + memory.descendants);
    }
}
