//! The schedule: all open renders, when each is looked at, and which tasks go into the queues.
//!
//! It is told what happens, and asked what to do: [`Schedule::take_due`] for the renders whose entry in the ledger has to
//! be read, [`Schedule::dispatch`] for the tasks that have room, [`Schedule::speculate`] for the running chunks that idle
//! slots begin as well. There is no clock, broker, ledger or storage in here, so the coordinator's loop and the
//! simulation use the same one.
//!
//! **Every change of a render's tasks goes through [`Schedule::change`]**, which brings the run queue and the times of the
//! checks up to date in O(log n).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use hyperfarm_proto::id::{Pool, RenderId, Space};
use hyperfarm_proto::task::{Step, TaskId};

use super::policy::SchedulePolicy;
use super::share::{Demand, Kind, RunQueue, Wants};
use super::speculation::{IdleSlots, Straggler};
use super::task_status::{Dispatch, Moment};
use super::tasks::{RenderTasks, SharedView};
use super::window::Fleet;

/// Renders with tasks in flight that a tick looks at, at least. Of more, most are looked at when one of their tasks ends,
/// and a read has the renewals of all their tasks.
const ACTIVE_RENDERS_A_TICK: usize = 50;

/// Renders with nothing in flight that a tick looks at, at least.
const IDLE_RENDERS_A_TICK: usize = 20;

/// Ticks within which every render with tasks in flight is looked at.
const ACTIVE_SWEEP_TICKS: usize = 5;

/// Ticks within which every other render is looked at. Nothing happens to one that is not told; a read is for what was
/// lost.
const IDLE_SWEEP_TICKS: usize = 20;

/// How long a render is read by differences before it is read whole again, at least. That heals what a write of an older
/// farm, which leaves no difference, has changed.
const WHOLE_READ_EVERY: Duration = Duration::from_secs(60);

/// The same for each of its tasks: a whole read costs as much as the render has tasks, so longer renders have it less often.
const WHOLE_READ_EVERY_A_TASK: Duration = Duration::from_millis(20);

/// Who has submitted a render, and what it may have.
#[derive(Debug, Clone)]
pub struct Submitter {
    /// The space that it belongs to.
    pub space: Space,
    /// The pool whose slots it wants.
    pub pool: Pool,
    /// Unix milliseconds of its submission.
    pub created_at_ms: u64,
    /// Most of its chunks in flight.
    pub max_parallel_chunks: Option<u32>,
}

/// How a render stands, besides its tasks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// The higher one comes first in its space.
    pub priority: i32,
    /// Whether none of its tasks are dispatched. Those in flight take no room of others.
    pub is_paused: bool,
    /// Whether it is not checked either.
    pub is_held: bool,
}

/// A task that has got a place in its queue.
#[derive(Debug, Clone)]
pub struct Dispatched {
    /// The task.
    pub task: TaskId,
    /// Its pool.
    pub pool: Pool,
    before: Option<Dispatch>,
}

/// An open render.
#[derive(Debug)]
struct Open {
    tasks: RenderTasks,
    submitter: Submitter,
    standing: Standing,
    is_check_requested: bool,
    /// No check before this time.
    not_before: Instant,
    /// When it is due for a check.
    check_at: Option<Instant>,
    /// When its first chunk is a straggler, or has become one.
    straggles_at: Option<Instant>,
    /// What it wants of the run queue.
    wants: Option<Wants>,
    /// The tick before its last check.
    looked_at: u64,
    read_whole_at: Instant,
}

impl Open {
    /// When the render is due for a check, or a timer goes off.
    fn next_check_at(&self, at: Moment<'_>) -> Option<Instant> {
        if self.standing.is_held {
            return None;
        }
        let requested = self.is_check_requested.then_some(self.not_before);
        let timed = [self.tasks.timer(), self.tasks.next_straggles_at(at)].into_iter().flatten();
        requested.into_iter().chain(timed.map(|at| at.max(self.not_before))).min()
    }
}

/// The schedule of a farm. See the [module](self).
#[derive(Debug)]
pub struct Schedule {
    policy: SchedulePolicy,
    fleet: Fleet,
    renders: HashMap<RenderId, Open>,
    queue: RunQueue,
    checks: BTreeSet<(Instant, RenderId)>,
    stragglers: BTreeSet<(Instant, RenderId)>,
    /// Number of ticks so far.
    ticks: u64,
}

/// Of `renders`, with the tick before the last check of each, `at_least` or the share of a tick of a sweep of `ticks`, those
/// that were not looked at for longest.
fn in_turn(mut renders: Vec<(u64, &RenderId)>, at_least: usize, ticks: usize) -> impl Iterator<Item = &RenderId> {
    let most = at_least.max(renders.len().div_ceil(ticks));
    if renders.len() > most {
        renders.select_nth_unstable(most);
        renders.truncate(most);
    }
    renders.into_iter().map(|(_, render)| render)
}

/// Replaces the time of `render` in `times`.
fn replace(
    times: &mut BTreeSet<(Instant, RenderId)>,
    render: &RenderId,
    before: &mut Option<Instant>,
    after: Option<Instant>,
) {
    if *before != after {
        if let Some(at) = *before {
            times.remove(&(at, render.clone()));
        }
        times.extend(after.map(|at| (at, render.clone())));
        *before = after;
    }
}

impl Schedule {
    /// A schedule without renders and workers.
    pub fn new(policy: SchedulePolicy) -> Self {
        let (fleet, renders, queue, checks, stragglers) = Default::default();
        Self { policy, fleet, renders, queue, checks, stragglers, ticks: 0 }
    }

    /// The workers that are alive.
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// Replaces the workers that are alive.
    pub fn set_fleet(&mut self, fleet: Fleet) {
        self.fleet = fleet;
    }

    /// Takes in a render, which is due for a check. What is read of it will be in `view`.
    pub fn open(
        &mut self,
        render: &RenderId,
        submitter: Submitter,
        standing: Standing,
        view: SharedView,
        now: Instant,
    ) {
        let at = Moment { now, policy: &self.policy };
        let open = Open {
            tasks: RenderTasks::new(view, submitter.max_parallel_chunks, at),
            submitter,
            standing,
            is_check_requested: true,
            not_before: now,
            check_at: None,
            straggles_at: None,
            wants: None,
            looked_at: self.ticks,
            read_whole_at: now,
        };
        self.close(render);
        self.renders.insert(render.clone(), open);
        self.update(render, now);
    }

    /// Forgets a render.
    pub fn close(&mut self, render: &RenderId) {
        let Some(mut open) = self.renders.remove(render) else { return };
        replace(&mut self.checks, render, &mut open.check_at, None);
        replace(&mut self.stragglers, render, &mut open.straggles_at, None);
        self.queue.set(render, None, &self.policy);
    }

    /// Whether it has no render.
    pub fn is_empty(&self) -> bool {
        self.renders.is_empty()
    }

    /// The tasks of a render.
    pub fn tasks(&self, render: &RenderId) -> Option<&RenderTasks> {
        self.renders.get(render).map(|open| &open.tasks)
    }

    /// Changes the tasks of a render.
    pub fn change<T>(
        &mut self,
        render: &RenderId,
        now: Instant,
        change: impl FnOnce(&mut RenderTasks, Moment<'_>) -> T,
    ) -> Option<T> {
        let open = self.renders.get_mut(render)?;
        let changed = change(&mut open.tasks, Moment { now, policy: &self.policy });
        self.update(render, now);
        Some(changed)
    }

    /// Changes how a render stands.
    pub fn set_standing(&mut self, render: &RenderId, standing: Standing, now: Instant) {
        if let Some(open) = self.renders.get_mut(render).filter(|open| open.standing != standing) {
            open.standing = standing;
            self.update(render, now);
        }
    }

    /// Asks for a check of a render as soon as the pause after the last one is over.
    pub fn request_check(&mut self, render: &RenderId, now: Instant) {
        self.set_check(render, now, |open| open.is_check_requested = true);
    }

    /// Asks for a check of every render.
    pub fn request_all(&mut self, now: Instant) {
        let renders: Vec<RenderId> = self.renders.keys().cloned().collect();
        renders.iter().for_each(|render| self.request_check(render, now));
    }

    /// Has no check of a render begin before this time.
    pub fn pause_checks(&mut self, render: &RenderId, until: Instant, now: Instant) {
        self.set_check(render, now, |open| open.not_before = until);
    }

    /// Changes when a render is checked, and nothing else. Answers whether it is due for a check now.
    fn set_check(&mut self, render: &RenderId, now: Instant, set: impl FnOnce(&mut Open)) -> bool {
        let Some(open) = self.renders.get_mut(render) else { return false };
        set(open);
        let check_at = open.next_check_at(Moment { now, policy: &self.policy });
        replace(&mut self.checks, render, &mut open.check_at, check_at);
        check_at.is_some_and(|at| at <= now)
    }

    /// What is done on a timer: renders with tasks in flight are due for a check, and all others; where they are many, those
    /// that were not looked at for longest.
    pub fn tick(&mut self, now: Instant) {
        self.ticks += 1;
        let is_active = |open: &Open| open.tasks.timer().is_some() || open.tasks.is_leased();
        let (mut active, mut idle) = (Vec::new(), Vec::new());
        for (render, open) in &self.renders {
            if is_active(open) { &mut active } else { &mut idle }.push((open.looked_at, render));
        }
        let active = in_turn(active, ACTIVE_RENDERS_A_TICK, ACTIVE_SWEEP_TICKS);
        let idle = in_turn(idle, IDLE_RENDERS_A_TICK, IDLE_SWEEP_TICKS);
        let due: Vec<RenderId> = active.chain(idle).cloned().collect();
        for render in due {
            self.set_check(&render, now, |open| {
                open.is_check_requested = true;
                let whole_read_every = WHOLE_READ_EVERY.max(WHOLE_READ_EVERY_A_TASK * open.tasks.count());
                if now.saturating_duration_since(open.read_whole_at) >= whole_read_every {
                    open.read_whole_at = now;
                    open.tasks.forget_revision();
                }
            });
        }
    }

    /// Brings everything that follows from a render's tasks up to date.
    fn update(&mut self, render: &RenderId, now: Instant) {
        let Some(open) = self.renders.get_mut(render) else { return };
        let at = Moment { now, policy: &self.policy };
        let tasks = &open.tasks;
        let is_scheduled = !open.standing.is_paused && !open.standing.is_held;
        let due = is_scheduled.then(|| tasks.next_due(true));
        let wants = due.map(|due| Wants {
            priority: open.standing.priority,
            kind: match due {
                Some(Step::Stitch) => Kind::Stitch,
                _ if tasks.is_planned() => Kind::Chunk,
                _ => Kind::Plan,
            },
            in_flight: tasks.in_flight(),
            suspects_in_flight: tasks.suspects_in_flight(),
            is_due: due.is_some(),
        });
        let check_at = open.next_check_at(at);
        let straggles_at = if is_scheduled { tasks.straggles_at(at) } else { None };
        replace(&mut self.checks, render, &mut open.check_at, check_at);
        replace(&mut self.stragglers, render, &mut open.straggles_at, straggles_at);
        if open.wants != wants {
            open.wants = wants;
            let Submitter { space, pool, created_at_ms, .. } = &open.submitter;
            let (space, pool) = (space.clone(), pool.clone());
            let demand = wants.map(|wants| Demand { space, pool, created_at_ms: *created_at_ms, wants });
            self.queue.set(render, demand, &self.policy);
        }
    }

    /// When the next render is due for a check.
    pub fn next_check_at(&self) -> Option<Instant> {
        self.checks.first().map(|(at, _)| *at)
    }

    /// The renders that are due for a check now. Whoever checks one reads its ledger entry since the revision of its
    /// tasks, then has them take over what was read and advance to `now`.
    pub fn take_due(&mut self, now: Instant) -> Vec<RenderId> {
        let mut due: Vec<RenderId> =
            self.checks.iter().take_while(|(at, _)| *at <= now).map(|(_, render)| render.clone()).collect();
        let ticks = self.ticks;
        // Not every timer that goes off is for something that has changed.
        due.retain(|render| self.set_check(render, now, |open| open.tasks.settle_timers(now)));
        for render in &due {
            self.set_check(render, now, |open| (open.is_check_requested, open.looked_at) = (false, ticks));
        }
        due
    }

    /// The tasks that go into the queues now, in order. They count as dispatched.
    pub fn dispatch(&mut self, now: Instant) -> Vec<Dispatched> {
        let mut tasks = Vec::new();
        loop {
            let renders = &self.renders;
            let next_due = |render: &RenderId, with_suspects| renders.get(render)?.tasks.next_due(with_suspects);
            let Some((render, step)) = self.queue.next(&self.fleet, &self.policy, next_due) else { return tasks };
            let before = self.change(&render, now, |tasks, at| tasks.dispatched(step, at)).flatten();
            let Some(open) = self.renders.get(&render) else { continue };
            let pool = open.submitter.pool.clone();
            tasks.push(Dispatched { task: TaskId { render, step }, pool, before });
        }
    }

    /// Takes back the dispatch of a task that did not get into its queue.
    pub fn undo_dispatch(&mut self, dispatched: &Dispatched, now: Instant) {
        let Dispatched { task: TaskId { render, step }, before, .. } = dispatched;
        self.change(render, now, |tasks, at| tasks.undo_dispatch(*step, *before, at));
    }

    /// The running chunks that idle slots may begin as well, now. One that is begun has to be
    /// [recorded](RenderTasks::speculated).
    pub fn speculate(&self, now: Instant) -> Vec<(RenderId, Straggler)> {
        let at = Moment { now, policy: &self.policy };
        // No slot is idle while a task waits.
        let idle_of = |pool| Some(IdleSlots::of(pool, self.queue.in_flight(pool)?, &self.fleet));
        let idle = self.queue.pools().filter_map(|pool| Some((pool, idle_of(pool).filter(IdleSlots::is_any)?)));
        let mut idle: BTreeMap<&Pool, IdleSlots<'_>> = idle.collect();
        if idle.is_empty() {
            return Vec::new();
        }
        let late = self.stragglers.iter().take_while(|(since, _)| *since < now).map(|(_, render)| render);
        let mut late: Vec<_> = late.filter_map(|render| self.queue.rank_of(render)).collect();
        late.sort_unstable();
        let mut begun = Vec::new();
        for (.., render) in late {
            let Some(Open { tasks, submitter: Submitter { pool, .. }, .. }) = self.renders.get(&render) else {
                continue;
            };
            let Some(slots) = idle.get_mut(pool) else { continue };
            let stragglers = tasks.stragglers(at).into_iter().filter(|straggler| slots.take(straggler));
            begun.extend(stragglers.map(|straggler| (render.clone(), straggler)));
        }
        begun
    }
}

#[cfg(test)]
mod tests {
    use hyperfarm_backplane::ledger::{NodeView, RenderView, RunningAttempt, TaskView};
    use hyperfarm_proto::id::WorkerId;

    use super::*;
    use crate::scheduler::{LedgerRead, PlanOutline};
    use crate::testing;

    const SECOND: Duration = Duration::from_secs(1);

    fn schedule(slots: u32) -> Schedule {
        let mut schedule = Schedule::new(SchedulePolicy::default());
        let node = NodeView::new("n".parse().unwrap(), "worker", "cpu", slots, "");
        schedule.set_fleet(Fleet::from_nodes(&[node]));
        schedule
    }

    fn open(schedule: &mut Schedule, render: &str, chunks: usize, now: Instant) -> RenderId {
        let render: RenderId = render.parse().unwrap();
        let (space, pool) = Default::default();
        let submitter = Submitter { space, pool, created_at_ms: 0, max_parallel_chunks: None };
        schedule.open(&render, submitter, Standing::default(), SharedView::default(), now);
        let outline = PlanOutline::from(&testing::plan(&vec![5; chunks], false));
        schedule.change(&render, now, |tasks, at| tasks.set_plan(Some(outline), at));
        render
    }

    fn steps(dispatched: &[Dispatched]) -> Vec<String> {
        dispatched.iter().map(|dispatched| dispatched.task.to_string()).collect()
    }

    /// Reads that the chunk is leased for `left`.
    fn leased(schedule: &mut Schedule, render: &RenderId, chunk: u32, left: Duration, now: Instant) {
        let worker: WorkerId = "n-s0".parse().unwrap();
        let running = vec![RunningAttempt { attempt: 1, worker: worker.clone(), age: Duration::ZERO, left }];
        let task = TaskView { attempt: 1, lease: Some((worker, left)), running, ..TaskView::default() };
        let view = RenderView { tasks: [(Step::Chunk(chunk), task)].into(), ..RenderView::default() };
        let read = LedgerRead { revision: Some(1), is_whole: false, view };
        schedule.change(render, now, |tasks, at| tasks.take_over(read, at));
    }

    #[test]
    fn a_render_is_due_for_a_check_when_it_is_asked_for_and_when_a_lease_ends() {
        let (mut schedule, start) = (schedule(1), Instant::now());
        let render = open(&mut schedule, "r1", 2, start);
        assert_eq!(schedule.take_due(start), std::slice::from_ref(&render));
        assert_eq!((schedule.take_due(start), schedule.next_check_at()), (vec![], None));
        leased(&mut schedule, &render, 0, SECOND * 8, start);
        let ends = schedule.next_check_at().unwrap();
        assert!(ends > start + SECOND * 8 && ends < start + SECOND * 9);
        schedule.pause_checks(&render, start + SECOND * 2, start);
        schedule.request_check(&render, start);
        assert_eq!((schedule.take_due(start + SECOND), schedule.next_check_at()), (vec![], Some(start + SECOND * 2)));
        assert_eq!(schedule.take_due(start + SECOND * 2).len(), 1);
        schedule.set_standing(&render, Standing { is_held: true, ..Standing::default() }, start);
        assert_eq!(schedule.next_check_at(), None, "one that is held is not looked at");
        schedule.set_standing(&render, Standing::default(), start);
        schedule.close(&render);
        assert_eq!((schedule.next_check_at(), schedule.is_empty()), (None, true));
    }

    #[test]
    fn tasks_are_dispatched_once_and_again_if_they_did_not_get_into_their_queue() {
        let (mut schedule, now) = (schedule(1), Instant::now());
        open(&mut schedule, "r1", 9, now);
        let dispatched = schedule.dispatch(now);
        assert_eq!(steps(&dispatched), ["r1/chunk-0", "r1/chunk-1", "r1/chunk-2", "r1/chunk-3"]);
        assert_eq!(steps(&schedule.dispatch(now)), Vec::<String>::new(), "the window is full");
        schedule.undo_dispatch(&dispatched[1], now);
        assert_eq!(steps(&schedule.dispatch(now)), ["r1/chunk-1"]);
    }

    #[test]
    fn a_paused_render_takes_no_room() {
        let (mut schedule, now) = (schedule(1), Instant::now());
        let (first, second) = (open(&mut schedule, "r1", 9, now), open(&mut schedule, "r2", 2, now));
        assert_eq!(schedule.dispatch(now).len(), 4);
        let paused = Standing { is_paused: true, ..Standing::default() };
        schedule.set_standing(&first, paused, now);
        assert_eq!(steps(&schedule.dispatch(now)), ["r2/chunk-0", "r2/chunk-1"]);
        schedule.set_standing(&first, Standing::default(), now);
        schedule.set_standing(&second, paused, now);
        assert_eq!(schedule.dispatch(now).len(), 0);
        assert_eq!(schedule.take_due(now).len(), 2, "it is looked at nevertheless");
    }

    #[test]
    fn a_tick_looks_at_renders_in_flight_and_at_all_others_in_turn() {
        let (mut schedule, now) = (schedule(1), Instant::now());
        let renders: Vec<RenderId> = (0..45).map(|n| open(&mut schedule, &format!("r{n:03}"), 1, now)).collect();
        assert_eq!(schedule.take_due(now).len(), renders.len());
        leased(&mut schedule, &renders[7], 0, SECOND * 60, now);
        let mut looked_at = BTreeSet::new();
        for _ in 0..3 {
            schedule.tick(now);
            let due = schedule.take_due(now);
            assert!(due.contains(&renders[7]) && due.len() == 21, "{}", due.len());
            looked_at.extend(due);
        }
        assert_eq!(looked_at.len(), renders.len());
        renders[10..].iter().for_each(|render| schedule.close(render));
        schedule.tick(now);
        assert_eq!(schedule.take_due(now).len(), 10, "all of them where they are few");
        (0..990).for_each(|n| drop(open(&mut schedule, &format!("s{n:03}"), 1, now)));
        schedule.take_due(now);
        schedule.tick(now);
        assert_eq!(schedule.take_due(now).len(), 51, "the one in flight, and a twentieth of the others");
    }

    #[test]
    fn of_many_renders_in_flight_a_tick_looks_at_those_that_were_not_looked_at_for_longest() {
        let (mut schedule, now) = (schedule(1), Instant::now());
        let renders: Vec<RenderId> = (0..300).map(|n| open(&mut schedule, &format!("r{n:03}"), 1, now)).collect();
        schedule.take_due(now);
        renders.iter().for_each(|render| leased(&mut schedule, render, 0, SECOND * 60, now));
        let mut looked_at = BTreeSet::new();
        for tick in 0..5 {
            schedule.tick(now);
            if tick == 0 {
                // A task has ended: its render is looked at now, and not again by the next ticks.
                schedule.request_check(&renders[7], now);
            }
            let due = schedule.take_due(now);
            assert!(
                (60..=61).contains(&due.len()) && due.contains(&renders[7]) == (tick == 0),
                "{tick}: {}",
                due.len()
            );
            looked_at.extend(due);
        }
        assert_eq!(looked_at.len(), renders.len());
    }
}
