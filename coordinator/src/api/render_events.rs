//! A render from within: its chunks, and its progress as it happens.

use std::collections::HashMap;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Extension, Path, RawQuery, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use futures::stream;
use hyperfarm_proto::record::Outcome;
use serde_json::{Value, json};

use super::Api;
use super::base_url::base_url;
use super::error::ApiError;
use super::page::{self, Page};
use super::renders::{Answer, find};
use super::view::status;
use crate::api_keys::Caller;
use crate::clock::now_ms;
use crate::coordinator::RenderInternals;
use crate::progress::RenderProgress;
use crate::status::error_code;
use crate::timeline::{Attempt, AttemptOutcome, Timeline};

/// Silence after which a comment is sent, so that nobody in between takes the connection for dead.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Chunks on a page at most, and where the client does not say.
pub(super) const CHUNKS: usize = 2000;

/// `GET /v3/hyperframes/renders/{render_id}/chunks?limit&token`.
pub(super) async fn chunks(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answer {
    let page = Page::within(query.as_deref(), CHUNKS, CHUNKS)?;
    let after =
        page.after.map(|index| index.parse::<u32>().map_err(|error| ApiError::invalid("token", error.to_string())));
    let first = after.transpose()?.map_or(0, |index| index as usize + 1);
    let render = find(&api, &caller, &id).await?.request.id.clone();
    let RenderInternals { plan, timeline, .. } = api.coordinator.internals(&render).await?;
    let Some(plan) = plan else { return Ok(Json(page::listed(Vec::new(), None))) };
    let base = base_url(&api.config, &headers);
    let known = timeline.chunks();
    let running = running(&timeline);
    let mut data = Vec::new();
    for (index, range) in (0u32..).zip(&plan.chunks).skip(first).take(page.limit) {
        let (attempts, committed) = known.get(&index).copied().unwrap_or_default();
        let at_work = running.get(&index).filter(|_| committed.is_none());
        let made = committed.and_then(|attempt| attempt.segment.as_ref());
        let status = match (committed, at_work) {
            (Some(_), _) => "completed",
            (None, Some(_)) => "rendering",
            (None, None) => "queued",
        };
        let thumbnail = made.and_then(|made| made.thumbnail.as_deref()).zip(base.as_ref());
        let thumbnail = match thumbnail {
            Some((key, base)) => Some(api.links.sign(key, base).await.map_err(|error| ApiError::internal(&error))?),
            None => None,
        };
        data.push(json!({
            "index": index, "first_frame": range.start(), "frame_count": range.count(),
            "frames_done": committed.map_or(at_work.map_or(0, |attempt| attempt.frames), |_| range.count()),
            "status": status, "attempt": committed.map(|attempt| attempt.attempt),
            "worker": committed.or(at_work.copied()).map(|attempt| attempt.worker.as_str()), "attempts": attempts,
            "ms_per_frame": committed.and_then(Attempt::ms_per_frame), "seconds": committed.and_then(Attempt::seconds),
            "capture_path": made.map(|made| made.path), "thumbnail_url": thumbnail,
        }));
    }
    let next = first + data.len();
    let token = (next > first && next < plan.chunks.len()).then(|| page::token(&(next - 1).to_string()));
    Ok(Json(page::listed(data, token)))
}

/// Attempts under way, by chunk.
fn running(timeline: &Timeline) -> HashMap<u32, &Attempt> {
    let running = timeline.attempts.iter().filter(|attempt| attempt.outcome == AttemptOutcome::Running);
    running.filter_map(|attempt| Some((attempt.step.chunk()?, attempt))).collect()
}

/// `GET /v3/hyperframes/renders/{render_id}/timeline`: every attempt at every task.
pub(super) async fn timeline(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Answer {
    let detail = find(&api, &caller, &id).await?;
    let RenderInternals { timeline, .. } = api.coordinator.internals(&detail.request.id).await?;
    let spans: Vec<Value> = timeline.attempts.iter().map(span).collect();
    let ended_at = detail.progress.end.as_ref().map(|end| seconds(end.ended_at_ms));
    Ok(Json(json!({ "data": {
        "created_at": seconds(detail.request.created_at_ms), "ended_at": ended_at, "now": seconds(now_ms()),
        "spans": spans,
    } })))
}

fn span(attempt: &Attempt) -> Value {
    let (worker, slot) = attempt.node_and_slot();
    json!({
        "kind": attempt.step.kind(), "chunk": attempt.step.chunk(), "attempt": attempt.attempt, "worker_id": worker,
        "slot": slot,
        "started_at": seconds(attempt.started_at_ms), "ended_at": attempt.ended_at_ms.map(seconds),
        "outcome": attempt.outcome, "error_code": attempt.failure.as_ref().map(error_code),
        "message": attempt.failure.as_ref().map(|failure| failure.message.as_str()),
        "frames": attempt.frames, "ms_per_frame": attempt.ms_per_frame(),
    })
}

/// Unix seconds.
pub(super) fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

/// `GET /v3/hyperframes/renders/{render_id}/events`: server-sent events until the render has ended. An event's id says how far the
/// render was; a client that comes back with it gets only what is new.
pub(super) async fn events(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let render = find(&api, &caller, &id).await?.request.id.clone();
    let progress = api.coordinator.watch(&render).await?;
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let told = Told { id: last, ..Told::default() };
    let drain = Box::pin(api.coordinator.drain().started());
    let events = stream::unfold(Some((progress, told, drain)), move |state| {
        let render = render.to_string();
        async move {
            let (mut progress, mut told, mut drain) = state?;
            loop {
                let now = progress.borrow_and_update().clone();
                let ended = now.end.is_some();
                let text = told.tell(&render, &now);
                if ended {
                    return Some((Ok::<_, std::convert::Infallible>(Bytes::from(text)), None));
                }
                if !text.is_empty() {
                    return Some((Ok(Bytes::from(text)), Some((progress, told, drain))));
                }
                tokio::select! {
                    changed = progress.changed() => if changed.is_err() { return None },
                    () = &mut drain => return None,
                    () = tokio::time::sleep(KEEP_ALIVE) => {
                        return Some((Ok(Bytes::from_static(b": still here\n\n")), Some((progress, told, drain))));
                    }
                }
            }
        }
    });
    Ok(event_stream(Body::from_stream(events)))
}

/// A response of server-sent events.
pub(super) fn event_stream(events: Body) -> Response {
    let mut response = Response::new(events);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    response
}

/// What a client knows already.
#[derive(Default)]
struct Told {
    id: Option<String>,
    status: Option<&'static str>,
    chunks: Option<u32>,
    frames: Option<u64>,
}

impl Told {
    /// The events that bring the client up to `now`; none where nothing is new.
    fn tell(&mut self, render: &str, now: &RenderProgress) -> String {
        let status = status(now);
        let id = format!("{status}-{}-{}-{}", now.frames_total, now.chunks_done, now.frames_done);
        // What came with this id came whole.
        if self.id.as_deref() == Some(&id) && self.status.is_none() && now.end.is_none() {
            (self.status, self.chunks, self.frames) = (Some(status), Some(now.chunks_done), Some(now.frames_done));
        }
        let mut text = String::new();
        let mut event = |name: &str, data: Value| {
            text.push_str(&format!("event: {name}\nid: {id}\ndata: {data}\n\n"));
        };
        if self.chunks.unwrap_or(0) != now.chunks_done {
            event(
                "chunk",
                json!({ "render_id": render, "chunks_done": now.chunks_done, "chunks_total": now.chunks_total }),
            );
        }
        if self.frames.unwrap_or(0) != now.frames_done || self.status.is_none() {
            event(
                "progress",
                json!({
                    "render_id": render, "stage": now.stage, "frames_done": now.frames_done,
                    "frames_total": now.frames_total, "percent": now.percent(),
                    "eta_seconds": now.eta.map(|eta| eta.as_secs_f64().ceil() as u64),
                }),
            );
        }
        if self.status != Some(status) {
            let mut data = json!({ "render_id": render, "status": status });
            if let Some(Outcome::Failed { failure, .. }) = now.end.as_ref().map(|end| &end.outcome) {
                data["failure_message"] = failure.message.as_str().into();
                data["error_code"] = error_code(failure).into();
            }
            event("status", data);
        }
        (self.status, self.chunks, self.frames) = (Some(status), Some(now.chunks_done), Some(now.frames_done));
        self.id = Some(id);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_comes_back_is_told_what_is_new() {
        let mut now = RenderProgress::queued();
        let mut told = Told::default();
        let first = told.tell("r1", &now);
        assert!(first.contains("event: status\n") && first.contains("\"status\":\"queued\""), "{first}");
        assert_eq!(told.tell("r1", &now), "");
        let mut again = Told { id: told.id.clone(), ..Told::default() };
        assert_eq!(again.tell("r1", &now), "");
        (now.frames_done, now.chunks_done) = (5, 1);
        let more = again.tell("r1", &now);
        assert!(more.contains("event: chunk\n") && more.contains("event: progress\n"), "{more}");
        assert!(!more.contains("event: status\n"), "{more}");
    }
}
