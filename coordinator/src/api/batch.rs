//! Many renders of one project in one call.

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use hyperfarm_api::render::{BatchCreated, BatchRender, BatchStatus};
use hyperfarm_proto::id::RenderId;
use serde_json::{Map, Value};

use super::base_url::base_url;
use super::error::ApiError;
use super::renders::{bundle, read_project_body, unknown_fields};
use super::{Api, create};
use crate::api_keys::Caller;
use crate::intake::{self, Intake, Seed, StoredBundle};

/// Renders in one call.
const MOST: usize = 100;

/// Fields that an item may have of its own.
const OWN: [&str; 6] = ["variables", "title", "callback_id", "callback_url", "priority", "composition"];

/// `POST /v3/hyperframes/renders/batch`: the fields of one render, with `variables` a list of objects, or with `items`, a list of
/// objects with fields of their own. Each item answers for itself.
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
        let mut shared = hyperfarm_api::request::object(&raw)?;
        let items = items(&mut shared)?;
        let common = create::parse_fields(shared.clone(), &api.config, &api.coordinator.config().limits)?;
        caller.check_pool(&common.spec.pool)?;
        let bundle = bundle(&api, &caller, common.source, common.spec.composition.as_deref()).await?;
        let batch = seed.id("batch");
        // The project is stored; what is parsed again for each item is only the rest.
        shared.retain(|name, _| name != "project" && name != "html");
        let mut renders = Vec::with_capacity(items.len());
        for (index, own) in (0u64..).zip(items) {
            let made = item(&api, &caller, bundle, &shared, own, &batch, &origin, seed.nth(index)).await;
            let (status, render_id, error) = match made {
                Ok(render) => (BatchStatus::Queued, Some(render.into()), None),
                Err(error) => (BatchStatus::Refused, None, Some(error.body().error)),
            };
            renders.push(BatchRender { index, status, render_id, error });
        }
        let accepted = renders.iter().filter(|render| render.status == BatchStatus::Queued).count();
        let refused = renders.len() - accepted;
        let warnings = unknown_fields(common.unknown);
        Ok((StatusCode::ACCEPTED, BatchCreated { batch_id: batch, renders, accepted, refused, warnings }))
    };
    Ok(once.answer(&key, "POST /v3/hyperframes/renders/batch", &headers, &body, make).await)
}

/// The items, taken out of the body.
fn items(body: &mut Map<String, Value>) -> Result<Vec<Map<String, Value>>, ApiError> {
    let own = body.remove("items").filter(|items| !items.is_null());
    let (param, list) = match (own, body.get("variables")) {
        (Some(Value::Array(items)), _) => ("items", items),
        (None, Some(Value::Array(variables))) => {
            let item = |variables: &Value| Map::from_iter([("variables".to_owned(), variables.clone())]).into();
            let items = variables.iter().map(item).collect();
            body.remove("variables");
            ("variables", items)
        }
        _ => {
            let message = "a batch has `variables`, a list of objects, or `items`, a list of objects with `variables`";
            return Err(ApiError::invalid("variables", message));
        }
    };
    if list.is_empty() || list.len() > MOST {
        return Err(ApiError::invalid(param, format!("{param} must have 1 to {MOST} entries")));
    }
    let objects = list.into_iter().enumerate().map(|(index, item)| match item {
        Value::Object(item) => match item.keys().find(|name| !OWN.contains(&name.as_str())) {
            None => Ok(item),
            Some(other) => Err(ApiError::invalid(
                format!("items[{index}].{other}"),
                format!("an item may have {}; give `{other}` once for all", OWN.join(", ")),
            )),
        },
        _ => Err(ApiError::invalid(format!("{param}[{index}]"), "an item must be an object")),
    });
    objects.collect()
}

#[allow(clippy::too_many_arguments)]
async fn item(
    api: &Api,
    caller: &Caller,
    bundle: StoredBundle,
    shared: &Map<String, Value>,
    own: Map<String, Value>,
    batch: &str,
    origin: &Option<url::Url>,
    seed: Seed,
) -> Result<RenderId, ApiError> {
    let mut fields = shared.clone();
    fields.extend(own);
    let asked = create::render_request(fields, &api.config)?;
    intake::check(&asked.spec)?;
    let mut taken = api.admission.reserve(caller, vec![seed.render()]).await?;
    let intake = Intake {
        space: caller.rights.space.clone(),
        key: Some(caller.id.clone()),
        origin: origin.clone(),
        priority: asked.priority.map_or(0, |priority| priority.get()),
        batch: Some(batch.to_owned()),
        ..Intake::default()
    };
    let render = api.coordinator.submit_stored(bundle, asked.spec, intake, seed).await?;
    taken.keep(&render);
    Ok(render)
}
