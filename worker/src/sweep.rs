//! Folders of workers that were killed: every folder carries the number of its process, and a later worker removes those whose
//! process is gone.

use std::path::Path;
use std::time::{Duration, SystemTime};

/// Below this age a folder is left alone even without its process: another container may share the folder and not the numbers.
const ABANDONED: Duration = Duration::from_secs(6 * 3600);

/// How a folder of this process and of this kind begins.
pub(crate) fn prefix(kind: &str) -> String {
    format!("hyperfarm-{kind}-{}-", std::process::id())
}

/// Looks through `work_dir` and the folder for temporary files, on a thread of its own.
pub(crate) fn start(work_dir: &Path) {
    let folders = [work_dir.to_owned(), std::env::temp_dir()];
    tokio::task::spawn_blocking(move || folders.iter().for_each(|folder| sweep(folder, SystemTime::now())));
}

fn sweep(folder: &Path, now: SystemTime) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let changed = entry.metadata().and_then(|meta| meta.modified()).unwrap_or(now);
        let is_old = now.duration_since(changed).is_ok_and(|age| age >= ABANDONED);
        let name = entry.file_name();
        if is_old
            && owner(&name.to_string_lossy()).is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists())
        {
            match std::fs::remove_dir_all(entry.path()) {
                Ok(()) => tracing::info!(folder = %entry.path().display(), "an abandoned folder was removed"),
                Err(error) => tracing::warn!(folder = %entry.path().display(), %error, "an abandoned folder stays"),
            }
        }
    }
}

/// The process that a folder of ours names.
fn owner(name: &str) -> Option<u32> {
    let rest = name.strip_prefix("hyperfarm-")?;
    let (kind, rest) = rest.split_once('-')?;
    let (pid, _) = rest.split_once('-')?;
    ["worker", "chrome"].contains(&kind).then(|| pid.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_old_folders_of_dead_processes_go() {
        let folder = tempfile::tempdir().unwrap();
        let dead = "hyperfarm-worker-4294967295-abc";
        let alive = format!("{}abc", prefix("chrome"));
        for name in [dead, &alive, "hyperfarm-worker-x-abc", "other-1-a"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        sweep(folder.path(), SystemTime::now());
        assert!(folder.path().join(dead).exists(), "it is not old yet");
        sweep(folder.path(), SystemTime::now() + ABANDONED * 2);
        assert!(!folder.path().join(dead).exists());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
    }
}
