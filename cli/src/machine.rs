//! The number of slots that this machine has room for, and the id of a node on it.

use std::num::NonZeroU32;

use hyperfarm_proto::id::WorkerId;

/// Bytes of memory for one slot: a browser with a heavy page, its encoder, and the frames between them.
const SLOT_BYTES: u64 = 1_536 * 1024 * 1024;

/// Bytes of memory that a process can still take: what the kernel reports as available, within the limit of its control
/// group.
pub(crate) fn available_memory() -> Option<u64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let available = line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? * 1024;
    let limit = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse().ok());
    Some(limit.map_or(available, |limit: u64| available.min(limit)))
}

/// One slot for each core, as memory allows, at least one.
pub(crate) fn default_slots() -> NonZeroU32 {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    let by_memory = available_memory().map_or(cores, |bytes| bytes / SLOT_BYTES);
    NonZeroU32::new(cores.min(by_memory) as u32).unwrap_or(NonZeroU32::MIN)
}

/// An id for this process in `role`, unique while it lives and readable in logs.
pub(crate) fn node_id(role: &str) -> WorkerId {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host: String = host.trim().chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(24).collect();
    let nanos =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.subsec_nanos());
    let id = format!("{role}-{host}-{}-{:05x}", std::process::id(), nanos & 0xf_ffff);
    WorkerId::try_from(id).unwrap_or_else(|_| unreachable!("letters, digits and '-' of bounded length are an id"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_machine_has_a_slot_and_a_name() {
        assert!(default_slots().get() >= 1);
        assert!(node_id("worker").as_str().starts_with("worker-"));
    }
}
