//! Reads and writes the coordinator's records in object storage. It returns stored data, and knows nothing of what is in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
pub(crate) use hyperfarm_backplane::objects::if_found;
use hyperfarm_backplane::objects::{Created, Objects, ObjectsError};
use hyperfarm_proto::id::{RenderId, Space};
use hyperfarm_proto::keys;
use hyperfarm_proto::plan::Plan;
use hyperfarm_proto::record::{Manifest, Outcome, TerminalState};
use hyperfarm_proto::spec::RenderRequest;
use tracing::warn;

use crate::clock::now_ms;
use crate::object_keys;
use crate::submission::Intake;

/// Storage requests in flight at once for one operation.
pub(crate) const MAX_CONCURRENT_REQUESTS: usize = 16;

/// How long after a render's id was made an open mark without a request is kept. Its intake did not get through.
pub(crate) const LOST_MARK_KEPT: Duration = Duration::from_secs(3600);

/// The names of the marks in a folder, which are ids, the newest first.
pub(crate) async fn newest_marks(objects: &Objects, folder: &str) -> Result<Vec<String>, ObjectsError> {
    let listed = objects.list(folder).await?;
    let mut ids: Vec<String> =
        listed.iter().filter_map(|meta| meta.key.rsplit('/').next()).map(str::to_owned).collect();
    ids.sort_by(|a, b| b.cmp(a));
    Ok(ids)
}

/// Ids of the renders with an open mark. A mark whose request is not stored yet, or whose render has ended, counts too.
pub(crate) async fn open_renders(objects: &Objects) -> Result<BTreeSet<RenderId>, ObjectsError> {
    let listed = objects.list(object_keys::OPEN_MARKS).await?;
    Ok(listed.iter().filter_map(|meta| meta.key.rsplit('/').next()?.parse().ok()).collect())
}

/// Whether every open render has its mark, because [`complete_open_marks`] has been here.
pub(crate) async fn are_open_marks_complete(objects: &Objects) -> Result<bool, ObjectsError> {
    objects.exists(object_keys::OPEN_MARKS_COMPLETE).await
}

/// Gives its mark to every open render that has none, once: farms before 0.2.0 set no marks, so this reads the state of every stored
/// render.
pub(crate) async fn complete_open_marks(objects: &Objects) -> Result<(), ObjectsError> {
    let marked = open_renders(objects).await?;
    let folders = objects.list_dirs(keys::RENDERS).await?;
    let stored: Vec<RenderId> = folders
        .iter()
        .filter_map(|folder| folder.trim_end_matches('/').rsplit('/').next()?.parse().ok())
        .filter(|render| !marked.contains(render))
        .collect();
    stream::iter(stored)
        .map(|render| async move {
            if objects.exists(&keys::state(&render)).await? || is_deleted(objects, &render).await? {
                return Ok(());
            }
            // Without a request it is being taken in, and has its mark by now, or it never was taken in.
            if !objects.exists(&keys::request(&render)).await? {
                return Ok(());
            }
            let intake = match intake(objects, &render).await {
                Err(ObjectsError::Corrupt { .. }) => None,
                read => read?,
            };
            objects.put_json(&object_keys::open_mark(&render), &intake.unwrap_or_default()).await
        })
        .buffer_unordered(MAX_CONCURRENT_REQUESTS)
        .try_collect::<()>()
        .await?;
    objects.put(object_keys::OPEN_MARKS_COMPLETE, Bytes::from_static(b"{}")).await
}

/// Ids of a space's renders, deleted ones included, oldest first.
pub(crate) async fn space_renders(objects: &Objects, space: &Space) -> Result<Vec<RenderId>, ObjectsError> {
    let listed = objects.list(&object_keys::space_renders(space)).await?;
    let mut ids: Vec<RenderId> = listed.iter().filter_map(|meta| meta.key.rsplit('/').next()?.parse().ok()).collect();
    ids.sort();
    Ok(ids)
}

/// Whether the render has been deleted.
pub(crate) async fn is_deleted(objects: &Objects, render: &RenderId) -> Result<bool, ObjectsError> {
    objects.exists(&object_keys::tombstone(render)).await
}

/// How the render ended, if it has.
pub(crate) async fn state(objects: &Objects, render: &RenderId) -> Result<Option<TerminalState>, ObjectsError> {
    if_found(objects.get_json(&keys::state(render)).await)
}

/// The render's request; `None` for one that was never taken in.
pub(crate) async fn request(objects: &Objects, render: &RenderId) -> Result<Option<RenderRequest>, ObjectsError> {
    if_found(objects.get_json(&keys::request(render)).await)
}

/// Who submitted the render, and how; `None` where that is not stored.
pub(crate) async fn intake(objects: &Objects, render: &RenderId) -> Result<Option<Intake>, ObjectsError> {
    if_found(objects.get_json(&object_keys::intake(render)).await)
}

/// The render's plan, if it has one.
pub(crate) async fn plan(objects: &Objects, render: &RenderId) -> Result<Option<Plan>, ObjectsError> {
    if_found(objects.get_wire(&keys::plan(render)).await)
}

/// The plan, if this build can read it. A render whose plan is unreadable is still shown.
pub(crate) async fn readable_plan(objects: &Objects, render: &RenderId) -> Result<Option<Plan>, ObjectsError> {
    match plan(objects, render).await {
        Err(error @ (ObjectsError::Corrupt { .. } | ObjectsError::Version { .. })) => {
            warn!(%render, %error, "the plan of a render could not be read");
            Ok(None)
        }
        read => read,
    }
}

/// The chunks of a plan of which attempts have stored different segments. Those that were drawn again with another start
/// are left out.
pub(crate) async fn chunks_that_differ(objects: &Objects, plan: &Plan) -> Result<BTreeSet<u32>, ObjectsError> {
    let listed = objects.list(&keys::segments_prefix(&plan.render)).await?;
    let mut hashes: BTreeMap<u32, &str> = BTreeMap::new();
    let mut different = BTreeSet::new();
    for meta in &listed {
        let Some((chunk, _)) = keys::parse_segment(&meta.key) else { continue };
        if plan.starts.contains_key(&chunk) {
            continue;
        }
        // The end of the key is the hash of the segment.
        let Some((_, hash)) = meta.key.rsplit_once('-') else { continue };
        if *hashes.entry(chunk).or_insert(hash) != hash {
            different.insert(chunk);
        }
    }
    Ok(different)
}

/// Everything that storage has of a render for the registry.
#[derive(Debug)]
pub(crate) struct StoredRender {
    pub(crate) request: RenderRequest,
    pub(crate) intake: Intake,
    pub(crate) is_paused: bool,
    /// The plan, once there is one that this build can read.
    pub(crate) plan: Option<Plan>,
    /// The manifest of an ended render whose plan is missing or was written by a farm of another version.
    pub(crate) manifest: Option<Manifest>,
    /// How it ended.
    pub(crate) state: Option<TerminalState>,
}

/// The render; `None` for one that was never taken in or is deleted.
pub(crate) async fn read(objects: &Objects, render: &RenderId) -> Result<Option<StoredRender>, ObjectsError> {
    let mark = object_keys::pause_mark(render);
    let (is_deleted, intake, is_paused, request, state, plan) = futures::try_join!(
        is_deleted(objects, render),
        intake(objects, render),
        objects.exists(&mark),
        request(objects, render),
        state(objects, render),
        readable_plan(objects, render),
    )?;
    let Some(request) = request.filter(|_| !is_deleted) else { return Ok(None) };
    let manifest = match (&plan, &state) {
        // The manifest is JSON, which every version can read.
        (None, Some(_)) => if_found(objects.get_json(&keys::manifest(render)).await)?,
        _ => None,
    };
    Ok(Some(StoredRender { request, intake: intake.unwrap_or_default(), is_paused, plan, manifest, state }))
}

/// Ends a render. Of several terminal states the first stored one counts, and is returned.
pub(crate) async fn end(objects: &Objects, render: &RenderId, outcome: Outcome) -> Result<TerminalState, ObjectsError> {
    let state = TerminalState { ended_at_ms: now_ms(), outcome };
    let key = keys::state(render);
    let json = serde_json::to_vec(&state)
        .map_err(|error| ObjectsError::Corrupt { key: key.clone(), reason: error.to_string() })?;
    match objects.create(&key, Bytes::from(json)).await? {
        Created::Yes => Ok(state),
        Created::Existed => objects.get_json(&key).await,
    }
}

/// Hides a render for good and removes its objects, except those that say that it existed.
pub(crate) async fn delete(objects: &Objects, render: &RenderId) -> Result<(), ObjectsError> {
    let mark = object_keys::tombstone(render);
    objects.create(&mark, Bytes::from_static(b"{}")).await?;
    let kept = [mark, keys::request(render), keys::state(render), object_keys::intake(render)];
    let listed = objects.list(&keys::render_prefix(render)).await?;
    let removed = listed.into_iter().map(|meta| meta.key).filter(|key| !kept.contains(key));
    stream::iter(removed)
        .map(|key| async move { objects.delete(&key).await })
        .buffer_unordered(MAX_CONCURRENT_REQUESTS)
        .try_collect()
        .await
}
