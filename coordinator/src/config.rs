//! The coordinator's numbers.

use std::time::Duration;

use crate::intake::Limits;
use crate::scheduler::SchedulePolicy;
use crate::sharding::ShardPolicy;

/// The coordinator's numbers. The defaults serve one machine and a cluster alike.
#[derive(Debug, Clone)]
pub struct CoordinatorConfig {
    /// How often every render is looked at, events or not.
    pub tick: Duration,
    /// How often a render's ledger entries are compared with object storage.
    pub verify_every: Duration,
    /// How often storage is searched for renders that this process does not know.
    pub rescan_every: Duration,
    /// How long the ledger keeps a render that did not complete, so that workers still at it lose their leases.
    pub linger: Duration,
    /// How long a render waits for a worker of its plan's capture class, while the pool has others, before it is planned anew. Longer
    /// than a worker keeps a plan that it does not use (30 s).
    pub replan_after: Duration,
    /// How renders are cut into chunks.
    pub shard: ShardPolicy,
    /// How tasks are dispatched.
    pub schedule: SchedulePolicy,
    /// What a project may be.
    pub limits: Limits,
}

impl Default for CoordinatorConfig {
    fn default() -> Self {
        Self {
            tick: Duration::from_secs(1),
            verify_every: Duration::from_secs(60),
            rescan_every: Duration::from_secs(60),
            linger: Duration::from_secs(120),
            replan_after: Duration::from_secs(60),
            shard: ShardPolicy::default(),
            schedule: SchedulePolicy::default(),
            limits: Limits::default(),
        }
    }
}
