//! Create, read, list, cancel, delete.

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, RawQuery, State};
use axum::http::header::CONTENT_LENGTH;
use axum::http::{HeaderMap, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyperfarm_proto::id::RenderId;
use serde_json::{Value, json};

use super::error::{ApiError, Code};
use super::view::{RenderView, view};
use super::{Api, create, links};
use crate::RenderDetail;

type Answer = Result<Json<Value>, ApiError>;

/// Renders on a page, where the client does not say.
const PAGE: usize = 10;

/// Renders on a page at most.
const PAGE_MAX: usize = 100;

/// Room in a body beside an encoded project.
const FIELDS_MAX: usize = 2 * 1024 * 1024;

/// `POST /v3/hyperframes/renders`.
pub(super) async fn create(
    State(api): State<Api>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    api.config.access.check(&headers)?;
    let limits = &api.coordinator.config().limits;
    let most = usize::try_from(limits.inline_bytes).unwrap_or(usize::MAX / 2) / 3 * 4 + FIELDS_MAX;
    let too_large = || {
        let message = format!("a project inside the request may have {} bytes", limits.inline_bytes);
        ApiError::new(Code::ProjectTooLarge, message).of("project")
    };
    // Refused before it is read, where the client says how long it is.
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > most) {
        return Err(too_large());
    }
    let body = to_bytes(body, most).await.map_err(|_| too_large())?;
    let (bundle, spec) = create::parse(&body, &api.config, limits)?;
    drop(body);
    let render = api.coordinator.submit(bundle, spec).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "data": { "render_id": render, "status": "queued" } }))))
}

/// `GET /v3/hyperframes/renders/{render_id}`.
pub(super) async fn read(State(api): State<Api>, Path(id): Path<String>, headers: HeaderMap) -> Answer {
    api.config.access.check(&headers)?;
    let detail = api.coordinator.detail(&parse_id(&id)?).await?;
    Ok(Json(json!({ "data": shown(&api, &headers, &detail).await? })))
}

/// `GET /v3/hyperframes/renders?limit&token`.
pub(super) async fn list(State(api): State<Api>, RawQuery(query): RawQuery, headers: HeaderMap) -> Answer {
    api.config.access.check(&headers)?;
    let (limit, after) = page(query.as_deref().unwrap_or_default())?;
    let page = api.coordinator.list(limit, after.as_ref()).await?;
    let mut data = Vec::with_capacity(page.renders.len());
    for detail in &page.renders {
        data.push(shown(&api, &headers, detail).await?);
    }
    let next_token = page.next.map(|id| URL_SAFE_NO_PAD.encode(id.as_str()));
    Ok(Json(json!({ "data": data, "has_more": next_token.is_some(), "next_token": next_token })))
}

/// `POST /v3/hyperframes/renders/{render_id}/cancel`.
pub(super) async fn cancel(State(api): State<Api>, Path(id): Path<String>, headers: HeaderMap) -> Answer {
    api.config.access.check(&headers)?;
    let detail = api.coordinator.cancel(&parse_id(&id)?).await?;
    Ok(Json(json!({ "data": shown(&api, &headers, &detail).await? })))
}

/// `DELETE /v3/hyperframes/renders/{render_id}`.
pub(super) async fn delete(State(api): State<Api>, Path(id): Path<String>, headers: HeaderMap) -> Answer {
    api.config.access.check(&headers)?;
    let render = parse_id(&id)?;
    api.coordinator.delete(&render).await?;
    Ok(Json(json!({ "data": { "render_id": render } })))
}

async fn shown(api: &Api, headers: &HeaderMap, detail: &RenderDetail) -> Result<RenderView, ApiError> {
    let base = links::base(&api.config, headers);
    view(detail, &api.links, base.as_ref()).await.map_err(|error| ApiError::internal(&error))
}

/// What cannot be an id is no render.
fn parse_id(id: &str) -> Result<RenderId, ApiError> {
    id.parse().map_err(|_| ApiError::new(Code::RenderNotFound, format!("there is no render {}", id.escape_debug())))
}

fn page(query: &str) -> Result<(usize, Option<RenderId>), ApiError> {
    let (mut limit, mut after) = (PAGE, None);
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "limit" => {
                limit = value.parse().ok().filter(|limit| (1..=PAGE_MAX).contains(limit)).ok_or_else(|| {
                    ApiError::invalid("limit", format!("limit must be an integer from 1 to {PAGE_MAX}"))
                })?;
            }
            "token" if !value.is_empty() => {
                let id =
                    URL_SAFE_NO_PAD.decode(&*value).ok().and_then(|bytes| String::from_utf8(bytes).ok()?.parse().ok());
                after =
                    Some(id.ok_or_else(|| {
                        ApiError::invalid("token", "token must be the next_token of an earlier page")
                    })?);
            }
            _ => {}
        }
    }
    Ok((limit, after))
}
