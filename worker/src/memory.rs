//! How much memory the browsers take: everything that descends from this process is theirs.

use std::collections::BTreeMap;
use std::time::Duration;

use hyperfarm_backplane::metrics::Metrics;

const EVERY: Duration = Duration::from_secs(10);

/// Measures until it is aborted.
pub async fn watch(metrics: Metrics) {
    loop {
        if let Ok((browsers, bytes)) = tokio::task::spawn_blocking(measure).await {
            metrics.set_browsers(browsers, bytes);
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Children of this process, and the memory of all their descendants.
fn measure() -> (usize, u64) {
    let Ok(processes) = std::fs::read_dir("/proc") else { return (0, 0) };
    let ids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let read = |id: u32| Some((id, status(&std::fs::read_to_string(format!("/proc/{id}/status")).ok()?)?));
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
    let browsers = all.values().filter(|status| status.parent == this).count();
    (browsers, all.iter().filter(|(id, _)| descends(**id)).map(|(_, status)| status.bytes).sum())
}

struct Status {
    parent: u32,
    bytes: u64,
}

/// Parent and memory of its own in a process's status; nothing of one that has ended.
fn status(text: &str) -> Option<Status> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
    let kib = |name: &str| field(name).and_then(|value| value.trim_end_matches("kB").trim().parse::<u64>().ok());
    let parent = field("PPid")?.parse().ok()?;
    // Files are mapped by every process of a browser and counted in none.
    Some(Status { parent, bytes: (kib("RssAnon")? + kib("RssShmem").unwrap_or(0)) * 1024 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_measured_until_it_has_ended() {
        let text = "Name:\tx\nPPid:\t7\nRssAnon:\t     100 kB\nRssFile:\t 9 kB\nRssShmem:\t      28 kB\n";
        let read = status(text).unwrap();
        assert_eq!((read.parent, read.bytes), (7, 128 * 1024));
        assert!(status("Name:\tzombie\nPPid:\t7\n").is_none());
        let mut child = std::process::Command::new("sleep").arg("30").spawn().unwrap();
        let (browsers, bytes) = measure();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(browsers >= 1 && bytes > 0, "{browsers} {bytes}");
    }
}
