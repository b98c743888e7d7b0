//! HTTP: a drop-in for the hosted service's API, and what an operator needs beside it.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`routes`] | the table of all routes, and their router |
//! | [`route`] | what is said of a route: the router and the OpenAPI document are made of it |
//! | [`access`] | who may call, and what for |
//! | [`idempotency`] | idempotency keys |
//! | [`middleware`] | what every request passes: doubled slashes, request ids, origins, one line of log |
//! | `unread` | bodies of requests that are answered before they are read |
//! | [`server`] | the socket: bounds of connections and of their time |
//! | [`create`] | the body of a new render, field by field |
//! | [`renders`], [`batch`], [`render_events`] | renders |
//! | `base_url` | the URL under which a client reaches the farm |
//! | [`assets`] | uploads |
//! | [`webhooks`] | endpoints and events |
//! | [`voices`] | voices, and text to speech |
//! | [`farm`], [`workers`] | the farm and its nodes |
//! | [`account`] | the key's own account |
//! | [`view`] | a render as JSON |
//! | `lipsyncs` | videos with a new sound |
//! | `translations` | videos in other languages, and proofread sessions |
//! | `inference` | renders and uploads as clients of inference.sh know them |
//! | [`log`] | what pages printed and the farm had to say |
//! | `mcp` | the routes as tools for agents |
//! | `oauth` | sign-in by OAuth: pages of consent, and tokens that stand for keys |
//! | `runtimes` | versions of the HyperFrames runtime |
//! | [`page`] | pages of lists |
//! | [`dashboard`] | the pages for people |
//! | [`files`] | downloads through signed URLs, for storage that has none of its own |
//! | [`preview`] | what is finished of a render, to watch |
//! | `storage_grants` | storage for workers and stitchers that hold no credential of it; no part of the API |
//! | [`streams`] | how many streams of events a key may have open |
//! | [`systems`] | what the farm has of the published documents |
//! | [`openapi`] | the OpenAPI document |
//! | [`operate`] | health, readiness, metrics |
//! | [`error`](mod@error) | the one shape of every error |
//!
//! **Invariant: polls answer while every worker, the broker and the ledger are down.** Clients take any failed poll as final; nothing
//! here asks more than memory and storage, except readiness.

pub mod access;
pub mod account;
mod agents;
pub mod assets;
mod avatars;
mod base_url;
pub mod batch;
pub mod create;
pub mod dashboard;
mod download;
pub mod error;
pub mod farm;
pub mod files;
pub mod idempotency;
mod inference;
mod lipsyncs;
pub mod log;
mod mcp;
mod media;
pub mod middleware;
mod oauth;
pub mod openapi;
pub mod operate;
pub mod page;
pub mod preview;
pub mod render_events;
pub mod renders;
pub mod route;
pub mod routes;
mod runtimes;
pub mod server;
mod storage_grants;
mod streams;
pub mod systems;
mod translations;
mod unread;
mod videos;
pub mod view;
pub mod voices;
pub mod webhooks;
pub mod workers;

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{Method, Uri};
use axum::{Json, Router};
use http_body_util::LengthLimitError;
use hyperfarm_api::{Data, Page};
use hyperfarm_backplane::config::WorkerTokens;
use hyperfarm_backplane::fetch::Fetcher;
use hyperfarm_media::{Decoders, MediaLimits};
use hyperfarm_proto::record::OutputRecord;
use hyperfarm_speech::Catalogue;
use tokio::sync::mpsc;
use tracing::{info, warn};
use url::Url;

pub use access::Access;
use access::WrongKeys;
pub use error::{ApiError, Code};

use crate::admission::Admission;
use crate::agent::LanguageModel;
use crate::agent::sessions;
use crate::api_keys::KeyStore;
use crate::audit;
use crate::coordinator::Coordinator;
use crate::expiry;
use crate::finalize::Finalizer;
use crate::lipsync::{LipsyncEngine, records};
use crate::oauth::OAuth;
use crate::rate_limit::RateLimiter;
use crate::retention::{self, Retention};
use crate::signed_urls::SignedUrls;
use crate::storage_grants::StorageGrants;
use crate::translation::{self, SpeechRecognition, Translator};
use crate::usage::{Prices, UsageStore};
use crate::webhooks::Webhooks;
use crate::webhooks::deliver::{Deliverer, DeliveryPolicy};
use crate::webhooks::seal::SecretKeys;
use idempotency::Idempotency;
use storage_grants::WorkerTokenHashes;

/// Room in a body beside an encoded project, and for every other JSON body.
pub(crate) const FIELDS_MAX: usize = 2 * 1024 * 1024;

/// What the API needs to know.
#[derive(Debug, Clone)]
pub struct ApiConfig {
    /// Who may call.
    pub access: Access,
    /// What workers and stitchers send that ask for their tasks' objects; without any there are no grants.
    pub worker_tokens: WorkerTokens,
    /// Where clients reach this API; else what their `Host` header says.
    pub public_url: Option<Url>,
    /// How long a download URL is good for.
    pub download_url_lifetime: Duration,
    /// How long an upload URL is good for.
    pub upload_url_lifetime: Duration,
    /// Whether `callback_url` and webhook endpoints may be plain http.
    pub allow_http_callbacks: bool,
    /// Fetches projects and sends webhooks; without one neither is done.
    pub fetcher: Option<Fetcher>,
    /// How long a project behind a URL may take.
    pub download_within: Duration,
    /// Signs what goes to a `callback_url`.
    pub callback_secret: Option<String>,
    /// Keys that seal the secrets of webhook endpoints in storage.
    pub secret_keys: SecretKeys,
    /// The times of webhook deliveries.
    pub deliveries: DeliveryPolicy,
    /// Renders in flight of a key that has no number of its own.
    pub concurrent_renders: u32,
    /// How long ended renders and their segments are kept.
    pub retention: Retention,
    /// Version of the HyperFrames runtime that workers have built in.
    pub built_in_runtime: String,
    /// What output costs.
    pub prices: Prices,
    /// The voices that speak; without an engine there are none.
    pub speech: Arc<Catalogue>,
    /// Writes storyboards for the video agent; without one there is no agent.
    pub language_model: Option<Arc<dyn LanguageModel>>,
    /// Moves the mouths of videos; without one the mode `precision` of lipsyncs is refused.
    pub lipsync: Option<Arc<dyn LipsyncEngine>>,
    /// Hears what is said in videos; without it, clients give their words.
    pub recognition: Option<Arc<dyn SpeechRecognition>>,
    /// Translates; without it the language model does.
    pub translator: Option<Arc<dyn Translator>>,
    /// Reads the headers of files that clients send.
    pub decoders: Decoders,
    /// How long a handler may take, uploads of projects included.
    pub answer_within: Duration,
    /// Changes that a key may make in a minute: requests that are no reads, submissions among them.
    pub changes_per_minute: NonZeroU32,
}

/// Changes that a key may make in a minute.
const CHANGES_PER_MINUTE: NonZeroU32 = NonZeroU32::new(1200).unwrap();

/// Requests of sign-ins that an address may make in a minute, polls of waiting devices among them.
const SIGN_INS_PER_MINUTE: NonZeroU32 = NonZeroU32::new(120).unwrap();

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            access: Access::Open,
            worker_tokens: WorkerTokens::default(),
            public_url: None,
            // The longest that S3 signs for.
            download_url_lifetime: Duration::from_secs(7 * 24 * 3600),
            upload_url_lifetime: Duration::from_secs(3600),
            allow_http_callbacks: false,
            fetcher: None,
            download_within: Duration::from_secs(60),
            callback_secret: None,
            secret_keys: SecretKeys::default(),
            deliveries: DeliveryPolicy::default(),
            concurrent_renders: 10,
            retention: Retention::default(),
            built_in_runtime: "0.0.0".to_owned(),
            prices: Prices::default(),
            speech: Arc::new(Catalogue::of(Vec::new())),
            language_model: None,
            lipsync: None,
            recognition: None,
            translator: None,
            decoders: Decoders::in_process(MediaLimits::default()),
            answer_within: Duration::from_secs(600),
            changes_per_minute: CHANGES_PER_MINUTE,
        }
    }
}

/// What every handler shares.
#[derive(Clone)]
pub struct Api {
    pub(crate) coordinator: Coordinator,
    pub(crate) config: Arc<ApiConfig>,
    pub(crate) signed_urls: Arc<SignedUrls>,
    pub(crate) grants: Arc<StorageGrants>,
    pub(crate) worker_tokens: WorkerTokenHashes,
    pub(crate) keys: Arc<KeyStore>,
    pub(crate) wrong_keys: Arc<WrongKeys>,
    /// Wrong tokens of workers, which may have one address with clients.
    pub(crate) wrong_tokens: Arc<WrongKeys>,
    pub(crate) oauth: Arc<OAuth>,
    /// Requests of sign-ins by address: no key is needed for them.
    pub(crate) sign_ins: Arc<RateLimiter<IpAddr>>,
    /// Changes by key id.
    pub(crate) changes: Arc<RateLimiter<String>>,
    pub(crate) idempotency: Idempotency,
    pub(crate) admission: Arc<Admission>,
    pub(crate) usages: Arc<UsageStore>,
    pub(crate) webhooks: Webhooks,
    pub(crate) nodes: Arc<workers::Nodes>,
    pub(crate) memory: Arc<farm::Memory>,
    pub(crate) pieces: Arc<preview::PieceCache>,
    pub(crate) speeches: Arc<voices::SpeechPermits>,
    pub(crate) agents: Arc<agents::AgentPermits>,
    pub(crate) lipsyncs: Arc<lipsyncs::LipsyncPermits>,
    pub(crate) translations: Arc<translations::TranslationPermits>,
    pub(crate) streams: Arc<streams::OpenStreams>,
}

impl Coordinator {
    /// The HTTP API over this coordinator, and the loops behind it: what follows the ends of renders, and the delivery of webhooks.
    pub fn router(&self, config: ApiConfig) -> Router {
        let objects = self.backplane().objects.clone();
        let usages = Arc::new(UsageStore::new(objects.clone(), config.prices));
        let signed_urls = Arc::new(SignedUrls::new(objects.clone(), config.download_url_lifetime));
        let ledger = self.backplane().ledger.clone();
        let api = Api {
            coordinator: self.clone(),
            grants: Arc::new(StorageGrants::new(objects.clone(), ledger, signed_urls.clone())),
            worker_tokens: WorkerTokenHashes::of(&config.worker_tokens),
            signed_urls,
            keys: Arc::new(KeyStore::new(objects.clone())),
            wrong_keys: Arc::default(),
            wrong_tokens: Arc::default(),
            oauth: Arc::new(OAuth::new(objects.clone())),
            sign_ins: Arc::new(RateLimiter::per_minute(SIGN_INS_PER_MINUTE)),
            changes: Arc::new(RateLimiter::per_minute(config.changes_per_minute)),
            idempotency: Idempotency::new(objects.clone()),
            admission: Arc::new(Admission::new(
                objects.clone(),
                self.backplane().ledger.clone(),
                usages.clone(),
                config.concurrent_renders,
            )),
            usages,
            webhooks: Webhooks::new(objects).with_keys(config.secret_keys.clone()),
            nodes: Arc::default(),
            memory: Arc::default(),
            pieces: Arc::default(),
            speeches: Arc::default(),
            agents: Arc::default(),
            lipsyncs: Arc::default(),
            translations: Arc::default(),
            streams: Arc::default(),
            config: Arc::new(config),
        };
        api.start_loops();
        let routes = routes::router(&api)
            .merge(oauth::routes())
            .merge(storage_grants::routes())
            .merge(avatars::pages())
            .merge(dashboard::routes());
        let routes = routes.fallback(unknown_route).method_not_allowed_fallback(wrong_method);
        let config = api.config.clone();
        let wrap = |routes| middleware::wrap(routes, self.backplane().metrics.clone(), config.clone());
        let routes = routes.with_state(api.clone());
        wrap(routes.clone().merge(mcp::router(&api, wrap(routes))))
    }
}

impl Api {
    /// A download URL of an object, as text; `None` where there is no object, or it is not known how the client reaches the
    /// farm.
    pub(super) async fn signed_url(&self, key: Option<&str>, base: Option<&Url>) -> Result<Option<String>, ApiError> {
        let Some((key, base)) = key.zip(base) else { return Ok(None) };
        let url = self.signed_urls.sign(key, base).await.map_err(|error| ApiError::internal(&error))?;
        Ok(Some(url.into()))
    }

    fn start_loops(&self) {
        let (deliveries, fresh) = mpsc::unbounded_channel();
        let finalizer = Finalizer {
            coordinator: self.coordinator.clone(),
            usages: self.usages.clone(),
            admission: self.admission.clone(),
            signed_urls: self.signed_urls.clone(),
            webhooks: self.webhooks.clone(),
            retention: self.config.retention.clone(),
            public_url: self.config.public_url.clone(),
            deliveries,
        };
        let deliverer = Deliverer {
            webhooks: self.webhooks.clone(),
            fetcher: self.config.fetcher.clone(),
            callback_secret: self.config.callback_secret.clone(),
            policy: self.config.deliveries.clone(),
            metrics: self.coordinator.backplane().metrics.clone(),
        };
        let (api, drain) = (self.clone(), self.coordinator.drain().clone());
        let expiry = expiry::run(drain, move |now_ms| {
            let api = api.clone();
            async move {
                let objects = &api.coordinator.backplane().objects;
                let answers = api.idempotency.clear(now_ms).await?;
                let acts = audit::remove_expired(objects, now_ms).await?;
                let sign_ins = api.oauth.remove_expired(now_ms).await?;
                if api.coordinator.is_leading() {
                    retention::remove_expired(&api.coordinator, now_ms).await?;
                }
                let sessions = sessions::remove_expired(objects, &api.config.retention, now_ms).await?;
                let lipsyncs = records::remove_expired(objects, &api.config.retention, now_ms).await?;
                let translated = translation::records::remove_expired(objects, &api.config.retention, now_ms).await?;
                Ok(answers
                    + translated
                    + acts
                    + sessions
                    + lipsyncs
                    + sign_ins
                    + expiry::remove_expired(objects, &api.webhooks, api.config.upload_url_lifetime, now_ms).await?)
            }
        });
        let webhooks = self.webhooks.clone();
        self.coordinator.run(async move {
            match webhooks.seal_secrets().await {
                Ok(0) => {}
                Ok(sealed) => info!(sealed, "secrets of webhook endpoints were sealed under the first key"),
                Err(error) => {
                    warn!(%error, "secrets of webhook endpoints could not be sealed, the next start tries again")
                }
            }
        });
        let ends = self.coordinator.ends();
        self.coordinator.run(finalizer.run(ends));
        self.coordinator.run(farm::remember(self.clone()));
        self.coordinator.run(translations::take_over(self.clone()));
        self.coordinator.run(deliverer.run(fresh, self.coordinator.drain().clone()));
        self.coordinator.run(expiry);
    }
}

/// Key of the file beside an output that has this name.
fn sidecar_key<'a>(output: &'a OutputRecord, name: &str) -> Option<&'a str> {
    output.sidecars.iter().find(|sidecar| sidecar.name == name).map(|sidecar| sidecar.key.as_str())
}

/// The answer of a handler: one thing.
type Answer<T> = Result<Json<Data<T>>, ApiError>;

/// The answer of a handler: a page of a list.
type List<T> = Result<Json<Page<T>>, ApiError>;

/// A JSON body that has no project in it.
async fn read_body(body: Body) -> Result<Bytes, ApiError> {
    let too_large = || ApiError::new(Code::TooLarge, format!("a body may have {FIELDS_MAX} bytes"));
    read_whole(body, FIELDS_MAX, too_large).await
}

/// A whole body of at most `most` bytes; `too_large` is the error of a longer one.
async fn read_whole(body: Body, most: usize, too_large: impl FnOnce() -> ApiError) -> Result<Bytes, ApiError> {
    to_bytes(body, most).await.map_err(|error| {
        let is_too_long = std::error::Error::source(&error).is_some_and(|cause| cause.is::<LengthLimitError>());
        if is_too_long {
            return too_large();
        }
        ApiError::new(Code::InvalidParameter, format!("the body could not be read to its end: {error}"))
    })
}

async fn unknown_route(method: Method, uri: Uri) -> ApiError {
    refused_by_name(&method, &uri).unwrap_or_else(|| not_found(&method, &uri, ""))
}

async fn wrong_method(method: Method, uri: Uri) -> ApiError {
    let refusal = || ApiError::new(Code::MethodNotAllowed, format!("{} does not take {method}", uri.path()));
    // A route may lie below a path that is refused otherwise.
    let is_route = routes::ROUTES.iter().any(|route| route.path == uri.path());
    refused_by_name(&method, &uri).filter(|_| !is_route).unwrap_or_else(refusal)
}

/// The refusal of a request for a system that the farm has not.
fn refused_by_name(method: &Method, uri: &Uri) -> Option<ApiError> {
    let system = systems::refused(uri.path())?;
    Some(not_found(method, uri, &format!(", for this farm has no {}", system.name)))
}

fn not_found(method: &Method, uri: &Uri, reason: &str) -> ApiError {
    ApiError::new(Code::ResourceNotFound, format!("there is no {method} {}{reason}", uri.path()))
}
