//! Files to and from storage, of which no more than a few parts are in memory at once.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use hyperfarm_proto::id::ContentHash;
use object_store::{ObjectStoreExt, WriteMultipart};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Objects, ObjectsError};

/// Bytes of the smallest part, and of the largest file that is stored by one request.
const MIN_PART: u64 = 8 * 1024 * 1024;

/// Parts of one upload. S3 allows 10,000; some stores fewer by a little.
const MAX_PARTS: u64 = 9_000;

/// Parts of one upload in memory at once, the one that is being read included. They fill a link, with 32 MiB of memory
/// for all but the largest files.
const CONCURRENT_PARTS: usize = 4;

/// Hash and length of a file, which is read by the buffer.
///
/// # Errors
///
/// [`ObjectsError::File`] where the file cannot be read.
pub async fn hash_file(file: &Path) -> Result<(ContentHash, u64), ObjectsError> {
    let path = file.to_owned();
    let hashing = tokio::task::spawn_blocking(move || ContentHash::of_reader(std::fs::File::open(path)?));
    hashing.await.unwrap_or_else(|error| Err(error.into())).map_err(|source| file_error(file, source))
}

impl Objects {
    /// Removes the files of a local store that writers which were killed have left half-written, last written before
    /// `before`, and returns their number. No listing shows them. Other stores end such uploads by a rule of the
    /// bucket's lifecycle, so that nothing is done there.
    ///
    /// # Errors
    ///
    /// [`ObjectsError::File`] where a folder cannot be read or a file not removed.
    pub async fn remove_half_written(&self, before: SystemTime) -> Result<u64, ObjectsError> {
        let Some(root) = self.root.clone() else { return Ok(0) };
        let folder = root.clone();
        let removing = tokio::task::spawn_blocking(move || remove_half_written(&folder, before));
        removing.await.unwrap_or_else(|error| Err(error.into())).map_err(|source| file_error(&root, source))
    }

    /// Stores a file in place of what was there. One longer than 8 MiB goes up in parts of equal size (some S3 stores
    /// insist on it), the last one excepted, and no more than four parts are in memory.
    ///
    /// An upload that fails, or whose future is dropped, is aborted, because abandoned parts cost money. One of which
    /// only the last part and the joining are left is completed.
    ///
    /// # Errors
    ///
    /// [`ObjectsError::File`] where the file cannot be read or shrinks meanwhile, [`ObjectsError::Store`] where the
    /// store fails, [`ObjectsError::Key`] for a text that is no key.
    pub async fn put_file(&self, key: &str, file: &Path) -> Result<(), ObjectsError> {
        let path = self.path(key)?;
        let broken = |source| file_error(file, source);
        let mut reader = File::open(file).await.map_err(broken)?;
        let length = reader.metadata().await.map_err(broken)?.len();
        if let Some(granted) = &self.granted
            && length > MIN_PART
        {
            return self.put_granted(granted, key, file, length).await;
        }
        if length <= MIN_PART {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).await.map_err(broken)?;
            return self.put(key, bytes.into()).await;
        }
        let upload = self.store.put_multipart(&path).await.map_err(|error| ObjectsError::of("put", key, error))?;
        let part_bytes = part_bytes(length);
        let writer = WriteMultipart::new_with_chunk_size(upload, usize::try_from(part_bytes).unwrap_or(usize::MAX));
        let mut upload = Upload { writer: Some(writer) };
        match send_parts(key, file, reader, length, part_bytes, &mut upload).await {
            Ok(()) => {
                self.count_stored(length);
                Ok(())
            }
            Err(error) => {
                upload.abort().await;
                Err(error)
            }
        }
    }

    /// Downloads an object to a file. It is written to a temporary file and renamed, so that a file of that name is
    /// whole. Missing folders are made.
    ///
    /// # Errors
    ///
    /// [`ObjectsError::NotFound`], [`ObjectsError::File`] where the file cannot be written, or the store's error.
    pub async fn get_file(&self, key: &str, file: &Path) -> Result<(), ObjectsError> {
        let broken = |source| file_error(file, source);
        let (meta, mut body) = self.stream(key, None).await?;
        let folder = match file.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        // Not on another thread: there it could still run after this future was dropped, and make a folder again that
        // its owner has removed.
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

/// A temporary file with the permissions that the process's mask allows, because its readers may run as another user.
fn temporary_in(folder: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    use std::os::unix::fs::PermissionsExt;
    tempfile::Builder::new().prefix(".get-").permissions(std::fs::Permissions::from_mode(0o666)).tempfile_in(folder)
}

/// Makes a file in `folder` and removes it. Its name is one that listings leave out.
pub(super) fn try_folder(folder: &Path) -> std::io::Result<()> {
    tempfile::Builder::new().prefix(".ready-").suffix("#0").tempfile_in(folder)?.close()
}

/// [`Objects::remove_half_written`] in `folder` and below.
fn remove_half_written(folder: &Path, before: SystemTime) -> io::Result<u64> {
    let mut removed = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let outcome = if entry.file_type()?.is_dir() {
            remove_half_written(&entry.path(), before)
        } else if is_half_written(&entry.file_name()) && entry.metadata()?.modified()? < before {
            std::fs::remove_file(entry.path()).map(|()| 1)
        } else {
            continue;
        };
        match outcome {
            // Its writer has finished or removed it meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            outcome => removed += outcome?,
        }
    }
    Ok(removed)
}

/// Whether a file of a local store has a name that `object_store` gives to a file until it is written: `KEY#NUMBER`.
fn is_half_written(name: &OsStr) -> bool {
    let number = name.to_str().and_then(|name| name.rsplit_once('#')).map_or("", |(_, number)| number);
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// Sends the first `length` bytes of `reader` in parts and completes the upload.
async fn send_parts(
    key: &str,
    file: &Path,
    mut reader: File,
    length: u64,
    part_bytes: u64,
    upload: &mut Upload,
) -> Result<(), ObjectsError> {
    let failed = |error| ObjectsError::of("put", key, error);
    let Some(writer) = upload.writer.as_mut() else { return Ok(()) };
    let mut sent = 0;
    while sent < length {
        writer.wait_for_capacity(CONCURRENT_PARTS).await.map_err(failed)?;
        let part = read_part(&mut reader, part_bytes.min(length - sent)).await.map_err(|e| file_error(file, e))?;
        sent += part.len() as u64;
        writer.put(part);
    }
    writer.wait_for_capacity(0).await.map_err(failed)?;
    upload.finish().await.map_err(failed)
}

/// Bytes of the parts of a file: a whole number of MiB, at least [`MIN_PART`], with which the file has at most
/// [`MAX_PARTS`] of them.
fn part_bytes(length: u64) -> u64 {
    const MIB: u64 = 1024 * 1024;
    length.div_ceil(MAX_PARTS).div_ceil(MIB).saturating_mul(MIB).max(MIN_PART)
}

async fn read_part(reader: &mut File, length: u64) -> std::io::Result<Bytes> {
    let mut part = BytesMut::zeroed(usize::try_from(length).map_err(std::io::Error::other)?);
    // A file that shrank meanwhile ends the upload: an object of mixed states must not be stored.
    reader.read_exact(&mut part).await?;
    Ok(part.freeze())
}

fn file_error(path: &Path, source: std::io::Error) -> ObjectsError {
    ObjectsError::File { path: path.display().to_string(), source }
}

/// An upload in parts, which is aborted when it is dropped before [`Upload::finish`].
struct Upload {
    writer: Option<WriteMultipart>,
}

impl Upload {
    /// Sends what is left and joins the parts. A failure aborts the upload.
    async fn finish(&mut self) -> object_store::Result<()> {
        let Some(writer) = self.writer.take() else { return Ok(()) };
        // A task of its own: dropped half-way, the writer would neither complete the upload nor abort it.
        tokio::spawn(writer.finish()).await??;
        Ok(())
    }

    async fn abort(mut self) {
        if let Some(writer) = self.writer.take() {
            abort(writer).await;
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let Some(writer) = self.writer.take() else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(abort(writer));
        }
    }
}

async fn abort(writer: WriteMultipart) {
    if let Err(error) = writer.abort().await {
        tracing::warn!(%error, "an upload could not be aborted; a lifecycle rule of the store should remove its parts");
    }
}

#[cfg(test)]
mod tests;
