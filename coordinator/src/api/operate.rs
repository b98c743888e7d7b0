//! Health, readiness, metrics.

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use serde_json::{Value, json};

use super::Api;
use super::error::{ApiError, Code};

/// `GET /healthz`: the process answers.
pub(super) async fn health() -> Json<Value> {
    Json(json!({ "data": { "status": "ok", "version": hyperfarm_proto::FARM_VERSION } }))
}

/// `GET /readyz`: broker, ledger and storage answer too.
pub(super) async fn ready(State(api): State<Api>) -> Result<Json<Value>, ApiError> {
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
        return Ok(Json(json!({ "data": { "status": "ready" } })));
    }
    Err(ApiError::new(Code::Unavailable, failed.join("; ")))
}

/// `GET /metrics` in Prometheus's text format.
pub(super) async fn metrics(State(api): State<Api>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], api.coordinator.backplane().metrics.encode())
}
