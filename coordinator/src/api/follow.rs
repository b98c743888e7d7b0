//! A render from within: its chunks, and its progress as it happens.

use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Extension, Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use futures::stream;
use hyperfarm_proto::keys;
use hyperfarm_proto::record::Outcome;
use hyperfarm_proto::task::Step;
use serde_json::{Value, json};

use super::Api;
use super::access::Caller;
use super::error::ApiError;
use super::renders::{Answer, find};
use super::view::{error_code, status};
use crate::progress::RenderProgress;
use crate::store;

/// Silence after which a comment is sent, so that nobody in between takes the connection for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// `GET /v3/hyperframes/renders/{render_id}/chunks`. Storage says what is done; the ledger, where it answers, who is at the rest.
pub(super) async fn chunks(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Answer {
    let render = find(&api, &caller, &id).await?.request.id.clone();
    let backplane = api.coordinator.backplane();
    let Some(plan) = store::plan(&backplane.objects, &render).await? else {
        return Ok(Json(json!({ "data": [], "has_more": false, "next_token": null })));
    };
    let listed = backplane.objects.list(&keys::segments_prefix(&render)).await?;
    let done: Vec<(u32, u32)> = listed.iter().filter_map(|meta| keys::parse_segment(&meta.key)).collect();
    let looked = tokio::time::timeout(Duration::from_secs(2), backplane.ledger.view(&render)).await;
    let view = looked.ok().and_then(Result::ok).flatten().unwrap_or_default();
    let data: Vec<Value> = (0u32..)
        .zip(&plan.chunks)
        .map(|(index, range)| {
            let attempt = done.iter().filter(|(chunk, _)| *chunk == index).map(|(_, attempt)| *attempt).min();
            let task = view.tasks.get(&Step::Chunk(index));
            let worker = task.and_then(|task| task.lease.as_ref()).map(|(worker, _)| worker.to_string());
            let status = match (attempt, &worker) {
                (Some(_), _) => "completed",
                (None, Some(_)) => "rendering",
                (None, None) => "queued",
            };
            let frames_done = if attempt.is_some() {
                range.count()
            } else {
                task.map_or(0, |task| task.progress.done.min(range.count()))
            };
            json!({
                "index": index, "first_frame": range.start(), "frame_count": range.count(), "frames_done": frames_done,
                "status": status, "attempt": attempt, "worker": worker,
            })
        })
        .collect();
    Ok(Json(json!({ "data": data, "has_more": false, "next_token": null })))
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
    let mut response = Response::new(Body::from_stream(events));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    Ok(response)
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
