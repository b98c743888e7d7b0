//! Responses of the slot's server.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;

/// The text of the response to a request for another origin.
pub(super) const REFUSED: &str = "pages of this farm load nothing from outside";

/// A response with a text.
pub(super) fn plain(status: StatusCode, text: &'static str) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// A response with `bytes`.
pub(super) fn whole(media_type: &str, bytes: Bytes) -> Response {
    let length = bytes.len();
    with_length(media_type, Body::from(bytes), length)
}

/// A response with a body of `length` bytes.
pub(super) fn with_length(media_type: &str, body: Body, length: usize) -> Response {
    let mut response = with_headers(media_type, body);
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    response
}

/// A response that the browser does not cache: the next page may have another file under the same path.
pub(super) fn with_headers(media_type: &str, body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    if let Ok(media_type) = HeaderValue::from_str(media_type) {
        headers.insert(header::CONTENT_TYPE, media_type);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}
