//! Downloads through signed URLs, for storage that has none of its own.
//!
//! No key is needed: the signature is the right. `Content-Length` is exact, nothing is compressed, one range is served.

use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, IF_RANGE, RANGE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use hyperfarm_backplane::http::{ByteRange, media_type};
use hyperfarm_proto::id::RenderId;
use hyperfarm_proto::keys;

use super::Api;
use super::error::{ApiError, Code};
use crate::signed_urls::PARAMETER;
use crate::store;

/// `GET /files/{key}?signature`, and `HEAD`.
pub(super) async fn download(
    State(api): State<Api>,
    Path(key): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    check(&api, "GET", &key, query.as_deref().unwrap_or_default()).await?;
    let objects = &api.coordinator.backplane().objects;
    let missing = || ApiError::new(Code::ResourceNotFound, "there is no such file any more");
    if let Some(render) = render_of(&key)
        && store::is_deleted(objects, &render).await.map_err(|error| ApiError::internal(&error))?
    {
        return Err(missing());
    }
    let total = match objects.head(&key).await {
        Ok(meta) => meta.bytes,
        Err(error) if error.is_not_found() => return Err(missing()),
        Err(error) => return Err(ApiError::internal(&error)),
    };
    // Without a validator to compare there is nothing an `If-Range` could agree with.
    let asked = headers.get(RANGE).filter(|_| !headers.contains_key(IF_RANGE)).and_then(|value| value.to_str().ok());
    let range = match ByteRange::parse(asked, total) {
        ByteRange::Whole => None,
        ByteRange::Part(range) => Some(range),
        ByteRange::Unsatisfiable => {
            let error = ApiError::new(Code::RangeInvalid, format!("the file has {total} bytes")).of("Range");
            return Ok(([(CONTENT_RANGE, format!("bytes */{total}"))], error).into_response());
        }
    };
    let length = range.as_ref().map_or(total, |range| range.end - range.start);
    let (_, stream) = objects.stream(&key, range.clone()).await.map_err(|error| ApiError::internal(&error))?;
    let mut response = Response::new(Body::from_stream(stream));
    let answer = response.headers_mut();
    answer.insert(CONTENT_LENGTH, length.into());
    answer.insert(ACCEPT_RANGES, header("bytes"));
    answer.insert(CONTENT_TYPE, header(media_type(&key)));
    // A page of a stranger's project never comes from here, and nothing is to be taken for one.
    answer.insert(X_CONTENT_TYPE_OPTIONS, header("nosniff"));
    answer.insert(CACHE_CONTROL, header("private, no-transform"));
    if let Some(range) = range {
        let value = format!("bytes {}-{}/{total}", range.start, range.end - 1);
        if let Ok(value) = value.parse() {
            answer.insert(CONTENT_RANGE, value);
        }
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(response)
}

fn header(value: &'static str) -> axum::http::HeaderValue {
    axum::http::HeaderValue::from_static(value)
}

pub(super) async fn check(api: &Api, method: &str, key: &str, query: &str) -> Result<(), ApiError> {
    let signed = url::form_urlencoded::parse(query.as_bytes())
        .find(|(name, _)| name == PARAMETER)
        .map(|(_, value)| value)
        .unwrap_or_default();
    let refused = || {
        let message = "the URL is not this farm's, or has run out; ask the API for a new one";
        ApiError::new(Code::Forbidden, message)
    };
    match api.signed_urls.verify(method, key, &signed).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(refused()),
        Err(error) => Err(ApiError::internal(&error)),
    }
}

fn render_of(key: &str) -> Option<RenderId> {
    key.strip_prefix(keys::RENDERS)?.strip_prefix('/')?.split('/').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_tell_their_render() {
        assert_eq!(render_of("renders/r1/output.mp4").unwrap().as_str(), "r1");
        assert_eq!(render_of("farm/link-secret"), None);
    }
}
