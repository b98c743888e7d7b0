//! Temporary folders on the local disk: how they are named, how those of killed processes are removed, and how a full
//! disk is told.
//!
//! Every folder carries the id of its process and a hash of the PID namespace in which that id is one. A folder of this
//! namespace is abandoned when its process is gone; one of another namespace, such as that of another container on the
//! same disk, when it has not changed for six hours and no process here has the id.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use hyperfarm_proto::failure::FailureCode;
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// Minimum age of a folder of another PID namespace to be removed.
const MIN_AGE: Duration = Duration::from_secs(6 * 3600);

/// What a folder is for; part of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FolderKind {
    /// The cache and the segments of a worker.
    Worker,
    /// The profile of a browser.
    Chrome,
    /// The parts and the output of a stitch.
    Stitch,
    /// The storage of a render on this machine.
    Render,
}

impl FolderKind {
    const ALL: [Self; 4] = [Self::Worker, Self::Chrome, Self::Stitch, Self::Render];

    fn name(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Chrome => "chrome",
            Self::Stitch => "stitch",
            Self::Render => "render",
        }
    }

    /// A new folder of this process in `parent`, which goes when it is dropped. `label` is part of its name.
    ///
    /// # Errors
    ///
    /// The folder cannot be made.
    pub fn create_in(self, parent: &Path, label: &str) -> io::Result<TempDir> {
        tempfile::Builder::new().prefix(&format!("{}{label}", self.prefix())).tempdir_in(parent)
    }

    /// The beginning of the name of a folder of this process.
    fn prefix(self) -> String {
        format!("hyperfarm-{}-{}-{}-", self.name(), std::process::id(), namespace())
    }
}

/// A hash of this process's PID namespace and of the boot of its machine, in hexadecimal digits.
fn namespace() -> String {
    let boot = std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    let hash = Sha256::new().chain_update(boot).chain_update(namespace.as_os_str().as_encoded_bytes()).finalize();
    hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

/// Removes the abandoned folders of every kind in `folders`, on a thread that may block. What cannot be removed is left
/// to the next process.
pub async fn remove_abandoned(folders: Vec<PathBuf>) {
    let removing = tokio::task::spawn_blocking(move || {
        folders.iter().for_each(|folder| remove_abandoned_in(folder, SystemTime::now()));
    });
    if let Err(error) = removing.await {
        tracing::warn!(%error, "the search for abandoned folders broke");
    }
}

fn remove_abandoned_in(folder: &Path, now: SystemTime) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let own = namespace();
    for entry in entries.flatten() {
        let Some((process, namespace)) = process_of(&entry.file_name().to_string_lossy()) else { continue };
        let changed = entry.metadata().and_then(|meta| meta.modified()).unwrap_or(now);
        let is_old = namespace == own || now.duration_since(changed).is_ok_and(|age| age >= MIN_AGE);
        if is_old && !Path::new("/proc").join(process.to_string()).exists() {
            match std::fs::remove_dir_all(entry.path()) {
                Ok(()) => tracing::info!(folder = %entry.path().display(), "removed an abandoned folder"),
                Err(error) => {
                    tracing::warn!(folder = %entry.path().display(), %error, "an abandoned folder cannot be removed");
                }
            }
        }
    }
}

/// The process id in the name of a folder of the farm, and the hash of its namespace.
fn process_of(name: &str) -> Option<(u32, String)> {
    let (kind, rest) = name.strip_prefix("hyperfarm-")?.split_once('-')?;
    let (process, rest) = rest.split_once('-')?;
    let namespace = rest.split('-').next().unwrap_or_default().to_owned();
    FolderKind::ALL.iter().any(|known| known.name() == kind).then(|| Some((process.parse().ok()?, namespace))).flatten()
}

/// The code of an error that comes from a resource of the machine that is used up, as far as its sources say it: a full
/// disk or quota, or too many open files.
pub fn exhausted_resource(error: &(dyn Error + 'static)) -> Option<FailureCode> {
    if let Some(error) = error.downcast_ref::<io::Error>() {
        let inner = error.get_ref().and_then(|inner| exhausted_resource(inner));
        return error.raw_os_error().and_then(exhausted_by_errno).or(inner);
    }
    exhausted_resource(error.source()?)
}

/// The same by the number of a system error.
pub fn exhausted_by_errno(errno: i32) -> Option<FailureCode> {
    match Errno::from_raw_os_error(errno) {
        Errno::NOSPC | Errno::DQUOT => Some(FailureCode::DiskFull),
        Errno::MFILE | Errno::NFILE => Some(FailureCode::TooManyOpenFiles),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_a_dead_process_of_this_namespace_is_removed_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let dead = format!("hyperfarm-render-4294967295-{}-abc", namespace());
        let alive = format!("{}abc", FolderKind::Render.prefix());
        for name in [&dead, &alive] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        remove_abandoned_in(folder.path(), SystemTime::now());
        assert!(!folder.path().join(dead).exists() && folder.path().join(alive).exists());
    }

    #[test]
    fn only_old_folders_of_dead_processes_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let dead = ["hyperfarm-worker-4294967295-abc", "hyperfarm-stitch-4294967295-r1-abc"];
        let alive = format!("{}abc", FolderKind::Chrome.prefix());
        for name in
            dead.into_iter().chain([alive.as_str(), "hyperfarm-worker-x-abc", "hyperfarm-other-1-a", "other-1-a"])
        {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        remove_abandoned_in(folder.path(), SystemTime::now());
        assert!(dead.iter().all(|name| folder.path().join(name).exists()), "they are not old yet");
        remove_abandoned_in(folder.path(), SystemTime::now() + MIN_AGE * 2);
        assert!(!dead.iter().any(|name| folder.path().join(name).exists()));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 4);
    }

    #[test]
    fn exhausted_resources_are_found_behind_other_errors() {
        let full = io::Error::from_raw_os_error(28);
        assert_eq!(exhausted_resource(&full), Some(FailureCode::DiskFull));
        let wrapped = io::Error::other(io::Error::from_raw_os_error(24));
        assert_eq!(exhausted_resource(&wrapped), Some(FailureCode::TooManyOpenFiles));
        assert_eq!(exhausted_resource(&io::Error::from_raw_os_error(5)), None);
    }
}
