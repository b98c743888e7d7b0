//! The coordinator's own view of object storage.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use hyperfarm_backplane::objects::{Created, Objects, ObjectsError};
use hyperfarm_proto::id::{RenderId, Space};
use hyperfarm_proto::keys;
use hyperfarm_proto::plan::Plan;
use hyperfarm_proto::record::{Manifest, Outcome, TerminalState};
use hyperfarm_proto::spec::RenderRequest;
use tracing::warn;

use crate::intake::Intake;
use crate::progress::{PlanSummary, RenderProgress, Stage};
use crate::registry::Entry;

/// Storage requests in flight for one piece of work.
pub const PARALLEL: usize = 16;

/// The mark of a deleted render. What it hides may still be there.
pub fn tombstone(render: &RenderId) -> String {
    format!("{}/deleted.json", keys::render_prefix(render))
}

/// How a render came in.
pub fn intake(render: &RenderId) -> String {
    format!("{}/intake.json", keys::render_prefix(render))
}

/// The mark that a render is a space's: what a listing goes by.
pub fn membership(space: &Space, render: &RenderId) -> String {
    format!("spaces/{space}/renders/{render}")
}

/// The mark that a render has not ended, or that what follows its end is not done.
pub fn open_mark(render: &RenderId) -> String {
    format!("{OPEN}/{render}")
}

/// Folder of [`open_mark`].
pub const OPEN: &str = "open";

/// Exists once every open render is known to have an [`open_mark`].
const OPEN_MARKS_COMPLETE: &str = "farm/open-marks-complete";

/// How long after a render's id was made an [`open_mark`] without a request is kept. Its intake did not get through.
pub const LOST_MARK_KEPT: Duration = Duration::from_secs(3600);

/// Time since the id was made.
pub fn age_of(render: &RenderId) -> Duration {
    let created_at_ms = u64::from_str_radix(render.as_str().get(1..13).unwrap_or_default(), 16).unwrap_or(0);
    Duration::from_millis(now_ms().saturating_sub(created_at_ms))
}

/// The mark that nothing more of a render is to be sent out for now.
pub fn pause_mark(render: &RenderId) -> String {
    format!("{}/paused.json", keys::render_prefix(render))
}

/// Milliseconds since 1970.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// `None` where storage has no such object.
pub fn if_found<T>(result: Result<T, ObjectsError>) -> Result<Option<T>, ObjectsError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Ids of the renders with an [`open_mark`]. A mark whose request is not stored yet, or whose render has ended, counts too.
pub async fn open_renders(objects: &Objects) -> Result<BTreeSet<RenderId>, ObjectsError> {
    let listed = objects.list(OPEN).await?;
    Ok(listed.iter().filter_map(|meta| meta.key.rsplit('/').next()?.parse().ok()).collect())
}

/// Gives an [`open_mark`] to every open render without one. Farms before 0.2.0 set no marks, so this reads the state of every stored
/// render; [`OPEN_MARKS_COMPLETE`] then records that it was done, and later calls cost one request.
pub async fn complete_open_marks(objects: &Objects) -> Result<(), ObjectsError> {
    if objects.exists(OPEN_MARKS_COMPLETE).await? {
        return Ok(());
    }
    let marked = open_renders(objects).await?;
    let folders = objects.list_dirs(keys::RENDERS).await?;
    let stored: Vec<RenderId> = folders
        .iter()
        .filter_map(|folder| folder.trim_end_matches('/').rsplit('/').next()?.parse().ok())
        .filter(|render| !marked.contains(render))
        .collect();
    stream::iter(stored)
        .map(|render| async move {
            let (state, place) = (keys::state(&render), intake(&render));
            if objects.exists(&state).await? || is_deleted(objects, &render).await? {
                return Ok(());
            }
            // Without a request it is being taken in, and has its mark by now, or it never was taken in.
            if !objects.exists(&keys::request(&render)).await? {
                return Ok(());
            }
            let intake = match if_found(objects.get_json::<Intake>(&place).await) {
                Err(ObjectsError::Corrupt { .. }) => None,
                read => read?,
            };
            objects.put_json(&open_mark(&render), &intake.unwrap_or_default()).await
        })
        .buffer_unordered(PARALLEL)
        .try_collect::<()>()
        .await?;
    objects.put(OPEN_MARKS_COMPLETE, Bytes::from_static(b"{}")).await
}

/// Ids of a space's renders, oldest first.
pub async fn space_renders(objects: &Objects, space: &Space) -> Result<Vec<RenderId>, ObjectsError> {
    let listed = objects.list(&format!("spaces/{space}/renders")).await?;
    let mut ids: Vec<RenderId> = listed.iter().filter_map(|meta| meta.key.rsplit('/').next()?.parse().ok()).collect();
    ids.sort();
    Ok(ids)
}

/// Whether the render has been deleted.
pub async fn is_deleted(objects: &Objects, render: &RenderId) -> Result<bool, ObjectsError> {
    objects.exists(&tombstone(render)).await
}

/// How the render ended, if it has.
pub async fn state(objects: &Objects, render: &RenderId) -> Result<Option<TerminalState>, ObjectsError> {
    if_found(objects.get_json(&keys::state(render)).await)
}

/// The render's request, if it was ever taken in.
pub async fn request(objects: &Objects, render: &RenderId) -> Result<Option<RenderRequest>, ObjectsError> {
    if_found(objects.get_json(&keys::request(render)).await)
}

/// The render's plan, if it has one.
pub async fn plan(objects: &Objects, render: &RenderId) -> Result<Option<Plan>, ObjectsError> {
    if_found(objects.get_wire(&keys::plan(render)).await)
}

/// The plan, for showing: one that this build cannot read hides the plan and not the render.
pub async fn readable_plan(objects: &Objects, render: &RenderId) -> Result<Option<Plan>, ObjectsError> {
    match plan(objects, render).await {
        Err(error @ (ObjectsError::Corrupt { .. } | ObjectsError::Version { .. })) => {
            warn!(%render, %error, "the plan cannot be read");
            Ok(None)
        }
        read => read,
    }
}

/// A render as storage shows it; `None` for one that was never taken in or is deleted.
pub async fn entry(objects: &Objects, render: &RenderId) -> Result<Option<Entry>, ObjectsError> {
    let (mark, place) = (pause_mark(render), intake(render));
    let (deleted, intake, paused, request, state, plan) = futures::try_join!(
        is_deleted(objects, render),
        async { if_found(objects.get_json::<Intake>(&place).await) },
        objects.exists(&mark),
        request(objects, render),
        state(objects, render),
        readable_plan(objects, render),
    )?;
    let Some(request) = request.filter(|_| !deleted) else { return Ok(None) };
    let mut progress = RenderProgress::queued();
    if let Some(plan) = &plan {
        let summary = Arc::new(PlanSummary::from(plan));
        progress = RenderProgress::count(Stage::Capture, Some(plan), Some(&summary), &Default::default());
    } else if state.is_some() {
        // It failed before there was a plan, or an older farm wrote the plan: the manifest is JSON and says as much.
        let manifest = if_found(objects.get_json::<Manifest>(&keys::manifest(render)).await)?;
        progress = manifest.as_ref().map_or(progress, RenderProgress::of_manifest);
    }
    if let Some(state) = state {
        progress = progress.ended(Arc::new(state));
    }
    let entry = Entry::new(Arc::new(request), Arc::new(intake.unwrap_or_default()), progress);
    entry.pause(paused);
    Ok(Some(entry))
}

/// Ends a render: the first terminal state that is stored is the one that counts, and the one that is answered.
pub async fn end(objects: &Objects, render: &RenderId, outcome: Outcome) -> Result<TerminalState, ObjectsError> {
    let state = TerminalState { ended_at_ms: now_ms(), outcome };
    let key = keys::state(render);
    let json = serde_json::to_vec(&state)
        .map_err(|error| ObjectsError::Corrupt { key: key.clone(), reason: error.to_string() })?;
    match objects.create(&key, Bytes::from(json)).await? {
        Created::Yes => Ok(state),
        Created::Existed => objects.get_json(&key).await,
    }
}

/// Hides a render for good and removes what it made.
pub async fn delete(objects: &Objects, render: &RenderId) -> Result<(), ObjectsError> {
    let mark = tombstone(render);
    objects.create(&mark, Bytes::from_static(b"{}")).await?;
    let kept = [mark, keys::request(render), keys::state(render), intake(render)];
    let made = objects.list(&keys::render_prefix(render)).await?;
    let made = made.into_iter().map(|meta| meta.key).filter(|key| !kept.contains(key));
    stream::iter(made)
        .map(|key| async move { objects.delete(&key).await })
        .buffer_unordered(PARALLEL)
        .try_collect()
        .await
}
