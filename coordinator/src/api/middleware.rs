//! What every request passes on its way in and out.

use std::sync::Arc;
use std::time::Instant;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, ORIGIN, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use hyperfarm_api::{ErrorBody, Problem};
use hyperfarm_backplane::metrics::Metrics;
use tower::ServiceExt;
use tracing::{Instrument, debug, info_span};
use url::{Host, Url};

use super::base_url::base_url;
use super::error::{ApiError, Code};
use super::route::Dialect;
use super::{Access, ApiConfig, unread};

/// Names a request in answers and logs.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Bytes of an error at most.
const ERROR_MAX: usize = 256 * 1024;

/// Longest request id that is taken over from a client.
const REQUEST_ID_MAX: usize = 128;

/// What every request passes before it is routed: a doubled slash before the path becomes one, every response has
/// `X-Request-Id`, every request a log line. A layer of the router itself would come too late for the first.
pub(super) fn wrap(routes: Router, metrics: Metrics, config: Arc<ApiConfig>) -> Router {
    Router::new().fallback(move |request: Request| pass(routes.clone(), metrics.clone(), config.clone(), request))
}

/// The route that answered, in the extensions of its response.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answered {
    /// The method.
    pub(super) method: &'static str,
    /// The path's template.
    pub(super) template: &'static str,
    /// Whose clients it is for.
    pub(super) dialect: Dialect,
}

async fn pass(routes: Router, metrics: Metrics, config: Arc<ApiConfig>, mut request: Request) -> Response {
    let started = Instant::now();
    if let Some(uri) = single_slash(request.uri()) {
        *request.uri_mut() = uri;
    }
    let id = request_id(request.headers().get(&REQUEST_ID));
    request.headers_mut().insert(REQUEST_ID, id.clone());
    let span = info_span!("request", request_id = id.to_str().unwrap_or(""), method = %request.method(), path = request.uri().path());
    let base = base_url(&config, request.headers());
    let (request, unread) = unread::watch(request);
    async move {
        let response = match check_origin(&config, request.headers()) {
            Ok(()) => {
                let Ok(response) = routes.oneshot(request).await.map(|response: Response<Body>| response);
                response
            }
            Err(error) => {
                drop(request);
                error.into_response()
            }
        };
        let route = response.extensions().get::<Answered>().copied();
        let unmatched = Answered { method: "other", template: "unmatched", dialect: Dialect::HyperFrames };
        let Answered { method, template, dialect } = route.unwrap_or(unmatched);
        let mut response = finish_error(in_shape(response).await, base, dialect).await;
        unread.discard().await;
        metrics.request_answered(method, template, response.status().as_u16(), started.elapsed());
        debug!(status = response.status().as_u16(), "answered");
        response.headers_mut().insert(REQUEST_ID, id);
        response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response
    }
    .instrument(span)
    .await
}

/// Refuses what a page of another site makes a browser send to a farm that asks for no keys: a request for another
/// host's name, which leads to this machine (DNS rebinding), or one from another origin.
fn check_origin(config: &ApiConfig, headers: &HeaderMap) -> Result<(), ApiError> {
    if !matches!(config.access, Access::Open) {
        return Ok(());
    }
    let refused = |param: &str, what: &str| {
        let message = format!(
            "this farm asks for no keys, so {what}; set HYPERFARM_API_KEYS, or HYPERFARM_PUBLIC_URL to the URL in use"
        );
        Err(ApiError::new(Code::Forbidden, message).of(param))
    };
    let url = |text: &str| Url::parse(text).ok();
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let host = text(HOST).map(|host| url(&format!("http://{host}/")));
    let is_public = |url: &Url| config.public_url.as_ref().is_some_and(|public| public.host() == url.host());
    if let Some(host) = &host
        && !host.as_ref().is_some_and(|host| is_loopback(host) || is_public(host))
    {
        return refused(HOST.as_str(), "it answers to this machine's own names only");
    }
    let Some(origin) = text(ORIGIN) else { return Ok(()) };
    let is_same = |origin: &Url| {
        let is_host = host.iter().flatten().any(|host| host.host() == origin.host() && host.port() == origin.port());
        is_host || config.public_url.as_ref().is_some_and(|public| public.origin() == origin.origin())
    };
    if url(origin).as_ref().is_some_and(is_same) {
        return Ok(());
    }
    refused(ORIGIN.as_str(), "it takes nothing from pages of other sites")
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            name == "localhost" || name.ends_with(".localhost")
        }
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Refusals of the framework's own extractors are plain text; clients read JSON.
async fn in_shape(response: Response) -> Response {
    let is_text = response.headers().get(CONTENT_TYPE).is_none_or(|kind| kind.as_bytes().starts_with(b"text/plain"));
    if !response.status().is_client_error() || !is_text {
        return response;
    }
    let (parts, body) = response.into_parts();
    let text = to_bytes(body, ERROR_MAX).await.unwrap_or_default();
    let message = format!("the request is not understood: {}", String::from_utf8_lossy(&text));
    let mut error = ApiError::new(Code::InvalidParameter, message).into_response();
    *error.status_mut() = parts.status;
    error
}

/// The error with a whole URL of its explanation, for a client that reaches the farm at `base`, in the form that the
/// route's clients read.
async fn finish_error(response: Response, base: Option<Url>, dialect: Dialect) -> Response {
    let is_error = response.status().is_client_error() || response.status().is_server_error();
    let Some(base) = base.filter(|_| is_error) else { return response };
    let (mut parts, body) = response.into_parts();
    let bytes = to_bytes(body, ERROR_MAX).await.unwrap_or_default();
    let Ok(ErrorBody { mut error }) = serde_json::from_slice::<ErrorBody>(&bytes) else {
        return Response::from_parts(parts, bytes.into());
    };
    // The farm may lie below a path of its public URL.
    error.doc_url = format!("{}{}", base.as_str().trim_end_matches('/'), error.doc_url);
    parts.headers.remove(CONTENT_LENGTH);
    let mut response = match dialect {
        Dialect::HyperFrames => Json(ErrorBody { error }).into_response(),
        Dialect::Inference => {
            let kind = HeaderValue::from_static(Problem::MEDIA_TYPE);
            ([(CONTENT_TYPE, kind)], Json(Problem::new(parts.status, error))).into_response()
        }
    };
    parts.headers.extend(std::mem::take(response.headers_mut()));
    Response::from_parts(parts, response.into_body())
}

/// The URI without what is doubled at the start of its path; `None` where nothing is.
fn single_slash(uri: &Uri) -> Option<Uri> {
    let path_and_query = uri.path_and_query()?.as_str();
    let single = path_and_query.trim_start_matches('/');
    if path_and_query.len() - single.len() < 2 {
        return None;
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(format!("/{single}").parse().ok()?);
    Uri::from_parts(parts).ok()
}

/// The client's own id where it is short and plain, else a new one.
fn request_id(asked: Option<&HeaderValue>) -> HeaderValue {
    let is_plain =
        |id: &&HeaderValue| (1..=REQUEST_ID_MAX).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic);
    if let Some(id) = asked.filter(is_plain) {
        return id.clone();
    }
    let mut bytes = [0; 16];
    // Without random numbers the id is still an id, only not a new one.
    let _ = getrandom::fill(&mut bytes);
    HeaderValue::from_str(&format!("req_{}", hex::encode(bytes))).unwrap_or(HeaderValue::from_static("req"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_start_of_the_path_is_single() {
        let single = |uri: &str| single_slash(&uri.parse().unwrap()).map(|uri| uri.to_string());
        assert_eq!(single("//v3/x//y?a=//b"), Some("/v3/x//y?a=//b".to_owned()));
        assert_eq!(single("///"), Some("/".to_owned()));
        assert_eq!(single("/v3//x"), None);
    }

    #[test]
    fn a_farm_without_keys_takes_requests_of_this_machine_only() {
        let open = ApiConfig::default();
        let public = ApiConfig { public_url: Url::parse("https://farm.example/under").ok(), ..ApiConfig::default() };
        let keyed = ApiConfig { access: Access::keys(["hf_a"]), ..ApiConfig::default() };
        for (config, host, origin, refused) in [
            (&open, "127.0.0.1:8080", None, None),
            (&open, "localhost:8080", Some("http://localhost:8080"), None),
            (&open, "[::1]:8080", Some("http://[::1]:8080"), None),
            (&open, "rebound.example:8080", None, Some("host")),
            (&open, "127.0.0.1.rebound.example", None, Some("host")),
            (&open, "a b", None, Some("host")),
            (&open, "127.0.0.1:8080", Some("https://other.example"), Some("origin")),
            (&open, "127.0.0.1:8080", Some("http://127.0.0.1:9090"), Some("origin")),
            (&open, "127.0.0.1:8080", Some("null"), Some("origin")),
            (&public, "farm.example", Some("https://farm.example"), None),
            (&public, "other.example", None, Some("host")),
            (&keyed, "rebound.example", Some("https://other.example"), None),
        ] {
            let mut headers = HeaderMap::from_iter([(HOST, host.parse().unwrap())]);
            headers.extend(origin.map(|origin| (ORIGIN, origin.parse().unwrap())));
            let param = check_origin(config, &headers).err().and_then(|error| error.param);
            assert_eq!(param.as_deref(), refused, "{host} {origin:?}");
        }
        assert!(check_origin(&open, &HeaderMap::new()).is_ok(), "a browser always says the host");
    }

    #[test]
    fn a_clients_id_is_kept_where_it_is_plain() {
        let asked = HeaderValue::from_static("abc-1");
        assert_eq!(request_id(Some(&asked)), asked);
        assert_ne!(request_id(Some(&HeaderValue::from_static("a b"))), "a b");
        assert_ne!(request_id(None), request_id(None));
    }
}
