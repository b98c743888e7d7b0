//! Object storage, which is the truth.
//!
//! # Semantics, the same over every store
//!
//! - **Puts are atomic.** A key holds all of a value or nothing; a reader never sees a part. Large files go up in parts of equal size,
//!   and an upload that fails is aborted.
//! - **Read after write.** A value can be read, and its key listed, once the put has returned.
//! - **Create once.** [`Objects::create`] stores a value only where there is none, and says which it was; of two at once one wins.
//! - **Retries** of transient errors are the store's own; an error that comes out here is final for the attempt.
//! - **Keys** are segments between single slashes, any text but `.`, `..` and control characters. A key is never also the
//!   folder of another: the local store could not hold both.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use hyperfarm_proto::wire::{self, Wire, WireError};
use object_store::path::Path as StorePath;
use object_store::signer::{Method, Signer};
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Url;

use crate::metrics::Metrics;

mod files;
mod key;
mod open;

pub use files::hash_file;

/// Storage did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ObjectsError {
    /// There is no such object.
    #[error("{key} is not in storage")]
    NotFound {
        /// The key.
        key: String,
    },
    /// The store failed.
    #[error("storage, {operation} {key}: {source}; check HYPERFARM_STORAGE_URL and the store's credentials")]
    Store {
        /// What was tried.
        operation: &'static str,
        /// The key.
        key: String,
        /// Why.
        source: object_store::Error,
    },
    /// A local file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// What is stored is not what it should be.
    #[error("{key} in storage cannot be read: {reason}")]
    Corrupt {
        /// The key.
        key: String,
        /// Why.
        reason: String,
    },
    /// What is stored was written by a farm of another version.
    #[error("{key} in storage: {source}")]
    Version {
        /// The key.
        key: String,
        /// Which versions.
        source: WireError,
    },
    /// The text is no key.
    #[error("`{key}` is no object key: {reason}")]
    Key {
        /// The text.
        key: String,
        /// Why.
        reason: String,
    },
    /// The URL names no store this build can open.
    #[error(
        "`{url}` is no storage URL: {reason}; use file:///folder, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix"
    )]
    Url {
        /// The URL, without credentials.
        url: String,
        /// Why.
        reason: String,
    },
}

impl ObjectsError {
    /// Whether the object does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    fn of(operation: &'static str, key: &str, source: object_store::Error) -> Self {
        match source {
            object_store::Error::NotFound { .. } => Self::NotFound { key: key.to_owned() },
            source if is_beside_a_folder(operation, &source) => Self::NotFound { key: key.to_owned() },
            source => Self::Store { operation, key: key.to_owned(), source },
        }
    }
}

/// Whether the local store found a folder where the key should be, or a file where a folder should be: there is no such object,
/// as any other store would say.
fn is_beside_a_folder(operation: &str, error: &object_store::Error) -> bool {
    if matches!(operation, "put" | "create") {
        return false;
    }
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            return matches!(error.kind(), std::io::ErrorKind::IsADirectory | std::io::ErrorKind::NotADirectory);
        }
        source = error.source();
    }
    false
}

/// One listed object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Its key.
    pub key: String,
    /// Length in bytes.
    pub bytes: u64,
}

/// Whether [`Objects::create`] stored its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// It did.
    Yes,
    /// There was a value already, and it stays.
    Existed,
}

/// A store and a place in it. Clones share the connections.
#[derive(Clone)]
pub struct Objects {
    store: Arc<dyn ObjectStore>,
    prefix: StorePath,
    signer: Option<Arc<dyn Signer>>,
    /// The folder of a local store.
    root: Option<Arc<PathBuf>>,
    /// Where bytes are counted, once somebody wants that.
    metrics: Arc<OnceLock<Metrics>>,
}

impl std::fmt::Debug for Objects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Objects({}/{})", self.store, self.prefix)
    }
}

impl Objects {
    /// The same, counting into `metrics`: the bytes, and the room where the store is a local folder. The first one counts.
    pub fn with_metrics(self, metrics: &Metrics) -> Self {
        if let Some(root) = self.root.as_deref() {
            metrics.watch_disk("storage", root);
        }
        // Every clone is the same store, so whoever was first is right.
        let _ = self.metrics.set(metrics.clone());
        self
    }

    fn stored(&self, bytes: u64) {
        if let Some(metrics) = self.metrics.get() {
            metrics.stored(bytes);
        }
    }

    /// Stores `value`, in place of what was there.
    pub async fn put(&self, key: &str, value: Bytes) -> Result<(), ObjectsError> {
        let (path, bytes) = (self.path(key)?, value.len() as u64);
        self.store.put(&path, value.into()).await.map_err(|error| ObjectsError::of("put", key, error))?;
        self.stored(bytes);
        Ok(())
    }

    /// Stores `value` where there is none yet.
    ///
    /// A store without conditional puts is asked first and written then, which two writers at the same moment can both
    /// pass: what must be unique has content in its key. After a lost answer a store may report its own first try as
    /// [`Created::Existed`]: who needs to know reads the value.
    pub async fn create(&self, key: &str, value: Bytes) -> Result<Created, ObjectsError> {
        let path = self.path(key)?;
        match self.store.put_opts(&path, PutPayload::from(value.clone()), PutMode::Create.into()).await {
            Ok(_) => {
                self.stored(value.len() as u64);
                Ok(Created::Yes)
            }
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                Ok(Created::Existed)
            }
            Err(object_store::Error::NotImplemented { .. } | object_store::Error::NotSupported { .. }) => {
                if self.exists(key).await? {
                    return Ok(Created::Existed);
                }
                self.put(key, value).await?;
                Ok(Created::Yes)
            }
            Err(error) => Err(ObjectsError::of("create", key, error)),
        }
    }

    /// The whole value.
    pub async fn get(&self, key: &str) -> Result<Bytes, ObjectsError> {
        let path = self.path(key)?;
        let failed = |error| ObjectsError::of("get", key, error);
        let value = self.store.get(&path).await.map_err(failed)?.bytes().await.map_err(failed)?;
        if let Some(metrics) = self.metrics.get() {
            metrics.loaded(value.len() as u64);
        }
        Ok(value)
    }

    /// The value, or the bytes `range` of it, piece by piece. What of the range lies past the end is left out. The length in
    /// the [`ObjectMeta`] is the whole object's.
    pub async fn stream(
        &self,
        key: &str,
        range: Option<Range<u64>>,
    ) -> Result<(ObjectMeta, BoxStream<'static, Result<Bytes, ObjectsError>>), ObjectsError> {
        let path = self.path(key)?;
        let mut options = GetOptions::default();
        if let Some(range) = range {
            // Stores answer an empty range, or one that starts past the end, with an error each of its own.
            let meta = self.head(key).await?;
            if range.is_empty() || range.start >= meta.bytes {
                return Ok((meta, futures::stream::empty().boxed()));
            }
            options.range = Some(GetRange::Bounded(range.start..range.end.min(meta.bytes)));
        }
        let found = self.store.get_opts(&path, options).await.map_err(|error| ObjectsError::of("get", key, error))?;
        let meta = ObjectMeta { key: key.to_owned(), bytes: found.meta.size };
        let (key, metrics) = (key.to_owned(), self.metrics.clone());
        let body = found.into_stream().map_err(move |error| ObjectsError::of("get", &key, error));
        let body = body.inspect_ok(move |piece| {
            if let Some(metrics) = metrics.get() {
                metrics.loaded(piece.len() as u64);
            }
        });
        let body = body.boxed();
        Ok((meta, body))
    }

    /// What there is to know without reading the value.
    pub async fn head(&self, key: &str) -> Result<ObjectMeta, ObjectsError> {
        let path = self.path(key)?;
        let meta = self.store.head(&path).await.map_err(|error| ObjectsError::of("head", key, error))?;
        Ok(ObjectMeta { key: key.to_owned(), bytes: meta.size })
    }

    /// Whether there is a value.
    pub async fn exists(&self, key: &str) -> Result<bool, ObjectsError> {
        match self.head(key).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Every object below the folder `prefix`, at any depth, by key; of the whole store for an empty one.
    pub async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>, ObjectsError> {
        let folder = key::to_folder(&self.prefix, prefix)?;
        let mut listed: Vec<ObjectMeta> = self
            .store
            .list(Some(&folder))
            .try_filter_map(|meta| {
                let found = key::from_path(&self.prefix, &meta.location);
                futures::future::ready(Ok(found.map(|key| ObjectMeta { key, bytes: meta.size })))
            })
            .try_collect()
            .await
            .or_else(|source| nothing_or(prefix, source))?;
        listed.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(listed)
    }

    /// Names of the folders one level below the folder `prefix`, sorted. One may be listed whose first object is still being
    /// written.
    pub async fn list_dirs(&self, prefix: &str) -> Result<Vec<String>, ObjectsError> {
        let folder = key::to_folder(&self.prefix, prefix)?;
        let listed = match self.store.list_with_delimiter(Some(&folder)).await {
            Ok(listed) => listed.common_prefixes,
            // A folder that vanished between two looks of the local store has nothing in it.
            Err(object_store::Error::NotFound { .. }) if self.root.is_some() => Vec::new(),
            Err(source) => nothing_or(prefix, source)?,
        };
        let mut names: Vec<String> = listed.iter().filter_map(|path| key::from_path(&folder, path)).collect();
        names.sort();
        Ok(names)
    }

    /// Removes an object. There need not be one.
    pub async fn delete(&self, key: &str) -> Result<(), ObjectsError> {
        let path = self.path(key)?;
        match self.store.delete(&path).await.map_err(|error| ObjectsError::of("delete", key, error)) {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes every object below a folder, and nothing is left of the folder. An empty prefix is refused: nobody wants to
    /// empty the whole store by mistake.
    pub async fn delete_prefix(&self, prefix: &str) -> Result<(), ObjectsError> {
        let folder = self.path(prefix.strip_suffix('/').unwrap_or(prefix))?;
        let paths = self.store.list(Some(&folder)).map_ok(|meta| meta.location).boxed();
        let mut deleted = self.store.delete_stream(paths);
        while let Some(result) = deleted.next().await {
            match result {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(source) => nothing_or(prefix, source)?,
            }
        }
        self.remove_local(&folder).await
    }

    /// A process that was killed leaves files behind that were still being written; they are in no listing.
    async fn remove_local(&self, folder: &StorePath) -> Result<(), ObjectsError> {
        let Some(root) = self.root.as_deref() else { return Ok(()) };
        let dir = folder.parts().fold(root.clone(), |path, part| path.join(part.as_ref()));
        match tokio::fs::remove_dir_all(&dir).await {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {}
            Err(source) => return Err(ObjectsError::File { path: dir.display().to_string(), source }),
        }
        let mut above = dir.parent();
        while let Some(dir) = above.filter(|dir| *dir != root.as_path()) {
            if tokio::fs::remove_dir(dir).await.is_err() {
                break;
            }
            above = dir.parent();
        }
        Ok(())
    }

    /// Stores a value as JSON.
    pub async fn put_json<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> Result<(), ObjectsError> {
        let bytes = serde_json::to_vec(value).map_err(|error| corrupt(key, &error))?;
        self.put(key, bytes.into()).await
    }

    /// Reads a value that was stored as JSON.
    pub async fn get_json<T: DeserializeOwned>(&self, key: &str) -> Result<T, ObjectsError> {
        let bytes = self.get(key).await?;
        serde_json::from_slice(&bytes).map_err(|error| corrupt(key, &error))
    }

    /// Stores a value in the farm's wire format.
    pub async fn put_wire<T: Wire>(&self, key: &str, value: &T) -> Result<(), ObjectsError> {
        let bytes = wire::encode(value).map_err(|error| corrupt(key, &error))?;
        self.put(key, bytes.into()).await
    }

    /// Reads a value that was stored in the farm's wire format.
    pub async fn get_wire<T: Wire>(&self, key: &str) -> Result<T, ObjectsError> {
        let bytes = self.get(key).await?;
        wire::decode(&bytes).map_err(|error| match error {
            source @ WireError::Version { .. } => ObjectsError::Version { key: key.to_owned(), source },
            error => corrupt(key, &error),
        })
    }

    /// A URL with which anybody can read the object for `valid`; `None` where the store has no such thing.
    pub async fn sign_get(&self, key: &str, valid: Duration) -> Result<Option<Url>, ObjectsError> {
        let path = self.path(key)?;
        let Some(signer) = &self.signer else { return Ok(None) };
        let signed = signer.signed_url(Method::GET, &path, valid).await;
        signed.map(Some).map_err(|error| ObjectsError::of("sign", key, error))
    }

    /// A URL to which anybody can write the object for `valid`; `None` where the store has no such thing.
    pub async fn sign_put(&self, key: &str, valid: Duration) -> Result<Option<Url>, ObjectsError> {
        let path = self.path(key)?;
        let Some(signer) = &self.signer else { return Ok(None) };
        let signed = signer.signed_url(Method::PUT, &path, valid).await;
        signed.map(Some).map_err(|error| ObjectsError::of("sign", key, error))
    }

    /// Whether the store answers; a local folder, whether it can be written to.
    pub async fn check(&self) -> Result<(), ObjectsError> {
        if let Some(root) = self.root.clone() {
            let failed = |source| ObjectsError::File { path: root.display().to_string(), source };
            let folder = root.clone();
            // On another thread: a network file system may keep silent.
            let tried = tokio::task::spawn_blocking(move || files::try_folder(&folder)).await;
            tried.map_err(std::io::Error::other).flatten().map_err(failed)?;
        }
        match self.store.list(Some(&self.prefix)).next().await {
            None | Some(Ok(_)) => Ok(()),
            Some(Err(source)) => Err(ObjectsError::Store { operation: "list", key: String::new(), source }),
        }
    }

    fn path(&self, key: &str) -> Result<StorePath, ObjectsError> {
        key::to_path(&self.prefix, key)
    }
}

/// What a listing that failed found: nothing, if it was of a folder that cannot be.
fn nothing_or<T: Default>(prefix: &str, source: object_store::Error) -> Result<T, ObjectsError> {
    if is_beside_a_folder("list", &source) {
        return Ok(T::default());
    }
    Err(ObjectsError::Store { operation: "list", key: prefix.to_owned(), source })
}

/// The source chain in one line: a decoder's own message alone rarely says enough.
fn corrupt(key: &str, error: &dyn std::error::Error) -> ObjectsError {
    let mut reason = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        reason = format!("{reason}: {inner}");
        source = inner.source();
    }
    ObjectsError::Corrupt { key: key.to_owned(), reason }
}
