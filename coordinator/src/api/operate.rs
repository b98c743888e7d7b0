//! Health, readiness, metrics.

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use hyperfarm_api::Data;
use hyperfarm_api::account::Status;

use super::error::{ApiError, Code};
use super::{Answer, Api};

/// `GET /healthz`: the process answers.
pub(super) async fn health() -> Json<Data<Status>> {
    let version = Some(hyperfarm_proto::FARM_VERSION.to_owned());
    Json(Data { data: Status { status: "ok".to_owned(), version } })
}

/// `GET /readyz`: broker, ledger and storage answer too.
pub(super) async fn ready(State(api): State<Api>) -> Answer<Status> {
    let backplane = api.coordinator.backplane();
    let (broker, ledger, objects) =
        futures::join!(backplane.broker.check(), backplane.ledger.check(), backplane.objects.check());
    let failed: Vec<String> = [
        broker.err().map(|error| error.to_string()),
        ledger.err().map(|error| error.to_string()),
        objects.err().map(|error| error.to_string()),
    ]
    .into_iter()
    .flatten()
    .collect();
    if failed.is_empty() {
        return Ok(Json(Data { data: Status { status: "ready".to_owned(), version: None } }));
    }
    Err(ApiError::new(Code::Unavailable, failed.join("; ")))
}

/// `GET /metrics` in Prometheus's text format.
pub(super) async fn metrics(State(api): State<Api>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], api.coordinator.backplane().metrics.encode())
}
