//! The machine under a process, as far as its people want to see it.

use std::collections::HashMap;
use std::fs;

const PAGE: u64 = 4096;

/// Name of the machine.
pub fn host() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}

/// Bytes of memory that this process and everything it has started hold: what is resident, of the children without what they share.
/// 0 where the system does not say.
pub fn memory() -> u64 {
    let own = std::process::id();
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        if let Some(parent) = fs::read_to_string(format!("/proc/{pid}/stat")).ok().as_deref().and_then(parent) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut bytes = statm(own).map_or(0, |(resident, _)| resident);
    let mut left = children.remove(&own).unwrap_or_default();
    while let Some(pid) = left.pop() {
        bytes += statm(pid).map_or(0, |(resident, shared)| resident.saturating_sub(shared));
        left.extend(children.remove(&pid).into_iter().flatten());
    }
    bytes
}

/// The parent in a line of `/proc/PID/stat`. The name before it may hold anything.
fn parent(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Bytes that are resident, and those of them that are shared.
fn statm(pid: u32) -> Option<(u64, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let mut numbers = text.split_ascii_whitespace().skip(1).map(|number| number.parse::<u64>().ok());
    Some((numbers.next()?? * PAGE, numbers.next()?? * PAGE))
}

/// Bytes that the control group of this process may hold, where it has a limit.
pub fn memory_limit() -> Option<u64> {
    fs::read_to_string("/sys/fs/cgroup/memory.max").ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_a_machine() {
        assert!(memory() > 1 << 20);
        assert!(!host().is_empty());
        assert_eq!(parent("12 (a (b) c) S 7 12 12 0"), Some(7));
    }
}
