//! The worker's cache of files by content: what a plan needs is fetched once a worker.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use hyperfarm_backplane::objects::Objects;
use hyperfarm_proto::failure::{Failure, FailureCode};
use hyperfarm_proto::id::ContentHash;
use hyperfarm_proto::keys;
use sha2::{Digest, Sha256};

/// Bytes moved at once.
const BUFFER_BYTES: usize = 256 * 1024;

/// Why nothing was put into the cache.
#[derive(Debug)]
pub enum InsertError {
    /// What was to be put there cannot be read.
    Source(std::io::Error),
    /// The cache cannot be written.
    Cache(Failure),
}

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
        let mut pending = self.pending()?;
        pending.write_all(bytes).map_err(|error| broken(&self.folder, &error))?;
        self.keep(pending, hash)
    }

    /// Puts what `reader` gives under its hash, which is computed on the way; at most `limit` bytes. Answers hash and length, or
    /// `None` where there was more.
    pub fn insert_from(&self, reader: &mut dyn Read, limit: u64) -> Result<Option<(ContentHash, u64)>, InsertError> {
        let mut pending = self.pending().map_err(InsertError::Cache)?;
        let mut digest = Sha256::new();
        let mut length = 0u64;
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let read = reader.read(&mut buffer).map_err(InsertError::Source)?;
            if read == 0 {
                break;
            }
            length += read as u64;
            if length > limit {
                return Ok(None);
            }
            digest.update(&buffer[..read]);
            pending.write_all(&buffer[..read]).map_err(|error| InsertError::Cache(broken(&self.folder, &error)))?;
        }
        let hash = ContentHash::from_digest(digest.finalize().into());
        self.keep(pending, &hash).map_err(InsertError::Cache)?;
        Ok(Some((hash, length)))
    }

    /// Fetches the object at `key`, whose bytes have this hash, unless it is here. The hash is checked.
    pub async fn fetch(self: &Arc<Self>, objects: &Objects, key: &str, hash: &ContentHash) -> Result<PathBuf, Failure> {
        let target = self.path(hash);
        if self.has(hash) {
            return Ok(target);
        }
        let pending = self.pending()?.into_temp_path();
        objects.get_file(key, &pending).await.map_err(|error| Failure::new(FailureCode::Storage, error.to_string()))?;
        let (cache, expected) = (self.clone(), *hash);
        let checked = tokio::task::spawn_blocking(move || {
            let mut file = std::fs::File::open(&pending).map_err(|error| broken(&pending, &error))?;
            match cache.insert_from(&mut file, u64::MAX) {
                Ok(Some((found, _))) => Ok(found == expected),
                Ok(None) => Ok(false),
                Err(InsertError::Source(error)) => Err(broken(&cache.folder, &error)),
                Err(InsertError::Cache(failure)) => Err(failure),
            }
        });
        match checked.await {
            Ok(Ok(true)) => Ok(target),
            Ok(Ok(false)) => {
                Err(Failure::new(FailureCode::Storage, format!("{key} in storage is damaged: its hash differs")))
            }
            Ok(Err(failure)) => Err(failure),
            Err(panic) => Err(Failure::new(FailureCode::Internal, format!("the worker's cache broke: {panic}"))),
        }
    }

    /// Fetches a file of a plan.
    pub async fn fetch_blob(self: &Arc<Self>, objects: &Objects, hash: &ContentHash) -> Result<PathBuf, Failure> {
        self.fetch(objects, &keys::blob(hash), hash).await
    }

    fn pending(&self) -> Result<tempfile::NamedTempFile, Failure> {
        tempfile::NamedTempFile::new_in(&self.folder).map_err(|error| broken(&self.folder, &error))
    }

    fn keep(&self, pending: tempfile::NamedTempFile, hash: &ContentHash) -> Result<(), Failure> {
        let target = self.path(hash);
        pending.persist(&target).map_err(|error| broken(&target, &error.error))?;
        if let Ok(mut present) = self.present.lock() {
            present.insert(*hash);
        }
        Ok(())
    }

    fn has(&self, hash: &ContentHash) -> bool {
        self.present.lock().is_ok_and(|present| present.contains(hash))
    }
}

fn broken(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(
        FailureCode::Internal,
        format!("the worker's cache {}: {error}; free space or set TMPDIR", path.display()),
    )
}
