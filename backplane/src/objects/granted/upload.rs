//! Files to storage by signed URLs: read from disk as they are sent, so that they take no memory.

use std::path::Path;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use object_store::Error;
use reqwest::Method;
use reqwest::header::{ETAG, HeaderMap};

use super::{Attempts, GrantedStore, Payload, STORE};
use crate::objects::ObjectsError;
use crate::objects::grants::{Grant, LARGEST_PUT, SignedRequest, Want};

/// Parts that are sent at once.
const CONCURRENT_PARTS: usize = 4;

/// Times that URLs of parts are asked for anew: uploads may take longer than URLs are valid.
const RENEWALS: usize = 64;

/// Stores the first `length` bytes of `file`.
pub(super) async fn put_file(
    store: &Arc<GrantedStore>,
    key: &str,
    file: &Path,
    length: u64,
) -> Result<(), ObjectsError> {
    let stored = send_file(store, key, file, length).await;
    let Err(error) = stored else { return Ok(()) };
    // A file that shrank meanwhile ends the upload, which the client reports as a connection that broke.
    let broken = |source| ObjectsError::File { path: file.display().to_string(), source };
    let now = tokio::fs::metadata(file).await.map_err(broken)?.len();
    if now < length {
        return Err(broken(std::io::ErrorKind::UnexpectedEof.into()));
    }
    Err(ObjectsError::of("put", key, error))
}

async fn send_file(store: &Arc<GrantedStore>, key: &str, file: &Path, length: u64) -> object_store::Result<()> {
    let want = Want::Put { key: key.to_owned(), bytes: Some(length) };
    if length > LARGEST_PUT {
        // Where the key names the content, the coordinator answers with one request all the same.
        if let Grant::Parts { upload, part_bytes, requests, .. } = store.grant(&want).await? {
            return Upload { store, key, file, length, upload, part_bytes }.run(requests).await;
        }
    }
    let payload = Payload::Section { file: file.to_owned(), start: 0, length };
    store.request(&want, &HeaderMap::new(), &payload).await.map(drop)
}

/// An upload in parts.
struct Upload<'a> {
    store: &'a Arc<GrantedStore>,
    key: &'a str,
    file: &'a Path,
    length: u64,
    upload: String,
    part_bytes: u64,
}

/// Aborts an upload when it is dropped before its parts were joined.
struct Abort(Option<(Arc<GrantedStore>, Want)>);

impl Drop for Abort {
    fn drop(&mut self) {
        let Some((store, want)) = self.0.take() else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            if let Err(error) = store.have_done(want).await {
                tracing::warn!(%error, "an upload could not be aborted; a lifecycle rule of the store should remove its parts");
            }
        });
    }
}

impl Upload<'_> {
    async fn run(&self, requests: Vec<SignedRequest>) -> object_store::Result<()> {
        let (key, upload) = (self.key.to_owned(), self.upload.clone());
        let mut abort = Abort(Some((self.store.clone(), Want::Abort { key: key.clone(), upload: upload.clone() })));
        let mut tags: Vec<Option<String>> = vec![None; requests.len()];
        let mut requests = requests;
        for _ in 0..RENEWALS {
            let missing: Vec<usize> = (0..tags.len()).filter(|number| tags[*number].is_none()).collect();
            if missing.is_empty() {
                break;
            }
            let sending = missing.into_iter().filter_map(|number| Some((number, requests.get(number)?.clone())));
            let sending = sending
                .map(|(number, request)| async move { Ok::<_, Error>((number, self.part(number, &request).await?)) });
            // Collected first: a lazy iterator of futures borrows in a way that is not `Send`.
            let sending: Vec<_> = sending.collect();
            let sent: Vec<(usize, Option<String>)> =
                futures::stream::iter(sending).buffer_unordered(CONCURRENT_PARTS).try_collect().await?;
            let had = tags.iter().flatten().count();
            for (number, tag) in sent {
                tags[number] = tag;
            }
            if tags.iter().all(Option::is_some) {
                break;
            }
            if tags.iter().flatten().count() == had {
                return Err(Error::PermissionDenied { path: key, source: "the store refuses every part".into() });
            }
            requests = self.renew().await?;
        }
        let parts: Option<Vec<String>> = tags.into_iter().collect();
        let parts =
            parts.ok_or_else(|| Error::Generic { store: STORE, source: "the parts were not sent in time".into() })?;
        self.store.have_done(Want::Complete { key, upload, parts }).await?;
        abort.0 = None;
        Ok(())
    }

    async fn renew(&self) -> object_store::Result<Vec<SignedRequest>> {
        let want = Want::Parts { key: self.key.to_owned(), bytes: self.length, upload: self.upload.clone() };
        match self.store.have_done(want).await? {
            Grant::Parts { requests, .. } => Ok(requests),
            _ => Err(Error::Generic { store: STORE, source: "another grant came than was asked for".into() }),
        }
    }

    /// Sends one part. Returns the store's tag of it; `None` where its URL has run out.
    async fn part(&self, number: usize, request: &SignedRequest) -> object_store::Result<Option<String>> {
        let start = number as u64 * self.part_bytes;
        let length = self.part_bytes.min(self.length - start);
        let payload = Payload::Section { file: self.file.to_owned(), start, length };
        let mut attempts = Attempts::default();
        loop {
            let sent = self.store.send(Method::PUT, request, self.key, &HeaderMap::new(), &payload).await;
            let failed = match sent {
                Ok(response) => {
                    let tag = response.headers().get(ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
                    let missing = || Error::Generic { store: STORE, source: "the store gave a part no tag".into() };
                    return tag.map(Some).ok_or_else(missing);
                }
                Err(failed) => failed,
            };
            let mut is_refused = false;
            attempts.after(failed, || is_refused = true).await?;
            if is_refused {
                return Ok(None);
            }
        }
    }
}
