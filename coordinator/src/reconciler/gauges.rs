//! What the loop knows of the farm as a whole, as gauges.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hyperfarm_backplane::Backplane;
use hyperfarm_backplane::ledger::{NodeState, NodeView};
use hyperfarm_backplane::metrics::FarmGauges;
use hyperfarm_proto::id::Pool;
use hyperfarm_proto::task::{Queue, Step};
use tracing::debug;

use super::tracked::Tracked;
use crate::progress::Stage;

/// Pools that are shown at most: their names come from requests too.
const POOLS: usize = 64;

/// How often the broker is asked for the depths of its queues.
pub(super) const DEPTHS_EVERY: Duration = Duration::from_secs(5);

/// What a node says about itself, as a label.
pub(super) fn state_of(node: &NodeView) -> &'static str {
    match node.state {
        NodeState::Quarantined => "quarantined",
        NodeState::Draining => "draining",
        // A node of farm 0.1 does not say it in words.
        NodeState::Active if node.slots == 0 => "draining",
        NodeState::Active => "active",
    }
}

/// The farm at this moment.
pub(super) fn measure<'a>(nodes: &[NodeView], renders: impl Iterator<Item = &'a Tracked>) -> FarmGauges {
    let mut counted: BTreeMap<(&str, &str, &'static str), u32> = BTreeMap::new();
    let mut slots: BTreeMap<(&str, &str), u32> = BTreeMap::new();
    for node in nodes {
        let state = state_of(node);
        *counted.entry((node.role.as_str(), node.pool.as_str(), state)).or_default() += 1;
        let takes = if state == "active" { node.slots } else { 0 };
        *slots.entry((node.role.as_str(), node.pool.as_str())).or_default() += takes;
    }
    let (mut oldest, mut statuses) =
        (BTreeMap::new(), BTreeMap::from([("queued", 0), ("rendering", 0), ("paused", 0)]));
    let mut stall = Duration::ZERO;
    for tracked in renders {
        let stage = tracked.stage();
        let status = match stage {
            _ if tracked.entry.is_paused() => "paused",
            Stage::Queued => "queued",
            _ => "rendering",
        };
        *statuses.entry(status).or_default() += 1;
        if status == "paused" {
            continue;
        }
        if stage != Stage::Queued {
            stall = stall.max(tracked.moved_at().elapsed());
        }
        for (queue, age) in waiting(tracked) {
            if oldest.len() < POOLS || oldest.contains_key(&queue) {
                let known = oldest.entry(queue).or_insert(age);
                *known = known.max(age);
            }
        }
    }
    FarmGauges {
        nodes: counted.into_iter().map(|((role, pool, state), n)| (role.into(), pool.into(), state, n)).collect(),
        live_slots: slots.into_iter().map(|((role, pool), slots)| (role.into(), pool.into(), slots)).collect(),
        oldest: oldest.into_iter().map(|((queue, pool), age)| (queue, pool, age)).collect(),
        renders: statuses.into_iter().collect(),
        stall_seconds: stall.as_secs_f64(),
    }
}

/// How long the oldest task in each queue has been waiting to be claimed, of a render's.
fn waiting(tracked: &Tracked) -> BTreeMap<(&'static str, String), f64> {
    let mut oldest = BTreeMap::new();
    let is_wanted = |step| tracked.assessment().is_some_and(|assessment| assessment.wanted.contains(&step));
    for waits in tracked.waiting() {
        // A render that does not fit into the windows yet waits too; a chunk that does not is behind others of its render.
        if waits.is_sent || (waits.step == Step::Plan && is_wanted(Step::Plan)) {
            let queue = Queue::of(waits.step, tracked.pool());
            let age =
                oldest.entry((queue.kind(), queue.pool().map_or_else(String::new, Pool::to_string))).or_insert(0.0);
            *age = waits.age.as_secs_f64().max(*age);
        }
    }
    oldest
}

/// Asks the broker how many messages wait in the queues of `pools`, and in those without a pool.
pub(super) async fn depths(backplane: Backplane, pools: BTreeSet<Pool>) {
    let mut queues = vec![Queue::Stitch, Queue::Events, Queue::Dead];
    for pool in pools.into_iter().take(POOLS) {
        queues.extend([Queue::Plan(pool.clone()), Queue::Chunk(pool)]);
    }
    let mut depths = Vec::new();
    for queue in queues {
        match backplane.broker.depth(&queue).await {
            Ok(depth) => depths.push((queue, depth)),
            // A gauge that is missing says that it is not known; the broker's own outage is logged where it hurts.
            Err(error) => debug!(%queue, %error, "the depth of the queue is not known"),
        }
    }
    backplane.metrics.set_queue_depths(&depths);
}
