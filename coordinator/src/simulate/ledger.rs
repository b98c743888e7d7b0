//! The ledger of a simulated farm: the one in process, with a count of its operations.

use std::cell::Cell;
use std::time::Duration;

use futures::FutureExt;
use hyperfarm_backplane::ledger::{
    Claim, Commit, Lease, Ledger, LedgerError, ManualClock, MemoryLedger, NodeView, Renewal, ViewSince,
};
use hyperfarm_proto::failure::Failure;
use hyperfarm_proto::id::{RenderId, WorkerId};
use hyperfarm_proto::record::TaskProgress;
use hyperfarm_proto::task::TaskId;

/// A ledger that counts its operations.
pub(super) struct CountedLedger {
    ledger: MemoryLedger,
    /// Operations of workers.
    pub(super) of_workers: Cell<u64>,
    /// Operations of the scheduling loop.
    pub(super) of_loop: Cell<u64>,
}

/// The answer of an operation, which the ledger in process gives at once.
fn answer<T>(operation: impl Future<Output = Result<T, LedgerError>>) -> Result<T, LedgerError> {
    operation.now_or_never().unwrap_or_else(|| {
        let (url, reason) = ("memory".to_owned(), "the operation has not ended at once".to_owned());
        Err(LedgerError::Unreachable { url, reason })
    })
}

impl CountedLedger {
    pub(super) fn new(clock: ManualClock) -> Self {
        Self { ledger: MemoryLedger::with_clock(clock), of_workers: Cell::default(), of_loop: Cell::default() }
    }

    fn count(counter: &Cell<u64>) {
        counter.set(counter.get() + 1);
    }

    /// Claims a task; with `elsewhere` only if the worker's node has not failed it before.
    pub(super) fn claim(
        &self,
        task: &TaskId,
        worker: &WorkerId,
        elsewhere: bool,
        ttl: Duration,
    ) -> Result<Claim, LedgerError> {
        Self::count(&self.of_workers);
        if elsewhere {
            answer(self.ledger.claim_elsewhere(task, worker, ttl))
        } else {
            answer(self.ledger.claim(task, worker, ttl))
        }
    }

    pub(super) fn renew(&self, lease: &Lease, done: u64, ttl: Duration) -> Result<Renewal, LedgerError> {
        Self::count(&self.of_workers);
        answer(self.ledger.renew(lease, TaskProgress { done, ..TaskProgress::default() }, ttl))
    }

    pub(super) fn commit(&self, lease: &Lease) -> Result<Commit, LedgerError> {
        Self::count(&self.of_workers);
        answer(self.ledger.commit(lease, b""))
    }

    pub(super) fn fail(&self, lease: &Lease, failure: &Failure) -> Result<Commit, LedgerError> {
        Self::count(&self.of_workers);
        answer(self.ledger.fail(lease, failure))
    }

    pub(super) fn heartbeat(&self, node: &NodeView, ttl: Duration) -> Result<(), LedgerError> {
        Self::count(&self.of_workers);
        answer(self.ledger.heartbeat(node, ttl)).map(drop)
    }

    pub(super) fn open(&self, render: &RenderId) -> Result<(), LedgerError> {
        Self::count(&self.of_loop);
        answer(self.ledger.open(render))
    }

    pub(super) fn view_since(&self, render: &RenderId, revision: Option<u64>) -> Result<ViewSince, LedgerError> {
        Self::count(&self.of_loop);
        answer(self.ledger.view_since(render, None, revision))
    }

    pub(super) fn nodes(&self) -> Result<Vec<NodeView>, LedgerError> {
        Self::count(&self.of_loop);
        answer(self.ledger.nodes())
    }

    pub(super) fn speculate(&self, task: &TaskId, attempt: u32) -> Result<bool, LedgerError> {
        Self::count(&self.of_loop);
        answer(self.ledger.speculate(task, attempt))
    }

    pub(super) fn forget(&self, render: &RenderId) -> Result<(), LedgerError> {
        Self::count(&self.of_loop);
        answer(self.ledger.forget(render))
    }
}
