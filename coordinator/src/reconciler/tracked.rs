//! The state of one open render in the loop. All of it can be found again in storage and in the ledger.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyperfarm_backplane::ledger::RenderView;
use hyperfarm_proto::id::{Pool, RenderId};
use hyperfarm_proto::plan::Plan;
use hyperfarm_proto::task::Step;

use super::error::ReconcileError;
use super::replanning::Replanning;
use crate::clock::now_ms;
use crate::config::SERVER_RETRY;
use crate::progress::{Pace, PlanSummary, RenderProgress, Stage};
use crate::registry::{Backlog, RenderEntry};
use crate::scheduler::{DispatchLog, Fleet, NextStep, PlanOutline, RenderFacts, SchedulePolicy, next_step};
use crate::waiting::Waiting;

/// How long a render has not moved before it is told what it waits for.
const WAITING_AFTER: Duration = Duration::from_secs(3);

/// How long after the end of a lease, or after a chunk becomes a straggler, its render is checked: the ledger's clock may
/// be behind.
const LEASE_MARGIN: Duration = Duration::from_millis(20);

/// One open render.
pub(super) struct Tracked {
    pub(super) entry: RenderEntry,
    pub(super) plan: Option<Arc<Plan>>,
    summary: Option<Arc<PlanSummary>>,
    outline: Option<PlanOutline>,
    /// The ledger's view of it, as of the last check.
    pub(super) view: Arc<RenderView>,
    /// The ledger's revision of `view`, if it was read with one.
    revision: Option<u64>,
    pub(super) dispatch_log: DispatchLog,
    /// Whether the ledger is known to agree with storage about it. A render that was just submitted has nothing to restore.
    pub(super) is_restored: bool,
    /// Whether its ledger entry is being restored. It is neither checked nor dispatched meanwhile.
    pub(super) is_restoring: bool,
    /// Why the last restore failed, until the next check.
    pub(super) restore_error: Option<ReconcileError>,
    /// When ledger and storage were compared last.
    pub(super) verified_at: Instant,
    /// Whether the comparison is wanted at the next tick, because the API has changed the render in storage.
    pub(super) is_verification_requested: bool,
    /// Number of times its failure could not be sent to the dead letters.
    pub(super) dead_letter_attempts: u32,
    pub(super) replanning: Replanning,
    /// Whether the seams between its chunks were compared, and no chunk has to be drawn again.
    pub(super) are_seams_proved: bool,
    next_step: Option<NextStep>,
    pace: Pace,
    /// Failed checks in a row.
    failed_checks: u32,
    is_check_requested: bool,
    /// Since when the ledger has it as cancelled, and storage as open.
    pub(super) cancelled_since: Option<Instant>,
    /// No check before this time.
    not_before: Instant,
    /// When the first of its leases ends unless it is renewed: a check is due then.
    lease_ends_at: Option<Instant>,
    /// When the next of its running chunks is a straggler: a check is due then.
    straggler_at: Option<Instant>,
    planned_at_ms: u64,
    /// The furthest position it has reached, and when it got there.
    furthest: (Position, Instant),
}

/// A render as it was read from the ledger.
pub(super) struct LedgerRead {
    pub(super) view: Arc<RenderView>,
    pub(super) revision: Option<u64>,
}

impl From<RenderView> for LedgerRead {
    fn from(view: RenderView) -> Self {
        Self { view: Arc::new(view), revision: None }
    }
}

/// A task that no worker has claimed.
pub(super) struct WaitingTask {
    pub(super) step: Step,
    /// Time since it was dispatched first, or since its stage began if it was not.
    pub(super) age: Duration,
    /// Whether it is in its queue. Otherwise the window had no room for it.
    pub(super) is_dispatched: bool,
}

/// How far a render is: its stage, number of commits, and units of work done. An attempt that begins again does not move it back.
type Position = (Stage, usize, u64);

impl Tracked {
    pub(super) fn new(entry: RenderEntry, is_new: bool) -> Self {
        let now = Instant::now();
        Self {
            entry,
            plan: None,
            summary: None,
            outline: None,
            view: Arc::default(),
            revision: None,
            dispatch_log: DispatchLog::default(),
            is_restored: is_new,
            is_restoring: false,
            restore_error: None,
            verified_at: now,
            is_verification_requested: false,
            dead_letter_attempts: 0,
            replanning: Replanning::default(),
            are_seams_proved: false,
            next_step: None,
            pace: Pace::default(),
            failed_checks: 0,
            is_check_requested: true,
            cancelled_since: None,
            not_before: now,
            lease_ends_at: None,
            straggler_at: None,
            planned_at_ms: 0,
            furthest: ((Stage::Queued, 0, 0), now),
        }
    }

    pub(super) fn id(&self) -> &RenderId {
        &self.entry.request.id
    }

    pub(super) fn pool(&self) -> &Pool {
        &self.entry.request.spec.pool
    }

    /// Asks for a check as soon as the pause after the last one is over.
    pub(super) fn request_check(&mut self) {
        self.is_check_requested = true;
    }

    /// When it is due for a check; `None` while no check is requested, no lease ends and no chunk becomes a straggler.
    pub(super) fn next_check_at(&self) -> Option<Instant> {
        let requested = self.is_check_requested.then_some(self.not_before);
        let timed = [self.lease_ends_at, self.straggler_at].into_iter().flatten().map(|at| at.max(self.not_before));
        requested.into_iter().chain(timed).min()
    }

    /// Notes that a check begins. The next one begins after `pause` at the earliest.
    pub(super) fn check_begins(&mut self, pause: Duration) {
        (self.is_check_requested, self.lease_ends_at, self.straggler_at) = (false, None, None);
        self.not_before = Instant::now() + pause;
    }

    /// Notes that the check succeeded. One that began a restore has not: what counts is how that ends.
    pub(super) fn check_succeeded(&mut self) {
        if !self.is_restoring {
            self.failed_checks = 0;
        }
    }

    /// Notes that the check failed, and requests another one after a delay of [`SERVER_RETRY`].
    pub(super) fn check_failed(&mut self) {
        self.failed_checks += 1;
        self.is_check_requested = true;
        self.not_before = Instant::now() + SERVER_RETRY.delay_after(self.failed_checks);
    }

    /// Notes that its ledger entry is about to be restored: nothing is decided until it is.
    pub(super) fn restore_begins(&mut self) {
        (self.is_restoring, self.is_restored, self.next_step) = (true, false, None);
    }

    /// Takes over the ledger's view of it.
    pub(super) fn set_view(&mut self, read: LedgerRead) {
        self.entry.set_paused(read.view.paused);
        (self.view, self.revision) = (read.view, read.revision);
        let leases = self.view.tasks.values().filter_map(|task| task.lease.as_ref());
        self.lease_ends_at = leases.map(|(_, left)| *left).min().map(|left| Instant::now() + left + LEASE_MARGIN);
    }

    /// The revision of its view, if that is still the ledger's where the ledger says so: a lease may end without a
    /// write.
    pub(super) fn known_revision(&self) -> Option<u64> {
        self.revision.filter(|_| self.view.tasks.values().all(|task| task.lease.is_none()))
    }

    /// Its view, which the ledger says is unchanged.
    pub(super) fn unchanged(&self) -> LedgerRead {
        LedgerRead { view: self.view.clone(), revision: self.revision }
    }

    /// Drops the plan and everything that follows from it.
    pub(super) fn clear_plan(&mut self) {
        (self.plan, self.summary, self.outline, self.next_step) = (None, None, None, None);
        self.are_seams_proved = false;
        (self.view, self.revision, self.pace) = (Arc::default(), None, Pace::default());
        self.dispatch_log.clear();
        self.entry.chunk_results.clear();
    }

    pub(super) fn set_plan(&mut self, plan: Plan) {
        self.planned_at_ms = now_ms();
        self.summary = Some(Arc::new(PlanSummary::from(&plan)));
        self.outline = Some(PlanOutline::from(&plan));
        self.plan = Some(Arc::new(plan));
    }

    /// Whether chunks are missing that no worker in `fleet`, now or after its quarantine, may render.
    pub(super) fn is_class_missing(&self, fleet: &Fleet) -> bool {
        let (Some(plan), Some(outline)) = (&self.plan, &self.outline) else { return false };
        let is_missing =
            |chunk: u32| self.view.tasks.get(&Step::Chunk(chunk)).is_none_or(|task| task.committed.is_none());
        let is_leased = self.view.tasks.values().any(|task| task.lease.is_some());
        !is_leased && fleet.lacks_class(self.pool(), &outline.class_id) && (0..plan.chunks.len() as u32).any(is_missing)
    }

    /// Decides its next step from what is known now.
    pub(super) fn decide(&mut self, policy: &SchedulePolicy) -> &NextStep {
        let facts = RenderFacts {
            spec: &self.entry.request.spec,
            plan: self.outline.as_ref(),
            view: &self.view,
            dispatch_log: &self.dispatch_log,
            are_seams_proved: self.are_seams_proved,
        };
        let now = Instant::now();
        let next = self.next_step.insert(next_step(&facts, now, policy));
        // The ages are of the moment when the view was read; it is read again then.
        self.straggler_at = next.stragglers.next_in.map(|left| now + left + LEASE_MARGIN);
        next
    }

    /// The last decision.
    pub(super) fn next_step(&self) -> Option<&NextStep> {
        self.next_step.as_ref()
    }

    /// Its stage, as of the last decision.
    pub(super) fn stage(&self) -> Stage {
        self.next_step.as_ref().map_or(Stage::Queued, |next| next.stage)
    }

    /// The tasks of its stage that no worker has claimed.
    pub(super) fn waiting_tasks(&self) -> Vec<WaitingTask> {
        let (steps, stage_began_at_ms) = match (&self.plan, self.stage()) {
            (_, Stage::Stitch) => (vec![Step::Stitch], now_ms()),
            (Some(plan), _) => {
                let audio = plan.has_audio().then_some(Step::Audio);
                (audio.into_iter().chain((0..plan.chunks.len() as u32).map(Step::Chunk)).collect(), self.planned_at_ms)
            }
            (None, _) => (vec![Step::Plan], self.entry.request.created_at_ms),
        };
        let since_stage_began = Duration::from_millis(now_ms().saturating_sub(stage_began_at_ms));
        let waiting = steps.into_iter().filter_map(|step| {
            let task = self.view.tasks.get(&step);
            if task.is_some_and(|task| task.committed.is_some() || task.lease.is_some()) {
                return None;
            }
            let dispatch = self.dispatch_log.unclaimed(step, task);
            let age = dispatch.map_or(since_stage_began, |dispatch| dispatch.first_at.elapsed());
            Some(WaitingTask { step, age, is_dispatched: dispatch.is_some() })
        });
        waiting.collect()
    }

    /// Number and age of its waiting tasks, and the pool whose slots they wait for.
    pub(super) fn backlog(&self) -> (Pool, Backlog) {
        let waiting = self.waiting_tasks();
        let oldest = waiting.iter().map(|task| task.age.as_millis() as u64).max();
        let pool = if self.stage() == Stage::Stitch { stitch_pool() } else { self.pool().clone() };
        let since_ms = oldest.map(|age| now_ms().saturating_sub(age));
        (pool, Backlog { tasks: waiting.len() as u64, since_ms })
    }

    /// When it last got further than ever before. A pause does not count as standing still.
    pub(super) fn last_moved_at(&self) -> Instant {
        self.furthest.1
    }

    fn update_furthest(&mut self, stage: Stage) {
        let tasks = self.view.tasks.values();
        let committed = tasks.clone().filter(|task| task.committed.is_some()).count();
        let position: Position = (stage, committed, tasks.map(|task| task.progress.done).sum());
        if position > self.furthest.0 || self.entry.is_paused() {
            self.furthest = (position.max(self.furthest.0), Instant::now());
        }
    }

    /// What it waits for, once it has not moved for [`WAITING_AFTER`]; an outage at once.
    fn waiting(&self, stage: Stage, fleet: &Fleet) -> Option<Waiting> {
        let slot = || Waiting::for_slot(stage, self.plan.as_deref(), &self.view, self.pool(), fleet);
        let is_idle = !self.entry.is_paused() && self.last_moved_at().elapsed() >= WAITING_AFTER;
        Waiting::for_server(&self.view).or_else(|| is_idle.then(slot)?)
    }

    /// Publishes its progress to those who watch it.
    pub(super) fn publish_progress(&mut self, fleet: &Fleet) {
        self.entry.set_snapshot(self.plan.clone(), self.view.clone());
        let stage = self.stage();
        self.update_furthest(stage);
        let mut progress = RenderProgress::count(stage, self.plan.as_deref(), self.summary.as_ref(), &self.view);
        progress.waiting = self.waiting(stage, fleet);
        if let Some(plan) = self.plan.as_deref().filter(|_| stage == Stage::Capture) {
            let slots = fleet.slots(self.pool()).max(1);
            let frame_ms = plan.frame_cost_ms.clamp(0.0, 600_000.0) / f64::from(slots);
            let first_guess = Duration::from_secs_f64(frame_ms / 1000.0);
            progress.eta = self.pace.eta(Instant::now(), progress.frames_done, progress.frames_total, first_guess);
        }
        self.entry.progress.send_if_modified(|current| {
            let differs = current.end.is_none() && *current != progress;
            if differs {
                *current = progress;
            }
            differs
        });
    }
}

/// The name under which stitchers are listed beside the pools of workers.
fn stitch_pool() -> Pool {
    Pool::try_from(Step::Stitch.kind().to_owned()).unwrap_or_default()
}
