//! A retry takes what the render that it repeats has left: the segments and the sound of the same content are not made again.
//!
//! **Invariant: nothing is taken for granted.** Only plans of equal content share segments, the copies belong to the new
//! render, and what was copied counts once it is restored from storage like any other commit. Where no segment is missing,
//! the segments may be why the render has failed, and none is taken.

use futures::{StreamExt, TryStreamExt, stream};
use hyperfarm_backplane::objects::Objects;
use hyperfarm_proto::id::RenderId;
use hyperfarm_proto::keys;
use hyperfarm_proto::plan::{Plan, PlanContent};
use hyperfarm_proto::record::{AudioRecord, Outcome, SegmentRecord};
use tracing::info;

use super::error::ReconcileError;
use super::restore::valid_segments;
use crate::store::{self, MAX_CONCURRENT_REQUESTS, if_found};

/// The plan of `earlier`, if that render has failed and was of this content.
pub(super) async fn plan_of_failed(
    objects: &Objects,
    earlier: &RenderId,
    content: &PlanContent,
) -> Result<Option<Plan>, ReconcileError> {
    let (state, plan) = futures::try_join!(store::state(objects, earlier), store::readable_plan(objects, earlier))?;
    let has_failed = state.is_some_and(|state| matches!(state.outcome, Outcome::Failed { .. }));
    let Some(plan) = plan.filter(|_| has_failed) else { return Ok(None) };
    Ok((plan.content.hash()? == content.hash()?).then_some(plan))
}

/// Copies the segments and the sound of `earlier` into the render of `plan`, which has the same content and chunks.
pub(super) async fn copy(objects: &Objects, earlier: &Plan, plan: &Plan) -> Result<(), ReconcileError> {
    let records = valid_segments(objects, earlier).await?;
    let chunks = records.len();
    if chunks == earlier.chunks.len() {
        info!(render = %plan.render, earlier = %earlier.render, "an earlier render of the same content failed with all of its segments: everything is made again");
        return Ok(());
    }
    stream::iter(records)
        .map(|record| copy_segment(objects, plan, record))
        .buffer_unordered(MAX_CONCURRENT_REQUESTS)
        .try_collect::<()>()
        .await?;
    let sound = if_found(objects.get_json::<AudioRecord>(&keys::audio_record(&earlier.render)).await)?;
    let hash = plan.content.hash()?;
    let sound = sound.filter(|sound| sound.plan.as_ref() == Some(&hash));
    let has_sound = sound.is_some();
    if let Some(sound) = sound {
        copy_sound(objects, earlier, plan, sound).await?;
    }
    info!(render = %plan.render, earlier = %earlier.render, chunks, has_sound, "what an earlier render of the same content has left was taken over");
    Ok(())
}

async fn copy_segment(objects: &Objects, plan: &Plan, record: SegmentRecord) -> Result<(), ReconcileError> {
    let format = plan.content.encoder.format;
    let key = keys::segment(&plan.render, record.chunk, record.attempt, &record.hash, format);
    if let Some(thumbnail) = &record.thumbnail {
        // The render does not need it.
        if_found(objects.copy(thumbnail, &keys::segment_thumbnail(&key)).await)?;
    }
    let thumbnail = record.thumbnail.as_ref().map(|_| keys::segment_thumbnail(&key));
    let from = record.key.clone();
    let copied = SegmentRecord { key: key.clone(), thumbnail, ..record };
    // The record first, as workers do: a segment without one is ignored.
    objects.put_json(&keys::segment_record(&key), &copied).await?;
    if_found(objects.copy(&from, &key).await)?;
    Ok(())
}

async fn copy_sound(objects: &Objects, earlier: &Plan, plan: &Plan, sound: AudioRecord) -> Result<(), ReconcileError> {
    let (from, to) = (keys::render_prefix(&earlier.render), keys::render_prefix(&plan.render));
    let moved = |key: &str| key.strip_prefix(&from).map(|rest| format!("{to}{rest}"));
    let files: Option<Vec<(String, String)>> = std::iter::once(&sound.key)
        .chain(sound.wav.as_ref().map(|wav| &wav.key))
        .map(|key| Some((key.clone(), moved(key)?)))
        .collect();
    // Keys of another farm's making are left alone: the sound is mixed again.
    let Some(files) = files else { return Ok(()) };
    for (from, to) in &files {
        if if_found(objects.copy(from, to).await)?.is_none() {
            return Ok(());
        }
    }
    let mut copied = sound;
    copied.key = files[0].1.clone();
    if let (Some(wav), Some((_, to))) = (&mut copied.wav, files.get(1)) {
        wav.key = to.clone();
    }
    objects.put_json(&keys::audio_record(&plan.render), &copied).await?;
    Ok(())
}
