//! Webhook endpoints and events.

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use hyperfarm_api::account::Nothing;
use hyperfarm_api::request::{self, EventsQuery, ListQuery};
use hyperfarm_api::webhooks::{EndpointChange, EndpointRequest, EndpointStatus, Event, EventType, Secret};
use hyperfarm_api::{Data, FieldError, Page};
use url::Url;

use super::create::receiver_url;
use super::error::{ApiError, Code};
use super::page::{self, PAGE_MAX, PageRange, Query};
use super::{Answer, Api, List};
use crate::api_keys::Caller;
use crate::clock::iso8601;
use crate::intake::Seed;
use crate::webhooks::{EVENT_TYPES, Endpoint, HOSTED_ONLY_EVENT_TYPES, Webhooks};

/// Items on a page, where the client does not say.
const PAGE: usize = 10;

/// `POST /v3/webhooks/endpoints`.
pub(super) async fn create(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let body = super::read_body(body).await?;
    let (idempotency, key, raw) = (api.idempotency.clone(), caller.clone(), body.clone());
    let make = move |seed: Seed| async move {
        let asked: EndpointRequest = request::parse(request::object(&raw)?)?;
        let endpoint = Endpoint {
            id: seed.id("ep"),
            space: caller.rights.space.clone(),
            url: checked_url(&api, &asked.url).await?,
            events: checked_events(asked.events)?,
            entity_id: asked.entity_id.map(String::from),
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
        let secret = Some(endpoint.secret.clone());
        Ok((StatusCode::OK, view(&endpoint, secret)))
    };
    Ok(idempotency.answer(&key, "POST /v3/webhooks/endpoints", &headers, &body, make).await)
}

/// `GET /v3/webhooks/endpoints?limit&token`.
pub(super) async fn list(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Query(query): Query<ListQuery<PAGE_MAX>>,
) -> List<hyperfarm_api::webhooks::Endpoint> {
    let page = PageRange::of(&query, PAGE)?;
    let all = api.webhooks.endpoints(&caller.rights.space).await?;
    let mut rest = all.iter().filter(|endpoint| page.after.as_ref().is_none_or(|after| endpoint.id < *after));
    let shown: Vec<&Endpoint> = rest.by_ref().take(page.limit).collect();
    let next = rest.next().and_then(|_| shown.last()).map(|last| page::token(&last.id));
    Ok(Json(Page::new(shown.iter().map(|endpoint| view(endpoint, None)).collect(), next)))
}

/// `PATCH /v3/webhooks/endpoints/{endpoint_id}`.
pub(super) async fn change(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    body: Body,
) -> Answer<hyperfarm_api::webhooks::Endpoint> {
    let fields = request::object(&super::read_body(body).await?)?;
    // `null` asks for all types, absence for no change.
    let has_events = fields.contains_key("events");
    let asked: EndpointChange = request::parse(fields)?;
    let mut endpoint = find(&api, &caller, &id).await?;
    let before = endpoint.url.clone();
    if let Some(url) = asked.url {
        endpoint.url = checked_url(&api, &url).await?;
    }
    if has_events {
        endpoint.events = checked_events(asked.events)?;
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
    Ok(Json(Data { data: view(&endpoint, None) }))
}

/// `DELETE /v3/webhooks/endpoints/{endpoint_id}`.
pub(super) async fn delete(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Answer<Nothing> {
    let endpoint = find(&api, &caller, &id).await?;
    api.webhooks.delete_endpoint(&endpoint).await?;
    Ok(Json(Data { data: Nothing {} }))
}

/// `POST /v3/webhooks/endpoints/{endpoint_id}/rotate-secret`.
pub(super) async fn rotate(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Answer<Secret> {
    let endpoint = Endpoint { secret: Webhooks::secret()?, ..find(&api, &caller, &id).await? };
    api.webhooks.put_endpoint(&endpoint).await?;
    Ok(Json(Data { data: Secret { endpoint_id: endpoint.id, secret: endpoint.secret } }))
}

/// `GET /v3/webhooks/event-types`.
pub(super) async fn event_types() -> Json<Page<EventType>> {
    Json(Page::new(hyperfarm_api::webhooks::event_types().collect(), None))
}

/// `GET /v3/webhooks/events?event_type&entity_id&limit&token`.
pub(super) async fn happened(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Query(query): Query<EventsQuery>,
) -> List<Event> {
    let page = PageRange::new(query.limit, PAGE, query.token.as_deref())?;
    let event_type = query.event_type.filter(|text| !text.is_empty());
    let entity = query.entity_id.filter(|text| !text.is_empty());
    let ids = api.webhooks.event_ids(&caller.rights.space).await?;
    let (mut data, mut next) = (Vec::<Event>::new(), None);
    for id in ids.into_iter().filter(|id| page.after.as_ref().is_none_or(|after| id < after)) {
        let Some(event) = api.webhooks.event(&caller.rights.space, &id).await? else { continue };
        let differs = |wanted: &Option<String>, is: &str| wanted.as_deref().is_some_and(|wanted| wanted != is);
        if differs(&event_type, &event.event_type) || differs(&entity, &event.entity_id) {
            continue;
        }
        if data.len() == page.limit {
            next = data.last().map(|last| page::token(&last.event_id));
            break;
        }
        data.push(Event {
            event_id: event.event_id,
            event_type: event.event_type,
            event_data: event.event_data,
            created_at: iso8601(event.created_at_ms),
        });
    }
    Ok(Json(Page::new(data, next)))
}

fn view(endpoint: &Endpoint, secret: Option<String>) -> hyperfarm_api::webhooks::Endpoint {
    hyperfarm_api::webhooks::Endpoint {
        endpoint_id: endpoint.id.clone(),
        url: endpoint.url.to_string(),
        events: endpoint.events.clone(),
        status: if endpoint.is_disabled { EndpointStatus::Disabled } else { EndpointStatus::Enabled },
        created_at: iso8601(endpoint.created_at_ms),
        secret,
        entity_id: endpoint.entity_id.clone(),
    }
}

async fn find(api: &Api, caller: &Caller, id: &str) -> Result<Endpoint, ApiError> {
    let found = api.webhooks.endpoint(&caller.rights.space, id).await?;
    found.ok_or_else(|| {
        ApiError::new(Code::WebhookNotFound, format!("there is no webhook endpoint {}", id.escape_debug()))
    })
}

/// The URL of a receiver, which the farm may send to as far as it can be known now: deliveries check it again.
async fn checked_url(api: &Api, text: &str) -> Result<Url, ApiError> {
    let url = receiver_url("url", text, &api.config)?;
    let Some(fetcher) = &api.config.fetcher else { return Ok(url) };
    match fetcher.check_target(&url).await {
        Err(error) if !error.is_temporary() => Err(ApiError::invalid("url", error.to_string())),
        _ => Ok(url),
    }
}

fn taken(url: &Url) -> ApiError {
    ApiError::new(Code::Conflict, format!("there is an endpoint with the URL {url} already")).of("url")
}

/// Types of events that an endpoint may ask for; all where there are none.
fn checked_events(events: Option<Vec<String>>) -> Result<Option<Vec<String>>, FieldError> {
    let Some(mut events) = events else { return Ok(None) };
    let known = EVENT_TYPES.map(|(name, _)| name);
    let refused = |param: String| FieldError::new(param, format!("events are one or more of {}", known.join(", ")));
    if events.is_empty() {
        return Err(refused("events".to_owned()));
    }
    let is_known = |name: &str| known.contains(&name) || HOSTED_ONLY_EVENT_TYPES.contains(&name);
    if let Some(index) = events.iter().position(|name| !is_known(name)) {
        return Err(refused(format!("events[{index}]")));
    }
    events.dedup();
    Ok(Some(events))
}
