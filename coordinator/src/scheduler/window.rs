//! The workers that are alive.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use hyperfarm_backplane::ledger::{NodeState, NodeView};
use hyperfarm_proto::id::Pool;

/// The live workers by pool, and the live stitchers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fleet {
    pools: HashMap<String, PoolWorkers>,
    /// Slots of stitchers that take tasks.
    stitch_slots: u32,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct PoolWorkers {
    slots: u32,
    nodes: u32,
    /// Number of nodes in quarantine.
    quarantined: u32,
    /// Nodes with free slots, by their id: their capture class, and how many slots are free.
    idle: BTreeMap<String, (String, u32)>,
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
            pool.nodes += u32::from(node.slots > 0);
            pool.quarantined += u32::from(node.state == NodeState::Quarantined);
            pool.classes.insert(node.class_id.clone());
            let free = node.slots.saturating_sub(node.tasks.len() as u32);
            if free > 0 {
                pool.idle.insert(node.id.to_string(), (node.class_id.clone(), free));
            }
        }
        let stitchers = nodes.iter().filter(|node| node.role == "stitcher");
        Self { pools, stitch_slots: stitchers.map(|node| node.slots).sum() }
    }

    /// Live slots of stitchers.
    pub fn stitch_slots(&self) -> u32 {
        self.stitch_slots
    }

    /// Number of workers of `pool` in quarantine.
    pub fn quarantined(&self, pool: &Pool) -> u32 {
        self.pools.get(pool.as_str()).map_or(0, |pool| pool.quarantined)
    }

    /// Live slots of `pool`.
    pub fn slots(&self, pool: &Pool) -> u32 {
        self.pools.get(pool.as_str()).map_or(0, |pool| pool.slots)
    }

    /// The workers of `pool` that have free slots, as of their last heartbeat: id, capture class, number of free slots.
    pub fn idle(&self, pool: &Pool) -> impl Iterator<Item = (&str, &str, u32)> {
        let idle = self.pools.get(pool.as_str()).into_iter().flat_map(|pool| &pool.idle);
        idle.map(|(node, (class, free))| (node.as_str(), class.as_str(), *free))
    }

    /// How many tasks that have lost a worker may be in flight in `pool` at a time: one for four nodes, so that two are
    /// rarely in the same process, and one at least.
    pub fn suspects(&self, pool: &Pool) -> u32 {
        (self.pools.get(pool.as_str()).map_or(0, |pool| pool.nodes) / 4).max(1)
    }

    /// Whether `pool` has workers, but none that could be of the capture class with this id.
    pub fn lacks_class(&self, pool: &Pool, class_id: &str) -> bool {
        let has = |pool: &PoolWorkers| pool.classes.contains(class_id) || pool.classes.contains("");
        self.pools.get(pool.as_str()).is_some_and(|pool| !has(pool))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(role: &str, pool: &str, slots: u32) -> NodeView {
        NodeView::new("n".parse().unwrap(), role, pool, slots, "")
    }

    #[test]
    fn slots_and_nodes_are_those_of_the_pools_workers() {
        let (cpu, gpu) = (Pool::default(), "gpu".parse().unwrap());
        let nodes =
            [node("worker", "cpu", 3), node("worker", "cpu", 2), node("worker", "gpu", 50), node("stitcher", "cpu", 9)];
        let fleet = Fleet::from_nodes(&nodes);
        assert_eq!((fleet.slots(&cpu), fleet.slots(&gpu)), (5, 50));
        assert_eq!((fleet.suspects(&cpu), Fleet::default().suspects(&cpu)), (1, 1));
        let many: Vec<NodeView> = (0..12).map(|_| node("worker", "cpu", 1)).collect();
        assert_eq!(Fleet::from_nodes(&many).suspects(&cpu), 3);
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
}
