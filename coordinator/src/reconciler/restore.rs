//! Restores a render's ledger entry from object storage.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use hyperfarm_backplane::Backplane;
use hyperfarm_backplane::ledger::RenderView;
use hyperfarm_backplane::objects::{Objects, ObjectsError};
use hyperfarm_proto::frame::FrameRange;
use hyperfarm_proto::id::{ContentHash, RenderId};
use hyperfarm_proto::keys;
use hyperfarm_proto::plan::Plan;
use hyperfarm_proto::record::{AudioRecord, Manifest, SegmentRecord};
use hyperfarm_proto::task::{Step, TaskId};
use tracing::{debug, warn};

use super::error::ReconcileError;
use crate::object_keys;
use crate::store::{self, MAX_CONCURRENT_REQUESTS, if_found};

/// What the coordinator and the ledger know of a render.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    /// Whether the coordinator has the plan.
    is_planned: bool,
    is_paused: bool,
    committed: BTreeSet<Step>,
}

impl Known {
    /// What `view` shows, and whether the coordinator has the plan.
    pub(super) fn of(view: &RenderView, is_planned: bool) -> Self {
        let committed = view.tasks.iter().filter(|(_, task)| task.committed.is_some()).map(|(step, _)| *step);
        Self { is_planned, is_paused: view.paused, committed: committed.collect() }
    }
}

/// The keys of the objects that storage has of a render.
#[derive(Debug)]
pub(super) struct Listed(BTreeSet<String>);

impl Listed {
    /// Lists them.
    ///
    /// # Errors
    ///
    /// Storage did not answer.
    pub(super) async fn read(objects: &Objects, render: &RenderId) -> Result<Self, ObjectsError> {
        let listed = objects.list(&keys::render_prefix(render)).await?;
        Ok(Self(listed.into_iter().map(|meta| meta.key).collect()))
    }

    /// Whether storage has this key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.0.contains(key)
    }
}

/// Opens the render in the ledger and puts back every commit that storage shows and the ledger lacks: see [`restore_from`].
///
/// # Errors
///
/// Ledger or storage did not answer, or a record of storage cannot be read.
pub(super) async fn restore(
    backplane: &Backplane,
    render: &RenderId,
    known: &Known,
) -> Result<(Option<Plan>, usize), ReconcileError> {
    backplane.ledger.open(render).await?;
    let listed = Listed::read(&backplane.objects, render).await?;
    restore_from(backplane, render, known, &listed).await
}

/// Puts back into the ledger, in which the render is open, every commit that storage shows and the ledger lacks. Answers the number of
/// them, and the plan, if storage has one and it was needed: because it is not known, or because a commit of a chunk or of the sound is
/// missing.
///
/// Of several segments of a chunk the one of the lowest attempt counts: all attempts give equal bytes, and every coordinator chooses the
/// same one. The fence is put back at the highest attempt in storage, so that it never decreases.
///
/// # Errors
///
/// Ledger or storage did not answer, or a record of storage cannot be read.
pub(super) async fn restore_from(
    backplane: &Backplane,
    render: &RenderId,
    known: &Known,
    listed: &Listed,
) -> Result<(Option<Plan>, usize), ReconcileError> {
    let objects = &backplane.objects;
    let pause_mark = object_keys::pause_mark(render);
    // Asked for again: it may have been paused or resumed since the list was made.
    if listed.has(&pause_mark) != known.is_paused {
        backplane.ledger.set_paused(render, objects.exists(&pause_mark).await?).await?;
    }
    let is_missing = |step: &Step| !known.committed.contains(step);
    let missing_chunks: Vec<_> =
        segments(&listed.0).into_iter().filter(|(chunk, _)| is_missing(&Step::Chunk(*chunk))).collect();
    let audio = keys::audio_record(render);
    let is_audio_missing = listed.has(&audio) && is_missing(&Step::Audio);

    let mut found: Vec<(Step, u32, Bytes)> = Vec::new();
    let is_plan_needed = !known.is_planned || !missing_chunks.is_empty() || is_audio_missing;
    let plan =
        if is_plan_needed && listed.has(&keys::plan(render)) { store::plan(objects, render).await? } else { None };
    if is_missing(&Step::Plan) && (plan.is_some() || listed.has(&keys::draft(render))) {
        found.push((Step::Plan, 1, Bytes::new()));
    }
    let plan_hash = plan.as_ref().map(|plan| plan.content.hash()).transpose()?;
    if let (Some(plan), Some(hash)) = (&plan, &plan_hash) {
        let records =
            missing_chunks.into_iter().filter_map(|(chunk, attempts)| Some((chunk, attempts, plan.chunk(chunk)?)));
        let reads = records.map(|(chunk, attempts, range)| async move {
            let highest = attempts.keys().next_back().copied().unwrap_or(1);
            let record = first_valid_record(objects, plan, chunk, range, hash, attempts).await?;
            Ok::<_, ReconcileError>(record.map(|record| (Step::Chunk(chunk), highest, record)))
        });
        let mut reads = std::pin::pin!(stream::iter(reads).buffer_unordered(MAX_CONCURRENT_REQUESTS));
        while let Some(read) = reads.next().await {
            found.extend(read?);
        }
    }
    if is_audio_missing && let Some(record) = if_found(objects.get(&audio).await)? {
        match serde_json::from_slice::<AudioRecord>(&record) {
            Ok(audio) if audio.plan.is_some() && audio.plan != plan_hash => {
                debug!(%render, "the sound was mixed for another plan, it is mixed again");
            }
            Ok(_) => found.push((Step::Audio, 1, record)),
            Err(error) => warn!(%render, %error, "the record of the sound could not be read, the sound is mixed again"),
        }
    }
    let manifest = keys::manifest(render);
    if listed.has(&manifest)
        && is_missing(&Step::Stitch)
        && let Some(manifest) = if_found(objects.get_json::<Manifest>(&manifest).await)?
    {
        found.push((Step::Stitch, 1, Bytes::from(serde_json::to_vec(&manifest.output)?)));
    }

    let restored = found.len();
    let restores = found.into_iter().map(|(step, attempt, record)| async move {
        let task = TaskId { render: render.clone(), step };
        debug!(%render, step = step.kind(), chunk = step.chunk(), attempt, "a commit was put back from storage");
        backplane.ledger.restore(&task, attempt, &record).await
    });
    stream::iter(restores).buffer_unordered(MAX_CONCURRENT_REQUESTS).try_collect::<()>().await?;
    Ok((plan, restored))
}

/// What [`rebuild_ledger`] has put back for a render.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RebuiltRender {
    /// Number of commits.
    pub commits: usize,
    /// Whether it is planned.
    pub is_planned: bool,
}

/// Replaces the ledger's entry of every open render with what object storage has of it, and answers these renders, each
/// with what was put back, or with the reason why not all was: ledger or storage did not answer, or a record cannot be
/// read. The farm may run meanwhile: an attempt under way goes on with the next renewal of its lease.
///
/// # Errors
///
/// The open renders cannot be listed.
pub async fn rebuild_ledger(
    backplane: &Backplane,
) -> Result<Vec<(RenderId, Result<RebuiltRender, ReconcileError>)>, ReconcileError> {
    let open = store::open_renders(&backplane.objects).await?;
    let rebuilds = open.into_iter().map(|render| async move {
        let rebuilt = rebuild(backplane, &render).await.transpose()?;
        Some((render, rebuilt))
    });
    let rebuilt: Vec<_> = stream::iter(rebuilds).buffered(MAX_CONCURRENT_REQUESTS).collect().await;
    Ok(rebuilt.into_iter().flatten().collect())
}

/// `None` for a render that has ended: its mark outlives it for a moment.
async fn rebuild(backplane: &Backplane, render: &RenderId) -> Result<Option<RebuiltRender>, ReconcileError> {
    if store::state(&backplane.objects, render).await?.is_some() {
        return Ok(None);
    }
    backplane.ledger.forget(render).await?;
    let (plan, commits) = restore(backplane, render, &Known::default()).await?;
    Ok(Some(RebuiltRender { commits, is_planned: plan.is_some() }))
}

/// The record of a segment of each chunk of `plan` that has a valid one in storage.
///
/// # Errors
///
/// Storage did not answer.
pub(super) async fn valid_segments(objects: &Objects, plan: &Plan) -> Result<Vec<SegmentRecord>, ReconcileError> {
    let hash = &plan.content.hash()?;
    let listed = objects.list(&keys::segments_prefix(&plan.render)).await?;
    let listed = listed.into_iter().map(|meta| meta.key).collect();
    let chunks =
        segments(&listed).into_iter().filter_map(|(chunk, attempts)| Some((chunk, attempts, plan.chunk(chunk)?)));
    let reads = chunks.map(|(chunk, attempts, range)| first_valid_record(objects, plan, chunk, range, hash, attempts));
    let read: Vec<Option<Bytes>> = stream::iter(reads).buffer_unordered(MAX_CONCURRENT_REQUESTS).try_collect().await?;
    Ok(read.into_iter().flatten().map(|bytes| serde_json::from_slice(&bytes)).collect::<Result<_, _>>()?)
}

/// Segment keys by chunk and attempt.
fn segments(listed: &BTreeSet<String>) -> BTreeMap<u32, BTreeMap<u32, String>> {
    let mut segments: BTreeMap<u32, BTreeMap<u32, String>> = BTreeMap::new();
    for key in listed {
        if let Some((chunk, attempt)) = keys::parse_segment(key) {
            segments.entry(chunk).or_default().insert(attempt, key.clone());
        }
    }
    segments
}

/// The record of the lowest attempt whose record is that of its segment and of this plan, with its start of the chunk.
async fn first_valid_record(
    objects: &Objects,
    plan: &Plan,
    chunk: u32,
    range: FrameRange,
    plan_hash: &ContentHash,
    attempts: BTreeMap<u32, String>,
) -> Result<Option<Bytes>, ReconcileError> {
    for key in attempts.values() {
        let Some(bytes) = if_found(objects.get(&keys::segment_record(key)).await)? else { continue };
        match serde_json::from_slice::<SegmentRecord>(&bytes) {
            Ok(record)
                if record.chunk == chunk
                    && record.frames == range
                    && record.key == *key
                    && record.start == plan.start(chunk)
                    && record.plan.as_ref().is_none_or(|hash| hash == plan_hash) =>
            {
                return Ok(Some(bytes));
            }
            Ok(_) => warn!(key, "the record of a segment is of another segment, plan or start, the segment is ignored"),
            Err(error) => warn!(key, %error, "the record of a segment could not be read, the segment is ignored"),
        }
    }
    Ok(None)
}
