//! Which nodes are gone: they were alive, and have said nothing since, while the ledger answered.
//!
//! A lease that ran out does not say why. After an outage of the ledger all have run out, and all workers are well; a
//! coordinator that has just started knows of nobody. So a node counts as lost only if this process saw it alive, and
//! it has been missing from the ledger's list for [`CoordinatorConfig::node_lost_after`](crate::CoordinatorConfig) in
//! which the ledger answered every time. A node that lives reports at least once in that time. It leaves the list 15 s
//! after its last report, so the whole is shorter than a lease that was renewed last.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use hyperfarm_backplane::ledger::{NodeView, node_of_slot};

/// How long a node that has left is remembered.
const REMEMBERED_FOR: Duration = Duration::from_secs(3600);

/// The nodes that were seen alive. See the [module](self).
#[derive(Debug)]
pub(super) struct NodeWatch {
    lost_after: Duration,
    alive: BTreeSet<String>,
    /// Since when a node has been missing, while the ledger answered; `None` where it has not answered since.
    missing: BTreeMap<String, Option<Instant>>,
}

impl NodeWatch {
    /// A watch that has seen no node. A node is lost after it was missing for `lost_after`.
    pub(super) fn new(lost_after: Duration) -> Self {
        Self { lost_after, alive: BTreeSet::new(), missing: BTreeMap::new() }
    }

    /// Notes the answer of the ledger: `nodes` are alive.
    pub(super) fn saw(&mut self, nodes: &[NodeView], now: Instant) {
        let alive: BTreeSet<String> = nodes.iter().map(|node| node.id.to_string()).collect();
        for node in std::mem::take(&mut self.alive) {
            self.missing.entry(node).or_default();
        }
        self.missing.retain(|node, since| {
            let since = *since.get_or_insert(now);
            !alive.contains(node) && now.saturating_duration_since(since) < REMEMBERED_FOR
        });
        self.alive = alive;
    }

    /// Notes that the ledger did not answer. The time for which nodes are missing begins again.
    pub(super) fn saw_nothing(&mut self) {
        self.missing.values_mut().for_each(|since| *since = None);
    }

    /// Whether the node of the slot `worker` is lost.
    pub(super) fn is_lost(&self, worker: &str, now: Instant) -> bool {
        let since = self.missing.get(node_of_slot(worker)).copied().flatten();
        since.is_some_and(|since| now.saturating_duration_since(since) >= self.lost_after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOST_AFTER: Duration = Duration::from_secs(6);

    fn nodes(ids: &[&str]) -> Vec<NodeView> {
        ids.iter().map(|id| NodeView::new(id.parse().unwrap(), "worker", "cpu", 1, "")).collect()
    }

    #[test]
    fn a_node_is_lost_when_it_is_missing_for_long_enough_and_no_longer_when_it_is_back() {
        let (mut watch, start) = (NodeWatch::new(LOST_AFTER), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        watch.saw(&nodes(&["a", "b"]), at(0));
        watch.saw(&nodes(&["a"]), at(1));
        assert!(!watch.is_lost("b-s0", at(6)));
        watch.saw(&nodes(&["a"]), at(7));
        assert!(watch.is_lost("b-s0", at(7)) && watch.is_lost("b-s11", at(7)));
        assert!(!watch.is_lost("a-s0", at(7)) && !watch.is_lost("never-s0", at(7)));
        watch.saw(&nodes(&["a", "b"]), at(8));
        assert!(!watch.is_lost("b-s0", at(60)));
    }

    #[test]
    fn after_an_outage_of_the_ledger_nodes_have_time_to_come_back() {
        let (mut watch, start) = (NodeWatch::new(LOST_AFTER), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        watch.saw(&nodes(&["a", "b"]), at(0));
        for second in 1..60 {
            watch.saw_nothing();
            assert!(!watch.is_lost("a-s0", at(second)));
        }
        watch.saw(&nodes(&[]), at(60));
        assert!(!watch.is_lost("a-s0", at(60)), "it has had no time to report");
        watch.saw(&nodes(&["a"]), at(63));
        watch.saw(&nodes(&["a"]), at(66));
        assert!(!watch.is_lost("a-s0", at(66)) && watch.is_lost("b-s0", at(66)));
    }

    #[test]
    fn one_that_is_missing_when_the_ledger_stops_to_answer_is_counted_anew() {
        let (mut watch, start) = (NodeWatch::new(LOST_AFTER), Instant::now());
        watch.saw(&nodes(&["a"]), start);
        watch.saw(&nodes(&[]), start + Duration::from_secs(1));
        watch.saw_nothing();
        watch.saw(&nodes(&[]), start + Duration::from_secs(8));
        assert!(!watch.is_lost("a-s0", start + Duration::from_secs(8)));
        watch.saw(&nodes(&[]), start + Duration::from_secs(14));
        assert!(watch.is_lost("a-s0", start + Duration::from_secs(14)));
    }
}
