//! What several coordinators share: which of them schedules, and the places of quotas.

use std::time::Duration;

use hyperfarm_proto::id::RenderId;

/// The coordinator that schedules, as the ledger knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leader {
    /// Id of the coordinator.
    pub id: String,
    /// Number of its term. It grows with each change of the leader, and is the fence of what a leader does.
    pub term: u64,
}

/// A number of renders that may be in flight, or may be made within a window of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quota {
    /// Quotas of one group are counted from storage together.
    pub group: String,
    /// Name of the quota, unique over all groups.
    pub name: String,
    /// Most renders that it admits.
    pub limit: u32,
    /// Renders older than this no longer count. `None` where a render counts until its place is freed.
    pub window: Option<Duration>,
}

/// Answer to [`Ledger::reserve`](super::Ledger::reserve).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reserved {
    /// Every render has its place.
    Granted,
    /// The limit is reached, and no place was taken.
    Full {
        /// Number of renders that have places.
        taken: usize,
        /// The oldest of them.
        oldest: Option<RenderId>,
    },
    /// The ledger has not counted the group since it was emptied. [`Ledger::fill`](super::Ledger::fill) has to come
    /// first.
    Uncounted,
}
