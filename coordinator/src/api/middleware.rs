//! What every request passes on its way in and out.

use std::time::Instant;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, HeaderValue, Uri};
use axum::response::{IntoResponse, Response};
use hyperfarm_backplane::metrics::Metrics;
use tower::ServiceExt;
use tracing::{Instrument, debug, info_span};

use super::error::{ApiError, Code};

/// Names a request in answers and logs.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest request id that is taken over from a client.
const REQUEST_ID_MAX: usize = 128;

/// `routes` behind the edge: a doubled slash before the path is one, every response has `X-Request-Id`, every request a log line.
/// This sits before routing, where a layer of the router itself would come too late.
pub(super) fn wrap(routes: Router, metrics: Metrics) -> Router {
    Router::new().fallback(move |request: Request| pass(routes.clone(), metrics.clone(), request))
}

/// The route that answered, in the extensions of its response.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answered {
    /// The method.
    pub(super) method: &'static str,
    /// The path's template.
    pub(super) template: &'static str,
}

async fn pass(routes: Router, metrics: Metrics, mut request: Request) -> Response {
    let started = Instant::now();
    if let Some(uri) = single_slash(request.uri()) {
        *request.uri_mut() = uri;
    }
    let id = request_id(request.headers().get(&REQUEST_ID));
    let span = info_span!("request", request_id = id.to_str().unwrap_or(""), method = %request.method(), path = request.uri().path());
    async move {
        let Ok(response) = routes.oneshot(request).await.map(|response: Response<Body>| response);
        let route = response.extensions().get::<Answered>().copied();
        let mut response = in_shape(response).await;
        let Answered { method, template } = route.unwrap_or(Answered { method: "other", template: "unmatched" });
        metrics.request_answered(method, template, response.status().as_u16(), started.elapsed());
        debug!(status = response.status().as_u16(), "answered");
        response.headers_mut().insert(REQUEST_ID, id);
        response
    }
    .instrument(span)
    .await
}

/// Refusals of the framework's own extractors are plain text; clients read JSON.
async fn in_shape(response: Response) -> Response {
    let is_text = response.headers().get(CONTENT_TYPE).is_none_or(|kind| kind.as_bytes().starts_with(b"text/plain"));
    if !response.status().is_client_error() || !is_text {
        return response;
    }
    let (parts, body) = response.into_parts();
    let text = to_bytes(body, 4096).await.unwrap_or_default();
    let message = format!("the request is not understood: {}", String::from_utf8_lossy(&text));
    let mut error = ApiError::new(Code::InvalidParameter, message).into_response();
    *error.status_mut() = parts.status;
    error
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
    fn a_clients_id_is_kept_where_it_is_plain() {
        let asked = HeaderValue::from_static("abc-1");
        assert_eq!(request_id(Some(&asked)), asked);
        assert_ne!(request_id(Some(&HeaderValue::from_static("a b"))), "a b");
        assert_ne!(request_id(None), request_id(None));
    }
}
