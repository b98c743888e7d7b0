//! What follows the end of a render: its usage is noted, its event is announced, its place is free.
//!
//! **Invariant: it is done at least once for every end.** The mark of an open render is removed last; what a process leaves undone the
//! next one finds by the mark. Each step changes nothing when it is done again.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use hyperfarm_backplane::objects::ObjectsError;
use hyperfarm_backplane::trace;
use hyperfarm_proto::failure::FailureCode;
use hyperfarm_proto::id::RenderId;
use hyperfarm_proto::keys;
use hyperfarm_proto::record::{Outcome, TerminalState};
use hyperfarm_proto::spec::RenderRequest;
use serde_json::{Value, json};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tracing::{debug, warn};
use url::Url;

use crate::Coordinator;
use crate::api::admission::Admission;
use crate::api::view::error_code;
use crate::intake::Intake;
use crate::signed_urls::SignedUrls;
use crate::store::{self, if_found, now_ms};
use crate::usage::{Usage, Usages};
use crate::webhooks::{Delivery, Event, Webhooks};

/// How often storage is searched for ends that nobody has dealt with.
const SWEEP_EVERY: Duration = Duration::from_secs(30);

/// What dealing with an end needs.
pub(crate) struct Closing {
    pub(crate) coordinator: Coordinator,
    pub(crate) usages: Arc<Usages>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) links: Arc<SignedUrls>,
    pub(crate) webhooks: Webhooks,
    pub(crate) public_url: Option<Url>,
    pub(crate) deliveries: mpsc::UnboundedSender<Delivery>,
}

impl Closing {
    /// Deals with every end, until the drain starts.
    pub(crate) async fn run(self, mut ends: Receiver<RenderId>) {
        let drain = self.coordinator.drain().clone();
        loop {
            self.sweep().await;
            let next_sweep = tokio::time::sleep(SWEEP_EVERY);
            tokio::pin!(next_sweep);
            loop {
                tokio::select! {
                    () = drain.started() => return,
                    () = &mut next_sweep => break,
                    end = ends.recv() => match end {
                        Ok(render) => self.close(&render).await,
                        // The sweep finds them.
                        Err(RecvError::Lagged(_)) => break,
                        Err(RecvError::Closed) => return,
                    },
                }
            }
        }
    }

    async fn sweep(&self) {
        let objects = &self.coordinator.backplane().objects;
        let renders = match store::open_renders(objects).await {
            Ok(renders) => renders,
            Err(error) => return warn!(%error, "open renders cannot be listed, they are listed again later"),
        };
        stream::iter(renders)
            .for_each_concurrent(store::PARALLEL, |render| async move { self.close(&render).await })
            .await;
    }

    async fn close(&self, render: &RenderId) {
        if let Err(error) = self.try_close(render).await {
            warn!(%render, %error, "what follows the render's end is done later");
        }
    }

    async fn try_close(&self, render: &RenderId) -> Result<(), ObjectsError> {
        let objects = &self.coordinator.backplane().objects;
        let mark = store::open_mark(render);
        let Some(intake) = if_found(objects.get_json::<Intake>(&mark).await)? else {
            self.admission.free(render);
            return Ok(());
        };
        let (state, request) = futures::try_join!(store::state(objects, render), store::request(objects, render))?;
        let (Some(state), Some(request)) = (&state, &request) else {
            if request.is_none() && store::age_of(render) > store::LOST_MARK_KEPT {
                objects.delete(&mark).await?;
                // The same intake may have been asked for again, and stored its request in the meantime.
                if objects.exists(&keys::request(render)).await? {
                    objects.put_json(&mark, &intake).await?;
                }
            }
            return Ok(());
        };
        // A place is free at once, whatever becomes of the rest.
        self.admission.free(render);
        let usage = self.usages.note(request, &intake, state).await?;
        let event = self.event(request, &intake, state).await?;
        let callback = request.spec.callback_url.as_deref().and_then(|url| Url::parse(url).ok());
        for delivery in self.webhooks.announce(&event, callback, now_ms()).await? {
            // The loop that sends is gone only while the process ends.
            drop(self.deliveries.send(delivery));
        }
        objects.delete(&mark).await?;
        // After the mark, so that it is counted once.
        self.count(request, state, usage.as_ref());
        debug!(%render, event = event.event_type, "dealt with the end");
        Ok(())
    }

    fn count(&self, request: &RenderRequest, state: &TerminalState, usage: Option<&Usage>) {
        let metrics = &self.coordinator.backplane().metrics;
        trace::ended(request, state);
        match &state.outcome {
            Outcome::Completed { duration, .. } => {
                let took = Duration::from_millis(state.ended_at_ms.saturating_sub(request.created_at_ms));
                metrics.render_completed(took, *duration);
            }
            Outcome::Failed { failure, .. } => metrics.render_failed(failure),
        }
        for (pool, seconds) in usage.iter().flat_map(|usage| &usage.worker_seconds) {
            metrics.worker_seconds(pool, *seconds);
        }
    }

    async fn event(
        &self,
        request: &RenderRequest,
        intake: &Intake,
        state: &TerminalState,
    ) -> Result<Event, ObjectsError> {
        let spec = &request.spec;
        let mut data = json!({
            "render_id": request.id, "video_id": request.id, "callback_id": spec.callback_id, "title": spec.title,
        });
        let event_type = match &state.outcome {
            Outcome::Completed { duration, output } => {
                let video = self.link(&output.key, intake).await;
                data["status"] = "completed".into();
                data["url"] = video.clone();
                data["video_url"] = video;
                data["thumbnail_url"] = self.link(&output.thumbnail, intake).await;
                data["duration"] = json!(duration);
                "hyperframes_video.success"
            }
            Outcome::Failed { failure, .. } => {
                data["status"] = "failed".into();
                data["failure_message"] = failure.message.as_str().into();
                data["msg"] = failure.message.as_str().into();
                data["error_code"] = error_code(failure).into();
                if failure.code == FailureCode::Cancelled {
                    "hyperframes_video.cancelled"
                } else {
                    "hyperframes_video.fail"
                }
            }
        };
        let event_id = Event::id_of(&request.id, event_type, state.ended_at_ms);
        // The first one counts: its links do not change between two deliveries.
        if let Some(event) = self.webhooks.event(&intake.space, &event_id).await? {
            return Ok(event);
        }
        Ok(Event {
            event_id,
            event_type: event_type.to_owned(),
            event_data: data,
            entity_id: request.id.to_string(),
            space: intake.space.clone(),
            created_at_ms: state.ended_at_ms,
        })
    }

    /// A URL to download from; `null` where nobody knows how the farm is reached.
    async fn link(&self, key: &str, intake: &Intake) -> Value {
        let Some(base) = self.public_url.as_ref().or(intake.origin.as_ref()) else { return Value::Null };
        match self.links.sign(key, base).await {
            Ok(url) => url.as_str().into(),
            Err(error) => {
                warn!(%error, "a link for an event cannot be signed");
                Value::Null
            }
        }
    }
}
