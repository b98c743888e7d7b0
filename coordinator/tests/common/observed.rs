//! A ledger that counts what the coordinator asks of it, and can be switched off.
//!
//! The counts show that the coordinator's loop has gone round, so that a test can decide that something did not happen.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use hyperfarm_backplane::ledger::{
    Claim, Commit, Held, Leader, Lease, Ledger, LedgerError, NodeCommand, NodeView, Quota, RenderView, Renewal,
    Reserved, ViewSince,
};
use hyperfarm_proto::failure::Failure;
use hyperfarm_proto::id::{RenderId, WorkerId};
use hyperfarm_proto::record::TaskProgress;
use hyperfarm_proto::task::TaskId;

pub(crate) struct ObservedLedger {
    inner: Arc<dyn Ledger>,
    /// While set, every call fails.
    pub is_down: AtomicBool,
    /// Calls that failed because of it.
    pub refused: AtomicU64,
    ticks: AtomicU64,
    /// Times a render was read with all of its tasks by the loop.
    pub read_whole: AtomicU64,
    /// Tasks in all that reads of the loop had.
    pub tasks_read: AtomicU64,
    views: Mutex<HashMap<RenderId, u64>>,
}

impl ObservedLedger {
    pub(crate) fn new(inner: Arc<dyn Ledger>) -> Self {
        Self {
            inner,
            is_down: AtomicBool::default(),
            refused: AtomicU64::default(),
            ticks: AtomicU64::default(),
            read_whole: AtomicU64::default(),
            tasks_read: AtomicU64::default(),
            views: Mutex::default(),
        }
    }

    /// Ticks of the coordinator's loop so far: it reads the nodes once in each.
    pub(crate) fn ticks(&self) -> u64 {
        self.ticks.load(Ordering::SeqCst)
    }

    /// Times the coordinator's loop has looked at `render` so far.
    pub(crate) fn views_of(&self, render: &RenderId) -> u64 {
        self.views.lock().unwrap().get(render).copied().unwrap_or(0)
    }

    fn inner(&self) -> Result<&dyn Ledger, LedgerError> {
        if self.is_down.load(Ordering::SeqCst) {
            self.refused.fetch_add(1, Ordering::SeqCst);
            return Err(LedgerError::Unreachable { url: "test".to_owned(), reason: "switched off".to_owned() });
        }
        Ok(&*self.inner)
    }
}

#[async_trait]
impl Ledger for ObservedLedger {
    async fn open(&self, render: &RenderId) -> Result<(), LedgerError> {
        self.inner()?.open(render).await
    }
    async fn claim(&self, task: &TaskId, worker: &WorkerId, ttl: Duration) -> Result<Claim, LedgerError> {
        self.inner()?.claim(task, worker, ttl).await
    }
    async fn claim_elsewhere(&self, task: &TaskId, worker: &WorkerId, ttl: Duration) -> Result<Claim, LedgerError> {
        self.inner()?.claim_elsewhere(task, worker, ttl).await
    }
    async fn renew(&self, lease: &Lease, progress: TaskProgress, ttl: Duration) -> Result<Renewal, LedgerError> {
        self.inner()?.renew(lease, progress, ttl).await
    }
    async fn is_held(&self, lease: &Lease) -> Result<Held, LedgerError> {
        self.inner()?.is_held(lease).await
    }
    async fn commit(&self, lease: &Lease, result: &[u8]) -> Result<Commit, LedgerError> {
        self.inner()?.commit(lease, result).await
    }
    async fn fail(&self, lease: &Lease, failure: &Failure) -> Result<Commit, LedgerError> {
        self.inner()?.fail(lease, failure).await
    }
    async fn release(&self, lease: &Lease) -> Result<(), LedgerError> {
        self.inner()?.release(lease).await
    }
    async fn speculate(&self, task: &TaskId, attempt: u32) -> Result<bool, LedgerError> {
        self.inner()?.speculate(task, attempt).await
    }
    async fn reopen(&self, task: &TaskId) -> Result<(), LedgerError> {
        self.inner()?.reopen(task).await
    }

    async fn restore(&self, task: &TaskId, attempt: u32, result: &[u8]) -> Result<(), LedgerError> {
        self.inner()?.restore(task, attempt, result).await
    }
    async fn view(&self, render: &RenderId) -> Result<Option<RenderView>, LedgerError> {
        *self.views.lock().unwrap().entry(render.clone()).or_default() += 1;
        self.inner()?.view(render).await
    }
    async fn cancel(&self, render: &RenderId) -> Result<(), LedgerError> {
        self.inner()?.cancel(render).await
    }
    async fn forget(&self, render: &RenderId) -> Result<(), LedgerError> {
        self.inner()?.forget(render).await
    }
    async fn heartbeat(&self, node: &NodeView, ttl: Duration) -> Result<Option<NodeCommand>, LedgerError> {
        self.inner()?.heartbeat(node, ttl).await
    }
    async fn send_command(&self, node: &WorkerId, command: &NodeCommand) -> Result<bool, LedgerError> {
        self.inner()?.send_command(node, command).await
    }
    async fn nodes(&self) -> Result<Vec<NodeView>, LedgerError> {
        self.ticks.fetch_add(1, Ordering::SeqCst);
        self.inner()?.nodes().await
    }
    async fn view_since(
        &self,
        render: &RenderId,
        term: Option<u64>,
        revision: Option<u64>,
    ) -> Result<ViewSince, LedgerError> {
        *self.views.lock().unwrap().entry(render.clone()).or_default() += 1;
        let read = self.inner()?.view_since(render, term, revision).await;
        if let Ok(ViewSince::Changed { is_whole, view, .. }) = &read {
            self.read_whole.fetch_add(u64::from(*is_whole), Ordering::SeqCst);
            self.tasks_read.fetch_add(view.tasks.len() as u64, Ordering::SeqCst);
        }
        read
    }
    async fn set_paused(&self, render: &RenderId, paused: bool) -> Result<bool, LedgerError> {
        self.inner()?.set_paused(render, paused).await
    }
    async fn lead(&self, candidate: &str, seen_term: u64, ttl: Duration) -> Result<Leader, LedgerError> {
        self.inner()?.lead(candidate, seen_term, ttl).await
    }
    async fn resign(&self, id: &str) -> Result<(), LedgerError> {
        self.inner()?.resign(id).await
    }
    async fn reserve(&self, quota: &Quota, renders: &[RenderId]) -> Result<Reserved, LedgerError> {
        self.inner()?.reserve(quota, renders).await
    }
    async fn free(&self, quota: &str, renders: &[RenderId]) -> Result<(), LedgerError> {
        self.inner()?.free(quota, renders).await
    }
    async fn fill(&self, group: &str, places: &[(String, Vec<RenderId>)]) -> Result<(), LedgerError> {
        self.inner()?.fill(group, places).await
    }
    async fn check(&self) -> Result<(), LedgerError> {
        self.inner()?.check().await
    }
}
