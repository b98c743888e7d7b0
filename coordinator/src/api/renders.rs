//! Create, read, list, cancel, delete.

use axum::Json;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Extension, Path, RawQuery, State};
use axum::http::header::CONTENT_LENGTH;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use hyperfarm_backplane::fetch::{Expected, FetchLimits, FetchReason};
use hyperfarm_proto::id::RenderId;
use serde_json::{Value, json};
use url::Url;

use super::base_url::base_url;
use super::create::{self, Asked, Source};
use super::error::{ApiError, Code};
use super::page::{self, Page};
use super::view::view;
use super::{Api, assets};
use crate::RenderDetail;
use crate::api_keys::Caller;
use crate::index::Filter;
use crate::intake::{self, Intake, Seed, StoredBundle};
use crate::status::Status;

pub(super) type Answer = Result<Json<Value>, ApiError>;

/// Renders on a page, where the client does not say.
const PAGE: usize = 10;

/// Characters of a search at most.
const SEARCH_MAX: usize = 200;

/// `POST /v3/hyperframes/renders`.
pub(super) async fn create(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let body = read_project_body(&api, &headers, body).await?;
    let origin = base_url(&api.config, &headers);
    let (once, key, raw) = (api.once.clone(), caller.clone(), body.clone());
    let make = move |seed: Seed| async move {
        let asked = create::parse(&raw, &api.config, &api.coordinator.config().limits)?;
        drop(raw);
        caller.check_pool(&asked.spec.pool)?;
        intake::check(&asked.spec)?;
        let render = seed.render();
        let mut taken = api.admission.reserve(&caller, vec![render.clone()]).await?;
        let bundle = bundle(&api, &caller, asked.source, asked.spec.composition.as_deref()).await?;
        let intake = Intake {
            space: caller.rights.space.clone(),
            key: Some(caller.id.clone()),
            origin,
            priority: asked.priority,
            ..Intake::default()
        };
        let render = api.coordinator.submit_stored(bundle, asked.spec, intake, seed).await?;
        taken.keep(&render);
        let mut data = json!({ "render_id": render, "status": "queued" });
        if !asked.unknown.is_empty() {
            data["warnings"] = unknown_fields(&asked.unknown);
        }
        Ok((StatusCode::ACCEPTED, json!({ "data": data })))
    };
    Ok(once.answer(&key, "POST /v3/hyperframes/renders", &headers, &body, make).await)
}

/// The body of a request that may have a project inside.
pub(super) async fn read_project_body(api: &Api, headers: &HeaderMap, body: Body) -> Result<Bytes, ApiError> {
    let limits = &api.coordinator.config().limits;
    let most = usize::try_from(limits.inline_bytes).unwrap_or(usize::MAX / 2) / 3 * 4 + super::FIELDS_MAX;
    let too_large = || {
        let message = format!(
            "a project inside the request may have {} bytes; upload a larger one as an asset",
            limits.inline_bytes
        );
        ApiError::new(Code::ProjectTooLarge, message).of("project")
    };
    // Refused before it is read, where the client says how long it is.
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > most) {
        return Err(too_large());
    }
    to_bytes(body, most).await.map_err(|_| too_large())
}

/// The project, wherever it is, checked and stored.
pub(super) async fn bundle(
    api: &Api,
    caller: &Caller,
    source: Source,
    entry: Option<&str>,
) -> Result<StoredBundle, ApiError> {
    let bytes = match source {
        Source::Bundle(bytes) => bytes,
        Source::Asset(id) => assets::project(api, caller, &id).await?,
        Source::Url(url) => download(api, &url).await?,
    };
    Ok(api.coordinator.store_bundle(bytes, entry).await?)
}

async fn download(api: &Api, url: &Url) -> Result<Bytes, ApiError> {
    let param = "project.url.url";
    let failed = |message: String| ApiError::new(Code::DownloadFailed, message).of(param);
    let Some(fetcher) = &api.config.fetcher else {
        return Err(failed("this farm fetches nothing; upload the project as an asset".to_owned()));
    };
    let file = tempfile::NamedTempFile::new().map_err(|error| ApiError::internal(&error))?;
    let limits = FetchLimits { bytes: api.coordinator.config().limits.upload_bytes, time: api.config.download_within };
    match fetcher.to_file(url, file.path(), limits, Expected::File).await {
        Ok(_) => Ok(tokio::fs::read(file.path()).await.map_err(|error| ApiError::internal(&error))?.into()),
        Err(error) => Err(match &error.reason {
            FetchReason::Local(_) => ApiError::internal(&error),
            FetchReason::TooLarge(_) => ApiError::new(Code::ProjectTooLarge, error.to_string()).of(param),
            _ => failed(format!("the project cannot be downloaded: {error}")),
        }),
    }
}

/// What is said of fields that nobody knows: old and new clients go on, and their authors can see it.
pub(super) fn unknown_fields(names: &[String]) -> Value {
    names
        .iter()
        .map(|name| {
            json!({
                "code": "unknown_field", "param": name,
                "message": format!("the farm does not know the field `{}` and ignores it", name.escape_debug()),
            })
        })
        .collect()
}

/// `GET /v3/hyperframes/renders/{render_id}`.
pub(super) async fn read(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let detail = find(&api, &caller, &id).await?;
    Ok(Json(json!({ "data": shown(&api, &headers, &detail).await? })))
}

/// What a query looks for.
fn filter(query: Option<&str>) -> Result<Filter, ApiError> {
    let named = |name: &str| {
        let known = Status::NAMES.iter().find(|(known, _)| *known == name);
        known.map(|(_, status)| *status).ok_or_else(|| {
            let all: Vec<&str> = Status::NAMES.iter().map(|(name, _)| *name).collect();
            ApiError::invalid("status", format!("status must be of {}, separated by commas", all.join(", ")))
        })
    };
    let statuses = page::query(query, "status").unwrap_or_default();
    let statuses =
        statuses.split(',').map(str::trim).filter(|name| !name.is_empty()).map(named).collect::<Result<_, _>>()?;
    let search = page::query(query, "search").map(|text| text.trim().to_lowercase()).filter(|text| !text.is_empty());
    if search.as_ref().is_some_and(|text| text.chars().count() > SEARCH_MAX) {
        return Err(ApiError::invalid("search", format!("search may have {SEARCH_MAX} characters")));
    }
    Ok(Filter { statuses, search })
}

/// `GET /v3/hyperframes/renders?limit&token&status&search`.
pub(super) async fn list(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answer {
    let page = Page::of(query.as_deref(), PAGE)?;
    let after = page.after.map(|id| id.parse::<RenderId>());
    let after = after.transpose().map_err(|error| ApiError::invalid("token", error.to_string()))?;
    let found =
        api.coordinator.list(&caller.rights.space, page.limit, after.as_ref(), &filter(query.as_deref())?).await?;
    let mut data = Vec::with_capacity(found.renders.len());
    for detail in &found.renders {
        data.push(shown(&api, &headers, detail).await?);
    }
    Ok(Json(page::listed(data, found.next.map(|id| page::token(id.as_str())))))
}

/// `POST /v3/hyperframes/renders/{render_id}/cancel`.
pub(super) async fn cancel(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let render = find(&api, &caller, &id).await?.request.id.clone();
    let detail = api.coordinator.cancel(&render).await?;
    Ok(Json(json!({ "data": shown(&api, &headers, &detail).await? })))
}

/// `POST /v3/hyperframes/renders/{render_id}/pause`.
pub(super) async fn pause(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    set_paused(&api, &caller, &id, &headers, true).await
}

/// `POST /v3/hyperframes/renders/{render_id}/resume`.
pub(super) async fn resume(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    set_paused(&api, &caller, &id, &headers, false).await
}

async fn set_paused(api: &Api, caller: &Caller, id: &str, headers: &HeaderMap, paused: bool) -> Answer {
    let render = find(api, caller, id).await?.request.id.clone();
    let detail = api.coordinator.set_paused(&render, paused).await?;
    Ok(Json(json!({ "data": shown(api, headers, &detail).await? })))
}

/// `POST /v3/hyperframes/renders/{render_id}/retry`: the same request as a new render.
pub(super) async fn retry(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let detail = find(&api, &caller, &id).await?;
    if detail.progress.end.is_none() {
        let message = format!("render {id} has not ended; cancel it first, or wait");
        return Err(ApiError::new(Code::Conflict, message));
    }
    let origin = base_url(&api.config, &headers);
    let route = format!("POST /v3/hyperframes/renders/{id}/retry");
    let (once, key) = (api.once.clone(), caller.clone());
    let make = move |seed: Seed| async move {
        caller.check_pool(&detail.request.spec.pool)?;
        let mut taken = api.admission.reserve(&caller, vec![seed.render()]).await?;
        let intake = Intake {
            space: caller.rights.space.clone(),
            key: Some(caller.id.clone()),
            origin,
            priority: detail.intake.priority,
            ..Intake::default()
        };
        let render = api.coordinator.retry(&detail.request.id, intake, seed).await?;
        taken.keep(&render);
        let data = json!({ "render_id": render, "status": "queued", "retry_of": detail.request.id });
        Ok((StatusCode::ACCEPTED, json!({ "data": data })))
    };
    Ok(once.answer(&key, &route, &headers, b"", make).await)
}

/// `DELETE /v3/hyperframes/renders/{render_id}`.
pub(super) async fn delete(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Answer {
    let render = find(&api, &caller, &id).await?.request.id.clone();
    api.coordinator.delete(&render).await?;
    Ok(Json(json!({ "data": { "render_id": render } })))
}

/// The caller's render.
pub(super) async fn find(api: &Api, caller: &Caller, id: &str) -> Result<RenderDetail, ApiError> {
    // What cannot be an id is no render.
    let missing = |_| ApiError::new(Code::RenderNotFound, format!("there is no render {}", id.escape_debug()));
    let render: RenderId = id.parse().map_err(missing)?;
    Ok(api.coordinator.detail_in(&caller.rights.space, &render).await?)
}

pub(super) async fn shown(api: &Api, headers: &HeaderMap, detail: &RenderDetail) -> Result<Value, ApiError> {
    let base = base_url(&api.config, headers);
    shown_from(api, base, detail).await
}

/// The same for a client that reaches the farm at `base`.
pub(super) async fn shown_from(api: &Api, base: Option<Url>, detail: &RenderDetail) -> Result<Value, ApiError> {
    let shown = view(detail, &api.links, base.as_ref()).await.map_err(|error| ApiError::internal(&error))?;
    let mut shown = serde_json::to_value(shown).map_err(|error| ApiError::internal(&error))?;
    if let (Some(_), Some(key)) = (shown.get("video_url"), &detail.intake.key)
        && let Some(usage) = api.usages.of(key, &detail.request.id).await?
    {
        shown["usage"] = json!({
            "worker_seconds": usage.worker_seconds, "output_minutes": usage.output_minutes, "usd": usage.usd,
        });
    }
    Ok(shown)
}

/// What of a body is asked of every render of a batch, and what of each.
pub(super) fn parse_asked(api: &Api, fields: &serde_json::Map<String, Value>) -> Result<Asked, ApiError> {
    create::parse_fields(fields, &api.config, &api.coordinator.config().limits)
}
