//! The port of a role for its supervisor and for Prometheus: `/healthz`, `/readyz`, `/metrics`.
//!
//! It listens before the role connects, so that a role that waits for its servers is alive and not ready. It needs no
//! API key and shows nothing of any render: bind it to an address that only the machine or the cluster reaches.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use hyperfarm_backplane::Backplane;
use hyperfarm_backplane::drain::Drain;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::exit::CliError;

/// Longest time for broker, ledger and storage to answer a probe.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);

/// The state that the port reports. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Probes {
    serving: Arc<OnceLock<(Backplane, Drain)>>,
}

impl Probes {
    /// Listens at `address`, if there is one.
    ///
    /// # Errors
    ///
    /// The address cannot be listened on.
    pub(crate) async fn listen(address: Option<SocketAddr>) -> Result<Self, CliError> {
        let probes = Self::default();
        let Some(address) = address else { return Ok(probes) };
        let failed = |error: std::io::Error| {
            CliError::system(format!("{address} cannot be listened on: {error}; choose another with --metrics-listen"))
        };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        tracing::info!(%address, "metrics and probes listen");
        // It ends with the process, so that a draining node can still be probed.
        tokio::spawn(axum::serve(listener, probes.router()).into_future());
        Ok(probes)
    }

    /// Marks the role as ready until `drain` starts.
    pub(crate) fn serving(&self, backplane: &Backplane, drain: &Drain) {
        // A process becomes ready once.
        let _ = self.serving.set((backplane.clone(), drain.clone()));
    }

    fn router(&self) -> Router {
        Router::new()
            .route("/healthz", get(health))
            .route("/readyz", get(ready))
            .route("/metrics", get(metrics))
            .with_state(self.clone())
    }
}

async fn health() -> Json<Value> {
    Json(json!({ "status": "ok", "version": hyperfarm_proto::FARM_VERSION }))
}

async fn ready(State(probes): State<Probes>) -> (StatusCode, Json<Value>) {
    let not = |why: &str| (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "status": why })));
    let Some((backplane, drain)) = probes.serving.get() else { return not("starting") };
    if drain.is_started() {
        return not("draining");
    }
    let checks = async { tokio::join!(backplane.broker.check(), backplane.ledger.check(), backplane.objects.check()) };
    let Ok((broker, ledger, objects)) = tokio::time::timeout(CHECK_TIMEOUT, checks).await else {
        return not("broker, ledger or storage do not answer in time");
    };
    let broker = broker.map_err(|error| error.to_string());
    let ledger = ledger.map_err(|error| error.to_string());
    match broker.and(ledger).and(objects.map_err(|error| error.to_string())) {
        Ok(()) => (StatusCode::OK, Json(json!({ "status": "ready" }))),
        Err(error) => not(&error),
    }
}

async fn metrics(State(probes): State<Probes>) -> impl IntoResponse {
    let text = probes.serving.get().map(|(backplane, _)| backplane.metrics.encode()).unwrap_or_default();
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use hyperfarm_backplane::objects::Objects;
    use tower::ServiceExt;

    use super::*;

    async fn get(probes: &Probes, path: &str) -> (u16, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = probes.router().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_role_is_alive_before_it_is_ready_and_while_it_drains() {
        let probes = Probes::default();
        assert_eq!(get(&probes, "/healthz").await.0, 200);
        assert_eq!(get(&probes, "/readyz").await, (503, r#"{"status":"starting"}"#.to_owned()));
        assert_eq!(get(&probes, "/metrics").await, (200, String::new()));
        let (backplane, drain) = (Backplane::ephemeral(Objects::memory()), Drain::new());
        probes.serving(&backplane, &drain);
        backplane.metrics.add_role("worker");
        assert_eq!(get(&probes, "/readyz").await.0, 200);
        assert!(get(&probes, "/metrics").await.1.contains("hyperfarm_build_info{"));
        drain.start();
        assert_eq!(get(&probes, "/readyz").await, (503, r#"{"status":"draining"}"#.to_owned()));
        assert_eq!(get(&probes, "/healthz").await.0, 200);
    }
}
