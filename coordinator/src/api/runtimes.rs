//! The versions of the HyperFrames runtime, which an operator adds and removes.
//!
//! Every request reads them from storage, so several coordinators give the same answers.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use hyperfarm_api::request;
use hyperfarm_api::runtimes::{Runtime, RuntimePackage};
use hyperfarm_api::{Data, Page};
use hyperfarm_backplane::runtimes::{RuntimeError, RuntimeStore};
use hyperfarm_proto::spec::RenderSpec;

use super::error::{ApiError, Code};
use super::{Answer, Api, List, read_body};
use crate::runtimes::{self, shown};

impl From<RuntimeError> for ApiError {
    fn from(error: RuntimeError) -> Self {
        match error {
            RuntimeError::Invalid(message) => Self::new(Code::InvalidParameter, message),
            RuntimeError::Conflict(message) => Self::new(Code::Conflict, message),
            RuntimeError::Missing { .. } => Self::new(Code::ResourceNotFound, error.to_string()),
            RuntimeError::Storage(error) => error.into(),
        }
    }
}

fn store(api: &Api) -> RuntimeStore {
    RuntimeStore::new(api.coordinator.backplane().objects.clone())
}

/// Checks that the runtime that a request asks for is there. One that only the project names is checked when the render
/// is planned.
pub(super) async fn check(api: &Api, spec: &RenderSpec) -> Result<(), ApiError> {
    let Some(asked) = &spec.runtime else { return Ok(()) };
    let versions = store(api).versions(&api.config.built_in_runtime).await?;
    match versions.choose(asked) {
        Some(_) => Ok(()),
        None => Err(ApiError::invalid("runtime", versions.missing("`runtime` of the request", asked))),
    }
}

/// `GET /v3/hyperframes/runtimes`.
pub(super) async fn list(State(api): State<Api>) -> List<Runtime> {
    Ok(Json(Page::new(runtimes::list(&store(&api), &api.config.built_in_runtime).await?, None)))
}

/// `POST /v3/hyperframes/runtimes`.
pub(super) async fn add(State(api): State<Api>, body: Body) -> Answer<Runtime> {
    let package: RuntimePackage = request::parse(request::object(&read_body(body).await?)?)?;
    let built_in = &api.config.built_in_runtime;
    let record = store(&api).add(&package, built_in).await?;
    Ok(Json(Data { data: shown(&record, &store(&api).versions(built_in).await?) }))
}

/// `POST /v3/hyperframes/runtimes/{version}/default`.
pub(super) async fn set_default(State(api): State<Api>, Path(version): Path<String>) -> Answer<Runtime> {
    let built_in = &api.config.built_in_runtime;
    store(&api).set_default(&version, built_in).await?;
    let found = runtimes::find(&store(&api), built_in, &version).await?;
    let gone = || ApiError::new(Code::ResourceNotFound, "the version was removed meanwhile");
    Ok(Json(Data { data: found.ok_or_else(gone)? }))
}

/// `DELETE /v3/hyperframes/runtimes/{version}`.
pub(super) async fn remove(State(api): State<Api>, Path(version): Path<String>) -> Answer<Runtime> {
    let built_in = &api.config.built_in_runtime;
    let record = store(&api).remove(&version, built_in).await?;
    Ok(Json(Data { data: shown(&record, &store(&api).versions(built_in).await?) }))
}
