//! Object storage, which is the truth: a local folder, S3, Google Cloud Storage, Azure, or memory; or what coordinators
//! [grant](grants) of it, for processes that hold no credential.
//!
//! # Semantics, the same over every store
//!
//! - **Puts are atomic.** A key holds all of a value or nothing; a reader never sees a part. Large files go up in parts
//!   of equal size, and an upload that fails is aborted.
//! - **Read after write.** A value can be read, and its key listed, once the put has returned.
//! - **Create once.** [`Objects::create`] stores a value only where there is none, and says which it was; of two at
//!   once one wins.
//! - **Retries** of transient errors are the store's own; an error that comes out here is final for the attempt.
//! - **Keys** are segments between single slashes, any text but `.`, `..` and control characters. A key is never also
//!   the folder of another: the local store could not hold both.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use hyperfarm_proto::wire::{self, Wire, WireError};
use object_store::multipart::MultipartStore;
use object_store::path::Path as StorePath;
use object_store::signer::{Method, Signer};
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Url;

use crate::metrics::Metrics;

mod files;
mod granted;
pub mod grants;
mod key;
mod open;

pub use files::hash_file;

use granted::GrantedStore;

/// What a storage URL of a coordinator begins with, before the URL itself.
pub const COORDINATOR_SCHEME: &str = "farm+";

/// Why an operation of storage failed.
#[derive(Debug, thiserror::Error)]
pub enum ObjectsError {
    /// The object does not exist.
    #[error("{key} is not in storage")]
    NotFound {
        /// The key.
        key: String,
    },
    /// The store failed.
    #[error("storage, {operation} {key}: {source}; check HYPERFARM_STORAGE_URL and the store's credentials")]
    Store {
        /// The operation.
        operation: &'static str,
        /// The key.
        key: String,
        /// The store's error.
        source: object_store::Error,
    },
    /// A local file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// The stored bytes are not a value of the expected type.
    #[error("{key} in storage cannot be read: {reason}")]
    Corrupt {
        /// The key.
        key: String,
        /// Why.
        reason: String,
    },
    /// The stored value was written by another version of the farm.
    #[error("{key} in storage: {source}")]
    Version {
        /// The key.
        key: String,
        /// The versions.
        source: WireError,
    },
    /// The text is not an object key.
    #[error("`{key}` is no object key: {reason}")]
    Key {
        /// The text.
        key: String,
        /// Why.
        reason: String,
    },
    /// The URL names no store that this build can open.
    #[error(
        "`{url}` is no storage URL: {reason}; use file:///folder, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix; a worker or stitcher without a \
         credential uses farm+https://coordinator:8080"
    )]
    Url {
        /// The URL, without credentials.
        url: String,
        /// Why.
        reason: String,
    },
}

/// Turns "there is no such object" into `None`.
///
/// # Errors
///
/// Every other error is passed on.
pub fn if_found<T>(result: Result<T, ObjectsError>) -> Result<Option<T>, ObjectsError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

impl ObjectsError {
    /// Whether the object does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// Whether the store cannot do this at all.
    pub fn is_unsupported(&self) -> bool {
        matches!(self, Self::Store { source: object_store::Error::NotSupported { .. }, .. })
    }

    fn of(operation: &'static str, key: &str, source: object_store::Error) -> Self {
        match source {
            object_store::Error::NotFound { .. } => Self::NotFound { key: key.to_owned() },
            source if is_folder_conflict(operation, &source) => Self::NotFound { key: key.to_owned() },
            source => Self::Store { operation, key: key.to_owned(), source },
        }
    }
}

/// Whether the local store found a folder in the place of the file, or a file in the place of a folder. Other stores
/// answer that the object does not exist.
fn is_folder_conflict(operation: &str, error: &object_store::Error) -> bool {
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
    /// Key of the object.
    pub key: String,
    /// Length in bytes.
    pub bytes: u64,
}

/// Whether [`Objects::create`] stored its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// The value was stored.
    Yes,
    /// There was a value before, which stays.
    Existed,
}

/// A store with a prefix for all keys. Clones share the connections.
#[derive(Clone)]
pub struct Objects {
    store: Arc<dyn ObjectStore>,
    prefix: StorePath,
    /// What signs URLs, of a store that has such.
    signing: Option<Arc<Signing>>,
    /// What coordinators grant, of a process without a credential.
    granted: Option<Arc<GrantedStore>>,
    /// The folder of a local store.
    root: Option<Arc<PathBuf>>,
    /// Counts bytes, where it is set.
    metrics: Arc<OnceLock<Metrics>>,
}

/// What signs URLs of a store.
struct Signing {
    signer: Arc<dyn Signer>,
    multipart: Arc<dyn MultipartStore>,
    cloud: Cloud,
}

/// Whose protocol a store speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cloud {
    S3,
    Google,
    Azure,
}

impl std::fmt::Debug for Objects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Objects({}/{})", self.store, self.prefix)
    }
}

impl Objects {
    /// Counts bytes in `metrics`, and the free space where the store is a local folder. Only the first call has an
    /// effect.
    pub fn with_metrics(self, metrics: &Metrics) -> Self {
        if let Some(root) = self.root.as_deref() {
            metrics.watch_disk("storage", root);
        }
        metrics.set_storage_credential(self.has_credential());
        // Every clone is the same store, so the first call counts.
        let _ = self.metrics.set(metrics.clone());
        self
    }

    fn count_stored(&self, bytes: u64) {
        if let Some(metrics) = self.metrics.get() {
            metrics.bytes_stored(bytes);
        }
    }

    /// Stores `value` in place of an earlier one.
    ///
    /// # Errors
    ///
    /// The store's error, or [`ObjectsError::Key`] for a text that is no key.
    pub async fn put(&self, key: &str, value: Bytes) -> Result<(), ObjectsError> {
        let (path, bytes) = (self.path(key)?, value.len() as u64);
        self.store.put(&path, value.into()).await.map_err(|error| ObjectsError::of("put", key, error))?;
        self.count_stored(bytes);
        Ok(())
    }

    /// Stores `value` where there is none yet.
    ///
    /// In a store without conditional puts this is a look-up and a put, which two writers can both pass at the same
    /// moment: a value that must be unique has its content's hash in the key. After a lost answer a store may report
    /// its own first attempt as [`Created::Existed`]: a caller that needs to know reads the value.
    ///
    /// # Errors
    ///
    /// The store's error, or [`ObjectsError::Key`] for a text that is no key.
    pub async fn create(&self, key: &str, value: Bytes) -> Result<Created, ObjectsError> {
        let path = self.path(key)?;
        match self.store.put_opts(&path, PutPayload::from(value.clone()), PutMode::Create.into()).await {
            Ok(_) => {
                self.count_stored(value.len() as u64);
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

    /// Reads a whole value into memory.
    ///
    /// # Errors
    ///
    /// [`ObjectsError::NotFound`] where there is none, or the store's error.
    pub async fn get(&self, key: &str) -> Result<Bytes, ObjectsError> {
        let path = self.path(key)?;
        let failed = |error| ObjectsError::of("get", key, error);
        let value = self.store.get(&path).await.map_err(failed)?.bytes().await.map_err(failed)?;
        if let Some(metrics) = self.metrics.get() {
            metrics.bytes_loaded(value.len() as u64);
        }
        Ok(value)
    }

    /// Streams a value, or the bytes `range` of it. The part of a range that lies past the end is left out. The length
    /// in the [`ObjectMeta`] is that of the whole object.
    ///
    /// # Errors
    ///
    /// [`ObjectsError::NotFound`] where there is none, or the store's error.
    pub async fn stream(
        &self,
        key: &str,
        range: Option<Range<u64>>,
    ) -> Result<(ObjectMeta, BoxStream<'static, Result<Bytes, ObjectsError>>), ObjectsError> {
        let path = self.path(key)?;
        let mut options = GetOptions::default();
        if let Some(range) = range {
            // Each store has its own error for an empty range and for one that starts past the end.
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
                metrics.bytes_loaded(piece.len() as u64);
            }
        });
        let body = body.boxed();
        Ok((meta, body))
    }

    /// Key and length of a value.
    ///
    /// # Errors
    ///
    /// [`ObjectsError::NotFound`] where there is none, or the store's error.
    pub async fn head(&self, key: &str) -> Result<ObjectMeta, ObjectsError> {
        let path = self.path(key)?;
        let meta = self.store.head(&path).await.map_err(|error| ObjectsError::of("head", key, error))?;
        Ok(ObjectMeta { key: key.to_owned(), bytes: meta.size })
    }

    /// Whether there is a value.
    ///
    /// # Errors
    ///
    /// The store's error.
    pub async fn exists(&self, key: &str) -> Result<bool, ObjectsError> {
        match self.head(key).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Every object below the folder `prefix`, at any depth, sorted by key. An empty prefix lists the whole store.
    ///
    /// # Errors
    ///
    /// The store's error.
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
            .or_else(|source| empty_or_error(prefix, source))?;
        listed.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(listed)
    }

    /// Names of the folders one level below the folder `prefix`, sorted. A folder may be listed whose first object is
    /// still being written.
    ///
    /// # Errors
    ///
    /// The store's error.
    pub async fn list_dirs(&self, prefix: &str) -> Result<Vec<String>, ObjectsError> {
        let folder = key::to_folder(&self.prefix, prefix)?;
        let listed = match self.store.list_with_delimiter(Some(&folder)).await {
            Ok(listed) => listed.common_prefixes,
            // A folder that was removed while the local store listed it is empty.
            Err(object_store::Error::NotFound { .. }) if self.root.is_some() => Vec::new(),
            Err(source) => empty_or_error(prefix, source)?,
        };
        let mut names: Vec<String> = listed.iter().filter_map(|path| key::from_path(&folder, path)).collect();
        names.sort();
        Ok(names)
    }

    /// Copies an object within the store, which does not send its bytes through this process.
    ///
    /// # Errors
    ///
    /// There is no object `from`, or the store's error.
    pub async fn copy(&self, from: &str, to: &str) -> Result<(), ObjectsError> {
        let (source, target) = (self.path(from)?, self.path(to)?);
        self.store.copy(&source, &target).await.map_err(|error| ObjectsError::of("copy", from, error))
    }

    /// Removes an object, if there is one.
    ///
    /// # Errors
    ///
    /// The store's error.
    pub async fn delete(&self, key: &str) -> Result<(), ObjectsError> {
        let path = self.path(key)?;
        match self.store.delete(&path).await.map_err(|error| ObjectsError::of("delete", key, error)) {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes every object below a folder, and the folder itself. An empty prefix is refused, so that no mistake
    /// empties the store.
    ///
    /// # Errors
    ///
    /// The store's error, or [`ObjectsError::Key`] for an empty prefix.
    pub async fn delete_prefix(&self, prefix: &str) -> Result<(), ObjectsError> {
        let folder = self.path(prefix.strip_suffix('/').unwrap_or(prefix))?;
        let paths = self.store.list(Some(&folder)).map_ok(|meta| meta.location).boxed();
        let mut deleted = self.store.delete_stream(paths);
        while let Some(result) = deleted.next().await {
            match result {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(source) => empty_or_error(prefix, source)?,
            }
        }
        self.remove_local(&folder).await
    }

    /// Removes a folder of a local store. It may hold files that a killed process was writing, which no listing shows.
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
    ///
    /// # Errors
    ///
    /// The store's error, or [`ObjectsError::Corrupt`] for a value that is no JSON.
    pub async fn put_json<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> Result<(), ObjectsError> {
        let bytes = serde_json::to_vec(value).map_err(|error| corrupt(key, &error))?;
        self.put(key, bytes.into()).await
    }

    /// Reads a value that was stored as JSON.
    ///
    /// # Errors
    ///
    /// [`ObjectsError::NotFound`], [`ObjectsError::Corrupt`], or the store's error.
    pub async fn get_json<T: DeserializeOwned>(&self, key: &str) -> Result<T, ObjectsError> {
        let bytes = self.get(key).await?;
        serde_json::from_slice(&bytes).map_err(|error| corrupt(key, &error))
    }

    /// Stores a value in the farm's wire format.
    ///
    /// # Errors
    ///
    /// The store's error, or [`ObjectsError::Corrupt`] for a value that is too long.
    pub async fn put_wire<T: Wire>(&self, key: &str, value: &T) -> Result<(), ObjectsError> {
        let bytes = wire::encode(value).map_err(|error| corrupt(key, &error))?;
        self.put(key, bytes.into()).await
    }

    /// Reads a value that was stored in the farm's wire format.
    ///
    /// # Errors
    ///
    /// [`ObjectsError::NotFound`], [`ObjectsError::Version`], [`ObjectsError::Corrupt`], or the store's error.
    pub async fn get_wire<T: Wire>(&self, key: &str) -> Result<T, ObjectsError> {
        let bytes = self.get(key).await?;
        wire::decode(&bytes).map_err(|error| match error {
            source @ WireError::Version { .. } => ObjectsError::Version { key: key.to_owned(), source },
            error => corrupt(key, &error),
        })
    }

    /// Whether the store accepts signed URLs of its own.
    pub fn has_signed_urls(&self) -> bool {
        self.signing.is_some()
    }

    /// A URL by which anyone can read the object for `valid`; `None` where the store has no signed URLs.
    ///
    /// # Errors
    ///
    /// The store's error.
    pub async fn sign_get(&self, key: &str, valid: Duration) -> Result<Option<Url>, ObjectsError> {
        let path = self.path(key)?;
        let Some(signing) = &self.signing else { return Ok(None) };
        let signed = signing.signer.signed_url(Method::GET, &path, valid).await;
        signed.map(Some).map_err(|error| ObjectsError::of("sign", key, error))
    }

    /// A URL by which anyone can write the object for `valid`; `None` where the store has no signed URLs.
    ///
    /// # Errors
    ///
    /// The store's error.
    pub async fn sign_put(&self, key: &str, valid: Duration) -> Result<Option<Url>, ObjectsError> {
        let path = self.path(key)?;
        let Some(signing) = &self.signing else { return Ok(None) };
        let signed = signing.signer.signed_url(Method::PUT, &path, valid).await;
        signed.map(Some).map_err(|error| ObjectsError::of("sign", key, error))
    }

    /// Checks that the store answers, or that a local folder can be written to; without a credential, that a coordinator
    /// answers and accepts the token.
    ///
    /// # Errors
    ///
    /// The store's error.
    pub async fn check(&self) -> Result<(), ObjectsError> {
        if let Some(granted) = &self.granted {
            let failed = |source| ObjectsError::Store { operation: "grant", key: "nothing".to_owned(), source };
            return granted.check().await.map_err(failed);
        }
        if let Some(root) = self.root.clone() {
            let failed = |source| ObjectsError::File { path: root.display().to_string(), source };
            let folder = root.clone();
            // On another thread, because a network file system may block for long.
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

/// The result of a listing that failed: empty where the folder cannot exist, else the error.
fn empty_or_error<T: Default>(prefix: &str, source: object_store::Error) -> Result<T, ObjectsError> {
    if is_folder_conflict("list", &source) {
        return Ok(T::default());
    }
    Err(ObjectsError::Store { operation: "list", key: prefix.to_owned(), source })
}

/// An error with all of its sources in one line, because a decoder's own message rarely says enough.
fn corrupt(key: &str, error: &dyn std::error::Error) -> ObjectsError {
    let mut reason = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        reason = format!("{reason}: {inner}");
        source = inner.source();
    }
    ObjectsError::Corrupt { key: key.to_owned(), reason }
}
