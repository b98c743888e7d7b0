//! A render as clients read it.

use hyperfarm_api::render::{Progress, RenderDetail as View, RenderStatus, Waiting};
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::plan;
use hyperfarm_proto::record::{Outcome, Sidecar};
use hyperfarm_proto::spec::{AspectRatio, Resolution, Size};
use url::Url;

use super::preview;
use crate::RenderDetail;
use crate::progress::{RenderProgress, Stage};
use crate::signed_urls::{SignedUrlError, SignedUrls};
use crate::status::error_code;

/// The state of a render.
pub(super) fn status(progress: &RenderProgress) -> RenderStatus {
    match (&progress.end, progress.stage) {
        (Some(end), _) if matches!(end.outcome, Outcome::Completed { .. }) => RenderStatus::Completed,
        (Some(_), _) => RenderStatus::Failed,
        (None, Stage::Queued) => RenderStatus::Queued,
        (None, _) => RenderStatus::Rendering,
    }
}

/// Whole seconds until the last frame.
pub(super) fn eta_seconds(progress: &RenderProgress) -> Option<u64> {
    progress.eta.map(|eta| eta.as_secs_f64().ceil() as u64)
}

/// The render as clients read it, without its usage; signed URLs start with `base`.
pub(super) async fn view(
    detail: &RenderDetail,
    signed_urls: &SignedUrls,
    base: Option<&Url>,
) -> Result<View, SignedUrlError> {
    let (request, progress) = (&detail.request, &detail.progress);
    let spec = &request.spec;
    let planned = progress.plan.as_deref();
    let (mut completed, mut failure) = (None, None);
    match progress.end.as_ref().map(|end| &end.outcome) {
        Some(Outcome::Completed { duration, output }) => completed = Some((*duration, output)),
        Some(Outcome::Failed { failure: reason, .. }) => failure = Some(reason),
        None => {}
    }
    let (mut video_url, mut thumbnail_url) = (None, None);
    let mut sidecars = Vec::new();
    if let (Some((_, output)), Some(base)) = (completed, base) {
        video_url = Some(signed_urls.sign(&output.key, base).await?.to_string());
        thumbnail_url = Some(signed_urls.sign(&output.thumbnail, base).await?.to_string());
        for Sidecar { name, key, bytes, .. } in &output.sidecars {
            let url = signed_urls.sign(key, base).await?.to_string();
            sidecars.push(hyperfarm_api::render::Sidecar { name: name.clone(), bytes: *bytes, url });
        }
    }
    // Of a render that failed there is no film; its chunks are in the list of chunks.
    let is_playable = planned.is_some_and(|plan| plan.is_playable) && failure.is_none() && progress.chunks_leading > 0;
    let preview_url = match base.filter(|_| is_playable) {
        Some(base) => Some(signed_urls.sign_preview(&request.id, preview::master(progress), base).await?.to_string()),
        None => None,
    };
    let size = completed.map(|(_, output)| output.size).or(planned.map(|plan| plan.size));
    let frame_rate = completed.map(|(_, output)| output.frame_rate).or(planned.map(|plan| plan.frame_rate));
    let mut warnings = planned.map(|plan| plan.warnings.clone()).unwrap_or_default();
    let outage = progress.waiting.as_ref().filter(|waiting| waiting.is_outage());
    warnings
        .extend(outage.map(|waiting| plan::Warning { code: waiting.code().to_owned(), message: waiting.to_string() }));
    Ok(View {
        render_id: request.id.to_string(),
        status: status(progress),
        format: spec.format,
        title: spec.title.clone().map(String::from),
        callback_id: spec.callback_id.clone().map(String::from),
        fps: spec.fps.or(frame_rate).unwrap_or(FrameRate::DEFAULT).into(),
        quality: spec.quality,
        resolution: spec.resolution.or(size.map_or(Some(Resolution::FullHd), resolution_of)),
        aspect_ratio: spec.aspect_ratio.or(size.map_or(Some(AspectRatio::Landscape), AspectRatio::of)),
        composition: spec.composition.as_deref().unwrap_or("index.html").to_owned(),
        runtime: planned.and_then(|plan| plan.runtime.clone()),
        created_at: request.created_at_ms / 1000,
        completed_at: progress.end.as_ref().map(|end| end.ended_at_ms / 1000),
        video_url,
        thumbnail_url,
        sidecars,
        preview_url,
        duration: completed.map(|(duration, _)| duration),
        failure_message: failure.map(|failure| failure.message.clone()),
        error_code: failure.map(error_code),
        progress: Progress {
            stage: progress.stage,
            frames_done: progress.frames_done,
            frames_total: progress.frames_total,
            percent: progress.percent(),
            eta_seconds: eta_seconds(progress),
            chunks_done: progress.chunks_done,
            chunks_total: progress.chunks_total,
        },
        width: size.map(|size| size.width),
        height: size.map(|size| size.height),
        frame_count: completed.map(|(_, output)| output.frames).or(planned.map(|plan| plan.frames)),
        warnings: warnings.into_iter().map(Into::into).collect(),
        usage: None,
        paused: detail.is_paused && progress.end.is_none(),
        priority: detail.priority,
        pool: spec.pool.to_string(),
        owner: detail.intake.owner.clone(),
        waiting: progress
            .waiting
            .as_ref()
            .map(|waiting| Waiting { code: waiting.code().to_owned(), message: waiting.to_string() }),
        batch_id: detail.intake.batch.clone(),
        retry_of: detail.intake.retry_of.clone().map(String::from),
    })
}

fn resolution_of(size: Size) -> Option<Resolution> {
    let ratio = AspectRatio::of(size)?;
    [Resolution::FullHd, Resolution::Uhd].into_iter().find(|resolution| ratio.size_at(*resolution) == size)
}
