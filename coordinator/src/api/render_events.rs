//! A render from within: its chunks, and its progress as it happens.

use std::collections::HashMap;
use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::http::HeaderMap;
use axum::http::header::CACHE_CONTROL;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt, stream};
use hyperfarm_api::events::{ChunkEvent, ProgressEvent, RenderEvent, StatusEvent};
use hyperfarm_api::render::{Chunk, ChunkStatus, RenderStatus, Span, Timeline as TimelineView};
use hyperfarm_api::request::ListQuery;
use hyperfarm_api::{Data, Page, seconds};
use hyperfarm_proto::record::Outcome;
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;

use super::base_url::base_url;
use super::error::ApiError;
use super::page::{self, PageRange, Query};
use super::renders::find;
use super::view::{eta_seconds, status};
use super::{Answer, Api, List};
use crate::api_keys::Caller;
use crate::clock::now_ms;
use crate::coordinator::RenderInternals;
use crate::progress::RenderProgress;
use crate::status::error_code;
use crate::timeline::{Attempt, AttemptOutcome, Timeline};

/// Silence after which a comment is sent, so that nobody in between takes the connection for dead.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Chunks on a page at most, and where the client does not say.
pub(super) const CHUNKS: i64 = 2000;

/// `GET /v3/hyperframes/renders/{render_id}/chunks?limit&token`.
pub(super) async fn chunks(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Query(query): Query<ListQuery<CHUNKS>>,
    headers: HeaderMap,
) -> List<Chunk> {
    let page = PageRange::of(&query, CHUNKS as usize)?;
    let after =
        page.after.map(|index| index.parse::<u32>().map_err(|error| ApiError::invalid("token", error.to_string())));
    let first = after.transpose()?.map_or(0, |index| index as usize + 1);
    let render = find(&api, &caller, &id).await?.request.id.clone();
    let RenderInternals { plan, timeline, .. } = api.coordinator.internals(&render).await?;
    let Some(plan) = plan else { return Ok(Json(Page::new(Vec::new(), None))) };
    let base = base_url(&api.config, &headers);
    let known = timeline.chunks();
    let running = running(&timeline);
    let mut data = Vec::new();
    for (index, range) in (0u32..).zip(&plan.chunks).skip(first).take(page.limit) {
        let (attempts, committed) = known.get(&index).copied().unwrap_or_default();
        let at_work = running.get(&index).filter(|_| committed.is_none());
        let made = committed.and_then(|attempt| attempt.segment.as_ref());
        let status = match (committed, at_work) {
            (Some(_), _) => ChunkStatus::Completed,
            (None, Some(_)) => ChunkStatus::Rendering,
            (None, None) => ChunkStatus::Queued,
        };
        let thumbnail = made.and_then(|made| made.thumbnail.as_deref());
        let thumbnail_url = api.signed_url(thumbnail, base.as_ref()).await?;
        data.push(Chunk {
            index,
            first_frame: range.start(),
            frame_count: range.count(),
            frames_done: committed.map_or(at_work.map_or(0, |attempt| attempt.frames), |_| range.count()),
            status,
            attempt: committed.map(|attempt| attempt.attempt),
            worker: committed.or(at_work.copied()).map(|attempt| attempt.worker.clone()),
            attempts,
            ms_per_frame: committed.and_then(Attempt::ms_per_frame),
            seconds: committed.and_then(Attempt::seconds),
            capture_path: made.map(|made| made.path),
            thumbnail_url,
        });
    }
    let next = first + data.len();
    let token = (next > first && next < plan.chunks.len()).then(|| page::token(&(next - 1).to_string()));
    Ok(Json(Page::new(data, token)))
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
) -> Answer<TimelineView> {
    let detail = find(&api, &caller, &id).await?;
    let RenderInternals { timeline, .. } = api.coordinator.internals(&detail.request.id).await?;
    let view = TimelineView {
        created_at: seconds(detail.request.created_at_ms),
        ended_at: detail.progress.end.as_ref().map(|end| seconds(end.ended_at_ms)),
        now: seconds(now_ms()),
        runtime: detail.progress.plan.as_ref().and_then(|plan| plan.runtime.clone()),
        spans: timeline.attempts.iter().map(span).collect(),
        warnings: timeline.warnings.iter().cloned().map(Into::into).collect(),
    };
    Ok(Json(Data { data: view }))
}

fn span(attempt: &Attempt) -> Span {
    let (worker, slot) = attempt.node_and_slot();
    let failure = attempt.failure.as_ref();
    Span {
        kind: attempt.step.into(),
        chunk: attempt.step.chunk(),
        attempt: attempt.attempt,
        worker_id: worker.to_owned(),
        slot,
        started_at: seconds(attempt.started_at_ms),
        ended_at: attempt.ended_at_ms.map(seconds),
        outcome: attempt.outcome,
        error_code: failure.map(error_code),
        message: failure.map(|failure| failure.message.clone()),
        frames: attempt.frames,
        ms_per_frame: attempt.ms_per_frame(),
    }
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
    let place = api.streams.open(&caller)?;
    let progress = api.coordinator.watch(&render).await?;
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let seen = Seen { id: last, ..Seen::default() };
    let drain = Box::pin(api.coordinator.drain().started());
    let changes = stream::unfold(Some((progress, seen, drain)), move |state| {
        let render = render.to_string();
        async move {
            let (mut progress, mut seen, mut drain) = state?;
            loop {
                let now = progress.borrow_and_update().clone();
                let events = seen.news(&render, &now);
                if now.end.is_some() {
                    return Some((events, None));
                }
                if !events.is_empty() {
                    return Some((events, Some((progress, seen, drain))));
                }
                tokio::select! {
                    changed = progress.changed() => if changed.is_err() { return None },
                    () = &mut drain => return None,
                }
            }
        }
    });
    let events = changes.flat_map(stream::iter);
    Ok(event_stream(events.map(|(id, event)| sent(event.name(), &event).id(id)), place))
}

/// An event as it is sent.
pub(super) fn sent(name: &str, data: &impl Serialize) -> Event {
    let event = Event::default().event(name);
    // Every event is a struct of texts and numbers, which always has a JSON.
    event.clone().json_data(data).unwrap_or(event)
}

/// A response of server-sent events, which has `place` for as long as it is sent.
pub(super) fn event_stream(
    events: impl Stream<Item = Event> + Send + 'static,
    place: OwnedSemaphorePermit,
) -> Response {
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE).text("still here");
    let events = events.map(move |event| {
        let _held = &place;
        Ok::<_, Infallible>(event)
    });
    let events = Sse::new(events).keep_alive(keep_alive);
    ([(CACHE_CONTROL, "no-cache, no-transform")], events).into_response()
}

/// What a client has been sent.
#[derive(Default)]
struct Seen {
    id: Option<String>,
    status: Option<RenderStatus>,
    chunks: Option<u32>,
    frames: Option<u64>,
}

impl Seen {
    /// The events that bring the client up to `now`, each with the id of that state; none where nothing is new.
    fn news(&mut self, render: &str, now: &RenderProgress) -> Vec<(String, RenderEvent)> {
        let status = status(now);
        let id = format!("{}-{}-{}-{}", status.as_str(), now.frames_total, now.chunks_done, now.frames_done);
        // What came with this id came whole.
        if self.id.as_deref() == Some(&id) && self.status.is_none() && now.end.is_none() {
            (self.status, self.chunks, self.frames) = (Some(status), Some(now.chunks_done), Some(now.frames_done));
        }
        let render_id = || render.to_owned();
        let mut events = Vec::new();
        if self.chunks.unwrap_or(0) != now.chunks_done {
            events.push(RenderEvent::Chunk(ChunkEvent {
                render_id: render_id(),
                chunks_done: now.chunks_done,
                chunks_total: now.chunks_total,
            }));
        }
        if self.frames.unwrap_or(0) != now.frames_done || self.status.is_none() {
            events.push(RenderEvent::Progress(ProgressEvent {
                render_id: render_id(),
                stage: now.stage,
                frames_done: now.frames_done,
                frames_total: now.frames_total,
                percent: now.percent(),
                eta_seconds: eta_seconds(now),
            }));
        }
        if self.status != Some(status) {
            let failure = match now.end.as_ref().map(|end| &end.outcome) {
                Some(Outcome::Failed { failure, .. }) => Some(failure),
                _ => None,
            };
            events.push(RenderEvent::Status(StatusEvent {
                render_id: render_id(),
                status,
                failure_message: failure.map(|failure| failure.message.clone()),
                error_code: failure.map(error_code),
            }));
        }
        (self.status, self.chunks, self.frames) = (Some(status), Some(now.chunks_done), Some(now.frames_done));
        self.id = Some(id.clone());
        events.into_iter().map(|event| (id.clone(), event)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(events: &[(String, RenderEvent)]) -> Vec<&'static str> {
        events.iter().map(|(_, event)| event.name()).collect()
    }

    #[test]
    fn a_client_that_comes_back_is_told_what_is_new() {
        let mut now = RenderProgress::queued();
        let mut seen = Seen::default();
        let first = seen.news("r1", &now);
        assert!(
            first.iter().any(|(_, event)| matches!(
                event,
                RenderEvent::Status(StatusEvent { status: RenderStatus::Queued, .. })
            )),
            "{first:?}"
        );
        assert_eq!(seen.news("r1", &now), []);
        let mut again = Seen { id: seen.id.clone(), ..Seen::default() };
        assert_eq!(again.news("r1", &now), []);
        (now.frames_done, now.chunks_done) = (5, 1);
        assert_eq!(names(&again.news("r1", &now)), ["chunk", "progress"]);
    }
}
