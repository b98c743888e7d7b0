//! Where a stitch works. **Invariant: nothing is left on disk**, whether the stitch succeeds, fails, is stopped, or dies.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use hyperfarm_proto::id::RenderId;
use tempfile::TempDir;
use tracing::{info, warn};

use crate::error::StitchError;

/// How the folders of stitches begin.
const PREFIX: &str = "stitch-";

/// After so long without a change a folder belongs to a process that is gone.
const ABANDONED: Duration = Duration::from_secs(6 * 3600);

/// Tries to remove a folder into which a stopped download still writes, and the rest between them.
const REMOVALS: u32 = 50;
const REMOVAL_REST: Duration = Duration::from_millis(100);

/// A folder that goes when it is dropped.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// A new one in `work_dir`, which is made if it does not exist.
    pub(crate) async fn create(work_dir: PathBuf, render: &RenderId) -> Result<Self, StitchError> {
        let prefix = format!("{PREFIX}{render}-");
        tokio::task::spawn_blocking(move || {
            std::fs::create_dir_all(&work_dir)
                .and_then(|()| tempfile::Builder::new().prefix(&prefix).tempdir_in(&work_dir))
                .map(TempDir::keep)
                .map(Self)
                .map_err(|source| StitchError::Disk { path: work_dir.display().to_string(), source })
        })
        .await?
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if std::fs::remove_dir_all(&self.0).is_ok() {
            return;
        }
        // A download that was stopped may have a write under way that nobody can take back: it is outlived.
        let folder = std::mem::take(&mut self.0);
        std::thread::spawn(move || {
            for _ in 0..REMOVALS {
                std::thread::sleep(REMOVAL_REST);
                match std::fs::remove_dir_all(&folder) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {}
                    _ => return,
                }
            }
            warn!(folder = %folder.display(), "the folder of a stitch stays, a later sweep removes it");
        });
    }
}

/// Removes the folders of stitches whose process was killed long ago. What cannot be removed is left to the next sweep.
pub(crate) async fn sweep(work_dir: PathBuf) {
    let swept = tokio::task::spawn_blocking(move || {
        let Ok(entries) = std::fs::read_dir(&work_dir) else { return };
        for entry in entries.flatten() {
            let is_ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
            let changed = entry.metadata().and_then(|meta| meta.modified()).unwrap_or_else(|_| SystemTime::now());
            let age = SystemTime::now().duration_since(changed).unwrap_or_default();
            if is_ours && age >= ABANDONED {
                match std::fs::remove_dir_all(entry.path()) {
                    Ok(()) => info!(folder = %entry.path().display(), "an abandoned folder was removed"),
                    Err(error) => warn!(folder = %entry.path().display(), %error, "an abandoned folder stays"),
                }
            }
        }
    });
    if let Err(error) = swept.await {
        warn!(%error, "abandoned folders were not looked for");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_folder_goes_with_what_is_in_it() {
        let work = tempfile::tempdir().unwrap();
        let folder = Folder::create(work.path().join("a/b"), &"r1".parse().unwrap()).await.unwrap();
        std::fs::write(folder.path().join("x"), "x").unwrap();
        let path = folder.path().to_owned();
        drop(folder);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_sweep_takes_old_folders_of_ours_only() {
        let work = tempfile::tempdir().unwrap();
        let folder = |name: &str| {
            let path = work.path().join(name);
            std::fs::create_dir(&path).unwrap();
            path
        };
        let (old, young, other) = (folder("stitch-old"), folder("stitch-young"), folder("other"));
        for path in [&old, &other] {
            let dir = std::fs::File::open(path).unwrap();
            dir.set_modified(SystemTime::now() - ABANDONED * 2).unwrap();
        }
        sweep(work.path().to_owned()).await;
        assert!(!old.exists() && young.exists() && other.exists());
    }
}
