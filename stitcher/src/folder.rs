//! Where a stitch works. **Invariant: nothing is left on disk**, whether the stitch succeeds, fails, is stopped, or dies.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hyperfarm_backplane::local_disk::FolderKind;
use hyperfarm_proto::id::RenderId;
use tempfile::TempDir;
use tracing::warn;

use crate::error::StitchError;

/// Tries to remove a folder into which a stopped download still writes, and the rest between them.
const REMOVALS: u32 = 50;
const REMOVAL_REST: Duration = Duration::from_millis(100);

/// A folder that goes when it is dropped.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// A new one in `work_dir`, which is made if it does not exist.
    pub(crate) async fn create(work_dir: PathBuf, render: &RenderId) -> Result<Self, StitchError> {
        let label = format!("{render}-");
        tokio::task::spawn_blocking(move || {
            std::fs::create_dir_all(&work_dir)
                .and_then(|()| FolderKind::Stitch.create_in(&work_dir, &label))
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
            warn!(folder = %folder.display(), "the folder of a stitch stays, a later process removes it");
        });
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
}
