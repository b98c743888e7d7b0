//! The loop between a queue and a piece of work: consume, claim, renew, run, commit, acknowledge.
//!
//! Workers and stitchers give it a [`TaskHandler`] and get these promises:
//!
//! - **Nothing runs without a lease.** A delivery is only a hint; the ledger's claim decides. What is held by somebody else,
//!   committed, cancelled or unknown is acknowledged and dropped: the coordinator sends it again if it is needed.
//! - **A lost lease stops the work.** The lease is renewed with the newest progress; on [`Renewal::Lost`] the context's token
//!   fires, the handler ends, and nothing is committed, failed or announced.
//! - **Acknowledged after the commit.** A process that dies leaves its delivery to the broker and its lease to run out.
//! - **A slot holds one delivery.** While it works, its consumers of the other queues are closed, so that nothing waits behind it.
//! - **Drain.** No new delivery; what runs may finish within the grace period, then it is cancelled, released and put back. A drain
//!   that an operator wished for has no end to its grace.
//! - **Quarantine.** No new delivery; what runs finishes; the node stays and rests. (`node`)
//! - **A panic in the handler is a failure** of the task ([`FailureCode::Internal`]), never of the node.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::select_all;
use hyperfarm_proto::event::{Event, EventKind};
use hyperfarm_proto::failure::{Failure, FailureCode, RetryRule};
use hyperfarm_proto::id::WorkerId;
use hyperfarm_proto::log::LogLevel;
use hyperfarm_proto::record::TaskProgress;
use hyperfarm_proto::task::{Queue, Step, TaskMessage};
use hyperfarm_proto::wire::{self, WireError};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, debug, error, info, info_span, warn};

use crate::Backplane;
use crate::broker::{BrokerError, Consumer, Delivery};
use crate::drain::Drain;
use crate::ledger::{Claim, Commit, Lease, LedgerError, NodeView, Renewal};
use crate::metrics::TaskOutcome;
use crate::retry::{RetryPolicy, Retryable};
use crate::task_log::TaskLog;
use crate::trace;

mod node;

use node::Node;

/// What a running task says and hears. Clones are the same context; all of it may be used from any thread.
#[derive(Debug, Clone)]
pub struct TaskContext {
    slot: u32,
    progress: Arc<Mutex<TaskProgress>>,
    log: TaskLog,
    cancelled: CancellationToken,
    /// Where captured frames are counted.
    frames: Option<Arc<AtomicU64>>,
}

impl TaskContext {
    /// A context outside a runner, for tests and tools.
    pub fn new(slot: u32) -> Self {
        let (progress, log, cancelled) = (Arc::default(), TaskLog::default(), CancellationToken::new());
        Self { slot, progress, log, cancelled, frames: None }
    }

    /// Number of the slot the task runs in, below the node's slots.
    pub fn slot(&self) -> u32 {
        self.slot
    }

    /// Says how far the task is. Cheap; the newest value goes out with the next renewal.
    pub fn set_progress(&self, done: u64, total: u64) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(frames) = &self.frames {
            frames.fetch_add(done.saturating_sub(progress.done), Ordering::Relaxed);
        }
        *progress = TaskProgress { done, total };
    }

    /// What was said last.
    pub fn progress(&self) -> TaskProgress {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the attempt says in its render's own log. Stored when it has ended.
    pub fn log(&self) -> &TaskLog {
        &self.log
    }

    /// Fires when the work must end: the lease is lost, the render cancelled, or the node's grace period over.
    pub fn cancelled(&self) -> &CancellationToken {
        &self.cancelled
    }
}

/// The work behind a task.
#[async_trait]
pub trait TaskHandler: Send + Sync + 'static {
    /// Does the task and answers the bytes for [`Ledger::commit`](crate::ledger::Ledger::commit). When the context's token
    /// fires it ends soon, whatever it answers then; after [`RunnerConfig::stop_within`] the future is dropped, so what
    /// it holds (processes, folders) must clean up on drop.
    async fn handle(&self, lease: &Lease, context: &TaskContext) -> Result<Vec<u8>, Failure>;
}

/// The runner's times.
#[derive(Debug, Clone)]
pub struct RunnerConfig {
    /// How long a claim lasts without a renewal. Renewed every quarter of it.
    pub lease_ttl: Duration,
    /// How often progress that changed goes out, with a renewal.
    pub report_every: Duration,
    /// How long the node counts as alive after a heartbeat. Sent every third of it.
    pub node_ttl: Duration,
    /// How long running tasks may go on after the drain has started.
    pub grace: Duration,
    /// How long a cancelled handler may take to end before its future is dropped.
    pub stop_within: Duration,
    /// Rest before trying again what did not work for reasons outside the task.
    pub pause: Duration,
    /// Failures in a row after which the node puts itself aside, if others can do its work; 0 is never.
    pub quarantine_after: u32,
    /// How long it then rests.
    pub cool_down: Duration,
}

impl Default for RunnerConfig {
    fn default() -> Self {
        Self {
            lease_ttl: Duration::from_secs(30),
            report_every: Duration::from_millis(500),
            node_ttl: Duration::from_secs(15),
            grace: Duration::from_secs(60),
            stop_within: Duration::from_secs(10),
            pause: Duration::from_secs(2),
            quarantine_after: 3,
            cool_down: Duration::from_secs(300),
        }
    }
}

/// Times the ledger is asked while a delivery is held.
const LEDGER_ATTEMPTS: u32 = 6;

/// Serves queues with the slots of one node.
#[derive(Clone)]
pub struct Runner {
    backplane: Backplane,
    node: NodeView,
    config: RunnerConfig,
}

impl Runner {
    /// A runner for `node`, which says how many slots there are.
    pub fn new(backplane: Backplane, node: NodeView, config: RunnerConfig) -> Self {
        Self { backplane, node, config }
    }

    /// Works off `queues`, alternating between those that have something, the first one first. Returns when the drain is
    /// complete or the broker closed.
    pub async fn run(self, queues: Vec<Queue>, handler: Arc<dyn TaskHandler>, drain: Drain) {
        let (metrics, NodeView { role, pool, slots: count, .. }) = (&self.backplane.metrics, &self.node);
        metrics.plays(role);
        metrics.set_slots(role, pool, *count);
        let node = Arc::new(Node::new(self.node.clone(), self.config.clone(), &drain));
        let heartbeats = AbortOnDrop(tokio::spawn(self.clone().beat(node.clone())).abort_handle());
        let mut slots = JoinSet::new();
        for number in 0..self.node.slots {
            let slot = Slot {
                runner: self.clone(),
                number,
                worker: slot_id(&self.node.id, number),
                handler: handler.clone(),
                node: node.clone(),
                stop: drain.clone(),
            };
            slots.spawn(slot.serve(queues.clone()));
        }
        while let Some(ended) = slots.join_next().await {
            if let Err(panic) = ended {
                error!(worker = %self.node.id, %panic, "a slot's loop has ended");
            }
        }
        drop(heartbeats);
        info!(worker = %self.node.id, "the node has stopped");
    }

    /// Says that the node is alive and how it fares, and follows what is wished of it.
    async fn beat(self, node: Arc<Node>) {
        let every = self.config.node_ttl / 3;
        loop {
            node.cool_down();
            let is_draining = node.drain.is_started();
            let view = node.view();
            match self.backplane.ledger.heartbeat(&view, self.config.node_ttl).await {
                Ok(wish) => wish.iter().for_each(|wish| node.follow(wish)),
                Err(error) => warn!(worker = %view.id, %error, "the heartbeat failed"),
            }
            // None while it drains or is put aside.
            self.backplane.metrics.set_slots(&view.role, &view.pool, view.slots);
            // What is at work is followed by people, and wishes are read with the answer.
            let rest = every.min(if view.tasks.is_empty() { IDLE_BEAT } else { BUSY_BEAT });
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                () = node.drain.started(), if !is_draining => {}
                () = async { node.news.notified().await; tokio::time::sleep(rest.min(NEWS_WAIT)).await } => {}
            }
        }
    }
}

/// Heartbeats of a node without tasks come at least this often.
const IDLE_BEAT: Duration = Duration::from_secs(3);

/// Heartbeats of a node at work.
const BUSY_BEAT: Duration = Duration::from_secs(2);

/// News that come together are told together.
const NEWS_WAIT: Duration = Duration::from_millis(100);

/// The id under which a slot claims; the node's own where that would be too long.
fn slot_id(node: &WorkerId, number: u32) -> WorkerId {
    WorkerId::try_from(format!("{node}-s{number}")).unwrap_or_else(|_| node.clone())
}

/// A slot's consumers.
struct Intake {
    queues: Vec<Queue>,
    consumers: Vec<Option<Box<dyn Consumer>>>,
    first: usize,
}

impl Intake {
    fn new(queues: Vec<Queue>) -> Self {
        let consumers = queues.iter().map(|_| None).collect();
        Self { queues, consumers, first: 0 }
    }

    /// The next delivery of any queue; `None` once the broker is closed. Cancel safe.
    async fn next(&mut self, backplane: &Backplane, pause: Duration) -> Option<Delivery> {
        for (queue, consumer) in self.queues.iter().zip(&mut self.consumers) {
            while consumer.is_none() {
                match backplane.broker.consume(queue).await {
                    Ok(opened) => *consumer = Some(opened),
                    Err(BrokerError::Closed) => return None,
                    Err(error) => {
                        warn!(%queue, %error, "the queue cannot be consumed, trying again");
                        tokio::time::sleep(pause).await;
                    }
                }
            }
        }
        let count = self.consumers.len();
        let mut waiting: Vec<_> = self.consumers.iter_mut().flatten().enumerate().collect();
        waiting.rotate_left(self.first.min(count.saturating_sub(1)));
        if waiting.is_empty() {
            return None;
        }
        let nexts = waiting.into_iter().map(|(index, consumer)| async move { (index, consumer.next().await) }.boxed());
        let ((served, delivery), _, _) = select_all(nexts).await;
        // The served queue comes last next time. The others' consumers close: what the broker may have sent them already
        // goes back at once, instead of waiting behind this slot's work.
        self.first = (served + 1) % count;
        for (index, consumer) in self.consumers.iter_mut().enumerate() {
            if index != served {
                *consumer = None;
            }
        }
        delivery
    }
}

/// Aborts a task when the one who waits for it is gone.
struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Why a task's run ended.
enum End {
    Finished(Result<Vec<u8>, Failure>),
    Lost,
    Drained,
}

/// Ends a slot's task in the node's eyes.
struct Over<'a> {
    node: &'a Node,
    slot: u32,
}

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.node.end(self.slot);
    }
}

/// One of a node's slots.
struct Slot {
    runner: Runner,
    number: u32,
    worker: WorkerId,
    handler: Arc<dyn TaskHandler>,
    node: Arc<Node>,
    /// The process's own drain, which has a grace period.
    stop: Drain,
}

impl Slot {
    fn backplane(&self) -> &Backplane {
        &self.runner.backplane
    }

    fn config(&self) -> &RunnerConfig {
        &self.runner.config
    }

    async fn serve(self, queues: Vec<Queue>) {
        let drain = &self.node.drain;
        let mut intake = Intake::new(queues.clone());
        while !drain.is_started() {
            if !self.node.is_open() {
                // Nothing may wait behind a node that rests.
                intake = Intake::new(queues.clone());
                tokio::select! { () = drain.started() => return, () = self.node.until_open(true) => {} }
            }
            let delivery = tokio::select! {
                biased;
                () = drain.started() => return,
                () = self.node.until_open(false) => continue,
                delivery = intake.next(self.backplane(), self.config().pause) => delivery,
            };
            let Some(delivery) = delivery else { return };
            self.take(delivery).await;
        }
    }

    /// Rests, but not through a drain.
    async fn pause(&self, how_long: Duration) {
        tokio::select! { () = tokio::time::sleep(how_long) => {} () = self.node.drain.started() => {} }
    }

    async fn take(&self, delivery: Delivery) {
        let message: TaskMessage = match wire::decode(&delivery.payload) {
            Ok(message) => message,
            // A newer node wrote it, and a newer node will take it.
            Err(error @ WireError::Version { found, reads }) if found > reads => {
                warn!(worker = %self.worker, %error, "a message is left for a newer node");
                self.pause(self.config().pause).await;
                return delivery.put_back().await;
            }
            Err(error) => {
                error!(worker = %self.worker, %error, "a message that cannot be read goes to the dead letters");
                return delivery.dead_letter().await;
            }
        };
        let task = message.task;
        if delivery.returned > 0 {
            self.backplane().metrics.redelivered(&Queue::of(task.step, &message.pool));
        }
        let ttl = self.config().lease_ttl;
        let claim = self.ask_ledger("claim", || self.backplane().ledger.claim(&task, &self.worker, ttl)).await;
        match claim {
            Ok(Claim::Granted(lease)) => {
                let span = span_of(&lease);
                trace::follow(&span, &task.render);
                self.work(&lease, delivery).instrument(span).await;
            }
            Ok(refused) => {
                let (step, chunk) = (task.step.kind(), task.step.chunk());
                debug!(render = %task.render, step, chunk, worker = %self.worker, ?refused, "not claimed, dropped");
                delivery.ack().await;
            }
            Err(error) => {
                let (step, chunk) = (task.step.kind(), task.step.chunk());
                warn!(render = %task.render, step, chunk, worker = %self.worker, %error, "not claimed, put back");
                delivery.put_back().await;
            }
        }
    }

    /// Asks the ledger again while it cannot be reached: a delivery that is held does not use up its returns.
    async fn ask_ledger<T, F>(&self, operation: &'static str, ask: impl FnMut() -> F) -> Result<T, LedgerError>
    where
        F: Future<Output = Result<T, LedgerError>>,
    {
        let longest = self.config().pause;
        let retry = RetryPolicy::new(longest / 8, longest).attempts(LEDGER_ATTEMPTS);
        let asking = ask.retry(retry).notify(|error, _| {
            warn!(worker = %self.worker, operation, %error, "the ledger does not answer, asking again");
        });
        asking.await
    }

    async fn work(&self, lease: &Lease, delivery: Delivery) {
        let started = Instant::now();
        let (metrics, node) = (&self.backplane().metrics, &self.runner.node);
        metrics.task_claimed(lease.task.step, lease.attempt);
        let _busy = metrics.busy(&node.role, &node.pool);
        info!("claimed");
        let context = self.node.begin(self.number, lease);
        let over = Over { node: &self.node, slot: self.number };
        let ended = self.run_under_lease(lease, &context).await;
        drop(over);
        let result = match ended {
            End::Finished(result) => result,
            End::Lost => {
                info!("the lease is lost, the work was stopped");
                metrics.lease_lost(lease.task.step);
                self.count(lease, TaskOutcome::Superseded, started);
                // Of a render that is cancelled the lease may be the newest still: whoever waits for its end need not wait longer.
                if let Err(error) = self.backplane().ledger.release(lease).await {
                    debug!(%error, "the lease cannot be released and will run out");
                }
                return delivery.ack().await;
            }
            End::Drained => {
                info!("the node drains, the task is handed back");
                if let Err(error) = self.backplane().ledger.release(lease).await {
                    warn!(%error, "the lease cannot be released and will run out");
                }
                return delivery.put_back().await;
            }
        };
        if let Err(failure) = &result {
            trace::failed(&failure.message);
            context
                .log()
                .farm(LogLevel::Error, &format!("attempt {} failed [{}]: {failure}", lease.attempt, failure.code));
        }
        // Before the commit, so that a render that has ended has its whole log.
        context.log().store(&self.backplane().objects, lease).await;
        let settled = match &result {
            Ok(bytes) => self.ask_ledger("commit", || self.backplane().ledger.commit(lease, bytes)).await,
            Err(failure) => self.ask_ledger("fail", || self.backplane().ledger.fail(lease, failure)).await,
        };
        let took_ms = started.elapsed().as_millis() as u64;
        match (&result, &settled) {
            (_, Err(error)) => {
                // The result is in storage, where the coordinator finds it; the message stays until somebody settles it.
                warn!(%error, took_ms, "the end of the task cannot be recorded, put back");
                return delivery.put_back().await;
            }
            (Ok(_), Ok(Commit::Accepted | Commit::Unknown)) => {
                info!(took_ms, "committed");
                self.node.succeeded();
                self.count(lease, TaskOutcome::Committed, started);
            }
            (Err(failure), Ok(Commit::Accepted | Commit::Unknown)) => {
                warn!(took_ms, code = %failure.code, reason = %failure.message, "failed");
                self.count(lease, TaskOutcome::Failed(failure.code), started);
            }
            (_, Ok(answer)) => {
                info!(took_ms, ?answer, "somebody else's result counts");
                self.count(lease, TaskOutcome::Superseded, started);
            }
        }
        let kind = if result.is_ok() { EventKind::Committed } else { EventKind::Failed };
        self.announce(Event { task: lease.task.clone(), kind }).await;
        delivery.ack().await;
        if let Err(failure) = &result
            && failure.code.retry() != RetryRule::Never
        {
            // The task comes back at once: the slot that could not do it leaves it to the others for a moment.
            self.consider(failure).await;
            self.pause(self.config().pause).await;
        }
    }

    /// Puts the node aside if it has failed too often and others are there.
    async fn consider(&self, failure: &Failure) {
        if !self.node.failed(failure) {
            return;
        }
        match self.backplane().ledger.nodes().await {
            Ok(nodes) if self.node.has_peers(&nodes) => self.node.set_aside(failure),
            Ok(_) => warn!(worker = %self.worker, "one failure after another, and nobody else could do the work"),
            Err(error) => warn!(worker = %self.worker, %error, "the other nodes cannot be read"),
        }
    }

    fn count(&self, lease: &Lease, outcome: TaskOutcome, started: Instant) {
        self.backplane().metrics.task_ended(lease.task.step, outcome, started.elapsed());
    }

    /// Tells the coordinator to look. Only a hint: it looks anyway, a little later.
    async fn announce(&self, event: Event) {
        let payload = match wire::encode(&event) {
            Ok(payload) => Bytes::from(payload),
            Err(error) => return error!(%error, "the event cannot be written"),
        };
        if let Err(error) = self.backplane().broker.publish(&Queue::Events, payload).await {
            warn!(%error, "the event was not published");
        }
    }

    async fn run_under_lease(&self, lease: &Lease, context: &TaskContext) -> End {
        // A task of its own, so that a handler that computes for long does not hold up its own renewals.
        let handle = tokio::spawn({
            let (handler, lease, context) = (self.handler.clone(), lease.clone(), context.clone());
            async move { AssertUnwindSafe(handler.handle(&lease, &context)).catch_unwind().await }.in_current_span()
        });
        let _ends_with_the_slot = AbortOnDrop(handle.abort_handle());
        let mut work = handle.map(|joined| match joined {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => Err(Failure::new(FailureCode::Internal, panic_text(panic.as_ref()))),
            Err(error) => Err(Failure::new(FailureCode::Internal, format!("the task ended by itself: {error}"))),
        });
        let lost = tokio::select! {
            result = &mut work => return End::Finished(result),
            () = self.keep_alive(lease, context) => true,
            () = self.grace_over() => false,
        };
        context.cancelled.cancel();
        // The work ends before the lease is given back or the delivery settled: kill before release.
        match tokio::time::timeout(self.config().stop_within, &mut work).await {
            // What was finished at the last moment still counts.
            Ok(Ok(result)) if !lost => return End::Finished(Ok(result)),
            Ok(_) => {}
            Err(_) => error!("the task did not end in time after it was cancelled, it is dropped"),
        }
        if lost { End::Lost } else { End::Drained }
    }

    async fn grace_over(&self) {
        self.stop.started().await;
        tokio::time::sleep(self.config().grace).await;
    }

    /// Renews until the lease is lost.
    async fn keep_alive(&self, lease: &Lease, context: &TaskContext) {
        let RunnerConfig { lease_ttl, report_every, .. } = *self.config();
        let mut sent = (Instant::now(), TaskProgress::default());
        loop {
            tokio::time::sleep(report_every.min(lease_ttl / 4)).await;
            let progress = context.progress();
            if progress == sent.1 && sent.0.elapsed() + report_every < lease_ttl / 4 {
                continue;
            }
            match self.backplane().ledger.renew(lease, progress, lease_ttl).await {
                Ok(Renewal::Renewed) => {}
                Ok(Renewal::Lost) => return,
                Ok(Renewal::Unknown) => debug!("the ledger does not know the render, going on"),
                Err(error) => {
                    warn!(%error, "the lease was not renewed, trying again");
                    continue;
                }
            }
            sent = (Instant::now(), progress);
        }
    }
}

/// The span of an attempt, by the kind of its step. Its fields are in every line that is logged meanwhile.
fn span_of(lease: &Lease) -> Span {
    let (step, chunk) = (lease.task.step.kind(), lease.task.step.chunk());
    macro_rules! named {
        ($name:literal) => {
            info_span!(
                $name, render = %lease.task.render, step, chunk, attempt = lease.attempt, worker = %lease.worker
            )
        };
    }
    match lease.task.step {
        Step::Plan => named!("plan"),
        Step::Audio => named!("audio"),
        Step::Chunk(_) => named!("chunk"),
        Step::Stitch => named!("stitch"),
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned());
    format!("the farm's own code panicked: {text}; please report it")
}
