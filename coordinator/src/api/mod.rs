//! HTTP: a drop-in for the hosted service's API, and what an operator needs beside it.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`access`] | who may call |
//! | [`edge`] | what every request passes: doubled slashes, request ids, one line of log |
//! | [`create`] | the body of a new render, field by field |
//! | [`renders`] | create, read, list, cancel, delete |
//! | [`view`] | a render as JSON |
//! | [`files`] | downloads through signed URLs, for storage that has none of its own |
//! | [`links`] | absolute, signed URLs |
//! | [`operate`] | health, readiness, metrics |
//! | [`error`](mod@error) | the one shape of every error |
//!
//! **Invariant: polls answer while every worker, the broker and the ledger are down.** Clients take any failed poll as final; nothing
//! here asks more than memory and storage, except readiness.

pub mod access;
pub mod create;
pub mod edge;
pub mod error;
pub mod files;
pub mod links;
pub mod operate;
pub mod renders;
pub mod view;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{Method, Uri};
use axum::routing::get;
use url::Url;

pub use access::Access;
pub use error::{ApiError, Code};

use crate::Coordinator;
use links::Links;

/// What the API needs to know.
#[derive(Debug, Clone)]
pub struct ApiConfig {
    /// Who may call.
    pub access: Access,
    /// Where clients reach this API; else what their `Host` header says.
    pub public_url: Option<Url>,
    /// How long a download URL is good for.
    pub links_valid: Duration,
    /// Whether `callback_url` may be plain http.
    pub allow_http_callbacks: bool,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            access: Access::Open,
            public_url: None,
            // The longest that S3 signs for.
            links_valid: Duration::from_secs(7 * 24 * 3600),
            allow_http_callbacks: false,
        }
    }
}

/// What every handler shares.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) coordinator: Coordinator,
    pub(crate) config: Arc<ApiConfig>,
    pub(crate) links: Arc<Links>,
}

impl Coordinator {
    /// The HTTP API over this coordinator.
    pub fn router(&self, config: ApiConfig) -> Router {
        let links = Links::new(self.backplane().objects.clone(), config.links_valid);
        let api = Api { coordinator: self.clone(), config: Arc::new(config), links: Arc::new(links) };
        let renders = "/v3/hyperframes/renders";
        let routes = Router::new()
            .route(renders, get(renders::list).post(renders::create))
            .route(&format!("{renders}/{{render_id}}"), get(renders::read).delete(renders::delete))
            .route(&format!("{renders}/{{render_id}}/cancel"), axum::routing::post(renders::cancel))
            .route("/files/{*key}", get(files::download))
            .route("/healthz", get(operate::health))
            .route("/readyz", get(operate::ready))
            .route("/metrics", get(operate::metrics))
            .fallback(unknown_route)
            .method_not_allowed_fallback(wrong_method)
            .with_state(api);
        edge::wrap(routes)
    }
}

async fn unknown_route(method: Method, uri: Uri) -> ApiError {
    ApiError::new(Code::ResourceNotFound, format!("there is no {method} {}", uri.path()))
}

async fn wrong_method(method: Method, uri: Uri) -> ApiError {
    ApiError::new(Code::MethodNotAllowed, format!("{} does not take {method}", uri.path()))
}
