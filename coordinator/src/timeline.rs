//! What happened to a render: every attempt at every task, with its worker, its times and its end.
//!
//! While the render is under way it is read from what the ledger says. Before the end is stored it is written to `timeline.json`,
//! because the ledger forgets; a render without one (of an older version) is told from its manifest and its last failures.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use hyperfarm_backplane::ledger::{AttemptEnd, RenderView, TaskView};
use hyperfarm_backplane::objects::{Objects, ObjectsError};
use hyperfarm_proto::failure::{FailedAttempt, Failure};
use hyperfarm_proto::id::RenderId;
use hyperfarm_proto::keys;
use hyperfarm_proto::plan::Plan;
use hyperfarm_proto::record::{
    AudioRecord, CapturePath, ChunkTimings, Manifest, Outcome, OutputRecord, SegmentRecord, TerminalState,
};
use hyperfarm_proto::task::Step;
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::store::if_found;

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AttemptOutcome {
    /// It is under way.
    Running,
    /// Its result counts.
    Committed,
    /// It failed.
    Failed,
    /// Another attempt's result counts, or the render ended before it did.
    Superseded,
    /// Its worker vanished, or handed it back.
    Lost,
}

/// What a committed chunk left.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Made {
    /// Object key of the segment.
    pub key: String,
    /// Its length.
    pub bytes: u64,
    /// How its frames were read.
    pub path: CapturePath,
    /// Milliseconds from its first seek to the end of its encoder.
    pub capture_ms: f64,
    /// Object key of the still of its first frame.
    pub thumbnail: Option<String>,
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// The step.
    pub step: Step,
    /// Its number.
    pub attempt: u32,
    /// The slot that claimed it, by id.
    pub worker: String,
    /// Unix milliseconds of the claim.
    pub started_at_ms: u64,
    /// Unix milliseconds of its end, where known.
    pub ended_at_ms: Option<u64>,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// Frames captured.
    pub frames: u64,
    /// What it left, of a committed chunk.
    pub made: Option<Arc<Made>>,
}

impl Attempt {
    /// Seconds it took.
    pub fn seconds(&self) -> Option<f64> {
        Some(self.ended_at_ms?.saturating_sub(self.started_at_ms) as f64 / 1000.0)
    }

    /// Milliseconds a frame, of a committed chunk.
    pub fn ms_per_frame(&self) -> Option<f64> {
        let made = self.made.as_ref().filter(|_| self.frames > 0)?;
        Some(made.capture_ms / self.frames as f64)
    }

    /// Id of the node, and number of the slot where the id tells it.
    pub fn node_and_slot(&self) -> (&str, Option<u32>) {
        match self.worker.rsplit_once("-s") {
            Some((node, slot)) if slot.parse::<u32>().is_ok() => (node, slot.parse().ok()),
            _ => (&self.worker, None),
        }
    }
}

/// All attempts, in the order in which they began.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Timeline {
    /// The attempts.
    pub attempts: Vec<Attempt>,
}

/// The part of a segment's record that is told. The rest, thousands of hashes, is skipped.
#[derive(Debug, Deserialize)]
struct Record {
    attempt: u32,
    worker: String,
    key: String,
    bytes: u64,
    path: CapturePath,
    timings: ChunkTimings,
    #[serde(default)]
    thumbnail: Option<String>,
}

impl Record {
    fn made(self) -> Told {
        let t = self.timings;
        let made = Made {
            key: self.key,
            bytes: self.bytes,
            path: self.path,
            capture_ms: t.capture_ms,
            thumbnail: self.thumbnail,
        };
        let began = t.begun_at_ms as u64;
        let ended = (t.begun_at_ms + t.total_ms()) as u64;
        Told { attempt: self.attempt, worker: self.worker, began, ended, made: Arc::new(made) }
    }
}

/// A record, read.
#[derive(Debug)]
struct Told {
    attempt: u32,
    worker: String,
    began: u64,
    ended: u64,
    made: Arc<Made>,
}

/// Results of chunks, each read once: a committed result does not change.
#[derive(Debug, Default)]
pub struct Records(Mutex<HashMap<u32, Option<Arc<Told>>>>);

impl Records {
    /// Forgets them: the render is planned anew.
    pub fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn of(&self, chunk: u32, bytes: &[u8]) -> Option<Arc<Told>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let read = || serde_json::from_slice::<Record>(bytes).ok().map(|record| Arc::new(record.made()));
        known.entry(chunk).or_insert_with(read).clone()
    }
}

impl Timeline {
    /// What the ledger tells of a render under way.
    pub fn of(plan: Option<&Plan>, view: &RenderView, records: &Records) -> Self {
        let mut attempts = Vec::new();
        for (step, task) in &view.tasks {
            let frames = match step {
                Step::Chunk(chunk) => plan.and_then(|plan| plan.chunk(*chunk)).map_or(0, |range| range.count()),
                _ => 0,
            };
            of_task(*step, task, frames, records, &mut attempts);
        }
        Self::sorted(attempts)
    }

    fn sorted(mut attempts: Vec<Attempt>) -> Self {
        attempts.sort_by_key(|attempt| (attempt.started_at_ms, attempt.step, attempt.attempt));
        Self { attempts }
    }

    /// The same after the render has ended: nothing runs any more.
    #[must_use]
    pub fn ended(mut self, at_ms: u64) -> Self {
        for attempt in &mut self.attempts {
            if attempt.outcome == AttemptOutcome::Running {
                (attempt.outcome, attempt.ended_at_ms) = (AttemptOutcome::Superseded, Some(at_ms));
            }
        }
        self
    }

    /// Number of attempts and the committed one, by chunk.
    pub fn chunks(&self) -> BTreeMap<u32, (u32, Option<&Attempt>)> {
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

    /// What storage tells of a render that ended without its course being written.
    fn of_manifest(manifest: Option<Manifest>, state: &TerminalState) -> Self {
        let mut attempts = Vec::new();
        if let Outcome::Failed { history, .. } = &state.outcome {
            let failed = history.iter().map(|failed| of_failure(Step::Plan, failed, state.ended_at_ms));
            attempts.extend(failed);
        }
        if let Some(manifest) = manifest {
            attempts.extend(manifest.segments.into_iter().map(of_segment));
            if let Some(audio) = &manifest.audio {
                attempts.push(of_time(Step::Audio, audio.begun_at_ms, audio.mix_ms));
            }
            attempts.push(of_time(Step::Stitch, manifest.output.begun_at_ms, manifest.output.stitch_ms));
        }
        Self::sorted(attempts)
    }
}

fn of_task(step: Step, task: &TaskView, frames: u64, records: &Records, attempts: &mut Vec<Attempt>) {
    let told = match (step, &task.committed) {
        (Step::Chunk(chunk), Some(bytes)) => records.of(chunk, bytes),
        _ => None,
    };
    let first = attempts.len();
    for (place, seen) in task.attempts.iter().enumerate() {
        let is_newest = seen.attempt == task.attempt && place + 1 == task.attempts.len();
        let failure = task.failures.iter().find(|failed| failed.attempt == seen.attempt);
        let outcome = match seen.end {
            Some((AttemptEnd::Committed, _)) => AttemptOutcome::Committed,
            Some((AttemptEnd::Failed, _)) => AttemptOutcome::Failed,
            Some((AttemptEnd::Released, _)) => AttemptOutcome::Lost,
            None if is_newest && task.lease.is_some() => AttemptOutcome::Running,
            None if task.committed.is_some() => AttemptOutcome::Superseded,
            None => AttemptOutcome::Lost,
        };
        let next = || task.attempts.get(place + 1).map(|next| next.claimed_at_ms);
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
            made: told.as_ref().filter(|_| is_committed).map(|told| told.made.clone()),
        });
    }
    // The ledger was emptied in between: what it has not seen is told by the result.
    let Some(result) = &task.committed else { return };
    if attempts.iter().skip(first).any(|attempt| attempt.outcome == AttemptOutcome::Committed) {
        return;
    }
    match (step, told) {
        (Step::Chunk(_), Some(told)) => attempts.push(Attempt {
            step,
            attempt: told.attempt,
            worker: told.worker.clone(),
            started_at_ms: told.began,
            ended_at_ms: Some(told.ended),
            outcome: AttemptOutcome::Committed,
            failure: None,
            frames,
            made: Some(told.made.clone()),
        }),
        (Step::Audio, _) => attempts.extend(
            serde_json::from_slice::<AudioRecord>(result).ok().map(|it| of_time(step, it.begun_at_ms, it.mix_ms)),
        ),
        (Step::Stitch, _) => attempts.extend(
            serde_json::from_slice::<OutputRecord>(result).ok().map(|it| of_time(step, it.begun_at_ms, it.stitch_ms)),
        ),
        _ => {}
    }
}

fn of_time(step: Step, begun_at_ms: f64, took_ms: f64) -> Attempt {
    Attempt {
        step,
        attempt: 1,
        worker: String::new(),
        started_at_ms: begun_at_ms as u64,
        ended_at_ms: Some((begun_at_ms + took_ms) as u64),
        outcome: AttemptOutcome::Committed,
        failure: None,
        frames: 0,
        made: None,
    }
}

fn of_segment(record: SegmentRecord) -> Attempt {
    let (chunk, frames) = (record.chunk, record.frames.count());
    let SegmentRecord { attempt, worker, key, bytes, path, timings, thumbnail, .. } = record;
    let told = Record { attempt, worker, key, bytes, path, timings, thumbnail }.made();
    Attempt {
        step: Step::Chunk(chunk),
        attempt,
        worker: told.worker,
        started_at_ms: told.began,
        ended_at_ms: Some(told.ended),
        outcome: AttemptOutcome::Committed,
        failure: None,
        frames,
        made: Some(told.made),
    }
}

fn of_failure(step: Step, failed: &FailedAttempt, at_ms: u64) -> Attempt {
    Attempt {
        step,
        attempt: failed.attempt,
        worker: failed.worker.clone(),
        started_at_ms: at_ms,
        ended_at_ms: Some(at_ms),
        outcome: AttemptOutcome::Failed,
        failure: Some(failed.failure.clone()),
        frames: 0,
        made: None,
    }
}

/// Where the course of an ended render is.
fn place(render: &RenderId) -> String {
    format!("{}/timeline.json", keys::render_prefix(render))
}

/// Stores the course. A picture for people must not hold up a render's end: what goes wrong is logged.
pub async fn write(objects: &Objects, render: &RenderId, course: &Timeline) {
    if let Err(error) = objects.put_json(&place(render), course).await {
        warn!(%render, %error, "what happened to the render cannot be stored");
    }
}

/// The course of a render that has ended with `state`.
pub async fn read(objects: &Objects, render: &RenderId, state: &TerminalState) -> Result<Timeline, ObjectsError> {
    match if_found(objects.get_json(&place(render)).await) {
        Ok(Some(course)) => return Ok(course),
        Ok(None) => {}
        Err(error @ ObjectsError::Corrupt { .. }) => {
            warn!(%render, %error, "what happened to the render cannot be read")
        }
        Err(error) => return Err(error),
    }
    let manifest = if_found(objects.get_json::<Manifest>(&keys::manifest(render)).await)?;
    Ok(Timeline::of_manifest(manifest, state))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hyperfarm_backplane::ledger::AttemptView;
    use hyperfarm_proto::failure::FailureCode;

    use super::*;
    use crate::testing;

    fn seen(attempt: u32, claimed_at_ms: u64, end: Option<(AttemptEnd, u64)>) -> AttemptView {
        AttemptView { attempt, worker: format!("n{attempt}-s1").parse().unwrap(), claimed_at_ms, end }
    }

    #[test]
    fn every_attempt_is_told_with_its_end() {
        let failure = Failure::new(FailureCode::ChromeCrashed, "it died");
        let task = TaskView {
            attempt: 4,
            lease: Some(("n4-s1".parse().unwrap(), Duration::from_secs(9))),
            failures: vec![FailedAttempt { attempt: 1, worker: "n1-s1".to_owned(), failure: failure.clone() }],
            attempts: vec![
                seen(1, 100, Some((AttemptEnd::Failed, 200))),
                seen(2, 300, None),
                seen(3, 400, Some((AttemptEnd::Released, 450))),
                seen(4, 500, None),
            ],
            ..TaskView::default()
        };
        let view = RenderView { cancelled: false, tasks: [(Step::Chunk(0), task)].into() };
        let course = Timeline::of(Some(&testing::plan(&[10], false)), &view, &Records::default());
        use AttemptOutcome::{Failed, Lost, Running, Superseded};
        let told: Vec<_> = course.attempts.iter().map(|it| (it.outcome, it.ended_at_ms)).collect();
        assert_eq!(told, [(Failed, Some(200)), (Lost, Some(400)), (Lost, Some(450)), (Running, None)]);
        assert_eq!(course.attempts[0].failure, Some(failure));
        assert_eq!(course.attempts[0].node_and_slot(), ("n1", Some(1)));
        let ended = course.ended(900).attempts.pop().unwrap();
        assert_eq!((ended.outcome, ended.ended_at_ms), (Superseded, Some(900)));
    }

    #[test]
    fn what_the_ledger_has_forgotten_is_told_by_the_record() {
        let record = serde_json::json!({
            "chunk": 0, "attempt": 3, "frames": [0, 10], "key": "k.mp4", "worker": "n1-s0", "path": "png", "bytes": 1,
            "frame_hashes": ["x"], "timings": { "begun_at_ms": 1000.0, "start_ms": 50.0, "capture_ms": 100.0 },
        });
        let committed = Some(serde_json::to_vec(&record).unwrap());
        let task = TaskView { attempt: 3, committed, ..TaskView::default() };
        let view = RenderView { cancelled: false, tasks: [(Step::Chunk(0), task)].into() };
        let course = Timeline::of(Some(&testing::plan(&[10], false)), &view, &Records::default());
        let attempt = &course.attempts[0];
        assert_eq!((attempt.started_at_ms, attempt.ended_at_ms), (1000, Some(1150)));
        assert_eq!((attempt.ms_per_frame(), attempt.seconds()), (Some(10.0), Some(0.15)));
        assert_eq!(course.chunks()[&0].0, 1);
        let json = serde_json::to_vec(&course).unwrap();
        assert_eq!(serde_json::from_slice::<Timeline>(&json).unwrap(), course);
    }
}
