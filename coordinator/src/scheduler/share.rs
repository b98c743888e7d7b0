//! Which due tasks go into the queues now: a fair share of every pool for every space.
//!
//! # The problem
//!
//! A pool has some slots. Renders of many spaces (tenants) want them, some spaces with one render, some with thousands.
//! A space with thousands must not make one with a single render wait, slots must not idle while anybody has work, and
//! the order must be able to change within seconds. So only a short window of tasks is in a pool's queues, and whenever
//! it has room [`RunQueue::next`] says who gets it. The answer follows from the [`Demand`] of the open renders and from
//! the [`Fleet`] alone.
//!
//! # The rules
//!
//! - **Shares.** The next place goes to the space with the fewest tasks in flight for its weight (max-min fairness over
//!   what is in flight), of several to the one that was served least recently: where a window cannot be divided evenly,
//!   the larger parts go round. A space that comes with nothing in flight has the next place, or the one after it.
//! - **Back-fill.** A space without a due task takes no place, so the others share what it leaves: the window is full
//!   whenever there are as many due tasks.
//! - **Priority counts within a space.** The higher priority first, then the older render. It never moves a space
//!   before another one.
//! - **Within a render** the order is that of [`RenderTasks::next_due`](super::tasks::RenderTasks::next_due): the sound,
//!   then the longest chunks. Its cap on chunks at a time is in there as well.
//! - **Plans have a window of their own**, so that many new renders do not hold up the chunks of old ones, nor the
//!   reverse. Stitches are not limited.
//! - **Suspects one by one.** A task that has lost a worker may be what ended it. Of these few are in flight at a time
//!   ([`Fleet::suspects`]), so that a lost worker says which task it was.
//!
//! # Cost
//!
//! A change of one render's demand and a task that is given a place cost O(log n) of the number of open renders and
//! spaces. A render that nothing happens to costs nothing. Renders that are due for nothing but suspects are passed over
//! one by one.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use hyperfarm_proto::id::{Pool, RenderId, Space};
use hyperfarm_proto::task::Step;

use super::policy::SchedulePolicy;
use super::window::Fleet;

/// The kinds of tasks. Plans and chunks have a window of their own each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Plans.
    Plan,
    /// Chunks and the sound.
    Chunk,
    /// Stitches, which no window limits.
    Stitch,
}

/// An open render, and what it wants.
#[derive(Debug, Clone)]
pub struct Demand {
    /// The space that it belongs to.
    pub space: Space,
    /// The pool whose slots it wants.
    pub pool: Pool,
    /// Unix milliseconds of its submission.
    pub created_at_ms: u64,
    /// What it wants.
    pub wants: Wants,
}

/// What an open render wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wants {
    /// The higher one comes first in its space.
    pub priority: i32,
    /// The kind of its due tasks, which are of one stage.
    pub kind: Kind,
    /// Number of its tasks of this kind in flight.
    pub in_flight: u32,
    /// Number of those that have lost a worker.
    pub suspects_in_flight: u32,
    /// Whether it has a due task.
    pub is_due: bool,
}

/// The order of renders within a space.
pub type Rank = (Reverse<i32>, u64, RenderId);

impl Demand {
    /// Its place among the renders of its space.
    pub fn rank(&self, render: &RenderId) -> Rank {
        (Reverse(self.wants.priority), self.created_at_ms, render.clone())
    }
}

/// The order of spaces: by what they have in flight for their weight, then by the number of the task that they were given
/// last.
type Turn = (u64, u64, Space);

/// The demands of all open renders, and whose turn it is. See the [module](self).
#[derive(Debug, Default)]
pub struct RunQueue {
    demands: HashMap<RenderId, Demand>,
    windows: BTreeMap<(Pool, Kind), Window>,
    pools: BTreeMap<Pool, PoolSums>,
    /// Number of tasks that were given a place.
    given: u64,
    /// Number of the task that each space was given last.
    served: HashMap<Space, u64>,
}

#[derive(Debug, Default)]
struct PoolSums {
    /// Plans and chunks in flight.
    in_flight: u32,
    suspects_in_flight: u32,
    /// Renders with a due plan or chunk.
    due: u32,
}

/// What the spaces want of one window.
#[derive(Debug, Default)]
struct Window {
    in_flight: u32,
    spaces: HashMap<Space, SpaceDemand>,
    /// The spaces with due tasks.
    turns: BTreeSet<Turn>,
}

#[derive(Debug, Default)]
struct SpaceDemand {
    in_flight: u32,
    /// Its renders that have a demand in this window.
    renders: u32,
    /// Those with due tasks.
    due: BTreeSet<Rank>,
    turn: Option<Turn>,
}

impl RunQueue {
    /// Replaces what `render` wants; `None` for a render that has ended, is paused or is being restored.
    pub fn set(&mut self, render: &RenderId, demand: Option<Demand>, policy: &SchedulePolicy) {
        let before = match &demand {
            Some(demand) => self.demands.insert(render.clone(), demand.clone()),
            None => self.demands.remove(render),
        };
        match (before, demand) {
            // Of most changes only the numbers are others.
            (Some(before), Some(after))
                if (&before.space, &before.pool, before.created_at_ms)
                    == (&after.space, &after.pool, after.created_at_ms)
                    && (before.wants.priority, before.wants.kind) == (after.wants.priority, after.wants.kind) =>
            {
                self.count(render, &after, Some(before.wants), Some(after.wants), policy);
            }
            (before, after) => {
                if let Some(before) = before {
                    self.count(render, &before, Some(before.wants), None, policy);
                }
                if let Some(after) = after {
                    self.count(render, &after, None, Some(after.wants), policy);
                }
            }
        }
    }

    /// Replaces what a render wants of the window that `demand` names.
    fn count(
        &mut self,
        render: &RenderId,
        demand: &Demand,
        before: Option<Wants>,
        after: Option<Wants>,
        policy: &SchedulePolicy,
    ) {
        let Demand { space, pool, wants: Wants { kind, .. }, .. } = demand;
        let change =
            |sum: &mut u32, of: &dyn Fn(Wants) -> u32| *sum = *sum - before.map_or(0, of) + after.map_or(0, of);
        let (in_flight, is_due) =
            (|wants: Wants| wants.in_flight, |wants: Option<Wants>| wants.is_some_and(|wants| wants.is_due));
        if *kind != Kind::Stitch {
            let sums = self.pools.entry(pool.clone()).or_default();
            change(&mut sums.in_flight, &in_flight);
            change(&mut sums.suspects_in_flight, &|wants| wants.suspects_in_flight);
            change(&mut sums.due, &|wants| wants.is_due.into());
            if sums.in_flight + sums.due == 0 {
                self.pools.remove(pool);
            }
        }
        let window = self.windows.entry((pool.clone(), *kind)).or_default();
        change(&mut window.in_flight, &in_flight);
        let of_space = window.spaces.entry(space.clone()).or_default();
        change(&mut of_space.in_flight, &in_flight);
        change(&mut of_space.renders, &|_| 1);
        match (is_due(before), is_due(after)) {
            (false, true) => drop(of_space.due.insert(demand.rank(render))),
            (true, false) => drop(of_space.due.remove(&demand.rank(render))),
            _ => {}
        }
        let turn = (!of_space.due.is_empty()).then(|| {
            let served = self.served.get(space).copied().unwrap_or(0);
            (policy.load_of(space, of_space.in_flight), served, space.clone())
        });
        if turn != of_space.turn {
            if let Some(before) = &of_space.turn {
                window.turns.remove(before);
            }
            window.turns.extend(turn.clone());
            of_space.turn = turn;
        }
        if of_space.renders == 0 {
            window.spaces.remove(space);
            if window.spaces.is_empty() {
                self.windows.remove(&(pool.clone(), *kind));
            }
        }
    }

    /// The task that is given the next place, if a window has room. `next_due` answers the next due task of a render; with
    /// `false`, only one that has lost no worker. Whoever dispatches the task [sets](Self::set) the new demand of its
    /// render before the next call.
    pub fn next(
        &mut self,
        fleet: &Fleet,
        policy: &SchedulePolicy,
        next_due: impl Fn(&RenderId, bool) -> Option<Step>,
    ) -> Option<(RenderId, Step)> {
        let found = self.windows.iter().find_map(|((pool, kind), window)| {
            let size = policy.window(fleet.slots(pool));
            if *kind != Kind::Stitch && window.in_flight >= size {
                return None;
            }
            let suspects = self.pools.get(pool).map_or(0, |sums| sums.suspects_in_flight);
            let with_suspects = suspects < fleet.suspects(pool);
            window.turns.iter().find_map(|(_, _, space)| {
                let renders = window.spaces.get(space)?.due.iter();
                let (render, step) = renders
                    .map(|(.., render)| render)
                    .find_map(|render| Some((render, next_due(render, with_suspects)?)))?;
                Some((render.clone(), step, space.clone()))
            })
        });
        let (render, step, space) = found?;
        self.given += 1;
        self.served.insert(space, self.given);
        Some((render, step))
    }

    /// The pool that `render` wants slots of.
    pub fn pool_of(&self, render: &RenderId) -> Option<&Pool> {
        self.demands.get(render).map(|demand| &demand.pool)
    }

    /// The rank of `render`.
    pub fn rank_of(&self, render: &RenderId) -> Option<Rank> {
        self.demands.get(render).map(|demand| demand.rank(render))
    }

    /// The pools with tasks, other than stitches, that are due or in flight.
    pub fn pools(&self) -> impl Iterator<Item = &Pool> {
        self.pools.keys()
    }

    /// Tasks of `pool` in flight, other than stitches; `None` while one is due.
    pub fn in_flight(&self, pool: &Pool) -> Option<u32> {
        match self.pools.get(pool) {
            None => Some(0),
            Some(sums) => (sums.due == 0).then_some(sums.in_flight),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::num::NonZeroU32;

    use hyperfarm_backplane::ledger::NodeView;
    use hyperfarm_proto::task::TaskId;
    use proptest::prelude::*;

    use super::*;

    /// A render of a test.
    #[derive(Debug, Clone)]
    struct Render {
        id: RenderId,
        space: Space,
        priority: i32,
        created_at_ms: u64,
        kind: Kind,
        next: Next,
    }

    #[derive(Debug, Clone, Default)]
    struct Next {
        due: Vec<Step>,
        suspects: Vec<Step>,
        in_flight: u32,
        suspects_in_flight: u32,
    }

    impl Render {
        fn demand(&self) -> Demand {
            let Next { due, in_flight, suspects_in_flight, .. } = &self.next;
            let wants = Wants {
                priority: self.priority,
                kind: self.kind,
                in_flight: *in_flight,
                suspects_in_flight: *suspects_in_flight,
                is_due: !due.is_empty(),
            };
            Demand { space: self.space.clone(), pool: Pool::default(), created_at_ms: self.created_at_ms, wants }
        }

        fn next_due(&self, with_suspects: bool) -> Option<Step> {
            self.next.due.iter().copied().find(|step| with_suspects || !self.next.suspects.contains(step))
        }
    }

    fn wants(due: Vec<Step>, in_flight: u32) -> Next {
        Next { due, in_flight, ..Next::default() }
    }

    fn chunks(count: u32) -> Vec<Step> {
        (0..count).map(Step::Chunk).collect()
    }

    fn render(id: &str, space: &str, at: u64, next: Next) -> Render {
        let (id, space) = (id.parse().unwrap(), space.parse().unwrap());
        let kind = match next.due.first() {
            Some(Step::Plan) => Kind::Plan,
            Some(Step::Stitch) => Kind::Stitch,
            _ => Kind::Chunk,
        };
        Render { id, space, priority: 0, created_at_ms: at, kind, next }
    }

    fn fleet(slots: u32) -> Fleet {
        Fleet::from_nodes(&[NodeView::new("n".parse().unwrap(), "worker", "cpu", slots, "")])
    }

    fn queue_of(renders: &[Render], policy: &SchedulePolicy) -> RunQueue {
        let mut queue = RunQueue::default();
        renders.iter().for_each(|render| queue.set(&render.id, Some(render.demand()), policy));
        queue
    }

    /// Dispatches what has room.
    fn dispatch(queue: &mut RunQueue, renders: &mut [Render], fleet: &Fleet, policy: &SchedulePolicy) -> Vec<TaskId> {
        let mut tasks = Vec::new();
        loop {
            let of = |id: &RenderId| renders.iter().find(|render| render.id == *id);
            let next = queue.next(fleet, policy, |id, with_suspects| of(id)?.next_due(with_suspects));
            let Some((id, step)) = next else { return tasks };
            let render = renders.iter_mut().find(|render| render.id == id).unwrap();
            let is_suspect = render.next.suspects.contains(&step);
            let wants = &mut render.next;
            wants.due.retain(|due| *due != step);
            wants.in_flight += u32::from(step != Step::Stitch);
            wants.suspects_in_flight += u32::from(is_suspect);
            queue.set(&id, Some(render.demand()), policy);
            tasks.push(TaskId { render: id, step });
        }
    }

    fn shared_by(renders: &[Render], fleet: &Fleet, policy: &SchedulePolicy) -> Vec<TaskId> {
        dispatch(&mut queue_of(renders, policy), &mut renders.to_vec(), fleet, policy)
    }

    fn shared(renders: &[Render], slots: u32) -> Vec<String> {
        let tasks = shared_by(renders, &fleet(slots), &SchedulePolicy::default());
        tasks.iter().map(TaskId::to_string).collect()
    }

    #[test]
    fn two_tasks_a_live_slot_of_the_pool_and_four_at_least() {
        let renders = [render("a", "s", 1, wants(chunks(100), 0))];
        assert_eq!(shared(&renders, 5).len(), 10);
        assert_eq!(shared(&renders, 0).len(), 4);
    }

    #[test]
    fn what_is_in_flight_of_any_render_takes_room() {
        let renders = [
            render("a", "s", 1, wants(chunks(2), 1)),
            render("b", "s", 2, wants(vec![Step::Chunk(7)], 1)),
            render("c", "s", 3, wants(vec![Step::Stitch], 0)),
            render("d", "s", 4, wants(vec![Step::Plan], 0)),
        ];
        let tasks = shared(&renders, 0);
        assert_eq!(
            tasks,
            ["d/plan", "a/chunk-0", "a/chunk-1", "c/stitch"],
            "of chunks the first render's; stitch and plan pass"
        );
    }

    #[test]
    fn the_higher_priority_then_the_older_comes_first_within_a_space() {
        let of = |id: &str, priority, at| Render { priority, ..render(id, "s", at, wants(chunks(1), 0)) };
        let renders = [of("a", 0, 2), of("c", 0, 1), of("b", 0, 1), of("z", -1, 0), of("first", 5, 9)];
        let tasks = shared(&renders, 5);
        assert_eq!(tasks, ["first/chunk-0", "b/chunk-0", "c/chunk-0", "a/chunk-0", "z/chunk-0"]);
    }

    #[test]
    fn a_small_space_has_the_second_place_at_the_latest_whatever_the_priority_of_the_large_one() {
        let mut renders: Vec<Render> = (0..30)
            .map(|n| Render { priority: 50, ..render(&format!("a{n}"), "alpha", n, wants(chunks(36), 0)) })
            .collect();
        renders.push(render("b", "beta", 1_000, wants(chunks(36), 0)));
        let tasks = shared(&renders, 6);
        assert_eq!(tasks[1], "b/chunk-0");
        assert_eq!(tasks.iter().filter(|task| task.starts_with("b/")).count(), 6, "half of the window");
        // With alpha in all slots the next place is beta's.
        renders[0].next.in_flight = 11;
        assert_eq!(shared(&renders, 6), ["b/chunk-0"]);
    }

    #[test]
    fn a_space_has_places_by_its_weight() {
        let weights = [("alpha", 3), ("beta", 1)]
            .map(|(space, weight)| (space.parse::<Space>().unwrap(), NonZeroU32::new(weight).unwrap()));
        let policy = SchedulePolicy { space_weights: weights.into(), ..SchedulePolicy::default() };
        let renders = [render("a", "alpha", 1, wants(chunks(99), 0)), render("b", "beta", 2, wants(chunks(99), 0))];
        let tasks = shared_by(&renders, &fleet(8), &policy);
        let of_alpha = tasks.iter().filter(|task| task.render.as_str() == "a").count();
        assert_eq!((of_alpha, tasks.len()), (12, 16));
    }

    #[test]
    fn tasks_that_lost_a_worker_go_one_by_one_and_hold_up_nobody() {
        let suspect = |id: &str, in_flight| {
            let suspects = vec![Step::Chunk(0), Step::Chunk(1)];
            render(id, id, 1, Next { suspects, suspects_in_flight: in_flight, ..wants(chunks(3), in_flight) })
        };
        let tasks = shared(&[suspect("a", 0), suspect("b", 0)], 8);
        assert_eq!(tasks, ["a/chunk-0", "b/chunk-2", "a/chunk-2"], "one suspect, and all others");
        let tasks = shared(&[suspect("a", 1), suspect("b", 0)], 8);
        assert_eq!(tasks, ["b/chunk-2", "a/chunk-2"], "none beside the one in flight");
        let nodes: Vec<NodeView> =
            (0..8).map(|n| NodeView::new(format!("n{n}").parse().unwrap(), "worker", "cpu", 1, "")).collect();
        let tasks =
            shared_by(&[suspect("a", 0), suspect("b", 0)], &Fleet::from_nodes(&nodes), &SchedulePolicy::default());
        assert_eq!(tasks.len(), 4, "two suspects where there are eight nodes");
    }

    fn renders() -> impl Strategy<Value = Vec<Render>> {
        let one = (0..6_u32, 0..40_u32, 0..5_u32, -3..3_i32, 1..9_u64);
        prop::collection::vec(one, 1..30).prop_map(|renders| {
            let renders = renders.into_iter().enumerate();
            let of = |(number, (space, due, in_flight, priority, at))| Render {
                priority,
                ..render(&format!("r{number}"), &format!("s{space}"), at, wants(chunks(due), in_flight))
            };
            renders.map(of).collect()
        })
    }

    proptest! {
        #[test]
        fn work_is_conserved_and_nothing_is_dispatched_twice(renders in renders(), slots in 0..40_u32) {
            let tasks = shared(&renders, slots);
            let due: usize = renders.iter().map(|render| render.next.due.len()).sum();
            let in_flight: u32 = renders.iter().map(|render| render.next.in_flight).sum();
            let room = (slots * 2).max(4).saturating_sub(in_flight) as usize;
            prop_assert_eq!(tasks.len(), due.min(room));
            let distinct: std::collections::BTreeSet<_> = tasks.iter().collect();
            prop_assert_eq!(distinct.len(), tasks.len());
        }

        #[test]
        fn no_space_with_due_tasks_has_two_fewer_in_flight_than_one_that_was_given_a_place(
            renders in renders(),
            slots in 0..40_u32,
        ) {
            let tasks = shared_by(&renders, &fleet(slots), &SchedulePolicy::default());
            let (mut given, mut in_flight, mut due) = (HashMap::new(), HashMap::new(), HashMap::new());
            for render in &renders {
                let of_render = tasks.iter().filter(|task| task.render == render.id).count();
                *given.entry(&render.space).or_insert(0) += of_render;
                *in_flight.entry(&render.space).or_insert(0) += render.next.in_flight as usize + of_render;
                *due.entry(&render.space).or_insert(0) += render.next.due.len() - of_render;
            }
            for (space, left) in &due {
                for (other, _) in given.iter().filter(|(_, given)| **given > 0) {
                    prop_assert!(*left == 0 || in_flight[space] + 1 >= in_flight[other], "{space:?} against {other:?}");
                }
            }
        }

        /// Jain's index of what the spaces were given, over rounds in which every task in flight ends.
        #[test]
        fn spaces_that_always_have_work_are_served_alike(
            sizes in prop::collection::vec((1..60_u32, 1..6_usize), 2..12),
            slots in 6..24_u32,
        ) {
            let mut renders = Vec::new();
            for (space, (count, each)) in sizes.iter().enumerate() {
                for number in 0..*each {
                    let (id, name) = (format!("r{space}-{number}"), format!("s{space}"));
                    renders.push(render(&id, &name, number as u64 + 1, wants(chunks(*count + 48), 0)));
                }
            }
            let (fleet, policy) = (fleet(slots), SchedulePolicy::default());
            let mut queue = queue_of(&renders, &policy);
            let mut served: HashMap<Space, f64> = HashMap::new();
            let mut in_flight: Vec<TaskId> = Vec::new();
            // What is in flight ends in the order in which it was dispatched, half of the window a round.
            for _ in 0..200 {
                for task in in_flight.drain(..(in_flight.len() / 2)) {
                    let render = renders.iter_mut().find(|render| render.id == task.render).unwrap();
                    render.next.in_flight -= 1;
                    *served.entry(render.space.clone()).or_default() += 1.0;
                    render.next.due.push(task.step);
                    queue.set(&task.render, Some(render.demand()), &policy);
                }
                in_flight.extend(dispatch(&mut queue, &mut renders, &fleet, &policy));
            }
            let served: Vec<f64> = served.into_values().collect();
            let (sum, squares) = (served.iter().sum::<f64>(), served.iter().map(|x| x * x).sum::<f64>());
            let jain = sum * sum / (sizes.len() as f64 * squares);
            prop_assert!(jain >= 0.95, "Jain's index {jain:.3} of {served:?}");
        }

        #[test]
        fn a_queue_that_was_changed_is_one_that_was_made_anew(
            before in renders(),
            after in renders(),
            slots in 0..40_u32,
        ) {
            let (fleet, policy) = (fleet(slots), SchedulePolicy::default());
            let mut queue = queue_of(&before, &policy);
            for render in before.iter().filter(|old| after.iter().all(|new| new.id != old.id)) {
                queue.set(&render.id, None, &policy);
            }
            after.iter().for_each(|render| queue.set(&render.id, Some(render.demand()), &policy));
            let expected = shared_by(&after, &fleet, &policy);
            prop_assert_eq!(dispatch(&mut queue, &mut after.clone(), &fleet, &policy), expected);
            after.iter().for_each(|render| queue.set(&render.id, None, &policy));
            prop_assert!(queue.windows.is_empty() && queue.demands.is_empty());
        }
    }
}
