//! The timeline of a render: every attempt at every task, with its worker, its times and its outcome.
//!
//! The timeline of an open render is made from the ledger's view. It is stored as `timeline.json` before the render's end, because the
//! ledger entry is removed afterwards. For a render without that file, of an older farm, it is made from the manifest and the failures in
//! the terminal state.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

pub(crate) use hyperfarm_api::render::AttemptOutcome;
use hyperfarm_backplane::ledger::{AttemptEnd, RenderView, TaskView};
use hyperfarm_backplane::objects::{Objects, ObjectsError};
use hyperfarm_proto::failure::{FailedAttempt, Failure};
use hyperfarm_proto::id::RenderId;
use hyperfarm_proto::keys;
use hyperfarm_proto::plan::{Plan, Warning};
use hyperfarm_proto::record::{
    AudioRecord, CapturePath, ChunkTimings, Manifest, Outcome, OutputRecord, SegmentRecord, TerminalState,
};
use hyperfarm_proto::task::Step;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::object_keys;
use crate::store::if_found;

/// The segment of a committed chunk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Segment {
    /// Object key.
    pub(crate) key: String,
    /// Length in bytes.
    pub(crate) bytes: u64,
    /// How the frames were read.
    pub(crate) path: CapturePath,
    /// Milliseconds from the first seek to the end of the encoder.
    pub(crate) capture_ms: f64,
    /// Object key of the still of the first frame.
    pub(crate) thumbnail: Option<String>,
}

/// One attempt at a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Attempt {
    /// The step of the task.
    pub(crate) step: Step,
    /// Number of the attempt, from 1.
    pub(crate) attempt: u32,
    /// Id of the slot that claimed the task.
    pub(crate) worker: String,
    /// Unix milliseconds of the claim.
    pub(crate) started_at_ms: u64,
    /// Unix milliseconds of its end, once it has ended and where that is known.
    pub(crate) ended_at_ms: Option<u64>,
    /// How it ended.
    pub(crate) outcome: AttemptOutcome,
    /// Why it failed.
    pub(crate) failure: Option<Failure>,
    /// Number of captured frames.
    pub(crate) frames: u64,
    /// The segment, of a committed chunk.
    #[serde(rename = "made")]
    pub(crate) segment: Option<Arc<Segment>>,
}

impl Attempt {
    /// Seconds from claim to end.
    pub(crate) fn seconds(&self) -> Option<f64> {
        Some(self.ended_at_ms?.saturating_sub(self.started_at_ms) as f64 / 1000.0)
    }

    /// Milliseconds for each frame, of a committed chunk.
    pub(crate) fn ms_per_frame(&self) -> Option<f64> {
        let segment = self.segment.as_ref().filter(|_| self.frames > 0)?;
        Some(segment.capture_ms / self.frames as f64)
    }

    /// Id of the node, and number of the slot where the slot's id has one.
    pub(crate) fn node_and_slot(&self) -> (&str, Option<u32>) {
        match self.worker.rsplit_once("-s") {
            Some((node, slot)) if slot.parse::<u32>().is_ok() => (node, slot.parse().ok()),
            _ => (&self.worker, None),
        }
    }
}

/// All attempts at the tasks of a render, in the order in which they began.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Timeline {
    /// The attempts.
    pub(crate) attempts: Vec<Attempt>,
    /// What was noticed about them at the end of the render.
    #[serde(default)]
    pub(crate) warnings: Vec<Warning>,
}

/// The fields of a [`SegmentRecord`] that a timeline needs. Its thousands of frame hashes are skipped.
#[derive(Debug, Deserialize)]
struct SegmentFields {
    attempt: u32,
    worker: String,
    key: String,
    bytes: u64,
    path: CapturePath,
    timings: ChunkTimings,
    #[serde(default)]
    thumbnail: Option<String>,
}

impl SegmentFields {
    fn into_result(self) -> ChunkResult {
        let t = self.timings;
        let segment = Segment {
            key: self.key,
            bytes: self.bytes,
            path: self.path,
            capture_ms: t.capture_ms,
            thumbnail: self.thumbnail,
        };
        let began_at_ms = t.begun_at_ms as u64;
        let ended_at_ms = (t.begun_at_ms + t.total_ms()) as u64;
        ChunkResult { attempt: self.attempt, worker: self.worker, began_at_ms, ended_at_ms, segment: Arc::new(segment) }
    }
}

/// The committed result of a chunk.
#[derive(Debug)]
struct ChunkResult {
    attempt: u32,
    worker: String,
    began_at_ms: u64,
    ended_at_ms: u64,
    segment: Arc<Segment>,
}

/// A cache of the decoded results of a render's chunks. A committed result does not change. `None` for one that cannot be decoded.
#[derive(Debug, Default)]
pub(crate) struct ChunkResults(Mutex<HashMap<u32, Option<Arc<ChunkResult>>>>);

impl ChunkResults {
    /// Removes all of them, because the render is planned again.
    pub(crate) fn clear(&self) {
        self.0.lock().clear();
    }

    fn of_chunk(&self, chunk: u32, bytes: &[u8]) -> Option<Arc<ChunkResult>> {
        let mut results = self.0.lock();
        let decode =
            || serde_json::from_slice::<SegmentFields>(bytes).ok().map(|fields| Arc::new(fields.into_result()));
        results.entry(chunk).or_insert_with(decode).clone()
    }
}

impl Timeline {
    /// The timeline of an open render, from the ledger's view.
    pub(crate) fn from_ledger(plan: Option<&Plan>, view: &RenderView, results: &ChunkResults) -> Self {
        let mut attempts = Vec::new();
        for (step, task) in &view.tasks {
            let frames = match step {
                Step::Chunk(chunk) => plan.and_then(|plan| plan.chunk(*chunk)).map_or(0, |range| range.count()),
                _ => 0,
            };
            add_attempts(*step, task, frames, results, &mut attempts);
        }
        Self::sorted(attempts)
    }

    fn sorted(mut attempts: Vec<Attempt>) -> Self {
        attempts.sort_by_key(|attempt| (attempt.started_at_ms, attempt.step, attempt.attempt));
        Self { attempts, warnings: Vec::new() }
    }

    /// The same timeline after the render has ended: running attempts are superseded.
    #[must_use]
    pub(crate) fn ended(mut self, at_ms: u64) -> Self {
        for attempt in &mut self.attempts {
            if attempt.outcome == AttemptOutcome::Running {
                (attempt.outcome, attempt.ended_at_ms) = (AttemptOutcome::Superseded, Some(at_ms));
            }
        }
        self
    }

    /// Number of attempts and the committed attempt of each chunk.
    pub(crate) fn chunks(&self) -> BTreeMap<u32, (u32, Option<&Attempt>)> {
        let mut chunks: BTreeMap<u32, (u32, Option<&Attempt>)> = BTreeMap::new();
        for attempt in &self.attempts {
            let Step::Chunk(chunk) = attempt.step else { continue };
            let (count, committed) = chunks.entry(chunk).or_default();
            *count += 1;
            if attempt.outcome == AttemptOutcome::Committed {
                *committed = Some(attempt);
            }
        }
        chunks
    }

    /// The timeline of an ended render without a stored one, from its manifest and its terminal state.
    fn from_manifest(manifest: Option<Manifest>, state: &TerminalState) -> Self {
        let mut attempts = Vec::new();
        if let Outcome::Failed { history, .. } = &state.outcome {
            let failed = history.iter().map(|failed| failed_attempt(Step::Plan, failed, state.ended_at_ms));
            attempts.extend(failed);
        }
        if let Some(manifest) = manifest {
            attempts.extend(manifest.segments.into_iter().map(segment_attempt));
            if let Some(audio) = &manifest.audio {
                attempts.push(committed_attempt(Step::Audio, audio.begun_at_ms, audio.mix_ms));
            }
            attempts.push(committed_attempt(Step::Stitch, manifest.output.begun_at_ms, manifest.output.stitch_ms));
        }
        Self::sorted(attempts)
    }
}

/// Adds the attempts at one task. `frames` is the length of a chunk, 0 for other steps.
fn add_attempts(step: Step, task: &TaskView, frames: u64, results: &ChunkResults, attempts: &mut Vec<Attempt>) {
    let result = match (step, &task.committed) {
        (Step::Chunk(chunk), Some(bytes)) => results.of_chunk(chunk, bytes),
        _ => None,
    };
    let first = attempts.len();
    let decided_at = task.attempts.iter().find_map(|attempt| match attempt.end {
        Some((AttemptEnd::Committed, at)) => Some(at),
        _ => None,
    });
    for (index, seen) in task.attempts.iter().enumerate() {
        let is_running = task.running.iter().any(|running| running.attempt == seen.attempt);
        // The slower of two attempts is released after the other one has committed.
        let is_beaten = |at| decided_at.is_some_and(|decided| at >= decided);
        let failure = task.failures.iter().find(|failed| failed.attempt == seen.attempt);
        let outcome = match seen.end {
            Some((AttemptEnd::Committed, _)) => AttemptOutcome::Committed,
            Some((AttemptEnd::Failed, _)) => AttemptOutcome::Failed,
            Some((AttemptEnd::Released, at)) if is_beaten(at) => AttemptOutcome::Superseded,
            Some((AttemptEnd::Released, _)) => AttemptOutcome::Lost,
            None if is_running => AttemptOutcome::Running,
            None if task.committed.is_some() => AttemptOutcome::Superseded,
            None => AttemptOutcome::Lost,
        };
        let next = || task.attempts.get(index + 1).map(|next| next.claimed_at_ms);
        let is_committed = outcome == AttemptOutcome::Committed;
        attempts.push(Attempt {
            step,
            attempt: seen.attempt,
            worker: seen.worker.to_string(),
            started_at_ms: seen.claimed_at_ms,
            ended_at_ms: seen.end.map(|(_, at)| at).or_else(|| next().filter(|_| outcome != AttemptOutcome::Running)),
            outcome,
            failure: failure.filter(|_| outcome == AttemptOutcome::Failed).map(|failed| failed.failure.clone()),
            frames: match outcome {
                AttemptOutcome::Committed => frames,
                AttemptOutcome::Running if matches!(step, Step::Chunk(_)) => task.progress.done.min(frames),
                _ => 0,
            },
            segment: result.as_ref().filter(|_| is_committed).map(|result| result.segment.clone()),
        });
    }
    // A ledger that was emptied has no attempt for a commit that was put back. It is made from the result.
    let Some(bytes) = &task.committed else { return };
    if attempts.iter().skip(first).any(|attempt| attempt.outcome == AttemptOutcome::Committed) {
        return;
    }
    match (step, result) {
        (Step::Chunk(_), Some(result)) => attempts.push(Attempt {
            step,
            attempt: result.attempt,
            worker: result.worker.clone(),
            started_at_ms: result.began_at_ms,
            ended_at_ms: Some(result.ended_at_ms),
            outcome: AttemptOutcome::Committed,
            failure: None,
            frames,
            segment: Some(result.segment.clone()),
        }),
        (Step::Audio, _) => attempts.extend(
            serde_json::from_slice::<AudioRecord>(bytes)
                .ok()
                .map(|it| committed_attempt(step, it.begun_at_ms, it.mix_ms)),
        ),
        (Step::Stitch, _) => attempts.extend(
            serde_json::from_slice::<OutputRecord>(bytes)
                .ok()
                .map(|it| committed_attempt(step, it.begun_at_ms, it.stitch_ms)),
        ),
        _ => {}
    }
}

fn committed_attempt(step: Step, begun_at_ms: f64, took_ms: f64) -> Attempt {
    Attempt {
        step,
        attempt: 1,
        worker: String::new(),
        started_at_ms: begun_at_ms as u64,
        ended_at_ms: Some((begun_at_ms + took_ms) as u64),
        outcome: AttemptOutcome::Committed,
        failure: None,
        frames: 0,
        segment: None,
    }
}

fn segment_attempt(record: SegmentRecord) -> Attempt {
    let (chunk, frames) = (record.chunk, record.frames.count());
    let SegmentRecord { attempt, worker, key, bytes, path, timings, thumbnail, .. } = record;
    let result = SegmentFields { attempt, worker, key, bytes, path, timings, thumbnail }.into_result();
    Attempt {
        step: Step::Chunk(chunk),
        attempt,
        worker: result.worker,
        started_at_ms: result.began_at_ms,
        ended_at_ms: Some(result.ended_at_ms),
        outcome: AttemptOutcome::Committed,
        failure: None,
        frames,
        segment: Some(result.segment),
    }
}

fn failed_attempt(step: Step, failed: &FailedAttempt, at_ms: u64) -> Attempt {
    Attempt {
        step,
        attempt: failed.attempt,
        worker: failed.worker.clone(),
        started_at_ms: at_ms,
        ended_at_ms: Some(at_ms),
        outcome: AttemptOutcome::Failed,
        failure: Some(failed.failure.clone()),
        frames: 0,
        segment: None,
    }
}

/// Stores the timeline. It is for people only and must not hold up a render's end, so an error is logged and not returned.
pub(crate) async fn write(objects: &Objects, render: &RenderId, timeline: &Timeline) {
    if let Err(error) = objects.put_json(&object_keys::timeline(render), timeline).await {
        warn!(%render, %error, "the timeline of a render could not be stored");
    }
}

/// The timeline of a render that has ended with `state`.
///
/// # Errors
///
/// Storage did not answer, or the manifest cannot be read.
pub(crate) async fn read(
    objects: &Objects,
    render: &RenderId,
    state: &TerminalState,
) -> Result<Timeline, ObjectsError> {
    match if_found(objects.get_json(&object_keys::timeline(render)).await) {
        Ok(Some(timeline)) => return Ok(timeline),
        Ok(None) => {}
        Err(error @ ObjectsError::Corrupt { .. }) => {
            warn!(%render, %error, "the timeline of a render could not be read, it is made from its manifest")
        }
        Err(error) => return Err(error),
    }
    let manifest = if_found(objects.get_json::<Manifest>(&keys::manifest(render)).await)?;
    Ok(Timeline::from_manifest(manifest, state))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hyperfarm_backplane::ledger::{AttemptView, RunningAttempt};
    use hyperfarm_proto::failure::FailureCode;

    use super::*;
    use crate::testing;

    fn seen(attempt: u32, claimed_at_ms: u64, end: Option<(AttemptEnd, u64)>) -> AttemptView {
        AttemptView { attempt, worker: format!("n{attempt}-s1").parse().unwrap(), claimed_at_ms, end }
    }

    #[test]
    fn every_attempt_has_its_outcome_and_end() {
        let failure = Failure::new(FailureCode::ChromeCrashed, "it died");
        let task = TaskView {
            attempt: 4,
            lease: Some(("n4-s1".parse().unwrap(), Duration::from_secs(9))),
            running: vec![RunningAttempt {
                attempt: 4,
                worker: "n4-s1".parse().unwrap(),
                age: Duration::from_secs(1),
                left: Duration::ZERO,
            }],
            failures: vec![FailedAttempt { attempt: 1, worker: "n1-s1".to_owned(), failure: failure.clone() }],
            attempts: vec![
                seen(1, 100, Some((AttemptEnd::Failed, 200))),
                seen(2, 300, None),
                seen(3, 400, Some((AttemptEnd::Released, 450))),
                seen(4, 500, None),
            ],
            ..TaskView::default()
        };
        let view = RenderView { tasks: [(Step::Chunk(0), task)].into(), ..RenderView::default() };
        let timeline = Timeline::from_ledger(Some(&testing::plan(&[10], false)), &view, &ChunkResults::default());
        use AttemptOutcome::{Failed, Lost, Running, Superseded};
        let outcomes: Vec<_> = timeline.attempts.iter().map(|it| (it.outcome, it.ended_at_ms)).collect();
        assert_eq!(outcomes, [(Failed, Some(200)), (Lost, Some(400)), (Lost, Some(450)), (Running, None)]);
        assert_eq!(timeline.attempts[0].failure, Some(failure));
        assert_eq!(timeline.attempts[0].node_and_slot(), ("n1", Some(1)));
        let ended = timeline.ended(900).attempts.pop().unwrap();
        assert_eq!((ended.outcome, ended.ended_at_ms), (Superseded, Some(900)));
    }

    #[test]
    fn the_slower_of_two_attempts_is_superseded() {
        let attempts =
            vec![seen(1, 100, Some((AttemptEnd::Released, 900))), seen(2, 300, Some((AttemptEnd::Committed, 800)))];
        let task = TaskView { attempt: 2, committed: Some(b"{}".to_vec()), attempts, ..TaskView::default() };
        let view = RenderView { tasks: [(Step::Chunk(0), task)].into(), ..RenderView::default() };
        let timeline = Timeline::from_ledger(Some(&testing::plan(&[10], false)), &view, &ChunkResults::default());
        let outcomes: Vec<_> = timeline.attempts.iter().map(|it| (it.outcome, it.ended_at_ms)).collect();
        assert_eq!(outcomes, [(AttemptOutcome::Superseded, Some(900)), (AttemptOutcome::Committed, Some(800))]);
    }

    #[test]
    fn what_the_ledger_has_lost_is_made_from_the_result() {
        let record = serde_json::json!({
            "chunk": 0, "attempt": 3, "frames": [0, 10], "key": "k.mp4", "worker": "n1-s0", "path": "png", "bytes": 1,
            "frame_hashes": ["x"], "timings": { "begun_at_ms": 1000.0, "start_ms": 50.0, "capture_ms": 100.0 },
        });
        let committed = Some(serde_json::to_vec(&record).unwrap());
        let task = TaskView { attempt: 3, committed, ..TaskView::default() };
        let view = RenderView { tasks: [(Step::Chunk(0), task)].into(), ..RenderView::default() };
        let timeline = Timeline::from_ledger(Some(&testing::plan(&[10], false)), &view, &ChunkResults::default());
        let attempt = &timeline.attempts[0];
        assert_eq!((attempt.started_at_ms, attempt.ended_at_ms), (1000, Some(1150)));
        assert_eq!((attempt.ms_per_frame(), attempt.seconds()), (Some(10.0), Some(0.15)));
        assert_eq!(timeline.chunks()[&0].0, 1);
        let json = serde_json::to_vec(&timeline).unwrap();
        assert_eq!(serde_json::from_slice::<Timeline>(&json).unwrap(), timeline);
    }
}
