//! Storage without a credential: every request is made by a signed URL that a coordinator grants to the holder of a
//! lease.
//!
//! - **A task sees its own objects.** What is asked outside a task, or for another task's objects, fails with an error
//!   that says so. Nothing is deleted, copied or created conditionally.
//! - **Grants are asked for together** by [`Objects::expect`](super::Objects::expect), kept until shortly before they
//!   run out, and asked for anew when the store refuses one.
//! - **An outage is an outage**: coordinators and stores that do not answer, or answer that they cannot, are asked again
//!   for as long as the other stores are; a download goes on where it broke off.

use std::collections::HashMap;
use std::fmt;
use std::io::SeekFrom;
use std::ops::Range;
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    Attributes, CopyOptions, Error, GetOptions, GetRange, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult,
};
use parking_lot::Mutex;
use reqwest::header::{ETAG, HeaderMap, IF_MATCH, RANGE};
use reqwest::{Method, Response, StatusCode};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;
use url::Url;

use super::grants::{Grant, GrantAnswer, GrantRequest, HeldLease, MAX_WANTS, SignedRequest, Want};
use super::{Objects, ObjectsError, key};
use crate::ledger::Lease;
use crate::metrics::Metrics;
use crate::redact::redact;
use crate::retry::{Delays, RetryPolicy};

mod ask;
mod upload;

use ask::Coordinator;

/// Name of this store in errors.
const STORE: &str = "granted";

/// Waits between requests to the store, as those of the other stores.
const RETRIES: RetryPolicy =
    RetryPolicy::new(Duration::from_millis(200), Duration::from_secs(4)).attempts(7).within(Duration::from_secs(25));

/// How long before its end a grant is not used any more, at most.
const MARGIN: Duration = Duration::from_secs(30);

/// How long a store may take nothing of a file.
const STALL: Duration = Duration::from_secs(30);

/// How long a store may not answer that has all of a file: it copies it, where it is a folder of the coordinator's.
const KEEPS_WITHIN: Duration = Duration::from_secs(600);

/// Bytes that are read from a file at once.
const BUFFER_BYTES: usize = 256 * 1024;

/// Where a process without a credential asks, and what it was granted for its task.
pub(super) struct GrantedStore {
    coordinator: Arc<Coordinator>,
    lease: Option<Lease>,
    grants: Mutex<HashMap<Want, Kept>>,
}

/// A grant, and until when it is used.
#[derive(Clone)]
struct Kept {
    grant: Grant,
    until: Instant,
}

impl fmt::Debug for GrantedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GrantedStore({})", redact(self.coordinator.url().as_str()))
    }
}

impl fmt::Display for GrantedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl GrantedStore {
    /// The storage that coordinators at `url` grant to who sends `token`.
    pub(super) fn new(url: Url, token: &str, metrics: Arc<OnceLock<Metrics>>) -> Result<Self, String> {
        let coordinator = Arc::new(Coordinator::new(url, token, metrics)?);
        Ok(Self { coordinator, lease: None, grants: Mutex::default() })
    }

    /// The same for the holder of `lease`.
    pub(super) fn for_task(&self, lease: &Lease) -> Self {
        let (coordinator, lease) = (self.coordinator.clone(), Some(lease.clone()));
        Self { coordinator, lease, grants: Mutex::default() }
    }

    /// Checks that a coordinator answers and accepts the token.
    pub(super) async fn check(&self) -> object_store::Result<()> {
        let request = GrantRequest { lease: None, wants: Vec::new(), inputs: false };
        self.coordinator.ask_once(&request).await.map(drop).map_err(|refused| refused.error)
    }

    /// See [`Objects::expect`].
    pub(super) async fn expect(&self, wants: Vec<Want>, inputs: bool) -> Result<(), ObjectsError> {
        let missing: Vec<Want> = wants.into_iter().filter(|want| self.kept(want).is_none()).collect();
        if missing.is_empty() && !inputs {
            return Ok(());
        }
        let failed = |error| ObjectsError::of("grant", "the task's objects", error);
        let mut batches = missing.chunks(MAX_WANTS);
        self.ask(batches.next().unwrap_or_default().to_vec(), inputs).await.map_err(failed)?;
        for batch in batches {
            self.ask(batch.to_vec(), false).await.map_err(failed)?;
        }
        Ok(())
    }

    fn kept(&self, want: &Want) -> Option<Grant> {
        let mut grants = self.grants.lock();
        let now = Instant::now();
        grants.retain(|_, kept| kept.until > now);
        grants.get(want).map(|kept| kept.grant.clone())
    }

    fn forget(&self, want: &Want) {
        let mut grants = self.grants.lock();
        grants.remove(want);
        of_any_length(want).map(|want| grants.remove(&want));
    }

    /// Asks for grants, keeps them, and returns the answers to `wants` in order.
    async fn ask(&self, wants: Vec<Want>, inputs: bool) -> object_store::Result<Vec<Grant>> {
        let Some(lease) = &self.lease else {
            let path = wants.first().map(|want| want.key().to_owned()).unwrap_or_default();
            let reason = "this process holds no storage credential, and outside a task it may touch nothing; \
                          set HYPERFARM_STORAGE_URL to the store itself for commands that work on all of it";
            return Err(Error::PermissionDenied { path, source: reason.into() });
        };
        let request = GrantRequest { lease: Some(HeldLease::from(lease)), wants: wants.clone(), inputs };
        let asked_at = Instant::now();
        let GrantAnswer { valid_s, mut grants } = self.coordinator.ask(&request).await?;
        if grants.len() < wants.len() {
            let source = format!("{} grants came for {} wants", grants.len(), wants.len()).into();
            return Err(Error::Generic { store: STORE, source });
        }
        let valid = Duration::from_secs(valid_s);
        let until = asked_at + (valid - MARGIN.min(valid / 4));
        let more = grants.split_off(wants.len());
        let mut kept = self.grants.lock();
        for (want, grant) in wants.into_iter().zip(&grants) {
            if matches!(grant, Grant::Get { .. } | Grant::Head { .. } | Grant::Put { .. }) {
                kept.insert(want, Kept { grant: grant.clone(), until });
            }
        }
        for grant in more {
            if let Grant::Get { key, .. } = &grant {
                kept.insert(Want::Get { key: key.clone() }, Kept { grant, until });
            }
        }
        Ok(grants)
    }

    /// The grant of `want`: one that was given before, if need be for any length, or a new one.
    async fn grant(&self, want: &Want) -> object_store::Result<Grant> {
        if let Some(grant) = self.kept(want).or_else(|| self.kept(&of_any_length(want)?)) {
            return Ok(grant);
        }
        let grants = self.ask(vec![want.clone()], false).await?;
        grants.into_iter().next().ok_or_else(|| Error::Generic { store: STORE, source: "no grant came".into() })
    }

    /// Asks the coordinator to do what no URL can.
    async fn have_done(&self, want: Want) -> object_store::Result<Grant> {
        let grants = self.ask(vec![want], false).await?;
        grants.into_iter().next().ok_or_else(|| Error::Generic { store: STORE, source: "no answer came".into() })
    }

    /// Makes the request that `want` is granted, with `headers` and `payload`.
    async fn request(&self, want: &Want, headers: &HeaderMap, payload: &Payload) -> object_store::Result<Response> {
        let mut attempts = Attempts::default();
        loop {
            let grant = self.grant(want).await?;
            let (method, request) = match &grant {
                Grant::Get { request, .. } => (Method::GET, request),
                Grant::Head { request, .. } => (Method::HEAD, request),
                Grant::Put { request, .. } => (Method::PUT, request),
                Grant::Parts { .. } | Grant::Done { .. } | Grant::Listed { .. } => {
                    return Err(Error::Generic {
                        store: STORE,
                        source: "another grant came than was asked for".into(),
                    });
                }
            };
            match self.send(method, request, want.key(), headers, payload).await {
                Ok(response) => return Ok(response),
                Err(failed) => attempts.after(failed, || self.forget(want)).await?,
            }
        }
    }

    /// Makes one signed request.
    async fn send(
        &self,
        method: Method,
        SignedRequest { url, headers: signed }: &SignedRequest,
        key: &str,
        headers: &HeaderMap,
        payload: &Payload,
    ) -> Result<Response, Failed> {
        let url = self.coordinator.url().join(url).map_err(|error| Failed::last(generic(error)))?;
        let is_long = matches!(payload, Payload::Section { .. });
        let client = if is_long { self.coordinator.uploader() } else { self.coordinator.http() };
        let mut request = client.request(method, url).headers(headers.clone());
        for (name, value) in signed {
            request = request.header(name, value);
        }
        let progress = Progress::default();
        if let Some((length, body)) = payload.body(&progress).await.map_err(Failed::last)? {
            request = request.header(reqwest::header::CONTENT_LENGTH, length).body(body);
        }
        let sent = tokio::select! {
            sent = request.send() => sent,
            () = progress.stops(), if is_long => {
                let source = "the store has taken nothing of a file, or not answered, for too long".into();
                return Err(Failed::again(Error::Generic { store: STORE, source }));
            }
        };
        let response = match sent {
            Ok(response) => response,
            Err(error) if error.is_builder() => return Err(Failed::last(generic(error.without_url()))),
            Err(error) => return Err(Failed::again(unanswered(error))),
        };
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let path = key.to_owned();
        let text = response.text().await.unwrap_or_default();
        let reason: String = text.chars().filter(|c| !c.is_control()).take(300).collect();
        let source = format!("the store answers {status}: {reason}").into();
        Err(match status {
            StatusCode::NOT_FOUND => Failed::last(Error::NotFound { path, source }),
            StatusCode::PAYLOAD_TOO_LARGE => Failed::last(Error::NotSupported { source }),
            StatusCode::PRECONDITION_FAILED => Failed::last(Error::Precondition { path, source }),
            // A URL that has run out is refused, by some stores as a bad request.
            StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED | StatusCode::BAD_REQUEST => {
                Failed { error: Error::PermissionDenied { path, source }, next: Next::Anew }
            }
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                Failed::again(Error::Generic { store: STORE, source })
            }
            status if status.is_server_error() => Failed::again(Error::Generic { store: STORE, source }),
            _ => Failed::last(Error::Generic { store: STORE, source }),
        })
    }

    /// Reads `key` from `options.range` on, and goes on after a break.
    async fn read(self: &Arc<Self>, location: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        let key = key_of(location)?;
        let want = if options.head { Want::Head { key: key.clone() } } else { Want::Get { key: key.clone() } };
        let mut headers = HeaderMap::new();
        if let Some(range) = &options.range {
            let text = match range {
                GetRange::Bounded(range) => format!("bytes={}-{}", range.start, range.end.saturating_sub(1)),
                GetRange::Offset(start) => format!("bytes={start}-"),
                GetRange::Suffix(count) => format!("bytes=-{count}"),
            };
            headers.insert(RANGE, text.parse().map_err(generic)?);
        }
        let response = self.request(&want, &headers, &Payload::None).await?;
        let (range, size) = content_range(&response)?;
        let e_tag = response.headers().get(ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
        let meta = ObjectMeta {
            location: location.clone(),
            last_modified: Default::default(),
            size,
            e_tag: e_tag.clone(),
            version: None,
        };
        let download = Download { store: self.clone(), want, range: range.clone(), e_tag, response: Some(response) };
        let stream = if options.head { futures::stream::empty().boxed() } else { download.stream() };
        Ok(GetResult {
            payload: GetResultPayload::Stream(stream),
            meta,
            range,
            attributes: Attributes::default(),
            extensions: Default::default(),
        })
    }
}

/// A download that goes on where its connection broke off.
struct Download {
    store: Arc<GrantedStore>,
    want: Want,
    /// What is still to come.
    range: Range<u64>,
    e_tag: Option<String>,
    response: Option<Response>,
}

impl Download {
    fn stream(self) -> BoxStream<'static, object_store::Result<Bytes>> {
        futures::stream::try_unfold(self, async |mut download| {
            let mut attempts = Attempts::default();
            while !download.range.is_empty() {
                let piece = match &mut download.response {
                    Some(response) => response.chunk().await.map_err(unanswered),
                    None => Err(Error::Generic { store: STORE, source: "the download broke off".into() }),
                };
                let error = match piece {
                    Ok(Some(piece)) => {
                        download.range.start += piece.len() as u64;
                        return Ok(Some((piece, download)));
                    }
                    Ok(None) => Error::Generic { store: STORE, source: "the answer ended too early".into() },
                    Err(error) => error,
                };
                attempts.after(Failed::again(error), || ()).await?;
                download.response = Some(download.resume().await?);
            }
            Ok(None)
        })
        .boxed()
    }

    /// Asks for the rest of the same object.
    async fn resume(&self) -> object_store::Result<Response> {
        let mut headers = HeaderMap::new();
        let range = format!("bytes={}-{}", self.range.start, self.range.end - 1);
        headers.insert(RANGE, range.parse().map_err(generic)?);
        if let Some(e_tag) = &self.e_tag {
            headers.insert(IF_MATCH, e_tag.parse().map_err(generic)?);
        }
        let response = self.store.request(&self.want, &headers, &Payload::None).await?;
        let (range, _) = content_range(&response)?;
        if range != self.range {
            let source = "the store did not go on where the download broke off".into();
            return Err(Error::Generic { store: STORE, source });
        }
        Ok(response)
    }
}

/// Which bytes an answer has, and how many the object has.
fn content_range(response: &Response) -> object_store::Result<(Range<u64>, u64)> {
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let missing = || Error::Generic { store: STORE, source: "the answer does not say its length".into() };
    if response.status() == StatusCode::PARTIAL_CONTENT {
        let text = header(reqwest::header::CONTENT_RANGE).and_then(|text| text.strip_prefix("bytes "));
        let (range, size) = text.and_then(|text| text.split_once('/')).ok_or_else(missing)?;
        let (first, last) = range.split_once('-').ok_or_else(missing)?;
        let number = |text: &str| text.parse::<u64>().map_err(|_| missing());
        return Ok((number(first)?..number(last)? + 1, number(size)?));
    }
    let size = header(reqwest::header::CONTENT_LENGTH).and_then(|text| text.parse().ok()).ok_or_else(missing)?;
    Ok((0..size, size))
}

/// What a request sends, as often as it is made.
#[derive(Debug, Clone)]
enum Payload {
    None,
    Bytes(Bytes),
    /// Bytes of a file, which are read as they are sent.
    Section {
        file: PathBuf,
        start: u64,
        length: u64,
    },
}

impl Payload {
    /// The length and the body, which notes in `progress` when it is read.
    async fn body(&self, progress: &Progress) -> object_store::Result<Option<(u64, reqwest::Body)>> {
        match self {
            Self::None => Ok(None),
            Self::Bytes(bytes) => Ok(Some((bytes.len() as u64, bytes.clone().into()))),
            Self::Section { file, start, length } => {
                let mut reader = File::open(file).await.map_err(generic)?;
                reader.seek(SeekFrom::Start(*start)).await.map_err(generic)?;
                let (progress, length_, mut taken) = (progress.clone(), *length, 0);
                let stream = ReaderStream::with_capacity(reader.take(*length), BUFFER_BYTES);
                let stream = stream.inspect(move |piece| {
                    taken += piece.as_ref().map_or(0, |piece| piece.len() as u64);
                    progress.note(if taken < length_ { STALL } else { KEEPS_WITHIN });
                });
                Ok(Some((*length, reqwest::Body::wrap_stream(stream))))
            }
        }
    }
}

/// Until when the store has to take the next piece of a body, or to answer. Clones share it.
#[derive(Clone)]
struct Progress(Arc<Mutex<Instant>>);

impl Default for Progress {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Instant::now() + STALL)))
    }
}

impl Progress {
    fn note(&self, within: Duration) {
        *self.0.lock() = Instant::now() + within;
    }

    /// Resolves once the store has let its time pass.
    async fn stops(&self) {
        loop {
            let left = self.0.lock().saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left).await;
        }
    }
}

/// What follows a request that failed.
enum Next {
    /// It is made again later.
    Again,
    /// It is made again at once with a new grant, the first time.
    Anew,
    /// Nothing.
    Nothing,
}

/// A request that failed.
struct Failed {
    error: Error,
    next: Next,
}

impl Failed {
    fn again(error: Error) -> Self {
        Self { error, next: Next::Again }
    }

    fn last(error: Error) -> Self {
        Self { error, next: Next::Nothing }
    }
}

/// The attempts at one request.
#[derive(Default)]
struct Attempts {
    /// Counted from the first failure: what was sent or read before it may have taken long.
    delays: Option<Delays>,
    was_anew: bool,
}

impl Attempts {
    /// Waits before the next attempt; the error where there is none.
    async fn after(&mut self, failed: Failed, forget: impl FnOnce()) -> object_store::Result<()> {
        match failed.next {
            Next::Nothing => return Err(failed.error),
            Next::Anew if self.was_anew => return Err(failed.error),
            Next::Anew => {
                self.was_anew = true;
                forget();
                return Ok(());
            }
            Next::Again => {}
        }
        let delays = self.delays.get_or_insert_with(|| RETRIES.delays());
        let Some(delay) = delays.next() else { return Err(failed.error) };
        tracing::debug!(error = %failed.error, "a request to storage failed, it is made again");
        tokio::time::sleep(delay).await;
        Ok(())
    }
}

/// A put of the same object that was asked for when its length was not known.
fn of_any_length(want: &Want) -> Option<Want> {
    match want {
        Want::Put { key, bytes: Some(_) } => Some(Want::Put { key: key.clone(), bytes: None }),
        _ => None,
    }
}

fn key_of(location: &Path) -> object_store::Result<String> {
    key::from_path(&Path::ROOT, location)
        .ok_or_else(|| Error::Generic { store: STORE, source: "an empty key".to_owned().into() })
}

fn generic(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Generic { store: STORE, source: Box::new(error) }
}

/// An error without the URL, whose signature is a secret for some minutes, and with its causes.
fn unanswered(error: reqwest::Error) -> Error {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    Error::Generic { store: STORE, source: text.into() }
}

fn not_granted<T>(operation: &str) -> object_store::Result<T> {
    let source = format!("{operation} is not granted to a process without a storage credential").into();
    Err(Error::NotSupported { source })
}

/// The store of a task. What is not granted fails.
#[derive(Debug, Clone)]
pub(super) struct GrantedObjects(pub(super) Arc<GrantedStore>);

impl fmt::Display for GrantedObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[async_trait]
impl ObjectStore for GrantedObjects {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        if options.mode != PutMode::Overwrite {
            return not_granted("a conditional put");
        }
        let length = payload.content_length() as u64;
        let want = Want::Put { key: key_of(location)?, bytes: Some(length) };
        let response = self.0.request(&want, &HeaderMap::new(), &Payload::Bytes(payload.into())).await?;
        let e_tag = response.headers().get(ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
        Ok(PutResult { e_tag, version: None, extensions: Default::default() })
    }

    async fn put_multipart_opts(
        &self,
        _location: &Path,
        _options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        not_granted("an upload of unknown length")
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.0.read(location, options).await
    }

    fn delete_stream(
        &self,
        _locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        futures::stream::once(async { not_granted("a removal") }).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        let (store, prefix) = (self.0.clone(), prefix.cloned().unwrap_or_default());
        let listing = async move {
            let folder = key_of(&prefix)?;
            let Grant::Listed { objects } = store.have_done(Want::List { folder }).await? else {
                return Err(Error::Generic { store: STORE, source: "no list came".into() });
            };
            let meta = |(key, size): (String, u64)| {
                let location = key::to_path(&Path::ROOT, &key).map_err(generic)?;
                Ok(ObjectMeta { location, last_modified: Default::default(), size, e_tag: None, version: None })
            };
            Ok(futures::stream::iter(objects.into_iter().map(meta)))
        };
        futures::stream::once(listing).try_flatten().boxed()
    }

    async fn list_with_delimiter(&self, _prefix: Option<&Path>) -> object_store::Result<ListResult> {
        not_granted("a list of folders")
    }

    async fn copy_opts(&self, _from: &Path, _to: &Path, _options: CopyOptions) -> object_store::Result<()> {
        not_granted("a copy")
    }
}

impl Objects {
    /// The storage that coordinators grant to who sends `token`: `farm+https://coordinator:8080`.
    ///
    /// # Errors
    ///
    /// [`ObjectsError::Url`] for a URL of no coordinator.
    pub fn of_coordinator(url: &str, token: &str) -> Result<Self, ObjectsError> {
        let refused = |reason: String| ObjectsError::Url { url: redact(url), reason };
        let plain = url.strip_prefix(super::COORDINATOR_SCHEME).unwrap_or(url);
        let mut parsed = Url::parse(plain).map_err(|error| refused(error.to_string()))?;
        if !matches!(parsed.scheme(), "http" | "https") || parsed.host_str().unwrap_or_default().is_empty() {
            return Err(refused("a coordinator's URL is farm+http://host:port or farm+https://host:port".to_owned()));
        }
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err(refused("a coordinator's URL has no user: the token is HYPERFARM_WORKER_TOKEN".to_owned()));
        }
        if !parsed.path().ends_with('/') {
            parsed.set_path(&format!("{}/", parsed.path()));
        }
        let metrics = Arc::<OnceLock<Metrics>>::default();
        let granted = GrantedStore::new(parsed, token, metrics.clone()).map_err(refused)?;
        Ok(Self::of_granted(granted, metrics))
    }

    pub(super) fn of_granted(granted: GrantedStore, metrics: Arc<OnceLock<Metrics>>) -> Self {
        let granted = Arc::new(granted);
        let store = Arc::new(GrantedObjects(granted.clone()));
        Self { store, prefix: Path::ROOT, signing: None, root: None, granted: Some(granted), metrics }
    }

    /// Stores a file by grants.
    pub(super) async fn put_granted(
        &self,
        granted: &Arc<GrantedStore>,
        key: &str,
        file: &FilePath,
        length: u64,
    ) -> Result<(), ObjectsError> {
        upload::put_file(granted, key, file, length).await?;
        self.count_stored(length);
        Ok(())
    }
}
