//! The worker's cache of files by their content: a file of a plan is downloaded once per worker.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyperfarm_backplane::objects::Objects;
use hyperfarm_backplane::objects::grants::Want;
use hyperfarm_proto::id::ContentHash;
use hyperfarm_proto::keys;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use crate::blocking::blocking;
use crate::error::{DiskError, WorkerError};

/// Bytes copied at once.
const BUFFER_BYTES: usize = 256 * 1024;

/// Why a file was not added to the cache.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InsertError {
    /// The source cannot be read.
    #[error("{0}")]
    Source(std::io::Error),
    /// The cache cannot be written.
    #[error(transparent)]
    Cache(#[from] DiskError),
}

/// Files of this worker, named by the SHA-256 of their bytes. The folder is removed with the worker.
pub(crate) struct Cache {
    folder: PathBuf,
    present: Mutex<HashSet<ContentHash>>,
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Cache {
    /// An empty cache in `folder`, which is created.
    pub(crate) fn open(folder: &Path) -> Result<Self, DiskError> {
        std::fs::create_dir_all(folder).map_err(unusable(folder))?;
        Ok(Self { folder: folder.to_owned(), present: Mutex::default() })
    }

    /// Path of the file with this hash, once it is in the cache.
    pub(crate) fn path(&self, hash: &ContentHash) -> PathBuf {
        self.folder.join(hash.to_string())
    }

    /// Adds the bytes of `reader`, at most `limit`, under their hash, which is computed while they are copied. Returns
    /// hash and length, or `None` where `reader` has more bytes.
    pub(crate) fn insert_from(
        &self,
        reader: &mut dyn Read,
        limit: u64,
    ) -> Result<Option<(ContentHash, u64)>, InsertError> {
        let mut file = self.temporary_file()?;
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
            file.write_all(&buffer[..read]).map_err(unusable(&self.folder))?;
        }
        let hash = ContentHash::from_digest(digest.finalize().into());
        self.persist(file, &hash)?;
        Ok(Some((hash, length)))
    }

    /// Downloads the object at `key`, whose bytes have this hash, unless it is in the cache, and returns its path. The
    /// hash is checked.
    pub(crate) async fn fetch(
        self: &Arc<Self>,
        objects: &Objects,
        key: &str,
        hash: &ContentHash,
    ) -> Result<PathBuf, WorkerError> {
        if self.has(hash) {
            return Ok(self.path(hash));
        }
        let download = self.temporary_file()?.into_temp_path();
        objects.get_file(key, &download).await?;
        let cache = self.clone();
        let inserted = blocking("the worker's cache", move || {
            let mut file = std::fs::File::open(&download).map_err(unusable(&download))?;
            match cache.insert_from(&mut file, u64::MAX) {
                Ok(inserted) => Ok(inserted.map(|(hash, _)| hash)),
                Err(InsertError::Source(source)) => Err(unusable(&cache.folder)(source)),
                Err(InsertError::Cache(error)) => Err(error),
            }
        });
        if inserted.await?? == Some(*hash) {
            return Ok(self.path(hash));
        }
        Err(WorkerError::DamagedObject { key: key.to_owned() })
    }

    /// Asks together for what the downloads of those of these files need that are not in the cache.
    pub(crate) async fn expect_blobs(
        &self,
        objects: &Objects,
        hashes: impl Iterator<Item = &ContentHash>,
    ) -> Result<(), WorkerError> {
        let missing = hashes.filter(|hash| !self.has(hash)).map(|hash| Want::Get { key: keys::blob(hash) }).collect();
        Ok(objects.expect(missing).await?)
    }

    /// Downloads a file of a plan; see [`Cache::fetch`].
    pub(crate) async fn fetch_blob(
        self: &Arc<Self>,
        objects: &Objects,
        hash: &ContentHash,
    ) -> Result<PathBuf, WorkerError> {
        self.fetch(objects, &keys::blob(hash), hash).await
    }

    fn temporary_file(&self) -> Result<NamedTempFile, DiskError> {
        NamedTempFile::new_in(&self.folder).map_err(unusable(&self.folder))
    }

    fn persist(&self, file: NamedTempFile, hash: &ContentHash) -> Result<(), DiskError> {
        let target = self.path(hash);
        file.persist(&target).map_err(|error| unusable(&target)(error.error))?;
        self.present.lock().insert(*hash);
        Ok(())
    }

    fn has(&self, hash: &ContentHash) -> bool {
        self.present.lock().contains(hash)
    }
}

fn unusable(path: &Path) -> impl Fn(std::io::Error) -> DiskError {
    DiskError::at(path, "in the worker's cache cannot be used")
}
