//! Temporary folders beside outputs, which may be on a disk of several machines: what a killed process leaves, the next
//! one removes. Folders on the local disk are `hyperfarm_backplane::local_disk`'s.
//!
//! The owner of a folder holds a lock on a file in it. The kernel releases the lock with the process, however that
//! ends.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use hyperfarm_backplane::local_disk::FolderKind;
use tempfile::TempDir;

use crate::exit::CliError;

/// The folder of the storage and the work of a render on this machine.
pub(crate) fn render_folder() -> Result<TempDir, CliError> {
    let parent = std::env::temp_dir();
    FolderKind::Render.create_in(&parent, "").map_err(|error| {
        CliError::system(format!(
            "no folder can be made in {}: {error}; set TMPDIR to a folder that is yours",
            parent.display()
        ))
    })
}

/// The locked file in a folder.
const LOCK: &str = "lock";

/// A temporary folder of this process. Dropping it removes the folder.
pub(crate) struct TemporaryFolder {
    folder: TempDir,
    _lock: File,
}

impl TemporaryFolder {
    /// Makes a folder `PREFIX…SUFFIX` in `parent`, and removes those of processes that have ended.
    pub(crate) fn create(parent: &Path, prefix: &str, suffix: &str) -> io::Result<Self> {
        remove_abandoned(parent, prefix, suffix);
        let folder = tempfile::Builder::new().prefix(prefix).suffix(suffix).tempdir_in(parent)?;
        let unlocked = folder.path().join("unlocked");
        let lock = File::create_new(&unlocked)?;
        lock.try_lock()?;
        // Under this name the file is always locked while its owner lives.
        fs::rename(unlocked, folder.path().join(LOCK))?;
        Ok(Self { folder, _lock: lock })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Removes the folders `PREFIX…SUFFIX` in `parent` whose owner has ended. What cannot be removed stays.
fn remove_abandoned(parent: &Path, prefix: &str, suffix: &str) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let is_ours = name.to_str().is_some_and(|name| name.starts_with(prefix) && name.ends_with(suffix));
        if is_ours
            && is_abandoned(&entry.path())
            && let Err(error) = fs::remove_dir_all(entry.path())
        {
            tracing::debug!(%error, folder = %entry.path().display(), "an abandoned folder stays");
        }
    }
}

fn is_abandoned(folder: &Path) -> bool {
    File::open(folder.join(LOCK)).is_ok_and(|lock| lock.try_lock().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_ended_processes_are_removed_and_those_of_living_ones_stay() {
        let parent = tempfile::tempdir().unwrap();
        let living = TemporaryFolder::create(parent.path(), "x-", ".y").unwrap();
        let abandoned = parent.path().join("x-1.y");
        fs::create_dir(&abandoned).unwrap();
        File::create(abandoned.join(LOCK)).unwrap();
        let foreign = parent.path().join("x-2.y");
        fs::create_dir(&foreign).unwrap();
        let next = TemporaryFolder::create(parent.path(), "x-", ".y").unwrap();
        assert!(living.path().exists() && next.path().exists() && foreign.exists());
        assert!(!abandoned.exists());
        drop(next);
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 2);
    }
}
