//! The worker's cache of files by content: what a plan needs is fetched once a worker.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use hyperfarm_backplane::objects::Objects;
use hyperfarm_proto::failure::{Failure, FailureCode};
use hyperfarm_proto::id::ContentHash;
use hyperfarm_proto::keys;

/// Files of this worker, named by the SHA-256 of their bytes. The folder lives as long as the worker.
pub struct Cache {
    folder: PathBuf,
    present: Mutex<HashSet<ContentHash>>,
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Cache {
    /// An empty cache in `folder`.
    pub fn open(folder: &Path) -> Result<Self, Failure> {
        std::fs::create_dir_all(folder).map_err(|error| broken(folder, &error))?;
        Ok(Self { folder: folder.to_owned(), present: Mutex::default() })
    }

    /// Where the file with this hash lies once it is here.
    pub fn path(&self, hash: &ContentHash) -> PathBuf {
        self.folder.join(hash.to_string())
    }

    /// Puts `bytes` under their hash.
    pub fn insert(&self, hash: &ContentHash, bytes: &[u8]) -> Result<(), Failure> {
        if self.has(hash) {
            return Ok(());
        }
        let target = self.path(hash);
        let written = tempfile::NamedTempFile::new_in(&self.folder).and_then(|file| {
            std::fs::write(file.path(), bytes)?;
            file.persist(&target).map_err(|error| error.error).map(|_| ())
        });
        written.map_err(|error| broken(&target, &error))?;
        self.remember(hash);
        Ok(())
    }

    /// Fetches the object at `key`, whose bytes have this hash, unless it is here. The hash is checked.
    pub async fn fetch(&self, objects: &Objects, key: &str, hash: &ContentHash) -> Result<PathBuf, Failure> {
        let target = self.path(hash);
        if self.has(hash) {
            return Ok(target);
        }
        let bytes = objects.get(key).await.map_err(|error| Failure::new(FailureCode::Storage, error.to_string()))?;
        if ContentHash::of(&bytes) != *hash {
            return Err(Failure::new(FailureCode::Storage, format!("{key} in storage is damaged: its hash differs")));
        }
        self.insert(hash, &bytes)?;
        Ok(target)
    }

    /// Fetches a file of a plan.
    pub async fn fetch_blob(&self, objects: &Objects, hash: &ContentHash) -> Result<PathBuf, Failure> {
        self.fetch(objects, &keys::blob(hash), hash).await
    }

    fn has(&self, hash: &ContentHash) -> bool {
        self.present.lock().is_ok_and(|present| present.contains(hash))
    }

    fn remember(&self, hash: &ContentHash) {
        if let Ok(mut present) = self.present.lock() {
            present.insert(*hash);
        }
    }
}

fn broken(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(
        FailureCode::Internal,
        format!("the worker's cache {}: {error}; free space or set TMPDIR", path.display()),
    )
}
