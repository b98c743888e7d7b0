//! Many renders of one project in one call.

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use hyperfarm_api::render::{BatchCreated, BatchRender, BatchStatus};
use hyperfarm_api::request::{self, BatchRequest, RenderRequest};
use hyperfarm_proto::id::RenderId;
use url::Url;

use super::base_url::base_url;
use super::error::ApiError;
use super::renders::{bundle, read_project_body, unknown_fields};
use super::{Api, create, runtimes};
use crate::api_keys::Caller;
use crate::intake::{self, Intake, Seed, StoredBundle};

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
    let (idempotency, key, raw) = (api.idempotency.clone(), caller.clone(), body.clone());
    let make = move |seed: Seed| async move {
        let fields = request::object(&raw)?;
        let unknown = create::unknown(&fields).into_iter().filter(|name| name != "items").collect();
        let mut asked = BatchRequest::parse(fields)?;
        // The project is stored once; what is copied for each render is the rest.
        let (project, html) = (asked.shared.project.take(), asked.shared.html.take());
        let shared = RenderRequest { project, html, ..asked.shared.clone() };
        let shared = create::submission(shared, unknown, &api.config, &api.coordinator.config().limits)?;
        caller.check_pool(&shared.spec.pool)?;
        runtimes::check(&api, &shared.spec).await?;
        let bundle = bundle(&api, &caller, shared.source, shared.spec.composition.as_deref()).await?;
        let batch_id = seed.id("batch");
        let batch = Batch { api: &api, caller: &caller, bundle, id: &batch_id, origin: &origin };
        let mut renders = Vec::with_capacity(asked.renders());
        for index in 0..asked.renders() {
            let made = batch.submit(&asked, index, seed.nth(index as u64)).await;
            let (status, render_id, error) = match made {
                Ok(render) => (BatchStatus::Queued, Some(render.into()), None),
                Err(error) => (BatchStatus::Refused, None, Some(error.body().error)),
            };
            renders.push(BatchRender { index: index as u64, status, render_id, error });
        }
        let accepted = renders.iter().filter(|render| render.status == BatchStatus::Queued).count();
        let refused = renders.len() - accepted;
        let warnings = unknown_fields(shared.unknown);
        Ok((StatusCode::ACCEPTED, BatchCreated { batch_id, renders, accepted, refused, warnings }))
    };
    Ok(idempotency.answer(&key, "POST /v3/hyperframes/renders/batch", &headers, &body, make).await)
}

/// What the renders of a batch share.
struct Batch<'a> {
    api: &'a Api,
    caller: &'a Caller,
    bundle: StoredBundle,
    id: &'a str,
    origin: &'a Option<Url>,
}

impl Batch<'_> {
    async fn submit(&self, asked: &BatchRequest, index: usize, seed: Seed) -> Result<RenderId, ApiError> {
        let Self { api, caller, bundle, id, origin } = *self;
        let (spec, priority) = asked.render(index)?;
        create::check_callback(&spec, &api.config)?;
        intake::check(&spec)?;
        let mut taken = api.admission.reserve(caller, vec![seed.render()]).await?;
        let intake = Intake {
            priority: priority.map_or(0, |priority| priority.get()),
            batch: Some(id.to_owned()),
            ..caller.intake(origin.clone())
        };
        let render = api.coordinator.submit_stored(bundle, spec, intake, seed).await?;
        taken.keep(&render);
        Ok(render)
    }
}
