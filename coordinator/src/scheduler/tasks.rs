//! The tasks of one render: what is known of each, and what follows for the render.
//!
//! Of each task it keeps what it counts as ([`Counted`]). A change of one task, by a read of the ledger, by a dispatch or
//! by the time, replaces that in the sums over all tasks. So a change costs O(log n) of the number of tasks, and every
//! question about the render is answered from the sums.
//!
//! **Invariants**
//! - *The sums are those of a new count.* A property test holds the two against each other.
//! - *A timer is set no later than the change that it is for.* Most leases are renewed long before they end, so a renewal
//!   leaves the timer where it is; when the timer goes off, it is set anew.
//! - *A lease ends here no sooner than in the ledger.* Its end is counted from the moment at which it was read. Whoever
//!   [advances](RenderTasks::advance) the time has read the ledger at that time or later.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyperfarm_backplane::ledger::{AttemptEnd, RenderView, TaskView};
use hyperfarm_proto::failure::{FailedAttempt, FailureCode};
use hyperfarm_proto::task::Step;
use parking_lot::RwLock;

use super::median::Median;
use super::outline::PlanOutline;
use super::speculation::{Straggler, may_speculate, straggles_after};
use super::task_status::{Decided, Dispatch, Moment, Speculation, TaskStatus, task_status};
use hyperfarm_api::render::Stage;

/// How much later than in the ledger a lease ends here: its end is rounded there.
const LEASE_MARGIN: Duration = Duration::from_millis(20);

/// The ledger's view of a render, which the scheduler changes by what it reads and others may look at. A lease in it is
/// alive; how long it lasts is as of the read.
pub type SharedView = Arc<RwLock<RenderView>>;

/// What was read of a render in the ledger.
#[derive(Debug)]
pub struct LedgerRead {
    /// The ledger's revision of it, if it was read with one.
    pub revision: Option<u64>,
    /// Whether `view` has all of its tasks, and not those that were written to since the last read.
    pub is_whole: bool,
    /// The render and its tasks.
    pub view: RenderView,
}

impl From<RenderView> for LedgerRead {
    fn from(view: RenderView) -> Self {
        Self { revision: None, is_whole: true, view }
    }
}

/// What has to be done about a render before, or instead of, dispatching its tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RenderAction {
    /// Nothing: its due tasks can be dispatched.
    Dispatch,
    /// The draft is committed: cut it into chunks and store the plan.
    WritePlan,
    /// All chunks are committed: compare the pictures at their seams, and draw chunks again whose start was another one
    /// than in a walk.
    ProveSeams,
    /// The output is committed: store the terminal state.
    Finish,
    /// A task has failed for good: end the render.
    Fail {
        /// The step of the task.
        step: Step,
        /// Its failed attempts. The last one is the render's failure.
        history: Vec<FailedAttempt>,
    },
}

/// How far the capture of a render is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Captured {
    /// Frames of committed chunks, and of those that are being captured.
    pub frames: u64,
    /// Number of committed chunks.
    pub chunks: u32,
    /// Number of committed chunks from the first one on, without a gap.
    pub leading: u32,
    /// Whether the sound is committed.
    pub has_sound: bool,
}

/// The tasks of the present stage that no worker has claimed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unclaimed {
    /// Number of them.
    pub tasks: u32,
    /// Number of those that are in their queue. The window has no room for the others.
    pub dispatched: u32,
    /// When the oldest one in its queue was dispatched first.
    pub oldest: Option<Instant>,
}

/// The tasks of one render. See the [module](self).
#[derive(Debug, Default)]
pub struct RenderTasks {
    view: SharedView,
    revision: Option<u64>,
    plan: Option<PlanOutline>,
    /// Most chunks in flight.
    cap: Option<u32>,
    are_seams_proved: bool,
    /// Tasks that the ledger knows, or that were dispatched. All others are due if they are of the stage.
    records: BTreeMap<Step, Record>,
    sums: Sums,
    /// The timers of the records.
    timers: BTreeSet<(Instant, Step)>,
    /// Second attempts that are decided, and were not taken yet.
    decided: Vec<Decided>,
}

/// What is known of a task besides its view.
#[derive(Debug, Default)]
struct Record {
    dispatch: Option<Dispatch>,
    speculation: Option<Speculation>,
    /// The leases that are alive.
    leases: Vec<Held>,
    counted: Counted,
    /// When it is looked at whether the time alone has changed what it counts as: then, or before.
    timer: Option<Instant>,
}

/// A lease.
#[derive(Debug, Clone, Copy)]
struct Held {
    attempt: u32,
    began_at: Instant,
    ends_at: Instant,
}

impl Record {
    /// Takes over the leases of a task that was read at `now`.
    fn hold(&mut self, task: &TaskView, now: Instant) {
        // Most reads are of a renewal.
        if let ([held], [running]) = (&mut self.leases[..], &task.running[..])
            && held.attempt == running.attempt
        {
            held.ends_at = now + running.left + LEASE_MARGIN;
            return;
        }
        let before = std::mem::take(&mut self.leases);
        self.leases.extend(task.running.iter().map(|running| {
            let known = before.iter().find(|held| held.attempt == running.attempt);
            // The age of an attempt is rounded; the first one is kept.
            let began_at = known.map(|held| held.began_at).or_else(|| now.checked_sub(running.age)).unwrap_or(now);
            Held { attempt: running.attempt, began_at, ends_at: now + running.left + LEASE_MARGIN }
        }));
    }
}

/// The order in which due tasks of a render are dispatched. The sound comes first, because it is one long task; then what
/// was dispatched before, because it has waited longest; then the longest chunks, so that no long one is left for the
/// end.
type Rank = (bool, Reverse<bool>, Reverse<u64>);

/// What a task counts as in the sums.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Counted {
    status: TaskStatus,
    /// Whether it is a task of the present stage, other than the stitch.
    is_of_stage: bool,
    is_chunk: bool,
    is_committed: bool,
    is_leased: bool,
    /// Whether it has lost a worker, and is due or in flight.
    is_suspect: bool,
    /// Whether its last lease ran out, and how the attempt ended is not known.
    has_run_out: bool,
    /// Whether nobody is at it, and an outage was the last that happened to it.
    has_outage: bool,
    /// Its rank, if it is due.
    due: Option<Rank>,
    /// Tasks in flight; 2 if it is begun twice.
    in_flight: u32,
    /// When the time alone changes what it counts as.
    changes_at: Option<Instant>,
    /// Since when the one attempt at it runs, if another one may be begun.
    alone_since: Option<Instant>,
    /// Milliseconds that the committed attempt at a chunk took.
    took_ms: Option<u64>,
    /// Frames that are captured.
    frames: u64,
    /// Units of work that are done.
    units: u64,
    /// When it was dispatched first, if no worker has claimed it since.
    unclaimed_since: Option<Instant>,
}

impl Counted {
    fn new(step: Step, task: Option<&TaskView>, record: &Record, plan: Option<&PlanOutline>, at: Moment<'_>) -> Self {
        let (status, due_at) = task_status(task, record.dispatch.as_ref(), at);
        let is_of_stage = match (step, plan) {
            (Step::Plan, plan) => plan.is_none(),
            (Step::Audio, Some(plan)) => plan.has_audio,
            (Step::Chunk(chunk), Some(plan)) => (chunk as usize) < plan.chunk_frames.len(),
            _ => false,
        };
        let is_chunk = matches!(step, Step::Chunk(_));
        let of_chunk = step.chunk().zip(plan).map_or(0, |(chunk, plan)| plan.frames_of(chunk));
        let dispatch = record.dispatch.as_ref();
        let rank = || (step != Step::Plan && step != Step::Audio, Reverse(dispatch.is_some()), Reverse(of_chunk));
        let second_until = record.speculation.map(|second| second.ends_at(at.policy)).filter(|until| *until > at.now);
        let in_time = |when: &Instant| *when > at.now;
        let mut counted = Self {
            status,
            is_of_stage,
            is_chunk,
            due: (is_of_stage && status == TaskStatus::Due).then(rank),
            in_flight: u32::from(is_of_stage && status == TaskStatus::InFlight),
            ..Self::default()
        };
        counted.unclaimed_since =
            dispatch.filter(|dispatch| dispatch.is_unclaimed(task)).map(|dispatch| dispatch.first_at);
        let ends = record.leases.iter().map(|held| held.ends_at);
        counted.changes_at = ends.chain(due_at).chain(second_until).filter(in_time).min();
        let Some(task) = task else { return counted };
        let is_lost = |failed: &FailedAttempt| failed.failure.code == FailureCode::WorkerLost;
        counted.is_committed = task.committed.is_some();
        counted.is_leased = task.lease.is_some();
        counted.is_suspect = (counted.in_flight > 0 || counted.due.is_some()) && task.failures.iter().any(is_lost);
        counted.units = task.progress.done;
        let is_idle = !counted.is_committed && !counted.is_leased;
        let is_open = || task.attempts.last().is_some_and(|last| last.attempt == task.attempt && last.end.is_none());
        counted.has_run_out = is_idle && is_open();
        counted.has_outage = is_idle && task.failures.last().is_some_and(|last| last.failure.code.is_outage());
        if counted.in_flight > 0 && (task.running.len() > 1 || task.running.len() == 1 && second_until.is_some()) {
            counted.in_flight = 2;
        }
        if !is_chunk {
            return counted;
        }
        if counted.is_committed {
            // A commit that was restored from storage has no attempt.
            counted.took_ms = task.attempts.iter().find_map(|attempt| match attempt.end {
                Some((AttemptEnd::Committed, at_ms)) => Some(at_ms.saturating_sub(attempt.claimed_at_ms)),
                _ => None,
            });
            counted.frames = of_chunk;
        } else if counted.is_leased {
            counted.frames = task.progress.done.min(of_chunk);
            if let [held] = &record.leases[..]
                && is_of_stage
                && second_until.is_none()
                && may_speculate(task)
            {
                counted.alone_since = Some(held.began_at);
            }
        }
        counted
    }

    fn is(&self, status: TaskStatus) -> bool {
        self.is_of_stage && self.status == status
    }
}

/// Sums over the tasks.
#[derive(Debug, Default, PartialEq)]
struct Sums {
    /// Committed tasks of the stage.
    done: u32,
    chunks_done: u32,
    commits: usize,
    leased: u32,
    /// Those of the stage.
    leased_of_stage: u32,
    in_flight: u32,
    chunks_in_flight: u32,
    suspects_in_flight: u32,
    frames: u64,
    units: u64,
    /// The chunks before this one are committed.
    leading: u32,
    took_ms: Median<Step>,
    due: BTreeSet<(Rank, Step)>,
    due_suspects: BTreeSet<(Rank, Step)>,
    failed: BTreeSet<((), Step)>,
    run_out: BTreeSet<((), Step)>,
    outages: BTreeSet<((), Step)>,
    alone: BTreeSet<(Instant, Step)>,
    unclaimed: BTreeSet<(Instant, Step)>,
}

/// Replaces the value of `step` in `set`.
fn replace<V: Ord + Copy>(set: &mut BTreeSet<(V, Step)>, step: Step, before: Option<V>, after: Option<V>) {
    if before != after {
        if let Some(value) = before {
            set.remove(&(value, step));
        }
        set.extend(after.map(|value| (value, step)));
    }
}

impl Sums {
    /// Replaces what `step` counts as.
    fn replace(&mut self, step: Step, before: &Counted, after: &Counted) {
        self.frames = self.frames - before.frames + after.frames;
        // Workers say how many units they have done: the sum of what they say may be beyond a number.
        self.units = self.units.wrapping_sub(before.units).wrapping_add(after.units);
        let Counted { frames, units, changes_at, .. } = *after;
        if (Counted { frames, units, changes_at, ..*before }) == *after {
            // A renewal.
            return;
        }
        let count = |sum: &mut u32, of: &dyn Fn(&Counted) -> u32| *sum = *sum - of(before) + of(after);
        count(&mut self.done, &|counted| counted.is(TaskStatus::Done).into());
        count(&mut self.chunks_done, &|counted| (counted.is_chunk && counted.is(TaskStatus::Done)).into());
        count(&mut self.leased, &|counted| counted.is_leased.into());
        count(&mut self.leased_of_stage, &|counted| (counted.is_leased && counted.is_of_stage).into());
        count(&mut self.in_flight, &|counted| counted.in_flight);
        count(&mut self.chunks_in_flight, &|counted| if counted.is_chunk { counted.in_flight } else { 0 });
        count(&mut self.suspects_in_flight, &|counted| (counted.is_suspect && counted.in_flight > 0).into());
        self.commits = self.commits - usize::from(before.is_committed) + usize::from(after.is_committed);
        let due = |counted: &Counted, is_suspect| counted.due.filter(|_| counted.is_suspect == is_suspect);
        replace(&mut self.due, step, due(before, false), due(after, false));
        replace(&mut self.due_suspects, step, due(before, true), due(after, true));
        let has_failed = |counted: &Counted| counted.is(TaskStatus::Failed).then_some(());
        replace(&mut self.failed, step, has_failed(before), has_failed(after));
        replace(&mut self.run_out, step, before.has_run_out.then_some(()), after.has_run_out.then_some(()));
        replace(&mut self.outages, step, before.has_outage.then_some(()), after.has_outage.then_some(()));
        replace(&mut self.alone, step, before.alone_since, after.alone_since);
        let unclaimed = |counted: &Counted| counted.unclaimed_since.filter(|_| counted.is_of_stage);
        replace(&mut self.unclaimed, step, unclaimed(before), unclaimed(after));
        if before.took_ms != after.took_ms {
            if let Some(took) = before.took_ms {
                self.took_ms.remove(took, step);
            }
            if let Some(took) = after.took_ms {
                self.took_ms.insert(took, step);
            }
        }
    }
}

impl RenderTasks {
    /// The tasks of a render that has nothing but its request, with the largest number of chunks that may be in flight.
    /// What is read of it will be in `view`.
    pub fn new(view: SharedView, cap: Option<u32>, at: Moment<'_>) -> Self {
        *view.write() = RenderView::default();
        let mut tasks = Self { view, cap, ..Self::default() };
        tasks.count_anew(at);
        tasks
    }

    /// The ledger's view of it, as of the last read.
    pub fn view(&self) -> &SharedView {
        &self.view
    }

    /// What was read of one task.
    pub fn task(&self, step: Step) -> Option<TaskView> {
        self.view.read().tasks.get(&step).cloned()
    }

    /// The ledger's revision of the view: who reads since then is told the difference.
    pub fn revision(&self) -> Option<u64> {
        self.revision
    }

    /// Number of tasks that are known.
    pub fn count(&self) -> u32 {
        self.records.len() as u32
    }

    /// Has the next read be one of the whole.
    pub fn forget_revision(&mut self) {
        self.revision = None;
    }

    /// Takes over what was read of it at `at`.
    pub fn take_over(&mut self, read: LedgerRead, at: Moment<'_>) {
        let LedgerRead { revision, is_whole, view: RenderView { cancelled, paused, tasks } } = read;
        let shared = self.view.clone();
        let mut view = shared.write();
        (view.cancelled, view.paused, self.revision) = (cancelled, paused, revision);
        if is_whole {
            let gone: Vec<Step> = view.tasks.keys().filter(|step| !tasks.contains_key(step)).copied().collect();
            for step in gone {
                view.tasks.remove(&step);
                self.change(step, None, at, |record| record.leases.clear());
            }
        }
        for (step, task) in tasks {
            self.change(step, Some(&task), at, |record| record.hold(&task, at.now));
            view.tasks.insert(step, task);
        }
    }

    /// Lets the time pass until `at`, at which or after which the ledger was read: ends leases, and what was dispatched
    /// and not claimed is due again.
    pub fn advance(&mut self, at: Moment<'_>) {
        let shared = self.view.clone();
        while let Some(step) = self.next_changed(at.now) {
            let mut view = shared.write();
            let mut task = view.tasks.get_mut(&step);
            if let (Some(task), Some(record)) = (&mut task, self.records.get(&step)) {
                let is_alive = |held: &Held, attempt| held.attempt == attempt && held.ends_at > at.now;
                task.running.retain(|running| record.leases.iter().any(|held| is_alive(held, running.attempt)));
                task.lease = task.running.first().map(|running| (running.worker.clone(), running.left));
            }
            self.change(step, task.as_deref(), at, |record| record.leases.retain(|held| held.ends_at > at.now));
        }
    }

    /// A task that the time alone has changed. The timers that have gone off before their change are set anew.
    fn next_changed(&mut self, now: Instant) -> Option<Step> {
        while let Some(&(when, step)) = self.timers.first()
            && when <= now
        {
            let record = self.records.get_mut(&step)?;
            let changes_at = record.counted.changes_at;
            if changes_at.is_some_and(|changes_at| changes_at <= now) {
                return Some(step);
            }
            replace(&mut self.timers, step, record.timer, changes_at);
            record.timer = changes_at;
        }
        None
    }

    /// Sets those timers anew that have gone off before their change.
    pub fn settle_timers(&mut self, now: Instant) {
        self.next_changed(now);
    }

    /// When the next timer goes off: no later than the time alone changes something.
    pub fn timer(&self) -> Option<Instant> {
        self.timers.first().map(|(when, _)| *when)
    }

    /// Changes the record of a task, about which the ledger says `task`, and replaces what the task counts as.
    fn change<T>(
        &mut self,
        step: Step,
        task: Option<&TaskView>,
        at: Moment<'_>,
        change: impl FnOnce(&mut Record) -> T,
    ) -> T {
        let plan = self.plan.as_ref();
        let record = self.records.entry(step).or_insert_with(|| {
            let counted = Counted::new(step, None, &Record::default(), plan, at);
            Record { counted, ..Record::default() }
        });
        let changed = change(record);
        if let (Some(speculation), Some(task)) = (record.speculation, task)
            && let Some(decided) = speculation.decided(step, task)
        {
            record.speculation = None;
            self.decided.push(decided);
        }
        let after = Counted::new(step, task, record, plan, at);
        let before = std::mem::replace(&mut record.counted, after);
        self.sums.replace(step, &before, &after);
        let is_early = record.timer.zip(after.changes_at).is_some_and(|(timer, changes_at)| timer <= changes_at);
        if !is_early {
            replace(&mut self.timers, step, record.timer, after.changes_at);
            record.timer = after.changes_at;
        }
        if let Some(chunk) = step.chunk() {
            let (is_done, leading) = (after.is(TaskStatus::Done), self.sums.leading);
            if is_done && chunk == leading {
                self.lead_from(chunk + 1);
            } else if !is_done && chunk < leading {
                self.sums.leading = chunk;
            }
        }
        changed
    }

    /// Counts the committed chunks without a gap, of which those before `chunk` are known.
    fn lead_from(&mut self, chunk: u32) {
        let rest = self.records.range(Step::Chunk(chunk)..);
        let done = (chunk..).zip(rest).take_while(|(number, (step, record))| {
            **step == Step::Chunk(*number) && record.counted.is(TaskStatus::Done)
        });
        self.sums.leading = chunk + done.count() as u32;
    }

    /// Counts all tasks anew. It takes time in proportion to their number.
    fn count_anew(&mut self, at: Moment<'_>) {
        let chunks = self.plan.as_ref().map_or(0, |plan| plan.chunk_frames.len() as u32);
        let steps = [Step::Plan, Step::Audio].into_iter().chain((0..chunks).map(Step::Chunk));
        self.sums = Sums::default();
        let (nothing, fresh) = (Counted::default(), Record::default());
        for step in steps.filter(|step| !self.records.contains_key(step)) {
            self.sums.replace(step, &nothing, &Counted::new(step, None, &fresh, self.plan.as_ref(), at));
        }
        self.timers.clear();
        let view = self.view.read();
        for (step, record) in &mut self.records {
            record.counted = Counted::new(*step, view.tasks.get(step), record, self.plan.as_ref(), at);
            self.sums.replace(*step, &nothing, &record.counted);
            record.timer = record.counted.changes_at;
            self.timers.extend(record.timer.map(|when| (when, *step)));
        }
        drop(view);
        self.lead_from(0);
    }

    /// Sets or removes the plan.
    pub fn set_plan(&mut self, plan: Option<PlanOutline>, at: Moment<'_>) {
        self.plan = plan;
        self.count_anew(at);
    }

    /// Forgets what was read and dispatched, because the render begins again.
    pub fn clear(&mut self, at: Moment<'_>) {
        (self.plan, self.revision, self.are_seams_proved) = (None, None, false);
        *self.view.write() = RenderView::default();
        self.records.clear();
        self.count_anew(at);
    }

    /// Forgets every dispatch, so that every task that is neither leased nor committed is dispatched again.
    pub fn clear_dispatches(&mut self, at: Moment<'_>) {
        for record in self.records.values_mut() {
            (record.dispatch, record.speculation) = (None, None);
        }
        self.count_anew(at);
    }

    /// Notes that the seams between its chunks were compared, and no chunk has to be drawn again.
    pub fn seams_are_proved(&mut self) {
        self.are_seams_proved = true;
    }

    /// Whether nothing was dispatched.
    pub fn is_undispatched(&self) -> bool {
        self.records.values().all(|record| record.dispatch.is_none())
    }

    /// Records a dispatch of a task. The answer takes it back.
    pub fn dispatched(&mut self, step: Step, at: Moment<'_>) -> Option<Dispatch> {
        let task = self.task(step);
        self.change(step, task.as_ref(), at, |record| {
            let dispatch = Dispatch::new(task.as_ref(), record.dispatch.as_ref(), at.now);
            record.dispatch.replace(dispatch)
        })
    }

    /// Takes a dispatch back that did not get into its queue, before which the last one was `before`.
    pub fn undo_dispatch(&mut self, step: Step, before: Option<Dispatch>, at: Moment<'_>) {
        let task = self.task(step);
        self.change(step, task.as_ref(), at, |record| record.dispatch = before);
    }

    /// Records that a second attempt was dispatched beside the running attempt `beside`.
    pub fn speculated(&mut self, step: Step, beside: u32, at: Moment<'_>) {
        let task = self.task(step);
        self.change(step, task.as_ref(), at, |record| record.speculation = Some(Speculation { at: at.now, beside }));
    }

    /// The second attempts that were decided since the last call.
    pub fn take_decided(&mut self) -> Vec<Decided> {
        std::mem::take(&mut self.decided)
    }

    /// Number of tasks of the stage.
    fn tasks_of_stage(&self) -> u32 {
        self.plan.as_ref().map_or(1, |plan| plan.chunk_frames.len() as u32 + u32::from(plan.has_audio))
    }

    fn status_of(&self, step: Step) -> TaskStatus {
        self.records.get(&step).map_or(TaskStatus::Due, |record| record.counted.status)
    }

    /// Whether the sound and all chunks are committed.
    fn is_captured(&self) -> bool {
        self.plan.is_some() && self.sums.done == self.tasks_of_stage()
    }

    /// Its stage.
    pub fn stage(&self) -> Stage {
        if self.plan.is_none() {
            let is_begun = self.view.read().tasks.get(&Step::Plan).is_some_and(|task| task.attempt > 0);
            return if is_begun { Stage::Plan } else { Stage::Queued };
        }
        let is_stitch = self.is_captured() || self.status_of(Step::Stitch) == TaskStatus::Done;
        if is_stitch { Stage::Stitch } else { Stage::Capture }
    }

    /// What has to be done next. The stitch begins by the count of commits, and by no event.
    pub fn action(&self) -> RenderAction {
        if self.plan.is_none() && self.status_of(Step::Plan) == TaskStatus::Done {
            return RenderAction::WritePlan;
        }
        // Once the output is committed no other task matters.
        if self.plan.is_some() && self.status_of(Step::Stitch) == TaskStatus::Done {
            return RenderAction::Finish;
        }
        if let Some((_, step)) = self.sums.failed.first() {
            return self.failed(*step);
        }
        if !self.is_captured() {
            return RenderAction::Dispatch;
        }
        match self.status_of(Step::Stitch) {
            TaskStatus::Due if !self.are_seams_proved => RenderAction::ProveSeams,
            TaskStatus::Failed => self.failed(Step::Stitch),
            _ => RenderAction::Dispatch,
        }
    }

    fn failed(&self, step: Step) -> RenderAction {
        RenderAction::Fail { step, history: self.task(step).map(|task| task.failures).unwrap_or_default() }
    }

    /// The task to dispatch next, within the render's own cap on chunks; one that has lost a worker only
    /// `with_suspects`.
    pub fn next_due(&self, with_suspects: bool) -> Option<Step> {
        if self.is_captured() {
            let is_due = self.status_of(Step::Stitch) == TaskStatus::Due && self.are_seams_proved;
            return is_due.then_some(Step::Stitch);
        }
        if !self.sums.failed.is_empty() || self.plan.is_some() && self.status_of(Step::Stitch) == TaskStatus::Done {
            return None;
        }
        let suspect = self.sums.due_suspects.first().filter(|_| with_suspects);
        let (_, step) = self.sums.due.first().into_iter().chain(suspect).min()?;
        let is_capped = self.cap.is_some_and(|cap| self.sums.chunks_in_flight >= cap);
        (step.chunk().is_none() || !is_capped).then_some(*step)
    }

    /// Whether a task has lost a worker, and may be what ended it.
    pub fn is_suspect(&self, step: Step) -> bool {
        self.records.get(&step).is_some_and(|record| record.counted.is_suspect)
    }

    /// Number of tasks in flight, other than the stitch; one that is begun twice counts twice.
    pub fn in_flight(&self) -> u32 {
        self.sums.in_flight
    }

    /// Number of tasks in flight that have lost a worker.
    pub fn suspects_in_flight(&self) -> u32 {
        self.sums.suspects_in_flight
    }

    /// Id of the capture class that its chunks need, once it is planned.
    pub fn class_id(&self) -> Option<&str> {
        self.plan.as_ref().map(|plan| plan.class_id.as_str())
    }

    /// Whether it is planned.
    pub fn is_planned(&self) -> bool {
        self.plan.is_some()
    }

    /// Whether a lease is alive.
    pub fn is_leased(&self) -> bool {
        self.sums.leased > 0
    }

    /// Tasks whose lease ran out before the end of the attempt was known.
    pub fn run_out(&self) -> Vec<Step> {
        self.sums.run_out.iter().map(|(_, step)| *step).collect()
    }

    /// The failure of a task that nobody is at, if an outage was the last that happened to it.
    pub fn outage(&self) -> Option<FailureCode> {
        let (_, step) = self.sums.outages.first()?;
        self.task(*step)?.failures.last().map(|last| last.failure.code)
    }

    /// How far the capture is.
    pub fn captured(&self) -> Captured {
        let has_sound = self.records.get(&Step::Audio).is_some_and(|record| record.counted.is_committed);
        let Sums { frames, chunks_done: chunks, leading, .. } = self.sums;
        Captured { frames, chunks, leading, has_sound }
    }

    /// How far it is, by number of commits and units of work. An attempt that begins again does not move it back.
    pub fn position(&self) -> (Stage, usize, u64) {
        (self.stage(), self.sums.commits, self.sums.units)
    }

    /// Whether chunks are missing, and nobody is at one.
    pub fn is_idle(&self) -> bool {
        let chunks = self.plan.as_ref().map_or(0, |plan| plan.chunk_frames.len() as u32);
        self.sums.leased == 0 && self.sums.chunks_done < chunks
    }

    /// The tasks of the stage that no worker has claimed.
    pub fn unclaimed(&self) -> Unclaimed {
        if self.stage() == Stage::Stitch {
            let stitch = self.records.get(&Step::Stitch).map(|record| record.counted).unwrap_or_default();
            let tasks = u32::from(!stitch.is_committed && !stitch.is_leased);
            let oldest = stitch.unclaimed_since;
            return Unclaimed { tasks, dispatched: u32::from(oldest.is_some()), oldest };
        }
        Unclaimed {
            tasks: self.tasks_of_stage().saturating_sub(self.sums.done + self.sums.leased_of_stage),
            dispatched: self.sums.unclaimed.len() as u32,
            oldest: self.sums.unclaimed.first().map(|(since, _)| *since),
        }
    }

    /// The time after which a chunk is a straggler; `None` before enough chunks are committed.
    fn straggles_after(&self, at: Moment<'_>) -> Option<Duration> {
        let chunks = self.plan.as_ref()?.chunk_frames.len();
        if !self.sums.failed.is_empty() || self.is_captured() {
            return None;
        }
        straggles_after(chunks, self.sums.chunks_done as usize, self.sums.took_ms.get()?, at.policy)
    }

    /// When the first of its chunks is a straggler, or has become one.
    pub fn straggles_at(&self, at: Moment<'_>) -> Option<Instant> {
        Some(self.sums.alone.first()?.0 + self.straggles_after(at)?)
    }

    /// When the next chunk becomes a straggler.
    pub fn next_straggles_at(&self, at: Moment<'_>) -> Option<Instant> {
        let after = self.straggles_after(at)?;
        let from = at.now.checked_sub(after)?;
        let (since, _) = self.sums.alone.range((from, Step::Plan)..).next()?;
        Some(*since + after + LEASE_MARGIN)
    }

    /// The chunks that are stragglers now, the one that has run longest first, within the render's own cap.
    pub fn stragglers(&self, at: Moment<'_>) -> Vec<Straggler> {
        let (Some(plan), Some(after)) = (&self.plan, self.straggles_after(at)) else { return Vec::new() };
        let room = self.cap.map_or(u32::MAX, |cap| cap.saturating_sub(self.sums.chunks_in_flight));
        let late = self.sums.alone.iter().take_while(|(since, _)| *since + after < at.now).take(room as usize);
        let view = self.view.read();
        late.filter_map(|(_, step)| Straggler::of(*step, view.tasks.get(step)?, plan)).collect()
    }
}

#[cfg(test)]
mod tests {
    use hyperfarm_backplane::ledger::{AttemptView, RunningAttempt};
    use hyperfarm_proto::failure::Failure;
    use hyperfarm_proto::plan::Plan;
    use hyperfarm_proto::record::TaskProgress;
    use proptest::prelude::*;

    use super::*;
    use crate::scheduler::SchedulePolicy;
    use crate::testing;

    const SECOND: Duration = Duration::from_secs(1);

    fn done() -> TaskView {
        TaskView { attempt: 1, committed: Some(Vec::new()), ..TaskView::default() }
    }

    fn leased(left: Duration) -> TaskView {
        let worker: hyperfarm_proto::id::WorkerId = "w-s0".parse().unwrap();
        let running = vec![RunningAttempt { attempt: 1, worker: worker.clone(), age: SECOND, left }];
        let attempts = vec![AttemptView { attempt: 1, worker: worker.clone(), claimed_at_ms: 0, end: None }];
        TaskView { attempt: 1, lease: Some((worker, left)), running, attempts, ..TaskView::default() }
    }

    fn view(tasks: &[(Step, TaskView)]) -> RenderView {
        RenderView { tasks: tasks.iter().cloned().collect(), ..RenderView::default() }
    }

    fn tasks(plan: Option<&Plan>, cap: Option<u32>, known: &[(Step, TaskView)], at: Moment<'_>) -> RenderTasks {
        let mut tasks = RenderTasks::new(SharedView::default(), cap, at);
        tasks.set_plan(plan.map(PlanOutline::from), at);
        tasks.take_over(view(known).into(), at);
        tasks
    }

    /// Dispatches everything that is due.
    fn dispatch(tasks: &mut RenderTasks, at: Moment<'_>) -> Vec<Step> {
        let next = || {
            let step = tasks.next_due(true)?;
            tasks.dispatched(step, at);
            Some(step)
        };
        std::iter::from_fn(next).collect()
    }

    fn due(plan: Option<&Plan>, cap: Option<u32>, known: &[(Step, TaskView)]) -> Vec<Step> {
        let policy = SchedulePolicy::default();
        let at = Moment { now: Instant::now(), policy: &policy };
        let mut tasks = tasks(plan, cap, known, at);
        tasks.seams_are_proved();
        dispatch(&mut tasks, at)
    }

    fn action(plan: Option<&Plan>, known: &[(Step, TaskView)]) -> RenderAction {
        let policy = SchedulePolicy::default();
        tasks(plan, None, known, Moment { now: Instant::now(), policy: &policy }).action()
    }

    #[test]
    fn a_render_goes_from_plan_to_chunks_to_stitch_to_the_end() {
        let plan = testing::plan(&[10, 12, 12], true);
        let policy = SchedulePolicy::default();
        let at = Moment { now: Instant::now(), policy: &policy };
        let stage = |known: &[_]| tasks(None, None, known, at).stage();
        assert_eq!((stage(&[]), due(None, None, &[])), (Stage::Queued, vec![Step::Plan]));
        let planning = [(Step::Plan, leased(SECOND))];
        assert_eq!((stage(&planning), tasks(None, None, &planning, at).in_flight()), (Stage::Plan, 1));
        assert_eq!(action(None, &[(Step::Plan, done())]), RenderAction::WritePlan);

        let sound_then_longest = [Step::Audio, Step::Chunk(1), Step::Chunk(2), Step::Chunk(0)];
        assert_eq!(due(Some(&plan), None, &[(Step::Plan, done())]), sound_then_longest);

        let mut known = vec![(Step::Chunk(0), done()), (Step::Chunk(1), done()), (Step::Chunk(2), done())];
        assert_eq!(due(Some(&plan), None, &known), [Step::Audio], "the stitch waits for the sound");
        known.push((Step::Audio, done()));
        assert_eq!(action(Some(&plan), &known), RenderAction::ProveSeams);
        assert_eq!(due(Some(&plan), None, &known), [Step::Stitch]);
        known.push((Step::Stitch, done()));
        assert_eq!(action(Some(&plan), &known), RenderAction::Finish);
    }

    #[test]
    fn a_cap_counts_chunks_at_work_and_not_the_sound() {
        let plan = testing::plan(&[5, 5, 5, 5], true);
        assert_eq!(due(Some(&plan), Some(2), &[]), [Step::Audio, Step::Chunk(0), Step::Chunk(1)]);
        let busy = [(Step::Audio, leased(SECOND)), (Step::Chunk(0), leased(SECOND))];
        assert_eq!(due(Some(&plan), Some(2), &busy), [Step::Chunk(1)]);
    }

    #[test]
    fn a_failed_chunk_ends_the_render_with_its_history() {
        let plan = testing::plan(&[5, 5], false);
        let failure = Failure::new(FailureCode::ScriptError, "x is not defined");
        let history = vec![FailedAttempt { attempt: 1, worker: "w".to_owned(), failure }];
        let known = [(Step::Chunk(1), TaskView { attempt: 1, failures: history.clone(), ..TaskView::default() })];
        assert_eq!(action(Some(&plan), &known), RenderAction::Fail { step: Step::Chunk(1), history });
        assert_eq!(due(Some(&plan), None, &known), []);
    }

    #[test]
    fn a_committed_output_settles_everything_else() {
        let plan = testing::plan(&[5, 5], false);
        let known = [(Step::Stitch, done()), (Step::Chunk(0), leased(SECOND))];
        assert_eq!(action(Some(&plan), &known), RenderAction::Finish);
        assert_eq!(due(Some(&plan), None, &known), []);
    }

    #[test]
    fn frames_count_when_committed_or_at_work_and_not_when_the_worker_is_gone() {
        let plan = testing::plan(&[10, 10, 10, 10], false);
        let policy = SchedulePolicy::default();
        let at = Moment { now: Instant::now(), policy: &policy };
        let progress = TaskProgress { done: 4, total: 10 };
        let at_work = TaskView { progress, ..leased(SECOND) };
        let gone = TaskView { progress, ..TaskView::default() };
        let known = [(Step::Chunk(0), done()), (Step::Chunk(1), at_work), (Step::Chunk(2), gone)];
        let mut tasks = tasks(Some(&plan), None, &known, at);
        let captured = |frames, leading| Captured { frames, chunks: leading, leading, has_sound: false };
        assert_eq!(tasks.captured(), captured(14, 1));
        let more = LedgerRead { revision: Some(2), is_whole: false, view: view(&[(Step::Chunk(1), done())]) };
        tasks.take_over(more, at);
        assert_eq!(tasks.captured(), captured(20, 2));
    }

    #[test]
    fn an_outage_is_named_until_somebody_works_again() {
        let policy = SchedulePolicy::default();
        let at = Moment { now: Instant::now(), policy: &policy };
        let outage = |task: &TaskView| tasks(None, None, &[(Step::Plan, task.clone())], at).outage();
        let failed =
            |attempt, code| FailedAttempt { attempt, worker: "w".to_owned(), failure: Failure::new(code, "500") };
        let mut task = TaskView { failures: vec![failed(1, FailureCode::Storage)], ..TaskView::default() };
        assert_eq!(outage(&task), Some(FailureCode::Storage));
        task.failures.push(failed(2, FailureCode::Backplane));
        assert_eq!(outage(&task), Some(FailureCode::Backplane));
        assert_eq!(outage(&TaskView { failures: task.failures.clone(), ..leased(SECOND) }), None);
        task.failures.push(failed(3, FailureCode::ChromeCrashed));
        assert_eq!(outage(&task), None);
    }

    #[test]
    fn a_lease_ends_by_the_time_and_a_renewal_keeps_it() {
        let (plan, policy) = (testing::plan(&[5], false), SchedulePolicy::default());
        let start = Instant::now();
        let after = |seconds| Moment { now: start + SECOND * seconds, policy: &policy };
        let mut tasks = tasks(Some(&plan), None, &[], after(0));
        assert_eq!(dispatch(&mut tasks, after(0)), [Step::Chunk(0)]);
        let read = |left| LedgerRead { is_whole: false, ..view(&[(Step::Chunk(0), leased(left))]).into() };
        tasks.take_over(read(SECOND * 8), after(1));
        tasks.take_over(read(SECOND * 8), after(5));
        tasks.advance(after(12));
        assert!(tasks.is_leased() && tasks.next_due(true).is_none() && tasks.run_out().is_empty());
        let ends = tasks.timer().unwrap();
        assert!(ends > after(13).now && ends < after(14).now, "{:?}", ends - start);
        tasks.advance(after(14));
        assert!(!tasks.is_leased() && tasks.view().read().tasks[&Step::Chunk(0)].lease.is_none());
        assert_eq!((tasks.run_out(), tasks.next_due(true)), (vec![Step::Chunk(0)], Some(Step::Chunk(0))));
    }

    #[test]
    fn what_nobody_claims_is_due_again_and_what_did_not_get_into_its_queue_at_once() {
        let (plan, policy) = (testing::plan(&[5, 4], false), SchedulePolicy::default());
        let start = Instant::now();
        let after = |seconds| Moment { now: start + SECOND * seconds, policy: &policy };
        let mut tasks = tasks(Some(&plan), None, &[], after(0));
        assert_eq!(dispatch(&mut tasks, after(0)), [Step::Chunk(0), Step::Chunk(1)]);
        tasks.undo_dispatch(Step::Chunk(1), None, after(0));
        assert_eq!((tasks.next_due(true), tasks.in_flight()), (Some(Step::Chunk(1)), 1));
        let unclaimed = Unclaimed { tasks: 2, dispatched: 1, oldest: Some(start) };
        assert_eq!(tasks.unclaimed(), unclaimed);
        tasks.advance(after(19));
        assert_eq!(tasks.in_flight(), 1);
        tasks.advance(after(20));
        assert_eq!(dispatch(&mut tasks, after(20)), [Step::Chunk(0), Step::Chunk(1)], "the one that has waited first");
    }

    /// Something that happens to a render of four chunks and sound.
    #[derive(Debug, Clone)]
    enum Event {
        Read(Step, TaskView),
        Whole(Vec<(Step, TaskView)>),
        Dispatch,
        Undo(Step),
        Speculate(Step),
        Wait(u64),
        Plan,
        Clear,
        ClearDispatches,
    }

    fn steps() -> impl Strategy<Value = Step> {
        prop_oneof![
            1 => Just(Step::Plan),
            1 => Just(Step::Audio),
            6 => (0..5_u32).prop_map(Step::Chunk),
            1 => Just(Step::Stitch),
        ]
    }

    fn views() -> impl Strategy<Value = TaskView> {
        let code = prop_oneof![
            Just(FailureCode::WorkerLost),
            Just(FailureCode::Storage),
            Just(FailureCode::ChromeCrashed),
            Just(FailureCode::ScriptError),
        ];
        let failed = |code| FailedAttempt { attempt: 1, worker: "w".to_owned(), failure: Failure::new(code, "x") };
        (0..4_u32, 0..4_u64, prop::option::of(code)).prop_map(move |(kind, number, code)| {
            let failures: Vec<FailedAttempt> = code.map(failed).into_iter().collect();
            let mut task = TaskView { failures, ..leased(SECOND * 3 * (number as u32 + 1)) };
            task.progress.done = number;
            match kind {
                0 => {
                    (task.committed, task.lease) = (Some(Vec::new()), None);
                    task.running.clear();
                    task.attempts[0].end = Some((AttemptEnd::Committed, number * 1_000));
                }
                1 => {
                    task.lease = None;
                    task.running.clear();
                }
                2 => task.running.push(RunningAttempt { attempt: 2, ..task.running[0].clone() }),
                _ => {}
            }
            task
        })
    }

    fn events() -> impl Strategy<Value = Event> {
        prop_oneof![
            8 => (steps(), views()).prop_map(|(step, task)| Event::Read(step, task)),
            1 => prop::collection::vec((steps(), views()), 0..4).prop_map(Event::Whole),
            6 => Just(Event::Dispatch),
            1 => steps().prop_map(Event::Undo),
            2 => steps().prop_map(Event::Speculate),
            6 => (0..12_u64).prop_map(Event::Wait),
            2 => Just(Event::Plan),
            1 => Just(Event::Clear),
            1 => Just(Event::ClearDispatches),
        ]
    }

    proptest! {
        #[test]
        fn the_sums_are_those_of_a_new_count(events in prop::collection::vec(events(), 1..60)) {
            let (plan, policy) = (testing::plan(&[5, 9, 5, 7], true), SchedulePolicy::default());
            let mut now = Instant::now();
            let moment = |now| Moment { now, policy: &policy };
            let mut tasks = RenderTasks::new(SharedView::default(), Some(3), moment(now));
            for event in events {
                let at = moment(now);
                match event {
                    Event::Read(step, task) => {
                        let view = view(&[(step, task)]);
                        tasks.take_over(LedgerRead { revision: Some(1), is_whole: false, view }, at);
                    }
                    Event::Whole(known) => tasks.take_over(view(&known).into(), at),
                    Event::Dispatch => {
                        if let Some(step) = tasks.next_due(true) {
                            tasks.dispatched(step, at);
                        }
                    }
                    Event::Undo(step) => tasks.undo_dispatch(step, None, at),
                    Event::Speculate(step) => tasks.speculated(step, 1, at),
                    Event::Wait(seconds) => now += SECOND * seconds as u32,
                    Event::Plan => tasks.set_plan(Some(PlanOutline::from(&plan)), at),
                    Event::Clear => tasks.clear(at),
                    Event::ClearDispatches => tasks.clear_dispatches(at),
                }
                tasks.advance(moment(now));
                let timers = tasks.records.iter().filter_map(|(step, record)| Some((record.timer?, *step)));
                prop_assert_eq!(&timers.collect::<BTreeSet<_>>(), &tasks.timers);
                for Record { timer, counted, .. } in tasks.records.values() {
                    prop_assert_eq!(timer.is_some(), counted.changes_at.is_some());
                    prop_assert!(*timer <= counted.changes_at && timer.is_none_or(|timer| timer > now));
                }
                let found = std::mem::take(&mut tasks.sums);
                tasks.count_anew(moment(now));
                prop_assert_eq!(&found, &tasks.sums);
                prop_assert!(tasks.next_due(true).is_none_or(|step| !matches!(step, Step::Chunk(_))
                    || tasks.sums.chunks_in_flight < 3));
            }
        }
    }
}
