//! Finalizes ended renders, on the coordinator that leads: records the usage, publishes the webhook event, and frees
//! the place of the key.
//!
//! **Invariant: every ended render is finalized at least once.** Its open mark is removed last, so the next process finds by the mark
//! what this one leaves undone. A step that is repeated changes nothing.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use hyperfarm_api::webhooks::{LipsyncEventData, RenderEnd, RenderEventData, TranslationEventData, VideoEventData};
use hyperfarm_backplane::objects::ObjectsError;
use hyperfarm_backplane::trace;
use hyperfarm_proto::failure::FailureCode;
use hyperfarm_proto::id::RenderId;
use hyperfarm_proto::keys;
use hyperfarm_proto::plan::{PREPARED_FILE, Plan};
use hyperfarm_proto::record::{Outcome, TerminalState};
use hyperfarm_proto::spec::RenderRequest;
use serde::Serialize;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tracing::{debug, warn};
use url::Url;

use crate::admission::Admission;
use crate::avatars::{self, FoundFace};
use crate::clock::{age_of, now_ms};
use crate::coordinator::Coordinator;
use crate::lipsync;
use crate::object_keys;
use crate::presenter::Prepared;
use crate::retention::Retention;
use crate::signed_urls::SignedUrls;
use crate::status::error_code;
use crate::store::{self, MAX_CONCURRENT_REQUESTS, if_found};
use crate::submission::{Intake, Purpose};
use crate::translation;
use crate::usage::{Usage, UsageStore};
use crate::webhooks::{Delivery, Event, Webhooks};

/// How often the open marks are listed, to find ended renders that are not finalized.
const SWEEP_EVERY: Duration = Duration::from_secs(30);

/// Every so many of these sweeps looks also at the renders that are known to be open: their end is told to this coordinator.
const SWEEPS_A_WHOLE_ONE: u64 = 10;

/// Finalizes ended renders.
pub(crate) struct Finalizer {
    pub(crate) coordinator: Coordinator,
    pub(crate) usages: Arc<UsageStore>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) signed_urls: Arc<SignedUrls>,
    pub(crate) webhooks: Webhooks,
    /// How long ended renders are kept.
    pub(crate) retention: Retention,
    /// Base URL of the farm, for URLs in events.
    pub(crate) public_url: Option<Url>,
    /// Takes new deliveries to the loop that sends them.
    pub(crate) deliveries: mpsc::UnboundedSender<Delivery>,
}

impl Finalizer {
    /// Finalizes every render that ends, until the drain starts.
    pub(crate) async fn run(self, mut ends: Receiver<RenderId>) {
        let drain = self.coordinator.drain().clone();
        let mut leadership = self.coordinator.leadership_changes();
        for number in 0_u64.. {
            self.sweep(number.is_multiple_of(SWEEPS_A_WHOLE_ONE)).await;
            let next_sweep = tokio::time::sleep(SWEEP_EVERY);
            tokio::pin!(next_sweep);
            loop {
                tokio::select! {
                    () = drain.started() => return,
                    () = &mut next_sweep => break,
                    _ = leadership.next() => break,
                    end = ends.recv() => match end {
                        Ok(render) => self.finalize(&render).await,
                        // The sweep finds the ends that were missed.
                        Err(RecvError::Lagged(_)) => break,
                        Err(RecvError::Closed) => return,
                    },
                }
            }
        }
    }

    async fn sweep(&self, is_whole: bool) {
        let objects = &self.coordinator.backplane().objects;
        let renders = match store::open_renders(objects).await {
            Ok(renders) => renders,
            Err(error) => return warn!(%error, "the open marks could not be listed, they are listed again later"),
        };
        let due = renders.into_iter().filter(|render| is_whole || !self.coordinator.is_open(render));
        stream::iter(due)
            .for_each_concurrent(MAX_CONCURRENT_REQUESTS, |render| async move { self.finalize(&render).await })
            .await;
    }

    async fn finalize(&self, render: &RenderId) {
        if let Err(error) = self.try_finalize(render).await {
            warn!(%render, %error, "an ended render could not be finalized, it is tried again later");
        }
    }

    async fn try_finalize(&self, render: &RenderId) -> Result<(), ObjectsError> {
        let objects = &self.coordinator.backplane().objects;
        if !self.coordinator.is_leading() {
            if self.coordinator.has_ended(render) {
                self.admission.free(render);
            }
            return Ok(());
        }
        let mark = object_keys::open_mark(render);
        let Some(intake) = if_found(objects.get_json::<Intake>(&mark).await)? else {
            self.admission.free(render);
            return Ok(());
        };
        let (state, request) = futures::try_join!(store::state(objects, render), store::request(objects, render))?;
        let (Some(state), Some(request)) = (&state, &request) else {
            if request.is_none() && age_of(render) > store::LOST_MARK_KEPT {
                objects.delete(&mark).await?;
                // The same intake may have been asked for again, and stored its request in the meantime.
                if objects.exists(&keys::request(render)).await? {
                    objects.put_json(&mark, &intake).await?;
                }
            }
            return Ok(());
        };
        // The place is free at once, even if a later step fails.
        self.admission.free(render);
        let freed = self.admission.free_shared(&intake, render).await;
        let usage = match &intake.purpose {
            Purpose::Look(look) => {
                // It may have been deleted in the meantime.
                if avatars::look(objects, &intake.space, look).await?.is_some() {
                    let found = self.found_face(render, state).await?;
                    avatars::put_face(objects, &intake.space, look, &found).await?;
                }
                None
            }
            Purpose::Render
            | Purpose::Video { .. }
            | Purpose::Agent(_)
            | Purpose::Lipsync(_)
            | Purpose::Translation(_) => {
                let usage = self.usages.record(request, &intake, state).await?;
                self.publish(request, &intake, state).await?;
                usage
            }
        };
        self.retention.mark(objects, render, request.spec.keep_for, &intake, state).await?;
        if let Err(error) = freed {
            // The mark stays, so that the next sweep frees it.
            warn!(%render, %error, "the ledger did not free the place of an ended render");
            return Ok(());
        }
        objects.delete(&mark).await?;
        // After the mark is removed, so that it is counted once.
        self.count(request, state, usage.as_ref());
        debug!(%render, "the render was finalized");
        Ok(())
    }

    /// Sends the event of the end of a render to all who wait for it.
    async fn publish(
        &self,
        request: &RenderRequest,
        intake: &Intake,
        state: &TerminalState,
    ) -> Result<(), ObjectsError> {
        let event = self.event(request, intake, state).await?;
        let callback = request.spec.callback_url.as_deref().and_then(|url| Url::parse(url).ok());
        let callback = callback.map(|url| (url, intake.callback_form));
        for delivery in self.webhooks.publish(&event, callback, now_ms()).await? {
            // The receiver is dropped only while the process ends. The delivery is stored already.
            drop(self.deliveries.send(delivery));
        }
        Ok(())
    }

    fn count(&self, request: &RenderRequest, state: &TerminalState, usage: Option<&Usage>) {
        let metrics = &self.coordinator.backplane().metrics;
        trace::record_render(request, state);
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
        if matches!(intake.purpose, Purpose::Video { .. } | Purpose::Agent(_)) {
            return self.video_event(request, intake, state).await;
        }
        if matches!(intake.purpose, Purpose::Lipsync(_)) {
            return self.lipsync_event(request, intake, state).await;
        }
        if matches!(intake.purpose, Purpose::Translation(_)) {
            return self.translation_event(request, intake, state).await;
        }
        let (event_type, end) = match &state.outcome {
            Outcome::Completed { duration, output } => {
                let video_url = self.signed_url(&output.key, intake).await;
                let thumbnail_url = self.signed_url(&output.thumbnail, intake).await;
                let end =
                    RenderEnd::Completed { url: video_url.clone(), video_url, thumbnail_url, duration: *duration };
                ("hyperframes_video.success", end)
            }
            Outcome::Failed { failure, .. } => {
                let is_cancelled = failure.code == FailureCode::Cancelled;
                let event_type = if is_cancelled { "hyperframes_video.cancelled" } else { "hyperframes_video.fail" };
                let end = RenderEnd::Failed {
                    failure_message: failure.message.clone(),
                    msg: failure.message.clone(),
                    error_code: error_code(failure),
                };
                (event_type, end)
            }
        };
        let (id, spec) = (request.id.to_string(), &request.spec);
        let data = RenderEventData {
            render_id: id.clone(),
            video_id: id,
            callback_id: spec.callback_id.clone().map(String::from),
            title: spec.title.clone().map(String::from),
            end,
        };
        self.event_of(event_type, data, request, intake, state).await
    }

    /// The event of the end of a presenter video, or of one of the agent's.
    async fn video_event(
        &self,
        request: &RenderRequest,
        intake: &Intake,
        state: &TerminalState,
    ) -> Result<Event, ObjectsError> {
        let (success, fail, session_id) = match &intake.purpose {
            Purpose::Agent(session) => ("video_agent.success", "video_agent.fail", Some(session.clone())),
            _ => ("avatar_video.success", "avatar_video.fail", None),
        };
        let (event_type, url, failure) = match &state.outcome {
            Outcome::Completed { output, .. } => (success, self.signed_url(&output.key, intake).await, None),
            Outcome::Failed { failure, .. } => (fail, None, Some(failure)),
        };
        let data = VideoEventData {
            video_id: request.id.to_string(),
            session_id,
            url,
            gif_download_url: None,
            video_page_url: None,
            video_share_page_url: None,
            folder_id: None,
            callback_id: request.spec.callback_id.clone().map(String::from),
            msg: failure.map(|failure| failure.message.clone()),
            failure_code: failure.map(error_code),
        };
        self.event_of(event_type, data, request, intake, state).await
    }

    /// The event of the end of a lipsync.
    async fn lipsync_event(
        &self,
        request: &RenderRequest,
        intake: &Intake,
        state: &TerminalState,
    ) -> Result<Event, ObjectsError> {
        let objects = &self.coordinator.backplane().objects;
        let title = lipsync::records::title(objects, &intake.space, &request.id).await?;
        let (event_type, url, duration, failure) = match &state.outcome {
            Outcome::Completed { duration, output } => {
                (lipsync::SUCCESS, self.signed_url(&output.key, intake).await, Some(*duration), None)
            }
            Outcome::Failed { failure, .. } => (lipsync::FAIL, None, None, Some(failure)),
        };
        let data = LipsyncEventData {
            lipsync_id: request.id.to_string(),
            title: title.or_else(|| request.spec.title.clone().map(String::from)),
            url,
            duration,
            callback_id: request.spec.callback_id.clone().map(String::from),
            msg: failure.map(|failure| failure.message.clone()),
            failure_code: failure.map(error_code),
        };
        self.event_of(event_type, data, request, intake, state).await
    }

    /// The event of the end of a video in another language.
    async fn translation_event(
        &self,
        request: &RenderRequest,
        intake: &Intake,
        state: &TerminalState,
    ) -> Result<Event, ObjectsError> {
        let objects = &self.coordinator.backplane().objects;
        let title = translation::records::title(objects, &intake.space, &request.id).await?;
        let record = translation::records::get(objects, &intake.space, &request.id).await?;
        let (event_type, url, failure) = match &state.outcome {
            Outcome::Completed { output, .. } => {
                (translation::SUCCESS, self.signed_url(&output.key, intake).await, None)
            }
            Outcome::Failed { failure, .. } => (translation::FAIL, None, Some(failure)),
        };
        let data = TranslationEventData {
            video_translate_id: request.id.to_string(),
            title: title.or_else(|| request.spec.title.clone().map(String::from)),
            output_language: record.as_ref().map(|record| record.output_language.clone()).unwrap_or_default(),
            translate_audio_only: record.is_some_and(|record| record.options.is_audio_only),
            generate_caption: request.spec.captions,
            url,
            callback_id: request.spec.callback_id.clone().map(String::from),
            msg: failure.map(|failure| failure.message.clone()),
            failure_code: failure.map(error_code),
        };
        self.event_of(event_type, data, request, intake, state).await
    }

    /// The event of the end of a render with this data. The first one that is stored counts, so that its URLs are the same in
    /// every delivery.
    async fn event_of(
        &self,
        event_type: &str,
        data: impl Serialize,
        request: &RenderRequest,
        intake: &Intake,
        state: &TerminalState,
    ) -> Result<Event, ObjectsError> {
        let event_id = Event::id_of(&request.id, event_type, state.ended_at_ms);
        if let Some(event) = self.webhooks.event(&intake.space, &event_id).await? {
            return Ok(event);
        }
        let event_data = serde_json::to_value(data)
            .map_err(|error| ObjectsError::Corrupt { key: event_id.clone(), reason: error.to_string() })?;
        Ok(Event {
            event_id,
            event_type: event_type.to_owned(),
            event_data,
            entity_id: request.id.to_string(),
            space: intake.space.clone(),
            created_at_ms: state.ended_at_ms,
        })
    }

    /// What the render of a look has found.
    async fn found_face(&self, render: &RenderId, state: &TerminalState) -> Result<FoundFace, ObjectsError> {
        if let Outcome::Failed { failure, .. } = &state.outcome {
            return Ok(FoundFace::Missing(failure.message.clone()));
        }
        let objects = &self.coordinator.backplane().objects;
        let plan = objects.get_wire::<Plan>(&keys::plan(render)).await?;
        let Some(file) = plan.content.files.iter().find(|file| file.path == PREPARED_FILE) else {
            return Ok(FoundFace::Missing("the page found no face".to_owned()));
        };
        Ok(FoundFace::Found(objects.get_json::<Prepared>(&keys::blob(&file.hash)).await?.face))
    }

    /// A download URL for an object; `None` where the farm's own URL is not known.
    async fn signed_url(&self, key: &str, intake: &Intake) -> Option<String> {
        let base = self.public_url.as_ref().or(intake.origin.as_ref())?;
        match self.signed_urls.sign(key, base).await {
            Ok(url) => Some(url.into()),
            Err(error) => {
                warn!(%error, "a URL for a webhook event could not be signed");
                None
            }
        }
    }
}
