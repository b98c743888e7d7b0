//! The judge: it holds what the ledger answers against a model of its own, and notes what must not be.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::FutureExt;
use hyperfarm_backplane::ledger::{Commit, Lease, Renewal};
use hyperfarm_backplane::objects::Objects;
use hyperfarm_proto::failure::FailureCode;
use hyperfarm_proto::id::{RenderId, WorkerId};
use hyperfarm_proto::keys;
use hyperfarm_proto::plan::Plan;
use hyperfarm_proto::record::{AudioRecord, Outcome, OutputRecord, SegmentRecord, TerminalState};
use hyperfarm_proto::task::{Step, TaskId};
use tokio::time::Instant;

pub(crate) struct Judge {
    objects: Objects,
    pub(crate) violations: Vec<String>,
    tasks: BTreeMap<TaskId, Fence>,
    cancelled: BTreeSet<RenderId>,
    /// Leases that this ledger has given, also of renders that it has forgotten.
    given: BTreeSet<(TaskId, u32)>,
    /// Tasks that were ever committed, also in a ledger that was emptied since.
    ever_committed: BTreeSet<TaskId>,
    /// Handlers at work in live processes.
    running: BTreeMap<u64, Running>,
    /// Processes that a fault has met.
    pub(crate) met: BTreeSet<String>,
    counts: BTreeMap<RenderId, usize>,
    last: u64,
    pub(crate) claims: u64,
    pub(crate) commits: u64,
}

/// A task as the ledger must see it.
#[derive(Default)]
struct Fence {
    newest: u32,
    /// The attempts that may renew and commit: the newest one, and one beside it.
    holders: Vec<Holder>,
    /// The attempt beside which another one may begin.
    beside: Option<u32>,
    is_committed: bool,
}

struct Holder {
    attempt: u32,
    worker: WorkerId,
    grant: Option<u64>,
    until: Instant,
}

struct Running {
    process: String,
    lease: Lease,
    /// Whether the ledger still has the lease's task as it was when the lease was given.
    is_known: bool,
}

impl Fence {
    fn holder(&mut self, lease: &Lease) -> Option<&mut Holder> {
        let is_of_grant = |holder: &Holder| holder.grant.zip(lease.grant).is_none_or(|(own, its)| own == its);
        let is_of = |holder: &Holder| holder.attempt == lease.attempt && holder.worker == lease.worker;
        self.holders.iter_mut().find(|holder| is_of(holder) && is_of_grant(holder))
    }

    /// Whether `lease` may renew, fail and commit. An attempt above the fence is one of before the ledger was emptied; it
    /// ends a living lease only by a result.
    fn admits(&mut self, lease: &Lease, has_result: bool) -> bool {
        let is_free = self.holders.iter().all(|holder| holder.until <= Instant::now());
        if lease.attempt > self.newest && (has_result || is_free) {
            self.newest = lease.attempt;
            let (attempt, worker, grant) = (lease.attempt, lease.worker.clone(), lease.grant);
            self.holders = vec![Holder { attempt, worker, grant, until: Instant::now() }];
        }
        // A result is as good from a claim of before.
        let grant = lease.grant.filter(|_| !has_result);
        self.holder(&Lease { grant, ..lease.clone() }).is_some()
    }
}

impl Judge {
    pub(crate) fn new(objects: Objects) -> Self {
        Self {
            objects,
            violations: Vec::new(),
            tasks: BTreeMap::new(),
            cancelled: BTreeSet::new(),
            given: BTreeSet::new(),
            ever_committed: BTreeSet::new(),
            running: BTreeMap::new(),
            met: BTreeSet::new(),
            counts: BTreeMap::new(),
            last: 0,
            claims: 0,
            commits: 0,
        }
    }

    pub(crate) fn violated(&mut self, violation: String) {
        self.violations.push(violation);
    }

    fn check(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.violations.push(otherwise());
        }
    }

    fn is_stored(&self, key: &str) -> bool {
        self.objects.exists(key).now_or_never().is_some_and(|exists| exists.unwrap_or(false))
    }

    pub(crate) fn claimed(&mut self, process: &str, lease: &Lease, ttl: Duration) {
        self.claims += 1;
        self.given.insert((lease.task.clone(), lease.attempt));
        let (now, task) = (Instant::now(), &lease.task);
        let is_cancelled = self.cancelled.contains(&task.render);
        let fence = self.tasks.entry(task.clone()).or_default();
        let alive: Vec<u32> =
            fence.holders.iter().filter(|holder| holder.until > now).map(|holder| holder.attempt).collect();
        let is_free = alive.is_empty() || (alive.len() == 1 && fence.beside == alive.first().copied());
        let (newest, is_committed) = (fence.newest, fence.is_committed);
        fence.holders.retain(|holder| holder.until > now);
        let (attempt, worker, grant) = (lease.attempt, lease.worker.clone(), lease.grant);
        fence.holders.push(Holder { attempt, worker, grant, until: now + ttl });
        (fence.newest, fence.beside) = (lease.attempt, None);
        let by = format!("{process} claimed {task} as attempt {}", lease.attempt);
        self.check(!is_cancelled, || format!("{by} of a cancelled render"));
        self.check(!is_committed, || format!("{by} though it is committed"));
        self.check(lease.attempt > newest, || format!("{by} after attempt {newest}"));
        self.check(is_free, || format!("{by} beside the living lease of attempt {alive:?}"));
        let at_work = |running: &&Running| running.is_known && running.lease.task == *task;
        let others = self.running.values().filter(at_work).filter(|running| !alive.contains(&running.lease.attempt));
        let others: Vec<String> = others
            .map(|other| format!("{by} while {} is still at attempt {}", other.process, other.lease.attempt))
            .collect();
        self.violations.extend(others);
        if task.step == Step::Stitch {
            let plan = self.objects.get_wire::<Plan>(&keys::plan(&task.render)).now_or_never();
            let chunks = plan.and_then(Result::ok).map_or(0, |plan| plan.chunks.len() as u32);
            for chunk in 0..chunks {
                let chunk = TaskId { render: task.render.clone(), step: Step::Chunk(chunk) };
                let is_committed = self.ever_committed.contains(&chunk);
                self.check(is_committed, || format!("{by} before {chunk} was committed"));
            }
        }
    }

    pub(crate) fn renewed(&mut self, lease: &Lease, renewal: Renewal, ttl: Duration) {
        if renewal == Renewal::Unknown && self.given.contains(&(lease.task.clone(), lease.attempt)) {
            // A worker goes on with the task of a render that the ledger does not know.
            let state = self.objects.get_json::<TerminalState>(&keys::state(&lease.task.render)).now_or_never();
            let is_cancelled = state.and_then(Result::ok).is_some_and(|state| match state.outcome {
                Outcome::Failed { failure, .. } => failure.code == FailureCode::Cancelled,
                Outcome::Completed { .. } => false,
            });
            self.check(!is_cancelled, || {
                format!("{} is cancelled, and {} is not told", lease.task.render, lease.worker)
            });
        }
        if renewal != Renewal::Renewed {
            return;
        }
        let is_cancelled = self.cancelled.contains(&lease.task.render);
        let fence = self.tasks.entry(lease.task.clone()).or_default();
        let may = fence.admits(lease, false) && !fence.is_committed && !is_cancelled;
        if let Some(holder) = fence.holder(lease) {
            holder.until = Instant::now() + ttl;
        }
        self.check(may, || format!("{} of {} was renewed as attempt {}", lease.task, lease.worker, lease.attempt));
    }

    pub(crate) fn committed(&mut self, lease: &Lease, commit: Commit, result: &[u8]) {
        let is_cancelled = self.cancelled.contains(&lease.task.render);
        if commit == Commit::Unknown {
            return;
        }
        let fence = self.tasks.entry(lease.task.clone()).or_default();
        let may = fence.admits(lease, true) && !is_cancelled;
        let by = format!("{} of {} as attempt {}", lease.task, lease.worker, lease.attempt);
        let is_committed = fence.is_committed;
        if commit == Commit::Accepted {
            fence.is_committed = true;
            fence.holders.clear();
            self.commits += 1;
            self.ever_committed.insert(lease.task.clone());
            self.check(!is_committed, || format!("{by} was committed twice"));
            self.check(may || is_committed, || format!("{by} was committed behind the fence"));
            self.check_stored(&lease.task, Some(lease.attempt), result);
        } else {
            self.check(!may || is_committed, || {
                format!("{by} holds the lease, and its commit was answered {commit:?}")
            });
        }
    }

    /// What a committed task has left must be in storage.
    fn check_stored(&mut self, task: &TaskId, attempt: Option<u32>, result: &[u8]) {
        let render = &task.render;
        let keys = match task.step {
            Step::Plan => vec![keys::draft(render)],
            Step::Chunk(_) => match serde_json::from_slice::<SegmentRecord>(result) {
                Ok(record) => {
                    let is_of_attempt = attempt.is_none_or(|attempt| attempt == record.attempt);
                    self.check(is_of_attempt, || {
                        format!("{task} was committed with the record of attempt {}", record.attempt)
                    });
                    vec![keys::segment_record(&record.key), record.key]
                }
                Err(error) => return self.violated(format!("{task} was committed without a record: {error}")),
            },
            Step::Audio => match serde_json::from_slice::<AudioRecord>(result) {
                Ok(record) => vec![keys::audio_record(render), record.key],
                Err(error) => return self.violated(format!("{task} was committed without a record: {error}")),
            },
            Step::Stitch => match serde_json::from_slice::<OutputRecord>(result) {
                Ok(record) => vec![keys::manifest(render), record.key],
                Err(error) => return self.violated(format!("{task} was committed without a record: {error}")),
            },
        };
        for key in keys {
            let is_stored = self.is_stored(&key);
            // The plan takes the draft's place.
            let is_stored = is_stored || (task.step == Step::Plan && self.is_stored(&keys::plan(render)));
            self.check(is_stored, || format!("{task} was committed, and {key} is not stored"));
        }
    }

    pub(crate) fn failed(&mut self, lease: &Lease, answer: Commit) {
        if answer == Commit::Accepted {
            let may = self.tasks.entry(lease.task.clone()).or_default().admits(lease, false);
            self.check(may, || format!("{} of {} has failed as attempt {}", lease.task, lease.worker, lease.attempt));
            self.released(lease);
        }
    }

    pub(crate) fn released(&mut self, lease: &Lease) {
        if let Some(holder) = self.tasks.get_mut(&lease.task).and_then(|fence| fence.holder(lease)) {
            holder.until = Instant::now();
        }
    }

    pub(crate) fn speculated(&mut self, task: &TaskId, attempt: u32) {
        self.tasks.entry(task.clone()).or_default().beside = Some(attempt);
    }

    pub(crate) fn restored(&mut self, task: &TaskId, attempt: u32, result: &[u8]) {
        let fence = self.tasks.entry(task.clone()).or_default();
        fence.newest = fence.newest.max(attempt);
        if std::mem::replace(&mut fence.is_committed, true) {
            return;
        }
        fence.holders.clear();
        self.ever_committed.insert(task.clone());
        if task.step != Step::Plan {
            self.check_stored(task, None, result);
        }
    }

    pub(crate) fn reopened(&mut self, task: &TaskId) {
        let fence = self.tasks.entry(task.clone()).or_default();
        *fence = Fence { newest: fence.newest + 1, ..Fence::default() };
        self.ever_committed.remove(task);
    }

    pub(crate) fn cancelled(&mut self, render: &RenderId) {
        self.cancelled.insert(render.clone());
    }

    pub(crate) fn forgotten(&mut self, render: &RenderId) {
        self.cancelled.remove(render);
        self.tasks.retain(|task, _| task.render != *render);
        self.running
            .values_mut()
            .filter(|running| running.lease.task.render == *render)
            .for_each(|running| running.is_known = false);
    }

    pub(crate) fn ledger_emptied(&mut self) {
        self.cancelled.clear();
        self.given.clear();
        self.tasks.clear();
        self.running.values_mut().for_each(|running| running.is_known = false);
    }

    /// A handler begins. Answers a number for [`Self::ends`].
    pub(crate) fn begins(&mut self, process: &str, lease: &Lease) -> u64 {
        self.last += 1;
        // The ledger may have been emptied since the claim.
        let is_known = self.tasks.get_mut(&lease.task).is_some_and(|fence| fence.holder(lease).is_some());
        self.running.insert(self.last, Running { process: process.to_owned(), lease: lease.clone(), is_known });
        self.last
    }

    pub(crate) fn ends(&mut self, number: u64) {
        self.running.remove(&number);
    }

    pub(crate) fn died(&mut self, process: &str) {
        self.met.insert(process.to_owned());
        self.running.retain(|_, running| running.process != process);
    }

    /// Counts a commit, for [`Plant::Counter`](crate::plants::Plant::Counter).
    pub(crate) fn count(&mut self, task: &TaskId) {
        if task.step.chunk().is_some() {
            *self.counts.entry(task.render.clone()).or_default() += 1;
        }
    }

    pub(crate) fn counted(&self, render: &RenderId) -> usize {
        self.counts.get(render).copied().unwrap_or(0)
    }
}
