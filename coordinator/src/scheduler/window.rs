//! Which due tasks fit into the queues.

use std::collections::{BTreeSet, HashMap};

use hyperfarm_backplane::ledger::{NodeState, NodeView};
use hyperfarm_proto::id::{Pool, RenderId};
use hyperfarm_proto::task::{Step, TaskId};

use super::next_step::NextStep;
use super::policy::SchedulePolicy;

/// The live workers, by pool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fleet(HashMap<String, PoolWorkers>);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct PoolWorkers {
    slots: u32,
    /// Ids of the capture classes of nodes that take tasks or will again after their quarantine. An empty id is of an older node that
    /// does not report its class.
    classes: BTreeSet<String>,
}

impl Fleet {
    /// The workers among `nodes`.
    pub fn from_nodes(nodes: &[NodeView]) -> Self {
        let mut pools: HashMap<String, PoolWorkers> = HashMap::new();
        let comes_back = |node: &NodeView| node.slots > 0 || node.state == NodeState::Quarantined;
        for node in nodes.iter().filter(|node| node.role == "worker" && comes_back(node)) {
            let pool = pools.entry(node.pool.clone()).or_default();
            pool.slots += node.slots;
            pool.classes.insert(node.class_id.clone());
        }
        Self(pools)
    }

    /// Live slots of `pool`.
    pub fn slots(&self, pool: &Pool) -> u32 {
        self.0.get(pool.as_str()).map_or(0, |pool| pool.slots)
    }

    /// Whether `pool` has workers, but none that could be of the capture class with this id.
    pub fn lacks_class(&self, pool: &Pool, class_id: &str) -> bool {
        let has = |pool: &PoolWorkers| pool.classes.contains(class_id) || pool.classes.contains("");
        self.0.get(pool.as_str()).is_some_and(|pool| !has(pool))
    }
}

/// The tasks to dispatch now: those due tasks of `renders`, in their order, that fit into the windows of their pools. Plan tasks have a
/// window of their own, so that many new renders do not hold up the chunks of old ones, nor the reverse. Stitches are not limited.
pub fn fill_windows<'a>(
    renders: impl Iterator<Item = (&'a RenderId, &'a Pool, &'a NextStep)> + Clone,
    fleet: &Fleet,
    policy: &SchedulePolicy,
) -> Vec<(TaskId, Pool)> {
    let mut windows: HashMap<&Pool, Room> = HashMap::new();
    for (_, pool, next) in renders.clone() {
        let window = fleet.slots(pool).saturating_mul(policy.window_per_slot).max(policy.window_min);
        let room = windows.entry(pool).or_insert(Room { plans: window, chunks: window });
        room.plans = room.plans.saturating_sub(next.plans_in_flight);
        room.chunks = room.chunks.saturating_sub(next.chunks_in_flight);
    }
    let mut tasks = Vec::new();
    for (render, pool, next) in renders {
        let Some(room) = windows.get_mut(pool) else { continue };
        for &step in &next.due {
            let left = match step {
                Step::Plan => Some(&mut room.plans),
                Step::Audio | Step::Chunk(_) => Some(&mut room.chunks),
                Step::Stitch => None,
            };
            if let Some(left) = left {
                if *left == 0 {
                    continue;
                }
                *left -= 1;
            }
            tasks.push((TaskId { render: render.clone(), step }, pool.clone()));
        }
    }
    tasks
}

/// Number of tasks that still fit into the queues of a pool.
struct Room {
    plans: u32,
    chunks: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Stage;
    use crate::scheduler::RenderAction;

    fn wants(steps: Vec<Step>, chunks_in_flight: u32) -> NextStep {
        let (action, stage) = (RenderAction::Dispatch, Stage::Capture);
        NextStep { action, stage, plans_in_flight: 0, chunks_in_flight, due: steps }
    }

    fn chunks(count: u32) -> Vec<Step> {
        (0..count).map(Step::Chunk).collect()
    }

    fn node(role: &str, pool: &str, slots: u32) -> NodeView {
        NodeView::new("n".parse().unwrap(), role, pool, slots, "")
    }

    fn filled(renders: &[(&str, NextStep)], nodes: &[NodeView]) -> Vec<String> {
        let pool = Pool::default();
        let renders: Vec<(RenderId, &NextStep)> =
            renders.iter().map(|(id, next)| (id.parse().unwrap(), next)).collect();
        let renders = renders.iter().map(|(id, next)| (id, &pool, *next));
        fill_windows(renders, &Fleet::from_nodes(nodes), &SchedulePolicy::default())
            .iter()
            .map(|(task, _)| task.to_string())
            .collect()
    }

    #[test]
    fn two_tasks_a_live_slot_of_the_pool_and_four_at_least() {
        let renders = [("a", wants(chunks(100), 0))];
        let nodes =
            [node("worker", "cpu", 3), node("worker", "cpu", 2), node("worker", "gpu", 50), node("stitcher", "cpu", 9)];
        assert_eq!(filled(&renders, &nodes).len(), 10);
        assert_eq!(filled(&renders, &[]).len(), 4);
    }

    #[test]
    fn a_class_is_lacking_where_only_others_are_alive() {
        let of = |class: &str, slots| NodeView { class_id: class.to_owned(), ..node("worker", "cpu", slots) };
        let (cpu, gpu) = (Pool::default(), "gpu".parse().unwrap());
        let fleet = Fleet::from_nodes(&[of("new", 2), of("old", 0)]);
        assert!(fleet.lacks_class(&cpu, "old"), "a node that drains takes nothing more");
        assert!(!fleet.lacks_class(&cpu, "new"));
        let resting = NodeView { state: NodeState::Quarantined, ..of("old", 0) };
        let fleet = Fleet::from_nodes(&[of("new", 2), resting.clone()]);
        assert!(!fleet.lacks_class(&cpu, "old"), "a node in quarantine comes back");
        assert_eq!((fleet.slots(&cpu), Fleet::from_nodes(&[resting]).slots(&cpu)), (2, 0));
        assert!(!fleet.lacks_class(&gpu, "old"), "where nobody is, somebody may still come");
        assert!(
            !Fleet::from_nodes(&[of("new", 2), of("", 1)]).lacks_class(&cpu, "old"),
            "an older node does not say its class"
        );
    }

    #[test]
    fn what_is_in_flight_of_any_render_takes_room() {
        let renders = [("a", wants(chunks(2), 1)), ("b", wants(vec![Step::Chunk(7), Step::Stitch, Step::Plan], 1))];
        let tasks = filled(&renders, &[]);
        assert_eq!(
            tasks,
            ["a/chunk-0", "a/chunk-1", "b/stitch", "b/plan"],
            "the first render first; stitch and plan pass"
        );
    }
}
