//! Health, readiness, metrics.

use axum::Json;
use axum::extract::State;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::IntoResponse;
use hyperfarm_api::Data;
use hyperfarm_api::account::{SchedulerRole, Status};
use tracing::warn;

use super::error::{ApiError, Code};
use super::{Answer, Api};

/// `GET /healthz`: the process answers.
pub(super) async fn health() -> Json<Data<Status>> {
    Json(Data { data: status("ok") })
}

/// `GET /readyz`: broker, ledger and storage answer too. A standby is as ready as the coordinator that schedules.
pub(super) async fn ready(State(api): State<Api>) -> Answer<Status> {
    let backplane = api.coordinator.backplane();
    let (broker, ledger, objects) =
        futures::join!(backplane.broker.check(), backplane.ledger.check(), backplane.objects.check());
    let mut failed = Vec::new();
    for (server, error) in [
        ("the broker", broker.err().map(|error| error.to_string())),
        ("the ledger", ledger.err().map(|error| error.to_string())),
        ("storage", objects.err().map(|error| error.to_string())),
    ] {
        // The reason names addresses of the farm's network, and no key is needed to read the answer.
        if let Some(error) = error {
            warn!(server, error, "the farm is not ready");
            failed.push(server);
        }
    }
    if failed.is_empty() {
        let role = if api.coordinator.is_leading() { SchedulerRole::Active } else { SchedulerRole::Standby };
        return Ok(Json(Data { data: Status { scheduler: Some(role), ..status("ready") } }));
    }
    let message = format!("no answer from {}; the coordinator's log says why", failed.join(", "));
    Err(ApiError::new(Code::Unavailable, message))
}

fn status(status: &str) -> Status {
    Status { status: status.to_owned(), version: hyperfarm_proto::FARM_VERSION.to_owned(), scheduler: None }
}

/// `GET /metrics` in Prometheus's text format.
pub(super) async fn metrics(State(api): State<Api>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], api.coordinator.backplane().metrics.encode())
}

/// `GET /docs/errors`: what each code means, with an anchor for each.
pub(super) async fn errors() -> impl IntoResponse {
    let mut page = String::from(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Error codes</title><h1>Error codes</h1>\n\
         <p>Every error is a JSON object: <code>{\"error\": {\"code\", \"message\", \"param\", \"doc_url\"}}</code>. \
         <code>param</code> names the field at fault and is left out where there is none.</p>\n",
    );
    let mut codes: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    codes.sort_unstable();
    codes.dedup();
    for name in codes {
        page.push_str(&format!("<h2 id=\"{}\"><code>{name}</code></h2>\n", name.replace('_', "-")));
        // One code may go with several statuses.
        for code in Code::ALL.iter().filter(|code| code.as_str() == name) {
            page.push_str(&format!("<p>HTTP {}. {}</p>\n", code.status().as_u16(), code.meaning().replace('`', "")));
        }
    }
    ([(CONTENT_TYPE, "text/html; charset=utf-8"), (CONTENT_SECURITY_POLICY, "default-src 'none'")], page)
}
