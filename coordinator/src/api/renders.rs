//! Create, read, list, cancel, delete.

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Extension, Path, State};
use axum::http::header::CONTENT_LENGTH;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use hyperfarm_api::render::{
    CreatedStatus, PriorityRequest, RenderCreated, RenderDeleted, RenderDetail as View, Usage, Warning,
};
use hyperfarm_api::request::{self, RendersQuery};
use hyperfarm_api::{Data, Page};
use hyperfarm_proto::id::RenderId;
use url::Url;

use super::base_url::base_url;
use super::create::{self, Source, Submission};
use super::download::Download;
use super::error::{ApiError, Code};
use super::page::{self, PageRange, Query};
use super::view::view;
use super::{Answer, Api, List, assets, read_body, runtimes};
use crate::RenderDetail;
use crate::api_keys::Caller;
use crate::index::Filter;
use crate::intake::{self, Intake, Seed, StoredBundle};
use crate::status::Status;
use crate::submission::CallbackForm;

/// Renders on a page, where the client does not say.
const PAGE: usize = 10;

/// `POST /v3/hyperframes/renders`.
pub(super) async fn create(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let body = read_project_body(&api, &headers, body).await?;
    let origin = base_url(&api.config, &headers);
    let (idempotency, key, raw) = (api.idempotency.clone(), caller.clone(), body.clone());
    let make = move |seed: Seed| async move {
        let asked = create::parse(&raw, &api.config, &api.coordinator.config().limits)?;
        drop(raw);
        let (render, warnings) = submit(&api, &caller, asked, origin, CallbackForm::Event, seed).await?;
        Ok((StatusCode::ACCEPTED, created(render, warnings, None)))
    };
    Ok(idempotency.answer(&key, "POST /v3/hyperframes/renders", &headers, &body, make).await)
}

/// Takes a render in whose project is found.
pub(super) async fn submit(
    api: &Api,
    caller: &Caller,
    submission: Submission,
    origin: Option<Url>,
    callback_form: CallbackForm,
    seed: Seed,
) -> Result<(RenderId, Vec<Warning>), ApiError> {
    let Submission { source, spec, priority, unknown } = submission;
    caller.check_pool(&spec.pool)?;
    intake::check(&spec)?;
    runtimes::check(api, &spec).await?;
    let mut taken = api.admission.reserve(caller, vec![seed.render()]).await?;
    let bundle = bundle(api, caller, source, spec.composition.as_deref()).await?;
    let intake = Intake { priority, callback_form, ..caller.intake(origin) };
    let render = api.coordinator.submit_stored(bundle, spec, intake, seed).await?;
    taken.keep(&render);
    Ok((render, unknown_fields(unknown)))
}

/// Bytes of a body that may have a project inside, at most.
pub(super) fn body_max(api: &Api) -> usize {
    let inline_bytes = api.coordinator.config().limits.inline_bytes;
    usize::try_from(inline_bytes).unwrap_or(usize::MAX / 2) / 3 * 4 + super::FIELDS_MAX
}

/// The body of a request that may have a project inside.
pub(super) async fn read_project_body(api: &Api, headers: &HeaderMap, body: Body) -> Result<Bytes, ApiError> {
    let limits = &api.coordinator.config().limits;
    let most = body_max(api);
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
    super::read_whole(body, most, too_large).await
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
        Source::Url(url) => {
            let most = api.coordinator.config().limits.upload_bytes;
            let wanted =
                Download { what: "project", param: "project.url.url", bytes: most, too_large: Code::ProjectTooLarge };
            wanted.get(api, &url).await?
        }
    };
    Ok(api.coordinator.store_bundle(bytes, entry).await?)
}

fn created(render: RenderId, warnings: Vec<Warning>, retry_of: Option<&RenderId>) -> RenderCreated {
    let retry_of = retry_of.map(ToString::to_string);
    RenderCreated { render_id: render.into(), status: CreatedStatus::Queued, warnings, retry_of }
}

/// Warnings of fields that the farm does not know: old and new clients go on, and their authors can see it.
pub(super) fn unknown_fields(names: Vec<String>) -> Vec<Warning> {
    let warning = |name: String| Warning {
        code: "unknown_field".to_owned(),
        message: format!("the farm does not know the field `{}` and ignores it", name.escape_debug()),
        param: Some(name),
    };
    names.into_iter().map(warning).collect()
}

/// `GET /v3/hyperframes/renders/{render_id}`.
pub(super) async fn read(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer<View> {
    let detail = find(&api, &caller, &id).await?;
    Ok(Json(Data { data: shown(&api, &headers, &detail).await? }))
}

/// Which renders a query looks for.
fn filter(query: &RendersQuery) -> Result<Filter, ApiError> {
    let named = |name: &str| {
        let known = Status::NAMES.iter().find(|(known, _)| *known == name);
        known.map(|(_, status)| *status).ok_or_else(|| {
            let all: Vec<&str> = Status::NAMES.iter().map(|(name, _)| *name).collect();
            ApiError::invalid("status", format!("status must be of {}, separated by commas", all.join(", ")))
        })
    };
    let statuses = query.status.as_deref().unwrap_or_default();
    let statuses =
        statuses.split(',').map(str::trim).filter(|name| !name.is_empty()).map(named).collect::<Result<_, _>>()?;
    let search = query.search.as_deref().map(|text| text.trim().to_lowercase()).filter(|text| !text.is_empty());
    let pool = query.pool.clone().filter(|pool| !pool.is_empty());
    Ok(Filter { statuses, search, pool, sort: query.sort })
}

/// `GET /v3/hyperframes/renders?limit&token&status&search`.
pub(super) async fn list(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Query(query): Query<RendersQuery>,
    headers: HeaderMap,
) -> List<View> {
    let page = PageRange::new(query.limit, PAGE, query.token.as_deref())?;
    let after = page.after.map(|id| id.parse::<RenderId>());
    let after = after.transpose().map_err(|error| ApiError::invalid("token", error.to_string()))?;
    let found = api.coordinator.list(&caller.rights.space, page.limit, after.as_ref(), &filter(&query)?).await?;
    let mut data = Vec::with_capacity(found.renders.len());
    for detail in &found.renders {
        data.push(shown(&api, &headers, detail).await?);
    }
    Ok(Json(Page::new(data, found.next.map(|id| page::token(id.as_str())))))
}

/// `POST /v3/hyperframes/renders/{render_id}/cancel`.
pub(super) async fn cancel(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer<View> {
    let render = find(&api, &caller, &id).await?.request.id.clone();
    let detail = api.coordinator.cancel(&render).await?;
    Ok(Json(Data { data: shown(&api, &headers, &detail).await? }))
}

/// `POST /v3/hyperframes/renders/{render_id}/pause`.
pub(super) async fn pause(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer<View> {
    set_paused(&api, &caller, &id, &headers, true).await
}

/// `POST /v3/hyperframes/renders/{render_id}/resume`.
pub(super) async fn resume(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer<View> {
    set_paused(&api, &caller, &id, &headers, false).await
}

/// `POST /v3/hyperframes/renders/{render_id}/priority`.
pub(super) async fn set_priority(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer<View> {
    let render = find(&api, &caller, &id).await?.request.id.clone();
    let asked: PriorityRequest = request::parse(request::object(&read_body(body).await?)?)?;
    let detail = api.coordinator.set_priority(&render, asked.priority.get()).await?;
    Ok(Json(Data { data: shown(&api, &headers, &detail).await? }))
}

async fn set_paused(api: &Api, caller: &Caller, id: &str, headers: &HeaderMap, paused: bool) -> Answer<View> {
    let render = find(api, caller, id).await?.request.id.clone();
    let detail = api.coordinator.set_paused(&render, paused).await?;
    Ok(Json(Data { data: shown(api, headers, &detail).await? }))
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
    let (idempotency, key) = (api.idempotency.clone(), caller.clone());
    let make = move |seed: Seed| async move {
        caller.check_pool(&detail.request.spec.pool)?;
        runtimes::check(&api, &detail.request.spec).await?;
        let mut taken = api.admission.reserve(&caller, vec![seed.render()]).await?;
        let intake = Intake {
            priority: detail.priority,
            callback_form: detail.intake.callback_form,
            purpose: detail.intake.purpose.clone(),
            ..caller.intake(origin)
        };
        let render = api.coordinator.retry(&detail.request.id, intake, seed).await?;
        taken.keep(&render);
        Ok((StatusCode::ACCEPTED, created(render, Vec::new(), Some(&detail.request.id))))
    };
    Ok(idempotency.answer(&key, &route, &headers, b"", make).await)
}

/// `DELETE /v3/hyperframes/renders/{render_id}`.
pub(super) async fn delete(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Answer<RenderDeleted> {
    let render = find(&api, &caller, &id).await?.request.id.clone();
    api.coordinator.delete(&render).await?;
    Ok(Json(Data { data: RenderDeleted { render_id: render.into() } }))
}

/// The caller's render.
pub(super) async fn find(api: &Api, caller: &Caller, id: &str) -> Result<RenderDetail, ApiError> {
    // What cannot be an id is no render.
    let missing = |_| ApiError::new(Code::RenderNotFound, format!("there is no render {}", id.escape_debug()));
    let render: RenderId = id.parse().map_err(missing)?;
    Ok(api.coordinator.detail_in(&caller.rights.space, &render).await?)
}

pub(super) async fn shown(api: &Api, headers: &HeaderMap, detail: &RenderDetail) -> Result<View, ApiError> {
    let base = base_url(&api.config, headers);
    shown_from(api, base, detail).await
}

/// The same for a client that reaches the farm at `base`.
pub(super) async fn shown_from(api: &Api, base: Option<Url>, detail: &RenderDetail) -> Result<View, ApiError> {
    let mut shown = view(detail, &api.signed_urls, base.as_ref()).await.map_err(|error| ApiError::internal(&error))?;
    if detail.progress.end.is_some() && detail.progress.plan.is_none() {
        let found = api.coordinator.found_warnings(&detail.request.id).await?;
        shown.warnings.extend(found.into_iter().map(Into::into));
    }
    if let (Some(_), Some(key)) = (&shown.video_url, &detail.intake.key) {
        let usage = api.usages.of(key, &detail.request.id).await?;
        shown.usage = usage.map(|usage| Usage {
            worker_seconds: usage.worker_seconds,
            output_minutes: usage.output_minutes,
            usd: usage.usd,
        });
    }
    Ok(shown)
}
