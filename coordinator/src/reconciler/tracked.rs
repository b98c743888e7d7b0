//! What the loop remembers of one render. All of it can be found again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyperfarm_backplane::ledger::RenderView;
use hyperfarm_proto::id::{Pool, RenderId};
use hyperfarm_proto::plan::Plan;
use hyperfarm_proto::task::Step;

use super::replan::Replanning;
use crate::progress::{Pace, PlanSummary, RenderProgress, Stage};
use crate::registry::{Entry, Waiting};
use crate::scheduler::{Assessment, DispatchLog, Facts, SchedulePolicy, next_step};
use crate::store;

/// One render under way.
pub(super) struct Tracked {
    pub(super) entry: Entry,
    pub(super) plan: Option<Arc<Plan>>,
    summary: Option<Arc<PlanSummary>>,
    pub(super) view: Arc<RenderView>,
    pub(super) book: DispatchLog,
    /// Whether the ledger is known to agree with storage about it. A render that was just taken in has nothing to restore.
    pub(super) is_restored: bool,
    pub(super) verified_at: Instant,
    /// Times its failure could not be sent to the dead letters.
    pub(super) dead_letter_attempts: u32,
    /// Where it is in being planned anew.
    pub(super) replanning: Replanning,
    assessment: Option<Assessment>,
    pace: Pace,
    failures: u32,
    is_wanted: bool,
    not_before: Instant,
    planned_at_ms: u64,
    /// The furthest it was seen, and when it came there.
    furthest: (Furthest, Instant),
}

/// A task that nobody is at.
pub(super) struct Waits {
    pub(super) step: Step,
    /// Since it was dispatched, or else since its stage began.
    pub(super) age: Duration,
    /// Whether it is in its queue: the windows had room for it.
    pub(super) is_sent: bool,
}

/// How far a render is: its stage, commits, and units of work done. Attempts that begin again do not count as movement.
type Furthest = (Stage, usize, u64);

impl Tracked {
    pub(super) fn new(entry: Entry, is_new: bool) -> Self {
        let now = Instant::now();
        Self {
            entry,
            plan: None,
            summary: None,
            view: Arc::default(),
            book: DispatchLog::default(),
            is_restored: is_new,
            verified_at: now,
            dead_letter_attempts: 0,
            replanning: Replanning::default(),
            assessment: None,
            pace: Pace::default(),
            failures: 0,
            is_wanted: true,
            not_before: now,
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

    pub(super) fn wants_a_look(&mut self) {
        self.is_wanted = true;
    }

    /// When it is to be looked at; `None` while nothing asks for it.
    pub(super) fn look_at(&self) -> Option<Instant> {
        self.is_wanted.then_some(self.not_before)
    }

    pub(super) fn looked(&mut self, rest: Duration) {
        self.is_wanted = false;
        self.not_before = Instant::now() + rest;
    }

    /// The look went well.
    pub(super) fn answered(&mut self) {
        self.failures = 0;
    }

    /// The look did not go well: it is repeated after a rest that grows up to ten seconds.
    pub(super) fn failed(&mut self) {
        let rest = Duration::from_millis(250).saturating_mul(1 << self.failures.min(6)).min(Duration::from_secs(10));
        self.failures += 1;
        self.is_wanted = true;
        self.not_before = Instant::now() + rest;
    }

    /// Forgets the plan and everything that followed from it.
    pub(super) fn unplan(&mut self) {
        (self.plan, self.summary, self.assessment) = (None, None, None);
        (self.view, self.pace) = (Arc::default(), Pace::default());
        self.book.clear();
        self.entry.records.clear();
    }

    pub(super) fn set_plan(&mut self, plan: Plan) {
        self.planned_at_ms = store::now_ms();
        self.summary = Some(Arc::new(PlanSummary::from(&plan)));
        self.plan = Some(Arc::new(plan));
    }

    /// Assesses it anew.
    pub(super) fn next_step(&mut self, policy: &SchedulePolicy) -> &Assessment {
        let facts =
            Facts { spec: &self.entry.request.spec, plan: self.plan.as_deref(), view: &self.view, book: &self.book };
        self.assessment.insert(next_step(&facts, Instant::now(), policy))
    }

    /// The last assessment.
    pub(super) fn assessment(&self) -> Option<&Assessment> {
        self.assessment.as_ref()
    }

    /// Where it is, as far as it was assessed.
    pub(super) fn stage(&self) -> Stage {
        self.assessment.as_ref().map_or(Stage::Queued, |assessment| assessment.stage)
    }

    /// Tasks of its stage that nobody is at.
    pub(super) fn waiting(&self) -> Vec<Waits> {
        let (steps, wanted_ms) = match (&self.plan, self.stage()) {
            (_, Stage::Stitch) => (vec![Step::Stitch], store::now_ms()),
            (Some(plan), _) => {
                let audio = plan.has_audio().then_some(Step::Audio);
                (audio.into_iter().chain((0..plan.chunks.len() as u32).map(Step::Chunk)).collect(), self.planned_at_ms)
            }
            (None, _) => (vec![Step::Plan], self.entry.request.created_at_ms),
        };
        let unsent = Duration::from_millis(store::now_ms().saturating_sub(wanted_ms));
        let waits = steps.into_iter().filter_map(|step| {
            let task = self.view.tasks.get(&step);
            if task.is_some_and(|task| task.committed.is_some() || task.lease.is_some()) {
                return None;
            }
            let sent = self.book.unclaimed(step, task);
            Some(Waits { step, age: sent.map_or(unsent, |sent| sent.since.elapsed()), is_sent: sent.is_some() })
        });
        waits.collect()
    }

    /// The same as a number, and the pool whose slots they wait for.
    pub(super) fn backlog(&self) -> (Pool, Waiting) {
        let waiting = self.waiting();
        let oldest = waiting.iter().map(|waits| waits.age.as_millis() as u64).max();
        let pool = if self.stage() == Stage::Stitch { stitch_pool() } else { self.pool().clone() };
        let since_ms = oldest.map(|age| store::now_ms().saturating_sub(age));
        (pool, Waiting { tasks: waiting.len() as u64, since_ms })
    }

    /// When it last came further than ever before, or was resumed.
    pub(super) fn moved_at(&self) -> Instant {
        self.furthest.1
    }

    fn note_movement(&mut self, stage: Stage) {
        let tasks = self.view.tasks.values();
        let committed = tasks.clone().filter(|task| task.committed.is_some()).count();
        let now: Furthest = (stage, committed, tasks.map(|task| task.progress.done).sum());
        if now > self.furthest.0 || self.entry.is_paused() {
            self.furthest = (now.max(self.furthest.0), Instant::now());
        }
    }

    /// Tells those who watch it how far it is.
    pub(super) fn publish(&mut self, slots: u32) {
        self.entry.saw(self.plan.clone(), self.view.clone());
        let stage = self.stage();
        self.note_movement(stage);
        let mut progress = RenderProgress::count(stage, self.plan.as_deref(), self.summary.as_ref(), &self.view);
        if let Some(plan) = self.plan.as_deref().filter(|_| stage == Stage::Capture) {
            let cost = plan.frame_cost_ms.clamp(0.0, 600_000.0) / f64::from(slots.max(1));
            let guess = Duration::from_secs_f64(cost / 1000.0);
            progress.eta = self.pace.eta(Instant::now(), progress.frames_done, progress.frames_total, guess);
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
