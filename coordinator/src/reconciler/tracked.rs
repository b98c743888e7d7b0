//! The state of one open render in the loop. All of it can be found again in storage and in the ledger.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyperfarm_proto::id::{Pool, RenderId};
use hyperfarm_proto::plan::Plan;
use hyperfarm_proto::task::Step;

use super::error::ReconcileError;
use super::replanning::Replanning;
use crate::clock::now_ms;
use crate::config::SERVER_RETRY;
use crate::progress::{Pace, PlanSummary, RenderProgress, Stage};
use crate::registry::{Backlog, RenderEntry};
use crate::scheduler::{Fleet, RenderTasks, Standing};
use crate::waiting::Waiting;

/// How long a render has not moved before it is told what it waits for.
const WAITING_AFTER: Duration = Duration::from_secs(3);

/// One open render. Its tasks are in the [schedule](crate::scheduler::Schedule).
pub(super) struct Tracked {
    pub(super) entry: RenderEntry,
    pub(super) plan: Option<Arc<Plan>>,
    summary: Option<Arc<PlanSummary>>,
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
    /// Whether its next step follows from what is known. Nothing of it is dispatched otherwise.
    pub(super) is_decided: bool,
    pace: Pace,
    /// Failed checks in a row.
    failed_checks: u32,
    /// Since when the ledger has it as cancelled, and storage as open.
    pub(super) cancelled_since: Option<Instant>,
    planned_at_ms: u64,
    /// The furthest position it has reached, and when it got there.
    furthest: (Position, Instant),
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
            is_restored: is_new,
            is_restoring: false,
            restore_error: None,
            verified_at: now,
            is_verification_requested: false,
            dead_letter_attempts: 0,
            replanning: Replanning::default(),
            is_decided: false,
            pace: Pace::default(),
            failed_checks: 0,
            cancelled_since: None,
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

    /// How it stands. It is checked and dispatched again when its restore has ended.
    pub(super) fn standing(&self) -> Standing {
        Standing {
            priority: self.entry.priority(),
            is_paused: self.entry.is_paused() || !self.is_decided,
            is_held: self.is_restoring && !self.replanning.is_ending(),
        }
    }

    /// Notes that the check succeeded. One that began a restore has not: what counts is how that ends.
    pub(super) fn check_succeeded(&mut self) {
        if !self.is_restoring {
            self.failed_checks = 0;
        }
    }

    /// Notes that the check failed. Another one is due after the answer, a delay of [`SERVER_RETRY`].
    pub(super) fn check_failed(&mut self) -> Duration {
        self.failed_checks += 1;
        SERVER_RETRY.delay_after(self.failed_checks)
    }

    /// Notes that its ledger entry is about to be restored: nothing is decided until it is.
    pub(super) fn restore_begins(&mut self) {
        (self.is_restoring, self.is_restored, self.is_decided) = (true, false, false);
    }

    /// Drops the plan and everything that follows from it.
    pub(super) fn clear_plan(&mut self) {
        (self.plan, self.summary, self.is_decided, self.pace) = (None, None, false, Pace::default());
        self.entry.chunk_results.clear();
    }

    pub(super) fn set_plan(&mut self, plan: Plan) {
        self.planned_at_ms = now_ms();
        self.summary = Some(Arc::new(PlanSummary::from(&plan)));
        self.plan = Some(Arc::new(plan));
    }

    /// Whether chunks are missing that no worker in `fleet`, now or after its quarantine, may render.
    pub(super) fn is_class_missing(&self, tasks: &RenderTasks, fleet: &Fleet) -> bool {
        tasks.is_idle() && tasks.class_id().is_some_and(|class| fleet.lacks_class(self.pool(), class))
    }

    /// Its stage, as of the last decision.
    pub(super) fn stage(&self, tasks: &RenderTasks) -> Stage {
        if self.is_decided { tasks.stage() } else { Stage::Queued }
    }

    /// Time for which its oldest task that is in no queue has been waiting: since its stage began.
    pub(super) fn stage_age(&self, stage: Stage) -> Duration {
        let began_at_ms = match (&self.plan, stage) {
            (_, Stage::Stitch) => return Duration::ZERO,
            (Some(_), _) => self.planned_at_ms,
            (None, _) => self.entry.request.created_at_ms,
        };
        Duration::from_millis(now_ms().saturating_sub(began_at_ms))
    }

    /// Number and age of its waiting tasks, and the pool whose slots they wait for.
    pub(super) fn backlog(&self, tasks: &RenderTasks) -> (Pool, Backlog) {
        let (stage, unclaimed) = (self.stage(tasks), tasks.unclaimed());
        let in_queue = unclaimed.oldest.map(|oldest| oldest.elapsed());
        let in_none = (unclaimed.dispatched < unclaimed.tasks).then(|| self.stage_age(stage));
        let oldest = in_queue.into_iter().chain(in_none).max();
        let pool = if stage == Stage::Stitch { stitch_pool() } else { self.pool().clone() };
        let since_ms = oldest.map(|age| now_ms().saturating_sub(age.as_millis() as u64));
        (pool, Backlog { tasks: unclaimed.tasks.into(), since_ms })
    }

    /// When it last got further than ever before. A pause does not count as standing still.
    pub(super) fn last_moved_at(&self) -> Instant {
        self.furthest.1
    }

    fn update_furthest(&mut self, position: Position) {
        if position > self.furthest.0 || self.entry.is_paused() {
            self.furthest = (position.max(self.furthest.0), Instant::now());
        }
    }

    /// What it waits for, once it has not moved for [`WAITING_AFTER`]; an outage at once.
    fn waiting(&self, stage: Stage, tasks: &RenderTasks, fleet: &Fleet) -> Option<Waiting> {
        if let Some(outage) = tasks.outage() {
            return Some(Waiting::for_server(outage));
        }
        let has_worker = tasks.is_leased() || self.entry.is_paused() || self.last_moved_at().elapsed() < WAITING_AFTER;
        if has_worker { None } else { Waiting::for_slot(stage, self.plan.as_deref(), self.pool(), fleet) }
    }

    /// Publishes its progress to those who watch it.
    pub(super) fn publish_progress(&mut self, tasks: &RenderTasks, fleet: &Fleet) {
        self.entry.set_plan(self.plan.clone());
        let stage = self.stage(tasks);
        self.update_furthest(tasks.position());
        let mut progress = RenderProgress::count(stage, self.plan.as_deref(), self.summary.as_ref(), tasks.captured());
        progress.waiting = self.waiting(stage, tasks, fleet);
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
