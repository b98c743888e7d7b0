//! The gauges of the farm as a whole, measured by the reconciling loop.

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
use crate::scheduler::RenderTasks;

/// Most pools that get series of their own. Requests name pools too, so there is no other bound.
const MAX_POOLS: usize = 64;

/// How often the depths of the queues are measured.
pub(super) const DEPTH_INTERVAL: Duration = Duration::from_secs(5);

/// The node's state as the value of a label.
fn node_state(node: &NodeView) -> &'static str {
    match node.state {
        NodeState::Quarantined => "quarantined",
        NodeState::Draining => "draining",
        // A node of farm 0.1 has no state; it drains by reporting no slots.
        NodeState::Active if node.slots == 0 => "draining",
        NodeState::Active => "active",
    }
}

/// Counts nodes, slots and renders, and the ages of waiting tasks.
pub(super) fn measure<'a>(
    nodes: &[NodeView],
    renders: impl Iterator<Item = (&'a Tracked, &'a RenderTasks)>,
) -> FarmGauges {
    let mut counted: BTreeMap<(&str, &str, &'static str), u32> = BTreeMap::new();
    let mut slots: BTreeMap<(&str, &str), u32> = BTreeMap::new();
    for node in nodes {
        let state = node_state(node);
        *counted.entry((node.role.as_str(), node.pool.as_str(), state)).or_default() += 1;
        let usable = if state == "active" { node.slots } else { 0 };
        *slots.entry((node.role.as_str(), node.pool.as_str())).or_default() += usable;
    }
    let (mut oldest, mut statuses) =
        (BTreeMap::new(), BTreeMap::from([("queued", 0), ("rendering", 0), ("paused", 0)]));
    let mut stall = Duration::ZERO;
    for (tracked, tasks) in renders {
        let stage = tracked.stage(tasks);
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
            stall = stall.max(tracked.last_moved_at().elapsed());
        }
        if let Some((queue, age)) = oldest_waiting(tracked, tasks)
            && (oldest.len() < MAX_POOLS || oldest.contains_key(&queue))
        {
            let longest = oldest.entry(queue).or_insert(age);
            *longest = longest.max(age);
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

/// Seconds for which the oldest unclaimed task of a render has been waiting, by kind and pool of its queue. A plan task
/// that has no room in the window waits too. A chunk without room only stands behind others of its render.
fn oldest_waiting(tracked: &Tracked, tasks: &RenderTasks) -> Option<((&'static str, String), f64)> {
    let (stage, unclaimed) = (tracked.stage(tasks), tasks.unclaimed());
    let step = match stage {
        Stage::Stitch => Step::Stitch,
        _ if tracked.plan.is_some() => Step::Chunk(0),
        _ => Step::Plan,
    };
    let waits_for_room = || step == Step::Plan && tasks.next_due(true) == Some(Step::Plan);
    let age = unclaimed.oldest.map(|oldest| oldest.elapsed());
    let age = age.or_else(|| waits_for_room().then(|| tracked.stage_age(stage)))?;
    let queue = Queue::of(step, tracked.pool());
    Some(((queue.kind(), queue.pool().map_or_else(String::new, Pool::to_string)), age.as_secs_f64()))
}

/// Measures the number of messages in the queues of `pools`, and in those without a pool.
pub(super) async fn measure_queue_depths(backplane: Backplane, pools: BTreeSet<Pool>) {
    let mut queues = vec![Queue::Stitch, Queue::Events, Queue::Dead];
    for pool in pools.into_iter().take(MAX_POOLS) {
        queues.extend([Queue::Plan(pool.clone()), Queue::Chunk(pool)]);
    }
    let mut depths = Vec::new();
    for queue in queues {
        match backplane.broker.depth(&queue).await {
            Ok(depth) => depths.push((queue, depth)),
            // The gauge is left out. An outage of the broker is logged where tasks are dispatched.
            Err(error) => debug!(%queue, %error, "the depth of a queue could not be measured"),
        }
    }
    backplane.metrics.set_queue_depths(&depths);
}
