//! What a node does when servers or it itself fail: outages, retries elsewhere, and a node that is cut off.
#![allow(missing_docs, clippy::unwrap_used)]

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use hyperfarm_backplane::Backplane;
use hyperfarm_backplane::drain::Drain;
use hyperfarm_backplane::ledger::{
    Claim, Commit, Held, Leader, Lease, Ledger, LedgerError, NodeCommand, NodeState, NodeView, Quota, RenderView,
    Renewal, Reserved, TaskView, ViewSince,
};
use hyperfarm_backplane::objects::Objects;
use hyperfarm_backplane::runner::{Runner, RunnerConfig, TaskContext, TaskHandler};
use hyperfarm_proto::failure::{Failure, FailureCode, MAX_ATTEMPTS, may_retry};
use hyperfarm_proto::id::{Pool, RenderId, WorkerId};
use hyperfarm_proto::record::TaskProgress;
use hyperfarm_proto::task::{Queue, Step, TaskId, TaskMessage};
use hyperfarm_proto::wire;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

const SOON: Duration = Duration::from_secs(10);

/// A store that answers every request with a failure while it is down.
#[derive(Debug, Clone, Default)]
struct SwitchedStore {
    inner: Arc<InMemory>,
    is_down: Arc<AtomicBool>,
}

impl std::fmt::Display for SwitchedStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SwitchedStore")
    }
}

impl SwitchedStore {
    /// The same objects behind a switch of its own: another node's connection.
    fn connection(&self) -> Self {
        Self { inner: self.inner.clone(), is_down: Arc::default() }
    }

    fn store(&self) -> Result<&InMemory> {
        if self.is_down.load(Ordering::SeqCst) {
            return Err(Error::Generic { store: "SwitchedStore", source: "500 Internal Server Error".into() });
        }
        Ok(&self.inner)
    }
}

#[async_trait]
impl ObjectStore for SwitchedStore {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.store()?.put_opts(path, payload, options).await
    }
    async fn put_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.store()?.put_multipart_opts(path, options).await
    }
    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.store()?.get_opts(path, options).await
    }
    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.store()?.get_ranges(path, ranges).await
    }
    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(paths)
    }
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.store() {
            Ok(store) => store.list(prefix),
            Err(error) => futures::stream::once(std::future::ready(Err(error))).boxed(),
        }
    }
    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.store()?.list_with_delimiter(prefix).await
    }
    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.store()?.copy_opts(from, to, options).await
    }
}

/// How a connection to the ledger is broken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cut {
    Refused,
    Silent,
}

/// A node's connection to the ledger, which can be cut.
struct CutLedger {
    inner: Arc<dyn Ledger>,
    is_cut: AtomicBool,
    cut: Cut,
}

impl CutLedger {
    async fn ledger(&self) -> std::result::Result<&dyn Ledger, LedgerError> {
        if self.is_cut.load(Ordering::SeqCst) {
            match self.cut {
                Cut::Silent => std::future::pending().await,
                Cut::Refused => {
                    return Err(LedgerError::Unreachable { url: "test".to_owned(), reason: "cut off".to_owned() });
                }
            }
        }
        Ok(&*self.inner)
    }
}

type LedgerResult<T> = std::result::Result<T, LedgerError>;

#[async_trait]
impl Ledger for CutLedger {
    async fn open(&self, render: &RenderId) -> LedgerResult<()> {
        self.ledger().await?.open(render).await
    }
    async fn claim(&self, task: &TaskId, worker: &WorkerId, ttl: Duration) -> LedgerResult<Claim> {
        self.ledger().await?.claim(task, worker, ttl).await
    }
    async fn claim_elsewhere(&self, task: &TaskId, worker: &WorkerId, ttl: Duration) -> LedgerResult<Claim> {
        self.ledger().await?.claim_elsewhere(task, worker, ttl).await
    }
    async fn renew(&self, lease: &Lease, progress: TaskProgress, ttl: Duration) -> LedgerResult<Renewal> {
        self.ledger().await?.renew(lease, progress, ttl).await
    }
    async fn is_held(&self, lease: &Lease) -> LedgerResult<Held> {
        self.ledger().await?.is_held(lease).await
    }
    async fn commit(&self, lease: &Lease, result: &[u8]) -> LedgerResult<Commit> {
        self.ledger().await?.commit(lease, result).await
    }
    async fn fail(&self, lease: &Lease, failure: &Failure) -> LedgerResult<Commit> {
        self.ledger().await?.fail(lease, failure).await
    }
    async fn release(&self, lease: &Lease) -> LedgerResult<()> {
        self.ledger().await?.release(lease).await
    }
    async fn speculate(&self, task: &TaskId, attempt: u32) -> LedgerResult<bool> {
        self.ledger().await?.speculate(task, attempt).await
    }
    async fn reopen(&self, task: &TaskId) -> LedgerResult<()> {
        self.ledger().await?.reopen(task).await
    }

    async fn restore(&self, task: &TaskId, attempt: u32, result: &[u8]) -> LedgerResult<()> {
        self.ledger().await?.restore(task, attempt, result).await
    }
    async fn view(&self, render: &RenderId) -> LedgerResult<Option<RenderView>> {
        self.ledger().await?.view(render).await
    }
    async fn cancel(&self, render: &RenderId) -> LedgerResult<()> {
        self.ledger().await?.cancel(render).await
    }
    async fn forget(&self, render: &RenderId) -> LedgerResult<()> {
        self.ledger().await?.forget(render).await
    }
    async fn heartbeat(&self, node: &NodeView, ttl: Duration) -> LedgerResult<Option<NodeCommand>> {
        self.ledger().await?.heartbeat(node, ttl).await
    }
    async fn send_command(&self, node: &WorkerId, command: &NodeCommand) -> LedgerResult<bool> {
        self.ledger().await?.send_command(node, command).await
    }
    async fn nodes(&self) -> LedgerResult<Vec<NodeView>> {
        self.ledger().await?.nodes().await
    }
    async fn view_since(&self, render: &RenderId, term: Option<u64>, revision: Option<u64>) -> LedgerResult<ViewSince> {
        self.ledger().await?.view_since(render, term, revision).await
    }
    async fn set_paused(&self, render: &RenderId, paused: bool) -> LedgerResult<bool> {
        self.ledger().await?.set_paused(render, paused).await
    }
    async fn lead(&self, candidate: &str, seen_term: u64, ttl: Duration) -> LedgerResult<Leader> {
        self.ledger().await?.lead(candidate, seen_term, ttl).await
    }
    async fn resign(&self, id: &str) -> LedgerResult<()> {
        self.ledger().await?.resign(id).await
    }
    async fn reserve(&self, quota: &Quota, renders: &[RenderId]) -> LedgerResult<Reserved> {
        self.ledger().await?.reserve(quota, renders).await
    }
    async fn free(&self, quota: &str, renders: &[RenderId]) -> LedgerResult<()> {
        self.ledger().await?.free(quota, renders).await
    }
    async fn fill(&self, group: &str, places: &[(String, Vec<RenderId>)]) -> LedgerResult<()> {
        self.ledger().await?.fill(group, places).await
    }
    async fn check(&self) -> LedgerResult<()> {
        self.ledger().await?.check().await
    }
}

/// Short times, so that a test sees in milliseconds what takes seconds in a real farm.
fn quick() -> RunnerConfig {
    RunnerConfig {
        lease_ttl: Duration::from_secs(2),
        stop_within: Duration::from_secs(1),
        report_every: Duration::from_millis(10),
        pause: Duration::from_millis(20),
        node_ttl: Duration::from_millis(900),
        ..RunnerConfig::default()
    }
}

/// Starts a node with two slots over `backplane`, which ends with the test.
fn start(id: &str, backplane: &Backplane, handler: impl TaskHandler) {
    start_with(quick(), id, backplane, handler);
}

fn start_with(config: RunnerConfig, id: &str, backplane: &Backplane, handler: impl TaskHandler) {
    let view = NodeView::new(id.parse().unwrap(), "worker", "cpu", 2, "test");
    let runner = Runner::new(backplane.clone(), view, config);
    tokio::spawn(runner.run(vec![Queue::Chunk(Pool::default())], Arc::new(handler), Drain::new()));
}

async fn publish(backplane: &Backplane, task: &TaskId) {
    let pool = Pool::default();
    let queue = Queue::of(task.step, &pool);
    let message = wire::encode(&TaskMessage { task: task.clone(), pool }).unwrap();
    backplane.broker.publish(&queue, message.into()).await.unwrap();
}

fn tasks(renders: u32, chunks: u32) -> Vec<TaskId> {
    let of = |render: u32| {
        (0..chunks).map(move |chunk| TaskId { render: format!("r{render}").parse().unwrap(), step: Step::Chunk(chunk) })
    };
    (0..renders).flat_map(of).collect()
}

async fn view(backplane: &Backplane, task: &TaskId) -> TaskView {
    let view = backplane.ledger.view(&task.render).await.unwrap().unwrap();
    view.tasks.get(&task.step).cloned().unwrap_or_default()
}

/// Does what the coordinator does: opens the renders, and queues each task whenever it is neither leased nor committed.
async fn coordinate(backplane: Backplane, tasks: Vec<TaskId>) {
    for task in &tasks {
        backplane.ledger.open(&task.render).await.unwrap();
    }
    loop {
        for task in &tasks {
            let view = view(&backplane, task).await;
            if view.lease.is_none() && view.committed.is_none() {
                publish(&backplane, task).await;
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn until(test: impl AsyncFn() -> bool) {
    let polls = async {
        while !test().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, polls).await.expect("it never came");
}

async fn node(backplane: &Backplane, id: &str) -> Option<NodeView> {
    backplane.ledger.nodes().await.unwrap().into_iter().find(|node| node.id.as_str() == id)
}

async fn is_in(backplane: &Backplane, id: &str, state: NodeState) -> bool {
    node(backplane, id).await.is_some_and(|node| node.state == state)
}

/// Stores an object for each task.
struct Stores(Objects);

#[async_trait]
impl TaskHandler for Stores {
    async fn handle(&self, lease: &Lease, _context: &TaskContext) -> std::result::Result<Vec<u8>, Failure> {
        let key = format!("done/{}-{}", lease.task.render, lease.task.step);
        let stored = self.0.put(&key, Bytes::from_static(b"x")).await;
        stored.map(|()| Vec::new()).map_err(|error| Failure::new(FailureCode::Storage, error.to_string()))
    }
}

#[tokio::test]
async fn an_outage_of_storage_is_waited_out_and_uses_up_no_attempt() {
    let store = SwitchedStore::default();
    let backplane = Backplane::ephemeral(Objects::over(Arc::new(store.clone())));
    store.is_down.store(true, Ordering::SeqCst);
    for id in ["w1", "w2"] {
        start(id, &backplane, Stores(backplane.objects.clone()));
    }
    let tasks = tasks(4, 2);
    let coordinator = tokio::spawn(coordinate(backplane.clone(), tasks.clone()));
    for id in ["w1", "w2"] {
        until(async || is_in(&backplane, id, NodeState::Quarantined).await).await;
        let reason = node(&backplane, id).await.unwrap().reason.unwrap();
        assert!(reason.contains("STORAGE") && reason.contains("500"), "{reason}");
    }
    // Longer than four attempts without a wait would take.
    tokio::time::sleep(quick().pause * 20).await;
    store.is_down.store(false, Ordering::SeqCst);
    for task in &tasks {
        until(async || view(&backplane, task).await.committed.is_some()).await;
        assert!(may_retry(&view(&backplane, task).await.failures));
    }
    let mut failed = 0;
    for task in &tasks {
        failed += view(&backplane, task).await.failures.len();
    }
    assert!((2..=8).contains(&failed), "{failed} attempts failed: about one for each of four slots");
    coordinator.abort();
}

#[tokio::test]
async fn a_node_that_alone_cannot_reach_storage_steps_aside_and_harms_no_render() {
    let store = SwitchedStore::default();
    let (bad, good) = (store.connection(), store.connection());
    bad.is_down.store(true, Ordering::SeqCst);
    let backplane = Backplane::ephemeral(Objects::over(Arc::new(good)));
    let cut_off = Backplane { objects: Objects::over(Arc::new(bad.clone())), ..backplane.clone() };
    // The bad one is there first, so it has its share of the tasks.
    start("w1", &cut_off, Stores(cut_off.objects.clone()));
    let tasks = tasks(4, 8);
    let coordinator = tokio::spawn(coordinate(backplane.clone(), tasks.clone()));
    until(async || is_in(&backplane, "w1", NodeState::Quarantined).await).await;
    start("w2", &backplane, Stores(backplane.objects.clone()));
    let mut failed = 0;
    for task in &tasks {
        until(async || view(&backplane, task).await.committed.is_some()).await;
        let failures = view(&backplane, task).await.failures;
        assert!(failures.iter().all(|failure| failure.worker.starts_with("w1-")));
        failed += failures.len();
    }
    assert!((1..=MAX_ATTEMPTS).contains(&failed), "{failed} attempts failed on a node with two slots");
    bad.is_down.store(false, Ordering::SeqCst);
    until(async || is_in(&backplane, "w1", NodeState::Active).await).await;
    coordinator.abort();
}

/// Fails each task with this code, and counts.
struct Fails(FailureCode, Arc<AtomicU32>);

#[async_trait]
impl TaskHandler for Fails {
    async fn handle(&self, _lease: &Lease, _context: &TaskContext) -> std::result::Result<Vec<u8>, Failure> {
        self.1.fetch_add(1, Ordering::SeqCst);
        Err(Failure::new(self.0, "as asked"))
    }
}

#[tokio::test]
async fn a_retry_goes_to_another_node_while_there_is_one() {
    let backplane = Backplane::ephemeral(Objects::memory());
    let task = tasks(1, 1).remove(0);
    backplane.ledger.open(&task.render).await.unwrap();
    let failed = Arc::new(AtomicU32::default());
    start("w1", &backplane, Fails(FailureCode::ChromeCrashed, failed.clone()));
    publish(&backplane, &task).await;
    until(async || view(&backplane, &task).await.failures.len() == 1).await;
    // Alone it has another go.
    publish(&backplane, &task).await;
    until(async || view(&backplane, &task).await.failures.len() == 2).await;
    // One that is busy for as long as it takes.
    let peer = NodeView::new("w2".parse().unwrap(), "worker", "cpu", 2, "test");
    backplane.ledger.heartbeat(&peer, Duration::from_secs(60)).await.unwrap();
    publish(&backplane, &task).await;
    tokio::time::sleep(quick().pause * 10).await;
    assert_eq!(failed.load(Ordering::SeqCst), 2, "it is left to the other one");
    let dead = backplane.broker.depth(&Queue::Dead).await.unwrap();
    assert_eq!(dead, 0, "a message that is left is no dead letter");
    start("w2", &backplane, Stores(backplane.objects.clone()));
    until(async || view(&backplane, &task).await.committed.is_some()).await;
    assert_eq!(failed.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_retry_that_no_other_node_takes_comes_back_in_the_end() {
    let backplane = Backplane::ephemeral(Objects::memory());
    let task = tasks(1, 1).remove(0);
    backplane.ledger.open(&task.render).await.unwrap();
    let stuck = NodeView::new("w2".parse().unwrap(), "worker", "cpu", 2, "test");
    backplane.ledger.heartbeat(&stuck, Duration::from_secs(60)).await.unwrap();
    let failed = Arc::new(AtomicU32::default());
    start("w1", &backplane, Fails(FailureCode::ChromeCrashed, failed.clone()));
    publish(&backplane, &task).await;
    until(async || view(&backplane, &task).await.failures.len() == 1).await;
    publish(&backplane, &task).await;
    until(async || failed.load(Ordering::SeqCst) == 2).await;
}

/// Two nodes that have each failed one of two tasks, and are sent just that one, must not wait in step for ever.
#[tokio::test]
async fn two_nodes_that_have_failed_a_task_each_exchange_them() {
    for _ in 0..3 {
        let backplane = Backplane::ephemeral(Objects::memory());
        let tasks = tasks(2, 1);
        for (task, id) in tasks.iter().zip(["w1-s0", "w2-s0"]) {
            backplane.ledger.open(&task.render).await.unwrap();
            let claim = backplane.ledger.claim(task, &id.parse().unwrap(), SOON).await.unwrap();
            let Claim::Granted(lease) = claim else { panic!("{claim:?}") };
            backplane.ledger.fail(&lease, &Failure::new(FailureCode::ChromeCrashed, "as asked")).await.unwrap();
        }
        for id in ["w1", "w2"] {
            let view = NodeView::new(id.parse().unwrap(), "worker", "cpu", 1, "test");
            let runner = Runner::new(backplane.clone(), view, quick());
            let queues = vec![Queue::Chunk(Pool::default())];
            tokio::spawn(runner.run(queues, Arc::new(Stores(backplane.objects.clone())), Drain::new()));
            until(async || node(&backplane, id).await.is_some()).await;
        }
        for task in &tasks {
            publish(&backplane, task).await;
        }
        for (task, other) in tasks.iter().zip(["w2-s0", "w1-s0"]) {
            until(async || view(&backplane, task).await.committed.is_some()).await;
            let by = view(&backplane, task).await.attempts.last().map(|attempt| attempt.worker.to_string());
            assert_eq!(by.as_deref(), Some(other));
        }
    }
}

#[tokio::test]
async fn a_render_of_another_class_is_refused_once_and_left_to_that_class() {
    let backplane = Backplane::ephemeral(Objects::memory());
    let tasks = tasks(1, 12);
    backplane.ledger.open(&tasks[0].render).await.unwrap();
    let right = NodeView { class_id: "a".to_owned(), ..NodeView::new("w2".parse().unwrap(), "worker", "cpu", 2, "") };
    backplane.ledger.heartbeat(&right, Duration::from_secs(60)).await.unwrap();
    let (failed, code) = (Arc::new(AtomicU32::default()), FailureCode::VersionMismatch);
    start("w1", &backplane, Fails(code, failed.clone()));
    for task in &tasks {
        publish(&backplane, task).await;
    }
    tokio::time::sleep(quick().pause * 60).await;
    // Each of its two slots may have claimed a task before the first was refused.
    let refusals = failed.load(Ordering::SeqCst);
    assert!((1..=2).contains(&refusals), "{refusals}");
    assert_eq!(backplane.broker.depth(&Queue::Dead).await.unwrap(), 0);
}

/// Works until it is told to stop, and says then whether the lease was still alive.
struct Works {
    ledger: Arc<dyn Ledger>,
    started: Arc<AtomicBool>,
    stopped: tokio::sync::mpsc::UnboundedSender<bool>,
}

#[async_trait]
impl TaskHandler for Works {
    async fn handle(&self, lease: &Lease, context: &TaskContext) -> std::result::Result<Vec<u8>, Failure> {
        self.started.store(true, Ordering::SeqCst);
        context.cancelled().cancelled().await;
        let view = self.ledger.view(&lease.task.render).await.unwrap().unwrap();
        self.stopped.send(view.tasks[&lease.task.step].lease.is_some()).unwrap();
        Err(Failure::new(FailureCode::Drained, "stopped"))
    }
}

#[tokio::test]
async fn a_node_that_is_cut_off_from_the_ledger_stops_before_its_lease_ends() {
    for cut in [Cut::Refused, Cut::Silent] {
        let backplane = Backplane::ephemeral(Objects::memory());
        let task = tasks(1, 1).remove(0);
        backplane.ledger.open(&task.render).await.unwrap();
        let ledger = Arc::new(CutLedger { inner: backplane.ledger.clone(), is_cut: AtomicBool::default(), cut });
        let started = Arc::new(AtomicBool::default());
        let (stopped, mut stops) = tokio::sync::mpsc::unbounded_channel();
        let works = Works { ledger: backplane.ledger.clone(), started: started.clone(), stopped };
        start("w1", &Backplane { ledger: ledger.clone(), ..backplane.clone() }, works);
        publish(&backplane, &task).await;
        until(async || started.load(Ordering::SeqCst)).await;
        // Renewed for longer than a lease: work that is renewed goes on.
        tokio::time::sleep(quick().lease_ttl + quick().stop_within).await;
        assert!(stops.try_recv().is_err(), "it was stopped though its lease was renewed");
        ledger.is_cut.store(true, Ordering::SeqCst);
        let was_alive = tokio::time::timeout(SOON, stops.recv()).await.expect("it went on without a lease");
        assert_eq!(was_alive, Some(true), "its lease had ended for everyone else");
    }
}

#[tokio::test]
async fn a_task_without_progress_is_cancelled_within_two_seconds() {
    let backplane = Backplane::ephemeral(Objects::memory());
    let task = tasks(1, 1).remove(0);
    backplane.ledger.open(&task.render).await.unwrap();
    let started = Arc::new(AtomicBool::default());
    let (stopped, mut stops) = tokio::sync::mpsc::unbounded_channel();
    let works = Works { ledger: backplane.ledger.clone(), started: started.clone(), stopped };
    start_with(RunnerConfig::default(), "w1", &backplane, works);
    publish(&backplane, &task).await;
    until(async || started.load(Ordering::SeqCst)).await;
    // Between two renewals, as late as it can be.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    backplane.ledger.cancel(&task.render).await.unwrap();
    let stop = tokio::time::timeout(Duration::from_secs(2), stops.recv()).await;
    assert!(stop.is_ok(), "it went on for two seconds after the render was cancelled");
}

/// Computes on, whatever it is told.
struct Ignores(Arc<AtomicBool>);

#[async_trait]
impl TaskHandler for Ignores {
    async fn handle(&self, _lease: &Lease, _context: &TaskContext) -> std::result::Result<Vec<u8>, Failure> {
        self.0.store(true, Ordering::SeqCst);
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_cancellation_frees_the_slot_of_a_task_that_does_not_look_at_it_within_two_seconds() {
    let backplane = Backplane::ephemeral(Objects::memory());
    let task = tasks(1, 1).remove(0);
    backplane.ledger.open(&task.render).await.unwrap();
    let started = Arc::new(AtomicBool::default());
    start_with(RunnerConfig::default(), "w1", &backplane, Ignores(started.clone()));
    publish(&backplane, &task).await;
    until(async || started.load(Ordering::SeqCst)).await;
    backplane.ledger.cancel(&task.render).await.unwrap();
    let cancelled = std::time::Instant::now();
    let is_free = async || backplane.ledger.nodes().await.unwrap().iter().all(|node| node.tasks.is_empty());
    until(is_free).await;
    assert!(cancelled.elapsed() < Duration::from_secs(2), "{:?}", cancelled.elapsed());
}
