//! `POST /internal/v1/storage/grants`: storage for workers and stitchers that hold no credential of it.
//!
//! It is no part of the API: no API key opens it, the token of workers does, and where none is set there is no such route.
//! A local storage has no URLs of its own, so that what is stored comes through here too.

use axum::Json;
use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Path, RawQuery, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::{MethodRouter, post, put};
use futures::StreamExt;
use hyperfarm_backplane::config::WorkerTokens;
use hyperfarm_backplane::objects::grants::{GrantAnswer, GrantRequest, content_hash_of};
use hyperfarm_proto::id::ContentHash;
use tracing::{debug, warn};

use super::assets::Received;
use super::error::{ApiError, Code};
use super::middleware::Answered;
use super::route::Dialect;
use super::server::PeerAddress;
use super::{Api, files, not_found, read_body};
use crate::storage_grants::{GrantError, UPLOAD_METHOD};

/// Bytes of an object of a local storage at most: what one request may store elsewhere.
const MOST_BYTES: u64 = 5_000_000_000;

/// The hashes of the tokens that workers and stitchers send.
#[derive(Debug, Clone, Default)]
pub(crate) struct WorkerTokenHashes(Vec<ContentHash>);

impl WorkerTokenHashes {
    pub(crate) fn of(tokens: &WorkerTokens) -> Self {
        Self(tokens.accepted().iter().map(|token| ContentHash::of(token.as_bytes())).collect())
    }
}

/// The routes, which are no part of the table of the API.
pub(super) fn routes() -> Router<Api> {
    let routes: [(&'static str, &'static str, MethodRouter<Api>); 2] = [
        ("post", "/internal/v1/storage/grants", post(grant)),
        ("put", "/internal/v1/storage/objects/{*key}", put(receive)),
    ];
    routes.into_iter().fold(Router::new(), |router, (method, template, handler)| {
        let answered = Answered { method, template, dialect: Dialect::HyperFrames };
        let mark = map_response(move |mut response: Response| async move {
            response.extensions_mut().insert(answered);
            response
        });
        router.route(template, handler.layer(mark))
    })
}

/// `POST /internal/v1/storage/grants`.
async fn grant(
    State(api): State<Api>,
    peer: Option<Extension<PeerAddress>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<GrantAnswer>, ApiError> {
    check_token(&api, peer, &method, &uri, &headers)?;
    let body = read_body(body).await?;
    let request: GrantRequest = serde_json::from_slice(&body)
        .map_err(|error| ApiError::new(Code::InvalidParameter, format!("the request is not understood: {error}")))?;
    let holder = request.lease.as_ref().map(|lease| lease.worker.to_string()).unwrap_or_default();
    let answering = tokio::time::timeout(api.config.answer_within, api.grants.answer(request)).await;
    let answer = answering.map_err(|_| ApiError::new(Code::Unavailable, "storage did not answer in time"))?;
    answer.map(Json).map_err(|error| {
        match &error {
            GrantError::Forbidden { .. } => {
                warn!(worker = %holder, %error, "a worker asks for what its task may not touch")
            }
            error => debug!(worker = %holder, %error, "nothing is granted"),
        }
        ApiError::from(error)
    })
}

impl From<GrantError> for ApiError {
    fn from(error: GrantError) -> Self {
        let code = match &error {
            GrantError::NotHeld { .. } | GrantError::Ended(_) => Code::Conflict,
            GrantError::Forbidden { .. } => Code::Forbidden,
            GrantError::TooMany(_) | GrantError::TooLarge => Code::InvalidParameter,
            GrantError::Storage(error) if error.is_unsupported() => Code::TooLarge,
            GrantError::Unknown(_) | GrantError::Ledger(_) | GrantError::Storage(_) | GrantError::Signing(_) => {
                Code::Unavailable
            }
        };
        if code == Code::Unavailable {
            warn!(%error, "a worker gets no grants");
        }
        Self::new(code, error.to_string())
    }
}

/// Checks that the request comes from a worker or stitcher of the farm. Where no token is set there is no such route.
fn check_token(
    api: &Api,
    peer: Option<Extension<PeerAddress>>,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<(), ApiError> {
    let accepted = &api.worker_tokens.0;
    if accepted.is_empty() {
        return Err(not_found(method, uri, ", for HYPERFARM_WORKER_TOKEN is not set here"));
    }
    let sent = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let sent = sent.and_then(|text| text.strip_prefix("Bearer ")).map(str::trim);
    // Comparing hashes tells nobody anything about a token, however long it takes.
    if sent.is_some_and(|token| accepted.contains(&ContentHash::of(token.as_bytes()))) {
        return Ok(());
    }
    let address = peer.map(|Extension(peer)| peer.0);
    if let Some(address) = address {
        api.wrong_tokens.check(address)?;
    }
    warn!(?address, "a request for grants has another token than HYPERFARM_WORKER_TOKEN");
    Err(ApiError::new(Code::Unauthorized, "the token is not HYPERFARM_WORKER_TOKEN of this coordinator"))
}

/// `PUT /internal/v1/storage/objects/{key}?signature`: an object of a local storage.
async fn receive(
    State(api): State<Api>,
    Path(key): Path<String>,
    RawQuery(query): RawQuery,
    body: Body,
) -> Result<StatusCode, ApiError> {
    files::check(&api, UPLOAD_METHOD, &key, query.as_deref().unwrap_or_default()).await?;
    let broke_off =
        |error: axum::Error| ApiError::new(Code::InvalidParameter, format!("the upload broke off: {error}"));
    let parts = body.into_data_stream().map(|part| part.map_err(broke_off));
    let too_large = || ApiError::new(Code::TooLarge, format!("an object may have {MOST_BYTES} bytes"));
    let file = Received::of(parts, MOST_BYTES, too_large).await?;
    if content_hash_of(&key).is_some_and(|hash| hash != file.hash()) {
        return Err(ApiError::new(Code::InvalidParameter, format!("the content is not that which `{key}` names")));
    }
    api.coordinator.backplane().objects.put_file(&key, file.path()).await?;
    Ok(StatusCode::OK)
}
