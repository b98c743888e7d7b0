//! The ledger: leases, attempts, progress and committed results of tasks, and the nodes that are alive. Redis, or in
//! process.
//!
//! # Semantics, the same for every implementation
//!
//! Every operation is atomic. Time is the ledger's own (Redis `TIME`), never a node's.
//!
//! - **A render is open or unknown.** [`Ledger::open`] makes it known. Tasks of an unknown render answer `Unknown`: the
//!   ledger was emptied, or the render has ended. Nobody stops working because of it; the coordinator opens and
//!   [restores](Ledger::restore) it from object storage.
//! - **Claim.** A task is claimed for a lease. The claim's attempt number is the fence: it only grows, also over a
//!   restore. A task that is committed, held by a live lease, or of a cancelled render is not claimed.
//! - **Another node.** [`Ledger::claim_elsewhere`] claims a task only where no slot of the node has failed it before;
//!   else it answers [`Claim::Elsewhere`] and changes nothing.
//! - **A speculative attempt.** After [`Ledger::speculate`] one slot of another node may claim a task whose lease is
//!   alive, by [`Ledger::claim_elsewhere`]. A task has at most two leases: that of the newest attempt, and that of the
//!   attempt which ran when the newest one was claimed. Both may renew, fail and commit. The first commit ends both
//!   leases; while one of them is alive, nobody else claims the task.
//! - **Lease.** [`Ledger::renew`] extends the lease and stores progress while the attempt is the newest, or the older
//!   one of two, and the render not cancelled; otherwise it answers [`Renewal::Lost`], and the worker ends its Chrome
//!   before anything else. A lease that has run out may be renewed until somebody else claims the task; one that was
//!   released or failed may not, so that a report that was under way does not take the task back.
//! - **Who holds a task** is told by [`Ledger::is_held`], of the newest attempt and of the older one of two.
//! - **A result counts once.** [`Ledger::commit`] adds to a set. The first commit of an attempt that may renew is
//!   accepted, also after its lease ran out; whatever comes after it is a duplicate, an older attempt's before it is
//!   stale: both are answers, not errors.
//! - **A result is taken back** by [`Ledger::reopen`] only, which the coordinator calls where a chunk has to be drawn
//!   again with another start.
//! - **Failure.** [`Ledger::fail`] adds to the task's history and ends the attempt's lease; of an attempt that may no
//!   longer renew it is stale. An attempt is in the history once, however often it says that it failed.
//! - **A lost answer.** An implementation that asks again after one changes nothing a second time, and answers as it
//!   did.
//! - **Attempts** are written down with their times, for people; nothing is decided from them.
//! - **Wishes.** What is wished of a live node waits until its next heartbeat, whose answer it is from then on: the
//!   newest wish counts, and a node follows each once. It goes with the node.
//! - **One leader.** [`Ledger::lead`] gives the lease of the scheduler to one coordinator. The term grows with each
//!   change of the leader, also over an emptied ledger, because a candidate says which term it has seen. A render
//!   remembers the newest term that read it by [`Ledger::view_since`]; an older one is answered with
//!   [`LedgerError::Superseded`].
//! - **Differences.** Each write to a render is a revision. Who knows a render as of a revision is told the tasks that
//!   were written to since, by [`Ledger::view_since`]; these differences add up to the whole.
//! - **A pause** is a field of the render, so that every coordinator sees it. Storage has its mark too.
//! - **Quotas.** [`Ledger::reserve`] takes places for renders, all of them or none, within the limit.
//! - **It can be emptied at any moment.** What is in it can be rebuilt from object storage, or be done again. A worker
//!   of before that comes with an attempt above the fence raises the fence to it and goes on. At an equal number, and
//!   while another lease is alive, the task is its holder's: the attempt of before may still commit if it is above the
//!   fence, but its renewal is answered as lost and its failure as stale, so that it ends no living lease.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use hyperfarm_proto::failure::{FailedAttempt, Failure};
use hyperfarm_proto::id::{RenderId, WorkerId};
use hyperfarm_proto::record::TaskProgress;
use hyperfarm_proto::task::{Step, TaskId};

mod coordination;
mod history;
mod journal;
mod lost;
mod memory;
mod node;
pub(crate) mod redis;

pub use self::coordination::{Leader, Quota, Reserved};
pub use self::history::{AttemptEnd, AttemptView};
pub use self::lost::worker_lost;
pub use self::memory::{ManualClock, MemoryLedger};
pub use self::node::{NodeCommand, NodeState, NodeTask, NodeView, Order, node_of_slot, slot_id};
pub use self::redis::RedisLedger;

/// Why an operation of the ledger failed.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// There is no connection, or it broke.
    #[error("the ledger at {url} cannot be reached: {reason}; check HYPERFARM_REDIS_URL and that Redis runs")]
    Unreachable {
        /// Its URL without credentials.
        url: String,
        /// What the client library reports.
        reason: String,
    },
    /// A scheduler of a newer term has been at the render.
    #[error("the scheduler's term {term} is over, term {newest} has begun")]
    Superseded {
        /// The term that is over.
        term: u64,
        /// The newest one that has read the render.
        newest: u64,
    },
    /// An entry cannot be read by this build.
    #[error("the ledger's entry {key} cannot be read: {reason}")]
    Corrupt {
        /// Key of the entry.
        key: String,
        /// Why.
        reason: String,
    },
}

/// The right to work on a task, for as long as it is renewed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The task.
    pub task: TaskId,
    /// Number of the attempt, which is the fence.
    pub attempt: u32,
    /// The slot that holds it.
    pub worker: WorkerId,
    /// The number that the claim drew. A ledger that was emptied counts attempts from 1 again, so a late request of a
    /// lease of before could be meant for another one by its attempt and slot alone. `None` for a lease that was read
    /// from the ledger, which is the one in there.
    pub grant: Option<u64>,
}

/// Answer to [`Ledger::claim`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// The task is claimed with this lease.
    Granted(Lease),
    /// Another lease of the task is alive.
    Held,
    /// The task's result is already committed.
    Committed,
    /// The render is cancelled.
    Cancelled,
    /// The render is not open.
    Unknown,
    /// Another node should do it: the node has failed the task before, or is at it and a second attempt is wanted.
    /// Only [`Ledger::claim_elsewhere`] answers so.
    Elsewhere {
        /// Every slot that has failed it, oldest failure first, or the slot that is at it.
        workers: Vec<String>,
    },
}

/// Answer to [`Ledger::renew`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// The lease is extended.
    Renewed,
    /// Stop: a newer attempt exists, the task is committed, or the render is cancelled.
    Lost,
    /// The render is not open. The work goes on, and the next renewal may find it open.
    Unknown,
}

/// Answer to [`Ledger::is_held`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// The lease is alive.
    Yes,
    /// It is not: it has ended, another one has its task, or the render is cancelled.
    No,
    /// The render is not open.
    Unknown,
}

/// Answer to [`Ledger::commit`] and [`Ledger::fail`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commit {
    /// The result or failure is recorded.
    Accepted,
    /// The task is committed already.
    Duplicate,
    /// A newer attempt exists, or the render is cancelled.
    Stale,
    /// The render is not open. What was stored in object storage will be found there.
    Unknown,
}

/// An attempt whose lease is alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningAttempt {
    /// Its number.
    pub attempt: u32,
    /// The slot that holds the lease.
    pub worker: WorkerId,
    /// Time since the claim, by the ledger's clock.
    pub age: Duration,
    /// Time until the lease of this attempt ends.
    pub left: Duration,
}

/// One task as the ledger sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TaskView {
    /// Newest attempt; 0 before the first claim.
    pub attempt: u32,
    /// Holder of the lease that is alive, and how long it still lasts; of two leases the newest attempt's.
    pub lease: Option<(WorkerId, Duration)>,
    /// The attempts whose leases are alive, the newest first.
    pub running: Vec<RunningAttempt>,
    /// Last progress of the newest attempt, or of the older one that runs beside it and is further.
    pub progress: TaskProgress,
    /// The result that [`Ledger::commit`] stored.
    pub committed: Option<Vec<u8>>,
    /// Failed attempts, oldest first.
    pub failures: Vec<FailedAttempt>,
    /// Attempts that were claimed here, oldest first.
    pub attempts: Vec<AttemptView>,
}

/// One render as the ledger sees it: the tasks that were ever claimed, restored or failed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RenderView {
    /// Whether [`Ledger::cancel`] was called.
    pub cancelled: bool,
    /// Whether it is paused: see [`Ledger::set_paused`].
    pub paused: bool,
    /// Its tasks by step.
    pub tasks: BTreeMap<Step, TaskView>,
}

/// Answer to [`Ledger::view_since`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ViewSince {
    /// The render is not open.
    Unknown,
    /// Nothing was written to it. Leases may have ended since.
    Unchanged,
    /// The render was written to since that revision, or no revision was given.
    Changed {
        /// Number of its last write, which no other write to it has; `None` if an older farm made the last write.
        revision: Option<u64>,
        /// Whether `view` has all tasks of the render. It has where no revision was given, and where the ledger
        /// does not know what was written since.
        is_whole: bool,
        /// The render as it is now, with the tasks that were written to since. A lease of another task may have ended
        /// since, but no other one has begun or was renewed.
        view: RenderView,
    },
}

/// A connection to a ledger. See the [module](self) for what every implementation promises.
///
/// Every operation fails with [`LedgerError::Unreachable`] where the server does not answer for a few seconds, and with
/// [`LedgerError::Corrupt`] where an entry cannot be read.
#[allow(clippy::missing_errors_doc)] // The errors of every operation are those above.
#[async_trait]
pub trait Ledger: Send + Sync + 'static {
    /// Opens the render; changes nothing if it is open.
    async fn open(&self, render: &RenderId) -> Result<(), LedgerError>;

    /// Claims a task for `ttl`.
    async fn claim(&self, task: &TaskId, worker: &WorkerId, ttl: Duration) -> Result<Claim, LedgerError>;

    /// Claims a task for `ttl` unless a slot of the worker's node has failed it before; also beside an attempt of another
    /// node, if [`Ledger::speculate`] has allowed that.
    async fn claim_elsewhere(&self, task: &TaskId, worker: &WorkerId, ttl: Duration) -> Result<Claim, LedgerError>;

    /// Extends a lease to `ttl` from now and stores progress.
    async fn renew(&self, lease: &Lease, progress: TaskProgress, ttl: Duration) -> Result<Renewal, LedgerError>;

    /// Whether the lease is alive. One without the number of its claim is of any. Changes nothing.
    async fn is_held(&self, lease: &Lease) -> Result<Held, LedgerError>;

    /// Adds the task's result to the committed set and ends the lease. `result` is small: a reference, not the thing.
    async fn commit(&self, lease: &Lease, result: &[u8]) -> Result<Commit, LedgerError>;

    /// Adds the failure to the task's history and ends the lease.
    async fn fail(&self, lease: &Lease, failure: &Failure) -> Result<Commit, LedgerError>;

    /// Ends the lease without a result, so that the task can be claimed at once. Changes nothing if a newer attempt
    /// exists.
    async fn release(&self, lease: &Lease) -> Result<(), LedgerError>;

    /// Lets one slot of another node claim the task beside `attempt`, whose lease is alive and the only one. Returns
    /// whether that is so; otherwise nothing is changed. The claim uses the permission up.
    async fn speculate(&self, task: &TaskId, attempt: u32) -> Result<bool, LedgerError>;

    /// Restores a result that object storage shows to be committed by `attempt`. A committed task stays as it is; the
    /// fence never decreases.
    async fn restore(&self, task: &TaskId, attempt: u32, result: &[u8]) -> Result<(), LedgerError>;

    /// Takes the result of a task back, so that it is done again. The fence rises, so that nobody who was at the task
    /// before commits it. Changes nothing if it is not committed.
    async fn reopen(&self, task: &TaskId) -> Result<(), LedgerError>;

    /// The render and its tasks, or `None` if it is not open.
    async fn view(&self, render: &RenderId) -> Result<Option<RenderView>, LedgerError>;

    /// What was written to the render since `revision`, or the whole without one. It takes time in proportion to what
    /// was written, whatever the number of tasks. For the scheduler of `term`, which from then on keeps schedulers of
    /// older terms from the render.
    async fn view_since(
        &self,
        render: &RenderId,
        term: Option<u64>,
        revision: Option<u64>,
    ) -> Result<ViewSince, LedgerError>;

    /// Pauses or resumes the render. Returns whether it is open; otherwise nothing is changed.
    async fn set_paused(&self, render: &RenderId, paused: bool) -> Result<bool, LedgerError>;

    /// From now on nothing of the render is claimed, renewed or committed. Opens it if it is unknown.
    async fn cancel(&self, render: &RenderId) -> Result<(), LedgerError>;

    /// Forgets the render.
    async fn forget(&self, render: &RenderId) -> Result<(), LedgerError>;

    /// Reports a node, which then counts as alive for `ttl`. Returns the newest command for it.
    async fn heartbeat(&self, node: &NodeView, ttl: Duration) -> Result<Option<NodeCommand>, LedgerError>;

    /// Leaves a command for a node. Returns whether the node is alive; otherwise the command is dropped.
    async fn send_command(&self, node: &WorkerId, command: &NodeCommand) -> Result<bool, LedgerError>;

    /// The nodes that are alive.
    async fn nodes(&self) -> Result<Vec<NodeView>, LedgerError>;

    /// Makes `candidate` the leader for `ttl` if it is already or there is none alive. Returns the leader. A new term
    /// is above `seen_term`, the newest that the candidate knows; a leader that has seen a newer term than its own begins
    /// another one, because a request of before the ledger was emptied may have brought that term in.
    async fn lead(&self, candidate: &str, seen_term: u64, ttl: Duration) -> Result<Leader, LedgerError>;

    /// Ends the lease of the leader `id`, so that another candidate leads at once. Changes nothing if another one
    /// leads.
    async fn resign(&self, id: &str) -> Result<(), LedgerError>;

    /// Takes a place of the quota for each of the renders, or for none. A render that has its place needs no other.
    async fn reserve(&self, quota: &Quota, renders: &[RenderId]) -> Result<Reserved, LedgerError>;

    /// Frees the places of the renders in the quota of this name.
    async fn free(&self, quota: &str, renders: &[RenderId]) -> Result<(), LedgerError>;

    /// Adds places, by name of the quota, that storage shows to be taken, and notes that the group is counted.
    async fn fill(&self, group: &str, places: &[(String, Vec<RenderId>)]) -> Result<(), LedgerError>;

    /// Checks that the ledger answers.
    async fn check(&self) -> Result<(), LedgerError>;
}
