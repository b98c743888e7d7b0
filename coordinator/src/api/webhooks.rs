//! Webhook endpoints and events.

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::{Map, Value, json};
use url::Url;

use super::Api;
use super::create::{self, Fields};
use super::error::{ApiError, Code};
use super::page::{self, Page};
use super::renders::Answer;
use crate::api_keys::Caller;
use crate::clock::iso8601;
use crate::intake::Seed;
use crate::webhooks::{EVENT_TYPES, Endpoint, HOSTED_ONLY_EVENT_TYPES, Webhooks};

const URL_MAX: usize = 2048;

/// `POST /v3/webhooks/endpoints`.
pub(super) async fn create(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let body = super::read_body(body).await?;
    let (once, key, raw) = (api.once.clone(), caller.clone(), body.clone());
    let make = move |seed: Seed| async move {
        let all = create::object(&raw)?;
        let fields = Fields { fields: &all, path: "" };
        let url = url(&api, &fields)?.ok_or_else(|| fields.refused("url", "the https URL of the receiver"))?;
        let endpoint = Endpoint {
            id: seed.id("ep"),
            space: caller.rights.space.clone(),
            url,
            events: events(&all)?,
            entity_id: fields.text("entity_id", 64)?,
            secret: Webhooks::secret()?,
            is_disabled: false,
            created_at_ms: seed.at_ms(),
        };
        if !api.webhooks.reserve_url(&endpoint.space, &endpoint.url, &endpoint.id).await? {
            return Err(taken(&endpoint.url));
        }
        // What a request before this one has made under the same idempotency key stays, with its secret.
        let endpoint = match api.webhooks.endpoint(&endpoint.space, &endpoint.id).await? {
            Some(made) => made,
            None => {
                api.webhooks.put_endpoint(&endpoint).await?;
                endpoint
            }
        };
        Ok((StatusCode::OK, json!({ "data": view(&endpoint, Some(&endpoint.secret)) })))
    };
    Ok(once.answer(&key, "POST /v3/webhooks/endpoints", &headers, &body, make).await)
}

/// `GET /v3/webhooks/endpoints?limit&token`.
pub(super) async fn list(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> Answer {
    let page = Page::of(query.as_deref(), 10)?;
    let all = api.webhooks.endpoints(&caller.rights.space).await?;
    let mut rest = all.iter().filter(|endpoint| page.after.as_ref().is_none_or(|after| endpoint.id < *after));
    let shown: Vec<&Endpoint> = rest.by_ref().take(page.limit).collect();
    let next = rest.next().and_then(|_| shown.last()).map(|last| page::token(&last.id));
    Ok(Json(page::listed(shown.iter().map(|endpoint| view(endpoint, None)).collect(), next)))
}

/// `PATCH /v3/webhooks/endpoints/{endpoint_id}`.
pub(super) async fn change(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    body: Body,
) -> Answer {
    let all = create::object(&super::read_body(body).await?)?;
    let fields = Fields { fields: &all, path: "" };
    let mut endpoint = find(&api, &caller, &id).await?;
    let before = endpoint.url.clone();
    if let Some(url) = url(&api, &fields)? {
        endpoint.url = url;
    }
    if all.contains_key("events") {
        endpoint.events = events(&all)?;
    }
    if endpoint.url != before && !api.webhooks.reserve_url(&endpoint.space, &endpoint.url, &endpoint.id).await? {
        return Err(taken(&endpoint.url));
    }
    // Somebody looks after it again.
    endpoint.is_disabled = false;
    api.webhooks.put_endpoint(&endpoint).await?;
    if endpoint.url != before {
        api.webhooks.free_url(&endpoint.space, &before).await?;
    }
    Ok(Json(json!({ "data": view(&endpoint, None) })))
}

/// `DELETE /v3/webhooks/endpoints/{endpoint_id}`.
pub(super) async fn delete(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Answer {
    let endpoint = find(&api, &caller, &id).await?;
    api.webhooks.delete_endpoint(&endpoint).await?;
    Ok(Json(json!({ "data": {} })))
}

/// `POST /v3/webhooks/endpoints/{endpoint_id}/rotate-secret`.
pub(super) async fn rotate(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Answer {
    let endpoint = Endpoint { secret: Webhooks::secret()?, ..find(&api, &caller, &id).await? };
    api.webhooks.put_endpoint(&endpoint).await?;
    Ok(Json(json!({ "data": { "endpoint_id": endpoint.id, "secret": endpoint.secret } })))
}

/// `GET /v3/webhooks/event-types`.
pub(super) async fn event_types() -> Json<Value> {
    let types = EVENT_TYPES.map(|(name, description)| json!({ "event_type": name, "description": description }));
    Json(page::listed(types.to_vec(), None))
}

/// `GET /v3/webhooks/events?event_type&entity_id&limit&token`.
pub(super) async fn happened(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> Answer {
    let page = Page::of(query.as_deref(), 10)?;
    let event_type = page::query(query.as_deref(), "event_type");
    let entity = page::query(query.as_deref(), "entity_id");
    let ids = api.webhooks.event_ids(&caller.rights.space).await?;
    let (mut data, mut next) = (Vec::new(), None);
    for id in ids.into_iter().filter(|id| page.after.as_ref().is_none_or(|after| id < after)) {
        let Some(event) = api.webhooks.event(&caller.rights.space, &id).await? else { continue };
        let differs = |wanted: &Option<String>, is: &str| wanted.as_deref().is_some_and(|wanted| wanted != is);
        if differs(&event_type, &event.event_type) || differs(&entity, &event.entity_id) {
            continue;
        }
        if data.len() == page.limit {
            next = data.last().and_then(|last: &Value| last["event_id"].as_str()).map(page::token);
            break;
        }
        data.push(json!({
            "event_id": event.event_id, "event_type": event.event_type, "event_data": event.event_data,
            "created_at": iso8601(event.created_at_ms),
        }));
    }
    Ok(Json(page::listed(data, next)))
}

fn view(endpoint: &Endpoint, secret: Option<&str>) -> Value {
    json!({
        "endpoint_id": endpoint.id, "url": endpoint.url, "events": endpoint.events,
        "status": if endpoint.is_disabled { "disabled" } else { "enabled" },
        "created_at": iso8601(endpoint.created_at_ms), "secret": secret, "entity_id": endpoint.entity_id,
    })
}

async fn find(api: &Api, caller: &Caller, id: &str) -> Result<Endpoint, ApiError> {
    let found = api.webhooks.endpoint(&caller.rights.space, id).await?;
    found.ok_or_else(|| {
        ApiError::new(Code::WebhookNotFound, format!("there is no webhook endpoint {}", id.escape_debug()))
    })
}

fn taken(url: &Url) -> ApiError {
    ApiError::new(Code::Conflict, format!("there is an endpoint with the URL {url} already")).of("url")
}

fn url(api: &Api, fields: &Fields<'_>) -> Result<Option<Url>, ApiError> {
    let Some(text) = fields.text("url", URL_MAX)? else { return Ok(None) };
    let url = Url::parse(&text).ok().filter(|url| match url.scheme() {
        "https" => url.has_host(),
        "http" => url.has_host() && api.config.allow_http_callbacks,
        _ => false,
    });
    url.map(Some).ok_or_else(|| fields.refused("url", "the https URL of the receiver"))
}

fn events(fields: &Map<String, Value>) -> Result<Option<Vec<String>>, ApiError> {
    let known: Vec<&str> = EVENT_TYPES.iter().map(|(name, _)| *name).collect();
    let refused =
        |param: String| Err(ApiError::invalid(param, format!("events are one or more of {}", known.join(", "))));
    let list = match fields.get("events") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Array(list)) if !list.is_empty() => list,
        Some(_) => return refused("events".to_owned()),
    };
    let mut events: Vec<String> = Vec::with_capacity(list.len());
    for (index, event) in list.iter().enumerate() {
        match event.as_str() {
            Some(name) if known.contains(&name) || HOSTED_ONLY_EVENT_TYPES.contains(&name) => {
                events.push(name.to_owned())
            }
            _ => return refused(format!("events[{index}]")),
        }
    }
    events.dedup();
    Ok(Some(events))
}
