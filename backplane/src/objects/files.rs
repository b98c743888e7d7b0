//! Whole files to and from storage.

use std::path::Path;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use object_store::{MultipartUpload, ObjectStoreExt, PutPayload};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use super::{Objects, ObjectsError};

/// Smallest part, and the largest file that goes up in one piece.
const MIN_PART: u64 = 8 * 1024 * 1024;

/// S3 allows 10,000 parts; some stores fewer by a little.
const MAX_PARTS: u64 = 9_000;

/// Parts under way at once: enough to fill a link, 32 MiB of memory for all but the largest files.
const CONCURRENT_PARTS: usize = 4;

impl Objects {
    /// Stores a file. One longer than 8 MiB goes up in parts of equal size (some S3 stores insist on it), the last one excepted;
    /// an upload that fails, or whose future is dropped, is aborted, because abandoned parts cost money.
    pub async fn put_file(&self, key: &str, file: &Path) -> Result<(), ObjectsError> {
        let path = self.path(key)?;
        let broken = |source| file_error(file, source);
        let mut reader = File::open(file).await.map_err(broken)?;
        let length = reader.metadata().await.map_err(broken)?.len();
        if length <= MIN_PART {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).await.map_err(broken)?;
            return self.put(key, bytes.into()).await;
        }
        let upload = self.store.put_multipart(&path).await.map_err(|error| ObjectsError::of("put", key, error))?;
        let mut upload = Upload { inner: Some(upload) };
        match self.send_parts(key, file, reader, length, &mut upload).await {
            Ok(()) => {
                self.stored(length);
                upload.inner = None;
                Ok(())
            }
            Err(error) => {
                upload.abort().await;
                Err(error)
            }
        }
    }

    async fn send_parts(
        &self,
        key: &str,
        file: &Path,
        mut reader: File,
        length: u64,
        upload: &mut Upload,
    ) -> Result<(), ObjectsError> {
        let failed = |error| ObjectsError::of("put", key, error);
        let Some(inner) = upload.inner.as_mut() else { return Ok(()) };
        let part_size = part_size(length);
        let mut tasks = JoinSet::new();
        let mut sent = 0;
        while sent < length {
            let part = read_part(&mut reader, part_size.min(length - sent)).await.map_err(|e| file_error(file, e))?;
            sent += part.len() as u64;
            tasks.spawn(inner.put_part(PutPayload::from(part)));
            if tasks.len() >= CONCURRENT_PARTS {
                joined(tasks.join_next().await).map_err(failed)?;
            }
        }
        while !tasks.is_empty() {
            joined(tasks.join_next().await).map_err(failed)?;
        }
        inner.complete().await.map_err(failed)?;
        Ok(())
    }

    /// Fetches an object into a file: it is written beside its place and renamed, so that a file of that name is whole.
    /// Folders above it are made.
    pub async fn get_file(&self, key: &str, file: &Path) -> Result<(), ObjectsError> {
        let broken = |source| file_error(file, source);
        let (meta, mut body) = self.stream(key, None).await?;
        let folder = match file.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        // Not on another thread: there it could still run after this future was dropped, and bring back a folder that its owner
        // has removed meanwhile.
        std::fs::create_dir_all(folder).map_err(broken)?;
        let temporary = temporary_in(folder).map_err(broken)?;
        let mut writer = File::from_std(temporary.reopen().map_err(broken)?);
        let mut written = 0;
        while let Some(piece) = body.next().await {
            let piece = piece?;
            written += piece.len() as u64;
            writer.write_all(&piece).await.map_err(broken)?;
        }
        writer.flush().await.map_err(broken)?;
        if written != meta.bytes {
            let reason = format!("{written} of {} bytes came", meta.bytes);
            return Err(ObjectsError::Corrupt { key: key.to_owned(), reason });
        }
        temporary.persist(file).map_err(|error| broken(error.error))?;
        Ok(())
    }
}

/// Readable by whom the process's mask says, and not by its user alone: a file's readers may run as somebody else.
fn temporary_in(folder: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    use std::os::unix::fs::PermissionsExt;
    tempfile::Builder::new().prefix(".get-").permissions(std::fs::Permissions::from_mode(0o666)).tempfile_in(folder)
}

/// Makes a file in `folder` and removes it. Listings leave out what is named like this.
pub(super) fn try_folder(folder: &Path) -> std::io::Result<()> {
    tempfile::Builder::new().prefix(".ready-").suffix("#0").tempfile_in(folder)?.close()
}

/// Parts of a whole number of MiB, at least [`MIN_PART`], at most [`MAX_PARTS`] of them.
fn part_size(length: u64) -> u64 {
    const MIB: u64 = 1024 * 1024;
    length.div_ceil(MAX_PARTS).div_ceil(MIB).saturating_mul(MIB).max(MIN_PART)
}

async fn read_part(reader: &mut File, length: u64) -> std::io::Result<Bytes> {
    let mut part = BytesMut::zeroed(usize::try_from(length).map_err(std::io::Error::other)?);
    // A file that shrank meanwhile ends the upload: an object of mixed states must not be stored.
    reader.read_exact(&mut part).await?;
    Ok(part.freeze())
}

fn joined(task: Option<Result<object_store::Result<()>, tokio::task::JoinError>>) -> Result<(), object_store::Error> {
    match task {
        None => Ok(()),
        Some(Ok(result)) => result,
        Some(Err(source)) => Err(object_store::Error::JoinError { source }),
    }
}

fn file_error(path: &Path, source: std::io::Error) -> ObjectsError {
    ObjectsError::File { path: path.display().to_string(), source }
}

/// An upload in parts that is aborted unless it was completed.
struct Upload {
    inner: Option<Box<dyn MultipartUpload>>,
}

impl Upload {
    async fn abort(mut self) {
        if let Some(inner) = self.inner.take() {
            abort(inner).await;
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let Some(inner) = self.inner.take() else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(abort(inner));
        }
    }
}

async fn abort(mut upload: Box<dyn MultipartUpload>) {
    if let Err(error) = upload.abort().await {
        tracing::warn!(%error, "an upload could not be aborted; a lifecycle rule should remove its parts");
    }
}

#[cfg(test)]
mod tests;
