//! The coordinator's settings: its loop, chunks, and the size of projects. Limits of keys and of the API are in
//! [`ApiConfig`](crate::api::ApiConfig).

use std::time::Duration;

use hyperfarm_backplane::retry::RetryPolicy;

use crate::intake::Limits;
use crate::scheduler::SchedulePolicy;
use crate::sharding::ShardPolicy;

/// Delays after a call to broker, ledger or storage failed.
pub(crate) const SERVER_RETRY: RetryPolicy = RetryPolicy::new(Duration::from_millis(250), Duration::from_secs(10));

/// The coordinator's settings. The defaults suit one machine and a cluster alike.
#[derive(Debug, Clone)]
pub struct CoordinatorConfig {
    /// How often every open render is checked without an event about it.
    pub tick: Duration,
    /// How often a render's ledger entries are compared with object storage.
    pub verify_every: Duration,
    /// How often the open renders in storage are listed, to find those that this process does not know.
    pub rescan_every: Duration,
    /// How long the ledger keeps a render that ended while workers may have been at it, so that they learn that their
    /// leases are lost.
    pub retain_ended_for: Duration,
    /// How long a render waits for a worker of its plan's capture class, while the pool has workers of other classes, before it is
    /// planned again. Longer than a worker caches a plan that it does not use (30 s).
    pub replan_after: Duration,
    /// How long the ledger has to have answered before a node that is missing from its list of live nodes counts as
    /// lost, and its tasks with it: nodes have time to report after an outage.
    pub node_lost_after: Duration,
    /// Whether a chunk is drawn again, with a longer start, where the picture at its seam is not that of a render in one
    /// chunk. Otherwise the render gets a warning.
    pub heals_seams: bool,
    /// How renders are cut into chunks.
    pub shard: ShardPolicy,
    /// How tasks are dispatched.
    pub schedule: SchedulePolicy,
    /// Largest project that is accepted. Quotas of keys are not here.
    pub limits: Limits,
}

impl Default for CoordinatorConfig {
    fn default() -> Self {
        Self {
            tick: Duration::from_secs(1),
            verify_every: Duration::from_secs(60),
            rescan_every: Duration::from_secs(60),
            retain_ended_for: Duration::from_secs(120),
            replan_after: Duration::from_secs(60),
            node_lost_after: Duration::from_secs(6),
            heals_seams: true,
            shard: ShardPolicy::default(),
            schedule: SchedulePolicy::default(),
            limits: Limits::default(),
        }
    }
}
