//! Which due tasks go into the queues now: a fair share of every pool for every space.
//!
//! # The problem
//!
//! A pool has some slots. Renders of many spaces (tenants) want them, some spaces with one render, some with thousands.
//! A space with thousands must not make one with a single render wait, slots must not idle while anybody has work, and
//! the order must be able to change within seconds. So only a short window of tasks is in a pool's queues, and whenever
//! it has room [`share`] says who gets it. It is a pure function of the [`Demand`] of the open renders and of the
//! [`Fleet`].
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
//! - **Within a render** the order is that of [`NextStep::due`]: the sound, then the longest chunks. Its cap on chunks
//!   at a time is in there as well.
//! - **Plans have a window of their own**, so that many new renders do not hold up the chunks of old ones, nor the
//!   reverse. Stitches are not limited.
//! - **Suspects one by one.** A task that has lost a worker may be what ended it. Of these few are in flight at a time
//!   ([`Fleet::suspects`]), so that a lost worker says which task it was.
//!
//! # Cost
//!
//! For R open renders, S spaces and T dispatched tasks O(R log R + T log S). A due task that is not dispatched is not
//! looked at, but for suspects.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use hyperfarm_proto::id::{Pool, RenderId, Space};
use hyperfarm_proto::task::{Step, TaskId};

use super::next_step::NextStep;
use super::policy::SchedulePolicy;
use super::window::Fleet;

/// What an open render wants.
#[derive(Debug, Clone, Copy)]
pub struct Demand<'a> {
    /// The render.
    pub render: &'a RenderId,
    /// The space that it belongs to.
    pub space: &'a Space,
    /// The pool whose slots it wants.
    pub pool: &'a Pool,
    /// The higher one comes first in its space.
    pub priority: i32,
    /// Unix milliseconds of its submission.
    pub created_at_ms: u64,
    /// When its space was given a place last: the higher, the later; 0 is never.
    pub last_served: u64,
    /// Its due tasks, and how many are in flight.
    pub next: &'a NextStep,
}

impl<'a> Demand<'a> {
    /// The order of renders within a space.
    pub(super) fn rank(&self) -> (Reverse<i32>, u64, &'a RenderId) {
        (Reverse(self.priority), self.created_at_ms, self.render)
    }
}

/// The kinds of tasks that have a window of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Plan,
    Chunk,
}

impl Kind {
    /// The kind of `step`; `None` for a stitch, which no window limits.
    fn of(step: Step) -> Option<Self> {
        match step {
            Step::Plan => Some(Self::Plan),
            Step::Audio | Step::Chunk(_) => Some(Self::Chunk),
            Step::Stitch => None,
        }
    }
}

/// What the spaces want of one window.
struct Window<'a> {
    room: u32,
    spaces: BTreeMap<&'a Space, SpaceDemand<'a>>,
}

#[derive(Default)]
struct SpaceDemand<'a> {
    in_flight: u32,
    /// Its renders with due tasks, the first one last, each with the number of its due tasks that were looked at.
    renders: Vec<(Demand<'a>, usize)>,
    /// When it was given a place last.
    last_served: u64,
}

impl<'a> SpaceDemand<'a> {
    /// Its next task; suspects only while `suspects` is not zero, which it counts down.
    fn next(&mut self, suspects: &mut u32) -> Option<(&'a RenderId, Step)> {
        while let Some((demand, seen)) = self.renders.last_mut() {
            let Some(&step) = demand.next.due.get(*seen) else {
                self.renders.pop();
                continue;
            };
            *seen += 1;
            if !demand.next.suspects.contains(&step) {
                return Some((demand.render, step));
            }
            if *suspects > 0 {
                *suspects -= 1;
                return Some((demand.render, step));
            }
        }
        None
    }
}

/// The tasks to dispatch now, in order. See the [module](self).
pub fn share<'a>(
    demands: impl Iterator<Item = Demand<'a>>,
    fleet: &Fleet,
    policy: &SchedulePolicy,
) -> Vec<(TaskId, Pool)> {
    let mut demands: Vec<Demand<'a>> = demands.collect();
    demands.sort_by_key(Demand::rank);
    let mut tasks = Vec::new();
    let mut windows: BTreeMap<(&Pool, Kind), Window<'a>> = BTreeMap::new();
    let mut suspects: BTreeMap<&Pool, u32> = BTreeMap::new();
    // The last one first, so that the first one is popped first.
    for demand in demands.iter().rev() {
        let next = demand.next;
        let room = suspects.entry(demand.pool).or_insert_with(|| fleet.suspects(demand.pool));
        *room = room.saturating_sub(next.suspects_in_flight);
        let size = policy.window(fleet.slots(demand.pool));
        for (kind, in_flight) in [(Kind::Plan, next.plans_in_flight), (Kind::Chunk, next.chunks_in_flight)] {
            // A render's due tasks are of one stage.
            let is_due = next.due.first().is_some_and(|step| Kind::of(*step) == Some(kind));
            if in_flight == 0 && !is_due {
                continue;
            }
            let window =
                windows.entry((demand.pool, kind)).or_insert_with(|| Window { room: size, spaces: BTreeMap::new() });
            window.room = window.room.saturating_sub(in_flight);
            let space = window.spaces.entry(demand.space).or_default();
            space.in_flight += in_flight;
            space.last_served = demand.last_served;
            space.renders.extend(is_due.then_some((*demand, 0)));
        }
    }
    let mut now = demands.iter().map(|demand| demand.last_served).max().unwrap_or(0);
    for ((pool, _), mut window) in windows {
        let suspects = suspects.entry(pool).or_default();
        let mut queue: BinaryHeap<_> = window
            .spaces
            .iter()
            .map(|(space, demand)| Reverse((policy.load_of(space, demand.in_flight), demand.last_served, *space)))
            .collect();
        while window.room > 0
            && let Some(Reverse((_, _, space))) = queue.pop()
        {
            let Some(demand) = window.spaces.get_mut(space) else { continue };
            let Some((render, step)) = demand.next(suspects) else { continue };
            demand.in_flight += 1;
            window.room -= 1;
            tasks.push((TaskId { render: render.clone(), step }, pool.clone()));
            now += 1;
            queue.push(Reverse((policy.load_of(space, demand.in_flight), now, space)));
        }
    }
    for demand in &demands {
        if demand.next.due.first() == Some(&Step::Stitch) {
            tasks.push((TaskId { render: demand.render.clone(), step: Step::Stitch }, demand.pool.clone()));
        }
    }
    tasks
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::num::NonZeroU32;

    use hyperfarm_backplane::ledger::NodeView;
    use proptest::prelude::*;

    use super::*;
    use crate::progress::Stage;
    use crate::scheduler::RenderAction;

    /// A render of a test, which owns what a [`Demand`] refers to.
    #[derive(Debug, Clone)]
    struct Render {
        id: RenderId,
        space: Space,
        priority: i32,
        created_at_ms: u64,
        last_served: u64,
        next: NextStep,
    }

    fn wants(due: Vec<Step>, chunks_in_flight: u32) -> NextStep {
        NextStep { chunks_in_flight, due, ..NextStep::new(RenderAction::Dispatch, Stage::Capture) }
    }

    fn chunks(count: u32) -> Vec<Step> {
        (0..count).map(Step::Chunk).collect()
    }

    fn render(id: &str, space: &str, at: u64, next: NextStep) -> Render {
        let (id, space) = (id.parse().unwrap(), space.parse().unwrap());
        Render { id, space, priority: 0, created_at_ms: at, last_served: 0, next }
    }

    fn fleet(slots: u32) -> Fleet {
        Fleet::from_nodes(&[NodeView::new("n".parse().unwrap(), "worker", "cpu", slots, "")])
    }

    fn shared_by(renders: &[Render], fleet: &Fleet, policy: &SchedulePolicy) -> Vec<TaskId> {
        let pool = Pool::default();
        let demands = renders.iter().map(|render| Demand {
            render: &render.id,
            space: &render.space,
            pool: &pool,
            priority: render.priority,
            created_at_ms: render.created_at_ms,
            last_served: render.last_served,
            next: &render.next,
        });
        share(demands, fleet, policy).into_iter().map(|(task, _)| task).collect()
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
        renders[0].next.chunks_in_flight = 11;
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
            render(id, id, 1, NextStep { suspects, suspects_in_flight: in_flight, ..wants(chunks(3), in_flight) })
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
            let in_flight: u32 = renders.iter().map(|render| render.next.chunks_in_flight).sum();
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
                *in_flight.entry(&render.space).or_insert(0) += render.next.chunks_in_flight as usize + of_render;
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
            let mut served: HashMap<Space, f64> = HashMap::new();
            let mut in_flight: Vec<TaskId> = Vec::new();
            let mut dispatched = 0;
            // What is in flight ends in the order in which it was dispatched, half of the window a round.
            for _ in 0..200 {
                for task in in_flight.drain(..(in_flight.len() / 2)) {
                    let render = renders.iter_mut().find(|render| render.id == task.render).unwrap();
                    render.next.chunks_in_flight -= 1;
                    *served.entry(render.space.clone()).or_default() += 1.0;
                    render.next.due.push(task.step);
                }
                for task in shared_by(&renders, &fleet(slots), &SchedulePolicy::default()) {
                    let render = renders.iter_mut().find(|render| render.id == task.render).unwrap();
                    render.next.due.retain(|step| *step != task.step);
                    render.next.chunks_in_flight += 1;
                    dispatched += 1;
                    let space = render.space.clone();
                    renders.iter_mut().filter(|other| other.space == space).for_each(|of| of.last_served = dispatched);
                    in_flight.push(task);
                }
            }
            let served: Vec<f64> = served.into_values().collect();
            let (sum, squares) = (served.iter().sum::<f64>(), served.iter().map(|x| x * x).sum::<f64>());
            let jain = sum * sum / (sizes.len() as f64 * squares);
            prop_assert!(jain >= 0.95, "Jain's index {jain:.3} of {served:?}");
        }
    }
}
