//! The loop of a node between its queues and its tasks: consume, claim, run, renew, commit, acknowledge.
//!
//! Workers and stitchers give it a [`TaskHandler`]. The runner promises:
//!
//! - **Nothing runs without a lease.** A delivery is only a hint; the ledger's claim decides. A task that is held by
//!   another node, committed, cancelled or unknown is acknowledged and dropped: the coordinator sends it again if it is
//!   needed.
//! - **A lost lease stops the work.** The lease is renewed with the newest progress; on [`Renewal::Lost`] the context's
//!   token fires, the handler ends, and nothing is committed, failed or announced.
//! - **Fenced by its own clock.** Where no renewal was answered, whatever the error, the work is stopped so early that it
//!   has ended, [`stop_within`](RunnerConfig::stop_within) later, before the lease ends for everyone else.
//! - **A retry goes to another node** while one of its kind takes tasks that has not failed the task before. Until one
//!   has it, the message goes to the end of its queue. The same holds for a second attempt beside one that runs on this
//!   node, and for a render whose capture class is not this node's, for 30 s after it was refused.
//! - **An outage is waited out.** After a failure of storage, ledger or broker the node takes no tasks until they
//!   answer.
//! - **A hint after a change.** Once an attempt has ended the coordinator is told to look at its render. (`hints`)
//! - **Acknowledged after the commit.** A process that dies leaves its delivery to the broker and its lease to run out.
//! - **A slot holds one delivery.** While it works, its consumers of the other queues are closed, so that nothing waits
//!   behind it.
//! - **Drain.** No new delivery; running tasks may finish within the grace period, then they are cancelled, released
//!   and put back. The grace period of a drain by an operator's command never ends.
//! - **Quarantine.** No new delivery; running tasks finish; the process stays. (`node`)
//! - **A panic in the handler is a failure** of the task ([`FailureCode::Internal`]), never of the node.

use std::ops::RangeInclusive;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::select_all;
use hyperfarm_proto::event::{Event, EventKind};
use hyperfarm_proto::failure::{Failure, FailureCode, RetryRule};
use hyperfarm_proto::id::{RenderId, WorkerId};
use hyperfarm_proto::log::LogLevel;
use hyperfarm_proto::record::TaskProgress;
use hyperfarm_proto::task::{Queue, Step, TaskId, TaskMessage};
use hyperfarm_proto::wire::{self, WireError};
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, debug, error, info, info_span, warn};

use crate::Backplane;
use crate::broker::{BrokerError, Consumer, Delivery};
use crate::config::{self, Env};
use crate::drain::Drain;
use crate::ledger::{Claim, Commit, Lease, LedgerError, NodeView, Renewal, slot_id};
use crate::metrics::TaskOutcome;
use crate::objects::Objects;
use crate::retry::{RetryPolicy, Retryable};
use crate::task_log::TaskLog;
use crate::trace;

mod hints;
mod node;

use hints::Hints;
use node::Node;

/// The context of a running task: its slot, progress, log, storage and cancellation. Clones share it; any thread may use it.
#[derive(Debug, Clone)]
pub struct TaskContext {
    slot: u32,
    progress: Arc<Mutex<TaskProgress>>,
    log: TaskLog,
    cancelled: CancellationToken,
    /// The storage of the task.
    objects: Objects,
    /// The node's count of captured frames, for a chunk.
    frames: Option<Arc<AtomicU64>>,
}

impl TaskContext {
    /// A context of a task whose objects are in `objects`.
    pub fn new(slot: u32, objects: Objects) -> Self {
        let (progress, log, cancelled) = (Arc::default(), TaskLog::default(), CancellationToken::new());
        Self { slot, progress, log, cancelled, objects, frames: None }
    }

    /// The storage of the task. In a process without a credential it has what the task may touch, and nothing else.
    pub fn objects(&self) -> &Objects {
        &self.objects
    }

    /// Number of the slot the task runs in, below the node's slots.
    pub fn slot(&self) -> u32 {
        self.slot
    }

    /// Sets how far the task is. Cheap; the newest value is sent with the next renewal.
    pub fn set_progress(&self, done: u64, total: u64) {
        let mut progress = self.progress.lock();
        if let Some(frames) = &self.frames {
            frames.fetch_add(done.saturating_sub(progress.done), Ordering::Relaxed);
        }
        *progress = TaskProgress { done, total };
    }

    /// How far the task is.
    pub fn progress(&self) -> TaskProgress {
        *self.progress.lock()
    }

    /// The attempt's part of its render's log. Stored when the attempt has ended.
    pub fn log(&self) -> &TaskLog {
        &self.log
    }

    /// Cancelled when the task must end: the lease is lost, the render cancelled, or the node's grace period over.
    pub fn cancelled(&self) -> &CancellationToken {
        &self.cancelled
    }
}

/// Does the tasks of a node.
#[async_trait]
pub trait TaskHandler: Send + Sync + 'static {
    /// Does the task and returns the bytes for [`Ledger::commit`](crate::ledger::Ledger::commit).
    ///
    /// When the context is cancelled it must end soon, with any result. After [`RunnerConfig::stop_within`] its future
    /// is dropped, so processes and folders that it holds must be cleaned up on drop.
    ///
    /// # Errors
    ///
    /// The failure of this attempt. Its code decides whether the task is tried again.
    async fn handle(&self, lease: &Lease, context: &TaskContext) -> Result<Vec<u8>, Failure>;
}

/// Times and limits of a runner.
#[derive(Debug, Clone)]
pub struct RunnerConfig {
    /// How long a lease lasts without a renewal. It is renewed every quarter of this, and every second at least,
    /// because the answer says whether the render was cancelled.
    pub lease_ttl: Duration,
    /// How often progress that has changed is sent, with a renewal.
    pub report_every: Duration,
    /// How long the node counts as alive after a heartbeat. One is sent at least every third of this.
    pub node_ttl: Duration,
    /// How long running tasks may go on after the drain was started (`HYPERFARM_DRAIN_GRACE`).
    pub grace: Duration,
    /// How long a cancelled handler may take to end before its future is dropped. Work whose lease cannot be renewed is
    /// stopped this long and a sixteenth of the lease before the lease ends, but not before half of it is over.
    pub stop_within: Duration,
    /// Wait before a retry of what failed for reasons outside the task.
    pub pause: Duration,
    /// Renders in a row of which a task failed here for the farm's reasons, after which the node is quarantined if
    /// others can do its work (`HYPERFARM_QUARANTINE_AFTER`);
    /// 0 is never.
    pub quarantine_after: u32,
    /// How long such a quarantine lasts (`HYPERFARM_QUARANTINE_FOR`).
    pub cool_down: Duration,
}

impl Default for RunnerConfig {
    fn default() -> Self {
        Self {
            lease_ttl: DEFAULT_LEASE_TTL,
            report_every: Duration::from_millis(500),
            node_ttl: node_ttl_of(DEFAULT_LEASE_TTL),
            grace: Duration::from_secs(60),
            stop_within: Duration::from_millis(1250),
            pause: Duration::from_secs(2),
            quarantine_after: 3,
            cool_down: Duration::from_secs(300),
        }
    }
}

/// How long a lease lasts unless it is set. A lost worker costs this long; an outage of the ledger that lasts 6.25 s of it
/// costs the tasks in work.
const DEFAULT_LEASE_TTL: Duration = Duration::from_secs(8);

/// How long a node counts as alive after a heartbeat: less than its leases last, so that a node that is gone is missing
/// when its leases end.
fn node_ttl_of(lease_ttl: Duration) -> Duration {
    lease_ttl / 4 * 3
}

/// The variable that sets [`RunnerConfig::lease_ttl`].
const LEASE_VARIABLE: &str = "HYPERFARM_LEASE";
/// What it may be.
const LEASE_TTL_RANGE: RangeInclusive<Duration> = Duration::from_secs(4)..=Duration::from_secs(120);
/// How long a worker or stitcher that is told to stop may go on with its tasks.
const DRAIN_GRACE: &str = "HYPERFARM_DRAIN_GRACE";
/// Renders in a row with a failed task after which a worker or stitcher is quarantined.
const QUARANTINE_AFTER: &str = "HYPERFARM_QUARANTINE_AFTER";
/// How long a quarantine lasts.
const QUARANTINE_FOR: &str = "HYPERFARM_QUARANTINE_FOR";

impl RunnerConfig {
    /// Reads the section.
    pub fn read(env: &Env<'_>) -> Self {
        let default = Self::default();
        let failures = |text: &str| text.parse().map_err(|_| "give a whole number; 0 is never".to_owned());
        let lease_ttl = env.parsed_by(LEASE_VARIABLE, parse_lease_ttl).unwrap_or(default.lease_ttl);
        Self {
            lease_ttl,
            node_ttl: node_ttl_of(lease_ttl),
            grace: env.duration(DRAIN_GRACE).unwrap_or(default.grace),
            quarantine_after: env.parsed_by(QUARANTINE_AFTER, failures).unwrap_or(default.quarantine_after),
            cool_down: env.duration(QUARANTINE_FOR).unwrap_or(default.cool_down),
            ..default
        }
    }
}

fn parse_lease_ttl(text: &str) -> Result<Duration, String> {
    let time = config::parse_duration(text).ok().filter(|time| LEASE_TTL_RANGE.contains(time));
    time.ok_or_else(|| "give a time from 4s to 2m".to_owned())
}

/// Longest time between two renewals of a lease.
const LONGEST_SILENCE: Duration = Duration::from_secs(1);

/// Longest time for one question whether storage, ledger and broker answer.
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest mean wait after a message that is left to another node, in pauses.
const LEFT_PAUSES: u32 = 4;

/// Messages in a row that a slot leaves to others because its node has failed their tasks. Then it takes one: the others
/// have failed the tasks of this queue as well, or are at work for long.
const LEFT_AT_MOST: u32 = 16;

/// Times the ledger is asked while a delivery is held.
const LEDGER_ATTEMPTS: u32 = 6;

/// Consumes queues with the slots of one node.
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

    /// Does the tasks of `queues`, in turn where several have some, beginning with the first queue. Returns when the
    /// drain is complete or the broker is closed.
    pub async fn run(self, queues: Vec<Queue>, handler: Arc<dyn TaskHandler>, drain: Drain) {
        let (metrics, NodeView { role, pool, slots: count, .. }) = (&self.backplane.metrics, &self.node);
        metrics.add_role(role);
        metrics.set_slots(role, pool, *count);
        let node = Arc::new(Node::new(self.node.clone(), self.config.clone(), &drain));
        let heartbeats = AbortOnDrop(tokio::spawn(self.clone().send_heartbeats(node.clone())).abort_handle());
        let (hints, ended) = (Arc::new(Hints::default()), CancellationToken::new());
        let publishing = tokio::spawn({
            let (hints, broker, ended) = (hints.clone(), self.backplane.broker.clone(), ended.clone());
            async move { hints.publish(&*broker, &ended).await }
        });
        let ends_with_the_node = AbortOnDrop(publishing.abort_handle());
        let mut slots = JoinSet::new();
        for number in 0..self.node.slots {
            let slot = Slot {
                runner: self.clone(),
                number,
                worker: slot_id(&self.node.id, number),
                handler: handler.clone(),
                node: node.clone(),
                hints: hints.clone(),
                process_drain: drain.clone(),
                left: AtomicU32::new(0),
            };
            slots.spawn(slot.serve(queues.clone()));
        }
        while let Some(ended) = slots.join_next().await {
            if let Err(panic) = ended {
                error!(worker = %self.node.id, %panic, "a slot's loop has ended");
            }
        }
        drop(heartbeats);
        ended.cancel();
        if let Err(panic) = publishing.await {
            error!(worker = %self.node.id, %panic, "the last hints are not published");
        }
        drop(ends_with_the_node);
        info!(worker = %self.node.id, "the node has stopped");
    }

    /// Reports the node to the ledger again and again, and applies the commands of operators.
    async fn send_heartbeats(self, node: Arc<Node>) {
        let every = self.config.node_ttl / 3;
        loop {
            node.end_quarantine_if_over();
            let is_draining = node.drain.is_started();
            let view = node.view();
            match self.backplane.ledger.heartbeat(&view, self.config.node_ttl).await {
                Ok(command) => command.iter().for_each(|command| node.apply(command)),
                Err(error) => warn!(worker = %view.id, %error, "the heartbeat failed"),
            }
            // Zero while the node is draining or quarantined.
            self.backplane.metrics.set_slots(&view.role, &view.pool, view.slots);
            // People watch the progress of running tasks, and commands come with the answers.
            let rest = every.min(if view.tasks.is_empty() { IDLE_HEARTBEAT } else { BUSY_HEARTBEAT });
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                () = node.drain.started(), if !is_draining => {}
                () = async { node.changed.notified().await; tokio::time::sleep(rest.min(CHANGE_DELAY)).await } => {}
            }
        }
    }
}

/// Longest time between heartbeats of a node without tasks.
const IDLE_HEARTBEAT: Duration = Duration::from_secs(3);

/// Longest time between heartbeats of a node with tasks.
const BUSY_HEARTBEAT: Duration = Duration::from_secs(2);

/// How long a heartbeat waits after a change, so that changes at the same moment are reported together.
const CHANGE_DELAY: Duration = Duration::from_millis(100);

/// A slot's consumers, one for each queue.
struct SlotConsumers {
    queues: Vec<Queue>,
    consumers: Vec<Option<Box<dyn Consumer>>>,
    first: usize,
}

impl SlotConsumers {
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
        // This queue comes last next time. The consumers of the others are closed: messages that the broker has sent
        // them already go back at once, instead of waiting behind this slot's task.
        self.first = (served + 1) % count;
        for (index, consumer) in self.consumers.iter_mut().enumerate() {
            if index != served {
                *consumer = None;
            }
        }
        delivery
    }
}

/// Aborts a Tokio task when it is dropped.
struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// How the run of a task's handler ended.
enum RunEnd {
    /// The handler returned.
    Finished(Result<Vec<u8>, Failure>),
    /// The lease was lost, or could not be renewed in time, and the handler was stopped.
    LeaseLost,
    /// The grace period of the drain ended, and the handler was stopped.
    Drained,
}

/// Takes a slot's task off the node's list of running tasks when it is dropped.
struct RunningTask<'a> {
    node: &'a Node,
    slot: u32,
}

impl Drop for RunningTask<'_> {
    fn drop(&mut self) {
        self.node.task_ended(self.slot);
    }
}

/// One of a node's slots.
struct Slot {
    runner: Runner,
    number: u32,
    worker: WorkerId,
    handler: Arc<dyn TaskHandler>,
    node: Arc<Node>,
    hints: Arc<Hints>,
    /// The process's own drain, which has a grace period.
    process_drain: Drain,
    /// Messages in a row that were left to other nodes.
    left: AtomicU32,
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
        let mut consumers = SlotConsumers::new(queues.clone());
        while !drain.is_started() {
            if !self.node.is_open() {
                // No message may wait behind a node that takes no tasks.
                consumers = SlotConsumers::new(queues.clone());
                tokio::select! { () = drain.started() => return, () = self.node.until_open(true) => {} }
            }
            let delivery = tokio::select! {
                biased;
                () = drain.started() => return,
                () = self.node.until_open(false) => continue,
                delivery = consumers.next(self.backplane(), self.config().pause) => delivery,
            };
            let Some(delivery) = delivery else { return };
            self.handle_delivery(delivery).await;
        }
    }

    /// Waits, but no longer than until a drain starts.
    async fn pause(&self, how_long: Duration) {
        tokio::select! { () = tokio::time::sleep(how_long) => {} () = self.node.drain.started() => {} }
    }

    async fn handle_delivery(&self, delivery: Delivery) {
        let message: TaskMessage = match wire::decode(&delivery.payload) {
            Ok(message) => message,
            // A newer node wrote it, and a newer node can read it.
            Err(error @ WireError::Version { found, reads }) if found > reads => {
                warn!(worker = %self.worker, %error, "the message has a newer version, it is put back for a newer node");
                self.pause(self.config().pause).await;
                return delivery.put_back().await;
            }
            Err(error) => {
                error!(worker = %self.worker, %error, "the message cannot be read, it goes to the dead-letter queue");
                return delivery.dead_letter().await;
            }
        };
        let task = message.task;
        let queue = Queue::of(task.step, &message.pool);
        if delivery.returned > 0 {
            self.backplane().metrics.redelivered(&queue);
        }
        if task.step != Step::Plan
            && self.node.has_refused(&task.render)
            && self.is_there(|nodes| self.node.has_peers_of_another_class(nodes)).await
        {
            return self.leave_to_another(&task, &queue, delivery).await;
        }
        let (mut claim, mut asked_at) = self.claim(&task, true).await;
        if let Ok(Claim::Elsewhere { workers }) = &claim {
            let is_patient = self.left.load(Ordering::Relaxed) < LEFT_AT_MOST;
            if is_patient && self.is_there(|nodes| self.node.has_peers(nodes, workers)).await {
                return self.leave_to_another(&task, &queue, delivery).await;
            }
            (claim, asked_at) = self.claim(&task, false).await;
        }
        match claim {
            Ok(Claim::Granted(lease)) => {
                self.left.store(0, Ordering::Relaxed);
                let span = span_of(&lease);
                trace::set_parent(&span, &task.render);
                self.work(&lease, asked_at, delivery).instrument(span).await;
            }
            Ok(refused) => {
                let (step, chunk) = (task.step.kind(), task.step.chunk());
                debug!(render = %task.render, step, chunk, worker = %self.worker, ?refused, "the task cannot be claimed, the message is dropped");
                delivery.ack().await;
            }
            Err(error) => {
                let (step, chunk) = (task.step.kind(), task.step.chunk());
                warn!(render = %task.render, step, chunk, worker = %self.worker, %error, "the claim failed, the message is put back");
                delivery.put_back().await;
            }
        }
    }

    /// Claims the task; with `elsewhere` only if this node has not failed it and is not at it. Also returns when the call
    /// that was answered began: the lease lasts from some moment after that.
    async fn claim(&self, task: &TaskId, elsewhere: bool) -> (Result<Claim, LedgerError>, Instant) {
        let (ledger, ttl) = (&self.backplane().ledger, self.config().lease_ttl);
        let mut asked_at = Instant::now();
        let ask = || {
            asked_at = Instant::now();
            if elsewhere {
                ledger.claim_elsewhere(task, &self.worker, ttl)
            } else {
                ledger.claim(task, &self.worker, ttl)
            }
        };
        let claim = self.ask_ledger("claim", ask).await;
        (claim, asked_at)
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

    /// Whether another node is there to which a task can be left: the live nodes satisfy `test`.
    async fn is_there(&self, test: impl Fn(&[NodeView]) -> bool) -> bool {
        match self.backplane().ledger.nodes().await {
            Ok(nodes) => test(&nodes),
            Err(error) => {
                warn!(worker = %self.worker, %error, "the other nodes cannot be read, the task is tried here");
                false
            }
        }
    }

    /// Puts the task's message at the end of its queue, and waits so that another node takes it, longer after each
    /// message in a row. Put back, it would come here again at once, and be a dead letter after some times. A wait is drawn
    /// from none up: two nodes that wait equally long would each be sent the same task again, for ever, and two whose waits
    /// are much alike for long.
    async fn leave_to_another(&self, task: &TaskId, queue: &Queue, delivery: Delivery) {
        let (step, chunk) = (task.step.kind(), task.step.chunk());
        debug!(render = %task.render, step, chunk, worker = %self.worker, "the task is left to another node");
        let left = self.left.fetch_add(1, Ordering::Relaxed) + 1;
        let pause = self.config().pause;
        let mean = RetryPolicy::new(pause, pause * LEFT_PAUSES).delay_after(left);
        let pause = mean.mul_f64(2.0 * fastrand::f64());
        if let Err(error) = self.backplane().broker.publish(queue, delivery.payload.clone()).await {
            warn!(render = %task.render, step, chunk, %error, "the message cannot be queued anew, it is put back");
            delivery.put_back().await;
            return self.pause(pause).await;
        }
        // Acknowledged after the pause: the broker would send the slot its next message, which would wait behind it.
        self.pause(pause).await;
        delivery.ack().await;
    }

    async fn work(&self, lease: &Lease, leased_at: Instant, delivery: Delivery) {
        let started = Instant::now();
        let (metrics, node) = (&self.backplane().metrics, &self.runner.node);
        metrics.task_claimed(lease.task.step, lease.attempt);
        let _busy = metrics.busy(&node.role, &node.pool);
        info!("the task is claimed");
        let objects = self.backplane().objects.for_task(lease);
        let context = self.node.task_started(self.number, lease, objects);
        let running = RunningTask { node: &self.node, slot: self.number };
        let ended = self.run_under_lease(lease, leased_at, &context).await;
        drop(running);
        let result = match ended {
            RunEnd::Finished(result) => result,
            RunEnd::LeaseLost => {
                info!("the lease is lost, the task was stopped");
                metrics.lease_lost(lease.task.step);
                self.count_end(lease, TaskOutcome::Superseded, started);
                // The lease of a cancelled render may still be the newest: released, it holds up nobody who waits for
                // its end.
                if let Err(error) = self.backplane().ledger.release(lease).await {
                    debug!(%error, "the lease cannot be released, it will expire");
                }
                return delivery.ack().await;
            }
            RunEnd::Drained => {
                info!("the node is draining, the task is put back");
                if let Err(error) = self.backplane().ledger.release(lease).await {
                    warn!(%error, "the lease cannot be released, it will expire");
                }
                return delivery.put_back().await;
            }
        };
        if let Err(failure) = &result {
            trace::mark_failed(&failure.message);
            context
                .log()
                .farm(LogLevel::Error, &format!("attempt {} failed [{}]: {failure}", lease.attempt, failure.code));
        }
        // Before the commit, so that a render that has ended has its whole log.
        context.log().store(context.objects(), lease).await;
        let settled = match &result {
            Ok(bytes) => self.ask_ledger("commit", || self.backplane().ledger.commit(lease, bytes)).await,
            Err(failure) => self.ask_ledger("fail", || self.backplane().ledger.fail(lease, failure)).await,
        };
        let took_ms = started.elapsed().as_millis() as u64;
        match (&result, &settled) {
            (_, Err(error)) => {
                // The result is in storage, where the coordinator finds it; the message goes back until an attempt can
                // be recorded.
                warn!(%error, took_ms, "the end of the attempt cannot be recorded, the message is put back");
                return delivery.put_back().await;
            }
            (Ok(_), Ok(Commit::Accepted | Commit::Unknown)) => {
                info!(took_ms, "the result is committed");
                self.node.succeeded();
                self.count_end(lease, TaskOutcome::Committed, started);
            }
            (Err(failure), Ok(Commit::Accepted | Commit::Unknown)) => {
                warn!(took_ms, code = %failure.code, reason = %failure.message, "the attempt failed");
                self.count_end(lease, TaskOutcome::Failed(failure.code), started);
            }
            (_, Ok(answer)) => {
                info!(took_ms, ?answer, "the result of another attempt counts");
                self.count_end(lease, TaskOutcome::Superseded, started);
            }
        }
        let kind = if result.is_ok() { EventKind::Committed } else { EventKind::Failed };
        self.hints.add(Event { task: lease.task.clone(), kind });
        if let Err(failure) = &result
            && failure.code.retry() != RetryRule::Never
            // Not after another attempt has committed: the failure of the slower of two attempts is nobody's.
            && !matches!(settled, Ok(Commit::Duplicate))
        {
            // The task comes back at once: this slot waits, so that another one takes it. It holds its delivery, so that
            // no other message waits behind it.
            self.step_aside_after(&lease.task.render, failure).await;
            self.pause(self.config().pause).await;
        }
        delivery.ack().await;
    }

    /// Waits for the servers after an outage, and quarantines the node if it has failed too often and others can do its
    /// work.
    async fn step_aside_after(&self, render: &RenderId, failure: &Failure) {
        if failure.code.is_outage() && self.node.wait_for_servers(failure) {
            tokio::spawn(ask_servers(self.node.clone(), self.backplane().clone()));
        }
        if !self.node.failed(render, failure) {
            return;
        }
        match self.backplane().ledger.nodes().await {
            Ok(nodes) if self.node.has_peers(&nodes, &[]) => self.node.quarantine(failure),
            Ok(_) => {
                warn!(worker = %self.worker, "the node fails again and again and stays active: no other node can do its work")
            }
            Err(error) => warn!(worker = %self.worker, %error, "the other nodes cannot be read, the node stays active"),
        }
    }

    fn count_end(&self, lease: &Lease, outcome: TaskOutcome, started: Instant) {
        self.backplane().metrics.task_ended(lease.task.step, outcome, started.elapsed());
    }

    async fn run_under_lease(&self, lease: &Lease, leased_at: Instant, context: &TaskContext) -> RunEnd {
        // A Tokio task of its own, so that a handler that computes for long does not hold up its own renewals.
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
            result = &mut work => return RunEnd::Finished(result),
            () = self.keep_alive(lease, leased_at, context) => true,
            () = self.grace_over() => false,
        };
        context.cancelled.cancel();
        // The handler ends before the lease is released or the delivery settled: kill before release.
        match tokio::time::timeout(self.config().stop_within, &mut work).await {
            // A result of the last moment counts.
            Ok(Ok(result)) if !lost => return RunEnd::Finished(Ok(result)),
            Ok(_) => {}
            Err(_) => error!("the handler did not end in time after it was cancelled, it is dropped"),
        }
        if lost { RunEnd::LeaseLost } else { RunEnd::Drained }
    }

    async fn grace_over(&self) {
        self.process_drain.started().await;
        tokio::time::sleep(self.config().grace).await;
    }

    /// Renews the lease, which was granted at `leased_at` or later, until it is lost or cannot be renewed in time.
    async fn keep_alive(&self, lease: &Lease, leased_at: Instant, context: &TaskContext) {
        let RunnerConfig { lease_ttl, report_every, stop_within, .. } = *self.config();
        let fence_after = lease_ttl - (stop_within + lease_ttl / 16).min(lease_ttl / 2);
        let renew_every = LONGEST_SILENCE.min(lease_ttl / 4);
        let mut renewed_at = leased_at;
        let mut sent = (Instant::now(), TaskProgress::default());
        loop {
            let left = (renewed_at + fence_after).saturating_duration_since(Instant::now());
            tokio::time::sleep(report_every.min(lease_ttl / 4).min(left)).await;
            let progress = context.progress();
            if progress == sent.1 && sent.0.elapsed() + report_every < renew_every {
                continue;
            }
            let asked_at = Instant::now();
            let left = (renewed_at + fence_after).saturating_duration_since(asked_at);
            let renewal = self.backplane().ledger.renew(lease, progress, lease_ttl);
            // A machine that is too busy may be late: a ledger that answers at once still has the lease.
            let answer = tokio::time::timeout(left.max(lease_ttl / 64), renewal).await.ok();
            let is_last = left.is_zero();
            match answer {
                Some(Ok(Renewal::Renewed)) => {}
                Some(Ok(Renewal::Lost)) => return,
                Some(Ok(Renewal::Unknown)) => debug!("the ledger does not know the render, the task goes on"),
                Some(Err(error)) if !is_last => {
                    warn!(%error, "the lease cannot be renewed, trying again");
                    continue;
                }
                Some(Err(_)) | None => {
                    let since_ms = renewed_at.elapsed().as_millis() as u64;
                    return warn!(since_ms, "the lease was not renewed in time, the task is stopped before it ends");
                }
            }
            renewed_at = asked_at;
            sent = (Instant::now(), progress);
        }
    }
}

/// Asks storage, ledger and broker until all of them answer, and has the node take tasks again then.
async fn ask_servers(node: Arc<Node>, backplane: Backplane) {
    while let Some(pause) = node.next_outage_pause() {
        tokio::select! { () = node.drain.started() => return, () = tokio::time::sleep(pause) => {} }
        let Backplane { objects, ledger, broker, .. } = &backplane;
        let checks = async {
            objects.check().await.map_err(|error| error.to_string())?;
            ledger.check().await.map_err(|error| error.to_string())?;
            broker.check().await.map_err(|error| error.to_string())
        };
        match tokio::time::timeout(CHECK_TIMEOUT, checks).await {
            Ok(Ok(())) => node.servers_answer(),
            Ok(Err(error)) => debug!(error, "a server does not answer yet"),
            Err(_) => debug!("a server does not answer in time yet"),
        }
    }
}

/// The span of an attempt, named by the kind of its step. Every line that is logged in it has its fields.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_times_name_their_variables() {
        for (name, value) in [
            (LEASE_VARIABLE, "3s"),
            (LEASE_VARIABLE, "8"),
            (DRAIN_GRACE, "180"),
            (QUARANTINE_AFTER, "-1"),
            (QUARANTINE_FOR, "5"),
        ] {
            let variables = |asked: &str| (asked == name).then(|| value.to_owned());
            let errors = config::read(&variables, RunnerConfig::read).unwrap_err();
            assert!(errors.to_string().starts_with(name), "{errors}");
        }
        let seconds = Duration::from_secs;
        let variables = |asked: &str| [DRAIN_GRACE, LEASE_VARIABLE].contains(&asked).then(|| "2m".to_owned());
        let config = config::read(&variables, RunnerConfig::read).unwrap();
        assert_eq!((config.grace, config.lease_ttl, config.node_ttl), (seconds(120), seconds(120), seconds(90)));
        assert_eq!(config.quarantine_after, 3);
    }
}
