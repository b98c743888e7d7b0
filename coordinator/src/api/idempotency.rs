//! Idempotency keys: a request that is repeated has one effect and one answer.
//!
//! Object storage decides. A record is created where there is none, which only one of any number of requests achieves, and it names the
//! seed of the ids that this request makes. While the request is being answered others are told to wait; afterwards they get the first
//! one's answer. A process that dies in between leaves a record without an answer: the next request goes on with the same seed, so that
//! what exists already is found and not made twice.

use std::collections::HashSet;
use std::sync::Arc;

use axum::Json;
use axum::body::to_bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyperfarm_api::Data;
use hyperfarm_backplane::objects::{Created, Objects, ObjectsError};
use hyperfarm_proto::id::ContentHash;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tracing::{Instrument, warn};

use super::FIELDS_MAX;
use super::error::{ApiError, Code};
use crate::api_keys::Caller;
use crate::clock::now_ms;
use crate::intake::Seed;
use crate::store::if_found;

/// How long an answer is kept.
const KEPT_MS: u64 = 24 * 3600 * 1000;

/// The header that holds the key.
pub(super) const IDEMPOTENCY_KEY: &str = "idempotency-key";

const KEY_MAX: usize = 255;

const FOLDER: &str = "idempotency";

/// The answer to a request, as it is sent and kept.
pub(super) type Answered = Result<(StatusCode, Value), ApiError>;

/// In the extensions of a response: the answer is that of an earlier request, and nothing was done.
#[derive(Debug, Clone, Copy)]
pub(super) struct Repeated;

/// An answer, and whether it is that of an earlier request.
struct Kept {
    status: StatusCode,
    body: Value,
    is_repeated: bool,
}

impl Kept {
    fn new((status, body): (StatusCode, Value)) -> Self {
        Self { status, body, is_repeated: false }
    }
}

impl IntoResponse for Kept {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body)).into_response();
        if self.is_repeated {
            response.extensions_mut().insert(Repeated);
        }
        response
    }
}

/// What is stored of a request.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    seed: Seed,
    /// Hash of the first body.
    body: ContentHash,
    /// Status and body, once there are.
    answer: Option<(u16, Value)>,
}

/// Requests with an idempotency key.
#[derive(Clone)]
pub struct Idempotency {
    objects: Objects,
    running: Arc<Mutex<HashSet<ContentHash>>>,
}

/// A request that is being answered.
struct Running {
    store: Idempotency,
    request: ContentHash,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.store.running.lock().remove(&self.request);
    }
}

impl Idempotency {
    /// Records in `objects`.
    pub fn new(objects: Objects) -> Self {
        Self { objects, running: Arc::default() }
    }

    /// The answer of `make`, or the one that an earlier request with the same key got. `route` has the path's parameters in it.
    pub(super) async fn answer<F, Fut, T>(
        &self,
        caller: &Caller,
        route: &str,
        headers: &HeaderMap,
        body: &[u8],
        make: F,
    ) -> Response
    where
        F: FnOnce(Seed) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(StatusCode, T), ApiError>> + Send + 'static,
        T: Serialize + Send + 'static,
    {
        let make = |seed| async move {
            let (status, data) = make(seed).await?;
            let body = serde_json::to_value(Data { data }).map_err(|error| ApiError::internal(&error))?;
            Ok((status, body))
        };
        self.answer_with(caller, route, headers, body, make).await
    }

    /// The same for a handler that makes no ids: `response` is awaited where no earlier request with the same key was
    /// answered.
    pub(super) async fn answer_of(
        &self,
        caller: &Caller,
        route: &str,
        headers: &HeaderMap,
        body: &[u8],
        response: impl Future<Output = Response> + Send + 'static,
    ) -> Response {
        let make = |_| async move {
            let response = response.await;
            if let Some(error) = response.extensions().get::<ApiError>() {
                return Err(error.clone());
            }
            let status = response.status();
            let body = to_bytes(response.into_body(), FIELDS_MAX).await.map_err(|error| ApiError::internal(&error))?;
            Ok((status, serde_json::from_slice(&body).map_err(|error| ApiError::internal(&error))?))
        };
        self.answer_with(caller, route, headers, body, make).await
    }

    /// The same for an answer that is more than its `data`.
    pub(super) async fn answer_with<F, Fut>(
        &self,
        caller: &Caller,
        route: &str,
        headers: &HeaderMap,
        body: &[u8],
        make: F,
    ) -> Response
    where
        F: FnOnce(Seed) -> Fut + Send + 'static,
        Fut: Future<Output = Answered> + Send + 'static,
    {
        let key = match key(headers) {
            Ok(key) => key,
            Err(error) => return error.into_response(),
        };
        let Some(key) = key else { return respond(fresh(make).await.map(Kept::new)) };
        let request = ContentHash::of(format!("{}\n{route}\n{key}", caller.id).as_bytes());
        if !self.running.lock().insert(request) {
            let message = "the first request with this idempotency key is still being answered; ask again in a moment";
            return ApiError::new(Code::InProgress, message).retry_after(1).into_response();
        }
        let running = Running { store: self.clone(), request };
        let body = ContentHash::of(body);
        // A client that hangs up must not leave half of it done.
        let work = tokio::spawn(async move { running.store.run(request, body, make).await }.in_current_span());
        match work.await {
            Ok(made) => respond(made),
            Err(panic) => ApiError::internal(&panic).into_response(),
        }
    }

    async fn run<F, Fut>(&self, request: ContentHash, body: ContentHash, make: F) -> Result<Kept, ApiError>
    where
        F: FnOnce(Seed) -> Fut + Send,
        Fut: Future<Output = Answered> + Send,
    {
        let (seed, place) = match self.claim(&request, body).await? {
            Claimed::Answered(status, body) => return Ok(Kept { status, body, is_repeated: true }),
            Claimed::Mine(seed, place) => (seed, place),
        };
        let made = make(seed).await;
        let (status, value) = match &made {
            Ok((status, value)) => (*status, value.clone()),
            Err(error) => {
                let body = serde_json::to_value(error.body()).map_err(|error| ApiError::internal(&error))?;
                (error.code.status(), body)
            }
        };
        // What another try may change is not kept.
        if status.is_server_error()
            || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::CONFLICT | StatusCode::PAYMENT_REQUIRED)
        {
            self.objects.delete(&place).await?;
            return made.map(Kept::new);
        }
        let record = Record { seed, body, answer: Some((status.as_u16(), value)) };
        if let Err(error) = self.objects.put_json(&place, &record).await {
            // What was made is made; the record without an answer leads the next request to it.
            warn!(%error, "an answer could not be kept for its idempotency key");
        }
        made.map(Kept::new)
    }

    /// Creates the record, or goes on with the one that is there.
    async fn claim(&self, request: &ContentHash, body: ContentHash) -> Result<Claimed, ApiError> {
        let folder = format!("{FOLDER}/{request}");
        // Two processes at most are at it at once; each round one of them gets further.
        for _ in 0..16 {
            let listed = self.objects.list(&folder).await?;
            let generation = |key: &str| key.rsplit('/').next().and_then(|name| name.parse::<u64>().ok());
            let newest = listed.iter().filter_map(|meta| generation(&meta.key)).max();
            let mut seed = Seed::new()?;
            if let Some(newest) = newest {
                match self.objects.get_json::<Record>(&format!("{folder}/{newest:08}")).await {
                    Ok(record) if now_ms() < record.seed.at_ms() + KEPT_MS => {
                        if record.body != body {
                            warn!("a repeated idempotency key came with another body; the first answer stands");
                        }
                        if let Some((status, answer)) = record.answer {
                            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
                            return Ok(Claimed::Answered(status, answer));
                        }
                        seed = record.seed;
                    }
                    Ok(_) => {}
                    Err(error) if error.is_not_found() => continue,
                    Err(error) => return Err(error.into()),
                }
            }
            let next = newest.map_or(0, |newest| newest + 1);
            let place = format!("{folder}/{next:08}");
            if self.create(&place, &Record { seed, body, answer: None }).await? == Created::Yes {
                for old in listed {
                    self.objects.delete(&old.key).await?;
                }
                return Ok(Claimed::Mine(seed, place));
            }
        }
        Err(ApiError::new(Code::InProgress, "the first request with this idempotency key is being answered elsewhere")
            .retry_after(1))
    }

    /// Removes the stored answers that have expired at `now_ms` (Unix milliseconds), and returns their number.
    ///
    /// # Errors
    ///
    /// Where storage does not list, read or delete them.
    pub async fn clear(&self, now_ms: u64) -> Result<u64, ObjectsError> {
        let mut cleared = 0;
        for meta in self.objects.list(FOLDER).await? {
            let request = meta.key.split('/').nth(1).and_then(|hash| hash.parse::<ContentHash>().ok());
            let Some(request) = request else { continue };
            // A request that comes with the key now waits: of two records that it could go on with, one would be gone.
            if !self.running.lock().insert(request) {
                continue;
            }
            let _running = Running { store: self.clone(), request };
            let record = if_found(self.objects.get_json::<Record>(&meta.key).await)?;
            if record.is_some_and(|record| record.seed.at_ms() + KEPT_MS <= now_ms) {
                self.objects.delete(&meta.key).await?;
                cleared += 1;
            }
        }
        Ok(cleared)
    }

    async fn create(&self, place: &str, record: &Record) -> Result<Created, ObjectsError> {
        let bytes = serde_json::to_vec(record)
            .map_err(|error| ObjectsError::Corrupt { key: place.to_owned(), reason: error.to_string() })?;
        self.objects.create(place, Bytes::from(bytes)).await
    }
}

enum Claimed {
    Answered(StatusCode, Value),
    Mine(Seed, String),
}

async fn fresh<F, Fut>(make: F) -> Answered
where
    F: FnOnce(Seed) -> Fut,
    Fut: Future<Output = Answered>,
{
    make(Seed::new()?).await
}

fn respond(made: Result<Kept, ApiError>) -> Response {
    match made {
        Ok(kept) => kept.into_response(),
        Err(error) => error.into_response(),
    }
}

fn key(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | ':' | '.');
    let key = value.to_str().ok().filter(|key| (1..=KEY_MAX).contains(&key.len()) && key.chars().all(is_plain));
    key.map(Some).ok_or_else(|| {
        let message = "an idempotency key has 1 to 255 letters, digits, `_`, `-`, `:` or `.`";
        ApiError::invalid("Idempotency-Key", message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_that_died_leaves_its_seed_to_the_next() {
        let objects = Objects::memory();
        let (request, body) = (ContentHash::of(b"r"), ContentHash::of(b"b"));
        let Claimed::Mine(first, _) = Idempotency::new(objects.clone()).claim(&request, body).await.unwrap() else {
            panic!("nobody was first")
        };
        let next = Idempotency::new(objects.clone());
        let made = next.run(request, body, |seed| async move { Ok((StatusCode::ACCEPTED, seed.id("x").into())) }).await;
        let made = made.unwrap();
        assert_eq!(
            (made.status, made.body, made.is_repeated),
            (StatusCode::ACCEPTED, Value::from(first.id("x")), false)
        );
        let again = next.run(request, body, |_| async { panic!("it was made twice") }).await.unwrap();
        assert_eq!((again.body, again.is_repeated), (Value::from(first.id("x")), true));
        assert_eq!(objects.list("idempotency").await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn answers_are_cleared_away_after_a_day_and_not_before() {
        let idempotency = Idempotency::new(Objects::memory());
        let (request, body) = (ContentHash::of(b"r"), ContentHash::of(b"b"));
        idempotency.run(request, body, |_| async { Ok((StatusCode::OK, Value::Null)) }).await.unwrap();
        assert_eq!(idempotency.clear(now_ms() + KEPT_MS - 60_000).await.unwrap(), 0);
        assert_eq!(idempotency.clear(now_ms() + KEPT_MS).await.unwrap(), 1);
        assert!(idempotency.objects.list("").await.unwrap().is_empty());
        let Claimed::Mine(..) = idempotency.claim(&request, body).await.unwrap() else {
            panic!("it is still answered")
        };
    }

    #[test]
    fn malformed_keys_are_refused() {
        for (text, good) in [("a:b.c-d_1", true), ("", false), ("a b", false), (&*"x".repeat(256), false)] {
            let mut headers = HeaderMap::new();
            headers.insert("idempotency-key", text.parse().unwrap());
            assert_eq!(key(&headers).is_ok(), good, "{text}");
        }
    }
}
