//! Which nodes are gone: they were alive, and have said nothing since, while the ledger answered.
//!
//! A lease that ran out does not say why. After an outage of the ledger all have run out, and all workers are well; a
//! coordinator that has just started knows of nobody. So a node counts as lost only if this process saw it alive, it is
//! missing from the ledger's list, and the ledger has answered for
//! [`CoordinatorConfig::node_lost_after`](crate::CoordinatorConfig) every time. A node that lives reports at least once
//! in that time. A node leaves the list after three quarters of a lease without a report, so it is missing when its
//! leases end.

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
    /// Since when a node has been missing.
    missing: BTreeMap<String, Instant>,
    /// Since when the ledger has answered every time.
    answers_since: Option<Instant>,
}

impl NodeWatch {
    /// A watch that has seen no node. A missing node is lost once the ledger has answered for `lost_after`.
    pub(super) fn new(lost_after: Duration) -> Self {
        Self { lost_after, alive: BTreeSet::new(), missing: BTreeMap::new(), answers_since: None }
    }

    /// Notes the answer of the ledger: `nodes` are alive.
    pub(super) fn saw(&mut self, nodes: &[NodeView], now: Instant) {
        let alive: BTreeSet<String> = nodes.iter().map(|node| node.id.to_string()).collect();
        for node in std::mem::take(&mut self.alive) {
            self.missing.entry(node).or_insert(now);
        }
        let is_recent = |since: Instant| now.saturating_duration_since(since) < REMEMBERED_FOR;
        self.missing.retain(|node, since| !alive.contains(node) && is_recent(*since));
        self.alive = alive;
        self.answers_since.get_or_insert(now);
    }

    /// Notes that the ledger did not answer.
    pub(super) fn saw_nothing(&mut self) {
        self.answers_since = None;
    }

    /// Whether the node of the slot `worker` is lost.
    pub(super) fn is_lost(&self, worker: &str, now: Instant) -> bool {
        let answers_for = self.answers_since.map(|since| now.saturating_duration_since(since));
        answers_for.is_some_and(|time| time >= self.lost_after) && self.missing.contains_key(node_of_slot(worker))
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
    fn a_node_is_lost_when_it_is_missing_and_no_longer_when_it_is_back() {
        let (mut watch, start) = (NodeWatch::new(LOST_AFTER), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        watch.saw(&nodes(&["a", "b"]), at(0));
        watch.saw(&nodes(&["a"]), at(1));
        assert!(!watch.is_lost("b-s0", at(5)), "the ledger has not answered for long");
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
    fn one_that_is_missing_when_the_ledger_stops_to_answer_is_lost_after_the_outage() {
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
