//! A render as JSON.

use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::id::RenderId;
use hyperfarm_proto::record::Outcome;
use hyperfarm_proto::spec::{AspectRatio, Format, Quality, Resolution, Size};
use serde::Serialize;
use serde_json::{Value, json};
use url::Url;

use super::preview;
use crate::RenderDetail;
use crate::progress::{RenderProgress, Stage};
use crate::signed_urls::{SignedUrlError, SignedUrls};
use crate::status::error_code;

/// What a client reads about a render. Fields that have no value are `null`, except those that only exist at an end.
#[derive(Debug, Serialize)]
pub struct RenderView {
    render_id: String,
    status: &'static str,
    format: Format,
    title: Option<String>,
    callback_id: Option<String>,
    fps: Value,
    quality: Quality,
    resolution: Option<Resolution>,
    aspect_ratio: Option<AspectRatio>,
    composition: String,
    created_at: u64,
    completed_at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    video_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thumbnail_url: Option<String>,
    preview_url: Option<String>,
    duration: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure_message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<String>,
    progress: Value,
    width: Option<u32>,
    height: Option<u32>,
    frame_count: Option<u64>,
    warnings: Value,
    #[serde(skip_serializing_if = "is_false")]
    paused: bool,
    #[serde(skip_serializing_if = "is_zero")]
    priority: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    batch_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_of: Option<RenderId>,
}

fn is_false(value: &bool) -> bool {
    !*value
}

fn is_zero(value: &i32) -> bool {
    *value == 0
}

/// What clients of the hosted service call the state. They know no `cancelled`: it is a failure with that code.
pub fn status(progress: &RenderProgress) -> &'static str {
    match (&progress.end, progress.stage) {
        (Some(end), _) if matches!(end.outcome, Outcome::Completed { .. }) => "completed",
        (Some(_), _) => "failed",
        (None, Stage::Queued) => "queued",
        (None, _) => "rendering",
    }
}

/// Builds the view; signed URLs start with `base`.
pub(crate) async fn view(
    detail: &RenderDetail,
    links: &SignedUrls,
    base: Option<&Url>,
) -> Result<RenderView, SignedUrlError> {
    let (request, progress) = (&detail.request, &detail.progress);
    let spec = &request.spec;
    let plan = progress.plan.as_deref();
    let (mut completed, mut failure) = (None, None);
    match progress.end.as_ref().map(|end| &end.outcome) {
        Some(Outcome::Completed { duration, output }) => completed = Some((*duration, output)),
        Some(Outcome::Failed { failure: reason, .. }) => failure = Some(reason),
        None => {}
    }
    let (mut video_url, mut thumbnail_url) = (None, None);
    if let (Some((_, output)), Some(base)) = (completed, base) {
        video_url = Some(links.sign(&output.key, base).await?.to_string());
        thumbnail_url = Some(links.sign(&output.thumbnail, base).await?.to_string());
    }
    // Of a render that failed there is no film; its chunks are in the list of chunks.
    let is_playable = plan.is_some_and(|plan| plan.is_playable) && failure.is_none() && progress.chunks_leading > 0;
    let preview_url = match base.filter(|_| is_playable) {
        Some(base) => Some(links.sign_preview(&request.id, preview::master(progress), base).await?.to_string()),
        None => None,
    };
    let size = completed.map(|(_, output)| output.size).or(plan.map(|plan| plan.size));
    let frame_rate = completed.map(|(_, output)| output.frame_rate).or(plan.map(|plan| plan.frame_rate));
    Ok(RenderView {
        render_id: request.id.to_string(),
        status: status(progress),
        format: spec.format,
        title: spec.title.clone(),
        callback_id: spec.callback_id.clone(),
        fps: fps(spec.fps.or(frame_rate).unwrap_or(FrameRate::DEFAULT)),
        quality: spec.quality,
        resolution: spec.resolution.or(size.and_then(resolution_of)),
        aspect_ratio: spec.aspect_ratio.or(size.and_then(AspectRatio::of)),
        composition: spec.composition.clone().unwrap_or_else(|| "index.html".to_owned()),
        created_at: request.created_at_ms / 1000,
        completed_at: progress.end.as_ref().map(|end| end.ended_at_ms / 1000),
        video_url,
        thumbnail_url,
        preview_url,
        duration: completed.map(|(duration, _)| duration),
        failure_message: failure.map(|failure| failure.message.clone()),
        error_code: failure.map(error_code),
        progress: json!({
            "stage": progress.stage,
            "frames_done": progress.frames_done,
            "frames_total": progress.frames_total,
            "percent": progress.percent(),
            "eta_seconds": progress.eta.map(|eta| eta.as_secs_f64().ceil() as u64),
            "chunks_done": progress.chunks_done,
            "chunks_total": progress.chunks_total,
        }),
        width: size.map(|size| size.width),
        height: size.map(|size| size.height),
        frame_count: completed.map(|(_, output)| output.frames).or(plan.map(|plan| plan.frames)),
        warnings: json!(plan.map(|plan| plan.warnings.as_slice()).unwrap_or_default()),
        paused: detail.is_paused && progress.end.is_none(),
        priority: detail.intake.priority,
        batch_id: detail.intake.batch.clone(),
        retry_of: detail.intake.retry_of.clone(),
    })
}

/// An integer where it is one, as the hosted service has it, else the fraction as text.
fn fps(rate: FrameRate) -> Value {
    if rate.den() == 1 { json!(rate.num()) } else { json!(rate.to_string()) }
}

fn resolution_of(size: Size) -> Option<Resolution> {
    let ratio = AspectRatio::of(size)?;
    [Resolution::FullHd, Resolution::Uhd].into_iter().find(|resolution| ratio.size_at(*resolution) == size)
}
